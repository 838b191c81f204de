"""The parameters cell: what it may hold, and what may be given instead."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oatlib.reruns.parameters import Parameter, checked, declared, table

CELL = """\
data_set: str = "shapes"  # one of shapes, digits: the images
# a comment of its own

n: int = 256  # 32 to 1_024: images that are attacked: all of them
lr: float = 1  # 1e-4 to 1: of SGD
width: int = 4  # one of 2, 4, 8
shift: float = -0.5  # -1 to +.5
recompute: bool = False  # measure again
note: str = "a # b"
count: int = 3  # any number
"""
BAD = [
    ("n = 3", "not the declaration of a parameter"),
    ("n: int", "not the declaration of a parameter"),
    ("n: list = 3", "not the declaration of a parameter"),
    ('n: "int" = 3', "not the declaration of a parameter"),
    ("a.n: int = 3", "not the declaration of a parameter"),
    ("import os", "not the declaration of a parameter"),
    ("'text'", "not the declaration of a parameter"),
    ("%matplotlib inline", "invalid syntax"),
    ("n: int = ", "invalid syntax"),
    ("n: int = 1\n  m: int = 2", "unexpected indent"),
    ("n: int = 1; m: int = 2", "exactly one line"),
    ("n: int = (1 +\n 2)", "exactly one line"),
    ("n: int = m", "must be a constant"),
    ("n: int = 2 * 3", "must be a constant"),
    ("n: int = 1\nn: int = 2", "n is declared twice"),
    ("n: int = 1.0", "n must be a whole number, got 1.0"),
    ("n: int = True", "n must be a whole number, got True"),
    ('n: int = "3"', "n must be a whole number, got '3'"),
    ('x: float = "3"', "x must be a number, got '3'"),
    ("x: float = 1e999", "x must be a number, got inf"),
    ("x: float = 2j", "x must be a number"),
    ("x: float = None", "x must be a number, got None"),
    ("s: str = 3", "s must be a text, got 3"),
    ("b: bool = 1", "b must be true or false, got 1"),
    ("n: int = 3  # 4 to 8: too small", "n must be a whole number from 4 to 8, got 3"),
    ('s: str = "shape"  # one of shapes, digits: x', "did you mean 'shapes'"),
    ("n: int = 5  # 8 to 4: order", "LOW must not be larger than HIGH"),
    ("n: int = 5  # 4 to 8 images", "is not a range for a int"),
    ("n: int = 5  # 4 to many: x", "not of kind int"),
    ("n: int = 5  # 4.5 to 8: x", "not of kind int"),
    ("x: float = 5  # 0 to inf: x", "not of kind float"),
    ("n: int = 2  # one of 2, two: x", "not of kind int"),
    ("n: int = 2  # one of 2, 2: x", "all options must be different words"),
    ('s: str = ""  # one of a, : x', "all options must be different words"),
    ("b: bool = True  # 0 to 1: x", "is not a range for a bool"),
    ("b: bool = True  # one of true, false", "is not a range for a bool"),
    ('s: str = "4"  # 3 to 5: x', "is not a range for a str"),
]


def test_what_a_cell_declares():
    found = declared(CELL)
    assert list(found.values()) == [
        Parameter("data_set", "str", "shapes", options=("shapes", "digits"), about="the images"),
        Parameter("n", "int", 256, 32, 1024, about="images that are attacked: all of them"),
        Parameter("lr", "float", 1.0, 1e-4, 1.0, about="of SGD"),
        Parameter("width", "int", 4, options=(2, 4, 8)),
        Parameter("shift", "float", -0.5, -1.0, 0.5),
        Parameter("recompute", "bool", False, about="measure again"),
        Parameter("note", "str", "a # b"),
        Parameter("count", "int", 3, about="any number"),
    ]
    assert isinstance(found["lr"].default, float) and isinstance(found["recompute"].default, bool)
    assert declared("") == {} and declared("# only this\n\n") == {}


@pytest.mark.parametrize(("source", "complaint"), BAD)
def test_a_line_that_is_no_parameter_is_named(source, complaint):
    with pytest.raises(ValueError) as error:
        declared(f"good: int = 1  # 0 to 2: fine\n{source}")
    assert complaint in str(error.value) and "write `NAME: KIND = VALUE" in str(error.value)
    line = 3 if "\nn:" in source or "\n  m:" in source else 2
    assert f"line {line}, {source.splitlines()[line - 2].strip()!r}" in str(error.value)


VALUES = {"bool": st.booleans(), "int": st.integers(), "float": st.floats(allow_nan=False, allow_infinity=False),
          "str": st.text()}  # fmt: skip
ANY = st.sampled_from(list(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind]))


@given(ANY)
def test_a_value_survives_being_written_down(pair):
    """As text, as in a cell, and as in JSON."""
    kind, value = pair
    one = Parameter("name", kind, value)
    for read in (one.read(value), one.read(str(value)), one.read(json.loads(json.dumps(value)))):
        assert type(read) is type(value) and read == value
    if kind != "str":
        assert declared(f"name: {kind} = {value!r}") == {"name": one}


@given(st.data(), st.sampled_from(["int", "float"]))
def test_what_is_out_of_range_is_refused(data, kind):
    low, high = sorted(data.draw(st.tuples(VALUES[kind], VALUES[kind])))
    value = data.draw(VALUES[kind])
    one = declared(f"name: {kind} = {low!r}  # {low!r} to {high!r}: about")["name"]
    assert (one.low, one.high, one.default) == (low, high, low)
    if low <= value <= high:
        assert one.read(str(value)) == value
    else:
        for given_as in (value, str(value)):
            with pytest.raises(ValueError, match=f"name must be .* from {low} to ".replace("+", r"\+")):
                one.read(given_as)


@pytest.mark.parametrize(
    ("kind", "given_as", "value"),
    [
        ("bool", "true", True), ("bool", "False", False), ("bool", " TRUE ", True), ("int", " 32", 32),
        ("int", np.int64(3), 3), ("float", "8e-3", 0.008), ("float", 3, 3.0), ("float", np.float32(0.5), 0.5),
        ("float", Fraction(1, 4), 0.25), ("str", "true", "true"), ("str", " a", " a"), ("str", "", ""),
    ],
)  # fmt: skip
def test_what_is_read(kind, given_as, value):
    read = Parameter("name", kind, None).read(given_as)
    assert type(read) is type(value) and read == value


@pytest.mark.parametrize(
    ("kind", "given_as"),
    [
        ("bool", 1), ("bool", 0.0), ("bool", "yes"), ("bool", "1"), ("bool", ""), ("bool", None), ("int", True),
        ("int", 3.0), ("int", "3.0"), ("int", "1e3"), ("int", "x"), ("int", ""), ("int", None), ("int", [3]),
        ("float", "nan"), ("float", math.inf), ("float", "1e999"), ("float", False), ("float", 10**400),
        ("float", "0,1"), ("float", None), ("float", 1j), ("str", 3), ("str", None), ("str", b"text"), ("str", True),
    ],
)  # fmt: skip
def test_what_is_of_another_kind_is_refused(kind, given_as):
    with pytest.raises(ValueError, match="name must be (a|true)") as error:
        Parameter("name", kind, None).read(given_as)
    assert repr(given_as) in str(error.value)


def test_checked_fills_in_and_refuses():
    found = declared(CELL)
    values = checked(found, {"lr": "0.5", "n": 64})
    assert values == {name: one.default for name, one in found.items()} | {"lr": 0.5, "n": 64}
    assert checked({}, {}) == {}
    for wrong, complaint in [
        ({"lrs": 1}, "unknown parameter 'lrs' (did you mean 'lr'?): use one of data_set, n, lr"),
        ({"lr": 2}, "lr must be a number from 0.0001 to 1.0, got 2"),
        ({"data_set": "shape"}, "one of shapes, digits, got 'shape' (did you mean 'shapes'?)"),
        ({"width": "3"}, "width must be one of 2, 4, 8, got '3'"),
        ({"data_set": "Shapes"}, "got 'Shapes'"),
    ]:
        with pytest.raises(ValueError) as error:
            checked(found, wrong)
        assert complaint in str(error.value)
    with pytest.raises(ValueError, match="unknown parameter 'n': this notebook has no parameters"):
        checked({}, {"n": 3})


def test_the_table_shows_all_there_is_to_know():
    head, *lines = table(declared(CELL)).splitlines()
    assert head.split() == ["name", "kind", "range", "default"] and len(lines) == 8
    row = next(line for line in lines if line.startswith("n "))
    assert " ".join(row.split()) == "n int a whole number from 32 to 1024 256 images that are attacked: all of them"
    assert "false" in lines[5] and "False" not in lines[5]
