"""`net.at(lam)` against an ordinary network with the same convs: a folded network must cost nothing
extra.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import oatlib

from .clock import interleaved, ratio


class PlainResNet(nn.Module):
    """The convs of `tiny` with biases and ReLUs, as anyone would write them; BatchNorm is folded
    for deployment.
    """

    def __init__(self, classes: int = 8):
        super().__init__()

        def conv(cin, cout, kernel, stride=1):
            return nn.Conv2d(cin, cout, kernel, stride, kernel // 2)

        self.stem = conv(3, 16, 3)
        rows = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.first = nn.ModuleList(conv(a, b, 3, s) for a, b, s in rows)
        self.second = nn.ModuleList(conv(b, b, 3) for _, b, _ in rows)
        self.shortcut = nn.ModuleList(
            nn.Identity() if a == b else conv(a, b, 1, s) for a, b, s in rows
        )
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.stem((x - 0.5) * 4))
        for first, second, shortcut in zip(self.first, self.second, self.shortcut, strict=True):
            x = F.relu(second(F.relu(first(x))) + shortcut(x))
        return self.head(x.mean((2, 3)))


def run(rounds: int = 31) -> dict:
    """{at_ratio: folded / plain, at_speedup: unfolded / folded, for 256 images}."""
    data = oatlib.load_data("shapes", n_train=256, n_val=16, n_test=16)
    net = oatlib.build("oat", data)
    folded, ordinary = net.at(0.3), PlainResNet().eval().to(memory_format=torch.channels_last)
    x = data.train.x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(f):
        return f(x)

    seconds = interleaved(
        {
            "at": lambda: forward(folded),
            "plain": lambda: forward(ordinary),
            "unfolded": lambda: forward(lambda x: net(x, 0.3)),
        },
        rounds,
    )
    return {
        "at_ratio": ratio(seconds, "at", "plain"),
        "at_speedup": ratio(seconds, "unfolded", "at"),
    }
