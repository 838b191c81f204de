"""What a training step of each recipe costs next to one of OAT, at the same batch, backbone and
attack.
"""

from __future__ import annotations

import torch

import oatlib
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops
from oatlib.training.step import train_step

from .clock import interleaved, ratio

RECIPES = ("oat", "blend", "float", "floats", "smart")
STEPS = (2, 7)  # of PGD: as in `fast`, as published


def _step_way(recipe: str, steps: int, batch: int = 64):
    data = oatlib.load_data("shapes", n_train=batch, n_val=16, n_test=16)
    net = oatlib.build(recipe, data)
    lambda_stop, _ = sample_stops(net.spec.stops, batch, torch.Generator().manual_seed(0))
    images = LambdaBatch(data.train.x, data.train.y, lambda_stop, net.spec.stops)
    attack = oatlib.PGD(8 / 255, steps, best=False)

    def call():
        train_step(net, images, attack, torch.Generator().manual_seed(0))

    return call


def run(rounds: int = 15) -> dict:
    """{oat_over: {steps of PGD: {recipe: how many times as long a step of OAT takes}}}."""
    found = {}
    for steps in STEPS:
        seconds = interleaved({recipe: _step_way(recipe, steps) for recipe in RECIPES}, rounds)
        found[str(steps)] = {
            recipe: ratio(seconds, "oat", recipe) for recipe in RECIPES if recipe != "oat"
        }
    return {"oat_over": found}
