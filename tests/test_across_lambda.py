"""Attacks across λ: an attacker who knows λ, one who does not, and one who must fool every λ."""

from __future__ import annotations

import pytest
import torch

import oatlib
from oatlib.evaluation.across_lambda import mean_prediction, most_robust_prediction
from oatlib.explorer.shipped import FOLDER

EPS = 8 / 255
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def panel():
    return oatlib.load_data("shapes", seed=0).val.panel(64)


@pytest.fixture(scope="module")
def net():
    return oatlib.load(FOLDER / "oats.safetensors")


@pytest.fixture(scope="module")
def found(net, panel):
    return oatlib.across_lambda(net, panel, [0.0, 0.3, 1.0], progress=False)


def test_the_diagonal_is_what_evaluate_measures(net, panel, found):
    table = oatlib.evaluate(net, panel, oatlib.APGD(EPS, 40), [0.0, 0.3, 1.0], [1.0], progress=False)
    assert found.known_lambda == pytest.approx([row.robust for row in table])
    assert found.clean == pytest.approx([row.clean for row in table])


def test_each_row_is_attacked_at_its_own_lam(net, panel, found):
    x_adv = oatlib.APGD(EPS, 40)(net.at(0.0), panel.x, panel.y, torch.Generator().manual_seed(0))
    f = net.at(1.0)
    with torch.no_grad():
        holds = (f(panel.x).argmax(1) == panel.y) & (f(x_adv).argmax(1) == panel.y)
    assert found.accuracy[0][2] == holds.double().mean().item()
    assert found.accuracy[0][2] > found.accuracy[2][2], "an attacker who does not know λ does less harm"


def test_fooling_every_lambda_is_harder_than_fooling_the_best_of_them(found):
    assert found.every_lambda >= found.best_fixed - 2 / 64 and found.best_fixed == max(found.known_lambda)
    assert found.randomized == pytest.approx(sum(found.unknown_lambda) / 3)


def test_changing_between_equal_lambdas_gains_nothing(net, panel):
    same = oatlib.across_lambda(net, panel, [1.0, 1.0], progress=False)
    pairs = [value for row in same.accuracy for value in row]
    assert len({*pairs, *same.unknown_lambda, same.every_lambda}) == 1


def test_the_mean_prediction_is_the_mean_of_probabilities(net, panel):
    fs = [net.at(lam) for lam in (0.0, 1.0)]
    with torch.no_grad():
        want = torch.stack([f(panel.x).softmax(1) for f in fs]).mean(0)
        assert torch.allclose(mean_prediction(fs, panel.x).softmax(1), want, atol=1e-5)


def test_the_most_robust_prediction_is_wrong_only_where_all_are(net, panel):
    x = (panel.x + 0.06 * torch.randn(panel.x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    fs = [net.at(lam) for lam in (0.0, 0.3, 1.0)]
    with torch.no_grad():
        wrong = torch.stack([f(x).argmax(1) != panel.y for f in fs])
        assert torch.equal(most_robust_prediction(fs, x, panel.y).argmax(1) != panel.y, wrong.all(0))
    assert wrong.any() and not wrong.all(0).all() and (wrong.any(0) != wrong.all(0)).any()


def test_it_can_be_read(found):
    text = str(found)
    lines = text.splitlines()
    assert "unknown λ" in text and "n = 64 (val)" in text and "APGD" in text and len(lines) == 8
    assert lines[1].split() == ["0", *(f"{value:.1%}" for value in found.accuracy[0])]
    assert repr(found) == text
    page = found._repr_html_()
    assert page.count("<tr>") == 5 and all(line.split("; ")[0] in page for line in lines[5:])


def test_it_needs_two_values_of_lambda(net, panel):
    with pytest.raises(ValueError, match="at least 2"):
        oatlib.across_lambda(net, panel, [0.5])
    with pytest.raises(ValueError, match="λ"):
        oatlib.across_lambda(net, panel, [0.5, 1.5])


def test_of_a_data_set_the_test_split_is_used():
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=16)
    net, attack = oatlib.build("oat", data), oatlib.PGD(EPS, 1)
    whole = oatlib.across_lambda(net, data, [0.0, 1.0], attack=attack, progress=False)
    assert whole == oatlib.across_lambda(net, data.test, [0.0, 1.0], attack=attack, progress=False)
    assert (whole.split, whole.n) == ("test", 16)
    with pytest.raises(ValueError, match="takes images"):
        oatlib.across_lambda(net, oatlib.load_data("digits"), attack=attack)
