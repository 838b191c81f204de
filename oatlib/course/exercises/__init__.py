"""Exercises that check themselves, and tell the learner which mistake was made.

The lesson continues either way. Each lesson has a module here. For each exercise it holds a
check: a function decorated with `exercise`, which runs the function of the learner. The docstring
of a check is the signature of that function, "arguments -> result".
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from textwrap import fill

import torch
from IPython.display import display

EXERCISES: dict[str, Exercise] = {}


class Wrong(Exception):
    """An answer is wrong. The message is a sentence for the learner."""


@dataclass(frozen=True)
class Exercise:
    """A registered exercise.

    Attributes:
        look: Check of an answer. It takes the function of the learner and raises Wrong if that is
            wrong.
        answer: The reference solution, with the same signature.
        where: Where the library has it, such as "oatlib.attacks.geometry.project".
    """

    look: Callable[[Callable], None]
    answer: Callable
    where: str


def exercise(answer: Callable, where: str):
    """Register the decorated check. Its name is the name of the function that the learner writes.

    Args:
        answer: The reference solution.
        where: Where the library has it, such as "oatlib.attacks.geometry.project".

    Returns:
        A decorator, which returns the check unchanged.
    """

    def register(look: Callable) -> Callable:
        EXERCISES[look.__name__] = Exercise(look, answer, where)
        return look

    return register


def check(theirs: Callable) -> Callable:
    """Check an answer, and display the verdict.

    Args:
        theirs: The function of the learner. Its name selects the exercise.

    Returns:
        The function of the learner if it is right, else the reference solution, so that the lesson
        can continue.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    given = find(theirs.__name__)
    mistake = verdict(theirs)
    if mistake is None:
        mark, colour, text = "✓", "#00845f", "right. The library has it as"
    elif mistake == "":
        mark, colour, text = "○", "#767b80", "not solved yet. The lesson goes on with"
    else:
        mark, colour, text = "✗", "#d55e00", f"{mistake} The lesson goes on with"
    name = theirs.__name__
    as_html = (
        f'<div role="status" style="border-left: 4px solid {colour}; padding: 2px 10px; '
        f'overflow-wrap: anywhere"><b>{mark} {escape(name)}</b>: {escape(text)} '
        f"<code>{given.where}</code>.</div>"
    )
    as_text = fill(f"{mark} {name}: {text} {given.where}.", 100)  # for a terminal
    display({"text/html": as_html, "text/plain": as_text}, raw=True)
    return theirs if mistake is None else given.answer


def verdict(theirs: Callable) -> str | None:
    """Check an answer, and display nothing.

    Args:
        theirs: The function of the learner. Its name selects the exercise.

    Returns:
        None if the answer is right, "" if it still raises NotImplementedError, else a sentence
        about the mistake.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    try:
        find(theirs.__name__).look(theirs)
    except NotImplementedError:
        return ""
    except Wrong as mistake:
        return str(mistake)
    except Exception as error:  # raised by the learner's code, or because of its result
        return f"it stopped with {type(error).__name__}: {error}."
    return None


def find(name: str) -> Exercise:
    """Return the exercise with a given name.

    Args:
        name: Name of the function that the learner writes.

    Raises:
        ValueError: If there is no such exercise.
    """
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
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
