"""Load data sets by name, for instance `load_data("shapes")`.

Validation and test images are held out by one class-stratified shuffle that depends only on the
seed. Asking for fewer training images therefore changes no other split. A published test set stays
the test set. The built-in set `shapes` renders each split from a random generator of its own
instead.
"""

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .._check import device_of, positive_int
from .._memory import check_memory
from .._suggest import did_you_mean
from . import folders
from .decode import decode
from .pixel_cache import load_pixels
from .scenes import render_split
from .shapes import SHAPES, SPREAD, Scene, ShapesOptions, best_frontier, render
from .splits import (
    Data,
    Split,
    batches,
    crop,
    data_generator,
    flip,
    from_tensors,
    stratified_split,
)

__all__ = [
    "Data",
    "Scene",
    "Split",
    "batches",
    "crop",
    "data_of",
    "flip",
    "from_tensors",
    "load_data",
    "render",
]

ROOT = "data/downloads"  # default download folder, relative to the current directory


def load_data(
    name: str,
    seed: int = 0,
    device: torch.device | str | None = None,
    root: str | Path = ROOT,
    **options,
) -> Data:
    """Load a data set by name.

    Args:
        name: "shapes" (built in), "digits", "fashion-mnist", "cifar10", "cifar100", "svhn",
            "stl10", or "folder:PATH" for a folder with one subfolder of images per class, or for
            the unpacked archive of TinyImageNet.
        seed: Seed of the splits, and of the images of "shapes": a whole number from 0 to 2**30 - 1.
        device: Device of the tensors. Default: the CPU.
        root: Folder for downloads, relative to the current directory.
        **options: Every set takes `n_train`, `n_val` and `n_test`, numbers of images. "shapes" also
            takes the fields of `oatlib.data.shapes.ShapesOptions`. "folder:PATH" takes `size` in
            pixels, and `cache=False`, which neither reads nor writes the file of decoded images
            beside the folder. The signatures of the loader functions below list the defaults.

    Returns:
        The data set. Its `options` are complete, so that `load_data` can load the same data again.

    Raises:
        ValueError: If the name or the device is unknown, the seed or an option is out of range, or
            a split is larger than the data. Also if the images do not fit into the memory, or if a
            folder or an image in it cannot be used.
        TypeError: If the set has no such option, or if a value is neither a number nor a bool.
        ImportError: If a package that the set needs is not installed.
        RuntimeError: If a published set cannot be loaded or downloaded.

    Example:
        >>> load_data("shapes", n_train=1000)
        Data(shapes: 1000 train, 512 val, 2048 test; 3x16x16; 8 classes)
    """
    device = device_of(device)
    # `data_generator` derives four 32-bit seeds from each seed. Below 2**30 they all differ.
    if type(seed) is not int or not 0 <= seed < 2**30:
        raise ValueError(f"seed={seed!r}: must be a whole number from 0 to 2**30 - 1")
    loader = _loader(str(name), root)
    options = _with_defaults(f"load_data({name!r})", loader, options)
    data = loader(seed, **options)
    options.pop("cache", None)  # it changes no pixel
    # Record everything that is needed to load the same data again.
    options["seed"] = seed
    for part in (data.train, data.val, data.test):
        options[f"n_{part.name}"] = len(part)
    if name in PUBLISHED and Path(root) != Path(ROOT):
        options["root"] = str(root)
    return replace(data, name=name, options=options).to(device)


def data_of(
    source: dict, name: str | None = None, device: torch.device | str | None = None
) -> Data:
    """Load the data set that a network was trained on, or another set with the same seed.

    The seed is always that of the training data. With another seed, test images of the set could be
    images that the network was trained on.

    Args:
        source: Name and options of a data set, as in a network's `spec.data`.
        name: Another data set. None: the one in `source`.
        device: Device of the tensors. Default: the CPU.

    Returns:
        The data set. If `source` has no options, the seed is 0.

    Raises:
        ValueError: If `name` is None and `source` does not say how to load its data set.
    """
    known = source.get("options")
    if name is None and not known:
        raise ValueError(
            "the file does not say how to load the data that the network was trained on: name a "
            "data set with --data"
        )
    if name in (None, source.get("name")) and known:
        return load_data(source["name"], device=device, **known)
    seed = known.get("seed", 0) if known else 0
    return load_data(name, seed, device)


def best_points(source: dict, eps: float) -> list[tuple[float, float]] | None:
    """Return the best possible accuracies of a data set along λ, where they are known.

    Args:
        source: Name and options of a data set, as in a network's `spec.data`.
        eps: L-infinity radius of the attack, in pixel units [0, 1]. There is a bound only if the
            attack can repaint every texture.

    Returns:
        101 points (clean, robust) in the order of λ, accuracies in [0, 1]. None if no bound is
        known: only `shapes` has one.
    """
    saved = source.get("options") or {}
    options = {f.name: saved[f.name] for f in fields(ShapesOptions) if f.name in saved}
    if source.get("name") != "shapes" or "trust" not in options:
        return None
    try:
        strongest_texture = SPREAD[1] * ShapesOptions(**options).amplitude
        if eps < strongest_texture:  # the attack cannot repaint every texture
            return None
        frontier = best_frontier([i / 100 for i in range(101)], **options)
    except ValueError:  # the options come from a file, and may be anything
        return None
    return [(point.clean, point.robust) for point in frontier]


# Largest memory in use while a set is loaded, in multiples of its float32 images. Rendering holds
# all parts of its images at once: 4.4 times, measured for 100,000 and 300,000 images. For a folder
# there are the images, one copy, and their bytes: 2.3 times, measured for 22,000 images.
COPIES_OF_RENDERING = 4.5
COPIES_OF_FOLDER = 2.4


# ---- loaders -------------------------------------------------------------------------------------


def _shapes(
    seed: int,
    *,
    n_train: int = 8192,
    n_val: int = 512,
    n_test: int = 2048,
    size: int = ShapesOptions.size,
    classes: int = ShapesOptions.classes,
    trust: float = ShapesOptions.trust,
    full_trust: float | None = ShapesOptions.full_trust,
    palest: float = ShapesOptions.palest,
    strongest: float = ShapesOptions.strongest,
    channel: float = ShapesOptions.channel,
    smallest: float = ShapesOptions.smallest,
    largest: float = ShapesOptions.largest,
    paired: bool = ShapesOptions.paired,
    amplitude: float = ShapesOptions.amplitude,
    noise: float = ShapesOptions.noise,
) -> Data:
    """Render the built-in RGB images, each split from a random generator of its own.

    `oatlib.data.shapes.ShapesOptions` explains the options.
    """
    options = {
        "size": size,
        "classes": classes,
        "trust": trust,
        "full_trust": full_trust,
        "palest": palest,
        "strongest": strongest,
        "channel": channel,
        "smallest": smallest,
        "largest": largest,
        "paired": paired,
        "amplitude": amplitude,
        "noise": noise,
    }
    sizes = {"train": n_train, "val": n_val, "test": n_test}
    for part, n in sizes.items():
        positive_int(f"n_{part}", n)
    shape = (3, ShapesOptions(**options).size, size)
    check_memory("shapes", sizes, shape, COPIES_OF_RENDERING)
    pairs = {}
    facts = {}
    for part, n in sizes.items():
        scene = render_split(part, n, seed, **options)
        pairs[part] = (scene.x, scene.y)
        facts[part] = {"shape": scene.shape, "vividness": scene.vividness, "trust": scene.trust}
    # No augmentation: mirroring or shifting a texture tile gives another texture, and the renderer
    # already varies the positions of the shapes.
    return from_tensors("shapes", **pairs, classes=SHAPES[:classes], facts=facts)


def _digits(seed: int, *, n_train: int | None = None, n_val: int = 200, n_test: int = 500) -> Data:
    """Load scikit-learn's 1,797 handwritten digits (1x8x8), without augmentation.

    By default 500 images are for testing, 200 for validation, and the other 1,097 for training.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the set 'digits' comes with scikit-learn: pip install scikit-learn"
        ) from error
    raw = load_digits()  # pixel values are 0 to 16
    x = torch.as_tensor(raw.images).float()[:, None] / 16
    y = torch.as_tensor(raw.target).long()
    sizes = {"test": n_test, "val": n_val, "train": n_train}
    parts = stratified_split("digits", y, data_generator(seed), **sizes)
    pairs = {part: (x[index], y[index]) for part, index in parts.items()}
    return from_tensors("digits", **pairs, classes=[str(digit) for digit in range(10)])


@dataclass(frozen=True)
class _Published:
    """How to load a set from torchvision, and the augmentation that suits it.

    Attributes:
        cls: Name of the class in `torchvision.datasets`.
        n_val: Default number of training images that are held out for validation.
        flip: Whether to mirror training images at random.
        crop: Largest random shift of training images, in pixels.
        by_split: Whether the class takes `split="train"` instead of `train=True`.
    """

    cls: str
    n_val: int
    flip: bool
    crop: int
    by_split: bool = False


PUBLISHED = {
    "fashion-mnist": _Published("FashionMNIST", 5000, flip=True, crop=2),
    "cifar10": _Published("CIFAR10", 5000, flip=True, crop=4),
    "cifar100": _Published("CIFAR100", 5000, flip=True, crop=4),
    "svhn": _Published("SVHN", 5000, flip=False, crop=0, by_split=True),
    "stl10": _Published("STL10", 500, flip=True, crop=4, by_split=True),
}


def _published(
    name: str,
    root: str | Path,
    seed: int,
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
) -> Data:
    """Load a torchvision set, which is downloaded into `root` at first use.

    By default `n_val` is 5,000 (STL-10: 500) and `n_train` is the rest: 55,000 for FashionMNIST,
    45,000 for CIFAR, 68,257 for SVHN, 4,500 for STL-10. Here a class-stratified part of the
    training set is held out. The published OAT code holds images out by position. For STL-10 it
    validates on the test set, so that the test set also selects the model.
    """
    known = PUBLISHED[name]
    if n_val is None:
        n_val = known.n_val
    # Hold validation images out of the published training set.
    x, y, classes = _torchvision(known, root, train=True)
    parts = stratified_split(name, y, data_generator(seed), val=n_val, train=n_train)
    pairs = {part: (_pixels(x[index]), y[index]) for part, index in parts.items()}
    # The published test set, or a part of it.
    x, y, _ = _torchvision(known, root, train=False)
    parts = stratified_split(f"{name} test set", y, data_generator(seed, 1), test=n_test)
    pairs["test"] = (_pixels(x[parts["test"]]), y[parts["test"]])
    return from_tensors(name, **pairs, classes=classes, flip=known.flip, crop=known.crop)


def _torchvision(
    known: _Published, root: str | Path, train: bool
) -> tuple[Tensor, Tensor, Sequence[str]]:
    """Return one published part: images uint8 (N, C, H, W), labels int64 (N,), and class names."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise ImportError(
            f"{known.cls} is loaded by torchvision: pip install torchvision"
        ) from error
    split = "train" if train else "test"
    part = {"split": split} if known.by_split else {"train": train}
    try:
        raw = getattr(datasets, known.cls)(str(root), **part, download=True)
    except ImportError as error:
        raise ImportError(
            f"torchvision needs another package to read {known.cls}: pip install {error.name}"
        ) from error
    except Exception as error:
        # torchvision's readers raise many types of errors: URLError, AssertionError, KeyError, ...
        raise RuntimeError(
            f"could not load {known.cls} ({part}): {type(error).__name__}: {error}\n"
            f"oatlib looked for it in {Path(root).resolve()} and then tried to download it to that "
            "folder.\n"
            "Without a network connection, copy the files there from another computer. If a file "
            "is corrupt, for instance after an interrupted download, delete it and try again. The "
            "set 'shapes' needs no download."
        ) from error
    x = torch.as_tensor(raw.data)
    if x.ndim == 3:  # grey images get a channel dimension
        x = x[:, None]
    if x.shape[-1] == 3:  # CIFAR stores channels last
        x = x.permute(0, 3, 1, 2)
    y = torch.as_tensor(raw.targets if hasattr(raw, "targets") else raw.labels).long()
    # SVHN has no class names
    return x, y, getattr(raw, "classes", [str(digit) for digit in range(10)])


# Fractions of the images of a folder that are held out for a split without a folder of its own.
HELD_OUT = {"test": 0.2, "val": 0.1}


def _folder(
    path: str,
    seed: int,
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    size: int = 32,
    cache: bool = True,
) -> Data:
    """Load a folder PATH/<class>/* or PATH/{train,test[,val]}/<class>/* as square RGB images.

    Images have `size` x `size` pixels; transparency is dropped. By default a missing test split
    takes 20 % of the images, a missing validation split takes 10 %, and `n_train` is the rest. The
    archive of TinyImageNet can be a folder, too (`tiny_imagenet`). Decoded images are kept beside
    the folder and checked before they are used again (`pixel_cache`).
    """
    positive_int("size", size)
    if not isinstance(cache, bool):
        raise ValueError(f"cache={cache!r}: must be True or False")
    name = f"folder:{path}"
    looked_at = time.time_ns()
    pools, classes = folders.find(path)
    wanted = {"test": n_test, "val": n_val, "train": n_train}
    # Choose the images of each split, and compare their size with the memory before decoding.
    chosen_files = {}
    labels = {}
    for index, (pool, (files, y)) in enumerate(pools.items()):
        # Splits that come out of this pool: its own one, and splits that have no folder are held
        # out of the training images, or out of all images ("all").
        gives_missing = pool in ("all", "train")
        sizes = {
            part: n
            for part, n in wanted.items()
            if part == pool or (gives_missing and part not in pools)
        }
        # Default sizes of the splits that are held out.
        for part, fraction in HELD_OUT.items():
            if part in sizes and part != pool and sizes[part] is None:
                sizes[part] = max(len(classes), round(fraction * len(y)))
        parts = stratified_split(f"{name}, {pool}", y, data_generator(seed, index), **sizes)
        for part, chosen in parts.items():
            chosen_files[part] = [files[i] for i in chosen.tolist()]
            labels[part] = y[chosen]
    counts = {part: len(chosen) for part, chosen in chosen_files.items()}
    check_memory(name, counts, (3, size, size), COPIES_OF_FOLDER)
    # Read the images of all splits at once.
    wanted_files = [file for chosen in chosen_files.values() for file in chosen]
    if cache:
        every_file = [file for files, _ in pools.values() for file in files]
        x = load_pixels(Path(path).expanduser(), wanted_files, size, looked_at, keep=every_file)
    else:
        x = decode(wanted_files, size)
    parts_of_x = x.split([counts[part] for part in chosen_files])
    pairs = {
        part: (_pixels(part_of_x), labels[part])
        for part, part_of_x in zip(chosen_files, parts_of_x, strict=True)
    }
    # This augmentation suits photographs. If left and right matter, turn mirroring off with
    # dataclasses.replace(data, flip=False).
    return from_tensors(name, **pairs, classes=classes, flip=True, crop=size // 8)


# ---- helpers of the loaders ----------------------------------------------------------------------


def _loader(name: str, root: str | Path) -> Callable[..., Data]:
    """Return the function that loads the data set of this name."""
    if name.startswith("folder:"):
        return partial(_folder, name.removeprefix("folder:"))
    loaders = {"shapes": _shapes, "digits": _digits}
    loaders |= {known: partial(_published, known, root) for known in PUBLISHED}
    if name not in loaders:
        names = [*loaders, "folder:PATH"]
        raise ValueError(
            f"no data set {name!r}{did_you_mean(name.lower(), names)}. Choose one of: "
            f"{', '.join(names)}"
        )
    return loaders[name]


def _with_defaults(call: str, loader: Callable[..., Data], options: dict) -> dict:
    """Check the options and add the defaults, so that a record can load the same data again."""
    parameters = inspect.signature(loader).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    for key, value in options.items():
        if key not in defaults:
            raise TypeError(
                f"{call} has no option {key!r}{did_you_mean(key.lower(), defaults)}. Its options: "
                f"{', '.join(defaults)}"
            )
        if value is not None and type(value) not in (int, float, bool):
            raise TypeError(f"{call}: {key}={value!r} must be a plain number, or True or False")
    return defaults | options


def _pixels(x: Tensor) -> Tensor:
    """Return uint8 pixels 0 ... 255 as float32 in [0, 1]."""
    return x.float().div_(255)
