"""One setting, measured for all to see: clean accuracy first, then robust accuracy as it falls step by step."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..attacks import Attack
from ..data import Split
from ..nets import Network

BATCH = 256  # the fastest on two CPU cores, and what `evaluate` takes: the same start, the same numbers


def measure(
    net: Network, panel: Split, lam: float, width: float, attack: Attack, watched: Iterable[int] = ()
) -> Iterator[dict | None]:
    """Yield what is known so far, as a dict ready for JSON, or None where nothing is new: a chance to stop.

    Measured is `net.at(lam, width)`: of noisy weights one frozen draw, which the attack sees. An image counts as robust
    while it is right at every point of the walk so far. `watched` are indices of the images that a gallery shows.
    """
    f = net.at(lam, width)
    facts = {"n": len(panel), "steps": attack.steps, "nonzero": sum(b.count_nonzero().item() for b in _numbers(f))}
    watch = _Watched(panel, watched)
    generator = torch.Generator(panel.x.device).manual_seed(0)
    pairs = zip(panel.x.split(BATCH), panel.y.split(BATCH), strict=True)
    walks = {start * BATCH: attack.survivors(f, x, y, generator) for start, (x, y) in enumerate(pairs)}
    seconds = 0.0
    for step in range(-1, attack.steps + 1):  # -1: as they are; 0: the random start
        standing = 0
        for offset, walk in list(walks.items()):
            started = time.perf_counter()
            seen = next(walk, None)
            seconds += time.perf_counter() - started
            if seen is None:
                del walks[offset]  # nobody stands in this batch any more
                continue
            index, x_adv, logits = seen
            right = logits.argmax(1) == panel.y[index + offset]
            standing += right.sum().item()
            watch.look(index + offset, x_adv, logits, right, step)
            yield None
        if step < 0:
            facts |= {"clean": standing / len(panel), "ms": 1000 * seconds / len(panel)}
        facts |= {"step": step, "robust": standing / len(panel), "gallery": watch.shown()}
        settled = step == attack.steps or not standing
        yield facts | {"phase": "settled" if settled else "clean" if step < 0 else "walk"}
        if settled:
            return


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
