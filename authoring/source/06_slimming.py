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
# # 06 · Can one network be small and large at once?
#
# **You will be able to**
#
# * slice a convolution to any width, and say why the result fails when nothing else is changed
# * say what BatchNorm has to do with it, and mend it with fresh statistics
# * train all widths together, by adding up their gradients, and show that your step is the library's
# * price a setting of two dials, λ and width, and choose one within limits
#
# **Before this:** [05 · OAT](05_oat.ipynb) · **Run time:** about 45 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 32 to 512: validation images that are measured and attacked
eps: float = 8.0  # 0.5 to 32: radius of the attack, in 1/255 of the range of a pixel
attack: str = "quick"  # one of quick, suite, PGD-10: for both dials (suite: minutes, lesson 10)
epochs: int = 4  # 1 to 30: of training, where no ready network fits and for what is recorded
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (minutes) instead of loading those that come along
recompute: bool = False  # train again what is otherwise read from a record (minutes)

# %%
import copy
import time

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import PGD
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions
from oatlib.layers.setting import Width
from oatlib.layers.slim import SlimConv, SlimNorm
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_widths
from oatlib.training.step import train_step

lesson = begin("06_slimming", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n = panel.x, panel.y, len(panel)
WIDTHS = (0.25, 0.5, 0.75, 1.0)  # fractions of the channels

# %% [markdown]
# ## The failure
#
# The dial of lesson 05 trades accuracy for robustness, but not for speed: at every λ the network does the same
# multiplications. A telephone would like half of it. A **channel** is one of the pictures that a layer hands to the next,
# so let us take a trained network and keep the first half of the channels of every layer: every weight and every
# BatchNorm cut to its first entries. The network stays whole, only smaller.

# %%
lesson.predict(
    "half",
    "of its answers, how many are right with half of its channels (guessing: one in as many as there are classes)?",
)

# %%
standard = lesson.network("standard", data)
cut = oatlib.build("standard", data, widths=4, norm_sharing="all")  # four widths out of the same weights
cut.load_state_dict(standard.state_dict())


def right(f, images=x):
    """The share of the panel that a plain network gets right."""
    with torch.no_grad():
        return (f(images).argmax(1) == y).float().mean().item()


names = [f"width {w:g}" for w in WIDTHS]
left = [right(cut.at(0.0, w)) for w in WIDTHS]
fig = figures.bars(names, {"clean accuracy of the cut network": left}, n=n)
dots = {"color": figures.INK, "dash": "dot", "width": 3}
fig.add_scatter(x=names, y=[100 / len(data.classes)] * 4, name="guessing", mode="lines", line=dots)

# %%
lesson.reveal("half", 100 * left[1], "what is left was trained to be a part of something larger.")

# %%
price = [oatlib.cost(oatlib.build("oat", data), lam).macs for lam in (0, 0.5, 1)]
low, high = oatlib.wilson(round(left[1] * n), n)
say(
    f"Multiply-adds per image of the network of lesson 05 at λ = 0, 0.5 and 1: {price[0]:,}, {price[1]:,}, {price[2]:,}. "
    f"Half of the channels would need {oatlib.cost(cut, width=0.5).macs:,}, but cut by hand they are right on "
    f"**{left[1]:.1%}** of n = {n} validation images (95 % interval {low:.1%} to {high:.1%}); the whole network on {left[-1]:.1%}."
)

# %% [markdown]
# ## Small enough to draw: six sums of three numbers
#
# A layer with three channels in and six out has, per pixel, a 6x3 matrix of weights: every output is a **sum** over the
# inputs. A width keeps the first rows (outputs) and the first columns (inputs). So a narrow output is the same sum with
# fewer terms, and a sum of fewer terms has another mean and a smaller variance. BatchNorm subtracts a stored mean and
# divides by a stored standard deviation, and those belong to the full sum. Switch between the widths and the statistics.

# %%
random = torch.Generator().manual_seed(seed)
MATRIX = 0.6 * torch.randn(6, 3, generator=random)
crowd = F.relu(torch.randn(2000, 3, generator=random) + 0.5)  # 2000 pixels of three channels, after a ReLU
KEPT = {"1/3": (2, 1), "2/3": (4, 2), "all": (6, 3)}  # rows and columns


# %%
def toy(width, norm):
    """The kept corner of the matrix, and the first output channel at that width beside the full one."""
    rows, columns = KEPT[width]
    full, sums = crowd @ MATRIX[0], crowd[:, :columns] @ MATRIX[0, :columns]
    told = f"first output channel: mean {sums.mean():.2f}, variance {sums.var():.2f} with {columns} of 3 terms; "
    told += f"mean {full.mean():.2f}, variance {full.var():.2f} with all"
    mean, std = sums.mean(), sums.std()
    if norm != "none":
        stored = (full.mean(), full.std()) if norm == "the full width's" else (mean, std)
        sums, full = (sums - stored[0]) / stored[1], (full - full.mean()) / full.std()
    corner = [[MATRIX[r, c].item() if r < rows and c < columns else None for c in range(3)] for r in range(6)]
    fig = make_subplots(1, 2, column_widths=[0.3, 0.7], horizontal_spacing=0.12)
    plain = {"showscale": False, "hoverinfo": "skip", "xgap": 2, "ygap": 2}
    fig.add_heatmap(z=[[0] * 3] * 6, colorscale=[[0, "#c4c8cc"], [1, "#c4c8cc"]], **plain)  # grey: what is cut away
    fig.add_heatmap(
        z=corner, zmin=-1.5, zmax=1.5, colorscale=[[0, "#f0a878"], [0.5, "#ffffff"], [1, "#86c0e8"]], **plain
    )
    fig.update_traces(text=MATRIX, texttemplate="%{text:.2f}", textfont={"color": "#222", "size": 14}, selector=1)
    for trace in figures.histograms({"3 of 3 terms": full, f"{columns} of 3 terms": sums}).data:
        fig.add_trace(trace, row=1, col=2)
    figures.layout(fig, height=380).update_layout(legend={"x": 0.4})
    fig.update_yaxes(title_text="output channel", autorange="reversed", row=1, col=1)
    fig.update_xaxes(title_text="input channel", row=1, col=1)
    return fig.update_xaxes(title_text="value of the first output channel", row=1, col=2), told


sliders(
    toy,
    width=list(KEPT),
    norm=["none", "the full width's", "its own"],
    labels={"width": "channels kept", "norm": "normalised with the statistics"},
    start_at={"width": "1/3", "norm": "the full width's"},
)

# %% [markdown]
# With the full width's statistics the narrow sum is neither centred nor of size one; with its own it is. The next layer
# was trained on inputs that are.
#
# ### Exercise: sliced_conv
# Difficulty ●●○○○ · 5 minutes. The same in pictures: a convolution whose weight (outputs, inputs, k, k) is cut to as many
# inputs as arrive, and to `out` outputs.


# %% tags=["exercise"]
def sliced_conv(x, weight, out):
    """x (N, C, H, W) -> (N, out, H, W): the first `out` outputs, from
    the C inputs that arrive; odd k, same size."""
    raise NotImplementedError  # your code instead of this line


# %%
sliced_conv = check(sliced_conv)

# %% [markdown]
# <details><summary>Hint</summary>
# Slice the first two dimensions of the weight. <code>F.conv2d</code> keeps the size of the picture with
# <code>padding=k // 2</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def sliced_conv(x, weight, out):
#     few = weight[:out, : x.shape[1]]
#     return F.conv2d(x, few, padding=weight.shape[-1] // 2)
# ```
# </details>

# %% [markdown]
# ### Exercise: calibrated_stats
# Difficulty ●●●○○ · 8 minutes. What statistics would a narrow layer need? Send some batches through and average: the mean
# of every channel, and its (unbiased) variance, of each batch; then the plain average over the batches.


# %% tags=["exercise"]
def calibrated_stats(batches):
    """A list of batches (N, C, H, W) -> mean (C,) and variance
    (C,), each averaged over the batches."""
    raise NotImplementedError


# %%
calibrated_stats = check(calibrated_stats)

# %% [markdown]
# <details><summary>Hint</summary>
# A channel has one mean for all images and all pixels of a batch: reduce over dimensions 0, 2 and 3.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def calibrated_stats(batches):
#     means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
#     variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
#     return means.mean(0), variances.mean(0)
# ```
# </details>

# %% [markdown]
# ## Half a repair: statistics of its own for every width
#
# `oatlib.calibrate` does this for a whole network: it keeps all weights, and takes the statistics of every width afresh
# from training images. Here is what it finds: the variance that arrives at each BatchNorm, as a share of the full width's
# (the median over the channels). Only the first layer sums as much as before, as an image has the same channels always.

# %%
alike = oatlib.build("standard", data, norm_sharing="affine")  # the same network, told that widths may be added
alike.load_state_dict(standard.state_dict())
mended = oatlib.calibrate(alike, data, WIDTHS)


def relative_variance(norm, index):
    """The variance that a width stores, over what the full width stores for the same channels; the median."""
    own, full = norm.pairs[index].clean.running_var, norm.pairs[-1].clean.running_var
    return (own / full[: len(own)]).median().item()


norms = {name: part for name, part in mended.named_modules() if isinstance(part, SlimNorm)}
layers = [name.removeprefix("body.").removesuffix(".norm").replace("blocks.", "block ") for name in norms]
layers = [name.replace(".", "<br>") for name in layers]
shares = {f"width {w:g}": [relative_variance(norm, i) for norm in norms.values()] for i, w in enumerate(WIDTHS)}
figures.lines(layers, shares, y_name="variance ÷ that of the full width", height=400)

# %% [markdown]
# ## Ablation: the same weights, with wrong and with fresh statistics
#
# The first two bars of each group differ in nothing but the BatchNorm statistics. The third is `snn`, a network that was
# *trained* at these widths, with a BatchNorm for each: a **slimmable** network.

# %%
snn = lesson.network("snn", data)
arms = {
    "cut, full width's statistics": left,
    "cut, statistics taken afresh": [right(mended.at(0.0, w)) for w in WIDTHS],
    "trained at every width": [right(snn.at(0.0, w)) for w in WIDTHS],
}
figures.bars(names, arms, n=n, height=400)

# %%
mend, trained = (values[1] - left[1] for values in list(arms.values())[1:])
say(
    f"At half the width, fresh statistics change clean accuracy by **{100 * mend:+.1f} points**, and training for it by "
    f"{100 * trained:+.1f} (n = {n}; bars are 95 % intervals). What statistics alone do not mend, the weights must learn."
)

# %% [markdown]
# ## Train all widths together
#
# A step of a slimmable network takes one batch through every width, the largest first, adds the gradients up, and then
# moves the weights once. The first channels serve all widths, so they hear from all; the last ones from the widest only.
#
# ### Exercise: slim_step
# Difficulty ●●●○○ · 8 minutes.


# %% tags=["exercise"]
def slim_step(f, x, y, widths):
    """Leave in .grad the summed gradients of the cross-entropies of f(x,
    width), largest width first; return their sum."""
    raise NotImplementedError


# %%
slim_step = check(slim_step)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>backward()</code> adds to what is in <code>.grad</code> already. Do not clear it between the widths.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def slim_step(f, x, y, widths):
#     total = 0.0
#     for width in sorted(widths, reverse=True):
#         loss = F.cross_entropy(f(x, width), y)
#         loss.backward()
#         total += loss.item()
#     return total
# ```
# </details>

# %% [markdown]
# The order changes nothing in the sum. It matters where narrow widths learn from the answers of the widest (`us-snn`).

# %% [markdown]
# ## What you built is what the library keeps
#
# Your convolution with a BatchNorm per width, your statistics, and your step, each beside the library's. **OATS** does the
# same with the loss of lesson 05: every width is attacked for itself, and the gradients of the widths are averaged.


# %% tags=["nbval-check-output"]
def grads(net):
    """All gradients of a network in one row."""
    return torch.cat([p.grad.flatten() for p in net.parameters()])


half, pictures = Width(0.5, 1), torch.randn(8, 4, 6, 6, generator=random)
conv, switch = SlimConv(8, 16, 3), SlimNorm((4, 8, 12, 16), dual=False)
theirs = switch.at(half, 8).clean(conv(pictures, conv.sliced(half)))
mine = nn.BatchNorm2d(8)(sliced_conv(pictures, conv.weight, 8))  # one of four: the BatchNorm of width 0.5
print("sliced conv and switched BatchNorm are the library's:", torch.allclose(mine, theirs, atol=1e-5))

norm = nn.BatchNorm2d(4, momentum=None)  # a plain average over the batches
for batch in pictures.split(4):
    norm(batch)
mean, variance = calibrated_stats(pictures.split(4))
print(
    "calibrated_stats is BatchNorm's:",
    torch.allclose(norm.running_mean, mean, atol=1e-5) and torch.allclose(norm.running_var, variance, atol=1e-5),
)

bx, by = data.train.x[:24], data.train.y[:24]
one, two = (copy.deepcopy(snn).train() for _ in range(2))
slim_step(lambda images, width: one(images, 0.0, width), bx, by, WIDTHS)
batch = LambdaBatch(bx, by, torch.zeros(24).long(), snn.spec.stops)
train_step(two, batch, PGD(eps / 255, 2), random, sample_widths(snn.spec, random))
print("slim_step is the library's step:", torch.allclose(grads(one), grads(two), atol=1e-4))

# %% tags=["nbval-check-output"]
oats = lesson.network("oats", data)  # widths 0.5, 0.75 and 1
one, two = copy.deepcopy(oats), copy.deepcopy(oats)
first, second = (torch.Generator().manual_seed(seed) for _ in range(2))
batch = LambdaBatch(bx, by, torch.arange(24) // 4, oats.spec.stops)  # four images at each λ
for width in sample_widths(oats.spec, first):
    train_step(one, batch, PGD(eps / 255, 2), first, [width])
train_step(two, batch, PGD(eps / 255, 2), second, sample_widths(oats.spec, second))
print("a step of OATS is the mean of its widths':", torch.allclose(grads(one) / 3, grads(two), atol=1e-4))

# %% [markdown]
# ## Ablation: does the BatchNorm have to switch?
#
# In training every width normalises with its own batch anyway, so perhaps one BatchNorm could store the statistics for
# all. Two kinds of networks, trained in the same way from the same seeds: a BatchNorm for each width, and one for all,
# sliced. Each line is one network. (This takes minutes, so it comes from a record; `recompute = True` trains again.)


# %%
def both_kinds():
    """Clean accuracy at four widths of networks whose widths share no BatchNorm ("none"), and all of it ("all")."""
    found = {"data": data_set, "epochs": epochs, "n": len(data.val), "seeds": [seed, seed + 1, seed + 2]}
    for sharing in ("none", "all"):
        found[sharing] = []
        for s in found["seeds"]:
            net = oatlib.build("snn", data, seed=s, norm_sharing=sharing)
            oatlib.train(net, data, oatlib.Preset(epochs=epochs), s, progress=False)
            with torch.no_grad():
                hits = [net.at(0.0, w)(data.val.x).argmax(1) == data.val.y for w in WIDTHS]
            found[sharing].append([hit.float().mean().item() for hit in hits])
    return found


kinds = lesson.recorded("slim_norms", both_kinds)
fig = figures.layout(make_subplots(), "width", "clean accuracy, %", height=400)
for i, (sharing, label) in enumerate({"none": "a BatchNorm for each width", "all": "one for all"}.items()):
    for k, values in enumerate(kinds[sharing]):
        percent = [100 * v for v in values]
        fig.add_scatter(x=WIDTHS, y=percent, name=label, showlegend=k == 0, legendgroup=label, **figures.style(i))
fig

# %%
lost = [100 * (own[0] - shared[0]) for own, shared in zip(kinds["none"], kinds["all"], strict=True)]
half_width = 100 * (oatlib.wilson(kinds["n"] * 9 // 10, kinds["n"])[1] - 0.9)
first = "**Recorded in the first world of oatlib, with the same trust in every shape.** " if "world" in kinds else ""
say(
    f"{first}At width {WIDTHS[0]:g}, switching gains {', '.join(f'{v:+.1f}' for v in lost)} points for the seeds {kinds['seeds']} "
    f"(`{kinds['data']}`, {kinds['epochs']} epochs, n = {kinds['n']} validation images, where one accuracy of nine in ten "
    f"is good to about ±{half_width:.1f} points)."
)

# %% [markdown]
# ## What does a width cost?

# %%
lesson.predict("macs", "half of the channels: what share of the multiply-adds is left?")

# %%
plain, fastest = {w: snn.at(0.0, w) for w in WIDTHS}, dict.fromkeys(WIDTHS, float("inf"))
with torch.no_grad():
    for _ in range(8):  # in turns, so that other work on this machine meets all of them
        for w, f in plain.items():
            started = time.perf_counter()
            f(x)
            fastest[w] = min(fastest[w], time.perf_counter() - started)
costs = {w: oatlib.cost(snn, width=w) for w in WIDTHS}
parts = {
    "channels": WIDTHS,
    "multiply-adds": [costs[w].macs / costs[1.0].macs for w in WIDTHS],
    "parameters": [costs[w].plain / costs[1.0].plain for w in WIDTHS],
    "time, as measured in this run": [fastest[w] / fastest[1.0] for w in WIDTHS],
}
figures.bars(names, {k: [100 * v for v in values] for k, values in parts.items()}, y_name="% of the full width")

# %%
lesson.reveal(
    "macs", 100 * parts["multiply-adds"][1], "half of the outputs times half of the inputs: it goes with the square."
)

# %%
say(
    f"Time is another matter: at half the width a forward of n = {n} images took **{parts['time, as measured in this run'][1]:.0%}** "
    f"of the full width's time here, with {parts['multiply-adds'][1]:.0%} of the multiply-adds. The smaller the layers, the more of the "
    f"time goes into everything but multiplying. What is *stored* is the full network and all its BatchNorms: "
    f"{costs[1.0].stored:,} parameters, {costs[1.0].stored - costs[1.0].active:,} more than one width needs."
)

# %% [markdown]
# ## Two dials: λ and width
#
# `oats` was trained at all λ *and* three widths. Move both. The lines are clean and robust accuracy over the price of the
# width, at the λ you chose; the stars are your setting.

# %%
LAMS, radius = (0.0, 0.1, 0.3, 1.0), eps / 255
attacks = {"quick": oatlib.Suite(radius, budget="quick"), "suite": oatlib.Suite(radius), "PGD-10": PGD(radius, 10)}
table = oatlib.evaluate(oats, panel, attacks[attack], LAMS, seed=seed, progress=attack == "suite")
attack_name = {"quick": "quick suite", "suite": "suite", "PGD-10": "PGD-10, an upper bound"}[attack]


def dials(lam, width):
    """Accuracy over multiply-adds at one λ, and where the two dials stand."""
    row = [r for r in table if r.lam == lam]
    (chosen,) = [r for r in row if r.width == width]
    macs = [r.macs / 1e6 for r in row]
    keys = {key: [key, f"{key}_low", f"{key}_high"] for key in ("clean", "robust")}
    bands = {key: tuple([100 * getattr(r, k) for r in row] for k in three) for key, three in keys.items()}
    fig = figures.lines(macs, bands, x_name="million multiply-adds per image", y_name="accuracy, %")
    stars = {"symbol": "star", "size": 17, "color": figures.INK, "line": {"color": "white", "width": 1}}
    at = {"x": [chosen.macs / 1e6] * 2, "y": [100 * chosen.clean, 100 * chosen.robust]}
    fig.add_scatter(**at, name="your setting", mode="markers", marker=stars)
    fig.update_yaxes(range=[-3, 103])
    told = f"clean <b>{chosen.clean:.1%}</b> ({chosen.clean_low:.1%} to {chosen.clean_high:.1%}), robust <b>{chosen.robust:.1%}</b> "
    told += f"({chosen.robust_low:.1%} to {chosen.robust_high:.1%}), n = {n}, {attack_name} (ε = {eps:g}/255), 95 % intervals; "
    return fig, told + f"{chosen.macs:,} multiply-adds, {chosen.parameters:,} parameters"


sliders(
    dials,
    lam=list(LAMS),
    width=list(oats.spec.widths),
    labels={"lam": "robustness λ"},
    start_at={"lam": 0.3, "width": 0.5},
)

# %% [markdown]
# `oatlib.choose` walks through such a table for you: the most robust setting within limits.

# %%
least, most = table[1].clean, oatlib.cost(oats, width=0.75).macs  # table[1] is λ = 0.1 at width 0.5
best = oatlib.choose(table, min_clean=least, max_macs=most)
say(
    f"With at most {most:,} multiply-adds and a clean accuracy of at least {least:.1%}: **λ = {best.lam:g}, width "
    f"{best.width:g}**, robust {best.robust:.1%}. It was chosen on these n = {n} images, so measure it on others before you "
    f"believe it; lesson 07 shows why."
)

# %% [markdown]
# ## Every width is attacked for itself
#
# An attack on the full width is an attack on another network. So the training step attacks every width anew, and so must
# you when you measure. Below the attacked images stands what the half width says.

# %%
wide, narrow = oats.at(1.0, 1.0), oats.at(1.0, 0.5)
x_wide, x_own = (PGD(radius, 10)(f, x, y, torch.Generator().manual_seed(seed)) for f in (wide, narrow))
rows = {"image": x[:6], "change × 16": figures.change(x, x_own, 16)[:6], "attacked": x_own[:6]}
heard = {
    key: [f"says {data.classes[c]}" for c in narrow(v[:6]).argmax(1)] for key, v in rows.items() if key != "change × 16"
}
heard["image"] = figures.stacked(captions(data, panel, range(6)), heard["image"])
figures.images(rows, heard)

# %%
borrowed, own = right(narrow, x_wide), right(narrow, x_own)
say(
    f"The half width (λ = 1) is right on {own:.1%} under its own attack and on {borrowed:.1%} under one made for the full width "
    f"(n = {n}, PGD-10, ε = {eps:g}/255): with the borrowed attack it looks {100 * (borrowed - own):+.1f} points better."
)

# %% [markdown]
# ## Is it sane?

# %% tags=["nbval-check-output"]
other = copy.deepcopy(oats)
with torch.no_grad():
    for conv in (part for part in other.modules() if isinstance(part, SlimConv)):
        rows, columns = conv.sliced(half).shape[:2]
        conv.weight[rows:], conv.weight[:, columns:] = 1.0, 1.0
print("the cut network at full width is the whole one:", right(cut.at(0.0, 1.0)) == right(standard.at(0.0)))
print("a narrow network does not see the other channels:", torch.equal(other.at(0.3, 0.5)(x), oats.at(0.3, 0.5)(x)))
print("a wide one does:", not torch.equal(other.at(0.3, 1.0)(x), oats.at(0.3, 1.0)(x)))
print("ε = 0 gives clean accuracy:", right(narrow, PGD(0.0, 10)(narrow, x, y)) == right(narrow))

# %% [markdown]
# ## Your turn, on the real thing
#
# Move λ and width, and let *choose for me* find a setting within your limits. How much robustness does half of the width
# cost near λ = 0, and how much near λ = 1?

# %%
shown = {"oats": oats}
oatlib.explore(shown, data, width=0.5, eps=eps, surfaces=lesson.surfaces(shown, data), hide=["training"])

# %% [markdown]
# > **Pitfalls**
# > * *Borrowing statistics*: a width with the BatchNorm of another is a network that nobody trained.
# > * *Borrowing attacks*: attack the width that you report, or its robustness looks better than it is.
# > * *Taking statistics in evaluation mode*, or from attacked images for the clean branch: nothing, or the wrong thing, is learned.
# > * *Clearing gradients between the widths*: then only the last one, the narrowest, is trained.
# > * *Finding a width by its fraction*: 0.1 + 0.2 is not 0.3 for a computer; look it up by its index.
# > * *Rounding channels to 0*: a quarter of three channels must be one, and who counts costs must round in the same way.
# > * *Selling multiply-adds as time*: measure the time where it matters.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that a network cut by hand fails, that fresh BatchNorm statistics mend a part of it, and that training at
# several widths with a BatchNorm for each makes one network of several sizes. **What we did not show:** that a slice is as
# good as a network of its size trained alone, that cutting works at every width in between (`us-snn` is made for that), or
# that our networks, with layers this small, tell how large ones pay for their width.
#
# ## Try this
#
# * Train `us-snn` and let `oatlib.calibrate(net, data, [0.3, 0.6])` add widths that it was never trained at.
# * Give the half width of `snn` the BatchNorms of width 1 (`pairs[1]` from `pairs[3]`, first channels). What does it cost?
# * Keep the *last* half of the channels of `standard` instead of the first. Is one half better than the other?
#
# ## Sources
#
# * Yu et al. 2019, *Slimmable Neural Networks* (a BatchNorm for every width)
# * Yu and Huang 2019, *Universally Slimmable Networks and Improved Training Techniques* (any width, statistics afterwards)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free* (OAT, OATS)
#
# **Next:** [07 · Switchable heads](07_switchable_heads.ipynb): the widths share their output layer. Should they?

# %%
lesson.finish(
    cut=left,
    mended=arms["cut, statistics taken afresh"],
    trained=arms["trained at every width"],
    switching_gains=lost,
    shares={key: list(values) for key, values in parts.items()},
    oats=table,
    chosen=[best.lam, best.width],
    robust_half=own,
    robust_half_borrowed_attack=borrowed,
)
