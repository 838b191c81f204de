"""make.py in JupyterLab and a browser: pictures take the place of what is live, and a broken lesson leaves no trace."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image, ImageChops

from authoring import lab, lessons, make, pictures

ROOT = Path(__file__).parents[2]
MAKE = """import sys; from pathlib import Path; from authoring import make
sys.exit(make.main([], Path(sys.argv[1])))"""
FRONT = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 30
# ---

# %% [markdown]
# # A lesson

# %% tags=["parameters"]
recompute: bool = False  # measure again
"""
CELLS = """
# %%
import ipywidgets
import plotly.graph_objects as go
figure = go.Figure(go.Bar(x=[1, 2], y=[3, 4]), layout={"title": {"text": "Two bars"}, "height": 300})
figure

# %%
slider = ipywidgets.IntSlider(5, description="dial")
answer = "<details><summary>Answer</summary>forty-two</details>"
block = "<div style='background: red; width: 300px; height: 100px'></div>"
ipywidgets.VBox([slider, ipywidgets.HTML(block + answer)])

# %%
slider.value = 8
object()

# %% tags=["nbval-check-output"]
print("two is two:", 1 + 1 == 2)
"""
BROKEN = """
# %%
print("so far")

# %%
{}["nothing"]
"""
RECORDING = """
# %%
from IPython.display import display
for name in ("one", "two") if recompute else ():
    display({"application/vnd.oatlib.recorded+json": {"name": name, "result": {"x": [1, 2]}}}, raw=True)
"""


def source(root, name, cells):
    """Write a source, and return its path."""
    path = root / lessons.SOURCE / f"{name}.py"
    for folder in (path.parent, root / lessons.MADE):
        folder.mkdir(parents=True, exist_ok=True)
    path.write_text(FRONT + cells, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'oatlib[test]'")
    if lab.browser() is None:
        if os.environ.get("OATLIB_BROWSER") == "required":
            pytest.fail("there is no Chromium here, and OATLIB_BROWSER says there must be one")
        pytest.skip("needs Chromium (on Debian and Ubuntu: apt install chromium)")


@pytest.fixture(scope="module")
def made(chromium, tmp_path_factory):
    """A folder with one lesson that was made, and one that cannot be."""
    root = tmp_path_factory.mktemp("course")
    source(root, "01_good", CELLS)
    source(root, "02_broken", BROKEN)
    lessons.notebook_path("02_broken", root).write_text("as before", encoding="utf-8")
    # a process of its own: one that drives a browser for other tests cannot drive a second
    return root, subprocess.run([sys.executable, "-c", MAKE, str(root)], cwd=ROOT, timeout=300).returncode


def outputs(root):
    notebook = nbformat.read(lessons.notebook_path("01_good", root), as_version=4)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def picture(output):
    return Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")


def test_what_is_made_has_no_fault_and_says_what_it_shows(made):
    root, _ = made
    assert lessons.faults(lessons.notebook_path("01_good", root)) == []
    figure, live, plain, printed = outputs(root)
    assert figure.data["text/plain"] == "Figure: Two bars"
    assert live.data["text/plain"] == "VBox: Answerforty-two"
    assert plain.data["text/plain"] == "<object>" and printed.text == "two is two: True\n"


def test_pictures_show_figures_and_widgets_as_they_are_in_the_end(made):
    figure, live = map(picture, outputs(made[0])[:2])
    assert 600 < figure.width <= 1000 and 200 < figure.height <= 300
    assert 300 <= live.width < 500 and 150 < live.height < 250, "the dial above, the answer unfolded below"
    red = sum(n for n, (r, g, b) in live.getcolors(live.width * live.height) if r > 240 and g < 20 and b < 20)
    assert 0.9 < red / 30_000 < 1.1


def test_whole_pages_are_there_in_both_themes(made):
    light, dark = (Image.open(made[0] / make.SHOTS / f"01_good, {theme}.png").convert("L") for theme in pictures.THEMES)
    assert light.size == dark.size and light.height > 1000, "all of it, not only what fits on a screen"
    below = (light.width // 2, light.height - 60)
    assert light.getpixel(below) > 200 and dark.getpixel(below) < 80


def test_a_broken_lesson_is_told_and_leaves_what_was_there(made):
    root, code = made
    assert code == 1 and lessons.notebook_path("02_broken", root).read_text(encoding="utf-8") == "as before"
    assert {path.name for path in (root / lessons.MADE).iterdir()} == {"01_good.ipynb", "02_broken.ipynb"}


def built(root, change=lambda notebook: None):
    """What comes before a run, and a stand-in for pictures.run."""
    path = source(root, "01_good", '\n# %% tags=["nbval-check-output"]\nprint("a")\n')
    notebook = lessons.build(path)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="a\n")]
    change(notebook)
    return lessons.build(path), lambda *_: (notebook, 31.0)


def test_a_slow_lesson_is_kept_and_noted(tmp_path, monkeypatch, capsys):
    before, run = built(tmp_path)
    monkeypatch.setattr(pictures, "run", run)
    make._one(None, "", before, "01_good", tmp_path)
    assert lessons.check(tmp_path) == []
    assert capsys.readouterr().out == "01_good: 31.0 s, 30 s stated; 1 kB  more than it states\n"


def test_a_lesson_that_cannot_be_kept_is_not_written(tmp_path, monkeypatch):
    before, run = built(tmp_path, lambda notebook: notebook.cells[-1].outputs[0].update(name="stderr"))
    monkeypatch.setattr(pictures, "run", run)
    with pytest.raises(pictures.LessonError, match="01_good: cell 2: writes to stderr"):
        make._one(None, "", before, "01_good", tmp_path)
    assert not lessons.notebook_path("01_good", tmp_path).exists()


def test_an_error_in_a_cell_is_told_with_its_cell():
    cell = nbformat.v4.new_code_cell("1 / 0")
    cell.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="of", traceback=["\x1b[31mline"])]
    with pytest.raises(pictures.LessonError, match=r"cell 0 ended with ZeroDivisionError: of\n\n1 / 0\n\nline"):
        pictures._no_errors(nbformat.v4.new_notebook(cells=[cell]))


class Page:
    """A browser's page with so many empty figures."""

    def __init__(self, blank):
        self.evaluate = lambda script: blank


def test_a_figure_that_the_browser_has_lost_is_an_error():
    pictures._no_blanks(Page(0))
    with pytest.raises(pictures.LessonError, match="2 figures are empty"):
        pictures._no_blanks(Page(2))


def test_records_are_measured_again_and_kept(tmp_path, monkeypatch, capsys):
    source(tmp_path, "01_records", RECORDING)
    monkeypatch.setattr(make, "RECORDS", tmp_path / "data" / "course")
    assert make.main(["--records", "01_records"], tmp_path) == 0
    assert capsys.readouterr().out == "01_records: one, two\n"
    assert {path.name: json.loads(path.read_text()) for path in (tmp_path / "data" / "course").iterdir()} == {
        "one.json": {"x": [1, 2]}, "two.json": {"x": [1, 2]}
    }  # fmt: skip


def test_records_of_a_broken_lesson_are_not_touched(tmp_path, monkeypatch, capsys):
    source(tmp_path, "01_records", RECORDING + BROKEN)
    monkeypatch.setattr(make, "RECORDS", tmp_path / "data" / "course")
    assert make.main(["--records", "01_records"], tmp_path) == 1
    assert "KeyError: 'nothing'" in capsys.readouterr().err and not list((tmp_path / "data" / "course").iterdir())


def packed(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_pictures_lose_their_empty_space_and_no_colour():
    noise = Image.merge("RGB", [Image.effect_noise((300, 100), 90) for _ in range(3)])
    few = Image.linear_gradient("L").convert("RGB").resize((300, 100))
    for content, mode in ((noise, "RGB"), (few, "P")):
        image = Image.new("RGB", (900, 400), "white")
        image.paste(content, (0, 0))
        light = Image.open(io.BytesIO(pictures.small(packed(image))))
        assert light.size == (308, 108) and light.mode == mode
        assert ImageChops.difference(light.convert("RGB"), image.crop((0, 0, 308, 108))).getbbox() is None


def test_it_starts_the_jupyterlab_of_its_own_environment(tmp_path, monkeypatch):
    other = tmp_path / "bin" / "jupyter-lab"  # first on the PATH, as where somebody's conda is active
    other.parent.mkdir()
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent), prepend=os.pathsep)
    with lab.serve(tmp_path / "kept", tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
