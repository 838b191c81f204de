"""Monitor a training run: detect failures, describe them, and keep the last good weights.

Adversarial training fails in three ways. Numbers become NaN or infinite. The network gives the same
answer to every image (collapse to chance). Or it learns to resist a weak attack only and loses its
robustness to a stronger one (catastrophic overfitting). To detect this, a fixed panel of validation
images is attacked after every so many epochs (`Preset.watch`).

The attack is short (PGD-5), because it only has to show a collapse. Its robust accuracy is an upper
bound, and can be far above the value that `evaluate` measures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..attacks.pgd import PGD
from ..networks.network import Network

# Robust accuracy that is this much below the best so far counts as catastrophic overfitting.
DROP = 0.20


class Watch:
    """Measures a network on a panel of held-out images, and remembers the last good weights.

    Args:
        panel: Split with the images of the panel.
        attack: Attack for the robust accuracy.

    Attributes:
        best_robust: Best robust accuracy so far, in [0, 1].
        looks: Number of measurements so far.
        good: State of the network at the last good measurement, or None.
    """

    def __init__(self, panel, attack: PGD):
        self.x, self.y, self.attack = panel.x, panel.y, attack
        self.best_robust = 0.0
        self.looks = 0
        self.good: dict[str, Tensor] | None = None

    def state(self) -> list:
        """Return what a checkpoint must hold besides the good weights."""
        return [self.best_robust, self.looks]

    @torch.no_grad()
    def look(self, net: Network) -> dict[str, float]:
        """Measure a network on the panel.

        Args:
            net: The network, in eval mode.

        Returns:
            Accuracies in [0, 1]: "clean" at the first λ stop, and "clean_robust_end" and "robust"
            at the last one.
        """
        first = net.at(net.spec.stops[0])
        last = net.at(net.spec.stops[-1])
        attacked = self.attack(last, self.x, self.y)
        return {
            "clean": self._accuracy(first, self.x),
            "clean_robust_end": self._accuracy(last, self.x),
            "robust": self._accuracy(last, attacked),
        }

    def _accuracy(self, f: nn.Module, x: Tensor) -> float:
        """Return the accuracy of a module on the images of the panel, clean or attacked."""
        return (f(x).argmax(1) == self.y).float().mean().item()

    def verdict(self, net: Network, row: dict, done: float) -> str:
        """Decide whether training still works after an epoch, and remember good weights.

        Args:
            net: The network.
            row: Row of the epoch in the curve: "loss", and in watched epochs what `look` returned.
            done: Fraction of the training that is done, in [0, 1].

        Returns:
            What went wrong, in words, and what may help. An empty string if nothing went wrong.
        """
        if not math.isfinite(row["loss"]):
            return "the loss became NaN or infinite. Lower the learning rate"
        if "clean" not in row:  # the panel was not measured in this epoch
            return ""
        self.looks += 1
        # Collapse to chance: within two standard errors of the accuracy of guessing.
        chance = 1 / len(net.spec.classes)
        standard_error = math.sqrt(chance * (1 - chance) / len(self.y))
        lowest = min(row["clean"], row["clean_robust_end"])
        if lowest <= chance + 2 * standard_error:
            # Early in training, accuracy at chance often recovers without help.
            if done <= 0.5 or self.looks < 3:
                if self.best_robust == 0:
                    self.good = _copy(net)  # there are no better weights yet
                return ""
            return (
                f"clean accuracy fell to chance ({lowest:.1%}). Train on more images. In Python, a "
                "lower learning rate (lr=) or a slower growth of eps (ramp=) can help, too"
            )
        # Catastrophic overfitting.
        trained_robust = net.spec.stops[-1] > 0
        if trained_robust and row["robust"] < self.best_robust - DROP:
            return (
                f"robust accuracy fell from {self.best_robust:.1%} to {row['robust']:.1%} "
                "(catastrophic overfitting). Train with more attack steps or a smaller eps"
            )
        self.best_robust = max(self.best_robust, row["robust"])
        self.good = _copy(net)
        return ""

    def restore(self, net: Network) -> str:
        """Load the last good weights into the network, if there are any.

        Args:
            net: The network, modified in place.

        Returns:
            What was done, in words.
        """
        if self.good is None:
            return "No epoch was good, so the network is as the last step left it."
        net.load_state_dict(self.good)
        return "The network has the weights of the last good epoch."


def _copy(net: Network) -> dict[str, Tensor]:
    """Return a copy of all tensors of a network."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
