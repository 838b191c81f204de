"""Exercises of lesson 08: noisy weights, and how to attack and to measure a random network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._random import randn_like_on
from . import Wrong, exercise, same


def _noisy_weight(weight: Tensor, alpha: Tensor, lam: float, generator: torch.Generator) -> Tensor:
    return weight + lam * alpha * weight.detach().std() * randn_like_on(weight, generator)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@exercise(_noisy_weight, "oatlib.layers.noise.WeightNoise")
def noisy_weight(theirs) -> None:
    """weight, alpha, lam, generator -> weight + λ·α·σ·(a sample of N(0, 1) for every entry)."""
    weight = (0.5 + 0.3 * torch.randn(5, 4, 3, 3, generator=_generator(0))).requires_grad_()
    alpha = torch.tensor(0.4, requires_grad=True)
    got, want = (
        theirs(weight, alpha, 0.5, _generator()),
        _noisy_weight(weight, alpha, 0.5, _generator()),
    )
    if isinstance(got, Tensor) and got.shape == want.shape:
        noise, unit = (got - weight).detach(), randn_like_on(weight, _generator())
        if not torch.equal(got, theirs(weight, alpha, 0.5, _generator())):
            raise Wrong(
                "two calls with equally seeded generators differ: draw with torch.randn(..., "
                "generator=...)."
            )
        if noise.std() < 1e-6 < noise.abs().max():
            raise Wrong(
                "all entries get the same noise: draw one number for every entry, "
                "torch.randn(weight.shape)."
            )
        if not torch.allclose(theirs(weight, alpha, 0.0, _generator()), weight):
            raise Wrong("at λ = 0 there should be no noise at all: multiply it by lam.")
        if torch.allclose(noise, 0.2 * unit, atol=1e-5):
            raise Wrong(
                "the noise does not depend on how large the weights are: multiply it by their std, "
                "σ."
            )
        if torch.allclose(noise, 0.2 * weight.detach().std(correction=0) * unit, atol=1e-5):
            raise Wrong(
                "nearly: σ divides by n - 1, as in FLOAT's code; that is std() without "
                "correction=0."
            )
    same(
        got,
        want,
        "it should be weight + lam·alpha·σ·draw, with σ the standard deviation of all entries of "
        "weight.",
    )
    _gradients(got, weight, alpha)


def _gradients(got: Tensor, weight: Tensor, alpha: Tensor) -> None:
    """Raise Wrong if no gradient reaches alpha, or if a gradient flows through σ."""
    grads = torch.autograd.grad(got.pow(2).sum(), (weight, alpha), allow_unused=True)
    if grads[1] is None:
        raise Wrong(
            "no gradient reaches alpha, so it cannot be learned: do not detach it or take its "
            "item()."
        )
    same(
        grads[0],
        2 * got.detach(),
        "a gradient flows through σ: detach the weight before taking its std.",
        1e-4,
    )


class _Random:
    """A network whose weights are sampled again at every call. It counts its calls."""

    def __init__(self, seed: int):
        self.weight, self.calls = torch.randn(12, 4, generator=_generator(seed)), 0
        self.generator = _generator(seed + 1)

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        noise = 1.5 * randn_like_on(self.weight, self.generator)
        return torch.tanh(x.flatten(1)) @ (self.weight + noise)


def _images() -> tuple[Tensor, Tensor]:
    return torch.rand(9, 3, 2, 2, generator=_generator(5)), torch.arange(9) % 4


def _eot_gradient(f, x: Tensor, y: Tensor, draws: int, reduction: str = "sum") -> Tensor:
    x = x.detach().requires_grad_()
    losses = (F.cross_entropy(f(x), y, reduction=reduction) for _ in range(draws))
    return sum(torch.autograd.grad(loss, x)[0] for loss in losses) / draws


@exercise(_eot_gradient, "oatlib.PGD")
def eot_gradient(theirs) -> None:
    """f, x, y, draws -> gradient of the summed loss with respect to x, averaged over the draws."""
    (x, y), f = _images(), _Random(2)
    got, want = theirs(f, x.clone(), y, 5), _eot_gradient(_Random(2), x, y, 5)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if f.calls < 5:
            raise Wrong(
                "f was not called once for each draw: its weights are new at every call, and only "
                "then."
            )
        at, again = x.clone().requires_grad_(), _Random(2)
        mean = sum(again(at) for _ in range(5)) / 5
        if torch.allclose(
            got, torch.autograd.grad(F.cross_entropy(mean, y, reduction="sum"), at)[0], atol=1e-5
        ):
            raise Wrong("it averages the logits and then takes one loss: average the gradients.")
        if torch.allclose(got, 5 * want, atol=1e-5):
            raise Wrong("it is the sum over the draws: divide by how many there are.")
        if torch.allclose(got, want / len(x), atol=1e-6):
            raise Wrong(
                "the loss is a mean over images, so each gradient depends on how many there are: "
                "sum it."
            )
    same(
        got,
        want,
        "it should be the mean over draws of the gradient of the cross-entropy, each of a new call "
        "of f.",
    )


def _twin_accuracy(f, x: Tensor, x_adv: Tensor, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    clean, robust = torch.zeros(draws), torch.zeros(draws)
    for i in range(draws):
        with torch.no_grad():
            right, holds = (f(torch.cat([x, x_adv])).argmax(1) == torch.cat([y, y])).chunk(2)
        clean[i], robust[i] = right.float().mean(), (right & holds).float().mean()
    return clean, robust


@exercise(_twin_accuracy, "oatlib.evaluate")
def twin_accuracy(theirs) -> None:
    """f, x, x_adv, y, draws -> clean and robust accuracy, (draws,) each, one value per draw."""
    (x, y), f = _images(), _Random(3)
    x_adv = (x + 0.3 * torch.randn(x.shape, generator=_generator(6))).clamp(0, 1)
    got, want = theirs(f, x, x_adv, y, 20), _twin_accuracy(_Random(3), x, x_adv, y, 20)
    if not (isinstance(got, tuple) and len(got) == 2):
        raise Wrong("it should return two things: clean, robust.")
    if f.calls > 20:
        raise Wrong(
            "image and twin met different weights: send both through f in one call, torch.cat([x, "
            "x_adv])."
        )
    if f.calls < 20:
        raise Wrong(
            "f was not called once for each draw: one draw says nothing about their spread."
        )
    clean, robust = (torch.as_tensor(part, dtype=torch.float32) for part in got)
    same(
        clean,
        want[0],
        "clean accuracy should be the share of images x that are right, of each draw.",
    )
    if (robust > clean + 1e-6).any():
        raise Wrong(
            "robust is above clean: the unchanged image lies in the ball, too, so both must be "
            "right."
        )
    same(
        robust,
        want[1],
        "robust should be the share of images that are right as they are and as their twin.",
    )
