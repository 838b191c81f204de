"""Describe to the browser all that does not change with the dials: the images and the networks.

The explorer sends this description once per page, and again when a network is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ..data.load import Data, Split, best_points
from ..data.shapes import SHAPES
from ..networks.cost import cost
from ..networks.history import facts_of, results_of
from ..networks.network import Network
from ..training.recipes import RECIPES, SUMMARIES
from .live_training import LIMIT
from .measure import pixels
from .named_attacks import CHOICES, LABELS
from .own_copy import FOLDER, HOW
from .see_through import see_through
from .state import MAX_EPS, TRAINED_HERE

WATCHED = 6  # images in the gallery
GROUPS = (
    "a dial of λ",
    "dials of λ and width",
    "noisy or sparse",
    "a dial of width",
    "one fixed λ",
    "trained here",
)
BEST_EPS = 8.0  # in 1/255: an attack of at least this size can repaint a whole texture


def describe(nets: Mapping[str, Network], data: Data, panel: Split, watched: Tensor) -> dict:
    """Return all that does not change with the dials.

    Args:
        nets: The networks, by their names on the page.
        data: The data set that they were trained on.
        panel: The images that are measured.
        watched: Indices (M,) of the images in the gallery.

    Returns:
        A dict ready for JSON.
    """
    return _of_networks(nets) | {
        "data": _short(data.name),
        "split": panel.name,
        "n": len(panel),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "reference": _reference(data),
        "images": [pixels(panel.x[i]) for i in watched],
        "captions": captions(data, panel, watched.tolist()),
        "seeThrough": see_through(data, panel.take(watched)),
        "hint": hint(data),
    }


def describe_recorded(nets: Mapping[str, Network], source: Mapping, n: int) -> dict:
    """Return all that does not change with the dials, where the images are not here.

    Args:
        nets: The networks, by their names on the page.
        source: Which images the curves were measured on, with the keys name and split.
        n: Their number.

    Returns:
        A dict ready for JSON. Its "missing" says what to do about the images.
    """
    spec = next(iter(nets.values())).spec
    return _of_networks(nets) | {
        "data": source["name"],
        "split": source["split"],
        "n": n,
        "classes": list(spec.classes),
        "shape": list(spec.shape),
        "reference": {},
        "images": [],
        "captions": [],
        "seeThrough": None,
        "hint": "",
        "missing": (
            f"Here would be images of {source['name']} under attack. oatlib brings no photographs "
            f"along, so all numbers on this page are recorded. {HOW}"
        ),
    }


def _short(name: str) -> str:
    """Return the name of a data set. Of a path, only the last part fits into the line on top."""
    return f"folder {Path(name).name}" if name.startswith(FOLDER) else name


def _of_networks(nets: Mapping[str, Network]) -> dict:
    """Return what does not depend on the images that are measured."""
    return {
        "missing": "",
        "attacks": list(CHOICES),
        "attackNames": LABELS,
        "maxEps": MAX_EPS,
        "recipes": list(RECIPES),
        "maxEpochs": LIMIT,
        "networks": {name: _about(net) for name, net in nets.items()},
        "groups": _groups(nets),
    }


def captions(data: Data, split: Split, indices: Iterable[int]) -> list[str]:
    """Return a caption per image: "class: triangle · drawn: cross, lies", or "class: dog".

    Args:
        data: The data set, for the names of its classes.
        split: Part of it; its `facts` hold the drawn "shape" if it is known.
        indices: Indices of the images in the split.

    Returns:
        One text per index. "drawn" is left out if the shapes are not known. "lies" says that the
        image shows the shape of another class.
    """
    drawn = drawn_shapes(split)
    lines = []
    for i in indices:
        label = int(split.y[i])
        line = f"class: {data.classes[label]}"
        if drawn is not None:
            shape = int(drawn[i])
            line += f" · drawn: {SHAPES[shape]}" + (", lies" if shape != label else "")
        lines.append(line)
    return lines


def drawn_shapes(split: Split) -> Tensor | None:
    """Return the shapes that the images show.

    Args:
        split: The images.

    Returns:
        Indices (N,) into SHAPES, or None if the shapes are not known.
    """
    return getattr(split, "facts", {}).get("shape")


def hint(data: Data) -> str:
    """Describe in words how reliable the drawn shapes of the data set "shapes" are.

    Args:
        data: The data set.

    Returns:
        Two sentences with the numbers of the data set; "" if it has no such numbers.
    """
    options = data.options
    if data.name != "shapes" or "trust" not in options:
        return ""
    trust, full_trust = options["trust"], options["full_trust"]
    texture = "A texture too faint to see always tells the class."
    if full_trust is None:
        return (
            f"{1 - trust:.0%} of the drawn shapes belong to another class, whatever they look "
            f"like. {texture}"
        )
    return (
        "Vivid shapes tell the class, faint ones often another: the faintest is right in "
        f"{trust:.0%} of the images, "
        f"the more vivid {1 - full_trust:.0%} always. {texture}"
    )


def _reference(data: Data) -> dict:
    """Return the best possible (clean, robust) accuracies for comparison, if they are known."""
    best = best_points({"name": data.name, "options": data.options}, BEST_EPS / 255)
    return {} if best is None else {"best": [list(point) for point in best], "bestEps": BEST_EPS}


def _about(net: Network) -> dict:
    """Return what the browser has to know about a network."""
    spec = net.spec
    prices = [cost(net, spec.stops[-1], width) for width in spec.widths]
    return {
        "recipe": spec.recipe,
        "backbone": spec.backbone,
        "about": SUMMARIES.get(spec.recipe, spec.recipe),
        "facts": [list(pair) for pair in facts_of(net)],
        "results": results_of(net),
        "stops": list(spec.stops),
        "slider": list(net.slider),
        "widths": list(spec.widths),
        "noisy": spec.noise,
        "stored": prices[-1].stored,
        "prices": [{"parameters": p.plain, "macs": p.macs} for p in prices],
    }


def _groups(nets: Mapping[str, Network]) -> dict[str, list[str]]:
    """Return the names of the networks by what they are, in the order of GROUPS."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name, net in nets.items():
        groups[_group(name, net)].append(name)
    return {title: names for title, names in groups.items() if names}


def _group(name: str, net: Network) -> str:
    """Return the title of the group that a network belongs to."""
    spec = net.spec
    if TRAINED_HERE.search(name):
        return "trained here"
    if spec.noise or spec.masks != "none":
        return "noisy or sparse"
    dials = (len(spec.stops) > 1, len(spec.widths) > 1)
    titles = {
        (True, False): "a dial of λ",
        (True, True): "dials of λ and width",
        (False, True): "a dial of width",
        (False, False): "one fixed λ",
    }
    return titles[dials]


def one_of_each_class(panel):
    """Return the indices of the first image of each class, up to WATCHED of them.

    Args:
        panel: The images.
    """
    first = {int(y): i for i, y in reversed(list(enumerate(panel.y.tolist())))}
    return panel.y.new_tensor(sorted(first.values())[:WATCHED])
