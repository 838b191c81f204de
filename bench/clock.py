"""Timing two or more ways of doing the same work, in turn, so that a noisy machine is noisy for all
of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleaved(
    ways: dict[str, Callable[[], object]], rounds: int = 15, warmup: int = 3
) -> dict[str, list[float]]:
    """Seconds of each way, one per round; every round runs each way once."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(warmup + rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if i >= warmup:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> dict:
    """How many times as long `slow` takes as `fast`: median of the ratios of each round, and their
    spread.
    """
    ratios = sorted(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))
    return {
        "ratio": round(statistics.median(ratios), 3),
        "low": round(ratios[len(ratios) // 10], 3),
        "high": round(ratios[-1 - len(ratios) // 10], 3),
        f"{slow}_ms": milliseconds(seconds[slow]),
        f"{fast}_ms": milliseconds(seconds[fast]),
        "rounds": len(ratios),
    }


def milliseconds(values: list[float]) -> float:
    """The median, in ms."""
    return round(statistics.median(values) * 1e3, 2)
