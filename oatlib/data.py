"""Every data set by its name: `load_data("shapes")`.

One rule for all: validation and test parts come out of one class-stratified shuffle that depends on the seed only (a
published test set stays the test set), so asking for fewer training images changes nothing else.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from oatlib import folders
from oatlib.shapes import SHAPES, SPREAD, Scene, World, best_frontier, render
from oatlib.splits import Data, Split, batches, crop, divide, flip, from_tensors, stream, whole

__all__ = ["Data", "Scene", "Split", "batches", "crop", "data_of", "flip", "from_tensors", "load_data", "render"]

ROOT = "data/downloads"


def load_data(
    name: str, seed: int = 0, device: torch.device | str | None = None, root: str | Path = ROOT, **options
) -> Data:
    """Load a data set: "shapes", "digits", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10" or "folder:PATH".

    Every set takes n_train, n_val and n_test; see the loader functions below for the defaults and for more options.
    Downloads go to `root` (relative to the current directory).
    """
    if type(seed) is not int or not 0 <= seed < 2**30:  # `stream` needs four different 32-bit seeds of each
        raise ValueError(f"seed={seed!r}: must be a whole number from 0 to 2**30 - 1")
    loader = _loader(str(name), root)
    options = _settle(f"load_data({name!r})", loader, options)
    data = loader(seed, **options)
    options |= {"seed": seed} | {f"n_{part.name}": len(part) for part in (data.train, data.val, data.test)}
    if name in PUBLISHED and Path(root) != Path(ROOT):
        options["root"] = str(root)
    return replace(data, name=name, options=options).to(device)


def data_of(source: dict, name: str | None = None, device: torch.device | str | None = None) -> Data:
    """The data that a network's `spec.data` names, or another set; always its seed: another one could test on training
    images."""
    known = source.get("options")
    if name is None and not known:
        raise ValueError("the file does not say how to load the data it was trained on: name a set with --data")
    if name in (None, source.get("name")) and known:
        return load_data(source["name"], device=device, **known)
    return load_data(name, (known or {}).get("seed", 0), device)


def best_points(source: dict, eps: float) -> list[tuple[float, float]] | None:
    """The best possible (clean, robust) accuracies of a data set along λ, where they are known.

    Args:
        source: name and options of a data set, as in a network's `spec.data`.
        eps: radius of the attack, pixels in [0, 1]. It must be able to repaint every texture, or there is no bound.

    Returns:
        Points in the order of λ, or None: only `shapes` has them.
    """
    options = source.get("options") or {}
    world = {f.name: options[f.name] for f in fields(World) if f.name in options}
    if source.get("name") != "shapes" or "trust" not in world or eps < SPREAD[1] * World(**world).amplitude:
        return None
    return [(point.clean, point.robust) for point in best_frontier([i / 100 for i in range(101)], **world)]


# ---- the sets -------------------------------------------------------------------------------------------------------


def _shapes(
    seed: int,
    *,
    n_train: int = 8192,
    n_val: int = 512,
    n_test: int = 2048,
    size: int = World.size,
    classes: int = World.classes,
    trust: float = World.trust,
    full_trust: float | None = World.full_trust,
    palest: float = World.palest,
    strongest: float = World.strongest,
    channel: float = World.channel,
    smallest: float = World.smallest,
    largest: float = World.largest,
    paired: bool = World.paired,
    amplitude: float = World.amplitude,
    noise: float = World.noise,
) -> Data:
    """The built-in world (see oatlib.shapes.World for its numbers): RGB, each split from a random stream of its own."""
    world = {
        "size": size, "classes": classes, "trust": trust, "full_trust": full_trust, "palest": palest,
        "strongest": strongest, "channel": channel, "smallest": smallest, "largest": largest,
        "paired": paired, "amplitude": amplitude, "noise": noise,
    }  # fmt: skip
    pairs, facts = {}, {}
    for index, (part, n) in enumerate({"train": n_train, "val": n_val, "test": n_test}.items()):
        scene = render(whole(f"n_{part}", n), stream(seed, index), **world)
        pairs[part] = scene.x, scene.y
        facts[part] = {"shape": scene.shape, "vividness": scene.vividness, "trust": scene.trust}
    # No augmentation: a mirrored or shifted tile would be another texture, and the renderer moves the shapes already.
    return from_tensors("shapes", **pairs, classes=SHAPES[:classes], facts=facts)


def _digits(seed: int, *, n_train: int | None = None, n_val: int = 200, n_test: int = 500) -> Data:
    """scikit-learn's 1,797 handwritten digits, 1x8x8: 500 test, 200 val, the other 1,097 train. No augmentation."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install scikit-learn") from error
    raw = load_digits()
    x, y = torch.as_tensor(raw.images).float()[:, None] / 16, torch.as_tensor(raw.target).long()
    parts = divide("digits", y, stream(seed), test=n_test, val=n_val, train=n_train)
    return from_tensors("digits", **{part: (x[i], y[i]) for part, i in parts.items()}, classes=map(str, range(10)))


@dataclass(frozen=True)
class _Published:
    """How torchvision calls a set, how many training images to hold out, and the augmentation that suits it."""

    cls: str
    n_val: int
    flip: bool
    crop: int
    by_split: bool = False  # asks for split="train" instead of train=True


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
    """A torchvision set, downloaded into root at first use. n_val is 5,000 (STL-10: 500), n_train what remains:
    55,000 FashionMNIST, 45,000 CIFAR, 68,257 SVHN, 4,500 STL-10. The published OAT code holds out by position and, for
    STL-10, validates on the test set, which selects on it; here a stratified part of the training set is held out."""
    known = PUBLISHED[name]
    x, y, classes = _torchvision(known, root, train=True)
    parts = divide(name, y, stream(seed), val=known.n_val if n_val is None else n_val, train=n_train)
    pairs = {part: (_pixels(x[i]), y[i]) for part, i in parts.items()}
    x, y, _ = _torchvision(known, root, train=False)
    chosen = divide(f"{name} test set", y, stream(seed, 1), test=n_test)["test"]
    return from_tensors(
        name, **pairs, test=(_pixels(x[chosen]), y[chosen]), classes=classes, flip=known.flip, crop=known.crop
    )


def _torchvision(known: _Published, root: str | Path, train: bool) -> tuple[Tensor, Tensor, Sequence[str]]:
    """One published part: x uint8 (N,C,H,W), y int64 (N,), class names."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise ImportError(f"{known.cls} is loaded by torchvision: pip install torchvision") from error
    part = {"split": "train" if train else "test"} if known.by_split else {"train": train}
    try:
        raw = getattr(datasets, known.cls)(str(root), **part, download=True)
    except ImportError as error:
        raise ImportError(f"torchvision needs another package to read {known.cls}: pip install {error.name}") from error
    except Exception as error:  # torchvision's readers raise whatever they met: URLError, AssertionError, KeyError...
        raise RuntimeError(
            f"could not load {known.cls} ({part}): {type(error).__name__}: {error}\n"
            f"Tried to find it in {Path(root).resolve()} and, failing that, to download it there.\n"
            "If there is no network, put the files there from a machine that has one. If a file is corrupt (an "
            "interrupted download), delete it and try again. The set 'shapes' needs no download."
        ) from error
    x = torch.as_tensor(raw.data)
    x = x[:, None] if x.ndim == 3 else x
    x = x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x  # CIFAR keeps its channels last
    y = torch.as_tensor(raw.targets if hasattr(raw, "targets") else raw.labels).long()
    return x, y, getattr(raw, "classes", [str(digit) for digit in range(10)])  # SVHN has no names


def _folder(
    path: str,
    seed: int,
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    size: int = 32,
) -> Data:
    """A folder PATH/<class>/* or PATH/{train,test[,val]}/<class>/* as RGB squares of `size` pixels (transparency is
    dropped). A missing test split is 20 % of the images, a missing val split 10 %; n_train is what remains."""
    whole("size", size)
    name = f"folder:{path}"
    pools, classes = folders.find(path)
    wanted = {"test": n_test, "val": n_val, "train": n_train}
    share = {"test": 0.2, "val": 0.1}
    pairs = {}
    for index, (pool, (files, y)) in enumerate(pools.items()):
        # A missing split is held out of the training images, or of all images where nothing is split.
        here = [part for part in wanted if part == pool or (part not in pools and pool in ("all", "train"))]
        sizes = {part: wanted[part] for part in here}
        for part, fraction in share.items():
            if part in here and part != pool and sizes[part] is None:
                sizes[part] = max(len(classes), round(fraction * len(y)))
        for part, chosen in divide(f"{name}, {pool}", y, stream(seed, index), **sizes).items():
            pairs[part] = folders.decode([files[i] for i in chosen.tolist()], size, part), y[chosen]
    # Photographs in mind; dataclasses.replace(data, flip=False) where left and right matter.
    return from_tensors(name, **pairs, classes=classes, flip=True, crop=size // 8)


# ---- what the loaders share -----------------------------------------------------------------------------------------


def _loader(name: str, root: str | Path) -> Callable[..., Data]:
    if name.startswith("folder:"):
        return partial(_folder, name.removeprefix("folder:"))
    loaders = {"shapes": _shapes, "digits": _digits}
    loaders |= {known: partial(_published, known, root) for known in PUBLISHED}
    if name not in loaders:
        names = [*loaders, "folder:PATH"]
        raise ValueError(f"no data set {name!r}{_guess(name, names)}. Choose one of: {', '.join(names)}")
    return loaders[name]


def _settle(call: str, loader: Callable[..., Data], options: dict) -> dict:
    """The options in full, defaults included: what a record needs to load the same data again."""
    accepted = inspect.signature(loader).parameters.values()
    defaults = {option.name: option.default for option in accepted if option.default is not option.empty}
    for key, value in options.items():
        if key not in defaults:
            raise TypeError(f"{call} has no option {key!r}{_guess(key, defaults)}. Its options: {', '.join(defaults)}")
        if value is not None and type(value) not in (int, float, bool):
            raise TypeError(f"{call}: {key}={value!r} must be a plain number, or True or False")
    return defaults | options


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _pixels(x: Tensor) -> Tensor:
    return x.float().div_(255)
