# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 35
# ---

# %% [markdown]
# # B · Between which two numbers does robust accuracy lie?
#
# **You will be able to**
#
# * say why an attack gives an upper bound of robust accuracy, and what a lower bound needs
# * propagate a box of pixels through a network, and prove that some images cannot be fooled
# * cut boxes until every image of a small world is decided
# * say what it costs to train a network for proofs
#
# This is an appendix. No other lesson needs it.
#
# **Before this:** [02 · Adversarial training](02_adversarial_training.ipynb) · **Run time:** about 35 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 256  # 64 to 512: images that are attacked and bounded
epochs: int = 5  # 1 to 15: of the training on images here
seed: int = 0  # 0 to 9999: of data, weights and attacks
recompute: bool = False  # train the recorded networks again (7 minutes)

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import PGD, Suite
from oatlib.course import bounds, figures
from oatlib.course.exercises import check, mine
from oatlib.course.exercises.bracket import trained
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.course.two_pixels import two_cues
from oatlib.explorer.description import captions

lesson = begin("B_bracket", globals())
torch.set_printoptions(precision=2, sci_mode=False)

# %% [markdown]
# ## The failure
#
# An attack that fails proves nothing: a better one may succeed. So accuracy under an attack is an **upper bound** of robust
# accuracy. The picture shows it for small networks that were trained against PGD-3, over the radius ε. The lower edge of
# the band is a **lower bound**: the share of images for which interval arithmetic, the topic of this lesson, *proves* that no
# attack can succeed. The true robust accuracy lies in between.
#
# The dashed line needs no network: a rule that always answers the same class is right on one class, under any attack.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
record = lesson.recorded("bracket_images", bounds.bracket_images)
radii, seeds = record["radii"], record["seeds"]
CONSTANT = 100 / 8  # percent: the rule that always answers the same of eight classes


def columns_of(arm, key):
    """The values of the seeds at each radius, in percent."""
    return [[100 * v for v in values] for values in zip(*(run[key] for run in record["arms"][arm]), strict=True)]


def mean_of(arm, key):
    """The mean over the seeds at each radius, in percent."""
    return [sum(values) / len(values) for values in columns_of(arm, key)]


def seed_bars(arm, key):
    """Bars from the lowest to the highest seed, as plotly options."""
    pairs = list(zip(columns_of(arm, key), mean_of(arm, key), strict=True))
    above, below = [max(v) - m for v, m in pairs], [m - min(v) for v, m in pairs]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.5}


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def brackets(*arms, takeaway):
    """Bands from the lower to the upper bound, one for each training."""
    fig = go.Figure()
    for i, arm in enumerate(arms):
        upper, lower = mean_of(arm, "upper"), mean_of(arm, "lower")
        look = figures.style(i)
        bars = {key: seed_bars(arm, key) for key in ("upper", "lower")}
        fig.add_scatter(
            x=radii, y=upper, name=f"{arm}: upper bound", mode="lines+markers", error_y=bars["upper"], **look
        )
        look["line"]["dash"] = "dot"
        look["marker"]["symbol"] += "-open"  # hollow: the lower bound
        fill = {"fill": "tonexty", "fillcolor": figures.tint(i)}
        fig.add_scatter(
            x=radii, y=lower, name=f"{arm}: lower bound", mode="lines+markers", error_y=bars["lower"], **fill, **look
        )
    fig.add_hline(CONSTANT, line={"color": figures.INK, "dash": "dash"}, annotation_text="always the same class")
    x_name = f"ε in 1/255 (mean of {len(seeds)} seeds, bars: lowest to highest, n = {record['n']})"
    return figures.layout(fig, x_name, "robust accuracy, %", height=420, takeaway=takeaway)


at_8 = radii.index(8)
brackets("PGD-3", takeaway="Above ε = 0 the band reaches from 0 to the accuracy under attack: nothing is proven.")

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
upper, lower = mean_of("PGD-3", "upper"), mean_of("PGD-3", "lower")
say(
    f"At ε = 8/255 the quick suite leaves {upper[at_8]:.1f} % (an upper bound), and {lower[at_8]:.1f} % are proven (mean of {len(seeds)} "
    f"trainings, n = {record['n']} validation images). At ε = 0 both bounds are clean accuracy, {upper[0]:.1f} %. The rule that "
    f"always answers the same class has exactly {CONSTANT:g} % at every ε: more than is proven of this network. That does not make the network worse: nothing is proven of it either way."
)

# %%
question = "A network is trained so that proofs succeed. What share is proven at ε = 8/255?"
lesson.predict("trained", question, 0, 100)

# %% [markdown]
# ## Small enough to print: one layer
#
# Two pixels lie between 0.4 and 0.6: this is a **box** of inputs. Which outputs can a linear layer have? A negative weight
# turns the order around, so the lowest input does not give the lowest output. It is easier with the centre c of the box and
# its radius r. A layer z = Wx + b moves them to
#
# $$c' = W c + b, \qquad r' = |W|\, r$$
#
# where |W| holds the absolute values of the weights.

# %%
weight = torch.tensor([[2.0, -1.0]])
bias = torch.tensor([0.5])
centre, radius = torch.tensor([0.5, 0.5]), torch.tensor([0.1, 0.1])
print("centre", weight @ centre + bias)
print("radius", weight.abs() @ radius)
corners = torch.cartesian_prod(torch.tensor([0.4, 0.6]), torch.tensor([0.4, 0.6]))
print("at the four corners", (corners @ weight.T + bias).flatten())

# %% [markdown]
# ### Exercise: interval_linear
# Difficulty ●●○○○ · 6 minutes. Return the lowest and the highest outputs of a linear layer for a box of inputs.


# %% tags=["exercise"]
def interval_linear(weight, bias, low, high):
    """weight (out, in), bias (out,), low and high (N, in) -> the lowest
    and the highest outputs, each (N, out)."""
    raise NotImplementedError  # your code instead of this line


# %%
interval_linear = check(interval_linear)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>centre = (low + high) / 2</code>, and the radius is half of <code>high - low</code>. <code>x @ weight.T + bias</code> is the layer
# for a batch.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def interval_linear(weight, bias, low, high):
#     centre = (low + high) / 2
#     radius = (high - low) / 2
#     centre = centre @ weight.T + bias
#     radius = radius @ weight.abs().T
#     return centre - radius, centre + radius
# ```
# </details>

# %% [markdown]
# ## A whole network
#
# ReLU, tanh and the scaling of pixels never fall when their input rises. So for them the ends of the box are enough.
# The box of the logits follows, layer by layer. The last step of the diagram is the proof, in the next section.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
bounds.diagram()

# %% [markdown]
# ### Exercise: logit_box
# Difficulty ●●○○○ · 8 minutes. Return the box of the logits, for all images at most ε from x, with pixels in [0, 1].


# %% tags=["exercise"]
def logit_box(net, x, eps):
    """net, an nn.Sequential; images (N, pixels), eps -> the lowest and
    the highest logits, each (N, classes)."""
    raise NotImplementedError


# %%
logit_box = check(logit_box)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>for layer in net:</code> and <code>isinstance(layer, nn.Linear)</code>. Every other layer is called on both ends.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def logit_box(net, x, eps):
#     low = (x - eps).clamp(0, 1)
#     high = (x + eps).clamp(0, 1)
#     for layer in net:
#         if isinstance(layer, nn.Linear):
#             low, high = interval_linear(layer.weight, layer.bias, low, high)
#         else:
#             low, high = layer(low), layer(high)
#     return low, high
# ```
# </details>

# %% [markdown]
# The images of two pixels are those of lesson 02: a loud cue that sometimes lies, and a faint one. The network was trained
# against PGD.

# %%
EPS = 0.1
net = trained(seed)
x, y, _ = two_cues(seed + 100)  # images that training has not seen
with torch.no_grad():
    low, high = logit_box(net, x[:3], EPS)
print("class", y[:3])
print("lowest logits ", low)
print("highest logits", high)

# %% tags=["nbval-check-output"]
with torch.no_grad():
    due_low, due_high = bounds.box_of(net, *bounds.ball(x, EPS))
    low, high = logit_box(net, x, EPS)
print("lowest as in the library: ", torch.allclose(low, due_low, atol=1e-5))
print("highest as in the library:", torch.allclose(high, due_high, atol=1e-5))

# %% [markdown]
# ## The proof
#
# An image of class y is **certified** if, in the whole ball, the logit of y is above the logit of every other class k. The boxes
# of two logits are too careful: they allow that both are at their worst, although this may need two different images. So
# bound the *difference* of the logits. It is one linear layer with the weights $w_y-w_k$. With the box (c, r) of the last
# features,
#
# $$\min\,(z_y - z_k) \;\ge\; (w_y - w_k)\, c - |w_y - w_k|\, r + b_y - b_k .$$
#
# ### Exercise: certify
# Difficulty ●●●○○ · 12 minutes. Return which images are proven, from the last layer and the box of its inputs.


# %% tags=["exercise"]
def certify(weight, bias, low, high, y):
    """weight (classes, features), bias (classes,), low and high (N,
    features), y (N,) -> booleans (N,), True where the class is proven."""
    raise NotImplementedError


# %%
certify = check(certify)

# %% [markdown]
# <details><summary>Hint</summary>
# Loop over the other class k. <code>weight[y] - weight[k]</code> has a row for each image. For y = k nothing is to be shown.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def certify(weight, bias, low, high, y):
#     centre, radius = (low + high) / 2, (high - low) / 2
#     proven = torch.ones(len(y), dtype=torch.bool)
#     for other in range(len(bias)):
#         difference = weight[y] - weight[other]
#         least = (difference * centre).sum(1) - (difference.abs() * radius).sum(1)
#         least = least + bias[y] - bias[other]
#         proven &= (least > 0) | (y == other)
#     return proven
# ```
# </details>

# %%
*rest, last = net
with torch.no_grad():
    features = logit_box(nn.Sequential(*rest), x, EPS)
    proven = certify(last.weight, last.bias, *features, y)
    apart = (low.gather(1, y[:, None]) > high.gather(1, 1 - y[:, None])).flatten()  # two classes
attack = Suite(EPS, budget="quick")
left = attack.run(net, x, y, torch.Generator().manual_seed(seed), progress=False)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.


def share(mask):
    """A share of images with its 95 % interval."""
    low, high = oatlib.wilson(int(mask.sum()), len(mask))
    return f"{mask.float().mean():.1%} ({low:.1%} to {high:.1%})"


say(
    f"Clean accuracy on these n = {len(x)} images is {left.clean:.1%}. The boxes of the logits prove {share(apart)}, and the difference "
    f"{share(proven)}. The difference proves every image that the boxes prove, and {int(proven.sum() - apart.sum())} more. The quick "
    f"suite leaves {left.robust:.1%}, an upper bound. For these images the bounds are exact statements. The 95 % intervals in "
    "brackets are for other images of this world."
)

# %% [markdown]
# ## Close the gap: cut the box
#
# A bound of a small box is tighter than that of a large one. Cut a box into two halves: if both are proven, so is the
# whole. If the centre of a box is misclassified, the image is proven to be *not* robust. A box is **open** if neither holds.
# Cut the open boxes again.

# %%
rounds = list(range(0, 15, 2))
decided = [bounds.split_and_certify(net, x, y, EPS, count) for count in rounds]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
COLOUR = {"proven": 0, "fooled": 1, "open": 2}
DASH = {"proven": "solid", "fooled": "dash", "open": "dot"}
robust_now, fooled_now = decided[-1]
slow = torch.tensor([len(bounds.boxes_of_image(net, x[i : i + 1], y[i : i + 1], EPS, 8)) for i in range(64)])
shown = {
    "robust, needs cuts": int((slow * robust_now[:64]).argmax()),
    "not robust": int((slow * fooled_now[:64]).argmax()),
}
grid = torch.linspace(0.1, 0.9, 81)
plane = torch.cartesian_prod(grid, grid)
with torch.no_grad():
    logits = net(plane)
height = (logits[:, 1] - logits[:, 0]).reshape(81, 81).T


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def frame(fig, i):
    """The axes around the ball of image i."""
    seen = "After some cuts no box is open: all are proven, or one is fooled."
    figures.layout(fig, "loud pixel", "faint pixel", height=440, takeaway=seen)
    fig.update_xaxes(range=[x[i, 0].item() - 0.12, x[i, 0].item() + 0.12], constrain="domain")
    fig.update_yaxes(range=[x[i, 1].item() - 0.12, x[i, 1].item() + 0.12], scaleanchor="x", constrain="domain")


def cut(image, cuts):
    i = shown[image]
    boxes = bounds.boxes_of_image(net, x[i : i + 1], y[i : i + 1], EPS, cuts)
    fig = go.Figure()
    line = {"start": 0, "end": 0, "size": 1, "coloring": "none"}
    look = {"line": {"color": "#777", "width": 2}, "showscale": False, "hoverinfo": "skip", "showlegend": True}
    fig.add_contour(x=grid, y=grid, z=height, contours=line, name="border of the classes", **look)
    for state, number in COLOUR.items():
        corners = [(lo.tolist(), hi.tolist()) for lo, hi, kind in boxes if kind == state]
        xs = [v for lo, hi in corners for v in (lo[0], hi[0], hi[0], lo[0], lo[0], None)]
        ys = [v for lo, hi in corners for v in (lo[1], lo[1], hi[1], hi[1], lo[1], None)]
        fill = {"fill": "toself", "fillcolor": figures.tint(number, 0.35)}
        fig.add_scatter(
            x=xs or [None],
            y=ys or [None],
            mode="lines",
            name=state,
            line={"color": figures.COLOURS[number], "width": 2, "dash": DASH[state]},
            **fill,
        )
    frame(fig, i)
    states = [kind for *_, kind in boxes]
    counts = ", ".join(f"{states.count(kind)} {kind}" for kind in COLOUR)
    return fig, f"{len(boxes)} boxes: {counts}"


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
sliders(cut, image=list(shown), cuts=(0, 8, 1), start_at={"image": "robust, needs cuts", "cuts": 4})

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
curves = {
    "not yet fooled (upper bound)": [100 * (~fooled).float().mean().item() for _, fooled in decided],
    "proven (lower bound)": [100 * robust.float().mean().item() for robust, _ in decided],
}
apart_now = curves["not yet fooled (upper bound)"][-1] - curves["proven (lower bound)"][-1]
figures.lines(
    rounds,
    curves,
    x_name="cuts of every open box, one after the other",
    y_name=f"robust accuracy, % (n = {len(x)})",
    takeaway=f"With more cuts the upper bound falls and the lower bound rises. At the end {apart_now:.1f} points are between them.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
proven_now, fooled_now = decided[-1]
undecided = int((~proven_now & ~fooled_now).sum())
least, most = proven_now.float().mean(), 1 - fooled_now.float().mean()
exact = f"exactly {least:.1%}" if undecided == 0 else f"between {least:.1%} and {most:.1%}"
say(
    f"After {rounds[-1]} cuts {undecided} of {len(x)} images {'is' if undecided == 1 else 'are'} undecided. Robust accuracy on these "
    f"images is **{exact}**. The quick suite said {left.robust:.1%}: it missed "
    f"{round(len(x) * (left.robust - most.item()))} of the {int(fooled_now.sum())} images that can be fooled."
)

# %% [markdown]
# ### Exercise: decide
# Difficulty ●●●●○ · 25 minutes. Decide the images yourself: return which are proven robust, and which are proven not to be. At
# least ninety-eight of a hundred must be decided, on four networks, and none wrongly. It is no proof that attacks fail. An image is
# robust only if *all* of its boxes are proven.


# %% tags=["exercise"]
def decide(net, x, y, eps):
    """net, images (N, 2), y (N,), eps -> booleans (N,): proven robust;
    booleans (N,): proven not robust, by a misclassified image."""
    raise NotImplementedError


# %%
decide = check(decide)

# %% [markdown]
# <details><summary>Hint</summary>
# Keep <code>low</code>, <code>high</code> and, for each box, the index of its image. In each round: box of the last features, <code>certify</code>,
# the class of the centre; drop what is done; halve the others along the longer side. About twelve rounds are enough.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def decide(net, x, y, eps):
#     low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
#     image = torch.arange(len(x))
#     fooled = torch.zeros(len(x), dtype=torch.bool)
#     *rest, last = net
#     for _ in range(13):
#         box = low, high
#         for layer in rest:
#             if isinstance(layer, nn.Linear):
#                 box = interval_linear(layer.weight, layer.bias, *box)
#             else:
#                 box = layer(box[0]), layer(box[1])
#         proven = certify(last.weight, last.bias, *box, y[image])
#         wrong = net((low + high) / 2).argmax(1) != y[image]
#         fooled[image[wrong]] = True
#         is_open = ~proven & ~fooled[image]
#         low, high, image = low[is_open], high[is_open], image[is_open]
#         # halve along the longer side
#         rows, side = torch.arange(len(image)), (high - low).argmax(1)
#         middle = ((low + high) / 2)[rows, side]
#         left_high, right_low = high.clone(), low.clone()
#         left_high[rows, side] = middle
#         right_low[rows, side] = middle
#         low, high = torch.cat([low, right_low]), torch.cat([left_high, high])
#         image = torch.cat([image, image])
#     robust = ~fooled
#     robust[image] = False
#     return robust, fooled
# ```
# </details>

# %%
robust_mine, fooled_mine = mine("decide")(net, x, y, EPS)
print("proven robust    ", robust_mine.sum().item())
print("proven not robust", fooled_mine.sum().item())
print("undecided        ", (~robust_mine & ~fooled_mine).sum().item())

# %% [markdown]
# ## Images: too many pixels to cut
#
# An image of this course has 768 values. Halving each once gives $2^{768}$ boxes. So the bounds stay loose, unless the
# network is **trained for them**. Let $m_k$ be the lower bound of $z_y-z_k$ from above, with $m_y=0$. Then -m is the worst
# vector of logits that the bounds allow, and training puts it into the loss with a share s:
#
# $$(1-s)\,\mathrm{CE}(z,y)+s\,\mathrm{CE}(-m,y)$$
#
# This is interval bound propagation (**IBP**). With s = 0 it is standard training.

# %%
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
small = bounds.small_conv_net(data, seed)
bounds.train_small(small, data, bounds.bound_loss(8 / 255, share=0.9), epochs, seed)

# %%
here = bounds.bracket(small.eval(), panel.x, panel.y)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
certified_arm = "bounds, share 0.9"
lower_90 = mean_of(certified_arm, "lower")[at_8]
say(
    f"This network, one seed and {epochs} epochs: clean {here['upper'][0]:.1%}; at ε = 8/255 between **{here['lower'][at_8]:.1%}** "
    f"(proven) and **{here['upper'][at_8]:.1%}** (quick suite), n = {n}. The rule that always answers the same class has {CONSTANT:g} %."
)

# %% [markdown]
# Here are some of its images, attacked by PGD-20 at ε = 8/255. Each is *fooled*, *proven*, or *open*: the attack fails and
# nothing is proven.

# %%
x_adv = PGD(8 / 255, 20)(small, panel.x, panel.y, torch.Generator().manual_seed(seed))
with torch.no_grad():
    is_proven = bounds.certified(small, panel.x, panel.y, 8 / 255)
    is_fooled = small(x_adv).argmax(1) != panel.y
is_open = ~is_proven & ~is_fooled

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
states = {"fooled": is_fooled, "proven": is_proven, "open": is_open}
picked, called = [], []
for state, mask in states.items():
    some = mask.nonzero().flatten()[:2].tolist()
    picked, called = picked + some, called + [state] * len(some)
counted = ", ".join(f"{int(mask.sum())} {state}" for state, mask in states.items())
figures.images(
    {
        "image": panel.x[picked],
        "change × 8": figures.change(panel.x[picked], x_adv[picked], 8),
        "attacked": x_adv[picked],
    },
    {"image": captions(data, panel, picked), "attacked": called},
    tile=84,
    takeaway=f"Of n = {n} images {counted}. No pixel changes by more than 8/255.",
)

# %% [markdown]
# Longer trainings, from the record. The **ablation** is the share s of the bounds in the loss: 0 (called `no attack`), 0.3 and
# 0.9. PGD-3 is trained with the same network, seeds and number of epochs. First PGD-3, the largest share and no share:

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
brackets(
    "PGD-3",
    certified_arm,
    "no attack",
    takeaway="Trained for the bounds, the band is narrow: most of what survives the attack is proven. Trained without attacks "
    "and bounds, nothing is proven above ε = 0, and at 8/255 nothing survives.",
)

# %%
comment = f"mean of {len(seeds)} trainings with share 0.9, n = {record['n']}."
lesson.reveal("trained", lower_90, comment)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
(best,) = oatlib.best_frontier([1.0])
rows = [
    "| training | clean, % | proven at 8/255, % (lower bound) | quick suite at 8/255, % (upper bound) | between them | coin: proven, % |",
    "|---|---|---|---|---|---|",
]


def seeds_of(arm, key, at):
    """The seeds of one number, in percent."""
    return ", ".join(f"{value:.1f}" for value in columns_of(arm, key)[at])


def coin_at(arm):
    """Proven by the coin between no attack and the largest share, at the clean accuracy of an arm."""
    arms = ("no attack", certified_arm)
    ends = [(mean_of(each, "upper")[0] / 100, mean_of(each, "lower")[at_8] / 100) for each in arms]
    return f"{100 * oatlib.coin(*ends, mean_of(arm, 'upper')[0] / 100):.1f}"


for arm in record["arms"]:
    between = mean_of(arm, "upper")[at_8] - mean_of(arm, "lower")[at_8]
    rows.append(
        f"| {arm} | {seeds_of(arm, 'upper', 0)} | {seeds_of(arm, 'lower', at_8)} | {seeds_of(arm, 'upper', at_8)} | {between:.1f} | {coin_at(arm)} |"
    )
rows.append(f"| always the same class | {CONSTANT:g} | {CONSTANT:g} | {CONSTANT:g} | 0 | - |")
say("\n".join(rows))

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
pairs = list(zip(columns_of("PGD-3", "upper"), columns_of(certified_arm, "upper"), strict=True))
cost, lost = ([a - b for a, b in zip(*pairs[at], strict=True)] for at in (0, at_8))
agree = min(lost) > 0 or max(lost) < 0
third = "bounds, share 0.3"
weak = mean_of(third, "lower")[at_8]
say(
    f"One number for each of {len(seeds)} seeds; n = {record['n']}, {record['epochs']} epochs (95 % interval of one number: at most ±{98 / record['n'] ** 0.5:.1f} "
    f"points). The proof costs {min(cost):.1f} to {max(cost):.1f} points of clean accuracy, seed by seed. The upper bound of PGD-3 minus "
    f"that of share 0.9 is {min(lost):+.1f} to {max(lost):+.1f} points: "
    f"{'all seeds have the same sign.' if agree else 'the seeds do not agree on a sign, so this shows **no clear difference**.'}\n\n"
    f"**The coin** answers with the network of share 0.9 or with that of share 0, drawn for each image. It needs no further training. At the clean "
    f"accuracy of share 0.3 it proves {coin_at(third)} %, and share 0.3 itself {weak:.1f} % (mean). So the share is "
    f"{'**not a useful dial** here' if weak <= float(coin_at(third)) else 'a better dial than the coin'}. (For a coin, *proven* is the mean "
    f"chance that the answer is proven.) The best possible rule of this world has robust accuracy {best.robust:.1%}."
)

# %%
question = "ε = 4/255, share 0.9: how many points lie between the two bounds?"
lesson.predict("gap", question, 0, 60, "points")

# %%
at_4 = radii.index(4)
gap_4 = mean_of(certified_arm, "upper")[at_4] - mean_of(certified_arm, "lower")[at_4]
gap_8 = mean_of(certified_arm, "upper")[at_8] - lower_90
lesson.reveal("gap", gap_4, f"at ε = 8/255 it is {gap_8:.1f}.")

# %% [markdown]
# Checks of the measurement. At ε = 0 both bounds must be clean accuracy. A larger radius can only lower them. At ε = 1/2 every
# image can become grey: nothing may be proven, and an attack must leave few images right.

# %% tags=["nbval-check-output"]
print("equal at ε = 0:", here["upper"][0] == here["lower"][0])
for key in ("upper", "lower"):
    print(f"{key} bound falls with ε:", here[key] == sorted(here[key], reverse=True))
pairs = zip(here["lower"], here["upper"], strict=True)
print("lower never above upper:", all(low <= high for low, high in pairs))
print("proven at ε = 1/2:", bounds.certified(small, panel.x, panel.y, 0.5).sum().item())
climb = list(PGD(0.5, 10).iterates(small, panel.x, panel.y, torch.Generator().manual_seed(seed)))
losses = [F.cross_entropy(logits, panel.y).item() for _, logits in climb]
print("the loss of PGD rises there:", losses[-1] > losses[0])
print("and leaves at most guessing:", (climb[-1][1].argmax(1) == panel.y).float().mean().item() <= 1 / 8)

# %% [markdown]
# > **Pitfalls**
# > * *Calling what an attack leaves robust*: it is an upper bound. Only a proof gives a lower one.
# > * *Calling what is not proven fragile*: loose bounds prove nothing, and the image may still be robust.
# > * *Comparing a proven number with an attacked one*: compare lower with lower, and upper with upper.
# > * *Forgetting [0, 1]*: without clipping, the box is larger than the ball of images, and less is proven.
# > * *Certifying for the predicted class*: use the label. Else misclassified images count as robust.
# > * *Floating point*: a margin just above 0 may be rounding. Serious tools round outwards.
#
# ## What we showed, and what we did not show
#
# An attack gives an upper bound of robust accuracy, and a proof gives a lower bound. With two pixels, cuts bring them together
# except for images at the very border of their ball. For images they come close only if the network is trained for it. This
# training costs much clean accuracy, and its share is no better than a coin.
#
# **What we did not show:** networks that are trained longer, or whose share grows more slowly; bounds for networks with a dial. BatchNorm and FiLM are linear in a fixed setting, so the same
# arithmetic applies. We expect it to prove little, as for PGD training here. Tighter bounds (linear relaxations)
# and complete solvers exist, and reach further than intervals.
#
# ## Try this
#
# * Give `bounds.bound_loss` a share of 0.3 where the network on images is trained. What happens to the two bounds?
# * Replace PGD by no attack, `trained(seed, "none")`. How many images does `decide` prove?
# * On images, certify with the box of the logits (`bounds.box_of`) and not with `bounds.margins`. How much less is proven?
#
# ## Sources
#
# * Gowal et al. 2018, *On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models* (IBP)
# * Wong and Kolter 2018, *Provable Defenses against Adversarial Examples via the Convex Outer Adversarial Polytope*
# * Katz et al. 2017, *Reluplex: An Efficient SMT Solver for Verifying Deep Neural Networks*
# * Zhang et al. 2018, *Efficient Neural Network Robustness Certification with General Activation Functions* (CROWN)

# %%
lesson.finish(
    upper=here["upper"],
    lower=here["lower"],
    radii=radii,
    exact=decided[-1][0].float().mean().item(),
    proven=proven.float().mean().item(),
)
