"""The coin, robust accuracy at a given clean accuracy, and what a table prints of them."""

import json
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oatlib
from oatlib.evaluation.baselines import LEVELS, frontier, percents, robust_at
from oatlib.evaluation.evaluate import evaluate
from oatlib.evaluation.results import Result, Table
from oatlib.record import RecordError

quick = settings(max_examples=150, deadline=None)
share = st.integers(0, 20).map(lambda i: i / 20)
point = st.tuples(share, share)
TINY = 1e-9


def row(clean, robust, lam=0.5, **changes):
    values = {
        "lam": lam,
        "width": 1.0,
        "n": 200,
        "clean": clean,
        "clean_low": clean,
        "clean_high": clean,
        "robust": robust,
        "robust_low": robust,
        "robust_high": robust,
        "attack": {"text": "PGD-20"},
        "split": "test",
        "seed": 0,
        "seconds": 1.0,
    }
    return Result(**values | changes)


def by_search(ends, clean, steps=4000):
    """The coin by brute force: the best of many probabilities that keep the clean accuracy."""
    p = np.linspace(0, 1, steps + 1)
    (c0, r0), (c1, r1) = ends
    kept = ((1 - p) * r0 + p * r1)[(1 - p) * c0 + p * c1 >= clean - TINY]
    return kept.max() if len(kept) else None


# ---- the coin -------------------------------------------------------------------------------------


@quick
@given(point, point, share)
def test_the_coin_is_the_best_probability(standard, robust, clean):
    expected = by_search((standard, robust), clean)
    found = oatlib.coin(standard, robust, clean)
    assert (found is None) == (expected is None)
    assert found is None or found == pytest.approx(expected, abs=1e-3)


def swapped(standard, robust, clean):
    return oatlib.coin(standard, robust, 1 - clean)


def without_a_limit(standard, robust, clean):
    return max(standard[1], robust[1])


@pytest.mark.parametrize("fault", [swapped, without_a_limit])
def test_a_wrong_coin_is_caught(fault):
    ends = (0.99, 0.0), (0.79, 0.6)
    assert abs(fault(*ends, 0.94) - by_search(ends, 0.94)) > 0.05


@quick
@given(point, point, share, share)
def test_the_coin_falls_with_clean_accuracy_and_lies_between_the_ends(standard, robust, a, b):
    low, high = (oatlib.coin(standard, robust, clean) for clean in sorted((a, b)))
    if high is not None:
        assert low >= high - TINY
        lowest, highest = sorted((standard[1], robust[1]))
        assert lowest - TINY <= high <= highest + TINY
    assert oatlib.coin(robust, standard, a) == pytest.approx(oatlib.coin(standard, robust, a))


def test_the_coin_outside_its_ends():
    ends = row(0.99, 0.0), (0.79, 0.6)
    assert oatlib.coin(*ends, 0.94) == pytest.approx(0.15)
    assert oatlib.coin(*ends, 0.995) is None
    assert oatlib.coin(*ends, 0.99) == 0.0 and oatlib.coin(*ends, 0.5) == 0.6
    assert oatlib.coin((0.9, 0.0), (0.95, 0.5), 0.92) == 0.5  # better in both: no coin is needed


@pytest.mark.parametrize("words", [((98, 0), (79, 60), 0.9), ((0.9, 0), (0.8, 0.6), 95), ((0.9, 0), (0.8, -0.1), 0.9)])
def test_the_coin_takes_accuracies_only(words):
    with pytest.raises(ValueError, match=r"accuracy in \[0, 1\]"):
        oatlib.coin(*words)


def test_no_attacker_that_knows_the_probability_gets_below_the_coin():
    """Two networks as tables: right[net, image, perturbation]. The attacker picks the perturbation."""
    right = np.random.default_rng(0).random((2, 500, 6)) < 0.7
    robust = right.all(2).mean(1)
    for p in (0.0, 0.2, 0.5, 0.9, 1.0):
        expected = ((1 - p) * right[0] + p * right[1]).min(1).mean()
        assert expected >= (1 - p) * robust[0] + p * robust[1] - TINY


# ---- along a dial -----------------------------------------------------------------------------------

dials = st.lists(point, min_size=1, max_size=7)


def table_of(points):
    return Table(row(c, r, lam=i / 10) for i, (c, r) in enumerate(points))


@quick
@given(dials, share)
def test_robust_at_is_the_best_place_on_the_dial(points, clean):
    """Against a dense walk along the dial."""
    places = [points[0]]
    for (c0, r0), (c1, r1) in pairwise(points):
        places += [(c0 + t * (c1 - c0), r0 + t * (r1 - r0)) for t in np.linspace(0, 1, 401)]
    kept = [r for c, r in places if c >= clean - TINY]
    found = table_of(points).robust_at(clean)
    assert (found is None) == (not kept)
    assert found is None or found == pytest.approx(max(kept), abs=0.01)


@quick
@given(dials, share, share, st.randoms())
def test_robust_at_is_monotone_between_measured_values_and_needs_no_order(points, a, b, random):
    table = table_of(points)
    low, high = (table.robust_at(clean) for clean in sorted((a, b)))
    if high is not None:
        assert low >= high - TINY
        assert min(r for _, r in points) - TINY <= high <= max(r for _, r in points) + TINY
    shuffled = Table(random.sample(list(table), len(table)))
    assert shuffled.robust_at(a) == table.robust_at(a)
    assert shuffled.gain_over_coin(a) == table.gain_over_coin(a)


@quick
@given(dials, share)
def test_a_dial_never_beats_itself_and_a_straight_one_gains_nothing(points, clean):
    ends = table_of([points[0], points[-1]])
    gain = ends.gain_over_coin(clean)
    assert gain is None or gain == pytest.approx(0, abs=TINY)


def test_values_by_hand():
    table = table_of([(0.99, 0.0), (0.95, 0.4), (0.9, 0.5), (0.8, 0.6)])
    assert table.robust_at(0.995) is None and table.robust_at(0.5) == 0.6
    assert table.robust_at(0.97) == pytest.approx(0.2) and table.robust_at(0.95) == 0.4
    coin = 0.6 * (0.99 - 0.95) / (0.99 - 0.8)
    assert table.gain_over_coin(0.95) == pytest.approx(0.4 - coin)
    assert table.gain_over_coin(0.95, (1.0, 0.0), row(0.9, 0.7)) == pytest.approx(0.4 - 0.35)
    assert table.gain_over_coin(0.995) is None


def test_a_dial_that_breaks_down_in_the_middle_gets_no_credit_for_the_coin():
    table = table_of([(0.98, 0.0), (0.3, 0.0), (0.8, 0.7)])
    assert table.robust_at(0.9) == 0.0 and table.gain_over_coin(0.9) < -0.3
    assert table_of([(0.98, 0.0), (0.8, 0.7)]).robust_at(0.9) > 0.3


def test_each_width_is_a_dial_of_its_own():
    wide, narrow = [(0.99, 0.0), (0.8, 0.6)], [(0.9, 0.0), (0.7, 0.9)]
    table = Table([*table_of(wide), *(replace(r, width=0.5) for r in table_of(narrow))])
    assert table.widths == [0.5, 1.0]
    assert table.robust_at(0.8) == table.robust_at(0.8, 1.0) == 0.6
    assert table.robust_at(0.8, 0.5) == pytest.approx(0.45)
    with pytest.raises(ValueError, match=r"width 0.75 was not measured: the measured widths are 0.5, 1"):
        table.robust_at(0.8, 0.75)
    text = str(table)
    assert "width 0.5: robust at clean >= 98 / 95 / 90 %: - / - / 0.0 %" in text and "width 1: robust" in text


def test_results_without_lambda_are_points():
    table = Table([row(0.9, 0.2, lam=None), row(0.7, 0.8, lam=None)])
    assert table.robust_at(0.8) == 0.2 and table.gain_over_coin(0.8) is None and Table().robust_at(0.5) is None


def test_half_a_coin_is_refused():
    with pytest.raises(ValueError, match="standard= and robust="):
        table_of([(0.9, 0.1), (0.8, 0.5)]).gain_over_coin(0.85, standard=(0.9, 0.1))
    with pytest.raises(ValueError, match="got 95"):
        table_of([(0.9, 0.1)]).robust_at(95)


def test_the_ends_are_the_lowest_and_the_highest_lambda():
    rows = [row(0.8, 0.6, 1.0), row(0.9, 0.3, 0.5), row(0.97, 0.0, 0.0), row(0.99, 0.0, 0.0), row(0.7, 0.7, 1.0)]
    low, high = Table(rows).ends()
    assert (low.clean, high.robust) == (0.99, 0.7) and Table(rows[:1]).ends() is None


@quick
@given(st.lists(point, max_size=8))
def test_the_frontier_is_what_no_other_point_beats(points):
    def beaten(p):
        return any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)

    assert frontier(points) == sorted({p for p in points if not beaten(p)}, reverse=True)


# ---- what is printed and kept -----------------------------------------------------------------------


def test_a_table_with_a_dial_prints_its_gain():
    about = {"recipe": "blend", "stops": [0.0, 1.0], "dial": "outputs"}
    points = [(0.99, 0.0), (0.95, 0.4), (0.8, 0.6)]
    table = Table(replace(r, about=about) for r in table_of(points))
    text = str(table)
    assert "robust at clean >= 98 / 95 / 90 %: 10.0 / 40.0 / 46.7 %" in text
    assert "gain over a coin between its own ends: +6.8 / +27.4 / +18.2 points" in text
    assert "blend: trained for λ = 0 and 1 only; between them: mixed outputs" in text and "area" not in text
    assert "fraction of the best possible" not in text
    assert "there: 11.1 / 44.4 / 51.9 %" in table.text(best=[(1.0, 0.9), (0.9, 0.9)])
    assert "robust at clean" not in str(Table(table[:1]))


@pytest.mark.parametrize(
    "about, said",
    [
        ({"recipe": "oat", "stops": [0.0, 0.5, 1.0], "dial": "interpolate"}, ""),
        ({"recipe": "oat", "stops": [0.0, 0.5, 1.0], "dial": "outputs"}, "oat: trained for λ = 0 and 1 only"),
        ({"recipe": "any", "stops": [0.0, 1.0], "dial": "interpolate"}, "between them: interpolated weights"),
        ({"recipe": "any", "stops": [0.0, 1.0]}, "any: trained for λ = 0 and 1 only"),
        ({"recipe": "standard", "stops": [0.0], "dial": "interpolate"}, ""),
        ({}, ""),
    ],
)
def test_a_table_says_where_only_the_ends_are_trained(about, said):
    text = str(Table(replace(r, about=about) for r in table_of([(0.9, 0.1), (0.8, 0.5)])))
    assert said in text and ("trained for" in text) == bool(said)


def test_tables_of_earlier_versions_can_be_read(tmp_path):
    path = tmp_path / "old.json"
    table = table_of([(0.9, 0.1), (0.8, 0.5)])
    table.save(path)
    content = json.loads(path.read_text())
    assert content.keys() == {"results"}
    path.write_text(json.dumps({"hypervolume": 0.4, **content}))
    assert Table.load(path) == table


def test_percents():
    assert percents([0.301, None, 1]) == "30.1 / - / 100.0" and percents([0.05, -0.1], signed=True) == "+5.0 / -10.0"
    assert LEVELS == (0.98, 0.95, 0.9) and robust_at([], 0.5) is None


# ---- several systems ----------------------------------------------------------------------------------

DATA = oatlib.load_data("shapes", seed=0, n_train=32, n_val=16, n_test=24)
ATTACK = oatlib.PGD(8 / 255, 1)


@pytest.fixture(scope="module")
def systems():
    oats = oatlib.build("oats", DATA, stops=(0.0, 0.5, 1.0), widths=(0.5, 1.0))
    nets = {"standard": oatlib.build("standard", DATA), "pgd-at": oatlib.build("pgd-at", DATA, lam=1.0)}
    return nets | {"oats": oats, "mixed": oats.with_dial("outputs"), "function": oats.at(0.5)}


@pytest.fixture(scope="module")
def compared(systems):
    return oatlib.compare(systems, DATA.test, ATTACK, progress=False)


def test_compare_measures_what_evaluate_measures(systems, compared):
    assert list(compared) == list(systems)
    for name, lams in (("oats", None), ("mixed", [i / 10 for i in range(11)]), ("standard", None)):
        alone = evaluate(systems[name], DATA.test, ATTACK, lams, progress=False)
        assert [replace(r, seconds=0) for r in alone] == [replace(r, seconds=0) for r in compared[name]]
    assert [r.lam for r in compared["function"]] == [None]


def test_of_a_data_set_the_test_split_is_compared(systems):
    some = {name: systems[name] for name in ("standard", "function")}
    options = {"seed": 3, "batch_size": 7, "progress": False}
    whole = oatlib.compare(some, DATA, ATTACK, **options)
    for name, table in whole.items():
        alone = evaluate(some[name], DATA.test, ATTACK, **options)
        assert [replace(r, seconds=0) for r in alone] == [replace(r, seconds=0) for r in table]
        assert {(r.split, r.n, r.seed) for r in table} == {("test", 24, 3)}


def test_the_summary_has_a_row_for_each_system_and_width(compared):
    rows = {(r["system"], r["width"]): r for r in compared.rows()}
    assert list(rows) == [
        *(("standard", None), ("pgd-at", None), ("oats", 0.5), ("oats", 1.0), ("mixed", 0.5), ("mixed", 1.0)),
        ("function", None),
    ]
    assert compared.coin == ("standard", "pgd-at") and rows["standard", None]["high"] is None
    text = str(compared)
    assert "gain over the coin standard, pgd-at" in text and "mixed is oats: trained for λ = 0 and 1 only" in text
    assert "oats is oats" not in text and "PGD-1" in text and text.count("n = 24") == 1
    page = compared._repr_html_()
    assert page.count("<tr>") == 1 + len(rows) and "<td>mixed, width 0.5</td>" in page and page.count("n = 24") == 1


def test_gains_over_both_coins_by_hand():
    tables = {
        "a": table_of([(0.99, 0.0)]),
        "b": Table([row(0.79, 0.6, lam=1.0)]),
        "dial": table_of([(1.0, 0.1), (0.95, 0.5), (0.9, 0.5)]),
    }
    (dial,) = (r for r in oatlib.Comparison(tables, ("a", "b")).rows() if r["system"] == "dial")
    assert dial["robust_at"] == pytest.approx([0.26, 0.5, 0.5])
    assert dial["over_coin"] == pytest.approx([0.26 - 0.03, 0.5 - 0.12, 0.5 - 0.27])
    assert dial["over_own_coin"] == pytest.approx([0.26 - 0.18, 0.5 - 0.3, 0.0])
    assert (dial["low"], dial["high"]) == ((1.0, 0.1), (0.9, 0.5))
    assert "26.0 / 50.0 / 50.0" in str(oatlib.Comparison(tables)) and "coin a, b" not in str(oatlib.Comparison(tables))


def test_a_comparison_survives_the_file(compared, tmp_path):
    compared.save(tmp_path / "c.json")
    back = oatlib.Comparison.load(tmp_path / "c.json")
    assert back == compared and back.coin == compared.coin and str(back) == str(compared)
    (tmp_path / "d.json").write_text('{"systems": {"a": 3}}')
    with pytest.raises(RecordError, match="holds no comparison of oatlib"):
        oatlib.Comparison.load(tmp_path / "d.json")


def never(*_, **__):
    raise AssertionError("work began before the check")


@pytest.mark.parametrize(
    "more, options, error, words",
    [
        ({}, {"coin": ("standard", "trades")}, ValueError, "unknown system 'trades': use two of standard"),
        ({}, {"coin": "standard"}, ValueError, "names of two systems"),
        ({}, {"lams": [0.0, 1.5]}, ValueError, "1.5"),
        ({}, {"widths": [0.5]}, ValueError, "'standard' has none of the widths 0.5"),
        ({"x": 3}, {}, TypeError, "'x' must be an oatlib network or a function"),
    ],
)
def test_wrong_comparisons_are_refused_before_any_work(systems, monkeypatch, more, options, error, words):
    monkeypatch.setattr(sys.modules["oatlib.evaluation.compare"], "evaluate", never)
    with pytest.raises(error, match=words):
        oatlib.compare(systems | more, DATA.test, ATTACK, progress=False, **options)


def test_networks_must_fit_the_images(systems, monkeypatch):
    monkeypatch.setattr(sys.modules["oatlib.evaluation.compare"], "evaluate", never)
    small = replace(DATA.test, x=torch.rand(24, 1, 8, 8))
    with pytest.raises(ValueError, match="takes images"):
        oatlib.compare(systems, small, ATTACK, progress=False)
    for nothing in ({}, [], systems["oats"]):
        with pytest.raises(ValueError, match="by name"):
            oatlib.compare(nothing, DATA.test)
