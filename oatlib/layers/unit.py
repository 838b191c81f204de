"""The unit: weight -> conv -> norm -> FiLM. The one place where all the ideas of the house meet.

Backbones are written once, out of units, and know nothing else. Whatever a unit is conditioned on, in eval mode it
is `conv` followed by `scale·x + shift` per channel; that is what `bind` and `fold` exploit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .film import FiLM
from .setting import ONLY, Route, Width, cut
from .slim import SlimConv, SlimNorm


@dataclass(frozen=True)
class UnitOptions:
    """What a recipe decides about every unit of a network."""

    dual: bool = False  # a BatchNorm pair instead of one
    film: bool = False  # FiLM after the norm, where the backbone places it
    code_dim: int = 1
    film_start: str = "identity"
    widths: tuple[float, ...] = (1.0,)  # ascending shares of the channels
    norm_sharing: str = "none"  # what the BatchNorms of the widths share
    own_heads: bool = False  # an output layer for every width


@dataclass(frozen=True)
class Dials:
    """What travels through the unfolded network: the route of the batch, the λ codes (S, d) and the width."""

    route: Route
    codes: Tensor
    width: Width = ONLY


class Unit(nn.Module):
    """A conv (unless `kernel` is 0), a norm and FiLM (where asked for). (N, cin, H, W) -> (N, cout, H/s, W/s).

    `slim` says whether the inputs and the outputs follow the width; the channels of an image do not.
    """

    def __init__(
        self, options: UnitOptions, cin: int, cout: int, kernel: int, stride=1,
        norm=True, film=True, depthwise=False, slim=(True, True),
    ):  # fmt: skip
        super().__init__()
        self.cout, self.slim_out = cout, slim[1]
        self.conv = SlimConv(cin, cout, kernel, stride, depthwise, slim) if kernel else None
        channels = tuple(cut(cout, w) if slim[1] else cout for w in options.widths)
        self.norm = SlimNorm(channels, options.dual, options.norm_sharing) if norm else None
        self.film = FiLM(options.code_dim, cout, options.film_start) if norm and film and options.film else None

    def channels(self, width: Width) -> int:
        """How many channels come out at a width."""
        return width.cut(self.cout) if self.slim_out else self.cout

    def forward(self, x: Tensor, dials: Dials) -> Tensor:
        """The unfolded form: what training runs, and the reference for the folded forms."""
        if self.conv is not None:
            x = self.conv(x, dials.width)
        channels = self.channels(dials.width)
        if self.norm is not None:
            x = self.norm.at(dials.width, channels)(x, dials.route.segments)
        if self.film is not None:
            gamma, beta = (dials.route.pick @ table for table in self.film(dials.codes, channels))
            x = (x * _per_channel(gamma)).add_(_per_channel(beta))
        return x

    def affine(self, codes: Tensor, branch: Tensor, width: Width) -> tuple[Tensor, Tensor]:
        """Norm and FiLM in eval mode, for every λ stop at once: scale and shift, each (S, C at the width)."""
        channels = self.channels(width)
        scale, shift = (table[branch] for table in self.norm.at(width, channels).affine())
        if self.film is not None:
            gamma, beta = self.film(codes, channels)
            scale, shift = gamma * scale, torch.addcmul(beta, gamma, shift)
        return scale, shift

    def fold(self, codes: Tensor, branch: Tensor, mix: Tensor, width: Width) -> nn.Module:
        """This unit at one setting per sample, `mix` (N, S), or at one for all, `mix` (1, S): nothing left to choose.

        `mix` weighs the λ stops, so a row between two stops interpolates their scale and shift.
        """
        conv, weight = self.conv, None if self.conv is None else self.conv.sliced(width)
        if self.norm is None:
            return Folded(conv, weight, None, None, None)
        scale, shift = (mix @ table for table in self.affine(codes, branch, width))
        if len(mix) == 1 and conv is not None:  # one setting for all: the weights can carry it
            return Folded(conv, weight * scale[0, :, None, None, None], shift[0], None, None)
        return Folded(conv, weight, None, _per_channel(scale), _per_channel(shift))


class Folded(nn.Module):
    """A unit with nothing left to choose: a conv with bias, a per-channel affine, or both (per sample)."""

    def __init__(self, conv: SlimConv | None, weight, bias, scale, shift):
        super().__init__()
        self.stride, self.padding = (conv.stride, conv.padding) if conv is not None else (1, 0)
        self.groups = len(weight) if conv is not None and conv.groups > 1 else 1
        for name, value in (("weight", weight), ("bias", bias), ("scale", scale), ("shift", shift)):
            self.register_buffer(name, None if value is None else value.detach())
        self.eval()  # there is no train mode left

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Same shapes as the unit it came from; the dials are ignored, they are folded in."""
        if self.scale is not None and len(self.scale) not in (1, len(x)):
            raise ValueError(
                f"bound to {len(self.scale)} values of λ, called with {len(x)} images: bind one λ per image"
            )
        if self.weight is None:
            return (x * self.scale).add_(self.shift)
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, 1, self.groups)
        return x if self.scale is None else x.mul_(self.scale).add_(self.shift)


def _per_channel(rows: Tensor) -> Tensor:
    return rows[:, :, None, None]
