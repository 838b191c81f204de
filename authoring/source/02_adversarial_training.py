# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 60
# ---

# %% [markdown]
# # 02 · Can a network learn to resist, and what does it pay?
#
# **You will be able to**
#
# * explain adversarial training as a game: an attacker moves images, a defender moves weights
# * write the loss, the training step and the training loop, and train a robust network with them
# * say what robustness costs in clean accuracy, and compute a ceiling before any training
# * improve a training loop whose number of gradient computations is fixed
#
# **Before this:** [01 · The attack](01_attack.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 32 to 512: validation images that are attacked (digits: 200 at most)
eps: float = 8.0  # 1 to 16: radius of the ball, in 1/255 of the range of a pixel
epochs: int = 4  # 1 to 30: of every training in this lesson
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here instead of loading those that come along

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import FGSM, PGD, Suite
from oatlib.course import figures
from oatlib.course.diagram import diagram
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders

lesson = begin("02_adversarial_training", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))  # the images that are measured
x, y, n, radius = panel.x, panel.y, len(panel), eps / 255

# %% [markdown]
# ## The failure, and a defence that seems obvious
#
# Lesson 01 attacked a network that was trained on clean images. Almost all of its answers became wrong.
# A first idea is to train on **noisy** images, so that the network gets used to changed pixels.
# Here are two changes of the same size ε. One is a random corner of the ball. The other one is computed by the attacker.

# %%
standard = lesson.network("standard", data)
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).sign()
noisy = (x + radius * noise).clamp(0, 1)
attacked = PGD(radius, 20)(standard.at(), x, y, torch.Generator().manual_seed(seed))

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from oatlib.explorer.description import captions


def answers(net, images):
    """What a network answers to a few images."""
    return [f"answer: {data.classes[c]}" for c in net.at()(images).argmax(1)]


kept = {
    name: (standard.at()(images).argmax(1) == y).float().mean().item()
    for name, images in (("noise", noisy), ("attack", attacked))
}
first_row = figures.stacked(captions(data, panel, range(5)), answers(standard, x[:5]))
figures.images(
    {
        "image": x[:5],
        "noise × 16": figures.change(x, noisy, 16)[:5],
        "attack × 16": figures.change(x, attacked, 16)[:5],
        "attacked": attacked[:5],
    },
    {
        "image": first_row,
        "noise × 16": answers(standard, noisy[:5]),
        "attack × 16": answers(standard, attacked[:5]),
    },
    takeaway=f"With noise {kept['noise']:.0%} of the answers of the standard network are right, "
    f"with an attack of the same size {kept['attack']:.0%} (n = {n}).",
)

# %% [markdown]
# Captions give the class, the drawn shape, and the answer of the standard network to the image, to image + noise, and to
# image + attack. Both changes are shown 16 times as large, around grey.
#
# Some images show the shape of another class ("lies"). Every image also has a texture that you cannot see, and it always
# tells the class. A vivid shape never lies; a faint one often does.
#
# Later in this lesson you train three networks with one loop: on clean images, on noisy images, and on attacked images.

# %%
lesson.predict("noise", "accuracy under attack after training on noisy images?", 0, 100)

# %% [markdown]
# ## The idea: a game
#
# Lesson 01 used the gradient with respect to the image. Training uses the gradient of the same loss with respect to the
# weights. Adversarial training does both in turn.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
diagram("02")

# %% [markdown]
# The attacker moves every image within its ball so that the loss **rises**. The defender moves the weights θ so that the
# loss on the moved images **falls**:
#
# $$\min_\theta \; \frac{1}{N}\sum_{i=1}^{N} \; \max_{\|x_i'-x_i\|_\infty \le \varepsilon} \mathrm{CE}\big(f_\theta(x_i'),\, y_i\big)$$
#
# The inner maximum cannot be computed exactly. A few steps of PGD are a lower bound of it. The outer minimum is SGD, as in
# every training.
#
# ## A small case: images of two pixels
#
# * The **left pixel** is a loud cue. Its two values are far apart, but in about one of ten images it belongs to the other class.
# * The **right pixel** is a faint cue. It always tells the class, but an attack can move it from one value to the other.
#
# The built-in images have the same two cues: the shape is loud, the texture is faint.


# %%
def two_cues(seed):
    """256 images of two pixels, (256, 2), their classes, and which loud cues lie."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(256) % 2
    side = 2.0 * y - 1  # -1 or 1
    lies = torch.rand(256, generator=generator) < 0.1
    noise = torch.randn(2, 256, generator=generator)
    loud = side * (1 - 2.0 * lies) * (0.2 + 0.07 * noise[0])
    faint = side * (0.03 + 0.006 * noise[1])
    return 0.5 + torch.stack([loud, faint], 1), y, lies


class Spread(nn.Module):
    """Move pixels from [0, 1] to [-5, 5]."""

    def forward(self, x):
        return 10 * (x - 0.5)


def small_net(seed):
    """A fully connected network for two pixels and two classes."""
    torch.manual_seed(seed)
    hidden = [nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh()]
    return nn.Sequential(Spread(), *hidden, nn.Linear(32, 2))


points, labels, lies = two_cues(seed)

# %% [markdown]
# ### Rung 1: one loss for clean and attacked images
#
# How much should the attacked images count, and how much the clean ones? A weight λ between 0 and 1 decides:
#
# $$L(\theta) = (1-\lambda)\,\mathrm{CE}\big(f_\theta(x), y\big) + \lambda\,\mathrm{CE}\big(f_\theta(x'), y\big)$$
#
# Here are the numbers for three images and an untrained network.

# %%
tiny = small_net(seed)
x3, y3 = points[:3], labels[:3]
x3_adv = FGSM(0.1)(tiny, x3, y3)
print("clean loss of each image:   ", F.cross_entropy(tiny(x3), y3, reduction="none").detach())
print("attacked loss of each image:", F.cross_entropy(tiny(x3_adv), y3, reduction="none").detach())

# %% [markdown]
# ### Exercise: at_loss
# Difficulty ●●○○○ · 5 minutes. Write the formula above. The attacked images `x_adv` are given.


# %% tags=["exercise"]
def at_loss(net, x, x_adv, y, lam):
    """(1 - lam) * mean clean loss + lam * mean loss of the attacked images."""
    raise NotImplementedError  # your code instead of this line


# %%
at_loss = check(at_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.cross_entropy(net(x), y)</code> is already a mean over the images. You need it twice.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def at_loss(net, x, x_adv, y, lam):
#     clean_loss = F.cross_entropy(net(x), y)
#     attacked_loss = F.cross_entropy(net(x_adv), y)
#     return (1 - lam) * clean_loss + lam * attacked_loss
# ```
# </details>

# %%
for lam in (0.0, 0.5, 1.0):
    print(f"λ = {lam}: loss {at_loss(tiny, x3, x3_adv, y3, lam).item():.4f}")

# %% [markdown]
# ### Rung 2: one step of both players
#
# First the attacker, then the defender. Two details decide whether it works:
#
# * **Mode.** The attack must meet the network as it will be used, in evaluation mode. The update needs train mode, in which BatchNorm collects statistics.
# * **Old gradients.** `loss.backward()` adds to the gradients that are there. Set them to zero first.
#
# ### Exercise: at_step
# Difficulty ●●○○○ · 8 minutes. `attack(net, x, y)` returns attacked images. Use `at_loss`.


# %% tags=["exercise"]
def at_step(net, optimizer, x, y, attack, lam):
    """Attack x in eval mode, then update the weights in train mode.
    Return the loss before the update, as a number."""
    raise NotImplementedError


# %%
at_step = check(at_step)

# %% [markdown]
# <details><summary>Hint</summary>
# Seven lines: <code>net.eval()</code>, attack, <code>net.train()</code>, loss, zero_grad, backward, step. Then return
# <code>loss.item()</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def at_step(net, optimizer, x, y, attack, lam):
#     net.eval()
#     x_adv = attack(net, x, y)
#     net.train()
#     loss = at_loss(net, x, x_adv, y, lam)
#     optimizer.zero_grad()
#     loss.backward()
#     optimizer.step()
#     return loss.item()
# ```
# </details>

# %%
optimizer = torch.optim.SGD(tiny.parameters(), lr=0.02)
steps = [at_step(tiny, optimizer, x3, y3, FGSM(0.1), lam=1.0) for _ in range(5)]
print("attacked loss, step by step:", [round(loss, 3) for loss in steps])

# %% [markdown]
# ## Play the game
#
# You play both sides on the 256 images. The game begins with a network trained on clean images.
#
# * An *attacker step* moves every point by ε/3 up the loss, inside its square.
# * A *defender step* makes five updates on the points where they are now.
# * A *round* is what training does: a whole attack from the true points, then one update.
# * *Play* repeats three rounds about four times a second, until you press it again.


# %%
class Game:
    """A network for two pixels, and where the attacker has moved the points."""

    def __init__(self):
        self.eps = 0.1
        self.lam = 1.0
        self.attack = PGD(0.1, 7, best=False)
        self.start()

    def start(self):
        """Train on clean points for 200 steps. No point is moved."""
        self.net = small_net(seed)
        self.moved = points
        self.optimizer = torch.optim.Adam(self.net.parameters(), 0.01)
        for _ in range(200):
            self.update()
        self.rounds = 0

    def attacker_step(self):
        """Move every point one step up the loss. It stays inside its square."""
        step = PGD(self.eps / 3, 1, self.eps / 3, start="none", best=False)
        moved = step(self.net, self.moved, labels)
        self.moved = points + (moved - points).clamp(-self.eps, self.eps)

    def update(self):
        """One step down the loss, on the points where they are now."""
        at_step(self.net, self.optimizer, points, labels, lambda net, x, y: self.moved, self.lam)

    def one_round(self):
        """A whole attack from the true points, then one update."""
        self.moved = self.attack(self.net.eval(), points, labels)
        self.update()
        self.rounds += 1


# %%
def accuracy(net, x, y):
    """Share of right answers."""
    with torch.no_grad():
        return (net.eval()(x).argmax(1) == y).float().mean().item()


def scores(net, eps=0.1):
    """Accuracy on the points as they are, and after PGD-20."""
    x_adv = PGD(eps, 20)(net.eval(), points, labels)
    return {"clean": accuracy(net, points, labels), "robust": accuracy(net, x_adv, labels)}


game = Game()
before = scores(game.net)

# %%
lesson.predict("after", "after 150 rounds, how many points are right under PGD-20?", 0, 100)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
LOW, HIGH = 0.2, 0.8  # of the faint pixel, as far as it is drawn


def plane(net):
    """A trace: the answer of a network at all values of the two pixels."""
    across, up = torch.linspace(0, 1, 90), torch.linspace(LOW, HIGH, 70)
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
    with torch.no_grad():
        z = net.eval()(grid).softmax(1)[:, 1].reshape(70, 90)
    colours = [[0, "#bcd7ea"], [1, "#f6cdb3"]]
    return go.Heatmap(x=across, y=up, z=z, zmin=0, zmax=1, colorscale=colours, showscale=False)


def ball(centre, eps):
    """The square in which a point can be moved."""
    a, b = centre.tolist()
    sides = {"x0": a - eps, "x1": a + eps, "y0": b - eps, "y1": b + eps}
    return {"type": "rect", "line": {"color": "#444", "width": 1}} | sides


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_game(eps, lam, attacker):
    """The picture of the game, and its scores."""
    game.eps, game.lam = eps, lam
    game.attack = FGSM(eps) if attacker.startswith("FGSM") else PGD(eps, 7, best=False)
    game.moved = points + (game.moved - points).clamp(-eps, eps)
    fig = go.Figure(plane(game.net))
    gap = torch.full_like(points, float("nan"))
    ways = torch.stack([points, game.moved, gap], 1).reshape(-1, 2)
    line = {"color": "#777", "width": 1}
    fig.add_scatter(x=ways[:, 0], y=ways[:, 1], mode="lines", line=line, name="moved")
    for label, (symbol, colour) in enumerate([("circle", "#1b5e8c"), ("square", "#b34700")]):
        at = game.moved[labels == label]
        mark = {"symbol": symbol, "color": colour, "size": 6}
        fig.add_scatter(x=at[:, 0], y=at[:, 1], mode="markers", marker=mark, name=f"class {label}")
    takeaway = "At first the border runs between the two layers of points and cuts every square."
    figures.layout(fig, "loud pixel", "faint pixel", height=480, takeaway=takeaway)
    fig.update_layout(shapes=[ball(points[i], eps) for i in range(0, 256, 51)])
    fig.update_xaxes(range=[0, 1], constrain="domain")
    fig.update_yaxes(range=[LOW, HIGH], constrain="domain", scaleanchor="x")
    now = scores(game.net, eps)
    return fig, (
        f"round {game.rounds}: <b>{now['clean']:.0%}</b> of the points are right, and "
        f"<b>{now['robust']:.0%}</b> after PGD-20 at this ε (n = 256, an upper bound)"
    )


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
sliders(
    draw_game,
    buttons={
        "attacker step": game.attacker_step,
        "defender step": lambda: [game.update() for _ in range(5)],
        "one round": game.one_round,
        "start again": game.start,
    },
    play={"play": lambda: [game.one_round() for _ in range(3)]},
    labels={"eps": "radius ε", "lam": "weight λ of attacked points", "attacker": "attack of a round"},
    start_at={"eps": 0.1, "lam": 1.0},
    eps=(0.0, 0.2, 0.01),
    lam=(0.0, 1.0, 0.1),
    attacker=["PGD-7", "FGSM, one long step"],
)

# %% [markdown]
# Watch the border between the colours. At first it runs between the two thin layers, through every square. The game turns it
# until it separates the points by the loud cue. Points whose loud cue lies are then wrong.

# %%
played = Game()
for _ in range(150):
    played.one_round()
after = scores(played.net)
lesson.reveal(
    "after",
    100 * after["robust"],
    "wrong are the points whose loud cue lies, and some near the border.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
low, high = oatlib.wilson(round(256 * after["robust"]), 256)
say(
    f"Before the game: clean {before['clean']:.0%}, robust {before['robust']:.0%}. After it: clean "
    f"**{after['clean']:.0%}**, robust **{after['robust']:.0%}** (95 % interval {low:.0%} to "
    f"{high:.0%}; PGD-20, ε = 0.1, n = 256). The loud cue is right in {(~lies).float().mean():.0%} "
    "of the points. Without the faint cue no classifier can exceed this."
)

# %% [markdown]
# ## Your step is the library's step
#
# `oatlib/training/step.py` holds the training step of every recipe. It also knows about dials and widths. For a network
# without dials it must change the weights as your `at_step` does.

# %%
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.step import train_step


def library_step(net, x, y, attack):
    """One step of the library, with the same random start and the same optimizer."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batch = LambdaBatch(x, y, torch.zeros(len(x)).long(), net.spec.stops)
    train_step(net, batch, attack, torch.Generator().manual_seed(1))
    optimizer.step()


# %%
def both_steps(lam):
    """Two equal networks after one step: yours, and the library's."""
    yours = oatlib.build("pgd-at", data, lam=lam, seed=seed)
    theirs = oatlib.build("pgd-at", data, lam=lam, seed=seed)
    x, y, attack = data.train.x[:32], data.train.y[:32], PGD(8 / 255, 2, best=False)
    same_start = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(yours.parameters(), lr=0.1)
    at_step(yours, optimizer, x, y, lambda net, x, y: attack(net, x, y, same_start), lam)
    library_step(theirs, x, y, attack)
    return yours, theirs


# %% tags=["nbval-check-output"]
for lam in (0.5, 1.0):
    pairs = zip(*[net.parameters() for net in both_steps(lam)], strict=True)
    furthest = max((a - b).abs().max().item() for a, b in pairs)
    print(f"λ = {lam}: all weights agree to 0.0001 after one step:", furthest < 1e-4)

# %% [markdown]
# ### Rung 3: the loop
#
# Training repeats the step over all images, in a new random order in every epoch. A `generator` makes this order.
#
# ### Exercise: train_adversarially
# Difficulty ●●●○○ · 10 minutes. Use `at_step`. `torch.randperm(n, generator=generator)` returns the numbers 0 to n - 1 in
# random order, and `order.split(batch)` cuts them into batches.


# %% tags=["exercise"]
def train_adversarially(net, x, y, attack, epochs, optimizer, generator, batch=64, lam=1.0):
    """Train in place, and leave the network in eval mode.
    Return a list: the mean loss of the steps of each epoch."""
    raise NotImplementedError


# %%
train_adversarially = check(train_adversarially)

# %% [markdown]
# <details><summary>Hint</summary>
# Two loops: over epochs, and over <code>order.split(batch)</code>. Each item of the inner loop is a tensor of indices, and
# <code>x[index]</code> is a batch. Begin a new list of losses in every epoch.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def train_adversarially(net, x, y, attack, epochs, optimizer, generator, batch=64, lam=1.0):
#     curve = []
#     for epoch in range(epochs):
#         losses = []
#         order = torch.randperm(len(x), generator=generator)
#         for index in order.split(batch):
#             loss = at_step(net, optimizer, x[index], y[index], attack, lam)
#             losses.append(loss)
#         curve.append(sum(losses) / len(losses))
#     net.eval()
#     return curve
# ```
# </details>

# %% [markdown]
# ## Run it on images
#
# Now your loop trains a network of three convolutions on all training images. Your `pgd` of lesson 01 is the attack, with
# three steps. **Ablation:** only the attack differs between the three trainings. Start weights, images and order are the same.

# %%
pgd = mine("pgd")
random = torch.Generator().manual_seed(seed)  # of the attacks


def no_attack(net, x, y):
    return x


def random_corner(net, x, y):
    return (x + radius * torch.randn(x.shape, generator=random).sign()).clamp(0, 1)


def your_pgd(net, x, y):
    return pgd(net, x, y, radius, 3, radius * 2.5 / 3, random)


# %%
def train_with(attack):
    """A network trained by your loop, and its curve."""
    net = oatlib.build("pgd-at", data, backbone="plain", lam=1.0, seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    order = torch.Generator().manual_seed(seed)
    curve = train_adversarially(net, data.train.x, data.train.y, attack, epochs, optimizer, order)
    return net, curve


attacks = {"no attack": no_attack, "random corner": random_corner, "your pgd": your_pgd}
trained = {name: train_with(attack) for name, attack in attacks.items()}

# %%
strong = Suite(eps=radius, budget="quick")  # several attacks; an image counts if all of them fail
live = {}
for name, (net, curve) in trained.items():
    (live[name],) = oatlib.evaluate(net, panel, strong, progress=False)
    print(f"{name:14} mean loss per epoch:", [round(loss, 2) for loss in curve])

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.bars(
    list(live),
    {
        "clean": [result.clean for result in live.values()],
        "quick suite": [result.robust for result in live.values()],
    },
    n=n,
    height=380,
    takeaway="Only the network that was trained on attacked images keeps answers under attack: "
    f"{live['your pgd'].robust:.0%}, against {live['random corner'].robust:.0%} with noise.",
)

# %%
lesson.reveal(
    "noise",
    100 * live["random corner"].robust,
    "a random change hardly ever has the direction that the attacker computes.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
result = live["your pgd"]
say(
    f"Your network is right on **{result.clean:.1%}** of clean images (95 % interval "
    f"{result.clean_low:.1%} to {result.clean_high:.1%}) and on **{result.robust:.1%}** "
    f"({result.robust_low:.1%} to {result.robust_high:.1%}) under the quick suite at "
    f"{eps:g}/255, n = {n}. The same loop without attack gives {live['no attack'].clean:.1%} "
    f"and {live['no attack'].robust:.1%}. The loss of your network falls slowly: its "
    "task is harder, because the attacker answers every update."
)

# %% [markdown]
# ## What does the robust network look at?
#
# The built-in images are drawn here. So we know of each image which shape it shows, and whether this shape tells the class.
# Look at the clean images whose shape lies. Only the texture tells their class.

# %%
lesson.predict("lying", "how many of them does your network get right?", 0, 100)

# %%
from oatlib.data.scenes import effect_of, scene_of

seen = oatlib.load_data("shapes", seed=seed)
scene = scene_of(seen, seen.val.panel(n))  # the measured images, with all that is known of them
lying = scene.shape != scene.y
ceiling = 1 - lying.float().mean().item()

# %%
looked_at = {name: lesson.network(name, seen) for name in ("standard", "pgd-at")}
if data_set == "shapes":
    looked_at["yours"] = trained["your pgd"][0]
texture_says = {}
shape_says = {}
effects = {}
for name, net in looked_at.items():
    answer = net.at()(scene.x).argmax(1)
    texture_says[name] = (answer == scene.y)[lying].float().mean().item()
    shape_says[name] = (answer == scene.shape)[lying].float().mean().item()
    x_adv = PGD(radius, 20)(net.at(), scene.x, scene.y, torch.Generator().manual_seed(seed))
    effects[name] = effect_of(scene, x_adv - scene.x)  # of the attack, on each cue

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.bars(
    list(looked_at),
    {
        "answers the class (as the texture tells)": list(texture_says.values()),
        "answers the shape that is drawn": list(shape_says.values()),
    },
    n=int(lying.sum()),
    title=f"clean images whose shape lies (n = {int(lying.sum())})",
    height=380,
    takeaway=f"The standard network answers the class of {texture_says['standard']:.0%} of these "
    f"images. pgd-at answers the drawn shape in {shape_says['pgd-at']:.0%} of them.",
)

# %%
last = list(looked_at)[-1]  # yours
lesson.reveal("lying", 100 * texture_says[last], "it follows the shape, also where it lies.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
best = live["your pgd"]


def mean_of(values):
    """A mean with its 95 % interval, as text in percent."""
    half = 1.96 * values.std().item() / len(values) ** 0.5
    return f"{100 * values.mean().item():.0f} ± {100 * half:.0f} %"


rows = ["| PGD-20 against | erases of the texture | erases of the shape |", "|---|---|---|"]
for name, effect in effects.items():
    rows.append(f"| {name} | {mean_of(effect.erased)} | {mean_of(effect.faded)} |")
say(
    "Then look at what the attacker does to the two cues (means over all images, with 95 % "
    "intervals). Above 100 % it writes the texture of another class.\n\n" + "\n".join(rows)
)
say(
    f"**A ceiling before training.** A network that does not use the texture can only follow the "
    f"shape. The shape tells the class in **{ceiling:.1%}** of these n = {len(scene.y)} images. So "
    f"its accuracy cannot exceed {ceiling:.1%}, attacked or not. Your network, on {data.name}: clean "
    f"{best.clean:.1%}, robust {best.robust:.1%}."
)

# %% [markdown]
# On photographs such a ceiling is not known. The explanation may carry over: some cues are useful, and yet too weak to be
# trusted under attack.
#
# ## Another loss for the same game: TRADES
#
# TRADES keeps the clean loss, and adds β times the distance between the answer to the clean image and the answer to the attacked
# image. The distance is the Kullback-Leibler divergence of the clean probabilities p from the attacked probabilities q:
#
# $$\mathrm{CE}\big(f_\theta(x), y\big) + \beta\, \mathrm{KL}(p \,\|\, q), \qquad \mathrm{KL}(p\,\|\,q) = \sum_c p_c\,(\log p_c - \log q_c)$$
#
# ### Exercise: trades_kl
# Difficulty ●●○○○ · 5 minutes. Write the second formula for a batch of logits.


# %% tags=["exercise"]
def trades_kl(clean, attacked):
    """KL(softmax of clean || softmax of attacked), both logits
    (N, classes): one value per image, (N,)."""
    raise NotImplementedError


# %%
trades_kl = check(trades_kl)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>log_softmax(1)</code> gives the logarithms of the probabilities without rounding errors. <code>exp()</code> of it
# gives the probabilities.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def trades_kl(clean, attacked):
#     log_p = clean.log_softmax(1)
#     log_q = attacked.log_softmax(1)
#     return (log_p.exp() * (log_p - log_q)).sum(1)
# ```
# </details>

# %% [markdown]
# ## The price
#
# Three networks come along, trained with the library: `standard`, `pgd-at` (your loss at λ = 1) and `trades`. A
# **coin** is an honest comparison. For every image it chooses `standard` or `pgd-at`, with probability 1/2. An attacker
# who knows the result of the toss fools it only as often as the chosen network.

# %%
nets = {name: lesson.network(name, data) for name in ("standard", "pgd-at", "trades")}
price = {name: oatlib.evaluate(net, panel, strong, progress=False) for name, net in nets.items()}
ends = [price["standard"][0], price["pgd-at"][0]]
coin_clean = (ends[0].clean + ends[1].clean) / 2
coin_robust = (ends[0].robust + ends[1].robust) / 2

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
shown = {name: [table[0]] for name, table in price.items()} | {"yours": [live["your pgd"]]}
from IPython.display import display

fig = figures.frontier(
    shown,
    height=420,
    takeaway=f"pgd-at has a clean accuracy of {ends[1].clean:.0%} and a robust one of "
    f"{ends[1].robust:.0%}, standard {ends[0].clean:.0%} and {ends[0].robust:.0%}.",
)
fig.add_scatter(
    x=[100 * end.clean for end in ends],
    y=[100 * end.robust for end in ends],
    mode="lines",
    line={"color": figures.INK, "dash": "dot"},
    name="coin: standard or pgd-at",
)
display(fig)
rows = ["| network | clean | robust, quick suite |", "|---|---|---|"]
for name, (result,) in shown.items():
    rows.append(
        f"| {name} | {result.clean:.1%} ({result.clean_low:.1%} to {result.clean_high:.1%}) "
        f"| {result.robust:.1%} ({result.robust_low:.1%} to {result.robust_high:.1%}) |"
    )
rows.append(f"| coin, 1/2 | {coin_clean:.1%} | {coin_robust:.1%} |")
say("\n".join(rows) + f"\n\nn = {n} images, ε = {eps:g}/255, in brackets 95 % intervals.")

# %% [markdown]
# Robustness costs clean accuracy here, and the ceiling says why. Where two intervals overlap, the order of the two networks is
# not known. Compare `pgd-at` and `trades`.
#
# ## Is this network robust, or is the attack weak?
#
# The sanity checks of an attack, now for the network that you trained.

# %% tags=["nbval-check-output"]
robust_net = trained["your pgd"][0].at()
unmoved, far = (PGD(size, 20)(robust_net, x, y) for size in (0.0, 0.5))
walk = [F.cross_entropy(out, y).item() for _, out in PGD(radius, 20).iterates(robust_net, x, y)]
clean = accuracy(robust_net, x, y)
print("ε = 0 gives clean accuracy:", accuracy(robust_net, unmoved, y) == clean)
print("ε = 0.5 leaves less than clean / 4:", accuracy(robust_net, far, y) < clean / 4)
print("the loss rises along the steps of the attack:", walk[-1] > walk[0])

# %% [markdown]
# ## Beat the loop
#
# Your loop uses one learning rate and one ε from the first step to the last. A better loop reaches more with the same work.
# The work is counted in **passes**: one image, sent once through the network. An attack of `steps` steps costs `steps`
# passes per image, and the update costs one more.
#
# ### Exercise: my_training
# Difficulty ●●●●● · 30 minutes, open-ended. Train `net` on the images `x` so that it resists attacks of 8/255, with at most
# `passes` passes. The check runs your function for about 10 s and measures robust accuracy on 512 validation images, under the
# quick suite. A plain loop stays far below what is wanted. Run the check after each idea, and note what it measured.


# %% tags=["exercise"]
def my_training(net, x, y, attack, passes, generator):
    """Train net in place. attack(net, x, y, eps, steps) returns attacked
    images. Spend at most `passes` passes. Random numbers: generator."""
    raise NotImplementedError


# %%
my_training = check(my_training)

# %% [markdown]
# <details><summary>Hint</summary>
# Ideas, each worth a try: a learning rate that grows at first and falls at the end; an ε that grows from 0 over the first
# third; shorter gradients with <code>nn.utils.clip_grad_norm_</code>; fewer steps of the attack, and so more updates.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def my_training(net, x, y, attack, passes, generator):
#     optimizer = torch.optim.SGD(net.parameters(), lr=0.4, momentum=0.9, nesterov=True)
#     batch = 64
#     steps = 3
#     cost = (steps + 1) * batch  # passes of one update
#     updates = passes // cost
#     for update in range(updates):
#         done = update / updates
#         # the learning rate grows, then falls; the ball grows from a point
#         growing = done / 0.4 + 0.02
#         falling = (1 - done) / 0.6
#         optimizer.param_groups[0]["lr"] = 0.4 * min(growing, falling)
#         eps = 8 / 255 * min(1, done / 0.3)
#         index = torch.randint(len(x), (batch,), generator=generator)
#         net.eval()
#         x_adv = attack(net, x[index], y[index], eps, steps)
#         net.train()
#         loss = F.cross_entropy(net(x_adv), y[index])
#         optimizer.zero_grad()
#         loss.backward()
#         nn.utils.clip_grad_norm_(net.parameters(), 1.0)
#         optimizer.step()
# ```
#
# This is one of many answers. You can beat it.
# </details>

# %% [markdown]
# ## Your network in the explorer
#
# Compare your network with the others at other ε and attacks.

# %%
nets["yours"] = trained["your pgd"][0]
surfaces = lesson.surfaces(nets, data)
oatlib.explore(nets, data, network="yours", eps=eps, surfaces=surfaces, hide=["choose", "width"])

# %% [markdown]
# > **Pitfalls**
# > * *Attacking in train mode*: the attack then uses and changes the statistics of BatchNorm. Attack in eval mode, update in train mode.
# > * *A gradient through the attack*: attacked images are data. Detach them.
# > * *Forgetting `zero_grad`*: old gradients are added to the new ones.
# > * *A large ε from the first step on*: training may not get beyond guessing. Let ε grow.
# > * *Judging a network by the attack of its training*: use a stronger one, such as the suite.
# > * *Choosing λ, ε or the epoch on test images*: use validation images, and use the test split once.

# %% [markdown]
# ## What we showed, and what we did not show
#
# A network can learn to resist the attack of its training, and stronger ones. It then relies on other cues, and it loses
# clean accuracy.
#
# **What we did not show:**
#
# * That your network resists *every* attack. The quick suite is several attacks, and longer ones leave fewer images right.
# * That the price must be paid on other data. Here it is built into the images.
# * How results vary with the seed. Each network was trained once.
# * That three steps are always enough. Lesson 02b shows a training that fools itself.
#
# One question stays open. Whoever trains must choose λ **before** training, and gets one point of the trade-off for it.
#
# ## Try this
#
# * In the game: make ε smaller than the faint cue (0.02), start again and play. Is there a price now?
# * In the game: set λ = 0.5 and play. Which points are right clean and wrong under attack?
# * Set `eps` to 4 and 16 in the parameters cell. Which of your networks still learns?
#
# ## Sources
#
# * Goodfellow, Shlens and Szegedy 2015, *Explaining and Harnessing Adversarial Examples* (training on FGSM, the mixed loss)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (the min-max problem, PGD training)
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (cues that are useful but not robust)
# * Zhang et al. 2019, *Theoretically Principled Trade-off between Robustness and Accuracy* (TRADES)
#
# **Next:** [02b · When training fools itself](02b_fooled.ipynb): one attack step looks as good as three, until it fails.

# %%
lesson.finish(
    game={"before": before, "after": after},
    live=[vars(result) for result in live.values()],
    ceiling=ceiling,
    price=[vars(table[0]) for table in price.values()],
)
