"""Exercises of lesson 02: two losses of adversarial training, and when to stop a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...attacks.pgd import FGSM
from ...training.labels import Labels
from ...training.losses import hybrid, kl
from ...training.monitor import DROP
from . import Wrong, exercise, same


def _at_loss(net, x: Tensor, y: Tensor, attack, lam: float) -> Tensor:
    labels = Labels(y, torch.full((len(y),), float(lam)), 0)
    return hybrid(net(x), net(attack(net, x, y)), labels)


def _case() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a small network with trainable weights, images (6, 3, 4, 4) and labels (6,)."""
    generator = torch.Generator().manual_seed(5)
    x, y = (
        torch.rand(6, 3, 4, 4, generator=generator),
        torch.randint(0, 5, (6,), generator=generator),
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 5)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net, x, y


@exercise(_at_loss, "oatlib.training.losses.hybrid")
def at_loss(theirs) -> None:
    """net, x, y, attack, lam -> mean over images of (1 - lam)·clean loss + lam·attacked loss."""
    net, x, y = _case()
    attack, lam = FGSM(0.2), 0.3
    got, want = theirs(net, x.clone(), y, attack, lam), _at_loss(net, x, y, attack, lam)
    if isinstance(got, Tensor) and got.numel() == 1:
        clean, attacked = (_at_loss(net, x, y, attack, end) for end in (0.0, 1.0))
        mistakes = (
            (
                clean,
                "the network meets the images as they are only: call attack(net, x, y) first, the "
                "inner maximum.",
            ),
            (
                attacked,
                "lam is not used: the images as they are count too, with the weight 1 - lam.",
            ),
            (
                lam * clean + (1 - lam) * attacked,
                "the weights are the wrong way round: lam = 0 is ordinary training.",
            ),
            (
                -want,
                "the attacker wants the loss to rise, the defender wants it to fall: no minus "
                "sign.",
            ),
            (
                len(x) * want,
                "it is a sum over the images: take the mean, or the step grows with the batch.",
            ),
        )
        for value, mistake in mistakes:
            if torch.allclose(got, value.to(got), atol=1e-5):
                raise Wrong(mistake)
        if not got.requires_grad:
            raise Wrong(
                "no gradient reaches the weights: leave out detach, no_grad and item; the attack "
                "detaches alone."
            )
    same(
        got,
        want,
        "it should be (1 - lam)·CE(net(x), y) + lam·CE(net(attack(net, x, y)), y), both means over "
        "images.",
    )


@exercise(lambda clean, attacked: kl(attacked, clean.log_softmax(1)), "oatlib.training.losses.kl")
def trades_kl(theirs) -> None:
    """clean, attacked (logits (N, C)) -> KL(softmax clean || softmax attacked) per image, (N,)."""
    clean, attacked = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(6)) * 2
    got, want = theirs(clean.clone(), attacked.clone()), kl(attacked, clean.log_softmax(1))
    if isinstance(got, Tensor):
        if got.numel() == 1:
            raise Wrong(
                "it returns one number: keep one value per image, sum over the classes only."
            )
        if got.shape == clean.shape:
            raise Wrong("it returns a value per class: sum over dimension 1, the classes.")
        if got.shape == want.shape and torch.allclose(
            got, kl(clean, attacked.log_softmax(1)), atol=1e-5
        ):
            raise Wrong(
                "the direction is reversed: the clean answer is the target, so its probabilities "
                "are the weights."
            )
        if got.shape == want.shape and torch.allclose(got, -want, atol=1e-5):
            raise Wrong(
                "the sign is wrong: it should be 0 for equal answers and positive for others."
            )
    same(
        got,
        want,
        "it should be the sum over classes of p·(log p - log q), with p = softmax(clean), q = "
        "softmax(attacked).",
    )


def _fell_at(curve, drop: float = DROP) -> int | None:
    """Reference solution: the rule that `Watch.verdict` applies to one epoch after another."""
    best = 0.0
    for epoch, robust in enumerate(curve):
        if robust < best - drop:
            return epoch
        best = max(best, robust)
    return None


@exercise(_fell_at, "oatlib.training.monitor.Watch")
def fell_at(theirs) -> None:
    """curve (robust accuracies), drop -> first epoch over drop below the best so far, or None."""
    slow, noisy = [0.1, 0.5, 0.62, 0.5, 0.38, 0.25, 0.2], [0.3, 0.25, 0.4, 0.22, 0.35, 0.45]
    got = theirs(list(slow), 0.2)
    if got == 2:
        raise Wrong(
            "this is the epoch with the best robust accuracy: the first one that lies too far "
            "below it is wanted."
        )
    if got is None:
        raise Wrong(
            "it misses a slow fall: compare with the best epoch so far, not with the one before or "
            "the first."
        )
    if got != 4:
        raise Wrong(
            f"of {slow} with drop = 0.2 it should return 4 (from 0.62 to 0.38), but returns "
            f"{got!r}."
        )
    if theirs(list(noisy), 0.2) is not None:
        raise Wrong("where robust accuracy never falls by more than drop, it should return None.")
    if theirs([0.1, 0.3, 0.6], 0.2) is not None:
        raise Wrong("it compares with an epoch that is still to come: only earlier ones count.")
