"""Exercises of lesson 09: prune a network, and train one that is sparse from the start.

The open exercise `shrink` asks for a network with a tenth of its weights that is still robust.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ...attacks.pgd import PGD
from ...data.load import Data, load_data
from ...evaluation.results import wilson
from ...explorer.shipped import FOLDER
from ...networks.network import Network, load
from ...training.lambda_batch import LambdaBatch
from ...training.recipes import sample_stops
from ...training.rewire import ROOM, allocate
from ...training.step import train_step
from .. import sparse
from . import Wrong, exercise, same


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed))


def _mask(number: int, *shape: int, seed: int = 2) -> Tensor:
    """Return a mask with `number` True at random places."""
    places = torch.randperm(math.prod(shape), generator=_generator(seed))
    return (places < number).view(*shape)


def _is_mask(got, shape: torch.Size) -> None:
    """Raise Wrong unless a result is a boolean mask of the right shape."""
    if not isinstance(got, Tensor) or got.shape != shape:
        same(got, torch.zeros(shape), "")  # says what it is instead
    if got.dtype != torch.bool:
        raise Wrong(f"a mask holds True and False (torch.bool), not {got.dtype}.")


@exercise(sparse.magnitude_mask, "oatlib.course.sparse.magnitude_mask")
def magnitude_mask(theirs) -> None:
    """weight, density -> mask (bool, shaped like weight) of the largest |weight|."""
    weight = _normal(6, 3)
    got, want = theirs(weight, 0.4), sparse.magnitude_mask(weight, 0.4)
    _is_mask(got, weight.shape)
    if got.sum() != want.sum():
        raise Wrong(
            f"of 18 weights it keeps {int(got.sum())}: it should keep round(0.4 · 18) = "
            f"{int(want.sum())}."
        )
    if torch.equal(got, sparse.magnitude_mask(weight.exp(), 0.4)):
        raise Wrong("it keeps the most positive weights: large means a large |weight|.")
    if torch.equal(got, sparse.magnitude_mask(1 / weight, 0.4)):
        raise Wrong("it keeps the smallest weights: the largest |weight| stay.")
    same(got, want, "it should keep the largest |weight|.")
    equal = theirs(torch.ones(4, 5, 3, 3), 0.1)
    if equal.sum() != 18:
        raise Wrong(
            f"where many weights are equal it keeps {int(equal.sum())} of 180, not 18: sort them "
            "and take the first ones, do not compare with a threshold."
        )
    if theirs(torch.ones(2, 2), 0.05).sum() != 1:
        raise Wrong("of four weights and density 0.05 it keeps none: keep at least one.")


def _drop_smallest(weight: Tensor, keep: Tensor, rate: float) -> Tensor:
    kept = int(keep.sum())
    number = min(math.ceil(rate * kept), kept - 1)
    sizes = weight.abs().masked_fill(~keep, math.inf).flatten()
    new = keep.clone().flatten()
    new[sizes.argsort()[:number]] = False
    return new.view(keep.shape)


@exercise(_drop_smallest, "oatlib.training.rewire.rewire")
def drop_smallest(theirs) -> None:
    """weight, keep (bool), rate -> mask without the smallest of the kept weights."""
    weight, keep = _normal(6, 3), _mask(9, 6, 3)
    given = keep.clone()
    got, want = theirs(weight, keep, 0.3), _drop_smallest(weight, given, 0.3)
    if not torch.equal(keep, given):
        raise Wrong("it changes the mask that it was given: work on keep.clone().")
    _is_mask(got, keep.shape)
    if (got & ~given).any():
        raise Wrong("a weight that was absent is kept now: this step drops only.")
    if torch.equal(got, given):
        raise Wrong("it drops nothing: absent weights are the smallest of all. Leave them out.")
    number = int(given.sum() - got.sum())
    if number != 3:
        raise Wrong(f"9 weights are kept and rate is 0.3: ceil(2.7) = 3 should go, not {number}.")
    if torch.equal(got, _drop_smallest(1 / weight, given, 0.3)):
        raise Wrong("it drops the largest weights: the smallest |weight| go.")
    if torch.equal(got, _drop_smallest(weight.exp(), given, 0.3)):
        raise Wrong("it drops the most negative weights: small means a small |weight|.")
    same(got, want, "it should drop the smallest |weight| of those that are kept.")
    last = theirs(weight, _mask(2, 6, 3), 1.0)
    if last.sum() != 1:
        raise Wrong("with rate = 1 it drops all weights: keep at least one.")


def _grow_pushed(keep: Tensor, momentum: Tensor, number: int) -> Tensor:
    pushed = momentum.abs().masked_fill(keep, -1.0).flatten()
    new = keep.clone().flatten()
    new[pushed.argsort(descending=True)[:number]] = True
    return new.view(keep.shape)


@exercise(_grow_pushed, "oatlib.training.rewire.rewire")
def grow_pushed(theirs) -> None:
    """keep (bool), momentum, number -> mask with as many more of the absent weights."""
    keep, momentum = _mask(6, 6, 3), _normal(6, 3, seed=3)
    given = keep.clone()
    got, want = theirs(keep, momentum, 4), _grow_pushed(given, momentum, 4)
    if not torch.equal(keep, given):
        raise Wrong("it changes the mask that it was given: work on keep.clone().")
    _is_mask(got, keep.shape)
    if (given & ~got).any():
        raise Wrong("a weight that was kept is absent now: this step grows only.")
    number = int(got.sum() - given.sum())
    if number != 4:
        raise Wrong(
            f"4 weights should grow, and {number} do: what is kept cannot grow again, so leave it "
            "out of the search."
        )
    if torch.equal(got, _grow_pushed(given, momentum.exp(), 4)):
        raise Wrong("it grows where momentum is most positive: a push in either direction counts.")
    same(got, want, "it should grow the absent weights with the largest |momentum|.")


class _Rewiring:
    """Masks over some weights, and how they move: the reference solution."""

    def __init__(self, weights: list[Tensor], masks: list[Tensor]):
        self.weights = weights
        self.masks = masks
        self.clear()

    @torch.no_grad()
    def clear(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

    def rewire(self, momenta: list[Tensor], rate: float) -> None:
        before = self._kept()
        pairs = zip(self.weights, self.masks, strict=True)
        self.masks = [_drop_smallest(weight, mask, rate) for weight, mask in pairs]
        self.clear()  # what grows again starts at 0
        pairs = zip(momenta, self.masks, strict=True)
        shares = [momentum.abs()[mask].mean().item() for momentum, mask in pairs]
        room = [int(ROOM * (~mask).sum()) for mask in self.masks]
        numbers = allocate(before - self._kept(), shares, room)
        triples = zip(self.masks, momenta, numbers, strict=True)
        self.masks = [_grow_pushed(mask, momentum, number) for mask, momentum, number in triples]

    def _kept(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks)


SHAPES = ((6, 3, 3, 3), (8, 6, 3, 3), (8, 8, 1, 1))  # of the weights on which Rewiring is checked


def _three_layers() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return weights, masks and momenta of three layers. The momenta differ in size."""
    weights = [_normal(*shape, seed=seed) for seed, shape in enumerate(SHAPES)]
    masks = [_mask(round(0.2 * math.prod(shape)), *shape, seed=5) for shape in SHAPES]
    momenta = [(i + 1) * _normal(*shape, seed=9 + i) for i, shape in enumerate(SHAPES)]
    return weights, masks, momenta


def _kept_of(masks: list[Tensor]) -> list[int]:
    return [int(mask.sum()) for mask in masks]


@exercise(_Rewiring, "oatlib.training.rewire.rewire")
def Rewiring(theirs) -> None:
    """Rewiring(weights, masks); clear(); rewire(momenta, rate) moves the masks of all layers."""
    weights, masks, momenta = _three_layers()
    given = [mask.clone() for mask in masks]
    parameters = [torch.nn.Parameter(weight) for weight in weights]
    ours = _Rewiring([weight.clone() for weight in weights], given)
    got = theirs(parameters, masks)
    if not _same_weights(parameters, ours):
        got.clear()
        if _same_weights(parameters, ours):
            raise Wrong("absent weights are not 0 at the start: __init__ should call clear().")
        raise Wrong("clear() should set absent weights to 0, in place: weight.mul_(mask).")
    with torch.no_grad():
        for weight in (*parameters, *ours.weights):
            weight.add_(1)
    got.clear()
    ours.clear()
    if not _same_weights(parameters, ours):
        raise Wrong("clear() should set absent weights to 0, and change no other weight.")
    got.rewire(momenta, 0.5)
    ours.rewire(momenta, 0.5)
    kept, wanted = _kept_of(got.masks), _kept_of(ours.masks)
    if sum(kept) != sum(wanted):
        raise Wrong(
            f"{sum(wanted)} weights were kept in all layers together, and now it is {sum(kept)}: "
            "as many must grow as go."
        )
    if kept == _kept_of(given):
        raise Wrong(
            "every layer keeps as many weights as before: share out the growth by the mean "
            "|momentum| of the kept weights, allocate(...)."
        )
    if kept != wanted:
        raise Wrong(
            f"the layers keep {kept} weights, and should keep {wanted}: the shares are the mean "
            "|momentum| of the weights that are still kept after the drop, the room of a layer is "
            "int(0.99 · absent weights)."
        )
    if not all(torch.equal(a, b) for a, b in zip(got.masks, ours.masks, strict=True)):
        raise Wrong("the numbers are right, the places are not: use drop_smallest and grow_pushed.")
    if not _same_weights(parameters, ours):
        raise Wrong(
            "a weight that is dropped and grows again starts at 0: call clear() between the drop "
            "and the growth."
        )


def _same_weights(parameters: list, ours: _Rewiring) -> bool:
    pairs = zip(parameters, ours.weights, strict=True)
    return all(torch.allclose(weight.detach(), want) for weight, want in pairs)


N_SHRINK = 128  # validation images of the open exercise
SHARE = 0.1  # of the weights that may be left
CLEAN, ROBUST = 0.95, 0.55  # what must be reached at λ = 0 and at λ = 1


@functools.cache
def _images() -> Data:
    return load_data("shapes", seed=0, n_train=1024, n_test=8)


def _conv_weights(net: Network) -> list[Tensor]:
    return [part.weight for part in net.modules() if isinstance(part, torch.nn.Conv2d)]


def _shrink(net: Network, x: Tensor, y: Tensor) -> Network:
    """Cut in steps, by one threshold for all layers, and train after each cut."""
    weights = _conv_weights(net)
    total = sum(weight.numel() for weight in weights)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, nesterov=True)
    random = torch.Generator().manual_seed(0)
    for density in (0.5, 0.25, 0.15, 0.1, 0.1, 0.1):
        sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
        least = sizes.sort(descending=True).values[int(density * total) - 1]
        kept = _Rewiring(weights, [weight.detach().abs() >= least for weight in weights])
        for index in torch.randperm(len(x), generator=random).split(128):
            stop, _ = sample_stops(net.spec.stops, len(index), random)
            batch = LambdaBatch(x[index], y[index], stop, net.spec.stops)
            optimizer.zero_grad()
            train_step(net, batch, PGD(sparse.RADIUS, 3, best=False), random)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1)
            optimizer.step()
            kept.clear()
    return net


@exercise(_shrink, "oatlib.course.exercises.sparse._shrink")
def shrink(theirs) -> str:
    """net, x, y -> the network with at most a tenth of the weights of its convolutions."""
    data = _images()
    net = load(FOLDER / "blend.safetensors")
    shapes = [weight.shape for weight in _conv_weights(net)]
    got = theirs(net, data.train.x.clone(), data.train.y.clone())
    if not isinstance(got, Network):
        raise Wrong(f"it should return the network, not {type(got).__name__}.")
    weights = _conv_weights(got)
    if [weight.shape for weight in weights] != shapes:
        raise Wrong("its convolutions have other shapes: return the network that it was given.")
    left = sum(int((weight != 0).sum()) for weight in weights)
    total = sum(weight.numel() for weight in weights)
    if left > SHARE * total:
        raise Wrong(
            f"{left:,} of {total:,} weights are not zero, counted over all convolutions: at most a "
            "tenth may be left."
        )
    ends = sparse.ends(got, data, N_SHRINK)
    measured = (
        f"It keeps {left:,} weights, is right on {_interval(ends['clean'])} of {N_SHRINK} clean "
        f"images at λ = 0, and robust on {_interval(ends['robust'])} at λ = 1"
    )
    if ends["clean"] < CLEAN:
        raise Wrong(f"{measured}. Clean accuracy should be {CLEAN:.0%}: what adapts to the cut?")
    if ends["robust"] < ROBUST:
        raise Wrong(
            f"{measured}. It should be robust on {ROBUST:.0%}: train on attacked images after the "
            "cut."
        )
    return f"{measured} (quick suite, 95 % intervals)."


def _interval(value: float) -> str:
    low, high = wilson(round(value * N_SHRINK), N_SHRINK)
    return f"{value:.0%} ({low:.0%} to {high:.0%})"
