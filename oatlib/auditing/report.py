"""Audit the robustness of a network: is it robust, or was it only measured with a weak attack?

`audit` runs a suite of attacks and a list of questions. It returns a report with a summary in one
sentence and the findings that it rests on.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import cast

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import record
from .._check import function, of_type, real, seed_of, whole
from ..attacks.base import check_eps
from ..attacks.suite import Suite, suited
from ..data.splits import Data, Split, split_of
from ..evaluation.evaluate import NOISE_SAMPLES, check_fit
from ..evaluation.results import wilson
from ..networks.network import Network
from ..training.presets import Preset
from .claim import Claim, compare_claim, measured_claim
from .finding import Finding, Verdict
from .questions import QUESTIONS
from .subject import Subject

SOURCES = "a dictionary {name: function from images to logits}"
FEW = 64  # images; with fewer the report says so
STOP_TOLERANCE = 1e-6  # two λ that differ by less are the same λ stop

TEXT_MARKS = {Verdict.RAISED: "RAISED", Verdict.PASSED: "passed", Verdict.NOT_APPLICABLE: "-"}
HTML_MARKS = {
    Verdict.RAISED: "✗ raised",
    Verdict.PASSED: "✓ passed",
    Verdict.NOT_APPLICABLE: "– not applicable",
}
# Each colour has a contrast of at least 3:1 both on white and on black.
COLOURS = {
    Verdict.RAISED: "#d1495b",
    Verdict.PASSED: "#1f9e78",
    Verdict.NOT_APPLICABLE: "#808080",
}


@dataclass(frozen=True)
class Report:
    """Result of `audit`.

    Attributes:
        summary: The result in one or two sentences, for people.
        stands: True if nothing was raised and every attack of the suite was tried.
        complete: Whether every attack of the suite was tried. If not, `robust` is an upper bound.
        findings: One finding per question.
        claim: The robust accuracy that was compared with `robust`.
        claim_finding: Result of this comparison, a finding with the name "claim".
        clean: Clean accuracy, in [0, 1].
        robust: Robust accuracy under the suite, in [0, 1].
        low: Lower end of the 95 % Wilson interval of `robust`.
        high: Upper end of this interval.
        n: Number of images.
        about: The attack, its seed, the setting of the network, and versions of software.
        raised: The findings that raised a fault, with that of the claim (property).
    """

    summary: str
    stands: bool
    complete: bool
    findings: list[Finding]
    claim: Claim
    claim_finding: Finding
    clean: float
    robust: float
    low: float
    high: float
    n: int
    about: dict

    @property
    def raised(self) -> list[Finding]:
        return [
            finding
            for finding in (*self.findings, self.claim_finding)
            if finding.verdict is Verdict.RAISED
        ]

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
        # The summary, then a line per finding.
        lines = [self.summary, ""]
        for finding in (*self.findings, self.claim_finding):
            mark = TEXT_MARKS[finding.verdict]
            lines.append(f"{mark:>6}  {_title(finding)}: {finding.sentence}")
        # What the faults mean, and what was measured.
        for finding in self.raised:
            lines += ["", f"{_title(finding)}: {finding.reason} What to do: {finding.remedy}"]
        lines += ["", f"n = {self.n}, {self.about['attack']}, seed {self.about['seed']}"]
        return "\n".join(lines)

    __repr__ = __str__

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


def audit(
    net: Network | Callable[[Tensor], Tensor],
    data: Data | Split,
    lam: float | None = None,
    width: float | None = None,
    *,
    eps: float = 8 / 255,
    claim: float | None = None,
    n: int = 256,
    seed: int = 0,
    eot_samples: int | None = None,
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
        eot_samples: Samples of a random function that are averaged (EOT). Default: 10 if the
            weights of `net` are noisy at this λ, else 1.
        attacked: The function that was attacked to measure the claim, if it is another one.
        sources: Other functions to transfer attacks from, by name (default: the network itself at
            the two nearest other λ stops; none for a plain function).
        seconds: Time limit of the suite, in seconds.
        progress: Show a progress bar.
        claim_n: Number of images that the claim was measured on, if they are other images. Without
            it, a true claim measured on n other images is raised in 1 of 12 audits. With it, in 1
            of 40.
        suite: The suite of attacks (default: `Suite(eps, eot_samples=eot_samples)`).

    Returns:
        A report with a summary, one finding per question, and one about the claim.

    Raises:
        ValueError: An argument is out of range, or does not fit the network.

    Example:
        >>> print(oatlib.audit(net, data, lam=1.0, claim=0.75, claim_n=1024).summary)
    """
    _validate(eps, claim, claim_n, suite)
    whole("n", n)
    seed = seed_of(seed)
    if seconds is not None:
        real("seconds", seconds, 0)
    sources = None if sources is None else of_type("sources", sources, Mapping, SOURCES)
    if attacked is not None:
        function("attacked", attacked, "a function from images to logits")
    split = split_of(data, "val")
    if isinstance(net, Network):
        check_fit(net, split)
    panel = split.panel(min(n, len(split)))
    deployed = _deployed(net, lam, width, seed)
    # Choose the attacks: a random network needs EOT, and a mixture of outputs its own members.
    if eot_samples is None:
        eot_samples = NOISE_SAMPLES if deployed.noisy else 1
    suite = Suite(eps, eot_samples=eot_samples) if suite is None else suite
    suite = cast(Suite, suited(suite, deployed.f))  # a suite gives a suite
    if suite.eot_samples != eot_samples:
        raise ValueError(
            f"this function needs a suite with eot_samples={eot_samples}, got {suite.eot_samples}"
        )
    with tqdm(total=2 + len(QUESTIONS), disable=not progress, leave=False, unit="question") as bar:
        # Run the suite first, because some questions need its result.
        bar.set_description("suite")
        generator = torch.Generator(panel.x.device).manual_seed(seed)
        outcome = suite.run(
            deployed.f, panel.x, panel.y, generator, seconds=seconds, progress=progress
        )
        bar.update()
        subject = Subject(
            deployed.f,
            panel.x,
            panel.y,
            eps,
            seed,
            eot_samples,
            suite=outcome,
            members=suite.attacks(),
            attacked=attacked,
            sources=deployed.sources if sources is None else sources,
            unfolded=deployed.unfolded,
            training_preset=deployed.training_preset,
        )
        findings = []
        for question in QUESTIONS:
            bar.set_description(question.name.replace("_", " "))
            findings.append(question(subject))
            bar.update()
        # Compare the claim last: PGD-20, which takes its place if there is none, has been run now.
        bar.set_description("claim")
        tested = measured_claim(subject) if claim is None else Claim(claim, "given", claim_n)
        claim_finding = compare_claim(tested, subject)
        bar.update()
    about = deployed.about | {
        "attack": str(suite),
        "eps": eps,
        "eot_samples": eot_samples,
        "seed": seed,
        "split": split.name,
        "versions": record.versions(),
        "suite": outcome.rows(),
    }
    return _report(subject, findings, tested, claim_finding, about)


@dataclass(frozen=True)
class _Deployed:
    """The function that is deployed, and what is known about it.

    Attributes:
        f: The function from images to logits.
        about: Its setting, recipe and backbone, for the report.
        noisy: Whether its weights are random.
        unfolded: The unfolded network at the same setting. None: there is none to compare.
        sources: Other functions to transfer attacks from, by name.
        training_preset: How it was trained against attacks. None: it was not, or not known.
    """

    f: Callable[[Tensor], Tensor]
    about: dict
    noisy: bool = False
    unfolded: Callable[[Tensor], Tensor] | None = None
    sources: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    training_preset: Preset | None = None


def _validate(eps: float, claim: float | None, claim_n: int | None, suite: Suite | None) -> None:
    """Raise a ValueError for arguments that are out of range, before any work starts."""
    if claim is not None:
        real("claim", claim, 0, 1, "such as 0.75", "a robust accuracy")
    if claim_n is not None:
        whole("claim_n", claim_n)
    if claim_n is not None and claim is None:
        raise ValueError("claim_n is the number of images of a claim, so it needs claim=")
    check_eps(eps)
    if eps == 0:
        raise ValueError("eps must be above 0, in pixel units such as 8/255, got 0")
    if suite is not None:
        of_type("suite", suite, Suite, "an oatlib.Suite")
    if suite is not None and (abs(suite.eps - eps) > 1e-9 or suite.norm != "linf"):
        raise ValueError(
            f"the suite must use norm 'linf' and the eps of the audit, {eps:g}, got norm "
            f"{suite.norm!r} and eps {suite.eps:g}"
        )


def _deployed(net, lam: float | None, width: float | None, seed: int) -> _Deployed:
    """Return the function that is deployed at this setting, and what is known about it."""
    if not isinstance(net, Network):
        if lam is not None or width is not None:
            raise ValueError("lam= and width= need an oatlib network, got a plain function")
        function("net", net, "a network, or a function from images to logits")
        return _Deployed(net, {"lam": None, "width": None})
    stops = net.spec.stops
    lam = stops[-1] if lam is None else lam
    position = net.position(lam, width)
    lam = float(lam)
    width = position.width.fraction
    about = {"lam": lam, "width": width, "recipe": net.spec.recipe, "backbone": net.spec.backbone}
    # The features of the nearest stops are most alike, so attacks transfer best from them.
    other_stops = [stop for stop in stops if abs(stop - lam) > STOP_TOLERANCE]
    nearest = sorted(other_stops, key=lambda stop: abs(stop - lam))[:2]
    sources = {f"the same network at λ = {stop:g}": net.at(stop, width) for stop in nearest}
    preset = _training_preset(net, lam)
    if position.noisy:
        f = net.noisy(lam, width, generator=torch.Generator().manual_seed(seed))
        return _Deployed(f, about, noisy=True, sources=sources, training_preset=preset)
    at_a_stop = any(abs(stop - lam) < STOP_TOLERANCE for stop in stops)
    unfolded = partial(net, lam=lam, width=width) if at_a_stop else None
    f = net.at(lam, width)
    return _Deployed(f, about, unfolded=unfolded, sources=sources, training_preset=preset)


def _training_preset(net: Network, lam: float) -> Preset | None:
    """Return the preset of the newest training run, or None.

    None means that this setting was trained on clean images only, or that the preset is not
    recorded in full.
    """
    if not net.trained or lam == 0:
        return None
    stored = net.trained[-1].get("preset", {})
    if not {"eps", "margin", "steps", "step_size"} <= stored.keys():
        return None  # today's defaults may differ from those of that run
    # Older runs were made before these options existed: 0 switches them off.
    stored = {"aimed": 0.0, "at_last_stop": 0.0} | stored
    return Preset(**{f.name: stored[f.name] for f in fields(Preset) if f.name in stored})


def _report(
    subject: Subject, findings: list[Finding], claim: Claim, claim_finding: Finding, about: dict
) -> Report:
    """Make the report. Only verdicts and numbers decide what it says."""
    n, robust, complete = len(subject.y), subject.robust, subject.suite.complete
    low, high = wilson(round(robust * n), n)
    raised = [
        finding for finding in (*findings, claim_finding) if finding.verdict is Verdict.RAISED
    ]
    interval = (
        f"95 % interval {low:.1%} to {high:.1%}, eps = {255 * subject.eps:g}/255, clean accuracy "
        f"{subject.suite.clean:.1%}"
    )
    measured = f"{robust:.1%} of {n} images stay correct under all attacks ({interval})"
    said = claim.beside(low, high, n)
    names = ", ".join(_title(finding) for finding in raised)
    if not complete:
        summary = (
            f"Undecided: the time limit was reached before all attacks had run. At most {measured}."
        )
    elif claim_finding.verdict is Verdict.RAISED:
        summary = f"Failed: {claim}, but only {measured}. Raised: {names}."
    elif raised:
        summary = f"Failed: {measured}, but the measurement is faulty. Raised: {names}."
    else:
        summary = f"Passed: {measured}, and no question raised a fault ({said})."
        if n < FEW:
            summary += f" {n} images are few: faults can go unnoticed. Use {FEW} or more."
    return Report(
        summary=summary,
        stands=complete and not raised,
        complete=complete,
        findings=findings,
        claim=claim,
        claim_finding=claim_finding,
        clean=subject.suite.clean,
        robust=robust,
        low=low,
        high=high,
        n=n,
        about=about,
    )


def _title(finding: Finding) -> str:
    """Return the name of a finding as it is shown to people."""
    return finding.name.replace("_", " ")


def _body(report: Report) -> str:
    """Return the report as HTML without the frame of a page."""
    rows = [_row(finding) for finding in (*report.findings, report.claim_finding)]
    edge = COLOURS[Verdict.PASSED if report.stands else Verdict.RAISED]
    return (
        f'<p style="border-left:5px solid {edge};padding:.4em '
        f'.8em"><b>{html.escape(report.summary)}</b></p>'
        f'<table style="border-spacing:.8em .2em"><tbody>{"".join(rows)}</tbody></table>'
        f"<p><small>n = {report.n}, {html.escape(report.about['attack'])}, seed "
        f"{report.about['seed']}</small></p>"
    )


def _row(finding: Finding) -> str:
    """Return a finding as a row of the table."""
    meaning = ""
    if finding.verdict is Verdict.RAISED:
        reason, remedy = html.escape(finding.reason), html.escape(finding.remedy)
        meaning = f"<br><small>{reason} <b>{remedy}</b></small>"
    cell = "white-space:nowrap;vertical-align:top;text-align:left"
    return (
        f'<tr><td style="{cell};color:{COLOURS[finding.verdict]}">'
        f"{HTML_MARKS[finding.verdict]}</td>"
        f'<td style="{cell}">{_title(finding)}</td>'
        f'<td style="text-align:left">{html.escape(finding.sentence)}{meaning}</td></tr>'
    )
