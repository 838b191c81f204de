"""What the papers' public code calls the tensors of a network, and what they say about it.

The public repositories name their modules in two ways, for ResNets and for Wide ResNets. From the
names and shapes in a file follow the backbone and the widths. `public_names` gives, for a network
of this package, the public name of each of its tensors.

The names are those of the repositories at the commits in docs/published.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..networks.backbones import BACKBONES, ResNet, WideResNet
from ..networks.network import Network

FINEST = 64  # widths are multiples of 1/64, or of 1/100, where the numbers of channels allow it

_STAGE = re.compile(r"(?:bundle|layer)(\d+)\.(\d+)\.")
_INDEX = re.compile(r"(.+)\.(?:BN_c|bn)\.(\d+)\.weight")  # BatchNorm of one width
_UNIT = re.compile(r"body\.(?:blocks\.(\d+)\.)?(\w+)\.(conv|norm|film|noise)\.(.+)")
_NORM = re.compile(r"pairs\.(\d+)\.(clean|adv)\.(\w+)")
_HEAD = re.compile(r"body\.head\.each\.(\d+)\.(\w+)")

# Networks that oatlib does not have: a pattern of names that only they use, and what they are.
_ELSEWHERE = {
    r"(.*\.)?conv3\.": "a ResNet with bottleneck blocks, such as ResNet-50",
    r"features\.": "SOLAR's MobileNetV2, which has other strides and widths than oatlib's",
}


@dataclass(frozen=True)
class Names:
    """How the public code names the parts of a kind of backbone.

    Args:
        stage: Word before the number of a stage.
        units: Unit of oatlib -> public names of its conv, its norm and its FiLM layer. "": none.
        head: Name of the output layer that all widths share.
    """

    stage: str
    units: dict[str, tuple[str, str, str]]
    head: str


_FIRST = ("conv1", "bn1", "film1")
_SECOND = ("conv2", "bn2", "film2")
# ResNets with a λ dial: OAT, OATS, SOLAR, FLOAT.
CONDITIONED_RESNET = Names(
    "bundle",
    {"stem": _FIRST, "first": _FIRST, "second": _SECOND, "shortcut": ("conv_sc", "bn_sc", "")},
    "linear",
)
# ResNets without: S-Nets.
RESNET = Names(
    "layer",
    {**CONDITIONED_RESNET.units, "shortcut": ("shortcut.0", "shortcut.1", "")},
    "linear",
)
# The norm comes before the conv: the second norm of a block follows its first conv.
WIDE_RESNET = Names(
    "bundle",
    {
        "stem": ("conv1", "", ""),
        "enter": ("", "bn1", "film1"),
        "first": ("conv1", "bn2", "film2"),
        "second": ("conv2", "", ""),
        "shortcut": ("convShortcut", "", ""),
        "last": ("", "bn1", ""),
    },
    "fc",
)


def public_names(net: Network, switchable: bool) -> dict[str, str]:
    """Return the public name of every tensor of a network but its λ codes.

    Args:
        net: A network on a ResNet or a Wide ResNet.
        switchable: Whether public BatchNorms have an index of the width in their names.

    Returns:
        Name in `net.state_dict()` -> name in a file of the public code.
    """
    names = _names_of(net)
    places = _places_of_blocks(net.spec.backbone, names.stage)
    return {
        name: _public_name(name, net, names, places, switchable)
        for name in net.state_dict()
        if name != "codes"
    }


def _names_of(net: Network) -> Names:
    """How the public code names the parts of a network."""
    if isinstance(net.body, WideResNet):
        return WIDE_RESNET
    return CONDITIONED_RESNET if net.spec.dual or net.spec.film or net.spec.noise else RESNET


def _places_of_blocks(backbone: str, stage: str) -> list[str]:
    """Where each block of a backbone lies in the public code, such as "bundle1.0."."""
    return [
        f"{stage}{number}.{block}."
        for number, (_, depth) in enumerate(_size(backbone)[1], 1)
        for block in range(depth)
    ]


def _public_name(name: str, net: Network, names: Names, places: list[str], switchable: bool) -> str:
    """The public name of one tensor."""
    if head := _HEAD.fullmatch(name):
        index, tail = int(head[1]), head[2]
        if not net.spec.own_heads:
            return f"{names.head}.{tail}"
        return f"output_heads.{net.body.head.each[index].in_features}.{tail}"
    unit = _UNIT.fullmatch(name)
    if unit is None:
        raise LookupError(f"the public code has no counterpart of {name}")
    block, kind, part, tail = unit.groups()
    place = "" if block is None else places[int(block)]
    conv, norm, film = names.units[kind]
    if part == "conv":
        return f"{place}{conv}.{tail}"
    if part == "noise":
        return f"{place}{conv}.alpha_w"
    if part == "film":
        tail = tail.replace("hidden.", "MLP.0.").replace("out.", "MLP.2.")
        return f"{place}{film}.{tail}"
    return f"{place}{norm}.{_of_norm(tail, net.spec.dual, switchable)}"


def _of_norm(tail: str, dual: bool, switchable: bool) -> str:
    """The public name of a tensor of a norm, below the name of the norm."""
    pair = _NORM.fullmatch(tail)
    if pair is None:
        raise LookupError(f"the public code has no counterpart of a norm's {tail}")
    index, branch, tensor = pair.groups()
    if dual:
        branch = {"clean": "BN_c", "adv": "BN_a"}[branch]
        return f"{branch}.{index}.{tensor}" if switchable else f"{branch}.{tensor}"
    return f"bn.{index}.{tensor}" if switchable else tensor


def backbone_of(tensors: dict[str, Tensor]) -> str:
    """Return the name of the backbone whose kind, blocks and channels a file has.

    Args:
        tensors: Tensors of the file, by their public names.

    Raises:
        ValueError: If no backbone of oatlib has this size. The message says which size was found.
    """
    for pattern, what in _ELSEWHERE.items():
        if any(re.match(pattern, name) for name in tensors):
            raise ValueError(f"this is {what}: oatlib has no such network")
    wide = any(".convShortcut." in name or name.startswith("fc.") for name in tensors)
    stem = tensors.get("conv1.weight")
    found = (None if stem is None else _length(stem), _stages_of(tensors))
    kind = "Wide ResNet" if wide else "ResNet"
    known = {}
    for name, backbone in BACKBONES.items():
        if _class_of(backbone) is (WideResNet if wide else ResNet):
            known[name] = _size(name)
    for name, size in known.items():
        if size == found:
            return name
    sizes = "; ".join(f"{name} has {_in_words(*size)}" for name, size in known.items())
    raise ValueError(
        f"this looks like a {kind} with {_in_words(*found)}, and oatlib has none of this size: "
        f"{sizes}. If tensors are missing, say which one it is: backbone={next(iter(known))!r}"
    )


def _class_of(backbone) -> type:
    """The class of a backbone in the table, which may be a `partial` of it."""
    return getattr(backbone, "func", backbone)


def _size(backbone: str) -> tuple[int | None, tuple[tuple[int | None, int], ...]]:
    """Channels of the stem of a backbone, and channels and number of blocks of each stage."""
    of = getattr(BACKBONES[backbone], "keywords", {})
    if "stages" in of:
        return of["stem"], of["stages"]
    depth = (of["depth"] - 4) // 6
    return 16, tuple((channels * of["widen"], depth) for channels in (16, 32, 64))


def _stages_of(tensors: dict[str, Tensor]) -> tuple[tuple[int | None, int], ...]:
    """Channels and number of blocks of each stage in a file."""
    blocks: dict[int, set[int]] = {}
    channels: dict[int, int] = {}
    for name, tensor in tensors.items():
        if place := _STAGE.match(name):
            blocks.setdefault(int(place[1]), set()).add(int(place[2]))
            if name.endswith(".conv2.weight"):
                channels[int(place[1])] = _length(tensor)
    return tuple((channels.get(stage), len(blocks[stage])) for stage in sorted(blocks))


def early_blocks(backbone: str) -> int:
    """Return the number of blocks before the last two stages of a backbone."""
    return sum(depth for _, depth in _size(backbone)[1][:-2])


def _in_words(stem: int | None, stages: Iterable[tuple[int | None, int]]) -> str:
    """The size of a backbone for a message."""
    listed = ", ".join(f"{depth} x {channels or '?'}" for channels, depth in stages)
    return f"a stem of {stem or '?'} channels and the stages {listed or 'none'}"


def widths_of(tensors: dict[str, Tensor]) -> tuple[float, ...]:
    """Return the widths that the BatchNorms of a file have, as fractions of the channels.

    A public network keeps the rounded-down product of width and channels in each layer. A width is
    therefore known only up to rounding. Of the possible numbers the first is taken of: a multiple
    of 1/64, a multiple of 1/100, the smallest.

    Args:
        tensors: Tensors of the file, by their public names.

    Returns:
        Ascending fractions, the last 1. Empty if no BatchNorm has an index of a width, or if their
        sizes are not those of a slimmable network.
    """
    sizes: dict[str, dict[int, int]] = {}
    for name, tensor in tensors.items():
        if norm := _INDEX.fullmatch(name):
            sizes.setdefault(norm[1], {})[int(norm[2])] = _length(tensor)
    count = 1 + max((max(of) for of in sizes.values()), default=-1)
    if count > FINEST:
        return ()
    widths: list[float] = []
    for index in range(count):
        # width·C lies in [c, c + 1) in every layer with C channels, of which the width has c
        pairs = [(of[index], max(1, *of.values())) for of in sizes.values() if index in of]
        low = max((c / full for c, full in pairs), default=0.0)
        high = min(((c + 1) / full for c, full in pairs), default=0.0)
        width = _fraction(low, high)
        if width <= (widths[-1] if widths else 0):
            return ()
        widths.append(width)
    return tuple(widths) if widths and widths[-1] == 1 else ()


def _length(tensor: Tensor) -> int:
    """Length of the first axis of a tensor, 0 for a single number."""
    return tensor.shape[0] if tensor.ndim else 0


def _fraction(low: float, high: float) -> float:
    """A width in [low, high), the simplest in the order that `widths_of` names."""
    if (low * FINEST).is_integer():
        return low
    hundredth = math.ceil(low * 100) / 100
    return hundredth if low <= hundredth < high else low
