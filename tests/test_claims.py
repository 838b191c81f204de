"""The claims board: the rule, with planted faults; the records; the text and the command line."""

import copy
import itertools
import json
import math
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.family import NETWORKS
from oatlib._bundled import bundled
from oatlib.claims import board, measured
from oatlib.claims.table import CLAIMS, DATA_SETS, RECORDS, UNREAD
from oatlib.claims.verdict import Answer, Check, Estimate, Verdict, counted, from_seeds, shown, timed, verdict
from oatlib.cli.main import main
from oatlib.record import RecordError, read_json

ROOT = Path(__file__).parents[1]
YES, NO, UNCLEAR = Answer.YES, Answer.NO, Answer.UNCLEAR
points = st.floats(-100, 100).map(lambda value: round(value, 3))
some_seeds = st.lists(points, min_size=3, max_size=10)


def record(name):
    kind, stem = name.split("/")
    return read_json(bundled(kind) / f"{stem}.json")


@pytest.fixture(scope="module")
def judged():
    return {row.name: row for row in board.rows()}


# --- one number ---


@given(some_seeds)
def test_the_interval_is_that_of_students_t(values):
    found = from_seeds(values)
    spread = stats.sem(values)
    assert found.repeats == len(values) and found.low <= found.middle <= found.high
    if spread > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=spread)
        assert (found.low, found.high) == (
            pytest.approx(low, rel=1e-3, abs=0.02),
            pytest.approx(high, rel=1e-3, abs=0.02),
        )


@given(some_seeds)
def test_exchanged_arms_flip_the_answer(values):
    answer = Check("gain", "points", from_seeds(values)).answer
    flipped = Check("gain", "points", from_seeds([-value for value in values])).answer
    if any(values):
        assert flipped is {YES: NO, NO: YES, UNCLEAR: UNCLEAR}[answer]
    else:
        assert answer is flipped is NO  # equal arms are no gain


@given(some_seeds, points, st.sampled_from(["above", "below"]))
def test_an_answer_needs_the_whole_interval(values, limit, side):
    estimate = from_seeds(values)
    answer = Check("number", "points", estimate, limit, side).answer
    inside = [estimate.low, estimate.middle, estimate.high]
    right = [value > limit if side == "above" else value < limit for value in inside]
    if answer is YES:
        assert all(right)
    elif answer is NO:
        assert not any(right)
    else:
        assert estimate.low <= limit <= estimate.high


@given(st.lists(points, min_size=0, max_size=2), points)
def test_fewer_seeds_cannot_tell(values, limit):
    check = Check("number", "points", from_seeds(values), limit)
    assert check.answer is UNCLEAR and verdict([check]) is Verdict.UNKNOWN


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_is_refused(bad):
    for make in (
        lambda: from_seeds([1.0, 2.0, bad]),
        lambda: from_seeds([bad]),
        lambda: counted(bad),
        lambda: timed({"ratio": 1.0, "low": bad, "high": 2.0, "rounds": 15}),
    ):
        with pytest.raises(ValueError, match="measure the record again"):
            make()


def test_an_interval_encloses_its_number():
    for low, high in ((2.0, 3.0), (-3.0, 0.0), (3.0, 2.0), (None, 2.0), (0.0, None)):
        with pytest.raises(ValueError, match="interval"):
            Estimate(1.0, low, high, 3, "seeds")
    with pytest.raises(ValueError, match="only a number that is shown"):
        Check("number", "points", counted(1.0), None)


# --- the verdict ---

CERTAIN = {YES: (1.0, 1.0, 1.0), NO: (-1.0, -1.0, -1.0), UNCLEAR: (-1.0, 0.0, 1.0)}


def check(answer, role="part"):
    made = Check("number", "points", from_seeds(CERTAIN[answer]), role=role)
    assert made.answer is answer
    return made


def expected(parts, controls):
    """The rule, written down a second time, as conditions that exclude each other."""
    fails = NO in controls or (parts and set(parts) == {NO})
    if fails:
        return Verdict.FAILS
    sure = not set(controls) - {YES}
    if sure and parts and set(parts) == {YES}:
        return Verdict.HOLDS
    if sure and {YES, NO} <= set(parts):
        return Verdict.PARTLY
    return Verdict.UNKNOWN


def test_the_rule_in_all_cases():
    for n_parts, n_controls in itertools.product(range(4), range(3)):
        for parts in itertools.product(Answer, repeat=n_parts):
            for controls in itertools.product(Answer, repeat=n_controls):
                checks = [check(a) for a in parts] + [check(a, "control") for a in controls]
                found = verdict(checks)
                assert found is expected(parts, controls), (parts, controls)
                assert verdict(checks[::-1]) is found
                assert verdict([*checks, shown("beside", "points", counted(-100))]) is found


def test_a_claim_never_becomes_better_by_a_failure():
    rank = [Verdict.FAILS, Verdict.PARTLY, Verdict.UNKNOWN, Verdict.HOLDS]
    for answers in itertools.product(Answer, repeat=4):
        roles = ("part", "part", "control", "control")
        checks = [check(a, role) for a, role in zip(answers, roles, strict=True)]
        for place, role in enumerate(roles):
            worse = [*checks[:place], check(NO, role), *checks[place + 1 :]]
            assert rank.index(verdict(worse)) <= rank.index(verdict(checks))


# --- from records to checks ---

STOPS = (0.0, 0.2, 1.0)


def once(gain=0.0, seeds=3, straight=False, spread=0.002):
    """A record as bench.once_for_all writes it. OAT is more robust than the others by `gain` points."""
    runs = []
    for seed in range(seeds):
        shift = spread * (seed - 1)
        middle = 0.3 if straight else 0.5
        dial = [(0.99, 0.0), (0.95, middle), (0.87, 0.9)] if straight else [(0.99, 0.0), (0.95, middle), (0.84, 0.7)]
        for lam, (clean, robust) in zip(STOPS, dial, strict=True):
            runs.append(system(f"dedicated {lam:g}", seed, (lam, clean, robust + shift)))
        higher = [(lam, c, r + gain / 100 - shift) for lam, (c, r) in zip(STOPS, dial, strict=True)]
        runs += [system(name, seed, *higher) for name in ("oat", "mix of two", "blend", "oats")]
    return {"runs": runs}


def system(name, seed, *settings):
    rows = [{"lam": lam, "width": 1.0, "clean": c, "robust": min(max(r, 0.0), 1.0)} for lam, c, r in settings]
    return {"system": name, "seed": seed, "points": rows}


def exchanged(content):
    """A copy of a record in which OAT has the points of the dedicated networks, and they have those of OAT."""
    runs, oat = [], {}
    for run in content["runs"]:
        if run["system"] == "oat":
            runs += [run | {"system": f"dedicated {p['lam']:g}", "points": [p]} for p in run["points"]]
        elif run["system"].startswith("dedicated"):
            mine = oat.setdefault(run["seed"], run | {"system": "oat", "points": []})
            mine["points"] = mine["points"] + run["points"]
        else:
            runs.append(run)
    return {"runs": [*runs, *oat.values()]}


def test_planted_arms_of_one_for_all():
    assert verdict(measured.one_for_all(once())) is Verdict.HOLDS  # equal arms are equally good
    better = once(gain=5)
    assert verdict(measured.one_for_all(better)) is Verdict.HOLDS
    worse = exchanged(better)
    checks = measured.one_for_all(worse)
    failed = [c.text for c in checks if c.answer is NO]
    assert verdict(checks) is Verdict.PARTLY and len(failed) >= 2  # clean accuracy is as good
    assert verdict(measured.one_for_all(once(gain=5, seeds=2))) is Verdict.UNKNOWN


def test_a_dial_that_is_no_better_than_a_coin_fails():
    line = measured.one_for_all(once(straight=True, spread=0.0))
    coin = next(c for c in line if c.role == "control")
    assert coin.estimate.middle == pytest.approx(0, abs=1e-6) or coin.answer is NO
    # a point below the line between the ends
    under = once(straight=True, spread=0.0)
    for run in under["runs"]:
        for point in run["points"]:
            if point["lam"] == 0.2:
                point["robust"] -= 0.02
    assert verdict(measured.one_for_all(under)) is Verdict.FAILS


def test_a_dial_is_compared_with_the_coin_between_its_own_ends():
    dial = [(1.0, 0.0), (0.9, 0.5), (0.8, 0.6)]
    assert measured.above_own_coin(dial, 0.9) == pytest.approx(50 - 30)
    assert measured.above_own_coin([dial[0], (0.9, 0.3), dial[2]], 0.9) == pytest.approx(0)
    # OATS at any width: a straight dial fails by its control, a bent one does not
    slim = record("course/slim_dials")
    for bent, failed in ((0.45, 0), (0.35, 3)):
        rows = [
            {"lam": lam, "width": width, "clean": c, "robust": r}
            for width in (0.5, 0.75, 1.0)
            for lam, c, r in ((0.0, 1.0, 0.0), (0.2, 0.95, bent), (1.0, 0.9, 0.8))
        ]
        runs = [{"system": name, "seed": seed, "points": rows} for name in ("oat", "oats") for seed in range(3)]
        controls = [c for c in measured.oats({"runs": runs}, slim) if c.role == "control"]
        assert len(controls) == 3 and sum(c.answer is NO for c in controls) == failed


def family(*names, gain=0.0, seeds=3):
    large = {"stored": 10, "active": 10, "plain": 10, "macs": 10}
    kinds = ("oat_dial", "oat_scalar", "blend", "float", "float_forward", "floats_30_forward", "smart")
    runs = [
        {"name": name, "seed": seed, "points": [
            {"lam": lam, "width": 1.0, "clean": c, "robust": r + gain / 100 * (lam == 1)}
            for lam, c, r in ((0.0, 0.99 + gain / 1000, 0.0), (1.0, 0.84, 0.7))
        ]}
        for name in names for seed in range(seeds)
    ]  # fmt: skip
    for run in runs:
        run["stopped"] = run["seed"] == 1
    return {"runs": runs, "resnet34": {kind: {"1": large} for kind in kinds}}


def test_planted_gains_of_float():
    assert verdict(measured.float_accuracy(once(), family("float_forward", gain=5))) is Verdict.HOLDS
    assert verdict(measured.float_accuracy(once(), family("float_forward", gain=-5))) is Verdict.FAILS
    assert verdict(measured.float_accuracy(once(spread=0), family("float_forward"))) is Verdict.FAILS  # equal
    for few in (family("float_forward", gain=5, seeds=2), family()):
        assert verdict(measured.float_accuracy(once(), few)) is Verdict.UNKNOWN


def test_the_noise_must_earn_its_gain():
    """FLOAT beats OAT, but the network without noise beats FLOAT: the claim fails by its control."""
    strong = once()
    for run in strong["runs"]:
        if run["system"] == "blend":
            run["points"][-1]["robust"] = 0.8
    assert verdict(measured.float_accuracy(strong, family("float_forward", gain=5))) is Verdict.FAILS


def test_solar_with_exchanged_arms_and_with_equal_arms():
    seeds, other = record("course/solar_seeds"), record("bench/family")
    first = {c.text: c.estimate.middle for c in measured.solar(seeds, other)}
    swapped = seeds | {"runs": {"oats": seeds["runs"]["solar"], "solar": seeds["runs"]["oats"]}}
    for c in measured.solar(swapped, other):
        if c.role == "part" or c.role == "control":
            assert c.estimate.middle == pytest.approx(-first[c.text])
    same = seeds | {"runs": dict.fromkeys(("oats", "solar"), seeds["runs"]["solar"])}
    assert verdict(measured.solar(same, other)) is Verdict.FAILS


def test_trainings_that_ended_early_are_counted():
    fresh = {"runs": [system("oat, one BatchNorm, fresh statistics", seed, (0.0, 1.0, 0.0), (1.0, 0.8, 0.6))
                      for seed in range(3)]}  # fmt: skip
    checks = measured.dual_bn(once(), family("oat_one_norm"), fresh, record("course/oat_arms"))
    (early,) = [c for c in checks if "ended early" in c.text]
    assert early.estimate.middle == pytest.approx(100 / 3) and early.role == "shown"


def test_statistics_are_told_from_scale_and_shift():
    ways = record("course/bn_ways")
    told = copy.deepcopy(ways)
    rows = told["not told"]
    rows["statistics"], rows["scale and shift"] = rows["scale and shift"], rows["statistics"]
    assert [c.answer for c in measured.dual_bn_statistics(ways)][:2] == [NO, NO]
    assert [c.answer for c in measured.dual_bn_statistics(told)][:2] == [YES, YES]


def test_switchable_batchnorm_must_beat_fresh_statistics():
    slim = record("course/slim_clean")
    assert verdict(measured.switchable_bn(slim)) is Verdict.FAILS
    # if fresh statistics did not help, the control would pass
    slim["arms"]["together, one BatchNorm, fresh statistics"] = slim["arms"]["cut, fresh statistics"]
    (control,) = [c for c in measured.switchable_bn(slim) if c.role == "control"]
    assert control.answer is YES


def test_a_seed_without_all_dedicated_networks_is_left_out():
    content = once(seeds=4)
    content["runs"] = [r for r in content["runs"] if (r["system"], r["seed"]) != ("dedicated 0.2", 3)]
    dials = measured.systems(content)
    assert sorted(dials["dedicated"]) == [0, 1, 2] and sorted(dials["oat"]) == [0, 1, 2, 3]
    assert measured.one_for_all(content)[0].estimate.repeats == 3


def test_a_number_of_the_board_computed_by_hand(judged):
    ends = {}
    for run in record("bench/once_for_all")["runs"]:
        if run["system"] in ("oat", "dedicated 1"):
            ends[run["system"], run["seed"]] = max(run["points"], key=lambda p: p["lam"])["robust"]
    seeds = sorted({seed for _, seed in ends})
    by_hand = [100 * (ends["oat", seed] - ends["dedicated 1", seed]) for seed in seeds]
    (shapes, _) = judged["one-for-all"].found
    (found,) = [c.estimate for c in shapes.checks if c.text.startswith("robust at the last λ")]
    assert found.values == pytest.approx(by_hand)
    assert stats.t.interval(0.95, len(by_hand) - 1, sum(by_hand) / len(by_hand), stats.sem(by_hand)) == pytest.approx(
        (found.low, found.high), rel=1e-3
    )


# --- the table ---


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_has_records_or_says_what_is_missing(name, judged):
    claim = CLAIMS[name]
    assert claim.sentence.endswith(".") and re.search(r"\d{4}, arXiv \d{4}\.\d{5}$", claim.paper)
    assert claim.measures.keys() <= set(DATA_SETS) and "shapes" in claim.measures
    # a figure stands somewhere, or none was found
    assert re.search(r"\d.*\((abstract|README)", claim.published) or UNREAD in claim.published
    for found in judged[name].found:
        if found.data_set not in claim.measures:
            assert found.verdict is Verdict.UNKNOWN and not found.checks
            continue
        assert not found.missing and found.checks and found.commands and len(found.conditions) >= 1
        assert found.verdict is verdict(found.checks)
        assert any(c.role == "part" for c in found.checks)
        assert len({c.text for c in found.checks}) == len(found.checks)


def test_the_records_are_shipped_and_described():
    used = {r for claim in CLAIMS.values() for m in claim.measures.values() for r in m.records}
    assert used == RECORDS.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    shipped = {Path(source).stem for source in included if source.startswith("bench/results/")}
    assert {f"bench/{stem}" for stem in shipped} == {name for name in used if name.startswith("bench/")}


def test_the_commands_measure_the_records():
    for claim in CLAIMS.values():
        for measure in claim.measures.values():
            for name, command in measure.records.items():
                kind, stem = name.split("/")
                if kind == "course":
                    lesson = re.fullmatch(r"python authoring/make\.py --records (\w+)", command)[1]
                    source = (ROOT / "authoring" / "source" / f"{lesson}.py").read_text(encoding="utf-8")
                    assert f'recorded("{stem}"' in source
                elif stem in ("at", "rows", "training"):
                    assert command.startswith(f"python -m bench {stem} ")
                else:
                    assert command.startswith(f"python -m bench.{stem} ") and f"--out {stem}.json" in command
                if stem == "family":
                    words = command.split(" --")[0].split()[3:]
                    assert words and set(words) <= NETWORKS.keys()


# --- text, JSON, page ---


def test_the_board_fits_a_terminal(judged):
    text = board.as_text(list(judged.values()))
    whole = [text, *(board.in_full(row) for row in judged.values())]
    assert max(len(line) for page in whole for line in page.splitlines()) <= board.COLUMNS
    for name, row in judged.items():
        assert re.search(rf"^{name} +shapes: {row.found[0].verdict.value} +CIFAR-10: ", text, re.MULTILINE)
        assert row.claim.sentence in " ".join(text.split())
    assert all(rule in " ".join(text.split()) for rule in board.RULES)


def test_one_claim_in_full_has_conditions_and_commands(judged):
    text = " ".join(board.in_full(judged["solar"]).split())
    for part in ("+4.71 % clean and +7.71 % robust on CIFAR-10", "5 seeds", "quick suite", "n = 1024", "--records 07_"):
        assert part in text
    assert "not measured" in board.in_full(judged["float-time"])


def test_the_headline_is_what_decides():
    checks = (check(YES), check(UNCLEAR), check(NO), check(NO, "control"), check(YES, "control"))
    made = [Check(str(i), c.unit, c.estimate, role=c.role) for i, c in enumerate(checks)]

    def first(chosen):
        return board.headline(board.Found("shapes", verdict(chosen), tuple(chosen)))

    assert first(made).startswith("control: 3, points: -1.0")
    assert first([made[0], made[1], made[2]]).startswith("2,") and first(made[:2]).startswith("1,")
    assert first([made[4], made[0]]).startswith("control: 4") or first([made[0], made[4]]).startswith("0,")


def test_numbers_are_written_by_their_unit():
    assert board.number(Check("a", "points", from_seeds([1, 2, 3]))) == "+2.0 (-0.5 to +4.5)"
    assert board.number(Check("a", "points", from_seeds([1]))) == "+1.0"
    assert board.number(Check("a", "times", counted(1.567))) == "1.57"
    assert board.number(Check("a", "times", timed({"ratio": 1.4, "low": 1.2, "high": 1.7, "rounds": 15}))) == (
        "1.40 (1.20 to 1.70)"
    )
    assert board.number(Check("a", "points", None)) == "not measured"


def test_the_page_has_every_verdict(judged):
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for name, row in judged.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| [{name}](#{name})"))
        assert re.findall(r"\*\*([^*]+)\*\*", line) == [found.verdict.value for found in row.found]


# --- the command ---


def run(capsys, *words):
    code = main(["claims", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_prints_and_writes(capsys, tmp_path):
    code, out, _ = run(capsys)
    assert code == 0 and all(name in out for name in CLAIMS)
    code, out, _ = run(capsys, "float-time", "--json", tmp_path / "claims.json")
    assert code == 0 and out.startswith("float-time\n")
    content = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    (claim,) = content["claims"]
    assert claim["name"] == "float-time" and claim["found"]["shapes"]["verdict"] in list(Verdict)
    assert claim["found"]["CIFAR-10"] == {
        "verdict": "cannot tell", "checks": [], "conditions": [], "commands": [], "missing": [],
    }  # fmt: skip
    (part,) = [c for c in claim["found"]["shapes"]["checks"] if c["role"] == "part"]
    assert part["low"] <= part["value"] <= part["high"] and part["from"] == "15 rounds"


def test_a_wrong_name_gets_a_suggestion(capsys):
    code, out, err = run(capsys, "solr")
    assert code == 2 and out == "" and "unknown claim 'solr' (did you mean 'solar'?)" in err and err.count("\n") == 1


def test_records_that_were_measured_again_are_judged(capsys, tmp_path):
    rows = record("bench/rows")
    slow = {"ratio": 0.7, "low": 0.6, "high": 0.8, "rounds": 15}
    rows["oat_over"]["7"]["float"] = slow
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    code, out, _ = run(capsys, "float-time", "--records", tmp_path)
    assert code == 0 and "shapes: does not hold here" in out and "0.70 (0.60 to 0.80)" in out
    assert "shapes: does not hold here" not in run(capsys, "float-time")[1]


def test_wrong_records_end_in_one_line(capsys, tmp_path):
    code, _, err = run(capsys, "--records", tmp_path / "none")
    assert code == 2 and "there is no folder" in err
    (tmp_path / "rows.json").write_text('{"oat_over": {}}', encoding="utf-8")
    code, _, err = run(capsys, "float-time", "--records", tmp_path)
    assert code == 2 and "rows.json" in err and "expected content" in err and err.count("\n") == 1
    (tmp_path / "rows.json").write_text(
        '{"oat_over": {"7": {"float": {"ratio": NaN, "low": 1, "high": 2, "rounds": 15}, "blend": {}}}}',
        encoding="utf-8",
    )
    code, _, err = run(capsys, "float-time", "--records", tmp_path)
    assert code == 2 and "measured number is nan" in err


def test_a_missing_record_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(board, "bundled", lambda kind: tmp_path)
    (row,) = board.rows(["float-time"])
    assert row.found[0].verdict is Verdict.UNKNOWN and row.found[0].missing == ("bench/rows",)
    assert "missing records: bench/rows" in board.in_full(row) and "bench/rows" in board.as_text([row])
    assert "bench/rows" in board.as_markdown([row])
    with pytest.raises(RecordError, match="no folder"):
        board.rows(folder=tmp_path / "none")


# ---- photographs -----------------------------------------------------------------------------------------------


def _photographs(**dials):
    """A record of photographs with one seed: {system: [(λ, clean, robust), ...]}."""
    runs = []
    for name, dial in dials.items():
        points = [{"lam": lam, "width": 1.0, "clean": clean, "robust": robust} for lam, clean, robust in dial]
        runs.append({"system": name.replace("_", " "), "seed": 0, "points": points})
    return {"runs": runs}


def _values(checks):
    return [None if check.estimate is None else pytest.approx(check.estimate.middle, abs=1e-9) for check in checks]


def test_on_photographs_oat_is_compared_with_dedicated_networks_and_coins():
    oat = [(0.0, 0.8, 0.0), (0.2, 0.7, 0.3), (1.0, 0.6, 0.4)]
    alone = {"dedicated_0": [(0.0, 0.8, 0.1)], "dedicated_0.2": [(0.2, 0.7, 0.35)], "dedicated_1": [(1.0, 0.6, 0.5)]}
    checks = measured.one_for_all_photographs(_photographs(oat=oat, **alone))
    # half-way, at clean accuracy 70 %: 30 against 35; at the ends 40 against 50, and equal clean accuracy;
    # the coin between the dedicated ends keeps 30 there, that between the ends of OAT 20
    assert _values(checks) == [-5.0, -10.0, 0.0, 0.0, 10.0]
    assert [check.role for check in checks] == ["part", "part", "part", "control", "shown"]
    # without dedicated networks only the last number is there
    assert _values(measured.one_for_all_photographs(_photographs(oat=oat))) == [None] * 4 + [10.0]


def test_on_photographs_solar_is_compared_with_oats_at_the_widths_of_both():
    runs = []
    for name, clean, robust in (("oats", (0.6, 0.5, 0.4), 0.1), ("solar", (0.62, 0.55, 0.39, 0.99), 0.13)):
        points = [{"lam": lam, "width": width, "clean": at - 0.1 * lam, "robust": robust * lam}
                  for width, at in zip((1.0, 0.75, 0.5, 0.25), clean, strict=False) for lam in (0.0, 1.0)]  # fmt: skip
        runs.append({"system": name, "seed": 0, "points": points})
    found = _values(measured.solar_photographs({"runs": runs}))
    assert found == pytest.approx([2.0, 5.0, 3.0, 3.0]), "mean and largest gain: clean at λ = 0, robust at the end"
    assert _values(measured.solar_photographs({"runs": runs[:1]})) == [None] * 4


def test_on_photographs_the_ends_of_systems_are_compared():
    oat = [(0.0, 0.8, 0.0), (1.0, 0.6, 0.4)]
    other = [(0.0, 0.77, 0.0), (1.0, 0.6, 0.45)]
    plain = [(0.0, 0.78, 0.0), (1.0, 0.6, 0.41)]
    record = _photographs(oat=oat, float=other, smart=other, blend=plain, floats=plain, oats=other)
    assert _values(measured.float_accuracy_photographs(record)) == [5.0, -3.0, 4.0]
    assert _values(measured.smart_accuracy_photographs(record)) == [5.0, -3.0, 4.0]
    assert _values(measured.floats_photographs(record)) == [-4.0, 1.0]
    assert _values(measured.oats_photographs(record)) == [5.0, -3.0, 0.0, None, None]
