"""Files in the format of the papers' public code become networks that compute the same function.

The reference networks in public_networks.py have the public names and use nothing of oatlib. Their files are written
here; no file of a public repository is used.
"""

import collections
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from public_networks import RESNET34, TINY, Dials, Options, Public, noise_of, randomised, wide
from safetensors.torch import save_file

import oatlib
from oatlib.cli import main as cli
from oatlib.data.load import PUBLISHED, from_tensors
from oatlib.layers import noise as noise_layer
from oatlib.layers import unit
from oatlib.training.published_files import CODES_FILE, LAYOUTS
from oatlib.training.published_names import widths_of

pytestmark = pytest.mark.slow

EXACT = 1e-12  # in float64, as a share of the largest logit
CLOSE = 1e-5  # in float32
STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
QUARTERS = (0.25, 0.5, 0.75, 1.0)
WRN = wide(40, 2)


def images(n=3, size=8):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def orthogonal(d, seed=5):
    return np.linalg.qr(np.random.RandomState(seed).randn(d, d))[0]


def gap(ours, theirs):
    assert ours.shape == theirs.shape and theirs.std() > 1e-3, "logits too small to compare"
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def logits(public, lam=0.0, code=None, index=0, x=None):
    """Logits of the reference in float64."""
    if code is not None:
        code = torch.as_tensor(code)[None]
    with torch.no_grad():
        return public.double()(images() if x is None else x, Dials(code, lam == 0, index, lam if public.o.noise else 0))


def wrapped(state, **more):
    """What OAT's script writes as latest.pth, by a network inside DataParallel."""
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {"epoch": 7, "model": {f"module.{name}": t for name, t in state.items()},
            "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
            "training_loss": [2.0, 1.5], **more}  # fmt: skip


CASES = {
    # layout, recipe and backbone that are expected, reference
    "oat": ("oat", "oat", "tiny", Options(dim=12), TINY),
    "oat, λ itself": ("oat", "oat", "tiny", Options(dim=1), TINY),
    "oat, one BatchNorm": ("oat", "oat", "tiny", Options(dim=12, dual=False), TINY),
    "oat, Wide ResNet": ("oat", "oat", "wrn-40-2", Options(dim=16), WRN),
    "oats": ("oats", "oats", "tiny", Options(dim=12, fractions=(0.5, 0.75, 1.0)), TINY),
    "oats, one BatchNorm": ("oats", "oats", "tiny", Options(dim=12, fractions=(0.5, 1.0), dual=False), TINY),
    "oats, Wide ResNet": ("oats", "oats", "wrn-40-2", Options(dim=8, fractions=(0.5, 0.75, 1.0)), WRN),
    "solar": ("solar", "solar", "tiny", Options(dim=12, fractions=QUARTERS, heads=True), TINY),
    "solar, Wide ResNet": ("solar", "solar", "wrn-40-2", Options(dim=8, fractions=QUARTERS, heads=True), WRN),
    "solar, without λ": ("solar", "solar-snn", "tiny", Options(fractions=QUARTERS, heads=True, dual=False), TINY),
    "snn": ("snn", "snn", "tiny", Options(fractions=QUARTERS, dual=False), TINY),
    "snn, Wide ResNet": ("snn", "snn", "wrn-40-2", Options(fractions=(0.35, 0.7, 1.0), dual=False), WRN),
    "float": ("float", "float", "tiny", Options(noise=True), TINY),
    "float, one BatchNorm": ("float", "float", "tiny", Options(noise=True, dual=False), TINY),
    "float, Wide ResNet": ("float", "float", "wrn-40-2", Options(noise=True), WRN),
    "float, widths": ("float", "float-slim", "tiny", Options(noise=True, fractions=(0.5, 1.0)), TINY),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES)


def reference(case, classes=10):
    *_, options, size = CASES[case]
    return randomised(Public(options, size, classes, wide=size is WRN))


def codes_of(net):
    return [None] * len(net.spec.stops) if net.codes is None else net.codes.double()


@pytest.fixture
def load(tmp_path):
    """Save what a public script would, and load it. The data set is CIFAR-10, the codes lie beside."""

    def load(case, content=None, **options):
        public = reference(case)
        (
            layout,
            *_,
        ) = CASES[case]
        path = tmp_path / "public.pth"
        torch.save(public.state_dict() if content is None else content, path)
        if public.o.dim > 1 and not {"codes"} & options.keys():
            np.save(tmp_path / CODES_FILE, orthogonal(public.o.dim))
        return public, oatlib.load_published(path, layout, **{"data": "cifar10"} | options)

    return load


@pytest.fixture
def same_noise(monkeypatch):
    """Both implementations get the noise that depends on the shape of the weight."""
    for module in (unit, noise_layer):
        monkeypatch.setattr(module, "randn_like_on", lambda weight, generator: noise_of(weight))


# ---- the same function ----------------------------------------------------------------------------------------------


@cases
def test_logits_are_the_published_ones_at_every_stop_and_width(load, same_noise, case):
    public, net = load(case)
    _, recipe, backbone, options, _ = CASES[case]
    assert (net.spec.recipe, net.spec.backbone, net.spec.dual) == (recipe, backbone, options.dual)
    assert net.spec.widths == pytest.approx(options.listed, abs=1 / 128) and not net.training
    codes, single = codes_of(net), images().float()
    if options.dim > 1:
        assert np.abs(net.codes.numpy() - orthogonal(options.dim)[:6]).max() < 1e-7
    in_float32 = {(lam, width): net.at(lam, width)(single)
                  for lam in net.spec.stops for width in net.spec.widths}  # fmt: skip
    net.double()
    for index, width in enumerate(net.spec.widths):
        for lam, code in zip(net.spec.stops, codes, strict=True):
            theirs = logits(public, lam, code, index)
            with torch.no_grad():
                assert gap(net(images(), lam, width, torch.Generator()), theirs) < EXACT
                assert gap(net.at(lam, width)(images()), theirs) < EXACT
                assert gap(in_float32[lam, width].double(), theirs) < CLOSE


@pytest.mark.parametrize("lam", [0.1, 0.2, 0.7])
@pytest.mark.parametrize("case", ["float", "float, widths"])
def test_between_the_ends_a_float_network_follows_the_rule_of_its_code(load, same_noise, case, lam):
    public, net = load(case)
    for index, width in enumerate(net.spec.widths):
        assert gap(net.double().at(lam, width)(images()), logits(public, lam, None, index)) < EXACT


SIZES = {  # parameters of the public networks, as counted in the public code
    "oat on ResNet-34": (33_355_466, Options(dim=128), RESNET34),
    "oat on ResNet-34, one BatchNorm, λ itself": (31_403_978, Options(dim=1, dual=False), RESNET34),
    "oat on WRN-16-8": (16_228_922, Options(dim=128), wide(16, 8)),
    "oat on WRN-40-2": (3_886_394, Options(dim=128), WRN),
    "oats on ResNet-34": (33_398_026, Options(dim=128, fractions=(0.5, 0.75, 1.0)), RESNET34),
    "oats on WRN-16-8": (16_246_922, Options(dim=128, fractions=(0.5, 0.75, 1.0)), wide(16, 8)),
    "solar on ResNet-34": (33_414_248, Options(dim=128, fractions=QUARTERS, heads=True), RESNET34),
    "snn on ResNet-34": (21_307_658, Options(fractions=QUARTERS, dual=False), RESNET34),
    "snn on WRN-16-8": (10_972_170, Options(fractions=QUARTERS, dual=False), wide(16, 8)),
    "solar-snn on ResNet-34": (
        21_359_696, Options(fractions=tuple(i / 8 for i in range(1, 9)), dual=False, heads=True), RESNET34),
    "float on ResNet-34": (21_299_182, Options(noise=True), RESNET34),
    "float-slim on ResNet-34": (21_316_206, Options(noise=True, fractions=(0.5, 1.0)), RESNET34),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_references_have_the_size_of_the_public_networks(name):
    count, options, size = SIZES[name]
    with torch.device("meta"):
        net = Public(options, size, wide=len(size[1]) == 3)
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_real_resnet34_is_recognised(tmp_path):
    """OAT's latest.pth, at its real size: the prefix, the other values, the codes beside it, the data set."""
    public = randomised(Public(Options(dim=128), RESNET34))
    torch.save(wrapped(public.state_dict(), best_TA=dict.fromkeys(STOPS, 0.9)), tmp_path / "latest.pth")
    np.save(tmp_path / CODES_FILE, orthogonal(128))
    net = oatlib.load_published(tmp_path / "latest.pth", "oat")
    assert (net.spec.backbone, net.spec.data["name"], net.spec.classes[3]) == ("resnet34", "cifar10", "cat")
    assert sum(p.numel() for p in net.parameters()) == 33_355_466
    x = images(2, 8)
    for lam in (0, 0.4):
        theirs = logits(public, lam, net.codes[STOPS.index(lam)].double(), x=x)
        assert gap(net.at(lam)(x.float()).double(), theirs) < CLOSE


@pytest.mark.parametrize("widths", [(0.35, 0.5, 0.75, 1.0), (0.29, 1.0), (0.7, 1.0), QUARTERS, (1 / 3, 1.0),
                                    tuple(i / 16 for i in range(1, 17)),
                                    tuple(i / 32 for i in range(1, 33))])  # fmt: skip
@pytest.mark.parametrize("channels", [(64, 128, 512), (16, 32, 128)])
def test_widths_follow_from_numbers_of_channels(widths, channels):
    tensors = {f"bundle1.{c}.bn1.BN_c.{i}.weight": torch.ones(int(c * w))
               for c in channels for i, w in enumerate(widths)}  # fmt: skip
    found = widths_of(tensors)
    assert [int(c * w) for c in channels for w in found] == [int(c * w) for c in channels for w in widths]
    simple = all((w * 64).is_integer() or round(w, 2) == w for w in widths)
    if simple and channels[-1] == 512:
        assert found == widths


# ---- forms of the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("new_format", [True, False])
def test_every_form_gives_the_same_network(tmp_path, load, key, prefix, new_format):
    public, plain = load("float")
    state = {prefix + name: tensor for name, tensor in public.state_dict().items()}
    content = state if key is None else {"epoch": 3, key: collections.OrderedDict(state)}
    torch.save(content, tmp_path / "other.pth", _use_new_zipfile_serialization=new_format)
    net = oatlib.load_published(tmp_path / "other.pth", "float", data="cifar10")
    assert net.spec == plain.spec
    assert all(torch.equal(t, plain.state_dict()[name]) for name, t in net.state_dict().items())


def test_what_public_scripts_save_beside_the_tensors_is_read(load):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [50, 150]).state_dict()  # it holds a Counter
    assert any(isinstance(value, collections.Counter) for value in steps.values())
    public = reference("oat")
    content = wrapped(public.state_dict(), best_TA=dict.fromkeys(STOPS, 0.5), val_TA={0.0: [0.1]})
    _, net = load("oat", content | {"scheduler": steps})
    assert gap(net.double().at(1)(images()), logits(public, 1, net.codes[-1])) < EXACT


def test_counters_may_be_missing_and_other_precisions_are_converted(load):
    state = {name: t.half() if t.is_floating_point() else t for name, t in reference("snn").state_dict().items()}
    _, net = load("snn", {name: t for name, t in state.items() if "num_batches" not in name})
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert torch.equal(net.body.stem.conv.weight, state["conv1.weight"].float())


def test_the_network_is_used_like_any_other(tmp_path, load):
    public, _ = load("oats")
    x = images(20).float()
    split = x, torch.arange(20) % 10
    data = from_tensors("mine", split, split, split, [f"c{i}" for i in range(10)])
    net = oatlib.load_published(tmp_path / "public.pth", "oats", data=data)
    assert net.spec.classes == data.classes and net.spec.data["name"] == "mine"
    oatlib.save(net, tmp_path / "net.safetensors")
    again = oatlib.load(tmp_path / "net.safetensors")
    assert again.spec == net.spec and again.trained == net.trained
    assert torch.equal(again.at(0.2, 0.5)(x), net.at(0.2, 0.5)(x))
    table = oatlib.evaluate(again, data.test, oatlib.PGD(steps=1), lams=[0, 1], widths=[0.5], progress=False)
    for result, lam in zip(table, (0, 1), strict=True):
        right = logits(public, lam, net.codes[-1 if lam else 0].double(), 0, x.double()).argmax(1) == split[1]
        assert result.clean == pytest.approx(right.double().mean().item())
    assert oatlib.cost(again, width=0.5) == oatlib.cost(net, width=0.5)
    report = oatlib.audit(again, data, lam=1, n=16)
    assert report.findings
    pytest.importorskip("anywidget")
    oatlib.explore({"public": again}, data).close()
    before = again.at(0.2)(x)
    oatlib.train(again, data, oatlib.Preset(epochs=1, batch=10, steps=1, panel=10), progress=False)
    assert not torch.equal(again.at(0.2)(x), before)


# ---- λ stops and codes ----------------------------------------------------------------------------------------------


def test_the_codes_of_solar_are_drawn_again(load):
    """SOLAR's scripts seed NumPy with 3 and draw a d x d matrix first; its Q has the codes."""
    public, net = load("solar", codes="solar")
    np.random.seed(3)
    codes = np.linalg.qr(np.random.randn(12, 12))[0]
    assert np.abs(net.codes.numpy() - codes[:6]).max() < 1e-7
    assert gap(net.double().at(0.3, 0.5)(images()), logits(public, 0.3, codes[3], 1)) < 1e-6
    assert net.trained[-1]["codes"] == "NumPy seed 3, as in SOLAR's scripts"


def test_oats_and_solar_have_these_codes_by_default_and_oat_has_none(tmp_path):
    for case in ("oats", "solar", "oat"):
        torch.save(reference(case).state_dict(), tmp_path / f"{case}.pth")
    for case in ("oats", "solar"):
        with pytest.warns(UserWarning, match="those of SOLAR's unchanged scripts are used"):
            net = oatlib.load_published(tmp_path / f"{case}.pth", case, data="cifar10")
        assert "NumPy seed 3" in net.trained[-1]["codes"]
    with pytest.raises(ValueError, match=f"the λ codes are not in .*oat.pth: copy {CODES_FILE} beside it"):
        oatlib.load_published(tmp_path / "oat.pth", "oat", data="cifar10")


@pytest.mark.parametrize("kind", ["onehot", "dct"])
def test_other_encodings_of_oat(load, kind):
    public, net = load("oat", codes=kind)
    n, k = np.meshgrid(np.arange(12), np.arange(12))
    matrix = {"onehot": np.eye(12), "dct": 2 * np.cos(np.pi * k * (2 * n + 1) / 24)}[kind]
    assert net.spec.codes == kind
    for lam, code in zip(STOPS, matrix, strict=False):
        assert gap(net.double().at(lam)(images()), logits(public, lam, code)) < 1e-6


def test_dct_is_that_of_scipy():
    """The reference above is scipy.fftpack.dct(eye, axis=0), which OAT's script calls."""
    fftpack = pytest.importorskip("scipy.fftpack")
    n, k = np.meshgrid(np.arange(12), np.arange(12))
    assert np.abs(fftpack.dct(np.eye(12), axis=0) - 2 * np.cos(np.pi * k * (2 * n + 1) / 24)).max() < 1e-12


@pytest.mark.parametrize("given", [True, False])
def test_stops_in_another_order_keep_their_codes(load, given):
    """The code of a λ is the row of its place in --lambda_choices, which OAT's latest.pth repeats."""
    choices = (1.0, 0.0, 0.25)
    if given:
        public, net = load("oat", stops=choices)
    else:
        content = wrapped(reference("oat").state_dict(), best_TA=dict.fromkeys(choices, 0.9))
        public, net = load("oat", content)
    assert net.spec.stops == (0.0, 0.25, 1.0)
    for lam in choices:
        code = orthogonal(12)[choices.index(lam)]
        assert gap(net.double().at(lam)(images()), logits(public, lam, code)) < 1e-6


def test_codes_as_a_tensor_or_a_file(load, tmp_path):
    codes = torch.from_numpy(orthogonal(12, 8))
    np.save(tmp_path / "mine.npy", codes)
    _, one = load("oat", codes=codes[:6])
    _, other = load("oat", codes=tmp_path / "mine.npy")
    assert torch.equal(one.codes, other.codes) and torch.equal(one.codes, codes[:6].float())
    assert (one.trained[-1]["codes"], other.trained[-1]["codes"]) == ("given", "mine.npy")


@pytest.mark.parametrize(("case", "options", "words"), [
    ("oat", {"codes": torch.eye(12)[:4]}, r"the λ codes are \(4, 12\): 6 rows or more of length 12 are needed"),
    ("oat", {"codes": torch.eye(11)}, "of length 12 are needed"),
    ("oat", {"codes": torch.full((6, 12), torch.nan)}, "NaN"),
    ("oat", {"codes": object()}, "codes must be 'solar', 'onehot', 'dct', a .npy file, or a tensor"),
    ("oat", {"codes": "onehod"}, "onehod cannot be read as a matrix of λ codes"),
    ("oat", {"stops": "0.1"}, "stops must be a list of λ"),
    ("oat", {"stops": (0, 0, 1)}, "different numbers"),
    ("oat", {"stops": (0, 2)}, "different numbers in"),
    ("oat", {"stops": range(0)}, "different numbers in"),
    ("oat", {"stops": [i / 20 for i in range(20)]}, "codes of length 12, too few for 20 λ stops"),
    ("oat, λ itself", {"codes": "solar"}, "reads λ itself: leave codes out"),
    ("snn", {"codes": "solar"}, "codes and stops are for networks with FiLM"),
    ("float", {"stops": (0, 1)}, "codes and stops are for networks with FiLM"),
    ("oat", {"data": None}, "no public script trains tiny: say on which data"),
    ("oat", {"data": "cifar11"}, "no data set 'cifar11'"),
    ("oat", {"data": 3}, "data must be a data set, or the name of one"),
    ("oat", {"data": "shapes"}, "10 classes and images of 3 channels, shapes has 8"),
    ("oat", {"backbone": "resnet35"}, "unknown backbone 'resnet35'"),
])  # fmt: skip
def test_wrong_arguments_are_refused(load, case, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        load(case, **options)


def test_the_matrix_before_qr_is_refused(load, tmp_path):
    np.save(tmp_path / "rand_mat.npy", np.random.RandomState(0).randn(12, 12))
    with pytest.raises(ValueError, match=f"not orthogonal: OAT's script saves the codes as {CODES_FILE}"):
        load("oat", codes=tmp_path / "rand_mat.npy")


def test_the_data_set_is_that_of_the_public_scripts(load):
    """Its options are those that `load_data` records, so that the file can be evaluated without naming the data."""
    for case, name, shape, third in (("oat, Wide ResNet", "stl10", (3, 96, 96), "car"),
                                     ("snn, Wide ResNet", "cifar10", (3, 32, 32), "bird")):  # fmt: skip
        _, net = load(case, data=None)
        assert (net.spec.data["name"], net.spec.shape, net.spec.classes[2]) == (name, shape, third)
        options = net.spec.data["options"]
        known = {"seed": 0, "n_val": PUBLISHED[name].n_val}
        assert known.items() <= options.items() and options.keys() == {"n_train", "n_val", "n_test", "seed"}


# ---- planted faults -------------------------------------------------------------------------------------------------


def with_renamed(state):
    state["bundle2.0.conv_1.weight"] = state.pop("bundle2.0.conv1.weight")
    return "bundle2.0.conv1.weight is missing; bundle2.0.conv_1.weight is not part of it$"


def with_missing(state):
    for name in [name for name in state if ".MLP.2." in name]:
        del state[name]
    return "film1.MLP.2.weight is missing; film1.MLP.2.bias is missing; bundle1.*; and 10 more$"


def with_wrong_shape(state):
    state["bundle3.0.bn2.BN_a.running_mean"] = torch.zeros(3)
    return r"bundle3.0.bn2.BN_a.running_mean is \(3,\), expected \(64,\)$"


def with_swapped_axes(state):
    state["bundle3.0.conv1.weight"] = state["bundle3.0.conv1.weight"].transpose(0, 1)
    return r"bundle3.0.conv1.weight is \(32, 64, 3, 3\), expected \(64, 32, 3, 3\)$"


def with_nan(state):
    state["linear.bias"][2] = torch.nan
    return "linear.bias holds NaN or infinite numbers$"


def with_int8(state):
    state["conv1.weight"] = state["conv1.weight"].to(torch.int8)
    return "conv1.weight holds int8$"


def with_more(state):
    state["normalize.mean"] = torch.zeros(3)
    return "normalize.mean is not part of it$"


def with_sparse(state):
    state["linear.weight"] = state["linear.weight"].to_sparse()
    return "linear.weight is sparse, quantised or without numbers$"


@pytest.mark.parametrize("fault", [with_renamed, with_missing, with_wrong_shape, with_swapped_axes, with_nan, with_int8,
                                   with_more, with_sparse])  # fmt: skip
def test_tensors_that_do_not_fit_are_named(load, fault):
    state = dict(reference("oat").state_dict())
    words = fault(state)
    with pytest.raises(oatlib.RecordError, match=r"public.pth does not fit layout='oat' \(oat on tiny\): " + words):
        load("oat", state)


def test_swapped_branches_are_seen_in_the_logits(load):
    """No name or shape shows this fault; the comparison of logits does."""
    public = reference("oat")
    names = {"BN_c": "BN_a", "BN_a": "BN_c"}
    swapped = {
        ".".join(names.get(word, word) for word in name.split(".")): t for name, t in public.state_dict().items()
    }
    _, net = load("oat", swapped)
    for lam, code in zip(STOPS, net.double().codes, strict=True):
        assert gap(net.at(lam)(images()), logits(public, lam, code)) > 1e-2


FITS = {"oat": "oat", "oats": "oats", "solar": "solar", "solar, without λ": "solar", "snn": "snn", "float": "float",
        "float, widths": "float"}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_the_layout_that_fits_is_named(tmp_path, case):
    torch.save(reference(case).state_dict(), tmp_path / "public.pth")
    for layout in LAYOUTS:
        if layout != FITS[case]:
            with pytest.raises(oatlib.RecordError, match=f"layout='{FITS[case]}' fits better: all tensors fit"):
                oatlib.load_published(tmp_path / "public.pth", layout, data="cifar10", codes=None)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="unknown layout 'otas'.*use one of oat, oats, solar, snn, float"):
        oatlib.load_published("any.pth", "otas")


def state_of(*names):
    return {name: torch.zeros(4, 4, 1, 1) for name in names}


@pytest.mark.parametrize(("content", "words"), [
    (state_of("features.0.0.weight"), "SOLAR's MobileNetV2"),
    (state_of("bundle1.0.conv3.weight", "conv1.weight"), "bottleneck blocks, such as ResNet-50: oatlib has no such"),
    (state_of("block1.layer.0.conv1.weight"), "oatlib has none of this size: .*resnet34 has a stem of 64 channels"),
    (state_of("bundle1.0.conv2.weight", "bundle1.1.conv2.weight"), "a stem of . channels and the stages 2 x 4,"),
    (state_of("bundle1.0.convShortcut.weight"), "this looks like a Wide ResNet .*wrn-16-8 has a stem of 16"),
    ({}, "it is empty"),
    ({"model": {"a": 3}}, "holds no dictionary of tensors by name, alone or as one of model, state_dict.*: a"),
    ({"weights": state_of("a")}, "holds no dictionary of tensors"),
    ({3: torch.zeros(2)}, "holds no dictionary of tensors"),
    ([torch.zeros(2)], "holds a list, expected a dictionary of tensors"),
    (torch.zeros(2), "holds a Tensor, expected a dictionary"),
    ({"conv1.weight": torch.tensor(1.0), "bundle1.0.conv2.weight": torch.tensor(1.0)}, "none of this size"),
])  # fmt: skip
def test_networks_that_oatlib_does_not_have(tmp_path, content, words):
    torch.save(content, tmp_path / "other.pth")
    for layout in LAYOUTS:
        with pytest.raises(oatlib.RecordError, match=f"other.pth.*{words}"):
            oatlib.load_published(tmp_path / "other.pth", layout, data="cifar10")


def test_a_backbone_that_is_named_gets_a_list_of_what_is_missing(tmp_path):
    state = reference("oat").state_dict()
    torch.save({n: t for n, t in state.items() if not n.startswith("bundle3")}, tmp_path / "part.pth")
    with pytest.raises(
        oatlib.RecordError, match="stages 1 x 16, 1 x 32, and oatlib has none of this size.*say which one"
    ):
        oatlib.load_published(tmp_path / "part.pth", "oat")
    with pytest.raises(oatlib.RecordError, match="bundle3.0.conv1.weight is missing"):
        oatlib.load_published(tmp_path / "part.pth", "oat", backbone="tiny")


def test_alphas_per_channel_are_refused(tmp_path):
    torch.save(Public(Options(noise=True, pni="channel")).state_dict(), tmp_path / "public.pth")
    with pytest.raises(oatlib.RecordError, match="conv1.alpha_w has 16 values of α: oatlib has one per conv"):
        oatlib.load_published(tmp_path / "public.pth", "float", data="cifar10")


def test_a_file_of_smart_is_refused(load):
    """It has the names of FLOAT. Nothing trains the α of its late layers, and its masks are not in the file."""
    state = reference("float").state_dict()
    untrained = {n: torch.full_like(t, 0.25) if "alpha" in n and n[:7] in ("bundle2", "bundle3") else t
                 for n, t in state.items()}  # fmt: skip
    with pytest.raises(oatlib.RecordError, match="like a file of the SMART prototype: α is 0.25.*masks .* not in its"):
        load("float", untrained)
    some = {n: torch.full_like(t, 0.25) if "alpha" in n and n.startswith("bundle3") else t for n, t in state.items()}
    load("float", some)
    load("float", {n: torch.full_like(t, 0.25) if "alpha" in n else t for n, t in state.items()})


def test_a_file_of_floats_is_read_with_a_warning(load, same_noise):
    state = {name: t * (torch.rand(t.shape) < 0.3) if t.ndim == 4 else t
             for name, t in reference("float").state_dict().items()}  # fmt: skip
    public = reference("float")
    public.load_state_dict(state)
    with pytest.warns(UserWarning, match=r"(69|70|71)% of the conv weights in .* are 0, as in a file of FLOATS"):
        _, net = load("float", state)
    for lam in (0.0, 1.0):
        assert gap(net.double().at(lam)(images()), logits(public, lam)) < EXACT
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("float")


# ---- files that are not weights -------------------------------------------------------------------------------------


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside", "inside", "as a key"])
def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path, place, new_format):
    made = tmp_path / "made"
    state = dict(reference("oat").state_dict())
    content = {
        "alone": Malicious(made),
        "beside": {"model": state, "args": Malicious(made)},
        "inside": state | {"conv1.weight": Malicious(made)},
        "as a key": {Malicious(made): 1} | state,
    }[place]
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(oatlib.RecordError) as caught:
        oatlib.load_published(tmp_path / "evil.pth", "oat", data="cifar10")
    assert not made.exists()
    words = str(caught.value)
    assert "was refused, and nothing in it was run: it asks Python to call posix.mkdir" in words or os.name != "posix"
    assert "weights_only=False" not in words and "\n" not in words, "PyTorch's advice to run it is not passed on"
    # Planted fault: without the restriction the same file does create a folder.
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert made.exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(reference("oat"), tmp_path / "net.pth")
    with pytest.raises(oatlib.RecordError, match="it asks Python to call public_networks.Public.*state_dict"):
        oatlib.load_published(tmp_path / "net.pth", "oat")


def test_codes_that_are_pickled_are_refused(load, tmp_path):
    np.save(tmp_path / "evil.npy", np.array([Malicious(tmp_path / "made")], dtype=object), allow_pickle=True)
    with pytest.raises(oatlib.RecordError, match="evil.npy cannot be read as a matrix of λ codes"):
        load("oat", codes=tmp_path / "evil.npy")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("rows", [10**8, 10**12])
def test_codes_that_say_to_be_huge_are_refused(load, tmp_path, rows):
    with open(tmp_path / "huge.npy", "wb") as file:
        about = {"descr": "<f8", "fortran_order": False, "shape": (rows, 16)}
        np.lib.format.write_array_header_1_0(file, about)
        file.write(bytes(80))
    with pytest.raises(oatlib.RecordError, match="huge.npy cannot be read as a matrix of λ codes"):
        load("oat", codes=tmp_path / "huge.npy")


def test_files_that_are_damaged_or_something_else(tmp_path):
    good = tmp_path / "good.pth"
    torch.save(reference("float").state_dict(), good)
    content = good.read_bytes()
    files = {
        "empty.pth": b"", "text.pth": b"weights\n" * 9, "cut.pth": content[: len(content) // 2],
        "pickle.pth": pickle.dumps({"a": 1}), "zeros.pth": bytes(500), "number.pth": struct.pack("<q", 1 << 40),
    }  # fmt: skip
    for name, damaged in files.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(oatlib.RecordError, match=name):
            oatlib.load_published(tmp_path / name, "float")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a.txt", "b")
    save_file({"a": torch.zeros(2)}, tmp_path / "net.safetensors")
    for name, words in {"zip.pth": "zip.pth cannot be read", "net.safetensors": "oatlib.load reads the networks",
                        "nowhere.pth": "there is no file", ".": "is a folder"}.items():  # fmt: skip
        with pytest.raises(oatlib.RecordError, match=words):
            oatlib.load_published(tmp_path / name, "float")


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    """A small archive may unpack to any amount of memory. PyTorch would read it."""
    torch.save({"conv1.weight": torch.zeros(250_000)}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as whole, zipfile.ZipFile(tmp_path / "small.pth", "w") as small:
        for entry in whole.infolist():
            small.writestr(entry.filename, whole.read(entry), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "small.pth").stat().st_size < 10_000
    assert len(torch.load(tmp_path / "small.pth", weights_only=True)["conv1.weight"]) == 250_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(oatlib.RecordError, match=r"small.pth cannot be read .* \(it unpacks to 1,00.,... bytes, more"):
        oatlib.load_published(tmp_path / "small.pth", "oat")


@pytest.mark.parametrize("name", ["conv1.weight", "bundle1.0.conv1.weight", "more"])
def test_a_tensor_that_says_to_be_huge_is_refused_before_memory_is_used(load, name):
    """Its numbers are one number, repeated: they take no place in the file."""
    state = dict(reference("oat").state_dict()) | {name: torch.zeros(1).expand(10**5, 10**5, 3, 3)}
    with pytest.raises(
        oatlib.RecordError, match="stem of 100000 channels|expected \\(16, 16, 3, 3\\)|is not part of it"
    ):
        load("oat", state)


# ---- the command line -----------------------------------------------------------------------------------------------


def run(capsys, *words):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def test_convert_writes_what_the_function_returns(capsys, tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    _, net = load("oat", stops=(0, 0.5, 1))
    words = (
        "convert",
        "public.pth",
        "--layout",
        "oat",
        "--data",
        "cifar10",
        "--stops",
        0,
        0.5,
        1,
        "--out",
        "a.safetensors",
    )
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert out.startswith("a.safetensors: written. oat on tiny, ") and "λ stops 0, 0.5, 1" in out
    assert f"λ codes: {CODES_FILE}" in out
    again = oatlib.load("a.safetensors")
    assert again.spec == net.spec and again.trained == net.trained
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in again.state_dict().items())


@pytest.mark.parametrize(("words", "expected"), [
    ("public.pth --out a", "--layout"),
    ("public.pth --layout otas --out a", "unknown layout 'otas' (did you mean 'oats'?)"),
    ("public.pth --layout oats --data cifar10 --out a", "layout='oat' fits better"),
    ("public.pth --layout oat --data cifar10 --codes onehod --out a", "onehod cannot be read"),
    ("public.pth --layout oat --data cifar10 --stops 0 2 --out a", "λ must be a number in [0, 1], got '2'"),
    ("public.pth --layout oat --data cifar10 --out public.pth", "choose another file for the output"),
    ("nowhere.pth --layout oat --out a", "there is no file nowhere.pth"),
    ("public.pth --layout oat --out nowhere/a", "the folder nowhere does not exist"),
    ("public.pth --layout oat --out a", "no public script trains tiny: say on which data"),
    ("public.pth --layout oat --backbone tinny --out a", "unknown backbone 'tinny' (did you mean 'tiny'?)"),
])  # fmt: skip
def test_a_wrong_conversion_is_one_line(capsys, tmp_path, monkeypatch, load, words, expected):
    monkeypatch.chdir(tmp_path)
    load("oat")
    before = sorted(os.listdir())
    code, out, err = run(capsys, "convert", *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1) and expected in err, err
    assert sorted(os.listdir()) == before
