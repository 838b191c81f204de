"""Typical wrong answers to the exercises of lesson 03, and what the learner is told."""


def norm(statistics, spread="(var_b + eps)", kept="(1 - momentum) * mean + momentum * m", square="u"):
    """An answer to batch_norm; m, b and u are its mean and its two variances of the batch."""
    return f"""
def batch_norm(x, mean, var, momentum=0.1, eps=1e-5):
    m, u, b = {statistics}
    var_b = {"b" if "var_b" in spread else "u"}
    z = (x - m.view(-1, 1, 1)) / {spread}.view(-1, 1, 1).sqrt()
    return z, {kept}, (1 - momentum) * var + momentum * {square}
"""


def dual(lines):
    return f"""
def dual_norm(x, world, eps=1e-5):
    def norm(part):
        var, mean = torch.var_mean(part, (0, 2, 3), correction=0, keepdim=True)
        return (part - mean) / (var + eps).sqrt()
    {lines}
"""


BATCH = "x.mean((0, 2, 3)), x.var((0, 2, 3)), x.var((0, 2, 3), correction=0)"
PIXELS = """
def batch_norm(x, mean, var, momentum=0.1, eps=1e-5):
    return (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt(), mean, var
"""

WRONG = {
    "batch_norm": [
        (norm("mean, var, var"), "statistics that were kept"),
        (norm(BATCH, "(u + eps)"), "divide by n, not"),
        (norm(BATCH, "(var_b)"), "eps is missing"),
        (PIXELS, "average over images, rows and columns"),
        (norm(BATCH, kept="momentum * mean + (1 - momentum) * m"), "forgets too fast"),
        (norm(BATCH, square="b"), "divide by n - 1"),
        (norm(BATCH, square="u.sqrt()"), "not a standard deviation"),
        (norm(BATCH) + "\nfirst = batch_norm\ndef batch_norm(x, mean, var):\n    return first(x, mean, var)[0]\n",
         "three tensors"),
    ],
    "dual_norm": [
        (dual("return norm(x)"), "one crowd"),
        (dual("return torch.cat([norm(x[world == 0]), norm(x[world == 1])])"), "sorted by world"),
        (dual("return torch.cat([norm(x[: len(x) // 2]), norm(x[len(x) // 2 :])])"), "in any order"),
        (dual("return norm(x) * 0"), "divide by n"),
        (dual("out = torch.zeros_like(x); out[world == 0] = norm(x[world == 0]); return out"), "world 1 are lost"),
        (dual("if len(world.unique()) == 1: return x\n    out = x.clone()\n    for k in (0, 1): "
              "out[world == k] = norm(x[world == k])\n    return out"), "one world only"),
    ],
}  # fmt: skip
