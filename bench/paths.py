"""Which way leads from the clean end of `blend` to its robust end? `python -m bench.paths [seeds]
[--out FILE]`

Each path is walked in 21 steps on validation images (PGD-10, n = 512). Paths are compared by robust
accuracy at clean accuracy >= 98, 95 and 90 %. Then, on test images: how much of its way a network
makes in the largest of ten moves of λ, and of the fitted slider.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from itertools import pairwise

import torch
from torch import nn

import oatlib
from oatlib.evaluation.baselines import LEVELS, percents, robust_at
from oatlib.layers.dual_bn import DualBN
from oatlib.record import versions, write_json

STEPS = 21


def folded(net: oatlib.Network, share) -> nn.Module:
    """Interpolated folded weights; `share(k, t)` is how far unit k of the network (k in [0, 1]) has
    got at t.
    """
    plain, robust = net.at(0.0), net.at(1.0)
    parts = [(a, b) for a, b in zip(plain.modules(), robust.modules(), strict=True) if a._buffers]
    for k, (a, b) in enumerate(parts):
        for name, buffer in a._buffers.items():
            if buffer is not None:
                buffer.lerp_(b._buffers[name], share(k / (len(parts) - 1)))
    return plain


def statistics_of_both(net: oatlib.Network, t: float, power: float) -> nn.Module:
    """Interpolated BatchNorms: mean, w, b, and the variance to some power (1/2: the standard
    deviation).
    """
    twin = copy.deepcopy(net)
    for pair in (part for part in twin.modules() if isinstance(part, DualBN)):
        clean, adv = pair.clean.state_dict(), pair.adv.state_dict()
        for name, value in adv.items():
            if value.is_floating_point():
                p = power if name == "running_var" else 1.0
                value.copy_(torch.lerp(clean[name] ** p, value**p, t) ** (1 / p))
    return twin.at(1.0)


def _window(k: float, t: float) -> float:
    """Units move one after the other, each over half of the way."""
    return min(1.0, max(0.0, 2 * t - k))


PATHS = {
    "folded weights, all units at once": lambda net, t: net.at(t),
    "BatchNorm mean and variance": lambda net, t: statistics_of_both(net, t, 1.0),
    "BatchNorm mean and deviation": lambda net, t: statistics_of_both(net, t, 0.5),
    "folded weights, first units first": lambda net, t: folded(net, lambda k: _window(k, t)),
    "folded weights, last units first": lambda net, t: folded(net, lambda k: _window(1 - k, t)),
}


@torch.no_grad()
def walk(net: oatlib.Network, panel, way) -> list[tuple[float, float]]:
    """(clean, robust) at every step of a path."""
    points = []
    for i in range(STEPS):
        found = oatlib.evaluate(
            way(net, i / (STEPS - 1)), panel, oatlib.PGD(8 / 255, 10), progress=False
        )[0]
        points.append((found.clean, found.robust))
    return points


def largest_move(net: oatlib.Network, panel, slider: bool) -> float:
    """The share of the whole way (clean lost plus robust gained) that is made in the largest of ten
    equal moves.
    """
    lams = [net.lam(i / 10) if slider else i / 10 for i in range(11)]
    table = oatlib.evaluate(net, panel, oatlib.PGD(8 / 255, 10), lams, progress=False)
    way = [r.robust - r.clean for r in table]
    return max(b - a for a, b in pairwise(way)) / (way[-1] - way[0])


def trained(recipe: str, seed: int):
    """A network of the `fast` preset, and its data."""
    data = oatlib.load_data("shapes", seed=seed)
    net = oatlib.build(recipe, data, seed=seed)
    oatlib.train(net, data, seed=seed, progress=False)
    return net, data


def _means(seeds: list[list[float | None]]) -> list[float | None]:
    """The mean over the seeds for each clean accuracy, None where a seed does not reach it."""
    return [
        None if None in values else round(statistics.fmean(values), 4)
        for values in zip(*seeds, strict=True)
    ]


def main() -> None:
    """Train, walk, fit sliders, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--out", default="bench/results/paths.json")
    options = parser.parse_args()
    runs: dict[str, list] = {name: [] for name in PATHS}
    moves: list[dict] = []
    for seed in range(options.seeds):
        for recipe in ("blend", "oat"):
            net, data = trained(recipe, seed)
            oatlib.fit_slider(net, data, n=options.n, progress=False)
            panel = data.test.panel(options.n)
            found = {
                kind: largest_move(net, panel, kind == "slider") for kind in ("lambda", "slider")
            }
            moves.append(
                {"recipe": recipe, "seed": seed, "slider": net.slider, "largest_move": found}
            )
            print(moves[-1], flush=True)
            for name, way in PATHS.items() if recipe == "blend" else ():
                points = walk(net, data.val.panel(options.n), way)
                robust = [robust_at(points, level) for level in LEVELS]
                runs[name].append({"seed": seed, "robust_at": robust, "points": points})
                print(
                    f"seed {seed} {name}: robust at clean >= 98 / 95 / 90 %: {percents(robust)} ",
                    *(f"{c:.3f}/{r:.3f}" for c, r in points[::2]),
                    flush=True,
                )
        about = {
            "command": "python -m bench.paths",
            "n": options.n,
            "versions": versions(),
            "attack": oatlib.PGD(8 / 255, 10).describe(),
        }
        mean = {name: _means([r["robust_at"] for r in found]) for name, found in runs.items()}
        write_json(
            options.out, about | {"mean_robust_at": mean, "largest_moves": moves, "paths": runs}
        )


if __name__ == "__main__":
    main()
