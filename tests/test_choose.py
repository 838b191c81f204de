import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oatlib import RecordError, Result, Table, choose
from oatlib.cli import main as cli

quick = settings(max_examples=200, deadline=None)


def result(clean, robust, macs=1000, parameters=100, lam=0.5, width=1.0):
    rest = (clean, clean, robust, robust, robust, {"text": "PGD"}, "test", 0, 0.1, macs, parameters)
    return Result(lam, width, 100, clean, *rest)


TABLE = Table([
    result(0.98, 0.0, 3_000_000, 77_000, 0.0, 1.0), result(0.90, 0.40, 3_000_000, 77_000, 0.2, 1.0),
    result(0.85, 0.75, 3_000_000, 77_000, 1.0, 1.0), result(0.97, 0.0, 800_000, 20_000, 0.0, 0.5),
    result(0.88, 0.35, 800_000, 20_000, 0.2, 0.5), result(0.84, 0.65, 800_000, 20_000, 1.0, 0.5),
])  # fmt: skip


@pytest.mark.parametrize(("limits", "expected"), [
    ({}, (1.0, 1.0)),
    ({"min_clean": 0.86}, (0.2, 1.0)),
    ({"min_clean": 0.86, "max_macs": 1e6}, (0.2, 0.5)),
    ({"max_parameters": 20_000}, (1.0, 0.5)),
    ({"min_clean": 0.85}, (1.0, 1.0)),  # a limit is met by its own value
    ({"min_clean": None, "max_macs": None}, (1.0, 1.0)),
])  # fmt: skip
def test_the_most_robust_setting_within_the_limits(limits, expected):
    best = choose(TABLE, **limits)
    assert (best.lam, best.width) == expected


shares = st.integers(0, 10).map(lambda i: i / 10)
points = st.lists(st.tuples(shares, shares, st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6)
limits = st.fixed_dictionaries({}, optional={
    "min_clean": shares, "min_robust": shares, "max_macs": st.integers(1, 5), "max_parameters": st.integers(1, 5),
})  # fmt: skip


def fits(r, min_clean=0, min_robust=0, max_macs=9, max_parameters=9):
    return r.clean >= min_clean and r.robust >= min_robust and r.macs <= max_macs and r.parameters <= max_parameters


@quick
@given(points, limits)
def test_against_trying_all(points, limits):
    table = [result(*p) for p in points]
    good = [r for r in table if fits(r, **limits)]
    if good:
        best = choose(table, **limits)
        assert best in good and best.robust == max(r.robust for r in good)
        assert best.clean == max(r.clean for r in good if r.robust == best.robust)
        return
    with pytest.raises(ValueError, match="no measured setting has") as caught:
        choose(table, **limits)
    # the closest value it names belongs to a setting, and does miss the limit it names
    text = str(caught.value)
    what = re.search(r"has (\w+) (>=|<=)", text)[1]
    named = re.search(r"closest is ([\d.,]+)", text)[1].rstrip(".").replace(",", "")
    found = float(named) / (100 if what in ("clean", "robust") else 1)
    assert any(getattr(r, what) == pytest.approx(found, abs=1e-3) for r in table)
    limit = limits[("min_" if what in ("clean", "robust") else "max_") + what]
    assert found < limit if what in ("clean", "robust") else found > limit


@pytest.mark.parametrize(("limits", "words"), [
    ({"min_clean": 0.99}, "no measured setting has clean >= 99.0%: the closest is 98.0% at λ = 0, width 1"),
    ({"max_macs": 1000}, "no measured setting has macs <= 1,000: the closest is 800,000 at λ = 0, width 0.5"),
    ({"min_clean": 0.86, "min_robust": 0.5},
     "no measured setting has clean >= 86.0% while robust >= 50.0%: the closest is 85.0% at λ = 1, width 1"),
    ({"min_robust": 0.7, "max_macs": 1e6},
     "no measured setting has robust >= 70.0% while macs <= 1,000,000: the closest is 65.0% at λ = 1, width 0.5"),
])  # fmt: skip
def test_out_of_reach_says_which_limit_and_how_close(limits, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        choose(TABLE, **limits)


@pytest.mark.parametrize(("results", "limits", "error", "words"), [
    ([], {}, ValueError, "no results"),
    (TABLE, {"min_cleen": 0.9}, TypeError, "min_cleen"),
    (TABLE, {"min_clean": 90}, ValueError, "min_clean must be an accuracy in [0, 1], such as 0.9, got 90"),
    ([result(0.9, 0.5, None, None)], {"max_macs": 10}, ValueError, "do not say what a setting costs"),
])  # fmt: skip
def test_questions_that_make_no_sense(results, limits, error, words):
    with pytest.raises(error, match=re.escape(words)):
        choose(results, **limits)


# --- results from a file ---


WRONG = [
    ("clean", 7), ("robust", 7), ("robust", -0.1), ("robust", "0.5"), ("robust", None), ("robust", True),
    ("robust", float("inf")), ("robust", float("nan")), ("robust_low", 1.5), ("clean_high", float("-inf")),
    ("lam", 2), ("lam", "x"), ("lam", float("nan")), ("width", 0), ("width", 1.5), ("width", None), ("n", 0),
    ("n", 2.5), ("macs", -1), ("macs", float("inf")), ("macs", 1e3),
    ("parameters", "many"), ("nonzero", -3), ("noise_samples", 0),
    ("seconds", float("inf")), ("seed", 0.5), ("split", 3), ("attack", {}), ("attack", "PGD"), ("attack", {"text": 3}),
    ("about", []), ("about", None), ("clean_spread", -1.0),
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.json"


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_impossible_value_in_a_file_is_named(path, capsys, name, value):
    rows = Table(TABLE[:2]).as_json()
    path.write_text(json.dumps({"results": rows}), encoding="utf-8")
    assert Table.load(path) == TABLE[:2]
    rows[1][name] = value
    path.write_text(json.dumps({"results": rows}), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        Table.load(path)
    start = f"{path} holds no results of oatlib: result 2 has {name} = {json.loads(json.dumps(value))!r}, expected "
    assert str(caught.value).startswith(start)
    assert cli.main(["choose", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"oatlib choose: {caught.value}\n"


@pytest.mark.parametrize(("change", "words"), [
    (lambda row: row.pop("robust"), "result 1 lacks robust"),
    (lambda row: row.update(colour=1, sound=2), "result 1 has the unknown colour, sound"),
])  # fmt: skip
def test_missing_and_unknown_values_are_named(path, change, words):
    rows = Table(TABLE[:1]).as_json()
    change(rows[0])
    path.write_text(json.dumps({"results": rows}), encoding="utf-8")
    with pytest.raises(RecordError, match=words):
        Table.load(path)


def test_the_number_that_is_too_large_for_a_float(path):
    """JSON may hold 1e999, which Python reads as infinity."""
    text = json.dumps({"results": Table(TABLE[:1]).as_json()})
    path.write_text(text.replace('"robust": 0.0', '"robust": 1e999'), encoding="utf-8")
    with pytest.raises(RecordError, match="robust = inf, expected a number in"):
        Table.load(path)
