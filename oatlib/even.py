"""An even dial: equal moves of the slider make equal moves along the frontier.

λ is a training weight, not a distance: a network may do nearly all of its trading within a tenth of the dial. This fits
a monotone map from slider positions to λ on validation images; it is saved with the weights and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .attacks import Attack
from .data import Data
from .evaluate import evaluate
from .nets import Network
from .suite import Suite, default_attack

FLOOR = 0.05  # share of the slider that follows λ itself, so that it moves on also where nothing changes


def even_dial(
    net: Network,
    data: Data,
    points: int = 21,
    n: int = 256,
    attack: Attack | Suite | None = None,
    progress: bool = True,
) -> Network:
    """Fit the slider of a network (in place) on n validation images, measured at so many λ at full width.

    Then `net.lam(u)` is the λ at slider position u in [0, 1]. The default attack is the quick suite at 8/255.
    """
    low, high = net.spec.stops[0], net.spec.stops[-1]
    if low == high:
        raise ValueError(f"{net.spec.recipe!r} was trained at the one λ {low:g}: it has no dial to make even")
    if points < 3:
        raise ValueError(f"points must be at least 3 to see the shape of a dial, got {points}")
    lams = np.linspace(low, high, points)
    attack = attack or default_attack(draws=4 if net.spec.noise else 1)
    panel = data.val.panel(min(n, len(data.val)))
    table = evaluate(net, panel, attack, lams.tolist(), [1.0], progress=progress)
    net.slider = even(lams, [r.clean for r in table], [r.robust for r in table])
    return net


def even(lams: Sequence[float], clean: Sequence[float], robust: Sequence[float]) -> tuple[float, ...]:
    """λ at as many evenly spaced slider positions as there are measured λ (ascending).

    The way along the frontier is robust accuracy gained plus clean accuracy lost, as far as it has got (a running
    maximum, so that noise of the measurement cannot turn the dial back).
    """
    lams = np.asarray(lams, float)
    way = np.maximum.accumulate(np.asarray(robust) - np.asarray(clean))
    way, straight = way - way[0], (lams - lams[0]) / (lams[-1] - lams[0])
    way = straight if way[-1] <= 0 else FLOOR * straight + (1 - FLOOR) * way / way[-1]
    found = np.interp(np.linspace(0, 1, len(lams)), way, lams)
    found[0], found[-1] = lams[0], lams[-1]  # not a rounding error beside them
    return tuple(found.tolist())
