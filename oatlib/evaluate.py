"""Clean and robust accuracy over the dials, with intervals: the one place that touches the test split."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import record
from .attacks import Attack
from .cost import cost
from .data import Split
from .guard import attacking
from .nets import Network
from .suite import Suite, default_attack

DRAWS = 10  # of noisy weights


@dataclass(frozen=True)
class Result:
    """One setting, measured. Accuracies in [0, 1], each with its 95 % Wilson interval."""

    lam: float | None  # None: a function without a λ dial
    width: float
    n: int
    clean: float
    clean_low: float
    clean_high: float
    robust: float
    robust_low: float
    robust_high: float
    attack: dict  # everything needed to repeat it
    split: str
    seed: int  # of the attack
    seconds: float
    macs: int | None = None  # multiply-adds for one image, and parameters, of what was measured
    parameters: int | None = None
    nonzero: int | None = None  # of the parameters; fewer where weights are masked
    draws: int = 1  # of random weights; accuracies are means over them, and spreads their standard deviations
    clean_spread: float = 0.0
    robust_spread: float = 0.0
    about: dict = field(default_factory=dict)  # recipe, backbone, data set, how it was trained


class Table(list):
    """Results of one network (or several), with the picture they make together."""

    @property
    def hypervolume(self) -> float:
        """Area dominated by the (clean, robust) points, against (0, 0); 1 is perfect."""
        return hypervolume([(r.clean, r.robust) for r in self])

    @property
    def frontier(self) -> Table:
        """The results that no other result beats in both accuracies, by falling clean accuracy."""
        best, kept = -1.0, []
        for r in sorted(self, key=lambda r: (-r.clean, -r.robust)):
            if r.robust > best:
                best = r.robust
                kept.append(r)
        return Table(kept)

    def save(self, path) -> None:
        """Write the results as JSON."""
        record.write_json(path, {"hypervolume": self.hypervolume, "results": [asdict(r) for r in self]})

    @classmethod
    def load(cls, path) -> Table:
        """Read what `save` wrote."""
        content = record.read_json(path)
        try:
            return cls(Result(**r) for r in content["results"])
        except (TypeError, KeyError) as error:
            raise record.RecordError(f"{path} holds no oatlib results: {error}") from error

    def __str__(self) -> str:
        if not self:
            return "(no results)"
        lines = [f"{'λ':>5} {'width':>5}  {'clean':>22}  {'robust':>22}  {'multiply-adds':>13}"]
        for r in self:
            lam = "-" if r.lam is None else f"{r.lam:g}"
            macs = "-" if r.macs is None else f"{r.macs:,}"
            lines.append(
                f"{lam:>5} {r.width:>5.3g}  {_percent(r, 'clean'):>22}  {_percent(r, 'robust'):>22}  {macs:>13}"
            )
        lines += dict.fromkeys(f"n = {r.n} ({r.split}), {r.attack['text']}, attack seed {r.seed}" for r in self)
        if noisy := [r for r in self if r.draws > 1]:
            spread = max(max(r.clean_spread, r.robust_spread) for r in noisy)
            lines.append(
                f"where weights are noisy: means over {noisy[0].draws} draws, standard deviation <= {spread:.1%}"
            )
        lines[-1] += f"; 95 % intervals; area under the frontier {self.hypervolume:.3f}"
        return "\n".join(lines)

    __repr__ = __str__


def evaluate(
    net: Network | Callable[[Tensor], Tensor],
    split: Split,
    attack: Attack | Suite | None = None,
    lams: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    batch: int = 256,
    seed: int = 0,
    progress: bool = True,
    draws: int = DRAWS,
) -> Table:
    """Measure a network at every λ of its recipe (or at `lams`), or any function images -> logits as it is.

    The attack (by default `default_attack()`, the quick suite at 8/255) runs on exactly what is deployed:
    `net.at(lam, width)`. Images are dropped once they are misclassified, where the function gives the same answer every
    time and the attack keeps its best iterate: that gives the same number for less compute. Where weights are noisy,
    `net.noisy(lam, width)` is attacked (by default with EOT) and measured, over so many `draws` of the noise.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if len(split) == 0:
        raise ValueError(f"the {split.name} split is empty: there is nothing to measure")
    dials = isinstance(net, Network)
    if not dials and (lams is not None or widths is not None):
        raise ValueError("lams= and widths= need a network with dials; this is a plain function of images")
    points = [(None, 1.0)]
    if dials:
        points = [(float(lam), float(width)) for width in (net.spec.widths if widths is None else widths)
                  for lam in (net.spec.stops if lams is None else lams)]  # fmt: skip
        _check_fit(net, split)
        points = [(lam, net.check(lam, width)[1].share) for lam, width in points]  # complains before any work
    table, hidden = Table(), torch.Generator(split.x.device)
    for lam, width in tqdm(points, unit="setting", disable=not progress, leave=False):
        f, noisy, facts = net, False, {}
        if dials:
            price, noisy = cost(net, lam, width), net.noise_at(lam)
            facts = {"macs": price.macs, "parameters": price.plain, "nonzero": price.nonzero, "about": _about(net)}
            f = net.noisy(lam, width, generator=hidden.manual_seed(seed)) if noisy else net.at(lam, width)
        how = attack or default_attack(draws=DRAWS if noisy else 1)
        if noisy and how.draws == 1:
            warnings.warn(
                f"at λ = {lam:g} the weights are random, and an attack that sees one draw at a time is weak: the "
                "robust accuracy is flattered. Give the attack draws=10 (EOT).", stacklevel=2)  # fmt: skip
        steady = not noisy if dials else None  # of a plain function it must be found out
        table.append(_measure(f, split, how, batch, seed, draws if noisy else 1, lam, width, facts, steady))
    return table


def _check_fit(net: Network, split: Split) -> None:
    shape, classes = net.spec.shape, len(net.spec.classes)
    if tuple(split.x.shape[1:]) != tuple(shape) or split.y.max() >= classes or split.y.min() < 0:
        raise ValueError(
            f"this network takes images {tuple(shape)} of {classes} classes; the {split.name} split has "
            f"{tuple(split.x.shape[1:])} and labels {split.y.min()} to {split.y.max()}"
        )


def _measure(
    f, split: Split, attack: Attack | Suite, batch: int, seed: int, draws: int, lam, width, facts: dict,
    steady: bool | None = None,
) -> Result:  # fmt: skip
    started, clean, robust = time.perf_counter(), torch.zeros(draws), torch.zeros(draws)
    generator = torch.Generator(split.x.device).manual_seed(seed)
    if isinstance(f, torch.nn.Module) and any(part.training for part in f.modules()):
        raise ValueError("the network is in train mode, where BatchNorm sees the batch: call .eval() before evaluating")
    if steady is None:
        steady = _is_steady(f, split.x[:batch])
    count = _count_survivors if steady and getattr(attack, "best", False) else _count_attacked
    for x, y in zip(split.x.split(batch), split.y.split(batch), strict=True):
        right, holds = count(f, attack, x, y, generator, draws)
        clean += right
        robust += holds
    n = len(split)
    shares = [(hits.mean().item() / n, *wilson(hits.mean().item(), n)) for hits in (clean, robust)]
    spreads = [hits.std(correction=0).item() / n for hits in (clean, robust)]
    return Result(
        lam, width, n, *shares[0], *shares[1], attack.describe() | {"text": str(attack)}, split.name, seed,
        round(time.perf_counter() - started, 2), draws=draws, clean_spread=spreads[0], robust_spread=spreads[1],
        **facts,
    )  # fmt: skip


def _is_steady(f, x: Tensor) -> bool:
    """Whether a function gives the same answers to the same images (N, ...) twice."""
    with attacking(f), torch.no_grad():
        first, second = f(x), f(x)
    return bool((first - second).abs().max() <= 1e-5 * (1 + first.abs().max()))


def _count_survivors(f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int) -> tuple[Tensor, Tensor]:
    """How many images (N, ...) are correct as they are, and at every point that the attack visits; as (1,) each."""
    clean, stands = None, torch.zeros_like(y, dtype=torch.bool)
    for index, _, logits in attack.survivors(f, x, y, generator):
        right = logits.argmax(1) == y[index]
        clean = right.sum() if clean is None else clean
        stands[:] = False  # `index` holds every image that was correct so far
        stands[index] = right
    return clean.float().cpu().view(1), stands.sum().float().cpu().view(1)


def _count_attacked(f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int) -> tuple[Tensor, Tensor]:
    """How many images (N, ...) are correct as they are, and also after the attack; as (draws,) each."""
    attacked, counts = attack(f, x, y, generator), torch.zeros(2, draws)
    for i in range(draws):
        with torch.no_grad():  # in one forward, so that both meet the same draw of random weights
            right, holds = (f(torch.cat([x, attacked])).argmax(1) == torch.cat([y, y])).chunk(2)
        # the unchanged image lies in the ball, too: where it is misclassified, the network is not robust
        counts[0, i], counts[1, i] = right.sum().item(), (right & holds).sum().item()
    return counts[0], counts[1]


def _about(net: Network) -> dict:
    spec = net.spec
    about = {"recipe": spec.recipe, "backbone": spec.backbone, "data": spec.data, "stops": list(spec.stops),
             "trained": net.trained, "versions": record.versions()}  # fmt: skip
    return copy.deepcopy(about)  # a result keeps its facts when the network is trained on


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of `right` out of `n`; unlike ±2 standard errors it stays inside [0, 1]."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"wilson: need 0 <= right <= n and n > 0, got {right} of {n}")
    share, z2 = right / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding, at 0 and at n


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Area of the union of the rectangles from (0, 0) to each point."""
    area, top = 0.0, 0.0
    for x, y in sorted(points, reverse=True):
        if y > top:
            area += x * (y - top)
            top = y
    return area


def _percent(r: Result, which: str) -> str:
    low, high = getattr(r, f"{which}_low"), getattr(r, f"{which}_high")
    return f"{getattr(r, which):.1%} [{low:.1%}, {high:.1%}]"
