"""oatlib: once-for-all adversarial training, to learn, explore and measure.

One network is trained once. At run time two settings can be changed without further training: λ
moves between clean accuracy and robustness to adversarial attacks, and the width sets the size of
the network.

Public names are listed in `oatlib.__all__`. `explore`, `export_explorer` and `rerun` are public,
too; they need the extra `lab`. All of them are imported when they are first used.

Example:
    >>> import oatlib
    >>> data = oatlib.load_data("shapes")
    >>> net = oatlib.build("oat", data)
    >>> history = oatlib.train(net, data)
    >>> print(oatlib.evaluate(net, data.test))
    >>> plain = net.at(lam=0.3)  # an ordinary nn.Module for one λ
"""

# ruff: noqa: F403, F405

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

# At run time `__getattr__` imports these names later. PyTorch takes seconds to import, and the
# server of the explorer does not need it.
if TYPE_CHECKING:
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
        """Keep public functions in place of modules of the same name.

        Importing train.py would set `oatlib.train` to that module. It must stay the function.
        """
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


# Names that need the extra `lab`, which a machine that only trains does not need.
_LAB = {"explore": ".lab.explorer", "export_explorer": ".lab.page", "rerun": ".reruns"}


def __getattr__(name: str):
    """Import a public name when it is first used."""
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
