"""White-box attacks on any function from images with pixels in [0, 1] to logits.

An attack looks for small changes of images that make a network misclassify them. White-box means
that it uses the gradient of the network. Robust accuracy is measured, and networks are trained,
with these attacks.

Every attack here repeats the same three operations with different numbers: start near x (`init`),
step up the loss (`step`) and return to the ball of allowed changes (`project`). An attack is an
immutable value, called as `attack(f, x, y, generator)`. It knows nothing about dials or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from .freeze import NoGradientError, NonFiniteError, attacking, check_images
from .geometry import draw, init, project, projection, step
from .losses import LOSSES

NORMS = {"linf": "L-inf", "l2": "L2"}
STARTS = ("uniform", "gaussian", "none")


class Attack:
    """Base class of all attacks.

    A subclass is a frozen dataclass that sets `eps` and every other attribute that differs from the
    defaults here.

    Attributes:
        name: Name of the attack in result records.
        eps: Radius of the ball of allowed changes, in pixel units.
        step_size: Length of a step, in pixel units. None: the default of the attack (see `size`).
        steps: Number of steps per restart.
        norm: "linf" or "l2".
        restarts: Number of runs, each from its own starting point.
        start: "uniform" (a random point of the ball), "gaussian" (x + 0.001 N(0, 1)) or "none" (x).
        loss: What the attack increases: "ce", "margin", "dlr", or a function of logits (N, C) and
            labels (N,) that returns values (N,).
        best: True: return the strongest iterate of each image. False: return the last iterate.
        draws: Samples of a random network whose gradients are averaged. This is called expectation
            over transformation (EOT).

    Raises:
        ValueError: An attribute is out of range or not one of the choices, or `restarts` > 1 is
            combined with best=False.
    """

    name: ClassVar[str]
    eps: float
    step_size: float | None = None
    steps: int = 1
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    best: bool = False
    draws: int = 1

    @property
    def size(self) -> float:
        """Length of a step, in pixel units: `step_size`, or the default where that is None."""
        return self.eps if self.step_size is None else self.step_size

    @property
    def radii(self) -> tuple[float, float]:
        """Radius of the random start, and of the ball for projection, in pixel units."""
        return self.eps, self.eps

    def __post_init__(self):
        for value, name, valid in (
            (self.norm, "norm", tuple(NORMS)),
            (self.start, "start", STARTS),
        ):
            if value not in valid:
                raise ValueError(f"{name} must be one of {valid}, got {value!r}")
        if not callable(self.loss) and self.loss not in LOSSES:
            raise ValueError(
                f"loss must be one of {tuple(LOSSES)} or (logits, y) -> (N,) values, got "
                f"{self.loss!r}"
            )
        if not 0 <= self.eps <= (1 if self.norm == "linf" else 1e6):
            raise ValueError(
                f"eps must be >= 0 in pixel units [0, 1], such as 8/255, got {self.eps}"
            )
        limits = {
            "steps": (self.steps, 0),
            "step_size": (self.size, 0),
            "restarts": (self.restarts, 1),
            "draws": (self.draws, 1),
        }
        for name, (value, least) in {**limits, "radius of the start": (self.radii[0], 0)}.items():
            if not value >= least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        if self.restarts > 1 and not self.best:
            raise ValueError(
                "restarts > 1 needs best=True: the last restart alone is no better than one"
            )

    def __call__(
        self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None
    ) -> Tensor:
        """Return attacked images.

        Args:
            f: Function from images (N, ...) to logits (N, C). If it is a module, it is in eval mode
                and its parameters have no gradients during the attack.
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,), integers.
            generator: Source of the random starts. None: a new generator with seed 0.

        Returns:
            Images of the same shape as x, detached.

        Raises:
            ValueError: The images, the labels, the logits or the loss values have a wrong form.
            NonFiniteError: The logits or gradients contain NaN or infinity.
            NoGradientError: No gradient reaches the images.
        """
        with attacking(f):
            clean, y = check_images(x, y), y.to(torch.int64, copy=True)
            if not clean.numel():
                return x
            found, wrong, value = (
                clean,
                torch.zeros_like(y, dtype=torch.bool),
                x.new_full(y.shape, -torch.inf),
            )
            for x_adv, logits in self._walk(f, clean, y, generator, judge_last=self.best):
                if not self.best:
                    found = x_adv
                    continue
                # An iterate that fools the network beats one that does not, because accuracy is
                # what is measured. Among equals the higher loss wins.
                now, loss = logits.argmax(1) != y, self._values(logits, y)
                wins = (now & ~wrong) | ((now == wrong) & (loss > value))
                found = torch.where(wins.view(-1, *[1] * (x.dim() - 1)), x_adv, found)
                wrong, value = wrong | now, torch.where(wins, loss, value)
        return found

    def iterates(
        self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None
    ) -> Iterator:
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
            walk = self._walk(
                f, check_images(x, y), y.to(torch.int64, copy=True), generator, judge_last=True
            )
        while True:
            with attacking(f):  # not around the yield: the caller would get a frozen network
                pair = next(walk, None)
            if pair is None:
                return
            yield pair

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
        self, f, x: Tensor, y: Tensor, generator=None
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
        y, index = y.to(torch.int64, copy=True), torch.arange(len(y), device=y.device)
        with attacking(f):
            x = check_images(x, y)
            logits = self._judge(f, x)
        yield index, x, logits
        yield from self._drop_fooled(f, x, y, logits.argmax(1) == y, generator)

    def _drop_fooled(self, f, x: Tensor, y: Tensor, keep: Tensor, generator) -> Iterator:
        """Yield what `survivors` yields after its first item.

        `keep` (N,) marks the images that the network classifies correctly.
        """
        index = keep.nonzero()[:, 0]
        if not len(index) and generator is not None:
            # Use up the random numbers of the starts, so that those of the next batch are the same
            # as if images were left in this one.
            self._begin(x, self.radii[0], generator)
        walk, keep = self._walk(f, x, y, generator, True, only=keep), None
        while len(index):
            try:
                with attacking(f):
                    x_adv, logits = walk.send(keep)
            except StopIteration:
                return
            yield index, x_adv, logits
            if not logits.isfinite().all():  # the argmax of NaN would count as misclassified
                raise NonFiniteError("the network gave non-finite logits during the attack")
            keep = logits.argmax(1) == y[index]
            index = index[keep]

    def describe(self) -> dict:
        """Return the facts that a result record must hold about the attack, as a dict for JSON.

        `eps` and `step_size` are in pixel units; `step_size` is the one in use, never None.
        """
        loss = (
            self.loss
            if isinstance(self.loss, str)
            else getattr(self.loss, "__name__", type(self.loss).__name__)
        )
        values = {
            key: getattr(self, key)
            for key in ("steps", "norm", "restarts", "start", "best", "draws")
        }
        return {"name": self.name, "eps": self.eps, "step_size": self.size, "loss": loss, **values}

    def __str__(self) -> str:
        about, many = self.describe(), f"-{self.steps}" if "steps" in vars(self) else ""
        eps, size = (
            f"{v * 255:.3g}/255" if self.norm == "linf" else f"{v:.3g}"
            for v in (self.eps, self.size)
        )
        unusual = [
            f"{key} {about[key]}"
            for key in ("start", "loss")
            if about[key] != getattr(type(self), key)
        ]
        unusual += [f"EOT over {self.draws} draws"] if self.draws > 1 else []
        return ", ".join(
            [self.name + many, NORMS[self.norm], f"eps {eps}", f"step {size}", *unusual]
        )

    def _walk(
        self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None
    ) -> Iterator:
        """Run the attack as a coroutine that yields every iterate and may be sent a mask.

        All other ways to run an attack (`__call__`, `iterates`, `survivors`) are built on this one.

        Args:
            f: Function from images to logits.
            x: Images (N, ...) with pixels in [0, 1].
            y: Labels (N,).
            generator: Source of the random starts. None: a new generator with seed 0.
            judge_last: Compute the logits of the last point of each restart. This costs a forward
                pass. If False, None is yielded in their place.
            only: Mask (N,) of the images to attack. None: all of them. Starts are drawn for all N
                images, so that the start of an image does not depend on the mask.

        Yields:
            (x_adv, logits) at the start and after each step, for the M images under attack. All
            these points lie in the ball and in [0, 1]. The start "gaussian" is not clipped and not
            yielded. The caller may send back a mask (M,) of the images to continue with.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        (around, radius), finite = self.radii, torch.ones((), dtype=torch.bool, device=x.device)
        # `here` (M,) holds the positions of the images that are still under attack among all N
        # images. None: all of them are.
        onto_ball, everybody, here = projection(x, radius, self.norm), x, None
        for restart in range(self.restarts):
            # Drop the images that the caller no longer wants.
            if only is not None:
                x, y, here, only = (
                    x[only],
                    y[only],
                    only.nonzero()[:, 0] if here is None else here[only],
                    None,
                )
                onto_ball = projection(x, radius, self.norm)
            x_adv = self._begin(everybody, around, generator)
            x_adv = x_adv if here is None else x_adv[here]
            if restart == 0 and self.restarts > 1:
                # Later restarts draw from a copy of the generator. The caller's generator, and with
                # it the first restart of the next batch, then does not depend on their number.
                # So more restarts can only find more (unless f is random).
                generator = torch.Generator(generator.device).set_state(generator.get_state())
            for done in range(self.steps):
                logits, slope = self._look(f, x_adv, lambda z, y=y: self._values(z, y))
                if done > 0 or self.start != "gaussian":  # that start may lie outside of [0, 1]
                    only = yield x_adv, logits  # before the gradient is computed: less waiting
                grad = slope()
                # The sum is a quick test of every entry. NaN must be detected here: its sign is 0,
                # so the step below would hide it.
                total = grad.sum(dtype=torch.float32) + logits.sum()
                finite &= total.isfinite()
                # Drop the images that the caller no longer wants.
                if only is not None:
                    here = only.nonzero()[:, 0] if here is None else here[only]
                    x, y, x_adv, grad, only = x[only], y[only], x_adv[only], grad[only], None
                    onto_ball = projection(x, radius, self.norm)
                x_adv = onto_ball(step(x_adv, grad, self.size, self.norm))
            logits = self._judge(f, x_adv) if judge_last else None
            only = yield x_adv, logits
            finite &= logits is None or logits.isfinite().all()
        if not finite:  # read once at the end: reading a value from a GPU waits for its work
            raise NonFiniteError(
                "the network gave non-finite logits or gradients during the attack"
            )

    def _begin(self, x: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        if self.start == "uniform":
            return init(x, radius, self.norm, generator)
        if self.start == "gaussian":
            # As in the public code of TRADES: near x, because the KL divergence to the clean output
            # has gradient zero at x itself, and not clipped. The first step is projected. So the
            # start has to be projected only if no step follows, as it is then the result.
            begun = x + 0.001 * draw(torch.randn, x.shape, x, generator)
            return begun if self.steps else project(begun, x, radius, self.norm)
        return x

    def _look(
        self, f, x_adv: Tensor, loss: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the logits at x_adv, and a function that computes the gradient of the summed loss.

        Both are means over `draws` samples of the network.
        """
        x_adv = x_adv.detach().requires_grad_()
        if self.draws == 1:
            logits = _logits(f, x_adv)
            return logits.detach(), lambda: _slope(loss(logits), x_adv)
        grads, seen = 0.0, 0.0
        for _ in range(self.draws):  # one computation graph in memory at a time
            logits = _logits(f, x_adv)
            grads, seen = _slope(loss(logits), x_adv) + grads, logits.detach() + seen
        return seen / self.draws, lambda: grads / self.draws

    def _judge(self, f, x_adv: Tensor) -> Tensor:
        """Return the logits at x_adv without a gradient, as a mean over `draws` samples."""
        with torch.no_grad():
            return sum(_logits(f, x_adv) for _ in range(self.draws)) / self.draws

    def _values(self, logits: Tensor, y: Tensor) -> Tensor:
        values = (self.loss if callable(self.loss) else LOSSES[self.loss])(logits, y)
        if values.shape != y.shape:
            raise ValueError(
                f"the loss must give one value per image, {tuple(y.shape)}, got "
                f"{tuple(values.shape)}"
            )
        return values


def _slope(values: Tensor, x_adv: Tensor) -> Tensor:
    if not values.requires_grad:
        raise NoGradientError(
            "no gradient reaches the images: is there a no_grad, detach or numpy inside the "
            "network?"
        )
    return torch.autograd.grad(values.sum(), x_adv)[0]


def _logits(f, x: Tensor) -> Tensor:
    logits = f(x)
    if logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise ValueError(
            f"the network must give logits ({len(x)}, classes >= 2), got {tuple(logits.shape)}"
        )
    # Half precision becomes single precision: 8 bits of mantissa are too few for a softmax.
    return logits.float() if logits.element_size() < 4 else logits
