"""Write the parts of docs/teaching/*.md that can be computed: python authoring/teaching.py.

Each lesson has a page for teachers. Three parts of it are computed and stand between marks: the
times, the questions that ask for a guess, and what the checks of the exercises say. The rest is
written by hand. With --check nothing is written.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

import jupytext

from authoring import lessons
from oatlib.course import exercises

FOLDER = Path("docs", "teaching")
INDEX = "README.md"
WORDS_A_MINUTE, LINES_A_MINUTE = 150, 15  # reading: text of a technical lesson, and code
ROUND = 5  # minutes
OPEN = 4  # dots of an exercise that is open-ended


def main(argv: list[str] | None = None, root: Path = lessons.ROOT) -> int:
    """Write or check the pages; the exit code."""
    parser = argparse.ArgumentParser(description="Write the computed parts of docs/teaching.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing: are the pages up to date?"
    )
    asked = parser.parse_args(argv)
    old = []
    for path, text in pages(root).items():
        if path.read_text(encoding="utf-8") != text:
            old.append(path)
            if not asked.check:
                path.write_text(text, encoding="utf-8")
    for path in old:
        print(f"{path.relative_to(root)}: {'is not up to date' if asked.check else 'written'}")
    return int(asked.check and bool(old))


def pages(root: Path = lessons.ROOT) -> dict[Path, str]:
    """{page: its text with the computed parts}"""
    sources = lessons.sources(root)
    found = {}
    for name, source in sources.items():
        path = root / FOLDER / f"{name}.md"
        text = path.read_text(encoding="utf-8")
        text = _between(text, "times", times_table([source]))
        text = _between(text, "guesses", guesses(source))
        found[path] = _between(text, "mistakes", mistakes(source))
    path = root / FOLDER / INDEX
    text = path.read_text(encoding="utf-8")
    found[path] = _between(text, "times", times_table(list(sources.values()), links=True))
    return found


def _between(text: str, mark: str, new: str) -> str:
    """The text with something new between two marks."""
    begin, end = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not rest or not after:
        raise ValueError(f"a page has no lines {begin.strip()} and {end}")
    return f"{before}{begin}{new}\n{end}{after}"


def minutes(source: Path) -> dict[str, float]:
    """Minutes for each part of a lesson; the open exercise is a part of its own."""
    cells = jupytext.read(source).cells
    text = " ".join(
        cell.source
        for cell in cells
        if cell.cell_type == "markdown" and "solution" not in cell.metadata.get("tags", ())
    )
    code = [
        cell.source
        for cell in cells
        if cell.cell_type == "code" and not cell.metadata.get("jupyter", {}).get("source_hidden")
    ]
    tasks = re.findall(r"Difficulty (●+)○* · (\d+) minutes", text)
    is_open = [len(dots) >= OPEN for dots, _ in tasks]
    needed = [int(number) for _, number in tasks]
    seconds = lessons.build(source).metadata.oatlib.seconds
    return {
        "reading": len(re.findall(r"\w+", text)) / WORDS_A_MINUTE
        + sum(len(part.splitlines()) for part in code) / LINES_A_MINUTE,
        "running": seconds / 60,
        "exercises": sum(m for m, more in zip(needed, is_open, strict=True) if not more),
        "open exercise": sum(m for m, more in zip(needed, is_open, strict=True) if more),
    }


def times_table(sources: list[Path], links: bool = False) -> str:
    """A table of minutes, one lesson a row."""
    lines = [
        "| lesson | read | run | exercises | the open one | together |",
        "|---|---|---|---|---|---|",
    ]
    total = 0
    for source in sources:
        parts = minutes(source)
        whole = ROUND * round(sum(parts.values()) / ROUND)
        total += whole
        name = f"[{source.stem}]({source.stem}.md)" if links else source.stem
        numbers = [f"{max(1, round(value))}" for value in parts.values()]
        lines.append(f"| {name} | {' | '.join(numbers)} | **{whole}** |")
    if len(sources) > 1:
        lines.append(f"| all | | | | | **{total}**, {total / 60:.0f} hours |")
    return "\n".join([*lines, "", "Minutes."])


def guesses(source: Path) -> str:
    """The questions of a lesson that ask for a guess, one a line."""
    found, names = [], {}
    for cell in jupytext.read(source).cells:
        if cell.cell_type != "code":
            continue
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                names[statement.targets[0].id] = statement.value
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "predict":
                    question = node.args[1]
                    if isinstance(question, ast.Name):
                        question = names[question.id]
                    found.append(re.sub(r"<[^>]*>", "", _words(question)))
    return "\n".join(f"* {_sentence(question)}" for question in found)


def mistakes(source: Path) -> str:
    """What the checks of a lesson can say, by exercise."""
    exercises.find_all()
    names = [
        match[1]
        for match in re.finditer(
            r"^# ### Exercise: (\w+)", source.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    blocks = []
    for name in names:
        module = Path(sys.modules[exercises.find(name).look.__module__].__file__)
        said = messages(ast.parse(module.read_text(encoding="utf-8")), name)
        blocks += [f"`{name}`", "", *(f"* {_sentence(message)}" for message in said), ""]
    return "\n".join(blocks).rstrip()


def messages(module: ast.Module, name: str) -> list[str]:
    """What a check and the functions that it calls can say, in the order of their lines."""
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    found: list[str] = []
    begun: set[str] = set()

    def visit(function: ast.FunctionDef) -> None:
        begun.add(function.name)
        calls = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            called = call.func.id
            if called == "Wrong" and call.args and isinstance(call.args[0], ast.Name):
                found.extend(_from_loop(call, function, module))
            elif called == "Wrong" and call.args:
                found.append(_words(call.args[0]))
            elif called == "same" and len(call.args) > 2:
                found.append(_words(call.args[2]))
            elif called in functions and called not in begun:
                visit(functions[called])

    visit(functions[name])
    return list(dict.fromkeys(text for text in found if text.strip(" .…")))


def _from_loop(call: ast.Call, function: ast.FunctionDef, module: ast.Module) -> list[str]:
    """Return the messages of `raise Wrong(name)` in a loop over a table with a message per row."""
    name = call.args[0].id
    for loop in ast.walk(function):
        if not isinstance(loop, ast.For) or call not in ast.walk(loop):
            continue
        targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
        names = [getattr(target, "id", "") for target in targets]
        if name in names:
            rows = _rows(loop.iter, function, module)
            return [_words(row[names.index(name)]) for row in rows]
    return []


def _rows(table: ast.expr, function: ast.FunctionDef, module: ast.Module) -> list[list[ast.expr]]:
    """Return the rows of a table: a dict, or a tuple of tuples, under its name or as a result."""
    if isinstance(table, ast.Call) and isinstance(table.func, ast.Attribute):
        return _rows(table.func.value, function, module)  # {...}.items()
    if isinstance(table, ast.Dict):
        return [[key, value] for key, value in zip(table.keys, table.values, strict=True) if key]
    if isinstance(table, ast.Tuple | ast.List):
        return [row.elts for row in table.elts if isinstance(row, ast.Tuple)]
    values: list[ast.expr] = []
    if isinstance(table, ast.Name):
        # the last value of this name in the function, else in the module
        for node in [*module.body, *ast.walk(function)]:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == table.id:
                values.append(node.value)
    elif isinstance(table, ast.Call) and isinstance(table.func, ast.Name):
        for called in module.body:
            if isinstance(called, ast.FunctionDef) and called.name == table.func.id:
                values += [node.value for node in ast.walk(called) if isinstance(node, ast.Return)]
    return _rows(values[-1], function, module) if values else []


def _words(node: ast.expr) -> str:
    """The text of an expression, with … for what is computed."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _words(part) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return "…"


def _sentence(text: str) -> str:
    """A message as a sentence of Markdown."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] if text[:1].isascii() else text  # λ stays small


if __name__ == "__main__":
    sys.exit(main())
