"""Typical wrong answers to the exercises of lesson 02, and what the learner is told."""

AT = """def at_loss(net, x, x_adv, y, lam):
    calm, hit = F.cross_entropy(net(x), y), F.cross_entropy(net(x_adv), y)
"""

STEP = """def at_step(net, optimizer, x, y, attack, lam):
    net.eval()
    x_adv = attack(net, x, y)
    net.train()
    loss = (1 - lam) * F.cross_entropy(net(x), y) + lam * F.cross_entropy(net(x_adv), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
"""

# Self-contained: the step of the lesson, then a loop with the mistake
LOOP = (
    STEP
    + """
def train_adversarially(net, x, y, attack, epochs, optimizer, generator, batch=64, lam=1.0):
    curve = []
    for epoch in range(epochs):
        losses = []
        order = torch.randperm(len(x), generator=generator)
        for index in order.split(batch):
            losses.append(at_step(net, optimizer, x[index], y[index], attack, lam))
        curve.append(sum(losses) / len(losses))
    net.eval()
    return curve
"""
)

KL = "def trades_kl(clean, attacked):\n    p, q = clean.log_softmax(1), attacked.log_softmax(1)\n"

MINE = """def my_training(net, x, y, attack, passes, generator):
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
"""


def changed(code, old, new):
    """Some code with one mistake in it."""
    assert old in code, old
    return code.replace(old, new)


WRONG = {
    "at_loss": [
        (f"{AT}    return calm", "never sees the attacked images"),
        (f"{AT}    return hit", "lam is not used"),
        (f"{AT}    return lam * calm + (1 - lam) * hit", "wrong way round"),
        (f"{AT}    return -(1 - lam) * calm - lam * hit", "no minus sign"),
        (f"{AT}    return len(x) * ((1 - lam) * calm + lam * hit)", "take the mean"),
        (f"{AT}    return ((1 - lam) * calm + lam * hit).detach()", "no gradient reaches the weights"),
        (f"{AT}    return calm + lam * hit", "both means over images"),
    ],
    "at_step": [
        (changed(STEP, "    net.eval()\n", "    net.train()\n"), "attack meets the network in train mode"),
        (changed(STEP, "    net.train()\n", ""), "BatchNorm collected no statistics"),
        (changed(STEP, "    optimizer.zero_grad()\n", ""), "old gradients were added"),
        (changed(STEP, "    optimizer.step()\n", ""), "weights are as before"),
        (changed(STEP, "attack(net, x, y)", "x"), "attack was never called"),
        (changed(STEP, "loss.item()", "loss"), "return the number, loss.item"),
        (changed(STEP, "lam * F.cross_entropy(net(x_adv), y)", "F.cross_entropy(net(x_adv), y)"),
         "not those after one step down"),
        (changed(STEP, "    return loss.item()\n", ""), "should return the loss before the update"),
    ],
    "train_adversarially": [
        (changed(LOOP, "range(epochs)", "range(1)"), "sees the images once"),
        (changed(LOOP, "order.split(batch)", "[order]"), "all images go into one step"),
        (changed(LOOP, "torch.randperm(len(x), generator=generator)", "torch.arange(len(x))"),
         "not shuffled"),
        (changed(LOOP, ", generator=generator)", ")"), "does not come from `generator`"),
        (changed(LOOP, "torch.randperm(len(x), generator=generator)",
                 "torch.randint(len(x), (len(x),), generator=generator)"), "come twice"),
        (changed(changed(LOOP, "        order = torch.randperm(len(x), generator=generator)\n", ""),
                 "    curve = []\n", "    curve = []\n    order = torch.randperm(len(x), generator=generator)\n"),
         "every epoch has the same order"),
        (changed(LOOP, "y[index]", "y[:len(index)]"), "mixed up"),
        (LOOP.replace("    net.eval()\n    return curve", "    return curve"), "stays in train mode"),
        (changed(LOOP, "sum(losses) / len(losses)", "sum(losses)"), "return their mean"),
        (changed(LOOP, "sum(losses) / len(losses)", "losses[-1]"), "mean loss of all steps"),
        (changed(LOOP, "    return curve\n", ""), "list with one loss per epoch"),
    ],
    "trades_kl": [
        (f"{KL}    return (p.exp() * (p - q)).sum(1).mean()", "one value per image"),
        (f"{KL}    return p.exp() * (p - q)", "sum over dimension 1"),
        (f"{KL}    return (q.exp() * (q - p)).sum(1)", "direction is reversed"),
        (f"{KL}    return (p.exp() * (q - p)).sum(1)", "sign is wrong"),
        ("def trades_kl(clean, attacked):\n    p = clean.softmax(1)\n    return (p * (clean - attacked)).sum(1)",
         "sum over classes of p"),
    ],
    "my_training": [
        (f"{MINE}    pass", "sends no image"),
        (f"{MINE}    for _ in range(passes):\n        attack(net, x[:64], y[:64], 8 / 255, 20)", "more than 80,000"),
        (f"{MINE}    for k in range(300):\n        i = torch.randint(len(x), (64,), generator=generator)\n"
         "        loss = F.cross_entropy(net.train()(x[i]), y[i])\n        optimizer.zero_grad()\n"
         "        loss.backward()\n        optimizer.step()", "Does it train on attacked images"),
        (f"{MINE}    attack(net, x[:0], y[:0], 8 / 255, 3)", "without images"),
    ],
}  # fmt: skip
