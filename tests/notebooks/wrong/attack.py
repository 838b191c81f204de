"""Typical wrong answers to the exercises of lesson 01, and what the learner is told."""

FGSM = """def fgsm(f, x, y, eps):
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(f(x), y, reduction="sum"), x)"""
STEP = """
    at = x_adv.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(f(at), y, reduction="sum"), at)"""

WRONG = {
    "project": [
        ("def project(x_adv, x, eps):\n    return x_adv.clamp(-eps, eps)", "further than eps"),
        ("def project(x_adv, x, eps):\n    return x + (x_adv - x).clamp(-eps, eps)", r"left \[0, 1\]"),
        ("def project(x_adv, x, eps):\n    return x", "should stay as they are"),
    ],
    "fgsm": [
        (f"{FGSM}\n    return (x + eps * grad.sign()).detach()", r"left \[0, 1\]"),
        (f"{FGSM}\n    return (x - eps * grad.sign()).detach().clamp(0, 1)", "down the loss"),
        (f"{FGSM}\n    return (x + eps * grad).detach().clamp(0, 1)", "sign of the gradient"),
    ],
    "pgd_step": [
        ("def pgd_step(f, x_adv, x, y, eps, size):\n    x_adv = x" + STEP
         + "\n    return (x + (x_adv + size * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)", "go on from x_adv"),
        ("def pgd_step(f, x_adv, x, y, eps, size):" + STEP
         + "\n    return (x_adv + size * grad.sign()).clamp(0, 1)", "leaves the ball"),
        ("def pgd_step(f, x_adv, x, y, eps, size):" + STEP
         + "\n    return (x + (x_adv + eps * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)", "`size` long"),
    ],
}  # fmt: skip
