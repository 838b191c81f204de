"""Measurements of lesson 09: networks that are pruned, and networks that are sparse from the start.

The networks are `blend` of lesson 08, so sparsity is the only difference: no noise, and no FiLM.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attacks.freeze import frozen
from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..evaluation.evaluate import evaluate
from ..layers.masks import count
from ..networks.network import Network, masked_units
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import build
from .widths import narrow_backbone

SEEDS, N = (0, 1, 2), 512  # of `sparse_arms`: trainings, and validation images
DENSITIES = (0.3, 0.1)
BACKBONE = "plain"  # three convs, as in the lesson
IMAGES = 1024  # training images from which statistics are taken
RADIUS = 8 / 255
ATTACK = Suite(RADIUS, budget="quick")
# Training after pruning: the full attack from the first step, and a lower learning rate.
MORE = Preset(ramp=0.0, lr=0.2, warmup=0.2)
EPOCHS, EPOCHS_MORE = 5, (1, 3)  # of training, and of training after pruning
# Width of a dense copy of the backbone with about as many weights, by density (see `weights`).
SMALL = {0.3: 0.5625, 0.1: 0.3125}
LONGER = EPOCHS + max(EPOCHS_MORE)  # as long as pruning with the most training


def toy_matrix(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the problem of the toy: a sparse matrix, a random mask and inputs.

    Returns:
        The true matrix (6, 3) with six non-zeros, a mask with six True, and inputs (256, 3).
    """
    places, keep = (torch.randperm(18, generator=generator).view(6, 3) < 6 for _ in range(2))
    truth = torch.randn(6, 3, generator=generator)
    truth = (truth + 0.3 * truth.sign()) * places  # no non-zero is nearly zero
    return truth, keep, torch.randn(256, 3, generator=generator)


def toy_training(
    weight: Tensor, momentum: Tensor, keep: Tensor, truth: Tensor, inputs: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Take 20 steps of SGD towards the true matrix, with a mask.

    Args:
        weight: The matrix so far, (6, 3).
        momentum: Running sum of gradients, (6, 3).
        keep: The mask. Absent weights stay 0, but their gradients enter the momentum.
        truth: The true matrix.
        inputs: Inputs, (N, 3).

    Returns:
        Weight and momentum afterwards, and the mean squared error of the last step.
    """
    error = torch.zeros(())
    for _ in range(20):
        error = inputs @ (weight - truth).T  # (N, 6)
        momentum = 0.9 * momentum + error.T @ inputs / len(inputs)
        weight = (weight - 0.05 * momentum) * keep
    return weight, momentum, error.pow(2).mean().item()


def magnitude_mask(weight: Tensor, density: float) -> Tensor:
    """Return a mask that keeps the largest weights, in absolute value.

    Args:
        weight: The weight, of any shape.
        density: Fraction to keep, in (0, 1]. The number of kept weights is rounded, and at least 1.

    Returns:
        A boolean mask shaped like `weight`.
    """
    kept = count(weight.numel(), density)
    order = weight.abs().flatten().argsort(descending=True)
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask.view(weight.shape)


def pruned(
    net: Network, density: float, mask: Callable[[Tensor, float], Tensor] = magnitude_mask
) -> Network:
    """Return a network that keeps a share of the weights of every conv. Its masks do not move.

    Args:
        net: A trained network without masks. It is not changed.
        density: Fraction of the weights of each conv to keep.
        mask: Returns the mask of a weight. A learner's function may take its place.
    """
    twin = Network(replace(net.spec, masks="shared", density=density))
    twin.trained = list(net.trained)
    own = net.state_dict()
    for name, tensor in twin.state_dict().items():
        if name in own:
            tensor.copy_(own[name])
    for unit in _masked(twin):
        unit.masks.clean.copy_(mask(unit.conv.weight.detach(), density))
        unit.masks.clear(unit.conv.weight)
        unit.masks.moves = False
    return twin


def _masked(net: Network) -> list[Any]:
    """Return the units that have a conv and masks. Their type would allow that they have none."""
    return list(masked_units(net))


def recalibrated(net: Network, data: Data, seed: int = 0) -> Network:
    """Return a network whose BatchNorm statistics are measured again, with the same weights.

    The clean BatchNorm gets clean training images, the other one attacked training images. The
    attack needs statistics itself, so everything is done twice.

    Args:
        net: A network with the stops 0 and 1. It is not changed.
        data: The data set.
        seed: Seed of the attack.
    """
    twin = copy.deepcopy(net)
    split = data.train.panel(min(IMAGES, len(data.train)))
    norms = [part for part in twin.modules() if isinstance(part, nn.BatchNorm2d)]
    for _ in range(2):
        generator = torch.Generator().manual_seed(seed)
        x_adv = PGD(RADIUS, 3)(twin.at(1.0), split.x, split.y, generator)
        with frozen(twin), torch.no_grad():
            twin.train()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain average over the batches
            for x, attacked in zip(split.x.split(256), x_adv.split(256), strict=True):
                twin(x, 0.0)
                twin(attacked, 1.0)
            taken = {name: buffer.clone() for name, buffer in twin.named_buffers()}
        for name, buffer in twin.named_buffers():
            buffer.copy_(taken[name])
    for norm in norms:
        norm.momentum = 0.1
    return twin


def ends(net: Network, data: Data, n: int = N, seed: int = 0) -> dict:
    """Measure both ends of a dial by the quick suite, on validation images.

    Returns:
        n, clean accuracy at λ = 0 ("clean"), clean and robust accuracy at λ = 1 ("clean_robust_end"
        and "robust").
    """
    panel = data.val.panel(min(n, len(data.val)))
    with torch.no_grad():
        right = (net.at(0.0)(panel.x).argmax(1) == panel.y).double().mean().item()
    (result,) = evaluate(net, panel, ATTACK, [1.0], seed=seed, progress=False)
    robust_end = {"clean_robust_end": result.clean, "robust": result.robust}
    return {"n": len(panel), "clean": right} | robust_end


def dense_network(data: Data, seed: int, backbone: str = BACKBONE, epochs: int = EPOCHS) -> Network:
    """Train `blend` with all weights of a backbone."""
    net = build("blend", data, backbone, seed)
    train(net, data, Preset(epochs=epochs), seed, progress=False)
    return net


def small_arms(data: Data, seed: int, density: float) -> dict[str, dict]:
    """Measure dense networks with about as many weights as a sparse one, trained alone.

    Returns:
        Results of `ends` by the name of the arm. "stopped" says whether the training ended early,
        because clean accuracy fell to chance. Such a network has the weights of its last good
        epoch.
    """
    arms = {}
    with narrow_backbone(SMALL[density]) as backbone:
        for name, epochs in (("small", EPOCHS), ("small, 3 more epochs", LONGER)):
            net = dense_network(data, seed, backbone, epochs)
            arms[name] = ends(net, data) | {"stopped": net.trained[-1]["status"] == "stopped"}
    return arms


def weights(data: Data) -> dict[str, dict[str, int]]:
    """Count the weights in the convs of a sparse network and of the small one, by density."""

    def sizes(backbone: str) -> list[int]:
        net = build("blend", data, backbone)
        return [part.weight.numel() for part in net.modules() if isinstance(part, nn.Conv2d)]

    counts = {}
    for density, width in SMALL.items():
        kept = sum(count(size, density) for size in sizes(BACKBONE))
        with narrow_backbone(width) as backbone:
            counts[f"{density:g}"] = {"sparse": kept, "small": sum(sizes(backbone))}
    return counts


def trained_sparse(
    data: Data, seed: int, density: float, moves: bool = True, epochs: int = EPOCHS
) -> Network:
    """Train `blend` with a share of its weights. With `moves`, rewiring moves the masks."""
    net = build("blend", data, BACKBONE, seed, masks="shared", density=density)
    for unit in _masked(net):
        unit.masks.moves = moves
    train(net, data, Preset(epochs=epochs), seed, progress=False)
    return net


def arms_at(dense: Network, data: Data, seed: int, density: float) -> dict[str, dict]:
    """Measure a dense network after pruning, networks trained sparse, and small dense ones."""
    cut = pruned(dense, density)
    arms = {
        "pruned": ends(cut, data),
        "pruned, new statistics": ends(recalibrated(cut, data), data),
    }
    for epochs in EPOCHS_MORE:
        more = copy.deepcopy(cut)
        for unit in _masked(more):
            unit.masks.moves = False
        train(more, data, replace(MORE, epochs=epochs), seed, progress=False)
        arms[f"pruned, {epochs} more epoch{'s' if epochs > 1 else ''}"] = ends(more, data)
    arms["sparse from the start"] = ends(trained_sparse(data, seed, density), data)
    arms["sparse, 3 more epochs"] = ends(trained_sparse(data, seed, density, epochs=LONGER), data)
    arms["sparse, masks fixed"] = ends(trained_sparse(data, seed, density, moves=False), data)
    return arms | small_arms(data, seed, density)


def sparse_arms() -> dict:
    """Train and prune: every arm at every density, for every seed."""
    data = load_data("shapes", seed=0)
    dense: list[dict] = []
    longer: list[dict] = []
    runs: dict[str, dict[str, list]] = {f"{density:g}": {} for density in DENSITIES}
    for seed in SEEDS:
        net = dense_network(data, seed)
        dense.append(ends(net, data))
        longer.append(ends(dense_network(data, seed, epochs=LONGER), data))
        for density in DENSITIES:
            for arm, found in arms_at(net, data, seed, density).items():
                runs[f"{density:g}"].setdefault(arm, []).append(found)
    counts = {"weights": weights(data)}
    return {"dense": dense, "dense, 3 more epochs": longer, "runs": runs} | about() | counts


def about() -> dict:
    """Return how the networks of the record were trained and measured."""
    return {
        "seeds": list(SEEDS),
        "attack": str(ATTACK),
        "split": "val",
        "preset": "fast",
        "backbone": BACKBONE,
        "epochs": EPOCHS,
        "more": {"lr": MORE.lr, "epochs": list(EPOCHS_MORE)},
    }
