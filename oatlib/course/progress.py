"""Remember what a learner did: the file `my_progress.json` beside the notebooks.

It holds, for each lesson, the guesses that were kept and the answers that were checked. A notebook
that is opened again shows the guesses, and `oatlib class` reports them for a whole class. The file
holds no code: accepted code is in `my_oatlib.py`, see `keeping`.

    {"01": {"guesses": {"left": {"question": "...", "guess": 40.0, "answer": 12.3, ...}},
            "checks": {"pgd": [{"answer": "5feceb66", "verdict": "The projection ..."},
                               {"answer": "6b86b273", "verdict": "right"}]}}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..record import RecordError, write_bytes

FILE = "my_progress.json"
RIGHT = "right"  # verdict of an accepted answer
MOST = 100  # answers that are remembered for one exercise, the newest


def read(folder: Path | str = ".") -> dict[str, dict]:
    """Return the content of the file by number of lesson; empty if there is no file.

    Args:
        folder: Folder of the file.

    Raises:
        RecordError: If the file cannot be read.
    """
    path = Path(folder, FILE)
    if not path.exists():
        return {}
    try:
        return parsed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} cannot be read ({error}). Delete it, or put back a copy of it."
        ) from None


def parsed(content: bytes) -> dict[str, dict]:
    """Return the lessons in the bytes of such a file, without what does not belong there.

    Args:
        content: The bytes.

    Raises:
        ValueError: If this is no such file.
    """
    lessons = json.loads(content)
    if not isinstance(lessons, dict):
        raise ValueError("expected lessons by number")
    return {number: part for number, lesson in lessons.items() if (part := lesson_of(lesson))}


def lesson_of(lesson: Any) -> dict[str, dict]:
    """Return the part of one lesson, without entries of an unexpected form.

    Args:
        lesson: What a file holds for a lesson; it may have been edited.

    Returns:
        {"guesses": {key: entry}, "checks": {exercise: [entry, ...]}}, or {} if there is neither.
    """
    if not isinstance(lesson, dict):
        return {}
    guesses, checks = lesson.get("guesses"), lesson.get("checks")
    kept_guesses = {
        key: entry
        for key, entry in (guesses.items() if isinstance(guesses, dict) else ())
        if isinstance(entry, dict) and isinstance(entry.get("question"), str)
    }
    kept_checks = {}
    for name, entries in checks.items() if isinstance(checks, dict) else ():
        entries = entries if isinstance(entries, list) else []
        valid = [e for e in entries if isinstance(e, dict) and isinstance(e.get("verdict"), str)]
        if valid:
            kept_checks[name] = valid
    if not kept_guesses and not kept_checks:
        return {}
    return {"guesses": kept_guesses, "checks": kept_checks}


def note_guess(lesson: str, key: str, entry: dict, folder: Path | str = ".") -> None:
    """Write a guess to the file.

    Args:
        lesson: Number of the lesson, such as "01".
        key: Name of the guess in its lesson.
        entry: The question, the guess, and what else is known of it, ready for JSON.
        folder: Folder of the file.

    Raises:
        RecordError: If the file cannot be read or written.
    """

    def change(part: dict) -> None:
        part["guesses"][key] = entry

    _change(lesson, change, folder)


def note_check(
    lesson: str, exercise: str, source: str, verdict: str, folder: Path | str = "."
) -> None:
    """Write a checked answer to the file. The same answer again changes nothing.

    Args:
        lesson: Number of the lesson, such as "01".
        exercise: Name of the exercise.
        source: Source of the answer. Only its hash is kept.
        verdict: RIGHT, or the sentence about the mistake.
        folder: Folder of the file.

    Raises:
        RecordError: If the file cannot be read or written.
    """
    entry = {"answer": hashlib.sha256(source.encode()).hexdigest()[:8], "verdict": verdict}

    def change(part: dict) -> None:
        entries = part["checks"].setdefault(exercise, [])
        if entry not in entries:
            entries.append(entry)
        del entries[:-MOST]

    _change(lesson, change, folder)


def _change(lesson: str, change: Callable[[dict], None], folder: Path | str) -> None:
    lessons = read(folder)
    part = lessons.setdefault(lesson, {"guesses": {}, "checks": {}})
    before = json.dumps(part)
    change(part)
    if json.dumps(part) == before:
        return
    content = json.dumps(lessons, indent=1, ensure_ascii=False) + "\n"
    try:
        write_bytes(Path(folder, FILE), content.encode())
    except OSError as error:
        raise RecordError(f"{FILE} cannot be written: {error}") from None
