"""Lesson 12: its dials are those of the records, its rules those of the board, its draws those of real images."""

import random

import pytest
import torch

from oatlib.claims import board
from oatlib.claims.verdict import Check, Estimate, verdict
from oatlib.course import exercises, real_images
from oatlib.course.dials import above_coin, from_hex
from oatlib.course.exercises import real_images as rules
from oatlib.course.lesson import RECORDS
from oatlib.record import read_json

MIDDLE = torch.tensor([0.025, 0.975]).double()


def run(system, points, seed=0):
    return {"system": system, "seed": seed, "points": points}


def point(lam, width=1.0, clean=0.6, robust=0.2):
    return {"lam": lam, "width": width, "clean": clean, "robust": robust, "n": 64}


def test_dials_have_full_width_and_dedicated_networks_are_collected(monkeypatch):
    both = [point(1.0, 0.5), point(1.0), point(0.0), point(0.0, 0.5)]
    runs = [run("oats", both), run("oat", [point(0.0)], seed=3), run("dedicated 1", [point(1.0)])]
    runs.append(run("dedicated 0.2", [point(0.2)]))
    monkeypatch.setattr(real_images, "_record", lambda name: {"runs": runs})
    found = real_images.dials("photographs")
    assert [p["lam"] for p in found["oats"]] == [0.0, 1.0]
    assert [p["lam"] for p in found["dedicated"]] == [0.2, 1.0]
    assert "oat" not in found and real_images.seeds("photographs") == [3]


def test_figures_leave_out_what_is_not_measured():
    dial = [point(0.0) | {"robust_low": 0.1, "robust_high": 0.3}, point(1.0) | {"robust_low": 0.1, "robust_high": 0.3}]
    fig = real_images.two_worlds({"oat": dial}, {"oat": dial, "unknown": dial}, [(1.0, 0.0), (0.8, 0.8)], "seen")
    names = [trace.name for trace in fig.data if trace.showlegend is not False]
    assert names == ["oat", "best possible rule"] and fig.layout.meta["takeaway"] == "seen"
    rows = {"a": {"shapes": (1.0, 0.0, 2.0), "photographs": None}, "b": {"shapes": (1.0, 0.0, 2.0)}}
    shown = real_images.with_limits(rows, "seen").data
    assert [len(trace.x) for trace in shown] == [2, 0]


def test_what_a_stronger_suite_leaves_is_said_beside_the_attack(monkeypatch):
    both = [point(0.0), point(1.0, 0.5), point(1.0, robust=0.3)]
    strong = {"strong": [point(0.0), point(1.0, robust=0.25)]}
    record = {"attack_text": "weak", "runs": [run("oat", both) | strong, run("blend", both)]}
    monkeypatch.setattr(real_images, "_record", lambda name: record)
    said = "A stronger suite leaves 25.0 % instead of 30.0 % for `oat` at λ = 1."
    assert real_images.attack_text() == f"Robust: weak. These are upper bounds. {said}"


def halfway_gain(dial):
    """Points above the own coin, half-way between the clean accuracies of the ends."""
    return above_coin(dial, [(dial[0][0] + dial[-1][0]) / 2])[0]


def test_systems_of_photographs_are_trained_as_the_record_says():
    assert real_images.training("nothing") is None
    options = real_images.training("oat")
    assert options["recipe"] == "oat" and options["backbone"] == "tiny"


@pytest.mark.parametrize("seed", range(40))
def test_the_rules_of_the_lesson_are_those_of_the_board(seed):
    source = random.Random(seed)
    checks = []
    for _ in range(source.randint(0, 5)):
        low, high = sorted(source.choices([-4.0, -2.0, 0.0, 1.0, 3.0], k=2))
        estimate = source.choice([None, Estimate((low + high) / 2, low, high, 3, "seeds")])
        role = source.choice(["part", "control", "shown"])
        limit = None if role == "shown" else source.choice([-2.0, 0.0, 1.0])
        checks.append(Check("text", "points", estimate, limit, source.choice(["above", "below"]), role))
    cards = [{"low": None, "high": None} | board._check_as_json(check) for check in checks]
    assert rules._judge(cards) == verdict(checks).value
    for check, card in zip(checks, cards, strict=True):
        if check.answer is not None:
            assert rules._answer(card["low"], card["high"], card["limit"], card["side"]) == check.answer.value


def test_drawn_images_agree_with_real_ones():
    """The interval of a gain, from shares alone and from the answers to every image."""
    for name in ("oat", "blend"):
        points = read_json(RECORDS / "oat_rivals.json")["points"][name]
        n, generator = points[0]["n"], torch.Generator().manual_seed(0)
        masks = [torch.stack([from_hex(p[f"{key}_images"], n) for p in points]).double() for key in ("clean", "robust")]
        chosen = torch.randint(n, (300, n), generator=generator)
        real = [mask[:, chosen].mean(2) for mask in masks]
        ours = rules._redraw(points, 300, generator)
        limits = []
        for clean, robust in (real, ours):
            dials = torch.stack([clean, robust], 2).transpose(0, 1).tolist()
            gains = torch.tensor([halfway_gain(dial) for dial in dials]).double()
            limits.append(gains.quantile(MIDDLE))
        assert (limits[0] - limits[1]).abs().max() < 3


def test_a_policy_sees_no_results():
    seen = []

    def policy(check):
        seen.append(set(check))
        return check

    changed = rules.under_policy(policy, rules.PRACTICE["slimmable"])
    assert changed == rules.PRACTICE["slimmable"]
    assert all(not keys & set(rules.HIDDEN) for keys in seen)


def test_a_policy_on_the_board_changes_verdicts_by_its_rule_only():
    for claim in board.as_json(board.rows())["claims"]:
        for found in claim["found"].values():
            cards = [{"low": None, "high": None, "from": ""} | card for card in found["checks"]]
            assert rules._judge(cards) == found["verdict"]
            assert rules._judge(rules.under_policy(lambda check: check, cards)) == found["verdict"]


def test_every_exercise_of_the_lesson_is_found():
    assert {name for name, each in _all().items() if each.lesson == "12"} == {
        "redraw",
        "answer",
        "carries_over",
        "judge",
        "nearest_change",
        "my_policy",
    }


def _all():
    exercises.find_all()
    return exercises.EXERCISES
