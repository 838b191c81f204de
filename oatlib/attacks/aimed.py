"""The attack that is used in training: PGD that attacks some of the images towards one wrong class.

An untargeted attack of few small steps spends them on a mixture of all wrong classes. A network
trained against it learns to resist that mixture. A longer or a targeted attack commits to one class
and fools images that resist the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._check import real, whole
from .._random import rand_on
from .ascent import AscentWalk
from .losses import margin_loss
from .pgd import PGD

# In place of a target class: it is not yet chosen, or there is none.
UNDECIDED, NO_TARGET = -2, -1
LOTS = 2**20  # number of equally likely values of the random number that chooses a target


class AimedWalk(AscentWalk):
    """One run of `AimedPGD`. It remembers the target class of each image.

    The targets are chosen by the logits of the first iterate, and stay the same in all restarts.
    """

    _per_image = (*AscentWalk._per_image, "_target", "_lot")

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        chance, lot = rand_on((2, len(self.y)), self.x, self.generator)
        self._target = torch.where(chance < self.attack.share, UNDECIDED, NO_TARGET)
        self._lot = (lot * LOTS).long()

    def _loss(self, logits: Tensor) -> Tensor:
        """Return the loss to increase (M,): the margin, or target logit minus true logit."""
        likely_wrong = self._likely_wrong(logits.detach())
        self._target = torch.where(self._target == UNDECIDED, likely_wrong, self._target)
        true_logit = logits.gather(1, self.y[:, None])
        target_logit = logits.gather(1, self._target.clamp(min=0)[:, None])
        lead = (target_logit - true_logit)[:, 0]
        return torch.where(self._target == NO_TARGET, margin_loss(logits, self.y), lead)

    def _likely_wrong(self, logits: Tensor) -> Tensor:
        """Return one of the likeliest wrong classes per image (M,), chosen by its random number."""
        count = min(self.attack.candidates, logits.shape[1] - 1)
        likeliest = logits.scatter(1, self.y[:, None], -torch.inf).topk(count, 1).indices
        return likeliest.gather(1, (self._lot % count)[:, None])[:, 0]


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

    name = "aimed PGD"
    walk_type = AimedWalk
    best: bool = False
    share: float = 0.5
    candidates: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        real("share", self.share, 0, 1)
        whole("candidates", self.candidates)

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON."""
        own_facts = {
            "loss": "margin or target",
            "share": self.share,
            "candidates": self.candidates,
        }
        return super().describe() | own_facts

    def loss_values(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the margin loss (N,), which decides what the strongest iterate is."""
        return margin_loss(logits, y)
