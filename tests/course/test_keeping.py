"""What learners build is kept in my_oatlib.py, and comes back checked."""

import re

import pytest

from oatlib.course import exercises, keeping

GOOD = "def project(x_adv, x, eps):\n    return (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)"
BAD = "def project(x_adv, x, eps):\n    return x_adv"


def text(folder):
    return (folder / keeping.FILE).read_text(encoding="utf-8")


@pytest.fixture
def shown(monkeypatch):
    """The verdicts that are displayed, as text."""
    shown = []
    monkeypatch.setattr(exercises, "display", lambda data, raw: shown.append(data["text/plain"].replace("\n", " ")))
    return shown


def test_a_function_is_kept_as_it_was_written_with_its_comments(tmp_path):
    source = "@torch.no_grad()\ndef f(x):  # mine\n    # a step\n    return F.relu(x)  # the end"
    keeping.keep("f", "01", ["import torch", source + "\n\nf(torch.ones(1))", "f = check(f)"], tmp_path)
    assert source in text(tmp_path) and "f = check" not in text(tmp_path) and "ones" not in text(tmp_path)
    (section,) = keeping.sections(tmp_path)
    assert section.source == source and section.name == "f"
    assert re.fullmatch(r"lesson 01, \d{4}-\d\d-\d\d", section.about)
    assert keeping.run(tmp_path)["f"](keeping.run(tmp_path)["torch"].tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def test_what_an_answer_needs_is_kept_before_it(tmp_path):
    cells = [
        "import copy\nfrom os import path as way\nSIZE, BIG = 3, 9",
        "%matplotlib inline",
        "SIZE = 4",
        "def helper(x):\n    return copy.copy(x) * SIZE",
        "class Base(nn.Module):\n    limit = SIZE",
        "class A(Base):\n    def f(self, x):\n        return [helper(y) + way.sep for y in x], self.__class__",
    ]
    keeping.keep("A", "03", cells, tmp_path)
    names = [section.name for section in keeping.sections(tmp_path)]
    assert set(names) == {"copy", "way", "SIZE", "helper", "Base", "A"}
    assert names.index("Base") < names.index("A") and names.index("SIZE") < names.index("Base")
    assert keeping.run(tmp_path)["A"]().limit == 4, "the newest definition"


def test_a_newer_answer_takes_the_place_of_an_older_one(tmp_path):
    for name, value in (("f", 1), ("g", 2), ("f", 3)):
        keeping.keep(name, "01", [f"def {name}():\n    return {value}"], tmp_path)
    assert [section.name for section in keeping.sections(tmp_path)] == ["f", "g"]
    names = keeping.run(tmp_path)
    assert (names["f"](), names["g"]()) == (3, 2)


def test_an_answer_may_use_what_the_file_holds_already(tmp_path):
    keeping.keep("f", "01", ["def f(x):\n    return x + 1"], tmp_path)
    keeping.keep("g", "02", ["f = mine('f')", "def g(x):\n    return f(f(x))"], tmp_path)
    assert keeping.run(tmp_path)["g"](1) == 3


@pytest.mark.parametrize("cells, message", [
    (["def f(x):\n    return x + panel"], "it uses 'panel', which no cell defines .*: make it an argument"),
    (["panel = load()", "def f(x):\n    return panel"], "it uses 'panel'"),
    (["panel, other = load(), 3", "class f:\n    size = other"], "it uses 'other'"),
    (["f = lambda x: x"], "no cell of this notebook defines 'f'"),
    ([], "no cell of this notebook defines 'f'"),
])  # fmt: skip
def test_what_cannot_be_kept_is_said_and_nothing_is_written(tmp_path, cells, message):
    with pytest.raises(keeping.NotKept, match=message):
        keeping.keep("f", "01", cells, tmp_path)
    assert not (tmp_path / keeping.FILE).exists()


def test_local_names_built_in_names_and_comprehensions_are_not_missing(tmp_path):
    source = (
        "def f(x, *, size=3):\n    total = sum(len(y) for y in x)\n    def inner(z):\n        return z + total + size\n"
        "    try:\n        return inner(1)\n    except ValueError as error:\n        raise error from None"
    )
    keeping.keep("f", "01", [source], tmp_path)
    assert keeping.run(tmp_path)["f"]([[1, 2]]) == 6


def test_a_file_that_cannot_be_read_or_run_is_one_sentence(tmp_path):
    (tmp_path / keeping.FILE).write_bytes(b"\xff\xfe")
    for call in (keeping.sections, keeping.run):
        with pytest.raises(keeping.NotKept, match=r"my_oatlib\.py"):
            call(tmp_path)
    (tmp_path / keeping.FILE).write_text("1 / 0", encoding="utf-8")
    with pytest.raises(keeping.NotKept, match="my_oatlib.py stopped with ZeroDivisionError"):
        keeping.run(tmp_path)


# --- check and mine ---


def test_a_solved_check_keeps_the_code_and_says_so(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keeping, "notebook_cells", lambda: [GOOD])
    names = {}
    exec(GOOD, names)
    assert exercises.check(names["project"]) is names["project"]
    assert "✓ project: right. Kept in my_oatlib.py. The library has it as" in shown[0]
    assert exercises.mine("project")(*[keeping.run()["torch"].ones(2)] * 2, 0.5).tolist() == [1, 1]
    assert "project: your code of lesson 01, 20" in shown[1] and "This runs my_oatlib.py" in shown[1]


def test_what_an_open_exercise_would_give_is_borrowed_until_it_is_solved(tmp_path, monkeypatch, shown):
    uses = "def pgd_step(x, y):\n    return project(x, y, 0.5)"
    library = exercises._library()
    keeping.keep("pgd_step", "01", [BAD, "project = check(project)", uses], tmp_path, library)
    assert [(part.name, part.about == keeping.BORROWED) for part in keeping.sections(tmp_path)] == [
        ("project", True), ("pgd_step", False)
    ]  # fmt: skip
    assert keeping.run(tmp_path)["project"] is exercises.find("project").answer
    assert exercises.mine("project", tmp_path) is exercises.find("project").answer
    assert "oatlib's version, because my_oatlib.py has none yet" in shown[0]
    keeping.keep("project", "01", [GOOD], tmp_path, library)
    assert [part.name for part in keeping.sections(tmp_path)] == ["project", "pgd_step"]
    assert exercises.mine("project", tmp_path).__module__ == "my_oatlib"


@pytest.mark.parametrize("source", [BAD, "def project(x_adv, x, eps):\n    raise NotImplementedError"])
def test_what_is_wrong_or_open_is_not_kept(tmp_path, monkeypatch, shown, source):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keeping, "notebook_cells", lambda: [source])
    names = {}
    exec(source, names)
    exercises.check(names["project"])
    assert "Kept" not in shown[0] and not (tmp_path / keeping.FILE).exists()


def test_a_right_answer_that_cannot_be_kept_is_used_and_the_reason_is_shown(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    source = GOOD.replace("clamp(0, 1)", "clamp(low, 1)")
    monkeypatch.setattr(keeping, "notebook_cells", lambda: ["low = load()", source])
    names = {"low": 0}
    exec(source, names)
    assert exercises.check(names["project"]) is names["project"]
    assert "right. It is not kept for later lessons: it uses 'low'" in shown[0]


def test_without_a_file_the_librarys_version_comes_and_the_lesson_is_named(tmp_path, shown):
    assert exercises.mine("project", tmp_path) is exercises.find("project").answer
    assert "oatlib's version, because my_oatlib.py has none yet. You write it in lesson 01" in shown[0]


@pytest.mark.parametrize("source, message", [
    (BAD, "in my_oatlib.py: "),
    ("def project(x_adv, x, eps):\n    raise NotImplementedError", "it raises NotImplementedError"),
    ("def project(x_adv, x, eps):\n    return missing", "it stopped with NameError"),
    ("1 / 0\ndef project():\n    pass", "my_oatlib.py stopped with ZeroDivisionError"),
])  # fmt: skip
def test_an_edited_answer_that_is_wrong_is_not_used(tmp_path, shown, source, message):
    keeping.keep("project", "01", [GOOD], tmp_path)
    path = tmp_path / keeping.FILE
    path.write_text(text(tmp_path).replace(GOOD, source), encoding="utf-8")
    assert exercises.mine("project", tmp_path) is exercises.find("project").answer
    assert message in shown[-1] and shown[-1].startswith("✗ project")


def test_the_learner_is_told_before_the_file_runs(tmp_path, monkeypatch, shown):
    keeping.keep("project", "01", [GOOD], tmp_path)
    (tmp_path / keeping.FILE).write_text(
        text(tmp_path) + "\nfrom oatlib.course import exercises\nexercises.display({'text/plain': 'ran'}, raw=True)\n",
        encoding="utf-8",
    )
    exercises.mine("project", tmp_path)
    assert "This runs" in shown[0] and shown[1] == "ran"


def test_an_unknown_name_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="there is no exercise 'prject'"):
        exercises.mine("prject", tmp_path)


def test_two_lessons_cannot_have_an_exercise_of_one_name():
    def project(theirs):
        """A check of another module."""

    with pytest.raises(ValueError, match=r"'project' is an exercise of oatlib\.course\.exercises\.attack"):
        exercises.exercise(GOOD, "nowhere")(project)
    assert exercises.find("project").lesson == "01"
