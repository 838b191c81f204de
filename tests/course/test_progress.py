"""What a learner did is kept in my_progress.json: guesses come back, and every checked answer is counted once."""

import json

import nbformat
import pytest

from authoring import lessons
from oatlib.course import exercises, keeping, progress
from oatlib.course.class_report import RECORD
from oatlib.course.lesson import Guess
from oatlib.record import RecordError
from oatlib.reruns.kernel import Progress, execute, prepared

GOOD = "def project(x_adv, x, eps):\n    return x + (x_adv - x).clamp(-eps, eps).clamp(-x, 1 - x)"
BAD = "def project(x_adv, x, eps):\n    return x_adv"
OPEN = "def project(x_adv, x, eps):\n    raise NotImplementedError"
BROKEN = ["{", "[]", "\xff"]


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(exercises, "display", lambda thing, **_: None)


def checked(source, monkeypatch):
    """What `check` gives for an answer that stands in a cell."""
    monkeypatch.setattr(keeping, "notebook_cells", lambda: [source])
    names = {}
    exec(source, names)
    return exercises.check(names["project"])


def test_every_different_answer_is_noted_once_and_an_open_exercise_is_not(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    checked(OPEN, monkeypatch)
    assert not (tmp_path / progress.FILE).exists(), "Run All without an answer leaves no file"
    for source in (BAD, BAD, BAD + "\n\n# a comment", GOOD.replace("eps, eps", "eps, 2 * eps"), BAD):
        checked(source, monkeypatch)
    entries = progress.read()["01"]["checks"]["project"]
    assert len(entries) == 2, "a comment below is no part of the function, and neither is a repetition"
    assert all("further than eps" in entry["verdict"] for entry in entries)
    checked(GOOD, monkeypatch)
    entries = progress.read()["01"]["checks"]["project"]
    assert [entry["verdict"] == progress.RIGHT for entry in entries] == [False, False, True]


def test_the_file_holds_no_code(tmp_path):
    progress.note_check("01", "project", "secret = 42", progress.RIGHT, tmp_path)
    assert "secret" not in (tmp_path / progress.FILE).read_text(encoding="utf-8")


def test_only_the_newest_answers_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "MOST", 3)
    for number in range(5):
        progress.note_check("01", "pgd", str(number), f"mistake {number}", tmp_path)
    verdicts = [entry["verdict"] for entry in progress.read(tmp_path)["01"]["checks"]["pgd"]]
    assert verdicts == ["mistake 2", "mistake 3", "mistake 4"]


def test_outside_a_notebook_nothing_is_written(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(BAD, names)
    exercises.check(names["project"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_named_and_stops_nobody(tmp_path, monkeypatch, shown, capsys, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / progress.FILE
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecordError, match=r"my_progress\.json cannot be read.*Delete it"):
        progress.read()
    assert checked(BAD, monkeypatch) is exercises.find("project").answer
    assert "cannot be read" in capsys.readouterr().out
    assert path.read_bytes() == content.encode("latin-1"), "nothing is lost"


def test_entries_of_an_unexpected_form_are_left_out():
    lesson = {"guesses": {"a": {"question": "x"}, "b": 3, "c": {"question": 1}}, "checks": {"p": [{}], "q": 1}}
    assert progress.lesson_of(lesson) == {"guesses": {"a": {"question": "x"}}, "checks": {}}
    assert progress.lesson_of([]) == progress.lesson_of({"checks": []}) == {}
    assert progress.parsed(json.dumps({"01": lesson, "02": 7}).encode()).keys() == {"01"}


# --- a guess comes back ---


def test_a_guess_is_restored_only_for_the_same_question_and_scale():
    kept = Guess("how many?", 0, 10, "%", ())
    kept.control.value = 4.0
    kept.button.click()
    for question, high, due in [("how many?", 10, 4.0), ("how much?", 10, None), ("how many?", 20, None)]:
        again = Guess(question, 0, high, "%", ())
        again.restore(kept.entry)
        assert again.value == due and again.control.disabled == (due is not None)


@pytest.mark.parametrize("guess", [11, "4", True, None, [4], float("nan")])
def test_a_guess_that_was_edited_to_nonsense_is_not_restored(guess):
    again = Guess("how many?", 0, 10, "%", ())
    again.restore({**again.entry, "guess": guess})
    assert again.value is None and not again.control.disabled


def test_a_choice_is_restored():
    again = Guess("which?", 0, 1, "", ["this", "that"])
    again.restore({**again.entry, "guess": "those"})
    assert again.value is None
    again.restore({**again.entry, "guess": "that"})
    assert again.value == "that" and "that" in again.beside("this", "").value


CELLS = [
    "n: int = 3  # 1 to 5: images\nrecompute: bool = False  # all again",
    "from oatlib.course.exercises import check\nfrom oatlib.course.lesson import begin\n"
    "lesson = begin('01_attack', globals())",
    "guess = lesson.predict('left', 'how many?', 0, 10, '')\nguess",
    "lesson.reveal('left', 3.0)",
    "lesson.finish(a=1)",
]


def run(folder, *more):
    """Run the cells of a small lesson with more cells before the last; the record that it displays."""
    sources = [*CELLS[:-1], *more, CELLS[-1]]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata.tags = ["parameters"]
    notebook = prepared(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": lessons.KERNEL}), {})
    execute(notebook, folder, Progress(notebook, None), timeout=100)
    (record,) = (o.data[RECORD] for o in notebook.cells[-1].outputs if RECORD in o.get("data", {}))
    return record


@pytest.mark.notebook
def test_the_record_of_a_notebook_that_runs_again_keeps_guesses_and_attempts(tmp_path):
    first = run(tmp_path)
    assert first["learner"]["guesses"]["left"]["guess"] is None and first["learner"]["checks"] == {}
    assert not list(tmp_path.iterdir())
    run(tmp_path, "guess.control.value = 7\nguess.button.click()", BAD, "check(project)")
    again = run(tmp_path)["learner"]
    assert again["guesses"]["left"] == {
        "question": "how many?", "unit": "", "low": 0, "high": 10, "guess": 7.0, "answer": 3.0
    }  # fmt: skip
    assert [entry["verdict"] != progress.RIGHT for entry in again["checks"]["project"]] == [True]
