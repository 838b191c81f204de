"""Robust accuracy of a network with a λ dial if the attacker does not know λ, or attacks every λ.

The measurements show whether a defender gains by changing λ, and whether an attacker gains by
attacking all λ at once. There are three attackers. The first attacks at one λ, and the network then
runs at another λ. The second knows the possible values of λ, but not which one is used. The third
needs one image that fools the network at every λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .._check import seed_of
from .._html import html_table
from ..attacks.apgd import APGD
from ..attacks.base import Attack, check_attack
from ..attacks.losses import margin_loss
from ..data.splits import Data, Split, split_of
from ..layers.mixture import log_mixture
from ..networks.network import Network, check_network
from .evaluate import check_fit, several
from .results import wilson


@dataclass(frozen=True)
class AcrossLambda:
    """Robust accuracies across λ, all in [0, 1] and on the same n images.

    An image counts if the network classifies it correctly both unattacked and attacked.

    Attributes:
        lams: The values of λ.
        clean: Clean accuracy at each λ.
        accuracy: Entry [i][j] is the robust accuracy at lams[j] under attacks computed at lams[i].
            On the diagonal the attacker knows λ.
        unknown_lambda: Robust accuracy at each λ under attacks on the mean prediction over all λ.
        every_lambda: Fraction of the images that stay correct at one λ at least, under an attack
            that must fool the network at every λ with the same change.
        n: Number of images.
        attack: The attack, as text.
        split: Name of the split that the images are from.
    """

    lams: list[float]
    clean: list[float]
    accuracy: list[list[float]]
    unknown_lambda: list[float]
    every_lambda: float
    n: int
    attack: str
    split: str

    @property
    def known_lambda(self) -> list[float]:
        """Robust accuracy at each λ if the attacker knows λ."""
        return [self.accuracy[i][i] for i in range(len(self.lams))]

    @property
    def best_fixed(self) -> float:
        """Robust accuracy at the best fixed λ, which the attacker knows."""
        return max(self.known_lambda)

    @property
    def randomized(self) -> float:
        """Robust accuracy if λ is drawn uniformly per image and the mean prediction is attacked."""
        return sum(self.unknown_lambda) / len(self.unknown_lambda)

    def __str__(self) -> str:
        head, *rows = self._rows()
        lines = [f"{first:>20} " + _columns(cells) for first, *cells in [head, *rows]]
        return "\n".join([*lines, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return html_table(head, rows, self._notes())

    def _rows(self) -> list[list[str]]:
        """Return the cells of the table, with the titles of its columns first."""
        rows = [
            [f"{lam:g}", *(f"{value:.1%}" for value in row)]
            for lam, row in zip(self.lams, self.accuracy, strict=True)
        ]
        rows.append(["unknown λ", *(f"{value:.1%}" for value in self.unknown_lambda)])
        return [["attacked at \\ run at", *(f"{lam:g}" for lam in self.lams)], *rows]

    def _notes(self) -> list[str]:
        """Return the lines below the table."""
        intervals = [wilson(round(value * self.n), self.n) for value in self.known_lambda]
        widest = max(high - low for low, high in intervals)
        return [
            f"one attack on every λ: {self.every_lambda:.1%} of the images stay correct at one λ "
            "at least",
            f"best fixed λ: {self.best_fixed:.1%}; λ drawn uniformly per image: "
            f"{self.randomized:.1%}",
            f"robust accuracies; n = {self.n} ({self.split}), {self.attack}, 95 % intervals up to "
            f"±{widest / 2:.1%}",
        ]


def across_lambda(
    net: Network,
    data: Data | Split,
    lams: Sequence[float] | None = None,
    width: float | None = None,
    attack: Attack | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AcrossLambda:
    """Measure robust accuracy for all pairs of attacked λ and used λ, and under joint attacks.

    Args:
        net: A network with a λ dial. One with noisy weights is measured with one frozen sample of
            the noise.
        data: The images: a split, or a data set, of which the test split is used.
        lams: At least two values of λ. Default: the λ stops of the network.
        width: Width of a slimmable network. Default: its full width.
        attack: The attack. Default: APGD with 40 steps and eps 8/255, as PGD is weak between the
            ends of a dial.
        seed: Seed of each attack.
        progress: Whether to show a progress bar.

    Returns:
        The accuracies.

    Raises:
        ValueError: If there are fewer than two values of λ, if the network cannot take one of them,
            or if it does not fit the images.

    Example:
        >>> print(across_lambda(net, data.val.panel(64), lams=[0.0, 0.3, 1.0]))
    """
    check_network(net)
    lams = several("lams", lams, net.spec.stops)
    if len(lams) < 2:
        raise ValueError(f"across_lambda needs at least 2 values of λ to compare, got lams={lams}")
    split = split_of(data, "test")
    check_fit(net, split)
    if attack is not None:
        check_attack(attack)
    seed = seed_of(seed)
    attack = attack or APGD(8 / 255, 40)
    fs = [net.at(lam, width) for lam in lams]
    x, y = split.x, split.y
    clean = [_correct(f, x, y) for f in fs]
    # One attack on each λ, one on the mean prediction, one on every λ at once.
    targets = [
        *fs,
        lambda images: mean_prediction(fs, images),
        lambda images: most_robust_prediction(fs, images, y),
    ]
    robust = []  # for each target a mask (λ, N): correct both unattacked and attacked
    for target in tqdm(targets, disable=not progress, leave=False, unit="attack"):
        x_adv = attack(target, x, y, torch.Generator(x.device).manual_seed(seed))
        attacked = [_correct(f, x_adv, y) for f in fs]
        robust.append(torch.stack(clean) & torch.stack(attacked))
    *per_lambda, unknown, every = robust
    return AcrossLambda(
        lams=lams,
        clean=[_mean(mask) for mask in clean],
        accuracy=[[_mean(mask) for mask in masks] for masks in per_lambda],
        unknown_lambda=[_mean(mask) for mask in unknown],
        every_lambda=_mean(every.any(0)),
        n=len(split),
        attack=str(attack),
        split=split.name,
    )


def mean_prediction(fs: Sequence, x: Tensor) -> Tensor:
    """Return logits whose softmax is the mean over several functions.

    This is what an attacker targets if it does not know λ.

    Args:
        fs: Functions from images to logits (N, C), one per λ.
        x: Images (N, ...).

    Returns:
        Logits (N, C).
    """
    weights = x.new_full((1, len(fs)), 1 / len(fs))
    return log_mixture([f(x) for f in fs], weights)


def most_robust_prediction(fs: Sequence, x: Tensor, y: Tensor) -> Tensor:
    """Return for each image the logits of the function with the smallest margin loss.

    They are wrong only where the logits of all functions are wrong. So an attack on them looks for
    one image that fools all functions.

    Args:
        fs: Functions from images to logits (N, C), one per λ.
        x: Images (N, ...).
        y: Labels (N,).

    Returns:
        Logits (N, C).
    """
    logits = torch.stack([f(x) for f in fs])  # (λ, N, C)
    most_robust = torch.stack([margin_loss(z, y) for z in logits]).argmin(0)  # (N,)
    return logits[most_robust, torch.arange(len(y), device=y.device)]


@torch.no_grad()
def _correct(f, x: Tensor, y: Tensor) -> Tensor:
    """Return a mask (N,) of the images that a function classifies correctly."""
    return f(x).argmax(1) == y


def _mean(mask: Tensor) -> float:
    return mask.double().mean().item()


def _columns(cells) -> str:
    return "".join(f"{cell:>9}" for cell in cells)
