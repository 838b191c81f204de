"""APGD, Square, transfer and the cascade: against closed forms, planted faults and another library's AutoAttack."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import oatlib
from bench.suite import autoattack
from oatlib import FGSM, PGD
from oatlib.apgd import APGD, checkpoints
from oatlib.cli import main
from oatlib.lab.ready import FOLDER
from oatlib.moves import LOSSES, dlr, margin, towards
from oatlib.record import RecordError
from oatlib.square import Square
from oatlib.suite import Suite
from oatlib.transfer import Transfer

EPS = 8 / 255


@pytest.fixture(scope="module")
def shapes():
    return oatlib.load_data("shapes", seed=0)


@pytest.fixture(scope="module")
def ready():
    """{(name, λ): plain network}"""
    found = (("pgd-at", 1.0), ("oat", 0.2), ("oat", 0.4), ("oat", 1.0))
    return {(name, lam): oatlib.load(FOLDER / f"{name}.safetensors").at(lam) for name, lam in found}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def right(f, x, y):
    with torch.no_grad():
        return f(x).argmax(1) == y


def linear(classes=5, pixels=12):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    x = 0.3 + 0.4 * torch.rand(40, 3, 2, 2, generator=generator(1))
    return net, x, net(x).argmax(1)


# --- losses ---


def test_dlr_is_blind_to_the_scale_of_the_logits_and_has_the_sign_of_the_margin():
    z, y = torch.randn(50, 6, generator=generator()), torch.arange(50) % 6
    assert torch.allclose(dlr(z, y), dlr(1000 * z - 5, y), rtol=1e-3, atol=1e-4)
    assert torch.equal(dlr(z, y) > 0, margin(z, y) > 0) and torch.equal(dlr(z, y) > 0, z.argmax(1) != y)
    right = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    assert dlr(right, torch.tensor([0])).item() == -0.5 and dlr(right, torch.tensor([2])).item() == 1.0


def test_the_targeted_loss_is_that_of_its_target():
    z, y, target = torch.tensor([[4.0, 3.0, 2.0, 0.0, -1.0]]), torch.tensor([0]), torch.tensor([3])
    assert towards(z, y, target).item() == pytest.approx(-4 / (4 - (2 + 0) / 2))
    assert towards(z[:, :3], y, torch.tensor([2])).item() == -2, "three logits have no fourth: the difference itself"
    assert dlr(z[:, :2], y).item() == -1


# --- APGD ---


def test_the_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
@pytest.mark.parametrize("norm, eps", [("linf", 0.03), ("l2", 0.1)])
def test_on_a_linear_network_apgd_finds_the_best_corner(loss, norm, eps):
    """Two classes: the margin moves by eps times the dual norm of the difference of their weights, exactly."""
    net, x, _ = linear(classes=2)
    y = net(x).argmax(1)
    w = net[1].weight[1] - net[1].weight[0]
    reach = eps * (w.abs().sum() if norm == "linf" else w.norm())
    x_adv = APGD(eps, 30, norm, loss=loss)(net, x, y, generator())
    assert torch.allclose(margin(net(x_adv), y) - margin(net(x), y), reach.expand(40), rtol=2e-3)


@pytest.mark.parametrize("attack", [APGD(0.02, 12), APGD(0.3, 12, norm="l2"), APGD(0.02, 6, targets=3),
                                    APGD(0.02, 6, restarts=3, loss="dlr"), Square(0.05, 40)])  # fmt: skip
def test_survivors_take_the_same_walk_as_everybody(attack, ready, shapes):
    f, x, y = ready["oat", 0.4], shapes.val.x[:64], shapes.val.y[:64]
    held = right(f, x, y)
    for _, z in attack.iterates(f, x, y, generator()):
        held &= z.argmax(1) == y
    stands = torch.zeros(64, dtype=torch.bool)
    for index, x_adv, z in attack.survivors(f, x, y, generator()):
        stands[:] = False
        stands[index] = z.argmax(1) == y[index]
        assert (x_adv - x[index]).flatten(1).norm(
            math.inf if attack.norm == "linf" else 2, dim=1
        ).max() <= attack.eps + 1e-6
    assert torch.equal(stands, held) and 0 < stands.sum() < 64
    assert torch.equal(right(f, attack(f, x, y, generator()), y) & right(f, x, y), held)


def test_apgd_is_not_weaker_than_pgd(ready, shapes):
    x, y = shapes.val.x[:128], shapes.val.y[:128]
    for f in ready.values():
        left = [right(f, attack(f, x, y, generator()), y).sum() for attack in (APGD(EPS, 50), PGD(EPS, 50))]
        assert left[0] <= left[1] + 1


def test_apgd_needs_no_step_size_where_pgd_does():
    """A valley within the ball: steps of fixed length jump across its rim, those of APGD become shorter."""
    centre = torch.full((1, 3, 2, 2), 0.503)

    def f(x):  # the second class is likely within 0.004 of the centre, and nowhere else
        far = (x - centre).abs().flatten(1).amax(1)
        return torch.stack([500 * far, torch.full_like(far, 2.0)], 1)

    x, y = torch.full((1, 3, 2, 2), 0.55), torch.tensor([0])
    assert right(f, PGD(0.1, 40, 0.05, start="none")(f, x, y), y).all()
    assert not right(f, APGD(0.1, 40, start="none", loss="margin")(f, x, y), y).any()


def test_targets_are_the_likeliest_wrong_classes_each_once(monkeypatch):
    net, x, y = linear()
    seen = []
    monkeypatch.setattr("oatlib.apgd.towards", lambda z, y, target: (seen.append(target), towards(z, y, target))[1])
    APGD(0.02, 1, targets=3)(net, x, y, generator())
    tried = torch.stack([t for t in dict.fromkeys(seen)])
    order = net(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    assert torch.equal(
        torch.stack([t for i, t in enumerate(tried) if i == 0 or not torch.equal(t, tried[i - 1])]).T, order[:, :3]
    )


@pytest.mark.parametrize("make, message", [
    (lambda: APGD(targets=-1), "targets"), (lambda: Square(queries=0), "queries"), (lambda: Square(share=0), "share"),
    (lambda: Transfer("net", PGD()), "source"), (lambda: Suite(members=(PGD(1 / 255),)), "eps"),
    (lambda: APGD(eps=2), "eps"), (lambda: Suite(norm="l3"), "norm"),
])  # fmt: skip
def test_bad_attacks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Square ---


def test_square_needs_no_gradient_and_fools_by_answers_alone(shapes):
    net = oatlib.load(FOLDER / "standard.safetensors").at(0.0)
    x, y = shapes.val.x[:64], shapes.val.y[:64]

    def f(x):
        return net(x.detach()).detach()

    x_adv = Square(EPS, 200)(f, x, y, generator())
    assert right(f, x, y).sum() > 60 and right(f, x_adv, y).sum() < 45
    assert torch.allclose((x_adv - x).abs().amax(), torch.tensor(EPS))


def test_squares_are_squares_of_one_colour_and_become_smaller():
    attack, x = Square(0.1, 100), torch.full((4, 3, 16, 16), 0.5)
    for query in (1, 20, 90):
        new = attack._squares(x, x.shape, torch.arange(4), query, generator(query))
        side = attack.side(query, 16, 16)
        for changed in new != x:
            rows, columns = changed[0].any(1).nonzero()[:, 0], changed[0].any(0).nonzero()[:, 0]
            assert len(rows) == len(columns) == side and changed[0].sum() == side**2
        assert torch.allclose((new - x).abs().amax((2, 3)), torch.tensor(0.2))
    sides = [Square(0.1, 10_000).side(query, 16, 16) for query in (1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    shares = [0.8 / 2**k for k in range(10)]  # of the pixels, as in the paper
    assert sides == [max(1, round((share * 256) ** 0.5)) for share in shares]


def test_square_wants_pictures():
    net, x, y = linear()
    with pytest.raises(ValueError, match="N, C, H, W"):
        Square(0.1, 3)(lambda x: net(x.view(-1, 3, 2, 2)), x.flatten(1), y)


# --- transfer ---


def test_transfer_makes_its_images_on_the_source(ready, shapes):
    source, f, (x, y) = ready["pgd-at", 1.0], ready["oat", 1.0], (shapes.val.x[:64], shapes.val.y[:64])
    made = Transfer(source, PGD(EPS, 10), "pgd-at")
    assert torch.equal(made(f, x, y, generator()), PGD(EPS, 10)(source, x, y, generator()))
    wrong = torch.zeros(64, dtype=torch.bool)
    for index, _, z in made.survivors(f, x, y, generator()):
        wrong[index] |= z.argmax(1) != y[index]
    assert torch.equal(~wrong, right(f, x, y) & right(f, made(f, x, y, generator()), y))
    assert made.describe()["made_on"] == "pgd-at" and "made on pgd-at" in str(made)


# --- the cascade ---


def few(eps=EPS):
    return Suite(eps, members=(FGSM(eps), APGD(eps, 10), Square(eps, 100)))


def test_a_suite_is_the_worst_case_of_its_members(ready, shapes):
    f, (x, y) = ready["oat", 0.4], (shapes.val.x[:96], shapes.val.y[:96])
    found = few().run(f, x, y, generator(), progress=False)
    assert found.complete and found.robust < found.clean
    assert torch.equal(right(f, found.x_adv, y), found.fell == -1)
    assert (found.x_adv - x).abs().max() <= EPS + 1e-6
    for member in few().attacks():
        assert found.robust <= (right(f, x, y) & right(f, member(f, x, y, generator(5)), y)).double().mean() + 2 / 96
    rows = found.rows()
    assert [row["given"] for row in rows[1:]] == [row["given"] - row["fooled"] for row in rows[:-1]]
    assert rows[0]["given"] == round(found.clean * 96) and rows[-1]["given"] - rows[-1]["fooled"] == round(
        96 * found.robust
    )


def test_the_default_members_are_ce_then_targeted_dlr_then_square():
    kinds = [(type(member).__name__, getattr(member, "targets", 0)) for member in Suite().attacks()]
    assert kinds == [("APGD", 0), ("APGD", 5), ("Square", 0)]
    assert all(member.draws == 10 for member in Suite(draws=10).attacks())
    assert [type(member) for member in Suite(0.5, "l2").attacks()] == [APGD, APGD]


def test_a_suite_is_an_attack_for_evaluate(ready, shapes):
    f, panel = ready["oat", 0.4], shapes.val.panel(64)
    (suite,) = oatlib.evaluate(f, panel, few(), progress=False)
    (pgd,) = oatlib.evaluate(f, panel, FGSM(EPS), progress=False)
    assert suite.robust <= pgd.robust and suite.clean == pgd.clean
    assert [member["name"] for member in suite.attack["members"]] == ["FGSM", "APGD", "Square"]


def test_time_that_is_over_ends_the_cascade_and_is_told(ready, shapes):
    f, (x, y) = ready["pgd-at", 1.0], (shapes.val.x[:64], shapes.val.y[:64])
    found = Suite().run(f, x, y, seconds=0.05, progress=False)
    assert not found.complete and "at most" in str(found)
    assert found.robust == (found.fell == -1).double().mean()


def test_an_interrupted_cascade_goes_on_where_it_was(ready, shapes, tmp_path, monkeypatch):
    f, (x, y), path = ready["oat", 0.4], (shapes.val.x[:96], shapes.val.y[:96]), tmp_path / "state.safetensors"
    whole = few().run(f, x, y, generator(), batch=40, progress=False)
    first = Square.survivors

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Square, "survivors", broken)
    with pytest.raises(KeyboardInterrupt):
        few().run(f, x, y, generator(), batch=40, progress=False, keep=path)
    monkeypatch.setattr(Square, "survivors", first)
    monkeypatch.setattr(APGD, "survivors", broken)  # is done, and must not be done again
    again = few().run(f, x, y, generator(9), batch=40, progress=False, keep=path)
    assert torch.equal(again.fell, whole.fell) and torch.equal(again.x_adv, whole.x_adv) and again.complete


def test_a_state_of_something_else_is_refused(ready, shapes, tmp_path):
    f, (x, y), path = ready["oat", 0.4], (shapes.val.x[:32], shapes.val.y[:32]), tmp_path / "state.safetensors"
    few().run(f, x, y, progress=False, keep=path)
    with pytest.raises(RecordError, match="another suite or of other images"):
        few().run(f, x.flip(0), y.flip(0), progress=False, keep=path)
    with pytest.raises(RecordError, match="another suite"):
        few(4 / 255).run(f, x, y, progress=False, keep=path)
    with pytest.raises(RecordError, match="another network"):
        few().run(ready["pgd-at", 1.0], x, y, progress=False, keep=path)


def test_without_a_gradient_the_others_go_on(shapes):
    net = oatlib.load(FOLDER / "standard.safetensors").at(0.0)
    x, y = shapes.val.x[:32], shapes.val.y[:32]
    found = few().run(lambda x: net(x.detach()), x, y, progress=False)
    assert "no gradient" in found.rows()[0]["unable"] and found.complete
    assert found.rows()[2]["fooled"] > 2


def test_a_random_network_is_judged_by_the_mean_of_its_draws(ready, shapes):
    """Each answer is wrong now and then; nobody is fooled because it was asked often."""
    f, (x, y), noise = ready["pgd-at", 1.0], (shapes.val.x[:48], shapes.val.y[:48]), generator(3)

    def loud(x):
        z = f(x)
        return z + 1.5 * z.std() * torch.randn(z.shape, generator=noise)

    tiny = Suite(1e-6, draws=40, members=(APGD(1e-6, 3, draws=40), Square(1e-6, 5, draws=40)))
    once = replace(tiny, draws=1, members=(APGD(1e-6, 3), Square(1e-6, 5)))
    steady, fickle = (suite.run(loud, x, y, progress=False).robust for suite in (tiny, once))
    assert steady > fickle + 0.1


# --- another library's AutoAttack ---


@pytest.mark.parametrize("name, lam", [("oat", 0.4), ("oat", 1.0)])
def test_it_is_not_weaker_than_another_librarys_autoattack(ready, shapes, name, lam, record_property):
    pytest.importorskip("torchattacks", reason="needs torchattacks, the reference for the suite")
    f, panel = ready[name, lam], shapes.val.panel(48)
    x, y, wanted = panel.x, panel.y, autoattack(f, panel)["autoattack"]
    found = Suite(EPS).run(f, x, y, generator(), progress=False)
    record_property("robust accuracy, ours and theirs", (found.robust, wanted))
    low, _ = oatlib.wilson(round(48 * wanted), 48)
    assert low <= found.robust <= wanted + 0.03, "within the interval, and not weaker by two images"


def test_losses_are_known_by_name():
    assert LOSSES["dlr"] is dlr


def test_the_shell_can_name_the_suite(tmp_path, capsys):
    out = tmp_path / "r.json"
    assert main(["eval", str(FOLDER / "oat.safetensors"), "--attack", "suite", "--n", "16", "--lam", "1",
                 "--json", str(out)]) == 0  # fmt: skip
    assert "suite of 3 attacks" in capsys.readouterr().out
    (row,) = oatlib.Table.load(out)
    assert [member["name"] for member in row.attack["members"]] == ["APGD", "APGD", "Square"]
