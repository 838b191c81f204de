"""Keep what learners write: the file `my_oatlib.py` beside the notebooks.

The file is plain Python. It holds one section for each accepted answer:

    # --- pgd (lesson 01, 2026-11-28) ---

`keep` writes a section. It finds the source in the cells of the notebook, together with the
functions, classes and imports that the answer needs. `sections` and `run` read the file again.
"""

from __future__ import annotations

import ast
import builtins
import dis
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import CodeType

from ..record import write_bytes

FILE = "my_oatlib.py"
HEADER = '''"""What I built in the lessons of oatlib. Every part passed the check of its exercise.

oatlib writes this file when you solve an exercise. You may edit it. A later lesson runs the check
again before it uses a part, and says so.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
'''
BORROWED = "oatlib's version"  # what a section says that the learner has not solved yet
HEADER_NAMES = {"math", "torch", "F", "Tensor", "nn"}
MARK = re.compile(r"^# --- (\w+) \((.*)\) ---$", re.MULTILINE)


class NotKept(Exception):
    """An answer cannot be kept. The message is a sentence for the learner."""


@dataclass(frozen=True)
class Section:
    """A part of the file.

    Attributes:
        name: Name of the function or class.
        about: Where it comes from, such as "lesson 01, 2026-11-28".
        source: Its source.
    """

    name: str
    about: str
    source: str

    def __str__(self) -> str:
        return f"# --- {self.name} ({self.about}) ---\n{self.source}\n"


def notebook_cells() -> list[str]:
    """Return the sources of the cells that were run, the oldest first; none outside a notebook."""
    from IPython import get_ipython

    shell = get_ipython()
    return [] if shell is None else [cell for cell in shell.user_ns.get("In", []) if cell.strip()]


def keep(
    name: str,
    lesson: str,
    cells: Sequence[str],
    folder: Path | str = ".",
    library: Mapping[str, str] | None = None,
) -> Path:
    """Write an answer to the file, in place of an earlier one of the same name.

    Args:
        name: Name of the function or class.
        lesson: Number of the lesson, such as "01".
        cells: Sources of the cells that were run, the oldest first.
        folder: Folder of the file.
        library: What an answer may use without having written it, {name: source}. It is written
            as a section that says so. An answer of that name takes its place later.

    Returns:
        Path of the file.

    Raises:
        NotKept: If no cell defines the name, if the answer uses a name of the notebook that cannot
            be kept, or if the file cannot be read or written.
    """
    path = Path(folder, FILE)
    kept = {section.name: section for section in sections(folder)}
    about = f"lesson {lesson}, {date.today().isoformat()}"
    for part, source, is_borrowed in _with_what_it_needs(name, cells, kept, library or {}):
        kept[part] = Section(part, BORROWED if is_borrowed else about, source)
    text = "\n\n".join([HEADER, *(str(section) for section in kept.values())])
    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise NotKept(f"{FILE} cannot be written: {error.strerror or error}.") from None
    return path


def sections(folder: Path | str = ".") -> list[Section]:
    """Return the sections of the file, in their order; none if there is no file.

    Args:
        folder: Folder of the file.

    Raises:
        NotKept: If the file cannot be read.
    """
    path = Path(folder, FILE)
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotKept(f"{FILE} cannot be read: {error}.") from None
    # [text before the first mark, name, about, source, name, about, source, ...]
    _, *parts = MARK.split(text)
    return [
        Section(name, about, source.strip("\n"))
        for name, about, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def run(folder: Path | str = ".") -> dict:
    """Run the file. The caller must have said so to the learner.

    Args:
        folder: Folder of the file.

    Returns:
        The names that the file defines.

    Raises:
        NotKept: If the file cannot be read, or raises an error.
    """
    path = Path(folder, FILE)
    names: dict = {"__name__": "my_oatlib", "__file__": str(path)}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    except Exception as error:
        raise NotKept(f"{FILE} stopped with {type(error).__name__}: {error}.") from None
    return names


def _with_what_it_needs(
    name: str, cells: Sequence[str], kept: Mapping[str, Section], library: Mapping[str, str]
) -> list[tuple[str, str, bool]]:
    """Return an answer and what it needs: (name, source, whether it is the library's).

    Each stands after what it needs. What no cell defines must be in the file or in the library.
    """
    found: list[tuple[str, str, bool]] = []
    begun: set[str] = set()

    def visit(wanted: str) -> None:
        begun.add(wanted)
        # an exercise that is not solved may be defined in a cell, and be wrong
        is_open = wanted in library and wanted != name
        source = None if is_open else definition(wanted, cells)
        if source is None:
            if wanted in kept:
                return
            if wanted == name:
                raise NotKept(f"no cell of this notebook defines {name!r}.")
            if wanted in library:
                found.append((wanted, library[wanted], True))
                return
            raise NotKept(
                f"it uses {wanted!r}, which no cell defines as a function, a class, an import or "
                "a constant: make it an argument."
            )
        for needed in sorted(_globals_of(source) - HEADER_NAMES):
            if needed not in begun:
                visit(needed)
        found.append((wanted, source, False))

    visit(name)
    return found


def definition(name: str, cells: Sequence[str]) -> str | None:
    """Return the source of the newest top-level statement that defines a name, or None.

    Statements such as `pgd = check(pgd)` do not count: only functions, classes, imports and
    constants can be kept.

    Args:
        name: The name.
        cells: Sources of the cells that were run, the oldest first.
    """
    for cell in reversed(cells):
        try:
            body = ast.parse(cell).body
        except SyntaxError:  # a magic command, or a cell that failed
            continue
        for statement in reversed(body):
            if name in _defines(statement):
                return _source_of(statement, cell)
    return None


def _defines(statement: ast.stmt) -> set[str]:
    """Return the names that a statement defines, if it can be kept."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign) and _is_constant(statement.value):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _is_constant(value: ast.expr) -> bool:
    """Whether an expression uses no name and calls nothing."""
    return not any(isinstance(node, ast.Call | ast.Name) for node in ast.walk(value))


def _source_of(statement: ast.stmt, cell: str) -> str:
    """Return the lines of a statement, with the decorators of a function or class."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(cell.splitlines()[first - 1 : statement.end_lineno])


def _globals_of(source: str) -> set[str]:
    """Return the names that a source uses and does not define."""
    top = compile(source, FILE, "exec")
    defined, used, codes = set(), set(), [top]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for instruction in dis.get_instructions(code):
            if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                used.add(instruction.argval)
            elif instruction.opname == "STORE_NAME":  # at top level and in the bodies of classes
                defined.add(instruction.argval)
    # __class__ and the like are set by Python
    return {n for n in used - defined if not hasattr(builtins, n) and not n.startswith("__")}
