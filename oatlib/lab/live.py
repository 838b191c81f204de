"""One setting, measured for all to see: clean accuracy first, then robust accuracy as it falls step by step."""

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

from ..data import Split
from ..nets import Network
from ..suite import suited
from .named_attacks import NamedAttack

BATCH = 256  # at most so many images at once: more leave the caches of a CPU
HELPER = "oatlib batch"  # how the names of the threads begin that the batches run on


def measure(
    net: Network, panel: Split, lam: float, width: float, attack: NamedAttack, watched: Iterable[int] = ()
) -> Iterator[dict]:
    """Yield what is known so far after every step of the attack, as a dict ready for JSON.

    Measured is `net.at(lam, width)`: of noisy weights one frozen draw, which the attack sees. An image counts as robust
    while the network is right on it at every step so far. `watched` are indices of the images that a gallery shows.
    """
    f = net.at(lam, width)
    attack = suited(attack, f)
    last_step = attack.walk_length_for(len(net.spec.classes)) - 1  # at most; step 0 is the start
    facts = {"n": len(panel), "steps": last_step, "nonzero": sum(b.count_nonzero().item() for b in _numbers(f))}
    watch = _Watched(panel, watched)
    standing: dict[int, int] = {}  # by the first image of a batch; one that has ended keeps its number
    with _together(_walks(f, panel, attack), _threads(panel)) as advance:
        for step in range(-1, last_step + 1):  # -1: images as they are
            started = time.perf_counter()
            seen = advance()
            for offset, (index, x_adv, logits) in seen:
                right = logits.argmax(1) == panel.y[index + offset]
                standing[offset] = right.sum().item()
                watch.look(index + offset, x_adv, logits, right, step)
            robust = sum(standing.values()) / len(panel)
            if step < 0:
                facts |= {"clean": robust, "ms": 1000 * (time.perf_counter() - started) / len(panel)}
            facts |= {"step": step, "robust": robust, "gallery": watch.shown()}
            settled = step == last_step or not robust or not seen
            yield facts | {"phase": "settled" if settled else "clean" if step < 0 else "walk"}
            if settled:
                return


def _walks(f: torch.nn.Module, panel: Split, attack: NamedAttack) -> dict[int, Iterator]:
    """{index of its first image: walk} of the batches; each draws what `evaluate` draws for its images."""
    size = min(BATCH, math.ceil(len(panel) / _threads(panel)))
    generator, walks = torch.Generator(panel.x.device).manual_seed(0), {}
    for start in range(0, len(panel), size):
        x, y = panel.x[start : start + size], panel.y[start : start + size]
        own = torch.Generator(panel.x.device).set_state(generator.get_state())
        walks[start] = attack.survivors(f.forward, x, y, own)  # .forward: a folded network has nothing to freeze
        torch.rand(x.shape, generator=generator, device=x.device)
    return walks


@contextmanager
def _together(walks: dict[int, Iterator], threads: int) -> Iterator[Callable[[], list[tuple]]]:
    """Give what advances all batches, each on a thread of its own: [(offset, what came)] of those not at their end.

    That is faster than one after the other on all cores: OpenMP is slow to meet on this thread if it has been used on
    the process's first one, as it then keeps more threads than there are cores. New threads at every step would begin
    with cold memory: these last as long as the walks.
    """

    def advance(over=map) -> list[tuple]:
        came = zip(walks, over(lambda walk: next(walk, None), walks.values()), strict=True)
        return [(offset, seen) for offset, seen in came if seen is not None]  # None: nobody stands there any more

    if len(walks) == 1 or threads == 1:
        yield advance
    else:
        with ThreadPoolExecutor(threads, HELPER, initializer=_one_core) as pool:
            yield lambda: advance(pool.map)


def _threads(panel: Split) -> int:
    return torch.get_num_threads() if panel.x.device.type == "cpu" else 1


def _one_core() -> None:
    """Make what this thread computes run on it alone."""
    _pools().limit(limits=1, user_api="openmp")


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


class _Watched:
    """What the network says about a few images, before the attack and now; who has fallen stays as he fell."""

    def __init__(self, panel: Split, indices: Iterable[int]):
        self.panel, self.place = panel, {int(i): place for place, i in enumerate(indices)}
        self.rows: list[dict] = [{} for _ in self.place]

    def look(self, index: Tensor, x_adv: Tensor, logits: Tensor, right: Tensor, step: int) -> None:
        """One batch at one point of the walk."""
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
        """A copy of what is known."""
        return [dict(row) for row in self.rows]


def _numbers(f: torch.nn.Module) -> list[Tensor]:
    return [b for b in f.buffers() if b.is_floating_point()]


def pixels(x: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as bytes in reading order, channels last, in base64."""
    return base64.b64encode((x * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy().tobytes()).decode()
