"""The specification of a network: everything needed to build it again, with a check of the values.

A file stores the spec of its network as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise

from .._suggest import lookup
from ..layers.film import ROWS
from ..layers.masks import KINDS, UNITS
from .lambdas import NOISE_RULES, OLD_NAMES, RULES, listed

# Options that must be one of a few words: name -> valid words.
_CHOICES = {
    "redraw": ("forward", "step"),
    "noise_on": ("kept", "all"),
    "masks": KINDS,
    "mask_of": UNITS,
    "mask_in": ("all", "late"),
    "dial": RULES,
    "film_rows": ROWS,
}
# Annotation of a field -> accepted types, and their name in messages.
_KINDS = {
    "bool": (bool, "true or false"),
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
    "str": (str, "a word"),
}


@dataclass(frozen=True)
class Spec:
    """Everything needed to build a network again, without its weights.

    Args:
        recipe: Name of the recipe.
        backbone: Name of the backbone.
        shape: Channels, height and width of an image.
        classes: Names of the classes.
        stops: λ values that the network is trained at, ascending, in [0, 1].
        dual: A pair of BatchNorms (clean, adversarial) instead of one.
        film: FiLM after the norms, where the backbone places it.
        codes: Kind of the λ codes, see `lambda_codes` in layers/film.py.
        code_dim: Length of a λ code.
        film_start: Initial γ and β of FiLM: "identity" or "paper".
        film_rows: Rows of FiLM's output layer that a narrow width uses: "paired" or "published".
        centre: True: pixels enter the first conv in [-2, 2]. False: in [0, 1], as published.
        loss: Name of the training loss, see `LOSSES` in training/losses.py.
        beta: Weight of the KL term if the loss is "trades".
        widths: Fractions of the channels, ascending. The last one is 1.
        norm_sharing: What the BatchNorms of the widths share: "none", "affine" or "all".
        own_heads: A separate output layer for every width.
        width_loss: How the losses of the widths are combined: "mean" or "sum".
        draw: Widths that a training step uses: "all" or "sandwich".
        noise: Weight noise on attacked images.
        redraw: When noise is sampled in training: "forward", at every forward (published), or
            "step", once per training step.
        noise_on: Which entries of a masked weight get noise: "kept" or "all".
        masks: Masks over the weights of convs: "none", "shared", "complementary" or "overlapping".
        density: Fraction of the weights that a mask keeps, in (0, 1].
        mask_of: What a mask keeps or drops: "weights" or "channels".
        mask_in: Where convs are masked: "all", or "late" for the last two stages only.
        dial: Rule for λ between the stops, see lambdas.py.
        data: Name and options of the data set, for `load_data`.

    Raises:
        ValueError: If a value is invalid, or if two values exclude each other.
    """

    recipe: str
    backbone: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    stops: tuple[float, ...]
    dual: bool = False
    film: bool = False
    codes: str = "none"
    code_dim: int = 1
    film_start: str = "identity"
    film_rows: str = "paired"
    centre: bool = True
    loss: str = "hybrid"
    beta: float = 6.0
    widths: tuple[float, ...] = (1.0,)
    norm_sharing: str = "none"
    own_heads: bool = False
    width_loss: str = "mean"
    draw: str = "all"
    noise: bool = False
    redraw: str = "forward"
    noise_on: str = "kept"
    masks: str = "none"
    density: float = 1.0
    mask_of: str = "weights"
    mask_in: str = "all"
    dial: str = "interpolate"
    data: dict = field(default_factory=dict)

    def __post_init__(self):
        # Types: a file header may contain anything.
        for f in fields(self):
            kinds, words = _KINDS.get(f.type, (object, ""))
            value = getattr(self, f.name)
            # True, NaN and infinity are not accepted as numbers. (bool is a subclass of int.)
            number = f.type in ("float", "int")
            if not isinstance(value, kinds) or (
                number and (isinstance(value, bool) or not math.isfinite(value))
            ):
                raise ValueError(f"{f.name} must be {words}, got {value!r}")
        # Ranges and order.
        stops = self.stops
        if (
            not stops
            or any(not 0 <= s <= 1 for s in stops)
            or any(a >= b for a, b in pairwise(stops))
        ):
            raise ValueError(
                f"λ stops must be ascending numbers in [0, 1], got {listed(stops) or 'none'}"
            )
        widths = self.widths
        if (
            not widths
            or widths[0] <= 0
            or widths[-1] != 1
            or any(a >= b for a, b in pairwise(widths))
        ):
            raise ValueError(
                "widths must be ascending fractions in (0, 1], the last 1, got "
                f"{listed(widths) or 'none'}"
            )
        # Words, then combinations of options.
        for name, valid in _CHOICES.items():
            lookup(name, getattr(self, name), dict.fromkeys(valid))
        self._check_film()
        self._check_conditioning()

    def _check_film(self) -> None:
        """Raise a ValueError if the rows and the start of FiLM exclude each other."""
        published = self.film and self.film_rows == "published" and len(self.widths) > 1
        if published and self.film_start == "identity":
            raise ValueError(
                "film_rows='published' with several widths needs film_start='paper': some γ rows "
                "of the "
                "full width are β rows of a narrow one, which would begin at β = 1, not at the "
                "identity"
            )

    def _check_conditioning(self) -> None:
        """Raise a ValueError if the options of masks, noise and dial exclude each other."""
        if not 0 < self.density <= 1:
            raise ValueError(
                "density is the share of weights that a mask keeps, in (0, 1], got "
                f"{self.density:g}"
            )
        if self.density < 1 and self.masks == "none":
            raise ValueError(
                f"density {self.density:g} needs masks: masks='shared' for one sparse network"
            )
        if self.masks == "complementary" and self.density == 1:
            raise ValueError(
                "complementary masks of density 1 leave nothing to the robust expert: use 0.5"
            )
        if self.two_paths and self.stops != (0.0, 1.0):
            raise ValueError(
                f"weights that depend on λ are trained at its two ends: stops must be (0, 1), not "
                f"{self.stops}"
            )
        if self.dial == "outputs" and len(self.stops) == 1:
            raise ValueError(
                "dial='outputs' mixes the two ends of a dial: it needs at least two λ stops, not "
                f"{self.stops}"
            )
        if self.dial in NOISE_RULES and not self.noise:
            raise ValueError(
                f"dial={self.dial!r} turns weight noise up and down: it needs noise=True"
            )
        if self.mask_of == "channels" and len(self.widths) > 1:
            raise ValueError(
                "masks of whole channels and widths exclude each other: a narrow slice might keep "
                "none"
            )

    @property
    def ends_only(self) -> bool:
        """Whether training defines only the two ends of the dial.

        Then everything between the ends comes from the rule of the dial.
        """
        return len(self.stops) == 2 or (len(self.stops) > 2 and self.dial == "outputs")

    @property
    def two_paths(self) -> bool:
        """Whether clean and attacked images use different weights."""
        return self.noise or self.masks in ("complementary", "overlapping")


def spec_from(saved: dict) -> Spec:
    """Return the spec that a file stores. Files of earlier versions are accepted, too.

    Args:
        saved: The fields of the spec, as read from JSON.

    Raises:
        TypeError: If a field is unknown or missing.
        ValueError: If a value is invalid.
    """
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()
    }
    if isinstance(dial := values.get("dial"), str):
        values["dial"] = OLD_NAMES.get(dial, dial)
    return Spec(**values)
