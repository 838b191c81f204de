"""The dial as something to attack: what does it help a defender that he can move it, and an attacker that he may wait?

Three attackers: one who knows another λ than the one that answers, one who knows the choices but not which, and one
whose image must fool every setting at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .apgd import APGD
from .attacks import Attack
from .evaluate import Split, wilson
from .layers.mixture import log_mixture
from .moves import margin
from .nets import Network


@dataclass(frozen=True)
class Moving:
    """Robust accuracies in [0, 1] on the same n images. An image counts if it is right as it is and attacked."""

    lams: list[float]
    clean: list[float]
    struck: list[list[float]]  # [i][j]: made at lams[i], struck at lams[j]; the diagonal knows λ
    blind: list[float]  # made against the mean answer over all λ, struck at each
    at_once: float  # images that no single change fools at every λ at the same time
    n: int
    attack: str

    @property
    def known(self) -> list[float]:
        """Against an attacker who knows λ."""
        return [self.struck[i][i] for i in range(len(self.lams))]

    @property
    def still(self) -> float:
        """The best that a defender gets who never moves."""
        return max(self.known)

    @property
    def moved(self) -> float:
        """What he gets who draws λ anew for every image, evenly, against one who attacks the mean answer."""
        return sum(self.blind) / len(self.blind)

    def __str__(self) -> str:
        head = "made at \\ struck at " + "".join(f"{lam:>9g}" for lam in self.lams)
        rows = [f"{lam:>19g} " + "".join(f"{value:>9.1%}" for value in row)
                for lam, row in zip(self.lams, self.struck, strict=True)]  # fmt: skip
        rows += [f"{'λ not known':>19} " + "".join(f"{value:>9.1%}" for value in self.blind)]
        half = max(high - low for low, high in (wilson(round(v * self.n), self.n) for v in self.known)) / 2
        rows += [f"all λ at once: {self.at_once:.1%} withstand. Who stands still has {self.still:.1%} at best, "
                 f"who draws λ anew {self.moved:.1%}.",
                 f"n = {self.n}, {self.attack}, 95 % intervals up to ±{half:.1%}"]  # fmt: skip
        return "\n".join([head, *rows])


def moving(
    net: Network, split: Split, lams: Sequence[float] | None = None, width: float | None = None,
    attack: Attack | None = None, seed: int = 0, progress: bool = True,
) -> Moving:  # fmt: skip
    """Attack a network with a dial at one λ and let another answer, for all pairs; and all of them together.

    lams: its stops by default. attack: APGD by default, as PGD is weak between the ends of a dial. Noisy networks stand
    as one frozen draw.
    """
    lams = [float(lam) for lam in (net.spec.stops if lams is None else lams)]
    if len(lams) < 2:
        raise ValueError(f"a dial that moves needs at least 2 values of λ, got {lams}")
    attack = attack or APGD(8 / 255, 40)
    fs = [net.at(lam, width) for lam in lams]
    x, y = split.x, split.y
    right = [_right(f, x, y) for f in fs]
    targets = [*fs, lambda z: mean_answer(fs, z), lambda z: best_defended(fs, z, y)]
    holds = []  # per attacker, (settings, N)
    for target in tqdm(targets, disable=not progress, leave=False, unit="attacker"):
        x_adv = attack(target, x, y, torch.Generator(x.device).manual_seed(seed))
        holds.append(torch.stack([ok & _right(f, x_adv, y) for ok, f in zip(right, fs, strict=True)]))
    *struck, blind = [[_share(each) for each in held] for held in holds[:-1]]
    return Moving(lams, [_share(ok) for ok in right], struck, blind, _share(holds[-1].any(0)), len(y), str(attack))


def mean_answer(fs: Sequence, x: Tensor) -> Tensor:
    """Logits whose softmax is the mean over the functions: what an attacker targets if it does not know λ."""
    return log_mixture([f(x) for f in fs], x.new_full((1, len(fs)), 1 / len(fs)))


def best_defended(fs: Sequence, x: Tensor, y: Tensor) -> Tensor:
    """Per image the logits of that function which resists most: it is wrong only where all of them are."""
    every = torch.stack([f(x) for f in fs])
    least = torch.stack([margin(z, y) for z in every]).argmin(0)
    return every[least, torch.arange(len(y), device=y.device)]


@torch.no_grad()
def _right(f, x: Tensor, y: Tensor) -> Tensor:
    return f(x).argmax(1) == y


def _share(mask: Tensor) -> float:
    return mask.double().mean().item()
