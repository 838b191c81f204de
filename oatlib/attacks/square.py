"""The Square attack (Andriushchenko et al. 2020), a black-box attack that paints random squares.

It needs only the outputs of the network and no gradient. So it also works where a network hides its
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Attack
from .freeze import NonFiniteError
from .geometry import draw
from .losses import margin

# After each of these queries (of 10,000) the fraction of pixels in a square is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True)
class Square(Attack):
    """Start with vertical stripes of ±eps, then repaint one random square per query.

    A square is kept if the margin loss grew. For images (N, C, H, W) and the L-infinity norm only.

    Args:
        eps: Radius of the ball, in pixel units.
        queries: Number of points per image that the network is asked about.
        share: Fraction of the pixels in the first square, in (0, 1]. It is halved as in the paper,
            with the table of the paper scaled from 10,000 queries to `queries`.
        draws: Outputs of a random network that are averaged for one query.

    Raises:
        ValueError: An argument is out of range.
    """

    name: ClassVar[str] = "Square"
    norm: ClassVar[str] = "linf"
    best: ClassVar[bool] = True
    loss: ClassVar[str] = "margin"
    eps: float = 8 / 255
    queries: int = 1000
    share: float = 0.8
    draws: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.queries < 1 or not 0 < self.share <= 1:
            raise ValueError(
                f"need queries >= 1 and 0 < share <= 1, got {self.queries} and {self.share}"
            )

    def walk_length_for(self, classes: int) -> int:
        """Return the number of queries: each query yields one point, for any number of classes."""
        return self.queries

    def describe(self) -> dict:
        return super().describe() | {
            "steps": self.queries,
            "start": "stripes",
            "step_size": 2 * self.eps,
        }

    def __str__(self) -> str:
        return f"Square, L-inf, eps {self.eps * 255:.3g}/255, {self.queries} queries"

    def _walk(
        self, f, x: Tensor, y: Tensor, generator, judge_last: bool, only: Tensor | None = None
    ) -> Iterator:
        """Run the attack as `Attack._walk` does, with one item per query.

        Squares are drawn for all N images at every query. So the squares of an image do not depend
        on which other images are still under attack.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        if x.dim() != 4:
            raise ValueError(
                "the Square attack paints squares: images must be (N, C, H, W), got "
                f"{tuple(x.shape)}"
            )
        shape, here = x.shape, torch.arange(len(x), device=x.device)
        low, high = (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)
        # The best point of each image so far, and its margin loss.
        top, value = x, x.new_full(y.shape, -torch.inf)
        for query in range(self.queries):
            new = (
                self._stripes(x, shape, here, generator)
                if query == 0
                else self._squares(top, shape, here, query, generator)
            )
            if only is not None:
                x, y, low, high, top, value, new, here = (
                    v[only] for v in (x, y, low, high, top, value, new, here)
                )
            new = new.clamp(low, high)
            logits = self._judge(f, new)
            if not logits.isfinite().all():
                raise NonFiniteError("the network gave non-finite logits during the attack")
            only = yield new, logits
            now = margin(logits, y)
            top = torch.where((now > value).view(-1, 1, 1, 1), new, top)
            value = torch.maximum(now, value)

    def _stripes(self, x: Tensor, shape, here: Tensor, generator: torch.Generator) -> Tensor:
        n, channels, _, width = shape
        sign = draw(torch.rand, (n, channels, 1, width), x, generator)[here].sub_(0.5).sign_()
        return x + self.eps * sign

    def _squares(
        self, top: Tensor, shape, here: Tensor, query: int, generator: torch.Generator
    ) -> Tensor:
        n, channels, height, width = shape
        side = self.side(query, height, width)
        place = draw(torch.rand, (n, 2), top, generator)[here]
        sign = draw(torch.rand, (n, channels, 1, 1), top, generator)[here].sub_(0.5).sign_()
        upper = (place[:, :1] * (height - side + 1)).floor()
        left = (place[:, 1:] * (width - side + 1)).floor()
        rows, columns = (
            torch.arange(height, device=top.device),
            torch.arange(width, device=top.device),
        )
        inside = ((rows >= upper) & (rows < upper + side))[:, None, :, None]
        inside = inside & ((columns >= left) & (columns < left + side))[:, None, None, :]
        return torch.where(inside, top + 2 * self.eps * sign, top)

    def side(self, query: int, height: int, width: int) -> int:
        """Return the edge length in pixels of the square of a query.

        Args:
            query: Number of the query, from 0.
            height: Height of the images, in pixels.
            width: Width of the images, in pixels.
        """
        scaled = 10_000 * query / self.queries
        share = self.share / 2 ** sum(scaled > mark for mark in HALVINGS)
        return min(max(round((share * height * width) ** 0.5), 1), height, width)
