"""Robust accuracy at a given clean accuracy, and the coin: numbers that compare two trade-offs.

A dial is worth training only if it lies above what costs nothing: answering, per image and at
random, with one of two ordinary networks. All functions here work on (clean, robust) points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

LEVELS = (0.98, 0.95, 0.90)  # of clean accuracy, at which trade-offs are compared


class Measured(Protocol):
    """Anything with a clean and a robust accuracy, such as a `Result`."""

    clean: float
    robust: float


Point = tuple[float, float]  # (clean, robust), both in [0, 1]


def coin(standard: Measured | Point, robust: Measured | Point, clean: float) -> float | None:
    """Robust accuracy of answering per image with one of two networks at random, at clean accuracy >= `clean`.

    With probability p the robust network answers, otherwise the standard one. The expected clean
    accuracy is (1 - p) c0 + p c1, and the expected robust accuracy is at least (1 - p) r0 + p r1: a
    straight line between the two points. This holds also against an attacker that knows both networks
    and p. The attacker has to choose its image before the coin is tossed. On one image, the best it can
    do is the minimum over the ball of (1 - p) right0 + p right1, and a minimum of a sum is never below
    the sum of the minima, which are what the attacks on the single networks measure. The value is
    reached if one image fools both networks.

    Args:
        standard: The more accurate network: a `Result` or a point (clean, robust).
        robust: The more robust network, likewise.
        clean: The clean accuracy to keep, in [0, 1].

    Returns:
        The largest robust accuracy over all p whose clean accuracy is at least `clean`. Between the two
        clean accuracies this is linear. Below both it is that of the more robust network. Above both
        it is None, because no p reaches that clean accuracy.

    Raises:
        ValueError: If an accuracy lies outside [0, 1].

    Example:
        >>> coin((0.99, 0.0), (0.79, 0.6), 0.94)
        0.15
    """
    ends = (_point(standard), _point(robust))
    _check_share("clean", clean)
    reached = [r for c, r in ends if c >= clean]
    (c0, r0), (c1, r1) = ends
    if min(c0, c1) < clean < max(c0, c1):
        p = (c0 - clean) / (c0 - c1)
        reached.append(r0 + p * (r1 - r0))
    return max(reached, default=None)


def frontier(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other point beats in both accuracies, by falling clean accuracy."""
    kept: list[Point] = []
    for clean, robust in sorted(points, key=lambda point: (-point[0], -point[1])):
        if not kept or robust > kept[-1][1]:
            kept.append((clean, robust))
    return kept


def robust_at(points: Iterable[Point], clean: float) -> float | None:
    """Robust accuracy at clean accuracy >= `clean`, interpolated linearly along the frontier of `points`.

    Points that another point beats are left out. Between two neighbours on the frontier the value is
    linear in clean accuracy: a coin between the two settings achieves it.

    Args:
        points: Measured (clean, robust) points of one dial, in any order.
        clean: The clean accuracy to keep, in [0, 1].

    Returns:
        Robust accuracy in [0, 1]. Below the clean accuracy of the most robust point it is that of the
        most robust point. None if no point reaches `clean`.

    Raises:
        ValueError: If an accuracy lies outside [0, 1].
    """
    _check_share("clean", clean)
    kept = frontier(_point(point) for point in points)
    if not kept or clean > kept[0][0]:
        return None
    for left, right in pairwise(kept):
        if clean > right[0]:
            return coin(left, right, clean)
    return kept[-1][1]


def gain(value: float | None, reference: float | None) -> float | None:
    """`value - reference`, or None if either is None."""
    return None if value is None or reference is None else value - reference


def share(value: float | None, reference: float | None) -> float | None:
    """`value / reference`, or None if either is None or the reference is 0."""
    return None if value is None or not reference else value / reference


def percents(values: Sequence[float | None], signed: bool = False) -> str:
    """Write accuracies in percent, side by side: '30.1 / 40.6 / -'."""
    form = "{:+.1f}" if signed else "{:.1f}"
    return " / ".join("-" if value is None else form.format(100 * value) for value in values)


def _point(point: Measured | Point) -> Point:
    clean, robust = point if isinstance(point, Sequence) else (point.clean, point.robust)
    _check_share("clean", clean)
    _check_share("robust", robust)
    return float(clean), float(robust)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is an accuracy in [0, 1], such as 0.95, got {value:g}")
