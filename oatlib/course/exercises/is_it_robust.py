"""Exercises of lesson 10: how our own number misled us.

They are the worst case of several attacks, the forgery meter (fold a change into one texture tile,
compare it with the known tiles, look for a wrong class), and an attack that paints a texture.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..._bundled import bundled
from ...attacks.pgd import PGD
from ...data.load import data_of
from ...data.shapes import tiles
from ...evaluation.results import wilson
from ...networks.network import load
from ..own_mask import EPS, fold, forged, tile_cosines
from . import Wrong, exercise, same

EXHIBIT = "oats_two_steps.safetensors"
LAM = 0.2  # where its own attack overestimates it most
N = 128  # images of the open exercise
PAINTINGS = 7  # most images that `paint` may return for one image


# --- worst_case ---


def _worst_case(f, x: Tensor, y: Tensor, attacks) -> Tensor:
    with torch.no_grad():
        stands = f(x).argmax(1) == y
        for attack in attacks:
            index = stands.nonzero()[:, 0]
            with torch.enable_grad():
                x_adv = attack(f, x[index], y[index])
            stands[index] = f(x_adv).argmax(1) == y[index]
    return stands


class _Planted:
    """An attack on images (margin, number), for tests.

    It fools the images whose number is in `fools`, changes the others a little, and keeps its
    input.
    """

    def __init__(self, *fools: int):
        self.fools, self.given = torch.tensor(fools), None

    def __call__(self, f, x: Tensor, y: Tensor) -> Tensor:
        self.given, x_adv = x.clone(), x.clone()
        hit = torch.isin(x[:, 1].long(), self.fools)
        x_adv[:, 0] = torch.where(hit, -1.0, x[:, 0] - 0.1)
        return x_adv


@exercise(_worst_case, "oatlib.Suite")
def worst_case(theirs) -> None:
    """f, x, y, attacks -> (N,) bool: correct on x and under all attacks; skips fooled images."""
    x, y = torch.stack([torch.ones(8), torch.arange(8.0)], 1), torch.zeros(8, dtype=torch.int64)
    x[0, 0] = -1  # misclassified without any attack
    attacks = [_Planted(1, 2), _Planted(2, 3), _Planted(0, 5)]

    def f(images):
        return torch.stack([images[:, 0], torch.zeros_like(images[:, 0])], 1)

    got, want = (
        theirs(f, x.clone(), y.clone(), attacks),
        torch.tensor([0, 0, 0, 0, 1, 0, 1, 1], dtype=torch.bool),
    )
    if not isinstance(got, Tensor) or got.dtype != torch.bool or got.shape != want.shape:
        raise Wrong(
            "it should return one True or False for each image, a tensor of bool (N,), and no "
            "share."
        )
    if any(attack.given is None for attack in attacks):
        raise Wrong("an attack in the list was never called: all of them must be tried.")
    if any(not torch.equal(attack.given, x[attack.given[:, 1].long()]) for attack in attacks):
        raise Wrong(
            "an attack was given the images that an earlier one had changed: each begins at x "
            "itself."
        )
    if torch.equal(got, ~torch.isin(torch.arange(8), attacks[-1].fools)):
        raise Wrong(
            "only the last attack counts here: an image that another one fooled is not robust."
        )
    if got[0]:
        raise Wrong("an image that is wrong as it is counts as robust: nobody needs to attack it.")
    if max(len(attack.given) for attack in attacks[1:]) > 5 or len(attacks[0].given) > 7:
        raise Wrong(
            "an attack was given images that an earlier one had fooled: only survivors go on, or "
            "it costs too much."
        )
    same(got, want, "it should be True where f is right on x and on what every attack made of it.")


# --- the forgery meter ---


def _marked() -> Tensor:
    """Return changes (5, 3, 8, 12): no two rows, columns, channels or cells are alike."""
    return torch.randn(5, 3, 8, 12, generator=torch.Generator().manual_seed(3))


@exercise(fold, "oatlib.course.own_mask.fold")
def fold_tile(theirs) -> None:
    """change (N, C, H, W) -> the mean of its 4x4 cells, (N, C, 4, 4)."""
    change = _marked()
    got, want = theirs(change.clone()), fold(change)
    n, channels, height, width = change.shape
    pooled = change.view(n, channels, 4, height // 4, 4, width // 4).mean((3, 5))
    mistakes = {
        "it averages neighbouring pixels, so it makes the image smaller. Average pixels that lie 4 "
        "apart: view H as (H / 4, 4).": pooled,
        "it sums over the cells: take the mean, or large images look strongly painted.": want
        * (height * width / 16),
        "it keeps the first cell only: average over all cells.": change[..., :4, :4],
    }
    for mistake, value in mistakes.items():
        if _close(got, value):
            raise Wrong(mistake)
    if _close(got, want.transpose(2, 3)):
        raise Wrong("rows and columns of the tile are exchanged.")
    same(got, want, "entry (i, j) of a tile should be the mean of the pixels at (4a + i, 4b + j).")


@exercise(tile_cosines, "oatlib.course.own_mask.tile_cosines")
def tile_match(theirs) -> None:
    """change (N, C, H, W), tiles (K, C, 4, 4) -> cosines of the folded change, (N, K)."""
    change, known = _marked(), tiles(paired=False)[:6]
    change = change + known[torch.arange(5)].repeat(1, 1, 2, 3)  # a pattern in noise
    got, want = theirs(change.clone(), known.clone()), tile_cosines(change, known)
    flat = fold(change).flatten(1)
    dots = flat @ known.flatten(1).T
    mistakes = {
        "it is the dot product: divide by both lengths, or a larger ε looks like a better "
        "forgery.": dots,
        "it divides by the length of the tiles only: divide by that of the change, too.": dots
        / known.flatten(1).norm(dim=1),
        "it drops the sign of the cosine: the negative of a tile is another texture.": want.abs(),
    }
    for mistake, value in mistakes.items():
        if _close(got, value):
            raise Wrong(mistake)
    if isinstance(got, Tensor) and got.shape == want.T.shape and got.shape != want.shape:
        raise Wrong("it should be (N, K): one row per image, one column per tile.")
    same(got, want, "entry (i, k) should be the cosine of folded change i and tile k.")


@exercise(forged, "oatlib.course.own_mask.forged")
def forgery(theirs) -> None:
    """x, x_adv, y, tiles -> the largest cosine with the tile of a WRONG class, (N,)."""
    generator = torch.Generator().manual_seed(4)
    known = tiles(paired=False)
    y = torch.arange(16) % 8
    x = torch.rand(16, 3, 16, 16, generator=generator)
    # half of the changes strengthen the own texture, half paint another one
    painted = torch.where(torch.arange(16) < 8, y, (y + 3) % 8)
    noise = 0.02 * torch.randn(x.shape, generator=generator)
    x_adv = x + 0.02 * known[painted].repeat(1, 1, 4, 4) + noise
    got, want = (
        theirs(x.clone(), x_adv.clone(), y.clone(), known.clone()),
        forged(x, x_adv, y, known),
    )
    cosines = tile_cosines(x_adv - x, known)
    wrong = cosines.scatter(1, y[:, None], 0.0)
    mistakes = {
        "it reads the attacked image: subtract x, or its shape and its own texture count as "
        "painted.": forged(torch.zeros_like(x), x_adv, y, known),
        "the class y itself counts, too: only a wrong class is a forgery.": cosines.amax(1),
        "it is the mean over the wrong classes. A clean forgery shows ONE class: take the "
        "largest.": wrong.sum(1) / 7,
        "it looks at the cosine with the class y: that tells what was erased, not what was "
        "painted.": cosines.gather(1, y[:, None])[:, 0],
        "the change has the wrong sign: it is x_adv - x.": forged(x_adv, x, y, known),
    }
    for mistake, value in mistakes.items():
        if _close(got, value):
            raise Wrong(mistake)
    if _close(got, want.mean()):
        raise Wrong("it should return one number per image, (N,): the mean is taken later.")
    same(got, want, "it should be the largest cosine over all classes but y, for each image.")


def _close(got, value: Tensor) -> bool:
    """Whether a result is a tensor of the same shape with the same values."""
    return (
        isinstance(got, Tensor)
        and got.shape == value.shape
        and torch.allclose(got.float(), value.float(), atol=1e-5)
    )


# --- paint ---


def _paint(x: Tensor, y: Tensor, known: Tensor, eps: float) -> Tensor:
    paintings = []
    for shift in range(1, 8):
        wrong = known[(y + shift) % 8]
        rows, columns = x.shape[2] // 4, x.shape[3] // 4
        paintings.append((x + eps * wrong.repeat(1, 1, rows, columns)).clamp(0, 1))
    return torch.stack(paintings)


@lru_cache(maxsize=1)
def _exhibit():
    """Return the exhibit at LAM, its images and labels, and its accuracy under PGD-20."""
    net = load(Path(bundled("course")) / EXHIBIT)
    panel = data_of(net.spec.data).val.panel(N)
    return net.at(LAM), panel.x, panel.y


@lru_cache(maxsize=1)
def _under_pgd() -> float:
    """Return the accuracy of the exhibit under PGD-20."""
    f, x, y = _exhibit()
    x_adv = PGD(EPS, 20)(f, x, y, torch.Generator().manual_seed(0))
    return ((f(x).argmax(1) == y) & (f(x_adv).argmax(1) == y)).double().mean().item()


@exercise(_paint, "oatlib.course.exercises.is_it_robust._paint")
def paint(theirs) -> str:
    """x (N, C, H, W), y (N,), tiles, eps -> painted images (K, N, C, H, W), K <= 7."""
    f, x, y = _exhibit()
    got = theirs(x.clone(), y.clone(), tiles(paired=False), EPS)
    if not isinstance(got, Tensor) or got.dim() != 5 or got.shape[1:] != x.shape:
        raise Wrong(
            f"it should return a tensor of shape (K, {len(x)}, 3, 16, 16): use torch.stack for the "
            "versions."
        )
    if len(got) > PAINTINGS:
        raise Wrong(f"it returns {len(got)} versions; at most {PAINTINGS} are allowed.")
    farthest = (got - x).abs().max().item()
    if farthest > EPS + 1e-6:
        raise Wrong(
            f"a pixel moves by {255 * farthest:.1f}/255; at most {255 * EPS:.0f}/255 is allowed."
        )
    if got.min() < 0 or got.max() > 1:
        raise Wrong("pixels must stay in [0, 1]: clamp them.")
    with torch.no_grad():
        right = f(x).argmax(1) == y
        for version in got:
            right = right & (f(version).argmax(1) == y)
    left, by_pgd = right.double().mean().item(), _under_pgd()
    measured = (
        f"{len(got)} version(s) leave {_interval(left)} of {len(y)} images right, PGD-20 leaves "
        f"{_interval(by_pgd)} (95 % intervals)"
    )
    if left > by_pgd:
        raise Wrong(
            f"{measured}. Leave no more than PGD-20: paint one wrong texture as strongly as ε "
            "allows, over the whole image, and try every wrong class."
        )
    return f"{measured}."


def _interval(value: float) -> str:
    low, high = wilson(round(value * N), N)
    return f"{value:.0%} ({low:.0%} to {high:.0%})"
