"""What is known is not measured again, what was prefetched goes on, and nothing is left half-way."""

import pytest

from oatlib.explorer import cache as module
from oatlib.explorer.cache import MeasurementCache
from oatlib.explorer.state import State

STEPS = 4


class Measured:
    """A stand-in for `measure`: it keeps account of what was begun, taken and closed."""

    def __init__(self):
        self.begun, self.taken, self.open = [], 0, 0
        self.refined = []

    def __call__(self, state):
        self.begun.append(state.lam)
        self.open += 1
        try:
            for step in range(-1, STEPS + 1):
                self.taken += 1
                yield {"lam": state.lam, "step": step, "phase": "settled" if step == STEPS else "walk"}
        finally:
            self.open -= 1

    def refine(self, state, settled):
        """Two further settled frames, each repeated once."""
        self.refined.append(settled.get("n", 1))
        self.open += 1
        try:
            for n in range(settled.get("n", 1), 3):
                yield settled
                settled = settled | {"n": n + 1}
                yield settled
        finally:
            self.open -= 1


@pytest.fixture
def measured():
    return Measured()


@pytest.fixture
def cache(measured):
    return MeasurementCache(measured, measured.refine)


def at(lam):
    return State("net", lam=lam)


def steps(frames):
    return [frame["step"] for frame in frames]


def prefetch(cache, lam, items):
    """Begin ahead, and leave after so many items; as the worker does, which keeps the iterator."""
    leading = cache.prefetch(at(lam))
    assert [next(leading) for _ in range(items)] == [False] * items
    return leading


ALL = list(range(-1, STEPS + 1))


def test_every_step_is_a_frame_and_the_second_time_only_the_last(cache, measured):
    assert steps(cache.frames(at(0.1))) == ALL
    assert steps(cache.frames(at(0.1))) == [STEPS] and measured.begun == [0.1]
    assert steps(cache.frames(at(0.1), fresh=True)) == ALL


@pytest.mark.parametrize("items", range(1, STEPS + 3))
def test_what_was_begun_ahead_goes_on_where_it_is_and_no_step_is_measured_twice(cache, measured, items):
    leading = prefetch(cache, 0.1, items)
    assert steps(cache.frames(at(0.1))) == ALL[items - 1 :]
    assert measured.begun == [0.1] and measured.taken == len(ALL) and measured.open == 0
    assert list(leading) == [], "it was taken over"


def test_ahead_to_the_end_it_is_remembered(cache, measured):
    assert list(cache.prefetch(at(0.1))) == [False] * len(ALL)
    assert measured.open == 0 and steps(cache.frames(at(0.1))) == [STEPS]
    assert list(cache.prefetch(at(0.1))) == [], "known already"


@pytest.mark.parametrize("asked", [(at(0.2), False), (at(0.1), True)], ids=["another", "fresh"])
def test_something_else_is_asked_for_and_what_was_begun_is_closed(cache, measured, asked):
    leading = prefetch(cache, 0.1, 2)
    frames = cache.frames(*asked)
    next(frames)
    assert list(leading) == [] and measured.open == 1
    assert steps(frames) == ALL[1:] and measured.open == 0


def test_a_walk_that_is_left_in_the_middle_is_closed_and_begins_anew(cache, measured):
    frames = cache.frames(at(0.1))
    next(frames)
    frames.close()
    assert measured.open == 0 and steps(cache.frames(at(0.1))) == ALL
    leading = prefetch(cache, 0.2, 2)
    frames = cache.frames(at(0.2))
    next(frames), next(frames)
    frames.close()
    assert list(leading) == [] and measured.open == 0 and steps(cache.frames(at(0.2))) == ALL


@pytest.mark.parametrize("end", ["drop", "known", "newer"])
def test_one_is_ahead_at_most(cache, measured, end):
    list(cache.frames(at(0.3)))
    leading = prefetch(cache, 0.1, 2)
    if end == "drop":
        cache.cancel_prefetch()
    else:
        others = cache.prefetch(at(0.3 if end == "known" else 0.2))
        next(others, None)
    assert list(leading) == [] and measured.open == (end == "newer")


def test_a_refinement_starts_from_the_settled_frame_and_its_result_is_remembered(cache, measured):
    list(cache.frames(at(0.1)))
    assert [frame.get("n") for frame in cache.refine(at(0.1))] == [None, 2, 2, 3]
    assert [frame["n"] for frame in cache.frames(at(0.1))] == [3] and measured.begun == [0.1]
    assert list(cache.refine(at(0.1))) == [] and measured.open == 0


def test_a_move_closes_the_refinement_and_keeps_what_it_has(cache, measured):
    list(cache.frames(at(0.1)))
    refining = cache.refine(at(0.1))
    assert [next(refining).get("n") for _ in range(2)] == [None, 2]
    assert measured.open == 1
    frames = cache.frames(at(0.2))
    next(frames)
    assert measured.open == 1, "that of the other setting"
    assert list(refining) == []
    frames.close()
    assert [frame["n"] for frame in cache.frames(at(0.1))] == [2]
    list(cache.refine(at(0.1)))
    assert measured.refined == [1, 2]


def test_a_refinement_goes_on_while_another_setting_is_measured_ahead(cache, measured):
    list(cache.frames(at(0.1)))
    refining = cache.refine(at(0.1))
    next(refining)
    list(cache.prefetch(at(0.2)))
    assert [frame["n"] for frame in refining][-1] == 3
    assert steps(cache.frames(at(0.2))) == [STEPS]


def test_all_that_is_under_way_can_be_closed(cache, measured):
    list(cache.frames(at(0.1)))
    refining, leading = cache.refine(at(0.1)), prefetch(cache, 0.2, 2)
    next(refining)
    assert measured.open == 2
    cache.cancel()
    assert measured.open == 0 and list(refining) == list(leading) == []


def test_memory_is_bounded_and_what_was_used_last_stays(cache, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for lam in (0.1, 0.2, 0.3, 0.1, 0.4):
        list(cache.frames(at(lam)))
    assert [len(steps(cache.frames(at(lam)))) for lam in (0.1, 0.3, 0.4, 0.2)] == [1, 1, 1, len(ALL)]
