"""Random numbers from explicit sources: tensors that are equal on every device, and a seed for code
that only uses the global generator.

Tensors are sampled on the device of their generator and then moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed PyTorch's global CPU generator, and restore it afterwards, also after an error.

    Only for code that accepts no generator, such as the initialisers of `torch.nn`.

    Args:
        seed: The seed.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators
        torch.default_generator.manual_seed(seed)
        yield


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
