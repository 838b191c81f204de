"""Slimming: a narrow network is the first channels of every layer of the wide one.

Weights are shared by all widths, but their BatchNorms are not: what arrives at a channel is a sum over the channels
before it, so its mean and variance differ from width to width.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dual_bn import DualBN
from .setting import Width

SHARING = ("none", "affine", "all")  # what the BatchNorms of the widths share


class SlimConv(nn.Conv2d):
    """A conv without bias whose weight is sliced. `slim` says whether its inputs and its outputs follow the width."""

    def __init__(self, cin: int, cout: int, kernel: int, stride=1, depthwise=False, slim=(True, True)):
        groups = cout if depthwise else 1
        super().__init__(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.slim = slim

    def sliced(self, width: Width, weight: Tensor | None = None) -> Tensor:
        """The weight (cout, cin, k, k), or another one in its place, at a width; a depthwise conv keeps its one input
        channel."""
        weight = self.weight if weight is None else weight
        cout, cin = self.out_channels, self.weight.shape[1]
        if self.slim[1]:
            cout = width.cut(cout)
        if self.slim[0] and self.groups == 1:
            cin = width.cut(cin)
        if weight.shape[:2] == (cout, cin):
            return weight
        return weight[:cout, :cin].contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, cin, H, W) -> (N, cout, H/stride, W/stride) with a weight that is already cut to the width."""
        stride = self.stride
        if self.kernel_size == (1, 1) and stride != (1, 1):
            # the same numbers, but not PyTorch's strided kernel: below 8 channels its weight gradient writes outside
            # its memory on AVX2 processors (oneDNN issue 6035)
            x, stride = F.avg_pool2d(x, 1, stride), (1, 1)
        groups = len(weight) if self.groups > 1 else 1
        return F.conv2d(x, weight, None, stride, self.padding, 1, groups)


class SlimNorm(nn.Module):
    """A (dual) BatchNorm for every width. They share nothing by default (switchable BatchNorm).

    `affine`: one w and b, sliced, but statistics of their own. `all`: one BatchNorm, sliced; a lesson shows it fail.
    """

    def __init__(self, channels: tuple[int, ...], dual: bool, sharing: str = "none"):
        super().__init__()
        if sharing not in SHARING:
            raise ValueError(f"unknown BatchNorm sharing {sharing!r}: use one of {', '.join(SHARING)}")
        self.sharing = sharing
        kept = channels[-1:] if sharing == "all" else channels
        self.pairs = nn.ModuleList(
            DualBN(c, dual, affine=sharing != "affine" or i == len(kept) - 1) for i, c in enumerate(kept)
        )

    def at(self, width: Width, channels: int) -> DualBN:
        """The BatchNorm of a width, of so many channels."""
        if self.sharing == "none":
            return self.pairs[width.index]
        full = self.pairs[-1]
        own = full if self.sharing == "all" else None if width.index is None else self.pairs[width.index]
        view = copy.copy(full)
        view._modules = {
            name: None if bn is None else _view(bn, None if own is None else own._modules[name], channels)
            for name, bn in full._modules.items()
        }
        return view


def _view(full: nn.BatchNorm2d, own: nn.BatchNorm2d | None, channels: int) -> nn.BatchNorm2d:
    """The first channels of a BatchNorm, with the statistics of another; with none, it uses those of each batch.

    Slices are views, so training through it moves what they were taken from.
    """
    view = copy.copy(full)
    view._parameters = {name: p[:channels] for name, p in full._parameters.items()}
    names = ("running_mean", "running_var", "num_batches_tracked")
    view._buffers = dict.fromkeys(names) if own is None else {n: own._buffers[n] for n in names}
    if own is not None:
        view._buffers |= {n: own._buffers[n][:channels] for n in names[:2]}
    return view
