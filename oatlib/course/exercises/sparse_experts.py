"""Exercises of lesson 09: sparse masks, and interpolation between the weights of two networks.

Masks change during training, or split the weights between two experts that share none.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor

from ...layers.masks import Masks, count
from ...layers.setting import CLEAN
from ...training import rewire
from . import Wrong, exercise, same


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _masks(weight: Tensor, kind: str, density: float, generator: torch.Generator) -> Masks:
    """Make the masks of the library, with random places from `generator`, not the global one."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator.get_state())
        return Masks(weight, kind, density)


def _prune_regrow(weight: Tensor, keep: Tensor, momentum: Tensor, rate: float) -> Tensor:
    masks = _masks(weight, "shared", 0.5, _generator())
    masks.clean = keep.clone()
    unit = SimpleNamespace(masks=masks, conv=SimpleNamespace(weight=weight.detach().clone()))
    number = rewire._drop(unit, CLEAN, rate)
    rewire._grow(masks.clean, momentum.abs(), number)
    return masks.clean


@exercise(_prune_regrow, "oatlib.training.rewire.rewire")
def prune_regrow(theirs) -> None:
    """weight, keep, momentum, rate -> mask after dropping small weights and growing absent ones."""
    weight, momentum = (torch.randn(6, 3, generator=_generator(seed)) for seed in (0, 3))
    keep = _masks(weight, "shared", 0.5, _generator(2)).clean
    given = keep.clone()
    got, want = (
        theirs(weight * keep, keep, momentum, 0.3),
        _prune_regrow(weight, given, momentum, 0.3),
    )
    if not torch.equal(keep, given):
        raise Wrong("it changes the mask that it was given: work on keep.clone() and return that.")
    if not isinstance(got, Tensor) or got.shape != keep.shape:
        return same(got, want, "")
    number, kept = math.ceil(0.3 * given.sum().item()), given.sum().item()
    got = got.bool()
    if got.sum() != kept:
        raise Wrong(
            f"{kept} weights were kept and now it is {got.sum()}: as many must grow as go, "
            f"ceil(rate·kept) = {number}."
        )
    if torch.equal(got, _prune_regrow(-1 / (weight.abs() + 1e-3), given, momentum, 0.3)):
        raise Wrong("it drops the largest weights: the smallest |weight| go.")
    if torch.equal(got, _by(weight, given, momentum, number, sizes=lambda w: w)):
        raise Wrong("it drops the most negative weights: small means a small |weight|.")
    if torch.equal(got, _by(weight, given, momentum, number, pushed=lambda m: m)):
        raise Wrong(
            "it grows where momentum is most positive: a strong push in either direction counts, "
            "|momentum|."
        )
    same(
        got,
        want,
        "drop the smallest |weight| of the kept, then grow where |momentum| of the absent is "
        "largest.",
    )


def _by(
    weight: Tensor, keep: Tensor, momentum: Tensor, number: int, sizes=Tensor.abs, pushed=Tensor.abs
) -> Tensor:
    """Return the mask if weights are ranked by `sizes` and momenta by `pushed`."""
    keep = keep.clone().flatten()
    keep[sizes(weight).flatten().masked_fill(~keep, torch.inf).argsort()[:number]] = False
    keep[
        pushed(momentum).flatten().masked_fill(keep, -torch.inf).argsort(descending=True)[:number]
    ] = True
    return keep.view(weight.shape)


def _two_experts(
    weight: Tensor, density: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    masks = _masks(weight, "complementary", density, generator)
    return masks.clean, masks.adv


@exercise(_two_experts, "oatlib.layers.masks.Masks")
def two_experts(theirs) -> None:
    """weight, density, generator -> two masks: a random fraction density, and the other weights."""
    weight = torch.zeros(6, 3)
    got = theirs(weight, 0.4, _generator())
    if not (isinstance(got, tuple) and len(got) == 2):
        raise Wrong("it should return two masks: clean, adv.")
    clean, adv = got
    for mask in got:
        same(mask, torch.ones_like(weight) * torch.as_tensor(mask), "")
        if mask.dtype != torch.bool:
            raise Wrong(
                f"masks should hold True and False (torch.bool), not {mask.dtype}: `~` then gives "
                "the others."
            )
    if (clean & adv).any():
        raise Wrong(
            f"{(clean & adv).sum()} weights serve both experts: the second mask is what the first "
            "leaves over."
        )
    if not (clean | adv).all():
        raise Wrong(
            f"{(~(clean | adv)).sum()} weights serve nobody: the second mask is all that the first "
            "leaves."
        )
    wanted, found = (
        count(weight.numel(), 0.4),
        [int(theirs(weight, 0.4, _generator(s))[0].sum()) for s in range(8)],
    )
    if set(found) != {wanted}:
        raise Wrong(
            f"the clean mask should keep exactly round(density·18) = {wanted} weights, it keeps "
            f"{found[:3]}..."
        )
    if all(torch.equal(theirs(weight, 0.4, _generator(s))[0], clean) for s in range(8)):
        raise Wrong(
            "it keeps the same weights every time: take random places, torch.randperm(..., "
            "generator=...)."
        )


def _blend_weights(clean: dict, adv: dict, lam: float) -> dict:
    return {name: (1 - lam) * clean[name] + lam * adv[name] for name in clean}


@exercise(_blend_weights, "oatlib.networks.network.Network")
def blend_weights(theirs) -> None:
    """clean, adv (state dicts), lam -> state dict at lam on the straight line from clean to adv."""
    clean, adv = (
        {k: torch.randn(s, generator=_generator(seed)) for k, s in _SHAPES.items()}
        for seed in (0, 1)
    )
    given = {name: tensor.clone() for name, tensor in clean.items()}
    got, want = theirs(clean, adv, 0.3), _blend_weights(given, adv, 0.3)
    if any(not torch.equal(clean[name], given[name]) for name in given):
        raise Wrong("it changes the weights that it was given: make new tensors.")
    if not isinstance(got, dict) or set(got) != set(want):
        raise Wrong(f"it should return a dict with the same names: {', '.join(want)}.")
    if torch.allclose(got["conv.weight"], _blend_weights(clean, adv, 0.7)["conv.weight"]):
        raise Wrong("the ends are swapped: λ = 0 is the clean end.")
    if not torch.allclose(got["conv.bias"], want["conv.bias"]) and torch.allclose(
        got["conv.weight"], want["conv.weight"]
    ):
        raise Wrong("biases have to be mixed like the weights: the shift of BatchNorm is in them.")
    for name in want:
        same(got[name], want[name], "each entry should be (1 - λ)·clean + λ·adv.")


_SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "head.weight": (5, 4)}
