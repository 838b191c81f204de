"""Exercises of lesson B: interval bounds of a small network, and boxes cut until all is decided.

The answers get networks of fully connected layers, as `two_pixels.small_net` makes them.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import bounds
from ..parts import pgd
from ..two_pixels import small_net, two_cues
from . import Wrong, exercise, same

EPS = 0.1  # of the images of two pixels
ROUNDS = 16  # of the reference that decides which images are robust
DECIDED = 0.98  # share of images that `decide` must decide


def _interval_linear(weight: Tensor, bias: Tensor, low: Tensor, high: Tensor):
    centre, radius = (low + high) / 2, (high - low) / 2
    centre = centre @ weight.T + bias
    radius = radius @ weight.abs().T
    return centre - radius, centre + radius


def _two(got) -> tuple:
    """Return a pair, or raise Wrong."""
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("it should return two tensors: the lowest values, and the highest.")
    return got[0], got[1]


@exercise(_interval_linear, "oatlib.course.bounds.box_of")
def interval_linear(theirs) -> None:
    """weight (out, in), bias (out,), low and high (N, in) -> low and high (N, out)."""
    source = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(4, 3, generator=source), torch.randn(4, generator=source)
    low = torch.randn(5, 3, generator=source)
    high = low + torch.rand(5, 3, generator=source)
    got_low, got_high = _two(theirs(weight, bias, low.clone(), high.clone()))
    due_low, due_high = _interval_linear(weight, bias, low, high)
    same(got_low.clone() if isinstance(got_low, Tensor) else got_low, got_low, "")
    if torch.allclose(got_low, low @ weight.T + bias) or (got_low > got_high).any():
        raise Wrong(
            "it moves both ends through the layer: with a negative weight the highest input gives "
            "the lowest output. Take the centre and the radius of the box."
        )
    if torch.allclose(got_high - got_low, (due_high - due_low) / 2, atol=1e-5):
        raise Wrong("the radius is half of high - low, on both sides of the centre.")
    if torch.allclose((got_low + got_high) / 2, (due_low + due_high) / 2 - bias, atol=1e-5):
        raise Wrong("the bias is missing: it moves the centre.")
    if torch.allclose(got_high - got_low, due_high - due_low + 2 * bias, atol=1e-5):
        raise Wrong("the bias moves the centre, and not the radius.")
    same(got_low, due_low, "the radius of an output is the sum of |weight| · radius of the inputs.")
    same(
        got_high, due_high, "the radius of an output is the sum of |weight| · radius of the inputs."
    )


def _logit_box(net: nn.Sequential, x: Tensor, eps: float):
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    for layer in net:
        if isinstance(layer, nn.Linear):
            low, high = _interval_linear(layer.weight, layer.bias, low, high)
        else:
            low, high = layer(low), layer(high)
    return low, high


@exercise(_logit_box, "oatlib.course.bounds.box_of")
def logit_box(theirs) -> None:
    """net, images (N, pixels), eps -> lowest and highest logits, each (N, classes)."""
    net = small_net(1, sizes=(6, 8, 8, 3))
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(2))
    x[0], x[1] = 0.0, 1.0
    with torch.no_grad():
        low, high = _two(theirs(net, x.clone(), EPS))
        due_low, due_high = _logit_box(net, x, EPS)
        unclipped = bounds.box_of(net, x - EPS, x + EPS)
    same(low, low if isinstance(low, Tensor) else due_low, "")
    if torch.allclose(low, unclipped[0], atol=1e-5) and torch.allclose(
        high, unclipped[1], atol=1e-5
    ):
        raise Wrong("pixels stay in [0, 1]: clip both ends of the first box.")
    if low.shape == due_low.shape and torch.allclose(low, net(x), atol=1e-5):
        raise Wrong("it returns the logits of x: the first box reaches from x - eps to x + eps.")
    if low.shape == due_low.shape and (low > due_low + 1e-5).any():
        raise Wrong("some logits of images in the ball lie below its low: is a layer missing?")
    same(low, due_low, "apply interval_linear to linear layers, and call all others on both ends.")
    same(
        high, due_high, "apply interval_linear to linear layers, and call all others on both ends."
    )


def _certify(weight: Tensor, bias: Tensor, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    proven = torch.ones(len(y), dtype=torch.bool)
    for other in range(len(bias)):
        margin = weight[y] - weight[other]  # (N, features)
        centre, radius = (low + high) / 2, (high - low) / 2
        least = (margin * centre).sum(1) - (margin.abs() * radius).sum(1) + bias[y] - bias[other]
        proven &= (least > 0) | (y == other)
    return proven


@exercise(_certify, "oatlib.course.bounds.certified")
def certify(theirs) -> None:
    """weight (classes, features), bias, low, high (N, features), y -> (N,) True where proven."""
    source = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(4, 6, generator=source), torch.randn(4, generator=source)
    low = torch.randn(400, 6, generator=source)
    high = low + 0.5 * torch.rand(400, 6, generator=source)
    y = ((low + high) / 2 @ weight.T + bias).argmax(1)
    y[::5] = (y[::5] + 1) % 4  # misclassified
    due = _certify(weight, bias, low, high, y)
    got = theirs(weight, bias, low.clone(), high.clone(), y.clone())
    if not isinstance(got, Tensor) or got.dtype != torch.bool:
        raise Wrong("it should return one True or False for each image, a tensor of booleans.")
    same(got.float()[:0], due.float()[:0], "")
    if len(got) != len(due):
        raise Wrong(f"for {len(due)} images it returns {len(got)} values.")
    if not got.any():
        raise Wrong(
            "it proves nothing: the margin to the class itself is 0, so leave that class out."
        )
    centre = (low + high) / 2 @ weight.T + bias
    if (got & (centre.argmax(1) != y)).any():
        raise Wrong("it proves images that are misclassified already: use their class y.")
    if wrong := int((got & ~due).sum()):
        raise Wrong(
            f"{wrong} of {len(due)} images are called proven, and their box holds an image of "
            "another class."
        )
    box_low, box_high = _interval_linear(weight, bias, low, high)
    rivals = box_high.clone().scatter_(1, y[:, None], -torch.inf).max(1).values
    weaker = box_low.gather(1, y[:, None])[:, 0] > rivals
    if torch.equal(got, weaker):
        raise Wrong(
            "right, but weaker than possible: it compares two boxes. Both logits cannot be at "
            "their worst at once. Bound the difference, with the weights weight[y] - weight[other]."
        )
    if not torch.equal(got, due):
        raise Wrong(f"{int((due & ~got).sum())} images that can be proven are not.")


def trained(seed: int, kind: str = "PGD", rounds: int = 200) -> nn.Sequential:
    """Return a network for the images of `two_cues` that was trained against an attack.

    Args:
        seed: Seed of images, weights and attack.
        kind: "PGD" against PGD-7, "none" without an attack.
        rounds: Number of steps of Adam.
    """
    x, y, _ = two_cues(seed)
    net = small_net(seed, sizes=(2, 16, 16, 2))
    source = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(rounds):
        seen = pgd(net, x, y, EPS, 7, EPS / 4, source) if kind == "PGD" else x
        loss = F.cross_entropy(net(seen), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@cache
def _cases() -> list[tuple]:
    """Return networks with images, labels, and which images are robust; made once, read only."""
    cases = []
    for seed, kind in ((0, "PGD"), (1, "none"), (2, "PGD")):
        net = trained(seed, kind)
        x, y, _ = two_cues(seed + 100)
        cases.append((net, x, y, *bounds.split_and_certify(net, x, y, EPS, ROUNDS)))
    return [*cases, _spiked()]


def _spiked() -> tuple:
    """Return a case that no search decides: 4 of 256 images are fooled on a line of width 0.0013.

    The logit of class 0 is 1. That of class 1 is 3 at x0 = 0.9, and 0 from a distance of 0.001 on.
    """
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1000.0, 0], [-1000.0, 0]]))
        net[0].bias.copy_(torch.tensor([-900.0, 900.0]))  # (x0 - 0.9) / 0.001, both signs
        net[2].weight.fill_(-1.0)
        net[2].bias.fill_(1.0)
        net[4].weight.copy_(torch.tensor([[0.0], [3.0]]))
        net[4].bias.copy_(torch.tensor([1.0, 0.0]))
    source = torch.Generator().manual_seed(5)
    x = 0.1 + 0.6 * torch.rand(256, 2, generator=source)
    x[::64, 0] = torch.tensor([0.84, 0.87, 0.93, 0.96])
    fooled = torch.zeros(256, dtype=torch.bool)
    fooled[::64] = True
    return net.requires_grad_(False), x, torch.zeros(256, dtype=torch.long), ~fooled, fooled


def _decide(net: nn.Sequential, x: Tensor, y: Tensor, eps: float):
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    image = torch.arange(len(x))  # which image each box belongs to
    fooled = torch.zeros(len(x), dtype=torch.bool)
    *rest, last = net
    for _ in range(13):
        box = low, high
        for layer in rest:
            if isinstance(layer, nn.Linear):
                box = _interval_linear(layer.weight, layer.bias, *box)
            else:
                box = layer(box[0]), layer(box[1])
        proven = _certify(last.weight, last.bias, *box, y[image])
        fooled[image[net((low + high) / 2).argmax(1) != y[image]]] = True
        still_open = ~proven & ~fooled[image]
        low, high, image = low[still_open], high[still_open], image[still_open]
        rows, side = torch.arange(len(image)), (high - low).argmax(1)
        middle = ((low + high) / 2)[rows, side]
        left_high, right_low = high.clone(), low.clone()
        left_high[rows, side], right_low[rows, side] = middle, middle
        low, high = torch.cat([low, right_low]), torch.cat([left_high, high])
        image = torch.cat([image, image])
    robust = ~fooled
    robust[image] = False
    return robust, fooled


@exercise(_decide, "oatlib.course.bounds.split_and_certify")
def decide(theirs) -> str:
    """net, images (N, 2), y, eps -> which are proven robust (N,), which are proven fooled (N,)."""
    shares = []
    for net, x, y, robust, fooled in _cases():
        with torch.no_grad():
            got = theirs(net, x.clone(), y.clone(), EPS)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Wrong("it should return two tensors: proven robust, and proven fooled.")
        for part in got:
            if not isinstance(part, Tensor) or part.dtype != torch.bool or part.shape != y.shape:
                raise Wrong(f"each result should hold {len(y)} booleans, one for each image.")
        got_robust, got_fooled = got
        if (got_robust & got_fooled).any():
            raise Wrong("some images are called both robust and fooled.")
        if wrong := int((got_robust & fooled).sum()):
            raise Wrong(
                f"{wrong} images are called robust, and their ball holds a misclassified one: all "
                "boxes of an image must be proven. That no attack succeeds is no proof."
            )
        if wrong := int((got_fooled & robust).sum()):
            raise Wrong(
                f"{wrong} images are called fooled, and are proven robust: only a misclassified "
                "image of the ball proves that."
            )
        shares.append((got_robust | got_fooled).float().mean().item())
    least = min(shares)
    if least < DECIDED:
        raise Wrong(
            f"right as far as it goes, but only {least:.0%} of the images are decided; "
            f"{DECIDED:.0%} are wanted. Halve the boxes that are open, and try again."
        )
    return f"It decides {least:.1%} or more of the images of four networks."
