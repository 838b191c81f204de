"""The parts of an image of `shapes`: their sum is the image, and a planted change is found in its part."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oatlib.data.load import Data, from_tensors, load_data
from oatlib.data.scenes import effect_of, parts_of, scene_of
from oatlib.data.shapes import CONSTANT_TRUST, render, tiles

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 1000)
WORLDS = ({}, CONSTANT_TRUST, {"size": 8, "classes": 3}, {"size": 12, "classes": 5, "paired": False})
worlds = st.sampled_from(WORLDS)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def textures(scene):
    """The +-1 texture of every class as an image."""
    options = scene.options
    repeats = options.size // 4
    return tiles(options.paired)[: options.classes].repeat(1, 1, repeats, repeats)


def drawn(scene):
    return scene.mask[:, None] * scene.contrast[:, :, None, None]


def close(found, expected, tolerance=1e-4):
    expected = torch.as_tensor(expected, dtype=found.dtype).expand_as(found)
    return torch.allclose(found, expected, rtol=0, atol=tolerance)


# ---- the parts of an image ---------------------------------------------------------------------------------------


@quick
@given(
    seed=seeds,
    world=worlds,
    noise=st.sampled_from([0.0, 0.05, 0.6]),
    amplitude=st.sampled_from([0.0, 4 / 255, 0.25]),
)
def test_the_sum_of_the_parts_is_the_image_to_the_bit(seed, world, noise, amplitude):
    scene = render(12, rng(seed), **world | {"noise": noise, "amplitude": amplitude})
    parts = parts_of(scene)
    assert torch.equal((parts.drawn + parts.texture + parts.noise).clamp(0, 1), scene.x)
    # each part holds what its name says
    outside = scene.mask == 0
    assert (parts.drawn.permute(0, 2, 3, 1)[outside] == 0.5).all() and 0 <= parts.drawn.min() <= parts.drawn.max() <= 1
    expected = scene.amplitude[:, None, None, None] * textures(scene)[scene.y]
    assert torch.equal(parts.texture, expected) and (noise > 0) == bool(parts.noise.any())


@quick
@given(seed=st.integers(0, 50), world=worlds, part=st.sampled_from(["train", "val", "test"]), order=seeds)
def test_any_images_of_a_data_set_are_rendered_again_to_the_bit(seed, world, part, order):
    data = load_data("shapes", seed, n_train=20, n_val=16, n_test=18, **world)
    split = getattr(data, part)
    split = split.take(torch.randperm(len(split), generator=rng(order))[:7])
    scene = scene_of(data, split)
    assert torch.equal(scene.x, split.x) and torch.equal(scene.y, split.y)
    for name, values in split.facts.items():
        assert torch.equal(getattr(scene, name), values), name
    parts = parts_of(scene)
    assert torch.equal(sum(parts).clamp(0, 1), split.x)


def test_images_that_the_data_set_did_not_render_are_refused():
    data = load_data("shapes", n_train=8, n_val=16, n_test=8)
    x = data.val.x.clone()
    x[5, 0, 3, 3] += 1e-4 if x[5, 0, 3, 3] < 0.5 else -1e-4
    with pytest.raises(ValueError, match="image 5 of the split 'val' is not one that this data set renders"):
        scene_of(data, replace(data.val, x=x))
    with pytest.raises(ValueError, match="image 0 of the split 'val'"):
        scene_of(data, replace(data.test, name="val"))
    with pytest.raises(ValueError, match="unknown split 'mine': the splits are train, val, test"):
        scene_of(data, replace(data.val, name="mine"))
    pairs = [(data.val.x, data.val.y)] * 3
    for other in (load_data("digits", n_train=20, n_val=10, n_test=10), from_tensors("shapes", *pairs, "abcdefgh")):
        assert isinstance(other, Data)
        with pytest.raises(ValueError, match="known only for load_data"):
            scene_of(other, other.val)


# ---- what a change does to them ----------------------------------------------------------------------------------


@quick
@given(seed=seeds, world=worlds, share=st.floats(-1, 2))
def test_taking_away_the_texture_erases_it_and_nothing_else(seed, world, share):
    scene = render(9, rng(seed), **world)
    effect = effect_of(scene, -share * scene.texture)
    assert close(effect.erased, share) and close(effect.faded, 0) and close(effect.rest, 0, 1e-6)
    forged = torch.zeros(9, scene.options.classes)
    if scene.options.paired:  # beyond 1 the negative of the texture is left: that of the partner
        partner = scene.y ^ 1
        has_partner = partner < scene.options.classes
        forged[has_partner, partner[has_partner]] = max(0.0, share - 1)
    assert close(effect.forged, forged)


@quick
@given(seed=seeds, world=worlds, share=st.floats(0, 3), shift=st.integers(1, 7))
def test_the_texture_of_another_class_is_forged_as_much_as_is_added(seed, world, share, shift):
    scene = render(9, rng(seed), **world)
    classes = scene.options.classes
    other = (scene.y + 1 + shift % (classes - 1)) % classes
    effect = effect_of(scene, share * scene.amplitude[:, None, None, None] * textures(scene)[other])
    rows = torch.arange(9)
    partner = (other == scene.y ^ 1) & scene.options.paired
    # adding the negative of the own texture takes it away first
    assert close(effect.forged[rows, other], torch.where(partner, max(0.0, share - 1), share))
    assert close(effect.erased, torch.where(partner, share, 0.0))
    effect.forged[rows, other] = 0
    assert close(effect.forged, 0) and close(effect.faded, 0) and close(effect.rest, 0, 1e-6)


@quick
@given(seed=seeds, world=worlds, share=st.floats(-1, 1))
def test_taking_away_the_drawn_shape_fades_it_and_touches_no_texture(seed, world, share):
    scene = render(9, rng(seed), **world)
    effect = effect_of(scene, -share * drawn(scene))
    assert close(effect.faded, share) and close(effect.erased, 0, 1e-3) and close(effect.forged, 0, 1e-3)
    assert close(effect.rest, 0, 1e-6)


@quick
@given(seed=seeds, world=worlds, faded=st.floats(-0.2, 0.2), erased=st.floats(0, 1), forged=st.floats(0, 1))
def test_changes_of_all_parts_at_once_are_told_apart(seed, world, faded, erased, forged):
    """Textures of other classes correlate with each other and with shapes: a plain correlation fails here."""
    scene = render(9, rng(seed), **world)
    classes = scene.options.classes
    other = (scene.y + 2) % classes
    amplitude = scene.amplitude[:, None, None, None]
    change = -faded * drawn(scene) - erased * scene.texture + forged * amplitude * textures(scene)[other]
    noise = 0.01 * torch.randn(change.shape, generator=rng(seed))
    # noise that holds no cue: what effect_of calls the rest of noise
    rest = effect_of(scene, noise).rest
    effect = effect_of(scene, change + rest)
    is_partner = (other == scene.y ^ 1) & scene.options.paired
    usual = ~is_partner
    assert close(effect.faded, faded, 1e-3) and close(effect.rest, rest, 1e-5)
    assert close(effect.erased[usual], erased, 2e-3)
    assert close(effect.forged[torch.arange(9), other][usual], forged, 2e-3)
    assert close(effect.drawn + effect.texture + effect.rest, change + rest, 1e-6)
    share = rest.square().sum((1, 2, 3)) / (change + rest).square().sum((1, 2, 3))
    assert close(effect.rest_share, share, 1e-3)


@quick
@given(seed=seeds, world=worlds)
def test_a_random_change_erases_and_forges_next_to_nothing(seed, world):
    scene = render(64, rng(seed), **world)
    change = (torch.rand(scene.x.shape, generator=rng(seed + 1)) * 2 - 1) * 8 / 255
    effect = effect_of(scene, change)
    # the multiple of a pattern of D values of +-1 has the standard deviation eps / sqrt(3 D)
    size = scene.options.size
    spread = 8 / 255 / (3 * 3 * size * size) ** 0.5 / scene.amplitude
    assert (effect.erased.abs() < 5.5 * spread).all() and (effect.forged < 5.5 * spread[:, None]).all()
    assert effect.rest_share.min() > 0.75 and effect.rest_share.mean() > 0.9
    # the rest holds no cue
    again = effect_of(scene, effect.rest)
    assert close(again.erased, 0) and close(again.forged, 0) and close(again.faded, 0)


def test_no_change_has_no_effect_and_images_without_texture_are_refused():
    scene = render(5, rng())
    effect = effect_of(scene, torch.zeros_like(scene.x))
    for values in (effect.faded, effect.erased, effect.forged, effect.rest, effect.rest_share):
        assert not values.any()
    with pytest.raises(ValueError, match="amplitude=0: these images have no texture"):
        effect_of(render(5, rng(), amplitude=0.0), torch.zeros(5, 3, 16, 16))
    # a shape without contrast cannot fade
    invisible = render(5, rng(), palest=0.0, strongest=0.0)
    effect = effect_of(invisible, -invisible.texture)
    assert close(effect.erased, 1) and not effect.faded.any()


def test_the_textures_of_all_classes_can_be_told_apart():
    for paired, rank in ((True, 4), (False, 8)):
        assert torch.linalg.matrix_rank(tiles(paired).flatten(1)) == rank
