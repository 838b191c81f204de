"""Kill trainings and sweeps at random moments, resume them, and compare with uninterrupted ones.

`make soak` runs it, and then fuzzes what reads files for minutes (tests/test_fuzz.py). Alone:

    python -m bench.soak [--kills 20] [--sweep-kills 10] [--seed 0]

Every kill is SIGKILL, which no program can catch: the process ends between two instructions, also
in the middle of writing a file. The moments come from a seeded generator. While a training runs,
its checkpoint is read again and again: each time it must be whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from oatlib.cli import main as cli
from oatlib.record import read_json, read_weights

# Children are forked from a server that has imported PyTorch already. So kills fall into the
# training, and not into seconds of imports.
FORKED = multiprocessing.get_context("forkserver")
# The first step of an optimiser imports torch._dynamo, and digits need scikit-learn.
MODULES = ["bench.soak", "oatlib.cli.commands", "torch._dynamo", "sklearn.datasets"]
FORKED.set_forkserver_preload(MODULES)

# Epochs of one step: about half of the time goes into measuring and writing.
TRAINING = ["train", "oat", "--data", "digits", "--n-train", "64", "--data-set", "n_val=20"]
CHECKPOINT = "run.safetensors"
OUTPUT = "net.safetensors"
# Most kills wait until the training has begun, and fall within this fraction of the time that it
# takes without interruption. The others may fall into its start.
AFTER_THE_START = 0.8
REACH = 0.9
LOG = "log"
VARYING = ("seconds",)  # what may differ between two runs of the same training

SWEEP = """\
recipe = "oat"
data = "digits"
n_train = 64
epochs = 20
n = 20
attack = "fgsm"
data_options = {n_val = 20}

[grid]
seed = [0, 1, 2, 3, 5]
"""


@dataclass
class Outcome:
    """What the kills of one kind met.

    Attributes:
        kills: Number of kills that met a running process.
        finished: Number of runs that came to their end and were compared.
        places: Epoch of the checkpoint (trainings) or number of finished runs (sweeps) at each
            kill. -1: there was no file yet.
        reads: Number of times that the checkpoint was read while it was being written.
    """

    kills: int = 0
    finished: int = 0
    places: list[int] = field(default_factory=list)
    reads: int = 0


def soak_training(folder: Path, kills: int, seed: int, epochs: int = 30) -> Outcome:
    """Kill a training at random moments, resume it, and compare its end with an uninterrupted one.

    Args:
        folder: An empty folder.
        kills: Number of kills.
        seed: Seed of the moments.
        epochs: Epochs of the training.

    Raises:
        AssertionError: If a result differs, or if a file is not whole.
    """
    moments = random.Random(seed)
    words = [*TRAINING, "--epochs", str(epochs), "--checkpoint", CHECKPOINT, "--out", OUTPUT]
    whole = folder / "whole"
    whole.mkdir()
    process = _start(words, whole)
    _wait_for_the_start(process, whole, 0)
    started = time.perf_counter()
    _ended(process)
    seconds = time.perf_counter() - started
    outcome = Outcome()
    number = 0
    while outcome.kills < kills:
        number += 1
        place = folder / str(number)
        place.mkdir()
        _one_training(words, place, moments, seconds * REACH, outcome, kills)
        _compare(place, whole)
        outcome.finished += 1
    return outcome


def _one_training(
    words: Sequence[str],
    place: Path,
    moments: random.Random,
    reach: float,
    outcome: Outcome,
    kills: int,
) -> None:
    """Run a training to its end, with kills on the way."""
    checkpoint = place / CHECKPOINT
    while True:
        resume = ["--resume"] if checkpoint.exists() else []
        said = _size_of_log(place)
        process = _start([*words, *resume], place)
        if outcome.kills >= kills:
            return _ended(process)
        if moments.random() < AFTER_THE_START:
            _wait_for_the_start(process, place, said)
        end = time.monotonic() + moments.uniform(0, reach)
        while process.is_alive() and time.monotonic() < end:
            outcome.reads += checkpoint.exists()
            _epoch(checkpoint)
            time.sleep(0.005)
        if not process.is_alive():
            return _ended(process)
        process.kill()
        process.join()
        outcome.kills += 1
        outcome.places.append(_epoch(checkpoint))


def _wait_for_the_start(
    process: multiprocessing.process.BaseProcess, place: Path, said: int
) -> None:
    """Wait until a training shows its progress bar. `said` is the size of its log before."""
    while process.is_alive() and _size_of_log(place) == said:
        time.sleep(0.005)


def _size_of_log(place: Path) -> int:
    """Return the size of a log in bytes."""
    log = place / LOG
    return log.stat().st_size if log.exists() else 0


def _epoch(checkpoint: Path) -> int:
    """Read a checkpoint, which must be whole, and return its epoch. -1: there is none."""
    if not checkpoint.exists():
        return -1
    return read_weights(checkpoint)[1]["checkpoint"]["epoch"]


def _start(words: Sequence[str], folder: Path) -> multiprocessing.process.BaseProcess:
    """Start a command of oatlib in a folder."""
    process = FORKED.Process(target=_run, args=(list(words), str(folder)))
    process.start()
    return process


def _run(words: list[str], folder: str) -> None:
    """Run a command of oatlib in this process, quietly."""
    torch.set_num_threads(1)
    # The lock of progress bars between processes would stay behind after a kill.
    tqdm.set_lock(threading.RLock())
    os.chdir(folder)
    sys.stdout = sys.stderr = open(LOG, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (open to the end)
    sys.exit(cli.main(words))


def _ended(process: multiprocessing.process.BaseProcess) -> None:
    """Wait for the end of a process, which must be a good one."""
    process.join()
    assert process.exitcode == 0, f"the command ended with exit code {process.exitcode}"


def _compare(place: Path, whole: Path) -> None:
    """Raise an AssertionError unless two trainings ended with the same bits."""
    for name in (CHECKPOINT, OUTPUT):
        tensors, header = read_weights(place / name)
        expected_tensors, expected_header = read_weights(whole / name)
        assert tensors.keys() == expected_tensors.keys(), name
        for key, tensor in tensors.items():
            assert torch.equal(tensor, expected_tensors[key]), f"{name}: {key} differs"
        assert _without_times(header) == _without_times(expected_header), f"{name}: header differs"
    left = sorted(path.name for path in place.iterdir() if path.suffix == ".part")
    assert not left, f"the temporary files {left} were left"


def _without_times(value):
    """Return a value of JSON without the times in it."""
    if isinstance(value, dict):
        return {key: _without_times(v) for key, v in value.items() if key not in VARYING}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def soak_sweep(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill a sweep with worker processes at random moments, and compare its results at the end.

    Args:
        folder: An empty folder.
        kills: Number of kills.
        seed: Seed of the moments.

    Raises:
        AssertionError: If a result differs, or if a file is not whole.
    """
    moments = random.Random(seed)
    (folder / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    started = time.perf_counter()
    assert _sweep(folder, "whole").wait() == 0, (folder / "whole.log").read_text(encoding="utf-8")
    seconds = time.perf_counter() - started
    expected = _results(folder / "whole")
    outcome = Outcome()
    number = 0
    while outcome.kills < kills:
        number += 1
        name = f"runs{number}"
        _one_sweep(folder, name, moments, seconds, outcome, kills)
        assert _results(folder / name) == expected, f"the results in {name} differ"
        outcome.finished += 1
    return outcome


def _one_sweep(
    folder: Path, name: str, moments: random.Random, seconds: float, outcome: Outcome, kills: int
) -> None:
    """Run a sweep to its end, with kills on the way."""
    while True:
        process = _sweep(folder, name)
        if outcome.kills < kills:
            try:
                process.wait(moments.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                outcome.kills += 1
                outcome.places.append(len(_results(folder / name)))
                _wait_for_workers(folder / name)
                continue
        log = (folder / f"{name}.log").read_text(encoding="utf-8")
        assert process.wait() == 0, log
        return


def _sweep(folder: Path, name: str) -> subprocess.Popen:
    """Start `oatlib sweep` with two worker processes."""
    words = ["sweep", "sweep.toml", "--out", name, "--workers", "2", "--threads", "1"]
    with open(folder / f"{name}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "oatlib", *words], cwd=folder, stdout=log, stderr=log
        )


def _wait_for_workers(runs: Path, patience: float = 60) -> None:
    """Wait until the worker processes of a killed sweep have noticed, and have ended."""
    if not Path("/proc").is_dir():
        time.sleep(5)
        return
    end = time.monotonic() + patience
    while _workers_of(runs) and time.monotonic() < end:
        time.sleep(0.2)
    left = _workers_of(runs)
    assert not left, f"the worker processes {left} are still there after {patience:g} s"


def _workers_of(runs: Path) -> list[int]:
    """Return the processes that work in the folder of a sweep."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and Path(os.readlink(entry / "cwd")) == runs.parent:
                found.append(int(entry.name))
        except OSError:  # it has ended, or belongs to another user
            continue
    return [pid for pid in found if pid != os.getpid()]


def _results(runs: Path) -> dict[str, object]:
    """Return what the finished runs of a sweep have measured, by run. All must be whole."""
    results = {}
    for path in sorted(runs.glob("runs/*/result.json")):
        content = read_json(path)
        # Checksums, which the sweep compares by itself, depend on times.
        kept = {key: value for key, value in content.items() if key not in ("sha256", "files")}
        weights = {file.name: _digest(file) for file in path.parent.glob("*.safetensors")}
        results[path.parent.name] = _without_times(kept), weights
    return results


def _digest(path: Path) -> str:
    """Return the SHA-256 of the tensors in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(read_weights(path)[0].items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kills, and print what they met."""
    parser = argparse.ArgumentParser("bench.soak", description=__doc__.partition("\\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of trainings (default 20)")
    parser.add_argument("--sweep-kills", type=int, default=10, help="of sweeps (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    options = parser.parse_args(arguments)
    soaks: list[tuple[str, Callable[[Path, int, int], Outcome], int]] = [
        ("training", soak_training, options.kills),
        ("sweep", soak_sweep, options.sweep_kills),
    ]
    for name, soak, kills in soaks:
        with tempfile.TemporaryDirectory() as folder:
            outcome = soak(Path(folder), kills, options.seed)
        print(f"{name}: {json.dumps(vars(outcome))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
