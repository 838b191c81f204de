"""Backbones, written once, out of units. They place convs, norms and FiLM as published and know nothing of recipes."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .layers.unit import Dials, Unit, UnitOptions


def _relu(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


def _centred(x: Tensor) -> Tensor:
    """Pixels in [0, 1] to [-2, 2]. The normalisation lives in the network, so that everybody else works on pixels;
    grey becomes 0, which is also what convs pad with."""
    return (x - 0.5).mul_(4)


def _pooled(x: Tensor) -> Tensor:
    """Average over the image, (N, C, H, W) -> (N, C). Unlike `mean`, its gradient keeps channels_last."""
    return F.avg_pool2d(x, x.shape[2:]).flatten(1)


class BasicBlock(nn.Module):
    """ResNet's block: FiLM after both norms, none on the shortcut. (N, cin, H, W) -> (N, cout, H/stride, W/stride)."""

    def __init__(self, options: UnitOptions, cin: int, cout: int, stride: int):
        super().__init__()
        self.first = Unit(options, cin, cout, 3, stride)
        self.second = Unit(options, cout, cout, 3)
        same = stride == 1 and cin == cout
        self.shortcut = None if same else Unit(options, cin, cout, 1, stride, film=False)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        out = self.second(_relu(self.first(x, dials)), dials)
        return _relu(out.add_(x if self.shortcut is None else self.shortcut(x, dials)))


class ResNet(nn.Module):
    """He et al. 2016 for small images: 3x3 stem, stages of basic blocks, each stage but the first halves the image."""

    def __init__(self, options: UnitOptions, cin: int, classes: int, stem: int, stages: tuple[tuple[int, int], ...]):
        super().__init__()
        self.stem = Unit(options, cin, stem, 3)
        blocks, width = [], stem
        for i, (channels, depth) in enumerate(stages):
            for j in range(depth):
                blocks.append(BasicBlock(options, width, channels, 2 if i > 0 and j == 0 else 1))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        x = _relu(self.stem(_centred(x), dials))
        for block in self.blocks:
            x = block(x, dials)
        return self.head(_pooled(x))


class PreActBlock(nn.Module):
    """Wide ResNet's block: norm and FiLM come before each conv, so the first norm stands alone."""

    def __init__(self, options: UnitOptions, cin: int, cout: int, stride: int):
        super().__init__()
        self.enter = Unit(options, cin, cin, 0)  # norm and FiLM, no conv
        self.first = Unit(options, cin, cout, 3, stride)
        self.second = Unit(options, cout, cout, 3, norm=False)
        same = stride == 1 and cin == cout
        self.shortcut = None if same else Unit(options, cin, cout, 1, stride, norm=False)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        active = _relu(self.enter(x, dials))
        out = self.second(_relu(self.first(active, dials)), dials)
        return out.add_(x if self.shortcut is None else self.shortcut(active, dials))


class WideResNet(nn.Module):
    """Zagoruyko & Komodakis 2016, WRN-depth-widen: three stages of pre-activation blocks; the last norm has no FiLM.

    No dropout: published codes of this family disagree (0.3 and 0), and 0 keeps the network free of hidden randomness.
    """

    def __init__(self, options: UnitOptions, cin: int, classes: int, depth: int, widen: int):
        super().__init__()
        self.stem = Unit(options, cin, 16, 3, norm=False)
        blocks, width = [], 16
        for i, channels in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for j in range((depth - 4) // 6):
                blocks.append(PreActBlock(options, width, channels, 2 if i > 0 and j == 0 else 1))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.last = Unit(options, width, width, 0, film=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        x = self.stem(_centred(x), dials)
        for block in self.blocks:
            x = block(x, dials)
        return self.head(_pooled(_relu(self.last(x, dials))))


BACKBONES = {
    "tiny": partial(ResNet, stem=16, stages=((16, 1), (32, 1), (64, 1))),  # 8 layers, for lessons on two cores
    "resnet18": partial(ResNet, stem=64, stages=((64, 2), (128, 2), (256, 2), (512, 2))),
    "resnet34": partial(ResNet, stem=64, stages=((64, 3), (128, 4), (256, 6), (512, 3))),
    "wrn-16-8": partial(WideResNet, depth=16, widen=8),
    "wrn-40-2": partial(WideResNet, depth=40, widen=2),
}
