"""The explorer: a widget whose sliders change the setting of real networks.

It runs in a notebook or on a web page. The browser draws an estimate from measured
surfaces at once (see surface.py). Meanwhile the exact setting is measured here, on a background
thread: on a few images first, and then on more of them until the next move.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import anywidget
import traitlets

from .._check import of_type
from .._suggest import did_you_mean
from ..data.load import Data
from ..networks.network import Network
from .cache import MeasurementCache
from .description import describe, describe_recorded, one_of_each_class
from .front_end import script, style
from .live_training import Trainer
from .measure import PART, head, measure, refine
from .named_attacks import attack_named
from .saving import file_name, save_new, saved_bytes
from .state import State, read
from .surface import N, Surface
from .worker import PACES, Worker

PARTS = (
    "network",
    "lam",
    "width",
    "eps",
    "attack",
    "choose",
    "price",
    "gallery",
    "training",
    "state",
)
IMAGES = 512  # number of images that a setting is measured on, at most
# at full pace, the least seconds between two frames that are shown
GLANCE = 0.1
UNDER_WAY = ("running", "paused")  # status of a training that can continue


class Explorer(anywidget.AnyWidget):
    """The widget that `explore` returns.

    Attributes:
        state: The positions of all dials as a string. Assign a string or a mapping to move the
            dials.
        nets: The networks, by name.
        data: The data set. None: its images are not here, so nothing is measured.
        panel: The images that are measured, or None. The first of them are attacked first.
        description: All that does not change with the dials (see description.py).
        live: The newest measurement, as a dict (see `measure` in measure.py).
        surfaces: The measured grid of each network, as `Surface.table` returns it.
        training: The report of the training that was started from the page (see live_training.py).
        pace: How the attack advances: "run", "slow" or "pause".
        error: The newest error message, or "".
        folder: Where networks that were trained on the page are saved; None: the current folder.
    """

    _esm = traitlets.Unicode(script()).tag(sync=True)
    _css = traitlets.Unicode(style()).tag(sync=True)
    description = traitlets.Dict().tag(sync=True)  # see description.py
    controls = traitlets.Dict().tag(sync=True)  # the state, as a dict
    surfaces = traitlets.Dict().tag(sync=True)  # per network, see surface.py
    live = traitlets.Dict().tag(sync=True)  # the newest measurement, see measure.py
    training = traitlets.Dict().tag(sync=True)  # see live_training.py
    pace = traitlets.Enum(PACES, "run").tag(sync=True)  # how the attack advances
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, nets, data: Data | None, start: State, panel, surfaces=None, **fixed):
        self.nets, self.data, self.panel = dict(nets), data, panel
        self.watched = None if panel is None else one_of_each_class(panel)
        # The refinement comes after the prefetch: the next key press should not wait for it.
        self._worker = Worker(self._show_error, ("prefetch", "refine", "train", "curve"))
        self._cache = MeasurementCache(self._measure, self._refine)
        self._trainer: Trainer | None = None
        self._trained: list[str] = []  # names of the networks that were trained on the page
        self.folder: Path | None = None
        known = surfaces or {}
        self._surfaces = {
            name: known.get(name) or Surface(net, head(panel, N)) for name, net in self.nets.items()
        }
        self._fixed = fixed | {"live": data is not None}
        # The widget opens with these values. If they were sent afterwards, a busy browser could
        # draw the page before they arrive.
        super().__init__(
            description=self._describe(),
            surfaces={name: surface.table() for name, surface in self._surfaces.items()},
            controls=_for_browser(start),
        )
        if data is None:
            return
        self.observe(lambda _: self._worker.submit(self._measure_current()), "controls")
        self.observe(lambda change: self._worker.pace(change.new), "pace")
        self.on_msg(lambda _, message, __: self._on_message(message))
        self._worker.submit(self._measure_current())

    @property
    def state(self) -> str:
        """The positions of all dials, as a string.

        It is what the button *copy* copies, and what `explore(..., state=...)` accepts.
        """
        return str(read(self.controls, self.nets))

    @state.setter
    def state(self, given: str | Mapping) -> None:
        self.controls = _for_browser(read(given, self.nets, read(self.controls, self.nets)))

    @property
    def grids(self) -> dict[str, Surface]:
        """The measured grid of each network, by name."""
        return dict(self._surfaces)

    def halt(self) -> None:
        """Stop all work for good, and wait for the thread to end. Measurements are kept."""
        self._worker.close()
        self._cache.cancel()

    def flush(self, timeout: float = 120.0) -> None:
        """Wait until all outstanding work is done, so that `live` and `surfaces` no longer change.

        Args:
            timeout: Limit in seconds.

        Raises:
            TimeoutError: If there is still work after `timeout` seconds.
        """
        self._worker.flush(timeout)

    def close(self) -> None:
        """Remove the widget from the page and stop its work."""
        self.halt()
        super().close()

    def _measure_current(self) -> Iterator[bool]:
        """A job for the worker: measure the current setting on the first images of the panel.

        Then queue the other images, and what is missing of the curve. The setting is read when the
        job begins, which may be later than when it was submitted. An item is True if the browser
        was sent a frame.
        """
        self._worker.meanwhile("refine", None)  # that of the setting before
        state = read(self.controls, self.nets)
        self.error = ""
        last_step = -1  # step of the newest frame that was sent
        last_time = time.monotonic()
        for frame in self._cache.frames(state, fresh=self.pace != "run"):
            now = time.monotonic()
            # At full pace not every frame is sent, because drawing takes time from the attack.
            # The first frame of the attack and the settled one always are.
            is_first = last_step < 0 <= frame["step"]
            is_settled = frame["phase"] == "settled"
            is_due = self.pace != "run" or now - last_time > GLANCE
            send = is_first or is_settled or is_due
            if send:
                last_step, last_time = frame["step"], now
                self.live = frame
            yield send
        self._worker.meanwhile("refine", self._send_refined(state))
        missing = self._surfaces[state.network].fill(state.width, state.eps)
        self._worker.meanwhile("curve", self._send_surfaces(state.network, missing))

    def _measure(self, state: State) -> Iterator[dict]:
        """Measure a setting frame by frame, on the first images of the panel.

        Each frame has two more keys than those of `measure`: "key" names the setting, and "of" is
        the number of images of the whole panel.
        """
        net, attack = self.nets[state.network], attack_named(state.attack, state.eps / 255)
        more = {"key": list(state.setting), "of": len(self.panel)}
        for frame in measure(
            net, head(self.panel, PART), state.lam, state.width, attack, self.watched.tolist()
        ):
            yield frame | more

    def _refine(self, state: State, settled: dict) -> Generator[dict, None, None]:
        """Continue from a settled frame on the other images of the panel."""
        net, attack = self.nets[state.network], attack_named(state.attack, state.eps / 255)
        return refine(net, self.panel, state.lam, state.width, attack, settled)

    def _send_refined(self, state: State) -> Iterator[bool]:
        """Work for idle time: send the numbers of the current setting on more and more images."""
        for frame in self._cache.refine(state):
            is_new = frame["n"] > self.live["n"]
            if is_new:
                self.live = frame
            yield is_new

    def _prefetch(self, lam: float) -> None:
        """When the worker is idle, measure the setting that the next key press may choose."""
        state = read({"lam": lam}, self.nets, read(self.controls, self.nets))
        self._worker.meanwhile("prefetch", self._cache.prefetch(state))

    def _send_surfaces(self, name: str, cells: Iterator[bool]) -> Iterator[bool]:
        """Pass `cells` on, and send the surface to the browser after each new cell."""
        for is_new in cells:
            if is_new:
                self.surfaces = self.surfaces | {name: self._surfaces[name].table()}
            yield is_new

    def _on_message(self, message) -> None:
        """Follow an order of the browser: a dict with "do", and the arguments of the order.

        This may run on any thread, so only quick work is done here.
        """
        orders = {
            # Answered on this thread, so that the answer comes while the worker is busy.
            "hello": lambda: self.send({"kind": "hello"}),
            "download": self._download,
            "save": self._save,
            "attack-step": self._worker.advance,
            "prefetch": self._prefetch,
            "train": self._train,
            "train-pause": self._pause_training,
            "train-resume": self._resume_training,
            "train-step": lambda: self._resume_training(1),
            "train-stop": self._stop_training,
        }
        try:
            message = dict(message)
            orders[message.pop("do")](**message)
        except Exception as error:  # a callback has no cell to print under, so the page shows it
            self._show_error(error)

    def _train(self, recipe: str, epochs: int = 8) -> None:
        if self.training.get("status") in UNDER_WAY:
            raise ValueError("a training is already running or paused: stop it first")
        self._trainer = Trainer(recipe, self.data, epochs, self._on_training)
        self._trainer.tell("running")
        self._resume_training()

    def _pause_training(self) -> None:
        self._ask_trainer(lambda trainer: trainer.tell("paused"))

    def _stop_training(self) -> None:
        self._ask_trainer(Trainer.stop)

    def _ask_trainer(self, do: Callable[[Trainer], None]) -> None:
        """Queue an order to the trainer as work, so that it never interrupts a training step."""
        trainer = self._trainer

        def work() -> Iterator[bool]:
            # checked on the worker: the step before may have been the last one
            if self.training["status"] in UNDER_WAY:
                do(trainer)
            yield True

        if trainer is not None:
            self._worker.meanwhile("train", work())

    def _resume_training(self, steps: int | None = None) -> None:
        if self.training.get("status") not in UNDER_WAY:
            raise ValueError("there is no training to resume: start one first")
        self._worker.meanwhile("train", self._trainer.work(steps))

    def _on_training(self, training: dict) -> None:
        """Send the report of a training step. When the training has ended, add its network."""
        if training["status"] in ("finished", "interrupted", "stopped"):
            training["name"] = self._add(self._trainer.net)
        self.training = training

    def _add(self, net: Network) -> str:
        """Add a trained network to the others.

        The browser then moves the dials to the name that is returned.
        """
        names = (f"{net.spec.recipe}, trained here {i}" for i in range(1, len(self.nets) + 2))
        name = next(name for name in names if name not in self.nets)
        # new dicts: another thread may iterate over the old ones
        self.nets = self.nets | {name: net}
        self._trained = [*self._trained, name]
        self._surfaces = self._surfaces | {name: Surface(net, head(self.panel, N))}
        self.description = self._describe()
        self.surfaces = self.surfaces | {name: self._surfaces[name].table()}
        return name

    def _download(self, network: str) -> None:
        """Send the bytes of a network to the browser, as `oatlib.save` writes them."""
        content = saved_bytes(self.nets[network])
        self.send({"kind": "file", "name": file_name(network)}, buffers=[content])

    def _save(self, network: str, name: str) -> None:
        """Save a network for Python. Tell the browser where the file is, or why there is none."""
        try:
            path = save_new(self.nets[network], self.folder or Path.cwd(), name)
        except (OSError, ValueError) as error:
            self.send({"kind": "refused", "why": str(error)})
        else:
            self.send({"kind": "saved", "path": str(path), "line": f"oatlib.load({str(path)!r})"})

    def _describe(self) -> dict:
        if self.data is None:
            surface = next(iter(self._surfaces.values()))
            about = describe_recorded(self.nets, surface.source, surface.n)
        else:
            about = describe(self.nets, self.data, self.panel, self.watched)
        return about | self._fixed | {"trained": list(self._trained)}

    def _show_error(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"


def explore(
    nets: Network | Sequence[Network] | Mapping[str, Network],
    data: Data | None,
    state: str | Mapping | State | None = None,
    *,
    n: int = IMAGES,
    split: Literal["val", "test"] = "val",
    hide: Sequence[str] = (),
    marks: Sequence[Mapping] = (),
    surfaces=None,
    page: bool = False,
    **settings,
) -> Explorer:
    """Show sliders for one network or several, as a widget.

    Write it as the last line of a notebook cell.

    Args:
        nets: One network, a sequence of them, or a mapping from names to networks.
        data: The data set. It must have the image shape and the number of classes of the networks.
            None: its images are not here. Then `surfaces` must hold the recorded curve of every
            network, and nothing is measured.
        state: First positions of the dials: a string from the button *copy*, a mapping, or a State.
        n: Measure each setting on at most this many images, and curves on at most 256 of them.
        split: Whether these are validation images or test images. A setting that is chosen by eye
            should not be chosen on test images.
        hide: Parts of the screen to leave out: network, lam, width, eps, attack, choose, price,
            gallery, training, state.
        marks: Points of other networks to compare with (see `marks` in open_files.py).
        surfaces: Measured grids by name of the network, if there are any (see `measured` in
            open_files.py).
        page: Keep the state in the address of the page.
        **settings: Single values of the state, such as lam=0.3. They take precedence over `state`.

    Returns:
        The widget.

    Raises:
        TypeError: If `nets` holds anything but networks, or nothing.
        ValueError: If the data does not fit a network, if a state cannot be read, or if a part to
            hide does not exist.

    Example:
        >>> oatlib.explore(net, data, lam=0.3, hide=["training"])
    """
    named = _named(nets)
    if data is None:
        _check_recorded(named, surfaces or {})
    else:
        _check_fit(named, data)
    if split not in ("val", "test"):
        raise ValueError(f"split must be 'val' or 'test', got {split!r}")
    for part in hide:
        if part not in PARTS:
            raise ValueError(
                f"cannot hide {part!r}{did_you_mean(part, PARTS)}: the parts are {', '.join(PARTS)}"
            )
    first = next(iter(named))
    default = State(first, lam=round(named[first].lam(0.5), 4), min_clean=_limit(surfaces or {}))
    start = read(state, named, default)
    start = read(settings, named, start)
    images = None if data is None else getattr(data, split)
    panel = None if images is None else images.panel(min(n, len(images)))
    return Explorer(
        named, data, start, panel, surfaces, hide=list(hide), marks=list(marks), page=page
    )


def _limit(surfaces: Mapping[str, Surface]) -> float:
    """Return the least clean accuracy of the search at first: one that some network has."""
    rows = [row for surface in surfaces.values() for row in surface.clean]
    known = [clean for row in rows for clean in row if clean is not None]
    usual = State.min_clean
    if not known or max(known) >= usual:
        return usual
    return math.floor(20 * max(known) - 1) / 20  # at least 5 points below the best, in fives


def _check_fit(nets: Mapping[str, Network], data: Data) -> None:
    """Raise an error unless every network takes the images of a data set."""
    of_type("data", data, Data, "a data set, such as oatlib.load_data('shapes')")
    for name, net in nets.items():
        if tuple(data.shape) != net.spec.shape or len(data.classes) != len(net.spec.classes):
            raise ValueError(
                f"{name!r} takes images {net.spec.shape} of {len(net.spec.classes)} classes; the "
                "data has "
                f"{tuple(data.shape)} and {len(data.classes)} classes"
            )


def _check_recorded(nets: Mapping[str, Network], surfaces: Mapping[str, Surface]) -> None:
    """Raise a ValueError unless the curve of every network is recorded, on the same images."""
    for name in nets:
        if name not in surfaces or not surfaces[name].n:
            raise ValueError(
                f"there is no recorded curve of {name!r} in `surfaces`: without it the explorer "
                "needs the images, as `data`"
            )
    if len({json.dumps([surfaces[name].source, surfaces[name].n]) for name in nets}) > 1:
        raise ValueError("the curves in `surfaces` were measured on different images")


def _named(nets) -> dict[str, Network]:
    """Return {name: network}.

    Networks without a name get that of their recipe, numbered if it repeats.
    """
    if isinstance(nets, Mapping):
        named = dict(nets)
    else:
        named = {}
        for net in nets if isinstance(nets, Sequence) else [nets]:
            recipe = net.spec.recipe if isinstance(net, Network) else "?"
            named[recipe if recipe not in named else f"{recipe} {len(named) + 1}"] = net
    if not named or not all(isinstance(net, Network) for net in named.values()):
        raise TypeError("nets must be a network of oatlib, a list of them, or {name: network}")
    return named


def _for_browser(state: State) -> dict:
    return asdict(state) | {"compare": list(state.compare)}
