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
# # 03 · Does it help to give clean and attacked images a BatchNorm each?
#
# **You will be able to**
#
# * work out by hand what BatchNorm does to a mixed batch, and what it keeps for later
# * build a dual BatchNorm, and say of each image which way it went
# * measure, layer by layer, how far the two crowds are apart, and who has pushed them apart
# * recognise a robust accuracy that is too good because the attack saw another branch than the answer
#
# **Before this:** [02 · Adversarial training](02_adversarial_training.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images (8/255 does little to digits)
n: int = 256  # 32 to 512: validation images that are attacked (digits has 200)
epochs: int = 5  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (minutes) instead of loading those that come along
recompute: bool = False  # train again in the first world (minutes), do not read records

# %%
from itertools import pairwise

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import PGD, Preset
from oatlib.attacks import robust_accuracy
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.data.load import batches
from oatlib.data.shapes import CONSTANT_TRUST
from oatlib.explorer.description import captions
from oatlib.layers.dual_bn import DualBN
from oatlib.layers.slim import SlimNorm

lesson = begin("03_dual_bn", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n = panel.x, panel.y, len(panel)
attack = PGD(8 / 255, steps=20)

# %% [markdown]
# ## The failure
#
# Lesson 02 left you with a choice: a network for clean images, or one for attacked ones. Now one network shall serve both.
# The obvious try: half of each training batch stays clean, half is attacked, and all of it goes through the same layers, the
# usual **BatchNorm** included, which gives each channel of a batch mean 0 and variance 1.
#
# Such trainings take minutes, so this one is read from a record. The record was made in the **first world** of this course,
# where every shape lies equally often, however vivid it is, and with its trainer (two attack steps). So were the two
# networks beside it in the picture. Do not compare these numbers with those of today's images below.


# %%
# how networks of the first world were trained
FIRST = Preset(epochs=8, batch=64, lr=0.4, margin=1.25, steps=2, step_size=7.5 / 255, aimed=0.0)


def first_world():
    """The images of the first world."""
    return oatlib.load_data("shapes", seed=seed, n_train=4096, **CONSTANT_TRUST)


def standing(f, x=x, y=y):
    """Accuracy of a plain network on the panel, and what is left of it after each image was attacked in turn."""
    with torch.no_grad():
        clean = (f(x).argmax(1) == y).double().mean().item()
    robust = robust_accuracy(f, x, y, attack, torch.Generator().manual_seed(seed))
    return {"clean": clean, "robust": robust, "n": len(y)}


# %%
def half_and_half(net, data, seed):
    """Train a network with half of each batch clean (λ = 0) and half attacked (λ = 1); `standing` at both ends."""
    preset, generator = FIRST, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), preset.lr, preset.momentum, weight_decay=5e-4, nesterov=True)
    size, half = preset.batch, preset.batch // 2
    lam, total = (torch.arange(size) >= half).float(), preset.epochs * (len(data.train) // size)
    walk = (i for _ in range(preset.epochs) for i in batches(len(data.train), size, generator, drop_last=True))
    for step, index in enumerate(walk):
        images, labels = data.train.x[index], data.train.y[index]
        f = net.bind(lam[half:])  # the network as attacked images will meet it, in evaluation mode
        hard = preset.attack(step / total)(f, images[half:], labels[half:], generator)
        logits = net.train()(torch.cat([images[:half], hard]), lam)  # one forward, one batch
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        nn.utils.clip_grad_norm_(net.parameters(), preset.clip)
        optimizer.param_groups[0]["lr"] = preset.learning_rate(step / total, 0)
        optimizer.step()
        net.eval()
    judged = data.val.panel(256)
    return [standing(net.at(end), judged.x, judged.y) | {"lam": end} for end in (0.0, 1.0)]


# %%
lesson.predict(
    "which",
    "half of the training images clean, half attacked, one BatchNorm for all: which does the network come to resemble?",
    options=["the ordinary one", "something half-way", "the one trained on attacked images"],
)


# %%
def runs(tie=None, **options):
    """`half_and_half` in the first world from three seeds, for networks of some options."""
    data, found = first_world(), []
    for each in (seed, seed + 1, seed + 2):
        net = oatlib.build("blend", data, seed=each, **options)
        found.append(half_and_half(tie(net) if tie else net, data, each))
    return found


def by_themselves():
    """`standing` of a network for clean images and of one for attacked images, in the first world."""
    data, found = first_world(), {}
    for name, options in (("standard", {}), ("pgd-at", {"lam": 1.0})):
        net = oatlib.build(name, data, seed=seed, **options)
        oatlib.train(net, data, FIRST, seed, progress=False)
        judged = data.val.panel(256)
        found[name] = standing(net.at(), judged.x, judged.y)
    return found


one = lesson.recorded("one_batchnorm", lambda: {"alone": by_themselves(), "runs": runs(dual=False)})
points = {f"{name}, alone": [point] for name, point in one["alone"].items()}
points["half and half, one BatchNorm, 3 seeds"] = [run[0] for run in one["runs"]]
figures.frontier(points, title="First world: what one BatchNorm for both makes of a network")

# %%
apart = [
    abs(at[0]["clean"] - one["runs"][0][0]["clean"]) + abs(at[0]["robust"] - one["runs"][0][0]["robust"])
    for at in points.values()
]
answers = ["the ordinary one", "the one trained on attacked images"]
nearest = answers[apart.index(min(apart[:2]))] if 3 * min(apart[:2]) < sum(apart[:2]) else "something half-way"
lesson.reveal("which", nearest, "measured by the differences of both accuracies, first seed.")

# %%
mean = {key: sum(run[0][key] for run in one["runs"]) / len(one["runs"]) for key in ("clean", "robust")}
say(
    f"Half and half in the first world (recorded, n = {one['runs'][0][0]['n']} images each): **{mean['clean']:.1%}** clean, "
    f"**{mean['robust']:.1%}** robust under {attack}, means of {len(one['runs'])} seeds. There is one answer to every "
    f"image and nothing to turn: with λ = 0 and λ = 1 this network computes the same."
)

# %% [markdown]
# ## By hand: six images, three channels
#
# BatchNorm does two things. In training it takes mean and variance of **this batch**, for each channel, and normalises
# with them. Beside that it keeps a **running** mean and variance; in evaluation, and so for every attack, these are used.
# Now let three clean and three attacked images share a batch. Channel 1 is pushed up by the attack, channel 2 is spread,
# channel 3 is pushed down. What does the layer hand on?

# %%
clean6 = torch.tensor([[1.0, 0.5, 3.0], [2.0, 0.0, 4.0], [3.0, -0.5, 5.0]])
hard6 = torch.tensor([[5.0, 2.0, -1.0], [6.0, 0.0, 0.0], [7.0, -2.0, 1.0]])
six = torch.cat([clean6, hard6])


def by_hand(crowd):
    """Mean 0 and variance 1 for each column."""
    return (crowd - crowd.mean(0)) / crowd.var(0, correction=0).sqrt()


def tables(named):
    """Tables of 6 x 3 numbers side by side, {title: numbers}."""
    fig = make_subplots(1, len(named), subplot_titles=list(named), horizontal_spacing=0.12)
    rows, columns = (
        [*(f"clean {i}" for i in (1, 2, 3)), *(f"attacked {i}" for i in (1, 2, 3))],
        ["ch 1", "ch 2", "ch 3"],
    )
    for i, values in enumerate(named.values()):
        text = [[f"{v:.2f}" for v in row] for row in values.tolist()]
        colours = [[0, "#7db8e0"], [0.5, "#f5f5f5"], [1, "#f0a878"]]
        heat = go.Heatmap(z=values, x=columns, y=rows, text=text, texttemplate="%{text}", colorscale=colours, zmid=0)
        fig.add_trace(heat.update(showscale=False), row=1, col=1 + i)
    figures.layout(fig, height=300).update_yaxes(autorange="reversed", ticks="").update_layout(margin={"l": 90})
    return fig


tables(
    {
        "as they arrive": six,
        "one crowd": by_hand(six),
        "a crowd each": torch.cat([by_hand(clean6), by_hand(hard6)]),
    }
)

# %%
say(
    f"Channel 1, one crowd: mean {six[:, 0].mean():.2f}, variance {six[:, 0].var(correction=0):.2f}; the clean images alone "
    f"have mean {clean6[:, 0].mean():.2f} and variance {clean6[:, 0].var(correction=0):.2f}, the attacked ones "
    f"{hard6[:, 0].mean():.2f} and {hard6[:, 0].var(correction=0):.2f}. No image is near the mean of the mix, and all clean "
    f"ones come out below zero: the ReLU behind it would leave nothing of them in this channel. With statistics of their "
    f"own, the two crowds cannot be told apart any more, and each keeps its own order."
)

# %% [markdown]
# ## Move the two crowds
#
# One channel, many images. Left: what arrives at the norm. Right: what leaves it. Where do the two crowds have to be for
# one BatchNorm to do harm, and where does it do none?


# %%
def crowds(shift, spread, share, norms):
    """One channel before and after: clean values ~ N(0, 1), attacked ones moved and spread."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(round(4000 * (1 - share)), generator=generator)
    hard = shift + spread * torch.randn(round(4000 * share), generator=generator)
    after = [by_hand(clean[:, None])[:, 0], by_hand(hard[:, None])[:, 0]]
    if norms == "one BatchNorm":
        after = by_hand(torch.cat([clean, hard])[:, None])[:, 0].split([len(clean), len(hard)])
    fig = make_subplots(1, 2, subplot_titles=["before the norm", "after it"])
    for side, pair in enumerate(((clean, hard), after)):
        for trace in figures.histograms(dict(zip(("clean", "attacked"), pair, strict=True))).data:
            fig.add_trace(trace.update(showlegend=side == 0), row=1, col=1 + side)
    told = "; ".join(
        f"{name}: mean {v.mean():.2f}, standard deviation {v.std():.2f}, below zero {(v < 0).float().mean():.0%}"
        for name, v in zip(("clean", "attacked"), after, strict=True)
    )
    figures.layout(fig, height=320).update_xaxes(range=[-8, 8]).update_layout(legend_y=1.12)
    return fig, f"<b>After the norm</b> · {told}"


sliders(
    crowds,
    shift=(-4.0, 4.0, 0.1),
    spread=(0.2, 4.0, 0.1),
    share=(0.1, 0.9, 0.1),
    norms=["one BatchNorm", "one each"],
    labels={"shift": "attacked: moved by", "spread": "times wider", "share": "share of attacked images"},
    start_at={"shift": 3.0, "spread": 1.0, "share": 0.5},
)

# %% [markdown]
# Move `share`, too: with one BatchNorm, what a clean image becomes depends on how many attacked ones came with it.
#
# ### Exercise: batch_norm
# Difficulty ●●○○○ · 8 minutes. What BatchNorm does in training, without its learned scale and shift.


# %% tags=["exercise"]
def batch_norm(x, mean, var, momentum=0.1, eps=1e-5):
    """x (N, C, H, W) normalised per channel, and the new running
    mean and variance, each (C,): three tensors."""
    raise NotImplementedError


# %%
batch_norm = check(batch_norm)

# %% [markdown]
# <details><summary>Hint</summary>
# A channel is averaged over images, rows and columns: dims (0, 2, 3). For the batch itself the variance is the mean of the
# squares (<code>correction=0</code>); what is kept is an estimate for images to come (<code>correction=1</code>, the default).
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def batch_norm(x, mean, var, momentum=0.1, eps=1e-5):
#     now, spread = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
#     z = (x - now.view(-1, 1, 1)) / (spread.view(-1, 1, 1) + eps).sqrt()
#     new_mean = (1 - momentum) * mean + momentum * now
#     new_var = (1 - momentum) * var + momentum * x.var((0, 2, 3))
#     return z, new_mean, new_var
# ```
# </details>

# %% [markdown]
# ### Exercise: dual_norm
# Difficulty ●●●○○ · 8 minutes. A batch of both worlds, in any order: 0 is clean, 1 is attacked. Normalise each image by
# the statistics of its own world, and leave it where it was.


# %% tags=["exercise"]
def dual_norm(x, world, eps=1e-5):
    """x (N, C, H, W), each image normalised with mean and variance
    of its own world; world (N,) holds 0 and 1."""
    raise NotImplementedError


# %%
dual_norm = check(dual_norm)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>x[world == 1]</code> are the attacked images; you can also assign to <code>out[world == 1]</code>. A batch may hold
# one world only.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def dual_norm(x, world, eps=1e-5):
#     out = torch.empty_like(x)
#     for which in world.unique():
#         var, mean = torch.var_mean(x[world == which], (0, 2, 3), correction=0, keepdim=True)
#         out[world == which] = (x[world == which] - mean) / (var + eps).sqrt()
#     return out
# ```
# </details>

# %% [markdown]
# ## The whole module
#
# Two sets of running statistics, and behind them two sets of a learned **scale and shift** per channel, as every BatchNorm
# has one. The other layers stay as they are, so the pair costs next to nothing.


# %%
class Pair(nn.Module):
    """Two BatchNorms, row 0 for clean and row 1 for attacked images."""

    def __init__(self, channels):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(2, channels)), nn.Parameter(torch.zeros(2, channels))
        self.register_buffer("mean", torch.zeros(2, channels))
        self.register_buffer("var", torch.ones(2, channels))

    def forward(self, x, world):
        out = torch.empty_like(x)
        for which in world.unique().tolist():
            mine, mean, var = x[world == which], self.mean[which].clone(), self.var[which].clone()
            if self.training:  # a batch of its own for each world
                z, new_mean, new_var = batch_norm(mine, mean, var)
                self.mean[which], self.var[which] = new_mean.detach(), new_var.detach()
            else:
                z = (mine - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + 1e-5).sqrt()
            out[world == which] = z * self.scale[which].view(-1, 1, 1) + self.shift[which].view(-1, 1, 1)
        return out


# %% [markdown]
# ## What you built is what the library keeps
#
# `oatlib/layers/dual_bn.py` does the same with two `nn.BatchNorm2d`. It wants the batch sorted by world, as **segments**
# (branch, how many), so that it only has to cut; `layers/setting.py` sorts once at the entrance of the network.

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(seed)
mine, theirs, same = Pair(8), DualBN(8), []
for training in (True, True, True, False):
    mine.train(training), theirs.train(training)
    batch = torch.randn(12, 8, 5, 5, generator=generator) + torch.arange(12).view(-1, 1, 1, 1)
    world = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0])
    order, zeros = torch.argsort(world, stable=True), int((world == 0).sum())
    sorted_out = theirs(batch[order], ((0, zeros), (1, 12 - zeros)))
    same.append(torch.allclose(mine(batch, world)[order], sorted_out, atol=1e-5))
print("the same numbers, three batches in training and one in evaluation:", same)
print("the same running means:", torch.allclose(mine.mean[1], theirs.adv.running_mean, atol=1e-5))
before = mine.mean.clone()
mine.train()(batch, torch.ones(12).long())
print(
    "attacked images alone move row 0, row 1:", [not torch.equal(a, b) for a, b in zip(before, mine.mean, strict=True)]
)

# %% [markdown]
# ## Look inside a network that has two
#
# `blend` is the recipe of this lesson: half of each batch clean, half attacked, a BatchNorm for each, nothing else. λ = 0
# means that an image passes BN_c in every layer, λ = 1 that it passes BN_a. All other weights are the same for both.

# %%
blend = lesson.network("blend", data)
branch = {"BN_c": blend.at(0.0), "BN_a": blend.at(1.0)}
hard = {name: attack(f, x, y, torch.Generator().manual_seed(seed)) for name, f in branch.items()}
norms = {name[5:].split(".norm")[0]: part for name, part in blend.named_modules() if isinstance(part, DualBN)}


def arriving(images, lam):
    """{layer: what arrives at its norm, (N, C, H, W)} when images pass the network at λ."""
    caught = {}
    hooks = [
        norm.register_forward_pre_hook(lambda _, given, name=name: caught.update({name: given[0]}))
        for name, norm in norms.items()
    ]
    with torch.no_grad():
        blend(images, lam)
    for hook in hooks:
        hook.remove()
    return caught


passes = {
    "each its own branch": (arriving(x, 0.0), arriving(hard["BN_a"], 1.0)),
    "both through BN_c": (arriving(x, 0.0), arriving(hard["BN_c"], 0.0)),
    "both through BN_a": (arriving(x, 1.0), arriving(hard["BN_a"], 1.0)),
}


# %%
def look(layer, channel, way):
    """Histograms of one channel before its norm, and the running means that the two branches keep."""
    name = list(norms)[layer]
    pair = [crowd[name][:, channel].flatten() for crowd in passes[way]]
    low, high = torch.cat(pair).quantile(torch.tensor([0.001, 0.999])).tolist()
    inside = {k: v[(v >= low) & (v <= high)] for k, v in zip(("clean", "attacked"), pair, strict=True)}
    fig = figures.histograms(inside, x_name=f"channel {channel} before the norm of {name}", height=340)
    for i, (label, norm, side) in enumerate((("BN_c", norms[name].clean, "left"), ("BN_a", norms[name].adv, "right"))):
        at = norm.running_mean[channel].item()
        fig.add_vline(at, line=figures.style(i)["line"], annotation_text=label, annotation_position=f"top {side}")
    told = " · ".join(f"{k}: mean {v.mean():.2f}, standard deviation {v.std():.2f}" for k, v in inside.items())
    return fig, told + " · lines: the running means of BN_c and BN_a"


sliders(
    look,
    layer=(0, len(norms) - 1, 1),
    channel=(0, 15, 1),
    way=list(passes),
    labels={"way": "images pass"},
    start_at={"layer": 1, "channel": 3},
)

# %% [markdown]
# Let both kinds of images pass the same branch. Do the crowds stay apart?

# %%
lesson.predict(
    "remains",
    "send the same clean images down both branches. How much of the distance between the two crowds remains?",
    0,
    100,
)


# %%
def gaps(one, other):
    """Distance of two crowds per layer: of the means, in standard deviations of the first, averaged over channels."""
    shift = {name: (one[name] - other[name].mean((0, 2, 3), keepdim=True)).mean((0, 2, 3)).abs() for name in norms}
    return [(shift[name] / one[name].std((0, 2, 3))).mean().item() for name in norms]


found = {f"clean and attacked, {way}": gaps(*pair) for way, pair in passes.items()}
found["the same clean images, once through each"] = gaps(arriving(x, 0.0), arriving(x, 1.0))
layers = [name.replace("blocks.", "block ").replace(".", "<br>") for name in norms]
fig = figures.lines(layers, found, y_name="distance, in standard deviations", height=440)
fig.data[0].marker.update(size=15, symbol="circle-open", line={"width": 2})  # what lies on top of it stays visible
fig.update_layout(legend={"orientation": "v", "y": 1.0, "x": 1.0, "xanchor": "right", "yanchor": "top"})

# %%
own, via_c, via_a, no_attack = (sum(values) / len(values) for values in found.values())
lesson.reveal(
    "remains", 100 * no_attack / own, "as much as that is made by the branches themselves, without any attack."
)

# %%
say(
    f"Averaged over the layers, what meets BN_c and BN_a in `blend` is **{own:.2f}** standard deviations apart (n = {n}). The "
    f"same clean images, sent down both branches, are **{no_attack:.2f}** apart. The attack alone, in one branch, moves the "
    f"crowd by {via_c:.2f} in BN_c and by {via_a:.2f} in BN_a."
)

# %% [markdown]
# So look at who does the pushing. ε is small, and in the pixels the two crowds are nearly one. What the branches disagree
# about is what they **do** with an image: their scales and shifts turn the same image into two crowds.
#
# ## Ablation: statistics, or scale and shift?
#
# Then what are statistics of their own good for? Train the same network four times, from the same seeds: with one or two
# sets of statistics, and with one or two sets of scale and shift. This was done in the first world, as at the beginning.


# %%
def tied(net):
    """Two sets of statistics, but one scale and one shift for both."""
    for norm in (part for part in net.modules() if isinstance(part, DualBN)):
        norm.adv.weight, norm.adv.bias = norm.clean.weight, norm.clean.bias
    return net


class OneCrowd(DualBN):
    """The statistics of the whole batch for both worlds, but a scale and a shift for each."""

    def __init__(self, channels):
        super().__init__(channels)
        self.adv._buffers = self.clean._buffers  # one running mean and variance

    def forward(self, x, segments):
        z = F.batch_norm(x, self.clean.running_mean, self.clean.running_var, training=self.training)
        parts = zip(
            z.split([count for _, count in segments]), (self.branch(which) for which, _ in segments), strict=True
        )
        return torch.cat([part * bn.weight.view(-1, 1, 1) + bn.bias.view(-1, 1, 1) for part, bn in parts])


def crowded(net):
    """One set of statistics, but two scales and two shifts."""
    for slim in (part for part in net.modules() if isinstance(part, SlimNorm)):
        slim.pairs[0] = OneCrowd(slim.pairs[0].clean.num_features)
    return net


# %%
def others():
    """The three other ways."""
    return {
        "two statistics, one scale": runs(tied),
        "one statistics, two scales": runs(crowded),
        "two of both (dual BatchNorm)": runs(),
    }


ways = {"one of both": one["runs"]} | lesson.recorded("batchnorm_ways", others)
figures.frontier(
    {name: found[0] for name, found in ways.items()}, title="First world: both ends of the dial, first seed"
)

# %%
rows = ["| | clean, λ = 0 | robust, λ = 0 | clean, λ = 1 | robust, λ = 1 |", "|---|---|---|---|---|"]
for name, found in ways.items():
    cells = [[run[end][key] for run in found] for end in (0, 1) for key in ("clean", "robust")]
    rows.append(
        f"| {name} | " + " | ".join(f"{sum(c) / len(c):.1%} ({min(c):.1%} to {max(c):.1%})" for c in cells) + " |"
    )
recorded = ways["one of both"][0][0]["n"]
low, high = oatlib.wilson(recorded // 2, recorded)
say(
    f"Recorded in the first world: means of {len(one['runs'])} seeds (smallest to largest), {attack}, n = {recorded}; the 95 % "
    f"interval of one accuracy is at most ±{(high - low) / 2:.1%}.\n\n" + "\n".join(rows)
)

# %% [markdown]
# Read the record that comes along row by row. A second set of **statistics** alone makes no second network: both ends of the
# dial are the same one, as the crowds do not differ. A second **scale and shift** alone does part the two, but training is a
# gamble now: look at the range at λ = 1. A likely reason: the scales push the crowds apart, and then the statistics of the mix
# belong to neither. So scale and shift make the second network, and statistics of its own make it train without luck.

# %% [markdown]
# ## Ablation: attack one branch, answer with the other
#
# A network with two branches can be measured wrongly in a new way. Below, the six images were attacked through BN_a.


# %%
def say_both(images):
    """What the two branches answer."""
    said = {name: f(images).argmax(1).tolist() for name, f in branch.items()}
    return ["<br>".join(f"{name}: {data.classes[each[i]]}" for name, each in said.items()) for i in range(6)]


rows = {"image": x[:6], "change × 16": figures.change(x, hard["BN_a"], 16)[:6], "attacked, BN_a": hard["BN_a"][:6]}
told = figures.stacked(captions(data, panel, range(6)), say_both(x))
figures.images(rows, {"image": told, "attacked, BN_a": say_both(hard["BN_a"])})

# %%
lesson.predict("rosy", "attacked through BN_a, answered by BN_c: how many images are right?", 0, 100)

# %%
seen = {"clean": x, "attacked through BN_c": hard["BN_c"], "attacked through BN_a": hard["BN_a"]}
right = {
    f"answered by {name}": [(f(images).argmax(1) == y).float().mean().item() for images in seen.values()]
    for name, f in branch.items()
}
figures.bars(list(seen), right, n=n, height=380)

# %%
lesson.reveal("rosy", 100 * right["answered by BN_c"][2], "the attack has aimed at somebody else.")

# %%
rosy, true = right["answered by BN_c"][2], right["answered by BN_c"][1]
low, high = oatlib.wilson(round(rosy * n), n)
other, honest = right["answered by BN_a"][1:]
say(
    f"BN_c seems to keep **{rosy:.1%}** ({low:.1%} to {high:.1%}, n = {n}) when the attack saw BN_a; under an attack that sees "
    f"BN_c it keeps **{true:.1%}**. For BN_a it is {other:.1%} against {honest:.1%}. And a pair of numbers such as clean "
    f"{right['answered by BN_c'][0]:.1%} *and* robust {honest:.1%} belongs to no network that one can have: somebody would "
    f"have to tell it which images are attacked, and the attacker will not."
)

# %% [markdown]
# The rule: **the attack sees exactly what answers**. `net.at(lam)` gives one plain network for both.

# %% [markdown]
# ## Two branches are already a dial
#
# In evaluation mode a BatchNorm is a scale and a shift per channel, and nothing else. Between the ends the library takes
# a share λ of those of BN_a and 1 - λ of those of BN_c. Nothing was trained there.

# %%
steps = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
dial = [standing(blend.at(lam)) | {"lam": lam} for lam in steps]
curves = {}
for key in ("clean", "robust"):
    band = [oatlib.wilson(round(at[key] * n), n) for at in dial]
    values = ([at[key] for at in dial], *zip(*band, strict=True))
    curves[f"{key} accuracy, %, with 95 % interval"] = tuple([100 * v for v in each] for each in values)
figures.lines(steps, curves, x_name="λ of blend: 0 is BN_c, 1 is BN_a", height=380)

# %%
jumps = [b["robust"] - a["robust"] for a, b in pairwise(dial)]
k = jumps.index(max(jumps))
say(
    f"λ = 0.5 gives {dial[3]['clean']:.1%} clean and {dial[3]['robust']:.1%} robust (n = {n}, {attack}); half-way between the ends "
    f"would be {(dial[0]['clean'] + dial[-1]['clean']) / 2:.1%} and {(dial[0]['robust'] + dial[-1]['robust']) / 2:.1%}. The largest "
    f"move, {100 * max(jumps):.0f} points of robust accuracy, lies between λ = {steps[k]:g} and {steps[k + 1]:g}."
)

# %% [markdown]
# The dial turns, but its numbers mean nothing: the network was never told what λ = 0.3 should be.

# %% [markdown]
# ## Is this sane?

# %% tags=["nbval-check-output"]
nothing = PGD(0.0, 20)(branch["BN_a"], x, y)
kept = {name: norm.adv.running_mean.clone() for name, norm in norms.items()}
attack(lambda images: blend(images, 1.0), x[:8], y[:8])
still = [torch.equal(kept[name], norm.adv.running_mean) for name, norm in norms.items()]
hits = (branch["BN_a"](nothing).argmax(1) == y).sum().item()
print("ε = 0 gives clean accuracy:", hits == round(n * dial[-1]["clean"]))
print("an attack leaves the statistics as they were:", all(still))
print("λ picks the branches:", [["BN_c", "BN_a"][i] for i in blend.branches.tolist()])
in_order, mixed = torch.arange(8) % 2.0, blend(x[:8], torch.arange(8) % 2.0)
alone = torch.cat([blend(x[i : i + 1], lam.item()) for i, lam in enumerate(in_order)])
print("a mixed batch gives what each image gets alone:", torch.allclose(mixed, alone, atol=1e-4))

# %% [markdown]
# ## Your turn, on the real thing
#
# Turn λ of `blend`, and compare it with a network for clean images and one for attacked ones, trained in the same world.
# Which part of the dial would you use?

# %%
both = {name: lesson.network(name, data) for name in ("blend", "standard", "pgd-at")}
hidden = ["training", "choose", "width"]
oatlib.explore(both, data, lam=0.6, surfaces=lesson.surfaces(both, data), hide=hidden)

# %% [markdown]
# > **Pitfalls**
# > * *Sorting the batch and forgetting to sort the labels*: let the network sort, and put the answers back in order.
# > * *Attacking in training mode*: running statistics then learn from attacked images, in the wrong branch perhaps.
# > * *Attacking one branch and answering with the other*: the accuracy is too good to be true.
# > * *Quoting the clean accuracy of one branch beside the robust accuracy of the other* as if one network had both.
# > * *Very few images of one world in a batch*: their mean is noise; one image has none.
# > * *Several GPUs*: a position such as "the first 22 images are clean" is wrong for each GPU's share of the batch.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that one network can hold two, with a scale, a shift and statistics for each, and that each branch must be
# attacked for itself. In this small world it is hardly the attack that sets the two crowds apart: the branches do.
# **What we did not show:** that this holds elsewhere. For large networks and photographs Xie and Yuille report that clean
# and attacked images do have different statistics; that was the reason to propose the pair.
#
# ## Try this
#
# * Take `oat` instead of `blend` in the cell that looks inside. Its λ has more stops; compare λ = 0 with λ = 1.
# * Attack with ε = 32/255 (change `attack`). Does the attack move the statistics now?
# * Give BN_a the statistics of BN_c and keep its scale and shift (`norm.adv.running_mean.copy_(...)`). What is left?
#
# ## Sources
#
# * Ioffe and Szegedy 2015, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*
# * Xie and Yuille 2020, *Intriguing Properties of Adversarial Training at Scale* (a BatchNorm for each)
# * Xie et al. 2020, *Adversarial Examples Improve Image Recognition* (AdvProp)
# * Wang et al. 2020, *Once-for-All Adversarial Training* (dual BatchNorm under a dial)
#
# **Next:** [04 · FiLM](04_film.ipynb): what if the network were told λ, and trained for all of it?

# %%
lesson.finish(
    attack=str(attack), n=n, first_world=points, ways=ways, gaps=[own, via_c, via_a, no_attack], right=right, dial=dial
)
