"""The course's pictures: plotly, one palette that colour-blind eyes can tell apart, legible on light and dark pages.

Series differ in dash and marker, too, never in colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import plotly.graph_objects as go
import torch
from torch import Tensor

from ..evaluate import Result, wilson

# 3:1 and more on white and on near-black
COLOURS = ("#2a86c8", "#e0661a", "#1f9e78", "#c065ad", "#a3861a", "#808080")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
INK, GRID = "#767b80", "rgba(128, 128, 128, 0.25)"  # in between: legible on white and on near-black
GAP = 0.35  # between two pictures of a row, in pictures
CAPTION_LINE = 0.175  # height of a line under a picture, in pictures
WIDEST = 900  # pixels, so that a notebook in a small window shows all of a row


def layout(fig: go.Figure, x: str = "", y: str = "", title: str = "", height: int = 360) -> go.Figure:
    """Give a figure the looks of the course; x and y name the axes."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": INK, "ticks": "outside", "tickcolor": GRID}
    fig.update_layout(
        template="none", height=height, title={"text": title, "font": {"size": 15}}, font={"color": INK, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", colorway=COLOURS, hovermode="closest",
        margin={"l": 64, "r": 24, "t": 72 if title else 44, "b": 52},
        legend={"bgcolor": "rgba(0,0,0,0)", "orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    fig.update_xaxes(title_text=x, automargin=True, **axis)
    fig.update_yaxes(title_text=y, automargin=True, **axis)
    return fig


def lines(x: Sequence, series: Mapping[str, Sequence], **about) -> go.Figure:
    """Curves over x, {name: y}; y may be three sequences (y, low, high), then the band between is drawn.

    `about` goes to `layout`: x and y name the axes as x_name and y_name, title, height.
    """
    fig = go.Figure()
    for i, (name, y) in enumerate(series.items()):
        if isinstance(y, tuple):
            y, low, high = y
            fig.add_scatter(x=[*x, *list(x)[::-1]], y=[*high, *list(low)[::-1]], fill="toself", mode="none",
                            fillcolor=tint(i), hoverinfo="skip", showlegend=False)  # fmt: skip
        fig.add_scatter(x=list(x), y=list(y), name=name, mode="lines+markers", **style(i))
    return layout(fig, about.pop("x_name", ""), about.pop("y_name", ""), **about)


def style(i: int) -> dict:
    """Line and marker of series i."""
    colour = COLOURS[i % len(COLOURS)]
    return {"line": {"color": colour, "dash": DASHES[i % len(DASHES)], "width": 2},
            "marker": {"color": colour, "symbol": MARKS[i % len(MARKS)], "size": 8}}  # fmt: skip


def tint(i: int, strength: float = 0.15) -> str:
    """The colour of series i, see-through."""
    red, green, blue = (int(COLOURS[i % len(COLOURS)][at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def frontier(series: Mapping[str, Sequence], title: str = "", height: int = 440) -> go.Figure:
    """Clean against robust accuracy, {name: results of `evaluate`, or such dicts}, with 95 % intervals."""
    fig, smallest = go.Figure(), None
    for i, (name, results) in enumerate(series.items()):
        points = [_point(r) for r in results]
        smallest = min([p["n"] for p in points] + ([smallest] if smallest else []))
        bars = {
            f"error_{axis}": _bars(points, key) | {"color": tint(i, 0.5)}
            for axis, key in (("x", "clean"), ("y", "robust"))
        }
        fig.add_scatter(
            x=[100 * p["clean"] for p in points], y=[100 * p["robust"] for p in points], name=name,
            text=["" if p["lam"] is None else f"λ = {p['lam']:.3g}" for p in points], mode="lines+markers",
            hovertemplate="%{text}<br>clean %{x:.1f} %<br>robust %{y:.1f} %<extra>" + name + "</extra>",
            **bars, **style(i),
        )  # fmt: skip
    return layout(fig, f"clean accuracy, % (bars: 95 % intervals, n ≥ {smallest})", "robust accuracy, %", title, height)


def _point(r: Result | Mapping) -> dict:
    r = vars(r) if isinstance(r, Result) else dict(r)
    for key in ("clean", "robust"):
        if f"{key}_low" not in r:
            r[f"{key}_low"], r[f"{key}_high"] = wilson(round(r[key] * r["n"]), r["n"])
    return {"lam": None} | r


def _bars(points: Sequence[Mapping], key: str) -> dict:
    return {"type": "data", "symmetric": False, "array": [100 * (p[f"{key}_high"] - p[key]) for p in points],
            "arrayminus": [100 * (p[key] - p[f"{key}_low"]) for p in points], "width": 2, "thickness": 1}  # fmt: skip


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]], n: int | None = None, **about) -> go.Figure:
    """Groups of bars, {series: a value per name}; given n, values are accuracies in [0, 1] with 95 % intervals."""
    fig, patterns = go.Figure(), ("", "/", ".", "x", "\\", "-")
    short = [fill(str(name), 12, break_long_words=False).replace("\n", "<br>") for name in names]
    for i, (label, values) in enumerate(series.items()):
        scale, spread = (1, None) if n is None else (100, [wilson(round(v * n), n) for v in values])
        error = spread and {
            "type": "data", "symmetric": False, "thickness": 1.5, "color": INK,
            "array": [100 * (high - v) for v, (_, high) in zip(values, spread, strict=True)],
            "arrayminus": [100 * (v - low) for v, (low, _) in zip(values, spread, strict=True)],
        }  # fmt: skip
        look = {"color": COLOURS[i % len(COLOURS)], "pattern": {"shape": patterns[i % len(patterns)]}}
        fig.add_bar(x=short, y=[scale * v for v in values], name=label, error_y=error, marker=look)
    return layout(fig, about.pop("x_name", ""), about.pop("y_name", "" if n is None else "accuracy, %"), **about)


def histograms(series: Mapping[str, Tensor], bins: int = 40, **about) -> go.Figure:
    """Shares of values as step curves on common bins, {name: values of any shape}."""
    flat = {name: torch.as_tensor(values).detach().flatten().float() for name, values in series.items()}
    low, high = min(v.min().item() for v in flat.values()), max(v.max().item() for v in flat.values())
    high = high if high > low else low + 1
    edges, fig = torch.linspace(low, high, bins + 1), go.Figure()
    for i, (name, values) in enumerate(flat.items()):
        share = torch.histc(values, bins, low, high) / len(values)
        fig.add_scatter(x=edges[:-1].tolist(), y=share.tolist(), name=name, mode="lines", fill="tozeroy",
                        fillcolor=tint(i), line={**style(i)["line"], "shape": "hv"})  # fmt: skip
    return layout(fig, about.pop("x_name", ""), about.pop("y_name", "share of values"), **about)


def images(
    rows: Mapping[str, Sequence[Tensor]], captions: Mapping[str, Sequence[str]] | None = None, tile: int = 104
) -> go.Figure:
    """Rows of pictures, {name of the row: images (C, H, W) in [0, 1]}, with text under each if wanted.

    A caption is broken into lines at " · ", as those of `world.captions`, and at "<br>".
    """
    fig, captions = go.Figure(), captions or {}
    longest, top = max(map(len, rows.values())), 0.0
    room = max(len(name) for name in rows) * 8 + 16  # for the names of the rows
    tile = min(tile, (WIDEST - room) / (longest * (1 + GAP)))
    for name, pictures in rows.items():
        for column, picture in enumerate(pictures):
            z = (picture.detach().clamp(0, 1) * 255).round().byte().expand(3, -1, -1).permute(1, 2, 0)
            size, left = len(z), column * (1 + GAP)
            fig.add_image(z=z.tolist(), x0=left + 0.5 / size, y0=top + 0.5 / size, dx=1 / size, dy=1 / size,
                          hovertemplate="%{z}<extra></extra>")  # fmt: skip
        below = [text.replace(" · ", "<br>") for text in captions.get(name, ())]
        for column, text in enumerate(below):
            middle = column * (1 + GAP) + 0.5
            fig.add_annotation(text=text, x=middle, y=top + 1.02, yanchor="top", showarrow=False, font={"size": 11})
        fig.add_annotation(text=name, x=0, xref="paper", xshift=-8, y=top + 0.5, xanchor="right", showarrow=False)
        most_lines = max((text.count("<br>") + 1 for text in below), default=0)
        top += 1.1 + CAPTION_LINE * (max(2, most_lines) if below else 0)
    layout(fig, height=round(top * tile) + 24)
    fig.update_layout(margin={"l": room, "r": 8, "t": 12, "b": 12}, width=round(longest * (1 + GAP) * tile) + room)
    fig.update_xaxes(visible=False, range=[0, longest * (1 + GAP)])
    fig.update_yaxes(visible=False, range=[top, 0], scaleanchor="x")
    return fig


def stacked(*captions: Sequence[str]) -> list[str]:
    """Captions below one another: one line of each list under every picture."""
    return ["<br>".join(lines) for lines in zip(*captions, strict=True)]


def change(x: Tensor, x_adv: Tensor, factor: float) -> Tensor:
    """What an attack changed, `factor` times as large, around grey: to be looked at. Say the factor with it."""
    return (0.5 + factor * (x_adv - x)).clamp(0, 1)
