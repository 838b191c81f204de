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
# * set λ between two trained values, and say what is interpolated
# * say why the dial jumps at λ = 0, and what interpolated weights repair and do not repair
# * fit a slider whose equal steps make equal steps of accuracy
#
# This is an appendix. No other lesson needs it.
#
# **Before this:** [04 · How does one network know λ?](04_film.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 160  # 32 to 512: images that are attacked
epochs: int = 10  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the ready network here (minutes) instead of loading it

# %%
import copy
from itertools import pairwise

import torch
from torch.nn.functional import cross_entropy

import oatlib
from oatlib import PGD, Suite
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.evaluation.slider import equal_steps
from oatlib.explorer.description import captions
from oatlib.layers.unit import Unit

lesson = begin("A_engineering", globals())
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
radius = 8 / 255  # of the attack
attack = Suite(radius, budget="quick")
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
# `oat` of lesson 04 was trained at six values of λ, its **stops**: 0, 0.1, 0.2, 0.3, 0.4 and 1. Each stop has a
# **code**, a vector. From the code of λ the generators compute γ and β of FiLM. Two problems remain:
#
# * λ = 0.05 has no code. So FiLM has no γ and β there.
# * Each layer has two BatchNorms, a clean and an attacked one. The rule of the publication uses the clean one at λ = 0
#   and the attacked one at every λ above 0. So the smallest turn of the dial replaces all means and variances at once.
#
# The figure below compares two ways from λ = 0 to λ = 0.1. Both mix the scales and shifts of these two stops. *By the
# rule* both stops get the attacked BatchNorm as soon as λ > 0. *Interpolated*, the stop λ = 0 keeps its clean one. All
# else is the same: an **ablation**. The third line is a coin: with probability λ / 0.1 the network of λ = 0.1 answers,
# else the network of λ = 0.

# %%
question = "by the rule, how much robust accuracy is gained from λ = 0 to λ = 0.02?"
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


share = [lam / near[-1] for lam in near]  # how often the network of λ = 0.1 answers
ends = bridged[0]["robust"], bridged[-1]["robust"]
ways = {"rule of the publication": rule, "weights interpolated": bridged}
curves = {name: band(points, "robust") for name, points in ways.items()}
curves["coin"] = [100 * ((1 - p) * ends[0] + p * ends[1]) for p in share]
figures.lines(
    near,
    curves,
    x_name=f"λ (n = {n}, with 95 % intervals)",
    y_name="robust accuracy, % (upper bound)",
    takeaway="By the rule robust accuracy jumps above λ = 0. Interpolated weights and a coin rise gradually.",
)

# %%
jump = 100 * (rule[1]["robust"] - rule[0]["robust"])
small = 100 * (bridged[1]["robust"] - bridged[0]["robust"])
comment = f"with interpolated weights it is {small:.1f}. Quick suite, n = {n}."
lesson.reveal("jump", jump, comment)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def robust_of(point):
    """1 for each image that is robust, else 0."""
    return (torch.tensor(point["fell"]) == -1).double()


def difference(values):
    """A mean in points, with its 95 % interval."""
    mean, spread = 100 * values.mean().item(), 196 * values.std().item() / n**0.5
    return f"**{mean:.0f} points** ({mean - spread:z.0f} to {mean + spread:z.0f})"


start, early, middle, end = bridged
coin_gain = (robust_of(start) + robust_of(end)) / 2 - robust_of(middle)
early_gain = (1 - share[1]) * robust_of(start) + share[1] * robust_of(end) - robust_of(early)
least = coin_gain.mean() - 1.96 * coin_gain.std() / n**0.5  # lower end of the interval
found = "So the coin is better." if least > 0 else f"On {n} images the second is no clear difference."
say(
    f"Robust accuracy of the coin minus that of interpolated weights, at λ = {near[1]:g}: {difference(early_gain)}; at "
    f"λ = {near[2]:g}: {difference(coin_gain)}. {found} Clean accuracy there: "
    f"{(start['clean'] + end['clean']) / 2:.1%} and {middle['clean']:.1%}. The rule at λ = {near[1]:g} is more robust than "
    f"at {near[3]:g} by {difference(robust_of(rule[1]) - robust_of(rule[3]))}. (Differences on the same {n} images, with "
    "95 % intervals.)"
)

# %% [markdown]
# The dashed line is what `oat.at(λ)` gives. It has no jump. But between the stops it is not better than a coin: the
# network was not trained there. At λ = 0.02 the coin is clearly better. The advantage over the coin: the same image always gets the
# same answer.
#
# The rule has a second fault. After the jump its robust accuracy *falls*. There γ and β of λ = 0 meet a BatchNorm that
# they were not trained with.
#
# This appendix builds the dashed line. It first needs **folding**: at a fixed λ, BatchNorm and FiLM are one plain
# multiply-add.
#
# ## Folding
#
# ```
# trained    x → conv W → h → BatchNorm (μ, v, w, b) → FiLM (γ, β) → ReLU
# one step   x → conv W → h → s·h + t                              → ReLU
# folded     x → conv with weights s·W and bias t                  → ReLU
# ```
#
# Let h be the output of the conv. In eval mode BatchNorm is a scale and a shift per channel of h. FiLM behind it is
# another scale and shift. Two of them in a row are one:
#
# $$\gamma \left( w \, \frac{h - \mu}{\sqrt{v + \epsilon}} + b \right) + \beta = s \, h + t .$$
#
# By hand, for one channel with μ = 1, v = 4, w = 3, b = 1 and γ = 2, β = -1 (ε is left out):


# %%
def two_steps(h):
    normed = 3 * (h - 1) / 2 + 1  # BatchNorm; 2 is the root of v
    return 2 * normed - 1  # FiLM


for h in (1.0, 5.0):
    print(f"h = {h:g}: two steps give {two_steps(h):g}, 3·h - 2 gives {3 * h - 2:g}")

# %% [markdown]
# ### Exercise: fold_film
# Difficulty ●●●○○ · 8 minutes. Where do the 3 and the -2 come from? Work out s and t on paper first. In the code μ is
# `mean`, v is `var`, w is `weight` and b is `bias`.


# %% tags=["exercise"]
def fold_film(mean, var, weight, bias, gamma, beta, eps=1e-5):
    """BatchNorm (running mean and var, weight, bias) and FiLM, all (C,) -> s and t, (C,) each."""
    raise NotImplementedError


# %%
fold_film = check(fold_film)

# %% [markdown]
# <details><summary>Hint</summary>
# First write BatchNorm alone as s·h + t. FiLM makes γ·(s·h + t) + β of it. Multiply out.
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
# In front of BatchNorm there is a conv with weights W. It can do the multiply-add itself: s goes into its weights, t
# becomes its bias.
#
# $$s \cdot (W * x) + t = (s W) * x + t .$$
#
# So at a fixed λ neither BatchNorm nor the generators of γ and β need to be stored or run.

# %%
lesson.predict("left", "what share of the parameters of oat is left in the folded network?")

# %%
whole = sum(p.numel() for p in oat.parameters())
plain = sum(b.numel() for b in oat.at(0.3).buffers())  # folded weights are buffers
in_film = sum(p.numel() for unit in units for p in unit.film.parameters())
comment = f"{plain:,} of {whole:,}; the generators alone have {in_film:,}."
lesson.reveal("left", 100 * plain / whole, comment)

# %% [markdown]
# ## λ between two stops
#
# λ = 0.15 has no code, but s and t are known at the stops 0.1 and 0.2. The library mixes them. Each stop i gets a share
# p, which depends linearly on λ between two neighbouring stops:
#
# $$s(\lambda) = \sum_i p_i(\lambda) \, s_i, \qquad t(\lambda) = \sum_i p_i(\lambda) \, t_i .$$
#
# ### Exercise: stop_weights
# Difficulty ●●○○○ · 6 minutes. Return the share of each stop. λ = 0.15 is in the middle between 0.1 and 0.2, so its
# shares are 0, 0.5, 0.5, 0, 0, 0. If λ is a stop, that stop gets all. The stops are not evenly spaced.


# %% tags=["exercise"]
def stop_weights(lam, stops):
    """λ, S ascending stops -> tensor of shares (S,), linear between the two neighbours of λ."""
    raise NotImplementedError


# %%
stop_weights = check(stop_weights)

# %% [markdown]
# <details><summary>Hint</summary>
# Find the two neighbours: left ≤ λ ≤ right. The share of the right one is (λ - left) / (right - left). The left one gets
# the rest. At λ = 0 take the first two stops.
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
stem = oat.at(0.7).stem
print("shares of the stops:", [round(value, 2) for value in p.tolist()])
scaled = (p @ s)[:, None, None, None] * oat.body.stem.conv.weight
print("your weights are those of oat.at(0.7):", torch.allclose(scaled, stem.weight, atol=1e-5))
print("... and your biases:", torch.allclose(p @ t, stem.bias, atol=1e-5))

# %% [markdown]
# This is the dashed line of the first figure. The two BatchNorms need no rule for λ between 0 and 0.1 any more: the stop
# 0 is folded with the clean one, the stop 0.1 with the attacked one, and the results are mixed.
#
# ## A slider with equal steps
#
# λ weighs two losses. It is not a distance: equal steps of λ are unequal steps of accuracy. We measure how far λ is from
# λ = 0. The **way** is the robust accuracy gained plus the clean accuracy lost:
#
# $$\mathrm{way}(\lambda) = \big(\mathrm{robust}(\lambda) - \mathrm{robust}(0)\big)
# + \big(\mathrm{clean}(0) - \mathrm{clean}(\lambda)\big) .$$

# %%
lams = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)
dial = [measured(oat.at(lam), panel, lam) for lam in lams]
curves = {"clean accuracy": band(dial, "clean"), "robust accuracy": band(dial, "robust")}
figures.lines(
    lams,
    curves,
    x_name=f"λ (n = {n}, with 95 % intervals)",
    y_name="accuracy, % (robust: upper bound)",
    takeaway="Robust accuracy rises mostly at small λ. Clean accuracy falls more slowly.",
)

# %% [markdown]
# ### Exercise: even_slider
# Difficulty ●●●●○ · 20 minutes. Open. Accuracies were measured at S values of λ. A slider has S evenly spaced positions.
# Return λ at each position, so that every move to the next position makes the same share of the way. Between measured
# values, interpolate. Noise can make the measured way shrink at some λ. Your λ must never go back. The check tries eleven
# λ and accepts moves of up to 0.13 of the way. With λ itself the largest move is more than three times that.


# %% tags=["exercise"]
def even_slider(lams, clean, robust):
    """Lists of S numbers -> a list of S values of λ, ascending from the first to the last."""
    raise NotImplementedError


# %%
even_slider = check(even_slider)

# %% [markdown]
# <details><summary>Hint</summary>
# Compute the way at each λ, and replace each value by the largest so far. Position i of S should be at the goal
# i / (S - 1) of the whole way. Find the two measured λ between which the way reaches the goal, and interpolate.
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
lesson.predict("first", "what share of the way from λ = 0 to λ = 1 is made at λ = 0.2?")

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
    takeaway="λ makes most of its way in its first fifth. The moves of the fitted slider are much more even.",
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
lesson.reveal("first", first[0].item(), "with an even slider it would be a fifth.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
say(
    f"The first of five moves makes **{first[0]:.0f} %** of the way if the slider sets λ itself (95 % interval "
    f"{edges[0, 0]:.0f} to {edges[1, 0]:.0f}), and **{even[0]:.0f} %** if it is fitted ({sides[0, 0]:.0f} to "
    f"{sides[1, 0]:.0f}). The moves of the fitted slider make {even.min():.0f} % to {even.max():.0f} %. It was fitted to {n} "
    f"validation images and measured on {len(fresh)} test images with the quick suite. The intervals are from 500 resamples "
    f"of the images. The middle of the fitted slider is λ = {fitted.lam(0.5):.2f}."
)

# %% [markdown]
# `oatlib.fit_slider(net, data)` does almost the same, and keeps the result in the network. Where accuracies are constant,
# your λ could stand still or leap. So the library lets a small part of each move follow λ itself.

# %% tags=["nbval-check-output"]
theirs = equal_steps(lams, *columns)
apart = abs(fitted.slider[5] - theirs[5])  # the middle one of 11 positions
print("in the middle, your λ and that of oatlib differ by less than 0.05:", apart < 0.05)

# %% [markdown]
# Move the slider below. Fitted, the star goes up the curve in nearly equal steps. With λ itself it leaps at first and then
# hardly moves.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def place(position, slider):
    """Where a position of the slider is on the measured frontier."""
    lam = fitted.lam(position) if slider == "fitted" else position
    right = next(i for i in range(1, len(lams)) if lam <= lams[i] + 1e-9)
    part = (lam - lams[right - 1]) / (lams[right] - lams[right - 1])
    here = {key: (1 - part) * dial[right - 1][key] + part * dial[right][key] for key in ("clean", "robust")}
    fig = figures.frontier({"oat": dial}, takeaway="The star is where the slider stands on the measured curve.")
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
# ## Is this sane?
#
# A folded network is attacked like any other. The tests use the one of λ = 1. The images are attacked in the middle of
# the fitted slider, with ε = 8/255.

# %% tags=["nbval-check-output"]
f = oat.at(1.0)
untouched = PGD(0.0, 10)(f, panel.x, panel.y)
hits = (f(untouched).argmax(1) == panel.y).sum().item()
print("ε = 0 gives clean accuracy:", hits == round(n * dial[-1]["clean"]))
huge = list(PGD(0.5, 10).iterates(f, panel.x, panel.y))
losses = [cross_entropy(logits, panel.y).item() for _, logits in huge]
print("with ε = 0.5 the loss rises:", losses[-1] > losses[0])
print("... and hardly any image is right:", (huge[-1][1].argmax(1) == panel.y).double().mean().item() < 0.1)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
f, x = oat.at(fitted.lam(0.5)), panel.x[:6]
x_adv = PGD(radius, 20)(f, x, panel.y[:6], torch.Generator().manual_seed(seed))
rows = {"image": x, "change × 16": figures.change(x, x_adv, 16), "attacked": x_adv}
told = {key: [f"says {data.classes[i]}" for i in f(rows[key]).argmax(1).tolist()] for key in ("image", "attacked")}
told["image"] = figures.stacked(captions(data, panel, range(6)), told["image"])
figures.images(rows, told, takeaway="Six images, their attacks on the folded network, and what it says.")

# %% [markdown]
# > **Pitfalls**
# > * *Folding in training mode*: there BatchNorm depends on the batch. It is no fixed multiply-add.
# > * *Folding into the next conv*: s and t belong to the conv before the norm. The next one pads its input with zeros,
# >   and these zeros would lack t.
# > * *Interpolating codes*: the generator was not trained on a mixture of codes. Interpolate s and t.
# > * *Folding once and training on*: the folded network keeps the old weights. Fold again.
# > * *Fitting the slider on test images*: then its steps look more even than they are. Fit on validation images.
# > * *Comparing a dial with itself only*: a coin between two stops is a baseline that costs nothing.
#
# ## What we showed, and what we did not show
#
# At a fixed λ the dial costs nothing to run: the folded network is a plain one with the same logits up to rounding, and
# has no generators. Between two stops its weights are mixed, which removes the jump at λ = 0. But there they do not
# beat a coin. The moves of a fitted slider are much more even than those of λ itself. All robust accuracies are upper
# bounds, from the quick suite. **What we did not show:** what training at λ = 0.05 would give, and how much the
# slider differs between seeds and data.
#
# ## Try this
#
# * Call `train()` on a copy of `oat`. How far are its logits at λ = 0.3 from those of `oat.at(0.3)`?
# * At λ = 0.15 and λ = 0.7, is a coin between the neighbouring stops better than interpolated weights?
# * Is a slider with λ = u², u from 0 to 1, as even as yours?
# * Run the lesson with `n = 32`. How wide are the intervals?
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
