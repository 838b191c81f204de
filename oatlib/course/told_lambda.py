"""The toy of lesson 05: images of two pixels, and a linear classifier that is told λ.

The first pixel shows the class clearly, but is wrong in some images. The second pixel is nearly
always right, but so faint that an attack can replace it. The worst attack on a linear classifier is
known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import Tensor, nn

from .._random import global_seed
from . import figures

N = 512  # points
EPS = 0.1  # radius of the attack
STOPS = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
# The second pixel varies less, so its weight is rescaled. Both weights then learn equally fast.
UNIT = torch.tensor([10.0, 40.0, 10.0])


class Told(nn.Module):
    """λ (N,) -> two weights and a bias for every image, (N, 3).

    Args:
        told: Whether the network is told λ. If not, it always gets 0.
    """

    def __init__(self, told: bool = True):
        super().__init__()
        self.told = told
        self.layers = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 3))

    def forward(self, lam: Tensor) -> Tensor:
        """Return the weights and the bias for each λ."""
        return UNIT * self.layers(5 * self.told * lam[:, None])


class TwoPixels:
    """N points with labels -1 or 1.

    Args:
        seed: Seed of the points.

    Attributes:
        points: Images of two pixels, (N, 2).
        side: The label of each, (N,).
    """

    def __init__(self, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.side = torch.arange(N) % 2 * 2 - 1
        loud = torch.where(torch.rand(N, generator=generator) < 0.85, self.side, -self.side)
        noise = torch.randn(N, 2, generator=generator) * torch.tensor([0.06, 0.02])
        self.points = torch.stack([0.25 * loud, 0.06 * self.side], 1) + noise

    def margins(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margins (N,) of the clean points, and under the worst attack.

        Each pixel moves by ε against the sign of its weight. This costs ε·(|w₁| + |w₂|).
        """
        clean = self.side * ((weights[:, :2] * self.points).sum(1) + weights[:, 2])
        attacked = clean - EPS * weights[:, :2].abs().sum(1)
        return clean, attacked

    def losses(self, weights: Tensor, lam: Tensor) -> Tensor:
        """Return (1-λ)·clean loss + λ·attacked loss of every point, (N,)."""
        clean, attacked = self.margins(weights)
        return (1 - lam) * F.softplus(-clean) + lam * F.softplus(-attacked)

    def learned(
        self, draw: Callable[[torch.Generator], Tensor], told: bool = True, steps: int = 200
    ) -> Told:
        """Train a classifier.

        Args:
            draw: Returns the λ of every point, (N,).
            told: Whether the classifier is told λ.
            steps: Training steps.
        """
        with global_seed(self.seed):
            toy = Told(told)
        generator = torch.Generator().manual_seed(self.seed)
        optimizer = torch.optim.Adam(toy.parameters(), 0.03)
        for _ in range(steps):
            lam = draw(generator)
            optimizer.zero_grad()
            self.losses(toy(lam), lam).mean().backward()
            optimizer.step()
        return toy.requires_grad_(False)

    def accuracies(self, toy: Told, lam: float) -> list[float]:
        """Return clean and robust accuracy at one λ, in percent."""
        margins = self.margins(toy(torch.full((N,), float(lam))))
        return [100 * (margin > 0).float().mean().item() for margin in margins]

    def gradient(self, toy: Told, lam: Tensor) -> Tensor:
        """Return the gradient of the mean loss with respect to all parameters, as one row."""
        loss = self.losses(toy(lam), lam).mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(toy.parameters()))])


def any_stop(generator: torch.Generator, count: int = N) -> Tensor:
    """Draw λ uniformly from the six stops.

    Args:
        generator: Source of randomness.
        count: N: one λ for each point. 1: one λ for all points.
    """
    return STOPS[torch.randint(len(STOPS), (count,), generator=generator)].expand(N)


def draw_border(
    world: TwoPixels, toy: Told, lam: float, apart: Sequence[Sequence[float]], takeaway: str
) -> go.Figure:
    """Draw the plane with the border at one λ, and clean against robust accuracy.

    Args:
        world: The points.
        toy: The classifier.
        lam: λ.
        apart: Accuracies of the dedicated classifiers, for comparison.
        takeaway: What a reader should see.
    """
    fig = make_subplots(1, 2, horizontal_spacing=0.14)
    ink = {"color": figures.INK, "width": 3}
    for i, name in enumerate(("class A", "class B")):
        chosen = world.points[world.side == 2 * i - 1]
        look = figures.style(i)["marker"] | {"size": 5}
        fig.add_scatter(
            x=chosen[:, 0], y=chosen[:, 1], name=name, mode="markers", marker=look, row=1, col=1
        )
    weights = toy(torch.tensor([float(lam)]))[0]
    normal = weights[:2]
    foot = -weights[2] * normal / normal.square().sum()  # nearest to (0, 0)
    along = torch.stack([-normal[1], normal[0]]) / normal.norm()
    ends = torch.stack([foot - along, foot + along])
    fig.add_scatter(x=ends[:, 0], y=ends[:, 1], name="border", mode="lines", line=ink, row=1, col=1)
    fig.add_shape(
        type="rect",
        x0=-EPS,
        x1=EPS,
        y0=-EPS,
        y1=EPS,
        row=1,
        col=1,
        line={"color": figures.INK, "width": 1, "dash": "dot"},
    )
    whole = [world.accuracies(toy, step / 20) for step in range(21)]
    here = [world.accuracies(toy, lam)]
    star = {"size": 16, "symbol": "star", "color": figures.COLOURS[1]}
    series = [
        ("six dedicated", apart, {"mode": "markers"} | figures.style(2)),
        ("all λ of this one", whole, {"mode": "lines+markers"} | figures.style(3)),
        ("this λ", here, {"mode": "markers", "marker": star}),
    ]
    for name, pairs, look in series:
        clean = [pair[0] for pair in pairs]
        robust = [pair[1] for pair in pairs]
        fig.add_scatter(x=clean, y=robust, name=name, row=1, col=2, **look)
    figures.layout(fig, "first pixel", "second pixel", height=420, takeaway=takeaway)
    # equal axes: the ball of the attacker is a square
    fig.update_xaxes(range=[-0.45, 0.45], row=1, col=1)
    fig.update_yaxes(scaleanchor="x", range=[-0.45, 0.45], row=1, col=1)
    fig.update_xaxes(title_text="clean accuracy, %", range=[45, 103], row=1, col=2)
    fig.update_yaxes(title_text="robust accuracy, % (exact)", range=[-3, 103], row=1, col=2)
    return fig
