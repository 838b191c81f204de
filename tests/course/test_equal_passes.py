"""The plain loop of the record of lesson 02."""

import torch
from torch import nn

from oatlib.course.equal_passes import BATCH, STEPS, plain_loop


def test_the_plain_loop_spends_no_more_than_its_passes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    x, y = torch.rand(100, 3, 2, 2), torch.randint(0, 3, (100,))
    spent = []

    def attack(net, images, labels, eps, steps):
        spent.append((steps + 1) * len(images))
        return images

    passes = 10 * (STEPS + 1) * BATCH
    plain_loop(net, x, y, attack, passes, torch.Generator().manual_seed(0))
    assert passes - (STEPS + 1) * BATCH < sum(spent) <= passes
