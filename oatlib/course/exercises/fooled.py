"""Exercises of lesson 02b: see that a training run fools itself, stop it in time, and repair it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..collapse import train_watched as train_watched_reference
from ..collapse import under_suite
from ..two_pixels import POINTS, accuracy, begun, two_cues
from . import Wrong, exercise, same

GRADIENTS = 1  # per image and round of `repair`: two half steps would pass
ROUNDS, EPS = 400, 0.1  # of the game that `repair` plays
ENOUGH = 0.75  # least clean and robust accuracy after it
SEEDS = (0, 1, 2)


def _gradient(net, x: Tensor, y: Tensor, create_graph: bool = False) -> Tensor:
    """Return the gradient (N, ...) of the loss of each image."""
    x = x.detach().clone().requires_grad_()
    loss = F.cross_entropy(net(x), y, reduction="sum")
    return torch.autograd.grad(loss, x, create_graph=create_graph)[0]


def _case() -> tuple[nn.Module, Tensor, Tensor, torch.Generator]:
    """Return a small network with trainable weights, images (12, 3, 4, 4) and labels (12,)."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(12, 3, 4, 4, generator=generator)
    y = torch.randint(0, 5, (12,), generator=generator)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 5)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net, x, y, generator


# --- one_step ---


def _one_step(net, x: Tensor, y: Tensor, noise: Tensor, step: float, ball: float) -> Tensor:
    start = (x + noise).clamp(0, 1)
    moved = start + step * _gradient(net, start, y).sign()
    return (x + (moved - x).clamp(-ball, ball)).clamp(0, 1)


@exercise(_one_step, "oatlib.attacks.pgd.FGSMRS")
def one_step(theirs) -> None:
    """net, x, y, noise, step, ball -> one step up from x + noise, inside the ball and [0, 1]."""
    net, x, y, generator = _case()
    noise = 0.4 * (2 * torch.rand(x.shape, generator=generator) - 1)
    step, ball = 0.3, 0.45
    got = theirs(net, x.clone(), y, noise.clone(), step, ball)
    want = _one_step(net, x, y, noise, step, ball)
    if isinstance(got, Tensor) and got.shape == want.shape:
        start = (x + noise).clamp(0, 1)
        gradient = _gradient(net, start, y)
        moved = start + step * gradient.sign()

        def inside(images: Tensor) -> Tensor:
            return (x + (images - x).clamp(-ball, ball)).clamp(0, 1)

        mistakes = (
            (
                inside(start + step * _gradient(net, x, y).sign()),
                "the gradient is that at x: compute it at the start, x + noise.",
            ),
            (
                inside(x + step * gradient.sign()),
                "the step begins at x: it begins at the start, x + noise.",
            ),
            (
                inside(start - step * gradient.sign()),
                "the step goes down: the attacker wants the loss to rise.",
            ),
            (
                inside(start + step * gradient),
                "use the sign of the gradient: every pixel moves by the whole step.",
            ),
            (
                moved.clamp(0, 1),
                "the result leaves the ball: clamp the change from x to [-ball, ball].",
            ),
            (
                x + (moved - x).clamp(-ball, ball),
                "the result leaves [0, 1]: it must still be an image.",
            ),
        )
        for value, mistake in mistakes:
            if torch.allclose(got.detach(), value, atol=1e-5):
                raise Wrong(mistake)
    same(
        got,
        want,
        "it should be x + noise in [0, 1], plus step times the sign of the gradient there, in the "
        "ball and in [0, 1].",
    )
    if got.requires_grad:
        raise Wrong("the result still carries a graph: attacked images are data, so detach them.")


# --- attack_gap ---


def _attack_gap(net, x: Tensor, y: Tensor, weak, strong) -> float:
    return accuracy(net, weak(net, x, y), y) - accuracy(net, strong(net, x, y), y)


@exercise(_attack_gap, "oatlib.auditing.questions.training_attack")
def attack_gap(theirs) -> None:
    """net, x, y, weak, strong -> accuracy under weak minus accuracy under strong."""
    y = torch.arange(10) % 2
    x = F.one_hot(y, 2).float()
    x[:1] = x[:1].flip(1)  # misclassified without an attack

    def fools(first: int, last: int) -> Callable:
        def attack(net, x: Tensor, y: Tensor) -> Tensor:
            moved = x.clone()
            moved[first:last] = moved[first:last].flip(1)
            return moved

        return attack

    # of 10 images 9 are right without an attack, 7 after the weak one, 2 after the strong one
    weak, strong = fools(1, 3), fools(1, 8)
    got = theirs(nn.Identity(), x.clone(), y, weak, strong)
    if isinstance(got, tuple | list):
        raise Wrong("it returns both accuracies: return their difference, one number.")
    try:
        value = float(got)
    except (TypeError, ValueError):
        raise Wrong(f"it should return a number, but returns {type(got).__name__}.") from None
    mistakes = (
        (-0.5, "the sign is the wrong way round: accuracy under weak minus that under strong."),
        (0.7, "it is the difference from clean accuracy: use the accuracy under weak."),
        (0.2, "it is the accuracy under one attack: subtract it from that under the other."),
        (5.0, "it counts images: return a share, the mean over the images."),
    )
    for wrong, mistake in mistakes:
        if abs(value - wrong) < 1e-6:
            raise Wrong(mistake)
    if abs(value - 0.5) > 1e-6:
        raise Wrong(
            f"with 7 of 10 images right under weak and 2 of 10 under strong it should return 0.5, "
            f"but returns {value:g}."
        )


# --- along_the_step ---


def _along_the_step(net, x: Tensor, y: Tensor, eps: float, shares: Sequence[float]) -> list[float]:
    direction = _gradient(net, x, y).sign()
    return [accuracy(net, (x + share * eps * direction).clamp(0, 1), y) for share in shares]


@exercise(_along_the_step, "oatlib.auditing.questions.half_step")
def along_the_step(theirs) -> None:
    """net, x, y, eps, shares -> accuracies after these shares of the step of FGSM, a list."""
    net, x, y, generator = _case()
    x = torch.rand(200, 3, 4, 4, generator=generator)
    with torch.no_grad():
        y = net(x).argmax(1)
    eps, shares = 0.4, (0.0, 0.25, 0.5, 1.0)
    got = theirs(net, x.clone(), y, eps, shares)
    want = _along_the_step(net, x, y, eps, shares)
    if not isinstance(got, list | tuple | Tensor) or len(got) != len(shares):
        raise Wrong("it should return one accuracy per share, a list as long as shares.")
    values = torch.as_tensor([float(value) for value in got])
    walked, here = [], x
    for before, share in zip((0.0, *shares), shares, strict=False):
        step = (share - before) * eps
        here = (here + step * _gradient(net, here, y).sign()).clamp(0, 1)
        walked.append(accuracy(net, here, y))
    down = _along_the_step(net, x, y, -eps, shares)
    mistakes = (
        (
            walked,
            "the gradient is computed again on the way: FGSM computes it once, at x, so take every "
            "share of that one step.",
        ),
        (
            _along_the_step(net, x, y, 1.0, shares),
            "eps is not used: the whole step is eps times the sign of the gradient.",
        ),
        (down, "the step goes down: the attacker wants the loss to rise."),
        ([1 - value for value in want], "it returns shares of wrong answers: return accuracies."),
        ([want[-1]] * len(shares), "share is not used: move by share * eps."),
    )
    for wrong, mistake in mistakes:
        if torch.allclose(values, torch.tensor(wrong), atol=1e-4):
            raise Wrong(mistake)
    same(
        values,
        torch.tensor(want),
        "value i should be the accuracy on x + shares[i]·eps·sign(gradient at x), in [0, 1].",
        1e-4,
    )


# --- gradient_alignment ---


def _gradient_alignment(net, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    here = _gradient(net, x, y, create_graph=True).flatten(1)
    there = _gradient(net, x + noise, y, create_graph=True).flatten(1)
    return F.cosine_similarity(here, there, dim=1)


@exercise(_gradient_alignment, "torch.nn.functional.cosine_similarity")
def gradient_alignment(theirs) -> None:
    """net, x, y, noise -> per image the cosine of the gradients at x and at x + noise, (N,)."""
    net, x, y, generator = _case()
    noise = 1.5 * (2 * torch.rand(x.shape, generator=generator) - 1)
    got = theirs(net, x.clone(), y, noise.clone())
    want = _gradient_alignment(net, x, y, noise)
    here, there = _gradient(net, x, y), _gradient(net, x + noise, y)
    if isinstance(got, Tensor):
        if got.numel() == 1:
            raise Wrong("it returns one number: keep one cosine per image, of shape (N,).")
        if got.dim() > 1:
            raise Wrong("the cosine is taken along one axis of the image: flatten(1) both first.")
        mistakes = (
            (
                F.cosine_similarity(here.sign().flatten(1), there.sign().flatten(1)),
                "it compares the signs: compare the gradients themselves.",
            ),
            (
                (here * there).flatten(1).sum(1),
                "it is a dot product: divide by the lengths of both gradients.",
            ),
            (1 - want, "it is 1 minus the cosine: return the cosine."),
            (torch.ones(len(x)), "both gradients are the same: one is taken at x + noise."),
        )
        for wrong, mistake in mistakes:
            if got.shape == wrong.shape and torch.allclose(got, wrong.to(got), atol=1e-4):
                raise Wrong(mistake)
    same(got, want, "it should be the cosine of the two gradients, over all pixels of an image.")
    if not got.requires_grad:
        raise Wrong(
            "no gradient reaches the weights: compute both gradients with create_graph=True, so "
            "that the cosine can become a penalty."
        )


# --- train_watched ---


class _Marked(nn.Module):
    """A network whose only weight counts rounds. It records whether weights are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.done = nn.Parameter(torch.zeros(1))
        self.loaded = False

    def one_round(self) -> None:
        with torch.no_grad():
            self.done.add_(1)

    def load_state_dict(self, state_dict, *arguments, **options):
        self.loaded = True
        return super().load_state_dict(state_dict, *arguments, **options)


def _watched(theirs, curve: Sequence[float], every: int = 3):
    """Run the loop on a curve of robust accuracies. Return what it returned, the net, the looks."""
    net, looks, done = _Marked(), [], 0

    def one_round() -> None:
        nonlocal done
        net.one_round()
        done += 1

    def robust(net) -> float:
        looks.append(done)
        return curve[min(len(looks), len(curve)) - 1]

    got = theirs(net, one_round, robust, every * len(curve), every, 0.2)
    return got, net, looks, done


@exercise(train_watched_reference, "oatlib.training.monitor.Watch")
def train_watched(theirs) -> None:
    """net, one_round, robust, rounds, every, drop -> round of the alarm, or None."""
    slow = (0.1, 0.5, 0.62, 0.5, 0.38, 0.25, 0.2)
    got, net, looks, done = _watched(theirs, slow)
    if looks != [3 * k for k in range(1, len(looks) + 1)]:
        raise Wrong("measure after every `every` rounds, not in other rounds: done % every == 0.")
    if net.loaded and done > 15:
        raise Wrong("the training goes on after the alarm: return at once.")
    if got is None:
        raise Wrong(
            "it misses a slow fall: compare with the best measurement so far, not with the one "
            "before."
        )
    if got == 5 or got == 4:
        raise Wrong("it returns the number of a measurement: return the number of rounds done.")
    if got != 15:
        raise Wrong(
            f"with measurements {slow} after every 3 rounds and drop = 0.2 it should return 15 "
            f"(from 0.62 to 0.38), but returns {got!r}."
        )
    if not net.loaded:
        raise Wrong("the weights are those after the fall: load the last good ones.")
    if net.done.item() == 15:
        raise Wrong(
            "what it restores has changed along with the network: keep a clone of every tensor of "
            "state_dict()."
        )
    if net.done.item() != 12:
        raise Wrong(
            "it restores weights of round "
            f"{net.done.item():.0f}: the last measurement without an alarm was after 12."
        )
    got, net, _, done = _watched(theirs, (0.3, 0.25, 0.4, 0.22, 0.35, 0.45))
    if got is not None or net.loaded or done != 18:
        raise Wrong("if the accuracy never falls by more than drop, run all rounds, return None.")


# --- repair ---


def _repair(net, x: Tensor, y: Tensor, eps: float, last, generator: torch.Generator) -> Tensor:
    """Reference solution: one step of ε/4, which continues the attack of the round before."""
    start = x if last is None else last
    moved = start + eps / 4 * _gradient(net, start, y).sign()
    return (x + (moved - x).clamp(-eps, eps)).clamp(0, 1)


class _CountedImages(torch.autograd.Function):
    """The identity. Its backward pass counts the images whose gradient is asked for."""

    @staticmethod
    def forward(ctx, x: Tensor, counter: _Counted) -> Tensor:
        ctx.counter = counter
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        ctx.counter.images += len(gradient)
        return gradient, None


class _Counted(nn.Module):
    """A network that counts gradients with respect to images."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.images = net, 0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(_CountedImages.apply(x, self) if x.requires_grad else x)


def _play(theirs, seed: int) -> tuple[float, float, float]:
    """Play the game. Return clean and robust accuracy (quick suite), and gradients per round."""
    x, y, _ = two_cues(seed)
    net, optimizer = begun(seed)
    counted, generator = _Counted(net), torch.Generator().manual_seed(seed)
    last, most = None, 0.0
    for _ in range(ROUNDS):
        counted.images = 0
        last = theirs(counted, x.clone(), y, EPS, last, generator)
        if not isinstance(last, Tensor) or last.shape != x.shape:
            raise Wrong("it should return attacked images, a tensor of the shape of x.")
        last = last.detach()
        most = max(most, counted.images / len(x))
        if most > GRADIENTS:
            raise Wrong(
                f"it computes {most:g} gradients per image in a round: one is allowed. Two half "
                "steps resist on two pixels, and they fail on the images below."
            )
        if counted.images == 0:
            raise Wrong(
                "it computes no gradient in a round: random search can cover two pixels, but not "
                "the hundreds of values of an image. Use one gradient."
            )
        loss = (F.cross_entropy(net(x), y) + F.cross_entropy(net(last), y)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return accuracy(net, x, y), under_suite(net, x, y, EPS), most


@exercise(_repair, "oatlib.course.exercises.fooled.repair")
def repair(theirs) -> str:
    """net, x, y, eps, last, generator -> attacked images; last is what it returned before."""
    scores = [_play(theirs, seed) for seed in SEEDS]
    clean = min(score[0] for score in scores)
    robust = min(score[1] for score in scores)
    gradients = max(score[2] for score in scores)
    measured = (
        f"after {ROUNDS} rounds the quick suite leaves {robust:.1%} and clean accuracy is "
        f"{clean:.1%}, the worst of {len(SEEDS)} seeds (n = {POINTS} points each), "
        f"with {gradients:g} gradient(s) per point and round."
    )
    if clean < ENOUGH:
        raise Wrong(f"{measured} Clean accuracy is too low: do not push further than eps.")
    if robust < ENOUGH:
        raise Wrong(f"{measured} At least {ENOUGH:.0%} under the suite are wanted.")
    return f"It holds: {measured}"
