"""Rules that choose between two networks: their threshold, and the attacks that know them."""

import pytest

import oatlib
from oatlib.course import rules
from oatlib.explorer.shipped import FOLDER


@pytest.fixture(scope="module")
def world():
    data = oatlib.load_data("shapes")
    standard, robust = (oatlib.load(FOLDER / f"{name}.safetensors").at() for name in ("standard", "pgd-at"))
    return data, standard, robust


def clean_at(threshold, data, standard, robust):
    """Clean accuracy of the rule on validation images."""
    x, y = data.val.x, data.val.y
    logits = rules.two_networks(x, rules.how_vivid(x) > threshold, standard, robust)
    return (logits.argmax(1) == y).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("min_clean", [0.9, 0.95, 0.98])
def test_the_threshold_is_the_lowest_that_keeps_the_clean_accuracy(world, min_clean):
    data, standard, robust = world
    threshold = rules.choose_threshold(rules.how_vivid, standard, robust, data.val, min_clean)
    assert clean_at(threshold, data, standard, robust) >= min_clean
    lower = [s for s in rules.how_vivid(data.val.x).sort().values.tolist() if s < threshold - 1e-6]
    assert all(clean_at(value, data, standard, robust) < min_clean for value in lower[::8])


def test_a_rule_can_be_one_network_only(world):
    data, standard, robust = world
    known = (rules.how_vivid, standard, robust, data.val)
    assert rules.choose_threshold(*known, 0.0) == float("-inf")
    assert rules.choose_threshold(*known, 1.0) == float("inf")
    result = rules.measure_rule(rules.how_vivid, rules.two_networks, standard, robust, data, 1.0, 32)
    assert result.robust == 0.0  # the standard network answers everywhere


def test_the_fading_attack_stays_in_the_ball_and_fools_a_rule_that_sees_single_pixels(world):
    data, standard, robust = world
    panel, seen, eps = data.test.panel(48), [], 8 / 255

    def rule(z):
        seen.append(z)
        believes = (z - 0.5).abs().flatten(1).mean(1) > 0.08
        return rules.two_networks(z, believes, standard, robust)

    correct = rules._correct_when_faded(rule, standard, panel.x, panel.y, eps)
    assert all((z - panel.x).abs().max() <= eps + 1e-6 for z in seen)
    assert all(z.min() >= 0 and z.max() <= 1 for z in seen)
    unattacked = rule(panel.x).argmax(1) == panel.y
    assert correct.sum() < unattacked.sum() - 5
