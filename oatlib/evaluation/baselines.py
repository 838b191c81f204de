"""Compare trade-offs: robust accuracy at a given clean accuracy, and the random mixture ("coin").

The coin answers each image with one of two ordinary networks, chosen at random. This needs no extra
training, so a dial is worth training only if it is better. All functions here work on
(clean, robust) points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

from .._check import briefly, real

LEVELS = (0.98, 0.95, 0.90)  # clean accuracies at which trade-offs are compared


class Measured(Protocol):
    """Anything with a clean and a robust accuracy in [0, 1], such as a `Result`."""

    clean: float
    robust: float


Point = tuple[float, float]  # (clean, robust), both in [0, 1]


def coin(standard: Measured | Point, robust: Measured | Point, clean: float) -> float | None:
    """Return the robust accuracy of a coin between two networks at clean accuracy >= `clean`.

    For each image, the robust network answers with probability p, otherwise the standard one. Let
    the networks have the accuracies (c0, r0) and (c1, r1). The expected clean accuracy of the coin
    is (1 - p) c0 + p c1. Its expected robust accuracy is at least (1 - p) r0 + p r1. These points
    form a straight line between the two networks.

    The bound also holds against an attacker that knows both networks and p. The attacker has to
    choose its image before the coin is tossed. On one image, the best it can do is the minimum over
    the ball of (1 - p) right0 + p right1. A minimum of a sum is never below the sum of the minima,
    which are what the attacks on the single networks measure. The bound is reached if one image
    fools both networks.

    Args:
        standard: The more accurate network: a `Result` or a point (clean, robust).
        robust: The more robust network, in the same form.
        clean: The clean accuracy to keep, in [0, 1].

    Returns:
        The largest robust accuracy over all p whose clean accuracy is at least `clean`. Between the
        two clean accuracies this is linear. Below both it is that of the more robust network. Above
        both it is None, because no p reaches that clean accuracy.

    Raises:
        ValueError: If an accuracy lies outside [0, 1].

    Example:
        >>> coin((0.99, 0.0), (0.79, 0.6), 0.94)
        0.15
    """
    ends = (_point(standard), _point(robust))
    _check_accuracy("clean", clean)
    # p = 0 and p = 1, if that network alone is accurate enough
    candidates = [r for c, r in ends if c >= clean]
    # the p between them at which clean accuracy is exactly `clean`
    (c0, r0), (c1, r1) = ends
    if min(c0, c1) < clean < max(c0, c1):
        p = (c0 - clean) / (c0 - c1)
        candidates.append(r0 + p * (r1 - r0))
    return max(candidates, default=None)


def frontier(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other point beats in both accuracies.

    Args:
        points: Points (clean, robust), accuracies in [0, 1].

    Returns:
        The points by decreasing clean accuracy.

    Example:
        >>> frontier([(0.9, 0.1), (0.8, 0.05), (0.7, 0.6)])
        [(0.9, 0.1), (0.7, 0.6)]
    """
    kept: list[Point] = []
    for clean, robust in sorted(points, key=lambda point: (-point[0], -point[1])):
        if not kept or robust > kept[-1][1]:
            kept.append((clean, robust))
    return kept


def robust_at(points: Sequence[Point], clean: float) -> float | None:
    """Return the robust accuracy at clean accuracy >= `clean`, interpolated linearly along a dial.

    Only neighbours on the dial are interpolated, in both accuracies. Of all points with at least
    the accuracy `clean`, the most robust one counts. Two distant settings are not joined past a bad
    setting that was measured between them. So a dial that fails in its middle gets no credit for
    the coin between its ends.

    Args:
        points: Measured (clean, robust) points in the order of λ.
        clean: The clean accuracy to keep, in [0, 1].

    Returns:
        Robust accuracy in [0, 1]. None if no point reaches `clean`.

    Raises:
        ValueError: If an accuracy lies outside [0, 1].
    """
    _check_accuracy("clean", clean)
    # a coin between two neighbours, or between a single point and itself
    pairs = list(pairwise(points)) or [(point, point) for point in points]
    values = [coin(left, right, clean) for left, right in pairs]
    return max((value for value in values if value is not None), default=None)


def gain(value: float | None, reference: float | None) -> float | None:
    """Return `value - reference`, or None if either is None."""
    return None if value is None or reference is None else value - reference


def ratio(value: float | None, reference: float | None) -> float | None:
    """Return `value / reference`, or None if either is None or the reference is 0."""
    return None if value is None or not reference else value / reference


def percents(values: Sequence[float | None], signed: bool = False) -> str:
    """Format accuracies in percent, for instance '30.1 / 40.6 / -'.

    Args:
        values: Accuracies in [0, 1]. None is written as "-".
        signed: Write a sign before positive numbers, too.
    """
    form = "{:+.1f}" if signed else "{:.1f}"
    return " / ".join("-" if value is None else form.format(100 * value) for value in values)


def _point(point: Measured | Point) -> Point:
    if isinstance(point, Sequence) and not isinstance(point, str) and len(point) == 2:
        clean, robust = point
    elif hasattr(point, "clean") and hasattr(point, "robust"):
        clean, robust = point.clean, point.robust
    else:
        raise ValueError(
            "expected a result of oatlib.evaluate or a point (clean, robust), such as (0.9, 0.5), "
            f"got {briefly(point)}"
        )
    _check_accuracy("clean", clean)
    _check_accuracy("robust", robust)
    return float(clean), float(robust)


def _check_accuracy(name: str, value: float) -> None:
    real(name, value, 0, 1, "such as 0.95", "an accuracy")
