"""The building blocks of all attacks: three operations on images.

An attack starts near an image (`init`), steps along the gradient of a loss (`ascend`), and returns
to the ball of allowed changes (`project`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._random import rand_on, randn_like_on


def init(x: Tensor, eps: float, norm: str, generator: torch.Generator) -> Tensor:
    """Return a uniformly random point of the eps-ball around each image, clipped to [0, 1].

    Args:
        x: Images (N, ...).
        eps: Radius of the ball, in pixel units.
        norm: "linf" or "l2".
        generator: Source of the random numbers.

    Returns:
        Images of the same shape as x.
    """
    if norm == "linf":
        noise = rand_on(x.shape, x, generator).mul_(2).sub_(1)
        return (x + noise.mul_(eps)).clamp_(0, 1)
    direction = _unit(randn_like_on(x, generator))
    # The volume within radius r grows like r^d, where d is the number of pixel values. The d-th
    # root makes points uniform in the ball. Without it most of them would lie near the centre.
    one_per_image = (len(x), *[1] * (x.dim() - 1))
    pixel_values = x.shape[1:].numel()
    radius = rand_on(one_per_image, x, generator) ** (1 / pixel_values)
    return (x + direction * radius * eps).clamp_(0, 1)


def ascend(x_adv: Tensor, grad: Tensor, step_length: float, norm: str) -> Tensor:
    """Take the step of a given length that raises the loss most, to first order.

    Args:
        x_adv: Images (N, ...).
        grad: Gradient of the loss with respect to them (N, ...). A zero gradient gives no step.
        step_length: Length of the step, in pixel units.
        norm: "linf" (step along the sign of the gradient) or "l2" (step along the gradient).

    Returns:
        Images (N, ...), not projected.
    """
    direction = grad.sign() if norm == "linf" else _unit(grad)
    return torch.add(x_adv, direction, alpha=step_length)


def project(x_adv: Tensor, x: Tensor, eps: float, norm: str) -> Tensor:
    """Project images onto the eps-ball around x and into [0, 1].

    Args:
        x_adv: Images (N, ...). They are not changed.
        x: Centres of the balls (N, ...).
        eps: Radius of the ball, in pixel units.
        norm: "linf" or "l2".

    Returns:
        Images (N, ...).
    """
    return projection(x, eps, norm)(x_adv.clone())


def projection(x: Tensor, eps: float, norm: str) -> Callable[[Tensor], Tensor]:
    """Return `project` as a function of x_adv alone, for many steps around the same x.

    Args:
        x: Centres of the balls (N, ...).
        eps: Radius of the ball, in pixel units.
        norm: "linf" or "l2".

    Returns:
        Function from x_adv (N, ...) to projected images. It changes x_adv in place.
    """
    if norm == "linf":  # ball and [0, 1] are both boxes: their intersection is computed once
        low, high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
        return lambda x_adv: x_adv.clamp_(low, high)

    def onto_ball(x_adv: Tensor) -> Tensor:
        # Clip to [0, 1] first, as a shorter change stays in [0, 1]. To clip last would leave a part
        # of eps unused.
        delta = x_adv.clamp_(0, 1).sub_(x)
        # Then shorten to length eps. The second clip removes rounding errors.
        return delta.mul_((eps / _length(delta)).clamp_(max=1)).add_(x).clamp_(0, 1)

    return onto_ball


def _length(v: Tensor) -> Tensor:
    """Return the L2 length of each v[i], of shape (N, 1, ..., 1).

    Lengths are at least the smallest normal number, so that dividing by them is safe.
    """
    length = torch.linalg.vector_norm(v, dim=tuple(range(1, v.dim())), keepdim=True)
    return length.clamp_min(torch.finfo(v.dtype).tiny)


def _unit(v: Tensor) -> Tensor:
    """Scale each v[i] to L2 length 1, and leave zeros as they are.

    The largest entry is scaled to 1 first, because squares of numbers such as 1e-25 underflow.
    """
    largest = v.abs().amax(dim=tuple(range(1, v.dim())), keepdim=True)
    v = v / largest.clamp_min(torch.finfo(v.dtype).tiny)
    return v / _length(v)
