"""`oatlib.check`: every planted fraud is caught by name, and honest networks raise nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import oatlib
from oatlib.cli import main
from oatlib.lab.frauds import frauds
from oatlib.lab.ready import FOLDER
from oatlib.questions import QUESTIONS
from oatlib.subject import Subject

NAMES = ("saturated logits", "noise without EOT", "quantised input", "shattered gradient", "no gradient",
         "the other branch", "trained against one step")  # fmt: skip


@pytest.fixture(scope="module")
def shapes():
    return oatlib.load_data("shapes", seed=0)


@pytest.fixture(scope="module")
def planted(shapes):
    standard, oat = (oatlib.load(FOLDER / f"{name}.safetensors") for name in ("standard", "oat"))
    return frauds(standard, oat, shapes)


def tried(f, split, n=48, **more):
    return oatlib.check(f, split, n=n, progress=False, **more)


def test_there_is_a_fraud_of_every_kind(planted):
    assert tuple(planted) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_fraud_is_caught_by_name(planted, name):
    fraud = planted[name]
    report = tried(fraud.f, fraud.split, eps=fraud.eps, claim=fraud.claim, **fraud.also)
    raised = {check.name for check in report.raised}
    assert set(fraud.caught) <= raised and not report.stands
    assert fraud.claim > report.robust + 0.2, "a fraud claims far more than there is"
    for check in report.raised:
        assert check.name.replace("_", " ") in report.verdict and check.why and check.todo and check.evidence
        assert check.why in str(report)


@pytest.mark.parametrize("name, lam", [("pgd-at", 1.0), ("oat", 0.2), ("oat", 1.0), ("oats", 1.0)])
def test_honest_networks_raise_nothing(shapes, name, lam):
    report = tried(oatlib.load(FOLDER / f"{name}.safetensors"), shapes, lam=lam, n=64)
    assert [(check.name, check.found) for check in report.raised] == []
    assert report.stands and report.verdict.startswith("It stands")
    assert report.robust <= report.claim + 1e-9, "the suite is at least as strong as PGD-20"
    assert report.low <= report.robust <= report.high


def test_an_honest_network_with_a_false_claim_does_not_stand(shapes):
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, lam=1.0, n=64, claim=0.95)
    assert [check.name for check in report.raised] == ["claim"]
    assert report.verdict.startswith("It does not stand: 95.0% is claimed")


def test_noisy_networks_are_attacked_with_eot(shapes):
    report = tried(oatlib.load(FOLDER / "float.safetensors"), shapes, n=16)
    found = {check.name: check for check in report.checks}
    assert report.about["draws"] == 10 and not found["randomness"].raised and found["folded"].raised is None


# --- single questions, with faults planted into what they look at ---


def question(name):
    return next(each for each in QUESTIONS if each.name == name)


def subject(f, shapes, n=48, **more):
    x, y = shapes.val.x[:n], shapes.val.y[:n]
    outcome = oatlib.Suite(members=(oatlib.FGSM(),)).run(f, x, y, progress=False)
    given = {"attacked": None, "sources": {}, "whole": None, "claim": None}
    return Subject(f, x, y, 8 / 255, 0, 1, **(given | more), suite=outcome)


@pytest.fixture
def net(shapes):
    return oatlib.load(FOLDER / "oat.safetensors").at(1.0)


def test_a_network_in_train_mode_is_seen(net, shapes):
    net.train()
    asked = question("mode")(subject(net, shapes))
    assert asked.raised and asked.evidence["parts"] > 0
    assert not question("mode")(subject(net.eval(), shapes)).raised


def test_probabilities_are_seen(net, shapes):
    assert question("logits")(subject(lambda x: net(x).softmax(1), shapes)).raised
    assert not question("logits")(subject(net, shapes)).raised


def test_a_fold_that_changes_answers_is_seen(net, shapes):
    assert question("folded")(subject(net, shapes, whole=lambda x: 1.1 * net(x))).raised
    assert not question("folded")(subject(net, shapes, whole=net)).raised


def test_a_wall_far_from_the_images_is_seen(net, shapes):
    """A network that says what it said of the nearest image it knows, as soon as one moves too far."""
    known = shapes.val.x[:48]

    def f(x):
        moved = (x[:, None] - known[None]).abs().flatten(2).amax(2).amin(1)
        nearest = (x[:, None] - known[None]).abs().flatten(2).mean(2).argmin(1)
        return torch.where((moved > 12 / 255)[:, None], net(known[nearest]).detach() + 0 * x.flatten(1)[:, :1], net(x))

    found = {name: question(name)(subject(f, shapes)) for name in ("larger_eps", "huge_eps")}
    assert found["larger_eps"].raised and found["larger_eps"].evidence["4 eps"] > found["larger_eps"].evidence["1 eps"]


def test_images_of_another_network_that_hit_better_are_seen(net, shapes):
    def blind(x):  # the same answers, and gradients that lead the wrong way
        return net(2 * x.detach() - x)

    asked = question("transfer")(subject(blind, shapes, sources={"the true one": net}))
    assert asked.raised and "the true one" in asked.found
    assert question("one_step")(subject(net, shapes)).raised is False


def test_what_cannot_be_asked_says_why(net, shapes):
    for name in ("transfer", "same_function", "folded", "black_box"):
        asked = question(name)(subject(net, shapes))
        assert asked.raised is None and asked.found.startswith("not asked")


# --- forms, and bad input ---


@pytest.fixture(scope="module")
def report(shapes):
    return tried(oatlib.load(FOLDER / "oats.safetensors"), shapes, lam=1.0, width=0.5, n=32)


def test_a_report_is_json_and_a_page(report, tmp_path):
    report.save(tmp_path / "r.json")
    report.save(tmp_path / "r.html")
    content, page = json.loads((tmp_path / "r.json").read_text()), (tmp_path / "r.html").read_text()
    assert content["verdict"] == report.verdict and len(content["checks"]) == len(QUESTIONS)
    assert {"name", "raised", "found", "evidence", "why", "todo"} == content["checks"][0].keys()
    assert content["about"]["width"] == 0.5 and content["about"]["lam"] == 1.0 and content["n"] == 32
    assert page.startswith("<!doctype html>") and page.count("<tr>") == len(QUESTIONS) and "<script" not in page
    assert report._repr_html_() in page


def test_what_a_report_quotes_cannot_break_its_page(report):
    bad = replace(report.checks[0], raised=True, found="<script>alert(1)</script>")
    assert "<script>" not in replace(report, checks=[bad]).html()


def test_the_seed_is_that_of_the_suite_too(shapes, monkeypatch):
    whole, seen = oatlib.Suite.run, []
    monkeypatch.setattr(oatlib.Suite, "run", lambda suite, f, x, y, generator=None, **more: (
        seen.append(generator.initial_seed()), whole(suite, f, x, y, generator, **more))[1])  # fmt: skip
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, n=8, seed=7, seconds=0.01)
    assert seen == [7] == [report.about["seed"]]


def test_the_verdict_says_when_time_was_over(shapes):
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, n=64, seconds=0.01)
    assert not report.stands and report.verdict.startswith("Not decided") and "at most" in report.verdict


@pytest.mark.parametrize("given, message", [
    ({"claim": 83}, "claim"), ({"eps": 8}, "eps"), ({"lam": 2.0}, "λ"), ({"width": 0.3}, "width"),
])  # fmt: skip
def test_bad_input_is_refused_before_any_work(shapes, given, message):
    with pytest.raises(ValueError, match=message):
        oatlib.check(oatlib.load(FOLDER / "oat.safetensors"), shapes, progress=False, **given)
    with pytest.raises(ValueError, match="plain function"):
        oatlib.check(nn.Identity(), shapes, lam=1.0)


def test_the_command_says_whether_it_stands(tmp_path, capsys):
    weights, out = str(FOLDER / "oat.safetensors"), tmp_path / "r.json"
    assert main(["check", weights, "--n", "32", "--json", str(out)]) == 0
    assert capsys.readouterr().out.startswith("It stands") and json.loads(out.read_text())["stands"]
    assert main(["check", weights, "--n", "32", "--claim", "0.99"]) == 1
    assert "claim" in capsys.readouterr().out
    assert main(["check", weights, "--n", "0"]) == 2
    assert main(["check", weights, "--json", str(tmp_path / "no" / "r.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
