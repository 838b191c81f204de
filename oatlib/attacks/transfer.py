"""Attacks whose images are computed on one function and then used against another.

`Transfer` is the attack of an attacker without access to the weights. The attacker of `ThroughEnds`
has the weights, and avoids the saturated probabilities that hide their gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._check import function
from ..layers.mixture import MeanLogits, OutputMixture
from .base import Attack, IterativeAttack, Walk, check_attack
from .queries import mean_logits


class SinglePointWalk(Walk):
    """One run of an attack that shows only its result to the network: a single iterate."""

    def advance(self) -> bool:
        if self.x_adv is not None:
            return False
        x_adv = self.attack(self.f, self._all_x, self._all_y, self.generator)
        self.x_adv = self._under_attack(x_adv)
        self.logits = mean_logits(self.f, self.x_adv, self.attack.eot_samples)
        return True


class MadeElsewhere(IterativeAttack):
    """Base class of attacks whose images are computed on one function and then shown to another.

    A subclass has the field `attack`, which runs on the function that `_source` returns.
    """

    attack: Attack
    walk_type = SinglePointWalk

    @property
    def eps(self) -> float:
        """Radius of the attack."""
        return self.attack.eps

    @property
    def norm(self) -> str:
        """Norm of the attack."""
        return self.attack.norm

    def walk_length_for(self, classes: int) -> int:
        """Return 1: only the result of the attack is shown to the network."""
        return 1

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return attacked images of the same shape as x.

        Args:
            f: The function that the images are meant for.
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.
        """
        return self.attack(self._source(f), x, y, generator)

    def _source(self, f) -> Callable[[Tensor], Tensor]:
        """Return the function that the attack runs on."""
        raise NotImplementedError


@dataclass(frozen=True)
class Transfer(MadeElsewhere):
    """Compute attacked images on the function `source`, for use against any network.

    Args:
        source: Function from images (N, ...) to logits (N, C) that the attack is computed on.
        attack: The attack to run on `source`.
        label: What `source` is, for result records.

    Raises:
        TypeError: `source` cannot be called, or `attack` is no attack.
    """

    name = "Transfer"
    source: Callable[[Tensor], Tensor]
    attack: Attack
    label: str = "another network"

    def __post_init__(self):
        function("source", self.source, "a function from images to logits")
        check_attack(self.attack)

    def _source(self, f) -> Callable[[Tensor], Tensor]:
        return self.source

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON."""
        return self.attack.describe() | {"name": self.name, "made_on": self.label}

    def __str__(self) -> str:
        return f"{self.attack}, made on {self.label}"


@dataclass(frozen=True)
class ThroughEnds(MadeElsewhere):
    """Attack a mixture of outputs through the mean logits of its ends (`MeanLogits`).

    The ends of a mixture are the networks whose probabilities it averages. Where these
    probabilities are saturated, an attack through the mixture misses images that this attack finds.

    Args:
        attack: The attack to run on the mean logits.
    """

    name = "through the ends"
    attack: Attack

    @property
    def eot_samples(self) -> int:
        """Samples of a random network per gradient."""
        return self.attack.eot_samples

    def _source(self, f) -> Callable[[Tensor], Tensor]:
        """Return the mean logits of the mixture `f`. Raise a ValueError if `f` is no mixture."""
        mixture = mixture_of(f)
        if mixture is None:
            raise ValueError(
                "this attack needs a mixture of outputs, such as net.with_dial('outputs').at(0.5)"
            )
        return MeanLogits(mixture)

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON."""
        return self.attack.describe() | {"name": f"{self.attack.name} {self.name}"}

    def __str__(self) -> str:
        return f"{self.attack}, {self.name}"


def mixture_of(f) -> OutputMixture | None:
    """Return the mixture of outputs behind a function, or None.

    Args:
        f: Any function. The result is `f` itself if it is an `OutputMixture`, or the mixture if `f`
            is a method of one.
    """
    owner = getattr(f, "__self__", f)
    return owner if isinstance(owner, OutputMixture) else None
