"""Judge a claim: from numbers with intervals, through checks, to a verdict.

A check asks whether a number is above or below a limit. The 95 % interval of the number answers it,
never its mean. The answer is yes if the whole interval is on the right side, no if the whole
interval is on the wrong side, and otherwise unclear. `verdict` combines the answers. No verdict is
typed by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from ..course.seeds import over_seeds

FEWEST_SEEDS = 3  # with fewer, a number has no interval here, and every check of it is unclear


class Answer(StrEnum):
    """Answer of one check."""

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


class Verdict(StrEnum):
    """What was found about a claim on one data set."""

    HOLDS = "holds"
    PARTLY = "holds partly"
    FAILS = "does not hold here"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        middle: The number.
        low: Lower limit of the interval. None: there is no interval.
        high: Upper limit of the interval.
        repeats: How often it was measured.
        kind: What is repeated: "seeds" (trainings, 95 % interval of Student's t), "rounds" (of a
            timing, from the second lowest to the second highest of 15) or "counted" (exact).
        values: The single measurements, as far as the record has them.
    """

    middle: float
    low: float | None
    high: float | None
    repeats: int
    kind: Literal["seeds", "rounds", "counted"]
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"an interval has two limits, got {self.low} and {self.high}")
        limits = () if self.low is None or self.high is None else (self.low, self.high)
        _check_finite((self.middle, *limits, *self.values))
        if limits and not limits[0] <= self.middle <= limits[1]:
            raise ValueError(
                f"an interval must enclose its number, got {self.middle} in {self.low} to "
                f"{self.high}"
            )

    @property
    def basis(self) -> str:
        """What the number rests on, such as "3 seeds"."""
        if self.kind == "counted":
            return "counted"
        return f"{self.repeats} {self.kind[:-1] if self.repeats == 1 else self.kind}"


def _check_finite(values: Sequence[float]) -> None:
    """Refuse NaN and infinity, which no comparison would notice."""
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"a measured number is {value}: measure the record again")


def from_seeds(values: Sequence[float]) -> Estimate | None:
    """Return the mean over seeds, with the 95 % interval of Student's t.

    Args:
        values: One value for each seed. They may be differences of two arms.

    Returns:
        The estimate; without an interval if there are fewer than `FEWEST_SEEDS`. None if there is
        no value at all.

    Raises:
        ValueError: If a value is NaN or infinite.

    Example:
        >>> from_seeds([1.0, 2.0, 3.0]).low  # -0.48...
    """
    kept = tuple(float(value) for value in values)
    if not kept:
        return None
    _check_finite(kept)
    if len(kept) < FEWEST_SEEDS:
        return Estimate(sum(kept) / len(kept), None, None, len(kept), "seeds", kept)
    middle, low, high = over_seeds(kept)
    # rounding may put the mean of equal values outside of an interval of length 0
    return Estimate(middle, min(low, middle), max(high, middle), len(kept), "seeds", kept)


def counted(value: float) -> Estimate:
    """Return an exact number, such as a ratio of parameter counts."""
    return Estimate(value, value, value, 1, "counted")


def timed(ratio: Mapping[str, Any]) -> Estimate:
    """Return a ratio of two times, measured in turn.

    Args:
        ratio: Median ("ratio"), "low" and "high" of the rounds, and their number ("rounds"), as
            the benchmarks of speed write them.
    """
    return Estimate(ratio["ratio"], ratio["low"], ratio["high"], ratio["rounds"], "rounds")


Role = Literal["part", "control", "shown"]
Unit = Literal["points", "times", "%"]
Side = Literal["above", "below"]


@dataclass(frozen=True)
class Check:
    """One number of a claim, and the limit that it has to pass.

    Attributes:
        text: What was measured.
        unit: Its unit. Differences of accuracies are in "points", ratios in "times".
        estimate: The number. None: it was not measured.
        limit: The limit. None: the number is only shown.
        side: On which side of the limit the number must be.
        role: "part": a part of the claim. "control": a simpler explanation or a trivial rival;
            if the check fails, the claim fails, whatever its parts say. "shown": not judged.
    """

    text: str
    unit: Unit
    estimate: Estimate | None
    limit: float | None = 0.0
    side: Side = "above"
    role: Role = "part"

    def __post_init__(self) -> None:
        if (self.limit is None) != (self.role == "shown"):
            raise ValueError(f"{self.text!r}: only a number that is shown has no limit")

    @property
    def answer(self) -> Answer | None:
        """The answer; None if the number is only shown."""
        if self.limit is None:
            return None
        if self.estimate is None or self.estimate.low is None or self.estimate.high is None:
            return Answer.UNCLEAR
        low, high = self.estimate.low - self.limit, self.estimate.high - self.limit
        if self.side == "below":
            low, high = -high, -low
        if low > 0:
            return Answer.YES
        return Answer.NO if high <= 0 else Answer.UNCLEAR

    @property
    def needs(self) -> str:
        """The condition, such as "> -2"; "" if the number is only shown."""
        if self.limit is None:
            return ""
        return f"{'>' if self.side == 'above' else '<'} {self.limit:g}"


def shown(text: str, unit: Unit, estimate: Estimate | None) -> Check:
    """Return a number that stands beside the checks and is not judged."""
    return Check(text, unit, estimate, None, role="shown")


def verdict(checks: Sequence[Check]) -> Verdict:
    """Combine the answers of checks. The first of these rules that applies decides.

    1. A control fails: "does not hold here".
    2. All parts fail: "does not hold here".
    3. A control is unclear, or there is no part: "cannot tell".
    4. All parts pass: "holds".
    5. A part passes and another one fails: "holds partly".
    6. Else some part is unclear: "cannot tell".

    Args:
        checks: The checks of one claim on one data set.
    """
    parts = [check.answer for check in checks if check.role == "part"]
    controls = [check.answer for check in checks if check.role == "control"]
    if Answer.NO in controls:
        return Verdict.FAILS
    if parts and all(answer is Answer.NO for answer in parts):
        return Verdict.FAILS
    if Answer.UNCLEAR in controls or not parts:
        return Verdict.UNKNOWN
    if all(answer is Answer.YES for answer in parts):
        return Verdict.HOLDS
    if Answer.YES in parts and Answer.NO in parts:
        return Verdict.PARTLY
    return Verdict.UNKNOWN
