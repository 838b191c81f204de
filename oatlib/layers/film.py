"""FiLM: the λ dial as a per-channel scale γ and shift β, computed from a code of λ by a small network.

The code says only *which* λ it is; the small network learns what that λ should do to every channel. There are only
as many codes as λ stops, so γ and β are computed once per stop, not once per sample.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CODES = ("rand", "onehot", "dct", "none")
STARTS = ("identity", "paper")


def lambda_codes(kind: str, stops: tuple[float, ...], dim: int, generator: torch.Generator) -> Tensor:
    """One code per λ stop, (S, d). `rand`: rows of a random orthogonal d x d matrix (the published default)."""
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
    basis = math.sqrt(2 / dim) * torch.cos(math.pi * (column + 0.5) * row / dim)
    return torch.where(row == 0, basis / math.sqrt(2), basis)


class FiLM(nn.Module):
    """Linear(d -> 2C), LeakyReLU, Linear(2C -> 2C), LeakyReLU; the halves of the output are γ and β.

    `start="identity"` begins at γ = 1, β = 0; `start="paper"` keeps the published near-zero start.
    """

    def __init__(self, code_dim: int, channels: int, start: str = "identity"):
        super().__init__()
        if start not in STARTS:
            raise ValueError(f"unknown FiLM start {start!r}: use one of {', '.join(STARTS)}")
        self.hidden = nn.Linear(code_dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)
        if start == "identity":
            with torch.no_grad():
                self.out.weight.mul_(0.1)  # small, so that γ starts near its bias
                self.out.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (S, d) -> γ and β, each (S, C)."""
        return F.leaky_relu(self.out(F.leaky_relu(self.hidden(codes)))).chunk(2, dim=-1)
