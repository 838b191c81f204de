"""How long the `fast` preset trains here, alone on the machine, in seconds; the other benchmarks
give ratios.

`oat` and `pgd-at` are trained with three seeds, because claims compare them.
"""

from __future__ import annotations

import statistics
import time

import oatlib

# name of a recipe -> number of seeds
SEEDS = {"oat": 3, "pgd-at": 3, "standard": 1, "oats": 1, "blend": 1, "float": 1, "smart": 1}


def seconds_of(recipe: str, seed: int) -> float:
    """Train one network on `shapes`, watching included."""
    data = oatlib.load_data("shapes", seed=seed)
    net = oatlib.build(recipe, data, seed=seed)
    started = time.perf_counter()
    oatlib.train(net, data, seed=seed, progress=False)
    return round(time.perf_counter() - started, 1)


def run() -> dict:
    """{training_seconds: {recipe: mean seconds}, by_seed: {recipe: [seconds]}}"""
    by_seed: dict[str, list[float]] = {name: [] for name in SEEDS}
    for seed in range(max(SEEDS.values())):  # all recipes in turn, so that none has a better time
        for name, count in SEEDS.items():
            if seed < count:
                by_seed[name].append(seconds_of(name, seed))
    means = {name: round(statistics.fmean(found), 1) for name, found in by_seed.items()}
    return {"training_seconds": means, "by_seed": by_seed}
