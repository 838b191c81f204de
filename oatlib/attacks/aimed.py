"""The attack that is used in training: PGD that attacks some of the images towards one wrong class.

An untargeted attack of few small steps spends them on a mixture of all wrong classes. A network
trained against it learns to resist that mixture. A longer or a targeted attack commits to one class
and fools images that resist the mixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .geometry import draw
from .losses import margin
from .pgd import PGD

UNDECIDED, NO_TARGET = -2, -1  # in place of a target class: not yet chosen; none
LOTS = 2**20  # number of equally likely values of the random number that chooses a target


@dataclass(frozen=True)
class AimedPGD(PGD):
    """PGD on the margin loss, in which some images are attacked towards one wrong class.

    The class is chosen at random among the `candidates` likeliest wrong classes at the start of the
    attack, and stays the same to its end. The other images increase the margin, whose wrong class
    may change at every step.

    Args:
        share: Probability in [0, 1] that an image gets a class to be attacked towards.
        candidates: Number of likeliest wrong classes to choose from. If it is larger than the
            number of wrong classes, all of them are candidates.

    The other arguments are those of `PGD`, with best=False by default. `loss` has no effect.

    Raises:
        ValueError: An argument is out of range.
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
        """Return the facts that a result record must hold about the attack, as a dict for JSON."""
        known = {"loss": "margin or target", "share": self.share, "candidates": self.candidates}
        return super().describe() | known

    def _walk(
        self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None
    ) -> Iterator:
        """Run the attack as `PGD._walk` does, with labels (N, 3) in place of (N,).

        The columns of the labels are the true class, the target class, and the random number that
        chooses the target. `_values` reads them.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        chance, lot = draw(torch.rand, (2, len(y)), x, generator)
        target = torch.where(chance < self.share, UNDECIDED, NO_TARGET)
        yield from super()._walk(
            f, x, torch.stack([y, target, (lot * LOTS).long()], 1), generator, judge_last, only
        )

    def _values(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss to increase (N,): the margin, or target logit minus true logit.

        `labels` are classes (N,), or the three columns that `_walk` makes of them (N, 3). Targets
        that are undecided are chosen by the first logits of the attack. They are written into
        `labels`, so that they stay the same to its end.
        """
        if labels.dim() == 1:
            return margin(logits, labels)
        y, target, lot = labels.unbind(1)
        target.copy_(
            torch.where(target == UNDECIDED, self._likely_wrong(logits.detach(), y, lot), target)
        )
        ahead = logits.gather(1, target.clamp(min=0)[:, None]) - logits.gather(1, y[:, None])
        return torch.where(target == NO_TARGET, margin(logits, y), ahead[:, 0])

    def _likely_wrong(self, logits: Tensor, y: Tensor, lot: Tensor) -> Tensor:
        """Return one of the likeliest wrong classes per image (N,), chosen by its number `lot`."""
        count = min(self.candidates, logits.shape[1] - 1)
        likeliest = logits.scatter(1, y[:, None], -torch.inf).topk(count, 1).indices
        return likeliest.gather(1, (lot % count)[:, None])[:, 0]
