"""What a width costs in time, next to what its multiply-adds say; and what more widths cost in
training.
"""

from __future__ import annotations

import torch

import oatlib
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops, sample_widths
from oatlib.training.step import train_step

from .clock import interleaved, milliseconds

IMAGES = 256
SHAPES = {
    "tiny": (16, IMAGES),
    "resnet18": (32, 16),
}  # image size, images: enough to be bound by arithmetic


def _forward_ways(net, images: int, size: int) -> dict:
    x = torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)

    def way(fraction):
        plain = net.at(0.0, fraction)

        def call():
            with torch.no_grad():
                plain(x)

        return call

    return {fraction: way(fraction) for fraction in net.spec.widths}


def _step_way(recipe: str, widths: int, batch: int = 64):
    data = oatlib.load_data("shapes", n_train=batch, n_val=16, n_test=16)
    net = oatlib.build(recipe, data, widths=widths)
    lambda_stop, _ = sample_stops(net.spec.stops, batch, torch.Generator().manual_seed(0))
    images = LambdaBatch(data.train.x, data.train.y, lambda_stop, net.spec.stops)
    attack = oatlib.PGD(8 / 255, 2, best=False)
    trained_widths = sample_widths(net.spec, torch.Generator())

    def call():
        train_step(net, images, attack, torch.Generator().manual_seed(0), trained_widths)

    macs = sum(oatlib.cost(net, width=w).macs for w in net.spec.widths)
    return call, macs


def run(rounds: int = 15) -> dict:
    """{forward_over_full: time and multiply-adds of each width over width 1, step_over_one_width:
    the same of K}.
    """
    found: dict = {"forward_over_full": {}, "step_over_one_width": {}}
    for backbone, (size, images) in SHAPES.items():
        data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8, size=size)
        net = oatlib.build("oats", data, backbone, widths=4)
        seconds = interleaved(_forward_ways(net, images, size), rounds)
        full, macs = milliseconds(seconds[1.0]), oatlib.cost(net).macs
        rows = {
            f"{w:g}": {
                "time": round(milliseconds(s) / full, 3),
                "multiply_adds": round(oatlib.cost(net, width=w).macs / macs, 3),
            }
            for w, s in seconds.items()
        }
        found["forward_over_full"][backbone] = {
            "images": images,
            "size": size,
            "full_ms": full,
        } | rows
    ways = {k: _step_way("oats", k) for k in (1, 2, 4, 8)}
    seconds = interleaved({k: call for k, (call, _) in ways.items()}, max(3, rounds // 3), 1)
    one = milliseconds(seconds[1])
    for k, (_, macs) in ways.items():
        ratios = {
            "time": round(milliseconds(seconds[k]) / one, 3),
            "multiply_adds": round(macs / ways[1][1], 3),
        }
        found["step_over_one_width"][str(k)] = ratios
    return found
