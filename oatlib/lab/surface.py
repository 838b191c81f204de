"""Accuracy over all dials of a network, measured on a grid: what a slider shows while the exact setting is measured.

Every robust accuracy is kept under the name of its attack. What is recorded in advance: the suite and PGD-20 at
ε = 8/255 and full width, at every λ of the grid, and the quick cascade at the other ε and at narrower widths. A running
explorer fills what is missing by the quick cascade. A surface is kept next to the weights, with their digest: one of
other weights, images or attacks is never shown.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

from .. import record
from ..data import Split
from ..nets import Network
from .live import measure
from .named_attacks import PGD_20, QUICK, STRONGEST_FIRST, SUITE, attack_named

N = 256  # images that are measured, at most
EPS = (0.0, 4.0, 8.0, 16.0)  # in 1/255
SUITE_EPS = 8.0  # in 1/255: where the suite is recorded
GAP = 0.25  # of the slider: two neighbouring λ of the grid lie no further apart
MIXING_WEIGHTS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the last stop, where outputs are mixed

Cell = tuple[str, int, int, int]  # attack, and indices of width, ε and λ


class Surface:
    """Clean and robust accuracy of a network on a grid.

    `clean[w][l]` and `robust[attack][w][e][l]` are shares in [0, 1] at widths[w], EPS[e] and lams[l], or None where
    nothing is measured yet. `mixed` holds (weight, clean, robust) of the outputs of both ends, mixed, where that was
    recorded. What no attack changes, ε = 0, is kept under the quick cascade.
    """

    def __init__(self, net: Network, panel: Split, source: object = None):
        """`source` says what the images are, ready for JSON; without it a surface is good for no other session."""
        self.net, self.panel, self.source = net, panel, source
        self.lams = _grid(net)
        self.widths = list(net.spec.widths)
        self.clean: list = [[None] * len(self.lams) for _ in self.widths]
        self.robust: dict[str, list] = {attack: self._plane() for attack in (*STRONGEST_FIRST, PGD_20)}
        self.mixed: list[tuple[float, float, float]] = []

    def table(self) -> dict:
        """What the browser needs, as it is now."""
        mixed = {"attack": SUITE, "eps": SUITE_EPS, "points": deepcopy(self.mixed)}
        return {
            "lams": self.lams,
            "widths": self.widths,
            "eps": list(EPS),
            "n": len(self.panel),
            "order": list(STRONGEST_FIRST),
            "clean": deepcopy(self.clean),
            "robust": deepcopy(self.robust),
            "mixed": mixed if self.mixed else None,
        }

    def attack_at(self, w: int, e: int) -> str | None:
        """The strongest attack by which a whole row is measured, all λ at one width and ε; None if there is none."""
        whole = (attack for attack in STRONGEST_FIRST if None not in self.robust[attack][w][e])
        return next(whole, None)

    def missing(self, width: float, eps: float, everywhere: bool = False) -> list[Cell]:
        """Cells that are still to be measured for a picture at this width and eps, the most needed first.

        This width comes before others, and both ends before what is between. `everywhere`: at all eps.
        """
        shown = range(len(EPS)) if everywhere else _around(eps)
        widths = sorted(range(len(self.widths)), key=lambda w: abs(self.widths[w] - width))
        rows = [(w, e) for w in widths for e in shown if self.attack_at(w, e) is None]
        return [(QUICK, w, e, i) for w, e in rows for i in self._order() if self.robust[QUICK][w][e][i] is None]

    def planned(self) -> list[Cell]:
        """Cells that are recorded in advance and not there yet; those of the suite first."""
        suite_index, full = EPS.index(SUITE_EPS), len(self.widths) - 1
        other_rows = [
            (w, e) for w in reversed(range(len(self.widths))) for e in range(len(EPS)) if (w, e) != (full, suite_index)
        ]
        plan = {SUITE: [(full, suite_index)], PGD_20: [(full, suite_index)], QUICK: other_rows}
        cells = [(attack, w, e, i) for attack, rows in plan.items() for w, e in rows for i in self._order()]
        return [(attack, w, e, i) for attack, w, e, i in cells if self.robust[attack][w][e][i] is None]

    def fill(self, width: float, eps: float, everywhere: bool = False) -> Iterator[bool]:
        """Measure what is missing; True after each cell, False wherever one can stop."""
        for cell in self.missing(width, eps, everywhere):
            yield from self.measure(cell)

    def measure(self, cell: Cell) -> Iterator[bool]:
        """Measure one cell; True at its end, False wherever one can stop."""
        name, w, e, i = cell
        attack = attack_named(name, EPS[e] / 255)
        for last in measure(self.net, self.panel, self.lams[i], self.widths[w], attack):  # noqa: B007
            yield False
        self.clean[w][i] = last["clean"]
        self.robust[name][w][e][i] = last["robust"]
        yield True

    def unmixed(self) -> list[float]:
        """Weights at which the outputs of both ends are still to be mixed and measured."""
        if len(self.net.spec.stops) == 1:
            return []
        known = {weight for weight, *_ in self.mixed}
        return [weight for weight in MIXING_WEIGHTS if weight not in known]

    def mix(self, weight: float) -> None:
        """Mix the outputs of both ends at full width, and measure that by the suite at ε = 8/255."""
        stops, w = self.net.spec.stops, len(self.widths) - 1
        if weight in (0.0, 1.0):  # one end alone, as it is
            end = int(weight) * (len(self.lams) - 1)
            point = weight, self.clean[w][end], self.robust[SUITE][w][EPS.index(SUITE_EPS)][end]
        else:
            both = self.net.with_dial("outputs")
            lam = stops[0] + weight * (stops[-1] - stops[0])
            *_, last = measure(both, self.panel, lam, self.widths[w], attack_named(SUITE, SUITE_EPS / 255))
            point = weight, last["clean"], last["robust"]
        self.mixed = sorted([*self.mixed, point])

    def save(self, path) -> None:
        """Write it as JSON, also with gaps: what is there is not measured again."""
        if self.source is None:
            raise ValueError("a surface is saved when it says what its images are")
        record.write_json(path, {"of": self._of(), "attacks": self._attacks(), **self.table()})

    def restore(self, path) -> bool:
        """Take over a file if it belongs to this network and these images. Whether it did.

        Of attacks that are defined otherwise today nothing is taken over.
        """
        if self.source is None or not Path(path).is_file():
            return False
        table = record.read_json(path)
        if not isinstance(table, dict) or table.get("of") != self._of():
            return False
        same = {name for name, about in self._attacks().items() if table["attacks"].get(name) == about}
        self.clean = table["clean"]
        self.robust |= {name: plane for name, plane in table["robust"].items() if name in same}
        if table["mixed"] and table["mixed"]["attack"] in same:
            self.mixed = [tuple(point) for point in table["mixed"]["points"]]
        return True

    def _plane(self) -> list:
        return [[[None] * len(self.lams) for _ in EPS] for _ in self.widths]

    def _order(self) -> list[int]:
        """Indices of λ: both ends first, then the middle, the quarters, ..."""
        return sorted(range(len(self.lams)), key=_ends_first(len(self.lams)))

    def _of(self) -> dict:
        """All that the numbers depend on besides their attacks, ready for JSON."""
        return {
            "weights": _digest(self.net),
            "dial": self.net.spec.dial,
            "images": self.source,
            "n": len(self.panel),
            "grid": [self.lams, self.widths, list(EPS)],
        }

    def _attacks(self) -> dict:
        """{name: what the attack is} of all that are recorded."""
        return {name: attack_named(name, SUITE_EPS / 255).describe() for name in self.robust}


def _grid(net: Network) -> list[float]:
    """All λ stops, and between them so many places of the slider that none is further than GAP from the next."""
    lams = sorted(net.spec.stops)
    places = [_place(net, lam) for lam in lams]
    while len(places) > 1:
        gaps = [right - left for left, right in pairwise(places)]
        widest = gaps.index(max(gaps))
        if gaps[widest] <= GAP + 1e-9:
            break
        middle = (places[widest] + places[widest + 1]) / 2
        places.insert(widest + 1, middle)
        lams.insert(widest + 1, net.lam(middle))
    return sorted(set(lams))


def _place(net: Network, lam: float) -> float:
    """Where λ is on the slider, in [0, 1]."""
    slider = net.slider
    if lam <= slider[0]:
        return 0.0
    right = min(bisect_left(slider, lam), len(slider) - 1)
    low, high = slider[right - 1], slider[right]
    return (right - 1 + (lam - low) / (high - low)) / (len(slider) - 1)


def _around(eps: float) -> list[int]:
    """Indices of the measured eps on both sides; one if it is measured itself."""
    below = max(i for i, e in enumerate(EPS) if e <= eps)
    return [below] if EPS[below] == eps else [below, below + 1]


def _ends_first(n: int):
    """A sorting key for 0..n-1: both ends, the middle, the quarters, ..."""
    order, gaps = [0, n - 1], [(0, n - 1)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order.index


def _digest(net: Network) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
