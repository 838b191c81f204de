"""Write recorded figures into the pages that print them: `python -m bench.readme`. A test compares.

The pages are README.md, docs/claims.md, docs/figures.md, bench/README.md and notebooks/README.md.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from bench import front
from bench.family import FIFTHS
from oatlib.claims import board
from oatlib.data.load import best_points
from oatlib.data.shapes import ShapesOptions
from oatlib.evaluation import baselines
from oatlib.evaluation.baselines import LEVELS, coin, percents, robust_at
from oatlib.record import read_json

HERE = Path(__file__).parent
FIRST = HERE / "results" / "first_world"
BEST_OF = {"name": "shapes", "options": asdict(ShapesOptions())}
AT_CLEAN = "robust at clean >= 98 / 95 / 90 %"


CALLED = {
    "oat": "OAT, one network",
    "dedicated": "six dedicated networks",
    "mix of two": "outputs of `standard` and `pgd-at` mixed (two networks)",
    "blend, outputs": "outputs of both ends of `blend` mixed (two passes)",
    "oat, outputs": "outputs of both ends of OAT mixed (two passes)",
    "blend": "`blend`, weights interpolated",
}


def dials(record: dict) -> dict[str, dict[int, list[dict]]]:
    """{system: {seed: points}}; every width of `oats` is a system."""
    found: dict[str, dict[int, list[dict]]] = {}
    for run in record["runs"]:
        name, seed = run["system"], run["seed"]
        if name.startswith("dedicated"):
            found.setdefault("dedicated", {}).setdefault(seed, []).extend(run["points"])
            continue
        for width in sorted({p["width"] for p in run["points"]}, reverse=True):
            key = f"OATS, width {width:g}" if name == "oats" else name
            points = [p for p in run["points"] if p["width"] == width]
            found.setdefault(key, {})[seed] = points
    return found


def once_for_all(record: dict) -> list[str]:
    """One network with a dial against what is possible without one: means over the seeds."""
    found = dials(record)
    titles = [
        "% (mean over seeds)",
        "seeds",
        "λ = 0",
        "λ = 1",
        AT_CLEAN,
        "over the coin between its own ends",
        "over the coin of `standard` and `pgd-at`",
        "of the best possible",
    ]
    lines = [" | ".join(titles), "|".join(["---"] * len(titles))]
    names = [name for name in CALLED if name in found] + [
        name for name in found if name not in CALLED
    ]
    for name in names:
        runs = {
            seed: points
            for seed, points in found[name].items()
            if name != "dedicated" or len(points) > 2
        }
        if not runs:  # the two ends are there for the coin, the others are not
            continue
        rows = [_pairs(sorted(points, key=lambda p: p["lam"])) for points in runs.values()]
        both = [_ends_of(found["dedicated"][seed]) for seed in runs if seed in found["dedicated"]]
        kept = [[robust_at(row, level) for level in LEVELS] for row in rows]
        own = [[coin(row[0], row[-1], level) for level in LEVELS] for row in rows]
        other = [[coin(*ends, level) for level in LEVELS] for ends in both]
        best = [robust_at(best_points(BEST_OF, 8 / 255), level) for level in LEVELS]
        ends = [
            " / ".join(f"{100 * statistics.fmean(row[i][k] for row in rows):.1f}" for k in (0, 1))
            for i in (0, -1)
        ]
        cells = [
            CALLED.get(name, name),
            str(len(rows)),
            *ends,
            percents(_means(kept)),
            percents(_means(_differences(kept, own)), signed=True),
            percents(_means(_differences(kept, other)), signed=True),
            percents([baselines.ratio(a, b) for a, b in zip(_means(kept), best, strict=True)]),
        ]
        lines.append(" | ".join(cells))
    gaps = [
        (p["pgd"] - p["robust"], run["system"], p["lam"], p["width"], run["seed"])
        for run in record["runs"]
        for p in run["points"]
        if "pgd" in p
    ]
    gap, system, lam, width, seed = max(gaps)
    return [f"| {line} |" for line in lines] + [
        "",
        f"`shapes`, preset `fast` with {record['epochs']} epochs, n = {record['n']} test images "
        f"for each seed ({record['n'] // 2} for mixed outputs and OATS); {record['attack_text']}. "
        "*Robust at clean >=*: interpolated along the measured points. *Best possible*: "
        f"`oatlib.best_frontier`. {_behind_dedicated(found)}PGD-20 leaves at most "
        f"{100 * gap:.1f} points more than this attack on OAT and OATS ({system}, λ = {lam:g}, "
        f"width {width:g}, seed "
        f"{seed}). Recorded in `bench/results/once_for_all.json`; repeat with "
        f"`{record['command']}`.",
    ]


def _behind_dedicated(found: dict[str, dict[int, list[dict]]]) -> str:
    """What OAT lacks at its robust end, as a sentence. "" if no seed has the other network."""
    oat, dedicated = found.get("oat", {}), found.get("dedicated", {})
    both = [
        (points, dedicated[seed])
        for seed, points in oat.items()
        if any(p["lam"] == 1 for p in dedicated.get(seed, []))
    ]
    if not both:
        return ""
    behind = statistics.fmean(_robust_end(other) - _robust_end(one) for one, other in both)
    return (
        f"At λ = 1 OAT is {100 * behind:.1f} points less robust than the network for λ = 1 alone. "
        "The comparison favours the dedicated networks for a small λ. At λ = 0.1 they keep about 4 "
        "points against the quick suite that they lose against the fast one, and OAT less than one "
        "(`oatlib/training/presets.py`). "
    )


def _robust_end(points: list[dict]) -> float:
    """Robust accuracy at the largest λ."""
    return max(points, key=lambda point: point["lam"])["robust"]


def _ends_of(points: list[dict]) -> list[tuple[float, float]]:
    """The points at the lowest and at the highest λ."""
    ordered = _pairs(sorted(points, key=lambda p: p["lam"]))
    return [ordered[0], ordered[-1]]


def _differences(
    rows: list[list[float | None]], others: list[list[float | None]]
) -> list[list[float | None]]:
    return [
        [baselines.gain(a, b) for a, b in zip(row, other, strict=True)]
        for row, other in zip(rows, others, strict=False)
    ]


def ruler(record: dict) -> list[str]:
    """The default attack against PGD-20 and the long suites."""
    lines = [
        "left, % | λ | PGD-20 | quick (the default) | fast | full | cost of quick over PGD-20",
        "|".join(["---"] * 7),
    ]
    for row in record["rows"]:
        keys = ("pgd20", "quick", "fast", "full")
        left = [f"{100 * row[key]:.1f}" if key in row else "" for key in keys]
        lines.append(f"`{row['name']}` | {row['lam']:g} | {' | '.join(left)} | {row['cost']:.2f}")
    over = [row for row in record["rows"] if row["cost"] > record["limits"]["cost"]]
    where = ", all of them at λ = 1" if over and {row["lam"] for row in over} == {1.0} else ""
    return [
        "",
        *(f"| {line} |" for line in lines),
        "",
        f"The ready networks on n = {record['rows'][0]['n']} validation images. The aim of a cost "
        f"of at most {record['limits']['cost']:g} is missed in {len(over)} of "
        f"{len(record['rows'])} settings{where}. Recorded in "
        "`bench/results/ruler.json`; repeat with `python -m bench.ruler`.",
    ]


def widths(record: dict) -> list[str]:
    """OATS next to OAT, mean over the seeds; then what separate heads and norms gain."""
    runs = record["runs"]
    names = ("oat", "oats")
    lams = sorted({p["lam"] for r in runs if r["name"] == "oats" for p in r["points"]})
    lines = [
        "clean / robust, % | " + " | ".join(f"λ = {lam:g}" for lam in lams) + " | training",
        "|".join(["---"] * (len(lams) + 2)),
    ]
    for name in names:
        mine = [r for r in runs if r["name"] == name]
        for width in sorted({p["width"] for p in mine[0]["points"]}, reverse=True):
            cells = []
            for lam in lams:
                here = [
                    p for r in mine for p in r["points"] if (p["lam"], p["width"]) == (lam, width)
                ]
                clean, robust = (
                    statistics.fmean(p[k] for p in here) * 100 for k in ("clean", "robust")
                )
                cells.append(f"{clean:.1f} / {robust:.1f}")
            seconds = statistics.fmean(r["train_seconds"] for r in mine)
            label = f"{name.upper()}, width {width:g}"
            lines.append(f"{label} | " + " | ".join(cells) + f" | {seconds:.0f} s")
    count = len({r["seed"] for r in runs if r["name"] == "oats"})
    n = runs[0]["points"][0]["n"]
    return [
        "",
        *(f"| {line} |" for line in lines),
        "",
        f"Mean of {count} seeds, n = {n} test images, PGD-20. Gains in points, ± 95 % over seeds, "
        "n as given:",
        "",
        *_gain_lines(record["gains"]),
        "",
        "Recorded in `bench/results/family.json`; repeat with `python -m bench.family`. Seconds in "
        "both tables are "
        "of one thread beside other work.",
    ]


ROWS = {  # networks along the dial -> how the README calls them
    "oat_dial": "`oat`",
    "blend": "`blend`",
    "float": "`float`",
    "float_forward": "`float`, redraw=forward",
    "float_rule_a": "`float`, redraw=forward, dial=rule-a",
    "float_rule_b": "`float`, redraw=forward, dial=rule-b",
    "floats_30": "`floats`, density 0.3",
    "floats_30_forward": "`floats`, density 0.3, redraw=forward",
    "floats_10": "`floats`, density 0.1",
    "floats_10_forward": "`floats`, density 0.1, redraw=forward",
    "smart": "`smart`",
    "smart_everywhere": "`smart`, mask_in=all",
    "smart_overlapping": "`smart`, masks=overlapping",
}
DIP, LEAP = (
    0.05,
    0.8,
)  # clean accuracy below both ends, and the share of the way in a fifth of λ, that make a switch
SWITCH = (
    "the largest share of the way from end to end that is made within a fifth of λ; a switch makes "
    "more than "
    f"{LEAP:.0%} of it there, or dips in clean accuracy by more than {DIP * 100:.0f} points below "
    "both ends."
)


def fifths(run: dict) -> list[dict]:
    """The points that all networks along the dial have been measured at."""
    return [p for p in run["points"] if p["lam"] in FIFTHS]


def between(points: list[dict]) -> tuple[float, float]:
    """How far clean accuracy dips below both ends, and the largest share of the way made between
    two points.
    """
    clean, way = [p["clean"] for p in points], [p["robust"] - p["clean"] for p in points]
    return min(clean[0], clean[-1]) - min(clean), max(b - a for a, b in pairwise(way)) / (
        way[-1] - way[0]
    )


def kind_of_dial(runs: list[dict]) -> str:
    """Whether λ is a dial or a switch, from the means over the runs of one network."""
    dip, leap = (
        statistics.fmean(values)
        for values in zip(*(between(fifths(run)) for run in runs), strict=True)
    )
    if dip > DIP:
        return f"switch, dips by {dip * 100:.0f}"
    return f"{'switch' if leap > LEAP else 'dial'}, {leap:.0%}"


def dial(record: dict) -> list[str]:
    """The networks whose weights depend on λ next to OAT: both ends, what they cost, and whether λ
    is a dial.
    """
    lines = [
        f"network | seeds | λ = 0 | λ = 1 | {AT_CLEAN} | training | stored | active | "
        "stored / active, ResNet-34 | dial?",
        "|".join(["---"] * 10),
    ]
    runs = {name: [r for r in record["runs"] if r["name"] == name] for name in ROWS}
    for name, label in ROWS.items():
        mine, large = runs[name], record["resnet34"][name]
        ends = [
            " / ".join(
                f"{statistics.fmean(r['points'][i][k] for r in mine):.1%}"[:-1]
                for k in ("clean", "robust")
            )
            for i in (0, -1)
        ]
        cost, seconds = mine[0]["cost"]["1"], statistics.fmean(r["train_seconds"] for r in mine)
        millions = " / ".join(f"{large['1'][k] / 1e6:.2f} M" for k in ("stored", "active"))
        kept = percents(mean_robust_at([fifths(r) for r in mine]))
        lines.append(
            f"{label} | {len(mine)} | {' | '.join(ends)} | {kept} | {seconds:.0f} s | "
            f"{cost['stored']:,} | {cost['active']:,} | {millions} | {kind_of_dial(mine)}"
        )
    return ["", *(f"| {line} |" for line in lines), "", *_dial_words(runs)]


def _dial_words(runs: dict) -> list[str]:
    noisy, plain = runs["float"][0]["points"][-1], runs["blend"][0]["points"][0]
    other = runs["float_rule_a"][0]["points"][-1]
    return [
        "Clean / robust in %, mean over seeds, test images: "
        f"n = {plain['n']}, where weights are noisy n = {noisy['n']} with all accuracies and "
        "attack gradients averaged "
        f"over {noisy['noise_samples']} noise samples (EOT-PGD-20; dial=rule-a and rule-b: "
        f"{other['noise_samples']}). "
        "*Stored* and *active* "
        f"(at λ = 1) count the parameters that no mask leaves out. *{AT_CLEAN}*: interpolated over "
        "λ = 0, 0.2 ... 1. "
        f"*Dial?* {SWITCH[0].upper()}{SWITCH[1:]} "
        "Seconds are of one thread beside other work. Recorded in `bench/results/family.json`.",
    ]


def claims(record: dict, rows: dict) -> list[str]:
    """What the papers say about cost and accuracy, next to what was measured."""
    large = {name: costs["1"] for name, costs in record["resnet34"].items()}
    first = {r["name"]: r for r in record["runs"] if r["seed"] == 0}
    tiny = {name: first[name]["cost"]["1"] for name in ("oat_dial", "float", "smart")}

    def fewer(name, what):
        scalar, code = (large[n][what] / large[name][what] for n in ("oat_scalar", "oat_dial"))
        ours = tiny["oat_dial"][what] / tiny[name][what]
        return (
            f"{scalar:.2f} times for ResNet-34 ({code:.2f} with the default code of λ), "
            f"{ours:.2f} times for `tiny`"
        )

    times = " and ".join(
        f"{found['float']['ratio']:.2f} (PGD-{k})" for k, found in rows["oat_over"].items()
    )
    gains = " and ".join(
        f"{_mean_gain(record, name):+.1f} points for `{label}`"
        for name, label in (("float", "float"), ("smart", "smart"), ("blend", "blend"))
    )
    return [
        "",
        "The papers' claims, and what was found here:",
        "",
        "* FLOAT trains up to 1.43 times faster than with FiLM: a training step of `oat` takes "
        f"{times} times as long.",
        f"* FLOAT has up to 1.47 times fewer parameters: {fewer('float', 'stored')}.",
        f"* SMART uses up to 2.72 times fewer non-zero parameters: {fewer('smart', 'active')}.",
        "* They are more accurate: robust accuracy at λ = 1 minus that of `oat`, same seeds: "
        f"{gains}.",
    ]


def _mean_gain(record: dict, name: str) -> float:
    """Points of robust accuracy over OAT at the robust end, mean over the seeds of both."""
    ends = {(r["name"], r["seed"]): r["points"][-1]["robust"] for r in record["runs"]}
    seeds = [seed for n, seed in ends if n == name and ("oat_dial", seed) in ends]
    return statistics.fmean(ends[name, seed] - ends["oat_dial", seed] for seed in seeds) * 100


def mean_robust_at(runs: list[list[dict]]) -> list[float | None]:
    """Mean robust accuracy at clean >= 98, 95, 90 %; None where a run does not reach it."""
    return _means([[robust_at(_pairs(points), level) for level in LEVELS] for points in runs])


def _means(rows: list[list[float | None]]) -> list[float | None]:
    return [
        None if None in values else statistics.fmean(values) for values in zip(*rows, strict=True)
    ]


def _pairs(points: list[dict]) -> list[tuple[float, float]]:
    return [(p["clean"], p["robust"]) for p in points]


PHRASES = {
    "solar": "an output layer for every width instead of one for all, with λ (`solar`)",
    "solar_snn": "the same without λ (`solar-snn`)",
    "snn_4_shared_norm": "BatchNorm for every width instead of one for all (`snn`)",
}


def _gain_lines(gains: dict) -> list[str]:
    """The gains in points, with 95 % intervals over the seeds."""
    lines = []
    for pair, gain in gains.items():
        ours, base = pair.split(" over ")
        at_narrowest = base == "snn_4_shared_norm"
        phrase = PHRASES[base if at_narrowest else ours.rsplit("_", 1)[0]]
        kinds = ("narrowest",) if at_narrowest else ("mean", "max")
        what = []
        for kind in ("clean", "robust"):
            for where in kinds:
                value = gain.get(f"{kind}_{where}")
                if value and value["plus_minus"] is not None:
                    name = {
                        "narrowest": "at width 0.25",
                        "mean": "on average",
                        "max": "in the sub-network that gains most",
                    }[where]
                    what.append(
                        f"{kind} {name} {round(value['mean'] * 100, 1) + 0.0:+.1f} ± "
                        f"{value['plus_minus'] * 100:.1f}"
                    )
        if what:
            place = f", {ours.rsplit('_', 1)[1]} widths" if not at_narrowest else ""
            lines.append(
                f"* {phrase}{place}: {', '.join(what)} ({gain['seeds']} seeds, n = {gain['n']})"
            )
    return lines


PHOTO_SYSTEMS = {
    "oat-small": "OAT",
    "oat": "OAT",
    "blend": "`blend`, weights interpolated",
    "blend, outputs": "`blend`, outputs mixed",
    "float": "FLOAT",
    "smart": "SMART",
    "oats": "OATS",
    "solar": "SOLAR",
    "floats": "FLOATS",
}


PHOTO_AIM = (0.72, 0.28)  # of the networks that are trained in a quarter of an hour


def photographs(record: dict) -> list[str]:
    """Dials on photographs: the same columns for every setting, means over the seeds, and what a
    coin between the ends keeps there. Networks with several widths are shown at the largest and at
    the smallest.
    """
    lines = [
        "system | network | seeds | λ | clean | PGD-20 | suite | coin between the ends, at that "
        "clean accuracy",
        "|".join(["---"] * 8),
    ]
    by_system: dict[tuple[str, str], list[dict]] = {}
    by_network: dict[str, list[dict]] = {}
    for run in sorted(record["runs"], key=lambda run: run["seed"]):
        by_system.setdefault((run["system"], run["network"]), []).append(run)
        known = by_network.setdefault(run["network"], [])
        if run["seed"] not in [other["seed"] for other in known]:
            known.append(run)
    for (name, network), runs in by_system.items():
        label = f"{PHOTO_SYSTEMS.get(name, 'one network for one λ')}{{where}} | `{network}`"
        lines += _photo_rows(label, runs)
    noisy = [name for (name, _), runs in by_system.items() if runs[0]["eot_samples"] > 1]
    averaged = (
        f"For {', '.join(f'`{name}`' for name in noisy)} gradients are averaged over samples of "
        "the noise (EOT). "
        if noisy
        else ""
    )
    half = 50 * max(
        point["robust_high"] - point["robust_low"]
        for run in record["runs"]
        for point in run["points"]
    )
    strong = [_strong_ends(runs) for runs in by_network.values() if "strong" in runs[0]]
    aims = [_aim(runs) for name, runs in by_network.items() if name.startswith("oat-small")]
    trainings = "; ".join(_photo_training(runs[0]) for runs in by_network.values())
    return [
        "",
        *(f"| {line} |" for line in lines),
        "",
        f"Photographs: {record['images']}. Numbers are means over the seeds; the 95 % interval of "
        f"a robust accuracy of one seed is at most ±{half:.1f} points; {record['attack_text']}. "
        f"Trained: {trainings}. The times are those of the first seed. "
        f"{averaged}{''.join(strong + aims)}What was tried is in "
        "`oatlib/training/presets.py`. Recorded in "
        "`bench/results/photographs.json`; repeat with `python -m bench.photographs FOLDER`.",
    ]


def _photo_rows(label: str, runs: list[dict]) -> list[str]:
    """The rows of one system: its settings at the largest and at the smallest width.

    Args:
        label: The first two columns, with {where} in the place of the width.
        runs: One run for each seed.
    """
    lines = []
    widths = {p.get("width", 1.0) for p in runs[0]["points"]}
    for width in sorted({max(widths), min(widths)}, reverse=True):
        dials = [
            sorted(
                (p for p in run["points"] if p.get("width", 1.0) == width), key=lambda p: p["lam"]
            )
            for run in runs
        ]
        ends = [_ends_of(dial) for dial in dials]
        where = "" if width == max(widths) else f", width {width:g}"
        for at_setting in zip(*dials, strict=True):
            means = [
                f"{100 * statistics.fmean(p[key] for p in at_setting):.1f}"
                for key in ("clean", "pgd", "robust")
            ]
            kept = [coin(*pair, p["clean"]) for pair, p in zip(ends, at_setting, strict=True)]
            known = len(dials[0]) > 1 and None not in kept
            told = f"{100 * statistics.fmean(kept):.1f}" if known else "-"
            lines.append(
                f"{label.format(where=where)} | {len(runs)} | {at_setting[0]['lam']:g} | "
                f"{' | '.join(means)} | {told}"
            )
    return lines


def _photo_training(run: dict) -> str:
    """How a network was trained, and for how long: one part of a sentence."""
    recipe, preset = run["recipe"], run["preset"]
    words = [
        f"{run['n_train']:,} images",
        f"{preset['epochs']} epochs",
        f"PGD-{preset['steps']}",
        f"lr {preset['lr']:g}",
    ]
    words += [f"{name} {value}" for name, value in run["options"].items()]
    words.append(f"at_last_stop {preset['at_last_stop']:g}")
    n_threads = run["threads"]
    took = f"{run['train_seconds']:.0f} s on {n_threads} thread{'s' * (n_threads > 1)}"
    if run["cpu_seconds"] is not None:
        took += f", {run['cpu_seconds']:.0f} s of computing"
    return (
        f"`{run['network']}`: `{recipe}` with `{run['backbone']}` ({', '.join(words)}; {took}; "
        f"n = {run['points'][0]['n']} test images)"
    )


def _aim(runs: list[dict]) -> str:
    """How many of the networks for photographs reach their aim: a sentence."""
    told, reached = [], 0
    for run in runs:
        points = sorted(run["points"], key=lambda p: p["lam"])
        clean, robust = points[0]["clean"], points[-1]["robust"]
        reached += clean >= PHOTO_AIM[0] and robust >= PHOTO_AIM[1]
        told.append(f"{100 * clean:.1f} and {100 * robust:.1f} %")
    aim = " and ".join(f"{100 * part:.0f} %" for part in PHOTO_AIM)
    return (
        f"`{runs[0]['network']}` reaches the aim of {aim} (clean at λ = 0, robust at λ = 1) with "
        f"{reached} of {len(runs)} seeds: {'; '.join(told)}. "
    )


def _strong_ends(runs: list[dict]) -> str:
    """What the stronger suite leaves at both ends of a dial, mean over the seeds: a sentence."""
    told = " and ".join(
        f"{100 * statistics.fmean(p['robust'] for p in points):.1f} % at λ = {points[0]['lam']:g}"
        for points in zip(*(run["strong"] for run in runs), strict=True)
    )
    budget = runs[0]["strong_text"].partition(" ")[0]
    return f"On `{runs[0]['network']}` the {budget} suite leaves {told}. "


def ends(record: dict) -> list[str]:
    """Both ends of the dials that training defines there only, and between them; then gains of
    output layers.
    """
    lines = [
        f"network | seeds | λ = 0 | λ = 1 | {AT_CLEAN} | between the ends",
        "|".join(["---"] * 6),
    ]
    for name, label in ROWS.items():
        mine = [r for r in record["runs"] if r["name"] == name]
        if not mine:
            continue
        sides = []
        for end in (0, -1):
            clean, robust = (
                statistics.fmean(run["points"][end][key] for run in mine)
                for key in ("clean", "robust")
            )
            sides.append(f"{100 * clean:.1f} / {100 * robust:.1f}")
        kept = percents(mean_robust_at([fifths(r) for r in mine]))
        lines.append(f"{label} | {len(mine)} | {' | '.join(sides)} | {kept} | {kind_of_dial(mine)}")
    gains = _gain_lines(record["gains"])
    noisy = [r["points"][-1] for r in record["runs"] if r["points"][-1]["noise_samples"] > 1]
    told = (
        f"; where weights are noisy n = {noisy[0]['n']}, means over "
        f"{noisy[0]['noise_samples']} noise samples (EOT)"
        if noisy
        else ""
    )
    n = max(p["n"] for r in record["runs"] for p in r["points"])
    table = [
        "",
        *(f"| {line} |" for line in lines),
        "",
        f"Clean / robust in %, mean over seeds, quick suite, n = {n} test images of "
        f"`shapes`{told}. Training "
        f"defines the two ends of these dials only. *Between the ends*: {SWITCH} "
        "Recorded in `bench/results/family.json`; repeat with `python -m bench.family`.",
    ]
    words = [
        "",
        "Gains in points on test images of `shapes`, preset `fast`, quick suite, ± 95 % over "
        "seeds. Recorded in `bench/results/family.json`; repeat with `python -m bench.family`.",
        "",
        *gains,
    ]
    return (table if len(lines) > 2 else []) + (words if gains else [])


def speed(step: dict, at: dict, width: dict, rows: dict) -> list[str]:
    """What folding buys, as ratios; what half the width and the rows cost."""
    s, a, layout = step["step_ratio"], at["at_ratio"], step["step_ratio_channels_last"]
    return [
        "",
        f"Speed, on {step['machine']['threads']} threads ({step['machine']['processor']}): one OAT "
        "step with PGD-7 "
        f"takes {s['ours_ms']:.0f} ms, {s['ratio']:.2f} times as fast as the plain way to write it "
        f"({layout['ratio']:.2f} times if that is given our memory layout); a folded network takes "
        f"{a['ratio']:.2f} "
        "times as long as an ordinary network with the same convolutions. At half the width a "
        "forward takes "
        + " and ".join(
            f"{row['0.5']['time']:.2f} of the full width's time for `{name}` ({row['images']} "
            f"images of {row['size']}x"
            f"{row['size']}; multiply-adds: {row['0.5']['multiply_adds']:.2f})"
            for name, row in width["forward_over_full"].items()
        )
        + ". A training step of OAT takes, with PGD-7, "
        + " and ".join(
            f"{r['ratio']:.2f} times as long as one of `{name}`"
            for name, r in rows["oat_over"]["7"].items()
        )
        + ". Repeat with `make bench`.",
    ]


def loading(record: dict) -> list[str]:
    """How fast `load_data` reads a folder of small images."""
    lines = [
        "images in a second | plain loop with PIL | `load_data`, decoded | `load_data`, cached",
        "|".join(["---"] * 4),
    ]
    for kind, row in record["loading"].items():
        cells = [
            f"{row['images_per_second'][way]['median']:,} "
            f"({row['images_per_second'][way]['of_one_core']:,})"
            for way in ("plain", "decoded", "cached")
        ]
        lines.append(f"{kind} | {' | '.join(cells)}")
    row = next(iter(record["loading"].values()))
    rounds = row["plain_over_decoded"]["rounds"]
    return [
        "",
        *(f"| {line} |" for line in lines),
        "",
        f"Folders of {row['images']:,} files of 32x32 pixels (to be resized: 64x64) become tensors "
        f"of {row['size']}x{row['size']}, on at most {record['decoding_threads']} threads, beside "
        f"other work: medians of {rounds} rounds, and in brackets images in a second of processor "
        "time, which is what one core does. Searching the folder, dividing and checking are "
        "included. The files are in the memory of the operating system. "
        "Recorded in `bench/results/loading.json`; repeat with `python -m bench loading`.",
    ]


def sweeps(record: dict) -> list[str]:
    """How much time a sweep over several processes takes."""
    row = record["sweep"]
    seconds = {way: row[f"{way}_ms"] / 1000 for way in ("workers", "in_turn")}
    return [
        "",
        f"`oatlib sweep` does {row['runs']} short trainings on {row['cores']} worker processes "
        f"with one thread each in {seconds['workers']:.0f} s, their start included. One after the "
        f"other, with {row['cores']} threads, they take {seconds['in_turn']:.0f} s: "
        f"{row['ratio']:.2f} of the time. Recorded in `bench/results/sweep.json`; repeat with "
        "`python -m bench sweep`.",
    ]


def reruns(record: dict) -> list[str]:
    """What `oatlib rerun` costs beside the notebook itself."""
    row = record["rerun"]
    return [
        "",
        f"`oatlib rerun {row['lesson']}` takes {row['ratio']:.2f} times as long as nbclient alone "
        f"({row['nbclient_ms'] / 1000:.0f} s, median of {row['rounds']} rounds). Recorded in "
        "`bench/results/rerun.json`; repeat with `python -m bench rerun`.",
    ]


def trained_in(record: dict, version: str = "") -> list[str]:
    """How long the preset `fast` took, alone on a machine."""
    *times, last = (
        f"`{name}` in {seconds:.0f} s" for name, seconds in record["training_seconds"].items()
    )
    threads = record["machine"]["threads"]
    words = [f"`fast`{version} trained {', '.join(times)} and {last}, on {threads} threads."]
    if "by_seed" in record:  # the record of the first world has one seed
        seconds = record["training_seconds"]
        six = seconds["standard"] + 5 * seconds["pgd-at"]
        words.append(
            f"So `oat` takes {seconds['oat'] / six:.2f} of the time of six dedicated networks "
            "(`standard` and five `pgd-at`). `oat` and `pgd-at` are means of "
            f"{len(record['by_seed']['oat'])} seeds. Recorded in `bench/results/training.json`; "
            "repeat with `python -m bench training`."
        )
    return ["", " ".join(words)]


def answers(record: dict) -> list[str]:
    """How long the explorer takes to answer a key."""
    lines = [
        "key presses | home | width | first number, ms | first robust number of the exact setting "
        "| settled",
        "|".join(["---"] * 6),
    ]
    for kind in record["page"]:
        for home, words in (("lab", "JupyterLab"), ("page", "its own page")):
            for width in ("1", "0.5"):
                found = record[home][kind][f"width {width}"]
                times = " | ".join(
                    str(found[what]["median"]) for what in ("first", "live", "settled")
                )
                lines.append(f"{kind} | {words} | {width} | {times}")
    drags = [of["drag"] for home in ("lab", "page") for of in record[home].values()]
    slowest = max(drag["settled_after_release"] for drag in drags) / 1000
    moves = record["lab"]["equal moves"]["width 1"]["first"]["n"]
    return [
        "",
        f"The explorer, in Chromium on the same machine, `oats`, {record['attack']} on n = "
        f"{record['n']} images, "
        f"medians over {moves} key presses along the dial, 0.3 s after the numbers have settled "
        "(*unhurried*: 3 s). "
        "While one looks, what the same key would bring once more is measured ahead; *other moves* "
        "are never that.",
        "",
        *(f"| {line} |" for line in lines),
        "",
        "While a slider is dragged, the number changes "
        f"{min(drag['updates_a_second'] for drag in drags):.0f} times a "
        f"second or more; let go of, it took at most {slowest:.1f} s until the numbers had settled "
        f"({len(drags)} drags). Repeat with `python -m bench.explorer`.",
    ]


def explorer_times(record: dict) -> list[str]:
    """How long the explorer takes to answer a key, with a settled and a refined number."""
    first, images = record["n"]["settled"], record["n"]["all"]
    columns = {
        "first": "number of the curve, ms",
        "live": "start of the attack",
        "settled": f"settled on {first} images",
        "all": f"on {images} images",
    }
    lines = [
        " | ".join(["key presses", "home", "width", *columns.values()]),
        "|".join(["---"] * (3 + len(columns))),
    ]
    for kind in record["page"]:
        for home, words in (("lab", "JupyterLab"), ("page", "its own page")):
            for width in ("1", "0.5"):
                times = record[home][kind][f"width {width}"]
                medians = [str(times[what]["median"]) if what in times else "" for what in columns]
                lines.append(" | ".join([kind, words, width, *medians]))
    moves = record["page"]["other moves"]["width 1"]["first"]["n"]
    drags = [of["drag"] for home in ("lab", "page") for of in record[home].values()]
    slowest = max(drag["settled_after_release"] for drag in drags) / 1000
    return [
        "",
        f"The explorer in Chromium on the same machine, `oats`, {record['attack']}: medians over "
        f"{moves} key presses along the dial. *Other moves* cannot be foreseen. The next key is "
        "pressed 0.3 s after the last number. *Equal moves*: the same key again, 0.3 s after the "
        "number has settled. It is measured ahead.",
        "",
        *(f"| {line} |" for line in lines),
        "",
        "While a slider is dragged, the number changes "
        f"{min(drag['updates_a_second'] for drag in drags):.0f} times a second or more. After it "
        f"is released, the numbers settle within {slowest:.1f} s ({len(drags)} drags). Repeat with "
        "`python -m bench.explorer`.",
    ]


def robustness(suite: dict, honest: dict) -> list[str]:
    """Tables of stronger attacks, and of `oatlib.audit` on honest networks and on frauds."""
    lines = ["left, % | λ | n | PGD-20 | suite | AutoAttack", "|".join(["---"] * 6)]
    for row in suite["rows"]:
        left = [
            f"{100 * row[key]:.1f}" if key in row else "" for key in ("pgd", "suite", "autoattack")
        ]
        lines.append(f"`{row['name']}` | {row['lam']:g} | {row['n']} | {' | '.join(left)}")
    kinds = {
        kind: [row for row in honest["rows"] if row["kind"] == kind] for kind in ("honest", "fraud")
    }
    seeds, (n,) = len({row["seed"] for row in honest["rows"]}), {row["n"] for row in honest["rows"]}
    alarms, missed = (sum(row["fault"] for row in rows) for rows in kinds.values())
    return [
        "",
        *(f"| {line} |" for line in lines),
        "",
        "The bundled networks, on validation images of `shapes` (seed 0), ε = 8/255. The "
        "suite: "
        f"{suite['suite']}. "
        "Noisy networks (n smaller): EOT over 10 noise samples, and fewer steps. "
        "AutoAttack: that of "
        "torchattacks. Repeat with `python -m bench.suite`.",
        "",
        f"`oatlib.audit` on newly trained networks, {seeds} seeds, n = {n}: of "
        f"{len(kinds['honest'])} honest settings "
        f"(`pgd-at`, `oat`, `oats`) {alarms} raised anything, of {len(kinds['fraud'])} planted "
        f"frauds {missed} were "
        "not caught by name. Repeat with `python -m bench.honest`.",
    ]


def block() -> str:
    """The figures of the world as it is: the claim, the ruler, speed."""
    lines = []
    for name, told in CLAIMS.items():
        if (path := HERE / "results" / f"{name}.json").exists():
            lines += told(read_json(path))
    records = {
        name: read_json(HERE / "results" / f"{name}.json")
        for name in ("step", "at", "widths", "rows")
    }
    return "\n".join(lines + speed(*(records[name] for name in ("step", "at", "widths", "rows"))))


def audits(record: dict) -> list[str]:
    """What `oatlib.audit` says of honest networks, of frauds and of the exhibit."""
    kinds = {
        kind: [row for row in record["rows"] if row["kind"] == kind]
        for kind in ("honest", "fraud", "exhibit")
    }
    counts = {kind: (len(rows), sum(row["fault"] for row in rows)) for kind, rows in kinds.items()}
    seeds = sorted({row["seed"] for row in kinds["honest"]})
    names = ", ".join(dict.fromkeys(f"`{row['name']}`" for row in kinds["honest"]))
    sizes = sorted({row["n"] for row in kinds["honest"]})
    suites = " and ".join(sorted({row["suite"] for row in kinds["honest"]}))
    known = (
        ""
        if counts["exhibit"][1]
        else " The exhibit, overfitted to its training attack, is caught by name."
    )
    alarms = []
    raised = [row for row in kinds["honest"] if row["fault"]]
    of_claims = ""
    if raised and all(set(row["raised"]) == {"claim"} for row in raised):
        misses = [100 * (row["claim"] - row["robust"]) for row in raised]
        of_claims = (
            "Nothing was claimed, so PGD-20 took the place of the claim. In the raised settings it "
            f"leaves {min(misses):.0f} to {max(misses):.0f} points more than the suite: there the "
            "audit is right about PGD-20. "
        )
    for row in raised:
        where = f"λ = {row['lam']:g}, width {row['width']:g}, seed {row['seed']}"
        alarms.append(f"`{row['name']}`, {where}: {', '.join(row['raised'])}")
    return [
        "",
        f"`oatlib.audit` ({suites} suite) ran on newly trained networks ({names}), {len(seeds)} "
        f"seeds, n = {' or '.join(map(str, sizes))} validation images. Of {counts['honest'][0]} "
        f"honest settings {counts['honest'][1]} raised anything"
        f"{': ' + '; '.join(alarms) if alarms else ''}. Of {counts['fraud'][0]} planted frauds "
        f"{counts['fraud'][1]} were not caught by name.{known} {of_claims}"
        "Recorded in "
        "`bench/results/honest.json`; repeat with `python -m bench.honest`.",
    ]


def first_world() -> str:
    """Figures of the first world, which have not been measured again."""
    records = {
        name: read_json(FIRST / f"{name}.json")
        for name in ("family", "suite", "honest", "training", "explorer")
    }
    rows = read_json(HERE / "results" / "rows.json")
    return "\n".join(
        widths(records["family"])
        + dial(records["family"])
        + claims(records["family"], rows)
        + robustness(records["suite"], records["honest"])
        + trained_in(records["training"], " of that version")
        + answers(records["explorer"])
    )


# record -> what is said of it; a record that was not made yet is left out
CLAIMS = {
    "once_for_all": once_for_all,
    "family": ends,
    "photographs": photographs,
    "ruler": ruler,
    "honest": audits,
    "training": trained_in,
    "explorer": explorer_times,
    "loading": loading,
    "sweep": sweeps,
    "rerun": reruns,
}


def pages() -> dict[Path, dict[str, str]]:
    """{page: {name of a block: its text}}"""
    return {
        HERE.parent / "README.md": {"lessons": front.lessons()},
        HERE.parent / "docs" / "claims.md": {"board": board.as_markdown(board.rows())},
        HERE.parent / "docs" / "figures.md": {"networks": front.networks()},
        HERE / "README.md": {"figures": block(), "first_world": first_world()},
        HERE.parent / "notebooks" / "README.md": {"ladder": front.ladder()},
    }


def parts(text: str, name: str) -> tuple[str, str, str]:
    """A page before, in and after the block of that name."""
    begin, end = (f"<!-- {name}:{edge} -->" for edge in ("begin", "end"))
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


def main() -> None:
    """Replace the blocks in the pages."""
    for path, blocks in pages().items():
        text = path.read_text(encoding="utf-8")
        for name, content in blocks.items():
            before, _, after = parts(text, name)
            text = f"{before}\n{content}\n{after}"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
