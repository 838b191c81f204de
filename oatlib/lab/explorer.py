"""The explorer: sliders that move real networks, in a notebook or a page of its own.

The browser draws at once what it knows from measured surfaces; the exact setting is measured here, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import anywidget
import traitlets

from ..data import Data
from ..nets import Network
from ..spec import did_you_mean
from .live import measure
from .named_attacks import attack_named
from .state import State, read
from .surface import N, Surface
from .trainer import Trainer
from .walks import Walks
from .worker import PACES, Worker
from .world import describe, one_of_each_class

STATIC = Path(__file__).parent / "static"
SCRIPTS = (  # in a row they are the module
    "curves.js",
    "state.js",
    "labels.js",
    "plot.js",
    "parts.js",
    "screen.js",
    "shown.js",
    "view.js",
)
PARTS = ("network", "lam", "width", "eps", "attack", "choose", "price", "gallery", "training", "state")
GLANCE = 0.25  # seconds between two frames that are shown; the first is that of the attack's start if it comes sooner
UNDER_WAY = ("running", "paused")  # a training that can go on


def script() -> str:
    """The front end: one ES module, for notebooks and for pages without a kernel."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)


def style() -> str:
    """Its style sheet."""
    return (STATIC / "explorer.css").read_text(encoding="utf-8")


class Explorer(anywidget.AnyWidget):
    """The widget that `explore` returns. `state` is where its dials stand, as a string; assign to it to move them."""

    _esm = traitlets.Unicode(script()).tag(sync=True)
    _css = traitlets.Unicode(style()).tag(sync=True)
    world = traitlets.Dict().tag(sync=True)  # what does not change with the dials
    controls = traitlets.Dict().tag(sync=True)  # the state, as a dict
    surfaces = traitlets.Dict().tag(sync=True)  # per network, see surface.py
    live = traitlets.Dict().tag(sync=True)  # what is measured right now, see live.py
    training = traitlets.Dict().tag(sync=True)  # see trainer.py
    pace = traitlets.Enum(PACES, "run").tag(sync=True)  # of the attack
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, nets, data: Data, start: State, panel, surfaces=None, **fixed):
        super().__init__()
        self.nets, self.data, self.panel = dict(nets), data, panel
        self.watched = one_of_each_class(panel)
        self._worker = Worker(self._complain, ("train", "curve", "ahead"))
        self._walks = Walks(self._walk)
        self._trainer: Trainer | None = None
        self._surfaces = {name: (surfaces or {}).get(name) or Surface(net, panel) for name, net in self.nets.items()}
        self._fixed = fixed | {"live": True}
        self.world = describe(self.nets, data, panel, self.watched) | self._fixed
        self.surfaces = {name: surface.table() for name, surface in self._surfaces.items()}
        self.controls = _for_browser(start)
        self.observe(lambda _: self._worker.submit(self._measured()), "controls")
        self.observe(lambda change: self._worker.pace(change.new), "pace")
        self.on_msg(lambda _, message, __: self._told(message))
        self._worker.submit(self._measured())

    @property
    def state(self) -> str:
        """Where the dials stand: what *copy* copies and `explore(..., state=...)` takes."""
        return str(read(self.controls, self.nets))

    @state.setter
    def state(self, given: str | Mapping) -> None:
        self.controls = _for_browser(read(given, self.nets, read(self.controls, self.nets)))

    @property
    def grids(self) -> dict[str, Surface]:
        """What is measured of each network."""
        return dict(self._surfaces)

    def halt(self) -> None:
        """Start nothing more, and wait for the thread to end; what is measured stays."""
        self._worker.close()
        self._walks.drop()

    def flush(self, timeout: float = 120.0) -> None:
        """Wait until all is measured that is to be, so that `live` and `surfaces` hold still."""
        self._worker.flush(timeout)

    def close(self) -> None:
        """Take the widget off the page and stop its work."""
        self.halt()
        super().close()

    def _measured(self) -> Iterator[bool]:
        """A job: measure where the dials stand when it begins, which may be later than when it was asked for.

        At full pace not every step is shown, as a browser that draws takes time from the attack.
        """
        state = read(self.controls, self.nets)
        self.error = ""
        told = -1  # newest step that is shown
        shown = time.monotonic()
        for frame in self._walks.frames(state, fresh=self.pace != "run"):
            started, now = told < 0 <= frame["step"], time.monotonic()
            news = started or frame["phase"] == "settled" or self.pace != "run" or now - shown > GLANCE
            if news:
                shown, told, self.live = now, frame["step"], frame
            yield news
        surface = self._surfaces[state.network]
        self._worker.meanwhile("curve", self._filled(state.network, surface.fill(state.width, state.eps)))

    def _walk(self, state: State) -> Iterator[dict]:
        """Measure a setting; each frame says which."""
        net, attack = self.nets[state.network], attack_named(state.attack, state.eps / 255)
        for frame in measure(net, self.panel, state.lam, state.width, attack, self.watched.tolist()):
            yield frame | {"key": list(state.setting)}

    def _lead(self, lam: float) -> None:
        """The next key press will probably bring this: measure it while nothing else is to do."""
        state = read({"lam": lam}, self.nets, read(self.controls, self.nets))
        self._worker.meanwhile("ahead", self._walks.lead(state))

    def _filled(self, name: str, cells: Iterator[bool]) -> Iterator[bool]:
        for new in cells:
            if new:
                self.surfaces = self.surfaces | {name: self._surfaces[name].table()}
            yield new

    def _told(self, message) -> None:
        """A button of the page. Only what is quick happens here, as this may be any thread."""
        orders = {"step": self._worker.step, "ahead": self._lead, "train": self._train, "train-pause": self._pause,
                  "train-resume": self._resume, "train-step": lambda: self._resume(1),
                  "train-stop": self._stop}  # fmt: skip
        try:
            message = dict(message)
            orders[message.pop("do")](**message)
        except Exception as error:  # a callback has no cell to print under: the page shows it
            self._complain(error)

    def _train(self, recipe: str, epochs: int = 8) -> None:
        if self.training.get("status") in UNDER_WAY:
            raise ValueError("a training is under way: stop it first, or let it end")
        self._trainer = Trainer(recipe, self.data, epochs, self._report)
        self._trainer.tell("running")
        self._resume()

    def _pause(self) -> None:
        """Pausing and stopping are work, too: so they come after the step that is being taken, not during it."""
        self._on_trainer(lambda trainer: trainer.tell("paused"))

    def _stop(self) -> None:
        self._on_trainer(Trainer.stop)

    def _on_trainer(self, do: Callable[[Trainer], None]) -> None:
        trainer = self._trainer

        def work() -> Iterator[bool]:
            if self.training["status"] in UNDER_WAY:  # asked here: the step before may have been the last
                do(trainer)
            yield True

        if trainer is not None:
            self._worker.meanwhile("train", work())

    def _resume(self, steps: int | None = None) -> None:
        if self.training.get("status") not in UNDER_WAY:
            raise ValueError("there is no training to go on with: start one")
        self._worker.meanwhile("train", self._trainer.work(steps))

    def _report(self, training: dict) -> None:
        if training["status"] in ("finished", "interrupted", "stopped"):
            training["name"] = self._add(self._trainer.net)
        self.training = training

    def _add(self, net: Network) -> str:
        """A trained network joins the others, and the dials go to it."""
        names = (f"{net.spec.recipe}, trained here {i}" for i in range(1, len(self.nets) + 2))
        name = next(name for name in names if name not in self.nets)
        self.nets, self._surfaces = self.nets | {name: net}, self._surfaces | {name: Surface(net, self.panel)}
        self.world = describe(self.nets, self.data, self.panel, self.watched) | self._fixed
        self.surfaces = self.surfaces | {name: self._surfaces[name].table()}
        return name

    def _complain(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"


def explore(
    nets: Network | Sequence[Network] | Mapping[str, Network], data: Data, state: str | Mapping | State | None = None,
    *, n: int = N, hide: Sequence[str] = (), marks: Sequence[Mapping] = (), surfaces=None, page: bool = False,
    **settings,
) -> Explorer:  # fmt: skip
    """Sliders for one network or several, as a widget: the last line of a notebook cell shows it.

    Measured are up to n validation images. `state` is what *copy* gave, or single `settings` such as lam=0.3. `hide`
    leaves parts of the screen away: network, lam, width, eps, attack, choose, price, gallery, training, state. `marks`
    are points to compare with and `surfaces` what is known already, see family.py; `page`: the state is in the address.
    """
    named = _named(nets)
    for name, net in named.items():
        if tuple(data.shape) != net.spec.shape or len(data.classes) != len(net.spec.classes):
            raise ValueError(f"{name!r} takes images {net.spec.shape} of {len(net.spec.classes)} classes; the data has "
                             f"{tuple(data.shape)} and {len(data.classes)} classes")  # fmt: skip
    for part in hide:
        if part not in PARTS:
            raise ValueError(f"there is no part {part!r} to hide{did_you_mean(part, PARTS)}; use {', '.join(PARTS)}")
    first = next(iter(named))
    start = read(state, named, State(first, lam=named[first].lam(0.5)))
    start = read(settings, named, start)
    panel = data.val.panel(min(n, len(data.val)))
    return Explorer(named, data, start, panel, surfaces, hide=list(hide), marks=list(marks), page=page)


def _named(nets) -> dict[str, Network]:
    """{name: network}; by recipe, numbered where that is not enough."""
    if isinstance(nets, Mapping):
        named = dict(nets)
    else:
        named = {}
        for net in nets if isinstance(nets, Sequence) else [nets]:
            recipe = net.spec.recipe if isinstance(net, Network) else "?"
            named[recipe if recipe not in named else f"{recipe} {len(named) + 1}"] = net
    if not named or not all(isinstance(net, Network) for net in named.values()):
        raise TypeError("explore takes networks of oatlib: one, a list, or {name: network}")
    return named


def _for_browser(state: State) -> dict:
    return asdict(state) | {"compare": list(state.compare)}
