"""`oatlib.check` on honest networks and on frauds, over seeds: `python -m bench.honest [--seeds 5]`.

Trains pgd-at, oat, oats and standard with the `fast` preset, checks the honest ones at the λ below and the planted
frauds of `oatlib.lab.frauds`. A false alarm is a question that an honest network raises; a miss is a fraud that is not
caught by its name. What is in the record already is not measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import oatlib
from oatlib.lab.frauds import frauds
from oatlib.record import read_json, versions, write_json

HONEST = {"pgd-at": ({"lam": 1.0}, (1.0,)), "oat": ({}, (0.2, 0.4, 1.0)), "oats": ({}, (0.2, 1.0))}


def measure(seed: int, n: int) -> list[dict]:
    """All checks of one seed."""
    data = oatlib.load_data("shapes", seed=seed)
    nets = {name: oatlib.build(name, data, seed=seed, **options) for name, (options, _) in HONEST.items()}
    nets["standard"] = oatlib.build("standard", data, seed=seed)
    for net in nets.values():
        oatlib.train(net, data, seed=seed, progress=False)
    rows = []
    for name, (_, lams) in HONEST.items():
        for lam in lams:
            report = oatlib.check(nets[name], data, lam, n=n, seed=seed, progress=False)
            rows.append(_row(name, report, seed) | {"lam": lam, "kind": "honest", "fault": bool(report.raised)})
            print(rows[-1], flush=True)
    for name, fraud in frauds(nets["standard"], nets["oat"], data, seed).items():
        report = oatlib.check(fraud.f, fraud.split, eps=fraud.eps, claim=fraud.claim, n=n, seed=seed, progress=False,
                              **fraud.also)  # fmt: skip
        missed = not {*fraud.caught} <= {check.name for check in report.raised}
        rows.append(_row(name, report, seed) | {"claim": fraud.claim, "kind": "fraud", "fault": missed})
        print(rows[-1], flush=True)
    return rows


def _row(name: str, report, seed: int) -> dict:
    return {"name": name, "seed": seed, "n": report.n, "clean": report.clean, "robust": report.robust,
            "claim": report.claim, "raised": {check.name: check.found for check in report.raised}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n", type=int, default=128, help="validation images")
    parser.add_argument("--out", default="bench/results/honest.json")
    options = parser.parse_args()
    rows = read_json(options.out)["rows"] if Path(options.out).exists() else []
    for seed in range(options.seeds):
        if not any(row["seed"] == seed for row in rows):
            rows += measure(seed, options.n)
            faults = sum(row["fault"] for row in rows)
            write_json(options.out, {"command": "python -m bench.honest", "faults": faults, "versions": versions(),
                                     "rows": rows})  # fmt: skip
            print(f"seed {seed}: {faults} faults so far", flush=True)


if __name__ == "__main__":
    main()
