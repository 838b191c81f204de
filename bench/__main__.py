"""Run all benchmarks: `python -m bench [name ...]`. On a GPU: `python -m bench gpu`."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import torch

from oatlib.record import versions, write_json

from . import folded, gpu, growth, loading, rows, step, sweep, training, widths

BENCHES = {
    "step": step.run,
    "at": folded.run,
    "growth": growth.run,
    "widths": widths.run,
    "rows": rows.run,
    "loading": loading.run,
    "training": training.run,
    "sweep": sweep.run_sweep,
    "rerun": sweep.run_rerun,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks (all by default), print their figures, write one JSON file each.

    `gpu` runs alone, and has options of its own.
    """
    if names[:1] == ["gpu"]:
        return gpu.main(names[1:])
    if unknown := [n for n in names if n not in BENCHES]:
        print(
            f"unknown benchmark {unknown[0]!r}: use {', '.join([*BENCHES, 'gpu'])}", file=sys.stderr
        )
        return 2
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    machine = {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": versions(),
    }
    for name in names or BENCHES:
        result = BENCHES[name]()
        write_json(folder / f"{name}.json", result | {"machine": machine})
        for key, value in result.items():
            print(f"{key:26} {json.dumps(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
