"""Exercises of lesson 10b: attacks that saturation does not stop, and one made for one defence.

They are the two parts of APGD that repair PGD (shorter steps at checkpoints, a loss without a
scale), the answer of a dial whose setting is not known, and an attack made for one defence.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ...attacks.apgd import is_stuck
from ...attacks.losses import dlr, margin_loss
from ...data.load import load_data
from ...evaluation.across_lambda import mean_prediction
from ...evaluation.results import wilson
from ..two_opinions import EPS, TwoOpinions, adaptive_attack, two_opinions
from . import Wrong, exercise, same


@exercise(dlr, "oatlib.attacks.losses.dlr")
def dlr_loss(theirs) -> None:
    """logits (N, C), y (N,) -> margin / (largest logit - third largest logit), (N,)."""
    generator = torch.Generator().manual_seed(0)
    z, y = 3 * torch.randn(12, 6, generator=generator), torch.arange(12) % 6
    y[:6] = z[:6].argmax(1)  # the first half is classified correctly
    got, want = theirs(z.clone(), y.clone()), dlr(z, y)
    true, top = z.gather(1, y[:, None])[:, 0], z.sort(1, descending=True).values
    gap = top[:, 0] - top[:, 2]
    mistakes = {
        "the sign is turned: above 0 must mean that the network is fooled.": -want,
        "it still grows with the scale of the logits: divide the margin by the gap.": margin_loss(
            z, y
        ),
        "the unit is the gap between the first and the second logit: for an image that is right, "
        "that gives -1 always.": margin_loss(z, y) / (top[:, 0] - top[:, 1]),
        "the unit is taken from classes 0 and 2: sort the logits first.": margin_loss(z, y)
        / (z[:, 0] - z[:, 2]),
        "the best logit may be that of y itself, so it never gets above 0: look for the best WRONG "
        "class.": (top[:, 0] - true) / -gap,
    }
    for mistake, value in mistakes.items():
        if (
            isinstance(got, Tensor)
            and got.shape == value.shape
            and torch.allclose(got, value, atol=1e-4)
        ):
            raise Wrong(mistake)
    if (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got, (top[:, 0] - true) / gap, atol=1e-4)
    ):
        raise Wrong(
            "an image that is right gets 0, however sure: look for the best WRONG class, without y."
        )
    same(
        got,
        want,
        "it should be (best wrong logit - true logit) / (largest logit - third largest), for each "
        "image.",
    )


def _halve_steps(
    size: Tensor, rose: Tensor, better: Tensor, halved: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Reference solution: the checkpoint of APGD."""
    stuck = is_stuck(rose, steps, better, halved)
    return torch.where(stuck, size / 2, size), stuck


@exercise(_halve_steps, "oatlib.APGD")
def halve_steps(theirs) -> None:
    """size, rose, better, halved (N,), steps -> (size, halved) (N,) after a checkpoint of APGD."""
    rose = torch.tensor([10, 7, 8, 2, 9, 3, 8, 10])  # 8 rising steps of 10 are enough, 7 are not
    better = torch.tensor([True, True, True, True, False, False, False, False])
    halved = torch.tensor([False, False, True, True, False, False, True, True])
    size = torch.tensor([0.8, 0.8, 0.4, 0.4, 0.8, 0.2, 0.1, 0.1])
    got = theirs(size.clone(), rose.clone(), better.clone(), halved.clone(), 10)
    new, marks = _halve_steps(size, rose, better, halved, 10)
    if not (isinstance(got, tuple | list) and len(got) == 2):
        raise Wrong(
            "it should return two tensors: the new sizes, and which images were halved now."
        )
    few, idle = rose < 7.5, ~better
    mistakes = {
        "it halves a step again that was halved at the last checkpoint: without a new best point "
        "an image gets a pause first.": few | idle,
        "it looks at the rising steps only: an image without a new best point must be halved, "
        "too.": few,
        "it looks at the best loss only: an image whose loss rose in fewer than three quarters of "
        "the steps must be halved, too.": idle & ~halved,
        "both reasons must hold together here: one of them is enough.": few & idle & ~halved,
    }
    for mistake, mask in mistakes.items():
        if torch.allclose(
            torch.as_tensor(got[0], dtype=size.dtype), torch.where(mask, size / 2, size)
        ):
            raise Wrong(mistake)
    same(got[0], new, "sizes should be halved for images that are stuck, and stay for all others.")
    same(
        got[1],
        marks,
        "the second tensor should say which images were halved NOW: the next checkpoint needs it.",
    )


# --- mean_answer ---


@exercise(mean_prediction, "oatlib.evaluation.across_lambda.mean_prediction")
def mean_answer(theirs) -> None:
    """functions, x (N, ...) -> log of the mean of their probabilities, (N, classes)."""
    generator = torch.Generator().manual_seed(6)
    weights = [4 * torch.randn(9, 5, generator=generator) for _ in range(3)]
    functions = [lambda images, w=w: images.flatten(1) @ w for w in weights]
    x = torch.rand(12, 1, 3, 3, generator=generator, requires_grad=True)
    got, want = theirs(functions, x), mean_prediction(functions, x)
    logits = torch.stack([f(x) for f in functions])
    mistakes = {
        "it is the mean of the logits. A very sure function then decides alone: average "
        "probabilities.": logits.mean(0),
        "it returns probabilities: the losses of the attacks need their logarithm.": logits.softmax(
            2
        ).mean(0),
        "it takes the logarithm before the mean: average first.": logits.log_softmax(2).mean(0),
        "it asks one function only.": logits[0],
    }
    for mistake, value in mistakes.items():
        if isinstance(got, Tensor) and got.shape == value.shape and torch.allclose(got, value):
            raise Wrong(mistake)
    if isinstance(got, Tensor) and not got.requires_grad:
        raise Wrong("no gradient reaches the image: leave out no_grad and detach.")
    same(got, want, "it should be the logarithm of the mean of the softmax outputs.", 1e-4)


# --- break_defence ---

N = 96  # images of the open exercise
ENOUGH = 0.35  # largest share that may stay right


@lru_cache(maxsize=1)
def _judge() -> tuple[TwoOpinions, Tensor, Tensor]:
    """Return a defence that no learner gets, and the images of the open exercise."""
    panel = load_data("shapes", seed=0).val.panel(N)
    return two_opinions(), panel.x, panel.y


@exercise(adaptive_attack, "oatlib.course.two_opinions.adaptive_attack")
def break_defence(theirs) -> str:
    """defence, x (N, C, H, W), y (N,), eps -> attacked images that fool the defence."""
    judge, x, y = _judge()
    got = theirs(two_opinions(), x.clone(), y.clone(), EPS)
    if not isinstance(got, Tensor) or got.shape != x.shape:
        raise Wrong(f"it should return attacked images, a tensor of shape {tuple(x.shape)}.")
    got = got.detach()
    if not got.isfinite().all():
        raise Wrong("some pixels are not finite.")
    farthest = (got - x).abs().max().item()
    if farthest > EPS + 1e-6:
        raise Wrong(
            f"a pixel moves by {255 * farthest:.1f}/255; at most {255 * EPS:.0f}/255 is allowed: "
            "project into the ball."
        )
    if got.min() < 0 or got.max() > 1:
        raise Wrong("pixels must stay in [0, 1]: clamp them.")
    with torch.no_grad():
        right = (judge(x).argmax(1) == y) & (judge(got).argmax(1) == y)
        convinced = judge.accurate(got).argmax(1) != y
        decided = judge.decides(got)
    left = right.double().mean().item()
    low, high = wilson(round(left * N), N)
    measured = (
        f"the defence is right on {left:.0%} of {N} images (95 % interval {low:.0%} to {high:.0%})"
    )
    if left > ENOUGH:
        if convinced.double().mean() < 0.5:
            raise Wrong(
                f"{measured}. The accurate network still names the true class of most images: "
                "attack defence.accurate, whose gradient the defence hides."
            )
        raise Wrong(
            f"{measured}; at most {ENOUGH:.0%} are wanted. The accurate network is wrong, but it "
            f"decides only {decided.double().mean():.0%} of the images: it must be sure, and the "
            "robust network must support the same wrong class. Aim at one class in both."
        )
    return f"Broken: {measured}."
