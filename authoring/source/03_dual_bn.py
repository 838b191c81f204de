# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 45
# ---

# %% [markdown]
# # 03 · Is it really the statistics?
#
# **You will be able to**
#
# * work out by hand what BatchNorm does to a batch, in train mode and in eval mode
# * build a dual BatchNorm, put it into a network, and train that network with half of each batch attacked
# * test a claim of a paper by an ablation that you assemble yourself, and give a verdict by evidence
# * find a change of the images for which separate statistics do matter
# * recognise a robust accuracy that is too good because the attack saw another BatchNorm than the answer
#
# **Before this:** [02 · Adversarial training](02_adversarial_training.ipynb) · **Run time:** about 45 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 256  # 64 to 512: validation images that are measured and attacked
steps: int = 160  # 20 to 600: training steps of the network that you build
epochs: int = 5  # 1 to 30: of training, only where no shipped network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train `blend` here (minutes) instead of loading the shipped network
recompute: bool = False  # train the 30 networks of the ablation again (about 6 minutes)

# %%
from functools import partial

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib.course import figures, two_worlds
from oatlib.course.diagram import diagram
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions
from oatlib.layers import dual_bn

lesson = begin("03_dual_bn", globals())
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
x, y = panel.x, panel.y
record = lesson.recorded("bn_ways", lambda: two_worlds.ablation(data))

# %% [markdown]
# ## The question
#
# Lesson 02 left a choice: a network for clean images, or one for attacked images. Can one network be both?
# The obvious try is **half and half**: half of each training batch stays clean, the other half is attacked.
# All images go through the same layers, with one ordinary **BatchNorm** behind each conv.


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_runs(runs, takeaway, height=400):
    """One point per seed, {name: [{"clean", "robust", "n"}]}."""
    fig = figures.frontier(runs, height=height, takeaway=takeaway)
    fig.update_traces(mode="markers", marker={"size": 10})
    fig.update_xaxes(range=[40, 102])
    return fig.update_yaxes(range=[-4, 65])


one_norm = [run[0] for run in record["not told"]["nothing"]]
draw_runs(
    {
        "trained on clean images": record["clean only"],
        "trained on attacked images": record["attacked only"],
        "half and half, one BatchNorm": one_norm,
    },
    "Half and half gives a robust network. It lies near the one trained on attacked images.",
)


# %%
def described(runs, key):
    """Mean over seeds of an accuracy, and the smallest and the largest value."""
    values = [run[key] for run in runs]
    return f"{sum(values) / len(values):.1%} ({min(values):.1%} to {max(values):.1%})"


low, high = oatlib.wilson(one_norm[0]["n"] // 2, one_norm[0]["n"])
say(
    f"Half and half, one BatchNorm: clean {described(one_norm, 'clean')}, robust "
    f"{described(one_norm, 'robust')}. Means of {len(one_norm)} seeds (smallest to largest), "
    f"n = {one_norm[0]['n']} validation images each, quick suite at 8/255, recorded. "
    f"The 95 % interval of a single accuracy is at most ±{(high - low) / 2:.1%}."
)

# %% [markdown]
# Nothing has failed here. This is a good robust network, and it kept much of its clean accuracy.
# What is missing is a **second setting**: there is one answer per image, and nothing to choose.
#
# ## The claim
#
# *Xie and Yuille (2020)* looked at BatchNorm. They report that clean and attacked images have **different statistics**:
# different means and variances of the channels. So a BatchNorm for both estimates a mixture that fits neither.
# Their remedy is a BatchNorm for each: BN_c for clean images and BN_a for attacked ones. This is **dual BatchNorm**.
#
# *Xie et al. (2020)*, AdvProp, use it for another aim. There the attacked images are extra training data that may
# **raise clean accuracy**, as long as they do not disturb BN_c. At test time the branch BN_a may be dropped.

# %%
diagram("03")

# %% [markdown]
# We write **world 0** for clean images and **world 1** for attacked ones. Dual BatchNorm changes three things at once:
# each world gets its own statistics, its own learned scale and shift, and the network is told the world.
# Which of them makes the second setting?

# %%
lesson.predict(
    "part",
    "Which part of dual BatchNorm is enough, alone, to give one network two settings?",
    options=["the statistics", "scale and shift", "only both together"],
)

# %% [markdown]
# ## By hand: six images, three channels
#
# Six images arrive at a BatchNorm: three clean ones, then three attacked ones. Each has three channels of one pixel. In this
# made-up example the attack moves channel 1 up, spreads channel 2 and moves channel 3 down.

# %%
clean = torch.tensor([[1.0, 0.5, 3.0], [2.0, 0.0, 4.0], [3.0, -0.5, 5.0]])
attacked = torch.tensor([[5.0, 2.0, -1.0], [6.0, 0.0, 0.0], [7.0, -2.0, 1.0]])
batch = torch.cat([clean, attacked])  # (6, 3)
print(batch)

# %% [markdown]
# BatchNorm takes the mean $\mu_c$ and the variance $\sigma_c^2$ of each channel $c$ over the batch, and normalises:
#
# $$z_c = \frac{x_c - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}$$

# %%
mean = batch.mean(0)  # (3,)
var = batch.var(0, correction=0)  # (3,)
z = (batch - mean) / (var + 1e-5).sqrt()
print("mean", mean, "\nvar ", var)
print(z)


# %% [markdown]
# Channel 1 of the clean images is now negative in all three rows, and a ReLU would set it to 0. The learned shift
# in between can raise it, but it raises all six images by the same amount. Now each world by itself:


# %%
def normalise(group):
    return (group - group.mean(0)) / (group.var(0, correction=0) + 1e-5).sqrt()


print(torch.cat([normalise(clean), normalise(attacked)]))


# %% [markdown]
# The two worlds look alike now. Move them yourself: where must they be for one BatchNorm to do harm?


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_groups(shift, spread, share, norms):
    """One channel before and behind the norm: clean values from N(0, 1), attacked ones moved and spread."""
    generator = torch.Generator().manual_seed(seed)
    plain = torch.randn(round(4000 * (1 - share)), 1, generator=generator)
    moved = shift + spread * torch.randn(round(4000 * share), 1, generator=generator)
    behind = [normalise(plain), normalise(moved)]
    if norms == "one BatchNorm":
        behind = normalise(torch.cat([plain, moved])).split([len(plain), len(moved)])
    below = [f"{(values < 0).float().mean():.0%}" for values in behind]
    fig = make_subplots(1, 2, subplot_titles=["before the norm", "behind it"])
    for column, groups in enumerate(((plain, moved), behind), 1):
        for trace in figures.histograms(dict(zip(("clean", "attacked"), groups, strict=True))).data:
            fig.add_trace(trace.update(showlegend=column == 1), row=1, col=column)
    takeaway = f"Behind the norm, {below[0]} of the clean and {below[1]} of the attacked values are negative."
    figures.layout(fig, height=320, takeaway=takeaway).update_layout(legend_y=1.12)
    return fig.update_xaxes(range=[-8, 8], title="value of the channel"), takeaway


sliders(
    draw_groups,
    shift=(-4.0, 4.0, 0.1),
    spread=(0.2, 4.0, 0.1),
    share=(0.1, 0.9, 0.1),
    norms=["one BatchNorm", "one each"],
    labels={"shift": "attacked: moved by", "spread": "times wider", "share": "share of attacked images"},
    start_at={"shift": 3.0, "spread": 1.0, "share": 0.5},
)

# %% [markdown]
# ### Exercise: batch_norm
# Difficulty ●●○○○ · 8 minutes. The function behind the layer, without scale and shift. In training it normalises with the
# statistics of the batch and updates the **running** ones: $\mu \leftarrow (1-m)\,\mu + m\,\mu_{batch}$, with the momentum
# $m$; the running variance likewise. In eval mode it uses the running statistics and changes nothing.


# %% tags=["exercise"]
def batch_norm(x, mean, var, training=True, momentum=0.1, eps=1e-5):
    """x (N, C, H, W), running mean and var (C,): return x
    normalised per channel, the new mean and the new var."""
    raise NotImplementedError


# %%
batch_norm = check(batch_norm)

# %% [markdown]
# <details><summary>Hint</summary>
# A channel is averaged over images, rows and columns: dims (0, 2, 3). To subtract a tensor of shape (C,) from (N, C, H, W),
# write <code>mean[:, None, None]</code>. Within the batch, the variance divides by n (<code>correction=0</code>). The
# running variance divides by n - 1, which is torch's default.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def batch_norm(x, mean, var, training=True, momentum=0.1, eps=1e-5):
#     now_mean, now_var = mean, var
#     if training:
#         now_mean = x.mean((0, 2, 3))
#         now_var = x.var((0, 2, 3), correction=0)
#         mean = (1 - momentum) * mean + momentum * now_mean
#         var = (1 - momentum) * var + momentum * x.var((0, 2, 3))
#     z = (x - now_mean[:, None, None]) / (now_var[:, None, None] + eps).sqrt()
#     return z, mean, var
# ```
# </details>

# %% [markdown]
# How fast do the running statistics follow? Batches with mean 5 and standard deviation 2:

# %%
mean, var = torch.zeros(1), torch.ones(1)
generator = torch.Generator().manual_seed(seed)
for batch_number in range(1, 31):
    features = 5 + 2 * torch.randn(64, 1, 4, 4, generator=generator)
    _, mean, var = batch_norm(features, mean, var)
    if batch_number in (1, 3, 10, 30):
        print(f"after {batch_number:2} batches: mean {mean.item():.2f}, var {var.item():.2f}")

# %% [markdown]
# ### Exercise: DualBN
# Difficulty ●●●●○ · 20 minutes. Now the layer. `scale`, `shift`, `mean` and `var` have the shape (2, C): one row per world.
# They start at 1, 0, 0 and 1. The first two are trained (parameters), the others are measured (buffers).
# An image of world $k$ becomes
#
# $$\text{scale}_{k} \cdot z + \text{shift}_{k}$$
#
# where z uses the statistics of the images of world $k$ in the batch, or row $k$ of the running ones in eval mode.
# The worlds come in any order. A batch may hold only one of them. Lessons 04 and 05 use your class.


# %% tags=["exercise"]
class DualBN(nn.Module):
    """channels: number of channels C."""

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        raise NotImplementedError

    def forward(self, x, world):
        """x (N, C, H, W), world (N,) of 0 and 1 -> (N, C, H, W)."""
        raise NotImplementedError


# %%
DualBN = check(DualBN)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>self.register_buffer("mean", torch.zeros(2, channels))</code> makes a buffer. <code>x[world == row]</code> are the
# images of a world, and you can assign to <code>out[world == row]</code>. Update the running statistics in place, under
# <code>torch.no_grad()</code>. <code>self.training</code> says which mode it is.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class DualBN(nn.Module):
#     def __init__(self, channels, momentum=0.1, eps=1e-5):
#         super().__init__()
#         self.momentum, self.eps = momentum, eps
#         self.scale = nn.Parameter(torch.ones(2, channels))
#         self.shift = nn.Parameter(torch.zeros(2, channels))
#         self.register_buffer("mean", torch.zeros(2, channels))
#         self.register_buffer("var", torch.ones(2, channels))
#
#     def forward(self, x, world):
#         out = torch.empty_like(x)
#         for row in (0, 1):
#             part = x[world == row]
#             if len(part) == 0:
#                 continue
#             mean, var = self.mean[row], self.var[row]
#             if self.training:
#                 mean = part.mean((0, 2, 3))
#                 var = part.var((0, 2, 3), correction=0)
#                 with torch.no_grad():
#                     self.mean[row].lerp_(mean, self.momentum)
#                     self.var[row].lerp_(part.var((0, 2, 3)), self.momentum)
#             z = (part - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()
#             scale, shift = self.scale[row], self.shift[row]
#             out[world == row] = z * scale[:, None, None] + shift[:, None, None]
#         return out
# ```
# </details>

# %% [markdown]
# ### Equal to the library?
#
# `oatlib` keeps two `nn.BatchNorm2d`, named `clean` and `adv`. It takes a batch sorted by world, as runs of (world, number
# of images). Compare three batches in train mode and one in eval mode:

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(seed)
built, library = DualBN(8), dual_bn.DualBN(8)
world = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0])
order = torch.argsort(world, stable=True)  # 7 clean images, then 5 attacked ones
for training in (True, True, True, False):
    built.train(training)
    library.train(training)
    features = torch.randn(12, 8, 5, 5, generator=generator) + world.view(-1, 1, 1, 1)
    expected = library(features[order], ((0, 7), (1, 5)))
    print("equal:", torch.allclose(built(features, world)[order], expected, atol=1e-5))
print("running means equal:", torch.allclose(built.mean[1], library.adv.running_mean, atol=1e-5))
print("running variances equal:", torch.allclose(built.var[1], library.adv.running_var, atol=1e-5))

# %% [markdown]
# ### Exercise: SmallNet
# Difficulty ●●○○○ · 10 minutes. Put it into a network: `convs` and `norms` are `nn.ModuleList`s of three layers each, with
# 16, 32 and 64 channels and strides 1, 2, 2. The convs are 3×3 with padding 1 and no bias. `head` is linear.
# Forward: centre the pixels, (x - 0.5)·4; three times conv → norm → ReLU; mean over the pixels; head.


# %% tags=["exercise"]
class SmallNet(nn.Module):
    """norm: class of the norms, called as norm(channels)."""

    def __init__(self, norm, cin=3, classes=8):
        super().__init__()
        raise NotImplementedError

    def forward(self, x, world):
        """x (N, C, H, W), world (N,) -> logits (N, classes)."""
        raise NotImplementedError


# %%
SmallNet = check(SmallNet)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>nn.Conv2d(cin, 16, 3, 1, padding=1, bias=False)</code> is the first conv. A norm is called with two arguments,
# <code>norm(x, world)</code>. The mean over the pixels is <code>x.mean((2, 3))</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class SmallNet(nn.Module):
#     def __init__(self, norm, cin=3, classes=8):
#         super().__init__()
#         sizes = [(cin, 16, 1), (16, 32, 2), (32, 64, 2)]
#         self.convs = nn.ModuleList(
#             nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
#             for before, after, stride in sizes
#         )
#         self.norms = nn.ModuleList(norm(after) for _, after, _ in sizes)
#         self.head = nn.Linear(64, classes)
#
#     def forward(self, x, world):
#         x = (x - 0.5) * 4
#         for conv, norm in zip(self.convs, self.norms):
#             x = torch.relu(norm(conv(x), world))
#         return self.head(x.mean((2, 3)))
# ```
# </details>

# %% [markdown]
# ### Exercise: half_step
# Difficulty ●●●○○ · 12 minutes. One training step, half and half. The first half of the batch stays clean, in world 0. The
# second half is attacked, in world 1. `attack(f, x, y)` needs a function f from images to logits: give it the network as
# it will answer attacked images, in world 1 and in eval mode. Then one forward of the whole batch, in train mode:
#
# $$\text{loss} = \tfrac12\,L(\text{clean images, world 0}) + \tfrac12\,L(\text{attacked images, world 1})$$


# %% tags=["exercise"]
def half_step(net, optimizer, x, y, attack):
    """x (N, C, H, W), labels y (N,): take one step,
    return the loss as a number."""
    raise NotImplementedError


# %%
half_step = check(half_step)

# %% [markdown]
# <details><summary>Hint</summary>
# The worlds of the batch are <code>(torch.arange(len(x)) >= half).long()</code>. For the attack, write
# <code>lambda images: net(images, torch.ones(len(images)).long())</code>. With equal halves, the mean cross-entropy of the
# batch is the formula above.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def half_step(net, optimizer, x, y, attack):
#     half = len(x) // 2
#     world = (torch.arange(len(x)) >= half).long()
#     net.eval()
#     in_world_1 = lambda images: net(images, torch.ones(len(images)).long())
#     x_adv = attack(in_world_1, x[half:], y[half:])
#     net.train()
#     loss = F.cross_entropy(net(torch.cat([x[:half], x_adv]), world), y)
#     optimizer.zero_grad()
#     loss.backward()
#     optimizer.step()
#     return loss.item()
# ```
# </details>

# %% [markdown]
# ## Train what you built
#
# The attack is your `pgd` of lesson 01, with three steps. A short training, so expect modest numbers.

# %%
pgd = mine("pgd")
net = two_worlds.seeded(partial(SmallNet, DualBN), seed)
optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, nesterov=True)
generator = torch.Generator().manual_seed(seed)
weak = partial(pgd, eps=8 / 255, steps=3, step_size=4 / 255, generator=generator)
for step in range(steps):
    optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / steps)
    index = torch.randint(len(data.train), (128,), generator=generator)
    loss = half_step(net, optimizer, data.train.x[index], data.train.y[index], weak)
net.eval()
own = two_worlds.measured(net, panel)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
rows = [
    f"| world {world} | {interval} |"
    for world, interval in enumerate(
        " | ".join(
            "{:.1%} ({:.1%} to {:.1%})".format(point[key], *oatlib.wilson(round(point[key] * n), n))
            for key in ("clean", "robust")
        )
        for point in own
    )
]
table = "\n".join(["| your network | clean accuracy | robust accuracy |", "|---|---|---|", *rows])
say(f"{table}\n\nAfter {steps} steps, with 95 % intervals, n = {n}, quick suite at 8/255.")

# %% [markdown]
# One network, two settings: every image gets two answers, and you choose the world.
#
# **World or λ?** At test time nobody knows whether an image is attacked. The world is a *choice*: world 1 means "answer
# robustly", for clean images too. Once-for-all adversarial training (OAT, lesson 05) chooses by λ, the weight of robustness:
# λ = 0 uses BN_c, any λ > 0 uses BN_a. For 0 < λ < 1 its loss counts clean and attacked images, so BN_a sees both in
# training. In OAT the branches are not "clean and attacked", but "λ = 0 and λ > 0".

# %% [markdown]
# ## The ablation: you assemble it
#
# Tick what each world has to itself. *Told by an extra channel* adds a fourth input channel, of one grey in world 0 and
# another in world 1. Each point is a network trained from one of three seeds. Tick one box at a time.


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_arm(statistics, scales, told):
    """The recorded networks of one combination, in both worlds."""
    way = next(name for name, parts in two_worlds.WAYS.items() if parts == (statistics, scales))
    runs = record["told" if told else "not told"][way]
    clean = [sum(run[world]["clean"] for run in runs) / len(runs) for world in (0, 1)]
    robust = [sum(run[world]["robust"] for run in runs) / len(runs) for world in (0, 1)]
    verdict = (
        f"World 0: clean {clean[0]:.1%}, robust {robust[0]:.1%}. "
        f"World 1: clean {clean[1]:.1%}, robust {robust[1]:.1%}. Means of {len(runs)} seeds."
    )
    series = {f"answered in world {world}": [run[world] for run in runs] for world in (0, 1)}
    fig = draw_runs(series, verdict)
    fig.data[0].marker.update(size=18, symbol="circle-open", line={"width": 2})  # seen under world 1
    return fig, f"<b>{verdict}</b>"


sliders(
    draw_arm,
    statistics=False,
    scales=False,
    told=False,
    labels={
        "statistics": "separate statistics",
        "scales": "separate scale and shift",
        "told": "told by an extra channel",
    },
)

# %% [markdown]
# Where there is only one setting, the two worlds lie on each other. All combinations in one table:

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
lines = ["| separate | told | clean, world 0 | robust, world 0 | clean, world 1 | robust, world 1 |"]
lines.append("|---|---|---|---|---|---|")
for told in ("not told", "told"):
    for way, runs in record[told].items():
        cells = [described([run[world] for run in runs], key) for world in (0, 1) for key in ("clean", "robust")]
        lines.append(f"| {way} | {told} | {' | '.join(cells)} |")
lines.append(
    f"| *two networks* | | {described(record['clean only'], 'clean')} | "
    f"{described(record['clean only'], 'robust')} | {described(record['attacked only'], 'clean')} | "
    f"{described(record['attacked only'], 'robust')} |"
)
say("\n".join(lines))


# %%
def difference(way, told="not told"):
    """Clean accuracy in world 0 minus that in world 1, in points, for each seed."""
    return [100 * (run[0]["clean"] - run[1]["clean"]) for run in record[told][way]]


enough = [way for way in ("statistics", "scale and shift") if min(difference(way)) > 5]
answer = " and ".join(enough) or "only both together"
lesson.reveal("part", answer, "alone it sets the worlds more than 5 points apart, with every seed.")


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
BOTH = "statistics, scale and shift"


def range_of(values):
    return f"{min(values):+.1f} to {max(values):+.1f} points"


def world_1(way, key, told="not told"):
    return described([run[1] for run in record[told][way]], key)


say(
    f"**Exhibit 1.** Clean accuracy in world 0 minus that in world 1, over the seeds. Separate statistics alone: "
    f"{range_of(difference('statistics'))}. Separate scale and shift alone: {range_of(difference('scale and shift'))}. "
    f"Both: {range_of(difference('statistics, scale and shift'))}. Only the extra channel: "
    f"{range_of(difference('nothing', 'told'))}.\n\n"
    f"**Exhibit 2.** Robust accuracy in world 1, mean and range of the seeds. Scale and shift: "
    f"{world_1('scale and shift', 'robust')}. Statistics, scale and shift: {world_1(BOTH, 'robust')}. "
    f"For comparison, nothing separate: {world_1('nothing', 'robust')}, at clean accuracy "
    f"{world_1('nothing', 'clean')} instead of {world_1(BOTH, 'clean')}. A network trained on attacked "
    f"images only: {described(record['attacked only'], 'robust')}."
)

# %% [markdown]
# A second set of **statistics** alone gives the same network twice. A second **scale and shift** alone gives two settings.
# Even one extra channel does it, without a second BatchNorm. *Trained* numbers must depend on the world. Statistics are not
# trained.
#
# Exhibit 2 adds two things. Once scale and shift are separate, separate statistics make world 1 more robust. So they do
# something after all; keep that in mind. And the second setting is not free: world 1 is no more robust than the network
# with nothing separate, and less accurate. A network for attacked images only is far more robust. Here one network, with shared convs, does both.
#
# ## Do the statistics differ at all?
#
# Look into a real network that was trained with dual BatchNorm: `blend`, shipped with `oatlib`.
#
# ### Exercise: gap
# Difficulty ●○○○○ · 5 minutes. How far apart are two sets of features? In each of the $C$ channels, take the distance of the means in
# standard deviations of the first set. Then average over the channels:
#
# $$d = \frac1C \sum_c \frac{|\mu_c - \mu'_c|}{\sigma_c}$$


# %% tags=["exercise"]
def gap(first, second):
    """first (N, C, H, W), second (M, C, H, W) -> a number."""
    raise NotImplementedError


# %%
gap = check(gap)

# %% [markdown]
# <details><summary>Hint</summary>
# Means and standard deviations are taken over dims (0, 2, 3), as in BatchNorm. Take the absolute value in each channel,
# before you average.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def gap(first, second):
#     distance = (first.mean((0, 2, 3)) - second.mean((0, 2, 3))).abs()
#     spread = first.std((0, 2, 3))
#     return (distance / spread).mean().item()
# ```
# </details>

# %%
blend = lesson.network("blend", data)
branch = {"BN_c": blend.at(0.0), "BN_a": blend.at(1.0)}
attack = oatlib.PGD(8 / 255, steps=20)
hard = {name: attack(f, x, y, torch.Generator().manual_seed(seed)) for name, f in branch.items()}
# (images, λ) -> {layer: what arrives at its norm}
features = partial(two_worlds.before_norms, blend)

# %% [markdown]
# Clean images through BN_c and attacked images through BN_a are some distance apart. Now the **control**: send the *same
# clean images* through both. No image is attacked.

# %%
lesson.predict("remains", "How much of the distance remains in the control?", 0, 120)

# %%
pairs = {
    "clean through BN_c, attacked through BN_a": (features(x, 0.0), features(hard["BN_a"], 1.0)),
    "control: the same clean images through each": (features(x, 0.0), features(x, 1.0)),
    "clean and attacked, both through BN_c": (features(x, 0.0), features(hard["BN_c"], 0.0)),
    "clean and attacked, both through BN_a": (features(x, 1.0), features(hard["BN_a"], 1.0)),
}
gaps = {}
for name, (one, other) in pairs.items():
    gaps[name] = [gap(one[layer], other[layer]) for layer in one]
averages = [sum(values) / len(values) for values in gaps.values()]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
layers = [name.replace("blocks.", "block ").replace(".", "<br>") for name in pairs[next(iter(pairs))][0]]
takeaway = (
    f"Mean over the layers: {averages[0]:.2f} standard deviations, {averages[1]:.2f} in the control without any "
    f"attack, {averages[2]:.2f} and {averages[3]:.2f} by the attack alone."
)
fig = figures.lines(layers, gaps, x_name="layer", y_name="distance, standard deviations", height=420, takeaway=takeaway)
fig.data[0].marker.update(size=15, symbol="circle-open", line={"width": 2})
fig

# %%
share = 100 * averages[1] / averages[0]
lesson.reveal("remains", share, "what is left without any attack is caused by the branches.")

# %%
say(
    f"**Exhibit 3.** Mean over the layers of `blend`, n = {n}, PGD-20 at 8/255. Each world in its "
    f"own branch: **{averages[0]:.2f}** standard deviations apart. The same clean images in both "
    f"branches: **{averages[1]:.2f}**. The attack alone moves the means by {averages[2]:.2f} in "
    f"BN_c and by {averages[3]:.2f} in BN_a."
)

# %% [markdown]
# Here the attack hardly moves the means. Scale and shift of the two branches turn the same image into different features.
# So different statistics are a *consequence* of the two settings, not their cause. This is a likely reason for exhibit 2: once
# the branches have pushed the features apart, the statistics of the mixture fit neither.
#
# ## When it is the statistics
#
# Are separate statistics useless? A conv is linear. If all pixels become $a\,x + b$, then, away from the border, mean and
# standard deviation of each channel become $a\,\mu + b\,s$ and $a\,\sigma$, with the sum $s$ of its weights. Statistics of
# its own remove such a change:
#
# $$z' = \frac{(a\,x + b\,s) - (a\,\mu + b\,s)}{a\,\sigma} = z$$

# %%
changed = 0.1 * clean + 5
print(torch.allclose(normalise(changed), normalise(clean), atol=1e-2))

# %% [markdown]
# ### Exercise: second_domain
# Difficulty ●●●●● · 20 minutes, open. Invent a change of the images that makes separate statistics matter. The check trains
# on images and changed images, half and half, without any attack: once with one BatchNorm, once with separate statistics
# (scale and shift stay common). On changed images, separate statistics must win by at least 15 points. How large can you
# make the difference?


# %% tags=["exercise"]
def second_domain(x):
    """x (N, 3, H, W) in [0, 1] -> changed images, same shape, in [0, 1]."""
    raise NotImplementedError


# %%
second_domain = check(second_domain)

# %% [markdown]
# <details><summary>Hint</summary>
# Less contrast alone is not enough: a ReLU network copes with a smaller scale. Move the mean of all pixels as well, by
# more than their spread.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def second_domain(x):
#     contrast = 0.1
#     brightness = 0.8
#     return brightness + contrast * x
# ```
# </details>

# %%
found = two_worlds.domain_test(second_domain)
ways = ("one BatchNorm", "two sets of statistics")
takeaway = f"On changed images: {found[ways[0]][1]:.1%} against {found[ways[1]][1]:.1%}."
shares = {way: found[way] for way in ways}
figures.bars(["images as they are", "changed images"], shares, n=found["n"][0], takeaway=takeaway)

# %% [markdown]
# The claim is sound where the statistics differ. An attack of 8/255 on these images is no such case. Separate statistics do
# not restore everything: the padding at the border does not change with the image.
#
# ## A new way to measure wrongly
#
# With two branches you can attack one and answer with the other. Here are six images, attacked through BN_a of `blend`.


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def answers_to(images):
    """What each branch answers to six images."""
    said = {name: f(images).argmax(1).tolist() for name, f in branch.items()}
    return ["<br>".join(f"{name}: {data.classes[said[name][i]]}" for name in said) for i in range(6)]


figures.images(
    {"image": x[:6], "change × 16": figures.change(x, hard["BN_a"], 16)[:6], "attacked": hard["BN_a"][:6]},
    {"image": figures.stacked(captions(data, panel, range(6)), answers_to(x)), "attacked": answers_to(hard["BN_a"])},
    takeaway="Six images before and after an attack through BN_a, with the answers of both branches.",
)

# %% [markdown]
# The class is that of the invisible texture. A vivid shape always agrees with it, a faint one often lies.

# %%
lesson.predict("rosy", "Attacked through BN_a, answered by BN_c: how many are right?", 0, 100)

# %%
seen = {"clean": x, "attacked through BN_c": hard["BN_c"], "attacked through BN_a": hard["BN_a"]}
right = {}
for name, f in branch.items():
    shares = [(f(images).argmax(1) == y).double().mean().item() for images in seen.values()]
    right[f"answered by {name}"] = shares
rosy, true = right["answered by BN_c"][2], right["answered by BN_c"][1]
takeaway = f"BN_c is right on {rosy:.1%} if the attack saw BN_a, and on {true:.1%} if it saw BN_c."
figures.bars(list(seen), right, n=n, y_name="accuracy, % (PGD-20)", takeaway=takeaway)

# %%
lesson.reveal("rosy", 100 * rosy, f"under an attack that sees BN_c it is {true:.1%}.")

# %% [markdown]
# PGD-20 gives upper bounds. The rule: **the attack sees exactly what answers**. And never quote the clean accuracy of BN_c beside the robust accuracy
# of BN_a, as if one setting had both.
#
# ## Is this sane?

# %% tags=["nbval-check-output"]
f = two_worlds.in_world(net, 1)
kept = net.norms[0].mean.clone()
losses = []
for k in (1, 3, 10):
    x_adv = pgd(f, x, y, 8 / 255, k, 2 / 255, torch.Generator().manual_seed(seed))
    losses.append(F.cross_entropy(f(x_adv), y).item())
(wide,) = oatlib.evaluate(f, panel, oatlib.PGD(0.5, 20), progress=False)
still = (f(oatlib.PGD(0.0, 5)(f, x, y)).argmax(1) == y).double().mean().item()
print("ε = 0 gives clean accuracy:", still == own[1]["clean"])
print("ε = 0.5 leaves less than a tenth:", wide.robust < 0.1)
print("the loss rises with the steps of PGD:", losses[0] < losses[1] < losses[2])
print("attacks leave the running statistics as they were:", torch.equal(kept, net.norms[0].mean))

# %% [markdown]
# ## The verdict
#
# | part of the claim | evidence | here |
# |---|---|---|
# | A BatchNorm for each world gives one network two settings | your network, exhibit 1 | **yes** |
# | because attacked images have other statistics | exhibits 1 and 3 | **no**: because of scale and shift |
# | A mixture of statistics hurts when they differ | exhibit 2, `second_domain` | **yes** |
# | One BatchNorm cannot serve both worlds | extra channel | **no**: but the network has to be told |
#
# > **Pitfalls**
# > * *Sorting the batch by world and forgetting the labels*: put the answers back in order.
# > * *Attacking in train mode*: the running statistics then learn from half-made attacks.
# > * *Attacking one branch and answering with the other*: the accuracy is too good.
# > * *Very few images of one world in a batch*: their mean is noise.
# > * *Running statistics with gradients*: memory grows with every step.
# > * *Judging by one seed*: look at all points, and at their intervals.
#
# ## What we showed, and what we did not show
#
# Scale and shift make the second setting. Separate statistics gave none alone, but made world 1 more robust.
# **What we did not show:** that this holds elsewhere. For large networks and photographs, Xie and Yuille measured different
# statistics. Our networks are small and trained briefly, and longer attacks may lower their robust accuracies. Nor did we
# test AdvProp's gain in clean accuracy. And two settings are not yet a dial: nothing was trained between them.
#
# ## Try this
#
# * Set `steps` to 600. Does world 1 of your network come close to the recorded ones?
# * Attack with ε = 32/255 (change `attack`). Does the attack move the statistics now?
#
# ## Sources
#
# * Ioffe and Szegedy 2015, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*
# * Xie and Yuille 2020, *Intriguing Properties of Adversarial Training at Scale*
# * Xie et al. 2020, *Adversarial Examples Improve Image Recognition* (AdvProp)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free*
#
# **Next:** [04 · FiLM](04_film.ipynb): a scale and a shift made the second setting. What if a network computes them from λ?

# %%
results = {"own": own, "gaps": averages, "right": right, "second_domain": found}
lesson.finish(**results, attack=str(attack), n=n, seeds=record["seeds"])
