"""Runs the cells of a notebook one after the other with papermill, in a kernel of this very Python."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import tempfile
import textwrap
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from papermill.engines import papermill_engines
from papermill.execute import remove_error_markers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

PATIENCE = 120  # seconds for a kernel to start, and for the last outputs of a cell to arrive
LINES = 12  # of a traceback that are shown
WIDTH = 100  # of these lines
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


class RerunError(RuntimeError):
    """A notebook that did not run to its end: which cell, why, and where the part that ran lies."""


class Progress:
    """One line for every cell: which one it is, its heading or first line, and how long it took."""

    def __init__(self, nb: NotebookNode, stream):
        self.stream = stream
        self.names: dict[int, tuple[str, bool, str]] = {}  # cell: (heading above, is it right above, first line)
        heading, new = "", False
        for index, cell in enumerate(nb.cells):
            found = _HEADING.findall(_FENCE.sub("", cell.source)) if cell.cell_type == "markdown" else []
            heading, new = (found[-1], True) if found else (heading, new)
            if cell.cell_type == "code" and cell.source.strip():
                self.names[index] = heading, new, _first_line(cell.source)
                new = False
        self.now: int | None = None  # the cell that runs, or ran last
        self.open = False  # whether a line waits for its end

    def start(self, cell: NotebookNode, cell_index: int) -> None:
        """papermill starts a cell."""
        self.now, self.since, self.open = cell_index, time.monotonic(), True
        heading, new, line = self.names[cell_index]
        number = list(self.names).index(cell_index) + 1
        self.write(f"[{number}/{len(self.names)}] {heading if new else line}")

    def end(self, execute_reply: dict, **_) -> None:
        """A cell has ended, well or with an exception."""
        failed = execute_reply["content"]["status"] == "error"
        self.write(f"  {'failed after ' if failed else ''}{time.monotonic() - self.since:.1f} s\n")
        self.open = False

    def close(self) -> None:
        """No cell goes on."""
        if self.open:
            self.write("\n")
        self.open = False

    def write(self, text: str) -> None:
        """To the screen, if there is one."""
        if self.stream:
            print(text, end="", file=self.stream, flush=True)

    def where(self) -> str:
        """The cell that ran last, in words."""
        if self.now is None:
            return "the kernel"
        heading, _, line = self.names[self.now]
        under = f", under {heading!r}" if heading else ""
        return f"cell {list(self.names).index(self.now) + 1} of {len(self.names)}{under} ({line})"


def _first_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.startswith("# NBVAL")]
    return textwrap.shorten(lines[0].lstrip("# ") if lines else "", 60, placeholder=" ...")


def prepared(nb: NotebookNode, given: Mapping) -> NotebookNode:
    """A copy as papermill wants it, without traces of earlier runs, with a cell that sets the given parameters."""
    with _quiet():
        nb = remove_error_markers(load_notebook_node(nb))
        nb.cells = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.tags]
        for key in ("input_path", "output_path"):  # papermill itself leaves places on somebody's machine there
            nb.metadata.papermill.pop(key, None)
        return (
            parameterize_notebook(nb, dict(given), kernel_name=NATIVE_KERNEL_NAME, language="python") if given else nb
        )


def execute(nb: NotebookNode, folder: Path, progress: Progress, timeout: int | None = None) -> None:
    """Run a prepared notebook; its outputs are put in, also where it ends early with RerunError."""
    with tempfile.TemporaryFile() as log:
        try:
            with _quiet(), _kernel(folder, log) as kernel:
                papermill_engines.execute_notebook_with_engine(
                    None, nb, NATIVE_KERNEL_NAME, km=kernel, progress_bar=False, autosave_cell_every=0,
                    start_timeout=PATIENCE, iopub_timeout=PATIENCE, execution_timeout=timeout,
                    on_cell_execute=progress.start, on_cell_executed=progress.end,
                )  # fmt: skip
        except CellTimeoutError:
            raise RerunError(f"{progress.where()} took longer than {timeout or PATIENCE} s") from None
        except RuntimeError as error:
            log.seek(0)
            last = _tail(log.read().decode(errors="replace"))
            raise RerunError(f"{progress.where()}: {error}. Out of memory, or a crash\n{last}".rstrip()) from None
        finally:
            progress.close()
    failed = [cell for cell in nb.cells if cell.metadata.papermill.get("exception")]
    if failed:
        raise RerunError(f"{progress.where()} failed\n{_traceback(failed[0])}")


class _Kernel(AsyncKernelManager):
    """A kernel whose client is known and shares its sockets, so that both can be closed."""

    talk = None

    def client(self, **options):
        self.talk = super().client(context=self.context, **options)
        return self.talk


@contextmanager
def _kernel(folder: Path, log):
    """A kernel of this Python, gone afterwards whatever happens. What it writes past the notebook goes to `log`.

    The user may have registered another Python as `python3`; without folders to search this one is found.
    """
    kernel = _Kernel(kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    options = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]  # the history is for what somebody typed
    before, finished = run_sync(_tasks)(), False
    try:
        with _unbroken():
            run_sync(kernel.start_kernel)(cwd=str(folder), stdout=log, stderr=log, extra_arguments=options)
        yield kernel
        finished = True
    finally:
        with _unbroken():
            run_sync(_cancel)(before)
            if kernel.talk:
                kernel.talk.stop_channels()
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=not finished)


@contextmanager
def _unbroken():
    """Ctrl-C comes afterwards: in the middle of this it would leave a process behind that nobody knows."""
    if threading.current_thread() is not threading.main_thread():  # where it never comes
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


async def _tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def _cancel(before: set[asyncio.Task]) -> None:
    """nbclient leaves tasks behind when a cell is given up."""
    left = await _tasks() - before
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def _quiet():
    """What papermill and its helpers have to say is said here in other words."""
    loggers = [logging.getLogger(name) for name in ("papermill", "asyncio", "traitlets")]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.disabled = True
            yield
        finally:
            for logger, was in zip(loggers, before, strict=True):
                logger.disabled = was


def _traceback(cell: NotebookNode) -> str:
    """Exception and last lines of the traceback."""
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    if error is None:
        return "(it left no traceback)"
    told = _tail(f"{error.ename}: {error.evalue}", 4)
    lines = _tail("\n".join(error.traceback))
    return lines if told in lines else f"{lines}\n{told}"


def _tail(text: str, lines: int = LINES) -> str:
    kept = [line.rstrip() for line in _ANSI.sub("", text).splitlines() if line.strip()][-lines:]
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in kept)
