"""Exercises of lesson 10: parts of stronger attacks.

They are a loss that ignores the scale of the logits, shorter steps at checkpoints, a search without
gradients, and the worst case of several attacks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...attacks.apgd import is_stuck
from ...attacks.losses import dlr, margin_loss
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
        "the unit is the gap between the first and the second logit: for whoever is right, that "
        "gives -1 always.": margin_loss(z, y) / (top[:, 0] - top[:, 1]),
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
            "whoever is right gets 0, however sure: look for the best WRONG class, without y."
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
        raise Wrong("it should return two tensors: the new sizes, and who was halved now.")
    few, idle = rose < 7.5, ~better
    mistakes = {
        "it halves whoever found nothing better, though his step was halved a checkpoint ago: give "
        "him a pause.": few | idle,
        "it looks at the rising steps only: who found nothing better in a whole pause must be "
        "halved, too.": few,
        "it looks at the best loss only: who rose in fewer than three quarters of the steps must "
        "be halved, too.": idle & ~halved,
        "both reasons must hold together here: one of them is enough.": few & idle & ~halved,
    }
    for mistake, mask in mistakes.items():
        if torch.allclose(
            torch.as_tensor(got[0], dtype=size.dtype), torch.where(mask, size / 2, size)
        ):
            raise Wrong(mistake)
    same(got[0], new, "sizes should be halved for those who are stuck, and stay for all others.")
    same(
        got[1],
        marks,
        "the second tensor should say who was halved NOW: the next checkpoint asks for it.",
    )


def _blind_step(f, y: Tensor, best: Tensor, tried: Tensor) -> Tensor:
    with torch.no_grad():
        wins = margin_loss(f(tried), y) > margin_loss(f(best), y)
    return torch.where(wins.view(-1, *[1] * (best.dim() - 1)), tried, best)


@exercise(_blind_step, "oatlib.Square")
def blind_step(theirs) -> None:
    """f, y (N,), best, tried (N, C, H, W) -> per image, best or tried: the one of larger margin."""
    generator = torch.Generator().manual_seed(2)
    best, tried = (torch.rand(12, 1, 3, 3, generator=generator) for _ in range(2))
    weight, y = torch.randn(9, 4, generator=generator), torch.arange(12) % 4

    def f(x):
        """the factor makes the cross-entropy of correctly classified images 0"""
        return 1e4 * (x.flatten(1) @ weight)

    y[:8] = f(best[:8]).argmax(1)
    tried[:4] = best[:4] + 0.01 * (tried[:4] - best[:4])  # correct before and after the step
    got, want = theirs(f, y, best.clone(), tried.clone()), _blind_step(f, y, best, tried)
    now, old = (torch.nn.functional.cross_entropy(f(x), y, reduction="none") for x in (tried, best))
    gain = margin_loss(f(tried), y) - margin_loss(f(best), y)
    mistakes = {
        "it always takes what was tried: a step that makes it worse must be refused.": tried,
        "it keeps the one with the smaller margin: that is the defender's choice.": torch.where(
            (gain > 0).view(-1, 1, 1, 1), best, tried
        ),
        "it compares the cross-entropy, which is 0 on both sides where the network is sure: "
        "compare the margin.": torch.where((now > old).view(-1, 1, 1, 1), tried, best),
        "it decides for all images together: each image has a choice of its own.": tried
        if gain.mean() > 0
        else best,
    }
    for mistake, value in mistakes.items():
        if isinstance(got, Tensor) and got.shape == value.shape and torch.equal(got, value):
            raise Wrong(mistake)
    if isinstance(got, Tensor) and got.requires_grad:
        raise Wrong(
            "what it returns hangs on a gradient: this attacker has none, work under "
            "torch.no_grad()."
        )
    same(got, want, "it should be `tried` where its margin is larger, and `best` everywhere else.")


def _worst_case(f, x: Tensor, y: Tensor, attacks) -> Tensor:
    with torch.no_grad():
        stands = f(x).argmax(1) == y
        for attack in attacks:
            index = stands.nonzero()[:, 0]
            with torch.enable_grad():
                x_adv = attack(f, x[index], y[index])
            stands[index] = f(x_adv).argmax(1) == y[index]
    return stands


class _Planted:
    """An attack on images (margin, number), for tests.

    It fools the images whose number is in `fools`, changes the others a little, and keeps its
    input.
    """

    def __init__(self, *fools: int):
        self.fools, self.given = torch.tensor(fools), None

    def __call__(self, f, x: Tensor, y: Tensor) -> Tensor:
        self.given, x_adv = x.clone(), x.clone()
        hit = torch.isin(x[:, 1].long(), self.fools)
        x_adv[:, 0] = torch.where(hit, -1.0, x[:, 0] - 0.1)
        return x_adv


@exercise(_worst_case, "oatlib.Suite")
def worst_case(theirs) -> None:
    """f, x, y, attacks -> (N,) bool: correct on x and under all attacks; skips fooled images."""
    x, y = torch.stack([torch.ones(8), torch.arange(8.0)], 1), torch.zeros(8, dtype=torch.int64)
    x[0, 0] = -1  # misclassified without any attack
    attacks = [_Planted(1, 2), _Planted(2, 3), _Planted(0, 5)]

    def f(images):
        return torch.stack([images[:, 0], torch.zeros_like(images[:, 0])], 1)

    got, want = (
        theirs(f, x.clone(), y.clone(), attacks),
        torch.tensor([0, 0, 0, 0, 1, 0, 1, 1], dtype=torch.bool),
    )
    if not isinstance(got, Tensor) or got.dtype != torch.bool or got.shape != want.shape:
        raise Wrong(
            "it should return one True or False for each image, a tensor of bool (N,): no share of "
            "them."
        )
    if any(attack.given is None for attack in attacks):
        raise Wrong("an attack in the list was never called: all of them must be tried.")
    if any(not torch.equal(attack.given, x[attack.given[:, 1].long()]) for attack in attacks):
        raise Wrong(
            "an attack was given the images that an earlier one had changed: each begins at x "
            "itself."
        )
    if torch.equal(got, ~torch.isin(torch.arange(8), attacks[-1].fools)):
        raise Wrong("only the last attack counts here: who fell to an earlier one has fallen.")
    if got[0]:
        raise Wrong("an image that is wrong as it is counts as robust: nobody needs to attack it.")
    if max(len(attack.given) for attack in attacks[1:]) > 5 or len(attacks[0].given) > 7:
        raise Wrong(
            "an attack was given images that had fallen already: only survivors go on, or it costs "
            "too much."
        )
    same(got, want, "it should be True where f is right on x and on what every attack made of it.")
