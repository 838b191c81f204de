"""What a setting costs: parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .layers.folded import Folded
from .layers.head import FoldedHead, Head
from .layers.setting import Width
from .layers.unit import Unit
from .nets import Network
from .rewire import masked_units


@dataclass(frozen=True)
class Cost:
    """Parameters of the network with all its dials (`stored`), of those that one setting uses (`active`), of the plain
    network `net.at(lam, width)` (`plain`) and of those the ones that are not 0; and that one's multiply-adds for one
    image, all (`macs`) and without those by 0 (`nonzero_macs`). Weights that masks leave out are neither stored nor
    active; they are zeros of the plain network, where a machine must know how to skip them."""

    width: float
    stored: int
    active: int
    plain: int
    nonzero: int
    macs: int
    nonzero_macs: int


@torch.no_grad()
def cost(net: Network, lam: float | None = None, width: float | None = None) -> Cost:
    """Count for one setting. Without λ it is the first stop. λ makes a difference to networks of two experts, to
    mixed outputs (two passes between the ends), and to what is 0 where noise also falls on masked weights."""
    lam = net.spec.stops[0] if lam is None else lam
    where = net.check(lam, width)[1]
    plain = net.at(lam, width)
    numbers = [b for b in plain.buffers() if b.is_floating_point()]
    dense, nonzero = _multiply_adds(plain, next(net.parameters()).new_zeros(1, *net.spec.shape))
    absent = sum((~unit.masks.union()).expand_as(unit.conv.weight).sum().item() for unit in masked_units(net))
    return Cost(
        where.share,
        stored=sum(p.numel() for p in net.parameters()) - absent,
        active=sum(_active_at(member, own_lam, where.share) for member, own_lam in net.members(lam)),
        plain=sum(b.numel() for b in numbers),
        nonzero=sum(b.count_nonzero().item() for b in numbers),
        macs=dense,
        nonzero_macs=nonzero,
    )


def _multiply_adds(plain: nn.Module, image: torch.Tensor) -> tuple[int, int]:
    """Of convs and linear maps, for one image: every weight once per output position; all, and those not by 0."""
    counts = []

    def look(part, _, out):
        if part.weight is not None:
            positions = out[0, 0].numel()
            counts.append((part.weight.numel() * positions, part.weight.count_nonzero().item() * positions))

    hooks = [p.register_forward_hook(look) for p in plain.modules() if isinstance(p, (Folded, FoldedHead))]
    plain(image)
    for hook in hooks:
        hook.remove()
    return sum(c[0] for c in counts), sum(c[1] for c in counts)


def _active_at(net: Network, lam: float, width: float) -> int:
    """Parameters of one network that a setting uses."""
    (mix, _), where = net.check(lam, width)
    paths = {net.paths[stop] for stop in mix[0].nonzero()[:, 0].tolist()}
    return sum(_active(part, where, paths) for part in net.modules() if isinstance(part, (Unit, Head)))


def _active(part: Unit | Head, width: Width, paths: set[int]) -> int:
    """Parameters that one setting uses: slices of conv and FiLM, its own BatchNorms (both branches), its own head."""
    if isinstance(part, Head):
        return sum(p.numel() for p in part.parts(width))
    channels = part.channels(width)
    count = 0 if part.noise is None else 1
    if part.conv is not None:
        count += _kept(part, width, paths)
    if part.norm is not None:
        count += sum(p.numel() for p in part.norm.at(width, channels).parameters())
    if part.film is not None:
        count += 2 * channels * (part.film.hidden.in_features + 1) + 2 * channels * (2 * channels + 1)
    return count


def _kept(part: Unit, width: Width, paths: set[int]) -> int:
    """Weights of a conv at a width that the masks of some paths keep."""
    if part.masks is None:
        return part.conv.sliced(width).numel()
    keep = torch.stack([part.masks.of(path) for path in paths]).any(0).expand_as(part.conv.weight)
    return part.conv.sliced(width, keep).sum().item()
