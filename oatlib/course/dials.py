"""Measurements of lesson 05 that take minutes: dials, dedicated networks, dials without a part.

Each function returns what its record in `data/course` holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..data.splits import Split
from ..evaluation.evaluate import evaluate
from ..explorer.shipped import FOLDER
from ..networks.network import Network, load
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import OAT_STOPS, build
from .parts import DialNet

N = 512  # validation images
KEPT = ("lam", "n", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
ATTACK = Suite(budget="quick")
EPOCHS, SEEDS = 5, (0, 1, 2)  # of `oat_arms`
ARMS: dict[str, dict[str, Any]] = {
    "all of OAT": {},
    "λ = 0 and λ = 1 only": {"at_last_stop": 1.0},
    "no FiLM": {"film": False},
    "one BatchNorm": {"dual": False},
    "neither": {"film": False, "dual": False},
}


def dial_points(
    net: Network, data: Data, lams: Sequence[float] | None = None, n: int = N, seed: int = 0
) -> list[dict]:
    """Measure a network along its dial by the quick suite, on validation images.

    Args:
        net: The network.
        data: The data set.
        lams: Values of λ. None: the stops of the network.
        n: Number of images.
        seed: Seed of the attack.

    Returns:
        One dict for each λ: lam, n, clean and robust accuracy with their 95 % intervals.
    """
    panel = data.val.panel(min(n, len(data.val)))
    table = evaluate(net, panel, ATTACK, lams, seed=seed, progress=False)
    return [{key: getattr(result, key) for key in KEPT} for result in table]


def two_ends(net: DialNet, split: Split, eps: float) -> dict[str, float]:
    """Measure a network in training: clean at λ = 0, and at λ = 1 under a short attack.

    Args:
        net: The network. It is in eval mode afterwards.
        split: The images.
        eps: Radius of the attack.

    Returns:
        Two accuracies in percent. The second one is an upper bound of robust accuracy.
    """
    first, last = (torch.full((len(split),), stop) for stop in (0, len(net.stops) - 1))
    net.eval()
    x_adv = PGD(eps, 5)(lambda x: net(x, last), split.x, split.y, torch.Generator().manual_seed(0))
    with torch.no_grad():
        clean = (net(split.x, first).argmax(1) == split.y).double().mean().item()
        attacked = (net(x_adv, last).argmax(1) == split.y).double().mean().item()
    return {"clean, λ = 0": 100 * clean, "PGD-5, λ = 1 (an upper bound)": 100 * attacked}


def six_dedicated() -> dict:
    """Train one OAT network, and a dedicated network for each of its λ."""
    data = load_data("shapes", seed=0)

    def trained(recipe: str, **options) -> list[dict]:
        net = build(recipe, data, seed=0, **options)
        train(net, data, "fast", seed=0, progress=False)
        return dial_points(net, data)

    six = [trained("standard")[0]]
    six += [trained("pgd-at", lam=lam)[0] for lam in OAT_STOPS[1:]]
    six = [point | {"lam": lam} for point, lam in zip(six, OAT_STOPS, strict=True)]
    return {"oat": trained("oat"), "six": six} | _about("fast")


def oat_baselines() -> dict:
    """Measure the shipped networks that a dial competes with."""
    data = load_data("shapes", seed=0)
    tenths = [tenth / 10 for tenth in range(11)]
    lams = {"standard": None, "pgd-at": None, "blend": tenths}
    nets = {name: load(FOLDER / f"{name}.safetensors") for name in lams}
    points = {name: dial_points(net, data, lams[name]) for name, net in nets.items()}
    return {"points": points} | _about("fast")


def oat_arms() -> dict:
    """Train OAT whole and without a part, with the backbone of the learner's network."""
    data = load_data("shapes", seed=0)

    def arm(seed: int, at_last_stop: float = 0.3, **options) -> list[dict]:
        net = build("oat", data, backbone="plain", seed=seed, **options)
        preset = Preset(epochs=EPOCHS, at_last_stop=at_last_stop)
        train(net, data, preset, seed, progress=False)
        return dial_points(net, data)

    arms = {name: [arm(seed, **options) for seed in SEEDS] for name, options in ARMS.items()}
    about = _about(f"fast, {EPOCHS} epochs") | {"seeds": list(SEEDS), "backbone": "plain"}
    return {"arms": arms} | about


def _about(preset: str) -> dict:
    """Return how the networks of a record were trained and measured."""
    return {"attack": str(ATTACK), "split": "val", "seed": 0, "preset": preset}
