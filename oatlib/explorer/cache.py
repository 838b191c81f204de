"""Cache the measurements of the explorer, and prefetch the most likely next setting.

A measurement is the iterator of its frames (see measure.py). Its last frame is the settled one. A
refinement continues from a settled frame on further images, and yields further settled frames.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from .state import State

KEPT = 256  # settings that are cached


class MeasurementCache:
    """Measurements of settings: settled ones are cached, and one setting may be prefetched.

    Only one thread may use it at a time.

    Args:
        measure: Function that measures a state, and yields its frames.
        refine: Function of a state and its settled frame, which yields further settled frames.
    """

    def __init__(
        self,
        measure: Callable[[State], Iterator[dict]],
        refine: Callable[[State, dict], Generator[dict, None, None]],
    ):
        self._measure, self._refine = measure, refine
        self._settled: OrderedDict[tuple, dict] = OrderedDict()  # last frames by setting
        self._prefetched: _Prefetched | None = None
        self._refinement: Generator[dict, None, None] | None = None

    def frames(self, state: State, fresh: bool = False) -> Iterator[dict]:
        """Yield the frames of a setting up to the settled one.

        If the setting is cached or was prefetched, frames before the newest known one are skipped.
        A refinement ends. What it has measured is cached.

        Args:
            state: The state to measure.
            fresh: Measure again, and yield all frames from the first one on.
        """
        setting = state.setting
        self._cancel_refinement()
        if fresh or self._prefetched is None or self._prefetched.setting != setting:
            self.cancel_prefetch()
        prefetched, self._prefetched = self._prefetched, None
        if prefetched is not None:
            with closing(prefetched.rest) as rest:
                yield prefetched.newest
                yield from rest
        elif not fresh and setting in self._settled:
            self._settled.move_to_end(setting)
            yield self._settled[setting]
        else:
            yield from self._measure_and_keep(state)

    def refine(self, state: State) -> Iterator[dict]:
        """Measure a settled setting on further images, until `frames` is called again.

        Args:
            state: The state whose setting was measured last.

        Yields:
            Settled frames. Some only repeat the frame before.
        """
        self._cancel_refinement()
        setting = state.setting
        self._refinement = self._refine(state, self._settled[setting])
        for frame in self._refinement:
            self._keep(setting, frame)
            yield frame

    def prefetch(self, state: State) -> Iterator[bool]:
        """Prefetch a setting, until it is settled or another caller takes it over or cancels it.

        Args:
            state: The state that the user will probably choose next.

        Yields:
            False after each frame: there is nothing new to show.
        """
        self.cancel_prefetch()
        if state.setting in self._settled:
            return
        frames = self._measure_and_keep(state)
        for frame in frames:
            self._prefetched = _Prefetched(state.setting, frame, frames)
            yield False
            # meanwhile `frames` may have taken these frames over, or they may have been closed
            if self._prefetched is None or self._prefetched.rest is not frames:
                return
        self._prefetched = None

    def cancel(self) -> None:
        """Abandon the refinement and the prefetched measurement, so that their threads end."""
        self._cancel_refinement()
        self.cancel_prefetch()

    def _cancel_refinement(self) -> None:
        if self._refinement is not None:
            self._refinement.close()
            self._refinement = None

    def cancel_prefetch(self) -> None:
        """Abandon the prefetched measurement, so that its threads end."""
        if self._prefetched is not None:
            self._prefetched.rest.close()
            self._prefetched = None

    def _measure_and_keep(self, state: State) -> Generator[dict, None, None]:
        """Measure a state, and cache its settled frame."""
        for frame in self._measure(state):
            if frame["phase"] == "settled":
                self._keep(state.setting, frame)
            yield frame

    def _keep(self, setting: tuple, frame: dict) -> None:
        """Cache a settled frame. A full cache drops the least recently used one."""
        self._settled[setting] = frame
        self._settled.move_to_end(setting)
        while len(self._settled) > KEPT:
            self._settled.popitem(last=False)


@dataclass(frozen=True)
class _Prefetched:
    """A setting that is being prefetched, its newest frame, and the frames after it."""

    setting: tuple
    newest: dict
    rest: Generator[dict, None, None]
