"""Random tensors that a CPU generator makes equal on every device.

The numbers are sampled on the device of the generator and then moved to that of the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def randn_like_on(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return a sample of N(0, 1) with the shape, dtype and device of a tensor.

    Args:
        like: Tensor to take shape, dtype and device from.
        generator: Source of the random numbers.
    """
    sample = torch.randn(like.shape, dtype=like.dtype, device=generator.device, generator=generator)
    return sample.to(like.device)


def rand_on(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniformly random numbers in [0, 1) with the dtype and device of a tensor.

    Args:
        shape: Shape of the result.
        like: Tensor to take dtype and device from.
        generator: Source of the random numbers.
    """
    sample = torch.rand(shape, dtype=like.dtype, device=generator.device, generator=generator)
    return sample.to(like.device)
