"""The dial under attack: who knows λ, who does not, and who must fool all of it at once."""

from __future__ import annotations

import pytest
import torch

import oatlib
from oatlib.evaluation.across_lambda import best_defended, mean_answer
from oatlib.explorer.shipped import FOLDER

pytestmark = pytest.mark.slow

EPS = 8 / 255


@pytest.fixture(scope="module")
def panel():
    return oatlib.load_data("shapes", seed=0).val.panel(64)


@pytest.fixture(scope="module")
def net():
    return oatlib.load(FOLDER / "oats.safetensors")


@pytest.fixture(scope="module")
def found(net, panel):
    return oatlib.moving(net, panel, [0.0, 0.3, 1.0], progress=False)


def test_the_diagonal_is_what_evaluate_measures(net, panel, found):
    table = oatlib.evaluate(net, panel, oatlib.APGD(EPS, 40), [0.0, 0.3, 1.0], [1.0], progress=False)
    assert found.known == pytest.approx([row.robust for row in table])
    assert found.clean == pytest.approx([row.clean for row in table])


def test_each_row_strikes_with_the_images_of_its_own_lam(net, panel, found):
    x_adv = oatlib.APGD(EPS, 40)(net.at(0.0), panel.x, panel.y, torch.Generator().manual_seed(0))
    f = net.at(1.0)
    with torch.no_grad():
        holds = (f(panel.x).argmax(1) == panel.y) & (f(x_adv).argmax(1) == panel.y)
    assert found.struck[0][2] == holds.double().mean().item()
    assert found.struck[0][2] > found.struck[2][2], "who does not know λ hits less"


def test_fooling_all_at_once_is_harder_than_fooling_the_best_of_them(found):
    assert found.at_once >= found.still - 2 / 64 and found.still == max(found.known)
    assert found.moved == pytest.approx(sum(found.blind) / 3)


def test_one_that_moves_between_twins_gains_nothing(net, panel):
    same = oatlib.moving(net, panel, [1.0, 1.0], progress=False)
    assert len({*same.known, *same.blind, *(v for row in same.struck for v in row), same.at_once}) == 1


def test_the_mean_answer_is_the_mean_of_probabilities(net, panel):
    fs = [net.at(lam) for lam in (0.0, 1.0)]
    with torch.no_grad():
        want = torch.stack([f(panel.x).softmax(1) for f in fs]).mean(0)
        assert torch.allclose(mean_answer(fs, panel.x).softmax(1), want, atol=1e-5)


def test_the_best_defended_is_wrong_only_where_all_are(net, panel):
    x = (panel.x + 0.06 * torch.randn(panel.x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    fs = [net.at(lam) for lam in (0.0, 0.3, 1.0)]
    with torch.no_grad():
        wrong = torch.stack([f(x).argmax(1) != panel.y for f in fs])
        assert torch.equal(best_defended(fs, x, panel.y).argmax(1) != panel.y, wrong.all(0))
    assert wrong.any() and not wrong.all(0).all() and (wrong.any(0) != wrong.all(0)).any()


def test_it_can_be_read(found):
    text = str(found)
    assert "λ not known" in text and "n = 64" in text and "APGD" in text and len(text.splitlines()) == 7


def test_one_lam_cannot_move(net, panel):
    with pytest.raises(ValueError, match="at least 2"):
        oatlib.moving(net, panel, [0.5])
    with pytest.raises(ValueError, match="λ"):
        oatlib.moving(net, panel, [0.5, 1.5])
