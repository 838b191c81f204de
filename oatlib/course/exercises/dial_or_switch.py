"""Exercises of lesson 09b: two experts in one network, and the way between their weights.

The open exercise `my_path` asks for a path of weights that is accurate everywhere and robust.
"""

from __future__ import annotations

import functools
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...attacks.pgd import PGD
from ...data.load import Data, load_data
from ...evaluation.baselines import robust_at
from ...evaluation.results import wilson
from ...explorer.shipped import FOLDER
from ...networks.network import load
from ...training.recipes import build
from .. import experts as library
from . import Wrong, exercise, same

SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "head.weight": (5, 4)}


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed))


@exercise(library.blend_weights, "oatlib.course.experts.blend_weights")
def blend_weights(theirs) -> None:
    """first, second (state dicts), lam -> state dict at lam on the line from first to second."""
    first, second = ({k: _normal(*s, seed=seed) for k, s in SHAPES.items()} for seed in (0, 1))
    given = {name: tensor.clone() for name, tensor in first.items()}
    got, want = theirs(first, second, 0.3), library.blend_weights(given, second, 0.3)
    if any(not torch.equal(first[name], given[name]) for name in given):
        raise Wrong("it changes the weights that it was given: make new tensors.")
    if not isinstance(got, dict) or set(got) != set(want):
        raise Wrong(f"it should return a dict with the same names: {', '.join(want)}.")
    swapped = library.blend_weights(given, second, 0.7)
    if torch.allclose(got["conv.weight"], swapped["conv.weight"]):
        raise Wrong("the ends are swapped: λ = 0 is the first.")
    right = [
        torch.allclose(got[f"conv.{name}"], want[f"conv.{name}"]) for name in ("weight", "bias")
    ]
    if right == [True, False]:
        raise Wrong("biases have to be mixed like weights: BatchNorm's shift is folded into them.")
    for name in want:
        same(got[name], want[name], "each entry should be (1 - λ)·first + λ·second.")


@exercise(library.experts_masks, "oatlib.course.experts.experts_masks")
def experts_masks(theirs) -> None:
    """weight, density, common, generator -> masks of two experts with so many common weights."""
    weight = torch.zeros(8, 5)
    got = theirs(weight, 0.4, 0.25, _generator())
    if not (isinstance(got, tuple) and len(got) == 2):
        raise Wrong("it should return two masks.")
    for mask in got:
        if not isinstance(mask, Tensor) or mask.shape != weight.shape:
            same(mask, weight, "")  # says what it is instead
        if mask.dtype != torch.bool:
            raise Wrong(f"masks hold True and False (torch.bool), not {mask.dtype}.")
    kept = [int(mask.sum()) for mask in got]
    if kept != [16, 16]:
        raise Wrong(
            f"with density 0.4 each expert should keep round(0.4 · 40) = 16 weights; they keep "
            f"{kept[0]} and {kept[1]}."
        )
    common = int((got[0] & got[1]).sum())
    if common != 4:
        raise Wrong(
            f"16 weights each and common = 0.25: they should share round(0.25 · 16) = 4, and share "
            f"{common}."
        )
    others = [theirs(weight, 0.4, 0.25, _generator(seed))[0] for seed in range(5)]
    if all(torch.equal(other, got[0]) for other in others):
        raise Wrong("it takes the same weights every time: torch.randperm(..., generator=...).")
    clean, robust = theirs(weight, 0.5, 0.0, _generator())
    if not torch.equal(clean, ~robust):
        raise Wrong("with density 0.5 and common = 0 every weight should serve exactly one expert.")
    clean, robust = theirs(weight, 0.3, 1.0, _generator())
    if not torch.equal(clean, robust):
        raise Wrong("with common = 1 both masks should be the same.")


def _channels(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    out = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    return out.mean((0, 2, 3)), out.std((0, 2, 3))


@exercise(library.rescale, "oatlib.course.experts.rescale")
def rescale(theirs) -> None:
    """weight, bias, now (mean, std), wanted (mean, std) -> new weight and bias of a conv."""
    x, weight, bias = 1 + _normal(16, 3, 8, 8), _normal(4, 3, 3, 3, seed=1), _normal(4, seed=2)
    wanted = (_normal(4, seed=3), 0.5 + _normal(4, seed=4).abs())
    now = _channels(x, weight, bias)
    given = weight.clone(), bias.clone()
    got = theirs(weight, bias, now, wanted)
    if not (torch.equal(weight, given[0]) and torch.equal(bias, given[1])):
        raise Wrong("it changes the weight or the bias that it was given: make new tensors.")
    if not (isinstance(got, tuple) and len(got) == 2):
        raise Wrong("it should return two things: the new weight and the new bias.")
    want = library.rescale(weight, bias, now, wanted)
    if not isinstance(got[0], Tensor) or got[0].shape != weight.shape:
        same(got[0], want[0], "")  # says what it is instead
    factor = (wanted[1] / now[1])[:, None, None, None]
    for mistake, value in {
        "the factor is upside down: what is too small must grow, wanted std / std now.": 1 / factor,
        "it multiplies by a ratio of variances: the output scales like the weight.": factor**2,
    }.items():
        if torch.allclose(got[0], weight * value, atol=1e-5):
            raise Wrong(mistake)
    same(got[0], want[0], "each row of the weight should be multiplied by wanted std / std now.")
    scale = wanted[1] / now[1]
    for mistake, value in {
        "the bias is a part of the output, so it must be scaled, too.": bias - now[0] + wanted[0],
        "the mean must be subtracted before it is scaled: (bias - mean)·factor + wanted mean.": (
            bias * scale - now[0] + wanted[0]
        ),
        "the mean of the channels stays what it was: subtract it, and add the wanted one.": (
            bias * scale
        ),
    }.items():
        if torch.allclose(got[1], value, atol=1e-5):
            raise Wrong(mistake)
    same(got[1], want[1], "the new bias should be (bias - mean now)·factor + wanted mean.")


@functools.cache
def _small_data() -> Data:
    return load_data("shapes", seed=0, n_train=64, n_test=8)


def _three_networks() -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return two small plain networks, and the one half-way between their weights."""
    first, second = (
        build("blend", _small_data(), "plain", seed).at(float(seed)) for seed in (0, 1)
    )
    for seed, f in enumerate((first, second)):
        for i, conv in enumerate(library.convs(f).values()):
            conv.bias += 0.3 * _normal(len(conv.bias), seed=10 * seed + i)
            conv.weight *= 1 + seed
    weights = library.blend_weights(first.state_dict(), second.state_dict(), 0.25)
    return first, second, library.with_weights(first, weights)


@exercise(library.repair_channels, "oatlib.course.experts.repair_channels")
def repair_channels(theirs) -> None:
    """middle, first, second, lam, x -> the network at lam with channel statistics repaired."""
    x, lam = _small_data().train.x, 0.25
    first, second, middle = _three_networks()
    before = {name: tensor.clone() for name, tensor in middle.state_dict().items()}
    got = theirs(middle, first, second, lam, x)
    if not isinstance(got, nn.Module):
        raise Wrong("it should return the network.")
    if got is first or got is second:
        raise Wrong("it returns one of the ends: return the middle.")
    untouched = _three_networks()
    for f, other in zip((first, second), untouched[:2], strict=True):
        if not all(
            torch.equal(a, b)
            for a, b in zip(f.state_dict().values(), other.state_dict().values(), strict=True)
        ):
            raise Wrong("it changes one of the ends: only the middle may change.")
    if all(torch.equal(got.state_dict()[name], before[name]) for name in before):
        raise Wrong("nothing has changed: write the new weight and bias into the convs.")
    _, _, twin = _three_networks()
    want = library.channel_stats(library.repair_channels(twin, first, second, lam, x), x)
    stats = library.channel_stats(got, x)
    names = list(want)
    close = [_close(stats[name], want[name]) for name in names]
    if all(close):
        return
    _, _, twin = _three_networks()
    swapped = library.channel_stats(library.repair_channels(twin, first, second, 1 - lam, x), x)
    if _close(stats[names[-1]], swapped[names[-1]]):
        raise Wrong("the ends are swapped: at λ = 0 the statistics are those of the first network.")
    if close[0]:
        raise Wrong(
            f"right in the first conv, wrong in {names[close.index(False)]}: once a conv has "
            "changed, the later ones get other inputs. Take the statistics of the middle again for "
            "each conv."
        )
    raise Wrong("the channels should get (1 - λ) and λ times the statistics of the two ends.")


def _close(got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-3, rtol=1e-2) for a, b in zip(got, want, strict=True))


N_PATH = 128  # validation images of the open exercise
EIGHTHS = tuple(eighth / 8 for eighth in range(9))
LONGEST = 0.4  # step between two of the nine points, as a share of the distance of the ends
LOWEST_CLEAN = 0.8  # clean accuracy everywhere
LEVEL, ROBUST = 0.9, 0.3  # robust accuracy at this clean accuracy

Weights = dict[str, Tensor]


@functools.cache
def _images() -> Data:
    return load_data("shapes", seed=0, n_train=1024, n_test=8)


def _my_path(first: nn.Module, second: nn.Module, x: Tensor, y: Tensor):
    """Go through a third point, which is trained for clean and attacked images."""
    ends = first.state_dict(), second.state_dict()
    middle = library.with_weights(first, library.blend_weights(*ends, 0.6))
    middle = library.repair_channels(middle, first, second, 0.6, x[:256])
    weights = {name: t.clone().requires_grad_() for name, t in middle.state_dict().items()}
    optimizer = torch.optim.SGD(weights.values(), 0.1, 0.9, nesterov=True)
    random = torch.Generator().manual_seed(0)
    for epoch in range(8):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - epoch / 8)
        for index in torch.randperm(len(x), generator=random).split(128):
            images, labels = x[index], y[index]
            x_adv = PGD(8 / 255, 2, 6 / 255, best=False)(middle, images, labels, random)
            both = torch.cat([images, x_adv])
            clean, attacked = torch.func.functional_call(middle, weights, (both,)).chunk(2)
            loss = 0.93 * F.cross_entropy(clean, labels) + 0.07 * F.cross_entropy(attacked, labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), 1)
            optimizer.step()
            middle.load_state_dict({name: t.detach() for name, t in weights.items()})

    def path(lam: float) -> Weights:
        # from first to middle, then from middle to second
        a, b, share = (first, middle, 2 * lam) if lam < 0.5 else (middle, second, 2 * lam - 1)
        weights = library.blend_weights(a.state_dict(), b.state_dict(), share)
        between = library.with_weights(a, weights)
        return library.repair_channels(between, a, b, share, x[:256]).state_dict()

    return path


@exercise(_my_path, "oatlib.course.experts.repair_channels")
def my_path(theirs) -> str:
    """first, second, x, y -> a function: λ in [0, 1] -> state dict of the network at λ."""
    data = _images()
    net = load(FOLDER / "smart.safetensors")
    first, second = net.at(0.0), net.at(1.0)
    path = theirs(net.at(0.0), net.at(1.0), data.train.x.clone(), data.train.y.clone())
    if not callable(path):
        raise Wrong("it should return a function from λ to a state dict: define one inside it.")
    points = [_state(path(lam), first) for lam in EIGHTHS]
    # A path that throws a coin can repeat itself at one λ, hardly at all of them.
    again = [_state(path(lam), first) for lam in EIGHTHS]
    if not all(
        torch.equal(a[name], b[name]) for a, b in zip(again, points, strict=True) for name in a
    ):
        raise Wrong("the same λ gives other weights the second time: that is the coin.")
    _runs_from_end_to_end(points, first, second, data.val.panel(16).x)
    _has_no_jump(points, first, second)
    rows = []
    for lam, weights in zip(EIGHTHS, points, strict=True):
        row = library.measured(library.with_weights(first, weights), data, N_PATH)
        if row["clean"] < LOWEST_CLEAN:
            raise Wrong(
                f"at λ = {lam:g} clean accuracy is {row['clean']:.0%}: it should be "
                f"{LOWEST_CLEAN:.0%} everywhere. What did the repair do?"
            )
        rows.append((row["clean"], row["robust"]))
    reached = robust_at(rows, LEVEL) or 0.0
    low, high = wilson(round(reached * N_PATH), N_PATH)
    measured = (
        f"The lowest clean accuracy is {min(clean for clean, _ in rows):.0%}. At clean accuracy "
        f"{LEVEL:.0%} it is robust on {reached:.0%} ({low:.0%} to {high:.0%}) of {N_PATH} images"
    )
    if reached < ROBUST:
        raise Wrong(
            f"{measured}, and should be on {ROBUST:.0%}: no point of the path has been trained for "
            "both kinds of images."
        )
    return f"{measured} (quick suite, 95 % interval)."


def _state(weights, first: nn.Module) -> Weights:
    """Return the weights of one point, or raise Wrong if they are not those of one network."""
    wanted = first.state_dict()
    if not isinstance(weights, dict) or set(weights) != set(wanted):
        raise Wrong(
            "for each λ it should return a state dict with the names of first.state_dict(): one "
            "network answers, not two."
        )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape or not tensor.isfinite().all():
            raise Wrong(
                f"{name} has another shape than in the ends, or numbers that are not finite."
            )
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def _runs_from_end_to_end(points: list[Weights], first, second, x: Tensor) -> None:
    for lam, weights, end in ((0, points[0], first), (1, points[-1], second)):
        if not torch.allclose(library.with_weights(first, weights)(x), end(x), atol=0.1):
            name = "first" if lam == 0 else "second"
            raise Wrong(f"at λ = {lam} the network should be `{name}`.")


def _has_no_jump(points: list[Weights], first: nn.Module, second: nn.Module) -> None:
    whole = _distance(first.state_dict(), second.state_dict())
    steps = [_distance(a, b) / whole for a, b in pairwise(points)]
    if max(steps) > LONGEST:
        at = steps.index(max(steps))
        raise Wrong(
            f"it jumps: from λ = {EIGHTHS[at]:g} to {EIGHTHS[at + 1]:g} the weights move by "
            f"{max(steps):.0%} of the distance between the ends. That is a switch."
        )


def _distance(a: Weights, b: Weights) -> float:
    return sum((a[name] - b[name]).pow(2).sum().item() for name in a) ** 0.5
