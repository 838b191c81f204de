"""Networks that only look robust, one for each way of fooling oneself: for lesson 10, and to try `oatlib.check` on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attacks import FGSM, PGD, Attack
from ..data import Data, batches, load_data
from ..nets import Network
from ..shapes import CONSTANT_TRUST
from ..splits import Split
from ..transfer import Transfer

PANEL = 256


@dataclass(frozen=True)
class Fraud:
    """f (images -> logits) with a claim that was measured in a faulty way; `caught` are the questions that see it."""

    name: str
    story: str  # what its authors would write
    f: Callable[[Tensor], Tensor]
    split: Split
    claim: float
    caught: tuple[str, ...]
    eps: float = 8 / 255
    also: dict = field(default_factory=dict)  # what else `oatlib.check` must be told


def frauds(standard: Network, oat: Network, data: Data, seed: int = 0) -> dict[str, Fraud]:
    """All of them, {name: Fraud}; `standard` and `oat` are honest networks for `data`. Ten seconds: one is trained.

    A claim is one on its own `split`: validation images of `data`, and for the trained one of a world of two classes.
    """
    net, panel = standard.at(0.0), data.val.panel(min(PANEL, len(data.val)))
    made = [_saturated(net, panel), _noisy(net, panel, seed), _quantised(net, panel), _shattered(net, panel),
            _no_gradient(net, panel), _other_branch(oat, panel), _one_step(seed)]  # fmt: skip
    return {fraud.name: fraud for fraud in made}


def _claimed(f, split: Split, attack: Attack) -> float:
    """Robust accuracy as a careless author would measure it."""
    x_adv = attack(f, split.x, split.y, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (f(x_adv).argmax(1) == split.y).double().mean().item()


def _saturated(net: nn.Module, split: Split) -> Fraud:
    def f(x: Tensor) -> Tensor:
        return 1e4 * net(x)

    story = "Temperature scaling of the logits makes the network immune to gradient attacks."
    return Fraud("saturated logits", story, f, split, _claimed(f, split, PGD(steps=20)), ("gradients",))


def _noisy(net: nn.Module, split: Split, seed: int) -> Fraud:
    generator = torch.Generator().manual_seed(seed)

    def f(x: Tensor) -> Tensor:  # a wave too small to see, that stands elsewhere at every look; its mean is x
        return net(x + 0.002 * torch.sin(3000 * x + 6.2832 * torch.rand(x.shape, generator=generator)))

    story = "A little random dithering of the input, drawn anew at every look, takes the ground from under the attack."
    return Fraud("noise without EOT", story, f, split, _claimed(f, split, PGD(steps=20)), ("randomness",))


def _quantised(net: nn.Module, split: Split) -> Fraud:
    def f(x: Tensor) -> Tensor:
        return net((63 * x).round() / 63)

    story = "Images are quantised before the network sees them, which removes small perturbations."
    return Fraud("quantised input", story, f, split, _claimed(f, split, PGD(steps=20)), ("gradients",))


def _shattered(net: nn.Module, split: Split) -> Fraud:
    def f(x: Tensor) -> Tensor:  # a wave too small to see, and very steep
        return net(x + 0.002 * torch.sin(3000 * x))

    story = "A sinusoidal layer in front of the network regularises its input."
    return Fraud("shattered gradient", story, f, split, _claimed(f, split, PGD(steps=20)), ("slope",))


def _no_gradient(net: nn.Module, split: Split) -> Fraud:
    def f(x: Tensor) -> Tensor:
        rows = F.unfold(F.pad(x.detach(), (1, 1, 0, 0), mode="replicate"), (1, 3))
        n, channels, height, width = x.shape
        return net(rows.view(n, channels, 3, height * width).median(2).values.view(n, channels, height, width))

    with torch.no_grad():
        claim = (f(split.x).argmax(1) == split.y).double().mean().item()
    story = "A median filter cleans the image; gradient attacks cannot even be run."
    return Fraud("no gradient", story, f, split, claim, ("gradients",))


def _other_branch(oat: Network, split: Split) -> Fraud:
    f, attacked = oat.at(oat.spec.stops[0]), oat.at(oat.spec.stops[-1])
    story = "One network with two BatchNorms: as accurate as a standard one, and robust at the same time."
    claim = _claimed(f, split, Transfer(attacked, PGD(steps=20), "the robust branch"))
    return Fraud("the other branch", story, f, split, claim, ("same_function",), also={"attacked": attacked})


def _one_step(seed: int, eps: float = 12 / 255) -> Fraud:
    """A small network of two classes, trained with PGD-3 and then against FGSM only: catastrophic overfitting."""
    data = load_data("shapes", seed=seed, classes=2, n_train=2048, n_test=8, **CONSTANT_TRUST)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)
        )
    optimizer = torch.optim.Adam(net.parameters(), 0.001)
    for epoch in range(28):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        now = eps * min(1.0, (epoch + 1) / 8)
        attack = PGD(now, 3, best=False) if epoch < 14 else FGSM(now)
        for index in batches(len(data.train), 64, generator, drop_last=True):
            x, y = data.train.x[index], data.train.y[index]
            loss = F.cross_entropy(_centred(net)(x), y) + F.cross_entropy(_centred(net)(attack(_centred(net), x, y)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.requires_grad_(False)
    split = data.val.panel(PANEL)
    f = _centred(net)
    story = "Fast adversarial training: one gradient per step, no random start, and it withstands FGSM."
    return Fraud("trained against one step", story, f, split, _claimed(f, split, FGSM(eps)), ("half_step",), eps)


def _centred(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(4 * (x - 0.5))
