"""APGD, Square, transfer and the cascade: against closed forms, planted faults and another library's AutoAttack."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import oatlib
from bench.suite import autoattack
from oatlib import FGSM, FGSMRS, PGD
from oatlib.attacks.apgd import APGD, checkpoints
from oatlib.attacks.freeze import NoGradientError
from oatlib.attacks.losses import ATTACK_LOSSES, dlr, margin_loss, towards
from oatlib.attacks.square import Square
from oatlib.attacks.suite import BUDGETS, Suite, default_attack
from oatlib.attacks.transfer import Transfer
from oatlib.cli.main import main
from oatlib.explorer.shipped import FOLDER
from oatlib.record import RecordError

pytestmark = pytest.mark.slow

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
    assert torch.equal(dlr(z, y) > 0, margin_loss(z, y) > 0) and torch.equal(dlr(z, y) > 0, z.argmax(1) != y)
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
    assert torch.allclose(margin_loss(net(x_adv), y) - margin_loss(net(x), y), reach.expand(40), rtol=2e-3)


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
    monkeypatch.setattr(
        "oatlib.attacks.apgd.towards", lambda z, y, target: (seen.append(target), towards(z, y, target))[1]
    )
    APGD(0.02, 1, targets=3)(net, x, y, generator())
    tried = torch.stack([t for t in dict.fromkeys(seen)])
    order = net(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    assert torch.equal(
        torch.stack([t for i, t in enumerate(tried) if i == 0 or not torch.equal(t, tried[i - 1])]).T, order[:, :3]
    )


@pytest.mark.parametrize("make, message", [
    (lambda: APGD(targets=-1), "targets"), (lambda: Square(queries=0), "queries"), (lambda: Square(share=0), "share"),
    (lambda: Transfer("net", PGD()), "source"), (lambda: Suite(members=(PGD(1 / 255),)), "eps"),
    (lambda: APGD(eps=2), "eps"), (lambda: Suite(norm="l3"), "norm"), (lambda: APGD(targets="al"), "'all', got 'al'"),
    (lambda: Suite(budget="fats"), r"unknown budget 'fats' \(did you mean 'fast'\?\): use one of quick, fast, full"),
])  # fmt: skip
def test_bad_attacks_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
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
        walk = attack.walk(None, x, torch.zeros(4, dtype=torch.int64), generator(query))
        walk._queries_made = query
        new = walk._with_square()
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
    assert all(member.eot_samples == 10 for member in Suite(eot_samples=10).attacks())
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
    whole = few().run(f, x, y, generator(), batch_size=40, progress=False)
    first = Square.walk_while_correct

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Square, "walk_while_correct", broken)
    with pytest.raises(KeyboardInterrupt):
        few().run(f, x, y, generator(), batch_size=40, progress=False, keep=path)
    monkeypatch.setattr(Square, "walk_while_correct", first)
    monkeypatch.setattr(APGD, "walk_while_correct", broken)  # is done, and must not be done again
    again = few().run(f, x, y, generator(9), batch_size=40, progress=False, keep=path)
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

    tiny = Suite(1e-6, eot_samples=40, members=(APGD(1e-6, 3, eot_samples=40), Square(1e-6, 5, eot_samples=40)))
    once = replace(tiny, eot_samples=1, members=(APGD(1e-6, 3), Square(1e-6, 5)))
    steady, fickle = (suite.run(loud, x, y, progress=False).robust for suite in (tiny, once))
    assert steady > fickle + 0.1


# --- budgets, and watching a suite ---


class Wavy(nn.Module):
    """A few random waves of the mean colours: cheap, not linear, and robust on some images only."""

    def __init__(self, classes=5):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(12, classes, generator=generator(2)), requires_grad=False)

    def forward(self, x):
        return torch.sin(6 * x.flatten(1) @ self.mix) @ torch.eye(self.mix.shape[1])


def wavy(n=40):
    """A network, images (n, 3, 2, 2) and labels, one in ten wrong. About half are robust at eps 0.005 (L2: 0.015)."""
    f, x = Wavy().eval(), 0.2 + 0.6 * torch.rand(n, 3, 2, 2, generator=generator(1))
    y = f(x).argmax(1)
    y[::10] = (y[::10] + 1) % 5
    return f, x, y


def one_after_the_other(suite, f, x, y, source):
    """(N,) `fell` by a plain loop over the members, each with everything that is still correct, on public methods."""
    seed = int(torch.randint(2**31, (), generator=source))
    fell = torch.where(f(x).argmax(1) == y, -1, -2)
    for k, member in enumerate(suite.attacks()):
        todo = (fell == -1).nonzero()[:, 0]
        if len(todo):
            own = generator(seed + 1009 * k + int(todo[0]))
            for at, _, logits in member.survivors(f, x[todo], y[todo], own):
                fell[todo[at[logits.argmax(1) != y[todo[at]]]]] = k
    return fell


@pytest.mark.parametrize("suite, falls", [
    (Suite(0.005), {-2, -1, 0}), (Suite(0.005, budget="quick"), {-2, -1, 0}), (Suite(0.015, "l2"), {-2, -1, 0}),
    (Suite(0.015, "l2", budget="quick"), {-2, -1, 0}),
    (Suite(0.005, members=(Square(0.005, 5), FGSM(0.005))), {-2, -1, 0, 1}),
    (Suite(0.03, members=(FGSM(0.03), APGD(0.03, 5), APGD(0.03, 5, targets="all"))), {-2, 0, 1}),
])  # fmt: skip
def test_run_and_survivors_do_what_a_loop_over_the_members_does(suite, falls):
    f, x, y = wavy(200)
    wanted = one_after_the_other(suite, f, x, y, generator(4))
    ran = suite.run(f, x, y, generator(4), progress=False)
    assert torch.equal(ran.fell, wanted)
    assert falls <= set(wanted.tolist()), "or the case shows nothing"
    watched, seen = torch.full_like(y, -1), torch.ones(len(y), dtype=torch.bool)
    for k, (index, x_adv, logits) in enumerate(suite.survivors(f, x, y, generator(4))):
        right = logits.argmax(1) == y[index]
        assert torch.equal(index, seen.nonzero()[:, 0]), "exactly those that were correct every time before"
        assert torch.allclose(f(x_adv), logits, atol=1e-5)
        assert k > 0 or torch.equal(x_adv, x)
        watched[index[~right]] = -2
        seen[index] = right
    assert torch.equal(watched == -1, wanted == -1)
    assert torch.equal(right_everywhere(suite, f, x, y), wanted == -1)


def right_everywhere(suite, f, x, y):
    return right(f, x, y) & right(f, suite(f, x, y, generator(4)), y)


def test_a_step_that_is_dropped_from_the_cascade_is_noticed(monkeypatch):
    """The comparison above can fail: here the suite forgets what its last member found."""
    suite = Suite(0.03, members=(FGSM(0.03), APGD(0.03, 5), APGD(0.03, 5, targets="all")))
    f, x, y = wavy(200)
    wanted = one_after_the_other(suite, f, x, y, generator(4))
    assert (wanted == 2).any()
    forgetful = replace(suite, members=suite.members[:-1])
    assert not torch.equal(forgetful.run(f, x, y, generator(4), progress=False).fell, wanted)


walks = st.one_of(
    st.builds(PGD, st.just(0.03), st.integers(0, 4), restarts=st.integers(1, 3)),
    st.builds(APGD, st.just(0.03), st.integers(0, 4), restarts=st.integers(1, 3)),
    st.builds(APGD, st.just(0.03), st.integers(0, 4), targets=st.sampled_from([0, 1, 3, 7, "all"])),
    st.builds(Square, st.just(0.03), st.integers(1, 6)),
    st.just(FGSM(0.03)), st.just(FGSMRS(0.03)),
)  # fmt: skip


@given(attack=st.one_of(walks, st.lists(walks, min_size=1, max_size=3).map(lambda m: Suite(0.03, members=tuple(m)))))
def test_no_walk_is_longer_than_it_says(attack):
    f, x, y = wavy(6)
    steps = len(list(attack.survivors(f, x, y, generator()))) - 1
    assert steps <= attack.walk_length_for(5) <= attack.walk_length
    harmless = [attack] if not isinstance(attack, Suite) else attack.members
    still = [replace(member, eps=0.0) for member in harmless]  # nobody is fooled, so that nothing ends early
    still = Suite(0.0, members=tuple(still)) if isinstance(attack, Suite) else still[0]
    length = len(list(still.survivors(f, x, y, generator()))) - 1
    few = any(getattr(member, "targets", 0) == 7 for member in harmless)  # of only 5 classes
    assert length <= still.walk_length_for(5) and (few or length == still.walk_length_for(5))


def test_the_length_of_a_walk_is_known_and_a_suite_calls_it_steps():
    assert PGD(steps=20).walk_length == 21 and PGD(steps=20).steps == 20
    assert APGD(steps=10, targets=3).walk_length == 33 and Square(queries=50).walk_length == 50
    assert Suite(budget="quick").steps == Suite(budget="quick").walk_length == 11 + 2 * 11
    assert Suite(budget="full").walk_length_for(100) == 101 + 99 * 101 + 5000
    assert Suite(budget="full").steps == Suite(budget="full").walk_length_for(10)


def test_the_budgets():
    def plan(**options):
        return [
            (type(m).__name__, getattr(m, "queries", m.steps), getattr(m, "targets", None), m.eot_samples)
            for m in Suite(**options).attacks()
        ]

    assert plan(budget="quick") == [("APGD", 10, 0, 1), ("APGD", 10, 2, 1)]
    assert plan(budget="fast") == plan() == [("APGD", 100, 0, 1), ("APGD", 50, 5, 1), ("Square", 500, None, 1)]
    assert plan(budget="full") == [("APGD", 100, 0, 1), ("APGD", 100, "all", 1), ("Square", 5000, None, 1)]
    for budget in BUDGETS:
        assert len(plan(budget=budget, norm="l2", eps=0.5)) == 2
        noisy = plan(budget=budget, eot_samples=10)
        assert {member[3] for member in noisy} == {10}
        assert all(few[1] <= many[1] for few, many in zip(noisy, plan(budget=budget), strict=True))
        assert Suite(budget=budget).describe()["budget"] == budget and str(Suite(budget=budget)).startswith(budget)
    assert Suite(members=(FGSM(),)).describe()["budget"] is None
    assert default_attack() == Suite(EPS, budget="quick")
    assert default_attack(0.1, 4) == Suite(0.1, eot_samples=4, budget="quick")


def test_all_targets_are_all_wrong_classes():
    net, x, y = linear()
    alls, four = (APGD(0.02, 3, targets=t)(net, x, y, generator()) for t in ("all", 4))
    assert torch.equal(alls, four) and "all targets" in str(APGD(targets="all"))
    assert APGD(targets="all").describe()["targets"] == "all"


def test_images_that_nobody_fools_become_the_strongest_point():
    f, x, y = wavy()
    suite = Suite(0.005, budget="quick")
    found = suite.run(f, x, y, generator(4), progress=False)
    best = margin_loss(f(x), y)
    for index, _, logits in suite.survivors(f, x, y, generator(4)):
        best[index] = torch.maximum(best[index], margin_loss(logits, y[index]))
    robust = found.fell == -1
    assert robust.any()
    assert torch.allclose(margin_loss(f(found.x_adv), y)[robust], best[robust], atol=1e-5)
    assert (best[robust] > margin_loss(f(x), y)[robust]).all()


def test_a_suite_that_no_gradient_reaches_says_so():
    f, x, y = wavy()

    def detached(images):
        return f(images.detach())

    for use in (lambda suite: suite(detached, x, y), lambda suite: list(suite.survivors(detached, x, y))):
        with pytest.raises(NoGradientError, match="no gradient reaches the images"):
            use(Suite(0.03, budget="quick"))
        with pytest.warns(UserWarning, match="APGD-100, APGD-50 of the suite could not run.*upper bound"):
            use(Suite(0.03))


def test_survivors_of_a_suite_leave_the_modes_of_a_network_alone_between_two_steps():
    f, x, y = wavy()
    for _ in Suite(0.03, budget="quick").survivors(f.train(), x, y):
        assert f.training


def test_random_weights_are_attacked_by_every_member_and_the_strongest_point_counts():
    f, x, y = wavy(24)
    draws = generator(3)

    def loud(images):
        z = f(images)
        return z + 0.3 * torch.randn(z.shape, generator=draws)

    suite = Suite(0.03, eot_samples=20, budget="quick")
    together = suite(loud, x, y, generator(4))
    alone = [member(loud, x, y, generator(4)) for member in suite.attacks()]
    value = margin_loss(f(together), y).mean()
    assert all(value >= margin_loss(f(x_adv), y).mean() - 0.05 for x_adv in alone)
    assert value > margin_loss(f(x), y).mean() + 0.1


# --- another library's AutoAttack ---


def test_it_is_not_weaker_than_another_librarys_autoattack(ready, shapes, record_property):
    pytest.importorskip("torchattacks", reason="needs torchattacks, the reference for the suite")
    f, panel = ready["oat", 0.4], shapes.val.panel(48)
    x, y, wanted = panel.x, panel.y, autoattack(f, panel)["autoattack"]
    found = Suite(EPS).run(f, x, y, generator(), progress=False)
    record_property("robust accuracy, ours and theirs", (found.robust, wanted))
    low, _ = oatlib.wilson(round(48 * wanted), 48)
    assert low <= found.robust <= wanted + 0.03, "within the interval, and not weaker by two images"


def test_losses_are_known_by_name():
    assert ATTACK_LOSSES["dlr"] is dlr


def test_the_shell_can_name_the_suite(tmp_path, capsys):
    out = tmp_path / "r.json"
    assert main(["eval", str(FOLDER / "oat.safetensors"), "--attack", "suite", "--n", "16", "--lam", "1",
                 "--json", str(out)]) == 0  # fmt: skip
    assert "suite of 3 attacks" in capsys.readouterr().out
    (row,) = oatlib.Table.load(out)
    assert [member["name"] for member in row.attack["members"]] == ["APGD", "APGD", "Square"]
