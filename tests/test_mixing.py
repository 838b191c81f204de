"""Mixed outputs: the dial rule `outputs` of one network, and `oatlib.mix` of two. One module does both."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib import record
from oatlib.attacks.suite import suited
from oatlib.attacks.transfer import ThroughEnds
from oatlib.explorer.measure import measure
from oatlib.explorer.shipped import FOLDER
from oatlib.layers.mixture import OutputMixture, log_mixture
from oatlib.networks.lambdas import RULES

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", seed=0, n_train=64, n_val=32, n_test=24)
EPS = 8 / 255
ROWS = {  # name -> recipe, options
    "oat": ("oat", {}),
    "oats": ("oats", {"widths": (0.5, 1.0)}),
    "solar": ("solar", {"widths": 2}),
    "blend": ("blend", {}),
    "floats": ("floats", {"density": 0.4}),
    "smart": ("smart", {}),
    "channels": ("floats", {"mask_of": "channels", "density": 0.5}),
    "late": ("oat", {"stops": (0.2, 0.5, 0.8)}),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randomised(net, seed=3):
    """The network with random numbers in it, so that its ends differ."""
    source = generator(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=source) + 0.5)
            elif ".film." in name:
                tensor.copy_(torch.randn(tensor.shape, generator=source) * 0.1)
            elif name.endswith(("running_mean", "bias")):
                tensor.copy_(torch.randn(tensor.shape, generator=source) * 0.3)
    return net


def build(row, dial="outputs", **options):
    recipe, more = ROWS[row]
    return randomised(oatlib.build(recipe, DATA, dial=dial, **more | options))


def images(n=6):
    return DATA.test.x[:n]


def probabilities(logits):
    """softmax in numpy and double precision."""
    z = logits.detach().numpy().astype(np.float64)
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def assert_mixed(found, first, last, a):
    """`found` are log-probabilities of the mixture of two networks' answers, with weight a (N or 1,) on the last."""
    a = np.broadcast_to(np.asarray(a, np.float64).reshape(-1), len(found))[:, None]
    expected = (1 - a) * probabilities(first) + a * probabilities(last)
    assert np.abs(probabilities(first) - probabilities(last)).max() > 1e-3  # or nothing is shown
    np.testing.assert_allclose(np.exp(found.detach().numpy().astype(np.float64)), expected, rtol=1e-4, atol=1e-7)


# ---- the rule `outputs` of one network ----------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
@torch.no_grad()
def test_all_forms_mix_the_two_ends(row):
    net, plain = build(row), build(row, dial="interpolate")
    low, high = net.spec.stops[0], net.spec.stops[-1]
    x = images()
    for width in net.spec.widths:
        first, last = plain.at(low, width)(x), plain.at(high, width)(x)
        for a in (0.1, 0.55, 0.9):
            lam = low + a * (high - low)
            assert_mixed(net.at(lam, width)(x), first, last, a)
            if not net.spec.noise:  # the unfolded form draws its noise elsewhere
                assert_mixed(net(x, lam, width), first, last, a)
        lams = torch.linspace(low, high, len(x))
        assert_mixed(net.bind(lams, width)(x), first, last, (lams - low) / (high - low))
        assert torch.equal(net.at(low, width)(x), first) and torch.equal(net.at(high, width)(x), last)


def interpolated(net, lam):
    return net.with_dial("interpolate").at(lam)


def swapped(net, lam):
    return net.at(1 - lam)


def logits_mixed(net, lam):
    return lambda x: ((1 - lam) * net.at(0.0)(x) + lam * net.at(1.0)(x)).log_softmax(1)


@pytest.mark.parametrize("fault", [interpolated, swapped, logits_mixed])
@torch.no_grad()
def test_other_mixtures_are_caught(fault):
    net, x = build("blend"), images()
    with pytest.raises(AssertionError):
        assert_mixed(fault(net, 0.7)(x).log_softmax(1), net.at(0.0)(x), net.at(1.0)(x), 0.7)


def test_a_mixture_costs_two_passes_and_an_end_one():
    for row in ("oats", "blend", "smart"):
        net, plain = build(row), build(row, dial="interpolate")
        for width in net.spec.widths:
            ends = [oatlib.cost(plain, lam, width) for lam in (0.0, 1.0)]
            middle = oatlib.cost(net, 0.5, width)
            assert middle.macs == ends[0].macs + ends[1].macs
            assert middle.plain == ends[0].plain + ends[1].plain + 2  # and the two weights of the mixture
            assert [oatlib.cost(net, lam, width) for lam in (0.0, 1.0)] == ends
            assert middle.stored == ends[0].stored and middle.active == oatlib.cost(plain, 0.5, width).active


def test_with_dial_shares_all_weights_and_leaves_the_network_alone():
    net = build("oats", dial="interpolate")
    net.slider = (0.0, 0.3, 1.0)
    before, facts = net.at(0.7)(images()), dict(vars(net))
    mixed = net.with_dial("outputs")
    assert vars(net) == facts and net.spec.dial == "interpolate" and torch.equal(net.at(0.7)(images()), before)
    assert mixed.spec == dataclasses.replace(net.spec, dial="outputs") and mixed.slider == (0.0, 1.0)
    ours, theirs = net.state_dict(), mixed.state_dict()
    assert ours.keys() == theirs.keys() and all(ours[k].data_ptr() == theirs[k].data_ptr() for k in ours)
    assert torch.equal(mixed.with_dial("interpolate").at(0.7)(images()), before)
    assert not torch.allclose(mixed.at(0.7)(images()).softmax(1), before.softmax(1), atol=1e-4)


def test_the_rule_changes_nothing_in_training():
    first, second = (oatlib.build("blend", DATA, dial=dial) for dial in ("interpolate", "outputs"))
    for net in (first, second):
        oatlib.train(net, DATA, epochs=1, batch=16, steps=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_it_is_saved_and_read_back(tmp_path):
    net, path = build("blend"), tmp_path / "net.safetensors"
    oatlib.save(net, path)
    back = oatlib.load(path)
    assert back.spec.dial == "outputs" and torch.equal(back.at(0.4)(images()), net.at(0.4)(images()))


def test_files_that_say_blend_mean_interpolate(tmp_path):
    net, path = build("blend", dial="interpolate"), tmp_path / "net.safetensors"
    header = json.loads(json.dumps(net.header()))
    header["spec"]["dial"] = "blend"
    record.write_weights(path, net.state_dict(), header)
    assert oatlib.load(path).spec == net.spec
    for network in sorted(FOLDER.glob("*.safetensors")):
        assert oatlib.load(network).spec.dial in RULES


@torch.no_grad()
def test_noisy_ends_stay_noisy():
    net, x = randomised(oatlib.build("float", DATA, dial="outputs")), images()
    plain = net.with_dial("interpolate")
    assert not net.position(0.0).noisy and net.position(0.5).noisy and net.position(1.0).noisy
    fresh = net.noisy(0.6, generator=generator(5))
    reference, clean = plain.noisy(1.0, generator=generator(5)), plain.at(0.0)(x)
    answers = []
    for _ in range(2):
        answers.append(fresh(x))
        assert_mixed(answers[-1], clean, reference(x), 0.6)
    assert not torch.equal(*answers)
    assert_mixed(net.at(0.6, noise_seed=4)(x), clean, plain.at(1.0, noise_seed=4)(x), 0.6)
    attack = oatlib.PGD(EPS, 1, eot_samples=2)
    table = oatlib.evaluate(net, DATA.test, attack, [0.0, 0.5], noise_samples=2, progress=False)
    assert [r.noise_samples for r in table] == [1, 2] and table[0].about["dial"] == "outputs"


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: oatlib.build("standard", DATA, dial="outputs"), "at least two λ stops"),
        (lambda: oatlib.build("pgd-at", DATA).with_dial("outputs"), "at least two λ stops"),
        (lambda: oatlib.build("blend", DATA, dial="blend"), "unknown dial 'blend': use one of interpolate, outputs"),
        (lambda: oatlib.build("blend", DATA).with_dial("output"), "did you mean 'outputs'"),
        (lambda: oatlib.build("oat", DATA).with_dial("rule-a"), "needs noise=True"),
        (lambda: build("oat")(images(3), torch.tensor([0.1, 0.2])), "2 values of λ for 3 images"),
        (lambda: build("oat").bind(torch.tensor([0.1, 0.2]))(images(3)), "bound to 2 values of λ"),
        (lambda: build("late").at(0.1), "outside this network's dial"),
    ],
)
def test_what_cannot_be_mixed_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- its gradient -----------------------------------------------------------------------------------------


def reference_gradient(ends, weights, y):
    """d log p_y / d z of each end, written out: r_m (e_y - softmax z_m), r_m the share of end m in p_y."""
    shares = [w * probabilities(z)[np.arange(len(y)), y] for w, z in zip(weights, ends, strict=True)]
    total = sum(shares)
    hot = np.eye(ends[0].shape[1])[y]
    return [(share / total)[:, None] * (hot - probabilities(z)) for share, z in zip(shares, ends, strict=True)]


def gradient(mixture, ends, weights, y):
    leaves = [z.clone().requires_grad_() for z in ends]
    out = mixture(leaves, torch.tensor([weights]))
    return torch.autograd.grad(out[torch.arange(len(y)), torch.as_tensor(y)].sum(), leaves)


def assert_gradient(mixture, scale, seed=0):
    ends = [scale * torch.randn(8, 5, generator=generator(seed + i)) for i in range(2)]
    y = np.arange(8) % 5
    expected = reference_gradient(ends, (0.3, 0.7), y)
    for got, want in zip(gradient(mixture, ends, (0.3, 0.7), y), expected, strict=True):
        assert got.isfinite().all()
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-38)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 40.0])
def test_the_gradient_is_right_also_where_both_softmaxes_are_saturated(scale):
    assert_gradient(log_mixture, scale)


def naive(ends, weights):
    return sum(w * z.softmax(1) for w, z in zip(weights[0], ends, strict=True)).log()


def single_precision(ends, weights):
    return torch.logsumexp(torch.stack([z.log_softmax(1) + w.log() for z, w in zip(ends, weights[0], strict=True)]), 0)


@pytest.mark.parametrize("fault", [naive, single_precision])
def test_gradients_that_saturate_too_early_are_caught(fault):
    assert_gradient(fault, 0.1)
    with pytest.raises(AssertionError):
        assert_gradient(fault, 40.0)


@given(st.integers(0, 99), st.floats(0.0, 1.0), st.floats(0.01, 100.0))
def test_a_mixture_is_a_distribution_between_its_ends(seed, a, scale):
    ends = [scale * torch.randn(3, 4, generator=generator(seed + i)) for i in range(2)]
    found = log_mixture(ends, torch.tensor([[1 - a, a]]))
    assert found.exp().sum(1) == pytest.approx(torch.ones(3).numpy(), abs=1e-5)
    low, high = (f(*(z.log_softmax(1) for z in ends)) for f in (torch.minimum, torch.maximum))
    assert bool(((found >= low - 1e-4 * (1 + low.abs())) & (found <= high + 1e-4)).all())


class Sharp(torch.nn.Module):
    """A network with its logits multiplied: saturated softmaxes."""

    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor
        self.eval()

    def forward(self, x):
        return self.factor * self.net(x)


# Known weakness: where both softmaxes are saturated and the standard end decides, transfer from that end finds more.
@pytest.mark.parametrize("a", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_the_suite_fools_more_than_attacks_on_the_ends(a, factor):
    """The ends are sharpened: their probabilities saturate, and with them the gradient through the mixture."""
    net = oatlib.load(FOLDER / "blend.safetensors")
    panel = oatlib.load_data("shapes", seed=0, n_train=8, n_val=48, n_test=8).val
    ends = [Sharp(net.at(lam), factor) for lam in (0.0, 1.0)]
    mixed = OutputMixture(ends, torch.tensor([[1 - a, a]]))
    direct = oatlib.evaluate(mixed, panel, progress=False)[0]
    assert "through the ends" in direct.attack["text"], "evaluate chose the suite for mixtures by itself"
    for end in ends:
        moved = oatlib.evaluate(mixed, panel, oatlib.Transfer(end, oatlib.APGD(EPS, 20, loss="margin")), progress=False)
        assert direct.robust <= moved[0].robust + 1e-9
    assert direct.robust < direct.clean


def test_a_saturated_mixture_hides_from_attacks_through_it_alone():
    """Planted: 0.7 softmax(8 z_standard) + 0.3 softmax(8 z_robust) is not robust, but plain APGD finds it hard."""
    net = oatlib.load(FOLDER / "blend.safetensors")
    panel = oatlib.load_data("shapes", seed=0, n_train=8, n_val=48, n_test=8).val
    mixed = OutputMixture([Sharp(net.at(lam), 8.0) for lam in (0.0, 1.0)], torch.tensor([[0.7, 0.3]]))
    quick = oatlib.Suite(EPS, budget="quick")
    through = oatlib.evaluate(mixed, panel, oatlib.Suite(EPS, members=quick.attacks()), progress=False)[0]
    suited = oatlib.evaluate(mixed, panel, quick, progress=False)[0]
    assert suited.robust <= 0.02 < 0.08 < through.robust
    report = oatlib.audit(mixed, panel, eps=EPS, suite=quick, progress=False)
    assert report.robust == suited.robust


def test_only_a_mixture_gets_the_attacks_for_mixtures():
    quick = oatlib.Suite(EPS, budget="quick")
    net = oatlib.build("blend", DATA).with_dial("outputs")
    assert suited(quick, net.at(1.0)) == quick == suited(quick, net.at(0.0).forward)
    assert suited(quick, net.at(0.5)).mixture and suited(quick, net.at(0.5).forward).mixture
    own = oatlib.Suite(EPS, members=(oatlib.APGD(EPS, 2),))
    assert suited(own, net.at(0.5)) is own and suited(oatlib.PGD(EPS), net.at(0.5)) == oatlib.PGD(EPS)
    with pytest.raises(ValueError, match="mixture of outputs"):
        ThroughEnds(oatlib.APGD(EPS, 2))(net.at(1.0), DATA.val.x, DATA.val.y)


def test_the_walk_of_the_suite_for_mixtures_has_the_length_it_says():
    net = randomised(oatlib.build("blend", DATA)).with_dial("outputs")
    attack = oatlib.Suite(0.0, budget="quick", mixture=True)
    f, x = net.at(0.5), DATA.val.x[:4]
    y = f(x).argmax(1)  # at radius 0 nobody falls
    assert sum(1 for _ in attack.survivors(f, x, y)) - 1 == attack.walk_length


# ---- two networks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    standard = randomised(oatlib.build("standard", DATA), 1)
    return standard, randomised(oatlib.build("pgd-at", DATA, lam=0.6), 2)


@torch.no_grad()
def test_mix_is_a_dial_between_two_networks(pair):
    standard, robust = pair
    net, x = oatlib.mix(standard, robust), images()
    first, last = standard.at()(x), robust.at()(x)
    for lam in (0.25, 0.8):
        assert_mixed(net.at(lam)(x), first, last, lam)
        assert_mixed(net(x, lam), first, last, lam)
    lams = torch.linspace(0, 1, len(x))
    assert_mixed(net.bind(lams)(x), first, last, lams)
    assert torch.equal(net.at(0.0)(x), first) and torch.equal(net.at(1.0)(x), last)
    assert net.spec.stops == (0.0, 1.0) and net.spec.recipe == "standard + pgd-at" and net.lam(0.5) == 0.5
    assert not net.position(0.5).noisy and net.width().fraction == 1.0 and net.position(0.3).width.fraction == 1.0
    own = {t.data_ptr() for part in pair for t in part.state_dict().values()}
    assert {t.data_ptr() for t in net.state_dict().values()} == own, "the weights are shared"


def test_mixing_a_network_with_itself_is_the_rule_outputs():
    net = build("oats", dial="interpolate")
    twin, mixed, x = net.with_dial("outputs"), oatlib.mix(net, net), images()
    for width in (0.5, 1.0):
        assert torch.equal(mixed.at(0.4, width)(x), twin.at(0.4, width)(x))


def test_a_mix_goes_wherever_a_network_goes(pair):
    net = oatlib.mix(*pair)
    table = oatlib.evaluate(net, DATA.test, oatlib.PGD(EPS, 2), [0.0, 0.5, 1.0], progress=False)
    for result, end in ((table[0], pair[0]), (table[2], pair[1])):
        alone = oatlib.evaluate(end, DATA.test, oatlib.PGD(EPS, 2), progress=False)[0]
        assert (result.clean, result.robust, result.macs) == (alone.clean, alone.robust, alone.macs)
    assert table[1].macs == table[0].macs + table[2].macs and "between them: mixed outputs" in str(table)
    assert table[1].about["recipe"] == "standard + pgd-at"
    assert oatlib.choose(table, max_macs=table[0].macs) in (table[0], table[2])
    oatlib.fit_slider(net, DATA, points=3, n=16, attack=oatlib.PGD(EPS, 1), progress=False)
    assert len(net.slider) == 3 and net.lam(1) == 1.0
    *_, last = measure(net, DATA.val.panel(16), 0.5, 1.0, oatlib.PGD(EPS, 2), [0])
    assert last["phase"] == "settled" and last["n"] == 16
    suite = oatlib.Suite(EPS, members=(oatlib.APGD(EPS, 3),))
    assert 0 <= suite.run(net.at(0.5), images(), DATA.test.y[:6], progress=False).robust <= 1
    f = copy.deepcopy(net)
    assert torch.equal(f.at(0.5)(images()), net.at(0.5)(images()))


def test_the_cost_of_a_mix_is_that_of_the_networks_that_answer(pair):
    standard = randomised(oatlib.build("snn", DATA, widths=(0.25, 0.5, 1.0)))
    robust = build("oats", dial="interpolate")
    net = oatlib.mix(standard, robust)
    assert net.spec.widths == (0.5, 1.0)
    for width in (0.5, 1.0):
        ends = [oatlib.cost(standard, 0.0, width), oatlib.cost(robust, 1.0, width)]
        found = oatlib.cost(net, 0.5, width)
        assert found.macs == sum(e.macs for e in ends) and found.active == sum(e.active for e in ends)
        assert found.stored == sum(e.stored for e in ends)
        assert oatlib.cost(net, 1.0, width).active == ends[1].active
        assert torch.equal(net.at(1.0, width)(images()), robust.at(1.0, width)(images()))


@torch.no_grad()
def test_a_noisy_network_can_be_the_robust_end(pair):
    noisy = randomised(oatlib.build("float", DATA))
    net, x = oatlib.mix(pair[0], noisy), images()
    assert net.spec.noise and net.position(0.5).noisy and not net.position(0.0).noisy
    reference = noisy.noisy(1.0, generator=generator(7))(x)
    assert_mixed(net.noisy(0.5, generator=generator(7))(x), pair[0].at()(x), reference, 0.5)
    assert not oatlib.mix(noisy, pair[1]).position(1.0).noisy


def test_mixes_can_be_mixed(pair):
    inner, x = oatlib.mix(*pair), images()
    net = oatlib.mix(pair[0], inner)
    assert torch.equal(net.at(0.3)(x), inner.at(0.3)(x))
    assert oatlib.cost(net, 0.3).active == oatlib.cost(inner, 0.3).active


def test_a_mix_of_widths_and_an_onnx_file(tmp_path, pair):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert oatlib.export(oatlib.mix(*pair), tmp_path / "m.onnx", 0.6) <= 1e-4
    assert (tmp_path / "m.onnx").stat().st_size > 1.9 * 4 * oatlib.cost(pair[0]).plain


@pytest.mark.parametrize("change", ["shape", "classes", "data"])
def test_networks_for_different_data_are_not_mixed(pair, change):
    other = copy.copy(pair[1])
    new = {"shape": (3, 8, 8), "classes": ("a", "b"), "data": {"name": "digits"}}[change]
    other.spec = dataclasses.replace(pair[1].spec, **{change: new})
    with pytest.raises(ValueError, match=f"differ in {change if change != 'shape' else 'images'}"):
        oatlib.mix(pair[0], other)


def test_what_a_mix_cannot_do_is_said(pair, tmp_path):
    net = oatlib.mix(*pair)
    with pytest.raises(TypeError, match="two networks of oatlib, got function"):
        oatlib.mix(pair[0], lambda x: x)
    with pytest.raises(ValueError, match="only the outputs can be mixed"):
        net.with_dial("interpolate")
    assert torch.equal(net.with_dial("outputs").at(0.5)(images()), net.at(0.5)(images()))
    with pytest.raises(ValueError, match="save both"):
        oatlib.save(net, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="is not trained: train each of them"):
        oatlib.train(net, DATA, epochs=1, progress=False)
    assert not list(tmp_path.iterdir())
