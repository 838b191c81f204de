"""How long the `fast` preset trains here, alone on the machine, in seconds; the other benchmarks
give ratios.
"""

from __future__ import annotations

import time

import oatlib

RECIPES = ("oat", "oats", "blend", "float", "smart")


def run() -> dict:
    """{training_seconds: {recipe: seconds}} on shapes, watching included."""
    data = oatlib.load_data("shapes")
    found = {}
    for recipe in RECIPES:
        net = oatlib.build(recipe, data)
        started = time.perf_counter()
        oatlib.train(net, data, progress=False)
        found[recipe] = round(time.perf_counter() - started, 1)
    return {"training_seconds": found}
