"""The experiments of lesson 03: which part of dual BatchNorm gives a network two settings?

Branch 0 holds clean images, branch 1 attacked ones. `ablation` trains a small network with half of
each batch clean and half attacked. `BranchNorm` can share its statistics, its scale and shift, or
both, between the branches, so that each part of dual BatchNorm is tested alone.

`domain_test` asks the same question about a change of the images that is no attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._random import global_seed
from ..attacks.base import Attack
from ..attacks.suite import default_attack
from ..data.load import Data, batches, load_data
from ..data.splits import Split
from ..evaluation.evaluate import evaluate
from ..layers.dual_bn import DualBN as PairOfNorms
from ..networks.network import Network
from ..training.presets import Preset
from .parts import CHANNELS, DualBN

GREYS = (0.375, 0.625)  # pixels of the channel that tells branch 0 and branch 1 to a `ToldNet`
# By what is separate: whether each branch has its own statistics, and its own scale and shift
WAYS = {
    "nothing": (False, False),
    "statistics": (True, False),
    "scale and shift": (False, True),
    "statistics, scale and shift": (True, True),
}
PRESET = Preset(epochs=4)  # `fast`, but shorter


class SmallNet(nn.Module):
    """Three times conv -> norm -> ReLU, then a mean over the pixels and a linear layer.

    Args:
        norm: Class of the norm. norm(channels) is called as layer(x, branch).
        cin: Channels of an image.
        classes: Number of classes.
    """

    def __init__(self, norm: Callable[[int], nn.Module] = DualBN, cin: int = 3, classes: int = 8):
        super().__init__()
        sizes = zip((cin, *CHANNELS), CHANNELS, (1, 2, 2), strict=False)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
            for before, after, stride in sizes
        )
        self.norms = nn.ModuleList(norm(channels) for channels in CHANNELS)
        self.head = nn.Linear(CHANNELS[-1], classes)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Images x (N, C, H, W) in [0, 1] and their branches (N,) -> logits (N, classes)."""
        x = (x - 0.5) * 4
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x), branch))  # (N, channels, H/stride, W/stride)
        return self.head(x.mean((2, 3)))


class BranchNorm(nn.Module):
    """BatchNorm with one or two sets of statistics, and one or two sets of scale and shift.

    Args:
        channels: Number of channels C.
        statistics: Whether each branch has its own mean and variance.
        scales: Whether each branch has its own scale and shift.
    """

    def __init__(self, channels: int, statistics: bool = True, scales: bool = True):
        super().__init__()
        self.statistics, self.scales = statistics, scales
        rows = 1 + statistics
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in range(rows))
        self.scale = nn.Parameter(torch.ones(1 + scales, channels))
        self.shift = nn.Parameter(torch.zeros(1 + scales, channels))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Normalise x (N, C, H, W); branch (N,) holds 0 and 1."""
        if self.statistics:
            out = torch.empty_like(x)
            for row, norm in enumerate(self.norms):
                if (branch == row).any():
                    out[branch == row] = norm(x[branch == row])
        else:
            out = self.norms[0](x)
        row = branch if self.scales else torch.zeros_like(branch)
        return out * self.scale[row][:, :, None, None] + self.shift[row][:, :, None, None]


class ToldNet(nn.Module):
    """A `SmallNet` that sees the branch as one more channel of the image, of a single grey.

    Args:
        norm: Class of the norm.
        cin: Channels of an image.
        classes: Number of classes.
    """

    def __init__(self, norm: Callable[[int], nn.Module], cin: int = 3, classes: int = 8):
        super().__init__()
        self.net = SmallNet(norm, cin + 1, classes)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Images x (N, C, H, W) in [0, 1] and their branches (N,) -> logits (N, classes)."""
        grey = torch.tensor(GREYS)[branch][:, None, None, None]
        plane = grey.expand(-1, 1, *x.shape[2:])
        return self.net(torch.cat([x, plane], 1), branch)


def in_branch(net: nn.Module, branch: int) -> Callable[[Tensor], Tensor]:
    """Return the function that treats every image as one of the given branch.

    Args:
        net: A network that is called as net(x, branch).
        branch: 0 or 1.
    """
    return lambda x: net(x, torch.full((len(x),), branch))


def train_half_and_half(
    net: nn.Module, data: Data, preset: Preset, seed: int, attacked: float = 0.5
) -> None:
    """Train a network on batches whose first part is clean and whose second part is attacked.

    It ends in eval mode.

    Args:
        net: A network that is called as net(x, branch).
        data: The data set.
        preset: How to train.
        seed: Seed of the batches and of the attack.
        attacked: Fraction of each batch that is attacked, in branch 1.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        net.parameters(),
        preset.lr,
        preset.momentum,
        weight_decay=preset.weight_decay,
        nesterov=preset.nesterov,
    )
    n_clean = round(preset.batch * (1 - attacked))
    branch = (torch.arange(preset.batch) >= n_clean).long()
    total = preset.epochs * (len(data.train) // preset.batch)
    step = 0
    for _ in range(preset.epochs):
        for index in batches(len(data.train), preset.batch, generator, drop_last=True):
            for group in optimizer.param_groups:
                group["lr"] = preset.learning_rate(step / total, 0)
            x, y = data.train.x[index].clone(), data.train.y[index]
            if n_clean < preset.batch:
                # the attack sees the network as it will answer: branch 1, eval mode
                net.eval()
                attack = preset.attack(step / total)
                x[n_clean:] = attack(in_branch(net, 1), x[n_clean:], y[n_clean:], generator)
            net.train()
            optimizer.zero_grad()
            F.cross_entropy(net(x, branch), y).backward()
            nn.utils.clip_grad_norm_(net.parameters(), preset.clip)
            optimizer.step()
            step += 1
    net.eval()


def measured(net: nn.Module, split: Split, attack: Attack | None = None) -> list[dict]:
    """Measure a network in branch 0 and in branch 1.

    Args:
        net: A network that is called as net(x, branch).
        split: The images.
        attack: The attack. Default: the quick suite at 8/255.

    Returns:
        Clean accuracy, robust accuracy and number of images, for each branch.
    """
    found = []
    for branch in (0, 1):
        (row,) = evaluate(in_branch(net, branch), split, attack or default_attack(), progress=False)
        found.append({"clean": row.clean, "robust": row.robust, "n": row.n})
    return found


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return make(), with initial weights from a seed. The global generator is restored.

    Args:
        make: Function that builds a network.
        seed: Seed of the weights.
    """
    with global_seed(seed):
        return make()


def trial(data: Data, way: str, told: bool, seed: int, n: int = 256) -> list[dict]:
    """Train a `SmallNet` on half clean and half attacked batches, and measure both branches.

    Takes about ten seconds.

    Args:
        data: The data set.
        way: What each branch has to itself, a key of `WAYS`.
        told: Whether the network is told the branch by one more input channel.
        seed: Seed of weights, batches and attacks.
        n: Number of validation images that are measured.

    Returns:
        The result of `measured`.
    """
    statistics, scales = WAYS[way]
    norm = partial(BranchNorm, statistics=statistics, scales=scales)
    kind = ToldNet if told else SmallNet
    net = seeded(partial(kind, norm, data.shape[0], len(data.classes)), seed)
    train_half_and_half(net, data, PRESET, seed)
    return measured(net, data.val.panel(n))


def dedicated(data: Data, attacked: int, seed: int, n: int = 256) -> dict:
    """Train a `SmallNet` on clean images only or on attacked images only, and measure it.

    Args:
        data: The data set.
        attacked: 0: clean images only. 1: attacked images only.
        seed: Seed of weights, batches and attacks.
        n: Number of validation images that are measured.

    Returns:
        Clean accuracy, robust accuracy and number of images.
    """
    norm = partial(BranchNorm, statistics=False, scales=False)
    net = seeded(partial(SmallNet, norm, data.shape[0], len(data.classes)), seed)
    train_half_and_half(net, data, PRESET, seed, attacked)
    return measured(net, data.val.panel(n))[0]


def ablation(data: Data, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> dict:
    """Run every `trial`, and two `dedicated` networks, for every seed. Takes about ten minutes.

    Args:
        data: The data set.
        seeds: Seeds of weights, batches and attacks.

    Returns:
        The seeds, the name of the attack, and lists over seeds: "told" and "not told", each by
        what the branches have to themselves, and "clean only" and "attacked only".
    """
    found: dict = {"seeds": list(seeds), "attack": str(default_attack())}
    for name, told in (("not told", False), ("told", True)):
        found[name] = {way: [trial(data, way, told, seed) for seed in seeds] for way in WAYS}
    for attacked, name in enumerate(("clean only", "attacked only")):
        found[name] = [dedicated(data, attacked, seed) for seed in seeds]
    return found


def half_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    attack: Callable[[Callable, Tensor, Tensor], Tensor],
) -> float:
    """Take one step: the first half of the batch stays clean, the second half is attacked.

    Args:
        net: A network that is called as net(x, branch). It ends in train mode.
        optimizer: Optimizer of the network.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        attack: Function from a function of images, images and labels to attacked images.

    Returns:
        The loss before the step.
    """
    half = len(x) // 2
    branch = (torch.arange(len(x)) >= half).long()
    # the attack sees the network as it will answer: branch 1, eval mode
    net.eval()
    x_adv = attack(lambda images: net(images, torch.ones(len(images)).long()), x[half:], y[half:])
    net.train()
    loss = F.cross_entropy(net(torch.cat([x[:half], x_adv]), branch), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def before_norms(net: Network, images: Tensor, lam: float) -> dict[str, Tensor]:
    """Return what arrives at each norm of a network when images pass it.

    Args:
        net: A network of oatlib with a BatchNorm pair.
        images: Images (N, C, H, W) in [0, 1].
        lam: λ stop: 0 for the clean BatchNorms, above 0 for the others.

    Returns:
        Features (N, channels, H, W), by name of the layer.
    """
    caught: dict[str, Tensor] = {}

    def catch(name: str, given: tuple) -> None:
        caught[name] = given[0]

    hooks = []
    for path, part in net.named_modules():
        if isinstance(part, PairOfNorms):
            name = path.removeprefix("body.").split(".norm")[0]
            hooks.append(
                part.register_forward_pre_hook(lambda _, given, name=name: catch(name, given))
            )
    with torch.no_grad():
        net(images, lam)
    for hook in hooks:
        hook.remove()
    return caught


def gap(first: Tensor, second: Tensor) -> float:
    """Return how far two sets of features are apart: distance of their means.

    The unit is the standard deviation of the first set. The distances are averaged over channels.

    Args:
        first: Features (N, C, H, W).
        second: Features (M, C, H, W).
    """
    distance = (first.mean((0, 2, 3)) - second.mean((0, 2, 3))).abs()
    return (distance / first.std((0, 2, 3))).mean().item()


def faint_and_bright(x: Tensor) -> Tensor:
    """Return images with a tenth of the contrast, near white.

    Args:
        x: Images (N, C, H, W) in [0, 1].
    """
    return 0.8 + 0.1 * x


DOMAIN_STEPS, DOMAIN_BATCH, DOMAIN_SEEDS = 60, 64, (0, 1)
# Whether each kind of images has its own statistics, and its own scale and shift
DOMAIN_WAYS = {
    "one BatchNorm": (False, False),
    "two sets of statistics": (True, False),
    "two scales and shifts": (False, True),
    "two of both": (True, True),
}
CHECKED = ("one BatchNorm", "two sets of statistics")  # what the exercise compares


def domain_test(
    second: Callable[[Tensor], Tensor], ways: tuple[str, ...] = CHECKED, gentle: bool = False
) -> dict[str, list[float]]:
    """Train on images and on changed images, in several ways to normalise them.

    Half of each batch is changed. Nothing is attacked. The default compares one BatchNorm with
    separate statistics: scale and shift are common, so that only the statistics differ between the
    two ways. Takes about two seconds for each way.

    Args:
        second: The change, images (N, C, H, W) in [0, 1] -> images of the same shape.
        ways: Keys of `DOMAIN_WAYS`.
        gentle: Train with half the learning rate, gradients clipped to length 1, and twice the
            steps.

    Returns:
        By the way, the mean accuracy over seeds: on the validation images, on changed ones. The
        key "<way>, seeds" holds the accuracy on changed images for each seed, and "n" the number of
        images.
    """
    data = _domain_data()
    found = {"n": [len(data.val)]}
    for name in ways:
        runs = torch.tensor([_domain_trial(data, second, name, s, gentle) for s in DOMAIN_SEEDS])
        found[name] = runs.mean(0).tolist()
        found[f"{name}, seeds"] = runs[:, 1].tolist()
    return found


def domain_record(seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> dict:
    """Run `domain_test` for `faint_and_bright` with every way, both trainings and more seeds.

    Takes about a minute.

    Args:
        seeds: Seeds of weights and batches.

    Returns:
        The seeds, the number of images, and for the trainings "short" and "gentle", by the way, a
        list over seeds: accuracy on the validation images and on changed ones.
    """
    data = _domain_data()
    found: dict = {"seeds": list(seeds), "n": len(data.val)}
    for training, gentle in (("short", False), ("gentle", True)):
        found[training] = {
            way: [_domain_trial(data, faint_and_bright, way, seed, gentle) for seed in seeds]
            for way in DOMAIN_WAYS
        }
    return found


def _domain_data() -> Data:
    return load_data("shapes", seed=0, n_train=2048, n_val=512, n_test=16)


def _domain_trial(
    data: Data, second: Callable[[Tensor], Tensor], way: str, seed: int, gentle: bool
) -> list[float]:
    """Train one network; return its accuracy on the validation images and on changed ones."""
    statistics, scales = DOMAIN_WAYS[way]
    norm = partial(BranchNorm, statistics=statistics, scales=scales)
    net = seeded(partial(SmallNet, norm), seed)
    _train_on_domains(net, data, second, seed, gentle)
    x, y = data.val.x, data.val.y
    with torch.no_grad():
        answers = [in_branch(net, branch)(z).argmax(1) for branch, z in enumerate((x, second(x)))]
    return [(answer == y).double().mean().item() for answer in answers]


def _train_on_domains(
    net: nn.Module, data: Data, second: Callable, seed: int, gentle: bool
) -> None:
    """Train a network on batches whose second half is changed. It ends in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    largest, steps = (0.1, 2 * DOMAIN_STEPS) if gentle else (0.2, DOMAIN_STEPS)
    optimizer = torch.optim.SGD(net.parameters(), largest, momentum=0.9, nesterov=True)
    half = DOMAIN_BATCH // 2
    branch = (torch.arange(DOMAIN_BATCH) >= half).long()
    net.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = largest * (1 - step / steps)
        index = torch.randint(len(data.train), (DOMAIN_BATCH,), generator=generator)
        x, y = data.train.x[index], data.train.y[index]
        x = torch.cat([x[:half], second(x[half:])])
        optimizer.zero_grad()
        F.cross_entropy(net(x, branch), y).backward()
        if gentle:
            nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
    net.eval()
