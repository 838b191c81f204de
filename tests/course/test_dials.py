"""The best coin between two of several networks, against a search, and intervals from drawing images again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oatlib.course import dials
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


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_a_mask_survives_writing_and_reading(bits):
    mask = torch.tensor(bits)
    assert torch.equal(dials.from_hex(dials.to_hex(mask), len(bits)), mask)


def point(clean, robust):
    """A point of a dial from two masks."""
    masks = {"clean": clean, "robust": robust}
    accuracies = {key: mask.double().mean().item() for key, mask in masks.items()}
    return {"n": len(clean), **accuracies} | {f"{key}_images": dials.to_hex(mask) for key, mask in masks.items()}


def test_the_bootstrap_of_an_accuracy_is_its_usual_interval():
    generator = torch.Generator().manual_seed(0)
    robust = torch.rand(500, generator=generator) < 0.4
    dial = [point(robust | True, robust)]
    ((low, high),) = dials.bootstrap(lambda pairs: [pairs[0][1]], dial, times=2000)
    p = dial[0]["robust"]
    reach = 1.96 * (p * (1 - p) / 500) ** 0.5
    assert low == pytest.approx(p - reach, abs=0.006) and high == pytest.approx(p + reach, abs=0.006)


def test_a_difference_is_measured_on_the_same_images():
    generator = torch.Generator().manual_seed(0)
    robust = torch.rand(500, generator=generator) < 0.4
    first, second = [point(robust | True, robust)], [point(robust | True, robust.clone())]
    (limits,) = dials.bootstrap(lambda a, b: [a[0][1] - b[0][1]], first, second)
    assert limits == (0, 0), "two equal dials differ on no draw"


def test_never_so_accurate_counts_as_zero():
    mask = torch.ones(8, dtype=torch.bool)
    assert dials.bootstrap(lambda pairs: [None], [point(mask, mask)]) == [(0, 0)]
