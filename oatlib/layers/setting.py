"""Where the dials stand: the one immutable argument that travels through a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

CLEAN, ADV = 0, 1  # the two BatchNorm branches, and the two paths through conditioned weights


@dataclass(frozen=True)
class Width:
    """A place on the width dial: a share of the channels, and its index in the list of widths (None: in between)."""

    share: float = 1.0
    index: int | None = 0

    def cut(self, channels: int) -> int:
        """How many channels are left, rounded down; never none. (US-Nets and the public MobileNetV2
        round to multiples of eight.)"""
        return cut(channels, self.share)


def cut(channels: int, share: float) -> int:
    """The first `share` of the channels; the tiny number absorbs rounding, as in 0.1 * 10."""
    return max(1, int(channels * share + 1e-6))


ONLY = Width()  # the width of a network that has but one


@dataclass(frozen=True)
class Setting:
    """The dials of one batch, resolved: which λ stop each sample uses, which BatchNorm branch and which weights.

    `stop` (N,) is the index of each sample's λ stop, `branch` (N,) its BatchNorm branch, `path` (N,) its weights where
    there are two kinds (noisy or not, one of two experts), all on the CPU. `passes` lists how many samples each
    training pass holds: passes share a forward, never batch statistics. The width is one for the whole batch.
    """

    stop: Tensor
    branch: Tensor
    passes: tuple[int, ...]
    width: Width = ONLY
    path: Tensor | None = None  # None: all take the same weights

    def on_clean_path(self) -> Setting:
        """The same with clean weights for everyone: what unattacked images pass through in training."""
        return self if self.path is None else replace(self, path=torch.zeros_like(self.path))

    @staticmethod
    def join(*settings: Setting) -> Setting:
        """Several training passes sent through the network in one go; each keeps its own batch statistics."""
        return Setting(
            torch.cat([s.stop for s in settings]),
            torch.cat([s.branch for s in settings]),
            sum((s.passes for s in settings), ()),
            settings[0].width,
            None if settings[0].path is None else torch.cat([s.path for s in settings]),
        )

    def route(self, stops: int, like: Tensor) -> Route:
        """Order the batch by (pass, branch, path), once, so that every layer only slices. `like`: device and dtype."""
        which_pass = torch.repeat_interleave(torch.arange(len(self.passes)), torch.tensor(self.passes))
        path = torch.zeros_like(self.branch) if self.path is None else self.path
        key = which_pass * 4 + self.branch * 2 + path
        order = None if bool((key[1:] >= key[:-1]).all()) else torch.argsort(key, stable=True)
        stop, key = (self.stop, key) if order is None else (self.stop[order], key[order])
        pick = torch.nn.functional.one_hot(stop, stops).to(like)
        runs = _runs(key % 2) if self.path is not None else ()
        return Route(_runs(key // 2), pick, None if order is None else order.to(like.device), runs)


def _runs(key: Tensor) -> tuple[tuple[int, int], ...]:
    """(value mod 2, length) of every run of equal values; of no values it is one empty run."""
    keys, counts = key.unique_consecutive(return_counts=True)
    return tuple((int(k) % 2, int(n)) for k, n in zip(keys, counts, strict=True)) or ((CLEAN, 0),)


@dataclass(frozen=True)
class Route:
    """What a unit needs of a Setting: runs of (branch, samples) for norms and of (path, samples) for weights, in order,
    and `pick` (N, S), one-hot over the λ stops."""

    segments: tuple[tuple[int, int], ...]
    pick: Tensor
    order: Tensor | None
    paths: tuple[tuple[int, int], ...] = ()

    def enter(self, x: Tensor) -> Tensor:
        """Put the batch into routing order (at the entrance of the network)."""
        return x if self.order is None else x[self.order]

    def leave(self, x: Tensor) -> Tensor:
        """Put the batch back into the caller's order (at its exit)."""
        return x if self.order is None else torch.empty_like(x).index_copy(0, self.order, x)
