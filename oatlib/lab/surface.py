"""Accuracy over all dials of a network, measured on a grid: what a slider shows while the exact setting is measured.

It is kept next to the weights, with their digest: a surface of other weights, images or attacks is never shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from .. import record
from ..attacks import PGD
from ..data import Split
from ..nets import Network
from .live import measure

EPS = (0.0, 2.0, 4.0, 8.0, 12.0, 16.0)  # in 1/255
ATTACK_STEPS = 20  # of PGD
POSITIONS = tuple(i / 10 for i in range(11))  # of the slider


class Surface:
    """`clean[w][l]` and `robust[w][e][l]` at widths[w], EPS[e], lams[l]; None where nothing is measured yet."""

    def __init__(self, net: Network, panel: Split, source: object = None):
        """`source` says what the images are, ready for JSON; without it a surface is good for no other session."""
        spec, self.net, self.panel, self.source = net.spec, net, panel, source
        dial = spec.stops[0] < spec.stops[-1]
        self.lams = sorted({net.lam(u) for u in POSITIONS} | set(spec.stops)) if dial else [spec.stops[0]]
        self.widths = list(spec.widths)
        self.clean: list = [[None] * len(self.lams) for _ in self.widths]
        self.robust: list = [[[None] * len(self.lams) for _ in EPS] for _ in self.widths]

    def table(self) -> dict:
        """What the browser needs, as it is now."""
        return {"lams": self.lams, "widths": self.widths, "eps": list(EPS), "n": len(self.panel),
                "clean": deepcopy(self.clean), "robust": deepcopy(self.robust)}  # fmt: skip

    def missing(self, width: float, eps: float, everywhere: bool = False) -> list[tuple[int, int, int]]:
        """Cells (w, e, l) that are still to be measured for a picture at this width and eps, the most needed first:
        this width before others, both ends before what is between. `everywhere`: at all eps."""
        shown = range(len(EPS)) if everywhere else _around(eps)
        widths = sorted(range(len(self.widths)), key=lambda w: abs(self.widths[w] - width))
        lams = sorted(range(len(self.lams)), key=_ends_first(len(self.lams)))
        return [(w, e, i) for w in widths for e in shown for i in lams if self.robust[w][e][i] is None]

    def fill(self, width: float, eps: float, everywhere: bool = False) -> Iterator[bool]:
        """Measure what is missing; True after each cell, False wherever one can stop."""
        for w, e, i in self.missing(width, eps, everywhere):
            attack = PGD(EPS[e] / 255, ATTACK_STEPS if EPS[e] else 0)
            for last in measure(self.net, self.panel, self.lams[i], self.widths[w], attack):  # noqa: B007
                yield False
            self.clean[w][i], self.robust[w][e][i] = last["clean"], last["robust"]
            yield True

    def save(self, path) -> None:
        """Write it as JSON; only a whole one is of use to others."""
        if self.source is None or self.missing(1.0, 8.0, everywhere=True):
            raise ValueError("a surface is saved when it has no gaps and says what its images are")
        record.write_json(path, {"of": self._of(), **self.table()})

    def restore(self, path) -> bool:
        """Take over a file if it belongs to this network and these images. Whether it did."""
        if self.source is None or not Path(path).is_file():
            return False
        table = record.read_json(path)
        if not isinstance(table, dict) or table.get("of") != self._of():
            return False
        self.lams, self.clean, self.robust = table["lams"], table["clean"], table["robust"]
        return True

    def _of(self) -> dict:
        """All that the numbers depend on, ready for JSON."""
        return {"weights": _digest(self.net), "images": self.source, "n": len(self.panel),
                "attack": f"PGD-{ATTACK_STEPS}", "slider": list(self.net.slider)}  # fmt: skip


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
