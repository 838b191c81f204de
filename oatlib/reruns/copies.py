"""Copy the lessons and their glossary to a folder where the user can open and change them."""

from __future__ import annotations

from pathlib import Path

from .._bundled import bundled
from ..record import write_bytes

GLOSSARY = "GLOSSARY.md"


def copy_lessons(folder: str | Path) -> list[Path]:
    """Copy all lessons and their glossary to a folder. No file is overwritten.

    Args:
        folder: The folder to copy to. It is created if it does not exist.

    Returns:
        Paths of the copied lessons, in the order of the course.

    Raises:
        RecordError: If a file cannot be written. The files that were copied are removed.
        ValueError: If `folder` is a file, if it contains one of the lessons already, or if the
            lessons are missing in this installation.
    """
    folder = Path(folder)
    lessons = sorted(bundled("notebooks").glob("[0-9A-Z]*_*.ipynb"))
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
    copied: list[Path] = []
    try:
        for file in files:
            write_bytes(folder / file.name, file.read_bytes())
            copied.append(folder / file.name)
    except BaseException:
        for copy in copied:
            copy.unlink(missing_ok=True)
        raise
    return [folder / lesson.name for lesson in lessons]
