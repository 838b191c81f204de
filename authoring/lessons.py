"""A lesson is a reviewed source, authoring/source/NN_name.py, and a notebook made from it,
notebooks/NN_name.ipynb, with light outputs.

This module connects the two, and checks a notebook before it is kept.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
SOURCE, MADE = Path("authoring", "source"), Path("notebooks")  # folders in ROOT
HEAVY = (
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.plotly.v1+json",
)  # pictures take their place
LIMIT = 1_100_000  # bytes of a notebook
LONGEST = 60  # seconds that a lesson may say it takes
COLUMNS = 110  # of plain text; a longer line is broken in JupyterLab at 1280 pixels
RICH = ("text/html", "text/markdown", "image/png")  # shown instead of plain text
RAW = re.compile(  # a dictionary, or a dataclass of two fields or more, as Python writes them
    r"""\{(?:'[^'\n]*'|"[^"\n]*"|[\w.]+): |\b[A-Z]\w*\(\w+=[^()\n]*, \w+="""
)
UNEQUAL = re.compile(r"^.*: +False$", re.MULTILINE)  # what a checked cell must not print
CHECKED = "nbval-check-output"  # tag of a cell: nbval compares what the cell prints
SHOWING = {
    "print",
    "display",
    "say",
    "predict",
    "reveal",
    "finish",
    "sliders",
    "explore",
}  # calls that leave an output
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# in parts, so that this file does not hold what it looks for
PLACE = re.compile(rf"(?<![\w.~*/-])/(?:{'|'.join(['home', 'root', 'work', 'Users', 'tmp'])})/\w")


class Unfit(Exception):
    """What is wrong with a notebook."""


def sources(root: Path = ROOT) -> dict[str, Path]:
    """{name: source} of the lessons, in their order."""
    return {path.stem: path for path in sorted((root / SOURCE).glob("*.py"))}


def notebook_path(name: str, root: Path = ROOT) -> Path:
    """Where the notebook of a lesson lies."""
    return root / MADE / f"{name}.ipynb"


def build(source: Path) -> NotebookNode:
    """The notebook that a source describes: without outputs, with cell ids that stay the same."""
    read = jupytext.read(source, fmt="py:percent")
    cells = []
    for index, cell in enumerate(read.cells):
        new = (
            nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        )
        if cell.cell_type == "raw":
            raise ValueError(f"{source.name}: cell {index} is raw: a lesson has Markdown and code")
        kept = {key: value for key, value in cell.metadata.items() if key != "lines_to_next_cell"}
        cells.append(new(cell.source, id=f"{source.stem}-{index:02d}", metadata=kept))
    about = read.metadata.get("oatlib")
    if not isinstance(about, dict) or not isinstance(about.get("seconds"), int):
        raise ValueError(
            f"{source.name}: the front matter needs, under jupyter:, oatlib: {{seconds: 40}}"
        )
    return nbformat.v4.new_notebook(
        cells=cells,
        metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}, "oatlib": dict(about)},
    )


def text(notebook: NotebookNode) -> str:
    """As it is written to a file: the same bytes for the same content."""
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def check(root: Path = ROOT) -> list[str]:
    """What is wrong with the notebooks, without running them; one line each."""
    made = {path.stem: path for path in sorted((root / MADE).glob("*.ipynb"))}
    known = sources(root)
    wrong = [
        f"{name}: there is no notebook of this source; run make notebooks"
        for name in known
        if name not in made
    ]
    wrong += [
        f"{name}: there is no {(SOURCE / name).as_posix()}.py of this notebook"
        for name in made
        if name not in known
    ]
    for name in known.keys() & made.keys():
        wrong += [f"{name}: {fault}" for fault in faults(made[name])]
    return sorted(wrong)


def faults(path: Path) -> list[str]:
    """What is wrong with a notebook and, if there is a source of it, its agreement with that."""
    source = path.parents[1] / SOURCE / f"{path.stem}.py"
    notebook = nbformat.read(path, as_version=4)
    wrong = list(differences(notebook, build(source))) if source.is_file() else []
    return wrong + list(unfit(notebook))


def differences(notebook: NotebookNode, built: NotebookNode) -> Iterator[str]:
    """Where a notebook is not what its source makes; outputs aside."""
    again = "; run make notebooks"
    if len(notebook.cells) != len(built.cells):
        yield f"has {len(notebook.cells)} cells, its source {len(built.cells)}{again}"
    for index, (cell, due) in enumerate(zip(notebook.cells, built.cells, strict=False)):
        for part in ("cell_type", "id", "source", "metadata"):
            if cell.get(part) != due[part]:
                yield f"cell {index}: {part} is not that of the source{again}"
    if notebook.metadata != built.metadata:
        extra = [
            key
            for key in {*notebook.metadata, *built.metadata}
            if notebook.metadata.get(key) != built.metadata.get(key)
        ]
        yield f"metadata {', '.join(sorted(extra))} is not that of the source{again}"


def unfit(notebook: NotebookNode) -> Iterator[str]:
    """Why a notebook cannot be kept as it is."""
    stated = notebook.metadata.get("oatlib", {}).get("seconds")
    if not isinstance(stated, int) or not 1 <= stated <= LONGEST:
        yield f"states a run time of {stated!r}: metadata oatlib.seconds must be 1 to {LONGEST}"
    if "widgets" in notebook.metadata:
        yield "holds widget state (metadata.widgets)"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        shown = ", ".join("-" if count is None else str(count) for count in counts)
        yield f"was not run once from top to bottom: execution counts {shown}"
    if not any(is_checked(cell) for cell in code):
        yield f"has no cell with the tag {CHECKED}"
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            yield from (f"cell {index}: {fault}" for fault in _unfit_outputs(cell))
    if (size := len(text(notebook).encode())) > LIMIT:
        yield (
            f"has {size / 1000:.0f} kB, {LIMIT / 1000:.0f} are allowed; largest outputs: "
            f"{_largest(notebook)}"
        )


def _unfit_outputs(cell: NotebookNode) -> Iterator[str]:
    if not cell.outputs and (is_checked(cell) or _shows(cell.source)):
        yield "has no output, and its last line makes one"
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "error":
            yield f"ended with {output.ename}: {output.evalue}"
        if output.get("name") == "stderr":
            yield f"writes to stderr, which readers see in red: {output.text.strip()[:200]!r}"
        for mime in HEAVY:
            if mime in data:
                yield f"holds {mime}, dead without a kernel: a picture takes its place"
        if is_checked(cell) and data and "image/png" in data:
            yield f"has the tag {CHECKED} and shows a picture: print words or rounded numbers"
        if is_checked(cell) and (hit := UNEQUAL.search(output.get("text", ""))):
            yield f"says that something is not as it should be: {hit[0].strip()!r}"
        yield from _unreadable(output)
        if hit := PLACE.search(
            output.get("text", "") + "".join(str(v) for k, v in data.items() if k != "image/png")
        ):
            yield f"names a place on the machine it ran on: {hit[0]}..."


def _unreadable(output: NotebookNode) -> Iterator[str]:
    """What of an output is shown as Python writes it, or is too wide."""
    data = output.get("data", {})
    printed = output.get("text", "")
    for text in (printed, data.get("text/plain", ""), data.get("text/markdown", "")):
        if hit := RAW.search(text):
            part = text[hit.start() :][:40]
            yield f"shows {part!r} as Python writes it: make a table"
            break
    shown = printed if data.keys() & set(RICH) else printed + data.get("text/plain", "")
    if (widest := max(map(len, shown.splitlines()), default=0)) > COLUMNS:
        yield f"shows a line of {widest} columns; at most {COLUMNS} fit: make a table, or lines"


def is_checked(cell: NotebookNode) -> bool:
    """Whether the gate compares what a cell prints."""
    return CHECKED in cell.metadata.get("tags", [])


def _shows(source: str) -> bool:
    """Whether the last line is sure to leave something under the cell."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic command
        return False
    if not body or not isinstance(body[-1], ast.Expr) or source.rstrip().endswith(";"):
        return False
    last = body[-1].value
    called = last.func if isinstance(last, ast.Call) else None
    name = (
        called.attr
        if isinstance(called, ast.Attribute)
        else called.id
        if isinstance(called, ast.Name)
        else None
    )
    return isinstance(last, ast.Name) or name in SHOWING


def _largest(notebook: NotebookNode) -> str:
    sizes = sorted(
        ((len(str(o)), i) for i, c in enumerate(notebook.cells) for o in c.get("outputs", [])),
        reverse=True,
    )
    return ", ".join(f"cell {index} with {size / 1000:.0f} kB" for size, index in sizes[:3])
