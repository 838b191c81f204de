"""Write tables as HTML, for notebooks, which call `_repr_html_` of what a cell returns."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> str:
    """Return a table as HTML, with lines of text below it.

    Args:
        head: Titles of the columns.
        rows: One sequence of cells per row. Cells are escaped.
        notes: Lines to show below the table.
    """
    body = "".join(_row("td", row) for row in rows)
    below = "<br/>".join(html.escape(note) for note in notes)
    return (
        f"<table><thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"
        f"{f'<p>{below}</p>' if below else ''}"
    )


def _row(tag: str, cells: Sequence[str]) -> str:
    """Return a row of a table; `tag` is "th" or "td"."""
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
