"""Results of measurements: one setting as a `Result`, several as a `Table` that prints itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field
from types import UnionType

from .. import record
from .._check import real, whole
from .._html import html_table
from ..data.load import best_points
from ..networks.lambdas import RULES
from . import baselines
from .baselines import LEVELS, Measured, Point, percents

COLUMNS = ("λ", "width", "clean", "robust", "multiply-adds")


@dataclass(frozen=True)
class Result:
    """The measurement of one setting.

    Accuracies are in [0, 1]. `..._low` and `..._high` are the ends of their 95 % Wilson intervals.

    Attributes:
        lam: λ. None for a function without a λ dial.
        width: Fraction of the channels, in (0, 1].
        n: Number of images.
        clean: Clean accuracy.
        clean_low: Lower end of its interval.
        clean_high: Upper end of its interval.
        robust: Robust accuracy: fraction of images that are correct both unattacked and attacked.
        robust_low: Lower end of its interval.
        robust_high: Upper end of its interval.
        attack: Description of the attack with everything needed to repeat it.
        split: Name of the split.
        seed: Seed of the attack.
        seconds: Duration of the measurement.
        macs: Multiply-adds of the measured network for one image. None for a function.
        parameters: Parameters of the measured network. None for a function.
        nonzero: Parameters that are not 0, fewer than all where weights are masked.
        noise_samples: Samples of noisy weights. Accuracies are means over them. 1: no noise.
        clean_spread: Standard deviation of the clean accuracy over these samples.
        robust_spread: Standard deviation of the robust accuracy over these samples.
        about: Recipe, backbone, data set, and how the network was trained.
    """

    lam: float | None
    width: float
    n: int
    clean: float
    clean_low: float
    clean_high: float
    robust: float
    robust_low: float
    robust_high: float
    attack: dict
    split: str
    seed: int
    seconds: float
    macs: int | None = None
    parameters: int | None = None
    nonzero: int | None = None
    noise_samples: int = 1
    clean_spread: float = 0.0
    robust_spread: float = 0.0
    about: dict = field(default_factory=dict)

    def __repr__(self) -> str:
        # One line, without the dictionaries.
        lam = "" if self.lam is None else f"λ {self.lam:g}, "
        return (
            f"Result({lam}width {self.width:.3g}: clean {self.clean:.1%}, robust "
            f"{self.robust:.1%}, n = {self.n})"
        )

    def _repr_html_(self) -> str:
        return Table([self])._repr_html_()


class Table(list):
    """A list of results, with functions that summarise them.

    Printing a table shows one line per result, and robust accuracy at given clean accuracies.
    Notebooks show the same as an HTML table.
    """

    @property
    def widths(self) -> list[float]:
        """The measured widths, ascending."""
        return sorted({r.width for r in self})

    def at_width(self, width: float | None = None) -> Table:
        """Return the results of one width.

        Args:
            width: Fraction of the channels. None: the largest measured width.

        Raises:
            ValueError: If the width was not measured.
        """
        if width is None and self:
            width = self.widths[-1]
        if width is not None:
            real("width", width)
        kept = Table(r for r in self if abs(r.width - width) <= 1e-6)
        if self and not kept:
            raise ValueError(
                f"width {width:g} was not measured: the measured widths are "
                f"{', '.join(f'{w:g}' for w in self.widths)}"
            )
        return kept

    def ends(self, width: float | None = None) -> tuple[Result, Result] | None:
        """Return the results of one width at its lowest and its highest λ.

        If several results have the lowest λ, the most accurate one is taken. If several have the
        highest λ, the most robust one is taken.

        Args:
            width: Fraction of the channels. None: the largest measured width.

        Returns:
            Two results, or None if there are not two values of λ.

        Raises:
            ValueError: If the width was not measured.
        """
        rows = [r for r in self.at_width(width) if r.lam is not None]
        lams = {r.lam for r in rows}
        if len(lams) < 2:
            return None
        low = max((r for r in rows if r.lam == min(lams)), key=lambda r: (r.clean, r.robust))
        high = max((r for r in rows if r.lam == max(lams)), key=lambda r: (r.robust, r.clean))
        return low, high

    def robust_at(self, clean: float, width: float | None = None) -> float | None:
        """Return the robust accuracy at clean accuracy >= `clean` along the dial of one width.

        Results are sorted by λ. Between neighbouring λ both accuracies are interpolated linearly.
        Of all points with at least the accuracy `clean`, the most robust one counts. Results
        without λ are not interpolated. All results should come from the same attack.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            width: Settings of this width only. None: the largest measured width.

        Returns:
            Robust accuracy in [0, 1]. None if no setting reaches `clean`.

        Raises:
            ValueError: If `clean` is no accuracy, or if the width was not measured.
        """
        rows = self.at_width(width)
        # The results along the dial form one line; each result without λ stands for itself.
        dial = [r for r in rows if r.lam is not None]
        dial.sort(key=lambda r: (r.lam, -r.clean, -r.robust))
        lines = [[(r.clean, r.robust) for r in dial]]
        lines += [[(r.clean, r.robust)] for r in rows if r.lam is None]
        values = [baselines.robust_at(points, clean) for points in lines]
        return max((value for value in values if value is not None), default=None)

    def gain_over_coin(
        self,
        clean: float,
        standard: Measured | Point | None = None,
        robust: Measured | Point | None = None,
        width: float | None = None,
    ) -> float | None:
        """Return `robust_at(clean, width)` minus the robust accuracy of a coin at the same `clean`.

        A coin answers each image with one of two networks at random, see `oatlib.coin`.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            standard: One of the two networks of the coin: a result, or a point (clean, robust).
                None, together with robust=None: the coin is between the results of that width at
                its lowest and its highest λ.
            robust: The other network of the coin.
            width: As in `robust_at`.

        Returns:
            The difference, in [-1, 1]. It is negative where the coin is better. None if the dial or
            the coin does not reach `clean`, or if there are no two ends.

        Raises:
            ValueError: If only one of the two networks is given, or for the reasons of `robust_at`.
        """
        if (standard is None) != (robust is None):
            raise ValueError(
                "a coin needs two networks: pass both standard= and robust=, or neither"
            )
        ends = self.ends(width) if standard is None else (standard, robust)
        reference = None if ends is None else baselines.coin(*ends, clean)
        return baselines.gain(self.robust_at(clean, width), reference)

    @property
    def frontier(self) -> Table:
        """Results that no other result beats in both accuracies, by decreasing clean accuracy."""
        kept = dict.fromkeys(baselines.frontier((r.clean, r.robust) for r in self))
        return Table(next(r for r in self if (r.clean, r.robust) == point) for point in kept)

    def save(self, path) -> None:
        """Write the results to a JSON file.

        Args:
            path: Path of the file.
        """
        record.write_json(path, {"results": self.as_json()})

    def as_json(self) -> list[dict]:
        """Return the results as plain dictionaries, ready for JSON."""
        return [asdict(r) for r in self]

    @classmethod
    def from_json(cls, rows: Sequence[dict]) -> Table:
        """Return the table that `as_json` was called on.

        Args:
            rows: What `as_json` returned. Earlier versions wrote `draws` for `noise_samples`.

        Raises:
            ValueError: If these are no results, or if a value is impossible, such as an accuracy
                above 1. The message names the value.
        """
        if not isinstance(rows, list):
            raise ValueError("a list of results is missing")
        return cls(_result(f"result {number}", row) for number, row in enumerate(rows, start=1))

    @classmethod
    def load(cls, path) -> Table:
        """Read a table that `save` wrote.

        Files of an earlier version can be read, too. They hold an area in addition.

        Args:
            path: Path of the file.

        Raises:
            RecordError: If the file does not exist or holds no results.
        """
        content = record.read_json(path)
        try:
            return cls.from_json(content.get("results") if isinstance(content, dict) else None)
        except ValueError as error:
            raise record.RecordError(
                f"{path} holds no results of oatlib: {error}. Choose a file written by Table.save "
                "or oatlib eval --json"
            ) from error

    def to_pandas(self):
        """Return the results as a pandas data frame. pandas must be installed.

        Returns:
            A `pandas.DataFrame` with a row per result and a column per field of `Result`. The
            column "attack" holds the attack as text. Instead of `about` there is the column
            "recipe", which is None for functions.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("Table.to_pandas needs pandas: pip install pandas") from error
        rows = [
            row | {"attack": row["attack"]["text"], "recipe": row["about"].get("recipe")}
            for row in self.as_json()
        ]
        names = [name for name in Result.__dataclass_fields__ if name != "about"]
        return pandas.DataFrame(rows, columns=[*names, "recipe"])

    def text(self, best: Sequence[Point] | None = None) -> str:
        """Return the table as text.

        If results have at least two values of λ, the text also says the robust accuracy at given
        clean accuracies.

        Args:
            best: Points (clean, robust) of a reference in the order of λ, such as the best possible
                frontier. If given, the text also says which fraction of its robust accuracy is
                reached.
        """
        if not self:
            return "(no results)"
        sizes = (5, 5, 23, 23, 14)  # characters
        lines = [
            " ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True))
            for row in (COLUMNS, *map(_cells, self))
        ]
        return "\n".join([*lines, *self._notes(best)])

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        if not self:
            return "<p>(no results)</p>"
        return html_table(COLUMNS, map(_cells, self), self._notes(_best_possible(self)))

    def _notes(self, best: Sequence[Point] | None) -> list[str]:
        """Return the lines below the table: how the results were measured, and their summary."""
        notes = list(
            dict.fromkeys(
                f"n = {r.n} ({r.split}), {r.attack['text']}, attack seed {r.seed}" for r in self
            )
        )
        noisy = [r for r in self if r.noise_samples > 1]
        if noisy:
            spread = max(max(r.clean_spread, r.robust_spread) for r in noisy)
            notes.append(
                f"noisy weights: means over {noisy[0].noise_samples} noise samples, standard "
                f"deviation <= {spread:.1%}"
            )
        notes[-1] += "; 95 % intervals"
        for width in self.widths:
            notes += self._dial_lines(width, best)
        notes += dict.fromkeys(note for r in self if (note := two_ends(r)))
        return notes

    def _dial_lines(self, width: float, best: Sequence[Point] | None) -> list[str]:
        """Return lines on robust accuracy at given clean accuracies, if a width has two λ."""
        if self.ends(width) is None:
            return []
        label = f"width {width:g}: " if len(self.widths) > 1 else ""
        levels = " / ".join(f"{100 * level:g}" for level in LEVELS)
        values = [self.robust_at(level, width) for level in LEVELS]
        if all(value is None for value in values):
            return [f"{label}no λ reaches a clean accuracy of {100 * min(LEVELS):g} %"]
        gains = [self.gain_over_coin(level, width=width) for level in LEVELS]
        lines = [
            f"{label}robust at clean >= {levels} %: {percents(values)} %, "
            f"gain over a coin between its own ends: {percents(gains, signed=True)} points"
        ]
        if best is not None:
            ratios = [
                baselines.ratio(value, baselines.robust_at(best, level))
                for value, level in zip(values, LEVELS, strict=True)
            ]
            lines.append(
                f"{label}fraction of the best possible robust accuracy there: {percents(ratios)} %"
            )
        return lines

    def __str__(self) -> str:
        return self.text(_best_possible(self))

    __repr__ = __str__


def _cells(result: Result) -> list[str]:
    """Return one row of a table as text, in the order of COLUMNS."""
    return [
        "-" if result.lam is None else f"{result.lam:g}",
        f"{result.width:.3g}",
        _percent(result, "clean"),
        _percent(result, "robust"),
        "-" if result.macs is None else f"{result.macs:,}",
    ]


def _result(name: str, row) -> Result:
    """Return one result from a file, or raise a ValueError that says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError(f"{name} is not a table of names and values")
    # Earlier versions wrote `draws`.
    values = {"noise_samples" if key == "draws" else key: value for key, value in row.items()}
    known = Result.__dataclass_fields__
    missing = [key for key, f in known.items() if _is_required(f) and key not in values]
    unknown = [str(key) for key in values if key not in known]
    for keys, fault in ((missing, "lacks"), (unknown, "has the unknown")):
        if keys:
            raise ValueError(f"{name} {fault} {', '.join(keys)}")
    for key, value in values.items():
        requirement, is_valid = _VALID[key]
        if not is_valid(value):
            raise ValueError(f"{name} has {key} = {value!r}, expected {requirement}")
    return Result(**values)


def _is_required(f: Field) -> bool:
    """Whether a field of a dataclass has no default."""
    return f.default is MISSING and f.default_factory is MISSING


def _number(low: float, high: float, kind: type | UnionType = int | float):
    """Return a function that says whether a value is a number in [low, high], not NaN."""

    def is_valid(value) -> bool:
        return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high

    return is_valid


def _or_none(is_valid: Callable) -> Callable:
    """Return a function that accepts None, too."""
    return lambda value: value is None or is_valid(value)


def _is_attack(value) -> bool:
    """Whether a value can be the description of an attack."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return False
    return _number(0, _LARGEST)(value.get("eps", 0.0))


def _is_about(value) -> bool:
    """Whether a value can describe a network. Only what tables use is checked."""
    if not isinstance(value, dict):
        return False
    words = [value.get(name) for name in ("recipe", "dial")]
    stops = value.get("stops", [])
    data = value.get("data") or {}
    return (
        all(word is None or isinstance(word, str) for word in words)
        and isinstance(stops, list)
        and all(_number(0, 1)(stop) for stop in stops)
        and isinstance(data, dict)
        and isinstance(data.get("name", ""), str)
        and isinstance(data.get("options") or {}, dict)
    )


_LARGEST = sys.float_info.max  # infinity is larger
_FRACTION = ("a number in [0, 1]", _number(0, 1))
_AMOUNT = ("a number, 0 or more", _number(0, _LARGEST))
_COUNT = ("a whole number, 1 or more", _number(1, _LARGEST, int))
_SIZE = ("a whole number, 0 or more, or nothing", _or_none(_number(0, _LARGEST, int)))
# field of a result -> what a file must hold there, in words and as a test
_VALID: dict[str, tuple[str, Callable]] = {
    "lam": ("λ in [0, 1], or nothing", _or_none(_number(0, 1))),
    "width": ("a fraction in (0, 1]", _number(sys.float_info.min, 1)),
    "n": _COUNT,
    "clean": _FRACTION,
    "clean_low": _FRACTION,
    "clean_high": _FRACTION,
    "robust": _FRACTION,
    "robust_low": _FRACTION,
    "robust_high": _FRACTION,
    "attack": ("a description with a text, and with a number as eps", _is_attack),
    "split": ("a word", lambda value: isinstance(value, str)),
    "seed": ("a whole number", _number(-_LARGEST, _LARGEST, int)),
    "seconds": _AMOUNT,
    "macs": _SIZE,
    "parameters": _SIZE,
    "nonzero": _SIZE,
    "noise_samples": _COUNT,
    "clean_spread": _AMOUNT,
    "robust_spread": _AMOUNT,
    "about": ("a table of the network: recipe, stops, dial and data", _is_about),
}


def _best_possible(results: Sequence[Result]) -> list[Point] | None:
    """Return the best possible frontier, if it is known and all results share data set and eps."""
    sources = [(r.about.get("data") or {}, r.attack.get("eps", 0.0)) for r in results]
    if not sources or any(source != sources[0] for source in sources):
        return None
    return best_points(*sources[0])


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson confidence interval of an accuracy.

    Unlike ±2 standard errors it stays inside [0, 1].

    Args:
        right: Number of correct images.
        n: Number of images.
        z: Quantile of the normal distribution. 1.96 gives a 95 % interval.

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If `n` is 0, or if `right` is not between 0 and `n`.

    Example:
        >>> wilson(90, 100)  # about (0.826, 0.945)
    """
    real("right", right)
    whole("n", n, 0)
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"wilson needs n >= 1 and 0 <= right <= n, got right={right} and n={n}")
    accuracy = right / n
    z2 = z * z
    centre = (accuracy + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + z2 / (4 * n * n))
    # min and max remove rounding errors at right = 0 and right = n
    return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))


def two_ends(result: Result) -> str:
    """Describe what lies between the ends of a dial, if training defines only its two ends.

    Args:
        result: A result of the dial.

    Returns:
        A note in words, or "" for other results.
    """
    stops = result.about.get("stops", [])
    dial = result.about.get("dial")  # missing in files of earlier versions
    trained_between = len(stops) > 2 and dial != "outputs"
    if len(stops) < 2 or trained_between:
        return ""
    rule = f"; between them: {RULES[dial]}" if dial in RULES else ""
    return (
        f"{result.about.get('recipe', 'network')}: trained for λ = {stops[0]:g} and "
        f"{stops[-1]:g} only{rule}"
    )


def _percent(r: Result, which: str) -> str:
    low, high = getattr(r, f"{which}_low"), getattr(r, f"{which}_high")
    return f"{getattr(r, which):.1%} [{low:.1%}, {high:.1%}]"
