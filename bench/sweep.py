"""What `oatlib sweep` gains over one run after the other, and what `oatlib rerun` costs.

Eight short trainings are done on one worker process for each core, with one thread each, and one
after the other in one process with all threads. The start of the processes counts. A lesson is
executed by `oatlib.rerun`, and by nbclient alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import oatlib
from oatlib.reruns import kernel
from oatlib.reruns.rerun import find
from oatlib.sweeps import pool

from .clock import interleaved, ratio

PLAN = {
    "recipe": "oat",
    "data": "digits",
    "epochs": 40,
    "n": 64,
    "lams": [0, 1],
    "grid": {"seed": list(range(8))},
}
LESSON, PARAMETERS = "01_attack", {"n": 64}


def _sweep(folder: Path, name: str, **how) -> Callable[[], None]:
    """Do all runs of PLAN in a new folder."""

    def call() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            done = oatlib.sweep(oatlib.read_plan(PLAN), Path(out) / name, progress=False, **how)
            assert len(done.finished) == len(done.plan)

    return call


def _nbclient(folder: Path) -> None:
    """Execute the lesson as nbclient does it, with the same parameters."""
    path = find(LESSON)
    nb = kernel.prepared(nbformat.read(path, as_version=4), PARAMETERS)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(nb, timeout=None, kernel_name="python3", resources=place).execute()
    nbformat.write(nb, folder / "plain.ipynb")


def run_sweep(rounds: int = 1) -> dict:
    """{sweep: how many times as long one run after the other takes, ...}."""
    cores = pool.cores()
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "in_turn": _sweep(Path(folder), "a", workers=0, threads=cores),
            "workers": _sweep(Path(folder), "b", workers=cores, threads=1),
        }
        seconds = interleaved(ways, rounds, warmup=0)
    runs = {"runs": len(oatlib.read_plan(PLAN)), "cores": cores, "plan": PLAN}
    return {"sweep": ratio(seconds, "workers", "in_turn") | runs}


def run_rerun(rounds: int = 1) -> dict:
    """{rerun: how many times as long rerun takes as nbclient alone, ...}."""
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "nbclient": lambda: _nbclient(Path(folder)),
            "rerun": lambda: oatlib.rerun(LESSON, PARAMETERS, folder, progress=False),
        }
        seconds = interleaved(ways, rounds, warmup=0)
    lesson = {"lesson": LESSON, "parameters": PARAMETERS}
    return {"rerun": ratio(seconds, "rerun", "nbclient") | lesson}
