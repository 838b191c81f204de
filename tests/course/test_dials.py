"""The best coin between two of several networks, against a search over all pairs and all probabilities."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oatlib.course.dials import best_coin

SHARE = st.floats(0, 1).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(SHARE, SHARE), min_size=2, max_size=5), SHARE)
def test_no_pair_and_no_probability_is_better(points, level):
    found = best_coin(points, level)
    clean, robust = torch.tensor(points, dtype=torch.float64).T
    p = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
    mixed_clean = (1 - p) * clean[:, None] + p * clean
    mixed_robust = (1 - p) * robust[:, None] + p * robust
    reached = mixed_robust[mixed_clean >= level]
    if found is None:
        assert clean.max() < level
    else:
        # the grid of probabilities misses the best one by up to a thousandth
        assert found - 0.002 <= float(reached.max()) <= found + 1e-9


def test_two_robust_networks_can_beat_the_outer_two():
    points = [(0.99, 0.0), (0.93, 0.54), (0.84, 0.77)]
    assert best_coin(points, 0.9) == pytest.approx(0.54 + (0.93 - 0.9) / (0.93 - 0.84) * (0.77 - 0.54))
    assert best_coin(points[::2], 0.9) < 0.5
