"""The training step: gradients of one batch, the same code for every recipe.

A step attacks images with λ > 0 (all of them, or with the loss "sampled" a random part), sends
clean and attacked images through the network, and adds up the gradients of the loss over the
widths. The optimiser step is taken by the training loop (loop.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..attacks.freeze import NonFiniteError
from ..attacks.pgd import PGD
from ..layers.setting import Setting, Width
from ..networks.compiled import Compiler
from ..networks.network import Network
from .labels import Labels
from .lambda_batch import LambdaBatch
from .losses import TRAINING_LOSSES


def train_step(
    net: Network,
    batch: LambdaBatch,
    attack: PGD,
    generator: torch.Generator | None,
    widths: Sequence[Width] | None = None,
    amp: bool = False,
    compiler: Compiler | None = None,
) -> Tensor:
    """Add the gradients of one batch to the parameters of a network.

    Every width is attacked separately, and the gradients of all widths are accumulated.

    Args:
        net: The network, in eval mode.
        batch: Images, labels, λ stops, and which images are attacked.
        attack: The attack of the preset. The loss of the recipe may replace its objective.
        generator: Source of random starts and of weight noise, on the device of the images.
        widths: Widths to train, the largest first. None: the full width only.
        amp: Whether to use automatic mixed precision (bfloat16).
        compiler: Compiles the network that is attacked. None: it runs as it is.

    Returns:
        The loss, a detached scalar. With `width_loss="mean"` it is the mean over the widths,
        otherwise the sum. If the batch is a part of one, loss and gradients are those of the part,
        times its share: the sum over the processes belongs to the whole batch.

    Example:
        >>> batch = LambdaBatch(x, y, lambda_stop, net.spec.stops)
        >>> loss = train_step(net, batch, PGD(8 / 255, 3), torch.Generator())
        >>> optimizer.step()
    """
    spec = net.spec
    device_type = batch.images.device.type
    if widths is None:
        widths = [net.width()]
    factor = 1 / len(widths) if spec.width_loss == "mean" else 1.0
    factor *= batch.share
    total = 0.0
    teacher_logits = None
    for width in widths:
        labels = Labels(batch.labels, batch.lam, batch.n_clean, spec.beta, teacher_logits)
        with torch.autocast(device_type, torch.bfloat16, enabled=amp):
            clean, attacked = _logits(net, batch, width, attack, generator, compiler)
            loss = TRAINING_LOSSES[spec.loss].function(clean, attacked, labels) * factor
        loss.backward()
        total += loss.detach()
        # In distillation the first width, which is the largest, teaches the others.
        if teacher_logits is None:
            teacher_logits = clean.detach()
    return total


def _logits(
    net: Network,
    batch: LambdaBatch,
    width: Width,
    attack: PGD,
    generator: torch.Generator | None,
    compiler: Compiler | None,
) -> tuple[Tensor, Tensor]:
    """Attack the images to attack, then send clean and attacked images through in one forward.

    If every image is sent through twice, clean and attacked, the two passes share the forward but
    not their batch statistics, as published. If every image is sent through once, the batch is one
    pass: each BatchNorm takes its statistics from all images of its branch, attacked or not.
    Unattacked images use the weights without noise. Returns logits of the unattacked and of the
    attacked images.
    """
    loss = TRAINING_LOSSES[net.spec.loss]
    noise = generator
    # First the pass of unattacked images: all of them, or those that are not attacked below.
    n_unattacked = len(batch) if loss.all_pass_clean else batch.n_clean
    images = batch.images[:n_unattacked]
    setting = net.setting_of_stops(batch.lambda_stop[:n_unattacked], width).on_clean_path()
    # Then the pass of attacked images.
    if batch.n_clean < len(batch):
        attacked_setting = net.setting_of_stops(batch.lambda_stop[batch.attacked], width)
        if net.spec.redraw == "step":  # the update must sample the same noise as the attack
            noise = torch.Generator(generator.device).set_state(generator.get_state())
        attacked = _attacked_images(net, batch, attacked_setting, attack, generator, compiler)
        images = torch.cat([images, attacked])
        setting = Setting.join(setting, attacked_setting)
        if not loss.all_pass_clean:
            setting = replace(setting, passes=(len(batch),))
    if batch.rows is not None and batch.processes.sync_batchnorm:
        setting = replace(setting, processes=batch.processes)
    try:
        logits = net.train()(images, setting, noise=noise)
    finally:
        net.eval()
    return logits[:n_unattacked], logits[n_unattacked:]


def _attacked_images(
    net: Network,
    batch: LambdaBatch,
    setting: Setting,
    attack: PGD,
    generator: torch.Generator | None,
    compiler: Compiler | None,
) -> Tensor:
    """Return the images to attack, attacked in eval mode.

    The attack sees the network with the λ, BatchNorm branch and weights of each image, at the width
    of the setting.
    """
    x = batch.images[batch.attacked]
    y = batch.labels[batch.attacked]
    bound = net.bind_stops(setting, generator)
    # Neither is a module, so the attack freezes nothing: a folded network does not need it.
    f = bound.forward if compiler is None else compiler(bound)
    attack = TRAINING_LOSSES[net.spec.loss].make_attack(attack, f, x)
    if batch.processes.alone:
        return attack(f, x, y, generator)
    # Random numbers are those of the whole batch. Numbers may fail in one process only.
    x = batch.whole.images[batch.whole.attacked]
    y = batch.whole.labels[batch.whole.attacked]
    with batch.processes.agreed(NonFiniteError, NonFiniteError):
        return attack(f, x, y, generator, batch.attacked_rows)
