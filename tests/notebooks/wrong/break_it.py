"""Typical wrong answers to the exercises of lesson 10b, and what the learner is told."""

DLR = """def dlr_loss(logits, y):
    true = logits.gather(1, y[:, None])[:, 0]
    wrong = logits.scatter(1, y[:, None], -math.inf).amax(1)
    top = logits.sort(1, descending=True).values"""
HALVE = "def halve_steps(size, rose, better, halved, steps):\n    stuck ="
STUCK = "(rose < 0.75 * steps) | (~better & ~halved)"
SIZES = "\n    return torch.where(stuck, size / 2, size)"
MEAN = "def mean_answer(functions, x):\n    logits = torch.stack([f(x) for f in functions])\n"
ATTACK = "def break_defence(defence, x, y, eps):\n"

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
    "mean_answer": [
        (f"{MEAN}    return logits.mean(0)", "mean of the logits"),
        (f"{MEAN}    return logits.softmax(2).mean(0)", "need their logarithm"),
        (f"{MEAN}    return logits.log_softmax(2).mean(0)", "average first"),
        (f"{MEAN}    return logits[0]", "one function only"),
        (f"{MEAN}    return logits.detach().softmax(2).mean(0).log()", "no gradient reaches"),
    ],
    "break_defence": [
        (f"{ATTACK}    return oatlib.PGD(eps, 20)(defence, x, y)", "gradient the defence hides"),
        # the accurate setting is fooled, but the robust network vetoes it
        (f"{ATTACK}    return oatlib.PGD(eps, 20)(defence.accurate, x, y)", "robust network must support"),
        (f"{ATTACK}    return oatlib.PGD(2 * eps, 20)(defence.accurate, x, y)", "project into the ball"),
        (f"{ATTACK}    return x + math.nan", "not finite"),
        # the check judges with a defence of its own
        (f"{ATTACK}    defence.robust = lambda images: 0 * defence.accurate(images)\n    return x + 0 * eps",
         "right on"),
        (f"{ATTACK}    return defence(x).argmax(1) != y", "return attacked images"),
    ],
}  # fmt: skip
