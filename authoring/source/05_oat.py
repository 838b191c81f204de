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
# # 05 · Can one network be trained for every λ at once?
#
# **You will be able to**
#
# * write the training step of OAT: who is attacked, at which λ, through which BatchNorm, with which loss
# * train a dial from the parts that you built in lessons 01, 03 and 04
# * compare a dial with a coin, with dedicated networks and with the best possible rule, at equal clean accuracy
# * say what a dial costs, and where it is not the best choice
#
# **Before this:** [04 · FiLM](04_film.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
your_name: str = "yours"  # your network has this name in the explorer
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 512  # 64 to 512: validation images on which your network is measured
epochs: int = 6  # 1 to 20: of your training
seed: int = 0  # 0 to 9999: of weights, draws of λ and attacks
retrain: bool = False  # train the networks beside yours, too, instead of loading them
recompute: bool = False  # train everything that is recorded again (15 minutes)

# %%
import torch
from IPython.display import display
from torch import nn

import oatlib
from oatlib import PGD, Suite, coin
from oatlib.course import dials, figures, parts, told_lambda
from oatlib.course.diagram import diagram
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.live import LiveCurve
from oatlib.course.sliders import sliders

lesson = begin("05_oat", globals())
data = oatlib.load_data(data_set, seed=0)
panel = data.val.panel(min(n, len(data.val)))
RADIUS = 8 / 255  # of every attack on images

# %% [markdown]
# ## The failure
#
# In lesson 04 you built a network that is told λ. Being told is not enough. The network below has two BatchNorms and
# FiLM for six values of λ: 0, 0.1, 0.2, 0.3, 0.4 and 1. These trained values are its **stops**. But in training each
# image had either λ = 0 or λ = 1. What happens at λ = 0.2?

# %%
record = lesson.recorded("oat_arms", dials.oat_arms)
untrained = record["arms"]["λ = 0 and λ = 1 only"]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
STOPS = [point["lam"] for point in untrained[0]]


def over_lambda(runs, key):
    """The mean over the seeds at every stop, with the lowest and the highest seed, in percent."""
    columns = [[100 * run[i][key] for run in runs] for i in range(len(STOPS))]
    return [sum(c) / len(c) for c in columns], [min(c) for c in columns], [max(c) for c in columns]


curves = {f"{key} accuracy": over_lambda(untrained, key) for key in ("clean", "robust")}
middle = over_lambda(untrained, "robust")[0][1:-1]
figures.lines(
    STOPS,
    curves,
    x_name=f"λ (mean of {len(untrained)} seeds, band: lowest to highest)",
    y_name="accuracy, %",
    takeaway=f"Between the two trained ends robust accuracy is {min(middle):.0f} to {max(middle):.0f} %.",
)

# %%
lows = [run[0]["robust"] for run in untrained], [run[-1]["robust"] for run in untrained]
say(
    f"Three trainings, {record['attack']}, n = {untrained[0][0]['n']} validation images each. At λ = 1 robust accuracy is "
    f"{min(lows[1]):.1%} to {max(lows[1]):.1%}. Between the trained values FiLM gets codes that it has never seen, and "
    f"robust accuracy goes down to {min(middle):.1f} %. **A setting that is not trained is not a setting.**"
)

# %% [markdown]
# The remedy is the subject of this lesson: draw λ anew for every image of every batch. The diagram shows where λ acts.

# %%
diagram("05")

# %% [markdown]
# ## Small enough to draw: two pixels
#
# Each point is an image of two pixels. The first pixel shows the class clearly, but is wrong in some images. The second
# pixel is nearly always right, but so faint that an attacker can replace it. The classifier is linear: two weights and
# a bias. Its worst attack is known exactly. Each pixel moves by ε against the sign of its weight, which costs a margin
# of ε·(|w₁| + |w₂|).
#
# A tiny network turns λ into the two weights and the bias. Its loss is (1-λ)·clean + λ·attacked. Compare three ways to
# train it: λ = 1 for all images; λ drawn for each image, but hidden from the network; λ drawn, and told.

# %%
toy = told_lambda.TwoPixels(seed)
toys = {
    "λ = 1 always": toy.learned(lambda generator: torch.ones(512)),
    "drawn, hidden": toy.learned(told_lambda.any_stop, told=False),
    "drawn, told": toy.learned(told_lambda.any_stop),
}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
alone = [
    toy.accuracies(toy.learned(lambda generator, lam=lam: torch.full((512,), lam)), lam)
    for lam in told_lambda.STOPS.tolist()
]
SEEN = {
    "λ = 1 always": "This classifier has learned one border.",
    "drawn, hidden": "Every λ gives the same border: one compromise.",
    "drawn, told": "The border turns with λ, and all λ together reach the dedicated classifiers.",
}


def border(lam, training):
    clean, robust = toy.accuracies(toys[training], lam)
    fig = told_lambda.draw_border(toy, toys[training], lam, alone, SEEN[training])
    return fig, f"{training}, λ = {lam:.2f}: clean {clean:.1f} %, robust {robust:.1f} % of 512 points"


sliders(
    border,
    lam=(0.0, 1.0, 0.05),
    training=list(toys),
    labels={"lam": "λ", "training": "trained with"},
    start_at={"lam": 0.2, "training": "drawn, told"},
)

# %% [markdown]
# The dotted square is the ball of the attacker. Why does drawing help? Each image of a batch asks for one λ, so one
# step improves **all** settings a little. A network that is told λ can lower the loss of each setting for itself. A
# network to which λ is hidden cannot. Its loss is linear in λ, so it minimises the loss at the *mean* λ.
#
# And why one λ for each image, and not one for each batch? Look at the gradients.

# %%
told = toys["drawn, told"].requires_grad_()
draws = torch.Generator().manual_seed(seed)


def scatter(count):
    """Spread of the gradient over 60 draws; count: how many different λ are drawn for a batch."""
    gradients = [toy.gradient(told, told_lambda.any_stop(draws, count)) for _ in range(60)]
    return torch.stack(gradients).std(0).norm().item()


hidden = toy.accuracies(toys["drawn, hidden"], 0)
say(
    f"With one λ per batch the gradient scatters **{scatter(1) / scatter(512):.0f} times** as far as with one λ per image. "
    f"The network to which λ is hidden has clean accuracy {hidden[0]:.1f} % and robust accuracy {hidden[1]:.1f} % at "
    "every λ (512 points, exact attack)."
)

# %% [markdown]
# ## First part: draw λ
#
# A batch of 12 images and six stops. As published, the first 12/6 = 2 images get λ = 0. They need no attack, so it
# is useful that they come first. Each of the other images gets one of the other five stops, at random.

# %%
stops = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
stop = torch.tensor([0, 0, 3, 5, 1, 1, 4, 2, 5, 3, 2, 4])  # one index of a stop for each image
print("index of the stop", stop)
print("λ                ", stops[stop])

# %% [markdown]
# ### Exercise: draw_stops
# Difficulty ●●○○○ · 6 minutes. Return such indices for n images, and how many zeros lead them. The first n/S images,
# rounded up, get stop 0, where S is the number of stops. Each other image gets stop 1 to S - 1, all equally likely.


# %% tags=["exercise"]
def draw_stops(stops, n, generator):
    """The index of each image's λ in `stops`, a tensor (n,) of whole
    numbers, and how many zeros lead it; stops[0] = 0."""
    raise NotImplementedError  # your code instead of this line


# %%
draw_stops = check(draw_stops)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>math.ceil</code>, <code>torch.zeros(...).long()</code>, <code>torch.randint(low, high, (count,), generator=...)</code>, where
# <code>high</code> itself never comes, and <code>torch.cat</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
# def draw_stops(stops, n, generator):
#     n_clean = math.ceil(n / len(stops))
#     n_rest = n - n_clean
#     first = torch.zeros(n_clean).long()
#     rest = torch.randint(1, len(stops), (n_rest,), generator=generator)
#     return torch.cat([first, rest]), n_clean
# ```
# </details>

# %% [markdown]
# ## Second part: the loss
#
# This is what OAT minimises, with weights θ:
#
# $$\min_\theta\; \mathbb{E}_{(x,y),\,\lambda}\Big[(1-\lambda)\,\mathrm{CE}\big(f_\theta(x,\lambda),\,y\big)
# +\lambda \max_{\|x'-x\|_\infty\le\varepsilon}\mathrm{CE}\big(f_\theta(x',\lambda),\,y\big)\Big]$$
#
# The expectation is over images **and** over λ: a batch with a drawn λ for each image estimates it. The maximum is the
# attack of lesson 01. Four images by hand:

# %%
clean4 = torch.tensor([0.5, 0.5, 1.0, 1.5])
attacked3 = torch.tensor([3.0, 2.0, 1.7])  # the first image has λ = 0 and is not attacked
lam4 = torch.tensor([0.0, 0.1, 0.4, 1.0])
first = (1 - lam4) * clean4
second = lam4[1:] * attacked3
print("(1-λ)·clean ", first)
print("λ·attacked          ", second)
print("loss of the batch", (first.sum() + second.sum()) / 4)

# %% [markdown]
# ### Exercise: hybrid_loss
# Difficulty ●●○○○ · 6 minutes. The same for logits. `attacked` has `n_clean` rows fewer than `clean`.


# %% tags=["exercise"]
def hybrid_loss(clean, attacked, y, lam, n_clean):
    """clean (N, classes), attacked (N - n_clean, classes), y (N,), lam
    (N,) -> one number: the mean over all N images."""
    raise NotImplementedError


# %%
hybrid_loss = check(hybrid_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.cross_entropy(..., reduction="none")</code> gives a loss for each image. The attacked images belong to
# <code>y[n_clean:]</code> and <code>lam[n_clean:]</code>. Add two sums, and divide once, by N.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import torch.nn.functional as F
#
# def hybrid_loss(clean, attacked, y, lam, n_clean):
#     clean_losses = F.cross_entropy(clean, y, reduction="none")
#     attacked_losses = F.cross_entropy(attacked, y[n_clean:], reduction="none")
#     clean_part = (1 - lam) * clean_losses
#     attacked_part = lam[n_clean:] * attacked_losses
#     return (clean_part.sum() + attacked_part.sum()) / len(y)
# ```
# </details>

# %% [markdown]
# ## Third part: your network
#
# Now everything that you have built comes together. These are your own parts, if you have solved the exercises.

# %%
pgd = mine("pgd")
DualBN = mine("DualBN")
FiLM = mine("FiLM")
Block = mine("Block")

# %%
torch.manual_seed(seed)
codes = torch.Generator().manual_seed(seed)
classes, channels = len(data.classes), data.shape[0]
net = parts.DialNet(
    Block, cin=channels, classes=classes, generator=codes, norm=DualBN, film=FiLM
)
stop8 = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5])
print("logits", net(data.train.x[:8], stop8).shape)
print("parameters", sum(p.numel() for p in net.parameters()))

# %% [markdown]
# `net(x, stop)` takes images and the stop of each image. It sends an image with stop 0 through the BatchNorm of row 0,
# and every other image through that of row 1, attacked or not.
#
# One step of OAT has four parts.
#
# 1. **Who is attacked?** The images with λ > 0, each at its own λ. The network is in eval mode.
# 2. **Two passes** in training mode, the clean images first: all images, then the attacked ones.
# 3. **The loss**: `hybrid_loss`, with the λ of each image.
# 4. **The gradients**: `backward`.
#
# ### Exercise: oat_step
# Difficulty ●●●○○ · 15 minutes. Write this step. `attack(f, x, y)` returns attacked images; `f` is a function from
# images to logits. Return the loss. The optimiser is not part of the step.


# %% tags=["exercise"]
def oat_step(net, x, y, stop, n_clean, attack, loss):
    """Add the gradients of one batch to the parameters.

    x (N, C, H, W), y (N,); stop (N,) and n_clean are from draw_stops;
    attack(f, x, y) -> x_adv; loss is hybrid_loss -> the loss, one number."""
    raise NotImplementedError


# %%
oat_step = check(oat_step)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>rest = stop[n_clean:]</code> are the stops of the images that are attacked, and
# <code>lambda images: net(images, rest)</code> is the function that the attacker sees. λ itself is
# <code>torch.tensor(net.stops)[stop]</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def oat_step(net, x, y, stop, n_clean, attack, loss):
#     lam = torch.tensor(net.stops)[stop]
#     rest = stop[n_clean:]
#     # 1. attack the images with λ > 0, each at its own λ
#     net.eval()
#     x_adv = attack(lambda images: net(images, rest), x[n_clean:], y[n_clean:])
#     # 2. two passes; BatchNorm learns from both
#     net.train()
#     clean = net(x, stop)
#     attacked = net(x_adv, rest)
#     # 3. and 4. the loss and its gradients
#     value = loss(clean, attacked, y, lam, n_clean)
#     value.backward()
#     return value.detach()
# ```
# </details>

# %% [markdown]
# Is it the step of the library? `as_network` copies your network into one of `oatlib`. Both take one step of SGD with
# the same batch and the same attacked images. Then all weights and all statistics of BatchNorm must agree.

# %% tags=["nbval-check-output"]
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.step import train_step

theirs = parts.as_network(net, data)
x, y = data.train.x[:24], data.train.y[:24]
stop, n_clean = draw_stops(net.stops, 24, torch.Generator().manual_seed(seed))
noise = RADIUS * torch.randn(x[n_clean:].shape, generator=torch.Generator().manual_seed(seed)).sign()


def same_attack(f, x, y, generator=None):
    return (x + noise).clamp(0, 1)


loss = oat_step(net, x, y, stop, n_clean, same_attack, hybrid_loss)
its_loss = train_step(theirs, LambdaBatch(x, y, stop, net.stops), same_attack, None)
for each in (net, theirs):
    torch.optim.SGD(each.parameters(), lr=0.1).step()
    each.zero_grad()
    each.eval()
own = parts.as_network(net, data).state_dict()
close = [torch.allclose(own[key], value, atol=1e-4) for key, value in theirs.state_dict().items()]
print("the same loss:", torch.allclose(loss, its_loss, atol=1e-4))
print("after one step, the same weights and statistics:", all(close))

# %% [markdown]
# ## Train it, live
#
# Around the step stands an ordinary training loop. Two of its lines matter for robustness. In the first fifth of
# training ε grows from 0. And 30 of 100 attacked images get λ = 1 instead of the λ that was drawn, because robust
# features are learned there.

# %%
BATCH, TOTAL = 128, epochs * (len(data.train) // 128)
generator = torch.Generator().manual_seed(seed)


def batch_with_stops():
    """Images, labels, stops and the number of zeros: one random batch."""
    index = torch.randint(len(data.train), (BATCH,), generator=generator)
    stop, n_clean = draw_stops(net.stops, BATCH, generator)
    to_last = torch.rand(BATCH, generator=generator) < 0.3
    to_last[:n_clean] = False
    stop[to_last] = len(net.stops) - 1
    return data.train.x[index], data.train.y[index], stop, n_clean


def train_dial():
    """Train `net` with `oat_step`, yielding the loss after each step."""
    optimizer = torch.optim.SGD(
        net.parameters(), 0.5, momentum=0.9, weight_decay=1e-3, nesterov=True
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, TOTAL, pct_start=0.5, cycle_momentum=False, div_factor=10
    )
    for taken in range(1, TOTAL + 1):
        eps = RADIUS * min(1, 5 * taken / TOTAL)

        def attack(f, x, y, eps=eps):
            return pgd(f, x, y, eps, steps=3, step_size=eps * 5 / 6, generator=generator)

        optimizer.zero_grad()
        loss = oat_step(net, *batch_with_stops(), attack, hybrid_loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        rate.step()
        yield taken, loss.item()


# %%
lesson.predict(
    "yours",
    "after this short training: how robust is your dial where its clean accuracy is 95 %?",
    0,
    80,
)

# %%
live = LiveCurve(
    ["clean, λ = 0", "PGD-5, λ = 1 (an upper bound)"],
    "training step",
    "accuracy on 128 validation images, %",
    x_range=[0, TOTAL],
    y_range=[0, 102],
    takeaway="The clean end is learned first; robustness at the other end grows later.",
)
display(live)
few = data.val.panel(128)
for taken, loss in train_dial():
    if taken % max(1, TOTAL // 16) == 0:
        ends = dials.two_ends(net, few, RADIUS)
        live.add(taken, ends, f"step {taken} of {TOTAL}, loss {loss:.2f}")
yours = parts.as_network(net, data)

# %% [markdown]
# That is your network. Now measure it with the quick suite, the default attack of `oatlib.evaluate`. It is stronger
# than PGD.

# %%
dial = dials.dial_points(yours, data, n=n, seed=seed)
points = [(point["clean"], point["robust"]) for point in dial]
lesson.reveal("yours", 100 * (oatlib.robust_at(points, 0.95) or 0), "a few points depend on the seed.")

# %% [markdown]
# ## What competes with a dial?
#
# The honest competitors cost less thought:
#
# * a **coin**: train an accurate network and a robust one, and toss a coin for each image. With probability p the robust
#   network answers. Its clean and robust accuracy lie on the straight line between the two networks
# * a **dedicated** network for each λ, as in lesson 02, and `pgd-at`, one of them
# * **`blend`**: a network without FiLM that is trained at λ = 0 and λ = 1 only; between them its weights are interpolated
# * the **best possible** rule, which reads both cues perfectly. In this world it is known in closed form
#
# ### Exercise: coin
# Difficulty ●●○○○ · 6 minutes. Choose p so that clean accuracy is at least `clean`, and robust accuracy is as high as
# possible. For networks with accuracies $(c_0, r_0)$ and $(c_1, r_1)$:
#
# $$\mathrm{clean}(p) = (1-p)\,c_0 + p\,c_1, \qquad \mathrm{robust}(p) = (1-p)\,r_0 + p\,r_1$$


# %% tags=["exercise"]
def coin(standard, robust, clean):
    """(clean, robust) of the more accurate and of the more robust network
    -> robust accuracy of the coin; None: no p does it."""
    raise NotImplementedError


# %%
coin = check(coin)

# %% [markdown]
# <details><summary>Hint</summary>
# Solve clean(p) = <code>clean</code> for p. If both networks are accurate enough, p = 1; if neither is, there is no p.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def coin(standard, robust, clean):
#     c0, r0 = standard
#     c1, r1 = robust
#     if clean > c0:
#         return None
#     if clean <= c1:
#         return r1
#     p = (c0 - clean) / (c0 - c1)
#     return (1 - p) * r0 + p * r1
# ```
# </details>

# %% [markdown]
# ### Your dial and the coin between its own ends
#
# The fairest coin is tossed between the two ends of *your* dial: the same network, the same training.

# %%
LEVELS = (0.98, 0.95, 0.9)  # clean accuracies at which trade-offs are compared
reached = {"your dial": [oatlib.robust_at(points, level) for level in LEVELS]}
reached["coin between its own ends"] = [coin(points[0], points[-1], level) for level in LEVELS]

# %%
lesson.predict(
    "six",
    "at clean accuracy 95 %: how robust is one OAT network, if the six dedicated networks count as 100 %?",
    0,
    200,
)

# %%
six = lesson.recorded("six_dedicated", dials.six_dedicated)
others = lesson.recorded("oat_baselines", dials.oat_baselines)["points"]
others |= {"six dedicated": six["six"], "oat": six["oat"]}
pairs = {
    name: [(point["clean"], point["robust"]) for point in found] for name, found in others.items()
}
ends = pairs["standard"][0], pairs["pgd-at"][0]
best = oatlib.best_frontier([i / 100 for i in range(101)])
pairs["best possible"] = [(point.clean, point.robust) for point in best]
reached["coin between standard and pgd-at"] = [coin(*ends, level) for level in LEVELS]
for name, pair in pairs.items():
    reached[name] = [oatlib.robust_at(pair, level) for level in LEVELS]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
COSTS = {
    "your dial": (sum(p.numel() for p in net.parameters()), epochs),
}


def cell(value):
    return "-" if value is None else f"{value:.1%}"


order = ["your dial", "coin between its own ends", "coin between standard and pgd-at"]
order += ["pgd-at", "blend", "six dedicated", "oat", "best possible"]
rows = "\n".join(f"| {name} | " + " | ".join(map(cell, reached[name])) + " |" for name in order)
