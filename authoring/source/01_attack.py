# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 50
# ---

# %% [markdown]
# # 01 · How do you fool a network without changing the picture?
#
# **You will be able to**
#
# * draw the ball of images that an attacker may choose from, and say what ε means in it
# * write FGSM and PGD from scratch, and show that they equal the library's
# * say why one step is not enough
# * recognise a weak attack by its loss, and build a stronger one
#
# **Before this:** [00 · The tour](00_tour.ipynb) · **Run time:** about 50 s on two CPU cores · **Needs:** no internet, no GPU ·
# **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 256  # 32 to 512: validation images that are attacked
eps: float = 8.0  # 0.5 to 32: radius of the ball, in 1/255 of the range of a pixel
epochs: int = 4  # 1 to 30: of training, if the seed has no ready networks
seed: int = 0  # 0 to 9999: of data, weights and attacks; 0 has ready networks

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import FGSM, PGD, Suite
from oatlib.course import figures
from oatlib.course.diagram import diagram
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.data.scenes import effect_of, parts_of, scene_of
from oatlib.explorer.description import captions

lesson = begin("01_attack", globals())
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
n, x, y = len(panel), panel.x, panel.y  # x (n, 3, 16, 16) in [0, 1], y (n,)

# %% [markdown]
# ## The failure
#
# A network was trained on clean images. It is nearly always right on new ones. An image consists of values between 0 and 1,
# three per pixel. An attacker changes each value by at most ε. The attack is PGD with 20 steps (PGD-20). You build it in this
# lesson.

# %%
# at(0.0): the network as it is at λ = 0, the only λ that it has
net = lesson.network("standard", data).at(0.0)  # images (N, 3, 16, 16) -> logits (N, 8)
radius = eps / 255
x_adv = PGD(radius, steps=20)(net, x, y, torch.Generator().manual_seed(seed))
lesson.predict("left", f"What share of {n} images is still right under this attack?", 0, 100)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
scene = scene_of(data, panel)
parts = parts_of(scene)
is_right = net(x).argmax(1) == y
lies = scene.shape != y
honest = (is_right & ~lies).nonzero()[:5, 0]
shown = torch.cat([honest, (is_right & lies).nonzero()[:1, 0]])


def answers(f, images):
    """Captions: the class that a network answers, and its probability."""
    top, classes = f(images).softmax(1).max(1)
    return [f"answer: {data.classes[c]}<br>with {p:.0%}" for p, c in zip(top, classes, strict=True)]


attacked = f"attacked, ε = {eps:g}/255"
rows = {
    "image": x[shown],
    "drawn shape": parts.drawn[shown],
    "texture × 16": (0.5 + 16 * parts.texture[shown]).clamp(0, 1),
    "change × 16": figures.change(x, x_adv, 16)[shown],
    attacked: x_adv[shown],
}
below = figures.stacked(captions(data, panel, shown.tolist()), answers(net, x[shown]))
figures.images(
    rows,
    {"image": below, attacked: answers(net, x_adv[shown])},
    tile=96,
    takeaway="The attacked images look like the images, but the network gives other answers.",
)

# %% [markdown]
# Each image is the sum of three parts: a drawn shape, a texture and noise. You see the **drawn shape**. You do not see the
# **texture**, which is shown here 16 times stronger, around grey. The texture always tells the class.
#
# The shape is less reliable. The most vivid shapes always belong to the class. The paler a shape, the more often it
# belongs to another class. Then the caption says that it **lies**. The shape of the last image lies, and the network is still right. So its answer did
# not come from the shape.
#
# The fourth row is the change made by the attack, also 16 times stronger. It looks like noise. The next table says whether
# it is.


# %%
def accuracy(f, images):
    """Share of the images that f classifies correctly."""
    return (f(images).argmax(1) == y).float().mean().item()


clean, robust = accuracy(net, x), accuracy(net, x_adv)
lesson.reveal(
    "left",
    100 * robust,
    "its <i>robust accuracy</i> under this attack, an upper bound: another attack may find more errors.",
)

# %%
low, high = oatlib.wilson(round(robust * n), n)
# For comparison: every value changes by ε, too, but up or down at random
coins = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(seed))
x_random = (x + radius * (2 * coins - 1)).clamp(0, 1)
by_chance = accuracy(net, x_random)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
table = ""
for change, images in (("none", x), ("PGD-20", x_adv), ("random signs", x_random)):
    share = accuracy(net, images)
    ends = oatlib.wilson(round(share * n), n)
    effect = effect_of(scene, images - x)  # how much of each texture the change erases and adds
    erased, added = effect.erased.mean().item(), effect.forged.amax(1).mean().item()
    table += f"| {change} | {share:.1%} ({ends[0]:.1%} to {ends[1]:.1%}) | {round(100 * erased)}% | {round(100 * added)}% |\n"
say(
    f"All rows are the same n = {n} validation images. Every value changes by up to ε = {eps:g}/255. The textures have a mean amplitude of {255 * scene.amplitude.mean():.1f}/255.\n\n"
    "| change | still right, an upper bound under attack (95 % interval) | own texture erased | other texture added |\n|---|---|---|---|\n"
    f"{table}\nThe last two columns are means, in percent of the strength of the image's own texture (lesson 00 gave medians). They say how much of it "
    "the change erases, and how much it adds of the strongest texture of another class. The size of the change is the same for PGD-20 and random signs, so what counts is its **direction**. Another attack may find more errors. So the "
    "accuracy under an attack is an **upper bound** of the robust accuracy."
)

# %% [markdown]
# ## Where the attack gets its direction
#
# Training goes down the gradient of the loss with respect to the **weights**. An attack goes up the gradient of the same
# loss with respect to the **image**. The weights stay fixed.

# %%
diagram("01")

# %% [markdown]
# ## Three pixels by hand
#
# Take one image of three pixels, and a network of one linear layer with two classes.

# %%
image = torch.tensor([[0.2, 0.5, 0.9]])  # (1, 3)
label = torch.tensor([0])
weights = torch.tensor([[1.0, -2.0, 0.1], [-1.0, 1.0, 0.0]])  # one row per class


def tiny(images):
    """Images (N, 3) -> logits (N, 2)."""
    return images @ weights.T


image.requires_grad_()
loss = F.cross_entropy(tiny(image), label)
(gradient,) = torch.autograd.grad(loss, image)
image = image.detach()
print("loss    ", loss.item())
print("gradient", gradient)

# %% [markdown]
# The gradient has one number per pixel. A negative number says that a darker pixel raises the loss. The third pixel matters
# little. For a linear layer you can compute the gradient of the loss ℓ by hand, with the probabilities $p_c$ and the rows
# $w_c$ of the weights. The bracket $[c = y]$ is 1 for the true class $y$ and 0 for the other:
#
# $$\frac{\partial \ell}{\partial x} = \sum_c \big(p_c - [c = y]\big)\, w_c$$

# %%
print("by hand ", (tiny(image).softmax(1) - F.one_hot(label, 2)) @ weights)

# %% [markdown]
# Every pixel may now move by at most ε = 0.1. Which moves raise the loss most? Three pixels allow a search over all
# combinations of down, stay and up. Moves in between cannot be better, because the network is linear.

# %%
step = torch.tensor([-0.1, 0.0, 0.1])
moves = torch.cartesian_prod(step, step, step)  # (27, 3)
losses = F.cross_entropy(tiny(image + moves), label.expand(27), reduction="none")
print("best of 27 moves      ", moves[losses.argmax()])
print("0.1 · sign of gradient", 0.1 * gradient.sign())

# %% [markdown]
# The network is linear, with two classes. So the best move uses only the **sign** of the gradient. Even the third pixel
# moves by ε, although its gradient is small.
# This is the fast gradient sign method (FGSM):
#
# $$x_{\text{adv}} = \operatorname{clip}_{[0, 1]}\big(x + \varepsilon \cdot \operatorname{sign}(\nabla_x\, \ell(f(x), y))\big)$$
#
# ### Exercise: fgsm
# Difficulty ●●○○○ · 5 minutes. Write the formula as a function for a batch of images and any network `f`.
# If you leave the cell as it is, the lesson continues with the library's version.


# %% tags=["exercise"]
def fgsm(f, x, y, eps):
    """Images x after one step of length eps up the cross-entropy of f(x) and y, in [0, 1]."""
    raise NotImplementedError  # your code instead of this line


# %%
fgsm = check(fgsm)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.autograd.grad(loss, x)</code> needs an x with <code>requires_grad</code>: take
# <code>x.detach().requires_grad_()</code>. Sum the loss over the images. The sign is the same for the mean.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def fgsm(f, x, y, eps):
#     x = x.detach().requires_grad_()
#     loss = F.cross_entropy(f(x), y, reduction="sum")
#     (gradient,) = torch.autograd.grad(loss, x)
#     return (x + eps * gradient.sign()).detach().clamp(0, 1)
# ```
# </details>

# %%
once = fgsm(tiny, image, label, 0.1)
twice = fgsm(tiny, once, label, 0.1)
print("image    ", image)
print("one step ", once)
print("two steps", twice)

# %% [markdown]
# ## The ball, and how to stay in it
#
# After two steps, pixels have moved by 0.2, but only 0.1 was allowed. The allowed images are the **ε-ball** around x. The
# largest change of any value counts (the L-infinity norm). For an image of d values:
#
# $$B_\varepsilon(x) = \{x' \in [0, 1]^d : \max_i |x'_i - x_i| \le \varepsilon\}$$
#
# The projection $\Pi$ moves a point outside the ball to the nearest point inside. The ball is a box, so two clips do it:
#
# $$\Pi(x') = \operatorname{clip}_{[0, 1]}\big(x + \operatorname{clip}_{[-\varepsilon, \varepsilon]}(x' - x)\big)$$
#
# ### Exercise: project
# Difficulty ●○○○○ · 3 minutes. Write the projection Π.


# %% tags=["exercise"]
def project(x_adv, x, eps):
    """x_adv, moved into the ball of radius eps around x and into [0, 1]; all of one shape."""
    raise NotImplementedError


# %%
project = check(project)

# %% [markdown]
# <details><summary>Hint</summary>
# Not the image but the change <code>x_adv - x</code> may be at most eps. <code>clamp</code> does both clips.
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

# %%
print("two steps, projected", project(twice, image, 0.1))

# %% [markdown]
# Projected gradient descent (PGD) takes many short steps of length α, each with a new gradient. Despite the word *descent*, an
# attack goes up the loss:
#
# $$x^{(k+1)} = \Pi\big(x^{(k)} + \alpha \cdot \operatorname{sign}(\nabla_x\, \ell(f(x^{(k)}), y))\big)$$
#
# ### Exercise: pgd_step
# Difficulty ●●○○○ · 5 minutes. Write one such step. Its length α is the argument `size`.


# %% tags=["exercise"]
def pgd_step(f, x_adv, x, y, eps, size):
    """The next iterate: a step of length `size` from x_adv up the loss, projected around x."""
    raise NotImplementedError


# %%
pgd_step = check(pgd_step)

# %% [markdown]
# <details><summary>Hint</summary>
# Take the gradient at the present iterate, <code>x_adv</code>. The centre of the ball is the image, <code>x</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def pgd_step(f, x_adv, x, y, eps, size):
#     x_adv = x_adv.detach().requires_grad_()
#     loss = F.cross_entropy(f(x_adv), y, reduction="sum")
#     (gradient,) = torch.autograd.grad(loss, x_adv)
#     ahead = x_adv.detach() + size * gradient.sign()
#     return (x + (ahead - x).clamp(-eps, eps)).clamp(0, 1)
# ```
# </details>

# %%
iterate = image
for k in range(1, 5):
    iterate = pgd_step(tiny, iterate, image, label, 0.1, 0.04)
    print("after step", k, iterate)

# %% [markdown]
# ## Small enough to draw: images of two pixels
#
# On the linear network PGD ended where FGSM was after one step. The next network is not linear.
#
# An image of two pixels is a point in a plane, and its ε-ball is a square. A network has learned two classes, on two
# rings. The colour of the plane is its answer, and the dashed line is the border. The function
# `walk` takes steps like yours, and can switch parts of PGD off.


# %%
def slope(f, x, y):
    """Gradient of the loss with respect to the images, (N, ...)."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(f(x), y, reduction="sum"), x)
    return gradient


def walk(f, x, y, eps, steps, ratio, start=True, sign=True, ball=True):
    """All iterates of PGD with steps of length α = ratio · eps, the start included."""
    noise = 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) - 1
    iterates = [project(x + eps * noise, x, eps) if start else x]
    for _ in range(steps):
        direction = slope(f, iterates[-1], y)
        largest = direction.abs().amax(tuple(range(1, x.dim())), keepdim=True)
        direction = direction.sign() if sign else direction / largest.clamp_min(1e-12)
        ahead = iterates[-1] + ratio * eps * direction
        iterates.append(project(ahead, x, eps) if ball else ahead.clamp(0, 1))
    return iterates


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
# It makes 512 points of two classes, trains a small network on them, and draws its plane.
def two_pixels(seed):
    """Points (512, 2) on two rings, their classes, and a network that has learned them."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(512) % 2
    angle = torch.rand(512, generator=generator) * 2 * torch.pi
    reach = 0.16 + 0.2 * label + 0.03 * torch.randn(512, generator=generator)
    points = 0.5 + torch.stack([reach * angle.cos(), reach * angle.sin()], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2)]
    small = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(small.parameters(), 0.01)
    for _ in range(300):
        loss = F.cross_entropy(small(10 * (points - 0.5)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return points, label, lambda p: small(10 * (p - 0.5))


points, ring, plane = two_pixels(seed)

# %% [markdown]
# Which images are still classified correctly after FGSM, but not after PGD?

# %%
reach = 0.16  # radius ε in this plane
after_fgsm = plane(fgsm(plane, points, ring, reach)).argmax(1)
after_pgd = plane(walk(plane, points, ring, reach, steps=10, ratio=0.25)[-1]).argmax(1)
only_pgd = (after_fgsm == ring) & (after_pgd != ring)
found = only_pgd.nonzero().flatten().tolist()
print("images that FGSM leaves correct:  ", int((after_fgsm == ring).sum()), "of", len(ring))
print("of these, misclassified after PGD:", len(found))

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
ticks = torch.linspace(0, 1, 80)
cells = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
colours = plane(cells).softmax(1)[:, 1].reshape(80, 80).detach()
pale = {"colorscale": [[0, "#bcd7ea"], [1, "#f6cdb3"]], "zmin": 0, "zmax": 1, "showscale": False}
border = {"start": 0.5, "end": 0.5, "size": 1, "coloring": "heatmap"}
border_line = {"color": "#222222", "width": 2, "dash": "dash"}
background = [go.Contour(x=ticks, y=ticks, z=colours, contours=border, line=border_line, **pale)]
spots = torch.tensor([[0.5, 0.5], [0.13, 0.95]])  # the middle and a corner
regions = [f"answers {kind}" for kind in plane(spots).argmax(1).tolist()]
look = {"mode": "text", "textfont": {"color": "#222222"}, "showlegend": False, "hoverinfo": "skip"}
background.append(go.Scatter(x=spots[:, 0], y=spots[:, 1], text=regions, **look))
for kind, colour, symbol in ((0, "#2a86c8", "circle"), (1, "#c2500c", "diamond")):
    dots = points[ring == kind]
    look = {"size": 4, "color": colour, "symbol": symbol, "opacity": 0.6}
    background.append(go.Scatter(x=dots[:, 0], y=dots[:, 1], name=f"class {kind}", mode="markers", marker=look))
inside = (points - 0.5).abs().amax(1) < 0.5 - reach  # the whole square is in the picture
choices = ([i for i in found if inside[i]] + [i for i in range(512) if inside[i] and i not in found])[:8]


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_walk(image, radius, steps, start, sign, ball):
    """The iterates of PGD and the step of FGSM for one image of two pixels."""
    at, true = points[image : image + 1], ring[image : image + 1]
    path = torch.cat(walk(plane, at, true, radius, steps, 0.25, start, sign, ball))
    jump = fgsm(plane, at, true, radius)
    (px, py), ink = at[0].tolist(), "#222222"
    fig = go.Figure(background)
    fig.add_scatter(x=path[:, 0], y=path[:, 1], name="PGD", mode="lines+markers", line={"color": ink})
    for name, spot, mark in (("FGSM", jump, "x"), ("image", at, "star")):
        look = {"symbol": mark, "size": 14, "color": ink, "line": {"color": "white", "width": 1}}
        fig.add_scatter(x=spot[:, 0], y=spot[:, 1], name=name, mode="markers", marker=look)
    edges = {"x0": px - radius, "x1": px + radius, "y0": py - radius, "y1": py + radius}
    fig.add_shape(type="rect", line={"color": ink, "width": 2}, **edges)
    takeaway = "The square is the ball. FGSM jumps to a corner of it; PGD turns on its way."
    figures.layout(fig, "first pixel", "second pixel", height=560, takeaway=takeaway)
    fig.update_yaxes(scaleanchor="x", range=[0, 1], constrain="domain")
    fig.update_xaxes(range=[0, 1], constrain="domain")
    verdict = {True: "is misclassified", False: "is still classified correctly"}
    ends = {"PGD": path[-1:], "FGSM": jump}
    told = [f"After {k} it <b>{verdict[bool(plane(p).argmax(1) != true)]}</b>." for k, p in ends.items()]
    return fig, f"The image is of class {true.item()}. " + " ".join(told)


# %% [markdown]
# Take the steps one by one. Then switch off one part at a time. Without the sign, only the
# pixel with the largest gradient moves by α. The next section explains the random start.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
sliders(
    draw_walk,
    image=choices,
    radius=(0.0, 0.3, 0.01),
    steps=(0, 20, 1),
    start=False,
    sign=True,
    ball=True,
    labels={
        "radius": "radius ε",
        "steps": "steps of PGD, α = ε/4",
        "start": "random start",
        "sign": "sign of the gradient",
        "ball": "projection",
    },
    start_at={"radius": reach, "steps": 10},
)

# %% [markdown]
# ## The whole attack
#
# Two parts are still missing. PGD starts at a **random point** of the ball, and it returns the **best iterate**:
#
# $$x^{(0)} = \Pi(x + u),\quad u_i \sim U[-\varepsilon, \varepsilon] \qquad\qquad x_{\text{adv}} = x^{(k^*)},\quad k^* = \arg\max_k\, \ell(f(x^{(k)}), y)$$
#
# The values of $u$ are random numbers between -ε and ε. Each image has its own $k^*$. Lessons 02 to 05 use your function for training.
#
# ### Exercise: pgd
# Difficulty ●●●○○ · 15 minutes. Write the whole loop in one function. Draw the random start with
# `torch.rand(x.shape, generator=generator)`. The start counts as an iterate, and so does the point after the last step.


# %% tags=["exercise"]
def pgd(net, x, y, eps, steps, step_size, generator=None):
    """Attacked images (N, C, H, W): for each image the iterate with the highest cross-entropy."""
    raise NotImplementedError


# %%
pgd = check(pgd)

# %% [markdown]
# <details><summary>Hint</summary>
# Run the loop <code>steps + 1</code> times. Each time compute one loss per image with <code>reduction="none"</code>, and
# copy the images whose loss is higher than before: <code>best[better] = x_adv.detach()[better]</code>. Then take a step,
# but not in the last round. Use <code>torch.autograd.grad</code>: <code>loss.backward()</code> would also
# add to the gradients of the weights.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def pgd(net, x, y, eps, steps, step_size, generator=None):
#     noise = 2 * torch.rand(x.shape, generator=generator) - 1
#     x_adv = (x + eps * noise).clamp(0, 1)
#     best = x_adv.clone()
#     best_loss = torch.full((len(x),), -torch.inf)
#     for step in range(steps + 1):
#         x_adv = x_adv.detach().requires_grad_()
#         losses = F.cross_entropy(net(x_adv), y, reduction="none")
#         better = losses.detach() > best_loss
#         best[better] = x_adv.detach()[better]
#         best_loss[better] = losses.detach()[better]
#         if step == steps:
#             break
#         (gradient,) = torch.autograd.grad(losses.sum(), x_adv)
#         x_adv = x_adv.detach() + step_size * gradient.sign()
#         x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
#     return best
# ```
# </details>

# %% [markdown]
# ### What you built is what the library has
#
# From here on the network under attack is `pgd-at`. It was trained to resist attacks of ε = 8/255, as lesson 02 shows.
# The attacks below use a ball of twice the radius `eps`, because there a weak attack differs clearly from a strong one.


# %%
def dice():
    """The same random numbers for every attack."""
    return torch.Generator().manual_seed(seed)


robust_net = lesson.network("pgd-at", data).at(1.0)
wide = 2 * radius

# %% tags=["nbval-check-output"]
built = pgd(robust_net, x, y, wide, 10, wide / 4, dice())
shipped = PGD(wide, steps=10, step_size=wide / 4)(robust_net, x, y, dice())
same = (built - shipped).abs().amax((1, 2, 3)) < 1e-5
print("fgsm equals oatlib.FGSM:", torch.equal(fgsm(net, x, y, radius), FGSM(radius)(net, x, y)))
print("pgd equals oatlib.PGD on more than 95 of 100 images:", same.float().mean().item() > 0.95)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"Both return the same for **{int(same.sum())} of {n}** images. They choose the iterate differently. `pgd` keeps the "
    "one with the highest loss. oatlib prefers a misclassified iterate to one that is still right, whatever their losses."
)

# %% [markdown]
# ## Why one step is not enough
#
# With three pixels FGSM was the best attack. The network was **linear**, with two classes. Its gradient had the same
# signs everywhere. In a deep network some signs change on the way.

# %%
question = (
    "What share of the gradient's values has the same sign at x and after ten steps of PGD? (Random signs: 50 %.)"
)
lesson.predict("agree", question, 50, 100)

# %%
first = slope(robust_net, x, y).sign()


def same_signs(iterates):
    """Percentage of the gradient's signs that are as at x: (iterates, n)."""
    signs = torch.stack([slope(robust_net, images, y).sign() for images in iterates])
    return 100 * (signs == first).float().mean((2, 3, 4))


shares = {}
for size in (radius, wide):
    path = walk(robust_net, x, y, size, steps=10, ratio=0.25, start=False)
    shares[f"ε = {255 * size:g}/255"] = same_signs(path)
near, agree = [share.mean(1).tolist() for share in shares.values()]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
bands = {}
for name, share in shares.items():  # mean over the images, with its 95 % interval
    middle, half = share.mean(1), 1.96 * share.std(1) / n**0.5
    bands[name] = (middle.tolist(), (middle - half).tolist(), (middle + half).tolist())
figures.lines(
    range(len(agree)),
    bands,
    x_name=f"steps of PGD (bands: 95 % intervals, n = {n})",
    y_name="same sign as at x, %",
    height=320,
    takeaway=f"After {len(agree) - 1} steps {agree[-1]:.0f} % of the signs are those of the first gradient; in the smaller "
    f"ball {near[-1]:.0f} %.",
).update_yaxes(range=[min(50, *agree, *near) - 2, 102])

# %%
lesson.reveal("agree", agree[-1], "the others changed. FGSM knows only the first.")

# %% [markdown]
# Where more signs stay the same, one step should be nearly as good as ten. The ablation below tests this.
# The next figure has four images that are right after FGSM and misclassified after PGD. They are not typical: we chose those
# whose two losses differ most.

# %%
one_step = fgsm(robust_net, x, y, wide)


def loss_of(images):
    """Cross-entropy of every image, (N,)."""
    return F.cross_entropy(robust_net(images), y, reduction="none").detach()


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
resisted = robust_net(one_step).argmax(1) == y
fell = robust_net(built).argmax(1) != y
gap = (loss_of(built) - loss_of(one_step)).masked_fill(~(resisted & fell), -torch.inf)
chosen = gap.topk(4).indices
rows, below = {"image": x[chosen]}, {"image": captions(data, panel, chosen.tolist())}
for name, images in (("FGSM", one_step), ("PGD-10", built)):
    at_work = [f"loss {value:.2f}" for value in loss_of(images)[chosen]]
    row = f"{name}, ε = {255 * wide:g}/255, change × 8"
    rows[row] = figures.change(x, images, 8)[chosen]
    below[row] = figures.stacked(answers(robust_net, images[chosen]), at_work)
figures.images(
    rows, below, takeaway="On each of these four chosen images PGD reaches a higher loss than FGSM, in the same ball."
)

# %% [markdown]
# ## Tell a weak attack by its loss
#
# Four attacks search the same balls for a high loss. A higher loss usually means a better search.

# %%
attacks = {
    "FGSM": one_step,
    "PGD-10, α = ε/16": pgd(robust_net, x, y, wide, 10, wide / 16, dice()),
    "PGD-10, α = ε/4": pgd(robust_net, x, y, wide, 10, wide / 4, dice()),
    "PGD-10, α = ε": pgd(robust_net, x, y, wide, 10, wide, dice()),
}
lesson.predict("weakest", "Which attack leaves most images right?", options=list(attacks))


# %%
def right(images):
    """Whether the robust network classifies each image correctly, (N,)."""
    return robust_net(images).argmax(1) == y


def compare(part, without):
    """How many more images are right in the second mask, in points, on the same images."""
    difference = 100 * (without.float() - part.float())
    spread = 1.96 * difference.std() / n**0.5
    mean = difference.mean()
    return f"{mean:+.1f} points (95 % interval {mean - spread:+.1f} to {mean + spread:+.1f})"


kept = {name: right(images) for name, images in attacks.items()}
mean_loss = {name: loss_of(images).mean().item() for name, images in attacks.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = go.Figure()
for i, name in enumerate(attacks):
    share = kept[name].float().mean().item()
    ends = oatlib.wilson(int(kept[name].sum()), n)
    about = {"type": "data", "symmetric": False, "color": figures.tint(i, 0.6)}
    across = 1.96 * loss_of(attacks[name]).std().item() / n**0.5
    fig.add_scatter(
        x=[mean_loss[name]],
        y=[100 * share],
        name=name,
        mode="markers",
        marker=figures.style(i)["marker"] | {"size": 12},
        error_y=about | {"array": [100 * (ends[1] - share)], "arrayminus": [100 * (share - ends[0])]},
        error_x=about | {"array": [across], "arrayminus": [across]},
    )
figures.layout(
    fig,
    f"mean loss (bars: 95 % intervals, n = {n})",
    "still right (upper bound), %",
    height=380,
    takeaway="The attacks with a higher loss leave fewer images right.",
)

# %%
weakest = max(kept, key=lambda name: kept[name].sum().item())
lowest, highest = min(mean_loss.values()), max(mean_loss.values())
about = f"its mean loss is {mean_loss[weakest]:.2f}; the four go from {lowest:.2f} to {highest:.2f}."
lesson.reveal("weakest", weakest, about)

# %%
suite = right(Suite(wide, budget="quick")(robust_net, x, y, dice()))

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rates, above = "", None
ranked = sorted(kept.items(), key=lambda row: row[1].sum().item(), reverse=True)
for name, mask in [*ranked, ("quick suite", suite)]:
    ends = oatlib.wilson(int(mask.sum()), n)
    fewer = "" if above is None else compare(kept.get(name, suite), kept[above])
    more = ""
    if above is not None and name in attacks:  # how much higher the loss is, on the same images
        rise = loss_of(attacks[name]) - loss_of(attacks[above])
        more = f"{rise.mean():+.2f} ± {1.96 * rise.std() / n**0.5:.2f}"
    rates += f"| {name} | {mask.float().mean():.1%} | {ends[0]:.1%} to {ends[1]:.1%} | {fewer} | {more} |\n"
    above = name
say(
    f"| attack at ε = {255 * wide:g}/255 | still right (upper bound) | 95 % interval, n = {n} | fewer right than in the row above | mean loss above that of the row above |\n|---|---|---|---|---|\n{rates}\n"
    "The last two columns compare the same images, so their intervals are narrower than those of the figure. "
    "The network is the same in all rows. The numbers differ only by the search, and each is an **upper bound**. The quick "
    "suite is a series of attacks, with up to 30 gradients per image. Why is PGD with α = ε/16 so weak? Ten such steps cannot "
    "cross the ball: α times the number of steps should be at least 2ε."
)

# %% [markdown]
# ## Ablation: what is each part for?
#
# The network, the images and the random numbers stay the same. One part of PGD is switched off at a time. An image counts
# as right if it is right at every iterate.

# %%
arms = {
    "PGD-10, α = ε/2": {"steps": 10, "ratio": 0.5},
    "one step, α = ε": {"steps": 1, "ratio": 1.0},
    "no sign": {"steps": 10, "ratio": 0.5, "sign": False},
    "no projection": {"steps": 10, "ratio": 0.5, "ball": False},
}
sizes = [radius * factor for factor in (1.0, 1.5, 2.0, 3.0)]


def always_right(iterates):
    """Whether each image is classified correctly at every iterate, (N,)."""
    return torch.stack([right(images) for images in iterates]).all(0)


def still_right(size, options):
    """The same for one arm, at one radius."""
    return always_right(walk(robust_net, x, y, size, **options))


sweep = {name: [still_right(size, arm) for size in sizes] for name, arm in arms.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
curves = {}
for name, masks in sweep.items():
    ends = [oatlib.wilson(int(mask.sum()), n) for mask in masks]
    middle = [100 * mask.float().mean().item() for mask in masks]
    label = "no projection: outside the ball, no bound" if name == "no projection" else name
    curves[label] = (middle, [100 * end[0] for end in ends], [100 * end[1] for end in ends])
figures.lines(
    [255 * size for size in sizes],
    curves,
    x_name="ε, in 1/255",
    y_name=f"still right, % (upper bound; band: 95 % interval, n = {n})",
    height=420,
    takeaway="In large balls more images stay right without the sign, or with one step. Without projection hardly any stay "
    "right, but they have left the ball.",
)


# %%
long_steps = walk(robust_net, x, y, wide, 10, 2.0)
long_no_sign = always_right(walk(robust_net, x, y, wide, 10, 8.0, sign=False))
no_start = always_right(walk(robust_net, x, y, wide, 10, 0.5, start=False))
random = dice()  # continues from start to start
starts = [right(pgd(robust_net, x, y, wide, 10, wide / 2, random)) for _ in range(5)]
five = torch.stack(starts).all(0)
after_fgsm = right(fgsm(robust_net, x, y, wide))  # one step of length ε from x itself
one_long = right(pgd(robust_net, x, y, wide, 50, wide / 2, dice()))  # as many gradients as `five`
at_wide = {name: masks[2] for name, masks in sweep.items()}
at_narrow = {name: masks[0] for name, masks in sweep.items()}
whole = at_wide["PGD-10, α = ε/2"]


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
def share_of(mask):
    """A share of the images with its 95 % interval, as text."""
    ends = oatlib.wilson(int(mask.sum()), n)
    return f"{mask.float().mean():.1%} ({ends[0]:.1%} to {ends[1]:.1%})"


say(
    f"At ε = {255 * wide:g}/255, how many more images are right without a part (n = {n}, same images). Both shares behind each "
    f"difference are upper bounds. PGD-10 with α = ε/2 leaves {share_of(whole)} right, and FGSM {share_of(after_fgsm)}:\n\n"
    f"| without | compared with | difference |\n|---|---|---|\n"
    f"| many steps (one step of length ε from a random start) | PGD-10, α = ε/2 | {compare(whole, at_wide['one step, α = ε'])} |\n"
    f"| the same, at ε = {255 * sizes[0]:g}/255 | PGD-10, α = ε/2 | {compare(at_narrow['PGD-10, α = ε/2'], at_narrow['one step, α = ε'])} |\n"
    f"| many steps and the random start (FGSM) | PGD-10, α = ε/2 | {compare(whole, after_fgsm)} |\n"
    f"| the sign | PGD-10, α = ε/2 | {compare(whole, at_wide['no sign'])} |\n"
    f"| the sign, but with steps 16 times as long | PGD-10, α = ε/2 | {compare(whole, long_no_sign)} |\n"
    f"| the best iterate, with α = 2ε | PGD-10, α = 2ε | {compare(always_right(long_steps), right(long_steps[-1]))} |\n"
    f"| the random start | PGD-10, α = ε/2 | {compare(whole, no_start)} |\n"
    f"| four of the five starts | PGD-10 from five starts | {compare(five, starts[0])} |\n"
    f"| four of the five starts, but with five times the steps | PGD-10 from five starts | {compare(five, one_long)} |"
)

# %% [markdown]
# These sentences hold for unchanged parameters.
#
# * **Many steps.** One step finds fewer errors than ten: by a few points at the smallest ε, by many in larger balls.
# * **Sign.** Without it, a few pixels with large gradients use the step, and the others hardly move. Much longer steps make up
#   for most of that.
# * **Projection.** Without it nearly all images are misclassified, but this is no success: they have left the ball.
# * **Best iterate.** An error at the last iterate is also an error among all iterates. So the difference cannot be negative.
#   Steps of α = 2ε jump across the maximum. Even with them the difference is small here.
# * **Random start.** One random start is not clearly better than none. Five starts find more errors than one,
#   but take five times the gradients. One start with as many gradients (last row) is not clearly different. So this lesson does
#   not show that random starts help.
#
# ## Is this attack sane?
#
# With ε = 0 an attack must give the clean accuracy. With a huge ε it must leave little. Ten steps
# must reach a higher loss than none.
# If your attack fails a test, correct it before you believe a robust accuracy.

# %% tags=["nbval-check-output"]
nothing = pgd(net, x, y, 0.0, 10, 0.0, dice())
everything = pgd(net, x, y, 0.5, 10, 0.1, dice())
start = pgd(robust_net, x, y, wide, 0, wide / 4, dice())  # no step
print("ε = 0 gives the clean accuracy:", accuracy(net, nothing) == clean)
print("ε = 0.5 leaves less than clean / 4:", accuracy(net, everything) < clean / 4)
print("ten steps reach a higher loss than none:", bool(loss_of(built).mean() > loss_of(start).mean()))

# %% [markdown]
# ## Beat PGD-10
#
# The rival is PGD-10 with α = ε. It uses ten gradients per image. The check attacks 256 validation
# images of the ready network `pgd-at` at 16/255. It counts your gradients, and compares both attacks on the same images.
#
# ### Exercise: my_attack
# Difficulty ●●●●○ · 20 minutes. Return images in the ball that the network misclassifies more often than those of the
# rival. You may take `gradients` gradients per image, and call `net` once more than that. Both counts are means over the images. Then
# improve it: can you reach the quick suite, with a third of its gradients?


# %% tags=["exercise"]
def my_attack(net, x, y, eps, gradients):
    """Attacked images, with at most `gradients` gradients and one more forward pass per image."""
    raise NotImplementedError


# %%
my_attack = check(my_attack)

# %% [markdown]
# <details><summary>Hint</summary>
# Ideas: long steps first and short ones last; another loss, such as the largest wrong logit minus
# the true one; no more gradients for images that are already misclassified, and more for the others. Not every idea helps here.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def my_attack(net, x, y, eps, gradients):
#     x_adv = x.clone()
#     active = torch.arange(len(x))  # indices of images that are still right
#     total = gradients * len(x)
#     left = total  # gradients that are not spent yet
#     while 0 < len(active) <= left:
#         iterate = x_adv[active].requires_grad_()
#         logits = net(iterate)
#         loss = F.cross_entropy(logits, y[active], reduction="sum")
#         (gradient,) = torch.autograd.grad(loss, iterate)
#         size = 2 * eps * left / total
#         left -= len(active)
#         ahead = iterate.detach() + size * gradient.sign()
#         ahead = (x[active] + (ahead - x[active]).clamp(-eps, eps)).clamp(0, 1)
#         is_right = logits.argmax(1) == y[active]
#         active = active[is_right]
#         x_adv[active] = ahead[is_right]
#     return x_adv
# ```
#
# An image is dropped once it is misclassified, and its gradients go to the others. The steps shrink from 2ε to 0.
# </details>

# %%
ours = right(my_attack(robust_net, x, y, wide, 10))
theirs = kept["PGD-10, α = ε"]

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
low_10, high_10 = oatlib.wilson(int(ours.sum()), n)
say(
    f"On the n = {n} images of this lesson, `my_attack` leaves **{ours.float().mean():.1%}** right (95 % interval {low_10:.1%} to "
    f"{high_10:.1%}). PGD-10 with α = ε leaves {theirs.float().mean():.1%}, and the quick suite {suite.float().mean():.1%}. All three are upper "
    f"bounds. PGD-10 with α = ε minus `my_attack`: {compare(ours, theirs)}."
)

# %% [markdown]
# ## The same attack in the explorer
#
# The explorer attacks both networks, on all validation images. It measures with the quick suite, which is stronger than PGD-20. Choose PGD-20 for the
# attack of this lesson, and take it step by step. Its robust accuracies are upper bounds, too.

# %%
pair = {name: lesson.network(name, data) for name in ("standard", "pgd-at")}
hidden = ["training", "choose", "width"]
oatlib.explore(pair, data, eps=eps, surfaces=lesson.surfaces(pair, data), hide=hidden)

# %% [markdown]
# > **Pitfalls**
# > * *Normalising outside the network*: ε is then measured in other units. Keep images in [0, 1], and normalise inside the network.
# > * *Attacking in training mode*: BatchNorm then uses the statistics of the batch, and updates its own with attacked images.
# > * *Softmax before the loss*: where the network is certain, the gradient vanishes. Give the logits to the loss.
# > * *Forgetting to clip to [0, 1]*: the result is not an image, and the attack looks stronger than it is.
# > * *Steps that are too short*: an attack that cannot reach the border of the ball overestimates robustness.
# > * *Trusting the mean loss alone*: an attack that stops once an image is misclassified, as the suite does, ends with a low
# >   loss, and is still strong.
#
# ## What we showed, and what we did not show
#
# A network with high clean accuracy can be wrong on nearly every image once each value may change by a small ε. Random changes
# of that size hardly matter. The gradient finds changes that do, and several gradients find them for more images than one
# gradient does.
# **What we did not show:** that any of these attacks finds the worst point of the
# ball; that such changes matter outside the computer; that other networks misclassify the same images.
#
# ## Try this
#
# * Set `eps` to 1, 2 and 4 in the parameters cell and run again. When does the standard network begin to fail?
# * Give the attacked images of the standard network to `robust_net`. Does it misclassify them, too?
# * Let `pgd` take 20, 50 and 100 steps of ε/8. When does the loss stop rising?
#
# ## Sources
#
# * Szegedy et al. 2014, *Intriguing properties of neural networks*
# * Goodfellow, Shlens and Szegedy 2015, *Explaining and Harnessing Adversarial Examples* (FGSM)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (PGD)
# * Croce and Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks*
#
# **Next:** [02 · Adversarial training](02_adversarial_training.ipynb): can a network learn to resist?

# %%
accuracies = {name: mask.float().mean().item() for name, mask in kept.items()}
found = {"clean": clean, "robust": robust, "interval": [low, high], "random": by_chance}
found |= {"suite": suite.float().mean().item(), "attacks": accuracies, "losses": mean_loss, "agree": agree[-1]}
found |= {"mine": ours.float().mean().item(), "attack": str(PGD(radius, steps=20))}
lesson.finish(**found, note="accuracies under attack are upper bounds")
