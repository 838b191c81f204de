"""Freeze a network during an attack, and check the images that are attacked.

Every attack uses this module, so that it leaves the network as it was and refuses images that it
cannot work on, such as normalised ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .._check import function, of_type

DUST = 1e-6  # pixels may lie outside of [0, 1] by this much, because of rounding


class NonFiniteError(ValueError):
    """Raised when logits or gradients of the network under attack contain NaN or infinity."""


class NoGradientError(RuntimeError):
    """Raised when the network under attack gives no gradient with respect to its images."""


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Put modules into eval mode without parameter gradients, and restore their state at the end.

    Restores each training flag, each `requires_grad` and each buffer. Modes are restored per
    module, so a network of mixed modes keeps them. Buffers are restored even if a module writes to
    them in eval mode. The state is also restored after an error.

    Args:
        *modules: The modules to freeze, with all their submodules.

    Yields:
        None.

    Example:
        >>> with frozen(net):
        ...     logits = net(x)
    """
    parts = list(dict.fromkeys(part for module in modules for part in module.modules()))
    modes = [(part, part.training) for part in parts]
    grads = [(p, p.requires_grad) for part in parts for p in part.parameters(recurse=False)]
    buffers = [(part, name, b) for part in parts for name, b in part._buffers.items()]
    copies = [None if b is None else b.detach().clone() for _, _, b in buffers]
    try:
        for part in parts:
            part.training = False
        for parameter, _ in grads:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, wanted in grads:
            parameter.requires_grad_(wanted)
        for (part, name, buffer), copy in zip(buffers, copies, strict=True):
            part._buffers[name] = buffer  # a module may have put a new tensor there
            if buffer is not None:
                # .data: autograd must not count this as a change, as a graph that still awaits its
                # backward pass may use the buffer.
                buffer.data.copy_(copy)


@contextmanager
def attacking(f) -> Iterator[None]:
    """Turn gradients on, even if the caller has turned them off, and freeze f if it is a module.

    Args:
        f: The function or module under attack.

    Yields:
        None.

    Raises:
        TypeError: f cannot be called.
    """
    function("the function under attack", f, "a network or a function from images to logits")
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen(*[f] if isinstance(f, nn.Module) else []),
    ):
        yield


def check_images(x: Tensor, y: Tensor) -> Tensor:
    """Check that an attack can use the images and labels, and return the images.

    Args:
        x: Images (N, ...), floating point, with pixels in [0, 1].
        y: Labels (N,), integers from 0, on the device of x.

    Returns:
        x, detached and clamped to [0, 1].

    Raises:
        ValueError: The type, shape, device or range of x or y is wrong.
        TypeError: One of them is no tensor.
    """
    of_type("images", x, Tensor, "a floating point tensor (N, ...)")
    of_type("y", y, Tensor, "a tensor of labels (N,)")
    if not x.is_floating_point() or x.dim() < 2:
        raise ValueError(
            f"images must be a floating point tensor (N, ...), got {x.dtype} of shape "
            f"{tuple(x.shape)}"
        )
    if y.shape != x.shape[:1] or y.is_floating_point() or y.device != x.device:
        raise ValueError(
            f"y must be {len(x)} labels on {x.device}, got {y.dtype} {tuple(y.shape)} on {y.device}"
        )
    if x.numel() == 0:
        return x
    # NaN pixels are also detected here: `low` and `high` are NaN then, and no comparison holds.
    low, high, label = torch.stack([*x.detach().aminmax(), y.amin().to(x.dtype)]).tolist()
    if label < 0:
        raise ValueError(f"labels must be class indices from 0, found {label:.0f}")
    if not (low >= -DUST and high <= 1 + DUST):
        raise ValueError(
            f"pixels must be in [0, 1], found [{low:.4g}, {high:.4g}]: attacks work on pixels; put "
            "the normalisation "
            "inside the model (first layer), do not normalise the data"
        )
    return x.detach().clamp(0, 1)
