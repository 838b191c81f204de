"""Networks with a width dial: what a narrow one is, what it shares, how a step trains all of them."""

import copy
import math

import pytest
import torch
from torch import nn

import oatlib
from bench import plain
from oatlib.layers.head import Head
from oatlib.layers.setting import Width, cut
from oatlib.layers.unit import Unit
from oatlib.networks.backbones import BACKBONES
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops, sample_widths
from oatlib.training.step import train_step

pytestmark = pytest.mark.slow

STOPS = (0.0, 0.1, 1.0)
WIDTHS = (0.25, 0.5, 1.0)
NAMES = tuple("abcdefgh")
backbones = pytest.mark.parametrize("backbone", BACKBONES)


def spec(backbone="tiny", **options):
    row = {"dual": True, "film": True, "codes": "rand", "code_dim": 16, "widths": WIDTHS} | options
    return Spec(recipe="oats", backbone=backbone, shape=(3, 8, 8), classes=NAMES, stops=STOPS, **row)


def randomised(net):
    """No statistic, γ or β at its start, so that a part that is left out shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in net.named_buffers():
            if "running" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.6 + (0.3 if "var" in name else -0.3))
        for name, tensor in net.named_parameters():
            if "film" in name or ".pairs." in name:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return net


def images(n=8):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


LAMS = torch.tensor([0.1, 0.0, 1.0, 0.1, 0.0, 1.0, 1.0, 0.1], dtype=torch.float64)


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", n_train=128, n_val=32, n_test=32)


# ---- a narrow network ---------------------------------------------------------------------------------------------


def sliced_state(net, width):
    """The state of `net` at a width under the names of a plain network of that width, cut by hand."""
    c, state = {n: cut(n, width.fraction) for n in (3, 16, 32, 64)}, {}
    for name, t in net.body.state_dict().items():
        words = name.split(".")
        if "pairs" in words:
            i = words.index("pairs")
            if int(words[i + 1]) == width.index:
                state[".".join(words[:i] + words[i + 2 :])] = t
        elif name.endswith("conv.weight"):
            state[name] = t[: c[len(t)], : t.shape[1] if t.shape[1] == 3 else c[t.shape[1]]]
        elif "film.hidden" in name:
            state[name] = t[: 2 * c[len(t) // 2]]
        elif "film.out" in name:
            n = len(t) // 2
            rows = torch.cat([torch.arange(c[n]), n + torch.arange(c[n])])
            state[name] = t[rows] if t.dim() == 1 else t[rows][:, : 2 * c[n]]
        else:  # head.each.0.weight, head.each.0.bias
            state[name.replace("each.0.", "")] = t if t.dim() == 1 else t[:, : c[64]]
    return state


@pytest.mark.parametrize("index", range(len(WIDTHS)))
@pytest.mark.parametrize("training", [False, True])
def test_a_narrow_forward_is_a_plain_network_of_that_width(index, training):
    """Against an implementation that knows nothing of slimming, built narrow and given the sliced weights."""
    net, width = randomised(Network(spec())), Width(WIDTHS[index], index)
    narrow = plain.TinyOAT(16, 8, [cut(n, width.fraction) for n in (16, 32, 64)])
    narrow.load_state_dict(sliced_state(net, width))
    lams, x = LAMS.sort().values, images()
    stop = torch.tensor([STOPS.index(lam) for lam in lams.tolist()])
    net.train(training), narrow.train(training)
    ours, theirs = net(x, lams, width.fraction), narrow(x, net.codes[stop], int((lams == 0).sum()))
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def poisoned(net, width):
    """The same network with NaN in everything that a width must not touch."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, Unit):
                c = part.channels(width)
                if part.conv is not None:
                    kept = part.conv.sliced(width).shape
                    part.conv.weight[kept[0] :] = math.nan
                    part.conv.weight[:, kept[1] :] = math.nan
                for i, pair in enumerate(part.norm.pairs if part.norm is not None else ()):
                    if i != width.index:
                        for t in [*pair.parameters(), pair.clean.running_mean, pair.clean.running_var]:
                            t.fill_(math.nan)
                if part.film is not None:
                    full = part.film.channels
                    for t in part.film.parameters():
                        if len(t) == 2 * full and t is not part.film.hidden.weight and t is not part.film.hidden.bias:
                            t[c:full] = math.nan
                            t[full + c :] = math.nan
                    part.film.out.weight[:, 2 * c :] = math.nan
                    part.film.hidden.weight[2 * c :] = math.nan
            if isinstance(part, Head):
                for i, linear in enumerate(part.each):
                    if len(part.each) > 1 and i != width.index:
                        linear.weight.fill_(math.nan)
                    elif len(part.each) == 1:
                        linear.weight[:, part.features(width) :] = math.nan
    return net


FORMS = {
    "unfolded": lambda net, x, fraction: net(x, LAMS, fraction),
    "train mode": lambda net, x, fraction: copy.deepcopy(net).train()(x, LAMS, fraction),
    "at": lambda net, x, fraction: net.at(0.05, fraction)(x),
    "bind": lambda net, x, fraction: net.bind(LAMS, fraction)(x),
}


@backbones
@pytest.mark.parametrize("own_heads", [False, True])
def test_nothing_outside_the_slice_reaches_a_narrow_network(backbone, own_heads):
    net, x = randomised(Network(spec(backbone, own_heads=own_heads))), images()
    for index, fraction in enumerate(WIDTHS[:-1]):
        other = poisoned(net, Width(fraction, index))
        assert not torch.isfinite(other(x, LAMS)).all(), "nothing was poisoned"
        for name, form in FORMS.items():
            with torch.no_grad():
                expected = form(net, x, fraction)
                assert expected.isfinite().all()
                torch.testing.assert_close(form(other, x, fraction), expected, msg=f"{backbone} {name} {fraction}")


@backbones
@pytest.mark.parametrize("own_heads", [False, True])
def test_folded_narrow_networks_are_the_network(backbone, own_heads):
    net, x = randomised(Network(spec(backbone, own_heads=own_heads))).double(), images().double()
    with torch.no_grad():
        for fraction in WIDTHS:
            expected = net(x, LAMS, fraction)
            one_by_one = [net.at(lam, fraction)(x[i : i + 1]) for i, lam in enumerate(LAMS.tolist())]
            torch.testing.assert_close(net.bind(LAMS, fraction)(x), expected, rtol=1e-8, atol=1e-10)
            torch.testing.assert_close(torch.cat(one_by_one), expected, rtol=1e-8, atol=1e-10)


def test_a_narrow_plain_network_is_small():
    """It keeps no memory of the wide one: not its channels, and no view of its storage."""
    net = Network(spec("wrn-40-2"))
    for fraction in WIDTHS:
        for name, b in net.at(1.0, fraction).named_buffers():
            assert b.untyped_storage().nbytes() == b.numel() * 4, name


@backbones
def test_every_backbone_has_a_norm_pair_per_width(backbone):
    net = Network(spec(backbone))
    pairs = [len(part.norm.pairs) for part in net.modules() if isinstance(part, Unit) and part.norm is not None]
    assert pairs and set(pairs) == {len(WIDTHS)}


def test_training_a_width_moves_its_own_statistics_only():
    net = Network(spec()).train()
    before = copy.deepcopy(net.state_dict())
    net(images(), LAMS, 0.5)
    moved = {name for name, t in net.state_dict().items() if "running" in name and not torch.equal(t, before[name])}
    assert moved == {name for name in before if "running" in name and ".pairs.1." in name}


def test_mobilenetv2_has_the_published_parameters():
    torchvision = pytest.importorskip("torchvision")
    reference = torchvision.models.mobilenet_v2(num_classes=10)
    ours = Network(
        Spec(recipe="standard", backbone="mobilenetv2", shape=(3, 32, 32), classes=tuple("abcdefghij"), stops=(0.0,))
    )
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())
    shapes = sorted(tuple(m.weight.shape) for m in reference.modules() if isinstance(m, nn.Conv2d))
    assert sorted(tuple(m.weight.shape) for m in ours.modules() if isinstance(m, nn.Conv2d)) == shapes


def test_mobilenetv2_keeps_its_last_conv_and_yet_its_own_heads():
    net = Network(spec("mobilenetv2", own_heads=True))
    assert [linear.in_features for linear in net.body.head.each] == [1280] * 3
    net(images(), 0.0, 0.5).sum().backward()
    assert [linear.weight.grad is not None for linear in net.body.head.each] == [False, True, False]


# ---- asking for a width -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [
    lambda net, w: net.at(0.1, w), lambda net, w: net.bind(LAMS, w), lambda net, w: net(images(), LAMS, w),
    lambda net, w: oatlib.cost(net, width=w),
    lambda net, w: oatlib.evaluate(net, oatlib.load_data("shapes", n_test=8, size=8).test, widths=[0.5, w]),
])  # fmt: skip
@pytest.mark.parametrize("width", [0.3, 2.0, math.nan])
def test_another_width_is_refused_with_the_valid_ones(ask, width):
    with pytest.raises(ValueError, match=r"its widths are 0\.25, 0\.5, 1"):
        ask(Network(spec()), width)


def test_a_width_is_found_despite_rounding():
    net = Network(spec(widths=tuple(i / 10 for i in range(1, 11))))
    assert net.width(0.1 + 0.2) == Width(0.3, 2)
    assert net.width() == Width(1.0, 9)


@pytest.mark.parametrize(("recipe", "options", "words"), [
    ("oats", {"widths": (0.5, 0.25, 1)}, "ascending"),
    ("oats", {"widths": (0.25, 0.5)}, "the last 1"),
    ("oats", {"widths": (0, 1)}, "ascending fractions"),
    ("oats", {"widths": 0}, "got none"),
    ("oats", {"widths": "wide"}, "list such as"),
    ("oats", {"width_loss": "max"}, "mean, sum"),
    ("oats", {"width_sampling": "one"}, "all, sandwich"),
    ("oats", {"width_sampling": "sandwich"}, "stops=\\(0,\\)"),
    ("us-snn", {"own_heads": True}, "own_heads=False"),
    ("us-snn", {"widths": 1}, "at least two widths"),
    ("oats", {"norm_sharing": "some"}, "none, affine, all"),
])  # fmt: skip
def test_widths_that_make_no_sense_are_refused(data, recipe, options, words):
    with pytest.raises(ValueError, match=words):
        oatlib.build(recipe, data, **options)


def test_k_widths(data):
    assert oatlib.build("solar", data, widths=8).spec.widths == tuple(i / 8 for i in range(1, 9))


# ---- training -----------------------------------------------------------------------------------------------------


def batch(net, data, n=48):
    stop, _ = sample_stops(net.spec.stops, n, torch.Generator().manual_seed(3))
    images = LambdaBatch(data.train.x[:n], data.train.y[:n], stop, net.spec.stops)
    return images, oatlib.PGD(8 / 255, 2, best=False), torch.Generator().manual_seed(4)


def gradients(net):
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("loss", "share"), [("mean", 1 / 3), ("sum", 1.0)])
def test_an_oats_step_is_three_steps_of_one_width_accumulated(data, loss, share):
    net = oatlib.build("oats", data, width_loss=loss)
    widths = sample_widths(net.spec, torch.Generator())
    assert [w.fraction for w in widths] == [1.0, 0.75, 0.5]  # the largest first
    twin, generator = copy.deepcopy(net), torch.Generator().manual_seed(4)
    total = train_step(net, *batch(net, data), widths)
    expected, accumulated = 0.0, {}
    for width in widths:
        twin.zero_grad()
        expected += share * train_step(twin, *batch(twin, data)[:-1], generator, [width])
        for name, grad in gradients(twin).items():
            factor = share if loss == "mean" else 1.0
            accumulated[name] = accumulated.get(name, 0) + factor * grad
    assert not total.requires_grad
    torch.testing.assert_close(total, torch.as_tensor(expected) if loss == "mean" else expected, rtol=1e-5, atol=1e-6)
    found = gradients(net)
    assert found.keys() == accumulated.keys() == dict(net.named_parameters()).keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad, accumulated[name], rtol=1e-3, atol=1e-6, msg=name)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()))


def test_each_width_is_attacked_by_itself(data):
    net, seen = oatlib.build("oats", data), []

    def attack(f, x, y, generator):
        seen.append(f(x))
        return x

    images, _, generator = batch(net, data)
    x, lam = images.images[images.attacked], images.lam[images.attacked]
    expected = [net.bind(lam, w)(x) for w in (1.0, 0.75, 0.5)]
    train_step(net, images, attack, generator, sample_widths(net.spec, generator))
    for ours, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_sandwich_holds_both_ends_and_two_widths_in_between(data):
    spec = oatlib.build("us-snn", data).spec
    drawn = [sample_widths(spec, torch.Generator().manual_seed(i)) for i in range(50)]
    assert all((d[0], d[-1], len(d)) == (Width(1.0, 3), Width(0.25, 0), 4) for d in drawn)
    between = torch.tensor([w.fraction for d in drawn for w in d[1:-1]])
    assert all(w.index is None for d in drawn for w in d[1:-1])
    assert between.min() >= 0.25 and between.max() < 1 and between.unique().numel() == 100
    assert 0.5 < between.mean() < 0.75


def test_narrow_widths_learn_from_the_full_one_which_does_not_learn_from_them(data):
    """In-place distillation: the narrow loss is the cross-entropy to the full width's answers, as constants."""
    net = oatlib.build("us-snn", data, widths=(0.5, 1.0))
    x, y = data.train.x[:32], data.train.y[:32]
    twin = copy.deepcopy(net).train()
    full, narrow = twin(x, 0.0, 1.0), twin(x, 0.0, 0.5)
    loss = nn.functional.cross_entropy(full, y)
    loss = loss - (full.detach().softmax(1) * narrow.log_softmax(1)).sum(1).mean()
    loss.backward()
    widths = [net.width(1.0), net.width(0.5)]
    found = train_step(net, LambdaBatch(x, y, torch.zeros(32).long(), net.spec.stops), None, None, widths)
    torch.testing.assert_close(found, loss.detach(), rtol=1e-5, atol=1e-6)
    ours, theirs = gradients(net), gradients(twin)
    for name, grad in theirs.items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("recipe", ["oats", "snn", "us-snn", "solar", "solar-snn"])
def test_every_slimmable_recipe_trains_saves_and_is_measured(data, recipe, tmp_path):
    net = oatlib.build(recipe, data)
    history = oatlib.train(net, data, epochs=1, progress=False, steps=1)
    assert history.status == "finished"
    oatlib.save(net, tmp_path / "net.safetensors")
    again = oatlib.load(tmp_path / "net.safetensors")
    attack = oatlib.PGD(8 / 255, 1)
    table = oatlib.evaluate(again, data.test, attack, lams=[0.0], progress=False)
    assert [(r.width, r.lam) for r in table] == [(w, 0.0) for w in net.spec.widths]
    macs = [r.macs for r in table]
    assert macs == sorted(macs) and macs[0] < 0.5 * macs[-1]
    for w in net.spec.widths:
        assert torch.equal(net.at(0.0, w)(data.test.x), again.at(0.0, w)(data.test.x))


def test_resumed_sandwich_training_gives_the_same_bits(data, tmp_path):
    def trained(stop_after, **options):
        net = oatlib.build("us-snn", data)
        for epochs in stop_after:
            preset = oatlib.Preset(epochs=2, batch=32)
            if epochs == 1:  # as if it had been cut off after the first epoch
                original = oatlib.Training._train_epoch

                def cut_off(self, epoch, original=original):
                    if epoch == 1:
                        raise KeyboardInterrupt
                    return original(self, epoch)

                oatlib.Training._train_epoch = cut_off
                try:
                    with pytest.warns(UserWarning, match="interrupted"):
                        oatlib.train(net, data, preset, progress=False, checkpoint=tmp_path / "c.safetensors")
                finally:
                    oatlib.Training._train_epoch = original
                net = oatlib.build("us-snn", data)
            else:
                oatlib.train(net, data, preset, progress=False, **options)
        return net.state_dict()

    resumed = trained([1, 2], checkpoint=tmp_path / "c.safetensors", resume=True)
    for name, tensor in trained([2]).items():
        assert torch.equal(resumed[name], tensor), name
