"""A cascade of attacks: each one only gets the images that are still correct after those before it.

The robust accuracy is the worst case over the members, per image. The cheapest member comes first, so that the
expensive ones meet few images. A run can be interrupted and resumed.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .apgd import APGD
from .attacks import Attack
from .guard import NoGradientError, attacking, check_images
from .moves import margin
from .record import RecordError, read_weights, write_weights
from .spec import lookup
from .square import Square
from .transfer import ThroughEnds, mixture_of

NOBODY = -1


@dataclass(frozen=True)
class Budget:
    """The numbers of a suite: steps of untargeted APGD, steps and number of targets after it, queries of Square."""

    steps: int
    targeted_steps: int
    targets: int | str
    queries: int  # 0: no Square


BUDGETS = {"quick": Budget(10, 10, 2, 0), "fast": Budget(100, 50, 5, 500), "full": Budget(100, 100, "all", 5000)}
# with EOT every step costs `draws` times as much
EOT_BUDGETS = {"quick": Budget(10, 10, 1, 0), "fast": Budget(40, 20, 2, 100), "full": Budget(100, 50, 5, 500)}


def default_attack(eps: float = 8 / 255, draws: int = 1) -> Suite:
    """Return the attack that measurements use if none is given: `Suite(eps, draws=draws, budget="quick")`.

    Args:
        eps: L-infinity radius in pixel units.
        draws: Samples of the weights per gradient (EOT), for networks with random weights.
    """
    return Suite(eps, draws=draws, budget="quick")


def suited(attack: Attack | Suite, f: Callable) -> Attack | Suite:
    """The attack to use on a function: for a mixture of outputs a suite also attacks the ends of the mixture.

    Args:
        attack: Any attack. Only a suite with a budget is changed.
        f: What is attacked.
    """
    if isinstance(attack, Suite) and not attack.members and mixture_of(f) is not None:
        return replace(attack, mixture=True)
    return attack


@dataclass(frozen=True)
class Suite:
    """A cascade of attacks: untargeted APGD, then targeted APGD, then Square (L-infinity only).

    Called like any attack, so that `evaluate(net, split, Suite())` works. `run` says what each member did.

    Args:
        eps: Radius of the ball, in pixel units for L-infinity.
        norm: "linf" or "l2".
        draws: Samples of the weights per gradient (EOT), for networks with random weights. With more than one the
            budgets have fewer steps (`EOT_BUDGETS`), as every step costs that many passes.
        budget: How much work it does.

            * "quick": APGD-10, then APGD-10 towards 2 targets. At most 30 gradient steps per image, at most 1.5 times
              the cost of PGD-20. It is the default of `evaluate`. It leaves somewhat more images than "fast".
            * "fast": APGD-100, then APGD-50 towards 5 targets, then Square with 500 queries. At most 350 gradient
              steps per image. On 256 images of the hardest setting it left 26 where AutoAttack left 24.
            * "full": APGD-100, then APGD-100 towards every wrong class, then Square with 5,000 queries. At most 100
              gradient steps per class and image, three times as long as "fast" where half of the images are robust.
              It left the same 24 images as AutoAttack.
        members: Use these attacks instead of a budget.
        mixture: Attack the mean logits of the ends, too (`ThroughEnds`). For mixtures of outputs only; see `suited`.
        name: What result records call it.

    Other compositions of "quick" that were tried are listed in `bench/ruler.py`.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    draws: int = 1
    budget: str = "fast"
    members: tuple[Attack, ...] = ()
    mixture: bool = False
    name: str = "suite"
    best: ClassVar[bool] = True  # an image counts as fooled if any point that was visited fools the network

    def __post_init__(self):
        lookup("budget", self.budget, BUDGETS)
        if self.members and any(abs(member.eps - self.eps) > 1e-9 for member in self.members):
            raise ValueError("every member of a suite must have the eps of the suite, or its accuracy means nothing")
        self.attacks()  # complains

    def attacks(self) -> tuple[Attack, ...]:
        """The members in their order."""
        if self.members:
            return tuple(self.members)
        budget = (BUDGETS if self.draws == 1 else EOT_BUDGETS)[self.budget]
        same = {"eps": self.eps, "norm": self.norm, "draws": self.draws}
        untargeted = APGD(**same, steps=budget.steps)
        targeted = APGD(**same, steps=budget.targeted_steps, targets=budget.targets)
        found = (untargeted, targeted)
        if self.mixture:
            found += (ThroughEnds(replace(untargeted, loss="margin")), ThroughEnds(targeted))
        if self.norm != "linf" or not budget.queries:  # Square paints L-infinity squares
            return found
        return *found, Square(self.eps, budget.queries, draws=self.draws)

    @property
    def walk_length(self) -> int:
        """As `Attack.walk_length`: the sum over the members."""
        return self.walk_length_for(10)

    def walk_length_for(self, classes: int) -> int:
        """`walk_length` for a network of `classes` classes."""
        return sum(member.walk_length_for(classes) for member in self.attacks())

    @property
    def steps(self) -> int:
        """Upper bound of how many points `survivors` yields after the images as they are; the same as `walk_length`."""
        return self.walk_length

    def describe(self) -> dict:
        """For a result record: all members."""
        about = {"name": self.name, "eps": self.eps, "norm": self.norm, "draws": self.draws}
        about |= {"budget": None if self.members else self.budget}
        return about | {"members": [member.describe() for member in self.attacks()]}

    def __str__(self) -> str:
        kind = "" if self.members else f"{self.budget} "
        members = "; ".join(map(str, self.attacks()))
        return f"{kind}suite of {len(self.attacks())} attacks ({members}), worst case per image"

    def __call__(self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None) -> Tensor:
        """Attacked images like x (N, ...). An image that no member fools becomes the strongest point that was found.

        With `draws` > 1 no image is dropped: a random network that misclassified it once may classify it correctly the
        next time, so that the strongest point of all members is worth looking for.
        """
        if self.draws > 1:
            return self._strongest(f, x, y, generator)
        state = self.run(f, x, y, generator, progress=False)
        self._check_able(state)
        return state.x_adv

    def survivors(self, f, x: Tensor, y: Tensor, generator=None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (index (M,), x_adv (M, ...), logits (M, C)) as `Attack.survivors` does, member after member.

        First all images as they are, then after each step those that were classified correctly every time before. Ends
        early if no image is left. Same result as `run` in one batch.
        """
        state, logits = _begin(self, f, x, y, _seed(x, generator))
        yield torch.arange(len(y), device=y.device), state.x, logits
        for index, member in enumerate(self.attacks()):
            if len(todo := state.todo(index)):
                yield from _strike(member, f, state, index, todo)
        self._check_able(state)

    def run(
        self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None, *, batch: int = 256,
        seconds: float | None = None, progress: bool = True, keep: str | Path | None = None,
    ) -> Outcome:  # fmt: skip
        """Run the cascade and report what each member did.

        Args:
            f: Function from images (N, ...) to logits (N, classes).
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,).
            generator: Source of the random starts (default: seed 0).
            batch: Images per batch.
            seconds: Stop after this time. The outcome then says that it is not complete.
            progress: Show a progress bar.
            keep: Write the state to this file after every batch. A later run with the same network, images and members
                resumes from it.
        """
        state, _ = _begin(self, f, x, y, _seed(x, generator), keep)
        end = None if seconds is None else time.monotonic() + seconds
        with tqdm(total=len(y) * len(self.attacks()), unit="image", disable=not progress, leave=False) as bar:
            for index, member in enumerate(self.attacks()):
                bar.set_description(member.name)
                while len(todo := state.todo(index)[:batch]):
                    in_time = _exhaust(_strike(member, f, state, index, todo), state, index, end)
                    if keep:
                        state.save(keep)
                    if not in_time:
                        return state
                    bar.update(len(todo))
                    bar.set_postfix_str(f"robust {state.robust:.1%}")
                bar.update(len(y) * (index + 1) - bar.n)  # images that were fooled are not attacked again
        return state

    def _strongest(self, f, x: Tensor, y: Tensor, generator) -> Tensor:
        """Per image the result of that member after which the mean logits have the largest margin."""
        seed = _seed(x, generator)
        best, value = x, x.new_full(y.shape, -torch.inf)
        for index, member in enumerate(self.attacks()):
            x_adv = member(f, x, y, torch.Generator(x.device).manual_seed(seed + 1009 * index))
            with attacking(f):
                now = margin(member._judge(f, x_adv), y)
            better = (now > value).view(-1, *[1] * (x.dim() - 1))
            best, value = torch.where(better, x_adv, best), torch.maximum(now, value)
        return best

    def _check_able(self, state: Outcome) -> None:
        """Complain if members could not run because the network gives no gradient."""
        if len(state.unable) == len(self.attacks()):
            raise NoGradientError(next(iter(state.unable.values())))
        if state.unable:
            names = ", ".join(state.names[index].partition(",")[0] for index in state.unable)
            warnings.warn(
                f"no gradient reaches the images, so {names} of the suite could not run, and the robust accuracy is "
                "an upper bound", stacklevel=3)  # fmt: skip


@dataclass
class Outcome:
    """What a suite did.

    `fell` (N,): the index of the member that fooled the network, -1 if none did, -2 if the image as it is was wrong.
    `x_adv` (N, ...): the point that fooled it, else the one with the largest margin loss, which is `value` (N,).
    `tried` (N,): how many members have attacked the image.
    """

    names: list[str]
    x: Tensor
    y: Tensor
    x_adv: Tensor
    value: Tensor
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


def _seed(x: Tensor, generator: torch.Generator | None) -> int:
    generator = generator or torch.Generator(x.device).manual_seed(0)
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


def _begin(suite: Suite, f, x: Tensor, y: Tensor, seed: int, keep=None) -> tuple[Outcome, Tensor]:
    """The state before the first member, or the one in the file `keep`, and the logits (N, C) of the images."""
    with attacking(f):
        x = check_images(x, y)
        logits = suite.attacks()[0]._judge(f, x)
    names, y = [str(member) for member in suite.attacks()], y.to(torch.int64)
    about = {"attacks": names, "images": _digest(x, y), "n": len(y)}
    fell = torch.where(logits.argmax(1) == y, NOBODY, -2)
    no_time = [0.0] * len(names)
    new = Outcome(names, x, y, x.clone(), margin(logits, y), fell, torch.zeros_like(fell), no_time, seed, about)
    if keep is None or not Path(keep).is_file():
        return new, logits
    tensors, header = read_weights(keep)
    if header.get("suite") != about:
        raise RecordError(f"{keep} is the state of another suite or of other images: name another file, or delete it")
    with attacking(f):  # a file of another network would be believed otherwise
        reached = suite.attacks()[0]._judge(f, tensors["x_adv"].to(x))
    fooled = reached.argmax(1) != y
    if suite.draws == 1 and not torch.equal(fooled.cpu(), tensors["fell"] != NOBODY):
        raise RecordError(f"{keep} is the state of another network: name another file, or delete it")
    for name, tensor in tensors.items():
        setattr(new, name, tensor.to(x.device))
    new.value, new.seconds, new.seed = margin(reached, y), header["seconds"], header["seed"]
    return new, logits


def _strike(member: Attack, f, state: Outcome, index: int, todo: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Attack the images `todo` with one member; yield each of its steps after it is written into the state."""
    generator = torch.Generator(state.x.device).manual_seed(state.seed + 1009 * index + int(todo[0]))
    everything = torch.ones_like(todo, dtype=torch.bool)
    try:
        for at, x_adv, logits in member._drop_fooled(f, state.x[todo], state.y[todo], everything, generator):
            where = todo[at]
            value, wrong = margin(logits, state.y[where]), logits.argmax(1) != state.y[where]
            better = wrong | (value > state.value[where])
            state.x_adv[where[better]], state.value[where[better]] = x_adv[better], value[better]
            state.fell[where[wrong]] = index
            yield where, x_adv, logits
    except NoGradientError as error:  # members that need no gradient can still run
        state.unable[index] = str(error)
    state.tried[todo] = index + 1


def _exhaust(strike: Iterator, state: Outcome, index: int, end: float | None) -> bool:
    """Run one member on one batch; False if the time is over, and then the batch does not count as tried."""
    started, in_time = time.monotonic(), True
    for _ in strike:
        in_time = end is None or time.monotonic() < end
        if not in_time:
            break
    state.seconds[index] += time.monotonic() - started
    return in_time


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
