"""What lesson 09b builds: masks of two experts, paths between weights, and their repair."""

import pytest
import torch

import oatlib
from oatlib.course import experts


@pytest.fixture(scope="module")
def ends():
    data = oatlib.load_data("shapes", seed=0, n_train=64, n_test=8)
    first, second = (oatlib.build("blend", data, "plain", seed).at(float(seed)) for seed in (0, 1))
    return first, second, data.train.x


def test_the_toy_collapses_half_way_and_not_on_the_arc():
    cues = experts.Cues()
    assert cues.accuracies(0, 1) == (1.0, 0.0)  # the clean expert reads the faint pixel
    clean, robust = cues.accuracies(1, 0)
    assert clean == robust > 0.85
    assert cues.accuracies(0.5, 0.5)[0] == 0.5
    assert cues.accuracies(0.5**0.5, 0.5**0.5)[0] > 0.85


def test_masks_share_what_was_asked_for():
    weight = torch.zeros(6, 5)
    generator = torch.Generator().manual_seed(0)
    clean, robust = experts.experts_masks(weight, 0.4, 0.5, generator)
    assert clean.sum() == robust.sum() == 12 and (clean & robust).sum() == 6


def test_the_straight_line_is_that_of_the_network():
    data = oatlib.load_data("shapes", seed=0, n_train=8, n_test=8)
    net = oatlib.build("smart", data, seed=0)
    first, second = net.at(0.0), net.at(1.0)
    weights = experts.blend_weights(first.state_dict(), second.state_dict(), 0.3)
    x = data.val.panel(8).x
    assert torch.allclose(experts.with_weights(first, weights)(x), net.at(0.3)(x), atol=1e-4)


def test_a_repaired_network_has_the_statistics_between_its_ends(ends):
    first, second, x = ends
    weights = experts.blend_weights(first.state_dict(), second.state_dict(), 0.5)
    middle = experts.with_weights(first, weights)
    experts.repair_channels(middle, first, second, 0.5, x)
    found = [experts.channel_stats(f, x) for f in (first, middle, second)]
    assert list(found[0]) == list(experts.convs(first))
    for name in found[0]:
        for a, b, c in zip(*(stats[name] for stats in found), strict=True):
            assert torch.allclose((a + c) / 2, b, atol=1e-3)


def test_the_benchmark_is_condensed():
    record = experts.dials_compared()
    assert {"oat", "blend", "mix of two"} <= set(record["runs"])
    assert {"0", "1", "2"} <= set(record["runs"]["oat"])
    # the widths of oats are left out: one point for every λ
    lams = [lam for lam, _, _ in record["runs"]["oats"]["0"]]
    assert lams == sorted(set(lams))
