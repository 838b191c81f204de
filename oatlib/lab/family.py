"""The networks that come with oatlib, ready to be explored; `python -m bench.ship` makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import Data, data_of
from ..nets import Network, load
from ..record import RecordError, read_json
from .surface import Surface

FOLDER = Path(__file__).parents[2] / "data" / "explorer"
MARKS = "dedicated.json"  # one network for one λ each, to compare with
N = 512  # validation images
MEMBERS: dict[str, tuple[str, dict]] = {  # name in the list: recipe, options
    "oats": ("oats", {}),
    "oat": ("oat", {}),
    "blend": ("blend", {}),
    "float": ("float", {}),
    "floats": ("floats", {}),
    "smart": ("smart", {}),
    "solar": ("solar", {}),
    "snn": ("snn", {}),
    "standard": ("standard", {}),
    "pgd-at": ("pgd-at", {"lam": 1.0}),
    "trades": ("trades", {}),
}


def shipped() -> list[Path]:
    """The files of the networks that come with oatlib, in the order of the list."""
    found = [path for name in MEMBERS if (path := FOLDER / f"{name}.safetensors").is_file()]
    if not found:
        raise RecordError(
            f"the ready networks are not in {FOLDER}: make them with `python -m bench.ship` in a clone of the "
            "repository, or name weights of your own"
        )
    return found


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
