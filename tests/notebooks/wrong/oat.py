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
STEP = """def oat_step(net, x, y, stop, n_clean, attack, loss):
    lam = torch.tensor(net.stops)[stop]
    rest = stop[n_clean:]
    net.eval()
    x_adv = attack(lambda images: net(images, rest), x[n_clean:], y[n_clean:])
    net.train()
    clean = net(x, stop)
    attacked = net(x_adv, rest)
    value = loss(clean, attacked, y, lam, n_clean)
    value.backward()
    return value.detach()
"""
DIAL = """def my_dial(lam, standard, robust):
    def answer(x):
        a, b = standard(x).softmax(1), robust(x).softmax(1)
        {}
    return answer
"""

ABOVE = "def above_coin(points, levels, coin, robust_at):\n    return"

MORE = """def more_at_last_stop(stop, n_clean, stops, fraction, generator):
    chosen = torch.rand(len(stop), generator=generator) < fraction
    chosen[:n_clean] = False
    changed = stop.clone()
    changed[chosen] = len(stops) - 1
    return changed
"""


def more(old, new):
    """The solution of `more_at_last_stop` with one mistake."""
    assert MORE.count(old) == 1, old
    return MORE.replace(old, new)


def step(old, new):
    """The solution of `oat_step` with one mistake."""
    assert STEP.count(old) == 1, old
    return STEP.replace(old, new)


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
    "more_at_last_stop": [
        (more("stop.clone()", "stop"), "stop.clone"),
        (more("    chosen[:n_clean] = False\n", ""), "lose λ = 0"),
        (more("len(stops) - 1", "len(stops)"), "not another one"),
        (more("< fraction", "> fraction"), "of the attacked images"),
        (more(", generator=generator", ""), "depend on the generator"),
        (more("    changed[chosen] = len(stops) - 1\n", ""), "no image gets"),
        (more("torch.rand(len(stop), generator=generator) < fraction",
              "torch.arange(len(stop)) < n_clean + fraction * (len(stop) - n_clean)"), "fixed part"),
        (more("    return changed", "    pass"), "returns nothing"),
    ],
    "oat_step": [
        (step("    net.eval()\n", "    net.train()\n"), "attacked in training mode"),
        (step("images, rest), x[n_clean:], y[n_clean:])", "images, stop), x, y)"), "attacks all images"),
        (step("x[n_clean:], y[n_clean:])", "x[: len(rest)], y[: len(rest)])"), "behind the first n_clean"),
        (step("net(images, rest)", "net(images, torch.full_like(rest, 5))"), "at another λ"),
        (step("    x_adv = attack(lambda images: net(images, rest), x[n_clean:], y[n_clean:])\n",
              "    x_adv = x[n_clean:]\n"), "never calls attack"),
        (step("    value.backward()\n", ""), "call loss.backward"),
        (step("    net.train()\n", ""), "in eval mode while it learns"),
        (step("net(x_adv, rest)", "net(x[n_clean:], rest)"), "never used"),
        (step("y, lam, n_clean)", "y, stop.float(), n_clean)"), "not indices of stops"),
        (step("net(x_adv, rest)", "net(x_adv, torch.full_like(rest, 5))"), "pass the network at λ = 1"),
        (step("    clean = net(x, stop)\n    attacked = net(x_adv, rest)\n",
              "    both = net(torch.cat([x, x_adv]), torch.cat([stop, rest]))\n"
              "    clean, attacked = both[: len(x)], both[len(x) :]\n"), "share one pass"),
        (step("    return value.detach()\n", ""), "returns nothing"),
        (step("y, lam, n_clean)", "y, 1 - lam, n_clean)"), "the gradients are not those"),
    ],
    "above_coin": [
        (f"{ABOVE} [robust_at(points, l) - coin(points[0], points[-1], l) for l in levels]", "multiply by 100"),
        (f"{ABOVE} [100 * (coin(points[0], points[-1], l) - robust_at(points, l)) for l in levels]", "sign is turned"),
        (f"{ABOVE} [max(0, 100 * (robust_at(points, l) - coin(points[0], points[-1], l))) for l in levels]", "hides"),
        (f"{ABOVE} [100 * robust_at(points, l) for l in levels]", "subtract that of its coin"),
        (f"{ABOVE} [100 * (robust_at(points, l) - coin(points[0], points[-2], l)) for l in levels]", "last setting"),
        (f"{ABOVE} 100 * robust_at(points, levels[0])", "one for each level"),
        (f"{ABOVE} [100 * ((robust_at(points, l) or 0) - (coin(points[0], points[-1], l) or 0)) for l in levels]",
         "never right on 99.5 %"),
        (f"{ABOVE} [None for l in levels]", "accurate enough"),
    ],
    "my_dial": [
        ("def my_dial(lam, standard, robust):\n    return robust", "λ changes nothing"),
        ("def my_dial(lam, standard, robust):\n    return lam", "return a function"),
        (DIAL.format("return robust(x)[:, 0]"), "of shape"),
        (DIAL.format("return ((1 - lam) * a.round() + lam * b.round()).log()"), "not finite"),
        (DIAL.format("return ((1 - lam) * a + lam * b + 1e-9).log().detach()"), "no gradient"),
        (DIAL.format("return torch.where(torch.rand(len(x), 1) < lam, b, a)"), "second time"),
        (DIAL.format("return ((1 - lam) * a + lam * b + 1e-9).log()"), "is asked for"),
        # a stretched λ: a good dial, and one that no image decides
        (DIAL.format("share = 0.5 + 0.4 * lam\n        return ((1 - share) * a + share * b + 1e-9).log()"),
         "as a mix with stretched λ does"),
        # a switch that trusts the robust network where it is sure: its gradients hide how weak it is
        (DIAL.format("u, v = b.topk(2, 1).values.T\n"
                     "        sure = torch.sigmoid(10 * (u - v - 0.9 * (1 - lam)))[:, None]\n"
                     "        return ((1 - sure) * a + sure * b + 1e-9).log()"), "over every mix"),
        (DIAL.format("return ((0.1 * (1 - lam)) * a + (1 + lam) * b + 1e-9).log()"), "only clean accuracy counts"),
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
