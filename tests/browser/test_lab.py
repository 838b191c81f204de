"""What a lesson shows in JupyterLab at 1280 pixels with the side bar open: nothing is cut off or scrolls sideways."""

import nbformat
import pytest

from authoring import lab, pictures

CELLS = """
n: int = 8  # 4 to 16: images
#
import torch
from plotly.subplots import make_subplots
import oatlib
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
lesson = begin("sample", globals())
data = oatlib.load_data("shapes", n_train=96, n_val=n, n_test=n)
oats, standard = oatlib.build("oats", data), oatlib.build("standard", data)
images, attack = data.val.x, oatlib.PGD(0.03, 2)
names = ["trained against PGD-20 from the start", "trained with N-FGSM", "a network of its own for each stop of λ"]
#
values = [k / 10 for k in range(9)]
series = {name: (values, [v - 0.1 for v in values], [v + 0.1 for v in values]) for name in names}
figures.lines(range(9), series, x_name="steps of the attack", y_name="robust accuracy", title="A title")
#
points = [{"clean": 0.9 - k / 10, "robust": k / 10, "n": 64, "lam": k / 4} for k in range(5)]
figures.frontier({name: points for name in names}, title="The trade-off")
#
figures.bars(names, {"clean": [0.9] * 3, "robust": [0.5] * 3}, n=64)
#
figures.histograms({name: torch.randn(99) + k for k, name in enumerate(names)})
#
captions = [f"class: triangle · drawn: cross · says: square {k}" for k in range(n)]
figures.images({"image": images, "change × 16": images}, {"image": captions})
#
figures.images({"the images of one long row": images[:4].repeat(3, 1, 1, 1)})
#
def draw(lam, width, kind, on):
    fig = make_subplots(1, 2)
    for col in (1, 2):
        fig.add_scatter(x=[0, 1], y=[lam, width], name=kind, row=1, col=col)
    return figures.layout(fig, "one axis", "another axis", height=300), "a note below it, " * 20

sliders(draw, {"one step of the attacker": lambda: None, "one step of the defender": lambda: None},
        {"lam": "λ between accuracy and robustness"}, lam=(0.0, 1.0, 0.1), width=[0.25, 0.5, 1.0],
        kind=["clean images", "attacked images", "images with noise", "images of another world"], on=True)
#
sliders(lambda rows: figures.images({f"row {k}": images for k in range(rows)}), rows=(1, 3, 1))
#
lesson.predict("which", "which of these keeps most of its robust accuracy " * 3, options=[*names, "none of them"])
#
lesson.reveal("which", names[0], "because it has seen the attack; " * 9)
#
lesson.predict("how much", "how much is left", 0, 50, "points of robust accuracy")
#
def project(x_adv, x, eps):
    raise NotImplementedError
check(project)
#
def project(x_adv, x, eps):
    return x_adv
check(project)
#
def project(x_adv, x, eps):
    raise ValueError("many words " * 20 + "x" * 300)
check(project)
#
table = oatlib.evaluate(oats, data.val, attack)  # with a bar of progress
table
#
table[0]
#
print(table)
#
oatlib.cost(oats, 0.0, 0.5)
#
oatlib.train(standard, data, "fast", epochs=1)
#
oatlib.across_lambda(oats, data.val, attack=attack, progress=False)
#
oatlib.compare({"a network": standard, "oats": oats}, data.val, attack=attack, progress=False)
#
oatlib.audit(standard, data.val, n=4, progress=False)
#
say("| | clean | robust |\\n|---|---|---|\\n" + f"| {names[0]} | 90 % | {'many words ' * 20} |")
#
oatlib.explore({"oats": oats, "standard": standard}, data, n=n)
#
lesson.finish(picked={"lam": 0.3, "clean": 0.925}, attack=str(oatlib.Suite()), table=table)
"""
WRONG = """
import ipywidgets, plotly.graph_objects as go
from IPython.display import HTML
go.Figure(go.Bar(x=[1], y=[2]), layout={"width": 900})
#
HTML("<pre style='white-space: pre'>" + "a long line " * 20 + "</pre>")
#
HTML("<table><tr>" + "<td style='min-width: 200px'>cell</td>" * 6 + "</tr></table>")
#
ipywidgets.HBox([ipywidgets.Button(description="a button with many words " * 2)])
#
ipywidgets.HBox([ipywidgets.Button(description="wide", layout={"min_width": "300px"}) for _ in range(4)])
#
print("this fits")
"""
# per cell: what scrolls sideways, is cut off, or is drawn beyond the output; not what only screen readers see, and
# not the inside of the explorer, whose own tests look at that
FAULTS = """() => [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")].map(cell =>
  [...cell.querySelectorAll(".jp-OutputArea-output")].flatMap(output => {
    const edge = output.getBoundingClientRect().right + 1;
    return [output, ...output.querySelectorAll("*")]
      .filter(node => node.clientWidth > 1 && !node.closest(".oat *, svg *, .modebar-container"))
      .filter(node => node.getBoundingClientRect().right > edge ||
        (getComputedStyle(node).overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1))
      .map(node => `${node.tagName} ${node.className.baseVal ?? node.className}: ${node.scrollWidth} pixels`);
  }))"""
PLOTS = """() => [...document.querySelectorAll(".js-plotly-plot")].map(plot =>
  [plot.closest(".jp-OutputArea-output").clientWidth, plot.querySelector("svg").clientWidth])"""


def notebook(cells):
    code = [nbformat.v4.new_code_cell(source.strip()) for source in cells.split("\n#\n")]
    code[0].metadata.tags = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("lab")
    (place / "notebooks").mkdir()
    for name, cells in (("sample", CELLS), ("wrong", WRONG)):
        nbformat.write(notebook(cells), place / "notebooks" / f"{name}.ipynb")
    # all cells are drawn, not only those on the screen
    with lab.serve(place, place / "notebooks", {f"{lab.NOTEBOOKS}/tracker": {"windowingMode": "none"}}) as address:
        yield address


def ran(chromium, address, name):
    """A page in which a notebook ran, with the side bar open."""
    watched = lab.Watched(chromium, viewport={"width": 1280, "height": 800})
    lab.open_notebook(watched.page, f"{address}{name}.ipynb", side_bar=True)
    lab.start(watched.page)
    watched.until("window.ended")
    pictures._settle(watched.page)
    return watched


@pytest.fixture(scope="module")
def sample(chromium, folder):
    watched = ran(chromium, folder, "sample")
    yield watched.page
    assert watched.faults == []
    watched.context.close()


def settled(page, width):
    """Wait until the outputs have another width than before, and the figures have it, too."""
    page.wait_for_function(f"() => {{ const plots = ({PLOTS})(); return plots.every(([room, svg]) => room === svg && "
                           f"room !== {width}); }}")  # fmt: skip


def test_all_cells_work(sample):
    cells = sample.evaluate(f"{lab.HERE}.content.model.sharedModel.toJSON()")["cells"]
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert not [f"{error['ename']}: {error['evalue']}" for error in errors]
    assert sum(bool(cell["outputs"]) for cell in cells) == len(cells) - 2, (
        "all but parameters and imports show something"
    )


def test_nothing_is_cut_off_and_nothing_scrolls_sideways(sample):
    faults = sample.evaluate(FAULTS)
    assert len(faults) == len(CELLS.split("\n#\n"))
    assert {cell: found for cell, found in enumerate(faults) if found} == {}


def test_figures_follow_the_side_bar(sample):
    widths = sample.evaluate(PLOTS)
    narrow = widths[0][0]
    assert len(widths) == 8 and 800 < narrow < 900 and all(pair == [narrow, narrow] for pair in widths)
    sample.evaluate(lab.TOGGLE)
    settled(sample, narrow)
    wide = sample.evaluate(PLOTS)[0][0]
    assert wide > narrow + 200 and not any(sample.evaluate(FAULTS))
    sample.evaluate(lab.TOGGLE)
    settled(sample, wide)
    assert not any(sample.evaluate(FAULTS))


def test_what_is_too_wide_is_found(chromium, folder):
    watched = ran(chromium, folder, "wrong")
    *wrong, good = watched.page.evaluate(FAULTS)
    watched.context.close()
    assert len(wrong) == 5 and all(wrong) and not good
