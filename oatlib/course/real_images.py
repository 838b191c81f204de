"""Read and draw the dials that lesson 12 compares: on the built-in images, and on photographs.

All numbers are from records of the benchmarks. Systems that a record does not have are left out, so
the lesson grows with the record of photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .._bundled import bundled
from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import load_data
from ..evaluation.evaluate import evaluate
from ..networks.network import load
from ..networks.ready import ready
from ..record import read_json
from . import figures

Images = Literal["shapes", "photographs"]
Point = dict[str, Any]  # lam, n, clean, robust; pgd where PGD-20 was measured
Dials = dict[str, list[Point]]  # by system, along λ
# bench/family.py has other names for recipes that are trained on photographs, too
OF_FAMILY = {"float": "float", "smart": "smart", "solar": "solar_4"}
DEDICATED = "dedicated"
DRAWN = ("oat", DEDICATED, "blend, outputs", "blend", "oat-small", "oat-small-bfloat16")


def dials(images: Images, seed: int = 0) -> Dials:
    """Return all dials of a data set at full width, and the networks that have one λ.

    Args:
        images: The data set.
        seed: Seed of the training.

    Returns:
        Points along λ, by name of the system. "dedicated 1" and so on have one point each.
        "dedicated" holds them all.
    """
    found: Dials = {}
    for name, run in _runs(images):
        if run["seed"] != seed:
            continue
        points = [point for point in run["points"] if point.get("width", 1.0) == 1.0]
        found[name] = sorted(points, key=lambda point: point["lam"])
    alone = [point for name, dial in found.items() if name.startswith(DEDICATED) for point in dial]
    if alone:
        found[DEDICATED] = sorted(alone, key=lambda point: point["lam"])
    return found


def _runs(images: Images) -> list[tuple[str, dict]]:
    """Return (name of the system, run) of all recorded runs."""
    if images == "photographs":
        return [(run["system"], run) for run in _record("photographs")["runs"]]
    runs = [(run["system"], run) for run in _record("once_for_all")["runs"]]
    family = _record("family")["runs"]
    for system, name in OF_FAMILY.items():
        runs += [(system, run) for run in family if run["name"] == name]
    return runs


def _record(name: str) -> dict:
    return read_json(bundled("bench") / f"{name}.json")


def attack_text() -> str:
    """Return the attack of all robust accuracies of the lesson, and what stronger ones leave."""
    record = _record("photographs")
    sentences = [f"Robust: {record['attack_text']}. These are upper bounds."]
    for run in record["runs"]:
        # some networks were also attacked by a stronger suite, at both ends of their dial
        for strong in run.get("strong", [])[-1:]:
            same = (strong["lam"], strong["width"])
            quick = next(p for p in run["points"] if (p["lam"], p["width"]) == same)
            sentences.append(
                f"A stronger suite leaves {100 * strong['robust']:.1f} % instead of "
                f"{100 * quick['robust']:.1f} % for `{run['system']}` at λ = {strong['lam']:g}."
            )
    return " ".join(sentences)


def seeds(images: Images) -> list[int]:
    """Return the seeds of a data set that have a dial of OAT.

    Args:
        images: The data set.
    """
    return sorted({run["seed"] for name, run in _runs(images) if name == "oat"})


def training(system: str) -> dict[str, Any] | None:
    """Return how a system was trained on photographs, as flat options.

    Args:
        system: Name of the system.

    Returns:
        Options by name. None if the record has no such system.
    """
    found = next((run for name, run in _runs("photographs") if name == system), None)
    if found is None:
        return None
    kept = {key: found[key] for key in ("recipe", "backbone", "n_train", "amp")}
    return {"loss": "default"} | kept | found["options"] | found["preset"]


def two_worlds(
    shapes: Dials,
    photographs: Dials,
    best: Sequence[tuple[float, float]],
    takeaway: str,
) -> go.Figure:
    """Draw robust against clean accuracy for both data sets, on the same axes.

    Args:
        shapes: Dials on the built-in images.
        photographs: Dials on photographs.
        best: (clean, robust) of the best possible rule on the built-in images.
        takeaway: See `figures.layout`.

    Returns:
        The figure. A dotted line is the coin between the ends of a dial of OAT, or between the
        dedicated networks for the first and the last λ.
    """
    titles = ["shapes", "photographs (CIFAR-10)"]
    fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    shown: set[str] = set()
    for column, world in enumerate((shapes, photographs), 1):
        for i, name in enumerate(DRAWN):
            if name in world:
                _dial(fig, world[name], name, i, column, name not in shown)
                shown.add(name)
    line = {"color": figures.INK, "width": 1}
    x, y = zip(*best, strict=True)
    fig.add_scatter(
        x=[100 * value for value in x],
        y=[100 * value for value in y],
        name="best possible rule",
        mode="lines",
        line=line,
        row=1,
        col=1,
    )
    figures.layout(fig, height=440, takeaway=takeaway)
    margin = fig.layout.margin.t + 24  # room for the titles of the panels
    fig.update_layout(margin={"t": margin}, legend={"y": 1.09})
    drawn = [p for world in (shapes, photographs) for name in DRAWN for p in world.get(name, ())]
    lowest = min(100 * p["clean"] for p in drawn)
    fig.update_xaxes(title_text="clean accuracy, %", range=(lowest - 3, 102))
    fig.update_yaxes(range=(-3, 86))
    fig.update_yaxes(title_text="robust accuracy, % (upper bounds)", col=1)
    return fig


def _dial(
    fig: go.Figure, points: Sequence[Point], name: str, i: int, column: int, first: bool
) -> None:
    """Draw one system, and the coin between its ends if it is OAT or dedicated networks."""
    clean, robust = ([100 * point[key] for point in points] for key in ("clean", "robust"))
    colour = figures.style(i)["line"]["color"]
    if name.startswith("oat") or name == DEDICATED:
        fig.add_scatter(
            x=[clean[0], clean[-1]],
            y=[robust[0], robust[-1]],
            mode="lines",
            line={"color": colour, "dash": "dot", "width": 1.5},
            showlegend=False,
            hoverinfo="skip",
            row=1,
            col=column,
        )
    fig.add_scatter(
        x=clean,
        y=robust,
        name=name,
        legendgroup=name,
        showlegend=first,
        mode="markers" if name == DEDICATED else "lines+markers",
        text=[f"λ = {point['lam']:g}, n = {point['n']}" for point in points],
        hovertemplate="%{text}<br>clean %{x:.1f} %<br>robust %{y:.1f} %",
        error_y=_bars(points, figures.tint(i, 0.5)),
        row=1,
        col=column,
        **figures.style(i),
    )


def _bars(points: Sequence[Point], colour: str) -> dict:
    """Return the 95 % intervals of robust accuracy as error bars of plotly."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (p["robust_high"] - p["robust"]) for p in points],
        "arrayminus": [100 * (p["robust"] - p["robust_low"]) for p in points],
        "color": colour,
        "thickness": 1,
        "width": 2,
    }


def with_limits(rows: Mapping[str, Mapping[str, tuple]], takeaway: str) -> go.Figure:
    """Draw intervals beside their limits, one row for each statement.

    Args:
        rows: By statement and by data set, (middle, low, high) minus the limit, in points. None: it
            was not measured.
        takeaway: See `figures.layout`.
    """
    fig = go.Figure()
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    for i, name in enumerate(names):
        kept = [(text, row[name]) for text, row in rows.items() if row.get(name) is not None]
        offset = 0.16 * (2 * i - 1)  # rows are one apart
        order = list(rows)
        fig.add_scatter(
            x=[value[0] for _, value in kept],
            y=[order.index(text) + offset for text, _ in kept],
            name=name,
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - middle for _, (middle, _, high) in kept],
                "arrayminus": [middle - low for _, (middle, low, _) in kept],
                "thickness": 2,
            },
            marker=figures.style(i)["marker"] | {"size": 9},
        )
    fig.add_vline(0, line={"color": figures.INK, "dash": "dot"})
    figures.layout(
        fig, "measured minus limit, points", height=90 + 46 * len(rows), takeaway=takeaway
    )
    return fig.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=list(rows), range=[len(rows) - 0.5, -0.5]
    )


def measured_here(network: str, folder: str, n: int, seed: int = 0) -> list[Point]:
    """Measure a network on photographs of the reader, along its dial.

    Args:
        network: Name of a network that comes with oatlib, such as "photographs/oat", or a file.
        folder: Folder of the images, {train,test}/<class>/*.
        n: Number of test images.
        seed: Seed of the split and of the attacks.

    Returns:
        A point for each λ stop.
    """
    net = load(network) if Path(network).is_file() else ready(network)
    data = load_data(f"folder:{folder}", seed, n_train=64, n_val=64, n_test=n)
    points: dict[float, Point] = {}
    for key, attack in (("robust", Suite(budget="quick")), ("pgd", PGD(8 / 255, 20))):
        for result in evaluate(net, data.test, attack=attack, seed=seed, progress=False):
            point = points.setdefault(result.lam, {"lam": result.lam, "n": n})
            point |= {"clean": result.clean, key: result.robust}
            point |= {f"{key}_low": result.robust_low, f"{key}_high": result.robust_high}
    return list(points.values())
