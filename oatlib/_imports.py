"""Import jsonschema without a part that takes longer than the rest of a start.

nbformat imports jsonschema, and plotly, papermill and Voila import nbformat.
"""

from __future__ import annotations

import importlib
import sys

_GRAMMARS = "rfc3987_syntax"  # builds 39 grammars of international addresses: 0.8 s of computing


def import_jsonschema() -> None:
    """Import jsonschema without the check of international addresses, which nothing here uses.

    jsonschema works without it, also where the package of that check is not installed. Call this
    before anything imports nbformat. It does nothing if jsonschema was imported before, or if it is
    not installed.
    """
    if "jsonschema" in sys.modules or _GRAMMARS in sys.modules:
        return
    sys.modules[_GRAMMARS] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        importlib.import_module("jsonschema")
    except ImportError:
        pass
    finally:
        del sys.modules[_GRAMMARS]
