"""Processes that train one network together, each on a part of every batch.

`torchrun` starts the same program several times, on one machine or on many, and tells each copy its
number. `join_processes` connects them. `Processes` holds what one of them needs to know, and what
they exchange: sums, copies from the first process, and errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ._check import device_of

# Set by torchrun in every process that it starts.
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

# How long a process waits for the others, for instance while the first one downloads data. If one
# ends, the others are told at once: this limit is for machines that vanish.
PATIENCE = timedelta(minutes=30)

REPORTED = "process 0 reports this error"  # a note on errors that the others need not print


class ProcessesError(RuntimeError):
    """The processes of a training cannot work together. The message says why."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training, as one of them sees them.

    Args:
        rank: Number of this process, from 0. Process 0 writes files and shows progress.
        count: Number of processes.
        local_rank: Number of this process on its machine, from 0.
        sync_batchnorm: Whether BatchNorm takes its batch statistics over the whole batch. False:
            each process takes those of its part.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    sync_batchnorm: bool = False

    @property
    def alone(self) -> bool:
        """Whether there is only one process. Then nothing is exchanged."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes. The bits are the same in each of them.

        Args:
            tensor: A tensor that has the same shape in all processes.
        """
        if self.alone:
            return tensor
        total = tensor.detach().clone()
        with _exchange(self.rank):
            dist.all_reduce(total)
        return total

    def differentiable_sum(self, tensor: Tensor) -> Tensor:
        """Return `sum` with a gradient.

        The gradient is that of the sum of the losses of all processes, so all of them must call
        `backward` with a graph of the same sums.

        Args:
            tensor: A tensor that has the same shape in all processes.
        """
        return _Sum.apply(tensor, self)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in process 0, in place.

        Args:
            tensors: Tensors of the same shapes and types in all processes.
        """
        if self.alone:
            return
        for tensor in tensors:
            # Only contiguous tensors can be exchanged.
            packed = tensor.detach().contiguous()
            with _exchange(self.rank):
                dist.broadcast(packed, src=0)
            tensor.detach().copy_(packed)

    def gather(self, text: str) -> list[str]:
        """Return the texts of all processes, in their order.

        Args:
            text: The text of this process.
        """
        if self.alone:
            return [text]
        content = text.encode()
        sizes = torch.zeros(self.count, dtype=torch.int64)
        sizes[self.rank] = len(content)
        sizes = self.sum(sizes)
        # One row per process, of the length of the longest text.
        rows = torch.zeros(self.count, int(sizes.max()), dtype=torch.uint8)
        if not rows.numel():
            return [""] * self.count
        rows[self.rank, : len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        rows = self.sum(rows)
        pairs = zip(rows, sizes.tolist(), strict=True)
        return [bytes(row[:size].tolist()).decode() for row, size in pairs]

    @contextmanager
    def agreed(
        self, caught: type[Exception] | tuple[type[Exception], ...], raised: type[Exception]
    ) -> Iterator[None]:
        """End a block with an error in all processes if it ends with one in any of them.

        Without it the others would wait for the process that has failed. All processes must reach
        the end of the block, or fail with an error of these kinds.

        Args:
            caught: The kinds of errors.
            raised: The kind of error that the processes without an error raise.
        """
        if self.alone:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except caught as its_error:
            error = its_error
        texts = self.gather("" if error is None else str(error) or type(error).__name__)
        failed = [rank for rank, text in enumerate(texts) if text]
        if not failed:
            return
        if error is None or not self.first:
            where = "" if failed[0] == 0 else f"process {failed[0]} of {self.count}: "
            cause, error = error, raised(f"{where}{texts[failed[0]]}")
            error.__cause__ = cause
            if not self.first:
                error.add_note(REPORTED)
        raise error

    def check_equal(self, facts: dict[str, str]) -> None:
        """Raise a ProcessesError if facts differ between the processes.

        Args:
            facts: Values by what they are, such as "the data set".
        """
        for name, value in facts.items():
            values = self.gather(value)
            others = [rank for rank, other in enumerate(values) if other != values[0]]
            if others:
                error = ProcessesError(
                    f"all processes of a training need {name} to be equal, but it differs in "
                    f"process {others[0]} of {self.count}: {values[others[0]]:.200}, and in "
                    f"process 0: {values[0]:.200}"
                )
                if not self.first:
                    error.add_note(REPORTED)
                raise error

    @contextmanager
    def one_before_the_others(self) -> Iterator[None]:
        """Run a block in the first process of each machine, and then in its other processes.

        What the first one downloads or decodes, the others find on the disk.
        """
        if self.local_rank > 0:
            self.wait()
        try:
            yield
        finally:
            if self.local_rank == 0:
                self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sum(torch.zeros(()))

    def device(self, name: str | None) -> torch.device | None:
        """Return the device of this process: with "cuda", each process of a machine has its own.

        Args:
            name: Name of a device, or None for the CPU.

        Raises:
            ValueError: If there is no such device, or if all processes would use the same GPU.
        """
        device = device_of(name)
        if self.alone or device is None or device.type != "cuda":
            return device
        if device.index is not None:
            raise ValueError(
                f"device {device} would be used by {self.count} processes: give --device cuda, "
                "and each process takes a GPU of its own"
            )
        return device_of(f"cuda:{self.local_rank}")


ALONE = Processes()


@contextmanager
def join_processes(device: str | None = None, sync_batchnorm: bool = False) -> Iterator[Processes]:
    """Connect the processes that torchrun has started, until the block ends.

    Args:
        device: The device of the training, "cpu" or "cuda". It says how numbers are exchanged: with
            gloo between CPUs, and with NCCL between GPUs.
        sync_batchnorm: Whether BatchNorm takes its batch statistics over the whole batch, and not
            over the part of each process.

    Yields:
        The processes. If torchrun did not start this program, it is the only one.

    Raises:
        ProcessesError: If the processes cannot be connected, or with `sync_batchnorm` if there is
            only one.

    Example:
        >>> with oatlib.join_processes() as processes:  # torchrun --nproc-per-node 2 train.py
        ...     history = oatlib.train(net, data, processes=processes)
    """
    launched = all(name in os.environ for name in LAUNCHED)
    count = _number("WORLD_SIZE", 1) if launched else 1
    if count == 1:
        if sync_batchnorm:
            raise ProcessesError(
                "synchronised BatchNorm needs several processes: start them with torchrun "
                "--nproc-per-node N -m oatlib train ..."
            )
        yield ALONE
        return
    processes = Processes(_number("RANK", 0), count, _number("LOCAL_RANK", 0), sync_batchnorm)
    is_cuda = device is not None and torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.set_device(processes.device(device))
    try:
        # Errors and counts are exchanged between CPUs also where the networks are on GPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ProcessesError(
            f"process {processes.rank} of {count} cannot reach the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {error}"
        ) from error
    try:
        yield processes
    except BaseException:
        # Closing the connections tells the others. NCCL would wait for them first.
        if not is_cuda:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def is_reported(error: BaseException) -> bool:
    """Say whether another process prints this error."""
    return REPORTED in getattr(error, "__notes__", ())


def _number(name: str, low: int) -> int:
    """Return a variable of the environment as a whole number, or raise a ProcessesError."""
    text = os.environ[name]
    if not (text.isascii() and text.isdecimal()) or int(text) < low:
        raise ProcessesError(
            f"the environment variable {name} is {text!r:.60}, expected a whole number from "
            f"{low}: torchrun sets it"
        )
    return int(text)


@contextmanager
def _exchange(rank: int) -> Iterator[None]:
    """Turn errors of PyTorch about a lost connection into one sentence."""
    try:
        yield
    except RuntimeError as error:
        lost = ProcessesError(
            "another process of this training has ended, or cannot be reached. Its own message "
            "says why"
        )
        if rank > 0:
            lost.add_note(REPORTED)
        raise lost from error


class _Sum(torch.autograd.Function):
    """The sum over all processes. Its gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(context, tensor: Tensor, processes: Processes) -> Tensor:
        context.processes = processes
        return processes.sum(tensor)

    @staticmethod
    def backward(context, gradient: Tensor):
        return context.processes.sum(gradient.contiguous()), None
