"""Report on a class: who solved which exercise, and what was guessed.

`read_class` reads a folder with what learners handed in; `oatlib class FOLDER` prints the report.
Three kinds of files are read, and nothing in them is run:

* notebooks with the output of their last cell, `lesson.finish(...)`
* the JSON files that `oatlib rerun` writes
* `my_progress.json`, which is always up to date

Files of one learner lie in a folder of their own, FOLDER/ada/01_attack.ipynb, or have the name of
the learner in their name, FOLDER/01_attack_ada.ipynb.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from .. import record
from .._bundled import bundled
from . import progress
from .exercises import EXERCISES, find_all
from .lesson import RECORD

BINS = 10  # of a histogram of guesses
BAR = 24  # characters of the longest bar, in text
BIGGEST = 50_000_000  # bytes of a file that is read
MOST_MISTAKES = 3  # shown for an exercise
LEGEND = "✓2: solved with the second answer, ✗3: three wrong answers, ·: open"


@dataclass
class Learner:
    """What one learner did.

    Attributes:
        name: Name of the learner, from the names of files and folders.
        lessons: {number of the lesson: {"guesses": ..., "checks": ...}}, see `progress`.
    """

    name: str
    lessons: dict[str, dict] = field(default_factory=dict)

    def add(self, number: str, lesson: Mapping) -> None:
        """Add what another file says. Of two guesses for a question the first one counts.

        Args:
            number: Number of the lesson.
            lesson: Its part, as `progress.lesson_of` returns it.
        """
        own = self.lessons.setdefault(number, {"guesses": {}, "checks": {}})
        for key, entry in lesson["guesses"].items():
            known = own["guesses"].setdefault(key, dict(entry))
            for part in ("guess", "answer"):
                if known.get(part) is None:
                    known[part] = entry.get(part)
        for name, entries in lesson["checks"].items():
            answers = own["checks"].setdefault(name, [])
            answers += [entry for entry in entries if entry not in answers]

    def attempts(self, number: str, exercise: str) -> tuple[bool, int]:
        """Return whether an exercise is solved, and how many answers it took so far.

        Args:
            number: Number of the lesson.
            exercise: Name of the exercise.
        """
        checks = self.lessons.get(number, {}).get("checks", {})
        verdicts = [entry["verdict"] for entry in checks.get(exercise, [])]
        if progress.RIGHT in verdicts:
            return True, verdicts.index(progress.RIGHT) + 1
        return False, len(verdicts)


@dataclass(frozen=True)
class Question:
    """A question to the class, with all guesses.

    Attributes:
        lesson: Number of the lesson.
        text: The question, without markup.
        unit: Unit of the numbers.
        labels: One per bar of the histogram: an option, or a range of numbers.
        counts: How many learners chose it.
        answer: What was measured, as text; "" if no file says it.
        right: Index of the bar that holds the answer; None if it is not known.
    """

    lesson: str
    text: str
    unit: str
    labels: list[str]
    counts: list[int]
    answer: str
    right: int | None


@dataclass(frozen=True)
class ClassReport:
    """What `read_class` found.

    Attributes:
        learners: The learners, by name.
        skipped: One line for each file that could not be used.
    """

    learners: list[Learner]
    skipped: list[str]

    @property
    def numbers(self) -> list[str]:
        """Numbers of the lessons that any learner worked on, in their order."""
        used = {
            n
            for learner in self.learners
            for n, part in learner.lessons.items()
            if any(part.values())
        }
        return sorted(used)

    def exercises(self, number: str) -> list[str]:
        """Return the exercises of a lesson in their order, then others that files name.

        Args:
            number: Number of the lesson.
        """
        find_all()
        names = [name for name, exercise in EXERCISES.items() if exercise.lesson == number]
        names.sort(key=_places_in_lesson(number).get)
        for learner in self.learners:
            checks = learner.lessons.get(number, {}).get("checks", {})
            names += [name for name in checks if name not in names]
        return names

    def mistakes(self, number: str, exercise: str) -> list[tuple[str, int]]:
        """Return the most frequent mistakes with the number of learners who made them.

        Args:
            number: Number of the lesson.
            exercise: Name of the exercise.
        """
        found: Counter = Counter()
        for learner in self.learners:
            entries = learner.lessons.get(number, {}).get("checks", {}).get(exercise, [])
            found.update({entry["verdict"] for entry in entries} - {progress.RIGHT})
        return found.most_common(MOST_MISTAKES)

    def questions(self, number: str) -> list[Question]:
        """Return the questions of a lesson for which there is a guess.

        Args:
            number: Number of the lesson.
        """
        entries: dict[str, list[dict]] = {}
        for learner in self.learners:
            for entry in learner.lessons.get(number, {}).get("guesses", {}).values():
                entries.setdefault(entry["question"], []).append(entry)
        found = [_question(number, text, group) for text, group in entries.items()]
        return [question for question in found if question is not None]

    def __str__(self) -> str:
        blocks = [f"{len(self.learners)} learners: {', '.join(x.name for x in self.learners)}"]
        for number in self.numbers:
            blocks += [_lesson_text(self, number)]
        if self.skipped:
            blocks += ["\n".join(["Not used:", *(f"  {line}" for line in self.skipped)])]
        return "\n\n".join(blocks)

    def html(self) -> str:
        """Return the report as one page that needs no other file."""
        names = ", ".join(html.escape(learner.name) for learner in self.learners)
        parts = [f"<h1>Class report</h1><p>{len(self.learners)} learners: {names}</p>"]
        parts += [_lesson_html(self, number) for number in self.numbers]
        if self.skipped:
            lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.skipped)
            parts.append(f"<h2>Not used</h2><ul>{lines}</ul>")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>Class report</title><style>{STYLE}</style></head><body>{''.join(parts)}"
            "</body></html>\n"
        )

    def save(self, path) -> None:
        """Write the report as a web page.

        Args:
            path: File to write. Its folder must exist.

        Raises:
            RecordError: The file cannot be written there.
        """
        record.write_bytes(path, self.html().encode())


def read_class(folder: Path | str) -> ClassReport:
    """Read what learners handed in.

    Args:
        folder: The folder. Its folders are read, too; hidden ones are not.

    Returns:
        The report.

    Raises:
        ValueError: If there is no such folder, or if no file in it can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the folder with what learners handed in")
    learners: dict[str, Learner] = {}
    skipped = []
    paths = [
        p for p in sorted(folder.rglob("*")) if p.suffix in (".ipynb", ".json") and p.is_file()
    ]
    paths = [
        p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    for path in paths:
        place = path.relative_to(folder)
        try:
            lessons = _lessons_in(path)
        except ValueError as error:
            skipped.append(f"{place}: {error}")
            continue
        name = _learner_of(place)
        learner = learners.setdefault(name, Learner(name))
        for number, lesson in lessons.items():
            learner.add(number, lesson)
    if not learners:
        lines = "".join(f"\n  {line}" for line in skipped)
        raise ValueError(
            f"{folder} holds no notebook, record or {progress.FILE} of a learner: expected "
            f"{folder / 'ada' / '01_attack.ipynb'} or the like{lines}"
        )
    return ClassReport([learners[name] for name in sorted(learners)], skipped)


def _lessons_in(path: Path) -> dict[str, dict]:
    """Return what a file says, by number of lesson. Raise a ValueError if it says nothing."""
    if path.is_symlink():  # it may lead to a file of another person
        raise ValueError("it is a link, not a file")
    if path.stat().st_size > BIGGEST:
        raise ValueError(f"it is larger than {BIGGEST // 1_000_000} MB")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if path.name == progress.FILE:
        return progress.parsed(path.read_bytes())
    records = list(_records(content)) if path.suffix == ".ipynb" else [content]
    if not records:
        raise ValueError("its last cell was not run, or the notebook was not saved after that")
    written = records[-1]
    if not isinstance(written, dict) or not isinstance(written.get("lesson"), str):
        raise ValueError("it is no record of a lesson")
    if "learner" not in written:
        raise ValueError("it was written by an older oatlib, which kept no guesses and no checks")
    number = written["lesson"].partition("_")[0]
    return {number: progress.lesson_of(written["learner"]) or {"guesses": {}, "checks": {}}}


def _records(notebook: Any) -> Iterable[dict]:
    """Yield the records among the outputs of a notebook."""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            data = output.get("data") if isinstance(output, dict) else None
            if isinstance(data, dict) and RECORD in data:
                yield data[RECORD]


def _learner_of(place: Path) -> str:
    """Return the name of a learner, from the path of a file below the folder of the class."""
    if len(place.parts) > 1:
        return place.parts[0]
    if place.name == progress.FILE:
        return "(no name)"
    lessons = sorted((p.stem for p in bundled("notebooks").glob("*.ipynb")), key=len, reverse=True)
    lesson = next((name for name in lessons if name in place.stem), "")
    rest = place.stem.replace(lesson, "", 1) if lesson else place.stem
    return re.sub(r"^[\W_]+|[\W_]+$", "", rest) or "(no name)"


def _places_in_lesson(number: str) -> Counter:
    """Return where the notebook of a lesson names its exercises; 0 for others."""
    found: Counter = Counter()
    for path in bundled("notebooks").glob(f"{number}_*.ipynb"):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"### Exercise: (\w+)", text):
            found[match[1]] = match.start()
    return found


def _question(number: str, text: str, entries: Sequence[Mapping]) -> Question | None:
    """Return the histogram of the guesses for one question; None without any guess."""
    guesses = [entry.get("guess") for entry in entries if entry.get("guess") is not None]
    answers = [entry.get("answer") for entry in entries if entry.get("answer") is not None]
    first = entries[0]
    unit = str(first.get("unit", ""))
    plain = " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())
    options = first.get("options")
    if isinstance(options, list):
        labels = [str(option) for option in options]
        counts = [sum(str(guess) == label for guess in guesses) for label in labels]
        answer = str(answers[0]) if answers else ""
        right = labels.index(answer) if answer in labels else None
    else:
        low, high = _number(first.get("low")), _number(first.get("high"))
        if low is None or high is None or low >= high:
            return None
        edges = [low + (high - low) * i / BINS for i in range(BINS + 1)]
        labels = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges)]
        places = [
            _bin(value, low, high) for guess in guesses if (value := _number(guess)) is not None
        ]
        counts = [places.count(index) for index in range(BINS)]
        measured = _number(answers[0]) if answers else None
        answer = "" if measured is None else f"{measured:.3g} {unit}".strip()
        right = None if measured is None else _bin(measured, low, high)
    if not sum(counts):
        return None
    return Question(number, plain, unit, labels, counts, answer, right)


def _number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _bin(value: float, low: float, high: float) -> int:
    """Return the index of the bar of a number; numbers outside go to the first or last one."""
    return max(0, min(BINS - 1, int((value - low) / (high - low) * BINS)))


def _cell(solved: bool, attempts: int) -> str:
    """Return the state of an exercise in a few characters: ✓2, ✗3 or ·."""
    if attempts == 0:
        return "·"
    return f"{'✓' if solved else '✗'}{attempts}"


def _lesson_text(report: ClassReport, number: str) -> str:
    exercises = report.exercises(number)
    width = max(len(name) for name in ["learner", *(x.name for x in report.learners)])
    lines = [f"Lesson {number}   ({LEGEND})"]
    lines.append("  ".join(["", f"{'learner':<{width}}", *exercises]))
    for learner in report.learners:
        states = [f"{_cell(*learner.attempts(number, name)):<{len(name)}}" for name in exercises]
        lines.append("  ".join(["", f"{learner.name:<{width}}", *states]).rstrip())
    for name in exercises:
        for mistake, count in report.mistakes(number, name):
            lines.append(f"  {name}, {count}x: {mistake}")
    for question in report.questions(number):
        lines += ["", *_histogram_text(question)]
    return "\n".join(lines)


def _histogram_text(question: Question) -> list[str]:
    width = max(len(label) for label in question.labels)
    longest = max(question.counts)
    lines = [f"  {question.text}{f' [{question.unit}]' if question.unit else ''}"]
    for index, (label, count) in enumerate(zip(question.labels, question.counts, strict=True)):
        mark = f"  <- measured: {question.answer}" if index == question.right else ""
        bar = "█" * round(BAR * count / longest)
        lines.append(f"    {label:>{width}}  {bar}{' ' if bar else ''}{count or '·'}{mark}")
    if question.answer and question.right is None:
        lines.append(f"    measured: {question.answer}")
    return lines


STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse }
th, td { border: 1px solid #8886; padding: .2em .6em; text-align: center }
th:first-child, td:first-child { text-align: left }
.right { background: #00845f33 } .wrong { background: #d55e0033 }
.scroll { overflow-x: auto } .note { opacity: .75 }
figure { margin: 1.5em 0 } figcaption { font-weight: 600 }
.bar { display: grid; grid-template-columns: minmax(6em, 16em) 1fr; gap: .6em; align-items: center }
.bar span:first-child { text-align: right }
.bar i { display: inline-block; height: .9em; background: #0072b2 }
.bar.answer span:first-child { font-weight: 700 }
"""


def _lesson_html(report: ClassReport, number: str) -> str:
    exercises = report.exercises(number)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in exercises)
    rows = []
    for learner in report.learners:
        cells = []
        for name in exercises:
            solved, attempts = learner.attempts(number, name)
            kind = "" if attempts == 0 else ' class="right"' if solved else ' class="wrong"'
            cells.append(f"<td{kind}>{_cell(solved, attempts)}</td>")
        rows.append(f"<tr><td>{html.escape(learner.name)}</td>{''.join(cells)}</tr>")
    mistakes = [
        f"<li><code>{html.escape(name)}</code>, {count}×: {html.escape(mistake)}</li>"
        for name in exercises
        for mistake, count in report.mistakes(number, name)
    ]
    parts = [
        f"<h2>Lesson {html.escape(number)}</h2>",
        f'<div class="scroll"><table><tr><th>learner</th>{head}</tr>{"".join(rows)}</table></div>',
        f'<p class="note">{LEGEND}</p>',
        f"<h3>Most frequent mistakes</h3><ul>{''.join(mistakes)}</ul>" if mistakes else "",
    ]
    parts += [_histogram_html(question) for question in report.questions(number)]
    return "".join(parts)


def _histogram_html(question: Question) -> str:
    longest = max(question.counts)
    bars = []
    for index, (label, count) in enumerate(zip(question.labels, question.counts, strict=True)):
        is_answer = index == question.right
        mark = " ← measured" if is_answer else ""
        width = 80 * count / longest
        bars.append(
            f'<div class="bar{" answer" if is_answer else ""}"><span>{html.escape(label)}</span>'
            f'<span><i style="width:{width:.0f}%"></i> {count}{mark}</span></div>'
        )
    answer = f"<p>Measured: {html.escape(question.answer)}</p>" if question.answer else ""
    unit = f" [{html.escape(question.unit)}]" if question.unit else ""
    return (
        f"<figure><figcaption>{html.escape(question.text)}{unit}</figcaption>{''.join(bars)}{answer}"
        "</figure>"
    )
