"""Networks whose weights depend on the dial: blend, float, floats, smart. All their forms are one network."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F

import oatlib
from oatlib.layers.setting import ADV, CLEAN
from oatlib.layers.unit import Unit
from oatlib.networks.network import masked_units
from oatlib.training.labels import Labels
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.losses import TRAINING_LOSSES
from oatlib.training.recipes import sample_stops
from oatlib.training.step import train_step

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", seed=0, n_train=128, n_val=64, n_test=64)
ROWS = {
    "blend": {},
    "float": {},
    "float-slim": {},
    "floats": {"density": 0.4},
    "floats-channels": {"mask_of": "channels", "density": 0.5},
    "floats-dense-noise": {"noise_on": "all"},
    "floats-channels-dense-noise": {"noise_on": "all", "mask_of": "channels", "density": 0.5},
    "blend-slim": {"widths": (0.5, 1.0)},
    "smart-slim": {"widths": 2},
    "smart": {},
    "smart-overlapping": {"masks": "overlapping", "mask_in": "all"},
    "smart-noisy": {"noise": True},
}
rows = pytest.mark.parametrize("row", ROWS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(row, **options):
    """A network in which every number is random, so that nothing is equal by being at its start."""
    net = oatlib.build(row.split("-")[0] if row != "float-slim" else row, DATA, **ROWS[row] | options)
    source = generator(3)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=source) + 0.5)
            elif name.endswith(("running_mean", "bias")):
                tensor.copy_(torch.randn(tensor.shape, generator=source) * 0.2)
            elif "pairs" in name and name.endswith("weight"):
                tensor.copy_(torch.rand(tensor.shape, generator=source) + 0.5)
    return net


def images(n=6):
    return DATA.test.x[:n]


def close(a, b):
    assert a.std() > 0.01
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# ---- one network, many forms --------------------------------------------------------------------------------------


@torch.no_grad()
@rows
@pytest.mark.parametrize("backbone", ["tiny", "wrn-16-8"])
def test_the_frozen_draw_is_the_unfolded_network_with_the_same_seed(row, backbone):
    net = build(row, backbone=backbone)
    for lam in (0.0, 1.0):
        for width in net.spec.widths:
            close(net.at(lam, width, noise_seed=5)(images()), net(images(), lam, width, noise=generator(5)))


@torch.no_grad()
@rows
def test_no_images_give_no_logits(row):
    net = build(row)
    assert net(images(0), 1.0, noise=generator()).shape == net.at(1.0)(images(0)).shape == (0, 8)


@torch.no_grad()
@rows
def test_binding_each_image_is_folding_each_image(row):
    net = build(row)
    lams = torch.tensor([0.0, 0.3, 1.0, 0.5, 0.0, 1.0])
    alone = torch.cat([net.at(lam, noise_seed=0)(x[None]) for lam, x in zip(lams.tolist(), images(), strict=True)])
    close(net.bind(lams)(images()), alone)


@torch.no_grad()
@rows
def test_between_the_ends_the_folded_numbers_are_interpolated(row):
    net = build(row)
    low, high, between = (dict(net.at(lam).named_buffers()) for lam in (0.0, 1.0, 0.3))
    for name, value in between.items():
        if value.is_floating_point() and low[name].shape == value.shape:  # without noise channels may be fewer
            torch.testing.assert_close(value, torch.lerp(low[name], high[name], 0.3), rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("row", [row for row in ROWS if "float" in row or row == "smart-noisy"])
def test_noise_is_new_at_every_forward_or_frozen(row):
    net = build(row)
    assert net.position(1.0).noisy and net.position(0.5).noisy and not net.position(0.0).noisy
    fresh, x = net.noisy(1.0, generator=generator(1)), images()
    first, second = fresh(x), fresh(x)
    assert not torch.equal(first, second)
    again = net.noisy(1.0, generator=generator(1))
    assert torch.equal(first, again(x)) and torch.equal(second, again(x))
    assert torch.equal(net.at(1.0, noise_seed=2)(x), net.at(1.0, noise_seed=2)(x))
    assert not torch.equal(net.at(1.0, noise_seed=2)(x), net.at(1.0, noise_seed=3)(x))
    quiet = net.noisy(0.0, generator=generator(1))
    assert torch.equal(quiet(x), quiet(x)), "at λ = 0 there is none"
    with pytest.raises(ValueError, match="noise=torch.Generator"):
        net(x, 1.0)
    assert net(x, 0.0).shape == (6, 8)


@torch.no_grad()
@rows
def test_weights_masks_and_alpha_survive_a_round_trip(row, tmp_path):
    net = build(row)
    oatlib.save(net, tmp_path / "net.safetensors")
    again = oatlib.load(tmp_path / "net.safetensors")
    assert again.spec == net.spec
    for lam in (0.0, 0.4, 1.0):
        assert torch.equal(net.at(lam)(images()), again.at(lam)(images()))


def test_masks_come_from_the_seed():
    one, two, other = (oatlib.build("floats", DATA, seed=seed) for seed in (0, 0, 1))
    masks = [[unit.masks.clean for unit in masked_units(net)] for net in (one, two, other)]
    assert all(torch.equal(a, b) for a, b in zip(masks[0], masks[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(masks[0], masks[2], strict=True))


# ---- which weights an expert uses ---------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_an_expert_ignores_the_weights_of_the_other(lam):
    net = build("smart")
    before, touched = net.at(lam)(images()), 0
    for unit in masked_units(net):
        other = unit.masks.mask_for(ADV if lam == 0 else CLEAN)
        unit.conv.weight[other] += 100
        touched += other.sum().item()
    assert touched > 1000
    assert torch.equal(net.at(lam)(images()), before) and torch.equal(net(images(), lam), net(images(), lam))
    close(net(images(), lam), before)
    assert not torch.allclose(net.at(1 - lam)(images()), build("smart").at(1 - lam)(images()))


def test_experts_live_in_the_last_two_stages_or_everywhere():
    def masked(net):
        return {n for n, p in net.named_modules() if isinstance(p, Unit) and p.masks is not None}

    late, everywhere = masked(build("smart")), masked(build("smart", mask_in="all"))
    assert late == {n for n in everywhere if n.startswith(("body.blocks.1", "body.blocks.2"))} and len(late) == 6
    assert len(everywhere) == 9


@torch.no_grad()
def test_masking_channels_leaves_a_smaller_network():
    full, net = build("floats", density=1.0), build("floats-channels")
    small, plain = oatlib.cost(net, 1.0), oatlib.cost(full, 1.0)
    assert small.plain < 0.6 * plain.plain and small.macs < 0.6 * plain.macs
    widths = {part.weight.shape[1] for part in net.at(1.0).modules() if getattr(part, "channels", None) is not None}
    assert widths == {8, 16, 32}


# ---- what a step does ---------------------------------------------------------------------------------------------


def batch(n=10):
    stop, _ = sample_stops((0.0, 1.0), n, generator())
    return LambdaBatch(DATA.train.x[:n], DATA.train.y[:n], stop, (0.0, 1.0))


def no_attack():
    return oatlib.PGD(0.0, 0, start="none", best=False)


def test_half_of_a_batch_is_clean_and_half_attacked():
    half = batch()
    assert half.lambda_stop.tolist() == [0] * 5 + [1] * 5 and half.n_clean == 5


@pytest.mark.parametrize("row", ["blend", "float", "floats", "smart"])
def test_the_strict_loss_is_the_mean_of_both_halves(row):
    """Against two separate forwards in train mode; the noise of the second one is that of the same seed."""
    net = build(row)
    images = batch()
    x, y = images.images, images.labels
    twin = copy.deepcopy(net).train()
    clean = F.cross_entropy(twin(x[:5], 0.0), y[:5])
    attacked = F.cross_entropy(twin(x[5:], 1.0, noise=generator(4)), y[5:])
    ((clean + attacked) / 2).backward()
    loss = train_step(net, images, no_attack(), generator(4))
    assert loss.item() == pytest.approx((clean + attacked).item() / 2, rel=1e-5)
    for (name, p), q in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6, msg=name)
    for name, tensor in net.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(tensor, twin.state_dict()[name], msg=name)


def test_the_loss_as_coded_weighs_the_attacked_half_with_a_quarter():
    """All ten images clean, the last five through the adversarial BatchNorm, but without noise."""
    net = build("float", loss="as-coded")
    images = batch()
    x, y = images.images, images.labels
    twin = copy.deepcopy(net).train()
    silent = copy.deepcopy(twin)
    for name, p in silent.named_parameters():
        if name.endswith("alpha"):
            p.data.zero_()
    clean = F.cross_entropy(twin(x[:5], 0.0), y[:5], reduction="sum")
    between = F.cross_entropy(silent(x[5:], 1.0, noise=generator()), y[5:], reduction="sum")
    attacked = F.cross_entropy(twin(x[5:], 1.0, noise=generator(4)), y[5:], reduction="mean")
    expected = 0.5 * (clean + between) / 10 + 0.25 * attacked
    loss = train_step(net, images, no_attack(), generator(4))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_both_halves_move_their_own_statistics_only():
    for only, which in ((0, "clean"), (1, "adv")):
        net = oatlib.build("float", DATA)
        both = batch()
        one = LambdaBatch(both.images, both.labels, torch.full((10,), only), (0.0, 1.0))
        before = {name: t.clone() for name, t in net.state_dict().items()}
        train_step(net, one, no_attack(), generator())
        moved = {n for n, t in net.state_dict().items() if "running" in n and not torch.equal(t, before[n])}
        assert moved == {n for n in before if "running" in n and f".{which}." in n}


def test_losses_do_what_they_say_on_numbers():
    logits = torch.randn(6, 3, generator=generator())
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    labels = Labels(y, torch.tensor([0, 0, 0, 1.0, 1, 1]), 3)
    each = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(TRAINING_LOSSES["halves"].function(logits[:3], logits[3:], labels), each.mean())
    as_coded = TRAINING_LOSSES["as-coded"].function(logits, logits[3:], labels)
    torch.testing.assert_close(as_coded, each.mean() / 2 + each[3:].mean() / 4)


@pytest.mark.parametrize("row", ["float", "smart"])
def test_the_attack_of_training_meets_what_it_is_trained_against(row, monkeypatch):
    """The attacked half goes through the adversarial branch and weights, and noise is drawn anew at every step."""
    net, seen = build(row), []
    f = type(net).bind_stops

    def spy(self, setting, noise=None):
        seen.append((setting.branch.tolist(), setting.path.tolist(), noise))
        return f(self, setting, noise)

    monkeypatch.setattr(type(net), "bind_stops", spy)
    images = batch()
    source = generator()
    train_step(net, images, oatlib.PGD(8 / 255, 2, best=False), source)
    assert seen == [([ADV] * 5, [ADV] * 5, source)]


@pytest.mark.parametrize(("redraw", "same"), [("forward", False), ("step", True)])
def test_the_update_draws_new_noise_or_what_the_attack_has_met(redraw, same, monkeypatch):
    net, met, drawn = build("float-slim", redraw=redraw), [], []
    original = type(net).bind_stops

    def bind(self, setting, noise=None):
        folded = original(self, setting, noise)
        met.append(folded.stem.weight.clone())
        return folded

    monkeypatch.setattr(type(net), "bind_stops", bind)
    stem, conv = net.body.stem, net.body.stem.conv.forward
    monkeypatch.setattr(stem.conv, "forward", lambda x, weight: drawn.append(weight.detach()) or conv(x, weight))
    images = batch()
    for width in (net.width(0.5), net.width(1.0)):
        train_step(net, images, oatlib.PGD(8 / 255, 1, best=False), generator(8), [width])
        noisy, clean = drawn[-1], drawn[-2]
        assert not torch.equal(noisy, clean)
        assert torch.allclose(met[-1], noisy, rtol=1e-4, atol=1e-6) == same


# ---- the published rules of FLOAT's dial ---------------------------------------------------------------------------


def with_alpha(net, factor, clean_norm=False, **spec):
    """The network with α scaled, read at λ = 1; with `clean_norm` its adversarial BatchNorms are the clean ones."""
    twin = copy.deepcopy(net)
    twin.spec = dataclasses.replace(net.spec, dial="interpolate", **spec)
    with torch.no_grad():
        for name, tensor in twin.state_dict().items():
            if name.endswith("alpha"):
                tensor.mul_(factor)
            elif clean_norm and ".adv." in name:
                tensor.copy_(twin.state_dict()[name.replace(".adv.", ".clean.")])
    return twin.at(1.0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("rule", "lam", "level", "clean_norm"),
    [("rule-a", 0.3, 0.3, False), ("rule-a", 1.0, 1.0, False), ("rule-b", 0.2, 0.4, True), ("rule-b", 0.75, 0.5, False),
     ("rule-b", 0.5, 0.0, False), ("rule-b", 1.0, 1.0, False)],
)  # fmt: skip
def test_rules_a_and_b(rule, lam, level, clean_norm):
    net = build("float", dial=rule)
    close(net.at(lam)(images()), with_alpha(net, level, clean_norm)(images()))
    assert net.position(lam).noisy == (level > 0)


@torch.no_grad()
@pytest.mark.parametrize("rule", ["rule-a", "rule-b", "interpolate", "outputs"])
def test_all_rules_agree_at_the_ends(rule):
    for lam in (0.0, 1.0):
        assert torch.equal(build("float", dial=rule).at(lam)(images()), build("float").at(lam)(images()))


# ---- words for what cannot be -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("floats", {"density": 0}, "density.*(0, 1].*got 0"),
        ("floats", {"density": 1.5}, "density.*1.5"),
        ("blend", {"density": 0.5}, "density 0.5 needs masks"),
        ("smart", {"density": 1.0}, "leave nothing to the robust expert"),
        ("float", {"stops": (0, 0.5, 1)}, "stops must be \\(0, 1\\)"),
        ("blend", {"dial": "rule-a"}, "needs noise=True"),
        ("blend", {"stops": (0, 0.3, 1)}, "'halves' is defined for λ = 0 and λ = 1 only: stops must be \\(0, 1\\)"),
        ("oat", {"loss": "as-coded"}, "'as-coded' is defined for λ = 0 and λ = 1 only"),
        ("float", {"noise": 1}, "noise must be true or false, got 1"),
        ("oat", {"beta": float("inf")}, "beta must be a number, got inf"),
        ("blend", {"stops": "01"}, "stops must be a list"),
        ("floats", {"masks": "random"}, "unknown masks 'random'.*shared"),
        ("floats", {"mask_of": "channels", "widths": 2}, "exclude each other"),
        ("float", {"dial": "rule-c"}, "unknown dial 'rule-c'.*did you mean"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(recipe, options, words):
    with pytest.raises(ValueError, match=words.replace("(0, 1].", r"\(0, 1\].")):
        oatlib.build(recipe, DATA, **options)


def test_a_noisy_rule_has_one_noise_for_all_images():
    net = build("float", dial="rule-a")
    with pytest.raises(ValueError, match="needs one λ between the stops"):
        net.bind(torch.tensor([0.3, 0.4]))
    assert net.bind(torch.tensor([0.0, 1.0]))(images(2)).shape == (2, 8)
    same = net.bind(torch.full((4,), 0.3))
    with torch.no_grad():
        close(same(images(4)), net.at(0.3)(images(4)))
    with pytest.raises(ValueError, match="4 values of λ"):
        same(images(3))


@torch.no_grad()
def test_a_noisy_network_keeps_its_numbers():
    net = build("float", backbone="wrn-16-8")
    fresh = net.noisy(0.5, generator=generator(1))
    before = fresh(images())
    for p in net.parameters():
        p.add_(1)
    assert torch.equal(net.noisy(0.0, generator=generator())(images()), net.at(0.0)(images()))
    fresh_again, twin = fresh, generator(1)
    for part in fresh_again.modules():
        if getattr(part, "generator", None) is not None:
            part.generator = twin
    assert torch.equal(fresh_again(images()), before)


@pytest.mark.parametrize("density", [0.0001, 0.02])
def test_layers_too_small_for_their_density_keep_one_weight(density):
    net = oatlib.build("floats", DATA, density=density)
    oatlib.train(net, DATA, epochs=2, watch=9, progress=False)
    assert min(unit.masks.clean.sum().item() for unit in masked_units(net)) >= 1
    assert net.at(1.0)(images()).isfinite().all()
