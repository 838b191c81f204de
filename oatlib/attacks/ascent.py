"""Walks that follow the gradient of a loss: the loop of PGD and of the attacks of one step.

Such a walk repeats three operations: start near x (`init`), step up the loss (`ascend`) and return
to the ball of allowed changes (`project`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Walk
from .freeze import NonFiniteError
from .geometry import ascend, projection
from .queries import logits_and_gradient, mean_logits


class GradientWalk(Walk):
    """Base class of walks that follow a gradient and project onto a ball."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # rows (M,) of the images under attack in the last forward pass; None: no image was dropped
        self._rows_of_pass: Tensor | None = None
        self._backward: Callable[[], Tensor] | None = None
        self._onto_ball: Callable[[Tensor], Tensor] | None = None

    def _select(self, rows: Tensor) -> None:
        super()._select(rows)
        self._onto_ball = None
        self._rows_of_pass = rows if self._rows_of_pass is None else self._rows_of_pass[rows]

    def _loss(self, logits: Tensor) -> Tensor:
        """Return the values (M,) to increase, from the logits (M, C) of the present iterate."""
        return self.attack.loss_values(logits, self.y)

    def _ask(self, gradient: bool) -> None:
        """Ask the network about the present iterate: its logits, and its gradient if it is needed.

        The gradient is computed later, in `_gradient`: the caller gets the logits sooner.
        """
        samples = self.attack.eot_samples
        if gradient:
            self.logits, self._backward = logits_and_gradient(
                self.f, self.x_adv, self._loss, samples
            )
            self._logits_sum = self.logits.sum()
            self._rows_of_pass = None
        else:
            self.logits = mean_logits(self.f, self.x_adv, samples)

    def _gradient(self) -> tuple[Tensor, Tensor]:
        """Return the gradient (M, ...) at the present iterate, and whether all numbers are finite.

        The second value is a bool tensor without dimensions.
        """
        gradient = self._backward()
        self._backward = None  # frees the memory of the graph
        # The sum is a quick test of every entry. NaN must be detected here: its sign is 0, so a
        # step along the sign would hide it.
        finite = (gradient.sum(dtype=torch.float32) + self._logits_sum).isfinite()
        if self._rows_of_pass is not None:
            gradient = gradient[self._rows_of_pass]
        return gradient, finite

    def _project(self, x_adv: Tensor) -> Tensor:
        """Project x_adv (M, ...) onto the balls around the images under attack, in place."""
        if self._onto_ball is None:
            radius = self.attack.start_and_ball_radius[1]
            self._onto_ball = projection(self.x, radius, self.attack.norm)
        return self._onto_ball(x_adv)


class AscentWalk(GradientWalk):
    """Steps of one length along the gradient, in one or several restarts.

    The iterates are the start and the point after each step, for one restart after the other. They
    lie in the ball and in [0, 1]. The start "gaussian" may lie outside, and is no iterate.

    Raises:
        NonFiniteError: By `advance` after the last iterate, if logits or gradients contained NaN or
            infinity. To read a value from a GPU means to wait for its work, so it is read once.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._restarts_begun = 0
        self._steps_left = 0
        self._finite = torch.ones((), dtype=torch.bool, device=self.x.device)

    def advance(self) -> bool:
        if self._steps_left > 0:
            self._step()
        elif self._restarts_begun < self.attack.restarts:
            self._restart()
        else:
            self._check_finite()
            return False
        self._look()
        return True

    def _restart(self) -> None:
        """Go to a new starting point."""
        starts = self.attack.start_points(self._all_x, self.generator)
        self._restarts_begun += 1
        if self._restarts_begun == 1 and self.attack.restarts > 1:
            # Later restarts draw from a copy of the generator. The caller's generator, and with it
            # the first restart of the next batch, then does not depend on their number. So more
            # restarts can only find more (unless f is random).
            self._separate_generator()
        self.x_adv = self._under_attack(starts)
        self._steps_left = self.attack.steps
        if self.attack.start == "gaussian" and self._steps_left > 0:
            self._look()
            self._step()

    def _look(self) -> None:
        """Ask the network about the present iterate."""
        if self._steps_left > 0:
            self._ask(gradient=True)
        elif self._last_logits:
            self._ask(gradient=False)
            self._finite &= self.logits.isfinite().all()
        else:
            self.logits = None

    def _step(self) -> None:
        """Take a step along the gradient."""
        gradient, finite = self._gradient()
        self._finite &= finite
        ahead = ascend(self.x_adv, gradient, self.attack.step_length, self.attack.norm)
        self.x_adv = self._project(ahead)
        self._steps_left -= 1

    def _check_finite(self) -> None:
        if not self._finite:
            raise NonFiniteError(
                "the network gave non-finite logits or gradients during the attack"
            )
