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
# # A · The engineering behind the dial
#
# **You will be able to**
#
# * fold BatchNorm and FiLM into one multiply-add, and show that nothing is lost
# * set λ between two trained values, and say what is interpolated there
# * say why the dial jumps at λ = 0, and how that is avoided
# * fit a slider whose equal steps make equal steps of accuracy
#
# This is an appendix. No other lesson needs it.
#
# **Before this:** [04 · How does one network know λ?](04_film.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 160  # 32 to 512: images that are attacked
epochs: int = 5  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the ready network here (minutes) instead of loading it

# %%
import copy
from itertools import pairwise

import torch

import oatlib
from oatlib import Suite
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.evaluation.slider import equal_steps
from oatlib.layers.unit import Unit

lesson = begin("A_engineering", globals())
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
attack = Suite(8 / 255, budget="quick")
oat = lesson.network("oat", data)
stops = oat.spec.stops  # the trained values of λ


def measured(f, split, lam):
    """Clean and robust accuracy of a plain network, with what became of each image."""
    start = torch.Generator().manual_seed(seed)
    found = attack.run(f, split.x, split.y, start, progress=False)
    point = {"lam": lam, "n": len(split), "clean": found.clean, "robust": found.robust}
    return point | {"fell": found.fell.tolist()}


# %% [markdown]
# ## Two problems of a trained dial
#
# `oat` of lesson 04 was trained at six values of λ, its **stops**. Between two stops it has no code of λ. That is the
# first problem. The second: the rule of the publication uses the clean BatchNorm for λ = 0 and the other one for every λ
# above 0. So the smallest turn of the dial exchanges all statistics at once.

# %%
question = "with this rule, how much robust accuracy is gained from λ = 0 to λ = 0.02?"
lesson.predict("jump", question, 0, 60, "points")

# %%
switched = copy.deepcopy(oat)
switched.branches = torch.ones_like(oat.branches)  # the attacked BatchNorm at every stop
near = (0.0, 0.02, 0.05, 0.1)
bridged = [measured(oat.at(lam), panel, lam) for lam in near]
rule = [bridged[0], *(measured(switched.at(lam), panel, lam) for lam in near[1:])]


def band(points, key):
    """Accuracies in percent, with their 95 % intervals."""
    spread = [oatlib.wilson(round(p[key] * p["n"]), p["n"]) for p in points]
    columns = [p[key] for p in points], *zip(*spread, strict=True)
    return tuple([100 * v for v in column] for column in columns)


ways = {"rule of the publication": rule, "weights interpolated": bridged}
figures.lines(
    near,
    {name: band(points, "robust") for name, points in ways.items()},
    x_name=f"λ (n = {n}, with 95 % intervals)",
    y_name="robust accuracy, %",
    takeaway="By the rule robust accuracy jumps above λ = 0; interpolated weights avoid that.",
)

# %%
jump = 100 * (rule[1]["robust"] - rule[0]["robust"])
small = 100 * (bridged[1]["robust"] - bridged[0]["robust"])
comment = f"with interpolated weights it is {small:.0f} points. Quick suite, n = {n}."
lesson.reveal("jump", jump, comment)

# %% [markdown]
# The orange line is what `net.at(λ)` gives. This appendix builds it. The way leads through **folding**: at a fixed λ,
# BatchNorm and FiLM are a plain multiply-add.
#
# ## Folding
#
# In eval mode BatchNorm is a scale and a shift per channel. FiLM behind it is another one. Two of them in a row are one:
#
# $$\gamma \left( w \, \frac{x - \mu}{\sqrt{v + \epsilon}} + b \right) + \beta = s \, x + t .$$
#
# ### Exercise: fold_film
# Difficulty ●●●○○ · 8 minutes. Work out s and t on paper first. In the code μ is `mean`, v is `var`, w is `weight` and b
# is `bias`.


# %% tags=["exercise"]
def fold_film(mean, var, weight, bias, gamma, beta, eps=1e-5):
    """BatchNorm (running mean and var, weight, bias) and FiLM, all (C,) -> s and t, (C,) each."""
    raise NotImplementedError


# %%
fold_film = check(fold_film)

# %% [markdown]
# <details><summary>Hint</summary>
# First write BatchNorm alone as s·x + t. Then γ·(s·x + t) + β.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def fold_film(mean, var, weight, bias, gamma, beta, eps=1e-5):
#     s = weight / (var + eps).sqrt()
#     t = bias - mean * s
#     return gamma * s, gamma * t + beta
# ```
# </details>

# %%
parts = dict(oat.named_modules())
units = [part for part in parts.values() if isinstance(part, Unit) and part.film is not None]


def folded(unit):
    """Your s and t at all stops, (S, C) each."""
    rows = []
    for branch, gamma, beta in zip(oat.branches, *unit.film(oat.codes), strict=True):
        bn = unit.norm.pairs[0].branch(branch)
        rows.append(fold_film(bn.running_mean, bn.running_var, bn.weight, bn.bias, gamma, beta))
    return [torch.stack(column).detach() for column in zip(*rows, strict=True)]


# %% tags=["nbval-check-output"]
fits = []
for unit in units:
    pairs = zip(folded(unit), unit.affine(oat.codes, oat.branches, oat.width()), strict=True)
    fits += [torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in pairs]
print(len(units), "layers, your s and t are those of oatlib:", all(fits))
with torch.no_grad():
    gaps = [(oat(panel.x, lam) - oat.at(lam)(panel.x)).abs().max().item() for lam in stops]
print("unfolded and folded networks have the same logits at every stop:", max(gaps) < 1e-3)

# %% [markdown]
# And s goes into the weights of the conv in front, t into its bias:
#
# $$s \cdot (W * x) + t = (s W) * x + t .$$
#
# So at a fixed λ the generators need not be stored or run.

# %%
lesson.predict("left", "how many of the parameters of `oat` are left in the folded network?")

# %%
whole = sum(p.numel() for p in oat.parameters())
plain = sum(b.numel() for b in oat.at(0.3).buffers())
in_film = sum(p.numel() for unit in units for p in unit.film.parameters())
comment = f"{plain:,} of {whole:,}; the generators alone have {in_film:,}."
lesson.reveal("left", 100 * plain / whole, comment)

# %% [markdown]
# ## λ between two stops
#
# λ = 0.15 has no code. But s and t are known at 0.1 and 0.2. Between two neighbouring stops the library mixes the folded
# weights linearly, with weights p that depend on λ:
#
# $$s(\lambda) = \sum_i p_i(\lambda) \, s_i, \qquad t(\lambda) = \sum_i p_i(\lambda) \, t_i .$$
#
# ### Exercise: stop_weights
# Difficulty ●●○○○ · 6 minutes. How much of each stop?


# %% tags=["exercise"]
def stop_weights(lam, stops):
    """λ, ascending stops -> p (S,): all on one stop if λ is there, else on its two neighbours."""
    raise NotImplementedError


# %%
stop_weights = check(stop_weights)

# %% [markdown]
# <details><summary>Hint</summary>
# Find the first stop that is not left of λ. With p, the share of the way to it that is done, its weight is p and that of
# its left neighbour 1 - p. Take care at λ = 0.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def stop_weights(lam, stops):
#     right = next(i for i in range(1, len(stops)) if lam <= stops[i])
#     left = right - 1
#     p = (lam - stops[left]) / (stops[right] - stops[left])
#     weights = torch.zeros(len(stops))
#     weights[left] = 1 - p
#     weights[right] = p
#     return weights
# ```
# </details>

# %% tags=["nbval-check-output"]
s, t = folded(oat.body.stem)
p = stop_weights(0.7, stops)
plain = oat.at(0.7).stem
print("weights of the stops:", [round(value, 2) for value in p.tolist()])
scaled = (p @ s)[:, None, None, None] * oat.body.stem.conv.weight
print("your weights are those of oat.at(0.7):", torch.allclose(scaled, plain.weight, atol=1e-5))
print("... and your biases:", torch.allclose(p @ t, plain.bias, atol=1e-5))

# %% [markdown]
# The two BatchNorms need no rule of their own any more. The stop λ = 0 is folded with the clean one, the stop λ = 0.1 with the
# other. Between them the folded weights are mixed. This is the orange line of the first figure. The **ablation** there:
# all else equal, the rule of the publication makes most of the way within the first turn.
#
# ## A slider with equal steps
#
# λ is a weight in a loss and not a distance. Equal steps of λ are unequal steps of accuracy. How long is the **way** from
# one end of the dial to the other? Robust accuracy gained, plus clean accuracy lost:
#
# $$\mathrm{way}(\lambda) = \mathrm{robust}(\lambda) - \mathrm{clean}(\lambda) .$$

# %%
lams = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)
dial = [measured(oat.at(lam), panel, lam) for lam in lams]
curves = {"clean accuracy": band(dial, "clean"), "robust accuracy": band(dial, "robust")}
figures.lines(
    lams,
    curves,
    x_name=f"λ (n = {n}, with 95 % intervals)",
    y_name="accuracy, %",
    takeaway="Most of the change is at small λ.",
)

# %% [markdown]
# ### Exercise: even_slider
# Difficulty ●●●●○ · 20 minutes. Open. Given accuracies at some λ, return λ at evenly spaced positions of a slider, as many
# as there are λ. Each move should make the same part of the way. The check measures your largest move. Measurement noise
# can make the way go back a little; λ must not.


# %% tags=["exercise"]
def even_slider(lams, clean, robust):
    """Lists of S numbers -> a list of S values of λ, ascending from the first to the last."""
    raise NotImplementedError


# %%
even_slider = check(even_slider)

# %% [markdown]
# <details><summary>Hint</summary>
# First the way at each λ, as a running maximum. Then, for each position, the goal: that share of the whole way. Find the
# two λ between which the way reaches the goal, and interpolate.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def even_slider(lams, clean, robust):
#     way = []
#     for c, r in zip(clean, robust):
#         way.append(max([r - c, *way]))
#     slider = []
#     for i in range(len(lams)):
#         goal = way[0] + i / (len(lams) - 1) * (way[-1] - way[0])
#         right = next(k for k in range(1, len(way)) if way[k] >= goal - 1e-9)
#         left = right - 1
#         part = (goal - way[left]) / max(way[right] - way[left], 1e-9)
#         slider.append(lams[left] + part * (lams[right] - lams[left]))
#     return slider
# ```
# </details>

# %%
lesson.predict("first", "how much of the way does λ itself make from 0 to 0.2?")

# %%
columns = [p["clean"] for p in dial], [p["robust"] for p in dial]
fitted = copy.deepcopy(oat)
fitted.slider = tuple(float(lam) for lam in even_slider(lams, *columns))
fifths = [i / 5 for i in range(6)]
fresh = data.test.panel(n)  # images that the slider was not fitted to
by_lam = [measured(oat.at(u), fresh, u) for u in fifths]
by_slider = [measured(oat.at(fitted.lam(u)), fresh, fitted.lam(u)) for u in fifths[1:-1]]
by_slider = [by_lam[0], *by_slider, by_lam[-1]]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def moves(points):
    """Share of the way of each move in percent: measured, and the limits of 95 % of 500 resamples of the images."""
    fell = torch.tensor([p["fell"] for p in points])  # (6, n): -1 robust, -2 misclassified clean
    way = (fell == -1).double() - (fell != -2).double()
    draw = torch.Generator().manual_seed(seed)
    index = torch.randint(way.shape[1], (500, way.shape[1]), generator=draw)
    means = torch.cat([way.mean(1)[None], way[:, index].mean(2).T])  # (501, 6)
    shares = 100 * means.diff(dim=1) / (means[:, -1:] - means[:, :1]).clamp(min=1e-6)
    limits = torch.quantile(shares[1:], torch.tensor([0.025, 0.975]).double(), dim=0)
    return shares[0], limits


fifth = [f"{a:g} to {b:g}" for a, b in pairwise(fifths)]
shown = {"λ itself": moves(by_lam), "fitted slider": moves(by_slider)}
fig = figures.bars(
    fifth,
    {name: share.tolist() for name, (share, _) in shown.items()},
    x_name="position of the slider",
    y_name="share of the way, %",
    height=340,
    takeaway="The first fifth of λ makes most of the way; the fitted slider makes about equal moves.",
)
for bar, (share, limits) in zip(fig.data, shown.values(), strict=True):
    bar.error_y = {
        "type": "data",
        "symmetric": False,
        "array": (limits[1] - share).tolist(),
        "arrayminus": (share - limits[0]).tolist(),
        "color": figures.INK,
        "thickness": 1.5,
    }
fig

# %%
(first, edges), (even, sides) = shown["λ itself"], shown["fitted slider"]
lesson.reveal("first", first[0].item(), "the even slider would make a fifth.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
say(
    f"The first of five equal moves makes **{first[0]:.0f} %** of the way if the slider is λ (95 % interval "
    f"{edges[0, 0]:.0f} to {edges[1, 0]:.0f}), and **{even[0]:.0f} %** if it is fitted ({sides[0, 0]:.0f} to "
    f"{sides[1, 0]:.0f}). The slider was fitted to {n} validation images and measured on {len(fresh)} test images; quick "
    f"suite; the intervals are from 500 resamples of the images. Half-way is λ = {fitted.lam(0.5):.2f}."
)

# %% [markdown]
# `oatlib.fit_slider(net, data)` does the same, and saves the result with the weights. It adds a small share of λ itself,
# so that λ also moves where nothing changes:

# %% tags=["nbval-check-output"]
theirs = equal_steps(lams, *columns)
apart = abs(fitted.slider[5] - theirs[5])  # in the middle of 11 positions
print("half-way, your λ and that of oatlib differ by less than 0.05:", apart < 0.05)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def place(position, slider):
    """Where a position of the slider is on the measured frontier."""
    lam = fitted.lam(position) if slider == "fitted" else position
    right = next(i for i in range(1, len(lams)) if lam <= lams[i] + 1e-9)
    part = (lam - lams[right - 1]) / (lams[right] - lams[right - 1])
    here = {key: (1 - part) * dial[right - 1][key] + part * dial[right][key] for key in ("clean", "robust")}
    fig = figures.frontier({"oat": dial}, takeaway="A position of the slider on the frontier.")
    star = {"size": 18, "symbol": "star", "color": figures.COLOURS[1]}
    fig.add_scatter(
        x=[100 * here["clean"]],
        y=[100 * here["robust"]],
        name="this position",
        mode="markers",
        marker=star,
    )
    return fig, f"position {position:.2f}, λ = {lam:.3f}"


sliders(place, position=(0.0, 1.0, 0.05), slider=["fitted", "λ itself"], start_at={"position": 0.2})

# %% [markdown]
# > **Pitfalls**
# > * *Folding in training mode*: there BatchNorm depends on the batch, and is no fixed multiply-add.
# > * *Folding in front of a zero-padded conv*: fold into the conv before the norm, not into the one behind it.
# > * *Interpolating codes*: the generator has never seen a code in between. Interpolate what the codes lead to.
# > * *Folding once and training on*: the folded network does not follow. Fold again.
# > * *Fitting the slider on test images*: then the even steps are too good. Fit on validation images.
#
# ## What we showed, and what we did not show
#
# At a fixed λ the dial costs nothing: the folded network has the same logits and no generators. Between two stops its
# weights are mixed, which also removes the jump at λ = 0. A fitted slider makes equal moves. **What we did not show:**
# that a mixture of two stops is as good as training there. Nor how far the slider differs between seeds and data.
#
# ## Try this
#
# * Fold in training mode on purpose. How far apart are the logits?
# * Fit the slider with `n = 32`. How wide do the intervals get?
# * Leave out every second λ of `lams`. Is the slider still even?
#
# ## Sources
#
# * Ioffe and Szegedy 2015, *Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift*
# * Perez et al. 2018, *FiLM: Visual Reasoning with a General Conditioning Layer*
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free*
#
# **Back to:** [04 · How does one network know λ?](04_film.ipynb) or [05 · OAT](05_oat.ipynb)

# %%
kept = ("lam", "n", "clean", "robust")
points = {"rule": rule, "bridged": bridged, "dial": dial, "by_lam": by_lam, "by_slider": by_slider}
tables = {name: [{k: p[k] for k in kept} for p in found] for name, found in points.items()}
lesson.finish(attack=str(attack), n=n, slider=list(fitted.slider), **tables)
