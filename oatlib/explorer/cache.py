"""Cache the measurements of the explorer, and prefetch the most likely next setting.

A measurement is called a walk here: the iterator of its frames (see measure.py). It is settled at
its last frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from .state import State

KEPT = 256  # settings that are cached


class Walks:
    """Cache and prefetch of measurements. Only one thread may use it at a time.

    Args:
        measured: Function that measures a state, and yields its frames.
    """

    def __init__(self, measured: Callable[[State], Iterator[dict]]):
        self._measured = measured
        self._settled: OrderedDict[tuple, dict] = OrderedDict()
        # the prefetched walk: setting, newest frame, iterator of the frames after it
        self._begun: tuple[tuple, dict, Generator] | None = None

    def frames(self, state: State, fresh: bool = False) -> Iterator[dict]:
        """Yield the frames of a setting up to the settled one.

        If the setting is cached or was prefetched, frames before the newest known one are skipped.

        Args:
            state: The state to measure.
            fresh: Measure again, and yield all frames from the first one on.
        """
        key = state.setting
        if fresh or self._begun is None or self._begun[0] != key:
            self.drop()
        begun, self._begun = self._begun, None
        if begun is not None:
            with closing(begun[2]) as rest:
                yield begun[1]
                yield from rest
        elif not fresh and key in self._settled:
            self._settled.move_to_end(key)
            yield self._settled[key]
        else:
            yield from self._walk(state)

    def lead(self, state: State) -> Iterator[bool]:
        """Prefetch a setting, until it is finished or another caller takes it over or drops it.

        Args:
            state: The state that the user will probably choose next.

        Yields:
            False after each frame: there is nothing new to show.
        """
        self.drop()
        if state.setting in self._settled:
            return
        walk = self._walk(state)
        for frame in walk:
            self._begun = state.setting, frame, walk
            yield False
            # meanwhile `frames` may have taken this walk over, or `drop` may have closed it
            if self._begun is None or self._begun[2] is not walk:
                return
        self._begun = None

    def drop(self) -> None:
        """Abandon the prefetched walk, so that its threads end."""
        if self._begun is not None:
            self._begun[2].close()
            self._begun = None

    def _walk(self, state: State) -> Generator[dict, None, None]:
        """Measure a state, and cache its settled frame.

        A full cache drops the least recently used one.
        """
        for frame in self._measured(state):
            if frame["phase"] == "settled":
                self._settled[state.setting] = frame
                while len(self._settled) > KEPT:
                    self._settled.popitem(last=False)
            yield frame
