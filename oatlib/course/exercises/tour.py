"""Exercises of lesson 00: when an image counts as robust, and how to choose a setting."""

from __future__ import annotations

import torch

from ...evaluation.choose import choose
from ...evaluation.results import Result, wilson
from . import Wrong, exercise


def _robust_accuracy(answers: torch.Tensor, y: torch.Tensor) -> float:
    return (answers == y).all(0).float().mean().item()


def _result(lam: float, clean: float, robust: float, n: int = 100) -> Result:
    """A result as `oatlib.evaluate` returns it, with given accuracies of n images."""
    clean_low, clean_high = wilson(round(clean * n), n)
    robust_low, robust_high = wilson(round(robust * n), n)
    return Result(
        lam=lam,
        width=1.0,
        n=n,
        clean=clean,
        clean_low=clean_low,
        clean_high=clean_high,
        robust=robust,
        robust_low=robust_low,
        robust_high=robust_high,
        attack={"name": "pgd", "text": "PGD-20"},
        split="val",
        seed=0,
        seconds=0.0,
    )


@exercise(_robust_accuracy, "oatlib.evaluate")
def robust_accuracy(theirs) -> None:
    """answers (T, N) at T points of an attack, y (N,) -> fraction of images correct at all T."""
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    answers = y.repeat(4, 1)
    answers[1:, 0] = 2  # misclassified from the first step on
    answers[2, 1] = 0  # misclassified at one point only: the attacker may stop there
    answers[3, 2] = 1
    answers[:, 3] = 1  # never correct
    got, want = theirs(answers.clone(), y.clone()), _robust_accuracy(answers, y)
    if getattr(got, "shape", ()) not in ((), (1,)) or not isinstance(
        got, int | float | torch.Tensor
    ):
        raise Wrong(
            "it should return one number, the share of the images; it returns something else."
        )
    got, right = float(got), answers == y
    mistakes = {
        right[-1]
        .float()
        .mean()
        .item(): "it looks at the last point only: who was fooled on the way is fooled.",
        right.float()
        .mean()
        .item(): "it averages over all points and images: an image counts only if it is right at "
        "every point.",
        right.any(0)
        .float()
        .mean()
        .item(): "it counts images that are right at some point: they must be right at every "
        "point.",
        float(right.all(0).sum()): "it counts images: divide by how many there are.",
    }
    if abs(got - want) > 1e-6:
        for value, mistake in mistakes.items():
            if abs(value - got) < 1e-6:
                raise Wrong(mistake)
        raise Wrong(
            "it should be the share of the images (columns) that are right at every point (row): "
            "of 8 images, 4 "
            f"of them fooled somewhere, {want:g}, and not {got:g}."
        )


@exercise(lambda results, min_clean: choose(results, min_clean=min_clean), "oatlib.choose")
def pick_setting(theirs) -> None:
    """results (.clean, .robust), min_clean -> the most robust result with clean >= min_clean."""
    pairs = [(0.98, 0.02), (0.93, 0.3), (0.9, 0.45), (0.86, 0.7), (0.7, 0.6)]
    results = [_result(i / 4, clean, robust) for i, (clean, robust) in enumerate(pairs)]
    got, want = theirs(list(results), 0.9), choose(results, min_clean=0.9)
    if got in (want.robust, want.clean, want.lam):
        raise Wrong(
            "it returns a number of the right setting: return the whole result, so that its λ can "
            "be read."
        )
    if not isinstance(got, Result):
        raise Wrong(
            "it should return one of the results, but returns "
            f"{'nothing' if got is None else repr(got)}."
        )
    if got.clean < 0.9:
        raise Wrong(
            f"the setting it picks has clean accuracy {got.clean:g}, less than min_clean = 0.9."
        )
    if got is results[0]:
        raise Wrong(
            "it picks the most accurate setting: among those that are accurate enough, take the "
            "most robust."
        )
    if got is results[1]:
        raise Wrong(
            "a setting with clean accuracy of exactly min_clean is allowed: use >= and not >."
        )
    if theirs(results[::-1], 0.9) is not want or theirs(results, 0.5) is not results[3]:
        raise Wrong("it should not depend on the order of the results.")
