"""Where the dials stand: a value that is checked, and a string that can be copied and given back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from urllib.parse import parse_qsl, urlencode

from ..nets import Network
from ..spec import did_you_mean
from .named_attacks import CHOICES, PGD_STEPS, QUICK

MAX_EPS = 16.0  # in 1/255


@dataclass(frozen=True)
class State:
    """One position of all dials. eps in 1/255; attack one of CHOICES; min_clean and max_size are limits."""

    network: str
    lam: float = 0.0
    width: float = 1.0
    eps: float = 8.0
    attack: str = QUICK
    min_clean: float = 0.9
    max_size: float = 1.0  # multiply-adds, as a share of the full width's
    compare: tuple[str, ...] = ()  # networks whose curves are drawn, too

    def __str__(self) -> str:
        """The string to copy, such as network=oats&lam=0.3&width=0.75&eps=8&attack=quick."""
        pairs = asdict(self) | {"compare": ",".join(self.compare)}
        return urlencode({k: repr(v) if isinstance(v, float) else v for k, v in pairs.items()}, safe=",")

    @property
    def setting(self) -> tuple:
        """What a measurement depends on."""
        return self.network, self.lam, self.width, self.eps, self.attack


NAMES = tuple(f.name for f in fields(State))


def read(given: str | Mapping | State | None, nets: Mapping[str, Network], start: State | None = None) -> State:
    """The state that a string or a mapping names, the rest as in `start`; a ValueError says what cannot be."""
    start = start or State(next(iter(nets)))
    if given is None:
        given = {}
    values = _parsed(given) if isinstance(given, str) else asdict(given) if isinstance(given, State) else dict(given)
    values = _with_attack(values)
    for name in values.keys() - set(NAMES):
        raise ValueError(f"a state has no {name!r}{did_you_mean(name, NAMES)}; it has {', '.join(NAMES)}")
    state = replace(start, **values)
    names = state.compare.split(",") if isinstance(state.compare, str) else state.compare
    state = replace(state, compare=tuple(name for name in names if name))
    for name in (state.network, *state.compare):
        if name not in nets:
            hint = did_you_mean(str(name), tuple(nets))
            raise ValueError(f"there is no network {name!r} here{hint}; there are {', '.join(nets)}")
    return _checked(state, nets[state.network], "lam" in values, "width" in values)


def _parsed(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text.strip().lstrip("#?"), strict_parsing=bool(text.strip()), keep_blank_values=True))
    except ValueError:
        raise ValueError(f"a state is written as lam=0.3&width=0.5, got {text!r}") from None


def _with_attack(values: dict) -> dict:
    """Read `steps=K` of states of earlier versions as `attack=pgd-K`."""
    if "steps" not in values:
        return values
    if "attack" in values:
        raise ValueError("a state has steps (of PGD) or an attack, not both: leave steps out")
    rest = {name: value for name, value in values.items() if name != "steps"}
    steps = _number("steps", values["steps"])
    if steps not in PGD_STEPS:
        raise ValueError(f"steps must be one of {', '.join(map(str, PGD_STEPS))}, got {steps:g}")
    return rest | {"attack": f"pgd-{steps:.0f}"}


def _checked(state: State, net: Network, own_lam: bool, own_width: bool) -> State:
    """Numbers as numbers, and within what this network has. What was not asked for moves to what there is."""
    low, high = net.spec.stops[0], net.spec.stops[-1]
    lam, width = _number("lam", state.lam), _number("width", state.width)
    if not low <= lam <= high:
        if own_lam:
            raise ValueError(f"lam must lie in [{low:g}, {high:g}] for {state.network!r}, got {lam:g}")
        lam = min(max(lam, low), high)
    if not own_width and not any(abs(width - share) <= 1e-6 for share in net.spec.widths):
        width = min(net.spec.widths, key=lambda share: abs(share - width))
    width = net.width(width).share
    eps = _number("eps", state.eps)
    if not 0 <= eps <= MAX_EPS:
        raise ValueError(f"eps is in 1/255 and lies in [0, {MAX_EPS:g}], got {eps:g}")
    if state.attack not in CHOICES:
        hint = did_you_mean(str(state.attack), CHOICES)
        raise ValueError(f"attack must be one of {', '.join(CHOICES)}, got {state.attack!r}{hint}")
    limits = {name: _number(name, getattr(state, name)) for name in ("min_clean", "max_size")}
    if bad := [name for name, value in limits.items() if not 0 <= value <= 1]:
        raise ValueError(f"{bad[0]} is a share in [0, 1], got {limits[bad[0]]:g}")
    return State(state.network, lam, width, eps, state.attack, **limits, compare=state.compare)


def _number(name: str, value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
