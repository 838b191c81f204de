"""Fit the slider of a network, so that equal steps of the slider make equal steps on the frontier.

λ is a training weight, not a distance. Nearly all of the change from accuracy to robustness may
happen within a tenth of the dial. This module fits a monotone map from slider positions to λ on
validation images. The map is saved with the weights, and leaves the weights unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..attacks.base import Attack
from ..attacks.suite import default_attack
from ..data.load import Data
from ..networks.network import Network
from .evaluate import evaluate

# Share of the slider that follows λ itself, so that λ moves even where accuracies are constant.
FLOOR = 0.05


def even_dial(
    net: Network,
    data: Data,
    points: int = 21,
    n: int = 256,
    attack: Attack | None = None,
    progress: bool = True,
) -> Network:
    """Fit the slider of a network in place.

    Afterwards `net.lam(u)` is the λ at slider position u in [0, 1].

    Args:
        net: The network. It is measured at full width.
        data: The data set. The images come from its validation split.
        points: Number of λ values that are measured, evenly spaced, at least 3.
        n: Number of images, at most all of the validation split.
        attack: The attack. Default: the quick suite at 8/255.
        progress: Whether to show a progress bar.

    Returns:
        The same network.

    Raises:
        ValueError: If the network has only one λ stop, or if `points` is below 3.

    Example:
        >>> middle = even_dial(net, data).lam(0.5)
    """
    low, high = net.spec.stops[0], net.spec.stops[-1]
    if low == high:
        raise ValueError(
            f"{net.spec.recipe!r} was trained at the one λ {low:g}: it has no dial to make even"
        )
    if points < 3:
        raise ValueError(f"points must be at least 3 to see the shape of a dial, got {points}")
    lams = np.linspace(low, high, points)
    attack = attack or default_attack(eot_samples=4 if net.spec.noise else 1)
    panel = data.val.panel(min(n, len(data.val)))
    table = evaluate(net, panel, attack, lams.tolist(), [1.0], progress=progress)
    net.slider = even(lams, [r.clean for r in table], [r.robust for r in table])
    return net


def even(
    lams: Sequence[float], clean: Sequence[float], robust: Sequence[float]
) -> tuple[float, ...]:
    """Return λ at evenly spaced slider positions, as many as there are measured λ.

    The distance along the frontier is the robust accuracy gained plus the clean accuracy lost. A
    running maximum keeps it from decreasing through measurement noise.

    Args:
        lams: Measured λ, ascending.
        clean: Clean accuracy at each λ, in [0, 1].
        robust: Robust accuracy at each λ, in [0, 1].

    Returns:
        λ at slider positions 0, ..., 1, ascending.
    """
    lams = np.asarray(lams, float)
    way = np.maximum.accumulate(np.asarray(robust) - np.asarray(clean))
    # distance from the first λ, and the same for a slider that follows λ itself; mixed below
    way, straight = way - way[0], (lams - lams[0]) / (lams[-1] - lams[0])
    way = straight if way[-1] <= 0 else FLOOR * straight + (1 - FLOOR) * way / way[-1]
    found = np.interp(np.linspace(0, 1, len(lams)), way, lams)
    found[0], found[-1] = lams[0], lams[-1]  # without rounding errors
    return tuple(found.tolist())
