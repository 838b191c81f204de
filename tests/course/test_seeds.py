"""Intervals over a few seeds, and texts that depend on them."""

import pytest

from oatlib.course import seeds


def test_the_interval_is_that_of_student():
    middle, low, high = seeds.over_seeds([0.1, 0.2, 0.3])
    assert middle == pytest.approx(0.2)
    assert high - middle == middle - low == pytest.approx(4.303 * 0.1 / 3**0.5)
    assert seeds.in_points([0.1, 0.2, 0.3]) == "+20.0 points (-4.8 to +44.8)"
    assert seeds.over_seeds([0.5] * 5) == (0.5, 0.5, 0.5)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="2 to 10 seeds, there are 1"):
        seeds.over_seeds([0.1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_seed_without_a_finite_value_is_named(value):
    with pytest.raises(ValueError, match=f"finite value, but one has {value}"):
        seeds.over_seeds([0.1, value])


@pytest.mark.parametrize(("low", "high", "text"), [(0.1, 0.2, "more"), (-2, -1, "less"), (-1, 1, "?"), (0, 1, "?")])
def test_the_text_follows_the_interval(low, high, text):
    assert seeds.verdict(low, high, "more", "less", "?") == text
