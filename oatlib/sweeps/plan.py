"""What a sweep is: a list of runs, read from a TOML file and checked completely.

At the top of the file stands what all runs share. The table `[grid]` holds lists, of which every
combination is run. Each table `[[runs]]` is a single variant; with a grid, each variant is run at
every combination.

    recipe = "oat"
    epochs = 2

    [grid]
    seed = [0, 1, 2]
    backbone = ["tiny", "small"]
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from .._check import briefly
from .._suggest import did_you_mean
from . import store
from .kinds import KINDS, Kind, Seen

GRID, RUNS = "grid", "runs"
MOST_RUNS = 10_000
SEED, DATA_SEED = "seed", "data_seed"


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        id: Hash of all that its result depends on.
        label: What distinguishes it from the other runs, such as "seed = 0, eps = 4".
        varied: The same as values by key.
        parameters: All its parameters, with defaults, as values that JSON can hold.
        address: All that its result depends on.
        command: Command line that does it again.
    """

    id: str
    label: str
    varied: dict
    parameters: dict
    address: dict = field(repr=False)
    command: str = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """A sweep: what is run, and how often.

    Attributes:
        title: Name of the file without its ending, or "sweep".
        kind: "training", "measurement" or "notebook".
        runs: All runs, in the order in which they are started.
        keys: Keys that differ between runs, in the order of the file.
    """

    title: str
    kind: str
    runs: tuple[Run, ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        """Return the list of the runs, one on a line."""
        lines = [f"{self.title}: {len(self)} {_plural('run', len(self))} ({self.kind})"]
        digits = len(str(len(self)))
        lines += [f"{number:{digits + 2}}  {run.label}" for number, run in enumerate(self.runs, 1)]
        return "\n".join(lines)

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self.runs)


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


def read_plan(source: str | Path | Mapping) -> Plan:
    """Read a sweep and check it completely. Nothing is trained, attacked or executed.

    Args:
        source: Path of a TOML file, or its content as a dictionary.

    Returns:
        The sweep.

    Raises:
        ValueError: If there is no such file, if it is no TOML, if a key is unknown, if a value is
            not valid, or if two runs are the same. The message names the key and what is valid.

    Example:
        >>> plan = read_plan({"recipe": "oat", "epochs": 1, "grid": {"seed": [0, 1, 2]}})
        >>> len(plan)
        3
    """
    if isinstance(source, Mapping):
        title, content = "sweep", dict(source)
    else:
        title, content = Path(source).stem, _read(Path(source))
    try:
        return _plan(title, content)
    except (ValueError, TypeError, ImportError, RuntimeError, OSError) as error:
        raise ValueError(f"{title if isinstance(source, Mapping) else source}: {error}") from error


def _read(path: Path) -> dict:
    """Return the content of a TOML file."""
    if path.is_dir() or not path.exists():
        similar = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ValueError(f"there is no file {path}{did_you_mean(path.name, similar)}")
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _plan(title: str, content: Mapping) -> Plan:
    shared = {key: value for key, value in content.items() if key not in (GRID, RUNS)}
    grid = _grid(content.get(GRID, {}))
    variants = _variants(content.get(RUNS, [{}]))
    kind, valid = _kind({**shared, **grid, **{key: 0 for each in variants for key in each}})
    _check_keys(shared, grid, variants, kind, valid)
    n = len(variants) * math.prod(len(values) for values in grid.values())
    if n > MOST_RUNS:
        raise ValueError(f"these are {n:,} runs, at most {MOST_RUNS:,} are possible")
    keys = dict.fromkeys([*(key for each in variants for key in each), *grid])
    keys.pop("timeout", None)
    runs = tuple(_runs(shared, grid, variants, tuple(keys), kind))
    _check_different(runs)
    return Plan(title, kind.name, runs, tuple(keys))


def _grid(grid) -> dict[str, list]:
    """Check the table [grid]: lists by key."""
    if not isinstance(grid, Mapping):
        raise ValueError(f"grid must be a table [grid] of lists, got {briefly(grid)}")
    for key, values in grid.items():
        if not isinstance(values, list):
            raise ValueError(
                f"[grid] {key} must be a list, such as {key} = [{_toml(values)}], got "
                f"{_toml(values)}. What all runs share stands above [grid]"
            )
        if not values:
            raise ValueError(f"[grid] {key} is empty: leave it out, or list its values")
        for index, value in enumerate(values):
            if value in values[:index]:
                raise ValueError(f"[grid] {key} has the value {_toml(value)} twice")
    return dict(grid)


def _variants(variants) -> list[dict]:
    """Check the tables [[runs]]."""
    is_valid = isinstance(variants, list) and all(isinstance(each, Mapping) for each in variants)
    if not is_valid or not variants:
        raise ValueError("runs must be tables [[runs]], each with the values of one variant")
    return [dict(each) for each in variants]


def _kind(used: Mapping) -> tuple[Kind, Mapping[str, str]]:
    """Return the kind of the runs, from the key that says what is run."""
    chosen = [key for key in KINDS if key in used]
    if len(chosen) == 1:
        return KINDS[chosen[0]]
    examples = 'notebook = "01_attack", recipe = "oat" or weights = "oat.safetensors"'
    if chosen:
        raise ValueError(f"{' and '.join(chosen)} exclude each other: give one of {examples}")
    hints = [f"{key!r}{hint}" for key in used if (hint := did_you_mean(key, KINDS))]
    unknown = f"; unknown key {hints[0]}" if hints else ""
    raise ValueError(f"it does not say what to run: give one of {examples}{unknown}")


def _check_keys(shared: Mapping, grid: Mapping, variants, kind: Kind, valid: Mapping) -> None:
    """Raise a ValueError for keys that are unknown or stand twice."""
    for key in grid:
        if key in shared:
            raise ValueError(f"{key} stands above [grid] and in it: give it once")
        if any(key in each for each in variants):
            raise ValueError(f"{key} stands in [grid] and in [[runs]]: give it once")
    if kind.name == "notebook":  # its parameters are keys, too; `complete` knows them
        return
    for key in dict.fromkeys([*shared, *grid, *(key for each in variants for key in each)]):
        if key not in valid:
            names = [*valid, GRID, RUNS]
            raise ValueError(
                f"unknown key {key!r}{did_you_mean(key, names)}: a {kind.name} has the keys "
                f"{', '.join(valid)}"
            )


def _runs(
    shared: Mapping, grid: Mapping, variants: list[dict], keys: tuple[str, ...], kind: Kind
) -> Iterator[Run]:
    """Yield all runs: every variant at every combination of the grid."""
    seen = Seen()
    for variant in variants:
        for combination in product(*grid.values()):
            values = {**shared, **variant, **dict(zip(grid, combination, strict=True))}
            varied = {key: values[key] for key in keys if key in values}
            label = ", ".join(f"{key} = {short(value)}" for key, value in varied.items())
            try:
                if missing := [key for key in KINDS if KINDS[key][0] is kind and key not in values]:
                    raise ValueError(f"it has no {missing[0]}")
                parameters = kind.complete(values, seen)
                address = {"kind": kind.name, **kind.address(parameters)}
            except (ValueError, TypeError) as error:
                place = f" (in the run with {label})" if label else ""
                raise ValueError(f"{error}{place}") from error
            yield Run(
                store.identity(address),
                label or "the only run",
                varied,
                parameters,
                address,
                kind.command(parameters),
            )


def _check_different(runs: tuple[Run, ...]) -> None:
    """Raise a ValueError if two runs are the same."""
    labels: dict[str, str] = {}
    for run in runs:
        if run.id in labels:
            raise ValueError(f"two runs are the same: ({labels[run.id]}) and ({run.label})")
        labels[run.id] = run.label


def _toml(value) -> str:
    """Return a value as it is typed in the file, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def short(value) -> str:
    """Return a value for a label, shortened if it is long."""
    return value if isinstance(value, str) and len(value) <= 60 else _toml(value)
