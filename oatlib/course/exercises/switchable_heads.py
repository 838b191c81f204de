"""Exercises of lesson 07: the best of many, bootstrap, exchanged labels, and switchable heads.

The open exercise `verdict` asks for a procedure that decides whether a method is better. It is
judged on simulated papers, of which the truth is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn

from ...layers.head import Head
from ...layers.setting import Width
from ...layers.unit import Dials
from .. import papers
from . import Wrong, exercise, same

Statistic = Callable[[Tensor, Tensor], float]


def _number(got, what: str = "a number") -> float:
    """Return a result as a float, or raise Wrong."""
    if isinstance(got, Tensor) and got.numel() == 1:
        return got.item()
    if isinstance(got, bool) or not isinstance(got, int | float):
        given = "nothing" if got is None else type(got).__name__
        if isinstance(got, Tensor):
            given = f"a tensor of shape {tuple(got.shape)}"
        raise Wrong(f"it should return {what}, but returns {given}.")
    return float(got)


def _best_gain(ours: Tensor, base: Tensor) -> float:
    gains = ours.mean(0) - base.mean(0)
    return gains.max().item()


def _mean_gain(ours: Tensor, base: Tensor) -> float:
    return (ours.mean() - base.mean()).item()


@exercise(_best_gain, "oatlib.course.exercises.switchable_heads._best_gain")
def best_gain(theirs) -> None:
    """ours, base (runs, sub-networks) -> largest gain of the mean over the runs, a float."""
    ours = torch.tensor([[50.0, 62.0, 71.0, 80.0], [54.0, 60.0, 79.0, 78.0]])
    base = torch.tensor([[51.0, 57.0, 76.0, 80.0], [49.0, 62.0, 70.0, 81.0]])
    got, want = _number(theirs(ours, base)), _best_gain(ours, base)
    mistakes = {
        "it takes the best sub-network of every run. Average over the runs first, then take the "
        "maximum.": (ours - base).max(1).values.mean().item(),
        "it takes the best number of the whole table. Average over the runs first.": (ours - base)
        .max()
        .item(),
        "this is the mean over all sub-networks: the best one is asked for.": _mean_gain(
            ours, base
        ),
        "the two methods are swapped: a gain is ours minus base.": _best_gain(base, ours),
        "it compares the best of ours with the best of base, which can be two different "
        "sub-networks.": (ours.mean(0).max() - base.mean(0).max()).item(),
    }
    if abs(got - want) > 1e-4:
        for mistake, value in mistakes.items():
            if abs(got - value) < 1e-4:
                raise Wrong(mistake)
        raise Wrong(f"for ours {ours.tolist()} and base {base.tolist()} it should be {want:g}.")
    worse = _number(theirs(ours - 10, base))
    if abs(worse - (want - 10)) > 1e-4:
        raise Wrong(
            f"where all gains are negative, the largest is {want - 10:g}, not {worse:g}: take no "
            "absolute values."
        )
    more = torch.cat([base, base])
    if abs(_number(theirs(ours, more)) - want) > 1e-4:
        raise Wrong("ours and base may have different numbers of runs: average each one first.")


def _bootstrap_means(values: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(len(values), (draws, len(values)), generator=generator)
    return values[chosen].mean(1)


def _follows_generator(run: Callable[[torch.Generator], Tensor]) -> None:
    """Raise Wrong if a random result does not depend on the generator."""
    first, again, other = (run(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    if not torch.equal(first, again) or torch.equal(first, other):
        raise Wrong("the result must depend on the generator: pass it to every torch.randint.")


@exercise(_bootstrap_means, "oatlib.course.exercises.switchable_heads._bootstrap_means")
def bootstrap_means(theirs) -> None:
    """values (S,), draws, generator -> means of S values drawn with replacement, (draws,)."""
    values, draws = torch.tensor([2.0, -1.0, 4.0, 0.5, 3.0]), 4000
    got = theirs(values.clone(), draws, torch.Generator().manual_seed(0))
    if isinstance(got, Tensor) and got.shape == (draws, len(values)):
        raise Wrong("it returns the drawn values: take the mean of every row.")
    if isinstance(got, Tensor) and got.shape == (len(values),):
        raise Wrong("it takes the mean over the draws: one mean per draw is asked for.")
    if not isinstance(got, Tensor) or got.shape != (draws,):
        same(got, torch.zeros(draws), "")  # says what it is instead
    if got.std() < 1e-4:
        raise Wrong("all means are equal: draw with replacement, with torch.randint.")
    want = values.std(correction=0).item() / len(values) ** 0.5
    spread, middle = got.std().item(), got.mean().item()
    if abs(spread - values.std(correction=0).item()) < 0.1:
        raise Wrong("every mean has one value only: draw as many values as there are.")
    if abs(spread - want) > 0.08 or abs(middle - values.mean()) > 0.08:
        raise Wrong(
            f"its means have mean {middle:.2f} and spread {spread:.2f}; {values.mean():.2f} and "
            f"{want:.2f} are expected. Every value must be equally likely in every draw."
        )
    _follows_generator(lambda generator: theirs(values, 50, generator))


def _points(correct: Tensor) -> Tensor:
    """Return accuracies (runs, sub-networks) in percent, of correct images (runs, ..., images)."""
    return 100 * correct.float().mean(-1)


def _bootstrap(
    ours: Tensor, base: Tensor, statistic: Statistic, draws: int, generator: torch.Generator
) -> Tensor:
    values = []
    for _ in range(draws):
        images = torch.randint(ours.shape[2], (ours.shape[2],), generator=generator)
        tables = []
        for correct in (ours, base):
            runs = torch.randint(len(correct), (len(correct),), generator=generator)
            tables.append(_points(correct[runs][:, :, images]))
        values.append(statistic(*tables))
    return torch.tensor(values)


BOOTSTRAP_DRAWS = 400


class _Bootstrapped:
    """Runs an answer to `bootstrap` with the mean gain, and remembers the shapes of the tables."""

    def __init__(self, theirs):
        self.theirs = theirs
        self.shapes: set[tuple] = set()

    def _mean_gain(self, ours: Tensor, base: Tensor) -> float:
        self.shapes.add((tuple(ours.shape), tuple(base.shape)))
        return _mean_gain(ours.float(), base.float())

    def __call__(self, ours: Tensor, base: Tensor) -> Tensor:
        self.shapes.clear()
        generator = torch.Generator().manual_seed(0)
        got = self.theirs(ours.clone(), base.clone(), self._mean_gain, BOOTSTRAP_DRAWS, generator)
        if not isinstance(got, Tensor) or got.shape != (BOOTSTRAP_DRAWS,):
            same(got, torch.zeros(BOOTSTRAP_DRAWS), "")  # says what it is instead
        return got.double()


@exercise(_bootstrap, "oatlib.course.exercises.switchable_heads._bootstrap")
def bootstrap(theirs) -> None:
    """ours, base (runs, sub-networks, images), statistic, draws, generator -> values (draws,)."""
    run = _Bootstrapped(theirs)
    # images that agree in every run, so that only the draw of runs matters
    levels = torch.tensor([0, 1, 1, 0])[:, None, None].expand(4, 3, 100).bool().clone()
    # runs that agree on every image, so that only the draw of images matters
    by_image = torch.rand(1, 3, 100, generator=torch.Generator().manual_seed(1)) < 0.6
    equal_runs = by_image.expand(4, 3, 100).clone()
    _draws_of_runs(run, levels)
    _draws_of_images(run, equal_runs)
    if run(levels, levels).std() < 1e-3:
        raise Wrong(
            "ours and base get the same runs: they are different networks, so draw the runs of "
            "each method separately."
        )
    short = run(levels[:2], torch.zeros_like(levels))
    if run.shapes != {((2, 3), (4, 3))} or short.std() < 1e-3:
        raise Wrong("the two methods may have different numbers of runs: use the length of each.")
    _follows_generator(lambda generator: theirs(equal_runs, levels, _mean_gain, 20, generator))


def _draws_of_runs(run: _Bootstrapped, levels: Tensor) -> None:
    """Raise Wrong if the tables or the draw of the runs are wrong."""
    values = run(levels, torch.zeros_like(levels))
    if run.shapes != {((4, 3), (4, 3))}:
        raise Wrong(
            "statistic needs two tables (runs, sub-networks) of accuracies, with as many runs as "
            f"there are. Average over the images. It got {sorted(run.shapes)[0][0]}."
        )
    if values.abs().max() <= 1:
        raise Wrong("accuracies should be in points: multiply by 100.")
    if values.std() < 1e-3:
        raise Wrong("the runs are not drawn with replacement: training is a source of chance, too.")
    if abs(values.std() - 25) > 4:
        raise Wrong(
            f"drawing the runs gives a spread of {values.std():.1f} points where 25 are expected: "
            "every run must be equally likely in every draw."
        )


def _draws_of_images(run: _Bootstrapped, equal_runs: Tensor) -> None:
    """Raise Wrong if the draw of the images is wrong."""
    if run(equal_runs, torch.zeros_like(equal_runs)).std() < 1e-3:
        raise Wrong("the images are not drawn with replacement: they are a source of chance, too.")
    if run(equal_runs, equal_runs).abs().max() > 1e-3:
        raise Wrong(
            "ours and base get different images: all runs were tested on the same images, so draw "
            "them once per repetition."
        )


def _relabelled(ours: Tensor, base: Tensor, statistic: Statistic) -> Tensor:
    runs = torch.cat([ours, base])
    everyone = range(len(runs))
    values = []
    for first in combinations(everyone, len(ours)):
        rest = [run for run in everyone if run not in first]
        values.append(statistic(runs[list(first)], runs[rest]))
    return torch.tensor(values)


@exercise(_relabelled, "oatlib.course.exercises.switchable_heads._relabelled")
def relabelled(theirs) -> None:
    """ours (A, K), base (B, K), statistic -> value for every split of the A + B runs, (splits,)."""
    generator = torch.Generator().manual_seed(0)
    ours, base = (torch.randn(runs, 4, generator=generator) for runs in (3, 2))
    calls = []

    def statistic(a: Tensor, b: Tensor) -> float:
        calls.append((len(a), len(b)))
        return _best_gain(a, b)

    got = theirs(ours.clone(), base.clone(), statistic)
    if not isinstance(got, Tensor):
        same(got, torch.zeros(10), "")  # says what it is instead
    if not calls:
        raise Wrong("it never calls statistic(ours, base).")
    if set(calls) != {(3, 2)}:
        raise Wrong(
            f"the first group must have {len(ours)} runs and the second {len(base)}, as in the "
            f"real comparison. It has groups of {calls[-1]}."
        )
    want = _relabelled(ours, base, _best_gain)
    if got.shape == (9,):
        raise Wrong("one split is missing: the real one counts, too, and comes first.")
    if got.shape != want.shape:
        raise Wrong(
            f"3 and 2 runs can be split in {len(want)} ways, but it returns {got.numel()} values: "
            "use itertools.combinations."
        )
    if not torch.allclose(got.double().sort().values, want.double().sort().values, atol=1e-5):
        raise Wrong(
            "some splits are wrong: the second group holds exactly the runs that are not in the "
            "first."
        )
    if abs(got[0] - want[0]) > 1e-5:
        raise Wrong("the first value must belong to the real split: ours and base as they are.")


def _shared_logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    columns = weight[:, : features.shape[1]]
    return features @ columns.T + bias


@exercise(_shared_logits, "oatlib.layers.head.Head")
def shared_logits(theirs) -> None:
    """features (N, F_w), weight (classes, F), bias (classes,) -> logits (N, classes)."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, features = (
        torch.randn(size, generator=generator) for size in ((3, 8), (3,), (5, 4))
    )
    got, want = theirs(features, weight, bias), _shared_logits(features, weight, bias)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if torch.allclose(got, want - bias, atol=1e-5):
            raise Wrong("the bias is missing.")
        if torch.allclose(got, features @ weight[:, -4:].T + bias, atol=1e-5):
            raise Wrong("it uses the last columns: a narrow network uses the first ones.")
        if torch.allclose(got, want.softmax(1), atol=1e-5):
            raise Wrong("it returns probabilities: an output layer returns logits.")
    same(got, want, "it should be features times the first F_w columns of weight, plus bias.")


class _SwitchableHead(nn.Module):
    def __init__(self, features: int, classes: int, widths: tuple[float, ...]):
        super().__init__()
        sizes = [int(features * width) for width in widths]
        self.each = nn.ModuleList([nn.Linear(size, classes) for size in sizes])

    def forward(self, features: Tensor, index: int) -> Tensor:
        return self.each[index](features)


@exercise(_SwitchableHead, "oatlib.layers.head.Head")
def SwitchableHead(theirs) -> None:
    """features, classes, widths; forward(features (N, F_w), index) -> logits (N, classes)."""
    # two widths have the same number of features
    widths = (0.25, 0.29, 1.0)
    head = theirs(10, 3, widths)
    if not isinstance(head, nn.Module):
        raise Wrong("it should be an nn.Module.")
    count = sum(p.numel() for p in head.parameters())
    want = sum((size + 1) * 3 for size in (2, 2, 10))
    if count == 0:
        raise Wrong(
            "it has no parameters, so nothing would be trained: put the layers into nn.ModuleList."
        )
    if count != want:
        raise Wrong(
            f"for 10 features, 3 classes and widths {widths} it should have {want} parameters, and "
            f"has {count}: a layer with int(features * width) inputs for every width."
        )
    if not isinstance(getattr(head, "each", None), nn.ModuleList):
        raise Wrong("call the list of layers `each`, as the library does.")
    x = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    for index, size in enumerate((2, 2, 10)):
        given = x[:, :size]
        got, wanted = head(given, index), head.each[index](given)
        if isinstance(got, Tensor) and got.shape == wanted.shape:
            if torch.allclose(got, wanted.softmax(1), atol=1e-5):
                raise Wrong("it returns probabilities: an output layer returns logits.")
            if size == 2 and torch.allclose(got, head.each[1 - index](given), atol=1e-5):
                raise Wrong(
                    "it finds the layer by its number of features, which two widths share: use "
                    "the index."
                )
        same(got, wanted, "it should be what self.each[index] gives for these features.")
    _agrees_with_head(theirs)


def _agrees_with_head(theirs) -> None:
    """Raise Wrong if the class does not fit the weights of the library's head."""
    widths = (0.5, 1.0)
    own, its = theirs(8, 3, widths), Head(8, 3, widths, own=True)
    its.load_state_dict(own.state_dict())
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    want = its(x, Dials(None, None, Width(0.5, 0)))
    same(own(x, 0), want, "with the same weights it should give what the library's head gives.")


NULL, REAL = 300, 150  # simulated papers without and with an effect
MOST_FALSE = 22  # 5 % of the papers without an effect, and two standard errors
POWER = 0.6  # fraction of the real effects to be found
HIDDEN = 20250  # seed of the papers


@functools.cache
def _papers() -> list[tuple[bool, Tensor, Tensor]]:
    """Return simulated papers in random order: whether there is an effect, and the two tables."""
    generator = torch.Generator().manual_seed(HIDDEN)
    effects = [False] * NULL + [True] * REAL
    order = torch.randperm(len(effects), generator=generator).tolist()
    return [(effects[i], *papers.paper(generator, effects[i])) for i in order]


def _verdict(ours: Tensor, base: Tensor) -> bool:
    def scaled(ours: Tensor, base: Tensor) -> float:
        spread = (ours.var(0) + base.var(0)).sqrt() + 1e-6
        gains = (ours.mean(0) - base.mean(0)) / spread
        return gains.clamp(min=0).square().sum().item()

    values = _relabelled(ours, base, scaled)
    p = (values >= values[0] - 1e-6).float().mean()
    return bool(p <= 0.05)


@exercise(_verdict, "oatlib.course.exercises.switchable_heads._verdict")
def verdict(theirs) -> str:
    """ours, base (4 runs, sub-networks) in points -> True: ours is really better."""
    claims = {False: 0, True: 0}
    for effect, ours, base in _papers():
        claims[effect] += _yes_or_no(theirs(ours.clone(), base.clone()))
    false, found = claims[False], claims[True]
    if found == false == 0:
        raise Wrong("it never claims an effect: it makes no false claim, and finds nothing.")
    if (false, found) == (NULL, REAL):
        raise Wrong("it claims an effect in every paper.")
    measured = (
        f"It claims an effect in {false / NULL:.1%} of {NULL} papers without one, and in "
        f"{found / REAL:.0%} of {REAL} papers with one."
    )
    if false > MOST_FALSE:
        raise Wrong(
            f"too many false claims. {measured} At most {MOST_FALSE / NULL:.1%} are accepted. The "
            "noise differs from paper to paper, so no number of points can be the limit. The "
            "sub-networks of a run share noise, so they are not independent."
        )
    if found < POWER * REAL:
        raise Wrong(
            f"it misses too many real effects. {measured} At least {POWER:.0%} are wanted. Let "
            "no unstable sub-network dominate the statistic."
        )
    return measured


def _yes_or_no(answer) -> bool:
    """Return an answer as a bool, or raise Wrong."""
    if isinstance(answer, Tensor) and answer.dtype == torch.bool and answer.numel() == 1:
        return bool(answer)
    if not isinstance(answer, bool):
        given = "nothing" if answer is None else type(answer).__name__
        raise Wrong(f"it should return True or False, but returns {given}.")
    return answer
