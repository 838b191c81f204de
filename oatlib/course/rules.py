"""Rules that choose a cue for every image: the solutions of lesson 00, and how a rule is measured.

A rule believes the drawn shape of an image or its texture. Made of two networks, it lets the robust
one answer where the shape is believed, else the standard one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.accuracy import correct_at_every_point
from ..attacks.apgd import APGD
from ..attacks.suite import Suite
from ..data.splits import Data, Split
from ..evaluation.evaluate import evaluate
from ..networks.mixing import mix
from ..networks.network import Network

EPS = 8 / 255  # radius of the attack, in pixel units
OF_MIX = (0.52, 0.55, 0.6, 0.7)  # λ of mixes; below 0.5 the standard network decides
SHAPE_PIXELS = (0.08, 0.12, 0.18)  # contrast above which the fading attack counts a pixel as shape

Classifier = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N, classes)
Pair = tuple[float, float]  # (clean, robust), accuracies in [0, 1]


# ---- the solutions of the exercises --------------------------------------------------------------


def trust_of(vividness: Tensor, lowest: float, full: float) -> Tensor:
    """Return the probability that a shape belongs to the class: `lowest` at vividness 0, 1 from
    vividness `full` on, and a straight line between, (N,).
    """
    return (lowest + (1 - lowest) * vividness / full).clamp(max=1)


def clean_and_robust(believes: Tensor, right: Tensor) -> Pair:
    """Return clean and robust accuracy of a rule.

    Args:
        believes: Where the rule believes the shape, bool (N,). Elsewhere it believes the texture,
            which is right on clean images and wrong on attacked ones.
        right: Probability that the shape is right, (N,).
    """
    clean = torch.where(believes, right, 1.0)
    robust = torch.where(believes, right, 0.0)
    return clean.mean().item(), robust.mean().item()


def believe_shape(trust: Tensor, lam: float) -> Tensor:
    """Return where the shape has a higher score than the texture, bool (N,).

    The score of an answer is (1 - λ) clean + λ robust. It is `trust` for the shape, and 1 - λ for
    the texture.
    """
    return trust > 1 - lam


def curve(
    trust: Tensor, lams: Sequence[float], believe_shape: Callable, clean_and_robust: Callable
) -> list[Pair]:
    """Return (clean, robust) at every λ."""
    return [clean_and_robust(believe_shape(trust, lam), trust) for lam in lams]


def toss(first: Pair, second: Pair, p: float) -> Pair:
    """Return (clean, robust) of a coin that lets the second rule answer with probability p."""
    clean = (1 - p) * first[0] + p * second[0]
    robust = (1 - p) * first[1] + p * second[1]
    return clean, robust


def two_networks(x: Tensor, believes: Tensor, standard: Classifier, robust: Classifier) -> Tensor:
    """Return the logits of `robust` where the shape is believed, else those of `standard`."""
    return torch.where(believes[:, None], robust(x), standard(x))


def how_vivid(x: Tensor) -> Tensor:
    """Return the largest contrast of a 2x2 neighbourhood with the grey background, (N,)."""
    smooth = F.avg_pool2d(x, 2, 1)  # (N, 3, 15, 15)
    contrast = (smooth - 0.5).abs().mean(1)  # (N, 15, 15)
    return contrast.flatten(1).amax(1)  # (N,)


# ---- how a rule on two networks is measured ------------------------------------------------------


class RuleResult(NamedTuple):
    """Accuracies of a rule that chooses between two networks for every image.

    Attributes:
        clean: Clean accuracy in [0, 1].
        robust: Robust accuracy in [0, 1] under the attacks of `measure_rule`.
        n: Number of images.
        threshold: Score above which the robust network answers.
    """

    clean: float
    robust: float
    n: int
    threshold: float


def measure_rule(
    score: Callable[[Tensor], Tensor],
    combine: Callable[[Tensor, Tensor, Classifier, Classifier], Tensor],
    standard: Classifier,
    robust: Classifier,
    data: Data,
    min_clean: float,
    n: int,
    eps: float = EPS,
) -> RuleResult:
    """Measure the rule "the robust network answers where the score of the image is high".

    The threshold is chosen on validation images, as low as `min_clean` allows. Accuracies are those
    on test images. An image counts as robust if the rule classifies it correctly unchanged, at
    every point of the quick suite, and under an attack that lowers the score by fading the shape.

    Args:
        score: Function from images (N, C, H, W) to scores (N,).
        combine: Function of images, where to ask the robust network (N,), and the two networks, to
            logits (N, classes): the exercise `two_networks`.
        standard: The network that answers below the threshold.
        robust: The network that answers above it.
        data: The data set.
        min_clean: Clean accuracy to keep on the validation images, in [0, 1].
        n: Largest number of test images.
        eps: L-infinity radius of the attacks, in pixel units.
    """
    with torch.no_grad():
        threshold = choose_threshold(score, standard, robust, data.val, min_clean)
    panel = data.test.panel(min(n, len(data.test)))
    x, y = panel.x, panel.y

    def rule(z: Tensor) -> Tensor:
        return combine(z, score(z) > threshold, standard, robust)

    suite = Suite(eps, budget="quick")
    clean, correct = correct_at_every_point(rule, x, y, suite, torch.Generator().manual_seed(0))
    left = correct.nonzero()[:, 0]
    if len(left):
        correct[left] = _correct_when_faded(rule, standard, x[left], y[left], eps)
    return RuleResult(
        clean.double().mean().item(), correct.double().mean().item(), len(y), threshold
    )


def _correct_when_faded(
    rule: Classifier, standard: Classifier, x: Tensor, y: Tensor, eps: float
) -> Tensor:
    """Return whether each image survives an attack on the score and the standard network, (N,)."""
    correct = torch.ones_like(y, dtype=torch.bool)
    for x_adv in faded_images(standard, x, y, eps):
        with torch.no_grad():
            correct &= rule(x_adv).argmax(1) == y
    return correct


def faded_images(standard: Classifier, x: Tensor, y: Tensor, eps: float) -> list[Tensor]:
    """Return images with a fainter shape, attacked for rules that look at the shape.

    The shape fades by eps, so that the standard network answers. The pixels around the shape attack
    that network. Where the shape is taken to end differs between the entries (SHAPE_PIXELS).

    Args:
        standard: The network that answers where the shape is faint.
        x: Images (N, C, H, W).
        y: Labels (N,).
        eps: L-infinity radius, in pixel units.
    """
    contrast = x - 0.5
    faded = 0.5 + contrast.sign() * (contrast.abs() - eps).clamp(min=0)
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strength = (smooth - 0.5).abs().mean(1, keepdim=True)  # (N, 1, H, W)
    made = []
    for limit in SHAPE_PIXELS:
        is_shape = strength > limit

        def faded_shape(z: Tensor, is_shape: Tensor = is_shape) -> Tensor:
            return standard(torch.where(is_shape, faded, z))

        generator = torch.Generator().manual_seed(0)
        around = APGD(eps, 10)(faded_shape, x, y, generator)
        made.append(torch.where(is_shape, faded, around))
    return made


def measure_several(nets: Mapping[str, Network], data: Data, suite: Suite, n: int = 1024) -> dict:
    """Measure some networks, and the mix of `standard` and `pgd-at`, on test images.

    Args:
        nets: Networks by name, with `standard` and `pgd-at`.
        data: The data set.
        suite: The attack.
        n: Number of images.

    Returns:
        The results by name of the network, ready for JSON.
    """
    panel = data.test.panel(min(n, len(data.test)))
    measured = {
        name: evaluate(net, panel, suite, progress=False).as_json() for name, net in nets.items()
    }
    both = mix(nets["standard"], nets["pgd-at"])
    measured["mix"] = evaluate(both, panel, suite, OF_MIX, progress=False).as_json()
    return measured


def choose_threshold(
    score: Callable[[Tensor], Tensor],
    standard: Classifier,
    robust: Classifier,
    split: Split,
    min_clean: float,
) -> float:
    """Return the lowest score from which on the robust network may answer.

    Args:
        score: Function from images (N, C, H, W) to scores (N,).
        standard: The network that answers for lower scores.
        robust: The network that answers for higher scores.
        split: The images to choose on.
        min_clean: Clean accuracy to keep on them, in [0, 1].

    Returns:
        A threshold. Infinity if only the standard network is accurate enough, or neither is.
    """
    scores, order = score(split.x).float().sort(descending=True)
    by_robust = (robust(split.x).argmax(1) == split.y)[order].double()
    by_standard = (standard(split.x).argmax(1) == split.y)[order].double()
    # Entry k: correct answers if the robust network gets the k + 1 images with the highest scores
    correct = by_robust.cumsum(0) + by_standard.sum() - by_standard.cumsum(0)
    enough = (correct >= min_clean * len(split)).nonzero()[:, 0]
    if not len(enough):
        return float("inf")
    last = int(enough.max())
    if last + 1 == len(split):
        return float("-inf")
    return scores[last + 1].item()
