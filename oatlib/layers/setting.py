"""Where the dials of a network stand, for a folded network and for one batch in training.

* A `Position` says at which λ, width and level of weight noise a network is folded. λ may lie
  between two λ stops.
* A `Setting` says which λ stop, BatchNorm branch and weight path each sample of a training batch
  uses.
* `Setting.route` turns it into a `Route`, which travels through the network: the batch is sorted
  once at the entrance, so that every layer only slices it.

All three are immutable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._processes import Processes

# Indices of the two BatchNorm branches, and of the two weight paths: the clean or the adversarial
# weights, where a network has two kinds.
CLEAN, ADV = 0, 1


@dataclass(frozen=True)
class Width:
    """A position on the width dial.

    Args:
        fraction: Fraction of the channels, in (0, 1].
        index: Index in the network's list of widths. None: a width between the listed ones.
    """

    fraction: float = 1.0
    index: int | None = 0

    def cut(self, channels: int) -> int:
        """Return how many of `channels` this width keeps, rounded down, but at least 1.

        US-Nets and the public MobileNetV2 round to multiples of eight instead.
        """
        return cut(channels, self.fraction)


def cut(channels: int, fraction: float) -> int:
    """Return how many of `channels` a fraction of them keeps, rounded down, but at least 1.

    Args:
        channels: Number of channels at the full width.
        fraction: Fraction to keep, in (0, 1].
    """
    # 1e-6 absorbs rounding errors: 0.29 * 100 is below 29 in floating point
    return max(1, int(channels * fraction + 1e-6))


ONLY = Width()  # the width of a network with only one


@dataclass(frozen=True)
class Position:
    """Where the dials of a network stand: λ, the level of weight noise, and the width.

    `Network.position` makes it from λ and width, and checks them. `Network.fold` takes it.

    Args:
        weights: λ as weights over the S λ stops, of shape (1, S) for all samples, or (N, S) with a
            row per sample. Each row sums to 1. A row between two stops interpolates them.
        width: The width.
        noise_levels: Level of weight noise at each stop, a factor on the noise that was trained at
            λ = 1. Empty: there is no weight noise.
    """

    weights: Tensor
    width: Width = ONLY
    noise_levels: tuple[float, ...] = ()

    @property
    def per_image(self) -> bool:
        """Whether each sample has its own λ."""
        return len(self.weights) > 1

    @property
    def noisy(self) -> bool:
        """Whether the weights are random at this position."""
        if not self.noise_levels:
            return False
        return any(self.noise_levels[stop] for stop in self.used_stops)

    @property
    def used_stops(self) -> list[int]:
        """Indices of the λ stops that have a weight for at least one sample, ascending."""
        return self.weights.any(0).nonzero()[:, 0].tolist()


@dataclass(frozen=True)
class Setting:
    """The resolved dials of one batch of N samples.

    All tensors are on the CPU. The width is the same for the whole batch.

    Args:
        stop: Index of each sample's λ stop, (N,).
        branch: BatchNorm branch of each sample, CLEAN or ADV, (N,).
        passes: Number of samples in each training pass, in the order of the batch. Passes share a
            forward, but each has its own batch statistics.
        width: The width.
        path: Weight path of each sample, CLEAN or ADV, (N,), for networks with two kinds of
            weights: with and without noise, or two experts. None: all samples use the same weights.
        processes: Processes that have other parts of the same passes. Their batch statistics come
            from the samples of all of them. None: from the samples of this batch.
    """

    stop: Tensor
    branch: Tensor
    passes: tuple[int, ...]
    width: Width = ONLY
    path: Tensor | None = None
    processes: Processes | None = None

    def on_clean_path(self) -> Setting:
        """Return the same setting with the clean weight path for all samples.

        Training uses it for the pass of unattacked images.
        """
        return self if self.path is None else replace(self, path=torch.zeros_like(self.path))

    @staticmethod
    def join(*settings: Setting) -> Setting:
        """Join training passes, so that they go through the network in one forward.

        Each pass keeps its own batch statistics. All settings must have the same width.

        Args:
            settings: The settings to join, in the order of the joined batch.
        """
        return Setting(
            torch.cat([s.stop for s in settings]),
            torch.cat([s.branch for s in settings]),
            sum((s.passes for s in settings), ()),
            settings[0].width,
            None if settings[0].path is None else torch.cat([s.path for s in settings]),
            settings[0].processes,
        )

    def route(self, stops: int, like: Tensor) -> Route:
        """Order the batch by (pass, branch, path), once, so that every layer only slices it.

        Args:
            stops: Number of λ stops S.
            like: Tensor whose device and type the route takes.

        Returns:
            The `Route` of the batch.
        """
        which_pass = torch.repeat_interleave(
            torch.arange(len(self.passes)), torch.tensor(self.passes)
        )
        path = torch.zeros_like(self.branch) if self.path is None else self.path
        # One sort key for all three, in binary: pass, branch (1 bit), path (1 bit).
        key = which_pass * 4 + self.branch * 2 + path
        order = None if bool((key[1:] >= key[:-1]).all()) else torch.argsort(key, stable=True)
        stop, key = (self.stop, key) if order is None else (self.stop[order], key[order])
        pick = torch.nn.functional.one_hot(stop, stops).to(like)
        # key // 2 is (pass, branch): equal branches of different passes stay separate runs, because
        # each pass has its own batch statistics. Weights do not depend on the pass.
        runs = _runs(key % 2) if self.path is not None else ()
        order = None if order is None else order.to(like.device)
        return Route(_runs(key // 2), pick, order, runs, self.processes)


def _runs(key: Tensor) -> tuple[tuple[int, int], ...]:
    """Return (value mod 2, length) of every run of equal values, or one empty run for no values."""
    keys, counts = key.unique_consecutive(return_counts=True)
    return tuple((int(k) % 2, int(n)) for k, n in zip(keys, counts, strict=True)) or ((CLEAN, 0),)


@dataclass(frozen=True)
class Route:
    """The routing of a sorted batch: what a unit needs of a `Setting`.

    Args:
        segments: Runs of (branch, number of samples) for the norms, in order.
        pick: The λ stop of each sample as one-hot rows, (N, S).
        order: Permutation that sorts the batch, (N,). None: the batch is sorted already.
        paths: Runs of (path, number of samples) for the weights, in order. Empty: all samples use
            the same weights.
        processes: Processes that have other samples of the same runs, see `Setting`.
    """

    segments: tuple[tuple[int, int], ...]
    pick: Tensor
    order: Tensor | None
    paths: tuple[tuple[int, int], ...] = ()
    processes: Processes | None = None

    def enter(self, x: Tensor) -> Tensor:
        """Sort the batch x (N, ...) into routing order, at the entrance of the network."""
        return x if self.order is None else x[self.order]

    def leave(self, x: Tensor) -> Tensor:
        """Restore the caller's order of x (N, ...), at the exit of the network."""
        return x if self.order is None else torch.empty_like(x).index_copy(0, self.order, x)
