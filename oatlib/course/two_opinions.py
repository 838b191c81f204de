"""A defence that passes every standard question and is not robust, for lesson 10b.

`TwoOpinions` chooses a network for each image: the accurate network decides where it is sure, and
the robust network everywhere else. Attacks see the gradient of the robust network only. They turn
the accurate network unsure, and then find what they would find in the robust network alone. An
attack made for this defence keeps the accurate network sure, of a wrong class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.base import Attack
from ..attacks.pgd import FGSM, PGD
from ..attacks.square import Square
from ..attacks.suite import Suite
from ..attacks.transfer import Transfer
from ..auditing.report import audit
from ..data.load import load_data
from ..data.splits import Split
from ..explorer.shipped import FOLDER
from ..networks.network import load
from .frauds import _noisy, _quantised, _saturated, _shattered

EPS = 8 / 255
SURE, VETO, VOTE = 0.9, 0.02, 8.0

Answer = Callable[[Tensor], Tensor]  # from images to logits


class TwoOpinions:
    """A function from images to logits that chooses between two networks for each image.

    Args:
        accurate: The accurate network, from images to logits.
        robust: The robust network.
        sure: The accurate network decides if its largest probability is above this.
        veto: And if the robust network gives its class at least this probability.
        vote: What is added to the logit of the class that the accurate network votes for.
    """

    def __init__(
        self,
        accurate: Answer,
        robust: Answer,
        sure: float = SURE,
        veto: float = VETO,
        vote: float = VOTE,
    ):
        self.accurate, self.robust = accurate, robust
        self.sure, self.veto, self.vote = sure, veto, vote

    def decides(self, x: Tensor) -> Tensor:
        """Return (N,) True where the accurate network decides."""
        with torch.no_grad():
            return self._vote(x, self.robust(x))[1]

    def __call__(self, x: Tensor) -> Tensor:
        logits = self.robust(x)  # (N, classes)
        with torch.no_grad():
            label, decides = self._vote(x, logits)
            ballot = F.one_hot(label, logits.shape[1]) * decides[:, None]
        return logits + self.vote * ballot

    def _vote(self, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class of the accurate network, and whether it decides, both (N,)."""
        best, label = self.accurate(x).softmax(1).max(1)
        support = logits.softmax(1).gather(1, label[:, None])[:, 0]
        return label, (best > self.sure) & (support > self.veto)


def two_opinions() -> TwoOpinions:
    """Return the defence of lesson 10b: the accurate end of `oat` beside `pgd-at`."""
    oat, robust = (load(FOLDER / f"{name}.safetensors") for name in ("oat", "pgd-at"))
    return TwoOpinions(oat.at(0.0), robust.at(1.0))


def adaptive_attack(defence: TwoOpinions, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return images that an attack made for `TwoOpinions` has changed.

    It aims at one wrong class in both networks, so that the accurate one is sure of it and the
    robust one does not veto it.

    Args:
        defence: The defence.
        x: Images (N, C, H, W).
        y: Labels (N,).
        eps: Radius of the ball, in pixel units.

    Returns:
        Images of the same shape, unchanged where the attack did not fool the defence.
    """
    result = x.clone()
    wrong = defence.accurate(x).scatter(1, y[:, None], -torch.inf).topk(3, 1).indices
    for target in wrong.T:
        x_adv = x.clone()
        for _ in range(20):
            x_adv.requires_grad_()
            loss = -F.cross_entropy(defence.accurate(x_adv), target, reduction="sum")
            loss = loss - F.cross_entropy(defence.robust(x_adv), target, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x_adv)
            moved = x_adv.detach() + eps / 4 * gradient.sign()
            x_adv = (x + (moved - x).clamp(-eps, eps)).clamp(0, 1)
        fooled = defence(x_adv).argmax(1) != y
        result[fooled] = x_adv[fooled]
    return result


# --- the record of lesson 10b ---

N = 96


def measured(n: int = N) -> dict:
    """Audit the defence with the long suite, and attack all models of the gallery: 5 minutes."""
    return {"audit": audited(n), "claimed": claimed(), "gallery": measured_gallery(n)}


def claimed(n: int = 4 * N) -> dict:
    """Return the clean accuracy of the defence and that under PGD-20, on more images."""
    panel, f = load_data("shapes", seed=0).val.panel(n), two_opinions()
    robust = _left(f, PGD(EPS, 20)(f, panel.x, panel.y, _source()), panel)
    return {"n": n, "clean": _left(f, panel.x, panel), "robust": robust}


def audited(n: int = N) -> dict:
    """Return what `oatlib.audit` with the long suite finds in the defence."""
    panel = load_data("shapes", seed=0).val.panel(n)
    report = audit(two_opinions(), panel, n=n, progress=False)
    return {
        "n": report.n,
        "clean": round(report.clean, 4),
        "claim": round(report.claim.value, 4),
        "robust": round(report.robust, 4),
        "raised": [finding.name for finding in report.raised],
        "questions": len(report.findings),
    }


def models(split: Split) -> list[dict]:
    """Return the models of the gallery: honest networks, frauds and the defence of the lesson."""
    nets = {name: load(FOLDER / f"{name}.safetensors") for name in ("standard", "oat", "pgd-at")}
    oat, standard = nets["oat"], nets["standard"].at(0.0)
    return [
        _model(
            "quantised input, in front of oat at λ = 0.2",
            False,
            _quantised(oat.at(0.2), split).f,
            behind=oat.at(0.2),
        ),
        _model("oat at λ = 1", True, oat.at(1.0)),
        _model("saturated logits of oat at λ = 0.3", False, _saturated(oat.at(0.3), split).f),
        _model("the defence of this lesson", False, two_opinions()),
        _model("oat at λ = 0.3", True, oat.at(0.3)),
        _model("noise in front of the standard network", False, _noisy(standard, split, 0).f),
        _model("pgd-at, one robust network", True, nets["pgd-at"].at(1.0)),
        _model(
            "a ripple in front of oat at λ = 0.1",
            False,
            _shattered(oat.at(0.1), split).f,
            behind=oat.at(0.1),
        ),
    ]


def _model(name: str, honest: bool, f: Answer, behind: Answer | None = None) -> dict:
    """Return an entry of the gallery. `behind` is the network without the line in front of it."""
    return {"name": name, "honest": honest, "f": f, "behind": behind}


def gallery_attacks(elsewhere: Answer) -> dict[str, Attack]:
    """Return the attacks that players can run, by name.

    Args:
        elsewhere: The network on which the transfer attack is made.
    """
    return {
        "half a step of FGSM": FGSM(EPS / 2),
        "PGD-20, EOT over 5": PGD(EPS, 20, eot_samples=5),
        "PGD-20, logits / 10,000": PGD(EPS, 20),
        "Square, 300": Square(EPS, 300),
        "PGD-20 from another network": Transfer(elsewhere, PGD(EPS, 20), "standard"),
        "quick suite": Suite(EPS, budget="quick"),
    }


def measured_gallery(n: int = N) -> dict:
    """Run every attack of the gallery on every model, and the best attack that is known for it."""
    panel = load_data("shapes", seed=0).val.panel(n)
    standard = load(FOLDER / "standard.safetensors").at(0.0)
    rows = []
    for letter, model in zip("ABCDEFGH", models(panel), strict=True):
        f, behind = model.pop("f"), model.pop("behind")
        found = {}
        for name, attack in gallery_attacks(standard).items():
            target = (lambda x, f=f: f(x) / 1e4) if "10,000" in name else f
            found[name] = _left(f, attack(target, panel.x, panel.y, _source()), panel)
        claim = _left(f, PGD(EPS, 20)(f, panel.x, panel.y, _source()), panel)
        best = min(*found.values(), claim)
        if isinstance(f, TwoOpinions):
            best = min(best, _left(f, adaptive_attack(f, panel.x, panel.y, EPS), panel))
        if behind is not None:  # attack the network, and show the images to the whole model
            suite = Suite(EPS, budget="quick")
            best = min(best, _left(f, suite(behind, panel.x, panel.y, _source()), panel))
        about = {"letter": letter, **model, "clean": _left(f, panel.x, panel), "claim": claim}
        rows.append(about | {"found": found, "robust": best})
    return {"n": n, "seed": 1, "split": "val", "models": rows}


def _source() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _left(f: Answer, x_adv: Tensor, split: Split) -> float:
    """Return the share of images on which f is right, before and after an attack."""
    with torch.no_grad():
        right = (f(split.x).argmax(1) == split.y) & (f(x_adv).argmax(1) == split.y)
    return round(right.double().mean().item(), 4)
