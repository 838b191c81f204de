"""What a lesson of the course needs besides its subject: checked parameters, guesses, ready networks, a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ipywidgets
import torch
from IPython.display import Markdown, display

from ..data import Data
from ..evaluate import Table
from ..nets import Network, load
from ..presets import Preset
from ..recipes import build
from ..record import RecordError, read_json, versions
from ..train import train
from . import family
from .parameters import Parameter, checked, declared
from .ready import FOLDER, MEMBERS
from .surface import Surface

RECORDS = Path(__file__).parents[2] / "data" / "course"
RECORD, RECORDED = "application/vnd.oatlib.record+json", "application/vnd.oatlib.recorded+json"


def begin(name: str, names: dict[str, Any]) -> Lesson:
    """Start a lesson: check the parameters of its notebook, whose globals() are `names`. Earlier guesses stay."""
    known = _parameters(names.get("In", ()))
    values = checked(known, {key: names[key] for key in known if key in names})
    earlier = next((v for v in names.values() if isinstance(v, Lesson) and v.name == name), None)
    return Lesson(name, values, earlier.guesses if earlier else {})


def _parameters(cells: Sequence[str]) -> dict[str, Parameter]:
    """What the newest parameters cell among those that were run declares."""
    for source in reversed(cells):
        try:
            if known := declared(source):
                return known
        except ValueError:  # another kind of cell
            pass
    raise ValueError("no parameters cell was run: run the lesson from its first cell, in Jupyter")


def say(text: str) -> None:
    """Show Markdown: an f-string, so that every number in it is a measured one."""
    display(Markdown(text))


class Lesson:
    """One run of a lesson. `parameters` are its checked values, `guesses` what the learner has guessed, by key."""

    def __init__(self, name: str, parameters: Mapping[str, Any], guesses: dict[str, Guess]):
        self.name, self.parameters, self.guesses = name, dict(parameters), guesses
        self._started = time.monotonic()

    def predict(self, key: str, question: str, low: float = 0, high: float = 100, unit: str = "%", options=()) -> Guess:
        """Ask for a guess, a number or one of some `options`, and keep it; `reveal` shows it beside the answer."""
        if key not in self.guesses or self.guesses[key].question != question:
            self.guesses[key] = Guess(question, low, high, unit, options)
        return self.guesses[key]

    def reveal(self, key: str, answer, comment: str = "") -> ipywidgets.HTML:
        """The answer to `predict(key, ...)` beside the guess; folded away as long as there is none."""
        if key not in self.guesses:
            raise ValueError(f"nothing was asked as {key!r}: run the cell with predict({key!r}, ...) first")
        return self.guesses[key].beside(answer, comment)

    def network(self, name: str, data: Data) -> Network:
        """The network of that name that came with oatlib; with `retrain`, or where the data are others, its like."""
        path = FOLDER / f"{name}.safetensors"
        if not self.parameters.get("retrain") and path.is_file():
            net = load(path)
            if net.spec.data == {"name": data.name, "options": data.options}:
                return net
        recipe, options = MEMBERS.get(name, (name, {}))
        epochs, seed = self.parameters["epochs"], self.parameters["seed"]
        print(f"training {name}, {epochs} epochs", flush=True)
        net = build(recipe, data, seed=seed, **options)
        train(net, data, Preset(epochs=epochs), seed)
        return net

    def surfaces(self, nets: Mapping[str, Network], data: Data) -> dict[str, Surface]:
        """For `oatlib.explore(nets, data, surfaces=...)`: what was measured before of the networks that came along."""
        return family.measured([FOLDER / f"{name}.safetensors" for name in nets], nets, data)

    def recorded(self, name: str, compute: Callable[[], dict]) -> dict:
        """What `compute` gave when the record of that name was made; with `recompute` it is done again."""
        if self.parameters["recompute"]:
            result = compute()
            display({RECORDED: {"name": name, "result": result}, "text/plain": f"measured here: {name}"}, raw=True)
            return result
        path = RECORDS / f"{name}.json"
        if not path.is_file():
            raise RecordError(f"there is no record {path}: set recompute = True in the parameters cell")
        return read_json(path)

    def finish(self, **results) -> None:
        """Show what came out, as a table and as a record that `oatlib rerun` writes to a file."""
        found = {key: _plain(value) for key, value in results.items()}
        took = round(time.monotonic() - self._started, 1)
        record = {"lesson": self.name, "parameters": self.parameters, "results": found, "seconds": took,
                  "versions": versions(), "threads": torch.get_num_threads()}  # fmt: skip
        rows = [f"| {key} | {_short(value)} |" for key, value in found.items()]
        text = "\n".join(["| measured here | |", "|---|---|", *rows])
        display({RECORD: record, "text/markdown": text, "text/plain": text}, raw=True)


class Guess(ipywidgets.VBox):
    """A question with a slider or some choices. `value` is None until the learner has kept a guess."""

    def __init__(self, question: str, low: float, high: float, unit: str, options: Sequence[str]):
        self.question, self.unit, self.value, self._shown = question, unit, None, []
        if options:
            self.control = ipywidgets.ToggleButtons(options=list(options), value=None, style={"button_width": "auto"})
        else:
            around = {"value": (low + high) / 2, "min": low, "max": high, "step": (high - low) / 100}
            self.control = ipywidgets.FloatSlider(**around, readout_format=".3g", description=unit)
        self.button = ipywidgets.Button(description="keep this guess")
        self.button.on_click(self._keep)
        ask = ipywidgets.HTML(f"<b>Your guess:</b> {question}")
        super().__init__([ask, ipywidgets.HBox([self.control, self.button])])

    def _keep(self, _) -> None:
        if self.control.value is None:  # no option picked yet
            return
        self.value, self.control.disabled, self.button.disabled = self.control.value, True, True
        self.button.description = "kept"
        for html, answer, comment in self._shown:
            html.value = self._text(answer, comment)

    def beside(self, answer, comment: str) -> ipywidgets.HTML:
        """The answer, beside the guess as soon as there is one."""
        html = ipywidgets.HTML(self._text(answer, comment))
        self._shown.append((html, answer, comment))
        return html

    def _text(self, answer, comment: str) -> str:
        answered = f"<b>{self._words(answer)}</b>{': ' if comment else ''}{comment}"
        if self.value is None:
            return (f"<i>{self.question}</i> You have not guessed yet; a guess is kept with the button above. "
                    f"<details><summary>Show the answer</summary>{answered}</details>")  # fmt: skip
        return f"<i>{self.question}</i> Your guess: <b>{self._words(self.value)}</b>. Measured: {answered}"

    def _words(self, value) -> str:
        return value if isinstance(value, str) else f"{value:.3g} {self.unit}".strip()


def _plain(value):
    """As JSON can hold it."""
    if isinstance(value, Table):
        return [asdict(result) for result in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | dict) and len(str(value)) > 60:
        return f"{len(value)} entries"
    return str(value)
