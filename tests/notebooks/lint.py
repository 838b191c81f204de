"""What every lesson must have, as far as a program can tell from its source."""

import ast
import re
from collections.abc import Callable, Iterator

from nbformat import NotebookNode

from authoring import lessons
from oatlib.course import figures
from oatlib.reruns.parameters import declared

RULES: dict[str, Callable[[str, NotebookNode], Iterator[str]]] = {}
GOALS, EXERCISES = range(3, 6), range(2, 8)
LONGEST = 40  # lines of a cell
WIDE = 100  # columns of code that JupyterLab shows at 1280 pixels beside its side bar, with some to spare
EARLY = 4  # code cells, parameters and set-up among them, within which there is something to see
LEARNERS = 0.2  # least share of the code to read that learners write, in all lessons but those of READING
READING = {"A"}  # lessons that mostly show code of the library
# first lines of a folded cell
FOLDED = ("# Drawing. You need not read this cell.", "# Text and tables. You need not read this cell.")
SECTIONS = ("Pitfalls", "What we did not show", "Try this", "Sources")
PICTURES = ("figures.", "sliders(", "explore(", "go.Figure")
EASINESS = re.compile(r"[●○]{5} · \d+ minutes?")
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
CODE = re.compile(r"```.*?```|<code>.*?</code>|`[^`]*`", re.DOTALL)
TYPED = re.compile(r"\d\s?(?:%|per ?cent\b)|accura\w+[^.\n]{0,40}\b0\.\d")
INTERVAL = re.compile(r"95\s?% (?:confidence )?interval")  # how it is measured, not what came out


def rule(check):
    RULES[check.__name__] = check
    return check


@rule
def glossary(name, notebook):
    """Every lesson links the page that explains its words."""
    if "(GLOSSARY.md)" not in words(notebook):
        yield "link the glossary in the first cell: [glossary](GLOSSARY.md)"


def faults(name: str, notebook: NotebookNode) -> list[str]:
    """What is wrong with a lesson; one line each, which begins with the rule."""
    return [f"{key}: {fault}" for key, check in RULES.items() for fault in check(name, notebook)]


def code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def words(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def calls(notebook: NotebookNode, name: str) -> list[ast.Call]:
    """The calls of a function or a method in the lesson's code."""
    nodes = (node for source in code(notebook) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [node for node in nodes if getattr(node.func, "attr", getattr(node.func, "id", None)) == name]


@rule
def goals(name, notebook):
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not Markdown with a title"
    _, found, after = first.source.partition("You will be able to")
    listed = re.match(r"\W*((?:^ *[*-] .*(?:\n {2,}.*)*\n?)+)", after, re.MULTILINE) if found else None
    count = len(re.findall(r"^ *[*-] ", listed[1], re.MULTILINE)) if listed else 0
    if count not in GOALS:
        yield f"the first cell lists {count} goals after 'You will be able to'; {GOALS[0]} to {GOALS[-1]} are wanted"


@rule
def run_time(name, notebook):
    stated, said = notebook.metadata.oatlib.seconds, re.search(r"Run time:\*{0,2} about (\d+) s\b", words(notebook))
    if said is None or int(said[1]) != stated:
        yield f"the front matter says {stated} seconds; the text must say 'Run time: about {stated} s'"
    if stated not in range(1, lessons.LONGEST + 1):
        yield f"{stated} seconds are stated; at most {lessons.LONGEST} are allowed"


@rule
def parameters(name, notebook):
    tagged = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells have the tag parameters; one must"
        return
    try:
        known = declared(tagged[0])
    except ValueError as error:
        yield str(error)
        return
    needed = {"seed"} | {"recompute" for _ in calls(notebook, "recorded")[:1]}
    needed |= {"epochs" for call in calls(notebook, "network")[:1] if getattr(call.func, "value", None) is not None}
    yield from (f"there is no parameter {name!r}" for name in sorted(needed - known.keys()))


@rule
def beginning(name, notebook):
    named = [call.args[0].value for call in calls(notebook, "begin") if isinstance(call.args[0], ast.Constant)]
    if named != [name]:
        yield f"must call begin({name!r}, globals()) once, calls it with {named}"


@rule
def ending(name, notebook):
    if not code(notebook) or "lesson.finish(" not in code(notebook)[-1]:
        yield "the last code cell must call lesson.finish(...)"


@rule
def early_picture(name, notebook):
    if not any(part in source for source in code(notebook)[:EARLY] for part in PICTURES):
        yield f"there is no figure and no widget in the first {EARLY} code cells"


@rule
def guesses(name, notebook):
    asked, shown = ([_key(call) for call in calls(notebook, each)] for each in ("predict", "reveal"))
    if len(asked) < 2:
        yield f"{len(asked)} x lesson.predict; at least 2 are wanted"
    if sorted(asked) != sorted(shown) or len(set(asked)) != len(asked):
        yield f"predict asks for {asked}, reveal shows {shown}: each key once in both"


def _key(call: ast.Call) -> str:
    return str(call.args[0].value) if call.args and isinstance(call.args[0], ast.Constant) else ast.unparse(call)


@rule
def live(name, notebook):
    if not calls(notebook, "sliders") + calls(notebook, "explore"):
        yield "there is no live widget: sliders(...) or oatlib.explore(...)"


@rule
def ablation(name, notebook):
    if "ablation" not in (words(notebook) + "".join(code(notebook))).lower():
        yield "nothing is switched off and on with the rest fixed: no word 'ablation'"


@rule
def equality(name, notebook):
    if not any(lessons.is_checked(cell) for cell in notebook.cells if cell.cell_type == "code"):
        yield f"no cell has the tag {lessons.CHECKED}; one shows that what was built is what the library has"


def lines_of_code(source: str) -> int:
    """Lines that hold code: no blank lines, no comments, no docstrings."""
    tree = ast.parse(source)
    silent = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            silent |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if number not in silent and line.strip() and line.strip()[0] != "#")


def is_folded(cell: NotebookNode) -> bool:
    """Whether JupyterLab shows a bar in place of the code of a cell."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def who_writes(notebook: NotebookNode) -> dict[str, int]:
    """Lines of code: those of the learner (the solutions), those to read, and those of folded cells."""
    counts = {"learner": 0, "read": 0, "folded": 0}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "exercise" not in tags:
            counts["folded" if is_folded(cell) else "read"] += lines_of_code(cell.source)
        if "solution" in tags:
            counts["learner"] += sum(map(lines_of_code, BLOCK.findall(cell.source)))
    return counts


@rule
def learners_code(name, notebook):
    """Learners write a part of the code, and it is not the drawing."""
    if name.partition("_")[0] in READING:
        return
    counts = who_writes(notebook)
    whole = counts["learner"] + counts["read"]
    if counts["learner"] < LEARNERS * whole:
        yield f"learners write {counts['learner']} of {whole} lines of code; at least {LEARNERS:.0%} are wanted"


@rule
def folding(name, notebook):
    """A folded cell says that it need not be read, and an exercise is never folded."""
    for index, cell in enumerate(notebook.cells):
        if is_folded(cell) and not cell.source.startswith(FOLDED):
            yield f"cell {index} is folded and does not begin with {' or '.join(map(repr, FOLDED))}"
        if is_folded(cell) and "exercise" in cell.metadata.get("tags", []):
            yield f"cell {index} is a folded exercise"


@rule
def sections(name, notebook):
    yield from (f"there is no {section!r}" for section in SECTIONS if section.lower() not in words(notebook).lower())


@rule
def cell_length(name, notebook):
    for index, cell in enumerate(notebook.cells):
        if (lines := len(cell.source.splitlines())) > LONGEST:
            yield f"cell {index} has {lines} lines; at most {LONGEST} can be read at once"


@rule
def markers(name, notebook):
    """Readers see comments. What only tests need is a tag."""
    for index, cell in enumerate(notebook.cells):
        if "NBVAL_" in cell.source:
            yield f"cell {index} has a comment for nbval: use a tag, such as {lessons.CHECKED}"


@rule
def width(name, notebook):
    """Nobody scrolls sideways to read the parameters, or an exercise with its check, its hint and its solution."""
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    read = {index for index, own in enumerate(tags) if "parameters" in own}
    read |= {number for index, own in enumerate(tags) if "exercise" in own for number in range(index, index + 4)}
    for number in sorted(read & set(range(len(notebook.cells)))):
        cell = notebook.cells[number]
        source = cell.source if cell.cell_type == "code" else "".join(BLOCK.findall(cell.source))
        if (widest := max(map(len, source.splitlines()), default=0)) > WIDE:
            yield f"cell {number} has a line of {widest} columns; at most {WIDE} fit in parameters and exercises"


@rule
def figure_width(name, notebook):
    """A figure is not cut off. Without a width it follows the page."""
    for call in calls(notebook, "update_layout"):
        for width in [word.value for word in call.keywords if word.arg == "width"]:
            if not isinstance(width, ast.Constant) or width.value > figures.WIDEST:
                yield f"a figure has the width {ast.unparse(width)}: write a number up to {figures.WIDEST}, or none"


@rule
def typed_numbers(name, notebook):
    for index, cell in enumerate(notebook.cells):
        text = INTERVAL.sub("", CODE.sub("", cell.source)) if cell.cell_type == "markdown" else ""
        yield from (
            f"cell {index} has a typed number, {hit[0]!r}: measure it, show it with say()"
            for hit in TYPED.finditer(text)
        )


@rule
def exercises(name, notebook):
    stubs = [index for index, cell in enumerate(notebook.cells) if "exercise" in cell.metadata.get("tags", [])]
    if len(stubs) not in EXERCISES:
        yield f"{len(stubs)} cells have the tag exercise; {EXERCISES[0]} to {EXERCISES[-1]} are wanted"
    for index in stubs:
        yield from (f"cell {index}: {fault}" for fault in _exercise(notebook.cells, index))


def _exercise(cells: list[NotebookNode], index: int) -> Iterator[str]:
    before, stub = cells[index - 1], cells[index]
    kinds = ast.FunctionDef | ast.ClassDef
    functions = [node.name for node in ast.parse(stub.source).body if isinstance(node, kinds)]
    if not functions or "raise NotImplementedError" not in stub.source:
        yield "a stub is a function or a class that raises NotImplementedError"
        return
    own = functions[-1]
    task = before.source.rpartition("### Exercise: ")[2] if "### Exercise: " in before.source else ""
    if before.cell_type != "markdown" or not EASINESS.search(task):
        yield "before it must come '### Exercise: ...' with '●●○○○ · 5 minutes' below"
    check, hint, solution = (cells[index + 1 : index + 4] + [NotebookNode(source="", metadata={})] * 3)[:3]
    if check.source.strip() != f"{own} = check({own})":
        yield f"after it must come the cell '{own} = check({own})'"
    for cell, part in ((hint, "Hint"), (solution, "Solution")):
        if not (cell.source.startswith(f"<details><summary>{part}</summary>") and cell.source.endswith("</details>")):
            yield f"after its check must come a hint, then a solution, each a cell of <details>: no {part}"
    if "solution" not in solution.metadata.get("tags", []):
        yield "its solution must have the tag solution, so that a teacher can leave it out"
    if "```python" not in solution.source:
        yield "its solution must have a block of ```python"
