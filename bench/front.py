"""The tables of the front page: the networks that come along, as the explorer knows them, and the lessons."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from oatlib.cost import cost
from oatlib.evaluate import wilson
from oatlib.lab.ready import FOLDER
from oatlib.nets import load
from oatlib.record import read_json

ROOT = Path(__file__).parents[1]
EPS = 8.0
SUITE = Path(__file__).parent / "results" / "suite.json"
LESSONS = {  # network -> the lesson that builds it
    "standard": "01_attack", "pgd-at": "02_adversarial_training", "trades": "02_adversarial_training", "oat": "05_oat",
    "oats": "06_slimming", "snn": "06_slimming", "solar": "07_switchable_heads", "blend": "03_dual_bn",
    "float": "08_weight_noise", "floats": "09_sparse_experts", "smart": "09_sparse_experts",
}  # fmt: skip


def networks() -> str:
    """Every system at its ends, on the same images."""
    lines = ["clean / robust, % | λ = 0 | λ = 1 | by the suite | its narrowest width, λ = 0, 1 | parameters | lesson",
             "|".join(["---"] * 7)]  # fmt: skip
    n, attack = set(), set()
    suite = {(row["name"], row["lam"]): row for row in read_json(SUITE)["rows"]}
    for name, lesson in LESSONS.items():
        record = read_json(FOLDER / f"{name}.json")
        n.add(record["n"])
        attack.add(record["of"]["attack"])
        wide, narrow = ([_point(record, width, lam) for lam in (0.0, 1.0)] for width in (-1, 0))
        narrow = f"{record['widths'][0]:g}: {', '.join(narrow)}" if len(record["widths"]) > 1 else ""
        stored = cost(load(FOLDER / f"{name}.safetensors")).stored
        link = f"[{lesson[:2]}](notebooks/{lesson}.ipynb)"
        row = suite.get((name, 1.0))
        least = "-" if row is None else f"{100 * row['suite']:.1f}" + f" (n = {row['n']})" * (row["draws"] > 1)
        lines.append(f"`{name}` | {' | '.join(wide)} | {least} | {narrow} | {stored:,} | {link}")
    (n,), (attack,) = n, attack
    noisy = next(row for row in suite.values() if row["draws"] > 1)
    widest = 100 * (wilson(n // 2, n)[1] - 0.5)
    return "\n".join(f"| {line} |" for line in lines) + (
        f"\n\n{attack} at ε = {EPS:g}/255 on n = {n} validation images of `shapes`, one network each (seed 0, preset "
        f"`fast`); 95 % interval of one accuracy: at most ±{widest:.1f} points. Of noisy weights: one frozen draw. "
        "*By the suite*: what is left at λ = 1 under APGD, targeted APGD and Square together, on the same images; of "
        f"noisy weights with EOT over {noisy['draws']} draws on n = {noisy['n']}. {_middle(suite)} "
        "Recorded beside the weights in `data/explorer/`; `python -m bench.ship` makes both again. More seeds, test "
        "images, and what the papers claim: [bench/README.md](bench/README.md)."
    )


def _middle(suite: dict) -> str:
    """How much PGD-20 flatters where the dial stands between its ends."""
    gaps = {key: row["pgd"] - row["suite"] for key, row in suite.items() if 0 < key[1] < 1}
    name, lam = max(gaps, key=gaps.get)
    row = suite[name, lam]
    return (f"Between the ends PGD-20 flatters: at worst (`{name}`, λ = {lam:g}) it leaves {100 * row['pgd']:.1f} %, "
            f"the suite {100 * row['suite']:.1f} % (`python -m bench.suite`; lesson 10 shows why).")  # fmt: skip


def _point(record: dict, width: int, lam: float) -> str:
    """Clean / robust at a λ, if the network has it."""
    if lam not in record["lams"]:
        return "-"
    at = record["lams"].index(lam)
    clean, robust = record["clean"][width][at], record["robust"][width][record["eps"].index(EPS)][at]
    return f"{100 * clean:.1f} / {100 * robust:.1f}"


def lessons() -> str:
    """The course, with what each lesson asks and how long it runs."""
    lines = ["lesson | its question | runs", "---|---|---"]
    for source in _sources():
        text = source.read_text(encoding="utf-8")
        title = re.search(r"^# # \d+ · (.+)$", text, re.MULTILINE)[1]
        lines.append(f"[{source.stem}](notebooks/{source.stem}.ipynb) | {title} | {_seconds(text)} s")
    return "\n".join(f"| {line} |" for line in lines)


def ladder() -> str:
    """The course for teachers: what comes before each lesson, how long it takes, what is solved in it."""
    lines, before = ["lesson | needs | runs | exercises", "---|---|---|---"], "nothing"
    for source in _sources():
        text = source.read_text(encoding="utf-8")
        names = re.findall(r"^# ### Exercise: (.+)$", text, re.MULTILINE)
        minutes = sum(map(int, re.findall(r"^# Difficulty .*? · (\d+) minutes", text, re.MULTILINE)))
        solved = f"{', '.join(f'`{name}`' for name in names)}: {minutes} minutes"
        lines.append(f"[{source.stem}]({source.stem}.ipynb) | {before} | {_seconds(text)} s | {solved}")
        before = source.stem[:2]
    return "\n".join(f"| {line} |" for line in lines)


def _sources() -> list[Path]:
    return sorted((ROOT / "notebooks" / "source").glob("*.py"))


def _seconds(text: str) -> int:
    about = "\n".join(line.removeprefix("# ") for line in text.split("# ---")[1].splitlines())
    return yaml.safe_load(about)["jupyter"]["oatlib"]["seconds"]
