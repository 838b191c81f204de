"""Do the runs of a sweep: `oatlib.sweep`, and `oatlib sweep` in a shell.

What is finished is kept, whatever happens. The same call continues: finished runs are skipped.
"""

from __future__ import annotations

import sys
import textwrap
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .._check import path_of, whole
from ..record import RecordError, claimed, read_json, versions, write_json
from . import pool, store, work
from .plan import Plan, Run, read_plan

FILE = "sweep.json"  # the list of runs, in the folder of a sweep
FORM = "oatlib sweep"  # says that the file is one
LONGEST = 300  # characters of what a run says on its line


@dataclass(frozen=True)
class Sweep:
    """What became of the runs of a sweep.

    Attributes:
        folder: Folder with the results.
        plan: The plan.
        finished: IDs of finished runs, those of earlier calls among them.
        skipped: IDs of runs that an earlier call has finished.
        failed: Why runs failed, by ID.
        seconds: Duration of this call.
    """

    folder: Path
    plan: Plan
    finished: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        parts = [f"{len(self.finished)} of {len(self.plan)} runs are finished"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} of them were finished before")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        return f"{self.folder}: {', '.join(parts)}; {self.seconds:.0f} s"

    __repr__ = __str__


def sweep(
    plan: Plan | str | Path | Mapping,
    out: str | Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    dashboard: int | None = None,
    progress: bool = True,
    perform: pool.Perform = work.perform,
) -> Sweep:
    """Do all runs of a sweep, several at a time, and write their results to a folder.

    Runs that are finished already are skipped. A result is found again if parameters, code and data
    are the same. A run that fails is reported, and the others continue. After Ctrl-C, or after a
    crash, the same call continues; a training continues after its last epoch.

    Worker processes import the script that calls this function. In a script, the call must
    therefore stand below `if __name__ == "__main__":`. Notebooks need nothing.

    Args:
        plan: A TOML file, its content as a dictionary, or what `read_plan` returned.
        out: Folder of the results. It is created if it does not exist.
        workers: Number of worker processes. Default: as many as there are cores and runs. 0: the
            runs are done in this process, one after the other, which needs no Dask.
        threads: Threads of each worker. Default: the cores are divided among the workers.
        scheduler: Address of a Dask cluster to use instead, such as "tcp://10.0.0.1:8786". Its
            workers must have the same oatlib and see the folder `out`.
        dashboard: Port on 127.0.0.1 for Dask's web page about the workers. Default: no page.
        progress: Whether to print a line per run to stderr.
        perform: What does a run, see `oatlib.sweeps.work.perform`. Tests replace it.

    Returns:
        What is finished and what failed.

    Raises:
        ValueError: If the plan is not valid, if the folder cannot be used, or if there are fewer
            cores than workers times threads. Nothing has been started then.
        RecordError: If another sweep is writing to the folder, or if it cannot be written.
        ImportError: If Dask is not installed and `workers` is not 0.
        RuntimeError: If a script calls it without `if __name__ == "__main__":`.

    Warns:
        UserWarning: If a finished result is damaged. It is never used: the run is done again.

    Example:
        >>> done = oatlib.sweep({"recipe": "oat", "grid": {"seed": [0, 1, 2]}}, "runs")
        >>> print(oatlib.sweep_report("runs"))
    """
    _check_options(workers, threads, scheduler, dashboard)
    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    folder = _folder(out)
    started = time.monotonic()
    lines = _Lines(sys.stderr if progress else None, len(plan))
    with claimed(folder / FILE):
        _write_list(folder, plan)
        waiting: deque[Run] = deque()
        finished: list[str] = []
        for run in plan.runs:
            content = _finished(folder, run)
            if content is None:
                waiting.append(run)
            else:
                finished.append(run.id)
                lines.write(run, f"finished before: {work.summary(content)}")
        skipped = tuple(finished)
        failed: dict[str, str] = {}
        if waiting:
            how = (workers, threads, scheduler, dashboard)
            try:
                with _open_pool(perform, folder, *how, n_runs=len(waiting)) as (opened, n_threads):
                    for run, outcome in _outcomes(opened, waiting, folder, n_threads):
                        if outcome["status"] == "finished":
                            finished.append(run.id)
                            lines.write(run, f"{outcome['text']} ({outcome['seconds']:.0f} s)")
                        else:
                            failed[run.id] = outcome["text"]
                            store.write_failure(store.folder_of(folder, run.id), outcome["text"])
                            lines.write(run, f"failed: {outcome['text']}")
            except KeyboardInterrupt:
                lines.interrupted(len(finished))
                raise
    return Sweep(folder, plan, tuple(finished), skipped, failed, time.monotonic() - started)


def _check_options(workers, threads, scheduler, dashboard) -> None:
    """Check how runs are done, before anything is read."""
    for name, value, low in (("workers", workers, 0), ("threads", threads, 1)):
        if value is not None:
            whole(name, value, low)
    if dashboard is not None:
        whole("dashboard", dashboard, 1, 65535)
    if scheduler is not None:
        pool.check_scheduler(scheduler)
        options = {"workers": workers, "threads": threads, "dashboard": dashboard}
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"{name} is a choice of the cluster at {scheduler}: leave it out")
    if workers != 0:
        pool.check_installed()
        pool.sizes(workers, threads, 1)
    if workers != 0 and scheduler is None:
        pool.check_script()


def _folder(out: str | Path) -> Path:
    """Return the folder of a sweep as an absolute path, created if needed."""
    folder = path_of(out).absolute()
    if folder.exists() and not folder.is_dir():
        raise RecordError(f"cannot write into the folder {out}: it is a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / store.RUNS).mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot write into the folder {out}: {error.strerror}") from error
    return folder


def _write_list(folder: Path, plan: Plan) -> None:
    """Write the list of runs, which the report reads."""
    path = folder / FILE
    if path.exists():
        try:
            is_ours = read_json(path).get("form") == FORM
        except (RecordError, AttributeError):
            is_ours = False
        if not is_ours:
            raise RecordError(
                f"{path} exists and is no list of a sweep: choose another folder, or delete it"
            )
    runs = [
        {
            "id": run.id,
            "label": run.label,
            "varied": run.varied,
            "parameters": run.parameters,
            "command": run.command,
        }
        for run in plan.runs
    ]
    write_json(
        path,
        {
            "form": FORM,
            "versions": versions(),
            "title": plan.title,
            "kind": plan.kind,
            "keys": plan.keys,
            "runs": runs,
        },
    )


def _finished(folder: Path, run: Run) -> dict | None:
    """Return the result of a run that is finished; None if it has to be done."""
    try:
        return store.read_result(store.folder_of(folder, run.id))
    except (RecordError, OSError) as error:
        warnings.warn(f"{error}. The run ({run.label}) is done again.", stacklevel=3)
        return None


@contextmanager
def _open_pool(
    perform: pool.Perform,
    folder: Path,
    workers: int | None,
    threads: int | None,
    scheduler: str | None,
    dashboard: int | None,
    n_runs: int,
) -> Iterator[tuple[pool.Pool, int | None]]:
    """Start what does the runs. Yield it, and the threads of a run (None: as they are)."""
    if workers == 0:
        with pool.here(perform, threads) as opened:
            yield opened, threads
    elif scheduler is not None:
        with pool.remote(perform, scheduler, folder) as opened:
            yield opened, None
    else:
        n_workers, n_threads = pool.sizes(workers, threads, n_runs)
        with pool.local(perform, n_workers, n_threads, dashboard) as opened:
            yield opened, n_threads


def _outcomes(
    workers: pool.Pool, waiting: deque[Run], folder: Path, threads: int | None
) -> Iterator[tuple[Run, dict]]:
    """Yield each run with its outcome when it ends.

    No more runs are sent out than can be done at once. So a worker that dies takes no other run
    with it, and Ctrl-C leaves none behind.
    """
    running: dict[str, Run] = {}
    while waiting or running:
        while waiting and len(running) < workers.slots():
            run = waiting.popleft()
            running[run.id] = run
            workers.submit(run.id, _task(run, folder, threads))
        run_id, outcome = workers.next()
        yield running.pop(run_id), outcome


def _task(run: Run, folder: Path, threads: int | None) -> dict:
    """Return what a worker needs to know about a run."""
    return {
        "id": run.id,
        "kind": run.address["kind"],
        "parameters": run.parameters,
        "address": run.address,
        "folder": str(store.folder_of(folder, run.id)),
        "threads": threads,
    }


class _Lines:
    """Print one line per run.

    Args:
        stream: Text stream to print to; None prints nothing.
        n: Number of runs.
    """

    def __init__(self, stream: TextIO | None, n: int):
        self.stream = stream
        self.n = n
        self.done = 0

    def write(self, run: Run, text: str) -> None:
        """Print the line of a run that has ended."""
        self.done += 1
        shown = textwrap.shorten(text, LONGEST, placeholder=" ...")
        self._print(f"[{self.done}/{self.n}] {run.label}: {shown}")

    def interrupted(self, n_finished: int) -> None:
        """Print what is kept after Ctrl-C."""
        self._print(
            f"interrupted: {n_finished} of {self.n} runs are finished and kept. The same command "
            "continues"
        )

    def _print(self, line: str) -> None:
        if self.stream:
            print(line, file=self.stream, flush=True)
