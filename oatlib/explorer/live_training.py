"""Train a network step by step for the explorer, and measure its frontier during training.

The frontier is the curve of (clean, robust) accuracy over all λ stops. Users watch how it develops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..data.load import Data
from ..training.loop import Training
from ..training.recipes import build
from .measure import measure
from .named_attacks import QUICK, attack_named

LOOKS = 8  # about how often the frontier is measured during a training
IMAGES = 128  # number of validation images it is measured on, at most
LIMIT = 64  # most epochs that a page can ask for


class Trainer:
    """One training run of a recipe, with the preset "fast".

    Args:
        recipe: Name of the recipe.
        data: The data set.
        epochs: Number of epochs, 1 to LIMIT.
        report: Function that is called after every step with a dict ready for JSON, see `tell`.
        seed: Seed of the network and of the training.

    Raises:
        ValueError: If `epochs` is out of range, or if there is no such recipe.
    """

    def __init__(
        self, recipe: str, data: Data, epochs: int, report: Callable[[dict], None], seed: int = 0
    ):
        if not (isinstance(epochs, int) and 1 <= epochs <= LIMIT):
            raise ValueError(f"epochs must be a whole number from 1 to {LIMIT}, got {epochs!r}")
        self.net = build(recipe, data, seed=seed)
        self.run = Training(self.net, data, "fast", seed, epochs=epochs)
        self.report, self.frontiers = report, []
        self.panel = data.val.panel(min(IMAGES, len(data.val)))
        self.total = epochs * self.run.steps_per_epoch
        self._work = self._steps()

    def work(self, steps: int | None = None) -> Iterator[bool]:
        """Continue the training.

        Args:
            steps: Number of training steps; None trains to the end.

        Yields:
            True after each training step, and False at points of a measurement where the caller can
            pause.
        """
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
        """Call `report` with the current state of the run.

        The dict has the keys recipe, status, done and of (training steps), epochs, loss, n (images
        of the frontier), frontiers (one per measurement) and note.

        Args:
            status: "running", "paused", "finished", "interrupted" or "stopped".
        """
        loss = None if self.run.loss is None else round(self.run.loss.item(), 4)
        self.report(
            {
                "recipe": self.net.spec.recipe,
                "status": status,
                "done": self.run.done,
                "of": self.total,
                "epochs": self.run.preset.epochs,
                "loss": loss,
                "n": len(self.panel),
                "frontiers": list(self.frontiers),
                "note": self.run.history.note,
            }
        )

    def stop(self) -> None:
        """End the run early. The network is usable as it is."""
        self._work.close()
        self.run.interrupt()
        self.tell("interrupted")

    def _steps(self) -> Iterator[bool]:
        """Run the whole training.

        Yields True after each training step, and False during a measurement.
        """
        every = max(1, self.total // LOOKS)
        for _ in self.run:
            if self.run.done % every == 0 or self.run.done == self.total:
                yield from self._look()
            self.tell("running")
            yield True
        self.tell(self.run.history.status)

    def _look(self) -> Iterator[bool]:
        """Measure the frontier by the quick suite.

        It uses fewer images than other measurements, because only its shape matters here.
        """
        points = []
        for lam in self.net.spec.stops:
            for last in measure(self.net, self.panel, lam, 1.0, attack_named(QUICK, 8 / 255)):  # noqa: B007
                yield False
            points.append({"lam": lam, "clean": last["clean"], "robust": last["robust"]})
        self.frontiers.append({"done": self.run.done, "points": points})
