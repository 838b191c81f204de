"""oatlib: once-for-all adversarial training, to learn, explore and measure.

Train one network once, then turn two dials at run time: between accuracy and robustness (λ), and for size (width).
"""

# ruff: noqa: F403, F405

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time `__getattr__` does it, later: PyTorch takes seconds, and a server needs none
    from .api import *

__version__ = "0.1.0"
__all__ = [
    "FGSM", "FGSMRS", "NFGSM", "PGD", "PRESETS", "RECIPES", "Cost", "Data", "History", "Network", "Preset",
    "RecordError", "Result", "Split", "Table", "Training", "build", "calibrate", "choose", "cost", "evaluate",
    "even_dial", "export", "from_tensors", "frozen", "hypervolume", "load", "load_data", "save", "train", "wilson",
]  # fmt: skip


class _Package(ModuleType):
    def __setattr__(self, name: str, value) -> None:
        """Importing train.py wants to make `oatlib.train` that module; it stays the function."""
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str):
    """A name that is asked for the first time. `explore` and `export_explorer` need the lab extra, which a machine that
    only trains can do without."""
    if name in __all__:
        from . import api

        return globals().setdefault(name, getattr(api, name))
    if name not in ("explore", "export_explorer"):
        raise AttributeError(f"module 'oatlib' has no attribute {name!r}")
    try:
        from .lab import explorer, page
    except ImportError as error:
        raise ImportError(f"oatlib.{name} needs {error.name}: pip install 'oatlib[lab]'") from error
    return getattr(explorer if name == "explore" else page, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
