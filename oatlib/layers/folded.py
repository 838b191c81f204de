"""Folded units: what is left of a unit when its dials stand still. Attacks, evaluation and deployment run these."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .noise import draw
from .setting import ONLY, Width
from .slim import SlimConv


@dataclass(frozen=True)
class Place:
    """What a network is folded at: `mix` (N, S) weighs the λ stops for each sample, or (1, S) for all; a row between
    two stops interpolates what they fold to. Each stop has a BatchNorm branch, a path and a level of noise."""

    mix: Tensor
    branches: Tensor
    codes: Tensor | None = None
    width: Width = ONLY
    paths: tuple[int, ...] = ()
    levels: tuple[float, ...] = ()
    generator: torch.Generator | None = None
    fresh: bool = False  # noise is drawn at every forward, not once when folding


class Folded(nn.Module):
    """A unit with nothing left to choose: a conv with bias, a per-channel affine, or both (per sample).

    `noise`, like the weight, is added to it; if `place.fresh`, it scales a Gaussian draw that every forward makes anew.
    """

    def __init__(self, conv: SlimConv | None, weight, bias, scale, shift, noise=None, place: Place | None = None):
        super().__init__()
        self.stride, self.padding = (conv.stride, conv.padding) if conv is not None else (1, 0)
        self.groups = len(weight) if conv is not None and conv.groups > 1 else 1
        self.generator = place.generator if noise is not None and place.fresh else None
        if noise is not None and not place.fresh:
            weight, noise = weight + noise, None
        named = dict(weight=weight, bias=bias, scale=scale, shift=shift, noise=noise, channels=None)
        for name, value in named.items():
            self.register_buffer(name, None if value is None else value.detach())
        self.eval()  # there is no train mode left

    def keep_channels(self, used: Tensor) -> None:
        """Drop the input channels that a mask leaves out, (cin,): the conv becomes a smaller one."""
        if not bool(used.all()):
            self.channels = used.nonzero()[:, 0]
            self.weight = self.weight[:, self.channels].contiguous(memory_format=torch.channels_last)
            self.noise = None if self.noise is None else self.noise[:, self.channels]

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Same shapes as the unit it came from; the dials are ignored, they are folded in."""
        if self.scale is not None and len(self.scale) not in (1, len(x)):
            raise ValueError(
                f"bound to {len(self.scale)} values of λ, called with {len(x)} images: bind one λ per image"
            )
        if self.weight is None:
            return (x * self.scale).add_(self.shift)
        weight = self.weight
        if self.noise is not None:
            weight = torch.addcmul(weight, self.noise, draw(weight, self.generator))
        x = x if self.channels is None else x[:, self.channels]
        x = F.conv2d(x, weight, self.bias, self.stride, self.padding, 1, self.groups)
        x = x if self.scale is None else x.mul_(self.scale)
        return x if self.shift is None else x.add_(self.shift)


class Sum(nn.Module):
    """The outputs of several folded units added up: samples that mix two kinds of weights, each in its own shares."""

    def __init__(self, parts: list[Folded]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.eval()

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Same shapes as the unit it came from."""
        return sum(part(x) for part in self.parts)


def per_channel(rows: Tensor | None) -> Tensor | None:
    """(N, C) -> (N, C, 1, 1); where there is no norm there are no rows."""
    return None if rows is None else rows[:, :, None, None]
