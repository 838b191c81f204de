import json
import os
import pickle
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from oatlib import record
from oatlib.networks.network import Network, load, save
from oatlib.networks.spec import Spec
from oatlib.record import RecordError, read_json, read_weights, write_bytes, write_json, write_weights

SPEC = Spec(
    recipe="oat", backbone="tiny", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0, 1.0), dual=True, film=True,
    codes="rand", code_dim=4, data={"name": "digits", "options": {"seed": 3}},
)  # fmt: skip
REMEDY = ("again", "Update", "update", "resume=True")


@pytest.fixture(scope="module")
def net():
    made = Network(SPEC)
    made.trained.append({"preset": "fast", "epochs_done": 3})
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def header_of(net):
    return {"spec": asdict(net.spec), "trained": net.trained}


def assert_refused(path, *words):
    """A RecordError that names the file and says what to do; never an error of a library below."""
    with pytest.raises(Exception) as caught:
        load(path)
    assert type(caught.value) is RecordError, repr(caught.value)
    message = str(caught.value)
    assert path.name in message and any(word in message for word in REMEDY), message
    for word in words:
        assert word in message, (word, message)


# ---- round trips --------------------------------------------------------------------------------------------------


def test_a_network_comes_back_whole(net, path):
    save(net, path)
    back = load(path)
    assert back.spec == net.spec and back.trained == net.trained
    own = net.state_dict()
    assert own.keys() == back.state_dict().keys()
    assert all(torch.equal(t, own[name]) and t.dtype == own[name].dtype for name, t in back.state_dict().items())
    assert read_weights(path)[1]["versions"]["torch"] == torch.__version__


def test_a_recipe_of_your_own_comes_back_too(path):
    """The name is a label: the rest of the header says how to build the network."""
    save(Network(Spec(recipe="mine", backbone="tiny", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0,))), path)
    assert load(path).spec.recipe == "mine"


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_comes_back_whole(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"a": {"b": -float("inf")}}])
def test_json_without_a_number_is_refused_and_the_old_file_kept(tmp_path, value):
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, value)
    assert read_json(path) == {"old": 1} and os.listdir(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1,]"])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"value\.json is not a JSON file"):
        read_json(path)


# ---- whole or not at all ------------------------------------------------------------------------------------------


def assert_whole_or_not_at_all(write, path, monkeypatch, broken, error):
    """A write that fails midway leaves the old bytes and nothing else in the folder."""
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(type(error)):
            write(path, b"new content")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def in_place(path, content):
    with open(path, "wb") as file:
        file.write(content[:3])
        os.fsync(file.fileno())
        file.write(content[3:])


def litter(path, content):
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.fsync(0)
    os.replace(temporary, path)


@pytest.mark.parametrize("broken", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_write_leaves_the_old_file(path, monkeypatch, broken, error):
    assert_whole_or_not_at_all(write_bytes, path, monkeypatch, broken, error)


@pytest.mark.parametrize("fault", [in_place, litter])
def test_careless_writers_are_caught(path, monkeypatch, fault):
    with pytest.raises(AssertionError):
        assert_whole_or_not_at_all(fault, path, monkeypatch, "fsync", OSError("disk full"))


def test_a_write_replaces_the_file_and_others_may_read_it(path):
    for content in (b"first", b"second"):
        write_bytes(path, content)
    assert path.read_bytes() == b"second" and path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RecordError, match="the folder .*nowhere does not exist"):
        write_bytes(tmp_path / "nowhere" / "x", b"")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(RecordError, match=r"there is no file .*gone\.safetensors"):
        load(tmp_path / "gone.safetensors")
    with pytest.raises(RecordError, match="is a folder"):
        load(tmp_path)


# ---- files that do not fit ----------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(net, path):
    save(net, path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")  # where the numbers begin
    for length in (0, 1, 7, 8, 9, 100, start - 1, start, start + 1, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_refused(path, "truncated")
    path.write_bytes(whole + b"\0")
    assert_refused(path)
    path.write_bytes(whole)
    load(path)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(content)
    assert_refused(path)


def test_other_kinds_of_files_are_refused(path):
    for content in (json.dumps({"results": []}).encode(), pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(500)):
        path.write_bytes(content)
        assert_refused(path)
    torch.save({"a": torch.zeros(2)}, path)
    assert_refused(path)


def test_a_loader_that_lets_other_errors_through_is_caught(path, monkeypatch):
    path.write_bytes(b"")
    monkeypatch.setattr(record, "SafetensorError", KeyError)
    with pytest.raises(AssertionError):
        assert_refused(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"oatlib": "[1]"}, {"oatlib": "{}"}, {"oatlib": "{not"}])
def test_safetensors_of_others_are_refused(net, path, metadata):
    save_file({k: t.contiguous() for k, t in net.state_dict().items()}, path, metadata)
    assert_refused(path)


@pytest.mark.parametrize("versions", [{"oatlib": "9.1"}, {}, None, "9.1"])
def test_a_newer_format_asks_for_an_update(net, path, versions):
    write_weights(path, net.state_dict(), header_of(net) | {"format": record.FORMAT + 1, "versions": versions})
    assert_refused(path, f"format {record.FORMAT + 1}", f"up to format {record.FORMAT}", "Update")


def test_a_format_that_is_no_number_is_refused(net, path):
    write_weights(path, net.state_dict(), header_of(net) | {"format": "new"})
    assert_refused(path, "format new")


def without(header, key):
    return {k: v for k, v in header.items() if k != key}


HEADERS = {
    "no spec": (lambda h: without(h, "spec"), ["spec"]),
    "no history": (lambda h: without(h, "trained"), ["trained"]),
    "spec is a list": (lambda h: h | {"spec": [1]}, []),
    "spec is nothing": (lambda h: h | {"spec": None}, []),
    "unknown field": (lambda h: h | {"spec": h["spec"] | {"colour": 1}}, ["colour"]),
    "missing field": (lambda h: h | {"spec": without(h["spec"], "stops")}, ["stops"]),
    "unknown backbone": (lambda h: h | {"spec": h["spec"] | {"backbone": "vgg"}}, ["vgg"]),
    "unknown codes": (lambda h: h | {"spec": h["spec"] | {"codes": "morse"}}, ["morse"]),
    "stops out of order": (lambda h: h | {"spec": h["spec"] | {"stops": [1.0, 0.0]}}, ["ascending"]),
    "stops in words": (lambda h: h | {"spec": h["spec"] | {"stops": ["a", "b"]}}, []),
    "shape of nothing": (lambda h: h | {"spec": h["spec"] | {"shape": []}}, []),
    "shape below zero": (lambda h: h | {"spec": h["spec"] | {"shape": [-1, 8, 8]}}, []),
    "classes as a number": (lambda h: h | {"spec": h["spec"] | {"classes": 2}}, []),
    "a checkpoint": (lambda h: h | {"checkpoint": {}}, ["checkpoint", "resume=True"]),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_a_header_that_describes_no_network_is_refused(net, path, fault):
    change, words = HEADERS[fault]
    write_weights(path, net.state_dict(), change(header_of(net)))
    assert_refused(path, *words)


WEIGHT = "body.stem.conv.weight"
TENSORS = {
    "missing": (lambda own: without(own, WEIGHT), "is missing"),
    "codes missing": (lambda own: without(own, "codes"), "codes is missing"),
    "extra": (lambda own: own | {"body.tail": torch.zeros(1)}, "body.tail is not part"),
    "shape": (lambda own: own | {WEIGHT: own[WEIGHT][:-1]}, "expected (16, 1, 3, 3)"),
    "dtype": (lambda own: own | {WEIGHT: own[WEIGHT].double()}, "expected (16, 1, 3, 3) float32"),
    "NaN": (lambda own: own | {WEIGHT: own[WEIGHT] * float("nan")}, "NaN or infinite"),
    "infinite": (lambda own: own | {WEIGHT: own[WEIGHT] + float("inf")}, "NaN or infinite"),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_tensors_that_do_not_fit_are_named(net, path, fault):
    change, words = TENSORS[fault]
    write_weights(path, change(net.state_dict()), header_of(net))
    assert_refused(path, "does not fit", WEIGHT if "codes" not in words and "tail" not in words else "", words)


def test_nothing_is_copied_when_something_does_not_fit(net, path):
    write_weights(path, {k: t + 1 for k, t in net.state_dict().items()} | {"extra": torch.zeros(1)}, header_of(net))
    target = Network(SPEC, seed=5)
    before = {name: t.clone() for name, t in target.state_dict().items()}
    with pytest.raises(RecordError):
        record.load_exactly(target, read_weights(path)[0], path)
    assert all(torch.equal(t, before[name]) for name, t in target.state_dict().items())


def test_many_faults_are_not_all_listed(net, path):
    write_weights(path, {}, header_of(net))
    with pytest.raises(RecordError, match=r"; \.\.\.") as caught:
        load(path)
    assert len(str(caught.value)) < 600


def test_nothing_is_ever_unpickled(net, path, monkeypatch):
    save(net, path)

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    load(path)
    path.write_bytes(pickle.dumps(SimpleNamespace(a=1)))
    assert_refused(path)
