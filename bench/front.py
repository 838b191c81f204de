"""The tables of README.md and docs/figures.md: the lessons, and the bundled networks."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from oatlib.evaluation.results import wilson
from oatlib.explorer.named_attacks import PGD_20, QUICK, SUITE
from oatlib.explorer.shipped import FOLDER
from oatlib.networks.cost import cost
from oatlib.networks.network import load
from oatlib.record import read_json

ROOT = Path(__file__).parents[1]
EPS = 8.0
LESSONS = {  # network -> the lesson that builds it
    "standard": "01_attack",
    "pgd-at": "02_adversarial_training",
    "trades": "02_adversarial_training",
    "oat": "05_oat",
    "oats": "06_slimming",
    "snn": "06_slimming",
    "solar": "07_switchable_heads",
    "blend": "03_dual_bn",
    "float": "08_weight_noise",
    "floats": "09_sparse",
    "smart": "09b_dial_or_switch",
}


def networks() -> str:
    """Return the table of every system at its ends, on the images of the explorer."""
    titles = [
        "clean / robust, %",
        "λ = 0",
        "λ = 1",
        "its narrowest width, λ = 0, 1",
        "parameters",
        "lesson",
    ]
    lines = [" | ".join(titles), "|".join(["---"] * len(titles))]
    records = {name: read_json(FOLDER / f"{name}.json") for name in LESSONS}
    for name, record in records.items():
        wide, narrow = ([_point(record, width, lam) for lam in (0.0, 1.0)] for width in (-1, 0))
        narrow = (
            f"{record['widths'][0]:g}: {', '.join(narrow)}" if len(record["widths"]) > 1 else ""
        )
        stored = cost(load(FOLDER / f"{name}.safetensors")).stored
        link = f"[{LESSONS[name].partition('_')[0]}](../notebooks/{LESSONS[name]}.ipynb)"
        lines.append(f"`{name}` | {' | '.join(wide)} | {narrow} | {stored:,} | {link}")
    (n,) = {record["n"] for record in records.values()}
    widest = 100 * (wilson(n // 2, n)[1] - 0.5)
    return "\n".join(f"| {line} |" for line in lines) + (
        f"\n\nThe suite (budget `fast`; at narrower widths `quick`) at ε = {EPS:g}/255 on n = {n} "
        "validation images of "
        "`shapes`, one network each (seed 0, preset `fast`); 95 % interval of one accuracy: at "
        "most "
        f"±{widest:.1f} points. Of noisy weights: "
        f"one frozen draw. {_overestimate(records)} Recorded beside the weights in "
        "`data/explorer/`; "
        "`python -m bench.ship` makes both again. More seeds, test images, and what the papers "
        "claim: "
        "[benchmarks](../bench/README.md)."
    )


def _overestimate(records: dict[str, dict]) -> str:
    """Say by how much PGD-20 overestimates robust accuracy, at the worst recorded setting."""
    gaps = {
        (weak - strong, name, record["widths"][w], record["lams"][i]): (weak, strong)
        for name, record in records.items()
        for w in (len(record["widths"]) - 1,)
        for i, (weak, strong) in enumerate(
            zip(_row(record, PGD_20, w), _row(record, SUITE, w), strict=True)
        )
    }
    worst = max(gaps)
    _, name, width, lam = worst
    weak, strong = gaps[worst]
    return (
        f"PGD-20 leaves at most {100 * worst[0]:.1f} points more (`{name}`, λ = {lam:.3g}, width "
        f"{width:g}: "
        f"{100 * weak:.1f} % instead of {100 * strong:.1f} %)."
    )


def _row(record: dict, attack: str, width: int) -> list[float]:
    """Robust accuracies along λ at one width (an index)."""
    return record["robust"][attack][width][record["eps"].index(EPS)]


def _point(record: dict, width: int, lam: float) -> str:
    """Clean / robust at a λ, if the network has it."""
    if lam not in record["lams"]:
        return "-"
    at = record["lams"].index(lam)
    full = width in (-1, len(record["widths"]) - 1)
    robust = _row(record, SUITE if full else QUICK, width)[at]
    return f"{100 * record['clean'][width][at]:.1f} / {100 * robust:.1f}"


def lessons() -> str:
    """The course, with what each lesson asks and how long it runs."""
    lines = ["lesson | its question | runs", "---|---|---"]
    for source in _sources():
        text = source.read_text(encoding="utf-8")
        title = re.search(r"^# # \w+ · (.+)$", text, re.MULTILINE)[1]
        lines.append(
            f"[{source.stem}](notebooks/{source.stem}.ipynb) | {title} | {_seconds(text)} s"
        )
    return "\n".join(f"| {line} |" for line in lines)


def ladder() -> str:
    """The course for teachers: what comes before each lesson, how long it takes, what is solved in
    it.
    """
    lines = ["lesson | needs | runs | exercises", "---|---|---|---"]
    for source in _sources():
        text = source.read_text(encoding="utf-8")
        names = re.findall(r"^# ### Exercise: (.+)$", text, re.MULTILINE)
        minutes = sum(
            map(int, re.findall(r"^# Difficulty .*? · (\d+) minutes", text, re.MULTILINE))
        )
        before = re.search(r"\*\*Before this:\*\* (?:\[(\w+) ·)?", text)[1] or "nothing"
        solved = f"{', '.join(f'`{name}`' for name in names)}: {minutes} minutes"
        lines.append(
            f"[{source.stem}]({source.stem}.ipynb) | {before} | {_seconds(text)} s | {solved}"
        )
    return "\n".join(f"| {line} |" for line in lines)


def _sources() -> list[Path]:
    return sorted((ROOT / "authoring" / "source").glob("*.py"))


def _seconds(text: str) -> int:
    about = "\n".join(line.removeprefix("# ") for line in text.split("# ---")[1].splitlines())
    return yaml.safe_load(about)["jupyter"]["oatlib"]["seconds"]
