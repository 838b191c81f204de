"""The networks that come with oatlib: `python -m bench.ship [name ...] [--folder DIR]
[--only-surfaces] [--no-mixing]`.

Each is trained with the `fast` preset and seed 0 on the built-in images, and its slider is fitted.
Then it is measured over all its dials for the explorer: by the suite and PGD-20 at ε = 8/255, and
by the quick suite at the other ε. Last, the outputs of its two ends are mixed, where it has two.
The name `dedicated` stands for one network for each λ of OAT. These are measured in the same way
and not kept.

What is there is not made again, and every number is written as soon as it is known. After an
interruption the same command continues. Two of these commands may run at once, also with the same
names: each network is made by one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import oatlib
from oatlib.explorer import open_files, shipped
from oatlib.explorer.named_attacks import LABELS
from oatlib.explorer.surface import EPS, Cell, Surface
from oatlib.record import read_json, write_json
from oatlib.training.recipes import OAT_STOPS

from .trained import FOLDER as KEPT
from .trained import named, trained

DEDICATED = "dedicated"
NAMES = (*shipped.MEMBERS, DEDICATED)


def ship(name: str, folder: Path, *, train: bool = True, mixing: bool = True) -> str:
    """Make what is missing of one network.

    Args:
        name: Of the network, in `shipped.MEMBERS`.
        folder: Where the weights and the measurements are, or will be.
        train: Train the network if it is not there; else that is an error.
        mixing: Measure the mixed outputs of its two ends, too.

    Returns:
        What was done, in words.
    """
    weights, started = folder / f"{name}.safetensors", time.perf_counter()
    data, (recipe, options) = oatlib.load_data("shapes", seed=0), shipped.MEMBERS[name]
    if not weights.exists():
        if not train:
            raise SystemExit(f"there is no {weights}: leave --only-surfaces out, and it is trained")
        net, _ = trained(named(recipe, options), 0, KEPT)
        if len(net.spec.stops) > 1:
            oatlib.fit_slider(net, data, points=11 if net.spec.noise else 21, n=128, progress=False)
        oatlib.save(net, weights)
        print(f"{name}: trained, {time.perf_counter() - started:.0f} s", flush=True)
    surface = open_files.surface_of(oatlib.load(weights), data)
    record = weights.with_suffix(".json")
    surface.restore(record)
    measure(surface, name, record)
    if mixing:
        mix(surface, name, record)
    return f"{name}: {weights.stat().st_size / 1e3:.0f} kB, {time.perf_counter() - started:.0f} s"


def measure(
    surface: Surface, name: str, record: Path | None = None, cells: list[Cell] | None = None
) -> None:
    """Measure cells, by default those that are recorded in advance; write the record after each."""
    cells = surface.planned() if cells is None else cells
    for number, cell in enumerate(cells, 1):
        started = time.perf_counter()
        for _ in surface.measure(cell):
            pass
        if record is not None:
            surface.save(record)
        attack, w, e, i = cell
        where = f"λ {surface.lams[i]:.3g}, width {surface.widths[w]:g}, ε {EPS[e]:g}/255"
        result = f"clean {surface.clean[w][i]:.1%}, robust {surface.robust[attack][w][e][i]:.1%}"
        seconds = time.perf_counter() - started
        print(
            f"  {name} [{number}/{len(cells)}] {LABELS[attack]}, {where}: {result}, {seconds:.1f} "
            "s",
            flush=True,
        )


def mix(surface: Surface, name: str, record: Path) -> None:
    """Measure the mixed outputs of both ends, and write the record after each weight."""
    for weight in surface.unmixed():
        started = time.perf_counter()
        surface.mix(weight)
        surface.save(record)
        _, clean, robust = next(point for point in surface.mixed if point[0] == weight)
        seconds = time.perf_counter() - started
        print(
            f"  {name}, outputs mixed {weight:g}: clean {clean:.1%}, robust {robust:.1%}, "
            f"{seconds:.1f} s",
            flush=True,
        )


def dedicated(folder: Path) -> str:
    """Train and measure one network for each λ of OAT; those that are in the record stay."""
    path, data, started = (
        folder / open_files.MARKS,
        oatlib.load_data("shapes", seed=0),
        time.perf_counter(),
    )
    source = [data.name, data.options]
    known = read_json(path) if path.exists() else {}
    marks = known["marks"] if known.get("data") == source and known.get("n") == open_files.N else []
    for lam in OAT_STOPS:
        if any(mark["lam"] == lam for mark in marks):
            continue
        net, _ = trained("standard" if lam == 0 else named("pgd-at", {"lam": lam}), 0, KEPT)
        surface = open_files.surface_of(net, data)
        name = f"pgd-at, λ = {lam:g}"
        measure(surface, name)
        marks = sorted([*marks, mark_of(surface, name, lam)], key=lambda mark: mark["lam"])
        write_json(path, {"data": source, "n": surface.n, "marks": marks})
    return f"{DEDICATED}: {len(marks)} networks, {time.perf_counter() - started:.0f} s"


def mark_of(surface: Surface, name: str, lam: float) -> dict:
    """Return the point of a measured network for one λ, ready for JSON."""
    attacks = [surface.attack_at(0, e) for e in range(len(EPS))]
    robust = [surface.robust[attack][0][e][0] for e, attack in enumerate(attacks)]
    return {
        "name": name,
        "lam": lam,
        "clean": surface.clean[0][0],
        "eps": list(EPS),
        "robust": robust,
        "attacks": attacks,
    }


@contextlib.contextmanager
def claimed(name: str, folder: Path) -> Iterator[bool]:
    """Keep other processes from making the same network. False if one of them is making it."""
    lock = folder / f"{name}.lock"
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        yield False
        return
    try:
        yield True
    finally:
        lock.unlink()


def main() -> None:
    """Make everything, or what is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--folder", type=Path, default=shipped.FOLDER)
    parser.add_argument(
        "--only-surfaces", action="store_true", help="train nothing: measure what is there"
    )
    parser.add_argument("--no-mixing", action="store_true", help="leave the mixed outputs out")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no {unknown[0]!r}: use {', '.join(NAMES)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or NAMES:
        if name == DEDICATED and options.only_surfaces and not options.names:
            continue  # their weights are not kept
        with claimed(name, options.folder) as mine:
            if not mine:
                lock = options.folder / f"{name}.lock"
                print(
                    f"{name}: another process makes it (if there is none, delete {lock})",
                    flush=True,
                )
            elif name == DEDICATED:
                print(dedicated(options.folder), flush=True)
            else:
                made = ship(
                    name,
                    options.folder,
                    train=not options.only_surfaces,
                    mixing=not options.no_mixing,
                )
                print(made, flush=True)


if __name__ == "__main__":
    main()
