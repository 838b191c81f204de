"""Add up over processes what a training step has computed in each of them.

Gradients are exchanged once per step, after all widths. `DistributedDataParallel` would exchange
them inside of each backward pass, after a forward pass of the module that it wraps. Here a step has
a backward pass per width, the attack runs folded copies of the network, and a width leaves
parameters unused. One sum at the end needs no hooks and no search for unused parameters, and the
clipping that follows sees the gradient of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._processes import Processes
from ..networks.network import Network


@torch.no_grad()
def add_up(net: Network, loss: Tensor, share: float, processes: Processes) -> Tensor:
    """Replace gradients by their sum over all processes, and return the sum of the losses.

    With batch statistics of their own, the processes also average the running statistics of
    BatchNorm. So all tensors of the network stay the same in all processes.

    Args:
        net: The network, after a training step on a part of a batch.
        loss: Loss of the part times its share, a scalar.
        share: Share of the part in the batch, see `LambdaBatch`.
        processes: The processes.
    """
    if processes.alone:
        return loss
    parameters = list(net.parameters())
    statistics = [] if processes.sync_batchnorm else _running_statistics(net)
    # A parameter that no process has used keeps no gradient: the optimiser then leaves it alone.
    is_used = loss.new_tensor([parameter.grad is not None for parameter in parameters])
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    # Everything in one tensor, because many small messages are slow.
    tensors = [loss, is_used, *gradients, *(share * buffer for buffer in statistics)]
    packed = processes.sum(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    sums = packed.split([tensor.numel() for tensor in tensors])
    loss = sums[0].view(())
    n_used = sums[1].tolist()
    for parameter, gradient, used, total in zip(
        parameters, gradients, n_used, sums[2:], strict=False
    ):
        if used:
            # copy_ keeps the memory layout of the gradient
            parameter.grad = gradient.copy_(total.view(gradient.shape))
    for buffer, total in zip(statistics, sums[2 + len(parameters) :], strict=True):
        buffer.copy_(total)
    return loss


def _running_statistics(net: Network) -> list[Tensor]:
    """Return the running means and variances of all BatchNorms."""
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    pairs = [(bn.running_mean, bn.running_var) for bn in norms]
    return [buffer for pair in pairs for buffer in pair if buffer is not None]
