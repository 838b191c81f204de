"""What one asks before one believes in robustness: each question fails in its own way where a measurement flatters.

A question is a function of a `Subject`; it says whether it found something, with the numbers that show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .attacks import FGSM, PGD
from .evaluate import wilson
from .guard import NoGradientError, attacking
from .moves import LOSSES
from .subject import Subject
from .suite import NOBODY
from .transfer import Transfer

TINY = 1e-16  # a gradient below it is lost in the rounding of the network
HUGE = 0.5  # an attack of that size may paint every pixel grey
LEFT = 0.05  # accuracy that may be left there
RELIEF = 1 / 255  # over which the slope is compared with the loss itself


@dataclass(frozen=True)
class Check:
    """One question with its answer; `raised` None: it could not be asked, and `found` says why."""

    name: str
    raised: bool | None
    found: str
    evidence: dict
    why: str
    todo: str


@dataclass(frozen=True)
class Question:
    """`ask(subject) -> (raised, found, evidence)`; `why` it matters where it is raised, and what `todo` then."""

    name: str
    ask: Callable[[Subject], tuple[bool | None, str, dict]]
    why: str
    todo: str

    def __call__(self, subject: Subject) -> Check:
        try:
            raised, found, evidence = self.ask(subject)
        except NoGradientError as error:  # the question about gradients raises it by name
            raised, found, evidence = None, f"could not be asked: {error}", {}
        return Check(self.name, raised, found, evidence, self.why, self.todo)


QUESTIONS: list[Question] = []


def question(why: str, todo: str):
    """Add a function to QUESTIONS, under its name."""

    def add(ask):
        QUESTIONS.append(Question(ask.__name__, ask, why, todo))
        return ask

    return add


@question("Attacks that need eval mode, and users who deploy it, meet another function than the one that was measured.",
          "Call .eval() before measuring, and leave it on.")  # fmt: skip
def mode(s: Subject):
    parts = [type(m).__name__ for m in s.f.modules() if m.training] if isinstance(s.f, nn.Module) else []
    own = [name for name in parts if any(kind in name for kind in ("Norm", "Drop"))]
    found = f"{len(parts)} parts are in train mode" if parts else "nothing is in train mode"
    return bool(parts), found, {"parts": len(parts), "kinds": sorted(set(own or parts))[:5]}


@question("The loss of an attack needs logits. Of probabilities its slope is flat wherever the network is sure.",
          "Return what goes into the softmax, not what comes out of it.")  # fmt: skip
def logits(s: Subject):
    z = s.answers(s.x)
    sums = bool((z >= 0).all() and torch.allclose(z.sum(1), torch.ones_like(z[:, 0]), atol=1e-3))
    return sums, "the outputs are probabilities" if sums else "the outputs are logits", {"largest": z.max().item()}


@question("An attack that sees one draw of the randomness climbs noise, and a single lucky draw counts as a defence.",
          "Attack the average over draws (EOT): draws=10 or more, and measure accuracy over draws, too.")  # fmt: skip
def randomness(s: Subject):
    changed = (s.answers(s.x).argmax(1) != s.answers(s.x).argmax(1)).double().mean().item()
    evidence = {"labels that change": changed, "draws": s.draws}
    if s.random and s.draws == 1:
        found = "the same image gets another answer every time, and the attacks saw one draw at a time"
        evidence |= {"plain": s.left(s.pgd()), "eot": s.left(PGD(s.eps, 20, draws=10))}
        return True, found + f": {evidence['plain']:.1%} are left, {evidence['eot']:.1%} with EOT", evidence
    return False, f"random, attacked with EOT over {s.draws} draws" if s.random else "the same answer twice", evidence


@question("Gradient attacks stand still where there is no slope, whatever the network does a little further on.",
          "Attack with a loss that does not saturate (margin, DLR), and with Square.")  # fmt: skip
def gradients(s: Subject):
    try:
        slope = _slope(s)
    except NoGradientError as error:
        return True, str(error), {"gradient": None}
    size = slope.flatten(1).abs().amax(1)
    blind = (size < TINY).double().mean().item()
    found = (
        f"{blind:.1%} of the images have no gradient to speak of; its largest entry has a median of {size.median():.1e}"
    )
    return blind > 0.05, found, {"without": blind, "median": size.median().item()}


@question("A gradient that says nothing about the loss leads attacks astray: the loss is a staircase, or shattered.",
          "Put a smooth part in its place in the backward pass (BPDA), and attack with Square.")  # fmt: skip
def slope(s: Subject):
    if s.random and s.draws == 1:
        return None, "not asked: two looks at the same image differ; see randomness", {}
    grad = _slope(s).sign()
    with attacking(s.f), torch.no_grad():
        loss = [_losses(s, (s.x + step * grad).clamp(0, 1)) for step in (-RELIEF, RELIEF)]
    rising = (loss[1] > loss[0]).double().mean().item()
    found = (
        f"a step of 1/255 along the gradient raises the loss of {rising:.1%} of the images, against the same step back"
    )
    return rising < 0.9, found, {"rising": rising}


@question("Many steps can do all that one step can. If one does more, the many are lost, mostly without a gradient.",
          "Look at the loss along the steps; try other step sizes, random starts, and Square.")  # fmt: skip
def one_step(s: Subject):
    once, many = s.fooled(FGSM(s.eps, draws=s.draws)), s.fooled(s.pgd())
    return _paired(s, many, once, "FGSM", "PGD-20")


@question("Half the step of FGSM hurts more than the whole one: the mark of a network trained against one step only, "
          "which has bent its loss around exactly that step (catastrophic overfitting).",
          "Train against several steps, and watch the accuracy under PGD while training.")  # fmt: skip
def half_step(s: Subject):
    sign = _slope(s).sign()
    right = {share: (s.answers((s.x + share * s.eps * sign).clamp(0, 1)).argmax(1) == s.y).double().mean().item()
             for share in (0.25, 0.5, 0.75, 1.0)}  # fmt: skip
    worst = min(right, key=right.get)
    found = f"{right[1.0]:.1%} are right after the whole step, {right[worst]:.1%} after {worst:g} of it"
    return right[worst] < right[1.0] - max(0.05, s.slack), found, {str(k): v for k, v in right.items()}


@question("More steps of the same attack can only find more. If they find less, the attack is lost on the way.",
          "Take smaller steps, keep the best iterate, and look at the loss along the steps.")  # fmt: skip
def more_steps(s: Subject):
    return _paired(s, s.fooled(s.pgd(50)), s.fooled(s.pgd(10)), "PGD-10", "PGD-50")


@question("More starts of the same attack can only find more. If they find less, chance decides.",
          "Average over draws (EOT), and keep the best of all restarts.")  # fmt: skip
def restarts(s: Subject):
    one, five = s.left(s.pgd(10)), s.left(s.pgd(10, restarts=5))
    return five > one + s.slack, f"PGD-10 leaves {one:.1%}, with five starts {five:.1%}", {"1": one, "5": five}


@question("A larger ball contains the smaller one, so accuracy can only fall. If it rises, the attack is what fails.",
          "Use more steps for larger eps, and look for a gradient that vanishes.")  # fmt: skip
def larger_eps(s: Subject):
    left = {f"{k:g} eps": s.left(s.pgd(eps=min(1.0, k * s.eps))) for k in (0.5, 1, 2, 4)}
    values = list(left.values())
    rise = max(b - a for a, b in pairwise(values))
    told = ", ".join(f"{value:.1%} at {name}" for name, value in left.items())
    return rise > s.slack, f"PGD-20 leaves {told}", left


@question("An attacker who may repaint the image leaves nothing to recognise. What is still right was never attacked.",
          "Do not believe any number before this one is near 0.")  # fmt: skip
def huge_eps(s: Subject):
    left = s.left(s.pgd(50, HUGE))
    return left > LEFT, f"PGD-50 with eps = {HUGE:g} leaves {left:.1%}", {"left": left}


@question("Who only sees answers knows less than who sees weights. If he finds more, the gradients mislead.",
          "Find the part that hides the gradient; until then quote the lower number.")  # fmt: skip
def black_box(s: Subject):
    squares = [row for row in s.suite.rows() if row["attack"].startswith("Square")]
    if not squares or not s.suite.complete:
        return None, "not asked: the suite had no time for Square, or has none", {}
    more = squares[-1]["fooled"] / len(s.y)
    found = f"Square fools another {more:.1%} after the attacks with gradients"
    return more > s.slack, found, {"more": more, **squares[-1]}


@question("Images made on another network know nothing of this one. If they fool it where its own do not, its own "
          "gradients mislead.", "As for black_box.")  # fmt: skip
def transfer(s: Subject):
    if not s.sources:
        return None, "not asked: no other network was given (sources=)", {}
    safe = s.suite.fell == NOBODY
    more = {name: (s.fooled(Transfer(f, PGD(s.eps, 20), name)) & safe).double().mean().item()
            for name, f in s.sources.items()}  # fmt: skip
    name = max(more, key=more.get)
    return more[name] > s.slack, f"images made on {name} fool another {more[name]:.1%} that the suite could not", more


@question("The attack of the claim did not meet the network that answers: another branch, another λ, or a stand-in.",
          "Attack exactly the function that is deployed: net.at(lam, width).")  # fmt: skip
def same_function(s: Subject):
    if s.attacked is None:
        return None, "not asked: nothing was said about what the claim attacked (attacked=)", {}
    own = s.fooled(s.pgd())
    other = s.fooled(Transfer(s.attacked, PGD(s.eps, 20), "what the claim attacked"))
    return _paired(s, other, own, "the attack on what is deployed", "the attack of the claim")


@question("Attacks run on the folded network, users run the unfolded one, or the other way round: they must be one.",
          "This is a fault of the fold: tell those who made it.")  # fmt: skip
def folded(s: Subject):
    if s.whole is None:
        return None, "not asked: this is a plain function, or a λ between the stops, or random", {}
    with torch.no_grad():
        gap = (s.answers(s.x) - s.whole(s.x).float()).abs().max().item()
    scale = 1 + s.answers(s.x).abs().max().item()
    return gap > 1e-3 * scale, f"folded and unfolded logits differ by at most {gap:.1g}", {"gap": gap}


@question("A claim is about every attack there is. The strongest that was tried decides.",
          "Quote the accuracy under the suite, with the number of images.")  # fmt: skip
def claim(s: Subject):
    claimed, left = s.claim, s.suite.robust
    told = "" if claimed is None else f"{claimed:.1%} is claimed"
    if claimed is None:
        try:
            claimed = s.left(s.pgd())
            flatters = claimed > wilson(round(left * len(s.y)), len(s.y))[1]
            told = f"PGD-20 alone {'flatters: it leaves' if flatters else 'leaves'} {claimed:.1%}"
        except NoGradientError:
            claimed, told = s.suite.clean, "PGD-20 cannot run"
    raised = s.claim is not None and claimed - left > 0.03
    return raised, f"{told}, the suite leaves {left:.1%}", {"claimed": claimed, "suite": left}


def _slope(s: Subject) -> Tensor:
    with attacking(s.f):
        return FGSM(s.eps, draws=s.draws)._look(s.f, s.x, lambda z: LOSSES["ce"](z, s.y))[1]()


def _losses(s: Subject, x: Tensor) -> Tensor:
    """The margin does not saturate, where the cross-entropy of a sure network is 0 on both sides."""
    return LOSSES["margin"](sum(s.f(x).float() for _ in range(s.draws)) / s.draws, s.y)


def _paired(s: Subject, strong: Tensor, weak: Tensor, weaker: str, stronger: str) -> tuple[bool, str, dict]:
    """Raised if the weaker attack fools clearly more of the same images than the stronger."""
    numbers = {weaker: weak.double().mean().item(), stronger: strong.double().mean().item()}
    told = ", ".join(f"{name} fools {value:.1%}" for name, value in numbers.items())
    return numbers[weaker] - numbers[stronger] > s.slack, told, numbers
