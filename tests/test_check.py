"""The checks of values that users pass: what is valid, and what the message says."""

import math

import numpy as np
import pytest

from oatlib._check import of_type, path_of, real, seed_of, whole


def test_whole_numbers_also_those_of_numpy():
    assert whole("n", 3) == whole("n", np.int64(3)) == 3
    assert type(whole("n", np.int64(3))) is int
    for bad in (0, -1, 1.0, True, "3", None, math.nan, [3]):
        with pytest.raises(ValueError, match="^n=.*: must be a whole number, 1 or more$"):
            whole("n", bad)
    with pytest.raises(ValueError, match="^n=11: must be a whole number from 2 to 10$"):
        whole("n", 11, 2, 10)


def test_a_seed_is_what_a_generator_takes():
    assert seed_of(-(2**63)) == -(2**63) and seed_of(0) == 0
    for bad in (2**63, "a", 1.5, None):
        with pytest.raises(ValueError, match="^seed=.*must be a whole number"):
            seed_of(bad)


def test_numbers_in_a_range():
    assert real("x", 0.5, 0, 1) == 0.5 and real("x", np.float32(0.5), 0, 1) == 0.5
    for bad in (-0.1, 1.1, math.nan, math.inf, "0.5", None, True):
        with pytest.raises(ValueError, match=r"^x must be a number in \[0, 1\], such as 0\.5, got "):
            real("x", bad, 0, 1, "such as 0.5")
    for bad in (math.inf, math.nan):
        with pytest.raises(ValueError, match="^x must be a number >= 0, got "):
            real("x", bad, 0)


def test_types_and_paths():
    with pytest.raises(TypeError, match="^net must be a network, got 3$"):
        of_type("net", 3, str, "a network")
    with pytest.raises(TypeError, match="got list$"):
        of_type("net", [0] * 1000, str, "a network")
    with pytest.raises(TypeError, match="got a text of 1000 characters$"):
        of_type("net", "x" * 1000, int, "a network")
    assert str(path_of("a")) == "a"
    for bad in (3, None, b"a", []):
        with pytest.raises(TypeError, match="expected a path, such as"):
            path_of(bad)
