"""Measure clean and robust accuracy at settings of λ and width, with confidence intervals.

Only measurements with this module are made on the test split. Training, the explorer and the audit
use validation images.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from .._check import briefly, function, of_type, seed_of, whole
from ..attacks.accuracy import correct_at_every_point, correct_before_and_after
from ..attacks.base import Attack, check_attack
from ..attacks.freeze import attacking
from ..attacks.queries import mean_logits
from ..attacks.suite import default_attack, suited
from ..data.splits import Data, Split, split_of
from ..layers.setting import Position
from ..networks.bfloat16 import in_bfloat16
from ..networks.compiled import Compiler, can_be_compiled, compiler_for
from ..networks.cost import cost_of
from ..networks.network import Network
from .results import Result, Table, wilson

NOISE_SAMPLES = 10  # samples of noisy weights that accuracies are averaged over


def evaluate(
    net: Network | Callable[[Tensor], Tensor],
    data: Data | Split,
    attack: Attack | None = None,
    lams: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    noise_samples: int = NOISE_SAMPLES,
    compiled: bool | Compiler | None = None,
    amp: bool = False,
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
        data: The images: a split, or a data set, of which the test split is used. The results name
            the split.
        attack: The attack. Default: `default_attack()`, the quick suite at 8/255.
        lams: Values of λ. Default: the stops of the network. Not for functions.
        widths: Fractions of the channels. Default: all widths of the network. Not for functions.
        batch_size: Images per batch.
        seed: Seed of the attack, and of noisy weights.
        progress: Whether to show a progress bar.
        noise_samples: Samples of noisy weights that accuracies are averaged over. Networks without
            noise are measured once.
        compiled: Whether attacks on networks run compiled: the same numbers up to rounding. True,
            False, or an `oatlib.Compiler` of an earlier call, whose code is used again. Default:
            False. On a CPU it saves less than compiling takes.
        amp: Whether networks are attacked in bfloat16. Images that it cannot decide are judged in
            single precision. On CPUs with instructions for bfloat16 this takes three quarters of
            the time, and accuracies differ by a few tenths of a point; see networks/bfloat16.py.
            Networks with random weights and mixtures of outputs stay in single precision.

    Returns:
        A table with one result per setting. The widths follow each other, and λ varies within each.

    Raises:
        ValueError: If the split is empty or does not fit the network, or if a setting does not
            exist. Also if `lams` or `widths` are given for a function, if a module that is no
            `Network` is in train mode, or if `batch_size` or `noise_samples` is below 1.
            Also with compiled=True, if nothing can be compiled on this machine.
        NonFiniteError: If the network returns infinite numbers or NaN.
        NoGradientError: If the attack needs gradients and the function has none.

    Warns:
        UserWarning: If the attack takes no steps. Also if weights are noisy and the attack uses
            only one sample of them per gradient. Both overestimate the robust accuracy. Also if the
            networks were to run compiled, and the compiler failed.

    Example:
        >>> print(evaluate(net, data, lams=[0.0, 0.5, 1.0]))
    """
    whole("batch_size", batch_size)
    whole("noise_samples", noise_samples)
    seed = seed_of(seed)
    of_type("amp", amp, bool, "True or False")
    function("net", net, "a network, or a function from images to logits")
    if attack is not None:
        check_attack(attack)
        _warn_of_no_steps(attack)
    split = split_of(data, "test")
    if len(split) == 0:
        raise ValueError(f"the {split.name} split is empty, so there is nothing to measure")
    dials = isinstance(net, Network)
    if not dials and (lams is not None or widths is not None):
        raise ValueError(
            "lams= and widths= are for an oatlib network; a plain function of images has no λ and "
            "no width: leave them out"
        )
    # Check all settings before any work.
    settings: list[tuple[float | None, Position | None]] = [(None, None)]
    if dials:
        settings = [
            (float(lam), net.position(lam, width))
            for width in several("widths", widths, net.spec.widths)
            for lam in several("lams", lams, net.spec.stops)
        ]
        check_fit(net, split)
    compiler = compiler_for(compiled, split.x.device)
    table, weight_noise = Table(), torch.Generator(split.x.device)
    for lam, position in tqdm(settings, unit="setting", disable=not progress, leave=False):
        f, noisy, width, facts = net, False, 1.0, {}
        if position is not None:
            noisy, width = position.noisy, position.width.fraction
            f = net.fold(position, weight_noise.manual_seed(seed), resample=noisy)
            price = cost_of(net, position, f)
            weight_noise.manual_seed(seed)  # counting the cost has used the generator
            facts = {
                "macs": price.macs,
                "parameters": price.plain,
                "nonzero": price.nonzero,
                "about": _about(net),
            }
        how = suited(attack or default_attack(eot_samples=NOISE_SAMPLES if noisy else 1), f)
        if noisy and how.eot_samples == 1:
            warnings.warn(
                f"at λ = {lam:g} the weights are random, and {type(how).__name__} computes each "
                "gradient from one sample of them, which makes it weak. The robust accuracy is "
                "overestimated. Average gradients over samples: pass the attack eot_samples=10.",
                stacklevel=2,
            )
        if dials:
            f = _faster(f, compiler, amp, facts["about"])
        steady = not noisy if dials else None  # deterministic? None: to be tested for a function
        table.append(
            _measure(
                f,
                split,
                how,
                batch_size,
                seed,
                noise_samples if noisy else 1,
                lam,
                width,
                facts,
                steady,
            )
        )
    if compiler is not None and compiler.problem:
        warnings.warn(f"the networks ran uncompiled: {compiler.problem}", stacklevel=2)
    return table


def _faster(
    folded: torch.nn.Module, compiler: Compiler | None, amp: bool, about: dict
) -> Callable[[Tensor], Tensor]:
    """Return a folded network compiled and in bfloat16, as far as that is asked for and possible.

    `about` is the dict in which a result says so.
    """
    if not can_be_compiled(folded):  # random weights or a mixture
        return folded
    run = folded if compiler is None else compiler(folded)
    if not amp:
        return run
    about["amp"] = True
    return in_bfloat16(folded, run)


def several(name: str, values, default: Sequence[float]) -> list[float]:
    """Return values of λ or of the width as a list.

    Args:
        name: Name of the argument, for the message.
        values: Numbers. None: the default.
        default: The values of the network.

    Raises:
        ValueError: If it is no list, or an empty one.
        TypeError: If an entry is no number.
    """
    values = default if values is None else values
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list of numbers, such as [0.5], got {briefly(values)}")
    values = values.tolist() if isinstance(values, Tensor) else list(values)
    if not values:
        raise ValueError(f"{name} is empty: leave it out for all of the network")
    for value in values:
        of_type(f"every entry of {name}", value, Real, "a number")
    return [float(value) for value in values]


def _warn_of_no_steps(attack: Attack) -> None:
    """Warn of an attack that only tries random points of the ball."""
    if getattr(attack, "steps", 1) == 0 and getattr(attack, "eps", 0) > 0:
        warnings.warn(
            f"{attack.name} with 0 steps does not search for errors of the network. What is "
            "reported as robust accuracy is the accuracy at random points of the ball.",
            stacklevel=3,
        )


def check_fit(net: Network, split: Split) -> None:
    """Raise a ValueError unless a network can take the images and labels of a split.

    Args:
        net: The network.
        split: Images and labels.
    """
    shape, classes = net.spec.shape, len(net.spec.classes)
    if tuple(split.x.shape[1:]) != tuple(shape) or split.y.max() >= classes or split.y.min() < 0:
        raise ValueError(
            f"this network takes images {tuple(shape)} with labels 0 to {classes - 1}, but the "
            f"{split.name} split has images {tuple(split.x.shape[1:])} with labels "
            f"{split.y.min()} to {split.y.max()}"
        )


def _measure(
    f,
    split: Split,
    attack: Attack,
    batch_size: int,
    seed: int,
    noise_samples: int,
    lam: float | None,
    width: float,
    facts: dict,
    steady: bool | None = None,
) -> Result:
    """Measure one function f at one setting; `facts` are further fields of the result."""
    started = time.perf_counter()
    if isinstance(f, torch.nn.Module) and any(part.training for part in f.modules()):
        raise ValueError(
            "the network is in train mode, where BatchNorm uses the statistics of the batch: call "
            "net.eval() before evaluating"
        )
    if steady is None:
        steady = _is_steady(f, split.x[:batch_size])
    count = _count_survivors if steady and attack.best else _count_attacked
    # Count the correct images of each batch, for each sample of the noise.
    generator = torch.Generator(split.x.device).manual_seed(seed)
    clean, robust = torch.zeros(noise_samples), torch.zeros(noise_samples)
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        clean_count, robust_count = count(f, attack, x, y, generator, noise_samples)
        clean += clean_count
        robust += robust_count
    n = len(split)
    clean_low, clean_high = wilson(clean.mean().item(), n)
    robust_low, robust_high = wilson(robust.mean().item(), n)
    return Result(
        lam=lam,
        width=width,
        n=n,
        clean=clean.mean().item() / n,
        clean_low=clean_low,
        clean_high=clean_high,
        robust=robust.mean().item() / n,
        robust_low=robust_low,
        robust_high=robust_high,
        attack=attack.describe() | {"text": str(attack)},
        split=split.name,
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        noise_samples=noise_samples,
        clean_spread=clean.std(correction=0).item() / n,
        robust_spread=robust.std(correction=0).item() / n,
        **facts,
    )


def _is_steady(f, x: Tensor) -> bool:
    """Return whether a function gives the same logits for the same images (N, ...) twice."""
    with attacking(f), torch.no_grad():
        first, second = mean_logits(f, x), mean_logits(f, x)
    return bool((first - second).abs().max() <= 1e-5 * (1 + first.abs().max()))


def _count_survivors(
    f, attack: Attack, x: Tensor, y: Tensor, generator: torch.Generator, noise_samples: int
) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and at every point that the attack visits.

    Returns two counts of shape (1,).
    """
    clean, robust = correct_at_every_point(f, x, y, attack, generator)
    return clean.sum().float().cpu().view(1), robust.sum().float().cpu().view(1)


def _count_attacked(
    f, attack: Attack, x: Tensor, y: Tensor, generator: torch.Generator, noise_samples: int
) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and those also correct after the attack.

    Returns two counts of shape (noise_samples,).
    """
    x_adv = attack(f, x, y, generator)
    clean, robust = torch.zeros(noise_samples), torch.zeros(noise_samples)
    for i in range(noise_samples):
        correct, still_correct = correct_before_and_after(f, x, x_adv, y)
        clean[i] = correct.sum().item()
        robust[i] = still_correct.sum().item()
    return clean, robust


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
