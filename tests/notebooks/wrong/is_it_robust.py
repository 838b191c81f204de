"""Typical wrong answers to the exercises of lesson 10, and what the learner is told."""

DLR = """def dlr_loss(logits, y):
    true = logits.gather(1, y[:, None])[:, 0]
    wrong = logits.scatter(1, y[:, None], -math.inf).amax(1)
    top = logits.sort(1, descending=True).values"""
HALVE = "def halve_steps(size, rose, better, halved, steps):\n    stuck ="
STUCK = "(rose < 0.75 * steps) | (~better & ~halved)"
SIZES = "\n    return torch.where(stuck, size / 2, size)"
BLIND = "def blind_step(f, y, best, tried):"
GAP = """
    def gap(x):
        z = f(x)
        return z.scatter(1, y[:, None], -math.inf).amax(1) - z.gather(1, y[:, None])[:, 0]
    gain = gap(tried) - gap(best)"""
WORST = "def worst_case(f, x, y, attacks):\n    stands = f(x).argmax(1) == y"

WRONG = {
    "dlr_loss": [
        (f"{DLR}\n    return wrong - true", "scale of the logits"),
        (f"{DLR}\n    return (true - wrong) / (top[:, 0] - top[:, 2])", "sign is turned"),
        (f"{DLR}\n    return (wrong - true) / (top[:, 0] - top[:, 1])", "second logit"),
        (f"{DLR}\n    return (wrong - true) / (logits[:, 0] - logits[:, 2])", "sort the logits"),
        (f"{DLR}\n    return (top[:, 0] - true) / (top[:, 0] - top[:, 2])", "without y"),
        (f"{DLR}\n    return ((wrong - true) / (top[:, 0] - top[:, 2])).mean()", "shape"),
    ],
    "halve_steps": [
        (f"{HALVE} (rose < 0.75 * steps) | ~better{SIZES}, stuck", "pause"),
        (f"{HALVE} rose < 0.75 * steps{SIZES}, stuck", "rising steps only"),
        (f"{HALVE} ~better & ~halved{SIZES}, stuck", "best loss only"),
        (f"{HALVE} {STUCK}{SIZES}, halved | stuck", "halved NOW"),
        (f"{HALVE} {STUCK}{SIZES}", "two tensors"),
    ],
    "blind_step": [
        (f"{BLIND}\n    return tried", "must be refused"),
        (f"{BLIND}{GAP}\n    return torch.where((gain < 0).view(-1, 1, 1, 1), tried, best)", "smaller margin"),
        (f"{BLIND}\n    now, old = (F.cross_entropy(f(x), y, reduction='none') for x in (tried, best))"
         "\n    return torch.where((now > old).view(-1, 1, 1, 1), tried, best)", "cross-entropy"),
        (f"{BLIND}{GAP}\n    return tried if gain.mean() > 0 else best", "all images together"),
    ],
    "worst_case": [
        (f"{WORST}\n    for attack in attacks:\n        stands = f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "only the last attack"),
        (f"{WORST}\n    for attack in attacks:\n        stands &= f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "only survivors go on"),
        (f"{WORST}\n    for attack in attacks:\n        x = attack(f, x, y)\n        stands &= f(x).argmax(1) == y"
         "\n    return stands", "each begins at x"),
        ("def worst_case(f, x, y, attacks):\n    stands = torch.ones_like(y, dtype=torch.bool)"
         "\n    for attack in attacks[:2]:\n        stands &= f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "never called"),
        (f"{WORST}\n    for attack in attacks:\n        stands &= f(attack(f, x, y)).argmax(1) == y"
         "\n    return stands.float().mean()", "one True or False"),
    ],
}  # fmt: skip
