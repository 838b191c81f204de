"""Measurements of lesson 06 that take minutes: networks of several sizes, together and alone.

`slim_clean` compares ways to make a small network for clean images, `slim_dials` compares a network
with two dials, λ and width, with dials of each size that were trained alone. Each returns what its
record in `data/course` holds. All networks have the backbone `plain`, or a narrow copy of it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..data.splits import Split
from ..evaluation.evaluate import evaluate
from ..layers.setting import cut
from ..networks.backbones import BACKBONES, Plain
from ..networks.calibrate import calibrate
from ..networks.network import Network
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import build
from .parts import CHANNELS, CODE_DIM

WIDTHS = (0.25, 0.5, 0.75, 1.0)  # of `slim_clean`
DIAL_WIDTHS = (0.25, 0.5, 1.0)  # of `slim_dials`
SEEDS, N = (0, 1, 2), 512  # validation images
CLEAN_EPOCHS, DIAL_EPOCHS = 5, 6
ATTACK = Suite(budget="quick")
KEPT = ("lam", "n", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")


@contextmanager
def narrow_backbone(width: float) -> Iterator[str]:
    """Add a backbone with a fraction of the channels of `plain` while the block runs.

    Args:
        width: Fraction of the channels.

    Yields:
        The name of the backbone, for `oatlib.build`.
    """
    name = f"plain x {width:g}"
    stages = tuple(
        (cut(channels, width), s) for channels, s in zip(CHANNELS, (1, 2, 2), strict=True)
    )
    BACKBONES[name] = partial(Plain, stages=stages)
    try:
        yield name
    finally:
        del BACKBONES[name]


def right(net: Network, split: Split, width: float | None = None) -> float:
    """Return the clean accuracy of a network at λ = 0.

    Args:
        net: The network.
        split: The images.
        width: The width. None: the full one.
    """
    with torch.no_grad():
        answers = net.at(0.0, width)(split.x).argmax(1)
    return (answers == split.y).double().mean().item()


def cut_network(net: Network, data: Data, widths: Sequence[float] = WIDTHS) -> Network:
    """Return a network that was trained at full width, cut to other widths, with its statistics.

    Args:
        net: The network, trained as `standard`.
        data: Its data set.
        widths: The widths to add.
    """
    copied = build(
        "standard", data, backbone=net.spec.backbone, widths=tuple(widths), norm_sharing="all"
    )
    copied.load_state_dict(net.state_dict())
    return copied


def fresh_statistics(net: Network, data: Data, widths: Sequence[float] = WIDTHS) -> Network:
    """Return a network like `cut_network`, with BatchNorm statistics taken afresh at each width.

    Args:
        net: The network, trained as `standard`, or as `snn` with one BatchNorm for all widths.
        data: Its data set. The statistics are those of training images.
        widths: The widths to add.
    """
    # weight and bias of a BatchNorm are shared by the widths, its statistics are not
    single = build("standard", data, backbone=net.spec.backbone, norm_sharing="affine")
    single.load_state_dict(net.state_dict())
    return calibrate(single, data, widths)


def slim_clean(seeds: Sequence[int] = SEEDS) -> dict:
    """Make networks of four sizes for clean images in six ways."""
    arms: dict[str, list[list[float]]] = {}
    for seed in seeds:
        for name, accuracies in _clean_arms(seed).items():
            arms.setdefault(name, []).append(accuracies)
    about = {"widths": list(WIDTHS), "seeds": list(seeds), "n": N, "split": "val"}
    return {"arms": arms} | about | {"preset": f"fast, {CLEAN_EPOCHS} epochs"}


def _clean_arms(seed: int) -> dict[str, list[float]]:
    """Return clean accuracy at the four widths, by the way in which the network was made."""
    data = load_data("shapes", seed=0)
    panel = data.val.panel(N)
    preset = Preset(epochs=CLEAN_EPOCHS)

    def trained(recipe: str, backbone: str = "plain", **options) -> Network:
        net = build(recipe, data, backbone=backbone, seed=seed, **options)
        train(net, data, preset, seed, progress=False)
        return net

    whole = trained("standard")
    shared = trained("snn", norm_sharing="all")
    several = {
        "cut": cut_network(whole, data),
        "cut, fresh statistics": fresh_statistics(whole, data),
        "together, one BatchNorm": shared,
        "together, one BatchNorm, fresh statistics": fresh_statistics(shared, data),
        "together, a BatchNorm for each": trained("snn"),
    }
    arms = {name: [right(net, panel, w) for w in WIDTHS] for name, net in several.items()}
    alone = []
    for width in WIDTHS[:-1]:
        with narrow_backbone(width) as backbone:
            alone.append(right(trained("standard", backbone), panel))
    arms["trained alone"] = [*alone, right(whole, panel)]
    return arms


def slim_dials(seeds: Sequence[int] = SEEDS) -> dict:
    """Train dials of three sizes together, and each alone."""
    runs = [_dials(seed) for seed in seeds]
    arms = {name: [run[name] for run in runs] for name in ("together", "trained alone")}
    about = {"widths": list(DIAL_WIDTHS), "seeds": list(seeds), "attack": str(ATTACK)}
    return {"arms": arms} | about | {"split": "val", "preset": f"fast, {DIAL_EPOCHS} epochs"}


def _dials(seed: int) -> dict[str, list[list[dict]]]:
    """Return, for both ways to train, the measured points of each width."""
    data = load_data("shapes", seed=0)
    preset = Preset(epochs=DIAL_EPOCHS)

    def trained(recipe: str, backbone: str, **options) -> Network:
        net = build(recipe, data, backbone=backbone, seed=seed, code_dim=CODE_DIM, **options)
        train(net, data, preset, seed, progress=False)
        return net

    alone = []
    for width in DIAL_WIDTHS:
        with narrow_backbone(width) as backbone:
            alone.append(_points(trained("oat", backbone), data, 1.0))
    both = trained("oats", "plain", widths=DIAL_WIDTHS)
    together = [_points(both, data, width) for width in DIAL_WIDTHS]
    return {"together": together, "trained alone": alone}


def _points(net: Network, data: Data, width: float) -> list[dict]:
    """Measure a dial at one width, at all its stops, on validation images."""
    panel = data.val.panel(N)
    table = evaluate(net, panel, ATTACK, None, [width], seed=0, progress=False)
    points = [{key: getattr(result, key) for key in KEPT} for result in table]
    return [
        {key: round(value, 4) if key != "n" else value for key, value in point.items()}
        for point in points
    ]


def standard_network(data: Data, seed: int, epochs: int = CLEAN_EPOCHS) -> Network:
    """Train a network for clean images at full width.

    Args:
        data: The data set.
        seed: Seed of weights and batches.
        epochs: Number of epochs.
    """
    net = build("standard", data, backbone="plain", seed=seed)
    train(net, data, Preset(epochs=epochs), seed, progress=False)
    return net


class Pruned:
    """A trained network of which some channels are left out, with fresh BatchNorm statistics.

    Nothing is trained. The statistics are those of 512 training images.

    Args:
        net: A network with the recipe `standard` and the backbone `plain`.
        data: Its data set.

    Attributes:
        channels: Number of channels of each of the three layers.
        weights: Weight (cout, cin, 3, 3) of each conv, a copy.
    """

    def __init__(self, net: Network, data: Data):
        self._units = copy.deepcopy(net.body.units)
        self._head = copy.deepcopy(net.body.head.each[0])
        self._images = data.train.panel(min(512, len(data.train))).x
        self.channels = tuple(unit.cout for unit in self._units)
        self.weights = [unit.conv.weight.detach().clone() for unit in self._units]

    def first(self, share: float) -> list[Tensor]:
        """Return the indices of the first channels of each layer."""
        return [torch.arange(int(channels * share)) for channels in self.channels]

    def loss(self, kept: Sequence[Tensor], x: Tensor, y: Tensor) -> float:
        """Return the mean cross-entropy on images, with statistics of these images.

        Args:
            kept: The channels to keep of each layer, indices.
            x: Images (N, C, H, W).
            y: Labels (N,).
        """
        logits, _ = self._run(kept, x, None)
        return F.cross_entropy(logits, y).item()

    def accuracy(self, kept: Sequence[Tensor], split: Split) -> float:
        """Return the accuracy on a split, with statistics of training images.

        Args:
            kept: The channels to keep of each layer, indices.
            split: The images.
        """
        _, statistics = self._run(kept, self._images, None)
        logits, _ = self._run(kept, split.x, statistics)
        return (logits.argmax(1) == split.y).double().mean().item()

    @torch.no_grad()
    def _run(self, kept: Sequence[Tensor], x: Tensor, statistics: list | None):
        """Return logits and the statistics of each layer. None: take them from these images."""
        h, arriving, taken = (x - 0.5) * 4, torch.arange(x.shape[1]), []
        for layer, (unit, index) in enumerate(zip(self._units, kept, strict=True)):
            weight = unit.conv.weight[index][:, arriving]
            h = F.conv2d(h, weight, None, unit.conv.stride, 1)
            norm = unit.norm.pairs[0].clean
            mean, var = (
                (h.mean((0, 2, 3)), h.var((0, 2, 3))) if statistics is None else statistics[layer]
            )
            taken.append((mean, var))
            h = F.batch_norm(
                h, mean, var, norm.weight[index], norm.bias[index], eps=norm.eps
            ).relu()
            arriving = index
        logits = F.linear(h.mean((2, 3)), self._head.weight[:, arriving], self._head.bias)
        return logits, taken


def least_missed(pruned: Pruned, x: Tensor, y: Tensor, share: float) -> list[Tensor]:
    """Return channels to keep: those are left out, layer by layer, that the loss misses least.

    Args:
        pruned: The network.
        x: Training images (N, C, H, W).
        y: Labels (N,).
        share: Fraction of the channels to keep.
    """
    kept = [torch.arange(channels) for channels in pruned.channels]
    for layer in (2, 1, 0):
        goal = int(pruned.channels[layer] * share)
        while len(kept[layer]) > goal:
            losses = []
            for channel in kept[layer]:
                without = list(kept)
                without[layer] = kept[layer][kept[layer] != channel]
                losses.append(pruned.loss(without, x, y))
            # leave out up to a quarter of the channels, then ask again
            count = max(goal, len(kept[layer]) * 3 // 4)
            most_missed = torch.tensor(losses).topk(count).indices
            kept[layer] = kept[layer][most_missed.sort().values]
    return kept


def seconds(net: Network, x: Tensor, rounds: int = 10) -> dict[float, float]:
    """Measure the shortest time of a forward pass at each width.

    Args:
        net: The network.
        x: Images (N, C, H, W).
        rounds: How often each width is measured. The widths take turns, so that other work on the
            machine meets all of them.

    Returns:
        Seconds by width.
    """
    plain = {width: net.at(0.0, width) for width in net.spec.widths}
    fastest = dict.fromkeys(plain, float("inf"))
    with torch.no_grad():
        for _ in range(rounds):
            for width, f in plain.items():
                started = time.perf_counter()
                f(x)
                fastest[width] = min(fastest[width], time.perf_counter() - started)
    return fastest


def one_cycle(net: torch.nn.Module, total: int):
    """Return the optimiser and the schedule of the learning rate that lesson 05 builds.

    Args:
        net: The network.
        total: Number of training steps.
    """
    optimizer = torch.optim.SGD(net.parameters(), 0.5, 0.9, weight_decay=1e-3, nesterov=True)
    schedule = {"pct_start": 0.5, "div_factor": 10, "cycle_momentum": False}
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total, **schedule)
