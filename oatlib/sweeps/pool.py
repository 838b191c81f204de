"""Where runs are done: in worker processes of Dask, or in this process.

Dask is imported only here, and only when it is used. What travels between the processes is a
dictionary of plain values; results are files.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol

import torch

from ..record import RecordError, write_bytes
from . import store

EXTRA = "pip install 'oatlib[scale]'"
ATTEMPTS = 3  # of a run whose worker dies
PATIENCE = 60  # seconds to wait for workers
CONNECTING = 10  # seconds to wait for a scheduler
NO_LIMIT = 0  # of memory: results are files, so a worker has nothing that it could move to disk

Perform = Callable[[Mapping], dict]


class Pool(Protocol):
    """Something that does runs, several at a time."""

    def slots(self) -> int:
        """Return how many runs can be done at the same time."""

    def submit(self, run_id: str, task: Mapping) -> None:
        """Start a run."""

    def next(self) -> tuple[str, dict]:
        """Wait until a run ends, and return its ID and outcome, see `work.perform`."""


class Here:
    """Do runs in this process, one after the other."""

    def __init__(self, perform: Perform):
        self.perform = perform
        self.waiting: list[tuple[str, Mapping]] = []

    def slots(self) -> int:
        """Return 1."""
        return 1

    def submit(self, run_id: str, task: Mapping) -> None:
        """Note a run. `next` does it."""
        self.waiting.append((run_id, task))

    def next(self) -> tuple[str, dict]:
        """Do a run, and return its ID and outcome."""
        run_id, task = self.waiting.pop(0)
        return run_id, self.perform(task)


class Workers:
    """Do runs in the worker processes of a Dask client.

    Args:
        client: A `distributed.Client`.
        perform: What a worker calls with a task. It must be a function of a module.
        scheduler: Address of the scheduler, for messages.
    """

    def __init__(self, client, perform: Perform, scheduler: str):
        self.client = client
        self.perform = perform
        self.scheduler = scheduler
        self.running: dict = {}  # future -> ID of its run

    def slots(self) -> int:
        """Return the number of runs that the workers can do at the same time."""
        return max(1, sum(self.client.nthreads().values()))

    def submit(self, run_id: str, task: Mapping) -> None:
        """Send a run to a worker."""
        key = f"oatlib-{run_id}-{secrets.token_hex(4)}"
        self.running[self.client.submit(self.perform, dict(task), key=key, pure=False)] = run_id

    def next(self) -> tuple[str, dict]:
        """Wait until a run ends, and return its ID and outcome."""
        from distributed import CancelledError, wait

        try:
            with self.client.as_current():
                done = wait(list(self.running), return_when="FIRST_COMPLETED").done
        except CancelledError:
            raise self._lost() from None
        future = next(iter(done))
        run_id = self.running.pop(future)
        if future.status == "finished":
            return run_id, future.result()
        if future.status != "error":
            raise self._lost()
        return run_id, {"status": "failed", "seconds": None, "text": _death(future.exception())}

    def _lost(self) -> RuntimeError:
        return RuntimeError(
            f"the connection to the scheduler at {self.scheduler} is lost. What is finished is "
            "kept; the same command continues"
        )


def _death(error: BaseException) -> str:
    """Return in words why a worker brought no outcome."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return (
            f"its worker process died in {ATTEMPTS} attempts. The usual reason is too little "
            "memory: use fewer workers"
        )
    return f"{type(error).__name__}: {error}"


def sizes(workers: int | None, threads: int | None, n_runs: int) -> tuple[int, int]:
    """Return how many worker processes to start, and how many threads each of them gets.

    Args:
        workers: What the user asks for, 1 or more. None: as many as there are cores and runs.
        threads: What the user asks for. None: the cores are divided among the workers.
        n_runs: Number of runs.

    Raises:
        ValueError: If workers times threads is more than the number of cores.
    """
    n_cores = cores()
    if workers is None:
        workers = max(1, min(n_runs, n_cores // (threads or 1)))
    if threads is None:
        threads = max(1, n_cores // workers)
    if workers * threads > n_cores:
        raise ValueError(
            f"{workers} workers with {threads} threads each need {workers * threads} cores, this "
            f"process may use {n_cores}: use fewer workers or threads"
        )
    return workers, threads


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_installed() -> None:
    """Raise an ImportError that says what to install, unless Dask and what it needs are there."""
    for module in ("distributed", "cryptography"):
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"a sweep over several processes needs Dask with certificates, and {module} is not "
                f"installed: {EXTRA}. Without it, 0 workers run a sweep in this process"
            )


def check_script() -> None:
    """Raise a RuntimeError if worker processes would run the script that was started.

    Each worker imports it. Without the usual `if`, it would start a sweep of its own.
    """
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if script is None or main.__spec__ is not None:  # a notebook, or python -m
        return
    try:
        source = Path(script).read_bytes()
    except OSError:
        return
    if b"__name__" not in source:
        raise RuntimeError(
            "each worker process imports this script. Put the call of oatlib.sweep below the line "
            '`if __name__ == "__main__":`, or use workers=0'
        )


def check_scheduler(address: str) -> str:
    """Return the address of a scheduler, or raise a ValueError if it has not the form of one."""
    if not re.fullmatch(r"(tcp|tls)://[^\s/:]+:\d{1,5}", address):
        raise ValueError(f"a scheduler has an address such as tcp://10.0.0.1:8786, got {address!r}")
    return address


@contextmanager
def here(perform: Perform, threads: int | None) -> Iterator[Here]:
    """Do runs in this process.

    Args:
        perform: What is called with a task.
        threads: Threads of PyTorch until the block ends. None: as they are.
    """
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield Here(perform)
    finally:
        torch.set_num_threads(before)


@contextmanager
def local(perform: Perform, workers: int, threads: int, dashboard: int | None) -> Iterator[Workers]:
    """Start worker processes on this machine. They listen on 127.0.0.1 only.

    Args:
        perform: What a worker calls with a task.
        workers: Number of processes. Each does one run at a time.
        threads: Threads of each process.
        dashboard: Port of Dask's web page about its workers. None: there is no page.
    """
    import dask.config
    from distributed import Client, LocalCluster

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    settings: dict = {
        # Dask would have its workers give memory back after every tensor (MALLOC_TRIM_THRESHOLD_).
        # A training then takes two to three times as long.
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(names, str(threads)),
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
        "distributed.admin.log-format": "%(message)s",
    }
    # Without a page, the scheduler serves nothing over HTTP; it would take port 8787 all the same.
    page: dict = {}
    if dashboard is None:
        settings["distributed.scheduler.http.routes"] = []
        page = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        scratch = tempfile.mkdtemp(prefix="oatlib-sweep-")
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        with _ctrl_c_waits():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None if dashboard is None else f"127.0.0.1:{dashboard}",
                scheduler_kwargs=page,
                # Other users of this machine could connect to a port on 127.0.0.1. With
                # certificates that Dask makes for this cluster they cannot.
                security=True,
                memory_limit=NO_LIMIT,
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
                env=dict.fromkeys(names, str(threads)),
            )
        stack.callback(_close, cluster)
        client = Client(cluster, set_as_default=False)
        stack.callback(_close, client)
        yield Workers(client, perform, cluster.scheduler_address)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Block Ctrl-C until the block ends, and for ever in processes that are started from it.

    Ctrl-C reaches all processes of a terminal. The workers leave it to the process that started
    them, which ends them. They inherit what is blocked here; so do the threads that start workers
    again later.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close(thing) -> None:
    """Close a client or a cluster, and ignore its errors: the runs are over."""
    with suppress(Exception):
        thing.close()


@contextmanager
def remote(perform: Perform, scheduler: str, out: Path) -> Iterator[Workers]:
    """Use a cluster that is running already.

    Args:
        perform: What a worker calls with a task.
        scheduler: Its address, such as "tcp://10.0.0.1:8786".
        out: Folder of the results, which all workers must see.

    Raises:
        ValueError: If there is no scheduler, if it has no workers, or if a worker has another
            oatlib or does not see the folder.
    """
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=CONNECTING, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler}") from error
    try:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise ValueError(f"the scheduler at {scheduler} has no workers") from None
        _check_workers(client, out)
        yield Workers(client, perform, scheduler)
    finally:
        _close(client)


def _check_workers(client, out: Path) -> None:
    """Raise a ValueError unless all workers have this oatlib, and see the folder of the results."""
    token = secrets.token_hex(8)
    probe = out / f".probe-{token}"
    write_bytes(probe, token.encode())
    try:
        answers = client.run(describe, str(probe))
    except Exception as error:  # whatever a worker raised
        raise ValueError(f"a worker cannot use oatlib: {type(error).__name__}: {error}") from error
    finally:
        probe.unlink(missing_ok=True)
    for worker, answer in answers.items():
        if answer["token"] != token:
            raise ValueError(f"the worker {worker} does not see the folder {out}: share it")
        if answer["code"] != store.code(None):
            raise ValueError(
                f"the worker {worker} has another version of oatlib or PyTorch: "
                f"{_versions(answer['code'])}, here is {_versions(store.code(None))}"
            )


def _versions(code: Mapping[str, str]) -> str:
    return f"oatlib {code['oatlib']} ({code['files'][:8]}), torch {code['torch']}"


def describe(probe: str) -> dict:
    """Return what a worker has: its code, and the content of a file in the folder of results.

    Args:
        probe: Path of that file.
    """
    try:
        token = Path(probe).read_text(encoding="utf-8")
    except (OSError, RecordError):
        token = ""
    return {"code": store.code(None), "token": token}
