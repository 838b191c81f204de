"""Training and measurements of lesson 05: dials, dedicated networks, dials without a part.

`live_dials`, `same_trust_dials`, `oat_rivals`, `hard_mixes` and `oat_arms` return
what their records in `data/course` hold. Most take minutes. A point of a dial also holds
which images were classified correctly, so that intervals can be computed by drawing the images
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._bundled import bundled
from .._random import global_seed
from ..attacks.accuracy import correct_at_every_point
from ..attacks.freeze import frozen
from ..attacks.pgd import PGD
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from ..data.shapes import ShapesOptions
from ..data.splits import Split
from ..evaluation.baselines import coin, robust_at
from ..evaluation.results import wilson
from ..explorer.shipped import FOLDER
from ..networks.mixing import mix
from ..networks.network import Network, load
from ..record import read_json
from ..training.labels import Labels
from ..training.loop import train
from ..training.losses import hybrid
from ..training.presets import Preset
from ..training.recipes import OAT_STOPS, build, more_at_last_stop, sample_stops
from .live import LiveCurve
from .parts import Block, DialNet, DualBN, FiLM, as_network, pgd
from .rules import faded_images

Answer = Callable[[Tensor], Tensor]  # from images to logits
Pairs = list[tuple[float, float]]  # (clean, robust) of every setting of a dial
N = 512  # validation images
KEYS = ("clean", "robust")
AIMS = (0.0, 0.55, 0.7, 1.0)  # weights of the robust network in the mixes that are attacked
# And in the plain mixes that a choice must beat: closer where a mix turns robust
SHARES = (0.0, 0.52, 0.54, 0.56, 0.58, 0.6, 0.64, 0.68, 0.72, 0.76, 0.8, 1.0)
ATTACK = Suite(budget="quick")
RADIUS = 8 / 255  # of the attack in training
EPOCHS, SEEDS = 5, (0, 1, 2)  # of `oat_arms`
LIVE_EPOCHS, LIVE_SEEDS = 6, (0, 1, 2, 3, 4)  # of `live_dials`
BATCH = 128
ARMS: dict[str, dict[str, Any]] = {
    "all of OAT": {},
    "λ = 0 and λ = 1 only": {"at_last_stop": 1.0},
    "no FiLM": {"film": False},
    "one BatchNorm": {"dual": False},
    "neither": {"film": False, "dual": False},
}


def dial_points(
    net: Network, data: Data, lams: Sequence[float] | None = None, n: int = N, seed: int = 0
) -> list[dict]:
    """Measure a network along its dial by the quick suite, on validation images.

    Args:
        net: The network.
        data: The data set.
        lams: Values of λ. None: the stops of the network.
        n: Number of images.
        seed: Seed of the attack.

    Returns:
        One dict for each λ: lam, n, clean and robust accuracy with their 95 % intervals, and the
        images that were classified correctly (see `to_hex`).
    """
    panel = data.val.panel(min(n, len(data.val)))
    chosen = net.spec.stops if lams is None else lams
    return [_point(lam, net.at(lam), panel, seed) for lam in chosen]


def _point(
    lam: float | None, f: Answer, split: Split, seed: int, borrowed: Sequence[Tensor] = ()
) -> dict:
    """Measure one setting."""
    generator = torch.Generator().manual_seed(seed)
    clean, robust = correct_at_every_point(f, split.x, split.y, ATTACK, generator)
    with torch.no_grad():
        for x_adv in borrowed:
            robust &= f(x_adv).argmax(1) == split.y
    n = len(split)
    point: dict[str, Any] = {"lam": lam, "n": n}
    for key, mask in zip(KEYS, (clean, robust), strict=True):
        low, high = wilson(int(mask.sum()), n)
        point |= {key: mask.double().mean().item(), f"{key}_low": low, f"{key}_high": high}
        point[f"{key}_images"] = to_hex(mask)
    return point


def to_hex(mask: Tensor) -> str:
    """Write a mask (N,) as hexadecimal digits, four images in each.

    Example:
        >>> to_hex(torch.tensor([True, False, False, True, True]))
        '98'
    """
    bits = "".join("1" if value else "0" for value in mask.tolist())
    digits = -(-len(bits) // 4)
    return f"{int(bits.ljust(4 * digits, '0'), 2):0{digits}x}"


def from_hex(text: str, n: int) -> Tensor:
    """Read a mask (N,) that `to_hex` wrote.

    Args:
        text: Hexadecimal digits.
        n: Number of images N.
    """
    bits = f"{int(text, 16):0{4 * len(text)}b}"[:n]
    return torch.tensor([bit == "1" for bit in bits])


def pairs_of(points: Sequence[dict]) -> Pairs:
    """Return (clean, robust) of every point of a dial."""
    return [(point["clean"], point["robust"]) for point in points]


def bootstrap(
    measure: Callable[..., Sequence[float | None]],
    *dials: Sequence[dict],
    times: int = 400,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Return 95 % intervals of numbers that are computed from measured dials.

    The images are drawn again with replacement (bootstrap). All settings of all dials are measured
    on the same drawn images, so a difference of two dials gets the interval of a paired comparison.
    The intervals do not say how much another training would change.

    Args:
        measure: Function from the (clean, robust) pairs of each dial to numbers. None, "never so
            accurate", counts as 0.
        *dials: Points of `dial_points`, all on the same images.
        times: How often the images are drawn.
        seed: Seed of these draws.

    Returns:
        (low, high) for each number.
    """
    n = dials[0][0]["n"]
    masks = [
        torch.stack([from_hex(point[f"{key}_images"], n) for point in dial for key in KEYS])
        for dial in dials
    ]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(n, (times, n), generator=generator)
    # how often each image was drawn, (times, n)
    counts = torch.zeros(times, n).scatter_add_(1, chosen, torch.ones(times, n))
    # accuracies of every setting in every draw, (times, settings, 2)
    drawn = [(counts @ mask.float().T / n).reshape(times, -1, 2).tolist() for mask in masks]
    values = []
    for settings in zip(*drawn, strict=True):
        pairs = [[tuple(pair) for pair in dial] for dial in settings]
        values.append([value or 0.0 for value in measure(*pairs)])
    limits = torch.tensor(values).quantile(torch.tensor([0.025, 0.975]), 0)  # (2, numbers)
    return [tuple(column) for column in limits.T.tolist()]


def above_coin(
    points: Sequence[tuple[float, float]],
    levels: Sequence[float],
    coin: Callable = coin,
    robust_at: Callable = robust_at,
) -> list[float | None]:
    """Return by how many points a dial is above the coin between its first and its last setting.

    Args:
        points: (clean, robust) along the dial, accuracies in [0, 1].
        levels: Clean accuracies at which they are compared.
        coin: As `oatlib.coin`.
        robust_at: As `oatlib.evaluation.baselines.robust_at`.

    Returns:
        One number for each level. None where the dial or the coin is never so accurate.
    """
    gains: list[float | None] = []
    for level in levels:
        dial = robust_at(points, level)
        tossed = coin(points[0], points[-1], level)
        if dial is None or tossed is None:
            gains.append(None)
        else:
            gains.append(100 * (dial - tossed))
    return gains


def choose_by_image(lam: float, standard: Answer, robust: Answer) -> Answer:
    """Return a function that lets the robust network answer where the shape is vivid.

    Args:
        lam: λ in [0, 1]. The larger it is, the fainter the shapes that the robust network gets.
        standard: The accurate network, from images to logits.
        robust: The robust network.

    Returns:
        A function from images (N, C, H, W) to logits (N, classes).
    """

    def answer(x: Tensor) -> Tensor:
        smooth = F.avg_pool2d(x, 2, 1)
        vividness = (smooth - 0.5).abs().mean(1).flatten(1).amax(1)
        vivid = torch.sigmoid(100 * (vividness - (0.29 - 0.1 * lam)))[:, None]
        mixed = (1 - vivid) * standard(x).softmax(1) + vivid * robust(x).softmax(1)
        return (mixed + 1e-9).log()

    return answer


def plain_mix(share: float, standard: Answer, robust: Answer) -> Answer:
    """Return a function that adds the probabilities of both networks, with the same weights for
    every image.

    Args:
        share: Weight of the robust network, in [0, 1].
        standard: The accurate network, from images to logits.
        robust: The robust network.
    """

    def answer(x: Tensor) -> Tensor:
        mixed = (1 - share) * standard(x).softmax(1) + share * robust(x).softmax(1)
        return (mixed + 1e-9).log()

    return answer


def borrowed_images(standard: Answer, robust: Answer, split: Split) -> list[Tensor]:
    """Return attacked images that were made for the two networks, for mixes, and with faint shapes.

    They also fool functions of the two networks whose own gradients tell an attack little, such as
    a steep switch.

    Args:
        standard: The accurate network, from images to logits.
        robust: The robust network.
        split: Images and labels.
    """
    made = faded_images(standard, split.x, split.y, RADIUS)
    for share in AIMS:
        generator = torch.Generator().manual_seed(0)
        made.append(ATTACK(plain_mix(share, standard, robust), split.x, split.y, generator))
    return made


def function_points(
    functions: Sequence[Answer], split: Split, borrowed: Sequence[Tensor] = ()
) -> list[dict]:
    """Measure functions from images to logits, as `dial_points` measures the settings of a network.

    Args:
        functions: The functions, by growing λ.
        split: Images and labels.
        borrowed: Attacked images on which they have to be right, too.
    """
    return [_point(None, f, split, 0, borrowed) for f in functions]


def hard_mixes(n: int = 128) -> dict:
    """Measure plain mixes of the ready networks, with the borrowed images of `borrowed_images`.

    Args:
        n: Number of validation images.
    """
    standard = load(FOLDER / "standard.safetensors").at(0.0)
    robust = load(FOLDER / "pgd-at.safetensors").at(1.0)
    split = load_data("shapes", seed=0).val.panel(n)
    functions = [plain_mix(share, standard, robust) for share in SHARES]
    points = function_points(functions, split, borrowed_images(standard, robust, split))
    points = [point | {"lam": share} for point, share in zip(points, SHARES, strict=True)]
    return {"points": points} | _about("fast") | {"n": n}


class LiveEnds(LiveCurve):
    """A live curve of a network in training: clean at λ = 0, and attacked at λ = 1.

    The attack is PGD with five steps, so the curves of attacked images are upper bounds.

    Args:
        net: The network. net.stops holds its λ stops.
        data: The data set.
        total: Number of training steps.
        eps: Radius of the attack.
        settings: Functions of (images, stop) to watch, by name, such as one for each width of
            `net`. None: the network itself, without a name.
    """

    LOOKS, N = 12, 128  # how often it measures, and on how many validation images

    def __init__(
        self,
        net: nn.Module,
        data: Data,
        total: int,
        eps: float,
        settings: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
    ):
        self.net, self.total, self.attack = net, total, PGD(eps, 5)
        self.split = data.val.panel(min(self.N, len(data.val)))
        self.settings = {"": net} if settings is None else dict(settings)
        self.names = {}
        for setting in self.settings:
            end = f", {setting}" if setting else ""
            self.names[setting] = (f"clean, λ = 0{end}", f"PGD-5, λ = 1{end} (an upper bound)")
        super().__init__(
            [name for pair in self.names.values() for name in pair],
            "training step",
            f"accuracy on {len(self.split)} validation images, %",
            x_range=(0, 1.03 * total),
            y_range=(0, 102),
            takeaway="The clean end is learned first; robustness at the other end grows later.",
        )

    def step(self, taken: int, loss: float) -> None:
        """Measure and draw, after some of the steps only.

        Args:
            taken: Number of steps that were taken.
            loss: Loss of the last step.
        """
        if taken % max(1, self.total // self.LOOKS) and taken < self.total:
            return
        values: dict[str, float] = {}
        # eval mode, and the mode before that afterwards, also after an error
        with frozen(self.net):
            for setting, answer in self.settings.items():
                values |= dict(zip(self.names[setting], self._measure(answer), strict=True))
        self.add(taken, values, f"step {taken} of {self.total}, loss {loss:.2f}")

    def _measure(self, answer: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
        """Return clean accuracy at λ = 0 and accuracy under attack at λ = 1, in percent."""
        x, y = self.split.x, self.split.y
        stops = cast(Sequence[float], self.net.stops)
        first, last = (torch.full((len(y),), stop) for stop in (0, len(stops) - 1))
        generator = torch.Generator().manual_seed(0)
        x_adv = self.attack(lambda images: answer(images, last), x, y, generator)
        with torch.no_grad():
            logits = (answer(x, first), answer(x_adv, last))
        return [100 * (each.argmax(1) == y).double().mean().item() for each in logits]


def costs(data: Data, own_parameters: int, own_epochs: int) -> dict[str, tuple[int, float]]:
    """Return parameters and training work of the networks that lesson 05 compares.

    The unit of work is one forward and backward pass of all training images. Attacked images are
    counted once for every step of the attack, and once for learning.

    Args:
        data: The data set, for the sizes of the first and the last layer.
        own_parameters: Number of parameters of the learner's network.
        own_epochs: Epochs of its training: one step of PGD in the first 40 %, then three.

    Returns:
        (parameters, work) by name.
    """
    epochs, steps = Preset().epochs, Preset().steps
    above_zero = 1 - 1 / len(OAT_STOPS)  # share of the images that are attacked
    sizes = {
        name: sum(p.numel() for p in build(name, data).parameters())
        for name in ("standard", "pgd-at", "blend", "oat")
    }
    work = {
        "standard": float(epochs),
        "pgd-at": float(epochs * (1 + steps + 1)),
        "blend": epochs * (1 + steps + 1) / 2,  # one half is clean, the other half attacked
        "oat": epochs * (1 + above_zero * (steps + 1)),
    }
    found = {name: (sizes[name], work[name]) for name in sizes}
    found["coin between standard and pgd-at"] = (
        sizes["standard"] + sizes["pgd-at"],
        work["standard"] + work["pgd-at"],
    )
    found["mix"] = found["coin between standard and pgd-at"]
    found["coin between two dedicated"] = (2 * sizes["pgd-at"], 2 * work["pgd-at"])
    found["six dedicated"] = (
        sizes["standard"] + 5 * sizes["pgd-at"],
        work["standard"] + 5 * work["pgd-at"],
    )
    own_work = own_epochs * (1 + above_zero * (0.4 * 1 + 0.6 * 3 + 1))
    found["your dial"] = (own_parameters, own_work)
    found["coin between its own ends"] = (own_parameters, own_work)
    return found


def best_coin(points: Sequence[tuple[float, float]], clean: float) -> float | None:
    """Return the robust accuracy of the best coin between any two of some points.

    Args:
        points: (clean, robust) of networks, or of settings of one dial.
        clean: The clean accuracy to keep.

    Returns:
        The largest robust accuracy, or None if no point is so accurate.
    """
    found = [coin(first, second, clean) for first, second in combinations(points, 2)]
    return max((robust for robust in found if robust is not None), default=None)


def oat_step(
    net: DialNet,
    x: Tensor,
    y: Tensor,
    stop: Tensor,
    n_clean: int,
    attack: Callable,
    loss: Callable,
) -> Tensor:
    """Add the gradients of one batch of OAT to the parameters, and return the loss.

    Args:
        net: The network.
        x: Images (N, C, H, W).
        y: Labels (N,).
        stop: The stop of each image (N,), the first `n_clean` of them 0.
        n_clean: Number of images that are not attacked.
        attack: attack(f, x, y) returns attacked images; f maps images to logits.
        loss: loss(clean, attacked, y, lam, n_clean) returns one number.
    """
    lam = torch.tensor(net.stops)[stop]
    rest = stop[n_clean:]
    # attack the images with λ > 0, each at its own λ
    net.eval()
    x_adv = attack(lambda images: net(images, rest), x[n_clean:], y[n_clean:])
    # send both kinds through, and let BatchNorm learn
    net.train()
    clean = net(x, stop)
    attacked = net(x_adv, rest)
    value = loss(clean, attacked, y, lam, n_clean)
    value.backward()
    return value.detach()


def hybrid_loss(clean: Tensor, attacked: Tensor, y: Tensor, lam: Tensor, n_clean: int) -> Tensor:
    """Return the mean over all images of (1-λ)·CE(clean) + λ·CE(attacked)."""
    return hybrid(clean, attacked, Labels(y, lam, n_clean))


def live_dial(data: Data, epochs: int = LIVE_EPOCHS, seed: int = 0) -> DialNet:
    """Train a dial exactly as lesson 05 does, with the library's parts.

    Args:
        data: The data set.
        epochs: Epochs of training.
        seed: Seed of weights, draws of λ and attacks.
    """
    with global_seed(seed):
        codes = torch.Generator().manual_seed(seed)
        sizes = {"cin": data.shape[0], "classes": len(data.classes)}
        net = DialNet(Block, generator=codes, norm=DualBN, film=FiLM, **sizes)
    total = epochs * (len(data.train) // BATCH)
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        while True:
            for index in torch.randperm(len(data.train), generator=generator).split(BATCH):
                stop, n_clean = sample_stops(net.stops, len(index), generator)
                stop = more_at_last_stop(stop, n_clean, net.stops, 0.3, generator)
                yield data.train.x[index], data.train.y[index], stop, n_clean

    optimizer = torch.optim.SGD(net.parameters(), 0.5, 0.9, weight_decay=1e-3, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, total, pct_start=0.5, div_factor=10, cycle_momentum=False
    )
    for taken, batch in zip(range(1, total + 1), batches(), strict=False):
        done = taken / total
        eps = RADIUS * min(1, done / 0.2)
        steps, step_size = (1, 1.25 * eps) if done < 0.4 else (3, 0.83 * eps)
        attack = partial(pgd, eps=eps, steps=steps, step_size=step_size, generator=generator)

        optimizer.zero_grad()
        oat_step(net, *batch, attack, hybrid_loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        rate.step()
    return net


def live_run(seed: int) -> list[dict]:
    """Train the dial of lesson 05 with one seed, and measure it."""
    data = load_data("shapes", seed=0)
    return dial_points(as_network(live_dial(data, seed=seed), data), data, seed=seed)


def live_dials() -> dict:
    """Train the dial of lesson 05 with several seeds."""
    runs = [live_run(seed) for seed in LIVE_SEEDS]
    about = _about(f"that of the lesson, {LIVE_EPOCHS} epochs") | {"seeds": list(LIVE_SEEDS)}
    return {"runs": runs} | about


SAME_TRUST_SEEDS = (0, 1, 2)  # of `same_trust_dials`


def same_trust_run(seed: int, trust: float) -> list[dict]:
    """Train the dial of lesson 05 where every shape has the same trust, and measure it."""
    data = load_data("shapes", seed=0, trust=trust, full_trust=None)
    return dial_points(as_network(live_dial(data, seed=seed), data), data, seed=seed)


def same_trust_dials() -> dict:
    """Train the dial of lesson 05 with several seeds where every shape has the same trust.

    The trust is the mean of the built-in images. Nothing else differs from `live_dials`.
    """
    options = ShapesOptions()
    even = torch.linspace(0, 1, 20_001)
    trust = round(options.trust_of(even).mean().item(), 3)
    runs = [same_trust_run(seed, trust) for seed in SAME_TRUST_SEEDS]
    about = _about(f"that of lesson 05, {LIVE_EPOCHS} epochs") | {"seeds": list(SAME_TRUST_SEEDS)}
    return {"runs": runs, "trust": trust} | about


# λ at which a dial without stops between its ends is measured
TENTHS = [tenth / 10 for tenth in range(11)]
# in a mix the robust network takes over between 0.5 and 0.6
OF_MIX = sorted({*TENTHS, *(0.5 + step / 50 for step in range(1, 5))})


def trained(recipe: str, lam: float | None = None) -> Network:
    """Train a network with the preset `fast` and seed 0, or load the ready one of that kind.

    Args:
        recipe: Name of the recipe.
        lam: The λ of "pgd-at". The ready network has λ = 1.
    """
    if lam in (None, 1.0):
        return load(FOLDER / f"{recipe}.safetensors")
    data = load_data("shapes", seed=0)
    net = build(recipe, data, seed=0, lam=lam)
    train(net, data, "fast", seed=0, progress=False)
    return net


def oat_rivals(trained: Callable[..., Network] = trained) -> dict:
    """Measure an OAT network and what it competes with, all trained with seed 0.

    Args:
        trained: Returns the network of a recipe, and of a λ if the recipe has one.
    """
    data = load_data("shapes", seed=0)
    dedicated = [trained("standard"), *(trained("pgd-at", lam) for lam in OAT_STOPS[1:])]
    six = [dial_points(net, data)[0] for net in dedicated]
    points = {
        "oat": dial_points(trained("oat"), data),
        "six dedicated": [point | {"lam": lam} for point, lam in zip(six, OAT_STOPS, strict=True)],
        "blend": dial_points(trained("blend"), data, TENTHS),
        "mix": dial_points(mix(dedicated[0], dedicated[-1]), data, OF_MIX),
    }
    return {"points": points} | _about("fast") | {"seed": 0}


def rival_seeds() -> dict:
    """Collect what `python -m bench.once_for_all` recorded, on test images.

    Each seed has networks and images of its own.

    Returns:
        "runs": for each seed the (clean, robust) pairs of every system, and its number of images.
    """
    found = read_json(bundled("bench") / "once_for_all.json")
    runs: dict[int, dict] = {}
    for part in found["runs"]:
        name = {"mix of two": "mix"}.get(part["system"], part["system"])
        name = "six dedicated" if name.startswith("dedicated") else name
        if name in ("oat", "six dedicated", "blend", "mix"):
            run = runs.setdefault(part["seed"], {"seed": part["seed"], "n": {}})
            pairs = [[point["clean"], point["robust"]] for point in part["points"]]
            run[name] = run.get(name, []) + pairs
            run["n"][name] = part["points"][0]["n"]
    about = {"attack": found["attack_text"], "split": "test", "source": found["command"]}
    return {"runs": [runs[seed] for seed in sorted(runs)]} | about


def oat_arms() -> dict:
    """Train OAT whole and without a part, with the backbone of the learner's network."""
    data = load_data("shapes", seed=0)

    def arm(seed: int, at_last_stop: float = 0.3, **options) -> list[dict]:
        net = build("oat", data, backbone="plain", seed=seed, **options)
        preset = Preset(epochs=EPOCHS, at_last_stop=at_last_stop)
        train(net, data, preset, seed, progress=False)
        return dial_points(net, data)

    arms = {name: [arm(seed, **options) for seed in SEEDS] for name, options in ARMS.items()}
    about = _about(f"fast, {EPOCHS} epochs") | {"seeds": list(SEEDS), "backbone": "plain"}
    return {"arms": arms} | about


def _about(preset: str) -> dict:
    """Return how the networks of a record were trained and measured."""
    return {"attack": str(ATTACK), "split": "val", "n": N, "preset": preset}
