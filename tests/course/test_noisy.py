"""The weight noise of lesson 08 computes what the library computes, and its records can be made."""

import pytest
import torch

import oatlib
from oatlib.course import noisy


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", seed=0, n_train=128, n_test=64)


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_learners_network_is_one_of_the_library(data, lam):
    net = noisy.NoisyNet(seed=1).eval()
    x = data.val.x[:5]
    theirs = noisy.as_network(net, data)
    assert torch.allclose(net(x, lam, source(2)), theirs(x, lam, noise=source(2)), atol=1e-5)


def test_one_draw_per_step_repeats_the_noise_within_a_step_only(data):
    noises = {}
    for one_draw in (True, False):
        net, generator, logits = noisy.NoisyNet(seed=1), source(), []

        def attack(f, x, y, logits=logits):
            logits += [f(x), f(x)]
            return x

        for _ in range(2):
            noisy.float_step_of_course(net, data.train.x[:8], data.train.y[:8], attack, generator, one_draw)
        noises[one_draw] = logits
    first, second, third, _ = noises[True]
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert not torch.equal(*noises[False][:2])


def test_a_published_rule_switches_the_batch_norm(data):
    net = oatlib.build("float", data)
    x = data.val.x[:4]
    assert noisy.rule_of_course("A", 0.05) == (0, 0.05) and noisy.rule_of_course("A", 0.1) == (1, 0.1)
    assert noisy.rule_of_course("B", 0.5) == (0, 1.0) and noisy.rule_of_course("B", 1.0) == (1, 1.0)
    assert torch.allclose(noisy.by_rule(net, 0, 0.0, source())(x), net.at(0.0)(x), atol=1e-5)
    ours, theirs = noisy.by_rule(net, 1, 1.0, source()), net.noisy(1.0, generator=source())
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_the_times_are_those_of_the_record():
    times = noisy.step_times()
    assert set(times) == {"float", "blend"}
    assert all(each["low"] < each["ratio"] < each["high"] and each["rounds"] > 9 for each in times.values())


@pytest.mark.slow
def test_the_record_can_be_made(data, monkeypatch):
    monkeypatch.setattr(noisy, "load_data", lambda *_, **__: data)
    monkeypatch.setattr(noisy, "N", 16)
    monkeypatch.setattr(noisy, "SEEDS", (0,))
    monkeypatch.setattr(noisy, "BLIND_N", 16)
    monkeypatch.setattr(noisy, "STEPS_OF_BLIND", 1)
    arms = {
        "every forward": ("float", {"redraw": "forward"}, {"epochs": 1}),
        "dedicated": ("pgd-at", {"lam": 1.0}, {"epochs": 1}),
    }
    monkeypatch.setattr(noisy, "ARMS", arms)
    found = noisy.float_arms()["arms"]
    run = found["every forward"][0]
    assert len(run["alpha"]) == 2 and len(run["blind"]) == 1 and len(run["by_draws"]) == len(noisy.DRAWS)
    assert found["dedicated"][0].keys() == {"clean", "robust", "spread"}


def test_the_control_can_be_made(data, monkeypatch):
    monkeypatch.setattr(noisy, "load_data", lambda *_, **__: data)
    monkeypatch.setattr(noisy, "CONTROL_STEPS", 2)
    monkeypatch.setattr(noisy, "CONTROL_EVERY", 1)
    monkeypatch.setattr(noisy, "SEEDS", (0,))
    monkeypatch.setattr(noisy, "CONTROL_ARMS", {"new": (2, False), "one": (1, True)})
    found = noisy.float_control()
    assert {name: len(runs[0]) for name, runs in found["arms"].items()} == {"new": 3, "one": 3}
