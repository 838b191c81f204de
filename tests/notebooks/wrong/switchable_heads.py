"""Typical wrong answers to the exercises of lesson 07, and what the learner is told."""

BEST = "def best_gain(ours, base):\n    "
MEANS = "def bootstrap_means(values, draws, generator):\n    "
BOOTSTRAP = """def bootstrap(ours, base, statistic, draws, generator):
    values = []
    for _ in range(draws):
        images = torch.randint(ours.shape[2], (ours.shape[2],), generator=generator)
        a = torch.randint(len(ours), (len(ours),), generator=generator)
        b = torch.randint(len(base), (len(base),), generator=generator)
        ours_table = 100 * ours[a][:, :, images].float().mean(2)
        base_table = 100 * base[b][:, :, images].float().mean(2)
        values.append(statistic(ours_table, base_table))
    return torch.tensor(values)
"""
RELABEL = """def relabelled(ours, base, statistic):
    from itertools import combinations
    runs = torch.cat([ours, base])
    values = []
    for first in combinations(range(len(runs)), len(ours)):
        rest = [run for run in range(len(runs)) if run not in first]
        values.append(statistic(runs[list(first)], runs[rest]))
    return torch.tensor(values)
"""
SHARED = "def shared_logits(features, weight, bias):\n    "
HEAD = """class SwitchableHead(nn.Module):
    def __init__(self, features, classes, widths):
        super().__init__()
        sizes = [int(features * width) for width in widths]
        self.each = nn.ModuleList([nn.Linear(size, classes) for size in sizes])

    def forward(self, features, index):
        return self.each[index](features)
"""
VERDICT = "def verdict(ours, base):\n    "


def changed(code, old, new):
    """A right answer with one mistake."""
    assert old in code
    return code.replace(old, new)


WRONG = {
    "best_gain": [
        (BEST + "return (ours - base).max(1).values.mean().item()", "best sub-network of every run"),
        (BEST + "return (ours - base).max().item()", "whole table"),
        (BEST + "return (ours - base).mean().item()", "mean over all sub-networks"),
        (BEST + "return (base.mean(0) - ours.mean(0)).max().item()", "swapped"),
        (BEST + "return (ours.mean(0) - base.mean(0)).abs().max().item()", "absolute values"),
        (BEST + "return (ours.mean(0).max() - base.mean(0).max()).item()", "two different"),
        (BEST + "return (ours - base).mean(0)", "tensor of shape"),
    ],
    "bootstrap_means": [
        (MEANS + "return torch.stack([values[torch.randperm(len(values), generator=generator)].mean()"
         " for _ in range(draws)])", "with replacement"),
        (MEANS + "return values[torch.randint(len(values), (draws,), generator=generator)]", "one value only"),
        (MEANS + "return values[torch.randint(len(values), (draws, len(values)), generator=generator)]",
         "mean of every row"),
        (MEANS + "return values[torch.randint(len(values), (draws, len(values)), generator=generator)].mean(0)",
         "one mean per draw"),
        (MEANS + "return values[torch.randint(len(values), (draws, len(values)))].mean(1)", "generator"),
        (MEANS + "return values[torch.randint(len(values) - 1, (draws, len(values)), generator=generator)].mean(1)",
         "equally likely"),
    ],
    "bootstrap": [
        (changed(BOOTSTRAP, "[:, :, images].float()", ".float()"), "images are not drawn"),
        (changed(changed(BOOTSTRAP, "ours[a]", "ours"), "base[b]", "base"), "runs are not drawn"),
        (changed(BOOTSTRAP, "base[b][:, :, images]",
                 "base[b][:, :, torch.randint(base.shape[2], (base.shape[2],), generator=generator)]"),
         "different images"),
        (changed(BOOTSTRAP, "base[b]", "base[a % len(base)]"), "the same runs"),
        (changed(BOOTSTRAP, "100 * ", ""), "in points"),
        (changed(BOOTSTRAP, "torch.randint(len(ours), (len(ours),)", "torch.randint(len(ours), (1,)"),
         "as many runs"),
        (changed(BOOTSTRAP, "torch.randint(len(base), (len(base),)", "torch.randint(len(ours), (len(ours),)"),
         "numbers of runs|stopped with"),
        (changed(BOOTSTRAP, ", generator=generator", ""), "depend on the generator"),
    ],
    "relabelled": [
        (changed(RELABEL, "in combinations(range(len(runs)), len(ours))",
                 "in list(combinations(range(len(runs)), len(ours)))[1:]"), "one split is missing"),
        (changed(RELABEL, "if run not in first", ""), "groups of"),
        (changed(RELABEL, "in combinations(range(len(runs)), len(ours))",
                 "in list(combinations(range(len(runs)), len(ours)))[::-1]"), "first value"),
        (changed(RELABEL, "values.append(statistic(runs[list(first)], runs[rest]))",
                 "values.append(statistic(runs[list(first)], base))"), "exactly the runs"),
        (changed(RELABEL, "len(ours)):\n",
                 "len(ours)):\n        if len(values) == 5:\n            break\n"), "split in 10 ways"),
    ],
    "shared_logits": [
        (SHARED + "return features @ weight[:, : features.shape[1]].T", "bias is missing"),
        (SHARED + "return features @ weight[:, -features.shape[1] :].T + bias", "last columns"),
        (SHARED + "return (features @ weight[:, : features.shape[1]].T + bias).softmax(1)", "probabilities"),
        (SHARED + "return features @ weight[: features.shape[1]].T + bias", "stopped with|shape"),
    ],
    "SwitchableHead": [
        (changed(HEAD, "nn.ModuleList([nn.Linear(size, classes) for size in sizes])",
                 "[nn.Linear(size, classes) for size in sizes]"), "no parameters"),
        (changed(HEAD, "nn.Linear(size, classes)", "nn.Linear(features, classes)"), "int"),
        (changed(HEAD, "self.each[index](features)", "self.each[index](features).softmax(1)"), "probabilities"),
        (changed(HEAD, "return self.each[index](features)",
                 "return {part.in_features: part for part in self.each}[features.shape[1]](features)"),
         "number of features"),
        (HEAD.replace("self.each", "self.heads"), "`each`"),
    ],
    "verdict": [
        (VERDICT + "return False", "never claims"),
        (VERDICT + "return True", "in every paper"),
        (VERDICT + "return best_gain(ours, base) > 7.71", "too many false claims"),
        ("def verdict(ours, base, seen=[]):\n    seen.append(0)\n    return len(seen) > 300", "too many false claims"),
        (VERDICT + "values = relabelled(ours, base, best_gain)\n"
         "    return bool((values >= values[0] - 1e-6).float().mean() <= 0.05)", "misses too many"),
        (VERDICT + "return best_gain(ours, base)", "True or False"),
    ],
}  # fmt: skip
