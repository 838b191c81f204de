"""The claim itself: one network with a dial against what one could do without it.

`python -m bench.once_for_all [--seeds 3] [--n 1024] [--attack quick] [--out FILE]`. For each seed, all with the `fast`
preset on `shapes` and measured on the same test images:

* `oat` and `oats` at their λ stops (and `oats` at each of its widths), with PGD-20 beside the attack of the record;
* six dedicated networks, one for each λ stop of `oat`;
* output mixing of two dedicated networks, of the two ends of `blend`, and of those of `oat`;
* `blend` with interpolated weights.

Networks are kept by `bench.trained`; what is in the record already is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import oatlib
from oatlib.recipes import OAT_STOPS
from oatlib.record import read_json, versions, write_json

from .trained import named, trained

EPS = 8 / 255
MIXED = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # weights of the robust output
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def dedicated(seed: int) -> Iterator[tuple[float, oatlib.Network, float]]:
    """(λ, network, seconds of training) for each λ stop of OAT."""
    for lam in OAT_STOPS:
        name = "standard" if lam == 0 else named("pgd-at", {"lam": lam})
        net, _, seconds = trained(name, seed)
        yield lam, net, seconds


def systems(seed: int) -> Iterator[tuple[str, object, list[float] | None, float]]:
    """(name, network, λ or None for its stops, seconds of training) of everything that is compared."""
    oat, _, oat_seconds = trained("oat", seed)
    yield "oat", oat, None, oat_seconds
    alone = list(dedicated(seed))
    for lam, net, seconds in alone:
        yield f"dedicated {lam:g}", net, None, seconds
    both = alone[0][2] + alone[-1][2]
    yield "mix of two", oatlib.mix(alone[0][1], alone[-1][1]), list(MIXED), both
    blend, _, seconds = trained("blend", seed)
    yield "blend", blend, list(FIFTHS), seconds
    yield "blend, outputs", blend.with_dial("outputs"), list(MIXED), seconds
    yield "oat, outputs", oat.with_dial("outputs"), list(MIXED), oat_seconds
    oats, _, seconds = trained("oats", seed)
    yield "oats", oats, None, seconds


def measure(net, lams: list[float] | None, split, attack, with_pgd: bool) -> list[dict]:
    """Accuracies of one system at all its settings, ready for JSON."""
    keys = ("lam", "width", "n", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
    rows = [{key: getattr(r, key) for key in keys} for r in oatlib.evaluate(net, split, attack, lams, progress=False)]
    if with_pgd:
        weak = oatlib.evaluate(net, split, oatlib.PGD(EPS, 20), lams, progress=False)
        rows = [row | {"pgd": r.robust} for row, r in zip(rows, weak, strict=True)]
    return rows


def main() -> None:
    """Measure what is missing, write the record after every system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=1024, help="test images")
    parser.add_argument("--attack", choices=("quick", "fast", "full"), default="quick", help="budget of the suite")
    parser.add_argument("--only", nargs="+", metavar="system", help="such as oat, or 'blend, outputs'")
    parser.add_argument("--out", default="bench/results/once_for_all.json")
    options = parser.parse_args()
    attack = oatlib.Suite(EPS, budget=options.attack)
    runs = read_json(options.out)["runs"] if Path(options.out).exists() else []
    for seed in range(options.seeds):
        test = oatlib.load_data("shapes", seed=seed).test.panel(options.n)
        for name, net, lams, seconds in systems(seed):
            if options.only and name not in options.only and name.split()[0] not in options.only:
                continue
            if any((run["system"], run["seed"]) == (name, seed) for run in runs):
                continue
            points = measure(net, lams, test, attack, with_pgd=name in ("oat", "oats"))
            runs.append({"system": name, "seed": seed, "train_seconds": seconds, "points": points})
            about = {"command": "python -m bench.once_for_all", "n": options.n, "attack": attack.describe()}
            about |= {"attack_text": str(attack), "versions": versions(), "runs": runs}
            write_json(options.out, about)
            told = "  ".join(f"{p['lam']:g}/{p['width']:g}: {p['clean']:.1%} {p['robust']:.1%}" for p in points)
            print(f"seed {seed} {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
