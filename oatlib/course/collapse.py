"""Trainings that differ only in their attack: which of them end in catastrophic overfitting?

These are the records of lesson 02b. `on_points` trains in the two-pixel world, `on_images` on two
classes of the built-in images. There every arm trains on half clean and half attacked images.
`two_steps` trains `oats` as its first version was trained, and with the attack of today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .._bundled import bundled
from ..attacks.accuracy import robust_accuracy
from ..attacks.base import Attack
from ..attacks.pgd import FGSM, FGSMRS, NFGSM, PGD
from ..attacks.suite import Suite
from ..data.load import Data, batches, data_of, load_data
from ..data.splits import Split
from ..networks.network import load
from ..training.loop import train
from ..training.monitor import DROP
from ..training.presets import Preset
from ..training.recipes import build
from .two_pixels import accuracy, begun, small_net, two_cues

MU = 0.5  # weight of the penalty of GradAlign
EPOCHS, RAMP = 24, 8  # on images; ε grows over the first epochs
IMAGES = 256


class Arm:
    """One way to train.

    Args:
        kind: Makes the attack of training for a radius.
        cost: Gradients per image and round: those of the attack, of the weights, of the penalty.
        mu: Weight of 1 - alignment in the loss (GradAlign).
        part: Fraction of the rounds that are trained, on points.
        alarm: Whether training stops at a fall of robust accuracy, on points.
    """

    def __init__(
        self,
        kind: Callable[[float], Attack],
        cost: int,
        mu: float = 0.0,
        part: float = 1.0,
        alarm: bool = False,
    ):
        self.kind, self.cost, self.mu, self.part, self.alarm = kind, cost, mu, part, alarm

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, radius: float, source: Generator):
        """Return the loss of one batch."""
        x_adv = self.kind(radius)(net, x, y, source)
        loss = (F.cross_entropy(net(x), y) + F.cross_entropy(net(x_adv), y)) / 2
        if self.mu > 0:
            loss = loss + self.mu * (1 - alignment(net, x, y, radius, source)).mean()
        return loss


def _steps(count: int, share: float | None = None) -> Callable[[float], Attack]:
    """Return a function that makes PGD attacks; each step has the length share * radius."""

    def kind(radius: float) -> Attack:
        return PGD(radius, count, None if share is None else share * radius, best=False)

    return kind


FOR_WEIGHTS = 2  # gradients per image and round: on the clean and on the attacked image
ONE, TWO, THREE, SEVEN = (FOR_WEIGHTS + steps for steps in (1, 2, 3, 7))
POINT_ARMS = {
    "FGSM": Arm(FGSM, ONE),
    "FGSM, stopped by the alarm": Arm(FGSM, ONE, alarm=True),
    "FGSM, random start": Arm(FGSMRS, ONE),
    "N-FGSM": Arm(NFGSM, ONE),
    "PGD-2": Arm(_steps(2), TWO),
    "two half steps": Arm(_steps(2, 0.5), TWO),
    "FGSM + GradAlign": Arm(FGSM, ONE + 2, MU),
    "PGD-7 at equal cost": Arm(_steps(7), SEVEN, part=ONE / SEVEN),
    "PGD-7": Arm(_steps(7), SEVEN),
}
IMAGE_ARMS = {
    "FGSM": Arm(FGSM, ONE),
    "FGSM, random start": Arm(FGSMRS, ONE),
    "N-FGSM": Arm(NFGSM, ONE),
    "FGSM + GradAlign": Arm(FGSM, ONE + 2, MU),
    "two half steps": Arm(_steps(2, 0.5), TWO),
    "PGD-3": Arm(_steps(3), THREE),
}
LOOK, EVERY = 20, 20  # steps of PGD of the alarm, and rounds between two measurements
AT_SMALL_EPS = ("FGSM", "FGSM, random start", "PGD-3")


def alignment(net: nn.Module, x: Tensor, y: Tensor, radius: float, source: Generator) -> Tensor:
    """Return the cosine of the gradients at x and at a random point of the ball, (N,)."""
    noise = radius * (2 * torch.rand(x.shape, generator=source) - 1)
    gradients = []
    for images in (x, x + noise):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        gradients.append(gradient.flatten(1))
    return F.cosine_similarity(gradients[0], gradients[1], dim=1)


def under_suite(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> float:
    """Return robust accuracy under the quick suite, in [0, 1]."""
    suite = Suite(radius, budget="quick")
    return robust_accuracy(net, x, y, suite, torch.Generator().manual_seed(1))


def measured(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> list[float]:
    """Return accuracies: clean, under FGSM, under PGD-20, under the quick suite."""
    row = []
    for attack in (PGD(0.0, 0), FGSM(radius), PGD(radius, 20)):
        x_adv = attack(net, x, y, torch.Generator().manual_seed(1))
        row.append(round(accuracy(net, x_adv, y), 4))
    return [*row, round(under_suite(net, x, y, radius), 4)]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def on_points(seeds: int = 5, rounds: int = 400, radii: Iterable[float] = (0.1, 0.06)) -> dict:
    """Train all arms in the two-pixel world, and measure them at the end.

    Args:
        seeds: Number of seeds, from 0 on.
        rounds: Gradient steps.
        radii: Values of ε.

    Returns:
        Under "rows", by ε and by name of the arm, the accuracies of `measured` for every seed.
        Under "gradients", the gradients per point that it took. Under "loud", by ε, the accuracy
        of `loud_rule` for every seed.
    """
    rows: dict[str, dict] = {}
    gradients: dict[str, dict] = {}
    for radius in radii:
        for name, arm in POINT_ARMS.items():
            runs = [_trained_on_points(arm, radius, seed, rounds) for seed in range(seeds)]
            rows.setdefault(f"{radius:g}", {})[name] = [row for row, _ in runs]
            gradients.setdefault(f"{radius:g}", {})[name] = [cost for _, cost in runs]
    loud = {
        f"{radius:g}": [round(loud_rule(seed, radius), 4) for seed in range(seeds)]
        for radius in radii
    }
    about = {"n": len(two_cues(0)[1]), "seeds": seeds, "rounds": rounds}
    return about | {"rows": rows, "gradients": gradients, "loud": loud}


def loud_rule(seed: int, radius: float) -> float:
    """Return the exact robust accuracy of a rule that reads only the loud pixel, in [0, 1].

    The rule answers class 1 if the loud pixel is above 0.5. An attack changes its answer if the
    pixel is at most `radius` away from 0.5.
    """
    x, y, _ = two_cues(seed)
    side = (x[:, 0] - 0.5) * (2 * y - 1)
    return (side > radius).float().mean().item()


def _trained_on_points(arm: Arm, radius: float, seed: int, rounds: int) -> tuple[list[float], int]:
    """Return the accuracies of `measured`, and how many gradients per point the training took."""
    x, y, _ = two_cues(seed)
    net, optimizer = begun(seed)
    source = torch.Generator().manual_seed(seed)

    def one_round() -> None:
        _step(optimizer, arm.loss(net, x, y, radius, source))

    def robust(net: nn.Module) -> float:
        attack = PGD(radius, LOOK, radius / 8)
        return accuracy(net, attack(net, x, y, torch.Generator().manual_seed(seed)), y)

    done = int(arm.part * rounds)
    cost = done * arm.cost
    if arm.alarm:
        done = train_watched(net, one_round, robust, rounds, EVERY, drop=0.1) or rounds
        cost = done * arm.cost + done // EVERY * LOOK
    else:
        for _ in range(done):
            one_round()
    return measured(net, x, y, radius), cost


def train_watched(
    net: nn.Module,
    one_round: Callable[[], None],
    robust: Callable[[nn.Module], float],
    rounds: int,
    every: int,
    drop: float = DROP,
) -> int | None:
    """Train until robust accuracy falls, and then restore the weights of the measurement before.

    Args:
        net: The network.
        one_round: Trains it for a round.
        robust: Measures its robust accuracy, in [0, 1].
        rounds: Largest number of rounds.
        every: Number of rounds between two measurements.
        drop: A fall by more than this below the best measurement is an alarm.

    Returns:
        Number of rounds done at the alarm, or None without an alarm.
    """
    best, good = 0.0, {key: value.clone() for key, value in net.state_dict().items()}
    for done in range(1, rounds + 1):
        one_round()
        if done % every != 0:
            continue
        now = robust(net)
        if now < best - drop:
            net.load_state_dict(good)
            return done
        best = max(best, now)
        good = {key: value.clone() for key, value in net.state_dict().items()}
    return None


def on_images(seeds: int = 3) -> dict:
    """Train all arms at ε = 12/255 on images, and some at 6/255. Measure every second epoch.

    Args:
        seeds: Number of seeds of weights and batches, from 0 on.

    Returns:
        Under "curves", by ε, by name of the arm and by seed, rows: the accuracies of `measured`,
        and the mean alignment.
    """
    data = load_data("shapes", seed=0, classes=2, n_train=2048)
    panel = data.val.panel(IMAGES)
    curves: dict[str, dict] = {}
    for eps, names in ((12, tuple(IMAGE_ARMS)), (6, AT_SMALL_EPS)):
        arms = curves.setdefault(f"{eps}/255", {})
        for name in names:
            arms[name] = [
                _trained_on_images(IMAGE_ARMS[name], eps / 255, seed, data, panel)
                for seed in range(seeds)
            ]
    epochs = list(range(2, EPOCHS + 1, 2))
    return {"n": len(panel), "seeds": seeds, "epochs": epochs, "curves": curves}


def _trained_on_images(arm: Arm, radius: float, seed: int, data: Data, panel: Split) -> list:
    net, rows = small_net(seed, (768, 256, 256, 2), 4, nn.ReLU), []
    optimizer = torch.optim.Adam(net.parameters(), 0.001)
    for epoch in range(EPOCHS):
        source = torch.Generator().manual_seed(1000 * seed + epoch)
        now = radius * min(1.0, (epoch + 1) / RAMP)
        for index in batches(len(data.train), 64, source, drop_last=True):
            loss = arm.loss(net, data.train.x[index], data.train.y[index], now, source)
            _step(optimizer, loss)
        if epoch % 2 == 1:
            cosine = alignment(net, panel.x, panel.y, radius, torch.Generator().manual_seed(1))
            row = measured(net, panel.x, panel.y, radius)
            rows.append([*row, round(cosine.mean().item(), 4)])
    return rows


# The exhibit of lesson 02b: `oats`, trained against two steps in a larger ball, never towards a
# chosen class. Its training again, with its own attack and with that of today.
TWO_STEP_LAMBDA = 0.1  # of all measurements
EXHIBIT = Preset(
    epochs=8,
    batch=64,
    lr=0.4,
    margin=1.25,
    steps=2,
    step_size=7.5 / 255,
    aimed=0.0,
    at_last_stop=0.0,
)
TODAY = Preset()
TWO_STEP_ARMS = {
    "two steps, as the exhibit": EXHIBIT,
    "today's attack, three steps": replace(
        EXHIBIT,
        margin=TODAY.margin,
        steps=TODAY.steps,
        step_size=TODAY.step_size,
        aimed=TODAY.aimed,
    ),
}


def two_steps(seeds: int = 1) -> dict:
    """Train `oats` as the exhibit was trained, with its attack and with the attack of today.

    Args:
        seeds: Number of seeds of weights and training, from 0 on.

    Returns:
        Under "rows", by name of the arm, the results of `one_of_two_steps` for every seed.
    """
    rows = {name: [one_of_two_steps(name, seed) for seed in range(seeds)] for name in TWO_STEP_ARMS}
    columns = ["clean", "PGD-2", "PGD-20", "quick suite"]
    about = {"n": IMAGES, "eps": "8/255", "lam": TWO_STEP_LAMBDA, "seeds": seeds}
    return about | {"columns": columns, "rows": rows}


def one_of_two_steps(arm: str, seed: int) -> list[float]:
    """Train one network. Return its accuracy: clean, under PGD-2, PGD-20 and the suite."""
    exhibit = load(bundled("course") / "oats_two_steps.safetensors")
    data = data_of(exhibit.spec.data)
    net = build("oats", data, seed=seed)
    train(net, data, TWO_STEP_ARMS[arm], seed, progress=False)
    panel, radius = data.val.panel(IMAGES), 8 / 255
    tests = (PGD(0.0, 0), PGD(radius, 2, best=False), PGD(radius, 20))
    f, row = net.at(TWO_STEP_LAMBDA), []
    for test in tests:
        x_adv = test(f, panel.x, panel.y, torch.Generator().manual_seed(1))
        row.append(round(accuracy(f, x_adv, panel.y), 4))
    return [*row, round(under_suite(f, panel.x, panel.y, radius), 4)]
