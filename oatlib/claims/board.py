"""The claims board: read the records, judge every claim, and print what was found.

`rows` judges; `as_text`, `in_full`, `as_markdown` and `as_json` show its result.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._bundled import bundled
from .._suggest import lookup
from ..record import RecordError, path_of, read_json
from .table import CLAIMS, DATA_SETS, RECORDS, Claim
from .verdict import FEWEST_SEEDS, Check, Estimate, Verdict, verdict

COLUMNS = 100
NUMBER, BASIS, NEEDS, ANSWER = 24, 9, 6, 7  # widths of the columns beside the text of a check
RULES = (
    "Each number has a 95 % interval over seeds (Student's t). For times it goes from the 10 % "
    "point to the 90 % point of the rounds.",
    "A check passes if the whole interval is on the right side of its limit. It fails if the whole "
    f"interval is on the wrong side. Otherwise, or with fewer than {FEWEST_SEEDS} seeds, it is "
    "unclear.",
    "A control is a simpler explanation or a trivial rival, such as a coin between two networks. "
    "Numbers that are shown are not judged.",
    "Does not hold here: a control fails, or every part. Holds: all parts and controls pass. Holds "
    "partly: all controls pass, some parts pass and some fail. Otherwise: cannot tell.",
    "Robust accuracy is that of the quick suite at 8/255. A longer attack can only find less.",
)


@dataclass(frozen=True)
class Found:
    """What was found about a claim on one data set.

    Attributes:
        data_set: "shapes" or "CIFAR-10".
        verdict: The verdict, which follows from the checks.
        checks: The numbers.
        conditions: How each record was measured, one text for each.
        commands: What measures the records again.
        missing: Records that are not there.
    """

    data_set: str
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    conditions: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A claim with what was found about it.

    Attributes:
        name: Name of the claim, a key of `CLAIMS`.
        claim: The claim.
        found: What was found, in the order of `DATA_SETS`.
    """

    name: str
    claim: Claim
    found: tuple[Found, ...]


def rows(names: Iterable[str] | None = None, folder: Path | str | None = None) -> list[Row]:
    """Judge claims.

    Args:
        names: Names of claims. None: all.
        folder: Folder of records that were measured again. A record that is not there is the one
            that comes with oatlib.

    Raises:
        ValueError: If there is no claim of that name, or if a record holds NaN.
        RecordError: If there is no such folder, or if a record is damaged.

    Example:
        >>> rows(["one-for-all"])[0].found[0].verdict
    """
    again = None if folder is None else path_of(folder)
    if again is not None and not again.is_dir():
        raise RecordError(f"there is no folder {again}: give the folder of your own records")
    chosen = list(CLAIMS) if names is None else list(names)
    claims = {name: lookup("claim", name, CLAIMS) for name in chosen}
    return [
        Row(name, claim, tuple(_find(claim, data_set, again) for data_set in DATA_SETS))
        for name, claim in claims.items()
    ]


def _find(claim: Claim, data_set: str, folder: Path | None) -> Found:
    """Judge a claim on one data set."""
    measure = claim.measures.get(data_set)
    if measure is None:
        return Found(data_set, Verdict.UNKNOWN)
    commands = tuple(dict.fromkeys(measure.records.values()))
    paths = {record: _path(record, folder) for record in measure.records}
    missing = tuple(record for record, path in paths.items() if not path.is_file())
    if missing:
        return Found(data_set, Verdict.UNKNOWN, commands=commands, missing=missing)
    records = {record: read_json(path) for record, path in paths.items()}
    try:
        checks = tuple(measure.checks(*records.values()))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        files = ", ".join(map(str, paths.values()))
        raise RecordError(
            f"a record has not the expected content ({type(error).__name__}: {error}): {files}"
        ) from error
    if measure.counted:
        conditions = tuple(f"{name}: {measure.counted}" for name in records)
    else:
        conditions = tuple(_conditions(name, record) for name, record in records.items())
    return Found(data_set, verdict(checks), checks, conditions, commands)


def _path(record: str, folder: Path | None) -> Path:
    """Return the file of a record: in the folder of the user, or the one that is shipped."""
    kind, name = record.split("/")
    own = None if folder is None else folder / f"{name}.json"
    return own if own is not None and own.is_file() else bundled(kind) / f"{name}.json"


def _conditions(name: str, record: Mapping[str, Any]) -> str:
    """Say on what and with which attack a record was measured."""
    facts = [f"{name}: {RECORDS[name]}"]
    if sizes := sorted(_sizes(record)):
        facts.append(f"n = {' or '.join(map(str, sizes))}")
    attack = record.get("attack_text", record.get("attack"))
    if isinstance(attack, Mapping):  # a description, as `Attack.describe` gives it
        attack = f"{attack['budget']} suite of {len(attack['members'])} attacks"
    if attack is not None:
        facts.append(attack)
    return "; ".join(facts)


def _sizes(value) -> set[int]:
    """Return all numbers of images ("n") in a record."""
    if isinstance(value, Mapping):
        own = {value["n"]} if isinstance(value.get("n"), int) else set()
        return own.union(*map(_sizes, value.values()))
    if isinstance(value, list):
        return set().union(*map(_sizes, value))
    return set()


# ---- text ----------------------------------------------------------------------------------------


def number(check: Check) -> str:
    """Return the number of a check with its interval, such as "-5.4 (-7.9 to -2.8)"."""
    if check.estimate is None:
        return "not measured"
    form = {"points": "{:+.1f}", "times": "{:.2f}", "%": "{:.0f}"}[check.unit]
    middle, *interval = (form.format(value) for value in _limits(check.estimate))
    return f"{middle} ({' to '.join(interval)})" if interval else middle


def _limits(estimate: Estimate) -> list[float]:
    """Return the number and, if it has an interval of some length, the limits."""
    if estimate.low is None or estimate.high is None or estimate.kind == "counted":
        return [estimate.middle]
    return [estimate.middle, estimate.low, estimate.high]


def as_text(judged: Sequence[Row]) -> str:
    """Return the board: a block of a few lines for each claim, at most 100 columns wide.

    Args:
        judged: What `rows` returns.
    """
    blocks = []
    for row in judged:
        verdicts = [f"{found.data_set}: {found.verdict.value}" for found in row.found]
        first = f"{row.name:<20}" + "".join(f"{text:<30}" for text in verdicts)
        lines = [first.rstrip(), *_wrapped(row.claim.sentence, "  ")]
        lines += _wrapped(f"published: {row.claim.published}", "  ", "    ")
        for found in row.found:
            if found.checks or found.missing:
                lines += _wrapped(f"{found.data_set}: {headline(found)}", "  ", "    ")
        blocks.append("\n".join(lines))
    end = "`oatlib claims NAME` shows all numbers of a claim, how they were measured, and commands."
    return "\n\n".join([*blocks, *_rules(), end])


def _rules() -> list[str]:
    """Return the rules as one paragraph of a list."""
    return ["\n".join(line for rule in RULES for line in _wrapped(rule, "* ", "  "))]


def headline(found: Found) -> str:
    """Return the number that decides the verdict, as a text.

    This is the first check that fails, a control before a part; else the first that is unclear;
    else the first part.

    Args:
        found: What was found about a claim on one data set.
    """
    if found.missing:
        return f"missing records: {', '.join(found.missing)}"
    if not found.checks:
        return "not measured"
    judged = [check for check in found.checks if check.role != "shown"]
    ordered = sorted(judged, key=lambda check: check.role)  # "control" before "part"
    by_answer = [c for answer in ("no", "unclear") for c in ordered if c.answer == answer]
    decisive = by_answer[0] if by_answer else judged[0]
    estimate = decisive.estimate
    basis = "" if estimate is None else f" ({estimate.basis})"
    role = "control: " if decisive.role == "control" else ""
    return (
        f"{role}{decisive.text}, {decisive.unit}: {number(decisive)}{basis}, needs {decisive.needs}"
    )


def in_full(row: Row) -> str:
    """Return all that is known of one claim, at most 100 columns wide.

    Args:
        row: An entry of what `rows` returns.
    """
    lines = [row.name, *_wrapped(row.claim.sentence, "  "), f"  {row.claim.paper}"]
    lines += _wrapped(f"published: {row.claim.published}", "  ", "    ")
    for found in row.found:
        lines += ["", f"{found.data_set}: {found.verdict.value}"]
        if found.missing:
            lines += _wrapped(f"missing records: {', '.join(found.missing)}", "  ", "    ")
        elif not found.checks:
            lines.append("  not measured")
        lines += [line for check in found.checks for line in _check_lines(check)]
        lines += [line for text in found.conditions for line in _wrapped(text, "  ", "    ")]
        if found.commands:
            lines += ["  measure again, in a clone of the repository:"]
            lines += [f"    {command}" for command in found.commands]
    if row.claim.note:
        lines += ["", *_wrapped(row.claim.note, "")]
    return "\n".join([*lines, "", *_rules()])


def _check_lines(check: Check) -> list[str]:
    """Return a check as the lines of a table."""
    beside = NUMBER + BASIS + NEEDS + ANSWER + 4  # one space before each column
    first, *rest = textwrap.wrap(f"{check.role}: {check.text}, {check.unit}", COLUMNS - beside - 2)
    basis = "" if check.estimate is None else check.estimate.basis
    answer = "" if check.answer is None else check.answer.value
    cells = (
        f"  {first:<{COLUMNS - beside - 2}} {number(check):>{NUMBER}} {basis:>{BASIS}} "
        f"{check.needs:>{NEEDS}} {answer:<{ANSWER}}"
    )
    return [cells.rstrip(), *(f"    {line}" for line in rest)]


def _wrapped(text: str, indent: str, more: str | None = None) -> list[str]:
    """Return a text as lines of at most `COLUMNS` columns."""
    after = indent if more is None else more
    return textwrap.wrap(
        text, COLUMNS, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False
    )


def as_markdown(judged: Sequence[Row]) -> str:
    """Return the board as tables for the page of the site.

    Args:
        judged: What `rows` returns.
    """
    titles = ["claim", "published", *DATA_SETS]
    lines = [_cells(titles), _cells(["---"] * len(titles))]
    for row in judged:
        link = f"[{row.name}](#{row.name})"
        verdicts = [f"**{found.verdict.value}**: {headline(found)}" for found in row.found]
        lines.append(_cells([f"{link}: {row.claim.sentence}", row.claim.published, *verdicts]))
    sections = ["\n".join(lines), "\n".join(f"* {rule}" for rule in RULES)]
    for row in judged:
        sections += [f"## {row.name}", f"{row.claim.sentence} ({row.claim.paper})"]
        sections.append(f"Published: {row.claim.published}.")
        for found in row.found:
            sections += _section(found)
        if row.claim.note:
            sections.append(row.claim.note)
    return "\n\n".join(sections)


def _section(found: Found) -> list[str]:
    """Return paragraphs about what was found on one data set."""
    start = f"On {found.data_set}: **{found.verdict.value}**"
    if found.missing:
        return [f"{start}. Missing records: {', '.join(f'`{name}`' for name in found.missing)}."]
    if not found.checks:
        return [f"{start}: it was not measured."]
    titles = ["", "measured", "value", "from", "needs", "passes"]
    lines = [_cells(titles), _cells(["---"] * len(titles))]
    for check in found.checks:
        basis = "" if check.estimate is None else check.estimate.basis
        answer = "" if check.answer is None else check.answer.value
        cells = [
            check.role,
            f"{check.text}, {check.unit}",
            number(check),
            basis,
            check.needs,
            answer,
        ]
        lines.append(_cells(cells))
    how = "\n".join(f"* {text}" for text in found.conditions)
    commands = "\n".join(found.commands)
    return [f"{start}.", "\n".join(lines), how, f"```sh\n{commands}\n```"]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(judged: Sequence[Row]) -> dict[str, Any]:
    """Return the board as values that JSON can hold.

    Args:
        judged: What `rows` returns.
    """
    return {"rules": list(RULES), "claims": [_claim_as_json(row) for row in judged]}


def _claim_as_json(row: Row) -> dict[str, Any]:
    claim = row.claim
    found = {
        each.data_set: {
            "verdict": each.verdict.value,
            "checks": [_check_as_json(check) for check in each.checks],
            "conditions": list(each.conditions),
            "commands": list(each.commands),
            "missing": list(each.missing),
        }
        for each in row.found
    }
    about = {"sentence": claim.sentence, "paper": claim.paper, "published": claim.published}
    return {"name": row.name} | about | {"note": claim.note, "found": found}


def _check_as_json(check: Check) -> dict[str, Any]:
    estimate = check.estimate
    measured: dict[str, Any] = {"value": None}
    if estimate is not None:
        measured = {"value": estimate.middle, "low": estimate.low, "high": estimate.high}
        measured |= {"from": estimate.basis, "values": list(estimate.values)}
    answer = None if check.answer is None else check.answer.value
    judged = {"side": check.side, "limit": check.limit, "answer": answer}
    return {"role": check.role, "text": check.text, "unit": check.unit} | measured | judged
