"""Networks of several sizes: the learner's copy computes the same, pruning keeps what it says, records are complete."""

import pytest
import torch

import oatlib
from oatlib.course import parts, widths
from oatlib.networks.backbones import BACKBONES
from oatlib.training.recipes import OAT_STOPS, build

DATA = oatlib.load_data("shapes", n_train=64, n_val=32, n_test=16)


def slim_net(seed=0):
    """A `SlimDialNet` with random statistics, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    net = parts.SlimDialNet(classes=len(DATA.classes), generator=generator)
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif "codes" not in name:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_copy_gives_the_same_logits_at_every_width_and_stop(index):
    net = slim_net()
    copied = parts.as_slim_network(net, DATA)
    x, stop = DATA.val.x, torch.arange(len(DATA.val)) % len(OAT_STOPS)
    with torch.no_grad():
        due, lam = net(x, stop, index), torch.tensor(OAT_STOPS)[stop]
        torch.testing.assert_close(copied(x, lam, net.widths[index]), due, rtol=1e-4, atol=1e-4)
        for i, each in enumerate(OAT_STOPS):
            at = copied.at(each, net.widths[index])(x)[stop == i]
            torch.testing.assert_close(at, due[stop == i], rtol=1e-4, atol=1e-4)
    assert (due[1:] - due[:-1]).abs().max() > 0.1, "otherwise nothing is compared"


def test_all_channels_of_a_generator_are_the_generator():
    film, code = parts.FiLM(6, 8), torch.randn(3, 6)
    for whole, narrow in zip(film(code), parts.narrow_film(film, code, 8), strict=True):
        torch.testing.assert_close(narrow, whole)
    gamma, beta = parts.narrow_film(film, code, 2)
    assert gamma.shape == beta.shape == (3, 2)


def test_a_narrow_backbone_exists_while_it_is_used():
    with widths.narrow_backbone(0.5) as name:
        net = build("standard", DATA, backbone=name)
        assert [unit.cout for unit in net.body.units] == [8, 16, 32]
    assert name not in BACKBONES


def test_pruning_to_all_channels_is_the_network_with_fresh_statistics():
    net = build("standard", DATA, backbone="plain")
    pruned = widths.Pruned(net, DATA)
    mended = widths.fresh_statistics(net, DATA, (1.0,))
    # statistics of one batch here and there, so both agree on nearly all images
    assert pruned.accuracy(pruned.first(1.0), DATA.val) == pytest.approx(widths.right(mended, DATA.val), abs=0.1)


def test_channels_of_the_narrow_network_are_those_that_are_kept():
    net = build("standard", DATA, backbone="plain")
    pruned = widths.Pruned(net, DATA)
    kept = pruned.first(0.5)
    before = pruned.loss(kept, DATA.val.x, DATA.val.y)
    with torch.no_grad():
        for unit in pruned._units:
            unit.conv.weight[unit.cout // 2 :] = 7
    assert pruned.loss(kept, DATA.val.x, DATA.val.y) == before


def test_the_chosen_channels_have_a_lower_loss_than_the_first():
    pruned = widths.Pruned(build("standard", DATA, backbone="plain"), DATA)
    kept = widths.least_missed(pruned, DATA.train.x, DATA.train.y, 0.25)
    assert [len(set(index.tolist())) for index in kept] == [4, 8, 16]
    first = pruned.loss(pruned.first(0.25), DATA.train.x, DATA.train.y)
    assert pruned.loss(kept, DATA.train.x, DATA.train.y) < first
