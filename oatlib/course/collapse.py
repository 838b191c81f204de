"""Trainings that differ only in their attack: which of them end in catastrophic overfitting?

These are the records of lesson 02b. `on_points` trains in the two-pixel world, `on_images` on two
classes of the built-in images. Every arm trains on half clean and half attacked images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..attacks.accuracy import robust_accuracy
from ..attacks.base import Attack
from ..attacks.pgd import FGSM, FGSMRS, NFGSM, PGD
from ..attacks.suite import Suite
from ..data.load import Data, batches, load_data
from ..data.splits import Split
from .two_pixels import accuracy, begun, small_net, two_cues

MU = 0.5  # weight of the penalty of GradAlign
EPOCHS, RAMP = 24, 8  # on images; ε grows over the first epochs
IMAGES = 256


class Arm:
    """One way to train.

    Args:
        kind: Makes the attack of training for a radius.
        mu: Weight of 1 - alignment in the loss (GradAlign).
    """

    def __init__(self, kind: Callable[[float], Attack], mu: float = 0.0):
        self.kind, self.mu = kind, mu

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, radius: float, source: Generator):
        """Return the loss of one batch."""
        x_adv = self.kind(radius)(net, x, y, source)
        loss = (F.cross_entropy(net(x), y) + F.cross_entropy(net(x_adv), y)) / 2
        if self.mu > 0:
            loss = loss + self.mu * (1 - alignment(net, x, y, radius, source)).mean()
        return loss


def _steps(count: int, share: float | None = None) -> Callable[[float], Attack]:
    """Return a function that makes PGD attacks; each step has the length share * radius."""

    def kind(radius: float) -> Attack:
        return PGD(radius, count, None if share is None else share * radius, best=False)

    return kind


POINT_ARMS = {
    "FGSM": Arm(FGSM),
    "FGSM, random start": Arm(FGSMRS),
    "N-FGSM": Arm(NFGSM),
    "PGD-2": Arm(_steps(2)),
    "FGSM + GradAlign": Arm(FGSM, MU),
    "PGD-7": Arm(_steps(7)),
}
IMAGE_ARMS = {
    "FGSM": Arm(FGSM),
    "FGSM, random start": Arm(FGSMRS),
    "N-FGSM": Arm(NFGSM),
    "FGSM + GradAlign": Arm(FGSM, MU),
    "two half steps": Arm(_steps(2, 0.5)),
    "PGD-3": Arm(_steps(3)),
}
AT_SMALL_EPS = ("FGSM", "FGSM, random start", "PGD-3")


def alignment(net: nn.Module, x: Tensor, y: Tensor, radius: float, source: Generator) -> Tensor:
    """Return the cosine of the gradients at x and at a random point of the ball, (N,)."""
    noise = radius * (2 * torch.rand(x.shape, generator=source) - 1)
    gradients = []
    for images in (x, x + noise):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        gradients.append(gradient.flatten(1))
    return F.cosine_similarity(gradients[0], gradients[1], dim=1)


def under_suite(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> float:
    """Return robust accuracy under the quick suite, in [0, 1]."""
    suite = Suite(radius, budget="quick")
    return robust_accuracy(net, x, y, suite, torch.Generator().manual_seed(1))


def measured(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> list[float]:
    """Return accuracies: clean, under FGSM, under PGD-20, under the quick suite."""
    row = []
    for attack in (PGD(0.0, 0), FGSM(radius), PGD(radius, 20)):
        x_adv = attack(net, x, y, torch.Generator().manual_seed(1))
        row.append(round(accuracy(net, x_adv, y), 4))
    return [*row, round(under_suite(net, x, y, radius), 4)]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def on_points(seeds: int = 5, rounds: int = 400, radii: Iterable[float] = (0.1, 0.06)) -> dict:
    """Train all arms in the two-pixel world, and measure them at the end.

    Args:
        seeds: Number of seeds, from 0 on.
        rounds: Gradient steps.
        radii: Values of ε.

    Returns:
        Under "rows", by ε and by name of the arm, the accuracies of `measured` for every seed.
    """
    rows: dict[str, dict] = {}
    for radius in radii:
        arms = rows.setdefault(f"{radius:g}", {})
        for name, arm in POINT_ARMS.items():
            arms[name] = [_trained_on_points(arm, radius, seed, rounds) for seed in range(seeds)]
    return {"n": len(two_cues(0)[1]), "seeds": seeds, "rounds": rounds, "rows": rows}


def _trained_on_points(arm: Arm, radius: float, seed: int, rounds: int) -> list[float]:
    x, y, _ = two_cues(seed)
    net, optimizer = begun(seed)
    source = torch.Generator().manual_seed(seed)
    for _ in range(rounds):
        _step(optimizer, arm.loss(net, x, y, radius, source))
    return measured(net, x, y, radius)


def on_images(seeds: int = 3) -> dict:
    """Train all arms at ε = 12/255 on images, and some at 6/255. Measure every second epoch.

    Args:
        seeds: Number of seeds of weights and batches, from 0 on.

    Returns:
        Under "curves", by ε, by name of the arm and by seed, rows: the accuracies of `measured`,
        and the mean alignment.
    """
    data = load_data("shapes", seed=0, classes=2, n_train=2048)
    panel = data.val.panel(IMAGES)
    curves: dict[str, dict] = {}
    for eps, names in ((12, tuple(IMAGE_ARMS)), (6, AT_SMALL_EPS)):
        arms = curves.setdefault(f"{eps}/255", {})
        for name in names:
            arms[name] = [
                _trained_on_images(IMAGE_ARMS[name], eps / 255, seed, data, panel)
                for seed in range(seeds)
            ]
    epochs = list(range(2, EPOCHS + 1, 2))
    return {"n": len(panel), "seeds": seeds, "epochs": epochs, "curves": curves}


def _trained_on_images(arm: Arm, radius: float, seed: int, data: Data, panel: Split) -> list:
    net, rows = small_net(seed, (768, 256, 256, 2), 4, nn.ReLU), []
    optimizer = torch.optim.Adam(net.parameters(), 0.001)
    for epoch in range(EPOCHS):
        source = torch.Generator().manual_seed(1000 * seed + epoch)
        now = radius * min(1.0, (epoch + 1) / RAMP)
        for index in batches(len(data.train), 64, source, drop_last=True):
            loss = arm.loss(net, data.train.x[index], data.train.y[index], now, source)
            _step(optimizer, loss)
        if epoch % 2 == 1:
            cosine = alignment(net, panel.x, panel.y, radius, torch.Generator().manual_seed(1))
            row = measured(net, panel.x, panel.y, radius)
            rows.append([*row, round(cosine.mean().item(), 4)])
    return rows
