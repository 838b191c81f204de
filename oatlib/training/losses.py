"""Training losses, and which attack belongs to each.

A recipe names its loss. Losses compare the logits of clean and attacked images with `Labels`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.pgd import PGD


@dataclass(frozen=True)
class Labels:
    """The targets of a loss function, and its weights.

    Attributes:
        y: Labels (N,).
        lam: λ of each image, (N,).
        zeros: Number of images at the front that have λ = 0 and were not attacked.
        beta: Weight β of the KL term.
        teacher: Detached logits (N, classes) of the first width of the step. None at that width
            itself.
    """

    y: Tensor
    lam: Tensor
    zeros: int
    beta: float = 0.0
    teacher: Tensor | None = None


def hybrid(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the mean of (1 - λ)·CE(clean) + λ·CE(attacked), where λ belongs to each image.

    Args:
        clean: Logits of all unattacked images, (N, classes).
        attacked: Logits of the attacked images, (N - zeros, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    y, lam, zeros = labels.y, labels.lam, labels.zeros
    loss = ((1 - lam) * F.cross_entropy(clean, y, reduction="none")).sum()
    loss = loss + (lam[zeros:] * F.cross_entropy(attacked, y[zeros:], reduction="none")).sum()
    return loss / len(y)


def halves(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the mean cross-entropy, where each image is either clean (λ = 0) or attacked.

    Args:
        clean: Logits of the images with λ = 0, (zeros, classes).
        attacked: Logits of the attacked images, (N - zeros, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    return F.cross_entropy(torch.cat([clean, attacked]), labels.y)


def as_coded(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the loss of FLOAT's public code.

    All images count clean with weight 1/2. Images with λ > 0 also count attacked with weight 1/2,
    but their sum is divided by the size of the whole batch. In effect the weights are 1/2 clean and
    1/4 attacked.

    Args:
        clean: Logits of all unattacked images, (N, classes).
        attacked: Logits of the attacked images, (N - zeros, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    loss = F.cross_entropy(clean, labels.y, reduction="sum")
    loss = loss + F.cross_entropy(attacked, labels.y[labels.zeros :], reduction="sum")
    return loss / (2 * len(labels.y))


def trades(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return CE(clean) + β·KL(clean || attacked), with gradients through both terms.

    The public code does the same, but it computes the clean logits a second time for the KL term.
    The loss and its gradient are equal. The running statistics of BatchNorm see the clean images
    once here instead of twice.

    Args:
        clean: Logits of the unattacked images, (N, classes).
        attacked: Logits of the attacked images, (N, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    return (
        F.cross_entropy(clean, labels.y) + labels.beta * kl(attacked, clean.log_softmax(1)).mean()
    )


def distill(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the loss of in-place distillation.

    The full width learns the labels. Narrower widths learn the class probabilities of the full
    width.

    Args:
        clean: Logits of the unattacked images, (N, classes).
        attacked: Not used.
        labels: Targets.

    Returns:
        A scalar.
    """
    return F.cross_entropy(clean, labels.y if labels.teacher is None else labels.teacher.softmax(1))


def kl(attacked: Tensor, target: Tensor) -> Tensor:
    """Return KL(target || softmax(attacked)) for each image.

    Args:
        attacked: Logits (N, classes).
        target: Log-probabilities (N, classes).

    Returns:
        Tensor of shape (N,).
    """
    return (target.exp() * (target - attacked.log_softmax(1))).sum(1)


def aim_at_loss(attack: PGD, f, x: Tensor) -> PGD:
    """Return the attack of the preset unchanged, with its own objective.

    Args:
        attack: The attack of the preset.
        f: Function from images to logits. Not used.
        x: Images (N, C, H, W). Not used.
    """
    return attack


def aim_at_kl(attack: PGD, f, x: Tensor) -> PGD:
    """Return an attack that increases the regulariser of TRADES.

    It starts near x, because the gradient of the regulariser is zero at x itself. The start is not
    clipped, as in the public code.

    Args:
        attack: The attack of the preset. Its eps, steps and step size are used.
        f: Function from images to logits.
        x: Images (N, C, H, W). Their outputs are the reference of the regulariser.
    """
    with torch.no_grad():
        target = f(x).log_softmax(1)

    def regulariser(logits: Tensor, y: Tensor) -> Tensor:
        return kl(logits, target)

    return PGD(
        attack.eps, attack.steps, attack.step_size, loss=regulariser, start="gaussian", best=False
    )


@dataclass(frozen=True)
class Loss:
    """What a training step minimises, and what it needs for that.

    Attributes:
        of: The loss function: (clean logits, attacked logits, `Labels`) -> scalar.
        aim: Makes the attack of the step: (attack of the preset, function, images) -> attack.
        both: Whether images with λ > 0 also pass through the network unattacked.
        ends: Whether the loss is defined for λ = 0 and λ = 1 only.
    """

    of: Callable[[Tensor, Tensor, Labels], Tensor]
    aim: Callable = aim_at_loss
    both: bool = True
    ends: bool = False


LOSSES = {
    "hybrid": Loss(hybrid),
    "trades": Loss(trades, aim_at_kl),
    "distill": Loss(distill),
    "halves": Loss(halves, both=False, ends=True),
    "as-coded": Loss(as_coded, ends=True),
}
