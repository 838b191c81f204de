"""Typical wrong answers to the exercises of lesson 08, and what the learner is told."""

NOISY, EOT = "def noisy_weight(weight, alpha, lam, generator):", "def eot_gradient(f, x, y, draws):"
TWIN = "def twin_accuracy(f, x, x_adv, y, draws):"
DRAW = "torch.randn(weight.shape, generator=generator)"
STD = "weight.detach().std()"
GRAD = "torch.autograd.grad(F.cross_entropy(f(x), y, reduction='sum'), x)[0]"
CLEAN = "\n    clean = torch.stack([(f(x).argmax(1) == y).float().mean() for _ in range(draws)])"

WRONG = {
    "noisy_weight": [
        (f"{NOISY}\n    return weight + lam * alpha * {STD} * torch.randn(weight.shape)", "generator="),
        (f"{NOISY}\n    return weight + lam * alpha * {STD} * torch.randn(1, generator=generator)", "for every entry"),
        (f"{NOISY}\n    return weight + alpha * {STD} * {DRAW}", "no noise at all"),
        (f"{NOISY}\n    return weight + lam * alpha * {DRAW}", "how large the weights are"),
        (f"{NOISY}\n    return weight + lam * alpha * weight.detach().std(correction=0) * {DRAW}", r"correction=0"),
        (f"{NOISY}\n    return weight + lam * alpha.item() * {STD} * {DRAW}", "no gradient reaches alpha"),
        (f"{NOISY}\n    return weight + lam * alpha * weight.std() * {DRAW}", "through σ"),
    ],
    "eot_gradient": [
        (f"{EOT}\n    x = x.detach().requires_grad_()\n    return {GRAD}", "not called once for each draw"),
        (
            f"{EOT}\n    x = x.detach().requires_grad_()\n    mean = sum(f(x) for _ in range(draws)) / draws"
            "\n    return torch.autograd.grad(F.cross_entropy(mean, y, reduction='sum'), x)[0]",
            "averages the logits",
        ),
        (f"{EOT}\n    x = x.detach().requires_grad_()\n    return sum({GRAD} for _ in range(draws))", "it is the sum"),
        (
            f"{EOT}\n    x = x.detach().requires_grad_()"
            f"\n    return sum({GRAD.replace(', reduction=' + repr('sum'), '')} for _ in range(draws)) / draws",
            "mean over images",
        ),
    ],
    "twin_accuracy": [
        (
            TWIN + CLEAN + "\n    return clean, "
            "torch.stack([(f(x_adv).argmax(1) == y).float().mean() for _ in range(draws)])",
            "different weights",
        ),
        (
            f"{TWIN}\n    right, holds = (f(torch.cat([x, x_adv])).argmax(1) == torch.cat([y, y])).float().chunk(2)"
            "\n    return right.mean().expand(draws), (right * holds).mean().expand(draws)",
            "spread",
        ),
        (
            f"{TWIN}\n    each = [(f(torch.cat([x, x_adv])).argmax(1) == torch.cat([y, y])).float().chunk(2) "
            "for _ in range(draws)]\n    return tuple(torch.stack([e[i].mean() for e in each]) for i in (0, 1))",
            "lies in the ball",
        ),
    ],
}
