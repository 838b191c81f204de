"""New widths for a network that was trained at any width (US-SNN): all they need is statistics of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .data import Data
from .guard import frozen
from .nets import Network

IMAGES, BATCH = 1024, 256  # training images that statistics are taken from, and how many at a time


def calibrate(net: Network, data: Data, widths, images: int = IMAGES) -> Network:
    """The same weights with `widths` (shares of the channels; 1 is always kept) on the dial, statistics taken afresh.

    For networks whose widths share w and b of their BatchNorms: us-snn. The given network stays as it is.
    """
    if net.spec.norm_sharing != "affine":
        raise ValueError(
            f"calibrate adds widths to networks that were trained at any width, such as 'us-snn'; {net.spec.recipe!r} "
            "has BatchNorms that only know the widths it was trained at"
        )
    twin = Network(replace(net.spec, widths=_shares(widths))).to(next(net.parameters()).device)
    twin.trained = list(net.trained)
    known, here, there = net.state_dict(), _last(twin), _last(net)
    for name, tensor in twin.state_dict().items():
        if ".pairs." not in name or here in name:  # the last pair, of the full width, holds the shared w and b
            tensor.copy_(known[name.replace(here, there)])
    take_statistics(twin, data, images)
    return twin


def _last(net: Network) -> str:
    return f".pairs.{len(net.spec.widths) - 1}."


def _shares(widths) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(w) for w in widths} | {1.0}))  # Network checks their range
    except (TypeError, ValueError):
        raise ValueError(f"widths must be a list of shares such as [0.3, 0.6], got {widths!r}") from None


@torch.no_grad()
def take_statistics(net: Network, data: Data, images: int = IMAGES) -> None:
    """Replace the BatchNorm statistics of every width by averages over clean training images; on error nothing."""
    if net.spec.stops != (0.0,):
        raise ValueError("statistics are taken from clean images: only for networks with the one λ stop 0")
    split = data.train.panel(min(images, len(data.train)))
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [bn.momentum for bn in norms]
    with frozen(net):  # puts modes and statistics back, whatever happens
        try:
            net.train()
            for bn in norms:
                bn.reset_running_stats()
                bn.momentum = None  # a plain average over the batches
            for share in net.spec.widths:
                for x in split.x.split(BATCH):
                    net(x, 0.0, share)
        finally:
            for bn, momentum in zip(norms, momenta, strict=True):
                bn.momentum = momentum
        taken = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for name, buffer in net.named_buffers():
        buffer.copy_(taken[name])
