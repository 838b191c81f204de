"""The attacks that the explorer offers or has recorded, by the names that states and records use.

The explorer measures by the quick cascade. Recorded curves are the suite's. PGD with a fixed number of steps is kept to
be compared with: it overestimates robust accuracy, so its numbers are upper bounds.
"""

from __future__ import annotations

from typing import TypeAlias

from ..attacks import PGD, Attack
from ..spec import did_you_mean
from ..suite import Suite

NamedAttack: TypeAlias = Attack | Suite

QUICK, SUITE, PGD_20 = "quick", "suite", "pgd-20"
PGD_STEPS = (1, 2, 5, 10, 20, 50)
CHOICES = (QUICK, *(f"pgd-{steps}" for steps in PGD_STEPS))  # measured live
STRONGEST_FIRST = (SUITE, QUICK)  # of which curves are drawn
BUDGETS = {QUICK: "quick", SUITE: "fast"}
LABELS = {SUITE: "suite", QUICK: "quick cascade"} | {f"pgd-{steps}": f"PGD-{steps}" for steps in PGD_STEPS}


def attack_named(name: str, eps: float) -> NamedAttack:
    """Return the attack of that name.

    Args:
        name: "quick", "suite", or "pgd-K" with K steps.
        eps: Radius of the L-infinity ball, pixels in [0, 1]. At 0 there is nothing to attack.

    Returns:
        An attack with `survivors`.

    Raises:
        ValueError: If there is no such attack.
    """
    if name not in LABELS:
        raise ValueError(
            f"there is no attack {name!r}{did_you_mean(str(name), tuple(LABELS))}; use {', '.join(LABELS)}"
        )
    if eps == 0:
        return PGD(0.0, 0)
    if name in BUDGETS:
        return Suite(eps, budget=BUDGETS[name])
    return PGD(eps, int(name.removeprefix("pgd-")))
