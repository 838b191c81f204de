"""The adversary against closed forms, invariants, planted faults and another library."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oatlib.attacks.apgd import APGD
from oatlib.attacks.base import Attack
from oatlib.attacks.freeze import check_images, frozen
from oatlib.attacks.geometry import ascend, init, project
from oatlib.attacks.losses import ATTACK_LOSSES, margin_loss
from oatlib.attacks.pgd import FGSM, FGSMRS, NFGSM, PGD
from oatlib.attacks.square import Square

EPS = 8 / 255
ALL = [PGD(EPS), PGD(0.5, norm="l2"), PGD(EPS, restarts=2), FGSM(EPS), FGSM(0.5, norm="l2"), FGSMRS(EPS), NFGSM(EPS),
       APGD(EPS, 9), APGD(0.5, 9, norm="l2"), APGD(EPS, 5, targets=2), Square(EPS, 30)]  # fmt: skip


def seed(n: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def batch(n=6, shape=(3, 8, 8), classes=4, key=0, low=0.0, high=1.0):
    g = seed(key)
    return low + (high - low) * torch.rand(n, *shape, generator=g), torch.randint(classes, (n,), generator=g)


def bumpy(shape=(3, 8, 8), classes=4, key=1) -> nn.Module:
    """A small network with BatchNorm and dropout whose loss has hills."""
    with torch.random.fork_rng():
        torch.manual_seed(key)
        net = nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(8 * shape[1] * shape[2], classes),
        )
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
        net[5].weight.data.mul_(20)
    return net.train()


def distance(a: torch.Tensor, b: torch.Tensor, norm: str) -> torch.Tensor:
    return torch.linalg.vector_norm((a - b).flatten(1).double(), ord=math.inf if norm == "linf" else 2, dim=1)


def mean_loss(f, x, y, loss="ce") -> float:
    with frozen(f), torch.no_grad():
        return ATTACK_LOSSES[loss](f(x), y).mean().item()


def accuracy(f, x, y) -> float:
    with frozen(f), torch.no_grad():
        return (f(x).argmax(1) == y).double().mean().item()


# --- the checks: each takes the attack, so that broken ones can be shown to fail ---


def check_contained(attack):
    x, y = batch()
    x_adv = attack(bumpy(), x, y, seed())
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert distance(x_adv, x, attack.norm).max() <= attack.eps + 1e-6


def check_climbs(attack):
    x, y = batch()
    assert mean_loss(bumpy(), attack(bumpy(), x, y, seed()), y) > mean_loss(bumpy(), x, y)


def check_best_is_best(attack):
    """No iterate of the walk is a better answer than the one returned."""
    x, y = batch(40, classes=2)
    net = bumpy(classes=2)
    answer = attack(net, x, y, seed())
    with frozen(net):
        logits = net(answer)
        for _, other in attack.iterates(net, x, y, seed()):
            fooled, missed = logits.argmax(1) != y, other.argmax(1) != y
            assert (fooled >= missed).all()
            lower = ATTACK_LOSSES["ce"](logits, y) < ATTACK_LOSSES["ce"](other, y) - 1e-5
            assert not (lower & (fooled == missed)).any()


def check_restarts_only_help(attack):
    """Over two batches from one generator, as in an evaluation."""
    fooled = []
    for restarts in (1, 2, 4):
        now, g, net = [], seed(3), bumpy(classes=2)
        for key in (5, 6):
            x, y = batch(150, classes=2, key=key)
            x_adv = replace(attack, restarts=restarts)(net, x, y, g)
            with frozen(net):
                now.append(net(x_adv).argmax(1) != y)
        fooled.append(torch.cat(now))
    assert (fooled[0] <= fooled[1]).all() and (fooled[1] <= fooled[2]).all()


def check_private_randomness(attack):
    x, y = batch()
    before = torch.get_rng_state()
    first, again = attack(bumpy(), x, y), attack(bumpy(), x, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and torch.equal(first, attack(bumpy(), x, y, seed(0)))


def check_leaves_no_trace(attack):
    """Modes, gradients and statistics of the network are as before, and it was in eval mode meanwhile."""
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    net = nn.Sequential(Watch(), bumpy())
    net[1][3].eval()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    x, y = batch()
    attack(net, x, y)
    assert seen and not any(training for training, _ in seen)
    assert [m.training for m in net.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_every_attack(attack):
    if not isinstance(attack, NFGSM):
        check_contained(attack)
    check_climbs(attack)
    check_private_randomness(attack)
    check_leaves_no_trace(attack)


def test_best_and_restarts():
    for attack in (PGD(EPS), PGD(EPS, restarts=3), PGD(0.5, norm="l2"), PGD(EPS, steps=0), PGD(0.1, step_size=0.1)):
        check_best_is_best(attack)
    check_restarts_only_help(PGD(0.1, steps=2))
    check_restarts_only_help(PGD(0.5, steps=0))


def test_fooled_beats_a_higher_loss():
    """A loss that leads back to the true class: the start is fooled, the end is not but has the higher loss."""
    f, w = linear()
    x = torch.full((3, 12), 0.5) - 0.05 * w.sign() * w.sum().sign()
    y = (f(x).argmax(1) == 0).long()
    attack = PGD(0.3, start="none", loss=lambda logits, y: -margin_loss(logits, y))
    assert (f(replace(attack, best=False)(f, x, y)).argmax(1) == y).all()
    assert (f(attack(f, x, y)).argmax(1) != y).all()


@dataclass(frozen=True)
class Sloppy(PGD):
    """Fault: projects onto a ball one and a half times as large."""

    @property
    def start_and_ball_radius(self):
        return self.eps, 1.5 * self.eps


@dataclass(frozen=True)
class Downhill(PGD):
    """Fault: lowers the loss."""

    def loss_values(self, logits, y):
        return -super().loss_values(logits, y)


@dataclass(frozen=True)
class Loaded(PGD):
    """Fault: draws from the global generator."""

    def start_points(self, x, generator):
        return x + self.eps * (2 * torch.rand(x.shape) - 1)


@dataclass(frozen=True)
class OneStream(PGD):
    """Fault: how far the caller's generator moves depends on the number of restarts."""

    def __call__(self, f, x, y, generator=None):
        torch.rand(997 * self.restarts, generator=generator)
        return super().__call__(f, x, y, generator)


@dataclass(frozen=True)
class Careless(PGD):
    """Fault: attacks in the modes it finds."""

    def __call__(self, f, x, y, generator=None):
        return super().__call__(lambda images: f(images), x, y, generator)


@dataclass(frozen=True)
class LastNotBest(PGD):
    """Fault: says that it keeps the best iterate, returns the last."""

    def __call__(self, f, x, y, generator=None):
        return PGD(self.eps, self.steps, self.step_size, best=False)(f, x, y, generator)


@pytest.mark.parametrize(
    "check, faulty",
    [
        (check_contained, Sloppy(0.02, steps=20, step_size=0.02)),
        (check_contained, Sloppy(0.5, steps=20, step_size=0.5, norm="l2")),
        (check_climbs, Downhill(EPS, best=False)),
        (check_private_randomness, Loaded(EPS)),
        (check_restarts_only_help, OneStream(0.5, steps=0)),
        (check_leaves_no_trace, Careless(EPS)),
        (check_best_is_best, LastNotBest(0.1, step_size=0.1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_checks_notice_planted_faults(check, faulty):
    with pytest.raises(AssertionError):
        check(faulty)


# --- geometry ---


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, eps=st.floats(0, 1), norm=st.sampled_from(["linf", "l2"]), key=st.integers(0, 999))
def test_moves_stay_in_ball_and_range(shape, eps, norm, key):
    g = seed(key)
    x = torch.rand(3, *shape, generator=g)
    x[0] = x[0].round()  # also pixels at the border
    grad = torch.randn(x.shape, generator=g)
    start = init(x, eps, norm, g)
    stepped = ascend(start, grad, 2 * eps, norm)
    landed = project(stepped, x, eps, norm)
    for point in (start, landed):
        assert point.min() >= 0 and point.max() <= 1
        assert distance(point, x, norm).max() <= eps + 1e-6
    inside = project(start, x, eps, norm)
    assert torch.allclose(inside, start, atol=1e-6), "a point inside must stay where it is"
    torch.testing.assert_close(distance(stepped, start, norm), torch.full((3,), 2 * eps).double(), atol=1e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    shape=shapes,
    eps=st.floats(0, 1),
    norm=st.sampled_from(["linf", "l2"]),
    steps=st.integers(0, 4),
    start=st.sampled_from(["uniform", "gaussian", "none"]),
    loss=st.sampled_from(["ce", "margin"]),
    key=st.integers(0, 999),
)
def test_pgd_stays_in_ball_and_range(shape, eps, norm, steps, start, loss, key):
    x, y = batch(4, shape, 3, key)
    w = torch.randn(math.prod(shape), 3, generator=seed(key))
    attack = PGD(eps, steps, norm=norm, start=start, loss=loss, best=key % 2 == 0)
    x_adv = attack(lambda v: (v.flatten(1) @ w).sin(), x, y, seed(key))
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert distance(x_adv, x, norm).max() <= eps + 1e-6


def test_random_start_is_uniform_in_the_ball():
    x = torch.full((20_000, 2), 0.5)
    offset = (init(x, 0.1, "linf", seed()) - x) / 0.1
    assert offset.abs().max() > 0.999
    assert offset.mean().abs() < 0.01 and abs(offset.var() - 1 / 3) < 0.01
    radius = distance(init(x, 0.1, "l2", seed()), x, "l2") / 0.1
    for share in (0.25, 0.5, 0.75):  # in two dimensions P(radius < r) = r^2
        assert abs((radius < share**0.5).double().mean() - share) < 0.015
    far = distance(init(torch.full((500, 300), 0.5), 0.1, "l2", seed()), torch.full((500, 300), 0.5), "l2") / 0.1
    assert far.median() > 0.99  # in 300 dimensions nearly all of a ball is its skin


# --- closed forms ---


def linear(key=0, d=12):
    """Two-class linear network; its margin at label 0 is w.x + b, with b so that it is correct by a little."""
    g = seed(key)
    w = torch.randn(d, generator=g)

    def f(x):
        score = x.flatten(1) @ w.to(x)
        return torch.stack([torch.zeros_like(score), score], 1)

    return f, w


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_model_has_a_closed_form(loss, dtype):
    f, w = linear()
    x, _ = batch(5, (3, 2, 2), low=0.3, high=0.7)
    x, y, w = x.to(dtype), torch.zeros(5, dtype=torch.long), w.to(dtype).view(3, 2, 2)
    best = (x + 0.1 * w.sign()).to(dtype)
    for attack in (FGSM(0.1, loss=loss), PGD(0.1, loss=loss), PGD(0.1, steps=1, start="none", loss=loss)):
        torch.testing.assert_close(attack(f, x, y), best, atol=1e-6, rtol=0)
    best = x + 0.2 * w / w.norm()
    for attack in (FGSM(0.2, "l2", loss), PGD(0.2, 1, norm="l2", start="none", loss=loss)):
        torch.testing.assert_close(attack(f, x, y), best, atol=1e-6, rtol=0)
    # a random start is forgotten only gradually; the last iterate, as near the top equal losses are no equal points
    many = PGD(0.2, 60, step_size=0.2, norm="l2", loss=loss, best=False)(f, x, y)
    torch.testing.assert_close(many, best, atol=1e-5, rtol=0)


def test_linear_multiclass_margin():
    g = seed(4)
    w, x = torch.randn(12, 5, generator=g), 0.3 + 0.4 * torch.rand(50, 12, generator=g)
    y = (x @ w).argmax(1)
    x_adv = PGD(0.1, 60, loss="margin")(lambda v: v @ w, x, y)
    gap = w.T[None] - w.T[y][:, None]  # (N, class, pixel): the best reachable margin is the best over the classes
    reach = (x[:, None] * gap).sum(2) + 0.1 * gap.abs().sum(2)
    bound = reach.scatter(1, y[:, None], -math.inf).amax(1)
    found = margin_loss(x_adv @ w, y)
    assert (found <= bound + 1e-4).all()
    assert ((found > bound - 1e-4).double().mean() > 0.8) and (found > bound - 0.5).all()


def test_losses_by_hand():
    logits, y = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    torch.testing.assert_close(ATTACK_LOSSES["margin"](logits, y), torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(ATTACK_LOSSES["ce"](logits, y), logits.logsumexp(1) - torch.tensor([2.0, 1.0]))


def test_one_step_attacks_by_hand():
    x, y = batch()
    net = bumpy().eval()

    def slope(at):
        at = at.clone().requires_grad_()
        return torch.autograd.grad(nn.functional.cross_entropy(net(at), y, reduction="sum"), at)[0].sign()

    noise = 2 * torch.rand(x.shape, generator=seed(7)) - 1
    start = (x + EPS * noise).clamp(0, 1)
    wanted = torch.min(torch.max(start + 1.25 * EPS * slope(start), x - EPS), x + EPS).clamp(0, 1)
    torch.testing.assert_close(FGSMRS(EPS)(net, x, y, seed(7)), wanted, atol=1e-6, rtol=0)

    start = (x + 2 * EPS * noise).clamp(0, 1)
    wanted = (start + EPS * slope(start)).clamp(0, 1)
    x_adv = NFGSM(EPS)(net, x, y, seed(7))
    torch.testing.assert_close(x_adv, wanted, atol=1e-6, rtol=0)
    assert 2 * EPS < distance(x_adv, x, "linf").max() <= 3 * EPS + 1e-6, "it does leave the ball, as it says"


def test_gaussian_start_and_a_loss_of_ones_own():
    """As in TRADES: a distance to the clean output is flat at x itself, so only the noise makes the attack move."""
    x, y = batch(low=0.2, high=0.8)
    net = bumpy().eval()
    clean = net(x).detach()

    def away(logits, y):
        return (logits - clean).square().sum(1)

    assert torch.equal(PGD(EPS, loss=away, start="none", best=False)(net, x, y), x)
    moved = PGD(EPS, loss=away, start="gaussian", best=False)(net, x, y)
    assert (distance(moved, x, "linf") > 0.99 * EPS).all() and away(net(moved), y).min() > 0
    start = PGD(EPS, steps=0, start="gaussian", best=False)(net, x, y) - x
    assert 0.0009 < start.std() < 0.0011


@pytest.mark.parametrize("attack", [
    PGD(EPS, steps=3, start="gaussian", best=False), PGD(0.0005, steps=3, start="gaussian", best=False),
    PGD(0.02, steps=3, norm="l2", start="gaussian", best=False),
], ids=str)  # fmt: skip
def test_gaussian_start_is_not_clipped(attack):
    """The first gradient is taken outside of [0, 1] and of small balls, as in the code of TRADES."""
    x, y = batch()
    x[:, 0], x[:, 1] = 0.0, 1.0
    net, seen = bumpy().eval(), []

    def f(images):
        seen.append(images.detach().clone())
        return net(images)

    attack(f, x, y, seed(3))
    torch.testing.assert_close(seen[0], x + 0.001 * torch.randn(x.shape, generator=seed(3)), rtol=0, atol=0)
    assert seen[0].min() < 0 and seen[0].max() > 1
    assert distance(seen[0], x, attack.norm).max() > (attack.eps if attack.eps < 0.001 else 0)
    for later in seen[1:]:
        assert later.min() >= 0 and later.max() <= 1
        assert distance(later, x, attack.norm).max() <= attack.eps + 1e-6


@pytest.mark.parametrize("attack", [
    PGD(0.0005, 3, start="gaussian"), PGD(0.0005, 3, start="gaussian", restarts=2), PGD(0.0005, 0, start="gaussian"),
    PGD(0.0005, 3, norm="l2", start="gaussian"), APGD(0.0005, 3, start="gaussian"),
], ids=str)  # fmt: skip
def test_an_unclipped_start_is_no_result(attack):
    """No point that an attack returns, yields or counts as a success lies outside of the ball or of [0, 1]."""
    x, y = batch()
    x[:, 0], x[:, 1] = 0.0, 1.0
    net = bumpy().eval()
    y = net(x).argmax(1)
    points = [(torch.arange(len(x)), attack(net, x, y, seed()))]
    points += [(torch.arange(len(x)), x_adv) for x_adv, _ in attack.iterates(net, x, y, seed())]
    points += [(index, x_adv) for index, x_adv, _ in attack.survivors(net, x, y, seed())]
    assert len(points) > 2
    for index, x_adv in points:
        assert x_adv.min() >= 0 and x_adv.max() <= 1
        assert distance(x_adv, x[index], attack.norm).max() <= attack.eps + 1e-6


# --- edges ---


def test_zero_eps_and_zero_steps():
    x, y = batch()
    for attack in ALL:
        assert torch.equal(replace(attack, eps=0.0)(bumpy(), x, y), x)
    for start in ("uniform", "none", "gaussian"):
        only = PGD(0.3, steps=0, start=start)(bumpy(), x, y, seed(2))
        walk = [x_adv for x_adv, _ in PGD(0.3, steps=3, start=start).iterates(bumpy(), x, y, seed(2))]
        if start == "gaussian":  # not clipped there, and not yielded
            assert torch.equal(only, (x + 0.001 * torch.randn(x.shape, generator=seed(2))).clamp(0, 1))
            assert len(walk) == 3
        else:
            assert torch.equal(only, walk[0]) and len(walk) == 4
    assert torch.equal(PGD(0.3, steps=0, start="uniform")(bumpy(), x, y, seed(2)), init(x, 0.3, "linf", seed(2)))


def test_no_gradient():
    x, y = batch()
    for attack in ALL:
        x_adv = attack(lambda v: v.flatten(1)[:, :4] * 0, x, y)
        assert x_adv.isfinite().all()
    with pytest.raises(RuntimeError, match="no gradient reaches the images"):
        FGSM()(lambda v: v.detach().flatten(1)[:, :4], x, y)


def test_tiny_gradients_still_point_somewhere():
    """A confident network has slopes of 1e-25, whose squares are 0 in float32."""
    grad = torch.randn(3, 4, 5, generator=seed())
    unit = ascend(torch.zeros(3, 4, 5), grad, 1.0, "l2")
    for scale in (1e-25, 1e-36, 1e25):
        torch.testing.assert_close(ascend(torch.zeros(3, 4, 5), grad * scale, 1.0, "l2"), unit, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_form_of_the_answer(attack):
    x, y = batch()
    net = bumpy()
    plain = attack(net, x, y)
    assert not plain.requires_grad and plain.dtype == x.dtype
    last = attack(net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last), y)
    assert last.is_contiguous(memory_format=torch.channels_last)
    if attack.norm == "linf":  # same seed, same start in either layout
        assert ((plain - last).abs() < 1e-4).double().mean() > 0.97
    double = attack(net.double(), x.double(), y)
    assert double.dtype == torch.float64
    assert attack(net, x[:0], y[:0]).shape == (0, 3, 8, 8)


def test_inside_no_grad_and_inference_mode():
    x, y = batch()
    net = bumpy()
    wanted = PGD(EPS)(net, x, y)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(PGD(EPS)(net, x.clone(), y.clone()), wanted)
            assert not torch.is_grad_enabled()


def test_iterates_can_be_watched():
    x, y = batch()
    net, attack = bumpy(), PGD(EPS, steps=5, best=False)
    pairs = []
    for x_adv, logits in attack.iterates(net, x, y, seed(1)):
        assert net.training and net[1].training, "between two steps the caller has his network as he left it"
        assert all(p.requires_grad for p in net.parameters())
        pairs.append((x_adv, logits))
    assert len(pairs) == 6
    assert torch.equal(pairs[-1][0], attack(net, x, y, seed(1)))
    assert not torch.equal(pairs[0][0], pairs[1][0]), "an earlier iterate is not overwritten by a later one"
    with frozen(net):
        for x_adv, logits in pairs:
            torch.testing.assert_close(net(x_adv), logits)
    half = attack.iterates(net, x, y)
    with torch.no_grad():
        next(half)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_attacks_are_values():
    assert PGD() == PGD() and PGD() != PGD(steps=20) and len({FGSM(), FGSM(), NFGSM()}) == 2
    with pytest.raises(FrozenInstanceError):
        PGD().eps = 0.1
    assert str(PGD(steps=20)) == "PGD-20, L-inf, eps 8/255, step 1/255, 1 restart"
    assert (
        str(PGD(0.5, norm="l2", restarts=3, loss="margin"))
        == "PGD-10, L2, eps 0.5, step 0.125, loss margin, 3 restarts"
    )
    assert str(FGSMRS()) == "FGSM-RS, L-inf, eps 8/255, step 10/255"
    assert PGD(steps=1).step_length == PGD().eps, "a step is never longer than eps"
    about = json.loads(json.dumps(PGD(steps=20, loss=margin_loss).describe()))
    assert about["loss"] == "margin_loss" and about["step_size"] == pytest.approx(1 / 255)
    assert about["start"] == "uniform"
    keys = {"name", "eps", "step_size", "loss", "steps", "norm", "restarts", "start", "best", "eot_samples"}
    assert set(about) == keys


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: PGD(-0.1), r"^eps must be a number in \[0, 1\], in pixel units such as 8/255, got -0.1$"),
        (lambda: PGD(8), r"such as 8/255 \(did you mean 8/255\?\), got 8"),
        (lambda: PGD(float("nan")), "eps"),
        (lambda: PGD(steps=-1), "^steps=-1: must be a whole number, 0 or more$"),
        (lambda: PGD(step_size=-1), "^step_size must be a number >= 0, got -1$"),
        (lambda: PGD(restarts=0), "^restarts=0: must be a whole number, 1 or more$"),
        (lambda: PGD(restarts=2, best=False), "best=True"),
        (lambda: PGD(norm="l1"), "linf.*l2.*'l1'"),
        (lambda: PGD(start="zero"), "uniform.*gaussian.*none.*'zero'"),
        (lambda: FGSM(loss="kl"), "ce.*margin.*'kl'"),
        (lambda: NFGSM(k=-1), "^k must be a number >= 0, got -1$"),
    ],
)
def test_wrong_options(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_wrong_inputs():
    x, y = batch()
    for bad in (x * 2 - 0.5, x + 2e-6 + (1 - x.max()), x * 255, x.clone().index_fill_(0, torch.tensor([1]), math.nan)):
        with pytest.raises(ValueError, match=r"pixels must be in \[0, 1\], found .*do not normalise the data"):
            PGD()(bumpy(), bad, y)
    for bad in ((x * 255).byte(), x[:, 0, 0, 0]):
        with pytest.raises(ValueError, match="floating point tensor"):
            check_images(bad, y)
    for bad in (y[:-1], y[:, None], y.float()):
        with pytest.raises(ValueError, match="y must be 6 labels"):
            check_images(x, bad)
    with pytest.raises(ValueError, match="found -100"):
        check_images(x, y - 100 - y)
    with pytest.raises(ValueError, match="non-finite"):
        PGD()(lambda v: v.flatten(1)[:, :4].sub(1).log() + v.sum(), x, y)
    with pytest.raises(ValueError, match="non-finite"):  # finite logits, slope 0 * infinity
        PGD(best=False, steps=1, start="none")(lambda v: (v * 0).flatten(1)[:, :4].sqrt(), x, y)
    for bad in (lambda v: v, lambda v: v[:3].flatten(1), lambda v: v.flatten(1)[:, :1]):
        with pytest.raises(ValueError, match=r"logits \(6, classes >= 2\)"):
            PGD()(bad, x, y)
    with pytest.raises(ValueError, match="one value per image"):
        PGD(loss=nn.functional.cross_entropy)(bumpy(), x, y)


def test_float_dust_is_forgiven():
    x, y = batch()
    x[0, 0, 0, 0], x[0, 0, 0, 1] = -2.98e-08, 1 + 9e-7
    assert check_images(x, y).min() == 0 and check_images(x, y).max() == 1
    assert PGD(0.0)(bumpy(), x, y).min() == 0


# --- frozen ---


class Restless(nn.Module):
    """Changes a buffer in place and replaces another, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("average", torch.full((3,), math.nan))
        self.register_buffer("nothing", None)
        self.gain = nn.Parameter(torch.ones(3))
        self.offset = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        self.seen += 1
        self.average = x.detach().mean(0)
        return x * self.gain + self.offset


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_restores_everything(fails):
    inner = Restless()
    net = nn.Sequential(nn.BatchNorm1d(3), inner, nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), inner))
    net[0].eval(), net[2].eval()
    net[0].weight.requires_grad_(False)
    net[1].gain.grad = grad = torch.full((3,), 5.0)
    modes = [m.training for m in net.modules()]
    wants = [p.requires_grad for p in net.parameters()]
    buffers = dict(net.named_buffers())
    values = {name: b.clone() for name, b in buffers.items()}
    try:
        with frozen(net, inner):
            assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
            net(torch.randn(5, 3, generator=seed()))
            net.train()  # even a network that is put into train mode meanwhile
            net(torch.randn(5, 3, generator=seed()))
            if fails:
                raise KeyError("in the middle")
    except KeyError:
        assert fails
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == wants
    assert net[1].gain.grad is grad and grad.eq(5).all()
    for name, b in net.named_buffers():
        assert b is buffers[name]
        torch.testing.assert_close(b, values[name], rtol=0, atol=0, equal_nan=True)
    assert inner.nothing is None


def test_frozen_does_not_disturb_a_waiting_backward():
    """TRADES computes clean logits, attacks, then goes backward: saved buffers must not look modified."""

    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.register_buffer("mask", torch.ones(4, 4))

        def forward(self, x):
            return nn.functional.linear(x, self.weight * self.mask)

    net = Masked()
    loss = net(torch.ones(2, 4)).sum()
    with frozen(net):
        net(torch.ones(2, 4))
    loss.backward()
    assert net.weight.grad is not None


# --- against another library ---


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    p, half = successes / n, z * math.sqrt(successes / n * (1 - successes / n) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / (1 + z * z / n), (p + z * z / (2 * n) + half) / (1 + z * z / n)


@pytest.fixture(scope="module")
def digits():
    """A small CNN trained for a few seconds on 8x8 digits, and 600 images that it has not seen."""
    data = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=seed())
    x, y = x[order], y[order]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 16, 10),
        )
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(8):
            for rows in torch.randperm(len(x) - 600).add(600).split(64):
                loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return net.eval(), x[:600], y[:600]


CASES = [
    (PGD(0.1, 10, 0.025), 1),
    (PGD(0.15, 10, 0.04), 1),
    (PGD(0.1, 10, 0.025, start="none"), 0),
    (PGD(0.7, 10, 0.15, norm="l2"), 1),
    (PGD(0.7, 10, 0.15, norm="l2", start="none"), 0),
    (FGSM(0.1), 0),
    (FGSM(0.15), 0),
    (FGSM(0.7, norm="l2"), 0),
]


@pytest.mark.parametrize("ours, starts", CASES, ids=lambda value: str(value))
def test_agrees_with_another_library(digits, ours: Attack, starts, record_property):
    pytest.importorskip("art", reason="needs adversarial-robustness-toolbox, the reference for attacks")
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    net, x, y = digits
    # summed loss: next to a mean over the batch, their guard against division by zero weakens small L2 gradients
    wrapped = PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(reduction="sum"),
        input_shape=x.shape[1:],
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )
    same = {"norm": math.inf if ours.norm == "linf" else 2, "eps": ours.eps, "eps_step": ours.step_length}
    if ours.name == "FGSM":
        theirs = FastGradientMethod(wrapped, **same, batch_size=600)
    else:
        theirs = ProjectedGradientDescent(
            wrapped, **same, max_iter=ours.steps, num_random_init=starts, batch_size=600, verbose=False
        )
        ours = replace(ours, best=False)
    reference = torch.from_numpy(theirs.generate(x.numpy(), y.numpy()))
    mine = ours(net, x, y, seed())
    right, wanted = round(accuracy(net, mine, y) * 600), round(accuracy(net, reference, y) * 600)
    record_property("correct of 600, ours and theirs", (right, wanted))
    print(f"{ours}: {right / 6:.1f} % against {wanted / 6:.1f} %")
    low, high = wilson(wanted, 600)
    assert low <= right / 600 <= high
    if not starts:  # no chance involved: image by image the same, but for rounding
        assert ((mine - reference).abs() < 1e-4).double().mean() > 0.99
        assert abs(right - wanted) <= 3
    if ours.name == "PGD":
        assert accuracy(net, replace(ours, best=True)(net, x, y, seed()), y) * 600 <= right


def test_the_comparison_is_worth_something(digits):
    """Clean accuracy is high and one of the settings lies in the middle, where two attacks could differ."""
    net, x, y = digits
    assert accuracy(net, x, y) > 0.9
    assert 0.2 < accuracy(net, PGD(0.1, 10, 0.025)(net, x, y), y) < 0.8


# --- survivors: the same walk, on which the fallen stay behind ---


def still_standing(attack, f, x, y):
    """Which images (N,) are right at every point that `survivors` yields, and how many forwards of images that took."""
    stands, seen = torch.zeros(len(y), dtype=torch.bool), 0
    for index, x_adv, logits in attack.survivors(f, x, y, seed()):
        assert len(index) == len(x_adv) == len(logits)
        assert (distance(x_adv, x[index], attack.norm) <= attack.eps + 1e-6).all()
        stands = torch.zeros_like(stands)
        stands[index] = logits.argmax(1) == y[index]
        seen += len(index)
    return stands, seen


@pytest.mark.parametrize("attack", [PGD(0.02, 8), PGD(0.3, 8, norm="l2"), PGD(0.02, 8, start="none"), FGSM(0.02)])
def test_survivors_are_those_that_the_whole_walk_cannot_fool(attack):
    f, (x, y) = bumpy().eval(), batch(64, low=0.2, high=0.8)
    y = torch.where(torch.arange(64) % 4 > 0, f(x).argmax(1), y)  # most are right at first
    held = f(x).argmax(1) == y
    for _, logits in attack.iterates(f, x, y, seed()):
        held &= logits.argmax(1) == y
    stands, seen = still_standing(attack, f, x, y)
    assert torch.equal(stands, held)
    assert 0 < held.sum() < 64 and seen < 64 * (attack.steps + 2), "some fall, and then cost nothing more"
    if attack.best:
        assert torch.equal(stands, (f(x).argmax(1) == y) & (f(attack(f, x, y, seed())).argmax(1) == y))


def test_survivors_end_early_where_everybody_is_wrong_from_the_start():
    f, (x, _) = bumpy().eval(), batch(5)
    wrong = (f(x).argmax(1) + 1) % 4
    assert len(list(PGD(EPS).survivors(f, x, wrong))) == 1


def test_survivors_of_several_restarts_are_no_more_than_of_one():
    f, (x, _) = bumpy().eval(), batch(64, low=0.2, high=0.8)
    y = f(x).argmax(1)
    one, several = (still_standing(PGD(0.08, 1, restarts=r), f, x, y)[0] for r in (1, 8))
    assert not (several & ~one).any() and several.sum() < one.sum()


def test_survivors_refuse_a_network_that_turns_to_nan_on_the_way():
    (x, y), at = batch(4), []

    def f(images):
        at.append(1)
        logits = images.flatten(1)[:, :4] * (float("nan") if len(at) > 2 else 1)
        return logits + 100 * nn.functional.one_hot(y, 4)

    with pytest.raises(ValueError, match="non-finite"):
        list(PGD(EPS, 5).survivors(f, x, y))


def test_survivors_leave_the_modes_of_a_network_alone_between_two_steps():
    f, (x, y) = bumpy(), batch(4)
    for _ in PGD(EPS, 2).survivors(f, x, y):
        assert all(part.training for part in f.modules())
        assert all(p.requires_grad for p in f.parameters())
