"""Networks whose tensors have the names and shapes of the papers' public code, for tests to read from files.

Written from the equations in plain PyTorch, with the names of the public repositories as attributes. It uses nothing
of oatlib, so that a mistake there is not repeated here.

* A BatchNorm is `bn1`, a pair `bn1.BN_c` and `bn1.BN_a`. With several widths these end in the index of the width:
  `bn1.BN_c.0`, or `bn1.bn.0` where there is no pair.
* FiLM is `film1.MLP`: Linear, LeakyReLU, Linear. A last LeakyReLU follows the split into γ and β.
* A noisy conv adds level·α·η to its weight, where η has the standard deviation of the weight. α is `conv1.alpha_w`.
* The output layer is `linear` or `fc`, or `output_heads.C` for each number C of features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

TINY = (16, ((16, 1), (32, 1), (64, 1)))  # channels of the stem; channels and blocks of the stages
RESNET34 = (64, ((64, 3), (128, 4), (256, 6), (512, 3)))


@dataclass
class Options:
    """What the parts of a network have.

    dim: length of a λ code, 0 for no FiLM. fractions: of the channels, None for a network without widths. dual: a pair
    of BatchNorms. noise: noisy convs. heads: an output layer per width. pni: shape of α, "layer" or "channel".
    """

    dim: int = 0
    fractions: tuple[float, ...] | None = None
    dual: bool = True
    noise: bool = False
    heads: bool = False
    pni: str = "layer"

    @property
    def listed(self):
        return self.fractions or (1.0,)


@dataclass
class Dials:
    """Code of λ (1, d), whether λ is 0, index of the width, level of the noise."""

    code: torch.Tensor | None = None
    clean: bool = False
    index: int = 0
    level: float = 0.0


def noise_of(weight):
    """η / σ. It depends on the shape only, so that two implementations can have the same."""
    generator = torch.Generator().manual_seed(weight.numel())
    return torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)


class Conv(nn.Conv2d):
    def __init__(self, o, cin, cout, kernel, stride=1):
        super().__init__(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.fractions = o.listed
        if o.noise:
            shape = (1,) if o.pni == "layer" else (cout, 1, 1, 1)
            self.alpha_w = nn.Parameter(torch.full(shape, 0.25))

    def forward(self, x, dials):
        weight = self.weight
        if dials.level:
            weight = weight + dials.level * self.alpha_w * weight.std() * noise_of(weight)
        cout = int(self.out_channels * self.fractions[dials.index])
        return F.conv2d(x, weight[:cout, : x.shape[1]], None, self.stride, self.padding)


class Pair(nn.Module):
    """BN_c and BN_a, or their lists."""

    def __init__(self, o, channels):
        super().__init__()
        make = nn.BatchNorm2d if o.fractions is None else Switch.list_of(o)
        self.BN_c, self.BN_a = make(channels), make(channels)

    def forward(self, x, dials):
        branch = self.BN_c if dials.clean else self.BN_a
        return (branch[dials.index] if isinstance(branch, nn.ModuleList) else branch)(x)


class Switch(nn.Module):
    """A BatchNorm per width."""

    @staticmethod
    def list_of(o):
        return lambda channels: nn.ModuleList(nn.BatchNorm2d(int(channels * w)) for w in o.fractions)

    def __init__(self, o, channels):
        super().__init__()
        self.bn = self.list_of(o)(channels)

    def forward(self, x, dials):
        return self.bn[dials.index](x)


class Single(nn.BatchNorm2d):
    def forward(self, x, dials):
        return super().forward(x)


def norm(o, channels):
    if o.dual:
        return Pair(o, channels)
    return Single(channels) if o.fractions is None else Switch(o, channels)


class FiLM(nn.Module):
    def __init__(self, o, channels):
        super().__init__()
        self.MLP = nn.Sequential(nn.Linear(o.dim, 2 * channels), nn.LeakyReLU(), nn.Linear(2 * channels, 2 * channels))

    def forward(self, x, dials):
        c, first, second = x.shape[1], self.MLP[0], self.MLP[2]
        hidden = F.leaky_relu(F.linear(dials.code, first.weight[: 2 * c], first.bias[: 2 * c]), 0.01)
        out = F.linear(hidden, second.weight[: 2 * c, : 2 * c], second.bias[: 2 * c])
        gamma, beta = (F.leaky_relu(half, 0.01)[:, :, None, None] for half in (out[:, :c], out[:, c:]))
        return gamma * x + beta


class Same(nn.Module):
    def forward(self, x, dials):
        return x


def film(o, channels):
    return FiLM(o, channels) if o.dim else Same()


class Chain(nn.Sequential):
    def forward(self, x, dials):
        for part in self:
            x = part(x, dials)
        return x


class Block(nn.Module):
    """A basic block. Without conditioning, its shortcut is a chain."""

    def __init__(self, o, cin, cout, stride):
        super().__init__()
        self.conv1, self.bn1, self.film1 = Conv(o, cin, cout, 3, stride), norm(o, cout), film(o, cout)
        self.conv2, self.bn2, self.film2 = Conv(o, cout, cout, 3), norm(o, cout), film(o, cout)
        self.mismatch, self.chained = cin != cout or stride > 1, plain(o)
        if self.mismatch and self.chained:
            self.shortcut = Chain(Conv(o, cin, cout, 1, stride), norm(o, cout))
        elif self.mismatch:
            self.conv_sc, self.bn_sc = Conv(o, cin, cout, 1, stride), norm(o, cout)

    def forward(self, x, dials):
        out = F.relu(self.film1(self.bn1(self.conv1(x, dials), dials), dials))
        out = self.film2(self.bn2(self.conv2(out, dials), dials), dials)
        if self.mismatch:
            x = self.shortcut(x, dials) if self.chained else self.bn_sc(self.conv_sc(x, dials), dials)
        return F.relu(out + x)


class WideBlock(nn.Module):
    """BatchNorm and FiLM before each conv."""

    def __init__(self, o, cin, cout, stride):
        super().__init__()
        self.bn1, self.film1, self.conv1 = norm(o, cin), film(o, cin), Conv(o, cin, cout, 3, stride)
        self.bn2, self.film2, self.conv2 = norm(o, cout), film(o, cout), Conv(o, cout, cout, 3)
        self.convShortcut = Conv(o, cin, cout, 1, stride) if cin != cout else None

    def forward(self, x, dials):
        active = F.relu(self.film1(self.bn1(x, dials), dials))
        out = F.relu(self.film2(self.bn2(self.conv1(active, dials), dials), dials))
        return self.conv2(out, dials) + (x if self.convShortcut is None else self.convShortcut(active, dials))


def plain(o):
    """Whether this is a network without conditioning, an S-Net."""
    return not (o.dim or o.dual or o.noise)


class Public(nn.Module):
    """A ResNet or a Wide ResNet: images (N, 3, H, W) in [0, 1] -> logits."""

    def __init__(self, o, size=TINY, classes=10, wide=False):
        super().__init__()
        self.o, self.wide, self.places = o, wide, []
        stem, stages = size
        self.conv1 = Conv(o, 3, stem, 3)
        cin = stem
        for number, (cout, depth) in enumerate(stages, 1):
            kind = WideBlock if wide else Block
            blocks = []
            for j in range(depth):
                blocks.append(kind(o, cin, cout, 2 if number > 1 and j == 0 else 1))
                cin = cout
            place = f"{'layer' if plain(o) and not wide else 'bundle'}{number}"
            setattr(self, place, nn.ModuleList(blocks))
            self.places.append(place)
        self.bn1 = norm(o, cin if wide else stem)
        if not wide:
            self.film1 = film(o, stem)
        if o.heads:
            sizes = [int(cin * w) for w in o.listed]
            self.output_heads = nn.ModuleDict({str(n): nn.Linear(n, classes) for n in sizes})
        else:
            setattr(self, "fc" if wide else "linear", nn.Linear(cin, classes))

    def forward(self, x, dials):
        x = self.conv1(x, dials)
        if not self.wide:
            x = F.relu(self.film1(self.bn1(x, dials), dials))
        for place in self.places:
            for block in getattr(self, place):
                x = block(x, dials)
        if self.wide:
            x = F.relu(self.bn1(x, dials))
        x = x.mean((2, 3))
        if self.o.heads:
            return self.output_heads[str(x.shape[1])](x)
        head = self.fc if self.wide else self.linear
        return F.linear(x, head.weight[:, : x.shape[1]], head.bias)


def wide(depth, widen):
    """Channels and blocks of WRN-depth-widen."""
    return 16, tuple((channels * widen, (depth - 4) // 6) for channels in (16, 32, 64))


def randomised(net, seed=0):
    """The network in eval mode, with every number random, running statistics included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            last = name.rpartition(".")[2]
            if last == "num_batches_tracked":
                tensor.fill_(7)
            elif last == "alpha_w":
                tensor.copy_(0.3 + 0.1 * noise)
            elif last == "running_var":
                tensor.copy_(0.5 + noise.abs())
            elif tensor.ndim == 4:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            elif ".MLP." in name:
                tensor.copy_(noise / tensor.shape[-1] ** 0.5)
                if name.endswith("MLP.2.bias"):
                    tensor.add_(0.7)  # γ and β away from 0
            elif "bn" in name.lower() and last == "weight":
                tensor.copy_(0.5 + 0.3 * noise.abs())
            else:
                tensor.copy_(0.3 * noise)
    return net.eval()
