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


@dataclass(frozen=True)
class AimedPGD(PGD):
    """PGD on the margin, in which every image has a chance to be attacked towards one wrong class.

    The class is chosen at random among the `candidates` likeliest wrong ones of the unattacked image. It stays the
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
        """As `PGD._walk`, with labels (N, 2): the class of the image, and the class to climb towards (-1: none)."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        labels = torch.stack([y, self._targets(f, x, y, generator)], 1)
        yield from super()._walk(f, x, labels, generator, judge_last, only)

    def _targets(self, f, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """A wrong class for each image (N,), or -1 where the image climbs the margin."""
        wrong = self._judge(f, x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
        wrong = wrong[:, : self.candidates]
        chance, which = draw(torch.rand, (2, len(y)), x, generator)
        place = (which * wrong.shape[1]).long().clamp(max=wrong.shape[1] - 1)
        return torch.where(chance < self.share, wrong.gather(1, place[:, None])[:, 0], -1)

    def _values(self, logits: Tensor, y: Tensor) -> Tensor:
        """The margin (N,), or for images with a class to climb towards how far its logit is above the true one."""
        if y.dim() == 1:
            return margin(logits, y)
        y, target = y.unbind(1)
        towards = logits.gather(1, target.clamp(min=0)[:, None]) - logits.gather(1, y[:, None])
        return torch.where(target < 0, margin(logits, y), towards[:, 0])
