"""The walks of an explorer: settled ones are remembered, and one may be ahead of the hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from .state import State

KEPT = 256  # settings that are remembered


class Walks:
    """The frames of settings (see live.py), from `measured(state)`. To be used by one thread at a time."""

    def __init__(self, measured: Callable[[State], Iterator[dict]]):
        self._measured = measured
        self._settled: OrderedDict[tuple, dict] = OrderedDict()
        self._begun: tuple[tuple, dict, Generator] | None = None  # setting, newest frame, the frames after it

    def frames(self, state: State, fresh: bool = False) -> Iterator[dict]:
        """From the newest frame that is known to the settled one; `fresh`: all of them, from the first on."""
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
        """Measure a setting before it is asked for, until one is. Nothing of it is to be shown: the items are False."""
        self.drop()
        if state.setting in self._settled:
            return
        walk = self._walk(state)
        for frame in walk:
            self._begun = state.setting, frame, walk
            yield False
            if self._begun is None or self._begun[2] is not walk:
                return
        self._begun = None

    def drop(self) -> None:
        """Give up what was begun ahead: its threads end."""
        if self._begun is not None:
            self._begun[2].close()
            self._begun = None

    def _walk(self, state: State) -> Generator[dict, None, None]:
        for frame in self._measured(state):
            if frame["phase"] == "settled":
                self._settled[state.setting] = frame
                while len(self._settled) > KEPT:
                    self._settled.popitem(last=False)
            yield frame
