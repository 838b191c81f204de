"""Weight noise, and what it does to its own training: the parts and the record of lesson 08.

`NoisyConv` and `NoisyNet` are FLOAT as a learner writes it. `float_arms` trains networks with noise
that is drawn once per training step, at every forward, or not at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._bundled import bundled
from ..attacks.accuracy import correct_before_and_after
from ..attacks.pgd import PGD
from ..data.load import Data, load_data
from ..data.splits import Split
from ..evaluation.evaluate import evaluate
from ..networks.network import Network
from ..record import read_json
from ..training.loop import Training
from ..training.presets import Preset
from ..training.recipes import build
from .parts import CHANNELS, DualBN

RADIUS = 8 / 255
SEEDS = (0, 1, 2)
N, BLIND_N = 512, 256  # validation images: at the end of training, after each epoch
PRESET = Preset(epochs=5)
STEPS_OF_BLIND = 7
DRAWS = (1, 10)  # per gradient
# name -> recipe, options, changes of the preset
ARMS: dict[str, tuple[str, dict, dict]] = {
    "every forward": ("float", {"redraw": "forward"}, {}),
    "once per step": ("float", {"redraw": "step"}, {}),
    "no noise": ("blend", {}, {}),
    "dedicated": ("pgd-at", {"lam": 1.0}, {}),
    "standard": ("standard", {}, {}),
}

# The same comparison in the first version of oatlib: eight epochs, constant trust, one seed. α of
# the first layer at the end, and robust accuracy under PGD-20 with 1, 2, 4 and 10 draws.
FIRST_VERSION: dict[str, Any] = {
    "epochs": 8,
    "n": 512,
    "alpha": 0.805,
    "by_draws": [0.7561, 0.7234, 0.7057, 0.6877],
    "alpha_step": 0.0014,
    "by_draws_step": [0.7891, 0.7875, 0.7885, 0.7889],
}


def step_times() -> dict[str, dict]:
    """Return how long a training step of `oat` with PGD-7 takes, over that of another network.

    Returns:
        By name of the other network, "float" or "blend": "ratio", the median over "rounds" rounds,
        and its limits "low" and "high". Measured by bench/rows.py.
    """
    times = read_json(bundled("bench") / "rows.json")["oat_over"]["7"]
    return {name: times[name] for name in ("float", "blend")}


class NoisyConv(nn.Module):
    """A 3x3 conv whose weight gets noise: W + λ·α·σ·η, with a learned α.

    Args:
        cin: Channels of the input.
        cout: Channels of the output.
        stride: Stride of the conv.
    """

    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
        self.alpha = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: Tensor, lam: float, generator: torch.Generator) -> Tensor:
        """x (N, cin, H, W) -> (N, cout, H/stride, W/stride). Every call draws new noise."""
        weight = self.conv.weight
        if lam > 0:
            sigma = weight.detach().std()
            eta = torch.randn(weight.shape, generator=generator)
            weight = weight + lam * self.alpha * sigma * eta
        return F.conv2d(x, weight, stride=self.conv.stride, padding=1)


class NoisyNet(nn.Module):
    """Three times noisy conv -> dual BatchNorm -> ReLU, then a mean over pixels and a linear layer.

    Args:
        conv: Class of the conv, called as conv(cin, cout, stride).
        seed: Seed of the weights.
        norm: Class of the dual BatchNorm. norm(channels) is called as layer(x, branch).
        cin: Channels of an image.
        classes: Number of classes.
    """

    def __init__(
        self,
        conv: Callable[[int, int, int], nn.Module] = NoisyConv,
        seed: int = 0,
        norm: Callable[[int], nn.Module] = DualBN,
        cin: int = 3,
        classes: int = 8,
    ):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            sizes = zip((cin, *CHANNELS), CHANNELS, (1, 2, 2), strict=False)
            self.convs = nn.ModuleList(conv(*size) for size in sizes)
            self.norms = nn.ModuleList(norm(channels) for channels in CHANNELS)
            self.head = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: Tensor, lam: float, generator: torch.Generator | None = None) -> Tensor:
        """Images (N, C, H, W) in [0, 1], one λ for all -> logits (N, classes)."""
        # λ = 0 uses the clean BatchNorm
        branch = torch.full((len(x),), int(lam > 0))
        x = (x - 0.5) * 4
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x, lam, generator), branch))
        return self.head(x.mean((2, 3)))


def as_network(net: NoisyNet, data: Data) -> Network:
    """Copy a `NoisyNet` into a `Network` of oatlib, which computes the same.

    Args:
        net: The network. Its convs may be those of a learner, with `conv` and `alpha`.
        data: The data set that it was trained on.

    Returns:
        A network with the recipe `float` and the backbone `plain`, in eval mode.
    """
    copied = build("float", data, backbone="plain")
    with torch.no_grad():
        units = cast(Any, copied.body).units
        for conv, norm, unit in zip(cast(Any, net.convs), cast(Any, net.norms), units, strict=True):
            unit.conv.weight.copy_(conv.conv.weight)
            unit.noise.alpha.copy_(conv.alpha)
            pair = unit.norm.pairs[0]
            for row, single in enumerate((pair.clean, pair.adv)):
                single.weight.copy_(norm.scale[row])
                single.bias.copy_(norm.shift[row])
                single.running_mean.copy_(norm.mean[row])
                single.running_var.copy_(norm.var[row])
        cast(Any, copied.body).head.each[0].load_state_dict(net.head.state_dict())
    return copied.eval()


def dithered(
    net: Callable[[Tensor], Tensor], generator: torch.Generator, amplitude: float = 0.002
) -> Callable[[Tensor], Tensor]:
    """Return a network behind a random wave that is too small to see.

    The phase of the wave is drawn for every pixel at every call. Its mean is 0.

    Args:
        net: Function from images to logits.
        generator: Source of the phases.
        amplitude: Largest change of a pixel.
    """

    def f(x: Tensor) -> Tensor:
        phase = 6.2832 * torch.rand(x.shape, generator=generator)
        return net(x + amplitude * torch.sin(3000 * x + phase))

    return f


def float_step_of_course(
    net: NoisyNet,
    x: Tensor,
    y: Tensor,
    attack: Callable,
    generator: torch.Generator,
    one_draw: bool,
) -> Tensor:
    """Add the gradients of one batch: the first half is clean, the second half is attacked.

    Args:
        net: The network.
        x: Images (N, C, H, W).
        y: Labels (N,).
        attack: Function of (f, x, y) that returns attacked images.
        generator: Source of the noise.
        one_draw: Whether the attack and the update meet the same noise.

    Returns:
        The loss, detached.
    """
    half = len(x) // 2
    state = generator.get_state()

    def noisy(images: Tensor) -> Tensor:
        if one_draw:
            generator.set_state(state)
        return net(images, 1.0, generator)

    net.eval()
    x_adv = attack(noisy, x[half:], y[half:])
    net.train()
    clean = net(x[:half], 0.0, generator)
    attacked = noisy(x_adv)
    loss = F.cross_entropy(torch.cat([clean, attacked]), y)
    loss.backward()
    return loss.detach()


def rule_of_course(name: str, lam: float) -> tuple[int, float]:
    """Return the BatchNorm branch and the level of noise at λ, as in FLOAT's public code.

    Args:
        name: "A" or "B".
        lam: λ in [0, 1].
    """
    if name == "A":
        return int(lam >= 0.1), lam
    if lam < 0.6:
        return 0, 2 * lam
    return 1, 2 * (lam - 0.5)


def by_rule(net: Network, branch: int, level: float, generator: torch.Generator) -> nn.Module:
    """Return a FLOAT network with a given BatchNorm branch and level of noise.

    Args:
        net: A network with weight noise.
        branch: 0: the BatchNorm of λ = 0. 1: that of λ = 1.
        level: Level of the noise.
        generator: Source of the noise, which is drawn at every forward.
    """
    levels = (level, 0.0) if branch == 0 else (0.0, level)
    position = replace(net.position(float(branch)), noise_levels=levels)
    return net.fold(position, generator, resample=level > 0)


def blindness(net: Network, panel: Split, seed: int) -> tuple[float, float]:
    """Return the accuracy at λ = 1 under a blind attack, and under one that averages.

    Both are PGD with seven steps. The first computes each gradient from one draw of the noise, as
    training with new noise at every forward does. The second averages ten draws.
    """
    found = []
    for draws in (1, 10):
        f = net.noisy(1.0, generator=torch.Generator().manual_seed(seed))
        x_adv = PGD(RADIUS, STEPS_OF_BLIND, eot_samples=draws)(
            f, panel.x, panel.y, torch.Generator().manual_seed(seed)
        )
        right = [correct_before_and_after(f, panel.x, x_adv, panel.y)[1] for _ in range(5)]
        found.append(torch.stack([r.double() for r in right]).mean().item())
    return found[0], found[1]


def float_arm(name: str, seed: int, data: Data) -> dict:
    """Train one arm and measure it.

    Args:
        name: A key of `ARMS`.
        seed: Seed of weights, batches, noise and attacks.
        data: The data set.

    Returns:
        What `measured` returns; if there is noise, also α of every layer and the blindness, after
        each epoch.
    """
    recipe, options, changes = ARMS[name]
    net = build(recipe, data, seed=seed, **options)
    few = data.val.panel(BLIND_N)
    run = Training(net, data, replace(PRESET, **changes), seed)
    blind = []
    for done, _ in enumerate(run, 1):
        if net.spec.noise and done % run.steps_per_epoch == 0:
            blind.append([round(value, 4) for value in blindness(net, few, seed)])
    found = measured(net, seed, data)
    if net.spec.noise:
        rows = run.history.rows
        found["alpha"] = [[0.25] * len(rows[0]["alpha"]), *(row["alpha"] for row in rows)]
        found["blind"] = blind
    return found


def measured(net: Network, seed: int, data: Data) -> dict:
    """Measure a trained network at its robust end, on validation images.

    Returns:
        clean and robust accuracy by the quick suite, and the standard deviation of the latter over
        draws of the noise; if there is noise, robust accuracy under PGD-20 by draws per gradient.
    """
    panel = data.val.panel(N)
    lam = [1.0] if len(net.spec.stops) > 1 else None
    (result,) = evaluate(net, panel, None, lam, seed=seed, progress=False)
    found = {
        "clean": round(result.clean, 4),
        "robust": round(result.robust, 4),
        "spread": round(result.robust_spread, 4),
    }
    if net.spec.noise:
        attacks = [PGD(RADIUS, 20, eot_samples=draws) for draws in DRAWS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one draw is weak: that is what is measured
            tables = [evaluate(net, panel, a, lam, seed=seed, progress=False) for a in attacks]
        found["by_draws"] = [round(table[0].robust, 4) for table in tables]
    return found


def float_arms() -> dict:
    """Train and measure all arms with three seeds. It takes about half an hour."""
    data = load_data("shapes", seed=0)
    arms = {name: [float_arm(name, seed, data) for seed in SEEDS] for name in ARMS}
    return {"arms": arms} | about()


def about() -> dict:
    """Return how the networks of the record were trained and measured."""
    return {
        "data": "shapes",
        "split": "val",
        "n": N,
        "seeds": list(SEEDS),
        "preset": f"fast, {PRESET.epochs} epochs",
        "attack": "quick suite with EOT over 10 draws where weights are noisy",
        "draws": list(DRAWS),
    }


# name -> draws per gradient of the attack of training, whether a step has one draw of the noise
CONTROL_ARMS = {
    "new draws, 1 per gradient": (1, False),
    "new draws, 4 per gradient": (4, False),
    "new draws, 10 per gradient": (10, False),
    "one draw per step": (1, True),
}
CONTROL_STEPS, CONTROL_EVERY = 64, 8


def alpha_of_course(draws: int, one_draw: bool, seed: int, data: Data) -> list[float]:
    """Train a small network as lesson 08 does, and return |α| of its first layer.

    Args:
        draws: Draws of the noise per gradient of the attack of training.
        one_draw: Whether all passes of a step meet the same noise.
        seed: Seed of weights, batches, noise and attacks.
        data: The data set.

    Returns:
        |α| at the start, then after every `CONTROL_EVERY` steps.
    """
    net = NoisyNet(seed=seed)
    noise = torch.Generator().manual_seed(seed)
    starts = torch.Generator().manual_seed(seed + 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.3, 0.9, weight_decay=5e-4, nesterov=True)
    first = cast(Any, net.convs[0])
    course = [0.25]
    for step in range(CONTROL_STEPS):
        index = torch.randint(len(data.train), (128,), generator=starts)
        pgd = PGD(RADIUS * min(1, step / 60), 3, best=False, eot_samples=draws)

        def attack(f, images, labels, pgd=pgd):
            return pgd(f, images, labels, starts)

        optimizer.zero_grad()
        float_step_of_course(net, data.train.x[index], data.train.y[index], attack, noise, one_draw)
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        if (step + 1) % CONTROL_EVERY == 0:
            course.append(round(abs(first.alpha.item()), 2))
    return course


def float_control() -> dict:
    """Let the attack of training average its gradients: does α still grow? About three minutes."""
    data = load_data("shapes", seed=0)
    arms = {
        name: [alpha_of_course(*options, seed, data) for seed in SEEDS]
        for name, options in CONTROL_ARMS.items()
    }
    return {"arms": arms, "seeds": list(SEEDS), "steps": CONTROL_STEPS, "every": CONTROL_EVERY}
