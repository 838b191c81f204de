"""Which differences between accuracies are larger than chance."""

from __future__ import annotations

import math

from ..evaluation.results import wilson


def above_interval(claimed: float, robust: float, n: int, claim_n: int | None = None) -> bool:
    """Return whether a claimed robust accuracy is higher than the measured one, beyond chance.

    Without `claim_n`, the claim is compared with the upper end of the 95 % Wilson interval of
    `robust`. A true claim is then raised in about 1 of 40 audits if it is exact. It is raised in
    about 1 of 12 if it was itself measured on n other images. With `claim_n` the two measurements
    are compared by Newcombe's interval for a difference, and both cases are about 1 of 40.

    Args:
        claimed: The claim, in [0, 1].
        robust: Robust accuracy measured on `n` images, in [0, 1].
        n: Number of images of the measurement.
        claim_n: Number of other images that the claim was measured on. None: not known.

    Returns:
        True if the claim is too high.
    """
    high = wilson(round(robust * n), n)[1]
    if claim_n is None:
        return claimed > high
    low = wilson(round(claimed * claim_n), claim_n)[0]
    return claimed - robust > math.hypot(high - robust, claimed - low)


def clearly_above(more: float, fewer: float, n: int, allowed: float) -> bool:
    """Return whether `more - fewer` exceeds `allowed` with 95 % confidence.

    Args:
        more: Fraction of the images that only the first of two attacks fools.
        fewer: Fraction of the images that only the second one fools.
        n: Number of images, the same for both attacks.
        allowed: Difference that is still accepted, as a fraction of the images.

    Returns:
        True if the lower end of the normal 95 % interval for paired samples is above `allowed`.
    """
    difference = more - fewer
    deviation = math.sqrt(max(0.0, more + fewer - difference**2) / n)
    return difference - 1.96 * deviation > allowed
