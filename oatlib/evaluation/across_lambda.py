"""Robust accuracy of a network with a λ dial if the attacker does not know λ, or attacks every λ.

The measurements show whether a defender gains by changing λ, and whether an attacker gains by
attacking all λ at once. There are three attackers. The first attacks at one λ, and another λ
answers. The second knows the possible values of λ, but not which one answers. The third needs one
image that fools the network at every λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..attacks.apgd import APGD
from ..attacks.base import Attack
from ..attacks.losses import margin_loss
from ..layers.mixture import log_mixture
from ..networks.network import Network
from .evaluate import Split
from .results import wilson


@dataclass(frozen=True)
class Moving:
    """Robust accuracies across λ, all in [0, 1] and on the same n images.

    An image counts if the network classifies it correctly both unchanged and attacked.

    Attributes:
        lams: The values of λ.
        clean: Clean accuracy at each λ.
        struck: Entry [i][j] is the accuracy at lams[j] under attacks computed at lams[i]. On the
            diagonal the attacker knows λ.
        blind: Accuracy at each λ under attacks on the mean answer over all λ.
        at_once: Fraction of the images that stay correct at one λ at least, under an attack that
            must fool the network at every λ with the same change.
        n: Number of images.
        attack: The attack, as text.
    """

    lams: list[float]
    clean: list[float]
    struck: list[list[float]]
    blind: list[float]
    at_once: float
    n: int
    attack: str

    @property
    def known(self) -> list[float]:
        """Robust accuracy at each λ if the attacker knows λ."""
        return [self.struck[i][i] for i in range(len(self.lams))]

    @property
    def still(self) -> float:
        """Robust accuracy at the best fixed λ, which the attacker knows."""
        return max(self.known)

    @property
    def moved(self) -> float:
        """Robust accuracy if λ is drawn uniformly per image and the mean answer is attacked."""
        return sum(self.blind) / len(self.blind)

    def __str__(self) -> str:
        head = "made at \\ struck at " + "".join(f"{lam:>9g}" for lam in self.lams)
        rows = [
            f"{lam:>19g} " + "".join(f"{value:>9.1%}" for value in row)
            for lam, row in zip(self.lams, self.struck, strict=True)
        ]
        rows += [f"{'λ not known':>19} " + "".join(f"{value:>9.1%}" for value in self.blind)]
        half = (
            max(high - low for low, high in (wilson(round(v * self.n), self.n) for v in self.known))
            / 2
        )
        rows += [
            f"all λ at once: {self.at_once:.1%} withstand. Who stands still has {self.still:.1%} "
            "at best, "
            f"who draws λ anew {self.moved:.1%}.",
            f"n = {self.n}, {self.attack}, 95 % intervals up to ±{half:.1%}",
        ]
        return "\n".join([head, *rows])


def moving(
    net: Network,
    split: Split,
    lams: Sequence[float] | None = None,
    width: float | None = None,
    attack: Attack | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Moving:
    """Measure robust accuracy for all pairs of attacked λ and answering λ, and under joint attacks.

    Args:
        net: A network with a λ dial. One with noisy weights is measured with one frozen sample of
            the noise.
        split: The images to measure on.
        lams: At least two values of λ (default: the λ stops of the network).
        width: Width of a slimmable network (default: its full width).
        attack: The attack (default: APGD with 40 steps and eps 8/255, as PGD is weak between the
            ends of a dial).
        seed: Seed of each attack.
        progress: Show a progress bar.

    Returns:
        The accuracies, as `Moving`.

    Raises:
        ValueError: There are fewer than two values of λ, or the network cannot take one of them.
    """
    lams = [float(lam) for lam in (net.spec.stops if lams is None else lams)]
    if len(lams) < 2:
        raise ValueError(f"a dial that moves needs at least 2 values of λ, got {lams}")
    attack = attack or APGD(8 / 255, 40)
    fs = [net.at(lam, width) for lam in lams]
    x, y = split.x, split.y
    right = [_right(f, x, y) for f in fs]
    targets = [*fs, lambda z: mean_answer(fs, z), lambda z: best_defended(fs, z, y)]
    holds = []  # per attacker a mask (settings, N): correct both unchanged and attacked
    for target in tqdm(targets, disable=not progress, leave=False, unit="attacker"):
        x_adv = attack(target, x, y, torch.Generator(x.device).manual_seed(seed))
        holds.append(
            torch.stack([ok & _right(f, x_adv, y) for ok, f in zip(right, fs, strict=True)])
        )
    *struck, blind = [[_share(each) for each in held] for held in holds[:-1]]
    return Moving(
        lams,
        [_share(ok) for ok in right],
        struck,
        blind,
        _share(holds[-1].any(0)),
        len(y),
        str(attack),
    )


def mean_answer(fs: Sequence, x: Tensor) -> Tensor:
    """Return logits whose softmax is the mean over several functions.

    This is what an attacker targets if it does not know λ.

    Args:
        fs: Functions from images to logits (N, C), one per λ.
        x: Images (N, ...).

    Returns:
        Logits (N, C).
    """
    return log_mixture([f(x) for f in fs], x.new_full((1, len(fs)), 1 / len(fs)))


def best_defended(fs: Sequence, x: Tensor, y: Tensor) -> Tensor:
    """Return per image the logits of the function that resists most, with the smallest margin loss.

    They are wrong only where the logits of all functions are wrong. So an attack on them looks for
    one image that fools all functions.

    Args:
        fs: Functions from images to logits (N, C), one per λ.
        x: Images (N, ...).
        y: Labels (N,).

    Returns:
        Logits (N, C).
    """
    every = torch.stack([f(x) for f in fs])
    least = torch.stack([margin_loss(z, y) for z in every]).argmin(0)
    return every[least, torch.arange(len(y), device=y.device)]


@torch.no_grad()
def _right(f, x: Tensor, y: Tensor) -> Tensor:
    return f(x).argmax(1) == y


def _share(mask: Tensor) -> float:
    return mask.double().mean().item()
