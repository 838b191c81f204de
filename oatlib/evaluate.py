"""Measure clean and robust accuracy at settings of λ and width, with confidence intervals.

Only measurements with this module are made on the test split. Training, the explorer and the audit
use validation images.
"""

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

DRAWS = 10  # samples of noisy weights


@dataclass(frozen=True)
class Result:
    """The measurement of one setting.

    Accuracies are in [0, 1]. `..._low` and `..._high` are the ends of their 95 % Wilson intervals.

    Attributes:
        lam: λ. None for a function without a λ dial.
        width: Share of the channels, in (0, 1].
        n: Number of images.
        clean: Clean accuracy.
        clean_low: Lower end of its interval.
        clean_high: Upper end of its interval.
        robust: Robust accuracy: share of images that are correct both unattacked and attacked.
        robust_low: Lower end of its interval.
        robust_high: Upper end of its interval.
        attack: Description of the attack with everything needed to repeat it.
        split: Name of the split.
        seed: Seed of the attack.
        seconds: Duration of the measurement.
        macs: Multiply-adds of the measured network for one image. None for a function.
        parameters: Parameters of the measured network. None for a function.
        nonzero: Parameters that are not 0, fewer than all where weights are masked.
        draws: Samples of random weights. Accuracies are means over them.
        clean_spread: Standard deviation of the clean accuracy over these samples.
        robust_spread: Standard deviation of the robust accuracy over these samples.
        about: Recipe, backbone, data set, and how the network was trained.
    """

    lam: float | None
    width: float
    n: int
    clean: float
    clean_low: float
    clean_high: float
    robust: float
    robust_low: float
    robust_high: float
    attack: dict
    split: str
    seed: int
    seconds: float
    macs: int | None = None
    parameters: int | None = None
    nonzero: int | None = None
    draws: int = 1
    clean_spread: float = 0.0
    robust_spread: float = 0.0
    about: dict = field(default_factory=dict)


class Table(list):
    """A list of results, with functions that summarise them.

    Printing a table shows one line per result, and robust accuracy at given clean accuracies.
    """

    @property
    def widths(self) -> list[float]:
        """The measured widths, ascending."""
        return sorted({r.width for r in self})

    def at_width(self, width: float | None = None) -> Table:
        """Return the results of one width.

        Args:
            width: Share of the channels. None: the largest measured width.

        Raises:
            ValueError: If the width was not measured.
        """
        if width is None and self:
            width = self.widths[-1]
        kept = Table(r for r in self if abs(r.width - width) <= 1e-6)
        if self and not kept:
            raise ValueError(f"width {width:g} was not measured: there are {', '.join(f'{w:g}' for w in self.widths)}")
        return kept

    def ends(self, width: float | None = None) -> tuple[Result, Result] | None:
        """Return the results of one width at its lowest and its highest λ.

        If several results have the lowest λ, the most accurate one is taken. If several have the
        highest λ, the most robust one is taken.

        Args:
            width: Share of the channels. None: the largest measured width.

        Returns:
            Two results, or None if there are not two values of λ.

        Raises:
            ValueError: If the width was not measured.
        """
        rows = [r for r in self.at_width(width) if r.lam is not None]
        lams = {r.lam for r in rows}
        if len(lams) < 2:
            return None
        low = max((r for r in rows if r.lam == min(lams)), key=lambda r: (r.clean, r.robust))
        high = max((r for r in rows if r.lam == max(lams)), key=lambda r: (r.robust, r.clean))
        return low, high

    def robust_at(self, clean: float, width: float | None = None) -> float | None:
        """Return the robust accuracy at clean accuracy >= `clean` along the dial of one width.

        Results are sorted by λ. Between neighbouring λ both accuracies are interpolated linearly.
        Of all points with at least the accuracy `clean`, the most robust one counts. Results
        without λ are not interpolated. All results should come from the same attack.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            width: Settings of this width only. None: the largest measured width.

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
        """Return `robust_at(clean, width)` minus the robust accuracy of a coin at the same `clean`.

        A coin answers each image with one of two networks at random, see `oatlib.coin`.

        Args:
            clean: The clean accuracy to keep, in [0, 1].
            standard: One of the two networks of the coin: a result, or a point (clean, robust).
                None, together with robust=None: the coin is between the results of that width at
                its lowest and its highest λ.
            robust: The other network of the coin.
            width: As in `robust_at`.

        Returns:
            The difference, in [-1, 1]. It is negative where the coin is better. None if the dial or
            the coin does not reach `clean`, or if there are no two ends.

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
        """Results that no other result beats in both accuracies, by decreasing clean accuracy."""
        kept = dict.fromkeys(baselines.frontier((r.clean, r.robust) for r in self))
        return Table(next(r for r in self if (r.clean, r.robust) == point) for point in kept)

    def save(self, path) -> None:
        """Write the results to a JSON file.

        Args:
            path: Path of the file.
        """
        record.write_json(path, {"results": self.as_json()})

    def as_json(self) -> list[dict]:
        """Return the results as plain dictionaries, ready for JSON."""
        return [asdict(r) for r in self]

    @classmethod
    def from_json(cls, rows: Sequence[dict]) -> Table:
        """Return the table that `as_json` was called on.

        Args:
            rows: What `as_json` returned.
        """
        return cls(Result(**row) for row in rows)

    @classmethod
    def load(cls, path) -> Table:
        """Read a table that `save` wrote.

        Files of an earlier version can be read, too. They hold an area in addition.

        Args:
            path: Path of the file.

        Raises:
            RecordError: If the file does not exist or holds no results.
        """
        content = record.read_json(path)
        try:
            return cls.from_json(content["results"])
        except (TypeError, KeyError) as error:
            raise record.RecordError(f"{path} holds no oatlib results: {error}") from error

    def text(self, best: Sequence[Point] | None = None) -> str:
        """Return the table as text.

        If results have at least two values of λ, the text also says the robust accuracy at given
        clean accuracies.

        Args:
            best: Points (clean, robust) of a reference in the order of λ, such as the best possible
                frontier. If given, the text also says which share of its robust accuracy is
                reached.
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
        """Return lines on robust accuracy at given clean accuracies, if a width has two λ."""
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
    """Return the best possible frontier, if it is known and all results share data set and eps."""
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
    """Measure clean and robust accuracy of a network at several settings, or of any function.

    A network is attacked in the form in which it is deployed, `net.at(lam, width)`. If its weights
    are noisy, `net.noisy(lam, width)` is attacked and measured instead. The default attack then
    uses EOT (expectation over transformation: gradients are averaged over samples of the noise).

    If the function is deterministic and the attack keeps its best iterate, images are dropped once
    they are misclassified. This gives the same numbers for less compute. If outputs are mixed, a
    suite also attacks the ends of the mixture.

    Args:
        net: A network, or a function from images (N, C, H, W) in [0, 1] to logits (N, classes).
        split: Images and labels.
        attack: The attack. Default: `default_attack()`, the quick suite at 8/255.
        lams: Values of λ. Default: the stops of the network. Not for functions.
        widths: Shares of the channels. Default: all widths of the network. Not for functions.
        batch: Images per batch.
        seed: Seed of the attack, and of noisy weights.
        progress: Whether to show a progress bar.
        draws: Samples of the weights that accuracies are averaged over, where weights are noisy.

    Returns:
        A table with one result per setting. The widths follow each other, and λ varies within each.

    Raises:
        ValueError: If the split is empty or does not fit the network, or if a setting does not
            exist. Also if `lams` or `widths` are given for a function, if a module that is no
            `Network` is in train mode, or if `draws` is below 1.

    Warns:
        UserWarning: If weights are noisy and the attack uses only one sample of them per gradient.
            The robust accuracy is then overestimated.

    Example:
        >>> print(evaluate(net, data.test, lams=[0.0, 0.5, 1.0]))
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
        # check all settings before any work
        points = [(lam, net.check(lam, width)[1].share) for lam, width in points]
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
        steady = not noisy if dials else None  # deterministic? None: to be tested for a function
        table.append(_measure(f, split, how, batch, seed, draws if noisy else 1, lam, width, facts, steady))
    return table


def check_fit(net: Network, split: Split) -> None:
    """Raise a ValueError unless a network can take the images and labels of a split.

    Args:
        net: The network.
        split: Images and labels.
    """
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
    """Measure one function f at one setting; `facts` are further fields of the result."""
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
    """Return whether a function gives the same logits for the same images (N, ...) twice."""
    with attacking(f), torch.no_grad():
        first, second = f(x), f(x)
    return bool((first - second).abs().max() <= 1e-5 * (1 + first.abs().max()))


def _count_survivors(f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and at every point that the attack visits.

    Returns two counts of shape (1,).
    """
    clean, stands = None, torch.zeros_like(y, dtype=torch.bool)
    for index, _, logits in attack.survivors(f, x, y, generator):
        right = logits.argmax(1) == y[index]
        clean = right.sum() if clean is None else clean
        # `index` holds all images that were correct so far, so the others count as misclassified.
        stands[:] = False
        stands[index] = right
    return clean.float().cpu().view(1), stands.sum().float().cpu().view(1)


def _count_attacked(f, attack: Attack | Suite, x: Tensor, y: Tensor, generator, draws: int) -> tuple[Tensor, Tensor]:
    """Count images (N, ...) that are correct unattacked, and those also correct after the attack.

    Returns two counts of shape (draws,).
    """
    attacked, counts = attack(f, x, y, generator), torch.zeros(2, draws)
    for i in range(draws):
        with torch.no_grad():  # one forward, so that both use the same sample of random weights
            right, holds = (f(torch.cat([x, attacked])).argmax(1) == torch.cat([y, y])).chunk(2)
        # The unattacked image lies in the ball, too. If it is misclassified, the network is not
        # robust.
        counts[0, i], counts[1, i] = right.sum().item(), (right & holds).sum().item()
    return counts[0], counts[1]


def _about(net: Network) -> dict:
    """What a result says about its network, ready for JSON."""
    spec = net.spec
    about = {"recipe": spec.recipe, "backbone": spec.backbone, "data": spec.data, "stops": list(spec.stops),
             "dial": spec.dial, "trained": net.trained, "versions": record.versions()}  # fmt: skip
    return copy.deepcopy(about)  # a result must not change when the network is trained further


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson confidence interval of an accuracy.

    Unlike ±2 standard errors it stays inside [0, 1].

    Args:
        right: Number of correct images.
        n: Number of images.
        z: Quantile of the normal distribution. 1.96 gives a 95 % interval.

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If `n` is 0, or if `right` is not between 0 and `n`.

    Example:
        >>> wilson(90, 100)  # about (0.826, 0.945)
    """
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"wilson: need 0 <= right <= n and n > 0, got {right} of {n}")
    share, z2 = right / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # min and max remove rounding errors at right = 0 and right = n
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def two_ends(result: Result) -> str:
    """Describe what lies between the ends of a dial, if training defines only its two ends.

    Args:
        result: A result of the dial.

    Returns:
        A note in words, or "" for other results.
    """
    stops, dial = result.about.get("stops", []), result.about.get("dial")
    if len(stops) < 2 or (len(stops) > 2 and dial != "outputs"):
        return ""
    rule = f"; between them: {RULES[dial]}" if dial in RULES else ""  # missing in old files
    return f"{result.about.get('recipe', 'network')}: trained for λ = {stops[0]:g} and {stops[-1]:g} only{rule}"


def _percent(r: Result, which: str) -> str:
    low, high = getattr(r, f"{which}_low"), getattr(r, f"{which}_high")
    return f"{getattr(r, which):.1%} [{low:.1%}, {high:.1%}]"
