"""Find labelled image files in class folders.

This is how `load_data("folder:PATH")` finds images of the user. The archive of TinyImageNet is laid
out in another way, which `tiny_imagenet` reads.
"""

from pathlib import Path

import torch
from torch import Tensor

from . import tiny_imagenet
from .image_files import IMAGE_TYPES, ImageFile, Pool, entries, images_in, subfolders

LAYOUT = (
    "Expected PATH/<class>/* or PATH/{train,test[,val]}/<class>/*, images ending in "
    + " ".join(IMAGE_TYPES)
)


def find(path: str | Path) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """Find the labelled image files in a folder.

    Files that are no images and hidden folders are ignored.

    Args:
        path: Folder with one subfolder per class, or with subfolders "train", "test" and perhaps
            "val" that have one subfolder per class. Or the unpacked archive of TinyImageNet: its
            labelled images in "val" become the split "test", and a warning says so.

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
    if tiny_imagenet.is_laid_out_so(top):
        return tiny_imagenet.find(top)
    folders = subfolders(top)
    # Without train and test folders the subfolders are the classes.
    if not {"train", "test"} <= set(folders):
        if "train" in folders and subfolders(folders["train"]):
            raise ValueError(
                f"{top} has a train folder but no test folder, found {sorted(folders)}. {LAYOUT}"
            )
        files, y, classes = _labelled(top)
        return {"all": (files, y)}, classes
    pools = {}
    classes_of = {}
    for part in ("train", "val", "test"):
        if part in folders:
            files, y, classes_of[part] = _labelled(folders[part])
            pools[part] = (files, y)
    for part, classes in classes_of.items():
        if differing := sorted(set(classes) ^ set(classes_of["train"])):
            raise ValueError(
                f"{top}: train and {part} must have the same classes, but only one of them has "
                f"{differing}"
            )
    return pools, classes_of["train"]


def _labelled(folder: str | Path) -> tuple[list[ImageFile], Tensor, tuple[str, ...]]:
    """Return files, labels and class names of all class folders, in the order of their names."""
    classes = subfolders(folder)
    if len(classes) < 2:
        others = [entry.name for entry in entries(folder) if entry.name not in classes]
        more = "..." if len(others) > 5 else ""
        raise ValueError(
            f"{folder} needs at least two class folders, found class folders {list(classes)}, "
            f"other entries {others[:5]}{more}. {LAYOUT}"
        )
    images = {name: images_in(subfolder) for name, subfolder in classes.items()}
    if empty := [name for name, files in images.items() if not files]:
        raise ValueError(f"{folder}: there are no images in class folder {empty}. {LAYOUT}")
    # All files in the order of the classes, and the label of each.
    all_files = [file for files in images.values() for file in files]
    counts = torch.tensor([len(files) for files in images.values()])
    y = torch.arange(len(classes)).repeat_interleave(counts)
    return all_files, y, tuple(classes)
