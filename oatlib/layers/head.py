"""The output layer: shared by all widths, or one per width.

One head per width is from SOLAR (Tareen et al. 2025, arXiv 2509.16833). The features of narrow and
of wide networks have different statistics, so they pull a shared output layer in different
directions. With one head per width, each width reads its features in its own way.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .setting import Width, cut


class Head(nn.Module):
    """Map features (N, F) to logits (N, classes), where F is the number of features at the width.

    Args:
        features: Number of features at the full width.
        classes: Number of classes.
        widths: Ascending fractions of the channels.
        own: True: a separate linear map per width. False: one linear map, sliced.
        slim: Whether the number of features follows the width. If False, all widths have
            `features`.
    """

    def __init__(
        self, features: int, classes: int, widths: tuple[float, ...] = (1.0,), own=False, slim=True
    ):
        super().__init__()
        self.full, self.slim = features, slim
        # One linear map per width, or only that of the full width, which comes last.
        sizes = [cut(features, w) if slim else features for w in widths]
        self.each = nn.ModuleList(
            nn.Linear(size, classes) for size in (sizes if own else sizes[-1:])
        )

    def features(self, width: Width) -> int:
        """Return the number of features F that arrive at a width."""
        return width.cut(self.full) if self.slim else self.full

    def parts(self, width: Width) -> tuple[Tensor, Tensor]:
        """Return weight and bias at a width.

        Separate heads are found by the index of the width, not by F: some backbones have the same
        number of features at all widths.

        Args:
            width: The width.

        Returns:
            Weight of shape (classes, F) and bias of shape (classes,).
        """
        linear = self.each[width.index] if len(self.each) > 1 else self.each[0]
        return linear.weight[:, : self.features(width)], linear.bias

    def forward(self, x: Tensor, dials) -> Tensor:
        """Return logits: the unfolded form.

        Args:
            x: Features of shape (N, F).
            dials: The `Dials` of the batch. Only the width is used.

        Returns:
            Tensor of shape (N, classes).
        """
        return F.linear(x, *self.parts(dials.width))

    def fold(self, plan) -> nn.Module:
        """Return the head of one width as a plain linear map. λ does not affect it.

        Args:
            plan: The `FoldPlan`. Only the width is used.
        """
        return FoldedHead(*self.parts(plan.position.width))


class FoldedHead(nn.Module):
    """A plain linear map, into which a head turns at a fixed width.

    Args:
        weight: Tensor of shape (classes, F).
        bias: Tensor of shape (classes,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        self.eval()

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Map features (N, F) to logits (N, classes). `dials` is ignored."""
        return F.linear(x, self.weight, self.bias)
