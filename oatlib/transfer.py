"""Attacks that are made on one function and strike another.

`Transfer` is that of somebody who does not have the weights. `ThroughEnds` has them, and goes around what hides them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .attacks import Attack
from .layers.mixture import MeanLogits, OutputMixture


@dataclass(frozen=True)
class Transfer(Attack):
    """Images that `attack` makes on the function `source`, whatever network they then meet. `label` says what it is."""

    name: ClassVar[str] = "Transfer"
    source: Callable[[Tensor], Tensor]
    attack: Attack
    label: str = "another network"

    def __post_init__(self):
        if not callable(self.source):
            raise ValueError(f"source must be a function images -> logits, got {type(self.source).__name__}")

    @property
    def eps(self) -> float:
        return self.attack.eps

    @property
    def norm(self) -> str:
        return self.attack.norm

    def walk_length_for(self, classes: int) -> int:
        """Only the result of the attack on the source meets the network."""
        return 1

    def __call__(self, f, x: Tensor, y: Tensor, generator=None) -> Tensor:
        """Attacked images like x; f, which they are for, is not asked."""
        return self.attack(self.source, x, y, generator)

    def _walk(self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None) -> Iterator:
        x_adv = self.attack(self.source, x, y, generator)
        yield (x_adv, self._judge(f, x_adv)) if only is None else (x_adv[only], self._judge(f, x_adv[only]))

    def describe(self) -> dict:
        return self.attack.describe() | {"name": self.name, "made_on": self.label}

    def __str__(self) -> str:
        return f"{self.attack}, made on {self.label}"


@dataclass(frozen=True)
class ThroughEnds(Attack):
    """Images that `attack` makes on the mean logits of a mixture's ends (`MeanLogits`), for the mixture itself.

    It finds what an attack through the mixture misses where the probabilities of the ends are saturated.

    Args:
        attack: What climbs the mean logits.
    """

    name: ClassVar[str] = "through the ends"
    attack: Attack

    @property
    def eps(self) -> float:
        return self.attack.eps

    @property
    def norm(self) -> str:
        return self.attack.norm

    @property
    def draws(self) -> int:
        return self.attack.draws

    def walk_length_for(self, classes: int) -> int:
        """Only the result of the attack meets the mixture."""
        return 1

    def __call__(self, f, x: Tensor, y: Tensor, generator=None) -> Tensor:
        """Attacked images like x. `f` is an `OutputMixture`, or the forward of one."""
        mixture = mixture_of(f)
        if mixture is None:
            raise ValueError("this attack needs a mixture of outputs, such as net.with_dial('outputs').at(0.5)")
        return self.attack(MeanLogits(mixture), x, y, generator)

    def _walk(self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None) -> Iterator:
        x_adv = self(f, x, y, generator)
        yield (x_adv, self._judge(f, x_adv)) if only is None else (x_adv[only], self._judge(f, x_adv[only]))

    def describe(self) -> dict:
        """For a result record."""
        return self.attack.describe() | {"name": f"{self.attack.name} {self.name}"}

    def __str__(self) -> str:
        return f"{self.attack}, {self.name}"


def mixture_of(f) -> OutputMixture | None:
    """The mixture of outputs that a function is, or whose method it is; None if it is something else."""
    owner = getattr(f, "__self__", f)
    return owner if isinstance(owner, OutputMixture) else None
