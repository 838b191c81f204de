"""Typical wrong answers to the exercises of the tour, and what the learner is told."""

TRUST = "def trust_of(vividness, lowest, full):\n    return"
PAIR = "def clean_and_robust(believes, right):\n    return"
BELIEVE = "def believe_shape(trust, lam):\n    return"
CURVE = "def curve(trust, lams, believe_shape, clean_and_robust):\n    return"
TOSS = "def toss(first, second, p):\n    return"
TWO = "def two_networks(x, believes, standard, robust):\n    return"
VIVID = "def how_vivid(x):\n    return"
CONTRAST = "(F.avg_pool2d(x, 2, 1) - 0.5).abs().mean(1).flatten(1)"

WRONG = {
    "trust_of": [
        (f"{TRUST} lowest + (1 - lowest) * vividness / full", "cannot exceed 1"),
        (f"{TRUST} (vividness / full).clamp(max=1)", "at vividness 0"),
        (f"{TRUST} lowest + (1 - lowest) * vividness", "divide the vividness by `full`"),
        (f"{TRUST} torch.where(vividness < full, lowest, 1.0)", "straight line"),
        (f"{TRUST} 0.3", "should return a tensor"),
    ],
    "clean_and_robust": [
        (f"{PAIR} torch.where(believes, right, 1.0).mean().item()", "two numbers"),
        (f"{PAIR} torch.where(believes, right, 1.0), torch.where(believes, right, 0.0)", "one number"),
        (
            f"{PAIR} torch.where(believes, right, 0.0).mean(), torch.where(believes, right, 1.0).mean()",
            "wrong order",
        ),
        (f"{PAIR} right.mean(), torch.where(believes, right, 0.0).mean()", "clean accuracy should be"),
        (f"{PAIR} torch.where(believes, right, 1.0).mean(), right.mean()", "the attack wins"),
        (f"{PAIR} torch.where(believes, right, 1.0).mean(), right[believes].mean()", "robust accuracy should be"),
    ],
    "believe_shape": [
        (f"{BELIEVE} trust < 1 - lam", "exactly where the texture"),
        (f"{BELIEVE} trust > lam", "compares the trust with λ"),
        (f"{BELIEVE} trust > 0", "treats all images alike"),
        (f"{BELIEVE} trust >= 1 - lam", "use >"),
        (f"{BELIEVE} trust - (1 - lam)", "True or False"),
    ],
    "curve": [
        (f"{CURVE} clean_and_robust(believe_shape(trust, lams[0]), trust)[0]", "list of pairs"),
        (f"{CURVE} [clean_and_robust(believe_shape(trust, lams[0]), trust)]", "one for each λ"),
        (f"{CURVE} [clean_and_robust(believe_shape(trust, lam), trust)[0] for lam in lams]", "should be a pair"),
        (f"{CURVE} [clean_and_robust(believe_shape(trust, 1 - lam), trust) for lam in lams]", "clean accuracy should"),
        (f"{CURVE} [(clean_and_robust(trust > 1 - lam, trust)[0], 0.5) for lam in lams]", "robust accuracy is not"),
    ],
    "toss": [
        (f"{TOSS} p * first[0] + (1 - p) * second[0], p * first[1] + (1 - p) * second[1]", "of the second rule"),
        (f"{TOSS} (first[0] + second[0]) / 2, (first[1] + second[1]) / 2", "plain mean"),
        (f"{TOSS} (1 - p) * first[0] + p * second[0], max(first[1], second[1])", "it is a mean as well"),
        (f"{TOSS} max(first[0], second[0]), (1 - p) * first[1] + p * second[1]", "clean accuracy should be"),
        (f"{TOSS} (1 - p) * first[0] + p * second[0]", "two numbers"),
    ],
    "two_networks": [
        (f"{TWO} torch.where(believes[:, None], standard(x), robust(x))", "swapped"),
        (f"{TWO} (standard(x) + robust(x)) / 2", "averages both"),
        (f"{TWO} robust(x)", "always asks the same"),
        (f"{TWO} robust(x)[believes]", "shape"),
    ],
    "how_vivid": [
        (f"{VIVID} torch.ones(len(x))", "the same score"),
        (f"{VIVID} (x - 0.5).abs()", "one number per image"),
        (f"{VIVID} x.flatten(1).amax(1)", "dark shape"),
        (f"{VIVID} x.flatten(1).std(1)", "too weak"),
        (f"{VIVID} -{CONTRAST}.amax(1)", "turn the sign"),
        (f"{VIVID} {CONTRAST}.amax(1) / {CONTRAST}.amax()", "other images of its batch"),
    ],
}  # fmt: skip
