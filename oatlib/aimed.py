"""The attack of training: PGD in which some images climb towards one class that is not theirs.

An untargeted attack of few small steps spends them on a mixture of all wrong classes, and a network that is trained
against it learns to resist that mixture. A longer or a targeted attack commits to one class and finds what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .attacks import PGD
from .moves import draw, margin

UNDECIDED, NO_TARGET = -2, -1  # instead of a class to climb towards
LOTS = 2**20  # so many different lots are drawn, each as likely as any other


@dataclass(frozen=True)
class AimedPGD(PGD):
    """PGD on the margin, in which every image has a chance to be attacked towards one wrong class.

    The class is chosen at random among the `candidates` likeliest wrong ones at the start of the walk. It stays the
    same for the whole attack. The other images climb the margin, which may change its wrong class at every step.

    Args:
        share: probability in [0, 1] that an image has a class to be attacked towards.
        candidates: how many of the likeliest wrong classes are candidates; at most all of them.

    The other arguments are those of `PGD`; `loss` has no effect.
    """

    name: ClassVar[str] = "aimed PGD"
    best: bool = False
    share: float = 0.5
    candidates: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is a probability in [0, 1], got {self.share}")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {self.candidates}")

    def describe(self) -> dict:
        """What a record says about the attack."""
        return super().describe() | {"share": self.share, "candidates": self.candidates}

    def _walk(self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None) -> Iterator:
        """As `PGD._walk`, with labels (N, 3) for `_values`: class, class to climb towards, number of the lot."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        chance, lot = draw(torch.rand, (2, len(y)), x, generator)
        target = torch.where(chance < self.share, UNDECIDED, NO_TARGET)
        yield from super()._walk(f, x, torch.stack([y, target, (lot * LOTS).long()], 1), generator, judge_last, only)

    def _values(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The margin (N,), or for images with a class to climb towards how far its logit is above the true one.

        `labels` are classes (N,), or what `_walk` made of them (N, 3). The first logits of a walk decide the classes
        that were left undecided; they are written into `labels`, so that they stay the same to its end.
        """
        if labels.dim() == 1:
            return margin(logits, labels)
        y, target, lot = labels.unbind(1)
        target.copy_(torch.where(target == UNDECIDED, self._likely_wrong(logits.detach(), y, lot), target))
        ahead = logits.gather(1, target.clamp(min=0)[:, None]) - logits.gather(1, y[:, None])
        return torch.where(target == NO_TARGET, margin(logits, y), ahead[:, 0])

    def _likely_wrong(self, logits: Tensor, y: Tensor, lot: Tensor) -> Tensor:
        """For each image the wrong class (N,) that its lot picks among the likeliest ones."""
        count = min(self.candidates, logits.shape[1] - 1)
        likeliest = logits.scatter(1, y[:, None], -torch.inf).topk(count, 1).indices
        return likeliest.gather(1, (lot % count)[:, None])[:, 0]
