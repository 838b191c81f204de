"""A folder of class folders as lists of files with labels, and image files as a tensor."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

IMAGE_TYPES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = "Expected PATH/<class>/* or PATH/{train,test[,val]}/<class>/*, images ending in " + " ".join(IMAGE_TYPES)

Pool = tuple[list[Path], Tensor]  # files, int64 labels


def find(path: str | Path) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """The labelled files of each published split ("train", "test", perhaps "val"), or of "all" where there is none,
    and the class names; other files and hidden folders are ignored."""
    top = Path(path).expanduser()
    if not top.is_dir():
        what = "is a file" if top.exists() else "does not exist"
        raise ValueError(f"{top} {what}. {LAYOUT}")
    found = _subfolders(top)
    if not {"train", "test"} <= set(found):
        if "train" in found and _subfolders(found["train"]):
            raise ValueError(f"{top} has a train folder but no test folder, found {sorted(found)}. {LAYOUT}")
        files, y, classes = _labelled(top)
        return {"all": (files, y)}, classes
    pools, names = {}, {}
    for part in ("train", "val", "test"):
        if part in found:
            files, y, names[part] = _labelled(found[part])
            pools[part] = files, y
    for part, classes in names.items():
        if odd := sorted(set(classes) ^ set(names["train"])):
            raise ValueError(f"{top}: train and {part} must have the same classes, but only one of them has {odd}")
    return pools, names["train"]


def _subfolders(folder: Path) -> dict[str, Path]:
    inside = sorted(folder.iterdir(), key=lambda entry: entry.name)  # the same order on every file system
    return {entry.name: entry for entry in inside if entry.is_dir() and not entry.name.startswith((".", "__"))}


def _labelled(folder: Path) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """Every image of every class folder, in the order of their names."""
    classes = _subfolders(folder)
    if len(classes) < 2:
        others = sorted(entry.name for entry in folder.iterdir() if entry.name not in classes)
        seen = f"class folders {list(classes)}, other entries {others[:5]}{'...' if len(others) > 5 else ''}"
        raise ValueError(f"{folder} needs at least two class folders, found {seen}. {LAYOUT}")
    images = {name: _images(inside) for name, inside in classes.items()}
    if empty := [name for name, files in images.items() if not files]:
        raise ValueError(f"{folder}: no images in class folder {empty}. {LAYOUT}")
    counts = torch.tensor([len(files) for files in images.values()])
    y = torch.arange(len(classes)).repeat_interleave(counts)
    return [file for files in images.values() for file in files], y, tuple(classes)


def _images(folder: Path) -> list[Path]:
    inside = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [file for file in inside if file.suffix.lower() in IMAGE_TYPES and not file.name.startswith(".")]


def decode(files: Sequence[Path], size: int, title: str) -> Tensor:
    """Read images as RGB, shorter side resized to `size`, centre square cut out: float32 (N,3,size,size) in [0,1]."""
    from tqdm.auto import tqdm

    x = torch.empty(len(files), 3, size, size)
    with ThreadPoolExecutor() as pool:  # threads are enough: PIL decodes without holding the interpreter
        decoded = pool.map(partial(_pixels, size=size), files)
        for index, pixels in enumerate(tqdm(decoded, total=len(files), desc=title, unit="image")):
            x[index] = pixels
    return x


def _pixels(file: Path, size: int) -> Tensor:
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            deep = image.mode[:1] in "IF"  # 16 bits or floats, which PIL would clip to white without a word
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # every PIL reader has its own way to fail
        raise ValueError(f"cannot read the image {file}: {type(error).__name__}: {error}") from error
    if deep:
        raise ValueError(f"cannot use the image {file}: it has more than 8 bits per channel, save it with 8")
    square = np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))
    return torch.tensor(square).permute(2, 0, 1).float() / 255
