"""The answer to a question of the audit: a verdict, numbers, and sentences for people.

Decisions use the verdict and the numbers. No decision reads a sentence, so a sentence can be
reworded without changing the result of an audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Result of one question of the audit.

    Attributes:
        PASSED: No fault was found.
        RAISED: A fault was found.
        NOT_APPLICABLE: The question could not be asked of this network, or not with the options of
            this audit.

    Example:
        >>> [finding.name for finding in report.findings if finding.verdict is Verdict.RAISED]
    """

    PASSED = "passed"
    RAISED = "raised"
    NOT_APPLICABLE = "not applicable"


def raised_if(fault: bool) -> Verdict:
    """Return RAISED if there is a fault, else PASSED."""
    return Verdict.RAISED if fault else Verdict.PASSED


@dataclass(frozen=True)
class Answer:
    """What a question function returns.

    Attributes:
        verdict: Whether a fault was found.
        sentence: What was found, for people. It follows the name of the question, so it starts in
            lower case and has no full stop.
        evidence: The numbers behind the verdict, by name. The docstring of the question lists them.
    """

    verdict: Verdict
    sentence: str
    evidence: Mapping[str, float]


def not_applicable(sentence: str) -> Answer:
    """Return the answer of a question that cannot be asked.

    Args:
        sentence: Why it cannot be asked.
    """
    return Answer(Verdict.NOT_APPLICABLE, sentence, {})


@dataclass(frozen=True)
class Finding:
    """The answer to one question, with what it means and what to do about it.

    Attributes:
        name: Name of the question.
        verdict: Whether a fault was found.
        sentence: What was found, for people.
        evidence: The numbers behind the verdict, by name.
        reason: Why such a fault matters.
        remedy: What the user should do about such a fault.
    """

    name: str
    verdict: Verdict
    sentence: str
    evidence: Mapping[str, float]
    reason: str
    remedy: str
