"""A figure with live controls for a notebook: it is drawn anew, on one thread, for the newest position."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import ipywidgets
import plotly.graph_objects as go

from .worker import Worker


class Sliders(ipywidgets.VBox):
    """What `sliders` returns. `controls` are its widgets by name, `values` where they stand, `figure` what is shown."""

    def __init__(self, draw: Callable, controls: Mapping[str, ipywidgets.Widget], buttons: Mapping[str, Callable]):
        self._draw, self.controls, self._due = draw, dict(controls), []
        self._worker = Worker(self._complain)
        figure, note = _parts(draw(**self.values))  # an error here belongs under the cell
        self.figure = go.FigureWidget(figure)
        self._note = ipywidgets.HTML(note)
        self._error = ipywidgets.HTML()
        self.buttons = {name: ipywidgets.Button(description=name, layout={"width": "auto"}) for name in buttons}
        super().__init__([*_rows(self.controls.values(), self.buttons.values()), self.figure, self._note, self._error])
        for control in self.controls.values():
            control.observe(lambda _: self._worker.submit(self._drawn()), "value")
        for name, action in buttons.items():
            self.buttons[name].on_click(lambda _, action=action: self._ask(action))

    @property
    def values(self) -> dict:
        """{name: value} of the controls."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def error(self) -> str:
        """What went wrong with the last drawing, or nothing."""
        return self._error.value

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until what is shown belongs to where the controls stand."""
        self._worker.flush(timeout)

    def close(self) -> None:
        """Take it off the page and stop its work."""
        self._worker.close()
        super().close()

    def _ask(self, action: Callable) -> None:
        self._due.append(action)  # not in the job: a newer job would drop it
        self._worker.submit(self._drawn())

    def _drawn(self) -> Iterator[bool]:
        """A job: do what buttons have asked for, then draw."""
        while self._due:
            self._due.pop(0)()
            yield False
        figure, note = _parts(self._draw(**self.values))
        _show(self.figure, figure)
        self._note.value, self._error.value = note, ""
        yield True

    def _complain(self, error: Exception) -> None:
        self._error.value = f"<b>{type(error).__name__}</b>: {error}"


def sliders(
    draw: Callable, buttons: Mapping[str, Callable] | None = None, labels: Mapping[str, str] | None = None,
    start_at: Mapping[str, object] | None = None, **controls,
) -> Sliders:  # fmt: skip
    """Call `draw` with the values of some controls, whenever one moves, and show the figure that it returns.

    A control is (low, high, step), a list of choices, or True or False; `start_at` says where it stands at first,
    `labels` what is written beside it. `buttons` are {label: function to call before drawing}. `draw` may return
    (figure, text).
    """
    labels, start_at = labels or {}, start_at or {}
    for name in [*labels, *start_at]:
        if name not in controls:
            raise ValueError(f"there is no control {name!r}; there are {', '.join(controls)}")
    made = {name: _control(spec, labels.get(name, name), start_at.get(name)) for name, spec in controls.items()}
    return Sliders(draw, made, buttons or {})


def _control(spec, label: str, start) -> ipywidgets.Widget:
    common = {
        "description": label,
        "style": {"description_width": "initial"},
        "layout": {"width": "auto", "min_width": "340px"},
    }
    if isinstance(spec, bool):
        return ipywidgets.Checkbox(spec if start is None else start, indent=False, **common)
    if isinstance(spec, tuple):
        low, high, step = spec
        kind = ipywidgets.IntSlider if all(isinstance(v, int) for v in spec) else ipywidgets.FloatSlider
        return kind(value=low if start is None else start, min=low, max=high, step=step, **common)
    choices, first = list(spec), spec[0] if start is None else start
    if all(isinstance(choice, str) for choice in choices):
        return ipywidgets.ToggleButtons(
            options=choices,
            value=first,
            description=label,
            style={"description_width": "initial", "button_width": "auto"},
        )
    return ipywidgets.SelectionSlider(options=choices, value=first, **common)


def _rows(controls, buttons) -> list[ipywidgets.Widget]:
    wrap = {"flex_flow": "row wrap"}
    rows = [ipywidgets.HBox(list(each), layout=wrap) for each in (controls, buttons)]
    return [row for row in rows if row.children]


def _parts(drawn) -> tuple[go.Figure, str]:
    return drawn if isinstance(drawn, tuple) else (drawn, "")


def _show(shown: go.FigureWidget, figure: go.Figure) -> None:
    """Make a figure on the page look like another one; traces of the same kinds are moved, not made anew."""
    with shown.batch_update():
        if [t.type for t in shown.data] != [t.type for t in figure.data]:
            shown.data = []
            shown.add_traces(figure.data)
        else:
            for old, new in zip(shown.data, figure.data, strict=True):
                old.update({k: v for k, v in new.to_plotly_json().items() if k != "type"}, overwrite=True)
        shown.layout.annotations, shown.layout.shapes = [], []  # there may be fewer now
        shown.layout.update(figure.layout, overwrite=True)
    # plotly keeps the first state for a page that connects or reloads later, unless it is told
    shown._trait_values["_widget_data"] = copy.deepcopy(shown._data)
    shown._trait_values["_widget_layout"] = copy.deepcopy(shown._layout_obj._props)
