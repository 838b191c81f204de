"""The explorer of `oatlib explore`: what the page of its own shows, or one file holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from ..record import check_writable
from .explorer import Explorer, explore
from .family import marks, measured, opened
from .page import export_explorer
from .ready import shipped
from .server import HANDED_OVER


def show() -> Explorer:
    """What the served notebook shows."""
    asked = json.loads(os.environ.get(HANDED_OVER, "{}"))
    return explore(**_arguments(asked.get("weights", []), asked.get("state", "")), page=True)


def write(path, weights: Sequence[str], state: str) -> int:
    """Write the explorer as one HTML file; returns its size in bytes."""
    check_writable(path)
    return export_explorer(path, **_arguments(weights, state))


def _arguments(weights: Sequence[str], state: str) -> dict:
    paths = list(weights) or shipped()
    nets, data = opened(paths)
    return {"nets": nets, "data": data, "state": state, "surfaces": measured(paths, nets, data), "marks": marks(data)}
