"""Typical wrong answers to the exercises of lesson 09, and what the learner is told."""

PRUNE, EXPERTS = "def prune_regrow(weight, keep, momentum, rate):", "def two_experts(weight, density, generator):"
BLEND = "def blend_weights(clean, adv, lam):"
NUMBER = "\n    number = min(math.ceil(rate * keep.sum().item()), keep.sum().item() - 1)"
FLAT = f"{NUMBER}\n    shape, keep = keep.shape, keep.clone().flatten()"
DROP = "\n    keep[weight.abs().flatten().masked_fill(~keep, math.inf).argsort()[:number]] = False"
GROW = "\n    keep[momentum.abs().flatten().masked_fill(keep, -1).argsort(descending=True)[:number]] = True"
SIGNED = GROW.replace("momentum.abs()", "momentum").replace("-1)", "-math.inf)")
BACK = "\n    return keep.view(shape)"
MIX = "(1 - lam) * clean[k] + lam * adv[k]"

WRONG = {
    "prune_regrow": [
        (PRUNE + FLAT + DROP + BACK, "as many must grow as go"),
        (PRUNE + FLAT + DROP.replace("weight.abs()", "weight") + GROW + BACK, "most negative"),
        (PRUNE + FLAT + DROP.replace("math.inf).argsort()", "-1).argsort(descending=True)") + GROW + BACK, "largest"),
        (
            PRUNE + FLAT + DROP + GROW.replace("momentum.abs()", "momentum").replace("-1)", "-math.inf)") + BACK,
            "either",
        ),
        (
            PRUNE + NUMBER + "\n    flat = keep.view(-1)" + (DROP + GROW).replace("keep", "flat") + "\n    return keep",
            "mask that it was given",
        ),
    ],
    "two_experts": [
        (
            f"{EXPERTS}\n    clean = torch.rand(weight.shape, generator=generator) < density\n    return clean, ~clean",
            "exactly round",
        ),
        (
            f"{EXPERTS}\n    clean, adv = (torch.rand(weight.shape, generator=generator) < density for _ in range(2))"
            "\n    return clean, adv",
            "serve both",
        ),
        (
            f"{EXPERTS}\n    clean = torch.arange(weight.numel()).view(weight.shape) < round(density * weight.numel())"
            "\n    return clean, ~clean",
            "same weights every time",
        ),
        (
            f"{EXPERTS}\n    clean = torch.zeros(weight.numel())"
            "\n    clean[torch.randperm(len(clean), generator=generator)[:round(density * len(clean))]] = 1"
            "\n    return clean.view(weight.shape), 1 - clean.view(weight.shape)",
            "torch.bool",
        ),
    ],
    "blend_weights": [
        (f"{BLEND}\n    return {{k: lam * clean[k] + (1 - lam) * adv[k] for k in clean}}", "swapped"),
        (
            f"{BLEND}\n    return {{k: {MIX} if k.endswith('weight') else clean[k] for k in clean}}",
            "biases have to be mixed",
        ),
        (f"{BLEND}\n    return {{k: {MIX} for k in clean if k.endswith('weight')}}", "same names"),
        (f"{BLEND}\n    return {{k: clean[k].mul_(1 - lam).add_(lam * adv[k]) for k in clean}}", "make new tensors"),
    ],
}
