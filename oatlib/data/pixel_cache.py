"""Keep the decoded images of a folder in a file beside it, so that they are decoded once.

`PATH.cache-SIZE.safetensors` holds one row for each image file. A row is used only if

* the whole cache has the checksum that it was written with,
* the same decoder wrote it, and
* inode, size and both times of the image file are still those of the row.

All other images are decoded. So whatever is wrong with a cache, the images are those of the files:
a warning says what is wrong, and the cache is replaced. A cache that cannot be written costs a
warning only.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._memory import available_memory
from ..record import RecordError, read_weights, write_weights
from .decode import decode, decoder
from .image_files import ImageFile

# A cache is read as a whole, to check it. If it is many times as large as the images that are asked
# for, these are decoded in less time and memory.
LARGEST_EXCESS = 4
SMALL_CACHE = 1_000_000  # bytes: it is read in any case

# A file that changed within this time before it was looked at may change again and keep its times,
# because clocks of file systems are coarse. It is decoded, and not kept.
UNSETTLED = 2_000_000_000  # ns

LARGEST_INT = 2**63 - 1  # the numbers of a file system may be larger

REMEDY = "The images are decoded again."


class _Rows(NamedTuple):
    """The content of a cache, for N files."""

    names: list[bytes]  # relative to the folder
    stamps: Tensor  # int64 (N, 4): inode, size, modified, changed
    x: Tensor  # uint8 (N, 3, size, size)


def cache_path(top: str | Path, size: int) -> Path:
    """Return the path of the cache of a folder, which is beside the folder.

    Args:
        top: The folder. A symbolic link is followed.
        size: Height and width of the images in pixels.
    """
    return Path(f"{os.path.realpath(top)}.cache-{size}.safetensors")


def load_pixels(
    top: str | Path,
    files: Sequence[ImageFile],
    size: int,
    looked_at: int,
    keep: Sequence[ImageFile] = (),
) -> Tensor:
    """Return the same images as `decode`, from the cache where it can be trusted.

    Args:
        top: The folder that the files are in.
        files: N image files.
        size: Height and width of the images in pixels.
        looked_at: Time in ns, before the first of `files` was looked at.
        keep: Other files of the folder. If they are in the cache, they stay there.

    Returns:
        Images, uint8 (N, 3, size, size).

    Raises:
        ValueError: As `decode`.
    """
    path = cache_path(top, size)
    if not _is_worth_reading(path, size, len(files)):
        return decode(files, size)
    try:
        cached = _read(path, size)
    except RecordError as error:
        _warn(str(error))
        cached = _no_rows(size)
    names = _names(top, files)
    stamps = _stamps(files)
    # Find the files in the cache, and compare what the file system says of them.
    row_of = {name: row for row, name in enumerate(cached.names)}
    row = torch.tensor([row_of.get(name, -1) for name in names])
    is_known = row >= 0
    is_current = is_known.clone()
    is_current[is_known] = (cached.stamps[row[is_known]] == stamps[is_known]).all(1)
    if is_current.all():
        return cached.x[row]
    if n_changed := int((is_known & ~is_current).sum()):
        _warn(
            f"{n_changed:,} of {len(files):,} images have changed since {path} was written. "
            "They are decoded again."
        )
    # Take the current ones from the cache, and decode the others.
    new = (~is_current).nonzero().flatten()
    x = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    x[is_current] = cached.x[row[is_current]]
    x[new] = decode([files[index] for index in new.tolist()], size)
    # Write a cache, if that saves work next time.
    is_settled = stamps[:, 3] < looked_at - UNSETTLED
    if is_settled[new].any():
        others = set(_names(top, keep)).difference(names)
        try:
            _write(path, _merged(cached, others, _Rows(names, stamps, x), is_settled))
        except RecordError as error:
            _warn(
                f"{error}. So these images will be decoded again next time. "
                "load_data(..., cache=False) neither reads nor writes a cache."
            )
    return x


def _names(top: str | Path, files: Sequence[ImageFile]) -> list[bytes]:
    """Return the names of files relative to the folder that they are in."""
    return [os.fsencode(file.path.removeprefix(str(top))) for file in files]


def _stamps(files: Sequence[ImageFile]) -> Tensor:
    """Return what the file system says of N files, int64 (N, 4)."""
    numbers = [[number & LARGEST_INT for number in file[1:]] for file in files]
    return torch.from_numpy(np.array(numbers, np.int64).reshape(-1, 4))


def _merged(old: _Rows, others: set[bytes], new: _Rows, is_settled: Tensor) -> _Rows:
    """Return the old rows of the files in `others`, and the new rows of settled files."""
    stay = [row for row, name in enumerate(old.names) if name in others]
    come = is_settled.nonzero().flatten().tolist()
    return _Rows(
        [old.names[row] for row in stay] + [new.names[row] for row in come],
        torch.cat([old.stamps[stay], new.stamps[come]]),
        torch.cat([old.x[stay], new.x[come]]),
    )


def _is_worth_reading(path: Path, size: int, n_wanted: int) -> bool:
    """Say whether reading a cache as a whole costs less than decoding the images that are wanted.

    It does if there is no cache yet.
    """
    try:
        n_bytes = os.stat(path).st_size
    except OSError:
        return True
    # It is read, and another one may be made of it.
    fits = 3 * n_bytes < available_memory()
    return fits and n_bytes < LARGEST_EXCESS * n_wanted * 3 * size * size + SMALL_CACHE


def _no_rows(size: int) -> _Rows:
    """Return the content of a cache without images."""
    stamps = torch.empty(0, 4, dtype=torch.int64)
    return _Rows([], stamps, torch.empty(0, 3, size, size, dtype=torch.uint8))


def _read(path: Path, size: int) -> _Rows:
    """Return the content of a cache, or raise a RecordError if it cannot be used."""
    if not os.path.lexists(path):
        return _no_rows(size)
    try:
        return _checked(path, size, *read_weights(path, REMEDY))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RecordError(f"cannot read {path}: {reason}. {REMEDY}") from error


def _checked(path: Path, size: int, tensors: dict[str, Tensor], header: dict) -> _Rows:
    """Return the content of a cache, or raise a RecordError if it cannot be used."""
    if header.get("cache") != "folder" or header.get("checksum") != "sha256":
        raise RecordError(f"{path} is a file of oatlib, but no cache of a folder. {REMEDY}")
    if header.get("decoder") != decoder():
        raise RecordError(
            f"{path} was written with {header.get('decoder')}, and this is {decoder()}. {REMEDY}"
        )
    names, stamps, x = (tensors.get(name, torch.empty(0)) for name in _Rows._fields)
    rows = _Rows(bytes(names.numpy()).split(b"\0"), stamps, x)
    n = len(rows.names)
    fits = x.shape == (n, 3, size, size) and x.dtype == torch.uint8
    if not fits or stamps.shape != (n, 4) or stamps.dtype != torch.int64:
        raise RecordError(f"{path} does not hold images of {size} x {size} pixels. {REMEDY}")
    return rows


def _write(path: Path, rows: _Rows) -> None:
    """Write a cache, whole or not at all."""
    names = np.frombuffer(b"\0".join(rows.names), np.uint8).copy()
    tensors = {"names": torch.from_numpy(names), "stamps": rows.stamps, "x": rows.x}
    write_weights(path, tensors, {"cache": "folder", "decoder": decoder()})


def _warn(text: str) -> None:
    """Warn the caller of `load_data`."""
    warnings.warn(text, stacklevel=5)
