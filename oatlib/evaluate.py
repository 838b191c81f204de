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

from . import baselines, record
from .attacks import Attack
from .baselines import LEVELS, Measured, Point, percents
from .cost import cost
from .data import Split, best_points
from .dial import RULES
from .guard import attacking
from .nets import Network
from .suite import Suite, default_attack, suited

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
    def widths(self) -> list[float]:
        """The widths that were measured, ascending."""
        return sorted({r.width for r in self})

    def at_width(self, width: float | None = None) -> Table:
        """The results of one width; None is the largest one. Raises a ValueError if it was not measured."""
        if width is None and self:
            width = self.widths[-1]
        kept = Table(r for r in self if abs(r.width - width) <= 1e-6)
        if self and not kept:
            raise ValueError(f"width {width:g} was not measured: there are {', '.join(f'{w:g}' for w in self.widths)}")
        return kept

    def ends(self, width: float | None = None) -> tuple[Result, Result] | None:
        """The results of one width at its lowest and its highest λ, or None if there are not two values of λ.

        If several results have that λ, the more accurate or the more robust one is taken.
        """
        rows = [r for r in self.at_width(width) if r.lam is not None]
        lams = {r.lam for r in rows}
        if len(lams) < 2:
            return None
        low = max((r for r in rows if r.lam == min(lams)), key=lambda r: (r.clean, r.robust))
        high = max((r for r in rows if r.lam == max(lams)), key=lambda r: (r.robust, r.clean))
        return low, high

    def robust_at(self, clean: float, width: float | None = None) -> float | None:
        """Robust accuracy at clean accuracy >= `clean`, interpolated along the dial of one width.

        Results are sorted by λ. Between neighbouring λ both accuracies are interpolated linearly, and of all places
        that keep `clean` the most robust one counts. Results without λ are not interpolated. All results should come
        from the same attack.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            width: Settings of this width only. None: the largest width that was measured.

        Returns:
            Robust accuracy in [0, 1]. None if no setting reaches `clean`.

        Raises:
            ValueError: If `clean` is no accuracy, or if the width was not measured.
        """
        rows = self.at_width(width)
        dial = sorted((r.lam, -r.clean, -r.robust) for r in rows if r.lam is not None)
        lines = [[(-clean, -robust) for _, clean, robust in dial]]
        lines += [[(r.clean, r.robust)] for r in rows if r.lam is None]
        values = [baselines.robust_at(points, clean) for points in lines]
        return max((value for value in values if value is not None), default=None)

    def gain_over_coin(
        self,
        clean: float,
        standard: Measured | Point | None = None,
        robust: Measured | Point | None = None,
        width: float | None = None,
    ) -> float | None:
        """`robust_at(clean, width)` minus the robust accuracy of a coin there, see `oatlib.coin`.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            standard: One of the two networks of the coin, a result or a point (clean, robust). None, together with
                robust=None: the coin is between the results at the lowest and the highest λ of that width.
            robust: The other one.
            width: As in `robust_at`.

        Returns:
            The difference, in [-1, 1]; negative where the coin is better. None if the dial or the coin does not reach
            `clean`, or if there are no two ends.

        Raises:
            ValueError: If only one of the two networks is given, or for the reasons of `robust_at`.
        """
        if (standard is None) != (robust is None):
            raise ValueError("a coin needs two networks: give standard= and robust=, or neither of them")
        ends = self.ends(width) if standard is None else (standard, robust)
        reference = None if ends is None else baselines.coin(*ends, clean)
        return baselines.gain(self.robust_at(clean, width), reference)

    @property
    def frontier(self) -> Table:
        """The results that no other result beats in both accuracies, by falling clean accuracy."""
        kept = dict.fromkeys(baselines.frontier((r.clean, r.robust) for r in self))
        return Table(next(r for r in self if (r.clean, r.robust) == point) for point in kept)

    def save(self, path) -> None:
        """Write the results as JSON."""
        record.write_json(path, {"results": self.as_json()})

    def as_json(self) -> list[dict]:
        """The results as plain dictionaries, ready for JSON."""
        return [asdict(r) for r in self]

    @classmethod
    def from_json(cls, rows: Sequence[dict]) -> Table:
        """The table of which `as_json` gave the rows."""
        return cls(Result(**row) for row in rows)

    @classmethod
    def load(cls, path) -> Table:
        """Read what `save` wrote, also in an earlier version (which wrote an area, too)."""
        content = record.read_json(path)
        try:
            return cls.from_json(content["results"])
        except (TypeError, KeyError) as error:
            raise record.RecordError(f"{path} holds no oatlib results: {error}") from error

    def text(self, best: Sequence[Point] | None = None) -> str:
        """The table as text; with robust accuracy at given clean accuracies where it has a dial.

        Args:
            best: Points (clean, robust) of a reference in the order of λ, such as the best possible frontier. Then
                the share of its robust accuracy that is reached is printed, too.
        """
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
        lines[-1] += "; 95 % intervals"
        for width in self.widths:
            lines += self._dial_lines(width, best)
        lines += dict.fromkeys(note for r in self if (note := two_ends(r)))
        return "\n".join(lines)

    def _dial_lines(self, width: float, best: Sequence[Point] | None) -> list[str]:
        """Robust accuracy at given clean accuracies, for a width that was measured at two λ or more."""
        if self.ends(width) is None:
            return []
        label = f"width {width:g}: " if len(self.widths) > 1 else ""
        levels = " / ".join(f"{100 * level:g}" for level in LEVELS)
        values = [self.robust_at(level, width) for level in LEVELS]
        gains = [self.gain_over_coin(level, width=width) for level in LEVELS]
        lines = [f"{label}robust at clean >= {levels} %: {percents(values)} %, "
                 f"gain over a coin between its own ends: {percents(gains, signed=True)} points"]  # fmt: skip
        if best is not None:
            shares = [baselines.share(value, baselines.robust_at(best, level))
                      for value, level in zip(values, LEVELS, strict=True)]  # fmt: skip
            lines.append(f"{label}share of the best possible robust accuracy there: {percents(shares)} %")
        return lines

    def __str__(self) -> str:
        return self.text(_best_possible(self))

    __repr__ = __str__


def _best_possible(results: Sequence[Result]) -> list[Point] | None:
    """The best possible frontier of the data set that all results are of, where it is known."""
    sources = [(r.about.get("data") or {}, r.attack.get("eps", 0.0)) for r in results]
    if not sources or any(source != sources[0] for source in sources):
        return None
    return best_points(*sources[0])


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
    time and the attack keeps its best iterate: that gives the same number for less compute. A suite attacks a mixture
    of outputs through its ends, too. Where weights are noisy, `net.noisy(lam, width)` is attacked (by default with EOT)
    and measured, over so many `draws` of the noise.
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
        check_fit(net, split)
        points = [(lam, net.check(lam, width)[1].share) for lam, width in points]  # complains before any work
    table, hidden = Table(), torch.Generator(split.x.device)
    for lam, width in tqdm(points, unit="setting", disable=not progress, leave=False):
        f, noisy, facts = net, False, {}
        if dials:
            price, noisy = cost(net, lam, width), net.noise_at(lam)
            facts = {"macs": price.macs, "parameters": price.plain, "nonzero": price.nonzero, "about": _about(net)}
            f = net.noisy(lam, width, generator=hidden.manual_seed(seed)) if noisy else net.at(lam, width)
        how = suited(attack or default_attack(draws=DRAWS if noisy else 1), f)
        if noisy and how.draws == 1:
            warnings.warn(
                f"at λ = {lam:g} the weights are random, and an attack that sees one draw at a time is weak: the "
                "robust accuracy is flattered. Give the attack draws=10 (EOT).", stacklevel=2)  # fmt: skip
        steady = not noisy if dials else None  # of a plain function it must be found out
        table.append(_measure(f, split, how, batch, seed, draws if noisy else 1, lam, width, facts, steady))
    return table


def check_fit(net: Network, split: Split) -> None:
    """Raise a ValueError unless a network can take the images and labels of a split."""
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
             "dial": spec.dial, "trained": net.trained, "versions": record.versions()}  # fmt: skip
    return copy.deepcopy(about)  # a result keeps its facts when the network is trained on


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of `right` out of `n`; unlike ±2 standard errors it stays inside [0, 1]."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"wilson: need 0 <= right <= n and n > 0, got {right} of {n}")
    share, z2 = right / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding, at 0 and at n


def two_ends(result: Result) -> str:
    """Say what lies between the ends of a dial if training defines its two ends only; '' for other results."""
    stops, dial = result.about.get("stops", []), result.about.get("dial")
    if len(stops) < 2 or (len(stops) > 2 and dial != "outputs"):
        return ""
    rule = f"; between them: {RULES[dial]}" if dial in RULES else ""  # earlier versions did not write it down
    return f"{result.about.get('recipe', 'network')}: trained for λ = {stops[0]:g} and {stops[-1]:g} only{rule}"


def _percent(r: Result, which: str) -> str:
    low, high = getattr(r, f"{which}_low"), getattr(r, f"{which}_high")
    return f"{getattr(r, which):.1%} [{low:.1%}, {high:.1%}]"
