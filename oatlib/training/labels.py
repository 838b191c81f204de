"""The targets of a training loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """The targets of a loss function, and its weights.

    Attributes:
        y: Labels (N,).
        lam: λ of each image, (N,).
        n_clean: Number of images at the front that were not attacked.
        beta: Weight β of the KL term.
        teacher_logits: Detached logits (N, classes) of the first width of the step. None at that
            width itself.
    """

    y: Tensor
    lam: Tensor
    n_clean: int
    beta: float = 0.0
    teacher_logits: Tensor | None = None
