"""Binary masks over conv weights: which weights exist (FLOATS), and which expert uses them (SMART).

An expert is a part of the weights. SMART trains one for clean and one for attacked images. The
masks are buffers, so they are saved with the weights. Weights that no mask keeps are exactly 0
after every training step.

Sources: FLOATS, Kundu et al. 2023 (arXiv 2204.00426); SMART, Kundu et al. 2023 (arXiv 2302.03523).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .setting import CLEAN

# No mask, one mask for all images, or two masks: a clean and a robust expert. See Masks.
MaskKind = Literal["none", "shared", "complementary", "overlapping"]
# A mask keeps or drops single weights, or whole input channels.
MaskUnit = Literal["weights", "channels"]


class Masks(nn.Module):
    """One mask for all images, or a clean and an adversarial one.

    The masks have the shape of the weight, (cout, cin, k, k), or (1, cin, 1, 1) for whole channels.
    Their places come from the global random generator.

    Args:
        weight: Weight of the conv, (cout, cin, k, k).
        kind: How many masks there are.
            * "shared": one mask for all images.
            * "complementary": two masks without a common weight. The adversarial one keeps what the
              clean one drops.
            * "overlapping": two independent random masks. By chance some weights are in both, and
              some in neither.
        density: Fraction of the weights (or channels) that a mask keeps, in (0, 1]. For
            "complementary" it is that of the clean mask.
        of: "weights": single weights are kept or dropped. "channels": whole input channels are.

    Raises:
        ValueError: If two complementary masks would have to share a single weight or channel.
    """

    clean: Tensor
    adv: Tensor | None

    def __init__(self, weight: Tensor, kind: str, density: float, of: str = "weights"):
        super().__init__()
        self.moves = kind != "complementary"  # whether training/rewire.py may move the masks
        shape = weight.shape if of == "weights" else (1, weight.shape[1], 1, 1)
        self.register_buffer("clean", _random(shape, density, spare=int(kind == "complementary")))
        # complementary: no weight is in both masks. overlapping: by chance some are in both, and
        # some in neither
        other = {"shared": None, "complementary": ~self.clean}
        self.register_buffer("adv", other[kind] if kind in other else _random(shape, density))

    @property
    def each(self) -> list[Tensor]:
        """The different masks: one, or the clean and the adversarial one."""
        return [self.clean] if self.adv is None else [self.clean, self.adv]

    def mask_for(self, path: int) -> Tensor:
        """Return the mask of a weight path. It broadcasts to the weight.

        Args:
            path: CLEAN or ADV.
        """
        return self.clean if path == CLEAN or self.adv is None else self.adv

    def union(self) -> Tensor:
        """Return a mask of the entries that at least one path keeps."""
        return self.clean if self.adv is None else self.clean | self.adv

    def train_view(self, weight: Tensor, path: int) -> Tensor:
        """Return the weight that a path uses in training.

        Weights that only the other path keeps are masked. Weights that no path keeps stay in the
        graph. They are 0, so they do not change the output, but they get a gradient. The momentum
        of that gradient decides which of them grow (see training/rewire.py).

        Args:
            weight: Weight of the conv, (cout, cin, k, k).
            path: CLEAN or ADV.

        Returns:
            Tensor shaped like `weight`.
        """
        return weight * (self.mask_for(path) | ~self.union())

    @torch.no_grad()
    def clear(self, weight: Tensor) -> None:
        """Set the entries of `weight` (cout, cin, k, k) that no path keeps to 0, in place."""
        weight.mul_(self.union())


def count(units: int, density: float) -> int:
    """Return how many of `units` weights or channels a density keeps.

    At least one is kept, because a layer without any would block the network.

    Args:
        units: Number of weights or channels.
        density: Fraction to keep, in (0, 1].
    """
    return max(1, round(units * density))


def _random(shape, density: float, spare: int = 0) -> Tensor:
    """Return a mask that keeps an exact number of random entries and drops at least `spare`.

    It uses the global generator, as PyTorch's initialisers do. `networks/network.py` seeds that
    generator.
    """
    keep = torch.zeros(torch.Size(shape).numel(), dtype=torch.bool)
    if len(keep) <= spare:
        raise ValueError(
            f"two experts cannot share out {len(keep)} weight or channel: use mask_of='weights'"
        )
    keep[torch.randperm(len(keep))[: min(count(len(keep), density), len(keep) - spare)]] = True
    return keep.view(shape)
