"""A short form of `make soak`: a training that is killed at random moments ends with the same bits."""

import os

import pytest
import torch

from bench import soak
from oatlib import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes"),
]


@pytest.mark.slow
def test_a_training_that_is_killed_three_times_has_the_bits_of_an_uninterrupted_one(tmp_path):
    outcome = soak.soak_training(tmp_path, kills=3, seed=1, epochs=8)
    assert outcome.kills == len(outcome.places) == 3
    assert outcome.finished >= 1


@pytest.mark.parametrize("fault", ["other bits", "a temporary file", "half a file", "another header"])
def test_faults_are_seen(tmp_path, fault):
    """What a training that cannot be killed would leave."""
    for place in ("whole", "1"):
        (tmp_path / place).mkdir()
        for name in (soak.CHECKPOINT, soak.OUTPUT):
            value = 1.0 + (fault == "other bits" and place == "1")
            header = {"seconds": len(place), "seed": fault == "another header" and place == "1"}
            tensors = {"a": torch.full((3,), value)}
            record.write_weights(tmp_path / place / name, tensors, header)
    if fault == "a temporary file":
        (tmp_path / "1" / ".run.safetensors.0123456789abcdef.part").write_text("")
    if fault == "half a file":
        path = tmp_path / "1" / soak.OUTPUT
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises((AssertionError, record.RecordError), match=r"differs|\.part|cannot be read"):
        soak._compare(tmp_path / "1", tmp_path / "whole")
    soak._compare(tmp_path / "whole", tmp_path / "whole")
