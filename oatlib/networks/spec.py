"""The specification of a network: everything needed to build it again, with a check of the values.

A file stores the spec of its network as JSON.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Literal, get_args, get_origin, get_type_hints

from .._suggest import lookup
from ..layers.film import Codes
from ..layers.unit import UnitOptions
from .lambdas import NOISE_RULES, OLD_NAMES, Rule, listed

# Losses that are defined for clean images with λ = 0 and attacked images with λ = 1 only.
LOSSES_OF_ENDS = ("halves", "as-coded")
# Type of a field -> accepted types, and their name in messages.
_ACCEPTED = {
    bool: (bool, "true or false"),
    float: ((int, float), "a number"),
    int: (int, "a whole number"),
    str: (str, "a word"),
    dict: (dict, "a table of names and values"),
    tuple: (tuple, "a list"),
}

LONGEST_CODE = 1024  # largest code_dim: FiLM holds a matrix of this length for every unit
MOST_STOPS = 256
MOST_WIDTHS = 64  # each width has BatchNorms of its own
LARGEST_SIDE = 2**14  # of an image, in pixels, and the largest number of its channels


@dataclass(frozen=True, kw_only=True)
class Spec(UnitOptions):
    """Everything needed to build a network again, without its weights.

    The fields of `UnitOptions` belong to it, too: dual, film, film_start, film_rows, widths,
    norm_sharing, own_heads, noise, noise_on, masks, density, mask_of, mask_in. `code_dim` is the
    length that is asked for; some kinds of codes have a length of their own.

    Args:
        recipe: Name of the recipe.
        backbone: Name of the backbone.
        shape: Channels, height and width of an image.
        classes: Names of the classes.
        stops: λ values that the network is trained at, ascending, in [0, 1].
        codes: Kind of the λ codes, see `lambda_codes` in layers/film.py.
        centre: True: pixels enter the first conv in [-2, 2]. False: in [0, 1], as published.
        loss: Name of the training loss, see training/losses.py.
        beta: Weight of the KL term if the loss is "trades".
        width_loss: How the losses of the widths are combined.
        width_sampling: Widths that a training step uses.
        redraw: When noise is sampled in training: "forward", at every forward (published), or
            "step", once per training step.
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
    codes: Codes = "none"
    centre: bool = True
    loss: Literal["hybrid", "sampled", "trades", "distill", "halves", "as-coded"] = "hybrid"
    beta: float = 6.0
    width_loss: Literal["mean", "sum"] = "mean"
    width_sampling: Literal["all", "sandwich"] = "all"
    redraw: Literal["forward", "step"] = "forward"
    dial: Rule = "interpolate"
    data: dict = field(default_factory=dict)

    def __post_init__(self):
        # A file header may contain anything, so types are checked first.
        for name, hint in get_type_hints(Spec).items():
            _check_type(name, getattr(self, name), hint)
        # Ranges and order.
        self._check_sizes()
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
        # Combinations of options.
        self._check_loss()
        self._check_film()
        self._check_widths()
        self._check_conditioning()

    def _check_sizes(self) -> None:
        """Raise a ValueError if there are too many stops or widths, or if the shape is none.

        A file could ask for more than the memory holds.
        """
        if len(self.shape) != 3 or not all(1 <= side <= LARGEST_SIDE for side in self.shape):
            raise ValueError(
                "shape must be channels, height and width of an image, each from 1 to "
                f"{LARGEST_SIDE}, got {self.shape!r:.80}"
            )
        for name, values, most in (
            ("λ stops", self.stops, MOST_STOPS),
            ("widths", self.widths, MOST_WIDTHS),
        ):
            if len(values) > most:
                raise ValueError(f"there can be at most {most} {name}, got {len(values)}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be different names, got {self.classes!r:.80}")

    def unit_options(self, code_dim: int) -> UnitOptions:
        """Return the options of the units of this network.

        Args:
            code_dim: Length of the λ codes that the network has.
        """
        values = {f.name: getattr(self, f.name) for f in fields(UnitOptions)}
        return UnitOptions(**values | {"code_dim": code_dim})

    def _check_loss(self) -> None:
        """Raise a ValueError if beta is negative, or if the loss does not fit the λ stops."""
        if self.beta < 0:
            raise ValueError(f"beta is the weight of a loss, 0 or more, got {self.beta:g}")
        if self.loss == "trades" and (len(self.stops) > 1 or self.stops[0] == 0):
            raise ValueError(
                f"the loss 'trades' has no λ: it needs one stop above 0, not {listed(self.stops)}"
            )
        if self.loss in LOSSES_OF_ENDS and self.stops != (0.0, 1.0):
            raise ValueError(
                f"the loss {self.loss!r} is defined for λ = 0 and λ = 1 only: stops must be "
                f"(0, 1), not {listed(self.stops)}"
            )

    def _check_widths(self) -> None:
        """Raise a ValueError if the widths of a training step do not fit the other options."""
        if self.width_sampling != "sandwich":
            return
        if self.stops != (0.0,) or self.own_heads or self.norm_sharing != "affine":
            raise ValueError(
                "width_sampling='sandwich' needs stops=(0,), norm_sharing='affine' and "
                "own_heads=False: it trains random widths, which have no BatchNorm statistics for "
                "an attack and no head of their own"
            )
        if len(self.widths) < 2:
            raise ValueError(
                "width_sampling='sandwich' needs at least two widths: the narrowest and 1"
            )

    def _check_film(self) -> None:
        """Raise a ValueError if the code length is wrong, or rows and start exclude each other."""
        if not 1 <= self.code_dim <= LONGEST_CODE:
            raise ValueError(f"code_dim must lie in 1 to {LONGEST_CODE}, got {self.code_dim}")
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
        ValueError: If a field is unknown or missing, or if a value is invalid.
    """
    if not isinstance(saved, dict):
        raise ValueError("the spec is missing")
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()
    }
    if "draw" in values:  # the name of the field up to file format 2
        values["width_sampling"] = values.pop("draw")
    if isinstance(dial := values.get("dial"), str):
        values["dial"] = OLD_NAMES.get(dial, dial)
    known = {f.name: f for f in fields(Spec)}
    required = [
        name
        for name, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING and name not in values
    ]
    if required:
        raise ValueError(f"the spec lacks {', '.join(required)}")
    if unknown := values.keys() - known:
        raise ValueError(f"the spec has the unknown {', '.join(sorted(unknown))}")
    return Spec(**values)


def _check_type(name: str, value, hint) -> None:
    """Raise a ValueError unless a value has the type of its field.

    True, NaN and infinity are not accepted as numbers.
    """
    if get_origin(hint) is Literal:
        words = get_args(hint)
        if not isinstance(value, str):
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")
        lookup(name, value, dict.fromkeys(words))
        return
    accepted, words = _ACCEPTED[get_origin(hint) or hint]
    right = isinstance(value, accepted)
    if hint in (int, float):  # bool is a subclass of int
        right = right and not isinstance(value, bool) and math.isfinite(value)
    if not right:
        raise ValueError(f"{name} must be {words}, got {value!r}")
    if get_origin(hint) is tuple:
        items = get_args(hint)[0]
        for item in value:
            _check_type(f"every entry of {name}", item, items)
