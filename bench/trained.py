"""Networks that several benches measure, trained once: `python -m bench.trained NAME [--seeds 0 1
2] [--folder DIR]`.

A network is named by its recipe and what differs from the recipe's defaults, for instance `oat`,
`pgd-at lam=0.2` or `float redraw=forward`. It is trained with the `fast` preset on `shapes` of the
same seed, and kept in the folder (not part of the repository). A kept network is used again only if
it was trained by the same preset on the same data.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import oatlib
from oatlib.record import RecordError
from oatlib.training.presets import PRESETS, Preset

FOLDER = Path("data/downloads/bench")


def trained(
    name: str, seed: int, folder: Path | None = FOLDER
) -> tuple[oatlib.Network, oatlib.Data]:
    """A trained network and its data.

    Args:
        name: recipe and options, such as `"oats widths=4"`.
        seed: of the data, the network and its training.
        folder: where trained networks are kept; None: train it in any case and keep nothing.
    """
    preset = PRESETS["fast"]
    recipe, options = parse(name)
    data = oatlib.load_data("shapes", seed=seed)
    path = None if folder is None else folder / f"{','.join(name.split())}_{seed}.safetensors"
    net = _kept(path, data, seed, preset) if path is not None and path.is_file() else None
    if net is None:
        net = oatlib.build(recipe, data, seed=seed, **options)
        oatlib.train(net, data, preset, seed=seed, progress=False)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            oatlib.save(net, path)
    return net, data


def parse(name: str) -> tuple[str, dict]:
    """`"pgd-at lam=0.2"` -> `("pgd-at", {"lam": 0.2})`. Values are JSON, or words."""
    recipe, *pairs = name.split()
    options = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return recipe, options


def named(recipe: str, options: dict) -> str:
    """The other way round: `named("pgd-at", {"lam": 0.2})` is `"pgd-at lam=0.2"`."""
    words = (value if isinstance(value, str) else json.dumps(value) for value in options.values())
    return " ".join([recipe, *(f"{key}={word}" for key, word in zip(options, words, strict=True))])


def _kept(path: Path, data: oatlib.Data, seed: int, preset: Preset) -> oatlib.Network | None:
    """The network in a file, if it was trained as it would be now."""
    try:
        net = oatlib.load(path)
    except RecordError:
        return None
    how = net.trained[-1]
    same = net.spec.data == {"name": data.name, "options": dict(data.options)}
    same = (
        same
        and how["preset"] == asdict(preset)
        and how["seed"] == seed
        and how["status"] == "finished"
    )
    return net if same else None


def main() -> None:
    """Train and keep what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    for seed in options.seeds:
        net, _ = trained(options.name, seed, options.folder)
        print(f"{options.name}, seed {seed}: {net.trained[-1]['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
