"""Assemble the front end: the JavaScript files as one module, and the style sheet.

A widget and an exported page take one ES module as text, so they cannot import the files from
each other. The files are joined instead: their imports and the word `export` are removed.
"""

from __future__ import annotations

import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"
# a file imports from files above it only; the last one exports `render`
SCRIPTS = (
    "format.js",
    "texts.js",
    "curves.js",
    "choose.js",
    "state.js",
    "reading.js",
    "pixels.js",
    "effect.js",
    "elements.js",
    "popover.js",
    "connection.js",
    "labels.js",
    "content.js",
    "drawing.js",
    "plot.js",
    "see_through.js",
    "gallery.js",
    "readout.js",
    "chooser.js",
    "dials.js",
    "training.js",
    "record.js",
    "tabs.js",
    "theme.js",
    "tour.js",
    "player.js",
    "header.js",
    "explorer.js",
)
IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:function|class|const) )", re.MULTILINE)


def script(last: str = SCRIPTS[-1]) -> str:
    """Return the front end as one ES module.

    Notebooks and pages without a kernel use the same one.

    Args:
        last: Leave out the files after this one.
    """
    names = SCRIPTS[: SCRIPTS.index(last) + 1]
    sources = [(STATIC / name).read_text(encoding="utf-8") for name in names]
    return "\n".join(EXPORT.sub("", IMPORT.sub("", source)) for source in sources)


def style() -> str:
    """Return the style sheet of the front end."""
    return (STATIC / "explorer.css").read_text(encoding="utf-8")
