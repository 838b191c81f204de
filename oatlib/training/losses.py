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
from .labels import Labels
from .published import as_coded


def hybrid(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the mean of (1 - λ)·CE(clean) + λ·CE(attacked), where λ belongs to each image.

    Args:
        clean: Logits of all unattacked images, (N, classes).
        attacked: Logits of the attacked images, (N - n_clean, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    y = labels.y
    lam = labels.lam
    y_attacked = y[labels.n_clean :]
    lam_attacked = lam[labels.n_clean :]
    clean_loss = (1 - lam) * F.cross_entropy(clean, y, reduction="none")
    attacked_loss = lam_attacked * F.cross_entropy(attacked, y_attacked, reduction="none")
    return (clean_loss.sum() + attacked_loss.sum()) / len(y)


def halves(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """Return the mean cross-entropy, where each image is either clean or attacked.

    Args:
        clean: Logits of the unattacked images, (n_clean, classes).
        attacked: Logits of the attacked images, (N - n_clean, classes).
        labels: Targets.

    Returns:
        A scalar.
    """
    return F.cross_entropy(torch.cat([clean, attacked]), labels.y)


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
    regulariser = kl(attacked, clean.log_softmax(1)).mean()
    return F.cross_entropy(clean, labels.y) + labels.beta * regulariser


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
    if labels.teacher_logits is None:
        return F.cross_entropy(clean, labels.y)
    return F.cross_entropy(clean, labels.teacher_logits.softmax(1))


def kl(attacked: Tensor, target: Tensor) -> Tensor:
    """Return KL(target || softmax(attacked)) for each image.

    Args:
        attacked: Logits (N, classes).
        target: Log-probabilities (N, classes).

    Returns:
        Tensor of shape (N,).
    """
    return (target.exp() * (target - attacked.log_softmax(1))).sum(1)


def preset_attack(attack: PGD, f: Callable[[Tensor], Tensor], x: Tensor) -> PGD:
    """Return the attack of the preset unchanged, with its own objective.

    Args:
        attack: The attack of the preset.
        f: Function from images to logits. Not used.
        x: Images (N, C, H, W). Not used.
    """
    return attack


def trades_attack(attack: PGD, f: Callable[[Tensor], Tensor], x: Tensor) -> PGD:
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
class TrainingLoss:
    """What a training step minimises, and what it needs for that.

    Attributes:
        function: The loss function: (clean logits, attacked logits, `Labels`) -> scalar.
        make_attack: Makes the attack of the step: (attack of the preset, function from images to
            logits, images) -> attack.
        all_pass_clean: Whether attacked images also pass through the network unattacked.
        sampled: Whether an image is attacked with probability λ. Otherwise all images with λ > 0
            are attacked.
    """

    function: Callable[[Tensor, Tensor, Labels], Tensor]
    make_attack: Callable[[PGD, Callable[[Tensor], Tensor], Tensor], PGD] = preset_attack
    all_pass_clean: bool = True
    sampled: bool = False


TRAINING_LOSSES = {
    "hybrid": TrainingLoss(hybrid),
    "trades": TrainingLoss(trades, trades_attack),
    "distill": TrainingLoss(distill),
    "halves": TrainingLoss(halves, all_pass_clean=False),
    "as-coded": TrainingLoss(as_coded),
    # An estimate of "hybrid" with the same expectation, in two thirds of the time: instead of the
    # two terms, weighted 1 - λ and λ, each image has one of them with that probability.
    "sampled": TrainingLoss(halves, all_pass_clean=False, sampled=True),
}
