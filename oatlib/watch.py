"""Watching a training run: is it still sound, and if not, what happened, in words.

Three things go wrong in adversarial training: numbers blow up (NaN), the network gives one answer to everything
(collapse to chance), or it learns to fool a weak attack and loses its robustness to a real one (catastrophic
overfitting). After every epoch a fixed panel of validation images is attacked; the last good weights are kept.

The attack is short (PGD-5), because it only has to show a collapse. Its robust accuracy is an upper bound, and can lie
far above what `evaluate` measures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .attacks import PGD
from .nets import Network

DROP = 0.20  # robust accuracy lost against its best so far that counts as catastrophic overfitting


class Watch:
    """Clean accuracy at the first λ stop and robust accuracy at the last, on a panel of held-out images."""

    def __init__(self, panel, attack: PGD):
        self.x, self.y, self.attack = panel.x, panel.y, attack
        self.best_robust = 0.0
        self.looks = 0
        self.good: dict[str, Tensor] | None = None

    def state(self) -> list:
        """What a checkpoint must remember besides the good weights."""
        return [self.best_robust, self.looks]

    @torch.no_grad()
    def look(self, net: Network) -> dict[str, float]:
        """Measure {clean, clean_robust_end, robust}: accuracies in [0, 1]."""
        first, last = (net.at(net.spec.stops[i]) for i in (0, -1))
        attacked = self.attack(last, self.x, self.y)
        right = [
            (f(x).argmax(1) == self.y).float().mean().item()
            for f, x in ((first, self.x), (last, self.x), (last, attacked))
        ]
        return dict(zip(("clean", "clean_robust_end", "robust"), right, strict=True))

    def verdict(self, net: Network, row: dict, done: float) -> str:
        """What is wrong after an epoch, in words, or '' (then the weights of this epoch are kept as good)."""
        if not math.isfinite(row["loss"]):
            return "the loss became NaN or infinite: lower the learning rate"
        if "clean" not in row:  # not an epoch that was watched
            return ""
        self.looks += 1
        chance = 1 / len(net.spec.classes)
        above = 2 * math.sqrt(chance * (1 - chance) / len(self.y))  # two standard errors of guessing
        low = min(row["clean"], row["clean_robust_end"])
        trained_robust = net.spec.stops[-1] > 0
        if low <= chance + above:  # early in training that often passes by itself
            if done <= 0.5 or self.looks < 3:
                if self.best_robust == 0:
                    self.good = _copy(net)  # nothing better has been seen
                return ""
            return f"clean accuracy fell to chance ({low:.1%}): lower the learning rate or ramp eps up more slowly"
        if trained_robust and row["robust"] < self.best_robust - DROP:
            return (
                f"robust accuracy fell from {self.best_robust:.1%} to {row['robust']:.1%} (catastrophic overfitting): "
                "train with more attack steps or a smaller eps"
            )
        self.best_robust = max(self.best_robust, row["robust"])
        self.good = _copy(net)
        return ""

    def restore(self, net: Network) -> str:
        """Put the last good weights back, if there are any."""
        if self.good is None:
            return "no epoch was good: the network is as the last step left it"
        net.load_state_dict(self.good)
        return "the weights of the last good epoch were kept"


def _copy(net: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
