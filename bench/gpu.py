"""Speed on a CUDA GPU: `python -m bench gpu`, within ten minutes.

It measures images/s of an attack and of a whole training step, and which share of the convolution
peak of the device they reach. The peak is measured, too: one convolution with many channels. Rows
compare networks as they are with compiled ones. Then `oat` is trained on `shapes` in single
precision and in bfloat16, and its robust accuracy is measured.

`python -m bench gpu --cpu` runs a reduced form on the CPU. It shows that the code works, and writes
no file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F

import oatlib
from oatlib.record import versions, write_json
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops
from oatlib.training.step import train_step

OUT = Path(__file__).parent / "results" / "gpu.json"
PRECISIONS = ("bf16", "fp32", "tf32")
# Ways to run the attacked network: `mode` of oatlib.Compiler, or "eager".
WAYS = {"eager": "eager", "compiled": None, "CUDA graphs": "reduce-overhead"}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        device: "cuda" or "cpu".
        backbones: Backbones of the rows.
        batches: Numbers of images in a step.
        steps: Numbers of steps of PGD.
        precisions: Precisions of the rows.
        ways: Ways to run the attacked network.
        rounds: Timed runs of a row. The median counts.
        conv: Images, channels and pixels per side of the convolution that gives the peak.
        training: Options of the preset `fast` for the trainings on `shapes`.
        images: Training images and test images of `shapes`.
        trainings: For each training, whether it is in bfloat16 and whether it is compiled.
        backend: Backend of the compiler.
        seconds: No row is begun after this time.
    """

    device: str = "cuda"
    backbones: tuple[str, ...] = ("resnet18", "tiny")
    batches: tuple[int, ...] = (128, 512)
    steps: tuple[int, ...] = (7, 3)
    precisions: tuple[str, ...] = PRECISIONS
    ways: tuple[str, ...] = tuple(WAYS)
    rounds: int = 7
    conv: tuple[int, int, int] = (512, 256, 32)
    training: tuple[tuple[str, object], ...] = ()
    images: tuple[int, int] = (8192, 1024)
    trainings: tuple[tuple[bool, bool], ...] = (
        (False, False),
        (True, False),
        (True, True),
        (False, True),
    )
    backend: str = "inductor"
    seconds: float = 480.0


REDUCED = Plan(
    device="cpu",
    backbones=("tiny",),
    batches=(12,),
    steps=(1,),
    precisions=("fp32", "bf16"),
    ways=("eager", "compiled"),
    rounds=1,
    conv=(2, 16, 8),
    training=(("epochs", 1), ("batch", 16), ("steps", 1), ("panel", 16)),
    images=(32, 16),
    backend="aot_eager",
)


@contextmanager
def tf32(name: str) -> Iterator[None]:
    """Allow TF32 in single precision, unless the precision is "fp32"."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "fp32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def seconds_of(work: Callable[[], object], plan: Plan, warmup: int = 2) -> float:
    """Return the median time of some work in seconds, after `warmup` runs that do not count."""
    times = []
    for i in range(warmup + plan.rounds):
        _wait(plan)
        started = time.perf_counter()
        work()
        _wait(plan)
        if i >= warmup:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _wait(plan: Plan) -> None:
    """Wait until the device has done everything."""
    if plan.device == "cuda":
        torch.cuda.synchronize()


def peak(plan: Plan) -> dict[str, float]:
    """Return GFLOP/s of a convolution, forward and gradient with respect to its input."""
    n, channels, side = plan.conv
    layout = dict(memory_format=torch.channels_last)
    x = torch.randn(n, channels, side, side, device=plan.device).contiguous(**layout)
    weight = torch.randn(channels, channels, 3, 3, device=plan.device).contiguous(**layout)
    x.requires_grad_()
    # Multiply and add for every weight and pixel, once forward and once backward.
    operations = 2 * 2 * n * channels * channels * 9 * side * side
    rates = {}
    for name in plan.precisions:
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        # Cast before the clock starts, as networks keep most of their features in bfloat16.
        image, kernel = x.detach().to(kind).requires_grad_(), weight.to(kind)
        with tf32(name):
            ones = torch.ones_like(F.conv2d(image, kernel, padding=1))

            def work(image=image, kernel=kernel, ones=ones):
                torch.autograd.grad(F.conv2d(image, kernel, padding=1), image, ones)

            rates[name] = round(operations / seconds_of(work, plan) / 1e9, 1)
    return rates


def rows(plan: Plan, peaks: dict[str, float], end: float) -> Iterator[dict]:
    """Yield one row per setting, the most important first, until the time `end`."""
    settings = product(plan.ways, plan.precisions, plan.backbones, plan.batches)
    for way, kind, backbone, batch in settings:
        compiler = None
        if WAYS[way] != "eager":
            compiler = oatlib.Compiler(plan.backend, WAYS[way])
        for steps in plan.steps:
            if time.perf_counter() > end:
                return
            row = {
                "way": way,
                "precision": kind,
                "backbone": backbone,
                "batch": batch,
                "pgd_steps": steps,
            }
            try:
                row |= measured(row, compiler, plan, peaks[kind])
            except RuntimeError as error:  # out of memory, or CUDA graphs that cannot be used
                row["error"] = str(error).splitlines()[0][:200]
            yield row


def measured(setting: dict, compiler: oatlib.Compiler | None, plan: Plan, peak_rate: float) -> dict:
    """Return time, images/s and share of the convolution peak of an attack and of a step."""
    kind, batch, steps = setting["precision"], setting["batch"], setting["pgd_steps"]
    data = oatlib.load_data("shapes", n_train=batch, n_val=16, n_test=16, size=32)
    data = data.to(plan.device)
    net = oatlib.build("oat", data, setting["backbone"])
    lambda_stop, n_clean = sample_stops(net.spec.stops, batch, torch.Generator().manual_seed(0))
    images = LambdaBatch(data.train.x, data.train.y, lambda_stop, net.spec.stops)
    attack = oatlib.PGD(8 / 255, steps, best=False)
    generator = torch.Generator(plan.device)
    stops = net.setting_of_stops(images.lambda_stop[images.attacked], net.width())
    x, y = images.images[images.attacked], images.labels[images.attacked]

    def attack_alone():
        bound = net.bind_stops(stops)
        with tf32(kind), torch.autocast(plan.device, torch.bfloat16, enabled=kind == "bf16"):
            return attack(bound.forward if compiler is None else compiler(bound), x, y, generator)

    def step():
        net.zero_grad()
        with tf32(kind):
            train_step(net, images, attack, generator, amp=kind == "bf16", compiler=compiler)

    started = time.perf_counter()
    attack_alone()
    _wait(plan)
    first = time.perf_counter() - started
    attack_s, step_s = seconds_of(attack_alone, plan), seconds_of(step, plan)
    # One pass of an image: two operations per multiply-add.
    one_pass = 2 * oatlib.cost(net, net.spec.stops[-1]).macs
    n_attacked = batch - n_clean
    # A step of the attack: forward, and backward to the images.
    of_attack = 2 * one_pass * n_attacked * steps
    # The update: forward, and backward to features and weights, for all images and attacked ones.
    of_step = of_attack + 3 * one_pass * (batch + n_attacked)
    result = {
        "first_attack_s": round(first, 2),
        "attack_ms": round(attack_s * 1e3, 2),
        "step_ms": round(step_s * 1e3, 2),
        "attack_images_per_s": round(n_attacked / attack_s),
        "step_images_per_s": round(batch / step_s),
        "attack_share_of_peak": round(of_attack / attack_s / 1e9 / peak_rate, 4),
        "step_share_of_peak": round(of_step / step_s / 1e9 / peak_rate, 4),
    }
    if compiler is not None and compiler.problem:
        result["problem"] = compiler.problem
    return result


def trainings(plan: Plan, end: float) -> Iterator[dict]:
    """Train `oat` on `shapes` in several ways, and yield time and accuracy of each."""
    n_train, n_test = plan.images
    data = oatlib.load_data("shapes", n_train=n_train, n_val=256, n_test=n_test).to(plan.device)
    for amp, compiled in plan.trainings:
        if time.perf_counter() > end:
            return
        net = oatlib.build("oat", data)
        compiler = oatlib.Compiler(plan.backend) if compiled else False
        options = dict(plan.training)
        history = oatlib.train(net, data, progress=False, amp=amp, compiled=compiler, **options)
        table = oatlib.evaluate(net, data.test, lams=[0.0, 0.4, 1.0], progress=False)
        yield {
            "precision": "bf16" if amp else "fp32",
            "compiled": history.compiled,
            "seconds": round(history.seconds, 1),
            "status": history.status,
            "attack": table[0].attack["text"],
            "points": [
                {"lam": row.lam, "n": row.n, "clean": row.clean, "robust": row.robust}
                for row in table
            ],
        }


def run(plan: Plan, keep: Callable[[dict], None] = lambda result: None) -> dict:
    """Measure everything, and call `keep` with what is measured so far after each part.

    Args:
        plan: What is measured.
        keep: Called with the result so far.
    """
    started = time.perf_counter()
    result: dict = {"machine": machine(plan), "peak_gflops": peak(plan), "rows": [], "oat": []}
    keep(result)
    # Trainings first: they answer whether bfloat16 costs robust accuracy.
    for part, found in (
        ("oat", trainings(plan, started + plan.seconds / 2)),
        ("rows", rows(plan, result["peak_gflops"], started + plan.seconds)),
    ):
        for row in found:
            result[part].append(row)
            print(json.dumps(row), flush=True)
            keep(result)
    result["seconds"] = round(time.perf_counter() - started, 1)
    keep(result)
    return result


def machine(plan: Plan) -> dict:
    """What the figures were measured on."""
    cuda = plan.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def main(arguments: list[str]) -> int:
    """Measure, print, and on a GPU write the record."""
    parser = argparse.ArgumentParser(prog="python -m bench gpu", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="run a reduced form, write no file")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="begin no row later")
    options = parser.parse_args(arguments)
    if options.cpu:
        result = run(replace(REDUCED, seconds=options.seconds))
        print(json.dumps({name: result[name] for name in ("machine", "peak_gflops", "seconds")}))
        return 0
    if not torch.cuda.is_available():
        print(
            "bench gpu needs a CUDA GPU, and PyTorch finds none here; --cpu runs a reduced form",
            file=sys.stderr,
        )
        return 2
    OUT.parent.mkdir(exist_ok=True)
    run(replace(Plan(), seconds=options.seconds), lambda result: write_json(OUT, result))
    print(f"{OUT}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
