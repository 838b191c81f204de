"""Exercises that check themselves, and tell the learner which mistake was made.

The lesson continues either way. Each lesson has a module here, whose docstring begins with
"Exercises of lesson NN:". For each exercise it holds a check: a function decorated with `exercise`,
which runs what the learner wrote, a function or a class. The docstring of a check is the signature
of the answer, "arguments -> result".

`check` keeps accepted answers in the file `my_oatlib.py`, and `mine` brings them back in a later
lesson (see `keeping`). It notes every verdict in `my_progress.json`, for the report of a class (see
`progress`).
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import fill

import torch
from IPython.display import display

from ...record import RecordError
from .. import keeping, progress

EXERCISES: dict[str, Exercise] = {}


class Wrong(Exception):
    """An answer is wrong. The message is a sentence for the learner."""


@dataclass(frozen=True)
class Exercise:
    """A registered exercise.

    Attributes:
        look: Check of an answer. It takes the function or class of the learner and raises Wrong if
            that is wrong. It may return a sentence about a right answer, such as what it measured.
        answer: The reference solution, with the same signature.
        where: Where the library has it, such as "oatlib.attacks.geometry.project".
    """

    look: Callable[[Callable], str | None]
    answer: Callable
    where: str

    @property
    def lesson(self) -> str:
        """Number of its lesson, such as "01"."""
        about = sys.modules[self.look.__module__].__doc__ or ""
        found = re.search(r"lesson (\w+)", about)
        return found[1] if found else ""


def exercise(answer: Callable, where: str):
    """Register the decorated check. Its name is the name of the function that the learner writes.

    Args:
        answer: The reference solution.
        where: Where the library has it, such as "oatlib.attacks.geometry.project".

    Returns:
        A decorator, which returns the check unchanged. It raises a ValueError if another lesson has
        an exercise of that name: `my_oatlib.py` keeps one answer for a name.
    """

    def register(look: Callable) -> Callable:
        known = EXERCISES.get(look.__name__)
        if known and known.look.__module__ != look.__module__:
            raise ValueError(
                f"{look.__name__!r} is an exercise of {known.look.__module__}: choose another name"
            )
        EXERCISES[look.__name__] = Exercise(look, answer, where)
        return look

    return register


def check(theirs: Callable) -> Callable:
    """Check an answer, and display the verdict. Keep the source of a right one in `my_oatlib.py`.

    Args:
        theirs: The function or class of the learner. Its name selects the exercise.

    Returns:
        The answer of the learner if it is right, else the reference solution, so that the lesson
        can continue.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    name = theirs.__name__
    given = find(name)
    mistake, note = _judged(theirs, given)
    _remember(name, given, mistake)
    if mistake is None:
        _show("right", name, f"right. {note}{_kept(name, given)}The library has it as", given.where)
        return theirs
    if mistake == "":
        _show(
            "open",
            name,
            "not solved yet. The lesson goes on with the library's version, see",
            given.where,
        )
    else:
        _show(
            "wrong",
            name,
            f"{mistake} The lesson goes on with the library's version, see",
            given.where,
        )
    return given.answer


def mine(name: str, folder: Path | str = ".") -> Callable:
    """Return what the learner built in an earlier lesson, and say whose code it is.

    The code comes from `my_oatlib.py`. It is checked again before it is used.

    Args:
        name: Name of the exercise.
        folder: Folder of the file.

    Returns:
        The answer of the learner, or the reference solution if the file has none that is right.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    given = find(name)
    try:
        section = next((part for part in keeping.sections(folder) if part.name == name), None)
        if section is None or section.about == keeping.BORROWED:
            reason = f"oatlib's version, because {keeping.FILE} has none yet. You write it in"
            _show("open", name, reason, f"lesson {given.lesson}")
            return given.answer
        _show("right", name, f"your code of {section.about}. This runs", keeping.FILE)
        theirs = keeping.run(folder)[name]
    except keeping.NotKept as error:
        _show(
            "wrong",
            name,
            f"{error} The lesson goes on with the library's version, see",
            given.where,
        )
        return given.answer
    mistake, _ = _judged(theirs, given)
    if mistake is None:
        return theirs
    reason = mistake or "it raises NotImplementedError."
    _show(
        "wrong",
        name,
        f"in {keeping.FILE}: {reason} The lesson goes on with the library's version, see",
        given.where,
    )
    return given.answer


def verdict(theirs: Callable) -> str | None:
    """Check an answer, and display and keep nothing.

    Args:
        theirs: The function or class of the learner. Its name selects the exercise.

    Returns:
        None if the answer is right, "" if it still raises NotImplementedError, else a sentence
        about the mistake.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    return _judged(theirs, find(theirs.__name__))[0]


def _judged(theirs: Callable, given: Exercise) -> tuple[str | None, str]:
    """Return the verdict, and a sentence about a right answer (or "")."""
    try:
        note = given.look(theirs)
    except NotImplementedError:
        return "", ""
    except Wrong as mistake:
        return str(mistake), ""
    except Exception as error:  # raised by the learner's code, or because of its result
        return f"it stopped with {type(error).__name__}: {error}.", ""
    return None, f"{note} " if note else ""


def _library() -> dict[str, str]:
    """Return the line that imports each reference solution, for answers that use an open one."""
    find_all()
    line = "from oatlib.course.exercises import find\n\n{0} = find({0!r}).answer"
    return {name: line.format(name) for name in EXERCISES}


def _kept(name: str, given: Exercise) -> str:
    """Keep a right answer. Return a sentence about that, or "" outside a notebook."""
    cells = keeping.notebook_cells()
    if not cells:
        return ""
    try:
        path = keeping.keep(name, given.lesson, cells, library=_library())
    except keeping.NotKept as error:
        return f"It is not kept for later lessons: {error} "
    return f"Kept in {path.name}. "


def _remember(name: str, given: Exercise, mistake: str | None) -> None:
    """Note a verdict in `my_progress.json`, unless the exercise is open or no notebook runs."""
    source = None if mistake == "" else keeping.definition(name, keeping.notebook_cells())
    if source is None:
        return
    try:
        progress.note_check(given.lesson, name, source, mistake or progress.RIGHT)
    except RecordError as error:
        print(error)


# state: (mark, colour of the border)
_STATES = {"right": ("✓", "#00845f"), "open": ("○", "#767b80"), "wrong": ("✗", "#d55e00")}


def _show(state: str, name: str, text: str, where: str) -> None:
    """Display one sentence about an answer."""
    mark, colour = _STATES[state]
    as_html = (
        f'<div role="status" style="border-left: 4px solid {colour}; padding: 2px 10px; '
        f'overflow-wrap: anywhere"><b>{mark} {escape(name)}</b>: {escape(text)} '
        f"<code>{where}</code>.</div>"
    )
    as_text = fill(f"{mark} {name}: {text} {where}.", 100)  # for a terminal
    display({"text/html": as_html, "text/plain": as_text}, raw=True)


def find_all() -> None:
    """Import the modules of all lessons, so that `EXERCISES` is complete."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)


def find(name: str) -> Exercise:
    """Return the exercise with a given name.

    Args:
        name: Name of the function that the learner writes.

    Raises:
        ValueError: If there is no such exercise.
    """
    find_all()
    if name not in EXERCISES:
        raise ValueError(
            f"there is no exercise {name!r}: keep the name of the function; "
            f"{', '.join(sorted(EXERCISES))}"
        )
    return EXERCISES[name]


def same(got, want: torch.Tensor, mistake: str, tolerance: float = 1e-5) -> None:
    """Compare a result with the expected tensor.

    Args:
        got: The result of the learner's function, of any type.
        want: The expected tensor.
        mistake: The message if the values differ.
        tolerance: Absolute and relative tolerance.

    Raises:
        Wrong: If `got` is no tensor, or differs from `want` in shape or values.
    """
    if not isinstance(got, torch.Tensor):
        raise Wrong(
            "it should return a tensor, but returns "
            f"{'nothing' if got is None else type(got).__name__}."
        )
    if got.shape != want.shape:
        raise Wrong(
            f"it should return a tensor of shape {tuple(want.shape)}, but returns "
            f"{tuple(got.shape)}."
        )
    if not torch.allclose(got.to(want.dtype), want, atol=tolerance, rtol=tolerance):
        raise Wrong(mistake)
