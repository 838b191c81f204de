"""Slimming: a narrow network uses the first channels of every layer of the full-width network.

All widths share the weights, but not the BatchNorms. Each channel is a sum over the channels of the
previous layer, so its mean and variance differ from width to width.
"""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dual_bn import DualBN
from .setting import Width

Sharing = Literal["none", "affine", "all"]  # what the BatchNorms of the widths share, see SlimNorm
SHARING = get_args(Sharing)


class SlimConv(nn.Conv2d):
    """A conv without bias whose weight is sliced to a width.

    Args:
        cin: Input channels at the full width.
        cout: Output channels at the full width.
        kernel: Kernel size k. The padding is k // 2.
        stride: Stride.
        depthwise: Whether each channel is filtered separately. Then cin must equal cout.
        slim: Whether the inputs and whether the outputs follow the width.
    """

    def __init__(
        self, cin: int, cout: int, kernel: int, stride=1, depthwise=False, slim=(True, True)
    ):
        groups = cout if depthwise else 1
        super().__init__(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.slim = slim

    def sliced(self, width: Width, weight: Tensor | None = None) -> Tensor:
        """Return the weight cut to a width. A depthwise conv keeps its one input channel.

        Args:
            width: The width.
            weight: Tensor (cout, cin, k, k) to cut instead of the conv's weight, for instance a
                masked one.

        Returns:
            Tensor of shape (cout, cin, k, k) with the channel numbers of the width.
        """
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
        """Apply the conv with a weight that is already cut to the width.

        Args:
            x: Features of shape (N, cin, H, W).
            weight: Weight from `sliced`.

        Returns:
            Tensor of shape (N, cout, H/stride, W/stride).
        """
        stride = self.stride
        if self.kernel_size == (1, 1) and stride != (1, 1):
            # Same numbers without PyTorch's strided kernel: below 8 channels, its weight gradient
            # writes outside its memory on AVX2 processors (oneDNN issue 6035).
            x, stride = F.avg_pool2d(x, 1, stride), (1, 1)
        groups = len(weight) if self.groups > 1 else 1
        return F.conv2d(x, weight, None, stride, self.padding, 1, groups)


class SlimNorm(nn.Module):
    """A (dual) BatchNorm for every width.

    Args:
        channels: Number of channels at each width, ascending.
        dual: Whether each BatchNorm is a clean and adversarial pair.
        sharing: What the widths share. "none": nothing (switchable BatchNorm). "affine": one weight
            and bias, sliced, but separate statistics. "all": one BatchNorm, sliced; a lesson shows
            that this fails.

    Raises:
        ValueError: If `sharing` is unknown.
    """

    def __init__(self, channels: tuple[int, ...], dual: bool, sharing: str = "none"):
        super().__init__()
        if sharing not in SHARING:
            raise ValueError(
                f"unknown BatchNorm sharing {sharing!r}: use one of {', '.join(SHARING)}"
            )
        self.sharing = sharing
        # "affine": only the last pair, of the full width, holds the shared weight and bias.
        kept = channels[-1:] if sharing == "all" else channels
        self.pairs = nn.ModuleList(
            DualBN(c, dual, affine=sharing != "affine" or i == len(kept) - 1)
            for i, c in enumerate(kept)
        )

    def at(self, width: Width, channels: int) -> DualBN:
        """Return the BatchNorm of a width.

        Args:
            width: The width.
            channels: Number of channels at this width.
        """
        if self.sharing == "none":
            return self.pairs[width.index]
        full = self.pairs[-1]
        # The BatchNorm whose statistics are used. None: the width is not a listed one.
        own = (
            full
            if self.sharing == "all"
            else None
            if width.index is None
            else self.pairs[width.index]
        )
        # A shallow copy with a new dictionary of submodules: `full` keeps its own.
        view = copy.copy(full)
        view._modules = {
            name: None
            if bn is None
            else _view(bn, None if own is None else own._modules[name], channels)
            for name, bn in full._modules.items()
        }
        return view


def _view(full: nn.BatchNorm2d, own: nn.BatchNorm2d | None, channels: int) -> nn.BatchNorm2d:
    """Return the first channels of BatchNorm `full`, with the statistics of BatchNorm `own`.

    If `own` is None, the view uses the statistics of each batch. The slices are views: training the
    returned BatchNorm trains `full`.
    """
    # Replace the dictionaries of a shallow copy, so that `full` keeps its own tensors.
    view = copy.copy(full)
    view._parameters = {name: p[:channels] for name, p in full._parameters.items()}
    names = ("running_mean", "running_var", "num_batches_tracked")
    view._buffers = dict.fromkeys(names) if own is None else {n: own._buffers[n] for n in names}
    if own is not None:
        view._buffers |= {n: own._buffers[n][:channels] for n in names[:2]}
    return view
