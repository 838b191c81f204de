"""Measurements of lesson 09b: the way between two sets of weights, and what else is a dial.

`blend_weights`, `experts_masks`, `rescale` and `repair_channels` are what learners build.
`halfway` returns what its record in `data/course` holds.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._bundled import bundled
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..evaluation.evaluate import evaluate
from ..explorer.shipped import FOLDER
from ..layers.folded import Folded
from ..layers.masks import count
from ..networks.network import Network, load
from ..record import read_json
from ..training.loop import train
from ..training.recipes import build

Weights = dict[str, Tensor]  # a state dict
N = 256  # validation images of `halfway`
IMAGES = 256  # training images from which `repair_channels` takes its statistics
LAMS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
ATTACK = Suite(budget="quick")
# how the networks of `halfway` are built, and with which seeds: most for the kind that collapses
KINDS: dict[str, tuple[str, dict]] = {
    "complementary": ("smart", {}),
    "overlapping": ("smart", {"masks": "overlapping"}),
    "no masks": ("blend", {}),
}
SEEDS = {"complementary": (0, 1, 2), "overlapping": (0, 1), "no masks": (0,)}


def blend_weights(first: Weights, second: Weights, lam: float) -> Weights:
    """Return the weights at λ on the straight line between two state dicts.

    Args:
        first: Weights at λ = 0.
        second: Weights at λ = 1, with the same names and shapes.
        lam: λ in [0, 1].
    """
    return {name: (1 - lam) * first[name] + lam * second[name] for name in first}


def experts_masks(
    weight: Tensor, density: float, common: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the masks of two experts, which share a given number of weights.

    Args:
        weight: The weight, of any shape.
        density: Fraction of the weights that each expert keeps.
        common: Fraction of its weights that an expert shares with the other one.
        generator: Source of the random places.

    Returns:
        Two boolean masks shaped like `weight`.
    """
    kept = count(weight.numel(), density)
    shared = round(common * kept)
    places = torch.randperm(weight.numel(), generator=generator)
    masks = torch.zeros(2, weight.numel(), dtype=torch.bool)
    masks[0, places[:kept]] = True
    masks[1, places[kept - shared : 2 * kept - shared]] = True
    return masks[0].view(weight.shape), masks[1].view(weight.shape)


def rescale(
    weight: Tensor, bias: Tensor, now: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Change a conv so that its output channels have the wanted mean and standard deviation.

    Args:
        weight: Weight of the conv, (cout, cin, k, k).
        bias: Bias of the conv, (cout,).
        now: Mean and standard deviation of its output channels, each (cout,).
        wanted: Those that they should have.

    Returns:
        The new weight and the new bias.
    """
    factor = wanted[1] / now[1]
    return weight * factor[:, None, None, None], (bias - now[0]) * factor + wanted[0]


class Cues:
    """The two-pixel world of the toy, and its classifier with two weights in each of two layers.

    The loud pixel shows the class clearly, but is wrong in some points. The faint one is always
    right, but an attack can replace it. The classifier answers class 1 where
    u·u·loud + v·v·faint > 1/2.

    Args:
        seed: Seed of the points.
        n: Number of points.

    Attributes:
        x: The points, (n, 2), pixels in [0, 1].
        y: Their classes, (n,).
    """

    EPS = 0.1  # radius of the attack, which is known exactly: each pixel moves against the class

    def __init__(self, seed: int = 0, n: int = 512):
        random = torch.Generator().manual_seed(seed)
        self.y = torch.arange(n) % 2
        side = 2.0 * self.y - 1
        honest = torch.where(torch.rand(n, generator=random) < 0.9, side, -side)
        loud = honest * (0.15 + 0.3 * torch.rand(n, generator=random))
        faint = side * (0.03 + 0.02 * torch.rand(n, generator=random))
        self.x = 0.5 + torch.stack([loud, faint], 1)

    def accuracies(self, u: float, v: float) -> tuple[float, float]:
        """Return clean and robust accuracy of the classifier with these weights."""
        weights = torch.tensor([float(u * u), float(v * v)])
        score = (2 * self.y - 1) * (self.x @ weights - 0.5)
        attacked = score - self.EPS * weights.sum()
        return (score > 0).float().mean().item(), (attacked > 0).float().mean().item()


def convs(f: nn.Module) -> dict[str, Folded]:
    """Return the convs of a folded network by name, in the order of the forward pass."""
    return {name: part for name, part in f.named_modules() if isinstance(part, Folded)}


@torch.no_grad()
def channel_stats(f: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and standard deviation of the output channels of every conv.

    Args:
        f: A folded network, such as `net.at(0.5)`.
        x: Images (N, C, H, W).

    Returns:
        (mean, standard deviation), each (cout,), by the name of the conv.
    """
    found = {}

    def look(name: str):
        # At once: the ReLU behind the conv writes into its output.
        def hook(module, inputs, out: Tensor) -> None:
            found[name] = _mean_and_std(out)

        return hook

    handles = [part.register_forward_hook(look(name)) for name, part in convs(f).items()]
    try:
        f(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _mean_and_std(out: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of channels (N, C, H, W), each (C,)."""
    mean, variance = torch.zeros(2, out.shape[1], dtype=out.dtype, device=out.device)
    # With momentum 1 the running statistics are those of this batch, with the unbiased variance.
    # BatchNorm takes them eight times as fast as `mean` and `std` over three dimensions.
    F.batch_norm(out, mean, variance, training=True, momentum=1.0)
    return mean, variance.sqrt()


def with_weights(f: nn.Module, weights: Weights) -> nn.Module:
    """Return a copy of a plain network with other weights."""
    twin = copy.deepcopy(f)
    twin.load_state_dict(weights)
    return twin


@torch.no_grad()
def repair_channels(middle: nn.Module, first: nn.Module, second: nn.Module, lam: float, x: Tensor):
    """Give the channels of a network between two others the statistics between theirs (REPAIR).

    Args:
        middle: The network at λ. It is changed in place.
        first: The network at λ = 0.
        second: The network at λ = 1.
        lam: λ in [0, 1].
        x: Images (N, C, H, W) from which the statistics are taken.

    Returns:
        `middle`.
    """
    ends = channel_stats(first, x), channel_stats(second, x)

    def repair(name: str):
        wanted = tuple(
            (1 - lam) * a + lam * b for a, b in zip(ends[0][name], ends[1][name], strict=True)
        )

        def hook(conv: Folded, inputs: tuple[Tensor, ...]) -> None:
            now = _mean_and_std(conv.forward(*inputs))
            conv.weight, conv.bias = rescale(conv.weight, conv.bias, now, wanted)

        return hook

    # One forward pass repairs all convs: the hook of a conv runs before the conv, so the convs
    # before it are repaired already, and its inputs are those of the repaired network.
    handles = [part.register_forward_pre_hook(repair(name)) for name, part in convs(middle).items()]
    try:
        middle(x)
    finally:
        for handle in handles:
            handle.remove()
    return middle


def measured(f: nn.Module, data: Data, n: int = N, seed: int = 0) -> dict:
    """Return clean and robust accuracy of a plain network by the quick suite."""
    (result,) = evaluate(f, data.val.panel(n), ATTACK, seed=seed, progress=False)
    return {"n": n, "clean": result.clean, "robust": result.robust}


def late_cosine(first: Weights, second: Weights) -> float:
    """Return the mean cosine between the 3x3 convs of the last two stages at both ends."""
    late = [name for name in first if name.startswith(("blocks.1", "blocks.2"))]
    late = [name for name in late if first[name].dim() == 4 and first[name].shape[-1] == 3]
    cosines = [
        torch.cosine_similarity(first[name].flatten(), second[name].flatten(), dim=0)
        for name in late
    ]
    return torch.stack(cosines).mean().item()


def along(net: Network, data: Data) -> dict:
    """Measure the straight line between the ends of a network, as it is and repaired."""
    first, second = net.at(0.0), net.at(1.0)
    ends = first.state_dict(), second.state_dict()
    x = data.train.panel(IMAGES).x
    rows: dict = {"straight": [], "repaired": [], "cosine": late_cosine(*ends)}
    for lam in LAMS:
        straight = with_weights(first, blend_weights(*ends, lam))
        rows["straight"].append({"lam": lam} | measured(straight, data))
        if 0 < lam < 1:
            repaired = repair_channels(straight, first, second, lam, x)
            rows["repaired"].append({"lam": lam} | measured(repaired, data))
        else:  # nothing to repair
            rows["repaired"].append(rows["straight"][-1])
    return rows


def halfway_of(kind: str, seed: int) -> dict:
    """Train a network of one kind, and measure the way between its ends."""
    recipe, options = KINDS[kind]
    data = load_data("shapes", seed=0)
    if seed == 0 and not options:  # trained in the same way
        return along(load(FOLDER / f"{recipe}.safetensors"), data)
    net = build(recipe, data, seed=seed, **options)
    train(net, data, "fast", seed, progress=False)
    return along(net, data)


def halfway() -> dict:
    """Train networks with three kinds of masks, and measure the way between their ends."""
    runs = {kind: [halfway_of(kind, seed) for seed in SEEDS[kind]] for kind in KINDS}
    about = {"attack": str(ATTACK), "split": "val", "images": IMAGES, "preset": "fast"}
    return {"runs": runs, "seeds": {kind: list(seeds) for kind, seeds in SEEDS.items()}} | about


def dials_compared() -> dict:
    """Condense the record of `python -m bench.once_for_all`: every system, along its dial.

    Returns:
        "runs": by system and seed, the points (λ, clean, robust) at full width.
    """
    bench = read_json(bundled("bench") / "once_for_all.json")
    runs: dict[str, dict[str, list]] = {}
    for run in bench["runs"]:
        points = [
            [point[key] for key in ("lam", "clean", "robust")]
            for point in run["points"]
            if point["width"] == 1
        ]
        runs.setdefault(run["system"], {})[str(run["seed"])] = points
    keys = ("command", "n", "attack_text")
    return {key: bench[key] for key in keys} | {"split": "test", "runs": runs}
