"""A cascade of attacks: each one only gets the images that are still correct after those before it.

The robust accuracy is the worst case over the members, per image: an image counts only if no member
fools the network. The cheapest member comes first, so that the expensive ones get few images. A run
can be interrupted and resumed.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .._check import of_type, real
from .._suggest import lookup
from ..record import RecordError, read_weights, write_weights
from .apgd import APGD
from .base import Attack, IterativeAttack
from .freeze import NoGradientError, attacking, check_images
from .losses import margin_loss
from .queries import mean_logits
from .square import Square
from .transfer import ThroughEnds, mixture_of

NOBODY = -1


@dataclass(frozen=True)
class Budget:
    """How much work each member of a suite does.

    Attributes:
        steps: Steps of untargeted APGD.
        targeted_steps: Steps of targeted APGD, per target.
        targets: Number of wrong classes that targeted APGD tries, or "all".
        queries: Queries of Square. 0: the suite has no Square.
    """

    steps: int
    targeted_steps: int
    targets: int | str
    queries: int


BUDGETS = {
    "quick": Budget(10, 10, 2, 0),
    "fast": Budget(100, 50, 5, 500),
    "full": Budget(100, 100, "all", 5000),
}
# With EOT every step costs `eot_samples` times as much, so these budgets have fewer steps.
EOT_BUDGETS = {
    "quick": Budget(10, 10, 1, 0),
    "fast": Budget(40, 20, 2, 100),
    "full": Budget(100, 50, 5, 500),
}


def default_attack(eps: float = 8 / 255, eot_samples: int = 1) -> Suite:
    """Return the attack that measurements use if none is given, the suite with budget "quick".

    Args:
        eps: L-infinity radius in pixel units.
        eot_samples: Samples of the weights per gradient, for networks with random weights
            (expectation over transformation, EOT).
    """
    return Suite(eps, eot_samples=eot_samples, budget="quick")


def suited(attack: Attack, f: Callable[[Tensor], Tensor]) -> Attack:
    """Return the attack to use on a function.

    For a mixture of outputs, a suite also attacks the mean logits of the ends of the mixture.

    Args:
        attack: Any attack. Only a suite with a budget is changed.
        f: The function under attack.

    Returns:
        The same attack, or a suite with mixture=True.
    """
    if isinstance(attack, Suite) and not attack.members and mixture_of(f) is not None:
        return replace(attack, mixture=True)
    return attack


@dataclass(frozen=True)
class Suite:
    """A cascade of attacks: untargeted APGD, then targeted APGD, then Square (L-infinity only).

    It is called like any attack, so that `evaluate(net, split, Suite())` works. `run` also reports
    what each member did.

    Args:
        eps: Radius of the ball, in pixel units for L-infinity.
        norm: "linf" or "l2".
        eot_samples: Samples of the weights per gradient (EOT), for networks with random weights.
            With more than one, the budgets have fewer steps (`EOT_BUDGETS`), as every step costs
            that many passes.
        budget: How much work the suite does.

            * "quick": APGD-10, then APGD-10 towards 2 targets. At most 30 gradient steps per image,
              and 1.3 to 1.5 times the cost of PGD-20 (bench/ruler.py). It is the default of
              `evaluate`. It leaves somewhat more images correct than "fast".
            * "fast": APGD-100, then APGD-50 towards 5 targets, then Square with 500 queries. At
              most 350 gradient steps per image. On 256 images of the hardest setting it left 26
              correct where AutoAttack left 24.
            * "full": APGD-100, then APGD-100 towards every wrong class, then Square with 5,000
              queries. At most 100 gradient steps per class and image. It takes three times as long
              as "fast" where half of the images are robust. It left the same 24 images correct as
              AutoAttack.
        members: Use these attacks instead of a budget. Each must have the eps of the suite.
        mixture: Also attack the mean logits of the ends (`ThroughEnds`). For mixtures of outputs
            only; see `suited`.
        name: Name of the suite in result records.

    Raises:
        ValueError: An argument is out of range or not one of the choices, or a member has another
            eps.

    Other compositions of "quick" that were tried are listed in `bench/ruler.py`.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    eot_samples: int = 1
    budget: str = "fast"
    members: tuple[IterativeAttack, ...] = ()
    mixture: bool = False
    name: str = "suite"
    best = True  # an image counts as misclassified if any visited point is

    def __post_init__(self):
        lookup("budget", self.budget, BUDGETS)
        of_type("members", self.members, (tuple, list), "a tuple of attacks")
        for member in self.members:
            of_type("every member", member, IterativeAttack, "an attack, such as oatlib.PGD()")
            if abs(member.eps - self.eps) > 1e-9:
                raise ValueError(
                    f"every member must have the eps of the suite, {self.eps:g}, got "
                    f"{member.eps:g} for {member}"
                )
        self.attacks()  # raises if a number is out of range

    def attacks(self) -> tuple[IterativeAttack, ...]:
        """Return the members in the order in which they run."""
        if self.members:
            return tuple(self.members)
        budgets = BUDGETS if self.eot_samples == 1 else EOT_BUDGETS
        budget = budgets[self.budget]
        same = {"eps": self.eps, "norm": self.norm, "eot_samples": self.eot_samples}
        untargeted = APGD(**same, steps=budget.steps)
        targeted = APGD(**same, steps=budget.targeted_steps, targets=budget.targets)
        members = [untargeted, targeted]
        if self.mixture:
            members.append(ThroughEnds(replace(untargeted, loss="margin")))
            members.append(ThroughEnds(targeted))
        if self.norm == "linf" and budget.queries:  # Square paints L-infinity squares
            members.append(Square(self.eps, budget.queries, eot_samples=self.eot_samples))
        return tuple(members)

    @property
    def walk_length(self) -> int:
        """Sum of `walk_length` over the members."""
        return self.walk_length_for(10)

    def walk_length_for(self, classes: int) -> int:
        """Return `walk_length` for a network with `classes` classes."""
        return sum(member.walk_length_for(classes) for member in self.attacks())

    @property
    def steps(self) -> int:
        """Same as `walk_length`: most items that `survivors` can yield after the first one."""
        return self.walk_length

    def describe(self) -> dict:
        """Return the facts that a result record must hold: the suite and all its members."""
        return {
            "name": self.name,
            "eps": self.eps,
            "norm": self.norm,
            "eot_samples": self.eot_samples,
            "budget": None if self.members else self.budget,
            "members": [member.describe() for member in self.attacks()],
        }

    def __str__(self) -> str:
        kind = "" if self.members else f"{self.budget} "
        members = "; ".join(map(str, self.attacks()))
        return f"{kind}suite of {len(self.attacks())} attacks ({members}), worst case per image"

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return attacked images.

        An image that the network classifies correctly under all members becomes the point with the
        largest margin loss that was found.

        With `eot_samples` > 1 no image is dropped. A random network that misclassified an image
        once may classify it correctly the next time. So all members attack all images, and the
        strongest result counts.

        Args:
            f: Function from images (N, ...) to logits (N, classes).
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.

        Returns:
            Images of the same shape as x.

        Raises:
            NoGradientError: No gradient reaches the images. With eot_samples=1 this is only a
                warning if some member, such as Square, needs no gradient.
        """
        if self.eot_samples > 1:
            return self._strongest(f, x, y, generator)
        state = self.run(f, x, y, generator, progress=False)
        self._check_able(state)
        return state.x_adv

    def survivors(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Run the cascade, and drop images once they are misclassified.

        Gives the same result as `run` with all images in one batch. The arguments are those of
        `__call__`.

        Yields:
            (index, x_adv, logits) with shapes (M,), (M, ...) and (M, C), as the `survivors` of
            another attack, for one member after the other. The first item holds all N images,
            unchanged. Each later item holds the M images that were classified correctly in all
            items before. The iteration ends early if no image is left.

        Raises:
            NoGradientError: No member can run, because no gradient reaches the images.
        """
        state, logits = _clean_state(self, f, x, y, _seed(x, generator))
        yield torch.arange(len(y), device=y.device), state.x, logits
        for number, member in enumerate(self.attacks()):
            images = state.todo(number)
            if len(images):
                yield from _attack_batch(member, number, f, state, images)
        self._check_able(state)

    def run(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator=None,
        *,
        batch_size: int = 256,
        seconds: float | None = None,
        progress: bool = True,
        keep: str | Path | None = None,
    ) -> Outcome:
        """Run the cascade and report what each member did.

        Args:
            f: Function from images (N, ...) to logits (N, classes).
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts (default: seed 0).
            batch_size: Images per batch.
            seconds: Stop after this time, in seconds. The outcome then says that it is not
                complete.
            progress: Show a progress bar.
            keep: Write the state to this file after every batch. A later run with the same network,
                images and members resumes from it.

        Returns:
            The outcome. Its `rows()` say what each member did.

        Raises:
            RecordError: The file `keep` belongs to another suite, other images or another network.

        Example:
            >>> print(Suite().run(net.at(1.0), data.val.x, data.val.y))
        """
        if seconds is not None:
            real("seconds", seconds, 0)
        state, _ = _clean_state(self, f, x, y, _seed(x, generator))
        if keep is not None and Path(keep).is_file():
            _restore(state, self, f, keep)
        end = None if seconds is None else time.monotonic() + seconds
        members = self.attacks()
        with tqdm(
            total=len(y) * len(members), unit="image", disable=not progress, leave=False
        ) as bar:
            for number, member in enumerate(members):
                bar.set_description(member.name)
                while len(images := state.todo(number)[:batch_size]):
                    points = _attack_batch(member, number, f, state, images)
                    in_time = _run_until(points, state, number, end)
                    if keep:
                        state.save(keep)
                    if not in_time:
                        return state
                    bar.update(len(images))
                    bar.set_postfix_str(f"robust {state.robust:.1%}")
                # misclassified images are not attacked, but count as done
                bar.update(len(y) * (number + 1) - bar.n)
        return state

    def _strongest(self, f, x: Tensor, y: Tensor, generator) -> Tensor:
        """Run every member on all images, and return per image the result with the largest margin.

        The margin is that of the logits, averaged over the samples of the network.
        """
        seed = _seed(x, generator)
        strongest = x
        value = x.new_full(y.shape, -torch.inf)
        for number, member in enumerate(self.attacks()):
            own_generator = torch.Generator(x.device).manual_seed(seed + 1009 * number)
            x_adv = member(f, x, y, own_generator)
            with attacking(f):
                value_now = margin_loss(mean_logits(f, x_adv, member.eot_samples), y)
            better = (value_now > value).view(-1, *[1] * (x.dim() - 1))
            strongest = torch.where(better, x_adv, strongest)
            value = torch.maximum(value_now, value)
        return strongest

    def _check_able(self, state: Outcome) -> None:
        """Raise if no member could run for lack of a gradient; warn if only some could not."""
        if len(state.unable) == len(self.attacks()):
            raise NoGradientError(next(iter(state.unable.values())))
        if state.unable:
            names = ", ".join(state.names[number].partition(",")[0] for number in state.unable)
            warnings.warn(
                f"no gradient reaches the images, so {names} of the suite could not run. The "
                "robust accuracy is an upper bound.",
                stacklevel=3,
            )


@dataclass
class Outcome:
    """Result of `Suite.run`, complete or not.

    Attributes:
        names: The members, as text.
        x: The images (N, ...).
        y: Their labels (N,).
        x_adv: Per image the point that fooled the network, or else the point with the largest
            margin loss (N, ...).
        value: Margin loss of `x_adv` (N,).
        fell: Index of the member that fooled the network (N,). -1: none did. -2: the unchanged
            image was misclassified.
        tried: Number of members that have attacked the image (N,).
        seconds: Time per member, in seconds.
        seed: Seed of the random numbers of all members.
        about: The suite and a digest of the images, to recognise a saved state.
        unable: Members that need a gradient where there is none, with the error message.
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
    unable: dict[int, str] = field(default_factory=dict)

    @property
    def clean(self) -> float:
        """Clean accuracy, in [0, 1]."""
        return (self.fell != -2).double().mean().item()

    @property
    def robust(self) -> float:
        """Fraction of the images that no member fools, in [0, 1]."""
        return (self.fell == NOBODY).double().mean().item()

    @property
    def complete(self) -> bool:
        """Whether all members have attacked every image that is still correct.

        If not, `robust` is only an upper bound.
        """
        return not any(len(self.todo(number)) for number in range(len(self.names)))

    def todo(self, number: int) -> Tensor:
        """Return the indices (M,) of the images that a member must still attack.

        Args:
            number: Index of the member.
        """
        return ((self.fell == NOBODY) & (self.tried <= number)).nonzero()[:, 0]

    def rows(self) -> list[dict]:
        """Return one dict per member: what it attacked, what it achieved, and how long it took.

        Returns:
            A list of dicts. "attack" is the member as text. "given" is the number of images that it
            attacked, and "fooled" the number of them that became misclassified. "seconds" is its
            time. "unable" says why the member could not run, or is empty.
        """
        rows = []
        for number, name in enumerate(self.names):
            correct_before = (self.fell == NOBODY) | (self.fell >= number)
            attacked = correct_before & (self.tried > number)
            rows.append(
                {
                    "attack": name,
                    "given": attacked.sum().item(),
                    "fooled": (self.fell == number).sum().item(),
                    "seconds": round(self.seconds[number], 2),
                    "unable": self.unable.get(number, ""),
                }
            )
        return rows

    def __str__(self) -> str:
        head = f"n = {len(self.y)}: clean {self.clean:.1%}, robust "
        if self.complete:
            head += f"{self.robust:.1%}"
        else:
            head += f"at most {self.robust:.1%} (the time was over before all attacks had run)"
        lines = [head]
        for row in self.rows():
            line = (
                f"  {row['fooled']:4d} of {row['given']:4d} fooled in {row['seconds']:5.1f} s by "
                f"{row['attack']}"
            )
            if row["unable"]:
                line += f" ({row['unable']})"
            lines.append(line)
        return "\n".join(lines)

    def save(self, path) -> None:
        """Write the state to a file, from which `Suite.run(keep=path)` resumes."""
        tensors = {name: getattr(self, name) for name in ("x_adv", "fell", "tried")}
        header = {"suite": self.about, "seconds": self.seconds, "seed": self.seed}
        write_weights(path, tensors, header)


def _seed(x: Tensor, generator: torch.Generator | None) -> int:
    """Draw the seed of all members of a suite."""
    of_type("images", x, Tensor, "a floating point tensor (N, ...)")
    generator = generator or torch.Generator(x.device).manual_seed(0)
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


def _clean_state(suite: Suite, f, x: Tensor, y: Tensor, seed: int) -> tuple[Outcome, Tensor]:
    """Return the state before the first member, and the logits of the unchanged images (N, C)."""
    members = suite.attacks()
    with attacking(f):
        x = check_images(x, y)
        logits = mean_logits(f, x, members[0].eot_samples)
    y = y.to(torch.int64)
    names = [str(member) for member in members]
    fell = torch.where(logits.argmax(1) == y, NOBODY, -2)
    state = Outcome(
        names=names,
        x=x,
        y=y,
        x_adv=x.clone(),
        value=margin_loss(logits, y),
        fell=fell,
        tried=torch.zeros_like(fell),
        seconds=[0.0] * len(members),
        seed=seed,
        about={"attacks": names, "images": _digest(x, y), "n": len(y)},
    )
    return state, logits


def _restore(state: Outcome, suite: Suite, f, path: str | Path) -> None:
    """Replace the state before the first member by the one in a file.

    Raises:
        RecordError: The file belongs to another suite, other images or another network.
    """
    tensors, header = read_weights(path)
    if header.get("suite") != state.about:
        raise RecordError(
            f"{path} holds the state of another suite or of other images: use another file, or "
            "delete this one"
        )
    # Check that the network misclassifies the saved points that the file says it does. Otherwise
    # the state of another network would be accepted. Answers of a random network may differ.
    samples = suite.attacks()[0].eot_samples
    with attacking(f):
        logits = mean_logits(f, tensors["x_adv"].to(state.x), samples)
    fooled = (logits.argmax(1) != state.y).cpu()
    if suite.eot_samples == 1 and not torch.equal(fooled, tensors["fell"] != NOBODY):
        raise RecordError(
            f"{path} holds the state of another network: use another file, or delete this one"
        )
    for name, tensor in tensors.items():
        setattr(state, name, tensor.to(state.x.device))
    state.value = margin_loss(logits, state.y)
    state.seconds = header["seconds"]
    state.seed = header["seed"]


def _attack_batch(
    member: IterativeAttack, number: int, f, state: Outcome, images: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Attack some images with one member, and write every iterate into the state.

    Args:
        member: The member.
        number: Its index in the suite.
        f: The function under attack.
        state: The state of the suite. It is changed.
        images: Indices (M,) of images that are still correct.

    Yields:
        (index, x_adv, logits) after they are written, as `IterativeAttack.survivors` does.
    """
    seed = state.seed + 1009 * number + int(images[0])
    generator = torch.Generator(state.x.device).manual_seed(seed)
    correct = torch.ones_like(images, dtype=torch.bool)
    walks = member.walk_while_correct(f, state.x[images], state.y[images], correct, generator)
    try:
        for walk in walks:
            index = images[walk.index]
            value = margin_loss(walk.logits, walk.y)
            fooled = walk.logits.argmax(1) != walk.y
            # Keep the point if the network is wrong there, or if it is the strongest so far.
            better = fooled | (value > state.value[index])
            state.x_adv[index[better]] = walk.x_adv[better]
            state.value[index[better]] = value[better]
            state.fell[index[fooled]] = number
            yield index, walk.x_adv, walk.logits
    except NoGradientError as error:  # members that need no gradient can still run
        state.unable[number] = str(error)
    state.tried[images] = number + 1


def _run_until(points: Iterator, state: Outcome, number: int, end: float | None) -> bool:
    """Run one member on one batch, and return whether it finished before the time `end`.

    If it did not, the batch does not count as tried.
    """
    started = time.monotonic()
    in_time = True
    for _ in points:
        in_time = end is None or time.monotonic() < end
        if not in_time:
            break
    state.seconds[number] += time.monotonic() - started
    return in_time


def _digest(*tensors: Tensor) -> str:
    """Return 16 hex digits that depend on all values of the tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
