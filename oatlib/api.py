"""Collect the public names of oatlib that need PyTorch.

`oatlib/__init__.py` imports this module when such a name is first used. So `import oatlib` is fast.
"""

# ruff: noqa: F401
from .apgd import APGD
from .attacks import FGSM, FGSMRS, NFGSM, PGD
from .baselines import coin
from .calibrate import calibrate
from .checks import Report, check
from .choose import choose
from .compare import Comparison, compare
from .cost import Cost, cost
from .data import Data, Split, from_tensors, load_data
from .evaluate import Result, Table, evaluate, wilson
from .even import even_dial
from .export import export
from .guard import frozen
from .mixing import mix
from .moving import Moving, moving
from .nets import Network, load, save
from .presets import PRESETS, Preset
from .recipes import RECIPES, build
from .record import RecordError
from .shapes import best_frontier
from .square import Square
from .suite import Suite
from .train import History, Training, train
from .transfer import Transfer
