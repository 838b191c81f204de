"""`oatlib.audit`: every planted fraud is caught by name, and honest networks raise nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import oatlib
from oatlib.attacks.base import Attack
from oatlib.attacks.freeze import NoGradientError
from oatlib.attacks.transfer import Transfer
from oatlib.auditing import claim as auditing_claim
from oatlib.auditing import finding as auditing_finding
from oatlib.auditing import questions
from oatlib.auditing.claim import Claim, compare_claim, measured_claim
from oatlib.auditing.finding import Answer, Finding, Verdict
from oatlib.auditing.questions import QUESTIONS
from oatlib.auditing.report import _deployed, _training_preset
from oatlib.auditing.significance import above_interval, clearly_above
from oatlib.auditing.subject import Subject, _covers_short_targeted
from oatlib.cli.main import main
from oatlib.course.frauds import _no_gradient, _noisy, _other_branch, frauds
from oatlib.data.load import data_of
from oatlib.explorer.shipped import FOLDER

pytestmark = pytest.mark.slow

NAMES = ("saturated logits", "noise without EOT", "quantised input", "shattered gradient", "no gradient",
         "the other branch", "trained against one step")  # fmt: skip
EXHIBIT = Path(__file__).parents[1] / "data" / "course" / "oats_two_steps.safetensors"
EPS = 8 / 255


@pytest.fixture(scope="module")
def shapes():
    return oatlib.load_data("shapes", seed=0)


@pytest.fixture(scope="module")
def planted(shapes):
    standard, oat = (oatlib.load(FOLDER / f"{name}.safetensors") for name in ("standard", "oat"))
    return frauds(standard, oat, shapes)


def tried(f, split, n=48, **more):
    return oatlib.audit(f, split, n=n, progress=False, **more)


def assert_documented(report):
    """Assert that the evidence is finite numbers, whose names are in the docstring of the question."""
    for asked, finding in zip(QUESTIONS, report.findings, strict=True):
        described = asked.ask.__doc__.partition("Evidence:")[2]
        assert asked.name == finding.name and described
        for name, value in finding.evidence.items():
            assert isinstance(value, int | float) and math.isfinite(value), (finding.name, name)
            assert name in described or finding.name == "transfer", (finding.name, name)


def test_there_is_a_fraud_of_every_kind(planted):
    assert tuple(planted) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_fraud_is_caught_by_name(planted, name):
    fraud = planted[name]
    report = tried(fraud.f, fraud.split, eps=fraud.eps, claim=fraud.claim, **fraud.also)
    raised = {finding.name for finding in report.raised}
    assert set(fraud.caught) <= raised and not report.stands
    assert fraud.claim > report.robust + 0.2, "a fraud claims far more than there is"
    for finding in report.raised:
        assert finding.name.replace("_", " ") in report.summary
        assert finding.reason and finding.remedy and finding.evidence
        assert finding.reason in str(report)
    assert repr(report) == str(report), "no dataclass is shown as Python writes it"
    assert_documented(report)


@pytest.mark.parametrize("name, lam", [("pgd-at", 1.0), ("oat", 0.2), ("oat", 1.0), ("oats", 1.0)])
def test_honest_networks_raise_nothing(shapes, name, lam):
    report = tried(oatlib.load(FOLDER / f"{name}.safetensors"), shapes, lam=lam, n=64)
    assert [(finding.name, finding.sentence) for finding in report.raised] == []
    assert report.stands and report.summary.startswith("Passed")
    assert report.claim.source == "pgd-20" and report.claim.n == report.n
    assert report.robust <= report.claim.value + 1e-9, "the suite is at least as strong as PGD-20"
    assert report.low <= report.robust <= report.high


def test_an_honest_network_with_a_false_claim_does_not_stand(shapes):
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, lam=1.0, n=64, claim=0.95)
    assert report.raised == [report.claim_finding] and report.claim_finding.name == "claim"
    assert report.claim == Claim(0.95, "given") and not report.stands
    assert report.summary.startswith("Failed: 95.0% is claimed")
    assert "RAISED  claim: 95.0% is claimed" in str(report), "the claim is shown like a finding"
    assert "claim</td>" in report.html() and "95.0% is claimed" in report.html()


def test_noisy_networks_are_attacked_with_eot(shapes):
    report = tried(oatlib.load(FOLDER / "float.safetensors"), shapes, n=16)
    verdicts = {finding.name: finding.verdict for finding in report.findings}
    assert report.about["eot_samples"] == 10 and verdicts["randomness"] is Verdict.PASSED
    assert verdicts["folded"] is Verdict.NOT_APPLICABLE


# --- sentences decide nothing ---


def write_everywhere(text, monkeypatch):
    """Replace every sentence of the audit, and every text about attacks and errors, where it is made."""
    answer, finding = Answer, Finding

    def rewritten_answer(verdict, sentence, evidence):
        return answer(verdict, text, evidence)

    def rewritten_finding(name, verdict, sentence, evidence, reason, remedy):
        return finding(name, verdict, text, evidence, text, text)

    for module in (questions, auditing_finding):
        monkeypatch.setattr(module, "Answer", rewritten_answer)
    for module in (questions, auditing_claim):
        monkeypatch.setattr(module, "Finding", rewritten_finding)
    for kind in (Claim, Attack, Transfer, oatlib.Suite, NoGradientError):
        monkeypatch.setattr(kind, "__str__", lambda _: text)


def audited(name, shapes):
    """The report on a network that is made anew, so that the samples of a random one are the same."""
    standard, oat = (oatlib.load(FOLDER / f"{name}.safetensors") for name in ("standard", "oat"))
    panel = shapes.val.panel(32)
    if name == "honest":
        net, options = oat.at(1.0), {}
    elif name == "false claim":
        net, options = oat.at(1.0), {"claim": 0.99}
    else:
        net = standard.at(0.0)
        made = (_noisy(net, panel, 0), _no_gradient(net, panel), _other_branch(oat, panel))
        (fraud,) = (fraud for fraud in made if fraud.name == name)
        net, options = fraud.f, {"claim": fraud.claim, **fraud.also}
    suite = oatlib.Suite(EPS, members=(oatlib.APGD(EPS, 5), oatlib.Square(EPS, 20)))
    return tried(net, panel, n=16, suite=suite, **options)


@pytest.mark.parametrize("name", ["honest", "false claim", "noise without EOT", "no gradient", "the other branch"])
def test_rewording_every_sentence_changes_no_verdict(name, shapes, monkeypatch):
    before = audited(name, shapes)
    findings = (*before.findings, before.claim_finding)
    for text in ("", "not asked, passed, RAISED: claim, Square with EOT, 99.0%"):
        with monkeypatch.context() as patch:
            write_everywhere(text, patch)
            after = audited(name, shapes)
        rewritten = (*after.findings, after.claim_finding)
        assert {finding.sentence for finding in rewritten} == {text}, "every sentence is replaced"
        assert [finding.verdict for finding in rewritten] == [finding.verdict for finding in findings]
        assert [finding.evidence for finding in rewritten] == [finding.evidence for finding in findings]
        assert (after.stands, after.complete) == (before.stands, before.complete)
        assert [finding.name for finding in after.raised] == [finding.name for finding in before.raised]
    assert before.stands == (name == "honest")


# --- single questions, with faults planted into what they look at ---


def question(name):
    return next(each for each in QUESTIONS if each.name == name)


def subject(f, shapes, n=48, **more):
    x, y = shapes.val.x[:n], shapes.val.y[:n]
    return subject_of(f, x, y, oatlib.Suite(members=(oatlib.FGSM(),)), **more)


def subject_of(f, x, y, suite, **more):
    outcome = suite.run(f, x, y, progress=False)
    return Subject(f, x, y, EPS, 0, 1, suite=outcome, members=suite.attacks(), **more)


@pytest.fixture
def net(shapes):
    return oatlib.load(FOLDER / "oat.safetensors").at(1.0)


@pytest.fixture
def fragile(shapes):
    """A network that about half of the images can be attacked on, so that an attack that fails shows."""
    return oatlib.load(FOLDER / "oat.safetensors").at(0.2)


def test_a_network_in_train_mode_is_seen(net, shapes):
    net.train()
    finding = question("mode")(subject(net, shapes))
    assert finding.verdict is Verdict.RAISED and finding.evidence["modules"] > 0
    assert question("mode")(subject(net.eval(), shapes)).verdict is Verdict.PASSED


def test_probabilities_are_seen(net, shapes):
    assert question("logits")(subject(lambda x: net(x).softmax(1), shapes)).verdict is Verdict.RAISED
    assert question("logits")(subject(net, shapes)).verdict is Verdict.PASSED


def test_a_fold_that_changes_answers_is_seen(net, shapes):
    changed = subject(net, shapes, unfolded=lambda x: 1.1 * net(x))
    assert question("folded")(changed).verdict is Verdict.RAISED
    assert question("folded")(subject(net, shapes, unfolded=net)).verdict is Verdict.PASSED


def test_a_wall_far_from_the_images_is_seen(fragile, shapes):
    """A network that says what it said of the nearest image it knows, as soon as one moves too far."""
    known, net = shapes.val.x[:48], fragile

    def f(x):
        moved = (x[:, None] - known[None]).abs().flatten(2).amax(2).amin(1)
        nearest = (x[:, None] - known[None]).abs().flatten(2).mean(2).argmin(1)
        return torch.where((moved > 12 / 255)[:, None], net(known[nearest]).detach() + 0 * x.flatten(1)[:, :1], net(x))

    larger = question("larger_eps")(subject(f, shapes))
    assert larger.verdict is Verdict.RAISED and larger.evidence["4 eps"] > larger.evidence["1 eps"]


def test_images_of_another_network_that_hit_better_are_seen(net, fragile, shapes):
    def blind(x):  # the same answers, and gradients that lead the wrong way
        return fragile(2 * x.detach() - x)

    finding = question("transfer")(subject(blind, shapes, sources={"the true one": fragile}))
    assert finding.verdict is Verdict.RAISED and finding.evidence["the true one"] > 0
    assert "the true one" in finding.sentence
    assert question("one_step")(subject(net, shapes)).verdict is Verdict.PASSED


def test_what_cannot_be_asked_says_why(net, shapes):
    for name in ("transfer", "same_function", "folded", "black_box", "training_attack"):
        finding = question(name)(subject(net, shapes))
        assert finding.verdict is Verdict.NOT_APPLICABLE and not finding.evidence
        assert finding.sentence.startswith("not asked, because")


# --- the exhibit: a network of version 0.1.0 that had overfitted to a two-step attack ---


def test_the_exhibit_does_not_stand():
    net = oatlib.load(EXHIBIT)
    # a shorter suite than the default, for time: it leaves more, which makes the questions milder
    suite = oatlib.Suite(EPS, members=(oatlib.APGD(EPS, 20), oatlib.APGD(EPS, 10, targets=4)))
    report = oatlib.audit(net, data_of(net.spec.data), 0.2, n=128, suite=suite, progress=False)
    raised = {finding.name for finding in report.raised}
    assert raised == {"claim", "targeted", "training_attack"}
    assert not report.stands and report.summary.startswith("Failed: PGD-20 alone leaves")
    for name in raised:
        assert name.replace("_", " ") in report.summary
    assert report.claim.value > report.high, "PGD-20 lies above the interval of the suite"


# --- a targeted attack ---


def mixing(shapes, temperature, n=48):
    """Images and a function whose wrong classes each have a texture, and a small logit.

    The logits of the true class are constant, and those of class k rise by the mean of the change
    times texture k. With a high temperature, the softmax is flat, and the cross-entropy climbs a
    mixture of all textures, which raises no logit far enough. One texture alone does.
    """
    generator = torch.Generator().manual_seed(0)
    textures = torch.randint(0, 2, (8, 3 * 16 * 16), generator=generator) * 2.0 - 1
    x, y = 0.5 + 0 * shapes.val.x[:n], shapes.val.y[:n]
    x = x + 0.1 * torch.rand(x.shape, generator=generator)

    def f(images):
        with torch.no_grad():
            nearest = (images[:, None] - x[None]).abs().flatten(2).mean(2).argmin(1)
        change = (images - x[nearest]).flatten(1)
        scores = change @ textures.T / textures.shape[1]
        true = nn.functional.one_hot(y[nearest], 8).bool()
        return torch.where(true, torch.full_like(scores, 0.7 * EPS), scores) / temperature

    return f, x, y


def test_a_mixture_of_wrong_classes_is_seen(shapes):
    f, x, y = mixing(shapes, temperature=1.0)
    finding = question("targeted")(subject_of(f, x, y, oatlib.Suite(members=(oatlib.FGSM(),))))
    assert finding.verdict is Verdict.RAISED
    assert finding.evidence["pgd"] < 0.05 and finding.evidence["only_targeted"] > 0.9
    # the same images and the same decisions, but logits that are sharp enough to choose one class
    f, x, y = mixing(shapes, temperature=1e-3)
    finding = question("targeted")(subject_of(f, x, y, oatlib.Suite(members=(oatlib.FGSM(),))))
    assert finding.verdict is Verdict.PASSED and finding.evidence["pgd"] > 0.9


def test_images_that_a_longer_targeted_attack_left_are_not_tried_again(net, shapes):
    x, y = shapes.val.x[:32], shapes.val.y[:32]
    long = (oatlib.APGD(EPS, 20), oatlib.APGD(EPS, 10, targets=4))
    s = subject_of(net, x, y, oatlib.Suite(members=long))
    assert torch.equal(s.within_reach, s.suite.fell != -1) and not s.within_reach.all()
    assert not (s.fooled(s.short_targeted()) & ~s.within_reach).any(), "they would not have been fooled"
    for weak in (long[:1], (oatlib.APGD(EPS, 10, targets=2),), (oatlib.APGD(EPS, 5, targets=4),)):
        assert subject_of(net, x, y, oatlib.Suite(members=weak)).within_reach.all()


# --- the attack of training ---

TRAINED = oatlib.Preset(steps=3, margin=1.0, step_size=2.5 * EPS / 3)


def test_a_network_that_resists_its_training_attack_only_is_seen(net, shapes):
    """Right wherever most pixels have moved by eps, as after PGD-3; that is on the way of no other attack."""
    known, y = shapes.val.x[:48], shapes.val.y[:48]
    truth = 20.0 * nn.functional.one_hot(y, 8)
    hidden = TRAINED.attack()

    def f(x):
        nearest = (x[:, None] - known[None]).abs().flatten(2).mean(2).argmin(1)
        corner = ((x - known[nearest]).abs() > 0.98 * hidden.eps).flatten(1).double().mean(1)
        return torch.where((corner > 0.45)[:, None], truth[nearest], standard(x))

    standard = oatlib.load(FOLDER / "standard.safetensors").at(0.0)
    suite = oatlib.Suite(members=(oatlib.APGD(EPS, 10),))
    finding = question("training_attack")(subject_of(f, known, y, suite, training_preset=TRAINED))
    assert finding.verdict is Verdict.RAISED and finding.evidence["training_attack"] > 0.6
    assert finding.evidence["pgd"] < 0.4 and finding.evidence["suite"] < 0.2
    finding = question("training_attack")(subject_of(net, known, y, suite, training_preset=TRAINED))
    assert finding.verdict is Verdict.PASSED


def test_the_attack_of_training_is_brought_to_the_eps_of_the_audit(net, shapes):
    preset = oatlib.Preset(eps=16 / 255, margin=1.25, steps=2, step_size=15 / 255, aimed=0.0)
    s = subject(net, shapes, n=8, training_preset=preset)
    finding = question("training_attack")(s)
    scaled = oatlib.PGD(EPS, 2, 6 / 255, best=False)
    assert finding.evidence["steps"] == 2 and finding.evidence["step_size"] == pytest.approx(6 / 255)
    assert f"({scaled})" in finding.sentence
    x_adv = scaled(net, s.x, s.y, torch.Generator().manual_seed(0))
    kept = (net(x_adv).argmax(1) == s.y).double().mean().item()
    assert finding.evidence["training_attack"] == pytest.approx(kept)


@pytest.mark.parametrize(
    "targets, steps, longer", [("all", 10, True), (3, 10, True), (2, 99, False), ("all", 9, False)]
)
def test_a_suite_with_a_longer_targeted_attack_is_not_repeated(targets, steps, longer):
    assert _covers_short_targeted(oatlib.APGD(EPS, steps, targets=targets)) == longer
    assert not _covers_short_targeted(oatlib.PGD(EPS, steps))


def test_the_audit_takes_the_full_suite(net, shapes):
    """It attacks every wrong class: "all" instead of a number of targets."""
    members = (oatlib.APGD(EPS, 10), oatlib.APGD(EPS, 10, targets="all"))
    report = oatlib.audit(net, shapes, eps=EPS, n=8, suite=oatlib.Suite(EPS, members=members), progress=False)
    assert report.robust <= report.clean


def test_which_preset_a_setting_was_trained_with(shapes):
    net = oatlib.build("oat", shapes)
    assert _training_preset(net, 1.0) is None, "not trained"
    stored = {**vars(TRAINED), "an option of a later version": 3}
    net.trained = [{"preset": vars(oatlib.Preset())}, {"preset": stored}]
    assert _training_preset(net, 1.0) == TRAINED, "the newest run counts"
    assert _training_preset(net, 0.0) is None, "trained on clean images"
    assert _deployed(lambda x: x, None, None, 0).training_preset is None
    net.trained = [{"preset": {"epochs": 3}}]
    assert _training_preset(net, 1.0) is None, "no attack is known"


# --- the claim ---


def claim_of(shapes, left, n=128, claim=None, pgd=None):
    """The finding on a claim, where the suite leaves so much of n images, and PGD-20 as much as `pgd`."""
    x, y = shapes.val.x[:n], shapes.val.y[:n]
    fell = torch.where(torch.arange(n) < round(left * n), -1, 0)
    outcome = oatlib.Suite(members=(oatlib.FGSM(0.0),), eps=0.0).run(
        lambda x: x.flatten(1)[:, :8], x, y, progress=False
    )
    outcome = replace(outcome, fell=fell, tried=torch.ones_like(fell))
    s = Subject(lambda x: x.flatten(1)[:, :8], x, y, EPS, 0, 1, suite=outcome)
    if pgd is not None:
        s._fooled[s.pgd(), None] = torch.arange(n) >= round(pgd * n)
    return compare_claim(measured_claim(s) if claim is None else Claim(claim, "given"), s)


@pytest.mark.parametrize("left", [0.02, 0.1, 0.3, 0.5, 0.8])
def test_a_claim_above_the_interval_is_raised(shapes, left):
    left = round(left * 128) / 128
    low, high = oatlib.wilson(round(left * 128), 128)
    assert claim_of(shapes, left, claim=high + 0.001).verdict is Verdict.RAISED
    assert claim_of(shapes, left, claim=high - 0.001).verdict is Verdict.PASSED
    assert claim_of(shapes, left, claim=low).verdict is Verdict.PASSED, "a modest claim is no fault"


@pytest.mark.parametrize("left", [0.0, 0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("n", [128, 256])
def test_pgd_is_a_claim_too(shapes, left, n):
    assert claim_of(shapes, left, n, pgd=left).verdict is Verdict.PASSED
    honest = claim_of(shapes, left, n, pgd=left + 0.05)
    assert honest.verdict is Verdict.PASSED, "honest networks show 5 points"
    if left < 0.9:
        assert claim_of(shapes, left, n, pgd=left + 0.15).verdict is Verdict.RAISED
    finding = claim_of(shapes, 0.119, 256, pgd=0.42)
    assert finding.verdict is Verdict.RAISED
    assert finding.evidence["only_suite"] == pytest.approx(0.42 - 0.119, abs=0.01)
    assert finding.evidence["only_pgd"] == 0


def test_without_a_claim_and_a_gradient_nothing_is_compared(planted):
    fraud = planted["no gradient"]
    report = tried(fraud.f, fraud.split, n=16)
    assert report.claim == Claim(report.clean, "clean", 16)
    assert report.claim_finding.verdict is Verdict.NOT_APPLICABLE and not report.stands


def false_alarms(true, n, claims, claim_n=None, n_audits=4000):
    """How often a claim is raised that is no more than the truth, or a measurement of it."""
    generator = torch.Generator().manual_seed(0)
    left = torch.binomial(torch.full((n_audits,), float(n)), torch.full((n_audits,), true), generator) / n
    if claims is not None:
        measured = torch.binomial(torch.full((n_audits,), float(claims)), torch.full((n_audits,), true), generator)
        claimed = measured / claims
    else:
        claimed = torch.full((n_audits,), true)
    pairs = zip(claimed.tolist(), left.tolist(), strict=True)
    return sum(above_interval(c, r, n, claim_n) for c, r in pairs) / n_audits


@pytest.mark.parametrize("true", [0.1, 0.3, 0.5, 0.8])
def test_true_claims_are_raised_as_rarely_as_is_written(true):
    assert false_alarms(true, 256, claims=None) < 0.05, "exact: about 1 of 40"
    assert 0.04 < false_alarms(true, 256, claims=256) < 0.13, "of as many other images: about 1 of 12"
    assert false_alarms(true, 256, claims=256, claim_n=256) < 0.05, "and known to be: about 1 of 40"
    assert above_interval(true + 0.2, true, 256, 256), "and a false claim is raised"


def test_attacks_of_honest_networks_are_raised_as_rarely_as_is_written():
    """PGD-20 misses 5 % of the images in truth: the rule raises at most 2 of 100 samples."""
    for n in (128, 256, 1024):
        missed = torch.binomial(
            torch.full((4000,), float(n)), torch.full((4000,), 0.05), torch.Generator().manual_seed(0)
        )
        assert sum(clearly_above(m / n, 0.0, n, 0.05) for m in missed.tolist()) / 4000 < 0.025


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.integers(1, 2000), st.floats(0, 0.5))
def test_clearly_above_is_more_than_above(more, fewer, n, allowed):
    if clearly_above(more, fewer, n, allowed):
        assert more - fewer > allowed
        assert clearly_above(more, fewer, 4 * n, allowed), "more images make it no less clear"
        assert clearly_above(more, fewer, n, allowed / 2)


# --- attacks are shared and drop what cannot matter ---


def test_only_the_images_asked_about_are_attacked(net, shapes):
    s = subject(net, shapes, n=16)
    among = torch.arange(16) % 2 == 0
    seen = []

    def watched(x):
        seen.append(len(x))
        return net(x)

    s.f = watched
    some = s.fooled(s.pgd(3), among=among)
    assert max(seen) == 8 and not (some & ~among).any()
    assert not s.fooled(s.pgd(3), among=torch.zeros(16, dtype=torch.bool)).any()
    whole = s.fooled(s.pgd(3))
    seen.clear()
    assert torch.equal(s.fooled(s.pgd(3), among=among), whole & among) and not seen, "cached"


def test_the_stronger_attack_tries_the_rest_only_if_it_misses_many(fragile, shapes):
    net = fragile
    s = subject(net, shapes, n=48)
    fooled, asked = s.fooled, []

    def watched(attack, among=None, seed=None):
        asked.append((getattr(attack, "steps", None), among is None))
        return fooled(attack, among, seed)

    s.fooled = watched
    assert question("more_steps")(s).verdict is Verdict.PASSED
    assert (50, True) not in asked and (50, False) in asked
    other = Transfer(lambda x: net(2 * x.detach() - x), oatlib.PGD(EPS, 50), "wrong gradients")
    s.pgd = lambda steps=20, eps=None, **more: other if steps == 50 else oatlib.PGD(EPS, steps, **more)
    asked.clear()
    assert question("more_steps")(s).verdict is Verdict.RAISED
    assert any(whole for _, whole in asked[1:])


# --- forms, and bad input ---


@pytest.fixture(scope="module")
def report(shapes):
    return tried(oatlib.load(FOLDER / "oats.safetensors"), shapes, lam=1.0, width=0.5, n=32)


def test_a_report_is_json_and_a_page(report, tmp_path):
    report.save(tmp_path / "r.json")
    report.save(tmp_path / "r.html")
    content, page = json.loads((tmp_path / "r.json").read_text()), (tmp_path / "r.html").read_text()
    assert content["summary"] == report.summary and len(content["findings"]) == len(QUESTIONS)
    assert {"name", "verdict", "sentence", "evidence", "reason", "remedy"} == content["findings"][0].keys()
    assert [Verdict(row["verdict"]) for row in content["findings"]] == [f.verdict for f in report.findings]
    assert content["claim"] == {"value": report.claim.value, "source": "pgd-20", "n": 32}
    assert content["claim_finding"]["name"] == "claim" and content["complete"] and content["stands"]
    assert content["about"]["width"] == 0.5 and content["about"]["lam"] == 1.0 and content["n"] == 32
    assert page.startswith("<!doctype html>") and page.count("<tr>") == len(QUESTIONS) + 1 and "<script" not in page
    assert report._repr_html_() in page
    assert_documented(report)


def test_every_question_says_when_it_is_raised():
    for asked in QUESTIONS:
        assert asked.ask.__doc__.startswith("Detect ") and "Raised if" in asked.ask.__doc__, asked.name
        assert asked.reason.endswith(".") and asked.remedy.endswith("."), asked.name


def test_what_a_report_quotes_cannot_break_its_page(report):
    bad = replace(report.findings[0], verdict=Verdict.RAISED, sentence="<script>alert(1)</script>")
    assert "<script>" not in replace(report, findings=[bad]).html()


def test_the_seed_is_that_of_the_suite_too(shapes, monkeypatch):
    whole, seen = oatlib.Suite.run, []
    monkeypatch.setattr(oatlib.Suite, "run", lambda suite, f, x, y, generator=None, **more: (
        seen.append(generator.initial_seed()), whole(suite, f, x, y, generator, **more))[1])  # fmt: skip
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, n=8, seed=7, seconds=0.01)
    assert seen == [7] == [report.about["seed"]]


def test_the_verdict_says_when_time_was_over(shapes):
    report = tried(oatlib.load(FOLDER / "oat.safetensors"), shapes, n=64, seconds=0.01)
    assert not report.stands and not report.complete
    assert report.summary.startswith("Undecided") and "At most" in report.summary


@pytest.mark.parametrize("given, message", [
    ({"claim": 83}, "claim"), ({"eps": 8}, "eps"), ({"lam": 2.0}, "λ"), ({"width": 0.3}, "width"),
    ({"claim": 0.5, "claim_n": 0}, "claim_n"), ({"claim_n": 100}, "needs claim"),
    ({"suite": oatlib.Suite(4 / 255)}, "eps of the audit"), ({"suite": oatlib.Suite(eot_samples=2)}, "eot_samples=1"),
])  # fmt: skip
def test_bad_input_is_refused_before_any_work(shapes, given, message):
    with pytest.raises(ValueError, match=message):
        oatlib.audit(oatlib.load(FOLDER / "oat.safetensors"), shapes, progress=False, **given)
    with pytest.raises(ValueError, match="plain function"):
        oatlib.audit(nn.Identity(), shapes, lam=1.0)


def test_the_command_says_whether_it_stands(tmp_path, capsys):
    weights, out = str(FOLDER / "oat.safetensors"), tmp_path / "r.json"
    assert main(["audit", weights, "--n", "32", "--json", str(out)]) == 0
    assert capsys.readouterr().out.startswith("Passed") and json.loads(out.read_text())["stands"]
    assert main(["audit", weights, "--n", "32", "--claim", "0.99"]) == 1
    assert "claim" in capsys.readouterr().out
    assert main(["audit", weights, "--n", "32", "--claim", "0.99", "--claim-n", "2048"]) == 1
    for wrong in (["--claim-n", "2048"], ["--n", "0"]):
        with pytest.raises(SystemExit) as stop:
            main(["audit", weights, *wrong])
        assert stop.value.code == 2
    assert main(["audit", weights, "--json", str(tmp_path / "no" / "r.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
