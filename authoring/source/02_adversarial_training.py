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
# * play adversarial training as a game of two: an attacker who moves images, a defender who moves weights
# * write the loss of both players yourself, and show that its gradient is the library's
# * say what robustness costs in clean accuracy, and compute the ceiling before any training
# * recognise catastrophic overfitting, and say why one attack step is not enough
#
# **Before this:** [01 · The attack](01_attack.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 192  # 32 to 512: validation images that are attacked (digits: 200 at most)
eps: float = 8.0  # 1 to 16: radius of the ball, in 1/255 of the range of a pixel
epochs: int = 4  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (a minute) instead of loading those that come along
recompute: bool = False  # train again in the first world (5 minutes), do not read records

# %%
import copy
from itertools import pairwise

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import FGSM, FGSMRS, NFGSM, PGD, Preset
from oatlib.attacks.geometry import project
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.data.load import batches
from oatlib.data.shapes import CONSTANT_TRUST, ShapesOptions, render
from oatlib.data.splits import data_generator
from oatlib.explorer.description import captions
from oatlib.training.labels import Labels
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.losses import TRAINING_LOSSES
from oatlib.training.step import train_step

lesson = begin("02_adversarial_training", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n, radius = panel.x, panel.y, len(panel), eps / 255

# %% [markdown]
# ## The failure, and the naive way out
#
# The standard network of lesson 01 has fallen: under PGD nothing is left of it. The first idea of most people is to train
# on **noisy** images, so that the network gets used to changed pixels. Here are both changes of the same size ε: one
# drawn by chance, one by the attacker.

# %%
standard = lesson.network("standard", data)
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).sign()
noisy = (x + radius * noise).clamp(0, 1)  # a random corner of the ball
attacked = PGD(radius, 20)(standard.at(), x, y, torch.Generator().manual_seed(seed))


def says(net, images):
    """What a network answers to a few images."""
    return [f"says {data.classes[c]}" for c in net.at()(images).argmax(1)]


rows = {
    "image": x[:5],
    "noise × 16": figures.change(x, noisy, 16)[:5],
    "attack × 16": figures.change(x, attacked, 16)[:5],
    "attacked": attacked[:5],
}
told = {
    "image": figures.stacked(captions(data, panel, range(5)), says(standard, x[:5])),
    "noise × 16": says(standard, noisy[:5]),
    "attack × 16": says(standard, attacked[:5]),
}
figures.images(rows, told)

# %% [markdown]
# Below each image stand its class, the shape that is drawn, and what the standard network says: to the image, to image +
# noise, to image + attack. Rows two and three show the changes 16 times as large, around grey. Now let a copy of the network practise on noisy images.

# %%
lesson.predict("noise", "after that training, how many of its answers are right under PGD-20 of the same size?", 0, 100)


# %%
def practise_on_noise(net, steps=48):
    """A copy of a network after some more training, on training images at random corners of their balls."""
    net, generator = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        index = torch.randint(len(data.train), (64,), generator=generator)
        images = data.train.x[index]
        images = (images + radius * torch.randn(images.shape, generator=generator).sign()).clamp(0, 1)
        loss = F.cross_entropy(net.train()(images), data.train.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def accuracy(net, images, labels):
    """Share of right answers."""
    with torch.no_grad():
        return (net(images).argmax(1) == labels).float().mean().item()


def three(net):
    """Accuracy of a network on images as they are, noisy, and attacked by PGD-20."""
    worst = PGD(radius, 20)(net, x, y, torch.Generator().manual_seed(seed))
    return [accuracy(net, images, y) for images in (x, noisy, worst)]


failure = {"standard": three(standard.at()), "+ noise in training": three(practise_on_noise(standard).at())}
figures.bars(["clean", "random noise", "PGD-20"], failure, n=n, height=330)

# %%
lesson.reveal(
    "noise",
    100 * failure["+ noise in training"][2],
    "in 768 dimensions chance hardly ever finds the direction that the attacker computes. Practise against the attacker.",
)

# %% [markdown]
# ## Small enough to draw: a world of two cues
#
# Images of two pixels again. The **left pixel** is a loud cue: it shows the class from far, but it lies now and then. The
# **right pixel** is a faint cue: it never lies, but its two values lie closer together than an attack can move them.
# (The built-in images are made like this, too: a shape you see and a texture you do not. There a faint shape often lies,
# and a vivid one never does.)


# %%
class Zoom(nn.Module):
    """Pixels in [0, 1] around 0, and spread."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * (x - 0.5)


def two_cues(seed):
    """256 images (x, y) of two pixels: a loud cue that lies in about one of ten images, and a faint one that never lies."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(256) % 2
    side, lies = 2.0 * y - 1, torch.rand(256, generator=generator) < 0.1
    loud = side * (1 - 2.0 * lies) * (0.2 + 0.07 * torch.randn(256, generator=generator))
    faint = side * (0.03 + 0.006 * torch.randn(256, generator=generator))
    return 0.5 + torch.stack([loud, faint], 1), y, lies


def small_net(seed, sizes=(2, 32, 32, 2), factor=10, between=nn.Tanh):
    """A fully connected network with layers of these sizes, drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    parts = [part for layer in layers for part in (layer, between())][:-1]
    return nn.Sequential(Zoom(factor), nn.Flatten(), *parts)


points, side, lies = two_cues(seed)


# %% [markdown]
# ## The game
#
# The attacker moves every image within its ball so that the loss **rises**; the defender moves the weights so that the
# loss on the moved images **falls**: $\min_\theta \; \mathrm{mean}\,\max_{|x'-x|\le\varepsilon} \mathrm{loss}(f_\theta(x'), y)$. The
# weight λ says how much the attacked images count beside the clean ones.
#
# ### Exercise: at_loss
# Difficulty ●●○○○ · 5 minutes. Write what the defender lowers: `(1 - lam)` times the loss on the images as they are, plus
# `lam` times the loss on the images that the attacker made of them.


# %% tags=["exercise"]
def at_loss(net, x, y, attack, lam):
    """The loss of adversarial training; attack(net, x, y) gives
    the attacked images. A mean over the images."""
    raise NotImplementedError  # your code instead of this line


# %%
at_loss = check(at_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# The inner maximum is one call: <code>attack(net, x, y)</code> returns images, and no gradient passes through it. The outer
# minimum is somebody else's job: you only return the loss.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def at_loss(net, x, y, attack, lam):
#     clean = F.cross_entropy(net(x), y)
#     attacked = F.cross_entropy(net(attack(net, x, y)), y)
#     return (1 - lam) * clean + lam * attacked
# ```
# </details>

# %% [markdown]
# ### Play it in slow motion
#
# Take turns. An *attacker step* moves every point a third of ε towards the other colour, inside its square. A *defender
# step* is five gradient steps on the points where they are now. A *round* is what training does: a whole attack from the
# true points, then one gradient step. The game starts with a network that was trained on clean points only.


# %%
class Game:
    """A network of two pixels, and where the attacker has moved the points."""

    def __init__(self):
        self.eps, self.lam, self.attack = 0.1, 1.0, PGD(0.1, 7, best=False)
        self.start()

    def start(self):
        """Train on clean points, all points at home."""
        self.net, self.moved, self.round = small_net(seed), points, -200
        self.optimizer = torch.optim.Adam(self.net.parameters(), 0.01)
        self.generator = torch.Generator().manual_seed(seed)
        for _ in range(200):
            self.defend(lambda net, x, y: x)

    def attacker_step(self):
        """Every point takes one step up the loss, inside its square."""
        at = self.moved.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(self.net(at), side, reduction="sum"), at)
        self.moved = project(at.detach() + self.eps / 3 * grad.sign(), points, self.eps, "linf")

    def defend(self, attack):
        """One gradient step on the loss of the game."""
        loss = at_loss(self.net, points, side, attack, self.lam)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.round += 1

    def one_round(self):
        """A whole attack, and one gradient step against it."""
        self.moved = self.attack(self.net, points, side, self.generator)
        self.defend(lambda net, x, y: self.moved)

    def scores(self):
        """Share of points that are right: as they are, after FGSM, after PGD-20."""
        attacks = (PGD(0.0, 0), FGSM(self.eps), PGD(self.eps, 20))
        return [accuracy(self.net, attack(self.net, points, side), side) for attack in attacks]


# %%
game = Game()
before = game.scores()

# %%
lesson.predict("after", "after 150 rounds against PGD, how many of the points are right under attack?", 0, 100)


# %%
def plane(net, rows=70, low=0.22, high=0.78):
    """A trace: what a network says everywhere."""
    across, up = torch.linspace(0.05, 0.95, rows), torch.linspace(low, high, rows)
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1)
    with torch.no_grad():
        z = net(grid.reshape(-1, 2)).softmax(1)[:, 1].reshape(rows, rows)
    return go.Heatmap(x=across, y=up, z=z, zmin=0, zmax=1, colorscale=[[0, "#bcd7ea"], [1, "#f6cdb3"]], showscale=False)


def ball(where, eps, **place):
    """The square that a point can be moved in."""
    a, b = where.tolist()
    sides = {"x0": a - eps, "x1": a + eps, "y0": b - eps, "y1": b + eps}
    return {"type": "rect", "line": {"color": "#444", "width": 1}} | sides | place


# %%
def draw_game(eps, lam, attacker):
    """The picture of the game as it stands."""
    game.eps, game.lam = eps, lam
    game.attack = FGSM(eps) if attacker.startswith("FGSM") else PGD(eps, 7, best=False)
    game.moved = project(game.moved, points, eps, "linf")
    fig = go.Figure(plane(game.net))
    ways = torch.stack([points, game.moved, torch.full_like(points, float("nan"))], 1).reshape(-1, 2)
    fig.add_scatter(x=ways[:, 0], y=ways[:, 1], mode="lines", line={"color": "#999", "width": 1}, name="moved")
    for label, (symbol, colour) in enumerate([("circle", "#1b5e8c"), ("square", "#b34700")]):
        mine = game.moved[side == label]
        mark = {"symbol": symbol, "color": colour, "size": 6}
        fig.add_scatter(x=mine[:, 0], y=mine[:, 1], mode="markers", marker=mark, name=f"class {label}")
    fig.update_layout(shapes=[ball(points[i], eps) for i in range(0, 256, 51)])
    clean, fgsm, robust = game.scores()
    told = f"round {game.round}: right on <b>{clean:.0%}</b> of the points, on {fgsm:.0%} after FGSM, on <b>{robust:.0%}</b> after PGD-20 at this ε (n = 256 points)"
    return figures.layout(fig, "loud pixel", "faint pixel", height=440).update_layout(width=660), told


# %%
sliders(
    draw_game,
    buttons={
        "attacker step": game.attacker_step,
        "defender step": lambda: [game.defend(lambda net, x, y: game.moved) for _ in range(5)],
        "one round": game.one_round,
        "50 rounds": lambda: [game.one_round() for _ in range(50)],
        "start again": game.start,
    },
    labels={"eps": "radius ε", "lam": "weight λ of attacked points", "attacker": "attack of a round"},
    start_at={"eps": 0.1, "lam": 1.0},
    eps=(0.0, 0.2, 0.01),
    lam=(0.0, 1.0, 0.1),
    attacker=["PGD-7", "FGSM, one long step"],
)

# %% [markdown]
# Watch the border between the colours. Trained on clean points it runs between the two thin layers, through every ball.
# The game pushes it away from the faint cue until it stands across the loud one. Points whose loud cue lies are lost then.

# %%
played = Game()
for _ in range(150):
    played.one_round()
after = played.scores()
lesson.reveal("after", 100 * after[2], "what is lost are points whose loud cue lies, and some near the border.")

# %%
say(
    f"Before the game: clean {before[0]:.0%}, robust {before[2]:.0%}. After it: clean **{after[0]:.0%}**, robust "
    f"**{after[2]:.0%}** (PGD-20, ε = 0.1, n = 256). The loud cue tells the truth in {(~lies).float().mean():.0%} of the "
    "points: nobody who must not use the faint cue can do better than that on the whole."
)

# %% [markdown]
# ## What you built is what the library trains
#
# `oatlib/training/step.py` is the training step of every recipe: attack each image, send clean and attacked images through the
# network, mix the losses. The gradient of your loss on one batch must be its gradient, at any λ.


# %% tags=["nbval-check-output"]
def same_gradient(lam):
    """Whether at_loss and the library's step give the same gradient on one batch."""
    mine, theirs = (oatlib.build("pgd-at", data, lam=lam, seed=seed) for _ in range(2))
    x, y, attack = data.train.x[:32], data.train.y[:32], PGD(8 / 255, 2, best=False)
    frozen = mine.bind(torch.full((32,), lam))  # as it is now, in evaluation mode: that is what is attacked
    at_loss(mine.train(), x, y, lambda _, x, y: attack(frozen, x, y, torch.Generator().manual_seed(1)), lam).backward()
    batch = LambdaBatch(x, y, torch.zeros(32).long(), theirs.spec.stops)
    train_step(theirs, batch, attack, torch.Generator().manual_seed(1))
    pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
    return all(torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5) for a, b in pairs)


for lam in (0.5, 1.0):
    print(f"at λ = {lam}: the gradient of at_loss is the library's:", same_gradient(lam))

# %% [markdown]
# ### Exercise: trades_kl
# Difficulty ●●●○○ · 5 minutes. TRADES plays the game with another loss: the clean loss, plus β times how far the answer to
# the attacked image is from the answer to the clean one. It measures that by the Kullback-Leibler divergence
# $\sum_c p_c (\log p_c - \log q_c)$ of the clean probabilities p and the attacked ones q.


# %% tags=["exercise"]
def trades_kl(clean, attacked):
    """KL(softmax of clean || softmax of attacked), both logits
    (N, classes): one value per image, (N,)."""
    raise NotImplementedError


# %%
trades_kl = check(trades_kl)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>log_softmax(1)</code> gives the logarithms without rounding trouble; <code>exp()</code> of it the probabilities.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def trades_kl(clean, attacked):
#     log_p, log_q = clean.log_softmax(1), attacked.log_softmax(1)
#     return (log_p.exp() * (log_p - log_q)).sum(1)
# ```
# </details>

# %% tags=["nbval-check-output"]
clean, attacked = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(2))
label = torch.arange(16) % 8
whole = F.cross_entropy(clean, label) + 6 * trades_kl(clean, attacked).mean()
theirs = TRAINING_LOSSES["trades"].function(clean, attacked, Labels(label, torch.ones(16), 0, beta=6.0))
print("with it the loss is oatlib's TRADES:", torch.allclose(whole, theirs))

# %% [markdown]
# ## The price, in real networks
#
# Three networks that come along, of the same size and trained on the same images: `standard`; `pgd-at`, which played your
# game at λ = 1 against PGD; `trades`. (With other parameters they are trained here, more briefly.)

# %%
nets = {name: lesson.network(name, data) for name in ("standard", "pgd-at", "trades")}
price = {name: oatlib.evaluate(net, panel, PGD(radius, 20), progress=False) for name, net in nets.items()}
figures.frontier(price, height=400)

# %%
lesson.predict("lying", "of the images whose shape lies, how many does pgd-at get right when nobody attacks?", 0, 100)

# %% [markdown]
# Why does it pay, and so exactly? The built-in images are drawn here, so we know of each which shape it shows, and whether
# that shape agrees with its class. Draw the validation images once more, now with everything that is true of them.

# %%
drawn = data if data_set == "shapes" else oatlib.load_data("shapes", seed=seed)
options = {name: drawn.options[name] for name in vars(ShapesOptions())}
scene = render(len(drawn.val), data_generator(seed, 1), **options)
liars = scene.shape != scene.y
answers = {name: lesson.network(name, drawn).at()(scene.x).argmax(1) for name in ("standard", "pgd-at")}
shares = {
    "says the class (the texture tells it)": [(a == scene.y)[liars].float().mean().item() for a in answers.values()],
    "says the shape that is drawn": [(a == scene.shape)[liars].float().mean().item() for a in answers.values()],
}
title = f"images whose shape lies, not attacked (n = {liars.sum()})"
figures.bars(list(answers), shares, n=int(liars.sum()), title=title, height=380)

# %%
ceiling = 1 - liars.float().mean().item()
robust_net = price["pgd-at"][0]
lesson.reveal(
    "lying", 100 * shares["says the class (the texture tells it)"][1], "it believes the shape, also where it lies."
)

# %%
faint = (scene.amplitude * 255).mean()
say(
    f"In these images the texture is {faint:.1f}/255 strong on average: an attack of 8/255 can paint another one over it. "
    f"The shape is stronger and tells the truth in **{ceiling:.1%}** of n = {len(scene.y)} images: in the most vivid half "
    f"of them always, in the others in {(~liars)[scene.vividness < 0.5].float().mean():.1%}. A network that must not "
    f"trust the texture cannot beat that, attacked or not. Measured here for pgd-at on {data.name}: clean "
    f"**{robust_net.clean:.1%}** ({robust_net.clean_low:.1%} to {robust_net.clean_high:.1%}), robust "
    f"**{robust_net.robust:.1%}** ({robust_net.robust_low:.1%} to {robust_net.robust_high:.1%}), PGD-20, n = {n}."
)

# %% [markdown]
# On photographs nobody knows such a ceiling, nor how much of the price is unavoidable. What carries over is the reason that
# was proposed for it: some cues are useful and yet too weak to be trusted under attack.
#
# ## Ablation: how hard must the attacker in training work?
#
# Five trainings that differ in one number only, the steps of the attack: no attack at all, a random point of the ball
# (0 steps), 1, 2 and 7 steps. Same seed, images, order, learning rate. This takes minutes, so it is read from a record.
# The record was made in the **first world** of this course, where every shape lies equally often, however vivid it is, and
# with its trainer. Its numbers cannot be compared with those above.


# %%
def by_steps():
    """Clean and robust accuracy after training with so many attack steps; None: on clean images."""
    first, found = oatlib.load_data("shapes", seed=seed, n_train=4096, **CONSTANT_TRUST), {}
    for steps in (None, 0, 1, 2, 7):
        net = oatlib.build(
            "standard" if steps is None else "pgd-at", first, seed=seed, **{} if steps is None else {"lam": 1.0}
        )
        reach = 10 / 255  # of the attack in training, a little more than is measured
        preset = Preset(
            epochs=8,
            batch=64,
            lr=0.4,
            margin=1.25,
            aimed=0.0,
            at_last_stop=0.0,
            steps=steps or 0,
            step_size=reach * min(1, 2.5 / (steps or 1)),
        )
        oatlib.train(net, first, preset, seed, progress=False)
        (result,) = oatlib.evaluate(net, first.val.panel(256), PGD(8 / 255, 20), progress=False)
        found["no attack" if steps is None else f"{steps} step" + "s" * (steps != 1)] = [
            result.clean,
            result.robust,
            result.n,
        ]
    return found


ablation = lesson.recorded("at_steps", by_steps)
series = {kind: [row[i] for row in ablation.values()] for i, kind in enumerate(("clean", "PGD-20 at 8/255"))}
title = "First world: every shape is equally trustworthy"
figures.bars(list(ablation), series, n=next(iter(ablation.values()))[2], height=380, title=title)

# %% [markdown]
# One step looks like a bargain: a training step costs one gradient for the attack instead of seven. Sometimes it is one.
# Sometimes it ends in a strange way, and then nothing in the training loss tells you.
#
# ## Catastrophic overfitting
#
# Back to two pixels. Three players from the same start, at λ = 1/2 and ε = 0.1. Only the attack of their rounds differs:
# FGSM (one step of length ε from the point itself), FGSM with a random start, and PGD with seven steps.

# %%
lesson.predict("collapse", "after 400 rounds against FGSM, how many points are right under PGD-20?", 0, 100)


# %%
def play(attack, rounds=400, every=25):
    """A game against one attack: the game at its end, and [round, clean, FGSM, PGD-20] along the way."""
    game, rows = Game(), []
    game.lam, game.attack = 0.5, attack
    for k in range(rounds + 1):
        if k % every == 0:
            rows.append([k, *game.scores()])
        game.one_round()
    return game, rows


plays = {"FGSM": play(FGSM(0.1)), "FGSM, random start": play(FGSMRS(0.1)), "PGD-7": play(PGD(0.1, 7, best=False))}
curves = {f"PGD-20, trained with {name}": [100 * row[3] for row in rows] for name, (_, rows) in plays.items()}
curves["FGSM, trained with FGSM"] = [100 * row[2] for row in plays["FGSM"][1]]
figures.lines(range(0, 401, 25), curves, x_name="rounds", y_name="right, % (n = 256 points)", height=400)

# %%
ended = {name: dict(zip(("clean", "FGSM", "PGD-20"), rows[-1][1:], strict=True)) for name, (_, rows) in plays.items()}
lesson.reveal(
    "collapse", 100 * ended["FGSM"]["PGD-20"], "and against FGSM, its own opponent, it looks better than ever."
)

# %%
say(
    "\n".join(
        ["| trained with | clean | FGSM | PGD-20, with 95 % interval |", "|---|---|---|---|"]
        + [
            "| {} | {:.0%} | {:.0%} | **{:.0%}** ({:.0%} to {:.0%}) |".format(
                name, *row.values(), *oatlib.wilson(round(256 * row["PGD-20"]), 256)
            )
            for name, row in ended.items()
        ]
    )
)

# %% [markdown]
# Look at the plane to see how it cheats. The long step always ends at a corner of the square, so the defender only learns
# to be right **at the corners**. In between it may paint stripes of the wrong colour, and every walk with smaller steps finds
# them. The loss of training is low because the attacker has become blind, not because the network has become robust.


# %%
def closely(names, image):
    """The planes of some games around one point, with where FGSM and PGD-20 bring it."""
    fig = make_subplots(1, len(names), subplot_titles=[f"trained with {name}" for name in names])
    at, true = points[image : image + 1], side[image : image + 1]
    for column, name in enumerate(names, 1):
        net = plays[name][0].net
        ends = {"the point": at, "FGSM": FGSM(0.1)(net, at, true), "PGD-20": PGD(0.1, 20)(net, at, true)}
        fig.add_trace(plane(net, 120, 0.32, 0.68), 1, column)
        for i, (what, end) in enumerate(ends.items()):
            mark = {"symbol": ("star", "x", "diamond")[i], "size": 13, "color": ("#222", "#d55e00", "#0b5d8a")[i]}
            fig.add_scatter(
                x=end[:, 0],
                y=end[:, 1],
                mode="markers",
                name=what,
                marker=mark,
                showlegend=column == 1,
                row=1,
                col=column,
            )
        fig.add_shape(ball(at[0], 0.1), row=1, col=column)
    middle = at[0, 0].item()
    figures.layout(fig, "loud pixel", "faint pixel", height=400).update_layout(margin={"t": 90}, legend={"y": 1.14})
    return fig.update_xaxes(range=[max(middle - 0.2, 0.05), min(middle + 0.2, 0.95)])


honest = int(((side == 1) & ~lies).nonzero()[0, 0])
closely(["FGSM", "PGD-7"], honest)

# %% [markdown]
# ### Exercise: fell_at
# Difficulty ●●○○○ · 5 minutes. So a training run must be watched with an attack it does not train with. Write the alarm:
# the first epoch whose robust accuracy lies more than `drop` below the best one so far.


# %% tags=["exercise"]
def fell_at(curve, drop):
    """curve: robust accuracies, one per epoch. The index of the first epoch that fell, or None."""
    raise NotImplementedError


# %%
fell_at = check(fell_at)

# %% [markdown]
# <details><summary>Hint</summary>
# Keep the best value seen so far while you walk along the curve. A slow fall is a fall, too.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def fell_at(curve, drop):
#     best = 0.0
#     for epoch, robust in enumerate(curve):
#         if robust < best - drop:
#             return epoch
#         best = max(best, robust)
#     return None
# ```
# </details>

# %% [markdown]
# ### On images
#
# The same with images of the first world (two classes, ε = 12/255, λ = 1/2) and a small fully connected network. For 16
# epochs it trains with PGD-3. Then only the attack changes, and five copies go on, each with its own; the last but one goes back to
# PGD-3 after 8 epochs. N-FGSM adds more noise than ε before its one step. Read from a record.


# %%
def train_epochs(net, optimizer, world, attack, first, last):
    """Train from epoch `first` to `last`; [clean, FGSM, PGD-20] after every epoch."""
    rows, panel, reach = [], world.val.panel(256), attack(1.0).eps
    for epoch in range(first, last):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        now = attack(min(1.0, (epoch + 1) / 8))  # ε grows over the first eight epochs
        for index in batches(len(world.train), 64, generator, drop_last=True):
            x, y = world.train.x[index], world.train.y[index]
            loss = at_loss(net, x, y, lambda f, x, y: now(f, x, y, generator), 0.5)  # noqa: B023
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tests = (PGD(0.0, 0), FGSM(reach), PGD(reach, 20))
        rows.append([accuracy(net, test(net, panel.x, panel.y), panel.y) for test in tests])
    return rows


def collapse():
    """Curves of five trainings that share their first 16 epochs."""
    world = oatlib.load_data("shapes", seed=seed, classes=2, n_train=2048, **CONSTANT_TRUST)
    reach, begun = 12 / 255, small_net(seed, (768, 256, 256, 2), 4, nn.ReLU)
    start = torch.optim.Adam(begun.parameters(), 0.001)
    several = lambda share: PGD(reach * share, 3, best=False)  # noqa: E731
    rows = train_epochs(begun, start, world, several, 0, 16)
    others = {"PGD-3": several, "FGSM": FGSM, "FGSM, random start": FGSMRS, "N-FGSM": NFGSM, "FGSM, then PGD-3": FGSM}
    curves = {}
    for name, kind in others.items():
        net, optimizer = copy.deepcopy(begun), None
        optimizer = torch.optim.Adam(net.parameters(), 0.001)
        optimizer.load_state_dict(copy.deepcopy(start.state_dict()))
        attack = kind if kind is several else lambda share, kind=kind: kind(reach * share)
        curves[name] = rows + train_epochs(net, optimizer, world, attack, 16, 24)
        after = several if name == "FGSM, then PGD-3" else attack
        curves[name] += train_epochs(net, optimizer, world, after, 24, 32)
    return {"n": 256, "curves": curves}


# %%
images = lesson.recorded("at_collapse", collapse)
curves = {f"PGD-20, {name}": [100 * row[2] for row in rows] for name, rows in images["curves"].items()}
curves["FGSM, trained with FGSM"] = [100 * row[1] for row in images["curves"]["FGSM"]]
title = "Two classes of the first world"
figures.lines(range(1, 33), curves, x_name="epochs", y_name=f"right, % (n = {images['n']})", height=450, title=title)

# %%
for name, rows in images["curves"].items():
    epoch = fell_at([row[2] for row in rows], 0.2)
    told = "never fell" if epoch is None else f"fell in epoch {epoch + 1}"
    low, high = oatlib.wilson(round(rows[-1][2] * images["n"]), images["n"])
    print(
        f"{name:20} {told:18} at the end: clean {rows[-1][0]:.0%}, FGSM {rows[-1][1]:.0%}, PGD-20 {rows[-1][2]:.0%} ({low:.0%} to {high:.0%})"
    )

# %% [markdown]
# The papers mend it with a random start (FGSM-RS), with more noise before the step (N-FGSM), or with a penalty on bent
# gradients. The table says which of the cheap remedies held here, where ε is several times the faint cue, and whether a
# fallen network came back. The dear remedy is more steps. How soon a network falls depends on ε, on its size and on how long
# it trains, so "it did not happen to me" proves little.

# %% [markdown]
# ## Is this network robust, or is the attack blind?
#
# The same sanity checks as for an attack, now for a defence.

# %% tags=["nbval-check-output"]
robust_one = nets["pgd-at"].at()
nothing, everything = (PGD(size, 20)(robust_one, x, y) for size in (0.0, 0.5))
walk = [F.cross_entropy(out, y).item() for _, out in PGD(radius, 20).iterates(robust_one, x, y)]
print("ε = 0 gives clean accuracy:", accuracy(robust_one, nothing, y) == accuracy(robust_one, x, y))
print("ε = 0.5 leaves less than clean / 4:", accuracy(robust_one, everything, y) < accuracy(robust_one, x, y) / 4)
print("the loss rises along the way:", walk[-1] > walk[0])
under = [accuracy(robust_one, attack(robust_one, x, y), y) for attack in (FGSM(radius), PGD(radius, 20))]
print("many small steps fool about as many as one long step, or more:", under[1] <= under[0] + 0.02)

# %% [markdown]
# ## Your turn, on the real thing
#
# Compare the three networks, make ε larger and the attack stronger, and *train one here*: with `pgd-at` you see a
# frontier point being born, epoch by epoch.

# %%
oatlib.explore(nets, data, network="pgd-at", eps=eps, surfaces=lesson.surfaces(nets, data), hide=["choose", "width"])

# %% [markdown]
# > **Pitfalls**
# > * *Attacking in training mode inside the loop*: the attack then bends the statistics of BatchNorm. Attack in eval mode, step in train mode.
# > * *Letting the gradient run through the attack*: attacked images are data; detach them.
# > * *Judging a training by its own attack*: watch it with a stronger one, with a random start and many steps.
# > * *One step, no random start, large ε, long training*: the recipe for catastrophic overfitting.
# > * *A large ε from the first step on*: training may not leave chance. Let ε grow.
# > * *Choosing λ or the epoch on test images*: use validation images, and touch the test split once.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that a network can learn to resist the attack it plays against, that it then believes other cues and pays with
# clean accuracy, and that too weak an opponent teaches it to hide instead. **What we did not show:** that the trained network
# resists every attack (only PGD was run), that the price must be paid on other data (here it was built in), or that
# catastrophic overfitting begins at the same ε elsewhere.
#
# One more thing stayed open: whoever trains must choose λ **before** training, and gets one point of the trade-off for it.
#
# ## Try this
#
# * In the game: λ = 0.5, *FGSM*, and *50 rounds* several times. Then *PGD-7*, and watch the stripes go.
# * In the game: make ε smaller than the faint cue (0.02), start again and play. Is there a price now?
# * Set `eps` to 4 and 16 in the parameters cell. How far does a network reach that was trained at about 8?
#
# ## Sources
#
# * Goodfellow, Shlens and Szegedy 2015, *Explaining and Harnessing Adversarial Examples* (training on FGSM)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (the min-max game, PGD training)
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (cues that are useful but not robust)
# * Zhang et al. 2019, *Theoretically Principled Trade-off between Robustness and Accuracy* (TRADES)
# * Wong, Rice and Kolter 2020, *Fast is better than free* (catastrophic overfitting, FGSM with a random start)
# * Andriushchenko and Flammarion 2020, *Understanding and Improving Fast Adversarial Training* (bent gradients)
# * Kim, Lee and Lee 2021, *Understanding Catastrophic Overfitting in Single-step Adversarial Training* (wrong regions on the way)
# * de Jorge et al. 2022, *Make Some Noise: Reliable and Efficient Single-Step Adversarial Training* (N-FGSM)
#
# **Next:** [03 · Dual BatchNorm](03_dual_bn.ipynb): clean and attacked images in one network, and what goes wrong there.

# %%
lesson.finish(
    failure=failure,
    game={"before": before, "after": after},
    price=[result for table in price.values() for result in map(vars, table)],
    ceiling=ceiling,
    ablation=ablation,
    overfitting=ended,
    images=images,
)
