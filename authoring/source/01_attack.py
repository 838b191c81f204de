# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 40
# ---

# %% [markdown]
# # 01 · How can a change that nobody sees turn every answer wrong?
#
# **You will be able to**
#
# * draw the ball of images an attacker may choose from, and say what ε means in it
# * write FGSM and PGD yourself, and show that they are the library's
# * watch an attack step by step, and say why one step is not enough
# * tell a weak attack from a strong one by its loss
#
# **Before this:** [00 · The tour](00_tour.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 32 to 512: validation images that are attacked (digits has 200)
eps: float = 8.0  # 0.5 to 32: radius of the ball, in 1/255 of the range of a pixel
epochs: int = 4  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the network here (about 10 s) instead of loading it

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import FGSM, PGD
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions

lesson = begin("01_attack", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
n = len(panel)
x, y = panel.x, panel.y

# %% [markdown]
# ## The failure
#
# A network is trained on clean images, in the ordinary way. On images it has never seen it is nearly always right. Then
# every pixel is moved a little, by at most ε, in a direction that somebody chose with care.

# %%
net = lesson.network("standard", data).at(0.0)  # a plain nn.Module: images (N, C, H, W) in [0, 1] -> logits
radius = eps / 255
x_adv = PGD(radius, steps=20)(net, x, y, torch.Generator().manual_seed(seed))


def says(images):
    """What the network answers, and how sure it is."""
    sure, said = net(images).softmax(1).max(1)
    return [f"says {data.classes[c]}, {p:.0%}" for c, p in zip(said, sure, strict=True)]


rows = {"image": x[:6], "change × 16": figures.change(x, x_adv, 16)[:6], "attacked": x_adv[:6]}
told = figures.stacked(captions(data, panel, range(6)), says(x[:6]))
figures.images(rows, {"image": told, "attacked": says(x_adv[:6])})

# %% [markdown]
# The middle row is the change, 16 times as large as it is and around grey. Below each image stand its class, the shape that
# is drawn, and what the network says, with its probability. What you see has not changed; ask the network. (In the built-in
# world a faint shape often belongs to another class, a vivid one never does. A texture that you do not see always tells the
# class.)

# %%
lesson.predict("left", f"of its answers on {n} images, how many are still right under this attack?", 0, 100)

# %%
clean = (net(x).argmax(1) == y).float().mean().item()
robust = (net(x_adv).argmax(1) == y).float().mean().item()
lesson.reveal("left", 100 * robust, "this is its <i>robust accuracy</i> against the attack.")

# %%
low, high = oatlib.wilson(round(robust * n), n)
say(
    f"On n = {n} validation images the network is right on **{clean:.1%}** as they are and on **{robust:.1%}** under PGD-20 "
    f"at ε = {eps:g}/255 (95 % interval {low:.1%} to {high:.1%}). No pixel moved by more than {eps:g} of 255 steps."
)

# %% [markdown]
# ## Small enough to draw: images of two pixels
#
# An image of two pixels is a point in a square. All points whose pixels differ by at most ε from it are a small square
# around it: the **ε-ball** (in the L-infinity norm, which measures the largest change of any pixel). The attacker may
# pick any point of it. A classifier colours the whole plane; the attacker looks for another colour within reach.


# %%
def two_pixels(seed):
    """512 images of two pixels, of two classes on two rings, and a small network that has learned them."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(512) % 2
    angle = torch.rand(512, generator=generator) * 2 * torch.pi
    reach = 0.16 + 0.2 * label + 0.03 * torch.randn(512, generator=generator)
    points = 0.5 + torch.stack([reach * angle.cos(), reach * angle.sin()], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        small = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(small.parameters(), 0.01)
    for _ in range(300):
        loss = F.cross_entropy(small(10 * (points - 0.5)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return points, label, lambda p: small(10 * (p - 0.5))


points, label, plane = two_pixels(seed)

# %% [markdown]
# Every attack here is the same walk: **start** near x, take a **step** up the loss, **project** back into the ball. Build
# the three moves. Each cell goes on with the library's version where yours is not there yet, so nothing stops you.
#
# ### Exercise: project
# Difficulty ●●○○○ · 5 minutes. The walk may leave the ball; bring it back. A picture must stay a picture, too: pixels in
# [0, 1].


# %% tags=["exercise"]
def project(x_adv, x, eps):
    """Back into the ball of radius eps around x, and into [0, 1]; tensors of one shape."""
    raise NotImplementedError  # your code instead of this line


# %%
project = check(project)

# %% [markdown]
# <details><summary>Hint</summary>
# What may be at most eps in size is not the image but the change <code>x_adv - x</code>. <code>clamp</code> does both jobs.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def project(x_adv, x, eps):
#     change = (x_adv - x).clamp(-eps, eps)
#     return (x + change).clamp(0, 1)
# ```
# </details>

# %% [markdown]
# ### Exercise: fgsm
# Difficulty ●●○○○ · 5 minutes. The fast gradient sign method: one step as long as the ball is wide, up the loss. If every
# pixel may move by ε, which way should each go? Only the sign of its slope matters.


# %% tags=["exercise"]
def fgsm(f, x, y, eps):
    """x after one step of length eps up the cross-entropy of f(x) against y, clipped to [0, 1]."""
    raise NotImplementedError


# %%
fgsm = check(fgsm)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.autograd.grad(loss, x)</code> needs an x with <code>requires_grad</code>: take <code>x.detach().requires_grad_()</code>.
# Sum the loss over the images: a mean would do, too, as only signs count.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def fgsm(f, x, y, eps):
#     x = x.detach().requires_grad_()
#     loss = F.cross_entropy(f(x), y, reduction="sum")
#     (grad,) = torch.autograd.grad(loss, x)
#     return (x + eps * grad.sign()).detach().clamp(0, 1)
# ```
# </details>

# %% [markdown]
# ### Exercise: pgd_step
# Difficulty ●●●○○ · 5 minutes. Projected gradient descent takes many short steps and looks again after each.


# %% tags=["exercise"]
def pgd_step(f, x_adv, x, y, eps, size):
    """The next point of the walk: a step of length `size` from
    x_adv up the loss, projected around x."""
    raise NotImplementedError


# %%
pgd_step = check(pgd_step)

# %% [markdown]
# <details><summary>Hint</summary>
# The gradient is taken where the walk is, at <code>x_adv</code>; the ball is around where it began, <code>x</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def pgd_step(f, x_adv, x, y, eps, size):
#     x_adv = x_adv.detach().requires_grad_()
#     (grad,) = torch.autograd.grad(F.cross_entropy(f(x_adv), y, reduction="sum"), x_adv)
#     far = x_adv.detach() + size * grad.sign()
#     return (x + (far - x).clamp(-eps, eps)).clamp(0, 1)
# ```
# </details>

# %% [markdown]
# ## Watch it walk
#
# Move the point and the ball, and take the steps one by one. The line is the way of PGD; the cross is where FGSM lands
# with its one long step. Where FGSM jumps over the region it aims for, PGD turns.

# %%
grid = torch.linspace(0, 1, 60)
square = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1).reshape(-1, 2)
colours = plane(square).softmax(1)[:, 1].reshape(60, 60).detach()


def walk(image, radius, steps, start):
    """The picture for one image of two pixels."""
    at, true = points[image : image + 1], label[image : image + 1]
    generator = torch.Generator().manual_seed(seed)
    way = [project(at + radius * (2 * torch.rand(1, 2, generator=generator) - 1), at, radius) if start else at]
    for _ in range(steps):
        way.append(pgd_step(plane, way[-1], at, true, radius, 2.5 * radius / max(steps, 4)))
    way, jump, where = torch.cat(way), fgsm(plane, at, true, radius), at[0].tolist()
    fig = go.Figure(go.Heatmap(x=grid, y=grid, z=colours, colorscale=[[0, "#bcd7ea"], [1, "#f6cdb3"]], showscale=False))
    fig.add_scatter(x=way[:, 0], y=way[:, 1], name="PGD", mode="lines+markers", **figures.style(0))
    fig.add_scatter(
        x=jump[:, 0], y=jump[:, 1], name="FGSM", mode="markers", marker={"symbol": "x", "size": 12, "color": "#d55e00"}
    )
    fig.add_scatter(
        x=where[:1], y=where[1:], name="image", mode="markers", marker={"symbol": "star", "size": 13, "color": "#222"}
    )
    fig.add_shape(type="rect", x0=where[0] - radius, x1=where[0] + radius, y0=where[1] - radius, y1=where[1] + radius)
    wrong = [(plane(p).argmax(1) != true).item() for p in (way[-1:], jump)]
    told = "PGD {}, FGSM {}".format(*("<b>fools it</b>" if w else "does not fool it" for w in wrong))
    return figures.layout(fig, "first pixel", "second pixel", height=430).update_layout(width=560), told


sliders(
    walk,
    image=(0, 63, 1),
    radius=(0.0, 0.3, 0.01),
    steps=(0, 20, 1),
    start=False,
    labels={"radius": "radius ε", "steps": "steps of PGD", "start": "start at a random point of the ball"},
    start_at={"image": 1, "radius": 0.12, "steps": 5},
)

# %% [markdown]
# ## The same walk in 768 dimensions
#
# Nothing changes for real images but the number of pixels. Here is the walk of all images at once: the loss of the true
# class, and the share of images that are still right **at every point so far**.

# %%
lesson.predict("steps", "after how many steps of PGD is less than one image in a hundred still right?", 0, 20, "steps")


# %%
def watch(attack):
    """Mean loss and robust accuracy after every step of an attack."""
    losses, standing, right = [], torch.ones(n, dtype=torch.bool), []
    for _, logits in attack.iterates(net, x, y, torch.Generator().manual_seed(seed)):
        losses.append(F.cross_entropy(logits, y).item())
        standing &= logits.argmax(1) == y
        right.append(standing.float().mean().item())
    return losses, right


losses, right = watch(PGD(radius, steps=20))
band = [oatlib.wilson(round(r * n), n) for r in right]
percent = tuple([100 * v for v in values] for values in (right, *zip(*band, strict=True)))
curves = {
    "robust accuracy, %, with 95 % interval": percent,
    "loss, % of its largest": [100 * v / max(losses) for v in losses],
}
figures.lines(range(21), curves, x_name="steps of PGD")

# %%
gone = next((k for k, r in enumerate(right) if r < 0.01), 20)
lesson.reveal(
    "steps", gone, "each step is only a part of ε long, so the first ones cannot reach the border of the ball."
)

# %% [markdown]
# ## Ablation: what is the sign for, and the random start?
#
# Five attacks of the same radius on the same images, from the same seed. Switch a part off and see what it was good for.


# %%
def accuracy_under(attack):
    """Share of the images that are right after an attack."""
    attacked = attack(net, x, y, torch.Generator().manual_seed(seed))
    return (net(attacked).argmax(1) == y).float().mean().item()


attacks = {
    "FGSM, one step": FGSM(radius),
    "PGD-3": PGD(radius, 3),
    "PGD-20": PGD(radius, 20),
    "PGD-20, no random start": PGD(radius, 20, start="none"),
    "PGD-20 in the L2 ball": PGD(radius, 20, norm="l2"),
}
left = {name: accuracy_under(attack) for name, attack in attacks.items()}
figures.bars(list(left), {"robust accuracy": list(left.values())}, n=n, height=380)

# %% [markdown]
# The L2 ball of the same radius is far smaller: the whole image may change by ε there, in the L-infinity ball every
# pixel may. A radius without its norm says nothing.

# %% [markdown]
# ## What you built is what the library keeps
#
# `oatlib/attacks/geometry.py` has the three moves, `oatlib/attacks/ascent.py` the loop. One step of yours and one of theirs, on the images:

# %% tags=["nbval-check-output"]
mine, theirs = x, FGSM(radius)(net, x, y)
print("fgsm is oatlib.FGSM:", torch.equal(fgsm(net, x, y, radius), theirs))
for _ in range(5):
    mine = pgd_step(net, mine, x, y, radius, radius / 4)
last = PGD(radius, 5, step_size=radius / 4, start="none", best=False)(net, x, y)
print("five times pgd_step is oatlib.PGD:", torch.allclose(mine, last, atol=1e-6))

# %% [markdown]
# ## Is this attack sane?
#
# An attack with ε = 0 must give the clean accuracy, one that may repaint the whole image must leave nothing, and the loss
# must rise along the way. If your own attack fails one of these, mend it before you believe any robust accuracy.

# %% tags=["nbval-check-output"]
nothing, everything = (PGD(size, 20)(net, x, y) for size in (0.0, 0.5))
print("ε = 0 gives clean accuracy:", (net(nothing).argmax(1) == y).float().mean().item() == clean)
print("ε = 0.5 leaves less than clean / 4:", (net(everything).argmax(1) == y).float().mean().item() < clean / 4)
print("the loss rises along the way:", losses[-1] > losses[0])

# %% [markdown]
# ## Your turn, on the real thing
#
# The explorer shows the same attack on a network that was trained to resist, beside the ordinary one. Pause the attack and
# take it step by step.

# %%
pair = {name: lesson.network(name, data) for name in ("standard", "pgd-at")}
oatlib.explore(pair, data, eps=eps, surfaces=lesson.surfaces(pair, data), hide=["training", "choose", "width"])

# %% [markdown]
# > **Pitfalls**
# > * *Normalising outside the network*: ε is then measured in other units. Keep images in [0, 1] and put the normalisation inside.
# > * *Attacking in training mode*: BatchNorm then answers with the statistics of the batch, and learns them from attacked images.
# > * *Softmax before the loss*: the gradients of a network that is sure vanish. Attack logits.
# > * *Forgetting to clip*: what leaves [0, 1] is no image, and the attack looks stronger than it is.
# > * *No random start, few steps*: a network can hide from that; lesson 02 shows one that learns to.
# > * *Reporting the last point only*: the strongest point of the way counts.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that a network with high clean accuracy can be wrong nearly everywhere within a small ball, and how to find such
# points. **What we did not show:** that PGD finds the worst point of the ball (it does not always), that these changes
# matter outside the computer, or that other networks fall for the same images.
#
# ## Try this
#
# * Set `eps` to 1, 2 and 4 in the parameters cell and run again. Where does the standard network begin to fall?
# * Take the attacked images of this network to the `pgd-at` network. Do they fool it?
# * Make the walk climb `margin` instead of the cross-entropy (`PGD(loss="margin")`). Which needs fewer steps?
#
# ## Sources
#
# * Szegedy et al. 2014, *Intriguing properties of neural networks*
# * Goodfellow, Shlens and Szegedy 2015, *Explaining and Harnessing Adversarial Examples* (FGSM)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (PGD)
#
# **Next:** [02 · Adversarial training](02_adversarial_training.ipynb): can a network learn to resist?

# %%
lesson.finish(
    clean=clean, robust=robust, interval=[low, high], attack=str(PGD(radius, steps=20)), left=left, steps=gone
)
