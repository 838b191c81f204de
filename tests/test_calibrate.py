import copy

import pytest
import torch

import oatlib
from oatlib.data.shapes import CONSTANT_TRUST
from oatlib.layers.slim import SlimNorm
from oatlib.networks.calibrate import take_statistics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", n_train=512, n_val=32, n_test=64, **CONSTANT_TRUST)


@pytest.fixture(scope="module")
def net(data):
    net = oatlib.build("us-snn", data)
    oatlib.train(net, data, epochs=6, batch=32, progress=False)
    return net


def inputs_of_norms(net, x, fraction):
    """What each BatchNorm is given in a forward in train mode, by hook, and which one it is."""
    seen = []

    def note(pair, arguments):
        seen.append(arguments[0].detach().clone())

    twin, handles = copy.deepcopy(net).train(), []
    for part in twin.modules():
        if isinstance(part, SlimNorm):
            original = part.at

            def at(width, channels, original=original):
                view = copy.copy(original(width, channels))
                view._forward_pre_hooks = {0: note}
                return view

            part.at = at
            handles.append(part)
    twin(x, 0.0, fraction)
    return seen


def test_statistics_are_the_mean_and_variance_over_the_images(net, data):
    """One batch of all images: then the average over batches is the direct computation."""
    new = oatlib.calibrate(net, data, [0.3, 0.5], images=200)
    assert new.spec.widths == (0.3, 0.5, 1.0)
    x = data.train.panel(200).x
    for index, fraction in enumerate(new.spec.widths):
        norms = [part for part in new.modules() if isinstance(part, SlimNorm)]
        for norm, seen in zip(norms, inputs_of_norms(new, x, fraction), strict=True):
            bn = norm.pairs[index].clean
            torch.testing.assert_close(bn.running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(bn.running_var, seen.var((0, 2, 3)), rtol=1e-3, atol=1e-4)


def test_several_batches_are_averaged(net, data):
    new = oatlib.calibrate(net, data, [0.5], images=256)
    batches = data.train.panel(256).x.split(128)
    twin = copy.deepcopy(new)
    oatlib.calibrate.__globals__["BATCH"], before = 128, oatlib.calibrate.__globals__["BATCH"]
    try:
        take_statistics(twin, data, 256)
    finally:
        oatlib.calibrate.__globals__["BATCH"] = before
    seen = [inputs_of_norms(new, part, 0.5)[0] for part in batches]
    norm = next(part for part in twin.modules() if isinstance(part, SlimNorm)).pairs[0].clean
    mean = torch.stack([s.mean((0, 2, 3)) for s in seen]).mean(0)
    var = torch.stack([s.var((0, 2, 3)) for s in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("widths", [[0.4], [0.25, 0.5, 0.75], [i / 10 for i in range(2, 10)]])
def test_the_given_network_stays_as_it_is_and_the_weights_are_the_same(net, data, widths):
    before = copy.deepcopy(net.state_dict())
    new = oatlib.calibrate(net, data, widths)
    assert new.spec.widths == (*widths, 1.0)
    assert net.spec.widths == (0.25, 0.5, 0.75, 1.0) and not new.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    own = dict(new.named_parameters())
    theirs = {name.replace(".pairs.3.", f".pairs.{len(widths)}."): p for name, p in net.named_parameters()}
    assert own.keys() == theirs.keys()
    assert all(torch.equal(p, theirs[name]) and p is not theirs[name] for name, p in own.items())
    assert new.trained == net.trained


def test_a_calibrated_width_is_better_than_one_with_the_statistics_of_another(net, data):
    """Why it is done at all: the same weights with the wrong statistics do not work."""
    new = oatlib.calibrate(net, data, [0.6])
    wrong = copy.deepcopy(new)
    for part in wrong.modules():
        if isinstance(part, SlimNorm):
            own, full = part.pairs[0].clean, part.pairs[1].clean
            own.running_mean.copy_(full.running_mean[: len(own.running_mean)])
            own.running_var.copy_(full.running_var[: len(own.running_var)])
    x, y = data.train.x, data.train.y
    right, worse = ((n.at(0.0, 0.6)(x).argmax(1) == y).float().mean().item() for n in (new, wrong))
    assert right > worse + 0.1


def test_training_ends_with_statistics_for_every_listed_width(net, data):
    twin = copy.deepcopy(net)
    take_statistics(twin, data)
    for (name, a), b in zip(twin.named_buffers(), net.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_modes_momenta_and_statistics_come_back_on_error(net, data, monkeypatch):
    twin = copy.deepcopy(net)
    twin.body.stem.train()
    modes, before = [part.training for part in twin.modules()], copy.deepcopy(twin.state_dict())
    monkeypatch.setattr(type(twin.body.head), "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take_statistics(twin, data)
    assert [part.training for part in twin.modules()] == modes
    assert all(torch.equal(t, before[name]) for name, t in twin.state_dict().items())  # nothing half done
    assert {m.momentum for m in twin.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize(("recipe", "widths", "words"), [
    ("snn", [0.3], "trained at any width"),
    ("us-snn", ["x"], "list of fractions"),
    ("us-snn", [0.0], "in \\(0, 1\\]"),
    ("us-snn", [1.5], "the last 1"),
])  # fmt: skip
def test_what_cannot_be_calibrated_is_refused(data, recipe, widths, words):
    with pytest.raises(ValueError, match=words):
        oatlib.calibrate(oatlib.build(recipe, data), data, widths)


def test_statistics_are_not_taken_of_networks_with_attacked_branches(data):
    with pytest.raises(ValueError, match="clean images"):
        take_statistics(oatlib.build("oats", data), data)
