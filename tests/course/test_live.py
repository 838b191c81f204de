"""A curve that grows while a cell runs."""

import torch

import oatlib
from oatlib.course import parts
from oatlib.course.dials import LiveEnds, choose_by_image, costs
from oatlib.course.live import LiveCurve


def test_points_are_added_to_every_curve():
    live = LiveCurve(["a", "b"], "step", "value", x_range=(0, 10), takeaway="It grows.")
    live.add(1, {"a": 2.0, "b": 3.0}, "step 1 of 10")
    live.add(2, {"a": 4.0, "b": 1.0}, "step 2 of 10")
    assert [list(trace.y) for trace in live.figure.data] == [[2.0, 4.0], [3.0, 1.0]]
    assert list(live.figure.data[0].x) == [1, 2] and tuple(live.figure.layout.xaxis.range) == (0, 10)
    assert live.figure.layout.meta["takeaway"] == "It grows." and "step 2" in live.children[1].value


def test_the_two_ends_are_measured_now_and_then_in_eval_mode_and_the_network_stays_as_it_was():
    data = oatlib.load_data("shapes", seed=0, n_train=8, n_val=16, n_test=8, size=8, classes=3)
    net = parts.DialNet(classes=3)
    live = LiveEnds(net, data, total=120, eps=8 / 255)
    seen, before = set(), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.register_forward_pre_hook(lambda module, _: seen.add(module.training))
    for taken in range(1, 121):
        live.step(taken, 1.0)
    assert len(live.x) == LiveEnds.LOOKS and live.x[-1] == 120
    assert seen == {False} and net.training and all(part.training for part in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    clean, attacked = live.series.values()
    assert all(0 <= a <= 100 for a in [*clean, *attacked])


def test_every_width_is_measured_with_its_own_attack():
    data = oatlib.load_data("shapes", seed=0, n_train=8, n_val=16, n_test=8, size=8, classes=3)
    net = parts.SlimDialNet(widths=(0.5, 1.0), classes=3)
    gradients = []  # which widths an attack has asked for

    def at(index):
        def answer(images, stop):
            if images.requires_grad:
                gradients.append(index)
            return net(images, stop, index)

        return answer

    live = LiveEnds(net, data, 12, 8 / 255, {"half": at(0), "whole": at(1)})
    live.step(12, 1.0)
    assert list(live.series) == [
        "clean, λ = 0, half",
        "PGD-5, λ = 1, half (an upper bound)",
        "clean, λ = 0, whole",
        "PGD-5, λ = 1, whole (an upper bound)",
    ]
    assert gradients == sorted(gradients) and set(gradients) == {0, 1}
    assert net.training
    # as measured alone
    alone = LiveEnds(net, data, 12, 8 / 255, {"whole": at(1)})
    alone.step(12, 1.0)
    assert list(alone.series.values()) == list(live.series.values())[2:]


def test_an_image_is_answered_by_the_robust_network_where_its_shape_is_vivid():
    def standard(x):
        return torch.tensor([[9.0, 0.0]]).expand(len(x), 2)

    def robust(x):
        return torch.tensor([[0.0, 9.0]]).expand(len(x), 2)

    def chosen(lam):
        return choose_by_image(lam, standard, robust)(x).argmax(1).tolist()

    # grey, with a square in the middle that is hardly, somewhat, and very different from the background
    x = torch.full((3, 3, 8, 8), 0.5)
    x[:, :, 2:6, 2:6] += torch.tensor([0.05, 0.25, 0.45])[:, None, None, None]
    assert [chosen(lam) for lam in (0.0, 1.0)] == [[0, 0, 1], [0, 1, 1]]
    x[:, :, 2:6, 2:6] = 0.5
    x[:, :, 3, 3] += 0.3  # one pixel is noise, not a shape
    assert chosen(0.0) == [0, 0, 0]


def test_six_networks_cost_more_than_one():
    data = oatlib.load_data("shapes", seed=0, n_train=8, n_val=8, n_test=8)
    found = costs(data, own_parameters=100, own_epochs=6)
    assert found["your dial"][0] == 100
    assert found["six dedicated"][0] == 6 * found["pgd-at"][0] > found["oat"][0]
    assert found["six dedicated"][1] > found["pgd-at"][1] > found["standard"][1]
