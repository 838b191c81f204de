"""Measure clean and robust accuracy at settings of λ and width, with confidence intervals.

Only measurements with this module are made on the test split. Training, the explorer and the audit
use validation images.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from ..attacks.base import Attack
from ..attacks.freeze import attacking
from ..attacks.suite import Suite, default_attack, suited
from ..data.load import Split
from ..layers.setting import Position
from ..networks.cost import cost_of
from ..networks.network import Network
from .results import Result, Table, wilson

DRAWS = 10  # samples of noisy weights


def evaluate(
    net: Network | Callable[[Tensor], Tensor],
    split: Split,
    attack: Attack | Suite | None = None,
    lams: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    batch: int = 256,
    seed: int = 0,
    progress: bool = True,
    draws: int = DRAWS,
) -> Table:
    """Measure clean and robust accuracy of a network at several settings, or of any function.

    A network is attacked in the form in which it is deployed, `net.at(lam, width)`. If its weights
    are noisy, `net.noisy(lam, width)` is attacked and measured instead. The default attack then
    uses EOT (expectation over transformation: gradients are averaged over samples of the noise).

    If the function is deterministic and the attack keeps its best iterate, images are dropped once
    they are misclassified. This gives the same numbers for less compute. If outputs are mixed, a
    suite also attacks the ends of the mixture.

    Args:
        net: A network, or a function from images (N, C, H, W) in [0, 1] to logits (N, classes).
        split: Images and labels.
        attack: The attack. Default: `default_attack()`, the quick suite at 8/255.
        lams: Values of λ. Default: the stops of the network. Not for functions.
        widths: Shares of the channels. Default: all widths of the network. Not for functions.
        batch: Images per batch.
        seed: Seed of the attack, and of noisy weights.
        progress: Whether to show a progress bar.
        draws: Samples of the weights that accuracies are averaged over, where weights are noisy.

    Returns:
        A table with one result per setting. The widths follow each other, and λ varies within each.

    Raises:
        ValueError: If the split is empty or does not fit the network, or if a setting does not
            exist. Also if `lams` or `widths` are given for a function, if a module that is no
            `Network` is in train mode, or if `draws` is below 1.

    Warns:
        UserWarning: If weights are noisy and the attack uses only one sample of them per gradient.
            The robust accuracy is then overestimated.

    Example:
        >>> print(evaluate(net, data.test, lams=[0.0, 0.5, 1.0]))
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if len(split) == 0:
        raise ValueError(f"the {split.name} split is empty: there is nothing to measure")
    dials = isinstance(net, Network)
    if not dials and (lams is not None or widths is not None):
        raise ValueError(
            "lams= and widths= need a network with dials; this is a plain function of images"
        )
    # Check all settings before any work.
    settings: list[tuple[float | None, Position | None]] = [(None, None)]
    if dials:
        settings = [
            (float(lam), net.position(float(lam), float(width)))
            for width in (net.spec.widths if widths is None else widths)
            for lam in (net.spec.stops if lams is None else lams)
        ]
        check_fit(net, split)
    table, weight_noise = Table(), torch.Generator(split.x.device)
    for lam, position in tqdm(settings, unit="setting", disable=not progress, leave=False):
        f, noisy, width, facts = net, False, 1.0, {}
        if position is not None:
            noisy, width = position.noisy, position.width.share
            f = net.fold(position, weight_noise.manual_seed(seed), resample=noisy)
            price = cost_of(net, position, f)
            weight_noise.manual_seed(seed)  # counting the cost has used the generator
            facts = {
                "macs": price.macs,
                "parameters": price.plain,
                "nonzero": price.nonzero,
                "about": _about(net),
            }
        how = suited(attack or default_attack(draws=DRAWS if noisy else 1), f)
        if noisy and how.draws == 1:
            warnings.warn(
                f"at λ = {lam:g} the weights are random, and an attack that sees one draw at a "
                "time is weak: the "
                "robust accuracy is flattered. Give the attack draws=10 (EOT).",
                stacklevel=2,
            )
        steady = not noisy if dials else None  # deterministic? None: to be tested for a function
        table.append(
            _measure(f, split, how, batch, seed, draws if noisy else 1, lam, width, facts, steady)
        )
    return table


def check_fit(net: Network, split: Split) -> None:
    """Raise a ValueError unless a network can take the images and labels of a split.

    Args:
        net: The network.
        split: Images and labels.
    """
    shape, classes = net.spec.shape, len(net.spec.classes)
    if tuple(split.x.shape[1:]) != tuple(shape) or split.y.max() >= classes or split.y.min() < 0:
        raise ValueError(
            f"this network takes images {tuple(shape)} of {classes} classes; the {split.name} "
            "split has "
            f"{tuple(split.x.shape[1:])} and labels {split.y.min()} to {split.y.max()}"
        )


def _measure(
    f,
    split: Split,
    attack: Attack | Suite,
    batch: int,
    seed: int,
    draws: int,
    lam,
    width,
    facts: dict,
    steady: bool | None = None,
) -> Result:
    """Measure one function f at one setting; `facts` are further fields of the result."""
    started, clean, robust = time.perf_counter(), torch.zeros(draws), torch.zeros(draws)
    generator = torch.Generator(split.x.device).manual_seed(seed)
    if isinstance(f, torch.nn.Module) and any(part.training for part in f.modules()):
        raise ValueError(
            "the network is in train mode, where BatchNorm sees the batch: call .eval() before "
            "evaluating"
        )
    if steady is None:
        steady = _is_steady(f, split.x[:batch])
    count = _count_survivors if steady and getattr(attack, "best", False) else _count_attacked
    for x, y in zip(split.x.split(batch), split.y.split(batch), strict=True):
        right, holds = count(f, attack, x, y, generator, draws)
        clean += right
        robust += holds
    n = len(split)
    shares = [(hits.mean().item() / n, *wilson(hits.mean().item(), n)) for hits in (clean, robust)]
    spreads = [hits.std(correction=0).item() / n for hits in (clean, robust)]
    return Result(
        lam,
        width,
        n,
        *shares[0],
        *shares[1],
        attack.describe() | {"text": str(attack)},
        split.name,
        seed,
        round(time.perf_counter() - started, 2),
        draws=draws,
        clean_spread=spreads[0],
        robust_spread=spreads[1],
        **facts,
    )


def _is_steady(f, x: Tensor) -> bool:
    """Return whether a function gives the same logits for the same images (N, ...) twice."""
    with attacking(f), torch.no_grad():
        first, second = f(x), f(x)
    return bool((first - second).abs().max() <= 1e-5 * (1 + first.abs().max()))


def _count_survivors(
    f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int
) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and at every point that the attack visits.

    Returns two counts of shape (1,).
    """
    clean, stands = None, torch.zeros_like(y, dtype=torch.bool)
    for index, _, logits in attack.survivors(f, x, y, generator):
        right = logits.argmax(1) == y[index]
        clean = right.sum() if clean is None else clean
        # `index` holds all images that were correct so far, so the others count as misclassified.
        stands[:] = False
        stands[index] = right
    return clean.float().cpu().view(1), stands.sum().float().cpu().view(1)


def _count_attacked(
    f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int
) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and those also correct after the attack.

    Returns two counts of shape (draws,).
    """
    attacked, counts = attack(f, x, y, generator), torch.zeros(2, draws)
    for i in range(draws):
        with torch.no_grad():  # one forward, so that both use the same sample of random weights
            right, holds = (f(torch.cat([x, attacked])).argmax(1) == torch.cat([y, y])).chunk(2)
        # The unattacked image lies in the ball, too. If it is misclassified, the network is not
        # robust.
        counts[0, i], counts[1, i] = right.sum().item(), (right & holds).sum().item()
    return counts[0], counts[1]


def _about(net: Network) -> dict:
    """What a result says about its network, ready for JSON."""
    spec = net.spec
    about = {
        "recipe": spec.recipe,
        "backbone": spec.backbone,
        "data": spec.data,
        "stops": list(spec.stops),
        "dial": spec.dial,
        "trained": net.trained,
        "versions": record.versions(),
    }
    return copy.deepcopy(about)  # a result must not change when the network is trained further
