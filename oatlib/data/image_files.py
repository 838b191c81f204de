"""Image files of a folder: which entries are images, and what the file system says about them."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

IMAGE_TYPES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

# What an entry of a folder may be instead of a file, by the test for its mode.
NO_FILES = {
    "a folder": stat.S_ISDIR,
    "a named pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


class ImageFile(NamedTuple):
    """An image file, and what the file system said about it before it was read.

    Attributes:
        path: The file.
        inode: Number of the file in its file system.
        n_bytes: Its size.
        modified: Time of the last change of its content, in ns. Programs can set it.
        changed: Time of the last change of the file, in ns. On Windows: of its creation.
    """

    path: str
    inode: int
    n_bytes: int
    modified: int
    changed: int


Pool = tuple[list[ImageFile], Tensor]  # files, int64 labels


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name: the same order on every file system.

    Raises:
        ValueError: If the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"cannot read the folder {folder}: {error.strerror}") from error


def subfolders(folder: str | Path) -> dict[str, str]:
    """Return the subfolders by name. Hidden ones and those of Python and macOS are left out."""
    return {
        entry.name: entry.path
        for entry in entries(folder)
        if not entry.name.startswith((".", "__")) and os.path.isdir(entry.path)
    }


def images_in(folder: str | Path) -> list[ImageFile]:
    """Return the image files of a folder, by name. Hidden files are left out.

    Raises:
        ValueError: As `entries` and `look_at`.
    """
    return look_at(
        entry.path
        for entry in entries(folder)
        if entry.name.lower().endswith(IMAGE_TYPES) and not entry.name.startswith(".")
    )


def look_at(paths: Iterable[str]) -> list[ImageFile]:
    """Return what the file system says about image files. Links are followed.

    Raises:
        ValueError: If one is no file, for instance a folder or a pipe. None is opened.
    """
    files = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError as error:
            broken = "a link to a file that does not exist"
            kind = broken if os.path.islink(path) else f"not readable ({error.strerror})"
            raise _no_file(path, kind) from error
        # Opening a named pipe would wait for a writer for ever.
        if not stat.S_ISREG(found.st_mode):
            kinds = (kind for kind, is_kind in NO_FILES.items() if is_kind(found.st_mode))
            raise _no_file(path, next(kinds, "no file"))
        files.append(
            ImageFile(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        )
    return files


def _no_file(path: str, kind: str) -> ValueError:
    """Return the error for an entry that is named like an image and is something else."""
    return ValueError(f"{path} is {kind}, expected an image file: move or rename it")
