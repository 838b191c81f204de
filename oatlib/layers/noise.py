"""Weight noise: the λ dial on the weights themselves (FLOAT, Kundu et al. 2023, arXiv 2204.00426).

Attacked images pass through W + λ·α·η, clean ones through W. η is Gaussian with the standard deviation σ of the layer's
weights and new at every forward; α is one trained number per conv. No gradient reaches σ or η.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

START = 0.25  # of α, as published


class WeightNoise(nn.Module):
    """How much noise the weights of one conv take."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(START))

    def size(self, weight: Tensor) -> Tensor:
        """Return α·σ, a scalar. σ is the sample standard deviation (divisor n - 1) over all n entries of
        the weight (cout, cin, k, k), pruned ones included, as in FLOAT's public code."""
        return self.alpha * weight.detach().std()

    def forward(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        """α·η, a new draw of the weight's shape."""
        return self.size(weight) * draw(weight, generator)


def draw(weight: Tensor, generator: torch.Generator) -> Tensor:
    """N(0, 1) like the weight, drawn on the generator's device: a CPU seed means the same on every device."""
    eta = torch.randn(weight.shape, dtype=weight.dtype, device=generator.device, generator=generator)
    return eta.to(weight.device)
