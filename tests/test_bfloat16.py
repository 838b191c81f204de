"""Attacks in bfloat16: gradients may be imprecise, verdicts may not."""

import pytest
import torch

import oatlib
from oatlib.networks import bfloat16
from oatlib.networks.bfloat16 import UNDECIDED, in_bfloat16
from tests.pages import ROOT


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", n_train=16, n_val=16, n_test=128)


@pytest.fixture(scope="module")
def net():
    return oatlib.load(ROOT / "data" / "explorer" / "oat.safetensors")


def asked(f, x, y):
    """Logits, and the gradient of the cross-entropy."""
    x = x.clone().requires_grad_()
    logits = f(x)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y, reduction="sum"), x)
    return logits.detach(), gradient


def near_a_boundary(folded, x):
    """Points between pairs of images, where two classes are almost equally likely."""
    low, high = x[::2].clone(), x[1::2].clone()
    with torch.no_grad():
        start = folded(low).argmax(1)
        for _ in range(9):
            middle = (low + high) / 2
            same = (folded(middle).argmax(1) == start).view(-1, 1, 1, 1)
            low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return torch.cat([low, high])


def test_what_bfloat16_cannot_decide_is_decided_in_single_precision(net, data, monkeypatch):
    folded = net.at(1.0)
    x = near_a_boundary(folded, data.test.x)
    y = data.test.y[: len(x)]
    exact, _ = asked(folded, x, y)
    first, second = exact.topk(2).values.unbind(1)
    assert ((first - second) < UNDECIDED / 2 * exact.std(1)).sum() > 30, "the points are near boundaries"
    logits, _ = asked(in_bfloat16(folded), x, y)
    assert torch.equal(logits.argmax(1), exact.argmax(1))
    monkeypatch.setattr(bfloat16, "UNDECIDED", 0.0)
    logits, _ = asked(in_bfloat16(folded), x, y)
    assert not torch.equal(logits.argmax(1), exact.argmax(1)), "bfloat16 alone is wrong on some"


def test_gradients_are_those_of_the_network_but_for_rounding(net, data):
    folded = net.at(0.4)
    x, y = data.test.x, data.test.y
    (_, ours), (_, exact) = asked(in_bfloat16(folded), x, y), asked(folded, x, y)
    direction = torch.nn.functional.cosine_similarity(ours.flatten(1), exact.flatten(1))
    assert direction.median() > 0.99 and not torch.equal(ours, exact)
    with torch.no_grad():
        assert torch.equal(in_bfloat16(folded)(x), folded(x)), "without gradients it is the network"


def test_what_is_not_finite_stays_so(net, data):
    folded = net.at(1.0)
    folded.head.bias[0] = torch.nan
    with pytest.raises(oatlib.NonFiniteError):
        oatlib.PGD(8 / 255, 1)(in_bfloat16(folded), data.test.x[:4], data.test.y[:4])


def test_evaluate_agrees_and_says_so(net, data):
    single, low = (oatlib.evaluate(net, data.test, lams=[0.2, 1.0], progress=False, amp=amp) for amp in (False, True))
    for a, b in zip(single, low, strict=True):
        assert a.clean == b.clean and abs(a.robust - b.robust) * len(data.test) <= 2
        assert b.about["amp"] is True and "amp" not in a.about


def test_noisy_weights_stay_in_single_precision(data):
    noisy = oatlib.build("float", data, "plain")
    attack = oatlib.PGD(8 / 255, 1, eot_samples=2)
    table = oatlib.evaluate(noisy, data.test.panel(8), attack, [0.0, 1.0], amp=True, noise_samples=2, progress=False)
    assert [row.about.get("amp") for row in table] == [True, None]


def test_amp_is_a_switch(net, data):
    with pytest.raises(TypeError, match="amp must be True or False, got 'on'"):
        oatlib.evaluate(net, data.test, amp="on")
