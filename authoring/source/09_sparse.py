# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 55
# ---

# %% [markdown]
# # 09 · How many weights does a dial need?
#
# **You will be able to**
#
# * prune a network, and repair it with new statistics or with a little training
# * write drop-and-grow rewiring: for a matrix, for all layers, and inside training
# * compare pruning fairly with a network that is sparse from the start
# * say what a sparse network saves, and what it does not
#
# **Before this:** [08 · Weight noise](08_weight_noise.ipynb) · **Run time:** about 55 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
density: float = 0.1  # 0.05 to 0.5: share of the weights that your networks keep
n: int = 256  # 64 to 512: validation images that are measured
epochs: int = 4  # 1 to 10: of the training of your sparse network
seed: int = 0  # 0 to 9999: of weights, masks and attacks
recompute: bool = False  # train everything that is recorded again (half an hour)

# %%
import time

import torch
import torch.nn.functional as F
from IPython.display import display
from plotly.subplots import make_subplots

import oatlib
from oatlib import PGD
from oatlib.course import figures, sparse
from oatlib.course.diagram import steps
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.live import LiveCurve
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions
from oatlib.networks.network import masked_units
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_stops
from oatlib.training.rewire import allocate, rewire
from oatlib.training.step import train_step

lesson = begin("09_sparse", globals())
data = oatlib.load_data("shapes", seed=0)
panel = data.val.panel(n)
blend, floats = (oatlib.ready(name) for name in ("blend", "floats"))
torch.set_printoptions(precision=2, sci_mode=False, linewidth=110)

# %% [markdown]
# ## The failure
#
# FLOATS is the sparse form of FLOAT (lesson 08): three weights in ten stay, all others are 0. Why train like this? It seems
# easier to train all weights, and to remove the small ones afterwards. This is **pruning**.
#
# We prune `blend`: FLOAT without its noise, so that only one thing changes. Each convolution keeps a share of its weights, the
# **density**. We measure the two ends of the dial; what lies between them is the question of lesson 09b. Clean accuracy is
# measured at λ = 0. Robust accuracy is measured at λ = 1 by the quick suite: an upper bound.

# %%
shares = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
cut = [sparse.ends(sparse.pruned(blend, share), data, 128) for share in shares]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def banded(values, count):
    """Percent with a 95 % interval."""
    around = [oatlib.wilson(round(v * count), count) for v in values]
    return tuple([100 * v for v in each] for each in (values, *zip(*around, strict=True)))


curves = {
    "clean, λ = 0": banded([row["clean"] for row in cut], 128),
    "robust, λ = 1 (upper bound)": banded([row["robust"] for row in cut], 128),
}
half = cut[shares.index(0.5)]
figures.lines(
    shares,
    curves,
    x_name="share of the weights that is kept",
    y_name="accuracy, % (bands: 95 % intervals, n = 128)",
    takeaway=f"With half of the weights the network is robust on {half['robust']:.0%}, with a tenth on {cut[1]['robust']:.0%}.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
say(
    f"With all weights `blend` is right on {cut[-1]['clean']:.0%} of clean images, and robust on {cut[-1]['robust']:.0%}. With three "
    f"in ten it is right on **{cut[3]['clean']:.0%}** and robust on **{cut[3]['robust']:.0%}**, with one in ten on "
    f"{cut[1]['clean']:.0%} and {cut[1]['robust']:.0%}. Clean accuracy is that at λ = 0 and robust accuracy that at λ = 1, so the second can "
    "be higher. (n = 128 validation images, one network; robust: upper bounds.)"
)

# %% [markdown]
# Is this a fair test of pruning? Nothing was done after the cut. First write the cut yourself, then repair it.
#
# ## Small enough to see: 18 weights
#
# A **mask** says which weights are kept. Here is a matrix of 6x3 weights, and the six largest of them in absolute value.

# %%
matrix = torch.randn(6, 3, generator=torch.Generator().manual_seed(5))
largest = matrix.abs() >= matrix.abs().flatten().sort().values[-6]
print(matrix)
print(matrix.masked_fill(~largest, 0))

# %% [markdown]
# ### Exercise: magnitude_mask
# Difficulty ●○○○○ · 5 minutes. Return the mask of the largest weights, for a weight of any shape. It keeps exactly
# `round(density · number of weights)`, but at least one. Two equal weights are no reason to keep more.


# %% tags=["exercise"]
def magnitude_mask(weight, density):
    """A boolean mask shaped like weight: True for the largest |weight|."""
    raise NotImplementedError  # your code instead of this line


# %%
magnitude_mask = check(magnitude_mask)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>weight.abs().flatten().argsort(descending=True)</code> gives positions, largest first. Fill a flat mask, and give it the
# shape of the weight with <code>view</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def magnitude_mask(weight, density):
#     kept = max(1, round(density * weight.numel()))
#     order = weight.abs().flatten().argsort(descending=True)
#     mask = torch.zeros(weight.numel(), dtype=torch.bool)
#     mask[order[:kept]] = True
#     return mask.view(weight.shape)
# ```
# </details>

# %% [markdown]
# ## Repair after the cut
#
# Your mask prunes `blend` below. A pruned layer adds up fewer terms, so its channels have another mean and variance. The
# BatchNorms still hold the old ones. Lesson 06 had this problem with narrow layers. The repair is the same: measure the
# statistics again, on training images, clean ones for the clean BatchNorm and attacked ones for the other.

# %%
lesson.predict("statistics", f"pruned to {density:g} with new statistics: what share is robust at λ = 1?")

# %%
pruned = sparse.pruned(blend, density, magnitude_mask)
renewed = sparse.recalibrated(pruned, data)
own = {name: sparse.ends(net, data, n) for name, net in [("cut", pruned), ("new statistics", renewed)]}

# %%
lesson.reveal("statistics", 100 * own["new statistics"]["robust"], f"without them: {own['cut']['robust']:.0%}.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def with_interval(value, count):
    low, high = oatlib.wilson(round(value * count), count)
    return f"**{value:.0%}** ({low:.0%} to {high:.0%})"


before, renewal = ([with_interval(own[name][key], n) for key in ("clean", "robust")] for name in own)
say(
    f"Your masks keep {density:.0%} of the weights. Before new statistics the network is right on {before[0]} of clean images and "
    f"robust on {before[1]}. Afterwards it is right on {renewal[0]} and robust on {renewal[1]}. (n = {n}, 95 % intervals; robust: "
    "upper bounds by the quick suite.)"
)

# %% [markdown]
# A second repair is to train on, with the mask kept fixed. How much comes back in one epoch, and in three? That is measured
# below. First comes the other way to a sparse network.
#
# ## Sparse from the start
#
# Begin with a random mask, and let it move. After each round of training **drop** the smallest kept weights. Then **grow** as many
# absent weights: those with the largest momentum. An absent weight is 0, but it has a gradient. Its **momentum** is the running
# sum of these gradients. With kept weights K, absent weights A and drop rate r:
#
# $$D=\{\lceil r|K|\rceil\ \text{smallest}\ |w_i|,\ i\in K\},\qquad
# G=\{|D|\ \text{largest}\ |m_j|,\ j\in A\cup D\},\qquad K\leftarrow (K\setminus D)\cup G$$
#
# This is sparse momentum (Dettmers and Zettlemoyer 2019). FLOATS trains like this.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
ways = {
    "prune": [
        ("train", "all weights"),
        ("cut: keep", "the largest"),
        ("new", "statistics"),
        ("train on,", "mask fixed"),
    ],
    "sparse from the start": [
        ("random mask",),
        ("train", "an epoch"),
        ("drop", "the smallest"),
        ("grow those with", "most momentum"),
    ],
}
steps(
    ways, "Pruning cuts once, after training. Sparse training moves its mask after each epoch.", "sparse from the start"
)

# %% [markdown]
# Here are the weights and the momenta of the small matrix:

# %%
keep = largest.clone()
push = torch.randn(6, 3, generator=torch.Generator().manual_seed(8))
print("kept weights, by size       ", matrix[keep].abs().sort().values)
print("largest momenta, absent ones", push[~keep].abs().sort(descending=True).values[:6])

# %% [markdown]
# ### Exercise: drop_smallest
# Difficulty ●●○○○ · 6 minutes. Return the mask without the `ceil(rate · kept)` smallest of the kept weights. The last weight
# always stays.


# %% tags=["exercise"]
def drop_smallest(weight, keep, rate):
    """weight and keep (bool) have the same shape -> the new mask."""
    raise NotImplementedError


# %%
drop_smallest = check(drop_smallest)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>weight.abs().masked_fill(~keep, math.inf)</code> (after <code>import math</code>) makes absent weights infinitely large. Change a flat copy of the mask.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
# def drop_smallest(weight, keep, rate):
#     kept = int(keep.sum())
#     number = min(math.ceil(rate * kept), kept - 1)
#     sizes = weight.abs().masked_fill(~keep, math.inf).flatten()
#     new = keep.clone().flatten()
#     new[sizes.argsort()[:number]] = False
#     return new.view(keep.shape)
# ```
# </details>

# %% [markdown]
# ### Exercise: grow_pushed
# Difficulty ●●○○○ · 6 minutes. Return the mask with `number` more weights: the absent ones with the largest |momentum|.


# %% tags=["exercise"]
def grow_pushed(keep, momentum, number):
    """keep (bool) and momentum have the same shape -> the new mask."""
    raise NotImplementedError


# %%
grow_pushed = check(grow_pushed)

# %% [markdown]
# <details><summary>Hint</summary>
# As before, with the kept weights out of the search: <code>masked_fill(keep, -1.0)</code> and
# <code>argsort(descending=True)</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def grow_pushed(keep, momentum, number):
#     pushed = momentum.abs().masked_fill(keep, -1.0).flatten()
#     new = keep.clone().flatten()
#     new[pushed.argsort(descending=True)[:number]] = True
#     return new.view(keep.shape)
# ```
# </details>

# %% [markdown]
# ### Your two steps find a matrix
#
# A layer of 6x3 weights has to learn a matrix that has six non-zeros, and may keep six weights. Its mask begins at random.

# %%
lesson.predict("found", "after 8 rounds, how many of the 6 true places does the mask hold, on average?", 0, 6, "places")


# %%
def find_matrix(start, moves, rounds=8):
    """The true matrix, and (weight, mask, error) after each round."""
    random, seen = torch.Generator().manual_seed(start), []
    truth, keep, inputs = sparse.toy_matrix(random)
    weight, momentum = torch.zeros(6, 3), torch.zeros(6, 3)
    for done in range(rounds + 1):
        weight, momentum, error = sparse.toy_training(weight, momentum, keep, truth, inputs)
        seen.append((weight, keep, error))
        after = drop_smallest(weight, keep, 0.5 * (1 - done / rounds)) if moves else keep
        keep = grow_pushed(after, momentum, int(keep.sum() - after.sum()))
        weight = weight * keep * after
    return truth, seen


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
CELLS = {
    "texttemplate": "%{text}",
    "textfont": {"color": "#222", "size": 12},
    "xgap": 2,
    "ygap": 2,
    "hoverinfo": "skip",
}
SCALE = {"colorscale": [[0, "#e9a06f"], [0.5, "#f4f4f4"], [1, "#7fb8e0"]], "showscale": False, "zmin": -2, "zmax": 2}


def written(table, keep):
    """Numbers of the kept weights, nothing for absent ones."""
    pairs = zip(table.tolist(), keep.tolist(), strict=True)
    return [[f"{v:.1f}" if k else "" for v, k in zip(*pair, strict=True)] for pair in pairs]


def three_rounds(start, moves):
    truth, seen = find_matrix(start, moves)
    titles, tables = ["the true matrix"], [(truth, truth != 0)]
    for done in (0, 2, 8):
        weight, keep, _ = seen[done]
        hits = int((keep & (truth != 0)).sum())
        titles.append(f"round {done}: {hits} of 6 places")
        tables.append((weight, keep))
    fig = make_subplots(1, 4, subplot_titles=titles, horizontal_spacing=0.04)
    for column, (table, keep) in enumerate(tables, 1):
        fig.add_heatmap(z=table, text=written(table, keep), row=1, col=column, **CELLS, **SCALE)
    last = f"After round 8 the mask holds {hits} of the 6 true places."
    figures.layout(fig, height=310, takeaway=last)
    fig.update_annotations(font_size=13)
    fig.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, ticks="")
    fig.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, ticks="", autorange="reversed")
    errors = ", ".join(f"{seen[done][2]:.3f}" for done in (0, 2, 8))
    return fig, f"mean squared error after rounds 0, 2 and 8: {errors}"


sliders(three_rounds, start=(0, 9, 1), moves=True, labels={"start": "another start", "moves": "the mask may move"})

# %%
held = {}
for moves in (True, False):
    runs = [find_matrix(start, moves) for start in range(20)]
    held[moves] = sum(int((seen[-1][1] & (truth != 0)).sum()) for truth, seen in runs) / len(runs)
lesson.reveal("found", held[True], f"if the mask may not move, it holds {held[False]:.3g} (20 starts each).")

# %% [markdown]
# ## All layers of a network
#
# A network has many layers, and not all need the same density. Each layer drops the same *share* of its weights. The number of
# weights that grow is divided among the layers, in proportion to the mean |momentum| of their kept weights. The library's
# `allocate(total, shares, room)` divides a whole number:

# %%
print(allocate(10, [3.0, 1.0, 1.0], [20, 20, 20]))  # ten weights, three layers
print(allocate(10, [3.0, 1.0, 1.0], [4, 20, 20]))  # the first layer has room for four

# %% [markdown]
# ### Exercise: Rewiring
# Difficulty ●●●○○ · 15 minutes. Write this for all layers, with your two functions. `clear` sets absent weights to 0, in place.
# `rewire` drops in each layer, then clears, so that what grows again starts at 0. It then grows as many weights as it dropped in
# all. The share of a layer is the mean |momentum| of the weights that it still keeps. Its room is `int(0.99 · absent weights)`.


# %% tags=["exercise"]
class Rewiring:
    """Masks over the weights of a network. `masks` is the list of them."""

    def __init__(self, weights, masks):
        raise NotImplementedError  # keep both lists, and clear

    def clear(self):
        raise NotImplementedError

    def rewire(self, momenta, rate):
        raise NotImplementedError


# %%
Rewiring = check(Rewiring)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>zip(self.weights, self.masks)</code> walks through the layers. Weights are parameters, so change them under
# <code>torch.no_grad()</code>. Count the masks before and after the drop: the difference grows.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from oatlib.training.rewire import allocate
#
# class Rewiring:
#     """Masks over the weights of a network. `masks` is the list of them."""
#
#     def __init__(self, weights, masks):
#         self.weights = weights
#         self.masks = masks
#         self.clear()
#
#     def clear(self):
#         with torch.no_grad():
#             for weight, mask in zip(self.weights, self.masks):
#                 weight.mul_(mask)
#
#     def kept(self):
#         return sum(int(mask.sum()) for mask in self.masks)
#
#     def rewire(self, momenta, rate):
#         before = self.kept()
#         layers = zip(self.weights, self.masks)
#         self.masks = [drop_smallest(weight, mask, rate) for weight, mask in layers]
#         self.clear()
#         shares, room = [], []
#         for momentum, mask in zip(momenta, self.masks):
#             shares.append(momentum.abs()[mask].mean().item())
#             room.append(int(0.99 * (~mask).sum()))
#         numbers = allocate(before - self.kept(), shares, room)
#         layers = zip(self.masks, momenta, numbers)
#         self.masks = [grow_pushed(mask, momentum, number) for mask, momentum, number in layers]
# ```
# </details>

# %% [markdown]
# Is it what `oatlib.training.rewire` does? Give both the same masks and the same momentum. Each line must say True.

# %% tags=["nbval-check-output"]
theirs = oatlib.build("blend", data, seed=seed, masks="shared", density=0.1)
units = masked_units(theirs)
random = torch.Generator().manual_seed(seed)
optimizer = torch.optim.SGD(theirs.parameters(), 0.1, 0.9)
momenta = [torch.randn(unit.conv.weight.shape, generator=random) for unit in units]
for unit, momentum in zip(units, momenta, strict=True):
    optimizer.state[unit.conv.weight]["momentum_buffer"] = momentum
mine = Rewiring([unit.conv.weight.detach().clone() for unit in units], [unit.masks.clean.clone() for unit in units])
rewire(theirs, optimizer, 0.0)  # at the start of training the rate is one half
mine.rewire(momenta, 0.5)
same = [torch.equal(mask, unit.masks.clean) for mask, unit in zip(mine.masks, units, strict=True)]
print("the same masks in all layers:", all(same))
same = [torch.allclose(weight, unit.conv.weight) for weight, unit in zip(mine.weights, units, strict=True)]
print("the same weights:", all(same))

# %% [markdown]
# ## Inside training
#
# Now train a network with **your** `Rewiring`. The network has no masks of its own: it is `blend` on a small backbone of three
# convolutions. Two lines make its training sparse. They are marked.

# %%
net = oatlib.build("blend", data, backbone="plain", seed=seed)
weights = [part.weight for part in net.modules() if isinstance(part, torch.nn.Conv2d)]
random = torch.Generator().manual_seed(seed)
places = [torch.rand(weight.shape, generator=random) for weight in weights]
masks = [magnitude_mask(place, density) for place in places]  # a random mask with an exact number
sparsity = Rewiring(weights, masks)
at_first = [mask.float().mean().item() for mask in sparsity.masks]


# %%
def train_sparse():
    """Train `net`, and yield the number of steps and the loss after each."""
    optimizer = torch.optim.SGD(net.parameters(), 0.5, 0.9, weight_decay=5e-4, nesterov=True)
    total = epochs * (len(data.train) // 128)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total, cycle_momentum=False)
    taken = 0
    for epoch in range(epochs):
        if epoch:
            momenta = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
            sparsity.rewire(momenta, 0.5 * (1 - epoch / epochs))  # sparse: move the masks
        for index in torch.randperm(len(data.train), generator=random).split(128):
            stop, _ = sample_stops(net.spec.stops, len(index), random)
            batch = LambdaBatch(data.train.x[index], data.train.y[index], stop, net.spec.stops)
            eps = sparse.RADIUS * min(1, 4 * taken / total)
            optimizer.zero_grad()
            loss = train_step(net, batch, PGD(eps, 2, eps, best=False), random)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1)
            optimizer.step()
            sparsity.clear()  # sparse: absent weights are 0 again
            rate.step()
            taken += 1
            yield taken, loss.item()


# %%
live = LiveCurve(["loss"], "training step", "loss", takeaway="The loss of the sparse network falls.")
display(live)
for taken, loss in train_sparse():
    if taken % 8 == 0:
        live.add(taken, {"loss": loss}, f"step {taken}, loss {loss:.2f}")

# %%
yours = sparse.ends(net, data, n)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
now = [mask.float().mean().item() for mask in sparsity.masks]
names = [f"conv {i}, {weight.numel():,} weights" for i, weight in enumerate(weights, 1)]
seen = f"Rewiring moved weights: the first convolution keeps {now[0]:.0%} of its weights, the last {now[-1]:.0%}."
display(
    figures.bars(
        names,
        {"at first": [100 * v for v in at_first], "after training": [100 * v for v in now]},
        y_name="share of the weights kept, %",
        height=320,
        takeaway=seen,
    )
)
kept = [
    int(sum(share * weight.numel() for share, weight in zip(each, weights, strict=True)) + 0.5)
    for each in (at_first, now)
]
low, high = oatlib.wilson(round(n * yours["robust"]), n)
say(
    f"Your network keeps {kept[1]:,} weights in its convolutions; at first it was {kept[0]:,}. After {epochs} epochs it is right on "
    f"**{yours['clean']:.0%}** of clean images at λ = 0, and robust on **{yours['robust']:.0%}** at λ = 1 (95 % interval {low:.0%} to "
    f"{high:.0%}, n = {n}, quick suite: an upper bound). {seen}"
)

# %% [markdown]
# ## The fair comparison
#
# Everything again, on this small backbone, with three seeds. Prune a dense network and repair it in three ways, or train a sparse
# one. At each density all have the same number of weights. The sparse network also gets three more epochs, as the longest repair does.
# *Masks fixed* is the **ablation** of rewiring: sparse from the start, but its random masks stay as they are. There are two controls.
# A dense network trains as long. A **small** network has fewer channels (lesson 06), about as many weights, and keeps all of them.

# %%
question = "one in ten weights, equally long training: how much more robust is sparse from the start than pruned?"
lesson.predict("ahead", question, -40, 40, "points")

# %%
record = lesson.recorded("sparse_arms", sparse.sparse_arms)


def ahead(share, ours, other, key="robust"):
    """Points by which one arm is ahead of another, for each seed."""
    runs = record["runs"][share]
    return [100 * (a[key] - b[key]) for a, b in zip(runs[ours], runs[other], strict=True)]


equal = ahead("0.1", "sparse, 3 more epochs", "pruned, 3 more epochs")
lesson.reveal("ahead", sum(equal) / len(equal), f"the seeds: {', '.join(f'{value:+.1f}' for value in equal)}.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
arms = list(record["runs"]["0.1"])
rows = [*arms[::-1], "dense, 3 more epochs", "dense"]
panels = {"clean": "clean, λ = 0", "robust": "robust, λ = 1 (upper bound)"}
fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=list(panels.values()))
for column, key in enumerate(panels, 1):
    for i, share in enumerate(("0.3", "0.1")):
        found = record["runs"][share] | {name: record[name] for name in rows[-2:]}
        spots = [(100 * run[key], row) for row in rows for run in found[row] if i == 0 or row not in rows[-2:]]
        values, names = zip(*spots, strict=True)
        look = figures.style(i)["marker"] | {"size": 10, "opacity": 0.75}
        about = {"name": f"density {share}", "mode": "markers", "marker": look, "showlegend": column == 1}
        fig.add_scatter(x=values, y=names, row=1, col=column, **about)


def mean(share, arm, key="robust"):
    """Mean over the seeds, in percent."""
    values = [run[key] for run in record["runs"][share][arm]]
    return 100 * sum(values) / len(values)


seen = f"With a tenth of the weights, robust accuracy is {mean('0.1', 'pruned'):.0f} % after the cut and "
seen += f"{mean('0.1', 'pruned, 3 more epochs'):.0f} % after three more epochs; sparse from the start, equally long: "
seen += f"{mean('0.1', 'sparse, 3 more epochs'):.0f} %."
figures.layout(fig, "%", height=460, takeaway=seen).update_layout(legend={"y": 1.12})
fig.update_xaxes(title_text="accuracy, % (a marker per seed)")
fig.update_yaxes(categoryorder="array", categoryarray=rows)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def with_range(share, arm, key):
    values = [100 * run[key] for run in record["runs"][share][arm]]
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def row(share, arm):
    lasted = record["epochs"] + (3 if "3 more" in arm else 1 if "1 more" in arm else 0)
    return f"| {share} | {arm} | {lasted} | {with_range(share, arm, 'clean')} | {with_range(share, arm, 'robust')} |"


record["runs"]["1"] = {name: record[name] for name in ("dense", "dense, 3 more epochs")}
small_ones = [
    (share, run) for share in ("0.3", "0.1") for arm in arms for run in record["runs"][share][arm] if "stopped" in run
]
stopped = [f"density {share}" for share, run in small_ones if run["stopped"]]
widest = 50 * (lambda pair: pair[1] - pair[0])(oatlib.wilson(record["dense"][0]["n"] // 2, record["dense"][0]["n"]))
counts = [f"{c['small']:,} against {c['sparse']:,} at density {share}" for share, c in record["weights"].items()]
say(
    "| density | | epochs | clean, λ = 0 | robust, λ = 1 |\n|---|---|---|---|---|\n"
    + "\n".join(row(share, arm) for share in ("1", "0.3", "0.1") for arm in record["runs"][share])
    + f"\n\nPercent: mean over the seeds {', '.join(map(str, record['seeds']))}, lowest to highest in brackets. {record['attack']}: upper "
    f"bounds. n = {record['dense'][0]['n']} validation images; the 95 % interval of one number is at most {widest:.1f} points to each side. Backbone "
    f"`{record['backbone']}`, preset `{record['preset']}` with the epochs in the table. Pruned networks train on with a learning rate of at most {record['more']['lr']}. "
    f"Guessing gives {100 / len(data.classes):.1f} %. Weights of the small networks: {'; '.join(counts)}. Of their {len(small_ones)} trainings, "
    f"{len(stopped)} fell to chance ({', '.join(sorted(set(stopped)))}). Those networks have the weights of their last good epoch."
)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def verdict(share, ours, other):
    gaps = ahead(share, ours, other)
    average = sum(gaps) / len(gaps)
    side = "no clear difference"
    if abs(average) > margin and min(gaps) * max(gaps) > 0:
        side = "**ahead**" if average > 0 else "**behind**"
    return f"{side} at density {share} ({gaps_in_words(gaps)} points)"


def gaps_in_words(gaps):
    return f"{min(gaps):+.1f} to {max(gaps):+.1f}"


count = record["dense"][0]["n"]
margin = 100 * (oatlib.wilson(count // 2, count)[1] - 0.5)
PAIRS = [
    ("sparse from the start", "pruned", "against the bare cut"),
    ("sparse from the start", "pruned, new statistics", "against the cut with new statistics"),
    ("sparse from the start", "pruned, 1 more epoch", "against the cut with one more epoch"),
    ("sparse, 3 more epochs", "pruned, 3 more epochs", "equally long training, three more epochs for both"),
    ("sparse from the start", "sparse, masks fixed", "rewiring against fixed random masks (the ablation)"),
    ("sparse, 3 more epochs", "small, 3 more epochs", "against a small network of equal size, equally long training"),
]
say(
    "Robust accuracy of a network that is sparse from the start:\n\n"
    + "\n".join(
        f"* {text}: {verdict('0.3', ours, other)}; {verdict('0.1', ours, other)}" for ours, other, text in PAIRS
    )
    + f"\n\nClean accuracy at density 0.1, equally long training: {gaps_in_words(ahead('0.1', *PAIRS[3][:2], 'clean'))} points."
    + f"\n\n*Ahead* and *behind*: with every seed, and by more than {margin:.1f} points on average (the half width of the 95 % interval of one "
    "number)."
)

# %% [markdown]
# So the answer depends on the baseline. Against the bare cut, sparse training looks much better. After equally long training, there is
# no clear difference in robust accuracy between pruned and sparse networks. In clean accuracy the sparse ones are a little better at a tenth of the weights.
# Rewiring does help a network that *is* trained sparse. And zeros beat a cut in width: a sparse network is more robust than a small one
# with as many weights. But an ordinary convolution multiplies by zeros, too (next section). More training also helps the dense network.
#
# Sparse training has one advantage left: it never holds a dense network. That matters if the dense network does not fit into
# memory. But the momentum of absent weights needs memory, too.
#
# ## What does sparsity save?
#
# Here is `floats`, the ready network with three weights in ten. It also has the noise of lesson 08.

# %%
prices = {name: oatlib.cost(net, 1.0) for name, net in (("blend", blend), ("floats", floats))}
dense_f, sparse_f = blend.at(1.0), floats.at(1.0)


def seconds(f):
    """How long a plain network takes for the panel."""
    began = time.perf_counter()
    f(panel.x)
    return time.perf_counter() - began


with torch.no_grad():
    warm = seconds(dense_f) + seconds(sparse_f)
    ratios = sorted(seconds(dense_f) / seconds(sparse_f) for _ in range(21))

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
low, median, high = ratios[1], ratios[10], ratios[19]
if low > 1:
    speed = "So it is faster here, but far less than the count of multiplications says."
elif high < 1:
    speed = "So it is even slower here."
else:
    speed = "So no speed-up can be seen: an ordinary convolution multiplies by zeros as by other numbers."
saved = [prices["blend"].stored / prices["floats"].stored, prices["blend"].nonzero_macs / prices["floats"].nonzero_macs]
filled = {}
for name, part in floats.named_modules():
    if getattr(part, "masks", None) is not None:
        filled[name.removeprefix("body.").replace("blocks.", "block ").replace(".", " ")] = (
            part.masks.clean.float().mean().item()
        )
display(
    figures.bars(
        list(filled),
        {"floats": [100 * share for share in filled.values()]},
        y_name="share of the weights kept, %",
        height=300,
        takeaway=f"Rewiring left {max(filled.values()):.0%} in the densest layer and {min(filled.values()):.0%} in the sparsest.",
    )
)
say(
    f"`floats` stores **{prices['floats'].stored:,}** parameters, `blend` {prices['blend'].stored:,}: {saved[0]:.1f} times as many. Without those "
    f"by zero it needs {saved[1]:.1f} times fewer multiplications. Measured time, `blend` by `floats`: **{median:.2f}** "
    f"(nine tenths of 21 rounds: {low:.2f} to {high:.2f}). {speed}"
)

# %% [markdown]
# A file, or a chip that skips zeros, can gain. Masks of whole channels gain everywhere, because a channel can be left out.
#
# ## Open exercise: a tenth of the weights, fifty steps
#
# ### Exercise: shrink
# Difficulty ●●●●● · 40 minutes. You get the ready network `blend` and 1,024 training images. Return it with at most a tenth of the weights
# of its convolutions, counted together. The check measures both ends on 128 validation images by the quick suite. It asks for
# clean accuracy `0.95` and robust accuracy `0.55`. You may train, for about 50 steps. How you choose the weights, layer by layer or over all
# layers, in one cut or in several, is up to you.


# %% tags=["exercise"]
def shrink(net, x, y):
    """net (a `blend` network), images (N, C, H, W), labels (N,) -> the
    network with at most a tenth of the weights of its convolutions."""
    raise NotImplementedError


# %%
shrink = check(shrink)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>train_step</code> from the cell above trains both ends of the network. After each <code>optimizer.step()</code> set the
# weights outside the mask to 0 again. Cut in several steps, with training between them. One threshold for all layers keeps
# layers that need their weights.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import torch
# from oatlib import PGD
# from oatlib.training.lambda_batch import LambdaBatch
# from oatlib.training.recipes import sample_stops
# from oatlib.training.step import train_step
#
# def shrink(net, x, y):
#     convs = [part.weight for part in net.modules() if isinstance(part, torch.nn.Conv2d)]
#     total = sum(weight.numel() for weight in convs)
#     optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, nesterov=True)
#     random = torch.Generator().manual_seed(0)
#     for density in (0.5, 0.25, 0.15, 0.1, 0.1, 0.1):
#         sizes = torch.cat([weight.detach().abs().flatten() for weight in convs])
#         least = sizes.sort(descending=True).values[int(density * total) - 1]
#         masks = [weight.detach().abs() >= least for weight in convs]
#         sparse = Rewiring(convs, masks)
#         for index in torch.randperm(len(x), generator=random).split(128):
#             stop, _ = sample_stops(net.spec.stops, len(index), random)
#             batch = LambdaBatch(x[index], y[index], stop, net.spec.stops)
#             optimizer.zero_grad()
#             train_step(net, batch, PGD(8 / 255, 3, best=False), random)
#             torch.nn.utils.clip_grad_norm_(net.parameters(), 1)
#             optimizer.step()
#             sparse.clear()
#     return net
# ```
# </details>

# %%
small = shrink(oatlib.ready("blend"), data.train.x[:1024], data.train.y[:1024])
shrunk = sparse.ends(small, data, n)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
say(
    f"Your function, or the solution: clean {with_interval(shrunk['clean'], n)}, robust {with_interval(shrunk['robust'], n)} (n = {n}, 95 % "
    f"intervals; robust: upper bound). The dense network has {cut[-1]['clean']:.0%} and {cut[-1]['robust']:.0%}, the cut alone {own['cut']['clean']:.0%} and {own['cut']['robust']:.0%} (n = 128)."
)

# %% [markdown]
# ## Look at it
#
# What does an attack do to the dense network, and to yours?

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
shown = data.val.panel(6)
pictures, texts = {"image": shown.x}, {"image": captions(data, shown, range(6))}
still = {}
for name, each in {"blend": blend, "shrunk": small}.items():
    f = each.at(1.0)
    x_adv = PGD(sparse.RADIUS, 20)(f, shown.x, shown.y, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        said = f(x_adv).argmax(1).tolist()
    marks = ["✓" if a == b else "✗" for a, b in zip(said, shown.y.tolist(), strict=True)]
    still[name] = marks.count("✓")
    pictures |= {f"{name}, attacked": x_adv, f"{name}: change × 8": figures.change(shown.x, x_adv, 8)}
    texts[f"{name}, attacked"] = [f"{mark} {data.classes[a]}" for mark, a in zip(marks, said, strict=True)]
figures.images(
    pictures,
    texts,
    tile=84,
    takeaway=f"After PGD-20 with 8/255 {still['blend']} of 6 answers of blend are right, and {still['shrunk']} of 6 of the small network.",
)

# %% [markdown]
# Checks that every measurement must pass. Each line must say True:

# %% tags=["nbval-check-output"]
f = small.at(1.0)
convs = [part.weight for part in small.modules() if isinstance(part, torch.nn.Conv2d)]
nonzero = sum(int((weight != 0).sum()) for weight in convs)
free = f(PGD(0.0, 5)(f, panel.x, panel.y))
climb = list(PGD(0.5, 10).iterates(f, panel.x, panel.y))
losses = [F.cross_entropy(logits, panel.y).item() for _, logits in climb]
left = (climb[-1][1].argmax(1) == panel.y).float().mean().item()
print("at most a tenth of the weights is left:", nonzero <= 0.1 * sum(weight.numel() for weight in convs))
print("an attack with ε = 0 changes no answer:", torch.equal(free.argmax(1), f(panel.x).argmax(1)))
print("with ε = 0.5 the loss rises:", losses[-1] > losses[0])
print("and few answers are right:", left < 0.15)

# %% [markdown]
# > **Pitfalls**
# > * *Comparing with the bare cut*: new statistics bring most of the clean accuracy back, and a little training much of the rest.
# > * *Counting zeros as speed*: an ordinary convolution multiplies by them. Say whether a count is stored, non-zero or time.
# > * *Weights that come back*: momentum and weight decay move absent weights. Clear them after every step.
# > * *Growing with the old value*: a weight that was dropped and grows again must start at 0.
# > * *Old statistics*: a pruned layer has other means and variances than its BatchNorm expects.
# > * *Noise on masked weights*: if it falls on all entries, the sparse network is dense again.
#
# ## What we showed, and what we did not show
#
# Do not judge pruning by the bare cut. New statistics bring most of the clean accuracy back, and a little training much of the rest.
# Rewiring is better than fixed random masks, and a sparse network better than a small one with as many weights. In our world, a network that is sparse from the start and a pruned one that trains on show
# no clear difference in robust accuracy after equally many epochs.
#
# **What we did not show:**
#
# * that this holds for photographs, for large networks or for longer training
# * that noise and sparsity work together as in FLOATS, or that sparse networks are faster
# * which steps of pruning are best, or how good a small network is with a learning rate chosen for it
#
# All robust accuracies are upper bounds.
#
# ## Try this
#
# * Set `density` to 0.05. Which layers does your `Rewiring` keep densest?
# * Train with masks that never move: take the line with `sparsity.rewire` out. What happens to the loss?
# * Draw the mask of the first convolution before and after training.
#
# ## Sources
#
# * Kundu et al. 2023, *A Fast and Efficient Conditional Learning for Tunable Trade-Off between Accuracy and Robustness* (FLOAT, FLOATS)
# * Dettmers and Zettlemoyer 2019, *Sparse Networks from Scratch: Faster Training without Losing Performance* (sparse momentum)
# * Han et al. 2015, *Learning both Weights and Connections for Efficient Neural Networks* (pruning, with training afterwards)
#
# **Next:** [09b · Dial or switch?](09b_dial_or_switch.ipynb): two sparse networks fit into one. What lies between them?

# %%
lesson.finish(cut=cut, own=own, places=held, yours=yours, shrunk=shrunk, ahead=equal, times=[low, median, high])
