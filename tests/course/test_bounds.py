"""Bounds hold: no image of a box gives other logits, no attack fools a certified image, and cutting decides truly."""

from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oatlib
from oatlib.course import bounds
from oatlib.course.two_pixels import Zoom, small_net

EPS = 0.1


def conv_net(seed):
    torch.manual_seed(seed)
    layers = [
        Zoom(3),
        nn.Conv2d(2, 4, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 5),
    ]
    return nn.Sequential(*layers).requires_grad_(False)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), eps=st.floats(0, 0.5))
def test_no_image_of_a_box_leaves_the_box_of_the_logits(seed, eps):
    net = conv_net(seed)
    source = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 2, 6, 6, generator=source)
    low, high = bounds.ball(x, eps)
    due_low, due_high = bounds.box_of(net, low, high)
    share = torch.rand(50, *x.shape, generator=source)
    share[::2] = share[::2].round()  # corners, where the extremes are
    for inside in low + share * (high - low):
        logits = net(inside)
        assert (logits >= due_low - 1e-4).all() and (logits <= due_high + 1e-4).all()


def test_a_single_layer_reaches_its_bounds():
    net = nn.Sequential(nn.Linear(3, 4)).requires_grad_(False)
    low, high = torch.tensor([[-1.0, 0, 2]]), torch.tensor([[1.0, 3, 2]])
    corners = torch.cartesian_prod(*(torch.tensor([a, b]) for a, b in zip(low[0], high[0], strict=True)))
    got_low, got_high = bounds.box_of(net, low, high)
    torch.testing.assert_close(got_low[0], net(corners).min(0).values)
    torch.testing.assert_close(got_high[0], net(corners).max(0).values)


@pytest.mark.parametrize("seed", range(3))
def test_the_merged_margin_holds_and_is_never_looser_than_two_boxes(seed):
    net = conv_net(seed)
    x = torch.rand(20, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(1)
    low, high = bounds.ball(x, 0.02)
    merged = bounds.margins(net, low, high, y)
    box_low, box_high = bounds.box_of(net, low, high)
    apart = box_low.gather(1, y[:, None]) - box_high
    others = torch.ones_like(apart).scatter_(1, y[:, None], 0).bool()
    assert (merged[others] >= apart[others] - 1e-5).all()
    source = torch.Generator().manual_seed(seed)
    for _ in range(50):
        logits = net(low + torch.rand(x.shape, generator=source).round() * (high - low))
        assert (logits.gather(1, y[:, None]) - logits >= merged - 1e-4).all()


@pytest.mark.parametrize("seed", range(3))
def test_no_attack_fools_a_certified_image(seed):
    net = conv_net(seed)
    x = torch.rand(60, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(1)
    proven = bounds.certified(net, x, y, 0.005)
    assert 0 < proven.sum() < len(x)
    attacked = oatlib.PGD(0.005, steps=20)(net, x, y, generator=torch.Generator().manual_seed(0))
    assert (net(attacked).argmax(1) == y)[proven].all()
    assert not bounds.certified(net, x, (y + 1) % 5, 0.0).any(), "an image of another class is never certified"


@pytest.mark.parametrize("seed", range(4))
def test_cutting_decides_as_a_fine_grid_does(seed):
    net = small_net(seed, sizes=(2, 8, 2)).requires_grad_(False)
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(1)
    robust, fooled = bounds.split_and_certify(net, x, y, EPS, 14)
    steps = torch.cartesian_prod(*[torch.linspace(-EPS, EPS, 41)] * 2)
    near = (x[:, None] + steps).clamp(0, 1)
    found = (net(near.reshape(-1, 2)).argmax(1).reshape(len(x), -1) != y[:, None]).any(1)
    assert not (robust & found).any() and not (robust & fooled).any()
    assert (robust | fooled).float().mean() > 0.9 and 0 < fooled.sum() < len(x)


def test_more_cuts_only_decide_more():
    net = small_net(1, sizes=(2, 16, 2)).requires_grad_(False)
    x = torch.rand(80, 2, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(1)
    before = bounds.split_and_certify(net, x, y, EPS, 0)
    for rounds in range(1, 9):
        now = bounds.split_and_certify(net, x, y, EPS, rounds)
        assert all((old <= new).all() for old, new in zip(before, now, strict=True))
        before = now


def test_the_boxes_of_a_picture_fill_the_ball():
    net = small_net(2, sizes=(2, 16, 2)).requires_grad_(False)
    x = torch.tensor([[0.5, 0.52]])
    boxes = bounds.boxes_of_image(net, x, net(x).argmax(1), EPS, 6)
    areas = sum(((high - low).prod()).item() for low, high, _ in boxes)
    assert areas == pytest.approx((2 * EPS) ** 2, rel=1e-4) and len(boxes) > 4
    assert {state for *_, state in boxes} <= {"proven", "fooled", "open"}


def test_a_layer_without_a_rule_is_refused():
    x = torch.zeros(1, 2)
    with pytest.raises(TypeError, match="no rule for a BatchNorm1d"):
        bounds.box_of([nn.BatchNorm1d(2)], x, x)
    with pytest.raises(TypeError, match="last layer must be Linear, not ReLU"):
        bounds.margins(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), x, x, torch.zeros(1, dtype=torch.long))


def test_training_for_bounds_proves_what_training_against_an_attack_does_not():
    data = oatlib.load_data("shapes", n_train=512, n_val=64, n_test=8, seed=0)
    shares = []
    for loss in (bounds.bound_loss(2 / 255, 0.9), bounds.attacked_loss(2 / 255, steps=1)):
        net = bounds.small_conv_net(data, 0)
        bounds.train_small(net, data, loss, 8, 0)
        shares.append(bounds.certified(net, data.val.x, data.val.y, 2 / 255).float().mean().item())
    assert shares[0] > shares[1] + 0.1, shares


def test_the_diagram_is_svg_that_says_what_it_shows(monkeypatch):
    shown = []
    monkeypatch.setattr(bounds, "display", lambda data, **about: shown.append(data))
    bounds.diagram()
    root = ElementTree.fromstring(shown[0]["image/svg+xml"])
    assert root.find("{http://www.w3.org/2000/svg}title").text == bounds.TAKEAWAY
    assert max(map(len, shown[0]["text/plain"].splitlines())) <= 100
