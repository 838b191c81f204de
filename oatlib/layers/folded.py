"""Folded units: the plain layers into which a unit turns once λ and width are fixed.

Attacks, evaluation and deployment run folded units. Only training runs the unfolded ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .noise import draw
from .setting import Position
from .slim import SlimConv


@dataclass(frozen=True)
class FoldPlan:
    """What every layer needs to fold itself.

    It holds the position of the dials, and what the network knows of its S λ stops.

    Args:
        position: Where the dials stand. Its weights have the device and type of the network.
        branches: BatchNorm branch of each stop (CLEAN or ADV), of shape (S,).
        codes: λ codes of shape (S, d). None for a network without FiLM.
        paths: Weight path of each stop (CLEAN or ADV).
        generator: Source of weight noise.
        resample: True: noise is sampled at every forward. False: it is sampled once, when folding.
    """

    position: Position
    branches: Tensor
    codes: Tensor | None = None
    paths: tuple[int, ...] = ()
    generator: torch.Generator | None = None
    resample: bool = False


class Folded(nn.Module):
    """A unit at a fixed setting: a conv with bias, then an affine map per channel, both optional.

    Args:
        conv: The conv that gives stride, padding and grouping. None: there is no conv.
        weight: Weight of the conv, (cout, cin, k, k). None: there is no conv.
        bias: Bias of the conv, (cout,), or None.
        scale: Factor per channel after the conv, (1, C, 1, 1) for all samples, or (N, C, 1, 1).
            None: no factor.
        shift: Summand per channel after `scale`, of the same shape, or None.
        noise: Weight noise, shaped like `weight`, or None. It is added to the weight. If
            `plan.resample`, it is the scale of the noise: every forward multiplies it by a new
            sample of N(0, 1).
        plan: The plan that the unit was folded by. Required with `noise`.
    """

    def __init__(
        self,
        conv: SlimConv | None,
        weight,
        bias,
        scale,
        shift,
        noise=None,
        plan: FoldPlan | None = None,
    ):
        super().__init__()
        self.stride, self.padding = (conv.stride, conv.padding) if conv is not None else (1, 0)
        self.groups = len(weight) if conv is not None and conv.groups > 1 else 1
        self.generator = plan.generator if noise is not None and plan.resample else None
        # Noise that was sampled when folding becomes part of the weight.
        if noise is not None and not plan.resample:
            weight, noise = weight + noise, None
        named = dict(weight=weight, bias=bias, scale=scale, shift=shift, noise=noise, channels=None)
        for name, value in named.items():
            self.register_buffer(name, None if value is None else value.detach())
        self.eval()  # a folded unit has no train mode

    def keep_channels(self, used: Tensor) -> None:
        """Remove the input channels that a mask leaves out: the conv becomes smaller.

        Args:
            used: Boolean tensor of shape (cin,). True: the channel is kept.
        """
        if not bool(used.all()):
            self.channels = used.nonzero()[:, 0]
            self.weight = self.weight[:, self.channels].contiguous(
                memory_format=torch.channels_last
            )
            self.noise = None if self.noise is None else self.noise[:, self.channels]

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Run the folded unit, with the same shapes as the unfolded one.

        Args:
            x: Features of shape (N, cin, H, W).
            dials: Ignored: the setting is already folded in.

        Returns:
            Tensor of shape (N, cout, H/stride, W/stride).

        Raises:
            ValueError: If the unit was bound to one λ per image, and x has another number of
                images.
        """
        if self.scale is not None and len(self.scale) not in (1, len(x)):
            raise ValueError(
                f"bound to {len(self.scale)} values of λ, called with {len(x)} images: bind one λ "
                "per image"
            )
        if self.weight is None:
            return (x * self.scale).add_(self.shift)
        weight = self.weight
        if self.noise is not None:
            # weight + noise·η, with η sampled from N(0, 1) at this forward
            weight = torch.addcmul(weight, self.noise, draw(weight, self.generator))
        x = x if self.channels is None else x[:, self.channels]
        # (N, cin, H, W) -> (N, cout, H/stride, W/stride)
        x = F.conv2d(x, weight, self.bias, self.stride, self.padding, 1, self.groups)
        x = x if self.scale is None else x.mul_(self.scale)
        return x if self.shift is None else x.add_(self.shift)


class Sum(nn.Module):
    """Add the outputs of several folded units.

    It is used where samples combine the clean and the adversarial weight path, each sample in its
    own proportions.

    Args:
        parts: The folded units. All of them get the same input.
    """

    def __init__(self, parts: list[Folded]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.eval()

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Run all parts on x (N, cin, H, W) and add their outputs (N, cout, H/s, W/s)."""
        return sum(part(x) for part in self.parts)


def per_channel(rows: Tensor | None) -> Tensor | None:
    """Reshape (N, C) to (N, C, 1, 1). None, for a unit without a norm, stays None."""
    return None if rows is None else rows[:, :, None, None]
