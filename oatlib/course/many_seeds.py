"""Runs of lesson 07: OATS with one output layer and with one per width, over several seeds.

All runs use the same training images and the same test images. Only the training seed differs:
first weights, order of the images, draws of λ, attacks. For each test image the record says whether
each sub-network is correct. So intervals over seeds and over images can be computed from it.
"""

from __future__ import annotations

import base64
import zlib

import torch
from torch import Tensor

from ..attacks.accuracy import correct_at_every_point
from ..attacks.suite import Suite
from ..data.load import load_data
from ..training.loop import train
from ..training.presets import Preset
from ..training.recipes import QUARTERS, build

SEEDS = (0, 1, 2, 3, 4)  # of training
LAMS = (0.0, 0.2, 1.0)
N, EPOCHS, BACKBONE = 1024, 5, "plain"
ATTACK = Suite(budget="quick")
# The arms differ in the output layers only. Both add the losses of the widths. The library's `oats`
# averages them, so a comparison of the two recipes as they are would change two things at once.
ARMS: dict[str, dict] = {
    "oats": {"width_loss": "sum"},
    "solar": {"width_loss": "sum", "own_heads": True},
}


def packed(correct: Tensor) -> str:
    """Return a tensor of bools as text: eight values in a byte, compressed, in base64.

    Args:
        correct: Bools of any shape; their number is a multiple of 8.
    """
    bits = correct.flatten().view(-1, 8).long() << torch.arange(8)
    return base64.b64encode(zlib.compress(bytes(bits.sum(1).tolist()), 9)).decode()


def unpacked(text: str) -> Tensor:
    """Return the bools that `packed` turned into text, as a flat tensor.

    Args:
        text: A text that `packed` returned.
    """
    values = torch.tensor(list(zlib.decompress(base64.b64decode(text))))
    return ((values[:, None] >> torch.arange(8)) & 1).bool().flatten()


def subnetworks(
    record: dict, key: str = "robust", broken: bool = False
) -> list[tuple[float, float]]:
    """Return (width, λ) of the sub-networks that are compared.

    Args:
        record: The record `solar_seeds`.
        key: "clean", or "robust": only λ > 0, because no sub-network is robust at λ = 0.
        broken: Whether to include the narrowest width, which is not accurate at λ = 1.
    """
    widths = record["widths"] if broken else record["widths"][1:]
    lams = record["lams"] if key == "clean" else record["lams"][1:]
    return [(width, lam) for width in widths for lam in lams]


def correct_images(record: dict, arm: str, key: str = "robust", broken: bool = False) -> Tensor:
    """Return which test images the sub-networks of an arm classify correctly.

    Args:
        record: The record `solar_seeds`.
        arm: A name in `ARMS`.
        key: "clean" or "robust".
        broken: See `subnetworks`.

    Returns:
        Bools of shape (runs, sub-networks, images).
    """
    shape = (len(record["seeds"]), len(record["widths"]), len(record["lams"]), record["n"])
    every = torch.stack([unpacked(text) for text in record["runs"][arm][key]]).view(shape)
    first_width = 0 if broken else 1
    first_lam = 0 if key == "clean" else 1
    return every[:, first_width:, first_lam:].flatten(1, 2)


def points(images: Tensor) -> Tensor:
    """Return accuracies in percent.

    Args:
        images: Which images are correct, bools (..., images).
    """
    return 100 * images.float().mean(-1)


def one_run(arm: str, seed: int) -> dict[str, str]:
    """Train one network and attack every sub-network on the test images.

    Args:
        arm: A name in `ARMS`.
        seed: The training seed. Images are those of world 0 for every seed.

    Returns:
        "clean" and "robust": correct images (widths, λ, images), as `packed` returns them.
    """
    data = load_data("shapes", seed=0)
    net = build("oats", data, backbone=BACKBONE, seed=seed, widths=QUARTERS, **ARMS[arm])
    train(net, data, Preset(epochs=EPOCHS), seed, progress=False)
    panel = data.test.panel(N)
    clean, robust = [], []
    for width in QUARTERS:
        for lam in LAMS:
            found = correct_at_every_point(net.at(lam, width), panel.x, panel.y, ATTACK)
            clean.append(found[0])
            robust.append(found[1])
    return {"clean": packed(torch.stack(clean)), "robust": packed(torch.stack(robust))}


def solar_seeds() -> dict:
    """Train every arm with every seed."""
    runs = {arm: [one_run(arm, seed) for seed in SEEDS] for arm in ARMS}
    return gathered(runs)


def gathered(runs: dict[str, list[dict[str, str]]]) -> dict:
    """Return the record, made of runs that were trained one by one.

    Args:
        runs: By arm, the results of `one_run` in the order of the seeds.
    """
    by_key = {
        arm: {key: [run[key] for run in each] for key in ("clean", "robust")}
        for arm, each in runs.items()
    }
    return {
        "data": "shapes, seed 0",
        "split": "test",
        "n": N,
        "attack": str(ATTACK),
        "backbone": BACKBONE,
        "preset": f"fast, {EPOCHS} epochs",
        "seeds": list(SEEDS),
        "widths": list(QUARTERS),
        "lams": list(LAMS),
        "options": ARMS,
        "runs": by_key,
    }
