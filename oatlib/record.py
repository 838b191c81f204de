"""What is on disk: weights as safetensors with a JSON header, results as JSON. Written whole or not at all.

Nothing is pickled, so a file can be read without running code from it. A file is accepted only if it fits exactly.
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

FORMAT = 2  # raise it when a file written now could not be read by the code before


class RecordError(ValueError):
    """A file that cannot be used, with what was found and what to do."""


def versions() -> dict[str, str]:
    """The versions that a result or a file depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        return {"oatlib": metadata.version("oatlib"), **found}
    except metadata.PackageNotFoundError:  # run from a source folder that is not installed
        return found


def check_writable(path) -> Path:
    """Complain about an output path; long work does so before it starts."""
    path = Path(path)
    if path.is_dir():
        raise RecordError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise RecordError(f"cannot write {path}: the folder {path.parent} does not exist")
    return path


def write_bytes(path, content: bytes) -> None:
    """Write to a temporary name next to `path`, then rename: readers see the old file or the new one, never half."""
    path = check_writable(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path, value) -> None:
    """Write a value as indented JSON; infinities and NaN are refused, because JSON has none."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path):
    """Read a JSON file, with an error that names the file."""
    try:
        return json.loads(_existing(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not a JSON file: {error}") from error


def write_weights(path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write named tensors and a JSON-able header to one safetensors file."""
    content = {"format": FORMAT, "versions": versions(), **header}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, to_bytes(plain, {"oatlib": json.dumps(content, allow_nan=False)}))


def read_weights(path) -> tuple[dict[str, Tensor], dict]:
    """Read what `write_weights` wrote: the tensors and the header."""
    path = _existing(path)
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("oatlib", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise RecordError(
            f"{path} cannot be read: it is truncated, damaged or no safetensors file ({error}). "
            "Copy it again, or train again with `oatlib train`."
        ) from error
    if not isinstance(header, dict) or "format" not in header:
        raise RecordError(
            f"{path} is a safetensors file, but not one that oatlib wrote: it has no oatlib header. "
            "Choose a file written by oatlib.save, or train again with `oatlib train`."
        )
    if not isinstance(header["format"], int) or header["format"] > FORMAT:
        raise RecordError(
            f"{path} has format {header['format']}, written by oatlib {_writer(header)}; "
            f"this version reads up to format {FORMAT}. Update oatlib."
        )
    return tensors, header


def fill(net: nn.Module, tensors: dict[str, Tensor], path) -> None:
    """Copy tensors into a module; a missing, extra, misshapen, mistyped or non-finite one is an error that names it."""
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
        raise RecordError(f"{path} does not fit the network in its header: {shown}. Copy it again, or train again.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _writer(header: dict) -> str:
    found = header.get("versions")
    return str(found.get("oatlib", "?")) if isinstance(found, dict) else "?"


def _existing(path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise RecordError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise RecordError(f"there is no file {path}")
    return path
