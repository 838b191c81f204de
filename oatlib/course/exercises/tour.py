"""Exercises of lesson 00: when to believe the drawn shape, and a dial made of two networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...attacks.accuracy import correct_at_every_point
from ...attacks.apgd import APGD
from ...attacks.suite import Suite
from ...data.load import Data, load_data
from ...data.shapes import best_frontier
from ...data.splits import Split
from ...evaluation.baselines import coin
from ...evaluation.results import wilson
from ...explorer.shipped import FOLDER
from ...networks.network import load
from . import Wrong, exercise, same

EPS = 8 / 255  # radius of the attack, in pixel units
LEVEL = 0.95  # clean accuracy that a rule must keep
N = 128  # test images that a rule is measured on
MARGIN = 0.10  # how much more than the coin a rule must keep
SHAPE_PIXELS = (0.08, 0.12, 0.18)  # contrast above which the fading attack counts a pixel as shape

Classifier = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N, classes)


# ---- the reference solutions ---------------------------------------------------------------------


def _trust_of(vividness: Tensor, lowest: float, full: float) -> Tensor:
    return (lowest + (1 - lowest) * vividness / full).clamp(max=1)


def _clean_and_robust(believes: Tensor, right: Tensor) -> tuple[float, float]:
    clean = torch.where(believes, right, 1.0)
    robust = torch.where(believes, right, 0.0)
    return clean.mean().item(), robust.mean().item()


def _believe_shape(trust: Tensor, lam: float) -> Tensor:
    return trust > 1 - lam


def _curve(trust: Tensor, lams, believe_shape: Callable, clean_and_robust: Callable) -> list:
    return [clean_and_robust(believe_shape(trust, lam), trust) for lam in lams]


def _toss(first: tuple[float, float], second: tuple[float, float], p: float):
    clean = (1 - p) * first[0] + p * second[0]
    robust = (1 - p) * first[1] + p * second[1]
    return clean, robust


def _two_networks(x: Tensor, believes: Tensor, standard: Classifier, robust: Classifier) -> Tensor:
    return torch.where(believes[:, None], robust(x), standard(x))


def _how_vivid(x: Tensor) -> Tensor:
    smooth = F.avg_pool2d(x, 2, 1)  # (N, 3, 15, 15)
    contrast = (smooth - 0.5).abs().mean(1)  # (N, 15, 15)
    return contrast.flatten(1).amax(1)  # (N,)


# ---- how a rule on two networks is measured ------------------------------------------------------


class RuleResult(NamedTuple):
    """Accuracies of a rule that chooses between two networks for every image.

    Attributes:
        clean: Clean accuracy in [0, 1].
        robust: Robust accuracy in [0, 1] under the attacks of `measure_rule`.
        n: Number of images.
        threshold: Score above which the robust network answers.
    """

    clean: float
    robust: float
    n: int
    threshold: float


def measure_rule(
    score: Callable[[Tensor], Tensor],
    combine: Callable[[Tensor, Tensor, Classifier, Classifier], Tensor],
    standard: Classifier,
    robust: Classifier,
    data: Data,
    min_clean: float,
    n: int,
    eps: float = EPS,
) -> RuleResult:
    """Measure the rule "the robust network answers where the score of the image is high".

    The threshold is chosen on validation images, as low as `min_clean` allows. Accuracies are those
    on test images. An image counts as robust if the rule classifies it correctly unchanged, at
    every point of the quick suite, and under an attack that lowers the score by fading the shape.

    Args:
        score: Function from images (N, C, H, W) to scores (N,).
        combine: Function of images, where to ask the robust network (N,), and the two networks, to
            logits (N, classes): the exercise `two_networks`.
        standard: The network that answers below the threshold.
        robust: The network that answers above it.
        data: The data set.
        min_clean: Clean accuracy to keep on the validation images, in [0, 1].
        n: Largest number of test images.
        eps: L-infinity radius of the attacks, in pixel units.
    """
    with torch.no_grad():
        threshold = choose_threshold(score, standard, robust, data.val, min_clean)
    panel = data.test.panel(min(n, len(data.test)))
    x, y = panel.x, panel.y

    def rule(z: Tensor) -> Tensor:
        return combine(z, score(z) > threshold, standard, robust)

    suite = Suite(eps, budget="quick")
    clean, correct = correct_at_every_point(rule, x, y, suite, torch.Generator().manual_seed(0))
    left = correct.nonzero()[:, 0]
    if len(left):
        correct[left] = _correct_when_faded(rule, standard, x[left], y[left], eps)
    return RuleResult(
        clean.double().mean().item(), correct.double().mean().item(), len(y), threshold
    )


def _correct_when_faded(
    rule: Classifier, standard: Classifier, x: Tensor, y: Tensor, eps: float
) -> Tensor:
    """Return whether each image survives an attack on the score and the standard network, (N,).

    The shape fades by eps, so that the standard network answers. The pixels around the shape attack
    that network.
    """
    contrast = x - 0.5
    faded = 0.5 + contrast.sign() * (contrast.abs() - eps).clamp(min=0)
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strength = (smooth - 0.5).abs().mean(1, keepdim=True)  # (N, 1, H, W)
    correct = torch.ones_like(y, dtype=torch.bool)
    for limit in SHAPE_PIXELS:
        is_shape = strength > limit

        def faded_shape(z: Tensor, is_shape: Tensor = is_shape) -> Tensor:
            return standard(torch.where(is_shape, faded, z))

        generator = torch.Generator().manual_seed(0)
        around = APGD(eps, 10)(faded_shape, x, y, generator)
        with torch.no_grad():
            correct &= rule(torch.where(is_shape, faded, around)).argmax(1) == y
    return correct


def choose_threshold(
    score: Callable[[Tensor], Tensor],
    standard: Classifier,
    robust: Classifier,
    split: Split,
    min_clean: float,
) -> float:
    """Return the lowest score from which on the robust network may answer.

    Args:
        score: Function from images (N, C, H, W) to scores (N,).
        standard: The network that answers for lower scores.
        robust: The network that answers for higher scores.
        split: The images to choose on.
        min_clean: Clean accuracy to keep on them, in [0, 1].

    Returns:
        A threshold. Infinity if only the standard network is accurate enough, or neither is.
    """
    scores, order = score(split.x).float().sort(descending=True)
    by_robust = (robust(split.x).argmax(1) == split.y)[order].double()
    by_standard = (standard(split.x).argmax(1) == split.y)[order].double()
    # Entry k: correct answers if the robust network gets the k + 1 images with the highest scores
    correct = by_robust.cumsum(0) + by_standard.sum() - by_standard.cumsum(0)
    enough = (correct >= min_clean * len(split)).nonzero()[:, 0]
    if not len(enough):
        return float("inf")
    last = int(enough.max())
    if last + 1 == len(split):
        return float("-inf")
    return scores[last + 1].item()


@cache
def _known() -> tuple[Data, Classifier, Classifier]:
    """The data set, and the two networks that a rule chooses between."""
    data = load_data("shapes", seed=0)
    standard, robust = (load(FOLDER / f"{name}.safetensors") for name in ("standard", "pgd-at"))
    return data, standard.at(), robust.at()


# ---- the checks ----------------------------------------------------------------------------------


@exercise(_trust_of, "oatlib.data.shapes.ShapesOptions")
def trust_of(theirs) -> None:
    """vividness (N,), trust of the palest shape, full -> trust (N,)."""
    vividness = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
    want = _trust_of(vividness, 0.3, 0.5)
    got = theirs(vividness.clone(), 0.3, 0.5)
    same(got[:1] if isinstance(got, Tensor) and got.ndim else got, want[:1], "at vividness 0 the "
         "trust should be `lowest`.")  # fmt: skip
    if got.shape == want.shape and got.max() > 1:
        raise Wrong("a probability cannot exceed 1: limit it with .clamp(max=1).")
    if got.shape == want.shape and abs(got[3].item() - 1) > 1e-5:
        raise Wrong(
            f"at vividness `full` the trust should be 1, and not {got[3].item():.3g}: divide the "
            "vividness by `full`, and rise from `lowest` to 1."
        )
    same(got, want, "between 0 and `full` the trust should rise along a straight line.")


@exercise(_clean_and_robust, "oatlib.evaluate")
def clean_and_robust(theirs) -> None:
    """believes (N,) bool, right (N,) probabilities -> (clean accuracy, robust accuracy)."""
    believes = torch.tensor([True, True, True, False, False, True, False, True])
    right = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 1.0])
    want = _clean_and_robust(believes, right)
    got = theirs(believes.clone(), right.clone())
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("it should return two numbers: clean accuracy, robust accuracy.")
    if any(isinstance(value, Tensor) and value.numel() != 1 for value in got):
        raise Wrong("each accuracy should be one number, the mean over the images.")
    clean, robust = (float(value) for value in got)
    if abs(clean - want[1]) < 1e-6 and abs(robust - want[0]) < 1e-6:
        raise Wrong("the two numbers are in the wrong order: clean accuracy comes first.")
    if abs(clean - want[0]) > 1e-6:
        raise Wrong(
            f"clean accuracy should be {want[0]:.4g} here, and not {clean:.4g}: without an attack "
            "the texture is always right, the shape with probability `right`."
        )
    if abs(robust - want[1]) > 1e-6:
        if abs(robust - right.mean().item()) < 1e-6:
            raise Wrong("robust accuracy: where the rule reads the texture, the attack wins.")
        raise Wrong(
            f"robust accuracy should be {want[1]:.4g} here, and not {robust:.4g}: under attack the "
            "texture is always wrong, the shape is right with probability `right`."
        )


@exercise(_believe_shape, "oatlib.best_frontier")
def believe_shape(theirs) -> None:
    """trust (N,), lam -> where to believe the shape, bool (N,)."""
    trust = torch.tensor([0.3, 0.55, 0.65, 0.75, 0.95, 1.0])
    got = theirs(trust.clone(), 0.4)
    if not isinstance(got, Tensor) or got.shape != trust.shape or got.dtype != torch.bool:
        raise Wrong(f"it should return a tensor of {len(trust)} times True or False.")
    want = _believe_shape(trust, 0.4)
    if torch.equal(got, ~want):
        raise Wrong("it believes the shape exactly where the texture has the higher score.")
    if torch.equal(got, trust > 0.4):
        raise Wrong(
            "it compares the trust with λ. The score of the texture is 1 - λ: it counts only "
            "unattacked images."
        )
    if got.all() or not got.any():
        raise Wrong(
            "at λ = 0.4 it treats all images alike. Compare the two scores for every image."
        )
    if not torch.equal(got, want):
        raise Wrong(
            f"at λ = 0.4 it should believe shapes of trust {trust[want].tolist()}, and believes "
            f"{trust[got].tolist()}."
        )
    if theirs(trust.clone(), 0.0).any():
        raise Wrong("at λ = 0 nobody attacks, so it should always believe the texture: use >.")
    if not theirs(trust.clone(), 1.0).all():
        raise Wrong("at λ = 1 every image is attacked, so it should always believe the shape.")


@exercise(_curve, "oatlib.best_frontier")
def curve(theirs) -> None:
    """trust (N,), lams, believe_shape, clean_and_robust -> list of (clean, robust)."""
    trust = torch.tensor([0.3, 0.55, 0.65, 0.75, 0.95, 1.0])
    lams = [0.0, 0.1, 0.4, 1.0]
    got = theirs(trust.clone(), list(lams), _believe_shape, _clean_and_robust)
    want = _curve(trust, lams, _believe_shape, _clean_and_robust)
    if not isinstance(got, list | tuple):
        raise Wrong("it should return a list of pairs (clean, robust), one for each λ.")
    if len(got) != len(lams):
        raise Wrong(f"it should return {len(lams)} points, one for each λ, and returns {len(got)}.")
    if any(not isinstance(point, tuple | list) or len(point) != 2 for point in got):
        raise Wrong("each point should be a pair: what clean_and_robust returns.")
    differs = [i for i in range(len(lams)) if abs(got[i][0] - want[i][0]) > 1e-6]
    if differs:
        raise Wrong(
            f"at λ = {lams[differs[0]]:g} clean accuracy should be {want[differs[0]][0]:.4g}, and "
            f"not {got[differs[0]][0]:.4g}: call both functions again for every λ, with the trust."
        )
    if any(abs(a[1] - b[1]) > 1e-6 for a, b in zip(got, want, strict=True)):
        raise Wrong("clean accuracy is right at every λ, robust accuracy is not.")


@exercise(_toss, "oatlib.coin")
def toss(theirs) -> None:
    """first (clean, robust), second (clean, robust), p -> (clean, robust) of the coin."""
    first, second = (1.0, 0.0), (0.8, 0.6)
    got = theirs(first, second, 0.25)
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("it should return two numbers: clean accuracy, robust accuracy.")
    got = tuple(float(value) for value in got)
    want, swapped = _toss(first, second, 0.25), _toss(second, first, 0.25)
    if max(abs(a - b) for a, b in zip(got, swapped, strict=True)) < 1e-6:
        raise Wrong("p is the probability of the second rule, and not of the first.")
    if max(abs(a - b) for a, b in zip(got, _toss(first, second, 0.5), strict=True)) < 1e-6:
        raise Wrong("it is the plain mean of both rules: weigh them with 1 - p and p.")
    if abs(got[0] - want[0]) > 1e-6:
        raise Wrong(f"clean accuracy should be {want[0]:.4g} here, and not {got[0]:.4g}.")
    if abs(got[1] - want[1]) > 1e-6:
        raise Wrong(
            f"clean accuracy is right. Robust accuracy should be {want[1]:.4g} here, and not "
            f"{got[1]:.4g}: it is a mean as well."
        )


@exercise(_two_networks, "oatlib.course.exercises.tour.measure_rule")
def two_networks(theirs) -> None:
    """x, believes (N,) bool, standard, robust -> logits (N, classes)."""
    x = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    believes = torch.tensor([True, False, True, True, False, False])

    def standard(z):
        return z.flatten(1)[:, :5]

    def robust(z):
        return -z.flatten(1)[:, 5:10]

    got = theirs(x, believes, standard, robust)
    want = _two_networks(x, believes, standard, robust)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if torch.equal(got, _two_networks(x, ~believes, standard, robust)):
            raise Wrong("the networks are swapped: `robust` reads the shape.")
        if torch.allclose(got, (standard(x) + robust(x)) / 2):
            raise Wrong("it averages both networks. Choose one of them for every image.")
        if torch.equal(got, robust(x)) or torch.equal(got, standard(x)):
            raise Wrong("it always asks the same network, whatever `believes` says.")
    same(got, want, "it should return, for every image, the logits of the network it chooses.")


@exercise(_how_vivid, "oatlib.course.exercises.tour.measure_rule")
def how_vivid(theirs) -> str:
    """x (N, 3, H, W) -> one score per image, (N,): the higher, the more vivid its shape."""
    data, standard, robust = _known()
    x, vividness = data.val.x[:64], data.val.facts["vividness"][:64]
    score = theirs(x.clone())
    _check_score(theirs, x, score, vividness)
    result = measure_rule(theirs, _two_networks, standard, robust, data, LEVEL, N)
    panel = data.test.panel(N)
    with torch.no_grad():
        standard_clean = (standard(panel.x).argmax(1) == panel.y).double().mean().item()
        robust_clean = (robust(panel.x).argmax(1) == panel.y).double().mean().item()
    attack, generator = Suite(EPS, budget="quick"), torch.Generator().manual_seed(0)
    _, kept = correct_at_every_point(robust, panel.x, panel.y, attack, generator)
    ends = (standard_clean, 0.0), (robust_clean, kept.double().mean().item())
    tossed = coin(*ends, min(result.clean, standard_clean)) or 0.0
    best = max(p.robust for p in best_frontier([i / 200 for i in range(201)]) if p.clean >= LEVEL)
    low, high = wilson(round(result.robust * result.n), result.n)
    measured = (
        f"Chosen for clean accuracy {LEVEL:.0%} on validation images, your rule has clean "
        f"{result.clean:.1%} and robust {result.robust:.1%} ({low:.1%} to {high:.1%}, n = "
        f"{result.n} test images). The coin at that clean accuracy: {tossed:.1%}."
    )
    if result.robust < tossed + MARGIN:
        raise Wrong(f"the score is valid, but too weak. {measured} Beat the coin by {MARGIN:.0%}.")
    return f"{measured} Best possible at {LEVEL:.0%}: {best:.1%}."


def _check_score(theirs, x: Tensor, score, vividness: Tensor) -> None:
    """Raise Wrong if a score cannot order images by their vividness."""
    if not isinstance(score, Tensor) or score.shape != (len(x),):
        shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
        raise Wrong(
            f"it should return one number per image, shape ({len(x)},), but returns {shape}."
        )
    if score.float().std() < 1e-6:
        raise Wrong("it gives every image the same score, so it cannot order them.")
    if not torch.allclose(theirs(x[:4].clone()).float(), score[:4].float(), atol=1e-5):
        raise Wrong("the score of an image depends on the other images of its batch.")
    if not torch.allclose(theirs(1 - x).float(), score.float(), atol=1e-3):
        raise Wrong(
            "a dark shape should score as high as an equally strong bright one: take the absolute "
            "difference to grey (0.5)."
        )
    pairs = torch.stack([score.detach().float(), vividness])
    agreement = torch.corrcoef(pairs)[0, 1].item()
    if agreement < 0:
        raise Wrong("it gives faint shapes the higher score: turn the sign around.")
    if agreement < 0.3:
        raise Wrong(
            f"the score has little to do with the vividness: their correlation is {agreement:.2f}."
        )
