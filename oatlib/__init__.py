"""oatlib: once-for-all adversarial training, to learn, explore and measure.

Train one network once, then turn two dials at run time: between accuracy and robustness (λ), and for size (width).
"""

from importlib import import_module

from .attacks import FGSM, FGSMRS, NFGSM, PGD
from .calibrate import calibrate
from .choose import choose
from .cost import Cost, cost
from .data import Data, Split, from_tensors, load_data
from .evaluate import Result, Table, evaluate, hypervolume, wilson
from .even import even_dial
from .export import export
from .guard import frozen
from .nets import Network, load, save
from .presets import PRESETS, Preset
from .recipes import RECIPES, build
from .record import RecordError
from .train import History, Training, train

__version__ = "0.1.0"
__all__ = [
    "FGSM", "FGSMRS", "NFGSM", "PGD", "PRESETS", "RECIPES", "Cost", "Data", "History", "Network", "Preset",
    "RecordError", "Result", "Split", "Table", "Training", "build", "calibrate", "choose", "cost", "evaluate",
    "even_dial", "export", "from_tensors", "frozen", "hypervolume", "load", "load_data", "save", "train", "wilson",
]  # fmt: skip


# what needs the lab extra, which a machine that only trains can do without
_LAB = {"explore": ".lab.explorer", "export_explorer": ".lab.page", "rerun": ".reruns"}


def __getattr__(name: str):
    """`explore`, `export_explorer` and `rerun` are imported when they are first asked for."""
    if name not in _LAB:
        raise AttributeError(f"module 'oatlib' has no attribute {name!r}")
    try:
        return getattr(import_module(_LAB[name], __name__), name)
    except ImportError as error:
        raise ImportError(f"oatlib.{name} needs {error.name}: pip install 'oatlib[lab]'") from error
