"""Do one run: train and measure a network, measure one that exists, or execute a notebook.

`perform` is what a worker process calls. A task is a dictionary of plain values, and so is the
outcome. Networks, notebooks and results are written to files, in the folder of the run.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..attacks.named import attack_by_name
from ..data.load import data_of, load_data
from ..data.splits import Data
from ..evaluation.evaluate import evaluate
from ..evaluation.results import Table
from ..networks.network import Network, load, save
from ..record import RecordError
from ..training.loop import History, train
from ..training.presets import PRESETS, Preset
from ..training.recipes import build
from . import store

CHECKPOINT, WEIGHTS, NOTEBOOK = "checkpoint.safetensors", "net.safetensors", "run.ipynb"


def perform(task: Mapping) -> dict:
    """Do a run, and write what comes out of it to the folder of the run.

    Args:
        task: "kind" and "parameters" of the run, its "folder", "address" and "id", and "threads"
            for PyTorch (None: as they are).

    Returns:
        "status": "finished" or "failed", "seconds", and "text": the result or the error in one
        line. A failed run raises nothing, so that no exception has to travel.
    """
    started = time.perf_counter()
    folder = Path(task["folder"])
    if task["threads"] is not None:
        torch.set_num_threads(task["threads"])
    try:
        store.prepare(folder, keep=(CHECKPOINT,))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            content, files = WORK[task["kind"]](task["parameters"], folder)
        seconds = round(time.perf_counter() - started, 2)
        content |= {
            "id": task["id"],
            "address": task["address"],
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            "warnings": [str(warning.message) for warning in caught],
        }
        store.write_result(folder, content, files)
        return {"status": "finished", "seconds": seconds, "text": summary(content)}
    except Exception as error:
        message = f"{type(error).__name__}: {error}" if _is_a_bug(error) else str(error)
        store.write_failure(folder, message, traceback.format_exc())
        seconds = round(time.perf_counter() - started, 2)
        return {"status": "failed", "seconds": seconds, "text": message}


def _is_a_bug(error: Exception) -> bool:
    """Return whether the message of an error alone would not tell what happened."""
    return not str(error) or not isinstance(error, (ValueError, RuntimeError, ImportError))


def summary(content: Mapping) -> str:
    """Return the result of a run in one line.

    Args:
        content: The result, as `store.read_result` returns it.
    """
    if "table" in content:
        table = Table.from_json(content["table"]).at_width()
        ends = dict.fromkeys([0, len(table) - 1])
        return "; ".join(
            f"{_lam(table[i].lam)}clean {table[i].clean:.1%}, robust {table[i].robust:.1%}"
            for i in ends
        )
    values = numbers(content.get("results"))
    shown = ", ".join(f"{name} = {value:.4g}" for name, value in list(values.items())[:4])
    return shown + (", ..." if len(values) > 4 else "") or "no numbers"


def _lam(lam: float | None) -> str:
    return "" if lam is None else f"λ = {lam:g}: "


def numbers(results) -> dict[str, float]:
    """Return the numbers among the results of a notebook, by name."""
    if not isinstance(results, Mapping):
        return {}
    return {
        str(name): value
        for name, value in results.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def preset_of(parameters: Mapping) -> Preset:
    """Return the preset of a training run."""
    changes = {} if parameters["epochs"] is None else {"epochs": parameters["epochs"]}
    preset = Preset(**vars(PRESETS[parameters["preset"]]) | changes)
    return preset.at_eps(parameters["eps"] / 255)


def data_for(parameters: Mapping) -> Data:
    """Return the data set of a training run."""
    # Present only where it differs from the seed.
    seed = parameters.get("data_seed", parameters["seed"])
    return load_data(parameters["data"], seed, parameters["device"], **parameters["data_options"])


def network_for(parameters: Mapping, data: Data) -> Network:
    """Return the untrained network of a training run."""
    return build(
        parameters["recipe"],
        data,
        parameters["backbone"],
        parameters["seed"],
        parameters["lam"],
        **parameters["options"],
    )


def _train(parameters: Mapping, folder: Path) -> tuple[dict, list[str]]:
    """Train a network and measure it on test images."""
    data = data_for(parameters)
    net = network_for(parameters, data)
    history = _trained(net, data, parameters, folder / CHECKPOINT)
    if history.status != "finished":  # it diverged; train() has put the last good weights back
        raise RuntimeError(history.note)
    save(net, folder / WEIGHTS)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    table = measured(net, data, parameters, seed=0)
    training = {"seconds": round(history.seconds, 2), "epochs": history.rows}
    return {"table": table.as_json(), "training": training}, [WEIGHTS]


def _trained(net: Network, data: Data, parameters: Mapping, checkpoint: Path) -> History:
    """Train a network, from the last epoch of a run that was killed, if there is one."""
    preset, seed = preset_of(parameters), parameters["seed"]
    resume = checkpoint.is_file()
    try:
        history = train(net, data, preset, seed, checkpoint, resume, progress=False)
    except RecordError:
        if not resume:
            raise
        checkpoint.unlink()  # damaged, or of another version
        net = _copy_untrained(net, parameters, data)
        history = train(net, data, preset, seed, checkpoint, progress=False)
    if history.status == "interrupted":
        raise KeyboardInterrupt
    return history


def _copy_untrained(net: Network, parameters: Mapping, data: Data) -> Network:
    """Give a network its first weights again, in place."""
    net.load_state_dict(network_for(parameters, data).state_dict())
    return net


def measured(net: Network, data: Data, parameters: Mapping, seed: int) -> Table:
    """Measure a network on test images as the parameters of a run say."""
    split = data.test
    if parameters["n"] is not None and parameters["n"] < len(split):
        split = split.panel(parameters["n"])
    attack = attack_by_name(
        parameters["attack"],
        parameters["eps"] / 255,
        parameters["norm"],
        steps=parameters["steps"],
        restarts=parameters["restarts"],
        eot_samples=parameters["noise_samples"] if net.spec.noise else 1,
    )
    return evaluate(
        net,
        split,
        attack,
        parameters["lams"],
        parameters.get("widths"),
        seed=seed,
        progress=False,
        noise_samples=parameters["noise_samples"],
    )


def _measure(parameters: Mapping, folder: Path) -> tuple[dict, list[str]]:
    """Measure a network that exists."""
    net = load(parameters["path"], parameters["device"])
    if parameters["dial"] is not None:
        net = net.with_dial(parameters["dial"])
    data = data_of(net.spec.data, parameters["data"], parameters["device"])
    return {"table": measured(net, data, parameters, parameters["seed"]).as_json()}, []


def _notebook(parameters: Mapping, folder: Path) -> tuple[dict, list[str]]:
    """Execute a notebook."""
    from ..reruns.rerun import rerun  # needs the extra `lab`

    done = rerun(
        parameters["path"],
        parameters["values"],
        folder,
        name=Path(NOTEBOOK).stem,
        progress=False,
        timeout=parameters["timeout"],
    )
    files = [path.name for path in (done.notebook, done.record) if path is not None]
    return {"results": done.results}, files


WORK: dict[str, Callable[[Mapping, Path], tuple[dict, list[str]]]] = {
    "training": _train,
    "measurement": _measure,
    "notebook": _notebook,
}
