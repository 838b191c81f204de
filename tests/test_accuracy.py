"""`robust_accuracy`: the fraction of images that stay correct under one attack."""

from dataclasses import replace

import pytest
import torch

import oatlib
from oatlib.attacks import robust_accuracy
from oatlib.attacks.accuracy import correct_at_every_point, correct_before_and_after
from oatlib.data.load import Split

EPS = 0.1


def line(x):
    """Two classes, told apart by whether the one pixel is above one half."""
    value = 20 * (x.flatten(1)[:, :1] - 0.5)
    return torch.cat([-value, value], 1)


def pixels():
    """Images of one pixel in two classes; an image stays correct if it is farther than EPS from one half."""
    x = torch.tensor([0.2, 0.35, 0.45, 0.49, 0.52, 0.58, 0.62, 0.9, 0.3]).view(-1, 1, 1, 1)
    y = (x.flatten() > 0.5).long()
    y[-1] = 1  # wrong without any attack
    return x, y


ATTACKS = [oatlib.PGD(EPS, 5), oatlib.PGD(EPS, 5, best=False), oatlib.FGSM(EPS), oatlib.APGD(EPS, 5),
           oatlib.Suite(EPS, members=(oatlib.FGSM(EPS), oatlib.APGD(EPS, 5)))]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_is_exact_where_the_answer_is_known(attack):
    x, y = pixels()
    assert robust_accuracy(line, x, y, attack) == 4 / 9  # 0.2, 0.35, 0.62 and 0.9
    assert robust_accuracy(line, x, y, oatlib.PGD(0.0, 1)) == 8 / 9


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_agrees_with_evaluate(attack):
    x, y = pixels()
    (row,) = oatlib.evaluate(line, Split(x, y, "val"), attack, seed=3, progress=False)
    assert robust_accuracy(line, x, y, attack, torch.Generator().manual_seed(3)) == pytest.approx(row.robust)


def test_the_points_on_the_way_count_only_if_the_attack_keeps_the_best():
    """The loss leads back to the true class, so only the start fools the network."""

    def back(logits, y):
        return -torch.nn.functional.cross_entropy(logits, y, reduction="none")

    x, y = torch.full((4, 1, 1, 1), 0.49), torch.ones(4, dtype=torch.int64)
    y[:2] = 0
    attack = oatlib.PGD(EPS, 3, loss=back)
    generator = torch.Generator().manual_seed(1)
    start = next(attack.iterates(line, x, y, torch.Generator().manual_seed(1)))[0]
    wrong = line(start).argmax(1) != y
    assert wrong[:2].any(), "choose another seed"
    best = robust_accuracy(line, x, y, attack, generator)
    assert best == (~wrong[:2]).sum().item() / 4  # the last two are wrong from the beginning
    assert robust_accuracy(line, x, y, replace(attack, best=False), generator) == 0.5


def test_masks_say_which_images():
    x, y = pixels()
    clean, robust = correct_at_every_point(line, x, y, oatlib.APGD(EPS, 3))
    assert clean.tolist() == [True] * 8 + [False]
    assert robust.tolist() == [True, True, False, False, False, False, True, True, False]
    again = correct_before_and_after(line, x, x.flip(0), y)
    assert torch.equal(again[0], clean) and torch.equal(again[1], clean & (line(x.flip(0)).argmax(1) == y))


def test_before_and_after_are_one_call():
    calls = []
    x, y = pixels()
    correct_before_and_after(lambda z: calls.append(len(z)) or line(z), x, x, y)
    assert calls == [18]


def test_no_images_are_refused():
    x, y = pixels()
    with pytest.raises(ValueError, match="no images"):
        robust_accuracy(line, x[:0], y[:0], oatlib.PGD(EPS))
