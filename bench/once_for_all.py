"""The claim itself: one network with a dial against what is possible without one.

`python -m bench.once_for_all [--seeds 0 1 2 3 4] [--n 1024] [--attack quick]
[--out FILE]`. For each seed, all with the `fast` preset on `shapes` and measured on the same test
images:

* `oat` and `oats` at their λ stops (and `oats` at each of its widths), with PGD-20 beside the
attack of the record;
* six dedicated networks, one for each λ stop of `oat`;
* output mixing of two dedicated networks, of the two ends of `blend`, and of those of `oat`;
* `blend` with interpolated weights.

Where an image takes two passes, or where there are many settings (HALF), half of the images are
measured.

Networks are kept by `bench.trained`; what is in the record already is not measured again. All
networks of a record were trained for the same number of epochs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import oatlib
from oatlib.record import read_json, versions, write_json
from oatlib.training.recipes import OAT_STOPS

from .trained import named, trained

EPS = 8 / 255
MIXED = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # weights of the robust output
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


Made = tuple[object, list[float] | None]  # network, λ (None: its stops)


def alone(lam: float, seed: int) -> Made:
    """A dedicated network for one λ."""
    name = "standard" if lam == 0 else named("pgd-at", {"lam": lam})
    net, _ = trained(name, seed)
    return net, None


def mixed_two(seed: int) -> Made:
    """The mixed outputs of the two dedicated networks at the ends."""
    (standard, _), (robust, _) = (alone(lam, seed) for lam in (0.0, 1.0))
    return oatlib.mix(standard, robust), list(MIXED)


def of_recipe(recipe: str, lams: list[float] | None, seed: int, dial: str | None = None) -> Made:
    """A network with a dial, at λ (None: its stops), with another dial rule if one is named."""
    net, _ = trained(recipe, seed)
    return (net if dial is None else net.with_dial(dial)), lams


SYSTEMS: dict[str, Callable[[int], Made]] = {
    "oat": partial(of_recipe, "oat", None),
    **{f"dedicated {lam:g}": partial(alone, lam) for lam in OAT_STOPS},
    "mix of two": mixed_two,
    "blend": partial(of_recipe, "blend", list(FIFTHS)),
    "blend, outputs": partial(of_recipe, "blend", list(MIXED), dial="outputs"),
    "oat, outputs": partial(of_recipe, "oat", list(MIXED), dial="outputs"),
    "oats": partial(of_recipe, "oats", None),
}

# fields of a result that every record of accuracies holds
ACCURACIES = ("clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
ROW_KEYS = ("lam", "width", "n", *ACCURACIES)

HALF = ("mix of two", "blend, outputs", "oat, outputs", "oats")


def measure(net, lams: list[float] | None, split, attack, with_pgd: bool) -> list[dict]:
    """Accuracies of one system at all its settings, ready for JSON."""
    rows = [
        {key: getattr(r, key) for key in ROW_KEYS}
        for r in oatlib.evaluate(net, split, attack, lams, progress=False)
    ]
    if with_pgd:
        pgd = oatlib.PGD(EPS, 20, eot_samples=attack.eot_samples)
        weak = oatlib.evaluate(net, split, pgd, lams, progress=False)
        rows = [row | {"pgd": r.robust} for row, r in zip(rows, weak, strict=True)]
    return rows


def runs_before(path: Path, epochs: int) -> list[dict]:
    """The runs that a record holds. It must be of networks that were trained as long."""
    if not path.exists():
        return []
    record = read_json(path)
    if record["epochs"] != epochs:
        raise SystemExit(
            f"{path} has networks of {record['epochs']} epochs, and `fast` now has {epochs}: move "
            "it away, or name another file with --out"
        )
    return record["runs"]


def main() -> None:
    """Measure what is missing, write the record after every system."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--n", type=int, default=1024, help="test images (for some systems half of them)"
    )
    parser.add_argument(
        "--attack", choices=("quick", "fast", "full"), default="quick", help="budget of the suite"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="system", default=list(SYSTEMS), choices=SYSTEMS
    )
    parser.add_argument("--out", default="bench/results/once_for_all.json")
    options = parser.parse_args()
    attack = oatlib.Suite(EPS, budget=options.attack)
    epochs = oatlib.PRESETS["fast"].epochs
    runs = runs_before(Path(options.out), epochs)
    for seed in options.seeds:
        test = oatlib.load_data("shapes", seed=seed).test.panel(options.n)
        for name in options.only:
            if any((run["system"], run["seed"]) == (name, seed) for run in runs):
                continue
            net, lams = SYSTEMS[name](seed)
            images = test.panel(options.n // 2) if name in HALF else test
            points = measure(net, lams, images, attack, with_pgd=name in ("oat", "oats"))
            runs.append({"system": name, "seed": seed, "points": points})
            about = {
                "command": "python -m bench.once_for_all",
                "n": options.n,
                "attack": attack.describe(),
                "epochs": epochs,
            }
            about |= {"attack_text": str(attack), "versions": versions(), "runs": runs}
            write_json(options.out, about)
            told = "  ".join(
                f"{p['lam']:g}/{p['width']:g}: {p['clean']:.1%} {p['robust']:.1%}" for p in points
            )
            print(f"seed {seed} {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
