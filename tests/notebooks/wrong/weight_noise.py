"""Typical wrong answers to the exercises of lesson 08, and what the learner is told."""

GRADIENT = """def eot_gradient(f, x, y, draws):
    x = x.detach().requires_grad_()
"""
GRAD = "torch.autograd.grad(F.cross_entropy(f(x), y, reduction='sum'), x)[0]"
NOISY = "def noisy_weight(weight, alpha, lam, generator):"
DRAW = "torch.randn(weight.shape, generator=generator)"
STD = "weight.detach().std()"


def pgd(direction="+", steps="steps", draws="draws", ball=True, box=True, at="x_adv"):
    """An attempt at eot_pgd."""
    lines = [
        "def eot_pgd(f, x, y, eps, steps, draws):",
        "    x_adv = x",
        f"    for _ in range({steps}):",
        f"        gradient = eot_gradient(f, {at}, y, {draws})",
        f"        x_adv = x_adv {direction} 2.5 * eps / steps * gradient.sign()",
        "        x_adv = x + (x_adv - x).clamp(-eps, eps)" if ball else "",
        "        x_adv = x_adv.clamp(0, 1)" if box else "",
        "    return x_adv",
    ]
    return "\n".join(lines)


def conv(bias="bias=False", alpha="nn.Parameter(torch.tensor(0.25))", forward=None, more=""):
    """An attempt at NoisyConv."""
    forward = forward or (
        "        weight = noisy_weight(self.conv.weight, self.alpha, lam, generator)\n"
        "        return F.conv2d(x, weight, stride=self.conv.stride, padding=1)"
    )
    return f"""class NoisyConv(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, padding=1, {bias})
        self.alpha = {alpha}
{more}
    def forward(self, x, lam, generator):
{forward}
"""


def step(
    part="half:",
    level="1.0",
    keep="if one_draw:",
    before="net.eval()",
    clean="0.0",
    noise="generator.set_state(state)",
    loss="F.cross_entropy(torch.cat([clean, attacked]), y)",
    back="loss.backward()",
    result="loss.detach()",
    update="noisy(x_adv)",
):
    """An attempt at float_step."""
    return f"""def float_step(net, x, y, attack, generator, one_draw):
    half = len(x) // 2
    state = generator.get_state()

    def noisy(images):
        {keep}
            {noise}
        return net(images, {level}, generator)

    {before}
    x_adv = attack(noisy, x[{part}], y[{part}])
    net.train()
    clean = net(x[:half], {clean}, generator)
    attacked = {update}
    loss = {loss}
    {back}
    return {result}
"""


def attack(body):
    """An attempt at beat_dither."""
    return "def beat_dither(f, x, y, eps, calls):\n" + body


RULE = "def published_rule(name, lam):\n"

WRONG = {
    "eot_gradient": [
        (f"{GRADIENT}    return {GRAD}", "call f once for each draw"),
        (
            f"{GRADIENT}    mean = sum(f(x) for _ in range(draws)) / draws\n"
            "    return torch.autograd.grad(F.cross_entropy(mean, y, reduction='sum'), x)[0]",
            "averages the logits",
        ),
        (f"{GRADIENT}    return sum({GRAD} for _ in range(draws))", "it is the sum"),
        (
            GRADIENT + "    return sum(" + GRAD.replace(", reduction='sum'", "") + " for _ in range(draws)) / draws",
            "mean over images",
        ),
    ],
    "eot_pgd": [
        (pgd(ball=False), "leaves the ball"),
        (pgd(box=False), r"leaves \[0, 1\]"),
        (pgd(draws="1"), "needs 3 draws"),
        (pgd(direction="-"), "go down"),
        (pgd(at="x"), "at the point reached so far, then back"),
    ],
    "noisy_weight": [
        (f"{NOISY}\n    return weight + lam * alpha * {STD} * torch.randn(weight.shape)", "generator="),
        (f"{NOISY}\n    return weight + lam * alpha * {STD} * torch.randn(1, generator=generator)", "for every entry"),
        (f"{NOISY}\n    return weight + alpha * {STD} * {DRAW}", "no noise at all"),
        (f"{NOISY}\n    return weight + lam * alpha * {DRAW}", "how large the weights are"),
        (f"{NOISY}\n    return weight + lam * alpha * weight.detach().std(correction=0) * {DRAW}", r"correction=0"),
        (f"{NOISY}\n    return weight + lam * alpha.item() * {STD} * {DRAW}", "no gradient reaches alpha"),
        (f"{NOISY}\n    return weight + lam * alpha * weight.std() * {DRAW}", "through σ"),
    ],
    "NoisyConv": [
        (conv(bias="bias=True"), "has a bias"),
        (conv(alpha="torch.tensor(0.25)"), "an nn.Parameter"),
        (conv(alpha="nn.Parameter(torch.tensor(1.0))"), "starts at 0.25"),
        (conv(forward="        return self.conv(x)"), "nothing is noisy"),
        (
            conv(
                forward="        lam = 1.0 if lam > 0 else 0.0\n"
                "        weight = noisy_weight(self.conv.weight, self.alpha, lam, generator)\n"
                "        return F.conv2d(x, weight, stride=self.conv.stride, padding=1)"
            ),
            "must grow with λ",
        ),
        (
            conv(
                forward="        weight = noisy_weight(self.conv.weight, self.alpha, lam, generator)\n"
                "        return F.conv2d(x, weight, padding=1)"
            ),
            "use the stride",
        ),
    ],
    "float_step": [
        (step(part=":half"), "attack the second half"),
        (step(before="net.train()"), "in eval mode"),
        (step(level="0.0"), "the attack meets λ = 0"),
        (step(clean="1.0"), "clean half belongs to λ = 0"),
        (step(keep="if False:"), "must all meet the same noise"),
        (step(update="net(x_adv, 1.0, generator)"), "update must meet the noise of the attack"),
        (step(keep="if True:"), "must draw again"),
        (step(loss="F.cross_entropy(clean, y[:half]) + F.cross_entropy(attacked, y[half:])"), "mean cross-entropy"),
        (step(result="loss"), "return loss.detach"),
        (step(back="pass"), "call backward"),
        (step(noise="generator.manual_seed(0)"), "meets the same noise again"),
    ],
    "published_rule": [
        (RULE + "    return int(lam > 0), lam", "rule A at λ = 0.05"),
        (RULE + "    return int(lam >= (0.1 if name == 'A' else 0.5)), lam", "the level should be"),
        (RULE + "    return int(lam >= 0.1)", "two numbers"),
    ],
    "beat_dither": [
        (attack("    return eot_pgd(f, x, y, eps, 40, 1)"), "Fewer than 25% are wanted"),
        (attack("    return eot_pgd(f, x, y, eps, 40, 4)"), "passed through f 160 times"),
        (attack("    return x + 3 * eps * eot_gradient(f, x, y, 40).sign()"), "leave the ball"),
        (attack("    return x + eps * eot_gradient(f, x, y, 4).sign()"), r"leave \[0, 1\]"),
        (attack("    f.generator.manual_seed(0)\n    return eot_pgd(f, x, y, eps, 10, 4)"),
         r"looks into the defence \(generator\)"),
        (attack("    vars(f)['_told'] = 0\n    return x"), "TypeError|__dict__"),
        (
            attack("    try:\n        f = f.net\n    except AttributeError:\n        pass\n    return x"),
            r"looks into the defence \(net\)",
        ),
        (
            # an attack on a network that the learner has, and not on f
            attack("    net = oatlib.load(oatlib.explorer.shipped.FOLDER / 'standard.safetensors').at(0.0)\n"
                   "    return eot_pgd(net, x, y, eps, 20, 1)"),
            "with 0 passes per image. Fewer",
        ),
    ],
}  # fmt: skip
