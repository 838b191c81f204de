"""What surrounds an attack: the network is frozen and put back as it was, and the images are what an attack can use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DUST = 1e-6  # rounding errors this far outside [0, 1] are forgiven


class NonFiniteError(ValueError):
    """The network under attack returned NaN or infinity."""


class NoGradientError(RuntimeError):
    """The network under attack gives no gradient with respect to its images."""


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; every training flag, requires_grad and buffer as before after it.

    Holds on errors too, per module (mixed modes come back), and for modules that write buffers even in eval mode.
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
                buffer.data.copy_(copy)  # .data: an unchanged buffer that awaits a backward must not look modified


@contextmanager
def attacking(f) -> Iterator[None]:
    """Gradients on, also when the caller has switched them off; f frozen if it is a module."""
    with torch.inference_mode(False), torch.enable_grad(), frozen(*[f] if isinstance(f, nn.Module) else []):
        yield


def check_images(x: Tensor, y: Tensor) -> Tensor:
    """x (N, ...), detached and clamped to [0, 1], after checking that x and y (N,) are what an attack can work on."""
    if not x.is_floating_point() or x.dim() < 2:
        raise ValueError(f"images must be a floating point tensor (N, ...), got {x.dtype} of shape {tuple(x.shape)}")
    if y.shape != x.shape[:1] or y.is_floating_point() or y.device != x.device:
        raise ValueError(f"y must be {len(x)} labels on {x.device}, got {y.dtype} {tuple(y.shape)} on {y.device}")
    if x.numel() == 0:
        return x
    low, high, label = torch.stack([*x.detach().aminmax(), y.amin().to(x.dtype)]).tolist()  # NaN shows here, too
    if label < 0:
        raise ValueError(f"labels must be class indices from 0, found {label:.0f}")
    if not (low >= -DUST and high <= 1 + DUST):
        raise ValueError(
            f"pixels must be in [0, 1], found [{low:.4g}, {high:.4g}]: attacks work on pixels; put the normalisation "
            "inside the model (first layer), do not normalise the data"
        )
    return x.detach().clamp(0, 1)
