"""Typical wrong answers to the exercises of lesson B, and what the learner is told."""

LINEAR = """def interval_linear(weight, bias, low, high):
    centre = (low + high) / 2
    radius = (high - low) / 2
    centre = centre @ weight.T + bias
    radius = radius @ weight.abs().T
    return centre - radius, centre + radius"""
BOX = """def logit_box(net, x, eps):
    low = (x - eps).clamp(0, 1)
    high = (x + eps).clamp(0, 1)
    for layer in net:
        if isinstance(layer, nn.Linear):
            low, high = interval_linear(layer.weight, layer.bias, low, high)
        else:
            low, high = layer(low), layer(high)
    return low, high"""
CERTIFY = """def certify(weight, bias, low, high, y):
    centre, radius = (low + high) / 2, (high - low) / 2
    proven = torch.ones(len(y), dtype=torch.bool)
    for other in range(len(bias)):
        difference = weight[y] - weight[other]
        least = (difference * centre).sum(1) - (difference.abs() * radius).sum(1)
        least = least + bias[y] - bias[other]
        proven &= (least > 0) | (y == other)
    return proven"""
BOXES = """def certify(weight, bias, low, high, y):
    low, high = interval_linear(weight, bias, low, high)
    rivals = high.clone()
    rivals[torch.arange(len(y)), y] = -torch.inf
    return low[torch.arange(len(y)), y] > rivals.max(1).values"""
ATTACK = """def decide(net, x, y, eps):
    fooled = net(x).argmax(1) != y
    for dx in (-eps, 0, eps):
        for dy in (-eps, 0, eps):
            fooled |= net((x + torch.tensor([dx, dy])).clamp(0, 1)).argmax(1) != y
    return ~fooled, fooled"""
ONCE = """def decide(net, x, y, eps):
    *rest, last = net
    box = logit_box(nn.Sequential(*rest), x, eps)
    proven = certify(last.weight, last.bias, *box, y)
    return proven, net(x).argmax(1) != y"""


def changed(code, *pairs):
    """The code with some lines in place of others."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in code, old
        code = code.replace(old, new)
    return code


WRONG = {
    "interval_linear": [
        (
            "def interval_linear(weight, bias, low, high):\n    return low @ weight.T + bias, high @ weight.T + bias",
            "negative weight",
        ),
        (changed(LINEAR, "(high - low) / 2", "(high - low) / 4"), "half of high - low"),
        (changed(LINEAR, " + bias", ""), "bias is missing"),
        (changed(LINEAR, "    return centre - radius, centre + radius", "    return centre"), "two tensors"),
        (changed(LINEAR, "weight.abs()", "weight.square()"), r"\|weight\|"),
    ],
    "logit_box": [
        (changed(BOX, ".clamp(0, 1)", ""), r"stay in \[0, 1\]"),
        (changed(BOX, "(x - eps).clamp(0, 1)", "x", "(x + eps).clamp(0, 1)", "x"), "the logits of x"),
        (changed(BOX, "(x - eps).clamp(0, 1)", "x"), "lie below"),
    ],
    "certify": [
        (BOXES, "weaker than possible"),
        (changed(CERTIFY, " | (y == other)", ""), "proves nothing"),
        (changed(CERTIFY, "(difference.abs() * radius)", "0.2 * (difference.abs() * radius)"), "called proven"),
        (
            changed(CERTIFY, "proven = torch", "y = (centre @ weight.T + bias).argmax(1)\n    proven = torch"),
            "misclassified already",
        ),
        (changed(CERTIFY, "return proven", "return proven.float()"), "booleans"),
        (changed(CERTIFY, "return proven", "return proven[:3]"), "returns 3 values"),
        (
            changed(CERTIFY, "radius = (low + high) / 2, (high - low) / 2", "radius = (low + high) / 2, high - low"),
            "that can be",
        ),
    ],
    "decide": [
        (ATTACK, "are called robust"),
        (ONCE, "are decided"),
        (changed(ONCE, "net(x).argmax(1) != y", "~proven"), "are called fooled"),
        (changed(ONCE, "net(x).argmax(1) != y", "proven"), "both robust and fooled"),
        (changed(ONCE, "return proven, ", "return "), "two tensors"),
    ],
}
