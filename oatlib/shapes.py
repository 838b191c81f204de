"""The built-in world: a shape everyone can see and a texture nobody can see, drawn from a generator.

The label is shown twice. The shape agrees with it only with probability p; the texture always agrees, but it is so
weak that an attack of 8/255 can repaint it. So the texture buys clean accuracy, the shape buys robustness, and the
best robust accuracy is about p, known in advance.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

GREY = 0.5  # the background
SPREAD = (0.4, 1.6)  # the texture amplitude of one image, relative to the nominal one
CONTRAST = (0.1, 0.5)  # |colour - grey| in each channel: always several times an attack of 8/255
RADIUS = (0.25, 0.38)  # of the image size

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


@dataclass(frozen=True, eq=False)
class Scene:
    """N rendered images with everything that is true of them; x is `compose` of mask, contrast, texture and noise."""

    x: Tensor  # (N,3,H,W) in [0,1]
    y: Tensor  # (N,) the label, which is also the class of the texture
    shape: Tensor  # (N,) the shape that is drawn, an index into SHAPES; equals y with probability p
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


def draw(shape: Tensor, cx: Tensor, cy: Tensor, radius: Tensor, size: int) -> Tensor:
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


def render(
    n: int,
    generator: Generator,
    size: int = 16,
    classes: int = 8,
    p: float = 0.85,
    amplitude: float = 4 / 255,
    noise: float = 0.05,
) -> Scene:
    """Draw n images of size x size pixels with balanced labels in random order.

    p: probability that the shape agrees with the label (else it is one of the other classes); amplitude: of the
    texture, before each image's factor U(0.4, 1.6); noise: standard deviation of the pixel noise.
    """
    _check(n, size, classes, p, amplitude, noise)
    device = generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    y = torch.randperm(n, generator=generator, device=device) % classes
    other = torch.randint(1, classes, (n,), generator=generator, device=device)
    shape = torch.where(uniform(0, 1, n) < p, y, (y + other) % classes)

    radius = size * uniform(*RADIUS, n)
    cx, cy = radius + uniform(0, 1, 2, n) * (size - 2 * radius)  # the whole shape is inside
    sign = torch.where(uniform(0, 1, n, 3) < 0.5, -1.0, 1.0)
    contrast = sign * uniform(*CONTRAST, n, 3)

    strength = amplitude * uniform(*SPREAD, n)
    tile = tiles().to(device)[y] * strength[:, None, None, None]
    texture = tile.repeat(1, 1, size // 4, size // 4)
    grain = noise * torch.randn(n, 3, size, size, generator=generator, device=device)
    mask = draw(shape, cx, cy, radius, size)
    x = compose(mask, contrast, texture, grain)
    return Scene(x, y, shape, mask, contrast, texture, grain, cx, cy, radius, strength)


def _check(n: int, size: int, classes: int, p: float, amplitude: float, noise: float) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n}: must be a whole number, 1 or more")
    if not isinstance(size, int) or size < 8 or size % 4:
        raise ValueError(f"size={size}: must be a multiple of 4 (the texture tile) and at least 8")
    if not isinstance(classes, int) or not 2 <= classes <= len(SHAPES):
        raise ValueError(f"classes={classes}: must be 2 to {len(SHAPES)} ({', '.join(SHAPES)})")
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: a probability, 0 to 1")
    if not 0 <= amplitude <= 0.25:
        raise ValueError(f"amplitude={amplitude}: must be 0 to 0.25, in units of pixels in [0,1] (4/255, not 4)")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise}: must be 0 to 1, in units of pixels in [0,1]")
