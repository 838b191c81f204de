"""What the explorer shows that does not change with the dials: the images, and what each network has."""

from __future__ import annotations

from collections.abc import Mapping

from ..cost import cost
from ..data import Data
from ..nets import Network
from ..recipes import RECIPES
from .live import pixels
from .state import MAX_EPS, STEPS
from .surface import ATTACK_STEPS
from .trainer import LIMIT

WATCHED = 6  # images in the gallery
HINTS = {"shapes": "15 % of these images show a shape of another class; their faint texture tells the truth"}


def describe(nets: Mapping[str, Network], data: Data, panel, watched) -> dict:
    """What does not change with the dials, ready for JSON."""
    return {
        "data": data.name, "split": panel.name, "n": len(panel), "classes": list(data.classes),
        "shape": list(data.shape), "images": [pixels(panel.x[i]) for i in watched],
        "labels": [int(panel.y[i]) for i in watched], "steps": list(STEPS), "maxEps": MAX_EPS,
        "surfaceSteps": ATTACK_STEPS, "recipes": list(RECIPES), "maxEpochs": LIMIT,
        "hint": HINTS.get(data.name, ""), "networks": {name: _about(net) for name, net in nets.items()},
    }  # fmt: skip


def _about(net: Network) -> dict:
    spec = net.spec
    prices = [cost(net, spec.stops[-1], width) for width in spec.widths]
    return {"recipe": spec.recipe, "stops": list(spec.stops), "slider": list(net.slider), "widths": list(spec.widths),
            "noisy": spec.noise, "stored": prices[-1].stored,
            "prices": [{"parameters": p.plain, "macs": p.macs} for p in prices]}  # fmt: skip


def one_of_each_class(panel):
    """Indices of the first image of each class, up to WATCHED of them."""
    first = {int(y): i for i, y in reversed(list(enumerate(panel.y.tolist())))}
    return panel.y.new_tensor(sorted(first.values())[:WATCHED])
