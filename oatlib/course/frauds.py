"""Networks that only look robust, each because of a different mistake in its evaluation.

Lesson 10 explains them. They also test `oatlib.audit`, which should detect each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._random import global_seed
from ..attacks.base import Attack
from ..attacks.pgd import FGSM, PGD
from ..attacks.transfer import Transfer
from ..data.load import Data, batches, load_data
from ..data.shapes import CONSTANT_TRUST
from ..data.splits import Split
from ..networks.network import Network

PANEL = 256  # images, at most


@dataclass(frozen=True)
class Fraud:
    """A function with a claimed robust accuracy that was measured in a faulty way.

    Attributes:
        name: Short name.
        story: What its authors would write about it.
        f: Function from images (N, C, H, W) to logits (N, classes).
        split: Images and labels on which the claim was measured.
        claim: The claimed robust accuracy, in [0, 1].
        caught: Names of the findings of `oatlib.audit` that detect it.
        eps: Radius of the L-infinity ball, pixels in [0, 1].
        also: Further arguments that `oatlib.audit` needs.
    """

    name: str
    story: str
    f: Callable[[Tensor], Tensor]
    split: Split
    claim: float
    caught: tuple[str, ...]
    eps: float = 8 / 255
    also: dict = field(default_factory=dict)


def frauds(standard: Network, oat: Network, data: Data, seed: int = 0) -> dict[str, Fraud]:
    """Make all frauds. It takes about ten seconds, because one of them is trained.

    Each claim is about the `split` of its fraud. For most these are validation images of `data`.
    The one that is trained has its own data set, with two classes.

    Args:
        standard: A network for `data`, trained without attacks. Most frauds are built on it.
        oat: A network for `data` with a BatchNorm pair, trained over several λ.
        data: The data set.
        seed: Seed of the random parts.

    Returns:
        The frauds, by name.
    """
    net, panel = standard.at(0.0), data.val.panel(min(PANEL, len(data.val)))
    made = [
        _saturated(net, panel),
        _noisy(net, panel, seed),
        _quantised(net, panel),
        _shattered(net, panel),
        _no_gradient(net, panel),
        _other_branch(oat, panel),
        _one_step(seed),
    ]
    return {fraud.name: fraud for fraud in made}


def _claimed(f, split: Split, attack: Attack) -> float:
    """Measure robust accuracy under one attack only, as a careless author would."""
    x_adv = attack(f, split.x, split.y, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (f(x_adv).argmax(1) == split.y).double().mean().item()


def _saturated(net: nn.Module, split: Split) -> Fraud:
    """The large factor saturates the softmax, so the loss of a correct image has gradient 0."""

    def f(x: Tensor) -> Tensor:
        return 1e4 * net(x)

    story = "Temperature scaling of the logits makes the network immune to gradient attacks."
    return Fraud(
        "saturated logits", story, f, split, _claimed(f, split, PGD(steps=20)), ("gradients",)
    )


def _noisy(net: nn.Module, split: Split, seed: int) -> Fraud:
    generator = torch.Generator().manual_seed(seed)

    def f(x: Tensor) -> Tensor:
        """Adds a wave that is too small to see, with a new random phase at every call.

        Its mean is 0, so gradients that are averaged over many calls (EOT) are close to those of
        `net`.
        """
        return net(
            x + 0.002 * torch.sin(3000 * x + 6.2832 * torch.rand(x.shape, generator=generator))
        )

    story = (
        "A little random dithering of the input, drawn anew at every look, takes the ground "
        "from under the attack."
    )
    return Fraud(
        "noise without EOT", story, f, split, _claimed(f, split, PGD(steps=20)), ("randomness",)
    )


def _quantised(net: nn.Module, split: Split) -> Fraud:
    """Rounding has gradient 0 almost everywhere."""

    def f(x: Tensor) -> Tensor:
        return net((63 * x).round() / 63)

    story = "Images are quantised before the network sees them, which removes small perturbations."
    return Fraud(
        "quantised input", story, f, split, _claimed(f, split, PGD(steps=20)), ("gradients",)
    )


def _shattered(net: nn.Module, split: Split) -> Fraud:
    def f(x: Tensor) -> Tensor:
        """Adds a wave that is too small to see but very steep.

        The gradient of the loss is mostly that of the wave, and no longer points to where the loss
        rises.
        """
        return net(x + 0.002 * torch.sin(3000 * x))

    story = "A sinusoidal layer in front of the network regularises its input."
    return Fraud(
        "shattered gradient", story, f, split, _claimed(f, split, PGD(steps=20)), ("slope",)
    )


def _no_gradient(net: nn.Module, split: Split) -> Fraud:
    """A median filter over three neighbouring pixels of a row.

    `detach` cuts the gradient off, and the claim is the clean accuracy, as if an attack that cannot
    run were a failed attack.
    """

    def f(x: Tensor) -> Tensor:
        rows = F.unfold(F.pad(x.detach(), (1, 1, 0, 0), mode="replicate"), (1, 3))
        n, channels, height, width = x.shape
        return net(
            rows.view(n, channels, 3, height * width)
            .median(2)
            .values.view(n, channels, height, width)
        )

    with torch.no_grad():
        claim = (f(split.x).argmax(1) == split.y).double().mean().item()
    story = "A median filter cleans the image; gradient attacks cannot even be run."
    return Fraud("no gradient", story, f, split, claim, ("gradients",))


def _other_branch(oat: Network, split: Split) -> Fraud:
    """Attacks one BatchNorm branch and measures the other one: the attack meets a different
    function.
    """
    f, attacked = oat.at(oat.spec.stops[0]), oat.at(oat.spec.stops[-1])
    story = (
        "One network with two BatchNorms: as accurate as a standard one, and robust at the "
        "same time."
    )
    claim = _claimed(f, split, Transfer(attacked, PGD(steps=20), "the robust branch"))
    return Fraud(
        "the other branch", story, f, split, claim, ("same_function",), also={"attacked": attacked}
    )


def _one_step(seed: int, eps: float = 12 / 255) -> Fraud:
    """Train a small network of two classes with PGD-3, then against FGSM only.

    The result is catastrophic overfitting: the network resists FGSM, but not attacks with other
    steps.
    """
    data = load_data("shapes", seed=seed, classes=2, n_train=2048, n_test=8, **CONSTANT_TRUST)
    with global_seed(seed):
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(768, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 2),
        )
    optimizer = torch.optim.Adam(net.parameters(), 0.001)
    for epoch in range(28):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        now = eps * min(1.0, (epoch + 1) / 8)  # the radius grows over the first 8 epochs
        attack = PGD(now, 3, best=False) if epoch < 14 else FGSM(now)
        for index in batches(len(data.train), 64, generator, drop_last=True):
            x, y = data.train.x[index], data.train.y[index]
            loss = F.cross_entropy(_centred(net)(x), y) + F.cross_entropy(
                _centred(net)(attack(_centred(net), x, y)), y
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.requires_grad_(False)
    split = data.val.panel(PANEL)
    f = _centred(net)
    story = (
        "Fast adversarial training: one gradient per step, no random start, and it withstands FGSM."
    )
    return Fraud(
        "trained against one step",
        story,
        f,
        split,
        _claimed(f, split, FGSM(eps)),
        ("half_step",),
        eps,
    )


def _centred(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Pixels enter the network as [-2, 2]."""
    return lambda x: net(4 * (x - 0.5))
