"""Typical wrong answers to the exercises of lesson 04, and what the learner is told."""


def film(line):
    return f"def film(x, gamma, beta):\n    g, b = gamma[:, :, None, None], beta[:, :, None, None]\n    return {line}"


GAMMA_ONE = "self.out.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))"


def generator(
    forward="F.leaky_relu(self.out(F.leaky_relu(self.hidden(code)))).chunk(2, dim=1)",
    start=GAMMA_ONE,
    scale="0.1",
    hidden="2 * channels",
    base="nn.Module",
):
    return f"""
class FiLM({base}):
    def __init__(self, code_dim, channels):
        super().__init__()
        self.hidden = nn.Linear(code_dim, {hidden})
        self.out = nn.Linear({hidden}, 2 * channels)
        with torch.no_grad():
            self.out.weight.mul_({scale})
            {start}

    def forward(self, code):
        return {forward}
"""


def block(
    forward="""
        x = self.norm(self.conv(x), branch)
        gamma, beta = self.film(code)
        return torch.relu(x * gamma[:, :, None, None] + beta[:, :, None, None])""",
    conv="nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)",
    norm="DualBN(cout)",
):
    return f"""
class Block(nn.Module):
    def __init__(self, cin, cout, stride, code_dim):
        super().__init__()
        self.conv = {conv}
        self.norm = {norm}
        self.film = FiLM(code_dim, cout)

    def forward(self, x, branch, code):{forward}
"""


def steps(*lines):
    return block("".join(f"\n        {line}" for line in ("gamma, beta = self.film(code)", *lines)))


SCALED = "{} * gamma[:, :, None, None] + beta[:, :, None, None]"


def small(parameters, forward):
    return f"""
class SmallGenerator(nn.Module):
    def __init__(self, channels):
        super().__init__()
        {parameters}

    def forward(self, lam):
        {forward}
"""


def reads(line):
    return f"""
def reads_texture(weight, texture, drawn):
    t, d = F.conv2d(texture, weight), F.conv2d(drawn, weight)
    return {line}
"""


def turned(*lines):
    body = "\n        ".join(("gamma, beta = self.film(codes, width)", *lines, "return gamma, beta"))
    return f"""
class Turned(nn.Module):
    def __init__(self, film, channels, to=1, source=-1):
        super().__init__()
        self.film, self.channels, self.to, self.source = film, channels, to, source

    def forward(self, codes, width=None):
        {body}
"""


CLONED = "gamma, ch = gamma.clone(), self.channels"


WRONG = {
    "film": [
        (film("x * gamma + beta"), "columns, not channels"),
        (film("x * g[:1] + b[:1]"), "same γ and β"),
        (film("x + b"), "γ is missing"),
        (film("x * g"), "β is missing"),
        (film("x * (1 + g) + b"), r"1 \+ γ"),
        (film("(x + b) * g"), "first multiply"),
    ],
    "FiLM": [
        (generator("F.leaky_relu(self.out(self.hidden(code))).chunk(2, dim=1)"), "behind self.hidden"),
        (generator("self.out(F.leaky_relu(self.hidden(code))).chunk(2, dim=1)"), "behind self.out"),
        (generator("self.out(self.hidden(code)).chunk(2, dim=1)"), "no LeakyReLU"),
        (generator("F.relu(self.out(F.relu(self.hidden(code)))).chunk(2, dim=1)"), "uses ReLU"),
        (generator("F.leaky_relu(self.out(F.leaky_relu(self.hidden(code)))).chunk(2, dim=0)"), "shape"),
        (generator("F.leaky_relu(self.out(F.leaky_relu(self.hidden(code))))"), "two tensors"),
        (generator(start="self.out.bias.zero_()"), "set the bias"),
        (generator(start="self.out.bias.fill_(1.0)"), r"0\.9\d: set the bias"),
        (generator(start="self.out.bias.copy_(torch.cat([torch.zeros(channels), torch.ones(channels)]))"),
         "first half"),
        (generator(scale="1.0"), "ten times smaller"),
        (generator(scale="0.0"), "no gradient"),
        (generator(hidden="channels"), "its weight should be"),
    ],
    "Block": [
        (block(conv="nn.Conv2d(cin, cout, 3, stride, padding=1)"), "has a bias"),
        (block(conv="nn.Conv2d(cin, cout, 3, padding=1, bias=False)"), "stride is not passed"),
        (block(conv="nn.Conv2d(cin, cout, 3, stride, bias=False)"), "padding=1"),
        (block(norm="nn.BatchNorm2d(cout)"), r"DualBN\(cout\)"),
        (steps(f"return {SCALED.format('self.norm(self.conv(x), branch)')}"), "ReLU is missing"),
        (steps("h = torch.relu(self.norm(self.conv(x), branch))", f"return {SCALED.format('h')}"), "ReLU comes before"),
        (steps("return torch.relu(self.norm(self.conv(x), branch))"), "FiLM is missing"),
        (steps("h = self.norm(self.conv(x), branch)", "return torch.relu(h * gamma[:, :, None, None])"), "only scales"),
        (steps(f"h = {SCALED.format('self.conv(x)')}", "return torch.relu(self.norm(h, branch))"), "before the norm"),
        (steps("h = self.norm(self.conv(x), 1 - branch)", f"return torch.relu({SCALED.format('h')})"), "wrong way"),
        (steps("h = self.norm(self.conv(x), 0 * branch)", f"return torch.relu({SCALED.format('h')})"),
         "clean BatchNorm"),
    ],
    "SmallGenerator": [
        (small("self.net = nn.Linear(1, 4 * channels)", "return self.net(lam).chunk(4, dim=1)[:2]"), "128 parameters"),
        (small("self.channels = channels", "one = torch.ones(len(lam), self.channels)\n        return one, 0 * one"),
         "same at every λ"),
        (small("self.channels = channels", "g = 1 + 1e-3 * lam * torch.arange(self.channels)\n"
               "        return g, 0 * g"), "hardly follows"),
        (small("self.channels = channels", "g = (1 + lam).expand(-1, self.channels)\n        return g, 0 * g"),
         "same γ"),
        (small("self.net = nn.Linear(1, channels)", "return self.net(lam)"), "two tensors"),
        (small("self.net = nn.Linear(1, 2)", "return self.net(lam).chunk(2, dim=1)"), "shape"),
    ],
    "reads_texture": [
        (reads("(d.square().mean((0, 2, 3)) / t.square().mean((0, 2, 3))).sqrt()"), "upside down"),
        (reads("t.square().mean((0, 2, 3)) / d.square().mean((0, 2, 3))"), "root is missing"),
        (reads("t.mean((0, 2, 3)) / d.mean((0, 2, 3))"), "cancel"),
        (reads("t.square().mean((0, 2, 3)).sqrt()"), "alone"),
        (reads("(t.square().mean((2, 3)) / d.square().mean((2, 3))).sqrt()"), "each image"),
        (reads("(t.square().mean() / d.square().mean()).sqrt()"), "one number"),
    ],
    "Turned": [
        (turned(), "has not changed"),
        (turned(CLONED, "gamma[:, ch] = gamma[-1, ch]"), "all stops"),
        (turned(CLONED, "gamma[1] = gamma[-1]"), "all channels"),
        (turned(CLONED, "gamma[-1, ch] = gamma[1, ch]"), "other way round"),
        (turned(CLONED, "gamma[1, ch] = gamma[-1, ch]", "beta = 0 * beta"), "β has changed"),
        (turned("gamma[1, self.channels] = gamma[-1, self.channels]"), "in place"),
        (turned(CLONED, "gamma[1, ch] = gamma[-1, ch]"), "are not used"),
        (turned(CLONED, "gamma[self.to, ch] = gamma[1 if self.to < 0 else -1, ch]"), "`source` is not used"),
    ],
}  # fmt: skip
