"""The function under audit, its evaluation images, and cached attack results.

Several questions of the audit need the same attacks, so each attack is run only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..attacks.accuracy import correct_at_every_point
from ..attacks.apgd import APGD
from ..attacks.base import Attack, IterativeAttack
from ..attacks.freeze import NoGradientError, attacking
from ..attacks.pgd import PGD
from ..attacks.suite import NOBODY, Outcome
from ..training.presets import Preset

# The short targeted attack: three runs of ten steps, 1.5 times the steps of PGD-20.
SHORT_STEPS = 10
SHORT_TARGETS = 3


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
        suite: Result of the suite of attacks on the same images.
        members: The attacks of the suite, in its order.
        attacked: The function that was attacked to measure the claim. None: not known.
        sources: Functions to transfer attacks from, by name.
        unfolded: The unfolded network at the same setting. None: there is none to compare.
        training_preset: How f was trained against attacks. None: it was not, or that is unknown.
    """

    f: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    eps: float
    seed: int
    eot_samples: int
    suite: Outcome
    members: tuple[IterativeAttack, ...] = ()
    attacked: Callable[[Tensor], Tensor] | None = None
    sources: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    unfolded: Callable[[Tensor], Tensor] | None = None
    training_preset: Preset | None = None
    _fooled: dict[tuple[Attack, int | None], Tensor] = field(default_factory=dict)

    @property
    def slack(self) -> float:
        """Difference of two accuracies that chance alone may cause, in [0, 1].

        It is larger with `eot_samples` > 1, because random networks answer differently every time.
        """
        return max(0.02 if self.eot_samples == 1 else 0.06, 2.5 / len(self.y))

    @cached_property
    def random(self) -> bool:
        """Whether f gives different logits for the same images."""
        first, second = self.logits(self.x), self.logits(self.x)
        return bool((first - second).abs().max() > 1e-5 * (1 + first.abs().max()))

    @cached_property
    def not_robust(self) -> Tensor:
        """(N,) True where the suite fools the network.

        If the network is random and the suite was run without EOT, also where PGD-20 with EOT fools
        it.
        """
        not_robust = self.suite.fell != NOBODY
        if self.random and self.eot_samples == 1:
            with suppress(NoGradientError):  # without a gradient only the suite counts
                not_robust = not_robust | self.fooled(self.pgd_with_eot())
        return not_robust

    @property
    def robust(self) -> float:
        """Robust accuracy in [0, 1]: the fraction of the images that are not in `not_robust`."""
        return 1 - self.not_robust.double().mean().item()

    @cached_property
    def within_reach(self) -> Tensor:
        """(N,) True where a short targeted attack may still fool the network.

        If a complete suite includes a targeted attack of at least this length, the images that it
        left correct need not be attacked.
        """
        if self.suite.complete and any(_covers_short_targeted(member) for member in self.members):
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
        key = (attack, seed)
        if key in self._fooled:
            return self._fooled[key] if among is None else self._fooled[key] & among
        fooled = torch.zeros(len(self.y), dtype=torch.bool, device=self.y.device)
        index = torch.arange(len(self.y), device=self.y.device)
        if among is not None:
            index = index[among]
        if len(index):
            x, y = self.x[index], self.y[index]
            _, robust = correct_at_every_point(self.f, x, y, attack, self.generator(seed))
            fooled[index] = ~robust
        if among is None:
            self._fooled[key] = fooled
        return fooled

    def accuracy_under(self, attack: Attack) -> float:
        """Return the robust accuracy under an attack, in [0, 1].

        Args:
            attack: The attack. An image counts if it is correct at all points that are visited.
        """
        return 1 - self.fooled(attack).double().mean().item()

    def accuracy_at_result_of(self, attack: Attack) -> float:
        """Return the accuracy on the images that an attack returns, as training sees them.

        Args:
            attack: The attack. Only its result counts, not the points that it visits before.
        """
        x_adv = attack(self.f, self.x, self.y, self.generator())
        return self.accuracy_on(x_adv)

    def accuracy_on(self, x: Tensor) -> float:
        """Return the accuracy on changed images, in [0, 1].

        Args:
            x: Images (N, ...), in the order of the labels.
        """
        return (self.logits(x).argmax(1) == self.y).double().mean().item()

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of images, without a gradient."""
        with attacking(self.f), torch.no_grad():
            return self.f(x).float()

    def pgd(self, steps: int = 20, eps: float | None = None, **options) -> PGD:
        """Return PGD with the radius and the EOT samples of the audit.

        Args:
            steps: Number of steps.
            eps: Another radius.
            **options: Further arguments of `PGD`.
        """
        return PGD(self.eps if eps is None else eps, steps, eot_samples=self.eot_samples, **options)

    def pgd_with_eot(self) -> PGD:
        """Return PGD-20 whose gradients are averages over ten samples of a random function."""
        return PGD(self.eps, 20, eot_samples=10)

    def short_targeted(self) -> APGD:
        """Return a short attack that targets each of the three likeliest wrong classes in turn."""
        return APGD(self.eps, SHORT_STEPS, targets=SHORT_TARGETS, eot_samples=self.eot_samples)


def _covers_short_targeted(attack: object) -> bool:
    """Whether an attack has at least the targets and the steps of the short targeted attack."""
    if not isinstance(attack, APGD) or attack.steps < SHORT_STEPS:
        return False
    if isinstance(attack.targets, int):
        return attack.targets >= SHORT_TARGETS
    return attack.targets == "all"
