"""Random input for what reads files and texts: only the documented error is raised, and what is accepted round-trips.

SOAK=N tries N times as much: `make soak` does.
"""

import copy
import json
import os
import warnings
from dataclasses import asdict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import oatlib
from oatlib import record
from oatlib.evaluation.results import Table
from oatlib.explorer.state import NAMES, State, read
from oatlib.networks.network import Network, load, save
from oatlib.networks.spec import Spec

pytestmark = pytest.mark.slow
TIMES = int(os.environ.get("SOAK", "1"))


def tries(number):
    return settings(max_examples=number * TIMES, deadline=None, suppress_health_check=list(HealthCheck))


# Numbers and words at the edges of what is valid, among any others.
EDGES = [
    0, 1, -1, 2, 0.5, 1.0, -0.0, 1e-300, 1e308, 2**31, 2**63, 10**30, 10**400, float("nan"), float("inf"), True, False,
    None, "", "a", "rand", "oat", "tiny", "shared", "outputs", "\0", "é", [], {}, [0.0, 1.0], [1.0], [0.5, 1.0], ["a"],
]  # fmt: skip
JSON = st.recursive(
    st.sampled_from(EDGES) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed(draw, value):
    """A value of JSON with one to three parts replaced, removed, added or swapped."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        # Walk to a random place.
        parent, key = None, None
        inner = value
        while isinstance(inner, dict | list) and inner and (parent is None or draw(st.integers(0, 3))):
            parent = inner
            key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            inner = inner[key]
        if parent is None:
            return copy.deepcopy(draw(JSON))
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add", "twice"]))
        if kind == "remove":
            del parent[key]
        elif kind == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = copy.deepcopy(draw(JSON))  # it may be changed below
        elif kind == "twice" and isinstance(parent, list):
            parent.append(copy.deepcopy(inner))
        else:
            parent[key] = copy.deepcopy(draw(JSON))  # it may be changed below
    return value


# --- weights ---

SPEC = Spec(
    recipe="oat", backbone="plain", shape=(1, 8, 8), classes=("a", "b"), stops=(0.0, 1.0), dual=True, film=True,
    codes="rand", code_dim=4, widths=(0.5, 1.0), data={"name": "digits", "options": {"seed": 3}},
)  # fmt: skip
NET = Network(SPEC)
TENSORS = {name: tensor.contiguous() for name, tensor in NET.state_dict().items()}
HEADER = {"format": 3, "versions": {"oatlib": "1"}, **json.loads(json.dumps(NET.header()))}
HEADER["trained"] = [{"preset": {"epochs": 3}, "note": ""}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def loaded(path):
    """Return the network, or None if it is refused with the documented error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load(path)
        except oatlib.RecordError as error:
            assert path.name in str(error)
            return None


@tries(120)
@given(header=changed(HEADER))
def test_headers_of_weights(folder, header):
    path = folder / "net.safetensors"
    save_file(TENSORS, path, {"oatlib": json.dumps(header)})
    net = loaded(path)
    if net is None:
        return
    # It is a network, and the file that it is saved to gives it back.
    x = torch.rand(2, *net.spec.shape)
    assert net.at(net.spec.stops[0])(x).shape == (2, len(net.spec.classes))
    try:
        save(net, path)
    except ValueError:  # notes on the training may hold NaN, which is not written
        assert "NaN" in json.dumps(net.trained) or "Infinity" in json.dumps(net.trained)
        return
    back = loaded(path)
    assert back.header() == net.header()
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in net.state_dict().items())


@tries(60)
@given(data=st.data())
def test_bytes_of_weights(folder, data):
    path = folder / "net.safetensors"
    save(NET, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of a file is numbers: changes in the header matter more.
        at = data.draw(st.integers(0, min(3000, len(content) - 1)) | st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "put in"]))
        if kind == "change":
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 9))]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(content)
    net = loaded(path)
    assert net is None or asdict(net.spec) == asdict(SPEC)  # changes that cancel each other


# --- states ---

DATA = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
NETS = {"oats": oatlib.build("oats", DATA), "a, b & c=d": oatlib.build("blend", DATA)}
WORDS = st.sampled_from(
    ["oats", "a, b & c=d", "a%2C+b+%26+c%3Dd", "0.5", "1", "-0", "1e-5", "1e999", "nan", "٣", "pgd-20", "quick", "%"]
) | st.text(max_size=8)  # fmt: skip
PAIRS = st.tuples(st.sampled_from([*NAMES, "steps"]) | st.text(max_size=5), WORDS)
STATES = st.lists(PAIRS, max_size=4).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))


@tries(400)
@given(given_state=STATES | st.text(max_size=30) | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_states(given_state):
    try:
        state = read(given_state, NETS)
    except ValueError:
        return
    assert isinstance(state, State)
    assert read(str(state), NETS) == state
    assert read(state, NETS) == state


# --- results ---


def results():
    image = torch.rand(8, 3, 16, 16)
    split = oatlib.from_tensors("a", *[(image, torch.arange(8))] * 3, classes=DATA.classes).test
    return oatlib.evaluate(NETS["oats"], split, oatlib.PGD(8 / 255, 1), [0.0, 1.0], [1.0], progress=False)


TABLE = results()


@tries(250)
@given(content=changed(json.loads(json.dumps({"results": TABLE.as_json()}))))
def test_results(folder, content):
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    try:
        table = Table.load(path)
    except oatlib.RecordError as error:
        assert path.name in str(error)
        return
    # It can be shown, in every form, and the file that it is saved to gives it back.
    assert str(table) and table._repr_html_()
    try:
        table.save(path)
    except ValueError:
        assert "NaN" in json.dumps(table.as_json()) or "Infinity" in json.dumps(table.as_json())
        return
    assert Table.load(path).as_json() == table.as_json()


def test_the_parsers_accept_what_is_valid(folder):
    """Or the tests above would pass on parsers that refuse everything."""
    path = folder / "net.safetensors"
    save_file(TENSORS, path, {"oatlib": json.dumps(HEADER)})
    assert loaded(path) is not None
    record.write_json(folder / "results.json", {"results": TABLE.as_json()})
    assert len(Table.load(folder / "results.json")) == 2
    assert read("network=a%2C+b+%26+c%3Dd&lam=0.5", NETS).network == "a, b & c=d"
