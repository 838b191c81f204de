"""Report on a sweep: as text, in a notebook, as a web page, and as a notebook of its own.

The web page holds everything that it needs. It loads nothing from the network.
"""

from __future__ import annotations

import html
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .._check import path_of
from .._html import html_table
from ..evaluation.baselines import LEVELS, coin, gain, percents
from ..evaluation.compare import COIN
from ..evaluation.results import Table
from ..record import check_writable, write_bytes
from . import groups
from .groups import (
    FAILED,
    FEWEST_SEEDS,
    FINISHED,
    MOST_GROUPS,
    Entry,
    Found,
    Group,
    Mean,
    coin_ends,
)
from .plan import DATA_SEED
from .work import numbers

LAB = "pip install 'oatlib[lab]'"
BOUND = "≤"  # before a robust accuracy that is an upper bound, beside others that are not
ABOUT_BOUNDS = (
    "upper bound: the attack was not the suite of budget fast or full. A stronger attack can find "
    "more errors, so differences of upper bounds can become larger or smaller"
)
Rows = list[list[str]]


@dataclass(frozen=True)
class SweepReport:
    """What a sweep found. Printing it shows one table; notebooks show it as HTML.

    Attributes:
        found: The runs, and the groups of those that differ in their seed only.
    """

    found: Found

    def __str__(self) -> str:
        parts = [_headline(self.found)]
        for head, rows in self._tables():
            parts.append(_as_text(head, rows))
        return "\n".join([*parts, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = [html_table(head, rows) for head, rows in self._tables()]
        notes = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self._notes())
        return f"<p><b>{html.escape(_headline(self.found))}</b></p>{''.join(tables)}{notes}"

    def rows(self) -> list[dict]:
        """Return what was found as numbers, ready for pandas.

        Returns:
            For networks, one dictionary for each run and setting: the keys that vary, "lam",
            "width", "clean", "robust", "upper_bound" and "training_seconds". "upper_bound" is
            False if "robust" was measured with the suite (budget fast or full). For notebooks, one
            dictionary for each run: the keys that vary, and the numbers of the notebook.
        """
        rows = []
        for group in self.found.groups:
            if self.found.kind == "notebook":
                rows += [
                    entry.varied | numbers(entry.content.get("results")) for entry in group.entries
                ]
                continue
            for entry, table in zip(group.entries, group.tables, strict=True):
                seconds = groups.seconds_of(entry.content.get("training"))
                rows += [
                    {
                        **entry.varied,
                        "lam": result.lam,
                        "width": result.width,
                        "clean": result.clean,
                        "robust": result.robust,
                        "upper_bound": groups.is_upper_bound(result),
                        "training_seconds": seconds,
                    }
                    for result in table
                ]
        return rows

    def figures(self) -> list:
        """Return the figures, as `plotly` figures.

        Raises:
            ImportError: If plotly is not installed.
        """
        _need("plotly")
        from .figures import figures

        return figures(self.found.kind, self.found.groups)

    def html(self) -> str:
        """Return the report as a web page that needs no network.

        Raises:
            ImportError: If plotly is not installed.
        """
        _need("plotly")
        from .page import page

        found = self.found
        runs = [["run", "state", "seconds", "command that repeats it"]]
        runs += [
            [entry.label, _state(entry), _run_seconds(entry), entry.command]
            for entry in found.entries
        ]
        return page(
            found.title, _states(found), self._tables(), self._notes(), self.figures(), runs
        )

    def save(self, path: str | Path) -> None:
        """Write the report as a web page.

        Args:
            path: File to write. Its folder must exist.

        Raises:
            RecordError: If the file cannot be written.
            ImportError: If plotly is not installed.
        """
        check_writable(path)
        write_bytes(path, self.html().encode())

    def save_notebook(self, path: str | Path) -> None:
        """Write the report as a notebook, executed, which can be changed and run again.

        Args:
            path: File to write. Its folder must exist.

        Raises:
            RecordError: If the file cannot be written.
            ImportError: If the extra `lab` is not installed.
        """
        path = path_of(path)
        check_writable(path)
        _need("nbformat")
        _need("papermill")
        from .page import notebook

        folder = os.path.relpath(self.found.folder.absolute(), path.absolute().parent)
        content = notebook(self.found.title, Path(folder).as_posix(), path.absolute().parent)
        write_bytes(path, content)

    def _tables(self) -> list[tuple[list[str], Rows]]:
        """Return the tables of the report: titles of the columns, and rows of cells."""
        if not self.found.groups:
            return []
        if self.found.kind == "notebook":
            return [_numbers_table(self.found)]
        return [_settings_table(self.found), _summary_table(self.found.groups)]

    def _notes(self) -> list[str]:
        """Return the lines below the tables."""
        return [*_how(self.found), *_problems(self.found.entries)]


def sweep_report(folder: str | Path) -> SweepReport:
    """Report on the results of a sweep.

    Runs that differ in their seed only are one group: the report shows means over the seeds, and
    from three seeds on 95 % intervals (Student's t). A group of one seed has the interval over its
    test images (Wilson). Runs with different data seeds are different groups; only if the data seed
    varies and the seed does not, the means are over the data seeds. Damaged results are named, and
    not used.

    A robust accuracy of an attack that is not the suite (budget fast or full) is called an upper
    bound.

    Args:
        folder: The folder that `oatlib.sweep` wrote to.

    Returns:
        The report: print it, show it in a notebook, draw its `figures()`, or `save` it.

    Raises:
        RecordError: If it is not the folder of a sweep.

    Example:
        >>> report = sweep_report("runs")
        >>> report.save("report.html")
    """
    return SweepReport(groups.read(folder))


def _need(module: str) -> None:
    """Raise an ImportError that says what to install, unless a module is there."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"the page of a sweep needs {module}: {LAB}")


def _headline(found: Found) -> str:
    return f"{found.title} ({found.kind}): {_states(found)}"


def _states(found: Found) -> str:
    """Return how many runs are finished, and how many are not."""
    states = [entry.state for entry in found.entries]
    parts = [f"{states.count(FINISHED)} of {len(states)} runs are finished"]
    for state in dict.fromkeys(states):
        if state != FINISHED:
            parts.append(f"{states.count(state)} {state}")
    return ", ".join(parts)


def _seeds(found: Found) -> str:
    """Return what the means are over, as words: "seeds" or "data seeds"."""
    return f"{found.averaged.replace('_', ' ')}s"


def _robust(found: Sequence[Group]) -> str:
    """Return the name of robust accuracies in the title of a column."""
    bounds = [group.is_upper_bound() for group in found]
    if all(bounds):
        return "robust (upper bound)"
    return f"robust ({BOUND}: upper bound)" if any(bounds) else "robust"


def _mark(group: Group, found: Sequence[Group]) -> str:
    """Return what stands before a robust accuracy that the title of its column does not explain."""
    return f"{BOUND} " if groups.is_marked(group, found) else ""


def _settings_table(found: Found) -> tuple[list[str], Rows]:
    """Return clean and robust accuracy for each group and setting."""
    head = ["setting", "λ", "width", "clean, %", f"{_robust(found.groups)}, %", _seeds(found)]
    rows = []
    for group in found.groups:
        label, mark = group.label, _mark(group, found.groups)
        for point in group.points():
            rows.append(
                [
                    label,
                    "-" if point.lam is None else f"{point.lam:g}",
                    f"{point.width:.3g}",
                    _percent(point.clean),
                    mark + _percent(point.robust),
                    str(len(group.entries)),
                ]
            )
            label = ""
    return head, rows


def _summary_table(found: Sequence[Group]) -> tuple[list[str], Rows]:
    """Return for each group what it keeps at given clean accuracies, its cost and its time."""
    levels = " / ".join(f"{100 * level:g}" for level in LEVELS)
    head = ["setting", f"{_robust(found)} at clean >= {levels} %", "gain over its own coin"]
    reference = coin_ends(found)
    head += [f"gain over the coin {', '.join(COIN)}"] if reference is not None else []
    head += ["parameters"]
    trained = any(group.training_seconds() is not None for group in found)
    head += ["training, s"] if trained else []
    rows = []
    for group in found:
        robust = [_middle(group, partial(Table.robust_at, clean=level)) for level in LEVELS]
        gains = [_middle(group, partial(Table.gain_over_coin, clean=level)) for level in LEVELS]
        robust_cell = _mark(group, found) + percents(robust)
        row = [group.label, robust_cell, percents(gains, signed=True)]
        if reference is not None:
            coins = [coin(*reference, level) for level in LEVELS]
            over_coin = [gain(mine, other) for mine, other in zip(robust, coins, strict=True)]
            row.append(percents(over_coin, signed=True))
        row.append(_parameters(group))
        seconds = group.training_seconds()
        row += [("-" if seconds is None else f"{seconds.middle:.1f}")] if trained else []
        rows.append(row)
    return head, rows


def _parameters(group: Group) -> str:
    """Return the smallest and the largest number of parameters of the networks of a group."""
    sizes = [result.parameters for table in group.tables for result in table]
    known = sorted(size for size in sizes if size is not None)
    return " to ".join(dict.fromkeys(f"{size:,}" for size in (*known[:1], *known[-1:]))) or "-"


def _middle(group: Group, value: Callable[[Table], float | None]) -> float | None:
    """Return the mean over seeds of a number of each table, or None if a table lacks it."""
    mean = group.over_seeds(value)
    return None if mean is None else mean.middle


def _numbers_table(found: Found) -> tuple[list[str], Rows]:
    """Return the numbers that the notebooks of each group reported."""
    means = [group.numbers() for group in found.groups]
    names = list(dict.fromkeys(name for each in means for name in each))
    rows = [
        [
            group.label,
            *(_number(each[name]) if name in each else "-" for name in names),
            str(len(group.entries)),
        ]
        for group, each in zip(found.groups, means, strict=True)
    ]
    return ["setting", *names, _seeds(found)], rows


def _how(found: Found) -> list[str]:
    """Return how the numbers were measured, and what the intervals are."""
    if not found.groups:
        return []
    results = [r for group in found.groups for table in group.tables for r in table]
    lines = list(dict.fromkeys(f"n = {r.n} ({r.split}), {r.attack['text']}" for r in results))
    if len(lines) > 3:
        lines = [*lines[:3], f"and {len(lines) - 3} other ways of measuring"]
    if any(group.is_upper_bound() for group in found.groups):
        lines.append(ABOUT_BOUNDS)
    counts = {len(group.entries) for group in found.groups}
    if any(count >= FEWEST_SEEDS for count in counts):
        seeds = _seeds(found)
        lines.append(f"[low, high]: 95 % interval over the {seeds}, from {FEWEST_SEEDS} {seeds} on")
    lines += _what_a_seed_changes(found)
    if len(found.groups) > MOST_GROUPS:
        lines.append(f"figures show the first {MOST_GROUPS} of {len(found.groups)} settings")
    if 1 in counts and results:
        lines.append("one seed: [low, high] is the 95 % interval over the test images only")
    return lines


def _what_a_seed_changes(found: Found) -> list[str]:
    """Return a line that says what differs between the runs of a group of trainings."""
    several = [group for group in found.groups if len(group.entries) > 1]
    if found.kind != "training" or not several:
        return []
    if found.averaged == DATA_SEED:
        return ["a data seed changes the images only: all trainings have the same seed"]
    same_images = {len(seeds) == 1 for group in several if (seeds := group.data_seeds())}
    texts = {
        (True,): "a seed changes the training only: the runs of a setting share their images",
        (False,): "a seed changes both the images and the training",
        (False, True): "a seed changes both the images and the training, except in settings with a "
        "data_seed: their runs share their images",
    }
    text = texts.get(tuple(sorted(same_images)))
    return [] if text is None else [text]


def _problems(entries: Sequence[Entry]) -> list[str]:
    """Return a line for each run that failed, for each damaged result, and for each warning."""
    lines = []
    for entry in entries:
        if entry.error:
            verb = "failed" if entry.state == FAILED else "is not used"
            lines.append(f"{entry.label}: {verb}: {' '.join(entry.error.split())[:300]}")
    warned: dict[str, list[str]] = {}  # warning -> labels of its runs
    for entry in entries:
        found = entry.content.get("warnings")
        for warning in found if isinstance(found, list) else ():
            warned.setdefault(" ".join(str(warning).split())[:300], []).append(entry.label)
    for warning, labels in warned.items():
        others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        lines.append(f"{labels[0]}{others}: warning: {warning}")
    return lines


def _state(entry: Entry) -> str:
    return f"{entry.state}: {entry.error}" if entry.error else entry.state


def _run_seconds(entry: Entry) -> str:
    seconds = entry.content.get("seconds")
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else "-"


def _percent(mean: Mean) -> str:
    text = f"{100 * mean.middle:.1f}"
    if mean.low is None or mean.high is None:
        return text
    return f"{text} [{100 * max(0.0, mean.low):.1f}, {100 * min(1.0, mean.high):.1f}]"


def _number(mean: Mean) -> str:
    text = f"{mean.middle:.4g}"
    return text if mean.low is None else f"{text} [{mean.low:.4g}, {mean.high:.4g}]"


def _as_text(head: Sequence[str], rows: Rows) -> str:
    """Return a table as text, with aligned columns. The first one is aligned to the left."""
    cells = [list(head), *rows]
    sizes = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        first = row[0].ljust(sizes[0])
        others = [cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True)]
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
