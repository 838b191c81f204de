"""Simulated papers for lesson 07: tables of runs, with and without a real effect.

A paper compares two methods. Each was trained with a few seeds, and every run has many
sub-networks. The truth is known, so a procedure that reads such tables can be judged. How often
does it claim an effect that is not there? How many real effects does it find?
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SEEDS = 4  # runs of each method
FEWEST, MOST = 6, 24  # sub-networks
SMALLEST_NOISE, LARGEST_NOISE = 0.5, 4.0  # points: spread of a sub-network between two trainings
COMMON = 0.25  # fraction of the variance that all sub-networks of a run share
UNSTABLE, UNSTABLE_NOISE = 8, 6.0  # one sub-network in 8 spreads 6 times as far as the others
ON_ALL, ON_SOME = 1.1, 3.0  # real effects, in spreads: on all sub-networks, or on a quarter


def paper(generator: torch.Generator, effect: bool) -> tuple[Tensor, Tensor]:
    """Simulate the results of one paper.

    The number of sub-networks and the size of the noise differ from paper to paper. In one half of
    the papers a real effect is the same on all sub-networks. In the other half it is larger, and on
    a quarter of the sub-networks only.

    Args:
        generator: Source of randomness.
        effect: Whether the first method is really better.

    Returns:
        Two tables in points, (SEEDS, sub-networks): of the new method, and of the base.
    """
    networks = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
    ratio = LARGEST_NOISE / SMALLEST_NOISE
    noise = SMALLEST_NOISE * ratio ** torch.rand((), generator=generator).item()
    spreads = torch.full((networks,), noise)
    order = torch.randperm(networks, generator=generator)
    spreads[order[: max(1, networks // UNSTABLE)]] *= UNSTABLE_NOISE
    level = 30 + 60 * torch.rand(networks, generator=generator)
    ours, base = (level + spreads * _deviations(networks, generator) for _ in range(2))
    everywhere = torch.rand((), generator=generator) < 0.5
    some = torch.randperm(networks, generator=generator)[: max(1, networks // 4)]
    if effect and everywhere:
        ours = ours + ON_ALL * noise
    elif effect:
        ours[:, some] += ON_SOME * noise
    return ours, base


def _deviations(networks: int, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers (SEEDS, sub-networks), correlated within a run."""
    common = torch.randn(SEEDS, 1, generator=generator)
    alone = torch.randn(SEEDS, networks, generator=generator)
    return math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * alone
