"""Find the files that come with oatlib: networks, records of the course, and lessons.

In a clone of the repository they lie beside the package. An installed wheel holds a copy inside it.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
IN_A_CLONE = {
    "explorer": "data/explorer",
    "photographs": "data/photographs",
    "course": "data/course",
    "bench": "bench/results",
    "notebooks": "notebooks",
}


def bundled(name: str) -> Path:
    """Return the folder of one kind of files.

    Args:
        name: "explorer" (networks for the built-in images, and their curves), "photographs"
            (networks for photographs, and their curves), "course" (records of the lessons), "bench"
            (records of the benchmarks, those that claims are judged by) or "notebooks" (lessons).
    """
    inside = PACKAGE / "bundled" / name
    return inside if inside.is_dir() else PACKAGE.parent / IN_A_CLONE[name]
