"""One OAT training step: oatlib against the plain unfolded way, with the same weights, images and
random start.
"""

from __future__ import annotations

import torch

import oatlib
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import OAT_STOPS, sample_stops
from oatlib.training.step import train_step

from . import plain
from .clock import interleaved, ratio

EPS, STEPS, SIZE = 8 / 255, 7, 10 / 255 / 7


def setting(batch: int = 128, size: int = 16):
    """A network, the same network written plainly, and a batch with its λ stops."""
    g = torch.Generator().manual_seed(0)
    data = oatlib.load_data("shapes", n_train=batch, n_val=16, n_test=16, size=size)
    net = oatlib.build("oat", data)
    twin = plain.TinyOAT()
    twin.load_state_dict(plain.plain_names(net.body.state_dict()))
    lambda_stop, n_clean = sample_stops(OAT_STOPS, batch, g)
    return net, twin, data.train.x, data.train.y, lambda_stop, n_clean


def sgd(net):
    """The optimiser of both."""
    return torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)


def run(rounds: int = 15) -> dict:
    """{step_ratio: plain / ours, step_ratio_channels_last: the plain code in our memory layout /
    ours}.
    """
    net, twin, x, y, lambda_stop, n_clean = setting()
    batch = LambdaBatch(x, y, lambda_stop, OAT_STOPS)
    layout = plain.TinyOAT().to(memory_format=torch.channels_last)
    layout.load_state_dict(twin.state_dict())
    lam, code = torch.tensor(OAT_STOPS)[lambda_stop], net.codes[lambda_stop]
    uniform = torch.rand(x[n_clean:].shape, generator=torch.Generator().manual_seed(1))
    noise = (uniform * 2 - 1) * EPS
    attack = oatlib.PGD(EPS, STEPS, SIZE, best=False)
    ours, theirs, theirs_layout = sgd(net), sgd(twin), sgd(layout)

    def our_step():
        ours.zero_grad()
        loss = train_step(net, batch, attack, torch.Generator().manual_seed(1))
        ours.step()
        return loss.item()

    def plain_step(model, optimizer):
        return plain.oat_step(
            model, optimizer, x, y, lam, code, n_clean, EPS, STEPS, SIZE, noise
        ).item()

    first = our_step(), plain_step(twin, theirs)
    if abs(first[0] - first[1]) > 1e-4 * abs(first[1]):
        raise RuntimeError(f"the two steps compute different losses: {first}")
    seconds = interleaved(
        {
            "plain": lambda: plain_step(twin, theirs),
            "ours": our_step,
            "plain_channels_last": lambda: plain_step(layout, theirs_layout),
        },
        rounds,
    )
    return {
        "step_ratio": ratio(seconds, "plain", "ours"),
        "step_ratio_channels_last": ratio(seconds, "plain_channels_last", "ours"),
    }
