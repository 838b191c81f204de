"""Robust accuracy of a function under one attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Attack
from .freeze import attacking


def robust_accuracy(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
) -> float:
    """Return the fraction of the images that a deterministic function classifies correctly.

    Every image counts that is classified correctly both unchanged and attacked. If the attack keeps
    its best iterate (`attack.best`), attacked means: at every point that the attack reaches. An
    image is dropped at the first point where it is misclassified. For other attacks it means: at
    the point that the attack returns.

    All images are attacked in one batch. For large data sets, networks with dials, random functions
    and confidence intervals, use `oatlib.evaluate`.

    Args:
        f: Function from images (N, ...) to logits (N, C).
        x: Images (N, ...) with pixels in [0, 1].
        y: Labels (N,), integers.
        attack: The attack.
        generator: Source of the random starts. None: a new generator with seed 0.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: There are no images, or the arguments do not fit each other.

    Example:
        >>> robust_accuracy(net.at(1.0), data.val.x, data.val.y, oatlib.PGD(8 / 255, 20))
    """
    if not len(y):
        raise ValueError("there are no images to attack")
    if attack.best:
        _, robust = correct_at_every_point(f, x, y, attack, generator)
    else:
        _, robust = correct_before_and_after(f, x, attack(f, x, y, generator), y)
    return robust.double().mean().item()


def correct_at_every_point(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return which images are classified correctly, and which at every point of an attack, too.

    Args:
        f: Function from images (N, ...) to logits (N, C). If it is random, every point is judged by
            one sample.
        x: Images (N, ...) with pixels in [0, 1].
        y: Labels (N,), integers.
        attack: The attack. An image is dropped at the first point where it is misclassified.
        generator: Source of the random starts. None: a new generator with seed 0.

    Returns:
        Two masks (N,): correct unchanged, and correct at every point that is reached.
    """
    clean = None
    robust = torch.ones_like(y, dtype=torch.bool)
    for index, _, logits in attack.survivors(f, x, y, generator):
        # `index` holds all images that were correct so far
        robust[index] = logits.argmax(1) == y[index]
        if clean is None:
            clean = robust.clone()
    return clean, robust


def correct_before_and_after(
    f: Callable[[Tensor], Tensor], x: Tensor, x_adv: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return which images are classified correctly, and which attacked, too.

    Both are classified in one call, so that a random function uses the same sample for both.

    Args:
        f: Function from images to logits.
        x: Images (N, ...).
        x_adv: The same images, attacked (N, ...).
        y: Labels (N,), integers.

    Returns:
        Two masks (N,): correct unchanged, and correct both unchanged and attacked.
    """
    with attacking(f), torch.no_grad():
        logits = f(torch.cat([x, x_adv]))
    correct = logits.argmax(1) == torch.cat([y, y])
    # The unchanged image lies in the ball, too. If it is misclassified, f is not robust there.
    clean, attacked = correct.chunk(2)
    return clean, clean & attacked
