"""How the cost of a training step and of an attack grows: with λ stops, batch and image size."""

from __future__ import annotations

import torch

import oatlib
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops
from oatlib.training.step import train_step

from .clock import interleaved, milliseconds


def _step_way(stops: tuple[float, ...], batch: int, size: int):
    data = oatlib.load_data("shapes", n_train=batch, n_val=16, n_test=16, size=size)
    net = oatlib.build("oat", data, stops=stops)
    lambda_stop, _ = sample_stops(stops, batch, torch.Generator().manual_seed(0))
    images = LambdaBatch(data.train.x, data.train.y, lambda_stop, stops)
    attack = oatlib.PGD(8 / 255, 3, best=False)

    def way():
        train_step(net, images, attack, torch.Generator().manual_seed(0))

    return way


def run(rounds: int = 7) -> dict:
    """Each step time over that of the reference (6 stops, batch 128, 16x16), and PGD images per
    second.
    """
    six = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
    many = tuple(i / 20 for i in range(21))
    ways = {
        "reference": _step_way(six, 128, 16),
        "stops_21": _step_way(many, 128, 16),
        "batch_64": _step_way(six, 64, 16),
        "batch_256": _step_way(six, 256, 16),
        "size_32": _step_way(six, 128, 32),
    }
    seconds = interleaved(ways, rounds)
    base = milliseconds(seconds["reference"])
    growth = {
        f"{name}_over_reference": round(milliseconds(s) / base, 3) for name, s in seconds.items()
    }
    return {"step_growth": growth | {"reference_ms": base}, "pgd": _pgd_rate(rounds)}


def _pgd_rate(rounds: int) -> dict:
    data = oatlib.load_data("shapes", n_train=256, n_val=16, n_test=16)
    net = oatlib.build("oat", data)
    plain, attack = net.at(1.0), oatlib.PGD(8 / 255, 20, best=False)
    x, y = data.train.x, data.train.y
    seconds = interleaved({"pgd": lambda: attack(plain, x, y)}, rounds)["pgd"]
    return {"pgd20_images_per_second": round(len(x) / sorted(seconds)[len(seconds) // 2])}
