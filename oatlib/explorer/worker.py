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

PACES = ("run", "slow", "pause")
NAME = "oatlib worker"
BEAT = 0.25  # seconds between two new items at the slow pace


class Worker:
    """A background thread that advances the newest job, and other iterators while the job waits.

    An item of a job is True if there is something new to show. The slow pace waits after such an
    item, and one `step` ends with it.

    Args:
        on_error: Function that is called on the thread with the exception that a job or another
            iterator raised. The iterator ends there.
        meanwhile: Names of other iterators, in the order of their priority.
    """

    def __init__(self, on_error: Callable[[Exception], None], meanwhile: tuple[str, ...] = ()):
        self._lock = threading.Condition()
        self._on_error, self._names = on_error, meanwhile
        self._next: Iterator | None = None
        self._job: Iterator | None = None
        self._others: dict[str, Iterator] = {}
        self._pace, self._steps, self._not_before = "run", 0, 0.0
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
            self._next, self._not_before = job, 0.0
            self._wake()

    def meanwhile(self, name: str, work: Iterator | None) -> None:
        """Run an iterator while no job can continue.

        Args:
            name: One of the names that the worker was made with. Earlier work of this name is
                replaced.
            work: The iterator; None only stops the earlier work.
        """
        with self._lock:
            self._others.pop(name, None)
            if work is not None:
                self._others[name] = work
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
            self._pace, self._steps, self._not_before = pace, 0, 0.0
            self._wake()

    def step(self) -> None:
        """Advance a paused job until it has something new to show."""
        with self._lock:
            self._steps += 1
            self._wake()

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
            self._next, self._job = None, None
            self._others.clear()
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

    def _turn(self) -> bool:
        """Advance one iterator by one item.

        Return False, and end the thread, if there is none to advance.
        """
        with self._lock:
            work = self._choose()
            if work is None:
                self._threads.clear()
                self._lock.notify_all()
                return False
        if not work:  # a wait is over, or was ended by new work
            return True
        name, iterator = work
        try:
            news = next(iterator)
        except StopIteration:
            self._drop(name, iterator)
        except Exception as error:
            self._drop(name, iterator)
            self._on_error(error)
        else:
            if news and name == "job":
                self._steps = max(0, self._steps - 1)
                self._not_before = time.monotonic() + BEAT
        return True

    def _choose(self) -> tuple | None:
        """Choose the iterator to advance.

        Return (name, iterator), or () after a wait of the slow pace, or None if there is no work.
        """
        if self._closed.is_set():
            return None
        if self._next is not None:
            self._job, self._next = self._next, None
        wait = 0.0
        if self._job is not None and (self._pace != "pause" or self._steps):
            wait = self._not_before - time.monotonic() if self._pace == "slow" else 0.0
            if wait <= 0:
                return "job", self._job
        for name in self._names:
            if name in self._others:
                return name, self._others[name]
        if wait > 0:
            self._lock.wait(wait)
            return ()
        return None

    def _drop(self, name: str, iterator: Iterator) -> None:
        """Forget an iterator that has ended, unless it was already replaced by another."""
        with self._lock:
            if name == "job":
                if self._job is iterator:
                    self._job, self._steps = None, 0
            elif self._others.get(name) is iterator:
                del self._others[name]


def _run(worker: weakref.ref) -> None:
    """Advance the worker until there is no work: the main loop of the thread.

    Between two items it holds no reference, so that an unused worker can be garbage-collected.
    """
    while (living := worker()) is not None and living._turn():
        del living


def _end(closed: threading.Event, threads: list[threading.Thread]) -> None:
    """Stop the thread at its next item, and wait up to 10 seconds for it to end."""
    closed.set()
    for thread in list(threads):
        if thread is not threading.current_thread():
            thread.join(10)
