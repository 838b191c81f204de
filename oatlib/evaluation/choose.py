"""Choose the best measured setting of λ and width within limits of the user.

It works on results of `evaluate`, so nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .results import Result

# limit -> (field of a result, 1 for a lower and -1 for an upper limit, format of the value)
LIMITS = {
    "min_clean": ("clean", 1, "{:.1%}"),
    "min_robust": ("robust", 1, "{:.1%}"),
    "max_macs": ("macs", -1, "{:,.0f}"),
    "max_parameters": ("parameters", -1, "{:,.0f}"),
}


def choose(results: Sequence[Result], **limits: float | None) -> Result:
    """Return the most robust measured setting within limits.

    Among equally robust settings the most accurate one is taken, then the one with the fewest
    multiply-adds.

    Args:
        results: What `evaluate` returned.
        **limits: Limits to keep. None means no limit.
            min_clean: Least clean accuracy, in [0, 1].
            min_robust: Least robust accuracy, in [0, 1].
            max_macs: Most multiply-adds for one image.
            max_parameters: Most parameters.

    Returns:
        The result of that setting.

    Raises:
        ValueError: If no setting keeps all limits. The message says which limit is out of reach,
            and how close the best setting comes. Also if there are no results, if an accuracy is
            outside [0, 1], or if the results do not say what a setting costs.
        TypeError: If there is no limit of that name.

    Example:
        >>> best = choose(table, min_clean=0.9, max_macs=1e6)
    """
    limits = _checked(results, limits)
    good = [r for r in results if all(_meets(r, name, value) for name, value in limits.items())]
    if not good:
        raise ValueError(_why_not(results, limits))
    return max(good, key=lambda r: (r.robust, r.clean, -(r.macs or 0)))


def _checked(results: Sequence[Result], limits: dict) -> dict[str, float]:
    """Return the limits that are not None, or raise if they cannot be applied to these results."""
    if not results:
        raise ValueError(
            "there are no results to choose from: pass what evaluate(net, split) returns"
        )
    for name, value in limits.items():
        if name not in LIMITS:
            raise TypeError(f"choose has no limit {name!r}: use {', '.join(LIMITS)}")
        if value is not None and name in ("min_clean", "min_robust") and not 0 <= value <= 1:
            raise ValueError(f"{name} is a share in [0, 1], such as 0.9, got {value:g}")
        if (
            value is not None
            and name.startswith("max")
            and any(getattr(r, LIMITS[name][0]) is None for r in results)
        ):
            raise ValueError(
                f"these results do not say what a setting costs, so {name} cannot be kept"
            )
    return {name: value for name, value in limits.items() if value is not None}


def _meets(r: Result, name: str, value: float) -> bool:
    # side is 1 for lower and -1 for upper limits, so that one comparison serves both.
    what, side, _ = LIMITS[name]
    return side * getattr(r, what) >= side * value


def _why_not(results: Sequence[Result], limits: dict[str, float]) -> str:
    """Say in words which limit cannot be kept, and how close the best setting comes.

    It is a limit that no setting meets. If there is none, it is the limit with the smallest miss
    when all others are kept.
    """
    alone = [name for name in limits if not any(_meets(r, name, limits[name]) for r in results)]
    name, others = (alone[0], {}) if alone else _closest(results, limits)
    what, side, form = LIMITS[name]
    left = [r for r in results if all(_meets(r, other, value) for other, value in others.items())]
    best = max(left, key=lambda r: side * getattr(r, what))
    while_keeping = (
        f" while {' and '.join(_phrase(n, v) for n, v in others.items())}" if others else ""
    )
    return (
        f"no measured setting has {_phrase(name, limits[name])}{while_keeping}: the closest is "
        f"{form.format(getattr(best, what))} at {_where(best)}"
    )


def _closest(results: Sequence[Result], limits: dict[str, float]) -> tuple[str, dict[str, float]]:
    """Return the limit with the smallest miss when all others are kept, and those others.

    A miss is measured relative to the value of the limit.
    """
    found = {}
    for name, value in limits.items():
        others = {n: v for n, v in limits.items() if n != name}
        what, side, _ = LIMITS[name]
        gaps = [
            side * (value - getattr(r, what)) / value
            for r in results
            if all(_meets(r, n, v) for n, v in others.items())
        ]
        if gaps:
            found[name] = (min(gaps), others)
    if not found:  # every setting misses at least two limits: try again without the last limit
        return _closest(results, dict(list(limits.items())[:-1]))
    name = min(found, key=lambda n: found[n][0])
    return name, found[name][1]


def _phrase(name: str, value: float) -> str:
    what, side, form = LIMITS[name]
    return f"{what} {'>=' if side > 0 else '<='} {form.format(value)}"


def _where(r: Result) -> str:
    return f"width {r.width:g}" if r.lam is None else f"λ = {r.lam:g}, width {r.width:g}"
