"""One thread that works while the browser stays fluid: the newest job first, other work in its pauses.

Jobs are iterators that are taken item by item, so that a newer one never waits long. The thread lives only while there
is something to do: closing a page or a kernel leaves none behind.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator

PACES = ("run", "slow", "pause")
NAME = "oatlib worker"
BEAT = 0.25  # seconds from one item to the next at a slow pace


class Worker:
    """Advance `submit`ted jobs, the newest only, and in between the `meanwhile` iterators in the order of their names.

    An item is True where there is something new to see: a slow pace waits after it, and one `step` ends with it.
    `on_error` is told, on the thread, what a job raised; the job ends there.
    """

    def __init__(self, on_error: Callable[[Exception], None], meanwhile: tuple[str, ...] = ()):
        self._lock = threading.Condition()
        self._on_error, self._names = on_error, meanwhile
        self._next: Iterator | None = None
        self._job: Iterator | None = None
        self._others: dict[str, Iterator] = {}
        self._pace, self._steps, self._not_before = "run", 0, 0.0
        self._threads: list[threading.Thread] = []  # none or one
        self._closed = threading.Event()
        # at exit, too: a daemon that is inside PyTorch while Python ends brings the process down
        weakref.finalize(self, _end, self._closed, self._threads)

    def submit(self, job: Iterator) -> None:
        """Do this instead of whatever job is running or waiting; the running one is left at its next item."""
        with self._lock:
            self._next, self._not_before = job, 0.0
            self._wake()

    def meanwhile(self, name: str, work: Iterator | None) -> None:
        """Do this when no job has anything to do; None stops what has that name."""
        with self._lock:
            self._others.pop(name, None)
            if work is not None:
                self._others[name] = work
            self._wake()

    def pace(self, pace: str) -> None:
        """How the job goes on: "run", "slow" (a beat between two items that show something new) or "pause"."""
        if pace not in PACES:
            raise ValueError(f"pace must be one of {', '.join(PACES)}, got {pace!r}")
        with self._lock:
            self._pace, self._steps, self._not_before = pace, 0, 0.0
            self._wake()

    def step(self) -> None:
        """Go on, though paused, until there is something new to see."""
        with self._lock:
            self._steps += 1
            self._wake()

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until nothing can go on; a paused job cannot."""
        with self._lock:
            if not self._lock.wait_for(lambda: not self._threads, timeout):
                raise TimeoutError(f"still working after {timeout:g} s")

    def close(self) -> None:
        """Stop at the next item, for good, and wait for that."""
        self._closed.set()
        with self._lock:
            self._next, self._job = None, None
            self._others.clear()
            self._lock.notify_all()
        _end(self._closed, self._threads)

    def _wake(self) -> None:
        if not self._threads and not self._closed.is_set():
            self._threads.append(threading.Thread(target=_run, args=(weakref.ref(self),), name=NAME, daemon=True))
            self._threads[0].start()
        self._lock.notify_all()

    def _turn(self) -> bool:
        """Advance one thing by one item. False if there is nothing to advance: then the thread is over."""
        with self._lock:
            work = self._choose()
            if work is None:
                self._threads.clear()
                self._lock.notify_all()
                return False
        if not work:  # a beat has passed, or something was submitted in it
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
        """What to advance: (name, iterator); () after waiting for a beat; None if there is nothing."""
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
        with self._lock:
            if name == "job":
                if self._job is iterator:
                    self._job, self._steps = None, 0
            elif self._others.get(name) is iterator:
                del self._others[name]


def _run(worker: weakref.ref) -> None:
    """What the thread does. It holds no reference between two turns, so that an unused worker can be collected."""
    while (living := worker()) is not None and living._turn():
        del living


def _end(closed: threading.Event, threads: list[threading.Thread]) -> None:
    closed.set()
    for thread in list(threads):
        if thread is not threading.current_thread():
            thread.join(10)
