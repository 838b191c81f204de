"""Typical wrong answers to the exercises of lesson 02b, and what the learner is told."""

STEP = """def one_step(net, x, y, noise, step, ball):
    def gradient(images):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        return torch.autograd.grad(loss, images)[0]
    def inside(images):
        return (x + (images - x).clamp(-ball, ball)).clamp(0, 1)
    start = (x + noise).clamp(0, 1)
    up = gradient(start).sign()
"""
GAP = """def attack_gap(net, x, y, weak, strong):
    def right(images):
        return (net(images).argmax(1) == y).float().mean().item()
    a, b = right(weak(net, x, y)), right(strong(net, x, y))
"""
ALONG = """def along_the_step(net, x, y, eps, shares):
    def gradient(images):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        return torch.autograd.grad(loss, images)[0]
    def right(images):
        return (net(images.clamp(0, 1)).argmax(1) == y).float().mean().item()
    up = gradient(x).sign()
"""
ALIGN = """def gradient_alignment(net, x, y, noise):
    def gradient(images):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        return torch.autograd.grad(loss, images, create_graph=True)[0]
    a, b = gradient(x).flatten(1), gradient(x + noise).flatten(1)
"""


def watched(look="done % every == 0", fall="now < best - drop", copy="value.clone()", restore="good", end="return done",
            after="return None", new="good = state()"):  # fmt: skip
    """The training loop with a mistake in one of its parts."""
    return f"""def train_watched(net, one_round, robust, rounds, every, drop=0.2):
    def state():
        return {{key: {copy} for key, value in net.state_dict().items()}}
    best, before, good, start, fell, measured = 0.0, 0.0, state(), state(), None, 0
    for done in range(1, rounds + 1):
        one_round()
        if {look}:
            measured += 1
            now = robust(net)
            if {fall}:
                if {restore} is not None:
                    net.load_state_dict({restore})
                {end}
            if now > best:
                top = state()
            best, before = max(best, now), now
            {new}
    {after}
"""


REPAIR = """def repair(net, x, y, eps, last, generator):
    def gradient(images):
        images = images.detach().clone().requires_grad_()
        loss = F.cross_entropy(net(images), y, reduction="sum")
        return torch.autograd.grad(loss, images)[0]
    def inside(images):
        return (x + (images - x).clamp(-eps, eps)).clamp(0, 1)
"""

WRONG = {
    "one_step": [
        (f"{STEP}    return inside(start + step * gradient(x).sign())", "gradient is that at x"),
        (f"{STEP}    return inside(x + step * up)", "step begins at x"),
        (f"{STEP}    return inside(start - step * up)", "goes down"),
        (f"{STEP}    return inside(start + step * gradient(start))", "use the sign"),
        (f"{STEP}    return (start + step * up).clamp(0, 1)", "leaves the ball"),
        (f"{STEP}    return x + (start + step * up - x).clamp(-ball, ball)", r"leaves \[0, 1\]"),
        (f"{STEP}    return inside(start + 2 * step * up)", "plus step times the sign"),
    ],
    "attack_gap": [
        (f"{GAP}    return a, b", "returns both"),
        (f"{GAP}    return b - a", "wrong way round"),
        (f"{GAP}    return right(x) - b", "difference from clean accuracy"),
        (f"{GAP}    return b", "under one attack"),
        (f"{GAP}    return (a - b) * len(y)", "counts images"),
        (f"{GAP}    return 1 - b", "it should return 0.5"),
    ],
    "along_the_step": [
        (f"{ALONG}    return right(x + eps * up)", "one accuracy per share"),
        (f"""{ALONG}    found, here, before = [], x, 0.0
    for share in shares:
        here = (here + (share - before) * eps * gradient(here).sign()).clamp(0, 1)
        before = share
        found.append(right(here))
    return found""", "computed again on the way"),
        (f"{ALONG}    return [right(x + share * up) for share in shares]", "eps is not used"),
        (f"{ALONG}    return [right(x - share * eps * up) for share in shares]", "goes down"),
        (f"{ALONG}    return [1 - right(x + share * eps * up) for share in shares]", "wrong answers"),
        (f"{ALONG}    return [right(x + eps * up) for share in shares]", "share is not used"),
        (f"{ALONG}    return [right(x + share * eps * gradient(x)) for share in shares]", "value i should be"),
    ],
    "gradient_alignment": [
        (f"{ALIGN}    return F.cosine_similarity(a, b, dim=1).mean()", "one cosine per image"),
        (f"{ALIGN}    return F.cosine_similarity(gradient(x), gradient(x + noise), dim=1)", r"flatten\(1\)"),
        (f"{ALIGN}    return F.cosine_similarity(a.sign(), b.sign(), dim=1)", "compares the signs"),
        (f"{ALIGN}    return (a * b).sum(1)", "dot product"),
        (f"{ALIGN}    return 1 - F.cosine_similarity(a, b, dim=1)", "1 minus the cosine"),
        (f"{ALIGN}    return F.cosine_similarity(a, a, dim=1)", "both gradients are the same"),
        (f"{ALIGN}    return F.cosine_similarity(a, b, dim=1).detach()", "create_graph=True"),
        (f"{ALIGN}    return F.cosine_similarity(a, gradient(x - noise).flatten(1), dim=1)", "cosine of the two"),
    ],
    "train_watched": [
        (watched(look="True"), "measure after every"),
        (watched(fall="now < before - drop"), "misses a slow fall"),
        (watched(end="return measured"), "return the number of rounds"),
        (watched(fall="now < best"), "it should return 15"),
        (watched(end="fell = fell or done", after="return fell"), "goes on after the alarm"),
        (watched(restore="None"), "weights are those after the fall"),
        (watched(copy="value"), "keep a clone"),
        (watched(restore="top"), "restores weights of round 9"),
        (watched(after="return rounds"), "run all rounds, return None"),
    ],
    "repair": [
        (f"{REPAIR}    return inside(x + eps * gradient(x).sign())", "At least 75%"),
        (f"""{REPAIR}    images = x
    for _ in range(7):
        images = inside(images + eps / 4 * gradient(images).sign())
    return images""", "7 gradients per image in a round: one is allowed"),
        # two half steps from a random start would pass with two gradients
        (f"""{REPAIR}    images = inside(x + eps * (2 * torch.rand(x.shape, generator=generator) - 1))
    for _ in range(2):
        images = inside(images + eps / 2 * gradient(images).sign())
    return images""", "2 gradients per image .*Two half steps resist on two pixels"),
        (f"{REPAIR}    return inside(x + eps / 2 * gradient(x).sign())", "the quick suite leaves .*At least 75% under"),
        # the best of ten random points
        ("""def repair(net, x, y, eps, last, generator):
    noise = eps * (2 * torch.rand(10, *x.shape, generator=generator) - 1)
    losses = [F.cross_entropy(net(x + each), y, reduction="none") for each in noise]
    return (x + noise[torch.stack(losses).argmax(0), torch.arange(len(x))]).detach()""", "computes no gradient"),
        (f"{REPAIR}    return gradient(x).sum(1)", "a tensor of the shape of x"),
        (f"{REPAIR}    return x + 4 * eps * gradient(x).sign()", "too low|At least 75% under"),
        (f"{REPAIR}    noise = eps * (2 * torch.rand(x.shape, generator=generator) - 1)\n"
         "    return inside(x + noise + 1.25 * eps * gradient(inside(x + noise)).sign())", "At least 75%"),
    ],
}  # fmt: skip
