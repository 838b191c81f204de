"""The training loop, the same for every recipe.

`train` runs it with a progress bar. `Training` is the same run as an iterator over steps, for
callers that measure or show the network while it is trained.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace

import torch
from tqdm.auto import tqdm

from .. import record
from .._suggest import did_you_mean, lookup
from ..attacks.freeze import NonFiniteError
from ..attacks.pgd import PGD
from ..data.load import Data, batches
from ..networks.calibrate import take_statistics
from ..networks.network import Network, masked_units
from .monitor import Watch
from .presets import PRESETS, Preset
from .recipes import draw_widths, more_at_last_stop, sample_stops
from .rewire import clear, rewire
from .step import step


@dataclass(repr=False)
class History:
    """The curve of a training run, one row per epoch.

    Attributes:
        rows: One dictionary per epoch with "epoch" (from 1), "loss" (mean over the epoch) and
            "seconds" since the start. In epochs with a measurement also accuracies in [0, 1] on the
            validation panel: "clean", "clean_robust_end" and "robust", see `Watch.look`. With
            weight noise also "alpha", the noise level of each conv.
        status: "running", "finished", "interrupted" or "stopped" (training failed).
        note: What did not go as planned, or "".
        seconds: Duration of the whole run.
    """

    rows: list[dict] = field(default_factory=list)
    status: str = "running"
    note: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        """Return the curve as a small table."""
        lines = ["epoch    loss   clean  robust"]
        for r in self.rows:
            watched = "".join(f"{r[k]:8.1%}" if k in r else "       -" for k in ("clean", "robust"))
            lines.append(f"{r['epoch']:5} {r['loss']:7.3f}{watched}")
        return "\n".join(
            [*lines, f"{self.status} after {self.seconds:.0f} s. {self.note}".rstrip()]
        )


def train(
    net: Network,
    data: Data,
    preset: str | Preset = "fast",
    seed: int = 0,
    checkpoint=None,
    resume: bool = False,
    progress: bool = True,
    amp: bool | None = None,
    **changes,
) -> History:
    """Train a network in place.

    It is trained on `data.train` and measured on `data.val`. `data.test` is not used. If training
    fails or is interrupted from the keyboard, the function still returns and the network can be
    used.

    Args:
        net: The network. Its weights change; its slider is reset.
        data: The data set.
        preset: "fast", "paper", or a `Preset`.
        seed: Seed of everything random in training.
        checkpoint: Path where the state is saved after every epoch. None: nothing is saved.
        resume: Continue from `checkpoint`. The result has the same bits as an uninterrupted run.
        progress: Whether to show a progress bar.
        amp: Whether to use automatic mixed precision (bfloat16). Default: on GPUs that support it.
        **changes: Values of the preset to replace, such as epochs=5.

    Returns:
        The curve of the run.

    Raises:
        ValueError: If the network does not fit the data or the preset, or if the checkpoint is
            missing or belongs to another run.
        TypeError: If a preset has no value of that name.

    Example:
        >>> history = train(net, data, epochs=3)
    """
    run = Training(net, data, preset, seed, amp, checkpoint, resume, **changes)
    total = run.preset.epochs * run.steps
    bar = tqdm(
        total=total, initial=run.done, unit="step", desc=net.spec.recipe, disable=not progress
    )
    try:
        for _ in run:
            watched = {k: f"{run.last[k]:.0%}" for k in ("clean", "robust") if k in run.last}
            bar.set_postfix(
                {"loss": f"{run.last['loss']:.3f}", **watched} if run.last else {}, refresh=False
            )
            bar.update()
    except KeyboardInterrupt:
        run.interrupt()
    finally:
        bar.close()
    if run.history.note:
        warnings.warn(run.history.note, stacklevel=2)
    return run.history


class Training:
    """A training run as an iterator over steps: `for _ in Training(net, data): ...`.

    Between two steps the network is in eval mode and can be measured. A caller that stops iterating
    before the end must call `interrupt`. The arguments are those of `train`.

    Attributes:
        done: Number of steps taken so far, of `preset.epochs * steps`.
        steps: Steps per epoch.
        history: The curve so far.
        loss: Loss of the newest step, a scalar tensor. None before the first one.
        preset: The preset with all changes.
        epoch: Number of completed epochs.

    Example:
        >>> run = Training(net, data)
        >>> for _ in run:
        ...     print(run.done, run.loss.item())
    """

    def __init__(
        self,
        net: Network,
        data: Data,
        preset: str | Preset = "fast",
        seed: int = 0,
        amp: bool | None = None,
        checkpoint=None,
        resume: bool = False,
        **changes,
    ):
        self.preset, self.checkpoint = _preset(preset, changes), checkpoint
        _check_fit(net, data, self.preset)
        # A fitted slider belongs to the old weights, so it is reset.
        net.slider = (net.spec.stops[0], net.spec.stops[-1])
        self.net, self.data, self.seed = net, data, seed
        preset, self.device = self.preset, data.train.x.device
        self.amp = (
            amp
            if amp is not None
            else self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            preset.lr,
            preset.momentum,
            weight_decay=preset.weight_decay,
            nesterov=preset.nesterov and preset.momentum > 0,
            fused=True,
        )
        self.size = min(preset.batch, len(data.train))
        # Steps per epoch. Images that do not fill a batch are left out until the next shuffle.
        self.steps = len(data.train) // self.size
        panel = data.val.panel(min(preset.panel, len(data.val)))
        self.watch = Watch(panel, PGD(preset.eps, 5, best=False))
        self.history, self.epoch, self.started = History(), 0, time.perf_counter()
        if resume:
            self.restore(checkpoint)
        if checkpoint is not None:
            record.check_writable(checkpoint)
        self.done, self.loss = self.epoch * self.steps, None

    @property
    def last(self) -> dict:
        """Newest row of the curve. It is empty until the first epoch is complete."""
        return self.history.rows[-1] if self.history.rows else {}

    def __iter__(self) -> Iterator[None]:
        """Take the remaining steps, and yield after each one.

        Together with the last step of an epoch, the panel is measured and the state is saved.
        """
        try:
            for epoch in range(self.epoch, self.preset.epochs):
                yield from self._one_epoch(epoch)
                if trouble := self.watch.verdict(
                    self.net, self.last, (epoch + 1) / self.preset.epochs
                ):
                    return self._stop(f"in epoch {epoch + 1}: {trouble}")
                if self.checkpoint is not None:
                    self.save(self.checkpoint)
                self.done += 1
                yield
        except NonFiniteError as error:
            return self._stop(
                f"in epoch {self.epoch + 1}: NaN or infinity ({error}): lower the learning rate"
            )
        finally:
            self.net.eval()
        self._end("finished", "")

    def interrupt(self) -> None:
        """Close a run before its end. The network can be used as it is."""
        self._end(
            "interrupted",
            f"interrupted in epoch {self.epoch + 1} of {self.preset.epochs}; the network is "
            "usable as it is",
        )

    def _stop(self, why: str) -> None:
        self._end("stopped", f"training stopped {why}; {self.watch.restore(self.net)}")

    def _one_epoch(self, epoch: int) -> Iterator[None]:
        """Train for one epoch, measure the panel if it is due, and add a row to the curve.

        Yields between steps.
        """
        preset, train = self.preset, self.data.train
        # All randomness of an epoch comes from (seed, epoch): a resumed run needs no generator
        # state.
        host, local = (
            torch.Generator(d).manual_seed(self.seed * 10_007 + epoch) for d in ("cpu", self.device)
        )
        total = torch.zeros((), device=self.device)
        # Rewire at the start of an epoch, so that the weights have adapted when its end is
        # measured.
        if epoch:
            rewire(self.net, self.optimizer, epoch / preset.epochs)
        for i, index in enumerate(
            batches(len(train), self.size, host, drop_last=True, device=self.device)
        ):
            done = (epoch + i / self.steps) / preset.epochs  # fraction of the whole training
            for group in self.optimizer.param_groups:
                group["lr"] = preset.learning_rate(done, epoch)
            x = self.data.augment(train.x[index], local)
            stop, zeros = sample_stops(self.net.spec.stops, self.size, host)
            stop = more_at_last_stop(stop, zeros, self.net.spec.stops, preset.at_last_stop, host)
            widths = draw_widths(self.net.spec, host)
            self.optimizer.zero_grad()
            self.loss = step(
                self.net,
                x,
                train.y[index],
                stop,
                zeros,
                preset.attack(done),
                local,
                widths,
                self.amp,
            )
            total += self.loss
            if preset.clip:
                # The norm includes gradients of weights that masks remove. This makes the steps of
                # sparse networks shorter, which they need.
                torch.nn.utils.clip_grad_norm_(self.net.parameters(), preset.clip)
            self.optimizer.step()
            clear(self.net)
            if i < self.steps - 1:  # the last step of an epoch counts after the measurements
                self.done += 1
                yield
        row = {"epoch": epoch + 1, "loss": total.item() / self.steps}
        if row["epoch"] % preset.watch == 0 or row["epoch"] == preset.epochs:
            row |= self.watch.look(self.net)
        if self.net.spec.noise:  # if α shrinks to 0, λ no longer changes the noise of the weights
            row["alpha"] = [
                round(p.item(), 4)
                for name, p in self.net.named_parameters()
                if name.endswith("alpha")
            ]
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        self.history.rows.append(row)
        self.epoch = row["epoch"]

    def save(self, path) -> None:
        """Write a checkpoint: everything that the next epoch depends on.

        The file is replaced as a whole, or not at all if writing fails.

        Args:
            path: Path of the file.
        """
        tensors = {f"net.{name}": t for name, t in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            if (buffer := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        tensors |= {f"good.{name}": t for name, t in (self.watch.good or {}).items()}
        state = {
            "epoch": self.epoch,
            "rows": self.history.rows,
            "run": self._identity(),
            "watch": self.watch.state(),
        }
        record.write_weights(path, tensors, {"checkpoint": state, "spec": asdict(self.net.spec)})

    def restore(self, path) -> None:
        """Continue from a checkpoint of the same run.

        Args:
            path: Path of a file that `save` wrote.

        Raises:
            ValueError: If `path` is None.
            RecordError: If the file is no checkpoint, or if the network, data set, preset or seed
                differs.
        """
        if path is None:
            raise ValueError(
                "resume=True needs checkpoint=, the path that the earlier run wrote to"
            )
        tensors, header = record.read_weights(path)
        state = header.get("checkpoint")
        if state is None:
            raise record.RecordError(
                f"{path} holds a finished network, not a checkpoint: open it with oatlib.load"
            )
        if state["run"] != self._identity():
            changed = [k for k, v in self._identity().items() if state["run"].get(k) != v]
            raise record.RecordError(
                f"{path} is a checkpoint of another run: {', '.join(changed)} differ; train afresh"
            )
        parts = {
            part: {k.removeprefix(part): t for k, t in tensors.items() if k.startswith(part)}
            for part in _PARTS
        }
        record.fill(self.net, parts["net."], path)
        for name, parameter in self.net.named_parameters():
            if name in parts["momentum."]:  # empty_like keeps the memory layout of the parameter
                buffer = torch.empty_like(parameter).copy_(parts["momentum."][name])
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.watch.good = {k: t.to(self.device) for k, t in parts["good."].items()} or None
        self.watch.best_robust, self.watch.looks = state["watch"]
        self.epoch, self.history.rows = state["epoch"], state["rows"]
        self.started -= self.history.rows[-1]["seconds"]

    def _identity(self) -> dict:
        """Return what must be equal for a resumed run to give the bits of an uninterrupted one."""
        # through JSON, so that it compares equal to what a file holds (lists instead of tuples)
        spec = json.loads(json.dumps(asdict(self.net.spec)))
        return {
            "network": spec,
            "preset": asdict(self.preset),
            "seed": self.seed,
            "amp": self.amp,
            "images": len(self.data.train),
        }

    def _end(self, status: str, note: str) -> None:
        """Close the run and record on the network how it was trained."""
        # Sandwich training uses no listed width between the two ends, so the BatchNorm statistics
        # of those are computed now.
        if self.net.spec.draw == "sandwich":
            take_statistics(self.net, self.data)
        self.history.status, self.history.note = status, note
        self.history.seconds = time.perf_counter() - self.started
        how = {
            "preset": asdict(self.preset),
            "seed": self.seed,
            "amp": self.amp,
            "device": str(self.device),
        }
        how |= {
            "threads": torch.get_num_threads(),
            "status": status,
            "note": note,
            "versions": record.versions(),
        }
        self.net.trained.append(
            how | {"epochs_done": self.epoch, "seconds": round(self.history.seconds, 1)}
        )


_PARTS = ("net.", "momentum.", "good.")  # prefixes of the tensors in a checkpoint


def _preset(preset: str | Preset, changes: dict) -> Preset:
    if isinstance(preset, str):
        preset = lookup("preset", preset, PRESETS)
    names = [f.name for f in fields(Preset)]
    for name in changes.keys() - set(names):
        raise TypeError(
            f"a preset has no {name!r}{did_you_mean(name, names)}; it has {', '.join(names)}"
        )
    return replace(preset, **changes)


def _check_fit(net: Network, data: Data, preset: Preset) -> None:
    if (
        preset.momentum == 0
        and net.spec.density < 1
        and any(unit.masks.moves for unit in masked_units(net))
    ):
        raise ValueError(
            "sparse training grows weights where momentum is largest: momentum must be above 0"
        )
    if tuple(data.shape) != net.spec.shape or len(data.classes) != len(net.spec.classes):
        raise ValueError(
            f"this network takes images {net.spec.shape} of {len(net.spec.classes)} classes; "
            f"the data has {tuple(data.shape)} and {len(data.classes)} classes"
        )
