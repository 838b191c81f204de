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
# # 07 · Do you believe +7.71?
#
# **You will be able to**
#
# * show how much the best of many sub-networks gains by chance
# * compute an interval over training seeds and test images, and say what it cannot repair
# * test a gain by exchanging the labels of the runs
# * build an output layer for every width, and judge it by that test
# * design a test of your own, and measure how often it is wrong
#
# **Before this:** [06 · Slimming](06_slimming.ipynb) · **Run time:** about 40 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 128  # 32 to 512: validation images that are attacked in this notebook
draws: int = 400  # 50 to 2000: repetitions of every bootstrap
seed: int = 0  # 0 to 9999: of draws and attacks
recompute: bool = False  # train and attack the 10 recorded networks again (a quarter of an hour)

# %%
import json
from itertools import combinations, permutations, product

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib.course import figures, many_seeds, papers
from oatlib.course.diagram import diagram
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import RECORDS, begin, say
from oatlib.course.many_seeds import points
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions

lesson = begin("07_switchable_heads", globals())
torch.set_printoptions(precision=1, sci_mode=False, linewidth=110)
record = lesson.recorded("solar_seeds", many_seeds.solar_seeds)
PAPER = 7.71  # points of robust accuracy: Tareen et al. 2025, abstract


def correct(arm, **which):
    """Which test images are correct, (runs, sub-networks, images)."""
    return many_seeds.correct_images(record, arm, **which)


oats = points(correct("oats"))  # robust accuracies in percent, (runs, sub-networks)

# %% [markdown]
# ## The claim
#
# Lesson 06 built `oats`, a network with two dials, λ and width. Each pair (width, λ) is a **sub-network**. **SOLAR** makes one
# change: each width gets an output layer of its own. The abstract of its paper says how much this gains. Before you try it: how large
# is such a number by chance?

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
ALL, SUBNETS = (many_seeds.subnetworks(record, broken=each) for each in (True, False))
SEEDS = [str(s) for s in record["seeds"]]
X_NAME = "sub-network: width (above), λ (below)"
images = correct("oats")  # (runs, sub-networks, images)
both_orders = list(permutations(range(len(oats)), 2))
spans = torch.stack([oats[a] - oats[b] for a, b in both_orders])  # (pairs, sub-networks)


def ticks(subnets):
    return {"tickvals": list(range(len(subnets))), "ticktext": [f"{width:g}<br>{lam:g}" for width, lam in subnets]}


ELSEWHERE = (9.01, 2.72, 1.26)  # SVHN, STL-10, CIFAR-100
say(
    f"Over OATS, it claims to gain **up to {PAPER:+g} points** of robust accuracy on CIFAR-10 (and on three other data sets up to "
    f"{', '.join(f'{gain:+g}' for gain in ELSEWHERE)}).\n\n"
    "*Up to* means: on the best of many sub-networks. How large is such a number if there is nothing to gain? "
    f"To find out, we trained the same small `oats` (four layers, four widths) {len(oats)} times, on the same images. Only the training seed "
    "differs: first weights, order of the images, draws of λ, attacks. All networks are measured on the same "
    f"n = {record['n']} test images, with the quick suite. It is an attack, so all robust accuracies of this lesson are upper bounds. "
    "A gain is the difference of two upper bounds. The true gain can be smaller or larger."
)
question = (
    "oats minus oats of another seed: how many points of accuracy under the suite does the best sub-network gain?"
)
lesson.predict("chance", question, 0, 20, "points")


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def one_pair(first, second):
    gains = oats[int(first)] - oats[int(second)]
    best = int(gains.argmax())
    each = 100 * (images[int(first)].float() - images[int(second)].float())  # (sub-networks, images)
    half = 1.96 * each.std(1) / each.shape[1] ** 0.5
    bars = {"type": "data", "array": half.tolist(), "thickness": 2}
    fig = go.Figure()
    fig.add_scatter(
        x=list(range(len(gains))), y=gains.tolist(), error_y=bars, mode="markers", name="gain", **figures.style(0)
    )
    ring = {"size": 20, "symbol": "circle-open", "color": figures.COLOURS[1], "line": {"width": 3}}
    fig.add_scatter(x=[best], y=[gains[best].item()], mode="markers", name="the best one", marker=ring)
    fig.add_hline(0, line={"color": figures.INK, "width": 1})
    fig.add_hline(PAPER, line={"color": figures.INK, "dash": "dot"}, annotation_text=f"{PAPER:+g}")
    where = f"width {SUBNETS[best][0]:g}, λ = {SUBNETS[best][1]:g}"
    note = f"Best sub-network ({where}): <b>{gains[best]:+.1f}</b>; mean of all {len(gains)}: {gains.mean():+.1f}."
    seen = f"oats over oats: seed {first} gains {gains[best]:+.1f} points over seed {second} at {where}, and "
    seen += f"{gains.mean():+.1f} points on average."
    title = f"bars: 95 % intervals over the n = {record['n']} test images"
    figures.layout(fig, X_NAME, "gain under the quick suite, points", title, takeaway=seen)
    fig.update_xaxes(ticks(SUBNETS)).update_yaxes(range=[min(-9, spans.min() - 4), max(9, spans.max() + 4)])
    return fig, note


a, b = both_orders[int(spans.max(1).values.argmax())]
sliders(
    one_pair,
    first=SEEDS,
    second=SEEDS,
    labels={"first": "seed of the first", "second": "seed of the second"},
    start_at={"first": SEEDS[a], "second": SEEDS[b]},
)

# %% [markdown]
# The picture starts at the pair with the largest gain. There is nothing to gain: both networks are `oats`. Choose other pairs.
# The bars say what other *images* would change. They do not say what another *training* would change.

# %%
by_luck = spans.max(1).values  # the best sub-network of each ordered pair
average = by_luck.mean().item()
weakest = int(oats.mean(1).argmin())  # the run with the lowest mean accuracy
without = torch.tensor([weakest not in pair for pair in both_orders])  # pairs that it is no part of
lesson.reveal("chance", average, "mean over all ordered pairs of two seeds.")


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
narrow = points(correct("oats", key="clean", broken=True))[:, len(record["lams"]) - 1]
never = points(correct("oats", broken=True))[:, 0]
say(
    f"Over all {len(by_luck)} ordered pairs, the best sub-network of `oats` gains **{average:+.1f} points** over `oats` on average "
    f"({by_luck.min():+.1f} to {by_luck.max():+.1f}). In {(by_luck >= PAPER).sum()} pairs it gains {PAPER:+g} or more. The mean over "
    f"all pairs and sub-networks is {abs(spans.mean()):.1f}, because each pair occurs in both orders. Without seed "
    f"{SEEDS[weakest]}, the run with the lowest mean accuracy, the best gains {by_luck[without].mean():+.1f} on average, and {PAPER:+g} or "
    f"more in {(by_luck[without] >= PAPER).sum()} of {without.sum()} pairs.\n\n**One width is broken.** At width "
    f"{ALL[0][0]:g} and λ = {ALL[1][1]:g} the clean accuracy of the {len(SEEDS)} runs is {narrow.min():.0f} to {narrow.max():.0f} % "
    f"(guessing: {100 / 8:g} %). At λ = {ALL[0][1]:g} at most {never.max():.1f} % are robust. An average over it means nothing. So "
    f"this width is left out of the tests, and {len(SUBNETS)} sub-networks remain. That could hide a gain of SOLAR at this width. So a "
    "picture below shows the width, and the last table has lines with it."
)

# %% [markdown]
# The abstract names no number of seeds, and the public training script sets one seed. So its reader cannot know how much of the
# gain is chance. (Two methods that are trained with the *same* seed share a part of the chance: see the ablation.) This lesson
# builds the tools that tell. SOLAR is the example.
#
# ## First tool: say what is reported
#
# Two runs of each method, three sub-networks, in points:

# %%
ours = torch.tensor([[41.0, 58.0, 63.0], [47.0, 60.0, 61.0]])
base = torch.tensor([[44.0, 57.0, 62.0], [40.0, 61.0, 66.0]])
print("gain of each run:\n", ours - base)
print("mean over the runs:", ours.mean(0) - base.mean(0))

# %% [markdown]
# Let $a_{sk}$ be the accuracy of sub-network $k$ in run $s$ of the new method, and $b_{sk}$ that of the old one. *Up to* reports
#
# $$T=\max_k\,\Big(\tfrac1S\sum_s a_{sk}-\tfrac1S\sum_s b_{sk}\Big)$$
#
# ### Exercise: best_gain
# Difficulty ●○○○○ · 4 minutes. Compute T. The two tables may have different numbers of runs.


# %% tags=["exercise"]
def best_gain(ours, base):
    """ours (A runs, K sub-networks), base (B runs, K) -> largest gain
    of the mean over the runs, a float."""
    raise NotImplementedError  # your code instead of this line


# %%
best_gain = check(best_gain)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>.mean(0)</code> averages over the runs. <code>.item()</code> makes a float.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def best_gain(ours, base):
#     gains = ours.mean(0) - base.mean(0)
#     return gains.max().item()
# ```
# </details>

# %% [markdown]
# Another statistic is the mean over runs **and** sub-networks:


# %%
def mean_gain(ours, base):
    return (ours.mean() - base.mean()).item()


print("best:", best_gain(ours, base), " mean:", mean_gain(ours, base))

# %% [markdown]
# What do both report if the noise is known? Below, 1000 experiments are simulated. If K gains are independent, each with
# standard deviation σ, the best is at most $\sigma\sqrt{2\ln K}$ on average by chance. Sub-networks share weights, so a part of
# their noise is common.


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def experiments(networks, noise, common, gain, runs):
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for level in (gain, 0.0):
        together = torch.randn(1000, runs, 1, generator=generator)
        alone = torch.randn(1000, runs, networks, generator=generator)
        tables.append(level + noise * (common**0.5 * together + (1 - common) ** 0.5 * alone))
    pairs = list(zip(*tables, strict=True))
    reports = {
        "mean gain": torch.tensor([mean_gain(*pair) for pair in pairs]),
        "best gain": torch.tensor([best_gain(*pair) for pair in pairs]),
    }
    mean, best = (values.mean().item() for values in reports.values())
    seen = f"The true gain is {gain:.1f}. With {networks} sub-networks and {runs} {'run' if runs == 1 else 'runs'} per method the mean gain is {mean:+.1f} on average, "
    seen += f"the best gain {best:+.1f}."
    fig = figures.histograms(reports, x_name="reported gain, points", y_name="share of 1000 experiments", takeaway=seen)
    fig.add_vline(
        gain, line={"color": figures.INK, "dash": "dot"}, annotation_text="true gain", annotation_position="top left"
    )
    above = (reports["best gain"] > max(gain, 0)).float().mean()
    return fig, f"{seen} The best gain is above the truth in {above:.0%} of the experiments."


sliders(
    experiments,
    networks=(1, 192, 1),
    noise=(0.0, 10.0, 0.5),
    common=(0.0, 0.9, 0.1),
    gain=(-5.0, 10.0, 0.5),
    runs=(1, 8, 1),
    labels={
        "networks": "sub-networks",
        "noise": "noise of a run, points",
        "common": "part of it in common",
        "gain": "true gain",
    },
    start_at={"networks": 24, "noise": 3.0, "common": 0.3, "gain": 0.0, "runs": 1},
)

# %% [markdown]
# More runs shrink the error of the best gain, and more sub-networks make it grow. The public code of SOLAR offers up to 32 widths
# with 6 values of λ.
#
# ## Second tool: an interval
#
# Chance enters twice: through the training seed and through the test images. The **bootstrap** imitates both. It draws
# as many runs as there are, *with replacement*, and computes the result again. The spread of many such results
# estimates the spread of the real one. First for one column: the runs of `oats` at full width and λ = 1.

# %%
five = oats[:, -1]
again = torch.tensor([4, 0, 4, 1, 0])  # drawn with replacement
print("robust accuracies, %:", five, " mean:", five.mean())
print("drawn again:         ", five[again], " mean:", five[again].mean())

# %% [markdown]
# ### Exercise: bootstrap_means
# Difficulty ●●○○○ · 6 minutes. Repeat this draw, and return all the means.


# %% tags=["exercise"]
def bootstrap_means(values, draws, generator):
    """values (S,) -> means of S values, drawn with replacement, (draws,)"""
    raise NotImplementedError


# %%
bootstrap_means = check(bootstrap_means)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.randint(len(values), (draws, len(values)), generator=generator)</code> are the indices of all draws.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def bootstrap_means(values, draws, generator):
#     chosen = torch.randint(len(values), (draws, len(values)), generator=generator)
#     return values[chosen].mean(1)
# ```
# </details>

# %%
generator = torch.Generator().manual_seed(seed)
LIMITS = torch.tensor([0.025, 0.975])
low, high = bootstrap_means(five, draws, generator).quantile(LIMITS).tolist()
print(f"mean {five.mean():.1f} %")
print(f"95 % of the bootstrap means lie between {low:.1f} and {high:.1f} %")

# %% [markdown]
# ### Exercise: bootstrap
# Difficulty ●●●○○ · 15 minutes. Now with the images. In each repetition draw
#
# * the runs of `ours`, and separately the runs of `base`
# * the images **once**, because all runs were tested on the same images
#
# and compute $T^*=T(a^*,b^*)$ of the two tables of accuracies in points.


# %% tags=["exercise"]
def bootstrap(ours, base, statistic, draws, generator):
    """ours (A, K, n), base (B, K, n): True where a run (first index) is
    right on an image (last index). statistic takes two tables (A, K),
    (B, K) in points and returns a float -> its values, (draws,)"""
    raise NotImplementedError


# %%
bootstrap = check(bootstrap)

# %% [markdown]
# <details><summary>Hint</summary>
# In a loop: three calls of <code>torch.randint</code>, then
# <code>ours[runs][:, :, images].float().mean(2)</code> times 100.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def bootstrap(ours, base, statistic, draws, generator):
#     n = ours.shape[2]
#     values = []
#     for _ in range(draws):
#         images = torch.randint(n, (n,), generator=generator)
#         tables = []
#         for correct in (ours, base):
#             runs = torch.randint(len(correct), (len(correct),), generator=generator)
#             tables.append(100 * correct[runs][:, :, images].float().mean(2))
#         values.append(statistic(*tables))
#     return torch.tensor(values)
# ```
# </details>

# %% [markdown]
# Does it work? Compare `oats` with `oats`: one run with one other, and two runs with the three others. The true gain is 0.
# With one run each, only the images are drawn again. How many of the intervals contain 0?

# %%
same = correct("oats")
everyone = range(len(same))
groups = {"one run each": [([a], [b]) for a, b in permutations(everyone, 2)]}
groups["two and three runs"] = []
for two in map(list, combinations(everyone, 2)):
    three = [run for run in everyone if run not in two]
    groups["two and three runs"] += [(two, three), (three, two)]
intervals = {}
for size, pairs in groups.items():
    for name, statistic in (("mean gain", mean_gain), ("best gain", best_gain)):
        ends = []
        for a, b in pairs:
            values = bootstrap(same[a], same[b], statistic, draws // 2, generator)
            ends.append(values.quantile(LIMITS))
        intervals[size, name] = torch.stack(ends, 1)  # lower ends, upper ends

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
holds = {key: ((low <= 0) & (high >= 0)).sum().item() for key, (low, high) in intervals.items()}
reach = torch.cat([each.flatten() for each in intervals.values()])


def against_itself(size):
    fig, counts = go.Figure(), []
    for i, name in enumerate(("mean gain", "best gain")):
        low, high = intervals[size, name]
        at = [number + 1 + 0.35 * i for number in range(len(low))]
        bars = {"type": "data", "array": (high - low) / 2, "color": figures.COLOURS[i], "thickness": 2, "width": 2}
        fig.add_scatter(
            x=at,
            y=(low + high) / 2,
            error_y=bars,
            mode="markers",
            name=f"95 % interval of the {name}",
            **figures.style(i),
        )
        counts.append(f"{holds[size, name]} of {len(low)} intervals of the {name}")
    fig.add_hline(
        0, line={"color": figures.INK, "dash": "dot"}, annotation_text="true gain", annotation_position="bottom right"
    )
    seen = f"oats over oats, {size}: {counts[0]} contain 0, and {counts[1]}."
    figures.layout(fig, "comparison", "gain under the quick suite, points", takeaway=seen)
    return fig.update_yaxes(range=[reach.min() - 1, reach.max() + 1]), seen


sliders(against_itself, size=list(groups), labels={"size": "compared"})


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
def row(size, name):
    low, high = intervals[size, name]
    return f"| {size}, {name} | {holds[size, name]} of {len(low)} | {(low > 0).sum()} | {(high < 0).sum()} |"


best_low, best_high = intervals["two and three runs", "best gain"]
say(
    "| 95 % intervals | contain the true gain, 0 | lie above it | lie below it |\n|---|---|---|---|\n"
    + "\n".join(row(*key) for key in intervals)
    + "\n\n**One run each:** images drawn again do not show what another training would have done. So these intervals are far too "
    "narrow.\n\n**Two and three runs:** the intervals of the mean are better. They can still be narrower than their name says, because so few runs "
    "do not show how far training scatters.\n\n**The best gain:** its interval shows how far the *maximum* scatters, and a maximum is positive by chance. "
    f"With two and three runs, {(best_low > 0).sum()} intervals lie above 0 and {(best_high < 0).sum()} below.\n\nThe 20 comparisons "
    f"share {len(same)} runs, and each occurs in both orders. So these counts are examples, and no precise shares."
)

# %% [markdown]
# ## Third tool: what would chance give?
#
# If two methods are equally good, the names of the methods on the runs mean nothing. So exchange them. Split all runs into two
# groups in each possible way, and compute T for each split. These values are what chance gives. For the tables from above:

# %%
runs = torch.cat([ours, base])
for first in combinations(range(4), 2):
    rest = [run for run in range(4) if run not in first]
    gain = best_gain(runs[list(first)], runs[rest])
    print("runs", first, "against", rest, "best gain", gain)

# %% [markdown]
# The first line is the real split. The **p value** is the share of splits whose value is at least as large. A small p value
# says that chance rarely gives so much. With $\pi$ for a split,
#
# $$p=\frac{\#\{\pi:\;T_\pi\ge T\}}{\binom{A+B}{A}}$$
#
# The real split counts, too, so p is never 0. And the statistic may be *anything*, even a maximum: the same
# maximum is taken in each split.
#
# ### Exercise: relabelled
# Difficulty ●●●○○ · 10 minutes. Return the value of a statistic for all splits. The first must be the real one.


# %% tags=["exercise"]
def relabelled(ours, base, statistic):
    """ours (A, K), base (B, K), statistic(table, table) -> float
    -> its values for all splits of the A + B runs into A and B."""
    raise NotImplementedError


# %%
relabelled = check(relabelled)

# %% [markdown]
# <details><summary>Hint</summary>
# The cell above does it for four runs. Collect the values instead of printing them.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from itertools import combinations
#
# def relabelled(ours, base, statistic):
#     runs = torch.cat([ours, base])
#     values = []
#     for first in combinations(range(len(runs)), len(ours)):
#         rest = [run for run in range(len(runs)) if run not in first]
#         values.append(statistic(runs[list(first)], runs[rest]))
#     return torch.tensor(values)
# ```
# </details>


# %%
def p_value(values):
    return (values >= values[0] - 1e-4).float().mean().item()


p = p_value(relabelled(ours, base, best_gain))
print(f"p of the best gain of the tables above: {p:.2f}")

# %% [markdown]
# ## The example: an output layer for every width
#
# In `oats` all widths share the last layer. A narrow network has fewer features, $F_w$ numbers $h_w$. It uses the first
# $F_w$ columns of the weight $W$. SOLAR gives each width a weight of its own:
#
# $$\text{shared: }z=W_{[:,\,1..F_w]}\,h_w+b\qquad\qquad\text{switchable: }z=W^{(w)}h_w+b^{(w)}$$

# %%
diagram("07")
W, bias = torch.arange(12.0).view(3, 4), torch.zeros(3)  # 3 classes, 4 features
h = torch.tensor([[1.0, 10.0]])  # features of one image at width 0.5
print("the columns that width 0.5 uses:\n", W[:, :2])

# %% [markdown]
# ### Exercise: shared_logits
# Difficulty ●○○○○ · 3 minutes. Write the shared layer. The number of features that arrive says how narrow the network is.


# %% tags=["exercise"]
def shared_logits(features, weight, bias):
    """features (N, F_w), weight (classes, F), bias (classes,)
    -> logits (N, classes)"""
    raise NotImplementedError


# %%
shared_logits = check(shared_logits)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>features.shape[1]</code> columns, then a product with the transposed weight.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def shared_logits(features, weight, bias):
#     columns = weight[:, : features.shape[1]]
#     return features @ columns.T + bias
# ```
# </details>

# %%
print("logits at width 0.5:", shared_logits(h, W, bias))

# %% [markdown]
# ### Exercise: SwitchableHead
# Difficulty ●●○○○ · 8 minutes. Write the module of SOLAR: one `nn.Linear` for each width, with `int(features * width)` inputs.
# `index` is the number of the width. Some backbones have the same number of features at all widths, so do not choose the
# layer by that number.


# %% tags=["exercise"]
class SwitchableHead(nn.Module):
    """features at full width, classes, widths (a tuple). The layers are
    in self.each; forward(features (N, F_w), index) -> (N, classes)"""

    def __init__(self, features, classes, widths):
        super().__init__()
        raise NotImplementedError

    def forward(self, features, index):
        raise NotImplementedError


# %%
SwitchableHead = check(SwitchableHead)

# %% [markdown]
# <details><summary>Hint</summary>
# A Python list hides its layers from the optimiser: use <code>nn.ModuleList</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class SwitchableHead(nn.Module):
#     def __init__(self, features, classes, widths):
#         super().__init__()
#         sizes = [int(features * width) for width in widths]
#         self.each = nn.ModuleList([nn.Linear(size, classes) for size in sizes])
#
#     def forward(self, features, index):
#         return self.each[index](features)
# ```
# </details>

# %% [markdown]
# Put it into an `oats`. With the same weights, it must give the logits of the library's `solar`, and a loss at the narrowest
# width must move only the narrowest head.


# %% tags=["nbval-check-output"]
class InNetwork(SwitchableHead):
    def forward(self, features, dials):
        return super().forward(features, dials.width.index)


data = oatlib.load_data("shapes", seed=0)
WIDTHS = (0.25, 0.5, 0.75, 1.0)
solar = oatlib.build("solar", data, seed=seed)
yours = oatlib.build("oats", data, seed=seed, widths=WIDTHS)
yours.body.head = InNetwork(yours.body.head.full, len(data.classes), WIDTHS)
yours.load_state_dict(solar.state_dict())
x, y = data.train.x[:8], data.train.y[:8]
agree = [torch.allclose(yours(x, 0.2, w), solar(x, 0.2, w), atol=1e-5) for w in WIDTHS]
print("with your head, the same logits at every width:", agree)
F.cross_entropy(yours(x, 0.2, 0.25), y).backward()
moved = [part.weight.grad is not None for part in yours.body.head.each]
print("a narrow loss moves its own head only:", moved)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
more = []
for k in (4, 32):
    own = SwitchableHead(512, 10, tuple((i + 1) / k for i in range(k)))
    more.append(sum(p.numel() for p in own.parameters()) - (512 * 10 + 10))
solar_size, shared = (
    sum(
        p.numel()
        for p in oatlib.build("oats", data, backbone=record["backbone"], widths=WIDTHS, own_heads=own).parameters()
    )
    for own in (True, False)
)
extra = solar_size - shared
say(
    f"**The price.** In a ResNet-34 with 512 features and 10 classes, 4 widths need {more[0]:,} parameters more than a shared layer, and 32 "
    f"widths {more[1]:,}. One prediction uses one head, so it takes no more multiplications. In the small networks of the ablation below, "
    f"`solar` has {extra:,} parameters more than `oats` ({extra / shared:.1%}): so few that we trained no control of equal size."
)

# %% [markdown]
# ## Ablation: only the output layer changes
#
# The record holds `solar` with the same seeds. World, test images and recipe are those of `oats`: only the output layers differ.
# In both, the loss is the sum over the widths, as in SOLAR. (The library's recipe `oats` takes the mean. A comparison with it
# would change two things at once.) First look at every run of every sub-network.

# %%
question = "solar over oats, same seeds: is the best gain more than chance gives (p ≤ 5 %)?"
lesson.predict("solar", question, options=["yes", "no"])

# %%
arms = {name: points(correct(name)) for name in ("oats", "solar")}
by_run = torch.stack([table.mean(1) for table in arms.values()])  # mean of each run
correlation = torch.corrcoef(by_run)[0, 1].item()

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = go.Figure()
left, right = (points(correct(name, broken=True)) for name in arms)
places = torch.arange(len(ALL))
x = [at for k in range(len(ALL)) for _ in SEEDS for at in (k - 0.15, k + 0.15, None)]
y = [at for pair in zip(left.T.flatten().tolist(), right.T.flatten().tolist(), strict=True) for at in (*pair, None)]
thin = {"color": figures.INK, "width": 1}
fig.add_scatter(x=x, y=y, mode="lines", name="the same seed", line=thin, hoverinfo="skip")
for i, (name, table) in enumerate(zip(arms, (left, right), strict=True)):
    where = (places - 0.15 + 0.3 * i).repeat_interleave(len(SEEDS)).tolist()
    mark = figures.style(i)["marker"]
    fig.add_scatter(
        x=where, y=table.T.flatten().tolist(), mode="markers", name=f"{name}, one mark per seed", marker=mark
    )
# networks of one width: lesson 05 trained them with the same backbone, preset and number of epochs
alone = json.loads((RECORDS / "oat_arms.json").read_text(encoding="utf-8"))
single = {
    lam: [100 * row["robust"] for run in alone["arms"]["all of OAT"] for row in run if row["lam"] == lam]
    for lam in record["lams"][1:]
}
at = [ALL.index((1.0, lam)) + 0.35 for lam, values in single.items() for _ in values]
marks = [value for values in single.values() for value in values]
fig.add_scatter(x=at, y=marks, mode="markers", name="oat, one width", marker=figures.style(2)["marker"])
edge = len(ALL) - len(SUBNETS) - 0.5
fig = fig.add_vrect(-0.5, edge, fillcolor=figures.GRID, line_width=0, annotation_text="broken: not tested")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
gains = arms["solar"].mean(0) - arms["oats"].mean(0)
top = int(gains.argmax())
overlap = (arms["solar"].amin(0) <= arms["oats"].amax(0)) & (arms["oats"].amin(0) <= arms["solar"].amax(0))
seen = f"The seeds of one method overlap those of the other in {overlap.sum()} of {len(SUBNETS)} sub-networks. "
seen += f"The largest mean gain is {gains[top]:+.1f} points, at width {SUBNETS[top][0]:g}, λ = {SUBNETS[top][1]:g}."
title = f"95 % interval of one mark: about ±3 points (n = {record['n']} test images); oat: ±4 (n = 512)"
figures.layout(fig, X_NAME, "robust accuracy, % (upper bounds)", title, 460, seen).update_xaxes(ticks(ALL))

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
full = {lam: points(correct("oats"))[:, SUBNETS.index((1.0, lam))].tolist() for lam in single}
near = all(min(full[lam]) <= max(single[lam]) and min(single[lam]) <= max(full[lam]) for lam in single)
compared = "; ".join(
    f"at λ = {lam:g} `oats` {min(full[lam]):.0f} to {max(full[lam]):.0f} %, `oat` {min(values):.0f} to {max(values):.0f} %"
    for lam, values in single.items()
)
say(
    f"{seen}\n\n**A network of that size trained alone:** `oat` has one width ({len(alone['seeds'])} seeds of lesson 05, the same backbone and "
    f"preset, n = 512 validation images). At full width, lowest to highest seed: {compared} (upper bounds). The seeds {'overlap, and so few do not settle it' if near else 'do not overlap'}.\n\n"
    "The lines connect runs with the same seed. These share the first weights, the order of the images and the draws of λ. "
    f"Over the {len(SEEDS)} seeds, the mean accuracies of `oats` and `solar` have correlation **{correlation:.2f}**, which {len(SEEDS)} "
    "pairs do not prove. But a pair shares a part of the chance by design, and this part cancels in the difference. So the pairs must "
    "stay together."
)

# %% [markdown]
# For pairs, the labels are exchanged *within* a seed only. Each of S seeds keeps its labels or swaps them: $2^S$ ways. The bootstrap draws
# the two runs of a seed together.


# %%
def swapped(ours, base, statistic):
    """Values for all exchanges of labels within seeds; the real one is first."""
    values = []
    for swap in product([False, True], repeat=len(ours)):
        swap = torch.tensor(swap)[:, None]
        pair = torch.where(swap, base, ours), torch.where(swap, ours, base)
        values.append(statistic(*pair))
    return torch.tensor(values)


def drawn_together(ours, base, statistic):
    """Your bootstrap, with the two runs of a seed side by side in one row."""
    pairs, K = torch.cat([ours, base], 1), ours.shape[1]

    def of_pairs(both, _):
        return statistic(both[:, :K], both[:, K:])

    return bootstrap(pairs, pairs, of_pairs, draws, generator)


chance = {
    "all splits of the runs": relabelled(arms["solar"], arms["oats"], best_gain),
    "exchanged within seeds": swapped(arms["solar"], arms["oats"], best_gain),
}
p_pairs = p_value(chance["exchanged within seeds"])

# %%
answer = "yes" if p_pairs <= 0.05 else "no"
lesson.reveal("solar", answer, f"p = {p_pairs:.2f}, exchanged within seeds.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
value = chance["all splits of the runs"][0].item()
usual = {name: values.mean().item() for name, values in chance.items()}
seen = f"The best gain of solar over oats is {value:+.1f} points. Chance gives {usual['all splits of the runs']:.1f} on average over all "
seen += f"splits, and {usual['exchanged within seeds']:.1f} if labels are exchanged within seeds."
fig = figures.histograms(
    chance, bins=24, x_name="best gain under the quick suite, points", y_name="share of the values", takeaway=seen
)
fig.add_vline(value, line={"color": figures.INK, "width": 3}, annotation_text="solar over oats")

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
CASES = {
    "robust": {},
    "robust, with the broken width": {"broken": True},
    "clean": {"key": "clean"},
}
rows, results = [], {}
for case, which in CASES.items():
    pair = [correct(name, **which) for name in ("solar", "oats")]
    tables = [points(each) for each in pair]
    for name, statistic in (("mean gain", mean_gain), ("best gain", best_gain)):
        apart = bootstrap(*pair, statistic, draws, generator).quantile(LIMITS).tolist()
        paired = drawn_together(*pair, statistic).quantile(LIMITS).tolist()
        p_apart, p_paired = (p_value(test(*tables, statistic)) for test in (relabelled, swapped))
        found = statistic(*tables)
        results[f"{case}: {name}"] = [found, *apart, p_apart, *paired, p_paired]
        rows.append(
            f"| {case}: {name} | **{found:+.1f}** | {apart[0]:+.1f} to {apart[1]:+.1f} | {p_apart:.2f} | {paired[0]:+.1f} to "
            f"{paired[1]:+.1f} | {p_paired:.2f} |"
        )
say(
    "| `solar` over `oats`, points | | interval, runs apart | p | interval, pairs | p, pairs |\n|---|---|---|---|---|---|\n"
    + "\n".join(rows)
    + f"\n\n95 % bootstrap intervals over seeds and images. p is the share of {len(chance['all splits of the runs'])} splits, or of "
    f"{len(chance['exchanged within seeds'])} exchanges within seeds, with at least this gain; the smallest p of pairs is 1/{2 ** len(SEEDS)}. "
    f"{len(SEEDS)} seeds per arm, n = {record['n']} test images, quick suite, ε = 8/255: robust accuracies are upper bounds. Backbone "
    f"`{record['backbone']}`, {record['preset']}; {len(SUBNETS)} sub-networks with λ > 0 (clean: also λ = 0). These are "
    f"{2 * len(rows)} p values: even without an effect, one of them may be small."
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
mean, best = results["robust: mean gain"], results["robust: best gain"]
clean_gains = points(correct("solar", key="clean")) - points(correct("oats", key="clean"))  # (seeds, sub-networks)
at = int(clean_gains.mean(0).argmax())
where = many_seeds.subnetworks(record, key="clean")[at]


def found_at(shift):
    """Whether the paired test of the mean gain notices that solar is better by so many points more."""
    return p_value(swapped(arms["solar"] + shift, arms["oats"], mean_gain)) <= 0.05


needed = next(shift for shift in torch.arange(0, 30, 0.1).tolist() if found_at(shift))
verdicts = {
    True: "So here chance alone rarely gives so much.",
    False: "So here the gain is **not** larger than chance explains.",
}
say(
    f"**As an abstract would say it:** own output layers gain *up to* {best[0]:+.1f} points of robust accuracy. **What the tests say:** exchanging "
    f"labels within seeds gives a best gain of at least this size in {best[6]:.0%} of the cases. The mean gain is {mean[0]:+.1f}, with the "
    f"interval {mean[4]:+.1f} to {mean[5]:+.1f} (pairs). {verdicts[best[6] <= 0.05]} "
    f"A small gain would be missed: with these {len(SEEDS)} pairs, only a mean gain of about {mean[0] + needed:+.1f} points or more gives "
    "p ≤ 5 %. This holds for our small networks and one world. It neither confirms nor refutes the paper.\n\n"
    f"**The largest number of the table** is {clean_gains.mean(0).max():+.1f} points of clean accuracy, at width {where[0]:g}, λ = {where[1]:g}. "
    f"The gains of the single seeds are {', '.join(f'{gain:+.1f}' for gain in clean_gains[:, at].tolist())}. Look at them before you "
    "believe their mean."
)

# %% [markdown]
# ## Open exercise: a better test
#
# A test can fail in two ways. It can claim an effect that is not there, and it can miss one. To measure both you need papers
# whose truth is known. `papers.paper` simulates them: 4 runs of each method and 6 to 24 sub-networks. The size of the noise
# differs from paper to paper. One sub-network in eight is unstable: its noise is six times as large. A real effect
# is small on all sub-networks, or large on a quarter of them.
#
# ### Exercise: verdict
# Difficulty ●●●●○ · 25 minutes. Decide from two tables whether `ours` is really better. The check has 300 papers without an effect,
# and 150 with one. At most `22` false claims are accepted: one in twenty is 15, and two standard errors are about 7. At least three
# in five of the real effects must be found. The p value of `best_gain` alone misses most of them.


# %% tags=["exercise"]
def verdict(ours, base):
    """ours, base (4 runs, K sub-networks) in points -> True or False:
    is ours really better?"""
    raise NotImplementedError


# %%
verdict = check(verdict)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>relabelled</code> keeps the share of false claims right for any statistic. So look for a statistic that unstable sub-networks do not
# dominate: divide each gain by the spread of its runs. How can it notice both kinds of effects?
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def verdict(ours, base):
#     def scaled(ours, base):
#         spread = (ours.var(0) + base.var(0)).sqrt() + 1e-6
#         gains = (ours.mean(0) - base.mean(0)) / spread
#         return gains.clamp(min=0).square().sum().item()
#
#     values = relabelled(ours, base, scaled)
#     p = (values >= values[0] - 1e-6).float().mean()
#     return bool(p <= 0.05)
# ```
#
# The largest scaled gain passes, too. So does the smallest p value of a t test per sub-network, multiplied by their number.
# </details>

# %% [markdown]
# Your test beside three others, on 100 new papers of each kind. And what does it say about SOLAR?

# %%
new = torch.Generator().manual_seed(seed + 1)
without = [papers.paper(new, effect=False) for _ in range(100)]
real = [papers.paper(new, effect=True) for _ in range(100)]


def by_p(statistic):
    return lambda ours, base: p_value(relabelled(ours, base, statistic)) <= 0.05


tests = {
    "your verdict": verdict,
    "p of the best gain": by_p(best_gain),
    "p of the mean gain": by_p(mean_gain),
    f"best gain of {PAPER} or more": lambda ours, base: best_gain(ours, base) >= PAPER,
}
claims = {}
for name, test in tests.items():
    claims[name] = [sum(test(*tables) for tables in some) for some in (without, real)]
says = verdict(arms["solar"], arms["oats"])

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
series = {
    "papers without an effect: false claims": [false / 100 for false, _ in claims.values()],
    "papers with an effect: found": [found / 100 for _, found in claims.values()],
}
false, found = claims["your verdict"]
naive = claims[f"best gain of {PAPER} or more"]
seen = f"Your verdict claims an effect in {false} of 100 papers without one and finds {found} of 100 real ones. A limit of {PAPER} points "
seen += f"claims {naive[0]} and finds {naive[1]}."
fig = figures.bars(
    list(claims), series, n=100, y_name="claims, % of 100 papers (95 % intervals)", height=400, takeaway=seen
)
fig.add_hline(5, line={"color": figures.INK, "dash": "dot"}, annotation_text="5 %", annotation_position="top left")

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"{seen} About SOLAR over OATS, {len(SEEDS)} seeds each, your verdict says: **{'really better' if says else 'not shown to be better'}** "
    "in robust accuracy. (It does not use that the runs come in pairs.)"
)

# %% [markdown]
# ## Look at two sub-networks
#
# The ready networks `oats` and `solar`, at half width and λ = 1. Each is attacked by your PGD of lesson 01. These two are one seed each, and
# were trained at different widths. So they show two networks, not two methods. They are larger than the networks of the record, were
# trained twice as long, and PGD-20 is weaker than the suite. So their accuracies are higher.

# %%
pgd = mine("pgd")
pair = {name: oatlib.ready(name) for name in ("oats", "solar")}
panel = data.val.panel(n)
radius = 8 / 255
attacked = {}
for name, net in pair.items():
    f = net.at(1.0, 0.5)
    start = torch.Generator().manual_seed(seed)
    attacked[name] = pgd(f, panel.x, panel.y, radius, 20, radius / 8, start)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
pictures, below, right = {"image": panel.x[:6]}, {"image": captions(data, panel, range(6))}, {}
for name, x_adv in attacked.items():
    answers = pair[name].at(1.0, 0.5)(x_adv).argmax(1)
    right[name] = (answers == panel.y).sum().item()
    marks = ["✓" if a == b else "✗" for a, b in zip(answers[:6], panel.y[:6], strict=True)]
    pictures[f"{name}: change × 8"] = figures.change(panel.x, x_adv, 8)[:6]
    below[f"{name}: change × 8"] = [f"{m} {data.classes[a]}" for m, a in zip(marks, answers[:6], strict=True)]
seen = f"Under PGD-20 with ε = 8/255, oats is right on {right['oats']} of n = {n} images and solar on {right['solar']} (upper bounds; "
seen += (
    " and ".join("{:.0%} to {:.0%}".format(*oatlib.wilson(count, n)) for count in right.values()) + ", 95 % intervals)."
)
figures.images(pictures, below, tile=88, takeaway=seen)

# %%
surfaces = lesson.surfaces(pair, data)
look = {"surfaces": surfaces, "hide": ["training", "choose"]}
oatlib.explore(pair, data, compare=("oats",), width=0.5, **look)

# %% [markdown]
# Three checks that every measurement must pass, and two of your tools:

# %% tags=["nbval-check-output"]
f = pair["solar"].at(1.0, 0.5)
start = f(panel.x).argmax(1)
free = oatlib.PGD(0.0, 5)(f, panel.x, panel.y)
climb = list(oatlib.PGD(0.5, 10).iterates(f, panel.x, panel.y))
fall = [F.cross_entropy(logits, panel.y).item() for _, logits in climb]
print("an attack with ε = 0 changes no answer:", torch.equal(f(free).argmax(1), start))
print("with ε = 0.5 the loss rises:", fall[-1] > fall[0])
left = (climb[-1][1].argmax(1) == panel.y).float().mean().item()
print("and hardly any answer is right:", left < 0.1)
itself = relabelled(oats[:3], oats[3:], mean_gain)
print("oats over oats gains 0 on average over all splits:", abs(itself.mean().item()) < 1e-3)
itself = bootstrap(same, same, mean_gain, 200, torch.Generator().manual_seed(seed))
print("its bootstrap lies around 0:", abs(itself.mean().item()) < itself.std().item())

# %% [markdown]
# > **Pitfalls**
# > * *Reporting the best of many.* The maximum of noise is positive. Report all of them, or test the maximum.
# > * *An interval around a maximum.* It scatters around the wrong value. Compare with what chance gives.
# > * *One seed.* Two methods and two trainings then look the same.
# > * *Counting images instead of seeds.* More images make an accuracy precise. Only more seeds make a comparison precise.
# > * *Breaking pairs.* Runs with the same seed share chance. Exchange their labels within the pair.
# > * *Two changes at once.* Change the output layer or the loss, then you know which one helped.
# > * *Averaging over a broken sub-network.* Show every run; one failed run moves the mean.
# > * *Reading a large p value as no effect.* Ask how often the test finds an effect of that size.
#
# ## What we showed, and what we did not show
#
# The best of many sub-networks gains points by chance alone: `oats` over `oats`, on one world and one set of
# test images. An interval does not repair such a number, because a maximum is positive by chance. Exchanging the labels of the
# runs gives a fair comparison, for any statistic. In simulated papers, a better statistic finds far more real effects with no
# more false claims than one in twenty.
#
# **What we did not show:**
#
# * that SOLAR does not work: its networks are larger, have up to 32 widths and see photographs
# * that own output layers have no effect here: a small effect needs more runs than ours
# * that the assumption of the tests holds: runs of equally good methods scatter equally
# * that several widths are worth having: that is the question of [lesson 06](06_slimming.ipynb)
# * that the suite finds the worst images
#
# ## Try this
#
# * In the simulated experiments: a true gain of 2 points, 24 sub-networks, noise 3. How many runs until the mean gain shows it?
# * Write a `verdict` that averages the scaled gains. Which kind of effect does it miss?
# * Exchange the labels of two seeds only, `swapped(arms["solar"][:2], arms["oats"][:2], mean_gain)`. What can two seeds show?
#
# ## Sources
#
# * Tareen et al. 2025, *SOLAR: Switchable Output Layer for Accuracy and Robustness in Once-for-All Training*
# * Efron 1979, *Bootstrap Methods: Another Look at the Jackknife*
# * Fisher 1935, *The Design of Experiments* (exchanging labels)
# * Bouthillier et al. 2021, *Accounting for Variance in Machine Learning Benchmarks*
# * Agarwal et al. 2021, *Deep Reinforcement Learning at the Edge of the Statistical Precipice* (intervals from few runs)
#
# **Next:** [08 · Noise in the weights](08_weight_noise.ipynb): a dial without FiLM.

# %%
lesson.finish(
    by_chance=[average, by_luck.max().item()],
    intervals_with_zero={" ".join(key): count for key, count in holds.items()},
    correlation=correlation,
    solar_over_oats=results,
    claims=claims,
    verdict=says,
)
