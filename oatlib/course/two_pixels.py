"""Images of two pixels with a loud and a faint cue, and a small network for them.

An attack on two pixels can be drawn, and a training run takes about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._random import global_seed

POINTS = 256
LIES = 0.1  # probability that the loud cue shows the other class
WARM_UP = 200  # rounds of training on clean points


class Zoom(nn.Module):
    """Scale pixels from [0, 1] to [-factor / 2, factor / 2]."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * (x - 0.5)


def two_cues(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw images of two pixels: a loud cue that sometimes lies, and a faint cue that never lies.

    Args:
        seed: Seed of the images.

    Returns:
        Images (256, 2) in [0, 1], labels (256,), and (256,) True where the loud cue lies.
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(POINTS) % 2
    side = 2.0 * label - 1
    lies = torch.rand(POINTS, generator=generator) < LIES
    loud = side * (1 - 2.0 * lies) * (0.2 + 0.07 * torch.randn(POINTS, generator=generator))
    faint = side * (0.03 + 0.006 * torch.randn(POINTS, generator=generator))
    return 0.5 + torch.stack([loud, faint], 1), label, lies


def small_net(
    seed: int,
    sizes: Sequence[int] = (2, 32, 32, 2),
    factor: float = 10,
    between: Callable[[], nn.Module] = nn.Tanh,
) -> nn.Sequential:
    """Return a fully connected network.

    Args:
        seed: Seed of its weights.
        sizes: Numbers of inputs, of hidden units and of classes.
        factor: See `Zoom`.
        between: Makes the activation between two layers.
    """
    with global_seed(seed):
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    parts: list[nn.Module] = [Zoom(factor), nn.Flatten(), layers[0]]
    for layer in layers[1:]:
        parts += [between(), layer]
    return nn.Sequential(*parts)


def begun(seed: int) -> tuple[nn.Sequential, torch.optim.Adam]:
    """Return a network that was trained on the clean points of `two_cues`, and its optimizer.

    Args:
        seed: Seed of the points and of the weights.
    """
    x, y, _ = two_cues(seed)
    net = small_net(seed)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(WARM_UP):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net, optimizer


def accuracy(net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Return the fraction of images (N, ...) that are classified correctly, in [0, 1]."""
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


class Run:
    """A training run in the world of `two_cues`. Its attack can be changed at any time.

    Args:
        seed: Seed of points, weights and attacks.

    Attributes:
        net: The network.
        attack: The attack of training, called with (net, x, y, generator). None: clean points.
        done: Number of rounds of training so far.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.x, self.y, _ = two_cues(seed)
        self.attack: Callable[..., Tensor] | None = None
        self.start()

    def start(self) -> None:
        """Begin again, with the network that was trained on clean points."""
        self.net, self.optimizer = begun(self.seed)
        self.source = torch.Generator().manual_seed(self.seed)
        self.done = 0

    def train(self, rounds: int) -> None:
        """Train for some rounds: half of the loss is clean, half is attacked."""
        for _ in range(rounds):
            x_adv = self.x
            if self.attack is not None:
                x_adv = self.attack(self.net, self.x, self.y, self.source)
            clean = F.cross_entropy(self.net(self.x), self.y)
            attacked = F.cross_entropy(self.net(x_adv), self.y)
            self.optimizer.zero_grad()
            ((clean + attacked) / 2).backward()
            self.optimizer.step()
        self.done += rounds


class Continued:
    """An attack that remembers its last result.

    Args:
        function: Called with (net, x, y, eps, last, generator), where `last` is its result of the
            call before, or None. It returns attacked images.
        eps: Radius of the ball.
        seed: Seed of the generator.
    """

    def __init__(self, function: Callable[..., Tensor], eps: float, seed: int):
        self.function, self.eps = function, eps
        self.last: Tensor | None = None
        self.source = torch.Generator().manual_seed(seed)

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.last = self.function(net, x, y, self.eps, self.last, self.source).detach()
        return self.last
