"""A figure with live controls, without a browser: after every move it is what a direct drawing gives."""

import random
import threading
import time

import plotly.graph_objects as go
import pytest

from oatlib.course import figures
from oatlib.course.sliders import sliders
from oatlib.explorer.worker import BEAT, NAME


def picture(slope, shape, kind, marked):
    """Traces, annotations and shapes that come and go."""
    fig = figures.bars(["a", "b"], {"k": [slope, 1.0]}) if kind == "bars" else figures.lines([0, 1], {"l": [0, slope]})
    if marked:
        fig.add_annotation(text="here", x=0, y=slope).add_shape(type="line", x0=0, x1=shape, y0=0, y1=1)
    return fig, f"slope {slope:g}"


SPECS = {"slope": (0.0, 2.0, 0.25), "shape": (1, 9, 1), "kind": ["bars", "lines"], "marked": False}


@pytest.fixture
def widget():
    made = sliders(picture, **SPECS, start_at={"slope": 1.0})
    yield made
    made.close()


def agrees(widget):
    """Whether what is shown, now and after a reload, is what `picture` gives for where the controls stand."""
    figure, note = picture(**widget.values)
    assert widget.error == "" and widget._note.value == note
    shown = widget.figure.to_plotly_json()
    for trace, kept, want in zip(
        shown["data"], widget.figure._trait_values["_widget_data"], figure.to_plotly_json()["data"], strict=True
    ):
        for each in (trace, kept):
            each = {key: value for key, value in each.items() if key != "uid"}
            assert go.Figure([each]).data == go.Figure([want]).data
    assert widget.figure.layout.shapes == figure.layout.shapes
    assert widget.figure.layout.annotations == figure.layout.annotations
    return True


def places(control):
    if hasattr(control, "options"):
        return list(control.options)
    return [control.min, (control.min + control.max) / 2, control.max] if hasattr(control, "min") else [True, False]


def test_every_control_at_its_ends_and_middle(widget):
    assert widget.values == {"slope": 1.0, "shape": 1, "kind": "bars", "marked": False} and agrees(widget)
    for control in widget.controls.values():
        for place in places(control):
            control.value = place
            widget.flush()
            assert agrees(widget)


def test_a_random_walk_ends_where_it_should_and_leaves_no_thread(widget):
    chance = random.Random(0)
    for _ in range(200):
        control = chance.choice(list(widget.controls.values()))
        control.value = chance.choice(places(control))
    widget.flush()
    assert agrees(widget)
    assert not [t for t in threading.enumerate() if t.name == NAME]


def test_every_click_counts_also_between_moves():
    done = []
    made = sliders(lambda a: figures.lines([0], {"": [a]}), {"step": lambda: done.append(len(done))}, a=(0, 9, 1))
    for i in range(10):
        made.buttons["step"].click()
        made.controls["a"].value = i
    made.flush()
    assert done == list(range(10)) and made.figure.data[0].y == (9,)
    made.close()


def counting(fails_at=None):
    """A widget with a play button that counts, and the list of its counts."""
    done = []

    def count():
        done.append(len(done))
        if len(done) == fails_at:
            raise RuntimeError("enough")

    return sliders(lambda a: figures.lines([0], {"": [len(done) + a]}), play={"count": count}, a=(0, 9, 1)), done


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_play_button_repeats_until_it_is_pressed_again():
    made, done = counting()
    started, toggle = time.monotonic(), made.play["count"]
    toggle.value = True
    until(lambda: made.frames >= 3)
    assert time.monotonic() - started >= 2 * BEAT and toggle.icon == "pause"
    toggle.value = False
    made.flush()
    assert len(done) == made.frames >= 3 and made.figure.data[0].y == (len(done),) and toggle.icon == "play"
    time.sleep(1.5 * BEAT)
    assert len(done) == made.frames and not [t for t in threading.enumerate() if t.name == NAME]
    made.close()


def test_a_control_moved_while_it_plays_is_drawn_and_the_play_goes_on():
    made, done = counting()
    made.play["count"].value = True
    until(lambda: made.frames >= 1)
    made.controls["a"].value = 5
    before = made.frames
    until(lambda: made.frames >= before + 2)
    made.play["count"].value = False
    made.flush()
    assert made.figure.data[0].y == (len(done) + 5,)
    made.close()


def test_a_play_button_stops_by_itself(monkeypatch):
    monkeypatch.setattr("oatlib.course.sliders.MOST_FRAMES", 2)
    made, done = counting()
    made.play["count"].value = True
    made.flush()
    assert done == [0, 1] and not made.play["count"].value and made.figure.data[0].y == (2,)
    made.play["count"].value = True  # and again
    made.flush()
    assert len(done) == 4
    made.close()


def test_a_play_button_stops_at_an_error():
    made, done = counting(fails_at=2)
    made.play["count"].value = True
    made.flush()
    assert "enough" in made.error and len(done) == 2 and not made.play["count"].value
    made.controls["a"].value = 1
    made.flush()
    assert made.error == "" and len(done) == 2
    made.close()


def test_an_error_is_shown_and_goes_away():
    def draw(a):
        if a == 3:
            raise RuntimeError("three is too much")
        return figures.lines([0], {"": [a]})

    made = sliders(draw, a=(0, 5, 1))
    made.controls["a"].value = 3
    made.flush()
    assert "three is too much" in made.error
    made.controls["a"].value = 4
    made.flush()
    assert made.error == "" and made.figure.data[0].y == (4,)
    made.close()


def test_an_error_of_the_first_drawing_belongs_under_the_cell():
    with pytest.raises(ZeroDivisionError):
        sliders(lambda a: 1 / a, a=(0, 5, 1))


@pytest.mark.parametrize("wrong", [{"labels": {"b": "B"}}, {"start_at": {"b": 1}}])
def test_a_misspelt_control_is_told_about(wrong):
    with pytest.raises(ValueError, match="no control 'b'; there are a"):
        sliders(lambda a: go.Figure(), a=(0, 5, 1), **wrong)
