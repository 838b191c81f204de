"""What an attack asks a network: logits, and the gradient of a loss with respect to the images.

If the network is random, answers are means over several samples of it. Averaging gradients this way
is called expectation over transformation (EOT).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._check import briefly
from .freeze import NoGradientError


def mean_logits(f: Callable[[Tensor], Tensor], x: Tensor, eot_samples: int = 1) -> Tensor:
    """Return logits (N, C) without a gradient.

    Args:
        f: Function from images to logits.
        x: Images (N, ...).
        eot_samples: Number of calls of f whose logits are averaged.

    Raises:
        ValueError: f does not return logits (N, C).
    """
    with torch.no_grad():
        return sum(_logits(f, x) for _ in range(eot_samples)) / eot_samples


def logits_and_gradient(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    eot_samples: int = 1,
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the logits at x, and a function that computes the gradient of the summed loss there.

    The backward pass is made when that function is called. So a caller can use the logits first.

    Args:
        f: Function from images to logits.
        x: Images (N, ...).
        loss: Function from logits (N, C) to one value per image (N,).
        eot_samples: Number of calls of f whose logits and gradients are averaged.

    Returns:
        Logits (N, C), and a function without arguments that returns the gradient (N, ...).

    Raises:
        ValueError: f does not return logits (N, C).
        NoGradientError: No gradient reaches the images. With eot_samples=1, the returned function
            raises it.
    """
    x = x.detach().requires_grad_()
    if eot_samples == 1:
        logits = _logits(f, x)
        values = loss(logits)
        return logits.detach(), lambda: _gradient(values, x)
    gradient_sum, logits_sum = 0.0, 0.0
    for _ in range(eot_samples):  # one computation graph in memory at a time
        logits = _logits(f, x)
        gradient_sum = _gradient(loss(logits), x) + gradient_sum
        logits_sum = logits.detach() + logits_sum
    return logits_sum / eot_samples, lambda: gradient_sum / eot_samples


def _gradient(values: Tensor, x: Tensor) -> Tensor:
    if not values.requires_grad:
        raise NoGradientError(
            "no gradient reaches the images: is there a no_grad, detach or numpy inside the "
            "network?"
        )
    return torch.autograd.grad(values.sum(), x)[0]


def _logits(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    logits = f(x)
    is_tensor = isinstance(logits, Tensor)
    if not is_tensor or logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        found = tuple(logits.shape) if is_tensor else briefly(logits)
        raise ValueError(f"the network must return logits ({len(x)}, classes >= 2), got {found}")
    # Half precision becomes single precision: 8 bits of mantissa are too few for a softmax.
    return logits.float() if logits.element_size() < 4 else logits
