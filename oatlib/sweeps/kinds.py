"""The three kinds of runs: which keys they have, which values are valid, and what they depend on.

A kind checks the values of one run completely, by trying what costs little: it builds the network,
loads the data once, and makes the attack. Nothing is trained or attacked.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .._check import briefly, positive_int, real, whole
from .._suggest import did_you_mean, lookup
from ..attacks.named import NAMES, attack_by_name
from ..data.load import data_of
from ..data.splits import Data, Split
from ..networks.backbones import BACKBONES
from ..networks.lambdas import RULES
from ..networks.network import Network, load
from ..networks.ready import ready_files
from ..training.loop import Training
from ..training.presets import PRESETS
from ..training.recipes import OPTIONS, RECIPES
from . import store, work

FEW = 8  # images of each split that checks need
LARGEST_SEED = 2**30 - 1

MEASURING = {
    "attack": f"one of {', '.join(NAMES)} (default quick)",
    "eps": "radius of the attack in 1/255 (default 8)",
    "steps": "number of steps, for the attacks pgd and apgd",
    "restarts": "number of random restarts, for the attacks pgd and apgd",
    "norm": "linf or l2, of the measurement (default linf)",
    "noise_samples": "samples of noisy weights (default 10)",
    "lams": "list of λ to measure at (default: those of training); without a dial it has no effect",
    "n": "number of test images (default: all)",
    "device": "cpu, cuda or cuda:INDEX (default cpu)",
    "seed": "whole number (default 0)",
}
TRAINING = {
    "recipe": f"one of {', '.join(RECIPES)}",
    "backbone": f"one of {', '.join(BACKBONES)} (default tiny)",
    "data": "data set, as in oatlib train --data (default shapes)",
    "n_train": "number of training images",
    "data_options": "table of options of the data set, such as {n_test = 512}",
    "data_seed": "seed of the data set alone (default: the same as seed)",
    "lam": "the λ of recipes without a dial, such as pgd-at",
    "preset": f"one of {', '.join(PRESETS)} (default fast)",
    "epochs": "number of epochs (default: that of the preset)",
    **MEASURING,
    **dict.fromkeys(OPTIONS, "option of the recipe, as in oatlib train --set"),
}
MEASUREMENT = {
    "weights": "a file written by oatlib train, or a network that comes with oatlib, such as oat",
    "data": "data set to measure on (default: the one of training)",
    "widths": "list of widths to measure (default: all)",
    "dial": f"one of {', '.join(RULES)} (default: the rule in the file)",
    **MEASURING,
}
NOTEBOOK = {
    "notebook": "a notebook file, or a lesson such as 01_attack",
    "timeout": "longest time for each cell, in seconds (default: no limit)",
}


class Seen:
    """What checks have loaded already, so that a hundred runs load a data set once."""

    def __init__(self) -> None:
        self._things: dict[str, object] = {}

    def once(self, load: Callable, *key):
        """Return `load()`, or what it returned for the same key before.

        Args:
            load: A function without arguments.
            *key: Values that JSON can hold, which say what is loaded.
        """
        text = json.dumps(key)
        if text not in self._things:
            self._things[text] = load()
        return self._things[text]


@dataclass(frozen=True)
class Kind:
    """What can be swept.

    Attributes:
        name: Name of the kind, a key of `work.WORK`.
        complete: Checks the values of a run, and returns all its parameters.
        address: Returns what a result depends on, from complete parameters.
        command: Returns the command line that does a run again, from complete parameters.
    """

    name: str
    complete: Callable[[Mapping, Seen], dict]
    address: Callable[[Mapping], dict]
    command: Callable[[Mapping], str]


# ---- training ------------------------------------------------------------------------------------


def _complete_training(values: Mapping, seen: Seen) -> dict:
    """Check the values of a training run, and return its parameters."""
    lookup("recipe", values["recipe"], RECIPES)
    parameters = {
        "recipe": values["recipe"],
        "backbone": _name("backbone", values.get("backbone", "tiny"), BACKBONES),
        "data": _text("data", values.get("data", "shapes")),
        "data_options": _data_options(values),
        "lam": _optional(_zero_to_one, "lam", values.get("lam")),
        "preset": _name("preset", values.get("preset", "fast"), PRESETS),
        "epochs": _optional(positive_int, "epochs", values.get("epochs")),
        "options": {key: values[key] for key in OPTIONS if key in values},
        **_measuring(values),
    }
    if parameters["eps"] == 0:
        raise ValueError("eps must be above 0 for a training, got 0")
    data_seed = _optional(_seed, "data_seed", values.get("data_seed"))
    # As a parameter of its own only where it changes the result: one result, one address.
    if data_seed not in (None, parameters["seed"]):
        parameters["data_seed"] = data_seed
    # Load the data, and build the network, once for all seeds.
    data, sizes = seen.once(
        lambda: _few_images(work.data_for(parameters)),
        *(parameters[key] for key in ("data", "data_options", "device")),
    )
    unseeded = {key: value for key, value in parameters.items() if key not in ("seed", "data_seed")}
    unseeded["seed"] = 0
    net = seen.once(lambda: _network(unseeded, data), "network", unseeded)
    Training(net, data, work.preset_of(parameters), parameters["seed"])
    parameters["data_options"] = {**parameters["data_options"], **sizes}
    parameters["options"] = {key: _plain(getattr(net.spec, key)) for key in parameters["options"]}
    if len(net.spec.stops) == 1:  # there is no dial: it is measured at its own λ
        parameters["lams"] = None
    _check_measuring(parameters, net, sizes["n_test"])
    return parameters


def _data_options(values: Mapping) -> dict:
    """Return the options of the data set, with the number of training images among them."""
    options = values.get("data_options", {})
    if not isinstance(options, Mapping):
        raise ValueError(
            f"data_options must be a table, such as {{n_test = 512}}, got {briefly(options)}"
        )
    options = dict(options)
    for name in ("name", "seed", "device", "root"):
        if name in options:
            hint = ": give data_seed, outside of data_options" if name == "seed" else ""
            raise ValueError(f"{name} is no option of a data set{hint}")
    if "n_train" in values:
        if "n_train" in options:
            raise ValueError("n_train stands twice: give it once, outside of data_options")
        options["n_train"] = positive_int("n_train", values["n_train"])
    return options


def _few_images(data: Data) -> tuple[Data, dict[str, int]]:
    """Return a data set with few images of each split, and the sizes of its splits."""
    train, val, test = data.train, data.val, data.test
    sizes = {f"n_{part.name}": len(part) for part in (train, val, test)}
    return replace(data, train=_first(train), val=_first(val), test=_first(test)), sizes


def _first(part: Split) -> Split:
    """Return the first images of a split, copied, so that the others can be freed."""
    return part.take(torch.arange(min(FEW, len(part)), device=part.x.device)).to("cpu")


def _network(parameters: Mapping, data: Data) -> Network:
    """Return the untrained network of a run. Faults of its options are ValueErrors here."""
    try:
        return work.network_for(parameters, data)
    except TypeError as error:  # a value of the wrong type
        raise ValueError(str(error)) from error


def _training_address(parameters: Mapping) -> dict:
    found = {}
    if parameters["data"].startswith("folder:"):
        path = Path(parameters["data"].removeprefix("folder:")).expanduser()
        found = {"folder": store.hash_of_folder(path)}
    return {"parameters": dict(parameters), "code": store.code(), "data": found}


def _training_command(parameters: Mapping) -> str:
    words = ["oatlib", "train", parameters["recipe"], "--data", parameters["data"]]
    for key, value in parameters["data_options"].items():
        words += ["--data-set", f"{key}={json.dumps(value)}"]
    words += ["--seed", str(parameters["seed"])]
    if "data_seed" in parameters:
        words += ["--data-seed", str(parameters["data_seed"])]
    words += ["--backbone", parameters["backbone"]]
    if parameters["lam"] is not None:
        words += ["--lam", _number(parameters["lam"])]
    for key, value in parameters["options"].items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--set", f"{key}={text}"]
    words += ["--preset", parameters["preset"]]
    if parameters["epochs"] is not None:
        words += ["--epochs", str(parameters["epochs"])]
    words += ["--eps", _number(parameters["eps"]), *_device(parameters)]
    out = "net.safetensors"
    words += ["--out", out]
    return f"{shlex.join(words)} && {_eval_command(out, parameters, seed=0)}"


# ---- measurement ---------------------------------------------------------------------------------


def _complete_measurement(values: Mapping, seen: Seen) -> dict:
    """Check the values of a measurement, and return its parameters."""
    path = find_weights(values["weights"])
    parameters = {
        "weights": str(values["weights"]),
        "path": str(path.resolve()),
        "data": _optional(_text, "data", values.get("data")),
        "widths": _optional(_list, "widths", values.get("widths")),
        "dial": None if "dial" not in values else _name("dial", values["dial"], RULES),
        **_measuring(values),
    }
    net = seen.once(lambda: load(path, parameters["device"]), "network", str(path))
    if parameters["dial"] is not None:
        net = net.with_dial(parameters["dial"])
    _, sizes = seen.once(
        lambda: _few_images(data_of(net.spec.data, parameters["data"], parameters["device"])),
        "data", net.spec.data, parameters["data"],
    )  # fmt: skip
    for width in parameters["widths"] or ():
        net.width(width)
    _check_measuring(parameters, net, sizes["n_test"])
    return parameters


def find_weights(name) -> Path:
    """Return the file of a network.

    Args:
        name: A path, or the name of a network that comes with oatlib.

    Raises:
        ValueError: If there is no such file.
    """
    path = Path(_text("weights", name))
    if path.is_file():
        return path
    shipped = ready_files()
    if name in shipped:
        return shipped[name]
    raise ValueError(
        f"weights: there is no file {name!r}{did_you_mean(name, shipped)}: give a file written by "
        f"oatlib train, or one of {', '.join(shipped)}"
    )


def _measurement_address(parameters: Mapping) -> dict:
    described = {key: value for key, value in parameters.items() if key != "path"}
    found = {"weights": store.hash_of_file(Path(parameters["path"]))}
    if (parameters["data"] or "").startswith("folder:"):
        path = Path(parameters["data"].removeprefix("folder:")).expanduser()
        found["folder"] = store.hash_of_folder(path)
    return {"parameters": described, "code": store.code(), "data": found}


def _measurement_command(parameters: Mapping) -> str:
    return _eval_command(parameters["path"], parameters, parameters["seed"])


def _eval_command(weights: str, parameters: Mapping, seed: int) -> str:
    """Return `oatlib eval ...` for a file of weights."""
    words = ["oatlib", "eval", weights, "--attack", parameters["attack"]]
    for key in ("steps", "restarts"):
        if parameters[key] is not None:
            words += [f"--{key}", str(parameters[key])]
    words += ["--eps", _number(parameters["eps"]), "--norm", parameters["norm"]]
    words += ["--noise-samples", str(parameters["noise_samples"]), "--seed", str(seed)]
    for option, key in (("--lam", "lams"), ("--width", "widths")):
        if parameters.get(key) is not None:
            words += [option, *map(_number, parameters[key])]
    if parameters["n"] is not None:
        words += ["--n", str(parameters["n"])]
    for option, key in (("--data", "data"), ("--dial", "dial")):
        # of a training, the network knows its data set and its rule
        if "recipe" not in parameters and parameters.get(key) is not None:
            words += [option, parameters[key]]
    return shlex.join([*words, *_device(parameters), "--json", "results.json"])


# ---- notebooks -----------------------------------------------------------------------------------


def _complete_notebook(values: Mapping, seen: Seen) -> dict:
    """Check the values of a notebook, and return its parameters."""
    from ..reruns.parameters import checked
    from ..reruns.rerun import find, parameters_of

    name = _text("notebook", values["notebook"])
    path = find(name)
    declared = seen.once(lambda: parameters_of(path), "notebook", str(path))
    own = {key: value for key, value in values.items() if key not in NOTEBOOK}
    for key in own:
        if key not in declared and declared:
            names = [*declared, *NOTEBOOK]
            raise ValueError(
                f"unknown key {key!r}{did_you_mean(key, names)}: the notebook {name} has the "
                f"parameters {', '.join(declared)}"
            )
    complete = checked(declared, own)
    return {
        "notebook": name,
        "path": str(path.resolve()),
        "timeout": _optional(positive_int, "timeout", values.get("timeout")),
        "values": {key: complete[key] for key in own},
        "complete": complete,
    }


def _notebook_address(parameters: Mapping) -> dict:
    cells = json.loads(Path(parameters["path"]).read_bytes())["cells"]
    sources = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
    digest = hashlib.sha256(json.dumps(["".join(source) for source in sources]).encode())
    return {
        "parameters": {"notebook": parameters["notebook"], "values": parameters["complete"]},
        "code": {**store.code(None), "notebook": digest.hexdigest()},
        "data": {},
    }


def _notebook_command(parameters: Mapping) -> str:
    words = ["oatlib", "rerun", parameters["notebook"]]
    for key, value in parameters["values"].items():
        words += ["-p", key, str(value).lower() if isinstance(value, bool) else str(value)]
    if parameters["timeout"] is not None:
        words += ["--timeout", str(parameters["timeout"])]
    return shlex.join([*words, "--out", "again"])


# ---- values that several kinds have --------------------------------------------------------------


def _measuring(values: Mapping) -> dict:
    """Check the values that say how a network is measured, as far as that needs no network."""
    parameters = {
        "attack": _name("attack", values.get("attack", "quick"), dict.fromkeys(NAMES)),
        "eps": real("eps", values.get("eps", 8), 0, 255, "in 1/255, such as 8"),
        "steps": _optional(positive_int, "steps", values.get("steps")),
        "restarts": _optional(positive_int, "restarts", values.get("restarts")),
        "norm": _name("norm", values.get("norm", "linf"), dict.fromkeys(("linf", "l2"))),
        "noise_samples": positive_int("noise_samples", values.get("noise_samples", 10)),
        "lams": _optional(_list, "lams", values.get("lams")),
        "n": _optional(positive_int, "n", values.get("n")),
        "device": _text("device", values.get("device", "cpu")),
        "seed": _seed("seed", values.get("seed", 0)),
    }
    attack_by_name(
        parameters["attack"],
        parameters["eps"] / 255,
        parameters["norm"],
        steps=parameters["steps"],
        restarts=parameters["restarts"],
    )
    return parameters


def _check_measuring(parameters: Mapping, net: Network, n_test: int) -> None:
    """Check how a network is measured, given the network and the number of its test images."""
    for lam in parameters["lams"] or ():
        net.position(lam)
    if parameters["n"] is not None and parameters["n"] > n_test:
        raise ValueError(f"n = {parameters['n']}: the test split has only {n_test} images")


def _name(key: str, value, names: Mapping) -> str:
    lookup(key, value, dict(names))
    return value


def _text(key: str, value) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text, got {briefly(value)}")
    return value


def _list(key: str, value) -> list[float]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key} must be a list of numbers, such as [0, 0.5, 1], got {value!r:.60}")
    return [float(real(f"an entry of {key}", entry)) for entry in value]


def _zero_to_one(key: str, value) -> float:
    return float(real(key, value, 0, 1))


def _seed(key: str, value) -> int:
    return whole(key, value, 0, LARGEST_SEED)


def _optional(check: Callable, key: str, value):
    """Return None, or the checked value."""
    return None if value is None else check(key, value)


def _plain(value):
    """Return a value of a spec as JSON writes it."""
    return list(value) if isinstance(value, tuple) else value


def _number(value: float) -> str:
    """Return a number as users type it, without loss."""
    is_whole = math.isfinite(value) and float(value).is_integer()
    return str(int(value)) if is_whole else repr(value)


def _device(parameters: Mapping) -> list[str]:
    return [] if parameters["device"] == "cpu" else ["--device", parameters["device"]]


# key that says what is run -> its kind, and the keys of the kind
KINDS: dict[str, tuple[Kind, Mapping[str, str]]] = {
    "notebook": (
        Kind("notebook", _complete_notebook, _notebook_address, _notebook_command),
        NOTEBOOK,
    ),
    "recipe": (
        Kind("training", _complete_training, _training_address, _training_command),
        TRAINING,
    ),
    "weights": (
        Kind("measurement", _complete_measurement, _measurement_address, _measurement_command),
        MEASUREMENT,
    ),
}
