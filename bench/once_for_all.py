"""The claim itself: one OAT network against six dedicated ones. `python -m bench.once_for_all [seeds] [--out FILE]`.

For each seed: OAT with the `fast` preset, six `pgd-at` networks at the same λ with the same preset, PGD-20 on the full
test split, robust accuracy at clean >= 98, 95 and 90 % of both, training seconds of both, and the dial at 21 values
of λ.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path

import oatlib
from oatlib.baselines import LEVELS
from oatlib.recipes import OAT_STOPS
from oatlib.record import versions, write_json


def one_seed(seed: int, attack: oatlib.PGD) -> dict:
    """Train and measure everything for one seed."""
    data = oatlib.load_data("shapes", seed=seed)
    net, oat_seconds = _trained("oat", data, seed)
    oat = oatlib.evaluate(net, data.test, attack, progress=False)
    dial = oatlib.evaluate(net, data.test.panel(1024), attack, lams=[i / 20 for i in range(21)], progress=False)
    dedicated, seconds = oatlib.Table(), 0.0
    for lam in OAT_STOPS:
        single, took = _trained("pgd-at", data, seed, lam=lam)
        dedicated += oatlib.evaluate(single, data.test, attack, progress=False)
        seconds += took
    return {
        "seed": seed, "n": oat[0].n, "dial_n": dial[0].n,
        "oat": _points(oat), "dedicated": _points(dedicated), "dial": _points(dial),
        "robust_at": {f"{level:g}": [oat.robust_at(level), dedicated.robust_at(level)] for level in LEVELS},
        "oat_seconds": oat_seconds, "dedicated_seconds": seconds, "cost_ratio": oat_seconds / seconds,
        "worst_step_up_in_clean": max(b.clean - a.clean for a, b in pairwise(dial)),
        "worst_step_down_in_robust": max(a.robust - b.robust for a, b in pairwise(dial)),
    }  # fmt: skip


def _trained(recipe: str, data, seed: int, **options):
    net = oatlib.build(recipe, data, seed=seed, **options)
    started = time.perf_counter()
    history = oatlib.train(net, data, seed=seed, progress=False)
    if history.status != "finished":
        raise RuntimeError(f"{recipe} {options}: {history.note}")
    return net, round(time.perf_counter() - started, 1)


def _points(table: oatlib.Table) -> list[dict]:
    keys = ("lam", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
    return [{k: getattr(r, k) for k in keys} for r in table]


def main() -> None:
    """Measure, print a summary, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    parser.add_argument("--out", default="bench/results/once_for_all.json")
    options = parser.parse_args()
    attack = oatlib.PGD(8 / 255, 20)
    runs = []
    for seed in range(options.seeds):
        runs.append(one_seed(seed, attack))
        run = runs[-1]
        for row, other in zip(run["oat"], run["dedicated"], strict=True):
            print(f"seed {seed} λ {row['lam']:<4g} oat {row['clean']:.1%} / {row['robust']:.1%}   "
                  f"dedicated {other['clean']:.1%} / {other['robust']:.1%}", flush=True)  # fmt: skip
        print({k: round(v, 3) for k, v in run.items() if isinstance(v, float)}, flush=True)
        _write(options.out, runs, attack)  # after every seed: nothing measured is lost
    print("mean", {k: round(v, 3) for k, v in _mean(runs).items()})


def _mean(runs: list[dict]) -> dict[str, float]:
    return {k: statistics.fmean(run[k] for run in runs) for k, v in runs[0].items() if isinstance(v, float)}


def _write(path: str, runs: list[dict], attack: oatlib.PGD) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    about = {"command": "python -m bench.once_for_all", "attack": attack.describe(), "versions": versions()}
    write_json(path, about | {"mean": _mean(runs), "runs": runs})


if __name__ == "__main__":
    main()
