"""The training loop, the same for every recipe.

`train` runs it with a progress bar. `Training` is the same run as an iterator over steps, for
callers that measure or show the network while it is trained.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field, fields, replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from .._check import of_type, path_of, seed_of
from .._processes import ALONE, Processes
from .._suggest import did_you_mean, lookup
from ..attacks.freeze import NonFiniteError
from ..attacks.pgd import PGD
from ..data.load import Data, batches
from ..networks.calibrate import take_statistics
from ..networks.compiled import Compiler, compiler_for
from ..networks.network import Network, check_network, masked_units
from ..networks.spec import Spec, spec_from
from .lambda_batch import LambdaBatch
from .losses import TRAINING_LOSSES
from .monitor import Watch
from .presets import PRESETS, Preset
from .recipes import more_at_last_stop, sample_attacked, sample_stops, sample_widths
from .reduce import add_up
from .rewire import clear, rewire
from .step import train_step


@dataclass(repr=False)
class History:
    """The curve of a training run, one row per epoch.

    Attributes:
        rows: One dictionary per epoch with "epoch" (from 1), "loss" (mean over the epoch) and
            "seconds" since the start. In epochs with a measurement also accuracies in [0, 1] on the
            validation panel: "clean", "clean_robust_end" and "robust", see `Watch.look`. With
            weight noise also "alpha", the noise level of each conv.
        status: "running", "finished", "interrupted" or "stopped" (training failed).
        note: What did not go as planned, in words, or "".
        seconds: Duration of the run. If it was resumed, of all its parts.
        compiled: "yes", or why attacks did not run compiled: "no", or an error of the compiler.
    """

    rows: list[dict] = field(default_factory=list)
    status: str = "running"
    note: str = ""
    seconds: float = 0.0
    compiled: str = "no"

    def __repr__(self) -> str:
        """Return the curve as a small table."""
        lines = ["epoch    loss   clean  robust"]
        for row in self.rows:
            line = f"{row['epoch']:5} {row['loss']:7.3f}"
            for name in ("clean", "robust"):
                line += f"{row[name]:8.1%}" if name in row else "       -"
            lines.append(line)
        lines.append(f"{self.status} after {self.seconds:.0f} s. {self.note}".rstrip())
        if self.compiled != "no":
            lines.append(f"compiled: {self.compiled}")
        return "\n".join(lines)


def train(
    net: Network,
    data: Data,
    preset: str | Preset = "fast",
    seed: int = 0,
    checkpoint=None,
    resume: bool = False,
    progress: bool = True,
    amp: bool | None = None,
    compiled: bool | Compiler | None = None,
    processes: Processes = ALONE,
    **changes,
) -> History:
    """Train a network in place.

    It is trained on `data.train` and measured on `data.val`. `data.test` is not used. If training
    fails or is interrupted from the keyboard, the function still returns and the network can be
    used.

    Args:
        net: The network. Its weights change; its slider is reset.
        data: The data set.
        preset: "fast", "paper", "photos", or a `Preset`.
        seed: Seed of everything random in training.
        checkpoint: Path where the state is saved after every epoch. None: nothing is saved. If the
            disk is full, a warning says so, and training continues.
        resume: Continue from `checkpoint`. The result has the same bits as an uninterrupted run.
        progress: Whether to show a progress bar.
        amp: Whether to use automatic mixed precision (bfloat16). Default: on GPUs that support it.
        compiled: Whether attacks run compiled: the same numbers up to rounding. True, False, or an
            `oatlib.Compiler` of an earlier run, whose code is used again. Default: False. On a CPU
            it saves less than compiling takes. On GPUs the gain is not measured yet; it should pay
            in long trainings there.
        processes: Processes that share the work, from `oatlib.join_processes`. All of them call
            this function with the same arguments. Each works on a part of every batch. The first
            one shows progress and writes the checkpoint, which all of them read.
        **changes: Values of the preset to replace, such as epochs=5.

    Returns:
        The curve of the run.

    Raises:
        ValueError: If the network does not fit the data or the preset, if `resume` comes without
            `checkpoint`, or with compiled=True if nothing can be compiled on this machine.
        RecordError: If the checkpoint cannot be written, or if another run is writing it. With
            `resume` also if it is missing, damaged, or of another run.
        TypeError: If a preset has no value of that name.
        ProcessesError: If the processes have other arguments or data, or if one of them has ended.

    Example:
        >>> history = train(net, data, epochs=3)
    """
    run = Training(net, data, preset, seed, amp, checkpoint, resume, compiled, processes, **changes)
    bar = tqdm(
        total=run.preset.epochs * run.steps_per_epoch,
        initial=run.done,
        unit="step",
        desc=net.spec.recipe,
        disable=not (progress and processes.first),
    )
    try:
        for _ in run:
            bar.set_postfix(_progress(run.last), refresh=False)
            bar.update()
    except KeyboardInterrupt:
        run.interrupt()
    finally:
        bar.close()
    if run.history.note and processes.first:
        warnings.warn(run.history.note, stacklevel=2)
    return run.history


def _progress(row: dict) -> dict[str, str]:
    """Return what the progress bar shows of the newest row of the curve."""
    formats = {"loss": ".3f", "clean": ".0%", "robust": ".0%"}
    return {name: format(row[name], style) for name, style in formats.items() if name in row}


class Training:
    """A training run as an iterator over steps: `for _ in Training(net, data): ...`.

    Between two steps the network is in eval mode and can be measured. A caller that stops iterating
    before the end must call `interrupt`. The arguments are those of `train`.

    Attributes:
        done: Number of steps taken so far, of `preset.epochs * steps_per_epoch`.
        steps_per_epoch: Steps per epoch. Images that do not fill a batch are left out until the
            next shuffle.
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
        compiled: bool | Compiler | None = None,
        processes: Processes = ALONE,
        **changes,
    ):
        check_network(net)
        of_type("processes", processes, Processes, "processes, from oatlib.join_processes")
        of_type("data", data, Data, "a data set, such as oatlib.load_data('shapes')")
        preset = _with_changes(preset, changes)
        seed = seed_of(seed)
        of_type("amp", amp, (bool, type(None)), "True, False or None")
        _check_fit(net, data, preset)
        self.net = net
        self.data = data
        self.preset = preset
        self.seed = seed
        self.processes = processes
        # Only one process writes.
        path = None if checkpoint is None else path_of(checkpoint)
        self.checkpoint = path if processes.first else None
        self.device = data.train.x.device
        if amp is None:
            amp = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.amp = amp
        self.compiler = compiler_for(compiled, self.device)
        # A fitted slider belongs to the old weights, so it is reset.
        net.slider = (net.spec.stops[0], net.spec.stops[-1])
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            preset.lr,
            preset.momentum,
            weight_decay=preset.weight_decay,
            nesterov=preset.nesterov and preset.momentum > 0,
            fused=True,
        )
        self.batch_size = min(preset.batch, len(data.train))
        self.steps_per_epoch = len(data.train) // self.batch_size
        panel = data.val.panel(min(preset.panel, len(data.val)))
        self.watch = Watch(panel, PGD(preset.eps, 5, best=False))
        self.history = History()
        self.epoch = 0
        self.started = time.perf_counter()
        self.checkpoint_failed = False  # whether a warning has said so
        with processes.agreed(record.RecordError, record.RecordError):
            if self.checkpoint is not None:
                record.check_writable(self.checkpoint)
            if resume:
                self.restore(checkpoint)
        if not processes.alone:
            processes.check_equal(self._facts())
        self.done = self.epoch * self.steps_per_epoch
        self.loss: Tensor | None = None

    @property
    def last(self) -> dict:
        """Newest row of the curve. It is empty until the first epoch is complete."""
        return self.history.rows[-1] if self.history.rows else {}

    def __iter__(self) -> Iterator[None]:
        """Take the remaining steps, and yield after each one.

        Together with the last step of an epoch, the panel is measured and the state is saved.
        """
        with record.claimed(self.checkpoint):
            yield from self._steps()

    def _steps(self) -> Iterator[None]:
        """Take the remaining steps. The checkpoint is claimed."""
        try:
            for epoch in range(self.epoch, self.preset.epochs):
                mean_loss = yield from self._train_epoch(epoch)
                self._measure_epoch(mean_loss)
                failure = self.watch.verdict(self.net, self.last, self.epoch / self.preset.epochs)
                if failure:
                    return self._stop(self.epoch, failure)
                if self.checkpoint is not None:
                    self._save_checkpoint()
                # The last step of an epoch counts after the measurements.
                self.done += 1
                yield
        except NonFiniteError as error:
            return self._stop(
                self.epoch + 1,
                f"a number became NaN or infinite ({error}). Lower the learning rate",
            )
        finally:
            self.net.eval()
        self._end("finished", "")

    def interrupt(self) -> None:
        """Close a run before its end. The network can be used as it is."""
        note = (
            f"training was interrupted in epoch {self.epoch + 1} of {self.preset.epochs}. The "
            "network can be used as it is."
        )
        if self.checkpoint is not None and self.checkpoint.exists():
            note += " The same call with resume=True (--resume) continues it."
        self._end("interrupted", note)

    def _stop(self, epoch: int, failure: str) -> None:
        """Close a run that has failed, and go back to the last good weights."""
        restored = self.watch.restore(self.net)
        self._end("stopped", f"training stopped in epoch {epoch}: {failure}. {restored}")

    def _train_epoch(self, epoch: int) -> Generator[None, None, float]:
        """Take the steps of one epoch, and return their mean loss.

        Yields between two steps, not after the last one.
        """
        # All randomness of an epoch comes from (seed, epoch), so a resumed run needs no generator
        # state. One generator is on the CPU, the other on the device of the images.
        seed = self.seed * 10_007 + epoch
        host = torch.Generator("cpu").manual_seed(seed)
        local = torch.Generator(self.device).manual_seed(seed)
        # Rewire at the start of an epoch, so that the weights have adapted when its end is
        # measured.
        if epoch > 0:
            rewire(self.net, self.optimizer, epoch / self.preset.epochs)
        # Processors of another kind may round differently: no process drifts away, and all have the
        # same masks.
        self.processes.copy_from_first(self.net.state_dict().values())
        total_loss = torch.zeros((), device=self.device)
        order = batches(
            len(self.data.train), self.batch_size, host, drop_last=True, device=self.device
        )
        for step_index, image_index in enumerate(order):
            done = (epoch + step_index / self.steps_per_epoch) / self.preset.epochs
            self._train_on(image_index, epoch, done, host, local)
            total_loss += self.loss
            if step_index < self.steps_per_epoch - 1:
                self.done += 1
                yield
        return total_loss.item() / self.steps_per_epoch

    def _train_on(
        self,
        image_index: Tensor,
        epoch: int,
        done: float,
        host: torch.Generator,
        local: torch.Generator,
    ) -> None:
        """Take one step with the training images at `image_index`.

        `done` is the fraction of the whole training that is done.
        """
        preset = self.preset
        spec = self.net.spec
        for group in self.optimizer.param_groups:
            group["lr"] = preset.learning_rate(done, epoch)
        # Sample the batch: augmented images, a λ stop for each, and widths.
        x = self.data.augment(self.data.train.x[image_index], local)
        y = self.data.train.y[image_index]
        lambda_stop, n_clean = sample_stops(spec.stops, self.batch_size, host)
        lambda_stop = more_at_last_stop(lambda_stop, n_clean, spec.stops, preset.at_last_stop, host)
        widths = sample_widths(spec, host)
        attacked = None
        if TRAINING_LOSSES[spec.loss].sampled:
            attacked = sample_attacked(spec.stops, lambda_stop, host)
        # All processes sample the same batch. Each takes its part of it.
        batch = LambdaBatch(x, y, lambda_stop, spec.stops, attacked).part(self.processes)
        # Attack, forward and backward.
        self.optimizer.zero_grad()
        loss = train_step(
            self.net, batch, preset.attack(done), local, widths, self.amp, self.compiler
        )
        self.loss = add_up(self.net, loss, batch.share, self.processes)
        # Update.
        if preset.clip:
            # The norm includes gradients of weights that masks remove. This makes the steps of
            # sparse networks shorter, which they need.
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), preset.clip)
        self.optimizer.step()
        clear(self.net)

    def _measure_epoch(self, mean_loss: float) -> None:
        """Measure the panel if it is due, and add a row to the curve."""
        epoch = self.epoch + 1
        row = {"epoch": epoch, "loss": mean_loss}
        if epoch % self.preset.watch == 0 or epoch == self.preset.epochs:
            measured = self.watch.look(self.net)
            # All processes must come to the same verdict.
            values = torch.tensor(list(measured.values()), dtype=torch.float64)
            self.processes.copy_from_first([values])
            row |= dict(zip(measured, values.tolist(), strict=True))
        if self.net.spec.noise:  # if α shrinks to 0, λ no longer changes the noise of the weights
            row["alpha"] = [
                round(parameter.item(), 4)
                for name, parameter in self.net.named_parameters()
                if name.endswith("alpha")
            ]
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        self.history.rows.append(row)
        self.epoch = epoch

    def _save_checkpoint(self) -> None:
        """Write the checkpoint. If that fails, warn once and continue the training."""
        try:
            self.save(self.checkpoint)
        except record.RecordError as error:
            if not self.checkpoint_failed:
                warnings.warn(
                    f"the checkpoint of epoch {self.epoch} is missing: {error}. Training "
                    "continues, and tries again after every epoch.",
                    stacklevel=2,
                )
            self.checkpoint_failed = True

    def save(self, path) -> None:
        """Write a checkpoint: everything that the next epoch depends on.

        The file is replaced as a whole, or not at all if writing fails.

        Args:
            path: Path of the file.

        Raises:
            RecordError: If the file cannot be written.
        """
        tensors = {f"net.{name}": t for name, t in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        if self.watch.good is not None:
            tensors |= {f"good.{name}": t for name, t in self.watch.good.items()}
        state = {
            "epoch": self.epoch,
            "rows": self.history.rows,
            "seconds": round(time.perf_counter() - self.started, 2),
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
                "resume=True needs checkpoint=, the path of the file that the earlier run wrote"
            )
        tensors, header = record.read_weights(path)
        state = header.get("checkpoint")
        if state is None:
            raise record.RecordError(
                f"{path} holds a finished network, not a checkpoint: open it with oatlib.load"
            )
        try:
            self._check_run(path, state)
            epoch, rows = state["epoch"], list(state["rows"])
            best_robust, looks = state["watch"]
            # Earlier versions stored the time in the rows only.
            seconds = float(state.get("seconds", rows[-1]["seconds"]))
            if not (isinstance(epoch, int) and len(rows) == epoch <= self.preset.epochs):
                raise ValueError(f"epoch {epoch} with {len(rows)} rows")
        except record.RecordError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise record.RecordError(
                f"{path}: its header describes no checkpoint that this oatlib knows "
                f"({error}). Copy the file again, or train again."
            ) from error
        # Check all tensors before the first one is used.
        parts = {}
        for prefix in _PREFIXES:
            parts[prefix] = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
        own = self.net.state_dict()
        momentum = {
            name: parameter
            for name, parameter in self.net.named_parameters()
            if name in parts["momentum."]
        }
        record.check_fit(momentum, parts["momentum."], path)
        if parts["good."]:
            record.check_fit(own, parts["good."], path)
        record.load_exactly(self.net, parts["net."], path)
        for name, parameter in momentum.items():
            # empty_like keeps the memory layout of the parameter
            buffer = torch.empty_like(parameter).copy_(parts["momentum."][name])
            self.optimizer.state[parameter]["momentum_buffer"] = buffer
        good = {name: tensor.to(self.device) for name, tensor in parts["good."].items()}
        self.watch.good = good or None
        self.watch.best_robust, self.watch.looks = best_robust, looks
        self.epoch = epoch
        self.history.rows = rows
        self.started -= seconds

    def _check_run(self, path, state: dict) -> None:
        """Raise a RecordError if a checkpoint belongs to another run."""
        identity = self._identity()
        saved = dict(state["run"])
        # Files of earlier versions have other names in their spec, and were written by one process.
        saved["network"] = _spec_as_json(spec_from(saved["network"]))
        saved = {"processes": 1, "sync_batchnorm": False, "compiled": False} | saved
        if saved["processes"] != self.processes.count:
            raise record.RecordError(
                f"{path} is a checkpoint of a training in {saved['processes']} processes, and this "
                f"training has {self.processes.count}: another number gives another result. Start "
                f"it with torchrun --nproc-per-node {saved['processes']}, or begin a new one "
                "without resume=True (--resume)."
            )
        if saved != identity:
            differing = [name for name in identity if saved.get(name) != identity[name]]
            raise record.RecordError(
                f"{path} is a checkpoint of another run, in which {', '.join(differing)} differed. "
                "Give the arguments of that run, or begin a new one without resume=True (--resume)."
            )

    def _identity(self) -> dict:
        """Return what must be equal for a resumed run to give the bits of an uninterrupted one."""
        return {
            "network": _spec_as_json(self.net.spec),
            "preset": asdict(self.preset),
            "seed": self.seed,
            "amp": self.amp,
            "compiled": self.compiler is not None,
            "images": len(self.data.train),
            "processes": self.processes.count,
            "sync_batchnorm": self.processes.sync_batchnorm,
        }

    def _facts(self) -> dict[str, str]:
        """Return what must be equal in all processes, by what it is."""
        y = self.data.train.y.cpu()
        return {
            "the arguments of the training": json.dumps(self._identity(), sort_keys=True),
            "the epoch of the checkpoint": str(self.epoch),
            "the version of PyTorch": torch.__version__,
            "the labels of the training images": hashlib.sha256(y.numpy().data).hexdigest(),
        }

    def _end(self, status: str, note: str) -> None:
        """Close the run and record on the network how it was trained."""
        # Sandwich training uses no listed width between the two ends, so the BatchNorm statistics
        # of those are computed now.
        if self.net.spec.width_sampling == "sandwich":
            take_statistics(self.net, self.data)
        self.history.status = status
        self.history.note = note
        if self.compiler is not None:
            self.history.compiled = self.compiler.problem or "yes"
        self.history.seconds = time.perf_counter() - self.started
        self.net.trained.append(
            {
                "preset": asdict(self.preset),
                "seed": self.seed,
                "amp": self.amp,
                "compiled": self.history.compiled,
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "status": status,
                "note": note,
                "versions": record.versions(),
                "epochs_done": self.epoch,
                "seconds": round(self.history.seconds, 1),
            }
        )
        if not self.processes.alone:
            self.net.trained[-1] |= {
                "processes": self.processes.count,
                "sync_batchnorm": self.processes.sync_batchnorm,
            }


_PREFIXES = ("net.", "momentum.", "good.")  # of the names of tensors in a checkpoint


def _spec_as_json(spec: Spec) -> dict:
    """Return a spec as a file holds it: with lists instead of tuples."""
    return json.loads(json.dumps(asdict(spec)))


def _with_changes(preset: str | Preset, changes: dict) -> Preset:
    """Return a preset, given itself or by its name, with some values replaced."""
    if isinstance(preset, str):
        preset = lookup("preset", preset, PRESETS)
    of_type("preset", preset, Preset, f"one of {', '.join(PRESETS)}, or an oatlib.Preset")
    names = [f.name for f in fields(Preset)]
    for name in changes.keys() - set(names):
        raise TypeError(
            f"a preset has no value {name!r}{did_you_mean(name, names)}; it has {', '.join(names)}"
        )
    return replace(preset, **changes)


def _check_fit(net: Network, data: Data, preset: Preset) -> None:
    """Raise a ValueError if the network does not fit the data or the preset."""
    masks_move = net.spec.density < 1 and any(unit.masks.moves for unit in masked_units(net))
    if masks_move and preset.momentum == 0:
        raise ValueError(
            "sparse training grows weights where momentum is largest: momentum must be above 0"
        )
    if tuple(data.shape) != net.spec.shape or len(data.classes) != len(net.spec.classes):
        raise ValueError(
            f"this network takes images of shape {net.spec.shape} and {len(net.spec.classes)} "
            f"classes; the data has images of shape {tuple(data.shape)} and {len(data.classes)} "
            "classes"
        )
