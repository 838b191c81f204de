"""Read weight files of the papers' public code, `load_published`.

Such a file is a dictionary of tensors that PyTorch has pickled. It is read without running anything
from it. Every tensor must be there, under its public name and in its shape.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .._check import of_type, path_of
from .._suggest import lookup
from ..data.load import PUBLISHED, load_data
from ..data.splits import Data
from ..layers.film import Codes, lambda_codes
from ..layers.noise import START
from ..networks.backbones import BACKBONES
from ..networks.network import Network
from ..networks.spec import Spec
from ..record import RecordError, load_exactly
from .published import PUBLISHED_OPTIONS
from .published_names import backbone_of, early_blocks, public_names, widths_of
from .recipes import OAT_STOPS, RECIPES

Layout = Literal["oat", "oats", "solar", "snn", "float"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

CODES_FILE = "rand_otho_mat.npy"  # OAT's script saves its λ codes under this name
SOLAR_SEED = 3  # NumPy's seed in SOLAR's scripts
SHOWN = 4  # tensors that a message names

# Where public scripts put the tensors, if the file holds more than tensors.
_WRAPPED_AS = ("model", "state_dict", "model_state_dict", "net")
# Recipes whose public BatchNorms have an index of the width in their names.
_SWITCHABLE = ("oats", "solar", "solar-snn", "snn", "float-slim")
_ZIP = b"PK\x03\x04"  # PyTorch reads a file that begins so as a zip archive
_COUNTER = ".num_batches_tracked"  # files of early PyTorch versions lack these

_DIGITS = tuple("0123456789")
_CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_STL10 = (
    "airplane",
    "bird",
    "car",
    "cat",
    "deer",
    "dog",
    "horse",
    "monkey",
    "ship",
    "truck",
)
# Data sets of the public scripts: image size, classes, numbers of training and of test images.
_DATA_SETS = {
    "cifar10": ((3, 32, 32), _CIFAR10, 50_000, 10_000),
    "svhn": ((3, 32, 32), _DIGITS, 73_257, 26_032),
    "stl10": ((3, 96, 96), _STL10, 5_000, 8_000),
}
# The data set that the public scripts train a backbone on.
_DATA_OF = {"resnet34": "cifar10", "wrn-16-8": "svhn", "wrn-40-2": "stl10"}


@dataclass(frozen=True)
class _Fit:
    """How well a file fits a layout.

    Args:
        net: A network of the size that the file has. Its λ stops and codes are not final.
        names: Name of each tensor of the network -> public name.
        problems: One sentence for each tensor that does not fit.
    """

    net: Network
    names: dict[str, str]
    problems: list[str]


@dataclass(frozen=True)
class _Codes:
    """The λ codes of a network.

    Args:
        kind: Their kind, for the `Spec`.
        rows: One code per λ stop, (S, d), the stops in the order of training.
        source: Where they come from, for the record.
    """

    kind: Codes
    rows: Tensor
    source: str


def load_published(
    path,
    layout: Layout,
    *,
    data: str | Data | None = None,
    codes=None,
    stops=None,
    backbone: str | None = None,
) -> Network:
    """Read a `.pth` file of a paper's public code into a network.

    The file is read with PyTorch's `weights_only`, so nothing in it is run. It may hold the tensors
    alone, or as "model" or "state_dict" among other values, with or without the prefix "module.".
    Backbone, widths and BatchNorms follow from names and shapes. The network computes the published
    function: its spec has `centre=False`, and `film_rows="published"` where there is FiLM.

    docs/published.md lists the repositories, and what cannot be read. The names and shapes come
    from their source code; no trained public file was available to test with.

    Args:
        path: The file to read.
        layout: Which code wrote it.

            * "oat": OAT's script. FiLM, one width.
            * "oats": OATS. FiLM, several widths, one output layer.
            * "solar": SOLAR's switchable output layers, with FiLM or without.
            * "snn": S-Nets as in the repositories of OAT and SOLAR, one output layer.
            * "float": FLOAT, with one width or several. Between its ends the dial follows
              `rule-a`, the rule that the public code runs, which differs below λ = 0.1. A file of
              FLOATS is read as FLOAT: pruned weights are zeros in it, the masks are not there.
        data: The data set: a `Data`, or a name for `load_data`. None: the set of the public scripts
            for this backbone. Names other than "cifar10", "svhn" and "stl10" are loaded.
        codes: λ codes of a network with FiLM, which no public file holds.

            * None: λ itself, if FiLM reads one number. Else `rand_otho_mat.npy` beside the file,
              where OAT's script saves it. Else, for "oats" and "solar", as for "solar" below,
              with a warning.
            * "solar": the codes of SOLAR's scripts, drawn again from NumPy's seed 3. They are right
              for files of the unchanged scripts.
            * "onehot", "dct": the encodings of these names in OAT's script.
            * The path of a `.npy` file, or a tensor: one code per row. The first rows are used.
        stops: λ values of a network with FiLM, in the order of the option `--lambda_choices`. None:
            those in the file, if it holds accuracies by λ as OAT's `latest.pth` does, else the six
            published ones.
        backbone: Name of the backbone. None: the one that has the size of the file.

    Returns:
        A network on the CPU, in eval mode, in float32. `net.trained` says which file it comes from
        and where its codes come from.

    Raises:
        RecordError: If the file cannot be read as tensors only, holds a network that oatlib does
            not have, or does not fit the layout. The message lists the first tensors that do not
            fit, and says which layout fits better.
        ValueError: If an argument is missing or not valid.

    Example:
        >>> net = load_published("latest.pth", "oat")  # rand_otho_mat.npy lies beside it
        >>> save(net, "oat.safetensors")
    """
    lookup("layout", layout, dict.fromkeys(LAYOUTS))
    if backbone is not None:
        lookup("backbone", backbone, BACKBONES)
    path = path_of(path)
    tensors, extras = _read(path)
    try:
        fit = _fit(tensors, layout, backbone)
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error
    if fit.problems:
        raise _unfit(path, tensors, layout, backbone, fit)
    _refuse_smart(path, fit.net, fit.names, tensors)
    # What the tensors do not say: data, λ stops and codes.
    spec = _with_data(fit.net.spec, data)
    known: dict[str, Tensor] = {}
    source = {"published": layout, "file": path.name}
    if spec.film:
        in_order = _stops(stops, extras)
        found = _find_codes(path, layout, codes, in_order, _code_length(tensors))
        # Stops are ascending in a network, and each keeps its code.
        order = sorted(range(len(in_order)), key=in_order.__getitem__)
        spec = replace(spec, stops=tuple(sorted(in_order)), codes=found.kind)
        known["codes"] = found.rows[order]
        source["codes"] = found.source
    elif codes is not None or stops is not None:
        raise ValueError(f"codes and stops are for networks with FiLM, and {path} has none")
    net = Network(spec)
    own = net.state_dict()
    for name, public in fit.names.items():
        known[name] = _converted(tensors.get(public), own[name])
    load_exactly(net, known, path)
    _warn_of_zeros(path, net)
    source["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    net.trained.append(source)
    return net


# ---- the file ------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors of a file by their public names, and the other values in it."""
    if path.is_dir():
        raise RecordError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise RecordError(f"there is no file {path}")
    if path.suffix == ".safetensors":  # late versions of torch.load read it, early ones do not
        raise RecordError(f"{path} is no .pth file: oatlib.load reads the networks of oatlib")
    try:
        _check_is_not_compressed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle can raise almost anything
        raise RecordError(_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise RecordError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors, as "
            "torch.save(model.state_dict(), path) writes it"
        )
    tensors, extras = _unwrapped(path, content)
    # DataParallel puts a prefix before all names.
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors, extras


def _check_is_not_compressed(path: Path) -> None:
    """Raise ValueError if a zip archive unpacks to more than its size: it could fill the memory.

    torch.save compresses nothing.
    """
    with open(path, "rb") as file:
        if file.read(len(_ZIP)) != _ZIP:  # the older form of torch.save
            return
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"it unpacks to {size:,} bytes, more than the file has")


def _unreadable(path: Path, error: Exception) -> str:
    """Say why PyTorch did not read a file."""
    text = " ".join(str(error).split())
    if asked := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"{path} was refused, and nothing in it was run: it asks Python to call {asked[1]}, "
            "which weights do not need. If you trust whoever wrote it, save model.state_dict() "
            "alone where it was made, and read that file"
        )
    # PyTorch's advice, to read the file without the restriction, is not passed on.
    reason = "" if "weights_only" in text or not text else f" ({text:.150})"
    return (
        f"{path} cannot be read as tensors only, and nothing in it was run: it is damaged, not a "
        f"file of torch.save, or holds more than weights{reason}"
    )


def _unwrapped(path: Path, content: dict) -> tuple[dict[str, Tensor], dict]:
    """Split what a file holds into tensors by name, and everything else."""
    for key in _WRAPPED_AS:
        if isinstance(content.get(key), dict):
            inner = content[key]
            break
    else:
        key, inner = None, content
    strange = [
        str(name)
        for name, value in inner.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if strange or not inner:
        raise RecordError(
            f"{path} holds no dictionary of tensors by name, alone or as one of "
            f"{', '.join(_WRAPPED_AS)}: {_first(strange) or 'it is empty'}"
        )
    return inner, {} if key is None else {k: v for k, v in content.items() if k != key}


# ---- does it fit? --------------------------------------------------------------------------------


def _fit(tensors: dict[str, Tensor], layout: Layout, backbone: str | None) -> _Fit:
    """Build the network that a layout and the sizes in a file describe, and compare names.

    Raises:
        ValueError: If oatlib has no such network.
    """
    widths = widths_of(tensors)
    recipe = _recipe(layout, tensors, widths)
    row = RECIPES[recipe] | PUBLISHED_OPTIONS[recipe]
    if widths and recipe in _SWITCHABLE:
        row |= {"widths": widths}
    if row.get("film"):
        # Any codes of the right length will do to compare shapes.
        length = _code_length(tensors) or row["code_dim"]
        codes = "none" if length == 1 else "rand"
        row |= {"stops": (0.0, 1.0), "code_dim": length, "codes": codes}
    if row.get("dual"):
        row |= {"dual": any(".BN_a." in name for name in tensors)}
    if row.get("noise"):
        row |= {"dial": "rule-a"}
    stem = tensors.get("conv1.weight")
    channels = 3 if stem is None or stem.ndim != 4 else stem.shape[1]
    spec = Spec(
        recipe=recipe,
        backbone=backbone or backbone_of(tensors),
        shape=(channels, 32, 32),
        classes=tuple(map(str, range(_count_classes(tensors)))),
        **row,
    )
    net = Network(spec)
    names = public_names(net, recipe in _SWITCHABLE)
    return _Fit(net, names, _problems(net, names, tensors))


def _recipe(layout: Layout, tensors: dict[str, Tensor], widths: tuple[float, ...]) -> str:
    """The recipe that a layout stands for, as far as it depends on what is in the file."""
    if layout == "float":
        return "float-slim" if widths else "float"
    if layout == "solar":
        return "solar" if _code_length(tensors) else "solar-snn"
    return layout


def _code_length(tensors: dict[str, Tensor]) -> int:
    """Length of the λ codes that FiLM reads, 0 without FiLM."""
    for name, tensor in tensors.items():
        if name.endswith(".MLP.0.weight") and tensor.ndim == 2:
            return tensor.shape[1]
    return 0


def _count_classes(tensors: dict[str, Tensor]) -> int:
    """Number of outputs of the output layer, or 10 if there is none."""
    for name, tensor in tensors.items():
        if re.fullmatch(r"(linear|fc|output_heads\.\d+)\.bias", name) and tensor.ndim == 1:
            return len(tensor)
    return 10


def _problems(net: Network, names: dict[str, str], tensors: dict[str, Tensor]) -> list[str]:
    """One sentence for each tensor that is missing, unknown or not as it should be."""
    expected = {names[name]: tensor for name, tensor in net.state_dict().items() if name in names}
    missing = [n for n in expected if n not in tensors and not n.endswith(_COUNTER)]
    problems = [f"{name} is missing" for name in missing]
    problems += [f"{name} is not part of it" for name in tensors if name not in expected]
    for name, tensor in tensors.items():
        if name in expected and (fault := _fault(name, tensor, expected[name])):
            problems.append(f"{name} {fault}")
    return problems


def _fault(name: str, tensor: Tensor, expected: Tensor) -> str | None:
    """Say what is wrong with a tensor, or return None."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return "is sparse, quantised or without numbers"
    if name.endswith(".alpha_w"):
        if tensor.numel() != 1:
            return f"has {tensor.numel()} values of α: oatlib has one per conv"
    elif tensor.shape != expected.shape:
        return f"is {tuple(tensor.shape)}, expected {tuple(expected.shape)}"
    if tensor.is_floating_point() != expected.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')}"
    if not tensor.isfinite().all():
        return "holds NaN or infinite numbers"
    return None


def _unfit(
    path: Path, tensors: dict[str, Tensor], layout: Layout, backbone: str | None, fit: _Fit
) -> RecordError:
    """The error for a file that does not fit, with a layout that fits better if there is one."""
    spec = fit.net.spec
    text = (
        f"{path} does not fit layout={layout!r} ({spec.recipe} on {spec.backbone}): "
        f"{_first(fit.problems)}"
    )
    counts = {}
    for other in LAYOUTS:
        if other != layout:
            try:
                counts[other] = len(_fit(tensors, other, backbone).problems)
            except ValueError:  # no such network
                continue
    best = min(counts, key=counts.__getitem__, default=None)
    if best is None or counts[best] >= len(fit.problems):
        return RecordError(text)
    how = "all tensors fit" if counts[best] == 0 else f"{counts[best]} tensors do not fit"
    return RecordError(f"{text}. layout={best!r} fits better: {how}")


def _first(items: list[str]) -> str:
    """The first few of a list for a message."""
    more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more


def _refuse_smart(
    path: Path, net: Network, names: dict[str, str], tensors: dict[str, Tensor]
) -> None:
    """Raise an error if a file of FLOAT is one of the SMART prototype, whose masks are lost.

    Both have the same names. The prototype masks the late layers instead of adding noise to them,
    so that their α get no gradient and stay equal. In FLOAT each α is trained by itself.
    """
    late_from = early_blocks(net.spec.backbone)
    late: set[float] = set()
    early: set[float] = set()
    for name, public in names.items():
        if name.endswith(".alpha"):
            block = re.match(r"body\.blocks\.(\d+)\.", name)
            is_late = block is not None and int(block[1]) >= late_from
            alphas = late if is_late else early
            alphas.add(tensors[public].item())
    if len(late) == 1 and len(early) > 1:
        raise RecordError(
            f"{path} looks like a file of the SMART prototype: α is {late.pop():g} in all convs of "
            f"the last two stages (its start is {START:g}), so nothing trained it there. The masks "
            "of that code are not in its files, and without them the network cannot be computed"
        )


def _warn_of_zeros(path: Path, net: Network) -> None:
    """Warn of a pruned network, whose masks are not in the file."""
    convs = [p for name, p in net.named_parameters() if name.endswith(".conv.weight")]
    share = sum(int((p == 0).sum()) for p in convs) / sum(p.numel() for p in convs)
    if share > 0.01:
        warnings.warn(
            f"{share:.0%} of the conv weights in {path} are 0, as in a file of FLOATS. Its masks "
            "are not in the file: the network computes the same, but training it would fill the "
            "zeros",
            stacklevel=3,
        )


def _converted(tensor: Tensor | None, own: Tensor) -> Tensor:
    """Bring a tensor of the file into the shape and type of a tensor of the network."""
    if tensor is None:  # a counter that early PyTorch versions did not have
        return torch.zeros_like(own)
    if tensor.shape != own.shape and tensor.ndim == 2:
        # FiLM reads one-hot codes: the public ones go on with zeros, which these columns meet.
        tensor = tensor[:, : own.shape[1]]
    return tensor.reshape(own.shape).to(own.dtype)


# ---- what the tensors do not say -----------------------------------------------------------------


def _with_data(spec: Spec, data: str | Data | None) -> Spec:
    """Return the spec with the data set that the network was trained on."""
    if data is None:
        data = "cifar10" if spec.recipe.endswith("snn") else _DATA_OF.get(spec.backbone)
        if data is None:
            raise ValueError(
                f"no public script trains {spec.backbone}: say on which data, such as "
                "data='cifar10'"
            )
    of_type("data", data, (str, Data), "a data set, or the name of one, such as 'cifar10'")
    if isinstance(data, str) and data in _DATA_SETS:
        shape, classes, n_train, n_test = _DATA_SETS[data]
        n_val = PUBLISHED[data].n_val
        options = {"n_train": n_train - n_val, "n_val": n_val, "n_test": n_test, "seed": 0}
        source = {"name": data, "options": options}
    else:
        data = load_data(data) if isinstance(data, str) else data
        channels, height, width = data.shape
        shape, classes = (channels, height, width), tuple(data.classes)
        source = {"name": data.name, "options": dict(data.options)}
    if len(classes) != len(spec.classes) or shape[0] != spec.shape[0]:
        raise ValueError(
            f"the file has {len(spec.classes)} classes and images of {spec.shape[0]} channels, "
            f"{source['name']} has {len(classes)} and {shape[0]}: say which data set it was "
            "trained on, such as data='cifar100'"
        )
    return replace(spec, shape=shape, classes=classes, data=source)


def _stops(stops, extras: dict) -> tuple[float, ...]:
    """Return the λ stops in the order of training: as given, or from the file, or as published."""
    if stops is None:
        stops = OAT_STOPS
        # OAT's script keeps the best accuracy for each λ.
        by_lambda = extras.get("best_TA")
        if isinstance(by_lambda, dict) and by_lambda:
            stops = tuple(by_lambda)
    try:
        if isinstance(stops, str):
            raise TypeError
        found = tuple(float(stop) for stop in stops)
    except (TypeError, ValueError):
        raise ValueError(
            f"stops must be a list of λ in [0, 1], such as {OAT_STOPS}, got {stops!r}"
        ) from None
    if len(set(found)) < len(found) or not all(0 <= lam <= 1 for lam in found) or not found:
        raise ValueError(f"stops must be different numbers in [0, 1], got {found}")
    return found


def _find_codes(path: Path, layout: Layout, codes, stops: tuple[float, ...], length: int) -> _Codes:
    """Return the λ codes, one per stop.

    Args:
        path: The weight file.
        layout: Its layout.
        codes: The argument of the user.
        stops: The λ stops, in the order of training.
        length: Length of a code.
    """
    if length == 1:
        if codes is not None:
            raise ValueError("this network reads λ itself: leave codes out")
        return _Codes("none", torch.tensor(stops)[:, None], "λ itself")
    if length < len(stops):
        raise ValueError(
            f"FiLM reads codes of length {length}, too few for {len(stops)} λ stops: give stops"
        )
    beside = path.parent / CODES_FILE
    if codes is None:
        if beside.is_file():
            codes = beside
        elif layout != "oat":
            codes = "solar"
            warnings.warn(
                f"the λ codes are not in {path}, and no {CODES_FILE} lies beside it: those of "
                "SOLAR's unchanged scripts are used. If others trained the network, it is wrong at "
                "every λ; codes='solar' confirms them",
                stacklevel=3,
            )
        else:
            raise ValueError(
                f"the λ codes are not in {path}: copy {CODES_FILE} beside it, which OAT's script "
                "saved, or give codes, see oatlib.load_published"
            )
    word = codes if isinstance(codes, str) else None
    encodings: tuple[Codes, ...] = ("onehot", "dct")
    for kind in encodings:
        if word == kind:
            rows = lambda_codes(kind, stops, length, torch.Generator())
            return _Codes(kind, rows, f"{kind}, as in OAT's script")
    if word == "solar":
        source = f"NumPy seed {SOLAR_SEED}, as in SOLAR's scripts"
        return _Codes("rand", _first_rows(_solar_codes(length), len(stops), length), source)
    matrix, source = _matrix(codes)
    return _Codes("rand", _first_rows(matrix, len(stops), length), source)


def _solar_codes(length: int) -> np.ndarray:
    """The codes of SOLAR's scripts: they seed NumPy, and draw this matrix first."""
    random = np.random.RandomState(SOLAR_SEED).randn(length, length)
    return np.linalg.qr(random)[0]


def _matrix(codes) -> tuple[np.ndarray, str]:
    """Return λ codes that the user gave, and where they come from."""
    if not isinstance(codes, (str, os.PathLike)):
        try:
            return np.asarray(codes, dtype=np.float64), "given"
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                "codes must be 'solar', 'onehot', 'dct', a .npy file, or a tensor (S, d), got "
                f"{type(codes).__name__}"
            ) from None
    try:
        matrix = np.load(codes, allow_pickle=False)
        matrix = np.asarray(matrix, dtype=np.float64)
    except (OSError, ValueError, TypeError, EOFError, MemoryError) as error:
        raise RecordError(
            f"{codes} cannot be read as a matrix of λ codes (a .npy file, or one of 'solar', "
            f"'onehot', 'dct'): {error}"
        ) from error
    if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]:
        gap = np.abs(matrix @ matrix.T - np.eye(len(matrix))).max()
        if not gap < 1e-4:
            raise ValueError(
                f"the rows of {codes} are not orthogonal: OAT's script saves the codes as "
                f"{CODES_FILE}, and beside it rand_mat.npy, which they were made of"
            )
    return matrix, Path(codes).name


def _first_rows(matrix: np.ndarray, n_stops: int, length: int) -> Tensor:
    """The first rows of a matrix, one per λ stop, in float32."""
    if matrix.ndim != 2 or len(matrix) < n_stops or matrix.shape[1] != length:
        raise ValueError(
            f"the λ codes are {matrix.shape}: {n_stops} rows or more of length {length} are needed"
        )
    rows = torch.from_numpy(matrix[:n_stops].astype(np.float32))
    if not rows.isfinite().all():
        raise ValueError("the λ codes hold NaN or infinite numbers")
    return rows
