"""Accuracy of a network on a grid over all its dials.

The explorer interpolates on this grid while the exact setting is measured. Every robust accuracy is
kept under the name of its attack.

The suite and PGD-20 are recorded in advance at ε = 8/255 and full width, for every λ of the grid.
For the other pairs of ε and width, the quick suite is recorded.

A running explorer measures what is missing with the quick suite. A surface is stored next to the
weights, with their digest, so that numbers of other weights, images or attacks are never shown.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

from .. import record
from .._check import positive_int
from ..data.load import Split
from ..networks.network import Network
from .measure import measure
from .named_attacks import PGD_20, QUICK, STRONGEST_FIRST, SUITE, attack_named

N = 256  # number of images that a surface is measured on, at most
EPS = (0.0, 4.0, 8.0, 16.0)  # in 1/255
SUITE_EPS = 8.0  # in 1/255; the suite is recorded at this ε
GAP = 0.25  # of the slider: the largest distance of neighbouring λ of the grid
MIXING_WEIGHTS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # weights of the last λ stop in mixed outputs

Cell = tuple[str, int, int, int]  # attack, and indices of width, ε and λ


class Surface:
    """Clean and robust accuracy of a network on a grid.

    Args:
        net: The network.
        panel: The images to measure. None: they are not here. Then nothing can be measured, and
            `restore` accepts the numbers of any images.
        source: What identifies the images, ready for JSON. Without it the surface cannot be saved
            or, if there is a panel, restored.

    Attributes:
        n: Number of images.
        lams: The λ of the grid, ascending.
        widths: The widths of the network, ascending.
        clean: `clean[w][l]` is the clean accuracy in [0, 1] at widths[w] and lams[l], or None if it
            is not measured.
        robust: `robust[attack][w][e][l]` is the robust accuracy in [0, 1] at widths[w], EPS[e] and
            lams[l], or None if it is not measured. At ε = 0, where no attack changes anything, it
            is kept under the quick suite.
        mixed: (weight, clean, robust) of the mixed outputs of both ends of the dial, as far as they
            are recorded.
    """

    def __init__(self, net: Network, panel: Split | None, source: object = None):
        """Make an empty surface."""
        self.net, self.panel, self.source = net, panel, source
        self.n = 0 if panel is None else len(panel)
        self.lams = _grid(net)
        self.widths = list(net.spec.widths)
        self.clean: list = [[None] * len(self.lams) for _ in self.widths]
        self.robust: dict[str, list] = {
            attack: self._plane() for attack in (*STRONGEST_FIRST, PGD_20)
        }
        self.mixed: list[tuple[float, float, float]] = []

    def table(self) -> dict:
        """Return the current values for the browser.

        Returns:
            A dict ready for JSON with the keys lams, widths, eps (in 1/255), n (number of images),
            recorded (whether the images are not here), order (attacks whose curves are drawn,
            strongest first), clean, robust and mixed.
        """
        mixed = {"attack": SUITE, "eps": SUITE_EPS, "points": deepcopy(self.mixed)}
        return {
            "lams": self.lams,
            "widths": self.widths,
            "eps": list(EPS),
            "n": self.n,
            "recorded": self.panel is None,
            "order": list(STRONGEST_FIRST),
            "clean": deepcopy(self.clean),
            "robust": deepcopy(self.robust),
            "mixed": mixed if self.mixed else None,
        }

    def attack_at(self, w: int, e: int) -> str | None:
        """Return the strongest attack by which a whole row (all λ at one width and ε) is measured.

        Args:
            w: Index of the width.
            e: Index of ε.

        Returns:
            The name of the attack, or None if the row is not complete under any.
        """
        whole = (attack for attack in STRONGEST_FIRST if None not in self.robust[attack][w][e])
        return next(whole, None)

    def missing(self, width: float, eps: float, everywhere: bool = False) -> list[Cell]:
        """List the cells that are missing for the curves at a width and ε, most needed first.

        The given width comes before others. Both ends of the dial come before the λ between them.

        Args:
            width: The width that the explorer shows.
            eps: Radius of the attack in 1/255. Its neighbours on the grid are needed.
            everywhere: List the cells at all ε of the grid.

        Returns:
            Cells of the quick suite: attack, and indices of width, ε and λ. None if the images
            are not here.
        """
        if self.panel is None:
            return []
        shown = range(len(EPS)) if everywhere else _around(eps)
        widths = sorted(range(len(self.widths)), key=lambda w: abs(self.widths[w] - width))
        rows = [(w, e) for w in widths for e in shown if self.attack_at(w, e) is None]
        return [
            (QUICK, w, e, i)
            for w, e in rows
            for i in self._order()
            if self.robust[QUICK][w][e][i] is None
        ]

    def planned(self) -> list[Cell]:
        """List the cells that are recorded in advance and still missing.

        Those of the suite come first.
        """
        suite_index, full = EPS.index(SUITE_EPS), len(self.widths) - 1
        other_rows = [
            (w, e)
            for w in reversed(range(len(self.widths)))
            for e in range(len(EPS))
            if (w, e) != (full, suite_index)
        ]
        plan = {SUITE: [(full, suite_index)], PGD_20: [(full, suite_index)], QUICK: other_rows}
        cells = [
            (attack, w, e, i)
            for attack, rows in plan.items()
            for w, e in rows
            for i in self._order()
        ]
        return [
            (attack, w, e, i) for attack, w, e, i in cells if self.robust[attack][w][e][i] is None
        ]

    def fill(self, width: float, eps: float, everywhere: bool = False) -> Iterator[bool]:
        """Measure all missing cells.

        Args:
            width: As for `missing`.
            eps: As for `missing`.
            everywhere: As for `missing`.

        Yields:
            True after each cell, and False at points between where the caller can pause or stop.
        """
        for cell in self.missing(width, eps, everywhere):
            yield from self.measure(cell)

    def measure(self, cell: Cell) -> Iterator[bool]:
        """Measure one cell.

        Args:
            cell: Attack, and indices of width, ε and λ.

        Yields:
            False at points where the caller can pause or stop, and True at the end.
        """
        name, w, e, i = cell
        attack = attack_named(name, EPS[e] / 255)
        for last in measure(self.net, self.panel, self.lams[i], self.widths[w], attack):  # noqa: B007
            yield False
        self.clean[w][i] = last["clean"]
        self.robust[name][w][e][i] = last["robust"]
        yield True

    def unmixed(self) -> list[float]:
        """List the mixing weights that are not measured yet. Empty for networks with one λ stop."""
        if len(self.net.spec.stops) == 1:
            return []
        known = {weight for weight, *_ in self.mixed}
        return [weight for weight in MIXING_WEIGHTS if weight not in known]

    def mix(self, weight: float) -> None:
        """Mix the outputs of both ends of the dial at full width, and measure the mixture.

        The attack is the suite at ε = 8/255.

        Args:
            weight: Weight of the last λ stop, in [0, 1].
        """
        stops, w = self.net.spec.stops, len(self.widths) - 1
        if weight in (0.0, 1.0):  # one end alone, which is measured already
            end = int(weight) * (len(self.lams) - 1)
            point = weight, self.clean[w][end], self.robust[SUITE][w][EPS.index(SUITE_EPS)][end]
        else:
            both = self.net.with_dial("outputs")
            lam = stops[0] + weight * (stops[-1] - stops[0])
            *_, last = measure(
                both, self.panel, lam, self.widths[w], attack_named(SUITE, SUITE_EPS / 255)
            )
            point = weight, last["clean"], last["robust"]
        self.mixed = sorted([*self.mixed, point])

    def save(self, path) -> None:
        """Write the surface as JSON.

        The surface may be incomplete. A later run then measures only what is missing.

        Args:
            path: The JSON file.

        Raises:
            ValueError: If the surface has no `source`.
        """
        if self.source is None:
            raise ValueError("cannot save a surface without `source`, which identifies its images")
        table = self.table()
        table.pop("recorded")
        record.write_json(path, {"of": self._of(), "attacks": self._attacks(), **table})

    def restore(self, path) -> bool:
        """Read a surface from a file, if it belongs to this network, these images and this grid.

        Without a panel, it may belong to any images. Their number and source are then read, too.

        Numbers of attacks whose definition has changed since are left out.

        Args:
            path: The JSON file. It may be missing.

        Returns:
            Whether the file was used.

        Raises:
            RecordError: If the file is not valid JSON, or has values that are no accuracies.
        """
        is_identified = self.panel is None or self.source is not None
        if not is_identified or not Path(path).is_file():
            return False
        table = record.read_json(path)
        if not isinstance(table, dict) or not isinstance(of := table.get("of"), dict):
            return False
        expected = self._of()
        if self.panel is None:  # any images will do
            expected |= {"images": of.get("images"), "n": of.get("n")}
        if of != expected:
            return False
        # A page shows these values, so they must be numbers of the right places.
        sides = (len(self.widths), len(EPS), len(self.lams))
        try:
            n = positive_int("n", of["n"])
            same = {
                name
                for name, about in self._attacks().items()
                if table["attacks"].get(name) == about
            }
            clean = _plane_of(table["clean"], sides[::2])
            robust = {name: _plane_of(table["robust"][name], sides) for name in same}
            mixed = []
            if table["mixed"] and table["mixed"]["attack"] in same:
                points = table["mixed"]["points"]
                mixed = [tuple(_plane_of(point, (3,))) for point in points]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise record.RecordError(
                f"{path} holds no measurements that this oatlib knows ({error}): delete it, and "
                "they are measured again"
            ) from error
        self.source, self.n = of["images"], n
        self.clean = clean
        self.robust |= robust
        self.mixed = mixed or self.mixed
        return True

    def _plane(self) -> list:
        """Return an empty grid for one attack: [width][ε][λ]."""
        return [[[None] * len(self.lams) for _ in EPS] for _ in self.widths]

    def _order(self) -> list[int]:
        """Return the indices of λ: both ends first, then the middle, the quarters, ..."""
        return sorted(range(len(self.lams)), key=_ends_first(len(self.lams)))

    def _of(self) -> dict:
        """Return all that the numbers depend on, except the attacks, ready for JSON."""
        return {
            "weights": _digest(self.net),
            "dial": self.net.spec.dial,
            "images": self.source,
            "n": self.n,
            "grid": [self.lams, self.widths, list(EPS)],
        }

    def _attacks(self) -> dict:
        """Return the descriptions of all recorded attacks, by name."""
        return {name: attack_named(name, SUITE_EPS / 255).describe() for name in self.robust}


def _plane_of(values, sides: tuple[int, ...]) -> list:
    """Return nested lists of accuracies, or raise a ValueError if they are anything else.

    `sides` are the lengths of the lists. A missing accuracy is None.
    """
    if not isinstance(values, list) or len(values) != sides[0]:
        raise ValueError(f"expected {sides[0]} values, got {values!r:.60}")
    if len(sides) > 1:
        return [_plane_of(value, sides[1:]) for value in values]
    for value in values:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= 1):
            raise ValueError(f"expected an accuracy in [0, 1], got {value!r:.60}")
    return values


def _grid(net: Network) -> list[float]:
    """Return all λ stops, and enough λ between them that no gap on the slider exceeds GAP."""
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
    """Return the position of λ on the slider, in [0, 1]."""
    slider = net.slider
    if lam <= slider[0]:
        return 0.0
    right = min(bisect_left(slider, lam), len(slider) - 1)
    low, high = slider[right - 1], slider[right]
    return (right - 1 + (lam - low) / (high - low)) / (len(slider) - 1)


def _around(eps: float) -> list[int]:
    """Return the indices of the neighbours of `eps` in EPS, or its own index if it is in EPS."""
    below = max(i for i, e in enumerate(EPS) if e <= eps)
    return [below] if EPS[below] == eps else [below, below + 1]


def _ends_first(n: int):
    """Return a sorting key for 0 to n - 1: both ends first, then the middle, the quarters, ..."""
    order, gaps = [0, n - 1], [(0, n - 1)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order.index


def _digest(net: Network) -> str:
    """Return the SHA-256 digest of all weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
