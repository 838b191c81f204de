"""The cases of shared_cases.json in Python. tests/browser/test_shared_cases.py runs them in JavaScript."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import oatlib
from oatlib.data.scenes import multiples_of, texture_effect
from oatlib.evaluation.results import Result, wilson
from oatlib.explorer import surface
from oatlib.explorer.named_attacks import CHOICES, STRONGEST_FIRST
from oatlib.explorer.state import MAX_EPS, read

CASES = json.loads((Path(__file__).parent / "shared_cases.json").read_text(encoding="utf-8"))
DATA = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
NETS = {"oats": oatlib.build("oats", DATA), "pgd-at": oatlib.build("pgd-at", DATA, lam=0.3)}
NETS["oats, trained here 1"] = NETS["oats"]
STATE = CASES["state"]


def close(value):
    return pytest.approx(value, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("case", CASES["wilson"])
def test_wilson(case):
    assert wilson(case["right"], case["n"]) == close(tuple(case["interval"]))


@pytest.mark.parametrize("place", CASES["slider"]["places"])
def test_the_slider_and_back(place):
    net = oatlib.build("oats", DATA)
    net.slider = tuple(CASES["slider"]["slider"])
    assert net.lam(place["position"]) == close(place["lam"])
    if not place.get("flat"):  # a whole range of positions has this λ
        assert surface._place(net, place["lam"]) == close(place["position"])


@pytest.mark.parametrize("case", CASES["interpolation"])
def test_interpolation(case):
    assert np.interp(case["x"], case["xs"], case["ys"]) == close(case["y"])


@pytest.mark.parametrize("case", CASES["coin"])
def test_the_coin(case):
    found = oatlib.coin(*(tuple(end) for end in case["ends"]), case["clean"])
    assert found == (None if case["robust"] is None else close(case["robust"]))


def test_the_attack_of_a_curve():
    curve = CASES["curve"]
    assert curve["order"] == list(STRONGEST_FIRST)
    grid = SimpleNamespace(robust={attack: [rows] for attack, rows in curve["robust"].items()})
    for case in curve["attacks"]:
        below = max(eps for eps in curve["eps"] if eps <= case["eps"])
        above = min(eps for eps in curve["eps"] if eps >= case["eps"])
        attacks = [surface.Surface.attack_at(grid, 0, curve["eps"].index(eps)) for eps in (below, above)]
        assert max(attacks, key=curve["order"].index) == case["attack"], "the weaker one of both"


@pytest.mark.parametrize("case", CASES["choose"]["cases"])
def test_choose(case):
    table = CASES["choose"]
    results = [
        Result(lam, width, 256, table["clean"][w][i], 0, 1, table["robust"][w][i], 0, 1, {}, "val", 0, 0.0,
               macs=table["macs"][w])
        for w, width in enumerate(table["widths"]) for i, lam in enumerate(table["lams"])
    ]  # fmt: skip
    limits = {"min_clean": case["min_clean"], "max_macs": case["max_size"] * table["macs"][-1]}
    if case["lam"] is None:
        with pytest.raises(ValueError, match="no measured setting has"):
            oatlib.choose(results, **limits)
    else:
        best = oatlib.choose(results, **limits)
        assert (best.lam, best.width) == (case["lam"], case["width"])


@pytest.mark.parametrize("case", CASES["multiples"])
def test_the_multiples_of_cues_in_a_change(case):
    (found,) = multiples_of(torch.tensor([case["cues"]]), torch.tensor([case["change"]]))
    assert found.tolist() == close(case["multiples"])


@pytest.mark.parametrize("case", CASES["textures"], ids=lambda case: case["about"])
def test_textures_that_are_erased_and_forged(case):
    multiples, amplitude = (torch.tensor([case[name]]).double() for name in ("multiples", "amplitude"))
    label = torch.tensor([case["label"]])
    erased, forged = texture_effect(multiples, label, amplitude, case["classes"], case["paired"])
    assert erased.tolist() == close([case["erased"]]) and forged[0].tolist() == close(case["forged"])


def test_the_networks_of_the_cases_are_real():
    for name, about in STATE["networks"].items():
        spec = NETS[name].spec
        assert about == {"stops": list(spec.stops), "widths": list(spec.widths)}
    assert STATE["attacks"] == list(CHOICES) and STATE["maxEps"] == MAX_EPS


def as_state(values):
    return read(values, NETS)


@pytest.mark.parametrize("case", STATE["cases"], ids=lambda case: case["text"])
def test_a_state_is_read(case):
    start = as_state(case.get("start", STATE["start"]))
    if "error" in case:
        with pytest.raises(ValueError) as error:
            read(case["text"], NETS, start)
        assert all(words in str(error.value) for words in case["error"])
    else:
        assert read(case["text"], NETS, start) == as_state(case["state"])


@pytest.mark.parametrize("case", STATE["written"], ids=lambda case: case["text"])
def test_what_the_browser_writes_is_read(case):
    assert read(case["text"], NETS) == as_state(case["state"])
    assert read(str(as_state(case["state"])), NETS) == as_state(case["state"])
