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
    if not units:
        return
    rate = FIRST_RATE * (1 - done)
    # One pass per mask: one, or the clean and the adversarial one.
    for path in range(len(units[0].masks.each)):
        momenta = [_sizes(unit, _momentum(optimizer, unit.conv.weight)) for unit in units]
        # Drop in every layer.
        dropped = sum(_drop(unit, path, rate) for unit in units)
        # Share the growth among layers by the mean momentum of the weights that they still keep.
        masks = [unit.masks.mask_for(path) for unit in units]
        shares = [_mean(momentum[mask]) for momentum, mask in zip(momenta, masks, strict=True)]
        absent = [(~mask).sum().item() for mask in masks]
        room = [int(ROOM * number) for number in absent]
        if sum(room) < dropped:
            room = absent
        numbers = allocate(dropped, shares, room)
        for mask, momentum, number in zip(masks, momenta, numbers, strict=True):
            _grow(mask, momentum, number)


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
    parts = [0] * len(room)
    left = min(total, sum(room))
    while left > 0:
        # Split what is left among the parts that have room.
        free = [i for i in range(len(room)) if parts[i] < room[i]]
        sum_of_shares = sum(shares[i] for i in free)
        if sum_of_shares > 0:
            wanted = {i: int(left * shares[i] / sum_of_shares) for i in free}
        else:
            wanted = {i: left // len(free) for i in free}
        if not any(wanted.values()):  # all round down to 0: give one to the largest share
            wanted[max(free, key=lambda i: shares[i])] = 1
        for i, number in wanted.items():
            number = min(number, room[i] - parts[i], left)
            parts[i] += number
            left -= number
    return parts


def _drop(unit: Unit, path: int, rate: float) -> int:
    """Drop the smallest weights of a layer from a mask, and return how many.

    Dropped weights are set to 0 unless the other expert keeps them.
    """
    keep = unit.masks.mask_for(path)
    n_kept = keep.sum().item()
    number = min(math.ceil(rate * n_kept), n_kept - 1)  # keep at least one
    # Absent weights count as infinitely large, so they are not among the smallest.
    sizes = _sizes(unit, unit.conv.weight).masked_fill(~keep, torch.inf)
    _flip(keep, sizes.flatten().argsort()[:number])
    unit.masks.clear(unit.conv.weight)
    return number


def _grow(keep: Tensor, momentum: Tensor, number: int) -> None:
    """Add the `number` absent entries with the largest momentum to a mask."""
    absent_momentum = momentum.masked_fill(keep, -torch.inf).flatten()
    _flip(keep, absent_momentum.argsort(descending=True)[:number])


def _flip(keep: Tensor, index: Tensor) -> None:
    """Flip entries of a mask, given by their indices in the flattened mask."""
    flat = keep.flatten().clone()
    flat[index] = ~flat[index]
    keep.copy_(flat.view(keep.shape))


def _sizes(unit: Unit, values: Tensor) -> Tensor:
    """Return the values that rank the entries of a mask, in the shape of the mask.

    For single weights this is |value|, for input channels the L2 norm of the channel.
    """
    if unit.masks.clean.shape == values.shape:
        return values.abs()
    return values.pow(2).sum((0, 2, 3), keepdim=True).sqrt()


def _momentum(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """Return the momentum of a weight, or zeros before the first step of the optimiser."""
    buffer = optimizer.state[weight].get("momentum_buffer")
    return torch.zeros_like(weight) if buffer is None else buffer


def _mean(values: Tensor) -> float:
    """Return the mean as a float, 0 for no values."""
    return values.mean().item() if values.numel() else 0.0
