"""Auto-PGD (Croce & Hein 2020): PGD with momentum that chooses its step size itself.

The step of an image is halved where its loss stops rising, so the user has no step size to set.
`Suite` uses this attack, both untargeted and targeted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Attack
from .freeze import NonFiniteError
from .geometry import project, projection, step
from .losses import towards

# MOMENTUM: weight of the new step; the last move gets weight 1 - MOMENTUM.
# RISING: fraction of the steps since the last checkpoint that must have raised the loss.
MOMENTUM, RISING = 0.75, 0.75


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD: the step is 2 eps at first, and is halved per image at checkpoints.

    An image whose step is halved continues from the best point that it has reached.

    Args:
        eps: Radius of the ball, in pixel units.
        steps: Number of steps per restart or target.
        norm: "linf" or "l2".
        restarts: Number of runs, each from a new starting point. Not used if there are targets.
        start: "uniform", "gaussian" or "none", as for `PGD`. A gaussian start is projected first.
        loss: What the attack increases: "ce", "margin", "dlr", or a function of logits (N, C) and
            labels (N,) that returns values (N,). Not used if there are targets.
        targets: 0: untargeted. k: increase the targeted DLR instead, once towards each of the k
            most likely wrong classes. "all": once towards every wrong class.
        draws: Samples of a random network whose gradients are averaged (EOT), as for `PGD`.

    Raises:
        ValueError: An argument is out of range or not one of the choices.
    """

    name: ClassVar[str] = "APGD"
    best: ClassVar[bool] = True
    eps: float = 8 / 255
    steps: int = 100
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    targets: int | str = 0
    draws: int = 1

    @property
    def size(self) -> float:
        return 2 * self.eps

    def __post_init__(self):
        super().__post_init__()
        if self.targets != "all" and (isinstance(self.targets, str) or self.targets < 0):
            raise ValueError(f"targets must be >= 0 or 'all', got {self.targets!r}")

    def walk_length_for(self, classes: int) -> int:
        """Return `walk_length` for `classes` classes, where each target counts as a restart."""
        walks = (classes - 1 if self.targets == "all" else self.targets) or self.restarts
        return walks * (self.steps + 1)

    def describe(self) -> dict:
        return super().describe() | {"targets": self.targets}

    def __str__(self) -> str:
        words, many = super().__str__(), f", {self.restarts} restart" + "s" * (self.restarts > 1)
        return words + (f", {self.targets} targets" if self.targets else many)

    def _walk(
        self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None
    ) -> Iterator:
        """Run the attack as `Attack._walk` does; with targets there is one run per wrong class."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        # What belongs to the images still under attack; "here" are their positions in x.
        kept = {"x": x, "y": y, "here": torch.arange(len(x), device=x.device)}
        if self.targets:  # the wrong classes of each image, the most likely first: (N, targets)
            wrong = (
                self._judge(f, x)
                .scatter(1, y[:, None], -torch.inf)
                .argsort(1, descending=True)[:, :-1]
            )
            kept["wrong"] = wrong if self.targets == "all" else wrong[:, : self.targets]
        for walk in range(kept["wrong"].shape[1] if self.targets else self.restarts):
            if only is not None:
                kept, only = _only(kept, only), None
            begun = self._begin(x, self.eps, generator)
            if self.start == "gaussian":  # in this attack the start is an iterate like any other
                begun = project(begun, x, self.eps, self.norm)
            begun = begun[kept["here"]]
            if walk == 0:  # later runs leave the caller's generator as it is, as in Attack._walk
                generator = torch.Generator(generator.device).set_state(generator.get_state())
            if self.targets:
                kept["target"] = kept["wrong"][:, walk]
            kept = yield from self._ascend(f, kept, begun)

    def _ascend(self, f, kept: dict[str, Tensor], begun: Tensor) -> Iterator:
        """Run once from `begun` (M, ...), and return the part of `kept` that is still under attack.

        `state` holds one tensor per name, with one entry for each image under attack.
        """
        # at, before: present and last point. size: step per image. rose: how many steps raised the
        # loss since the last checkpoint. halved: whether the last checkpoint halved the step.
        state = kept | {
            "at": begun,
            "before": begun,
            "size": begun.new_full((len(begun), *[1] * (begun.dim() - 1)), self.size),
            "rose": torch.zeros_like(kept["y"]),
            "halved": torch.ones_like(kept["y"], dtype=torch.bool),
        }
        state = yield from self._visit(f, state)
        # top, top_grad, top_loss: the best point so far. marked: its loss at the last checkpoint.
        state |= {
            "top": state["at"],
            "top_grad": state["grad"],
            "top_loss": state["loss"],
            "marked": state["loss"],
        }
        marks, last = checkpoints(self.steps), 0
        for k in range(1, self.steps + 1):
            state |= self._move(state, 1.0 if k == 1 else MOMENTUM) | {"earlier": state["loss"]}
            state = yield from self._visit(f, state, last=k == self.steps)
            if k < self.steps:
                state |= _remember(state)
            if k in marks:
                state |= _halve(state, k - last)
                last = k
        return {key: state[key] for key in kept if key != "target"}

    def _visit(self, f, state: dict[str, Tensor], last: bool = False) -> Iterator:
        """Yield the present point and its logits, then add its loss and gradient to the state.

        Images that the caller drops are removed from the state. The last point needs no gradient.
        """
        if last:
            only = yield state["at"], self._judge(f, state["at"])
        else:
            logits, slope = self._look(f, state["at"], lambda z: self._climbed(z, state))
            only = yield state["at"], logits
            state = state | {"grad": slope(), "loss": self._climbed(logits, state)}
            if not (state["grad"].sum(dtype=torch.float32) + logits.sum()).isfinite():
                raise NonFiniteError(
                    "the network gave non-finite logits or gradients during the attack"
                )
        return state if only is None else _only(state, only)

    def _climbed(self, logits: Tensor, state: dict[str, Tensor]) -> Tensor:
        if self.targets:
            return towards(logits, state["y"], state["target"])
        return self._values(logits, state["y"])

    def _move(self, state: dict[str, Tensor], share: float) -> dict[str, Tensor]:
        """Mix a projected gradient step (weight `share`) and the last move (weight 1 - `share`)."""
        at, onto_ball = state["at"], projection(state["x"], self.eps, self.norm)
        ahead = onto_ball(at + state["size"] * (step(at, state["grad"], 1.0, self.norm) - at))
        return {
            "at": onto_ball(at + share * (ahead - at) + (1 - share) * (at - state["before"])),
            "before": at,
        }


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
    at, share, pause = [], 0.22, 0.22
    while share < 1:
        at.append(math.ceil(round(share * steps, 6)))
        pause = max(pause - 0.03, 0.06)
        share += pause
    return at


def _only(state: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    return {key: value[mask] for key, value in state.items()}


def _remember(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Count the steps that raised the loss, and keep the best point so far with its gradient."""
    better = state["loss"] > state["top_loss"]
    wide = better.view_as(state["size"])
    pairs = (("top", "at", wide), ("top_grad", "grad", wide), ("top_loss", "loss", better))
    kept = {top: torch.where(where, state[now], state[top]) for top, now, where in pairs}
    return kept | {"rose": state["rose"] + (state["loss"] > state["earlier"])}


def _halve(state: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """Halve the step of images that make no progress, and return them to their best point.

    An image makes no progress if fewer than RISING of the last `steps` steps raised its loss. It
    makes none either if its step was not halved at the last checkpoint and its best loss has not
    improved since.
    """
    idle = ~state["halved"] & (state["top_loss"] <= state["marked"])
    stuck = (state["rose"] < RISING * steps) | idle
    wide = stuck.view_as(state["size"])
    return {
        "size": torch.where(wide, state["size"] / 2, state["size"]),
        "at": torch.where(wide, state["top"], state["at"]),
        "grad": torch.where(wide, state["top_grad"], state["grad"]),
        "rose": torch.zeros_like(state["rose"]),
        "loss": torch.where(stuck, state["top_loss"], state["loss"]),
        "halved": stuck,
        "marked": state["top_loss"],
    }
