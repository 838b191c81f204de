"""Walks: every way to run an attack takes the same points, and dropping images changes no other image."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from oatlib.attacks.aimed import AimedPGD
from oatlib.attacks.apgd import APGD
from oatlib.attacks.base import Attack
from oatlib.attacks.freeze import attacking
from oatlib.attacks.pgd import FGSM, FGSMRS, NFGSM, PGD
from oatlib.attacks.square import HALVINGS, Square
from oatlib.attacks.suite import Suite
from oatlib.attacks.transfer import ThroughEnds, Transfer

RECORDED = Path(__file__).parent / "attacks_recorded.json"
EPS = 0.1


def network(seed=0):
    """A small network in double precision, so that results do not depend on the order of sums."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5))
    return layers.double().eval()


def images(n=6):
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = network()(x).argmax(1)
    y[::4] = (y[::4] + 1) % 5  # the first image of four is wrong without any attack
    return x, y


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


# --- the same numbers as before walks were objects ---


SMALL = 0.08  # so that the members of the suite leave images to those after them
RUNS = {
    "PGD with restarts": PGD(EPS, 4, restarts=3),
    "PGD in L2": PGD(0.3, 4, norm="l2", start="gaussian", restarts=2),
    "aimed PGD": AimedPGD(EPS, 3),
    "APGD": APGD(EPS, 9, restarts=2),
    "targeted APGD": APGD(EPS, 9, targets=2),
    "targeted APGD in L2": APGD(0.3, 6, norm="l2", targets="all"),
    "Square": Square(EPS, 12),
    "Suite": Suite(
        SMALL, members=(FGSM(SMALL), PGD(SMALL, 1, restarts=2), APGD(SMALL, 6, targets=2), Square(SMALL, 9))
    ),
}


def results(attack):
    """All that a caller sees of an attack, ready for JSON: changes in units of eps."""
    f, (x, y) = network(), images()

    def units(change):
        return [round(value, 4) for value in (change / attack.eps).flatten().tolist()]

    generator, own = seeded(), seeded()
    changes = units(attack(f, x, y, generator) - x)
    items = [
        {"index": index.tolist(), "change": round(((x_adv - x[index]) / attack.eps).abs().sum().item(), 3)}
        for index, x_adv, _ in attack.survivors(f, x, y, own)
    ]
    after = [torch.rand((), generator=g).item() for g in (generator, own)]
    return {"changes": changes, "survivors": items, "next random numbers": after}


@pytest.mark.parametrize("name", RUNS)
def test_results_are_those_that_were_recorded(name):
    """The record was made by the implementation of attacks as coroutines."""
    recorded, found = json.loads(RECORDED.read_text(encoding="utf-8"))[name], results(RUNS[name])
    assert found["changes"] == pytest.approx(recorded["changes"], abs=2e-4)
    assert [item["index"] for item in found["survivors"]] == [item["index"] for item in recorded["survivors"]]
    lengths = [[item["change"] for item in run["survivors"]] for run in (found, recorded)]
    assert lengths[0] == pytest.approx(lengths[1], abs=2e-3)
    assert found["next random numbers"] == recorded["next random numbers"]


# --- the loops, written out ---


def gradient(f, x, y):
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(f(x), y, reduction="sum").backward()
    return x.grad


def test_pgd_with_restarts_is_this_loop():
    f, (x, y) = network(), images()
    step, generator = 0.03, seeded()
    best, fooled, value = x, torch.zeros(len(y), dtype=torch.bool), torch.full((len(y),), -torch.inf).double()
    for restart in range(3):
        noise = torch.rand(x.shape, dtype=x.dtype, generator=generator)
        point = (x + (noise * 2 - 1) * EPS).clamp(0, 1)
        if restart == 0:
            generator = torch.Generator().set_state(generator.get_state())
        for k in range(5):
            with torch.no_grad():
                logits = f(point)
            wrong = logits.argmax(1) != y
            loss = nn.functional.cross_entropy(logits, y, reduction="none")
            for i in range(len(y)):
                if (wrong[i], loss[i]) > (fooled[i], value[i]):
                    best, fooled[i], value[i] = best.index_copy(0, torch.tensor([i]), point[[i]]), wrong[i], loss[i]
            if k < 4:
                point = point + step * gradient(f, point, y).sign()
                point = torch.minimum(torch.maximum(point, x - EPS), x + EPS).clamp(0, 1)
    assert torch.equal(PGD(EPS, 4, step, restarts=3)(f, x, y, seeded()), best)


def test_square_is_this_loop():
    f, (x, y) = network(), images()
    attack, generator = Square(EPS, 15, share=0.5), seeded()

    def margins(points):
        with torch.no_grad():
            logits = f(points)
        true = logits.gather(1, y[:, None])[:, 0]
        return logits.scatter(1, y[:, None], -torch.inf).amax(1) - true

    def sign(*shape):
        return (torch.rand(shape, dtype=x.dtype, generator=generator) - 0.5).sign()

    top = (x + EPS * sign(len(x), 1, 1, 4)).clamp(x - EPS, x + EPS).clamp(0, 1)
    best = [(margins(top), top)]
    for query in range(1, 15):
        halvings = sum(10_000 * query / 15 > halving for halving in HALVINGS)
        side = min(max(round((0.5 / 2**halvings * 16) ** 0.5), 1), 4)
        places = torch.rand((len(x), 2), dtype=x.dtype, generator=generator)
        signs = sign(len(x), 1, 1, 1)
        value, top = best[-1]
        tried = top.clone()
        for i, (u, v) in enumerate(places.tolist()):
            row, column = int(u * (4 - side + 1)), int(v * (4 - side + 1))
            tried[i, :, row : row + side, column : column + side] += 2 * EPS * signs[i]
        tried = tried.clamp(x - EPS, x + EPS).clamp(0, 1)
        won = margins(tried) > value
        best.append((torch.where(won, margins(tried), value), torch.where(won.view(-1, 1, 1, 1), tried, top)))
    f_values = margins(attack(f, x, y, seeded()))
    assert torch.equal(f_values > 0, best[-1][0] > 0)
    robust = best[-1][0] <= 0  # of a fooled image, the first point that fools is as good as the last
    assert robust.any() and torch.allclose(attack(f, x, y, seeded())[robust], best[-1][1][robust])


# --- dropping images ---


DROPPING = {
    name: RUNS[name] for name in ("PGD with restarts", "PGD in L2", "aimed PGD", "APGD", "targeted APGD", "Square")
} | {
    "last iterate": PGD(EPS, 4, start="none", best=False),
    "transfer": Transfer(network(1), PGD(EPS, 2)),
}


@pytest.mark.parametrize("name", DROPPING)
@pytest.mark.parametrize("seed", range(3))
def test_dropping_images_does_not_move_the_others(name, seed):
    f, (x, y), attack = network(), images(24), DROPPING[name]
    coin = seeded(seed)
    with attacking(f):
        whole, part = (attack.walk(f, x, y, seeded()) for _ in range(2))
        part.keep(torch.rand(24, generator=coin) < 0.9)
        while whole.advance():
            assert part.advance()
            at = part.index
            assert torch.equal(part.x, x[at]) and torch.equal(part.y, y[at])
            torch.testing.assert_close(part.x_adv, whole.x_adv[at], atol=1e-9, rtol=0)
            torch.testing.assert_close(part.logits, whole.logits[at], atol=1e-9, rtol=0)
            mask = torch.rand(len(at), generator=coin) < 0.95
            part.keep(mask)
            assert torch.equal(part.index, at[mask])
        assert not part.advance() and 0 < len(part.index) < 24


@pytest.mark.parametrize("name", DROPPING)
def test_a_walk_that_has_ended_stays_where_it_is(name):
    f, (x, y), attack = network(), images(), DROPPING[name]
    with attacking(f):
        walk = attack.walk(f, x, y)
        steps = 0
        while walk.advance():
            steps += 1
        last = walk.x_adv
        assert not walk.advance() and walk.x_adv is last
    unseen = 2 if name == "PGD in L2" else 0  # its gaussian starts are not iterates
    assert steps == attack.walk_length_for(5) - unseen


def test_an_image_that_is_dropped_is_not_sent_through_the_network():
    f, (x, y), sent = network(), images(), []

    def counted(points):
        sent.append(len(points))
        return f(points)

    walk = PGD(EPS, 3).walk(counted, x, y)
    walk.advance()
    walk.keep(torch.arange(6) < 2)
    while walk.advance():
        pass
    assert sent == [6, 2, 2, 2]


def test_the_logits_of_the_last_point_can_be_left_out():
    f, (x, y) = network(), images()
    walk = PGD(EPS, 1).walk(f, x, y, last_logits=False)
    assert walk.advance() and walk.logits is not None
    assert walk.advance() and walk.logits is None
    walk.keep(torch.arange(6) < 2)
    assert len(walk.index) == 2 and not walk.advance()


# --- what measurements need of an attack ---


ATTACKS = [
    PGD(), FGSM(), FGSMRS(), NFGSM(), AimedPGD(), APGD(), Square(), Suite(),
    Transfer(network(), PGD()), ThroughEnds(PGD()),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_every_attack_has_all_that_measurements_need(attack):
    assert isinstance(attack, Attack)
    facts = attack.describe()
    assert facts["eps"] == attack.eps == 8 / 255 and facts["norm"] == attack.norm == "linf"
    assert attack.walk_length_for(5) >= 1 and attack.eot_samples == 1 and attack.best in (True, False)


def test_something_else_is_no_attack():
    class Half:
        eps, norm, best, eot_samples, name = 0.1, "linf", True, 1, "half"

        def __call__(self, f, x, y, generator=None):
            return x

    assert not isinstance(Half(), Attack) and not isinstance(network(), Attack)
