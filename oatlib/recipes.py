"""Every paper is a row: which parts its units have, which λ it trains at, which loss. One step and one loop serve all.

Sources: OAT, Wang et al. 2020 (arXiv 2010.11828); PGD-AT as the hybrid loss of the same paper at one fixed λ (Madry
et al. 2018 is its λ = 1); TRADES, Zhang et al. 2019.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .attacks import PGD
from .nets import Network, Spec, did_you_mean, lookup

OAT_STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)  # the published set S

RECIPES: dict[str, dict] = {
    "standard": dict(stops=(0.0,)),  # clean images only
    "pgd-at": dict(stops=(0.5,)),  # one network per λ: build("pgd-at", data, lam=0.3)
    "trades": dict(stops=(1.0,), loss="trades", beta=6.0),  # no λ of its own: listed at the robust end
    "oat": dict(stops=OAT_STOPS, dual=True, film=True, codes="rand", code_dim=128),
}
OPTIONS = ("stops", "dual", "film", "codes", "code_dim", "film_start", "loss", "beta")


def build(recipe: str, data, backbone: str = "tiny", seed: int = 0, lam: float | None = None, **options) -> Network:
    """An untrained network for a data set, on the data's device. `lam` sets the one λ of a recipe without a dial.

    `options` replace entries of the recipe's row: stops, dual, film, codes, code_dim, film_start, loss, beta.
    """
    row = lookup("recipe", recipe, RECIPES) | options
    for name in options.keys() - set(OPTIONS):
        hint = did_you_mean(name, OPTIONS)
        raise TypeError(f"recipe {recipe!r} has no option {name!r}{hint}; its options are {', '.join(OPTIONS)}")
    row["stops"] = _stops(row["stops"])
    if lam is not None:
        if len(row["stops"]) > 1 or row.get("loss") == "trades" or recipe == "standard":
            raise ValueError(f"lam= is for 'pgd-at'; {recipe!r} has the λ stops {row['stops']}")
        row["stops"] = _stops((lam,))
    lookup("loss", row.get("loss", "hybrid"), LOSSES)
    if row.get("loss") == "trades" and (len(row["stops"]) > 1 or row["stops"][0] == 0):
        raise ValueError(f"the loss 'trades' has no λ: give it one stop above 0, not {row['stops']}")
    source = {"name": data.name, "options": dict(data.options)}
    spec = Spec(recipe, backbone, tuple(data.shape), tuple(data.classes), data=source, **row)
    return Network(spec, seed).to(data.train.x.device)


def _stops(stops) -> tuple[float, ...]:
    try:
        return tuple(float(s) for s in stops)  # Spec checks the order
    except (TypeError, ValueError):
        raise ValueError(f"stops must be a list of λ in [0, 1], such as {OAT_STOPS}, got {stops!r}") from None


def sample_stops(stops: tuple[float, ...], n: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """The λ stop of each of n samples, as published: ceil(n/|S|) zeros first, the others uniform over the rest.

    Returns the stop indices (n,) and how many of them, at the front, have λ = 0 and need no attack.
    """
    first = 1 if stops[0] == 0 else 0  # the stop of λ = 0, if there is one, is stop 0
    zeros = first * -(-n // len(stops))
    rest = torch.randint(first, max(len(stops), 1), (n - zeros,), generator=generator) if zeros < n else torch.empty(0)
    return torch.cat([torch.zeros(zeros), rest]).long(), zeros


def hybrid(clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, zeros: int, beta: float) -> Tensor:
    """mean of (1-λ)·CE(clean) + λ·CE(attacked), λ per sample; samples with λ = 0 (the first `zeros`) have no attack."""
    loss = ((1 - lam) * F.cross_entropy(clean, y, reduction="none")).sum()
    loss = loss + (lam[zeros:] * F.cross_entropy(attacked, y[zeros:], reduction="none")).sum()
    return loss / len(y)


def trades(clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, zeros: int, beta: float) -> Tensor:
    """CE(clean) + β·KL(clean || attacked), with gradients through both terms, as in the published code."""
    return F.cross_entropy(clean, y) + beta * kl(attacked, clean.log_softmax(1)).mean()


def kl(attacked: Tensor, target: Tensor) -> Tensor:
    """KL(softmax target || softmax attacked) per sample, (N,); `target` holds log-probabilities (N, classes)."""
    return (target.exp() * (target - attacked.log_softmax(1))).sum(1)


def aim_at_loss(attack: PGD, f, x: Tensor) -> PGD:
    """The attack climbs the cross-entropy that is trained."""
    return attack


def aim_at_kl(attack: PGD, f, x: Tensor) -> PGD:
    """The attack climbs TRADES' regulariser, from a start near x where its gradient is not zero."""
    with torch.no_grad():
        target = f(x).log_softmax(1)
    return replace(attack, loss=lambda logits, y: kl(logits, target), start="gaussian")


LOSSES = {"hybrid": hybrid, "trades": trades}
AIMS = {"hybrid": aim_at_loss, "trades": aim_at_kl}  # what the attack of training climbs
