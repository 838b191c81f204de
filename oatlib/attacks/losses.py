"""Losses that attacks increase: functions of logits (N, C) and labels (N,) that return one value
per image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each image.

    Args:
        logits: Tensor of shape (N, C).
        y: True classes (N,).

    Returns:
        Values (N,).
    """
    return F.cross_entropy(logits, y, reduction="none")


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the largest wrong logit minus the true one; positive means misclassified.

    Unlike cross-entropy it never saturates.

    Args:
        logits: Tensor of shape (N, C).
        y: True classes (N,).

    Returns:
        Values (N,).
    """
    true_class = y[:, None]
    best_wrong = logits.scatter(1, true_class, -torch.inf).amax(1)
    return best_wrong - logits.gather(1, true_class)[:, 0]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference of logits ratio, DLR (Croce & Hein 2020).

    It is the margin divided by the gap between the largest and the third largest logit, so it does
    not depend on the scale of the logits. With two classes there is no third logit, and it is the
    margin itself.

    Args:
        logits: Tensor of shape (N, C).
        y: True classes (N,).

    Returns:
        Values (N,).
    """
    if logits.shape[1] < 3:
        return margin_loss(logits, y)
    first, _, third = logits.topk(3).values.unbind(1)
    return margin_loss(logits, y) / (first - third).clamp_min(1e-12)


def towards(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return the targeted form of `dlr`: how far the logit of `target` is above the true one.

    The difference is divided by the largest logit minus the mean of the third and the fourth
    largest. With fewer than four classes it is not divided.

    Args:
        logits: Tensor of shape (N, C).
        y: True classes (N,).
        target: Wrong classes to reach (N,).

    Returns:
        Values (N,).
    """
    ahead = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    if logits.shape[1] < 4:  # the divisor needs a fourth logit
        return ahead
    first, _, third, fourth = logits.topk(4).values.unbind(1)
    return ahead / (first - (third + fourth) / 2).clamp_min(1e-12)


ATTACK_LOSSES = {"ce": cross_entropy, "margin": margin_loss, "dlr": dlr}
