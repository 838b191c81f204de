"""OAT with one BatchNorm, whose statistics are taken afresh at every λ.

`python -m bench.fresh_norm [--seeds 0 1 2] [--n 1024] [--out FILE]`. A network with FiLM and one
BatchNorm for all λ keeps one mean and one variance for each channel. This bench asks whether
that is all it lacks. It trains such a network with the preset `fast` on `shapes`, takes the
statistics again at each λ stop, and measures it. At λ = 0 they come from clean training images, at
other λ from attacked ones. No weight changes.
"""

from __future__ import annotations

import argparse
import copy

import torch
from torch import Tensor, nn

import oatlib
from oatlib.record import versions, write_json

from .once_for_all import EPS, ROW_KEYS
from .trained import trained

NETWORK = "oat dual=false"
SYSTEM = "oat, one BatchNorm, fresh statistics"
IMAGES, STEPS = 2048, 3  # training images for the statistics, and steps of the attack on them


def with_statistics(net: oatlib.Network, lam: float, x: Tensor) -> oatlib.Network:
    """Return a copy of a network whose BatchNorm statistics are those of some images at λ."""
    twin = copy.deepcopy(net)
    for norm in twin.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
    twin.train()
    with torch.no_grad():
        for batch in x.split(256):
            twin(batch, lam)
    return twin.eval()


def measure(seed: int, n: int, attack) -> dict:
    """Train one network, and measure it at its stops with fresh statistics."""
    net, data = trained(NETWORK, seed)
    panel, test = data.train.panel(IMAGES), data.test.panel(n)
    points = []
    for lam in net.spec.stops:
        generator = torch.Generator().manual_seed(seed)
        x = panel.x
        if lam > 0:
            x = oatlib.PGD(EPS, STEPS)(net.at(lam), panel.x, panel.y, generator)
        (result,) = oatlib.evaluate(
            with_statistics(net, lam, x), test, attack, [lam], seed=seed, progress=False
        )
        points.append({key: getattr(result, key) for key in ROW_KEYS})
    return {"system": SYSTEM, "seed": seed, "points": points}


def main() -> None:
    """Measure all seeds and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=1024, help="test images")
    parser.add_argument("--out", default="bench/results/fresh_norm.json")
    options = parser.parse_args()
    attack = oatlib.Suite(EPS, budget="quick")
    about = {"command": "python -m bench.fresh_norm", "n": options.n, "attack_text": str(attack)}
    runs = []
    for seed in options.seeds:
        runs.append(measure(seed, options.n, attack))
        write_json(options.out, about | {"versions": versions(), "runs": runs})
        told = "  ".join(
            f"{p['lam']:g}: {p['clean']:.1%} {p['robust']:.1%}" for p in runs[-1]["points"]
        )
        print(f"seed {seed}: {told}", flush=True)


if __name__ == "__main__":
    main()
