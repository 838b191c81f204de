"""Stand-ins for the function that does a run, for tests of sweeps. Worker processes import this module."""

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

from oatlib.evaluation.results import Result, wilson
from oatlib.sweeps import store

STAND_IN = {"text": "stand-in", "eps": 8 / 255}


def result(clean, robust, lam=None, n=100, attack=STAND_IN, width=1.0, **others):
    """A result with the intervals that `evaluate` would give it."""
    limits = {"clean": wilson(round(clean * n), n), "robust": wilson(round(robust * n), n)}
    about = {"recipe": "oat", "stops": [0.0, 1.0], "dial": "interpolate"}
    return Result(
        lam, width, n, clean, *limits["clean"], robust, *limits["robust"],
        attack=attack, split="test", seed=0, seconds=0.0, macs=10, parameters=100,
        about=about | others,
    )  # fmt: skip


def write(task, table, **content):
    """Finish a run as `perform` does."""
    folder = Path(task["folder"])
    store.prepare(folder, keep=[path.name for path in folder.glob("tried*")])
    content = {"id": task["id"], "address": task["address"], "seconds": 1.0, **content}
    content["table"] = [asdict(each) for each in table]
    store.write_result(folder, content, [])
    return {"status": "finished", "seconds": 1.0, "text": "done"}


def dial(task):
    """A run that is done at once: its accuracies follow from its seed and eps."""
    seed, eps = task["parameters"]["seed"], task["parameters"]["eps"]
    table = [result(0.98 - 0.01 * seed, 0.0, 0.0), result(0.9, 0.9 - 0.1 * seed - 0.01 * eps, 1.0)]
    return write(task, table, training={"seconds": 2.0 + seed, "epochs": []})


def third_seed_fails(task):
    """A run that cannot be done with seed 2, as `perform` reports it."""
    if task["parameters"]["seed"] == 2:
        return {"status": "failed", "seconds": 0.1, "text": "the loss became NaN"}
    return dial(task)


def interrupted(task):
    """Ctrl-C in the run with seed 1."""
    if task["parameters"]["seed"] == 1:
        raise KeyboardInterrupt
    return dial(task)


def tried(task):
    """Note an attempt in the folder of the run, and return how many there were before."""
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    before = len(list(folder.glob("tried*")))
    (folder / f"tried{before}").touch()
    return before


def dying(task):
    """Seed 1 dies once, seed 2 always, as if the system had killed them for their memory; seed 3 raises."""
    seed, before = task["parameters"]["seed"], tried(task)
    if seed == 2 or (seed == 1 and before == 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 3:
        raise ArithmeticError("no number")
    done = dial(task)
    threads, trimming = (os.environ.get(name) for name in ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"))
    return done | {"text": f"threads {threads}, process {os.getpid()}, trimming {trimming}"}


def slow_from_the_third(task):
    """Seeds 0 and 1 are done at once, the others take a minute."""
    if task["parameters"]["seed"] > 1:
        tried(task)
        time.sleep(60)
    return dial(task)
