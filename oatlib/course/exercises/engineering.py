"""Exercises of lesson A: folding FiLM into BatchNorm, λ between two stops, and an even slider.

At a fixed λ BatchNorm and FiLM are one scale and one shift per channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ...evaluation.slider import equal_steps
from ...networks.lambdas import mixture
from . import Wrong, exercise, same

STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
# A frontier like that of `oat`: robust accuracy rises early, clean accuracy falls late
LAMS = tuple(i / 10 for i in range(11))
CLEAN = (1.0, 0.98, 0.96, 0.93, 0.9, 0.88, 0.87, 0.86, 0.855, 0.85, 0.85)
ROBUST = (0.0, 0.35, 0.48, 0.54, 0.6, 0.63, 0.65, 0.67, 0.69, 0.7, 0.71)
EVEN = 0.13  # largest share of the way in one of ten moves that counts as even


def _like(got, want: Tensor) -> bool:
    return (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got.to(want), want, atol=1e-4)
    )


def _fold_film(mean, var, weight, bias, gamma, beta, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    scale = weight * torch.rsqrt(var + eps)
    return gamma * scale, torch.addcmul(beta, gamma, bias - mean * scale)


@exercise(_fold_film, "oatlib.layers.unit.Unit and its affine()")
def fold_film(theirs) -> None:
    """mean, var, weight, bias of BatchNorm, gamma, beta (all (C,)) -> scale (C,), shift (C,)."""
    draw = torch.Generator().manual_seed(1)
    mean, weight, bias, gamma, beta = (torch.randn(5, generator=draw) for _ in range(5))
    var = torch.tensor([1.0, 4.0, 0.3, 2.0, 1e-5])  # the last one equals eps
    norm = (mean, var, weight, bias)
    got = theirs(*(t.clone() for t in norm), gamma.clone(), beta.clone())
    if not (isinstance(got, tuple | list) and len(got) == 2):
        raise Wrong("it should return two tensors: scale and shift.")
    (scale, shift), plain = (
        _fold_film(*norm, gamma, beta),
        _fold_film(*norm, torch.ones(5), torch.zeros(5)),
    )
    if _like(got[0], _fold_film(mean, var - 1e-5 + 1e-12, weight, bias, gamma, beta)[0]):
        raise Wrong("eps is missing: BatchNorm divides by sqrt(var + eps).")
    if _like(got[0], gamma * weight / (var + 1e-5)):
        raise Wrong("BatchNorm divides by the standard deviation: take the root of var + eps.")
    if _like(got[0], plain[0]):
        raise Wrong("the scale is that of BatchNorm alone: γ multiplies it.")
    if _like(got[0], gamma * torch.rsqrt(var + 1e-5)):
        raise Wrong("BatchNorm has a learned scale, too: `weight` is missing.")
    same(got[0], scale, "the scale should be γ·weight / sqrt(var + eps).")
    if _like(got[1], plain[1] + beta):
        raise Wrong("γ comes after BatchNorm, so it multiplies all that BatchNorm adds, too.")
    if _like(got[1], gamma * bias + beta):
        raise Wrong("the mean that BatchNorm takes away is missing from the shift.")
    same(got[1], shift, "the shift should be γ·(bias - mean·weight / sqrt(var + eps)) + β.")


def _stop_weights(lam: float, stops=STOPS) -> Tensor:
    return mixture(tuple(stops), torch.tensor([lam], dtype=torch.float64))[0].float()


@exercise(_stop_weights, "oatlib.networks.lambdas.mixture")
def stop_weights(theirs) -> None:
    """lam, stops (ascending) -> weight of each stop (S,), linear between two neighbouring stops."""
    for lam in (0.12, 0.1, 0.7):
        got, want = theirs(lam, STOPS), _stop_weights(lam)
        if isinstance(got, Tensor) and got.shape == want.shape:
            _look_at_weights(got, lam, want)
        same(
            got, want, f"λ = {lam:g} should get the weights {[round(w, 3) for w in want.tolist()]}."
        )
    for lam in (0.0, 1.0):
        same(
            theirs(lam, STOPS),
            _stop_weights(lam),
            f"at the end λ = {lam:g} all weight belongs to that stop.",
        )


def _look_at_weights(got: Tensor, lam: float, want: Tensor) -> None:
    """Raise Wrong if the weights show one of the common mistakes."""
    if abs(got.sum().item() - 1) > 1e-4:
        raise Wrong(
            f"the weights should add up to 1; at λ = {lam:g} they add up to {got.sum().item():.3g}."
        )
    ends = torch.zeros(len(STOPS)).index_copy(
        0, torch.tensor([0, len(STOPS) - 1]), torch.tensor([1 - lam, lam])
    )
    if _like(got, ends):
        raise Wrong("it mixes the two ends only: mix the two stops on either side of λ.")
    if _like(got, want) or not bool(((want > 0) & (want < 1)).any()):
        return
    if got.max() > 1 - 1e-6:
        raise Wrong("it takes one stop: between two stops both should have a share.")
    if _like(got[got > 0].flip(0), want[want > 0]):
        raise Wrong("the two shares are the wrong way round: the nearer stop gets more.")
    at = lam * (len(STOPS) - 1)
    even = torch.tensor([max(0.0, 1 - abs(i - at)) for i in range(len(STOPS))])
    if _like(got, even):
        raise Wrong("the stops are not evenly spaced: ask `stops` where they are.")


def _shares(slider: Sequence[float]) -> list[float]:
    """Of the whole way along the frontier, what each move of the slider makes."""
    way = [robust - clean for clean, robust in zip(CLEAN, ROBUST, strict=True)]
    places = [_between(lam, way) for lam in slider]
    return [(b - a) / (way[-1] - way[0]) for a, b in pairwise(places)]


def _between(lam: float, way: Sequence[float]) -> float:
    """Interpolate the distance along the frontier at λ."""
    left = min(int(lam * 10), 9)
    part = lam * 10 - left
    return (1 - part) * way[left] + part * way[left + 1]


@exercise(equal_steps, "oatlib.evaluation.slider.equal_steps")
def even_slider(theirs) -> str:
    """lams, clean, robust (S each) -> λ at S evenly spaced slider positions, from 0 to 1."""
    slider = _listed(theirs(list(LAMS), list(CLEAN), list(ROBUST)))
    if all(abs(a - b) < 1e-6 for a, b in zip(slider, LAMS, strict=True)):
        first = _shares(slider)[0]
        raise Wrong(f"that is λ itself: its first of ten moves makes {first:.0%} of the way.")
    largest = max(_shares(slider))
    if largest > EVEN:
        raise Wrong(
            f"the largest of ten moves makes {largest:.1%} of the way; at most {EVEN:.0%} is "
            "wanted. The way is robust accuracy gained plus clean accuracy lost."
        )
    # measurement noise: the way goes back for one step
    noisy = [*ROBUST[:5], 0.57, *ROBUST[6:]]
    rough = _listed(theirs(list(LAMS), list(CLEAN), noisy))
    if any(b < a for a, b in pairwise(rough)):
        raise Wrong(
            "measurement noise can make the way go back a little, and then λ goes back, too: keep "
            "the largest value so far."
        )
    return (
        f"The largest of ten moves makes {largest:.1%} of the way; with λ itself it is "
        f"{max(_shares(LAMS)):.0%}."
    )


def _listed(got) -> list[float]:
    """Return the values of a slider, after a look at their number and their ends."""
    if isinstance(got, Tensor):
        got = got.tolist()
    try:
        values = [float(value) for value in got]
    except TypeError:
        raise Wrong("it should return a list of λ, one for each slider position.") from None
    if len(values) != len(LAMS):
        raise Wrong(f"it should return {len(LAMS)} values of λ, but returns {len(values)}.")
    if not all(math.isfinite(value) for value in values):
        raise Wrong("a λ is not a finite number: do you divide by the whole way?")
    if abs(values[0]) > 1e-6 or abs(values[-1] - 1) > 1e-6:
        raise Wrong("the slider should begin at λ = 0 and end at λ = 1.")
    if min(values) < -1e-6 or max(values) > 1 + 1e-6:
        raise Wrong("a λ lies outside of 0 to 1.")
    return values
