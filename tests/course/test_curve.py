"""The curve with a knob of lesson 04."""

import pytest
import torch

from oatlib.course.curve import CurveNet, curve, curve_error, learn
from oatlib.course.parts import FiLM


def test_the_curve_is_a_wave_at_0_and_a_line_at_1():
    x = torch.linspace(-1, 1, 5)[:, None]
    torch.testing.assert_close(curve(x, torch.zeros_like(x)), torch.sin(6 * x))
    torch.testing.assert_close(curve(x, torch.ones_like(x)), x)


@pytest.mark.parametrize("make", [lambda: CurveNet(8), lambda: CurveNet(8, inputs=2), lambda: CurveNet(8, FiLM(1, 8))])
def test_training_is_repeatable_lowers_the_error_and_leaves_other_random_numbers_alone(make):
    state = torch.random.get_rng_state()
    first, again, short = learn(make, 60, 0), learn(make, 60, 0), learn(make, 1, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert curve_error(first) == curve_error(again) < curve_error(short)


@pytest.mark.parametrize("net, sees", [(CurveNet(8), False), (CurveNet(8, inputs=2), True),
                                       (CurveNet(8, FiLM(1, 8)), True)])  # fmt: skip
def test_who_sees_the_knob(net, sees):
    x = torch.linspace(-1, 1, 5)[:, None]
    with torch.no_grad():
        same = torch.equal(net(x, torch.zeros_like(x)), net(x, torch.ones_like(x)))
    assert same != sees
