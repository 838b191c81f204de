"""The state of the explorer: the positions of all dials, as a checked value and as a string.

Users copy the string from the page and pass it to `explore` to restore the same view.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from urllib.parse import parse_qsl, urlencode

from .._suggest import did_you_mean
from ..networks.network import Network
from .named_attacks import CHOICES, PGD_STEPS, QUICK

MAX_EPS = 16.0  # in 1/255
# The page reads the same strings, see static/state.js. So both accept the same numbers.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# how the names of networks end that a page has trained
TRAINED_HERE = re.compile(r", trained here \d+$", re.ASCII)
LONGEST = 60  # characters of a given text that a message repeats


@dataclass(frozen=True)
class State:
    """The positions of all dials.

    Attributes:
        network: Name of the network.
        lam: λ, between the first and the last λ stop of the network.
        width: Width, as a fraction of the channels.
        eps: Radius of the L-infinity ball, in 1/255.
        attack: One of CHOICES.
        min_clean: Least clean accuracy in [0, 1] that the search for a setting accepts.
        max_size: Most multiply-adds that it accepts, as a fraction of those at full width.
        compare: Names of networks whose curves are drawn as well.
    """

    network: str
    lam: float = 0.0
    width: float = 1.0
    eps: float = 8.0
    attack: str = QUICK
    min_clean: float = 0.9
    max_size: float = 1.0
    compare: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The state as a string, such as network=oats&lam=0.3&width=0.75&eps=8&attack=quick."""
        pairs = asdict(self) | {"compare": ",".join(self.compare)}
        return urlencode(
            {k: repr(v) if isinstance(v, float) else v for k, v in pairs.items()}, safe=","
        )

    @property
    def setting(self) -> tuple:
        """The part of the state that a measurement depends on."""
        return self.network, self.lam, self.width, self.eps, self.attack


NAMES = tuple(f.name for f in fields(State))


def read(
    given: str | Mapping | State | None, nets: Mapping[str, Network], start: State | None = None
) -> State:
    """Read a state from a string or a mapping, and check it against the networks.

    Args:
        given: A string such as "lam=0.3&width=0.5", a mapping, a State, or None.
        nets: The networks, by name.
        start: The state that holds all values that `given` does not name (default: that of the
            first network).

    Returns:
        The state. λ and width are moved into the range of the network, unless `given` names them.

    Raises:
        ValueError: If `given` has an unknown key or network, or a value that is not allowed.

    Example:
        >>> read("lam=0.3&eps=4", nets).eps
        4.0
    """
    start = start or State(next(iter(nets)))
    values = _with_attack(_as_dict(given))
    for name in values.keys() - set(NAMES):
        raise ValueError(
            f"unknown key {_quoted(name)} in a state"
            f"{did_you_mean(_shortened(name), NAMES)}; the keys are "
            f"{', '.join(NAMES)}"
        )
    state = replace(start, **values)
    names = _listed(state.compare, nets) if isinstance(state.compare, str) else state.compare
    if not isinstance(names, list | tuple):
        raise ValueError(f"compare must be a list of networks, got {_quoted(names)}")
    if wrong := [name for name in (state.network, *names) if not isinstance(name, str)]:
        raise ValueError(_unknown_network(wrong[0], nets))
    # each name once, because a curve is drawn for each
    state = replace(state, compare=tuple(dict.fromkeys(name for name in names if name)))
    for name in (state.network, *state.compare):
        if name not in nets:
            raise ValueError(_unknown_network(name, nets))
    return _checked(state, nets[state.network], "lam" in values, "width" in values)


def _as_dict(given: str | Mapping | State | None) -> dict:
    if given is None:
        return {}
    if isinstance(given, str):
        return _parsed(given)
    return asdict(given) if isinstance(given, State) else dict(given)


def _parsed(text: str) -> dict[str, str]:
    """Return the pairs of a state string."""
    pairs: dict[str, str] = {}
    stripped = text.strip().lstrip("#?")
    for part in stripped.split("&") if stripped else []:
        if "=" not in part:
            raise ValueError(f"a state is written as lam=0.3&width=0.5, got {_quoted(part)}")
        pairs |= parse_qsl(part, keep_blank_values=True)
    return pairs


def _listed(text: str, nets: Mapping[str, Network]) -> list[str]:
    """Return the names in a text that has commas between them.

    The name of a network may hold commas, too: "oats, trained here 1". So the longest part that is
    one counts.
    """
    words = text.split(",")
    most_commas = max(str(name).count(",") for name in nets)
    names = []
    start = 0
    while start < len(words):
        ends = range(start + 1 + most_commas, start, -1)
        end = next((end for end in ends if ",".join(words[start:end]) in nets), start + 1)
        names.append(",".join(words[start:end]))
        start = end
    return names


def _unknown_network(name, nets: Mapping[str, Network]) -> str:
    """Return the message for a name that no network has."""
    if TRAINED_HERE.search(str(name)):
        return (
            f"“{_shortened(name)}” lived only in the last page: train it again, or open the file "
            "that you saved with `oatlib explore FILE`"
        )
    hint = did_you_mean(_shortened(name), tuple(nets))
    return f"unknown network {_quoted(name)}{hint}; the networks are {', '.join(nets)}"


def _shortened(value) -> str:
    """Return the beginning of a long text."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _quoted(value) -> str:
    """Return a value for a message; a text is in quotes."""
    return f"'{_shortened(value)}'" if isinstance(value, str) else _shortened(repr(value))


def _with_attack(values: dict) -> dict:
    """Convert `steps=K`, which earlier versions wrote, to `attack=pgd-K`."""
    if "steps" not in values:
        return values
    if "attack" in values:
        raise ValueError("a state has either steps or attack, not both")
    rest = {name: value for name, value in values.items() if name != "steps"}
    steps = _number("steps", values["steps"])
    if steps not in PGD_STEPS:
        raise ValueError(f"steps must be one of {', '.join(map(str, PGD_STEPS))}, got {steps:g}")
    return rest | {"attack": f"pgd-{steps:.0f}"}


def _checked(state: State, net: Network, own_lam: bool, own_width: bool) -> State:
    """Convert the values to numbers and check them against the network.

    λ and width are errors if they do not fit and were asked for (`own_lam`, `own_width`). Otherwise
    they move to the nearest value that the network has.
    """
    low, high = net.spec.stops[0], net.spec.stops[-1]
    lam, width = _number("lam", state.lam), _number("width", state.width)
    if not low <= lam <= high:
        if own_lam:
            raise ValueError(
                f"lam must lie in [{low:g}, {high:g}] for {state.network!r}, got {lam:g}"
            )
        lam = min(max(lam, low), high)
    if not own_width and not any(abs(width - own) <= 1e-6 for own in net.spec.widths):
        width = min(net.spec.widths, key=lambda own: abs(own - width))
    width = net.width(width).fraction
    eps = _number("eps", state.eps)
    if not 0 <= eps <= MAX_EPS:
        raise ValueError(f"eps must lie in [0, {MAX_EPS:g}], in units of 1/255, got {eps:g}")
    if state.attack not in CHOICES:
        hint = did_you_mean(_shortened(state.attack), CHOICES)
        raise ValueError(
            f"attack must be one of {', '.join(CHOICES)}, got {_quoted(state.attack)}{hint}"
        )
    limits = {name: _number(name, getattr(state, name)) for name in ("min_clean", "max_size")}
    if bad := [name for name, value in limits.items() if not 0 <= value <= 1]:
        raise ValueError(f"{bad[0]} must lie in [0, 1], got {limits[bad[0]]:g}")
    return State(state.network, lam, width, eps, state.attack, **limits, compare=state.compare)


def _number(name: str, value) -> float:
    error = ValueError(f"{name} must be a number, got {_quoted(value)}")
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        raise error
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise error from None
    if isinstance(value, str) and not math.isfinite(number):  # such as 1e999
        raise error
    return number
