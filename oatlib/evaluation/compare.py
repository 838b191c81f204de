"""Compare several systems, measured on the same images with the same attack.

A system is a network with or without a dial, or any function images -> logits. The summary has
robust accuracies at equal clean accuracies, so that different dials can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from .._html import html_table
from .._suggest import did_you_mean
from ..attacks.base import Attack
from ..data.splits import Data, Split, split_of
from ..networks.lambdas import listed
from ..networks.network import Network
from .baselines import LEVELS, gain, percents
from .baselines import coin as coin_at
from .evaluate import NOISE_SAMPLES, check_fit, evaluate, several
from .results import Result, Table, two_ends

TENTHS = tuple(i / 10 for i in range(11))  # positions of the slider
COIN = ("standard", "pgd-at")  # names of the two systems of the default coin


class Comparison(dict):
    """Results of several systems: {name: Table}. Printing it shows a row per system and width.

    Args:
        tables: The results of each system, by name.
        coin: Names of the two systems of a coin that serves as a reference for all systems, or
            None. A coin answers each image with one of two systems at random, see `oatlib.coin`.
    """

    def __init__(self, tables: Mapping[str, Table], coin: tuple[str, str] | None = None):
        super().__init__(tables)
        self.coin = coin

    def coin_ends(self) -> tuple[Result, Result] | None:
        """Return the two results of the reference coin, or None if there is no coin.

        They are those of the first system at its lowest λ and of the second system at its highest
        λ, at the largest measured width.
        """
        if self.coin is None:
            return None
        standard, robust = (self[name].at_width() for name in self.coin)
        return min(standard, key=_lam_or_0), max(robust, key=_lam_or_0)

    def rows(self) -> list[dict]:
        """Return the summary as numbers, one row per system and width.

        Returns:
            Dictionaries with the following entries. Accuracies are in [0, 1].

            * "system" and "width": name, and width if the system has several (else None).
            * "low" and "high": (clean, robust) at the lowest and the highest λ. Without a dial
              "high" is None.
            * "robust_at": robust accuracy at clean accuracy >= 98, 95 and 90 %.
            * "over_own_coin": gain of these over a coin between the two ends of the same system.
            * "over_coin": gain of these over the coin of `coin_ends`.

            The last three are lists. Their entries are None where a clean accuracy is not reached,
            or where there is no coin.
        """
        pair = self.coin_ends()
        return [
            _row(name, table, width, pair) for name, table in self.items() for width in table.widths
        ]

    def save(self, path) -> None:
        """Write all tables to a JSON file.

        Args:
            path: Path of the file.
        """
        tables = {name: table.as_json() for name, table in self.items()}
        record.write_json(path, {"coin": self.coin, "systems": tables})

    @classmethod
    def load(cls, path) -> Comparison:
        """Read a comparison that `save` wrote.

        Args:
            path: Path of the file.

        Raises:
            RecordError: If the file does not exist or holds no comparison.
        """
        content = record.read_json(path)
        try:
            tables = {name: Table.from_json(rows) for name, rows in content["systems"].items()}
            return cls(tables, tuple(content["coin"]) if content["coin"] else None)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f": {error}" if type(error) is ValueError else ""
            raise record.RecordError(
                f"{path} holds no comparison of oatlib{why}. Choose a file written by "
                "Comparison.save"
            ) from error

    def __str__(self) -> str:
        cells = self._cells()
        sizes = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True)).rstrip()
            for line in cells
        ]
        return "\n".join([*lines, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._cells()
        return html_table(head, rows, self._notes())

    def _cells(self) -> list[list[str]]:
        """Return the cells of the table, with the titles of its columns first."""
        levels = " / ".join(f"{100 * level:g}" for level in LEVELS)
        titles = [
            "system",
            "λ low: clean/robust",
            "λ high",
            f"robust at clean >= {levels} %",
            "gain over its own coin",
        ]
        if self.coin:
            titles.append(f"gain over the coin {self.coin[0]}, {self.coin[1]}")
        return [titles, *(_cells(row, self.coin is not None) for row in self.rows())]

    def _notes(self) -> list[str]:
        """Return the lines below the table: how the results were measured."""
        results = [r for results in self.values() for r in results]
        lines = ["accuracies in %, gains in points of robust accuracy at the same clean accuracy"]
        lines += dict.fromkeys(
            f"n = {r.n} ({r.split}), {r.attack['text']}, attack seed {r.seed}" for r in results
        )
        for name, results in self.items():
            lines += dict.fromkeys(f"{name} is {note}" for r in results if (note := two_ends(r)))
        return lines


def compare(
    systems: Mapping[str, Network | Callable[[Tensor], Tensor]],
    data: Data | Split,
    attack: Attack | None = None,
    lams: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    coin: tuple[str, str] | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    noise_samples: int = NOISE_SAMPLES,
) -> Comparison:
    """Measure several systems on the same images with the same attack.

    Args:
        systems: {name: network}. A function images -> logits is measured as it is.
        data: The images: a split, or a data set, of which the test split is used. The results name
            the split.
        attack: The attack. Default: `default_attack()`, the quick suite at 8/255.
        lams: λ at which every network with a dial is measured. Default: its stops. If training
            defines only the two ends (see `Spec.ends_only`), the default is eleven evenly spaced
            positions of its slider.
        widths: Measure only these widths. A network is measured at those of them that it has.
            Default: all.
        coin: Names of two systems. A coin between them is the reference for all systems. Default:
            "standard" and "pgd-at", if both exist.
        batch_size: Images per batch.
        seed: Seed of the attack, and of noisy weights.
        progress: Whether to show a progress bar.
        noise_samples: Samples of noisy weights that accuracies are averaged over.

    Returns:
        A Comparison, {name: Table}. `print` shows a summary with a row per system and width.

    Raises:
        TypeError: If a system is neither a network nor a function, or `data` is neither a data set
            nor a split.
        ValueError: If there is no system, or if a name in `coin` is unknown. Also if a network does
            not fit the images, has none of `widths`, or has no such λ. Everything is checked before
            any measurement.

    Example:
        >>> print(oatlib.compare({"oat": net, "mixed": net.with_dial("outputs")}, data))
    """
    if not isinstance(systems, Mapping) or not systems:
        raise ValueError(
            "compare needs a dictionary of systems by name, such as {'oat': net, 'mixed': "
            f"net.with_dial('outputs')}}, got {systems!r:.60}"
        )
    split = split_of(data, "test")
    pair = _coin_names(systems, coin)
    settings = {name: _settings(name, net, split, lams, widths) for name, net in systems.items()}
    tables = {}
    with tqdm(systems.items(), unit="system", disable=not progress, leave=False) as bar:
        for name, net in bar:
            bar.set_description(name)
            tables[name] = evaluate(
                net,
                split,
                attack,
                batch_size=batch_size,
                seed=seed,
                progress=progress,
                noise_samples=noise_samples,
                **settings[name],
            )
    return Comparison(tables, pair)


def _coin_names(systems: Mapping, coin: tuple[str, str] | None) -> tuple[str, str] | None:
    """Check the names of the two systems of the coin, or return the default ones if they exist."""
    if coin is None:
        return COIN if all(name in systems for name in COIN) else None
    if isinstance(coin, str) or not isinstance(coin, Sequence) or len(coin) != 2:
        raise ValueError(f"coin must be the names of two systems, such as {COIN}, got {coin!r}")
    for name in coin:
        if name not in systems:
            raise ValueError(
                f"coin: unknown system {name!r}{did_you_mean(name, systems)}: use two of "
                f"{', '.join(systems)}"
            )
    return tuple(coin)


def _settings(name: str, net, split: Split, lams, widths) -> dict:
    """Check and return the λ and widths at which one system is measured."""
    if not isinstance(net, Network):
        if not callable(net):
            raise TypeError(
                f"{name!r} must be an oatlib network or a function images -> logits, got "
                f"{type(net).__name__}"
            )
        return {}
    check_fit(net, split)
    stops = net.spec.stops
    if len(stops) == 1:
        lams = stops
    elif lams is None:
        lams = [net.lam(u) for u in TENTHS] if net.spec.ends_only else stops
    kept = list(net.spec.widths)
    if widths is not None:
        kept = [w for w in kept if any(abs(w - wanted) <= 1e-6 for wanted in widths)]
    if not kept:
        raise ValueError(
            f"{name!r} has none of the widths {listed(widths)}: its widths are "
            f"{listed(net.spec.widths)}"
        )
    lams = several("lams", lams, ())
    for lam in lams:
        net.position(lam)
    return {"lams": lams, "widths": kept}


def _lam_or_0(result: Result) -> float:
    return 0.0 if result.lam is None else result.lam


def _row(name: str, table: Table, width: float, pair: tuple[Result, Result] | None) -> dict:
    """Return one entry of `Comparison.rows`; `pair` are the two results of the reference coin."""
    low, high = table.ends(width) or (table.at_width(width)[0], None)
    robust = [table.robust_at(level, width) for level in LEVELS]
    over_coin = [None] * len(LEVELS)
    if pair is not None:
        over_coin = [
            gain(value, coin_at(*pair, level)) for value, level in zip(robust, LEVELS, strict=True)
        ]
    return {
        "system": name,
        "width": width if len(table.widths) > 1 else None,
        "low": (low.clean, low.robust),
        "high": None if high is None else (high.clean, high.robust),
        "robust_at": robust,
        "over_own_coin": [table.gain_over_coin(level, width=width) for level in LEVELS],
        "over_coin": over_coin,
    }


def _cells(row: dict, with_coin: bool) -> list[str]:
    """Return a row of the summary as text cells."""
    label = row["system"] if row["width"] is None else f"{row['system']}, width {row['width']:g}"
    ends = ["-" if row[end] is None else percents(row[end]) for end in ("low", "high")]
    cells = [label, *ends, percents(row["robust_at"]), percents(row["over_own_coin"], signed=True)]
    if with_coin:
        cells.append(percents(row["over_coin"], signed=True))
    return cells
