"""Exercises of lesson 05: the loss of OAT, how it samples λ, its training step, and the coin.

The open exercise `my_dial` asks for a dial between two networks that is better than mixing them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._bundled import bundled
from ..._random import global_seed
from ...data.load import load_data
from ...data.splits import Split
from ...evaluation.baselines import LEVELS, percents, robust_at
from ...evaluation.baselines import coin as oatlib_coin
from ...explorer.shipped import FOLDER
from ...networks.network import load
from ...record import read_json
from ...training.recipes import OAT_STOPS, sample_stops
from ...training.recipes import more_at_last_stop as oatlib_more_at_last_stop
from .. import parts
from ..dials import (
    Answer,
    borrowed_images,
    choose_by_image,
    function_points,
    pairs_of,
)
from ..dials import above_coin as oatlib_above_coin
from ..dials import hybrid_loss as oatlib_hybrid_loss
from ..dials import oat_step as oatlib_oat_step
from . import Wrong, exercise, same


def _batch(n_clean: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return clean logits (8, 5), attacked logits (8 - n_clean, 5), labels (8,) and λ (8,).

    The first `n_clean` values of λ are 0, and these images have no attacked logits.
    """
    generator = torch.Generator().manual_seed(n_clean)
    clean, attacked = (2 * torch.randn(8, 5, generator=generator) for _ in range(2))
    lam = torch.tensor([0.1, 0.4, 1.0, 0.2, 0.3, 1.0, 0.1, 0.2])
    lam[:n_clean] = 0
    return clean, attacked[n_clean:], torch.randint(0, 5, (8,), generator=generator), lam


def _mixed_up(
    clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, n_clean: int
) -> dict[str, Tensor]:
    """Return the losses that common mistakes give, by the message for each mistake."""
    calm, hit = (
        F.cross_entropy(clean, y, reduction="none"),
        F.cross_entropy(attacked, y[n_clean:], reduction="none"),
    )
    rest, n, front = lam[n_clean:], len(y), slice(len(attacked))
    weighed = ((1 - lam) * calm).sum() / n
    return {
        "the weights are swapped: λ = 1 must mean attacked only.": (
            (lam * calm).sum() + ((1 - rest) * hit).sum()
        )
        / n,
        "the clean loss must shrink as λ grows: its weight is 1 - λ.": (
            calm.sum() + (rest * hit).sum()
        )
        / n,
        "it mixes with one λ for the batch: each image has its own.": (1 - lam.mean()) * calm.mean()
        + lam.mean() * hit.mean(),
        "the attacked losses are averaged over the attacked images only: divide both sums by the "
        "whole batch.": weighed + (rest * hit).mean(),
        "the attacked images carry the wrong λ: they are the batch without its first `n_clean` "
        "images.": weighed + (lam[front] * hit).sum() / n,
        "the attacked images get the wrong labels: theirs are y[n_clean:].": weighed
        + (rest * F.cross_entropy(attacked, y[front], reduction="none")).sum() / n,
    }


@exercise(oatlib_hybrid_loss, "oatlib.training.losses.hybrid")
def hybrid_loss(theirs) -> None:
    """clean (N, K), attacked (N - n_clean, K), y, lam, n_clean -> mean (1-λ)·clean + λ·attacked."""
    batch = (*_batch(3), 3)
    got, want = theirs(*batch), oatlib_hybrid_loss(*batch)
    if isinstance(got, Tensor) and got.shape == batch[3].shape:
        raise Wrong("it returns one loss per image: take the mean over the batch.")
    if isinstance(got, Tensor) and got.shape == want.shape:
        for mistake, value in _mixed_up(*batch).items():
            if torch.allclose(got, value, atol=1e-5):
                raise Wrong(mistake)
    same(got, want, "it should be the mean over all N images of (1-λ)·CE(clean) + λ·CE(attacked).")
    batch = (*_batch(0), 0)
    mistake = "right where some images have λ = 0, but not where n_clean = 0 and all are attacked."
    same(theirs(*batch), oatlib_hybrid_loss(*batch), mistake)


@exercise(sample_stops, "oatlib.training.recipes.sample_stops")
def draw_stops(theirs) -> None:
    """stops, n, generator -> stop indices (n,), the first ceil(n / S) of them 0; how many those."""
    n, n_clean = 6000, 1000
    got = theirs(OAT_STOPS, n, torch.Generator().manual_seed(0))
    if not (isinstance(got, tuple | list) and len(got) == 2 and isinstance(got[0], Tensor)):
        raise Wrong(
            "it should return two things: a tensor of stops, and how many of them, at the front, "
            "are 0."
        )
    stop, front = got
    if stop.shape != (n,):
        raise Wrong(f"for {n} images it should draw {n} stops, but draws {tuple(stop.shape)}.")
    if stop.is_floating_point():
        raise Wrong(
            "it returns values of λ: return where they are in `stops`, whole numbers from 0."
        )
    if front != n_clean:
        raise Wrong(
            f"of {n} images and {len(OAT_STOPS)} stops the first {n_clean} should have λ = 0, not "
            f"{front}."
        )
    if stop[:n_clean].any():
        raise Wrong(
            "the images with λ = 0 must come first, so that the others can be cut off behind them."
        )
    if not stop[n_clean:].all():
        raise Wrong("behind the first images λ = 0 is drawn again: draw from stop 1 on.")
    counts = torch.bincount(stop[n_clean:], minlength=6)[1:]
    if len(counts) > 5 or counts.min() == 0:
        raise Wrong(
            "some stops never come, or some that do not exist: torch.randint(low, high) leaves out "
            "high."
        )
    if (counts - 1000).abs().max() > 150:
        raise Wrong(
            f"the stops above 0 should come equally often, but came {counts.tolist()} times."
        )
    _drawn_from_the_generator(theirs, stop)


def _drawn_from_the_generator(theirs, stop: Tensor) -> None:
    """Raise Wrong if the result does not follow the generator, or if n / S is not rounded up."""
    again, other = (
        theirs(OAT_STOPS, len(stop), torch.Generator().manual_seed(seed))[0] for seed in (0, 1)
    )
    if not torch.equal(stop, again) or torch.equal(stop, other):
        raise Wrong(
            "what comes out must depend on the generator, and on nothing else: pass it to "
            "torch.randint."
        )
    for n in (13, 64):
        if theirs(OAT_STOPS, n, torch.Generator())[1] != -(-n // 6):
            raise Wrong(f"of {n} images {-(-n // 6)} should have λ = 0: n / S is rounded up.")


@exercise(oatlib_more_at_last_stop, "oatlib.training.recipes.more_at_last_stop")
def more_at_last_stop(theirs) -> None:
    """stop (N,), n_clean, stops, fraction, generator -> stop (N,), more of them the last one."""
    n, n_clean, fraction = 6000, 1000, 0.3
    stop, _ = sample_stops(OAT_STOPS, n, torch.Generator().manual_seed(0))
    last = len(OAT_STOPS) - 1

    def changed(seed: int):
        given = stop.clone()
        got = theirs(given, n_clean, OAT_STOPS, fraction, torch.Generator().manual_seed(seed))
        if not torch.equal(given, stop):
            raise Wrong("it changes the tensor that it was given: change a copy, stop.clone().")
        return got

    got = changed(1)
    if not isinstance(got, Tensor) or got.shape != stop.shape:
        same(got, stop, "")  # says what it is instead
    if got[:n_clean].any():
        raise Wrong("some of the first n_clean images lose λ = 0: they are never attacked.")
    moved = (got != stop).nonzero()[:, 0]
    if len(moved) == 0:
        raise Wrong("no image gets another stop.")
    if (got[moved] != last).any():
        raise Wrong(f"the images that change should get the last stop, {last}, not another one.")
    # an image that had the last stop already does not count as moved
    share = len(moved) / int((stop[n_clean:] != last).sum())
    if abs(share - fraction) > 0.05:
        raise Wrong(
            f"of the attacked images {share:.0%} get the last stop: {fraction:.0%} were asked for, "
            "chosen by chance."
        )
    first_half = (moved < (n + n_clean) // 2).double().mean().item()
    if abs(first_half - 0.5) > 0.1:
        raise Wrong("it takes a fixed part of the batch: each image is chosen by chance.")
    if not torch.equal(got, changed(1)) or torch.equal(got, changed(2)):
        raise Wrong("what comes out must depend on the generator: pass it to torch.rand.")


STANDARD, ROBUST = (0.99, 0.01), (0.8, 0.6)  # two networks: (clean, robust)


@exercise(oatlib_coin, "oatlib.coin")
def coin(theirs) -> None:
    """standard, robust (each (clean, robust)), clean -> robust accuracy of the coin, or None."""
    got, want = theirs(STANDARD, ROBUST, 0.9), oatlib_coin(STANDARD, ROBUST, 0.9)
    if not isinstance(got, int | float | Tensor) or isinstance(got, bool):
        raise Wrong(
            "it should return a number, but returns "
            f"{'nothing' if got is None else type(got).__name__}."
        )
    if abs(got - want) > 1e-6:
        _say_which_share(float(got))
        raise Wrong(
            f"at clean accuracy 0.9 the coin between {STANDARD} and {ROBUST} reaches {want:.3g}, "
            f"not {got:.3g}."
        )
    above = theirs(STANDARD, ROBUST, 0.995)
    if above is not None:
        raise Wrong(
            "neither network is right on 99.5 % of the images, so no p is enough: return None."
        )
    below = theirs(STANDARD, ROBUST, 0.5)
    if below is None or abs(below - ROBUST[1]) > 1e-6:
        raise Wrong(
            "both networks are more accurate than asked for: then the robust one answers always, p "
            "= 1."
        )


def _say_which_share(value: float) -> None:
    """Raise Wrong if the value is the result of a common mistake."""
    (clean0, robust0), (clean1, robust1) = STANDARD, ROBUST
    p = (clean0 - 0.9) / (clean0 - clean1)
    if abs(value - p) < 1e-6:
        raise Wrong(
            "this is p, how often the robust network answers: what is the robust accuracy then?"
        )
    if abs(value - (p * robust0 + (1 - p) * robust1)) < 1e-6:
        raise Wrong("the two shares are swapped: p belongs to the robust network.")
    if abs(value - p * robust1) < 1e-6:
        raise Wrong(
            "the standard network has some robust accuracy, too: with probability 1 - p it answers."
        )


N_STEP, N_STEP_CLEAN = 10, 4  # images of the batch on which a step is checked, and those with λ = 0


def _step_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Return images (N, 3, 8, 8), labels (N,) and stops (N,), the first N_STEP_CLEAN of them 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N_STEP, 3, 8, 8, generator=generator)
    y = torch.randint(0, 8, (N_STEP,), generator=generator)
    stop = torch.tensor([0, 0, 0, 0, 1, 5, 2, 4, 3, 5])
    return x, y, stop


def _step_net() -> parts.DialNet:
    """Return a DialNet, always with the same weights, whose answers depend clearly on λ."""
    with global_seed(0):
        net = parts.DialNet(generator=torch.Generator().manual_seed(0))
        for module in net.modules():
            if isinstance(module, parts.FiLM):
                torch.nn.init.normal_(module.out.weight, std=0.5)
        net.train()
        net(torch.rand(32, 3, 8, 8), torch.arange(32) % 6)  # some statistics
    return net.eval()


class _StepAttack:
    """An attack that remembers how it was called. It always makes the same change."""

    def __init__(self, net: parts.DialNet):
        self.net = net
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, f: Callable, x: Tensor, y: Tensor, *_) -> Tensor:
        self.calls.append((x, y))
        if self.net.training:
            raise Wrong(
                "the network is attacked in training mode, so BatchNorm learns from the steps of "
                "the attack: call net.eval() before the attack."
            )
        _, y_all, stop = _step_batch()
        if len(x) == len(y_all):
            raise Wrong(
                "it attacks all images: those with λ = 0 need no attack, so pass x[n_clean:]."
            )
        rest = stop[N_STEP_CLEAN:]
        if len(x) != len(rest) or not torch.equal(y, y_all[N_STEP_CLEAN:]):
            raise Wrong("the attack needs the images behind the first n_clean and their labels.")
        with torch.no_grad():
            if not torch.allclose(f(x), self.net(x, rest), atol=1e-4):
                raise Wrong(
                    "the attack meets the network at another λ than the images have: attack the "
                    "function that calls net(images, stop[n_clean:])."
                )
        return (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))).clamp(
            0, 1
        )


def _run_step(step: Callable) -> tuple[Tensor | None, parts.DialNet, _StepAttack]:
    """Run a step on the batch. Return its result, the network, and the attack."""
    net = _step_net()
    attack = _StepAttack(net)
    result = step(net, *_step_batch(), N_STEP_CLEAN, attack, oatlib_hybrid_loss)
    return result, net, attack


def _gradients(net: parts.DialNet) -> Tensor:
    """Return all gradients of a network as one row."""
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def _wrong_steps() -> dict[str, Callable]:
    """Return steps with one mistake each, by the message for the mistake."""

    def changed(
        *,
        joint: bool = False,
        still: bool = False,
        plain: bool = False,
        weigh: bool = False,
        last: bool = False,
    ) -> Callable:
        def step(net, x, y, stop, n_clean, attack, loss):
            lam = torch.tensor(net.stops)[stop]
            rest = stop[n_clean:]
            net.eval()
            x_adv = attack(lambda images: net(images, rest), x[n_clean:], y[n_clean:])
            net.train(not still)
            if joint:
                logits = net(torch.cat([x, x_adv]), torch.cat([stop, rest]))
                clean, attacked = logits[: len(x)], logits[len(x) :]
            else:
                clean = net(x, stop)
                attacked = net(
                    x[n_clean:] if plain else x_adv, torch.full_like(rest, 5) if last else rest
                )
            weights = stop.float() if weigh else lam
            value = loss(clean, attacked, y, weights, n_clean)
            value.backward()
            return value.detach()

        return step

    return {
        "clean and attacked images share one pass, so BatchNorm mixes their statistics: send them "
        "through the network one after the other.": changed(joint=True),
        "the network is in eval mode while it learns: call net.train() after the attack.": changed(
            still=True
        ),
        "the attacked images are never used: the second pass is net(x_adv, stop[n_clean:]).": (
            changed(plain=True)
        ),
        "the loss needs values of λ, not indices of stops: torch.tensor(net.stops)[stop].": changed(
            weigh=True
        ),
        "the attacked images pass the network at λ = 1: each has its own stop.": changed(last=True),
    }


@exercise(oatlib_oat_step, "oatlib.training.step.train_step")
def oat_step(theirs) -> None:
    """net, x, y, stop, n_clean, attack, loss -> the loss; the gradients are in the parameters."""
    got, net, attack = _run_step(theirs)
    if not attack.calls:
        raise Wrong("it never calls attack(f, x, y): the images with λ > 0 must be attacked.")
    if all(p.grad is None for p in net.parameters()):
        raise Wrong("the parameters have no gradients: call loss.backward().")
    want, right, _ = _run_step(oatlib_oat_step)
    gradients = _gradients(net)
    if gradients.shape != _gradients(right).shape:
        raise Wrong("some parameters have no gradients: both passes must be part of the loss.")
    if not torch.allclose(gradients, _gradients(right), atol=1e-5):
        for mistake, step in _wrong_steps().items():
            if torch.allclose(gradients, _gradients(_run_step(step)[1]), atol=1e-5):
                raise Wrong(mistake)
        raise Wrong("the gradients are not those of the mean of (1-λ)·CE(clean) + λ·CE(attacked).")
    same(got, want, "it should return the loss of the batch, one number.")


# A dial that its coin beats at 90 %, and that is never as accurate as 99.5 %
DIAL = [(0.99, 0.02), (0.96, 0.2), (0.88, 0.25), (0.8, 0.6)]
GAIN_LEVELS = (0.98, 0.95, 0.9)


@exercise(oatlib_above_coin, "oatlib.course.dials.above_coin")
def above_coin(theirs) -> None:
    """points, levels, coin, robust_at -> points above the own coin at each level, or None."""
    got = theirs(list(DIAL), GAIN_LEVELS, oatlib_coin, robust_at)
    want = [value or 0.0 for value in oatlib_above_coin(DIAL, GAIN_LEVELS)]
    if not isinstance(got, list | tuple) or len(got) != len(want):
        raise Wrong(f"it should return a list of {len(want)} numbers, one for each level.")
    if any(value is None for value in got):
        raise Wrong("it gives None where both the dial and its coin are accurate enough.")
    found = [float(value) for value in got]
    if _near(found, [value / 100 for value in want]):
        raise Wrong("it gives shares: multiply by 100, so that 0.05 becomes 5 points.")
    if _near(found, [-value for value in want]):
        raise Wrong("the sign is turned: subtract the coin from the dial.")
    if _near(found, [max(0.0, value) for value in want]):
        raise Wrong("it hides that the coin is ahead: a dial below its coin has a negative number.")
    if _near(found, [100 * (robust_at(DIAL, level) or 0) for level in GAIN_LEVELS]):
        raise Wrong("this is the robust accuracy of the dial: subtract that of its coin.")
    if not _near(found, want):
        shown = ", ".join(f"{value:.2f}" for value in want)
        raise Wrong(
            f"for the dial {DIAL} it should return {shown}: the coin is between the first and the "
            "last setting."
        )
    rare = theirs(list(DIAL), (0.995, 0.95), oatlib_coin, robust_at)
    if rare[0] is not None:
        raise Wrong("the dial is never right on 99.5 % of the images: give None there.")


def _near(found: list[float], want: list[float]) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(found, want, strict=True))


N_DIAL = 128  # validation images of the open exercise
LAMS_DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN = 0.05  # what the answer must gain over the best plain mixes, in mean robust accuracy


@functools.cache
def _two_networks() -> tuple[Answer, Answer, Split]:
    """Return the networks standard and pgd-at, and validation images."""
    standard = load(FOLDER / "standard.safetensors").at(0.0)
    robust = load(FOLDER / "pgd-at.safetensors").at(1.0)
    data = load_data("shapes", seed=0, n_train=8, n_test=8)
    return standard, robust, data.val.panel(N_DIAL)


@functools.cache
def _borrowed() -> list[Tensor]:
    return borrowed_images(*_two_networks())


def _measured(functions: list[Answer]) -> list[tuple[float, float]]:
    """Return (clean, robust) of each function, robust also on the borrowed images."""
    return pairs_of(function_points(functions, _two_networks()[2], _borrowed()))


def _at_levels(points: list[tuple[float, float]]) -> list[float]:
    """Return robust accuracy at the three levels of clean accuracy; 0 where it is never so high."""
    return [robust_at(points, level) or 0.0 for level in LEVELS]


@functools.cache
def _recorded_mixes() -> list[tuple[float, float]]:
    """Return (clean, robust) of the plain mixes, by growing share of the robust network.

    They were measured once, by `hard_mixes`, on the same images with the same attacks.
    """
    record = read_json(bundled("course") / "hard_mixes.json")
    return pairs_of(record["points"])


@functools.cache
def _of_mixes() -> list[float]:
    """Return the robust accuracy of the best plain mixes at the three levels."""
    return _at_levels(_recorded_mixes())


@functools.cache
def _of_coin() -> list[float]:
    """Return the robust accuracy of the coin between the two networks at the three levels."""
    first, *_, second = _recorded_mixes()  # with shares 0 and 1 one of the networks answers alone
    return [oatlib_coin(first, second, level) or 0.0 for level in LEVELS]


@exercise(choose_by_image, "oatlib.course.dials.choose_by_image")
def my_dial(theirs) -> str:
    """lam, standard, robust -> a function from images to logits, more robust than a mix."""
    standard, robust, split = _two_networks()
    functions = [theirs(lam, standard, robust) for lam in LAMS_DIAL]
    logits = [_looked_at(f, split.x[:16]) for f in functions]
    if all(torch.allclose(logits[0], other, atol=1e-6) for other in logits):
        raise Wrong("λ changes nothing: all values of λ give the same answers.")
    # clean accuracy takes no attack, so it comes first
    if max(_clean_accuracy(f, split) for f in functions) < LEVELS[0]:
        raise Wrong(
            f"at no λ is its clean accuracy {LEVELS[0]:.0%}, so it cannot be compared. At λ = 0 "
            "only clean accuracy counts."
        )
    points = _measured(functions)
    reached, mixes, coins = _at_levels(points), _of_mixes(), _of_coin()
    bar = _mean(mixes) + GAIN
    measured = (
        f"At clean accuracy 98, 95 and 90 % it is robust on at most {percents(reached)} % of "
        f"{N_DIAL} images, the best plain mix on {percents(mixes)} %, the coin on "
        f"{percents(coins)} %"
    )
    if _mean(reached) < bar:
        met = f"{measured}. Its mean is {_mean(reached):.1%}, and {bar:.1%} is asked for."
        if _mean(reached) > _mean(coins) + 0.05:
            raise Wrong(
                f"{met} It beats the coin, as a mix with stretched λ does. Gain "
                f"{100 * GAIN:.0f} points over every mix: let the pixels decide who answers."
            )
        raise Wrong(f"{met} Look at the image: where is the robust network to be trusted?")
    return f"{measured} (quick suite, attacks on mixes, and faded shapes)."


@torch.no_grad()
def _clean_accuracy(f: Answer, split: Split) -> float:
    return (f(split.x).argmax(1) == split.y).double().mean().item()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _looked_at(f: Answer, x: Tensor) -> Tensor:
    """Return the logits of some images, or raise Wrong if an attack could not use the function."""
    if not callable(f):
        raise Wrong("it should return a function from images to logits: define one inside it.")
    x = x.clone().requires_grad_(True)
    logits = f(x)
    classes = 8
    if not isinstance(logits, Tensor) or logits.shape != (len(x), classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise Wrong(
            f"for {len(x)} images its function should return logits of shape "
            f"{(len(x), classes)}, not {shape}."
        )
    if not logits.isfinite().all():
        raise Wrong("some logits are not finite: add a small number before you take a logarithm.")
    if not logits.requires_grad:
        raise Wrong(
            "an attack gets no gradient from it, so robust accuracy would be overestimated: leave "
            "out no_grad, detach and argmax."
        )
    if not torch.equal(logits, f(x)):
        raise Wrong("the same images get other answers the second time: that is the coin.")
    return logits.detach()
