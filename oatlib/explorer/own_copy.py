"""Load the user's own copy of the images that a network was trained on.

The networks for photographs come without their images. Their file names the images in words, and
the user has a copy of them somewhere. Only test images are measured: training images of the
network could be among all others.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..data import folders
from ..data.load import ROOT, Data, Split, load_data
from ..networks.spec import Spec

IMAGES = 512  # test images that are loaded, at most
FOLDER = "folder:"  # how names of folders begin

# What to do if the images are not here. Commands stand between backticks.
HOW = (
    "With your own copy of the images, networks are measured live: `oatlib explore --photographs "
    "--data folder:DIR`, where DIR holds train/<class>/* and test/<class>/*, or `--data cifar10`, "
    "which torchvision downloads."
)


def is_elsewhere(spec: Spec) -> bool:
    """Say whether the images of a network are only named: a file says what they are, not where."""
    return bool(spec.data.get("name")) and not spec.data.get("options")


def own_copy(name: str, spec: Spec, root: str | Path = ROOT) -> Data:
    """Load test images of the user's copy, and check that the network can have them.

    Args:
        name: "folder:DIR", where DIR holds {train,test}/<class>/*, or another name that `load_data`
            knows.
        spec: Of the network.
        root: Folder for downloads of `load_data`.

    Returns:
        The data set. Its test split has up to IMAGES images. The other splits have one image per
        class.

    Raises:
        ValueError: If the classes or the size of the images are others than those of the network,
            or if there are no test images.
    """
    others = dict.fromkeys(("n_train", "n_val"), len(spec.classes))
    if not name.startswith(FOLDER):
        data = load_data(name, root=root, **others, n_test=IMAGES)
        _check_classes(name, data.classes, spec)
        if tuple(data.shape) != tuple(spec.shape):
            raise ValueError(_other_size(name, f"images {tuple(data.shape)}", spec))
        return data
    pools, classes = folders.find(name.removeprefix(FOLDER))
    _check_classes(name, classes, spec)
    if "test" not in pools:
        raise ValueError(
            f"{name} has no folders train and test. The network was trained on images of the "
            "training set, so it is measured on those in DIR/test/<class>/* only"
        )
    files, labels = pools["test"]
    _check_sizes(name, [files[i].path for i in _first_of_each(labels)], spec)
    n_test = min(IMAGES, len(files))
    return load_data(name, **others, n_test=n_test, size=spec.shape[1])


def digest(panel: Split) -> str:
    """Return the SHA-256 of the pixels and labels of images, which says whether two copies agree.

    Args:
        panel: The images.
    """
    pixels = (panel.x * 255).round().byte().cpu().contiguous()
    found = hashlib.sha256(pixels.numpy().tobytes())
    found.update(panel.y.cpu().numpy().tobytes())
    return found.hexdigest()


def source_of(spec: Spec, panel: Split) -> dict:
    """Return what identifies the images of a recorded curve, ready for JSON.

    Args:
        spec: Of the network.
        panel: The images.
    """
    return {"name": spec.data["name"], "split": panel.name, "sha256": digest(panel)}


def _check_classes(name: str, classes, spec: Spec) -> None:
    """Raise a ValueError unless a data set has the classes of a network, in the same order."""
    if tuple(classes) == tuple(spec.classes):
        return
    missing = [c for c in spec.classes if c not in classes]
    extra = [c for c in classes if c not in spec.classes]
    parts = [f"it lacks {', '.join(missing[:5])}"] if missing else []
    parts += [f"it also has {', '.join(extra[:5])}"] if extra else []
    raise ValueError(
        f"{name} has other classes than {spec.data['name']}, on which the network was trained: "
        f"{'; '.join(parts) or 'they are in another order'}. Expected "
        f"{', '.join(spec.classes)}"
    )


def _first_of_each(labels) -> list[int]:
    """Return the index of the first image of each class."""
    first = {int(label): i for i, label in reversed(list(enumerate(labels.tolist())))}
    return sorted(first.values())


def _check_sizes(name: str, paths: list[str], spec: Spec) -> None:
    """Raise a ValueError if an image has another size than those of the network.

    `load_data` would resize it, and a resized image is another image.
    """
    from PIL import Image, UnidentifiedImageError

    _, height, width = spec.shape
    for path in paths:
        try:
            with Image.open(path) as image:
                size = image.size
        except (UnidentifiedImageError, OSError):
            continue  # load_data says what is wrong with it, if it is chosen
        if size != (width, height):
            raise ValueError(_other_size(name, f"{path} with {size[0]}x{size[1]} pixels", spec))


def _other_size(name: str, found: str, spec: Spec) -> str:
    _, height, width = spec.shape
    return (
        f"{name} holds {found}, but the network was trained on {width}x{height} pixels "
        f"({spec.data['name']}): name a copy with images of that size"
    )
