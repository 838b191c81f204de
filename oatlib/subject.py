"""The model under audit, its evaluation images, and cached attack results that several questions use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from .apgd import APGD
from .attacks import PGD, Attack
from .guard import NoGradientError, attacking
from .presets import Preset
from .suite import NOBODY, Outcome

TARGETED = {"steps": 10, "targets": 3}  # three walks of ten steps: 1.5 times the steps of PGD-20


@dataclass(frozen=True)
class Claim:
    """The robust accuracy that is compared with the suite's, and where the number comes from."""

    value: float
    source: Literal["given", "pgd-20", "clean"]  # clean: nothing was claimed, and PGD-20 cannot run
    n: int | None = None  # number of images it was measured on; None: not known

    def __str__(self) -> str:
        if self.source == "given":
            return f"{self.value:.1%} is claimed"
        if self.source == "pgd-20":
            return f"PGD-20 alone leaves {self.value:.1%}"
        return "nothing is claimed, and PGD-20 cannot run"


@dataclass
class Subject:
    """The function f that is deployed, its evaluation images, and what is known about it.

    Attack results are cached, because several questions look at the same attack.
    """

    f: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    eps: float
    seed: int
    draws: int
    attacked: Callable[[Tensor], Tensor] | None
    sources: dict[str, Callable[[Tensor], Tensor]]
    whole: Callable[[Tensor], Tensor] | None  # the unfolded network at the same setting
    claim: float | None
    suite: Outcome
    members: tuple[Attack, ...] = ()  # the attacks of the suite, in its order
    claim_n: int | None = None  # number of images that the claim was measured on
    trained: Preset | None = None  # how f was trained against attacks; None: it was not, or unknown
    _done: dict[str, Tensor] = field(default_factory=dict)

    @property
    def slack(self) -> float:
        """A difference of accuracies that chance may make; random networks answer differently every time."""
        return max(0.02 if self.draws == 1 else 0.06, 2.5 / len(self.y))

    @property
    def random(self) -> bool:
        """Whether the same images get other answers every time."""
        if "random" not in self._done:
            first, second = self.answers(self.x), self.answers(self.x)
            self._done["random"] = (first - second).abs().max() > 1e-5 * (1 + first.abs().max())
        return bool(self._done["random"])

    @cached_property
    def claimed(self) -> Claim:
        """What is claimed: the number that was given, or else what PGD-20 leaves of the same images."""
        if self.claim is not None:
            return Claim(self.claim, "given", self.claim_n)
        try:
            return Claim(self.left(self.pgd()), "pgd-20", len(self.y))
        except NoGradientError:
            return Claim(self.suite.clean, "clean", len(self.y))

    @cached_property
    def broken(self) -> Tensor:
        """(N,) True where the suite fools the network, or where PGD-20 with EOT does if the suite lacks EOT."""
        broken = self.suite.fell != NOBODY
        if self.random and self.draws == 1:
            with suppress(NoGradientError):  # then the suite is all there is
                broken = broken | self.fooled(self.eot())
        return broken

    @property
    def robust(self) -> float:
        """Accuracy in the worst case per image over all attacks that count."""
        return 1 - self.broken.double().mean().item()

    @cached_property
    def within_reach(self) -> Tensor:
        """(N,) True where a short targeted attack is worth its time.

        A complete suite with a longer targeted attack has already tried the images that it left.
        """
        longer = any(
            isinstance(member, APGD) and member.targets >= TARGETED["targets"] and member.steps >= TARGETED["steps"]
            for member in self.members
        )
        if longer and self.suite.complete:
            return self.suite.fell != NOBODY
        return torch.ones_like(self.y, dtype=torch.bool)

    def generator(self, seed: int | None = None) -> torch.Generator:
        """A new generator with the seed of the audit, or with another one."""
        return torch.Generator(self.x.device).manual_seed(self.seed if seed is None else seed)

    def fooled(self, attack: Attack, among: Tensor | None = None, seed: int | None = None) -> Tensor:
        """Return (N,) True where the network is wrong on the image as it is, or after the attack.

        Args:
            attack: The attack; an image is dropped as soon as it is misclassified.
            among: (N,) mask of the images to attack; all others are False in the result.
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
            x, y = self.x[index], self.y[index]
            for at, _, logits in attack.survivors(self.f, x, y, self.generator(seed)):
                wrong[index[at]] |= logits.argmax(1) != y[at]
        if among is None:
            self._done[key] = wrong
        return wrong

    def left(self, attack: Attack) -> float:
        """Accuracy under an attack."""
        return 1 - self.fooled(attack).double().mean().item()

    def left_at_the_end(self, attack: Attack) -> float:
        """Accuracy on the images that the attack returns, as training sees them."""
        x_adv = attack(self.f, self.x, self.y, self.generator())
        return (self.answers(x_adv).argmax(1) == self.y).double().mean().item()

    def pgd(self, steps: int = 20, eps: float | None = None, **more) -> PGD:
        return PGD(self.eps if eps is None else eps, steps, draws=self.draws, **more)

    def eot(self) -> PGD:
        """PGD-20 whose gradients are averages over ten draws of a random function."""
        return PGD(self.eps, 20, draws=10)

    def targeted(self) -> APGD:
        """A short attack that goes to each of the likeliest wrong classes in turn."""
        return APGD(self.eps, draws=self.draws, **TARGETED)

    def answers(self, x: Tensor) -> Tensor:
        with attacking(self.f), torch.no_grad():
            return self.f(x).float()
