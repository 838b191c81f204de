import copy
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oatlib.layers.setting import ADV, CLEAN, Position, Setting
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec

STOPS = (0.0, 0.3, 1.0)
quick = settings(max_examples=50, deadline=None)
passes = st.lists(st.lists(st.integers(0, len(STOPS) - 1), min_size=1, max_size=6), min_size=1, max_size=3)


def setting(stops):
    stop = torch.tensor(stops)
    return Setting(stop, (stop > 0).long(), (len(stop),))


def network(seed=0):
    spec = Spec(
        recipe="oat",
        backbone="tiny",
        shape=(3, 8, 8),
        classes=("a", "b", "c"),
        stops=STOPS,
        dual=True,
        film=True,
        codes="onehot",
    )
    return Network(spec, seed).double()


def images(n, seed=0):
    return torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@quick
@given(passes)
def test_route_keeps_every_sample_with_its_stop_and_branch(groups):
    joined = Setting.join(*map(setting, groups))
    route = joined.route(len(STOPS), torch.zeros(1))
    n = sum(map(len, groups))
    name = torch.arange(n).float()[:, None]  # a batch whose samples are their own numbers
    inside = route.enter(name)
    assert torch.equal(route.leave(inside), name)
    ids = inside[:, 0].long()
    assert torch.equal(route.pick.argmax(1), joined.stop[ids]) and torch.equal(route.pick.sum(1), torch.ones(n))
    which_pass = torch.tensor([i for i, group in enumerate(groups) for _ in group])
    runs, start = [], 0
    for branch, count in route.segments:
        part = ids[start : start + count]
        assert (joined.branch[part] == branch).all() and len(which_pass[part].unique()) == 1
        runs.append((which_pass[part[0]].item(), branch))
        start += count
    assert start == n and len(set(runs)) == len(runs)  # all samples, and each (pass, branch) in one run


def test_a_sorted_batch_is_not_copied():
    route = setting([0, 0, 1, 2]).route(3, torch.zeros(1))
    x = images(4)
    assert route.order is None and route.enter(x) is x and route.leave(x) is x


def test_a_setting_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        setting([0, 1]).stop = torch.zeros(2)


def test_join_leaves_its_parts_alone():
    a, b = setting([0, 2]), setting([1])
    joined = Setting.join(a, b)
    assert joined.passes == (2, 1) and joined.stop.tolist() == [0, 2, 1] and joined.branch.tolist() == [CLEAN, ADV, ADV]
    joined.stop.zero_()
    assert a.stop.tolist() == [0, 2] and b.stop.tolist() == [1]


def assert_joined_is_separate(groups, join=Setting.join):
    """One training forward of joined passes = one forward each: outputs, statistics afterwards, gradients."""
    settings_ = [setting(g) for g in groups]
    xs = [images(len(g), i) for i, g in enumerate(groups)]
    one, many = network(), network()
    together = one.train()(torch.cat(xs), join(*settings_))
    separate = torch.cat([many.train()(x, s) for x, s in zip(xs, settings_, strict=True)])
    weights = torch.randn(together.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    (together * weights).sum().backward()
    (separate * weights).sum().backward()
    torch.testing.assert_close(together, separate, rtol=1e-7, atol=1e-9)
    for (name, a), b in zip(one.state_dict().items(), many.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
    for a, b in zip(one.parameters(), many.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("groups", [[[2, 0, 1, 0], [1, 2]], [[0, 0], [0, 0, 0]], [[1, 2], [2, 1], [0, 1, 0]]])
def test_passes_share_a_forward_but_not_their_statistics(groups):
    assert_joined_is_separate(groups)


def test_passes_that_share_statistics_are_caught():
    def merged(*parts):
        joined = Setting.join(*parts)
        return Setting(joined.stop, joined.branch, (len(joined.stop),))

    with pytest.raises(AssertionError):
        assert_joined_is_separate([[2, 0, 1, 0], [1, 2]], merged)


def test_an_empty_pass_changes_nothing():
    """A recipe without attacked samples still has a second pass, of no images."""
    net = network()
    a = net.setting(torch.tensor([0.3, 0.0]), 2)
    empty = net.setting(torch.empty(0), 0)
    assert len(empty.stop) == 0
    x = images(2)
    expected = copy.deepcopy(net).train()(x, a)
    assert torch.equal(net.train()(x, Setting.join(a, empty)), expected)


# ---- positions ----


def test_a_position_knows_its_stops_and_whether_it_is_noisy():
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert Position(weights).used_stops == [0, 1, 2] and Position(weights).per_image
    assert Position(weights[:1]).used_stops == [0, 1] and not Position(weights[:1]).per_image
    assert not Position(weights[:1], noise_levels=(0.0, 0.0, 1.0)).noisy  # noise at an unused stop
    assert Position(weights, noise_levels=(0.0, 0.0, 1.0)).noisy
    assert not Position(weights).noisy
