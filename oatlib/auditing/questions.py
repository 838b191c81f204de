"""The questions of `oatlib.audit`, each of which detects one way to overestimate robustness.

A question is a function of a `Subject` that returns an `Answer`. Its docstring says what it
detects, when it is raised, and which numbers its evidence holds. Fractions are of the images of the
audit, in [0, 1]. A difference between two accuracies is more than chance if it is above
`Subject.slack`. A question that cannot be asked is not applicable and has no evidence.

Verdicts are decided by numbers and types only. The sentences are for people, so rewording one
changes no verdict.

To add a question, write such a function, decorate it with `question`, and plant its fault in
`tests/test_auditing.py`. Questions are asked in the order in which they are defined.
"""

from __future__ import annotations

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
from .finding import Answer, Finding, Verdict, not_applicable, raised_if
from .significance import clearly_above
from .subject import Subject

SMALLEST_GRADIENT = 1e-16  # a gradient whose largest entry is smaller is lost in rounding errors
ALLOWED_WITHOUT_GRADIENT = 0.05  # fraction of the images that may have such a gradient
PROBE_STEP = 1 / 255  # length of the step along the gradient that must raise the loss
REQUIRED_RISING = 0.9  # fraction of the images whose loss must rise
FRACTIONS_OF_EPS = (0.25, 0.5, 0.75, 1.0)  # lengths of the single step of `half_step`
ALLOWED_HALF_STEP = 0.05  # accuracy that a shorter step may lose more than the whole one
MULTIPLES_OF_EPS = (0.5, 1, 2, 4)  # radii that `larger_eps` compares
HUGE_EPS = 0.5  # an attack with this radius may paint every pixel grey
ALLOWED_UNDER_HUGE_EPS = 0.05  # robust accuracy that is still accepted under such an attack
ALLOWED_GAP = 1e-3  # difference of folded and unfolded logits, relative to 1 + the largest logit
ALLOWED_MISSES = 0.05  # fraction of the images that PGD-20 may miss
ALLOWED_OVERFIT = 0.2  # fraction that the attack of training may miss on an honest network


@dataclass(frozen=True)
class Question:
    """A question of the audit, called with a `Subject`.

    Args:
        name: Name of the question.
        ask: The question function.
        reason: Why a fault that it raises matters.
        remedy: What the user should do about such a fault.
    """

    name: str
    ask: Callable[[Subject], Answer]
    reason: str
    remedy: str

    def __call__(self, subject: Subject) -> Finding:
        try:
            answer = self.ask(subject)
        except NoGradientError as error:  # a fault of its own, reported by the question `gradients`
            answer = not_applicable(f"not asked, because {error}")
        return Finding(
            self.name,
            answer.verdict,
            answer.sentence,
            answer.evidence,
            self.reason,
            self.remedy,
        )


QUESTIONS: list[Question] = []


def question(reason: str, remedy: str):
    """Return a decorator that adds a function to QUESTIONS, under the name of the function.

    Args:
        reason: Why a fault that the question raises matters.
        remedy: What the user should do about such a fault.
    """

    def add(ask: Callable[[Subject], Answer]) -> Callable[[Subject], Answer]:
        QUESTIONS.append(Question(ask.__name__, ask, reason, remedy))
        return ask

    return add


@question(
    reason=(
        "In train mode a network computes another function than in eval mode. Users deploy the "
        "eval mode, and some attacks need it."
    ),
    remedy="Call .eval() before measuring, and stay in eval mode.",
)
def mode(subject: Subject) -> Answer:
    """Detect a network that is in train mode.

    Raised if any module of the network is in train mode.

    Evidence:
        modules: Number of modules in train mode.
    """
    modules = subject.f.modules() if isinstance(subject.f, nn.Module) else ()
    kinds = [type(module).__name__ for module in modules if module.training]
    if not kinds:
        return Answer(Verdict.PASSED, "no module is in train mode", {"modules": 0})
    # Normalisation and dropout behave differently in train mode, so they explain the fault best.
    different = [kind for kind in kinds if "Norm" in kind or "Drop" in kind]
    names = ", ".join(sorted(set(different or kinds))[:5])
    sentence = f"modules in train mode: {len(kinds)}, such as {names}"
    return Answer(Verdict.RAISED, sentence, {"modules": len(kinds)})


@question(
    reason=(
        "The losses of the attacks need logits. Computed from probabilities, their gradients "
        "vanish where the network is confident."
    ),
    remedy="Return the inputs of the softmax, not its outputs.",
)
def logits(subject: Subject) -> Answer:
    """Detect a network that returns probabilities instead of logits.

    Raised if no output is negative and the outputs of each image sum to 1.

    Evidence:
        largest: The largest output.
    """
    outputs = subject.logits(subject.x)
    sums = outputs.sum(1)
    sum_to_one = torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    are_probabilities = bool((outputs >= 0).all()) and sum_to_one
    sentence = f"the outputs are {'probabilities' if are_probabilities else 'logits'}"
    return Answer(raised_if(are_probabilities), sentence, {"largest": outputs.max().item()})


@question(
    reason=(
        "The gradient of one sample of a random network is mostly noise, and an attack that "
        "follows it fails. One lucky sample must not count as a defence."
    ),
    remedy=(
        "Attack the average over samples (EOT): eot_samples=10 or more. Average the accuracy over "
        "samples, too."
    ),
)
def randomness(subject: Subject) -> Answer:
    """Detect a random network that was attacked without EOT.

    Raised if two passes of the same images give different logits, and the attacks use one sample of
    the network at a time.

    Evidence:
        changed: Fraction of the images whose predicted class differs between two passes.
        eot_samples: Samples that the attacks average.
        pgd: Robust accuracy under PGD-20. Only if raised.
        pgd_with_eot: Robust accuracy under PGD-20 with EOT over 10 samples. Only if raised.
    """
    first = subject.logits(subject.x).argmax(1)
    second = subject.logits(subject.x).argmax(1)
    evidence = {
        "changed": (first != second).double().mean().item(),
        "eot_samples": subject.eot_samples,
    }
    if not subject.random:
        return Answer(Verdict.PASSED, "two passes give the same logits", evidence)
    if subject.eot_samples > 1:
        sentence = (
            f"the network is random, and was attacked with EOT over {subject.eot_samples} samples"
        )
        return Answer(Verdict.PASSED, sentence, evidence)
    pgd = subject.accuracy_under(subject.pgd())
    pgd_with_eot = subject.accuracy_under(subject.pgd_with_eot())
    sentence = (
        "two passes of the same image differ, and the attacks use one sample at a time: "
        f"{pgd:.1%} stay correct without EOT, {pgd_with_eot:.1%} with EOT"
    )
    evidence |= {"pgd": pgd, "pgd_with_eot": pgd_with_eot}
    return Answer(Verdict.RAISED, sentence, evidence)


@question(
    reason=(
        "An attack that follows the gradient does not move where the gradient is zero, even if a "
        "small change would fool the network."
    ),
    remedy="Attack with a loss that does not saturate (margin, DLR), and with Square.",
)
def gradients(subject: Subject) -> Answer:
    """Detect images at which the loss has no gradient.

    Raised if no gradient reaches the images, or if for more than ALLOWED_WITHOUT_GRADIENT (5 %) of
    the images the largest entry of the gradient is below SMALLEST_GRADIENT.

    Evidence:
        without: Fraction of the images without a gradient.
        median: Median over the images of the largest entry of the gradient.
    """
    try:
        gradient = _loss_gradient(subject)
    except NoGradientError as error:
        return Answer(Verdict.RAISED, str(error), {"without": 1.0, "median": 0.0})
    largest = gradient.flatten(1).abs().amax(1)
    without = (largest < SMALLEST_GRADIENT).double().mean().item()
    median = largest.median().item()
    sentence = (
        f"{without:.1%} of the images have no gradient beyond rounding errors (largest entry: "
        f"median {median:.1e})"
    )
    verdict = raised_if(without > ALLOWED_WITHOUT_GRADIENT)
    return Answer(verdict, sentence, {"without": without, "median": median})


@question(
    reason=(
        "The gradient does not predict how the loss changes, because the loss is a staircase or "
        "oscillates. It leads attacks in the wrong direction."
    ),
    remedy=(
        "Replace the part without a useful gradient by a smooth one in the backward pass (BPDA), "
        "and attack with Square."
    ),
)
def slope(subject: Subject) -> Answer:
    """Detect gradients that do not point to where the loss rises.

    Compares the margin loss after a step of PROBE_STEP (1/255) along the sign of the gradient with
    that after the same step backwards. Raised if it is higher for less than REQUIRED_RISING (90 %)
    of the images. Not applicable to a random network that is attacked without EOT.

    Evidence:
        rising: Fraction of the images whose loss is higher after the step forwards.
    """
    if subject.random and subject.eot_samples == 1:
        return not_applicable("not asked, because two passes of an image differ (see randomness)")
    direction = _loss_gradient(subject).sign()
    with attacking(subject.f), torch.no_grad():
        behind = _margin_loss(subject, (subject.x - PROBE_STEP * direction).clamp(0, 1))
        ahead = _margin_loss(subject, (subject.x + PROBE_STEP * direction).clamp(0, 1))
    rising = (ahead > behind).double().mean().item()
    sentence = (
        "a step of 1/255 along the gradient gives a higher loss than the same step backwards for "
        f"{rising:.1%} of the images"
    )
    return Answer(raised_if(rising < REQUIRED_RISING), sentence, {"rising": rising})


@question(
    reason=(
        "An attack with many steps can do everything that one step can. If one step fools more "
        "images, the steps are misled, mostly by gradients that vanish."
    ),
    remedy="Plot the loss along the steps. Try other step sizes, random starts, and Square.",
)
def one_step(subject: Subject) -> Answer:
    """Detect that one step (FGSM) fools more images than many steps (PGD-20).

    Raised if it fools more by more than chance.

    Evidence:
        weaker: Fraction of the images that FGSM fools.
        missed: Fraction of the images that FGSM fools and PGD-20 does not.
        stronger: Fraction that PGD-20 fools. Only if `missed` is more than chance.
    """
    subject.fooled(subject.pgd())  # attack all images now: other questions use the cached result
    fgsm = FGSM(subject.eps, eot_samples=subject.eot_samples)
    return _compare_attacks(subject, fgsm, subject.pgd(), "FGSM", "PGD-20")


@question(
    reason=(
        "A step of a part of eps fools more images than the whole step. This is typical of a "
        "network that was trained against a single step and has changed its loss only at the end "
        "of that step (catastrophic overfitting)."
    ),
    remedy="Train against several steps, and monitor the accuracy under PGD during training.",
)
def half_step(subject: Subject) -> Answer:
    """Detect that a part of the step of FGSM fools more images than the whole step.

    Raised if, after a step along the sign of the gradient, a step shorter than eps leaves an
    accuracy that is lower by more than ALLOWED_HALF_STEP (5 points) and more than chance.

    Evidence:
        0.25 eps, 0.5 eps, 0.75 eps, 1 eps: Accuracy after a step of this length.
    """
    direction = _loss_gradient(subject).sign()
    accuracy = {}
    for fraction in FRACTIONS_OF_EPS:
        stepped = (subject.x + fraction * subject.eps * direction).clamp(0, 1)
        accuracy[fraction] = subject.accuracy_on(stepped)
    worst = min(accuracy, key=accuracy.__getitem__)
    verdict = raised_if(accuracy[worst] < accuracy[1.0] - max(ALLOWED_HALF_STEP, subject.slack))
    sentence = (
        f"{accuracy[1.0]:.1%} are correct after a step of eps, {accuracy[worst]:.1%} after a step "
        f"of {worst:g} eps"
    )
    evidence = {f"{fraction:g} eps": value for fraction, value in accuracy.items()}
    return Answer(verdict, sentence, evidence)


@question(
    reason=(
        "More steps of the same attack should find more. If they find less, the steps are misled."
    ),
    remedy="Use smaller steps, keep the best iterate, and plot the loss along the steps.",
)
def more_steps(subject: Subject) -> Answer:
    """Detect that PGD-10 fools more images than PGD-50.

    Raised if it fools more by more than chance.

    Evidence:
        weaker: Fraction of the images that PGD-10 fools.
        missed: Fraction of the images that PGD-10 fools and PGD-50 does not.
        stronger: Fraction that PGD-50 fools. Only if `missed` is more than chance.
    """
    return _compare_attacks(subject, subject.pgd(10), subject.pgd(50), "PGD-10", "PGD-50")


@question(
    reason="More starts of the same attack should find more. If they find less, chance decides.",
    remedy="Average over samples (EOT), and keep the best of all restarts.",
)
def restarts(subject: Subject) -> Answer:
    """Detect that PGD-10 from one start fools more images than from five other starts.

    Raised if it fools more by more than chance.

    Evidence:
        weaker: Fraction of the images that one start fools.
        missed: Fraction of the images that one start fools and five other starts do not.
        stronger: Fraction that five starts fool. Only if `missed` is more than chance.
    """
    five_starts = subject.pgd(10, restarts=5)
    return _compare_attacks(
        subject,
        subject.pgd(10),
        five_starts,
        "PGD-10",
        "PGD-10 with five other starts",
        subject.seed + 1,
    )


@question(
    reason=(
        "A larger ball contains the smaller one, so robust accuracy cannot rise with eps. If it "
        "rises, the attack fails."
    ),
    remedy="Use more steps for a larger eps, and look for gradients that vanish.",
)
def larger_eps(subject: Subject) -> Answer:
    """Detect a robust accuracy that rises with the radius of the attack.

    Raised if, under PGD-10, it rises by more than chance from one radius to the next larger one.

    Evidence:
        0.5 eps, 1 eps, 2 eps, 4 eps: Robust accuracy under PGD-10 with this radius.
    """
    robust = {}
    for multiple in MULTIPLES_OF_EPS:
        attack = subject.pgd(10, min(1.0, multiple * subject.eps))
        robust[f"{multiple:g} eps"] = subject.accuracy_under(attack)
    largest_rise = max(larger - smaller for smaller, larger in pairwise(robust.values()))
    listed = ", ".join(f"{accuracy:.1%} at {radius}" for radius, accuracy in robust.items())
    return Answer(raised_if(largest_rise > subject.slack), f"PGD-10 leaves {listed}", robust)


@question(
    reason=(
        "With this eps an attack can make every image grey, so nothing is left to recognise. "
        "Images that stay correct were not really attacked."
    ),
    remedy="Repair the attack until this accuracy is near 0. Do not trust other numbers before.",
)
def huge_eps(subject: Subject) -> Answer:
    """Detect images that stay correct although the attack may change them completely.

    Raised if PGD-50 with HUGE_EPS (0.5) leaves more than ALLOWED_UNDER_HUGE_EPS (5 %).

    Evidence:
        robust: Robust accuracy under that attack.
    """
    robust = subject.accuracy_under(subject.pgd(50, HUGE_EPS))
    sentence = f"PGD-50 with eps = {HUGE_EPS:g} leaves {robust:.1%}"
    return Answer(raised_if(robust > ALLOWED_UNDER_HUGE_EPS), sentence, {"robust": robust})


@question(
    reason=(
        "An attack that sees only the outputs has less information than one that has gradients. "
        "If it fools more images, the gradients are misleading."
    ),
    remedy="Find the part that hides the gradient. Until then report the lower accuracy.",
)
def black_box(subject: Subject) -> Answer:
    """Detect that Square, which needs no gradient, fools images that gradient attacks do not.

    In the suite, Square attacks the images that all members before it left correct. Raised if it
    lowers the robust accuracy by more than chance. Not applicable if the suite has no Square or
    reached its time limit.

    Evidence:
        more: Fraction of all images that Square fools in addition.
        attacked: Number of images that Square attacked.
        fooled: Number of images that Square fooled.
    """
    squares = [i for i, member in enumerate(subject.members) if isinstance(member, Square)]
    if not squares or not subject.suite.complete:
        return not_applicable("not asked, because the suite has no Square or no time for it")
    square = squares[-1]
    more = (subject.suite.fell == square).double().mean().item()
    row = subject.suite.rows()[square]
    sentence = f"Square fools another {more:.1%} after the attacks with gradients"
    evidence = {"more": more, "attacked": row["given"], "fooled": row["fooled"]}
    return Answer(raised_if(more > subject.slack), sentence, evidence)


@question(
    reason=(
        "Images that are computed on another network use no information about this one. If they "
        "fool it where its own gradients do not, its gradients are misleading."
    ),
    remedy="Find the part that hides the gradient. Until then report the lower accuracy.",
)
def transfer(subject: Subject) -> Answer:
    """Detect that attacks on other networks fool images that the suite does not.

    PGD-10 on each of the other networks attacks the images that the suite left correct. Raised if
    one of these attacks lowers the robust accuracy by more than chance. Not applicable if there are
    no other networks.

    Evidence:
        The name of each other network: Fraction of all images that it fools in addition.
    """
    if not subject.sources:
        return not_applicable("not asked, because no other network was given (sources=)")
    left_by_suite = subject.suite.fell == NOBODY
    more = {}
    for name, source in subject.sources.items():
        attack = Transfer(source, PGD(subject.eps, 10), name)
        more[name] = subject.fooled(attack, among=left_by_suite).double().mean().item()
    best = max(more, key=more.__getitem__)
    sentence = (
        f"images computed on {best} fool another {more[best]:.1%} that the suite could not fool"
    )
    return Answer(raised_if(more[best] > subject.slack), sentence, more)


@question(
    reason=(
        "The claim was measured by attacking another function than the one that is deployed: "
        "another BatchNorm branch, another λ, or a substitute."
    ),
    remedy="Attack exactly the function that is deployed: net.at(lam, width).",
)
def same_function(subject: Subject) -> Answer:
    """Detect that the claim was measured by attacking another function than the deployed one.

    Raised if PGD-20 on the deployed function fools more images than PGD-20 on the function that the
    claim attacked, by more than chance. Not applicable if that function is not known.

    Evidence:
        weaker: Fraction of the images that the attack on the deployed function fools.
        missed: Fraction that this attack fools and the attack of the claim does not.
        stronger: Fraction that the attack of the claim fools. Only if `missed` is more than chance.
    """
    if subject.attacked is None:
        return not_applicable("not asked, because it is not known what the claim attacked")
    of_claim = Transfer(subject.attacked, PGD(subject.eps, 20), "the function the claim attacked")
    return _compare_attacks(
        subject,
        subject.pgd(),
        of_claim,
        "the attack on the deployed function",
        "the attack of the claim",
    )


@question(
    reason=(
        "Attacks use the folded network and users may use the unfolded one, or the other way "
        "round. Both must be the same function."
    ),
    remedy="This is a fault of the folding code. Report it to its authors.",
)
def folded(subject: Subject) -> Answer:
    """Detect a folded network whose logits differ from those of the unfolded one.

    Raised if a logit differs by more than ALLOWED_GAP (0.001) times 1 + the largest logit. Not
    applicable to a plain function, to a λ between the stops, and to a random network.

    Evidence:
        gap: Largest difference of two logits.
    """
    if subject.unfolded is None:
        return not_applicable(
            "not asked, because there is no unfolded network to compare (plain function, random "
            "network, or λ between the stops)"
        )
    with torch.no_grad():
        expected = subject.unfolded(subject.x).float()
    gap = (subject.logits(subject.x) - expected).abs().max().item()
    largest = subject.logits(subject.x).abs().max().item()
    sentence = f"folded and unfolded logits differ by at most {gap:.1g}"
    return Answer(raised_if(gap > ALLOWED_GAP * (1 + largest)), sentence, {"gap": gap})


@question(
    reason=(
        "An untargeted attack with small steps follows a mixture of all wrong classes and may "
        "reach none of them. An attack on one class at a time reaches it."
    ),
    remedy=("Report the accuracy under a suite with targeted attacks, for example oatlib.Suite()."),
)
def targeted(subject: Subject) -> Answer:
    """Detect that a targeted attack fools many images that PGD-20 misses.

    The targeted attack consists of three runs of ten steps, on the same images.

    Raised if, with 95 % confidence, it fools more than ALLOWED_MISSES (5 %) of the images in
    addition. On honest networks that were trained for five epochs it fooled 1 to 6 % more. On
    networks that had overfitted to a two-step attack it fooled 10 to 20 % more.

    Evidence:
        pgd: Fraction of the images that PGD-20 fools.
        only_targeted: Fraction that the targeted attack fools and PGD-20 does not.
        only_pgd: Fraction that PGD-20 fools and the targeted attack does not. It is measured only
            if the question would be raised without it, and is 0 otherwise.
    """
    n = len(subject.y)
    attack = subject.short_targeted()
    by_pgd = subject.fooled(subject.pgd())
    by_targeted = subject.fooled(attack, among=~by_pgd & subject.within_reach)
    only_targeted = by_targeted.double().mean().item()
    only_pgd = 0.0
    if clearly_above(only_targeted, only_pgd, n, ALLOWED_MISSES):
        missed = by_pgd & ~subject.fooled(attack, among=by_pgd)
        only_pgd = missed.double().mean().item()
    verdict = raised_if(clearly_above(only_targeted, only_pgd, n, ALLOWED_MISSES))
    pgd = by_pgd.double().mean().item()
    sentence = f"PGD-20 fools {pgd:.1%}, a short targeted attack fools another {only_targeted:.1%}"
    evidence = {"pgd": pgd, "only_targeted": only_targeted, "only_pgd": only_pgd}
    return Answer(verdict, sentence, evidence)


@question(
    reason="Training against a weak attack can teach a network to resist only that attack.",
    remedy=(
        "Train with more steps on a ball of radius eps, and monitor the accuracy under a strong "
        "attack during training."
    ),
)
def training_attack(subject: Subject) -> Answer:
    """Detect a network that has learned to resist only the attack it was trained against.

    Compares the attack of training, at the eps of the audit, with the suite and PGD-20. The attack
    of training keeps its number of steps, and the ratio of its step to the radius of its ball. (In
    training the radius was eps x margin.) Accuracy is that of its last iterate, as in training.

    Raised if two conditions hold. The accuracy is above that under PGD-20 by more than chance. And,
    with 95 % confidence, it is more than ALLOWED_OVERFIT (20 points) above that under the suite.

    Networks trained with PGD-3 on the plain ball keep 2 to 15 points more than under the suite.
    Networks that had overfitted to PGD-2 on a ball of 1.25 eps keep 48 to 62 points more between
    the ends of the dial. At λ = 1, where they had not overfitted, they keep 2 to 9 points more.

    Not applicable if the network was not trained against an attack, or if that attack is not known.

    Evidence:
        training_attack: Accuracy under the attack of training.
        pgd: Robust accuracy under PGD-20.
        suite: Robust accuracy under the suite.
        steps: Number of steps of the attack of training.
        step_size: Length of its step at the eps of the audit, in pixel units.
    """
    preset = subject.training_preset
    attack = None if preset is None else preset.attack()
    if attack is None or not attack.eps:
        return not_applicable("not asked, because no attack of training is known")
    step_size = attack.step_length * subject.eps / attack.eps
    attack = replace(attack, eps=subject.eps, step_size=step_size, eot_samples=subject.eot_samples)
    accuracy = subject.accuracy_at_result_of(attack)
    pgd = subject.accuracy_under(subject.pgd())
    above_pgd = accuracy - pgd > subject.slack
    # Images that the attack of training fools and the suite does not are rare: count them as 0.
    above_suite = clearly_above(accuracy - subject.robust, 0.0, len(subject.y), ALLOWED_OVERFIT)
    sentence = (
        f"the attack of training ({attack}) leaves {accuracy:.1%}, PGD-20 {pgd:.1%}, the suite "
        f"{subject.robust:.1%}"
    )
    evidence = {
        "training_attack": accuracy,
        "pgd": pgd,
        "suite": subject.robust,
        "steps": attack.steps,
        "step_size": step_size,
    }
    return Answer(raised_if(above_pgd and above_suite), sentence, evidence)


def _loss_gradient(subject: Subject) -> Tensor:
    """Return the gradient (N, ...) of the cross-entropy with respect to the images."""
    with attacking(subject.f):
        _, gradient = logits_and_gradient(
            subject.f,
            subject.x,
            lambda logits: cross_entropy(logits, subject.y),
            subject.eot_samples,
        )
        return gradient()


def _margin_loss(subject: Subject, x: Tensor) -> Tensor:
    """Return the margin loss (N,) of the mean logits over the samples of a random function.

    The margin does not saturate. The cross-entropy of a very confident network is 0 on both sides.
    """
    return margin_loss(mean_logits(subject.f, x, subject.eot_samples).float(), subject.y)


def _compare_attacks(
    subject: Subject,
    weaker: Attack,
    stronger: Attack,
    weaker_name: str,
    stronger_name: str,
    seed: int | None = None,
) -> Answer:
    """Compare two attacks: a fault is found if the weaker one fools clearly more of the images.

    The stronger attack first gets only the images that the weaker one fools. If it misses few of
    them, it cannot be far behind, and the other images need no attack.

    Args:
        subject: The function under audit.
        weaker: The attack that should be weaker.
        stronger: The attack that should be stronger.
        weaker_name: Name of `weaker` in the sentence.
        stronger_name: Name of `stronger` there.
        seed: Seed of the stronger attack (default: that of the audit).

    Returns:
        The answer. Its evidence is described in `one_step`.
    """
    by_weaker = subject.fooled(weaker)
    missed = by_weaker & ~subject.fooled(stronger, among=by_weaker, seed=seed)
    by_weaker_fraction = by_weaker.double().mean().item()
    evidence = {"weaker": by_weaker_fraction, "missed": missed.double().mean().item()}
    if evidence["missed"] <= subject.slack:
        sentence = (
            f"{weaker_name} fools {by_weaker_fraction:.1%}, of which {stronger_name} misses "
            f"{missed.sum().item()} images"
        )
        return Answer(Verdict.PASSED, sentence, evidence)
    by_stronger_fraction = subject.fooled(stronger, seed=seed).double().mean().item()
    evidence["stronger"] = by_stronger_fraction
    sentence = (
        f"{weaker_name} fools {by_weaker_fraction:.1%}, {stronger_name} fools "
        f"{by_stronger_fraction:.1%}"
    )
    verdict = raised_if(by_weaker_fraction - by_stronger_fraction > subject.slack)
    return Answer(verdict, sentence, evidence)
