"""Draw the figures of the course with plotly, all in one style.

The palette is safe for colour-blind readers and legible on light and dark pages. Series differ in
dash and marker as well, never in colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import plotly.graph_objects as go
import torch
from torch import Tensor

from ..evaluation.results import Result, wilson

# contrast of at least 3:1 on white and on near-black
COLOURS = ("#2a86c8", "#e0661a", "#1f9e78", "#c065ad", "#a3861a", "#808080")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
INK, GRID = "#767b80", "rgba(128, 128, 128, 0.25)"  # greys that are legible on both
GAP = 0.35  # between two images of a row, in widths of an image
CAPTION_LINE = 15  # pixels, height of a line under an image
LEGEND_LINE = 19  # pixels
# pixels: what JupyterLab leaves for an output beside its side bar in a window of 1280 pixels
WIDEST = 840


def layout(
    fig: go.Figure,
    x: str = "",
    y: str = "",
    title: str = "",
    height: int = 360,
    takeaway: str = "",
) -> go.Figure:
    """Apply the style of the course to a figure.

    Args:
        fig: The figure; it is changed in place.
        x: Name of the x axis.
        y: Name of the y axis.
        title: Title above the figure.
        height: Height in pixels.
        takeaway: What a reader should see in the figure, one sentence. It is the text alternative
            of the picture in a notebook that is read without running it.

    Returns:
        The same figure.
    """
    axis = {
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "linecolor": INK,
        "ticks": "outside",
        "tickcolor": GRID,
    }
    above = 25 + LEGEND_LINE * _legend_lines([t.name for t in fig.data if t.name])
    fig.update_layout(
        template="none",
        height=height,
        meta={"takeaway": takeaway},
        title={
            "text": title,
            "font": {"size": 15},
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 10},
        },
        font={"color": INK, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=COLOURS,
        hovermode="closest",
        margin={"l": 64, "r": 24, "t": above + (28 if title else 0), "b": 52},
        legend={
            "bgcolor": "rgba(0,0,0,0)",
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
        },
    )
    fig.update_xaxes(title_text=x, automargin=True, **axis)
    fig.update_yaxes(title_text=y, automargin=True, **axis)
    return fig


def _legend_lines(names: Sequence[str]) -> int:
    """Estimate how many lines a legend with these names takes in a notebook."""
    room = WIDEST - 88  # pixels, without the margins
    widths = [round(6.2 * len(name)) + 38 for name in names]
    if sum(widths) <= room:
        return 1
    # plotly then writes the names in columns that are as wide as the longest name
    columns = max(1, room // max(widths))
    return math.ceil(len(names) / columns)


def lines(x: Sequence, series: Mapping[str, Sequence], **about) -> go.Figure:
    """Draw curves over common x values.

    Args:
        x: The x values.
        series: The y values by name of the curve. A tuple of three sequences (y, low, high) also
            draws the band between low and high.
        **about: `x_name` and `y_name` name the axes; `title`, `height` and `takeaway` are
            those of `layout`.

    Returns:
        The figure.

    Example:
        >>> lines(range(3), {"PGD": [0.9, 0.5, 0.4]}, x_name="steps", y_name="robust accuracy")
    """
    fig = go.Figure()
    for i, (name, y) in enumerate(series.items()):
        if isinstance(y, tuple):
            y, low, high = y
            fig.add_scatter(
                x=[*x, *list(x)[::-1]],
                y=[*high, *list(low)[::-1]],
                fill="toself",
                mode="none",
                fillcolor=tint(i),
                hoverinfo="skip",
                showlegend=False,
            )
        fig.add_scatter(x=list(x), y=list(y), name=name, mode="lines+markers", **style(i))
    return layout(fig, about.pop("x_name", ""), about.pop("y_name", ""), **about)


def style(i: int) -> dict:
    """Return the line and the marker of series i, as plotly options.

    Args:
        i: Index of the series. Colours, dashes and markers repeat after six.
    """
    colour = COLOURS[i % len(COLOURS)]
    return {
        "line": {"color": colour, "dash": DASHES[i % len(DASHES)], "width": 2},
        "marker": {"color": colour, "symbol": MARKS[i % len(MARKS)], "size": 8},
    }


def tint(i: int, strength: float = 0.15) -> str:
    """Return the transparent colour of series i, as CSS text.

    Args:
        i: Index of the series.
        strength: Opacity in [0, 1].
    """
    red, green, blue = (int(COLOURS[i % len(COLOURS)][at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def frontier(
    series: Mapping[str, Sequence], title: str = "", height: int = 440, takeaway: str = ""
) -> go.Figure:
    """Draw robust against clean accuracy with 95 % intervals: the trade-off of some networks.

    Args:
        series: By name, the results of `evaluate`, or dicts with "clean", "robust" (accuracies in
            [0, 1]) and "n" (number of images). A dict may also hold "lam", and interval limits
            "clean_low", "clean_high", "robust_low" and "robust_high".
        title: Title above the figure.
        height: Height in pixels.
        takeaway: See `layout`.

    Returns:
        The figure. Its axes are in percent.
    """
    fig, sizes = go.Figure(), set()
    for i, (name, results) in enumerate(series.items()):
        points = [_point(r) for r in results]
        sizes |= {p["n"] for p in points}
        bars = {
            f"error_{axis}": _bars(points, key) | {"color": tint(i, 0.5)}
            for axis, key in (("x", "clean"), ("y", "robust"))
        }
        fig.add_scatter(
            x=[100 * p["clean"] for p in points],
            y=[100 * p["robust"] for p in points],
            name=name,
            text=["" if p["lam"] is None else f"λ = {p['lam']:.3g}" for p in points],
            mode="lines+markers",
            hovertemplate="%{text}<br>clean %{x:.1f} %<br>robust %{y:.1f} %<extra>"
            + name
            + "</extra>",
            **bars,
            **style(i),
        )
    size = f"n {'=' if len(sizes) == 1 else '≥'} {min(sizes)}"
    return layout(
        fig,
        f"clean accuracy, % (bars: 95 % intervals, {size})",
        "robust accuracy, % (upper bounds)",
        title,
        height,
        takeaway,
    )


def _point(r: Result | Mapping) -> dict:
    """Return a result as a dict. Missing intervals are computed (Wilson)."""
    r = vars(r) if isinstance(r, Result) else dict(r)
    for key in ("clean", "robust"):
        if f"{key}_low" not in r:
            r[f"{key}_low"], r[f"{key}_high"] = wilson(round(r[key] * r["n"]), r["n"])
    return {"lam": None} | r


def _bars(points: Sequence[Mapping], key: str) -> dict:
    """Return error bars of "clean" or "robust" for plotly, in percent."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (p[f"{key}_high"] - p[key]) for p in points],
        "arrayminus": [100 * (p[key] - p[f"{key}_low"]) for p in points],
        "width": 2,
        "thickness": 1,
    }


def bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], n: int | None = None, **about
) -> go.Figure:
    """Draw groups of bars, one group per name.

    Args:
        names: Names of the groups; long ones are broken into lines.
        series: By label, one value per name.
        n: Number of images, if the values are accuracies in [0, 1]. They are then drawn in percent
            with 95 % intervals.
        **about: `x_name` and `y_name` name the axes; `title`, `height` and `takeaway` are
            those of `layout`.

    Returns:
        The figure.
    """
    fig, patterns = go.Figure(), ("", "/", ".", "x", "\\", "-")
    short = [fill(str(name), 12, break_long_words=False).replace("\n", "<br>") for name in names]
    for i, (label, values) in enumerate(series.items()):
        scale, spread = (1, None) if n is None else (100, [wilson(round(v * n), n) for v in values])
        error = spread and {
            "type": "data",
            "symmetric": False,
            "thickness": 1.5,
            "color": INK,
            "array": [100 * (high - v) for v, (_, high) in zip(values, spread, strict=True)],
            "arrayminus": [100 * (v - low) for v, (low, _) in zip(values, spread, strict=True)],
        }
        look = {
            "color": COLOURS[i % len(COLOURS)],
            # Far apart: every edge of a line takes bytes in the pictures of a notebook.
            "pattern": {"shape": patterns[i % len(patterns)], "size": 16},
        }
        fig.add_bar(x=short, y=[scale * v for v in values], name=label, error_y=error, marker=look)
    return layout(
        fig,
        about.pop("x_name", ""),
        about.pop("y_name", "" if n is None else "accuracy, %"),
        **about,
    )


def histograms(series: Mapping[str, Tensor], bins: int = 40, **about) -> go.Figure:
    """Draw the distributions of some values as step curves over common bins.

    Args:
        series: Tensors of any shape, by name. Each curve shows fractions of the values of its
            tensor.
        bins: Number of bins between the smallest and the largest value of all.
        **about: `x_name` and `y_name` name the axes; `title`, `height` and `takeaway` are
            those of `layout`.

    Returns:
        The figure.
    """
    flat = {
        name: torch.as_tensor(values).detach().flatten().float() for name, values in series.items()
    }
    low, high = (
        min(v.min().item() for v in flat.values()),
        max(v.max().item() for v in flat.values()),
    )
    high = high if high > low else low + 1  # all values are equal
    edges, fig = torch.linspace(low, high, bins + 1), go.Figure()
    for i, (name, values) in enumerate(flat.items()):
        share = torch.histc(values, bins, low, high) / len(values)
        fig.add_scatter(
            x=edges[:-1].tolist(),
            y=share.tolist(),
            name=name,
            mode="lines",
            fill="tozeroy",
            fillcolor=tint(i),
            line={**style(i)["line"], "shape": "hv"},
        )
    return layout(fig, about.pop("x_name", ""), about.pop("y_name", "share of values"), **about)


def images(
    rows: Mapping[str, Sequence[Tensor]],
    captions: Mapping[str, Sequence[str]] | None = None,
    tile: int = 104,
    takeaway: str = "",
) -> go.Figure:
    """Draw rows of images, with captions under them if there are any.

    Args:
        rows: Images (C, H, W) with pixels in [0, 1], by name of the row.
        captions: One text per image, by name of the row. It is broken into lines at " · ", which
            `captions` of explorer/description.py uses, and at "<br>".
        tile: Width of an image in pixels; less if a row would not fit.
        takeaway: See `layout`.

    Returns:
        The figure.
    """
    fig, captions = go.Figure(), captions or {}
    longest, top = max(map(len, rows.values())), 0.0
    room = max(len(name) for name in rows) * 8 + 16  # pixels, for the names of the rows
    tile = min(tile, (WIDEST - room - 8) / (longest * (1 + GAP)))
    line = CAPTION_LINE / tile
    for name, pictures in rows.items():
        for column, picture in enumerate(pictures):
            z = (
                (picture.detach().clamp(0, 1) * 255)
                .round()
                .byte()
                .expand(3, -1, -1)
                .permute(1, 2, 0)
            )
            size, left = len(z), column * (1 + GAP)
            fig.add_image(
                z=z.tolist(),
                x0=left + 0.5 / size,
                y0=top + 0.5 / size,
                dx=1 / size,
                dy=1 / size,
                hovertemplate="%{z}<extra></extra>",
            )
        below = [text.replace(" · ", "<br>") for text in captions.get(name, ())]
        for column, text in enumerate(below):
            middle = column * (1 + GAP) + 0.5
            fig.add_annotation(
                text=text, x=middle, y=top + 1.02, yanchor="top", showarrow=False, font={"size": 11}
            )
        fig.add_annotation(
            text=name, x=0, xref="paper", xshift=-8, y=top + 0.5, xanchor="right", showarrow=False
        )
        most_lines = max((text.count("<br>") + 1 for text in below), default=0)
        top += 1.1 + line * (max(2, most_lines) + 0.5 if below else 0)
    layout(fig, height=round(top * tile) + 24, takeaway=takeaway)
    fig.update_layout(margin={"l": room, "r": 8, "t": 12, "b": 12})
    # The height is fixed and the width is that of the page. Where the page is wider than needed,
    # the images stay at its left; where it is narrower, they become smaller.
    fixed = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(range=[0, longest * (1 + GAP)], constraintoward="left", **fixed)
    fig.update_yaxes(range=[top, 0], constraintoward="top", scaleanchor="x", **fixed)
    return fig


def stacked(*captions: Sequence[str]) -> list[str]:
    """Join several lists of captions, so that each image gets one line of every list.

    Args:
        *captions: Lists of equal length, one caption per image.

    Returns:
        One text per image, with lines separated by "<br>".

    Example:
        >>> stacked(["class: cat"], ["the network says: dog"])
        ['class: cat<br>the network says: dog']
    """
    return ["<br>".join(lines) for lines in zip(*captions, strict=True)]


def change(x: Tensor, x_adv: Tensor, factor: float) -> Tensor:
    """Return the perturbation of an attack as an image: magnified, around grey.

    The text that shows the image should state the factor.

    Args:
        x: Images (..., C, H, W) with pixels in [0, 1].
        x_adv: Attacked images of the same shape.
        factor: Factor by which the perturbation is magnified.

    Returns:
        Images of the same shape with pixels in [0, 1]; 0.5 means no change.
    """
    return (0.5 + factor * (x_adv - x)).clamp(0, 1)
