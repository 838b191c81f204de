"""The parts that learners write in lessons 01 to 06, as oatlib would write them in a lesson.

They are the reference solutions of these exercises. They use nothing of oatlib, so that a learner
can read them from top to bottom. `as_network` copies a trained `DialNet` into a `Network` of the
library, which the explorer, the suite and the audit can use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.load import Data
from ..networks.network import Network
from ..training.recipes import build

CHANNELS = (16, 32, 64)  # of the three blocks of DialNet
CODE_DIM = 16  # length of a code of λ


def pgd(
    net: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    steps: int,
    step_size: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return attacked images: projected gradient ascent, random start, best iterate.

    Args:
        net: Function from images to logits.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        eps: Radius of the ball.
        steps: Number of steps.
        step_size: Length of a step.
        generator: Source of the random start, on the CPU. None: that of PyTorch.

    Returns:
        For each image the iterate with the highest cross-entropy, (N, C, H, W), detached. The start
        and the point after the last step are iterates, too.
    """
    # a random point of the ball
    noise = 2 * torch.rand(x.shape, generator=generator).to(x) - 1
    x_adv = (x + eps * noise).clamp(0, 1)
    best = x_adv.clone()
    best_loss = x.new_full((len(x),), -torch.inf)
    for step in range(steps + 1):
        x_adv = x_adv.detach().requires_grad_()
        losses = F.cross_entropy(net(x_adv), y, reduction="none")  # (N,)
        # for each image, keep the iterate with the highest loss
        better = losses.detach() > best_loss
        best[better] = x_adv.detach()[better]
        best_loss[better] = losses.detach()[better]
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(losses.sum(), x_adv)
        # one step up the loss, back into the ball, back into [0, 1]
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return best


def my_attack(
    net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, eps: float, gradients: int
) -> Tensor:
    """Return attacked images: PGD that spends its gradients on images that are still right.

    An image is dropped once it is misclassified. The gradients that it saves go to the other
    images. The steps shrink from 2 eps to 0.

    Args:
        net: Function from images to logits.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        eps: Radius of the ball.
        gradients: Number of gradients per image, on average over the images.
    """
    x_adv = x.clone()
    active = torch.arange(len(x), device=x.device)  # indices of images that are still right
    total = gradients * len(x)
    left = total  # gradients that are not spent yet
    while 0 < len(active) <= left:
        iterate = x_adv[active].requires_grad_()
        logits = net(iterate)
        loss = F.cross_entropy(logits, y[active], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, iterate)
        size = 2 * eps * left / total
        left -= len(active)
        # one step up the loss, back into the ball, back into [0, 1]
        ahead = iterate.detach() + size * gradient.sign()
        ahead = (x[active] + (ahead - x[active]).clamp(-eps, eps)).clamp(0, 1)
        # only images that are still right take the step
        is_right = logits.argmax(1) == y[active]
        active = active[is_right]
        x_adv[active] = ahead[is_right]
    return x_adv


class DualBN(nn.Module):
    """Two BatchNorms: row 0 for clean images, row 1 for attacked ones.

    Args:
        channels: Number of channels C.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.scale = nn.Parameter(torch.ones(2, channels))
        self.shift = nn.Parameter(torch.zeros(2, channels))
        self.register_buffer("mean", torch.zeros(2, channels))
        self.register_buffer("var", torch.ones(2, channels))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Normalise x (N, C, H, W); branch (N,) holds 0 for clean and 1 for attacked images."""
        out = torch.empty_like(x)
        for row in (0, 1):
            part = x[branch == row]
            if len(part) == 0:
                continue
            mean, var = self.mean[row], self.var[row]
            if self.training:
                mean = part.mean((0, 2, 3))
                var = part.var((0, 2, 3), correction=0)
                pixels = part[:, 0].numel()
                with torch.no_grad():
                    self.mean[row].lerp_(mean, self.momentum)
                    unbiased = var * pixels / (pixels - 1)
                    self.var[row].lerp_(unbiased, self.momentum)
            # one factor per channel: faster than a division and a product on every pixel
            factor = self.scale[row] * (var + self.eps).rsqrt()
            centred = part - mean[:, None, None]
            out[branch == row] = centred * factor[:, None, None] + self.shift[row, :, None, None]
        return out


class FiLM(nn.Module):
    """Compute γ and β of every channel from a code of λ.

    Args:
        code_dim: Length d of a code.
        channels: Number of channels C.
    """

    def __init__(self, code_dim: int, channels: int):
        super().__init__()
        self.hidden = nn.Linear(code_dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)
        with torch.no_grad():  # the identity start: γ near 1, β near 0
            self.out.weight.mul_(0.1)
            self.out.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (N, d) -> γ and β, each (N, C)."""
        hidden = F.leaky_relu(self.hidden(code))
        return F.leaky_relu(self.out(hidden)).chunk(2, dim=1)


class Block(nn.Module):
    """conv -> dual BatchNorm -> FiLM -> ReLU.

    Args:
        cin: Channels of the input.
        cout: Channels of the output.
        stride: Stride of the conv.
        code_dim: Length of a code of λ.
        film: Class of the generator.
    """

    def __init__(self, cin: int, cout: int, stride: int, code_dim: int, film: type = FiLM):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
        self.norm = DualBN(cout)
        self.film = film(code_dim, cout)

    def forward(self, x: Tensor, branch: Tensor, code: Tensor) -> Tensor:
        """x (N, cin, H, W), branch (N,), code (N, d) -> (N, cout, H/stride, W/stride)."""
        x = self.norm(self.conv(x), branch)
        gamma, beta = self.film(code)
        return torch.relu(gamma[:, :, None, None] * x + beta[:, :, None, None])


class DialNet(nn.Module):
    """Three blocks and a linear layer, told λ by its stop: the network of lessons 04 and 05.

    Args:
        block: Class of the blocks, called as block(cin, cout, stride, code_dim).
        stops: λ stops, ascending.
        cin: Channels of an image.
        classes: Number of classes.
        generator: Source of the codes of λ: random directions of length 1, at right angles.
        norm: Class of the dual BatchNorm that replaces the one of each block. None: keep it.
        film: Class of the generator that replaces the one of each block. None: keep it.
    """

    def __init__(
        self,
        block: Callable[[int, int, int, int], nn.Module] = Block,
        stops: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0),
        cin: int = 3,
        classes: int = 8,
        generator: torch.Generator | None = None,
        norm: Callable[[int], nn.Module] | None = None,
        film: Callable[[int, int], nn.Module] | None = None,
    ):
        super().__init__()
        self.stops = tuple(stops)
        square = torch.randn(CODE_DIM, CODE_DIM, generator=generator)
        self.register_buffer("codes", torch.linalg.qr(square)[0][: len(self.stops)])
        sizes = zip((cin, *CHANNELS), CHANNELS, (1, 2, 2), strict=False)
        self.blocks = nn.ModuleList(block(*size, CODE_DIM) for size in sizes)
        # The library's block holds the library's norm and generator. Replace them by the learner's.
        for built, channels in zip(cast(Any, self.blocks), CHANNELS, strict=True):
            if norm is not None:
                built.norm = norm(channels)
            if film is not None:
                built.film = film(CODE_DIM, channels)
        self.head = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: Tensor, stop: Tensor) -> Tensor:
        """x (N, C, H, W) in [0, 1], stop (N,): index of each image's λ -> logits (N, classes)."""
        branch = (stop > 0).long()  # λ = 0 uses the clean BatchNorm
        code = self.codes[stop]  # (N, d)
        x = (x - 0.5) * 4
        for block in self.blocks:
            x = block(x, branch, code)
        return self.head(x.mean((2, 3)))


def as_network(net: DialNet, data: Data) -> Network:
    """Copy a `DialNet` into a `Network` of oatlib, which computes the same.

    Args:
        net: The network. Its blocks may be those of a learner. They must have `conv`, `norm` (with
            scale, shift, mean and var, each (2, C)) and `film` (with the layers hidden and out).
        data: The data set that it was trained on.

    Returns:
        A network with the recipe `oat` and the backbone `plain`, in eval mode.
    """
    copied = build("oat", data, backbone="plain", stops=net.stops, code_dim=CODE_DIM)
    with torch.no_grad():
        copied.codes.copy_(net.codes)
        # modules of the learner, which mypy does not know
        for block, unit in zip(cast(Any, net.blocks), copied.body.units, strict=True):
            unit.conv.weight.copy_(block.conv.weight)
            _copy_norm(block.norm, unit.norm.pairs[0])
            unit.film.load_state_dict(block.film.state_dict())
        copied.body.head.each[0].load_state_dict(net.head.state_dict())
    return copied.eval()


def sliced_conv(x: Tensor, weight: Tensor, out: int, stride: int | tuple[int, ...] = 1) -> Tensor:
    """Apply the corner of a conv's weight that belongs to a narrow network.

    Args:
        x: Features (N, c, H, W) with the first c of the conv's input channels.
        weight: Weight (cout, cin, k, k) of the conv at full width, k odd.
        out: Number of output channels to compute.
        stride: Stride of the conv.

    Returns:
        Features (N, out, H/stride, W/stride).
    """
    corner = weight[:out, : x.shape[1]]
    return F.conv2d(x, corner, None, stride, weight.shape[-1] // 2)


class SwitchBN(nn.Module):
    """A dual BatchNorm for every width.

    Args:
        outs: Number of channels at each width, ascending.
    """

    def __init__(self, outs: Sequence[int]):
        super().__init__()
        self.each = nn.ModuleList(DualBN(out) for out in outs)

    def forward(self, x: Tensor, branch: Tensor, index: int) -> Tensor:
        """Normalise x (N, outs[index], H, W); branch (N,); index: which width."""
        return self.each[index](x, branch)


def narrow_film(film: Any, code: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Compute γ and β of the first channels, with the first units of both layers of a generator.

    Args:
        film: A generator with the layers `hidden` and `out`, such as `FiLM`.
        code: Codes (N, d).
        channels: Number of channels c of the narrow network.

    Returns:
        γ and β, each (N, c).
    """
    units = 2 * channels
    hidden = F.linear(code, film.hidden.weight[:units], film.hidden.bias[:units])
    # the rows of the output layer are C rows of γ, then C rows of β: c of each are kept
    weight = torch.cat([half[:channels, :units] for half in film.out.weight.chunk(2)])
    bias = torch.cat([half[:channels] for half in film.out.bias.chunk(2)])
    return F.leaky_relu(F.linear(F.leaky_relu(hidden), weight, bias)).chunk(2, dim=1)


class SlimBlock(nn.Module):
    """`Block` at several widths: sliced conv -> dual BatchNorm of the width -> FiLM -> ReLU.

    Args:
        cin: Channels of the input at full width.
        outs: Channels of the output at each width, ascending.
        stride: Stride of the conv.
        code_dim: Length of a code of λ.
    """

    def __init__(self, cin: int, outs: Sequence[int], stride: int, code_dim: int):
        super().__init__()
        self.outs = tuple(outs)
        self.conv = nn.Conv2d(cin, outs[-1], 3, stride, padding=1, bias=False)
        self.norm = SwitchBN(outs)
        self.film = FiLM(code_dim, outs[-1])

    def forward(self, x: Tensor, branch: Tensor, code: Tensor, index: int) -> Tensor:
        """x (N, c, H, W), branch (N,), code (N, d), index -> (N, outs[index], H/s, W/s)."""
        out = self.outs[index]
        x = sliced_conv(x, self.conv.weight, out, self.conv.stride)
        x = self.norm(x, branch, index)
        gamma, beta = narrow_film(self.film, code, out)
        return torch.relu(gamma[:, :, None, None] * x + beta[:, :, None, None])


class SlimDialNet(nn.Module):
    """`DialNet` with a second dial, the width: the network of lesson 06.

    Args:
        block: Class of the blocks, called as block(cin, outs, stride, code_dim).
        widths: Fractions of the channels, ascending, the last 1.
        stops: λ stops, ascending.
        cin: Channels of an image.
        classes: Number of classes.
        generator: Source of the codes of λ, see `DialNet`.
    """

    def __init__(
        self,
        block: Callable[[int, Sequence[int], int, int], nn.Module] = SlimBlock,
        widths: Sequence[float] = (0.25, 0.5, 1.0),
        stops: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0),
        cin: int = 3,
        classes: int = 8,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.widths, self.stops = tuple(widths), tuple(stops)
        square = torch.randn(CODE_DIM, CODE_DIM, generator=generator)
        self.register_buffer("codes", torch.linalg.qr(square)[0][: len(self.stops)])
        sizes = zip((cin, *CHANNELS), CHANNELS, (1, 2, 2), strict=False)
        self.blocks = nn.ModuleList(
            block(before, [int(width * channels) for width in self.widths], stride, CODE_DIM)
            for before, channels, stride in sizes
        )
        self.head = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: Tensor, stop: Tensor, index: int) -> Tensor:
        """x (N, C, H, W) in [0, 1], stop (N,), index of the width -> logits (N, classes)."""
        branch = (stop > 0).long()  # λ = 0 uses the clean BatchNorm
        code = self.codes[stop]  # (N, d)
        x = (x - 0.5) * 4
        for block in self.blocks:
            x = block(x, branch, code, index)
        pooled = x.mean((2, 3))  # (N, c)
        return F.linear(pooled, self.head.weight[:, : pooled.shape[1]], self.head.bias)


def oats_step(
    net: SlimDialNet,
    x: Tensor,
    y: Tensor,
    stop: Tensor,
    n_clean: int,
    attack: Callable,
    loss: Callable,
) -> Tensor:
    """Add the gradients of one batch to the parameters: the mean over the widths.

    Args:
        net: The network.
        x: Images (N, C, H, W).
        y: Labels (N,).
        stop: Index of each image's λ (N,), with n_clean zeros at the front.
        n_clean: Number of images with λ = 0.
        attack: Function (f, x, y) -> attacked images.
        loss: Function (clean, attacked, y, lam, n_clean) -> loss, such as `hybrid_loss`.

    Returns:
        The mean of the losses of the widths, detached.
    """
    lam = torch.tensor(net.stops)[stop]
    rest = stop[n_clean:]
    total = torch.zeros(())
    # the largest width first
    for index in reversed(range(len(net.widths))):
        # attack this width
        net.eval()

        def f(images: Tensor, index: int = index) -> Tensor:
            return net(images, rest, index)

        x_adv = attack(f, x[n_clean:], y[n_clean:])
        # two passes at this width
        net.train()
        clean = net(x, stop, index)
        attacked = net(x_adv, rest, index)
        value = loss(clean, attacked, y, lam, n_clean) / len(net.widths)
        value.backward()
        total += value.detach()
    return total


def as_slim_network(net: SlimDialNet, data: Data) -> Network:
    """Copy a `SlimDialNet` into a `Network` of oatlib, which computes the same.

    Args:
        net: The network. Its blocks may be those of a learner. They must have `conv`, `film` (with
            the layers hidden and out) and `norm.each` (dual BatchNorms with scale, shift, mean and
            var, each (2, c)).
        data: The data set that it was trained on.

    Returns:
        A network with the recipe `oats` and the backbone `plain`, in eval mode.
    """
    copied = build(
        "oats",
        data,
        backbone="plain",
        widths=net.widths,
        stops=net.stops,
        code_dim=CODE_DIM,
    )
    with torch.no_grad():
        copied.codes.copy_(net.codes)
        # modules of the learner, which mypy does not know
        for block, unit in zip(cast(Any, net.blocks), copied.body.units, strict=True):
            unit.conv.weight.copy_(block.conv.weight)
            for own, pair in zip(block.norm.each, unit.norm.pairs, strict=True):
                _copy_norm(own, pair)
            unit.film.load_state_dict(block.film.state_dict())
        copied.body.head.each[0].load_state_dict(net.head.state_dict())
    return copied.eval()


def _copy_norm(own: Any, pair: Any) -> None:
    """Copy a dual BatchNorm of the lessons into one of the library."""
    for row, norm in enumerate((pair.clean, pair.adv)):
        norm.weight.copy_(own.scale[row])
        norm.bias.copy_(own.shift[row])
        norm.running_mean.copy_(own.mean[row])
        norm.running_var.copy_(own.var[row])
