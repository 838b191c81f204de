"""Write the report of a sweep as one web page without outside parts, and as a notebook."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from pathlib import Path

from .._html import html_table

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em }
h1 { margin-bottom: .2em } h2 { margin: 1.8em 0 .4em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #8884; padding: .25em .8em; text-align: right }
th { border-bottom: 2px solid #8888; vertical-align: bottom }
th:first-child, td:first-child { text-align: left }
td:not(:first-child) { white-space: nowrap }
.runs td { text-align: left; vertical-align: top; white-space: normal !important }
.runs th { text-align: left } .runs td:first-child { min-width: 13em }
.runs td:last-child { font: .8em/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
figure { margin: 0 0 1.5em } figcaption { padding-top: .4em }
.scroll { overflow-x: auto } .note { opacity: .8; font-size: .9em; margin: .2em 0 }
"""


def page(
    title: str,
    headline: str,
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]],
    notes: Sequence[str],
    figures: Sequence,
    runs: Sequence[Sequence[str]],
) -> str:
    """Return the web page.

    Args:
        title: Name of the sweep.
        headline: How many runs are finished.
        tables: Titles of the columns and rows of each table.
        notes: Lines below the tables.
        figures: Figures of plotly.
        runs: Titles and rows of the table of all runs.
    """
    parts = [f"<h1>{html.escape(title)}</h1><p>{html.escape(headline)}</p>"]
    # The program that draws the figures is part of the page, once.
    for number, figure in enumerate(figures):
        drawing = figure.to_html(
            full_html=False,
            include_plotlyjs=number == 0,
            config={"displaylogo": False, "responsive": True},
        )
        # The caption is what a screen reader says instead of the drawing.
        caption = html.escape(figure.layout.meta["takeaway"])
        parts.append(f'<figure>{drawing}<figcaption class="note">{caption}</figcaption></figure>')
    for head, rows in tables:
        parts.append(f'<div class="scroll">{html_table(head, rows)}</div>')
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    head, *rows = runs
    parts.append(f'<h2>All runs</h2><div class="scroll runs">{html_table(head, rows)}</div>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def notebook(title: str, folder: str, place: Path) -> bytes:
    """Return an executed notebook that shows the report.

    Args:
        title: Name of the sweep.
        folder: Folder of the results, as seen from the folder of the notebook.
        place: Folder that the notebook will be in.
    """
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    from ..reruns.kernel import Progress, execute, prepared

    cells = [
        new_markdown_cell(f"# {html.escape(title)}"),
        new_code_cell(f"import oatlib\n\nreport = oatlib.sweep_report({folder!r})\nreport"),
        new_code_cell("for figure in report.figures():\n    figure.show()"),
        new_markdown_cell("One dictionary for each run and setting, ready for pandas:"),
        new_code_cell("report.rows()[:3]"),
    ]
    nb = prepared(new_notebook(cells=cells), {})
    execute(nb, place, Progress(nb, sys.stderr))
    nb.metadata.pop("widgets", None)
    return f"{nbformat.writes(nb)}\n".encode()
