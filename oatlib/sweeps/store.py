"""Results of runs on disk, addressed by what they depend on.

A run has the folder `runs/ID` in the folder of the sweep. ID is a hash of its parameters, of the
code that computes it, and of the data that it reads. So a result is found again exactly as long as
a new run would give the same. `result.json` is written last, with a checksum of its own and with
those of the other files. A run is finished if and only if this file is valid.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from .._bundled import PACKAGE
from ..record import RecordError, read_json, versions, write_json

RUNS = "runs"  # folder of the runs in the folder of a sweep
RESULT = "result.json"
FAILED = "failed.json"
DIGITS = 16  # of an ID
# What a training and a measurement are computed with. The rest of oatlib shows results.
COMPUTING = (
    "_check.py",
    "_memory.py",
    "_processes.py",
    "_random.py",
    "record.py",
    "data",
    "layers",
    "attacks",
    "networks",
    "training",
    "evaluation",
    "sweeps/work.py",
)


@cache
def code(parts: tuple[str, ...] | None = COMPUTING) -> dict[str, str]:
    """Return what says which code a run is computed with: versions, and a hash of the files.

    Args:
        parts: Files and folders of oatlib that count. None: all.
    """
    roots = [PACKAGE] if parts is None else [PACKAGE / part for part in parts]
    files = [file for root in roots for file in (root.rglob("*.py") if root.is_dir() else [root])]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode())
        digest.update(file.read_bytes())
    return {
        "oatlib": versions().get("oatlib", "?"),
        "torch": torch.__version__,
        "files": digest.hexdigest(),
    }


def identity(address: Mapping) -> str:
    """Return the ID of a run.

    Args:
        address: All that the result depends on, as values that JSON can hold.
    """
    return _digest(address)[:DIGITS]


def _digest(value) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of_folder(path: Path) -> str:
    """Return a hash of names, sizes and times of all files of a folder.

    The files are not read: a folder of photographs may hold gigabytes.
    """
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            stat = os.stat(os.path.join(folder, name))
            place = os.path.relpath(os.path.join(folder, name), path)
            digest.update(f"{place}\n{stat.st_size} {stat.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()


def folder_of(out: Path, run_id: str) -> Path:
    """Return the folder of a run."""
    return out / RUNS / run_id


def prepare(folder: Path, keep: Iterable[str] = ()) -> None:
    """Create the folder of a run, or empty it.

    Args:
        folder: The folder.
        keep: Names of files that stay, such as a checkpoint.

    Raises:
        RecordError: If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name not in keep:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise RecordError(f"cannot write into {folder}: {error.strerror}") from error


def write_result(folder: Path, content: Mapping, files: Iterable[str]) -> None:
    """Write the result of a run, which makes it finished.

    Args:
        folder: The folder of the run.
        content: The result, as values that JSON can hold.
        files: Names of the other files of the run.

    Raises:
        RecordError: If it cannot be written.
    """
    hashes = {name: hash_of_file(folder / name) for name in files}
    # Through JSON once, so that the checksum is that of what is read again.
    plain = json.loads(json.dumps({**content, "files": hashes}, allow_nan=False))
    write_json(folder / RESULT, plain | {"sha256": _digest(plain)})


def read_result(folder: Path) -> dict | None:
    """Return the result of a run if it is finished.

    Args:
        folder: The folder of the run.

    Returns:
        The result without its checksum. None: the run is not finished.

    Raises:
        RecordError: If the result, or a file of the run, is damaged or missing.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    content = read_json(path)
    expected = content.pop("sha256", None) if isinstance(content, dict) else None
    if expected is None or expected != _digest(content):
        raise RecordError(f"{path} is damaged: its content does not have its checksum")
    files = content.get("files")
    if not isinstance(files, dict):
        raise RecordError(f"{path} does not say which files belong to it")
    for name, digest in files.items():
        file = folder / name
        if not file.is_file():
            raise RecordError(f"{file} is missing")
        if hash_of_file(file) != digest:
            raise RecordError(f"{file} is damaged: its content does not have its checksum")
    return content


def write_failure(folder: Path, message: str, trace: str = "") -> None:
    """Write why a run failed. It is no error if that is not possible, for instance on a full disk.

    Args:
        folder: The folder of the run.
        message: What is shown.
        trace: The traceback, for who looks into the file. "": none is known; a file with one
            stays.
    """
    with suppress(OSError, RecordError):
        folder.mkdir(parents=True, exist_ok=True)
        if trace or not (folder / FAILED).exists():
            write_json(folder / FAILED, {"error": message, "traceback": trace})


def read_failure(folder: Path) -> str | None:
    """Return why a run failed, or None if there is no such file."""
    try:
        content = read_json(folder / FAILED)
        return str(content["error"])
    except (OSError, RecordError, KeyError, TypeError):
        return None
