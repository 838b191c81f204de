"""Every lesson runs with the cheapest parameters that it allows, and its controls work in all of their places."""

import tempfile
from pathlib import Path

import nbformat
import pytest

import oatlib
from authoring import lessons
from oatlib.course import figures
from oatlib.course.lesson import Guess
from oatlib.course.sliders import sliders
from oatlib.reruns.kernel import Progress, RerunError, execute, prepared
from oatlib.reruns.parameters import declared
from tests.notebooks import drive

DRIVE = Path(drive.__file__).read_text(encoding="utf-8")
SOURCES = lessons.sources()


def cheapest(notebook):
    """The low ends of all whole numbers, which say how much is done; a seed says nothing of the kind."""
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    known = declared(cell.source).values()
    return {p.name: p.low for p in known if p.kind == "int" and p.low is not None and p.name != "seed"}


def driven(notebook, given):
    """Run a notebook and then its controls; what the last cell printed."""
    notebook.cells.append(nbformat.v4.new_code_cell(DRIVE))
    notebook = prepared(notebook, given)
    with tempfile.TemporaryDirectory() as place:  # where the guesses of this learner are kept
        execute(notebook, place, Progress(notebook, None), timeout=600)
    return notebook.cells[-1].outputs[-1].text


@pytest.mark.parametrize("name", SOURCES)
def test_a_lesson_works_with_its_cheapest_parameters_and_in_all_places_of_its_controls(name):
    notebook = lessons.build(SOURCES[name])
    assert driven(notebook, cheapest(notebook)).startswith("driven: ")


PARAMETERS = "n: int = 3  # 1 to 5: images\nseed: int = 7  # 5 to 9: of all\nlr: float = 0.5  # 0.1 to 1: of SGD"
CELLS = """import oatlib
from oatlib.course.figures import lines
from oatlib.course.lesson import begin
from oatlib.course.sliders import sliders
lesson = begin("sample", globals())
assert (n, seed, lr) == (1, 7, 0.5)
#
lesson.predict("one", "how many?", 0, 10, "")
#
lesson.reveal("one", 3.0)
#
sliders(lambda a, b: lines([a], {b: [1]}), {"press": lambda: None}, a=(0.0, 4.0, 1.0), b=["x", "y"],
        play={"go": lambda: None})
#
data = oatlib.load_data("shapes", n_train=32, n_val=16, n_test=16)
oatlib.explore(oatlib.build("oat", data), data, n=16)"""


def sample():
    """A small notebook with one of each."""
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *CELLS.split("\n#\n"))]
    cells[0].metadata.tags = ["parameters"]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": lessons.KERNEL})


def test_all_controls_of_a_notebook_are_moved():
    printed = driven(sample(), cheapest(sample()))
    assert printed == "driven: Sliders in 9 positions, Explorer in 8 positions, Guess in 1 positions\n"


def test_an_error_at_a_control_is_an_error_of_the_lesson():
    broken = sample()
    broken.cells[4].source = broken.cells[4].source.replace("[a]", "[1 / (a - 4)]")
    del broken.cells[5]
    with pytest.raises(RerunError, match="Sliders: <b>ZeroDivisionError"):
        driven(broken, cheapest(broken))


# --- what moves the controls, without a kernel ---


def drawn(wrong=lambda a, b, c: False, buttons=None, play=None):
    def draw(a, b, c):
        if wrong(a, b, c):
            raise ValueError("cannot draw this")
        return figures.lines([a], {str(b): [1]})

    return sliders(draw, buttons, a=(0, 5, 1), b=["x", "y"], c=False, play=play)


@pytest.mark.parametrize("wrong", [
    lambda a, b, c: a == 2, lambda a, b, c: a == 5, lambda a, b, c: b == "y", lambda a, b, c: c,
    lambda a, b, c: c and a == 5,
])  # fmt: skip
def test_an_error_at_one_place_of_a_control_is_found(wrong):
    assert any("ValueError</b>: cannot draw this at {'a': " in fault for fault in drive.drive_sliders(drawn(wrong)))


def test_every_place_is_visited_with_the_others_where_they_began():
    seen = set()
    faults = list(drive.drive_sliders(drawn(lambda *place: seen.add(place))))
    due = {(0, "x", False), (2, "x", False), (5, "x", False), (0, "y", False), (0, "x", True), (5, "y", True)}
    assert not any(faults) and len(faults) == 9
    assert due <= seen, "and maybe places on the way, as three controls do not move at the same time"


def test_an_error_behind_a_button_is_found():
    pressed = []
    *_, last = drive.drive_sliders(drawn(buttons={"press": lambda: pressed.append(1 / len(pressed))}))
    assert last == "<b>ZeroDivisionError</b>: division by zero at button 'press'"


def test_a_play_button_plays_and_ends_and_its_error_is_found():
    done = []
    moved = drawn(play={"go": lambda: done.append(1)})
    *_, last = drive.drive_sliders(moved)
    assert last == "" and len(done) == moved.frames >= 3 and not moved.play["go"].value
    *_, last = drive.drive_sliders(drawn(play={"go": lambda: done[len(done)]}))
    assert "IndexError" in last and last.endswith("at play button 'go'")


def test_a_guess_that_is_never_answered_is_found():
    silent, answered, choice = Guess("how many?", 0, 10, "", ()), Guess("how many?", 0, 10, "", ()), None
    answered.beside(3.0, "")
    choice = Guess("which?", 0, 1, "", ["this", "that"])
    choice.beside("this", "as always")
    assert [next(drive.drive_guess(guess)) != "" for guess in (silent, answered, choice)] == [True, False, False]
    assert choice.value == "that"


def test_an_explorer_that_cannot_measure_is_found():
    data = oatlib.load_data("shapes", n_train=32, n_val=16, n_test=16)
    explorer = oatlib.explore(oatlib.build("oat", data), data, n=16, hide=["network", "width", "eps", "attack"])
    explorer.flush()
    explorer.panel = None
    assert all("TypeError" in fault and "lam=" in fault for fault in drive.drive_explorer(explorer))
