"""Mix the outputs of two different networks, and use the result as one network with a λ dial.

Nothing is trained. The mixing itself is the same as for the dial rule `outputs`, which mixes the
two ends of a single network (layers/mixture.py). This is the baseline of Bai et al. ("Adaptive
Smoothing", 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.setting import Position, Setting, Width
from .network import Network
from .spec import Spec


def mix(standard: Network, robust: Network) -> Network:
    """Return a dial between two networks: (1 - λ) softmax(z_standard) + λ softmax(z_robust).

    The result is used like any network with the λ stops 0 and 1: by `evaluate`, `choose`, `cost`,
    `export`, `fit_slider`, `check` and the explorer, and as `net.at(lam)` by every attack. Between
    the ends each image takes one pass through both networks. At λ = 0 and λ = 1 only one of them is
    used. Both keep their weights and share them with the result.

    Args:
        standard: The network at λ = 0. If it has a dial, its first stop is used.
        robust: The network at λ = 1. If it has a dial, its last stop is used.

    Returns:
        A Network that is not trained itself. It has the widths that both networks have.

    Raises:
        TypeError: If one of the two is no Network.
        ValueError: If the two differ in image shape, classes, data set or device, or have no common
            width.

    Example:
        >>> dial = oatlib.mix(oatlib.load("standard.safetensors"),
        oatlib.load("pgd-at.safetensors"))
        >>> oatlib.evaluate(dial, data.test, lams=[0.5, 0.6, 0.7, 0.8, 0.9])
    """
    _check_pair(standard, robust)
    return Mixed(standard, robust)


class Mixed(Network):
    """The network that `mix` returns. Its two ends are networks with separate weights.

    Args:
        standard: The network at λ = 0.
        robust: The network at λ = 1.
    """

    def __init__(self, standard: Network, robust: Network):
        nn.Module.__init__(self)  # not Network.__init__: it would build a backbone
        self.spec = _joint_spec(standard, robust)
        self.trained = [*standard.trained, *robust.trained]
        self.slider = (0.0, 1.0)
        self.networks = nn.ModuleList([standard, robust])
        # Not self.eval(): it would also change the mode of the two networks.
        self.training = False
        self.networks.training = False

    def members(self, position: Position) -> list[tuple[Network, Position]]:
        """Return the networks that are used at a position, each with its own position.

        Args:
            position: A position of this network, of one λ for all images.
        """
        members = []
        for end in (0, -1):
            if position.weights[0, end] > 0:
                net = self.networks[end]
                own = net.position(net.spec.stops[end], position.width.fraction)
                members += net.members(own)
        return members

    def with_dial(self, rule: str) -> Network:
        """Return a copy for the rule "outputs", the only one that is possible here.

        Two different networks share no weights that could be interpolated.

        Raises:
            ValueError: If `rule` is not "outputs".
        """
        if rule != "outputs":
            raise ValueError(
                f"dial={rule!r} needs one network with two ends: of two different networks "
                "(oatlib.mix) only the outputs can be mixed"
            )
        return super().with_dial(rule)

    def setting(self, *_, **__) -> Setting:
        """Raise a ValueError: a setting routes a batch through one network, in training."""
        raise ValueError(_UNTRAINED)

    def setting_of_stops(self, *_, **__) -> Setting:
        """Raise a ValueError, as `setting` does: a mix of two networks is not trained."""
        raise ValueError(_UNTRAINED)

    def bind_stops(self, *_, **__) -> nn.Module:
        """Raise a ValueError, as `setting` does: a mix of two networks is not trained."""
        raise ValueError(_UNTRAINED)

    def header(self) -> dict:
        """Raise a ValueError: a file stores one network."""
        raise ValueError(
            "a file holds one network, and this is a mix of two: save both, and call oatlib.mix on "
            "what oatlib.load gives back"
        )

    def _fold_end(
        self, end: int, width: Width, generator: torch.Generator | None, resample: bool
    ) -> nn.Module:
        """Fold one end: the standard network at its first stop (0), or the robust one at its last
        (-1).
        """
        net = self.networks[end]
        return net._fold(net.position(net.spec.stops[end], width.fraction), generator, resample)

    def _unfolded_end(
        self, end: int, x: Tensor, width: float | None, noise: torch.Generator | None
    ) -> Tensor:
        """The logits of one end, unfolded."""
        net = self.networks[end]
        return net(x, net.spec.stops[end], self.width(width).fraction, noise)

    @property
    def _reference(self) -> Tensor:
        return self.networks[0]._reference


_UNTRAINED = "a mix of two networks is not trained: train each of them, then call oatlib.mix again"


def _check_pair(standard: Network, robust: Network) -> None:
    """Raise an error unless both are networks for the same images, classes, data and device."""
    for net in (standard, robust):
        if not isinstance(net, Network):
            raise TypeError(f"mix takes two networks of oatlib, got {type(net).__name__}")
    first, second = standard.spec, robust.spec
    facts = {
        "images": (tuple(first.shape), tuple(second.shape)),
        "classes": (first.classes, second.classes),
        "data": (first.data, second.data),
        "device": (standard._reference.device, robust._reference.device),
    }
    for name, (ours, theirs) in facts.items():
        if ours != theirs:
            raise ValueError(
                f"the two networks cannot be mixed: they differ in {name}, {ours} and {theirs}"
            )


def _joint_spec(standard: Network, robust: Network) -> Spec:
    """The spec of the mix: stops 0 and 1, the rule `outputs`, and the common widths."""
    first, second = standard.spec, robust.spec
    widths = tuple(
        w for w in first.widths if any(abs(w - other) <= 1e-6 for other in second.widths)
    )
    backbones = dict.fromkeys((first.backbone, second.backbone))
    return Spec(
        recipe=f"{first.recipe} + {second.recipe}",
        backbone=" + ".join(backbones),
        shape=first.shape,
        classes=first.classes,
        stops=(0.0, 1.0),
        widths=widths,
        noise=second.noise,  # the standard network is used at its first stop, which has no noise
        dial="outputs",
        data=first.data,
    )
