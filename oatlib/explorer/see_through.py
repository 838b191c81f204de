"""Describe to the browser what the images of the gallery are made of: the data set "shapes" only.

The browser computes from this what the attack changes in each part, as `effect_of` in
data/scenes.py does, because it also does so on an exported page without Python.
"""

from __future__ import annotations

from ..data.load import Data, Split
from ..data.scenes import scene_of
from ..data.shapes import GREY, SHAPES, Scene, tiles
from .measure import pixels

NOISE_FACTOR = 4  # of the noise as the page shows it; normal noise is then far from black and white


def see_through(data: Data, images: Split) -> dict | None:
    """Return the parts of images, ready for JSON.

    Args:
        data: The data set.
        images: The images of the gallery.

    Returns:
        None if the parts are not known, or if the images have no texture. Else a dict:

            * paired: Whether classes 2k and 2k + 1 have textures of opposite sign.
            * tiles: The texture of each class, the +-1 of a 3x4x4 tile, channel by channel.
            * noiseFactor: Factor on the noise in the images of the noise.
            * images: The parts of each image, see `_parts`.
    """
    try:
        scene = scene_of(data, images)
    except ValueError:  # another data set, or images that "shapes" has not rendered
        return None
    options = scene.options
    if not options.amplitude:
        return None
    return {
        "paired": options.paired,
        "tiles": tiles(options.paired)[: options.classes].flatten(1).int().tolist(),
        "noiseFactor": NOISE_FACTOR,
        "images": [_parts(scene, i) for i in range(len(images))],
    }


def _parts(scene: Scene, i: int) -> dict:
    """Return what image i is made of.

    "label" is its class, "shape" the name of its drawn shape. "mask" (see `pixels`) and "contrast"
    give the drawn shape minus grey. "amplitude" is that of its texture. "noise" is the noise around
    grey, see `pixels`.
    """
    return {
        "label": scene.y[i].item(),
        "shape": SHAPES[int(scene.shape[i])],
        "mask": pixels(scene.mask[i, None]),
        "contrast": scene.contrast[i].tolist(),
        "amplitude": scene.amplitude[i].item(),
        "noise": pixels((GREY + NOISE_FACTOR * scene.noise[i]).clamp(0, 1)),
    }
