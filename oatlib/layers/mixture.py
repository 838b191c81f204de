"""Output mixing: average the class probabilities of several folded networks.

This is the baseline of Bai et al. ("Adaptive Smoothing", 2023, and "MixedNUTS", 2024). It needs no
training between the two networks that it mixes, and one forward pass for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def log_mixture(logits: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return log(sum of w_m softmax(z_m)), which are valid logits of the averaged probabilities.

    The sum is computed in log space. If a gradient is needed, it is computed in double precision.
    In single precision, the gradient of a saturated softmax is rounded to zero at the predicted
    class, so an attack would see a smaller gradient than there is.

    Args:
        logits: M tensors of shape (N, classes).
        weights: Mixing weights of shape (N or 1, M). Each row sums to 1.

    Returns:
        Tensor of shape (N, classes), in the type of the logits.
    """
    stacked = torch.stack(list(logits))  # (M, N, classes)
    precise = stacked.double() if stacked.requires_grad else stacked
    log_weights = weights.to(precise).log().T[:, :, None]  # (M, N or 1, 1)
    mixed = (precise.log_softmax(2) + log_weights).logsumexp(0)  # (N, classes)
    return mixed.to(stacked.dtype)


class OutputMixture(nn.Module):
    """Mix the outputs of folded networks: images (N, C, H, W) -> logits (N, classes).

    Args:
        ends: M folded networks. Each image passes through all of them.
        weights: Mixing weights of shape (1, M) for all images, or (N, M) with a row per image.
    """

    weights: Tensor

    def __init__(self, ends: Sequence[nn.Module], weights: Tensor):
        super().__init__()
        self.ends = nn.ModuleList(ends)
        self.register_buffer("weights", weights.detach())
        self.eval()  # no train mode, like the folded networks in it

    def forward(self, x: Tensor, dials: None = None) -> Tensor:
        """Return the logarithm of the mixed class probabilities.

        Args:
            x: Images of shape (N, C, H, W) in [0, 1].
            dials: Ignored: the setting is already folded in.

        Returns:
            Log-probabilities of shape (N, classes).

        Raises:
            ValueError: If there is one row of weights per image, and x has another number of
                images.
        """
        # Use len(x) only with a row per image: an ONNX export with len(x) fixes the batch size.
        if len(self.weights) > 1 and len(self.weights) != len(x):
            raise ValueError(
                f"bound to {len(self.weights)} values of λ, called with {len(x)} images: bind one "
                "λ per image"
            )
        return log_mixture([end(x) for end in self.ends], self.weights)


class MeanLogits(nn.Module):
    """Average the standardised logits of the ends: an attack objective for saturated mixtures.

    If one end is certain, its probabilities hardly depend on the image, so the gradient of the
    mixture follows the other end alone. Logits do not saturate. The logits of each end are divided
    by their standard deviation per image, which counts as a constant. No end then counts for more
    because its logits are larger.

    Args:
        mixture: The mixture to be attacked. It is shared, not copied.
    """

    def __init__(self, mixture: OutputMixture):
        super().__init__()
        self.mixture = mixture
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted mean of the standardised logits.

        Args:
            x: Images of shape (N, C, H, W) in [0, 1].

        Returns:
            Tensor of shape (N, classes).
        """
        total = 0.0
        for end, weight in zip(self.mixture.ends, self.mixture.weights.T, strict=True):
            logits = end(x)  # (N, classes)
            # detach: the gradient treats the standard deviation as a constant
            spread = logits.detach().std(1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)
            total = total + weight[:, None] * logits / spread
        return total
