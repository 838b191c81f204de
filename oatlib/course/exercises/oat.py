"""Exercises of lesson 05: the loss of OAT, how it samples λ, and the coin between two networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...evaluation.baselines import coin as oatlib_coin
from ...training.labels import Labels
from ...training.losses import hybrid
from ...training.recipes import OAT_STOPS, sample_stops
from . import Wrong, exercise, same


def _hybrid_loss(clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, n_clean: int) -> Tensor:
    return hybrid(clean, attacked, Labels(y, lam, n_clean))


def _batch(n_clean: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return clean logits (8, 5), attacked logits (8 - n_clean, 5), labels (8,) and λ (8,).

    The first `n_clean` values of λ are 0, and these images have no attacked logits.
    """
    generator = torch.Generator().manual_seed(n_clean)
    clean, attacked = (2 * torch.randn(8, 5, generator=generator) for _ in range(2))
    lam = torch.tensor([0.1, 0.4, 1.0, 0.2, 0.3, 1.0, 0.1, 0.2])
    lam[:n_clean] = 0
    return clean, attacked[n_clean:], torch.randint(0, 5, (8,), generator=generator), lam


def _mixed_up(
    clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, n_clean: int
) -> dict[str, Tensor]:
    """Return the losses that common mistakes give, by the message for each mistake."""
    calm, hit = (
        F.cross_entropy(clean, y, reduction="none"),
        F.cross_entropy(attacked, y[n_clean:], reduction="none"),
    )
    rest, n, front = lam[n_clean:], len(y), slice(len(attacked))
    weighed = ((1 - lam) * calm).sum() / n
    return {
        "the weights are swapped: λ = 1 must mean attacked only.": (
            (lam * calm).sum() + ((1 - rest) * hit).sum()
        )
        / n,
        "the clean loss must shrink as λ grows: its weight is 1 - λ.": (
            calm.sum() + (rest * hit).sum()
        )
        / n,
        "it mixes with one λ for the batch: each image has its own.": (1 - lam.mean()) * calm.mean()
        + lam.mean() * hit.mean(),
        "the attacked losses are averaged over the attacked images only: divide both sums by the "
        "whole batch.": weighed + (rest * hit).mean(),
        "the attacked images carry the wrong λ: they are the batch without its first `n_clean` "
        "images.": weighed + (lam[front] * hit).sum() / n,
        "the attacked images get the wrong labels: theirs are y[n_clean:].": weighed
        + (rest * F.cross_entropy(attacked, y[front], reduction="none")).sum() / n,
    }


@exercise(_hybrid_loss, "oatlib.training.losses.hybrid")
def hybrid_loss(theirs) -> None:
    """clean (N, K), attacked (N - n_clean, K), y, lam, n_clean -> mean (1-λ)·clean + λ·attacked."""
    batch = (*_batch(3), 3)
    got, want = theirs(*batch), _hybrid_loss(*batch)
    if isinstance(got, Tensor) and got.shape == batch[3].shape:
        raise Wrong("it returns one loss per image: take the mean over the batch.")
    if isinstance(got, Tensor) and got.shape == want.shape:
        for mistake, value in _mixed_up(*batch).items():
            if torch.allclose(got, value, atol=1e-5):
                raise Wrong(mistake)
    same(got, want, "it should be the mean over all N images of (1-λ)·CE(clean) + λ·CE(attacked).")
    batch = (*_batch(0), 0)
    mistake = "right where some images have λ = 0, but not where n_clean = 0 and all are attacked."
    same(theirs(*batch), _hybrid_loss(*batch), mistake)


@exercise(sample_stops, "oatlib.training.recipes.sample_stops")
def draw_stops(theirs) -> None:
    """stops, n, generator -> stop indices (n,), the first ceil(n / S) of them 0; how many those."""
    n, n_clean = 6000, 1000
    got = theirs(OAT_STOPS, n, torch.Generator().manual_seed(0))
    if not (isinstance(got, tuple | list) and len(got) == 2 and isinstance(got[0], Tensor)):
        raise Wrong(
            "it should return two things: a tensor of stops, and how many of them, at the front, "
            "are 0."
        )
    stop, front = got
    if stop.shape != (n,):
        raise Wrong(f"for {n} images it should draw {n} stops, but draws {tuple(stop.shape)}.")
    if stop.is_floating_point():
        raise Wrong(
            "it returns values of λ: return where they are in `stops`, whole numbers from 0."
        )
    if front != n_clean:
        raise Wrong(
            f"of {n} images and {len(OAT_STOPS)} stops the first {n_clean} should have λ = 0, not "
            f"{front}."
        )
    if stop[:n_clean].any():
        raise Wrong(
            "the images with λ = 0 must come first, so that the others can be cut off behind them."
        )
    if not stop[n_clean:].all():
        raise Wrong("behind the first images λ = 0 is drawn again: draw from stop 1 on.")
    counts = torch.bincount(stop[n_clean:], minlength=6)[1:]
    if len(counts) > 5 or counts.min() == 0:
        raise Wrong(
            "some stops never come, or some that do not exist: torch.randint(low, high) leaves out "
            "high."
        )
    if (counts - 1000).abs().max() > 150:
        raise Wrong(
            f"the stops above 0 should come equally often, but came {counts.tolist()} times."
        )
    _drawn_from_the_generator(theirs, stop)


def _drawn_from_the_generator(theirs, stop: Tensor) -> None:
    """Raise Wrong if the result does not follow the generator, or if n / S is not rounded up."""
    again, other = (
        theirs(OAT_STOPS, len(stop), torch.Generator().manual_seed(seed))[0] for seed in (0, 1)
    )
    if not torch.equal(stop, again) or torch.equal(stop, other):
        raise Wrong(
            "what comes out must depend on the generator, and on nothing else: pass it to "
            "torch.randint."
        )
    for n in (13, 64):
        if theirs(OAT_STOPS, n, torch.Generator())[1] != -(-n // 6):
            raise Wrong(f"of {n} images {-(-n // 6)} should have λ = 0: n / S is rounded up.")


STANDARD, ROBUST = (0.99, 0.01), (0.8, 0.6)  # two networks: (clean, robust)


@exercise(oatlib_coin, "oatlib.coin")
def coin(theirs) -> None:
    """standard, robust (each (clean, robust)), clean -> robust accuracy of the coin, or None."""
    got, want = theirs(STANDARD, ROBUST, 0.9), oatlib_coin(STANDARD, ROBUST, 0.9)
    if not isinstance(got, int | float | Tensor) or isinstance(got, bool):
        raise Wrong(
            "it should return a number, but returns "
            f"{'nothing' if got is None else type(got).__name__}."
        )
    if abs(got - want) > 1e-6:
        _say_which_share(float(got))
        raise Wrong(
            f"at clean accuracy 0.9 the coin between {STANDARD} and {ROBUST} reaches {want:.3g}, "
            f"not {got:.3g}."
        )
    above = theirs(STANDARD, ROBUST, 0.995)
    if above is not None:
        raise Wrong(
            "neither network is right on 99.5 % of the images, so no p is enough: return None."
        )
    below = theirs(STANDARD, ROBUST, 0.5)
    if below is None or abs(below - ROBUST[1]) > 1e-6:
        raise Wrong(
            "both networks are more accurate than asked for: then the robust one answers always, p "
            "= 1."
        )


def _say_which_share(value: float) -> None:
    """Raise Wrong if the value is the result of a common mistake."""
    (clean0, robust0), (clean1, robust1) = STANDARD, ROBUST
    p = (clean0 - 0.9) / (clean0 - clean1)
    if abs(value - p) < 1e-6:
        raise Wrong(
            "this is p, how often the robust network answers: what is the robust accuracy then?"
        )
    if abs(value - (p * robust0 + (1 - p) * robust1)) < 1e-6:
        raise Wrong("the two shares are swapped: p belongs to the robust network.")
    if abs(value - p * robust1) < 1e-6:
        raise Wrong(
            "the standard network has some robust accuracy, too: with probability 1 - p it answers."
        )
