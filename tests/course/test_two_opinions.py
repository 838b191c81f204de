"""The defence of lesson 10b: no question of the audit raises it, and an attack made for it breaks it. The gallery."""

import pytest
import torch

import oatlib
from oatlib.course.gallery import Gallery
from oatlib.course.lesson import RECORDS
from oatlib.course.two_opinions import EPS, TwoOpinions, adaptive_attack, two_opinions
from oatlib.record import read_json


@pytest.fixture(scope="module")
def panel():
    return oatlib.load_data("shapes", seed=0).val.panel(64)


def fixed(*rows):
    """A function that gives the same probabilities whatever the images."""
    return lambda x: torch.tensor(rows).log()


@pytest.mark.parametrize("accurate, robust, decides, answer", [
    ((0.97, 0.02, 0.01), (0.2, 0.7, 0.1), True, 0),  # sure, and not vetoed
    ((0.8, 0.1, 0.1), (0.2, 0.7, 0.1), False, 1),  # not sure
    ((0.97, 0.02, 0.01), (0.01, 0.9, 0.09), False, 1),  # vetoed
])  # fmt: skip
def test_who_decides(accurate, robust, decides, answer):
    defence = TwoOpinions(fixed(accurate), fixed(robust))
    x = torch.rand(1, 3, 4, 4)
    assert defence.decides(x).item() is decides and defence(x).argmax(1).item() == answer


@pytest.mark.slow
def test_the_audit_passes_it_and_the_attack_made_for_it_breaks_it(panel):
    defence = two_opinions()
    suite = oatlib.Suite(EPS, budget="quick")
    report = oatlib.audit(defence, panel, suite=suite, progress=False)
    assert [(finding.name, finding.sentence) for finding in report.raised] == []
    x_adv = adaptive_attack(defence, panel.x, panel.y, EPS)
    assert (x_adv - panel.x).abs().max() < EPS + 1e-6 and x_adv.min() >= 0 and x_adv.max() <= 1
    left = (defence(x_adv).argmax(1) == panel.y).double().mean().item()
    assert report.clean > 0.9 and left < report.robust - 0.3


def test_the_record_says_the_same():
    record = read_json(RECORDS / "break_it.json")
    assert record["audit"]["raised"] == ["claim"], "PGD-20 says too much, and no finding names a cause"
    (model,) = (m for m in record["gallery"]["models"] if m["name"] == "the defence of this lesson")
    assert model["robust"] < min(model["found"].values()) - 0.2, "no attack of the gallery breaks it"


def sample():
    found = {"one": 0.5, "two": 0.25}
    about = {"clean": 1.0, "claim": 0.75, "robust": 0.25, "found": found}
    names = {"A": True, "B": False, "C": True}
    return {"n": 64, "models": [about | {"letter": k, "name": f"net {k}", "honest": v} for k, v in names.items()]}


def test_a_budget_is_spent_and_the_same_attack_costs_nothing():
    gallery = Gallery(sample(), budget=2)
    gallery.run.click()
    gallery.run.click()
    assert gallery.left == 1 and "A, one: 50%" in gallery.notes.value
    gallery.attack.value = "two"
    gallery.run.click()
    assert gallery.left == 0 and gallery.run.disabled
    gallery.model.value = "B"
    gallery.run.click()
    assert "B" not in gallery.notes.value


def test_a_score_counts_right_and_wrong_votes_and_ends_the_game():
    gallery = Gallery(sample())
    assert "net A" not in gallery.claims.value, "names are hidden"
    gallery.votes["A"].value, gallery.votes["B"].value = "honest", "honest"
    gallery.reveal.click()
    assert gallery.points == 0 and "0 of 3 points" in gallery.score.value and "net B" in gallery.score.value
    assert gallery.votes["C"].disabled and gallery.run.disabled
