"""Audit the robustness of a network: is it robust, or was it only measured with a weak attack?

`check` runs a suite of attacks and a list of questions. It returns a report with a verdict in one
sentence and the findings that the verdict rests on.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from ..attacks.suite import Suite, suited
from ..data.load import Data, Split
from ..evaluation.evaluate import NOISE_SAMPLES
from ..evaluation.results import wilson
from ..networks.network import Network
from ..training.presets import Preset
from .questions import QUESTIONS, Check, Question
from .subject import Subject


@dataclass(frozen=True)
class Report:
    """Result of `check`.

    Attributes:
        verdict: The result in one sentence.
        stands: True if no question raised a fault and every attack of the suite was tried.
        checks: One finding per question.
        clean: Clean accuracy, in [0, 1].
        robust: Robust accuracy under the suite, in [0, 1].
        low: Lower end of the 95 % Wilson interval of `robust`.
        high: Upper end of this interval.
        claim: The robust accuracy that was compared with `robust`, in [0, 1].
        n: Number of images.
        about: The attack, its seed, the setting of the network, and versions of software.
        raised: The findings that raised a fault (property).
    """

    verdict: str
    stands: bool
    checks: list[Check]
    clean: float
    robust: float
    low: float
    high: float
    claim: float
    n: int
    about: dict

    @property
    def raised(self) -> list[Check]:
        return [check for check in self.checks if check.raised]

    def save(self, path) -> None:
        """Write the report as JSON, or as a web page if the name ends in .html or .htm.

        Args:
            path: File to write. Its folder must exist.

        Raises:
            RecordError: The file cannot be written there.
        """
        if str(path).endswith((".html", ".htm")):
            record.write_bytes(path, self.html().encode())
        else:
            record.write_json(path, asdict(self))

    def __str__(self) -> str:
        lines = [self.verdict, ""]
        marks = {True: "RAISED", False: "ok", None: "-"}
        lines += [
            f"{marks[check.raised]:>6}  {check.name.replace('_', ' ')}: {check.found}"
            for check in self.checks
        ]
        for check in self.raised:
            lines += ["", f"{check.name.replace('_', ' ')}: {check.why} What to do: {check.todo}"]
        return "\n".join(
            [*lines, "", f"n = {self.n}, {self.about['attack']}, seed {self.about['seed']}"]
        )

    def _repr_html_(self) -> str:
        return _body(self)

    def html(self) -> str:
        """Return the report as a complete HTML page."""
        style = (
            "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        )
        title = "Is it robust?"
        return (
            '<!doctype html><html lang="en"><meta '
            f'charset="utf-8"><title>{title}</title><style>{style}</style>'
            f"<h1>{title}</h1>{_body(self)}</html>\n"
        )


def check(
    net: Network | Callable[[Tensor], Tensor],
    data: Data | Split,
    lam: float | None = None,
    width: float | None = None,
    *,
    eps: float = 8 / 255,
    claim: float | None = None,
    n: int = 256,
    seed: int = 0,
    draws: int | None = None,
    attacked: Callable[[Tensor], Tensor] | None = None,
    sources: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    seconds: float | None = None,
    progress: bool = True,
    claim_n: int | None = None,
    suite: Suite | None = None,
) -> Report:
    """Audit the robustness of a network at one setting, or of any function images -> logits.

    Args:
        net: A network, or any function from images (N, ...) to logits (N, classes).
        data: Images and labels: a data set, whose validation split is used, or a split.
        lam: Setting of the λ dial (default: the largest λ stop).
        width: Width of a slimmable network (default: 1).
        eps: Radius of the L-infinity ball, in pixel units.
        claim: The robust accuracy that is claimed for the network, in [0, 1] (default: the accuracy
            under PGD-20).
        n: Number of images. They are a subset of the split with class counts as equal as possible.
        seed: Seed of all attacks.
        draws: Samples of a random function that are averaged (EOT). Default: 10 if the weights of
            `net` are noisy at this λ, else 1.
        attacked: The function that was attacked to measure the claim, if it is another one.
        sources: Other functions to transfer attacks from, by name (default: the network itself at
            the two nearest other λ stops; none for a plain function).
        seconds: Time limit of the suite, in seconds.
        progress: Show a progress bar.
        claim_n: Number of images that the claim was measured on, if they are other images. Without
            it, a true claim measured on n other images is raised in 1 of 12 audits. With it, in 1
            of 40.
        suite: The suite of attacks (default: `Suite(eps, draws=draws)`).

    Returns:
        A report with a verdict, and one finding per question.

    Raises:
        ValueError: An argument is out of range, or does not fit the network.

    Example:
        >>> print(oatlib.check(net, data, lam=1.0, claim=0.75, claim_n=1024).verdict)
    """
    split = data.val if isinstance(data, Data) else data
    panel = split.panel(min(n, len(split)))
    _validate(eps, claim, claim_n, suite)
    f, whole, about, others = _deployed(net, lam, width, seed)
    noisy = isinstance(net, Network) and net.noise_at(about["lam"])
    draws = draws or (NOISE_SAMPLES if noisy else 1)
    suite = suited(Suite(eps, draws=draws) if suite is None else suite, f)
    if suite.draws != draws:
        raise ValueError(f"this function needs a suite with draws={draws}, got {suite.draws}")
    known = {"attacked": attacked, "sources": dict(others if sources is None else sources)}
    known |= {"whole": whole, "claim": claim, "claim_n": claim_n, "members": suite.attacks()}
    known |= {"trained": _training_preset(net, about["lam"])}
    with tqdm(total=1 + len(QUESTIONS), disable=not progress, leave=False, unit="question") as bar:
        bar.set_description("suite")
        generator = torch.Generator(panel.x.device).manual_seed(seed)
        outcome = suite.run(f, panel.x, panel.y, generator, seconds=seconds, progress=progress)
        bar.update()
        subject = Subject(f, panel.x, panel.y, eps, seed, draws, suite=outcome, **known)
        found = [_asked(each, subject, bar) for each in QUESTIONS]
    about |= {
        "attack": str(suite),
        "eps": eps,
        "draws": draws,
        "seed": seed,
        "split": split.name,
        "versions": record.versions(),
        "suite": outcome.rows(),
    }
    return _report(found, subject, panel, about)


def _validate(eps: float, claim: float | None, claim_n: int | None, suite: Suite | None) -> None:
    """Raise a ValueError for arguments that are out of range, before any work starts."""
    if claim is not None and not 0 <= claim <= 1:
        raise ValueError(f"claim is a share of images in [0, 1], got {claim}")
    if claim_n is not None and (not isinstance(claim_n, int) or claim_n < 1):
        raise ValueError(f"claim_n must be a whole number of images, at least 1, got {claim_n!r}")
    if claim_n is not None and claim is None:
        raise ValueError("claim_n says how many images a claim was measured on: it needs claim=")
    if not 0 < eps <= 1:
        raise ValueError(f"eps must be in (0, 1], in pixel units such as 8/255, got {eps}")
    if suite is not None and (abs(suite.eps - eps) > 1e-9 or suite.norm != "linf"):
        raise ValueError(
            f"the suite must be L-inf with the eps of the audit, {eps:g}, got {suite.norm}, "
            f"{suite.eps:g}"
        )


def _asked(question: Question, subject: Subject, bar) -> Check:
    bar.set_description(question.name.replace("_", " "))
    found = question(subject)
    bar.update()
    return found


def _deployed(net, lam: float | None, width: float | None, seed: int):
    """Return the deployed function and what belongs to it: `(f, whole, about, others)`.

    `whole` is the unfolded network at the same setting, or None where there is none to compare.
    `about` describes the setting. `others` maps names to functions to transfer attacks from.
    """
    if not isinstance(net, Network):
        if lam is not None or width is not None:
            raise ValueError(
                "lam= and width= need a network with dials; this is a plain function of images"
            )
        if not callable(net):
            raise ValueError(
                f"net must be a Network or a function images -> logits, got {type(net).__name__}"
            )
        return net, None, {"lam": None, "width": None}, {}
    stops = net.spec.stops
    lam = stops[-1] if lam is None else float(lam)
    share = net.check(lam, width)[1].fraction
    about = {"lam": lam, "width": share, "recipe": net.spec.recipe, "backbone": net.spec.backbone}
    other_stops = [stop for stop in stops if abs(stop - lam) > 1e-6]
    # The features of the nearest stops are most alike, so attacks transfer best from them.
    nearest = sorted(other_stops, key=lambda stop: abs(stop - lam))[:2]
    others = {f"its own λ = {stop:g}": net.at(stop, share) for stop in nearest}
    if net.noise_at(lam):
        return (
            net.noisy(lam, share, generator=torch.Generator().manual_seed(seed)),
            None,
            about,
            others,
        )
    whole = (
        (lambda x: net(x, lam, share)) if any(abs(stop - lam) < 1e-6 for stop in stops) else None
    )
    return net.at(lam, share), whole, about, others


def _training_preset(net, lam: float | None) -> Preset | None:
    """Return the preset of the newest training run, or None.

    None means that `net` is a plain function, that this setting was trained on clean images only,
    or that the preset is not recorded in full.
    """
    if not isinstance(net, Network) or not net.trained or lam == 0:
        return None
    stored = net.trained[-1].get("preset", {})
    if not {"eps", "margin", "steps", "step_size"} <= stored.keys():
        return None  # today's defaults may differ from those of that run
    # Older runs were made before these options existed: 0 switches them off.
    stored = {"aimed": 0.0, "at_last_stop": 0.0} | stored
    return Preset(**{f.name: stored[f.name] for f in fields(Preset) if f.name in stored})


def _report(found: list[Check], subject: Subject, panel: Split, about: dict) -> Report:
    robust, clean = subject.robust, subject.suite.clean
    low, high = wilson(round(robust * len(panel)), len(panel))
    stands = subject.suite.complete and not any(check.raised for check in found)
    verdict = _verdict(found, subject, (robust, low, high))
    claimed = subject.claimed.value
    return Report(verdict, stands, found, clean, robust, low, high, claimed, len(panel), about)


def _verdict(found: list[Check], subject: Subject, left: tuple[float, float, float]) -> str:
    robust, low, high = left
    measured = (
        f"{robust:.1%} of {len(subject.y)} images stay right under every attack that was tried "
        f"(95 % interval {low:.1%} to {high:.1%}; eps = {255 * subject.eps:g}/255)"
    )
    raised = [check.name for check in found if check.raised]
    names = ", ".join(name.replace("_", " ") for name in raised)
    if not subject.suite.complete:
        return f"Not decided: the time was over before all attacks were tried; at most {measured}."
    if "claim" in raised:
        return f"It does not stand: {subject.claimed}, and only {measured}. Raised: {names}."
    if raised:
        return (
            f"Do not believe it: {measured}, but how that was measured is faulty. Raised: {names}."
        )
    return f"It stands: {measured}, and no question found a fault; {subject.claimed}."


def _body(report: Report) -> str:
    # Each colour has a contrast of at least 3:1 both on white and on black.
    colour = {True: "#d1495b", False: "#1f9e78", None: "#808080"}
    word = {True: "✗ raised", False: "✓ ok", None: "– not asked"}
    rows = []
    for check in report.checks:
        more = (
            f"<br><small>{html.escape(check.why)} <b>{html.escape(check.todo)}</b></small>"
            if check.raised
            else ""
        )
        rows.append(
            '<tr><td style="white-space:nowrap;vertical-align:top;text-align:left;'
            f'color:{colour[check.raised]}">'
            f"{word[check.raised]}</td><td "
            'style="white-space:nowrap;vertical-align:top;text-align:left">'
            f"{check.name.replace('_', ' ')}</td><td "
            f'style="text-align:left">{html.escape(check.found)}{more}</td></tr>'
        )
    edge = colour[not report.stands]
    return (
        f'<p style="border-left:5px solid {edge};padding:.4em '
        f'.8em"><b>{html.escape(report.verdict)}</b></p>'
        f'<table style="border-spacing:.8em .2em"><tbody>{"".join(rows)}</tbody></table>'
        f"<p><small>n = {report.n}, {html.escape(report.about['attack'])}, seed "
        f"{report.about['seed']}</small></p>"
    )
