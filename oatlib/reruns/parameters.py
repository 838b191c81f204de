"""Read the parameters that a notebook declares, and check values for them.

The declarations are in the cell tagged `parameters`. Each one is one line:
`NAME: KIND = VALUE  # RANGE: explanation`. KIND is bool, int, float or str. RANGE is `LOW to HIGH`
or `one of A, B, C`. A bool has no range, and for the other kinds it is optional.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real

from .._suggest import did_you_mean, lookup

KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
GRAMMAR = (
    "write `NAME: KIND = VALUE  # LOW to HIGH: explanation` (or `# one of A, B: explanation`), "
    "KIND one of " + (", ".join(KINDS))
)
_CLAIM = re.compile(r"one of\b|[-+.]?\d\S* to\b")  # how a comment with a range starts
_RANGE = re.compile(r"(?:(\S+) to ([^\s:]+)|one of ([^:]+))\s*(?::(.*))?")


@dataclass(frozen=True)
class Parameter:
    """A value that the reader of a notebook can choose.

    Attributes:
        name: Name of the variable.
        kind: One of KINDS.
        default: The value in the notebook.
        low: Smallest allowed number; None without a range.
        high: Largest allowed number; None without a range.
        options: The allowed values; empty if there is no list of them.
        about: The explanation from the comment.
    """

    name: str
    kind: str
    default: bool | int | float | str
    low: int | float | None = None
    high: int | float | None = None
    options: tuple = ()
    about: str = ""

    @property
    def valid(self) -> str:
        """The allowed values in words, such as "a whole number from 1 to 30"."""
        if self.options:
            return f"one of {', '.join(map(str, self.options))}"
        return KINDS[self.kind] + ("" if self.low is None else f" from {self.low} to {self.high}")

    def read(self, given) -> bool | int | float | str:
        """Convert and check a value.

        Args:
            given: A value, or its text from a command line.

        Returns:
            The value, of the kind of this parameter.

        Raises:
            ValueError: If the value has another kind, or is not allowed.
        """
        try:
            value = _read(self.kind, given)
        except (ValueError, OverflowError):
            value = None
        outside = value is not None and self.low is not None and not self.low <= value <= self.high
        if value is None or outside or (self.options and value not in self.options):
            meant = did_you_mean(given, map(str, self.options))
            raise ValueError(f"{self.name} must be {self.valid}, got {given!r}{meant}")
        return value


def _read(kind: str, given):
    """Convert a value or its text to a kind, or raise ValueError or OverflowError."""
    text, truth = isinstance(given, str), isinstance(given, bool)
    if kind == "str" and text:
        return given
    if kind == "bool" and (truth or (text and given.strip().lower() in ("true", "false"))):
        return str(given).strip().lower() == "true"
    if kind == "int" and (text or isinstance(given, Integral)) and not truth:
        return int(given)
    if (
        kind == "float"
        and (text or isinstance(given, Real))
        and not truth
        and math.isfinite(float(given))
    ):
        return float(given)
    raise ValueError


def declared(source: str) -> dict[str, Parameter]:
    """Read the parameters that a cell declares.

    Args:
        source: Source code of the cell.

    Returns:
        The parameters by name, in the order of the cell.

    Raises:
        ValueError: If a line declares no valid parameter. The message names the line and the
            grammar.

    Example:
        >>> declared("epochs: int = 4  # 1 to 30: of training")["epochs"].valid
        'a whole number from 1 to 30'
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise _fault(source, error.lineno or 1, error.msg) from error
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    end = 0
    for statement in statements:
        try:
            last_line = statement.end_lineno or statement.lineno
            if statement.lineno <= end or last_line > statement.lineno:
                raise ValueError("one parameter, one line")
            end = last_line
            parameter = _declared(statement, comments.get(end, "#").lstrip("#").strip())
            if parameter.name in found:
                raise ValueError(f"{parameter.name} is there twice")
        except ValueError as error:
            raise _fault(source, statement.lineno, error) from error
        found[parameter.name] = parameter
    return found


def _declared(statement: ast.stmt, comment: str) -> Parameter:
    """Return the parameter that one statement declares. `comment` is the text after its #."""
    match statement:
        case ast.AnnAssign(ast.Name(name), ast.Name(kind), ast.expr() as value) if kind in KINDS:
            pass
        case _:
            raise ValueError("no parameter")
    try:
        default = ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"the value of {name} is not written out") from None
    parameter = Parameter(name, kind, default, about=comment)
    if _CLAIM.match(comment):
        parameter = _ranged(parameter, comment)
    if isinstance(default, str) != (kind == "str"):
        raise ValueError(f"{name} must be {KINDS[kind]}, got {default!r}")
    return replace(parameter, default=parameter.read(default))


def _ranged(parameter: Parameter, comment: str) -> Parameter:
    """Return the parameter with the range that its comment starts with."""
    match = _RANGE.fullmatch(comment)
    if not match or parameter.kind == "bool" or (match[1] and parameter.kind == "str"):
        raise ValueError(f"{comment!r} is no range for a {parameter.kind}")
    about = (match[4] or "").strip()
    words = [match[1], match[2]] if match[1] else [word.strip() for word in match[3].split(",")]
    try:
        values = [_read(parameter.kind, word) for word in words]
    except (ValueError, OverflowError):
        raise ValueError(f"the range {', '.join(words)} is not of kind {parameter.kind}") from None
    if match[1] and values[0] <= values[1]:
        return replace(parameter, low=values[0], high=values[1], about=about)
    if match[1] or len(set(values)) < len(values) or "" in words:
        raise ValueError(f"{comment!r} is no range: LOW comes first, and options differ")
    return replace(parameter, options=tuple(values), about=about)


def _fault(source: str, number: int, why) -> ValueError:
    """Return the error for a line of the cell."""
    line = "".join(source.splitlines()[number - 1 : number]).strip()
    return ValueError(f"parameters cell, line {number}, {line!r}: {why}; {GRAMMAR}")


def checked(
    parameters: Mapping[str, Parameter], given: Mapping
) -> dict[str, bool | int | float | str]:
    """Return a value for every parameter: the given one, or else the default.

    Args:
        parameters: The declared parameters, by name.
        given: Values, or their texts, by name.

    Returns:
        The values by name.

    Raises:
        ValueError: If a name is unknown, or a value is invalid.
    """
    for name in given:
        if not parameters:
            raise ValueError(f"unknown parameter {name!r}: this notebook has none")
        lookup("parameter", name, dict(parameters))
    return {
        name: one.read(given[name]) if name in given else one.default
        for name, one in parameters.items()
    }


def table(parameters: Mapping[str, Parameter]) -> str:
    """Return a text table of the parameters: name, kind, allowed values, default, explanation.

    Args:
        parameters: The declared parameters, by name.
    """
    rows = [("name", "kind", "range", "default", "")]
    rows += [(p.name, p.kind, p.valid, _text(p.default), p.about) for p in parameters.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _text(value) -> str:
    """Return a default as users type it on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
