"""Rules of the λ dial: from λ to weights over the λ stops and levels of weight noise.

A rule says what a network is between the λ that it was trained at (its stops):

* `interpolate` (default): interpolate the folded weights of the two neighbouring stops. One forward pass.
* `outputs`: mix the outputs of the first and the last stop, (1 - a) softmax(z_first) + a softmax(z_last), where a
  is the position of λ between the two. Two forward passes; the stops in between are not used. See layers/mixture.py.
* `rule-a` and `rule-b`, the published rules for networks with weight noise. `rule-a` uses the adversarial BatchNorm
  for any λ > 0 and noise of level λ. `rule-b` switches the BatchNorm at λ = 1/2, and the level of noise runs from 0
  to 1 on either side of it. (The public code of FLOAT puts the two switches at 0.1 and 0.6.) Measured, both are
  switches, while `interpolate` is a dial.
"""

from __future__ import annotations

import torch
from torch import Tensor

RULES = {  # name -> what a network is between its stops
    "interpolate": "interpolated weights",
    "outputs": "mixed outputs",
    "rule-a": "weight noise by rule-a",
    "rule-b": "weight noise by rule-b",
}
NOISE_RULES = ("rule-a", "rule-b")
OLD_NAMES = {"blend": "interpolate"}  # as files of earlier versions call a rule
CLOSE = 1e-6  # λ values this near are the same


def lambdas(stops: tuple[float, ...], lam: float | Tensor | None) -> Tensor:
    """λ as given, checked, (1,) or (N,); None is the only stop."""
    if lam is None:
        if len(stops) > 1:
            raise ValueError(f"which λ? This network has a dial: give lam, for instance one of {listed(stops)}")
        lam = stops[0]
    lams = torch.as_tensor(lam, dtype=torch.float64).cpu().reshape(-1)
    if not bool(((lams >= -CLOSE) & (lams <= 1 + CLOSE)).all()):
        raise ValueError(f"λ must lie in [0, 1], got {lam}")
    return lams


def nearest(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """Index of the stop of each λ, or an error if one of them is none."""
    distance, stop = (lams[:, None] - torch.tensor(stops, dtype=torch.float64)).abs().min(1)
    if distance.max() > CLOSE:
        raise ValueError(
            f"λ = {lams[distance.argmax()]:g} is not a stop of this network: its stops are {listed(stops)}. "
            "Between stops use net.at(lam) or net.bind(lams)."
        )
    return stop


def position(spec, lams: Tensor) -> tuple[Tensor, tuple[float, ...]]:
    """Weights over the stops, (len(lams), S), and the level of noise at each stop."""
    mix = _over_ends(spec.stops, lams) if spec.dial == "outputs" else mixture(spec.stops, lams)
    if not spec.noise:
        return mix, (0.0,) * len(spec.stops)
    if spec.dial not in NOISE_RULES or bool((mix == 1).any(1).all()):  # at the two ends all rules agree
        return mix, (0.0, 1.0)
    if len(lams.unique()) > 1:
        raise ValueError(f"with dial={spec.dial!r} the noise is one for all images: between the stops give one λ")
    lam = lams[0].item()
    high = spec.dial == "rule-a" or lam >= 0.5
    level = lam if spec.dial == "rule-a" else 2 * lam - high
    mix = torch.tensor([[1.0 - high, float(high)]], dtype=torch.float64).expand(len(lams), 2)
    return mix, (level * (not high), level * high)


def mixture(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """λ (N,) -> weights over the stops (N, S): 1 at a stop, linear between two neighbouring stops."""
    if len(lams) == 0:
        raise ValueError("no λ was given: one for all images, or one for each")
    known = torch.tensor(stops, dtype=torch.float64)
    if lams.min() < known[0] - CLOSE or lams.max() > known[-1] + CLOSE:
        raise ValueError(
            f"λ = {lams.min() if lams.min() < known[0] else lams.max():g} is outside this network's dial: "
            f"it was trained at {listed(stops)}"
        )
    mix = torch.zeros(len(lams), len(stops), dtype=torch.float64)
    if len(stops) == 1:
        return mix.fill_(1.0)
    right = torch.searchsorted(known, lams.clamp(known[0], known[-1])).clamp(min=1)
    t = ((lams - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    t = torch.where((t - t.round()).abs() < CLOSE, t.round(), t)  # 0.1 + 0.2 is the stop 0.3
    return mix.scatter_(1, right[:, None] - 1, (1 - t)[:, None]).scatter_(1, right[:, None], t[:, None])


def _over_ends(stops: tuple[float, ...], lams: Tensor) -> Tensor:
    """λ (N,) -> weights (N, S) over the first and the last stop only."""
    mix = torch.zeros(len(lams), len(stops), dtype=torch.float64)
    mix[:, [0, -1]] = mixture((stops[0], stops[-1]), lams)
    return mix


def listed(values) -> str:
    """Numbers for a message: '0, 0.5, 1'."""
    return ", ".join(f"{v:g}" for v in values)
