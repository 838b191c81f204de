"""Dual BatchNorm: one set of BatchNorm statistics for clean images, another for attacked images.

The pair gives each branch statistics, a scale and a shift of its own. Lesson 03 measures which of
them matters. Samples with λ = 0 use the clean BatchNorm and all others use the adversarial one.
Each sample is routed separately (see `setting.py`), so the caller does not have to sort the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._processes import Processes
from .batch_statistics import normalise
from .setting import ADV, CLEAN


class DualBN(nn.Module):
    """A pair of BatchNorms over (N, C, H, W), or a single one that serves both branches.

    Args:
        channels: Number of channels C.
        dual: True: a clean and an adversarial BatchNorm. False: one BatchNorm for both branches.
        affine: Whether the BatchNorms have a trained weight and bias.
    """

    def __init__(self, channels: int, dual: bool = True, affine: bool = True):
        super().__init__()
        self.clean = nn.BatchNorm2d(channels, affine=affine)
        self.adv = nn.BatchNorm2d(channels, affine=affine) if dual else None

    def branch(self, which: int) -> nn.BatchNorm2d:
        """Return the BatchNorm of a branch.

        Args:
            which: CLEAN or ADV.
        """
        return self.clean if which == CLEAN or self.adv is None else self.adv

    def forward(
        self,
        x: Tensor,
        segments: tuple[tuple[int, int], ...],
        processes: Processes | None = None,
    ) -> Tensor:
        """Normalise each run of samples with the BatchNorm of its branch.

        In train mode each run is a batch of its own: its statistics come from its samples only.

        Args:
            x: Features of shape (N, C, H, W). The samples of a run are neighbours.
            segments: Runs of (branch, number of samples), in the order of the batch. See
                `Setting.route`.
            processes: Processes that have other samples of the same runs. In train mode the
                statistics of a run come from all of them. None: the samples are all there are.

        Returns:
            Tensor of shape (N, C, H, W).
        """
        if len(segments) == 1:
            return normalise(self.branch(segments[0][0]), x, processes)
        parts = x.split([n for _, n in segments])  # one (n, C, H, W) per run
        return torch.cat(
            [
                normalise(self.branch(b), part, processes)
                for (b, _), part in zip(segments, parts, strict=True)
            ]
        )

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift of each branch: in eval mode a branch computes scale·x + shift.

        Returns:
            Two tensors of shape (2, C), scale and shift. Row CLEAN is the clean branch, row ADV the
            adversarial one.
        """
        rows = [_folded(self.branch(b)) for b in (CLEAN, ADV)]
        return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


def _folded(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of one BatchNorm in eval mode, each of shape (C,)."""
    scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale
