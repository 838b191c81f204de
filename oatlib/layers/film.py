"""FiLM layers: a scale γ and a shift β per channel, computed from a code of λ by a small network.

FiLM (feature-wise linear modulation) is how a network with fixed weights responds to λ. The code
only identifies λ. The small network learns what that λ should do to each channel. There are only as
many codes as λ stops, so γ and β are computed once per stop, not once per sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Codes = Literal["rand", "onehot", "dct", "none"]  # kinds of λ codes, see lambda_codes
Start = Literal["identity", "paper"]  # initial γ and β, see FiLM
Rows = Literal["paired", "published"]  # rows of the output layer that a narrow width uses, see FiLM
CODES, STARTS, ROWS = get_args(Codes), get_args(Start), get_args(Rows)


def lambda_codes(
    kind: str, stops: tuple[float, ...], dim: int, generator: torch.Generator
) -> Tensor:
    """Return one code per λ stop.

    Args:
        kind: What the codes are.
            * "rand", the published default: the first S rows of a random orthogonal d x d matrix.
            * "dct": the first S rows of the unnormalised DCT-II matrix, as in OAT's public code.
              The first row has length 2·sqrt(d), the others sqrt(2d): 22.6 and 16 for d = 128.
            * "onehot": the rows of the S x S identity (the public code: of the d x d identity).
            * "none": the number λ itself, d = 1.
        stops: The S λ stops.
        dim: Length d of a code. Used by "rand" and "dct" only.
        generator: Source of random numbers. Used by "rand" only.

    Returns:
        Tensor of shape (S, d).

    Raises:
        ValueError: If `kind` is unknown, or if `dim` is smaller than the number of stops ("rand"
            and "dct").
    """
    if kind not in CODES:
        raise ValueError(f"unknown λ code {kind!r}: use one of {', '.join(CODES)}")
    if kind == "none":
        return torch.tensor(stops)[:, None]  # the raw scalar, d = 1
    if kind == "onehot":
        return torch.eye(len(stops))
    if dim < len(stops):  # a d x d matrix has only d rows
        raise ValueError(
            f"code_dim={dim} is too small for {len(stops)} λ stops: use at least {len(stops)}"
        )
    if kind == "rand":
        return torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0][
            : len(stops)
        ].contiguous()
    # The DCT-II matrix without normalisation.
    row, column = torch.arange(len(stops))[:, None], torch.arange(dim)[None, :]
    return 2 * torch.cos(math.pi * (column + 0.5) * row / dim)


class FiLM(nn.Module):
    """Compute γ and β: Linear(d -> 2C), LeakyReLU, Linear(2C -> 2C), LeakyReLU.

    The first half of the output is γ, the second half is β.

    Args:
        code_dim: Length d of a code.
        channels: Number of channels C at the full width.
        start: "identity" starts near γ = 1, β = 0. "paper" keeps the published start near zero.
        rows: Rows of the output layer that a width of c channels uses. "paired": the first c rows
            of γ and the first c of β, so that each channel keeps its γ and its β. "published": the
            first 2c rows, so that some γ rows of the full width are β rows of a narrow one.

    Raises:
        ValueError: If `start` or `rows` is unknown.
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
        """Return γ and β of every code.

        Args:
            codes: Codes of shape (S, d).
            channels: Number of channels c at a narrower width. None: the full width C.

        Returns:
            γ and β, each of shape (S, c).
        """
        # hidden: (S, d) -> (S, 2c), out: (S, 2c) -> (S, 2c)
        hidden, out = (
            (self.hidden, self.out) if channels in (None, self.channels) else self.sliced(channels)
        )
        return F.leaky_relu(out(F.leaky_relu(hidden(codes)))).chunk(2, dim=-1)

    def sliced(self, channels: int) -> tuple[Callable, Callable]:
        """Return the two linear layers at a width of c channels.

        The hidden layer keeps its first 2c units. The output layer keeps the rows that `self.rows`
        selects.

        Args:
            channels: Number of channels c.

        Returns:
            Two functions, hidden layer and output layer: (S, d) -> (S, 2c) and (S, 2c) -> (S, 2c).
        """
        units = 2 * channels
        hidden = partial(F.linear, weight=self.hidden.weight[:units], bias=self.hidden.bias[:units])
        if self.rows == "published":
            weight, bias = self.out.weight[:units], self.out.bias[:units]
        else:
            # The rows are C of γ, then C of β: take the first c of each half.
            weight = self.out.weight.unflatten(0, (2, -1))[:, :channels].flatten(0, 1)
            bias = self.out.bias.unflatten(0, (2, -1))[:, :channels].flatten()
        return hidden, partial(F.linear, weight=weight[:, :units], bias=bias)
