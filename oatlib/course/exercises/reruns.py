"""Exercises of lesson 11: intervals over seeds, differences by seed, and a sweep.

The answers get lists and dictionaries of numbers, and a function that stands for a run.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import torch

from .. import seeds
from . import Wrong, exercise

MOST = 10  # seeds that `enough` may ask for
STREAMS = 1000  # pairs of systems that are simulated
ERRORS = 0.05  # share of equal pairs that may be called different
SIZE = 2.0  # of a real difference, in standard deviations of the differences
POWER = 0.6  # share of real differences that must be found


@exercise(seeds.over_seeds, "oatlib.course.seeds.over_seeds")
def interval(theirs) -> None:
    """values, two or more -> mean, lower and upper limit of the 95 % interval."""
    for values in ([1.0, 2.0, 4.0], [0.5, 0.1, 0.4, 0.2, 0.9]):
        got = theirs(list(values))
        if not isinstance(got, tuple | list) or len(got) != 3:
            raise Wrong("it should return three numbers: the mean, the lower and the upper limit.")
        middle, low, high = (float(value) for value in got)
        if not math.isclose(middle, fmean(values), rel_tol=1e-6):
            raise Wrong("the first number should be the mean of the values.")
        _look_at_margin(values, middle, low, high)


def _look_at_margin(values: Sequence[float], middle: float, low: float, high: float) -> None:
    """Raise Wrong if the limits of an interval are not those of Student's t."""
    k, spread = len(values), stdev(values)
    due = seeds.T95[k] * spread / k**0.5
    margin = high - middle
    if not math.isclose(middle - low, margin, rel_tol=1e-6):
        raise Wrong("the two limits should be equally far from the mean.")
    # Each common mistake gives another margin.
    if math.isclose(margin, seeds.T95[k] * spread, rel_tol=1e-3):
        raise Wrong(
            "this is how far single runs lie apart. The mean of k runs is surer: divide by the "
            "root of k."
        )
    if math.isclose(margin, 1.96 * spread / k**0.5, rel_tol=1e-3):
        raise Wrong("1.96 is for many values. With few, use T95[k].")
    if math.isclose(margin, spread / k**0.5, rel_tol=1e-3):
        raise Wrong("this is one standard error. Multiply by T95[k].")
    if math.isclose(margin, due * ((k - 1) / k) ** 0.5, rel_tol=1e-3):
        raise Wrong(
            "divide by k - 1 and not by k in the standard deviation: statistics.stdev does."
        )
    if math.isclose(margin, seeds.T95[k] * spread / k, rel_tol=1e-3):
        raise Wrong("divide by the root of k, and not by k.")
    if not math.isclose(margin, due, rel_tol=1e-3):
        raise Wrong("each limit should be T95[k] · stdev / √k away from the mean.")


@exercise(seeds.paired, "oatlib.course.seeds.paired")
def paired(theirs) -> None:
    """ours and theirs, {seed: value} -> list of the differences by ascending seed."""
    ours, others = {7: 0.5, 1: 0.9, 3: 0.4}, {3: 0.1, 1: 0.7, 9: 0.2, 7: 0.8}
    got = theirs(dict(ours), dict(others))
    if not isinstance(got, list | tuple) or any(isinstance(v, tuple | list) for v in got):
        raise Wrong("it should return a list of numbers.")
    due = seeds.paired(ours, others)
    found = [float(value) for value in got]
    if len(found) != len(due):
        raise Wrong(
            f"seeds 1, 3 and 7 were run with both systems, so there are 3 differences; it returns "
            f"{len(found)}."
        )
    if _close(found, [-value for value in due]):
        raise Wrong("the sign is wrong: it should be ours minus theirs.")
    in_order = [a - b for a, b in zip(ours.values(), others.values(), strict=False)]
    if _close(found, in_order):
        raise Wrong(
            "it pairs by the order in the dictionaries. Runs end in any order: pair by seed."
        )
    if not _close(found, due):
        if _close(sorted(found), sorted(due)):
            raise Wrong("the differences are right, but not in the order of the seeds.")
        raise Wrong("each difference should be between two values of the same seed.")


def _close(found: Sequence[float], due: Sequence[float]) -> bool:
    return len(found) == len(due) and all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(found, due, strict=True)
    )


def name_of(settings: Mapping) -> str:
    """Return a name of a run that does not depend on the order of its settings.

    Args:
        settings: The settings by name.
    """
    return json.dumps(settings, sort_keys=True)


def _all_runs(grid: Mapping[str, list]) -> list[dict]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


@exercise(_all_runs, "oatlib.sweeps.plan.read_plan")
def all_runs(theirs) -> None:
    """grid, {name: list of values} -> list of dictionaries, one for each combination."""
    grid = {"seed": [0, 1], "eps": [4, 8, 16], "lam": [1]}
    got = theirs({name: list(values) for name, values in grid.items()})
    due = _all_runs(grid)
    if not isinstance(got, list) or not all(isinstance(each, dict) for each in got):
        raise Wrong("it should return a list of dictionaries.")
    if any(set(each) != set(grid) for each in got):
        raise Wrong(f"each dictionary should have the names {', '.join(grid)}.")
    if len(got) == 1:
        raise Wrong(
            "it takes the first values together, then the second ones: combine all of them."
        )
    if len(got) != len(due):
        raise Wrong(f"2 seeds and 3 values of eps are 6 combinations; it returns {len(got)}.")
    if any(isinstance(value, list) for each in got for value in each.values()):
        raise Wrong("each dictionary should hold one value for each name, and no list.")
    if got != due:
        if sorted(map(name_of, got)) == sorted(map(name_of, due)):
            raise Wrong("all combinations are there. Let the last name change fastest.")
        raise Wrong("some combinations are missing, and others are there twice.")
    if theirs({}) != [{}]:
        raise Wrong("without any list there is one run, {}: nothing varies.")


def _run_all(run, runs, done) -> dict[str, str]:
    failed = {}
    for settings in runs:
        name = name_of(settings)
        if name in done:
            continue
        try:
            done[name] = run(settings)
        except Exception as error:
            failed[name] = str(error)
    return failed


@exercise(_run_all, "oatlib.sweeps.sweep.sweep")
def run_all(theirs) -> None:
    """run, a function; runs, list of settings; done, {name: result}, is filled -> {name: error}."""
    calls = []

    def run(settings):
        calls.append(settings["seed"])
        if settings["seed"] == 1:
            raise ValueError("the loss became NaN")
        return 10 * settings["seed"]

    def interrupted(settings):
        raise KeyboardInterrupt

    runs = [{"seed": seed, "eps": 8} for seed in (0, 1, 2)]
    done = {name_of({"eps": 8, "seed": 0}): -1}
    try:
        failed = theirs(run, [dict(each) for each in runs], done)
    except ValueError as error:
        raise Wrong("a run that fails stops the others: catch its exception.") from error
    _look_at_results(calls, [name_of(each) for each in runs], done, failed)
    try:
        theirs(interrupted, runs[2:], {})
    except KeyboardInterrupt:
        return
    raise Wrong("Ctrl-C must still stop it: catch `Exception`, which KeyboardInterrupt is not.")


def _look_at_results(calls: list[int], names: Sequence[str], done: Mapping, failed) -> None:
    """Raise Wrong if the wrong runs were done, or if results or errors are not kept."""
    if 0 in calls:
        raise Wrong("it runs again what is done: look into `done` first, by name_of(settings).")
    if calls != [1, 2]:
        raise Wrong(f"seeds 1 and 2 are not done yet: it ran the seeds {calls}.")
    if done.get(names[2]) != 20:
        raise Wrong("a result belongs into `done`, under name_of(settings).")
    if names[1] in done:
        raise Wrong(
            "a run that failed is not done: leave it out of `done`, so that it is tried again."
        )
    if not isinstance(failed, dict) or set(failed) != {names[1]}:
        raise Wrong("it should return {name: error} of the runs that failed.")
    if "NaN" not in str(failed[names[1]]):
        raise Wrong("the error should be kept: it says why the run failed.")


@exercise(seeds.enough, "oatlib.course.seeds.enough")
def enough(theirs) -> str:
    """differences, one for each seed so far -> True to stop: it is decided which is better."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(STREAMS, MOST, generator=generator, dtype=torch.float64)
    wrong, _ = _decided(theirs, noise)
    found, used = _decided(theirs, noise + SIZE)
    if wrong > ERRORS:
        raise Wrong(
            f"of {STREAMS} pairs of equal systems it calls {wrong:.0%} different. It looks after "
            f"every seed, and each look can be wrong: at most {ERRORS:.0%} are allowed."
        )
    if found < POWER:
        raise Wrong(
            f"it is hardly ever wrong, but finds only {found:.0%} of the differences of {SIZE:g} "
            f"standard deviations within {MOST} seeds; {POWER:.0%} are wanted."
        )
    return (
        f"It calls {wrong:.1%} of equal pairs different, and finds {found:.0%} of the real "
        f"differences, after {used:.1f} seeds on average."
    )


def _decided(rule, streams: torch.Tensor) -> tuple[float, float]:
    """Return the share of streams at which a rule stops, and after how many seeds on average."""
    stopped = []
    for stream in streams.tolist():
        looks = (n for n in range(1, MOST + 1) if rule(stream[:n]))
        stopped.append(next(looks, None))
    when = [n for n in stopped if n is not None]
    return len(when) / len(stopped), fmean(when) if when else float(MOST)
