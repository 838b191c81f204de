"""How to train: the numbers of a training run, and the three sets of them that have a name.

The preset `fast` was chosen on `shapes` by three figures. The first is robust accuracy along the
dial of `oat`. The second is robust accuracy at λ = 1, compared with a dedicated network. The third
is how far PGD-20 overestimates. A network that is trained against two small untargeted steps on a
larger ball learns to resist that attack only: PGD-20 then overestimates by up to 30 points.

Tried: `tiny`, 8,192 training images, n = 512 validation images. Columns *95 %* and *λ = 1* are
robust accuracies by the quick suite in percent, at clean accuracy >= 95 % and at λ = 1. Column
*gap* is PGD-20 minus quick suite in points, the largest over the λ stops. The same training with
other random numbers gives values that differ by about 3, 2 and 1 points. So small differences mean
nothing.

First the attack of training. Seed 0, 4 epochs of batches of 64 and λ uniform over the stops, unless
stated otherwise:

    attack of training                                       95 %   λ = 1   gap
    PGD-3 on the cross-entropy                               48.6    63.1   8.0  (palest 0.12)
    the same, step 4/255                                     45.1    61.9   7.8  (palest 0.12)
    PGD-3, cross-entropy and margin in turn                  44.8    65.4   7.0  (palest 0.12)
    PGD-3 on the margin                                      46.6    66.8   7.0
    the same, step 8/255                                     48.3    66.2   8.6
    PGD-4 on the margin, step 5/255                          46.2    68.0   7.2
    PGD-2 on the margin, step 8/255                          44.8    65.8   8.8
    PGD-3 towards the likeliest wrong class                  43.2    66.2   9.0
    PGD-3 towards one of three wrong classes                 42.9    65.6   6.1
    half of the images so, half on the margin                47.3    68.0   5.7
        with seed 1                                          42.6    66.4   5.9
    the same, towards any wrong class                        43.6    67.4   6.4
    the same, two steps of 8/255                             47.3    65.6   6.7
    the same, two steps of 8/255, 5 epochs                   45.2    68.9   6.5
    the same, three steps, 6 epochs                          47.4    72.1   4.9  (1.5x the time)
    the same, batches of 128, 5 epochs                       45.6    67.6   5.6  (lr 0.4)
    the same, lr 0.6                                         44.7    66.2   6.3
    the same, batches of 128, two steps of 8/255, 6 epochs   44.8    66.6   7.8

Then where to spend the time (the attack of "half of the images so", batches of 128, lr 0.5). *Last*
is the value of `at_last_stop`. *Early* is the fraction of training in which the attack takes one
step of 10/255. *Time* is relative to the first row:

                                                      seed 0                 seed 1
    epochs, last, early                          95 %   λ = 1    gap    95 %   λ = 1    gap   time
    5, 0, 0                                      44.4    67.2    5.3                             1
    5, .3, 0 (nearly `fast`, half its epochs)    43.1    71.5    5.7                             1
    6, .3, 0                                     39.8    72.1    4.7                           1.2
    6, .15, .4                                   41.8    70.5    5.1    51.0    71.7    6.1      1
    6, .2, .4                                    41.5    71.5    4.7    48.6    73.8    5.9      1
    6, .25, .4                                                          51.6    73.6    5.7      1
    6, .3, .4 (twice with seed 0)                44.1    72.5    4.5    48.9    74.0    5.7      1
        the second time                          37.4    69.9    5.5
    7, .25, .5                                   43.6    72.3    5.1    46.9    75.6    7.6    1.1
    7, .3, .6                                    38.4    71.1    5.9                           1.1
    6, .3, .5, four steps later                  39.7    69.5    6.4    48.5    74.2    5.3      1
    5, .3, .5, five steps later                                         43.2    71.1    7.4     .9
    6, .3, .4, three quarters with a target      39.2    71.1    5.7                             1
    6, .3, .4, weight decay .001                                        48.6    75.6    5.7      1
    6, .3, .4, ball of 1.1 eps                                          49.5    75.0    6.1      1
    6, .3, .5, four steps, lr .35                                       47.0    73.2    6.4      1
    6, .2, .4, lr .8                             41.1    69.3    5.7    49.8    73.4    6.6      1
    3, .3, .5, four steps, 16,384 images                                43.1    71.5    6.8      1

In the second table the target classes were chosen at the start of the attack, as in `fast`. In its
first two rows, and in the first table, they were chosen from the unattacked image, which costs one
more forward pass.

Training with *early* saves the time of an epoch, but it is not safe. With seed 0 two dedicated
networks for λ = 0.1 were trained with it: *early* .25, and .4 with a step of 8/255. Their clean
accuracy was 91.2 and 95.1 %, instead of 95.9 % without. PGD-20 was 8.8 and 9.6 points above the
suite, instead of 3.5. With seed 1 this was not seen. So `fast` does not use it.

What `at_last_stop` gains at λ = 1 is lost in the middle of the dial. With 5 epochs and .3, robust
accuracy at clean accuracy >= 95 % and at λ = 1 is 40.3 and 69.4 % (n = 1,024 test images, means of
seeds 0 to 2). With 5 epochs and 0 it was 43.7 and 66.3 % (n = 512).

Last, the number of epochs. More of them gain more than anything in these tables, and take as much
more time. So `fast` has 10. Robust accuracy by the quick suite at clean accuracy >= 98, 95 and 90 %
and at λ = 1, means of seeds 0 to 2, n = 1,024 test images:

    epochs                          98 %    95 %    90 %   λ = 1   largest gap
    5, oat                          13.8    40.3    56.6    69.4       6.3
    10, oat                         18.9    48.0    62.6    73.0       5.5
    10, six dedicated networks      17.0    41.1    62.7    76.6

With 10 epochs and `at_last_stop` .15 or 0, `oat` has 50.3 and 52.6 % at clean accuracy >= 95 %, and
72.9 and 72.2 % at λ = 1 (seeds 0 and 1; .3 gives 49.0 and 73.5 %).

After 10 epochs dedicated networks for a small λ resist short attacks more than `oat` does. The
table holds robust accuracy minus that of the fast suite, in points (means of seeds 0 to 2, n = 512
validation images). So comparisons under the quick suite favour dedicated networks, by about four
points at λ = 0.1:

                       λ = 0.1    λ = 0.2    λ = 0.3
    PGD-20, dedicated   11.2        9.6        5.3
    quick, dedicated     4.7        2.5        1.8
    quick, oat            .6         .8    not measured

A stronger attack in training does not change this, a lower learning rate does. These are dedicated
networks for λ = 0.2 (means of seeds 0 to 2, n = 512 validation images). *Gap* is PGD-20 minus fast
suite, with the largest of the three in brackets:

                                     clean    fast suite     gap
    `fast`                            92.5       47.3       9.6 (12.7)
    five steps of 20/3/255            92.5       49.6       9.2 (11.1)
    five steps of 4/255               92.2       46.7      11.0 (15.8)
    seven steps of 3/255              93.7       44.3      11.5 (17.2)
    no targets                        89.9       50.0      12.9 (15.0)
    targets only                      94.1       43.9       7.9 (11.7)
    ball of 1.15 eps (seed 0 only)    84.6       61.1      12.1
    lr .3                             94.7       47.6       5.9 (6.2)

`oatlib.audit` raises four of five such networks of `fast` (seeds 0 to 4, n = 128), as PGD-20 says
too much of them. With lr .3 it raises one of five. For `oat` a lr of .3 changes little. With seeds
0 to 2 it has 47.7 % instead of 45.8 % at clean accuracy >= 95 %, 72.9 instead of 74.1 % at λ = 1,
and a largest gap of 5.5 instead of 6.4 points (n = 512 validation images, quick suite). With lr .2
these are 45.7 %, 73.3 % and 5.8 points. So `fast` keeps .5.

More training images at the same number of updates help until about 8,192. This was measured in an
earlier version of `shapes`, by robust accuracy at clean accuracy >= 90 %. It was 36.8 % with 4,096
images, 44.0 % with 8,192, 44.2 % with 16,384 and 46.0 % with 32,768.

The preset `photos` was chosen on photographs, CIFAR-10 as JPEG files, for `oat` on two CPU cores.
Clean and robust accuracy (quick suite) and *gap* are in percent, on test images (n = 1,024), in the
second row on validation images (n = 512). *Time* is computing time in seconds of one thread, on a
processor with AVX-512. One seed each, so differences of 3 mean nothing:

    backbone, loss, images, epochs, last          λ = 0       λ = 1       gap   time
    tiny, hybrid, 10,000, 12, .3               60.3 /  4.4  54.4 / 19.4   5.6    338
    small, hybrid, 48,500, 2, .3, bfloat16     63.9 /  6.8  56.4 / 21.7   6.4    355  (n = 512)
    small, sampled, 49,500, 7, .4              76.9 /  0.5  64.5 / 26.2   2.5  1,261  (two passes)
    the same, 8, .65, bfloat16                 77.0 /  0.8  50.6 / 21.2   0.9    945
    small, sampled, 49,500, 6, .6              74.8 /  2.7  65.4 / 31.3   5.0  1,256  (one pass)

The aim was clean accuracy 72 at λ = 0 and robust accuracy 28 at λ = 1 in 15 minutes on two cores.
The last row, the preset `photos`, reaches both in 657 s. In the two rows before it, unattacked and
attacked images of λ > 0 had batch statistics of their own, as in OAT's code. The running statistics
of the adversarial BatchNorm then average over both kinds of images with equal weights, and fit
λ = 1 badly. With statistics of attacked images at λ = 1 alone, these two networks have 59.0 / 27.3
and 67.6 / 24.8 at λ = 1 (n = 512). In one pass the running statistics are those that the network is
trained with.

A step of 128 images takes 0.18 s with `tiny`, 0.42 s with `small` and 0.28 s with `small` and the
loss "sampled", on two threads. The convs of `small` take four times the operations of those of
`tiny`. They run at about 210 GFLOP/s, those of `tiny` at 135. In bfloat16 a step of `small` takes
two thirds of the time, where the processor has instructions for it (`train(..., amp=True)`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .._check import positive_int, real, whole
from ..attacks.aimed import AimedPGD
from ..attacks.pgd import PGD


@dataclass(frozen=True)
class Preset:
    """How to train. Lengths are in pixel units [0, 1].

    Args:
        epochs: Number of epochs.
        batch: Images per step.
        lr: Largest learning rate.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Weight decay of all parameters.
        clip: Longest gradient, as L2 norm over all parameters. 0: no limit.
        schedule: "one-cycle", or "cosine": one value per epoch, without a warm-up.
        warmup: Fraction of training in which the learning rate of "one-cycle" grows. It is large,
            because robust features are learned after eps has grown.
        eps: L-infinity radius of the attack.
        margin: Factor on eps in training: the attack of training uses a ball this much larger.
        steps: Steps of PGD in training.
        step_size: Length of a step of PGD.
        aimed: Fraction of the attacked images that are attacked towards one wrong class. 0: plain
            PGD on the cross-entropy.
        ramp: Fraction of training in which eps grows from 0. 0: eps is constant.
        at_last_stop: Fraction of the attacked images that get the largest λ stop. The stops of the
            others are uniform.
        panel: Number of validation images that are watched during training.
        watch: The panel is measured after every `watch` epochs.

    Raises:
        ValueError: If a value is out of range.
    """

    epochs: int = 10
    batch: int = 128
    lr: float = 0.5
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 1.0
    schedule: str = "one-cycle"
    warmup: float = 0.5
    eps: float = 8 / 255
    margin: float = 1.0
    steps: int = 3
    step_size: float = 20 / 3 / 255
    aimed: float = 0.5
    ramp: float = 0.2
    at_last_stop: float = 0.3
    panel: int = 256
    watch: int = 1

    def __post_init__(self):
        for name in ("epochs", "batch", "panel", "watch"):
            positive_int(name, getattr(self, name))
        for name in ("lr", "momentum", "weight_decay", "clip", "margin", "step_size"):
            real(name, getattr(self, name), 0)
        whole("steps", self.steps, 0)
        for name in ("ramp", "warmup"):
            if real(name, getattr(self, name), 0, 1, what="a fraction of training") == 1:
                raise ValueError(f"{name} must be a fraction of training, below 1, got 1")
        for name in ("at_last_stop", "aimed"):
            real(name, getattr(self, name), 0, 1, what="a fraction of the images")
        real("eps", self.eps, 0, 1, "in pixel units such as 8/255")
        if self.schedule not in ("one-cycle", "cosine"):
            raise ValueError(f"schedule must be 'one-cycle' or 'cosine', got {self.schedule!r}")
        self.attack()  # raises an error if eps, steps, step_size or aimed is out of range

    def learning_rate(self, done: float, epoch: int) -> float:
        """Return the learning rate of a step.

        Args:
            done: Fraction of all steps that are done, in [0, 1].
            epoch: Number of epochs that are done. Only "cosine" uses it.
        """
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        # One cycle: linear from a tenth of lr to lr, then half a cosine to 0.
        if done < self.warmup:
            return self.lr * (0.1 + 0.9 * done / self.warmup)
        return self.lr * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def attack(self, done: float = 1.0) -> PGD:
        """Return the attack of training. Its radius and its step grow with `ramp`.

        Args:
            done: Fraction of training that is done, in [0, 1].
        """
        growth = min(1.0, done / self.ramp) if self.ramp else 1.0
        radius = self.eps * self.margin * growth
        step_size = self.step_size * growth
        if self.aimed:
            return AimedPGD(radius, self.steps, step_size, share=self.aimed)
        return PGD(radius, self.steps, step_size, best=False)

    def at_eps(self, eps: float) -> Preset:
        """Return the same preset with another radius. The length of its steps is scaled with it.

        Args:
            eps: L-infinity radius in pixel units, above 0.

        Raises:
            ValueError: If it is out of range, or if this preset has no radius to scale from.
        """
        if self.eps == 0 or not real("eps", eps, 0, 1, "in pixel units such as 8/255") > 0:
            raise ValueError(f"eps must be above 0 to scale the attack of training, got {eps!r}")
        return replace(self, eps=eps, step_size=self.step_size * (eps / self.eps))


PRESETS = {
    "fast": Preset(),  # for lessons, chosen on validation images of `shapes`
    # The defaults of the published OAT code for CIFAR-10. The length of its PGD step is
    # min(1.25 eps, eps + 4/255) / steps.
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
        at_last_stop=0.0,
        panel=512,
        watch=5,
    ),
    # For photographs on two CPU cores, with the backbone `small` and the loss "sampled".
    "photos": Preset(epochs=6, lr=0.3, warmup=0.4, at_last_stop=0.6),
}
