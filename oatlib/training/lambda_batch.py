"""The batch of a training step: images with a λ stop each, sorted into clean and attacked ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .._processes import ALONE, Processes

# A batch is divided only if each process gets this many images of every kind. With fewer, a process
# could lack a BatchNorm branch that the others use.
LEAST_OF_A_KIND = 2


class LambdaBatch:
    """Images, labels and the λ stop of each image, with the unattacked images at the front.

    A training step attacks some of the images only, so it wants them in one block. This class sorts
    the batch. Apart from that the images keep their order, so a batch that is sorted already stays
    as it is.

    Args:
        images: Images (N, C, H, W) in [0, 1], in any order.
        labels: Labels (N,).
        lambda_stop: Index of the λ stop of each image, whole numbers (N,).
        stops: The λ stops of the network, `net.spec.stops`.
        attacked: Which images are attacked, bool (N,). None: those with λ > 0.

    Attributes:
        images: Sorted images (N, C, H, W).
        labels: Labels (N,) in the order of the images.
        lambda_stop: Index of the λ stop of each image, int64 (N,), on the CPU.
        lam: λ of each image, (N,), with the type and device of the images.
        n_clean: Number of images that are not attacked.
        clean: Slice of the images that are not attacked.
        attacked: Slice of the images that are attacked.
        processes: The processes that share the images, see `part`. Usually there is only one.
        whole: The batch of which this one is a part. Usually the batch itself.
        rows: Positions of the images in the whole batch (M,). None: this is the whole batch.
        share: Weight of the loss of this batch in the loss of all processes.

    Raises:
        ValueError: If there is not one label and one stop for each image, if an index is not that
            of a stop, or if an image with λ = 0 is to be attacked.

    Example:
        >>> batch = LambdaBatch(x, y, torch.tensor([5, 0, 2, 0]), net.spec.stops)
        >>> batch.lambda_stop, batch.n_clean
        (tensor([0, 0, 5, 2]), 2)
        >>> to_attack = batch.images[batch.attacked]
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        lambda_stop: Tensor,
        stops: tuple[float, ...],
        attacked: Tensor | None = None,
    ):
        lambda_stop = _checked_stops(images, labels, lambda_stop, len(stops))
        lam = torch.tensor(stops, dtype=torch.float64)[lambda_stop]
        is_attacked = lam > 0 if attacked is None else _checked_attacked(attacked, lam)
        # Bring the unattacked images to the front. `stable` keeps the order otherwise.
        if bool((is_attacked[1:] < is_attacked[:-1]).any()):
            order = is_attacked.long().argsort(stable=True)
            lambda_stop = lambda_stop[order]
            lam = lam[order]
            images = images[order.to(images.device)]
            labels = labels[order.to(labels.device)]
        self.images = images
        self.labels = labels
        self.lambda_stop = lambda_stop
        self.lam = lam.to(images)
        self._above_zero = lam > 0  # on the CPU
        self.n_clean = len(images) - int(is_attacked.sum())
        self.clean = slice(0, self.n_clean)
        self.attacked = slice(self.n_clean, len(images))
        self.processes = ALONE
        self.whole = self
        self.rows: Tensor | None = None
        self.share = 1.0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def attacked_rows(self) -> Tensor | None:
        """Positions of the attacked images among those of the whole batch. None: all of them."""
        if self.rows is None:
            return None
        return (self.rows[self.attacked] - self.whole.n_clean).to(self.images.device)

    def part(self, processes: Processes) -> LambdaBatch:
        """Return the part of the batch that one of several processes works on.

        Process r of P takes the images r, r + P, r + 2 P, ... of the sorted batch, so that each
        process has about as many clean and attacked images. If there are too few for that, every
        process works on the whole batch, and the mean over the processes is the result of one.

        Args:
            processes: The processes. They must hold the same batch.
        """
        if processes.alone:
            return self
        part = copy.copy(self)
        part.processes = processes
        if not self._can_be_divided(processes.count):
            part.share = 1 / processes.count
            return part
        rows = torch.arange(processes.rank, len(self), processes.count)
        part.rows = rows
        part.share = len(rows) / len(self)
        part.lambda_stop = self.lambda_stop[rows]
        rows = rows.to(self.images.device)
        part.images = self.images[rows]
        part.labels = self.labels[rows]
        part.lam = self.lam[rows]
        part.n_clean = int((part.rows < self.n_clean).sum())
        part.clean = slice(0, part.n_clean)
        part.attacked = slice(part.n_clean, len(part.images))
        return part

    def _can_be_divided(self, count: int) -> bool:
        """Whether each of `count` processes gets images of every kind that the batch has.

        There are up to four kinds: attacked or not, with λ = 0 or above.
        """
        is_attacked = torch.arange(len(self)) >= self.n_clean
        kind = 2 * is_attacked + self._above_zero
        numbers = [kind[rank::count].bincount(minlength=4) for rank in range(count)]
        fewest = torch.stack(numbers).amin(0)
        return bool((fewest >= LEAST_OF_A_KIND)[kind.unique()].all())


def _checked_stops(images: Tensor, labels: Tensor, lambda_stop: Tensor, n_stops: int) -> Tensor:
    """Return the stop indices as int64 on the CPU, or raise a ValueError."""
    if lambda_stop.is_floating_point() or lambda_stop.dtype == torch.bool:
        raise ValueError(
            f"lambda_stop must hold indices of λ stops, whole numbers, got {lambda_stop.dtype}"
        )
    for name, values in (("label", labels), ("λ stop", lambda_stop)):
        if values.shape != images.shape[:1]:
            raise ValueError(
                f"a batch needs one {name} for each of its {len(images)} images, got shape "
                f"{tuple(values.shape)}"
            )
    lambda_stop = lambda_stop.long().cpu()
    if bool(((lambda_stop < 0) | (lambda_stop >= n_stops)).any()):
        raise ValueError(
            f"lambda_stop must be from 0 to {n_stops - 1}, because there are {n_stops} λ stops, "
            f"got {lambda_stop.min()} to {lambda_stop.max()}"
        )
    return lambda_stop


def _checked_attacked(attacked: Tensor, lam: Tensor) -> Tensor:
    """Return which images are attacked, on the CPU, or raise a ValueError."""
    if attacked.dtype != torch.bool or attacked.shape != lam.shape:
        raise ValueError(
            f"attacked must say True or False for each of the {len(lam)} images, got "
            f"{attacked.dtype} of shape {tuple(attacked.shape)}"
        )
    attacked = attacked.cpu()
    if bool((attacked & (lam == 0)).any()):
        raise ValueError("images with λ = 0 are never attacked, but attacked is True for some")
    return attacked
