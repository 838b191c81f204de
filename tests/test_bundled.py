"""The files that come with oatlib: in a clone, in a wheel, and copied for the user."""

import tomllib
from pathlib import Path

import pytest

from oatlib import _bundled
from oatlib.cli.main import main
from oatlib.record import RecordError
from oatlib.reruns import copies
from oatlib.reruns.rerun import find

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_every_lesson_record_and_network():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((ROOT / source).exists() for source in included)
    assert all(target.startswith("oatlib/bundled/") for target in included.values())
    lessons = {path.name for path in (ROOT / "notebooks").glob("[0-9A-Z]*_*.ipynb")} | {"GLOSSARY.md"}
    assert {Path(source).name for source in included if source.startswith("notebooks/")} == lessons
    for name, folder in _bundled.IN_A_CLONE.items():
        inside = f"oatlib/bundled/{name}"
        assert included.get(folder) == inside or all(
            target == f"{inside}/{Path(source).name}"
            for source, target in included.items()
            if source.startswith(f"{folder}/")
        )


@pytest.mark.parametrize("name", _bundled.IN_A_CLONE)
def test_in_a_clone_the_files_lie_beside_the_package(name):
    assert _bundled.bundled(name) == ROOT / _bundled.IN_A_CLONE[name]
    assert _bundled.bundled(name).is_dir()


def test_in_a_wheel_they_lie_inside_it(tmp_path, monkeypatch):
    inside = tmp_path / "oatlib" / "bundled" / "notebooks"
    inside.mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()  # of somebody else
    monkeypatch.setattr(_bundled, "PACKAGE", tmp_path / "oatlib")
    assert _bundled.bundled("notebooks") == inside


def test_the_course_is_copied_and_its_lessons_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course"]) == 0
    told = capsys.readouterr().out
    lessons = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9A-Z]*_*.ipynb"))
    copied = {path.name for path in (tmp_path / "oatlib-course").iterdir()}
    assert copied == {*lessons, "GLOSSARY.md"}
    assert f"{len(lessons)} lessons" in told and f"oatlib-course/{lessons[0]}" in told.replace("\\", "/")
    for name in copied:
        assert (tmp_path / "oatlib-course" / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()
    assert find("01_attack").name == "01_attack.ipynb"  # from any folder


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "01_attack.ipynb").write_text("mine", encoding="utf-8")
    assert main(["course", str(tmp_path)]) == 2
    assert "already contains 01_attack.ipynb" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["01_attack.ipynb"]
    assert (tmp_path / "01_attack.ipynb").read_text(encoding="utf-8") == "mine"


def test_a_copy_that_fails_leaves_nothing_and_names_its_own_file(tmp_path, monkeypatch, capsys):
    whole = copies.write_bytes

    def full(path, content):
        if path.name.startswith("02"):
            raise RecordError(f"cannot write {path}: No space left on device")
        whole(path, content)

    monkeypatch.setattr(copies, "write_bytes", full)
    assert main(["course", str(tmp_path / "a")]) == 2
    assert f"cannot write {tmp_path / 'a' / '02_adversarial_training.ipynb'}: No space" in capsys.readouterr().err
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_is_no_folder_and_lessons_may_be_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "a").write_text("", encoding="utf-8")
    assert main(["course", str(tmp_path / "a")]) == 2 and "is a file" in capsys.readouterr().err
    monkeypatch.setattr(copies, "bundled", lambda name: tmp_path)
    assert main(["course", str(tmp_path / "b")]) == 2 and "no lessons" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
