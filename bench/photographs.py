"""The dial on photographs: `python -m bench.photographs FOLDER --title "CIFAR-10" [--recipes oat
blend]`.

FOLDER holds `train/<class>/*` and `test/<class>/*`. Each recipe is trained on `--n-train` of its
images with the preset `fast` and the changes in CHANGES. It is measured on `--n` test images at
every λ stop, by the quick suite and by PGD-20. `blend` is measured along its dial, and with its
outputs mixed. What is in the record is not trained again.

The built-in world is made so that a dial is worth turning. This bench asks whether photographs show
the same picture: robust accuracy above the coin between the ends of the dial, and PGD-20 close to
the suite.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

import oatlib
from oatlib.record import read_json, versions, write_json

from .once_for_all import EPS, FIFTHS, MIXED, measure

# photographs need more epochs than the built-in images, and a lower learning rate
CHANGES = {"epochs": 12, "lr": 0.3}
DIALS = {  # recipe -> name of a system, its dial rule (None: its own), λ (None: its stops)
    "oat": {"oat": (None, None)},
    "blend": {"blend": (None, list(FIFTHS)), "blend, outputs": ("outputs", list(MIXED))},
}


def main() -> None:
    """Train, measure, and write the record after every recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of the images: {train,test}/<class>/*")
    parser.add_argument("--title", required=True, help="what the images are called in the record")
    parser.add_argument("--recipes", nargs="+", default=list(DIALS), choices=DIALS)
    parser.add_argument(
        "--n-train", type=int, default=10_000, help="training images (default %(default)s)"
    )
    parser.add_argument("--n", type=int, default=512, help="test images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="bench/results/photographs.json")
    options = parser.parse_args()
    data = oatlib.load_data(
        f"folder:{options.folder}",
        options.seed,
        n_train=options.n_train,
        n_val=500,
        n_test=options.n,
    )
    attack = oatlib.Suite(EPS, budget="quick")
    runs = read_json(options.out)["runs"] if Path(options.out).exists() else []
    for recipe in options.recipes:
        if any(run["system"] == recipe for run in runs):
            continue
        net = oatlib.build(recipe, data, seed=options.seed)
        history = oatlib.train(net, data, seed=options.seed, **CHANGES)
        for system, (dial, lams) in DIALS[recipe].items():
            points = measure(
                net if dial is None else net.with_dial(dial), lams, data.test, attack, with_pgd=True
            )
            runs.append(
                {
                    "system": system,
                    "seed": options.seed,
                    "train_seconds": history.seconds,
                    "points": points,
                }
            )
            told = "  ".join(
                f"{p['lam']:g}: {p['clean']:.1%} {p['pgd']:.1%} {p['robust']:.1%}" for p in points
            )
            print(f"{system}, clean, PGD-20, suite at λ = {told}", flush=True)
        about = {
            "command": "python -m bench.photographs",
            "images": options.title,
            "n_train": options.n_train,
        }
        about |= {"n": options.n, "backbone": "tiny", "preset": asdict(oatlib.Preset()) | CHANGES}
        about |= {
            "attack": attack.describe(),
            "attack_text": str(attack),
            "threads": torch.get_num_threads(),
        }
        write_json(options.out, about | {"versions": versions(), "runs": runs})


if __name__ == "__main__":
    main()
