"""Exercises of lesson 12: intervals of any number, and verdicts by a rule.

The open exercise `my_policy` asks for another rule of the claims board. The rule may read what was
compared, but not what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from . import Wrong, exercise

Point = dict[str, Any]  # "clean", "robust" and "n"
Card = dict[str, Any]  # a check of the claims board


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- redraw ---


def _redraw(
    points: Sequence[Point], times: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    difficulty = torch.rand(times, points[0]["n"], generator=generator)
    clean = [(difficulty < point["clean"]).double().mean(1) for point in points]
    robust = [(difficulty < point["robust"]).double().mean(1) for point in points]
    return torch.stack(clean), torch.stack(robust)


DRAWS = 2000
POINTS = [{"clean": 0.75, "robust": 0.5, "n": 64}, {"clean": 0.6, "robust": 0.55, "n": 64}]


@exercise(_redraw, "oatlib.course.exercises.real_images._redraw")
def redraw(theirs) -> None:
    """points (dicts with clean, robust, n), times, generator -> clean and robust (K, times)."""
    clean, robust = _both(theirs, POINTS, DRAWS)
    if max(clean.max(), robust.max()) > 1:
        raise Wrong("it counts images: take the mean over them, so that shares come out.")
    if min(clean.std(1).min(), robust.std(1).min()) < 1e-4:
        raise Wrong("all draws are equal: every draw needs difficulties of its own.")
    if abs(clean[0].mean() - 0.5) < 0.02 and abs(robust[0].mean() - 0.75) < 0.02:
        raise Wrong("clean and robust are swapped: clean comes first.")
    if abs(clean[0].mean() - 0.25) < 0.02:
        raise Wrong("an image is right if its difficulty is *below* the accuracy.")
    _has_spread(clean[0], robust[0])
    twice = _both(theirs, [POINTS[0], dict(POINTS[0])], 50)
    if not (torch.equal(twice[0][0], twice[0][1]) and torch.equal(twice[1][0], twice[1][1])):
        raise Wrong(
            "two points with the same accuracies differ in a draw: all points of a dial are "
            "measured on the same images. Draw the difficulties once, before the points."
        )
    if (robust > clean + 1e-9).any():
        raise Wrong(
            "in some draws more images are robust than right: clean and robust need the same "
            "difficulties."
        )
    first, again = _both(theirs, POINTS, 50), _both(theirs, POINTS, 50)
    other = _both(theirs, POINTS, 50, seed=1)
    if not torch.equal(first[0], again[0]) or torch.equal(first[0], other[0]):
        raise Wrong("the result must depend on the generator: pass it to torch.rand.")


def _both(theirs, points: Sequence[Point], times: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return clean and robust of an answer, or raise Wrong if they have another form."""
    got = theirs([dict(point) for point in points], times, _generator(seed))
    if not (isinstance(got, tuple | list) and len(got) == 2):
        raise Wrong("it should return two tensors: clean and robust.")
    for values in got:
        if not isinstance(values, Tensor) or values.shape != (len(points), times):
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise Wrong(
                f"each tensor should have shape (points, times) = ({len(points)}, {times}), but "
                f"is {found}."
            )
    clean, robust = (values.double() for values in got)
    return clean, robust


def _has_spread(clean: Tensor, robust: Tensor) -> None:
    """Raise Wrong unless means and spreads are those of 64 images, 3/4 of them right."""
    if abs(clean.mean() - 0.75) > 0.02 or abs(robust.mean() - 0.5) > 0.02:
        raise Wrong(
            f"with clean 0.75 and robust 0.5 the draws have means {clean.mean():.3f} and "
            f"{robust.mean():.3f}: difficulties are spread evenly over 0 to 1 (torch.rand)."
        )
    wanted = {"clean": (0.75 * 0.25 / 64) ** 0.5, "robust": (0.25 / 64) ** 0.5}
    for (name, want), values in zip(wanted.items(), (clean, robust), strict=True):
        if abs(values.std() / want - 1) > 0.1:
            raise Wrong(
                f"{name} spreads by {values.std():.4f} over the draws; {want:.4f} is expected of "
                "n = 64 images: draw n difficulties each time."
            )


# --- answer ---


def _answer(low: float | None, high: float | None, limit: float, side: str = "above") -> str:
    if low is None or high is None:
        return "unclear"
    if side == "below":
        low, high, limit = -high, -low, -limit
    if low > limit:
        return "yes"
    if high <= limit:
        return "no"
    return "unclear"


@exercise(_answer, "oatlib.claims.verdict.Check")
def answer(theirs) -> None:
    """low, high, limit, side -> "yes", "no" or "unclear"."""
    words = ("yes", "no", "unclear")
    if (got := theirs(1.0, 3.0, 0.0)) not in words:
        raise Wrong(f"it should return one of {', '.join(map(repr, words))}, not {got!r}.")
    if theirs(None, None, 0.0) != "unclear":
        raise Wrong("without an interval nothing is clear: for low = None return 'unclear'.")
    if theirs(-1.0, 3.0, 0.0) != "unclear":
        raise Wrong(
            "the interval from -1 to 3 holds the limit 0: neither yes nor no. The middle of an "
            "interval answers nothing."
        )
    if theirs(1.0, 3.0, 2.0, "above") == "yes":
        raise Wrong("compare with the limit, not with 0: 1 to 3 is not above 2.")
    if theirs(1.0, 3.0, 5.0, "below") != "yes":
        raise Wrong("with side = 'below' the whole interval must be under the limit.")
    for low, high in ((-3.0, -1.0), (-1.0, 3.0), (1.0, 3.0), (2.0, 2.0), (-1.0, 0.0)):
        for limit, side in product((-2.0, 0.0, 2.0, 4.0), ("above", "below")):
            got, want = theirs(low, high, limit, side), _answer(low, high, limit, side)
            if got != want:
                raise Wrong(
                    f"{low:g} to {high:g} should be {side} {limit:g}: {want!r}, not {got!r}."
                )


# --- carries_over ---

VERDICTS = ("carries over", "does not", "cannot tell", "nothing to carry")


def _carries_over(shapes: str, photographs: str) -> str:
    if shapes == "no":
        return "nothing to carry"
    if "unclear" in (shapes, photographs):
        return "cannot tell"
    return "carries over" if photographs == "yes" else "does not"


@exercise(_carries_over, "oatlib.course.exercises.real_images._carries_over")
def carries_over(theirs) -> None:
    """shapes, photographs (each "yes", "no" or "unclear") -> one of four verdicts."""
    for pair in product(("yes", "no", "unclear"), repeat=2):
        got, want = theirs(*pair), _carries_over(*pair)
        if got not in VERDICTS:
            raise Wrong(f"it should return one of {', '.join(map(repr, VERDICTS))}, not {got!r}.")
        if got == want:
            continue
        if pair == ("yes", "unclear"):
            raise Wrong(
                "an unclear answer on photographs is no refusal: the interval holds the limit, so "
                "say 'cannot tell'."
            )
        if pair[0] == "no":
            raise Wrong(
                "what does not hold on shapes cannot be carried over, whatever photographs say: "
                "'nothing to carry'."
            )
        raise Wrong(f"shapes {pair[0]!r}, photographs {pair[1]!r}: {want!r}, not {got!r}.")


# --- judge ---


def _card_answer(card: Card) -> str:
    return _answer(card["low"], card["high"], card["limit"], card["side"])


def _judge(checks: Sequence[Card]) -> str:
    parts = [_card_answer(card) for card in checks if card["role"] == "part"]
    controls = [_card_answer(card) for card in checks if card["role"] == "control"]
    if "no" in controls or (parts and set(parts) == {"no"}):
        return "does not hold here"
    if "unclear" in controls or not parts:
        return "cannot tell"
    if set(parts) == {"yes"}:
        return "holds"
    return "holds partly" if {"yes", "no"} <= set(parts) else "cannot tell"


# an interval with each answer to "above 0"
INTERVALS = {"yes": (1.0, 3.0), "no": (-3.0, -1.0), "unclear": (-1.0, 1.0)}


def _cards(parts: Sequence[str], controls: Sequence[str] = (), shown: int = 0) -> list[Card]:
    """Return checks with these answers."""
    cards: list[Card] = []
    roles = [("part", parts), ("control", controls), ("shown", ["no"] * shown)]
    for role, answers in roles:
        for each in answers:
            low, high = INTERVALS[each]
            limit = None if role == "shown" else 0.0
            cards.append(
                {
                    "role": role,
                    "text": f"{role} {len(cards)}",
                    "unit": "points",
                    "low": low,
                    "high": high,
                    "limit": limit,
                    "side": "above",
                    "from": "3 seeds",
                }
            )
    return cards


JUDGED = (  # parts, controls, numbers that are shown, and the mistake
    (("yes",), ("no",), 0, "a control that fails decides: 'does not hold here'."),
    (("no", "yes"), ("no",), 0, "a control that fails comes first, before the parts."),
    (("no", "no"), (), 0, "if all parts fail: 'does not hold here'."),
    (("no",), ("unclear",), 0, "all parts fail: that comes before an unclear control."),
    (("yes",), ("unclear",), 0, "with an unclear control nothing holds yet: 'cannot tell'."),
    ((), ("yes",), 0, "without a part there is nothing to judge: 'cannot tell'."),
    ((), (), 0, "without any check: 'cannot tell'. (all() of an empty list is True.)"),
    (("yes", "yes"), ("yes",), 2, "numbers that are shown are not judged: leave them out."),
    (("yes", "no"), ("yes",), 0, "one part passes and one fails: 'holds partly'."),
    (("yes", "no", "unclear"), (), 0, "a part passes and another one fails: 'holds partly'."),
    (("yes", "unclear"), ("yes",), 0, "no part fails, one is unclear: 'cannot tell'."),
    (("no", "unclear"), (), 0, "a part fails, one is unclear, none passes: 'cannot tell'."),
)


@exercise(_judge, "oatlib.claims.verdict.verdict")
def judge(theirs) -> None:
    """checks (dicts with role, low, high, limit, side) -> the verdict of a claim."""
    known = {"holds", "holds partly", "does not hold here", "cannot tell"}
    for parts, controls, shown, mistake in JUDGED:
        cards = _cards(parts, controls, shown)
        got = theirs([dict(card) for card in cards])
        if got not in known:
            raise Wrong(f"it should return one of {', '.join(sorted(known))}, not {got!r}.")
        if got != _judge(cards):
            raise Wrong(mistake)
    below = [card | {"side": "below", "low": -3.0, "high": -1.0} for card in _cards(["yes"])]
    if theirs(below) != "holds":
        raise Wrong("some checks ask for a number below the limit: pass check['side'] to answer.")


# --- nearest_change ---

TINY = 0.001  # points


def _nearest_change(checks: Sequence[Card]) -> tuple[float, str] | None:
    before = _judge(checks)
    found = []
    for i, check in enumerate(checks):
        if check["role"] == "shown" or check["unit"] != "points" or check["low"] is None:
            continue
        for end in (check["low"], check["high"]):
            for limit in (end - TINY, end + TINY):
                changed = [*checks[:i], check | {"limit": limit}, *checks[i + 1 :]]
                if _judge(changed) != before:
                    found.append((abs(limit - check["limit"]), check["text"]))
    return min(found, default=None)


@exercise(_nearest_change, "oatlib.course.exercises.real_images._nearest_change")
def nearest_change(theirs) -> None:
    """checks of one claim -> (points, text of the check), or None."""
    close = _cards(["yes", "yes"])
    close[0] |= {"low": 2.0, "high": 6.0}
    close[1] |= {"low": 0.5, "high": 9.0}
    given = [dict(card) for card in close]
    got = theirs(given)
    if given != close:
        raise Wrong("it changes the checks that it was given: make new dicts.")
    if not (isinstance(got, tuple | list) and len(got) == 2):
        raise Wrong("it should return (points, text), or None.")
    if got[1] == close[0]["text"]:
        raise Wrong("it returns the first change: return the smallest one.")
    _expect(theirs, close, "two parts pass")
    as_good = [card | {"low": -1.5, "high": 0.4, "limit": -2.0} for card in _cards(["yes"])]
    got = theirs([dict(card) for card in as_good])
    if got is not None and min(abs(abs(float(got[0])) - limit) for limit in (0.4, 1.5)) < 0.01:
        raise Wrong("it returns the new limit: return how far it is from the old one.")
    _expect(theirs, as_good, "one part passes, with limit -2")
    fails = _cards(["no"])
    fails[0] |= {"low": -9.0, "high": -1.0}
    _expect(theirs, fails, "one part fails, so its limit must move below the upper end")
    partly = _cards(["yes", "unclear"], ["yes"], 1)
    partly[1] |= {"low": -1.0, "high": 0.4}
    _expect(theirs, partly, "one part passes and one is unclear")
    control = _cards(["yes"], ["yes"])
    control[0] |= {"low": 7.0, "high": 8.0}
    control[1] |= {"low": 0.25, "high": 8.0}
    _expect(theirs, control, "the control is closest")
    times = [card | {"unit": "times"} for card in _cards(["yes"])]
    if theirs([dict(card) for card in times]) is not None:
        raise Wrong("other units than points cannot be compared: leave such checks out.")
    none = [card | {"low": None, "high": None} for card in _cards(["yes"])]
    if theirs(none) is not None:
        raise Wrong("a check without an interval stays unclear at any limit: return None.")


def _expect(theirs, cards: list[Card], what: str) -> None:
    """Raise Wrong unless the nearest change is that of the reference."""
    got, want = theirs([dict(card) for card in cards]), _nearest_change(cards)
    if want is None:
        raise ValueError("the check itself needs a case with a change")
    is_pair = isinstance(got, tuple | list) and len(got) == 2
    if not is_pair or abs(float(got[0]) - want[0]) > 0.01 or got[1] != want[1]:
        ends = ", ".join(f"{card['low']:g} to {card['high']:g}" for card in cards)
        raise Wrong(
            f"{what} (intervals {ends}): it should be ({want[0]:.2f}, {want[1]!r}), not {got!r}. "
            "Try limits just below and just above both ends of every interval."
        )


# --- my_policy ---

HIDDEN = ("value", "low", "high", "values", "answer")  # what a policy may not see
ROLES = ("part", "control", "shown")
FARTHEST = 10.0  # points that a limit may be away from 0


def _practice(*rows: tuple) -> list[Card]:
    """Return checks from (role, text, low, high, limit, seeds)."""
    return [
        {
            "role": role,
            "text": text,
            "unit": "points",
            "from": f"{seeds} seeds",
            "low": low,
            "high": high,
            "limit": limit,
            "side": "above",
        }
        for role, text, low, high, limit, seeds in rows
    ]


# Rows like those of the board; the numbers are near to those that were measured on shapes.
PRACTICE: dict[str, list[Card]] = {
    "one-for-all": _practice(
        ("part", "robust at clean >= 95 %, OAT minus dedicated", -7.0, -3.2, -2.0, 5),
        ("part", "robust at clean >= 90 %, OAT minus dedicated", -3.8, -0.2, -2.0, 5),
        ("part", "clean at λ = 0, OAT minus dedicated", -0.3, 0.7, -2.0, 5),
        (
            "control",
            "robust at clean >= 95 %, OAT minus a coin between two dedicated networks",
            21.2,
            23.7,
            0.0,
            5,
        ),
        (
            "shown",
            "robust at clean >= 95 %, OAT minus the best coin between any two dedicated networks",
            -7.0,
            -3.2,
            None,
            5,
        ),
    ),
    "float-accuracy": _practice(
        ("part", "robust at the last λ, FLOAT minus OAT", -5.3, 3.3, 0.0, 3),
        ("part", "clean at λ = 0, FLOAT minus OAT", -1.4, 1.2, 0.0, 3),
        ("control", "robust at the last λ, FLOAT minus the same without noise", -3.8, 2.0, 0.0, 3),
        (
            "shown",
            "robust at clean >= 95 %, FLOAT minus the coin between its ends",
            -16.2,
            -4.2,
            None,
            3,
        ),
    ),
    "smart-accuracy": _practice(
        ("part", "robust at the last λ, SMART minus OAT", -3.8, 2.2, -2.0, 3),
        ("part", "clean at λ = 0, SMART minus OAT", -1.2, 0.0, -2.0, 3),
        ("shown", "robust at clean >= 95 %, SMART minus OAT", -45.3, -35.3, None, 3),
    ),
    "slimmable": _practice(
        ("part", "clean at width 0.25, slimmable minus trained alone", -0.8, 0.8, -2.0, 3),
        ("part", "clean at width 0.5, slimmable minus trained alone", -0.8, 0.8, -2.0, 3),
    ),
}


def under_policy(policy: Callable[[Card], Card], checks: Sequence[Card]) -> list[Card]:
    """Apply a policy to checks. It is not shown what was measured.

    Args:
        policy: Function from a check without its results to the changed check.
        checks: The checks, with results.

    Returns:
        The checks with the roles and limits of the policy.

    Raises:
        Wrong: If the policy does what no rule may do.
    """
    changed = []
    for check in checks:
        seen = {key: value for key, value in check.items() if key not in HIDDEN}
        new = policy(dict(seen))
        _check_change(seen, new)
        kept = {key: new[key] for key in ("role", "limit", "side")}
        changed.append(check | kept)
    return changed


def _check_change(seen: Card, new: object) -> None:
    """Raise Wrong if a changed check is none, or drops something."""
    if not isinstance(new, dict) or new.keys() != seen.keys():
        raise Wrong(
            f"it should return the check, a dict with the same keys: {', '.join(seen)}. Return it "
            "as it is where you change nothing."
        )
    if any(new[key] != seen[key] for key in ("text", "unit", "from")):
        raise Wrong("it changes what was measured: only role, limit and side are yours.")
    if new["role"] not in ROLES:
        raise Wrong(f"a role is one of {', '.join(ROLES)}, not {new['role']!r}.")
    if (seen["role"], new["role"]) in (
        ("control", "part"),
        ("control", "shown"),
        ("part", "shown"),
    ):
        raise Wrong(
            f"it makes a {seen['role']} a {new['role']}: a rule may add questions, and may not "
            "drop those that are there."
        )
    _check_limit(new)


def _check_limit(new: Card) -> None:
    """Raise Wrong if a limit does not fit its role, or is absurd."""
    limit = new["limit"]
    if (limit is None) != (new["role"] == "shown"):
        raise Wrong("parts and controls need a limit; a number that is shown has None.")
    if limit is None:
        return
    if not isinstance(limit, int | float) or isinstance(limit, bool):
        raise Wrong(f"a limit is a number, not {limit!r}.")
    if new["unit"] == "points" and abs(limit) > FARTHEST:
        raise Wrong(f"a limit of {limit:g} points asks for nothing: stay within {FARTHEST:g}.")
    if new["side"] not in ("above", "below"):
        raise Wrong(f"a side is 'above' or 'below', not {new['side']!r}.")


def _my_policy(check: Card) -> Card:
    if check["role"] == "shown" and " minus the " in check["text"] and "coin" in check["text"]:
        return check | {"role": "control", "limit": 0.0, "side": "above"}
    return check


@exercise(_my_policy, "oatlib.course.exercises.real_images._my_policy")
def my_policy(theirs) -> str:
    """check without its results -> check with another role, limit or side."""
    changed = {name: under_policy(theirs, checks) for name, checks in PRACTICE.items()}
    again = {name: under_policy(theirs, checks) for name, checks in PRACTICE.items()}
    if again != changed:
        raise Wrong("it treats the same check in two ways: use no chance and no memory.")
    pairs = [
        (old, new)
        for name in PRACTICE
        for old, new in zip(PRACTICE[name], changed[name], strict=True)
    ]
    n_changed = sum(old != new for old, new in pairs)
    if n_changed == 0:
        raise Wrong("it changes nothing on the practice board.")
    if n_changed == 1:
        raise Wrong(
            f"it changes one check only, of {len(pairs)}: what names a single row is no rule. "
            "Which others does your reason fit?"
        )
    before = {name: _judge(checks) for name, checks in PRACTICE.items()}
    after = {name: _judge(checks) for name, checks in changed.items()}
    moved = [
        f"{name}: {before[name]} → {after[name]}"
        for name in PRACTICE
        if before[name] != after[name]
    ]
    if not moved:
        raise Wrong(
            f"it changes {n_changed} checks of the practice board and no verdict: look at "
            "`nearest_change`, or at the numbers that are only shown."
        )
    if len(set(after.values())) == 1:
        raise Wrong(
            f"under your rule every claim of the practice board gets the verdict "
            f"'{after['slimmable']}': a rule that cannot tell claims apart is none."
        )
    return f"It changes {n_changed} checks of the practice board. {'; '.join(moved)}."
