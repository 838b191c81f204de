"""The attack of training: PGD in which some images climb towards one wrong class."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oatlib.attacks.aimed import AimedPGD
from oatlib.attacks.pgd import PGD
from oatlib.training.presets import PRESETS, Preset

CLASSES, PIXELS = 5, 12


def linear(seed: int, bias: float = 0.0):
    """A linear classifier of images (N, 1, 3, 4), whose best attack is known in closed form."""
    weight = torch.randn(CLASSES, PIXELS, generator=torch.Generator().manual_seed(seed))
    return weight, lambda x: x.flatten(1) @ weight.T + bias


def images(n: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 + 0.4 * torch.rand(n, 1, 3, 4, generator=generator)
    return x, torch.randint(CLASSES, (n,), generator=generator)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500), candidates=st.integers(1, 6))
def test_an_aimed_image_ends_at_the_corner_of_one_of_its_likeliest_wrong_classes(seed, candidates):
    """On a linear network the targeted attack has one answer: eps times the sign of the weight difference."""
    weight, f = linear(seed)
    x, y = images(16, seed)
    eps = 0.05
    attack = AimedPGD(eps, steps=4, step_size=eps, share=1.0, candidates=candidates, start="none")
    moved = (attack(f, x, y, torch.Generator().manual_seed(seed)) - x).flatten(1)
    likeliest = f(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    for i in range(len(y)):
        corners = [eps * (weight[k] - weight[y[i]]).sign() for k in likeliest[i, : min(candidates, CLASSES - 1)]]
        assert any(torch.allclose(moved[i], corner, atol=1e-6) for corner in corners)


def test_candidates_and_share_are_kept():
    weight, f = linear(1)
    x, y = images(4000, 1)
    likeliest = f(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)

    def share_of_corners(share: float) -> tuple[float, float]:
        """Which part of the images ends at the corner of the first class, and which at that of the second."""
        attack = AimedPGD(0.1, steps=1, step_size=0.1, share=share, candidates=2, start="none")
        moved = (attack(f, x, y, torch.Generator().manual_seed(0)) - x).flatten(1)
        corners = [0.1 * (weight[likeliest[:, place]] - weight[y]).sign() for place in (0, 1)]
        return tuple(torch.isclose(moved, c, atol=1e-6).all(1).float().mean().item() for c in corners)

    spread = 4 * (0.25 / 4000) ** 0.5
    first, second = share_of_corners(1.0)
    assert first == pytest.approx(0.5, abs=spread) and first + second == pytest.approx(1.0)
    # the other three quarters climb the margin, and that is the corner of the first class, too
    first, second = share_of_corners(0.25)
    assert second == pytest.approx(0.125, abs=spread) and first + second == pytest.approx(1.0)


def test_a_target_is_chosen_once():
    """A network whose likeliest class changes along the walk must not change the class that is climbed towards."""
    asked = []

    def fickle(x):
        asked.append(len(asked))
        likeliest = torch.full((CLASSES,), 0.0).index_fill(0, torch.tensor(1 + len(asked) % 2), 9.0)
        return x.flatten(1)[:, :CLASSES] * torch.tensor([1.0, -1.0, 2.0, 1.0, 1.0]) + likeliest

    x, y = torch.full((4, 1, 3, 4), 0.5), torch.zeros(4, dtype=torch.long)
    attack = AimedPGD(0.3, steps=3, step_size=0.1, share=1.0, candidates=1, start="none")
    moved = (attack(fickle, x, y) - x).flatten(1)
    # the first call finds class 2 likeliest: its pixel rises to the end of the ball, that of class 1 never moves
    assert torch.allclose(moved[:, 2], torch.tensor(0.3)) and not moved[:, 1].any() and len(asked) == 3


def test_without_a_share_it_is_pgd_on_the_margin():
    _, f = linear(2)
    x, y = images(32, 2)
    plain = PGD(0.03, 3, 0.02, loss="margin", best=False)
    aimed = AimedPGD(0.03, 3, 0.02, share=0.0)
    # the targets are drawn first, so the starts differ: compare from x itself
    a = AimedPGD(0.03, 3, 0.02, share=0.0, start="none")(f, x, y)
    b = PGD(0.03, 3, 0.02, loss="margin", best=False, start="none")(f, x, y)
    assert torch.equal(a, b)
    assert (aimed(f, x, y) - x).abs().max() <= 0.03 + 1e-6 >= (plain(f, x, y) - x).abs().max()


def test_survivors_keep_their_own_targets():
    """Images that drop out must not shift the targets of the others: the walk ends where the whole one does."""
    _, f = linear(3)
    x, y = images(64, 3)
    y = f(x).argmax(1)  # all are right before the attack
    attack = AimedPGD(0.2, steps=5, step_size=0.05, share=0.5, start="none")
    whole = attack(f, x, y, torch.Generator().manual_seed(0))
    last, fooled = {}, 0
    for index, x_adv, logits in attack.survivors(f, x, y, torch.Generator().manual_seed(0)):
        for k, i in enumerate(index.tolist()):
            last[i] = (x_adv[k], bool(logits[k].argmax() == y[i]))
    for i, (at, right) in last.items():
        if right:  # still on the walk at its end
            assert torch.allclose(at, whole[i], atol=1e-6)
        else:
            fooled += 1
    assert 0 < fooled < 64


def test_two_classes_and_more_candidates_than_classes():
    x, _ = images(8, 4)
    y = torch.arange(8) % 2
    assert AimedPGD(0.1, share=1.0, candidates=9)(lambda z: z.flatten(1)[:, :2], x, y).shape == x.shape


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"share": -0.1}, {"candidates": 0}])
def test_bad_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AimedPGD(0.1, **wrong)


def test_presets_name_their_attack():
    fast, paper = PRESETS["fast"].attack(), PRESETS["paper"].attack()
    assert isinstance(fast, AimedPGD) and fast.share == 0.5 and not fast.best
    assert type(paper) is PGD and paper.loss == "ce" and paper.steps == 7
    early = Preset(ramp=0.5).attack(0.25)
    assert early.eps == pytest.approx(4 / 255) and early.step_length == pytest.approx(Preset().step_size / 2)
    with pytest.raises(ValueError, match=r"aimed must be a fraction of the images in \[0, 1\]"):
        Preset(aimed=2.0)
