"""Run the work of a widget on one background thread, so that the browser stays responsive.

The newest job has priority. Other work is done while no job can continue. Jobs are iterators that
are advanced item by item, so that a newer job never waits long. The thread exists only while there
is work, so that closing a page or a kernel leaves no thread behind.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .._suggest import did_you_mean

PACES = ("run", "slow", "pause")
NAME = "oatlib worker"
BEAT = 0.25  # seconds between two new items at the slow pace


class Worker:
    """A background thread that advances the newest job, and other iterators while the job waits.

    An item of a job is True if there is something new to show. The slow pace waits after such an
    item, and one `advance` ends with it.

    Args:
        on_error: Function that is called on the thread with the exception that a job or another
            iterator raised. The iterator ends there.
        idle_names: Names of the iterators that `meanwhile` accepts, in the order of their priority.
    """

    def __init__(self, on_error: Callable[[Exception], None], idle_names: tuple[str, ...] = ()):
        self._lock = threading.Condition()
        self._on_error = on_error
        # The thread replaces the job by the waiting one between two items, so that the abandoned
        # iterator is closed on the thread that has advanced it.
        self._job: Iterator | None = None
        self._waiting_job: Iterator | None = None
        # iterators to advance while no job can continue, by name
        self._idle_names = idle_names
        self._idle_work: dict[str, Iterator] = {}
        self._allowed = idle_names
        # how the job advances: its pace, the new items it may still yield while it is paused, and
        # the time before which it waits at the slow pace
        self._pace = "run"
        self._advances = 0
        self._not_before = 0.0
        self._threads: list[threading.Thread] = []  # at most one
        self._closed = threading.Event()
        # also at exit: a daemon thread that is inside PyTorch when Python ends crashes the process
        weakref.finalize(self, _end, self._closed, self._threads)

    def submit(self, job: Iterator) -> None:
        """Run a job instead of the current and the waiting one.

        The current job is abandoned at its next item.

        Args:
            job: Iterator of booleans, see the class.
        """
        with self._lock:
            self._waiting_job, self._not_before = job, 0.0
            self._wake()

    def meanwhile(self, name: str, work: Iterator | None) -> None:
        """Run an iterator while no job can continue.

        Args:
            name: One of the names that the worker was made with. Earlier work of this name is
                replaced.
            work: The iterator; None only stops the earlier work.

        Raises:
            ValueError: If there is no such name.
        """
        if name not in self._idle_names:
            raise ValueError(
                f"unknown idle work {name!r}{did_you_mean(name, self._idle_names)}: use one of "
                f"{', '.join(self._idle_names) or '(none)'}"
            )
        with self._lock:
            self._idle_work.pop(name, None)
            if work is not None:
                self._idle_work[name] = work
            self._wake()

    def pace(self, pace: str) -> None:
        """Set how the job advances.

        Args:
            pace: "run", "slow" (waits BEAT seconds after each item that is new to show) or "pause".

        Raises:
            ValueError: If there is no such pace.
        """
        if pace not in PACES:
            raise ValueError(f"pace must be one of {', '.join(PACES)}, got {pace!r}")
        with self._lock:
            self._pace, self._advances, self._not_before = pace, 0, 0.0
            self._wake()

    def advance(self) -> None:
        """Advance a paused job until it has something new to show."""
        with self._lock:
            self._advances += 1
            self._wake()

    def restrict_idle_work(self, *names: str) -> None:
        """Do only this idle work from now on. What else is handed over is kept, but never advanced.

        Args:
            *names: Names that the worker was made with.
        """
        with self._lock:
            self._allowed = tuple(name for name in self._idle_names if name in names)

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until there is no work that can continue. A paused job does not count.

        Args:
            timeout: Limit in seconds.

        Raises:
            TimeoutError: If there is still work after `timeout` seconds.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: not self._threads, timeout):
                raise TimeoutError(f"still working after {timeout:g} s")

    def close(self) -> None:
        """Stop at the next item for good, and wait until the thread has ended."""
        self._closed.set()
        with self._lock:
            self._waiting_job, self._job = None, None
            self._idle_work.clear()
            self._lock.notify_all()
        _end(self._closed, self._threads)

    def _wake(self) -> None:
        """Start the thread if there is none, and wake it if it waits."""
        if not self._threads and not self._closed.is_set():
            self._threads.append(
                threading.Thread(target=_run, args=(weakref.ref(self),), name=NAME, daemon=True)
            )
            self._threads[0].start()
        self._lock.notify_all()

    def _do_next(self) -> bool:
        """Advance one iterator by one item, or wait until the slow pace lets the job continue.

        Return False, and end the thread, if there is nothing to do.
        """
        with self._lock:
            if self._waiting_job is not None:
                self._job, self._waiting_job = self._waiting_job, None
            delay = self._job_delay()
            work = self._choose(delay)
            if work is None and delay is not None:
                self._lock.wait(delay)  # new work ends the wait
                return True
            if work is None:
                self._threads.clear()
                self._lock.notify_all()
                return False
        self._take_item(work)
        return True

    def _job_delay(self) -> float | None:
        """Return the seconds until the job may continue, or None if no job can continue."""
        if self._job is None or self._closed.is_set():
            return None
        if self._pace == "pause" and not self._advances:
            return None
        if self._pace == "slow":
            return max(0.0, self._not_before - time.monotonic())
        return 0.0

    def _choose(self, job_delay: float | None) -> _Work | None:
        """Return the work to advance now: the job, else idle work, else None."""
        if self._closed.is_set():
            return None
        if job_delay == 0:
            return _Work(self._job)
        for name in self._allowed:
            if name in self._idle_work:
                return _Work(self._idle_work[name], name)
        return None

    def _take_item(self, work: _Work) -> None:
        """Advance an iterator by one item."""
        try:
            news = next(work.iterator)
        except StopIteration:
            self._drop(work)
        except Exception as error:
            self._drop(work)
            self._on_error(error)
        else:
            if news and work.is_job:
                self._advances = max(0, self._advances - 1)
                self._not_before = time.monotonic() + BEAT

    def _drop(self, work: _Work) -> None:
        """Forget an iterator that has ended, unless it was already replaced by another."""
        with self._lock:
            if work.is_job:
                if self._job is work.iterator:
                    self._job, self._advances = None, 0
            elif self._idle_work.get(work.idle_name) is work.iterator:
                del self._idle_work[work.idle_name]


@dataclass(frozen=True, eq=False)
class _Work:
    """An iterator to advance: the job, or idle work under its name."""

    iterator: Iterator
    idle_name: str | None = None

    @property
    def is_job(self) -> bool:
        return self.idle_name is None


def _run(worker: weakref.ref) -> None:
    """Advance the worker until there is no work: the main loop of the thread.

    Between two items it holds no reference, so that an unused worker can be garbage-collected.
    """
    while (living := worker()) is not None and living._do_next():
        del living


def _end(closed: threading.Event, threads: list[threading.Thread]) -> None:
    """Stop the thread at its next item, and wait up to 10 seconds for it to end."""
    closed.set()
    for thread in list(threads):
        if thread is not threading.current_thread():
            thread.join(10)
