"""Sparse training with connections that move: drop the smallest weights and grow others (FLOATS).

After every epoch each layer drops a fraction of its smallest weights, and the same number is grown
again. Layers whose kept weights have much momentum get more of them. Inside a layer, the absent
weights with the largest momentum are grown. The total number of weights stays exact. With two
experts, each mask moves separately.

Source: sparse momentum (Dettmers and Zettlemoyer 2019), as used by the dynamic network rewiring of
FLOATS' authors.

Their public code differs in four points. It takes the momentum of layers before the drop, not after
it. Growth that a layer has no room for is shared equally among the others, not in proportion. It
limits the growth of nearly dense layers. Its initial masks are random in number, and its total is
smoothed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..layers.unit import Unit
from ..networks.network import Network, masked_units

# Fraction of the kept weights that is dropped at first. It falls linearly to 0 over training, as
# published.
FIRST_RATE = 0.5
# Fraction of the absent weights of a layer that may grow at once, if the other layers have room
# for the rest.
ROOM = 0.99


def clear(net: Network) -> None:
    """Set the weights that no mask keeps to 0, in place.

    The step of the optimiser is dense: it also changes masked weights.

    Args:
        net: The network.
    """
    for unit in masked_units(net):
        unit.masks.clear(unit.conv.weight)


@torch.no_grad()
def rewire(net: Network, optimizer: torch.optim.Optimizer, done: float) -> None:
    """Move the masks once. Fixed masks and masks of density 1 stay as they are.

    Args:
        net: The network, which is changed in place.
        optimizer: The optimiser of its training. The momentum comes from it.
        done: Fraction of training that is done, in [0, 1]. The drop rate falls linearly with it.
    """
    units = [unit for unit in masked_units(net) if unit.masks.moves and net.spec.density < 1]
    # One pass per mask: one, or the clean and the adversarial one.
    for path in range(len(units[0].masks.each) if units else 0):
        momenta = [_sizes(unit, _momentum(optimizer, unit.conv.weight)) for unit in units]
        # Drop in every layer.
        dropped = sum(_drop(unit, path, FIRST_RATE * (1 - done)) for unit in units)
        # Share the growth among layers by the mean momentum of the weights that they still keep.
        shares = [_mean(m[unit.masks.of(path)]) for m, unit in zip(momenta, units, strict=True)]
        free = [(~unit.masks.of(path)).sum().item() for unit in units]
        room = [int(ROOM * places) for places in free]
        room = room if sum(room) >= dropped else free
        for unit, momentum, wanted in zip(
            units, momenta, allocate(dropped, shares, room), strict=True
        ):
            _grow(unit.masks.of(path), momentum, wanted)


def allocate(total: int, shares: list[float], room: list[int]) -> list[int]:
    """Split a total into whole numbers in proportion to shares, each within its upper bound.

    What exceeds the bound of one part goes to the others.

    Args:
        total: The number to split.
        shares: Proportions, not negative. They do not have to sum to 1. If all are 0, the split is
            equal.
        room: Upper bound of each part, for instance the number of absent weights of a layer.

    Returns:
        The parts. They add up to `total`, or to the sum of `room` if that is smaller.

    Example:
        >>> allocate(10, [3.0, 1.0, 1.0], [4, 10, 10])
        [4, 3, 3]
    """
    given, left = [0] * len(room), min(total, sum(room))
    while left:
        free = [i for i in range(len(room)) if given[i] < room[i]]
        whole = sum(shares[i] for i in free)
        wanted = [int(left * shares[i] / whole) if whole > 0 else left // len(free) for i in free]
        if not any(wanted):  # all parts round down to 0: give one to the largest share
            wanted[max(range(len(free)), key=lambda k: shares[free[k]])] = 1
        for i, more in zip(free, wanted, strict=True):
            more = min(more, room[i] - given[i], left)
            given[i], left = given[i] + more, left - more
    return given


def _drop(unit: Unit, path: int, rate: float) -> int:
    """Drop the smallest weights of a layer from a mask, and return how many.

    Dropped weights are set to 0 unless the other expert keeps them.
    """
    keep, size = unit.masks.of(path), _sizes(unit, unit.conv.weight)
    kept = keep.sum().item()
    number = min(math.ceil(rate * kept), kept - 1)  # keep at least one
    _turn(keep, size.masked_fill(~keep, torch.inf).flatten().argsort()[:number])
    unit.masks.clear(unit.conv.weight)
    return number


def _grow(keep: Tensor, momentum: Tensor, number: int) -> None:
    """Add the `number` absent entries with the largest momentum to a mask."""
    _turn(keep, momentum.masked_fill(keep, -torch.inf).flatten().argsort(descending=True)[:number])


def _turn(keep: Tensor, places: Tensor) -> None:
    """Flip entries of a mask, given by their indices in the flattened mask."""
    flat = keep.flatten().clone()
    flat[places] = ~flat[places]
    keep.copy_(flat.view(keep.shape))


def _sizes(unit: Unit, values: Tensor) -> Tensor:
    """Return the values that rank the entries of a mask, in the shape of the mask.

    For single weights this is |value|, for input channels the L2 norm of the channel.
    """
    shape = unit.masks.clean.shape
    return (
        values.abs() if shape == values.shape else values.pow(2).sum((0, 2, 3), keepdim=True).sqrt()
    )


def _momentum(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """The momentum of a weight, or zeros before the first step of the optimiser."""
    buffer = optimizer.state[weight].get("momentum_buffer")
    return torch.zeros_like(weight) if buffer is None else buffer


def _mean(values: Tensor) -> float:
    """The mean as a float, 0 for no values."""
    return values.mean().item() if values.numel() else 0.0
