"""Several attacks one after the other, where only survivors go on: the worst case per image, and it can be interrupted.

An image is robust against the suite if no member fools the network on it. Members are ordered by price.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .apgd import APGD
from .attacks import Attack
from .guard import NoGradientError, attacking, check_images
from .record import RecordError, read_weights, write_weights
from .square import Square

NOBODY = -1


@dataclass(frozen=True)
class Suite:
    """A cascade of attacks; APGD-CE, targeted APGD-DLR and Square unless `members` says otherwise.

    Called like any attack, so that `evaluate(net, split, Suite())` works; `run` tells what each member did.
    draws: EOT, for random networks (then with fewer steps, as each costs so many forwards).
    """

    eps: float = 8 / 255
    norm: str = "linf"
    draws: int = 1
    members: tuple[Attack, ...] = ()
    name: str = "suite"

    def __post_init__(self):
        if self.members and any(abs(member.eps - self.eps) > 1e-9 for member in self.members):
            raise ValueError("every member of a suite must have the eps of the suite, or its accuracy means nothing")
        self.attacks()  # complains

    def attacks(self) -> tuple[Attack, ...]:
        """The members in their order."""
        if self.members:
            return tuple(self.members)
        same = {"eps": self.eps, "norm": self.norm, "draws": self.draws}
        steps, aimed, targets, queries = (100, 50, 5, 500) if self.draws == 1 else (40, 20, 2, 100)
        gradient = (APGD(**same, steps=steps), APGD(**same, steps=aimed, targets=targets))
        if self.norm != "linf":  # Square paints L-infinity squares
            return gradient
        return *gradient, Square(self.eps, queries, draws=self.draws)

    def describe(self) -> dict:
        """For a result record: all members."""
        about = {"name": self.name, "eps": self.eps, "norm": self.norm, "draws": self.draws}
        return about | {"members": [member.describe() for member in self.attacks()]}

    def __str__(self) -> str:
        return f"suite of {len(self.attacks())} attacks ({'; '.join(map(str, self.attacks()))}), worst case per image"

    def __call__(self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None) -> Tensor:
        """Attacked images like x; those that nobody could fool come back as they were."""
        return self.run(f, x, y, generator, progress=False).x_adv

    def run(
        self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None, *, batch: int = 256,
        seconds: float | None = None, progress: bool = True, keep: str | Path | None = None,
    ) -> Outcome:  # fmt: skip
        """Run the cascade. With `seconds` it stops when they are over, and says so; with `keep` its state is written
        there after every batch, and a later run with the same network, images and members goes on from it."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        state = _begin(self, f, x, y, seed, keep)
        end = None if seconds is None else time.monotonic() + seconds
        with tqdm(total=len(y) * len(self.attacks()), unit="image", disable=not progress, leave=False) as bar:
            for index, member in enumerate(self.attacks()):
                bar.set_description(member.name)
                while len(todo := state.todo(index)[:batch]):
                    in_time = _strike(member, f, state, index, todo, end)
                    if keep:
                        state.save(keep)
                    if not in_time:
                        return state
                    bar.update(len(todo))
                    bar.set_postfix_str(f"robust {state.robust:.1%}")
                bar.update(len(y) * (index + 1) - bar.n)  # the fallen need not go on
        return state


@dataclass
class Outcome:
    """What a suite did. `fell` (N,): the member that fooled an image, -1 nobody, -2 wrong as it is; `tried` (N,)."""

    names: list[str]
    x: Tensor
    y: Tensor
    x_adv: Tensor
    fell: Tensor
    tried: Tensor
    seconds: list[float]
    seed: int
    about: dict = field(default_factory=dict)
    unable: dict[int, str] = field(default_factory=dict)  # members that need a gradient where there is none

    @property
    def clean(self) -> float:
        return (self.fell != -2).double().mean().item()

    @property
    def robust(self) -> float:
        return (self.fell == NOBODY).double().mean().item()

    @property
    def complete(self) -> bool:
        """Whether every survivor met every member; else `robust` is only an upper bound."""
        return not any(len(self.todo(index)) for index in range(len(self.names)))

    def todo(self, index: int) -> Tensor:
        """Which images member `index` must still try."""
        return ((self.fell == NOBODY) & (self.tried <= index)).nonzero()[:, 0]

    def rows(self) -> list[dict]:
        """Per member: how many images it was given and fooled, and in how many seconds."""
        found = []
        for index, name in enumerate(self.names):
            met = ((self.fell == NOBODY) | (self.fell >= index)) & (self.tried > index)
            fooled = (self.fell == index).sum().item()
            found.append({"attack": name, "given": met.sum().item(), "fooled": fooled,
                          "seconds": round(self.seconds[index], 2), "unable": self.unable.get(index, "")})  # fmt: skip
        return found

    def __str__(self) -> str:
        lines = [f"n = {len(self.y)}: clean {self.clean:.1%}, robust {self.robust:.1%}"
                 + ("" if self.complete else " at most: the time was over before all attacks were")]  # fmt: skip
        lines += [f"  {row['fooled']:4d} of {row['given']:4d} fooled in {row['seconds']:5.1f} s by {row['attack']}"
                  + f" ({row['unable']})" * bool(row["unable"]) for row in self.rows()]  # fmt: skip
        return "\n".join(lines)

    def save(self, path) -> None:
        """The state, from which `Suite.run(keep=path)` goes on."""
        tensors = {name: getattr(self, name) for name in ("x_adv", "fell", "tried")}
        header = {"suite": self.about, "seconds": self.seconds, "seed": self.seed}
        write_weights(path, tensors, header)


def _begin(suite: Suite, f, x: Tensor, y: Tensor, seed: int, keep) -> Outcome:
    with attacking(f):
        x = check_images(x, y)
        logits = suite.attacks()[0]._judge(f, x)
    names, y = [str(member) for member in suite.attacks()], y.to(torch.int64)
    about = {"attacks": names, "images": _digest(x, y), "n": len(y)}
    fell = torch.where(logits.argmax(1) == y, NOBODY, -2)
    new = Outcome(names, x, y, x.clone(), fell, torch.zeros_like(fell), [0.0] * len(names), seed, about)
    if keep is None or not Path(keep).is_file():
        return new
    tensors, header = read_weights(keep)
    if header.get("suite") != about:
        raise RecordError(f"{keep} is the state of another suite or of other images: name another file, or delete it")
    with attacking(f):  # a file of another network would be believed otherwise
        fooled = suite.attacks()[0]._judge(f, tensors["x_adv"].to(x)).argmax(1) != y
    if suite.draws == 1 and not torch.equal(fooled.cpu(), tensors["fell"] != NOBODY):
        raise RecordError(f"{keep} is the state of another network: name another file, or delete it")
    for name, tensor in tensors.items():
        setattr(new, name, tensor.to(x.device))
    new.seconds, new.seed = header["seconds"], header["seed"]
    return new


def _strike(member: Attack, f, state: Outcome, index: int, todo: Tensor, end: float | None) -> bool:
    """One member on one batch of survivors; False if the time is over, and then the batch is not counted as tried."""
    started = time.monotonic()
    generator = torch.Generator(state.x.device).manual_seed(state.seed + 1009 * index + int(todo[0]))
    x, y = state.x[todo], state.y[todo]
    in_time = True
    try:
        for at, x_adv, logits in member.survivors(f, x, y, generator):
            wrong = logits.argmax(1) != y[at]
            where = todo[at[wrong]]
            state.x_adv[where], state.fell[where] = x_adv[wrong], index
            in_time = end is None or time.monotonic() < end
            if not in_time:
                break
    except NoGradientError as error:  # those that ask for no gradient go on
        state.unable[index] = str(error)
    state.seconds[index] += time.monotonic() - started
    if in_time:
        state.tried[todo] = index + 1
    return in_time


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
