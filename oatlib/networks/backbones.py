"""Backbones built from units: ResNets, Wide ResNets and MobileNetV2.

A backbone contains no code for a recipe. It hands the recipe's options to its units. ResNets and
Wide ResNets place convs, norms and FiLM where OAT's public code places them. MobileNetV2 has other
strides than the public slimmable one; docs/deviations.md lists the differences.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.head import Head
from ..layers.unit import Dials, Unit, UnitOptions

# `slim` of a stem: only its outputs follow the width. An image has equal channels at all widths.
IMAGE_IN = (False, True)


def _relu(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


def _network_input(x: Tensor, centre: bool) -> Tensor:
    """Map pixels from [0, 1] to [-2, 2], or with centre=False leave them as they are.

    The normalisation is part of the network, so that all other code works on pixels. Convs pad with
    0, which is grey in a centred image and black in an image that is not centred.
    """
    return (x - 0.5).mul_(4) if centre else x


def _pooled(x: Tensor) -> Tensor:
    """Average over H and W, (N, C, H, W) -> (N, C). Unlike `mean`, gradients stay channels_last."""
    return F.avg_pool2d(x, x.shape[2:]).flatten(1)


class BasicBlock(nn.Module):
    """ResNet's block: FiLM after both norms, no FiLM on the shortcut.

    (N, cin, H, W) -> (N, cout, H/stride, W/stride)

    Args:
        options: The options of the recipe.
        cin: Input channels at the full width.
        cout: Output channels at the full width.
        stride: Stride of the first conv and of the shortcut.
    """

    def __init__(self, options: UnitOptions, cin: int, cout: int, stride: int):
        super().__init__()
        self.first = Unit(options, cin, cout, 3, stride)
        self.second = Unit(options, cout, cout, 3)
        same = stride == 1 and cin == cout
        self.shortcut = None if same else Unit(options, cin, cout, 1, stride, film=False)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        # both summands: (N, cout, H/stride, W/stride)
        out = self.second(_relu(self.first(x, dials)), dials)
        return _relu(out.add_(x if self.shortcut is None else self.shortcut(x, dials)))


class ResNet(nn.Module):
    """ResNet for small images (He et al. 2016): a 3x3 stem, then stages of basic blocks.

    Each stage but the first halves the image.

    Args:
        options: The options of the recipe.
        cin: Channels of an image.
        classes: Number of classes.
        stem: Channels of the stem.
        stages: Channels and number of blocks of each stage.
        stem_stride: Stride of the stem. 2 leaves a quarter of the pixels to the blocks, so twice
            the channels cost the same.
        centre: Whether pixels are mapped from [0, 1] to [-2, 2].
    """

    def __init__(
        self,
        options: UnitOptions,
        cin: int,
        classes: int,
        stem: int,
        stages: tuple[tuple[int, int], ...],
        stem_stride: int = 1,
        centre: bool = True,
    ):
        super().__init__()
        self.centre = centre
        self.stem = Unit(options.early(), cin, stem, 3, stem_stride, slim=IMAGE_IN)
        blocks, width = [], stem
        for i, (channels, depth) in enumerate(stages):
            # mask_in="late" masks the last two stages only
            own = options if i >= len(stages) - 2 else options.early()
            for j in range(depth):
                blocks.append(BasicBlock(own, width, channels, 2 if i > 0 and j == 0 else 1))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.head = Head(width, classes, options.widths, options.own_heads)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        # (N, stem, H/stem_stride, W/stem_stride)
        x = _relu(self.stem(_network_input(x, self.centre), dials))
        for block in self.blocks:
            x = block(x, dials)
        return self.head(_pooled(x), dials)


class Plain(nn.Module):
    """A chain of units without shortcuts: the network that learners write themselves.

    Args:
        options: The options of the recipe.
        cin: Channels of an image.
        classes: Number of classes.
        stages: Channels and stride of each unit.
        centre: Whether pixels are mapped from [0, 1] to [-2, 2].
    """

    def __init__(
        self,
        options: UnitOptions,
        cin: int,
        classes: int,
        stages: tuple[tuple[int, int], ...],
        centre: bool = True,
    ):
        super().__init__()
        self.centre = centre
        units: list[Unit] = []
        for i, (channels, stride) in enumerate(stages):
            # mask_in="late" masks the last two stages only
            own = options if i >= len(stages) - 2 else options.early()
            slim = (True, True) if units else IMAGE_IN
            units.append(Unit(own, cin, channels, 3, stride, slim=slim))
            cin = channels
        self.units = nn.ModuleList(units)
        self.head = Head(cin, classes, options.widths, options.own_heads)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        x = _network_input(x, self.centre)
        for unit in self.units:
            x = _relu(unit(x, dials))  # (N, channels, H/stride, W/stride)
        return self.head(_pooled(x), dials)


class PreActBlock(nn.Module):
    """Wide ResNet's block: norm and FiLM come before each conv.

    The first norm is therefore a unit without a conv.

    (N, cin, H, W) -> (N, cout, H/stride, W/stride)

    Args:
        options: The options of the recipe.
        cin: Input channels at the full width.
        cout: Output channels at the full width.
        stride: Stride of the first conv and of the shortcut.
    """

    def __init__(self, options: UnitOptions, cin: int, cout: int, stride: int):
        super().__init__()
        self.enter = Unit(options, cin, cin, 0)  # norm and FiLM, no conv
        self.first = Unit(options, cin, cout, 3, stride)
        self.second = Unit(options, cout, cout, 3, norm=False)
        same = stride == 1 and cin == cout
        self.shortcut = None if same else Unit(options, cin, cout, 1, stride, norm=False)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        active = _relu(self.enter(x, dials))  # (N, cin, H, W)
        out = self.second(_relu(self.first(active, dials)), dials)  # (N, cout, H/stride, W/stride)
        return out.add_(x if self.shortcut is None else self.shortcut(active, dials))


class WideResNet(nn.Module):
    """Wide ResNet, WRN-depth-widen (Zagoruyko & Komodakis 2016).

    It has three stages of pre-activation blocks. The last norm has no FiLM. There is no dropout:
    published codes of this family disagree (0.3 and 0), and 0 keeps the network free of hidden
    randomness.

    Args:
        options: The options of the recipe.
        cin: Channels of an image.
        classes: Number of classes.
        depth: Number of layers, 6n + 4 for n blocks per stage.
        widen: Factor on the channels of the stages, which are 16, 32 and 64 for a factor of 1.
        centre: Whether pixels are mapped from [0, 1] to [-2, 2].
    """

    def __init__(
        self,
        options: UnitOptions,
        cin: int,
        classes: int,
        depth: int,
        widen: int,
        centre: bool = True,
    ):
        super().__init__()
        self.centre = centre
        self.stem = Unit(options.early(), cin, 16, 3, norm=False, slim=IMAGE_IN)
        blocks, width = [], 16
        for i, channels in enumerate((16 * widen, 32 * widen, 64 * widen)):
            # mask_in="late" masks the last two stages only
            own = options if i > 0 else options.early()
            for j in range((depth - 4) // 6):
                blocks.append(PreActBlock(own, width, channels, 2 if i > 0 and j == 0 else 1))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.last = Unit(options, width, width, 0, film=False)
        self.head = Head(width, classes, options.widths, options.own_heads)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        x = self.stem(_network_input(x, self.centre), dials)  # (N, 16, H, W)
        for block in self.blocks:
            x = block(x, dials)
        # (N, F, H/4, W/4) -> (N, F) -> (N, classes)
        return self.head(_pooled(_relu(self.last(x, dials))), dials)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, filter each channel separately, project.

    FiLM is placed where a ReLU6 follows.

    (N, cin, H, W) -> (N, cout, H/stride, W/stride)

    Args:
        options: The options of the recipe.
        cin: Input channels at the full width.
        cout: Output channels at the full width.
        stride: Stride of the depthwise conv.
        expand: Factor on the channels inside the block. 1: no expanding conv.
    """

    def __init__(self, options: UnitOptions, cin: int, cout: int, stride: int, expand: int):
        super().__init__()
        inner = cin * expand
        self.expand = Unit(options, cin, inner, 1) if expand > 1 else None
        self.depthwise = Unit(options, inner, inner, 3, stride, depthwise=True)
        self.project = Unit(options, inner, cout, 1, film=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        # (N, cin, H, W) -> (N, inner, H, W) -> (N, inner, H/s, W/s) -> (N, cout, H/s, W/s)
        out = x if self.expand is None else F.relu6(self.expand(x, dials))
        out = self.project(F.relu6(self.depthwise(out, dials)), dials)
        return out.add_(x) if self.residual else out


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018), with strides for small images: 32x32 pixels become 4x4.

    The last conv keeps its 1280 outputs at every width, as in SOLAR's public code. That code
    differs in three other points: 32x32 pixels become 8x8, most narrow layers have other numbers of
    channels, and all widths share the BatchNorm of the last conv.

    Args:
        options: The options of the recipe.
        cin: Channels of an image.
        classes: Number of classes.
        last: Outputs of the last conv.
        centre: Whether pixels are mapped from [0, 1] to [-2, 2].
    """

    def __init__(
        self, options: UnitOptions, cin: int, classes: int, last: int = 1280, centre: bool = True
    ):
        super().__init__()
        self.centre = centre
        self.stem = Unit(options.early(), cin, 32, 3, slim=IMAGE_IN)
        # channels, number of blocks and stride of the first block
        rows = (
            (16, 1, 1),
            (24, 2, 1),
            (32, 3, 2),
            (64, 4, 2),
            (96, 3, 1),
            (160, 3, 2),
            (320, 1, 1),
        )
        blocks, width = [], 32
        for i, (channels, depth, stride) in enumerate(rows):
            # mask_in="late" masks the last two stages only; the first stage does not expand
            own, expand = options if i >= 5 else options.early(), 6 if i > 0 else 1
            for j in range(depth):
                blocks.append(
                    InvertedResidual(own, width, channels, stride if j == 0 else 1, expand)
                )
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.last = Unit(options, width, last, 1, slim=(True, False))
        self.head = Head(last, classes, options.widths, options.own_heads, slim=False)

    def forward(self, x: Tensor, dials: Dials | None = None) -> Tensor:
        x = F.relu6(self.stem(_network_input(x, self.centre), dials))  # (N, 32, H, W)
        for block in self.blocks:
            x = block(x, dials)
        # (N, 1280, H/8, W/8) -> (N, 1280) -> (N, classes)
        return self.head(_pooled(F.relu6(self.last(x, dials))), dials)


# Backbones by name, with their sizes filled in.
BACKBONES = {
    # 8 layers, for lessons on two CPU cores
    "tiny": partial(ResNet, stem=16, stages=((16, 1), (32, 1), (64, 1))),
    # 8 layers, for photographs on two CPU cores: wide layers on few pixels keep a CPU busy
    "small": partial(ResNet, stem=64, stages=((64, 1), (128, 1), (256, 1)), stem_stride=2),
    # 3 convs and a linear layer, for networks that learners write and train within a lesson
    "plain": partial(Plain, stages=((16, 1), (32, 2), (64, 2))),
    "resnet18": partial(ResNet, stem=64, stages=((64, 2), (128, 2), (256, 2), (512, 2))),
    "resnet34": partial(ResNet, stem=64, stages=((64, 3), (128, 4), (256, 6), (512, 3))),
    "wrn-16-8": partial(WideResNet, depth=16, widen=8),
    "wrn-40-2": partial(WideResNet, depth=40, widen=2),
    "mobilenetv2": MobileNetV2,
}
