"""Read a folder of results, and put runs together that differ in their seed only.

A number of a group is the mean over its seeds. Its interval says how far another set of seeds could
lie from it, see `over`. Runs with different data seeds are different groups: runs that share their
images are not independent, so one interval over all of them would be too narrow. Where only the
data seed varies, it is what the means are over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from .._check import path_of
from ..course.seeds import over_seeds
from ..evaluation.baselines import Point as Pair
from ..evaluation.compare import COIN
from ..evaluation.results import Result, Table
from ..record import RecordError, read_json
from . import store, work
from .plan import DATA_SEED, SEED, short
from .sweep import FILE, FORM

MOST_GROUPS = 12  # that one figure can show
FEWEST_SEEDS = 3  # with two, the interval of Student's t says nothing
FINISHED, FAILED, OPEN = "finished", "failed", "not finished"
SUITE = "suite"  # name of the suite in results
# Budgets of the suite whose numbers are called robust accuracy. The explorer, too, calls those of
# the quick one upper bounds.
LONG_BUDGETS = ("fast", "full")


@dataclass(frozen=True)
class Mean:
    """A number with its interval.

    Attributes:
        middle: Mean over the seeds.
        low: Lower limit of the 95 % interval. None: there is none.
        high: Upper limit.
        values: The number of each seed.
    """

    middle: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def over(values: Sequence[float], alone: tuple[float, float] | None = None) -> Mean:
    """Return the mean of some values with its interval.

    Args:
        values: One value per seed, at least one.
        alone: The interval if there is only one value, such as the one over test images.

    Returns:
        The mean. From three values on, with the interval of Student's t.
    """
    kept = tuple(float(value) for value in values)
    if len(kept) == 1 and alone is not None:
        return Mean(kept[0], *alone, kept)
    if len(kept) < FEWEST_SEEDS:
        return Mean(fmean(kept), None, None, kept)
    middle, low, high = over_seeds(kept)
    return Mean(middle, min(low, middle), max(high, middle), kept)


@dataclass(frozen=True)
class Entry:
    """A run in the folder of a sweep.

    Attributes:
        id: ID of the run.
        label: What distinguishes it from the other runs.
        varied: The same as values by key.
        command: Command line that does it again.
        state: FINISHED, FAILED or OPEN.
        content: The result, if it is finished.
        error: Why it failed, or what is wrong with its result, or "".
    """

    id: str
    label: str
    varied: dict
    command: str
    state: str
    content: dict = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Point:
    """What a group of networks reaches at one setting.

    Attributes:
        lam: λ, or None.
        width: Fraction of the channels.
        clean: Clean accuracy.
        robust: Robust accuracy.
    """

    lam: float | None
    width: float
    clean: Mean
    robust: Mean


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in their seed only.

    Attributes:
        label: What distinguishes it from the other groups.
        varied: The same as values by key.
        entries: The runs.
        tables: Their measurements, in the same order. Empty for notebooks.
    """

    label: str
    varied: dict
    entries: tuple[Entry, ...]
    tables: tuple[Table, ...]

    def points(self) -> list[Point]:
        """Return the means at the settings that all seeds were measured at."""
        by_setting = [{_setting(result): result for result in table} for table in self.tables]
        common = [key for key in by_setting[0] if all(key in each for each in by_setting)]
        return [_point([each[key] for each in by_setting]) for key in common]

    def over_seeds(self, value: Callable[[Table], float | None]) -> Mean | None:
        """Return the mean of a number of each table, or None if a table lacks it."""
        values = [value(table) for table in self.tables]
        known = [each for each in values if each is not None]
        return over(known) if known and len(known) == len(values) else None

    def numbers(self) -> dict[str, Mean]:
        """Return the means of the numbers that the notebooks of all seeds reported."""
        found = [work.numbers(entry.content.get("results")) for entry in self.entries]
        names = [name for name in found[0] if all(name in each for each in found)]
        return {name: over([each[name] for each in found]) for name in names}

    def is_upper_bound(self) -> bool:
        """Return whether a robust accuracy of the group is of a weaker attack than the suite."""
        return any(is_upper_bound(result) for table in self.tables for result in table)

    def data_seeds(self) -> set:
        """Return the seeds of the images of the runs, as far as the results say them."""
        abouts = [table[0].about.get("data") or {} for table in self.tables]
        options = [data.get("options") for data in abouts]
        return {each.get(SEED) for each in options if isinstance(each, Mapping)}

    def recipe(self) -> str | None:
        """Return the recipe of the networks, or None for notebooks."""
        return self.tables[0][0].about.get("recipe") if self.tables else None

    def training_seconds(self) -> Mean | None:
        """Return the time of a training, or None if nothing was trained."""
        times = [seconds_of(entry.content.get("training")) for entry in self.entries]
        known = [time for time in times if time is not None]
        return over(known) if known and len(known) == len(times) else None


def coin_ends(groups: Sequence[Group]) -> tuple[Pair, Pair] | None:
    """Return the points (clean, robust) of the two systems of the usual coin, if both are there.

    Args:
        groups: Groups of networks. The coin is between those of the recipes in `compare.COIN`.
    """
    ends = []
    for recipe in COIN:
        points = [p for group in groups if group.recipe() == recipe for p in group.points()]
        if not points:
            return None
        best = max(points, key=lambda p: (p.lam or 0.0, p.width))
        ends.append((best.clean.middle, best.robust.middle))
    return ends[0], ends[1]


def is_marked(group: Group, groups: Sequence[Group]) -> bool:
    """Return whether a group of upper bounds must be told apart: other groups have none."""
    return group.is_upper_bound() and not all(each.is_upper_bound() for each in groups)


def is_upper_bound(result: Result) -> bool:
    """Return whether a robust accuracy is called an upper bound.

    Every attack gives an upper bound. That of the long suite is close enough to be called robust
    accuracy without this remark.

    Args:
        result: The measurement. Its record says which attack it was.
    """
    attack = result.attack
    return not (attack.get("name") == SUITE and attack.get("budget") in LONG_BUDGETS)


def seconds_of(training) -> float | None:
    """Return the seconds in the entry "training" of a result, or None."""
    seconds = training.get("seconds") if isinstance(training, Mapping) else None
    return float(seconds) if isinstance(seconds, int | float) else None


def _setting(result: Result) -> tuple[float, float | None]:
    return round(result.width, 6), result.lam


def _point(results: Sequence[Result]) -> Point:
    """Return the means over the results of one setting, one for each seed."""
    first = results[0]
    return Point(
        first.lam,
        first.width,
        over([r.clean for r in results], (first.clean_low, first.clean_high)),
        over([r.robust for r in results], (first.robust_low, first.robust_high)),
    )


@dataclass(frozen=True)
class Found:
    """What is in the folder of a sweep.

    Attributes:
        folder: The folder.
        title: Name of the sweep.
        kind: Kind of its runs.
        keys: Keys that differ between runs.
        entries: All runs.
        groups: The finished runs, put together.
        averaged: The key that means are over: "seed" or "data_seed".
    """

    folder: Path
    title: str
    kind: str
    keys: tuple[str, ...]
    entries: tuple[Entry, ...]
    groups: tuple[Group, ...]
    averaged: str


def read(folder: Path | str) -> Found:
    """Read the folder of a sweep.

    Args:
        folder: The folder.

    Raises:
        RecordError: If it is not the folder of a sweep.
    """
    folder = path_of(folder)
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}: give the folder of oatlib sweep --out")
    path = folder / FILE
    if not path.is_file():
        raise RecordError(
            f"{folder} is not the folder of a sweep: it has no {FILE}. oatlib sweep writes it"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise RecordError(f"{path} is no list of a sweep. Run the sweep again: it writes the list")
    try:
        keys = tuple(str(key) for key in content["keys"])
        entries = tuple(_entry(folder, run) for run in content["runs"])
        title, kind = str(content["title"]), str(content["kind"])
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is damaged ({type(error).__name__}: {error}). Run the sweep again: it writes "
            "the list"
        ) from error
    averaged = _averaged(kind, entries)
    return Found(folder, title, kind, keys, entries, _groups(entries, averaged), averaged)


def _entry(folder: Path, run: Mapping) -> Entry:
    """Return a run of the list with what is known about it."""
    run_id = str(run["id"])
    if not run_id.isalnum():  # it becomes part of a path
        raise TypeError(f"{run_id!r} is no ID")
    place = store.folder_of(folder, run_id)
    about = (run_id, str(run["label"]), dict(run["varied"]), str(run["command"]))
    try:
        content = store.read_result(place)
        if content is not None and "table" in content:
            Table.from_json(content["table"])
    except (OSError, ValueError) as error:
        return Entry(*about, OPEN, error=f"{error}. Run the sweep again")
    if content is not None:
        return Entry(*about, FINISHED, content)
    failure = store.read_failure(place)
    return Entry(*about, OPEN if failure is None else FAILED, error=failure or "")


def _averaged(kind: str, entries: Sequence[Entry]) -> str:
    """Return the key that means are over: the data seed where it varies and the seed does not."""
    values = {key: {repr(entry.varied.get(key)) for entry in entries} for key in (SEED, DATA_SEED)}
    # A notebook may call any of its parameters data_seed.
    is_data_seed = kind == "training" and len(values[DATA_SEED]) > 1 and len(values[SEED]) == 1
    return DATA_SEED if is_data_seed else SEED


def _groups(entries: Sequence[Entry], averaged: str) -> tuple[Group, ...]:
    """Put finished runs together that differ in the key `averaged` only."""
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.state == FINISHED:
            together.setdefault(repr(_without(entry.varied, averaged)), []).append(entry)
    # The runs of a variant without values of its own differ from the others, but in no key.
    nameless = "all runs" if len(together) == 1 else "shared settings"
    return tuple(_group(members, averaged, nameless) for members in together.values())


def _group(members: Sequence[Entry], averaged: str, nameless: str) -> Group:
    """Return runs that differ in the key `averaged` only as a group."""
    varied = _without(members[0].varied, averaged)
    label = ", ".join(f"{key} = {short(value)}" for key, value in varied.items())
    tables = tuple(
        Table.from_json(entry.content["table"]) for entry in members if "table" in entry.content
    )
    return Group(label or nameless, varied, tuple(members), tables)


def _without(varied: Mapping, averaged: str) -> dict:
    """Return the values of a run by key, without the key that means are over."""
    return {key: value for key, value in varied.items() if key != averaged}
