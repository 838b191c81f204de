"""What every attack is made of: the three moves of its walk, and the losses that it climbs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# --- three moves ---


def init(x: Tensor, eps: float, norm: str, generator: torch.Generator) -> Tensor:
    """A uniformly random point of the eps-ball around each x (N, ...), clipped to [0, 1]."""
    if norm == "linf":
        return (x + draw(torch.rand, x.shape, x, generator).mul_(2).sub_(1).mul_(eps)).clamp_(0, 1)
    direction = _unit(draw(torch.randn, x.shape, x, generator))
    # the volume within radius r grows like r^d: without the d-th root most points would sit near the centre
    share = draw(torch.rand, (len(x), *[1] * (x.dim() - 1)), x, generator) ** (1 / x.shape[1:].numel())
    return (x + direction * share * eps).clamp_(0, 1)


def step(x_adv: Tensor, grad: Tensor, size: float, norm: str) -> Tensor:
    """The move of length `size` that raises the loss most to first order; a zero gradient does not move."""
    return torch.add(x_adv, grad.sign() if norm == "linf" else _unit(grad), alpha=size)


def project(x_adv: Tensor, x: Tensor, eps: float, norm: str) -> Tensor:
    """Back onto the eps-ball around x and into [0, 1]. All tensors (N, ...)."""
    return projection(x, eps, norm)(x_adv.clone())


def projection(x: Tensor, eps: float, norm: str) -> Callable[[Tensor], Tensor]:
    """`project` for many steps around the same x; works in place."""
    if norm == "linf":  # ball and [0, 1] are both boxes: their common box is computed once
        low, high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
        return lambda x_adv: x_adv.clamp_(low, high)

    def onto_ball(x_adv: Tensor) -> Tensor:
        # clip first: shortening cannot leave [0, 1] again, whereas clipping last would give away a part of eps
        delta = x_adv.clamp_(0, 1).sub_(x)
        return delta.mul_((eps / _length(delta)).clamp_(max=1)).add_(x).clamp_(0, 1)  # once more, for rounding

    return onto_ball


def _length(v: Tensor) -> Tensor:
    """L2 length of each v[i], at least the smallest normal number; shape (N, 1, ..., 1)."""
    length = torch.linalg.vector_norm(v, dim=tuple(range(1, v.dim())), keepdim=True)
    return length.clamp_min(torch.finfo(v.dtype).tiny)


def _unit(v: Tensor) -> Tensor:
    """Each v[i] scaled to L2 length 1, zeros left alone. Largest entry to 1 first, as squares of 1e-25 underflow."""
    v = v / v.abs().amax(dim=tuple(range(1, v.dim())), keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
    return v / _length(v)


def draw(law, shape, x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise for x, drawn on the generator's device: the seed of a CPU generator means the same on every device."""
    return law(shape, dtype=x.dtype, device=generator.device, generator=generator).to(x.device)


# --- what is climbed: (logits (N, C), y (N,)) -> (N,) values to be increased ---


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best wrong logit minus the true one; positive means fooled. Unlike CE it never saturates."""
    y = y[:, None]
    return logits.scatter(1, y, -torch.inf).amax(1) - logits.gather(1, y)[:, 0]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The margin in units of the gap between first and third (Croce & Hein 2020): blind to the logits' scale.

    With two classes there is no third, and it is the margin itself.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    first, _, third = logits.topk(3).values.unbind(1)
    return margin(logits, y) / (first - third).clamp_min(1e-12)


def towards(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted form of `dlr`: how far the logit of `target` is above the true one, y; all (N,)."""
    ahead = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    if logits.shape[1] < 4:  # the unit needs a fourth logit
        return ahead
    first, _, third, fourth = logits.topk(4).values.unbind(1)
    return ahead / (first - (third + fourth) / 2).clamp_min(1e-12)


LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
