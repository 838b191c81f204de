import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oatlib.layers.dual_bn import DualBN
from oatlib.layers.setting import ADV, CLEAN, Route, Setting

CHANNELS = 3
quick = settings(max_examples=40, deadline=None)
branches = st.lists(st.sampled_from([CLEAN, ADV]), min_size=1, max_size=8)
seeds = st.integers(0, 1000)


def images(n, seed=0, size=3):
    return torch.randn(n, CHANNELS, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make(kind=DualBN, seed=0, dual=True):
    """A pair whose two halves differ in every number."""
    generator = torch.Generator().manual_seed(seed)
    norm = kind(CHANNELS, dual).double()
    with torch.no_grad():
        for name, tensor in norm.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "bias" not in name else -0.5))
    return norm


def by_sample(branch):
    return Setting(torch.zeros_like(branch), branch, (len(branch),)).route(1, images(1))


def by_position(branch):
    """The fault of the published code when the caller has not sorted: the first samples are taken for clean."""
    return Route(by_sample(branch).segments, None, None)


def assert_two_plain_norms(norm, branch, training, seed=0, route=by_sample):
    """Outputs, gradients and running statistics are those of two plain BatchNorms, each on its samples."""
    branch = torch.tensor(branch)
    plain = {CLEAN: copy.deepcopy(norm.clean).train(training), ADV: copy.deepcopy(norm.adv).train(training)}
    norm.train(training)
    x, weights = images(len(branch), seed), images(len(branch), seed + 1)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    way = route(branch)
    out = way.leave(norm(way.enter(ours), way.segments))
    expected = torch.empty_like(x)
    for which, bn in plain.items():
        if (branch == which).any():
            expected[branch == which] = bn(theirs[branch == which])
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)
    for which, bn in plain.items():
        mine = norm.branch(which)
        torch.testing.assert_close(dict(mine.named_buffers()), dict(bn.named_buffers()), rtol=1e-10, atol=1e-10)
        for a, b in zip(mine.parameters(), bn.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)


@quick
@given(branches, st.booleans(), seeds)
def test_dual_bn_is_two_plain_norms_whatever_the_order(branch, training, seed):
    assert_two_plain_norms(make(seed=seed), branch, training, seed)


@pytest.mark.parametrize("branch", [[CLEAN], [ADV], [CLEAN] * 5, [ADV] * 5, [ADV, CLEAN]])
@pytest.mark.parametrize("training", [False, True])
def test_one_sample_and_batches_of_one_branch_work(branch, training):
    assert_two_plain_norms(make(), branch, training)


class Swapped(DualBN):
    def branch(self, which):
        return super().branch(1 - which)

    def affine(self):
        return tuple(table.flip(0) for table in super().affine())


class OneForAll(DualBN):
    def forward(self, x, segments):
        return self.clean(x)


class Pooled(DualBN):
    """Takes batch statistics over the whole batch before it splits."""

    def forward(self, x, segments):
        if self.training:
            x = x - x.mean((0, 2, 3), keepdim=True) * 0.5
            x = x / x.std((0, 2, 3), keepdim=True)
        return super().forward(x, segments)


@pytest.mark.parametrize("training", [False, True])
def test_routing_by_position_is_caught(training):
    with pytest.raises(AssertionError):
        assert_two_plain_norms(make(), [ADV, CLEAN, ADV, CLEAN], training, route=by_position)
    assert_two_plain_norms(make(), [CLEAN, CLEAN, ADV, ADV], training, route=by_position)  # sorted: no difference


@pytest.mark.parametrize("kind", [OneForAll, Pooled])
def test_planted_faults_are_caught(kind):
    with pytest.raises(AssertionError):
        assert_two_plain_norms(make(kind), [ADV, CLEAN, ADV, ADV], training=True)


def moved(norm, branch):
    """Which of the two statistics a training forward changes."""
    before = copy.deepcopy(norm.state_dict())
    way = by_sample(torch.tensor(branch))
    norm.train()(way.enter(images(len(branch))), way.segments)
    changed = {name.split(".")[0] for name, t in norm.state_dict().items() if not torch.equal(t, before[name])}
    return changed


@pytest.mark.parametrize("kind", [DualBN, Swapped])
def test_a_branch_without_samples_keeps_its_statistics(kind):
    names = {DualBN: ({"adv"}, {"clean"}), Swapped: ({"clean"}, {"adv"})}[kind]  # so the test sees a swap
    assert (moved(make(kind), [ADV] * 4), moved(make(kind), [CLEAN] * 4)) == names
    assert moved(make(kind), [ADV, CLEAN, ADV]) == {"clean", "adv"}


def test_eval_mode_changes_no_statistics():
    norm = make().eval()
    before = copy.deepcopy(norm.state_dict())
    way = by_sample(torch.tensor([ADV, CLEAN]))
    norm(way.enter(images(2)), way.segments)
    assert all(torch.equal(t, before[name]) for name, t in norm.state_dict().items())


def assert_affine_is_eval_mode(norm):
    x = images(4)
    for which, scale, shift in zip((CLEAN, ADV), *norm.eval().affine(), strict=True):
        expected = norm(x, ((which, 4),))
        torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dual", [True, False])
def test_affine_is_eval_mode_as_one_multiply_add(dual):
    assert_affine_is_eval_mode(make(dual=dual))


def test_affine_without_eps_is_caught():
    class NoEps(DualBN):
        def affine(self):
            scale, shift = super().affine()
            return scale * (1 + 1e-5), shift

    with pytest.raises(AssertionError):
        assert_affine_is_eval_mode(make(NoEps))


def test_a_single_norm_serves_both_branches():
    norm = make(dual=False)
    assert norm.adv is None and norm.branch(CLEAN) is norm.branch(ADV) is norm.clean
    assert isinstance(norm.clean, nn.BatchNorm2d)
    x = images(4)
    assert torch.equal(norm.eval()(x, ((CLEAN, 2), (ADV, 2))), norm(x, ((CLEAN, 4),)))
