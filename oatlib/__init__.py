"""oatlib: once-for-all adversarial training, to learn, explore and measure.

Train one network once, then turn two dials at run time: between accuracy and robustness (λ), and for size (width).
"""

# ruff: noqa: F403, F405

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time `__getattr__` does it, later: PyTorch takes seconds, and a server needs none
    from .api import *

__version__ = "0.1.0"
__all__ = [
    "APGD", "FGSM", "FGSMRS", "NFGSM", "PGD", "PRESETS", "RECIPES", "Comparison", "Cost", "Data", "History", "Moving",
    "Network", "Preset", "RecordError", "Report", "Result", "Split", "Square", "Suite", "Table", "Training", "Transfer",
    "best_frontier",
    "build", "calibrate", "check", "choose", "coin", "compare", "cost", "evaluate", "even_dial", "export",
    "from_tensors", "frozen", "load", "load_data", "mix", "moving", "save", "train", "wilson",
]  # fmt: skip


class _Package(ModuleType):
    def __setattr__(self, name: str, value) -> None:
        """Importing train.py wants to make `oatlib.train` that module; it stays the function."""
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


# what needs the lab extra, which a machine that only trains can do without
_LAB = {"explore": ".lab.explorer", "export_explorer": ".lab.page", "rerun": ".reruns"}


def __getattr__(name: str):
    """A name that is asked for the first time."""
    if name in __all__:
        return globals().setdefault(name, getattr(import_module(".api", __name__), name))
    if name not in _LAB:
        raise AttributeError(f"module 'oatlib' has no attribute {name!r}")
    try:
        return getattr(import_module(_LAB[name], __name__), name)
    except ImportError as error:
        raise ImportError(f"oatlib.{name} needs {error.name}: pip install 'oatlib[lab]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
