"""Measure one setting of a network: clean accuracy first, then robust accuracy after every step.

The explorer shows the intermediate results, so that users can watch how robust accuracy falls. It
attacks a few images first, which takes a fraction of a second. Then it attacks further images, so
that the confidence interval of the result shrinks.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from ..attacks.base import Attack
from ..attacks.suite import suited
from ..data.load import Split
from ..networks.network import Network

BATCH = 256  # images per batch, at most: larger batches do not fit the caches of a CPU
PART = 128  # images that are attacked before a result is settled, and before it is refined
HELPER = "oatlib batch"  # prefix of the names of the threads that the batches run on

# Applies a function to each of several arguments, perhaps on several threads at once.
Run = Callable[[Callable, Iterable], Iterable]


def head(panel: Split, n: int) -> Split:
    """Return the first n images of a panel, or all if there are fewer.

    Args:
        panel: The images. If it is made by `Split.panel`, all its classes are in the first images
            in equal numbers, as far as possible.
        n: Number of images.
    """
    return panel.take(torch.arange(min(n, len(panel)), device=panel.y.device))


def measure(
    net: Network,
    panel: Split,
    lam: float,
    width: float,
    attack: Attack,
    watched: Iterable[int] = (),
) -> Iterator[dict]:
    """Measure `net.at(lam, width)`, and yield the results so far after every step of the attack.

    An image counts as robust while it is classified correctly at every step so far. If the weights
    are noisy, one frozen sample of them is measured, and the attack sees the same sample.

    Args:
        net: The network.
        panel: The images to measure.
        lam: λ, between the first and the last λ stop.
        width: One of the widths of the network.
        attack: The attack.
        watched: Indices of the images that the gallery shows.

    Yields:
        Dicts ready for JSON, one before the attack and one per step, with these keys:

            * phase: "clean" before the attack, "walk" during it, "settled" in the last dict.
            * step: -1 before the attack, 0 at its start, then counting up.
            * steps: Upper bound of step.
            * n: Number of images.
            * correct: Numbers of images that were classified correctly at every step so far: one
              entry per step, from step -1 on.
            * clean, robust: Accuracies in [0, 1], the first and the last entry of `correct` divided
              by n; robust is an upper bound until the end.
            * ms: Milliseconds per image of the clean pass.
            * nonzero: Number of weights of the folded network that are not 0.
            * gallery: For each watched image a dict with "before" and "now" (see `_Watched`),
              "image" (see `pixels`) and, once misclassified, "fell", the first step where it is.
    """
    watch = _Watched(panel, watched)
    with _pool(panel) as run:
        f = _fold(net, lam, width, run)
        attack = suited(attack, f)
        last_step = _last_step(net, attack)
        walks = _walks(f, panel, 0, len(panel), attack)
        facts: dict = {
            "n": len(panel),
            "steps": last_step,
            "nonzero": _nonzero(f, run),
        }
        for attacked in _attack(walks, panel, last_step, run, watch):
            if attacked.step < 0:
                facts["ms"] = 1000 * attacked.seconds / len(panel)
            phase = "clean" if attacked.step < 0 else "walk"
            yield {
                "phase": "settled" if attacked.ended else phase,
                **_accuracies(attacked.correct, len(panel)),
                **facts,
                "gallery": watch.shown(),
            }


def refine(
    net: Network, panel: Split, lam: float, width: float, attack: Attack, settled: dict
) -> Generator[dict, None, None]:
    """Measure the images of a panel that `measure` has not attacked, and pool the results.

    The attack gets the random numbers that it has when `measure` attacks the whole panel.

    Args:
        net: The network.
        panel: All images. `settled` is the result of its first `settled["n"]` images.
        lam: λ, as for `measure`.
        width: The width, as for `measure`.
        attack: The attack, as for `measure`.
        settled: The last dict of `measure` or of `refine`.

    Yields:
        Dicts with the keys of `settled`, one per step of the attack. The numbers change after every
        PART images; until then the last result is repeated, so that the caller can pause or stop.
    """
    if settled["n"] >= len(panel):
        return
    with _pool(panel) as run:
        f = _fold(net, lam, width, run)
        attack = suited(attack, f)
        for start in range(settled["n"], len(panel), PART):
            stop = min(start + PART, len(panel))
            walks = _walks(f, panel, start, stop, attack)
            for attacked in _attack(walks, panel, _last_step(net, attack), run):
                if not attacked.ended:
                    yield settled
            correct = _added(settled["correct"], attacked.correct)
            settled = settled | {"n": stop, **_accuracies(correct, stop)}
            yield settled


@dataclass(frozen=True)
class _Attacked:
    """The state of an attack after one of its steps.

    `correct` has one number of images per step, from step -1 on. `seconds` is the time of this
    step. `ended` says whether the attack has ended.
    """

    correct: list[int]
    seconds: float
    ended: bool

    @property
    def step(self) -> int:
        return len(self.correct) - 2


def _attack(
    walks: dict[int, Iterator],
    panel: Split,
    last_step: int,
    run: Run,
    watch: _Watched | None = None,
) -> Iterator[_Attacked]:
    """Advance the attack on all batches of `_walks` to its end, step by step."""
    # number of images that are still correct, by the index of the first image of the batch; a batch
    # whose attack has ended keeps its number
    standing: dict[int, int] = {}
    correct: list[int] = []
    for step in range(-1, last_step + 1):  # -1: clean images
        started = time.perf_counter()
        seen = _advance(walks, run)
        for offset, (index, x_adv, logits) in seen:
            right = logits.argmax(1) == panel.y[index + offset]
            standing[offset] = right.sum().item()
            if watch is not None:
                watch.look(index + offset, x_adv, logits, right, step)
        correct = [*correct, sum(standing.values())]
        ended = step == last_step or not correct[-1] or not seen
        yield _Attacked(correct, time.perf_counter() - started, ended)
        if ended:
            return


def _walks(
    f: torch.nn.Module, panel: Split, start: int, stop: int, attack: Attack
) -> dict[int, Iterator]:
    """Start the attack on the images from index `start` to `stop`, in batches.

    Return iterators by the index of the first image of the batch. Each batch gets the random
    numbers that `evaluate` uses for its images.
    """
    size = min(BATCH, math.ceil((stop - start) / _threads(panel)))
    generator, walks = torch.Generator(panel.x.device).manual_seed(0), {}
    _skip(panel.x[:start], generator)
    for first in range(start, stop, size):
        end = min(first + size, stop)
        x, y = panel.x[first:end], panel.y[first:end]
        own = torch.Generator(panel.x.device).set_state(generator.get_state())
        # .forward is no module, so the attack freezes nothing: a folded network does not need it
        walks[first] = attack.survivors(f.forward, x, y, own)
        _skip(x, generator)  # the batch takes its numbers from its copy
    return walks


def _skip(x: Tensor, generator: torch.Generator) -> None:
    """Advance a generator by the random numbers that the attack on some images takes."""
    torch.rand(x.shape, generator=generator, device=x.device)


def _advance(walks: dict[int, Iterator], run: Run) -> list[tuple]:
    """Advance the attack on every batch by one step.

    Return [(index of the first image, result)] for the batches whose attack has not ended.
    """
    came = zip(walks, run(lambda walk: next(walk, None), walks.values()), strict=True)
    return [(offset, seen) for offset, seen in came if seen is not None]  # None: has ended


def _last_step(net: Network, attack: Attack) -> int:
    """Return the upper bound of the number of steps. Step 0 is the start of the attack."""
    return attack.walk_length_for(len(net.spec.classes)) - 1


def _fold(net: Network, lam: float, width: float, run: Run) -> torch.nn.Module:
    """Return the network at a setting, folded on one core.

    To divide this small work among several cores takes longer than the work.
    """
    (f,) = run(lambda position: net.at(*position), [(lam, width)])
    return f


def _nonzero(f: torch.nn.Module, run: Run) -> int:
    """Return the number of weights of a folded network that are not 0. It holds them as buffers."""
    numbers = [b for b in f.buffers() if b.is_floating_point()]
    return sum(run(lambda b: b.count_nonzero().item(), numbers))


def _accuracies(correct: list[int], n: int) -> dict:
    """Return the keys of a frame that follow from the numbers of correct images."""
    return {
        "step": len(correct) - 2,
        "correct": correct,
        "clean": correct[0] / n,
        "robust": correct[-1] / n,
    }


def _added(first: list[int], second: list[int]) -> list[int]:
    """Add the numbers of two groups of images step by step.

    A group whose attack has ended keeps its last number.
    """
    length = max(len(first), len(second))
    padded = [[*numbers, *numbers[-1:] * (length - len(numbers))] for numbers in (first, second)]
    return [sum(both) for both in zip(*padded, strict=True)]


@contextmanager
def _pool(panel: Split) -> Iterator[Run]:
    """Provide a function that applies another to each of its arguments, on one thread each."""
    # One thread per batch is faster than one batch after another on all cores. OpenMP synchronises
    # slowly on this thread if the main thread of the process has used it, because it then keeps
    # more threads than there are cores. New threads at every step would start with cold caches, so
    # these threads live until the measurement ends.
    threads = _threads(panel)
    if threads == 1:
        yield map
    else:
        with ThreadPoolExecutor(threads, HELPER, initializer=_one_core) as pool:
            yield pool.map


def _threads(panel: Split) -> int:
    return torch.get_num_threads() if panel.x.device.type == "cpu" else 1


def _one_core() -> None:
    """Limit OpenMP to one core for computations of the calling thread."""
    _pools().limit(limits=1, user_api="openmp")


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


class _Watched:
    """The predictions for a few images, before the attack and now.

    A prediction is a dict: "said" is the class, "sure" its probability, "right" whether it is
    correct. An image that is misclassified keeps the state of that step.
    """

    def __init__(self, panel: Split, indices: Iterable[int]):
        self.panel, self.place = panel, {int(i): place for place, i in enumerate(indices)}
        self.rows: list[dict] = [{} for _ in self.place]

    def look(self, index: Tensor, x_adv: Tensor, logits: Tensor, right: Tensor, step: int) -> None:
        """Update the watched images of one batch after a step of the attack."""
        for at, image in enumerate(index.tolist()):
            if image in self.place:
                sure, said = logits[at].softmax(0).max(0)
                now = {"said": said.item(), "sure": round(sure.item(), 4), "right": bool(right[at])}
                row = self.rows[self.place[image]]
                if step < 0:
                    row |= {"before": now}
                row |= {"now": now, "image": pixels(x_adv[at])}
                if not right[at]:
                    row.setdefault("fell", step)

    def shown(self) -> list[dict]:
        """Return a copy of the current state, one dict per watched image."""
        return [dict(row) for row in self.rows]


def pixels(x: Tensor) -> str:
    """Encode an image as base64 text: one byte per value, row by row, channels last.

    Args:
        x: The image (C, H, W) with pixels in [0, 1].
    """
    return base64.b64encode(
        (x * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
    ).decode()
