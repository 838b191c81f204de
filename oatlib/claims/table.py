"""The claims of the papers: what was published, what is computed here, and how to repeat it.

Figures that are called published stand in the text that is named with them. Of the papers, the
abstracts and the public code could be read. Where no figure was found, `UNREAD` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import measured
from .verdict import Check

UNREAD = "not published in what could be read"
DATA_SETS = ("shapes", "CIFAR-10")

OAT = "Wang et al. 2020, arXiv 2010.11828"
SNN = "Yu et al. 2019, arXiv 1812.08928"
SOLAR = "Tareen et al. 2025, arXiv 2509.16833"
FLOAT = "Kundu et al. 2023, arXiv 2204.00426"
SMART = "Kundu et al. 2023, arXiv 2302.03523"


@dataclass(frozen=True)
class Measure:
    """How a claim is measured on one data set.

    Attributes:
        checks: Function from the records to the checks.
        records: {record: the command that measures what the claim needs of it}, in the order of
            the arguments of `checks`. Commands run in a clone of the repository.
        counted: What was counted, if nothing was measured on images.
    """

    checks: Callable[..., list[Check]]
    records: Mapping[str, str]
    counted: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        sentence: The claim, in one sentence of ours.
        paper: Authors, year and address.
        published: The published figure with its conditions, and where it stands.
        measures: How it is measured, by data set. A data set that is missing was not measured.
        note: What the numbers do not say.
    """

    sentence: str
    paper: str
    published: str
    measures: Mapping[str, Measure]
    note: str = ""


# record -> what it was measured on; number of images and attack are read from the record
RECORDS = {
    "bench/once_for_all": "test images of `shapes`, backbone `tiny`, preset `fast`",
    "bench/family": "test images of `shapes`, backbone `tiny`, preset `fast`; counts of ResNet-34 "
    "are for 10 classes",
    "bench/fresh_norm": "test images of `shapes`, backbone `tiny`, preset `fast`; statistics from "
    "2048 training images",
    "bench/photographs": "10,000 training images of CIFAR-10 (JPEG), test images, backbone `tiny`, "
    "12 epochs; gradients of noisy networks are averaged over 10 samples of the noise; "
    "the larger network of the same record is not used",
    "bench/rows": "training steps on 64 images of `shapes`, backbone `tiny`, PGD with 7 steps",
    "bench/at": "forward passes, backbone `tiny`",
    "bench/training": "trainings on `shapes`, backbone `tiny`, preset `fast`, watching included",
    "course/oat_arms": "validation images of `shapes`, backbone `plain`, preset `fast`, 5 epochs",
    "course/bn_ways": "validation images of `shapes`, backbone `plain`, 4 epochs, half of each "
    "batch clean and half attacked",
    "course/slim_clean": "validation images of `shapes`, backbone `plain`, preset `fast`, 5 epochs",
    "course/slim_dials": "validation images of `shapes`, backbone `plain`, preset `fast`, 6 epochs",
    "course/solar_seeds": "test images of `shapes`, backbone `plain`, preset `fast`, 5 epochs, "
    "widths 1/2, 3/4 and 1, λ = 0, 0.2 and 1",
    "course/sparse_arms": "validation images of `shapes`, backbone `plain`, preset `fast`, 5 "
    "epochs",
}

COUNTED = "counted for a ResNet-34, images of 32x32 pixels and 10 classes"

_ONCE = {"bench/once_for_all": "python -m bench.once_for_all --out once_for_all.json"}


def _photographs(systems: str, seeds: int = 1) -> dict[str, str]:
    several = f" --seeds {' '.join(map(str, range(seeds)))}" if seeds > 1 else ""
    return {
        "bench/photographs": "python -m bench.photographs DIR --systems "
        f"{systems}{several} --out photographs.json"
    }


def _family(names: str, seeds: int = 3) -> dict[str, str]:
    return {"bench/family": f"python -m bench.family {names} --seeds {seeds} --out family.json"}


def _lesson(record: str, lesson: str) -> dict[str, str]:
    return {f"course/{record}": f"python authoring/make.py --records {lesson}"}


def _counted(checks: Callable[..., list[Check]], name: str) -> dict[str, Measure]:
    """Return a count of parameters, which no image changes."""
    return dict.fromkeys(DATA_SETS, Measure(checks, _family(name, 1), COUNTED))


CLAIMS: dict[str, Claim] = {
    "one-for-all": Claim(
        "One OAT network is as good as networks that are trained for one λ each.",
        OAT,
        f"similar to dedicated networks or better (abstract); figures per λ: {UNREAD}",
        {
            "shapes": Measure(measured.one_for_all, _ONCE),
            "CIFAR-10": Measure(
                measured.one_for_all_photographs,
                _photographs("oat dedicated", 3),
            ),
        },
        f"As good as: at most {measured.MATCH:g} points worse. The comparison on `shapes` favours "
        "the networks for a small λ: at λ = 0.1 they keep about 4 points against the quick suite "
        "that they lose against the fast one, and OAT less than one.",
    ),
    "free": Claim(
        "The dial of OAT costs nothing.",
        OAT,
        f"the trade-off can be set for free at test time (title, abstract); costs: {UNREAD}",
        {
            "shapes": Measure(
                measured.dial_for_free,
                _ONCE
                | _family("oat_dial", 1)
                | {"bench/at": "python -m bench at  # writes bench/results/at.json"}
                | {
                    "bench/training": "python -m bench training  # writes "
                    "bench/results/training.json"
                },
            ),
            "CIFAR-10": Measure(
                measured.dial_for_free_photographs,
                _family("oat_dial", 1) | _photographs("oat dedicated", 3),
            ),
        },
        "`bench training` trained these networks in turn, and nothing else ran on the machine.",
    ),
    "dual-bn": Claim(
        "A dial with FiLM needs two BatchNorms, one for clean and one for attacked images.",
        OAT,
        f"two BatchNorms let one network learn both without loss (abstract); figures: {UNREAD}",
        {
            "shapes": Measure(
                measured.dual_bn,
                _ONCE
                | _family("oat_one_norm")
                | {"bench/fresh_norm": "python -m bench.fresh_norm --out fresh_norm.json"}
                | _lesson("oat_arms", "05_oat"),
            )
        },
    ),
    "dual-bn-statistics": Claim(
        "Two BatchNorms help because clean and attacked images have different statistics.",
        OAT,
        f"separate statistics are the stated reason (abstract); figures: {UNREAD}",
        {"shapes": Measure(measured.dual_bn_statistics, _lesson("bn_ways", "03_dual_bn"))},
        "Zhang et al., arXiv 2403.19150, also find that scales and shifts matter more (abstract).",
    ),
    "oats": Claim(
        "OATS sets λ and width of one network, as well as networks of each size do.",
        OAT,
        f"similar to dedicated networks or better (abstract); figures: {UNREAD}",
        {
            "shapes": Measure(measured.oats, _ONCE | _lesson("slim_dials", "06_slimming")),
            "CIFAR-10": Measure(measured.oats_photographs, _photographs("oat oats")),
        },
        "Width 0.25 is left out: there the backbone `plain` fails, together and alone.",
    ),
    "switchable-bn": Claim(
        "Widths that share their weights need a BatchNorm each.",
        SNN,
        f"one BatchNorm for all widths fails at test time (paper); figures: {UNREAD}",
        {"shapes": Measure(measured.switchable_bn, _lesson("slim_clean", "06_slimming"))},
        "US-Nets take the statistics of each width after training, too (Yu and Huang 2019, arXiv "
        "1903.05134).",
    ),
    "slimmable": Claim(
        "A network of several widths is as good as networks of each width, trained alone.",
        SNN,
        "similar and in many cases better on ImageNet (abstract); top-1 error of the slimmable "
        "ResNet-50 at widths 1, 0.75, 0.5, 0.25: 24.0, 25.1, 27.9, 35.0 % (README of the public "
        f"code); trained alone: {UNREAD}",
        {"shapes": Measure(measured.slimmable, _lesson("slim_clean", "06_slimming"))},
        "Clean accuracy only. It is near 99 % for both.",
    ),
    "solar": Claim(
        "An output layer for every width makes the sub-networks of OATS better.",
        SOLAR,
        "up to +4.71 % clean and +7.71 % robust on CIFAR-10, +1.26 % and +9.01 % on SVHN; maxima "
        "over sub-networks (abstract)",
        {
            "shapes": Measure(
                measured.solar,
                _lesson("solar_seeds", "07_switchable_heads") | _family("solar_4 oats_4", 5),
            ),
            "CIFAR-10": Measure(measured.solar_photographs, _photographs("oats solar")),
        },
        "On CIFAR-10 SOLAR was trained with the width 0.25, too, and OATS without it.",
    ),
    "float-time": Claim(
        "FLOAT trains faster than a dial with FiLM.",
        FLOAT,
        "up to 1.43 times lower training time at equal hyper-parameters, on hardware (abstract)",
        {
            "shapes": Measure(
                measured.float_time,
                {"bench/rows": "python -m bench rows  # writes bench/results/rows.json"},
            )
        },
        "FLOAT attacks half of each batch, OAT five sixths of it.",
    ),
    "float-parameters": Claim(
        "FLOAT has fewer parameters than a dial with FiLM.",
        FLOAT,
        "up to 1.47 times fewer (abstract)",
        _counted(measured.float_parameters, "float"),
        "Every network without FiLM saves them, also without noise.",
    ),
    "float-accuracy": Claim(
        "FLOAT is more accurate than a dial with FiLM, on clean and on attacked images.",
        FLOAT,
        "up to about 6 % better clean and 10 % better attacked (abstract); figures per λ: "
        f"{UNREAD}",
        {
            "shapes": Measure(measured.float_accuracy, _ONCE | _family("float_forward float")),
            "CIFAR-10": Measure(
                measured.float_accuracy_photographs, _photographs("oat float blend", 3)
            ),
        },
        "Training defines the two ends of FLOAT. Between them this is λ times the noise and "
        "interpolated BatchNorms, not one of the rules of the public code.",
    ),
    "floats": Claim(
        "FLOATS trains sparse weights in one run and keeps the accuracy of FLOAT.",
        FLOAT,
        f"better memory efficiency, and a three-way trade-off (abstract); figures: {UNREAD}",
        {
            "shapes": Measure(
                measured.floats,
                _family("floats_30_forward float_forward") | _lesson("sparse_arms", "09_sparse"),
            ),
            "CIFAR-10": Measure(measured.floats_photographs, _photographs("float floats", 3)),
        },
        "Density 0.3.",
    ),
    "smart-parameters": Claim(
        "An expert of SMART has fewer non-zero parameters than a dial with FiLM.",
        SMART,
        "up to 2.72 times fewer (abstract)",
        _counted(measured.smart_parameters, "smart"),
        "Both experts together have all the weights of the dense network.",
    ),
    "smart-accuracy": Claim(
        "SMART is as good as a dial with FiLM at both ends.",
        SMART,
        f"a state-of-the-art trade-off (abstract); figures: {UNREAD}",
        {
            "shapes": Measure(measured.smart_accuracy, _ONCE | _family("smart")),
            "CIFAR-10": Measure(
                measured.smart_accuracy_photographs, _photographs("oat smart blend", 3)
            ),
        },
        "Between the ends the paper defines nothing.",
    ),
}
