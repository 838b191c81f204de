"""Run the cells of a notebook one after another with papermill.

The kernel uses the current Python interpreter. `oatlib.rerun` is built on this module. If a cell
fails, the error names the cell, and all outputs up to there are kept.
"""

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
from typing import NamedTuple

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from papermill.engines import papermill_engines
from papermill.execute import remove_error_markers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

PATIENCE = 120  # seconds to wait for a kernel to start, and for the last outputs of a cell
LINES = 12  # number of lines of a traceback that are shown
WIDTH = 100  # characters; longer lines of a traceback are cut
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


class RerunError(RuntimeError):
    """A notebook did not run to its end.

    The message says which cell failed, why, and where the executed part is.
    """


class _CellName(NamedTuple):
    """How progress and errors name a code cell."""

    heading: str  # the last heading above the cell
    is_first: bool  # whether it is the first code cell below that heading
    first_line: str


class Progress:
    """Print one line per code cell: its number, its heading or first line, and the seconds it took.

    Args:
        nb: The notebook that is going to run.
        stream: Text stream to print to, such as `sys.stderr`; None prints nothing.
    """

    def __init__(self, nb: NotebookNode, stream):
        self.stream = stream
        self.names: dict[int, _CellName] = {}  # by cell index
        heading, is_new = "", False
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "markdown":
                headings = _HEADING.findall(_FENCE.sub("", cell.source))
                if headings:
                    heading, is_new = headings[-1], True
            elif cell.cell_type == "code" and cell.source.strip():
                self.names[index] = _CellName(heading, is_new, _first_line(cell.source))
                is_new = False
        self.current: int | None = None  # index of the cell that runs, or ran last
        self.is_line_open = False  # whether the line of a running cell is unfinished

    def start(self, cell: NotebookNode, cell_index: int) -> None:
        """Print the beginning of a cell's line. papermill calls this before it runs the cell."""
        self.current = cell_index
        self.started = time.monotonic()
        self.is_line_open = True
        name = self.names[cell_index]
        text = name.heading if name.is_first else name.first_line
        self.write(f"[{self._number()}/{len(self.names)}] {text}")

    def end(self, execute_reply: dict, **_) -> None:
        """Print how long a cell took.

        papermill calls this after the cell, also if it raised an exception.
        """
        failed = execute_reply["content"]["status"] == "error"
        self.write(
            f"  {'failed after ' if failed else ''}{time.monotonic() - self.started:.1f} s\n"
        )
        self.is_line_open = False

    def close(self) -> None:
        """End an unfinished line. Called after the last cell, or after an interruption."""
        if self.is_line_open:
            self.write("\n")
        self.is_line_open = False

    def write(self, text: str) -> None:
        """Print `text` to the stream, if there is one, without a line break."""
        if self.stream:
            print(text, end="", file=self.stream, flush=True)

    def where(self) -> str:
        """Describe the cell that ran last, such as "cell 3 of 12, under 'Training' (net = ...)"."""
        if self.current is None:
            return "the kernel"
        name = self.names[self.current]
        under = f", under {name.heading!r}" if name.heading else ""
        return f"cell {self._number()} of {len(self.names)}{under} ({name.first_line})"

    def _number(self) -> int:
        """Return the number of the current cell among the code cells, from 1. 0: there is none."""
        if self.current is None:
            return 0
        return list(self.names).index(self.current) + 1


def _first_line(source: str) -> str:
    """Return the first line of code or comment, cut to 60 characters.

    Markers of nbval are skipped.
    """
    lines = [
        line.strip()
        for line in source.splitlines()
        if line.strip() and not line.startswith("# NBVAL")
    ]
    return textwrap.shorten(lines[0].lstrip("# ") if lines else "", 60, placeholder=" ...")


def prepared(nb: NotebookNode, parameters: Mapping) -> NotebookNode:
    """Return a copy of a notebook that papermill can run.

    The copy has no error markers and no injected parameters of earlier runs.

    Args:
        nb: The notebook; it stays as it is.
        parameters: Values by parameter name. If there are any, a cell that sets them is added.
    """
    with _quiet():
        nb = remove_error_markers(load_notebook_node(nb))
        nb.cells = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.tags]
        # papermill stores paths of the user's machine under these keys
        for key in ("input_path", "output_path"):
            nb.metadata.papermill.pop(key, None)
        if not parameters:
            return nb
        return parameterize_notebook(
            nb, dict(parameters), kernel_name=NATIVE_KERNEL_NAME, language="python"
        )


def execute(nb: NotebookNode, folder: Path, progress: Progress, timeout: int | None = None) -> None:
    """Run a notebook in place: its cells get their outputs, also if the run ends early.

    Args:
        nb: A notebook from `prepared`.
        folder: Working directory of the kernel.
        progress: Prints what runs, and names the failing cell.
        timeout: Limit in seconds for each cell; None for no limit.

    Raises:
        RerunError: If a cell raises an exception or exceeds the limit, or if the kernel dies.
    """
    with tempfile.TemporaryFile() as log:
        try:
            with _quiet(), _kernel(folder, log) as kernel:
                papermill_engines.execute_notebook_with_engine(
                    None,
                    nb,
                    NATIVE_KERNEL_NAME,
                    km=kernel,
                    progress_bar=False,
                    autosave_cell_every=0,
                    start_timeout=PATIENCE,
                    iopub_timeout=PATIENCE,
                    execution_timeout=timeout,
                    on_cell_execute=progress.start,
                    on_cell_executed=progress.end,
                )
        except CellTimeoutError:
            raise RerunError(
                f"{progress.where()} took longer than the limit of {timeout or PATIENCE} s"
            ) from None
        except RuntimeError as error:
            log.seek(0)
            last = _tail(log.read().decode(errors="replace"))
            raise RerunError(
                f"{progress.where()}: {error}. It crashed, or ran out of memory\n{last}".rstrip()
            ) from None
        finally:
            progress.close()
    failed = [cell for cell in nb.cells if cell.metadata.papermill.get("exception")]
    if failed:
        raise RerunError(f"{progress.where()} failed\n{_traceback(failed[0])}")


class _Kernel(AsyncKernelManager):
    """A kernel manager that remembers its client and shares sockets with it, to close both."""

    last_client = None

    def client(self, **options):
        self.last_client = super().client(context=self.context, **options)
        return self.last_client


@contextmanager
def _kernel(folder: Path, log):
    """Start a kernel of the current Python, and end it afterwards in every case.

    Output that the kernel writes outside of the notebook goes to `log`.
    """
    # The user may have registered another Python as `python3`. With no folders to search, the
    # kernel spec manager falls back to the current one.
    kernel = _Kernel(
        kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
    )
    # the IPython history is for code that a user typed, so a run should not add to it
    options = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
    tasks_before = run_sync(_tasks)()
    finished = False
    try:
        with _unbroken():
            run_sync(kernel.start_kernel)(
                cwd=str(folder), stdout=log, stderr=log, extra_arguments=options
            )
        yield kernel
        finished = True
    finally:
        with _unbroken():
            run_sync(_cancel_other_tasks)(tasks_before)
            if kernel.last_client:
                kernel.last_client.stop_channels()
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=not finished)


@contextmanager
def _unbroken():
    """Delay Ctrl-C until the block has ended.

    An interruption inside the block could leave an orphaned kernel process.
    """
    if threading.current_thread() is not threading.main_thread():  # other threads get no Ctrl-C
        yield
        return
    interrupts = []
    handler = signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


async def _tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def _cancel_other_tasks(tasks_before: set[asyncio.Task]) -> None:
    """Cancel all tasks but these: nbclient leaves some running when it abandons a cell."""
    new_tasks = await _tasks() - tasks_before
    for task in new_tasks:
        task.cancel()
    await asyncio.gather(*new_tasks, return_exceptions=True)


@contextmanager
def _quiet():
    """Silence logs and warnings of papermill and its dependencies.

    This module reports the same events in its own words.
    """
    loggers = [logging.getLogger(name) for name in ("papermill", "asyncio", "traitlets")]
    were_disabled = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.disabled = True
            yield
        finally:
            for logger, was_disabled in zip(loggers, were_disabled, strict=True):
                logger.disabled = was_disabled


def _traceback(cell: NotebookNode) -> str:
    """Return the last lines of a failed cell's traceback, with its exception."""
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    if error is None:
        return "(the cell has no traceback)"
    message = _tail(f"{error.ename}: {error.evalue}", 4)
    traceback = _tail("\n".join(error.traceback))
    return traceback if message in traceback else f"{traceback}\n{message}"


def _tail(text: str, lines: int = LINES) -> str:
    """Return the last non-blank lines without terminal colours, each cut to WIDTH characters."""
    plain = _ANSI.sub("", text).splitlines()
    kept = [line.rstrip() for line in plain if line.strip()][-lines:]
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in kept)
