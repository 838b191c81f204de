"""A curve that grows while a cell runs, with one line of text below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets

from . import figures
from .sliders import Figure, show_in


class LiveCurve(ipywidgets.VBox):
    """A figure of curves to which a loop adds points, as a widget.

    Args:
        names: Names of the curves.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
        x_range: Smallest and largest x. The axis then stays as it is while points are added.
        y_range: The same for y.
        takeaway: What a reader should see at the end (see `figures.layout`).

    Attributes:
        x: The x values so far.
        series: The y values so far, by name of the curve.

    Example:
        >>> live = LiveCurve(["loss"], "step", "loss")
        >>> display(live)
        >>> live.add(1, {"loss": 2.1}, "step 1 of 100")
    """

    def __init__(
        self,
        names: Sequence[str],
        x_name: str,
        y_name: str,
        x_range: Sequence[float] | None = None,
        y_range: Sequence[float] | None = None,
        takeaway: str = "",
    ):
        self.x: list[float] = []
        self.series: dict[str, list[float]] = {name: [] for name in names}
        self._about = {"x_name": x_name, "y_name": y_name, "takeaway": takeaway, "height": 320}
        self._ranges = (x_range, y_range)
        self.figure = Figure(self._drawn())
        self._line = ipywidgets.HTML()
        super().__init__([self.figure, self._line])

    def add(self, x: float, values: Mapping[str, float], line: str = "") -> None:
        """Add a point to every curve, and replace the line of text.

        Args:
            x: The x value.
            values: The y value of every curve, by name.
            line: HTML to show below the figure.
        """
        self.x.append(x)
        for name, values_so_far in self.series.items():
            values_so_far.append(values[name])
        show_in(self.figure, self._drawn())
        self._line.value = line

    def _drawn(self):
        figure = figures.lines(self.x, self.series, **self._about)
        x_range, y_range = self._ranges
        if x_range is not None:
            figure.update_xaxes(range=list(x_range))
        if y_range is not None:
            figure.update_yaxes(range=list(y_range))
        return figure
