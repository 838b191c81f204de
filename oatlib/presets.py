"""How to train: the numbers of a training run, and the two sets of them that have a name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .aimed import AimedPGD
from .attacks import PGD


@dataclass(frozen=True)
class Preset:
    """How to train. eps and step_size in pixel units [0, 1]; ramp and warmup as shares of the whole training."""

    epochs: int = 5
    batch: int = 128
    lr: float = 0.5
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 1.0  # longest gradient (L2 norm over all parameters); 0: no limit
    schedule: str = "one-cycle"  # or "cosine": one value per epoch, no warm-up
    warmup: float = 0.5  # of one-cycle; late, because robust features are learned after eps has ramped up
    eps: float = 8 / 255
    margin: float = 1.0  # training attacks a ball this many times as large as eps
    steps: int = 3  # of PGD
    step_size: float = 20 / 3 / 255
    aimed: float = 0.5  # share of the attacked images that climb towards one wrong class; 0: plain PGD on the loss
    ramp: float = 0.2  # eps grows from 0 over this share of training; 0 switches it off
    panel: int = 256  # held-out images that are watched ...
    watch: int = 1  # ... after every so many epochs

    def __post_init__(self):
        whole = ("epochs", "batch", "panel", "watch")
        if bad := [k for k in whole if not (isinstance(getattr(self, k), int) and getattr(self, k) >= 1)]:
            raise ValueError(f"{bad[0]} must be a whole number of at least 1, got {getattr(self, bad[0])!r}")
        sizes = ("lr", "momentum", "weight_decay", "clip", "margin")
        if bad := [k for k in sizes if not 0 <= getattr(self, k) < math.inf]:
            raise ValueError(f"{bad[0]} must not be negative, got {getattr(self, bad[0])}")
        if bad := [k for k in ("ramp", "warmup") if not 0 <= getattr(self, k) < 1]:
            raise ValueError(f"{bad[0]} is a share of training, in [0, 1), got {getattr(self, bad[0])}")
        if self.schedule not in ("one-cycle", "cosine"):
            raise ValueError(f"schedule must be 'one-cycle' or 'cosine', got {self.schedule!r}")
        self.attack()  # complains about eps, steps and step_size

    def learning_rate(self, done: float, epoch: int) -> float:
        """The learning rate when the share `done` of all steps is behind us."""
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        if done < self.warmup:
            return self.lr * (0.1 + 0.9 * done / self.warmup)
        return self.lr * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def attack(self, done: float = 1.0) -> PGD:
        """The attack of training: eps ramps up, the step with it. `done` is the share of training behind us."""
        share = min(1.0, done / self.ramp) if self.ramp else 1.0
        radius, step_size = self.eps * self.margin * share, self.step_size * share
        if self.aimed:
            return AimedPGD(radius, self.steps, step_size, share=self.aimed)
        return PGD(radius, self.steps, step_size, best=False)


PRESETS = {
    "fast": Preset(),  # for lessons: chosen on `shapes` by its validation panel
    # the defaults of the published OAT code for CIFAR-10; its PGD step is min(1.25 eps, eps + 4/255) / steps
    "paper": Preset(
        epochs=200,
        batch=128,
        lr=0.1,
        nesterov=False,
        clip=0.0,
        schedule="cosine",
        margin=1.0,
        steps=7,
        aimed=0.0,
        step_size=10 / 255 / 7,
        ramp=0.0,
        panel=512,
        watch=5,
    ),
}
