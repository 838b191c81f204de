"""Attacks by projected gradient ascent: PGD, and the one-step attacks FGSM, FGSM-RS and N-FGSM.

Each is a set of numbers for the loop in `oatlib.attacks.ascent`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .._check import real
from .ascent import AscentWalk
from .base import IterativeAttack, restarts_as_text


@dataclass(frozen=True)
class PGD(IterativeAttack):
    """Projected gradient ascent on the loss, known as PGD: many small steps (Madry et al. 2018).

    Args:
        eps: Radius of the ball of allowed changes, in pixel units.
        steps: Number of steps per restart. 0: the start is the result.
        step_size: Length of a step, in pixel units. None: min(2.5 eps / steps, eps). The published
            OAT code uses min(1.25 eps, eps + 4/255) / steps.
        norm: "linf" or "l2".
        restarts: Number of runs, each from a new random point. More than one needs best=True.
        start: "uniform" (a random point of the ball), "none" (x itself), or "gaussian"
            (x + 0.001 N(0, 1), as in TRADES). The gaussian start is not clipped, so it is never
            a result: only the first gradient is computed there.
        loss: What the attack increases: "ce", "margin", "dlr", or a function of logits (N, C) and
            labels (N,) that returns values (N,).
        best: True: keep the strongest iterate of each image, the start included. This costs one
            more forward pass. False: keep the last iterate.
        eot_samples: Number of gradients that are averaged, for networks with random weights (EOT,
            Athalye et al. 2018).

    Example:
        >>> x_adv = PGD(8 / 255, steps=20)(net.at(1.0), x, y)
    """

    name = "PGD"
    walk_type = AscentWalk
    eps: float = 8 / 255
    steps: int = 10
    step_size: float | None = None
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    best: bool = True
    eot_samples: int = 1

    @property
    def step_length(self) -> float:
        if self.step_size is not None:
            return self.step_size
        return min(2.5 * self.eps / max(self.steps, 1), self.eps)

    def __str__(self) -> str:
        words = [super().__str__(), restarts_as_text(self.restarts)]
        if not self.best:
            words.append("last iterate")
        return ", ".join(words)


@dataclass(frozen=True)
class FGSM(IterativeAttack):
    """Fast gradient sign method: one step of length eps from x itself (Goodfellow et al. 2015).

    Args:
        eps: Radius of the ball and length of the step, in pixel units.
        norm: "linf" or "l2".
        loss: What the attack increases, as for `PGD`.
        eot_samples: Number of gradients that are averaged (EOT), as for `PGD`.
    """

    name = "FGSM"
    walk_type = AscentWalk
    start = "none"
    eps: float = 8 / 255
    norm: str = "linf"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    eot_samples: int = 1


@dataclass(frozen=True)
class FGSMRS(IterativeAttack):
    """FGSM with a random start: one step from a uniform point of the ball (Wong et al. 2020).

    The result of the step is projected back onto the ball.

    Args:
        eps: Radius of the ball, in pixel units.
        step_size: Length of the step, in pixel units. None: 1.25 eps.
        norm: "linf" or "l2".
        loss: What the attack increases, as for `PGD`.
        eot_samples: Number of gradients that are averaged (EOT), as for `PGD`.
    """

    name = "FGSM-RS"
    walk_type = AscentWalk
    eps: float = 8 / 255
    step_size: float | None = None
    norm: str = "linf"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    eot_samples: int = 1

    @property
    def step_length(self) -> float:
        return 1.25 * self.eps if self.step_size is None else self.step_size


@dataclass(frozen=True)
class NFGSM(IterativeAttack):
    """Noise U[-k eps, k eps], then one step of eps, clipped to [0, 1] only (de Jorge et al. 2022).

    For training only: the result can lie outside of the eps-ball. A pixel can change by up to
    (k + 1) eps.

    Args:
        eps: Length of the step, in pixel units.
        k: Radius of the noise, in units of eps.
        loss: What the attack increases, as for `PGD`.
    """

    name = "N-FGSM"
    walk_type = AscentWalk
    eps: float = 8 / 255
    k: float = 2.0
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"

    def __post_init__(self):
        real("k", self.k, 0)
        super().__post_init__()

    @property
    def start_and_ball_radius(self) -> tuple[float, float]:
        # The second radius is as far as noise and step can reach: projection only clips to [0, 1].
        return self.k * self.eps, (self.k + 1) * self.eps

    def describe(self) -> dict:
        return super().describe() | {"k": self.k}
