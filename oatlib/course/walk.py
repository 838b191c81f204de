"""The loop of APGD around the two parts that learners write in lesson 10b."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..attacks.apgd import checkpoints
from ..attacks.geometry import project

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (N, C), labels (N,) -> (N,)


def climb(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    steps: int,
    loss: Loss,
    size: float,
    halve: Callable | None = None,
) -> Tensor:
    """Return all points of an attack that starts at x.

    Args:
        f: Function from images to logits.
        x: Images (N, ...).
        y: Labels (N,).
        eps: Radius of the L-infinity ball.
        steps: Number of steps.
        loss: What the attack increases, one value per image.
        size: Length of the first steps.
        halve: Decides at checkpoints which steps are halved, with the arguments (size, rose,
            better, halved, steps). None: steps of fixed length without momentum, as in PGD.

    Returns:
        The points (steps + 1, N, ...).
    """
    wide = (-1, *[1] * (x.dim() - 1))
    point = before = best = x
    value, slope = value_and_slope(f, x, y, loss)
    best_value, best_slope, at_checkpoint = value, slope, value
    rose, last, points = torch.zeros_like(y), 0, [x]
    sizes = x.new_full((len(x),), size)
    halved = torch.ones(len(x), dtype=torch.bool)
    for step in range(1, steps + 1):
        # A step up the sign of the slope, a quarter of the last move as momentum
        share = 0.75 if halve and step > 1 else 1.0
        ahead = project(point + sizes.view(wide) * slope.sign(), x, eps, "linf")
        moved = point + share * (ahead - point) + (1 - share) * (point - before)
        point, before = project(moved, x, eps, "linf"), point
        points.append(point)
        # Remember the best point of each image
        earlier = value
        value, slope = value_and_slope(f, point, y, loss)
        rose = rose + (value > earlier)
        better = (value > best_value).view(wide)
        best = torch.where(better, point, best)
        best_slope = torch.where(better, slope, best_slope)
        best_value = torch.maximum(value, best_value)
        # At a checkpoint, images whose step is halved go back to their best point
        if halve and step in checkpoints(steps):
            improved = best_value > at_checkpoint
            sizes, halved = halve(sizes, rose, improved, halved, step - last)
            back = halved.view(wide)
            point = torch.where(back, best, point)
            slope = torch.where(back, best_slope, slope)
            value = torch.where(halved, best_value, value)
            at_checkpoint, rose, last = best_value, torch.zeros_like(rose), step
    return torch.stack(points)


def value_and_slope(f, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the loss of each image (N,), and its gradient (N, ...)."""
    x = x.detach().requires_grad_()
    values = loss(f(x), y)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), gradient
