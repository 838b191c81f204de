"""Copy the lessons into a folder of the user, where they can be opened and changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from .._bundled import bundled


def copy_lessons(folder: str | Path) -> list[Path]:
    """Copy all lessons into a folder. Nothing is overwritten.

    Args:
        folder: Where to. It is made if it does not exist.

    Returns:
        The new files, in the order of the lessons.

    Raises:
        ValueError: If `folder` is a file, if it holds a lesson already, or if there are no lessons.
    """
    folder, lessons = Path(folder), sorted(bundled("notebooks").glob("[0-9]*.ipynb"))
    if not lessons:
        raise ValueError(f"there are no lessons in {bundled('notebooks')}: install oatlib again")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder")
    if there := [lesson.name for lesson in lessons if (folder / lesson.name).exists()]:
        raise ValueError(f"{folder} holds {', '.join(there)} already: name another folder, or move them away")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(lesson, folder / lesson.name)) for lesson in lessons]
