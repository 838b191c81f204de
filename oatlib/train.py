"""One step and one loop that train every recipe."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass, field, fields, replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import record
from .attacks import PGD
from .calibrate import take_statistics
from .data import Data, batches
from .guard import NonFiniteError
from .layers.setting import Setting, Width
from .nets import Network
from .presets import PRESETS, Preset
from .recipes import LOSSES, Labels, draw_widths, sample_stops
from .rewire import clear, masked_units, rewire
from .spec import did_you_mean, lookup
from .watch import Watch


@dataclass(repr=False)
class History:
    """The curve of a training run: one row per epoch, and in `note` anything that did not go as planned."""

    rows: list[dict] = field(default_factory=list)
    status: str = "running"  # finished | interrupted | stopped
    note: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        """The curve as a small table."""
        lines = ["epoch    loss   clean  robust"]
        for r in self.rows:
            watched = "".join(f"{r[k]:8.1%}" if k in r else "       -" for k in ("clean", "robust"))
            lines.append(f"{r['epoch']:5} {r['loss']:7.3f}{watched}")
        return "\n".join([*lines, f"{self.status} after {self.seconds:.0f} s. {self.note}".rstrip()])


def step(
    net: Network, x: Tensor, y: Tensor, stop: Tensor, zeros: int, attack: PGD, generator, widths=None, amp=False
) -> Tensor:
    """Gradients of one batch, accumulated over `widths` (default: the full one), each with an attack of its own.

    x (N, C, H, W), y (N,); `stop` (N,) are λ stops, the first `zeros` of them λ = 0. Returns the loss, detached.
    """
    spec, total, teacher = net.spec, 0.0, None
    lam, widths = torch.tensor(spec.stops)[stop], widths or [net.width()]
    share = 1 / len(widths) if spec.width_loss == "mean" else 1.0
    for width in widths:
        labels = Labels(y, lam.to(x), zeros, spec.beta, teacher)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            clean, attacked = _logits(net, x, y, lam, zeros, width, attack, generator)
            loss = LOSSES[spec.loss].of(clean, attacked, labels) * share
        loss.backward()
        total += loss.detach()
        teacher = clean.detach() if teacher is None else teacher
    return total


def _logits(net: Network, x, y, lam: Tensor, zeros: int, width: Width, attack: PGD, generator):
    """Attack the samples with λ > 0, then send clean and attacked images through the network in one forward.

    The attack sees each sample's own λ, BatchNorm branch, weights and width, in eval mode. The two passes share the
    forward but not their batch statistics; unattacked images meet the weights without noise.
    """
    loss, noise = LOSSES[net.spec.loss], generator
    first = len(x) if loss.both else zeros  # how many are sent through unattacked
    images, setting = x[:first], net.setting(lam[:first], first, width).on_clean_path()
    if zeros < len(x):
        hard = net.setting(lam[zeros:], len(x) - zeros, width)
        if net.spec.redraw == "step":  # the update shall draw what the attack has met
            noise = torch.Generator(generator.device).set_state(generator.get_state())
        f = net.bind_stops(hard, generator).forward  # .forward: a folded network has nothing to freeze
        attacked = loss.aim(attack, f, x[zeros:])(f, x[zeros:], y[zeros:], generator)
        images, setting = torch.cat([images, attacked]), Setting.join(setting, hard)
    try:
        logits = net.train()(images, setting, noise=noise)
    finally:
        net.eval()
    return logits[:first], logits[first:]


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
    """Train a network in place on data.train; data.val is watched, data.test is never touched. Returns the curve.

    `changes` replace values of the preset, e.g. epochs=5. With `checkpoint` (a path) the state is saved after every
    epoch and `resume=True` goes on from it, to the same bits. `amp`: bf16 autocast; by default on GPUs that have it.
    """
    preset = _preset(preset, changes)
    _check_fit(net, data, preset)
    net.slider = (net.spec.stops[0], net.spec.stops[-1])  # a fitted one belonged to the weights of before
    run = _Run(net, data, preset, seed, amp)
    if resume:
        run.restore(checkpoint)
    if checkpoint is not None:
        record.check_writable(checkpoint)
    steps = preset.epochs * run.steps
    bar = tqdm(total=steps, initial=run.epoch * run.steps, unit="step", desc=net.spec.recipe, disable=not progress)
    try:
        for epoch in range(run.epoch, preset.epochs):
            row = run.one_epoch(epoch, bar)
            if trouble := run.watch.verdict(net, row, (epoch + 1) / preset.epochs):
                run.end("stopped", f"training stopped in epoch {epoch + 1}: {trouble}; {run.watch.restore(net)}")
                break
            if checkpoint is not None:
                run.save(checkpoint)
        else:
            run.end("finished", "")
    except NonFiniteError as error:
        run.end("stopped", f"training stopped in epoch {run.epoch + 1}: NaN or infinity ({error}): lower the learning "
                f"rate; {run.watch.restore(net)}")  # fmt: skip
    except KeyboardInterrupt:
        run.end(
            "interrupted", f"interrupted in epoch {run.epoch + 1} of {preset.epochs}; the network is usable as it is"
        )
    finally:
        net.eval()
        bar.close()
    if net.spec.draw == "sandwich":  # most widths have not been met in training: their statistics are still to be taken
        take_statistics(net, data)
    if run.history.note:
        warnings.warn(run.history.note, stacklevel=2)
    return run.history


class _Run:
    """The state of one training run, which a checkpoint holds whole."""

    def __init__(self, net: Network, data: Data, preset: Preset, seed: int, amp: bool | None):
        self.net, self.data, self.preset, self.seed = net, data, preset, seed
        self.device = data.train.x.device
        self.amp = amp if amp is not None else self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.optimizer = torch.optim.SGD(
            net.parameters(), preset.lr, preset.momentum, weight_decay=preset.weight_decay,
            nesterov=preset.nesterov and preset.momentum > 0, fused=True,
        )  # fmt: skip
        self.size = min(preset.batch, len(data.train))
        self.steps = len(data.train) // self.size  # per epoch; what is left over waits for the next shuffle
        panel = data.val.panel(min(preset.panel, len(data.val)))
        self.watch = Watch(panel, PGD(preset.eps, 5, best=False))
        self.history, self.epoch, self.started = History(), 0, time.perf_counter()

    def one_epoch(self, epoch: int, bar) -> dict:
        """Train for one epoch, look at the panel if it is time to, and add a row to the curve."""
        preset, train = self.preset, self.data.train
        # all randomness of an epoch comes from (seed, epoch): a resumed run needs no generator state
        host, local = (torch.Generator(d).manual_seed(self.seed * 10_007 + epoch) for d in ("cpu", self.device))
        total = torch.zeros((), device=self.device)
        if epoch:  # at the start of an epoch, so that the end of one is measured with settled weights
            rewire(self.net, self.optimizer, epoch / preset.epochs)
        for i, index in enumerate(batches(len(train), self.size, host, drop_last=True, device=self.device)):
            done = (epoch + i / self.steps) / preset.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = preset.learning_rate(done, epoch)
            x = self.data.augment(train.x[index], local)
            stop, zeros = sample_stops(self.net.spec.stops, self.size, host)
            widths = draw_widths(self.net.spec, host)
            self.optimizer.zero_grad()
            total += step(self.net, x, train.y[index], stop, zeros, preset.attack(done), local, widths, self.amp)
            if preset.clip:
                # counts what absent weights feel, too: sparse networks get shorter steps, and they need them
                torch.nn.utils.clip_grad_norm_(self.net.parameters(), preset.clip)
            self.optimizer.step()
            clear(self.net)
            bar.update()
        row = {"epoch": epoch + 1, "loss": total.item() / self.steps}
        if row["epoch"] % preset.watch == 0 or row["epoch"] == preset.epochs:
            row |= self.watch.look(self.net)
        if self.net.spec.noise:  # α that has shrunk to 0 is a dial that has come off
            row["alpha"] = [round(p.item(), 4) for name, p in self.net.named_parameters() if name.endswith("alpha")]
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        self.history.rows.append(row)
        self.epoch = row["epoch"]
        watched = {k: f"{row[k]:.0%}" for k in ("clean", "robust") if k in row}
        bar.set_postfix(loss=f"{row['loss']:.3f}", **watched, refresh=False)
        return row

    def save(self, path) -> None:
        """Write everything that the next epoch depends on, whole or not at all."""
        tensors = {f"net.{name}": t for name, t in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            if (buffer := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                tensors[f"momentum.{name}"] = buffer
        tensors |= {f"good.{name}": t for name, t in (self.watch.good or {}).items()}
        state = {"epoch": self.epoch, "rows": self.history.rows, "run": self._identity(), "watch": self.watch.state()}
        record.write_weights(path, tensors, {"checkpoint": state, "spec": asdict(self.net.spec)})

    def restore(self, path) -> None:
        """Go on from a checkpoint of the same run (network, data set, preset and seed)."""
        if path is None:
            raise ValueError("resume=True needs checkpoint=, the path that the earlier run wrote to")
        tensors, header = record.read_weights(path)
        state = header.get("checkpoint")
        if state is None:
            raise record.RecordError(f"{path} holds a finished network, not a checkpoint: open it with oatlib.load")
        if state["run"] != self._identity():
            changed = [k for k, v in self._identity().items() if state["run"].get(k) != v]
            raise record.RecordError(
                f"{path} is a checkpoint of another run: {', '.join(changed)} differ; train afresh"
            )
        parts = {part: {k.removeprefix(part): t for k, t in tensors.items() if k.startswith(part)} for part in _PARTS}
        record.fill(self.net, parts["net."], path)
        for name, parameter in self.net.named_parameters():
            if name in parts["momentum."]:  # in the parameter's own memory layout
                buffer = torch.empty_like(parameter).copy_(parts["momentum."][name])
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.watch.good = {k: t.to(self.device) for k, t in parts["good."].items()} or None
        self.watch.best_robust, self.watch.looks = state["watch"]
        self.epoch, self.history.rows = state["epoch"], state["rows"]
        self.started -= self.history.rows[-1]["seconds"]

    def _identity(self) -> dict:
        """What must be equal for a resumed run to give the bits of an uninterrupted one (as JSON)."""
        spec = json.loads(json.dumps(asdict(self.net.spec)))
        return {
            "network": spec,
            "preset": asdict(self.preset),
            "seed": self.seed,
            "amp": self.amp,
            "images": len(self.data.train),
        }

    def end(self, status: str, note: str) -> None:
        """Close the run and write down on the network how it was trained."""
        self.history.status, self.history.note = status, note
        self.history.seconds = time.perf_counter() - self.started
        how = {"preset": asdict(self.preset), "seed": self.seed, "amp": self.amp, "device": str(self.device)}
        how |= {"threads": torch.get_num_threads(), "status": status, "note": note, "versions": record.versions()}
        self.net.trained.append(how | {"epochs_done": self.epoch, "seconds": round(self.history.seconds, 1)})


_PARTS = ("net.", "momentum.", "good.")


def _preset(preset: str | Preset, changes: dict) -> Preset:
    if isinstance(preset, str):
        preset = lookup("preset", preset, PRESETS)
    names = [f.name for f in fields(Preset)]
    for name in changes.keys() - set(names):
        raise TypeError(f"a preset has no {name!r}{did_you_mean(name, names)}; it has {', '.join(names)}")
    return replace(preset, **changes)


def _check_fit(net: Network, data: Data, preset: Preset) -> None:
    if preset.momentum == 0 and net.spec.density < 1 and any(unit.masks.moves for unit in masked_units(net)):
        raise ValueError("sparse training grows weights where momentum is largest: momentum must be above 0")
    if tuple(data.shape) != net.spec.shape or len(data.classes) != len(net.spec.classes):
        raise ValueError(
            f"this network takes images {net.spec.shape} of {len(net.spec.classes)} classes; "
            f"the data has {tuple(data.shape)} and {len(data.classes)} classes"
        )
