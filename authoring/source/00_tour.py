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
# * say what a robust network is, and read a plot of robust against clean accuracy
# * program the best rule for images with two cues: an obvious one that can be wrong, and a weak one that can be attacked
# * choose λ of a trained network, and measure what the choice costs
# * compare a dial with a coin, which it has to beat, and with the best possible rule, which it cannot beat
#
# **Before this:** Python, a little PyTorch (tensors) · **Run time:** about 60 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 256  # 32 to 512: validation images that are attacked
eps: float = 8.0  # 7 to 16: size of the attack, in 1/255 of the range of a pixel
min_clean: float = 0.9  # 0.86 to 0.98: the clean accuracy that you need
epochs: int = 4  # 1 to 30: epochs of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (minutes) instead of loading the ready ones
recompute: bool = False  # measure the recorded numbers here (5 minutes) instead of loading them

# %%
from functools import partial

import torch
import torch.nn.functional as F

import oatlib
from oatlib.course import dials, figures, rules
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.seeds import over_seeds
from oatlib.course.sliders import sliders
from oatlib.data.scenes import effect_of, scene_of
from oatlib.evaluation.baselines import robust_at

lesson = begin("00_tour", globals())
data = oatlib.load_data("shapes", seed=seed)
scene = scene_of(data, data.val)  # images that no network was trained on, with all their parts
truthful = scene.shape == scene.y  # whether the drawn shape is that of the class


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from oatlib.data.scenes import parts_of
from oatlib.explorer.description import captions


def show_parts(rows):
    """Images of some rows of the scene, with their parts and captions."""
    drawn, texture, noise = parts_of(scene.take(rows))
    pictures = {
        "image": scene.x[rows],
        "drawn shape": drawn,
        "texture × 16": 0.5 + 16 * texture,
        "noise": 0.5 + noise,
    }
    texts = captions(data, data.val, rows.tolist())
    lying = sum("lies" in text for text in texts)
    about = f"The drawn shape belongs to another class in {lying} of these {len(rows)} images."
    return figures.images(pictures, {"image": texts}, takeaway=about)


def with_interval(value, count):
    """An accuracy with its 95 % interval, as text."""
    low, high = oatlib.wilson(round(value * count), count)
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


# %% [markdown]
# ## Images that show their class twice
#
# A program makes the images of this course. Each is the sum of a **drawn shape**, which you see, a **texture**, which is
# too faint to see, and noise. Shape and texture are two **cues**: each of them tells something about the class.

# %%
honest = truthful.nonzero()[:6, 0]
show_parts(honest)

# %% [markdown]
# In these six images the drawn shape agrees with the class. In the next six it shows another class. We say: it *lies*.
# The class in the caption is the label, so it is the right answer. The texture always belongs to the class.

# %%
liars = (~truthful).nonzero()[:6, 0]
show_parts(liars)

# %% [markdown]
# ## The failure
#
# A network called `standard` was trained on such images. Now an **attack** changes every pixel, but only by up to **ε**
# (epsilon). It looks for the change that makes the network wrong. The attack here is called PGD. Lesson 01 builds it.

# %%
nets = {name: lesson.network(name, data) for name in ("oat", "pgd-at", "standard")}
standard, robust = nets["standard"].at(), nets["pgd-at"].at()  # functions from images to logits
radius = eps / 255
x, y = scene.x[honest], scene.y[honest]
attacked = oatlib.PGD(radius, 20)(standard, x, y, torch.Generator().manual_seed(seed))  # 20 steps

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
before, after = ([f"says {data.classes[c]}" for c in standard(z).argmax(1)] for z in (x, attacked))
figures.images(
    {"image": x, "change × 16": figures.change(x, attacked, 16), "attacked": attacked},
    {"image": figures.stacked(captions(data, data.val, honest.tolist()), before), "attacked": after},
    takeaway="Attacked images look the same, but the network says another class for "
    f"{sum(a != b for a, b in zip(before, after, strict=True))} of {len(before)}.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
first = scene.take(torch.arange(min(n, len(scene.y))))


def attack_parts(net):
    """What PGD on a network does to each part of the first images, and the classes it then names."""
    moved = oatlib.PGD(radius, 20)(net, first.x, first.y, torch.Generator().manual_seed(seed))
    return effect_of(first, moved - first.x), net(moved).argmax(1)


effect, named = attack_parts(standard)
added = effect.forged[torch.arange(len(named)), named].median()
say(
    f"ε is {eps:g}/255. The middle row shows the change, 16 times as large as it is. The following numbers are medians of the "
    f"first {len(named)} validation images. The attack on `standard` erases **{effect.erased.median():.0%}** of the texture, "
    f"and **{effect.faded.median():.0%}** of the drawn shape. It also adds the texture of the class that the network now "
    f"names. This new texture has **{added:.0%}** of the strength of the true one."
)

# %% [markdown]
# So this attack replaces the texture, and hardly changes the shape. A **robust** network keeps its right answers under
# attack. The network `pgd-at` was trained to be robust.
#
# * **Clean accuracy**: the share of images that the network classifies correctly without an attack.
# * **Robust accuracy**: the share of images that it classifies correctly with *and* without the attack.
#
# We measure robust accuracy with a suite of two strong attacks, the default of `oatlib.evaluate`. A stronger attack could
# fool the network on more images. So every measured robust accuracy is an **upper bound**: the true one is at most as high.
#
# Before a measurement the lesson asks for your guess.

# %%
question = "how much clean accuracy does pgd-at lose against standard?"
lesson.predict("price", question, 0, 50, "points")

# %%
panel = data.val.panel(min(n, len(data.val)))
suite = oatlib.Suite(radius, budget="quick")
price = {}
for name in ("standard", "pgd-at"):
    (price[name],) = oatlib.evaluate(nets[name], panel, suite, progress=False)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
variance = sum(result.clean * (1 - result.clean) / result.n for result in price.values())
margin = f"± {196 * variance**0.5:.1f} points (95 % interval, n = {len(panel)})"
figures.bars(
    ["standard", "pgd-at"],
    {
        "clean images": [result.clean for result in price.values()],
        "attacked images": [result.robust for result in price.values()],
    },
    n=len(panel),
    x_name=f"network (thin bars: 95 % intervals, n = {len(panel)})",
    y_name="accuracy, % (attacked: upper bound)",
    height=340,
    takeaway=f"Under attack pgd-at is right on at most {price['pgd-at'].robust:.0%} of the images and standard on at most "
    f"{price['standard'].robust:.0%}. Without an attack standard is more accurate.",
)

# %%
cost = 100 * (price["standard"].clean - price["pgd-at"].clean)
comment = f"the price of robustness, {margin}. The text below shows on which images it is lost."
lesson.reveal("price", cost, comment)

# %%
standard_says = standard(scene.x[~truthful]).argmax(1)  # only images whose two cues disagree
robust_says = robust(scene.x[~truthful]).argmax(1)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
label, shape = scene.y[~truthful], scene.shape[~truthful]
faded = attack_parts(robust)[0].faded


def share_of(matches):
    """The share of these images, with its 95 % interval."""
    return with_interval(matches.double().mean().item(), len(matches))


say(
    f"In {len(label)} of {len(scene.y)} images ({len(label) / len(scene.y):.1%}) the shape lies. In these {len(label)} images "
    f"only the **texture** shows the class. `standard` names the class in {share_of(standard_says == label)} of them, and "
    f"`pgd-at` in {share_of(robust_says == label)}. `pgd-at` names the **drawn shape** in {share_of(robust_says == shape)}. (95 % "
    f"intervals in brackets.)\n\nAn attack on `pgd-at` fades the shape by {faded.median():.0%} (median of {len(faded)} images), "
    f"and by at most {faded.max():.0%}."
)

# %% [markdown]
# So `standard` reads the texture, and `pgd-at` reads the shape. The attack did not replace the shape, it only faded it a
# little. `pgd-at` loses clean accuracy on the images whose shape lies.
#
# ## The best rule
#
# Two numbers of an image say which cue to believe.
#
# * **Vividness** says how strongly a shape differs from the grey background, from 0 (the palest) to 1.
# * **Trust** is the probability that the shape belongs to the class. A vivid shape never lies, a pale one often does.

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
one = scene.take(liars[:1])
say(
    "Look again at the first of the six images that lie, near the top of this page. It has the texture of class "
    f"**{data.classes[one.y]}** and the shape **{data.classes[one.shape]}**. Its vividness is {one.vividness.item():.2f}, and its trust is {one.trust.item():.0%}. "
    f"The six shapes that lie have vividness up to {scene.vividness[liars].max():.2f}, the six others up to {scene.vividness[honest].max():.2f}."
)

# %% [markdown]
# Reading only the shape costs clean accuracy. Reading only the texture costs all robust accuracy. You now write the best
# possible rule, in four small steps.
#
# **How a lesson works.** An exercise has a function to complete, a check that names your mistake, a hint and a solution.
# Without your code the lesson uses the library's version. To change a parameter, edit the first code cell and run all cells.
#
# Five images, as an example:

# %%
few = scene.take(torch.arange(5))
print("vividness ", few.vividness)
print("trust     ", few.trust)
print("truthful  ", truthful[:5])

# %% [markdown]
# ### Exercise: trust_of
# Difficulty ●○○○○ · 5 minutes. The trust $r$ depends on the vividness $v$. It is $r_0$ for the palest shape. From there
# it rises along a straight line, until it reaches 1 at vividness $v_1$. Then it stays 1:
#
# $$r(v) = \min\left(1,\; r_0 + (1 - r_0)\, \frac{v}{v_1}\right)$$


# %% tags=["exercise"]
def trust_of(vividness, lowest, full):
    """vividness (N,); lowest is r0 and full is v1. The trust, (N,)."""
    raise NotImplementedError  # your code instead of this line


# %%
trust_of = check(trust_of)

# %% [markdown]
# <details><summary>Hint</summary>
# Write the formula with the tensor, then <code>.clamp(max=1)</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def trust_of(vividness, lowest, full):
#     rising = lowest + (1 - lowest) * vividness / full
#     return rising.clamp(max=1)
# ```
# </details>

# %% [markdown]
# ### Exercise: clean_and_robust
# Difficulty ●●○○○ · 8 minutes. A rule decides for every image whether it believes the shape or the texture. The table
# gives the probability that its answer is right. Return the mean over all images, without and with an attack.
#
# | the rule believes | no attack | attack |
# |---|---|---|
# | the texture | 1 | 0: the attack replaces the texture |
# | the shape | `right` | `right` |
#
# By hand, for three images: the rule believes the shapes of the first two, which are right with probability 1 and ½. It
# believes the texture of the third. Then the two means are (1 + ½ + 1) / 3 and (1 + ½ + 0) / 3.


# %% tags=["exercise"]
def clean_and_robust(believes, right):
    """believes (N,): True where the rule believes the shape; right (N,): probability that the
    shape is right. Two Python numbers: clean accuracy, robust accuracy."""
    raise NotImplementedError


# %%
clean_and_robust = check(clean_and_robust)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.where(believes, right, 1.0)</code> takes <code>right</code> where the rule believes the shape, else 1.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def clean_and_robust(believes, right):
#     clean = torch.where(believes, right, 1.0)
#     robust = torch.where(believes, right, 0.0)
#     return clean.mean().item(), robust.mean().item()
# ```
# </details>

# %% [markdown]
# ### Exercise: believe_shape
# Difficulty ●●○○○ · 8 minutes. How much does robust accuracy matter to you? Say it with a number **λ** from 0 to 1:
#
# $$\text{score} = (1 - \lambda) \cdot \text{clean} + \lambda \cdot \text{robust}$$
#
# For one image, *clean* and *robust* are the entries "no attack" and "attack" of the table above. Work out the score of both
# rows for an image with trust $r$ (then `right` is $r$). Return where the shape has the higher score.


# %% tags=["exercise"]
def believe_shape(trust, lam):
    """trust (N,), lam in [0, 1]. True where the shape has the higher score, bool (N,)."""
    raise NotImplementedError


# %%
believe_shape = check(believe_shape)

# %% [markdown]
# <details><summary>Hint</summary>
# The shape is right with probability <code>trust</code>, with and without an attack. The texture is right only without.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def believe_shape(trust, lam):
#     score_of_shape = trust  # (1 - lam) * trust + lam * trust
#     score_of_texture = 1 - lam  # (1 - lam) * 1 + lam * 0
#     return score_of_shape > score_of_texture
# ```
# </details>

# %% [markdown]
# So λ has a meaning: **at λ, believe a shape if its trust is above 1 - λ.**
#
# ### Exercise: curve
# Difficulty ●●○○○ · 6 minutes. For every λ in `lams`, apply the rule to all images, and collect its two accuracies. The
# last two arguments are the functions that you wrote.


# %% tags=["exercise"]
def curve(trust, lams, believe_shape, clean_and_robust):
    """trust (N,) of N images; lams: values of λ. A list: (clean, robust) at every λ."""
    raise NotImplementedError


# %%
curve = check(curve)

# %% [markdown]
# <details><summary>Hint</summary>
# A loop over <code>lams</code>. The probability that a shape is right is its trust.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def curve(trust, lams, believe_shape, clean_and_robust):
#     points = []
#     for lam in lams:
#         believes = believe_shape(trust, lam)
#         points.append(clean_and_robust(believes, trust))
#     return points
# ```
# </details>

# %% [markdown]
# `oatlib.best_frontier` computes the same curve from a formula. $E$ is the mean over all images. The factor
# $1_{r > 1 - \lambda}$ is 1 for images with $r > 1 - \lambda$, where the shape is believed. It is 0 for all others:
#
# $$\text{clean}(\lambda) = 1 - E\left[(1 - r)\, 1_{r > 1 - \lambda}\right], \qquad
# \text{robust}(\lambda) = E\left[r\, 1_{r > 1 - \lambda}\right]$$
#
# For each image the rule makes the choice with the higher score. So no other rule on these two cues has a higher mean score
# at this λ. A rule above the curve would have a higher score at some λ, so there is none. This assumes that the attack can replace every texture and no shape.

# %% tags=["nbval-check-output"]
lowest, full = scene.options.trust, scene.options.full_trust  # r0 and v1 of this world
lams = [i / 20 for i in range(21)]
even = torch.linspace(0, 1, 20_001)  # one image of every vividness
yours = curve(trust_of(even, lowest, full), lams, believe_shape, clean_and_robust)
library = [(point.clean, point.robust) for point in oatlib.best_frontier(lams)]
gaps = torch.tensor(yours) - torch.tensor(library)
trusts = trust_of(scene.vividness, lowest, full)
print("trust_of gives the trust of every image:", torch.allclose(trusts, scene.trust))
print("the curve is oatlib.best_frontier:", gaps.abs().max().item() < 1e-3)

# %% [markdown]
# ## Is a dial worth having?
#
# A **dial** is a setting of a finished rule or network, such as λ, that you can change at any time. A dial has a cheap
# rival. Toss a **coin** for every image: with probability p the second of two rules answers, else the first.
#
# ### Exercise: toss
# Difficulty ●○○○○ · 4 minutes. Which two accuracies does the coin have on average? Assume the worst: the attacker sees the
# result of the toss.


# %% tags=["exercise"]
def toss(first, second, p):
    """first, second: (clean, robust) of two rules; p: probability of the second.
    (clean, robust) of the coin."""
    raise NotImplementedError


# %%
toss = check(toss)

# %% [markdown]
# <details><summary>Hint</summary>
# A mean with the weights 1 - p and p, once for each of the two numbers.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def toss(first, second, p):
#     clean = (1 - p) * first[0] + p * second[0]
#     robust = (1 - p) * first[1] + p * second[1]
#     return clean, robust
# ```
# </details>

# %%
question = "if every shape had the same trust: what would the points (clean, robust) of all λ form?"
lesson.predict("same", question, options=["a curve", "a straight line", "only two points"])

# %% [markdown]
# **Left:** the trust of a shape. The line is thick where the rule believes the shape, because its trust is above 1 - λ.
#
# **Right:** what this rule reaches at λ (star), and at all λ (diamonds). The diamond of λ = 0 is at the bottom right, and the
# next one is straight above it. Robust accuracy jumps at no cost in clean accuracy, because vivid shapes never lie.
#
# The crosses are measured: each line of crosses is one network that was trained for six values of λ, as in lesson 05. Dotted
# lines are coins between two ends: those of the rule, and those of the first network. The crosses
# disappear when you move the lowest trust, because these networks were trained with the first position of that slider.
#
# Move λ. Then tick the box, and compare with your guess.

# %%
networks = {
    False: lesson.recorded("live_dials", dials.live_dials),
    True: lesson.recorded("same_trust_dials", dials.same_trust_dials),  # the same trust
}


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from plotly.subplots import make_subplots

LEFT, RIGHT = {"row": 1, "col": 1}, {"row": 1, "col": 2}
DOTTED = {"color": figures.INK, "dash": "dot"}


def draw_trust(fig, vividness, trust, lam):
    """Left: trust against vividness, and where the rule believes the shape."""
    pairs = zip(trust.tolist(), believe_shape(trust, lam).tolist(), strict=True)
    believed = [r if here else None for r, here in pairs]
    wide = {"color": figures.COLOURS[1], "width": 7}
    x, threshold = vividness.tolist(), {"x": [0, 1], "y": [1 - lam] * 2, "line": DOTTED}
    fig.add_scatter(x=x, y=believed, mode="lines", line=wide, name="shape believed", **LEFT)
    fig.add_scatter(x=x, y=trust.tolist(), mode="lines", line=figures.style(0)["line"], name="trust", **LEFT)
    fig.add_scatter(mode="lines", name="1 - λ", **threshold, **LEFT)
    fig.update_xaxes(range=[0, 1], **LEFT).update_yaxes(range=[0, 1.05], **LEFT)


def draw_trade(fig, trust, here):
    """Right: the curve over λ, the coin between its ends, and the setting."""
    points = curve(trust, [i / 40 for i in range(41)], believe_shape, clean_and_robust)
    coins = [toss(points[0], points[-1], p / 10) for p in range(11)]
    star = {"symbol": "star", "size": 15, "color": figures.COLOURS[1]}
    drawn = {
        "best rule, all λ": (points, {"mode": "markers"} | figures.style(2)),
        "coin of the rule": (coins, {"mode": "lines", "line": DOTTED}),
        "here": ([here], {"mode": "markers", "marker": star}),
    }
    for name, (places, look) in drawn.items():
        clean, kept = ([100 * value for value in values] for values in zip(*places, strict=True))
        fig.add_scatter(x=clean, y=kept, name=name, **look, **RIGHT)
    left = min(100 * points[-1][0] - 8, 76)
    fig.update_xaxes(range=[left, 102], **RIGHT).update_yaxes(range=[-3, 103], **RIGHT)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_networks(fig, same):
    """Right: the measured settings of trained networks, one line for each seed."""
    for i, run in enumerate(networks[same]["runs"]):
        clean, kept = ([100 * point[key] for point in run] for key in ("clean", "robust"))
        look = {"marker": {"symbol": "x", "size": 7}, "line": {"width": 1}, "marker_color": figures.COLOURS[3]}
        look |= {"line_color": figures.COLOURS[3], "legendgroup": "networks", "showlegend": i == 0}
        fig.add_scatter(x=clean, y=kept, name="trained networks", mode="lines+markers", **look, **RIGHT)
        if i == 0:
            line = {"color": figures.COLOURS[3], "dash": "dot", "width": 2}
            ends_x, ends_y = [clean[0], clean[-1]], [kept[0], kept[-1]]
            fig.add_scatter(x=ends_x, y=ends_y, name="coin of a network", mode="lines", line=line, **RIGHT)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def draw_rule(lam, lowest, same):
    """The rule at λ, and where it stands in the trade-off."""
    vividness = torch.linspace(0, 1, 201)
    trust = trust_of(vividness, lowest, full)
    if same:
        trust = torch.full_like(trust, trust_of(even, lowest, full).mean().item())
    (here,) = curve(trust, [lam], believe_shape, clean_and_robust)
    fig = make_subplots(1, 2, subplot_titles=["the rule", "the trade-off"], horizontal_spacing=0.14)
    draw_trust(fig, vividness, trust, lam)
    draw_trade(fig, trust, here)
    if abs(lowest - scene.options.trust) < 1e-6:
        draw_networks(fig, same)
    figures.layout(
        fig,
        height=430,
        takeaway="Where trust is the same for every shape, the best rule has two settings and the networks are below the coin."
        if same
        else "Where trust grows with vividness, the best rule lies far above the coin between its two ends.",
    ).update_layout(margin={"t": 116}, legend={"y": 1.12})
    fig.update_xaxes(title="vividness", **LEFT).update_xaxes(title="clean accuracy, %", **RIGHT)
    fig.update_yaxes(title="trust", **LEFT).update_yaxes(title="robust accuracy, % (networks: upper bounds)", **RIGHT)
    return fig, f"The rule at this λ: clean <b>{here[0]:.1%}</b>, robust <b>{here[1]:.1%}</b> (computed, exact)"


sliders(
    draw_rule,
    lam=(0.0, 1.0, 0.05),
    lowest=(0.3, 0.95, 0.05),
    same=False,
    labels={"lam": "λ", "lowest": "lowest trust r0", "same": "the same trust for every shape (the mean)"},
    start_at={"lam": 0.3, "lowest": 0.3},
)

# %%
mean_trust = trust_of(even, lowest, full).mean().item()
same = torch.full_like(even, mean_trust)  # the same trust for every shape
points = set(curve(same, lams, believe_shape, clean_and_robust))
found = "only two points" if len(points) == 2 else "a curve"
lesson.reveal("same", found, "then λ is a switch. A dial needs images that differ in their trust.")


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
WORLDS = {False: "trust grows with vividness", True: "the same trust for every shape"}
rows = ["| images | seeds | points above the coin, each seed | mean (95 % interval) |", "|---|---|---|---|"]
verdicts = {}
for is_same, world in WORLDS.items():
    # above_coin is an exercise of lesson 05
    values = [dials.above_coin(dials.pairs_of(run), [0.95])[0] for run in networks[is_same]["runs"]]
    mean, low, high = over_seeds(values)
    verdicts[is_same] = (
        "above the coin" if low > 0 else "below the coin" if high < 0 else "not clearly different from the coin"
    )
    each = " / ".join(f"{value:+.1f}" for value in values)
    rows.append(f"| {world} | {len(values)} | {each} | {mean:+.1f} ({low:+.1f} to {high:+.1f}) |")
say(
    "How far are the trained networks above the coin between their own two ends, at clean accuracy 95 %?\n\n"
    + "\n".join(rows)
    + f"\n\nQuick suite, n = {networks[True]['n']} validation images, differences of upper bounds, t intervals over seeds. "
    f"Where trust grows with vividness, the networks are **{verdicts[False]}**. Where every shape has the same trust "
    f"({networks[True]['trust']:.1%}, the mean), they are **{verdicts[True]}**. **Ablation:** nothing but the trust differs."
)

# %% [markdown]
# This is the main idea of the course. If images differ in their trust, many values of λ have a best rule of their own, and
# a **dial** can move between these rules. A network has to learn its rule from data. In its training loss, λ is the weight of the
# attacked images. A network that is trained for all λ at once keeps λ as a dial (*once-for-all adversarial training*).
#
# ## Two minutes with the dial
#
# | name | what it is | dial |
# |---|---|---|
# | `standard` | trained on clean images only | none |
# | `pgd-at` | trained on attacked images only | none |
# | `oat` | one network, trained for all λ at once (lesson 05) | λ |
# | `blend` | two BatchNorms for each conv, and the dial mixes their numbers | λ |
#
# (A second dial, for the size of a network, comes in [lesson 06](06_slimming.ipynb).)
#
# Keep a guess for each of two missions. Then find the answers in the explorer below. A number that begins with ≈ is an
# estimate. The plot also shows two rivals that can beat the dial. Squares: the chosen network runs at λ = 0 and at
# λ = 1, two passes per image, and the two outputs are averaged. Diamonds are networks that were trained for one λ each.

# %%
question = f"mission 1: at which λ does the clean accuracy of oat fall below {min_clean:.0%}?"
lesson.predict("lam", question, 0, 1, "")

# %%
question = "mission 2: oat at λ = 1, attacked with twice the ε. How much robust accuracy is left?"
lesson.predict("double", question)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from oatlib.explorer import open_files

shown, known = nets, None
if seed == 0 and not retrain:  # else the networks were trained here, and are fewer
    paths = [open_files.FOLDER / f"{name}.safetensors" for name in ("oat", "blend", "pgd-at", "standard")]
    shown = open_files.opened(paths)[0]
    known = open_files.measured(paths, shown, data)  # the curves, so that the sliders know them at once
oatlib.explore(shown, data, lam=0.2, eps=eps, surfaces=known, marks=open_files.marks(data), hide=["training", "width"])

# %% [markdown]
# ## The missions, measured
#
# `net.at(lam)` is the network with its dial fixed at λ.

# %%
oat = nets["oat"]
below = 1.0
for lam in lams:
    clean = (oat.at(lam)(data.val.x).argmax(1) == data.val.y).float().mean()
    if clean < min_clean:
        below = lam
        break
lesson.reveal("lam", below, f"of {len(lams)} values of λ, the lowest that does (n = {len(data.val)}).")

# %%
table = oatlib.evaluate(oat, panel, suite, progress=False)
stronger = oatlib.Suite(2 * radius, budget="quick")
(twice,) = oatlib.evaluate(oat, panel, stronger, lams=[1.0], progress=False)
comment = f"at most (n = {twice.n}, 95 % interval {twice.robust_low:.1%} to {twice.robust_high:.1%}). "
comment += f"At ε it was at most {table[-1].robust:.1%}. Always ask which ε."
lesson.reveal("double", 100 * twice.robust, comment)

# %% [markdown]
# ## Mission 3: choose a setting
#
# You need a certain clean accuracy, `min_clean`. On validation images, take the most robust setting that reaches it. The
# best of several measurements tends to look better than it is. So measure this setting again, on test images.

# %%
limit = min(min_clean, max(result.clean for result in table))  # a limit that can be kept
choice = oatlib.choose(table, min_clean=limit)
fresh = data.test.panel(n)
(tested,) = oatlib.evaluate(oat, fresh, suite, lams=[choice.lam], progress=False)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"For clean accuracy of at least {limit:.0%} the choice is **λ = {choice.lam:g}**. On {tested.n} test images: clean "
    f"**{tested.clean:.1%}** (95 % interval {tested.clean_low:.1%} to {tested.clean_high:.1%}), robust "
    f"**{tested.robust:.1%}** ({tested.robust_low:.1%} to {tested.robust_high:.1%}; quick suite, an upper bound)."
    + (" Of the measured λ only 0 reaches this limit. Choose a lower `min_clean`." if choice.lam == 0 else "")
)

# %% [markdown]
# ## Your own dial
#
# You know the best rule, and you have a network for each cue: `standard` reads the texture, `pgd-at` the shape. A score of
# the vividness can choose between them. Then the threshold is a dial, and nothing has to be trained again:
#
# ```
#                              ┌─ yes ─> pgd-at, reads the shape ─────┐
# image ─> score > threshold? ─┤                                      ├─> answer
#                              └─ no ──> standard, reads the texture ─┘
# ```
#
# ### Exercise: two_networks
# Difficulty ●●○○○ · 6 minutes. For every image, return the logits of the network that `believes` selects.


# %% tags=["exercise"]
def two_networks(x, believes, standard, robust):
    """x (N, 3, H, W); believes (N,) bool; two networks, from images to logits (N, classes).
    The logits of `robust` where the shape is believed, else those of `standard`."""
    raise NotImplementedError


# %%
two_networks = check(two_networks)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.where</code> needs a condition of shape (N, 1): <code>believes[:, None]</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def two_networks(x, believes, standard, robust):
#     by_shape = robust(x)
#     by_texture = standard(x)
#     return torch.where(believes[:, None], by_shape, by_texture)
# ```
# </details>

# %% [markdown]
# ### Exercise: how_vivid
# Difficulty ●●●●○ · 20 minutes, open. The rule needs the vividness, but it sees only pixels. Write a score that is higher
# for more vivid shapes, on any scale. The check chooses the threshold on validation images, so that your rule keeps
# clean accuracy `0.95` there. Then it attacks your rule on test images. The attacker knows your rule, and also fades the
# shape to lower your score. To pass, your robust accuracy on test images may be at most 13 points below the best possible
# at clean accuracy `0.95`. A right answer can be short. The check also says what the true vividness would reach.


# %% tags=["exercise"]
def how_vivid(x):
    """x (N, 3, H, W), pixels in [0, 1], background 0.5. One score per image, (N,)."""
    raise NotImplementedError


# %%
how_vivid = check(how_vivid)

# %% [markdown]
# <details><summary>Hint</summary>
# Look for the largest difference to grey, dark or bright, and not for the mean. An attack changes it by ε at most. Noise
# changes it in all images alike.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# This solution averages 2 × 2 pixels first, against noise. A plain maximum, <code>(x - 0.5).abs().flatten(1).amax(1)</code>,
# is right, too, and hardly worse.
#
# ```python
# def how_vivid(x):
#     smooth = F.avg_pool2d(x, 2, 1)  # (N, 3, 15, 15)
#     contrast = (smooth - 0.5).abs().mean(1)  # (N, 15, 15)
#     return contrast.flatten(1).amax(1)  # (N,)
# ```
# </details>

# %% [markdown]
# ## Ablation: a rule, a coin, a mix, a trained dial
#
# Three of these use the same two networks, `standard` and `pgd-at`:
#
# * **your rule** chooses one of them by your score
# * the **coin** chooses by chance
# * the **mix** asks both about every image, and adds their probabilities: $(1-\lambda)\,p_\mathrm{standard}(x)+\lambda\,p_\mathrm{pgd\text{-}at}(x)$.
#
# The trained dial is `oat`, one network. All are measured on test images, which were not used to choose anything. Your rule is
# measured on fewer of them (`n`), and it also meets the fading attack. (The numbers of the others are recorded, with
# seed 0. Without your code, *your rule* is the library's.)


# %%
rule = []
for level in (0.98, 0.95, 0.9):
    own = rules.measure_rule(how_vivid, two_networks, standard, robust, data, level, n, radius)
    rule.append(own)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
is_recorded = eps == 8 and seed == 0 and not retrain
several = partial(rules.measure_several, nets, data, suite)
results = lesson.recorded("tour_dial", several) if is_recorded else several(n=n)
dial, mixed, *ends = (oatlib.Table.from_json(results[name]) for name in ("oat", "mix", "standard", "pgd-at"))
ends = [table[0] for table in ends]
bound = [
    {"lam": p.lam, "n": n, "clean": p.clean, "clean_low": p.clean, "clean_high": p.clean}
    | {"robust": p.robust, "robust_low": p.robust, "robust_high": p.robust}
    for p in oatlib.best_frontier([i / 40 for i in range(41)])
]
figures.frontier(
    {
        "oat, one network": dial,
        "your rule, two networks": [point._asdict() for point in rule],
        "coin of standard and pgd-at": ends,
        "mix of standard and pgd-at": mixed,
        "best possible": bound,
    },
    takeaway="Robust against clean accuracy of a trained dial, a rule per image, a mix and the straight line of a coin, "
    "with the best possible curve above them.",
)


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
def apart(value, count, tossed):
    """Whether an accuracy is above that of the coin by more than both intervals."""
    if tossed is None:
        return "no coin"
    low = oatlib.wilson(round(value * count), count)[0]
    high = oatlib.wilson(round(tossed * dial[0].n), dial[0].n)[1]
    return "yes" if low > high else "no"


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
best = [(p.clean, p.robust) for p in oatlib.best_frontier([i / 200 for i in range(201)])]
settings = [(f"`oat`, λ = {r.lam:g}", r.clean, r.robust, r.n) for r in dial[1:]]
settings += [(f"`mix`, λ = {r.lam:g}", r.clean, r.robust, r.n) for r in mixed]
settings += [(f"your rule (n = {p.n}, fading too)", p.clean, p.robust, p.n) for p in rule]
out_of_reach = [name for name, clean, *_ in settings if oatlib.coin(*ends, clean) is None]
rows = [
    "| setting | clean | robust (upper bound) | coin at that clean accuracy | clearly above the coin | best possible |"
]
rows.append("|---|---|---|---|---|---|")
for name, clean, kept, count in settings:
    tossed = oatlib.coin(*ends, clean)
    beside = "none" if tossed is None else with_interval(tossed, dial[0].n)
    bound = max(top for level, top in best if level >= clean)
    cells = name, with_interval(clean, count), with_interval(kept, count), beside
    rows.append(f"| {' | '.join(cells)} | {apart(kept, count, tossed)} | {bound:.1%} |")
say("\n".join(rows))

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    "*Clearly above*: the intervals of the two robust accuracies do not overlap. "
    + (f"*None*: the coin cannot reach that clean accuracy, it ends at {ends[0].clean:.1%}. " if out_of_reach else "")
    + f"95 % intervals in brackets; n = {dial[0].n} test images, for your rule {rule[0].n}. Quick suite, for your rule also the "
    "fading attack.\n\n"
    f"`pgd-at` alone was trained for one setting. It has clean accuracy {with_interval(ends[1].clean, ends[1].n)} and is robust on at "
    f"most {with_interval(ends[1].robust, ends[1].n)}. At λ = 1 `oat` has clean accuracy {with_interval(dial[-1].clean, dial[-1].n)} and "
    f"is robust on at most {with_interval(dial[-1].robust, dial[-1].n)}. So at this end "
    + (
        "the single network is the better choice."
        if ends[1].robust_low > dial[-1].robust_high
        else "this seed does not tell them apart. Lesson 05 compares them over five seeds."
    )
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
at_95 = {
    "your rule": (rule[1].robust, rule[1].n),
    "`mix`": (robust_at([(r.clean, r.robust) for r in mixed], 0.95) or 0, mixed[0].n),
    "`oat`": (robust_at([(r.clean, r.robust) for r in dial], 0.95) or 0, dial[0].n),
}
ranked = sorted(at_95, key=lambda name: -at_95[name][0])
limits = {name: oatlib.wilson(round(value * count), count) for name, (value, count) in at_95.items()}
clear = limits[ranked[0]][0] > limits[ranked[1]][1], limits[ranked[1]][0] > limits[ranked[2]][1]
say(
    "At clean accuracy of about 95 % the order is "
    + ", ".join(f"{name} (robust on at most {with_interval(*at_95[name])})" for name in ranked)
    + f". The first two are {'clearly apart' if clear[0] else 'not clearly apart'}, the last two "
    f"{'clearly apart' if clear[1] else 'not clearly apart'}."
)

# %% [markdown]
# The rule and the mix need two networks, and the mix needs two passes per image. You wrote the rule because you know how the images are
# made. For photographs that is unknown. A trained dial learns its rule from data, in one network with one pass.
# [Lesson 05](05_oat.ipynb) makes this comparison with more seeds, and attacks the mix harder.
#
# ## Can you trust these numbers?
#
# Every lesson repeats three checks of the attack.


# %% tags=["nbval-check-output"]
def left_after(size):
    """Right answers of pgd-at under PGD-20, as a share."""
    moved = oatlib.PGD(size, 20)(robust, panel.x, panel.y, torch.Generator().manual_seed(0))
    return (robust(moved).argmax(1) == panel.y).float().mean().item()


walk = oatlib.PGD(radius, 20).iterates(robust, panel.x, panel.y)
losses = [F.cross_entropy(logits, panel.y).item() for _, logits in walk]
print("an attack of size 0 changes nothing:", abs(left_after(0.0) - price["pgd-at"].clean) < 1e-6)
print("one of half the range of a pixel leaves less than a quarter:", left_after(0.5) < 0.25)
print("the loss is higher after the last step than at the start:", losses[-1] > losses[0])

# %% [markdown]
# > **Pitfalls**
# > * *Clean accuracy alone*: it does not tell you which of two networks is robust.
# > * *A robust accuracy without its ε and its attack*: a weaker attack gives a higher number.
# > * *An attack that does not know the defence*: without fading, a rule can look better than it is.
# > * *Choosing and reporting on the same images*: choose on validation images, report on test images.
# > * *No baseline*: a dial that does not beat the coin is not worth training. A mix of two networks can be better still.

# %% [markdown]
# ## What we showed, and what we did not show
#
# Small changes fool `standard`, which reads the texture. `pgd-at` reads the shape, and is wrong where the shape lies. A dial is
# worth having where images differ in their trust. Small networks that were trained for six λ were above their own coin
# there, and below it where every shape had the same trust.
#
# **What we did not show:** how a network learns any of this, how a dial compares with a network for every λ (lesson 05), and
# what happens on photographs. Our attacks give upper bounds. Lesson 10 runs stronger attacks.
#
# ## Try this
#
# * Which of `oat` and `blend` gives you the most robustness at your minimum of clean accuracy?
# * Improve `how_vivid`: use the size of the shape, or several neighbourhoods.
# * Set `eps` to 12 and run again. Which of the two cues can the attack reach now?

# %% [markdown]
# ## The lessons
#
# * [01 · The attack](01_attack.ipynb): change every answer without changing the picture
# * [02 · Adversarial training](02_adversarial_training.ipynb): the game that makes a network robust
# * [02b · Fooled](02b_fooled.ipynb): when training fools itself
# * [03 · Dual BatchNorm](03_dual_bn.ipynb): do attacked images have other statistics? A test
# * [04 · FiLM](04_film.ipynb): one network that is told λ
# * [05 · Once for all](05_oat.ipynb): train it for all λ
# * [06 · Slimming](06_slimming.ipynb): a second dial, for size
# * [07 · Do you believe +7.71?](07_switchable_heads.ipynb): an output layer for every width, and what chance alone gives
# * [08 · Weight noise](08_weight_noise.ipynb): break a random defence, then put noise into the weights
# * [09 · Sparse](09_sparse.ipynb): few weights, chosen in training
# * [09b · Dial or switch?](09b_dial_or_switch.ipynb): two experts in one network, and what lies between them
# * [10 · Is it robust?](10_is_it_robust.ipynb): how our own dial fooled us
# * [10b · Break it](10b_break_it.ipynb): attack defences that an audit accepts
# * [11 · Reruns](11_reruns.ipynb): would it come out again?
# * [12 · Real images](12_real_images.ipynb): which of all this holds on photographs
# * [A · Engineering](A_engineering.ipynb): make a dial fast and even (appendix)
# * [B · Bracket](B_bracket.ipynb): prove that no attack can succeed (appendix)
#
# ## Sources
#
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (strong and faint cues)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (PGD, `pgd-at`)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free* (λ as a dial)
# * Bai et al. 2023, *Mixing Classifiers to Alleviate the Accuracy-Robustness Trade-Off*

# %%
chosen = {"lam": tested.lam, "clean": tested.clean, "robust": tested.robust}
found = {"lam": below, "twice eps": twice.robust}
lesson.finish(chosen=chosen, missions=found, dial=dial, rule=[p._asdict() for p in rule])
