"""Measure one setting of a network: clean accuracy first, then robust accuracy after every step.

The explorer shows the intermediate results, so that users can watch how robust accuracy falls.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from ..attacks.base import Attack
from ..attacks.suite import suited
from ..data.load import Split
from ..networks.network import Network

BATCH = 256  # images per batch, at most: larger batches do not fit the caches of a CPU
HELPER = "oatlib batch"  # prefix of the names of the threads that the batches run on


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
            * clean, robust: Accuracies in [0, 1]; robust is an upper bound until the end.
            * ms: Milliseconds per image of the clean pass.
            * nonzero: Number of weights of the folded network that are not 0.
            * gallery: For each watched image a dict with "before" and "now" (see `_Watched`),
              "image" (see `pixels`) and, once misclassified, "fell", the first step where it is.
    """
    f = net.at(lam, width)
    attack = suited(attack, f)
    last_step = attack.walk_length_for(len(net.spec.classes)) - 1  # at most; step 0 is the start
    facts = {
        "n": len(panel),
        "steps": last_step,
        "nonzero": sum(b.count_nonzero().item() for b in _numbers(f)),
    }
    watch = _Watched(panel, watched)
    # number of images that are still correct, by the index of the first image of the batch; a batch
    # whose attack has ended keeps its number
    standing: dict[int, int] = {}
    with _together(_walks(f, panel, attack), _threads(panel)) as advance:
        for step in range(-1, last_step + 1):  # -1: clean images
            started = time.perf_counter()
            seen = advance()
            for offset, (index, x_adv, logits) in seen:
                right = logits.argmax(1) == panel.y[index + offset]
                standing[offset] = right.sum().item()
                watch.look(index + offset, x_adv, logits, right, step)
            robust = sum(standing.values()) / len(panel)
            if step < 0:
                facts |= {
                    "clean": robust,
                    "ms": 1000 * (time.perf_counter() - started) / len(panel),
                }
            facts |= {"step": step, "robust": robust, "gallery": watch.shown()}
            settled = step == last_step or not robust or not seen
            yield facts | {"phase": "settled" if settled else "clean" if step < 0 else "walk"}
            if settled:
                return


def _walks(f: torch.nn.Module, panel: Split, attack: Attack) -> dict[int, Iterator]:
    """Start the attack on each batch. Return iterators by the index of the batch's first image.

    Each batch gets the random numbers that `evaluate` uses for its images.
    """
    size = min(BATCH, math.ceil(len(panel) / _threads(panel)))
    generator, walks = torch.Generator(panel.x.device).manual_seed(0), {}
    for start in range(0, len(panel), size):
        x, y = panel.x[start : start + size], panel.y[start : start + size]
        own = torch.Generator(panel.x.device).set_state(generator.get_state())
        # .forward is no module, so the attack freezes nothing: a folded network does not need it
        walks[start] = attack.survivors(f.forward, x, y, own)
        # advance the generator by the numbers of this batch, which it takes from its copy
        torch.rand(x.shape, generator=generator, device=x.device)
    return walks


@contextmanager
def _together(walks: dict[int, Iterator], threads: int) -> Iterator[Callable[[], list[tuple]]]:
    """Provide a function that advances the attack on every batch by one step, on one thread each.

    It returns [(index of the first image, result)] for the batches whose attack has not ended.
    """
    # One thread per batch is faster than one batch after another on all cores. OpenMP synchronises
    # slowly on this thread if the main thread of the process has used it, because it then keeps
    # more threads than there are cores. New threads at every step would start with cold caches, so
    # these threads live until the measurement ends.

    def advance(over=map) -> list[tuple]:
        came = zip(walks, over(lambda walk: next(walk, None), walks.values()), strict=True)
        return [(offset, seen) for offset, seen in came if seen is not None]  # None: has ended

    if len(walks) == 1 or threads == 1:
        yield advance
    else:
        with ThreadPoolExecutor(threads, HELPER, initializer=_one_core) as pool:
            yield lambda: advance(pool.map)


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


def _numbers(f: torch.nn.Module) -> list[Tensor]:
    """Return the weights of a folded network, which holds them as buffers."""
    return [b for b in f.buffers() if b.is_floating_point()]


def pixels(x: Tensor) -> str:
    """Encode an image as base64 text: one byte per value, row by row, channels last.

    Args:
        x: The image (C, H, W) with pixels in [0, 1].
    """
    return base64.b64encode(
        (x * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
    ).decode()
