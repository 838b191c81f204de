"""Training: the step against a plain implementation, reproducibility, resuming, and what happens when it goes wrong."""

import dataclasses
import errno
import importlib
import os
import signal
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from bench import plain
from oatlib.training.labels import Labels
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.losses import TRAINING_LOSSES
from oatlib.training.monitor import Watch
from oatlib.training.presets import PRESETS, Preset
from oatlib.training.recipes import OAT_STOPS, more_at_last_stop, sample_attacked, sample_stops, sample_widths
from oatlib.training.step import train_step

pytestmark = pytest.mark.slow

SMALL = dict(batch=32, steps=1, step_size=8 / 255, panel=32, progress=False)
GENTLE = dict(lr=0.02, watch=9)  # for runs that must not stop before their last epoch


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", n_train=128, n_val=64, n_test=64)


def weights(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- the step ------------------------------------------------------------------------------------


def plain_oat(net, data, lr, steps):
    """The same steps done by the plain implementation of bench/plain.py; returns its losses and its network."""
    twin = plain.TinyOAT()
    twin.load_state_dict(plain.plain_names(net.body.state_dict()))
    optimizer = torch.optim.SGD(twin.parameters(), lr, momentum=0.9)
    losses = []
    for i in range(steps):
        stop, n_clean = sample_stops(OAT_STOPS, 64, torch.Generator().manual_seed(i))
        x, y = data.train.x[:64], data.train.y[:64]
        draw = torch.rand(x[n_clean:].shape, generator=torch.Generator().manual_seed(i))
        noise = (draw * 2 - 1) * 8 / 255
        lam, code = torch.tensor(OAT_STOPS)[stop], net.codes[stop]
        args = (8 / 255, 3, 4 / 255, noise)
        losses.append(plain.oat_step(twin, optimizer, x, y, lam, code, n_clean, *args).item())
    return losses, twin


def test_oat_steps_equal_a_plain_implementation(data):
    net = oatlib.build("oat", data)
    reference, twin = plain_oat(net, data, 0.01, 3)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    for i in range(3):
        stop, _ = sample_stops(OAT_STOPS, 64, torch.Generator().manual_seed(i))
        attack = oatlib.PGD(8 / 255, 3, 4 / 255, best=False)
        x, y = data.train.x[:64], data.train.y[:64]
        optimizer.zero_grad()
        loss = train_step(net, LambdaBatch(x, y, stop, OAT_STOPS), attack, torch.Generator().manual_seed(i))
        optimizer.step()
        # signs of tiny gradients may flip with rounding, so later steps agree less closely
        assert loss.item() == pytest.approx(reference[i], abs=1e-5 if i == 0 else 2e-3)
    ours = plain.plain_names(net.body.state_dict())
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-3, rtol=1e-2, msg=name)


def test_pgd_at_step_by_hand(data):
    """One BatchNorm sees the clean batch and the attacked batch as two batches; the loss mixes them with λ."""
    net = oatlib.build("pgd-at", data, lam=0.3)
    x, y = data.train.x[:32], data.train.y[:32]
    attack = oatlib.PGD(8 / 255, 2, best=False)
    attacked = attack(net.at(), x, y, torch.Generator().manual_seed(5))
    twin = oatlib.build("pgd-at", data, lam=0.3).train()
    expected = 0.7 * F.cross_entropy(twin(x), y) + 0.3 * F.cross_entropy(twin(attacked), y)
    batch = LambdaBatch(x, y, sample_stops(net.spec.stops, 32, torch.Generator())[0], net.spec.stops)
    loss = train_step(net, batch, attack, torch.Generator().manual_seed(5))
    assert batch.n_clean == 0
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    ours, theirs = (n.body.stem.norm.pairs[0].clean.running_mean for n in (net, twin))
    torch.testing.assert_close(ours, theirs)


def test_standard_never_attacks(data):
    class Fails:
        def __call__(self, *args):
            raise AssertionError("attacked")

    net = oatlib.build("standard", data)
    stop, _ = sample_stops(net.spec.stops, 32, torch.Generator())
    train_step(net, LambdaBatch(data.train.x[:32], data.train.y[:32], stop, net.spec.stops), Fails(), None)


def test_the_attack_sees_only_samples_with_lambda_in_eval_mode_and_leaves_statistics(data):
    net = oatlib.build("oat", data)
    seen = {}

    def attack(f, x, y, generator):
        seen["n"], seen["stats"] = len(x), weights(net)
        f(x)
        seen["unchanged"] = same(seen["stats"], weights(net))
        return x

    stop, n_clean = sample_stops(OAT_STOPS, 60, torch.Generator())
    train_step(net, LambdaBatch(data.train.x[:60], data.train.y[:60], stop, OAT_STOPS), attack, None)
    assert (n_clean, seen["n"], seen["unchanged"]) == (10, 50, True)
    assert not same(seen["stats"], weights(net))  # the training forward, in contrast, did move them


def test_trades_attacks_its_own_regulariser(data):
    net = oatlib.build("trades", data)
    stop, _ = sample_stops(net.spec.stops, 32, torch.Generator())
    batch = LambdaBatch(data.train.x[:32], data.train.y[:32], stop, net.spec.stops)
    seen = {}

    def spy(attack):
        def call(f, x, y, generator):
            seen["start"], seen["values"] = attack.start, attack.loss(f(x), y)
            return x

        return call

    attack = oatlib.PGD(8 / 255, 2, best=False)
    original, oatlib.PGD.__call__ = oatlib.PGD.__call__, lambda self, *a: spy(self)(*a)
    try:
        train_step(net, batch, attack, None)
    finally:
        oatlib.PGD.__call__ = original
    assert seen["start"] == "gaussian"
    assert seen["values"].abs().max() < 1e-6  # KL of a prediction to itself


# --- the batch of a step -----------------------------------------------------------------------------


def shuffled_batch(net, data, seed):
    """A batch of 36 images with λ stops in random order, and the order that sorts it."""
    stop, n_clean = sample_stops(net.spec.stops, 36, torch.Generator().manual_seed(seed))
    stop = stop[torch.randperm(36, generator=torch.Generator().manual_seed(seed + 1))]
    lam = torch.tensor(net.spec.stops)[stop]
    order = torch.cat([(lam == 0).nonzero()[:, 0], (lam > 0).nonzero()[:, 0]])
    return data.train.x[:36], data.train.y[:36], stop, order, n_clean


def gradients_of(net, x, y, stop, amp=False):
    """Loss and gradients of one step, for networks of equal weights."""
    net.zero_grad()
    widths = sample_widths(net.spec, torch.Generator().manual_seed(3))
    attack = oatlib.PGD(8 / 255, 2, best=False)
    batch = LambdaBatch(x, y, stop, net.spec.stops)
    loss = train_step(net, batch, attack, torch.Generator().manual_seed(4), widths, amp)
    return {"loss": loss} | {name: p.grad.clone() for name, p in net.named_parameters()}


def test_a_batch_is_sorted_and_keeps_its_order_otherwise():
    x, y = torch.rand(6, 1, 2, 2), torch.arange(6)
    stop = torch.tensor([2, 0, 1, 0, 2, 1])
    batch = LambdaBatch(x, y, stop, (0.0, 0.5, 1.0))
    assert batch.labels.tolist() == [1, 3, 0, 2, 4, 5] and torch.equal(batch.images, x[batch.labels])
    assert batch.lambda_stop.tolist() == [0, 0, 2, 1, 2, 1] and batch.lam.tolist() == [0, 0, 1, 0.5, 1, 0.5]
    assert (batch.n_clean, len(batch)) == (2, 6) and batch.lam.dtype == x.dtype
    assert not batch.lam[batch.clean].any() and batch.lam[batch.attacked].all()
    assert len(batch.images[batch.clean]) == 2 and len(batch.images[batch.attacked]) == 4


@pytest.mark.parametrize(
    "stops, stop, n_clean", [((0.0,), 0, 4), ((1.0,), 0, 0), ((0.0, 1.0), 1, 0), ((0.1, 0.2), 0, 0)]
)
def test_a_batch_of_one_kind_is_used_as_it_is(stops, stop, n_clean):
    x, y = torch.rand(4, 1, 2, 2), torch.arange(4)
    batch = LambdaBatch(x, y, torch.full((4,), stop), stops)
    assert batch.images is x and batch.labels is y and batch.n_clean == n_clean


@pytest.mark.parametrize("labels, stop, words", [
    (4, torch.zeros(3).long(), "one λ stop for each of its 4 images"),
    (3, torch.zeros(4).long(), "one label for each of its 4 images"),
    (4, torch.zeros(4), "indices of λ stops, whole numbers, got torch.float32"),
    (4, torch.tensor([0, 1, 2, 0]), "from 0 to 1, because there are 2 λ stops, got 0 to 2"),
    (4, torch.tensor([0, 1, -1, 0]), "got -1 to 1"),
])  # fmt: skip
def test_stops_that_make_no_sense_are_refused(labels, stop, words):
    with pytest.raises(ValueError, match=words):
        LambdaBatch(torch.rand(4, 1, 2, 2), torch.zeros(labels).long(), stop, (0.0, 1.0))


@pytest.mark.parametrize("attacked, words", [
    (torch.tensor([True, False]), "each of the 4 images, got torch.bool of shape \\(2,\\)"),
    (torch.ones(4), "True or False for each of the 4 images, got torch.float32"),
    (torch.tensor([True, True, False, False]), "images with λ = 0 are never attacked"),
])  # fmt: skip
def test_images_that_cannot_be_attacked_are_refused(attacked, words):
    with pytest.raises(ValueError, match=words):
        LambdaBatch(torch.rand(4, 1, 2, 2), torch.zeros(4).long(), torch.tensor([0, 1, 1, 1]), (0.0, 1.0), attacked)


# --- the sampled loss: one term per image ------------------------------------------------------------


def test_the_expectation_of_the_sampled_loss_is_the_hybrid_loss():
    """Summed over all 2^5 ways to attack some of the images, each with its probability."""
    g = torch.Generator().manual_seed(0)
    n, stops = 5, torch.tensor([0.0, 0.1, 0.4, 1.0])
    lam = stops[torch.tensor([0, 1, 2, 2, 3])]
    clean, attacked = torch.randn(2, n, 3, generator=g, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1])
    hybrid = TRAINING_LOSSES["hybrid"].function(clean, attacked[1:], Labels(y, lam, 1))
    expected = 0.0
    for pattern in range(2**n):
        is_attacked = torch.tensor([bool(pattern >> i & 1) for i in range(n)])
        probability = torch.where(is_attacked, lam, 1 - lam).prod()
        order = torch.cat([(~is_attacked).nonzero()[:, 0], is_attacked.nonzero()[:, 0]])
        n_clean = int((~is_attacked).sum())
        labels = Labels(y[order], lam[order], n_clean)
        loss = TRAINING_LOSSES["sampled"].function(clean[order[:n_clean]], attacked[order[n_clean:]], labels)
        expected += probability * loss
    torch.testing.assert_close(expected.float(), hybrid.float())


def test_images_are_attacked_with_probability_lambda():
    stop = torch.arange(6).repeat(10_000)
    attacked = sample_attacked(OAT_STOPS, stop, torch.Generator().manual_seed(0))
    for index, lam in enumerate(OAT_STOPS):
        share = attacked[stop == index].double().mean().item()
        assert abs(share - lam) <= 4 * (lam * (1 - lam) / 10_000) ** 0.5  # exact at λ = 0 and at λ = 1


def test_a_sampled_step_by_hand(data):
    """Each image passes once. All images with λ > 0, attacked or not, are one batch of the adversarial BatchNorm."""
    x, y = data.train.x[:12], data.train.y[:12]
    stop = torch.tensor([1, 0, 2] * 4)
    attacked = torch.tensor([False, False, True] * 3 + [True, False, True])
    stops = (0.0, 0.5, 1.0)
    net, twin = (oatlib.build("oat", data, stops=stops, loss="sampled") for _ in range(2))
    seen = []

    def darken(f, images, labels, generator):
        seen.append(len(images))
        return images * 0.9

    batch = LambdaBatch(x, y, stop, stops, attacked)
    loss = train_step(net, batch, darken, None)
    assert seen == [5] and batch.n_clean == 7
    # Two batches of one BatchNorm each: λ = 0, and λ > 0.
    lam = torch.tensor(stops)[stop]
    images = torch.where(attacked[:, None, None, None], x * 0.9, x)
    twin.train()
    expected = 0.0
    for group in (lam == 0, lam > 0):
        logits = twin(images[group], lam[group])
        expected = expected + F.cross_entropy(logits, y[group], reduction="sum")
    assert loss.item() == pytest.approx(expected.item() / 12, abs=1e-5)
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, msg=name)


def test_training_with_the_sampled_loss_attacks_by_chance(data, monkeypatch):
    seen = []
    module = importlib.import_module("oatlib.training.loop")
    real = module.train_step
    monkeypatch.setattr(module, "train_step", lambda net, batch, *rest: seen.append(batch) or real(net, batch, *rest))
    oatlib.train(oatlib.build("oat", data, loss="sampled"), data, epochs=1, **SMALL)
    assert all(batch.lam[batch.attacked].gt(0).all() for batch in seen)
    assert any(batch.lam[batch.clean].gt(0).any() for batch in seen)
    seen.clear()
    oatlib.train(oatlib.build("oat", data), data, epochs=1, **SMALL)
    assert not any(batch.lam[batch.clean].any() for batch in seen)


RECIPES_OF_STEPS = ("oat", "oats", "us-snn", "trades", "float", "smart", "solar")


@pytest.mark.parametrize("recipe", RECIPES_OF_STEPS)
def test_an_unsorted_batch_gives_the_bits_of_a_sorted_one(data, recipe):
    net = oatlib.build(recipe, data)
    x, y, stop, order, n_clean = shuffled_batch(net, data, seed=5)
    twin = oatlib.build(recipe, data)
    unsorted, by_hand = gradients_of(net, x, y, stop), gradients_of(twin, x[order], y[order], stop[order])
    assert same(unsorted, by_hand) and same(weights(net), weights(twin))  # and the statistics of BatchNorm
    if 0 < n_clean < len(x):
        assert not torch.equal(order, torch.arange(len(x)))
        wrong = gradients_of(oatlib.build(recipe, data), x, y, stop[order])
        assert not same(unsorted, wrong)


@pytest.mark.parametrize("recipe", RECIPES_OF_STEPS)
def test_a_setting_of_stops_is_the_setting_of_their_lambdas(data, recipe):
    net = oatlib.build(recipe, data)
    stop = torch.arange(12) % len(net.spec.stops)
    lams = torch.tensor(net.spec.stops, dtype=torch.float64)[stop]
    for share in net.spec.widths:
        ours, theirs = net.setting_of_stops(stop, net.width(share)), net.setting(lams, 12, share)
        for name in ("stop", "branch"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert (ours.passes, ours.width) == (theirs.passes, theirs.width)
        assert ours.path is theirs.path is None or torch.equal(ours.path, theirs.path)


def reference_step(net, x, y, stop, attack, generator, widths):
    """A step by λ values instead of stop indices, for losses that send all images through unattacked."""
    lam = torch.tensor(net.spec.stops, dtype=torch.float64)[stop]
    n_clean = int((lam == 0).sum())
    total = 0.0
    for width in widths:
        clean_setting = net.setting(lam, len(x), width).on_clean_path()
        hard = net.setting(lam[n_clean:], len(x) - n_clean, width)
        attacked = attack(net.bind_stops(hard, generator).forward, x[n_clean:], y[n_clean:], generator)
        setting = clean_setting.join(clean_setting, hard)
        logits = net.train()(torch.cat([x, attacked]), setting, noise=generator)
        net.eval()
        clean, adversarial = logits[: len(x)], logits[len(x) :]
        weight = lam.to(x)
        loss = ((1 - weight) * F.cross_entropy(clean, y, reduction="none")).sum()
        loss = loss + (weight[n_clean:] * F.cross_entropy(adversarial, y[n_clean:], reduction="none")).sum()
        loss = loss / len(y) * (1 / len(widths) if net.spec.width_loss == "mean" else 1.0)
        loss.backward()
        total += loss.detach()
    return total


@pytest.mark.parametrize("recipe", ["oat", "oats", "solar", "pgd-at"])
def test_a_step_has_the_bits_of_a_step_by_lambda_values(data, recipe):
    ours, theirs = (oatlib.build(recipe, data) for _ in range(2))
    stop, _ = sample_stops(ours.spec.stops, 36, torch.Generator().manual_seed(5))
    x, y = data.train.x[:36], data.train.y[:36]
    found = gradients_of(ours, x, y, stop)
    widths = sample_widths(theirs.spec, torch.Generator().manual_seed(3))
    attack, generator = oatlib.PGD(8 / 255, 2, best=False), torch.Generator().manual_seed(4)
    loss = reference_step(theirs, x, y, stop, attack, generator, widths)
    expected = {"loss": loss} | {name: p.grad for name, p in theirs.named_parameters()}
    assert same(found, expected) and same(weights(ours), weights(theirs))


# --- a run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["standard", "pgd-at", "trades", "oat"])
def test_every_recipe_trains_through_the_one_loop(data, recipe):
    net = oatlib.build(recipe, data)
    before = weights(net)
    history = oatlib.train(net, data, epochs=2, **SMALL)
    assert history.status == "finished" and len(history.rows) == 2
    assert not same(before, weights(net)) and not net.training
    assert net.trained[-1]["seed"] == 0 and net.trained[-1]["preset"]["epochs"] == 2


def test_same_seed_same_bits_other_seed_others(data):
    runs = []
    for seed in (0, 0, 1):
        net = oatlib.build("oat", data)
        oatlib.train(net, data, epochs=2, seed=seed, **SMALL)
        runs.append(weights(net))
        torch.rand(3)  # the global generator must not matter
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_training_leaves_the_global_generator_and_the_test_split_alone(data):
    state = torch.random.get_rng_state()
    hidden = dataclasses.replace(data, test=None)  # touching it would raise
    net = oatlib.build("oat", hidden)
    oatlib.train(net, hidden, epochs=1, **SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_resume_gives_the_bits_of_an_uninterrupted_run(data, tmp_path):
    path = tmp_path / "run.safetensors"
    straight = oatlib.build("oat", data)
    whole = oatlib.train(straight, data, epochs=4, watch=2, **SMALL)

    class Stop(Exception):
        pass

    first = oatlib.build("oat", data)
    original = oatlib.record.write_weights

    def write_then_stop(target, tensors, header):
        original(target, tensors, header)
        if header["checkpoint"]["epoch"] == 2:
            raise Stop

    oatlib.record.write_weights = write_then_stop
    try:
        with pytest.raises(Stop):
            oatlib.train(first, data, epochs=4, watch=2, checkpoint=path, **SMALL)
    finally:
        oatlib.record.write_weights = original
    second = oatlib.build("oat", data, seed=7)  # other initial weights, to show that the file decides
    resumed = oatlib.train(second, data, epochs=4, watch=2, checkpoint=path, resume=True, **SMALL)
    body = {k: v for k, v in weights(straight).items()}
    assert same(body, weights(second))
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.rows]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.rows]


def test_a_checkpoint_of_an_earlier_file_format_is_resumed(data, tmp_path):
    """Up to format 2 the option width_sampling was called draw."""
    path = tmp_path / "run.safetensors"
    net = oatlib.build("us-snn", data)
    oatlib.train(net, data, epochs=1, checkpoint=path, **SMALL)
    tensors, header = oatlib.record.read_weights(path)
    for spec in (header["spec"], header["checkpoint"]["run"]["network"]):
        spec["draw"] = spec.pop("width_sampling")
    oatlib.record.write_weights(path, tensors, header | {"format": 2})
    again = oatlib.build("us-snn", data, seed=3)
    oatlib.train(again, data, epochs=1, checkpoint=path, resume=True, **SMALL)
    assert same(weights(net), weights(again))
    with pytest.raises(oatlib.RecordError, match="in which network, seed differed"):
        oatlib.train(oatlib.build("snn", data), data, epochs=1, seed=1, checkpoint=path, resume=True, **SMALL)


def test_resume_refuses_another_run(data, tmp_path):
    path = tmp_path / "run.safetensors"
    net = oatlib.build("oat", data)
    oatlib.train(net, data, epochs=1, checkpoint=path, **SMALL)
    with pytest.raises(oatlib.RecordError, match="seed"):
        oatlib.train(net, data, epochs=1, checkpoint=path, resume=True, seed=1, **SMALL)
    with pytest.raises(ValueError, match="checkpoint="):
        oatlib.train(net, data, epochs=1, resume=True, **SMALL)
    with pytest.raises(oatlib.RecordError, match="checkpoint"):
        oatlib.load(path)
    oatlib.save(net, path)
    with pytest.raises(oatlib.RecordError, match=r"oatlib\.load"):
        oatlib.train(net, data, epochs=1, checkpoint=path, resume=True, **SMALL)


def test_ctrl_c_leaves_a_usable_network(data):
    net = oatlib.build("oat", data)

    class Impatient(Preset):
        def learning_rate(self, done, epoch):
            if epoch == 1:
                signal.raise_signal(signal.SIGINT)
            return super().learning_rate(done, epoch)

    # a shell may have started us in the background, where Ctrl-C is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.warns(UserWarning, match="interrupted in epoch 2"):
            history = oatlib.train(net, data, Impatient(), epochs=9, **SMALL)
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.status == "interrupted" and len(history.rows) == 1
    assert not any(m.training for m in net.modules()) and all(p.requires_grad for p in net.parameters())
    assert oatlib.evaluate(net, data.test, oatlib.PGD(8 / 255, 1), [0.5], progress=False)[0].n == 64


# --- when it goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["oat", "standard"])  # the attack notices first, or the loss does
def test_nan_is_reported_in_words_and_the_last_good_weights_are_kept(data, recipe):
    net = oatlib.build(recipe, data)
    kept = {}

    class Poison(Preset):
        def learning_rate(self, done, epoch):
            if done >= 0.5 and not kept:
                kept.update(weights(net))
                with torch.no_grad():
                    net.body.head.each[0].weight.fill_(float("nan"))
            return super().learning_rate(done, epoch)

    values = {k: v for k, v in SMALL.items() if k != "progress"}
    with pytest.warns(UserWarning, match="NaN.*the weights of the last good epoch"):
        history = oatlib.train(net, data, Poison(epochs=4, **values), progress=False)
    assert history.status == "stopped" and len(kept) > 0
    assert same(kept, weights(net))  # those of the epoch before


def rows(**values):
    return dict(loss=1.0, clean=0.9, clean_robust_end=0.8, robust=0.6) | values


@pytest.mark.parametrize(
    "bad, word",
    [
        (dict(loss=float("nan")), "NaN"),
        (dict(robust=0.39), "catastrophic overfitting"),
        (dict(clean_robust_end=0.15), "chance"),
        (dict(clean=0.15), "chance"),
    ],
)
def test_watch_names_what_went_wrong(data, bad, word):
    net = oatlib.build("oat", data)
    watch = Watch(data.val.panel(64), oatlib.PGD(8 / 255, 1))
    assert watch.verdict(net, rows(), 0.1) == "" and watch.verdict(net, rows(robust=0.41), 0.2) == ""
    good = weights(net)
    with torch.no_grad():
        net.body.head.each[0].weight.zero_()
    assert word in watch.verdict(net, rows(**bad), 0.9)
    watch.restore(net)
    assert same(good, weights(net))


def test_watch_is_patient_at_the_start_and_never_mourns_robustness_nobody_trained(data):
    oat, standard = oatlib.build("oat", data), oatlib.build("standard", data)
    watch = Watch(data.val.panel(64), oatlib.PGD(8 / 255, 1))
    assert watch.verdict(oat, rows(clean=0.13, clean_robust_end=0.12, robust=0.0), 0.2) == ""
    early = watch.good
    assert watch.verdict(oat, rows(robust=0.1), 0.3) == "" and watch.good is not early
    kept = watch.good
    assert watch.verdict(oat, rows(clean=0.13, robust=0.0), 0.4) == "" and watch.good is kept  # not at chance
    assert watch.verdict(oat, {"loss": 1.0}, 0.9) == ""  # an epoch that was not watched
    assert watch.verdict(standard, rows(robust=0.5), 0.3) == "" and watch.verdict(standard, rows(robust=0.0), 0.4) == ""


def test_watch_measures_both_ends(data):
    net = oatlib.build("oat", data)
    panel = data.val.panel(64)
    attack = oatlib.PGD(8 / 255, 3, best=False)
    got = Watch(panel, attack).look(net)
    right = lambda lam, x: (net(x, lam).argmax(1) == panel.y).float().mean().item()  # noqa: E731
    assert got["clean"] == right(0.0, panel.x) and got["clean_robust_end"] == right(1.0, panel.x)
    assert got["robust"] == right(1.0, attack(net.at(1.0), panel.x, panel.y))


# --- presets and bad input ------------------------------------------------------------------------------------


def test_eps_ramps_and_the_learning_rate_has_its_shape():
    one = Preset(ramp=0.4, eps=8 / 255, margin=1.25, lr=0.4, warmup=0.25)
    assert one.attack(0.2).eps == pytest.approx(1.25 * 4 / 255) and one.attack(0.2).step_length == pytest.approx(
        one.step_size / 2
    )
    assert one.attack(0.4) == one.attack(1.0) and one.attack(1.0).eps == pytest.approx(10 / 255)
    assert one.learning_rate(0.25, 0) == pytest.approx(0.4) and one.learning_rate(0.999, 0) < 1e-4
    assert one.learning_rate(0.1, 0) < one.learning_rate(0.2, 0)
    paper = PRESETS["paper"]
    assert paper.attack(0.0).eps == 8 / 255  # the published code has no ramp
    rates = [paper.learning_rate(e / paper.epochs, e) for e in range(paper.epochs)]
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([torch.zeros(1)], 0.1), paper.epochs)
    for rate in rates:
        assert rate == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        scheduler.optimizer.step()
        scheduler.step()


@given(share=st.sampled_from([0.0, 0.2, 0.7, 1.0]), seed=st.integers(0, 1000), n=st.integers(1, 200))
def test_more_images_get_the_last_stop(share, seed, n):
    """Images of λ = 0 keep it, nobody leaves the last stop, and the others move there by chance or not at all."""
    stop, n_clean = sample_stops(OAT_STOPS, n, torch.Generator().manual_seed(seed))
    before = stop.clone()
    new = more_at_last_stop(stop, n_clean, OAT_STOPS, share, torch.Generator().manual_seed(seed + 1))
    last = len(OAT_STOPS) - 1
    assert torch.equal(stop, before) and not new[:n_clean].any()
    moved = new != before
    assert (new[moved] == last).all() and (share > 0 or not moved.any())
    assert share < 1 or (new[n_clean:] == last).all()


def test_the_share_at_the_last_stop():
    stop, n_clean = sample_stops(OAT_STOPS, 60_000, torch.Generator().manual_seed(0))
    new = more_at_last_stop(stop, n_clean, OAT_STOPS, 0.3, torch.Generator().manual_seed(1))[n_clean:]
    counts = torch.bincount(new, minlength=6)[1:] / len(new)
    expected = torch.tensor([0.14, 0.14, 0.14, 0.14, 0.44])  # 0.7 / 5, and 0.3 more at the last one
    assert (counts - expected).abs().max() < 4 * (0.25 / 50_000) ** 0.5


def test_where_nothing_can_move_chance_is_not_asked():
    """Recipes with one stop above 0, and the published preset, draw the same numbers as before."""
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    ends, n_clean = torch.tensor([0, 0, 1, 1]), 2
    assert more_at_last_stop(ends, n_clean, (0.0, 1.0), 0.5, generator) is ends
    assert more_at_last_stop(torch.zeros(3).long(), 3, (0.0,), 0.5, generator).tolist() == [0, 0, 0]
    stop, n_clean = sample_stops(OAT_STOPS, 12, torch.Generator())
    assert more_at_last_stop(stop, n_clean, OAT_STOPS, PRESETS["paper"].at_last_stop, generator) is stop
    assert torch.equal(generator.get_state(), state)


def test_training_uses_the_share(data, monkeypatch):
    """A run in which all attacked images have λ = 1 gives other weights than one in which λ is uniform."""
    seen = []
    module = sys.modules["oatlib.training.loop"]
    real = module.train_step
    monkeypatch.setattr(
        module, "train_step", lambda net, batch, *rest: seen.append(batch.lambda_stop) or real(net, batch, *rest)
    )
    for share in (0.0, 1.0):
        oatlib.train(oatlib.build("oat", data), data, epochs=1, at_last_stop=share, **SMALL)
    half = len(seen) // 2
    assert torch.cat(seen[:half]).unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.cat(seen[half:]).unique().tolist() == [0, 5]


def test_paper_preset_is_the_published_one():
    p = PRESETS["paper"]
    assert (p.epochs, p.batch, p.lr, p.momentum, p.weight_decay, p.steps) == (200, 128, 0.1, 0.9, 5e-4, 7)
    assert (p.margin, p.nesterov, p.ramp, p.at_last_stop) == (1.0, False, 0.0, 0.0)
    assert p.step_size == pytest.approx(min(1.25 * p.eps, p.eps + 4 / 255) / 7)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(preset="slow"), "fast, paper"),
        (dict(epoch=3), "did you mean 'epochs'"),
        (dict(epochs=0), "epochs"),
        (dict(batch=0), "batch"),
        (dict(lr=-1.0), "lr"),
        (dict(schedule="step"), "one-cycle"),
        (dict(ramp=1.5), "ramp"),
        (dict(at_last_stop=1.1), "at_last_stop"),
    ],
)
def test_bad_settings_get_a_clear_error(data, changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        oatlib.train(oatlib.build("oat", data), data, progress=False, **changes)


def test_data_that_does_not_fit_the_network_is_refused(data):
    digits = oatlib.load_data("digits")
    with pytest.raises(ValueError, match=r"\(3, 16, 16\).*\(1, 8, 8\)"):
        oatlib.train(oatlib.build("oat", data), digits, progress=False)


def test_odd_sizes_train(data):
    few = oatlib.load_data("shapes", n_train=37, n_val=8, n_test=8)
    net = oatlib.build("oat", few)
    oatlib.train(net, few, epochs=1, **(SMALL | dict(batch=128)))  # fewer images than a batch
    oatlib.train(net, few, epochs=1, **(SMALL | dict(batch=7)))


def test_a_checkpoint_that_cannot_be_written_is_noticed_before_training(data, tmp_path):
    net = oatlib.build("oat", data)
    before = weights(net)
    with pytest.raises(oatlib.RecordError, match="does not exist"):
        oatlib.train(net, data, epochs=1, checkpoint=tmp_path / "nowhere" / "x", **SMALL)
    assert same(before, weights(net))


def full_disk(monkeypatch, *epochs):
    """Let the checkpoints of some epochs meet a full disk."""
    original, number = oatlib.record._replace, [0]

    def replace(target, content):
        number[0] += 1
        if number[0] in epochs:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(target, content)

    monkeypatch.setattr(oatlib.record, "_replace", replace)


def test_a_checkpoint_that_meets_a_full_disk_does_not_end_the_training(data, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    straight, net = (oatlib.build("oat", data) for _ in range(2))
    oatlib.train(straight, data, epochs=4, **GENTLE, **SMALL)
    full_disk(monkeypatch, 2, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = oatlib.train(net, data, epochs=4, checkpoint=path, **GENTLE, **SMALL)
    (warning,) = [str(w.message) for w in caught]  # once, not for every epoch
    start = f"the checkpoint of epoch 2 is missing: cannot write {path}: No space left on device (it needs "
    assert warning.startswith(start) and "B are free in" in warning and "Training continues" in warning
    assert history.status == "finished" and same(weights(straight), weights(net))
    assert oatlib.record.read_weights(path)[1]["checkpoint"]["epoch"] == 4  # the disk had space again
    assert os.listdir(tmp_path) == [path.name]


def test_a_training_resumes_from_the_last_checkpoint_that_could_be_written(data, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    straight, first, second = (oatlib.build("oat", data) for _ in range(3))
    oatlib.train(straight, data, epochs=3, **GENTLE, **SMALL)
    full_disk(monkeypatch, 2, 3)
    with pytest.warns(UserWarning, match="the checkpoint of epoch 2 is missing"):
        oatlib.train(first, data, epochs=3, checkpoint=path, **GENTLE, **SMALL)
    assert oatlib.record.read_weights(path)[1]["checkpoint"]["epoch"] == 1
    oatlib.train(second, data, epochs=3, checkpoint=path, resume=True, **GENTLE, **SMALL)
    assert same(weights(straight), weights(second))


def test_two_trainings_with_one_checkpoint(data, tmp_path):
    """The second one is refused before its first step, and the first one goes on."""
    path = tmp_path / "run.safetensors"
    small = {k: v for k, v in SMALL.items() if k != "progress"}
    first = oatlib.Training(oatlib.build("oat", data), data, epochs=2, checkpoint=path, **small)
    steps = iter(first)
    next(steps)
    net = oatlib.build("oat", data)
    before = weights(net)
    with pytest.raises(
        oatlib.RecordError, match=rf"another oatlib run \(process {os.getpid()}\) is writing .*run\.saf"
    ):
        oatlib.train(net, data, epochs=1, checkpoint=path, **SMALL)
    assert same(before, weights(net))
    for _ in steps:
        pass
    assert first.history.status == "finished" and os.listdir(tmp_path) == [path.name]
    oatlib.train(net, data, epochs=1, checkpoint=path, **SMALL)  # the first one is over


def test_a_run_that_is_dropped_lets_its_checkpoint_go(data, tmp_path):
    path = tmp_path / "run.safetensors"
    small = {k: v for k, v in SMALL.items() if k != "progress"}
    run = oatlib.Training(oatlib.build("oat", data), data, epochs=2, checkpoint=path, **small)
    for _ in run:
        break
    run.interrupt()
    oatlib.train(oatlib.build("oat", data), data, epochs=1, checkpoint=path, **SMALL)


def stopped_after(epochs, data, path, monkeypatch, clock):
    """A run of 4 epochs that is killed in epoch `epochs` + 1, on a clock that moves by 10 s per step."""
    monkeypatch.setattr(sys.modules["oatlib.training.loop"], "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    small = {k: v for k, v in SMALL.items() if k != "progress"}
    run = oatlib.Training(
        oatlib.build("oat", data), data, epochs=4, checkpoint=path, resume=path.exists(), **GENTLE, **small
    )
    for _ in run:
        clock[0] += 10
        if run.epoch == epochs and run.done == epochs * run.steps_per_epoch + 1:
            break
    return run


def test_a_resumed_training_reports_the_time_of_all_its_parts(data, tmp_path, monkeypatch):
    path, clock = tmp_path / "run.safetensors", [1000.0]
    stopped_after(1, data, path, monkeypatch, clock)
    clock[0] = 50.0  # another process, whose clock starts anywhere
    stopped_after(3, data, path, monkeypatch, clock)
    clock[0] = 7000.0
    run = stopped_after(9, data, path, monkeypatch, clock)
    # Four steps in an epoch of 10 s each; the row and the checkpoint come before the clock moves for the last one.
    # What a killed part did after its last checkpoint is done again, and not counted.
    assert [row["seconds"] for row in run.history.rows] == [30.0, 60.0, 100.0, 130.0]
    assert run.history.seconds == 140.0 and run.net.trained[-1]["seconds"] == 140.0


def test_the_checkpoint_of_an_earlier_version_has_its_time_in_the_rows(data, tmp_path, monkeypatch):
    path, clock = tmp_path / "run.safetensors", [0.0]
    stopped_after(1, data, path, monkeypatch, clock)
    tensors, header = oatlib.record.read_weights(path)
    assert header["checkpoint"].pop("seconds") == 30.0
    oatlib.record.write_weights(path, tensors, header)
    clock[0] = 500.0
    assert stopped_after(2, data, path, monkeypatch, clock).history.rows[1]["seconds"] == 60.0


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("epoch"),
        lambda state: state.pop("run"),
        lambda state: state.update(watch=3),
        lambda state: state.update(epoch="1"),
        lambda state: state.update(epoch=3),
        lambda state: state.update(rows=[]),
        lambda state: state["run"].update(network={"colour": 1}),
        lambda state: state["run"].update(network=None),
    ],
)
def test_a_checkpoint_with_a_strange_header_is_refused(data, tmp_path, change):
    path = tmp_path / "run.safetensors"
    oatlib.train(oatlib.build("oat", data), data, epochs=2, checkpoint=path, **SMALL)
    tensors, header = oatlib.record.read_weights(path)
    change(header["checkpoint"])
    oatlib.record.write_weights(path, tensors, header)
    with pytest.raises(oatlib.RecordError, match=r"run\.safetensors: its header describes no checkpoint"):
        oatlib.train(oatlib.build("oat", data), data, epochs=2, checkpoint=path, resume=True, **SMALL)


@pytest.mark.parametrize("part", ["net", "momentum", "good"])
@pytest.mark.parametrize("fault", ["NaN", "shape", "extra", "bit"])
def test_a_damaged_checkpoint_is_refused(data, tmp_path, part, fault):
    path = tmp_path / "run.safetensors"
    net = oatlib.build("oat", data)
    oatlib.train(net, data, epochs=1, checkpoint=path, **SMALL)
    name = f"{part}.body.stem.conv.weight"
    tensors, header = oatlib.record.read_weights(path)
    if fault == "bit":
        content, number = path.read_bytes(), tensors[name].numpy().tobytes()
        start = content.index(number)
        path.write_bytes(content[:start] + bytes([number[0] ^ 1]) + content[start + 1 :])
    else:
        change = {"NaN": tensors[name] * float("nan"), "shape": tensors[name][:-1], "extra": torch.zeros(1)}[fault]
        tensors[f"{part}.more" if fault == "extra" else name] = change
        oatlib.record.write_weights(path, tensors, header)
    before = weights(net)
    words = {"NaN": "holds NaN", "shape": "expected", "extra": "more is not part", "bit": "is damaged"}[fault]
    with pytest.raises(oatlib.RecordError, match=rf"run\.safetensors.* {words}"):
        oatlib.train(net, data, epochs=1, checkpoint=path, resume=True, **SMALL)
    assert same(before, weights(net))


def test_resume_without_momentum(data, tmp_path):
    path = tmp_path / "run.safetensors"
    net = oatlib.build("standard", data)
    oatlib.train(net, data, epochs=1, momentum=0.0, checkpoint=path, **SMALL)
    again = oatlib.build("standard", data, seed=3)
    oatlib.train(again, data, epochs=1, momentum=0.0, checkpoint=path, resume=True, **SMALL)
    assert same(weights(net), weights(again))  # nothing was left to do


def test_bf16_autocast_trains(data):
    net = oatlib.build("oat", data)
    history = oatlib.train(net, data, epochs=1, amp=True, **SMALL)
    assert history.status == "finished" and all(t.dtype != torch.bfloat16 for t in net.state_dict().values())


def test_the_curve_prints_as_a_table(data):
    text = repr(oatlib.train(oatlib.build("oat", data), data, epochs=3, **(SMALL | dict(watch=2))))
    assert text.splitlines()[0].split() == ["epoch", "loss", "clean", "robust"]
    assert text.splitlines()[1].split()[2:] == ["-", "-"] and "finished" in text.splitlines()[-1]


# --- step by step --------------------------------------------------------------------------------


def test_a_run_taken_step_by_step_gives_the_bits_of_train(data):
    small = {k: v for k, v in SMALL.items() if k != "progress"}
    whole, stepped = (oatlib.build("oat", data) for _ in range(2))
    history = oatlib.train(whole, data, epochs=2, progress=False, **small)
    run, seen = oatlib.Training(stepped, data, epochs=2, **small), []
    for _ in run:
        assert not any(part.training for part in stepped.modules())
        oatlib.evaluate(stepped, data.val.panel(8), lams=[1.0], progress=False)  # looking on changes nothing
        seen.append((run.done, len(run.history.rows)))
        assert run.loss.isfinite()
    assert seen == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2)]
    assert same(weights(whole), weights(stepped)) and run.history.status == history.status == "finished"
    assert stepped.trained[0]["epochs_done"] == 2


def test_a_run_that_is_given_up_can_be_closed(data):
    small = {k: v for k, v in SMALL.items() if k != "progress"}
    net = oatlib.build("oat", data)
    run = oatlib.Training(net, data, epochs=2, **small)
    next(iter(run))
    run.interrupt()
    assert run.history.status == net.trained[0]["status"] == "interrupted" and not net.training
    assert net.trained[0]["epochs_done"] == 0
