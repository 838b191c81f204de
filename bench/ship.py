"""The networks that come with oatlib: `python -m bench.ship [name ...] [--folder DIR]`.

Each is trained with the `fast` preset and seed 0 on the built-in images, its slider made even, and measured over all
its dials, for the explorer. Six dedicated networks are measured in the same way and not kept. What is there is not made
again. About half an hour in all on two cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import oatlib
from oatlib.lab import family, ready
from oatlib.lab.surface import EPS
from oatlib.recipes import OAT_STOPS
from oatlib.record import write_json


def ship(name: str, folder: Path) -> str:
    """Make what is missing of one network; returns what was done, in words."""
    weights, started = folder / f"{name}.safetensors", time.perf_counter()
    data, (recipe, options) = oatlib.load_data("shapes", seed=0), ready.MEMBERS[name]
    if not weights.exists():
        net = oatlib.build(recipe, data, seed=0, **options)
        oatlib.train(net, data, seed=0, progress=False)
        if len(net.spec.stops) > 1:
            oatlib.even_dial(net, data, progress=False)
        oatlib.save(net, weights)
    surface = family.surface_of(oatlib.load(weights), data)
    if not surface.restore(weights.with_suffix(".json")):
        for _ in surface.fill(1.0, 8.0, everywhere=True):
            pass
        surface.save(weights.with_suffix(".json"))
    return f"{name}: {weights.stat().st_size / 1e3:.0f} kB, {time.perf_counter() - started:.0f} s"


def dedicated(folder: Path) -> str:
    """Train and measure one network for each λ of OAT."""
    path, marks, data = folder / family.MARKS, [], oatlib.load_data("shapes", seed=0)
    if path.exists():
        return "dedicated networks: there"
    for lam in OAT_STOPS:
        net = oatlib.build("pgd-at", data, seed=0, lam=lam)
        oatlib.train(net, data, seed=0, progress=False)
        surface = family.surface_of(net, data)
        for _ in surface.fill(1.0, 8.0, everywhere=True):
            pass
        table = surface.table()
        marks.append({"name": f"pgd-at, λ = {lam:g}", "lam": lam, "clean": table["clean"][0][0], "eps": list(EPS),
                      "robust": [row[0] for row in table["robust"][0]]})  # fmt: skip
    write_json(path, {"data": [data.name, data.options], "marks": marks})
    return "dedicated networks: measured"


def main() -> None:
    """Make everything, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(ready.MEMBERS))
    parser.add_argument("--folder", type=Path, default=ready.FOLDER)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in ready.MEMBERS]:
        parser.error(f"there is no {unknown[0]!r}: use {', '.join(ready.MEMBERS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or ready.MEMBERS:
        print(ship(name, options.folder), flush=True)
    if not options.names:
        print(dedicated(options.folder), flush=True)


if __name__ == "__main__":
    main()
