"""Exercises of lesson 01: the steps of a gradient attack."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..._random import global_seed
from ...attacks import geometry, losses
from ...attacks.pgd import FGSM, PGD
from ...attacks.suite import Suite
from ...data.load import load_data
from ...explorer.shipped import FOLDER
from ...networks.network import load
from .. import parts
from . import Wrong, exercise, same


def _case(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a small network, images (6, 3, 4, 4), of which two are all 0 and all 1, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.rand(6, 3, 4, 4, generator=generator),
        torch.randint(0, 5, (6,), generator=generator),
    )
    x[0], x[1] = 0.0, 1.0
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 5)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net.requires_grad_(False), x, y


def _like(got, x: Tensor) -> bool:
    return isinstance(got, Tensor) and got.shape == x.shape


def _check_shape(got, x: Tensor) -> None:
    """Raise Wrong unless `got` is a tensor of the shape of x."""
    if not _like(got, x):
        same(got, x, "")


def _project(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    return geometry.project(x_adv, x, eps, "linf")


@exercise(_project, "oatlib.attacks.geometry.project")
def project(theirs) -> None:
    """x_adv, x (N, C, H, W), eps -> x_adv projected onto the ball around x and onto [0, 1]."""
    _, x, _ = _case(0)
    far = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    got = theirs(far.clone(), x, 0.1)
    if _like(got, x):
        if (got - x).abs().max() > 0.1 + 1e-5:
            raise Wrong(
                "some pixels are further than eps from x: clip the change x_adv - x to [-eps, eps]."
            )
        if got.min() < 0 or got.max() > 1:
            raise Wrong(
                "some pixels left [0, 1], so this is not an image any more: clip to [0, 1] as well."
            )
    same(
        got,
        _project(far, x, 0.1),
        "pixels that were inside the ball and inside [0, 1] should stay as they are.",
    )


@exercise(lambda f, x, y, eps: FGSM(eps)(f, x, y), "oatlib.FGSM")
def fgsm(theirs) -> None:
    """f, x, y, eps -> x after one step of length eps that increases the loss."""
    net, x, y = _case(2)
    got, want = theirs(net, x.clone(), y, 0.05), FGSM(0.05)(net, x, y)
    if _like(got, x):
        if got.min() < 0 or got.max() > 1:
            raise Wrong("some pixels left [0, 1]: clip the result.")
        if ((got - x) * (want - x)).sum() < 0:
            raise Wrong(
                "it goes down the loss. The attacker wants the loss of the true class to rise."
            )
        if (got - x).abs().max() < 0.05 - 1e-4:
            raise Wrong(
                "no pixel moves by eps: multiply eps with the sign of the gradient, not with the "
                "gradient."
            )
    same(
        got,
        want,
        "it should be x + eps·sign(gradient of the loss with respect to x), clipped to [0, 1].",
    )


def _signs(f, x_adv: Tensor, y: Tensor) -> Tensor:
    """Return the signs of the gradient of the loss at x_adv."""
    x_adv = x_adv.detach().requires_grad_()
    (grad,) = torch.autograd.grad(losses.cross_entropy(f(x_adv), y).sum(), x_adv)
    return grad.sign()


def _pgd_step(f, x_adv: Tensor, x: Tensor, y: Tensor, eps: float, size: float) -> Tensor:
    return _project(x_adv.detach() + size * _signs(f, x_adv, y), x, eps)


@exercise(_pgd_step, "oatlib.attacks.geometry.ascend and project")
def pgd_step(theirs) -> None:
    """f, x_adv, x, y, eps, size -> x_adv after one step of PGD, of length size."""
    net, x, y = _case(3)
    x_adv = _project(
        x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)), x, 0.1
    )
    got, want = theirs(net, x_adv.clone(), x, y, 0.1, 0.04), _pgd_step(net, x_adv, x, y, 0.1, 0.04)
    if _like(got, x):
        if torch.allclose(got, _pgd_step(net, x, x, y, 0.1, 0.04), atol=1e-5):
            raise Wrong(
                "it starts again from x: go on from x_adv, or many steps are no better than one."
            )
        if (got - x).abs().max() > 0.1 + 1e-5:
            raise Wrong(
                "it leaves the ball: project after the step, around x and not around x_adv."
            )
        if torch.allclose(got, _project(x_adv + 0.1 * (want - x_adv).sign(), x, 0.1), atol=1e-5):
            raise Wrong("the step is eps long; it should be `size` long.")
    same(
        got,
        want,
        "it should be x_adv + size·sign(gradient at x_adv), projected onto the ball around x.",
    )


@exercise(parts.pgd, "oatlib.PGD")
def pgd(theirs) -> None:
    """net, x, y, eps, steps, step_size, generator -> attacked images, the best of all iterates."""
    net, x, y = _case(5)
    _check_start(theirs, net, x, y)
    net.requires_grad_(True)
    recorder = _Recorder(net)
    eps, steps, size = 0.1, 5, 0.15  # long steps: the last iterate is not the best of all
    got = theirs(recorder, x.clone(), y, eps, steps, size, torch.Generator().manual_seed(6))
    if any(p.grad is not None for p in net.parameters()):
        raise Wrong(
            "it adds to the gradients of the weights, which training uses: take "
            "torch.autograd.grad(loss, x_adv) instead of loss.backward()."
        )
    points = [point for point in recorder.points if not torch.equal(point, x)]
    _check_steps(net, points, x, y, eps, steps, size)
    _check_best(net, points, got, y)
    theirs(net, x.clone(), y, eps, 1, size)  # without a generator


class _Recorder(nn.Module):
    """A network that notes the images it is asked about. `points` leaves out repetitions."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        self.points: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        seen = x.detach().clone()
        if not self.points or not torch.equal(self.points[-1], seen):
            self.points.append(seen)
        return self.net(x)


def _check_start(theirs, net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Check the random start of an answer: what it returns after no step."""
    eps = 0.1
    starts = [
        theirs(net, x.clone(), y, eps, 0, 0.04, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    first = starts[0]
    _check_shape(first, x)
    if torch.allclose(first, x):
        raise Wrong("with steps = 0 it returns x itself: begin at a random point of the ball.")
    if (first - x).abs().max() > eps + 1e-5:
        raise Wrong("the random start is outside the ball: its noise is larger than eps.")
    if first.min() < 0 or first.max() > 1:
        raise Wrong("the random start has pixels outside [0, 1]: project it as well.")
    if not torch.equal(first, starts[1]):
        raise Wrong("the same seed gives different starts: pass the generator to torch.rand.")
    if torch.equal(first, starts[2]):
        raise Wrong("another seed gives the same start: pass the generator to torch.rand.")
    inside = (x > eps) & (x < 1 - eps)
    noise = (first - x)[inside] / eps
    if noise.mean().abs() > 0.3:
        raise Wrong("the random start moves most pixels the same way: draw from [-eps, eps].")
    if not 0.35 < noise.abs().mean() < 0.65:
        raise Wrong("the random start should be uniform in [-eps, eps].")


def _check_steps(net, points, x: Tensor, y: Tensor, eps: float, steps: int, size: float) -> None:
    """Check the points (N, ...) that an answer asked the network about, one after the other."""
    if len(points) < 2:
        raise Wrong(f"with steps = {steps} it asks the network about {len(points)} points.")
    for before, after in pairwise(points):
        _check_step(net, before, after, x, y, eps, size)
    if len(points) == steps:
        raise Wrong("the point after the last step is never compared: look at its loss as well.")
    if len(points) != steps + 1:
        raise Wrong(f"with steps = {steps} it takes {len(points) - 1} steps.")


def _check_step(net, before: Tensor, after: Tensor, x: Tensor, y: Tensor, eps, size) -> None:
    """Check that `after` is one step of PGD away from `before`."""
    if torch.allclose(after, _pgd_step(net, before, x, y, eps, size), atol=1e-5):
        return
    from_x = _project(x + size * _signs(net, before, y), x, eps)
    if torch.allclose(after, from_x, atol=1e-5):
        raise Wrong("a step starts from x: every step goes on from the point before it.")
    if (after - x).abs().max() > eps + 1e-5:
        raise Wrong("an iterate is outside the ball: project after every step, around x.")
    if after.min() < 0 or after.max() > 1:
        raise Wrong("an iterate has pixels outside [0, 1]: project after every step.")
    if torch.allclose(after, _pgd_step(net, before, x, y, eps, -size), atol=1e-5):
        raise Wrong("the steps go down the loss: add step_size * gradient.sign().")
    if torch.allclose(after, _pgd_step(net, before, x, y, eps, eps), atol=1e-5):
        raise Wrong("the steps are eps long: they should be step_size long.")
    raise Wrong("an iterate is not one step of PGD away from the one before it.")


def _check_best(net, points, got, y: Tensor) -> None:
    """Check that an answer returns, for each image, the point with the highest loss."""
    _check_shape(got, points[0])
    if got.requires_grad:
        raise Wrong("the result still has a graph: return x_adv.detach().")
    with torch.no_grad():
        logits = torch.stack([net(point) for point in points])  # (K, N, classes)
        result = net(got)
    values = torch.stack([losses.cross_entropy(each, y) for each in logits])  # (K, N)
    best = values.amax(0)
    # also right: among the points that are misclassified, the one with the highest loss
    wrong = logits.argmax(2) != y
    best_wrong = values.masked_fill(~wrong, -torch.inf).amax(0)
    value = losses.cross_entropy(result, y)
    if ((value - best).abs().lt(1e-4) | (value - best_wrong).abs().lt(1e-4)).all():
        return
    if torch.allclose(value, values[-1], atol=1e-4):
        raise Wrong("it returns the last iterate: return the one with the highest loss.")
    if torch.allclose(value, values[values.mean(1).argmax()], atol=1e-4):
        raise Wrong(
            "it keeps one iterate for the whole batch: choose the best one for each image, with "
            'reduction="none".'
        )
    if torch.allclose(value, values.amin(0), atol=1e-4):
        raise Wrong("it keeps the iterate with the lowest loss.")
    raise Wrong("for some image it does not return the iterate with the highest loss.")


RIVAL_EPS, RIVAL_STEPS, RIVAL_IMAGES = 16 / 255, 10, 256


class _Meter(torch.autograd.Function):
    """The identity. Its backward pass counts images."""

    @staticmethod
    def forward(ctx, x, count):
        ctx.count = count
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        ctx.count(len(gradient))
        return gradient, None


@cache
def _rival() -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    """Return a robust network, images, labels, and where the rival and the quick suite succeed.

    The rival is PGD-10 with steps of eps, which is stronger here than PGD-10 with shorter steps.
    """
    data = load_data("shapes", seed=0)
    panel = data.val.panel(RIVAL_IMAGES)
    net = load(FOLDER / "pgd-at.safetensors").eval().requires_grad_(False).at(1.0)
    rival = PGD(RIVAL_EPS, RIVAL_STEPS, step_size=RIVAL_EPS)
    fooled = [
        net(attack(net, panel.x, panel.y, torch.Generator().manual_seed(0))).argmax(1) != panel.y
        for attack in (rival, Suite(RIVAL_EPS, budget="quick"))
    ]
    return net, panel.x, panel.y, fooled[0], fooled[1]


@exercise(parts.my_attack, "oatlib.course.parts.my_attack")
def my_attack(theirs) -> str:
    """net, x, y, eps, gradients -> attacked images that fool more than PGD-10 with steps of eps."""
    net, x, y, rival, suite = _rival()
    n = len(x)
    used = {"forward": 0, "backward": 0}

    def count(way: str, images: int, allowed: int) -> None:
        used[way] += images
        if used[way] > allowed * n:
            kind = "gradients" if way == "backward" else "forward passes"
            raise Wrong(f"it uses more than {allowed} {kind} per image, so it is no fair contest.")

    def ask(images: Tensor) -> Tensor:
        count("forward", len(images), RIVAL_STEPS + 1)
        return net(_Meter.apply(images, lambda k: count("backward", k, RIVAL_STEPS)))

    with global_seed(0):  # an answer may use random numbers
        got = theirs(ask, x.clone(), y.clone(), RIVAL_EPS, RIVAL_STEPS)
    _check_shape(got, x)
    got = got.detach()
    if not got.isfinite().all():
        raise Wrong("some pixels are not finite numbers.")
    if (got - x).abs().max() > RIVAL_EPS + 1e-5:
        raise Wrong("some pixels moved by more than eps: project the result.")
    if got.min() < 0 or got.max() > 1:
        raise Wrong("some pixels are outside [0, 1]: project the result.")
    with torch.no_grad():
        fooled = net(got).argmax(1) != y
    gained = int((fooled & ~rival).sum())
    lost = int((rival & ~fooled).sum())
    score = (
        f"It fools {int(fooled.sum())} of {n} images, PGD-10 with α = ε {int(rival.sum())}, with "
        f"{used['backward'] / n:.3g} gradients per image."
    )
    # McNemar: of the images on which the two differ, how many does each win?
    limit = 1.96 * (gained + lost) ** 0.5
    if gained <= lost:
        raise Wrong(f"it does not beat PGD-10 with α = ε yet. {score}")
    if gained - lost <= limit:
        raise Wrong(
            f"it is ahead, but by no more than chance: +{gained} and -{lost} images; the "
            f"difference must exceed {limit:.1f}. {score}"
        )
    difference = gained - lost
    low, high = (100 * (difference + sign * limit) / n for sign in (-1, 1))
    return (
        f"{score} The difference is {100 * difference / n:+.0f} points (95 % interval {low:+.0f} "
        f"to {high:+.0f}). oatlib's quick suite fools {int(suite.sum())}, with up to 30 gradients."
    )
