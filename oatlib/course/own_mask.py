"""How the first version of this package fooled itself: the trainings and the measures of lesson 10.

Its networks were trained against PGD with two steps, and learned to resist that attack.
`retrained` trains a network again, and changes nothing but the attack of training. `forged` reads
what an attack paints: in the built-in images the texture of every class is known.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.accuracy import robust_accuracy
from ..attacks.base import Attack
from ..attacks.losses import margin_loss
from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import load_data
from ..data.shapes import CONSTANT_TRUST, tiles
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import build
from .collapse import EXHIBIT as TWO_STEPS
from .two_pixels import accuracy

EPS = 8 / 255
ARMS = {
    "two steps, ball 1.25 ε": TWO_STEPS,
    "three steps, half towards a class": replace(
        TWO_STEPS, margin=1.0, steps=3, step_size=20 / 3 / 255, aimed=0.5
    ),
}
# In the first world a shape belongs to the label equally often in every image.
WORLDS = {"first world": CONSTANT_TRUST, "today's world": {}}
LAMS = (0.2, 0.4)
SEEDS = (0, 1, 2)
N = 256


def fold(change: Tensor) -> Tensor:
    """Return the mean of all 4x4 cells of each image.

    Args:
        change: Images (N, C, H, W), H and W multiples of 4.

    Returns:
        One tile per image, (N, C, 4, 4).
    """
    n, channels, height, width = change.shape
    return change.view(n, channels, height // 4, 4, width // 4, 4).mean((2, 4))


def tile_cosines(change: Tensor, known: Tensor) -> Tensor:
    """Return the cosine between the folded change of each image and each texture tile.

    Args:
        change: What an attack added, (N, C, H, W).
        known: The tiles, (classes, C, 4, 4).

    Returns:
        Values in [-1, 1], (N, classes).
    """
    return F.cosine_similarity(fold(change).flatten(1)[:, None], known.flatten(1)[None], dim=2)


def forged(x: Tensor, x_adv: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Return how well each change shows the texture of one wrong class: 0 not at all, 1 cleanly.

    Args:
        x: Images (N, C, H, W).
        x_adv: The attacked images.
        y: Labels (N,).
        known: The texture tiles (classes, C, 4, 4).

    Returns:
        The largest cosine over the wrong classes, (N,).
    """
    cosines = tile_cosines(x_adv - x, known)
    return cosines.scatter(1, y[:, None], -torch.inf).amax(1)


def rising(f, x: Tensor, y: Tensor, step: float = 1 / 255) -> float:
    """Return the share of images whose loss rises along the sign of their gradient.

    Args:
        f: Function from images to logits.
        x: Images (N, ...).
        y: Labels (N,).
        step: Length of the step forwards and backwards, in pixel units.
    """
    images = x.clone().requires_grad_()
    loss = F.cross_entropy(f(images), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    with torch.no_grad():
        ahead = margin_loss(f((x + step * gradient.sign()).clamp(0, 1)), y)
        behind = margin_loss(f((x - step * gradient.sign()).clamp(0, 1)), y)
    return (ahead > behind).double().mean().item()


def training_attack(preset: Preset) -> PGD:
    """Return the attack that a preset trains against, on the ball of radius ε of the evaluation."""
    attack = preset.attack()
    return replace(attack, eps=EPS, step_size=attack.step_length * EPS / attack.eps)


def under(f, x: Tensor, y: Tensor, attack: Attack, known: Tensor) -> dict[str, float]:
    """Return the accuracy under an attack, and the mean forgery of its changes."""
    x_adv = attack(f, x, y, torch.Generator().manual_seed(1))
    meter = forged(x, x_adv, y, known)
    return {"left": round(accuracy(f, x_adv, y), 4), "forged": round(meter.mean().item(), 4)}


def retrained_once(world: str, name: str, seed: int) -> dict[str, dict]:
    """Train `oat` in a world against one attack, and measure it at each λ."""
    data = load_data("shapes", seed=0, n_train=4096, **WORLDS[world])
    net = build("oat", data, seed=seed)
    train(net, data, ARMS[name], seed, progress=False)
    panel, known = data.val.panel(N), tiles(paired=data.options["paired"])
    found = {}
    for lam in LAMS:
        f = net.at(lam)
        attacks = {
            "its own attack": training_attack(ARMS[name]),
            "PGD-20": PGD(EPS, 20),
            "quick suite": Suite(EPS, budget="quick"),
        }
        if world == "first world":  # the same attack for both arms
            attacks["two steps"] = training_attack(TWO_STEPS)
        rows = {key: under(f, panel.x, panel.y, attack, known) for key, attack in attacks.items()}
        # the suite counts an image as wrong if any visited point is
        source = torch.Generator().manual_seed(1)
        left = robust_accuracy(f, panel.x, panel.y, attacks["quick suite"], source)
        rows["quick suite"]["left"] = round(left, 4)
        found[f"{lam:g}"] = {"clean": round(accuracy(f, panel.x, panel.y), 4), **rows}
    return found


def retrained() -> dict:
    """Train against each attack of `ARMS` in both worlds, three seeds each: about 12 minutes."""
    worlds = {
        world: {name: [retrained_once(world, name, seed) for seed in SEEDS] for name in ARMS}
        for world in WORLDS
    }
    return about({"worlds": worlds})


def about(found: dict) -> dict:
    """Add to a result how it was measured."""
    facts = {"seeds": list(SEEDS), "n": N, "split": "val", "eps": EPS}
    return found | facts | {"recipe": "oat", "attack": str(Suite(EPS, budget="quick"))}
