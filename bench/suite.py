"""PGD-20 against the suite, and the suite against another library's AutoAttack: `python -m
bench.suite [--n 512]`.

On the networks that come with oatlib, validation images of `shapes`, at three λ. AutoAttack is that
of torchattacks (its default steps), on pgd-at and on oat at three λ. What is in the record already
is not measured again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import oatlib
from oatlib.attacks.accuracy import correct_before_and_after
from oatlib.data.load import data_of
from oatlib.explorer.shipped import FOLDER, MEMBERS
from oatlib.record import read_json, versions, write_json

EPS, NOISE_SAMPLES, NOISY_N = 8 / 255, 10, 128
LAMS = (0.2, 0.4, 1.0)  # at 0 nothing is left
COMPARED = {("pgd-at", 1.0), ("oat", 0.2), ("oat", 0.4), ("oat", 1.0)}  # with AutoAttack


def measure(name: str, lam: float, n: int) -> dict:
    """Robust accuracy of one setting under PGD-20, the suite and, for some, AutoAttack; with the
    seconds they took.
    """
    net = oatlib.load(FOLDER / f"{name}.safetensors")
    samples = NOISE_SAMPLES if net.position(lam).noisy else 1
    panel = data_of(net.spec.data).val.panel(min(n, NOISY_N) if samples > 1 else n)
    found = {"name": name, "lam": lam, "n": len(panel), "noise_samples": samples}
    for key, attack in (
        ("pgd", oatlib.PGD(EPS, 20, eot_samples=samples)),
        ("suite", oatlib.Suite(EPS, eot_samples=samples)),
    ):
        (result,) = oatlib.evaluate(
            net, panel, attack, [lam], [1.0], progress=False, noise_samples=samples
        )
        found |= {"clean": result.clean, key: result.robust, f"{key}_seconds": result.seconds}
    if (name, lam) in COMPARED:
        found |= autoattack(net.at(lam), panel)
    return found


class WithParameter(torch.nn.Module):
    """A folded network has no parameter; torchattacks asks one for its device."""

    def __init__(self, f):
        super().__init__()
        self.f, self.device_of = f, torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.f(x)


def autoattack(f, panel) -> dict:
    """What torchattacks' AutoAttack leaves on the same images."""
    import torchattacks

    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x_adv = torchattacks.AutoAttack(WithParameter(f), eps=EPS, n_classes=8, seed=0)(
            panel.x, panel.y
        )
    _, robust = correct_before_and_after(f, panel.x, x_adv, panel.y)
    return {
        "autoattack": robust.double().mean().item(),
        "autoattack_seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", default=list(MEMBERS), metavar="name", help=", ".join(MEMBERS)
    )
    parser.add_argument(
        "--n", type=int, default=512, help="validation images (128 at most where weights are noisy)"
    )
    parser.add_argument("--out", default="bench/results/suite.json")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in MEMBERS]:
        parser.error(f"unknown network {unknown[0]!r}: use {', '.join(MEMBERS)}")
    rows = read_json(options.out)["rows"] if Path(options.out).exists() else []
    for name in options.names:
        for lam in sorted({*LAMS} & {*oatlib.load(FOLDER / f"{name}.safetensors").spec.stops}):
            if any((row["name"], row["lam"]) == (name, lam) for row in rows):
                continue
            rows.append(measure(name, lam, options.n))
            write_json(
                options.out,
                {
                    "command": "python -m bench.suite",
                    "suite": str(oatlib.Suite(EPS)),
                    "pgd": str(oatlib.PGD(EPS, 20)),
                    "threads": torch.get_num_threads(),
                    "versions": versions(),
                    "rows": rows,
                },
            )
            print(
                {
                    key: round(value, 3) if isinstance(value, float) else value
                    for key, value in rows[-1].items()
                },
                flush=True,
            )


if __name__ == "__main__":
    main()
