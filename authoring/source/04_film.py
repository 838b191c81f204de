# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 50
# ---

# %% [markdown]
# # 04 · How does one network know λ?
#
# **You will be able to**
#
# * write FiLM: a scale γ and a shift β for each channel, computed from λ
# * show what a layer can do with λ as one more input, and what it cannot
# * build a block with two BatchNorms and FiLM, and train a network of three such blocks
# * find the channels that λ turns down, and test by an intervention what that does
#
# **Before this:** [03 · Is it really the statistics?](03_dual_bn.ipynb) · **Run time:** about 50 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 192  # 32 to 512: validation images that are attacked
toy_steps: int = 500  # 20 to 5000: training steps on the toy curve
steps: int = 240  # 20 to 2000: training steps of your network
epochs: int = 5  # 1 to 30: of training, where no ready network fits
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the ready networks here (minutes) instead of loading them
recompute: bool = False  # train the networks of the ablation again (minutes)

# %%
import copy
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import PGD, Suite
from oatlib.course import figures, parts
from oatlib.course.curve import CurveNet, curve, curve_error, learn
from oatlib.course.diagram import diagram
from oatlib.course.dials import bootstrap, pairs_of
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import RECORDS, begin, say
from oatlib.course.seeds import in_points, over_seeds, verdict
from oatlib.course.sliders import sliders
from oatlib.data.scenes import effect_of, parts_of, scene_of
from oatlib.explorer import open_files
from oatlib.explorer.description import captions
from oatlib.layers import film as library
from oatlib.layers.film import lambda_codes
from oatlib.record import read_json

torch.set_printoptions(precision=2, sci_mode=False)
lesson = begin("04_film", globals())
data = oatlib.load_data("shapes", seed=seed)
panel = data.val.panel(n)
RADIUS = 8 / 255
attack = Suite(RADIUS, budget="quick")  # the default attack of oatlib.evaluate

# %% [markdown]
# ## Two settings, and nothing in between
#
# Lesson 03 ended with a network that has two settings, one per BatchNorm. The ready network `blend` is such a network:
# λ = 0 is accurate, λ = 1 is robust. These are the ends of the **dial** that we want.
#
# Two dials are cheap. The first mixes weights: the scales and shifts of the BatchNorms are (1 - λ) times those of
# λ = 0, plus λ times those of λ = 1. The second tosses a **coin** for each image, and one of the two settings answers.
# Biased coins reach the whole straight line between the ends.

# %%
choices = ["mixed weights", "a coin", "no clear difference"]
lesson.predict("between", "At equal clean accuracy, which is more robust?", options=choices)


# %%
verdicts = []  # of each measurement, what became of each image
upper = {"title_text": "robust accuracy, % (quick suite: upper bound)"}


def measured(f, split, lam):
    """Clean and robust accuracy of a plain network, with λ, number of images, index in verdicts."""
    start = torch.Generator().manual_seed(seed)
    found = attack.run(f, split.x, split.y, start, progress=False)
    verdicts.append(found.fell)  # -2: wrong without an attack, -1: right after all attacks
    row = {"lam": lam, "n": len(split), "run": len(verdicts) - 1}
    return row | {"clean": found.clean, "robust": found.robust}


blend = lesson.network("blend", data)
mixed = [measured(blend.at(lam), panel, lam) for lam in (0.0, 0.4, 0.5, 0.6, 0.7, 1.0)]
coin = [mixed[0], mixed[-1]]
figures.frontier(
    {"blend, mixed weights": mixed, "a coin between both ends": coin},
    takeaway="Robust accuracy over clean accuracy: mixed weights, and the straight line of a coin.",
).update_yaxes(upper)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def over_coin(point, ends):
    """Robust accuracy of a setting minus that of a coin with the same clean accuracy."""
    first, last = ends
    p = (first["clean"] - point["clean"]) / (first["clean"] - last["clean"] + 1e-9)
    return point["robust"] - (1 - p) * first["robust"] - p * last["robust"]


def redrawn(point, draws=2000):
    """Accuracies on images that are drawn again from the same images, with replacement (bootstrap)."""
    fell = verdicts[point["run"]]
    index = torch.randint(len(fell), (draws, len(fell)), generator=torch.Generator().manual_seed(seed))
    return {"clean": (fell[index] != -2).double().mean(1), "robust": (fell[index] == -1).double().mean(1)}


def limits(values):
    """95 % interval of values from redrawn()."""
    return torch.quantile(values, torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()


def spread(values, sign="+"):
    """95 % interval of values from redrawn(), in percent, as text."""
    low, high = limits(values)
    return f"({100 * low:{sign}.0f} to {100 * high:{sign}.0f})"


def gap(point, ends):
    """Points above the coin, with a 95 % interval, as text."""
    values = over_coin(redrawn(point), [redrawn(end) for end in ends])
    return f"{100 * over_coin(point, ends):+.0f} {spread(values)}"


def within(share, count):
    """An accuracy with its 95 % interval, as text."""
    low, high = oatlib.wilson(round(share * count), count)
    return f"{share:.1%} ({low:.1%} to {high:.1%})"


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
inside = mixed[1:-1]  # all four are shown, none is picked
gained = sum(over_coin(point, coin) for point in inside) / len(inside)
ends = [redrawn(end) for end in coin]
redrawn_gains = sum(over_coin(redrawn(point), ends) for point in inside) / len(inside)


# The same network and settings on more images: the record of lesson 05
many = read_json(RECORDS / "oat_rivals.json")["points"]["blend"]
many = [point for point in many if point["lam"] in [m["lam"] for m in mixed]]


def mean_over_coin(pairs):
    """Points above the coin between the ends, mean over the settings between them."""
    points = [{"clean": clean, "robust": robust} for clean, robust in pairs]
    between = points[1:-1]
    return [100 * sum(over_coin(point, (points[0], points[-1])) for point in between) / len(between)]


(recorded_gain,) = mean_over_coin(pairs_of(many))
(recorded_limits,) = bootstrap(mean_over_coin, many)
winner = verdict(*recorded_limits, *choices)
note = f"measured on {many[0]['n']} images. The network was never trained with mixed weights."
lesson.reveal("between", winner, note)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
rows = "".join(
    f"| {point['lam']:g} | {within(point['clean'], n)} | {within(point['robust'], n)} | {gap(point, coin)} |\n"
    for point in inside
)
words = ("a better dial than", "a worse dial than", "not clearly better or worse than")
word, recorded_word = verdict(*limits(redrawn_gains), *words), verdict(*recorded_limits, *words)
say(
    "| λ, mixed weights | clean | robust (upper bound) | points above a coin with the same clean accuracy |\n|---|---|---|---|\n"
    f"{rows}\nOn average over these settings, mixed weights are {100 * gained:+.0f} points from a coin "
    f"{spread(redrawn_gains)}. So on n = {n} validation images they are {word} a coin. On {many[0]['n']} images (recorded for "
    f"lesson 05) they are {recorded_gain:+.0f} points from it ({recorded_limits[0]:+.0f} to {recorded_limits[1]:+.0f}): **{recorded_word} a "
    "coin**. (95 % intervals. The quick suite is a short attack.)"
)

# %% [markdown]
# `blend` was never trained between its ends. To train these settings, too, the network must know λ. This lesson builds the
# part that tells it, thick and orange in the diagram. Each block has such a part; the diagram draws one.

# %%
diagram("04")

# %% [markdown]
# ## By hand: a scale and a shift for each channel
#
# The idea of **FiLM** (feature-wise linear modulation): λ chooses, for each channel, a number γ to multiply by and a
# number β to add.
#
# $$\mathrm{FiLM}(h) = \gamma(\lambda) \cdot h + \beta(\lambda)$$
#
# Three images with three channels each, once with λ = 0 and once with λ = 1:

# %%
h = torch.tensor([[1.0, 2.0, -1.0], [2.0, 0.0, 1.0], [3.0, 1.0, 0.0]])
h = torch.cat([h, h])  # the same three images twice, (6, 3)
lam = torch.tensor([0, 0, 0, 1, 1, 1])
gamma = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, -1.0]])  # row 0 for λ = 0, row 1 for λ = 1
beta = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
print(gamma[lam])  # a row for each image
print(gamma[lam] * h + beta[lam])

# %% [markdown]
# At λ = 1 the first channel is off, the second is doubled, the third is inverted and shifted.
#
# ### Exercise: film
# Difficulty ●○○○○ · 4 minutes. The same for feature maps. Each image has a row of γ and of β.


# %% tags=["exercise"]
def film(x, gamma, beta):
    """x (N, C, H, W), gamma and beta (N, C) -> γ·x + β, for each channel of each image."""
    raise NotImplementedError


# %%
film = check(film)

# %% [markdown]
# <details><summary>Hint</summary>
# PyTorch lines up dimensions from the right: (N, C) would meet rows and columns. Make it (N, C, 1, 1).
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def film(x, gamma, beta):
#     gamma = gamma[:, :, None, None]  # (N, C, 1, 1)
#     beta = beta[:, :, None, None]
#     return gamma * x + beta
# ```
# </details>

# %% [markdown]
# ## Why not simply as one more input?
#
# A linear layer that gets x and λ side by side computes
#
# $$W x + w \lambda + b .$$
#
# That **is** FiLM, with γ = 1 and β = w·λ. So in this layer λ can shift a channel, but cannot scale it.

# %% tags=["nbval-check-output"]
layer = nn.Linear(2, 4)  # its inputs are x and λ
x5 = torch.rand(5, 1)
lam5 = torch.rand(5, 1)
together = layer(torch.cat([x5, lam5], 1))
alone = x5 @ layer.weight[:, :1].T + layer.bias  # without λ
shift = lam5 @ layer.weight[:, 1:].T
shifted = film(alone[:, :, None, None], torch.ones(5, 4), shift)[:, :, 0, 0]
print("λ as one more input is FiLM with γ = 1:", torch.allclose(together, shifted, atol=1e-5))

# %% [markdown]
# ## From λ to γ and β
#
# γ and β come from a small network, the **generator**. Its input is a **code** of λ. OAT, once-for-all
# adversarial training, trains at six values of λ, its **stops**. Their codes are fixed random vectors at right angles.
# So 0.1 and 0.2 may get quite different γ and β. But λ = 0.15 has no code. The [appendix](A_engineering.ipynb) closes that
# gap.

# %%
stops = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
codes = lambda_codes("rand", stops, 16, torch.Generator().manual_seed(seed))
print(codes.shape)  # a row for each stop
print((codes @ codes.T).abs())  # length 1, and at right angles

# %% [markdown]
# $$[\gamma, \beta] = \mathrm{leaky}\big(W_2\, \mathrm{leaky}(W_1 c + b_1) + b_2\big)$$
#
# Here c is the code, and leaky is LeakyReLU, which divides negative values by 100. The class `FiLM` below is this
# generator.
#
# * Without the inner LeakyReLU the two linear layers would be one.
# * With the outer one, of the published method, γ can switch a channel off but hardly invert it. β hardly becomes negative.
# * At the start γ is near 1 and β near 0, as if FiLM were not there.
#
# ### Exercise: FiLM
# Difficulty ●●●○○ · 10 minutes. Name the layers `hidden` (d to 2C numbers) and `out` (2C to 2C). For the start, make the
# weights of `out` ten times smaller, and set its bias to C ones and C zeros.


# %% tags=["exercise"]
class FiLM(nn.Module):
    """Codes (N, d) -> γ and β, each (N, C)."""

    def __init__(self, code_dim, channels):
        super().__init__()
        raise NotImplementedError

    def forward(self, code):
        raise NotImplementedError


# %%
FiLM = check(FiLM)

# %% [markdown]
# <details><summary>Hint</summary>
# Change weights inside <code>with torch.no_grad():</code>, with <code>.mul_(0.1)</code> and <code>.copy_(...)</code>. The two
# halves of a tensor: <code>.chunk(2, dim=1)</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class FiLM(nn.Module):
#     """Codes (N, d) -> γ and β, each (N, C)."""
#
#     def __init__(self, code_dim, channels):
#         super().__init__()
#         self.hidden = nn.Linear(code_dim, 2 * channels)
#         self.out = nn.Linear(2 * channels, 2 * channels)
#         ones, zeros = torch.ones(channels), torch.zeros(channels)
#         with torch.no_grad():
#             self.out.weight.mul_(0.1)
#             self.out.bias.copy_(torch.cat([ones, zeros]))
#
#     def forward(self, code):
#         hidden = F.leaky_relu(self.hidden(code))
#         gamma, beta = F.leaky_relu(self.out(hidden)).chunk(2, dim=1)
#         return gamma, beta
# ```
# </details>

# %%
gamma, beta = FiLM(16, 3)(codes)
print(gamma.detach())  # (6, 3): a row for each stop, a column for each channel

# %% [markdown]
# ## A curve with a knob
#
# A small problem whose answer depends on λ: a wave at λ = 0, a straight line at λ = 1, and their mixture in
# between. Four networks learn it. *No λ* is not told λ. *One more input* gets it beside x. The other two have a generator
# on their second hidden layer, with λ itself as the code. *β only* keeps γ = 1; *FiLM* is yours. The first two are wider,
# for about as many weights.


# %%
class BetaOnly(FiLM):
    """λ shifts and does not scale."""

    def forward(self, code):
        gamma, beta = super().forward(code)
        return torch.ones_like(gamma), beta


makers = {
    "no λ": lambda: CurveNet(36),
    "one more input": lambda: CurveNet(36, inputs=2),
    "β only": lambda: CurveNet(16, BetaOnly(1, 16)),
    "FiLM": lambda: CurveNet(16, FiLM(1, 16)),
}
seeds = range(seed, seed + 5)
knobs = {way: [learn(make, toy_steps, i) for i in seeds] for way, make in makers.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
line = torch.linspace(-1, 1, 121)[:, None]


def drawn(lam):
    """The curve and four networks at one λ."""
    at = torch.full_like(line, lam)
    told = {way: nets[0](line, at) for way, nets in knobs.items()}
    series = {"the curve": curve(line, at)} | told
    squares = {way: F.mse_loss(values, curve(line, at)).item() for way, values in told.items()}
    seen = "squared error · " + " · ".join(f"{way}: {square:.4f}" for way, square in squares.items())
    fig = figures.lines(
        line[:, 0].tolist(),
        {name: values[:, 0].tolist() for name, values in series.items()},
        x_name="x",
        height=380,
        takeaway=f"At λ = {lam:g}, {seen}",
    )
    fig.update_traces(mode="lines").update_yaxes(range=[-1.4, 1.4])
    return fig, seen


sliders(drawn, lam=(0.0, 1.0, 0.02), labels={"lam": "λ"}, start_at={"lam": 0.2})


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
errors = {way: [curve_error(net) for net in nets] for way, nets in knobs.items()}
sizes = {way: sum(p.numel() for p in nets[0].parameters()) for way, nets in knobs.items()}
unused = knobs["β only"][0].generator.out  # half of its rows make a γ that is thrown away
acting = sizes | {"β only": sizes["β only"] - sum(p.numel() // 2 for p in unused.parameters())}
rows = "".join(
    f"| {way} | {sizes[way]} | {acting[way]} | {sum(found) / len(found):.4f} | {min(found):.4f} to {max(found):.4f} |\n"
    for way, found in errors.items()
)
head = f"| network | weights | of these act | mean squared error | over {len(seeds)} seeds |\n|---|---|---|---|---|\n"


def compared(first, second):
    """How many times the error of one network is that of another: geometric mean over seeds, with its interval."""
    factors = [math.log(a / b) for a, b in zip(errors[first], errors[second], strict=True)]
    middle, low, high = over_seeds(factors)
    word = verdict(low, high, "larger", "smaller", "not clearly different")
    middle, low, high = (math.exp(value) for value in (middle, low, high))
    return f"{first} against {second}: {middle:.1f} times ({low:.1f} to {high:.1f}), **{word}**"


pairs = [("no λ", "one more input"), ("one more input", "β only"), ("β only", "FiLM"), ("one more input", "FiLM")]
say(
    head
    + rows
    + "\nThe error, as a multiple of another error (95 % intervals over the seeds):\n\n"
    + "\n".join(f"* {compared(*pair)}" for pair in pairs)
)

# %% [markdown]
# Where λ enters, *one more input* and *β only* shift a layer. *FiLM* can also scale it, and more of its weights act. But
# this curve was made for scaling. An ablation below asks again whether γ is needed.
#
# ### Exercise: SmallGenerator
# Difficulty ●●●●○ · 15 minutes. Open. Your FiLM of that network has over a thousand parameters. How few are enough? The
# check trains such a network with your generator, from three seeds. It accepts at most 64 parameters and a squared error
# of at most 0.015.


# %% tags=["exercise"]
class SmallGenerator(nn.Module):
    """λ (N, 1) -> γ and β, each (N, C)."""

    def __init__(self, channels):
        super().__init__()
        raise NotImplementedError

    def forward(self, lam):
        raise NotImplementedError


# %%
SmallGenerator = check(SmallGenerator)

# %% [markdown]
# <details><summary>Hint</summary>
# The curve mixes two functions. The 16 channels can be two groups. What should γ of each do as λ grows? Not everything has
# to be learned.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class SmallGenerator(nn.Module):
#     """λ (N, 1) -> γ and β, each (N, C)."""
#
#     def __init__(self, channels):
#         super().__init__()
#         self.group = channels // 2
#
#     def forward(self, lam):
#         fading = (1 - lam).expand(-1, self.group)  # for the wave
#         growing = lam.expand(-1, self.group)  # for the line
#         gamma = torch.cat([fading, growing], 1)
#         return gamma, torch.zeros_like(gamma)
# ```
#
# It has no parameters at all. With some you get a smaller error.
# </details>

# %% [markdown]
# ## Into the network
#
# The two BatchNorms of a block are yours, from lesson 03.

# %%
DualBN = mine("DualBN")

# %% [markdown]
# $$\mathrm{block}(x) = \mathrm{ReLU}\big(\gamma(\lambda) \cdot \mathrm{BN}_{branch}(\mathrm{conv}(x)) + \beta(\lambda)\big)$$
#
# `branch` (N,) chooses the BatchNorm of each image: 0 for λ = 0, else 1 (clean and attacked in the diagram).
# `code` (N, d) holds the code of each image's λ.
#
# ### Exercise: Block
# Difficulty ●●●○○ · 10 minutes. Use `DualBN(cout)` and `FiLM(code_dim, cout)`, and name the parts `conv`, `norm` and
# `film`. The conv has a kernel of 3 x 3, padding 1 and no bias: the norm behind it would remove a bias.


# %% tags=["exercise"]
class Block(nn.Module):
    """conv, DualBN, FiLM, ReLU: (N, cin, H, W) -> (N, cout, H/stride, W/stride)."""

    def __init__(self, cin, cout, stride, code_dim):
        super().__init__()
        raise NotImplementedError

    def forward(self, x, branch, code):
        raise NotImplementedError


# %%
Block = check(Block)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)</code>. In <code>forward</code>: conv, norm, then γ and β as
# in your function <code>film</code>, then <code>torch.relu</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class Block(nn.Module):
#     """conv, DualBN, FiLM, ReLU: (N, cin, H, W) -> (N, cout, H/stride, W/stride)."""
#
#     def __init__(self, cin, cout, stride, code_dim):
#         super().__init__()
#         self.conv = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
#         self.norm = DualBN(cout)
#         self.film = FiLM(code_dim, cout)
#
#     def forward(self, x, branch, code):
#         x = self.conv(x)  # (N, cout, H/stride, W/stride)
#         x = self.norm(x, branch)
#         gamma, beta = self.film(code)  # (N, cout) each
#         x = gamma[:, :, None, None] * x + beta[:, :, None, None]
#         return torch.relu(x)
# ```
# </details>

# %% [markdown]
# `DialNet` of `oatlib.course.parts` is three such blocks and a linear layer. It is called with images and the index of
# each image's stop. New in its training is the loss of an image with a given λ:
#
# $$(1 - \lambda) \cdot \mathrm{loss}(x) + \lambda \cdot \mathrm{loss}(x + \delta),$$
#
# where δ is the change that PGD of lesson 01 finds. To save time, the images are smaller, with four classes and three
# stops. λ = 0.2 and λ = 1 share a BatchNorm, so only FiLM can make them differ.

# %%
pgd = mine("pgd")

# %%
STOPS = (0.0, 0.2, 1.0)
small = oatlib.load_data("shapes", seed=seed, size=12, classes=4, n_train=2048)


def mixed_loss(net, x, y, stop, generator):
    """The mean over images of (1 - λ)·clean + λ·attacked loss."""
    lam = torch.tensor(STOPS)[stop]
    hit = stop > 0  # with λ = 0 an attack would count nothing
    net.eval()
    x_adv = pgd(lambda z: net(z, stop[hit]), x[hit], y[hit], RADIUS, 2, 5 / 255, generator)
    net.train()
    logits = net(torch.cat([x, x_adv]), torch.cat([stop, stop[hit]]))
    losses = F.cross_entropy(logits, torch.cat([y, y[hit]]), reduction="none")
    weights = torch.cat([1 - lam, lam[hit]])
    return (weights * losses).sum() / len(x)


# %%
def train(block, each):
    """Train a DialNet. Every third image of a batch has the same λ."""
    torch.manual_seed(each)
    generator = torch.Generator().manual_seed(each)
    net = parts.DialNet(block, STOPS, classes=len(small.classes), generator=generator)
    optimizer = torch.optim.SGD(net.parameters(), 0.3, weight_decay=5e-4, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=steps)
    stop = torch.arange(96) % len(STOPS)
    for _ in range(steps):
        index = torch.randint(len(small.train), (96,), generator=generator)
        loss = mixed_loss(net, small.train.x[index], small.train.y[index], stop, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


yours = train(Block, seed)


# %%
def at_stop(net, i):
    """A DialNet at one stop, as a function of images only."""
    return lambda x: net(x, torch.full((len(x),), i))


def along(net, split):
    """Accuracies of a DialNet at each of its stops."""
    return [measured(at_stop(net, i), split, lam) for i, lam in enumerate(STOPS)]


own = along(yours, small.val.panel(n))

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
own_ends = [redrawn(own[i]) for i in (1, -1)]  # both use the same BatchNorm
fall = own_ends[0]["clean"] - own_ends[1]["clean"]
rise = own_ends[1]["robust"] - own_ends[0]["robust"]
turns = min(limits(fall)[0], limits(rise)[0]) > 0
moved = (
    f"From λ = {STOPS[1]:g} to λ = {STOPS[-1]:g}, which share a BatchNorm, clean accuracy falls by "
    f"{100 * (own[1]['clean'] - own[-1]['clean']):.0f} points {spread(fall)}, robust accuracy (upper bound) rises by "
    f"{100 * (own[-1]['robust'] - own[1]['robust']):.0f} points {spread(rise)}."
)
figures.bars(
    [f"λ = {lam:g}" for lam in STOPS],
    {"clean": [point["clean"] for point in own], "robust (upper bound)": [point["robust"] for point in own]},
    n=n,
    x_name=f"bars: 95 % intervals, n = {n}; robust: quick suite",
    height=340,
    takeaway=moved,
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"{moved} (95 % intervals.) "
    + ("Only FiLM can do that: your network **has a dial**." if turns else "So your network has **no clear dial**.")
)

# %% [markdown]
# `as_network` copies your weights into a network of `oatlib`. The copy computes the same, and so does the FiLM of `oatlib`
# with the weights of yours:

# %% tags=["nbval-check-output"]
copied = parts.as_network(yours, small)
stop = torch.arange(n) % len(STOPS)
images = small.val.panel(n).x
with torch.no_grad():
    theirs = copied(images, torch.tensor(STOPS)[stop])
print("same logits as oatlib:", torch.allclose(yours(images, stop), theirs, atol=1e-4))
generator = library.FiLM(16, 16)
generator.load_state_dict(yours.blocks[0].film.state_dict())
pairs = zip(generator(yours.codes), yours.blocks[0].film(yours.codes), strict=True)
print("same γ and β as oatlib.layers.film.FiLM:", all(torch.equal(a, b) for a, b in pairs))

# %% [markdown]
# ## Ablation: without FiLM, and without γ
#
# The same training with two other generators: one always gives γ = 1 and β = 0, the other learns β and keeps γ = 1. The
# accuracies are read from a record of several seeds.

# %%
choices = ["only the whole FiLM", "FiLM, and β alone", "all three"]
question = "which have a dial: over 5 points of clean accuracy between λ = 0.2 and λ = 1?"
lesson.predict("gamma", question, options=choices)


# %%
class NoFiLM(FiLM):
    """λ does nothing."""

    def forward(self, code):
        gamma, beta = super().forward(code)
        return torch.ones_like(gamma), torch.zeros_like(beta)


# %%
def block_with(kind):
    """A block of `oatlib.course.parts` with another generator."""
    return lambda *sizes: parts.Block(*sizes, film=kind)


def arms():
    """Three generators, five seeds, three stops, on 512 validation images."""
    kinds = {"FiLM": FiLM, "β only": BetaOnly, "no FiLM": NoFiLM}
    found = {name: [] for name in kinds}
    for name, kind in kinds.items():
        for each in range(5):
            found[name].append(along(train(block_with(kind), each), small.val))
    return {"arms": found, "attack": str(attack), "n": len(small.val), "seeds": 5, "steps": steps}


record = lesson.recorded("film_arms", arms)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
pooled = {name: [] for name in record["arms"]}
for name, runs in record["arms"].items():
    for points in zip(*runs, strict=True):  # the same stop of all seeds
        mean = {key: sum(p[key] for p in points) / len(points) for key in ("clean", "robust", "lam")}
        pooled[name].append(mean | {"n": record["n"]})  # all seeds have the same images
dial = {name: [run[1]["clean"] - run[2]["clean"] for run in runs] for name, runs in record["arms"].items()}
off = "no FiLM, with the coin between its two BatchNorms"
fig = figures.frontier(
    {off if name == "no FiLM" else name: rows for name, rows in pooled.items()},
    takeaway="Clean accuracy at λ = 0.2 minus that at λ = 1: "
    + ", ".join(f"{name} {in_points(values)}" for name, values in dial.items()),
).update_yaxes(upper)
grey = {"line_color": "#808080", "marker_color": "#808080"}
grey |= {"error_x_color": figures.tint(5, 0.5), "error_y_color": figures.tint(5, 0.5)}
fig.update_traces(**grey, selector={"name": off})
fig

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
has_dial = [name for name, values in dial.items() if over_seeds(values)[1] > 0.05]
answers = {1: "only the whole FiLM", 2: "FiLM, and β alone", 3: "all three"}
lesson.reveal("gamma", answers.get(len(has_dial), "none"), "with γ = 1 and β = 0 both λ are the same function.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
rows = "".join(
    f"| {name} | {within(pool[1]['clean'], pool[1]['n'])} | {within(pool[2]['robust'], pool[2]['n'])} | {in_points(dial[name])} |\n"
    for name, pool in pooled.items()
)


def at_clean(pool, clean):
    """Robust accuracy on the line through points, at one clean accuracy."""
    for first, last in itertools.pairwise(pool):  # clean accuracy falls along the points
        if last["clean"] <= clean <= first["clean"]:
            part = (first["clean"] - clean) / (first["clean"] - last["clean"])
            return (1 - part) * first["robust"] + part * last["robust"]
    return float("nan")


# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
runs = record["arms"]
of_gamma = {
    f"{key} at λ = {lam}": [a[i][key] - b[i][key] for a, b in zip(runs["FiLM"], runs["β only"], strict=True)]
    for key, i, lam in (("clean", 1, "0.2"), ("robust", 2, "1"))
}
of_coin = []  # seed by seed, at the clean accuracy without FiLM: its robust accuracy minus that of a coin of FiLM
for plain, told in zip(runs["no FiLM"], runs["FiLM"], strict=True):
    level = plain[1]["clean"]
    of_coin.append(plain[1]["robust"] - at_clean(told, level))
words = [verdict(*over_seeds(values)[1:], "larger", "smaller", "not clearly different") for values in of_gamma.values()]
coin_word = verdict(*over_seeds(of_coin)[1:], "more", "less", "neither clearly more nor clearly less")
say(
    "| generator | clean at λ = 0.2 | robust (upper bound) at λ = 1 | clean at λ = 0.2 minus clean at λ = 1 |\n"
    "|---|---|---|---|\n"
    + rows
    + f"\nMeans of {record['seeds']} seeds, quick suite, the same {record['n']} validation images for all. Columns two and three: "
    "95 % intervals that count images. All other intervals: 95 %, over the seeds.\n\n"
    + "FiLM minus β only: "
    + "; ".join(
        f"{name} {in_points(values)}, **{word}**" for (name, values), word in zip(of_gamma.items(), words, strict=True)
    )
    + ".\n\nWithout FiLM, λ = 0.2 and λ = 1 are one setting. At the clean accuracy of this setting it is "
    f"**{coin_word} robust** than a coin between settings of FiLM: {in_points(of_coin)}. FiLM buys settings of their own, "
    f"with one answer per image. There it {'buys' if coin_word == 'less' else 'does not buy'} a better curve."
)

# %% [markdown]
# With FiLM, λ = 0.2 and λ = 1 are settings of their own. With β alone they are, too, so they need no γ. A possible
# reason is the ReLU behind FiLM: a channel far below 0 is off until β lifts it. The tanh of `CurveNet` switches nothing off.
#
# ## What does λ turn down?
#
# Now the ready network `oat`, trained for longer, with all six stops. Its first conv has 16 filters. Every image is a drawn
# shape, a texture too faint to see, and noise. The texture always tells the class, but an attack can repaint it. A pale
# shape often belongs to another class, a vivid one never does.
#
# Which filters read the texture? Give filter $w_c$ the textures alone, then the shapes alone, and compare its outputs:
#
# $$r_c = \sqrt{\frac{\mathrm{mean}\big[(w_c * \mathrm{texture})^2\big]}{\mathrm{mean}\big[(w_c * \mathrm{shape})^2\big]}}$$
#
# ### Exercise: reads_texture
# Difficulty ●●○○○ · 6 minutes. The star is a conv without padding. The means run over images and pixels.


# %% tags=["exercise"]
def reads_texture(weight, texture, drawn):
    """weight (C, 3, 3, 3), texture and drawn (N, 3, H, W) -> r, one number per filter, (C,)."""
    raise NotImplementedError


# %%
reads_texture = check(reads_texture)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.conv2d(texture, weight)</code> has the shape (N, C, h, w). Square it, then <code>.mean((0, 2, 3))</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def reads_texture(weight, texture, drawn):
#     of_texture = F.conv2d(texture, weight)  # (N, C, h, w)
#     of_shape = F.conv2d(drawn, weight)
#     above = of_texture.square().mean((0, 2, 3))
#     below = of_shape.square().mean((0, 2, 3))
#     return (above / below).sqrt()
# ```
# </details>

# %%
oat = lesson.network("oat", data)
seen = parts_of(scene_of(data, panel))
stem = oat.body.stem  # the first conv, with its norm and FiLM
# 0.5 is the grey background of the drawn shapes
r = reads_texture(stem.conv.weight.detach(), seen.texture, seen.drawn - 0.5)  # (16,)
order = r.argsort(descending=True)
print(r[order])

# %% [markdown]
# For some filters r is several times larger than for the others. This group ends at the largest factor between two
# neighbours.

# %%
factors = r[order][:-1] / r[order][1:]
cut = int(factors.argmax()) + 1
readers, others = order[:cut], order[cut:]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
next_factor = factors.sort(descending=True).values[1].item()
gap_text = (
    f"From r = {r[order][cut - 1]:.2f} to {r[order][cut]:.2f}, a factor of {factors.max():.1f}; the next largest factor is "
    f"{next_factor:.1f}. So {cut} of {len(r)} filters are texture filters."
)
fig = figures.bars(
    [str(i + 1) for i in range(len(r))],
    {
        "texture filters": [*r[readers].tolist(), *[0.0] * len(others)],
        "the others": [*[0.0] * cut, *r[others].tolist()],
    },
    x_name="filter of the first layer, in the order of r",
    y_name="r",
    height=300,
    takeaway=gap_text,
)
fig.update_layout(barmode="overlay")

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(f"{gap_text} Call their outputs the **texture channels**.")

# %%
choices = ["texture channels", "the other channels", "both alike"]
lesson.predict("off", "which does FiLM scale down from λ = 0.1 to λ = 1?", options=choices)

# %%
gamma = stem.film(oat.codes)[0].detach()  # (6, 16): γ of each stop and channel

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def band(channels):
    """Mean, smallest and largest γ of some channels at each stop."""
    rows = gamma[:, channels]
    return rows.mean(1).tolist(), rows.min(1).values.tolist(), rows.max(1).values.tolist()


figures.lines(
    stops,
    {f"the {cut} texture filters": band(readers), f"the other {len(others)}": band(others)},
    x_name="λ",
    y_name="γ (band: smallest to largest)",
    takeaway=f"From λ = 0.1 to λ = 1, the mean γ of the texture filters goes from {gamma[1, readers].mean():.2f} to "
    f"{gamma[-1, readers].mean():.2f}, that of the others from {gamma[1, others].mean():.2f} to {gamma[-1, others].mean():.2f}.",
).update_yaxes(rangemode="tozero")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
left = gamma[-1] / gamma[1]  # γ at λ = 1, as a part of γ at λ = 0.1


def mean_redrawn(values, draws=2000):
    """Means of values that are drawn again from the same values, with replacement."""
    index = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(seed))
    return values[index].mean(1).double()


falls = mean_redrawn(left[others]) - mean_redrawn(left[readers])
what = verdict(*limits(falls), "texture channels", "the other channels", "both alike")
why = "an attack can repaint the texture. With γ near 0, a channel hardly passes it on."
lesson.reveal("off", what, why)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def correlation(weight, gamma):
    """Of log r with the part of γ that is left at λ = 1; with a 95 % interval (Fisher)."""
    reading = reads_texture(weight.detach(), seen.texture, seen.drawn - 0.5).log()
    pair = torch.stack([reading, gamma[-1] / gamma[1]])
    value = torch.corrcoef(pair)[0, 1].clamp(-0.9999, 0.9999)
    margin = 1.96 / (len(reading) - 3) ** 0.5
    low, high = torch.tanh(torch.atanh(value) - margin), torch.tanh(torch.atanh(value) + margin)
    return value.item(), low.item(), high.item()


oats = lesson.network("oats", data)
first = yours.blocks[0]
looks = {
    "oat": correlation(stem.conv.weight, gamma),
    "oats, a second ready network": correlation(
        oats.body.stem.conv.weight, oats.body.stem.film(oats.codes)[0].detach()
    ),
    "your DialNet": correlation(first.conv.weight, first.film(yours.codes)[0]),
}
rows = "".join(f"| {name} | {value:.2f} ({low:.2f} to {high:.2f}) |\n" for name, (value, low, high) in looks.items())
sure = [name for name, (_, _, high) in looks.items() if high < 0]
say(
    f"At λ = 1 the texture filters of `oat` have on average {left[readers].mean():.0%} of the γ that they have at λ = 0.1, "
    f"the others {left[others].mean():.0%}. The difference is {100 * (left[others].mean() - left[readers].mean()):.0f} points "
    f"{spread(falls)}. Correlation of this share with log r, over the {len(r)} filters of "
    f"the first layer (your DialNet: from λ = 0.2):\n\n| network | correlation, 95 % interval |\n|---|---|\n{rows}\n"
    f"It is below 0 in **{len(sure)} of {len(looks)} networks**, by these intervals."
)

# %% [markdown]
# ### Ablation: turn only these channels, or all but these
#
# A correlation is no proof. So intervene in `oat`, in two directions:
#
# 1. Stay at λ = 0.1, but **turn** the texture channels of the first layer: give them the γ of λ = 1. If they carry the
#    dial, robust accuracy goes far towards that of λ = 1.
# 2. The **reverse**: go to λ = 1, but let these channels keep the γ of λ = 0.1. If only they count, it stays near λ = 0.1.
#
# Two more controls stay at λ = 0.1. The first turns the other channels of the first layer. But their γ hardly changes. So
# the second **dims** them: it multiplies their γ by the mean factor of the texture filters.
#
# ### Exercise: Turned
# Difficulty ●●○○○ · 8 minutes. Wrap a generator of `oat`. It is called as `film(codes, width)` with the codes of all
# stops, and returns γ and β, a row for each stop. Return them with one change, in a copy of γ: in the given channels, row
# `to` gets the values of row `source`. Row 1 is λ = 0.1, the last row is λ = 1. `width` belongs to lesson 06: only pass it
# on.


# %% tags=["exercise"]
class Turned(nn.Module):
    """film, channels -> a generator: γ of these channels in row `to` is that of row `source`."""

    def __init__(self, film, channels, to=1, source=-1):
        super().__init__()
        raise NotImplementedError

    def forward(self, codes, width=None):
        raise NotImplementedError


# %%
Turned = check(Turned)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>gamma[self.to, self.channels]</code> can be assigned to. Do that in a copy: <code>gamma.clone()</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class Turned(nn.Module):
#     """film, channels -> a generator: γ of these channels in row `to` is that of row `source`."""
#
#     def __init__(self, film, channels, to=1, source=-1):
#         super().__init__()
#         self.film = film
#         self.channels = channels
#         self.to = to
#         self.source = source
#
#     def forward(self, codes, width=None):
#         gamma, beta = self.film(codes, width)
#         gamma = gamma.clone()
#         gamma[self.to, self.channels] = gamma[self.source, self.channels]
#         return gamma, beta
# ```
# </details>


# %%
def with_stem(film, lam=0.1):
    """Accuracies of `oat` at λ with another generator in its first layer."""
    net = copy.deepcopy(oat)
    net.body.stem.film = film
    return measured(net.at(lam), panel, lam)


class Dimmed(nn.Module):
    """A control: multiply γ of the other channels at λ = 0.1 by the mean factor of the texture filters."""

    def forward(self, codes, width=None):
        gamma, beta = stem.film(codes, width)
        gamma = gamma.clone()
        kept = (gamma[-1] / gamma[1])[readers].mean()
        gamma[1, others] *= kept
        return gamma, beta


# %%
oat_points = [measured(oat.at(lam), panel, lam) for lam in stops]
group = with_stem(Turned(stem.film, readers))
all_but_group = with_stem(Turned(stem.film, readers, to=-1, source=1), lam=1.0)
cases = {
    "λ = 0.1": oat_points[1],
    f"{cut} texture channels turned": group,
    f"all but these {cut} turned": all_but_group,
    f"other {len(others)} of the layer turned": with_stem(Turned(stem.film, others)),
    f"other {len(others)} of the layer dimmed": with_stem(Dimmed()),
    "λ = 1": oat_points[-1],
}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
first, *_, last = cases.values()
start, end = redrawn(first)["robust"], redrawn(last)["robust"]


def way_of(case):
    """How far a case goes from λ = 0.1 to λ = 1 in robust accuracy: a share, and its redrawn values."""
    part = (case["robust"] - first["robust"]) / max(last["robust"] - first["robust"], 1e-9)
    return part, (redrawn(case)["robust"] - start) / (end - start).clamp(min=1e-9)


ways = {name: way_of(case) for name, case in cases.items()}
by_group, by_rest = (ways[name] for name in list(cases)[1:3])
figures.bars(
    list(cases),
    {
        "clean": [case["clean"] for case in cases.values()],
        "robust (upper bound)": [case["robust"] for case in cases.values()],
    },
    n=n,
    x_name=f"bars: 95 % intervals, n = {n}; robust: quick suite",
    height=380,
    takeaway=f"Turning {cut} texture channels of one layer goes {by_group[0]:.0%} of the way from λ = 0.1 to λ = 1 in robust "
    f"accuracy. Turning all but these goes {by_rest[0]:.0%}.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rows = "".join(
    f"| {name} | {within(case['clean'], n)} | {within(case['robust'], n)} | {ways[name][0]:.0%} {spread(ways[name][1], '')} |\n"
    for name, case in cases.items()
)
apart = verdict(*limits(by_group[1] - by_rest[1]), "farther than", "less far than", "not clearly farther than")
more_than_whole = limits(by_group[1] + by_rest[1] - 1)[0] > 0
say(
    "| `oat` | clean | robust (upper bound) | share of the way to λ = 1, in robust accuracy |\n|---|---|---|---|\n"
    f"{rows}\n(n = {n}, 95 % intervals, quick suite.) The {cut} numbers of the group go **{by_group[0]:.0%} of the way** "
    f"{spread(by_group[1], '')}. All the rest of the network, without them, goes **{by_rest[0]:.0%} of the way** "
    f"{spread(by_rest[1], '')}. So the group goes {apart} all the rest"
    + (", and it is **not the only cause**. " if limits(by_rest[1])[0] > 0 else ". ")
    + (
        "The two shares add up to **more than the whole way**: in part, each does what the other does."
        if more_than_whole
        else ""
    )
)

# %% [markdown]
# So the first layer is one place where the dial of `oat` turns the texture down, and not the only one that matters.
# Dimming as such does not help: with the other channels dimmed, mostly the texture is left.
#
# What does an attack change at λ = 0 and at λ = 1?

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
scene = scene_of(data, panel)


def shares_of(change):
    """Which part of a change lies along textures and along the drawn shape, per image."""
    effect = effect_of(scene, change)
    pieces = {"textures": effect.texture, "the drawn shape": effect.drawn}
    whole = change.square().sum((1, 2, 3))
    return {name: piece.square().sum((1, 2, 3)) / whole for name, piece in pieces.items()}


rows, told, shares = {"image": panel.x[:6]}, {}, {}
for lam in (0.0, 1.0):
    f = oat.at(lam)
    x_adv = PGD(RADIUS, 20)(f, panel.x, panel.y, torch.Generator().manual_seed(seed))
    rows[f"change × 16, λ = {lam:g}"] = figures.change(panel.x[:6], x_adv[:6], 16)
    rows[f"attacked, λ = {lam:g}"] = x_adv[:6]
    says = [f"says {data.classes[i]}" for i in f(x_adv[:6]).argmax(1).tolist()]
    told[f"attacked, λ = {lam:g}"] = says
    shares[f"λ = {lam:g}"] = shares_of(x_adv - panel.x)
coins = torch.randn(panel.x.shape, generator=torch.Generator().manual_seed(seed)).sign()
shares["random ±ε"] = shares_of(RADIUS * coins)
figures.images(
    rows,
    {"image": captions(data, panel, range(6))} | told,
    tile=92,
    takeaway=f"Share of the change along textures: {shares['λ = 0']['textures'].mean():.0%} at λ = 0, "
    f"{shares['λ = 1']['textures'].mean():.0%} at λ = 1. Along the shape: {shares['λ = 0']['the drawn shape'].mean():.0%} and "
    f"{shares['λ = 1']['the drawn shape'].mean():.0%}.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def average(values):
    """Mean in percent, with its 95 % interval."""
    middle, margin = values.mean().item(), 1.96 * values.std().item() / len(values) ** 0.5
    return f"{middle:.1%} (± {margin:.1%})"


def shifted_share(part):
    """How the share of a part changes from λ = 0 to λ = 1, with the verdict of its interval."""
    change = shares["λ = 1"][part] - shares["λ = 0"][part]
    margin = 1.96 * change.std().item() / len(change) ** 0.5
    word = verdict(
        change.mean().item() - margin, change.mean().item() + margin, "grows", "falls", "does not clearly change"
    )
    return f"the share of {part} **{word}** ({100 * change.mean():+.1f} points, ± {100 * margin:.1f})"


lines = "".join(
    f"| {part} | " + " | ".join(average(share[part]) for share in shares.values()) + " |\n"
    for part in shares["random ±ε"]
)
say(
    "How much of the change (ε = 8/255, PGD-20, shown × 16) repaints what? Share of its sum of squares:\n\n"
    f"| part of the change | {' | '.join(shares)} |\n|---|---|---|---|\n{lines}\n"
    f"Mean of {n} images, with 95 % intervals. The rest is neither texture nor shape. In the last column a coin chooses "
    "+ε or -ε for each value. From λ = 0 to λ = 1, image by image: "
    + "; ".join(map(shifted_share, shares["λ = 0"]))
    + "."
)

# %% [markdown]
# ## Is the dial worth it?
#
# Back to the first figure, with `oat`, a network trained alone for each λ, a coin between the first and the last of these,
# and mixed **outputs**: a weighted mean of the class probabilities of both ends of `blend`, in two passes for each image.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
two_passes = blend.with_dial("outputs")
inner = [measured(two_passes.at(lam), panel, lam) for lam in (0.6, 0.8)]
dials = {
    "oat, told λ": oat_points,
    "blend, mixed weights": mixed,
    "blend, mixed outputs (two passes)": [mixed[0], *inner, mixed[-1]],
    "a coin between both ends of blend": coin,
}
alone = [
    {"lam": m["lam"], "n": open_files.N, "clean": m["clean"], "robust": m["robust"][m["eps"].index(8.0)]}
    for m in open_files.marks(data) or []
]
for point in alone:  # only counts are stored, so the order of its images is arbitrary
    right, robust = round(point["clean"] * point["n"]), round(point["robust"] * point["n"])
    counts = torch.tensor([point["n"] - right, right - robust, robust])
    verdicts.append(torch.tensor([-2, 0, -1]).repeat_interleave(counts))
    point["run"] = len(verdicts) - 1
if alone:
    dials["a network for each λ (suite `fast`)"] = alone
    dials["a coin between two of these networks"] = [alone[0], alone[-1]]


def mean_gain(between, ends):
    """Points above a coin, mean over settings: the value and its redrawn values."""
    apart = [redrawn(end) for end in ends]
    values = sum(over_coin(redrawn(point), apart) for point in between) / len(between)
    return sum(over_coin(point, ends) for point in between) / len(between), values


mean_gains = {name: mean_gain(settings[1:-1], coin) for name, settings in dials.items() if len(settings) > 2}
takeaway = "Mean distance to the coin of blend, points of robust accuracy: "
takeaway += "; ".join(f"{name} {100 * value:+.0f} {spread(values)}" for name, (value, values) in mean_gains.items())
figures.frontier(dials, takeaway=takeaway).update_yaxes(title_text="robust accuracy, % (upper bounds)")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
two_networks = dials.get("a coin between two of these networks", coin)
rows = ""
for name, (value, values) in mean_gains.items():
    between = dials[name][1:-1]
    other, others_redrawn = mean_gain(between, two_networks)
    where = verdict(*limits(values), "above", "below", "not clearly apart")
    rows += f"| {name} | {len(between)} | {100 * value:+.0f} {spread(values)}, **{where}** | {100 * other:+.0f} {spread(others_redrawn)} |\n"
apart = mean_gains["oat, told λ"][1] - mean_gains["blend, mixed outputs (two passes)"][1]
versus = verdict(*limits(apart), "above", "below", "not clearly apart from")
dedicated = ""
if alone:
    ahead = mean_gains["oat, told λ"][1] - mean_gains["a network for each λ (suite `fast`)"][1]
    beside = verdict(*limits(ahead), "above", "below", "not clearly apart from")
    dedicated = (
        f" `oat` is **{beside} the networks for each λ**: {100 * ahead.mean():+.0f} points {spread(ahead)}. "
        "The suite of budget `fast` is stronger than the quick one, which favours `oat` here. Lesson 05 compares both under the same suite, with several seeds."
    )
say(
    "| dial | settings between its ends | above the coin of `blend`, points | above the coin of two networks |\n"
    f"|---|---|---|---|\n{rows}\n"
    f"Points of robust accuracy above a coin with the same clean accuracy, mean over the settings, with 95 % intervals. n = {n}, "
    f"quick suite. The networks for each λ: n = {open_files.N}, suite of budget `fast`; their intervals treat these images as "
    "independent of those of the coin. The settings of two dials differ in clean accuracy. All robust accuracies are upper bounds.\n\n"
    f"Each averaged over its own settings, `oat` is **{versus} mixed outputs**: the difference is {100 * apart.mean():+.0f} points {spread(apart)}. "
    "Lesson 09b compares them at equal clean accuracy, over five seeds. Mixed outputs need no training in "
    f"between, but twice the computation.{dedicated}"
)

# %% [markdown]
# ## Is this sane?

# %% tags=["nbval-check-output"]
f = oat.at(1.0)
untouched = PGD(0.0, 20)(f, panel.x, panel.y)
hits = (f(untouched).argmax(1) == panel.y).sum().item()
print("ε = 0 gives clean accuracy:", hits == round(n * cases["λ = 1"]["clean"]))
huge = list(PGD(0.5, 10).iterates(f, panel.x, panel.y))
losses = [F.cross_entropy(logits, panel.y).item() for _, logits in huge]
print("with ε = 0.5 the loss rises:", losses[-1] > losses[0])
right = (huge[-1][1].argmax(1) == panel.y).float().mean().item()
print("... and hardly any image is right:", right < 0.1)
x = panel.x[:8]
with torch.no_grad():
    in_order = oat(x, torch.tensor([0.0, 1.0] * 4))
    print("each image has its own λ:", torch.allclose(in_order[1::2], oat(x[1::2], 1.0), atol=1e-4))

# %% [markdown]
# ## Your turn, on the real thing
#
# Move λ of `oat`, and compare with `blend`. The diamonds are networks for one λ each. Between two stops the weights of
# the nearest two are mixed.

# %%
nets = {"oat": oat, "blend": blend}
known, hidden = lesson.surfaces(nets, data), ["training", "choose", "width"]
oatlib.explore(nets, data, marks=open_files.marks(data), surfaces=known, hide=hidden)

# %% [markdown]
# > **Pitfalls**
# > * *γ and β of shape (N, C) times (N, C, H, W)*: if the sizes happen to fit, PyTorch scales columns and says nothing.
# > * *Saving the weights without the codes*: with other random codes λ means something else.
# > * *FiLM before BatchNorm*: if a batch has one λ, BatchNorm removes its scale and shift again.
# > * *Training mode during the attack*: BatchNorm would learn from every step of it.
# > * *Interpolating codes*: no code in between was trained. Between two *neighbouring* stops `oatlib` moves scales and shifts
# >   instead. Between the far ends that, too, is no better than a coin: see the first figure.
#
# ## What we showed, and what we did not show
#
# λ can be an input that acts by one scale and one shift per channel. One network then has several settings. In `oat`,
# turning down the texture filters of one layer goes most of the way from λ = 0.1 to λ = 1 in robust accuracy. **What we
# did not show:** that γ is needed, or that FiLM gives a better curve (in the small network neither was seen); what
# happens from λ = 0 to 0.1, where γ does not fall; how this is on other data, or in `oat` over several seeds. [A · The
# engineering behind the dial](A_engineering.ipynb) explains λ between two stops, and why FiLM costs nothing once λ is
# fixed.
#
# ## Try this
#
# * Leave the outer LeakyReLU of `BetaOnly` out. Then β can be negative. How much better is β only on the curve?
# * In `Turned`, turn only four texture channels, or one. How far does the dial get?
# * Train your network with `STOPS = (0.0, 0.1, 0.2, 1.0)`. Does γ fall at 0.1 already?
#
# ## Sources
#
# * Perez et al. 2018, *FiLM: Visual Reasoning with a General Conditioning Layer*
# * Dumoulin et al. 2018, *Feature-wise transformations* (Distill)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free*
#
# **Next:** [05 · OAT](05_oat.ipynb): train one network for every λ, and compare it with a network for each λ.

# %%
results = {"mixed_weights": mixed, "errors": errors, "yours": own, "turned": cases}
lesson.finish(attack=str(attack), n=n, arms=record, dials=dials, **results)
