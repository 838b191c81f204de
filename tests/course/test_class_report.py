"""`oatlib class`: what learners handed in becomes one report, whatever the files are."""

import json
import re
from html.parser import HTMLParser

import pytest

from oatlib.cli import main as cli
from oatlib.course import progress
from oatlib.course.class_report import BIGGEST, RECORD, ClassReport, Learner, read_class

SLIDER = {"question": "How many of <code>256</code> stay right?", "unit": "%", "low": 0, "high": 100, "answer": 12.3}
CHOICE = {"question": "Which is stronger?", "unit": "", "options": ["FGSM", "PGD"], "answer": "PGD"}


def lesson(guess=None, choice=None, **checks):
    """The part of a lesson; checks: {exercise: verdicts}."""
    entries = {
        name: [{"answer": str(i), "verdict": v} for i, v in enumerate(verdicts)] for name, verdicts in checks.items()
    }
    return {"guesses": {"left": SLIDER | {"guess": guess}, "which": CHOICE | {"guess": choice}}, "checks": entries}


def record(name, part):
    return {"lesson": name, "results": {}, "learner": part}


def notebook(*records):
    """The JSON of a notebook whose cells displayed records."""
    outputs = [{"output_type": "display_data", "data": {RECORD: each}} for each in records]
    return {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}], "nbformat": 4}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A class of four, each of whom handed in another kind of file."""
    write(tmp_path / "ada" / "01_attack.ipynb", notebook(record("01_attack", lesson(8, "PGD", pgd=["right"]))))
    write(tmp_path / "bob" / "deep" / "run.json", record("01_attack", lesson(95, "FGSM", pgd=["too far", "right"])))
    write(tmp_path / "cem" / progress.FILE, {"01": lesson(99, "FGSM", pgd=["too far", "no start"])})
    write(tmp_path / "01_attack_dora.ipynb", notebook(record("01_attack", lesson())))
    return tmp_path


def test_all_kinds_of_files_are_read(folder):
    report = read_class(folder)
    assert [learner.name for learner in report.learners] == ["ada", "bob", "cem", "dora"]
    assert [learner.attempts("01", "pgd") for learner in report.learners] == [
        (True, 1),
        (True, 2),
        (False, 2),
        (False, 0),
    ]
    assert report.mistakes("01", "pgd") == [("too far", 2), ("no start", 1)]
    assert report.skipped == [] and report.numbers == ["01"]


def test_a_histogram_counts_each_guess_once_and_marks_the_answer(folder):
    number, choice = read_class(folder).questions("01")
    assert number.text == "How many of 256 stay right?"
    assert number.counts == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2] and number.right == 1 and number.answer == "12.3 %"
    assert dict(zip(choice.labels, choice.counts, strict=True)) == {"FGSM": 2, "PGD": 1} and choice.right == 1


def test_the_text_shows_who_where_and_what(folder):
    text = str(read_class(folder))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ") and line.split()}
    place = rows["learner"].index("pgd")
    assert [rows[name][place] for name in ("ada", "bob", "cem", "dora")] == ["✓1", "✓2", "✗2", "·"]
    assert rows["learner"][:4] == ["fgsm", "project", "pgd_step", "pgd"], "in the order of the lesson"
    assert "pgd, 2x: too far" in text and re.search(r"10 to 20\s+·  <- measured: 12\.3 %", text)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_the_page_is_whole_and_shows_hostile_text_as_text(tmp_path):
    bad = "<script>alert(1)</script>"
    part = lesson(3, None, **{bad: [f"{bad} is wrong"]})
    part["guesses"]["left"]["unit"] = bad
    write(tmp_path / "<img src=x>" / progress.FILE, {"01": part, bad: part})
    page = read_class(tmp_path).html()
    parser = Tags()
    parser.feed(page)
    assert not {"script", "img"} & set(parser.tags) and "&lt;script&gt;" in page
    assert "http" not in page, "it needs no other file"


@pytest.mark.parametrize("content, reason", [
    (b"{", "it is no JSON"), (b"[" * 100_000, "it is no JSON"), (b"[]", "it is no record of a lesson"),
    (b'{"lesson": 3}', "it is no record"), (b'{"lesson": "01_attack"}', "older oatlib"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_the_reason(folder, content, reason):
    (folder / "ada" / "x.json").write_bytes(content)
    report = read_class(folder)
    assert len(report.skipped) == 1 and report.skipped[0].startswith(
        str(folder / "ada" / "x.json")[len(str(folder)) + 1 :]
    )
    assert reason in report.skipped[0] and reason in str(report) and reason in report.html()
    assert len(report.learners) == 4


def test_a_notebook_without_its_last_cell_is_named(folder):
    write(folder / "eve" / "01_attack.ipynb", notebook())
    assert "its last cell was not run" in read_class(folder).skipped[0]


def test_huge_and_hidden_files_are_not_read(folder):
    with open(folder / "ada" / "big.json", "wb") as file:
        file.truncate(BIGGEST + 1)
    write(folder / "ada" / ".ipynb_checkpoints" / "01_attack.ipynb", notebook())
    assert read_class(folder).skipped == ["ada/big.json: it is larger than 50 MB".replace("/", str(folder / "x")[-2])]


def test_several_files_of_a_learner_add_up(tmp_path):
    learner = Learner("ada")
    learner.add("01", lesson(pgd=["too far"]))
    learner.add("01", lesson(20, "PGD", pgd=["too far", "right"]))
    learner.add("01", lesson(80, "FGSM"))
    assert learner.attempts("01", "pgd") == (True, 2)
    assert learner.lessons["01"]["guesses"]["left"]["guess"] == 20
    assert not ClassReport([learner], []).questions("02")


@pytest.mark.parametrize("guess", ["x", None, True, float("nan")])
def test_a_guess_that_is_no_number_is_not_counted(tmp_path, guess):
    learner = Learner("ada")
    learner.add("01", lesson(guess))
    assert ClassReport([learner], []).questions("01") == []


# --- the command ---


def test_the_command_prints_the_report_and_writes_the_page(folder, tmp_path, capsys):
    page = tmp_path / "class.html"
    assert cli.main(["class", str(folder), "--html", str(page)]) == 0
    assert capsys.readouterr().out.startswith("4 learners: ada, bob, cem, dora")
    assert page.read_text(encoding="utf-8") == read_class(folder).html()


@pytest.mark.parametrize(
    "make, words", [(False, "is not a folder"), (True, "holds no notebook, record or my_progress.json")]
)
def test_a_folder_with_nothing_is_an_error_of_one_line(tmp_path, capsys, make, words):
    folder = tmp_path / "class"
    if make:
        folder.mkdir()
    assert cli.main(["class", str(folder)]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
