"""The unit: weight -> conv -> norm -> FiLM. The one place where all the ideas of the house meet.

Backbones are written once, out of units, and know nothing else. Whatever a unit is conditioned on, in eval mode it
is `conv` followed by `scale·x + shift` per channel; that is what `bind` and `fold` exploit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .film import FiLM
from .folded import Folded, Place, Sum, per_channel
from .masks import Masks
from .noise import WeightNoise, draw
from .setting import ADV, CLEAN, ONLY, Route, Width, cut
from .slim import SlimConv, SlimNorm


@dataclass(frozen=True)
class UnitOptions:
    """What a recipe decides about every unit of a network."""

    dual: bool = False  # a BatchNorm pair instead of one
    film: bool = False  # FiLM after the norm, where the backbone places it
    code_dim: int = 1
    film_start: str = "identity"
    film_rows: str = "paired"  # which rows of FiLM's output layer a narrow width uses, see film.py
    widths: tuple[float, ...] = (1.0,)  # ascending shares of the channels
    norm_sharing: str = "none"  # what the BatchNorms of the widths share
    own_heads: bool = False  # an output layer for every width
    noise: bool = False  # weight noise on attacked images
    noise_on: str = "kept"  # of a masked weight: the entries that are kept, or all
    masks: str = "none"  # none | shared | complementary | overlapping
    density: float = 1.0  # share of the weights that a mask keeps
    mask_of: str = "weights"  # or (input) channels
    mask_in: str = "all"  # or the last two stages

    def early(self) -> UnitOptions:
        """The options of everything before the last two stages."""
        return replace(self, masks="none") if self.mask_in == "late" else self


@dataclass(frozen=True)
class Dials:
    """What travels through the unfolded network: the route of the batch, the λ codes (S, d), the width and where noise
    comes from."""

    route: Route
    codes: Tensor
    width: Width = ONLY
    noise: torch.Generator | None = None


class Unit(nn.Module):
    """A conv (unless `kernel` is 0), a norm and FiLM (where asked for). (N, cin, H, W) -> (N, cout, H/s, W/s).

    `slim` says whether the inputs and the outputs follow the width; the channels of an image do not.
    """

    def __init__(
        self, options: UnitOptions, cin: int, cout: int, kernel: int, stride=1,
        norm=True, film=True, depthwise=False, slim=(True, True),
    ):  # fmt: skip
        super().__init__()
        self.cout, self.slim_out = cout, slim[1]
        self.conv = SlimConv(cin, cout, kernel, stride, depthwise, slim) if kernel else None
        self.noise = WeightNoise() if kernel and options.noise else None
        self.noise_on = options.noise_on
        self.masks = _masks(options, self.conv, slim) if kernel and options.masks != "none" else None
        channels = tuple(cut(cout, w) if slim[1] else cout for w in options.widths)
        self.norm = SlimNorm(channels, options.dual, options.norm_sharing) if norm else None
        self.film = None
        if norm and film and options.film:
            self.film = FiLM(options.code_dim, cout, options.film_start, options.film_rows)

    def channels(self, width: Width) -> int:
        """How many channels come out at a width."""
        return width.cut(self.cout) if self.slim_out else self.cout

    def forward(self, x: Tensor, dials: Dials) -> Tensor:
        """The unfolded form: what training runs, and the reference for the folded forms."""
        if self.conv is not None:
            x = self._conv(x, dials)
        channels = self.channels(dials.width)
        if self.norm is not None:
            x = self.norm.at(dials.width, channels)(x, dials.route.segments)
        if self.film is not None:
            gamma, beta = (dials.route.pick @ table for table in self.film(dials.codes, channels))
            x = (x * per_channel(gamma)).add_(per_channel(beta))
        return x

    def _conv(self, x: Tensor, dials: Dials) -> Tensor:
        """The conv, with the weights that each run of samples takes."""
        runs = dials.route.paths if self.conditioned else ((CLEAN, len(x)),)
        parts = x.split([n for _, n in runs])
        parts = [self.conv(part, self._trained(path, dials)) for part, (path, _) in zip(parts, runs, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _trained(self, path: int, dials: Dials) -> Tensor:
        """The weight of a path at a width as training sees it: masked, and on the adversarial path noisy."""
        weight = self.conv.weight
        if self.masks is not None:
            weight = self.masks.train_view(weight, path)
        if self.noise is not None and path == ADV:
            noise = self.noise(self.conv.weight, dials.noise)
            weight = weight + self._where_noisy(noise, path)
        return self.conv.sliced(dials.width, weight)

    def _where_noisy(self, noise: Tensor, path: int) -> Tensor:
        return noise * self.masks.of(path) if self.masks is not None and self.noise_on == "kept" else noise

    @property
    def conditioned(self) -> bool:
        """Whether clean and attacked images meet different weights here."""
        return self.noise is not None or (self.masks is not None and self.masks.adv is not None)

    def affine(self, codes: Tensor, branch: Tensor, width: Width) -> tuple[Tensor, Tensor]:
        """Norm and FiLM in eval mode, for every λ stop at once: scale and shift, each (S, C at the width)."""
        channels = self.channels(width)
        scale, shift = (table[branch] for table in self.norm.at(width, channels).affine())
        if self.film is not None:
            gamma, beta = self.film(codes, channels)
            scale, shift = gamma * scale, torch.addcmul(beta, gamma, shift)
        return scale, shift

    def fold(self, place: Place) -> nn.Module:
        """This unit at one setting per sample, or at one for all: nothing left to choose."""
        tables = (None, None) if self.norm is None else self.affine(place.codes, place.branches, place.width)
        scale, shift = (None if table is None else place.mix @ table for table in tables)
        if self.conv is None:
            return Folded(None, None, None, per_channel(scale), per_channel(shift))
        if len(place.mix) == 1:  # one setting for all: the weights can carry it
            return self._fold_all(place, tables[0], shift)
        if not self.conditioned:
            return Folded(self.conv, self._weight(CLEAN, place), None, per_channel(scale), per_channel(shift))
        parts = []
        for stop in place.mix.any(0).nonzero()[:, 0].tolist():
            share = place.mix[:, stop, None]
            scale = per_channel(share if tables[0] is None else share * tables[0][stop])
            rest = None if parts else per_channel(shift)
            weight, noise = self._weight(place.paths[stop], place), self._noise(stop, place)
            parts.append(Folded(self.conv, weight, None, scale, rest, noise, place))
        return parts[0] if len(parts) == 1 else Sum(parts)

    def _fold_all(self, place: Place, scale: Tensor | None, shift: Tensor | None) -> Folded:
        """For `mix` (1, S): one conv whose weight is the mixture of the scaled weights of the stops."""
        stops = place.mix[0].nonzero()[:, 0].tolist()
        row = [place.mix[0, s] * (1 if scale is None else scale[s][:, None, None, None]) for s in stops]
        if self.conditioned:
            parts = [
                (r, self._weight(place.paths[s], place), self._noise(s, place)) for r, s in zip(row, stops, strict=True)
            ]
            weight = sum(r * w for r, w, _ in parts)
            noise = [r * n for r, _, n in parts if n is not None]
            noise = sum(noise) if noise else None
        else:
            weight, noise = self._weight(CLEAN, place), None
            weight = weight if scale is None else weight * sum(row)
        folded = Folded(self.conv, weight, None if shift is None else shift[0], None, None, noise, place)
        everywhere = noise is not None and self.noise_on == "all"
        if self.masks is not None and len(self.masks.clean) == 1 < len(weight) and not everywhere:
            # whole input channels are masked
            used = torch.stack([self.masks.of(place.paths[s]) for s in stops]).any(0)[0, : weight.shape[1], 0, 0]
            folded.keep_channels(used)
        return folded

    def _weight(self, path: int, place: Place) -> Tensor:
        """The weight of a path at the width, without noise."""
        weight = self.conv.weight if self.masks is None else self.conv.weight * self.masks.of(path)
        return self.conv.sliced(place.width, weight)

    def _noise(self, stop: int, place: Place) -> Tensor | None:
        """The noise of a stop, like the weight at the width: a draw of it, or if it is to be drawn at every forward the
        size level·α·σ of each entry."""
        if self.noise is None or place.levels[stop] == 0:
            return None
        weight = self.conv.weight
        noise = torch.ones_like(weight) if place.fresh else draw(weight, place.generator)
        noise = noise * (place.levels[stop] * self.noise.size(weight))
        return self.conv.sliced(place.width, self._where_noisy(noise, place.paths[stop]))


def _masks(options: UnitOptions, conv: SlimConv, slim: tuple[bool, bool]) -> Masks | None:
    """Masks for a conv, and its weight cleared; where whole channels go, those of an image or a depthwise conv stay."""
    if options.mask_of == "channels" and (not slim[0] or conv.groups > 1):
        return None
    masks = Masks(conv.weight, options.masks, options.density, options.mask_of)
    masks.clear(conv.weight)
    return masks
