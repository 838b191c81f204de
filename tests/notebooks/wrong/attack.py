"""Typical wrong answers to the exercises of lesson 01, and what the learner is told."""

FGSM = """def fgsm(f, x, y, eps):
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(f(x), y, reduction="sum"), x)"""
STEP = """
    at = x_adv.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(f(at), y, reduction="sum"), at)"""
PGD = """def pgd(net, x, y, eps, steps, step_size, generator=None):
    noise = 2 * torch.rand(x.shape, generator=generator) - 1
    x_adv = (x + eps * noise).clamp(0, 1)
    best, best_loss = x_adv, torch.full((len(x),), -torch.inf)
    for step in range(steps + 1):
        x_adv = x_adv.detach().requires_grad_()
        losses = F.cross_entropy(net(x_adv), y, reduction="none")
        better = losses > best_loss
        best = torch.where(better[:, None, None, None], x_adv, best).detach()
        best_loss = torch.where(better, losses, best_loss).detach()
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(losses.sum(), x_adv)
        x_adv = x_adv.detach() + step_size * gradient.sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return best"""
MINE = """def my_attack(net, x, y, eps, gradients):
    x_adv = x
    for step in range(gradients):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y, reduction="sum"), x_adv)
        x_adv = x_adv.detach() + eps / 4 * gradient.sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
    return x_adv"""


def changed(code, *pairs):
    """The code with some lines in place of others."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in code, old
        code = code.replace(old, new)
    return code


WRONG = {
    "project": [
        ("def project(x_adv, x, eps):\n    return x_adv.clamp(-eps, eps)", "further than eps"),
        ("def project(x_adv, x, eps):\n    return x + (x_adv - x).clamp(-eps, eps)", r"left \[0, 1\]"),
        ("def project(x_adv, x, eps):\n    return x", "should stay as they are"),
        ("def project(x_adv, x, eps):\n    (x_adv - x).clamp(-eps, eps)", "returns nothing"),
    ],
    "fgsm": [
        (f"{FGSM}\n    return (x + eps * grad.sign()).detach()", r"left \[0, 1\]"),
        (f"{FGSM}\n    return (x - eps * grad.sign()).detach().clamp(0, 1)", "down the loss"),
        (f"{FGSM}\n    return (x + eps * grad).detach().clamp(0, 1)", "sign of the gradient"),
        (f"{FGSM}\n    return (eps * grad.sign()).detach().clamp(0, 1)", "it should be x"),
    ],
    "pgd_step": [
        ("def pgd_step(f, x_adv, x, y, eps, size):\n    x_adv = x" + STEP
         + "\n    return (x + (x_adv + size * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)", "go on from x_adv"),
        ("def pgd_step(f, x_adv, x, y, eps, size):" + STEP
         + "\n    return (x_adv + size * grad.sign()).clamp(0, 1)", "leaves the ball"),
        ("def pgd_step(f, x_adv, x, y, eps, size):" + STEP
         + "\n    return (x + (x_adv + eps * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)", "`size` long"),
        ("def pgd_step(f, x_adv, x, y, eps, size):" + STEP
         + "\n    return (x + (x_adv - size * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)", "it should be x_adv"),
    ],
    "pgd": [
        (changed(PGD, "(x + eps * noise).clamp(0, 1)", "x"), "returns x itself"),
        (changed(PGD, "eps * noise", "2 * eps * noise"), "start is outside the ball"),
        (changed(PGD, "(x + eps * noise).clamp(0, 1)", "x + eps * noise"), r"start has pixels outside \[0, 1\]"),
        (changed(PGD, ", generator=generator) - 1", ") - 1"), "the same seed gives different starts"),
        (changed(PGD, "generator=generator", "generator=torch.Generator().manual_seed(0)"),
         "another seed gives the same"),
        (changed(PGD, "2 * torch.rand(x.shape, generator=generator) - 1", "torch.rand(x.shape, generator=generator)"),
         "moves most pixels the same way"),
        (changed(PGD, "2 * torch.rand(x.shape, generator=generator) - 1",
                 "(2 * torch.rand(x.shape, generator=generator) - 1).sign()"), "should be uniform"),
        (changed(PGD, "= x_adv.detach() + step_size", "= x + step_size"), "a step starts from x"),
        (changed(PGD, "        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)\n", ""),
         "iterate is outside the ball"),
        (changed(PGD, ".clamp(-eps, eps)).clamp(0, 1)", ".clamp(-eps, eps))"), r"iterate has pixels outside \[0, 1\]"),
        (changed(PGD, "+ step_size *", "- step_size *"), "go down the loss"),
        (changed(PGD, "+ step_size *", "+ eps *"), "steps are eps long"),
        (changed(PGD, "gradient.sign()", "gradient"), "not one step of PGD away"),
        (changed(PGD, "range(steps + 1)", "range(steps + 2)", "step == steps:", "step == steps + 1:"), "takes 6 steps"),
        (changed(PGD, "range(steps + 1)", "range(steps)", "        if step == steps:\n            break\n", "",
                 "return best", "return x_adv if steps else best"),
         "point after the last step"),
        (changed(PGD, "return best", "return x_adv.detach()"), "returns the last iterate"),
        (changed(PGD, "return best", "return x_adv"), "still has a graph"),
        (changed(PGD, "losses > best_loss", "losses.mean().expand(len(x)) > best_loss.mean()"), "for the whole batch"),
        (changed(PGD, "losses > best_loss", "losses < best_loss", "-torch.inf", "torch.inf"), "lowest loss"),
        (changed(PGD, "(gradient,) = torch.autograd.grad(losses.sum(), x_adv)",
                 "losses.sum().backward()\n        gradient = x_adv.grad"), "gradients of the weights"),
    ],
    "my_attack": [
        (MINE, "does not beat PGD-10 with α = ε yet"),
        (changed(MINE, "range(gradients)", "range(2 * gradients)"), "more than 10 gradients per image"),
        (changed(MINE, "x_adv = x\n", "x_adv = [x + net(x).sum() for _ in range(12)][0]\n"),
         "forward passes per image"),
        (changed(MINE, ".clamp(-eps, eps)).clamp(0, 1)", ").clamp(0, 1)"), "moved by more than eps"),
        (changed(MINE, ".clamp(-eps, eps)).clamp(0, 1)", ".clamp(-eps, eps))"), r"outside \[0, 1\]"),
        (changed(MINE, "return x_adv", "return x_adv / 0"), "not finite"),
        (changed(MINE, "eps / 4", "eps / 8"), "does not beat PGD-10 with α = ε yet"),
        ("def my_attack(net, x, y, eps, gradients):\n"
         "    return oatlib.PGD(eps, steps=gradients, step_size=eps)(net, x, y)",
         "does not beat PGD-10 with α = ε yet"),
    ],
}  # fmt: skip
