"""Recipes: training methods from papers, each one a row of options in `RECIPES`.

A row says which parts the units of a network have, at which λ values (stops) it is trained, and
which loss it minimises. `build` makes an untrained network from a row. One training step (step.py)
and one training loop (loop.py) serve all rows.

Sources:

* OAT and OATS: Wang et al. 2020 (arXiv 2010.11828).
* PGD-AT: the hybrid loss of the same paper at one fixed λ (Madry et al. 2018 is its λ = 1).
* TRADES: Zhang et al. 2019.
* SNN: Yu et al. 2019. US-SNN: Yu and Huang 2019.
* SOLAR: Tareen et al. 2025 (arXiv 2509.16833).
* FLOAT and FLOATS: Kundu et al. 2023 (arXiv 2204.00426).
* SMART: Kundu et al. 2023 (arXiv 2302.03523).
* `blend` comes from this package. It trains the two ends of the dial and interpolates the weights
  between them.

The list below says what agrees with the public code of each paper, and what differs. published.py
holds the options that make a row agree. Every row centres its input unless centre=False, and
attacks before the clean pass. docs/deviations.md lists all differences.

* oat: the loss, λ per image, PGD and dual BatchNorm agree. The FiLM start differs
  (film_start="paper" agrees).
* oats: the losses of the widths are averaged, as in the paper. The public code adds them
  (width_loss="sum"). A narrow width keeps γ and β apart (film_rows="published" does not).
* solar: the losses of the widths are added, as in its script. FiLM is as in oats.
* pgd-at: loss and gradient agree. The clean pass comes first; in the public code the attacked pass
  comes first.
* trades: loss, gradient and attack agree, with the unclipped start. The public loss sends the clean
  images through the network twice, so its BatchNorm statistics are two thirds clean. Here half of
  them are clean.
* snn, us-snn, solar-snn: loss and BatchNorms agree. Weight decay acts on all parameters; the code
  of the S-Nets excludes BatchNorms and biases. Widths round channels down, not to multiples of
  eight.
* float, floats, float-slim: the noise and its gradient agree. The loss differs (loss="as-coded"
  agrees). One noise sample serves a whole training step (redraw="forward" samples at every
  forward). Noise of pruned weights is pruned, too (noise_on="all" keeps it).
* floats: rewiring by momentum agrees, with exact totals. rewire.py says how growth is distributed.
* smart: two experts as in the paper. The public prototype also adds noise in the early layers.
"""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from torch import Tensor

from .._check import of_type
from .._suggest import did_you_mean, lookup
from ..data.splits import Data
from ..layers.setting import Width
from ..layers.unit import UnitOptions
from ..networks.network import Network
from ..networks.spec import MOST_WIDTHS, Spec

OAT_STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)  # the published set S
QUARTERS = (0.25, 0.5, 0.75, 1.0)  # widths: fractions of the channels

_OAT = dict(stops=OAT_STOPS, dual=True, film=True, codes="rand", code_dim=128)
_SNN = dict(stops=(0.0,), widths=QUARTERS, width_loss="sum")
# One half of each batch is clean, the other attacked.
_ENDS = dict(stops=(0.0, 1.0), dual=True, loss="halves")
# published: redraw="forward", where new noise at every forward weakens the attack used in training
_FLOAT = _ENDS | dict(noise=True, redraw="step")

RECIPES: dict[str, dict] = {
    "standard": dict(stops=(0.0,)),  # clean images only
    "pgd-at": dict(stops=(0.5,)),  # one network per λ: build("pgd-at", data, lam=0.3)
    "trades": dict(stops=(1.0,), loss="trades", beta=6.0),  # it has no λ: listed at the robust end
    "oat": _OAT,
    # losses of the widths averaged as in the paper; its public code adds them
    "oats": _OAT | dict(widths=(0.5, 0.75, 1.0)),
    "snn": _SNN,
    "us-snn": _SNN | dict(norm_sharing="affine", width_sampling="sandwich", loss="distill"),
    # OATS with an output layer for every width; losses of the widths added as in its script
    "solar": _OAT | dict(widths=QUARTERS, own_heads=True, width_loss="sum"),
    "solar-snn": _SNN | dict(own_heads=True),
    "blend": _ENDS,
    "float": _FLOAT,
    "float-slim": _FLOAT | dict(widths=(0.5, 1.0), width_loss="sum"),
    "floats": _FLOAT | dict(masks="shared", density=0.3),
    "smart": _ENDS | dict(masks="complementary", density=0.5, mask_in="late"),
}
# One line for each recipe, for readers who do not know it. docs/recipes.md begins with these lines.
SUMMARIES: dict[str, str] = {
    "standard": "trained on clean images only",
    "pgd-at": "trained for one λ: (1-λ)·clean + λ·attacked loss",
    "trades": "trained on clean images, and to answer attacked images alike; no λ",
    "oat": "one network for all λ, drawn per image in training",
    "oats": "oat at several widths at once: a second dial, for size",
    "snn": "trained on clean images at four widths at once; no λ",
    "us-snn": "snn for any width between the narrowest and the widest",
    "solar": "oats with four widths, and an output layer for every width",
    "solar-snn": "snn with an output layer for every width",
    "blend": "trained at the two ends of λ; between them its weights are interpolated",
    "float": "blend with noise on the weights that attacked images meet",
    "float-slim": "float at two widths at once",
    "floats": "float with three weights in ten, the others are zero",
    "smart": "blend whose late layers are two experts: one for clean, one for attacked images",
}
_NOT_OPTIONS = ("recipe", "backbone", "shape", "classes", "data")
# Options of `build`: those of the whole network first, then those of its units.
_UNIT_OPTIONS = tuple(f.name for f in fields(UnitOptions))
_OF_NETWORK = tuple(f.name for f in fields(Spec) if f.name not in _NOT_OPTIONS + _UNIT_OPTIONS)
OPTIONS = _OF_NETWORK + _UNIT_OPTIONS


def build(
    recipe: str, data, backbone: str = "tiny", seed: int = 0, lam: float | None = None, **options
) -> Network:
    """Return an untrained network for a data set, on the data's device.

    Two options give the layout of the papers' public code. centre=False feeds pixels in [0, 1] to
    the first conv; by default it gets [-2, 2]. film_rows="published" takes the first 2c rows of
    FiLM's output layer at a width of c channels; by default ("paired") it takes c rows of γ and c
    of β. With several widths "published" needs film_start="paper". Otherwise a narrow width would
    begin at β = 1.

    Args:
        recipe: A name in `RECIPES`.
        data: The data set. The network takes its image shape and classes.
        backbone: A name in `BACKBONES`.
        seed: Seed of weights, λ codes and masks.
        lam: The one λ of a recipe without a dial, such as "pgd-at".
        **options: Entries of the recipe's row to replace.

            * λ: stops, dual, film, codes, code_dim, film_start, film_rows, dial.
            * Widths: widths (fractions of the channels, or K for 1/K ... 1), norm_sharing,
              own_heads, width_sampling.
            * Weights: noise, redraw, noise_on, masks, density, mask_of, mask_in.
            * Loss: loss, beta, width_loss ("mean" or "sum" over the widths). loss="sampled"
              estimates the loss of OAT in two thirds of the time, see losses.py.
            * Input: centre.

    Returns:
        A network in eval mode with random weights.

    Raises:
        ValueError: If the recipe, the backbone or the value of an option is not valid, if options
            contradict each other, or if the recipe takes no `lam`.
        TypeError: If there is no option of that name.

    Example:
        >>> net = build("oats", data, centre=False, film_rows="published", film_start="paper")
    """
    row = lookup("recipe", recipe, RECIPES) | options
    of_type("data", data, Data, "a data set, such as oatlib.load_data('shapes')")
    for name in options.keys() - set(OPTIONS):
        hint = did_you_mean(name, OPTIONS)
        raise TypeError(
            f"recipe {recipe!r} has no option {name!r}{hint}; its options are {', '.join(OPTIONS)}"
        )
    row["stops"] = _stops_as_tuple(row["stops"])
    row["widths"] = _widths_as_tuple(row.get("widths", (1.0,)))
    if lam is not None:
        # lam= replaces a single stop; a dial has several, and "trades" and "standard" have no λ
        if len(row["stops"]) > 1 or row.get("loss") == "trades" or recipe == "standard":
            raise ValueError(
                f"only 'pgd-at' takes lam=; the recipe {recipe!r} has the λ stops {row['stops']}"
            )
        row["stops"] = _stops_as_tuple((lam,))
    spec = Spec(
        recipe=recipe,
        backbone=backbone,
        shape=tuple(data.shape),
        classes=tuple(data.classes),
        data={"name": data.name, "options": dict(data.options)},
        **row,
    )
    return Network(spec, seed).to(data.train.x.device)


def _stops_as_tuple(stops) -> tuple[float, ...]:
    """Return λ stops as a tuple of floats, or raise a ValueError. `Spec` checks their order."""
    try:
        if isinstance(stops, str):
            raise TypeError
        return tuple(float(stop) for stop in stops)
    except (TypeError, ValueError):
        raise ValueError(
            f"stops must be a list of λ in [0, 1], such as {OAT_STOPS}, got {stops!r}"
        ) from None


def _widths_as_tuple(widths) -> tuple[float, ...]:
    """Return widths as a tuple of floats, or raise a ValueError. K stands for 1/K, 2/K, ..., 1."""
    try:
        if isinstance(widths, (str, bool)):
            raise TypeError
        if isinstance(widths, int):
            if widths > MOST_WIDTHS:
                raise ValueError
            widths = [i / widths for i in range(1, widths + 1)]
        return tuple(float(width) for width in widths)  # Spec checks the order
    except (TypeError, ValueError):
        raise ValueError(
            f"widths must be a list such as {QUARTERS}, or the number of widths, at most "
            f"{MOST_WIDTHS}, got {widths!r}"
        ) from None


def sample_widths(spec: Spec, generator: torch.Generator) -> list[Width]:
    """Return the widths that one training step uses, the largest first.

    Args:
        spec: With `width_sampling="all"` these are all widths of the network. With "sandwich" they
            are the largest and the smallest width and, between them in the list, two random widths.
        generator: Source of the random widths.

    Returns:
        Widths. The index of a random width is None.
    """
    listed = [Width(share, index) for index, share in enumerate(spec.widths)]
    smallest, largest = listed[0], listed[-1]
    if spec.width_sampling == "all":
        return listed[::-1]
    span = largest.fraction - smallest.fraction
    random = torch.rand(2, generator=generator, dtype=torch.float64) * span + smallest.fraction
    between = [Width(share, None) for share in random.tolist()]
    return [largest, *between, smallest]


def sample_stops(
    stops: tuple[float, ...], n: int, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Sample the λ stop of each image of a batch, as in OAT's code.

    The first ceil(n / number of stops) images get λ = 0. The stops of the others are uniform over
    the rest. Without a stop at λ = 0 they are uniform over all stops.

    Args:
        stops: λ stops of the network, ascending.
        n: Number of images.
        generator: Source of randomness, on the CPU.

    Returns:
        Stop indices, int64 (n,), and the number of images at the front that have λ = 0 and need no
        attack.
    """
    has_clean_stop = stops[0] == 0
    n_clean = math.ceil(n / len(stops)) if has_clean_stop else 0
    lambda_stop = torch.zeros(n, dtype=torch.int64)
    if n_clean < n:
        first_attacked = 1 if has_clean_stop else 0
        lambda_stop[n_clean:] = torch.randint(
            first_attacked, len(stops), (n - n_clean,), generator=generator
        )
    return lambda_stop, n_clean


def sample_attacked(
    stops: tuple[float, ...], lambda_stop: Tensor, generator: torch.Generator
) -> Tensor:
    """Sample which images are attacked: each one with probability λ.

    Args:
        stops: λ stops of the network.
        lambda_stop: Index of the λ stop of each image (N,).
        generator: Source of randomness, on the CPU.

    Returns:
        Whether each image is attacked, bool (N,). Never at λ = 0, always at λ = 1.
    """
    lam = torch.tensor(stops, dtype=torch.float64)[lambda_stop]
    return torch.rand(len(lam), generator=generator, dtype=torch.float64) < lam


def more_at_last_stop(
    lambda_stop: Tensor,
    n_clean: int,
    stops: tuple[float, ...],
    fraction: float,
    generator: torch.Generator,
) -> Tensor:
    """Give a random fraction of the attacked images the last λ stop.

    If λ is uniform over many stops, few images are trained at the last one, where robust features
    are learned.

    Args:
        lambda_stop: Index of the λ stop of each image (N,), from `sample_stops`.
        n_clean: Number of images at the front that have λ = 0. They keep it.
        stops: λ stops of the network.
        fraction: Probability that an attacked image gets the last stop, whatever stop it had.
        generator: Source of randomness. It is not used if nothing can change.

    Returns:
        Stop indices (N,). The input tensor is not modified.
    """
    last = len(stops) - 1
    # Also true if no image is attacked.
    all_at_last_stop = bool((lambda_stop[n_clean:] == last).all())
    if fraction == 0 or all_at_last_stop:
        return lambda_stop
    chosen = torch.rand(len(lambda_stop), generator=generator) < fraction
    chosen[:n_clean] = False
    return lambda_stop.masked_fill(chosen, last)
