"""A network made of the parts of the lessons computes the same as the network of oatlib."""

import pytest
import torch

import oatlib
from oatlib.course import parts
from oatlib.training.recipes import OAT_STOPS

DATA = oatlib.load_data("shapes", n_train=32, n_val=32, n_test=16)


def dial_net(seed=0):
    """A `DialNet` with random statistics, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    net = parts.DialNet(classes=len(DATA.classes), generator=generator)
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif "codes" not in name:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_copy_gives_the_same_logits_at_every_stop(seed):
    net = dial_net(seed)
    copied = parts.as_network(net, DATA)
    x, stop = DATA.val.x, torch.arange(len(DATA.val)) % len(OAT_STOPS)
    with torch.no_grad():
        due, lam = net(x, stop), torch.tensor(OAT_STOPS)[stop]
        torch.testing.assert_close(copied(x, lam), due, rtol=1e-4, atol=1e-4)
        for i, each in enumerate(OAT_STOPS):
            torch.testing.assert_close(copied.at(each)(x)[stop == i], due[stop == i], rtol=1e-4, atol=1e-4)
    assert (due[1:] - due[:-1]).abs().max() > 0.1, "otherwise nothing is compared"


@pytest.mark.parametrize("part", ["conv.weight", "norm.scale", "norm.shift", "norm.mean", "norm.var", "film.out.bias"])
@pytest.mark.parametrize("block", [0, 2])
def test_every_part_is_copied(part, block):
    net = dial_net()
    x, stop = DATA.val.x, torch.arange(len(DATA.val)) % len(OAT_STOPS)
    before = parts.as_network(net, DATA)
    with torch.no_grad():
        net.state_dict()[f"blocks.{block}.{part}"].add_(0.3)
        due = net(x, stop)
        lam = torch.tensor(OAT_STOPS)[stop]
        assert (before(x, lam) - due).abs().max() > 1e-2, "the copy is one of its own"
        torch.testing.assert_close(parts.as_network(net, DATA)(x, lam), due, rtol=1e-4, atol=1e-4)


def test_the_copy_is_a_network_with_a_file(tmp_path):
    copied = parts.as_network(dial_net(), DATA)
    oatlib.save(copied, tmp_path / "mine.safetensors")
    again = oatlib.load(tmp_path / "mine.safetensors")
    assert again.spec.backbone == "plain" and again.spec.recipe == "oat"
    with torch.no_grad():
        assert torch.equal(again.at(0.3)(DATA.val.x), copied.at(0.3)(DATA.val.x))
