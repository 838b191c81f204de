"""Lower bounds of robust accuracy, with a proof: interval bounds of small networks.

An attack shows that an image can be fooled. A bound shows that it cannot. `box_of` gives a box
around all logits that the network can return while the pixels stay in a box. An image is
*certified* if its class wins in all of that box. `split_and_certify` cuts the box of pixels into
smaller ones, which makes the bounds tight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import fill

import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn

from .._random import global_seed
from ..attacks.suite import Suite
from ..data.load import Data, load_data
from .diagram import INK, NEW, NEW_FILL, PAPER, QUIET
from .parts import pgd
from .two_pixels import Zoom

EPS = 8 / 255  # of the trainings
RADII = (0, 1, 2, 4, 6, 8)  # in 1/255
BATCH = 128
MOST_BOXES = 4096  # of all images together, in one round of `split_and_certify`


def box_of(layers: Iterable[nn.Module], low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Propagate a box of inputs through layers.

    Args:
        layers: Linear, Conv2d, ReLU, Tanh, Flatten and Zoom layers, such as an `nn.Sequential`.
        low: Lowest inputs (N, ...).
        high: Highest inputs (N, ...).

    Returns:
        Lowest and highest outputs. Every output for an input in the box lies between them.

    Raises:
        TypeError: If there is no rule for a layer.
    """
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            centre, radius = (low + high) / 2, (high - low) / 2
            centre, radius = layer(centre), _moved(layer, radius)
            low, high = centre - radius, centre + radius
        elif isinstance(layer, nn.ReLU | nn.Tanh | nn.Flatten | Zoom):  # monotone
            low, high = layer(low), layer(high)
        else:
            raise TypeError(f"there is no rule for a {type(layer).__name__}")
    return low, high


def _moved(layer: nn.Linear | nn.Conv2d, radius: Tensor) -> Tensor:
    """Return how far outputs can move if each input moves by at most `radius`."""
    weight = layer.weight.abs()
    if isinstance(layer, nn.Linear):
        return F.linear(radius, weight)
    return F.conv2d(radius, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def margins(net: nn.Sequential, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Return lower bounds of the margins: logit of the class minus logit of another one.

    The last layer must be linear. It is merged with the difference of the two logits, which gives a
    tighter bound than the box of the logits.

    Args:
        net: The network.
        low: Lowest inputs (N, ...).
        high: Highest inputs (N, ...).
        y: Classes (N,).

    Returns:
        Bounds (N, classes); 0 at the class itself. An image is certified if all others are > 0.
    """
    *rest, last = net
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the last layer must be Linear, not {type(last).__name__}")
    low, high = box_of(rest, low, high)
    weight = last.weight[y].unsqueeze(1) - last.weight  # (N, classes, features)
    bias = last.bias[y].unsqueeze(1) - last.bias
    centre, radius = ((low + high) / 2).unsqueeze(-1), ((high - low) / 2).unsqueeze(-1)
    return (weight @ centre - weight.abs() @ radius).squeeze(-1) + bias


def ball(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest images of the ball around images, within [0, 1].

    Args:
        x: Images (N, ...).
        eps: Radius of the ball, in the infinity norm.
    """
    return (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)


def certified(net: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which images (N,) are certified: no change of at most eps changes their class.

    Args:
        net: The network.
        x: Images (N, ...) in [0, 1].
        y: Classes (N,).
        eps: Radius of the ball, in the infinity norm.
    """
    return judged(net, *ball(x, eps), y)[0]


def split_and_certify(
    net: nn.Sequential, x: Tensor, y: Tensor, eps: float, rounds: int
) -> tuple[Tensor, Tensor]:
    """Decide for images of few pixels whether they are robust, by cutting the ball into boxes.

    Args:
        net: The network.
        x: Images (N, pixels) in [0, 1].
        y: Classes (N,).
        eps: Radius of the ball, in the infinity norm.
        rounds: How often boxes are halved that are still undecided.

    Returns:
        Which images (N,) are proven robust, and which are proven not to be, because an image of
        their ball was found that is misclassified. Others are undecided.
    """
    low, high = ball(x, eps)
    owner = torch.arange(len(x))
    fooled = torch.zeros(len(x), dtype=torch.bool)
    for number in range(rounds + 1):
        is_proven, is_wrong = judged(net, low, high, y[owner])
        fooled[owner[is_wrong]] = True
        is_open = ~is_proven & ~fooled[owner]
        low, high, owner = low[is_open], high[is_open], owner[is_open]
        if number == rounds or not len(owner) or len(owner) > MOST_BOXES:
            break
        low, high = halves(low, high)
        owner = owner.repeat(2)
    robust = ~fooled
    robust[owner] = False
    return robust, fooled


def judged(net: nn.Sequential, low: Tensor, high: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return which boxes (N,) are certified, and of which the centre is misclassified.

    Args:
        net: The network.
        low: Lowest inputs (N, ...).
        high: Highest inputs (N, ...).
        y: Class of each box (N,).
    """
    with torch.no_grad():
        bounds = margins(net, low, high, y)
        is_wrong = net((low + high) / 2).argmax(1) != y
    bounds.scatter_(1, y[:, None], torch.inf)
    return (bounds > 0).all(1), is_wrong


def halves(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Halve boxes along their longest sides.

    Args:
        low: Lowest inputs (N, pixels).
        high: Highest inputs (N, pixels).

    Returns:
        Lowest and highest inputs (2N, pixels) of the halves.
    """
    rows, side = torch.arange(len(low)), (high - low).argmax(1)
    middle = ((low + high) / 2)[rows, side]
    left_high, right_low = high.clone(), low.clone()
    left_high[rows, side], right_low[rows, side] = middle, middle
    return torch.cat([low, right_low]), torch.cat([left_high, high])


def boxes_of_image(
    net: nn.Sequential, x: Tensor, y: Tensor, eps: float, rounds: int
) -> list[tuple[Tensor, Tensor, str]]:
    """Cut the ball of one image as `split_and_certify` does, and return the boxes for a picture.

    Args:
        net: The network.
        x: The image (1, 2).
        y: Its class (1,).
        eps: Radius of the ball.
        rounds: How often boxes are halved that are not certified.

    Returns:
        Lowest and highest pixels of each box, and "proven", "fooled" or "open".
    """
    low, high = ball(x, eps)
    done = []
    for number in range(rounds + 1):
        is_proven, is_wrong = judged(net, low, high, y.repeat(len(low)))
        is_last = number == rounds
        for i in range(len(low)):
            if is_proven[i] or is_wrong[i] or is_last:
                state = "proven" if is_proven[i] else "fooled" if is_wrong[i] else "open"
                done.append((low[i], high[i], state))
        is_open = ~is_proven & ~is_wrong
        low, high = halves(low[is_open], high[is_open])
    return done


def small_conv_net(data: Data, seed: int) -> nn.Sequential:
    """Return a small convolutional network without BatchNorm, for which bounds are simple.

    Args:
        data: The data set, for the shape of its images and the number of classes.
        seed: Seed of the weights.
    """
    channels, height, width = data.shape
    with global_seed(seed):
        return nn.Sequential(
            Zoom(4),
            nn.Conv2d(channels, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), 64),
            nn.ReLU(),
            nn.Linear(64, len(data.classes)),
        )


def bound_loss(eps: float, share: float) -> Callable[..., Tensor]:
    """Return a loss for `train_small`: (1 - share) · clean + share · worst logits of the bounds.

    Args:
        eps: Radius of the ball at the end of training.
        share: Share of the bounds in the loss at the end of training.
    """

    def loss(net: nn.Sequential, x: Tensor, y: Tensor, grown: float, generator) -> Tensor:
        clean = F.cross_entropy(net(x), y)
        worst = F.cross_entropy(-margins(net, *ball(x, eps * grown), y), y)
        return (1 - share * grown) * clean + share * grown * worst

    return loss


def attacked_loss(eps: float, steps: int = 3) -> Callable[..., Tensor]:
    """Return a loss for `train_small`: cross-entropy under PGD, as in lesson 02.

    Args:
        eps: Radius of the ball at the end of training. 0: no attack.
        steps: Number of steps of PGD.
    """

    def loss(net: nn.Sequential, x: Tensor, y: Tensor, grown: float, generator) -> Tensor:
        if eps > 0:
            radius = eps * grown
            x = pgd(net, x, y, radius, steps, 2.5 * radius / steps, generator)
        return F.cross_entropy(net(x), y)

    return loss


def train_small(
    net: nn.Sequential, data: Data, loss: Callable[..., Tensor], epochs: int, seed: int
) -> None:
    """Train a small network.

    Args:
        net: The network.
        data: The data set.
        loss: `bound_loss(...)` or `attacked_loss(...)`. It gets (net, x, y, grown, generator);
            `grown` rises from 0 to 1 in the first two thirds of the training.
        epochs: Number of passes.
        seed: Seed of the order of the images, and of attacks.
    """
    x, y = data.train.x, data.train.y
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    batches = len(x) // BATCH
    steps = epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for step in range(steps):
        if step % batches == 0:
            order = torch.randperm(len(x), generator=generator)
        index = order[step % batches * BATCH :][:BATCH]
        grown = min(1.0, max(0.0, 1.5 * step / steps - 0.1))
        value = loss(net, x[index], y[index], grown, generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


ARMS = {
    "no attack": attacked_loss(0),
    "PGD-3": attacked_loss(EPS),
    "bounds, share 0.3": bound_loss(EPS, 0.3),
    "bounds, share 0.9": bound_loss(EPS, 0.9),
}


def bracket_images(n: int = 512, epochs: int = 15, seeds: Sequence[int] = (0, 1, 2)) -> dict:
    """Bracket the robust accuracy of small networks on images, for several trainings.

    Args:
        n: Number of validation images.
        epochs: Passes of every training.
        seeds: Seeds of weights and training.

    Returns:
        A record: for each arm, seed and radius the accuracy under the quick suite (an upper bound)
        and the share of certified images (a lower bound).
    """
    data = load_data("shapes", seed=0)
    panel = data.val.panel(n)
    arms: dict[str, list] = {name: [] for name in ARMS}
    for seed in seeds:
        for name, loss in ARMS.items():
            net = small_conv_net(data, seed)
            train_small(net, data, loss, epochs, seed)
            arms[name].append(bracket(net.eval(), panel.x, panel.y))
    return {"arms": arms, "radii": list(RADII), "n": n, "epochs": epochs, "seeds": list(seeds)}


def bracket(net: nn.Sequential, x: Tensor, y: Tensor) -> dict[str, list[float]]:
    """Return upper and lower bounds of robust accuracy at the radii of RADII.

    Args:
        net: The network.
        x: Images (N, C, H, W) in [0, 1].
        y: Classes (N,).

    Returns:
        {"upper": ..., "lower": ...}: accuracy under the quick suite, and the share of certified
        images.
    """
    upper, lower = [], []
    for radius in RADII:
        attack = Suite(radius / 255, budget="quick")
        found = attack.run(net, x, y, torch.Generator().manual_seed(0), progress=False)
        upper.append(found.robust if radius else found.clean)
        lower.append(certified(net, x, y, radius / 255).float().mean().item())
    return {"upper": upper, "lower": lower}


TAKEAWAY = (
    "A box of pixels is propagated through the layers: linear layers move its centre and its "
    "radius, ReLU moves its two ends. At the end the difference of two logits is bounded."
)


def svg() -> str:
    """Return a diagram of a box that is propagated through a network, as SVG."""
    boxes = (
        ("all images of the ball", "x - ε to x + ε, clipped", QUIET, PAPER),
        ("linear", "c' = Wc + b, r' = |W| r", NEW, NEW_FILL),
        ("ReLU", "both ends", QUIET, PAPER),
        ("last layer, difference", "lowest z_y - z_k &gt; 0 ?", NEW, NEW_FILL),
    )
    parts = []
    for i, (name, text, stroke, inside) in enumerate(boxes):
        x = 8 + 196 * i
        parts.append(
            f'<rect x="{x}" y="40" width="170" height="56" rx="6" fill="{inside}" '
            f'stroke="{stroke}" stroke-width="1.6"/><text x="{x + 85}" y="63" '
            f'text-anchor="middle" fill="{INK}">{name}</text><text x="{x + 85}" y="84" '
            f'text-anchor="middle" fill="{INK}" font-size="12">{text}</text>'
        )
        if i < len(boxes) - 1:
            parts.append(f'<path d="M{x + 170} 68 h26" stroke="{QUIET}"/>')
    # linear and ReLU alternate
    parts.append(f'<path d="M204 34 v-8 h366 v8" fill="none" stroke="{QUIET}"/>')
    parts.append(
        f'<text x="387" y="18" text-anchor="middle" fill="{INK}">repeated, layer by layer</text>'
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 774 112" width="774" height="112" '
        'font-family="sans-serif" font-size="13" role="img" style="max-width:100%;height:auto">'
        f'<title>{TAKEAWAY}</title><rect width="774" height="112" rx="8" fill="{PAPER}"/>'
        f"{''.join(parts)}</svg>"
    )


def diagram() -> None:
    """Display the diagram of `svg`."""
    data = {"image/svg+xml": svg(), "text/plain": fill(f"Diagram: {TAKEAWAY}", 100)}
    display(data, raw=True, metadata={"needs_background": "light"})
