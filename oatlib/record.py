"""Files on disk: weights as safetensors with a JSON header, results as JSON.

A file is written completely or not at all. Nothing is pickled, so reading a file runs no code from
it. A file is accepted only if it fits exactly.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

# Version of the file format. Increase it when older code cannot read files that are written now.
FORMAT = 3


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
    """Check an output path. Functions that work for long call it before they start.

    Args:
        path: The file to write.

    Returns:
        The path as a `Path`.

    Raises:
        RecordError: If `path` is a folder, or its folder does not exist.
    """
    path = Path(path)
    if path.is_dir():
        raise RecordError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise RecordError(f"cannot write {path}: the folder {path.parent} does not exist")
    return path


def write_bytes(path, content: bytes) -> None:
    """Write a file under a temporary name next to `path`, then rename it.

    Readers see the old file or the new one, but never a part of it.

    Args:
        path: The file to write.
        content: Its content.

    Raises:
        RecordError: If `path` is a folder, or its folder does not exist.
    """
    path = check_writable(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not a JSON file: {error}") from error


def write_weights(path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write named tensors and a header to one safetensors file.

    Args:
        path: The file to write.
        tensors: Tensors by name.
        header: Further facts, as values that JSON can hold. File format and versions are added.

    Raises:
        RecordError: If `path` is a folder, or its folder does not exist.
        ValueError: If the header contains infinity or NaN.
    """
    content = {"format": FORMAT, "versions": versions(), **header}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, to_bytes(plain, {"oatlib": json.dumps(content, allow_nan=False)}))


def read_weights(path) -> tuple[dict[str, Tensor], dict]:
    """Read a file that `write_weights` wrote.

    Args:
        path: The file to read.

    Returns:
        The tensors by name, on the CPU, and the header.

    Raises:
        RecordError: If there is no such file, if it is damaged, if oatlib did not write it, or if a
            later version of oatlib wrote it in a newer format.
    """
    path = _existing(path)
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("oatlib", "null"))
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise RecordError(
            f"{path} cannot be read: it is truncated, damaged or no safetensors file ({error}). "
            "Copy it again, or train again with `oatlib train`."
        ) from error
    if not isinstance(header, dict) or "format" not in header:
        raise RecordError(
            f"{path} is a safetensors file, but not one that oatlib wrote: it has no oatlib "
            "header. "
            "Choose a file written by oatlib.save, or train again with `oatlib train`."
        )
    if not isinstance(header["format"], int) or header["format"] > FORMAT:
        raise RecordError(
            f"{path} has format {header['format']}, written by oatlib {_writer(header)}; "
            f"this version reads up to format {FORMAT}. Update oatlib."
        )
    return tensors, header


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
    # Collect all faults first, so that the module stays unchanged if there is one.
    own = net.state_dict()
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
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _kind(tensor: Tensor) -> str:
    """Shape and type of a tensor for a message, such as "(16, 3) float32"."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _writer(header: dict) -> str:
    """The oatlib version that wrote a file, or "?"."""
    found = header.get("versions")
    return str(found.get("oatlib", "?")) if isinstance(found, dict) else "?"


def _existing(path) -> Path:
    """The path of a file to read, or a RecordError if there is no such file."""
    path = Path(path)
    if path.is_dir():
        raise RecordError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise RecordError(f"there is no file {path}")
    return path
