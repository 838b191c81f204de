"""Exercises of lesson 08: attack random networks, put noise into weights, train with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._random import randn_like_on
from ...data.load import load_data
from ...explorer.shipped import FOLDER
from ...networks.network import load
from ..noisy import NoisyConv as ReferenceConv
from ..noisy import NoisyNet, dithered, float_step_of_course, rule_of_course
from . import Wrong, exercise, same

EPS = 8 / 255
CALLS = 40  # most passes of each image in `beat_dither`
AMPLITUDE = 0.004  # of the wave there, twice that of the lesson
ENOUGH = 0.25  # most images that may stay right there
IMAGES = 128


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- eot_gradient ---


class _Random:
    """A network whose weights are sampled again at every call. It counts its calls."""

    def __init__(self, seed: int):
        self.weight, self.calls = torch.randn(12, 4, generator=_generator(seed)), 0
        self.generator = _generator(seed + 1)

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        noise = 1.5 * randn_like_on(self.weight, self.generator)
        return torch.tanh(x.flatten(1)) @ (self.weight + noise)


def _images() -> tuple[Tensor, Tensor]:
    return torch.rand(9, 3, 2, 2, generator=_generator(5)), torch.arange(9) % 4


def _eot_gradient(f, x: Tensor, y: Tensor, draws: int) -> Tensor:
    x = x.detach().requires_grad_()
    losses = (F.cross_entropy(f(x), y, reduction="sum") for _ in range(draws))
    return sum(torch.autograd.grad(loss, x)[0] for loss in losses) / draws


@exercise(_eot_gradient, "oatlib.PGD")
def eot_gradient(theirs) -> None:
    """f, x, y, draws -> gradient of the summed loss with respect to x, averaged over the draws."""
    (x, y), f = _images(), _Random(2)
    got, want = theirs(f, x.clone(), y, 5), _eot_gradient(_Random(2), x, y, 5)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if f.calls < 5:
            raise Wrong("call f once for each draw: its weights are new at every call.")
        at, again = x.clone().requires_grad_(), _Random(2)
        mean = sum(again(at) for _ in range(5)) / 5
        of_mean = torch.autograd.grad(F.cross_entropy(mean, y, reduction="sum"), at)[0]
        mistakes = (
            (of_mean, "it averages the logits and then takes one loss: average the gradients."),
            (5 * want, "it is the sum over the draws: divide by how many there are."),
            (
                want / len(x),
                "the loss is a mean over images, so each gradient depends on how many there are: "
                "sum it.",
            ),
        )
        for value, mistake in mistakes:
            if torch.allclose(got, value, atol=1e-6, rtol=1e-4):
                raise Wrong(mistake)
    same(
        got,
        want,
        "it should be the mean over draws of the gradient of the cross-entropy, each of a new call "
        "of f.",
    )


# --- eot_pgd ---


def _eot_pgd(f, x: Tensor, y: Tensor, eps: float, steps: int, draws: int) -> Tensor:
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv + 2.5 * eps / steps * _eot_gradient(f, x_adv, y, draws).sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return x_adv


@exercise(_eot_pgd, "oatlib.PGD")
def eot_pgd(theirs) -> None:
    """f, x, y, eps, steps, draws -> attacked images, a mean over draws in every step."""
    (x, y), eps, steps, draws = _images(), 0.3, 6, 3
    f = _Random(4)
    got, want = theirs(f, x.clone(), y, eps, steps, draws), _eot_pgd(_Random(4), x, y, eps, 6, 3)
    if isinstance(got, Tensor) and got.shape == want.shape:
        got = got.detach()
        if (got - x).abs().max() > eps + 1e-5:
            raise Wrong("the result leaves the ball: clamp the change from x to [-eps, eps].")
        if got.min() < 0 or got.max() > 1:
            raise Wrong("the result leaves [0, 1]: it must still be an image.")
        if f.calls < steps * draws:
            raise Wrong(
                f"it calls f {f.calls} times: every one of {steps} steps needs {draws} draws."
            )
        if torch.allclose(got, _down(x, y, eps, steps, draws), atol=1e-5):
            raise Wrong("the steps go down the loss: the attacker wants it to rise.")
        one_step = x + eps * _eot_gradient(_Random(4), x, y, steps * draws).sign()
        if torch.allclose(got, one_step.clamp(0, 1), atol=1e-5):
            raise Wrong("all gradients are taken at x: take each at the point reached so far.")
    same(
        got,
        want,
        "from x on, each step should be 2.5·eps/steps times the sign of eot_gradient at the point "
        "reached so far, then back into the ball and into [0, 1].",
    )


def _down(x: Tensor, y: Tensor, eps: float, steps: int, draws: int) -> Tensor:
    f, x_adv = _Random(4), x
    for _ in range(steps):
        x_adv = x_adv - 2.5 * eps / steps * _eot_gradient(f, x_adv, y, draws).sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return x_adv


# --- noisy_weight ---


def _noisy_weight(weight: Tensor, alpha: Tensor, lam: float, generator: torch.Generator) -> Tensor:
    return weight + lam * alpha * weight.detach().std() * randn_like_on(weight, generator)


@exercise(_noisy_weight, "oatlib.layers.noise.WeightNoise")
def noisy_weight(theirs) -> None:
    """weight, alpha, lam, generator -> weight + λ·α·σ·(a sample of N(0, 1) for every entry)."""
    weight = (0.5 + 0.3 * torch.randn(5, 4, 3, 3, generator=_generator(0))).requires_grad_()
    alpha = torch.tensor(0.4, requires_grad=True)
    got = theirs(weight, alpha, 0.5, _generator())
    want = _noisy_weight(weight, alpha, 0.5, _generator())
    if isinstance(got, Tensor) and got.shape == want.shape:
        noise, unit = (got - weight).detach(), randn_like_on(weight, _generator())
        if not torch.equal(got, theirs(weight, alpha, 0.5, _generator())):
            raise Wrong(
                "two calls with equally seeded generators differ: draw with torch.randn(..., "
                "generator=...)."
            )
        if noise.std() < 1e-6 < noise.abs().max():
            raise Wrong(
                "all entries get the same noise: draw one number for every entry, "
                "torch.randn(weight.shape)."
            )
        if not torch.allclose(theirs(weight, alpha, 0.0, _generator()), weight):
            raise Wrong("at λ = 0 there should be no noise at all: multiply it by lam.")
        if torch.allclose(noise, 0.2 * unit, atol=1e-5):
            raise Wrong(
                "the noise does not depend on how large the weights are: multiply it by their std, "
                "σ."
            )
        if torch.allclose(noise, 0.2 * weight.detach().std(correction=0) * unit, atol=1e-5):
            raise Wrong(
                "nearly: σ divides by n - 1, as in FLOAT's code; that is std() without "
                "correction=0."
            )
    same(
        got,
        want,
        "it should be weight + lam·alpha·σ·draw, with σ the standard deviation of all entries of "
        "weight.",
    )
    grads = torch.autograd.grad(got.pow(2).sum(), (weight, alpha), allow_unused=True)
    if grads[1] is None:
        raise Wrong(
            "no gradient reaches alpha, so it cannot be learned: do not detach it or take its "
            "item()."
        )
    same(
        grads[0],
        2 * got.detach(),
        "a gradient flows through σ: detach the weight before taking its std.",
        1e-4,
    )


# --- NoisyConv ---


@exercise(ReferenceConv, "oatlib.layers.noise.WeightNoise")
def NoisyConv(theirs) -> None:
    """conv, alpha; forward(x, lam, generator) -> the conv of x with a noisy weight."""
    layer = theirs(3, 5, 2)
    alpha = _alpha_of(layer)
    reference = ReferenceConv(3, 5, 2)
    reference.load_state_dict(layer.state_dict(), strict=False)
    with torch.no_grad():
        reference.alpha.copy_(alpha.reshape(()))
    _compare_convs(layer, reference)
    layer(torch.rand(4, 3, 8, 8), 1.0, _generator()).sum().backward()
    if alpha.grad is None or layer.conv.weight.grad is None:
        raise Wrong("no gradient reaches alpha or the weight: assign nothing to .data.")


def _alpha_of(layer) -> nn.Parameter:
    """Return α of a learner's layer, or raise Wrong if its parts are not as asked."""
    conv: Any = getattr(layer, "conv", None)
    if not isinstance(layer, nn.Module) or not isinstance(conv, nn.Conv2d):
        raise Wrong("it should be a module with a layer `conv`, an nn.Conv2d.")
    if conv.bias is not None:
        raise Wrong("conv has a bias: BatchNorm follows and adds its own, so use bias=False.")
    alpha = getattr(layer, "alpha", None)
    if not isinstance(alpha, nn.Parameter):
        raise Wrong("alpha should be an nn.Parameter, so that the optimiser finds it.")
    if alpha.numel() != 1 or abs(alpha.item() - 0.25) > 1e-6:
        raise Wrong("alpha should be one number that starts at 0.25.")
    return alpha


def _compare_convs(layer: Any, reference: Any) -> None:
    """Raise Wrong if a learner's layer computes something else than the reference."""
    x = torch.rand(4, 3, 8, 8, generator=_generator(3))
    quiet = theirs_at(layer, x, 0.0)
    want = theirs_at(reference, x, 0.0)
    if quiet.shape != want.shape:
        raise Wrong(
            f"it gives {tuple(quiet.shape)}, expected is {tuple(want.shape)}: use the stride, "
            "kernels of 3x3 and padding=1, also in F.conv2d."
        )
    same(quiet, want, "at λ = 0 it should be the plain conv, without noise.")
    loud = theirs_at(layer, x, 0.7)
    if torch.allclose(loud, quiet):
        raise Wrong("at λ = 0.7 nothing is noisy: convolve with the noisy weight, not with `conv`.")
    if torch.allclose(loud, theirs_at(reference, x, 1.0), atol=1e-5):
        raise Wrong("lam is not used: the noise must grow with λ.")
    same(
        loud, theirs_at(reference, x, 0.7), "with noise it should convolve with noisy_weight(...)."
    )
    generator = _generator()
    first, second = layer(x, 1.0, generator), layer(x, 1.0, generator)
    if torch.equal(first, second):
        raise Wrong("two calls have the same noise: draw it in forward, not in __init__.")
    if not torch.equal(layer.conv.weight, reference.conv.weight):
        raise Wrong("the weight itself has changed: noise must not stay in conv.weight.")


def theirs_at(layer: nn.Module, x: Tensor, lam: float) -> Tensor:
    """Return the output of a noisy layer for a new generator."""
    return layer(x, lam, _generator(7)).detach()


# --- float_step ---


class _Spy(NoisyNet):
    """A small FLOAT network that writes down how it was called."""

    def __init__(self) -> None:
        super().__init__(seed=3)
        self.calls: list[tuple[int, float, bool, Tensor]] = []

    def forward(self, x: Tensor, lam: float, generator: torch.Generator | None = None) -> Tensor:
        state = torch.empty(0) if generator is None else generator.get_state()
        self.calls.append((len(x), lam, self.training, state))
        return super().forward(x, lam, generator)


def _run_step(theirs: Callable, one_draw: bool) -> tuple[_Spy, Tensor, list[Tensor]]:
    """Run one step with a spy. Return the spy, the loss, and the images that were attacked."""
    spy, generator = _Spy(), _generator(2)
    x = torch.rand(12, 3, 8, 8, generator=_generator(4))
    y = torch.arange(12) % 8
    attacked: list[Tensor] = []

    def attack(f, images, labels):
        attacked.append(images)
        images = images.detach().requires_grad_()
        for _ in range(2):
            loss = F.cross_entropy(f(images), labels, reduction="sum")
            images = (images + 0.02 * torch.autograd.grad(loss, images)[0].sign()).detach()
            images.requires_grad_()
        return images.detach()

    loss = theirs(spy, x, y, attack, generator, one_draw)
    return spy, loss, attacked


@exercise(float_step_of_course, "oatlib.training.step.train_step")
def float_step(theirs) -> None:
    """net, x, y, attack, generator, one_draw -> loss; the gradients are added to the parameters."""
    spy, loss, attacked = _run_step(theirs, True)
    right, right_loss, right_attacked = _run_step(float_step_of_course, True)
    if not attacked or not torch.equal(attacked[0], right_attacked[0]):
        raise Wrong("attack the second half of the batch, x[half:], and only that.")
    _judge_passes(spy)
    wild, _, _ = _run_step(theirs, False)
    states = [call[3] for call in wild.calls if call[1] == 1]
    if any(torch.equal(a, b) for a, b in pairwise(states)):
        raise Wrong("without one_draw every call must draw again: do not set the state back.")
    _judge_next_step(theirs)
    if not isinstance(loss, Tensor):
        raise Wrong("it should return the loss, a tensor.")
    same(
        loss.detach().reshape(()),
        right_loss,
        "the loss should be the mean cross-entropy over all images: half are clean, half attacked.",
    )
    if loss.requires_grad:
        raise Wrong("return loss.detach(): the graph is not needed after backward().")
    for mine, wanted in zip(spy.parameters(), right.parameters(), strict=True):
        if mine.grad is None:
            raise Wrong("a parameter has no gradient: call backward() on the loss.")
        same(mine.grad, wanted.grad, "the gradients should be those of the mean loss.", 1e-4)


def _judge_passes(spy: _Spy) -> None:
    """Raise Wrong if the passes of a step with one draw were not as asked."""
    queries = [call for call in spy.calls if not call[2]]
    trained = [call for call in spy.calls if call[2]]
    if len(queries) != 2:
        raise Wrong("attack in eval mode and update in train mode: net.eval(), then net.train().")
    if any(lam != 1 for _, lam, _, _ in queries):
        raise Wrong("the attack meets λ = 0: attacked images belong to λ = 1, with its noise.")
    if 0.0 not in [lam for _, lam, _, _ in spy.calls]:
        raise Wrong("the clean half belongs to λ = 0: no noise, and the clean BatchNorm.")
    if [call[0] for call in trained] != [6, 6] or 1.0 not in [call[1] for call in trained]:
        raise Wrong("make two passes in train mode: the clean half, then the attacked half.")
    update = next(call for call in trained if call[1] == 1)
    if not torch.equal(queries[0][3], queries[1][3]):
        raise Wrong("with one_draw the gradients of the attack must all meet the same noise.")
    if not torch.equal(queries[0][3], update[3]):
        raise Wrong(
            "with one_draw the update must meet the noise of the attack: keep "
            "generator.get_state() and set it before every call at λ = 1."
        )


def _judge_next_step(theirs) -> None:
    """Raise Wrong if two steps with one draw each meet the same noise."""
    x, y = torch.rand(12, 3, 8, 8, generator=_generator(4)), torch.arange(12) % 8
    generator, seen = _generator(2), []
    for _ in range(2):
        spy = _Spy()
        theirs(spy, x, y, lambda f, images, labels: images, generator, True)
        seen.append(next(call[3] for call in spy.calls if call[1] == 1))
    if torch.equal(seen[0], seen[1]):
        raise Wrong("the next step meets the same noise again: after the update it must be new.")


# --- published_rule ---


@exercise(rule_of_course, "oatlib.networks.lambdas.resolve")
def published_rule(theirs) -> None:
    """name ("A" or "B"), lam -> (branch 0 or 1, level of the noise)."""
    for name, lam in (("A", 0.05), ("A", 0.1), ("A", 0.7), ("B", 0.3), ("B", 0.55), ("B", 0.8)):
        got, want = theirs(name, lam), rule_of_course(name, lam)
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong("it should return two numbers: the branch and the level.")
        if int(got[0]) != want[0]:
            limit = "below 0.1" if name == "A" else "below 0.6"
            raise Wrong(f"rule {name} at λ = {lam:g}: the clean branch, 0, is used {limit} only.")
        if abs(float(got[1]) - want[1]) > 1e-6:
            raise Wrong(f"rule {name} at λ = {lam:g}: the level should be {want[1]:g}.")


# --- beat_dither ---


def _beat_dither(f, x: Tensor, y: Tensor, eps: float, calls: int) -> Tensor:
    """Reference solution: the margin as the loss, and a sum over all gradients so far."""
    is_true = F.one_hot(y, 8).bool()
    x_adv, total, steps = x, torch.zeros_like(x), calls // 2
    for step in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        for _ in range(2):
            logits = f(x_adv)
            margin = logits.masked_fill(is_true, -1e9).amax(1) - logits[is_true]
            total = total + torch.autograd.grad(margin.sum(), x_adv)[0]
        size = 2 * eps * (1 - step / steps)
        x_adv = x_adv.detach() + size * total.sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return x_adv


class _Defence:
    """A random defence that counts images, and notices if anything but its answers is read.

    The network inside sees the images turned and with other colours, so attacks on `standard`
    itself are of no use.
    """

    __slots__ = ()

    def __call__(self, x: Tensor) -> Tensor:
        state = _STATE[id(self)]
        state["images"] += len(x)
        return state["answer"](x)

    def __getattr__(self, name: str):
        _STATE[id(self)]["peeked"] = name
        raise AttributeError(f"a defence answers calls only; it shows no {name!r}")


# By identity of a defence. It is not kept in the object, where an attack could change it.
_STATE: dict[int, dict[str, Any]] = {}
_COLOURS = [1, 2, 0]  # channel i of a hidden image is channel _COLOURS[i] of the image


def _hidden(x: Tensor) -> Tensor:
    return x.rot90(1, (2, 3))[:, _COLOURS]


def _shown(x: Tensor) -> Tensor:
    return x[:, [_COLOURS.index(i) for i in range(3)]].rot90(-1, (2, 3))


@lru_cache(1)
def _target() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the ready network `standard`, images and labels."""
    panel = load_data("shapes", seed=0).val.panel(IMAGES)
    return load(FOLDER / "standard.safetensors").at(0.0), panel.x, panel.y


@exercise(_beat_dither, "oatlib.PGD")
def beat_dither(theirs) -> str:
    """f, x, y, eps, calls -> attacked images; every image may pass through f `calls` times."""
    net, x, y = _target()
    x = _hidden(x)
    answer = dithered(lambda images: net(_shown(images)), _generator(11), AMPLITUDE)
    defence = _Defence()
    told: dict[str, Any] = {"images": 0, "peeked": "", "answer": answer}
    _STATE[id(defence)] = told
    try:
        got = theirs(defence, x.clone(), y.clone(), EPS, CALLS)
    finally:
        del _STATE[id(defence)]
        if told["peeked"]:
            raise Wrong(
                f"it looks into the defence ({told['peeked']}): an attacker gets answers and "
                "gradients of f, not its parts or its generator."
            )
    if not isinstance(got, Tensor) or got.shape != x.shape:
        raise Wrong("it should return attacked images, a tensor of the shape of x.")
    got = got.detach()
    used = told["images"] / len(x)
    if used > CALLS:
        raise Wrong(f"every image passed through f {used:g} times: at most {CALLS} are allowed.")
    if not bool(got.isfinite().all()) or (got - x).abs().max() > EPS + 1e-5:
        raise Wrong("the attacked images leave the ball: no pixel may change by more than eps.")
    if got.min() < 0 or got.max() > 1:
        raise Wrong("the attacked images leave [0, 1].")
    with torch.no_grad():
        right = [(answer(got).argmax(1) == y).float().mean().item() for _ in range(10)]
    left = sum(right) / len(right)
    measured = (
        f"your attack leaves {left:.1%} of n = {len(x)} images right (mean of 10 draws), with "
        f"{used:g} passes per image."
    )
    if left >= ENOUGH:
        raise Wrong(f"{measured} Fewer than {ENOUGH:.0%} are wanted.")
    return f"It is broken: {measured}"
