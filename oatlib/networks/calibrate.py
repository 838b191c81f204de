"""New widths for a network that was trained at any width (US-SNN), without training.

Only the BatchNorm statistics of a new width are missing. They are measured on training images.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .._check import of_type
from ..attacks.freeze import frozen
from ..data.load import Data
from .network import Network, check_network

# Number of training images that statistics are taken from, and how many of them per forward.
IMAGES, BATCH = 1024, 256


def calibrate(net: Network, data: Data, widths, images: int = IMAGES) -> Network:
    """Return a network with the same weights and new widths, and measure its BatchNorm statistics.

    It works for networks whose widths share the weight and bias of their BatchNorms, such as
    `us-snn`.

    Args:
        net: The trained network. It is not changed.
        data: The data set. Statistics are taken from its training images.
        widths: Fractions of the channels, in (0, 1]. The full width 1 is always added.
        images: Number of training images.

    Returns:
        A new Network with these widths.

    Raises:
        ValueError: If the BatchNorms of `net` do not share weight and bias, or if `widths` is
            invalid.

    Example:
        >>> net = oatlib.calibrate(net, data, widths=[0.3, 0.6])
    """
    check_network(net)
    of_type("data", data, Data, "a data set, such as oatlib.load_data('shapes')")
    if net.spec.norm_sharing != "affine":
        raise ValueError(
            "calibrate adds widths to networks that were trained at any width, such as 'us-snn'; "
            f"{net.spec.recipe!r} "
            "has BatchNorms that only know the widths it was trained at"
        )
    twin = Network(replace(net.spec, widths=_fractions(widths))).to(next(net.parameters()).device)
    twin.trained = list(net.trained)
    # Copy all tensors except the BatchNorms of narrow widths. The last pair, of the full width,
    # holds the shared weight and bias. Its index differs between the two networks.
    known, here, there = net.state_dict(), _last(twin), _last(net)
    for name, tensor in twin.state_dict().items():
        if ".pairs." not in name or here in name:
            tensor.copy_(known[name.replace(here, there)])
    take_statistics(twin, data, images)
    return twin


def _last(net: Network) -> str:
    """The part of a tensor's name that marks the BatchNorm pair of the full width."""
    return f".pairs.{len(net.spec.widths) - 1}."


def _fractions(widths) -> tuple[float, ...]:
    """Ascending widths as a tuple of floats, with the full width."""
    try:
        return tuple(sorted({float(w) for w in widths} | {1.0}))  # Network checks their range
    except (TypeError, ValueError):
        raise ValueError(
            f"widths must be a list of fractions such as [0.3, 0.6], got {widths!r}"
        ) from None


@torch.no_grad()
def take_statistics(net: Network, data: Data, images: int = IMAGES) -> None:
    """Replace the BatchNorm statistics of every width by averages over clean training images.

    If an error occurs, the network is not changed.

    Args:
        net: The network, which is changed in place.
        data: The data set. Statistics are taken from its training images.
        images: Number of training images.

    Raises:
        ValueError: If the network has another λ stop than 0.
    """
    if net.spec.stops != (0.0,):
        raise ValueError(
            "statistics are taken from clean images: only for networks with the one λ stop 0"
        )
    split = data.train.panel(min(images, len(data.train)))
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [bn.momentum for bn in norms]
    # `frozen` restores modes and statistics at its end, also after an error. The new statistics are
    # therefore copied inside and written back after it.
    with frozen(net):
        try:
            net.train()
            for bn in norms:
                bn.reset_running_stats()
                bn.momentum = None  # a plain average over the batches
            for width in net.spec.widths:
                for x in split.x.split(BATCH):
                    net(x, 0.0, width)
        finally:
            for bn, momentum in zip(norms, momenta, strict=True):
                bn.momentum = momentum
        taken = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for name, buffer in net.named_buffers():
        buffer.copy_(taken[name])
