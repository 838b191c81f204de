"""Dual BatchNorm: one set of statistics per world, because clean and attacked features are not the same crowd.

A single BatchNorm that sees both worlds learns the statistics of neither. With a pair, samples whose λ is 0 use the
clean one and all others the adversarial one. Routing is by sample (layers/setting.py), so no caller has to sort.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .setting import ADV, CLEAN


class DualBN(nn.Module):
    """A pair of BatchNorms over (N, C, H, W), or a single one that serves both branches when `dual` is False."""

    def __init__(self, channels: int, dual: bool = True, affine: bool = True):
        super().__init__()
        self.clean = nn.BatchNorm2d(channels, affine=affine)
        self.adv = nn.BatchNorm2d(channels, affine=affine) if dual else None

    def branch(self, which: int) -> nn.BatchNorm2d:
        """The BatchNorm of a branch (CLEAN or ADV)."""
        return self.clean if which == CLEAN or self.adv is None else self.adv

    def forward(self, x: Tensor, segments: tuple[tuple[int, int], ...]) -> Tensor:
        """Normalise each run of samples with its own branch; in training each run is a batch of its own."""
        if len(segments) == 1:
            return self.branch(segments[0][0])(x)
        parts = x.split([n for _, n in segments])
        return torch.cat([self.branch(b)(part) for (b, _), part in zip(segments, parts, strict=True)])

    def affine(self) -> tuple[Tensor, Tensor]:
        """In eval mode each branch is scale·x + shift. Both as (2, C): row CLEAN, row ADV."""
        rows = [_folded(self.branch(b)) for b in (CLEAN, ADV)]
        return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


def _folded(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale
