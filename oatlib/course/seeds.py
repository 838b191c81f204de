"""Say how sure a difference between a few trainings is.

Two ways to train are compared seed by seed. The 95 % interval of the mean difference is that of
Student's t distribution, so it is wide where there are only two or three seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, stdev

# 97.5 % quantile of Student's t by the number of values
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
WIDER = 1.7  # times the interval of 95 %, for who looks after every seed


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of some values with the limits of its 95 % interval.

    Args:
        values: One value for each seed, two or more.

    Returns:
        Mean, lower limit, upper limit.

    Raises:
        ValueError: If there are fewer than two values, or if one is not a number.

    Example:
        >>> over_seeds([0.1, 0.2, 0.3])  # 0.2, with 95 % interval -0.05 to 0.45
    """
    if len(values) < 2:
        raise ValueError(f"there must be 2 or more seeds, there are {len(values)}")
    if unusable := [value for value in values if not isfinite(value)]:
        raise ValueError(f"every seed must have a finite value, but one has {unusable[0]}")
    margin = _t95(len(values)) * stdev(values) / len(values) ** 0.5
    middle = fmean(values)
    return middle, middle - margin, middle + margin


def _t95(n: int) -> float:
    """Return the 97.5 % quantile of Student's t for n values."""
    if n in T95:
        return T95[n]
    # The expansion around the normal distribution; its error is below 0.0005 here.
    z, freedom = 1.959964, n - 1
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def in_points(values: Sequence[float]) -> str:
    """Return the mean of some differences of accuracies with its interval, in points, as text.

    Args:
        values: One difference for each seed, as fractions.
    """
    middle, low, high = (100 * value for value in over_seeds(values))
    return f"{middle:+.1f} points ({low:+.1f} to {high:+.1f})"


def verdict(low: float, high: float, above: str, below: str, unclear: str) -> str:
    """Choose a text by an interval.

    Args:
        low: Lower limit of the interval.
        high: Upper limit of the interval.
        above: Text for an interval above 0.
        below: Text for an interval below 0.
        unclear: Text for an interval that holds 0.
    """
    if low > 0:
        return above
    return below if high < 0 else unclear


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return the differences of two systems, seed by seed.

    What the seed changes for both, such as the images, drops out of a difference.

    Args:
        ours: Values of one system by seed.
        theirs: Values of the other system by seed. Seeds that only one of them has are left out.

    Returns:
        Differences, ours minus theirs, by ascending seed.
    """
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def enough(differences: Sequence[float]) -> bool:
    """Return whether the differences so far decide which of two systems is better.

    Whoever looks after every seed has many chances to be wrong. So the interval is wider than that
    of 95 %: each of the looks gets a part of the error.

    Args:
        differences: One difference for each seed, as from `paired`.
    """
    if len(differences) < 3:
        return False
    middle, low, high = over_seeds(differences)
    margin = WIDER * (high - low) / 2
    return abs(middle) > margin
