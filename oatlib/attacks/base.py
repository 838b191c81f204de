"""What all attacks have in common: how they are called, and one run on a batch of images.

An attack looks for small changes of images that make a network misclassify them. Robust accuracy is
measured, and networks are trained, with attacks. An attack is an immutable value, called as
`attack(f, x, y, generator)`, where f is any function from images with pixels in [0, 1] to logits.
It knows nothing about dials or networks.

One run on a batch is a `Walk`, which moves from iterate to iterate. All ways to use an attack are
loops over a walk. It can drop images, so that no more work is spent on misclassified ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .._check import briefly, of_type, real, whole
from .._random import randn_like_on
from .freeze import NonFiniteError, attacking, check_images
from .geometry import init, project
from .losses import ATTACK_LOSSES
from .queries import mean_logits

NORMS = {"linf": "L-inf", "l2": "L2"}
STARTS = ("uniform", "gaussian", "none")
LARGEST_L2_EPS = 1e6


@runtime_checkable
class Attack(Protocol):
    """What evaluation, audit and explorer need of an attack. `Suite` is one, too."""

    @property
    def name(self) -> str:
        """Name of the attack in result records."""
        ...

    @property
    def eps(self) -> float:
        """Radius of the ball of allowed changes, in pixel units."""
        ...

    @property
    def norm(self) -> str:
        """The norm of the ball, "linf" or "l2"."""
        ...

    @property
    def best(self) -> bool:
        """Whether the attack returns the strongest point that it reaches, not the last one."""
        ...

    @property
    def eot_samples(self) -> int:
        """Samples of a random network whose gradients are averaged (EOT)."""
        ...

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return attacked images of the same shape as x, see `IterativeAttack.__call__`."""
        ...

    def survivors(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield all points that the attack reaches, see `IterativeAttack.survivors`."""
        ...

    def walk_length_for(self, classes: int) -> int:
        """Return how many items `survivors` yields at most after the first one."""
        ...

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON."""
        ...


class Walk(ABC):
    """One run of an attack on a batch of images.

    Create and advance a walk inside of `attacking(f)`. Random numbers are drawn for all N images,
    also for those that were dropped. So the iterates of an image do not depend on the others.

    Args:
        attack: The attack.
        f: Function from images (N, ...) to logits (N, C).
        x: Images (N, ...) with pixels in [0, 1], as `check_images` returns them.
        y: Labels (N,), int64.
        generator: Source of the random numbers. None: a new generator with seed 0.
        last_logits: Whether the logits of the last iterate of each restart are needed. If False, a
            walk may save their forward pass and set `logits` to None there.

    Attributes:
        index: Positions (M,) of the images under attack among all N images.
        x: The images under attack, unchanged (M, ...).
        y: Their labels (M,).
        x_adv: Their present iterate (M, ...). None before the first `advance`.
        logits: The logits of the present iterate (M, C). None before the first `advance`.

    Example:
        >>> with attacking(f):
        ...     walk = attack.walk(f, x, y)
        ...     while walk.advance():
        ...         walk.keep(walk.logits.argmax(1) == walk.y)
    """

    # Names of all attributes with one entry per image under attack. They may not exist yet.
    _per_image: tuple[str, ...] = ("index", "x", "y", "x_adv", "logits")

    def __init__(
        self,
        attack: IterativeAttack,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        last_logits: bool = True,
    ):
        if generator is not None:
            of_type("generator", generator, torch.Generator, "a torch.Generator")
        self.attack = attack
        self.f = f
        self.generator = generator or torch.Generator(x.device).manual_seed(0)
        self.index = torch.arange(len(x), device=x.device)
        self.x = x
        self.y = y
        self.x_adv: Tensor | None = None
        self.logits: Tensor | None = None
        self._all_x = x
        self._all_y = y
        self._last_logits = last_logits

    @abstractmethod
    def advance(self) -> bool:
        """Move to the next iterate. Return False, and change nothing, if there is none."""

    def keep(self, mask: Tensor) -> None:
        """Drop images, so that the attack spends no more work on them.

        Args:
            mask: (M,) bool, False for the images to drop.
        """
        rows = mask.nonzero()[:, 0]
        if len(rows) < len(mask):
            self._select(rows)

    def _select(self, rows: Tensor) -> None:
        """Keep the images in the given rows of all tensors with one entry per image."""
        for name in self._per_image:
            value = getattr(self, name, None)
            if value is not None:
                setattr(self, name, value[rows])

    def _under_attack(self, values: Tensor) -> Tensor:
        """Return the entries of values (N, ...) that belong to the images under attack (M, ...)."""
        return values if len(self.index) == len(values) else values[self.index]

    def _separate_generator(self) -> None:
        """Draw from a copy of the generator from now on, and leave the caller's as it is."""
        copy = torch.Generator(self.generator.device)
        self.generator = copy.set_state(self.generator.get_state())


class IterativeAttack:
    """Base class of the attacks of this package, except `Suite`.

    A subclass is a frozen dataclass. It declares `eps` and the other options of its users as
    fields. What its users cannot choose stays a constant of the class.

    Attributes:
        name: Name of the attack in result records.
        eps: Radius of the ball of allowed changes, in pixel units.
        steps: Number of steps per restart. 0: the start is the result.
        norm: "linf" or "l2".
        restarts: Number of runs, each from its own starting point.
        start: "uniform" (a random point of the ball), "gaussian" (x + 0.001 N(0, 1)) or "none" (x).
        loss: What the attack increases: "ce", "margin", "dlr", or a function of logits (N, C) and
            labels (N,) that returns values (N,).
        best: True: return the strongest iterate of each image. False: return the last iterate.
        eot_samples: Samples of a random network whose gradients are averaged. This is called
            expectation over transformation (EOT).
        walk_type: The class of `walk`.

    Raises:
        ValueError: An attribute is out of range or not one of the choices, or `restarts` > 1 is
            combined with best=False.
    """

    name = ""
    steps = 1
    norm = "linf"
    restarts = 1
    start = "uniform"
    loss = "ce"
    best = False
    eot_samples = 1
    walk_type: type[Walk]

    @property
    def step_length(self) -> float:
        """Length of a step, in pixel units."""
        return self.eps

    @property
    def start_and_ball_radius(self) -> tuple[float, float]:
        """Radius of the random start, and of the ball for projection, in pixel units."""
        return self.eps, self.eps

    def __post_init__(self):
        for name, value, choices in (
            ("norm", self.norm, tuple(NORMS)),
            ("start", self.start, STARTS),
            ("best", self.best, (True, False)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}")
        if not callable(self.loss) and self.loss not in tuple(ATTACK_LOSSES):
            raise ValueError(
                f"loss must be one of {tuple(ATTACK_LOSSES)} or a function (logits, y) -> values "
                f"(N,), got {self.loss!r}"
            )
        self._check_numbers()
        if self.restarts > 1 and not self.best:
            raise ValueError(
                "restarts > 1 needs best=True: with best=False only the last restart counts"
            )

    def _check_numbers(self) -> None:
        """Raise a ValueError if a number is out of range, or is no number."""
        check_eps(self.eps, self.norm)
        whole("steps", self.steps, 0)
        whole("restarts", self.restarts)
        whole("eot_samples", self.eot_samples)
        real("step_size", self.step_length, 0)
        real("radius of the start", self.start_and_ball_radius[0], 0)

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return attacked images.

        Args:
            f: Function from images (N, ...) to logits (N, C). If it is a module, it is in eval mode
                and its parameters have no gradients during the attack.
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.
            rows: Positions (M,) of the images to attack, if another process attacks the others.
                Random numbers are drawn for all N images. So each image is attacked as it would be
                if one process attacked them all. f gets M images. None: all images.

        Returns:
            Images of the same shape as x, detached. With `rows` these M only.

        Raises:
            ValueError: The images, the labels, the logits or the loss values have a wrong form.
            NonFiniteError: The logits or gradients contain NaN or infinity.
            NoGradientError: No gradient reaches the images.
        """
        with attacking(f):
            images = check_images(x, y)
            labels = y.to(torch.int64, copy=True)
            if not images.numel():
                return x
            walk = self.walk(f, images, labels, generator, last_logits=self.best)
            if rows is not None:
                walk.keep(torch.zeros_like(labels, dtype=torch.bool).index_fill(0, rows, True))
            return self._strongest_point(walk) if self.best else _last_point(walk)

    def _strongest_point(self, walk: Walk) -> Tensor:
        """Advance a walk to its end, and return the strongest iterate of each image (N, ...)."""
        strongest = walk.x
        fooled = torch.zeros_like(walk.y, dtype=torch.bool)
        value = walk.x.new_full(walk.y.shape, -torch.inf)
        one_per_image = (-1, *[1] * (walk.x.dim() - 1))
        while walk.advance():
            # An iterate that fools the network beats one that does not, because accuracy is what is
            # measured. Among equals the higher loss wins.
            fooled_now = walk.logits.argmax(1) != walk.y
            value_now = self.loss_values(walk.logits, walk.y)
            wins = (fooled_now & ~fooled) | ((fooled_now == fooled) & (value_now > value))
            strongest = torch.where(wins.view(one_per_image), walk.x_adv, strongest)
            fooled = fooled | fooled_now
            value = torch.where(wins, value_now, value)
        return strongest

    def iterates(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the iterates of the attack one by one, for plots and animations.

        `__call__` returns the best of these iterates, or the last one. Between two iterates f is in
        the modes (train or eval) that the caller has set.

        Args:
            f: Function from images (N, ...) to logits (N, C).
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.

        Yields:
            (x_adv, logits) with shapes (N, ...) and (N, C): the start and the point after each
            step, for each restart in turn. The start "gaussian" may lie outside of [0, 1] and is
            not yielded.

        Raises:
            ValueError, NonFiniteError, NoGradientError: For the same reasons as `__call__`.
        """
        with attacking(f):
            walk = self.walk(f, check_images(x, y), y.to(torch.int64, copy=True), generator)
        while True:
            with attacking(f):  # not around the yield: the caller would get a frozen network
                ended = not walk.advance()
            if ended:
                return
            yield walk.x_adv, walk.logits

    @property
    def walk_length(self) -> int:
        """Largest number of items that `survivors` yields after the first, for up to 10 classes.

        The number of classes matters only for an attack that tries all of them as targets. See
        `walk_length_for`.
        """
        return self.walk_length_for(10)

    def walk_length_for(self, classes: int) -> int:
        """Return `walk_length` for a network with `classes` classes.

        Every restart yields its start and the point after each of its steps.
        """
        return self.restarts * (self.steps + 1)

    def survivors(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Run the same attack as `__call__`, but drop images once they are misclassified.

        Gives the same robust accuracy as the best iterate, for less compute.

        Args:
            f: Function from images (N, ...) to logits (N, C).
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.

        Yields:
            (index, x_adv, logits) with shapes (M,), (M, ...) and (M, C). The first item holds all N
            images, unchanged. Each later item holds the M images that were classified correctly in
            all items before, at the start or after a step. The iteration ends early if no image is
            left.

        Raises:
            ValueError, NonFiniteError, NoGradientError: For the same reasons as `__call__`.
        """
        with attacking(f):
            images = check_images(x, y)
            labels = y.to(torch.int64, copy=True)
            logits = mean_logits(f, images, self.eot_samples)
        yield torch.arange(len(labels), device=labels.device), images, logits
        correct = logits.argmax(1) == labels
        for walk in self.walk_while_correct(f, images, labels, correct, generator):
            yield walk.index, walk.x_adv, walk.logits

    def walk_while_correct(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        correct: Tensor,
        generator: torch.Generator | None = None,
    ) -> Iterator[Walk]:
        """Attack the correct images, and drop each of them once it is misclassified.

        Args:
            f: Function from images (N, ...) to logits (N, C).
            x: Images (N, ...), as `check_images` returns them.
            y: Labels (N,), int64.
            correct: (N,) True for the images that the network classifies correctly.
            generator: Source of the random starts. None: a new generator with seed 0.

        Yields:
            The same `Walk` object after each iterate.

        Raises:
            ValueError, NonFiniteError, NoGradientError: For the same reasons as `__call__`.
        """
        if not correct.any():
            if generator is not None:
                # Use up the random numbers of the starts, so that those of the next batch are the
                # same as if images were left in this one.
                self.start_points(x, generator)
            return
        with attacking(f):
            walk = self.walk(f, x, y, generator)
        walk.keep(correct)
        while len(walk.index):
            with attacking(f):
                ended = not walk.advance()
            if ended:
                return
            yield walk
            if not walk.logits.isfinite().all():  # the argmax of NaN would count as misclassified
                raise NonFiniteError("the network gave non-finite logits during the attack")
            walk.keep(walk.logits.argmax(1) == walk.y)

    def walk(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        last_logits: bool = True,
    ) -> Walk:
        """Return a new run of the attack on a batch, before its first iterate.

        The arguments are those of `Walk`. `__call__`, `iterates` and `survivors` are loops over it.
        """
        return self.walk_type(self, f, x, y, generator, last_logits)

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON.

        `eps` and `step_size` are in pixel units; `step_size` is the one in use, never None.
        """
        loss = self.loss
        if not isinstance(loss, str):
            loss = getattr(loss, "__name__", type(loss).__name__)
        return {
            "name": self.name,
            "eps": self.eps,
            "step_size": self.step_length,
            "loss": loss,
            "steps": self.steps,
            "norm": self.norm,
            "restarts": self.restarts,
            "start": self.start,
            "best": self.best,
            "eot_samples": self.eot_samples,
        }

    def __str__(self) -> str:
        facts = self.describe()
        has_steps_option = "steps" in vars(self)
        name = f"{self.name}-{self.steps}" if has_steps_option else self.name
        words = [
            name,
            NORMS[self.norm],
            f"eps {self._length_as_text(self.eps)}",
            f"step {self._length_as_text(self.step_length)}",
        ]
        for option in ("start", "loss"):
            if facts[option] != getattr(type(self), option):
                words.append(f"{option} {facts[option]}")
        if self.eot_samples > 1:
            words.append(f"EOT over {self.eot_samples} samples")
        return ", ".join(words)

    def _length_as_text(self, length: float) -> str:
        return f"{length * 255:.3g}/255" if self.norm == "linf" else f"{length:.3g}"

    def start_points(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the point (N, ...) at which the attack on each image (N, ...) begins.

        Args:
            x: Images (N, ...) with pixels in [0, 1].
            generator: Source of the random numbers.
        """
        radius = self.start_and_ball_radius[0]
        if self.start == "uniform":
            return init(x, radius, self.norm, generator)
        if self.start == "gaussian":
            # As in the public code of TRADES: near x, because the KL divergence to the clean output
            # has gradient zero at x itself, and not clipped. The first step is projected. So the
            # start has to be projected only if no step follows, as it is then the result.
            starts = x + 0.001 * randn_like_on(x, generator)
            return starts if self.steps else project(starts, x, radius, self.norm)
        return x

    def loss_values(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return what the attack increases, one value per image (N,).

        Args:
            logits: Tensor of shape (N, C).
            y: True classes (N,).

        Raises:
            ValueError: The loss is a function of the caller and gives another shape.
        """
        loss = self.loss if callable(self.loss) else ATTACK_LOSSES[self.loss]
        values = loss(logits, y)
        if values.shape != y.shape:
            raise ValueError(
                f"the loss must give one value per image, {tuple(y.shape)}, got "
                f"{tuple(values.shape)}"
            )
        return values


def check_attack(attack) -> None:
    """Raise a TypeError unless a value can be used as an attack.

    Args:
        attack: The argument of a user: an `Attack`, or anything else that can be called and
            described.
    """
    valid = "an attack, such as oatlib.PGD(8 / 255)"
    if isinstance(attack, type):  # the class has the methods of an attack, too
        raise TypeError(f"attack must be {valid}, got the class {attack.__name__}: call it")
    if not callable(attack) or not hasattr(attack, "describe"):
        raise TypeError(f"attack must be {valid}, got {briefly(attack)}")


def check_eps(eps: float, norm: str = "linf") -> None:
    """Raise a ValueError unless a radius fits its norm.

    Args:
        eps: Radius of the ball, in pixel units.
        norm: "linf" or "l2".
    """
    largest = 1 if norm == "linf" else LARGEST_L2_EPS
    hint = "in pixel units such as 8/255"
    if isinstance(eps, (int, float)) and 1 < eps <= 255 and norm == "linf":
        hint += f" (did you mean {eps:g}/255?)"
    real("eps", eps, 0, largest, hint)


def restarts_as_text(restarts: int) -> str:
    """Return a number of restarts as text, such as "1 restart"."""
    return "1 restart" if restarts == 1 else f"{restarts} restarts"


def _last_point(walk: Walk) -> Tensor:
    """Advance a walk to its end, and return its last iterate (N, ...)."""
    while walk.advance():
        pass
    return walk.x_adv
