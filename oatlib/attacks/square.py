"""The Square attack (Andriushchenko et al. 2020), a black-box attack that paints random squares.

It needs only the outputs of the network and no gradient. So it also works where a network hides its
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._check import real, whole
from .._random import rand_on
from .base import IterativeAttack, Walk
from .freeze import NonFiniteError
from .losses import margin_loss
from .queries import mean_logits

# After each of these queries (of 10,000) the fraction of pixels in a square is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class SquareWalk(Walk):
    """One run of `Square`, with one iterate per query.

    Raises:
        ValueError: The images do not have the form (N, C, H, W).
        NonFiniteError: By `advance`, if the logits contain NaN or infinity.
    """

    # _low, _high: smallest and largest allowed pixels. _top: best point of each image so far.
    # _top_value: its margin loss.
    _per_image = (*Walk._per_image, "_low", "_high", "_top", "_top_value")

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if self.x.dim() != 4:
            raise ValueError(
                f"Square needs images of shape (N, C, H, W), got {tuple(self.x.shape)}"
            )
        self._low = (self.x - self.attack.eps).clamp_(min=0)
        self._high = (self.x + self.attack.eps).clamp_(max=1)
        self._top = self.x
        self._top_value = self.x.new_full(self.y.shape, -torch.inf)
        self._queries_made = 0

    def advance(self) -> bool:
        if self._queries_made > 0:
            self._remember()
        if self._queries_made == self.attack.queries:
            return False
        tried = self._stripes() if self._queries_made == 0 else self._with_square()
        self.x_adv = tried.clamp(self._low, self._high)
        self.logits = mean_logits(self.f, self.x_adv, self.attack.eot_samples)
        if not self.logits.isfinite().all():
            raise NonFiniteError("the network gave non-finite logits during the attack")
        self._queries_made += 1
        return True

    def _remember(self) -> None:
        """Keep the present point of each image if it is the best so far."""
        value = margin_loss(self.logits, self.y)
        better = value > self._top_value
        self._top = torch.where(better.view(-1, 1, 1, 1), self.x_adv, self._top)
        self._top_value = torch.maximum(value, self._top_value)

    def _stripes(self) -> Tensor:
        """Return the images with vertical stripes of ±eps (M, C, H, W)."""
        n, channels, _, width = self._all_x.shape
        sign = self._random_sign((n, channels, 1, width))
        return self.x + self.attack.eps * sign

    def _with_square(self) -> Tensor:
        """Return the best points with one random square repainted (M, C, H, W)."""
        n, channels, height, width = self._all_x.shape
        side = self.attack.side(self._queries_made, height, width)
        place = self._under_attack(rand_on((n, 2), self.x, self.generator))
        sign = self._random_sign((n, channels, 1, 1))
        upper = (place[:, :1] * (height - side + 1)).floor()
        left = (place[:, 1:] * (width - side + 1)).floor()
        rows = torch.arange(height, device=self.x.device)
        columns = torch.arange(width, device=self.x.device)
        in_rows = (rows >= upper) & (rows < upper + side)  # (M, H)
        in_columns = (columns >= left) & (columns < left + side)  # (M, W)
        inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        return torch.where(inside, self._top + 2 * self.attack.eps * sign, self._top)

    def _random_sign(self, shape: tuple[int, ...]) -> Tensor:
        """Return random signs for all N images, and of these the M images under attack."""
        uniform = self._under_attack(rand_on(shape, self.x, self.generator))
        return (uniform - 0.5).sign_()


@dataclass(frozen=True)
class Square(IterativeAttack):
    """Start with vertical stripes of ±eps, then repaint one random square per query.

    A square is kept if the margin loss grew. For images (N, C, H, W) and the L-infinity norm only.

    Args:
        eps: Radius of the ball, in pixel units.
        queries: Number of points per image that the network is asked about.
        share: Fraction of the pixels in the first square, in (0, 1]. It is halved as in the paper,
            with the table of the paper scaled from 10,000 queries to `queries`.
        eot_samples: Outputs of a random network that are averaged for one query.

    Raises:
        ValueError: An argument is out of range.
    """

    name = "Square"
    norm = "linf"
    best = True
    loss = "margin"
    walk_type = SquareWalk
    eps: float = 8 / 255
    queries: int = 1000
    share: float = 0.8
    eot_samples: int = 1

    def __post_init__(self):
        super().__post_init__()
        whole("queries", self.queries)
        if real("share", self.share, 0, 1) == 0:
            raise ValueError("share must be above 0, got 0")

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

    def side(self, query: int, height: int, width: int) -> int:
        """Return the edge length in pixels of the square of a query.

        Args:
            query: Number of the query, from 0.
            height: Height of the images, in pixels.
            width: Width of the images, in pixels.
        """
        query_of_10_000 = 10_000 * query / self.queries
        halvings = sum(query_of_10_000 > halving for halving in HALVINGS)
        pixels = self.share / 2**halvings * height * width
        side = max(round(pixels**0.5), 1)
        return min(side, height, width)
