"""The model under audit, its evaluation images, and cached attack results.

Several questions of the audit need the same attacks, so each attack is run only once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from ..attacks.accuracy import correct_at_every_point
from ..attacks.apgd import APGD
from ..attacks.base import Attack
from ..attacks.freeze import NoGradientError, attacking
from ..attacks.pgd import PGD
from ..attacks.suite import NOBODY, Outcome
from ..training.presets import Preset

TARGETED = {"steps": 10, "targets": 3}  # three runs of ten steps: 1.5 times the steps of PGD-20


@dataclass(frozen=True)
class Claim:
    """The robust accuracy that is compared with that of the suite, and where the number comes from.

    Attributes:
        value: Robust accuracy, in [0, 1].
        source: "given": by the caller. "pgd-20": measured with PGD-20, as nothing was claimed.
            "clean": clean accuracy, as nothing was claimed and PGD-20 cannot run.
        n: Number of images that it was measured on. None: not known.
    """

    value: float
    source: Literal["given", "pgd-20", "clean"]
    n: int | None = None

    def __str__(self) -> str:
        if self.source == "given":
            return f"{self.value:.1%} is claimed"
        if self.source == "pgd-20":
            return f"PGD-20 alone leaves {self.value:.1%}"
        return "nothing is claimed, and PGD-20 cannot run"


@dataclass
class Subject:
    """The function f that is deployed, its evaluation images, and what is known about it.

    Attack results are cached, because several questions need the same attack.

    Attributes:
        f: The deployed function, from images (N, ...) to logits (N, classes).
        x: Evaluation images (N, ...) with pixels in [0, 1].
        y: Their labels (N,).
        eps: Radius of the L-infinity ball of the audit, in pixel units.
        seed: Seed of the attacks.
        eot_samples: Samples of a random function that are averaged (EOT).
        attacked: The function that was attacked to measure the claim. None: not said.
        sources: Functions to transfer attacks from, by name.
        whole: The unfolded network at the same setting. None: there is none to compare.
        claim: The claimed robust accuracy, in [0, 1]. None: nothing is claimed.
        suite: Result of the suite of attacks on the same images.
        members: The attacks of the suite, in its order.
        claim_n: Number of images that the claim was measured on. None: not known.
        trained: How f was trained against attacks. None: it was not, or that is unknown.
    """

    f: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    eps: float
    seed: int
    eot_samples: int
    attacked: Callable[[Tensor], Tensor] | None
    sources: dict[str, Callable[[Tensor], Tensor]]
    whole: Callable[[Tensor], Tensor] | None
    claim: float | None
    suite: Outcome
    members: tuple[Attack, ...] = ()
    claim_n: int | None = None
    trained: Preset | None = None
    _done: dict[str, Tensor] = field(default_factory=dict)

    @property
    def slack(self) -> float:
        """Difference of two accuracies that chance alone may cause, in [0, 1].

        It is larger with `eot_samples` > 1, because random networks answer differently every time.
        """
        return max(0.02 if self.eot_samples == 1 else 0.06, 2.5 / len(self.y))

    @property
    def random(self) -> bool:
        """Whether f gives different answers for the same images."""
        if "random" not in self._done:
            first, second = self.answers(self.x), self.answers(self.x)
            self._done["random"] = (first - second).abs().max() > 1e-5 * (1 + first.abs().max())
        return bool(self._done["random"])

    @cached_property
    def claimed(self) -> Claim:
        """The claim that was given, or else the accuracy under PGD-20 on the same images.

        If PGD-20 cannot run for lack of a gradient, it is the clean accuracy.
        """
        if self.claim is not None:
            return Claim(self.claim, "given", self.claim_n)
        try:
            return Claim(self.left(self.pgd()), "pgd-20", len(self.y))
        except NoGradientError:
            return Claim(self.suite.clean, "clean", len(self.y))

    @cached_property
    def broken(self) -> Tensor:
        """(N,) True where the suite fools the network, or where PGD-20 with EOT does if the suite
        lacks EOT.
        """
        broken = self.suite.fell != NOBODY
        if self.random and self.eot_samples == 1:
            with suppress(NoGradientError):  # without a gradient only the suite counts
                broken = broken | self.fooled(self.eot())
        return broken

    @property
    def robust(self) -> float:
        """Robust accuracy in [0, 1]: the worst case per image over the attacks of `broken`."""
        return 1 - self.broken.double().mean().item()

    @cached_property
    def within_reach(self) -> Tensor:
        """(N,) True where a short targeted attack may still fool the network.

        If a complete suite includes a targeted attack of at least this length, the images that it
        left correct need not be attacked.
        """
        if any(map(_goes_further, self.members)) and self.suite.complete:
            return self.suite.fell != NOBODY
        return torch.ones_like(self.y, dtype=torch.bool)

    def generator(self, seed: int | None = None) -> torch.Generator:
        """Return a new random number generator.

        Args:
            seed: Its seed (default: that of the audit).
        """
        return torch.Generator(self.x.device).manual_seed(self.seed if seed is None else seed)

    def fooled(
        self, attack: Attack, among: Tensor | None = None, seed: int | None = None
    ) -> Tensor:
        """Return (N,) True where the network is wrong on the image as it is, or after the attack.

        Args:
            attack: The attack. An image is dropped as soon as it is misclassified.
            among: (N,) mask of the images to attack. All others are False in the result.
            seed: Seed of the attack (default: that of the audit).
        """
        key = f"{attack!r}, seed {seed}"
        if key in self._done:
            return self._done[key] if among is None else self._done[key] & among
        wrong = torch.zeros(len(self.y), dtype=torch.bool, device=self.y.device)
        index = torch.arange(len(self.y), device=self.y.device)
        if among is not None:
            index = index[among]
        if len(index):
            _, robust = correct_at_every_point(
                self.f, self.x[index], self.y[index], attack, self.generator(seed)
            )
            wrong[index] = ~robust
        if among is None:
            self._done[key] = wrong
        return wrong

    def left(self, attack: Attack) -> float:
        """Return the robust accuracy under an attack, in [0, 1].

        Args:
            attack: The attack. An image counts if it is correct at all points that are visited.
        """
        return 1 - self.fooled(attack).double().mean().item()

    def left_at_the_end(self, attack: Attack) -> float:
        """Return the accuracy on the images that an attack returns, as training sees them.

        Args:
            attack: The attack. Only its result counts, not the points that it visits before.
        """
        x_adv = attack(self.f, self.x, self.y, self.generator())
        return (self.answers(x_adv).argmax(1) == self.y).double().mean().item()

    def pgd(self, steps: int = 20, eps: float | None = None, **more) -> PGD:
        return PGD(self.eps if eps is None else eps, steps, eot_samples=self.eot_samples, **more)

    def eot(self) -> PGD:
        """Return PGD-20 whose gradients are averages over ten samples of a random function."""
        return PGD(self.eps, 20, eot_samples=10)

    def targeted(self) -> APGD:
        """Return a short attack that targets each of the three likeliest wrong classes in turn."""
        return APGD(self.eps, eot_samples=self.eot_samples, **TARGETED)

    def answers(self, x: Tensor) -> Tensor:
        with attacking(self.f), torch.no_grad():
            return self.f(x).float()


def _goes_further(attack: Attack) -> bool:
    """Whether an attack has at least the targets and the steps of the short targeted attack."""
    if not isinstance(attack, APGD) or attack.steps < TARGETED["steps"]:
        return False
    return attack.targets == "all" or attack.targets >= TARGETED["targets"]
