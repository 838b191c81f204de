"""Everything needed to build a network again, and the check that it can be one."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields
from itertools import pairwise

from .dial import NOISE_RULES, OLD_NAMES, RULES, listed
from .layers.masks import KINDS, UNITS

# options of a network that are one of a few words
_CHOICES = {"redraw": ("forward", "step"), "noise_on": ("kept", "all"), "masks": KINDS, "mask_of": UNITS,
            "mask_in": ("all", "late"), "dial": RULES}  # fmt: skip
_KINDS = {"bool": (bool, "true or false"), "float": ((int, float), "a number"), "int": (int, "a whole number"),
          "str": (str, "a word")}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """Everything needed to build a network again, empty; saved with its weights as JSON."""

    recipe: str
    backbone: str
    shape: tuple[int, int, int]  # C, H, W of an image
    classes: tuple[str, ...]
    stops: tuple[float, ...]  # the λ values it is trained at, ascending
    dual: bool = False
    film: bool = False
    codes: str = "none"
    code_dim: int = 1
    film_start: str = "identity"
    loss: str = "hybrid"
    beta: float = 6.0  # weight of the KL term where the loss is `trades`
    widths: tuple[float, ...] = (1.0,)  # shares of the channels, ascending, the last one 1
    norm_sharing: str = "none"  # what the BatchNorms of the widths share: none | affine | all
    own_heads: bool = False  # an output layer for every width
    width_loss: str = "mean"  # or "sum"
    draw: str = "all"  # which widths a training step uses; or "sandwich"
    noise: bool = False  # weight noise on attacked images
    redraw: str = "forward"  # noise is new at every forward (published), or one draw serves a whole training step
    noise_on: str = "kept"  # where weights are masked: noise on those that are kept, or on all
    masks: str = "none"  # over the weights of convs: none | shared | complementary | overlapping
    density: float = 1.0  # share of the weights that a mask keeps
    mask_of: str = "weights"  # or "channels"
    mask_in: str = "all"  # or "late", the last two stages
    dial: str = "interpolate"  # the rule for λ between the stops, see dial.py
    data: dict = field(default_factory=dict)  # name and options for load_data

    def __post_init__(self):
        for f in fields(self):
            kinds, words = _KINDS.get(f.type, (object, ""))
            value = getattr(self, f.name)
            number = f.type in ("float", "int")
            if not isinstance(value, kinds) or (number and (isinstance(value, bool) or not math.isfinite(value))):
                raise ValueError(f"{f.name} must be {words}, got {value!r}")
        stops = self.stops
        if not stops or any(not 0 <= s <= 1 for s in stops) or any(a >= b for a, b in pairwise(stops)):
            raise ValueError(f"λ stops must be ascending numbers in [0, 1], got {listed(stops) or 'none'}")
        widths = self.widths
        if not widths or widths[0] <= 0 or widths[-1] != 1 or any(a >= b for a, b in pairwise(widths)):
            raise ValueError(f"widths must be ascending shares in (0, 1], the last 1, got {listed(widths) or 'none'}")
        for name, valid in _CHOICES.items():
            lookup(name, getattr(self, name), dict.fromkeys(valid))
        self._check_conditioning()

    def _check_conditioning(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density is the share of weights that a mask keeps, in (0, 1], got {self.density:g}")
        if self.density < 1 and self.masks == "none":
            raise ValueError(f"density {self.density:g} needs masks: masks='shared' for one sparse network")
        if self.masks == "complementary" and self.density == 1:
            raise ValueError("complementary masks of density 1 leave nothing to the robust expert: use 0.5")
        if self.two_paths and self.stops != (0.0, 1.0):
            raise ValueError(f"weights that depend on λ are trained at its two ends: stops must be (0, 1), not "
                             f"{self.stops}")  # fmt: skip
        if self.dial == "outputs" and len(self.stops) == 1:
            raise ValueError(
                f"dial='outputs' mixes the two ends of a dial: it needs at least two λ stops, not {self.stops}"
            )
        if self.dial in NOISE_RULES and not self.noise:
            raise ValueError(f"dial={self.dial!r} turns weight noise up and down: it needs noise=True")
        if self.mask_of == "channels" and len(self.widths) > 1:
            raise ValueError("masks of whole channels and widths exclude each other: a narrow slice might keep none")

    @property
    def ends_only(self) -> bool:
        """Whether training defines nothing but the two ends of the dial, and the dial's rule all that lies between."""
        return len(self.stops) == 2 or (len(self.stops) > 2 and self.dial == "outputs")

    @property
    def two_paths(self) -> bool:
        """Whether clean and attacked images meet different weights."""
        return self.noise or self.masks in ("complementary", "overlapping")


def spec_from(saved: dict) -> Spec:
    """The spec that a file holds as JSON, also if an earlier version wrote it."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
    if isinstance(dial := values.get("dial"), str):
        values["dial"] = OLD_NAMES.get(dial, dial)
    return Spec(**values)


def lookup(kind: str, name: str, table: dict):
    """`table[name]`, or an error that lists the valid names and guesses which one was meant."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, table)}: use one of {', '.join(table)}")
    return table[name]


def did_you_mean(name, names) -> str:
    """' (did you mean ...?)', or '' if nothing is close."""
    close = difflib.get_close_matches(str(name), list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
