"""Networks that a page has trained become files: only new ones, only in one folder, whole or not at all."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.explorer import saving
from oatlib.explorer import widget as module
from oatlib.explorer.saving import file_name, save_new, saved_bytes

DATA = oatlib.load_data("shapes", n_train=32, n_val=16, n_test=8)
NET = oatlib.build("blend", DATA)


def kept(tmp_path):
    """What `oatlib.save` writes."""
    oatlib.save(NET, tmp_path / "kept.safetensors")
    content = (tmp_path / "kept.safetensors").read_bytes()
    (tmp_path / "kept.safetensors").unlink()
    return content


def test_the_bytes_for_the_browser_are_those_of_a_file(tmp_path):
    assert saved_bytes(NET) == kept(tmp_path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("oat, trained here 1", "oat-trained-here-1.safetensors"),
        (" net.safetensors ", "net.safetensors"),
        ("net.v2", "net.v2.safetensors"),
        ("größe_3", "größe_3.safetensors"),
    ],
)
def test_names_of_files(given, name):
    assert file_name(given) == name == file_name(name)


@pytest.mark.parametrize(
    "given",
    ["", ".", "..", ".hidden", "../up", "a/b", "a\\b", "/etc/x", "C:x", "-rf", "a..b", "a.", "con", "NUL.safetensors",
     "com1", "a\nb", "a\0b", "x" * 101, "a;b", "~", "a*", "%2e%2e%2fx"],
)  # fmt: skip
def test_names_that_no_file_may_have(given, tmp_path):
    with pytest.raises(ValueError, match="cannot be the name of the file: write letters"):
        save_new(NET, tmp_path, given)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=40))
def test_every_name_that_is_taken_stays_in_its_folder(text):
    try:
        name = file_name(text)
    except ValueError:
        return
    assert name.endswith(".safetensors") and name[0].isalnum() | (name[0] == "_")
    assert not set(name) & set('/\\:*?"<>|\0\r\n') and ".." not in name


def test_a_file_is_new_or_it_is_not_written(tmp_path):
    path = save_new(NET, tmp_path, "net")
    assert path == tmp_path / "net.safetensors" and path.is_absolute() and path.read_bytes() == saved_bytes(NET)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="net.safetensors exists already: choose another name"):
        save_new(NET, tmp_path, "net")
    assert path.read_bytes() == b"mine"
    if os.name == "nt":
        return  # links need a privilege there
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="exists already"):
        save_new(NET, tmp_path, "link")
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    def full(net, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_new(NET, tmp_path, "net")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="does not exist"):
        save_new(NET, tmp_path / "gone", "net")


@pytest.fixture
def explorer(monkeypatch):
    monkeypatch.setattr(module.Surface, "fill", lambda *_: iter(()))
    made = oatlib.explore(NET, DATA, n=8)
    made.replies = []
    monkeypatch.setattr(made, "send", lambda content, buffers=(): made.replies.append((content, list(buffers))))
    yield made
    made.close()


def test_python_answers_while_its_worker_is_busy(explorer):
    go, busy = threading.Event(), threading.Event()

    def work():
        busy.set()
        go.wait(60)
        yield False

    explorer._worker.submit(work())
    assert busy.wait(60)
    explorer._on_message({"do": "hello"})
    assert explorer.replies == [({"kind": "hello"}, [])]
    go.set()


def test_the_widget_sends_and_saves_what_it_has_trained(explorer, tmp_path):
    explorer.folder = tmp_path
    assert explorer.description["trained"] == []
    name = explorer._add(NET)
    assert name == "blend, trained here 1" and explorer.description["trained"] == [name]
    explorer._on_message({"do": "download", "network": name})
    assert explorer.replies.pop() == ({"kind": "file", "name": "blend-trained-here-1.safetensors"}, [saved_bytes(NET)])
    explorer._on_message({"do": "save", "network": name, "name": "mine"})
    path = tmp_path / "mine.safetensors"
    line = f"oatlib.load({str(path)!r})"
    assert explorer.replies.pop() == ({"kind": "saved", "path": str(path), "line": line}, [])
    assert eval(line).spec == NET.spec
    explorer._on_message({"do": "save", "network": name, "name": "mine"})
    assert explorer.replies.pop()[0] == {
        "kind": "refused",
        "why": f"{path} exists already: choose another name",
    }
    assert explorer.error == ""


def test_the_current_folder_is_used_where_none_is_set(explorer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer._on_message({"do": "save", "network": "blend", "name": "mine"})
    assert (tmp_path / "mine.safetensors").is_file()


def test_no_folder_of_this_machine_is_described(explorer, tmp_path):
    """A description goes into exported pages and into notebooks."""
    explorer.folder = tmp_path
    explorer._add(NET)
    assert str(tmp_path) not in str(explorer.get_state())
