"""Copy the lessons and their glossary into a folder of the user, where they can be opened and
changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .._bundled import bundled

GLOSSARY = "GLOSSARY.md"


def copy_lessons(folder: str | Path) -> list[Path]:
    """Copy all lessons, and their glossary, into a folder. Nothing is overwritten.

    Args:
        folder: Where to. It is made if it does not exist.

    Returns:
        The new lessons, in their order.

    Raises:
        ValueError: If `folder` is a file, if it holds a lesson already, or if there are no lessons.
    """
    folder, lessons = Path(folder), sorted(bundled("notebooks").glob("[0-9]*.ipynb"))
    if not lessons:
        raise ValueError(f"there are no lessons in {bundled('notebooks')}: install oatlib again")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder")
    files = [*lessons, bundled("notebooks") / GLOSSARY]
    if there := [file.name for file in files if (folder / file.name).exists()]:
        raise ValueError(
            f"{folder} holds {', '.join(there)} already: name another folder, or move them away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return [folder / lesson.name for lesson in lessons]
