"""Files on disk: weights as safetensors with a JSON header, results as JSON.

A file is written completely or not at all. Nothing is pickled, so reading a file runs no code from
it. A file is accepted only if it fits exactly.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from . import _locks
from ._bundled import bundled
from ._check import path_of
from ._memory import available_memory

# Version of the file format. Increase it when older code cannot read files that are written now.
FORMAT = 3

# What to do about weights that cannot be read.
REMEDY = "Choose a file written by oatlib.save, copy it again, or train again with `oatlib train`."


class RecordError(ValueError):
    """A file cannot be used. The message says what was found and what to do."""


def versions() -> dict[str, str]:
    """Return the versions that a result or a file depends on: Python, PyTorch and oatlib.

    oatlib is left out if it is not installed as a package.
    """
    found = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        return {"oatlib": metadata.version("oatlib"), **found}
    except metadata.PackageNotFoundError:  # a source folder that is not installed
        return found


def check_writable(path) -> Path:
    """Check an output path by trying it. Functions that work for long call it before they start.

    Args:
        path: The file to write. A symbolic link is followed.

    Returns:
        The path as a `Path`.

    Raises:
        RecordError: If `path` is a folder or a device, if its folder does not exist, or if the
            folder or the existing file cannot be written to.
    """
    if isinstance(path, str) and path.endswith(("/", os.sep)):  # Path would drop it
        raise RecordError(f"cannot write {path}: it is the name of a folder, expected a file")
    path = path_of(path)
    target = _target(path)
    try:
        with suppress(FileNotFoundError):
            os.close(os.open(target, os.O_WRONLY))  # changes nothing
        # A file can be created on a full disk, but nothing can be written to it.
        handle, temporary = _open_temporary(target)
        try:
            os.write(handle, bytes(4096))
        finally:
            _locks.remove(handle, temporary)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


@contextmanager
def claimed(*paths) -> Iterator[None]:
    """Check output paths, and refuse them to other oatlib runs until the block ends.

    A file `.NAME.lock` beside the output says that it is claimed. The claim ends with the process,
    however that ends.

    Args:
        *paths: The files to write. None is left out.

    Raises:
        RecordError: If a file cannot be written (see `check_writable`), if another run has claimed
            it, or if two of the paths lead to one file.

    Example:
        >>> with claimed("results.json"):
        ...     work_for_hours()
    """
    outputs = [check_writable(path) for path in paths if path is not None]
    for index, path in enumerate(outputs):
        for earlier in outputs[:index]:
            if same_file(earlier, path):
                raise RecordError(f"{earlier} and {path} are one file: each output needs its own")
    with ExitStack() as claims:
        for path in outputs:
            claims.enter_context(_claim(path))
        yield


def same_file(path, other) -> bool:
    """Say whether two paths lead to one file, which need not exist."""
    return os.path.realpath(path) == os.path.realpath(other)


@contextmanager
def _claim(path: Path) -> Iterator[None]:
    """Hold the lock file beside an output."""
    lock = _beside(_target(path), "lock")
    try:
        handle = _open_lock(lock)
        if handle is None:
            raise RecordError(
                f"another oatlib run{_holder(lock)} is writing {path}: wait until it ends, or "
                "choose another file"
            )
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with suppress(OSError):  # who holds the lock is for messages only
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()} {platform.node()}".encode())
        yield
    finally:
        _locks.remove(handle, lock)


def _open_lock(path: Path) -> int | None:
    """Open and lock a lock file. None: another process, or a part of this one, has locked it."""
    while True:
        handle = _locks.open_for_lock(path, os.O_CREAT)
        try:
            if not _locks.try_lock(handle):
                os.close(handle)
                return None
            # The former holder may have removed the file after it was opened here.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        except OSError:  # a file system without locks: no run can be refused
            return handle
        os.close(handle)


def _holder(lock: Path) -> str:
    """The process that holds a lock file, as a part of a sentence, or "" if that is unknown."""
    try:
        process, _, host = lock.read_text(encoding="utf-8").partition(" ")
    except (OSError, UnicodeDecodeError):
        return ""
    if not process.isdecimal():
        return ""
    return f" (process {process})" if host == platform.node() else f" (process {process} on {host})"


def write_bytes(path, content: bytes) -> None:
    """Write a file under a temporary name next to `path`, then rename it.

    Readers see the old file or the new one, but never a part of it. Temporary files that killed
    writes to `path` have left are removed.

    Args:
        path: The file to write. A symbolic link is followed.
        content: Its content.

    Raises:
        RecordError: If the file cannot be written. The message names `path`, and the free space if
            there is too little.
    """
    path = path_of(path)
    target = _target(path)
    _remove_leftovers(target)
    try:
        _replace(target, content)
    except OSError as error:
        raise _unwritable(path, error, len(content)) from error


def _replace(target: Path, content: bytes) -> None:
    """Write a temporary file and rename it. If there is an error, it is removed."""
    handle, temporary = _open_temporary(target)
    with os.fdopen(handle, "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(handle)
            os.chmod(temporary, 0o644)  # it was created for its owner only
            if sys.platform == "win32":  # where no open file can be renamed
                file.close()
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):  # it may try to write what is left
                file.close()
            temporary.unlink(missing_ok=True)
            raise
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a power cut does not take away the new name of a file.

    Windows has no such call, and some file systems refuse it: the file is written in any case.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open_temporary(target: Path) -> tuple[int, Path]:
    """Create and lock a file beside `target`. Return its descriptor and its path."""
    while True:
        temporary = _beside(target, f"{secrets.token_hex(8)}.part")
        handle = _locks.open_for_lock(temporary, os.O_CREAT | os.O_EXCL)
        with suppress(OSError):  # a file system without locks
            _locks.try_lock(handle)
        # Another write may have taken the file for a leftover before it was locked.
        if temporary.exists():
            return handle, temporary
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of killed writes. Those of running writes are locked."""
    pattern = glob.escape(_beside(target, "").name) + "[0-9a-f]" * 16 + ".part"
    for leftover in target.parent.glob(pattern):
        with suppress(OSError):
            handle = _locks.open_for_lock(leftover)
            if _locks.try_lock(handle):
                _locks.remove(handle, leftover)
            else:
                os.close(handle)


def _target(path: Path) -> Path:
    """The file that is written, where `path` may be a symbolic link to it.

    Raises:
        RecordError: If it is a folder or a device, or if its folder does not exist.
    """
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if target.is_dir():
            raise RecordError(f"cannot write {path}: it is a folder")
        if not target.parent.is_dir():
            raise RecordError(f"cannot write {path}: the folder {target.parent} does not exist")
        if target.exists() and not target.is_file():  # replacing /dev/null would harm the system
            raise RecordError(f"cannot write {path}: it is a device or a pipe, not a file")
    except OSError as error:  # a name that is too long
        raise _unwritable(path, error) from error
    return target


def _beside(target: Path, ending: str) -> Path:
    """A hidden file in the folder of an output: `.NAME.ENDING`."""
    name = target.name
    if len(os.fsencode(name)) > 200:  # with its ending it might be too long for a file name
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.{ending}")


def _unwritable(path: Path, error: OSError, size: int | None = None) -> RecordError:
    """The error that says which file cannot be written, and why."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = path.parent.absolute()
        needed = "" if size is None else f"it needs {_in_words(size)}, "
        with suppress(OSError):
            free = _in_words(shutil.disk_usage(folder).free)
            reason += f" ({needed}{free} are free in {folder})"
    return RecordError(f"cannot write {path}: {reason}")


def _in_words(size: int) -> str:
    """A number of bytes, such as "2.5 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def rescue(write: Callable[[Path], object], path, folders: Iterable = ()) -> Path | None:
    """Write a file to another place, because it could not be written to `path`.

    Places are tried in this order: the folder of `path`, `folders`, the home folder, the folder of
    temporary files. No existing file is replaced.

    Args:
        write: Writes the file to the path that it is given.
        path: Where the file could not be written. It gives the name: NAME-rescued.ENDING.
        folders: Further folders.

    Returns:
        The file that was written, or None if it could not be written anywhere.
    """
    path = path_of(path)
    for folder in _places(path, folders):
        with suppress(OSError, RecordError):
            rescued = _new_file(Path(folder).absolute(), path)
            try:
                write(rescued)
                return rescued
            except BaseException:
                rescued.unlink(missing_ok=True)
                raise
    return None


def _places(path: Path, folders: Iterable) -> Iterator:
    """The folders that `rescue` tries."""
    yield path.parent
    yield from folders
    with suppress(RuntimeError):  # there may be no home folder
        yield Path.home()
    with suppress(OSError):  # or no folder of temporary files that can be written to
        yield tempfile.gettempdir()


def _new_file(folder: Path, path: Path) -> Path:
    """Create an empty file in a folder, named after `path`, and return its path."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        new = folder / f"{path.stem}-rescued{suffix}{path.suffix}"
        try:
            open(new, "xb").close()
            return new
        except FileExistsError:
            number += 1


def write_json(path, value) -> None:
    """Write a value as indented JSON.

    Args:
        path: The file to write.
        value: The value. JSON has no infinity and no NaN, so these are errors.

    Raises:
        RecordError: If `path` is a folder, or its folder does not exist.
        ValueError: If the value contains infinity or NaN.
    """
    write_bytes(
        path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
    )


def read_json(path):
    """Read a JSON file.

    Args:
        path: The file to read.

    Returns:
        The value in the file.

    Raises:
        RecordError: If there is no such file, or if it is not JSON. The message names the file.
    """
    try:
        return json.loads(_existing(path).read_bytes())
    except RecordError:
        raise
    # Numbers of thousands of digits, and thousands of nested brackets, are errors of other kinds.
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not a JSON file: {error}") from error


def write_weights(path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write named tensors and a header to one safetensors file, with a checksum of both.

    Args:
        path: The file to write.
        tensors: Tensors by name.
        header: Further facts, as values that JSON can hold. File format and versions are added.

    Raises:
        RecordError: If the file cannot be written.
        ValueError: If the header contains infinity or NaN.
    """
    content = {"format": FORMAT, "versions": versions(), "checksum": "sha256", **header}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = _checksum(json.dumps(content, allow_nan=False), plain)
    # One entry: safetensors writes several in an order that changes from file to file.
    write_bytes(path, to_bytes(plain, {"oatlib": json.dumps(content | {"sha256": digest})}))


def read_weights(path, remedy: str = REMEDY) -> tuple[dict[str, Tensor], dict]:
    """Read a file that `write_weights` wrote.

    A file of an earlier version has no checksum, so that damage to its numbers cannot be noticed.
    A warning says so, unless the file comes with oatlib.

    Args:
        path: The file to read.
        remedy: What to do about a file that cannot be used, as the last sentence of the message.

    Returns:
        The tensors by name, on the CPU, and the header.

    Raises:
        RecordError: If there is no such file, if it is damaged, if oatlib did not write it, or if a
            later version of oatlib wrote it in a newer format.
    """
    path = _existing(path)
    n_bytes = path.stat().st_size
    available = available_memory()
    if n_bytes > available:  # its size may be a claim: no disk need hold a file of zeros
        raise RecordError(
            f"{path} has {_in_words(n_bytes)}, and {_in_words(int(available))} of memory are "
            f"available. {remedy}"
        )
    try:
        # Read the file once. A reader that opens it again, as `safe_open` does for the numbers, may
        # get numbers of a newer file: another process may replace it at any time.
        content = path.read_bytes()
        tensors = from_bytes(content)
        header = json.loads(_metadata(content).get("oatlib", "null"))
    except (SafetensorError, ValueError, RecursionError, LookupError) as error:
        raise RecordError(
            f"{path} cannot be read: it is truncated, damaged or no safetensors file ({error}). "
            f"{remedy}"
        ) from error
    if not isinstance(header, dict) or "format" not in header:
        raise RecordError(
            f"{path} is a safetensors file, but not one that oatlib wrote: it has no oatlib "
            f"header. {remedy}"
        )
    number = header["format"]
    if type(number) is not int or number < 1:
        raise RecordError(f"{path} has format {number!r:.80}, expected a number. Copy it again.")
    if number > FORMAT:
        raise RecordError(
            f"{path} has format {number}, written by oatlib {_writer(header)}; "
            f"this version reads up to format {FORMAT}. Update oatlib."
        )
    _verify(path, header, tensors, remedy)
    return tensors, header


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which `from_bytes` has accepted.

    Such a file begins with the length of a header, in 8 bytes, and the header as JSON.
    """
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _verify(path: Path, header: dict, tensors: dict[str, Tensor], remedy: str) -> None:
    """Compare a file with its checksum, which is removed from the header.

    Warn if it has none, unless it comes with oatlib.
    """
    expected = header.pop("sha256", None)
    if expected is None and "checksum" not in header:  # written by an earlier version
        shipped = [bundled(name).resolve() for name in ("explorer", "photographs", "course")]
        if path.resolve().parent not in shipped:
            warnings.warn(
                f"{path} has no checksum, because an earlier oatlib wrote it: damage to its "
                "numbers cannot be noticed. Saving the network again adds one.",
                stacklevel=3,
            )
    elif expected != _checksum(json.dumps(header), tensors):
        raise RecordError(
            f"{path} is damaged: its content does not have the checksum that it was written with. "
            f"{remedy}"
        )


def _checksum(header: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of a header and of the names, types, shapes and bytes of tensors, as hex digits."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {_kind(tensors[name])}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_exactly(net: nn.Module, tensors: dict[str, Tensor], path) -> None:
    """Copy tensors into a module. They must fit exactly.

    Args:
        net: The module, which is changed in place. If there is an error, it is not changed.
        tensors: Tensors by name, as in the module's state dictionary.
        path: The file they come from, for the message.

    Raises:
        RecordError: If a tensor is missing, extra, or not finite, or has another shape or type. The
            message names the tensor.
    """
    own = net.state_dict()
    check_fit(own, tensors, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def check_fit(own: dict[str, Tensor], tensors: dict[str, Tensor], path) -> None:
    """Check that tensors from a file can replace those of a network.

    Args:
        own: Tensors of the network by name.
        tensors: Tensors from the file by name.
        path: The file, for the message.

    Raises:
        RecordError: If a tensor is missing, extra, or not finite, or has another shape or type. The
            message names the tensor.
    """
    faults = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    faults += [f"{name} is not part of this network" for name in tensors.keys() - own.keys()]
    for name in own.keys() & tensors.keys():
        have, want = tensors[name], own[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            faults.append(f"{name} is {_kind(have)}, expected {_kind(want)}")
        elif not have.isfinite().all():
            faults.append(f"{name} holds NaN or infinite numbers")
    if faults:
        shown = "; ".join(sorted(faults)[:5]) + ("; ..." if len(faults) > 5 else "")
        raise RecordError(
            f"{path} does not fit the network in its header: {shown}. Copy it again, or train "
            "again."
        )


def _kind(tensor: Tensor) -> str:
    """Shape and type of a tensor for a message, such as "(16, 3) float32"."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _writer(header: dict) -> str:
    """The oatlib version that wrote a file, or "?"."""
    found = header.get("versions")
    return str(found.get("oatlib", "?")) if isinstance(found, dict) else "?"


def _existing(path) -> Path:
    """The path of a file to read, or a RecordError if there is no such file."""
    path = path_of(path)
    if path.is_dir():
        raise RecordError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise RecordError(f"there is no file {path}")
    return path
