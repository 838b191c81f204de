"""An image of one pixel: an attack on it, drawn, for lesson 10b."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from . import figures
from .walk import Loss, climb

IMAGE, EPS, STEPS = 0.5, 0.3, 20
GRID = torch.linspace(IMAGE - EPS, IMAGE + EPS, 601)[:, None]


def pixel(scale: float, wave: float) -> Callable[[Tensor], Tensor]:
    """Return a network with three classes for images of one pixel (N, 1).

    Class 0 is true. The network is fooled at one narrow place.

    Args:
        scale: Factor on all logits.
        wave: Height of waves that hide the place.
    """

    def f(p: Tensor) -> Tensor:
        edge = 0.5 - 12 * (p - 0.66).abs() + wave * torch.sin(2 * torch.pi * p / 0.15)
        return scale * torch.cat([0 * edge, edge, 0 * edge - 6], 1)

    return f


def draw(
    scale: float,
    wave: float,
    loss_name: str,
    loss: Loss,
    size: float,
    halve: Callable | None,
    questions: Tensor,
) -> tuple[go.Figure, str]:
    """Draw the margin, the loss, and the steps of an attack on one pixel.

    Args:
        scale: Factor on all logits.
        wave: Height of the waves.
        loss_name: Name of the loss, for its axis.
        loss: What the attack increases.
        size: Length of the first step.
        halve: Decides which steps are halved, see `climb`. None: none.
        questions: Points of the search without gradients, (M, 1).

    Returns:
        The figure, and a sentence.
    """
    f = pixel(scale, wave)
    image, label = torch.tensor([[IMAGE]]), torch.tensor([0])
    steps = climb(f, image, label, EPS, STEPS, loss, size, halve)[:, 0]

    def margin(points: Tensor) -> Tensor:
        return (f(points)[:, 1] - f(points)[:, 0]) / scale

    def seen(points: Tensor) -> Tensor:
        return loss(f(points), label.expand(len(points)))

    fig = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    for row, height in enumerate((margin, seen), 1):
        place = {"row": row, "col": 1, "showlegend": row == 1}
        line = {"mode": "lines", "line": {"color": figures.INK}, "name": "the function"}
        fig.add_scatter(x=GRID[:, 0], y=height(GRID), **line, **place)
        look = {"mode": "lines+markers", "name": "steps of the attack", **figures.style(1)}
        fig.add_scatter(x=steps[:, 0], y=height(steps), **look, **place)
    dots = {"color": figures.COLOURS[0], "symbol": "x", "size": 7}
    fig.add_scatter(
        x=questions[:, 0],
        y=margin(questions),
        name=f"{len(questions)} random questions",
        mode="markers",
        marker=dots,
        row=1,
        col=1,
    )
    fig.add_hrect(y0=0, y1=1.2, fillcolor=figures.tint(2), line_width=0, row=1, col=1)
    takeaway = "The attack has to find the narrow place where the margin is above 0."
    figures.layout(fig, height=470, takeaway=takeaway)
    fig.update_xaxes(title_text=f"the pixel (the image is at {IMAGE})", row=2, col=1)
    for row, name in enumerate(("margin", loss_name), 1):
        fig.update_yaxes(title_text=name, row=row, col=1)
    fooled = (margin(steps) > 0).nonzero()[:, 0].tolist()
    told = f"<b>fools it</b> after step {fooled[0]}" if fooled else "<b>never fools it</b>"
    hits = int((margin(questions) > 0).sum())
    return fig, f"The attack {told}; {hits} of {len(questions)} random questions fool it."
