"""Binary masks: exact counts, who keeps what, and what stays in the graph."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oatlib.layers.masks import Masks, count

WEIGHT = (8, 6, 3, 3)


def masks(kind, density=0.3, of="weights"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Masks(torch.zeros(WEIGHT), kind, density, of)


@given(st.integers(1, 10_000), st.floats(1e-6, 1))
def test_a_density_is_kept_to_half_a_weight_but_nothing_is_cut_through(units, density):
    assert count(units, density) >= 1
    assert count(units, density) == 1 or abs(count(units, density) - units * density) <= 0.5


@pytest.mark.parametrize("of", ["weights", "channels"])
@pytest.mark.parametrize("kind", ["shared", "overlapping"])
@pytest.mark.parametrize("density", [0.001, 0.3, 1.0])
def test_masks_keep_exactly_their_density(kind, density, of):
    made = masks(kind, density, of)
    units = 432 if of == "weights" else 6
    assert {m.sum().item() for m in made.each} == {count(units, density)}
    assert all(torch.broadcast_shapes(m.shape, WEIGHT) == WEIGHT for m in made.each)


def test_complementary_masks_share_out_every_weight():
    made = masks("complementary", 0.5)
    assert not (made.clean & made.adv).any() and (made.clean | made.adv).all()
    assert made.mask_for(0) is made.clean and made.mask_for(1) is made.adv and not made.moves


@pytest.mark.parametrize(("of", "density"), [("weights", 0.9999), ("channels", 0.98), ("channels", 0.01)])
def test_both_experts_always_get_something(of, density):
    made = masks("complementary", density, of)
    assert made.clean.any() and made.adv.any() and (made.clean ^ made.adv).all()


def test_one_weight_cannot_be_shared_out():
    with pytest.raises(ValueError, match="cannot share out 1"):
        Masks(torch.zeros(1, 1, 1, 1), "complementary", 0.5)


def test_overlapping_masks_are_drawn_apart():
    made = masks("overlapping", 0.5)
    assert (made.clean & made.adv).any() and not (made.clean | made.adv).all()


def test_one_mask_serves_both_paths():
    made = masks("shared")
    assert made.adv is None and made.mask_for(0) is made.mask_for(1) and len(made.each) == 1


@pytest.mark.parametrize("kind", ["shared", "complementary", "overlapping"])
def test_the_value_of_a_path_is_its_own_and_absent_weights_get_a_gradient(kind):
    """A weight of the other expert alone is no part of this path; one of nobody is 0, but feels its gradient."""
    made = masks(kind, 0.4)
    weight = torch.randn(WEIGHT, generator=torch.Generator().manual_seed(1))
    made.clear(weight)
    weight.requires_grad_()
    for path, other in ((0, 1), (1, 0)):
        view = made.train_view(weight, path)
        torch.testing.assert_close(view, weight * made.mask_for(path))
        (gradient,) = torch.autograd.grad(view.sum(), weight)
        assert torch.equal(gradient != 0, made.mask_for(path) | ~made.mask_for(other))


def test_clear_leaves_what_any_path_keeps():
    made, weight = masks("overlapping", 0.4), torch.ones(WEIGHT)
    made.clear(weight)
    assert torch.equal(weight != 0, made.clean | made.adv)
