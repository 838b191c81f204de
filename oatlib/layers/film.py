"""FiLM: the λ dial as a per-channel scale γ and shift β, computed from a code of λ by a small network.

The code says only *which* λ it is; the small network learns what that λ should do to every channel. There are only
as many codes as λ stops, so γ and β are computed once per stop, not once per sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CODES = ("rand", "onehot", "dct", "none")
STARTS = ("identity", "paper")
ROWS = ("paired", "published")  # which rows of the output layer a narrow width uses


def lambda_codes(kind: str, stops: tuple[float, ...], dim: int, generator: torch.Generator) -> Tensor:
    """Return one code per λ stop, (S, d).

    Args:
        kind: "rand", the published default: the first S rows of a random orthogonal d x d matrix.
            "dct": the first S rows of the unnormalised DCT-II matrix, as in OAT's public code. The
            first row has length 2·sqrt(d), the others sqrt(2d): 22.6 and 16 for d = 128.
            "onehot": the rows of the S x S identity (the public code: of the d x d identity).
            "none": the number λ itself, d = 1.
        stops: the λ stops.
        dim: the length d of a code, for "rand" and "dct" only.
        generator: the source of "rand".
    """
    if kind not in CODES:
        raise ValueError(f"unknown λ code {kind!r}: use one of {', '.join(CODES)}")
    if kind == "none":
        return torch.tensor(stops)[:, None]  # the raw scalar, d = 1
    if kind == "onehot":
        return torch.eye(len(stops))
    if dim < len(stops):
        raise ValueError(f"code_dim={dim} is too small for {len(stops)} λ stops: use at least {len(stops)}")
    if kind == "rand":
        return torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0][: len(stops)].contiguous()
    row, column = torch.arange(len(stops))[:, None], torch.arange(dim)[None, :]
    return 2 * torch.cos(math.pi * (column + 0.5) * row / dim)


class FiLM(nn.Module):
    """Linear(d -> 2C), LeakyReLU, Linear(2C -> 2C), LeakyReLU; the halves of the output are γ and β.

    Args:
        code_dim: length d of a code.
        channels: C of the full width.
        start: "identity" begins at γ = 1, β = 0; "paper" keeps the published near-zero start.
        rows: which rows of the output layer a width of c channels uses. "paired": the first c rows of
            γ and the first c of β, so that each channel keeps its γ and its β. "published": the first
            2c rows, so that some γ rows of the full width are β rows of a narrow one.
    """

    def __init__(self, code_dim: int, channels: int, start: str = "identity", rows: str = "paired"):
        super().__init__()
        if start not in STARTS:
            raise ValueError(f"unknown FiLM start {start!r}: use one of {', '.join(STARTS)}")
        if rows not in ROWS:
            raise ValueError(f"unknown FiLM rows {rows!r}: use one of {', '.join(ROWS)}")
        self.channels = channels
        self.rows = rows
        self.hidden = nn.Linear(code_dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)
        if start == "identity":
            with torch.no_grad():
                self.out.weight.mul_(0.1)  # small, so that γ starts near its bias
                self.out.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, codes: Tensor, channels: int | None = None) -> tuple[Tensor, Tensor]:
        """Codes (S, d) -> γ and β, each (S, C), or those of the first `channels` alone."""
        hidden, out = (self.hidden, self.out) if channels in (None, self.channels) else self.sliced(channels)
        return F.leaky_relu(out(F.leaky_relu(hidden(codes)))).chunk(2, dim=-1)

    def sliced(self, channels: int) -> tuple[Callable, Callable]:
        """Return the two layers at a width of c channels: the first 2c hidden units, and the output
        rows that `rows` says."""
        units = 2 * channels
        hidden = partial(F.linear, weight=self.hidden.weight[:units], bias=self.hidden.bias[:units])
        if self.rows == "published":
            weight, bias = self.out.weight[:units], self.out.bias[:units]
        else:
            weight = self.out.weight.unflatten(0, (2, -1))[:, :channels].flatten(0, 1)
            bias = self.out.bias.unflatten(0, (2, -1))[:, :channels].flatten()
        return hidden, partial(F.linear, weight=weight[:, :units], bias=bias)
