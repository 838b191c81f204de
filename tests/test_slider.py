"""The slider: monotone, exact at its ends, with equal steps where the network makes unequal ones."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.attacks.suite import default_attack
from oatlib.evaluation.evaluate import evaluate
from oatlib.evaluation.slider import FLOOR, equal_steps

DATA = oatlib.load_data("shapes", seed=0, n_train=128, n_val=64, n_test=64)
LAMS = np.linspace(0, 1, 21)


def test_a_dial_of_equal_steps_stays_as_it_is():
    assert equal_steps(LAMS, 1 - 0.1 * LAMS, 0.7 * LAMS) == pytest.approx(LAMS)


def test_a_switch_is_stretched():
    """All trading is done between 0.6 and 0.8; then that is where most of the slider goes."""
    progress = np.clip((LAMS - 0.6) / 0.2, 0, 1)
    found = equal_steps(LAMS, 1 - 0.2 * progress, 0.8 * progress)
    at = np.interp(found, LAMS, progress)  # what the network does at evenly spaced slider positions
    assert np.abs(np.diff(at) - 1 / 20).max() < 0.06 and np.diff(progress).max() > 0.2
    assert np.mean([0.6 <= lam <= 0.8 for lam in found]) > 0.8


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=30))
def test_whatever_was_measured_the_slider_rises_from_end_to_end(points):
    lams = np.linspace(0.0, 1.0, len(points))
    found = equal_steps(lams, [c for c, _ in points], [r for _, r in points])
    assert found[0] == 0 and found[-1] == 1 and len(found) == len(points)
    assert list(found) == sorted(found)


def test_nothing_measured_is_nothing_changed():
    assert equal_steps(LAMS, np.full(21, 0.5), np.full(21, 0.2)) == pytest.approx(LAMS)
    assert 0 < FLOOR < 0.2


# ---- on networks ----------------------------------------------------------------------------------------------------


def test_before_fitting_slider_positions_are_lambda():
    net = oatlib.build("oat", DATA)
    assert [net.lam(u) for u in (0, 0.25, 1)] == [0.0, 0.25, 1.0]
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.2"):
        net.lam(1.2)


@pytest.mark.parametrize("recipe", ["oat", "blend", "float"])
def test_the_slider_is_fitted_on_validation_images_and_saved(recipe, tmp_path, monkeypatch):
    net, data = oatlib.build(recipe, DATA), dataclasses.replace(DATA, test=None, train=None)  # neither is looked at
    seen = {name: t.clone() for name, t in net.state_dict().items()}
    oatlib.fit_slider(net, data, points=5, n=32, attack=oatlib.PGD(8 / 255, 1, eot_samples=2), progress=False)
    assert len(net.slider) == 5 and net.lam(0) == 0 and net.lam(1) == 1
    assert net.lam(0.25) == net.slider[1]
    assert net.lam(0.375) == pytest.approx((net.slider[1] + net.slider[2]) / 2)
    assert all(torch.equal(t, seen[name]) for name, t in net.state_dict().items())
    oatlib.save(net, tmp_path / "net.safetensors")
    assert oatlib.load(tmp_path / "net.safetensors").slider == pytest.approx(net.slider)


def test_training_on_forgets_the_slider():
    net = oatlib.build("blend", DATA)
    net.slider = (0.0, 0.9, 1.0)
    oatlib.train(net, DATA, epochs=1, progress=False)
    assert net.slider == (0.0, 1.0)


@pytest.mark.parametrize("slider", [[0.0], [0.0, 0.7, 0.5, 1.0], [0.0, 1.5], [], ["x", "y"]])
def test_a_file_with_an_impossible_slider_is_refused(slider, tmp_path):
    net, path = oatlib.build("blend", DATA), tmp_path / "net.safetensors"
    net.slider = slider
    oatlib.save(net, path)
    with pytest.raises(oatlib.RecordError):
        oatlib.load(path)


def test_a_network_without_a_dial_has_no_slider_to_fit():
    with pytest.raises(ValueError, match="needs a network with a λ dial: 'standard' was trained at λ = 0 only"):
        oatlib.fit_slider(oatlib.build("standard", DATA), DATA)
    with pytest.raises(ValueError, match="points=2: must be a whole number, 3 or more"):
        oatlib.fit_slider(oatlib.build("blend", DATA), DATA, points=2)


@pytest.mark.parametrize("recipe, draws", [("oat", 1), ("float", 4)])
def test_it_is_measured_with_the_default_attack(recipe, draws, monkeypatch):
    used = []

    def watched(net, panel, attack, lams, *rest, **options):
        used.append(attack)
        return [Row(lam) for lam in lams]

    @dataclasses.dataclass
    class Row:
        robust: float
        clean: float = 1.0

    monkeypatch.setattr("oatlib.evaluation.slider.evaluate", watched)
    oatlib.fit_slider(oatlib.build(recipe, DATA), DATA, points=3, progress=False)
    assert used == [default_attack(eot_samples=draws)]


def test_a_split_is_used_as_it_is_and_the_seed_is_that_of_the_attack(monkeypatch):
    used = []

    def watched(net, panel, attack, lams, widths, seed, progress):
        used.append((panel.name, len(panel), seed))
        return evaluate(net, panel, attack, lams, widths, seed=seed, progress=progress)

    monkeypatch.setattr("oatlib.evaluation.slider.evaluate", watched)
    net, attack = oatlib.build("blend", DATA), oatlib.PGD(8 / 255, 1)
    oatlib.fit_slider(net, DATA.train, points=3, n=40, attack=attack, seed=7, progress=False)
    oatlib.fit_slider(net, DATA, points=3, attack=attack, progress=False)
    assert used == [("train", 40, 7), ("val", 64, 0)]
