"""With the published options, oatlib computes what an independent implementation of the public code computes."""

import copy
import re
from dataclasses import asdict, replace

import pytest
import torch
from published import Ball, FiLM, Net, oat_step, trades_step

import oatlib
from oatlib.data.load import from_tensors
from oatlib.networks.network import Network, load, save
from oatlib.record import read_weights, write_weights
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.published import PUBLISHED_OPTIONS
from oatlib.training.recipes import RECIPES, sample_stops, sample_widths
from oatlib.training.step import train_step

pytestmark = pytest.mark.slow

EXACT = 1e-12  # largest difference in float64, as a share of the largest entry
WIDTHS = (0.5, 0.75, 1.0)
BALL = Ball(8 / 255, 3, 3 / 255)
BATCH = 24
ATTACK = oatlib.PGD(BALL.eps, BALL.steps, BALL.size, best=False)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=BATCH):
    """Images (n, 3, 8, 8) in float64, a tenth of the pixels black and a tenth white."""
    x = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=rng(1)) * 1.2 - 0.1
    return x.clamp(0, 1)


def labels(n=BATCH):
    return torch.arange(n) % 4


def data():
    pair = images(6).float(), labels(6)
    return from_tensors("small", pair, pair, pair, list("abcd"))


def build(recipe="oat", **options):
    """A network in float64 of which every number is random, running statistics included."""
    net = oatlib.build(recipe, data(), **options).double()
    generator = rng(2)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            noise = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
            if name.endswith("running_var") or (".norm." in name and name.endswith("weight")):
                tensor.copy_(0.3 + noise.abs())
            elif ".norm." in name and tensor.is_floating_point():
                tensor.copy_(0.3 * noise)
            elif ".film." in name:
                tensor.add_(0.1 * noise)
            elif "head" in name:
                tensor.copy_(0.3 * noise)
    return net


def published_name(name):
    """The name of one of oatlib's tensors in tests/published.py."""
    name = name.removeprefix("body.").replace("head.each.0.", "head.")
    name = name.replace("film.hidden.", "film.first.").replace("film.out.", "film.second.")
    return re.sub(r"pairs\.(\d)\.(clean|adv)\.", r"\2.\1.", name)


def carried(net):
    """The same weights and statistics in the independent implementation."""
    spec = net.spec
    twin = Net(len(spec.classes), spec.code_dim if spec.film else 0, spec.widths, spec.dual).double()
    body = {published_name(name): tensor for name, tensor in net.state_dict().items() if name != "codes"}
    twin.load_state_dict(body)
    return twin.train()


def gap(ours, theirs):
    """The largest difference, as a share of the largest entry."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30)).item()


def batch(net):
    """Images, labels, λ, codes and the number of λ = 0, and λ as stop indices."""
    stop, n_clean = sample_stops(net.spec.stops, BATCH, rng(5))
    lam = torch.tensor(net.spec.stops, dtype=torch.float64)[stop]
    code = None if net.codes is None else net.codes[stop]
    return (images(), labels(), lam, code, n_clean), stop


def our_step(net):
    (x, y, *_), stop = batch(net)
    return train_step(net, LambdaBatch(x, y, stop, net.spec.stops), ATTACK, rng(7), sample_widths(net.spec, rng()))


def their_step(net, twin, **options):
    indices = list(range(len(net.spec.widths)))[::-1]  # the largest width first
    return oat_step(twin, batch(net)[0], indices, BALL, rng(7), **options)


def assert_same_step(net, twin, loss, theirs):
    """Loss, every gradient and every running statistic."""
    assert gap(loss, theirs) < EXACT
    gradients = {published_name(name): p.grad for name, p in net.named_parameters()}
    expected = {name: p.grad for name, p in twin.named_parameters()}
    assert gradients.keys() == expected.keys() and len(expected) > 25
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert gap(gradients[name], gradient) < EXACT, name
    buffers = {published_name(name): b for name, b in net.named_buffers() if name != "codes"}
    for name, buffer in twin.named_buffers():
        assert gap(buffers[name], buffer) < EXACT, name


ROWS = {recipe: {"recipe": recipe, **PUBLISHED_OPTIONS[recipe]} for recipe in ("oat", "oats")}
rows = pytest.mark.parametrize("row", ROWS)


# ---- forward ------------------------------------------------------------------------------------------------------


def eval_logits(net, twin, index, form):
    """Logits of oatlib in one of its forms and of the independent network, the λ stops in order."""
    stop = torch.arange(BATCH) % len(net.spec.stops)
    stop = stop.sort().values
    lams = torch.tensor(net.spec.stops, dtype=torch.float64)[stop]
    x, fraction = images(), net.spec.widths[index]
    with torch.no_grad():
        theirs = twin.eval()(x, net.codes[stop], int((stop == 0).sum()), index)
        if form == "net":
            return net(x, lams, fraction), theirs
        if form == "bind":
            return net.bind(lams, fraction)(x), theirs
        each = [net.at(lam, fraction)(x[lams == lam]) for lam in net.spec.stops]
        return torch.cat(each), theirs


@rows
@pytest.mark.parametrize("form", ["net", "bind", "at"])
def test_every_form_gives_the_published_logits_at_every_width(row, form):
    net = build(**ROWS[row])
    twin = carried(net)
    for index in range(len(net.spec.widths)):
        ours, theirs = eval_logits(net, twin, index, form)
        assert theirs.std() > 0.1, "logits too small to compare"
        assert gap(ours, theirs) < EXACT


def differs(net, twin):
    return [gap(*eval_logits(net, twin, index, "net")) > 1e-3 for index in range(len(net.spec.widths))]


def test_the_default_input_and_film_rows_are_another_function():
    """Planted faults: without its two options oatlib does not compute the published function."""
    published = build(**ROWS["oats"])
    twin = carried(published)
    for option, expected in (("centre", [True, True, True]), ("film_rows", [True, True, False])):
        other = build(**{key: value for key, value in ROWS["oats"].items() if key != option})
        other.load_state_dict(published.state_dict())
        assert differs(other, twin) == expected, option
    assert differs(published, twin) == [False, False, False]


class Swapped(FiLM):
    """Fault: γ and β change places."""

    def rows(self, c):
        return slice(c, 2 * c), slice(0, c)


class Paired(FiLM):
    """Fault: the rows of oatlib's default."""

    def rows(self, c):
        wide = len(self.second.bias) // 2
        return slice(0, c), slice(wide, wide + c)


@pytest.mark.parametrize("fault", [Swapped, Paired])
def test_other_film_rows_are_caught(fault):
    net = build(**ROWS["oats"])
    twin = carried(net)
    for part in twin.modules():
        if isinstance(part, FiLM):
            part.__class__ = fault
    assert any(differs(net, twin))
    loss, theirs = our_step(net), their_step(net, twin)
    with pytest.raises(AssertionError):
        assert_same_step(net, twin, loss, theirs)


# ---- a training step ----------------------------------------------------------------------------------------------


@rows
def test_a_training_step_is_the_published_one(row):
    """Loss, gradients and running statistics, where the published step attacks before its clean pass."""
    net = build(**ROWS[row])
    twin = carried(net)
    assert_same_step(net, twin, our_step(net), their_step(net, twin))


@rows
def test_the_published_order_differs_only_through_running_statistics(row):
    """The public code runs the clean pass first, which moves the statistics that the attack then sees."""
    net = build(**ROWS[row])
    unseen, seen = carried(net), carried(net)
    loss = our_step(net)
    assert_same_step(net, unseen, loss, their_step(net, unseen, order="clean first, unseen"))
    assert gap(loss, their_step(net, seen, order="clean first")) > 1e-4


@pytest.mark.parametrize("recipe", ["oats", "solar"])
def test_losses_of_widths_are_added_or_averaged(recipe):
    """`solar` adds, as its script does; `oats` averages, as its paper does; an option changes either."""
    losses = {}
    for how in ("mean", "sum", None):
        net = build(recipe, **({} if how is None else {"width_loss": how}))
        losses[how] = our_step(net)
    assert gap(losses["sum"], len(net.spec.widths) * losses["mean"]) < EXACT
    assert losses[None] == losses["sum" if recipe == "solar" else "mean"]


def test_pgd_at_is_the_published_step():
    net = build("pgd-at", lam=0.3, **PUBLISHED_OPTIONS["pgd-at"])
    twin = carried(net)
    assert_same_step(net, twin, our_step(net), their_step(net, twin))


def trades_pair(clip=False):
    net = build("trades", **PUBLISHED_OPTIONS["trades"])
    twin = carried(net)
    stop = torch.zeros(BATCH, dtype=torch.int64)
    loss = train_step(net, LambdaBatch(images(), labels(), stop, net.spec.stops), ATTACK, rng(7))
    theirs = trades_step(twin, images(), labels(), net.spec.beta, BALL, rng(7), clip)
    return net, twin, loss, theirs


def test_trades_is_the_published_step_from_an_unclipped_start():
    assert_same_step(*trades_pair())


def test_a_clipped_start_of_trades_is_caught():
    with pytest.raises(AssertionError):
        assert_same_step(*trades_pair(clip=True))


def test_trades_differs_only_in_the_statistics_of_a_second_clean_pass():
    """The public loss calls the network on the clean images twice; that moves the statistics once more."""
    net, twin, loss, theirs = trades_pair()
    twin(images())
    with pytest.raises(AssertionError):
        assert_same_step(net, twin, loss, theirs)
    net.train()(images(), 1.0)
    assert_same_step(net.eval(), twin, loss, theirs)


# ---- the options --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", PUBLISHED_OPTIONS)
def test_published_options_build_and_change_something(recipe):
    ours, published = (oatlib.build(recipe, data(), **options) for options in ({}, PUBLISHED_OPTIONS[recipe]))
    ours, published = asdict(ours.spec), asdict(published.spec)
    changed = {name for name in ours if ours[name] != published[name]}
    assert changed and changed <= PUBLISHED_OPTIONS[recipe].keys()
    assert {name: published[name] for name in changed} == {name: PUBLISHED_OPTIONS[recipe][name] for name in changed}


def test_only_rows_from_papers_with_public_code_have_published_options():
    assert RECIPES.keys() - PUBLISHED_OPTIONS.keys() == {"standard", "blend", "smart"}


def test_an_identity_start_needs_paired_rows():
    with pytest.raises(ValueError, match="needs film_start='paper'.*β = 1"):
        oatlib.build("oats", data(), film_rows="published")
    oatlib.build("oat", data(), film_rows="published")  # one width has no narrow rows
    oatlib.build("snn", data(), film_rows="published")  # no FiLM at all


def test_published_rows_would_begin_with_shifts_of_one():
    """The reason for that refusal."""
    film = oatlib.layers.film.FiLM(6, 8, "identity", "published")
    gamma, beta = film(torch.eye(6), 4)
    assert (gamma - 1).abs().max() < 0.5 and (beta - 1).abs().max() < 0.5


@pytest.mark.parametrize("options, words", [
    ({"film_rows": "halves"}, "unknown film_rows 'halves'.*paired, published"),
    ({"centre": "no"}, "centre must be true or false, got 'no'"),
])  # fmt: skip
def test_values_that_do_not_exist_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        oatlib.build("oats", data(), **options)


@pytest.mark.parametrize("backbone", oatlib.networks.backbones.BACKBONES)
def test_every_backbone_can_leave_its_input_as_it_is(backbone):
    """Fed with x, it is the centred network of the same weights fed with x / 4 + 1/2, in every form."""
    plain, centred = (oatlib.build("oat", data(), backbone, centre=c).double() for c in (False, True))
    x = images(4)
    for part in plain.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    plain.train()(x, 0.3)  # statistics of these images, so that logits depend on the image
    plain.eval()
    centred.load_state_dict(plain.state_dict())
    with torch.no_grad():
        expected, other = centred(x / 4 + 0.5, 0.3), centred(x, 0.3)
        before = x.clone()
        for form in (plain(x, 0.3), plain.at(0.3)(x), plain.bind(torch.full((4,), 0.3))(x)):
            assert gap(form, expected) < 1e-9 and gap(form, other) > 1e-3
        assert torch.equal(x, before), "the caller's images are changed"


def test_costs_do_not_depend_on_the_layout():
    ours = oatlib.build("oats", data())
    published = oatlib.build("oats", data(), **PUBLISHED_OPTIONS["oats"])
    for width in WIDTHS:
        assert oatlib.cost(ours, width=width) == oatlib.cost(published, width=width)


def test_the_options_survive_a_file(tmp_path):
    net = build(**ROWS["oats"]).float()
    save(net, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again.spec == net.spec and not again.spec.centre and again.spec.film_rows == "published"
    x = images(4).float()
    for width in WIDTHS:
        assert torch.equal(again.at(0.3, width)(x), net.at(0.3, width)(x))


def test_a_file_from_before_these_options_keeps_its_meaning(tmp_path):
    net = build("oats").float()
    save(net, tmp_path / "new.safetensors")
    tensors, header = read_weights(tmp_path / "new.safetensors")
    spec = {name: value for name, value in asdict(net.spec).items() if name not in ("centre", "film_rows")}
    assert len(spec) == len(header["spec"]) - 2
    header = {"spec": spec, "trained": header["trained"], "slider": header["slider"]}
    write_weights(tmp_path / "old.safetensors", tensors, header)
    old = load(tmp_path / "old.safetensors")
    assert old.spec == net.spec and old.spec.centre and old.spec.film_rows == "paired"
    x = images(4).float()
    assert torch.equal(old.at(0.3, 0.5)(x), net.at(0.3, 0.5)(x))


def test_the_published_layout_is_exported(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    net = build(**ROWS["oats"]).float()
    oatlib.export(net, tmp_path / "net.onnx", 0.3, 0.5)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = images(5)
    (found,) = session.run(["logits"], {"images": x.float().numpy()})
    stop = torch.full((5,), net.spec.stops.index(0.3))
    with torch.no_grad():
        expected = carried(net.double()).eval()(x, net.codes[stop], 0, 0)
    assert gap(torch.from_numpy(found).double(), expected) < 1e-4


def test_options_are_part_of_the_network_and_of_nothing_else():
    """Two networks of other layouts in one process do not disturb each other."""
    one, other = Network(replace(build("oats").spec, **PUBLISHED_OPTIONS["oats"])), build("oats")
    x = images(4).float()
    before = one.at(0.3, 0.5)(x)
    other.double().at(0.3, 0.5)(x.double())
    assert torch.equal(one.at(0.3, 0.5)(x), before)
    assert torch.equal(copy.deepcopy(one).at(0.3, 0.5)(x), before)
