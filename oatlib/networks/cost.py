"""The cost of a setting: numbers of parameters and of multiply-adds.

Both depend on the width, and for some networks on λ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .._html import html_table
from ..layers.folded import Folded
from ..layers.head import FoldedHead, Head
from ..layers.setting import Position, Width
from ..layers.unit import Unit
from .network import Network, check_network, masked_units

COUNTS = (  # of a Cost: title in a table, attribute
    ("parameters stored", "stored"),
    ("active", "active"),
    ("of the plain network", "plain"),
    ("nonzero", "nonzero"),
    ("multiply-adds", "macs"),
    ("nonzero multiply-adds", "nonzero_macs"),
)


@dataclass(frozen=True)
class Cost:
    """The cost of one setting.

    Weights that masks leave out are neither stored nor active. In the plain network they are zeros,
    which save time only on hardware that skips them.

    Args:
        width: Fraction of the channels.
        stored: Parameters of the network with all its dials.
        active: Parameters of the network that this setting uses.
        plain: Parameters of the plain network `net.at(lam, width)`. For mixed outputs they include
            the two mixing weights.
        nonzero: Parameters of the plain network that are not 0.
        macs: Multiply-adds of the plain network for one image.
        nonzero_macs: Multiply-adds of the plain network for one image, without those by a weight of
            0.
    """

    width: float
    stored: int
    active: int
    plain: int
    nonzero: int
    macs: int
    nonzero_macs: int

    def _repr_html_(self) -> str:
        # A table for notebooks: numbers of seven digits are easier to compare below each other.
        counts = [f"{getattr(self, name):,}" for _, name in COUNTS]
        titles = ["width", *(title for title, _ in COUNTS)]
        return html_table(titles, [[f"{self.width:g}", *counts]])


@torch.no_grad()
def cost(net: Network, lam: float | None = None, width: float | None = None) -> Cost:
    """Count the parameters and multiply-adds of one setting.

    λ makes a difference in three cases: two experts, mixed outputs (two forward passes between the
    ends), and weight noise on masked weights, which are not 0 then.

    Args:
        net: The network.
        lam: λ, from the first to the last stop. None: the first stop.
        width: Fraction of the channels. None: the full width.

    Returns:
        The `Cost`.

    Raises:
        ValueError: If the network does not have this λ or this width.
    """
    check_network(net)
    lam = net.spec.stops[0] if lam is None else lam
    position = net.position(lam, width)
    return cost_of(net, position, net.fold(position, torch.Generator().manual_seed(0)))


@torch.no_grad()
def cost_of(net: Network, position: Position, plain: nn.Module) -> Cost:
    """Count the parameters and multiply-adds of a setting that is folded already.

    Args:
        net: The network.
        position: A position of one λ for all images.
        plain: The network folded at this position. It runs once, on a black image. If it samples
            weight noise at every forward, this uses its generator.

    Returns:
        The `Cost`.
    """
    parameters, nonzero_parameters = _count_parameters(plain)
    image = next(net.parameters()).new_zeros(1, *net.spec.shape)
    macs, nonzero_macs = _multiply_adds(plain, image)
    # weights that no mask keeps
    absent = sum(
        (~unit.masks.union()).expand_as(unit.conv.weight).sum().item() for unit in masked_units(net)
    )
    return Cost(
        position.width.fraction,
        stored=sum(p.numel() for p in net.parameters()) - absent,
        active=sum(_active_at(member, own) for member, own in net.members(position)),
        plain=parameters,
        nonzero=nonzero_parameters,
        macs=macs,
        nonzero_macs=nonzero_macs,
    )


def _count_parameters(plain: nn.Module) -> tuple[int, int]:
    """Return the parameters of a folded network: all, and those that are not 0.

    A folded network has buffers instead of parameters. Integer buffers are channel indices. The
    scale of noise that is sampled at every forward belongs to the weight that it is added to.
    """
    count, nonzero = 0, 0
    for part in plain.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if name == "noise" or not buffer.is_floating_point():
                continue
            count += buffer.numel()
            nonzero += _nonzero_weights(part) if name == "weight" else int(buffer.count_nonzero())
    return count, nonzero


def _nonzero_weights(part: nn.Module) -> int:
    """Return how many weights of a folded unit or head are not 0, or are noisy."""
    noise = getattr(part, "noise", None)
    nonzero = part.weight != 0 if noise is None else (part.weight != 0) | (noise != 0)
    return int(nonzero.sum())


def _multiply_adds(plain: nn.Module, image: torch.Tensor) -> tuple[int, int]:
    """Return the multiply-adds of convs and linear maps for one image: all, and those not by 0.

    Every weight counts once per output position.
    """
    dense, nonzero = [], []

    def count(part, _, out):
        if part.weight is None:  # a folded unit without a conv
            return
        output_positions = out[0, 0].numel()  # H·W after a conv, 1 after a linear map
        dense.append(part.weight.numel() * output_positions)
        nonzero.append(_nonzero_weights(part) * output_positions)

    hooks = [
        part.register_forward_hook(count)
        for part in plain.modules()
        if isinstance(part, (Folded, FoldedHead))
    ]
    plain(image)
    for hook in hooks:
        hook.remove()
    return sum(dense), sum(nonzero)


def _active_at(net: Network, position: Position) -> int:
    """Return how many parameters of one network a position uses."""
    paths = {net.paths[stop] for stop in position.used_stops}
    return sum(
        _active(part, position.width, paths)
        for part in net.modules()
        if isinstance(part, (Unit, Head))
    )


def _active(part: Unit | Head, width: Width, paths: set[int]) -> int:
    """Return how many parameters of a unit or head a setting uses.

    These are the slices of conv and FiLM, the BatchNorms of the width (both branches), and its
    head.
    """
    if isinstance(part, Head):
        return sum(p.numel() for p in part.parts(width))
    channels = part.channels(width)
    count = 0 if part.noise is None else 1  # α of the weight noise
    if part.conv is not None:
        count += _kept(part, width, paths)
    if part.norm is not None:
        count += sum(p.numel() for p in part.norm.at(width, channels).parameters())
    if part.film is not None:
        # the hidden and the output layer of FiLM, each with bias
        count += 2 * channels * (part.film.hidden.in_features + 1) + 2 * channels * (
            2 * channels + 1
        )
    return count


def _kept(part: Unit, width: Width, paths: set[int]) -> int:
    """Return how many weights of a conv the masks of some paths keep at a width."""
    if part.masks is None:
        return part.conv.sliced(width).numel()
    keep = (
        torch.stack([part.masks.mask_for(path) for path in paths])
        .any(0)
        .expand_as(part.conv.weight)
    )
    return part.conv.sliced(width, keep).sum().item()
