"""Two different networks used as one dial: their outputs are mixed, and nothing is trained.

The module that does the mixing is the one that the dial rule `outputs` uses for the two ends of a
single network (layers/mixture.py). This is the baseline of Bai et al. ("Adaptive Smoothing", 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dial import position
from .layers.setting import Setting, Width
from .nets import Network
from .spec import Spec


def mix(standard: Network, robust: Network) -> Network:
    """Return a dial between two networks: at λ it answers (1 - λ) softmax(z_standard) + λ softmax(z_robust).

    The result is used like any network with the λ stops 0 and 1: by `evaluate`, `choose`, `cost`,
    `export`, `even_dial`, `check` and the explorer, and as `net.at(lam)` by every attack. Between the
    ends each image takes one pass through both networks. At λ = 0 and 1 one of them answers alone. Both
    keep their weights and share them with the result.

    Args:
        standard: The network at λ = 0. Of a network with a dial, the first stop is used.
        robust: The network at λ = 1. Of a network with a dial, the last stop is used.

    Returns:
        A Network without training of its own. It has the widths that both networks have.

    Raises:
        TypeError: If one of the two is no Network.
        ValueError: If the two differ in image shape, classes, data set or device.

    Example:
        >>> dial = oatlib.mix(oatlib.load("standard.safetensors"), oatlib.load("pgd-at.safetensors"))
        >>> oatlib.evaluate(dial, data.test, lams=[0.5, 0.6, 0.7, 0.8, 0.9])
    """
    _check_pair(standard, robust)
    return Mixed(standard, robust)


class Mixed(Network):
    """The network that `mix` returns. Its two ends are networks with weights of their own."""

    def __init__(self, standard: Network, robust: Network):
        nn.Module.__init__(self)  # not Network's: this one has no body of its own
        self.spec = _joint_spec(standard, robust)
        self.trained = [*standard.trained, *robust.trained]
        self.slider = (0.0, 1.0)
        self.networks = nn.ModuleList([standard, robust])
        # the mode of the two networks is theirs
        self.training = False
        self.networks.training = False

    def members(self, lam: float) -> list[tuple[Network, float]]:
        """The networks that answer at λ, each with its own λ."""
        weights = self.check(lam)[0][0][0]  # of the two ends, (2,)
        members = []
        for end in (0, -1):
            if weights[end] > 0:
                net = self.networks[end]
                members += net.members(net.spec.stops[end])
        return members

    def with_dial(self, rule: str) -> Network:
        """As for every network; but two different networks share no weights to interpolate."""
        if rule != "outputs":
            raise ValueError(
                f"dial={rule!r} needs one network with two ends: of two different networks "
                "(oatlib.mix) only the outputs can be mixed"
            )
        return super().with_dial(rule)

    def setting(self, *_, **__) -> Setting:
        """Not possible: settings route a batch through one network, in training."""
        raise ValueError(_UNTRAINED)

    def bind_stops(self, *_, **__) -> nn.Module:
        """Not possible, as `setting`."""
        raise ValueError(_UNTRAINED)

    def header(self) -> dict:
        """Not possible: a file holds one network."""
        raise ValueError(
            "a file holds one network, and this is a mix of two: save both, and call oatlib.mix on "
            "what oatlib.load gives back"
        )

    def _end(self, end: int, width: Width, generator: torch.Generator | None, fresh: bool) -> nn.Module:
        net = self.networks[end]
        lam = torch.tensor([net.spec.stops[end]], dtype=torch.float64)
        return net.answering(position(net.spec, lam), net.width(width.share), generator, fresh)

    def _unfolded_end(self, end: int, x: Tensor, width: float | None, noise: torch.Generator | None) -> Tensor:
        net = self.networks[end]
        return net(x, net.spec.stops[end], self.width(width).share, noise)

    @property
    def _like(self) -> Tensor:
        return self.networks[0]._like


_UNTRAINED = "a mix of two networks is not trained: train each of them, then call oatlib.mix again"


def _check_pair(standard: Network, robust: Network) -> None:
    """Raise unless two networks answer the same question."""
    for net in (standard, robust):
        if not isinstance(net, Network):
            raise TypeError(f"mix takes two networks of oatlib, got {type(net).__name__}")
    first, second = standard.spec, robust.spec
    facts = {
        "images": (tuple(first.shape), tuple(second.shape)),
        "classes": (first.classes, second.classes),
        "data": (first.data, second.data),
        "device": (standard._like.device, robust._like.device),
    }
    for name, (ours, theirs) in facts.items():
        if ours != theirs:
            raise ValueError(
                f"the two networks cannot be mixed: they differ in {name}, {ours} and {theirs}"
            )


def _joint_spec(standard: Network, robust: Network) -> Spec:
    first, second = standard.spec, robust.spec
    widths = tuple(w for w in first.widths if any(abs(w - other) <= 1e-6 for other in second.widths))
    backbones = dict.fromkeys((first.backbone, second.backbone))
    return Spec(
        recipe=f"{first.recipe} + {second.recipe}",
        backbone=" + ".join(backbones),
        shape=first.shape,
        classes=first.classes,
        stops=(0.0, 1.0),
        widths=widths,
        noise=second.noise,  # at its first stop no network is noisy
        dial="outputs",
        data=first.data,
    )
