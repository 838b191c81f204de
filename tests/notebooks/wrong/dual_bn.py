"""Typical wrong answers to the exercises of lesson 03, and what the learner is told."""


def norm(
    statistics,
    spread="(var_b + eps)",
    kept="(1 - momentum) * mean + momentum * m",
    square="u",
    evaluation="return (x - mean.view(-1, 1, 1)) / (var + eps).view(-1, 1, 1).sqrt(), mean, var",
):
    """An answer to batch_norm; m, b and u are its mean and its two variances of the batch."""
    return f"""
def batch_norm(x, mean, var, training=True, momentum=0.1, eps=1e-5):
    if not training:
        {evaluation}
    m, u, b = {statistics}
    var_b = {"b" if "var_b" in spread else "u"}
    z = (x - m.view(-1, 1, 1)) / {spread}.view(-1, 1, 1).sqrt()
    return z, {kept}, (1 - momentum) * var + momentum * {square}
"""


BATCH = "x.mean((0, 2, 3)), x.var((0, 2, 3)), x.var((0, 2, 3), correction=0)"
PIXELS = """
def batch_norm(x, mean, var, training=True, momentum=0.1, eps=1e-5):
    return (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt(), mean, var
"""
DUAL = """
class DualBN(nn.Module):
    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.scale = nn.Parameter(torch.ones(2, channels))
        self.shift = nn.Parameter(torch.zeros(2, channels))
        self.register_buffer("mean", torch.zeros(2, channels))
        self.register_buffer("var", torch.ones(2, channels))

    def forward(self, x, branch):
        out = torch.empty_like(x)
        for row in (0, 1):
            part = x[branch == row]
            if len(part) == 0:
                continue
            mean, var = self.mean[row], self.var[row]
            if self.training:
                mean, var = part.mean((0, 2, 3)), part.var((0, 2, 3), correction=0)
                with torch.no_grad():
                    self.mean[row] += self.momentum * (mean - self.mean[row])
                    self.var[row] += self.momentum * (part.var((0, 2, 3)) - self.var[row])
            z = (part - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()
            out[branch == row] = z * self.scale[row][:, None, None] + self.shift[row][:, None, None]
        return out
"""
NET = """
class SmallNet(nn.Module):
    def __init__(self, norm, cin=3, classes=8):
        super().__init__()
        sizes = ((cin, 16, 1), (16, 32, 2), (32, 64, 2))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, s, padding=1, bias=False) for a, b, s in sizes)
        self.norms = nn.ModuleList(norm(b) for _, b, _ in sizes)
        self.head = nn.Linear(64, classes)

    def forward(self, x, branch):
        x = (x - 0.5) * 4
        for conv, norm in zip(self.convs, self.norms):
            x = torch.relu(norm(conv(x), branch))
        return self.head(x.mean((2, 3)))
"""
STEP = """
def half_step(net, optimizer, x, y, attack):
    half = len(x) // 2
    branch = (torch.arange(len(x)) >= half).long()
    net.eval()
    x_adv = attack(lambda images: net(images, torch.ones(len(images)).long()), x[half:], y[half:])
    net.train()
    loss = F.cross_entropy(net(torch.cat([x[:half], x_adv]), branch), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
"""


def changed(code, *pairs):
    """Code with some texts replaced, each of which it must have."""
    for old, new in pairs:
        assert old in code, old
        code = code.replace(old, new)
    return code


def distance(value):
    return f"""
def gap(first, second):
    difference = first.mean((0, 2, 3)) - second.mean((0, 2, 3))
    spread = first.std((0, 2, 3))
    return ({value})
"""


def domain(value):
    return f"""
def second_domain(x):
    return {value}
"""


WRONG = {
    "batch_norm": [
        (norm("mean, var, var"), "uses the running statistics"),
        (norm(BATCH, "(u + eps)"), "divide by n, not"),
        (norm(BATCH, "(var_b)"), "eps is missing"),
        (PIXELS, "average over images, rows and columns"),
        (norm(BATCH, kept="momentum * mean + (1 - momentum) * m"), "changes too fast"),
        (norm(BATCH, square="b"), "divide by n - 1"),
        (norm(BATCH, square="u.sqrt()"), "not a standard deviation"),
        (norm(BATCH, evaluation="pass"), "training=False, x should be normalised with the running"),
        (norm(BATCH, evaluation="return (x - mean.view(-1, 1, 1)) / (var + eps).view(-1, 1, 1).sqrt(), "
              "0.9 * mean, var"), "returned unchanged"),
        (norm(BATCH) + "\nfirst = batch_norm\ndef batch_norm(*a):\n    return first(*a)[0]\n", "three tensors"),
    ],
    "DualBN": [
        (changed(DUAL, ("class DualBN(nn.Module)", "class DualBN()"),
                 ('self.register_buffer("mean", ', "self.mean = ("),
                 ('self.register_buffer("var", ', "self.var = ("), ("super().__init__()", "pass")), "a module"),
        (changed(DUAL, ("nn.Parameter(torch.ones(2, channels))", "torch.ones(2, channels)")),
         "self.scale should be an nn"),
        (changed(DUAL, ('self.register_buffer("mean", torch.zeros(2, channels))',
                        "self.mean = torch.zeros(2, channels)")),
         "self.mean should be a buffer"),
        (changed(DUAL, ('self.register_buffer("var", torch.ones(2, channels))',
                        "self.var = nn.Parameter(torch.ones(2, channels))")), "measured, not trained"),
        (changed(DUAL, ('"var", torch.ones', '"var", torch.zeros')), "var should start at 1"),
        (changed(DUAL, ("mean, var = part.mean((0, 2, 3)), part.var((0, 2, 3), correction=0)",
                        "mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)")), "share one mean"),
        (changed(DUAL, ("z * self.scale[row][:, None, None] + self.shift[row][:, None, None]", "z")), "are missing"),
        (changed(DUAL, ("self.scale[row]", "self.scale[0]"), ("self.shift[row]", "self.shift[0]")), "of row 0"),
        (changed(DUAL, ("return out", "return torch.cat([out[branch == 0], out[branch == 1]])")), "sorted by branch"),
        (changed(DUAL, ("out = torch.empty_like(x)",
                        "out = torch.empty_like(x); branch = torch.arange(len(x)) * 2 // len(x)")),
         "in any order"),
        (changed(DUAL, ("                mean, var = part.mean((0, 2, 3)), part.var((0, 2, 3), correction=0)\n", ""),
                 ("(mean - ", "(part.mean((0, 2, 3)) - "), ("mean, var = self.mean[row], self.var[row]",
                  "mean, var = self.mean[row].clone(), self.var[row].clone()")), "it uses the running statistics"),
        (changed(DUAL, ("self.mean[row] +=", "_ ="), ("self.var[row] +=", "_ =")),
         "do not change in train"),
        (changed(DUAL, ("self.mean[row] += self.momentum * (mean - self.mean[row])",
                        "self.mean += self.momentum * (mean - self.mean)")), "each branch updates its own row"),
        (changed(DUAL, ("(part.var((0, 2, 3)) -", "(var -")), "divides by n: there"),
        (changed(DUAL, ("            if len(part) == 0:\n                continue\n", "")), "skip an empty one"),
        (changed(DUAL, ("if self.training", "if True"), ("with torch.no_grad()", "if self.training"),
                 ("(mean - ", "(mean.detach() - "), ("part.var((0, 2, 3)) -", "part.var((0, 2, 3)).detach() -")),
         "use the running statistics of the branch"),
        (changed(DUAL, ("with torch.no_grad()", "if True")), "carry gradients|no_grad"),
        (changed(DUAL, ("out = torch.empty_like(x)", "out = x")), "changes x itself"),
    ],
    "SmallNet": [
        (changed(NET, ("norm(conv(x), branch)", "norm(conv(x), branch * 0)")), "does not look at branch"),
        (changed(NET, ("torch.relu(norm(conv(x), branch))", "norm(torch.relu(conv(x)), branch)")),
         "ReLU stands before"),
        (changed(NET, ("x = (x - 0.5) * 4\n", "pass\n")), "not centred"),
        (changed(NET, ("torch.relu(norm(conv(x), branch))", "norm(conv(x), branch)")), "there is no ReLU"),
        (changed(NET, ("bias=False", "bias=True")), "need no bias"),
        (changed(NET, ("self.head", "self.linear")), "'head' is missing"),
        (changed(NET, ("(16, 32, 2), (32, 64, 2)", "(16, 48, 2), (48, 64, 2)")), "has the shape"),
        (changed(NET, ("x.mean((2, 3))", "x.mean((0, 2, 3))[None]")), r"logits \(N, classes\)"),
        (changed(NET, ("x.mean((2, 3))", "x.amax((2, 3))")), "mean over pixels, head"),
    ],
    "half_step": [
        (changed(STEP, ("    net.eval()\n", "    net.train()\n")), "in eval mode"),
        (changed(STEP, ("torch.ones(len(images)).long()), x[half:]", "torch.zeros(len(images)).long()), x[half:]")),
         "another branch"),
        (changed(STEP, ("x[half:], y[half:])", "x[:half], y[:half])")), "not the first"),
        (changed(STEP, ("x[half:], y[half:])", "x, y)[half:]")), "second half, 4 images"),
        (changed(STEP, ("x_adv = attack(", "x_adv = (lambda f, x, y: x)(")), "nothing is attacked"),
        (changed(STEP, ("    net.train()\n", "")), "needs train mode"),
        (changed(STEP, (">= half", "< half")), "swapped"),
        (changed(STEP, ("(torch.arange(len(x)) >= half).long()", "torch.zeros(len(x)).long()")),
         "one forward of the whole"),
        (changed(STEP, ("    optimizer.zero_grad()\n", "")), "zero_grad"),
        (changed(STEP, ("    optimizer.step()\n", "")), "after loss.backward"),
        (changed(STEP, ("loss.item()", "loss")), "as a number"),
        (changed(STEP, (", y)\n", ', y, reduction="sum")\n')), "mean cross-entropy"),
    ],
    "gap": [
        (distance("(difference / spread).mean().item()"), "absolute value"),
        (distance("(difference.abs() / spread**2).mean().item()"), "by the variance"),
        (distance("(difference.abs() / second.std((0, 2, 3))).mean().item()"), "of the second set"),
        (distance("difference.abs().mean().item()"), "does not divide"),
        (distance("(difference.abs() / spread).sum().item()"), "adds up"),
        (distance("(difference.abs().mean() / spread.mean()).item()"), "in each channel first"),
        (distance("difference.abs() / spread"), "one number"),
        (distance("0.0"), "mean over channels"),
    ],
    "second_domain": [
        (domain("x.mean((2, 3))"), "shape of x"),
        (domain("x + 0.5"), r"stay in \[0, 1\]"),
        (domain("x * torch.rand(1)"), "no random numbers"),
        (domain("(x - x.mean(0)).clamp(0, 1)"), "change alone"),
        (domain("x"), "have not changed"),
        (domain("0.25 + 0.5 * x"), "at least 15 points"),
        (domain("torch.full_like(x, 0.9)"), "destroys"),
    ],
}  # fmt: skip
