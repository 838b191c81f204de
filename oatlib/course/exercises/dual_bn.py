"""Exercises of lesson 03: what BatchNorm computes, and separate statistics for each world.

A world is one of two groups of images: 0 for clean ones, 1 for attacked ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.dual_bn import DualBN
from . import Wrong, exercise, same


def _batch(seed: int) -> Tensor:
    """Return features (4, 3, 2, 2) on which mistakes show.

    There are few values per channel, so that n and n - 1 differ, and the last channel hardly
    varies, so that eps matters.
    """
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([1.0, 3.0, 0.003]).view(3, 1, 1) + torch.tensor([0.5, -2.0, 1.0]).view(
        3, 1, 1
    )


def _batch_norm(x: Tensor, mean: Tensor, var: Tensor, momentum: float = 0.1, eps: float = 1e-5):
    mean, var = mean.clone(), var.clone()
    return F.batch_norm(x, mean, var, None, None, True, momentum, eps), mean, var


def _normal(x: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + eps).sqrt()


@exercise(_batch_norm, "torch.nn.BatchNorm2d")
def batch_norm(theirs) -> None:
    """x (N, C, H, W), running mean and var (C,) -> normalised x, new mean, new var."""
    x, mean, var = _batch(0), torch.tensor([0.2, -1.0, 0.9]), torch.tensor([1.5, 2.0, 0.5])
    got = theirs(x.clone(), mean.clone(), var.clone())
    if not (isinstance(got, tuple | list) and len(got) == 3):
        raise Wrong("it should return three tensors: x normalised, the new mean, the new variance.")
    want = _batch_norm(x, mean, var)
    _look_at_values(got[0], x, mean, var)
    same(
        got[0],
        want[0],
        "x should come out as (x - mean) / sqrt(variance + eps), with one mean for each channel.",
    )
    if _like(got[1], 0.1 * mean + 0.9 * x.mean((0, 2, 3))):
        raise Wrong(
            "the mean forgets too fast: one tenth (momentum) of what is new, nine tenths of what "
            "was kept."
        )
    same(
        got[1],
        want[1],
        "the new mean should be (1 - momentum)·mean + momentum·(mean of this batch).",
    )
    if _like(got[2], 0.9 * var + 0.1 * x.var((0, 2, 3), correction=0)):
        raise Wrong(
            "the variance that is kept is an estimate for all images to come: there, divide by n - "
            "1."
        )
    if _like(got[2], 0.9 * var + 0.1 * x.std((0, 2, 3))):
        raise Wrong("a variance is kept, not a standard deviation.")
    same(
        got[2],
        want[2],
        "the new variance should be (1 - momentum)·var + momentum·(variance of this batch).",
    )


def _look_at_values(got, x: Tensor, mean: Tensor, var: Tensor) -> None:
    """Raise Wrong if x was normalised with one of the common mistakes."""
    batch, biased, unbiased = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0), x.var((0, 2, 3))
    if _like(got, _normal(x, mean, var)):
        raise Wrong("it uses the statistics that were kept: in training those of this batch count.")
    if _like(got, _normal(x, batch, unbiased)):
        raise Wrong(
            "within the batch the variance is the mean of the squares: divide by n, not by n - 1."
        )
    if _like(got, _normal(x, batch, biased, eps=0)):
        raise Wrong("eps is missing: a channel that hardly varies would be blown up.")
    if _like(got, (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()):
        raise Wrong(
            "every pixel has a mean of its own: average over images, rows and columns, dims (0, 2, "
            "3)."
        )


def _like(got, want: Tensor) -> bool:
    return (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got, want, atol=1e-4, rtol=1e-4)
    )


def _dual_norm(x: Tensor, world: Tensor, eps: float = 1e-5) -> Tensor:
    order, pair = torch.argsort(world, stable=True), DualBN(x.shape[1], affine=False).train()
    keys, counts = world[order].unique_consecutive(return_counts=True)
    out = pair(x[order], tuple(zip(keys.tolist(), counts.tolist(), strict=True)))
    return torch.empty_like(x).index_copy(0, order, out)


@exercise(_dual_norm, "oatlib.layers.dual_bn.DualBN")
def dual_norm(theirs) -> None:
    """x (N, C, H, W), world (N,) of 0 and 1 -> x, normalised with the statistics of each world."""
    x, world = torch.cat([_batch(1), 2 * _batch(2) + 1]), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    got, want = theirs(x.clone(), world.clone()), _dual_norm(x, world)
    if _like(got, _normal(x, x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))):
        raise Wrong("one crowd of all images: take mean and variance of each world by itself.")
    if _like(got, want[torch.argsort(world, stable=True)]):
        raise Wrong("the images come out sorted by world: put each back where it came from.")
    if _like(got, _dual_norm(x, torch.arange(8) // 4)):
        raise Wrong("the worlds come in any order, not as two halves: ask `world`.")
    if _like(got, _dual_norm(x, world) * (world == 0).view(-1, 1, 1, 1)):
        raise Wrong("the images of world 1 are lost.")
    same(
        got,
        want,
        "each image should be normalised by mean and variance (divide by n) of the images of its "
        "world.",
    )
    alone = torch.ones(8, dtype=torch.long)
    if not _like(theirs(x.clone(), alone), _dual_norm(x, alone)):
        raise Wrong("a batch may hold images of one world only.")
