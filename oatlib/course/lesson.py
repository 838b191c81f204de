"""Helpers for the lessons of the course: checked parameters, guesses, ready networks and records.

A lesson calls `begin` in its first cell and uses the `Lesson` that it returns.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ipywidgets
import torch
from IPython.display import Markdown, display

from .._bundled import bundled
from ..data.load import Data
from ..evaluation.results import Table
from ..explorer import open_files
from ..explorer.shipped import FOLDER, MEMBERS
from ..explorer.surface import Surface
from ..networks.network import Network, load
from ..record import RecordError, read_json, versions
from ..reruns.parameters import Parameter, checked, declared
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import build
from . import keeping, progress

RECORDS = bundled("course")
LONGEST_CELL = 60  # characters of a list or a dictionary in the table of results
RECORD, RECORDED = "application/vnd.oatlib.record+json", "application/vnd.oatlib.recorded+json"


def begin(name: str, names: dict[str, Any]) -> Lesson:
    """Start a lesson: check the parameters of its notebook.

    Args:
        name: Name of the lesson, such as "01_attack".
        names: The `globals()` of the notebook. They hold the parameters, and the sources of the
            cells that were run.

    Returns:
        The lesson. It keeps the guesses of an earlier `begin` in the same notebook. Guesses of an
        earlier session come back from `my_progress.json`, see `progress`.

    Raises:
        ValueError: If a parameter is invalid, or if no parameters cell was run.

    Example:
        >>> lesson = begin("01_attack", globals())
    """
    known = _parameters(names.get("In", ()))
    values = checked(known, {key: names[key] for key in known if key in names})
    earlier = next((v for v in names.values() if isinstance(v, Lesson) and v.name == name), None)
    return Lesson(name, values, earlier.guesses if earlier else {})


def _parameters(cells: Sequence[str]) -> dict[str, Parameter]:
    """Return the parameters that the newest parameters cell among the given cells declares."""
    for source in reversed(cells):
        try:
            if known := declared(source):
                return known
        except ValueError:  # not a parameters cell
            pass
    raise ValueError("no parameters cell was run: run the lesson from its first cell, in Jupyter")


def _in_notebook() -> bool:
    """Whether the code runs in cells of a notebook, which have a folder to keep files in."""
    return bool(keeping.notebook_cells())


def say(text: str) -> None:
    """Display Markdown.

    Args:
        text: The Markdown. Lessons pass an f-string, so that every number in it is measured and not
            typed.
    """
    display(Markdown(text))


class Lesson:
    """One run of a lesson.

    Args:
        name: Name of the lesson.
        parameters: The checked values of its parameters, by name.
        guesses: The guesses of the learner so far, by key.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], guesses: dict[str, Guess]):
        self.name, self.parameters, self.guesses = name, dict(parameters), guesses
        self._started = time.monotonic()

    @property
    def number(self) -> str:
        """Number of the lesson, such as "01"."""
        return self.name.partition("_")[0]

    def predict(
        self,
        key: str,
        question: str,
        low: float = 0,
        high: float = 100,
        unit: str = "%",
        options=(),
    ) -> Guess:
        """Ask the learner for a guess. `reveal` later shows it beside the answer.

        Args:
            key: Name of the guess, for `reveal`.
            question: The question, as HTML.
            low: Smallest number on the slider.
            high: Largest number on the slider.
            unit: Unit of the number.
            options: Texts to choose from, instead of a slider.

        Returns:
            The widget. The same key and question give the same widget, so that a kept guess
            survives when the cell is run again. A guess of an earlier session is kept, too.
        """
        if key not in self.guesses or self.guesses[key].question != question:
            guess = Guess(question, low, high, unit, options)
            guess.restore(self._done()["guesses"].get(key, {}))
            if _in_notebook():
                guess.on_change = lambda entry: self._note(key, entry)
            self.guesses[key] = guess
        return self.guesses[key]

    def _done(self) -> dict[str, dict]:
        """Return what `my_progress.json` holds for this lesson: guesses and checks."""
        nothing: dict[str, dict] = {"guesses": {}, "checks": {}}
        if not _in_notebook():
            return nothing
        try:
            return progress.read().get(self.number, nothing)
        except RecordError as error:
            print(error)
            return nothing

    def _note(self, key: str, entry: dict) -> None:
        """Write a kept guess to `my_progress.json`."""
        with contextlib.suppress(RecordError):  # said where the file is read
            progress.note_guess(self.number, key, entry)

    def reveal(self, key: str, answer, comment: str = "") -> ipywidgets.HTML:
        """Show the answer to `predict(key, ...)` beside the guess.

        Without a guess the answer is hidden until the learner clicks on it.

        Args:
            key: The key that `predict` was called with.
            answer: The answer: a number in the unit of the question, or a text.
            comment: HTML to show after the answer.

        Returns:
            The widget. It changes when the learner keeps a guess later.

        Raises:
            ValueError: If `predict` was not called with this key.
        """
        if key not in self.guesses:
            raise ValueError(
                f"nothing was asked as {key!r}: run the cell with predict({key!r}, ...) first"
            )
        return self.guesses[key].beside(answer, comment)

    def network(self, name: str, data: Data) -> Network:
        """Return a ready network, or train one like it.

        It is trained if the parameter `retrain` is set, if there is no such file, or if the ready
        one was trained on other data. Training uses the parameters `epochs` and `seed` of the
        lesson.

        Args:
            name: A name in `ready.MEMBERS`, or a recipe.
            data: The data set of the lesson.
        """
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
        """Return the measured grids of ready networks.

        They are for `oatlib.explore(nets, data, surfaces=...)`.

        Args:
            nets: The networks, by their names in `ready.MEMBERS`.
            data: The data set.

        Returns:
            Surfaces by name. One is empty if its network is not the ready one.
        """
        return open_files.measured([FOLDER / f"{name}.safetensors" for name in nets], nets, data)

    def recorded(self, name: str, compute: Callable[[], dict]) -> dict:
        """Return a recorded result, or compute it again if the parameter `recompute` is set.

        A result that is computed again is also displayed as data, which `authoring/make.py` reads.

        Args:
            name: Name of the record, a JSON file in `RECORDS`.
            compute: Function that computes the result, ready for JSON. It can take minutes.

        Raises:
            RecordError: If there is no record of that name.
        """
        if self.parameters["recompute"]:
            result = compute()
            display(
                {
                    RECORDED: {"name": name, "result": result},
                    "text/plain": f"measured here: {name}",
                },
                raw=True,
            )
            return result
        path = RECORDS / f"{name}.json"
        if not path.is_file():
            raise RecordError(
                f"there is no record {path}: set recompute = True in the parameters cell"
            )
        return read_json(path)

    def finish(self, **results) -> None:
        """Display the results of the lesson as a table and as a record.

        `oatlib rerun` writes the record to a file. The record also holds what the learner did: the
        guesses with their answers, and every checked answer to an exercise with its verdict.

        Args:
            **results: Values by name: numbers, texts, tensors, tables of `evaluate`, or lists and
                dicts of such values that JSON can hold.
        """
        found = {key: _plain(value) for key, value in results.items()}
        took = round(time.monotonic() - self._started, 1)
        record = {
            "lesson": self.name,
            "parameters": self.parameters,
            "results": found,
            "learner": {
                "guesses": {key: guess.entry for key, guess in self.guesses.items()},
                "checks": self._done()["checks"],
            },
            "seconds": took,
            "versions": versions(),
            "threads": torch.get_num_threads(),
        }
        rows = [f"| {key} | {_short(value)} |" for key, value in found.items()]
        text = "\n".join(["| measured here | |", "|---|---|", *rows])
        display({RECORD: record, "text/markdown": text, "text/plain": text}, raw=True)


class Guess(ipywidgets.VBox):
    """A question with a slider or some choices.

    `value` is None until the learner keeps a guess. After that it is fixed. `on_change` is called
    with `entry` when a guess is kept, and when its answer is shown.

    Args:
        question: The question, as HTML.
        low: Smallest number on the slider.
        high: Largest number on the slider.
        unit: Unit of the number.
        options: Texts to choose from, instead of a slider.
    """

    def __init__(self, question: str, low: float, high: float, unit: str, options: Sequence[str]):
        self.question, self.unit, self.value = question, unit, None
        self.answer: float | str | None = None  # known after `beside`
        self.on_change: Callable[[dict], None] | None = None
        self.scale = {"options": list(options)} if options else {"low": low, "high": high}
        self._shown: list = []
        if options:
            self.control = ipywidgets.ToggleButtons(
                options=list(options), value=None, style={"button_width": "auto"}
            )
        else:
            around = {
                "value": (low + high) / 2,
                "min": low,
                "max": high,
                "step": (high - low) / 100,
            }
            self.control = ipywidgets.FloatSlider(
                **around,
                readout_format=".3g",
                description=unit,
                style={"description_width": "initial"},
                layout={"width": f"{max(300, 8 * len(unit) + 220)}px", "max_width": "100%"},
            )
        # as wide as its text, also beside many options
        self.button = ipywidgets.Button(
            description="keep this guess", layout={"width": "auto", "flex": "0 0 auto"}
        )
        self.button.on_click(self._keep)
        ask = ipywidgets.HTML(f"<b>Your guess:</b> {question}")
        answer = ipywidgets.HBox([self.control, self.button], layout={"flex_flow": "row wrap"})
        super().__init__([ask, answer])

    def _keep(self, _) -> None:
        if self.control.value is None:  # no option is chosen yet
            return
        self._fix()
        if self.on_change:
            self.on_change(self.entry)

    def _fix(self) -> None:
        """Take the position of the control as the guess."""
        self.value, self.control.disabled, self.button.disabled = self.control.value, True, True
        self.button.description = "kept"
        for html, answer, comment in self._shown:
            html.value = self._text(answer, comment)

    @property
    def entry(self) -> dict:
        """Question, scale, guess and answer, ready for JSON. None: not known yet."""
        return {
            "question": self.question,
            "unit": self.unit,
            **self.scale,
            "guess": self.value,
            "answer": self.answer,
        }

    def restore(self, entry: Mapping) -> None:
        """Keep the guess of an earlier session, if it was made for the same question.

        Args:
            entry: `entry` of the earlier widget, or what a file holds in its place.
        """
        asked = {key: entry.get(key) for key in ("question", "unit", *self.scale)}
        guess = entry.get("guess")
        if asked != {"question": self.question, "unit": self.unit, **self.scale}:
            return
        if "options" in self.scale:
            is_valid = guess in self.scale["options"]
        else:
            is_number = isinstance(guess, int | float) and not isinstance(guess, bool)
            is_valid = is_number and self.scale["low"] <= guess <= self.scale["high"]
        if is_valid:
            self.control.value = guess
            self._fix()

    def beside(self, answer, comment: str) -> ipywidgets.HTML:
        """Return a widget with the answer.

        It shows the guess beside the answer as soon as the learner keeps one.

        Args:
            answer: The answer: a number in the unit of the question, or a text.
            comment: HTML to show after the answer.
        """
        html = ipywidgets.HTML(self._text(answer, comment))
        self._shown.append((html, answer, comment))
        self.answer = answer if isinstance(answer, str) else float(answer)
        if self.on_change and self.value is not None:
            self.on_change(self.entry)
        return html

    def _text(self, answer, comment: str) -> str:
        answered = f"<b>{self._words(answer)}</b>{': ' if comment else ''}{comment}"
        if self.value is None:
            return (
                f"<i>{self.question}</i> You have not guessed yet; a guess is kept with the button "
                "above. "
                f"<details><summary>Show the answer</summary>{answered}</details>"
            )
        return (
            f"<i>{self.question}</i> Your guess: <b>{self._words(self.value)}</b>. Measured: "
            f"{answered}"
        )

    def _words(self, value) -> str:
        return value if isinstance(value, str) else f"{value:.3g} {self.unit}".strip()


def _plain(value):
    """Convert tables and tensors to values that JSON can hold."""
    if isinstance(value, Table):
        return [asdict(result) for result in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value


def _short(value) -> str:
    """Return a value as text for the table of results."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, list | tuple | dict):
        return str(value)
    if isinstance(value, dict):
        parts = [f"{key}: {_short(entry)}" for key, entry in value.items()]
        entries = list(value.values())
    else:
        parts = [_short(entry) for entry in value]
        entries = list(value)
    # what is nested or long would not fit into a cell
    text = ", ".join(parts)
    nested = any(isinstance(entry, list | tuple | dict) for entry in entries)
    if nested or len(text) > LONGEST_CELL:
        return f"{len(value)} entries"
    return text or "none"
