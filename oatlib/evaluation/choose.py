"""Choose the best measured setting of λ and width within limits of the user.

It works on results of `evaluate`, so nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._check import of_type, real
from .results import Result

# limit -> (field of a result, 1 for a lower and -1 for an upper limit, format of the value)
LIMITS = {
    "min_clean": ("clean", 1, "{:.1%}"),
    "min_robust": ("robust", 1, "{:.1%}"),
    "max_macs": ("macs", -1, "{:,.0f}"),
    "max_parameters": ("parameters", -1, "{:,.0f}"),
}


def choose(
    results: Sequence[Result],
    *,
    min_clean: float | None = None,
    min_robust: float | None = None,
    max_macs: float | None = None,
    max_parameters: float | None = None,
) -> Result:
    """Return the most robust measured setting within limits.

    Among equally robust settings the most accurate one is taken, then the one with the fewest
    multiply-adds.

    Args:
        results: The results of `evaluate`.
        min_clean: Lowest clean accuracy, in [0, 1]. None: no limit, here and below.
        min_robust: Lowest robust accuracy, in [0, 1].
        max_macs: Largest number of multiply-adds for one image.
        max_parameters: Largest number of parameters.

    Returns:
        The result of that setting.

    Raises:
        ValueError: If no setting keeps all limits. The message names a limit that cannot be kept,
            and how close the best setting comes. Also if there are no results, if an accuracy is
            outside [0, 1], or if the results do not say what a setting costs.

    Example:
        >>> best = choose(table, min_clean=0.9, max_macs=1e6)
    """
    limits = {
        "min_clean": min_clean,
        "min_robust": min_robust,
        "max_macs": max_macs,
        "max_parameters": max_parameters,
    }
    limits = {name: value for name, value in limits.items() if value is not None}
    _check(results, limits)
    good = _keeping(results, limits)
    if not good:
        raise ValueError(_why_not(results, limits))
    return max(good, key=lambda r: (r.robust, r.clean, -(r.macs or 0)))


def _check(results: Sequence[Result], limits: dict[str, float]) -> None:
    """Raise a ValueError if the limits cannot be applied to these results."""
    of_type("results", results, Sequence, "the results of oatlib.evaluate")
    if not results:
        raise ValueError("there are no results to choose from: measure some with oatlib.evaluate")
    for result in results:
        of_type("every result", result, Result, "an oatlib.Result, from oatlib.evaluate")
    for name, value in limits.items():
        if name in ("min_clean", "min_robust"):
            real(name, value, 0, 1, "such as 0.9", "an accuracy")
        elif real(name, value, 0) == 0:
            raise ValueError(f"{name} must be above 0, got {value:g}")
        column = LIMITS[name][0]
        if any(getattr(r, column) is None for r in results):
            raise ValueError(
                f"{name} cannot be checked, because some of these results do not say what a "
                "setting costs. Measure oatlib networks, not plain functions"
            )


def _meets(r: Result, name: str, value: float) -> bool:
    # side is 1 for lower and -1 for upper limits, so that one comparison serves both.
    column, side, _ = LIMITS[name]
    return side * getattr(r, column) >= side * value


def _why_not(results: Sequence[Result], limits: dict[str, float]) -> str:
    """Return a message that names a limit that cannot be kept, and how close any setting comes.

    It is a limit that no setting meets. If there is none, it is the limit with the smallest miss
    when all others are kept.
    """
    impossible = [
        name for name in limits if not any(_meets(r, name, limits[name]) for r in results)
    ]
    if impossible:
        name, others = impossible[0], {}
    else:
        name, others = _closest(results, limits)
    column, side, form = LIMITS[name]
    candidates = _keeping(results, others)
    best = max(candidates, key=lambda r: side * getattr(r, column))
    condition = ""
    if others:
        condition = f" while {' and '.join(_phrase(n, v) for n, v in others.items())}"
    return (
        f"no measured setting has {_phrase(name, limits[name])}{condition}: the closest is "
        f"{form.format(getattr(best, column))} at {_where(best)}. Relax the limit, or measure more "
        "settings"
    )


def _keeping(results: Sequence[Result], limits: dict[str, float]) -> list[Result]:
    """Return the results that keep all limits."""
    return [r for r in results if all(_meets(r, name, value) for name, value in limits.items())]


def _closest(results: Sequence[Result], limits: dict[str, float]) -> tuple[str, dict[str, float]]:
    """Return the limit with the smallest miss when all others are kept, and those others.

    A miss is measured relative to the value of the limit.
    """
    misses = {}
    for name, value in limits.items():
        others = {other: limit for other, limit in limits.items() if other != name}
        column, side, _ = LIMITS[name]
        gaps = [side * (value - getattr(r, column)) / value for r in _keeping(results, others)]
        if gaps:
            misses[name] = (min(gaps), others)
    if not misses:  # every setting misses at least two limits: try again without the last limit
        return _closest(results, dict(list(limits.items())[:-1]))
    name = min(misses, key=lambda name: misses[name][0])
    return name, misses[name][1]


def _phrase(name: str, value: float) -> str:
    column, side, form = LIMITS[name]
    comparison = ">=" if side > 0 else "<="
    return f"{column} {comparison} {form.format(value)}"


def _where(r: Result) -> str:
    return f"width {r.width:g}" if r.lam is None else f"λ = {r.lam:g}, width {r.width:g}"
