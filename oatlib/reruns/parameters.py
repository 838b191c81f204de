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
    "write `NAME: KIND = VALUE  # LOW to HIGH: explanation` or `# one of A, B: explanation`, where "
    "KIND is one of " + ", ".join(KINDS)
)
_RANGE_START = re.compile(r"one of\b|[-+.]?\d\S* to\b")  # how a comment with a range starts
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

    def read(self, value) -> bool | int | float | str:
        """Convert and check a value.

        Args:
            value: A value, or its text from a command line.

        Returns:
            The value, of the kind of this parameter.

        Raises:
            ValueError: If the value has another kind, or is not allowed.
        """
        try:
            converted = _convert(self.kind, value)
            is_allowed = self._allows(converted)
        except (ValueError, OverflowError):
            is_allowed = False
        if not is_allowed:
            suggestion = did_you_mean(value, map(str, self.options))
            raise ValueError(f"{self.name} must be {self.valid}, got {value!r}{suggestion}")
        return converted

    def _allows(self, value) -> bool:
        """Return whether a value of the right kind is in the range or among the options."""
        if self.options:
            return value in self.options
        return self.low is None or self.low <= value <= self.high


def _convert(kind: str, value) -> bool | int | float | str:
    """Convert a value or its text to a kind, or raise ValueError or OverflowError."""
    is_text = isinstance(value, str)
    if kind == "str" and is_text:
        return value
    if kind == "bool":
        word = str(value).strip().lower()
        if (is_text or isinstance(value, bool)) and word in ("true", "false"):
            return word == "true"
    # a bool is a number in Python, but not a valid value of int and float
    if kind == "int" and isinstance(value, str | Integral) and not isinstance(value, bool):
        return int(value)
    if kind == "float" and isinstance(value, str | Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number):
            return number
    raise ValueError(f"{value!r} is not of kind {kind}")


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
    parameters: dict[str, Parameter] = {}
    last_line = 0
    for statement in statements:
        try:
            end = statement.end_lineno or statement.lineno
            if statement.lineno <= last_line or end > statement.lineno:
                raise ValueError("each parameter needs exactly one line")
            last_line = end
            comment = comments.get(last_line, "#").lstrip("#").strip()
            parameter = _declared(statement, comment)
            if parameter.name in parameters:
                raise ValueError(f"{parameter.name} is declared twice")
        except ValueError as error:
            raise _fault(source, statement.lineno, error) from error
        parameters[parameter.name] = parameter
    return parameters


def _declared(statement: ast.stmt, comment: str) -> Parameter:
    """Return the parameter that one statement declares. `comment` is the text after its #."""
    match statement:
        case ast.AnnAssign(ast.Name(name), ast.Name(kind), ast.expr() as value) if kind in KINDS:
            pass
        case _:
            raise ValueError("this is not the declaration of a parameter")
    try:
        default = ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"the value of {name} must be a constant, not computed") from None
    parameter = Parameter(name, kind, default, about=comment)
    if _RANGE_START.match(comment):
        parameter = _ranged(parameter, comment)
    if isinstance(default, str) != (kind == "str"):
        raise ValueError(f"{name} must be {KINDS[kind]}, got {default!r}")
    return replace(parameter, default=parameter.read(default))


def _ranged(parameter: Parameter, comment: str) -> Parameter:
    """Return the parameter with the range that its comment starts with."""
    match = _RANGE.fullmatch(comment)
    if not match or parameter.kind == "bool" or (match[1] and parameter.kind == "str"):
        raise ValueError(f"{comment!r} is not a range for a {parameter.kind}")
    low, high, options, about = match.groups()
    about = (about or "").strip()
    words = [word.strip() for word in options.split(",")] if options else [low, high]
    try:
        values = [_convert(parameter.kind, word) for word in words]
    except (ValueError, OverflowError):
        raise ValueError(f"the range {', '.join(words)} is not of kind {parameter.kind}") from None
    if options:
        if len(set(values)) < len(values) or "" in words:
            raise ValueError(f"{comment!r} is not a range: all options must be different words")
        return replace(parameter, options=tuple(values), about=about)
    low, high = (value for value in values if isinstance(value, (int, float)))
    if low > high:
        raise ValueError(f"{comment!r} is not a range: LOW must not be larger than HIGH")
    return replace(parameter, low=low, high=high, about=about)


def _fault(source: str, number: int, reason) -> ValueError:
    """Return the error for a line of the cell."""
    line = "".join(source.splitlines()[number - 1 : number]).strip()
    return ValueError(f"parameters cell, line {number}, {line!r}: {reason}; {GRAMMAR}")


def checked(
    parameters: Mapping[str, Parameter], values: Mapping
) -> dict[str, bool | int | float | str]:
    """Return a value for every parameter: the one in `values`, or else the default.

    Args:
        parameters: The declared parameters, by name.
        values: Values, or their texts, by name.

    Returns:
        The values by name.

    Raises:
        ValueError: If a name is unknown, or a value is invalid.
    """
    for name in values:
        if not parameters:
            raise ValueError(f"unknown parameter {name!r}: this notebook has no parameters")
        lookup("parameter", name, dict(parameters))
    return {
        name: parameter.read(values[name]) if name in values else parameter.default
        for name, parameter in parameters.items()
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
