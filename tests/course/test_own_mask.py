"""The forgery meter of lesson 10, and the walk of APGD of lesson 10b."""

import pytest
import torch

from oatlib import APGD
from oatlib.attacks.apgd import is_stuck
from oatlib.attacks.losses import dlr
from oatlib.course.own_mask import (
    ARMS,
    EPS,
    fold,
    forged,
    rising,
    tile_cosines,
    training_attack,
)
from oatlib.course.walk import climb
from oatlib.data.shapes import tiles


def case(classes=8):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(classes, 3, 16, 16, generator=generator)
    return x, torch.arange(classes), generator


def whole(tile):
    return tile.repeat(1, 1, 4, 4)


def test_folding_a_repeated_tile_gives_the_tile():
    known = tiles(paired=False)
    assert torch.allclose(fold(whole(known)), known)
    assert fold(torch.rand(2, 1, 8, 12)).shape == (2, 1, 4, 4)


@pytest.mark.parametrize("strength", [0.001, EPS])
def test_a_clean_copy_is_a_perfect_forgery_at_every_strength(strength):
    x, y, _ = case()
    known = tiles(paired=False)
    meter = forged(x, x + strength * whole(known[(y + 3) % 8]), y, known)
    assert torch.allclose(meter, torch.ones(8), atol=1e-3)


def test_the_own_texture_is_no_forgery_and_a_mixture_is_half_of_one():
    x, y, _ = case()
    known = tiles(paired=False)
    assert forged(x, x + EPS * whole(known[y]), y, known).max() < 0.2
    mixture = whole(sum(known[(y + k) % 8] for k in range(1, 8)))
    assert forged(x, x + EPS * mixture / 7, y, known).mean() < 0.6


def test_a_pair_of_textures_has_opposite_cosines():
    cosines = tile_cosines(whole(tiles()), tiles())
    assert torch.allclose(cosines[0, 0], torch.tensor(1.0)) and torch.allclose(cosines[0, 1], torch.tensor(-1.0))


def test_the_loss_of_a_linear_network_rises_along_its_gradient():
    x, y, generator = case()
    weight = torch.randn(768, 8, generator=generator)
    assert rising(lambda images: images.flatten(1) @ weight, x, y) == 1


@pytest.mark.parametrize("preset", ARMS.values(), ids=list(ARMS))
def test_an_attack_of_training_is_measured_on_the_ball_of_the_evaluation(preset):
    attack = training_attack(preset)
    assert attack.eps == EPS and attack.steps == preset.steps
    assert attack.step_length / attack.eps == pytest.approx(preset.step_size / (preset.eps * preset.margin))


def test_the_arms_differ_in_their_attack_only():
    first, second = (vars(preset).copy() for preset in ARMS.values())
    for name in ("margin", "steps", "step_size", "aimed"):
        del first[name], second[name]
    assert first == second


def test_the_walk_is_apgd():
    x, y, generator = case()
    weight = torch.randn(768, 8, generator=generator)

    def f(images):
        return images.flatten(1) @ weight

    def halve(size, rose, better, halved, steps):
        stuck = is_stuck(rose, steps, better, halved)
        return torch.where(stuck, size / 2, size), stuck

    ours = climb(f, x, y, EPS, 10, dlr, 2 * EPS, halve)
    theirs = [at for at, _ in APGD(EPS, 10, start="none", loss="dlr").iterates(f, x, y)]
    assert torch.allclose(ours, torch.stack(theirs), atol=1e-5)
