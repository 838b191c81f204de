"""Every paper is a row: which parts its units have, which λ it trains at, which loss. One step and one loop serve all.

Sources: OAT and OATS, Wang et al. 2020 (arXiv 2010.11828); PGD-AT as the hybrid loss of the same paper at one fixed λ
(Madry et al. 2018 is its λ = 1); TRADES, Zhang et al. 2019; SNN, Yu et al. 2019; US-SNN, Yu and Huang 2019; SOLAR,
Tareen et al. 2025 (arXiv 2509.16833); FLOAT and FLOATS, Kundu et al. 2023 (arXiv 2204.00426); SMART, Kundu et al. 2023
(arXiv 2302.03523). `blend` is our own: the two ends of the dial, and between them the interpolated weights.

What follows the papers' public code, and what does not, by row. Every row centres its input unless
centre=False, and attacks before the clean pass. README lists all differences.

* oat: its loss, λ per image, PGD and dual BatchNorm. Not its FiLM start (film_start="paper" is).
* oats: the losses of the widths are averaged, as in the paper; its public code adds them
  (width_loss="sum"). A narrow width keeps γ and β apart (film_rows="published" does not).
* solar: the losses of the widths are added, as in its script. FiLM as in oats.
* pgd-at: loss and gradient. The clean pass comes first; in the public code the attacked one does.
* trades: loss, gradient and attack, with its unclipped start. The public loss sends the clean images
  through the network twice, so its BatchNorm statistics are two thirds clean; here they are half.
* snn, us-snn, solar-snn: loss and BatchNorms. Weight decay acts on all parameters; the code of the
  S-Nets leaves out BatchNorms and biases. Widths round channels down, not to multiples of eight.
* float, floats, float-slim: the noise and its gradient. Not the loss (loss="as-coded" is), and not one
  draw of noise for a whole step (redraw="forward" draws at every forward). Noise of pruned weights is
  pruned, too (noise_on="all" keeps it).
* floats: rewiring by momentum, with exact totals; rewire.py says how it shares out growth.
* smart: two experts as in the paper. The public prototype also adds noise in the early layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from .attacks import PGD
from .layers.setting import Width
from .nets import Network
from .spec import Spec, did_you_mean, lookup

OAT_STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)  # the published set S
QUARTERS = (0.25, 0.5, 0.75, 1.0)

_OAT = dict(stops=OAT_STOPS, dual=True, film=True, codes="rand", code_dim=128)
_SNN = dict(stops=(0.0,), widths=QUARTERS, width_loss="sum")
_ENDS = dict(stops=(0.0, 1.0), dual=True, loss="halves")  # one half of each batch clean, the other attacked
_FLOAT = _ENDS | dict(noise=True, redraw="step")  # published: "forward", at which noise blinds its own attack

RECIPES: dict[str, dict] = {
    "standard": dict(stops=(0.0,)),  # clean images only
    "pgd-at": dict(stops=(0.5,)),  # one network per λ: build("pgd-at", data, lam=0.3)
    "trades": dict(stops=(1.0,), loss="trades", beta=6.0),  # no λ of its own: listed at the robust end
    "oat": _OAT,
    "oats": _OAT | dict(widths=(0.5, 0.75, 1.0)),  # losses averaged as in the paper; its public code sums them
    "snn": _SNN,
    "us-snn": _SNN | dict(norm_sharing="affine", draw="sandwich", loss="distill"),
    # OATS with an output layer for every width; losses added as in its script
    "solar": _OAT | dict(widths=QUARTERS, own_heads=True, width_loss="sum"),
    "solar-snn": _SNN | dict(own_heads=True),
    "blend": _ENDS,
    "float": _FLOAT,
    "float-slim": _FLOAT | dict(widths=(0.5, 1.0), width_loss="sum"),
    "floats": _FLOAT | dict(masks="shared", density=0.3),
    "smart": _ENDS | dict(masks="complementary", density=0.5, mask_in="late"),
}
OPTIONS = tuple(f.name for f in fields(Spec) if f.name not in ("recipe", "backbone", "shape", "classes", "data"))


def build(recipe: str, data, backbone: str = "tiny", seed: int = 0, lam: float | None = None, **options) -> Network:
    """Return an untrained network for a data set, on the data's device.

    Args:
        recipe: a name in `RECIPES`.
        data: the data set; the network takes its image shape and classes.
        backbone: a name in `BACKBONES`.
        seed: the source of weights, λ codes and masks.
        lam: the one λ of a recipe without a dial, such as "pgd-at".
        **options: entries of the recipe's row to replace.
            λ: stops, dual, film, codes, code_dim, film_start, film_rows, dial.
            Widths: widths (shares of the channels, or K for 1/K ... 1), norm_sharing, own_heads, draw.
            Weights: noise, redraw, noise_on, masks, density, mask_of, mask_in.
            Loss: loss, beta, width_loss ("mean" or "sum" over the widths).
            Input: centre.

    Two options give the layout of the papers' public code. centre=False feeds pixels in [0, 1] to the
    first conv; by default it gets [-2, 2]. film_rows="published" takes the first 2c rows of FiLM's output
    layer at a width of c channels; by default ("paired") it takes c rows of γ and c of β. With several
    widths "published" needs film_start="paper", because a narrow width would begin at β = 1 otherwise.

    Example:
        net = build("oats", data, centre=False, film_rows="published", film_start="paper")
    """
    row = lookup("recipe", recipe, RECIPES) | options
    for name in options.keys() - set(OPTIONS):
        hint = did_you_mean(name, OPTIONS)
        raise TypeError(f"recipe {recipe!r} has no option {name!r}{hint}; its options are {', '.join(OPTIONS)}")
    row["stops"], row["widths"] = _stops(row["stops"]), _widths(row.get("widths", (1.0,)))
    if lam is not None:
        if len(row["stops"]) > 1 or row.get("loss") == "trades" or recipe == "standard":
            raise ValueError(f"lam= is for 'pgd-at'; {recipe!r} has the λ stops {row['stops']}")
        row["stops"] = _stops((lam,))
    lookup("loss", row.get("loss", "hybrid"), LOSSES)
    if row.get("loss") == "trades" and (len(row["stops"]) > 1 or row["stops"][0] == 0):
        raise ValueError(f"the loss 'trades' has no λ: give it one stop above 0, not {row['stops']}")
    if LOSSES[row.get("loss", "hybrid")].ends and row["stops"] != (0.0, 1.0):
        raise ValueError(f"the loss {row['loss']!r} has two kinds of images: stops must be (0, 1), not {row['stops']}")
    _check_widths(row)
    source = {"name": data.name, "options": dict(data.options)}
    spec = Spec(recipe, backbone, tuple(data.shape), tuple(data.classes), data=source, **row)
    return Network(spec, seed).to(data.train.x.device)


def _stops(stops) -> tuple[float, ...]:
    try:
        if isinstance(stops, str):
            raise TypeError
        return tuple(float(s) for s in stops)  # Spec checks the order
    except (TypeError, ValueError):
        raise ValueError(f"stops must be a list of λ in [0, 1], such as {OAT_STOPS}, got {stops!r}") from None


def _widths(widths) -> tuple[float, ...]:
    try:
        if isinstance(widths, str):
            raise TypeError
        if isinstance(widths, int):
            widths = [i / widths for i in range(1, widths + 1)]
        return tuple(float(w) for w in widths)  # Spec checks the order
    except (TypeError, ValueError):
        raise ValueError(f"widths must be a list such as {QUARTERS}, or how many, got {widths!r}") from None


def _check_widths(row: dict) -> None:
    for name, valid in (("width_loss", ("mean", "sum")), ("draw", ("all", "sandwich"))):
        if row.get(name, valid[0]) not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, got {row[name]!r}")
    if row.get("draw") == "sandwich":
        if row["stops"] != (0.0,) or row.get("own_heads") or row.get("norm_sharing") != "affine":
            raise ValueError(
                "draw='sandwich' trains widths in between, which have neither BatchNorm statistics to be attacked with "
                "nor a head of their own: it needs stops=(0,), norm_sharing='affine' and own_heads=False"
            )
        if len(row["widths"]) < 2:
            raise ValueError("draw='sandwich' needs at least two widths: the narrowest and 1")


def draw_widths(spec: Spec, generator: torch.Generator) -> list[Width]:
    """The widths of one training step, the largest first: all, or the sandwich of both ends and two in between."""
    listed = [Width(share, index) for index, share in enumerate(spec.widths)][::-1]
    if spec.draw == "all":
        return listed
    low, high = spec.widths[0], spec.widths[-1]
    between = torch.rand(2, generator=generator, dtype=torch.float64) * (high - low) + low
    return [listed[0], *(Width(share, None) for share in between.tolist()), listed[-1]]


def sample_stops(stops: tuple[float, ...], n: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """The λ stop of each of n samples, as in OAT's code: ceil(n/|S|) zeros first, the others uniform over the rest.

    Returns the stop indices (n,) and how many of them, at the front, have λ = 0 and need no attack.
    """
    first = 1 if stops[0] == 0 else 0  # the stop of λ = 0, if there is one, is stop 0
    zeros = first * -(-n // len(stops))
    rest = torch.randint(first, max(len(stops), 1), (n - zeros,), generator=generator) if zeros < n else torch.empty(0)
    return torch.cat([torch.zeros(zeros), rest]).long(), zeros


def more_at_last_stop(stop: Tensor, zeros: int, stops: tuple[float, ...], share: float, generator) -> Tensor:
    """Give a share of the attacked images the last λ stop.

    Few images are trained at the last stop where λ is uniform over many, and robust features are learned there.

    Args:
        stop: the stop of each image (N,), from `sample_stops`.
        zeros: how many images, at the front, have λ = 0. They keep it.
        stops: the λ stops of the network.
        share: the probability that an attacked image gets the last stop, whatever it had.
        generator: where chance comes from. It is not used if nothing can change.

    Returns:
        The new stops (N,). The tensor that was given stays as it is.
    """
    last = len(stops) - 1
    if not share or zeros == len(stop) or bool((stop[zeros:] == last).all()):
        return stop
    chosen = torch.rand(len(stop), generator=generator) < share
    chosen[:zeros] = False
    return stop.masked_fill(chosen, last)


@dataclass(frozen=True)
class Labels:
    """What a loss compares logits with: y (N,), λ (N,), how many at the front have λ = 0 and were not attacked, the
    weight β, and at a narrower width than the first one the (detached) logits of that, (N, classes)."""

    y: Tensor
    lam: Tensor
    zeros: int
    beta: float = 0.0
    teacher: Tensor | None = None


def hybrid(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """mean of (1-λ)·CE(clean) + λ·CE(attacked), λ per sample."""
    y, lam, zeros = labels.y, labels.lam, labels.zeros
    loss = ((1 - lam) * F.cross_entropy(clean, y, reduction="none")).sum()
    loss = loss + (lam[zeros:] * F.cross_entropy(attacked, y[zeros:], reduction="none")).sum()
    return loss / len(y)


def halves(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """mean of CE, each image either clean (λ = 0) or attacked."""
    return F.cross_entropy(torch.cat([clean, attacked]), labels.y)


def as_coded(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """What FLOAT's public code computes: all images clean at weight 1/2, those with λ > 0 attacked at weight 1/2, too,
    but over the size of the whole batch: in effect 1/2 clean and 1/4 attacked."""
    loss = F.cross_entropy(clean, labels.y, reduction="sum")
    loss = loss + F.cross_entropy(attacked, labels.y[labels.zeros :], reduction="sum")
    return loss / (2 * len(labels.y))


def trades(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """CE(clean) + β·KL(clean || attacked), with gradients through both terms, as in the public code.

    That code computes the clean logits a second time for the KL. The loss and its gradient are the same
    here, but the running statistics of BatchNorm see the clean images once instead of twice.
    """
    return F.cross_entropy(clean, labels.y) + labels.beta * kl(attacked, clean.log_softmax(1)).mean()


def distill(clean: Tensor, attacked: Tensor, labels: Labels) -> Tensor:
    """In-place distillation: the full width learns the labels, narrower ones the full width's answers."""
    return F.cross_entropy(clean, labels.y if labels.teacher is None else labels.teacher.softmax(1))


def kl(attacked: Tensor, target: Tensor) -> Tensor:
    """KL(softmax target || softmax attacked) per sample, (N,); `target` holds log-probabilities (N, classes)."""
    return (target.exp() * (target - attacked.log_softmax(1))).sum(1)


def aim_at_loss(attack: PGD, f, x: Tensor) -> PGD:
    """The attack climbs the cross-entropy that is trained."""
    return attack


def aim_at_kl(attack: PGD, f, x: Tensor) -> PGD:
    """The attack climbs TRADES' regulariser, from an unclipped start near x where its gradient is not zero."""
    with torch.no_grad():
        target = f(x).log_softmax(1)

    def regulariser(logits: Tensor, y: Tensor) -> Tensor:
        return kl(logits, target)

    return PGD(attack.eps, attack.steps, attack.step_size, loss=regulariser, start="gaussian", best=False)


@dataclass(frozen=True)
class Loss:
    """What a step minimises, how its attack is aimed, and whether images with λ > 0 also pass through unattacked."""

    of: Callable[[Tensor, Tensor, Labels], Tensor]
    aim: Callable = aim_at_loss
    both: bool = True
    ends: bool = False  # knows no λ but 0 and 1


LOSSES = {
    "hybrid": Loss(hybrid),
    "trades": Loss(trades, aim_at_kl),
    "distill": Loss(distill),
    "halves": Loss(halves, both=False, ends=True),
    "as-coded": Loss(as_coded, ends=True),
}
