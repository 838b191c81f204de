"""The gate of the notebooks, on notebooks that are broken in one way each: it must say where and what."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from authoring import lessons, make

ROOT = Path(__file__).parents[2]
GATE = [sys.executable, "-m", "pytest", "-p", "tests.notebooks.gate", "-p", "no:cacheprovider", "-n", "0",
        "--nbval-lax", "--nbval-current-env", "--color=no", "-rA"]  # fmt: skip
FRONT = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   oatlib:
#     seconds: {seconds}
# ---
"""
GOOD = {
    "start": "import math",
    "checked": "print(math.floor(2.5))",
    "end": "found = In[1]\nfound",
}
OUTPUTS = {
    "checked": [nbformat.v4.new_output("stream", name="stdout", text="2\n")],
    "end": [nbformat.v4.new_output("execute_result", {"text/plain": "'import math'"}, execution_count=3)],
}


CHECK = f' tags=["{lessons.CHECKED}"]'


def source(root, name):
    """The path of a source, in a folder that exists."""
    (root / lessons.SOURCE).mkdir(parents=True, exist_ok=True)
    return root / lessons.SOURCE / f"{name}.py"


def write(root, name, seconds=20, outputs=None, tags=CHECK, **cells):
    """A lesson and the notebook that belongs to it, as if it had been made; `cells` replace good ones or come last."""
    cells, outputs = GOOD | cells, OUTPUTS | (outputs or {})
    path = source(root, name)
    parts = [
        FRONT.format(seconds=seconds),
        "# %% [markdown]\n# # A lesson\n",
        *(f"# %%{tags if key == 'checked' else ''}\n{cell}\n" for key, cell in cells.items()),
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
    notebook = lessons.build(path)
    for count, (key, cell) in enumerate(zip(cells, notebook.cells[1:], strict=True), 1):
        cell.execution_count, cell.outputs = count, outputs.get(key, [])
    (root / lessons.MADE).mkdir(exist_ok=True)
    return save(notebook, lessons.notebook_path(name, root))


def save(notebook, path):
    path.write_text(lessons.text(notebook), encoding="utf-8")
    return path


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What the gate says of all of them: {(notebook, test): the lines of its report}."""
    folder = tmp_path_factory.mktemp("broken")
    write(folder, "good")
    write(folder, "raises", start="import math\n1 / 0")
    write(folder, "differs", checked="print(math.floor(3.5))")
    connect = "import socket\nplace = socket.socket()\nplace.settimeout(5)\nplace.connect(('192.0.2.1', 80))"
    write(folder, "connects", more=connect)
    write(folder, "looks_up", more="import socket\nsocket.getaddrinfo('example.org', 443)")
    write(folder, "downloads", more="from urllib.request import urlopen\nurlopen('https://example.org', timeout=5)")
    here = (
        "import socket\nwith socket.create_server(('localhost', 0)) as s, socket.create_connection(s.getsockname()): 0"
    )
    write(folder, "stays_here", more=here)
    write(folder, "slow", seconds=1, more="import time\ntime.sleep(1.6)")
    disordered = write(folder, "disordered")
    notebook = read(disordered)
    notebook.cells[1].execution_count = 7
    save(notebook, disordered)
    ran = subprocess.run([*GATE, str(folder / lessons.MADE)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    return ran.stdout


def outcome(verdicts, word):
    """The notebooks with a test that passed, failed or was skipped, and the tests."""
    lines = [line.removeprefix(word).split(" - ")[0].strip() for line in verdicts.splitlines() if line.startswith(word)]
    return {tuple(line.rsplit("/", 1)[-1].split("::", 1)) for line in lines}


def test_each_broken_notebook_fails_where_it_is_broken_and_nowhere_else(verdicts):
    assert outcome(verdicts, "FAILED ") == {
        ("raises.ipynb", "Cell 0"), ("differs.ipynb", "Cell 1"), ("connects.ipynb", "Cell 3"),
        ("looks_up.ipynb", "Cell 3"), ("downloads.ipynb", "Cell 3"), ("slow.ipynb", "run time"),
        ("disordered.ipynb", "form"),
    }, verdicts  # fmt: skip


def test_good_notebooks_pass_every_test(verdicts):
    passed = outcome(verdicts, "PASSED ")
    for name in ("good", "stays_here"):
        assert {(f"{name}.ipynb", test) for test in ("form", "Cell 0", "Cell 1", "Cell 2", "run time")} <= passed, (
            verdicts
        )


@pytest.mark.parametrize("words", [
    "raises.ipynb, cell [1], id raises-01", "ZeroDivisionError", "cell [1] failed, and the cells after",
    "differs.ipynb, cell [2], id differs-02", "mismatch 'stdout'",
    "socket.connect to '192.0.2.1': a lesson must work offline", "socket.getaddrinfo to 'example.org'",
    "slow.ipynb: its cells took", "s; it states 1 s, and 1.5 x that is allowed",
    "disordered.ipynb: was not run once from top to bottom: execution counts 7, 2, 3", "all notebooks: ",
])  # fmt: skip
def test_the_report_says_which_notebook_which_cell_and_what(verdicts, words):
    assert words in verdicts


def test_cells_after_a_broken_one_are_not_blamed(verdicts):
    assert ("raises.ipynb", "Cell 1") not in outcome(verdicts, "FAILED ") | outcome(verdicts, "PASSED ")


def test_all_notebooks_together_have_a_limit(tmp_path):
    write(tmp_path, "good")
    (tmp_path / "short.py").write_text("from tests.notebooks import gate\ngate.WHOLE = 0\n", encoding="utf-8")
    command = [*GATE, "-p", "short", str(tmp_path / lessons.MADE)]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120,
                         env=os.environ | {"PYTHONPATH": path})  # fmt: skip
    assert ran.returncode == 1 and "FAILED: only 0 s are allowed" in ran.stdout and " failed" not in ran.stdout


# --- python authoring/make.py --check: nothing is run ---


def checked(root, capsys):
    code = make.main(["--check"], root)
    return code, capsys.readouterr().out


def test_good_notebooks_are_in_order(tmp_path, capsys):
    write(tmp_path, "01_good")
    assert checked(tmp_path, capsys) == (0, "")


def changed(key, value):
    def change(notebook):
        notebook.cells[2][key] = value

    return change


def bloated(notebook):
    notebook.cells[3].outputs[0].data["text/plain"] = "x" * 1_400_000


def with_state(notebook):
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def output(**data):
    def change(notebook):
        notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", data)]

    return change


def stream(name, text):
    return changed("outputs", [nbformat.v4.new_output("stream", name=name, text=text)])


FOLDER = "/".join(["", "home", "somebody", "data"])
BROKEN = {
    "a changed cell": (changed("source", "print(4)"), "cell 2: source is not that of the source; run make notebooks"),
    "a tag": (changed("metadata", {"tags": ["parameters"]}), "cell 2: metadata is not that of the source"),
    "an id": (changed("id", "other"), "cell 2: id is not that of the source"),
    "a lost cell": (lambda notebook: notebook.cells.pop(), "has 3 cells, its source 4"),
    "another kernel": (lambda notebook: notebook.metadata.kernelspec.update(name="mine"), "metadata kernelspec is not"),
    "another time": (lambda notebook: notebook.metadata.oatlib.update(seconds=90), "must be 1 to 60"),
    "widget state": (with_state, "holds widget state"),
    "a live widget": (output(**{lessons.HEAVY[0]: {}}), f"cell 3: holds {lessons.HEAVY[0]}"),
    "a live figure": (output(**{lessons.HEAVY[1]: {}}), f"cell 3: holds {lessons.HEAVY[1]}"),
    "too much": (bloated, "has 1401 kB, 1100 are allowed; largest outputs: cell 3 with 1400 kB"),
    "not run": (changed("execution_count", None), "execution counts 1, -, 3"),
    "a checked cell without output": (changed("outputs", []), "cell 2: has no output"),
    "no output": (lambda notebook: notebook.cells[3].outputs.clear(), "cell 3: has no output"),
    "an error": (changed("outputs", [nbformat.v4.new_output("error", ename="KeyError", evalue="3", traceback=[])]),
                 "cell 2: ended with KeyError: 3"),
    "a warning": (stream("stderr", "be careful"), "cell 2: writes to stderr, which readers see in red: 'be careful'"),
    "no equality": (stream("stdout", "one thing: True\nsame loss: False\n"),
                    "cell 2: says that something is not as it should be: 'same loss: False'"),
    "a place": (stream("stdout", f"read {FOLDER}"), "cell 2: names a place on the machine"),
    "a long line": (stream("stdout", "word " * 30), "cell 2: shows a line of 150 columns; at most 110 fit"),
    "a long result": (output(**{"text/plain": "word " * 30}), "cell 3: shows a line of 150 columns"),
    "a dictionary": (output(**{"text/plain": "{'lam': 0.3}"}), "cell 3: shows \"{'lam': 0.3}\" as Python writes it"),
    "a dictionary in a table": (output(**{"text/plain": "<t>", "text/markdown": "| places | {True: 5.9} |"}),
                                "cell 3: shows '{True: 5.9} |' as Python writes it"),
    "a printed dictionary": (stream("stdout", "found {0.5: [1, 2]}"), "cell 2: shows '{0.5: [1, 2]}'"),
    "a dataclass": (output(**{"text/html": "<p>", "text/plain": "Cost(width=0.5, stored=18)"}),
                    "cell 3: shows 'Cost(width=0.5, stored=18)'"),
    "a checked picture": (changed("outputs", [nbformat.v4.new_output("display_data", {"image/png": "aa"})]),
                          "cell 2: has the tag nbval-check-output and shows a picture"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_wrong_with_a_notebook_is_said(tmp_path, capsys, fault):
    change, words = BROKEN[fault]
    path = write(tmp_path, "01_broken")
    notebook = read(path)
    change(notebook)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    code, printed = checked(tmp_path, capsys)
    assert code == 1 and words in printed and all(line.startswith("01_broken: ") for line in printed.splitlines())


@pytest.mark.parametrize("data", [
    {"text/plain": "word " * 22}, {"text/plain": "word " * 30, "text/html": "<p>"},
    {"text/plain": "PGD(eot_samples=3)"}, {"text/plain": "f(x) = {1, 2}"},
    {"text/plain": "<t>", "text/markdown": "The set {a, b}, and $\\{ x : x > 0 \\}$"},
])  # fmt: skip
def test_what_a_reader_can_read_is_no_fault(tmp_path, data):
    path = write(tmp_path, "01_good")
    notebook = read(path)
    output(**data)(notebook)
    assert list(lessons.unfit(notebook)) == []


def test_a_lesson_needs_a_checked_cell(tmp_path, capsys):
    write(tmp_path, "01_trusting", tags="")
    assert checked(tmp_path, capsys) == (1, "01_trusting: has no cell with the tag nbval-check-output\n")


def test_sources_and_notebooks_come_in_pairs(tmp_path, capsys):
    write(tmp_path, "01_alone").unlink()
    write(tmp_path, "02_orphan")
    source(tmp_path, "02_orphan").unlink()
    code, printed = checked(tmp_path, capsys)
    assert code == 1 and printed.splitlines() == [
        "01_alone: there is no notebook of this source; run make notebooks",
        "02_orphan: there is no authoring/source/02_orphan.py of this notebook",
    ]


# --- what make.py is asked for ---


def test_unknown_lessons_are_refused(tmp_path, capsys):
    write(tmp_path, "01_good")
    with pytest.raises(SystemExit):
        make.main(["01_bad"], tmp_path)
    assert "there is no lesson 01_bad; there are 01_good" in capsys.readouterr().err


def test_a_source_without_a_run_time_is_refused(tmp_path, capsys):
    write(tmp_path, "01_good")
    path = source(tmp_path, "01_good")
    path.write_text(path.read_text(encoding="utf-8").replace("seconds", "minutes"), encoding="utf-8")
    assert make.main(["01_good"], tmp_path) == 1
    assert "01_good.py: the front matter needs" in capsys.readouterr().err
