"""The parts of an image of `shapes`, and what a change does to each of them.

An image is the sum of a drawn shape on a grey background, a texture and noise, see shapes.py.
`scene_of` renders images of a data set again, with everything that is known about them. `parts_of`
gives the three parts. `effect_of` says how much of a change, such as that of an attack, erases the
cues of an image or forges those of another class.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from .shapes import Scene, ShapesOptions, compose, render, tiles
from .splits import Data, Split, data_generator

# The splits of a data set, in the order of their random generators
SPLITS = ("train", "val", "test")


class Parts(NamedTuple):
    """The parts of N images. Their sum, clipped to [0, 1], is the images.

    Attributes:
        drawn: Drawn shapes on the grey background, (N, 3, H, W) in [0, 1].
        texture: Textures, (N, 3, H, W).
        noise: Pixel noise, (N, 3, H, W).
    """

    drawn: Tensor
    texture: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Effect:
    """What a change of N images does to their parts.

    The change is `drawn + texture + rest`: a multiple of the drawn shape of the image, a sum of
    multiples of the textures of all classes, and what neither explains. The multiples are those
    that leave the smallest rest (least squares).

    Attributes:
        drawn: Multiple of the drawn shape, (N, 3, H, W).
        texture: Sum of multiples of textures, (N, 3, H, W).
        rest: The rest, (N, 3, H, W). It is orthogonal to the drawn shape and to all textures.
        faded: Fraction of the drawn shape that is erased, (N,). 1: all of it. Negative: the shape
            has become stronger.
        erased: Fraction of the texture of the image that is erased, (N,). 1: all of it. Above 1:
            the image now holds the negative of this texture. Negative: it has become stronger.
        forged: Texture of every other class that the changed image holds, as a fraction of the
            amplitude of its true texture before the change, (N, classes). 1: as strong as the true
            texture was. 0 for the class of the image.
    """

    drawn: Tensor
    texture: Tensor
    rest: Tensor
    faded: Tensor
    erased: Tensor
    forged: Tensor

    @property
    def rest_share(self) -> Tensor:
        """The rest's share of the sum of squares of the change, (N,) in [0, 1].

        0 for images that have not changed.
        """
        change = (self.drawn + self.texture + self.rest).square().sum((1, 2, 3))
        rest = self.rest.square().sum((1, 2, 3))
        return torch.where(change > 0, rest / change, 0.0)


def render_split(part: str, n: int, seed: int, **options) -> Scene:
    """Render a split of the data set `shapes`.

    Args:
        part: "train", "val" or "test".
        n: Number of images.
        seed: Seed of the data set.
        **options: As for `render`.

    Returns:
        The images of the split, with everything that is known about them.
    """
    return render(n, data_generator(seed, SPLITS.index(part)), **options)


def scene_of(data: Data, split: Split) -> Scene:
    """Render images of a data set `shapes` again, with everything that is known about them.

    Args:
        data: The data set, from `load_data("shapes", ...)`.
        split: Some of its images, such as `data.val` or `data.test.panel(8)`.

    Returns:
        The images of `split`, in the same order and on the same device. `x` is `split.x` exactly.

    Raises:
        ValueError: If `data` is another data set, or if an image of `split` is not one of it.

    Example:
        >>> scene = scene_of(data, data.val.panel(8))
        >>> scene.amplitude.shape
        torch.Size([8])
    """
    names = [field.name for field in fields(ShapesOptions)]
    if data.name != "shapes" or any(name not in data.options for name in names):
        raise ValueError(
            f"the parts of images are known only for load_data('shapes', ...), not for {data.name}"
        )
    if split.name not in SPLITS:
        raise ValueError(f"unknown split {split.name!r}: the splits are {', '.join(SPLITS)}")
    options = {name: data.options[name] for name in names}
    n = data.options[f"n_{split.name}"]
    whole = render_split(split.name, n, data.options["seed"], **options)
    # Find each image by its pixels.
    row_of_image = {image.numpy().tobytes(): row for row, image in enumerate(whole.x)}
    rows = [row_of_image.get(image.numpy().tobytes()) for image in split.x.cpu()]
    if None in rows:
        raise ValueError(
            f"image {rows.index(None)} of the split {split.name!r} is not one that this data set "
            "renders"
        )
    return whole.take(torch.tensor(rows, dtype=torch.long)).to(split.x.device)


def parts_of(scene: Scene) -> Parts:
    """Return the parts of images: shape on background, texture, noise.

    Args:
        scene: N images, from `scene_of` or `render`.

    Returns:
        The parts. `(drawn + texture + noise).clamp(0, 1)` is `scene.x` exactly.
    """
    nothing = torch.zeros_like(scene.noise)
    drawn = compose(scene.mask, scene.contrast, nothing, nothing)
    return Parts(drawn, scene.texture, scene.noise)


def effect_of(scene: Scene, change: Tensor) -> Effect:
    """Split a change of images into what it does to the shape, to the textures, and the rest.

    With paired textures (see `tiles`), the texture of one class is the negative of the texture of
    another. Erasing all of one leaves none of the other. What is erased beyond 1 forges the other.

    Args:
        scene: N images, from `scene_of` or `render`.
        change: What is added to them, (N, 3, H, W), for instance `x_adv - scene.x`.

    Returns:
        The effect of the change.

    Raises:
        ValueError: If the images have no texture that could be erased (`amplitude=0`).

    Example:
        >>> effect_of(scene, -scene.texture).erased
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    if not scene.options.amplitude:
        raise ValueError("amplitude=0: these images have no texture that could be erased")
    options = scene.options
    # The cues of each image: the pattern of every class or pair of classes, and its own shape
    step = 2 if options.paired else 1
    repeats = options.size // 4
    patterns = tiles(options.paired)[: options.classes : step].repeat(1, 1, repeats, repeats)
    shape = scene.mask[:, None] * scene.contrast[:, :, None, None]
    patterns = patterns.to(change.device).expand(len(change), *patterns.shape)
    cues = torch.cat([patterns, shape[:, None]], 1)  # (N, K + 1, 3, H, W)
    multiples = multiples_of(cues.flatten(2), change.flatten(1))
    # Each part of the change
    multiples_of_patterns = multiples[:, :-1]
    texture = torch.einsum("nk,nkchw->nchw", multiples_of_patterns, patterns.double())
    drawn = multiples[:, -1, None, None, None] * shape
    erased, forged = texture_effect(
        multiples_of_patterns, scene.y, scene.amplitude, options.classes, options.paired
    )
    return Effect(
        drawn=drawn.to(change),
        texture=texture.to(change),
        rest=(change - drawn - texture).to(change),
        faded=-multiples[:, -1].to(change),
        erased=erased.to(change),
        forged=forged.to(change),
    )


def multiples_of(cues: Tensor, change: Tensor) -> Tensor:
    """Return the multiples of cues whose sum is closest to a change (least squares).

    Args:
        cues: K linearly independent vectors for each image, (N, K, D). A vector of zeros gets the
            multiple 0.
        change: What is added to the images, (N, D).

    Returns:
        Multiples, float64 (N, K).
    """
    inverse = torch.linalg.pinv(cues.double())  # (N, D, K)
    return torch.einsum("nd,ndk->nk", change.double(), inverse)


def texture_effect(
    multiples: Tensor, y: Tensor, amplitude: Tensor, classes: int, paired: bool
) -> tuple[Tensor, Tensor]:
    """Return how much of their texture images lose, and how much of other textures they hold.

    Args:
        multiples: Multiples of the texture patterns that are added to the images, in pixel units
            [0, 1], (N, patterns).
        y: Labels (N,).
        amplitude: Amplitudes of the true textures in pixel units [0, 1], (N,).
        classes: Number of classes.
        paired: Whether classes 2k and 2k + 1 have one pattern with opposite signs.

    Returns:
        `erased` (N,) and `forged` (N, classes), see `Effect`.
    """
    # The pattern of each class, and its sign
    step = 2 if paired else 1
    index = torch.arange(classes, device=y.device)
    pattern = index // step
    sign = 1 - 2 * (index % step)
    # How much of the texture of each class the image holds before, and how much is added
    is_own_pattern = pattern == pattern[y][:, None]  # (N, classes)
    before = is_own_pattern * (sign * sign[y][:, None]) * amplitude[:, None]
    added = multiples[:, pattern] * sign
    rows = torch.arange(len(y), device=y.device)
    erased = -added[rows, y] / amplitude
    forged = (before + added).clamp(min=0) / amplitude[:, None]
    forged[rows, y] = 0
    return erased, forged
