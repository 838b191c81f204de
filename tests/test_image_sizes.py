"""Images of 64x64 (TinyImageNet) and 96x96 pixels (STL-10) through every backbone: forward, and one training step."""

import pytest
import torch

import oatlib
from oatlib.networks.backbones import BACKBONES
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.step import train_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_runs_and_trains(backbone, size):
    x, y = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    data = oatlib.from_tensors("large", (x, y), (x, y), (x, y), classes=["ant", "bee"])
    net = oatlib.build("oat", data, backbone)
    # One clean and one attacked image; one step is enough to see that gradients flow everywhere.
    batch = LambdaBatch(x, y, torch.tensor([0, len(net.spec.stops) - 1]), net.spec.stops)
    loss = train_step(net, batch, oatlib.PGD(8 / 255, 1, best=False), torch.Generator().manual_seed(0))
    assert loss.isfinite()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    assert any(p.grad.abs().sum() > 0 for p in net.parameters())
    # The network with its branches and the folded one agree.
    with torch.no_grad():
        logits = net(x, torch.tensor([0.0, 0.0]))
        assert logits.shape == (2, 2)
        assert torch.allclose(logits, net.at(0.0)(x), atol=1e-4)
