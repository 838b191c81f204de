"""Exercises of lesson 00: when to believe the drawn shape, and a dial made of two networks."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ...attacks.accuracy import correct_at_every_point
from ...attacks.suite import Suite
from ...data.load import Data, load_data
from ...data.shapes import best_frontier
from ...evaluation.baselines import coin
from ...evaluation.results import wilson
from ...explorer.shipped import FOLDER
from ...networks.network import load
from .. import rules
from ..rules import EPS, Classifier
from . import Wrong, exercise, same

LEVEL = 0.95  # clean accuracy that a rule must keep
N = 128  # test images that a rule is measured on
MARGIN = 0.13  # how far below the best possible robust accuracy at LEVEL a rule may stay


@cache
def _known() -> tuple[Data, Classifier, Classifier]:
    """The data set, and the two networks that a rule chooses between."""
    data = load_data("shapes", seed=0)
    standard, robust = (load(FOLDER / f"{name}.safetensors") for name in ("standard", "pgd-at"))
    return data, standard.at(), robust.at()


# ---- the checks ----------------------------------------------------------------------------------


@exercise(rules.trust_of, "oatlib.course.rules.trust_of")
def trust_of(theirs) -> None:
    """vividness (N,), trust of the palest shape, full -> trust (N,)."""
    vividness = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
    want = rules.trust_of(vividness, 0.3, 0.5)
    got = theirs(vividness.clone(), 0.3, 0.5)
    same(got[:1] if isinstance(got, Tensor) and got.ndim else got, want[:1], "at vividness 0 the "
         "trust should be `lowest`.")  # fmt: skip
    if got.shape == want.shape and got.max() > 1:
        raise Wrong("a probability cannot exceed 1: limit it with .clamp(max=1).")
    if got.shape == want.shape and abs(got[3].item() - 1) > 1e-5:
        raise Wrong(
            f"at vividness `full` the trust should be 1, and not {got[3].item():.3g}: divide the "
            "vividness by `full`, and rise from `lowest` to 1."
        )
    same(got, want, "between 0 and `full` the trust should rise along a straight line.")


@exercise(rules.clean_and_robust, "oatlib.course.rules.clean_and_robust")
def clean_and_robust(theirs) -> None:
    """believes (N,) bool, right (N,) probabilities -> (clean accuracy, robust accuracy)."""
    believes = torch.tensor([True, True, True, False, False, True, False, True])
    right = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 1.0])
    want = rules.clean_and_robust(believes, right)
    got = theirs(believes.clone(), right.clone())
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("it should return two numbers: clean accuracy, robust accuracy.")
    if any(isinstance(value, Tensor) and value.numel() != 1 for value in got):
        raise Wrong("each accuracy should be one number, the mean over the images.")
    clean, robust = (float(value) for value in got)
    if abs(clean - want[1]) < 1e-6 and abs(robust - want[0]) < 1e-6:
        raise Wrong("the two numbers are in the wrong order: clean accuracy comes first.")
    if abs(clean - want[0]) > 1e-6:
        raise Wrong(
            f"clean accuracy should be {want[0]:.4g} here, and not {clean:.4g}: without an attack "
            "the texture is always right, the shape with probability `right`."
        )
    if abs(robust - want[1]) > 1e-6:
        if abs(robust - right.mean().item()) < 1e-6:
            raise Wrong("robust accuracy: where the rule reads the texture, the attack wins.")
        raise Wrong(
            f"robust accuracy should be {want[1]:.4g} here, and not {robust:.4g}: under attack the "
            "texture is always wrong, the shape is right with probability `right`."
        )


@exercise(rules.believe_shape, "oatlib.course.rules.believe_shape")
def believe_shape(theirs) -> None:
    """trust (N,), lam -> where to believe the shape, bool (N,)."""
    trust = torch.tensor([0.3, 0.55, 0.65, 0.75, 0.95, 1.0])
    got = theirs(trust.clone(), 0.4)
    if not isinstance(got, Tensor) or got.shape != trust.shape or got.dtype != torch.bool:
        raise Wrong(f"it should return a tensor of {len(trust)} times True or False.")
    want = rules.believe_shape(trust, 0.4)
    if torch.equal(got, ~want):
        raise Wrong("it believes the shape exactly where the texture has the higher score.")
    if torch.equal(got, trust > 0.4):
        raise Wrong(
            "it compares the trust with λ. The score of the texture is 1 - λ: it counts only "
            "unattacked images."
        )
    if got.all() or not got.any():
        raise Wrong(
            "at λ = 0.4 it treats all images alike. Compare the two scores for every image."
        )
    if not torch.equal(got, want):
        raise Wrong(
            f"at λ = 0.4 it should believe shapes of trust {trust[want].tolist()}, and believes "
            f"{trust[got].tolist()}."
        )
    if theirs(trust.clone(), 0.0).any():
        raise Wrong("at λ = 0 nobody attacks, so it should always believe the texture: use >.")
    if not theirs(trust.clone(), 1.0).all():
        raise Wrong("at λ = 1 every image is attacked, so it should always believe the shape.")


@exercise(rules.curve, "oatlib.course.rules.curve")
def curve(theirs) -> None:
    """trust (N,), lams, believe_shape, clean_and_robust -> list of (clean, robust)."""
    trust = torch.tensor([0.3, 0.55, 0.65, 0.75, 0.95, 1.0])
    lams = [0.0, 0.1, 0.4, 1.0]
    got = theirs(trust.clone(), list(lams), rules.believe_shape, rules.clean_and_robust)
    want = rules.curve(trust, lams, rules.believe_shape, rules.clean_and_robust)
    if not isinstance(got, list | tuple):
        raise Wrong("it should return a list of pairs (clean, robust), one for each λ.")
    if len(got) != len(lams):
        raise Wrong(f"it should return {len(lams)} points, one for each λ, and returns {len(got)}.")
    if any(not isinstance(point, tuple | list) or len(point) != 2 for point in got):
        raise Wrong("each point should be a pair: what clean_and_robust returns.")
    differs = [i for i in range(len(lams)) if abs(got[i][0] - want[i][0]) > 1e-6]
    if differs:
        raise Wrong(
            f"at λ = {lams[differs[0]]:g} clean accuracy should be {want[differs[0]][0]:.4g}, and "
            f"not {got[differs[0]][0]:.4g}: call both functions again for every λ, with the trust."
        )
    if any(abs(a[1] - b[1]) > 1e-6 for a, b in zip(got, want, strict=True)):
        raise Wrong("clean accuracy is right at every λ, robust accuracy is not.")


@exercise(rules.toss, "oatlib.coin")
def toss(theirs) -> None:
    """first (clean, robust), second (clean, robust), p -> (clean, robust) of the coin."""
    first, second = (1.0, 0.0), (0.8, 0.6)
    got = theirs(first, second, 0.25)
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("it should return two numbers: clean accuracy, robust accuracy.")
    got = tuple(float(value) for value in got)
    want, swapped = rules.toss(first, second, 0.25), rules.toss(second, first, 0.25)
    if max(abs(a - b) for a, b in zip(got, swapped, strict=True)) < 1e-6:
        raise Wrong("p is the probability of the second rule, and not of the first.")
    if max(abs(a - b) for a, b in zip(got, rules.toss(first, second, 0.5), strict=True)) < 1e-6:
        raise Wrong("it is the plain mean of both rules: weigh them with 1 - p and p.")
    if abs(got[0] - want[0]) > 1e-6:
        raise Wrong(f"clean accuracy should be {want[0]:.4g} here, and not {got[0]:.4g}.")
    if abs(got[1] - want[1]) > 1e-6:
        raise Wrong(
            f"clean accuracy is right. Robust accuracy should be {want[1]:.4g} here, and not "
            f"{got[1]:.4g}: it is a mean as well."
        )


@exercise(rules.two_networks, "oatlib.course.rules.two_networks")
def two_networks(theirs) -> None:
    """x, believes (N,) bool, standard, robust -> logits (N, classes)."""
    x = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    believes = torch.tensor([True, False, True, True, False, False])

    def standard(z):
        return z.flatten(1)[:, :5]

    def robust(z):
        return -z.flatten(1)[:, 5:10]

    got = theirs(x, believes, standard, robust)
    want = rules.two_networks(x, believes, standard, robust)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if torch.equal(got, rules.two_networks(x, ~believes, standard, robust)):
            raise Wrong("the networks are swapped: `robust` reads the shape.")
        if torch.allclose(got, (standard(x) + robust(x)) / 2):
            raise Wrong("it averages both networks. Choose one of them for every image.")
        if torch.equal(got, robust(x)) or torch.equal(got, standard(x)):
            raise Wrong("it always asks the same network, whatever `believes` says.")
    same(got, want, "it should return, for every image, the logits of the network it chooses.")


@exercise(rules.how_vivid, "oatlib.course.rules.how_vivid")
def how_vivid(theirs) -> str:
    """x (N, 3, H, W) -> one score per image, (N,): the higher, the more vivid its shape."""
    data, standard, robust = _known()
    x, vividness = data.val.x[:64], data.val.facts["vividness"][:64]
    score = theirs(x.clone())
    _check_score(theirs, x, score, vividness)
    result = rules.measure_rule(theirs, rules.two_networks, standard, robust, data, LEVEL, N)
    panel = data.test.panel(N)
    with torch.no_grad():
        standard_clean = (standard(panel.x).argmax(1) == panel.y).double().mean().item()
        robust_clean = (robust(panel.x).argmax(1) == panel.y).double().mean().item()
    attack, generator = Suite(EPS, budget="quick"), torch.Generator().manual_seed(0)
    _, kept = correct_at_every_point(robust, panel.x, panel.y, attack, generator)
    ends = (standard_clean, 0.0), (robust_clean, kept.double().mean().item())
    tossed = coin(*ends, min(result.clean, standard_clean)) or 0.0
    best = max(p.robust for p in best_frontier([i / 200 for i in range(201)]) if p.clean >= LEVEL)
    # what the true vividness would reach, which no attack can change
    true_scores = data.val.facts["vividness"]
    with torch.no_grad():
        lowest = rules.choose_threshold(lambda _: true_scores, standard, robust, data.val, LEVEL)
    ideal = (kept & (panel.facts["vividness"] > lowest)).double().mean().item()
    low, high = wilson(round(result.robust * result.n), result.n)
    measured = (
        f"Chosen for clean accuracy {LEVEL:.0%} on validation images, your rule has clean "
        f"{result.clean:.1%} and robust at most {result.robust:.1%} ({low:.1%} to {high:.1%}, n = "
        f"{result.n} test images). The coin at that clean accuracy: {tossed:.1%}. The same rule "
        f"with the true vividness, which no attack changes: {ideal:.1%}. Best possible at "
        f"{LEVEL:.0%}: {best:.1%}."
    )
    if result.robust < best - MARGIN:
        most = f"To pass, be at most {100 * MARGIN:.0f} points below the best possible."
        raise Wrong(f"the score is valid, but too weak. {measured} {most}")
    return measured


def _check_score(theirs, x: Tensor, score, vividness: Tensor) -> None:
    """Raise Wrong if a score cannot order images by their vividness."""
    if not isinstance(score, Tensor) or score.shape != (len(x),):
        shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
        raise Wrong(
            f"it should return one number per image, shape ({len(x)},), but returns {shape}."
        )
    if score.float().std() < 1e-6:
        raise Wrong("it gives every image the same score, so it cannot order them.")
    if not torch.allclose(theirs(x[:4].clone()).float(), score[:4].float(), atol=1e-5):
        raise Wrong("the score of an image depends on the other images of its batch.")
    if not torch.allclose(theirs(1 - x).float(), score.float(), atol=1e-3):
        raise Wrong(
            "a dark shape should score as high as an equally strong bright one: take the absolute "
            "difference to grey (0.5)."
        )
    pairs = torch.stack([score.detach().float(), vividness])
    agreement = torch.corrcoef(pairs)[0, 1].item()
    if agreement < 0:
        raise Wrong("it gives faint shapes the higher score: turn the sign around.")
    if agreement < 0.3:
        raise Wrong(
            f"the score has little to do with the vividness: their correlation is {agreement:.2f}."
        )
