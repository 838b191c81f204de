"""The output layer. Shared by all widths, or one for each (SOLAR, Tareen et al. 2025, arXiv 2509.16833).

Narrow and wide networks bring features of different statistics and pull a shared output layer in different
directions; heads of their own let each width read its features its own way.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .setting import Width, cut


class Head(nn.Module):
    """Features (N, F at the width) -> logits (N, classes). `own`: a linear map per width instead of a sliced one."""

    def __init__(self, features: int, classes: int, widths: tuple[float, ...] = (1.0,), own=False, slim=True):
        super().__init__()
        self.full, self.slim = features, slim
        sizes = [cut(features, w) if slim else features for w in widths]
        self.each = nn.ModuleList(nn.Linear(size, classes) for size in (sizes if own else sizes[-1:]))

    def features(self, width: Width) -> int:
        """How many features arrive at a width."""
        return width.cut(self.full) if self.slim else self.full

    def parts(self, width: Width) -> tuple[Tensor, Tensor]:
        """Weight and bias of a width. It is found by its index: some backbones bring all widths as many features."""
        linear = self.each[width.index] if len(self.each) > 1 else self.each[0]
        return linear.weight[:, : self.features(width)], linear.bias

    def forward(self, x: Tensor, dials) -> Tensor:
        """The unfolded form."""
        return F.linear(x, *self.parts(dials.width))

    def fold(self, place) -> nn.Module:
        """The head of one width, with nothing left to choose; λ does not touch it."""
        return FoldedHead(*self.parts(place.width))


class FoldedHead(nn.Module):
    """A plain linear map."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        self.eval()

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """(N, F) -> (N, classes); there are no dials left."""
        return F.linear(x, self.weight, self.bias)
