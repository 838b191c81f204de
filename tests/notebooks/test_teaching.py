"""The pages for teachers: one for each lesson, with parts that are computed, and parts that are complete."""

import ast
import re

import jupytext
import pytest

from authoring import lessons, teaching
from oatlib.course import exercises

SOURCES = lessons.sources()
PARTS = ["Guesses", "What learners get wrong", "Discussion", "Answers to *Try this*", "Quiz", "Key"]


def part(name, title):
    """The text of a page below one of its headings."""
    text = (lessons.ROOT / teaching.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def suggestions(source):
    """The bullets under "Try this" of a lesson."""
    text = "\n".join(cell.source for cell in jupytext.read(source).cells if cell.cell_type == "markdown")
    return re.findall(r"^\* ", text.partition("## Try this")[2].partition("\n## ")[0], re.MULTILINE)


def test_each_lesson_has_a_page_and_each_page_a_lesson():
    names = {path.stem for path in (lessons.ROOT / teaching.FOLDER).glob("*.md")} - {"README"}
    assert names == SOURCES.keys()


def test_the_computed_parts_are_up_to_date(capsys):
    assert teaching.main(["--check"]) == 0, f"{capsys.readouterr().out}run python authoring/teaching.py"


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_is_complete(name):
    assert all(part(name, title).strip() for title in PARTS)
    assert len(re.findall(r"^\d+\. \*\*.+?\*\* .+", part(name, "Discussion"), re.MULTILINE | re.DOTALL)) >= 1
    assert len(re.findall(r"^\d+\. ", part(name, "Discussion"), re.MULTILINE)) >= 3
    answers = re.findall(r"^\* \*\*", part(name, "Answers to *Try this*"), re.MULTILINE)
    assert len(answers) == len(suggestions(SOURCES[name])) > 0


@pytest.mark.parametrize("name", SOURCES)
def test_a_quiz_has_six_questions_and_a_key_with_reasons(name):
    questions = re.split(r"^\d+\. ", part(name, "Quiz"), flags=re.MULTILINE)[1:]
    key = re.findall(r"^\d+\. ([a-d]): (.+)", part(name, "Key"), re.MULTILINE)
    assert len(questions) == len(key) == 6
    for question, (letter, reason) in zip(questions, key, strict=True):
        options = re.findall(r"\b([a-d])\) ", question)
        assert len(options) >= 3 and options == sorted(set(options)) and letter in options, question
        assert len(reason) > 15
    assert len({letter for letter, _ in key}) > 1, "the same letter every time is no quiz"


# --- what is computed ---

MODULE = """
def _shape(got):
    if got is None:
        raise Wrong("it returns nothing.")
def project(theirs):
    _shape(theirs())
    same(theirs(), 1, "the step is " "too long.")
    if theirs() > 3:
        raise Wrong(f"{theirs()} is above {3}.")
    raise Wrong(message)
def other(theirs):
    raise Wrong("not asked for.")
"""


def test_messages_of_a_check_are_found_with_those_of_its_helpers():
    found = teaching.messages(ast.parse(MODULE), "project")
    assert found == ["it returns nothing.", "the step is too long.", "… is above …."]


TABLES = """
ROWS = ((1, "in a tuple."), (2, f"{2} of them."))
def _wrong():
    return {"from a function.": 3}
def project(theirs):
    for value, mistake in ROWS:
        if theirs() == value:
            raise Wrong(mistake)
    for mistake, value in _wrong().items():
        if theirs() == value:
            raise Wrong(mistake)
    mistakes = {"in a dict.": 4}
    for mistake, value in mistakes.items():
        if theirs() == value:
            raise Wrong(mistake)
    raise Wrong(unknown)
"""


def test_messages_in_a_table_are_found():
    found = teaching.messages(ast.parse(TABLES), "project")
    assert found == ["in a tuple.", "… of them.", "from a function.", "in a dict."]


def test_every_message_that_learners_see_is_on_the_page_of_their_lesson():
    exercises.find_all()
    said = teaching.mistakes(SOURCES["01_attack"])
    assert "Some pixels are further than eps from x" in said and said.count("`pgd`") == 1
    for name, source in SOURCES.items():
        for exercise in re.findall(r"^# ### Exercise: (\w+)", source.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"`{exercise}`\n\n\* ", teaching.mistakes(source)), f"{name}: {exercise}"


def test_minutes_count_reading_running_and_exercises(tmp_path):
    source = tmp_path / "01_x.py"
    text = SOURCES["01_attack"].read_text(encoding="utf-8")
    source.write_text(text, encoding="utf-8")
    before = teaching.minutes(source)
    source.write_text(text + "\n# %% [markdown]\n# " + "word " * 1500, encoding="utf-8")
    assert teaching.minutes(source)["reading"] == pytest.approx(before["reading"] + 10, abs=0.1)
    assert before["exercises"] + before["open exercise"] == 48


def test_a_question_in_a_variable_is_found(tmp_path):
    source = tmp_path / "x.py"
    source.write_text('# %%\nn = 3\nq = f"how <b>many</b> of {n}?"\n# %%\nlesson.predict("a", q)\n', encoding="utf-8")
    assert teaching.guesses(source) == "* How many of …?"


def test_a_page_without_its_marks_is_an_error():
    with pytest.raises(ValueError, match="times:begin"):
        teaching._between("text", "times", "new")
