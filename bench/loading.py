"""How many images of a folder `load_data` reads in a second: decoded, and out of the cache.

The plain way to write it is one loop with PIL. All files are in the memory of the operating system
after the first round, so the disk is not measured. Images in a second of processor time, added up
over the threads, say what one core does: other work on the machine changes them little.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import oatlib
from oatlib.data.decode import THREADS_FOR_SMALL_FILES
from oatlib.data.pixel_cache import UNSETTLED

from .clock import interleaved, ratio

N = 10_000
SIZE = 32
# Kind of files: size of the images in them, and how they are written.
KINDS = {
    "JPEG": (32, {"format": "JPEG", "quality": 90}),
    "JPEG, to be resized": (64, {"format": "JPEG", "quality": 90}),
    "PNG": (32, {"format": "PNG"}),
}


def _write(folder: Path, size: int, options: dict) -> None:
    """Write N image files of the built-in world into class folders."""
    data = oatlib.load_data("shapes", n_train=N, n_val=1, n_test=1, size=size)
    pixels = (data.train.x * 255).byte().permute(0, 2, 3, 1).numpy()
    for name in data.classes:
        (folder / name).mkdir(parents=True)
    for index, label in enumerate(data.train.y.tolist()):
        path = folder / data.classes[label] / f"{index:05}.{options['format'].lower()}"
        Image.fromarray(pixels[index]).save(path, **options)


def _plain(folder: Path) -> torch.Tensor:
    """The images as one tries it first."""
    images = []
    for path in sorted(folder.glob("*/*")):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        square = ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC)
        images.append(torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255)
    return torch.stack(images)


def _ways(folder: Path) -> dict:
    def load(cache: bool):
        return oatlib.load_data(f"folder:{folder}", size=SIZE, cache=cache)

    return {
        "plain": lambda: _plain(folder),
        "decoded": lambda: load(cache=False),
        "cached": lambda: load(cache=True),
    }


def _with_processor_time(way: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """The same way, which also notes its processor time."""

    def call():
        started = time.process_time()
        way()
        seconds.append(time.process_time() - started)

    return call


def run(rounds: int = 5) -> dict:
    """{loading: {kind of files: images in a second by way, and their ratios}}."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")  # a cache that is not used would be one
        for index, (kind, (size, options)) in enumerate(KINDS.items()):
            top = Path(folder) / str(index)
            _write(top, size, options)
            time.sleep(1.5 * UNSETTLED / 1e9)  # files that are newer are not cached
            processor: dict[str, list[float]] = {way: [] for way in _ways(top)}
            ways = {
                name: _with_processor_time(way, processor[name]) for name, way in _ways(top).items()
            }
            seconds = interleaved(ways, rounds, warmup=1)
            found[kind] = {
                "images": N,
                "size": SIZE,
                "images_per_second": {
                    way: {
                        "median": round(N / statistics.median(values)),
                        "best": round(N / min(values)),
                        "of_one_core": round(N / statistics.median(processor[way][1:])),
                    }
                    for way, values in seconds.items()
                },
                "plain_over_decoded": ratio(seconds, "plain", "decoded"),
                "decoded_over_cached": ratio(seconds, "decoded", "cached"),
            }
    return {"loading": found, "decoding_threads": THREADS_FOR_SMALL_FILES}
