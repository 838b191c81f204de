"""`oatlib.audit` on honest networks, on frauds and on the exhibit: `python -m bench.honest`.

Trains the networks of ARMS with the `fast` preset and audits every trained setting of each. A false
alarm is a finding that an honest network raises. A miss is a fraud of `oatlib.course.frauds` that
is not caught by its name. The exhibit (`data/course/oats_two_steps.safetensors`) is a miss if no
finding of EXHIBIT_FINDINGS catches it.

The record is written after every row, and rows that it holds are not measured again, so a run can
be interrupted and can be divided: `--seeds 3 4 --networks oat frauds`. Networks are kept by
`bench.trained`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import oatlib
from oatlib.auditing.report import Report
from oatlib.course.frauds import frauds
from oatlib.data.load import data_of
from oatlib.record import RecordError, read_json, versions, write_json

from .trained import named, trained

EXHIBIT = Path(__file__).parents[1] / "data" / "course" / "oats_two_steps.safetensors"
EXHIBIT_LAM = 0.2
EXHIBIT_FINDINGS = {"claim", "targeted", "training_attack"}
EPS = 8 / 255
# A shorter suite with the same kinds of attack: for a first look, and where time is short.
LIGHT = (
    oatlib.APGD(EPS, 20),
    oatlib.APGD(EPS, 10, targets=4),
    oatlib.Square(EPS, 100),
)
SUITES = {"fast": oatlib.Suite(EPS), "light": oatlib.Suite(EPS, members=LIGHT)}


@dataclass(frozen=True)
class Arm:
    """A kind of honest network: its recipe, its options, and the narrowest width to audit."""

    recipe: str
    options: dict = field(default_factory=dict)
    min_width: float = 1.0


ARMS = {
    "oat": Arm("oat"),
    "oats": Arm("oats", min_width=0.5),
    "pgd-at, λ = 0.2": Arm("pgd-at", {"lam": 0.2}),
    "pgd-at": Arm("pgd-at", {"lam": 1.0}),
    "blend": Arm("blend"),
}
NAMES = (*ARMS, "frauds", "exhibit")


class Record:
    """The rows measured so far, on disk after every new one."""

    KEY = ("kind", "name", "seed", "n", "suite", "lam", "width")

    def __init__(self, path: Path):
        self.path = path
        world = dict(oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8).options)
        for size in ("n_train", "n_val", "n_test", "seed"):
            world.pop(size)
        self.about = _as_json({"world": world, "preset": asdict(oatlib.PRESETS["fast"])})
        self.rows: list[dict] = []
        if path.exists():
            content = read_json(path)
            if any(content.get(key) != value for key, value in self.about.items()):
                raise RecordError(
                    f"{path} is of another world or preset: delete it, or name another with --out"
                )
            self.rows = content["rows"]

    def has(self, key: dict) -> bool:
        """Whether the row of this key was measured."""
        return any(all(row[name] == key[name] for name in self.KEY) for row in self.rows)

    def add(self, row: dict) -> None:
        """Append a row, and write all of them."""
        self.rows.append(row)
        faults = sum(row["fault"] for row in self.rows)
        content = {"command": "python -m bench.honest", "faults": faults, "versions": versions()}
        write_json(self.path, content | self.about | {"rows": self.rows})
        print(row, f"faults so far: {faults}", flush=True)


def settings(net: oatlib.Network, min_width: float) -> Iterator[tuple[float, float]]:
    """Every trained λ at every width from `min_width` on."""
    for width in net.spec.widths:
        if width >= min_width:
            yield from ((lam, width) for lam in net.spec.stops)


def honest(record: Record, seed: int, name: str, n: int, suite: str) -> None:
    """Audit all settings of one arm that are not in the record."""
    arm = ARMS[name]
    net, data = trained(named(arm.recipe, arm.options), seed)
    for lam, width in settings(net, arm.min_width):
        key = _key("honest", name, seed, n, suite, lam, width)
        if not record.has(key):
            report, seconds = _audited(net, data, suite, lam=lam, width=width, n=n, seed=seed)
            record.add(_row(key, report, seconds) | {"fault": bool(report.raised)})


def planted(record: Record, seed: int, n: int, suite: str) -> None:
    """Audit all frauds of one seed that are not in the record."""
    (standard, data, _), (oat, _, _) = trained("standard", seed), trained("oat", seed)
    for name, fraud in frauds(standard, oat, data, seed).items():
        key = _key("fraud", name, seed, n, suite)
        if not record.has(key):
            # the frauds have an eps of their own, and some are random: the default suite fits
            # itself to them
            report, seconds = _audited(
                fraud.f,
                fraud.split,
                None,
                eps=fraud.eps,
                claim=fraud.claim,
                n=n,
                seed=seed,
                **fraud.also,
            )
            missed = not {*fraud.caught} <= {finding.name for finding in report.raised}
            record.add(_row(key, report, seconds) | {"fault": missed})


def exhibit(record: Record, n: int, suite: str) -> None:
    """Audit the network of version 0.1.0 that had overfitted to its training attack."""
    key = _key("exhibit", EXHIBIT.stem, 0, n, suite, EXHIBIT_LAM, 1.0)
    if not record.has(key):
        net = oatlib.load(EXHIBIT)
        report, seconds = _audited(net, data_of(net.spec.data), suite, lam=EXHIBIT_LAM, n=n)
        missed = not EXHIBIT_FINDINGS & {finding.name for finding in report.raised}
        record.add(_row(key, report, seconds) | {"fault": missed})


def _as_json(value):
    """The value as a JSON file gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def _audited(f, data, suite: str | None, **options) -> tuple[Report, float]:
    started = time.process_time()
    chosen = None if suite is None else SUITES[suite]
    report = oatlib.audit(f, data, suite=chosen, progress=False, **options)
    return report, time.process_time() - started


def _key(kind, name, seed, n, suite, lam=None, width=None) -> dict:
    return {
        "kind": kind,
        "name": name,
        "seed": seed,
        "n": n,
        "suite": suite,
        "lam": lam,
        "width": width,
    }


def _row(key: dict, report: Report, seconds: float) -> dict:
    measured = {"clean": report.clean, "robust": report.robust, "claim": report.claim.value}
    raised = {finding.name: finding.sentence for finding in report.raised}
    return key | measured | {"raised": raised, "cpu_seconds": round(seconds, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=NAMES,
        default=list(NAMES),
        metavar="NAME",
        help=f"of {', '.join(NAMES)} (default: all)",
    )
    parser.add_argument("--n", type=int, default=128, help="validation images (default 128)")
    parser.add_argument(
        "--n-widths", type=int, default=64, help="of networks with several widths (default 64)"
    )
    parser.add_argument(
        "--suite", choices=SUITES, default="fast", help="attacks (default: those of the audit)"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/honest.json"))
    options = parser.parse_args()
    try:
        record = Record(options.out)
        if "exhibit" in options.networks:
            exhibit(record, options.n, options.suite)
        for seed in options.seeds:
            for name in options.networks:
                if name in ARMS:
                    n = options.n_widths if ARMS[name].min_width < 1 else options.n
                    honest(record, seed, name, n, options.suite)
            if "frauds" in options.networks:
                planted(record, seed, options.n, options.suite)
    except RecordError as error:
        print(f"bench.honest: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
