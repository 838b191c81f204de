"""Typical wrong answers to the exercises of lesson 02, and what the learner is told."""

AT = """def at_loss(net, x, y, attack, lam):
    calm, hit = F.cross_entropy(net(x), y), F.cross_entropy(net(attack(net, x, y)), y)
"""
KL = "def trades_kl(clean, attacked):\n    p, q = clean.log_softmax(1), attacked.log_softmax(1)\n"
FELL = "def fell_at(curve, drop):\n"

WRONG = {
    "at_loss": [
        (f"{AT}    return calm", r"call attack\(net, x, y\) first"),
        (f"{AT}    return hit", "lam is not used"),
        (f"{AT}    return lam * calm + (1 - lam) * hit", "wrong way round"),
        (f"{AT}    return -(1 - lam) * calm - lam * hit", "no minus sign"),
        (f"{AT}    return len(x) * ((1 - lam) * calm + lam * hit)", "take the mean"),
        (f"{AT}    return ((1 - lam) * calm + lam * hit).detach()", "no gradient reaches the weights"),
        (f"{AT}    return calm + lam * hit", "both means over images"),
    ],
    "trades_kl": [
        (f"{KL}    return (p.exp() * (p - q)).sum(1).mean()", "one value per image"),
        (f"{KL}    return p.exp() * (p - q)", "sum over dimension 1"),
        (f"{KL}    return (q.exp() * (q - p)).sum(1)", "direction is reversed"),
        (f"{KL}    return (p.exp() * (q - p)).sum(1)", "sign is wrong"),
        ("def trades_kl(clean, attacked):\n    p = clean.softmax(1)\n    return (p * (clean - attacked)).sum(1)",
         "sum over classes of p"),
    ],
    "fell_at": [
        (f"{FELL}    return max(range(len(curve)), key=lambda epoch: curve[epoch])", "best robust accuracy"),
        (f"{FELL}    falls = [k for k in range(1, len(curve)) if curve[k] < curve[k - 1] - drop]\n"
         "    return falls[0] if falls else None", "misses a slow fall"),
        (f"{FELL}    falls = [k for k, robust in enumerate(curve) if robust < max(curve) - drop]\n"
         "    return falls[0] if falls else None", r"returns 0"),
        (f"{FELL}    falls = [k for k in range(1, len(curve)) if curve[k] < max(curve[:k]) - drop]\n"
         "    return falls[0] if falls else len(curve)", "should return None"),
    ],
}  # fmt: skip
