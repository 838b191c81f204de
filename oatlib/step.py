"""The one training step of every recipe."""

from __future__ import annotations

import torch
from torch import Tensor

from .attacks import PGD
from .layers.setting import Setting, Width
from .nets import Network
from .recipes import LOSSES, Labels


def step(
    net: Network, x: Tensor, y: Tensor, stop: Tensor, zeros: int, attack: PGD, generator, widths=None, amp=False
) -> Tensor:
    """Gradients of one batch, accumulated over `widths` (default: the full one), each with an attack of its own.

    x (N, C, H, W), y (N,); `stop` (N,) are λ stops, the first `zeros` of them λ = 0. Returns the loss, detached.
    """
    spec, total, teacher = net.spec, 0.0, None
    lam = torch.tensor(spec.stops, dtype=torch.float64)[stop]  # Labels round it to the type of x
    widths = widths or [net.width()]
    share = 1 / len(widths) if spec.width_loss == "mean" else 1.0
    for width in widths:
        labels = Labels(y, lam.to(x), zeros, spec.beta, teacher)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            clean, attacked = _logits(net, x, y, lam, zeros, width, attack, generator)
            loss = LOSSES[spec.loss].of(clean, attacked, labels) * share
        loss.backward()
        total += loss.detach()
        teacher = clean.detach() if teacher is None else teacher
    return total


def _logits(net: Network, x, y, lam: Tensor, zeros: int, width: Width, attack: PGD, generator):
    """Attack the samples with λ > 0, then send clean and attacked images through the network in one forward.

    The attack sees each sample's own λ, BatchNorm branch, weights and width, in eval mode. The two passes share the
    forward but not their batch statistics; unattacked images meet the weights without noise.
    """
    loss, noise = LOSSES[net.spec.loss], generator
    first = len(x) if loss.both else zeros  # how many are sent through unattacked
    images, setting = x[:first], net.setting(lam[:first], first, width).on_clean_path()
    if zeros < len(x):
        hard = net.setting(lam[zeros:], len(x) - zeros, width)
        if net.spec.redraw == "step":  # the update shall draw what the attack has met
            noise = torch.Generator(generator.device).set_state(generator.get_state())
        f = net.bind_stops(hard, generator).forward  # .forward: a folded network has nothing to freeze
        attacked = loss.aim(attack, f, x[zeros:])(f, x[zeros:], y[zeros:], generator)
        images, setting = torch.cat([images, attacked]), Setting.join(setting, hard)
    try:
        logits = net.train()(images, setting, noise=noise)
    finally:
        net.eval()
    return logits[:first], logits[first:]
