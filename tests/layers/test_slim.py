import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from oatlib.layers.film import FiLM
from oatlib.layers.folded import FoldPlan
from oatlib.layers.head import Head
from oatlib.layers.setting import ADV, CLEAN, Position, Setting, Width, cut
from oatlib.layers.slim import SlimConv, SlimNorm
from oatlib.layers.unit import Dials

WIDTHS = (0.25, 0.5, 0.75, 1.0)
FULL = Width(1.0, 3)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- convs --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2048), st.integers(1, 64))
def test_a_cut_is_a_whole_number_of_channels_that_rounding_does_not_lower(channels, parts):
    for i in range(1, parts + 1):
        assert cut(channels, i / parts) == max(1, channels * i // parts)


@pytest.mark.parametrize("fraction", WIDTHS)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
@pytest.mark.parametrize("slim", [(True, True), (False, True), (True, False)])
def test_a_conv_is_the_plain_conv_of_its_first_channels(fraction, kernel, stride, slim):
    conv, width = SlimConv(8, 12, kernel, stride, slim=slim), Width(fraction, 0)
    cin, cout = (cut(n, fraction) if s else n for n, s in zip((8, 12), slim, strict=True))
    x = noise(3, cin, 6, 6).requires_grad_()
    expected = F.conv2d(x, conv.weight[:cout, :cin], None, stride, kernel // 2)
    torch.testing.assert_close(conv(x, conv.sliced(width)), expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        torch.autograd.grad(out.square().sum(), (x, conv.weight)) for out in (conv(x, conv.sliced(width)), expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not theirs[1][cout:].any() and not theirs[1][:, cin:].any()


@pytest.mark.parametrize("fraction", WIDTHS)
def test_a_depthwise_conv_filters_its_first_channels_each_by_itself(fraction):
    conv, c = SlimConv(8, 8, 3, depthwise=True), cut(8, fraction)
    x = noise(2, c, 5, 5)
    alone = [F.conv2d(x[:, i : i + 1], conv.weight[i : i + 1], None, 1, 1) for i in range(c)]
    torch.testing.assert_close(conv(x, conv.sliced(Width(fraction, 0))), torch.cat(alone, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_strided_1x1_convs_of_few_channels_do_not_corrupt_memory():
    """In a process of its own: a plain conv2d of this shape kills it on some processors."""
    code = """
import torch
from oatlib.layers.setting import Width
from oatlib.layers.slim import SlimConv
torch.set_num_threads(1)
for channels in (2, 4, 6):
    conv = SlimConv(16, 32, 1, 2).to(memory_format=torch.channels_last)
    for i in range(60):
        x = torch.randn(64, channels, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
        conv(x, conv.sliced(Width(channels / 16, 0))).sum().backward()
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-500:]


# ---- norms --------------------------------------------------------------------------------------------------------


def forward(norm, x, index=None, fraction=None, branch=CLEAN):
    width = Width(WIDTHS[index] if fraction is None else fraction, index)
    way = Setting(torch.zeros(len(x)).long(), torch.full((len(x),), branch), (len(x),), width).route(1, x)
    return norm.at(width, x.shape[1])(x, way.segments)


def make(sharing, dual=True):
    return SlimNorm((4, 8, 12, 16), dual, sharing).train()


def moved(norm, call):
    before = {name: t.clone() for name, t in norm.state_dict().items()}
    call()
    return {name for name, t in norm.state_dict().items() if "running" in name and not torch.equal(t, before[name])}


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("branch", [CLEAN, ADV])
@pytest.mark.parametrize("sharing", ["none", "affine"])
def test_only_the_statistics_of_its_own_width_and_branch_move(index, branch, sharing):
    norm = make(sharing)
    where = f"pairs.{index}.{'adv' if branch == ADV else 'clean'}."
    found = moved(norm, lambda: forward(norm, noise(6, 4 * (index + 1), 3, 3), index, branch=branch))
    assert found == {where + "running_mean", where + "running_var"}


@pytest.mark.parametrize("sharing", ["none", "affine", "all"])
@pytest.mark.parametrize("training", [True, False])
def test_every_width_is_a_plain_batch_norm(sharing, training):
    norm, index, c = make(sharing).train(training), 1, 8
    with torch.no_grad():
        for i, (name, t) in enumerate(norm.named_parameters()):
            t.copy_(noise(*t.shape, seed=i) + ("weight" in name))
        for i, t in enumerate(norm.buffers()):
            if t.is_floating_point():
                t.copy_(noise(*t.shape, seed=i).abs() + 0.5)
    full, own = norm.pairs[-1].clean, norm.pairs[-1 if sharing == "all" else index].clean
    w, b = ((own if sharing == "none" else full).weight[:c], (own if sharing == "none" else full).bias[:c])
    mean, var = own.running_mean[:c].clone(), own.running_var[:c].clone()
    x = noise(5, c, 3, 3, seed=9)
    expected = F.batch_norm(x, mean, var, w, b, training)
    torch.testing.assert_close(forward(norm, x, index), expected)
    torch.testing.assert_close(own.running_mean[:c], mean)  # F.batch_norm has moved them, if it was to
    torch.testing.assert_close(own.running_var[:c], var)


def test_a_shared_norm_is_moved_by_narrow_widths_only_where_they_have_channels():
    norm = make("all", dual=False)
    forward(norm, noise(6, 4, 3, 3), 0)
    mean = norm.pairs[0].clean.running_mean
    assert mean[:4].all() and not mean[4:].any()


def test_a_width_in_between_trains_the_shared_numbers_and_moves_no_statistics():
    norm = make("affine", dual=False)
    x = noise(6, 6, 3, 3)
    assert moved(norm, lambda: forward(norm, x, fraction=0.4).square().sum().backward()) == set()
    grad = norm.pairs[-1].clean.weight.grad
    assert grad[:6].all() and not grad[6:].any()


def test_with_affine_sharing_only_the_full_width_holds_numbers_to_train():
    assert {name for name, _ in make("affine").named_parameters()} == {
        f"pairs.3.{branch}.{kind}" for branch in ("clean", "adv") for kind in ("weight", "bias")
    }


def test_unknown_sharing_is_refused():
    with pytest.raises(ValueError, match="'some'.*none, affine, all"):
        make("some")


# ---- FiLM ---------------------------------------------------------------------------------------------------------


def random_film(rows):
    """A FiLM of 8 channels on codes of length 5, and three codes."""
    film = FiLM(5, 8, rows=rows)
    with torch.no_grad():
        film.out.weight.copy_(noise(16, 16, seed=1))
        film.out.bias.copy_(noise(16, seed=2))
    return film, noise(3, 5)


def assert_a_gamma_stays_a_gamma(rows, channels):
    """If the units beyond a width have no say, a narrow FiLM is the first channels of the wide one."""
    film, codes = random_film(rows)
    with torch.no_grad():
        film.out.weight[:, 2 * channels :] = 0
    for narrow, wide in zip(film(codes, channels), film(codes), strict=True):
        assert narrow.shape == (3, channels)
        torch.testing.assert_close(narrow, wide[:, :channels])


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 8])
def test_a_narrow_film_keeps_gamma_and_beta_apart(channels):
    assert_a_gamma_stays_a_gamma("paired", channels)


def test_the_published_rows_of_film_are_told_apart():
    with pytest.raises(AssertionError):
        assert_a_gamma_stays_a_gamma("published", 4)
    assert_a_gamma_stays_a_gamma("published", 8)  # the full width is the same in both layouts


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 8])
def test_published_rows_are_the_first_of_each_layer(channels):
    """γ from the first c rows of the output layer, β from the next c: at c = 4 of 8, β are γ rows of the wide one."""
    film, codes = random_film("published")
    n = 2 * channels
    hidden = F.leaky_relu(codes @ film.hidden.weight[:n].T + film.hidden.bias[:n])
    out = F.leaky_relu(hidden @ film.out.weight[:n, :n].T + film.out.bias[:n])
    gamma, beta = film(codes, channels)
    torch.testing.assert_close(gamma, out[:, :channels])
    torch.testing.assert_close(beta, out[:, channels:])


# ---- heads --------------------------------------------------------------------------------------------------------


def dials(index):
    return Dials(None, None, Width(WIDTHS[index], index))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("slim", [False, True])
@pytest.mark.parametrize("index", range(4))
def test_a_head_is_a_linear_map_of_the_features_of_its_width(own, slim, index):
    head = Head(16, 5, WIDTHS, own, slim)
    x = noise(3, cut(16, WIDTHS[index]) if slim else 16)
    linear = head.each[index if own else 0]
    expected = F.linear(x, linear.weight[:, : x.shape[1]], linear.bias)
    torch.testing.assert_close(head(x, dials(index)), expected)
    plan = FoldPlan(Position(torch.ones(1, 1), Width(WIDTHS[index], index)), torch.zeros(1))
    torch.testing.assert_close(head.fold(plan)(x), expected)


@pytest.mark.parametrize("slim", [False, True])
def test_own_heads_get_gradients_from_their_own_width_only(slim):
    """Also where all widths bring as many features (MobileNetV2): a head is found by the index of the width."""
    head = Head(16, 5, WIDTHS, own=True, slim=slim)
    head(noise(3, 8 if slim else 16), dials(1)).sum().backward()
    assert [linear.weight.grad is not None for linear in head.each] == [False, True, False, False]
