"""Networks from files, ready to be explored, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import Data, data_of
from ..nets import Network, load
from ..record import read_json
from .ready import FOLDER
from .surface import N, Surface

MARKS = "dedicated.json"  # one network for one λ each, to compare with


def opened(paths: Sequence[str | Path]) -> tuple[dict[str, Network], Data]:
    """The networks in some files, by the files' names, and the data they were all trained on."""
    nets: dict[str, Network] = {}
    for path in map(Path, paths):
        name = path.stem
        while name in nets:
            name += "'"
        nets[name] = load(path)
    first, *others = nets
    for name in others:
        if nets[name].spec.data != nets[first].spec.data:
            raise ValueError(f"{name} and {first} were trained on different data: explore them one after the other")
    return nets, data_of(nets[first].spec.data)


def measured(paths: Sequence[str | Path], nets: Mapping[str, Network], data: Data) -> dict[str, Surface]:
    """The surfaces of networks; what lies next to the weights and fits them is taken over."""
    surfaces = {}
    for path, (name, net) in zip(paths, nets.items(), strict=True):
        surfaces[name] = surface_of(net, data)
        surfaces[name].restore(Path(path).with_suffix(".json"))
    return surfaces


def surface_of(net: Network, data: Data) -> Surface:
    """An empty surface on the images that the explorer shows."""
    panel = data.val.panel(min(N, len(data.val)))
    return Surface(net, panel, [data.name, data.options, panel.name, len(panel)])


def marks(data: Data) -> list[dict]:
    """The dedicated networks' points, if they were measured on the same images."""
    path = FOLDER / MARKS
    record = read_json(path) if path.is_file() else {}
    return record["marks"] if record.get("data") == [data.name, data.options] else []
