"""Find me the setting: the best place on the dials within the limits of a user."""

from __future__ import annotations

from collections.abc import Sequence

from .evaluate import Result

# limit -> (what it bounds, which side is good, how it is written)
LIMITS = {
    "min_clean": ("clean", 1, "{:.1%}"),
    "min_robust": ("robust", 1, "{:.1%}"),
    "max_macs": ("macs", -1, "{:,.0f}"),
    "max_parameters": ("parameters", -1, "{:,.0f}"),
}


def choose(results: Sequence[Result], **limits: float | None) -> Result:
    """The most robust measured setting with clean >= min_clean, robust >= min_robust (shares in [0, 1]), macs <=
    max_macs and parameters <= max_parameters; among equals the more accurate, then the cheaper one.

    If there is none, the ValueError says which limit is out of reach and how close one gets.
    """
    limits = _checked(results, limits)
    good = [r for r in results if all(_meets(r, name, value) for name, value in limits.items())]
    if not good:
        raise ValueError(_why_not(results, limits))
    return max(good, key=lambda r: (r.robust, r.clean, -(r.macs or 0)))


def _checked(results: Sequence[Result], limits: dict) -> dict[str, float]:
    if not results:
        raise ValueError("there are no results to choose from: pass what evaluate(net, split) returns")
    for name, value in limits.items():
        if name not in LIMITS:
            raise TypeError(f"choose has no limit {name!r}: use {', '.join(LIMITS)}")
        if value is not None and name in ("min_clean", "min_robust") and not 0 <= value <= 1:
            raise ValueError(f"{name} is a share in [0, 1], such as 0.9, got {value:g}")
        if value is not None and name.startswith("max") and any(getattr(r, LIMITS[name][0]) is None for r in results):
            raise ValueError(f"these results do not say what a setting costs, so {name} cannot be kept")
    return {name: value for name, value in limits.items() if value is not None}


def _meets(r: Result, name: str, value: float) -> bool:
    what, side, _ = LIMITS[name]
    return side * getattr(r, what) >= side * value


def _why_not(results: Sequence[Result], limits: dict[str, float]) -> str:
    """Name a limit that no setting meets; failing that, the one that is missed by least if the others are kept."""
    alone = [name for name in limits if not any(_meets(r, name, limits[name]) for r in results)]
    name, others = (alone[0], {}) if alone else _closest(results, limits)
    what, side, form = LIMITS[name]
    left = [r for r in results if all(_meets(r, other, value) for other, value in others.items())]
    best = max(left, key=lambda r: side * getattr(r, what))
    while_keeping = f" while {' and '.join(_phrase(n, v) for n, v in others.items())}" if others else ""
    return (
        f"no measured setting has {_phrase(name, limits[name])}{while_keeping}: the closest is "
        f"{form.format(getattr(best, what))} at {_where(best)}"
    )


def _closest(results: Sequence[Result], limits: dict[str, float]) -> tuple[str, dict[str, float]]:
    """The limit whose own miss, as a share of its value, is smallest when all others are kept; and those others."""
    found = {}
    for name, value in limits.items():
        others = {n: v for n, v in limits.items() if n != name}
        what, side, _ = LIMITS[name]
        gaps = [side * (value - getattr(r, what)) / value for r in results
                if all(_meets(r, n, v) for n, v in others.items())]  # fmt: skip
        if gaps:
            found[name] = (min(gaps), others)
    if not found:  # no setting misses but one limit: try again without the last
        return _closest(results, dict(list(limits.items())[:-1]))
    name = min(found, key=lambda n: found[n][0])
    return name, found[name][1]


def _phrase(name: str, value: float) -> str:
    what, side, form = LIMITS[name]
    return f"{what} {'>=' if side > 0 else '<='} {form.format(value)}"


def _where(r: Result) -> str:
    return f"width {r.width:g}" if r.lam is None else f"λ = {r.lam:g}, width {r.width:g}"
