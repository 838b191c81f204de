"""Typical wrong answers to the exercises of lesson 09b, and what the learner is told."""

BLEND = "def blend_weights(first, second, lam):\n"
MIX = "(1 - lam) * first[k] + lam * second[k]"
MASKS = """def experts_masks(weight, density, common, generator):
    k = round(density * weight.numel())
    start = k - round(common * k)
    places = torch.randperm(weight.numel(), generator=generator)
    masks = torch.zeros(2, weight.numel(), dtype=torch.bool)
    masks[0, places[:k]] = True
    masks[1, places[start : start + k]] = True
    return masks[0].view(weight.shape), masks[1].view(weight.shape)
"""
RESCALE = """def rescale(weight, bias, now, wanted):
    factor = wanted[1] / now[1]
    return weight * factor[:, None, None, None], (bias - now[0]) * factor + wanted[0]
"""
REPAIR = """from oatlib.course.experts import channel_stats, convs

def repair_channels(middle, first, second, lam, x):
    of_first, of_second = channel_stats(first, x), channel_stats(second, x)
    for name, conv in convs(middle).items():
        now = channel_stats(middle, x)[name]
        wanted = tuple((1 - lam) * a + lam * b for a, b in zip(of_first[name], of_second[name]))
        conv.weight, conv.bias = rescale(conv.weight, conv.bias, now, wanted)
    return middle
"""
PATH = "from oatlib.course.experts import with_weights\n\ndef my_path(first, second, x, y):\n"
LINE = """    def line(lam):
        return blend_weights(first.state_dict(), second.state_dict(), lam)
"""
FIXED = """    def fixed(lam):
        middle = with_weights(first, line(lam))
        return repair_channels(middle, first, second, lam, x[:256]).state_dict()
    return fixed
"""


def changed(code, old, new):
    """A solution with one mistake."""
    assert code.count(old) == 1, old
    return code.replace(old, new)


WRONG = {
    "blend_weights": [
        (f"{BLEND}    return {{k: lam * first[k] + (1 - lam) * second[k] for k in first}}", "swapped"),
        (
            f"{BLEND}    return {{k: {MIX} if k.endswith('weight') else first[k] for k in first}}",
            "biases have to be mixed",
        ),
        (f"{BLEND}    return {{k: {MIX} for k in first if k.endswith('weight')}}", "same names"),
        (f"{BLEND}    return {{k: first[k].mul_(1 - lam).add_(lam * second[k]) for k in first}}", "make new tensors"),
    ],
    "experts_masks": [
        (changed(MASKS, "round(common * k)", "0"), "share"),
        (
            changed(MASKS, ", generator=generator)\n    masks", ", generator=torch.Generator())\n    masks"),
            "every time",
        ),
        (changed(MASKS, ", dtype=torch.bool", ""), "torch.bool"),
        (changed(MASKS, "start : start + k", "start:"), "each expert should keep"),
        (
            "def experts_masks(weight, density, common, generator):\n"
            "    clean, adv = (torch.rand(weight.shape, generator=generator) < density for _ in range(2))\n"
            "    return clean, adv",
            "each expert should keep",
        ),
        ("def experts_masks(weight, density, common, generator):\n    return weight > 0", "two masks"),
    ],
    "rescale": [
        (changed(RESCALE, "wanted[1] / now[1]", "now[1] / wanted[1]"), "upside down"),
        (changed(RESCALE, "wanted[1] / now[1]", "(wanted[1] / now[1]) ** 2"), "variances"),
        (changed(RESCALE, "(bias - now[0]) * factor + wanted[0]", "bias - now[0] + wanted[0]"), "scaled, too"),
        (changed(RESCALE, "(bias - now[0]) * factor + wanted[0]", "bias * factor"), "stays what it was"),
        (changed(RESCALE, "(bias - now[0]) * factor", "bias * factor - now[0]"), "before it is scaled"),
        (
            changed(RESCALE, "weight * factor[:, None, None, None]", "weight.mul_(factor[:, None, None, None])"),
            "make new tensors",
        ),
    ],
    "repair_channels": [
        (changed(REPAIR, "(1 - lam) * a + lam * b", "lam * a + (1 - lam) * b"), "swapped"),
        (
            changed(REPAIR, "    for name", "    of_middle = channel_stats(middle, x)\n    for name").replace(
                "channel_stats(middle, x)[name]", "of_middle[name]"
            ),
            "again for each conv",
        ),
        (changed(REPAIR, "(1 - lam) * a + lam * b", "(a + b) / 2"), "λ times the statistics"),
        (changed(REPAIR, "conv.weight, conv.bias = rescale", "weight, bias = rescale"), "nothing has changed"),
        (changed(REPAIR, "return middle", "return first"), "one of the ends"),
    ],
    "my_path": [
        (PATH + "    return blend_weights(first.state_dict(), second.state_dict(), 0.5)", "function from λ"),
        (PATH + "    return lambda lam: (1 - lam) * first(x) + lam * second(x)", "one network answers"),
        (PATH + "    return lambda lam: (first if lam < 0.5 else second).state_dict()", "jumps"),
        (
            # The generator has a seed: two draws at one λ can agree, and then nothing is to be seen.
            PATH + "    ends = [first.state_dict(), second.state_dict()]\n"
            "    coin = torch.Generator().manual_seed(0)\n"
            "    return lambda lam: ends[int(torch.rand((), generator=coin) < lam)]",
            "the second time",
        ),
        (PATH + "    return lambda lam: first.state_dict()", "should be `second`"),
        (PATH + f"{LINE}    return line", "should be 80% everywhere"),
        (PATH + f"{LINE}{FIXED}", "has been trained"),
    ],
}
