"""Open network files for the explorer, together with the measurements that are stored next to them.

Stored measurements let the explorer show complete curves at once instead of measuring for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..data.load import ROOT, Data, data_of
from ..networks.network import Network, load
from ..record import read_json
from .measure import head
from .own_copy import HOW, IMAGES, is_elsewhere, own_copy, source_of
from .shipped import FOLDER, PHOTOGRAPHS
from .surface import N, Surface

MARKS = "dedicated.json"  # points of networks that were trained for one λ each, for comparison


def opened(
    paths: Sequence[str | Path], images: str | None = None, root: str | Path = ROOT
) -> tuple[dict[str, Network], Data | None]:
    """Load networks from files, and the data set that they were all trained on.

    Args:
        paths: Weight files that `oatlib.save` wrote.
        images: Another data set, or the user's copy of images that a file only names in words: a
            name for `load_data`.
        root: Folder for downloads of `load_data`.

    Returns:
        The networks by file name without its suffix (a repeated name gets a `'`), and the data set.
        That is None if the files only name it, and `images` is None.

    Raises:
        ValueError: If two networks were trained on different data, if a file does not name its
            data, or if `images` do not fit the networks.
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
    spec = nets[first].spec
    if not is_elsewhere(spec):
        return nets, data_of(spec.data, images)
    return nets, None if images is None else own_copy(images, spec, root)


def measured(
    paths: Sequence[str | Path], nets: Mapping[str, Network], data: Data | None
) -> dict[str, Surface]:
    """Return the surface of each network, with the measurements stored next to its weights.

    Args:
        paths: Weight files, in the order of `nets`. The measurements have the same name with suffix
            `.json`.
        nets: The networks, by name.
        data: The data set, or None if its images are not here.

    Returns:
        Surfaces by name. One is empty if there is no file, or if its file belongs to other weights
        or images. If the images of a network are only named in words, the curve of other copies of
        them is taken, too: then nothing is added to it.

    Raises:
        ValueError: If `data` is None, and a network has no measurements.
    """
    surfaces = {}
    for path, (name, net) in zip(paths, nets.items(), strict=True):
        record = Path(path).with_suffix(".json")
        surface = Surface(net, None) if data is None else surface_of(net, data)
        if not surface.restore(record) and is_elsewhere(net.spec):
            of_others = Surface(net, None)
            if of_others.restore(record):
                surface = of_others
            elif data is None:
                raise ValueError(
                    f"{name} was trained on {net.spec.data['name']}, and no measurements lie "
                    f"beside {path}. {HOW}"
                )
        surfaces[name] = surface
    return surfaces


def surface_of(net: Network, data: Data) -> Surface:
    """Return an empty surface on the images that the explorer measures.

    Args:
        net: The network.
        data: The data set. Up to N images of `split_for(net)` are used.
    """
    split = getattr(data, split_for(net))
    if is_elsewhere(net.spec):
        panel = head(split.panel(min(IMAGES, len(split))), N)
        return Surface(net, panel, source_of(net.spec, panel))
    panel = split.panel(min(N, len(split)))
    return Surface(net, panel, [data.name, data.options, panel.name, len(panel)])


def split_for(net: Network) -> Literal["val", "test"]:
    """Return the name of the split that the explorer measures a network on.

    It is the validation split. Of the user's copy it is the test split, because training images of
    the network could be in the others.

    Args:
        net: The network.
    """
    return "test" if is_elsewhere(net.spec) else "val"


def marks(data: Data) -> list[dict]:
    """Return the points of the dedicated networks for a data set, see `marks_of`.

    Args:
        data: The data set.
    """
    return marks_of({"name": data.name, "options": data.options})


def marks_of(source: Mapping) -> list[dict]:
    """Return the points of the dedicated networks, each trained for one λ, for comparison.

    Args:
        source: Name and options of a data set, as in a network's `spec.data`.

    Returns:
        One dict per network with the keys name, lam, clean (accuracy in [0, 1]), eps (a list, in
        1/255), and robust and attacks (lists, one entry per eps). Those of photographs also have
        backbone: they are compared with networks of this backbone only. The list is empty if the
        points were measured on other data.
    """
    wanted = [source.get("name"), source.get("options", {})]
    for folder in (FOLDER, PHOTOGRAPHS):
        path = folder / MARKS
        record = read_json(path) if path.is_file() else {}
        if record.get("data") == wanted:
            return record["marks"]
    return []
