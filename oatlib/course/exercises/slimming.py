"""Exercises of lesson 06: one network with several widths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import Wrong, exercise, same


def _sliced_conv(x: Tensor, weight: Tensor, out: int) -> Tensor:
    return F.conv2d(x, weight[:out, : x.shape[1]], padding=weight.shape[-1] // 2)


@exercise(_sliced_conv, "oatlib.layers.slim.SlimConv")
def sliced_conv(theirs) -> None:
    """x (N, C, H, W), weight (outputs, inputs, k, k), out -> first out outputs, from C inputs."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(2, 3, 5, 5, generator=generator),
        torch.randn(8, 6, 3, 3, generator=generator),
    )
    try:
        got = theirs(x, weight, 4)
    except NotImplementedError:
        raise
    except RuntimeError:
        raise Wrong(
            "the weight does not fit the images: it is (outputs, inputs, k, k), so cut its first "
            "dimension to out and "
            "its second to x.shape[1]."
        ) from None
    if isinstance(got, Tensor) and got.shape == (2, 8, 5, 5):
        raise Wrong("it still has all outputs: cut the first dimension of the weight to out.")
    if isinstance(got, Tensor) and got.shape == (2, 4, 3, 3):
        raise Wrong("the picture became smaller: pad by k // 2 on every side.")
    same(
        got,
        _sliced_conv(x, weight, 4),
        "it should keep the FIRST outputs and inputs, with no other change.",
    )
    large = torch.randn(8, 6, 5, 5, generator=generator)
    got, want = theirs(x, large, 4), _sliced_conv(x, large, 4)
    if got.shape != want.shape:
        raise Wrong("it fits kernels of size 3 only: pad by k // 2, whatever k is.")
    same(got, want, "with a kernel of size 5 it is another convolution.")


def _calibrated_stats(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    norm = nn.BatchNorm2d(batches[0].shape[1], momentum=None)
    with torch.no_grad():
        for batch in batches:
            norm(batch)
    return norm.running_mean, norm.running_var


@exercise(_calibrated_stats, "oatlib.networks.calibrate.take_statistics")
def calibrated_stats(theirs) -> None:
    """batches (each (N, C, H, W)) -> mean (C,), variance (C,), averaged over the batches."""
    generator = torch.Generator().manual_seed(1)
    batches = [(k + 1) * torch.randn(4, 3, 2, 2, generator=generator) + k for k in range(3)]
    mean, variance = _calibrated_stats(batches)
    got = theirs(batches)
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("it should return two tensors: mean, variance.")
    if isinstance(got[0], Tensor) and got[0].dim() > 1:
        raise Wrong(
            "a channel has one mean for all images and all pixels: reduce over dimensions 0, 2 and "
            "3."
        )
    same(got[0], mean, "the mean should be the plain average of the means of the batches.")
    if isinstance(got[1], Tensor) and got[1].shape == variance.shape:
        _mistaken(got[1], batches)
    same(
        got[1],
        variance,
        "the variance should be the plain average of the variances of the batches.",
    )


def _mistaken(got: Tensor, batches: Sequence[Tensor]) -> None:
    """Raise Wrong if this is one of the variances that are often computed instead."""
    biased = torch.stack([b.var((0, 2, 3), unbiased=False) for b in batches]).mean(0)
    if torch.allclose(got, biased, atol=1e-5):
        raise Wrong(
            "this is the biased variance; BatchNorm stores the unbiased one, which divides by one "
            "less."
        )
    if torch.allclose(got, torch.stack([b.std((0, 2, 3)) for b in batches]).mean(0), atol=1e-5):
        raise Wrong("this is the standard deviation; BatchNorm stores its square, the variance.")
    if torch.allclose(got, torch.cat(list(batches)).var((0, 2, 3)), atol=1e-3):
        raise Wrong(
            "this is the variance of all batches thrown together; average the variances of the "
            "batches."
        )


def _slim_step(f, x: Tensor, y: Tensor, widths: Sequence[float]) -> float:
    total = 0.0
    for width in sorted(widths, reverse=True):
        loss = F.cross_entropy(f(x, width), y)
        loss.backward()
        total += loss.item()
    return total


class _Slim(nn.Module):
    """A linear map that uses fewer features at a narrow width, and logs the requested widths."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(4, 8, generator=generator))
        self.asked: list[float] = []

    def forward(self, x: Tensor, width: float) -> Tensor:
        self.asked.append(width)
        kept = int(8 * width)
        return F.linear(x[:, :kept], self.weight[:, :kept])


@exercise(_slim_step, "oatlib.training.step.train_step")
def slim_step(theirs) -> None:
    """f(x, width), x, y, widths -> sum of the losses; the summed gradients are in .grad."""
    generator, widths = torch.Generator().manual_seed(3), [0.25, 0.5, 1.0]
    x, y = torch.randn(10, 8, generator=generator), torch.randint(0, 4, (10,), generator=generator)
    mine, right = _Slim(), _Slim()
    total = _slim_step(right, x, y, widths)
    got = theirs(mine, x, y, list(widths))
    if mine.weight.grad is None:
        raise Wrong("no gradient has arrived: call backward() on the losses.")
    if sorted(mine.asked) != widths:
        raise Wrong(
            f"each width should be asked once; it asked for {mine.asked or 'none'} of {widths}."
        )
    if torch.allclose(mine.weight.grad * len(widths), right.weight.grad, atol=1e-5):
        raise Wrong("these are averaged gradients, as OATS has them; here they should be summed.")
    same(
        mine.weight.grad,
        right.weight.grad,
        "the gradients of all widths should add up in .grad; clear nothing between.",
    )
    if mine.asked != widths[::-1]:
        raise Wrong(f"the largest width should come first; it asked in the order {mine.asked}.")
    if got is None or abs(float(got) - total) > 1e-4:
        raise Wrong("it should return the sum of the losses of all widths.")
