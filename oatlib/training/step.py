"""The training step: gradients of one batch, the same code for every recipe.

A step attacks the images with λ > 0, sends clean and attacked images through the network, and adds
up the gradients of the loss over the widths. The optimiser step is taken by the training loop
(loop.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..attacks.pgd import PGD
from ..layers.setting import Setting, Width
from ..networks.network import Network
from .losses import LOSSES, Labels


def step(
    net: Network,
    x: Tensor,
    y: Tensor,
    stop: Tensor,
    zeros: int,
    attack: PGD,
    generator,
    widths=None,
    amp=False,
) -> Tensor:
    """Add the gradients of one batch to the parameters of a network.

    Every width is attacked separately, and the gradients of all widths are accumulated.

    Args:
        net: The network.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        stop: Index of the λ stop of each image, (N,). Images with λ = 0 must come first.
        zeros: Number of images at the front that have λ = 0. They are not attacked.
        attack: The attack of the preset. The loss of the recipe may replace its objective.
        generator: Source of random starts and of weight noise, on the device of x.
        widths: Widths to train, the largest first. None: the full width only.
        amp: Whether to use automatic mixed precision (bfloat16).

    Returns:
        The loss, a detached scalar. With `width_loss="mean"` it is the mean over the widths,
        otherwise the sum.
    """
    spec, total, teacher = net.spec, 0.0, None
    # In double precision; lam.to(x) below rounds it to the type of x.
    lam = torch.tensor(spec.stops, dtype=torch.float64)[stop]
    widths = widths or [net.width()]
    share = 1 / len(widths) if spec.width_loss == "mean" else 1.0
    for width in widths:
        labels = Labels(y, lam.to(x), zeros, spec.beta, teacher)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            clean, attacked = _logits(net, x, y, lam, zeros, width, attack, generator)
            loss = LOSSES[spec.loss].of(clean, attacked, labels) * share
        loss.backward()
        total += loss.detach()
        # the first width, which is the largest, is the teacher of the others in distillation
        teacher = clean.detach() if teacher is None else teacher
    return total


def _logits(net: Network, x, y, lam: Tensor, zeros: int, width: Width, attack: PGD, generator):
    """Attack the images with λ > 0, then send clean and attacked images through in one forward.

    The attack uses the λ, BatchNorm branch and weights of each image at the given width, in eval
    mode. Clean and attacked images share the forward but not their batch statistics. Unattacked
    images use the weights without noise. Returns logits of the unattacked and of the attacked
    images.
    """
    loss, noise = LOSSES[net.spec.loss], generator
    first = len(x) if loss.both else zeros  # number of images that pass through unattacked
    images, setting = x[:first], net.setting(lam[:first], first, width).on_clean_path()
    if zeros < len(x):
        hard = net.setting(lam[zeros:], len(x) - zeros, width)
        if net.spec.redraw == "step":  # the update must sample the same noise as the attack
            noise = torch.Generator(generator.device).set_state(generator.get_state())
        # .forward is not a module, so the attack freezes nothing: a folded network has no need of
        # it
        f = net.bind_stops(hard, generator).forward
        attacked = loss.aim(attack, f, x[zeros:])(f, x[zeros:], y[zeros:], generator)
        images, setting = torch.cat([images, attacked]), Setting.join(setting, hard)
    try:
        logits = net.train()(images, setting, noise=noise)
    finally:
        net.eval()
    return logits[:first], logits[first:]
