"""A plotly figure with live controls, for notebooks.

Whenever a control moves, one background thread draws the figure again for the newest position of
all controls. Positions that are already outdated are skipped.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ipywidgets
import plotly
import plotly.graph_objects as go
import traitlets

from ..explorer.worker import Worker

# Redrawings after which a play button stops by itself: a minute, at the slow pace of the worker
MOST_FRAMES = 240
# the JavaScript module of plotly, 5 MB
BUNDLE = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
# A small module that imports the bundle once per page, see `Figure`. plotly adapts its width when
# the window is resized. JupyterLab folds its side bar without that, so this module tells plotly.
LOADER = """
const load = (model) => (window.oatlibPlotly ??= import(URL.createObjectURL(
  new Blob([model.get("_bundle")], { type: "text/javascript" }))));
export default () => {
  let inner;
  return {
    initialize({ model }) {
      inner = load(model).then((module) => {
        const widget = module.default();
        widget.initialize({ model });
        return widget;
      });
    },
    async render(args) {
      const remove = await (await inner).render(args);
      const follow = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
      follow.observe(args.el);
      return () => { follow.disconnect(); remove?.(); };
    },
  };
};
"""


class Figure(go.FigureWidget):
    """A plotly figure whose own JavaScript module is small and loads that of plotly once per page.

    anywidget gives a module 2 s to load. A widget that takes longer never receives messages from
    Python again. On a busy machine, 5 MB of plotly per figure take longer.
    """

    _config: dict
    _esm = LOADER
    _bundle = traitlets.Unicode(BUNDLE.read_text(encoding="utf-8")).tag(sync=True)

    def __init__(self, figure: go.Figure):
        super().__init__(figure)
        self._config = self._config | {"responsive": True}


class Sliders(ipywidgets.VBox):
    """A figure with its controls, as `sliders` returns it.

    Attributes:
        controls: The control widgets, by name.
        values: The current values of the controls, by name.
        buttons: The button widgets, by label.
        play: The toggle buttons that repeat an action, by label.
        frames: How often their actions have been repeated so far.
        figure: The figure that is shown.
        error: The error of the newest drawing as HTML, or "".
    """

    def __init__(
        self,
        draw: Callable,
        controls: Mapping[str, ipywidgets.Widget],
        buttons: Mapping[str, Callable],
        play: Mapping[str, Callable],
    ):
        self._draw, self.controls = draw, dict(controls)
        self._due: list = []
        self._repeated, self.frames, self._frames_left = dict(play), 0, MOST_FRAMES
        self._worker = Worker(self._complain)
        # not on the thread: an error in the first drawing appears under the cell
        figure, note = _parts(draw(**self.values))
        self.figure = Figure(figure)
        self._note = ipywidgets.HTML(note)
        self._error = ipywidgets.HTML()
        self.buttons = {
            name: ipywidgets.Button(description=name, layout={"width": "auto"}) for name in buttons
        }
        self.play = {
            name: ipywidgets.ToggleButton(
                description=name,
                icon="play",
                layout={"width": "auto"},
                tooltip=f"{name}: on or off",
            )
            for name in play
        }
        super().__init__(
            [
                *_rows(self.controls.values(), [*self.buttons.values(), *self.play.values()]),
                self.figure,
                self._note,
                self._error,
            ]
        )
        for control in self.controls.values():
            control.observe(lambda _: self._worker.submit(self._drawn()), "value")
        for name, action in buttons.items():
            self.buttons[name].on_click(lambda _, action=action: self._ask(action))
        for toggle in self.play.values():
            toggle.observe(self._toggled, "value")

    @property
    def values(self) -> dict:
        """The current values of the controls, by name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def error(self) -> str:
        """The error of the newest drawing as HTML, or ""."""
        return self._error.value

    def flush(self, timeout: float = 60.0) -> None:
        """Wait until the figure shows the current values of the controls.

        While a play button is on, that is only when it stops.

        Args:
            timeout: Limit in seconds.

        Raises:
            TimeoutError: If it takes longer.
        """
        self._worker.flush(timeout)

    def close(self) -> None:
        """Remove the widget from the page and stop its work."""
        self._worker.close()
        super().close()

    def _ask(self, action: Callable) -> None:
        self._due.append(action)  # not in the job, because a newer job would replace it
        self._worker.submit(self._drawn())

    def _drawn(self) -> Iterator[bool]:
        """A job for the worker: run the actions of buttons that were clicked, then draw.

        While a play button is on, the job continues: it runs the action of that button and draws
        again. The slow pace of the worker waits between two drawings.
        """
        while self._due:
            self._due.pop(0)()
            yield False
        self._redraw()
        yield True
        while actions := [self._repeated[name] for name in self._playing()]:
            for action in actions:
                action()
                yield False
            self._redraw()
            self.frames += 1
            self._frames_left -= 1
            if self._frames_left <= 0:
                self._stop_playing()
            yield True

    def _redraw(self) -> None:
        """Draw the figure for the current values of the controls."""
        figure, note = _parts(self._draw(**self.values))
        show_in(self.figure, figure)
        self._note.value, self._error.value = note, ""

    def _playing(self) -> list[str]:
        """Return the labels of the play buttons that are on."""
        return [name for name, toggle in self.play.items() if toggle.value]

    def _toggled(self, _) -> None:
        """Start or stop to play, after a click on a play button."""
        self._mark_playing()
        self._frames_left = MOST_FRAMES
        self._worker.pace("slow" if self._playing() else "run")
        self._worker.submit(self._drawn())

    def _stop_playing(self) -> None:
        """Switch all play buttons off. The job that plays then ends."""
        for toggle in self.play.values():
            toggle.unobserve(self._toggled, "value")  # no new job, which would draw once more
            toggle.value = False
            toggle.observe(self._toggled, "value")
        self._mark_playing()
        self._worker.pace("run")

    def _mark_playing(self) -> None:
        """Show on each play button what a click on it does next."""
        for toggle in self.play.values():
            toggle.icon = "pause" if toggle.value else "play"

    def _complain(self, error: Exception) -> None:
        self._stop_playing()
        self._error.value = f"<b>{type(error).__name__}</b>: {error}"


def sliders(
    draw: Callable,
    buttons: Mapping[str, Callable] | None = None,
    labels: Mapping[str, str] | None = None,
    start_at: Mapping[str, object] | None = None,
    play: Mapping[str, Callable] | None = None,
    **controls,
) -> Sliders:
    """Show a figure with controls, and draw it again whenever one of them moves.

    Args:
        draw: Function that is called with the values of all controls, by name. It returns a figure,
            or (figure, HTML text to show below it).
        buttons: By label, functions without arguments to call before drawing.
        labels: Texts beside the controls, by name (default: their names).
        start_at: First values of the controls, by name (default: the low end, or the first choice).
        play: By label, functions without arguments that a toggle button repeats. While the button
            is on, the function is called and the figure drawn about four times a second, at most
            MOST_FRAMES times.
        **controls: By name, (low, high, step) for a slider, a list of choices, or True or False for
            a checkbox.

    Returns:
        The widget.

    Raises:
        ValueError: If `labels` or `start_at` names a control that does not exist.

    Example:
        >>> sliders(draw, eps=(0.0, 0.3, 0.01), steps=[1, 5, 20])  # calls draw(eps=..., steps=...)
    """
    labels, start_at = labels or {}, start_at or {}
    for name in [*labels, *start_at]:
        if name not in controls:
            raise ValueError(f"there is no control {name!r}; there are {', '.join(controls)}")
    made = {
        name: _control(spec, labels.get(name, name), start_at.get(name))
        for name, spec in controls.items()
    }
    return Sliders(draw, made, buttons or {}, play or {})


def _control(spec, label: str, start) -> ipywidgets.Widget:
    """Return the widget for one control.

    Without `start`, it begins at the low end or the first choice.
    """
    room = max(340, 8 * len(label) + 240)  # pixels: the label, and a slider that can be moved
    common = {
        "description": label,
        "style": {"description_width": "initial"},
        "layout": {"width": "auto", "min_width": f"{room}px", "max_width": "100%"},
    }
    if isinstance(spec, bool):
        return ipywidgets.Checkbox(spec if start is None else start, indent=False, **common)
    if isinstance(spec, tuple):
        low, high, step = spec
        kind = (
            ipywidgets.IntSlider
            if all(isinstance(v, int) for v in spec)
            else ipywidgets.FloatSlider
        )
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
    """Put the controls in one row and the buttons in another. Rows wrap if the page is narrow."""
    wrap = {"flex_flow": "row wrap"}
    rows = [ipywidgets.HBox(list(each), layout=wrap) for each in (controls, buttons)]
    return [row for row in rows if row.children]


def _parts(drawn) -> tuple[go.Figure, str]:
    """Return the result of `draw` as (figure, text)."""
    return drawn if isinstance(drawn, tuple) else (drawn, "")


def show_in(shown: Figure, figure: go.Figure) -> None:
    """Make a figure on the page show another one.

    Traces are changed in place if their types are the same, else replaced.
    """
    with shown.batch_update():
        if [t.type for t in shown.data] != [t.type for t in figure.data]:
            shown.data = []
            shown.add_traces(figure.data)
        else:
            for old, new in zip(shown.data, figure.data, strict=True):
                old.update(
                    {k: v for k, v in new.to_plotly_json().items() if k != "type"}, overwrite=True
                )
        shown.layout.annotations, shown.layout.shapes = [], []  # the new figure may have fewer
        shown.layout.update(figure.layout, overwrite=True)
    # plotly sends these values to a page that connects or reloads later, so they must be current
    shown._trait_values["_widget_data"] = copy.deepcopy(shown._data)
    shown._trait_values["_widget_layout"] = copy.deepcopy(shown._layout_obj._props)
