"""Exercises of lesson 01: the steps of a gradient attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...attacks import geometry, losses
from ...attacks.pgd import FGSM
from . import Wrong, exercise, same


def _case(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a small network, images (6, 3, 4, 4), of which two are all 0 and all 1, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.rand(6, 3, 4, 4, generator=generator),
        torch.randint(0, 5, (6,), generator=generator),
    )
    x[0], x[1] = 0.0, 1.0
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 5)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net.requires_grad_(False), x, y


def _like(got, x: Tensor) -> bool:
    return isinstance(got, Tensor) and got.shape == x.shape


def _project(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    return geometry.project(x_adv, x, eps, "linf")


@exercise(_project, "oatlib.attacks.geometry.project")
def project(theirs) -> None:
    """x_adv, x (N, C, H, W), eps -> x_adv projected onto the ball around x and onto [0, 1]."""
    _, x, _ = _case(0)
    far = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    got = theirs(far.clone(), x, 0.1)
    if _like(got, x):
        if (got - x).abs().max() > 0.1 + 1e-5:
            raise Wrong(
                "some pixels are further than eps from x: clip the change x_adv - x to [-eps, eps]."
            )
        if got.min() < 0 or got.max() > 1:
            raise Wrong(
                "some pixels left [0, 1], so this is no picture any more: clip to [0, 1] as well."
            )
    same(
        got,
        _project(far, x, 0.1),
        "pixels that were inside the ball and inside [0, 1] should stay as they are.",
    )


@exercise(lambda f, x, y, eps: FGSM(eps)(f, x, y), "oatlib.FGSM")
def fgsm(theirs) -> None:
    """f, x, y, eps -> x after one step of length eps that increases the loss."""
    net, x, y = _case(2)
    got, want = theirs(net, x.clone(), y, 0.05), FGSM(0.05)(net, x, y)
    if _like(got, x):
        if got.min() < 0 or got.max() > 1:
            raise Wrong("some pixels left [0, 1]: clip the result.")
        if ((got - x) * (want - x)).sum() < 0:
            raise Wrong(
                "it walks down the loss; the attacker wants the loss of the true class to rise."
            )
        if (got - x).abs().max() < 0.05 - 1e-4:
            raise Wrong(
                "no pixel moves by eps: multiply eps with the sign of the gradient, not with the "
                "gradient."
            )
    same(
        got,
        want,
        "it should be x + eps·sign(gradient of the loss with respect to x), clipped to [0, 1].",
    )


def _pgd_step(f, x_adv: Tensor, x: Tensor, y: Tensor, eps: float, size: float) -> Tensor:
    x_adv = x_adv.detach().requires_grad_()
    (grad,) = torch.autograd.grad(losses.cross_entropy(f(x_adv), y).sum(), x_adv)
    return _project(geometry.ascend(x_adv.detach(), grad, size, "linf"), x, eps)


@exercise(_pgd_step, "oatlib.attacks.geometry.ascend and project")
def pgd_step(theirs) -> None:
    """f, x_adv, x, y, eps, size -> x_adv after one step of PGD, of length size."""
    net, x, y = _case(3)
    x_adv = _project(
        x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)), x, 0.1
    )
    got, want = theirs(net, x_adv.clone(), x, y, 0.1, 0.04), _pgd_step(net, x_adv, x, y, 0.1, 0.04)
    if _like(got, x):
        if torch.allclose(got, _pgd_step(net, x, x, y, 0.1, 0.04), atol=1e-5):
            raise Wrong(
                "it starts again from x: go on from x_adv, or many steps are no better than one."
            )
        if (got - x).abs().max() > 0.1 + 1e-5:
            raise Wrong(
                "it leaves the ball: project after the step, around x and not around x_adv."
            )
        if torch.allclose(got, _project(x_adv + 0.1 * (want - x_adv).sign(), x, 0.1), atol=1e-5):
            raise Wrong("the step is eps long; it should be `size` long.")
    same(
        got,
        want,
        "it should be x_adv + size·sign(gradient at x_adv), projected onto the ball around x.",
    )
