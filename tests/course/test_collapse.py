"""The two-pixel world and the arms of lesson 02b."""

import torch
from torch import nn

from oatlib import FGSM, PGD
from oatlib.course import collapse
from oatlib.course.two_pixels import POINTS, Continued, Run, accuracy, begun, small_net, two_cues


def test_points_have_a_loud_cue_that_lies_and_a_faint_one_that_never_does():
    x, y, lies = two_cues(3)
    assert x.shape == (POINTS, 2) and y.shape == lies.shape == (POINTS,)
    loud, faint = (x[:, column] > 0.5 for column in (0, 1))
    assert torch.equal(faint.long(), y)
    assert (loud.long() == y)[~lies].float().mean() > 0.8 and (loud.long() == y)[lies].float().mean() < 0.2
    assert torch.equal(two_cues(3)[0], x) and not torch.equal(two_cues(4)[0], x)


def test_a_network_comes_from_its_seed_and_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    first, second, other = small_net(1), small_net(1), small_net(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    x = two_cues(0)[0]
    assert torch.equal(first(x), second(x)) and not torch.equal(first(x), other(x))


def test_a_run_starts_where_training_on_clean_points_ends_and_can_start_again():
    run, (net, _) = Run(0), begun(0)
    assert torch.equal(run.net(run.x), net(run.x)) and accuracy(net, run.x, run.y) > 0.95
    run.attack = FGSM(0.1)
    run.train(2)
    assert run.done == 2 and not torch.equal(run.net(run.x), net(run.x))
    run.start()
    assert run.done == 0 and torch.equal(run.net(run.x), net(run.x))


def test_a_continued_attack_gets_its_last_result():
    seen = []

    def attack(net, x, y, eps, last, generator):
        seen.append(last)
        return x + eps

    x, y, _ = two_cues(0)
    continued = Continued(attack, 0.1, 0)
    first = continued(small_net(0), x, y)
    continued(small_net(0), x, y)
    assert seen[0] is None and torch.equal(seen[1], first)


def test_gradients_of_a_linear_loss_agree_everywhere():
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    net, y = nn.Linear(2, 2), torch.zeros(5, dtype=torch.long)
    cosines = collapse.alignment(net, x, y, 0.3, torch.Generator().manual_seed(0))
    assert cosines.shape == (5,) and torch.allclose(cosines, torch.ones(5), atol=1e-5)


def test_every_arm_trains_and_the_penalty_changes_the_loss():
    found = collapse.on_points(seeds=1, rounds=1, radii=(0.1,))
    assert list(found["rows"]["0.1"]) == list(collapse.POINT_ARMS)
    assert all(len(row) == 4 for rows in found["rows"]["0.1"].values() for row in rows)
    x, y, _ = two_cues(0)
    net, source = small_net(0), torch.Generator().manual_seed(0)
    plain, penalised = (collapse.POINT_ARMS[name].loss(net, x, y, 0.1, source) for name in ("FGSM", "FGSM + GradAlign"))
    assert penalised > plain


def test_two_half_steps_have_half_the_length():
    attack = collapse.IMAGE_ARMS["two half steps"].kind(0.1)
    assert isinstance(attack, PGD) and attack.steps == 2 and attack.step_length == 0.05
