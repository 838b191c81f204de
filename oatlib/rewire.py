"""Sparse training whose connections move: drop the smallest weights, grow where training pushes hardest (FLOATS).

After every epoch each layer drops a share of its smallest weights; as many are grown again, more of them in layers
whose kept weights have much momentum, and inside a layer where the momentum of absent weights is largest. The total
stays exact. With two experts each one's mask moves by itself.
Source: sparse momentum (Dettmers and Zettlemoyer 2019), as used by the dynamic network rewiring of FLOATS' authors.

Their public code differs in four points. It takes the momentum of layers before the drop, not after it.
Growth that a layer has no room for is shared equally among the others, not in proportion. It limits the
growth of nearly dense layers. Its initial masks are random in number, and its total is smoothed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers.unit import Unit
from .nets import Network

FIRST_RATE = 0.5  # share of the kept weights that is dropped at first; falls linearly to 0 over training, as published
ROOM = 0.99  # share of the free places of a layer that may be filled at once, as long as there are others


def masked_units(net: Network) -> list[Unit]:
    """The units whose conv is masked."""
    return [part for part in net.modules() if isinstance(part, Unit) and part.masks is not None]


def clear(net: Network) -> None:
    """Set to 0 what no mask keeps: the optimiser's step is dense."""
    for unit in masked_units(net):
        unit.masks.clear(unit.conv.weight)


@torch.no_grad()
def rewire(net: Network, optimizer: torch.optim.Optimizer, done: float) -> None:
    """Move the masks, once; `done` is the share of training behind us. Masks that are fixed or full stay."""
    units = [unit for unit in masked_units(net) if unit.masks.moves and net.spec.density < 1]
    for path in range(len(units[0].masks.each) if units else 0):
        momenta = [_sizes(unit, _momentum(optimizer, unit.conv.weight)) for unit in units]
        dropped = sum(_drop(unit, path, FIRST_RATE * (1 - done)) for unit in units)
        shares = [_mean(m[unit.masks.of(path)]) for m, unit in zip(momenta, units, strict=True)]
        free = [(~unit.masks.of(path)).sum().item() for unit in units]
        room = [int(ROOM * places) for places in free]
        room = room if sum(room) >= dropped else free
        for unit, momentum, wanted in zip(units, momenta, allocate(dropped, shares, room), strict=True):
            _grow(unit.masks.of(path), momentum, wanted)


def allocate(total: int, shares: list[float], room: list[int]) -> list[int]:
    """Split `total` into whole numbers in proportion to `shares`, none above its `room`; what overflows goes on to the
    others. They add up to `total`, or to all the room there is."""
    given, left = [0] * len(room), min(total, sum(room))
    while left:
        free = [i for i in range(len(room)) if given[i] < room[i]]
        whole = sum(shares[i] for i in free)
        wanted = [int(left * shares[i] / whole) if whole > 0 else left // len(free) for i in free]
        if not any(wanted):  # less than one each
            wanted[max(range(len(free)), key=lambda k: shares[free[k]])] = 1
        for i, more in zip(free, wanted, strict=True):
            more = min(more, room[i] - given[i], left)
            given[i], left = given[i] + more, left - more
    return given


def _drop(unit: Unit, path: int, rate: float) -> int:
    """Take the smallest weights of a layer out of a mask, and clear them unless the other expert keeps them."""
    keep, size = unit.masks.of(path), _sizes(unit, unit.conv.weight)
    kept = keep.sum().item()
    number = min(math.ceil(rate * kept), kept - 1)  # never the last one
    _turn(keep, size.masked_fill(~keep, torch.inf).flatten().argsort()[:number])
    unit.masks.clear(unit.conv.weight)
    return number


def _grow(keep: Tensor, momentum: Tensor, number: int) -> None:
    _turn(keep, momentum.masked_fill(keep, -torch.inf).flatten().argsort(descending=True)[:number])


def _turn(keep: Tensor, places: Tensor) -> None:
    """Flip entries of a mask, given by their places in its flattened form."""
    flat = keep.flatten().clone()
    flat[places] = ~flat[places]
    keep.copy_(flat.view(keep.shape))


def _sizes(unit: Unit, values: Tensor) -> Tensor:
    """What the entries of a mask are ranked by: |value|, or the length of each input channel; shaped like a mask."""
    shape = unit.masks.clean.shape
    return values.abs() if shape == values.shape else values.pow(2).sum((0, 2, 3), keepdim=True).sqrt()


def _momentum(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    buffer = optimizer.state[weight].get("momentum_buffer")
    return torch.zeros_like(weight) if buffer is None else buffer


def _mean(values: Tensor) -> float:
    return values.mean().item() if values.numel() else 0.0
