"""BatchNorm whose batch is spread over several processes.

`torch.nn.SyncBatchNorm` works on GPUs only, replaces modules, and takes the batch as a whole. Here
a batch has a run of samples for each branch of a dual BatchNorm, widths share a BatchNorm through
views, and attacks use the same modules in eval mode. So the modules stay as they are, and the batch
statistics are computed here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._processes import Processes


def normalise(bn: nn.BatchNorm2d, x: Tensor, processes: Processes | None) -> Tensor:
    """Apply a BatchNorm. In train mode its statistics can come from the samples of all processes.

    Args:
        bn: The BatchNorm. In train mode its running statistics are updated.
        x: Features of the samples of this process, (N, C, H, W). Other processes may have another
            N, but all must have at least one sample.
        processes: The processes that share the statistics. None: this one alone.

    Returns:
        Tensor of shape (N, C, H, W).
    """
    if processes is None or not bn.training:
        return bn(x)
    with torch.autocast(x.device.type, enabled=False):
        features = x.float()
        # Number of values of a channel and their sum, over all processes.
        number = features.new_tensor([features.numel() // features.shape[1]])
        sums = processes.differentiable_sum(torch.cat([features.sum((0, 2, 3)), number]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        # The mean is subtracted before squaring: a difference of large numbers would lose digits.
        centred = features - mean[:, None, None]
        variance = processes.differentiable_sum(centred.square().sum((0, 2, 3))) / total
        scale = torch.rsqrt(variance + bn.eps) * bn.weight
        normalised = centred * scale[:, None, None] + bn.bias[:, None, None]
    _update(bn, mean.detach(), variance.detach() * (total / (total - 1)))
    return normalised.to(x.dtype)


@torch.no_grad()
def _update(bn: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of a batch, as PyTorch does. Some have none."""
    if bn.running_mean is None or bn.running_var is None or bn.momentum is None:
        return
    assert bn.num_batches_tracked is not None
    bn.num_batches_tracked.add_(1)
    bn.running_mean.lerp_(mean, bn.momentum)
    bn.running_var.lerp_(variance, bn.momentum)
