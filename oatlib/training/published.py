"""What the public code of the papers does differently: options for `build`, and one loss.

The recipes of this package follow the papers and repair what measurements show to be weak. The
options here make a recipe agree with the public code instead. `recipes.py` lists what agrees and
what differs. Lessons and benches do not use them; the tests compare them with an independent
implementation.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .labels import Labels

_INPUT = {"centre": False}  # pixels enter the first conv in [0, 1]
_OAT = _INPUT | {"film_rows": "published", "film_start": "paper"}
_FLOAT = _INPUT | {"loss": "as-coded", "redraw": "forward"}

# Recipe -> options of `build` with which it agrees with the public code.
PUBLISHED_OPTIONS: dict[str, dict] = {
    "pgd-at": _INPUT,
    "trades": _INPUT,
    "oat": _OAT,
    "oats": _OAT | {"width_loss": "sum"},
    "snn": _INPUT,
    "us-snn": _INPUT,
    "solar": _OAT,
    "solar-snn": _INPUT,
    "float": _FLOAT,
    "float-slim": _FLOAT,
    "floats": _FLOAT | {"noise_on": "all"},
}


def as_coded(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the loss of FLOAT's public code.

    All images count clean with weight 1/2. Images with λ > 0 also count attacked with weight 1/2,
    but their sum is divided by the size of the whole batch. In effect the weights are 1/2 clean and
    1/4 attacked.

    Args:
        clean: Logits of all unattacked images, (N, classes).
        attacked: Logits of the attacked images, (N - n_clean, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    loss = F.cross_entropy(clean, labels.y, reduction="sum")
    loss = loss + F.cross_entropy(attacked, labels.y[labels.n_clean :], reduction="sum")
    return loss / (2 * len(labels.y))
