"""Binary masks over the weights of a conv: which of them exist (FLOATS), and for which of two experts (SMART).

The masks are buffers, so they are saved with the weights. What no mask keeps is exactly 0 after every training step.
Sources: FLOATS, Kundu et al. 2023 (arXiv 2204.00426); SMART, Kundu et al. 2023 (arXiv 2302.03523).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .setting import CLEAN

KINDS = ("none", "shared", "complementary", "overlapping")  # one mask, or a clean and a robust expert
UNITS = ("weights", "channels")  # what is kept or dropped: single weights, or whole input channels


class Masks(nn.Module):
    """One mask for all images, or a `clean` and an `adv` one; (cout, cin, k, k), or (1, cin, 1, 1) for channels."""

    def __init__(self, weight: Tensor, kind: str, density: float, of: str = "weights"):
        super().__init__()
        self.moves = kind != "complementary"  # whether training may rewire them
        shape = weight.shape if of == "weights" else (1, weight.shape[1], 1, 1)
        self.register_buffer("clean", _random(shape, density, spare=int(kind == "complementary")))
        # complementary: no weight serves both experts. overlapping: by chance some serve both, and some neither
        other = {"shared": None, "complementary": ~self.clean}
        self.register_buffer("adv", other[kind] if kind in other else _random(shape, density))

    @property
    def each(self) -> list[Tensor]:
        """The masks, by path."""
        return [self.clean] if self.adv is None else [self.clean, self.adv]

    def of(self, path: int) -> Tensor:
        """The mask of a path; it broadcasts to the weight."""
        return self.clean if path == CLEAN or self.adv is None else self.adv

    def union(self) -> Tensor:
        """What at least one path keeps."""
        return self.clean if self.adv is None else self.clean | self.adv

    def train_view(self, weight: Tensor, path: int) -> Tensor:
        """The masked weight, except that weights which no path keeps stay in the graph: being 0, they change nothing,
        but they get a gradient, and its momentum tells which of them to grow."""
        return weight * (self.of(path) | ~self.union())

    @torch.no_grad()
    def clear(self, weight: Tensor) -> None:
        """Set to 0, in place, what no path keeps."""
        weight.mul_(self.union())


def count(units: int, density: float) -> int:
    """How many of so many weights or channels a density keeps: at least one, or the layer would be cut through."""
    return max(1, round(units * density))


def _random(shape, density: float, spare: int = 0) -> Tensor:
    """Exactly the wanted number of ones at random places, but leave `spare`. Initialisers use the global generator, see
    nets.py."""
    keep = torch.zeros(torch.Size(shape).numel(), dtype=torch.bool)
    if len(keep) <= spare:
        raise ValueError(f"two experts cannot share out {len(keep)} weight or channel: use mask_of='weights'")
    keep[torch.randperm(len(keep))[: min(count(len(keep), density), len(keep) - spare)]] = True
    return keep.view(shape)
