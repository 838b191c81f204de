"""Rules of the λ dial: from λ to weights over the λ stops and levels of weight noise.

A network is trained at some values of λ, its stops. A rule defines the network between two stops:

* `interpolate` (default): interpolate the folded weights of the two neighbouring stops. One forward
  pass.
* `outputs`: mix the outputs of the first and the last stop, (1 - a) softmax(z_first) + a
  softmax(z_last), where a is the position of λ between the two. Two forward passes. The stops in
  between are not used. See layers/mixture.py.
* `rule-a` and `rule-b`: the published rules for networks with weight noise. `rule-a` uses the
  adversarial BatchNorm for any λ > 0 and noise of level λ. `rule-b` switches the BatchNorm at 1/2,
  and the level of noise runs from 0 to 1 on either side of it. (The public code of FLOAT puts the
  two switches at 0.1 and 0.6.) Measurements show that both act as switches, while `interpolate`
  acts as a dial.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .._check import briefly
from ..layers.setting import Position, Width

Rule = Literal["interpolate", "outputs", "rule-a", "rule-b"]
# Rules by name, each with a short description for results.
RULES: dict[Rule, str] = {
    "interpolate": "interpolated weights",
    "outputs": "mixed outputs",
    "rule-a": "weight noise by rule-a",
    "rule-b": "weight noise by rule-b",
}
NOISE_RULES = ("rule-a", "rule-b")
OLD_NAMES = {"blend": "interpolate"}  # names of rules in files of earlier versions
CLOSE = 1e-6  # λ values that differ by at most this are treated as equal


def lambdas(stops: tuple[float, ...], lam: float | Tensor | None) -> Tensor:
    """Check λ and return it as a float64 tensor on the CPU.

    Args:
        stops: The λ stops of the network.
        lam: One λ in [0, 1], or a tensor of them. None: the only stop.

    Returns:
        Tensor of shape (1,) for a single λ, else (N,).

    Raises:
        ValueError: If `lam` is None and there are several stops, or if a λ lies outside [0, 1].
    """
    if lam is None:
        if len(stops) > 1:
            raise ValueError(
                f"which λ? This network has a dial: give lam, for instance one of {listed(stops)}"
            )
        lam = stops[0]
    try:
        lams = torch.as_tensor(lam, dtype=torch.float64).cpu().reshape(-1)
    except (TypeError, ValueError, RuntimeError):  # PyTorch does not name λ
        raise ValueError(
            f"λ must be a number in [0, 1], or a tensor of them, got {briefly(lam)}"
        ) from None
    if not bool(((lams >= -CLOSE) & (lams <= 1 + CLOSE)).all()):
        raise ValueError(f"λ must lie in [0, 1], got {lam}")
    return lams


def nearest(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """Return the index of the stop that each λ equals, up to rounding errors.

    Args:
        stops: The λ stops of the network.
        lams: λ of shape (N,), float64.

    Returns:
        Stop indices, (N,).

    Raises:
        ValueError: If a λ is not a stop.
    """
    distance, stop = (lams[:, None] - torch.tensor(stops, dtype=torch.float64)).abs().min(1)
    if distance.max() > CLOSE:
        raise ValueError(
            f"λ = {lams[distance.argmax()]:g} is not a stop of this network: its stops are "
            f"{listed(stops)}. "
            "Between stops use net.at(lam) or net.bind(lams)."
        )
    return stop


def resolve(spec, lams: Tensor, width: Width) -> Position:
    """Return where the dials stand at some λ: weights over the stops, and levels of weight noise.

    Args:
        spec: The `Spec` of the network.
        lams: λ of shape (N,) from the first to the last stop, float64.
        width: The width.

    Returns:
        The position. Its weights have the shape (N, S), float64, on the CPU.

    Raises:
        ValueError: If a λ lies outside the dial, or if `rule-a` or `rule-b` gets different λ
            between the stops.
    """
    if spec.dial == "outputs":
        weights = _over_ends(spec.stops, lams)
    else:
        weights = mixture(spec.stops, lams)
    if not spec.noise:
        return Position(weights, width)
    # Networks with weight noise have the stops 0 and 1. At these ends all rules agree.
    at_ends = bool((weights == 1).any(1).all())
    if spec.dial not in NOISE_RULES or at_ends:
        return Position(weights, width, (0.0, 1.0))
    if len(lams.unique()) > 1:
        raise ValueError(
            f"dial={spec.dial!r} sets one level of weight noise for the whole batch, so it needs "
            "one λ between the stops, not one per image"
        )
    return _by_noise_rule(spec.dial, lams, width)


def _by_noise_rule(rule: str, lams: Tensor, width: Width) -> Position:
    """Resolve one λ strictly between 0 and 1, given (N,) times, by `rule-a` or `rule-b`.

    Both rules use one stop only: λ = 1 with the adversarial BatchNorm, or λ = 0.
    """
    lam = lams[0].item()
    if rule == "rule-a":
        stop, level = 1, lam
    elif lam >= 0.5:
        stop, level = 1, 2 * lam - 1
    else:
        stop, level = 0, 2 * lam
    weights = torch.zeros(len(lams), 2, dtype=torch.float64)
    weights[:, stop] = 1.0
    return Position(weights, width, (0.0, level) if stop == 1 else (level, 0.0))


def mixture(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """Return weights over the stops: 1 at a stop, linear between two neighbouring stops.

    Args:
        stops: The S λ stops.
        lams: λ of shape (N,), float64.

    Returns:
        Tensor of shape (N, S), float64. Each row sums to 1.

    Raises:
        ValueError: If there is no λ, or if one lies outside the stops.

    Example:
        >>> mixture((0.0, 0.5, 1.0), torch.tensor([0.6], dtype=torch.float64))
        tensor([[0.0000, 0.8000, 0.2000]], dtype=torch.float64)
    """
    if len(lams) == 0:
        raise ValueError("no λ was given: one for all images, or one for each")
    known = torch.tensor(stops, dtype=torch.float64)
    if lams.min() < known[0] - CLOSE or lams.max() > known[-1] + CLOSE:
        raise ValueError(
            f"λ = {lams.min() if lams.min() < known[0] else lams.max():g} is outside this "
            "network's dial: "
            f"it was trained at {listed(stops)}"
        )
    mix = torch.zeros(len(lams), len(stops), dtype=torch.float64)
    if len(stops) == 1:
        return mix.fill_(1.0)
    # λ lies between the stops right - 1 and right, at the fraction t of the way.
    right = torch.searchsorted(known, lams.clamp(known[0], known[-1])).clamp(min=1)
    t = ((lams - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    t = torch.where((t - t.round()).abs() < CLOSE, t.round(), t)  # 0.1 + 0.2 counts as the stop 0.3
    return mix.scatter_(1, right[:, None] - 1, (1 - t)[:, None]).scatter_(
        1, right[:, None], t[:, None]
    )


def _over_ends(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """Return weights (N, S) that use the first and the last stop only, for λ (N,)."""
    mix = torch.zeros(len(lams), len(stops), dtype=torch.float64)
    mix[:, [0, -1]] = mixture((stops[0], stops[-1]), lams)
    return mix


def listed(values) -> str:
    """Format numbers for a message: (0.0, 0.5, 1.0) -> "0, 0.5, 1"."""
    return ", ".join(f"{v:g}" for v in values)
