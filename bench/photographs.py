"""The dial on photographs: `python -m bench.photographs FOLDER --title "CIFAR-10" [--systems
oat-small]`.

FOLDER holds `train/<class>/*` and `test/<class>/*`. Each system of SYSTEMS is trained on its images
and measured on test images at every λ stop, by the quick suite and by PGD-20. Those with `small`
are also measured at both ends by the `fast` suite, which is stronger. `blend` is measured along its
dial, and with its outputs mixed. What is in the record is not trained again. A training that was
cut off continues from its checkpoint in CHECKPOINTS.

On Linux, MALLOC_TRIM_THRESHOLD_=8000000000 and MALLOC_MMAP_THRESHOLD_=4000000000 in the environment
keep freed memory in the process. A training step then takes 15 to 20 % less time. The networks
with `small` of the record were trained so.

The built-in world is made so that a dial is worth turning. This bench asks whether photographs show
the same picture: robust accuracy above the coin between the ends of the dial, and PGD-20 close to
the suite.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

import oatlib
from oatlib.evaluation.evaluate import NOISE_SAMPLES
from oatlib.record import read_json, versions, write_json

from .once_for_all import EPS, FIFTHS, MIXED, measure


@dataclass(frozen=True)
class System:
    """How a network is built, trained and measured.

    Attributes:
        recipe: Name of the recipe.
        backbone: Name of the backbone.
        preset: Values of training.
        n_train: Training images. None: all that are not held out.
        n: Test images.
        dials: Name of a dial -> its rule (None: that of the recipe), and λ (None: its stops).
        options: Options of the recipe.
        lam: The one λ of a dedicated network. None: the recipe has a dial, or needs no λ.
        strong_ends: Whether both ends are also measured by the `fast` suite.
    """

    recipe: str
    backbone: str
    preset: oatlib.Preset
    n_train: int | None
    n: int
    dials: dict[str, tuple[str | None, list[float] | None]]
    options: dict = field(default_factory=dict)
    lam: float | None = None
    strong_ends: bool = False


DEDICATED = "dedicated"
CHECKPOINTS = Path("data/downloads/bench")  # not part of the repository
# Twelve epochs of 10,000 photographs, with a lower learning rate than for the built-in images.
TWELVE = replace(oatlib.PRESETS["fast"], epochs=12, lr=0.3)
BLEND = {"blend": (None, list(FIFTHS)), "blend, outputs": ("outputs", list(MIXED))}


def _tiny(recipe: str, lam: float | None = None) -> System:
    """A small network on a fifth of the images: minutes of training, for every system."""
    dial = recipe if lam is None and recipe != "standard" else f"dedicated {lam or 0:g}"
    return System(recipe, "tiny", TWELVE, 10_000, 1024, {dial: (None, None)}, lam=lam)


SYSTEMS = {
    "oat-small": System(
        "oat",
        "small",
        oatlib.PRESETS["photos"],
        None,
        1024,
        {"oat-small": (None, None)},
        {"loss": "sampled"},
        strong_ends=True,
    ),
    "oat": _tiny("oat"),
    "dedicated 1": _tiny("pgd-at", lam=1.0),
    "dedicated 0": _tiny("standard"),
    "dedicated 0.2": _tiny("pgd-at", lam=0.2),
    "blend": replace(_tiny("blend"), dials=BLEND),
    "float": _tiny("float"),
    "smart": _tiny("smart"),
    "oats": _tiny("oats"),
    "solar": _tiny("solar"),
    "floats": _tiny("floats"),
}


def hardware() -> str:
    """Return the processor in words, without the name of the machine."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    """Train, measure, and write the record after every system."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of the images: {train,test}/<class>/*")
    parser.add_argument(
        "--title", help="what the images are called in the record (default: the folder's name)"
    )
    parser.add_argument(
        "--systems",
        nargs="+",
        default=list(SYSTEMS),
        choices=[*SYSTEMS, DEDICATED],
        help=f"{DEDICATED!r} stands for all networks for one λ",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", default="bench/results/photographs.json")
    options = parser.parse_args()
    runs = read_json(options.out)["runs"] if Path(options.out).exists() else []
    for seed, name in itertools.product(options.seeds, expanded(options.systems)):
        if any((run["network"], run["seed"]) == (name, seed) for run in runs):
            continue
        runs += runs_of(name, options.folder, seed)
        attack = suite_for(1)
        about = {
            "command": "python -m bench.photographs FOLDER",
            "images": options.title or Path(options.folder).resolve().name,
            "attack": attack.describe(),
            "attack_text": str(attack),
        }
        write_json(options.out, about | {"runs": runs})


def expanded(names: list[str]) -> list[str]:
    """Return names of SYSTEMS, with all networks for one λ in the place of their common name."""
    dedicated = [name for name in SYSTEMS if name.startswith(DEDICATED)]
    return [each for name in names for each in (dedicated if name == DEDICATED else [name])]


def suite_for(eot_samples: int) -> oatlib.Suite:
    """Return the suite of the record. Noisy networks need gradients averaged over samples."""
    return oatlib.Suite(EPS, budget="quick", eot_samples=eot_samples)


def runs_of(name: str, folder: str, seed: int) -> list[dict]:
    """Train a system and measure all its dials, ready for JSON."""
    system = SYSTEMS[name]
    data = oatlib.load_data(
        f"folder:{folder}", seed, n_train=system.n_train, n_val=500, n_test=system.n
    )
    net = oatlib.build(system.recipe, data, system.backbone, seed, lam=system.lam, **system.options)
    checkpoint = CHECKPOINTS / f"photographs_{name}_{seed}"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    resume = checkpoint.exists()
    cpu_before = time.process_time()
    history = oatlib.train(net, data, system.preset, seed, checkpoint, resume)
    cpu_seconds = None if resume else time.process_time() - cpu_before
    oatlib.save(net, checkpoint.with_name(f"{checkpoint.name}.safetensors"))
    eot_samples = NOISE_SAMPLES if net.spec.noise else 1
    how = {
        "network": name,
        "eot_samples": eot_samples,
        "recipe": system.recipe,
        "seed": seed,
        "backbone": system.backbone,
        "options": system.options,
        "n_train": len(data.train),
        "preset": asdict(system.preset),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "train_seconds": history.seconds,
        "cpu_seconds": cpu_seconds,
        "versions": versions(),
    }
    runs = []
    for label, (dial, lams) in system.dials.items():
        turned = net if dial is None else net.with_dial(dial)
        points = measure(turned, lams, data.test, suite_for(eot_samples), with_pgd=True)
        run = how | {"system": label, "points": points}
        if system.strong_ends:
            strong = oatlib.Suite(EPS, budget="fast")
            run["strong_text"] = str(strong)
            ends = [net.spec.stops[0], net.spec.stops[-1]]
            run["strong"] = measure(turned, ends, data.test, strong, with_pgd=False)
        told = "  ".join(
            f"{p['lam']:g}: {p['clean']:.1%} {p['pgd']:.1%} {p['robust']:.1%}" for p in points
        )
        print(f"{label}, clean, PGD-20, suite at λ = {told}", flush=True)
        runs.append(run)
    return runs


if __name__ == "__main__":
    main()
