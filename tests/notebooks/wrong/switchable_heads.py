"""Typical wrong answers to the exercises of lesson 07, and what the learner is told."""

HEAD = "def switched_head(features, heads, index):\n    "
COUNT = "def head_parameters(features, classes, widths):\n    "

WRONG = {
    "switched_head": [
        (HEAD + "return heads[index](features).softmax(1)", "probabilities"),
        (HEAD + "full = heads[-1]\n    return F.linear(features, full.weight[:, : features.shape[1]], full.bias)",
         "shared"),
        (HEAD + "return {head.in_features: head for head in heads}[features.shape[1]](features)",
         "by its number of features"),
        (HEAD + "return next(h for h in heads if h.in_features == features.shape[1])(features)",
         "first head that fits"),
    ],
    "head_parameters": [
        (COUNT + "return sum(int(features * w) * classes + classes for w in widths)", "subtract"),
        (COUNT + "return sum(int(features * w) * classes for w in widths) - features * classes", "biases"),
        (COUNT + "return (len(widths) - 1) * (features + 1) * classes", "narrow, too"),
        (COUNT + "return sum(math.ceil(features * w) * classes + classes for w in widths) - (features + 1) * classes",
         "round down"),
    ],
    "held_out_gain": [
        ("def held_out_gain(gains):\n    return gains.max(1).values.mean().item()", "mean of the maxima"),
        ("def held_out_gain(gains):\n    return gains[:, gains.mean(0).argmax()].mean().item()", "seen all seeds"),
        ("def held_out_gain(gains):\n    return gains.mean().item()", "over all sub-networks"),
        ("def held_out_gain(gains):\n    kept = []\n    for s in range(len(gains)):\n"
         "        others = torch.cat([gains[:s], gains[s + 1 :]])\n"
         "        kept.append(others[:, gains[s].argmax()].mean().item())\n    return sum(kept) / len(kept)",
         "other way round"),
        ("def held_out_gain(gains):\n    return gains[-1, gains[:-1].mean(0).argmax()].item()", "it should be"),
    ],
}  # fmt: skip
