"""Training that one can watch: step by step, with the frontier as it is being born."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..data import Data
from ..recipes import build
from ..train import Training
from .live import measure
from .named_attacks import QUICK, attack_named

LOOKS = 8  # how often the frontier is measured
IMAGES = 128  # of the validation split, on which it is measured
LIMIT = 64  # epochs that may be asked for from a page


class Trainer:
    """One training run of a recipe. `report` is told after every step how things stand, as a dict ready for JSON."""

    def __init__(self, recipe: str, data: Data, epochs: int, report: Callable[[dict], None], seed: int = 0):
        if not (isinstance(epochs, int) and 1 <= epochs <= LIMIT):
            raise ValueError(f"epochs must be a whole number from 1 to {LIMIT}, got {epochs!r}")
        self.net = build(recipe, data, seed=seed)
        self.run = Training(self.net, data, "fast", seed, epochs=epochs)
        self.report, self.frontiers = report, []
        self.panel = data.val.panel(min(IMAGES, len(data.val)))
        self.total = epochs * self.run.steps
        self._work = self._steps()

    def work(self, steps: int | None = None) -> Iterator[bool]:
        """Go on from where it was left, for so many steps or to the end. True after each step."""
        self.tell("running")
        while steps is None or steps > 0:
            stepped = next(self._work, None)
            if stepped is None:
                return
            if stepped and steps is not None:
                steps -= 1
            yield stepped
        self.tell("paused")

    def tell(self, status: str) -> None:
        """Report as it is."""
        loss = None if self.run.loss is None else round(self.run.loss.item(), 4)
        self.report({"recipe": self.net.spec.recipe, "status": status, "done": self.run.done, "of": self.total,
                     "epochs": self.run.preset.epochs, "loss": loss, "n": len(self.panel),
                     "frontiers": list(self.frontiers), "note": self.run.history.note})  # fmt: skip

    def stop(self) -> None:
        """Close the run before its end; the network is usable as it is."""
        self._work.close()
        self.run.interrupt()
        self.tell("interrupted")

    def _steps(self) -> Iterator[bool]:
        every = max(1, self.total // LOOKS)
        for _ in self.run:
            if self.run.done % every == 0 or self.run.done == self.total:
                yield from self._look()
            self.tell("running")
            yield True
        self.tell(self.run.history.status)

    def _look(self) -> Iterator[bool]:
        """Measure the stops by the quick cascade, on fewer images than elsewhere: to see the shape grow."""
        points = []
        for lam in self.net.spec.stops:
            for last in measure(self.net, self.panel, lam, 1.0, attack_named(QUICK, 8 / 255)):  # noqa: B007
                yield False
            points.append({"lam": lam, "clean": last["clean"], "robust": last["robust"]})
        self.frontiers.append({"done": self.run.done, "points": points})
