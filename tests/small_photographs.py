"""A folder of tiny images, and a network for them that names them in words, as the shipped ones do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import oatlib
from oatlib.explorer import open_files

CLASSES = ("cat", "dog", "ship")
TITLE = "Small photographs"


def folder(top: Path, classes=CLASSES, size=8, n=6, seed=0, parts=("train", "test")) -> Path:
    """Write n random images per class and part."""
    generator = np.random.default_rng(seed)
    for part in parts:
        for name in classes:
            (top / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(top / part / name / f"{i}.png")
    return top


def network(top: Path, recipe="blend", **options):
    """An untrained network for the images of a folder, which says how it was made."""
    data = oatlib.load_data(f"folder:{top}", size=8, n_train=3, n_val=3, cache=False)
    net = oatlib.build(recipe, data, "plain", **options)
    net.spec = replace(net.spec, data={"name": TITLE})
    rows = [{"lam": lam, "width": 1.0, "clean": 0.6, "pgd": 0.3, "robust": 0.25} for lam in net.spec.stops]
    run = {"seed": 0, "epochs_done": 2, "seconds": 90.0, "threads": 1, "n_train": 18, "hardware": "a small machine"}
    run["preset"] = {"batch": 8, "lr": 0.1, "steps": 3, "eps": 8 / 255}
    run["command"] = "python -m bench.photographs FOLDER"
    net.trained.append(run | {"test": {"n": 18, "attack": "quick suite", "rows": rows}})
    return net


def saved(path: Path, net, data) -> Path:
    """Save a network, and beside it a record with made-up numbers that fall along λ."""
    oatlib.save(net, path, half=True)
    grid = open_files.surface_of(oatlib.load(path), data)
    for i, lam in enumerate(grid.lams):
        grid.clean[0][i] = 0.7 - 0.2 * lam
        for e, eps in enumerate((0, 4, 8, 16)):
            grid.robust["quick"][0][e][i] = round((0.7 - 0.2 * lam) * (1 - eps / 20) + 0.01 * lam * eps, 4)
    grid.save(path.with_suffix(".json"))
    return path
