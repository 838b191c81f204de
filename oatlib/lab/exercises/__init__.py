"""Exercises that check themselves: a verdict with the specific mistake, and the lesson goes on either way.

Each lesson has a module here, in which a function decorated with `exercise` looks at the learner's one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import torch
from IPython.display import HTML, display

EXERCISES: dict[str, Exercise] = {}


class Wrong(Exception):
    """What is wrong with an answer, in a sentence for the learner."""


@dataclass(frozen=True)
class Exercise:
    """`look(theirs)` raises Wrong; `answer` is the library's version, `where` it is to be found there."""

    look: Callable[[Callable], None]
    answer: Callable
    where: str


def exercise(answer: Callable, where: str):
    """Register the decorated check under its name, which is the name of the function that the learner writes."""

    def register(look: Callable) -> Callable:
        EXERCISES[look.__name__] = Exercise(look, answer, where)
        return look

    return register


def check(theirs: Callable) -> Callable:
    """Look at an answer and say what is wrong with it. Returns it if it is right, else the library's version."""
    given = find(theirs.__name__)
    mark, colour, text = "✓", "#00845f", f"right. The library has it as <code>{given.where}</code>."
    mistake = verdict(theirs)
    if mistake is not None:
        mark, colour = ("○", "#767b80") if mistake == "" else ("✗", "#d55e00")
        text = escape(mistake) or "not solved yet."
        text += f" The lesson goes on with <code>{given.where}</code>."
    display(HTML(
        f'<div role="status" style="border-left: 4px solid {colour}; padding: 2px 10px">'
        f"<b>{mark} {escape(theirs.__name__)}</b>: {text}</div>"
    ))  # fmt: skip
    return theirs if mistake is None else given.answer


def verdict(theirs: Callable) -> str | None:
    """None if the answer is right, "" if it is still the stub, else what is wrong."""
    try:
        find(theirs.__name__).look(theirs)
    except NotImplementedError:
        return ""
    except Wrong as mistake:
        return str(mistake)
    except Exception as error:  # of the learner's code, or of what it returned
        return f"it stopped with {type(error).__name__}: {error}."
    return None


def find(name: str) -> Exercise:
    """The exercise of that name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    if name not in EXERCISES:
        raise ValueError(
            f"there is no exercise {name!r}: keep the name of the function; {', '.join(sorted(EXERCISES))}"
        )
    return EXERCISES[name]


def same(got, want: torch.Tensor, mistake: str, tolerance: float = 1e-5) -> None:
    """Raise Wrong with `mistake` unless `got` is a tensor like `want`."""
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"it should return a tensor, but returns {'nothing' if got is None else type(got).__name__}.")
    if got.shape != want.shape:
        raise Wrong(f"it should return a tensor of shape {tuple(want.shape)}, but returns {tuple(got.shape)}.")
    if not torch.allclose(got.to(want.dtype), want, atol=tolerance, rtol=tolerance):
        raise Wrong(mistake)
