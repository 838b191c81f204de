"""Build the explorer for `oatlib explore`: as a served page, or as one HTML file.

The command line calls `write` for a file. For a page, the notebook that is served calls `show`; see
server.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from IPython.utils.capture import capture_output
from ipywidgets import HTML

from ..data.load import ROOT
from ..record import claimed
from .html import export_explorer
from .open_files import marks_of, measured, opened, split_for
from .server import HANDED_OVER
from .shipped import shipped
from .widget import Explorer, explore


def show() -> Explorer | HTML:
    """Build the explorer that the served notebook shows.

    The weight files, the state and the folder for saved networks come from the environment
    variable `HANDED_OVER`, which the server process sets.

    Returns:
        The widget, which keeps its state in the address of the page. If a file cannot be used any
        more, a line that says so; it is written to the terminal, too.
    """
    asked = json.loads(os.environ.get(HANDED_OVER, "{}"))
    folder = Path(asked.get("folder", ""))
    try:
        # A progress bar would be a widget of its own on the page.
        with capture_output(stdout=False, stderr=False, display=True):
            arguments = _arguments(
                asked.get("weights", []),
                asked.get("state", ""),
                asked.get("photographs", False),
                asked.get("data"),
                folder / ROOT,
            )
        explorer = explore(**arguments, page=True)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        message = f"The explorer cannot start: {error}"
        print(message, file=sys.__stderr__, flush=True)  # sys.stderr is a part of the page
        return HTML(f"<p>{escape(message)}</p>")
    explorer.folder = folder
    return explorer


def write(
    path, weights: Sequence[str], state: str, photographs: bool = False, data: str | None = None
) -> int:
    """Write the explorer as one HTML file.

    Args:
        path: The HTML file to write.
        weights: Paths of weight files; if empty, the ready networks of oatlib.
        state: First positions of the dials, such as "lam=0.3&width=0.5"; "" for the default.
        photographs: Whether the ready networks are those for photographs.
        data: Another data set, or the user's copy of the photographs, by its name for `load_data`.

    Returns:
        The size of the file in bytes.

    Raises:
        RecordError: If `path` cannot be written, or if a weight file is unusable.
        ValueError: If the networks were trained on different data, or if the state does not fit
            them.
    """
    with claimed(path):
        return export_explorer(path, **_arguments(weights, state, photographs, data))


def _arguments(
    weights: Sequence[str],
    state: str,
    photographs: bool,
    name: str | None,
    root: str | Path = ROOT,
) -> dict:
    """Return keyword arguments for `explore` and `export_explorer`.

    Without weights, the ready networks are used.
    """
    paths = list(weights) or shipped(photographs)
    nets, data = opened(paths, name, root)
    first = next(iter(nets.values()))
    # A training needs training images, and the user's copy is opened for its test images only.
    hide = ["training"] if split_for(first) == "test" else []
    return {
        "nets": nets,
        "data": data,
        "state": state,
        "split": split_for(first),
        "hide": hide,
        "surfaces": measured(paths, nets, data),
        "marks": marks_of(first.spec.data),
    }
