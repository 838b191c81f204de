"""The built-in world: images with a loud cue that can be trusted to a visible degree, and a faint cue that is always true.

Every image shows its label twice. A *shape* is easy to see, but it belongs to the label only with some probability,
called its trust. A *texture* is too faint to see, but it always belongs to the label, and an attack of 8/255 can
repaint it. Trust grows with *vividness*: the shape of a vivid image is always right, that of a pale one often lies.

Why: with the same trust in every image, following the shape or following the texture is all or nothing, and a dial
between accuracy and robustness is a switch. With graded trust the best rule changes gradually: at λ, follow the shape
where it is right more often than 1 - λ. `best_frontier` gives the accuracies of that rule in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

GREY = 0.5  # the background
SPREAD = (0.4, 1.6)  # the texture amplitude of one image, relative to the nominal one

# The texture of each class, 3x4x4 of +-1: a hexadecimal digit is one row of four pixels, a group of four is a channel.
# They are constants, not draws: textures belong to the world, so a network trained on one seed works on every other.
# Found once by random search: half of each channel is +1, two classes correlate by at most 1/12, and by at most 1/4
# after any cyclic shift, for a convolutional network cannot see where a tile begins.
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


def tiles() -> Tensor:
    """(8,3,4,4) of +-1: one zero-mean texture tile per class, the same for every seed."""
    bits = [int(digit, 16) >> shift & 1 for row in TILES for digit in row.replace(" ", "") for shift in (3, 2, 1, 0)]
    return torch.tensor(bits).view(len(TILES), 3, 4, 4).float() * 2 - 1


def _box(u: Tensor, v: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


def _plus(u: Tensor, v: Tensor, length: float, half_width: float) -> Tensor:
    return torch.minimum(_box(u, v, length, half_width), _box(u, v, half_width, length))


# Signed distance to the edge (negative inside), in radii, of a shape that fits the square [-1,1]; v points down.
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
class World:
    """The numbers of the built-in world.

    Args:
        size: height and width of an image in pixels, a multiple of 4 (the texture tile).
        classes: number of classes, 2 to 8.
        trust: probability that the palest shape belongs to the label. Else it is one of the other classes.
        full_trust: vividness in (0, 1] from which on the shape always belongs to the label; below, trust grows linearly.
            None: every shape has the same `trust`, whatever its vividness (then the dial is a switch).
        palest: contrast of the palest shape against the grey background (largest channel), pixels in [0, 1].
        strongest: contrast of the most vivid shape.
        channel: each colour channel has its contrast multiplied by U(channel, 1), so that shapes have colours.
        smallest: smallest radius of a shape, as a fraction of the image size.
        largest: largest radius of a shape.
        amplitude: of the texture, before each image's factor U(0.4, 1.6), pixels in [0, 1].
        noise: standard deviation of the pixel noise.
    """

    size: int = 16
    classes: int = 8
    trust: float = 0.4
    full_trust: float | None = 0.6
    palest: float = 0.12
    strongest: float = 0.5
    channel: float = 0.7
    smallest: float = 0.28
    largest: float = 0.42
    amplitude: float = 4 / 255
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            optional = name == "full_trust" and value is None
            if not optional and not (type(value) in (int, float) and math.isfinite(value)):
                raise ValueError(f"{name}={value!r}: must be a finite number")
        if type(self.size) is not int or self.size < 8 or self.size % 4:
            raise ValueError(f"size={self.size}: must be a multiple of 4 (the texture tile) and at least 8")
        if type(self.classes) is not int or not 2 <= self.classes <= len(SHAPES):
            raise ValueError(f"classes={self.classes}: must be 2 to {len(SHAPES)} ({', '.join(SHAPES)})")
        if not 0 <= self.trust <= 1:
            raise ValueError(f"trust={self.trust}: a probability, 0 to 1")
        if self.full_trust is not None and not 0 < self.full_trust <= 1:
            raise ValueError(
                f"full_trust={self.full_trust}: a vividness above 0 and up to 1, or None for the same trust everywhere"
            )
        if not 0 <= self.palest <= 0.5:
            raise ValueError(f"palest={self.palest}: a contrast against grey, 0 to 0.5")
        if not self.palest <= self.strongest <= 0.5:
            raise ValueError(f"strongest={self.strongest}: a contrast, from that of the palest ({self.palest}) to 0.5")
        if not 0 <= self.channel <= 1:
            raise ValueError(f"channel={self.channel}: must be 0 to 1, the smallest factor of a colour channel")
        if not 0 < self.smallest <= 0.5:
            raise ValueError(f"smallest={self.smallest}: a radius as a fraction of the image size, up to 0.5")
        if not self.smallest <= self.largest <= 0.5:
            raise ValueError(f"largest={self.largest}: a radius from the smallest ({self.smallest}) to 0.5")
        if not 0 <= self.amplitude <= 0.25:
            raise ValueError(
                f"amplitude={self.amplitude}: must be 0 to 0.25, in units of pixels in [0,1] (4/255, not 4)"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise}: must be 0 to 1, in units of pixels in [0,1]")

    def trust_of(self, vividness: Tensor) -> Tensor:
        """Probability that a shape of this vividness belongs to the label. (N,) -> (N,)."""
        if self.full_trust is None:
            return torch.full_like(vividness, self.trust)
        return (self.trust + (1 - self.trust) * vividness / self.full_trust).clamp(max=1)


# The first world of this package: the same trust in every shape, and no vividness. Its dial is a switch.
CONSTANT_TRUST = dict(
    trust=0.85, full_trust=None, palest=0.5, strongest=0.5, channel=0.2, smallest=0.25, largest=0.38
)


@dataclass(frozen=True, eq=False)
class Scene:
    """N rendered images with everything that is true of them; x is `compose` of mask, contrast, texture and noise."""

    x: Tensor  # (N,3,H,W) in [0,1]
    y: Tensor  # (N,) the label, which is also the class of the texture
    shape: Tensor  # (N,) the shape that is painted, an index into SHAPES; equals y with probability `trust`
    vividness: Tensor  # (N,) in [0,1], how strong the contrast of the shape is
    trust: Tensor  # (N,) in [0,1], how often a shape of this vividness belongs to the label
    mask: Tensor  # (N,H,W) in [0,1], how much of each pixel the shape covers
    contrast: Tensor  # (N,3) colour of the shape minus grey
    texture: Tensor  # (N,3,H,W) as added
    noise: Tensor  # (N,3,H,W) as added
    cx: Tensor  # (N,) centre and radius in pixels; the left (upper) edge of the image is 0
    cy: Tensor
    radius: Tensor
    amplitude: Tensor  # (N,) of the texture, in units of x


def compose(mask: Tensor, contrast: Tensor, texture: Tensor, noise: Tensor) -> Tensor:
    """Put the parts of a scene together; leave one out by passing zeros. Shapes as in `Scene`; returns (N,3,H,W)."""
    return (GREY + mask[:, None] * contrast[:, :, None, None] + texture + noise).clamp(0, 1)


def paint(shape: Tensor, cx: Tensor, cy: Tensor, radius: Tensor, size: int) -> Tensor:
    """Coverage masks (N,size,size) of the shapes (N, indices into SHAPES) with edges one pixel soft."""
    middle = torch.arange(size, device=cx.device) + 0.5
    mask = cx.new_zeros(len(shape), size, size)
    for index, outline in enumerate(OUTLINES.values()):
        rows = (shape == index).nonzero()[:, 0]
        u = (middle - cx[rows, None]) / radius[rows, None]
        v = (middle - cy[rows, None]) / radius[rows, None]
        distance = radius[rows, None, None] * outline(u[:, None, :], v[:, :, None])  # in pixels
        mask[rows] = (0.5 - distance).clamp(0, 1)
    return mask


def render(n: int, generator: Generator, **world) -> Scene:
    """Render n images with balanced labels in random order.

    Args:
        n: number of images.
        generator: source of all randomness; the images are on its device.
        **world: numbers of the world that differ from the defaults of `World`, for instance `trust=0.5`.

    Returns:
        The images with everything that is true of them.

    Raises:
        ValueError: if a number is outside its range; TypeError: if `World` has no such number.
    """
    if type(n) is not int or n < 1:
        raise ValueError(f"n={n}: must be a whole number, 1 or more")
    numbers = World(**world)
    size, classes, device = numbers.size, numbers.classes, generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    # The label, and which other class the shape would show
    y = torch.randperm(n, generator=generator, device=device) % classes
    other = (y + torch.randint(1, classes, (n,), generator=generator, device=device)) % classes
    chance = uniform(0, 1, n)

    # Where the shape is, and its colour; the whole shape is inside the image
    radius = size * uniform(numbers.smallest, numbers.largest, n)
    cx, cy = radius + uniform(0, 1, 2, n) * (size - 2 * radius)
    sign = torch.where(uniform(0, 1, n, 3) < 0.5, -1.0, 1.0)
    colour = uniform(numbers.channel, 1, n, 3)

    # The texture, and the grain of the pixels
    strength = numbers.amplitude * uniform(*SPREAD, n)
    tile = tiles().to(device)[y] * strength[:, None, None, None]
    texture = tile.repeat(1, 1, size // 4, size // 4)
    grain = numbers.noise * torch.randn(n, 3, size, size, generator=generator, device=device)

    # How vivid the shape is, and with that how far it can be trusted
    vividness = uniform(0, 1, n)
    trust = numbers.trust_of(vividness)
    shape = torch.where(chance < trust, y, other)
    peak = numbers.palest + (numbers.strongest - numbers.palest) * vividness
    contrast = sign * peak[:, None] * colour

    mask = paint(shape, cx, cy, radius, size)
    x = compose(mask, contrast, texture, grain)
    return Scene(x, y, shape, vividness, trust, mask, contrast, texture, grain, cx, cy, radius, strength)


class FrontierPoint(NamedTuple):
    """What the best possible rule reaches at one λ; accuracies in [0, 1]."""

    lam: float
    clean: float
    robust: float


def best_frontier(lams: Sequence[float], **world) -> list[FrontierPoint]:
    """Best possible clean and robust accuracy at each λ, in closed form.

    A rule sees the shape, the texture and the vividness v of an image. It is judged by (1 - λ) clean + λ robust
    accuracy, against an attacker who can repaint the texture and cannot touch the shape. Where the two cues disagree,
    an image was either clean with a lying shape, weight (1 - λ)(1 - r), or attacked with an honest one, weight λ r,
    with r the trust of its vividness. So the best rule follows the shape where r > 1 - λ, and the texture elsewhere:

        clean(λ) = 1 - E[(1 - r) 1{r > 1 - λ}]        robust(λ) = E[r 1{r > 1 - λ}]

    It is a bound for networks that read both cues perfectly; a pale shape can itself be attacked to some degree, so
    no network reaches it. At λ = 0 only clean accuracy counts, and the rule follows the texture everywhere.

    Args:
        lams: values of λ in [0, 1].
        **world: numbers of the world that differ from the defaults of `World`. Only `trust` and `full_trust` matter.

    Returns:
        One point for each λ.

    Example:
        >>> [tuple(round(value, 3) for value in point) for point in best_frontier([0.0, 0.3, 1.0])]
        [(0.0, 1.0, 0.0), (0.3, 0.955, 0.655), (1.0, 0.82, 0.82)]
    """
    numbers = World(**world)
    if any(not 0 <= lam <= 1 for lam in lams):
        raise ValueError(f"λ must lie in [0, 1], got {list(lams)}")
    return [FrontierPoint(float(lam), *_best_rule(numbers, float(lam))) for lam in lams]


def _best_rule(world: World, lam: float) -> tuple[float, float]:
    """Clean and robust accuracy of the rule that follows the shape where its trust is above 1 - λ."""
    threshold = 1 - lam
    if world.full_trust is None:
        follow = world.trust > threshold
        return (world.trust, world.trust) if follow else (1.0, 0.0)
    if lam == 0:
        return 1.0, 0.0
    # Vividness from which on the shape is followed: where trust passes the threshold
    slope = (1 - world.trust) / world.full_trust
    start = 0.0 if world.trust >= threshold or slope == 0 else (threshold - world.trust) / slope
    # The fraction of lies falls linearly from `start` to `full_trust`, and is 0 above
    lies_at_start = 1 - world.trust - slope * start
    lies = (world.full_trust - start) * lies_at_start / 2
    return 1 - lies, (1 - start) - lies
