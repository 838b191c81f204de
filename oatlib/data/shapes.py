"""The built-in data set `shapes`: images with an obvious, partly wrong cue and a faint, true one.

Every image shows its label twice. A *shape* is easy to see, but it belongs to the label only with
some probability, called its trust. A *texture* is too faint to see, but it always belongs to the
label. An attack of 8/255 can repaint the texture. Trust grows with *vividness*: a vivid shape
always belongs to the label, a pale one often does not.

Graded trust makes the trade-off between accuracy and robustness gradual. With the same trust in
every image, the best rule follows either all shapes or all textures, and a dial between accuracy
and robustness is only a switch. With graded trust the best rule at λ follows the shape where it is
right more often than 1 - λ. `best_frontier` gives the accuracies of that rule in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from .._check import positive_int

GREY = 0.5  # the background
SPREAD = (0.4, 1.6)  # the texture amplitude of one image, relative to the nominal one

# The texture tile of each class, 3x4x4 values of +-1. A hexadecimal digit is one row of four
# pixels, a group of four digits is one channel.
# The tiles do not depend on the seed, so a network trained on one seed works on every other.
# They were found once by random search: half of each channel is +1, and two classes correlate by at
# most 1/12. After any cyclic shift they correlate by at most 1/4, because a convolutional network
# cannot see where a tile begins.
TILES = (
    "a85e acd2 d705",
    "c3d8 fc03 7a1a",
    "1a6e 9ea8 3caa",
    "d8c5 e8e8 e453",
    "1d74 4e4b 68c7",
    "cd1a 5bb0 ccd4",
    "bb0c 3b4c 964b",
    "cccc 233d 711e",
)


def tiles(paired: bool = True) -> Tensor:
    """Return the texture tiles: one per class, the same for every seed.

    Args:
        paired: Give classes 2k and 2k + 1 one tile and its negative, so that four patterns with a
            sign distinguish eight classes. Small networks learn these within seconds of training.
            If False, every class has a tile of its own, as in the first version of this data set.

    Returns:
        Values of +-1 with mean zero, (8, 3, 4, 4).
    """
    tile_of_class = _decoded_tiles()
    if paired:
        tile_of_class[1::2] = -tile_of_class[0::2]
    return tile_of_class


def _decoded_tiles() -> Tensor:
    """Decode TILES into (8, 3, 4, 4): bit 1 is +1, bit 0 is -1."""
    digits = [digit for row in TILES for digit in row.replace(" ", "")]
    bits = [int(bit) for digit in digits for bit in f"{int(digit, 16):04b}"]
    return torch.tensor(bits).view(len(TILES), 3, 4, 4).float() * 2 - 1


def _box(u: Tensor, v: Tensor, half_width: float, half_height: float) -> Tensor:
    """Distance to the edge of a box around the origin, negative inside."""
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


def _plus(u: Tensor, v: Tensor, length: float, half_width: float) -> Tensor:
    """Distance to the edge of a horizontal and a vertical bar together, negative inside."""
    return torch.minimum(_box(u, v, length, half_width), _box(u, v, half_width, length))


# Signed distance to the edge of each shape, in radii, negative inside. A shape fits into the square
# [-1, 1] x [-1, 1]. u points right, v points down.
OUTLINES = {
    "disc": lambda u, v: torch.hypot(u, v) - 0.95,
    "ring": lambda u, v: (torch.hypot(u, v) - 0.75).abs() - 0.22,
    "square": lambda u, v: _box(u, v, 0.92, 0.92),
    "diamond": lambda u, v: (u.abs() + v.abs() - 1) / 2**0.5,
    "plus": lambda u, v: _plus(u, v, 1.0, 0.26),
    "cross": lambda u, v: _plus((u + v) / 2**0.5, (u - v) / 2**0.5, 1.15, 0.26),
    "triangle": lambda u, v: torch.maximum(v - 0.8, (1.8 * u.abs() - v - 1) / 2.06),
    "frame": lambda u, v: _box(u, v, 0.72, 0.72).abs() - 0.2,
}
SHAPES = tuple(OUTLINES)


@dataclass(frozen=True)
class ShapesOptions:
    """Options of the built-in data set `shapes`.

    Args:
        size: Height and width of an image in pixels, at least 8 and a multiple of 4 (the texture
            tile).
        classes: Number of classes, 2 to 8.
        trust: Probability that the palest shape belongs to the label. Otherwise the shape is that
            of another class.
        full_trust: Vividness in (0, 1] from which on the shape always belongs to the label. Below
            it, the trust grows linearly with vividness. None: every shape has the same `trust`,
            whatever its vividness. Then the dial is a switch.
        palest: Contrast of the palest shape against the grey background, in pixel units [0, 1],
            before the factor of each channel.
        strongest: Contrast of the most vivid shape, in the same units.
        channel: Each colour channel has its contrast multiplied by U(channel, 1), so that shapes
            have colours.
        smallest: Smallest radius of a shape, as a fraction of the image size.
        largest: Largest radius of a shape, as a fraction of the image size.
        paired: Whether the textures are pairs of opposite sign, see `tiles`.
        amplitude: Amplitude of the texture, in pixel units [0, 1]. It is multiplied by U(0.4, 1.6)
            for each image.
        noise: Standard deviation of the pixel noise, in pixel units [0, 1].

    Raises:
        ValueError: If a value is outside its range.
    """

    size: int = 16
    classes: int = 8
    trust: float = 0.3
    full_trust: float | None = 0.5
    palest: float = 0.16
    strongest: float = 0.5
    channel: float = 0.7
    smallest: float = 0.28
    largest: float = 0.42
    paired: bool = True
    amplitude: float = 4 / 255
    noise: float = 0.05

    def __post_init__(self) -> None:
        self._check_types()
        self._check_trust()
        self._check_looks()

    def _check_types(self) -> None:
        """Raise a ValueError unless every number is one, and size and classes are possible."""
        if type(self.paired) is not bool:
            raise ValueError(f"paired={self.paired!r}: must be True or False")
        for name, value in vars(self).items():
            if name == "paired" or (name == "full_trust" and value is None):
                continue
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ValueError(f"{name}={value!r}: must be a finite number")
        if type(self.size) is not int or self.size < 8 or self.size % 4:
            raise ValueError(
                f"size={self.size}: must be at least 8 and a multiple of 4, the size of a texture "
                "tile"
            )
        if type(self.classes) is not int or not 2 <= self.classes <= len(SHAPES):
            raise ValueError(
                f"classes={self.classes}: must be from 2 to {len(SHAPES)} ({', '.join(SHAPES)})"
            )

    def _check_trust(self) -> None:
        """Raise a ValueError unless both numbers of the trust are in their range."""
        if not 0 <= self.trust <= 1:
            raise ValueError(f"trust={self.trust}: must be a probability, from 0 to 1")
        if self.full_trust is not None and not 0 < self.full_trust <= 1:
            raise ValueError(
                f"full_trust={self.full_trust}: must be a vividness above 0 and up to 1, or None "
                "for the same trust everywhere"
            )

    def _check_looks(self) -> None:
        """Raise a ValueError unless contrast, radius, texture and noise are in their range."""
        if not 0 <= self.palest <= 0.5:
            raise ValueError(
                f"palest={self.palest}: must be a contrast against grey, from 0 to 0.5"
            )
        if not self.palest <= self.strongest <= 0.5:
            raise ValueError(
                f"strongest={self.strongest}: must be a contrast from that of the palest shape "
                f"({self.palest}) to 0.5"
            )
        if not 0 <= self.channel <= 1:
            raise ValueError(
                f"channel={self.channel}: must be from 0 to 1, it is the smallest factor of a "
                "colour channel"
            )
        if not 0 < self.smallest <= 0.5:
            raise ValueError(
                f"smallest={self.smallest}: must be a radius above 0 and up to 0.5, as a fraction "
                "of the image size"
            )
        if not self.smallest <= self.largest <= 0.5:
            raise ValueError(
                f"largest={self.largest}: must be a radius from the smallest ({self.smallest}) to "
                "0.5, as a fraction of the image size"
            )
        if not 0 <= self.amplitude <= 0.25:
            raise ValueError(
                f"amplitude={self.amplitude}: must be from 0 to 0.25, in pixel units [0,1] (4/255, "
                "not 4)"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise}: must be from 0 to 1, in pixel units [0,1]")

    def trust_of(self, vividness: Tensor) -> Tensor:
        """Return the probability that a shape of the given vividness belongs to the label.

        Args:
            vividness: Values in [0, 1], (N,).

        Returns:
            Probabilities, (N,).
        """
        if self.full_trust is None:
            return torch.full_like(vividness, self.trust)
        return (self.trust + (1 - self.trust) * vividness / self.full_trust).clamp(max=1)


# The first version of this data set: the same trust and the same contrast for every shape.
# With it the dial is a switch.
CONSTANT_TRUST = dict(
    trust=0.85,
    full_trust=None,
    palest=0.5,
    strongest=0.5,
    channel=0.2,
    smallest=0.25,
    largest=0.38,
    paired=False,
)


@dataclass(frozen=True, eq=False)
class Scene:
    """N rendered images together with everything that is known about them.

    `x` is `compose(mask, contrast, texture, noise)`.

    Attributes:
        x: Images (N, 3, H, W) in [0, 1].
        y: Labels (N,). The label is also the class of the texture.
        shape: Painted shapes (N,), indices into SHAPES. Equal to `y` with probability `trust`.
        vividness: How strong the contrast of the shape is, (N,) in [0, 1].
        trust: Probability that a shape of this vividness belongs to the label, (N,) in [0, 1].
        mask: How much of each pixel the shape covers, (N, H, W) in [0, 1].
        contrast: Colour of the shape minus grey, (N, 3).
        texture: Texture as it is added, (N, 3, H, W).
        noise: Pixel noise as it is added, (N, 3, H, W).
        cx: Horizontal centre of the shape in pixels, (N,). The left edge of the image is 0.
        cy: Vertical centre of the shape in pixels, (N,). The upper edge of the image is 0.
        radius: Radius of the shape in pixels, (N,).
        amplitude: Amplitude of the texture in pixel units [0, 1], (N,).
        options: The options that the images were rendered with.
    """

    x: Tensor
    y: Tensor
    shape: Tensor
    vividness: Tensor
    trust: Tensor
    mask: Tensor
    contrast: Tensor
    texture: Tensor
    noise: Tensor
    cx: Tensor
    cy: Tensor
    radius: Tensor
    amplitude: Tensor
    options: ShapesOptions

    def take(self, index: Tensor) -> Scene:
        """Return the images at `index` (M,), with everything that is known about them."""
        return self._map(lambda values: values[index])

    def to(self, device: torch.device | str | None) -> Scene:
        """Return the same images on another device."""
        return self._map(lambda values: values.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Scene:
        """Return a copy in which `change` is applied to each tensor."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **{name: change(values) for name, values in tensors.items()})


def compose(mask: Tensor, contrast: Tensor, texture: Tensor, noise: Tensor) -> Tensor:
    """Add the parts of a scene on a grey background and clip the sum to [0, 1].

    Pass zeros for a part to leave it out.

    Args:
        mask: How much of each pixel the shape covers, (N, H, W).
        contrast: Colour of the shape minus grey, (N, 3).
        texture: Texture, (N, 3, H, W).
        noise: Pixel noise, (N, 3, H, W).

    Returns:
        Images (N, 3, H, W) in [0, 1].
    """
    return (GREY + mask[:, None] * contrast[:, :, None, None] + texture + noise).clamp(0, 1)


def paint(shape: Tensor, cx: Tensor, cy: Tensor, radius: Tensor, size: int) -> Tensor:
    """Return coverage masks of shapes. Their edges are smoothed over one pixel.

    Args:
        shape: Indices into SHAPES, (N,).
        cx: Horizontal centres in pixels, (N,).
        cy: Vertical centres in pixels, (N,).
        radius: Radii in pixels, (N,).
        size: Height and width of the masks in pixels.

    Returns:
        Fraction of each pixel that is covered, (N, size, size) in [0, 1].
    """
    middle = torch.arange(size, device=cx.device) + 0.5  # centres of the pixels
    mask = cx.new_zeros(len(shape), size, size)
    for index, outline in enumerate(OUTLINES.values()):
        rows = (shape == index).nonzero()[:, 0]
        u = (middle - cx[rows, None]) / radius[rows, None]
        v = (middle - cy[rows, None]) / radius[rows, None]
        distance = radius[rows, None, None] * outline(u[:, None, :], v[:, :, None])  # in pixels
        mask[rows] = (0.5 - distance).clamp(0, 1)
    return mask


def render(n: int, generator: Generator, **options) -> Scene:
    """Render n images with balanced labels in random order.

    Args:
        n: Number of images.
        generator: Source of all randomness. The images are on its device.
        **options: Fields of `ShapesOptions` that differ from the defaults, for instance
            `trust=0.5`.

    Returns:
        The images with everything that is known about them.

    Raises:
        ValueError: If a value is outside its range.
        TypeError: If `ShapesOptions` has no such field.
    """
    positive_int("n", n)
    numbers = ShapesOptions(**options)
    size = numbers.size
    device = generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    # The label, and the class that the shape shows if it does not belong to the label
    y = torch.randperm(n, generator=generator, device=device) % numbers.classes
    shift = torch.randint(1, numbers.classes, (n,), generator=generator, device=device)
    other = (y + shift) % numbers.classes
    chance = uniform(0, 1, n)

    # Position, size and colour of the shape; the whole shape is inside the image
    radius = size * uniform(numbers.smallest, numbers.largest, n)
    cx, cy = radius + uniform(0, 1, 2, n) * (size - 2 * radius)
    sign = torch.where(uniform(0, 1, n, 3) < 0.5, -1.0, 1.0)
    colour = uniform(numbers.channel, 1, n, 3)

    # The texture and the pixel noise
    amplitude = numbers.amplitude * uniform(*SPREAD, n)
    tile_of_class = tiles(numbers.paired).to(device)
    tile = tile_of_class[y] * amplitude[:, None, None, None]  # (n, 3, 4, 4)
    texture = tile.repeat(1, 1, size // 4, size // 4)  # (n, 3, size, size)
    noise = numbers.noise * torch.randn(n, 3, size, size, generator=generator, device=device)

    # Vividness decides the contrast of the shape and the probability that it shows the label
    vividness = uniform(0, 1, n)
    trust = numbers.trust_of(vividness)
    shape = torch.where(chance < trust, y, other)
    peak = numbers.palest + (numbers.strongest - numbers.palest) * vividness
    contrast = sign * peak[:, None] * colour

    mask = paint(shape, cx, cy, radius, size)
    return Scene(
        x=compose(mask, contrast, texture, noise),
        y=y,
        shape=shape,
        vividness=vividness,
        trust=trust,
        mask=mask,
        contrast=contrast,
        texture=texture,
        noise=noise,
        cx=cx,
        cy=cy,
        radius=radius,
        amplitude=amplitude,
        options=numbers,
    )


class FrontierPoint(NamedTuple):
    """Accuracies of the best possible rule at one λ.

    Attributes:
        lam: λ in [0, 1].
        clean: Clean accuracy in [0, 1].
        robust: Robust accuracy in [0, 1].
    """

    lam: float
    clean: float
    robust: float


def best_frontier(lams: Sequence[float], **options) -> list[FrontierPoint]:
    """Return the best possible clean and robust accuracy at each λ, in closed form.

    A rule sees the shape, the texture and the vividness of an image. Its score is
    (1 - λ) clean + λ robust accuracy. The attacker can repaint the texture but cannot change the
    shape.

    Let r be the trust at the vividness of an image. If the two cues disagree, there are two cases.
    Either the image is clean and its shape is wrong, with weight (1 - λ)(1 - r). Or the image is
    attacked and its shape is right, with weight λ r. So the best rule follows the shape where
    r > 1 - λ, and the texture elsewhere. With the expectation E over images its accuracies are

        clean(λ) = 1 - E[(1 - r) 1{r > 1 - λ}],

        robust(λ) = E[r 1{r > 1 - λ}].

    At λ = 0 only clean accuracy counts, and the rule follows the texture everywhere.

    This is the bound for networks that read both cues perfectly. No network reaches it, because an
    attack can change a pale shape to some degree, too.

    Args:
        lams: Values of λ in [0, 1].
        **options: Fields of `ShapesOptions` that differ from the defaults. Only `trust` and
            `full_trust` matter.

    Returns:
        One point for each λ.

    Raises:
        ValueError: If a λ is outside [0, 1], or a value outside its range.

    Example:
        >>> [tuple(round(value, 3) for value in point) for point in best_frontier([0.0, 0.3, 1.0])]
        [(0.0, 1.0, 0.0), (0.3, 0.968, 0.682), (1.0, 0.825, 0.825)]
    """
    numbers = ShapesOptions(**options)
    if isinstance(lams, str) or not isinstance(lams, Iterable):
        raise ValueError(f"lams must be a list of λ in [0, 1], got {lams!r}")
    if any(not isinstance(lam, Real) or not 0 <= lam <= 1 for lam in lams):
        raise ValueError(f"λ must lie in [0, 1], got {list(lams)}")
    return [_best_rule(numbers, float(lam)) for lam in lams]


def _best_rule(numbers: ShapesOptions, lam: float) -> FrontierPoint:
    """Return the accuracies of the rule that follows the shape where trust > 1 - λ."""
    trust = numbers.trust  # of the palest shape
    threshold = 1 - lam
    follows_texture = FrontierPoint(lam, clean=1.0, robust=0.0)
    if numbers.full_trust is None:  # the same trust everywhere: all shapes, or none
        return FrontierPoint(lam, trust, trust) if trust > threshold else follows_texture
    if lam == 0:
        return follows_texture
    # Vividness from which on the rule follows the shape: there trust reaches the threshold
    slope = (1 - trust) / numbers.full_trust
    follows_all_shapes = trust >= threshold or slope == 0
    start = 0.0 if follows_all_shapes else (threshold - trust) / slope
    # The probability of a wrong shape falls linearly from `start` to `full_trust`, and is 0 above
    wrong_at_start = 1 - trust - slope * start
    wrong = (numbers.full_trust - start) * wrong_at_start / 2
    return FrontierPoint(lam, clean=1 - wrong, robust=(1 - start) - wrong)
