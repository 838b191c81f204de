"""Copy the lessons and their glossary to a folder where the user can open and change them."""

from __future__ import annotations

import shutil
from pathlib import Path

from .._bundled import bundled

GLOSSARY = "GLOSSARY.md"


def copy_lessons(folder: str | Path) -> list[Path]:
    """Copy all lessons and their glossary to a folder. No file is overwritten.

    Args:
        folder: The folder to copy to. It is created if it does not exist.

    Returns:
        Paths of the copied lessons, in the order of the course.

    Raises:
        ValueError: If `folder` is a file, if it contains one of the lessons already, or if the
            lessons are missing in this installation.
    """
    folder = Path(folder)
    lessons = sorted(bundled("notebooks").glob("[0-9]*.ipynb"))
    if not lessons:
        raise ValueError(f"there are no lessons in {bundled('notebooks')}: install oatlib again")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder")
    files = [*lessons, bundled("notebooks") / GLOSSARY]
    existing = [file.name for file in files if (folder / file.name).exists()]
    if existing:
        raise ValueError(
            f"{folder} already contains {', '.join(existing)}: choose another folder, or move "
            "these files away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return [folder / lesson.name for lesson in lessons]
