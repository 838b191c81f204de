"""Find labelled image files in class folders, and decode them into a tensor.

This is how `load_data("folder:PATH")` reads images of the user.
"""

import os
import stat
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

IMAGE_TYPES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = (
    "Expected PATH/<class>/* or PATH/{train,test[,val]}/<class>/*, images ending in "
    + " ".join(IMAGE_TYPES)
)

# An image of more pixels is refused, because a small file can hold an image that fills the memory.
# One of 50 million pixels takes 150 MB, and one is decoded on every thread.
MAX_PIXELS = 50_000_000

# What an entry of a folder may be instead of a file, by the test for its mode.
NO_FILES = {
    "a folder": stat.S_ISDIR,
    "a named pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}

Pool = tuple[list[Path], Tensor]  # files, int64 labels


def find(path: str | Path) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """Find the labelled image files in a folder.

    Files that are no images and hidden folders are ignored.

    Args:
        path: Folder with one subfolder per class, or with subfolders "train", "test" and perhaps
            "val" that have one subfolder per class.

    Returns:
        Files and labels by split, and the class names. The splits are "train", "test" and perhaps
        "val". If the folder has no splits, there is only "all".

    Raises:
        ValueError: If the folder does not exist, cannot be read or is not laid out like this. Also
            if an entry that is named like an image is no file, for instance a folder or a pipe.
    """
    top = Path(path).expanduser()
    if not top.is_dir():
        problem = "is a file" if top.exists() else "does not exist"
        raise ValueError(f"{top} {problem}. {LAYOUT}")
    subfolders = _subfolders(top)
    # Without train and test folders the subfolders are the classes.
    if not {"train", "test"} <= set(subfolders):
        if "train" in subfolders and _subfolders(subfolders["train"]):
            raise ValueError(
                f"{top} has a train folder but no test folder, found {sorted(subfolders)}. {LAYOUT}"
            )
        files, y, classes = _labelled(top)
        return {"all": (files, y)}, classes
    pools = {}
    classes_of = {}
    for part in ("train", "val", "test"):
        if part in subfolders:
            files, y, classes_of[part] = _labelled(subfolders[part])
            pools[part] = (files, y)
    for part, classes in classes_of.items():
        if differing := sorted(set(classes) ^ set(classes_of["train"])):
            raise ValueError(
                f"{top}: train and {part} must have the same classes, but only one of them has "
                f"{differing}"
            )
    return pools, classes_of["train"]


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, by name: the same order on every file system."""
    try:
        return sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"cannot read the folder {folder}: {error.strerror}") from error


def _subfolders(folder: Path) -> dict[str, Path]:
    """Return the subfolders by name. Hidden ones and those of Python and macOS are left out."""
    return {
        entry.name: entry
        for entry in _entries(folder)
        if entry.is_dir() and not entry.name.startswith((".", "__"))
    }


def _labelled(folder: Path) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """Return files, labels and class names of all class folders, in the order of their names."""
    classes = _subfolders(folder)
    if len(classes) < 2:
        others = [entry.name for entry in _entries(folder) if entry.name not in classes]
        more = "..." if len(others) > 5 else ""
        raise ValueError(
            f"{folder} needs at least two class folders, found class folders {list(classes)}, "
            f"other entries {others[:5]}{more}. {LAYOUT}"
        )
    images = {name: _images(subfolder) for name, subfolder in classes.items()}
    if empty := [name for name, files in images.items() if not files]:
        raise ValueError(f"{folder}: there are no images in class folder {empty}. {LAYOUT}")
    # All files in the order of the classes, and the label of each.
    all_files = [file for files in images.values() for file in files]
    counts = torch.tensor([len(files) for files in images.values()])
    y = torch.arange(len(classes)).repeat_interleave(counts)
    return all_files, y, tuple(classes)


def _images(folder: Path) -> list[Path]:
    """Return the image files of a folder. Hidden files are left out."""
    images = [
        file
        for file in _entries(folder)
        if file.suffix.lower() in IMAGE_TYPES and not file.name.startswith(".")
    ]
    # Opening a named pipe would wait for a writer for ever.
    for image in images:
        if kind := _instead_of_a_file(image):
            raise ValueError(f"{image} is {kind}, expected an image file: move or rename it")
    return images


def _instead_of_a_file(path: Path) -> str:
    """Return what a path is if it is no file, or "" if it is one. Links are followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if path.is_symlink():
            return "a link to a file that does not exist"
        return f"not readable ({error.strerror})"
    if stat.S_ISREG(mode):
        return ""
    return next((kind for kind, is_kind in NO_FILES.items() if is_kind(mode)), "no file")


def decode(files: Sequence[Path], size: int, title: str) -> Tensor:
    """Read image files as RGB, resize the shorter side to `size` and crop the centre square.

    Args:
        files: N image files.
        size: Height and width of the result in pixels.
        title: Label of the progress bar.

    Returns:
        Images, float32 (N, 3, size, size) in [0, 1].

    Raises:
        ValueError: If a file cannot be read, has more than MAX_PIXELS pixels, or has more than 8
            bits per channel.
    """
    from PIL import Image
    from tqdm.auto import tqdm

    x = torch.empty(len(files), 3, size, size)
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # PIL warns of large images. They are refused below, with a limit of our own.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # threads are enough: PIL releases the interpreter lock
        decoded = pool.map(partial(_pixels, size=size), files)
        bar = tqdm(decoded, total=len(files), desc=title, unit="image", leave=False)
        try:
            for index, pixels in enumerate(bar):
                x[index] = pixels
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the other files need not be read
            raise
    return x


def _pixels(file: Path, size: int) -> Tensor:
    """One image file as float32 (3, size, size) in [0, 1]."""
    import numpy as np
    from PIL import Image, ImageOps

    with _opened(file) as image:
        # PIL would clip images of 16 bits or floats to white without a warning
        if image.mode[:1] in "IF":
            raise ValueError(
                f"cannot use the image {file}: it has more than 8 bits per channel, save it with 8"
            )
        try:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        except Exception as error:  # every PIL reader raises errors of its own
            raise _unreadable(file, error) from error
    square = np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))
    return torch.tensor(square).permute(2, 0, 1).float() / 255


def _opened(file: Path):
    """Return an image whose header has been read, and whose pixels have not been decoded yet."""
    from PIL import Image, UnidentifiedImageError

    too_large = f"cannot use the image {file}: it has %s, more than {MAX_PIXELS:,}: shrink it first"
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:  # beyond the limit of PIL, which is larger
        raise ValueError(too_large % "hundreds of millions of pixels") from error
    except UnidentifiedImageError as error:
        raise _unreadable(file, "it is damaged, or no image that PIL knows") from error
    except Exception as error:
        raise _unreadable(file, error) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(too_large % f"{width} x {height} pixels")
    return image


def _unreadable(file: Path, reason: Exception | str) -> ValueError:
    """Return the error for an image that cannot be read."""
    return ValueError(f"cannot read the image {file}: {reason or type(reason).__name__}")
