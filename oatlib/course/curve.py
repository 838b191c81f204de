"""A curve with a knob: the smallest problem whose answer depends on λ. Lesson 04 uses it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._random import global_seed


def curve(x: Tensor, lam: Tensor) -> Tensor:
    """Return the curve: a wave at λ = 0, a straight line at λ = 1, a mixture in between."""
    return (1 - lam) * torch.sin(6 * x) + lam * x


class CurveNet(nn.Module):
    """A small network: x (N, 1) and λ (N, 1) -> (N, 1).

    Args:
        width: Units of its two hidden layers.
        generator: Module that maps λ (N, 1) to γ and β, each (N, width). They scale and shift the
            second hidden layer.
        inputs: 2 if λ is a second input beside x, else 1.
    """

    def __init__(self, width: int, generator: nn.Module | None = None, inputs: int = 1):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, 1)
        self.generator = generator

    def forward(self, x: Tensor, lam: Tensor) -> Tensor:
        """Return the values at x (N, 1) and λ (N, 1)."""
        inputs = torch.cat([x, lam], 1)[:, : self.first.in_features]
        hidden = self.second(torch.tanh(self.first(inputs)))
        if self.generator is not None:
            gamma, beta = self.generator(lam)
            hidden = gamma * hidden + beta
        return self.last(torch.tanh(hidden))


def learn(make: Callable[[], CurveNet], steps: int, seed: int) -> CurveNet:
    """Train a network on the curve, at random x in [-1, 1] and random λ in [0, 1].

    Args:
        make: Function that makes the network.
        steps: Training steps with 128 points each.
        seed: Seed of the weights and of the points.

    Returns:
        The network.
    """
    with global_seed(seed):
        net = make()
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(steps):
        x = 2 * torch.rand(128, 1, generator=draw) - 1
        lam = torch.rand(128, 1, generator=draw)
        optimizer.zero_grad()
        F.mse_loss(net(x, lam), curve(x, lam)).backward()
        optimizer.step()
    return net.requires_grad_(False)


def curve_error(net: CurveNet) -> float:
    """Return the mean squared error of a network over 81 values of x and 21 values of λ."""
    grid = torch.meshgrid(torch.linspace(-1, 1, 81), torch.linspace(0, 1, 21), indexing="ij")
    x, lam = (values.reshape(-1, 1) for values in grid)
    with torch.no_grad():
        return F.mse_loss(net(x, lam), curve(x, lam)).item()
