"""The unit: weight -> conv -> norm -> FiLM. It combines the other parts of this package.

Backbones are built from units, and only units contain the conditioning. In eval mode, whatever a
unit is conditioned on, it is `conv` followed by `scale·x + shift` per channel. `bind` and `fold`
use this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from .._random import randn_like_on
from .film import FiLM, Rows, Start
from .folded import Folded, FoldPlan, Sum, per_channel
from .masks import MaskKind, Masks, MaskUnit
from .noise import WeightNoise
from .setting import ADV, CLEAN, ONLY, Route, Width, cut
from .slim import Sharing, SlimConv, SlimNorm


@dataclass(frozen=True)
class UnitOptions:
    """The options of a recipe that apply to every unit of a network.

    Args:
        dual: A pair of BatchNorms (clean, adversarial) instead of one.
        film: FiLM after the norm, where the backbone places it.
        code_dim: Length of a λ code.
        film_start: Initial γ and β, see `FiLM`.
        film_rows: Rows of FiLM's output layer that a narrow width uses, see `FiLM`.
        widths: Ascending fractions of the channels.
        norm_sharing: What the BatchNorms of the widths share: "none", "affine" or "all".
        own_heads: A separate output layer for every width.
        noise: Weight noise on attacked images.
        noise_on: Which entries of a masked weight get noise: "kept" or "all".
        masks: "none", "shared", "complementary" or "overlapping", see `Masks`.
        density: Fraction of the weights that a mask keeps.
        mask_of: "weights", or "channels" for whole input channels.
        mask_in: "all", or "late" for the last two stages only.
    """

    dual: bool = False
    film: bool = False
    code_dim: int = 1
    film_start: Start = "identity"
    film_rows: Rows = "paired"
    widths: tuple[float, ...] = (1.0,)
    norm_sharing: Sharing = "none"
    own_heads: bool = False
    noise: bool = False
    noise_on: Literal["kept", "all"] = "kept"
    masks: MaskKind = "none"
    density: float = 1.0
    mask_of: MaskUnit = "weights"
    mask_in: Literal["all", "late"] = "all"

    def early(self) -> UnitOptions:
        """Return the options for everything before the last two stages."""
        return replace(self, masks="none") if self.mask_in == "late" else self


@dataclass(frozen=True)
class Dials:
    """What the unfolded network passes to every layer beside the features.

    Args:
        route: How the batch is sorted and routed.
        codes: λ codes of shape (S, d).
        width: The width.
        noise: Source of weight noise. Needed only where samples take noisy weights.
    """

    route: Route
    codes: Tensor
    width: Width = ONLY
    noise: torch.Generator | None = None


class Unit(nn.Module):
    """A conv, a norm and FiLM, each optional: (N, cin, H, W) -> (N, cout, H/stride, W/stride).

    Args:
        options: The options of the recipe.
        cin: Input channels at the full width.
        cout: Output channels at the full width.
        kernel: Kernel size. 0: no conv.
        stride: Stride of the conv.
        norm: Whether there is a norm.
        film: Whether there is FiLM, if the recipe uses FiLM and there is a norm.
        depthwise: Whether the conv filters each channel separately.
        slim: Whether the inputs and whether the outputs follow the width. The channels of an image,
            for example, do not.
    """

    def __init__(
        self,
        options: UnitOptions,
        cin: int,
        cout: int,
        kernel: int,
        stride=1,
        norm=True,
        film=True,
        depthwise=False,
        slim=(True, True),
    ):
        super().__init__()
        self.cout, self.slim_out = cout, slim[1]
        self.conv = SlimConv(cin, cout, kernel, stride, depthwise, slim) if kernel else None
        self.noise = WeightNoise() if kernel and options.noise else None
        self.noise_on = options.noise_on
        self.masks = (
            _masks(options, self.conv, slim) if kernel and options.masks != "none" else None
        )
        channels = tuple(cut(cout, w) if slim[1] else cout for w in options.widths)
        self.norm = SlimNorm(channels, options.dual, options.norm_sharing) if norm else None
        self.film = None
        if norm and film and options.film:
            self.film = FiLM(options.code_dim, cout, options.film_start, options.film_rows)

    def channels(self, width: Width) -> int:
        """Return the number of output channels at a width."""
        return width.cut(self.cout) if self.slim_out else self.cout

    def forward(self, x: Tensor, dials: Dials) -> Tensor:
        """Run the unfolded form, which training uses. It is the reference for the folded forms.

        Args:
            x: Features of shape (N, cin, H, W), sorted by the route.
            dials: Route, codes, width and noise of the batch.

        Returns:
            Tensor of shape (N, cout, H/stride, W/stride).
        """
        if self.conv is not None:
            x = self._conv(x, dials)  # (N, cout, H/stride, W/stride)
        channels = self.channels(dials.width)
        if self.norm is not None:
            norm = self.norm.at(dials.width, channels)
            x = norm(x, dials.route.segments, dials.route.processes)
        if self.film is not None:
            # (N, S) @ (S, C): one-hot rows pick γ and β of each sample's stop
            gamma, beta = (dials.route.pick @ table for table in self.film(dials.codes, channels))
            x = (x * per_channel(gamma)).add_(per_channel(beta))
        return x

    def _conv(self, x: Tensor, dials: Dials) -> Tensor:
        """Apply the conv to each run of samples, with the weights that the run uses."""
        runs = dials.route.paths if self.conditioned else ((CLEAN, len(x)),)
        parts = x.split([n for _, n in runs])
        parts = [
            self.conv(part, self._trained(path, dials))
            for part, (path, _) in zip(parts, runs, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _trained(self, path: int, dials: Dials) -> Tensor:
        """Return the weight of a path in training: masked, and noisy if the path is ADV."""
        weight = self.conv.weight
        if self.masks is not None:
            weight = self.masks.train_view(weight, path)
        if self.noise is not None and path == ADV:
            noise = self.noise(self.conv.weight, dials.noise)
            weight = weight + self._where_noisy(noise, path)
        return self.conv.sliced(dials.width, weight)

    def _where_noisy(self, noise: Tensor, path: int) -> Tensor:
        """The noise, or its masked part if only kept weights get noise."""
        return (
            noise * self.masks.mask_for(path)
            if self.masks is not None and self.noise_on == "kept"
            else noise
        )

    @property
    def conditioned(self) -> bool:
        """Whether clean and attacked images use different weights in this unit."""
        return self.noise is not None or (self.masks is not None and self.masks.adv is not None)

    def affine(self, codes: Tensor, branch: Tensor, width: Width) -> tuple[Tensor, Tensor]:
        """Return norm and FiLM in eval mode as one scale and one shift, for every λ stop.

        Args:
            codes: λ codes of shape (S, d). Not used without FiLM.
            branch: BatchNorm branch of each stop, (S,).
            width: The width.

        Returns:
            Scale and shift, each of shape (S, C), where C is the number of channels at the width.
        """
        channels = self.channels(width)
        scale, shift = (table[branch] for table in self.norm.at(width, channels).affine())
        if self.film is not None:
            gamma, beta = self.film(codes, channels)
            # γ·(scale·x + shift) + β
            scale, shift = gamma * scale, torch.addcmul(beta, gamma, shift)
        return scale, shift

    def fold(self, plan: FoldPlan) -> nn.Module:
        """Return this unit at a fixed position of the dials.

        Every case computes a sum over the λ stops that the position uses: weight of the stop, times
        the unit at the stop. The cases differ in how much of that sum the weights of the conv can
        hold:

        | unit | position | result |
        |---|---|---|
        | no conv | any | scale and shift |
        | conv | one λ | one conv: its weight holds the scale, its bias the shift |
        | conv, equal weights at all stops | λ per image | one conv, scale and shift per image |
        | conv, weights depend on λ | λ per image | a conv and a scale per used stop (`Sum`) |

        Args:
            plan: The position, and what the network knows of its λ stops.

        Returns:
            A `Folded` or `Sum` module without dials.
        """
        position = plan.position
        # Scale and shift of every stop, (S, C), then of every sample, (N, C) or (1, C).
        stop_scales, stop_shifts = None, None
        if self.norm is not None:
            stop_scales, stop_shifts = self.affine(plan.codes, plan.branches, position.width)
        scale = None if stop_scales is None else position.weights @ stop_scales
        shift = None if stop_shifts is None else position.weights @ stop_shifts
        if self.conv is None:
            return Folded(None, None, None, per_channel(scale), per_channel(shift))
        if not position.per_image:  # one λ for all: the weight can hold the scale
            return self._fold_for_one_lambda(plan, stop_scales, shift)
        if not self.conditioned:
            weight = self._weight(CLEAN, plan)
            return Folded(self.conv, weight, None, per_channel(scale), per_channel(shift))
        return self._fold_per_stop(plan, stop_scales, shift)

    def _fold_per_stop(
        self, plan: FoldPlan, stop_scales: Tensor | None, shift: Tensor | None
    ) -> Folded | Sum:
        """Fold a conv whose weights depend on λ, for one λ per image: one conv per used stop.

        `stop_scales` is of shape (S, C), `shift` of shape (N, C).
        """
        parts = []
        for stop in plan.position.used_stops:
            weight_of_stop = plan.position.weights[:, stop, None]  # of every image, (N, 1)
            scale = weight_of_stop if stop_scales is None else weight_of_stop * stop_scales[stop]
            part = Folded(
                self.conv,
                self._weight(plan.paths[stop], plan),
                None,
                per_channel(scale),
                None if parts else per_channel(shift),  # the first part adds the whole shift
                self._noise(stop, plan),
                plan,
            )
            parts.append(part)
        return parts[0] if len(parts) == 1 else Sum(parts)

    def _fold_for_one_lambda(
        self, plan: FoldPlan, stop_scales: Tensor | None, shift: Tensor | None
    ) -> Folded:
        """Fold for one λ: one conv whose weight is the sum of the scaled weights of the stops.

        `stop_scales` is of shape (S, C), `shift` of shape (1, C).
        """
        # The factor of each used stop: its weight times its scale, (C, 1, 1, 1).
        stops = plan.position.used_stops
        factors = []
        for stop in stops:
            scale = 1 if stop_scales is None else stop_scales[stop][:, None, None, None]
            factors.append(plan.position.weights[0, stop] * scale)
        noise = None
        if self.conditioned:
            # The weight is the sum over the stops of factor times weight. So is the noise.
            parts = [
                (factor, self._weight(plan.paths[stop], plan), self._noise(stop, plan))
                for factor, stop in zip(factors, stops, strict=True)
            ]
            weight = sum(factor * part for factor, part, _ in parts)
            noises = [factor * part for factor, _, part in parts if part is not None]
            noise = sum(noises) if noises else None
        else:
            weight = self._weight(CLEAN, plan)
            weight = weight if stop_scales is None else weight * sum(factors)
        bias = None if shift is None else shift[0]
        folded = Folded(self.conv, weight, bias, None, None, noise, plan)
        # Whole input channels are masked: leave them out, unless noise on them still counts.
        noise_everywhere = noise is not None and self.noise_on == "all"
        whole_channels = self.masks is not None and len(self.masks.clean) == 1 < len(weight)
        if whole_channels and not noise_everywhere:
            kept = torch.stack([self.masks.mask_for(plan.paths[stop]) for stop in stops]).any(0)
            folded.keep_channels(kept[0, : weight.shape[1], 0, 0])
        return folded

    def _weight(self, path: int, plan: FoldPlan) -> Tensor:
        """Return the weight of a path at the width, masked but without noise."""
        weight = self.conv.weight
        if self.masks is not None:
            weight = weight * self.masks.mask_for(path)
        return self.conv.sliced(plan.position.width, weight)

    def _noise(self, stop: int, plan: FoldPlan) -> Tensor | None:
        """Return the weight noise of a stop at the width, or None if the stop has none.

        With `plan.resample` it is the standard deviation of the noise, level·α·σ, in every entry.
        Otherwise it is a sample of the noise.
        """
        if self.noise is None or plan.position.noise_levels[stop] == 0:
            return None
        weight = self.conv.weight
        noise = torch.ones_like(weight) if plan.resample else randn_like_on(weight, plan.generator)
        noise = noise * (plan.position.noise_levels[stop] * self.noise.standard_deviation(weight))
        return self.conv.sliced(plan.position.width, self._where_noisy(noise, plan.paths[stop]))


def _masks(options: UnitOptions, conv: SlimConv, slim: tuple[bool, bool]) -> Masks | None:
    """Return masks for a conv and set the masked weights to 0, or None if the conv is not masked.

    With `mask_of="channels"`, convs on images and depthwise convs are not masked.
    """
    if options.mask_of == "channels" and (not slim[0] or conv.groups > 1):
        return None
    masks = Masks(conv.weight, options.masks, options.density, options.mask_of)
    masks.clear(conv.weight)
    return masks
