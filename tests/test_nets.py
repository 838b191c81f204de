import copy
import re
from itertools import pairwise

import pytest
import torch
from torch import nn

from oatlib.layers.dual_bn import DualBN
from oatlib.layers.film import FiLM
from oatlib.layers.setting import Setting
from oatlib.layers.unit import Unit
from oatlib.networks import network
from oatlib.networks.backbones import BACKBONES
from oatlib.networks.network import Network
from oatlib.networks.spec import Spec

STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
LAMS = torch.tensor([0.3, 0.0, 1.0, 0.1, 0.0, 0.4, 0.2, 0.1], dtype=torch.float64)  # every stop, in no order
backbones = pytest.mark.parametrize("backbone", BACKBONES)


def images(n=8, channels=3, size=8, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def spec(backbone="tiny", shape=(3, 8, 8), classes=NAMES, stops=STOPS, **options):
    row = {"dual": True, "film": True, "codes": "rand", "code_dim": 16} | options
    return Spec(recipe="oat", backbone=backbone, shape=shape, classes=tuple(classes), stops=tuple(stops), **row)


def randomised(net, seed=0):
    """A network in which no statistic and no γ or β is at its start, so that a part that is left out shows."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                draw(part.weight, 0.7, 1.3)
                draw(part.bias, -0.3, 0.3)
                draw(part.running_mean, -0.3, 0.3)
                draw(part.running_var, 0.3, 0.9)
            if isinstance(part, FiLM):
                part.out.weight.mul_(20)
        for linear in net.body.head.each:
            linear.weight.mul_(4)
    return net


@pytest.fixture(scope="module")
def zoo():
    """One randomised network per backbone, built when first asked for; tests must not change them."""
    made = {}

    def get(backbone="tiny"):
        if backbone not in made:
            made[backbone] = randomised(Network(spec(backbone)))
        return made[backbone]

    return get


def logits(f, *arguments):
    with torch.no_grad():
        return f(*arguments)


def gap(a, b):
    """The largest difference, as a share of the size of the logits."""
    return ((a - b).abs().max() / b.abs().max()).item()


# ---- folding ------------------------------------------------------------------------------------------------------


def at_each(net, x, lams):
    return torch.cat([logits(net.at(lam.item()), sample[None]) for sample, lam in zip(x, lams, strict=True)])


def bound(net, x, lams):
    return logits(net.bind(lams), x)


def assert_folding_changes_nothing(net, form, tolerance):
    """Against the unfolded network in eval mode, for logits of a size at which all its parts matter."""
    x = images(channels=net.spec.shape[0]).to(net.body.head.each[0].weight)
    expected = logits(net, x, LAMS)
    assert expected.std() > 0.3, "logits too small to compare"
    one_image = logits(net, x[:1].expand(len(STOPS), -1, -1, -1), torch.tensor(STOPS, dtype=torch.float64))
    assert torch.pdist(one_image).min() > 0.05 * one_image.abs().max(), "the λ stops are too alike to tell apart"
    assert gap(form(net, x, LAMS), expected) < tolerance


@backbones
@pytest.mark.parametrize("form", [at_each, bound])
def test_folded_networks_are_the_network(zoo, backbone, form):
    assert_folding_changes_nothing(zoo(backbone), form, 1e-5)


@pytest.mark.parametrize("backbone", ["tiny", "wrn-40-2"])
@pytest.mark.parametrize("form", [at_each, bound])
def test_folded_networks_are_exact_but_for_rounding(zoo, backbone, form):
    assert_folding_changes_nothing(copy.deepcopy(zoo(backbone)).double(), form, 1e-11)


@pytest.mark.parametrize("changes", [{"film": False}, {"dual": False}, {"codes": "none"}, {"codes": "dct"}])
def test_folding_holds_for_every_kind_of_unit(changes):
    net = randomised(Network(spec(**changes)))
    x = images()
    expected = logits(net, x, LAMS)
    assert gap(bound(net, x, LAMS), expected) < 1e-5 and gap(at_each(net, x, LAMS), expected) < 1e-5


def one_branch(net, x, lams):
    net = copy.deepcopy(net)
    net.branches = torch.ones_like(net.branches)
    return bound(net, x, lams)


def sorted_lams(net, x, lams):
    return bound(net, x, lams.sort().values)


def without_film(net, x, lams):
    net = copy.deepcopy(net)
    for part in net.modules():
        if isinstance(part, Unit):
            part.film = None
    return bound(net, x, lams)


def another_eps(net, x, lams):
    net = copy.deepcopy(net)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-3
    return bound(net, x, lams)


@pytest.mark.parametrize("fault", [one_branch, sorted_lams, without_film, another_eps])
def test_planted_faults_in_folding_are_caught(zoo, fault):
    with pytest.raises(AssertionError):
        assert_folding_changes_nothing(zoo(), fault, 1e-5)


def assert_interpolates(net, at, lam, left, right, t):
    """Between two stops, every number of the plain network lies between those of its neighbours."""
    x = images()
    expected = net.at(left)
    for (name, value), other in zip(list(expected.named_buffers()), net.at(right).buffers(), strict=True):
        expected.get_buffer(name).copy_(value + t * (other - value))
    ends = [logits(net.at(stop), x) for stop in (left, right)]
    found = logits(at(lam), x)
    assert gap(found, logits(expected, x)) < 1e-5
    assert all(gap(found, end) > 1e-3 for end in ends)


@pytest.mark.parametrize("backbone", ["tiny", "wrn-16-8"])
@pytest.mark.parametrize(
    "lam, left, right, t", [(0.025, 0.0, 0.1, 0.25), (0.15, 0.1, 0.2, 0.5), (0.85, 0.4, 1.0, 0.75)]
)
def test_between_stops_the_folded_numbers_are_interpolated(zoo, backbone, lam, left, right, t):
    assert_interpolates(zoo(backbone), zoo(backbone).at, lam, left, right, t)
    per_sample = zoo(backbone).bind(torch.full((len(LAMS),), lam))
    assert gap(logits(per_sample, images()), logits(zoo(backbone).at(lam), images())) < 1e-5


def snapping(net):
    """A dial that jumps to the nearest stop."""
    return lambda lam: net.at(min(STOPS, key=lambda s: abs(s - lam)))


def test_a_snapping_dial_is_caught(zoo):
    with pytest.raises(AssertionError):
        assert_interpolates(zoo(), snapping(zoo()), 0.025, 0.0, 0.1, 0.25)


def assert_no_jump(at):
    """Moving λ by 1/64 moves the logits little; moving it by next to nothing moves them by next to nothing."""
    x = images()
    walk = [logits(at(i / 64), x) for i in range(65)]
    size = max(out.abs().max() for out in walk)
    assert max((b - a).abs().max() for a, b in pairwise(walk)) < 0.3 * size
    fine = [logits(at(i / 2000), x) for i in range(220)]  # across λ = 0 and 0.1, where the stops differ most
    assert max((b - a).abs().max() for a, b in pairwise(fine)) < 0.02 * size
    for stop in STOPS:
        for near in (max(stop - 1e-5, 0), min(stop + 1e-5, 1)):
            assert (logits(at(near), x) - logits(at(stop), x)).abs().max() < 1e-3 * size


def test_the_dial_is_continuous_also_at_zero(zoo):
    assert_no_jump(zoo().at)


def test_a_jump_at_zero_is_caught(zoo):
    """λ > 0 with the adversarial branch only, as the published switch has it."""
    switch = copy.deepcopy(zoo())
    switch.branches = torch.ones_like(switch.branches)
    with pytest.raises(AssertionError):
        assert_no_jump(lambda lam: (zoo() if lam == 0 else switch).at(lam))
    with pytest.raises(AssertionError):
        assert_no_jump(snapping(zoo()))


def test_rounding_does_not_miss_a_stop(zoo):
    net, x = zoo(), images()
    expected = logits(net.at(0.3), x)
    for lam in (0.1 + 0.2, torch.tensor(0.3), 0.3 + 5e-8, 0.3 - 5e-8):
        assert torch.equal(logits(net.at(lam), x), expected)
    assert torch.equal(logits(net, x, 0.1 + 0.2), logits(net, x, 0.3))


# ---- what a plain network is --------------------------------------------------------------------------------------


def assert_shares_nothing(plain, net):
    own = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}
    assert not own & {t.untyped_storage().data_ptr() for t in plain.state_dict().values()}


@pytest.mark.parametrize("backbone", ["tiny", "wrn-16-8"])
def test_at_shares_nothing_with_the_network(zoo, backbone):
    assert_shares_nothing(zoo(backbone).at(0.3), zoo(backbone))


def test_sharing_is_caught(zoo):
    with pytest.raises(AssertionError):
        assert_shares_nothing(zoo().bind(LAMS), zoo())  # shares the conv weights, and says so


def test_training_the_network_leaves_a_plain_one_alone(zoo):
    net, x = copy.deepcopy(zoo()), images()
    plain = net.at(0.3)
    before, own = logits(plain, x), logits(net, x, 0.3)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net.train()(x, LAMS).square().mean().backward()
    optimizer.step()
    assert torch.equal(logits(plain, x), before)
    assert not torch.equal(logits(net.eval(), x, 0.3), own)


def test_changing_a_plain_network_leaves_the_network_alone(zoo):
    net, x = zoo(), images()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    plain = net.at(0.3)
    with torch.no_grad():
        for tensor in plain.state_dict().values():
            tensor.add_(1)
    plain.double().train()
    assert not any(part.training for part in net.modules())
    assert all(torch.equal(t, before[name]) and t.dtype == before[name].dtype for name, t in net.state_dict().items())
    assert net(x, 0.3).dtype == torch.float32


@backbones
def test_a_plain_network_has_no_dials_left(zoo, backbone):
    net = zoo(backbone)
    plain = net.at(0.3)
    kinds = {type(part) for part in plain.modules()}
    assert not kinds & {FiLM, DualBN, nn.BatchNorm2d, Unit, Network}
    assert not any(part.training for part in plain.modules())
    assert not any(p.requires_grad for p in plain.parameters())
    numbers = sum(t.numel() for t in plain.state_dict().values())
    assert numbers < sum(p.numel() for p in net.parameters())
    alone = Network(spec(backbone, dual=False, film=False, stops=(0.0,)))
    assert numbers <= sum(p.numel() for p in alone.parameters())  # no more than a network that never had dials


def test_gradients_reach_the_images_through_a_plain_network(zoo):
    x = images().requires_grad_()
    zoo().at(0.3)(x).sum().backward()
    assert x.grad.abs().sum() > 0


# ---- samples do not know each other -------------------------------------------------------------------------------


def assert_alone_and_in_any_order(f, x, lams):
    together = f(x, lams)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(f(x[order], lams[order]), together[order], rtol=1e-9, atol=1e-9)
    for i in range(len(x)):
        torch.testing.assert_close(f(x[i : i + 1], lams[i : i + 1]), together[i : i + 1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backbone", ["tiny", "wrn-40-2"])
def test_a_sample_depends_neither_on_its_place_nor_on_its_neighbours(zoo, backbone):
    net = copy.deepcopy(zoo(backbone)).double()
    x = images().double()
    assert_alone_and_in_any_order(lambda x, lams: logits(net, x, lams), x, LAMS)
    assert_alone_and_in_any_order(lambda x, lams: bound(net, x, lams), x, LAMS)


def test_batch_statistics_in_eval_mode_are_caught(zoo):
    net = copy.deepcopy(zoo()).double()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.training = True
    with pytest.raises(AssertionError):
        assert_alone_and_in_any_order(lambda x, lams: logits(net, x, lams), images().double(), LAMS)


def test_the_dial_matters_and_is_deterministic(zoo):
    net, x = zoo(), images()
    for a in STOPS:
        assert torch.equal(logits(net, x, a), logits(net, x, a))
        for b in STOPS:
            assert a == b or gap(logits(net, x, a), logits(net, x, b)) > 0.01


def test_one_norm_without_a_pair_sees_the_whole_batch_at_once():
    net = Network(spec(dual=False)).train()
    net(images(), LAMS)
    counts = {part.num_batches_tracked.item() for part in net.modules() if isinstance(part, nn.BatchNorm2d)}
    assert counts == {1}


@backbones
def test_every_backbone_takes_small_grey_images(backbone):
    net, x = Network(spec(backbone, (1, 8, 8), ("x", "y"))), images(3, channels=1)
    assert logits(net, x, 0.1).shape == logits(net.at(0.1), x).shape == (3, 2)


# ---- parameters ---------------------------------------------------------------------------------------------------

PLAIN = {"dual": False, "film": False}
OAT = {"dual": True, "film": True, "codes": "rand", "code_dim": 128}
SCALAR = {"film": True, "codes": "none"}


@pytest.mark.parametrize("backbone, options, expected", [
    ("resnet34", PLAIN, 21_282_122),
    ("resnet34", {"dual": True, "film": False}, 21_299_146),
    ("resnet34", SCALAR | {"dual": False}, 31_403_978),
    ("resnet34", SCALAR | {"dual": True}, 31_421_002),
    ("resnet34", OAT, 33_355_466),
    ("wrn-16-8", PLAIN, 10_961_370),
    ("wrn-16-8", {"dual": True, "film": False}, 10_968_570),
    ("wrn-16-8", OAT, 16_228_922),
    ("wrn-40-2", PLAIN, 2_243_546),
    ("wrn-40-2", {"dual": True, "film": False}, 2_248_954),
    ("wrn-40-2", OAT, 3_886_394),
])  # fmt: skip
def test_parameter_counts_are_the_published_ones(backbone, options, expected):
    net = Network(spec(backbone, (3, 32, 32), map(str, range(10)), **options))
    assert sum(p.numel() for p in net.parameters()) == expected


def test_parameter_count_of_the_lesson_network():
    assert sum(p.numel() for p in Network(spec(**OAT)).parameters()) == 185_016


@pytest.mark.parametrize("backbone, count", [("resnet34", 33), ("wrn-16-8", 12), ("wrn-40-2", 36)])
def test_film_sits_where_it_was_published(zoo, backbone, count):
    net = zoo(backbone)
    assert sum(isinstance(part, FiLM) for part in net.modules()) == count
    assert not any("shortcut" in name for name, part in net.named_modules() if isinstance(part, FiLM))


@backbones
def test_every_norm_is_a_pair(zoo, backbone):
    norms = [part for part in zoo(backbone).modules() if isinstance(part, DualBN)]
    assert norms and all(n.adv is not None for n in norms)
    assert 2 * len(norms) == sum(isinstance(part, nn.BatchNorm2d) for part in zoo(backbone).modules())


# ---- seeds --------------------------------------------------------------------------------------------------------


def test_the_seed_decides_every_bit():
    a, b, other = (Network(spec(), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["codes"], other["codes"])
    assert not torch.equal(a["body.stem.conv.weight"], other["body.stem.conv.weight"])


def test_building_leaves_the_random_state_of_the_caller_alone(monkeypatch):
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    before = torch.get_rng_state()
    first = Network(spec())
    assert torch.equal(torch.get_rng_state(), before) and not reseeded
    torch.rand(5)  # and does not depend on it
    assert torch.equal(Network(spec()).body.head.each[0].weight, first.body.head.each[0].weight)


def test_codes_survive_the_file_and_logits_are_the_same_bits(zoo, tmp_path):
    path = tmp_path / "net.safetensors"
    network.save(zoo(), path)
    back = network.load(path)
    assert "codes" in back.state_dict() and torch.equal(back.codes, zoo().codes)
    assert torch.equal(logits(back, images(), LAMS), logits(zoo(), images(), LAMS))
    assert torch.equal(logits(back.at(0.25), images()), logits(zoo().at(0.25), images()))
    assert back.spec == zoo().spec and not back.training


# ---- errors -------------------------------------------------------------------------------------------------------

LISTED = "0, 0.1, 0.2, 0.3, 0.4, 1"


@pytest.mark.parametrize("wrong, words", [
    (lambda net: net(images(), 0.15), ["0.15", LISTED, "net.at"]),
    (lambda net: net(images(), 1.5), ["1.5", "[0, 1]"]),
    (lambda net: net(images(), float("nan")), ["nan", "[0, 1]"]),
    (lambda net: net.at(-0.1), ["-0.1", "[0, 1]"]),
    (lambda net: net.bind(torch.tensor([0.1, 2.0])), ["2", "[0, 1]"]),
    (lambda net: net(images()), ["which λ", LISTED]),
    (lambda net: net.at(), ["which λ", LISTED]),
    (lambda net: net(images(), LAMS[:3]), ["3 values", "8 images"]),
    (lambda net: net(images(), torch.empty(0)), ["0 values", "8 images"]),
    (lambda net: net(images(), net.setting(0.1, 1)), ["setting for 1", "given 8"]),
    (lambda net: net(images(), Setting.join(net.setting(0.1, 4), net.setting(0.0, 2))), ["setting for 6", "given 8"]),
    (lambda net: net.bind(LAMS)(images(1)), ["8 values", "1 images"]),
    (lambda net: net.bind(torch.empty(0)), ["no λ"]),
    (lambda net: net.at(LAMS), ["one λ", "8", "net.bind"]),
    (lambda net: net.at(0.1, width=0.5), ["0.5", "widths are 1"]),
    (lambda net: net.bind(LAMS, width=0.5), ["0.5", "widths are 1"]),
    (lambda net: Network(spec("resnet43")), ["resnet43", "did you mean 'resnet34'", "wrn-16-8"]),
    (lambda net: Network(spec(stops=(0.3, 0.1))), ["ascending", "0.3, 0.1"]),
    (lambda net: Network(spec(stops=(0.0, 1.1))), ["[0, 1]", "1.1"]),
    (lambda net: Network(spec(stops=())), ["ascending", "none"]),
    (lambda net: Network(spec(code_dim=5)), ["code_dim=5", "6"]),
])  # fmt: skip
def test_errors_say_what_was_given_and_what_is_valid(zoo, wrong, words):
    with pytest.raises(ValueError) as caught:
        wrong(zoo())
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), (word, str(caught.value))


def test_a_dial_ends_at_its_last_stop():
    net = Network(spec(stops=(0.2, 0.5)))
    for lam in (0.1, 0.9):
        with pytest.raises(ValueError, match=f"{lam}.*0.2, 0.5"):
            net.at(lam)


def test_a_network_of_one_stop_needs_no_lam():
    net = Network(spec(stops=(0.5,), dual=False, film=False))
    x = images()
    assert torch.equal(logits(net, x), logits(net, x, 0.5)) and gap(logits(net.at(), x), logits(net, x)) < 1e-5
    with pytest.raises(ValueError, match=r"0\.3.*0\.5"):
        net.at(0.3)
