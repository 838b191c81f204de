"""Measurements of lesson 05 that take minutes: dials, dedicated networks, dials without a part.

Each function returns what its record in `data/course` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..attacks.freeze import frozen
from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..evaluation.baselines import coin
from ..evaluation.evaluate import evaluate
from ..explorer.shipped import FOLDER
from ..networks.mixing import mix
from ..networks.network import Network, load
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import OAT_STOPS, build
from .live import LiveCurve
from .parts import DialNet

Answer = Callable[[Tensor], Tensor]  # from images to logits
N = 512  # validation images
KEPT = ("lam", "n", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
ATTACK = Suite(budget="quick")
EPOCHS, SEEDS = 5, (0, 1, 2)  # of `oat_arms`
ARMS: dict[str, dict[str, Any]] = {
    "all of OAT": {},
    "λ = 0 and λ = 1 only": {"at_last_stop": 1.0},
    "no FiLM": {"film": False},
    "one BatchNorm": {"dual": False},
    "neither": {"film": False, "dual": False},
}


def dial_points(
    net: Network, data: Data, lams: Sequence[float] | None = None, n: int = N, seed: int = 0
) -> list[dict]:
    """Measure a network along its dial by the quick suite, on validation images.

    Args:
        net: The network.
        data: The data set.
        lams: Values of λ. None: the stops of the network.
        n: Number of images.
        seed: Seed of the attack.

    Returns:
        One dict for each λ: lam, n, clean and robust accuracy with their 95 % intervals.
    """
    panel = data.val.panel(min(n, len(data.val)))
    table = evaluate(net, panel, ATTACK, lams, seed=seed, progress=False)
    return [{key: getattr(result, key) for key in KEPT} for result in table]


def choose_by_image(lam: float, standard: Answer, robust: Answer) -> Answer:
    """Return a function that lets the robust network answer where it is sure of its answer.

    Args:
        lam: λ in [0, 1]. The larger it is, the less sure the robust network must be.
        standard: The accurate network, from images to logits.
        robust: The robust network.

    Returns:
        A function from images (N, C, H, W) to logits (N, classes).
    """

    def answer(x: Tensor) -> Tensor:
        by_standard = standard(x).softmax(1)
        by_robust = robust(x).softmax(1)
        best, second = by_robust.topk(2, 1).values.T
        sure = torch.sigmoid(20 * (best - second - (1.1 - 1.2 * lam)))[:, None]
        mixed = (1 - sure) * by_standard + sure * by_robust
        return (mixed + 1e-9).log()

    return answer


def measured_functions(make: Callable[[float], Answer], data: Data, n: int = 256) -> list[dict]:
    """Measure a dial that is given as functions, at five values of λ, by the quick suite.

    Args:
        make: Returns the function from images to logits for a λ.
        data: The data set.
        n: Number of validation images.

    Returns:
        One dict for each λ: lam, n, clean and robust accuracy.
    """
    panel = data.val.panel(min(n, len(data.val)))
    points = []
    for lam in (0.0, 0.25, 0.5, 0.75, 1.0):
        (result,) = evaluate(make(lam), panel, ATTACK, seed=0, progress=False)
        points.append({"lam": lam, "n": len(panel), "clean": result.clean, "robust": result.robust})
    return points


class LiveEnds(LiveCurve):
    """A live curve of a network in training: clean at λ = 0, and attacked at λ = 1.

    The attack is PGD with five steps, so the second curve is an upper bound of robust accuracy.

    Args:
        net: The network.
        data: The data set.
        total: Number of training steps.
        eps: Radius of the attack.
    """

    LOOKS, N = 12, 128  # how often it measures, and on how many validation images
    NAMES = ("clean, λ = 0", "PGD-5, λ = 1 (an upper bound)")

    def __init__(self, net: DialNet, data: Data, total: int, eps: float):
        self.net, self.total, self.attack = net, total, PGD(eps, 5)
        self.split = data.val.panel(min(self.N, len(data.val)))
        super().__init__(
            self.NAMES,
            "training step",
            f"accuracy on {len(self.split)} validation images, %",
            x_range=(0, 1.03 * total),
            y_range=(0, 102),
            takeaway="The clean end is learned first; robustness at the other end grows later.",
        )

    def step(self, taken: int, loss: float) -> None:
        """Measure and draw, after some of the steps only.

        Args:
            taken: Number of steps that were taken.
            loss: Loss of the last step.
        """
        if taken % max(1, self.total // self.LOOKS) and taken < self.total:
            return
        x, y = self.split.x, self.split.y
        first, last = (torch.full((len(y),), stop) for stop in (0, len(self.net.stops) - 1))
        generator = torch.Generator().manual_seed(0)
        # eval mode, and the mode before that afterwards, also after an error
        with frozen(self.net):
            x_adv = self.attack(lambda images: self.net(images, last), x, y, generator)
            with torch.no_grad():
                answers = (self.net(x, first), self.net(x_adv, last))
        right = [100 * (logits.argmax(1) == y).double().mean().item() for logits in answers]
        line = f"step {taken} of {self.total}, loss {loss:.2f}"
        self.add(taken, dict(zip(self.NAMES, right, strict=True)), line)


def costs(data: Data, own_parameters: int, own_epochs: int) -> dict[str, tuple[int, float]]:
    """Return parameters and training work of the networks that lesson 05 compares.

    The unit of work is one forward and backward pass of all training images. Attacked images are
    counted once for every step of the attack, and once for learning.

    Args:
        data: The data set, for the sizes of the first and the last layer.
        own_parameters: Number of parameters of the learner's network.
        own_epochs: Epochs of its training: one step of PGD in the first 40 %, then three.

    Returns:
        (parameters, work) by name.
    """
    epochs, steps = Preset().epochs, Preset().steps
    above_zero = 1 - 1 / len(OAT_STOPS)  # share of the images that are attacked
    sizes = {
        name: sum(p.numel() for p in build(name, data).parameters())
        for name in ("standard", "pgd-at", "blend", "oat")
    }
    work = {
        "standard": float(epochs),
        "pgd-at": float(epochs * (1 + steps + 1)),
        "blend": epochs * (1 + steps + 1) / 2,  # one half is clean, the other half attacked
        "oat": epochs * (1 + above_zero * (steps + 1)),
    }
    found = {name: (sizes[name], work[name]) for name in sizes}
    found["coin between standard and pgd-at"] = (
        sizes["standard"] + sizes["pgd-at"],
        work["standard"] + work["pgd-at"],
    )
    found["mix"] = found["coin between standard and pgd-at"]
    found["coin between two dedicated"] = (2 * sizes["pgd-at"], 2 * work["pgd-at"])
    found["six dedicated"] = (
        sizes["standard"] + 5 * sizes["pgd-at"],
        work["standard"] + 5 * work["pgd-at"],
    )
    own_work = own_epochs * (1 + above_zero * (0.4 * 1 + 0.6 * 3 + 1))
    found["your dial"] = (own_parameters, own_work)
    found["coin between its own ends"] = (own_parameters, own_work)
    return found


def best_coin(points: Sequence[tuple[float, float]], clean: float) -> float | None:
    """Return the robust accuracy of the best coin between any two of some points.

    Args:
        points: (clean, robust) of networks, or of settings of one dial.
        clean: The clean accuracy to keep.

    Returns:
        The largest robust accuracy, or None if no point is so accurate.
    """
    found = [coin(first, second, clean) for first, second in combinations(points, 2)]
    return max((robust for robust in found if robust is not None), default=None)


def six_dedicated() -> dict:
    """Train one OAT network, and a dedicated network for each of its λ."""
    data = load_data("shapes", seed=0)

    def trained(recipe: str, **options) -> list[dict]:
        net = build(recipe, data, seed=0, **options)
        train(net, data, "fast", seed=0, progress=False)
        return dial_points(net, data)

    six = [trained("standard")[0]]
    six += [trained("pgd-at", lam=lam)[0] for lam in OAT_STOPS[1:]]
    six = [point | {"lam": lam} for point, lam in zip(six, OAT_STOPS, strict=True)]
    return {"oat": trained("oat"), "six": six} | _about("fast")


def oat_baselines() -> dict:
    """Measure the shipped networks that a dial competes with."""
    data = load_data("shapes", seed=0)
    tenths = [tenth / 10 for tenth in range(11)]
    lams = {"standard": None, "pgd-at": None, "blend": tenths}
    nets = {name: load(FOLDER / f"{name}.safetensors") for name in lams}
    points = {name: dial_points(net, data, lams[name]) for name, net in nets.items()}
    # between 0.5 and 0.6 the robust network takes over
    finer = sorted({*tenths, *(0.5 + step / 50 for step in range(1, 5))})
    points["mix"] = dial_points(mix(nets["standard"], nets["pgd-at"]), data, finer)
    return {"points": points} | _about("fast")


def oat_arms() -> dict:
    """Train OAT whole and without a part, with the backbone of the learner's network."""
    data = load_data("shapes", seed=0)

    def arm(seed: int, at_last_stop: float = 0.3, **options) -> list[dict]:
        net = build("oat", data, backbone="plain", seed=seed, **options)
        preset = Preset(epochs=EPOCHS, at_last_stop=at_last_stop)
        train(net, data, preset, seed, progress=False)
        return dial_points(net, data)

    arms = {name: [arm(seed, **options) for seed in SEEDS] for name, options in ARMS.items()}
    about = _about(f"fast, {EPOCHS} epochs") | {"seeds": list(SEEDS), "backbone": "plain"}
    return {"arms": arms} | about


def _about(preset: str) -> dict:
    """Return how the networks of a record were trained and measured."""
    return {"attack": str(ATTACK), "split": "val", "seed": 0, "preset": preset}
