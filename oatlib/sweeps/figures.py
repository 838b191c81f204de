"""Draw what a sweep found, in the style of the course.

Names come from files. plotly shows some HTML in them, so they are escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import count
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..course.figures import INK, MARKS, layout, style, tint
from ..data.load import best_points
from ..evaluation.baselines import Point as Pair
from ..evaluation.compare import COIN
from .groups import MOST_GROUPS, Group, Mean, Point, coin_ends, is_marked
from .plan import DATA_SEED

MOST_NUMBERS = 8  # of a notebook
FAR_ABOVE = 2.0  # times: then the best frontier does not decide about the axis
LEGEND = {
    "orientation": "v",
    "x": 1.02,
    "y": 1,
    "yanchor": "top",
    "xanchor": "left",
    "tracegroupgap": 2,
}
LABEL_LINE = 34  # characters
UPPER_BOUND = "an upper bound"


def figures(kind: str, groups: Sequence[Group]) -> list[go.Figure]:
    """Return the figures of a sweep.

    Args:
        kind: Kind of the runs.
        groups: Finished runs that differ in their seed only, put together.
    """
    shown = groups[:MOST_GROUPS]
    if not shown:
        return []
    if kind == "notebook":
        drawn = [numbers(shown)]
    else:
        drawn = [trade_off(shown), along_a_key(shown)]
    return [figure for figure in drawn if figure is not None]


def trade_off(groups: Sequence[Group]) -> go.Figure:
    """Draw robust against clean accuracy along λ: means over seeds, the coin and the best frontier.

    Args:
        groups: Groups of networks.
    """
    figure = go.Figure()
    best = best_frontier_of(groups)
    if best is not None:
        _line(figure, best, "best possible", {"color": INK, "width": 1.5})
    reference = coin_ends(groups)
    if reference is not None:
        _line(figure, reference, f"coin {', '.join(COIN)}", {"color": INK, "dash": "dash"})
    # One look for each line: a group has a line for each width.
    looks = count()
    for group in groups:
        lines = _by_width(group)
        bound = f", {UPPER_BOUND}" if is_marked(group, groups) else ""
        for width, points in lines.items():
            index = next(looks)
            of_width = f", width {width:g}" if len(lines) > 1 else ""
            _coin(figure, points, index)
            _seeds(figure, points, index)
            _dial(figure, points, _wrapped(group.label + of_width + bound), index)
    layout(
        figure,
        "clean accuracy, %",
        f"{_robust_accuracy(groups)}, %",
        height=520,
        takeaway=f"{_robust_accuracy(groups).capitalize()} against clean accuracy of every group "
        "of runs: means with 95 % intervals, and single seeds as small pale markers.",
    )
    figure.update_layout(legend=LEGEND, margin={"t": 24, "r": 24})
    highest = max(_upper(point.robust) for group in groups for point in group.points())
    if best is not None and max(robust for _, robust in best) > FAR_ABOVE * highest:
        # The networks stay legible; a double click shows the whole frontier.
        figure.update_yaxes(range=[-3 * highest, 140 * highest] if highest else None)
    return figure


def _robust_accuracy(groups: Sequence[Group]) -> str:
    """Return the name of the robust accuracies of a figure."""
    bounds = [group.is_upper_bound() for group in groups]
    if all(bounds):
        return f"robust accuracy ({UPPER_BOUND})"
    return f"robust accuracy (of some groups {UPPER_BOUND})" if any(bounds) else "robust accuracy"


def _upper(mean: Mean) -> float:
    """Return the upper end of the error bar of an accuracy."""
    return mean.middle if mean.high is None else min(1.0, mean.high)


def best_frontier_of(groups: Sequence[Group]) -> list[Pair] | None:
    """Return the best possible frontier, if it is known and the same for all results.

    Args:
        groups: Groups of networks. Other seeds of their data sets have the same frontier.
    """
    every: list[list[Pair] | None] = []
    known: set[str] = set()
    for group in groups:
        for result in (result for table in group.tables for result in table):
            data = result.about.get("data") or {}
            options = {k: v for k, v in (data.get("options") or {}).items() if k != "seed"}
            source = {"name": data.get("name"), "options": options}
            eps = result.attack.get("eps", 0.0)
            if (text := repr((source, eps))) not in known:
                known.add(text)
                every.append(best_points(source, eps))
    return every[0] if every and all(points == every[0] for points in every) else None


def _by_width(group: Group) -> dict[float, list[Point]]:
    lines: dict[float, list[Point]] = {}
    for point in group.points():
        lines.setdefault(point.width, []).append(point)
    for points in lines.values():
        points.sort(key=lambda point: point.lam or 0.0)
    return lines


def _coin(figure: go.Figure, points: Sequence[Point], index: int) -> None:
    """Draw the coin between the two ends of a dial: a straight line."""
    if len(points) < 2:
        return
    ends = [(point.clean.middle, point.robust.middle) for point in (points[0], points[-1])]
    is_first = not any(trace.name == "coin between two ends" for trace in figure.data)
    _line(
        figure, ends, "coin between two ends", {"color": tint(index, 0.7), "dash": "dot"}, is_first
    )


def _line(
    figure: go.Figure, pairs: Sequence[Pair], name: str, line: dict, in_legend: bool = True
) -> None:
    figure.add_scatter(
        x=[100 * clean for clean, _ in pairs],
        y=[100 * robust for _, robust in pairs],
        name=name,
        mode="lines",
        line={"width": 1.5} | line,
        hoverinfo="skip",
        showlegend=in_legend,
    )


def _seeds(figure: go.Figure, points: Sequence[Point], index: int) -> None:
    """Draw each seed as a small pale marker, with the symbol of its line."""
    if len(points[0].clean.values) < 2:
        return
    figure.add_scatter(
        x=[100 * value for point in points for value in point.clean.values],
        y=[100 * value for point in points for value in point.robust.values],
        mode="markers",
        marker=_pale(index),
        hoverinfo="skip",
        legendgroup=str(index),
        showlegend=False,
    )


def _dial(figure: go.Figure, points: Sequence[Point], name: str, index: int) -> None:
    """Draw the means along λ with their intervals."""
    hover = [
        ("" if point.lam is None else f"λ = {point.lam:g}<br>")
        + f"clean {_percent(point.clean)}<br>robust {_percent(point.robust)}"
        for point in points
    ]
    figure.add_scatter(
        x=[100 * point.clean.middle for point in points],
        y=[100 * point.robust.middle for point in points],
        name=name,
        text=hover,
        mode="lines+markers",
        hovertemplate="%{text}<extra>" + name + "</extra>",
        legendgroup=str(index),
        error_x=_bars([point.clean for point in points], index),
        error_y=_bars([point.robust for point in points], index),
        **_style(index),
    )


def along_a_key(groups: Sequence[Group]) -> go.Figure | None:
    """Draw accuracies against the one key that varies, if its values are numbers.

    Args:
        groups: Groups of networks.

    Returns:
        The figure; None if several keys vary, or if the values are no numbers of a scale.
    """
    keys = {key for group in groups for key in group.varied}
    values = [list(group.varied.values()) for group in groups]
    if len(keys) != 1 or len(groups) < 2 or not all(len(v) == 1 for v in values):
        return None
    if keys == {DATA_SEED}:  # neighbouring seeds have nothing in common
        return None
    x = [value[0] for value in values]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in x):
        return None
    ordered = sorted(zip(x, groups, strict=True), key=lambda pair: pair[0])
    figure = go.Figure()
    bound = f" ({UPPER_BOUND})" if any(group.is_upper_bound() for group in groups) else ""
    names = {
        "clean, at the lowest λ": "clean",
        f"robust{bound}, at the highest λ": "robust",
    }
    for index, (name, which) in enumerate(names.items()):
        means = []
        for _, group in ordered:
            points = list(_by_width(group).values())[-1]  # the largest width comes last
            means.append(points[0].clean if which == "clean" else points[-1].robust)
        figure.add_scatter(
            x=[value for value, _ in ordered],
            y=[100 * mean.middle for mean in means],
            name=name,
            mode="lines+markers",
            error_y=_bars(means, index),
            hovertemplate="%{y:.1f} %<extra>" + name + "</extra>",
            **_style(index),
        )
    (key,) = keys
    takeaway = f"Clean and robust accuracy{bound} against {key}, with 95 % intervals."
    return layout(figure, html.escape(key), "accuracy, %", takeaway=takeaway)


def numbers(groups: Sequence[Group]) -> go.Figure | None:
    """Draw the numbers that notebooks reported: one panel for each, one place for each group.

    Args:
        groups: Groups of notebooks.

    Returns:
        The figure; None if the notebooks reported no numbers.
    """
    found = [group.numbers() for group in groups]
    names = [name for name in found[0] if all(name in each for each in found)][:MOST_NUMBERS]
    if not names:
        return None
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    height = 80 + 210 * rows
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[html.escape(name) for name in names],
        vertical_spacing=0.22 / rows,
        horizontal_spacing=0.12,
    )
    for place, name in enumerate(names):
        position = {"row": place // columns + 1, "col": place % columns + 1}
        for index, (group, each) in enumerate(zip(groups, found, strict=True)):
            mean = each[name]
            figure.add_scatter(
                x=[index] * len(mean.values),
                y=list(mean.values),
                mode="markers",
                marker=_pale(index),
                hovertemplate="%{y:.4g}<extra>one seed</extra>",
                legendgroup=str(index),
                showlegend=False,
                **position,
            )
            label = _wrapped(group.label)
            figure.add_scatter(
                x=[index],
                y=[mean.middle],
                name=label,
                mode="markers",
                marker=_style(index)["marker"] | {"size": 10},
                error_y=_bars([mean], index, is_accuracy=False),
                hovertemplate="%{y:.4g}<extra>" + label + "</extra>",
                legendgroup=str(index),
                showlegend=place == 0,
                **position,
            )
    layout(figure, height=height, takeaway="Numbers of the notebook, for each group of runs.")
    figure.update_layout(legend=LEGEND, margin={"t": 44, "l": 64, "r": 24, "b": 24})
    figure.update_xaxes(showticklabels=False, ticks="", range=[-0.7, len(groups) - 0.3])
    return figure


def _bars(means: Sequence[Mean], index: int, is_accuracy: bool = True) -> dict:
    """Return error bars for plotly. A mean without an interval gets none."""
    limits = [(mean.middle, mean.low, mean.high) for mean in means]
    if is_accuracy:  # an interval over few seeds may leave the range of accuracies
        limits = [
            (middle, low and max(0.0, low), high and min(1.0, high)) for middle, low, high in limits
        ]
    scale = 100 if is_accuracy else 1
    high = [0 if high is None else scale * (high - middle) for middle, _, high in limits]
    low = [0 if low is None else scale * (middle - low) for middle, low, _ in limits]
    return {
        "type": "data",
        "symmetric": False,
        "array": high,
        "arrayminus": low,
        "width": 2,
        "thickness": 1,
        "color": tint(index, 0.6),
    }


def _style(index: int) -> dict:
    """Return line and marker of a group. After six groups, a colour gets another marker."""
    look = style(index)
    symbol = MARKS[(index + index // len(MARKS)) % len(MARKS)]
    return {**look, "marker": {**look["marker"], "symbol": symbol}}


def _pale(index: int) -> dict:
    """Return the marker of one seed of a group: small and pale, with the symbol of the group."""
    symbol = _style(index)["marker"]["symbol"]
    return {"color": tint(index, 0.5), "size": 6, "symbol": symbol}


def _wrapped(label: str, width: int = LABEL_LINE) -> str:
    """Return a label as lines for plotly, escaped."""
    return "<br>".join(html.escape(line) for line in wrap(label, width)[:4])


def _percent(mean: Mean) -> str:
    text = f"{100 * mean.middle:.1f} %"
    if mean.low is None or mean.high is None:
        return text
    return f"{text} ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
