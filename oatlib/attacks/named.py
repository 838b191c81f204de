"""Attacks by name, for the command line and for sweeps, where an attack is a word and numbers."""

from __future__ import annotations

from functools import partial

from .._suggest import lookup
from .apgd import APGD
from .base import Attack
from .pgd import FGSM, FGSMRS, PGD
from .square import Square
from .suite import Suite

# Attacks along a gradient. Square and the suites take other arguments.
ALONG_A_GRADIENT = {"pgd": partial(PGD, steps=20), "apgd": APGD, "fgsm": FGSM, "fgsm-rs": FGSMRS}
WITH_STEPS = ("pgd", "apgd")  # attacks with a number of steps and of restarts
# Name of the attack -> budget of the suite. "suite" is another name for "fast".
SUITES = {"quick": "quick", "fast": "fast", "full": "full", "suite": "fast"}
NAMES = (*SUITES, *ALONG_A_GRADIENT, "square")


def attack_by_name(
    name: str,
    eps: float,
    norm: str = "linf",
    *,
    steps: int | None = None,
    restarts: int | None = None,
    eot_samples: int = 1,
    mark: str = "",
) -> Attack:
    """Return the attack that some words and numbers describe.

    Args:
        name: An entry of `NAMES`.
        eps: Radius in pixel units.
        norm: Norm of the radius, "linf" or "l2".
        steps: Number of steps, for the attacks in `WITH_STEPS`. None: the default of the attack.
        restarts: Number of random restarts, for the same attacks.
        eot_samples: Samples of noisy weights that each gradient is averaged over.
        mark: Characters before names of arguments in messages. The command line uses "--".

    Raises:
        ValueError: If there is no such attack, or if it does not take these arguments.
    """
    lookup("attack", name, dict.fromkeys(NAMES))
    steps_and_restarts = {"steps": steps, "restarts": restarts}
    given = {key: value for key, value in steps_and_restarts.items() if value is not None}
    if given and name not in WITH_STEPS:
        raise ValueError(
            f"{' and '.join(mark + key for key in given)} can be used with {mark}attack pgd or "
            f"{mark}attack apgd only, got {mark}attack {name}"
        )
    if name == "square":
        if norm != "linf":
            raise ValueError(
                f"{mark}attack square can be used with {mark}norm linf only, got {mark}norm {norm}"
            )
        return Square(eps=eps, eot_samples=eot_samples)
    if name in SUITES:
        return Suite(eps=eps, eot_samples=eot_samples, norm=norm, budget=SUITES[name])
    return ALONG_A_GRADIENT[name](eps=eps, eot_samples=eot_samples, norm=norm, **given)
