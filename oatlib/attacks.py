"""The adversary: white-box attacks on any function from pixels in [0, 1] to logits.

Every attack here is the same walk with other numbers: start near x (`init`), climb the loss (`step`), come back
(`project`). An attack is an immutable value, called as `attack(f, x, y, generator)`; it knows no dials and no networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .guard import NoGradientError, NonFiniteError, attacking, check_images
from .moves import LOSSES, draw, init, project, projection, step

NORMS = {"linf": "L-inf", "l2": "L2"}
STARTS = ("uniform", "gaussian", "none")


class Attack:
    """What all attacks share. A subclass is a frozen dataclass that sets eps and whatever else differs."""

    name: ClassVar[str]
    eps: float
    step_size: float | None = None
    steps: int = 1
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    best: bool = False
    draws: int = 1  # of a random network, whose gradients are averaged: expectation over transformation (EOT)

    @property
    def size(self) -> float:
        """Length of a step, in pixel units."""
        return self.eps if self.step_size is None else self.step_size

    @property
    def radii(self) -> tuple[float, float]:
        """Radius of the random start and of the ball that every step is projected onto."""
        return self.eps, self.eps

    def __post_init__(self):
        for value, name, valid in ((self.norm, "norm", tuple(NORMS)), (self.start, "start", STARTS)):
            if value not in valid:
                raise ValueError(f"{name} must be one of {valid}, got {value!r}")
        if not callable(self.loss) and self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {tuple(LOSSES)} or (logits, y) -> (N,) values, got {self.loss!r}")
        if not 0 <= self.eps <= (1 if self.norm == "linf" else 1e6):
            raise ValueError(f"eps must be >= 0 in pixel units [0, 1], such as 8/255, got {self.eps}")
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
            raise ValueError("restarts > 1 needs best=True: the last restart alone is no better than one")

    def __call__(self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None) -> Tensor:
        """Attacked images like x (N, ...), detached; y (N,). A module f is frozen meanwhile; generator=None: seed 0."""
        with attacking(f):
            clean, y = check_images(x, y), y.to(torch.int64, copy=True)
            if not clean.numel():
                return x
            found, wrong, value = clean, torch.zeros_like(y, dtype=torch.bool), x.new_full(y.shape, -torch.inf)
            for x_adv, logits in self._walk(f, clean, y, generator, judge_last=self.best):
                if not self.best:
                    found = x_adv
                    continue
                # fooled beats not fooled, as accuracy is what is measured; among equals the higher loss wins
                now, loss = logits.argmax(1) != y, self._values(logits, y)
                wins = (now & ~wrong) | ((now == wrong) & (loss > value))
                found = torch.where(wins.view(-1, *[1] * (x.dim() - 1)), x_adv, found)
                wrong, value = wrong | now, torch.where(wins, loss, value)
        return found

    def iterates(self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator=None) -> Iterator:
        """Yield (x_adv, logits (N, C)) at the start and after each step, restart after restart: to watch an attack.

        The start "gaussian" may lie outside of [0, 1] and is not yielded.
        `__call__` keeps the best of these, or the last. Between two of them f is in the caller's modes.
        """
        with attacking(f):
            walk = self._walk(f, check_images(x, y), y.to(torch.int64, copy=True), generator, judge_last=True)
        while True:
            with attacking(f):  # not around the yield, or the caller would find a frozen network
                pair = next(walk, None)
            if pair is None:
                return
            yield pair

    @property
    def walk_length(self) -> int:
        """Upper bound of how many points `survivors` yields after the images as they are, for at most 10 classes.

        The number of classes matters only where an attack tries all of them as targets: see `walk_length_for`.
        """
        return self.walk_length_for(10)

    def walk_length_for(self, classes: int) -> int:
        """`walk_length` for a network of `classes` classes. Every restart yields its start and each of its steps."""
        return self.restarts * (self.steps + 1)

    def survivors(self, f, x: Tensor, y: Tensor, generator=None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Same attack as `__call__`, but images are dropped once they are misclassified.

        Gives the same robust accuracy as the best iterate, for less compute. Yield (index (M,), x_adv (M, ...),
        logits (M, C)): first all images as they are, then at the start and after each step those that were classified
        correctly every time before. Ends early if no image is left.
        """
        y, index = y.to(torch.int64, copy=True), torch.arange(len(y), device=y.device)
        with attacking(f):
            x = check_images(x, y)
            logits = self._judge(f, x)
        yield index, x, logits
        yield from self._drop_fooled(f, x, y, logits.argmax(1) == y, generator)

    def _drop_fooled(self, f, x: Tensor, y: Tensor, keep: Tensor, generator) -> Iterator:
        """What `survivors` yields after the first time, if the images in `keep` (N,) are still correct."""
        index = keep.nonzero()[:, 0]
        if not len(index) and generator is not None:  # draw the starts, so that those of the next batch stay the same
            self._begin(x, self.radii[0], generator)
        walk, keep = self._walk(f, x, y, generator, True, only=keep), None
        while len(index):
            try:
                with attacking(f):
                    x_adv, logits = walk.send(keep)
            except StopIteration:
                return
            yield index, x_adv, logits
            if not logits.isfinite().all():  # its argmax would count as fooled
                raise NonFiniteError("the network gave non-finite logits during the attack")
            keep = logits.argmax(1) == y[index]
            index = index[keep]

    def describe(self) -> dict:
        """What a result record must say about the attack, ready for JSON; eps and step_size (in use) in pixel units."""
        loss = self.loss if isinstance(self.loss, str) else getattr(self.loss, "__name__", type(self.loss).__name__)
        values = {key: getattr(self, key) for key in ("steps", "norm", "restarts", "start", "best", "draws")}
        return {"name": self.name, "eps": self.eps, "step_size": self.size, "loss": loss, **values}

    def __str__(self) -> str:
        about, many = self.describe(), f"-{self.steps}" if "steps" in vars(self) else ""
        eps, size = (f"{v * 255:.3g}/255" if self.norm == "linf" else f"{v:.3g}" for v in (self.eps, self.size))
        unusual = [f"{key} {about[key]}" for key in ("start", "loss") if about[key] != getattr(type(self), key)]
        unusual += [f"EOT over {self.draws} draws"] if self.draws > 1 else []
        return ", ".join([self.name + many, NORMS[self.norm], f"eps {eps}", f"step {size}", *unusual])

    def _walk(self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None) -> Iterator:
        """Yield (x_adv, its logits) at the start and after each step. The last logits cost a forward, or are None.

        All points that are yielded lie in the ball and in [0, 1]. The unclipped start "gaussian" is left out.
        Everybody draws a start, then `only` those go (N,), and of them those whom the caller sends back as a mask.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        (around, radius), finite = self.radii, torch.ones((), dtype=torch.bool, device=x.device)
        onto_ball, everybody, here = projection(x, radius, self.norm), x, None
        for restart in range(self.restarts):
            if only is not None:
                x, y, here, only = x[only], y[only], only.nonzero()[:, 0] if here is None else here[only], None
                onto_ball = projection(x, radius, self.norm)
            x_adv = self._begin(everybody, around, generator)
            x_adv = x_adv if here is None else x_adv[here]
            if restart == 0 and self.restarts > 1:
                # later restarts draw from a copy: the caller's stream, and with it the first restart of his next
                # batch, does not depend on their number, so that more restarts can only find more (unless f is random)
                generator = torch.Generator(generator.device).set_state(generator.get_state())
            for done in range(self.steps):
                logits, slope = self._look(f, x_adv, lambda z, y=y: self._values(z, y))
                if done > 0 or self.start != "gaussian":  # that start may lie outside of [0, 1]
                    only = yield x_adv, logits  # who watches sees it before the gradient is there
                grad = slope()
                total = grad.sum(dtype=torch.float32) + logits.sum()  # the sum is a quick look at every entry
                finite &= total.isfinite()  # and the sign of NaN is 0, so that nothing else would tell
                if only is not None:
                    here = only.nonzero()[:, 0] if here is None else here[only]
                    x, y, x_adv, grad, only = x[only], y[only], x_adv[only], grad[only], None
                    onto_ball = projection(x, radius, self.norm)
                x_adv = onto_ball(step(x_adv, grad, self.size, self.norm))
            logits = self._judge(f, x_adv) if judge_last else None
            only = yield x_adv, logits
            finite &= logits is None or logits.isfinite().all()
        if not finite:  # asked once: every question to a GPU is a wait
            raise NonFiniteError("the network gave non-finite logits or gradients during the attack")

    def _begin(self, x: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        if self.start == "uniform":
            return init(x, radius, self.norm, generator)
        if self.start == "gaussian":
            # as in the public code of TRADES: near x, because the KL to the clean output has no slope at
            # x itself, and not clipped; the first step is projected, so only without steps it is a result
            begun = x + 0.001 * draw(torch.randn, x.shape, x, generator)
            return begun if self.steps else project(begun, x, radius, self.norm)
        return x

    def _look(self, f, x_adv: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
        """The logits at x_adv, and what gives the gradient of the summed loss there; both are means over the draws."""
        x_adv = x_adv.detach().requires_grad_()
        if self.draws == 1:
            logits = _logits(f, x_adv)
            return logits.detach(), lambda: _slope(loss(logits), x_adv)
        grads, seen = 0.0, 0.0
        for _ in range(self.draws):  # one graph at a time
            logits = _logits(f, x_adv)
            grads, seen = _slope(loss(logits), x_adv) + grads, logits.detach() + seen
        return seen / self.draws, lambda: grads / self.draws

    def _judge(self, f, x_adv: Tensor) -> Tensor:
        """The logits at x_adv without a gradient, a mean over the draws."""
        with torch.no_grad():
            return sum(_logits(f, x_adv) for _ in range(self.draws)) / self.draws

    def _values(self, logits: Tensor, y: Tensor) -> Tensor:
        values = (self.loss if callable(self.loss) else LOSSES[self.loss])(logits, y)
        if values.shape != y.shape:
            raise ValueError(f"the loss must give one value per image, {tuple(y.shape)}, got {tuple(values.shape)}")
        return values


def _slope(values: Tensor, x_adv: Tensor) -> Tensor:
    if not values.requires_grad:
        raise NoGradientError("no gradient reaches the images: is there a no_grad, detach or numpy inside the network?")
    return torch.autograd.grad(values.sum(), x_adv)[0]


def _logits(f, x: Tensor) -> Tensor:
    logits = f(x)
    if logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise ValueError(f"the network must give logits ({len(x)}, classes >= 2), got {tuple(logits.shape)}")
    return logits.float() if logits.element_size() < 4 else logits  # 8 bits of mantissa are few for a softmax


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent (Madry et al. 2018). eps and step_size in pixel units, restarts from new random points.

    step_size None: min(2.5 eps / steps, eps). The published OAT code uses min(1.25 eps, eps + 4/255) / steps.
    best=True keeps per image the strongest iterate, start included, for one forward more; best=False keeps the last.
    start: "uniform" in the ball, "none" (x itself), or "gaussian", x + 0.001 N(0, 1), as in TRADES. The last is not
    clipped, so it is not a result: only the first gradient is taken there. loss: "ce", "margin" or a function.
    draws: against networks with random weights, so many gradients are averaged (EOT, Athalye et al. 2018).
    """

    name: ClassVar[str] = "PGD"
    eps: float = 8 / 255
    steps: int = 10
    step_size: float | None = None
    norm: str = "linf"
    restarts: int = 1
    start: str = "uniform"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    best: bool = True
    draws: int = 1

    @property
    def size(self) -> float:
        return min(2.5 * self.eps / max(self.steps, 1), self.eps) if self.step_size is None else self.step_size

    def __str__(self) -> str:
        words = super().__str__() + f", {self.restarts} restart" + "s" * (self.restarts > 1)
        return words + ("" if self.best else ", last iterate")


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of length eps from x itself (Goodfellow et al. 2015)."""

    name: ClassVar[str] = "FGSM"
    start: ClassVar[str] = "none"
    eps: float = 8 / 255
    norm: str = "linf"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    draws: int = 1


@dataclass(frozen=True)
class FGSMRS(Attack):
    """One step from a uniform point of the ball, projected back (Wong et al. 2020). step_size None: 1.25 eps."""

    name: ClassVar[str] = "FGSM-RS"
    eps: float = 8 / 255
    step_size: float | None = None
    norm: str = "linf"
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"
    draws: int = 1

    @property
    def size(self) -> float:
        return 1.25 * self.eps if self.step_size is None else self.step_size


@dataclass(frozen=True)
class NFGSM(Attack):
    """Noise U[-k eps, k eps], then one step of eps, clipped to [0, 1] only (de Jorge et al. 2022).

    For training only: the result can leave the eps-ball, by pixel changes of up to (k + 1) eps.
    """

    name: ClassVar[str] = "N-FGSM"
    eps: float = 8 / 255
    k: float = 2.0
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce"

    @property
    def radii(self) -> tuple[float, float]:
        return self.k * self.eps, (self.k + 1) * self.eps  # the second is as far as noise and step can reach

    def describe(self) -> dict:
        return super().describe() | {"k": self.k}
