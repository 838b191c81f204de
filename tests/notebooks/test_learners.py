"""A learner who solves every exercise: the code is kept, and another notebook brings all of it back.

Only the exercises of a lesson run here, in a kernel, in a folder of the learner. Whole lessons run in test_driven.py.
Checks take a minute together, so each runs once: when the other notebook brings the code back. The first notebook
checks only `project`, and takes the other solutions for right. It shows that each of them is kept.
"""

import re

import nbformat
import pytest

from authoring import lessons
from oatlib.course import keeping
from oatlib.reruns.kernel import Progress, execute, prepared
from tests.notebooks.test_exercises import COURSE

IMPORTS = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\nimport oatlib\n"
IMPORTS += "from oatlib.course.exercises import check, mine"
BELIEVE = """import dataclasses, functools
from oatlib.course import exercises
exercises.find("project")  # registers all of them
for name, given in exercises.EXERCISES.items():
    if name != "project":
        believing = functools.wraps(given.look)(lambda answer: None)
        exercises.EXERCISES[name] = dataclasses.replace(given, look=believing)"""
# to take down all modules, one by one, takes Python longer than a second
END = "import atexit, os\n_ = atexit.register(os._exit, 0)"


def run(folder, *sources):
    """Run cells in one kernel; the texts that each displays."""
    cells = [nbformat.v4.new_code_cell(source) for source in (IMPORTS, *sources, END)]
    metadata = {"kernelspec": lessons.KERNEL}
    notebook = prepared(nbformat.v4.new_notebook(cells=cells, metadata=metadata), {})
    execute(notebook, folder, Progress(notebook, None), timeout=300)
    return ["".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs).replace("\n", " ")
            for cell in notebook.cells[1:-1]]  # fmt: skip


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """The folder of a learner who has solved all exercises, and {name: what check displayed}."""
    folder = tmp_path_factory.mktemp("learner")
    answers = {name: solution for _, name, _, solution in COURSE}
    cells = [part for name, code in answers.items() for part in (code, f"{name} = check({name})")]
    shown = run(folder, BELIEVE, *cells)[1:]
    return folder, dict(zip(answers, shown[1::2], strict=True))


def test_every_solved_exercise_is_kept(solved):
    folder, shown = solved
    for name, text in shown.items():
        assert re.match(f"✓ {name}: right\\. .*Kept in my_oatlib\\.py\\. ", text), text
    kept = {section.name: section for section in keeping.sections(folder)}
    assert {name for _, name, _, _ in COURSE} <= kept.keys()
    for lesson, name, _, solution in COURSE:
        assert kept[name].source in solution
        assert kept[name].about.startswith(f"lesson {lesson.partition('_')[0]},"), "as its module's docstring says"


def test_another_notebook_checks_all_of_it_and_brings_it_back(solved):
    """An answer that is not right any more would not come from my_oatlib.py."""
    folder, _ = solved
    names = [name for _, name, _, _ in COURSE]
    shown = run(folder, *(f"{name} = mine({name!r})\nassert {name}.__module__ == 'my_oatlib'" for name in names))
    for name, text in zip(names, shown, strict=True):
        assert f"✓ {name}: your code of lesson" in text, text
