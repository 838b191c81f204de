"""Runs a lesson in JupyterLab and keeps of its widgets and figures what a reader sees: pictures."""

import base64
import io
import re
import textwrap
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image, ImageChops

from . import lab, lessons

VIEW = {"width": 978, "height": 1200}  # outputs are as wide as beside the side bar at 1280 pixels
TALLEST = 16_000  # pixels that Chromium can draw
PATIENCE = 1_200_000  # milliseconds for all cells
QUIET, STILL = 120.0, 0.7  # seconds: to wait until nothing moves, and for how long nothing must
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SETTINGS = {
    f"{lab.NOTEBOOKS}/tracker": {
        "windowingMode": "none",
        "recordTiming": True,
        "scrollPastEnd": False,
    }
}
NOTEBOOK = f"{lab.HERE}.content"  # in the page
OUTPUT = (
    f"([cell, n]) => {NOTEBOOK}.widgets[cell].outputArea.widgets[n].node"
    ".querySelector('.jp-OutputArea-output')"
)
WORDS = """node => [...new Set([...node.querySelectorAll(
    ".gtitle, .xtitle, .ytitle, .legendtext, .annotation-text, .widget-html, " +
    "[role=img][aria-label]")]
    .map(part => (part.getAttribute("aria-label") || part.textContent).trim())
    .filter(Boolean))].join("; ")"""
# what the author says that a reader should see in a figure
TAKEAWAY = """node => {
    const plot = node.matches(".js-plotly-plot") ? node : node.querySelector(".js-plotly-plot");
    return plot?.layout?.meta?.takeaway ?? "";
}"""
FLUSH = """import gc, sys
def made(name, module):
    kind = getattr(sys.modules.get(module), name, ())
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]
for explorer in made("Explorer", "oatlib.explorer.widget"):
    # no other work in its pauses: curves that are not known yet may take minutes
    explorer._worker.restrict_idle_work("refine")
for worker in made("Worker", "oatlib.explorer.worker"):
    worker.flush(300)"""  # in the kernel: what is drawn or measured beside the cells
BLANK = (
    "[...document.querySelectorAll('.js-plotly-plot')].filter(plot => !plot.data?.length).length"
)
ANSWERS = ".jp-OutputArea-output .widget-html details"  # those of lesson.reveal


class LessonError(Exception):
    """A lesson that cannot be made, and why."""


def run(
    chromium, address: str, built: NotebookNode, name: str, shots: Path
) -> tuple[NotebookNode, float]:
    """Run a lesson that JupyterLab serves; its notebook with light outputs, and the seconds that
    its cells took.
    """
    watched = lab.Watched(chromium, viewport=VIEW)
    page = watched.page
    try:
        lab.open_notebook(page, f"{address}{name}.ipynb")
        _dress(page, "light")  # the lesson before was left in the dark
        lab.start(page)
        page.wait_for_function("window.ended", timeout=PATIENCE)
        ran = nbformat.from_dict(page.evaluate(f"{NOTEBOOK}.model.sharedModel.toJSON()"))
        _no_errors(ran)
        _settle(page)
        _no_blanks(page)
        _stretch(page)
        result = _lightened(page, ran, built)
        _photograph(page, name, shots)
        page.evaluate(f"{lab.HERE}.sessionContext.shutdown()")
    finally:
        watched.context.close()
    if watched.faults:
        raise LessonError("the page complains: " + "; ".join(watched.faults[:3]))
    return result, sum(_seconds(ran))


def _no_errors(ran: NotebookNode) -> None:
    for index, cell in enumerate(ran.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.traceback))
                raise LessonError(
                    f"cell {index} ended with {output.ename}: "
                    f"{output.evalue}\n\n{cell.source}\n\n{trace}"
                )


def _no_blanks(page) -> None:
    """A busy browser loses what the kernel tells a FigureWidget: anywidget gives it two seconds to
    load plotly.js.
    """
    if blank := page.evaluate(BLANK):
        raise LessonError(
            f"{blank} figures are empty: the browser was too slow. Try again when the machine does "
            "less"
        )


def _seconds(ran: NotebookNode) -> Iterator[float]:
    for cell in ran.cells:
        if times := cell.metadata.get("execution"):
            start, end = times["shell.execute_reply.started"], times["shell.execute_reply"]
            yield (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _settle(page) -> None:
    """Wait until the kernel has nothing to do, the explorers hold exact numbers and nothing moves
    any more.
    """
    page.evaluate(
        f"code => {lab.HERE}.sessionContext.session.kernel.requestExecute({{code, silent: "
        f"true}}).done",
        FLUSH,
    )
    settled = ".oat[data-phase=settled]:not([data-refining])"
    every = f"[...document.querySelectorAll('.oat')].every(oat => oat.matches('{settled}'))"
    page.wait_for_function(every, timeout=1000 * QUIET)
    end, before, since = time.monotonic() + QUIET, None, 0.0
    while before is None or time.monotonic() - since < STILL:
        now = page.evaluate(f"{NOTEBOOK}.node.innerHTML")
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() > end:
            raise LessonError(f"something still moves {QUIET:.0f} s after the last cell")
        time.sleep(0.1)


def _stretch(page) -> None:
    """Unfold the answers, and make the window as tall as the notebook: what scrolls cannot be
    photographed.
    """
    page.evaluate(
        "answers => document.querySelectorAll(answers).forEach(part => { part.open = true })",
        ANSWERS,
    )
    for _ in range(2):  # figures may grow with the window
        inside = f"{NOTEBOOK}.node.querySelector('.jp-WindowedPanel-outer').scrollHeight"
        height = (
            page.evaluate(inside)
            + page.evaluate("innerHeight")
            - page.evaluate(f"{NOTEBOOK}.node.clientHeight")
        )
        page.set_viewport_size({"width": VIEW["width"], "height": min(height + 20, TALLEST)})
        _settle(page)


def _dress(page, theme: str) -> None:
    page.evaluate(
        "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[theme]
    )


def _photograph(page, name: str, shots: Path) -> None:
    """The whole page in both themes, for people to look at."""
    shots.mkdir(exist_ok=True)
    for theme in THEMES:
        _dress(page, theme)
        _settle(page)
        page.screenshot(path=shots / f"{name}, {theme}.png", timeout=60_000)


def _lightened(page, ran: NotebookNode, built: NotebookNode) -> NotebookNode:
    """What was built, with the outputs of what was run: pictures for widgets and figures, nothing
    that is random.
    """
    result = nbformat.from_dict(built)
    for index, (cell, source) in enumerate(zip(result.cells, ran.cells, strict=True)):
        if cell.cell_type == "code":
            cell.execution_count = source.execution_count
            cell.outputs = [
                _light(page, index, n, output) for n, output in enumerate(source.outputs)
            ]
    return result


def _light(page, index: int, n: int, output: NotebookNode) -> NotebookNode:
    data = output.get("data", {})
    if not data.keys() & set(lessons.HEAVY):
        if "text/plain" in data:
            data["text/plain"] = _plain(data["text/plain"])
        return output
    node = page.evaluate_handle(OUTPUT, [index, n]).as_element()
    kind = re.search(r"\w+(?=\(| object|$)", data.get("text/plain", "Figure"))[0]
    words = node.evaluate(TAKEAWAY) or node.evaluate(WORDS)
    picture = base64.b64encode(small(node.screenshot(animations="disabled"))).decode()
    about = textwrap.shorten(f"{kind}: {words}" if words else kind, 300, placeholder=" ...")
    output.data = {"image/png": picture, "text/plain": about}
    # JupyterLab and nbconvert read the text alternative from here
    output.metadata = {"needs_background": "light", "image/png": {"alt": about}}
    return output


def _plain(words: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", words)


def small(png: bytes) -> bytes:
    """The same picture in the same colours, without the empty space at its right and lower side."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    blank = Image.new("RGB", image.size, image.getpixel((image.width - 1, image.height - 1)))
    _, _, right, lower = ImageChops.difference(image, blank).getbbox() or (0, 0, 8, 8)
    image = image.crop((0, 0, min(right + 8, image.width), min(lower + 8, image.height)))
    packed = io.BytesIO()
    # a picture of at most 256 colours needs a third of the bytes with a palette of just these
    if (colours := image.getcolors(256)) is not None:
        image = image.quantize(len(colours), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(packed, "PNG", optimize=True)
    return packed.getvalue()
