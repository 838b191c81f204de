"""Find the labelled images in the unpacked archive of TinyImageNet, `tiny-imagenet-200.zip`.

Its labelled images do not all lie in class folders:

* `train/<class>/images/*.JPEG`, where a class is a WordNet number such as n01443537. Files with
  bounding boxes lie beside the images and are not read.
* `val/images/*.JPEG` with `val/val_annotations.txt`. A line holds file, class and bounding box,
  separated by tabs.
* `test/images/*.JPEG`, without labels.
* `words.txt`: the words for every WordNet number.
"""

import os
import warnings
from pathlib import Path

import torch

from .image_files import ImageFile, Pool, images_in, subfolders

LAYOUT = (
    "TinyImageNet has train/<class>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt and "
    "words.txt: unpack its archive again, or arrange the images as "
    "PATH/{train,test[,val]}/<class>/*"
)


def is_laid_out_so(top: Path) -> bool:
    """Say whether a folder looks like the archive of TinyImageNet, even if parts are missing.

    Args:
        top: The folder.
    """
    if (top / "val" / "val_annotations.txt").exists() and (top / "val" / "images").is_dir():
        return True
    if not (top / "train").is_dir():
        return False
    # The first class folder has a folder "images" and no image.
    classes = list(subfolders(top / "train").values())
    has_folder = bool(classes) and os.path.isdir(os.path.join(classes[0], "images"))
    return has_folder and not images_in(classes[0])


def find(top: Path) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """Find the labelled images. A warning says which of them become which split.

    Args:
        top: The folder that the archive was unpacked to.

    Returns:
        Files and labels of the splits "train" and "test", and the names of the classes: the first
        word for each WordNet number. "test" holds the images in `val/`, because those in `test/`
        have no labels.

    Raises:
        ValueError: If something is missing, or if images and annotations do not fit together.
    """
    folders = subfolders(top / "train") if (top / "train").is_dir() else {}
    if len(folders) < 2:
        raise ValueError(
            f"{top / 'train'} needs at least two class folders, found {list(folders)}. {LAYOUT}"
        )
    label_of = {number: label for label, number in enumerate(folders)}
    classes = _names(top / "words.txt", list(folders))
    # Images in train/: their folder says the class.
    by_class = [_images(os.path.join(folder, "images")) for folder in folders.values()]
    train = [file for files in by_class for file in files]
    counts = torch.tensor([len(files) for files in by_class])
    train_y = torch.arange(len(folders)).repeat_interleave(counts)
    # Images in val/: the table says the class.
    test = _images(top / "val" / "images")
    labels = _annotations(top / "val" / "val_annotations.txt", label_of)
    names = [os.path.basename(file.path) for file in test]
    if single := sorted(set(names) ^ labels.keys()):
        raise ValueError(
            f"{top / 'val'}: every image belongs to one line of val_annotations.txt, but for "
            f"{len(single)} names there is only one of them, such as {single[0]}. {LAYOUT}"
        )
    test_y = torch.tensor([labels[name] for name in names])
    warnings.warn(
        f"{top} is laid out like TinyImageNet: its {len(test):,} labelled images in val/ are the "
        "split `test`, and the split `val` is held out of train/. The images in test/ have no "
        "labels and are not read",
        stacklevel=5,  # the caller of load_data
    )
    return {"train": (train, train_y), "test": (test, test_y)}, classes


def _images(folder: str | Path) -> list[ImageFile]:
    """Return the images of a folder that must have some."""
    if not os.path.isdir(folder):
        raise ValueError(f"the folder {folder} is missing. {LAYOUT}")
    files = images_in(folder)
    if not files:
        raise ValueError(f"there are no images in {folder}. {LAYOUT}")
    return files


def _annotations(path: Path, label_of: dict[str, int]) -> dict[str, int]:
    """Return the labels in `val_annotations.txt` by file name."""
    labels: dict[str, int] = {}
    for name, fields in _table(path).items():
        if fields[0] not in label_of:
            raise ValueError(
                f"{path}: {name} has the class {fields[0][:60]!r}, which has no folder in train/. "
                f"{LAYOUT}"
            )
        labels[name] = label_of[fields[0]]
    return labels


def _names(path: Path, numbers: list[str]) -> tuple[str, ...]:
    """Return a name for each WordNet number: the first of its words, or that and the number."""
    words = {number: fields[0].split(",")[0].strip() for number, fields in _table(path).items()}
    if unknown := [number for number in numbers if not words.get(number)]:
        raise ValueError(f"{path} has no words for the class {unknown[0]}. {LAYOUT}")
    names = [words[number] for number in numbers]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({number})"
        for name, number in zip(names, numbers, strict=True)
    )


def _table(path: Path) -> dict[str, list[str]]:
    """Return the lines of a text file: the fields after the first tab by the field before it."""
    if not path.is_file():  # reading a named pipe would wait for a writer for ever
        raise ValueError(f"{path} is missing. {LAYOUT}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"cannot read {path}: {reason}. {LAYOUT}") from error
    table: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        key, *fields = line.strip().split("\t")
        if not key:
            continue
        if not fields or key in table:
            problem = "is there twice" if fields else "has no tab"
            raise ValueError(f"{path}, line {number}: {key[:60]!r} {problem}. {LAYOUT}")
        table[key] = fields
    return table
