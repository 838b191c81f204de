"""The plain way to write OAT, as a yardstick: no folding, no routing, FiLM once per sample, default
memory layout.

Written from the equations, independently of `oatlib`, with the same parameter names, so that
weights can be copied and both give the same numbers to rounding. Samples must be ordered: the first
`zeros` have λ = 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class DualBN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.clean, self.adv = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x, zeros):
        if zeros == 0:
            return self.adv(x)
        if zeros == len(x):
            return self.clean(x)
        return torch.cat([self.clean(x[:zeros]), self.adv(x[zeros:])])


class FiLM(nn.Module):
    def __init__(self, dim, channels):
        super().__init__()
        self.hidden, self.out = nn.Linear(dim, 2 * channels), nn.Linear(2 * channels, 2 * channels)

    def forward(self, x, code):
        gamma, beta = F.leaky_relu(self.out(F.leaky_relu(self.hidden(code)))).chunk(2, 1)
        return x * gamma[:, :, None, None] + beta[:, :, None, None]


class Unit(nn.Module):
    def __init__(self, dim, cin, cout, kernel, stride=1, film=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.norm = DualBN(cout)
        self.film = FiLM(dim, cout) if film else None

    def forward(self, x, code, zeros):
        x = self.norm(self.conv(x), zeros)
        return x if self.film is None else self.film(x, code)


class Block(nn.Module):
    def __init__(self, dim, cin, cout, stride):
        super().__init__()
        self.first, self.second = Unit(dim, cin, cout, 3, stride), Unit(dim, cout, cout, 3)
        self.shortcut = Unit(dim, cin, cout, 1, stride, film=False) if cin != cout else None

    def forward(self, x, code, zeros):
        out = self.second(F.relu(self.first(x, code, zeros)), code, zeros)
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x, code, zeros)))


def plain_names(state):
    """The state of an oatlib body of one width under the names of this file."""
    return {
        name.replace(".pairs.0", "").replace(".each.0", ""): tensor
        for name, tensor in state.items()
    }


class TinyOAT(nn.Module):
    """The `tiny` backbone of oatlib with dual BN and FiLM."""

    def __init__(self, dim=128, classes=8, channels=(16, 32, 64)):
        super().__init__()
        a, b, c = channels
        self.stem = Unit(dim, 3, a, 3)
        self.blocks = nn.ModuleList([Block(dim, a, a, 1), Block(dim, a, b, 2), Block(dim, b, c, 2)])
        self.head = nn.Linear(c, classes)

    def forward(self, x, code, zeros):
        x = F.relu(self.stem((x - 0.5) * 4, code, zeros))
        for block in self.blocks:
            x = block(x, code, zeros)
        return self.head(x.mean((2, 3)))


def pgd(net, x, y, code, eps, steps, size, noise):
    """PGD on the network in eval mode with frozen parameters; `noise` is the random start in [-eps,
    eps].
    """
    net.eval()
    for p in net.parameters():
        p.requires_grad_(False)
    x_adv = (x + noise).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_(True)
        loss = F.cross_entropy(net(x_adv, code, 0), y, reduction="sum")
        grad = torch.autograd.grad(loss, x_adv)[0]
        x_adv = x_adv.detach() + size * grad.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    for p in net.parameters():
        p.requires_grad_(True)
    net.train()
    return x_adv


def oat_step(net, optimizer, x, y, lam, code, zeros, eps, steps, size, noise):
    """One training step: attack the samples with λ > 0, a clean and an attacked forward, backward,
    SGD.
    """
    x_adv = pgd(net, x[zeros:], y[zeros:], code[zeros:], eps, steps, size, noise)
    clean = F.cross_entropy(net(x, code, zeros), y, reduction="none")
    adv = F.cross_entropy(net(x_adv, code[zeros:], 0), y[zeros:], reduction="none")
    loss = (((1 - lam) * clean).sum() + (lam[zeros:] * adv).sum()) / len(x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
