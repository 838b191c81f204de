"""Weight noise: Gaussian noise on the conv weights, scaled by λ (FLOAT).

Attacked images pass through W + λ·α·η, clean ones through W. η is Gaussian noise whose standard
deviation σ is that of the layer's weights, and it is sampled at every forward. α is one trained
number per conv. σ and η get no gradient.

Source: FLOAT, Kundu et al. 2023 (arXiv 2204.00426).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._random import randn_like_on

START = 0.25  # initial α, as published


class WeightNoise(nn.Module):
    """Weight noise of one conv.

    Attributes:
        alpha: The trained factor α, a scalar.
    """

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(START))

    def standard_deviation(self, weight: Tensor) -> Tensor:
        """Return α·σ, the standard deviation of the noise.

        σ is the sample standard deviation (divisor n - 1) over all n entries of the weight, pruned
        ones included, as in FLOAT's public code.

        Args:
            weight: Weight of the conv, (cout, cin, k, k).

        Returns:
            A scalar tensor. Its gradient reaches α but not the weight.
        """
        return self.alpha * weight.detach().std()

    def forward(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return α·η, a new sample of the noise.

        Args:
            weight: Weight of the conv, (cout, cin, k, k).
            generator: Source of random numbers.

        Returns:
            Tensor shaped like `weight`.
        """
        return self.standard_deviation(weight) * randn_like_on(weight, generator)
