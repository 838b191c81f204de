"""The norms and networks of lesson 03 compute what their names say, and training takes its steps."""

from functools import partial

import pytest
import torch
from torch import nn

import oatlib
from oatlib import Preset
from oatlib.course import two_branches
from oatlib.course.parts import DualBN
from oatlib.course.two_branches import BranchNorm, SmallNet, ToldNet

BRANCH = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", seed=0, n_train=256, n_val=64, n_test=16)


def features(seed=0):
    x = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(seed))
    return x + 3 * BRANCH.view(-1, 1, 1, 1)


def test_with_everything_separate_it_is_dual_batchnorm():
    mine, theirs = BranchNorm(5), DualBN(5)
    for module in (mine, theirs):
        module.scale.data[1], module.shift.data[0] = 2.0, -1.0
    for training in (True, True, False):
        mine.train(training), theirs.train(training)
        torch.testing.assert_close(mine(features(), BRANCH), theirs(features(), BRANCH))
    torch.testing.assert_close(torch.stack([norm.running_var for norm in mine.norms]), theirs.var)


def test_with_nothing_separate_it_is_batchnorm():
    mine, theirs = BranchNorm(5, False, False), nn.BatchNorm2d(5)
    for training in (True, False):
        mine.train(training), theirs.train(training)
        torch.testing.assert_close(mine(features(), BRANCH), theirs(features()))


@pytest.mark.parametrize("statistics, scales", two_branches.WAYS.values())
def test_only_what_is_separate_differs_between_the_branches(statistics, scales):
    norm = BranchNorm(5, statistics, scales).train()
    norm(features(), BRANCH)
    norm.eval()
    x, branches = features(1), (torch.zeros_like(BRANCH), torch.ones_like(BRANCH))
    assert torch.equal(norm(x, branches[0]), norm(x, branches[1])) is not statistics
    norm.scale.data[-1] = 3.0
    assert torch.equal(norm(x, branches[0]), norm(x, branches[1])) is not (statistics or scales)


def test_a_told_network_sees_its_branch():
    net = two_branches.seeded(partial(ToldNet, partial(BranchNorm, statistics=False, scales=False)), 0).eval()
    x = torch.rand(4, 3, 16, 16)
    assert not torch.equal(two_branches.in_branch(net, 0)(x), two_branches.in_branch(net, 1)(x))


def test_seeded_gives_the_same_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = (two_branches.seeded(SmallNet, 3) for _ in range(2))
    assert torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("attacked, moved", [(0, [True, False]), (1, [False, True]), (0.5, [True, True])])
def test_training_moves_the_branches_that_it_sees(data, attacked, moved):
    net = two_branches.seeded(SmallNet, 0)
    two_branches.train_half_and_half(net, data, Preset(epochs=1, batch=64), 0, attacked)
    assert not net.training
    assert [not torch.equal(row, torch.zeros(16)) for row in net.norms[0].mean] == moved


def test_measured_gives_both_branches(data):
    net = two_branches.seeded(SmallNet, 0).eval()
    found = two_branches.measured(net, data.val.panel(16), oatlib.PGD(8 / 255, 2))
    assert len(found) == 2
    assert all(point["n"] == 16 and 0 <= point["robust"] <= point["clean"] <= 1 for point in found)


def test_gap_is_counted_in_standard_deviations():
    x = torch.randn(50, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    assert two_branches.gap(x, x) == 0
    assert two_branches.gap(x, x + 4) == pytest.approx(2, rel=0.05)


def test_what_arrives_at_the_norms_is_before_them(data):
    net = oatlib.build("blend", data, seed=0)
    found = two_branches.before_norms(net, data.val.x[:4], 1.0)
    assert "stem" in found and all(len(part) == 4 for part in found.values())
