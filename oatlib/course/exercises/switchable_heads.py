"""Exercises of lesson 07: an output layer per width, and the gain of choosing a sub-network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...layers.head import Head
from . import Wrong, exercise, same


def _switched_head(features: Tensor, heads: Sequence[nn.Linear], index: int) -> Tensor:
    return heads[index](features)


def _heads() -> tuple[list[nn.Linear], Tensor]:
    """Return three heads, the last two with the same number of features, and features (5, 4)."""
    generator, heads = torch.Generator().manual_seed(0), []
    for size in (2, 4, 4):
        heads.append(nn.Linear(size, 3))
        with torch.no_grad():
            for p in heads[-1].parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
    return heads, torch.randn(5, 4, generator=generator)


@exercise(_switched_head, "oatlib.layers.head.Head")
def switched_head(theirs) -> None:
    """features, heads, index -> logits of heads[index]."""
    heads, features = _heads()
    for index in range(3):
        given = features[:, : heads[index].in_features]
        want, got = heads[index](given), theirs(given, heads, index)
        if isinstance(got, Tensor) and got.shape == want.shape:
            if torch.allclose(got, want.softmax(1), atol=1e-5):
                raise Wrong(
                    "it returns probabilities; a head returns logits, and the loss does the rest."
                )
            if index == 0 and torch.allclose(got, _shared(heads, given), atol=1e-5):
                raise Wrong(
                    "this is the shared head, cut to the features that arrive; take the width's "
                    "own one."
                )
            if index == 1 and torch.allclose(got, heads[2](given), atol=1e-5):
                raise Wrong(
                    "it finds the head by its number of features, which two widths share: use the "
                    "index."
                )
            if index == 2 and torch.allclose(got, heads[1](given), atol=1e-5):
                raise Wrong(
                    "it takes the first head that fits the features; two widths fit: use the index."
                )
        same(got, want, "it should be what heads[index] gives for these features.")


def _shared(heads: Sequence[nn.Linear], given: Tensor) -> Tensor:
    """Compute the result of a shared head: the largest one, cut to the features."""
    full = heads[-1]
    return given @ full.weight[:, : given.shape[1]].T + full.bias


def _head_parameters(features: int, classes: int, widths: Sequence[float]) -> int:
    kinds = [Head(features, classes, tuple(widths), own=own) for own in (True, False)]
    own, shared = (sum(p.numel() for p in kind.parameters()) for kind in kinds)
    return own - shared


@exercise(_head_parameters, "oatlib.layers.head.Head")
def head_parameters(theirs) -> None:
    """features, classes, widths -> parameters of a head per width, minus those of a shared head."""
    features, classes, widths = 12, 5, (0.25, 0.5, 1.0)
    got, want = theirs(features, classes, widths), _head_parameters(features, classes, widths)
    shared, biases = (features + 1) * classes, classes * (len(widths) - 1)
    if got == want + shared:
        raise Wrong("these are all parameters of the own heads: subtract those of the shared head.")
    if got == want - biases:
        raise Wrong("the biases are missing: each head has one for every class.")
    if got == (len(widths) - 1) * shared:
        raise Wrong(
            "a narrow head is narrow, too: it has int(features * width) weights for every class."
        )
    if got != want:
        raise Wrong(
            f"for {features} features, {classes} classes and widths {widths} it should be {want}, "
            f"not {got}."
        )
    if theirs(10, 3, (0.25, 1.0)) != _head_parameters(10, 3, (0.25, 1.0)):
        raise Wrong("a quarter of ten features is two: round down, with int(features * width).")


def _held_out_gain(gains: Tensor) -> float:
    kept = []
    for s in range(len(gains)):
        others = torch.cat([gains[:s], gains[s + 1 :]])
        kept.append(gains[s, others.mean(0).argmax()].item())
    return sum(kept) / len(kept)


@exercise(_held_out_gain, "oatlib.course.exercises.switchable_heads._held_out_gain")
def held_out_gain(theirs) -> None:
    """gains (seeds, sub-networks) -> mean gain if each choice is made on the other seeds."""
    gains = torch.tensor(
        [[1.0, 5.0, 2.0, 0.5], [4.0, -3.0, 3.5, 1.0], [0.0, 2.0, 2.5, 6.0], [1.0, 0.0, 2.0, -4.0]]
    )
    got, want = float(theirs(gains.clone())), _held_out_gain(gains)
    if abs(got - gains.max(1).values.mean()) < 1e-5:
        raise Wrong(
            "this is the mean of the maxima: each seed is measured on the very gains it was chosen "
            "by."
        )
    if abs(got - gains.mean(0).max()) < 1e-5:
        raise Wrong(
            "the choice has seen all seeds, also the one it is measured on: leave that one out."
        )
    if abs(got - gains.mean()) < 1e-5:
        raise Wrong("this is the mean over all sub-networks: choose one on the other seeds.")
    if abs(got - _the_wrong_way_round(gains)) < 1e-5:
        raise Wrong("it chooses on one seed and measures on the others: do it the other way round.")
    if abs(got - want) > 1e-5:
        raise Wrong(f"for the gains {gains.tolist()} it should be {want:g}, not {got:g}.")


def _the_wrong_way_round(gains: Tensor) -> float:
    """Compute the result of a common mistake: choose on one seed, and measure on the others."""
    rest = [
        torch.cat([gains[:s], gains[s + 1 :]])[:, row.argmax()].mean().item()
        for s, row in enumerate(gains)
    ]
    return sum(rest) / len(rest)
