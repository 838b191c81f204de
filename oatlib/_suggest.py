"""Look a name up in a table, and suggest the closest name if it is not there."""

from __future__ import annotations

import difflib


def lookup(kind: str, name: str, table: dict):
    """Return `table[name]`, or raise an error that lists the valid names and suggests one.

    Args:
        kind: What the name names, for the message, such as "backbone".
        name: The name.
        table: Names and their values.

    Raises:
        ValueError: If there is no such name.
    """
    if name not in tuple(table):  # a tuple, because a name that cannot be hashed is wrong, too
        raise ValueError(
            f"unknown {kind} {name!r}{did_you_mean(name, table)}: use one of {', '.join(table)}"
        )
    return table[name]


def did_you_mean(name, names) -> str:
    """Return ' (did you mean ...?)', or '' if no name is close.

    Args:
        name: The unknown name.
        names: The valid names.
    """
    close = difflib.get_close_matches(str(name), list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
