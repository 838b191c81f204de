"""Who is asked: a function, images, and what is known of both, with the attacks that several questions look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attacks import PGD, Attack
from .guard import attacking
from .suite import Outcome


@dataclass
class Subject:
    """What is examined: the function f that is deployed, images, and what is known about it. Attacks are run once."""

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

    def generator(self) -> torch.Generator:
        return torch.Generator(self.x.device).manual_seed(self.seed)

    def fooled(self, attack: Attack) -> Tensor:
        """(N,) True where the network is wrong on the image as it is, or after the attack."""
        key = repr(attack)
        if key not in self._done:
            wrong = torch.zeros(len(self.y), dtype=torch.bool, device=self.y.device)
            for at, _, logits in attack.survivors(self.f, self.x, self.y, self.generator()):
                wrong[at] |= logits.argmax(1) != self.y[at]
            self._done[key] = wrong
        return self._done[key]

    def left(self, attack: Attack) -> float:
        """Accuracy under an attack."""
        return 1 - self.fooled(attack).double().mean().item()

    def pgd(self, steps: int = 20, eps: float | None = None, **more) -> PGD:
        return PGD(self.eps if eps is None else eps, steps, draws=self.draws, **more)

    def answers(self, x: Tensor) -> Tensor:
        with attacking(self.f), torch.no_grad():
            return self.f(x).float()
