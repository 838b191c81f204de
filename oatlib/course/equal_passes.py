"""Two trainings with the same number of forward passes: the record of lesson 02.

The plain loop keeps one learning rate and one ε. The other one is the solution of `my_training`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..evaluation.evaluate import evaluate
from ..networks.network import Network
from ..training.recipes import build
from .exercises.adversarial_training import PASSES, _at_step, _my_training

EPS, STEPS, BATCH = 8 / 255, 3, 64


def plain_loop(
    net: Network, x: torch.Tensor, y: torch.Tensor, attack: Callable, passes: int, generator
) -> None:
    """Train as `train_adversarially` does in lesson 02, for a number of passes.

    Args:
        net: The network, modified in place.
        x: Images (N, C, H, W).
        y: Labels (N,).
        attack: Called with (net, x, y, eps, steps); returns attacked images.
        passes: Largest number of images that may be sent through the network.
        generator: Source of the order of the images.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def three_steps(net, x, y):
        return attack(net, x, y, EPS, STEPS)

    spent = 0
    while True:
        for index in torch.randperm(len(x), generator=generator).split(BATCH):
            spent += (STEPS + 1) * len(index)
            if spent > passes:
                return
            _at_step(net, optimizer, x[index], y[index], three_steps, 1.0)


ARMS = {"plain loop": plain_loop, "solution of my_training": _my_training}


def at_equal_passes(seeds: int = 3) -> dict:
    """Train both ways, and measure on the validation images.

    Args:
        seeds: Number of seeds of weights, order and attacks, from 0 on.

    Returns:
        Under "rows", by name of the arm and by seed, clean accuracy and that under the quick suite.
    """
    data = load_data("shapes", seed=0)
    rows = {name: [one_of(name, seed, data) for seed in range(seeds)] for name in ARMS}
    return {"n": len(data.val), "eps": "8/255", "seeds": seeds, "passes": PASSES, "rows": rows}


def one_of(name: str, seed: int, data: Data) -> list[float]:
    """Train one network. Return its clean and its robust accuracy (quick suite)."""
    net = build("pgd-at", data, lam=1.0, backbone="plain", seed=seed)
    starts = torch.Generator().manual_seed(1000 + seed)

    def attack(net, x, y, eps, steps):
        return PGD(eps, steps, best=False)(net, x, y, starts)

    order = torch.Generator().manual_seed(seed)
    ARMS[name](net, data.train.x, data.train.y, attack, PASSES, order)
    (result,) = evaluate(net.eval(), data.val, Suite(budget="quick"), progress=False)
    return [round(result.clean, 4), round(result.robust, 4)]
