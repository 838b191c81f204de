"""The family, measured: `python -m bench.family [name ...] [--seeds 3] [--out FILE]`.

Every network is trained with the `fast` preset and attacked with the quick suite at some λ of each
width. Compared are OATS with OAT, output layers per width (SOLAR) with one for all, and BatchNorm
per width with one for all. Along the dial, OAT is compared with the networks whose weights depend
on λ. Noisy weights are attacked and measured over 10 noise samples. "stopped" says whether training
ended early, because robust accuracy fell: such a network has the weights of its last good epoch.
What is already in the record is not measured again.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from pathlib import Path

import torch
from scipy.stats import t

import oatlib
from oatlib.attacks.suite import default_attack
from oatlib.record import read_json, versions, write_json

from .once_for_all import ROW_KEYS
from .trained import named, trained

ENDS = (0.0, 0.2, 1.0)
TENTHS, FIFTHS = tuple(i / 10 for i in range(11)), tuple(i / 5 for i in range(6))
NOISE_SAMPLES, NOISY_N = 10, 512  # noisy weights are measured on 10 samples, so on fewer images
NETWORKS = {  # recipe, options, λ
    "oat": ("oat", {}, None),
    "oat_one_norm": ("oat", {"dual": False}, None),  # FiLM, but one BatchNorm for all λ
    "oats": ("oats", {}, None),
    "snn_4": ("snn", {"widths": 4}, None),
    "snn_4_shared_norm": ("snn", {"widths": 4, "norm_sharing": "all"}, None),
    "solar_snn_4": ("solar-snn", {"widths": 4}, None),
    "oats_4": ("oats", {"widths": 4}, ENDS),
    "solar_4": ("solar", {"widths": 4}, ENDS),
    "snn_8": ("snn", {"widths": 8}, None),
    "solar_snn_8": ("solar-snn", {"widths": 8}, None),
    "oats_8": ("oats", {"widths": 8}, ENDS),
    "solar_8": ("solar", {"widths": 8}, ENDS),
    "oat_dial": ("oat", {}, TENTHS),
    "blend": ("blend", {}, TENTHS),
    "float": ("float", {}, FIFTHS),
    "float_forward": ("float", {"redraw": "forward"}, FIFTHS),
    "float_rule_a": ("float", {"redraw": "forward", "dial": "rule-a"}, FIFTHS),
    "float_rule_b": ("float", {"redraw": "forward", "dial": "rule-b"}, FIFTHS),
    "floats_30": ("floats", {"density": 0.3}, FIFTHS),
    "floats_30_forward": ("floats", {"density": 0.3, "redraw": "forward"}, FIFTHS),
    "floats_10": ("floats", {"density": 0.1}, FIFTHS),
    "floats_10_forward": ("floats", {"density": 0.1, "redraw": "forward"}, FIFTHS),
    "smart": ("smart", {}, TENTHS),
    "smart_overlapping": ("smart", {"masks": "overlapping"}, TENTHS),
    "smart_everywhere": ("smart", {"mask_in": "all"}, TENTHS),
}
PAIRS = (
    ("solar_4", "oats_4"),
    ("solar_8", "oats_8"),
    ("solar_snn_4", "snn_4"),
    ("solar_snn_8", "snn_8"),
    ("snn_4", "snn_4_shared_norm"),
)


def measure(name: str, seed: int, n: int) -> dict:
    """Train one network and measure it at every width."""
    recipe, options, lams = NETWORKS[name]
    net, data = trained(named(recipe, options), seed)
    samples = NOISE_SAMPLES if net.spec.noise else 1
    panel = data.test.panel(min(n, NOISY_N) if net.spec.noise else n)
    table = oatlib.evaluate(
        net, panel, default_attack(8 / 255, samples), lams, progress=False, noise_samples=samples
    )
    keys = (*ROW_KEYS, "macs", "nonzero", "noise_samples", "clean_spread", "robust_spread")
    points = [{k: getattr(r, k) for k in keys} for r in table]
    costs = {
        f"{lam:g}": asdict(oatlib.cost(net, lam)) for lam in (net.spec.stops[0], net.spec.stops[-1])
    }
    alpha = [round(p.item(), 4) for name, p in net.named_parameters() if name.endswith("alpha")]
    return {
        "name": name,
        "seed": seed,
        "stopped": net.trained[-1]["status"] == "stopped",
        "points": points,
        "cost": costs,
        "alpha": alpha,
    }


def resnet34(record: dict) -> dict:
    """Parameters of the networks along the dial if built as ResNet-34 for 10 classes: {name: {λ:
    Cost}}.
    """
    if "resnet34" in record:
        return record["resnet34"]
    x, y = torch.zeros(30, 3, 32, 32), torch.arange(10).repeat(3)
    data, found = oatlib.from_tensors("ten", *[(x, y)] * 3, classes=range(10)), {}
    small = {
        "oat_scalar": ("oat", {"codes": "none"}, TENTHS)
    }  # λ itself as the code: what the papers compare with
    for name, (recipe, options, lams) in (NETWORKS | small).items():
        if lams in (TENTHS, FIFTHS):
            net = oatlib.build(recipe, data, "resnet34", **options)
            found[name] = {f"{lam:g}": asdict(oatlib.cost(net, lam)) for lam in (0.0, 1.0)}
    return found


def gains(runs: list[dict], ours: str, base: str) -> dict:
    """Accuracy of `ours` minus `base` over the sub-networks, per seed; then mean over seeds and its
    95 % interval.
    """
    by = {(r["name"], r["seed"]): r["points"] for r in runs}
    seeds = sorted(s for name, s in by if name == ours and (base, s) in by)
    found: dict = {"seeds": len(seeds), "n": by[ours, seeds[0]][0]["n"]}
    for what in ("clean", "robust"):
        each = [
            [a[what] - b[what] for a, b in zip(by[ours, s], by[base, s], strict=True)]
            for s in seeds
        ]
        if what == "robust" and by[ours, seeds[0]][0]["lam"] == by[ours, seeds[0]][-1]["lam"] == 0:
            continue  # trained on clean images only: robust accuracy is 0 throughout
        found[f"{what}_mean"] = _interval([statistics.fmean(e) for e in each])
        found[f"{what}_max"] = _interval([max(e) for e in each])
        found[f"{what}_narrowest"] = _interval(
            [
                statistics.fmean(e[: len(e) // _widths(by[ours, s])])
                for e, s in zip(each, seeds, strict=True)
            ]
        )
    return found


def _widths(points: list[dict]) -> int:
    return len({p["width"] for p in points})


def _interval(values: list[float]) -> dict:
    """Mean over seeds and half the width of its 95 % t-interval, which one seed does not have."""
    n = len(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else None
    return {
        "mean": round(statistics.fmean(values), 4),
        "plus_minus": None if half is None else round(half, 4),
    }


def main() -> None:
    """Measure what is missing, write the record after every network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=list(NETWORKS), metavar="name", help=", ".join(NETWORKS)
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=1024, help="test images")
    parser.add_argument("--out", default="bench/results/family.json")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NETWORKS]:
        parser.error(f"unknown network {unknown[0]!r}: use {', '.join(NETWORKS)}")
    record = read_json(options.out) if Path(options.out).exists() else {"runs": []}
    runs, counts = record["runs"], resnet34(record)
    for seed in range(options.seeds):
        for name in options.names:
            if any((r["name"], r["seed"]) == (name, seed) for r in runs):
                continue
            runs.append(measure(name, seed, options.n))
            write_json(
                options.out,
                {
                    "command": "python -m bench.family",
                    "attack": default_attack(8 / 255).describe(),
                    "versions": versions(),
                    "gains": _all_gains(runs),
                    "resnet34": counts,
                    "runs": runs,
                },
            )
            last = runs[-1]
            print(
                name,
                "seed",
                seed,
                *(
                    f"{p['lam']:g}/{p['width']:g}: {p['clean']:.1%} {p['robust']:.1%}"
                    for p in last["points"]
                ),
                flush=True,
            )


def _all_gains(runs: list[dict]) -> dict:
    done = {r["name"] for r in runs if r["seed"] == 0}
    return {
        f"{ours} over {base}": gains(runs, ours, base)
        for ours, base in PAIRS
        if {ours, base} <= done
    }


if __name__ == "__main__":
    main()
