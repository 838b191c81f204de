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
# # 00 · What does robustness cost, and can you choose?
#
# **You will be able to**
#
# * say what a robust network is, and read a picture of clean against robust accuracy
# * turn the dials λ, width and ε of a real network, and say what each of them costs
# * find the setting that suits you: the most robust one that is still accurate enough
# * use a lesson of this course: guess, run, check, change, run again
#
# **Before this:** nothing · **Run time:** about 60 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 160  # 32 to 512: validation images that are attacked (digits: 200 at most)
eps: float = 8.0  # 1 to 16: size of the attack, in 1/255 of the range of a pixel
min_clean: float = 0.9  # 0.3 to 0.99: the clean accuracy that you need
epochs: int = 4  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (minutes) instead of loading those that come along

# %%
import copy

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots

import oatlib
from oatlib import PGD
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer import open_files
from oatlib.explorer.description import captions

lesson = begin("00_tour", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n, radius = panel.x, panel.y, len(panel), eps / 255
nets = {name: lesson.network(name, data) for name in ("oats", "pgd-at", "standard")}

# %% [markdown]
# ## The failure
#
# An ordinary network looks at images that it has never seen. Then an **attack** moves every pixel of each image by at most
# ε, the size of the attack, in the direction that hurts most.


# %%
def attack(net, images, labels, size):
    """The images after PGD-20, an attack of twenty small steps up the loss (lesson 01)."""
    return PGD(size, 20)(net, images, labels, torch.Generator().manual_seed(seed))


ordinary = nets["standard"].at()
few, labels = x[:6], y[:6]
moved = attack(ordinary, few, labels, radius)
said = {
    what: [f"says {data.classes[c]}" for c in ordinary(images).argmax(1)]
    for what, images in (("image", few), ("attacked", moved))
}
truth = captions(data, panel, range(6))
rows = {"image": few, "change × 16": figures.change(few, moved, 16), "attacked": moved}
figures.images(rows, {"image": figures.stacked(truth, said["image"]), "attacked": said["attacked"]})

# %% [markdown]
# Below each image stand its class, the shape that is drawn, and what the network says. The middle row shows the change,
# 16 times as large as it is and around grey. You hardly see a difference between the first and the last row. A **robust**
# network is one that keeps its answers. (In the built-in world a faint shape often belongs to another class, a vivid one
# never does. A texture that you do not see always tells the class.)
#
# ## How a lesson works
#
# * **Guess first.** Boxes like the next one ask you for a guess. Later the answer stands beside it. Nobody else sees it.
# * **Exercises** have a stub for you to fill in, a check that says what is wrong, a hint and a solution. Nothing stops you:
#   where yours is not there yet, the lesson goes on with the library's version.
# * **Change and run again.** The first code cell holds the parameters, each with its range. Change one, and run all cells.
# * Every number in the text was **measured when the lesson ran**, and comes with n and a 95 % interval where it is an accuracy.

# %%
lesson.predict(
    "robust",
    "a network of the same size was trained to resist. How much clean accuracy has that cost it?",
    0,
    50,
    "points",
)

# %%
price = {
    name: oatlib.evaluate(nets[name], panel, PGD(radius, 20), progress=False)[0] for name in ("standard", "pgd-at")
}
series = {
    kind: [getattr(r, key) for r in price.values()]
    for kind, key in (("clean images", "clean"), ("attacked images", "robust"))
}
figures.bars(["ordinary (standard)", "trained to resist (pgd-at)"], series, n=n, height=320)

# %%
cost = 100 * (price["standard"].clean - price["pgd-at"].clean)
lesson.reveal("robust", cost, "it is right less often when nobody attacks: robustness has a price.")

# %% [markdown]
# ## Why there is a price: a world of two cues
#
# Let an image be two numbers. The **loud** cue is large and lies now and then; the **faint** cue is tiny and never lies.
# A classifier weighs them: its answer is the sign of (1 - w)·loud + w·15·faint. Nobody can attack the loud cue away; the
# faint one drowns in a change of size ε. Move w, and watch both accuracies.


# %%
def two_cues(seed):
    """400 images of two numbers, loud and faint, and their class, -1 or +1."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(400) % 2 * 2.0 - 1
    truth = torch.where(torch.rand(400, generator=generator) < 0.15, -1.0, 1.0)  # -1: the loud cue lies
    loud = side * truth * (0.3 + 0.08 * torch.randn(400, generator=generator))
    faint = side * 0.03 * (0.4 + 1.2 * torch.rand(400, generator=generator))
    return loud, faint, side


loud, faint, side = two_cues(seed)


def both(w, size):
    """Clean and robust accuracy of the classifier with weight w; what an attack can do to a sum is known exactly."""
    margin = side * ((1 - w) * loud + w * 15 * faint)
    worst = margin - size * ((1 - w) + w * 15)
    return (margin > 0).float().mean().item(), (worst > 0).float().mean().item()


# %%
def weigh(w, size):
    """The two cues with the border of the classifier, and where it stands in the trade-off."""
    fig = make_subplots(1, 2, subplot_titles=["the images", "the trade-off"], horizontal_spacing=0.14)
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    for i, (label, mark) in enumerate([(-1, "circle"), (1, "square")]):
        x, y = loud[side == label], faint[side == label]
        look = {"symbol": mark, "size": 5, "color": figures.COLOURS[i]}
        fig.add_scatter(x=x, y=y, mode="markers", marker=look, name=f"class {label:+d}", **left)
    a, b, across = 1 - w, 15 * w, torch.tensor([-0.6, 0.6])
    for shift, dash, name in ((0, "solid", "border"), (size, "dot", "reach of the attack"), (-size, "dot", "")):
        up, line = (shift * (a + b) - a * across) / max(b, 1e-6), {"dash": dash, "color": figures.INK}
        fig.add_scatter(x=across, y=up, mode="lines", line=line, name=name, showlegend=bool(name), **left)
    clean, robust = ([100 * v for v in values] for values in zip(*(both(v / 40, size) for v in range(41)), strict=True))
    fig.add_scatter(x=clean, y=robust, mode="lines", name="all w", line={"color": figures.COLOURS[2]}, **right)
    here, star = both(w, size), {"symbol": "star", "size": 15, "color": figures.COLOURS[1]}
    fig.add_scatter(x=[100 * here[0]], y=[100 * here[1]], mode="markers", name="here", marker=star, **right)
    figures.layout(fig, height=400).update_layout(margin={"t": 96}, legend={"y": 1.12})
    fig.update_xaxes(title="loud cue", range=[-0.6, 0.6], **left).update_xaxes(
        title="clean, %", range=[60, 102], **right
    )
    fig.update_yaxes(title="faint cue", range=[-0.2, 0.2], **left).update_yaxes(
        title="robust, %", range=[-3, 103], **right
    )
    return fig, f"clean <b>{here[0]:.0%}</b>, robust <b>{here[1]:.0%}</b> (n = 400, the worst change is known exactly)"


sliders(
    weigh,
    w=(0.0, 1.0, 0.025),
    size=(0.0, 0.2, 0.01),
    labels={"w": "weight w of the faint cue", "size": "size of the attack ε"},
    start_at={"w": 0.5, "size": 0.1},
)

# %% [markdown]
# That is the one idea of this course: accuracy and robustness trade off, and a **dial** can move along the trade. Here the
# dial is w. In a real network nobody knows the cues; there a **λ** between 0 and 1 says how much attacked images counted in
# training. One network that was trained for all λ at once (*once-for-all adversarial training*) keeps that dial.
#
# ## What "robust" counts
#
# ### Exercise: robust_accuracy
# Difficulty ●○○○○ · 5 minutes. An attack walks through several images near the given one. The attacker may stop anywhere
# on the way, so an image counts as robust only if the network is right **at every point**.


# %% tags=["exercise"]
def robust_accuracy(answers, y):
    """answers (T, N): what a network said at T points for N images;
    y (N,): the classes. The share as a number."""
    raise NotImplementedError  # your code instead of this line


# %%
robust_accuracy = check(robust_accuracy)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>answers == y</code> compares every row with the classes; <code>all(0)</code> asks whether a whole column is true.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def robust_accuracy(answers, y):
#     return (answers == y).all(0).float().mean().item()
# ```
# </details>

# %% [markdown]
# ## Two minutes with the dials
#
# The explorer holds networks that come with the course. `oats` has two dials, **λ** and **width** (how large a part of the
# network runs); `oat` and `blend` have λ only; `pgd-at` and `standard` have none. Every number is measured on images the
# networks have not seen; estimates begin with ≈. Take the missions one by one. Guess before you turn.

# %%
lesson.predict("lam", f"mission 1: at which λ does the clean accuracy of oats fall below {min_clean:.0%}?", 0, 1, "")

# %%
lesson.predict(
    "width", "mission 2: at λ = 1, how many points of robust accuracy does half the width cost?", 0, 40, "points"
)

# %%
lesson.predict(
    "double", "mission 3: at λ = 1, full width, make ε twice as large. How much robust accuracy is left?", 0, 100
)

# %%
ready = data_set == "shapes" and seed == 0 and not retrain  # else the networks were trained here, and are fewer
if ready:
    names = ("oats", "oat", "blend", "pgd-at", "standard")
    paths = [open_files.FOLDER / f"{name}.safetensors" for name in names]
    shown, known = open_files.opened(paths)[0], None
    known = open_files.measured(paths, shown, data)  # the curves, so that the sliders know them at once
else:
    shown, known = nets, None
oatlib.explore(shown, data, lam=0.3, eps=eps, surfaces=known, marks=open_files.marks(data), hide=["training"])

# %% [markdown]
# ## The missions, measured
#
# What you found by turning, found by a program: `net.at(lam, width)` is the network with its dials fixed there.

# %%
oats = nets["oats"]
dial = [i / 20 for i in range(21)]
clean = [(oats.at(lam)(data.val.x).argmax(1) == data.val.y).float().mean().item() for lam in dial]
below = next((lam for lam, share in zip(dial, clean, strict=True) if share < min_clean), 1.0)
lesson.reveal("lam", below, f"the first of 21 positions where it is lower (n = {len(data.val)}).")


# %%
def robust_at(lam, width, size):
    """Robust accuracy of oats at a setting: right as they are, and at every step of PGD-20."""
    net = oats.at(lam, width)
    walk = PGD(size, 20).iterates(net, x, y, torch.Generator().manual_seed(0))
    return robust_accuracy(torch.stack([net(x).argmax(1), *(logits.argmax(1) for _, logits in walk)]), y)


whole, half, twice = robust_at(1.0, 1.0, radius), robust_at(1.0, 0.5, radius), robust_at(1.0, 1.0, 2 * radius)
lesson.reveal("width", 100 * (whole - half), "half the channels in every layer.")

# %%
lesson.reveal("double", 100 * twice, "robust means robust against changes of a certain size. Always ask which.")

# %%
small, large = (oatlib.cost(oats, 1.0, width).macs for width in (0.5, 1.0))
intervals = [oatlib.wilson(round(r * n), n) for r in (whole, half, twice)]
rows = ["| oats at λ = 1 | robust accuracy | 95 % interval |", "|---|---|---|"]
for what, r, (low, high) in zip(
    (f"full width, ε = {eps:g}/255", f"half the width, ε = {eps:g}/255", f"full width, ε = {2 * eps:g}/255"),
    (whole, half, twice),
    intervals,
    strict=True,
):
    rows.append(f"| {what} | **{r:.1%}** | {low:.1%} to {high:.1%} |")
say("\n".join(rows))
say(
    f"PGD-20, n = {n}: an upper bound, stronger attacks find more (lesson 10). At half the width the network needs "
    f"{small / large:.0%} of the multiply-adds."
)

# %% [markdown]
# ## Mission 4: choose
#
# ### Exercise: pick_setting
# Difficulty ●○○○○ · 5 minutes. You have measured some settings. Pick the most robust one that is accurate enough.


# %% tags=["exercise"]
def pick_setting(results, min_clean):
    """results: a list of settings with .clean and .robust in [0, 1].
    The most robust with clean at least min_clean."""
    raise NotImplementedError


# %%
pick_setting = check(pick_setting)

# %% [markdown]
# <details><summary>Hint</summary>
# First leave out what is not accurate enough. <code>max(..., key=lambda r: ...)</code> then finds the best of the rest.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def pick_setting(results, min_clean):
#     good = [result for result in results if result.clean >= min_clean]
#     return max(good, key=lambda result: result.robust)
# ```
# </details>

# %%
table = oatlib.evaluate(oats, panel, PGD(radius, 20), widths=[1.0], progress=False)
limit = min(min_clean, max(result.clean for result in table))  # a limit that somebody can keep
mine = pick_setting(table, limit)
say(
    f"With clean accuracy of at least {limit:.0%}: **λ = {mine.lam:g}**, clean {mine.clean:.1%} ({mine.clean_low:.1%} to "
    f"{mine.clean_high:.1%}), robust {mine.robust:.1%} ({mine.robust_low:.1%} to {mine.robust_high:.1%}), n = {n}."
)

# %% [markdown]
# ## The same numbers as the library's

# %% tags=["nbval-check-output"]
print("robust_accuracy is what oatlib.evaluate counts:", abs(whole - table[-1].robust) < 1e-6)
print("pick_setting is oatlib.choose:", mine is oatlib.choose(table, min_clean=limit))

# %% [markdown]
# ## Ablation: is the dial more than the mixed weights of two networks?
#
# Take the dial off: instead of one network trained for all λ, mix the weights of `standard` and `pgd-at`, two networks of the
# same shape from the same seed. Same images, same attack.


# %%
def mixture(share):
    """A network whose weights are (1 - share) parts of standard and `share` parts of pgd-at."""
    net, first, last = copy.deepcopy(nets["standard"]), nets["standard"].state_dict(), nets["pgd-at"].state_dict()
    net.load_state_dict({k: torch.lerp(v, last[k], share) if v.is_floating_point() else v for k, v in first.items()})
    return net


mixed = []
for share in (0.0, 0.25, 0.5, 0.75, 1.0):
    (result,) = oatlib.evaluate(mixture(share), panel, PGD(radius, 20), progress=False)
    mixed.append(vars(result) | {"lam": share})
figures.frontier({"oats, one network with a dial": table, "weights of two networks, mixed": mixed})

# %%
far = max(mixed[1:-1], key=lambda point: (table.robust_at(point["clean"]) or 0) - point["robust"])
rival = table.robust_at(far["clean"])
say(
    f"At a share of {far['lam']:g} the mixture has a clean accuracy of {far['clean']:.1%} and a robust accuracy of "
    f"**{far['robust']:.1%}** ({far['robust_low']:.1%} to {far['robust_high']:.1%}, PGD-20, n = {n}). The trained dial "
    + (f"keeps **{rival:.1%}** at that clean accuracy." if rival is not None else "is never as accurate as that.")
    + " A dial in the weights has to be trained."
)
gain = table.gain_over_coin(limit, price["standard"], price["pgd-at"])
if gain is not None:
    say(
        "A fairer rival is a **coin**: for every image it picks one of the two networks. At a clean accuracy of at least "
        f"{limit:.0%} the robust accuracy of the trained dial minus that of the coin is **{100 * gain:+.0f} points** "
        f"(PGD-20, n = {n})."
    )

# %% [markdown]
# ## Can you trust these numbers?
#
# Three checks that every lesson repeats.

# %% tags=["nbval-check-output"]
robust_net = nets["pgd-at"].at()
losses = [F.cross_entropy(logits, y).item() for _, logits in PGD(radius, 20).iterates(robust_net, x, y)]
right = {size: (robust_net(attack(robust_net, x, y, size)).argmax(1) == y).float().mean().item() for size in (0.0, 0.5)}
print("an attack of size 0 changes nothing:", right[0.0] == (robust_net(x).argmax(1) == y).float().mean().item())
print("one that may repaint the image leaves less than a quarter:", right[0.5] < right[0.0] / 4)
print("the loss rises along the way:", losses[-1] > losses[0])

# %% [markdown]
# > **Pitfalls**
# > * *Clean accuracy alone*: it does not tell you which of two networks is robust.
# > * *A robust accuracy without its ε and its attack*: it says nothing. A weaker attack always flatters.
# > * *Few images*: look at the intervals before you believe a difference.
# > * *Choosing on the test images*: choose on validation images, as here, and measure once on test images.
# > * *Fixing λ before training*: what is accurate enough is often known only later. That is what a dial is for.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that a trained network can be fooled by small changes, that one can be trained to resist, what that costs, and
# that a dial can move along the trade-off after training. **What we did not show:** why any of this works. That it is robust
# against every attack is not shown either: it was PGD that we ran. Lesson 10 runs others, and finds less.
#
# ## Try this
#
# * In the explorer: which of `oat`, `oats` and `blend` gives you the most robustness at your minimum of clean accuracy?
# * Set `min_clean` to 0.95 and to 0.86 in the parameters cell and run again.
# * Copy the *state* from the explorer's top bar, turn everything, and paste it back.
#
# ## The ladder
#
# Each lesson opens with what went wrong in the one before.
#
# 1. [01 · The attack](01_attack.ipynb): how a change that nobody sees turns every answer wrong
# 2. [02 · Adversarial training](02_adversarial_training.ipynb): learning to resist, the price, and how it goes wrong
# 3. [03 · Dual BatchNorm](03_dual_bn.ipynb): clean and attacked images have different statistics
# 4. [04 · FiLM](04_film.ipynb): λ as an input of the network
# 5. [05 · Once for all](05_oat.ipynb): one training for the whole dial
# 6. [06 · Slimming](06_slimming.ipynb): a second dial, for size
# 7. [07 · Switchable heads](07_switchable_heads.ipynb): an output layer for every width
# 8. [08 · Weight noise](08_weight_noise.ipynb): the dial in the weights themselves
# 9. [09 · Sparse experts](09_sparse_experts.ipynb): few weights, and experts that share none
# 10. [10 · Is it robust?](10_is_it_robust.ipynb): attacks that do not flatter, and a verdict
#
# ## Sources
#
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (the two cues)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (PGD, `pgd-at`)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free* (λ as a dial)

# %%
lesson.finish(
    price={name: vars(result) for name, result in price.items()},
    missions={"lam": below, "robust": whole, "half the width": half, "twice eps": twice},
    picked={"lam": mine.lam, "clean": mine.clean, "robust": mine.robust},
    dial=table,
    mixed=mixed,
)
