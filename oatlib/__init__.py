"""oatlib: once-for-all adversarial training, to learn, explore and measure.

Train one network once, then turn two dials at run time: between accuracy and robustness (λ), and for size (width).
"""

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


def __getattr__(name: str):
    """`explore` and `export_explorer` need the lab extra, which a machine that only trains can do without."""
    if name not in ("explore", "export_explorer"):
        raise AttributeError(f"module 'oatlib' has no attribute {name!r}")
    try:
        from .lab import explorer, page
    except ImportError as error:
        raise ImportError(f"oatlib.{name} needs {error.name}: pip install 'oatlib[lab]'") from error
    return getattr(explorer if name == "explore" else page, name)
