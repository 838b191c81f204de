"""Exercises of lesson 04: FiLM, how it folds into BatchNorm at a fixed λ, and λ between two stops.

FiLM scales and shifts each channel by γ and β, which depend on λ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.folded import per_channel
from ...networks.lambdas import mixture
from . import Wrong, exercise, same

STOPS = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)


def _like(got, want: Tensor) -> bool:
    return (
        isinstance(got, Tensor)
        and got.shape == want.shape
        and torch.allclose(got.to(want), want, atol=1e-4)
    )


def _film(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return x * per_channel(gamma) + per_channel(beta)


@exercise(_film, "oatlib.layers.unit.Unit")
def film(theirs) -> None:
    """x (N, C, H, W), gamma, beta (N, C) -> x, each channel of each image scaled and shifted."""
    draw = torch.Generator().manual_seed(0)
    # all sizes are equal, so that γ and β of the wrong shape (for columns) raise no error
    x, gamma, beta = (torch.randn(size, generator=draw) for size in ((4, 4, 4, 4), (4, 4), (4, 4)))
    got, want = theirs(x.clone(), gamma.clone(), beta.clone()), _film(x, gamma, beta)
    if _like(got, x * gamma + beta):
        raise Wrong("it scales columns, not channels: γ and β need the shape (N, C, 1, 1).")
    if _like(got, _film(x, gamma[:1], beta[:1])) or _like(
        got, _film(x, gamma.mean(0)[None], beta.mean(0)[None])
    ):
        raise Wrong(
            "all images get the same γ and β: each image has a λ of its own, so take row i for "
            "image i."
        )
    if _like(got, x + per_channel(beta)):
        raise Wrong("that only shifts: γ is missing.")
    if _like(got, x * per_channel(gamma)):
        raise Wrong("that only scales: β is missing.")
    if _like(got, _film(x, 1 + gamma, beta)):
        raise Wrong("it multiplies by 1 + γ. Some people do that; here γ is the whole factor.")
    if _like(got, _film(x + per_channel(beta), gamma, torch.zeros_like(beta))):
        raise Wrong("β is added before the scaling: first multiply, then add.")
    same(got, want, "it should be γ·x + β, with γ and β of the image and of the channel.")


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
