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
# # 09 · Which weights does a dial need, and when is it only a switch?
#
# **You will be able to**
#
# * prune the smallest weights and regrow others during training, and say why that beats pruning afterwards
# * give clean and attacked images masks of their own, and count what a network stores and what a setting uses
# * predict from the weights of both ends whether the way between them is a dial or a switch
# * read a picture of eleven systems: robust accuracy at a given clean accuracy, price, and what is within noise
#
# **Before this:** [08 · Weight noise](08_weight_noise.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no · **Words:** [glossary](GLOSSARY.md)
# network, no GPU

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 32 to 512: validation images that are measured and attacked (digits has 200)
density: float = 0.3  # 0.05 to 1: share of the weights that is kept in the first picture
epochs: int = 4  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights, masks and attacks
retrain: bool = False  # train four networks here (minutes) instead of loading those that come along
recompute: bool = False  # train the networks of the ablation again (minutes), do not read records

# %%
import copy
import statistics
import time
from functools import cache

import torch
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import PGD
from oatlib.attacks import robust_accuracy
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.evaluation.baselines import robust_at
from oatlib.explorer import open_files
from oatlib.explorer.description import captions
from oatlib.explorer.surface import EPS as surface_eps
from oatlib.layers.masks import Masks
from oatlib.networks.network import masked_units
from oatlib.training.rewire import rewire

lesson = begin("09_sparse_experts", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n, radius = panel.x, panel.y, len(panel), 8 / 255
nets = {name: lesson.network(name, data) for name in ("blend", "float", "floats", "smart")}


def source(number=seed):
    """A generator of its own for whatever is random."""
    return torch.Generator().manual_seed(number)


# %% [markdown]
# ## The failure
#
# FLOAT of lesson 08 has two BatchNorms and noise. `blend` leaves the noise out: it trains the two ends, clean and attacked
# images with a BatchNorm each, and interpolates. Are all of its *weights* needed? Many are small.
# Keep the largest of each convolution, set the others to 0, and attack what is left (λ = 1, PGD-5).

# %%
lesson.predict("prune", f"of {n} images, how many are right under attack with a share of {density:g} of the weights?")


# %%
def accuracies(f, steps=5):
    """(clean, robust) of a plain network on the panel; robust: right as it is and attacked."""
    with torch.no_grad():
        clean = (f(x).argmax(1) == y).double().mean().item()
    return clean, robust_accuracy(f, x, y, PGD(radius, steps), source())


def keep_largest(net, share):
    """A copy with only the largest weights of each conv."""
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for part in twin.modules():
            if isinstance(part, nn.Conv2d):
                size = part.weight.abs()
                number = max(1, round(share * size.numel()))
                part.weight.mul_(size >= size.flatten().sort(descending=True).values[number - 1])
    return twin


def banded(shares):
    """(values, low, high) in percent, with 95 % intervals."""
    around = [oatlib.wilson(round(s * n), n) for s in shares]
    return tuple([100 * v for v in values] for values in (shares, *zip(*around, strict=True)))


shares = sorted({0.1, 0.2, 0.4, 0.6, 0.8, 1.0, density})
cut = [accuracies(keep_largest(nets["blend"], share).at(1.0)) for share in shares]
sparse = accuracies(nets["floats"].at(1.0))
curves = {f"{w}, pruned after training": banded([c[i] for c in cut]) for i, w in enumerate(("clean", "robust"))}
fig = figures.lines(shares, curves, x_name="share of the weights kept", y_name="accuracy, % (band: 95 % interval)")
kept = nets["floats"].spec.density
fig.add_scatter(
    x=[kept],
    y=[100 * sparse[1]],
    name="robust, trained sparse (floats)",
    mode="markers",
    marker={**figures.style(2)["marker"], "size": 14},
)

# %%
at = shares.index(density)
lesson.reveal("prune", 100 * cut[at][1], "many weights can go for nothing, but not so many, and not afterwards.")

# %%
say(
    f"With all weights `blend` is right on {cut[-1][0]:.1%} of clean images and {cut[-1][1]:.1%} of attacked ones (n = {n}); "
    f"pruned after training to {density:g} on **{cut[at][0]:.1%}** and **{cut[at][1]:.1%}**. `floats` never had more than a "
    f"share of {kept:g}, and is right on **{sparse[0]:.1%}** and **{sparse[1]:.1%}**. It was not pruned: it was *rewired*."
)

# %% [markdown]
# ## Small enough to see: six of eighteen weights
#
# A layer of 6x3 weights shall learn a matrix that has six non-zeros, and may keep six. A **mask** says which: 1 for kept,
# 0 for absent. It begins at random. After every round of training, the *smallest* kept weights go: they matter least. Then
# as many *grow* where training pushes hardest. An absent weight is 0, but it has a gradient, and **momentum** (the running
# sum of gradients) remembers which way it was pushed. This is sparse momentum (Dettmers and Zettlemoyer 2019); FLOATS
# trains so.
#
# ### Exercise: prune_regrow
# Difficulty ●●●○○ · 8 minutes. One rewiring of one layer. `rate` is the share of the kept weights that goes, rounded up, but
# never the last one.


# %% tags=["exercise"]
def prune_regrow(weight, keep, momentum, rate):
    """The new mask (bool, shaped like weight) with as many
    True as `keep` has, which stays as it is."""
    raise NotImplementedError  # your code instead of this line


# %%
prune_regrow = check(prune_regrow)

# %% [markdown]
# <details><summary>Hint</summary>
# Work on a flat copy of the mask. <code>masked_fill(~keep, math.inf)</code> keeps absent weights out of a search for the
# smallest. What has just gone is absent, too, and may grow again.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def prune_regrow(weight, keep, momentum, rate):
#     kept = keep.sum().item()
#     number = min(math.ceil(rate * kept), kept - 1)
#     new = keep.clone().flatten()
#     small = weight.abs().flatten().masked_fill(~new, math.inf)
#     new[small.argsort()[:number]] = False
#     pushed = momentum.abs().flatten().masked_fill(new, -1)
#     new[pushed.argsort(descending=True)[:number]] = True
#     return new.view(keep.shape)
# ```
# </details>

# %%
lesson.predict("found", "after 8 rounds, how many of the 6 true places does the mask hold, on average?", 0, 6, "places")


# %%
@cache
def history(start, moves, rounds=8):
    """The true matrix, and after each round of training (weight, mask, next mask, momentum, mean squared error)."""
    random, frames = source(start), []
    places, keep = (torch.randperm(18, generator=random).view(6, 3) < 6 for _ in range(2))
    truth, weight = torch.randn(6, 3, generator=random), 0.3 * torch.randn(6, 3, generator=random) * keep
    truth, momentum = (truth + 0.3 * truth.sign()) * places, torch.zeros(6, 3)
    inputs = torch.randn(256, 3, generator=random)
    for done in range(rounds + 1):
        for _ in range(20):
            error = inputs @ (weight - truth).T
            momentum = 0.9 * momentum + error.T @ inputs / len(inputs)  # dense: absent weights are pushed, too
            weight = (weight - 0.05 * momentum) * keep
        rate = 0.5 * (1 - done / rounds)  # fewer and fewer move
        after = prune_regrow(weight, keep, momentum, rate) if moves and done < rounds else keep
        frames.append((weight, keep, after, momentum, error.pow(2).mean().item()))
        weight, keep = weight * after, after
    return truth, frames


# %%
CELLS = {
    "texttemplate": "%{text}",
    "textfont": {"color": "#222", "size": 13},
    "xgap": 2,
    "ygap": 2,
    "hoverinfo": "skip",
}
SCALE = {"colorscale": [[0, "#e9a06f"], [0.5, "#f4f4f4"], [1, "#7fb8e0"]], "showscale": False}


def matrices(titles, tables, texts, top, **more):
    """6x3 tables side by side, with a text in each cell."""
    fig = make_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.06, **more)
    for column, (table, text) in enumerate(zip(tables, texts, strict=True), 1):
        fig.add_heatmap(z=table, text=text, zmin=-top, zmax=top, row=1, col=column, **CELLS, **SCALE)
    figures.layout(fig, height=330).update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    return fig.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, autorange="reversed")


def written(table):
    """Numbers as texts, nothing for 0."""
    return [[f"{v:.1f}".replace("-0.0", "0.0") if v else "" for v in row] for row in table.tolist()]


# %%
def rewiring(start, rounds, moves):
    """The picture after so many rounds."""
    truth, frames = history(start, moves)
    weight, keep, after, momentum, error = frames[rounds]
    text = written(weight)
    for i, j in (keep != after).nonzero().tolist():
        text[i][j] = "0 ↑" if after[i, j] else f"{text[i][j]} ↓"
    titles = ["the true matrix", "weights (↓ goes, ↑ grows)", "momentum"]
    drawn = (keep | after).tolist()  # None where nothing is, and nothing comes
    shown = [[w if d else None for w, d in zip(*row, strict=True)] for row in zip(weight.tolist(), drawn, strict=True)]
    fig = matrices(titles, (truth, shown, momentum), (written(truth), text, written(momentum)), 2.0)
    found = (keep & (truth != 0)).sum()
    return fig, f"{found} of 6 true places are in the mask; mean squared error {error:.3f}"


sliders(
    rewiring,
    rounds=(0, 8, 1),
    start=(0, 9, 1),
    moves=True,
    labels={"rounds": "rounds of rewiring", "start": "another random start", "moves": "the mask may move"},
    start_at={"rounds": 0},
)

# %%
places = {moves: [] for moves in (True, False)}
for moves, found in places.items():
    for start in range(20):
        truth, frames = history(start, moves)
        found.append((frames[-1][1] & (truth != 0)).sum().item())
held = {moves: statistics.fmean(found) for moves, found in places.items()}
lesson.reveal("found", held[True], f"if the mask may not move, it holds {held[False]:.3g} (20 starts each).")

# %% [markdown]
# ## Where did the weights of a real network go?
#
# Every layer of `floats` began with the same density. Rewiring took from some and gave to others; the total is the same.

# %%
found = {name.removeprefix("body."): getattr(part, "masks", None) for name, part in nets["floats"].named_modules()}
filled = {name: masks.clean.float().mean().item() for name, masks in found.items() if masks is not None}
marks = {"after training": list(filled.values()), "at first": [kept] * len(filled)}
names = [name.replace("blocks.", "block ").replace(".", " ") for name in filled]
figures.bars(names, marks, y_name="share of the weights kept", height=340)

# %% [markdown]
# ## Two experts in one matrix
#
# If most weights may be absent, two networks fit into one. **SMART** (Kundu et al. 2023) gives clean and attacked images
# masks of their own in the late layers: two *experts*, each of which sees its weights only. With **complementary** masks
# every weight serves exactly one of them.
#
# ### Exercise: two_experts
# Difficulty ●●○○○ · 5 minutes. Exactly `round(density · number of weights)` at random places for the clean expert, and all
# the others for the robust one.


# %% tags=["exercise"]
def two_experts(weight, density, generator):
    """(clean, adv): two boolean masks shaped like weight. They
    share no weight and leave none over."""
    raise NotImplementedError


# %%
two_experts = check(two_experts)

# %% [markdown]
# <details><summary>Hint</summary>
# A random permutation of all places has an exact number of first ones. Comparing random numbers with the density has not.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def two_experts(weight, density, generator):
#     places = torch.randperm(weight.numel(), generator=generator)
#     clean = torch.zeros(weight.numel(), dtype=torch.bool)
#     clean[places[: round(density * weight.numel())]] = True
#     return clean.view(weight.shape), ~clean.view(weight.shape)
# ```
# </details>

# %% [markdown]
# What does it save? Two prices: what is **stored** for the whole dial, and what is **active** in one setting. Weights that no
# mask keeps are neither. (`oat` is here for its price only, so it need not be trained.)

# %%
priced = {"oat": oatlib.build("oat", data)} | nets
prices = {name: oatlib.cost(net, 1.0) for name, net in priced.items()}
marks = {"stored": [c.stored for c in prices.values()], "active at λ = 1": [c.active for c in prices.values()]}
figures.bars(list(prices), marks, y_name="parameters", height=340)


# %%
def times(slow, fast):
    """How long one network takes for the panel, as a multiple of another: the median of seven turns."""
    taken = []
    with torch.no_grad():
        for _ in range(7):
            marks = [time.perf_counter() for f in (None, slow, fast) if f is None or f(x) is not None]
            taken.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return statistics.median(taken)


saved = prices["blend"].nonzero_macs / prices["floats"].nonzero_macs
say(
    f"`floats` stores {prices['floats'].stored:,} parameters, `blend` {prices['blend'].stored:,}, `oat` "
    f"{prices['oat'].stored:,}. `smart` stores as many as `blend`, but a setting uses only {prices['smart'].active:,}. Without "
    f"multiplications by 0, `floats` has **{saved:.2f} times** fewer than `blend`. Does that make it faster? Here `blend` takes "
    f"**{times(nets['blend'].at(1.0), nets['floats'].at(1.0)):.2f} times** as long: an ordinary convolution multiplies by "
    "zeros like by other numbers."
)

# %% [markdown]
# ## A dial or a switch?
#
# At the ends, all of these networks work. In between, `net.at(lam)` mixes the folded weights of the two ends. Nobody trained
# what comes out. Build it, then predict.
#
# ### Exercise: blend_weights
# Difficulty ●○○○○ · 3 minutes. All entries of two state dicts, on the straight line between them.


# %% tags=["exercise"]
def blend_weights(clean, adv, lam):
    """{name: tensor}, (1 - lam)·clean + lam·adv, for two dicts with the same names."""
    raise NotImplementedError


# %%
blend_weights = check(blend_weights)

# %% [markdown]
# <details><summary>Hint</summary>
# A dict comprehension over the names. Biases are mixed, too: the shift of BatchNorm has been folded into them.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def blend_weights(clean, adv, lam):
#     return {name: (1 - lam) * clean[name] + lam * adv[name] for name in clean}
# ```
# </details>

# %%
lesson.predict("half", "smart keeps its experts apart. Half-way between them, how many clean images are right?", 0, 100)

# %%
lams = [i / 10 for i in range(11)]
ends = {name: [net.at(lam) for lam in (0.0, 1.0)] for name, net in nets.items()}


def between(name, lam):
    """The plain network at λ between the ends of a system, made with blend_weights."""
    f = copy.deepcopy(ends[name][0])
    f.load_state_dict(blend_weights(*(end.state_dict() for end in ends[name]), lam))
    return f


with torch.no_grad():
    along = {name: [(between(name, lam)(x).argmax(1) == y).float().mean().item() for lam in lams] for name in nets}
curves = {name: banded(values) for name, values in along.items()}
figures.lines(lams, curves, x_name="λ", y_name="clean, % (band: 95 % interval)")

# %%
dips = {name: 100 * (min(v[0], v[-1]) - min(v)) for name, v in along.items()}
lesson.reveal("half", 100 * along["smart"][5], "a switch: each end is an expert, and the middle is neither.")

# %%
say(
    "How far does clean accuracy dip below the worse of the two ends? "
    + ", ".join(f"`{name}` by **{max(0, dip):.1f}** points" for name, dip in dips.items())
    + f" (n = {n}; the bands above are 95 % intervals). A system that dips is a switch between two experts."
)

# %% [markdown]
# ## Why: do the ends point the same way?
#
# Turn λ and look at a corner of the last convolution: six outputs, three inputs, one of nine taps, drawn in units of its
# largest entry. In `blend` the two ends look alike. In `smart` they have no entry in common, and half-way
# *every* weight of *both* experts is there at half its size: a dense network that neither has ever been.

# %%
corners = {name: [end.state_dict()["blocks.2.second.weight"][:6, :3, 1, 1] for end in ends[name]] for name in nets}


def corner(system, lam):
    """The corner at both ends and at λ, and clean accuracy there."""
    clean, adv = corners[system]
    top = max(t.abs().max().item() for t in (clean, adv))
    tables = [t / top for t in (clean, (1 - lam) * clean + lam * adv, adv)]
    titles = ["clean end", f"λ = {lam:g}", "robust end", "clean accuracy, %"]
    fig = matrices(titles, tables, list(map(written, tables)), 1.0, column_widths=[1, 1, 1, 2])
    values = [100 * v for v in along[system]]
    here, look = values[lams.index(lam)], {"row": 1, "col": 4, "showlegend": False}
    fig.add_scatter(x=lams, y=values, mode="lines", line=figures.style(0)["line"], **look)
    fig.add_scatter(x=[lam], y=[here], mode="markers", marker=figures.style(1)["marker"], **look)
    fig.update_xaxes(title_text="λ", showticklabels=True, showgrid=True, col=4)
    fig.update_yaxes(range=[0, 100], autorange=False, showticklabels=True, showgrid=True, col=4)
    return fig, f"{system}: {here:.1f} % of n = {n} clean images are right at λ = {lam:g}"


sliders(corner, system=list(nets), lam=lams, labels={"lam": "λ"}, start_at={"system": "smart", "lam": 0.5})


# %%
def alike(clean, adv):
    """Cosine between the folded weights of both ends, for each convolution."""
    first, second = clean.state_dict(), adv.state_dict()
    convs = [name for name, weight in first.items() if weight.dim() == 4]
    return {
        name.removesuffix(".weight"): torch.cosine_similarity(
            first[name].flatten(), second[name].flatten(), dim=0
        ).item()
        for name in convs
    }


cosines = {name: alike(*pair) for name, pair in ends.items()}
bars = {name: list(each.values()) for name, each in cosines.items()}
figures.bars(list(cosines["blend"]), bars, y_name="cosine of both ends", height=360)

# %% [markdown]
# Where the cosine is 0, the mixture of two weights of length 1 is shorter, and half of it is foreign to either end. That
# goes with the dip. It is not all there is to it: the first layer has a low cosine in every system, and three of them are
# dials all the same. The ablation asks whether the masks make the dip.
#
# ## Ablation: complementary, overlapping or one mask for both
#
# `smart` with three kinds of masks, and `floats` with ever fewer weights, each trained from the same seed with the preset
# `fast`. **Overlapping** masks are two random masks that rewiring may move, each for its own expert; **shared** is one mask for
# both. This takes minutes, so you see a record. It was made in the first world of this package (constant trust: a shape
# belongs to the label equally often in every image), with the preset of that time, which attacked with two steps. Its robust
# accuracies are those of PGD, so upper bounds. Do not compare them with numbers of today's networks.


# %%
def compute():
    """Train `smart` with each kind of mask and `floats` at two densities; accuracies along λ, cosines, prices."""
    judged = data.val.panel(min(256, len(data.val)))
    found = {"data": data.name, "world": "as above", "seed": seed, "n": len(judged), "steps": 10, "lams": lams}
    kinds = {kind: ("smart", {"masks": kind}) for kind in ("complementary", "overlapping", "shared")}
    for name, (recipe, options) in (kinds | {d: ("floats", {"density": float(d)}) for d in ("0.1", "0.03")}).items():
        net = oatlib.build(recipe, data, seed=seed, **options)
        oatlib.train(net, data, "fast", seed, progress=False)
        rows = []
        for lam in lams:  # of noisy weights one frozen draw, as `along` has it
            rows.append(oatlib.evaluate(net.at(lam), judged, PGD(radius, 10), progress=False)[0])
        price, late = oatlib.cost(net, 1.0), list(alike(net.at(0.0), net.at(1.0)).values())[-3:]
        found[name] = {
            "clean": [r.clean for r in rows],
            "robust": [r.robust for r in rows],
            "stored": price.stored,
            "active": price.active,
            "cosine": statistics.fmean(late),
        }
    return found


record = lesson.recorded("smart_masks", compute)

# %%
kinds = ("complementary", "overlapping", "shared")
curves = {f"{kind}, clean": [100 * v for v in record[kind]["clean"]] for kind in kinds}
curves |= {f"{kind}, robust": [100 * v for v in record[kind]["robust"]] for kind in kinds}
figures.lines(record["lams"], curves, x_name="λ", y_name="accuracy, %", height=420)

# %%
lines = [
    "| trained | stored | active | cosine of both ends, late layers | clean, λ = 0 | lowest clean | robust, λ = 1 |"
]
lines += ["|---|---|---|---|---|---|---|"]
for name in (*kinds, "0.1", "0.03"):
    r, title = record[name], name if name in kinds else f"`floats`, density {name}"
    low, high = oatlib.wilson(round(r["robust"][-1] * record["n"]), record["n"])
    lines.append(
        f"| {title} | {r['stored']:,} | {r['active']:,} | {r['cosine']:.2f} | {r['clean'][0]:.1%} | {min(r['clean']):.1%} | "
        f"{r['robust'][-1]:.1%} ({low:.1%} to {high:.1%}) |"
    )
low, high = oatlib.wilson(record["n"] // 2, record["n"])
lines += [
    "",
    f"Recorded on {record['data']}, {record.get('world', 'first world')}, seed {record['seed']}, n = {record['n']} validation "
    f"images, PGD-{record['steps']}.",
]
say(
    "\n".join(lines)
    + f" In brackets the 95 % interval; that of any accuracy is at most ±{50 * (high - low):.1f} points."
)

# %% [markdown]
# Rewiring was free to keep overlapping masks apart. Compare *stored* with *active* to see what it did: where they are close,
# the two experts chose nearly the same weights. And there is such a thing as too few: look at the last row.
#
# ## All systems on one screen
#
# Every network of the course that comes along, from curves measured before: the suite at 8/255 on validation images, full
# width.
# On the left those that FiLM conditions, on the right those whose weights carry the dial; in grey what has no dial.

# %%
ready = data_set == "shapes" and seed == 0 and not retrain
others = ("standard", "pgd-at", "trades", "oat", "oats", "snn", "solar")  # to train all these here would take minutes
everything = nets | {name: lesson.network(name, data) for name in others if ready}
surfaces = lesson.surfaces(everything, data)
fronts = {}
for name, surface in surfaces.items():
    at, lams_here, size = surface_eps.index(8.0), surface.lams, len(surface.panel)
    attack = surface.attack_at(-1, at)  # the strongest one by which the whole dial was measured
    if attack is None:  # trained here: nothing was measured before
        lams_here, size = [0.0, 0.5, 1.0], n
        pairs = [accuracies(everything[name].at(lam), 10) for lam in lams_here]
    else:
        pairs = list(zip(surface.clean[-1], surface.robust[attack][-1][at], strict=True))
    fronts[name] = [
        {"lam": lam, "clean": c, "robust": r, "n": size} for lam, (c, r) in zip(lams_here, pairs, strict=True)
    ]

# %%
groups = [("oat", "oats", "solar"), ("blend", "float", "floats", "smart")]
alone = {name: points[0] for name, points in fronts.items() if len(points) == 1}
for mark in open_files.marks(data):  # networks that were trained for one λ each
    alone[mark["name"]] = {"clean": mark["clean"], "robust": mark["robust"][mark["eps"].index(8.0)]}
dots = {"x": [100 * p["clean"] for p in alone.values()], "y": [100 * p["robust"] for p in alone.values()]}
dots |= {"text": list(alone), "name": "no dial", "mode": "markers", "marker": figures.style(5)["marker"]}
fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=["FiLM", "weights"])
for column, group in enumerate(groups, 1):
    for trace in figures.frontier({name: fronts[name] for name in group if name in fronts}).data:
        fig.add_trace(trace, row=1, col=column)
    fig.add_scatter(**dots, showlegend=column == 1, row=1, col=column)
figures.layout(fig, "clean accuracy, % (bars: 95 % intervals)", height=460)
fig.update_yaxes(title_text="robust accuracy, %", col=1).update_layout(legend={"y": 1.08})


# %%
def curve(name):
    """(clean, robust) along the dial of a system."""
    return [(p["clean"], p["robust"]) for p in fronts[name]]


def percent(share, sign=""):
    """A share in percent, or a dash."""
    return "-" if share is None else f"{100 * share:{sign}.1f}"


middle = {name: robust_at(curve(name), 0.95) for name in fronts}  # None: no setting is so accurate
lines = [
    "| system | dial | robust, %, at clean ≥ 0.95 | over the coin, points | stored | active | seconds of training |",
    "|---" * 7 + "|",
]
for name in sorted(middle, key=lambda name: middle[name] or 0.0, reverse=True):
    net, points = everything[name], fronts[name]
    price = oatlib.cost(net, net.spec.stops[-1])
    dip = min(points[0]["clean"], points[-1]["clean"]) - min(p["clean"] for p in points)
    dial = "none" if len(points) == 1 else "switch" if dip > 0.05 else "dial"
    own_coin = None if len(points) == 1 else oatlib.coin(curve(name)[0], curve(name)[-1], 0.95)
    over = None if own_coin is None or middle[name] is None else middle[name] - own_coin
    seconds = net.trained[-1]["seconds"]
    lines.append(
        f"| `{name}` | {dial} | {percent(middle[name])} | {percent(over, '+')} | {price.stored:,} | {price.active:,} | "
        f"{seconds:.0f} |"
    )
say("\n".join(lines))

# %% [markdown]
# *Robust at clean ≥ 0.95* is the best robust accuracy along the dial among the places whose clean accuracy is at least that.
# *The coin* answers each image at random with one of the two ends of the same system; it needs no training between them. A
# negative number says that the coin is better than the dial. *Switch* is a clean accuracy that dips by more than five points
# below both ends. The seconds are those of the day when each network was trained, on a machine with other work.
#
# The simplest dial of all is `blend`: no FiLM, no noise, no masks. How does it compare with `oat`?

# %%
low, high = oatlib.wilson(size // 2, size)
about = f"n = {size} images, so a single accuracy is known to ±{50 * (high - low):.1f} points at worst. "
if "oat" in fronts:
    spent = {name: everything[name].trained[-1]["seconds"] for name in ("blend", "oat")}
    about += f"`blend` stores {prices['blend'].stored / prices['oat'].stored:.2f} of the parameters of `oat` and took "
    about += f"{spent['blend'] / spent['oat']:.2f} of its training time. At a clean accuracy of at least 0.95, "
    kept_up = {name: middle[name] or 0.0 for name in ("oat", "blend")}
    told = []
    for name, share in kept_up.items():
        low, high = oatlib.wilson(round(share * size), size)
        told.append(f"`{name}` keeps **{share:.1%}** ({low:.1%} to {high:.1%})")
    about += " and ".join(told) + " under attack. "
say(about + "This is one seed in one small world.")

# %% [markdown]
# ## What you built is what the library keeps
#
# `oatlib/training/rewire.py` moves masks, `oatlib/layers/masks.py` makes them, `net.at` mixes the ends.

# %% tags=["nbval-check-output"]
floats = oatlib.build("floats", data, seed=seed)
holder = nn.Module()
holder.layer, holder.spec = floats.body.blocks[1].second, floats.spec
weight, mask = holder.layer.conv.weight, holder.layer.masks.clean.clone()
optimizer = torch.optim.SGD(holder.parameters(), 0.1, 0.9)
push = torch.randn(weight.shape, generator=source())
optimizer.state[weight]["momentum_buffer"] = push
mine = prune_regrow(weight.detach().clone(), mask, push, 0.5)
rewire(holder, optimizer, 0.0)  # at the start of training half of the kept weights move
print("prune_regrow is rewire:", torch.equal(mine, holder.layer.masks.clean))
clean, adv = two_experts(weight, 0.5, source())
theirs = Masks(weight, "complementary", 0.5)
counts = [[mask.sum().item() for mask in masks] for masks in ((clean, adv), theirs.each)]
print("two_experts keeps as many as Masks:", counts[0] == counts[1])
print("neither shares a weight:", not (clean & adv).any() and not (theirs.clean & theirs.adv).any())
for name, net in nets.items():
    same = torch.allclose(between(name, 0.3)(x), net.at(0.3)(x), atol=1e-3)
    print(f"blend_weights is net.at, {name}:", same)

# %% [markdown]
# ## Is all of this sane?

# %% tags=["nbval-check-output"]
absent = [unit.conv.weight[~unit.masks.clean] for unit in masked_units(nets["floats"])]
print("what the mask leaves out is exactly 0:", all(not part.any() for part in absent))
print(
    "smart's experts share no weight:",
    not any((u.masks.clean & u.masks.adv).any() for u in masked_units(nets["smart"])),
)
total = [sum(u.masks.clean.sum().item() for u in masked_units(net)) for net in (floats, nets["floats"])]
print("rewiring has kept the total:", total[0] == total[1])
f, nothing = nets["smart"].at(1.0), PGD(0.0, 3)
print("ε = 0 gives clean accuracy:", torch.equal(f(nothing(f, x, y)), f(x)))
far = PGD(0.5, 20)(f, x, y)
print(
    "ε = 0.5 leaves less than half of it:",
    (f(far).argmax(1) == y).sum().item() < (f(x).argmax(1) == y).sum().item() / 2,
)

# %%
rows = {"image": x[:6]}
for name in ("blend", "smart"):
    f = nets[name].at(1.0)
    rows[f"{name}: change × 12"] = figures.change(x[:6], PGD(radius, 10)(f, x[:6], y[:6], source()), 12)
figures.images(rows, {"image": captions(data, panel, range(6))})

# %% [markdown]
# ## Your turn, on the real thing
#
# The explorer with every network. Choose `smart` and move λ through the middle, slowly; compare it with `blend` and `oat`.

# %%
beside = [name for name in ("oat", "smart") if name in everything]
oatlib.explore(
    everything,
    data,
    surfaces=surfaces,
    marks=open_files.marks(data),
    n=n,
    network="blend",
    lam=0.5,
    compare=beside,
    hide=["training"],
)

# %% [markdown]
# > **Pitfalls**
# > * *Counting zeros as speed*: an ordinary convolution multiplies by them. Say whether a count is stored, active or fast.
# > * *Masks that are not saved*: a mask drawn anew on loading is another network. Keep them as buffers.
# > * *Weights that come back*: the optimiser's momentum moves absent weights; clear them after each step.
# > * *Noise on masked weights*: if it falls on all entries, the sparse network is dense again.
# > * *Measuring the ends only*: two good experts are no dial. Measure between them, too.
# > * *Attacking the other expert*: craft the attack on the path that you measure.
# > * *A rank without n*: differences smaller than the interval are no ranking.
# > * *A dial without its coin*: two ordinary networks, drawn at random, reach a straight line for nothing.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that a network that is sparse from the start keeps what pruning afterwards loses; that experts without a common
# weight are a switch; and that two ends with similar weights are a dial, without FiLM, noise or masks. What such a dial is
# worth, the column of the coin says. **What we did not show:** that any of this holds on photographs. Whether `blend` keeps up
# with `oat` on CIFAR-10 is open. Nor that the cosine is the *cause*, that sparse is faster, or which masks SMART's authors
# used.
#
# ## Try this
#
# * Set `density` to 0.5 and to 0.1. Where does pruning afterwards begin to hurt, and does clean or robust accuracy fall first?
# * Recompute the statistics of BatchNorm after pruning (`oatlib.calibrate` shows how they are taken). How much comes back?
# * Half-way through `smart`, multiply the late weights by two. Is the dip only a matter of size?
# * Train `smart` with `mask_in="all"`. Which end gains, and what does the middle do?
#
# ## Sources
#
# * Kundu et al. 2023, *Sparse Mixture Once-for-all Adversarial Training for Efficient In-Situ Trade-Off Between Accuracy and Robustness of DNNs* (SMART)
# * Kundu et al. 2023, *A Fast and Efficient Conditional Learning for Tunable Trade-Off between Accuracy and Robustness* (FLOATS)
# * Dettmers and Zettlemoyer 2019, *Sparse Networks from Scratch: Faster Training without Losing Performance*
# * Frankle et al. 2020, *Linear Mode Connectivity and the Lottery Ticket Hypothesis* (straight lines between networks)
# * Wortsman et al. 2022, *Robust Fine-Tuning of Zero-Shot Models* (interpolated weights as a dial elsewhere)
#
# This is the end of the ladder from one network per λ to one network for all. You have the parts of every system here, and
# their prices. What is open: photographs, larger networks, and whether the numbers of this course survive an attacker who
# tries harder.
#
# **Next:** [10 · Is it robust?](10_is_it_robust.ipynb): every robust accuracy so far was measured with PGD. Was that enough?

# %%
lesson.finish(
    pruned=dict(zip(map(str, shares), cut, strict=True)),
    sparse=sparse,
    attack=str(PGD(radius, 5)),
    n=n,
    places=held,
    along=along,
    dips=dips,
    cosines=cosines,
    robust_at_95=middle,
    recorded=record,
)
