"""Every stub and some typical wrong answers fail the check of their exercise, each with its own message.

That every solution passes is tested in test_learners.py, where all of them run in a notebook: to run them here,
too, took a minute.
"""

import importlib
import itertools
import math
import re
import statistics

import jupytext
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from authoring import lessons
from oatlib.course import exercises
from oatlib.course.dials import SHARES, plain_mix
from oatlib.course.exercises import oat
from oatlib.course.exercises.reruns import name_of
from oatlib.course.seeds import T95

SOURCES = list(lessons.sources().values())
NAMES = {"torch": torch, "F": F, "nn": nn, "math": math, "np": np, "oatlib": oatlib}  # what an answer may use
NAMES |= {"itertools": itertools, "fmean": statistics.fmean, "stdev": statistics.stdev}
NAMES |= {"T95": T95, "name_of": name_of}
# a sentence may come before the code
SOLUTION = re.compile(r"<summary>Solution</summary>(?:(?!</details>).)*?```python\n(.*?)```", re.DOTALL)


def function(code):
    """The name of the function or class that some code defines last."""
    return re.findall(r"^(?:def|class) (\w+)[(:]", code, re.MULTILINE)[-1]


def answer(code):
    """What some code defines. It may use the solutions of other exercises, as in a notebook."""
    exercises.find("project")  # registers all of them
    names = NAMES | {name: given.answer for name, given in exercises.EXERCISES.items()}
    exec(compile(code, "answer", "exec"), names)
    return names[function(code)]


def course():
    """[(lesson, exercise, stub, solution)]"""
    for source in SOURCES:
        cells = jupytext.read(source).cells
        solutions = [code for cell in cells for code in SOLUTION.findall(cell.source)]
        for cell in cells:
            if "exercise" in cell.metadata.get("tags", ()):
                name = function(cell.source)
                (solution,) = [code for code in solutions if function(code) == name]
                yield source.stem, name, cell.source, solution


COURSE = list(course())


def wrong_answers(lesson):
    """{exercise: [(code, what the message says)]}"""
    return importlib.import_module(f"tests.notebooks.wrong.{lesson.split('_', 1)[1]}").WRONG


@pytest.mark.parametrize("lesson, name, stub, solution", COURSE, ids=[f"{c[0]}-{c[1]}" for c in COURSE])
def test_stubs_and_wrong_answers_fail(lesson, name, stub, solution):
    assert exercises.verdict(answer(stub)) == "", "the stub should raise NotImplementedError"
    found = wrong_answers(lesson)[name]
    messages = [exercises.verdict(answer(code)) for code, _ in found]
    assert found and None not in messages and "" not in messages
    for (_, pattern), message in zip(found, messages, strict=True):
        assert re.search(pattern, message), message
    assert len(set(messages)) == len(messages), "two mistakes, one message"


@pytest.mark.parametrize("lesson, name, stub, solution", COURSE, ids=[f"{c[0]}-{c[1]}" for c in COURSE])
def test_the_librarys_version_passes_too(lesson, name, stub, solution):
    given = exercises.find(name)
    given.look(given.answer)
    module, _, last = given.where.split(" and ")[0].rpartition(".")
    holder = oatlib if module == "oatlib" else importlib.import_module(module)
    assert hasattr(holder, last), f"there is no {given.where}"


def test_every_exercise_belongs_to_one_lesson():
    exercises.find(COURSE[0][1])
    assert sorted(name for _, name, _, _ in COURSE) == sorted(exercises.EXERCISES)


def test_the_recorded_mixes_that_a_dial_must_beat_are_those_that_are_measured_here():
    """The check reads them from a record. The ends, which make the coin, and one between them are measured again."""
    standard, robust, _ = oat._two_networks()
    between = SHARES.index(0.76)
    measured = oat._measured([standard, plain_mix(SHARES[between], standard, robust), robust])
    recorded = oat._recorded_mixes()
    for (clean, held), mix in zip(measured, (0, between, -1), strict=True):
        assert clean == pytest.approx(recorded[mix][0], abs=1.5 / oat.N_DIAL)
        assert held == pytest.approx(recorded[mix][1], abs=1.5 / oat.N_DIAL)


def test_an_unknown_name_is_told_about():
    def projekt(x):
        return x

    with pytest.raises(ValueError, match="no exercise 'projekt'.*project"):
        exercises.check(projekt)


def test_check_goes_on_with_what_works(capsys):
    def project(x_adv, x, eps):
        raise NotImplementedError

    kept = exercises.check(project)
    assert kept is exercises.find("project").answer
    right = answer("def project(x_adv, x, eps):\n    return (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)")
    assert exercises.check(right) is right


def test_a_verdict_wraps_in_a_notebook_and_in_a_terminal(monkeypatch):
    def project(x_adv, x, eps):
        raise ValueError("<b> and " + "many words " * 30 + "x" * 300)

    shown = []
    monkeypatch.setattr(exercises, "display", lambda data, raw: shown.append(data))
    exercises.check(project)
    assert "overflow-wrap: anywhere" in shown[0]["text/html"] and "&lt;b&gt; and" in shown[0]["text/html"]
    lines = shown[0]["text/plain"].splitlines()
    assert lines[0].startswith("✗ project: it stopped with ValueError: <b> and many") and max(map(len, lines)) <= 100


def test_errors_of_an_answer_are_part_of_the_verdict():
    def project(x_adv, x, eps):
        return x_adv @ None

    assert "it stopped with TypeError" in exercises.verdict(project)
    assert "returns nothing" in exercises.verdict(answer("def project(x_adv, x, eps):\n    pass"))
    assert "shape" in exercises.verdict(answer("def project(x_adv, x, eps):\n    return x_adv[:1]"))
