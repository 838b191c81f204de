"""The networks for photographs that come with oatlib: `python -m bench.ship_photographs FOLDER
[name ...]`.

FOLDER holds `train/<class>/*` and `test/<class>/*`. The networks are those that `python -m
bench.photographs` has trained; one that it has not trained yet is left out, and said. A network is
written in half precision, with all that is known about it: how it was trained, on what, how long,
and the accuracies on test images of the record. Its slider is fitted. No path is kept: the file
names the images in words.

Then its curves are measured on test images: by the quick suite at all ε, λ and widths of the
explorer, and by PGD-20 at full width and ε = 8/255. Last, the points of the networks for one λ are
written. What is there is not made again, except for what a file says about its network, where the
record has changed. Two of these commands may run at once.
"""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import replace
from pathlib import Path

import oatlib
from oatlib.explorer import open_files, shipped
from oatlib.explorer.named_attacks import PGD_20
from oatlib.explorer.own_copy import own_copy
from oatlib.explorer.surface import Surface
from oatlib.record import read_json, write_json

from . import photographs
from .once_for_all import EPS
from .ship import claimed, mark_of, measure

RECORD = Path(__file__).parent / "results" / "photographs.json"
DEDICATED = ("standard", "pgd-at-0.2", "pgd-at")  # networks for one λ each
SLIDER_IMAGES = 128


def described(net: oatlib.Network, run: dict, record: dict, machine: str) -> oatlib.Network:
    """Put what the record says about a network into the network itself.

    Args:
        net: As `bench.photographs` has saved it. It is changed.
        run: Its run in the record.
        record: The whole record.
        machine: The hardware that it was trained on, if the run does not say it.

    Returns:
        The network.
    """
    names = ("lam", "width", "clean", "pgd", "robust")
    images, system = shlex.quote(record["images"]), shlex.quote(run["network"])
    command = f"python -m bench.photographs FOLDER --title {images} --systems {system}"
    net.spec = replace(net.spec, data={"name": record["images"]})
    net.trained[-1] |= {
        "n_train": run["n_train"],
        "cpu_seconds": run["cpu_seconds"],
        "hardware": run.get("hardware", machine),
        "command": f"{command} --seeds {run['seed']}",
        "test": {
            "n": run["points"][0]["n"],
            "eps": EPS,
            "attack": str(photographs.suite_for(run.get("eot_samples", 1))),
            "rows": [{name: point[name] for name in names} for point in run["points"]],
        },
    }
    if "strong" in run:  # both ends, under a stronger suite
        ends = [{name: point[name] for name in ("lam", "robust")} for point in run["strong"]]
        net.trained[-1]["test"] |= {"strong_attack": run["strong_text"], "strong": ends}
    return net


def describe_again(weights: Path, run: dict, record: dict, machine: str) -> None:
    """Bring what a file says about its network up to date. Its weights stay as they are."""
    net = oatlib.load(weights)
    before = dict(net.trained[-1])
    if abs(before["seconds"] - run["train_seconds"]) > 0.1:
        raise SystemExit(f"the record is of another training than {weights}: delete the file")
    if described(net, run, record, machine).trained[-1] != before:
        oatlib.save(net, weights, half=True)


def make_network(name: str, options: argparse.Namespace, record: dict) -> bool:
    """Write a network, if it is not there. Return False if it is not trained yet.

    If it is there, only what is said about it is written again, where the record has changed.
    """
    weights = options.out / f"{name}.safetensors"
    system = shipped.PHOTOGRAPH_MEMBERS[name]
    trained = options.trained / f"photographs_{system}_{options.seed}.safetensors"
    # A network with several dials has a run for each. The first is that of its own dial.
    runs = [r for r in record["runs"] if (r["network"], r["seed"]) == (system, options.seed)]
    if weights.exists():
        if runs:
            describe_again(weights, runs[0], record, options.hardware)
        return True
    if not trained.exists() or not runs:
        return False
    net = oatlib.load(trained)
    if abs(net.trained[-1]["seconds"] - runs[0]["train_seconds"]) > 0.1:
        raise SystemExit(f"{options.record} is of another training than {trained}")
    if len(net.spec.stops) > 1:
        # The images that were held out of the training of every network.
        sizes = {"n_train": len(net.spec.classes), "n_val": 500, "n_test": len(net.spec.classes)}
        held_out = oatlib.load_data(f"folder:{options.folder}", options.seed, **sizes).val
        points = 11 if net.spec.noise else 21
        oatlib.fit_slider(net, held_out, points=points, n=SLIDER_IMAGES, progress=False)
    oatlib.save(described(net, runs[0], record, options.hardware), weights, half=True)
    return True


def ship(name: str, options: argparse.Namespace, record: dict) -> str:
    """Make what is missing of one network, and return what was done, in words."""
    started = time.perf_counter()
    if not make_network(name, options, record):
        return f"{name}: not trained yet, or not in {options.record}"
    weights = options.out / f"{name}.safetensors"
    net = oatlib.load(weights)
    data = own_copy(f"folder:{options.folder}", net.spec)
    surface = open_files.surface_of(net, data)
    surface.restore(weights.with_suffix(".json"))
    cells = surface.missing(1.0, 8.0, everywhere=True)
    cells += [cell for cell in surface.planned() if cell[0] == PGD_20]
    measure(surface, name, weights.with_suffix(".json"), cells)
    if not weights.with_suffix(".json").exists():
        surface.save(weights.with_suffix(".json"))
    return f"{name}: {weights.stat().st_size / 1e3:.0f} kB, {time.perf_counter() - started:.0f} s"


def write_marks(out: Path) -> str:
    """Write the points of the networks for one λ that are there, and return a line about them."""
    marks = []
    for name in DEDICATED:
        weights = out / f"{name}.safetensors"
        if not weights.exists():
            continue
        net = oatlib.load(weights)
        surface = Surface(net, None)
        if surface.restore(weights.with_suffix(".json")):
            (lam,) = net.spec.stops
            mark = mark_of(surface, f"{net.spec.recipe}, λ = {lam:g}", lam)
            marks.append(mark | {"backbone": net.spec.backbone})
            about = {"data": [net.spec.data["name"], {}], "n": surface.n}
    if marks:
        write_json(out / open_files.MARKS, about | {"marks": marks})
    return f"{open_files.MARKS}: {len(marks)} networks"


def main() -> None:
    """Make everything, or what is named."""
    members = shipped.PHOTOGRAPH_MEMBERS
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of the images: {train,test}/<class>/*")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(members))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--trained", type=Path, default=photographs.CHECKPOINTS, help="folder of trained networks"
    )
    parser.add_argument("--record", type=Path, default=RECORD, help="of bench.photographs")
    parser.add_argument("--out", type=Path, default=shipped.PHOTOGRAPHS)
    parser.add_argument(
        "--hardware", default=photographs.hardware(), help="on which they were trained"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in members]:
        parser.error(f"there is no {unknown[0]!r}: use {', '.join(members)}")
    options.out.mkdir(parents=True, exist_ok=True)
    record = read_json(options.record)
    for name in options.names or members:
        with claimed(name, options.out) as mine:
            print(ship(name, options, record) if mine else f"{name}: being made", flush=True)
    print(write_marks(options.out), flush=True)


if __name__ == "__main__":
    main()
