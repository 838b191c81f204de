"""Auto-PGD (Croce & Hein 2020): PGD with momentum that chooses its step size itself.

The step of an image is halved where its loss stops rising, so the user has no step size to set.
`Suite` uses this attack, both untargeted and targeted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._check import whole
from .ascent import GradientWalk
from .base import IterativeAttack, restarts_as_text
from .freeze import NonFiniteError
from .geometry import ascend, project
from .losses import towards
from .queries import mean_logits

MOMENTUM = 0.75  # weight of the new step; the last move gets weight 1 - MOMENTUM
RISING = 0.75  # fraction of the steps since the last checkpoint that must have raised the loss


class APGDWalk(GradientWalk):
    """All iterates of `APGD`: one run per restart, or one per target class.

    The iterates are the start of each run and the point after each of its steps.

    Raises:
        NonFiniteError: By `advance`, if logits or gradients contain NaN or infinity.
    """

    # _before: the iterate before the present one. _step_length: of the next step, (M, 1, ...).
    # _value: loss of the present iterate. _value_before: loss of the one before. _rose: number of
    # steps since the last checkpoint that raised the loss. _halved: whether the last checkpoint
    # halved the step. _top, _top_gradient, _top_value: the best point of the run so far.
    # _top_value_at_checkpoint: its loss at the last checkpoint. _targets: the wrong classes to
    # target, the most likely first (M, runs). _target: the one of this run.
    _per_image = (
        *GradientWalk._per_image,
        "_before",
        "_step_length",
        "_value",
        "_value_before",
        "_rose",
        "_halved",
        "_top",
        "_top_gradient",
        "_top_value",
        "_top_value_at_checkpoint",
        "_targets",
        "_target",
    )

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if self.attack.targets:
            self._targets = self._rank_targets()
            self._runs = self._targets.shape[1]
        else:
            self._targets = None
            self._runs = self.attack.restarts
        self._runs_begun = 0
        self._steps_done = 0
        self._steps_left = 0
        self._last_checkpoint = 0
        self._checkpoints = checkpoints(self.attack.steps)

    def advance(self) -> bool:
        if self._steps_left > 0:
            self._step()
        elif self._runs_begun < self._runs:
            self._begin_run()
        else:
            return False
        self._look()
        return True

    def _rank_targets(self) -> Tensor:
        """Return the wrong classes of each image, the most likely first (M, runs)."""
        logits = mean_logits(self.f, self.x, self.attack.eot_samples)
        without_true_class = logits.scatter(1, self.y[:, None], -torch.inf)
        wrong_classes = without_true_class.argsort(1, descending=True)[:, :-1]
        if self.attack.targets == "all":
            return wrong_classes
        return wrong_classes[:, : self.attack.targets]

    def _begin_run(self) -> None:
        """Go to a new starting point, and forget what was reached from the one before."""
        attack = self.attack
        starts = attack.start_points(self._all_x, self.generator)
        if attack.start == "gaussian":  # in this attack the start is an iterate like any other
            starts = project(starts, self._all_x, attack.eps, attack.norm)
        if self._runs_begun == 0:  # later runs leave the caller's generator as it is, as in PGD
            self._separate_generator()
        self.x_adv = self._under_attack(starts)
        self._before = self.x_adv
        one_per_image = (len(self.x_adv), *[1] * (self.x_adv.dim() - 1))
        self._step_length = self.x_adv.new_full(one_per_image, attack.step_length)
        self._rose = torch.zeros_like(self.y)
        self._halved = torch.ones_like(self.y, dtype=torch.bool)
        if self._targets is not None:
            self._target = self._targets[:, self._runs_begun]
        self._runs_begun += 1
        self._steps_done = 0
        self._steps_left = attack.steps
        self._last_checkpoint = 0

    def _look(self) -> None:
        """Ask the network about the present iterate. The last one of a run needs no gradient."""
        self._ask(gradient=self._steps_left > 0)
        if self._steps_left > 0:
            self._value = self._loss(self.logits)

    def _loss(self, logits: Tensor) -> Tensor:
        if self._targets is not None:
            return towards(logits, self.y, self._target)
        return super()._loss(logits)

    def _step(self) -> None:
        """Judge the present iterate, then move on from it or from the best one."""
        gradient, finite = self._gradient()
        if not finite:
            raise NonFiniteError(
                "the network gave non-finite logits or gradients during the attack"
            )
        if self._steps_done == 0:
            self._top = self.x_adv
            self._top_gradient = gradient
            self._top_value = self._value
            self._top_value_at_checkpoint = self._value
        else:
            self._remember(gradient)
        if self._steps_done in self._checkpoints:
            gradient = self._halve_stuck(gradient)
        self._move(gradient)
        self._steps_done += 1
        self._steps_left -= 1

    def _remember(self, gradient: Tensor) -> None:
        """Count the step if it raised the loss, and keep the best point so far."""
        better = self._value > self._top_value
        better_image = better.view_as(self._step_length)
        self._top = torch.where(better_image, self.x_adv, self._top)
        self._top_gradient = torch.where(better_image, gradient, self._top_gradient)
        self._top_value = torch.where(better, self._value, self._top_value)
        self._rose = self._rose + (self._value > self._value_before)

    def _halve_stuck(self, gradient: Tensor) -> Tensor:
        """Halve the step of images that are stuck, and return them to their best point.

        Returns:
            The gradients (M, ...) at the points from which the attack continues.
        """
        steps = self._steps_done - self._last_checkpoint
        improved = self._top_value > self._top_value_at_checkpoint
        stuck = is_stuck(self._rose, steps, improved, self._halved)
        stuck_image = stuck.view_as(self._step_length)
        self._step_length = torch.where(stuck_image, self._step_length / 2, self._step_length)
        self.x_adv = torch.where(stuck_image, self._top, self.x_adv)
        self._value = torch.where(stuck, self._top_value, self._value)
        self._halved = stuck
        self._rose = torch.zeros_like(self._rose)
        self._top_value_at_checkpoint = self._top_value
        self._last_checkpoint = self._steps_done
        return torch.where(stuck_image, self._top_gradient, gradient)

    def _move(self, gradient: Tensor) -> None:
        """Mix a projected gradient step with the last move. The first step is not mixed."""
        weight = 1.0 if self._steps_done == 0 else MOMENTUM
        present = self.x_adv
        direction = ascend(present, gradient, 1.0, self.attack.norm) - present
        ahead = self._project(present + self._step_length * direction)
        mixed = present + weight * (ahead - present) + (1 - weight) * (present - self._before)
        self.x_adv = self._project(mixed)
        self._before = present
        self._value_before = self._value


@dataclass(frozen=True)
class APGD(IterativeAttack):
    """Auto-PGD: the step is 2 eps at first, and is halved per image at checkpoints.

    An image whose step is halved continues from the best point that it has reached.

    Args:
        eps: Radius of the ball, in pixel units.
        steps: Number of steps per restart or target. 0: the start is the result.
        norm: "linf" or "l2".
        restarts: Number of runs, each from a new starting point. Not used if there are targets.
        start: "uniform", "gaussian" or "none", as for `PGD`. A gaussian start is projected first.
        loss: What the attack increases: "ce", "margin", "dlr", or a function of logits (N, C) and
            labels (N,) that returns values (N,). Not used if there are targets.
        targets: 0: untargeted. k: increase the targeted DLR instead, once towards each of the k
            most likely wrong classes. "all": once towards every wrong class.
        eot_samples: Samples of a random network whose gradients are averaged (EOT), as for `PGD`.

    Raises:
        ValueError: An argument is out of range or not one of the choices.
    """

    name = "APGD"
    best = True
    walk_type = APGDWalk
    eps: float = 8 / 255
    steps: int = 100
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    targets: int | str = 0
    eot_samples: int = 1

    @property
    def step_length(self) -> float:
        """Length of the first steps, in pixel units."""
        return 2 * self.eps

    def __post_init__(self):
        super().__post_init__()
        if self.targets != "all":
            if isinstance(self.targets, str):
                raise ValueError(f"targets must be a whole number or 'all', got {self.targets!r}")
            whole("targets", self.targets, 0)

    def walk_length_for(self, classes: int) -> int:
        """Return `walk_length` for `classes` classes, where each target counts as a restart."""
        runs = self.restarts
        if self.targets == "all":
            runs = classes - 1
        elif self.targets:
            runs = self.targets
        return runs * (self.steps + 1)

    def describe(self) -> dict:
        return super().describe() | {"targets": self.targets}

    def __str__(self) -> str:
        runs = f"{self.targets} targets" if self.targets else restarts_as_text(self.restarts)
        return f"{super().__str__()}, {runs}"


def checkpoints(steps: int) -> list[int]:
    """Return the numbers of the steps after which `APGD` decides whether to halve the step size.

    The first interval is 22 % of all steps. Each further interval is shorter by 3 % of all steps,
    but not shorter than 6 %.

    Args:
        steps: Number of steps of the attack.

    Returns:
        Step numbers, counted from 1, in ascending order.

    Example:
        >>> checkpoints(100)[:4]
        [22, 41, 57, 70]
    """
    step_numbers = []
    interval = 0.22
    fraction = interval  # of all steps, at the next checkpoint
    while fraction < 1:
        step_numbers.append(math.ceil(round(fraction * steps, 6)))
        interval = max(interval - 0.03, 0.06)
        fraction += interval
    return step_numbers


def is_stuck(rose: Tensor, steps: int, improved: Tensor, halved: Tensor) -> Tensor:
    """Return for which images a checkpoint of `APGD` halves the step (M,).

    An image is stuck if fewer than RISING of the last `steps` steps raised its loss. It is also
    stuck if its step was not halved at the last checkpoint and its best loss has not improved
    since.

    Args:
        rose: Number of steps since the last checkpoint that raised the loss (M,).
        steps: Number of steps since the last checkpoint.
        improved: (M,) True where the best loss has improved since the last checkpoint.
        halved: (M,) True where the last checkpoint halved the step.
    """
    rose_too_seldom = rose < RISING * steps
    idle = ~halved & ~improved
    return rose_too_seldom | idle
