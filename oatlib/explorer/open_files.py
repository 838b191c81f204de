"""Open network files for the explorer, together with the measurements that are stored next to them.

Stored measurements let the explorer show complete curves at once instead of measuring for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data.load import Data, data_of
from ..networks.network import Network, load
from ..record import read_json
from .shipped import FOLDER
from .surface import N, Surface

MARKS = "dedicated.json"  # points of networks that were trained for one λ each, for comparison


def opened(paths: Sequence[str | Path]) -> tuple[dict[str, Network], Data]:
    """Load networks from files, and the data set that they were all trained on.

    Args:
        paths: Weight files that `oatlib.save` wrote.

    Returns:
        The networks by file name without its suffix (a repeated name gets a `'`), and the data set.

    Raises:
        ValueError: If two networks were trained on different data, or if a file does not name its
            data.
        RecordError: If a file is missing or unusable.
    """
    nets: dict[str, Network] = {}
    for path in map(Path, paths):
        name = path.stem
        while name in nets:
            name += "'"
        nets[name] = load(path)
    first, *others = nets
    for name in others:
        if nets[name].spec.data != nets[first].spec.data:
            raise ValueError(
                f"{name} and {first} were trained on different data: explore them one after the "
                "other"
            )
    return nets, data_of(nets[first].spec.data)


def measured(
    paths: Sequence[str | Path], nets: Mapping[str, Network], data: Data
) -> dict[str, Surface]:
    """Return the surface of each network, with the measurements stored next to its weights.

    Args:
        paths: Weight files, in the order of `nets`. The measurements have the same name with suffix
            `.json`.
        nets: The networks, by name.
        data: The data set.

    Returns:
        Surfaces by name. One is empty if there is no file, or if its file belongs to other weights
        or images.
    """
    surfaces = {}
    for path, (name, net) in zip(paths, nets.items(), strict=True):
        surfaces[name] = surface_of(net, data)
        surfaces[name].restore(Path(path).with_suffix(".json"))
    return surfaces


def surface_of(net: Network, data: Data) -> Surface:
    """Return an empty surface on the images that the explorer measures.

    Args:
        net: The network.
        data: The data set. Up to N images of its validation split are used.
    """
    panel = data.val.panel(min(N, len(data.val)))
    return Surface(net, panel, [data.name, data.options, panel.name, len(panel)])


def marks(data: Data) -> list[dict]:
    """Return the points of the dedicated networks, each trained for one λ, for comparison.

    Args:
        data: The data set.

    Returns:
        One dict per network with the keys name, lam, clean (accuracy in [0, 1]), eps (a list, in
        1/255), and robust and attacks (lists, one entry per eps). The list is empty if the points
        were measured on other data.
    """
    path = FOLDER / MARKS
    record = read_json(path) if path.is_file() else {}
    return record["marks"] if record.get("data") == [data.name, data.options] else []
