"""OAT, OATS, PGD-AT and TRADES as their public code lays them out, for tests to compare with.

Written from the equations in plain PyTorch. It uses nothing of oatlib, so that a mistake there is not
repeated here. The layout is that of a small slimmable ResNet:

* Pixels in [0, 1] go into the first conv as they are.
* A batch is sorted. Its first `zeros` images have λ = 0 and use the clean BatchNorm, the others use the
  adversarial one. `zeros=None` is a network with a single BatchNorm.
* FiLM is Linear(d, 2C), LeakyReLU, Linear(2C, 2C), LeakyReLU on the code of λ. The first half of its
  output is γ, the second β, and the output of a BatchNorm becomes γ·x + β.
* A width of c channels uses the first channels of every conv and of the head, the first 2c units of
  FiLM's two layers, and BatchNorms of its own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

STAGES = ((16, 16, 1), (16, 32, 2), (32, 64, 2))  # channels in, channels out, stride


class DualNorm(nn.Module):
    """A clean and an adversarial BatchNorm for every width."""

    def __init__(self, channels, fractions, dual):
        super().__init__()
        sizes = [int(channels * fraction) for fraction in fractions]
        self.clean = nn.ModuleList(nn.BatchNorm2d(c) for c in sizes)
        self.adv = nn.ModuleList(nn.BatchNorm2d(c) for c in sizes) if dual else None

    def forward(self, x, zeros, index):
        if self.adv is None or zeros == len(x):
            return self.clean[index](x)
        if zeros == 0:
            return self.adv[index](x)
        return torch.cat([self.clean[index](x[:zeros]), self.adv[index](x[zeros:])])


class FiLM(nn.Module):
    """Code (N, d) of λ -> γ·x + β."""

    def __init__(self, dim, channels):
        super().__init__()
        self.first = nn.Linear(dim, 2 * channels)
        self.second = nn.Linear(2 * channels, 2 * channels)

    def rows(self, c):
        """Which rows of the second layer give γ, and which give β, at a width of c channels."""
        return slice(0, c), slice(c, 2 * c)

    def forward(self, x, code):
        c = x.shape[1]
        n = 2 * c
        hidden = F.leaky_relu(code @ self.first.weight[:n].T + self.first.bias[:n], 0.01)
        tables = []
        for rows in self.rows(c):
            out = hidden @ self.second.weight[rows, :n].T + self.second.bias[rows]
            tables.append(F.leaky_relu(out, 0.01)[:, :, None, None])
        gamma, beta = tables
        return gamma * x + beta


class ConvNorm(nn.Module):
    """Conv, BatchNorm and, but for shortcuts, FiLM."""

    def __init__(self, options, cin, cout, kernel, stride=1, film=True):
        super().__init__()
        self.fractions = options.fractions
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.norm = DualNorm(cout, options.fractions, options.dual)
        self.film = FiLM(options.dim, cout) if film and options.dim else None

    def forward(self, x, code, zeros, index):
        cout = int(self.conv.out_channels * self.fractions[index])
        weight = self.conv.weight[:cout, : x.shape[1]]
        x = F.conv2d(x, weight, None, self.conv.stride, self.conv.padding)
        x = self.norm(x, zeros, index)
        return x if self.film is None else self.film(x, code)


class Block(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, options, cin, cout, stride):
        super().__init__()
        self.first = ConvNorm(options, cin, cout, 3, stride)
        self.second = ConvNorm(options, cout, cout, 3)
        same = cin == cout and stride == 1
        self.shortcut = None if same else ConvNorm(options, cin, cout, 1, stride, film=False)

    def forward(self, x, code, zeros, index):
        out = F.relu(self.first(x, code, zeros, index))
        out = self.second(out, code, zeros, index)
        passed = x if self.shortcut is None else self.shortcut(x, code, zeros, index)
        return F.relu(out + passed)


@dataclass
class Options:
    """dim: length of a λ code, 0 for no FiLM; fractions of the channels, ascending."""

    dim: int
    fractions: tuple[float, ...]
    dual: bool


class Net(nn.Module):
    """Images (N, 3, H, W) in [0, 1], codes (N, d), how many have λ = 0, index of the width -> logits."""

    def __init__(self, classes, dim=0, fractions=(1.0,), dual=True):
        super().__init__()
        options = Options(dim, fractions, dual)
        self.stem = ConvNorm(options, 3, 16, 3)
        self.blocks = nn.ModuleList(Block(options, *stage) for stage in STAGES)
        self.head = nn.Linear(64, classes)

    def forward(self, x, code=None, zeros=None, index=0):
        x = F.relu(self.stem(x, code, zeros, index))
        for block in self.blocks:
            x = block(x, code, zeros, index)
        features = x.mean((2, 3))
        return features @ self.head.weight[:, : features.shape[1]].T + self.head.bias


@dataclass
class Ball:
    """An L-inf attack: radius, number of steps and their length, in pixel units."""

    eps: float
    steps: int
    size: float


def climb(net, x, start, ball, objective):
    """Sign gradient ascent on objective(logits), in eval mode; only steps are projected, `start` is not."""
    net.eval()
    x_adv = start
    for _ in range(ball.steps):
        x_adv = x_adv.detach().requires_grad_()
        gradient = torch.autograd.grad(objective(net, x_adv), x_adv)[0]
        x_adv = x_adv.detach() + ball.size * gradient.sign()
        x_adv = torch.maximum(torch.minimum(x_adv, x + ball.eps), x - ball.eps)
        x_adv = x_adv.clamp(0, 1)
    net.train()
    return x_adv.detach()


def pgd(net, x, y, code, zeros, index, ball, generator):
    """PGD on the cross-entropy, from a uniform point of the ball."""
    noise = torch.rand(x.shape, dtype=x.dtype, generator=generator) * 2 - 1
    start = (x + ball.eps * noise).clamp(0, 1)

    def objective(net, x_adv):
        return F.cross_entropy(net(x_adv, code, zeros, index), y)

    return climb(net, x, start, ball, objective)


def oat_step(net, batch, indices, ball, generator, order="attack first"):
    """Gradients of (1 - λ)·CE(clean) + λ·CE(attacked), summed over widths. Returns the loss.

    Args:
        batch: images, labels, λ (N,), codes (N, d), and how many λ at the front are 0.
        indices: of the widths, in the order of the public loop.
        order: "clean first" is the public order. The attack then sees running statistics that the clean
            pass has already moved. "clean first, unseen" is the same, but the attack sees those from
            before it.
    """
    x, y, lam, code, zeros = batch
    hard_code = None if code is None else code[zeros:]
    total = 0.0
    net.train()
    for index in indices:
        attacked_net = copy.deepcopy(net) if order == "clean first, unseen" else net

        def attack(target, index=index):
            return pgd(target, x[zeros:], y[zeros:], hard_code, 0, index, ball, generator)

        if order == "attack first":
            x_adv = attack(net)
            clean = net(x, code, zeros, index)
        else:
            clean = net(x, code, zeros, index)
            x_adv = attack(attacked_net)
        attacked = net(x_adv, hard_code, 0, index)

        loss = (1 - lam) * F.cross_entropy(clean, y, reduction="none")
        loss_adv = lam[zeros:] * F.cross_entropy(attacked, y[zeros:], reduction="none")
        loss = (loss.sum() + loss_adv.sum()) / len(x)
        loss.backward()
        total += loss.detach()
    return total


def kl_divergence(clean, attacked):
    """KL(softmax clean || softmax attacked), a mean over the batch."""
    p, log_q = clean.softmax(1), attacked.log_softmax(1)
    return (p * (clean.log_softmax(1) - log_q)).sum() / len(clean)


def trades_step(net, x, y, beta, ball, generator, clip=False):
    """Gradients of CE(clean) + β·KL(clean || attacked). Returns the loss.

    The start x + 0.001·N(0, 1) may leave [0, 1]; clip=True clips it. The clean images pass once; the
    public code sends them through a second time, for the KL.
    """
    net.eval()
    with torch.no_grad():
        target = net(x)
    start = x + 0.001 * torch.randn(x.shape, dtype=x.dtype, generator=generator)
    if clip:
        start = start.clamp(0, 1)
    x_adv = climb(net, x, start, ball, lambda net, x_adv: kl_divergence(target, net(x_adv)))
    clean = net(x)
    attacked = net(x_adv)
    loss = F.cross_entropy(clean, y) + beta * kl_divergence(clean, attacked)
    loss.backward()
    return loss.detach()
