"""Auto-PGD (Croce & Hein 2020): a walk with momentum that halves its step where the loss stops rising."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .attacks import Attack
from .guard import NonFiniteError
from .moves import projection, step, towards

MOMENTUM, RISING = 0.75, 0.75  # of the last move; the share of steps that must have raised the loss


@dataclass(frozen=True)
class APGD(Attack):
    """No step size: it begins at 2 eps, and halves per image at checkpoints, where the walk returns to its best point.

    loss: "ce", "dlr", "margin" or a function. targets=k climbs the targeted DLR instead, once towards each of the k
    most likely wrong classes; targets="all" once towards every wrong class. draws: EOT, as for PGD.
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
        """As for every attack, with one walk per target."""
        walks = (classes - 1 if self.targets == "all" else self.targets) or self.restarts
        return walks * (self.steps + 1)

    def describe(self) -> dict:
        return super().describe() | {"targets": self.targets}

    def __str__(self) -> str:
        words, many = super().__str__(), f", {self.restarts} restart" + "s" * (self.restarts > 1)
        return words + (f", {self.targets} targets" if self.targets else many)

    def _walk(self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None) -> Iterator:
        """As Attack._walk; with targets every restart has a class of its own to go to."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        kept = {"x": x, "y": y, "here": torch.arange(len(x), device=x.device)}
        if self.targets:
            wrong = self._judge(f, x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
            kept["wrong"] = wrong if self.targets == "all" else wrong[:, : self.targets]
        for walk in range(kept["wrong"].shape[1] if self.targets else self.restarts):
            if only is not None:
                kept, only = _only(kept, only), None
            begun = self._begin(x, self.eps, generator)[kept["here"]]
            if walk == 0:  # later walks do not move the caller's stream: as in Attack._walk
                generator = torch.Generator(generator.device).set_state(generator.get_state())
            if self.targets:
                kept["target"] = kept["wrong"][:, walk]
            kept = yield from self._ascend(f, kept, begun)

    def _ascend(self, f, kept: dict[str, Tensor], begun: Tensor) -> Iterator:
        """One walk from `begun`; returns those whom the watcher left on it. All state is one tensor per name."""
        state = kept | {
            "at": begun, "before": begun, "size": begun.new_full((len(begun), *[1] * (begun.dim() - 1)), self.size),
            "rose": torch.zeros_like(kept["y"]), "halved": torch.ones_like(kept["y"], dtype=torch.bool),
        }  # fmt: skip
        state = yield from self._visit(f, state)
        state |= {"top": state["at"], "top_grad": state["grad"], "top_loss": state["loss"], "marked": state["loss"]}
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
        """Show the watcher where the walk is; loss and gradient there, of those whom it keeps."""
        if last:
            only = yield state["at"], self._judge(f, state["at"])
        else:
            logits, slope = self._look(f, state["at"], lambda z: self._climbed(z, state))
            only = yield state["at"], logits
            state = state | {"grad": slope(), "loss": self._climbed(logits, state)}
            if not (state["grad"].sum(dtype=torch.float32) + logits.sum()).isfinite():
                raise NonFiniteError("the network gave non-finite logits or gradients during the attack")
        return state if only is None else _only(state, only)

    def _climbed(self, logits: Tensor, state: dict[str, Tensor]) -> Tensor:
        if self.targets:
            return towards(logits, state["y"], state["target"])
        return self._values(logits, state["y"])

    def _move(self, state: dict[str, Tensor], share: float) -> dict[str, Tensor]:
        """A step up the loss, mixed with the direction of the last move."""
        at, onto_ball = state["at"], projection(state["x"], self.eps, self.norm)
        ahead = onto_ball(at + state["size"] * (step(at, state["grad"], 1.0, self.norm) - at))
        return {"at": onto_ball(at + share * (ahead - at) + (1 - share) * (at - state["before"])), "before": at}


def checkpoints(steps: int) -> list[int]:
    """After which steps the walk asks whether it still gets anywhere; the pauses become shorter."""
    at, share, pause = [], 0.22, 0.22
    while share < 1:
        at.append(math.ceil(round(share * steps, 6)))
        pause = max(pause - 0.03, 0.06)
        share += pause
    return at


def _only(state: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    return {key: value[mask] for key, value in state.items()}


def _remember(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Count rising steps, and keep the best point so far with its gradient."""
    better = state["loss"] > state["top_loss"]
    wide = better.view_as(state["size"])
    pairs = (("top", "at", wide), ("top_grad", "grad", wide), ("top_loss", "loss", better))
    kept = {top: torch.where(where, state[now], state[top]) for top, now, where in pairs}
    return kept | {"rose": state["rose"] + (state["loss"] > state["earlier"])}


def _halve(state: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """Shorter steps from the best point, where few of the last steps rose or a whole pause brought nothing better."""
    idle = ~state["halved"] & (state["top_loss"] <= state["marked"])
    stuck = (state["rose"] < RISING * steps) | idle
    wide = stuck.view_as(state["size"])
    return {
        "size": torch.where(wide, state["size"] / 2, state["size"]), "at": torch.where(wide, state["top"], state["at"]),
        "grad": torch.where(wide, state["top_grad"], state["grad"]), "rose": torch.zeros_like(state["rose"]),
        "loss": torch.where(stuck, state["top_loss"], state["loss"]), "halved": stuck, "marked": state["top_loss"],
    }  # fmt: skip
