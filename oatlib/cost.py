"""What a setting costs: parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from .layers.head import Head
from .layers.setting import Width
from .layers.unit import Unit
from .nets import Network


@dataclass(frozen=True)
class Cost:
    """Parameters of the network with all its dials (`stored`), of those that one width uses (`active`), of the plain
    network `net.at(lam, width)` (`plain`), and that one's multiply-adds for one image (`macs`)."""

    width: float
    stored: int
    active: int
    plain: int
    macs: int


def cost(net: Network, lam: float | None = None, width: float | None = None) -> Cost:
    """Count for one setting. λ changes no count, so without it the first stop is taken."""
    plain = net.at(net.spec.stops[0] if lam is None else lam, width)
    where, parts = net.width(width), [part for part in net.modules() if isinstance(part, (Unit, Head))]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain(next(net.parameters()).new_zeros(1, *net.spec.shape))
    return Cost(
        where.share,
        stored=sum(p.numel() for p in net.parameters()),
        active=sum(_active(part, where) for part in parts),
        plain=sum(b.numel() for b in plain.buffers()),
        macs=counter.get_total_flops() // 2,
    )


def _active(part: Unit | Head, width: Width) -> int:
    """Parameters that one width uses: slices of conv and FiLM, its own BatchNorms (both branches), its own head."""
    if isinstance(part, Head):
        return sum(p.numel() for p in part.parts(width))
    channels = part.channels(width)
    count = 0 if part.conv is None else part.conv.sliced(width).numel()
    if part.norm is not None:
        count += sum(p.numel() for p in part.norm.at(width, channels).parameters())
    if part.film is not None:
        count += 2 * channels * (part.film.hidden.in_features + 1) + 2 * channels * (2 * channels + 1)
    return count
