"""Fit the slider of a network, so that equal steps of the slider make equal steps on the frontier.

λ is a training weight, not a distance. Nearly all of the change from accuracy to robustness may
happen within a tenth of the dial. This module fits a monotone map from slider positions to λ on
validation images. The map is saved with the weights, and leaves the weights unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._check import whole
from ..attacks.base import Attack
from ..attacks.suite import default_attack
from ..data.splits import Data, Split, split_of
from ..networks.network import Network, check_network
from .evaluate import evaluate

# Fraction of the slider that follows λ itself, so that λ moves even where accuracies are constant.
FLOOR = 0.05


def fit_slider(
    net: Network,
    data: Data | Split,
    points: int = 21,
    n: int = 256,
    attack: Attack | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Network:
    """Fit the slider of a network in place.

    Afterwards `net.lam(u)` is the λ at slider position u in [0, 1].

    Args:
        net: The network. It is measured at full width.
        data: The images: a split, or a data set, of which the validation split is used. Do not fit
            on images that accuracies are reported on.
        points: Number of λ values that are measured, evenly spaced, at least 3.
        n: Number of images, at most all of the split.
        attack: The attack. Default: the quick suite at 8/255.
        seed: Seed of the attack, and of noisy weights.
        progress: Whether to show a progress bar.

    Returns:
        The same network.

    Raises:
        ValueError: If the network has only one λ stop, if `points` is below 3, or if `n` is below
            1.

    Example:
        >>> middle = fit_slider(net, data).lam(0.5)
    """
    check_network(net)
    whole("n", n)
    low, high = net.spec.stops[0], net.spec.stops[-1]
    if low == high:
        raise ValueError(
            f"fit_slider needs a network with a λ dial: {net.spec.recipe!r} was trained at λ = "
            f"{low:g} only"
        )
    whole("points", points, 3)
    split = split_of(data, "val")
    panel = split.panel(min(n, len(split)))
    attack = attack or default_attack(eot_samples=4 if net.spec.noise else 1)
    lams = np.linspace(low, high, points)
    table = evaluate(net, panel, attack, lams.tolist(), [1.0], seed=seed, progress=progress)
    net.slider = equal_steps(lams, [r.clean for r in table], [r.robust for r in table])
    return net


def equal_steps(
    lams: Sequence[float], clean: Sequence[float], robust: Sequence[float]
) -> tuple[float, ...]:
    """Return λ at evenly spaced slider positions, so that neighbours are equally far apart.

    The distance along the frontier is the robust accuracy gained plus the clean accuracy lost. A
    running maximum keeps it from decreasing through measurement noise.

    Args:
        lams: Measured λ, ascending.
        clean: Clean accuracy at each λ, in [0, 1].
        robust: Robust accuracy at each λ, in [0, 1].

    Returns:
        λ at slider positions 0, ..., 1, ascending, as many as there are measured λ.

    Example:
        >>> equal_steps([0.0, 0.5, 1.0], clean=[1.0, 1.0, 0.8], robust=[0.0, 0.0, 0.6])
        (0.0, 0.744, 1.0)  # rounded
    """
    lams = np.asarray(lams, float)
    # distance from the first λ, as a fraction of the whole way
    distance = np.maximum.accumulate(np.asarray(robust) - np.asarray(clean))
    distance = distance - distance[0]
    # the same for a slider that follows λ itself
    linear = (lams - lams[0]) / (lams[-1] - lams[0])
    if distance[-1] <= 0:
        position = linear
    else:
        position = FLOOR * linear + (1 - FLOOR) * distance / distance[-1]
    # invert the map: λ at evenly spaced positions
    slider = np.interp(np.linspace(0, 1, len(lams)), position, lams)
    slider[0], slider[-1] = lams[0], lams[-1]  # without rounding errors
    return tuple(slider.tolist())
