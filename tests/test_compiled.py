"""Compiled attacks give the numbers of uncompiled ones, and code is compiled once for each kind of network."""

import re

import pytest
import torch
from torch._dynamo.utils import counters

import oatlib
from oatlib.cli import doctor
from oatlib.cli import main as cli
from oatlib.networks import compiled as module
from oatlib.networks.compiled import can_be_compiled, structure_of
from oatlib.training.loop import Training

pytestmark = pytest.mark.slow

QUICK = "aot_eager"  # what is traced and differentiated is the same; no C++ compiler is needed
PGD = oatlib.PGD(8 / 255, 2, best=False)


@pytest.fixture(scope="module")
def data():
    return oatlib.load_data("shapes", n_train=96, n_val=16, n_test=32)


@pytest.fixture
def compilations():
    """Return how many graphs were compiled since the test began."""
    counters.clear()
    return lambda: counters["stats"]["unique_graphs"]


def network(data, recipe, backbone="plain", **options):
    """An untrained network whose BatchNorm branches differ, as after training."""
    net = oatlib.build(recipe, data, backbone, **options)
    generator = torch.Generator().manual_seed(1)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return net


def gradient(f, x, y):
    x = x.clone().requires_grad_()
    logits = f(x)
    (found,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y), x)
    return logits.detach(), found


def bound(net, n, width=None, seed=0):
    """A network with a λ stop of each of n images, as a training step binds it."""
    stop = torch.randint(1, len(net.spec.stops), (n,), generator=torch.Generator().manual_seed(seed))
    return net.bind_stops(net.setting_of_stops(stop, net.width(width)), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "recipe, backbone, options",
    [
        ("oat", "plain", {}),
        ("oat", "tiny", {}),
        ("oats", "plain", {"widths": (0.5, 1.0)}),
        ("float", "plain", {}),
        ("smart", "plain", {}),
    ],
)
def test_the_numbers_are_those_of_the_network(data, recipe, backbone, options):
    """λ per image, then one λ; every width; the noise of a step."""
    net = network(data, recipe, backbone, **options)
    compiler = oatlib.Compiler(QUICK)
    x, y = data.train.x[:12], data.train.y[:12]
    for width in net.spec.widths:
        for folded in (bound(net, 12, width), net.at(net.spec.stops[-1], width)):
            for ours, plain in zip(gradient(compiler(folded), x, y), gradient(folded, x, y), strict=True):
                torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-7)
    assert compiler.problem == "" and len(compiler._functions) == 2 * len(net.spec.widths)


def test_in_bfloat16(data):
    net, compiler = network(data, "oat"), oatlib.Compiler(QUICK)
    x, y = data.train.x[:12], data.train.y[:12]
    folded = bound(net, 12)
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = gradient(compiler(folded), x, y), gradient(folded, x, y)
    single = gradient(folded, x, y)
    assert compiler.problem == ""
    assert ours[0].dtype == torch.bfloat16, "autocast holds in compiled code, too"
    for a, b, c in zip(ours, plain, single, strict=True):
        # one rounding to 8 bits, of values up to the largest: not a larger error than bfloat16 itself has
        scale = c.abs().max()
        assert (a - b).abs().max() <= 0.02 * scale
        assert 0 < (a - c).abs().max() <= 0.1 * scale


def test_one_compilation_serves_all_networks_of_a_kind(data, compilations):
    net, compiler = network(data, "oat"), oatlib.Compiler(QUICK)
    x, y = data.train.x, data.train.y
    for lam in (0.0, 0.35, 1.0):
        gradient(compiler(net.at(lam)), x[:8], y[:8])
    assert compilations() == 1, "at: no matter which λ"
    for seed in range(3):
        gradient(compiler(bound(net, 8, seed=seed)), x[:8], y[:8])
    assert compilations() == 2, "bind: no matter which λ"
    for n in (9, 20, 31, 5, 64):
        folded = bound(net, n)
        ours, plain = gradient(compiler(folded), x[:n], y[:n]), gradient(folded, x[:n], y[:n])
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-7)
    few = compilations()
    assert few <= 5, "PyTorch separates numbers of images by size: below and above that of the channels"
    for n in (7, 10, 21, 40, 63, 15):
        gradient(compiler(bound(net, n)), x[:n], y[:n])
    assert compilations() == few, "no number of images needs code of its own"
    with torch.no_grad():
        compiler(net.at(0.0))(x[:8])
    gradient(compiler(bound(net, 1)), x[:1], y[:1])
    assert compilations() == few, "not without gradients, and not for one image"


@pytest.mark.parametrize("loss, most", [("hybrid", 1), ("sampled", 2)])
def test_a_training_of_twenty_steps_compiles_once_or_twice(data, compilations, loss, most):
    """With "sampled", the number of attacked images differs from step to step."""
    options = dict(epochs=4, batch=16, steps=2, panel=16, watch=4, ramp=0.0)
    trained = []
    for compiler in (False, oatlib.Compiler(QUICK)):
        net = oatlib.build("oat", data, "plain", loss=loss)
        run = Training(net, data, compiled=compiler, **options)
        for step, _ in enumerate(run):
            if step == 1:
                early = {name: t.clone() for name, t in net.state_dict().items()}
        assert step >= 20
        trained.append((early, net.trained[-1]["compiled"], run.history.compiled))
    assert compilations() <= most
    (plain, *no), (ours, *yes) = trained
    assert (no, yes) == (["no", "no"], ["yes", "yes"])
    for name, tensor in plain.items():  # after two steps: later, training has amplified the last digits
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)


def test_what_is_random_or_mixed_runs_as_it_is(data):
    noisy = oatlib.build("float", data, "plain")
    sampled_again = noisy.fold(noisy.position(1.0), torch.Generator(), resample=True)
    mixture = oatlib.build("blend", data, "plain").with_dial("outputs").at(0.5)
    compiler = oatlib.Compiler(QUICK)
    for folded in (sampled_again, mixture):
        assert not can_be_compiled(folded)
        assert compiler(folded).__self__ is folded, "suites find the mixture behind its forward"
    assert can_be_compiled(noisy.at(1.0))


def test_kinds_of_networks(data):
    net = network(data, "oats", widths=(0.5, 1.0))
    kind = structure_of(net.at(0.3))
    assert kind == structure_of(net.at(1.0)) == structure_of(network(data, "oat").at(0.0))
    strided = net.at(0.3)
    strided.units[0].stride = (2, 2)
    others = [
        net.at(0.3, 0.5),
        bound(net, 4),
        oatlib.build("oat", data, "plain", centre=False).at(0.3),
        oatlib.build("oat", data, "tiny").at(0.3),
        net.at(0.3).double(),
        strided,
    ]
    assert len({kind, *map(structure_of, others)}) == 7
    assert structure_of(bound(net, 1)) == kind, "one image is one λ"
    assert structure_of(bound(net, 4)) == structure_of(bound(net, 9, seed=5))


def broken(graph, inputs):
    raise RuntimeError("no compiler here\nand more lines")


def test_without_a_compiler_the_network_runs_as_it_is(data, recwarn):
    net, compiler = network(data, "oat"), oatlib.Compiler(broken)
    x, y = data.train.x[:8], data.train.y[:8]
    folded = net.at(1.0)
    for ours, plain in zip(gradient(compiler(folded), x, y), gradient(folded, x, y), strict=True):
        assert torch.equal(ours, plain)
    assert compiler.problem == "RuntimeError: no compiler here"
    history = oatlib.train(net, data, compiled=compiler, epochs=1, batch=48, steps=1, panel=8, progress=False)
    assert history.status == "finished" and history.compiled == compiler.problem
    assert repr(history).endswith("compiled: RuntimeError: no compiler here")
    assert net.trained[-1]["compiled"] == compiler.problem
    with pytest.warns(UserWarning, match="ran uncompiled: RuntimeError: no compiler here"):
        oatlib.evaluate(net, data.test, PGD, [1.0], progress=False, compiled=oatlib.Compiler(broken))


def test_an_error_of_the_network_is_not_one_of_the_compiler(data):
    net, compiler = network(data, "oat"), oatlib.Compiler(QUICK)
    with pytest.raises(ValueError, match="bound to 4 values of λ, called with 6 images"):
        gradient(compiler(bound(net, 4)), data.train.x[:6], data.train.y[:6])
    assert compiler.problem == ""


def test_wrong_arguments(data, monkeypatch):
    net = oatlib.build("oat", data, "plain")
    with pytest.raises(TypeError, match="compiled must be True, False, None or an oatlib.Compiler, got 'yes'"):
        oatlib.train(net, data, compiled="yes", epochs=1)
    monkeypatch.setattr(module, "compile_problem", lambda device: "no gcc")
    message = "compiled=True (--compiled), but nothing can be compiled here: no gcc. Install what is missing"
    with pytest.raises(ValueError, match=re.escape(message)):
        oatlib.evaluate(net, data.test, compiled=True)


def test_the_command_line_finds_a_missing_compiler_before_the_data(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "compile_problem", lambda device: "no gcc")
    out = str(tmp_path / "a.safetensors")
    code = cli.main(["train", "oat", "--data", "folder:nowhere", "--compiled", "--out", out])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1
    assert err.startswith("oatlib train: compiled=True (--compiled), but nothing can be compiled here: no gcc.")


def test_the_doctor_looks_for_a_compiler(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    assert doctor._compiler_problem() == ""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor._compiler_problem().startswith("a C++ compiler, such as g++ (not installed)")


def test_evaluation_counts_the_same_images(data):
    net = network(data, "oat")
    attack = oatlib.Suite(budget="quick")
    tables = [
        oatlib.evaluate(net, data.test, attack, [0.0, 1.0], progress=False, compiled=compiled)
        for compiled in (False, oatlib.Compiler(QUICK))
    ]
    counts = [[(row.clean, row.robust) for row in table] for table in tables]
    assert counts[0] == counts[1]


def test_a_run_resumes_with_the_same_switch(data, tmp_path):
    options = dict(epochs=2, batch=48, steps=1, panel=8, checkpoint=tmp_path / "run")
    run = Training(oatlib.build("oat", data, "plain"), data, **options)
    for _ in run:
        if run.epoch == 1:
            break
    run.interrupt()
    with pytest.raises(oatlib.RecordError, match="in which compiled differed"):
        Training(oatlib.build("oat", data, "plain"), data, resume=True, compiled=oatlib.Compiler(QUICK), **options)
    Training(oatlib.build("oat", data, "plain"), data, resume=True, **options)
