"""The questions of `oatlib.check`, each of which tests one way to overestimate robustness.

A question is a function of a `Subject`. It is raised if it finds a fault, and returns the numbers
that show it. Decisions rest on numbers and types. The sentences are for readers only, so rewording
one changes no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..attacks.base import Attack
from ..attacks.freeze import NoGradientError, attacking
from ..attacks.losses import cross_entropy, margin_loss
from ..attacks.pgd import FGSM, PGD
from ..attacks.queries import logits_and_gradient, mean_logits
from ..attacks.square import Square
from ..attacks.suite import NOBODY
from ..attacks.transfer import Transfer
from ..evaluation.results import wilson
from .subject import Subject

TINY = 1e-16  # a gradient whose largest entry is smaller is lost in the rounding of the network
HUGE = 0.5  # an attack with this eps may paint every pixel grey
LEFT = 0.05  # robust accuracy that is still accepted under such an attack
RELIEF = 1 / 255  # length of the step along the gradient that must raise the loss
ALLOWED = 0.05  # fraction of the images that PGD-20 may miss on an honest network
FORGOTTEN = 0.2  # fraction that the attack of training may miss on an honest network


@dataclass(frozen=True)
class Check:
    """The answer to one question.

    Attributes:
        name: Name of the question.
        raised: Whether a fault was found. None: the question could not be asked, and `found` says
            why.
        found: What was found, in a sentence.
        evidence: The numbers behind it.
        why: Why the fault matters.
        todo: What the user should do about it.
    """

    name: str
    raised: bool | None
    found: str
    evidence: dict
    why: str
    todo: str


@dataclass(frozen=True)
class Question:
    """A question of the audit, called with a `Subject`.

    Args:
        name: Name of the question.
        ask: Function of a subject that returns (raised, found, evidence), as in `Check`.
        why: Why a fault that it raises matters.
        todo: What the user should do about such a fault.
    """

    name: str
    ask: Callable[[Subject], tuple[bool | None, str, dict]]
    why: str
    todo: str

    def __call__(self, subject: Subject) -> Check:
        try:
            raised, found, evidence = self.ask(subject)
        except NoGradientError as error:  # a fault of its own, reported by the question `gradients`
            raised, found, evidence = None, f"could not be asked: {error}", {}
        return Check(self.name, raised, found, evidence, self.why, self.todo)


QUESTIONS: list[Question] = []


def question(why: str, todo: str):
    """Return a decorator that adds a function to QUESTIONS, under the name of the function.

    Args:
        why: Why a fault that the question raises matters.
        todo: What the user should do about such a fault.
    """

    def add(ask):
        QUESTIONS.append(Question(ask.__name__, ask, why, todo))
        return ask

    return add


@question(
    "Attacks that need eval mode, and users who deploy it, meet another function than the one that "
    "was measured.",
    "Call .eval() before measuring, and leave it on.",
)
def mode(s: Subject):
    # Name the layers that behave differently in train mode first, as they explain the fault.
    parts = (
        [type(m).__name__ for m in s.f.modules() if m.training]
        if isinstance(s.f, nn.Module)
        else []
    )
    own = [name for name in parts if any(kind in name for kind in ("Norm", "Drop"))]
    found = f"{len(parts)} parts are in train mode" if parts else "nothing is in train mode"
    return bool(parts), found, {"parts": len(parts), "kinds": sorted(set(own or parts))[:5]}


@question(
    "The loss of an attack needs logits. Of probabilities its slope is flat wherever the network "
    "is sure.",
    "Return what goes into the softmax, not what comes out of it.",
)
def logits(s: Subject):
    # Outputs that are not negative and add up to 1 are probabilities.
    z = s.answers(s.x)
    sums = bool((z >= 0).all() and torch.allclose(z.sum(1), torch.ones_like(z[:, 0]), atol=1e-3))
    return (
        sums,
        "the outputs are probabilities" if sums else "the outputs are logits",
        {"largest": z.max().item()},
    )


@question(
    "An attack that sees one draw of the randomness climbs noise, and a single lucky draw counts "
    "as a defence.",
    "Attack the average over draws (EOT): eot_samples=10 or more, and measure accuracy over "
    "draws, too.",
)
def randomness(s: Subject):
    """Raised if two passes of the same images differ and the attacks used one draw at a time."""
    changed = (s.answers(s.x).argmax(1) != s.answers(s.x).argmax(1)).double().mean().item()
    evidence = {"labels that change": changed, "eot_samples": s.eot_samples}
    if s.random and s.eot_samples == 1:
        found = (
            "the same image gets another answer every time, and the attacks saw one draw at a time"
        )
        evidence |= {"plain": s.left(s.pgd()), "eot": s.left(s.eot())}
        return (
            True,
            found + f": {evidence['plain']:.1%} are left, {evidence['eot']:.1%} with EOT",
            evidence,
        )
    return (
        False,
        f"random, attacked with EOT over {s.eot_samples} samples"
        if s.random
        else "the same answer twice",
        evidence,
    )


@question(
    "Gradient attacks stand still where there is no slope, whatever the network does a little "
    "further on.",
    "Attack with a loss that does not saturate (margin, DLR), and with Square.",
)
def gradients(s: Subject):
    try:
        slope = _slope(s)
    except NoGradientError as error:
        return True, str(error), {"gradient": None}
    # Raised if more than 5 % of the images have no gradient beyond rounding errors.
    size = slope.flatten(1).abs().amax(1)
    blind = (size < TINY).double().mean().item()
    found = (
        f"{blind:.1%} of the images have no gradient to speak of; its largest entry has a "
        f"median of {size.median():.1e}"
    )
    return blind > 0.05, found, {"without": blind, "median": size.median().item()}


@question(
    "A gradient that says nothing about the loss leads attacks astray: the loss is a staircase, or "
    "shattered.",
    "Put a smooth part in its place in the backward pass (BPDA), and attack with Square.",
)
def slope(s: Subject):
    """Raised if, for more than 10 % of the images, a small step along the gradient does not raise
    the loss above that of the same step back.
    """
    if s.random and s.eot_samples == 1:
        return None, "not asked: two looks at the same image differ; see randomness", {}
    grad = _slope(s).sign()
    with attacking(s.f), torch.no_grad():
        loss = [_losses(s, (s.x + step * grad).clamp(0, 1)) for step in (-RELIEF, RELIEF)]
    rising = (loss[1] > loss[0]).double().mean().item()
    found = (
        f"a step of 1/255 along the gradient raises the loss of {rising:.1%} of the images, "
        "against the same step back"
    )
    return rising < 0.9, found, {"rising": rising}


@question(
    "Many steps can do all that one step can. If one does more, the many are lost, mostly without "
    "a gradient.",
    "Look at the loss along the steps; try other step sizes, random starts, and Square.",
)
def one_step(s: Subject):
    s.fooled(s.pgd())  # attack all images now: other questions need the result, which is cached
    return _paired(s, FGSM(s.eps, eot_samples=s.eot_samples), s.pgd(), "FGSM", "PGD-20")


@question(
    "Half the step of FGSM hurts more than the whole one: the mark of a network trained against "
    "one step only, "
    "which has bent its loss around exactly that step (catastrophic overfitting).",
    "Train against several steps, and watch the accuracy under PGD while training.",
)
def half_step(s: Subject):
    # Accuracy after a step along the sign of the gradient, by its length as a fraction of eps.
    # Raised if a shorter step leaves clearly less accuracy than the whole one.
    sign = _slope(s).sign()
    right = {
        share: (s.answers((s.x + share * s.eps * sign).clamp(0, 1)).argmax(1) == s.y)
        .double()
        .mean()
        .item()
        for share in (0.25, 0.5, 0.75, 1.0)
    }
    worst = min(right, key=right.get)
    found = (
        f"{right[1.0]:.1%} are right after the whole step, {right[worst]:.1%} after {worst:g} of it"
    )
    return (
        right[worst] < right[1.0] - max(0.05, s.slack),
        found,
        {str(k): v for k, v in right.items()},
    )


@question(
    "More steps of the same attack can only find more. If they find less, the attack is lost on "
    "the way.",
    "Take smaller steps, keep the best iterate, and look at the loss along the steps.",
)
def more_steps(s: Subject):
    return _paired(s, s.pgd(10), s.pgd(50), "PGD-10", "PGD-50")


@question(
    "More starts of the same attack can only find more. If they find less, chance decides.",
    "Average over draws (EOT), and keep the best of all restarts.",
)
def restarts(s: Subject):
    five = s.pgd(10, restarts=5)
    return _paired(s, s.pgd(10), five, "PGD-10", "PGD-10 with five other starts", s.seed + 1)


@question(
    "A larger ball contains the smaller one, so accuracy can only fall. If it rises, the attack is "
    "what fails.",
    "Use more steps for larger eps, and look for a gradient that vanishes.",
)
def larger_eps(s: Subject):
    """Raised if accuracy rises by more than chance from one eps to the next larger one."""
    left = {f"{k:g} eps": s.left(s.pgd(10, min(1.0, k * s.eps))) for k in (0.5, 1, 2, 4)}
    values = list(left.values())
    rise = max(b - a for a, b in pairwise(values))
    told = ", ".join(f"{value:.1%} at {name}" for name, value in left.items())
    return rise > s.slack, f"PGD-10 leaves {told}", left


@question(
    "An attacker who may repaint the image leaves nothing to recognise. What is still right was "
    "never attacked.",
    "Do not believe any number before this one is near 0.",
)
def huge_eps(s: Subject):
    left = s.left(s.pgd(50, HUGE))
    return left > LEFT, f"PGD-50 with eps = {HUGE:g} leaves {left:.1%}", {"left": left}


@question(
    "An attacker who only sees the outputs knows less than one who sees the weights. "
    "If it finds more, the gradients mislead.",
    "Find the part that hides the gradient; until then quote the lower number.",
)
def black_box(s: Subject):
    # The images that Square fools resisted all members before it, which are those with gradients.
    squares = [i for i, member in enumerate(s.members) if isinstance(member, Square)]
    if not squares or not s.suite.complete:
        return None, "not asked: the suite had no time for Square, or has none", {}
    more = (s.suite.fell == squares[-1]).double().mean().item()
    found = f"Square fools another {more:.1%} after the attacks with gradients"
    return more > s.slack, found, {"more": more, **s.suite.rows()[squares[-1]]}


@question(
    "Images made on another network know nothing of this one. If they fool it where its own do "
    "not, its own "
    "gradients mislead.",
    "As for black_box.",
)
def transfer(s: Subject):
    if not s.sources:
        return None, "not asked: no other network was given (sources=)", {}
    # Only the images that the suite left correct need attacking.
    safe = s.suite.fell == NOBODY
    more = {
        name: s.fooled(Transfer(f, PGD(s.eps, 10), name), among=safe).double().mean().item()
        for name, f in s.sources.items()
    }
    name = max(more, key=more.get)
    return (
        more[name] > s.slack,
        f"images made on {name} fool another {more[name]:.1%} that the suite could not",
        more,
    )


@question(
    "The attack of the claim did not meet the network that answers: another branch, another λ, or "
    "a stand-in.",
    "Attack exactly the function that is deployed: net.at(lam, width).",
)
def same_function(s: Subject):
    if s.attacked is None:
        return None, "not asked: nothing was said about what the claim attacked (attacked=)", {}
    other = Transfer(s.attacked, PGD(s.eps, 20), "what the claim attacked")
    return _paired(s, s.pgd(), other, "the attack on what is deployed", "the attack of the claim")


@question(
    "Attacks run on the folded network, users run the unfolded one, or the other way round: they "
    "must be one.",
    "This is a fault of the fold: tell those who made it.",
)
def folded(s: Subject):
    if s.whole is None:
        return None, "not asked: this is a plain function, or a λ between the stops, or random", {}
    with torch.no_grad():
        gap = (s.answers(s.x) - s.whole(s.x).float()).abs().max().item()
    scale = 1 + s.answers(s.x).abs().max().item()
    return (
        gap > 1e-3 * scale,
        f"folded and unfolded logits differ by at most {gap:.1g}",
        {"gap": gap},
    )


@question(
    "An untargeted attack with small steps follows a mixture of all wrong classes and may reach "
    "none of them. An attack that goes to one class at a time arrives.",
    "Quote the accuracy under a suite with targeted attacks, such as oatlib.Suite().",
)
def targeted(s: Subject):
    """Compare PGD-20 with a targeted attack of three runs of ten steps, on the same images.

    Raised if, with 95 % confidence, the targeted attack fools more than ALLOWED (5 %) of the images
    in addition. On honest networks it fooled 1 to 6 % more. On networks that had overfitted to a
    two-step attack it fooled 10 to 18 % more.
    """
    untargeted = s.fooled(s.pgd())
    more = s.fooled(s.targeted(), among=~untargeted & s.within_reach)
    gain, loss = more.double().mean().item(), 0.0
    # The images that only PGD-20 fools are needed only if the gain alone would raise the question.
    if clearly_above(gain, loss, len(s.y), ALLOWED):
        missed = untargeted & ~s.fooled(s.targeted(), among=untargeted)
        loss = missed.double().mean().item()
    raised = clearly_above(gain, loss, len(s.y), ALLOWED)
    pgd = untargeted.double().mean().item()
    found = f"PGD-20 fools {pgd:.1%}, a short targeted attack fools another {gain:.1%}"
    return raised, found, {"PGD-20": pgd, "only targeted": gain, "only PGD-20": loss}


@question(
    "Training against a weak attack can teach a network to resist that attack and no other.",
    "Train with more steps on a ball of eps, and compare with a strong attack while training.",
)
def training_attack(s: Subject):
    """Compare the attack of training, at the eps of the audit, with the suite and PGD-20.

    The attack of training keeps its number of steps, and the ratio of its step to the radius of its
    ball. (In training the radius was eps x margin.) Accuracy is that of its last iterate, as in
    training.

    Raised if two conditions hold. The accuracy is above that under PGD-20 by more than chance. And,
    with 95 % confidence, it is more than FORGOTTEN (20 points) above that under the suite.

    Networks trained with PGD-3 on the plain ball keep 2 to 15 points more than under the suite.
    Networks that had overfitted to PGD-2 on a ball of 1.25 eps keep 48 to 60 points more between
    the ends of the dial. At λ = 1, where they had not overfitted, they keep 2 to 9 points more.
    """
    training = None if s.trained is None else s.trained.attack()
    if training is None or not training.eps:
        return None, "not asked: not trained against an attack, or not known how", {}
    size = training.step_length * s.eps / training.eps
    attack = replace(training, eps=s.eps, step_size=size, eot_samples=s.eot_samples)
    kept, pgd = s.left_at_the_end(attack), s.left(s.pgd())
    # Images that the attack of training fools and the suite does not are rare: count them as 0.
    forgotten = clearly_above(kept - s.robust, 0.0, len(s.y), FORGOTTEN)
    found = f"the attack of training leaves {kept:.1%}, PGD-20 {pgd:.1%}, the suite {s.robust:.1%}"
    evidence = {"training attack": kept, "PGD-20": pgd, "suite": s.robust, "attack": str(attack)}
    return forgotten and kept - pgd > s.slack, found, evidence


@question(
    "A claim is about every attack there is. The strongest that was tried decides.",
    "Quote the accuracy under the suite, with the number of images.",
)
def claim(s: Subject):
    """Compare the claim with the suite. If nothing is claimed, PGD-20 is taken as the claim.

    A claim that was given is raised by the rule of `above_interval`.

    PGD-20 is run on the same images as the suite. So a difference between the two is a weakness of
    PGD-20 and not chance. It is raised if two conditions hold. The accuracy under PGD-20 lies above
    the interval of the suite. And, with 95 % confidence, PGD-20 misses more than ALLOWED (5 %) of
    the images, as honest networks show up to 5 points. A network with exactly 5 points is raised in
    less than 2 of 100 audits.
    """
    claimed, n = s.claimed, len(s.y)
    evidence = {"claimed": claimed.value, "source": claimed.source, "suite": s.robust}
    found = f"{claimed}, the suite leaves {s.robust:.1%}"
    if claimed.source == "clean":
        return None, found, evidence
    raised = above_interval(claimed.value, s.robust, n, claimed.n)
    if claimed.source == "pgd-20":
        by_pgd = s.fooled(s.pgd())
        missed = (s.broken & ~by_pgd).double().mean().item()
        only_pgd = (by_pgd & ~s.broken).double().mean().item()
        same_images = above_interval(claimed.value, s.robust, n)
        raised = same_images and clearly_above(missed, only_pgd, n, ALLOWED)
    return raised, found, evidence


def above_interval(claimed: float, left: float, n: int, claim_n: int | None = None) -> bool:
    """Return whether a claimed robust accuracy is higher than the measured one, beyond chance.

    Without `claim_n`, the claim is compared with the upper end of the 95 % Wilson interval of
    `left`. A true claim is then raised in about 1 of 40 audits if it is exact. It is raised in
    about 1 of 12 if it was itself measured on n other images. With `claim_n` the two measurements
    are compared by Newcombe's interval for a difference, and both cases are about 1 of 40.

    Args:
        claimed: The claim, in [0, 1].
        left: Robust accuracy measured on `n` images, in [0, 1].
        n: Number of images of the measurement.
        claim_n: Number of other images that the claim was measured on. None: not known.

    Returns:
        True if the claim is too high.
    """
    high = wilson(round(left * n), n)[1]
    if claim_n is None:
        return claimed > high
    low = wilson(round(claimed * claim_n), claim_n)[0]
    return claimed - left > math.hypot(high - left, claimed - low)


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


def _slope(s: Subject) -> Tensor:
    with attacking(s.f):
        _, gradient = logits_and_gradient(
            s.f, s.x, lambda logits: cross_entropy(logits, s.y), s.eot_samples
        )
        return gradient()


def _losses(s: Subject, x: Tensor) -> Tensor:
    """Return the margin loss (N,) of the mean logits over the samples of f.

    The margin does not saturate. The cross-entropy of a very confident network is 0 on both sides.
    """
    return margin_loss(mean_logits(s.f, x, s.eot_samples).float(), s.y)


def _paired(
    s: Subject, weak: Attack, strong: Attack, weaker: str, stronger: str, seed: int | None = None
) -> tuple[bool, str, dict]:
    """Compare two attacks: a fault is found if the weaker one fools clearly more of the images.

    The stronger attack first gets only the images that the weaker one fools. If it misses few of
    them, it cannot be far behind, and the other images need no attack.

    Args:
        s: The subject of the audit.
        weak: The attack that should be weaker.
        strong: The attack that should be stronger.
        weaker: Name of `weak` in the sentence and the evidence.
        stronger: Name of `strong` there.
        seed: Seed of the stronger attack (default: that of the audit).

    Returns:
        (raised, found, evidence), as in `Check`.
    """
    by_weak = s.fooled(weak)
    missed = by_weak & ~s.fooled(strong, among=by_weak, seed=seed)
    numbers = {weaker: by_weak.double().mean().item(), "missed": missed.double().mean().item()}
    if numbers["missed"] <= s.slack:
        found = f"{weaker} fools {numbers[weaker]:.1%}; of these {stronger} misses "
        return False, found + f"{missed.sum().item()} images", numbers
    numbers[stronger] = s.fooled(strong, seed=seed).double().mean().item()
    found = f"{weaker} fools {numbers[weaker]:.1%}, {stronger} fools {numbers[stronger]:.1%}"
    return numbers[weaker] - numbers[stronger] > s.slack, found, numbers
