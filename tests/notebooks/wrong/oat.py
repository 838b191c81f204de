"""Typical wrong answers to the exercises of lesson 05, and what the learner is told."""

LOSSES = """
    calm = F.cross_entropy(clean, y, reduction="none")
    hit = F.cross_entropy(attacked, y[n_clean:], reduction="none")"""
HYBRID = f"def hybrid_loss(clean, attacked, y, lam, n_clean):{LOSSES}"
DRAW = "def draw_stops(stops, n, generator):\n    n_clean = math.ceil(n / len(stops))\n"
REST = "    rest = torch.randint(1, len(stops), (n - n_clean,), generator=generator)\n"
COIN = (
    "def coin(standard, robust, clean):\n    (c0, r0), (c1, r1) = standard, robust\n    p = (c0 - clean) / (c0 - c1)\n"
)

WRONG = {
    "hybrid_loss": [
        (f"{HYBRID}\n    return ((lam * calm).sum() + ((1 - lam[n_clean:]) * hit).sum()) / len(y)", "swapped"),
        (f"{HYBRID}\n    return (calm.sum() + (lam[n_clean:] * hit).sum()) / len(y)", "its weight is 1 - λ"),
        (f"{HYBRID}\n    return (1 - lam.mean()) * calm.mean() + lam.mean() * hit.mean()", "one λ for the batch"),
        (f"{HYBRID}\n    return ((1 - lam) * calm).mean() + (lam[n_clean:] * hit).mean()", "divide both sums"),
        (f"{HYBRID}\n    return (((1 - lam) * calm).sum() + (lam[: len(hit)] * hit).sum()) / len(y)", "wrong λ"),
        (f"{HYBRID}\n    full = torch.cat([torch.zeros(n_clean), hit])\n    return (1 - lam) * calm + lam * full",
         "per image"),
        (HYBRID.replace("y[n_clean:]", "y[: len(attacked)]")
         + "\n    return (((1 - lam) * calm).sum() + (lam[n_clean:] * hit).sum()) / len(y)", "wrong labels"),
        (f"{HYBRID}\n    full = torch.cat([torch.zeros(n_clean), hit]) if n_clean else calm"
         + "\n    return ((1 - lam) * calm + lam * full).mean()", "all are attacked"),
    ],
    "draw_stops": [
        (f"{DRAW}{REST}    return torch.cat([torch.zeros(n_clean).long(), rest])", "two things"),
        (f"{DRAW}{REST}    return torch.tensor(stops)[torch.cat([torch.zeros(n_clean).long(), rest])], n_clean",
         "whole numbers"),
        (f"{DRAW}    return torch.randint(0, len(stops), (n,), generator=generator), n_clean", "must come first"),
        (f"{DRAW}    rest = torch.randint(0, len(stops), (n - n_clean,), generator=generator)\n"
         "    return torch.cat([torch.zeros(n_clean).long(), rest]), n_clean", "from stop 1 on"),
        (f"{DRAW}    rest = torch.randint(1, len(stops) - 1, (n - n_clean,), generator=generator)\n"
         "    return torch.cat([torch.zeros(n_clean).long(), rest]), n_clean", "leaves out high"),
        (f"{DRAW}    rest = torch.randint(1, len(stops), (n - n_clean,))\n"
         "    return torch.cat([torch.zeros(n_clean).long(), rest]), n_clean", "pass it to torch.randint"),
        (DRAW.replace("math.ceil(n / len(stops))", "n // len(stops)")
         + f"{REST}    return torch.cat([torch.zeros(n_clean).long(), rest]), n_clean", "rounded up"),
        (DRAW.replace("math.ceil(n / len(stops))", "0")
         + f"{REST}    return rest, n_clean", "should have λ = 0, not 0"),
    ],
    "coin": [
        (f"{COIN}    return p", "this is p"),
        (f"{COIN}    return p * r0 + (1 - p) * r1", "swapped"),
        (f"{COIN}    return p * r1", "some robust accuracy, too"),
        (f"{COIN}    return r1", "at clean accuracy 0.9 the coin"),
        (f"{COIN}    return (1 - p) * r0 + p * r1", "return None"),
        (f"{COIN}    return (1 - p) * r0 + p * r1 if clean <= c0 else None", "answers always"),
        (f"{COIN}    pass", "returns nothing"),
    ],
}  # fmt: skip
