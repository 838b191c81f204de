"""The robust accuracy that is claimed, compared with the one that the audit measures.

The claim is an input of the audit and none of its questions. If nothing is claimed, the accuracy
under PGD-20 takes its place, because that is the number that is reported most often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..attacks.freeze import NoGradientError
from ..evaluation.results import wilson
from .finding import Finding, Verdict, raised_if
from .questions import ALLOWED_MISSES
from .significance import above_interval, clearly_above
from .subject import Subject

NAME = "claim"  # of the finding
REASON = (
    "A claim of robustness is about every possible attack, so the strongest attack that was tried "
    "decides."
)
REMEDY = "Report the accuracy under the suite, with the number of images."


@dataclass(frozen=True)
class Claim:
    """The robust accuracy that is compared with that of the suite, and where the number comes from.

    Attributes:
        value: Robust accuracy, in [0, 1].
        source: "given": by the caller. "pgd-20": measured with PGD-20, as nothing was claimed.
            "clean": clean accuracy, as nothing was claimed and PGD-20 cannot run.
        n: Number of images that it was measured on. None: not known.
    """

    value: float
    source: Literal["given", "pgd-20", "clean"]
    n: int | None = None

    def __str__(self) -> str:
        if self.source == "given":
            return f"{self.value:.1%} is claimed"
        if self.source == "pgd-20":
            return f"PGD-20 alone leaves {self.value:.1%} correct"
        return "nothing is claimed, and PGD-20 cannot run"

    def beside(self, low: float, high: float, n: int) -> str:
        """Return the claim in words. A given one is compared with the interval of the suite.

        Args:
            low: Lower end of the 95 % interval of the robust accuracy.
            high: Upper end of it.
            n: Number of images that it was measured on.
        """
        if self.source != "given":
            return str(self)
        interval = f"the interval [{low:.1%}, {high:.1%}] of {n} images"
        if self.value > high:
            return f"{self} and lies above {interval}"
        side = "inside" if self.value >= low else "below"
        return f"{self} and lies {side} {interval}"


def measured_claim(subject: Subject) -> Claim:
    """Return the accuracy under PGD-20 on the images of the audit, as the claim.

    If PGD-20 cannot run for lack of a gradient, it is the clean accuracy.

    Args:
        subject: The function under audit.
    """
    n = len(subject.y)
    try:
        return Claim(subject.accuracy_under(subject.pgd()), "pgd-20", n)
    except NoGradientError:
        return Claim(subject.suite.clean, "clean", n)


def compare_claim(claim: Claim, subject: Subject) -> Finding:
    """Compare a claim with the robust accuracy under the suite.

    A claim that was given is raised by the rule of `above_interval`.

    PGD-20 is run on the same images as the suite. So a difference between the two is a weakness of
    PGD-20 and not chance. It is raised if two conditions hold. The accuracy under PGD-20 lies above
    the interval of the suite. And, with 95 % confidence, PGD-20 misses more than ALLOWED_MISSES
    (5 %) of the images. A network with exactly 5 points is raised in less than 2 of 100 audits.
    Most honest networks show fewer. Dedicated networks for a small λ show 5 to 16: PGD-20 says too
    much of them, and a claim that rests on it is raised.

    Evidence:
        claimed: The claim, in [0, 1].
        suite: Robust accuracy under the suite, in [0, 1].
        only_suite: Fraction of the images that the suite fools and PGD-20 does not. Only if PGD-20
            is the claim.
        only_pgd: Fraction of the images that PGD-20 fools and the suite does not. Only if PGD-20 is
            the claim.

    Args:
        claim: The claim.
        subject: The function under audit.

    Returns:
        The finding with the name "claim".
    """
    n = len(subject.y)
    evidence = {"claimed": claim.value, "suite": subject.robust}
    if claim.source == "clean":
        verdict = Verdict.NOT_APPLICABLE
    elif claim.source == "given":
        verdict = raised_if(above_interval(claim.value, subject.robust, n, claim.n))
    else:
        by_pgd = subject.fooled(subject.pgd())
        only_suite = (subject.not_robust & ~by_pgd).double().mean().item()
        only_pgd = (by_pgd & ~subject.not_robust).double().mean().item()
        evidence |= {"only_suite": only_suite, "only_pgd": only_pgd}
        too_high = above_interval(claim.value, subject.robust, n)
        verdict = raised_if(too_high and clearly_above(only_suite, only_pgd, n, ALLOWED_MISSES))
    said = claim.beside(*wilson(round(subject.robust * n), n), n)
    sentence = f"{said}, and the suite leaves {subject.robust:.1%} correct"
    return Finding(NAME, verdict, sentence, evidence, REASON, REMEDY)
