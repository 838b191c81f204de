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
from .attacks import PGD, Attack
from .cost import cost
from .data import Split
from .nets import Network

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
    attack: Attack | None = None,
    lams: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    batch: int = 256,
    seed: int = 0,
    progress: bool = True,
    draws: int = DRAWS,
) -> Table:
    """Measure a network at every λ of its recipe (or at `lams`), or any function images -> logits as it is.

    The attack (PGD-20 at 8/255 by default) runs on exactly what is deployed: `net.at(lam, width)`. Where weights are
    noisy, `net.noisy(lam, width)` is attacked (by default with EOT) and measured, over so many `draws` of the noise.
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
        how = attack or PGD(8 / 255, steps=20, draws=DRAWS if noisy else 1)
        if noisy and how.draws == 1:
            warnings.warn(
                f"at λ = {lam:g} the weights are random, and an attack that sees one draw at a time is weak: the "
                "robust accuracy is flattered. Give the attack draws=10 (EOT).", stacklevel=2)  # fmt: skip
        table.append(_measure(f, split, how, batch, seed, draws if noisy else 1, lam, width, facts))
    return table


def _check_fit(net: Network, split: Split) -> None:
    shape, classes = net.spec.shape, len(net.spec.classes)
    if tuple(split.x.shape[1:]) != tuple(shape) or split.y.max() >= classes or split.y.min() < 0:
        raise ValueError(
            f"this network takes images {tuple(shape)} of {classes} classes; the {split.name} split has "
            f"{tuple(split.x.shape[1:])} and labels {split.y.min()} to {split.y.max()}"
        )


def _measure(f, split: Split, attack: Attack, batch: int, seed: int, draws: int, lam, width, facts: dict) -> Result:
    started, clean, robust = time.perf_counter(), torch.zeros(draws), torch.zeros(draws)
    generator = torch.Generator(split.x.device).manual_seed(seed)
    if isinstance(f, torch.nn.Module) and any(part.training for part in f.modules()):
        raise ValueError("the network is in train mode, where BatchNorm sees the batch: call .eval() before evaluating")
    for x, y in zip(split.x.split(batch), split.y.split(batch), strict=True):
        attacked = attack(f, x, y, generator)
        for i in range(draws):
            with torch.no_grad():  # in one forward, so that both meet the same draw of random weights
                right, holds = (f(torch.cat([x, attacked])).argmax(1) == torch.cat([y, y])).chunk(2)
            clean[i] += right.sum().item()
            # the unchanged image lies in the ball, too: who fails it is not robust
            robust[i] += (right & holds).sum().item()
    n = len(split)
    shares = [(hits.mean().item() / n, *wilson(hits.mean().item(), n)) for hits in (clean, robust)]
    spreads = [hits.std(correction=0).item() / n for hits in (clean, robust)]
    return Result(
        lam, width, n, *shares[0], *shares[1], attack.describe() | {"text": str(attack)}, split.name, seed,
        round(time.perf_counter() - started, 2), draws=draws, clean_spread=spreads[0], robust_spread=spreads[1],
        **facts,
    )  # fmt: skip


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
