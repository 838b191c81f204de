"""What a lesson needs: parameters that are checked, guesses that are kept, networks, records."""

import pytest
import torch

import oatlib
from oatlib.course import lesson as module
from oatlib.course.lesson import RECORD, RECORDED, begin

CELL = """n: int = 32  # 8 to 64: images
epochs: int = 1  # 1 to 9: of training
seed: int = 0  # 0 to 99: of everything
retrain: bool = False  # train here
recompute: bool = False  # measure again"""


def started(**changed):
    names = {"In": ["", CELL, "import torch", "x = 1"]}
    exec(CELL, names)
    return begin("00_try", names | changed)


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    found = []
    monkeypatch.setattr(module, "display", lambda thing, **_: found.append(thing))
    return found


def test_parameters_are_those_of_the_notebook():
    assert started(seed=7).parameters == {"n": 32, "epochs": 1, "seed": 7, "retrain": False, "recompute": False}


@pytest.mark.parametrize("name, value, message", [("n", 65, "n must be.*8 to 64.*65"), ("retrain", "yes", "retrain")])
def test_a_bad_parameter_stops_the_lesson(name, value, message):
    with pytest.raises(ValueError, match=message):
        started(**{name: value})


def test_the_newest_parameters_cell_counts():
    names = {"In": [CELL, CELL.replace("8 to 64", "8 to 99")], "n": 90}
    assert begin("00_try", names).parameters["n"] == 90


def test_without_a_parameters_cell_it_says_so():
    with pytest.raises(ValueError, match="from its first cell"):
        begin("00_try", {"In": ["x = 1"]})


def test_a_guess_is_kept_and_shown_beside_the_answer():
    lesson = started()
    guess = lesson.predict("left", "how many?", 0, 100)
    answer = lesson.reveal("left", 12.34, "few")
    assert "not guessed" in answer.value and "<details>" in answer.value
    guess.control.value = 40
    guess.button.click()
    assert "40 %" in answer.value and "12.3 %" in answer.value and "few" in answer.value
    assert guess.control.disabled and "not guessed" not in answer.value
    again = begin("00_try", {"In": [CELL], "lesson": lesson})
    assert again.predict("left", "how many?", 0, 100).value == 40
    assert "40 %" in again.reveal("left", 12.34).value
    assert begin("01_other", {"In": [CELL], "lesson": lesson}).guesses == {}


def test_a_guess_among_options_waits_for_a_choice():
    lesson = started()
    guess = lesson.predict("which", "which one?", options=["this", "that"])
    guess.button.click()
    assert guess.value is None
    guess.control.value = "that"
    guess.button.click()
    assert guess.value == "that" and "that" in lesson.reveal("which", "this").value


def test_an_answer_to_no_question():
    with pytest.raises(ValueError, match="nothing was asked as 'left'"):
        started().reveal("left", 1)


def test_a_ready_network_is_taken_only_where_it_fits(capsys):
    ready = started().network("standard", oatlib.load_data("shapes", seed=0))
    assert ready.trained and "training" not in capsys.readouterr().out
    small = oatlib.load_data("shapes", seed=0, n_train=32, n_val=16, n_test=16)
    trained = started().network("standard", small)
    assert trained.spec.data["options"]["n_train"] == 32 and "training standard, 1 epochs" in capsys.readouterr().out


def test_what_is_trained_is_of_the_kind_that_came_along():
    small = oatlib.load_data("shapes", seed=0, n_train=32, n_val=16, n_test=16)
    came = started().network("pgd-at", oatlib.load_data("shapes", seed=0))
    assert started(retrain=True).network("pgd-at", small).spec.stops == came.spec.stops == (1.0,)


def test_a_record_is_read_or_made(tmp_path, monkeypatch, shown):
    monkeypatch.setattr(module, "RECORDS", tmp_path)
    with pytest.raises(oatlib.RecordError, match="recompute = True"):
        started().recorded("six", dict)
    (tmp_path / "six.json").write_text('{"a": 1}')
    assert started().recorded("six", lambda: 1 / 0) == {"a": 1} and not shown
    assert started(recompute=True).recorded("six", lambda: {"a": 2}) == {"a": 2}
    assert shown[0][RECORDED] == {"name": "six", "result": {"a": 2}}


def test_the_end_of_a_lesson_is_a_record(shown):
    data = oatlib.load_data("shapes", n_train=8, n_val=16, n_test=8)
    table = oatlib.evaluate(lambda x: x.mean((2, 3)).repeat(1, 3)[:, :8], data.val, oatlib.PGD(steps=1), progress=False)
    started(seed=3).finish(clean=0.5, table=table, values=torch.ones(2))
    record = shown[0][RECORD]
    assert record["lesson"] == "00_try" and record["parameters"]["seed"] == 3 and record["versions"]["torch"]
    assert record["results"]["clean"] == 0.5 and record["results"]["values"] == [1.0, 1.0]
    assert record["results"]["table"][0]["n"] == 16 and "| clean | 0.5 |" in shown[0]["text/markdown"]


@pytest.mark.parametrize(("value", "cell"), [
    (0.123456, "0.1235"), ([0.0585697175, 1], "0.05857, 1"), ({"lam": 0.3, "clean": 0.925}, "lam: 0.3, clean: 0.925"),
    ({True: 5.9, False: 2.2}, "True: 5.9, False: 2.2"), ([], "none"), ([[1, 2], [3]], "2 entries"),
    (list(range(99)), "99 entries"), ({"a": {"b": 1}}, "1 entries"), ("words", "words"),
])  # fmt: skip
def test_results_are_words_and_numbers_in_the_table_at_the_end(shown, value, cell):
    started().finish(result=value)
    assert shown[0]["text/markdown"].splitlines()[2:] == [f"| result | {cell} |"]
