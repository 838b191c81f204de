"""The two-pixel world and the arms of lesson 02b."""

import torch
from torch import nn

import oatlib
from oatlib import FGSM, PGD
from oatlib.course import collapse
from oatlib.course.lesson import RECORDS
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


def test_equal_cost_means_at_most_as_many_gradients_as_fgsm():
    found = collapse.on_points(seeds=1, rounds=40, radii=(0.1,))["gradients"]["0.1"]
    rival, fgsm = found["PGD-7 at equal cost"][0], found["FGSM"][0]
    assert fgsm - 9 < rival <= fgsm
    assert found["FGSM, stopped by the alarm"][0] > fgsm  # no alarm yet, and two measurements


def test_no_attack_changes_the_answer_of_the_loud_rule_to_a_vivid_point():
    x, y, lies = two_cues(0)
    assert abs(collapse.loud_rule(0, 0.0) - (~lies).float().mean().item()) < 0.02
    side = (x[:, 0] - 0.5) * (2 * y - 1)
    worst = side - 0.1  # the pixel is moved towards the other class
    assert abs(collapse.loud_rule(0, 0.1) - (worst > 0).float().mean().item()) < 1e-6


def test_the_control_changes_the_attack_of_training_only():
    two, three = collapse.TWO_STEP_ARMS.values()
    of_attack = {"margin", "steps", "step_size", "aimed"}
    changed = {key for key in vars(two) if vars(two)[key] != vars(three)[key]}
    assert changed == of_attack
    exhibit = oatlib.load(RECORDS / "oats_two_steps.safetensors").trained[0]["preset"]
    assert {key: getattr(two, key) for key in exhibit} == exhibit
