"""Compute the checks of each claim from records. Nothing is trained or attacked here.

A function takes records, as their files hold them, and returns checks. Differences of two arms are
taken seed by seed. Accuracies in records are fractions, checks are in points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from ..course import many_seeds
from ..course.dials import best_coin
from ..evaluation.baselines import LEVELS, coin, robust_at
from .verdict import Check, Estimate, counted, from_seeds, shown, timed

Record = dict[str, Any]
Dial = list[tuple[float, float]]  # (clean, robust) along λ
BySeed = dict[int, Dial]

MATCH = 2.0  # points: "as good as" means not worse by more than this
EQUAL_COST = 1.01  # times: "costs nothing" means less than 1 % more
EQUAL_TIME = 1.1  # times: the same for measured times, which vary
LEVEL = LEVELS[1]  # the clean accuracy at which dials are compared if one level is enough
AT_LEVEL = f"robust at clean >= {100 * LEVEL:g} %"
HALF = 50.0  # percent
PHOTOGRAPH_WIDTHS = (1.0, 0.75, 0.5)  # those of OATS, which SOLAR has, too
DENSITY = "0.3"  # of the sparse networks
PASSES = {"batch": 64, "steps": 7, "stops": 6}  # of the training step that bench/rows.py times


def dial_of(points: Sequence[Mapping[str, Any]], width: float = 1.0) -> Dial:
    """Return (clean, robust) at one width, in the order of λ.

    Args:
        points: Measured settings with "lam", "clean", "robust" and, if there are several,
            "width".
        width: The width.
    """
    chosen = [point for point in points if point.get("width", 1.0) == width]
    ordered = sorted(chosen, key=lambda point: point["lam"])
    return [(point["clean"], point["robust"]) for point in ordered]


def systems(record: Record, width: float = 1.0) -> dict[str, BySeed]:
    """Return the dials of a record of runs: {name: {seed: dial}}.

    The networks that were trained for one λ each, "dedicated 0.2" and so on, make one dial:
    "dedicated". A seed that lacks one of them is left out.

    Args:
        record: A record with "runs". A run has a "system" or a "name", a "seed" and "points".
        width: The width.
    """
    points: dict[str, dict[int, list]] = {}
    for run in record["runs"]:
        name = run["system"] if "system" in run else run["name"]
        name = "dedicated" if name.startswith("dedicated ") else name
        points.setdefault(name, {}).setdefault(run["seed"], []).extend(run["points"])
    most = max((len(each) for each in points.get("dedicated", {}).values()), default=0)
    dials: dict[str, BySeed] = {}
    for name, runs in points.items():
        for seed, measured in runs.items():
            dial = dial_of(measured, width)
            if dial and (name != "dedicated" or len(measured) == most):
                dials.setdefault(name, {})[seed] = dial
    return dials


def at_clean(dial: Dial, level: float = LEVEL) -> float:
    """Return robust accuracy at a clean accuracy, in points. 0: the dial is never so accurate."""
    return 100 * (robust_at(dial, level) or 0.0)


def robust_end(dial: Dial) -> float:
    """Return robust accuracy at the last λ, in points."""
    return 100 * dial[-1][1]


def clean_end(dial: Dial) -> float:
    """Return clean accuracy at the first λ, in points."""
    return 100 * dial[0][0]


def coin_at(standard: tuple[float, float], robust: tuple[float, float], level: float) -> float:
    """Return what a coin between two points keeps at a clean accuracy, in points."""
    return 100 * (coin(standard, robust, level) or 0.0)


def above_own_coin(dial: Dial, level: float = LEVEL) -> float:
    """Return the gain of a dial over the coin between its own ends, in points."""
    return at_clean(dial, level) - coin_at(dial[0], dial[-1], level)


def paired(first: BySeed, second: BySeed, measure: Callable[[Dial], float]) -> Estimate | None:
    """Return the difference of two systems, seed by seed.

    Args:
        first: Dials of the first system by seed.
        second: Dials of the second system. Seeds that only one of the two has are left out.
        measure: Function from a dial to points.
    """
    seeds = sorted(first.keys() & second.keys())
    return from_seeds([measure(first[seed]) - measure(second[seed]) for seed in seeds])


def _ours_minus(ours: BySeed, other: BySeed, names: str, limit: float) -> list[Check]:
    """Return the checks at one clean accuracy and at both ends of two dials."""
    level = Check(f"{AT_LEVEL}, {names}", "points", paired(ours, other, at_clean), limit)
    return [level, *_ends_minus(ours, other, names, limit)]


def _ends_minus(ours: BySeed, other: BySeed, names: str, limit: float) -> list[Check]:
    """Return the checks at both ends of two dials."""
    measures = {"robust at the last λ": robust_end, "clean at λ = 0": clean_end}
    return [
        Check(f"{text}, {names}", "points", paired(ours, other, measure), limit)
        for text, measure in measures.items()
    ]


# ---- OAT and OATS --------------------------------------------------------------------------------


def one_for_all(once: Record) -> list[Check]:
    """One OAT network against networks that were trained for one λ each."""
    dials = systems(once)
    oat, dedicated = dials["oat"], dials["dedicated"]
    checks = [
        Check(
            f"robust at clean >= {100 * level:g} %, OAT minus dedicated",
            "points",
            paired(oat, dedicated, partial(at_clean, level=level)),
            -MATCH,
        )
        for level in LEVELS
    ]
    checks += _ends_minus(oat, dedicated, "OAT minus dedicated", -MATCH)
    seeds = sorted(oat.keys() & dedicated.keys())
    over_coin = [
        at_clean(oat[seed]) - coin_at(dedicated[seed][0], dedicated[seed][-1], LEVEL)
        for seed in seeds
    ]
    checks.append(
        Check(
            f"{AT_LEVEL}, OAT minus a coin between two dedicated networks",
            "points",
            from_seeds(over_coin),
            role="control",
        )
    )
    # the best coin may toss between any two of the six
    best = [at_clean(oat[seed]) - 100 * (best_coin(dedicated[seed], LEVEL) or 0) for seed in seeds]
    text = f"{AT_LEVEL}, OAT minus the best coin between any two dedicated networks"
    checks.append(shown(text, "points", from_seeds(best)))
    mixed = paired(dials["mix of two"], oat, at_clean)
    text = f"{AT_LEVEL}, the mixed outputs of two dedicated networks minus OAT"
    checks.append(shown(text, "points", mixed))
    return checks


def one_for_all_photographs(photographs: Record) -> list[Check]:
    """OAT on photographs against the networks for λ = 0, 0.2 and 1 that were trained there."""
    dials = systems(photographs)
    oat, dedicated = dials["oat"], dials.get("dedicated", {})
    halfway = partial(_robust_halfway, dedicated)
    seeds = sorted(oat.keys() & dedicated.keys())
    at_halfway = [halfway(seed, oat[seed]) - halfway(seed, dedicated[seed]) for seed in seeds]
    over_coin = [
        halfway(seed, oat[seed])
        - coin_at(dedicated[seed][0], dedicated[seed][-1], _halfway(dedicated[seed]))
        for seed in seeds
    ]
    where = "half-way between the clean accuracies of the dedicated networks"
    return [
        Check(f"robust {where}, OAT minus dedicated", "points", from_seeds(at_halfway), -MATCH),
        *_ends_minus(oat, dedicated, "OAT minus dedicated", -MATCH),
        Check(
            f"robust {where}, OAT minus a coin between two dedicated networks",
            "points",
            from_seeds(over_coin),
            role="control",
        ),
        shown(
            "robust half-way between the clean accuracies of its ends, OAT minus the coin between "
            "them",
            "points",
            from_seeds([above_own_coin(dial, _halfway(dial)) for dial in oat.values()]),
        ),
    ]


def _halfway(dial: Dial) -> float:
    """Return the clean accuracy half-way between those of the ends of a dial."""
    return (dial[0][0] + dial[-1][0]) / 2


def _robust_halfway(dedicated: BySeed, seed: int, dial: Dial) -> float:
    """Return robust accuracy half-way between the ends of the dedicated networks, in points."""
    return at_clean(dial, _halfway(dedicated[seed]))


def _counted_costs(family: Record) -> list[Check]:
    """What the dial of OAT costs in multiply-adds and parameters, for a ResNet-34."""
    large = {name: family["resnet34"][name]["1"] for name in ("oat_dial", "oat_scalar", "blend")}
    stored = {name: large[name]["stored"] / large[name]["plain"] for name in large}
    return [
        Check(
            "multiply-adds at a fixed λ, OAT over the backbone without FiLM, ResNet-34",
            "times",
            counted(large["oat_dial"]["macs"] / large["blend"]["macs"]),
            EQUAL_COST,
            "below",
        ),
        Check(
            "parameters to store, OAT over the network at one λ, ResNet-34",
            "times",
            counted(stored["oat_dial"]),
            EQUAL_COST,
            "below",
        ),
        shown(
            "parameters to store with λ itself as its code, ResNet-34",
            "times",
            counted(stored["oat_scalar"]),
        ),
    ]


def dial_for_free(once: Record, family: Record, folded: Record, training: Record) -> list[Check]:
    """What the dial of OAT costs in inference, memory, training and accuracy."""
    seconds = training["by_seed"]
    times = [one / other for one, other in zip(seconds["oat"], seconds["pgd-at"], strict=True)]
    dials = systems(once)
    return [
        *_counted_costs(family),
        Check(
            "time of a forward at a fixed λ, OAT over an ordinary network",
            "times",
            timed(folded["at_ratio"]),
            EQUAL_TIME,
            "below",
        ),
        Check(
            "time of training, OAT over one network for λ = 1",
            "times",
            from_seeds(times),
            EQUAL_TIME,
            "below",
        ),
        Check(
            "robust at the last λ, OAT minus the network for it",
            "points",
            paired(dials["oat"], dials["dedicated"], robust_end),
            -MATCH,
        ),
    ]


def dial_for_free_photographs(family: Record, photographs: Record) -> list[Check]:
    """The costs that can be counted, and what the dial costs in accuracy at λ = 1."""
    dials = systems(photographs)
    return [
        *_counted_costs(family),
        Check(
            "time of training, OAT over one network for λ = 1", "times", None, EQUAL_TIME, "below"
        ),
        Check(
            "robust at the last λ, OAT minus the network for it",
            "points",
            paired(dials["oat"], dials.get("dedicated", {}), robust_end),
            -MATCH,
        ),
    ]


def dual_bn(once: Record, family: Record, fresh_norm: Record, arms: Record) -> list[Check]:
    """OAT with two BatchNorms against OAT with one: FiLM is in both."""
    both = systems(once)["oat"]
    one = systems(family).get("oat_one_norm", {})
    fresh = systems(fresh_norm)["oat, one BatchNorm, fresh statistics"]
    small = {
        name: dict(enumerate(dial_of(points) for points in arms["arms"][name]))
        for name in ("all of OAT", "one BatchNorm", "neither")
    }
    return [
        *_ours_minus(both, one, "two BatchNorms minus one", 0.0),
        Check(
            f"{AT_LEVEL}, two BatchNorms minus one, backbone `plain`",
            "points",
            paired(small["all of OAT"], small["one BatchNorm"], at_clean),
        ),
        Check(
            f"{AT_LEVEL}, two BatchNorms minus one whose statistics are taken afresh at each λ",
            "points",
            paired(both, fresh, at_clean),
            role="control",
        ),
        shown(
            "clean at λ = 0, two BatchNorms minus one whose statistics are taken afresh at each λ",
            "points",
            paired(both, fresh, clean_end),
        ),
        shown(
            "share of the trainings with one BatchNorm that ended early, because robust accuracy "
            "fell",
            "%",
            _ended_early(family, "oat_one_norm"),
        ),
        shown(
            f"{AT_LEVEL}, one BatchNorm with FiLM minus neither of the two, `plain`",
            "points",
            paired(small["one BatchNorm"], small["neither"], at_clean),
        ),
    ]


def _ended_early(family: Record, name: str) -> Estimate | None:
    """Return the percentage of the trainings of a network that ended early; None without any."""
    early = [run["stopped"] for run in family["runs"] if run["name"] == name]
    return counted(100 * fmean(early)) if early else None


def dual_bn_statistics(ways: Record) -> list[Check]:
    """Which part of dual BatchNorm gives a network two settings: statistics, or scale and shift?"""
    nothing, both = "nothing", "statistics, scale and shift"

    def accuracies(way: str, branch: int, key: str, told: str = "not told") -> list[float]:
        return [100 * run[branch][key] for run in ways[told][way]]

    def share(way: str) -> Estimate | None:
        """Percent of the clean gain of dual BatchNorm that a part of it makes alone."""
        rows = zip(*(accuracies(name, 0, "clean") for name in (way, nothing, both)), strict=True)
        return from_seeds([100 * (part - none) / (all_of - none) for part, none, all_of in rows])

    def robust_gain(base: str, told: str) -> Estimate | None:
        """Robust accuracy in branch 1, dual BatchNorm minus another way."""
        rows = zip(*(accuracies(name, 1, "robust", told) for name in (both, base)), strict=True)
        return from_seeds([ours - theirs for ours, theirs in rows])

    return [
        Check(
            "clean in branch 0: share of the gain of dual BatchNorm that separate statistics make "
            "alone",
            "%",
            share("statistics"),
            HALF,
        ),
        Check(
            "clean in branch 0: share that separate scales and shifts make alone",
            "%",
            share("scale and shift"),
            HALF,
            "below",
        ),
        Check(
            "robust in branch 1, separate statistics added to separate scales and shifts",
            "points",
            robust_gain("scale and shift", "not told"),
        ),
        shown(
            "robust in branch 1, two BatchNorms minus one, where a grey channel tells the branch",
            "points",
            robust_gain(nothing, "told"),
        ),
    ]


def oats(once: Record, slim: Record) -> list[Check]:
    """OATS against OAT, and against dials of each size that were trained alone."""
    oat = systems(once)["oat"]
    by_width = {width: systems(once, width)["oats"] for width in (1.0, 0.75, 0.5)}
    checks = _ours_minus(by_width[1.0], oat, "OATS at width 1 minus OAT", -MATCH)
    index = slim["widths"].index(0.5)
    together, alone = (
        {seed: dial_of(run[index]) for seed, run in enumerate(slim["arms"][name])}
        for name in ("together", "trained alone")
    )
    text = "width 0.5, together minus trained alone, `plain`"
    checks += _ours_minus(together, alone, text, -MATCH)[:2]
    for width, runs in by_width.items():
        checks.append(
            Check(
                f"{AT_LEVEL}, OATS at width {width:g} minus the coin between its ends",
                "points",
                from_seeds([above_own_coin(runs[seed]) for seed in sorted(runs)]),
                role="control",
            )
        )
    return checks


def oats_photographs(photographs: Record) -> list[Check]:
    """OATS on photographs against OAT, and against the coin between its own ends at each width."""
    dials = systems(photographs)
    ours = dials.get("oats", {})
    checks = _ends_minus(ours, dials["oat"], "OATS at width 1 minus OAT", -MATCH)
    for width in PHOTOGRAPH_WIDTHS:
        runs = systems(photographs, width).get("oats", {})
        checks.append(
            Check(
                "robust half-way between the clean accuracies of its ends, OATS at width "
                f"{width:g} minus the coin between them",
                "points",
                from_seeds([above_own_coin(dial, _halfway(dial)) for dial in runs.values()]),
                role="control",
            )
        )
    return checks


# ---- widths --------------------------------------------------------------------------------------


def _clean_gain(slim: Record, ours: str, base: str, widths: Sequence[float]) -> Estimate | None:
    """Return clean accuracy of an arm minus another one, mean over widths, in points."""
    places = [slim["widths"].index(width) for width in widths]
    rows = zip(slim["arms"][ours], slim["arms"][base], strict=True)
    return from_seeds([100 * fmean(a[i] - b[i] for i in places) for a, b in rows])


TOGETHER, SHARED, ALONE = (
    "together, a BatchNorm for each",
    "together, one BatchNorm",
    "trained alone",
)


def switchable_bn(slim: Record) -> list[Check]:
    """A BatchNorm for every width against one for all of them."""
    narrow, *wider = slim["widths"]
    return [
        Check(
            f"clean at width {narrow:g}, a BatchNorm for each width minus one for all",
            "points",
            _clean_gain(slim, TOGETHER, SHARED, [narrow]),
        ),
        Check(
            "clean at the wider widths on average, the same difference",
            "points",
            _clean_gain(slim, TOGETHER, SHARED, wider),
        ),
        Check(
            f"clean at width {narrow:g}, a BatchNorm for each width minus one for all whose "
            "statistics are taken afresh at each width after training",
            "points",
            _clean_gain(slim, TOGETHER, f"{SHARED}, fresh statistics", [narrow]),
            MATCH,
            role="control",
        ),
        shown(
            f"clean at width {narrow:g}, one for all minus trained alone",
            "points",
            _clean_gain(slim, SHARED, ALONE, [narrow]),
        ),
    ]


def slimmable(slim: Record) -> list[Check]:
    """Networks of several widths that share weights against networks that were trained alone."""
    checks = [
        Check(
            f"clean at width {width:g}, slimmable minus trained alone",
            "points",
            _clean_gain(slim, TOGETHER, ALONE, [width]),
            -MATCH,
        )
        for width in slim["widths"]
    ]
    narrow = slim["widths"][0]
    checks.append(
        Check(
            f"clean at width {narrow:g}, cut from a trained network with fresh statistics minus "
            "trained alone (a loss shows that there is something to lose)",
            "points",
            _clean_gain(slim, "cut, fresh statistics", ALONE, [narrow]),
            -MATCH,
            "below",
            "control",
        )
    )
    return checks


def solar(seeds: Record, family: Record) -> list[Check]:
    """An output layer for every width against one for all, with everything else equal."""
    checks = []
    for key in ("clean", "robust"):
        ours, base = (
            many_seeds.points(many_seeds.correct_images(seeds, arm, key))
            for arm in ("solar", "oats")
        )
        gains = (ours - base).tolist()  # by seed, a list over sub-networks
        checks += [
            Check(
                f"{key}, mean gain over the sub-networks",
                "points",
                from_seeds([fmean(each) for each in gains]),
            ),
            Check(
                f"{key}, largest gain minus largest loss of a sub-network (the same maximum with "
                "the arms exchanged)",
                "points",
                from_seeds([max(each) + min(each) for each in gains]),
                role="control",
            ),
            shown(
                f"{key}, largest gain of a sub-network, as published",
                "points",
                from_seeds([max(each) for each in gains]),
            ),
        ]
    first, second = (_robust_by_seed(family, name) for name in ("solar_4", "oats_4"))
    rows = [
        [100 * (ours - base) for ours, base in zip(first[seed], second[seed], strict=True)]
        for seed in sorted(first.keys() & second.keys())
    ]
    text = "where the width losses are also added instead of averaged"
    checks += [
        shown(f"robust, largest gain, {text}", "points", from_seeds([max(each) for each in rows])),
        shown(f"robust, mean gain, {text}", "points", from_seeds([fmean(each) for each in rows])),
    ]
    return checks


def solar_photographs(photographs: Record) -> list[Check]:
    """SOLAR on photographs against OATS, at the widths that both have.

    SOLAR was trained with one width more, 0.25, so not everything else is equal.
    """
    texts = {"clean at λ = 0": clean_end, "robust at the last λ": robust_end}
    gains: dict[str, dict[int, list[float]]] = {text: {} for text in texts}
    for width in PHOTOGRAPH_WIDTHS:
        dials = systems(photographs, width)
        ours, base = dials.get("solar", {}), dials.get("oats", {})
        for seed in ours.keys() & base.keys():
            for text, measure in texts.items():
                gain = measure(ours[seed]) - measure(base[seed])
                gains[text].setdefault(seed, []).append(gain)
    checks = []
    for text, by_seed in gains.items():
        means = [fmean(each) for each in by_seed.values()]
        largest = [max(each) for each in by_seed.values()]
        checks += [
            Check(f"{text}, mean gain over widths 1, 0.75 and 0.5", "points", from_seeds(means)),
            shown(f"{text}, largest gain of these widths", "points", from_seeds(largest)),
        ]
    return checks


def _robust_by_seed(family: Record, name: str) -> dict[int, list[float]]:
    """Return robust accuracies of all settings of a network, by seed."""
    runs = [run for run in family["runs"] if run["name"] == name]
    return {run["seed"]: [point["robust"] for point in run["points"]] for run in runs}


# ---- noisy and sparse weights --------------------------------------------------------------------


def float_time(rows: Record) -> list[Check]:
    """Time of a training step of OAT over that of FLOAT, and why."""
    batch, steps, stops = PASSES["batch"], PASSES["steps"], PASSES["stops"]
    times = rows["oat_over"][str(steps)]
    clean = -(-batch // stops)  # images with λ = 0, rounded up
    oat_images = batch + (steps + 1) * (batch - clean)
    float_images = batch // 2 + (steps + 1) * (batch // 2)
    return [
        Check("time of a training step, OAT over FLOAT", "times", timed(times["float"]), 1.0),
        shown(
            "images sent through the network in such a step, OAT over FLOAT",
            "times",
            counted(oat_images / float_images),
        ),
        shown(
            "time of a training step, OAT over the same without noise (`blend`)",
            "times",
            timed(times["blend"]),
        ),
    ]


def _fewer(family: Record, name: str, what: str) -> list[Check]:
    """Return how many times as many parameters a ResNet-34 of OAT has."""
    large = {key: costs["1"] for key, costs in family["resnet34"].items()}
    return [
        Check(
            f"{what} parameters, OAT with λ itself as its code over this network, ResNet-34",
            "times",
            counted(large["oat_scalar"][what] / large[name][what]),
            1.0,
        ),
        shown(
            "the same with OAT's default code of λ",
            "times",
            counted(large["oat_dial"][what] / large[name][what]),
        ),
        shown(
            "OAT with λ itself as its code over two BatchNorms alone (`blend`)",
            "times",
            counted(large["oat_scalar"][what] / large["blend"][what]),
        ),
    ]


def float_parameters(family: Record) -> list[Check]:
    """Parameters of OAT over those of FLOAT."""
    return _fewer(family, "float", "stored")


def smart_parameters(family: Record) -> list[Check]:
    """Parameters of OAT over those of one expert of SMART."""
    return _fewer(family, "smart", "active")


def float_accuracy(once: Record, family: Record) -> list[Check]:
    """FLOAT, with new noise at every forward as published, against OAT."""
    dials, noisy = systems(once), systems(family)
    published, ours = noisy.get("float_forward", {}), noisy.get("float", {})
    level, *ends = _ours_minus(published, dials["oat"], "FLOAT minus OAT", 0.0)
    return [
        *ends,
        Check(
            "robust at the last λ, FLOAT minus the same network without noise (`blend`)",
            "points",
            paired(published, dials["blend"], robust_end),
            role="control",
        ),
        shown(level.text, level.unit, level.estimate),
        shown(
            f"{AT_LEVEL}, FLOAT minus the coin between its ends",
            "points",
            from_seeds([above_own_coin(published[seed]) for seed in sorted(published)]),
        ),
        shown(
            "robust at the last λ, FLOAT with one noise sample in a training step minus OAT",
            "points",
            paired(ours, dials["oat"], robust_end),
        ),
    ]


def floats(family: Record, arms: Record) -> list[Check]:
    """Sparse FLOAT against dense FLOAT, both with new noise at every forward."""
    noisy = systems(family)
    sparse, dense = noisy.get("floats_30_forward", {}), noisy.get("float_forward", {})
    large = family["resnet34"]
    stored = large["float_forward"]["1"]["stored"] / large["floats_30_forward"]["1"]["stored"]
    return [
        *_ends_minus(sparse, dense, "FLOATS minus FLOAT", -MATCH),
        Check("stored parameters, FLOAT over FLOATS, ResNet-34", "times", counted(stored), 1.0),
        Check(
            "robust at the last λ, sparse minus a dense network with as many weights (`blend`, "
            "`plain`)",
            "points",
            _sparse_gain(arms, "sparse from the start", "small"),
            role="control",
        ),
        shown(
            "the same after three more epochs for both",
            "points",
            _sparse_gain(arms, "sparse, 3 more epochs", "small, 3 more epochs"),
        ),
    ]


def _sparse_gain(arms: Record, ours: str, base: str) -> Estimate | None:
    """Return robust accuracy of an arm minus another one, in points."""
    runs = arms["runs"][DENSITY]
    rows = zip(runs[ours], runs[base], strict=True)
    return from_seeds([100 * (a["robust"] - b["robust"]) for a, b in rows])


def smart_accuracy(once: Record, family: Record) -> list[Check]:
    """SMART against OAT at both ends. Between them the paper defines nothing."""
    dials = systems(once)
    smart = systems(family).get("smart", {})
    level, *ends = _ours_minus(smart, dials["oat"], "SMART minus OAT", -MATCH)
    return [
        *ends,
        shown(
            "robust at the last λ, SMART minus the dense network (`blend`)",
            "points",
            paired(smart, dials["blend"], robust_end),
        ),
        shown(level.text, level.unit, level.estimate),
    ]


def float_accuracy_photographs(photographs: Record) -> list[Check]:
    """FLOAT on photographs, with one noise sample in a training step, against OAT."""
    dials = systems(photographs)
    ours = dials.get("float", {})
    return [
        *_ends_minus(ours, dials["oat"], "FLOAT minus OAT", 0.0),
        Check(
            "robust at the last λ, FLOAT minus the same network without noise (`blend`)",
            "points",
            paired(ours, dials.get("blend", {}), robust_end),
            role="control",
        ),
    ]


def floats_photographs(photographs: Record) -> list[Check]:
    """Sparse FLOAT on photographs against dense FLOAT."""
    dials = systems(photographs)
    sparse, dense = dials.get("floats", {}), dials.get("float", {})
    return _ends_minus(sparse, dense, "FLOATS minus FLOAT", -MATCH)


def smart_accuracy_photographs(photographs: Record) -> list[Check]:
    """SMART on photographs against OAT at both ends."""
    dials = systems(photographs)
    ours = dials.get("smart", {})
    return [
        *_ends_minus(ours, dials["oat"], "SMART minus OAT", -MATCH),
        shown(
            "robust at the last λ, SMART minus the dense network (`blend`)",
            "points",
            paired(ours, dials.get("blend", {}), robust_end),
        ),
    ]
