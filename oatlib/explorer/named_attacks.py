"""Attacks of the explorer, by the names that states and records use.

The explorer measures with the quick suite, a short series of attacks. Recorded curves were
measured with a longer suite. PGD with a fixed number of steps is offered for comparison only: it
overestimates robust accuracy, so its numbers are upper bounds.
"""

from __future__ import annotations

from .._suggest import did_you_mean
from ..attacks.base import Attack
from ..attacks.pgd import PGD
from ..attacks.suite import Suite

QUICK, SUITE, PGD_20 = "quick", "suite", "pgd-20"
PGD_STEPS = (1, 2, 5, 10, 20, 50)
CHOICES = (QUICK, *(f"pgd-{steps}" for steps in PGD_STEPS))  # that users can choose in the explorer
STRONGEST_FIRST = (SUITE, QUICK)  # attacks whose curves are drawn
# budgets of `Suite`, by the name of the attack
BUDGETS = {QUICK: "quick", SUITE: "fast"}
LABELS = {SUITE: "suite", QUICK: "quick suite"} | {
    f"pgd-{steps}": f"PGD-{steps}" for steps in PGD_STEPS
}


def attack_named(name: str, eps: float) -> Attack:
    """Return the attack with a given name.

    Args:
        name: "quick", "suite", or "pgd-K" with K steps.
        eps: Radius of the L-infinity ball, pixels in [0, 1]. At 0 the attack changes nothing.

    Returns:
        The attack.

    Raises:
        ValueError: If there is no such attack.
    """
    if name not in LABELS:
        raise ValueError(
            f"there is no attack {name!r}{did_you_mean(str(name), tuple(LABELS))}; use "
            f"{', '.join(LABELS)}"
        )
    if eps == 0:
        return PGD(0.0, 0)
    if name in BUDGETS:
        return Suite(eps, budget=BUDGETS[name])
    return PGD(eps, int(name.removeprefix("pgd-")))
