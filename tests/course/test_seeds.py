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
    with pytest.raises(ValueError, match="2 or more seeds, there are 1"):
        seeds.over_seeds([0.1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_seed_without_a_finite_value_is_named(value):
    with pytest.raises(ValueError, match=f"finite value, but one has {value}"):
        seeds.over_seeds([0.1, value])


@pytest.mark.parametrize("n", [2, 3, 10, 11, 15, 40, 1000])
def test_the_quantile_is_that_of_student(n):
    stats = pytest.importorskip("scipy.stats")
    values = [0.0, 1.0] * (n // 2) + [0.5] * (n % 2)
    middle, low, high = seeds.over_seeds(values)
    assert high - middle == pytest.approx(middle - low)
    assert (high - middle) / stats.sem(values) == pytest.approx(stats.t.ppf(0.975, n - 1), abs=6e-4)


@pytest.mark.parametrize(("low", "high", "text"), [(0.1, 0.2, "more"), (-2, -1, "less"), (-1, 1, "?"), (0, 1, "?")])
def test_the_text_follows_the_interval(low, high, text):
    assert seeds.verdict(low, high, "more", "less", "?") == text
