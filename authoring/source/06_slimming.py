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
# # 06 · Can one network be small and large at once?
#
# **You will be able to**
#
# * slice a convolution to any width, and say why the result fails
# * repair a part of the damage with fresh BatchNorm statistics, and say what is left to training
# * build a network with two dials, λ and width, and write the step that trains all widths
# * compare it with networks that were trained alone at each size, and choose a setting within limits
#
# **Before this:** [05 · OAT](05_oat.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
your_name: str = "yours"  # your network has this name in the explorer
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 64 to 512: validation images on which networks are measured
epochs: int = 5  # 1 to 20: of your training
seed: int = 0  # 0 to 9999: of weights, draws of λ and attacks
retrain: bool = False  # train the network beside yours, too, instead of loading it
recompute: bool = False  # train everything that is recorded again (20 minutes)

# %%
from functools import partial
from math import comb

import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

import oatlib
from oatlib.course import figures, parts, widths
from oatlib.course.diagram import diagram
from oatlib.course.dials import LiveEnds
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.parts import narrow_film
from oatlib.course.seeds import over_seeds
from oatlib.course.sliders import sliders
from oatlib.evaluation.baselines import robust_at
from oatlib.explorer.description import captions
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.recipes import sample_widths
from oatlib.training.step import train_step

lesson = begin("06_slimming", globals())
data = oatlib.load_data(data_set, seed=0)
panel = data.val.panel(min(n, len(data.val)))
RADIUS = 8 / 255  # of every attack on images
WIDTHS = (0.25, 0.5, 0.75, 1.0)  # fractions of the channels
torch.set_printoptions(precision=2, sci_mode=False, linewidth=110)

# %% [markdown]
# ## The failure
#
# The dial of lesson 05 trades accuracy for robustness, but not for speed. At every λ the network computes the same number
# of products. On a phone you may want half the computation.
#
# A **channel** is one of the feature maps that a layer passes to the next. Take a network that is trained on clean images. In
# every layer keep the first half of the channels, with their weights and BatchNorms. The result is a complete network,
# only narrower. We call this **cutting** a network to width 0.5.

# %%
standard = widths.standard_network(data, seed)  # three convs and a linear layer, as in lesson 05
cut = widths.cut_network(standard, data, WIDTHS)
left = [widths.right(cut, panel, width) for width in WIDTHS]
guessing = f"(Guessing gives {100 / len(data.classes):g} %.)"
lesson.predict("half", f"keep half of the channels. Clean accuracy? {guessing}")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
names = [f"width {width:g}" for width in WIDTHS]
seen = f"Cut to half of its channels, the network falls from {left[-1]:.1%} to {left[1]:.1%} clean accuracy."
fig = figures.bars(
    names,
    {"clean accuracy of the cut network": left},
    n=len(panel),
    y_name=f"accuracy, % (bars: 95 % intervals, n = {len(panel)})",
    takeaway=seen,
)
look = {"color": figures.INK, "dash": "dot", "width": 3}
fig.add_scatter(x=names, y=[100 / len(data.classes)] * 4, name="guessing", mode="lines", line=look)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
lesson.reveal("half", 100 * left[1], "each layer now gets fewer channels than it was trained on.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
macs = {width: oatlib.cost(cut, width=width).macs for width in WIDTHS}
low, high = oatlib.wilson(round(left[1] * len(panel)), len(panel))
say(
    f"The whole network needs {macs[1.0]:,} multiply-adds per image, half of the channels {macs[0.5]:,}. But the cut network is "
    f"right on **{left[1]:.1%}** of n = {len(panel)} validation images (95 % interval {low:.1%} to {high:.1%}), the whole one on "
    f"{left[-1]:.1%}."
)

# %% [markdown]
# ## Small enough to draw: a sum of three terms
#
# At each pixel an output channel of a convolution is a **sum**, with one term for each input channel. A cut network sums
# fewer terms. Each missing term takes its mean with it: after a ReLU no input is negative, so terms have a mean. What happens to
# the variance of the sum? For terms $t_i$
#
# $$\mathrm{E}\Big(\sum_i t_i\Big)=\sum_i\mathrm{E}(t_i),\qquad
# \mathrm{Var}\Big(\sum_i t_i\Big)=\sum_i\mathrm{Var}(t_i)+\sum_{i\ne j}\mathrm{Cov}(t_i,t_j)$$
#
# So the variance depends on how the terms vary **together**. They can be independent, agree (rise and fall together), or cancel.

# %%
a, b, c = torch.randn(3, 2000, generator=torch.Generator().manual_seed(seed))
TERMS = {  # three terms of one sum, at 2,000 pixels
    "are independent": 1 + torch.stack([a, b, c]),
    "agree": 1 + torch.stack([a, a + 0.3 * b, a + 0.3 * c]),
    "cancel": 1 + torch.stack([a, 0.5 * b - 0.8 * a, 0.5 * c]),
}
for kind, terms in TERMS.items():
    variances = terms.cumsum(0).var(1)  # of the sum of 1, 2 and 3 terms
    print(f"terms {kind:16}variance of 1, 2, 3 terms, relative:", variances / variances[-1])

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def toy(kept, terms, norm):
    """The sum of some terms beside that of all three."""
    full, few = TERMS[terms].sum(0), TERMS[terms][:kept].sum(0)
    told = f"mean {few.mean():.1f} and variance {few.var():.2f} with {kept} of 3 terms, {full.mean():.1f} and {full.var():.2f} with all"
    if norm != "none":
        of = full if norm == "those of the full sum" else few
        few, full = (few - of.mean()) / of.std(), (full - full.mean()) / full.std()
    told += f"; the next layer gets mean {few.mean():.1f} and standard deviation {few.std():.2f}, instead of {full.mean():.1f} and {full.std():.2f}"
    told = told.replace("-0.0", "0.0")
    series = {"3 of 3 terms": full, f"{kept} of 3 terms": few}
    return figures.histograms(series, x_name="value of the sum", height=330, takeaway=told), told


sliders(
    toy,
    kept=(1, 3, 1),
    terms=list(TERMS),
    norm=["none", "those of the full sum", "its own"],
    labels={"kept": "terms kept", "terms": "the terms", "norm": "statistics of BatchNorm"},
    start_at={"kept": 1, "terms": "agree", "norm": "those of the full sum"},
)

# %% [markdown]
# BatchNorm subtracts a stored mean and divides by a stored standard deviation. Both belong to the full sum. A narrow sum
# has others. So it leaves BatchNorm neither centred nor scaled, and the next layer gets inputs on which it was never trained.
#
# Now cut a convolution with six outputs, four inputs and kernels of one pixel. Its weight is a matrix, and half of the
# width is the upper left corner of that matrix.

# %%
matrix = torch.arange(24.0).view(6, 4)
print(matrix)
print(matrix[:3, :2])

# %% [markdown]
# ### Exercise: sliced_conv
# Difficulty ●●○○○ · 5 minutes. Write a convolution that uses only such a corner: as many inputs as arrive, and `out` outputs.


# %% tags=["exercise"]
def sliced_conv(x, weight, out, stride=1):
    """x (N, C, H, W), weight (outputs, inputs, k, k) with odd k
    -> (N, out, H/stride, W/stride): the first `out` outputs."""
    raise NotImplementedError  # your code instead of this line


# %%
sliced_conv = check(sliced_conv)

# %% [markdown]
# <details><summary>Hint</summary>
# Slice the first two dimensions of the weight. <code>F.conv2d</code> keeps the size of the image with
# <code>padding=k // 2</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def sliced_conv(x, weight, out, stride=1):
#     corner = weight[:out, : x.shape[1]]
#     return F.conv2d(x, corner, stride=stride, padding=weight.shape[-1] // 2)
# ```
# </details>

# %% [markdown]
# ## Half a repair: fresh statistics
#
# ### Exercise: calibrated_stats
# Difficulty ●●○○○ · 6 minutes. Which statistics does a narrow layer need? Those of its own output $h$. Compute them for each
# channel $c$ from $K$ batches. Batch $b$ has $m$ values in this channel: one for each image and pixel.
#
# $$\mu_c=\frac1K\sum_{b=1}^{K}\underbrace{\frac1m\sum_{j=1}^{m} h^{(b)}_{c,j}}_{\mu^{(b)}_c},\qquad
# \sigma_c^2=\frac1K\sum_{b=1}^{K}\frac1{m-1}\sum_{j=1}^{m}\big(h^{(b)}_{c,j}-\mu^{(b)}_c\big)^2$$


# %% tags=["exercise"]
def calibrated_stats(batches):
    """A list of batches (N, C, H, W) -> mean (C,) and variance (C,),
    each averaged over the batches."""
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
#     means = [batch.mean((0, 2, 3)) for batch in batches]
#     variances = [batch.var((0, 2, 3)) for batch in batches]
#     return torch.stack(means).mean(0), torch.stack(variances).mean(0)
# ```
# </details>

# %% [markdown]
# Your two functions run the trained network at any width. Layer by layer, the statistics are either given, or taken from the
# images that pass.


# %%
@torch.no_grad()
def run_narrow(x, width, statistics=None):
    """`standard` at a width -> logits, and (mean, variance) of each layer.
    None: take them from x."""
    h, used = (x - 0.5) * 4, []
    for layer, unit in enumerate(standard.body.units):
        norm = unit.norm.pairs[0].clean
        out = int(width * len(norm.weight))
        h = sliced_conv(h, unit.conv.weight, out, unit.conv.stride)
        mean, var = statistics[layer] if statistics else calibrated_stats([h])
        used.append((mean[:out], var[:out]))
        h = F.batch_norm(h, *used[-1], norm.weight[:out], norm.bias[:out]).relu()
    head = standard.body.head.each[0]
    return F.linear(h.mean((2, 3)), head.weight[:, :out], head.bias), used


# %% tags=["nbval-check-output"]
norms = [unit.norm.pairs[0].clean for unit in standard.body.units]
stored = [(norm.running_mean, norm.running_var) for norm in norms]
training_images = data.train.panel(min(1024, len(data.train))).x
for width in WIDTHS:
    logits, _ = run_narrow(panel.x, width, stored)
    same = torch.allclose(logits, cut.at(0.0, width)(panel.x), 1e-3, 1e-3)
    print(f"width {width}, stored statistics: the cut network of the library:", same)
average = nn.BatchNorm2d(3, momentum=None)  # a plain average over the batches
for batch in training_images.split(256):
    average(batch)
own = calibrated_stats(training_images.split(256))
mean_close = torch.allclose(own[0], average.running_mean, atol=1e-5)
var_close = torch.allclose(own[1], average.running_var, atol=1e-5)
print("calibrated_stats is BatchNorm's:", mean_close and var_close)

# %%
fresh = {width: run_narrow(training_images, width)[1] for width in WIDTHS}
mended = []
for width in WIDTHS:
    logits, _ = run_narrow(panel.x, width, fresh[width])
    mended.append((logits.argmax(1) == panel.y).double().mean().item())

# %% [markdown]
# Which of the two does it, the mean or the variance? Repair half the width with one of them only:

# %%
with_only, pairs = {}, list(zip(fresh[0.5], stored, strict=True))  # of each layer: fresh and stored (mean, variance)
with_only["mean"], _ = run_narrow(panel.x, 0.5, [(new[0], old[1]) for new, old in pairs])
with_only["variance"], _ = run_narrow(panel.x, 0.5, [(old[0], new[1]) for new, old in pairs])

# %% [markdown]
# ### Exercise: agreement
# Difficulty ●●○○○ · 6 minutes. Do the terms of a real convolution agree? Term $t_i$ of an output is the convolution of input channel i
# alone. Compute, for each output, the variance of the sum, divided by the sum of the variances. Independent terms give 1, terms that
# agree give more.


# %% tags=["exercise"]
def agreement(x, weight):
    """x (N, C, H, W), weight (out, C, k, k), no padding -> (out,):
    Var(sum of terms) / sum of Var(term), over images and pixels."""
    raise NotImplementedError


# %%
agreement = check(agreement)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.conv2d(x[:, i : i + 1], weight[:, i : i + 1])</code> is term i of all outputs. Python's <code>sum</code> adds tensors.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def agreement(x, weight):
#     channels = range(x.shape[1])
#     terms = [F.conv2d(x[:, i : i + 1], weight[:, i : i + 1]) for i in channels]
#     of_sum = sum(terms).var((0, 2, 3))
#     of_terms = sum(term.var((0, 2, 3)) for term in terms)
#     return of_sum / of_terms
# ```
# </details>

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
agreed, h = [], (panel.x - 0.5) * 4
with torch.no_grad():
    for unit, norm, (mean, var) in zip(standard.body.units, norms, fresh[1.0], strict=True):
        agreed.append(agreement(h, unit.conv.weight).median().item())
        h = F.batch_norm(
            sliced_conv(h, unit.conv.weight, len(mean), unit.conv.stride), mean, var, norm.weight, norm.bias
        ).relu()
agreed = agreed[1:]  # the first layer always sums the same three colours


def share_of_full(layer, width):
    """The variance at a width over that of the same channels at full width; the median."""
    own = fresh[width][layer][1]
    return (own / fresh[1.0][layer][1][: len(own)]).median().item()


shares = {f"layer {layer + 1}": [share_of_full(layer, width) for width in WIDTHS] for layer in (1, 2)}
halves = [values[1] for values in shares.values()]
shares |= {"independent terms of equal size": list(WIDTHS)}
figures.lines(
    WIDTHS,
    shares,
    x_name="width",
    y_name="variance ÷ that of the full width (median)",
    height=380,
    takeaway=f"At half the width the variance is {min(halves):.2f} to {max(halves):.2f} of the full one; independent terms "
    "of equal size would give 0.5.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
verdict = "So here the channels agree" if min(agreed) > 1.1 else "So here the channels do not all agree"
low, high = oatlib.wilson(round(mended[1] * len(panel)), len(panel))
with_only = {name: (logits.argmax(1) == panel.y).double().mean().item() for name, logits in with_only.items()}
say(
    f"At half the width the variance that enters BatchNorm is **{halves[0]:.2f}** (layer 2) and **{halves[1]:.2f}** (layer 3) of "
    f"that at full width. Independent terms of equal size would leave half. At full width the variance of a sum is {agreed[0]:.1f} "
    f"and {agreed[1]:.1f} times the sum of the variances of its terms (medians over the channels, one network). {verdict}. "
    "Terms that cancel would do the opposite, as the toy showed.\n\n"
    f"With fresh statistics the cut network is right on **{mended[1]:.1%}** ({low:.1%} to {high:.1%}) at half the width, instead of {left[1]:.1%} "
    f"(n = {len(panel)} validation images, 95 % interval). No weight was changed. With a fresh mean alone it is right on {with_only['mean']:.1%}, with a "
    f"fresh variance alone on {with_only['variance']:.1%} (one network). "
    + (
        "So here most of the damage is done by the **mean**."
        if with_only["mean"] > with_only["variance"] + 0.12
        else ""
    )
)

# %% [markdown]
# ## Ablation: what does each part of the repair bring?
#
# Six ways to a network of a given width, all with this backbone:
#
# 1. cut the trained network
# 2. cut it, with fresh statistics
# 3. train all widths **together** in one network, with one BatchNorm. A narrow width uses its first channels
# 4. the same, with fresh statistics for each width after training
# 5. train together, with a BatchNorm of its own for each width. This is a **slimmable** network
# 6. **the control:** train a network of that size alone

# %%
question = "width 0.25: slimmable minus trained alone, clean accuracy?"
lesson.predict("alone", question, -20, 20, "points")

# %%
record = lesson.recorded("slim_clean", widths.slim_clean)
means = {}
for name, runs in record["arms"].items():
    means[name] = torch.tensor(runs).mean(0).tolist()
ahead = 100 * (means["together, a BatchNorm for each"][0] - means["trained alone"][0])
lesson.reveal("alone", ahead, "the mean over the seeds. One network holds all sizes.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = figures.bars(record["widths"], {name: [100 * v for v in values] for name, values in means.items()})
fig.update_traces(x=[f"width {width:g}" for width in record["widths"]])
for trace, runs in zip(fig.data, record["arms"].values(), strict=True):
    low, high = 100 * torch.tensor(runs).amin(0), 100 * torch.tensor(runs).amax(0)
    mean = torch.tensor(trace.y)
    about = {"type": "data", "symmetric": False, "color": figures.INK, "thickness": 1.5}
    trace.error_y = about | {"array": (high - mean).tolist(), "arrayminus": (mean - low).tolist()}
seen = f"At width 0.25: cut {means['cut'][0]:.0%}, fresh statistics {means['cut, fresh statistics'][0]:.0%}, slimmable "
seen += f"{means['together, a BatchNorm for each'][0]:.0%}, trained alone {means['trained alone'][0]:.0%}."
figures.layout(fig, "bars: lowest to highest seed", "clean accuracy, %", height=420, takeaway=seen)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.


def spread(values, scale=100):
    return f"{scale * sum(values) / len(values):.1f} ({scale * min(values):.1f} to {scale * max(values):.1f})"


lines = ""
for name, runs in record["arms"].items():
    lines += f"| {name} | " + " | ".join(spread([run[i] for run in runs]) for i in range(4)) + " |\n"
one, one_fresh, each, alone = (record["arms"][name] for name in list(record["arms"])[2:])
gains = [100 * (own[0] - shared[0]) for own, shared in zip(each, one, strict=True)]
over_fresh = [100 * (own[0] - shared[0]) for own, shared in zip(each, one_fresh, strict=True)]
price = [100 * (own[0] - control[0]) for own, control in zip(each, alone, strict=True)]
within = 100 * (oatlib.wilson(round(0.95 * record["n"]), record["n"])[1] - 0.95)
switching = "helps with every seed" if min(gains) > 0 else "does not help with every seed"
small_price = max(map(abs, price)) < within
says = "less than the 95 % interval of one accuracy" if small_price else "more than the 95 % interval of one accuracy"
say(
    f"| clean accuracy, % | {' | '.join(f'width {w:g}' for w in record['widths'])} |\n|---|---|---|---|---|\n{lines}\n"
    f"Mean, lowest and highest of the seeds {', '.join(map(str, record['seeds']))}; n = {record['n']} validation images, "
    f"{record['preset']}. The 95 % interval of one accuracy near 95 % is about {within:.0f} points to each side.\n\n"
    f"At width 0.25 a BatchNorm for each width brings {', '.join(f'{v:+.1f}' for v in gains)} points over a shared one: it "
    f"**{switching}**. But fresh statistics for the network with one BatchNorm leave only {', '.join(f'{v:+.1f}' for v in over_fresh)} "
    "points of that. So widths that were trained together need **statistics** of their own, taken in training or afterwards. Most of the way from the cut network is made by training together. "
    f"Against a network trained alone the slimmable one has {', '.join(f'{v:+.1f}' for v in price)} points: "
    f"**{says}**."
    + (
        f" On these clean images, one network of four sizes costs hardly any accuracy. But a quarter of the width alone has {100 * min(run[0] for run in alone):.1f} % "
        "already: so easy a task cannot show a high price."
        if small_price
        else ""
    )
)

# %% [markdown]
# ## Build it: two dials
#
# Now give your network of lessons 03 to 05 a second dial. It uses your own parts, where you solved the exercises.

# %%
pgd = mine("pgd")
DualBN = mine("DualBN")
FiLM = mine("FiLM")

# %%
diagram("06")

# %% [markdown]
# The width chooses how many channels each conv has, and which BatchNorm is used.
#
# ### Exercise: SwitchBN
# Difficulty ●●○○○ · 6 minutes. Write a BatchNorm that switches: one `DualBN(channels)` for each width, in a list `self.each`
# that is trained.


# %% tags=["exercise"]
class SwitchBN(nn.Module):
    """outs: number of channels at each width, such as (4, 8, 16).
    forward(x, branch, index): x normalised by the DualBN of width
    number `index`; branch (N,) as in DualBN."""

    def __init__(self, outs):
        raise NotImplementedError


# %%
SwitchBN = check(SwitchBN)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>nn.ModuleList</code> registers the modules that it holds. Call <code>super().__init__()</code> first.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class SwitchBN(nn.Module):
#     def __init__(self, outs):
#         super().__init__()
#         self.each = nn.ModuleList([DualBN(out) for out in outs])
#
#     def forward(self, x, branch, index):
#         return self.each[index](x, branch)
# ```
# </details>

# %% [markdown]
# FiLM, too, keeps its first channels. `narrow_film(film, code, c)` returns γ and β of c channels, each (N, c). It
# uses the first units of both layers of your generator.

# %%
torch.manual_seed(seed)
film = FiLM(16, 8)  # codes of length 16, eight channels
gamma, beta = narrow_film(film, torch.randn(2, 16), 4)
print("γ of two images, four channels:\n", gamma.detach())

# %% [markdown]
# ### Exercise: SlimBlock
# Difficulty ●●●○○ · 12 minutes. Write your `Block` of lesson 04 for several widths. The modules are `self.conv` with the weight
# of the full width and without bias, `self.norm`, and one generator `self.film`.


# %% tags=["exercise"]
class SlimBlock(nn.Module):
    """cin: input channels at full width; outs: output channels at each
    width, ascending. forward(x, branch, code, index): x (N, c, H, W)
    -> relu(γ·norm(conv(x)) + β) with outs[index] channels."""

    def __init__(self, cin, outs, stride, code_dim):
        raise NotImplementedError


# %%
SlimBlock = check(SlimBlock)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>nn.Conv2d(cin, outs[-1], 3, stride, padding=1, bias=False)</code> holds the weight. Do not call it: pass
# <code>self.conv.weight</code> and <code>self.conv.stride</code> to <code>sliced_conv</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from oatlib.course.parts import narrow_film
#
# class SlimBlock(nn.Module):
#     def __init__(self, cin, outs, stride, code_dim):
#         super().__init__()
#         self.outs = outs
#         self.conv = nn.Conv2d(cin, outs[-1], 3, stride, padding=1, bias=False)
#         self.norm = SwitchBN(outs)
#         self.film = FiLM(code_dim, outs[-1])
#
#     def forward(self, x, branch, code, index):
#         out = self.outs[index]
#         x = sliced_conv(x, self.conv.weight, out, self.conv.stride)
#         x = self.norm(x, branch, index)
#         gamma, beta = narrow_film(self.film, code, out)
#         return torch.relu(gamma[:, :, None, None] * x + beta[:, :, None, None])
# ```
# </details>

# %% [markdown]
# ## Train all widths in one step
#
# A step sends one batch through every width, adds up the gradients, and then changes the weights once. Here two widths of
# a linear map with four weights:

# %%
weight = torch.ones(4, requires_grad=True)
inputs = torch.tensor([1.0, 2.0, 3.0, 4.0])
for kept in (4, 2):
    loss = (weight[:kept] * inputs[:kept]).sum()
    loss.backward()  # adds to what is in .grad
    print(f"after the width with {kept} weights:", weight.grad)

# %% [markdown]
# The first weights serve both widths, the last ones only the wide. **OATS** minimises the mean over the widths $w$ of the
# loss of lesson 05. Each width is attacked **for itself**, because each is another network:
#
# $$\min_\theta\;\frac1{|W|}\sum_{w\in W}\mathbb{E}_{(x,y),\,\lambda}\Big[(1-\lambda)\,\mathrm{CE}\big(f_\theta(x,\lambda,w),\,y\big)
# +\lambda \max_{\|x'-x\|_\infty\le\varepsilon}\mathrm{CE}\big(f_\theta(x',\lambda,w),\,y\big)\Big]$$
#
# ### Exercise: oats_step
# Difficulty ●●●○○ · 15 minutes. Write this step, as your `oat_step` of lesson 05 with a loop over the widths, the largest first.
# Divide each loss by the number of widths, then call `backward`. `net(x, stop, index)` returns logits; `net.stops` and
# `net.widths` hold the values of λ and the widths. Return the mean loss. The optimiser is not part of the step.


# %% tags=["exercise"]
def oats_step(net, x, y, stop, n_clean, attack, loss):
    """Add the gradients of one batch, the mean over all widths.

    The arguments are those of oat_step: x (N, C, H, W), y (N,), stop (N,)
    with n_clean zeros at the front, attack(f, x, y) -> x_adv, hybrid_loss.
    -> the mean of the losses of the widths, one number."""
    raise NotImplementedError


# %%
oats_step = check(oats_step)

# %% [markdown]
# <details><summary>Hint</summary>
# For each index: <code>net.eval()</code>, attack <code>lambda images: net(images, rest, index)</code>,
# <code>net.train()</code>, two passes, loss, <code>backward()</code>. Never clear gradients in between.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def oats_step(net, x, y, stop, n_clean, attack, loss):
#     lam = torch.tensor(net.stops)[stop]
#     rest = stop[n_clean:]
#     total = 0.0
#     for index in reversed(range(len(net.widths))):
#         # attack this width
#         net.eval()
#         x_adv = attack(lambda images: net(images, rest, index), x[n_clean:], y[n_clean:])
#         # two passes at this width
#         net.train()
#         clean = net(x, stop, index)
#         attacked = net(x_adv, rest, index)
#         value = loss(clean, attacked, y, lam, n_clean) / len(net.widths)
#         value.backward()
#         total = total + value.detach()
#     return total
# ```
# </details>

# %% [markdown]
# Your network has two widths, 0.5 and 1. `as_slim_network` copies it into a network of `oatlib`. Do both compute the same, and
# does your step change the weights as the training step of the library does?

# %%
draw_stops = mine("draw_stops")
more_at_last_stop = mine("more_at_last_stop")
hybrid_loss = mine("hybrid_loss")
torch.manual_seed(seed)
codes = torch.Generator().manual_seed(seed)
sizes = {"cin": data.shape[0], "classes": len(data.classes)}
net = parts.SlimDialNet(SlimBlock, widths=(0.5, 1.0), generator=codes, **sizes)

# %% tags=["nbval-check-output"]
theirs = parts.as_slim_network(net, data)
x, y = data.train.x[:24], data.train.y[:24]
stop, n_clean = draw_stops(net.stops, 24, torch.Generator().manual_seed(seed))
noise = torch.randn(x[n_clean:].shape, generator=torch.Generator().manual_seed(seed))


def same_attack(f, x, y, generator=None):
    return (x + RADIUS * noise.sign()).clamp(0, 1)


loss = oats_step(net, x, y, stop, n_clean, same_attack, hybrid_loss)
its_widths = sample_widths(theirs.spec, None)
its_loss = train_step(theirs, LambdaBatch(x, y, stop, net.stops), same_attack, None, its_widths)
for each_net in (net, theirs):
    torch.optim.SGD(each_net.parameters(), lr=0.1).step()
    each_net.zero_grad()
own = parts.as_slim_network(net, data).state_dict()
numbers = {key: value for key, value in theirs.state_dict().items() if value.is_floating_point()}
close = [torch.allclose(own[key], value, atol=1e-4) for key, value in numbers.items()]
print("the same loss:", torch.allclose(loss, its_loss, atol=1e-4))
print("after one step, the same weights and statistics at both widths:", all(close))

# %% [markdown]
# ### Live
#
# The loop is that of lesson 05. It ends after few epochs, because each step now trains two networks.

# %%
BATCH, TOTAL = 128, epochs * (len(data.train) // 128)
generator = torch.Generator().manual_seed(seed)


def batches():
    """Random batches without end: images, labels, stops, and how many stops are zero."""
    while True:
        for index in torch.randperm(len(data.train), generator=generator).split(BATCH):
            stop, n_clean = draw_stops(net.stops, len(index), generator)
            stop = more_at_last_stop(stop, n_clean, net.stops, 0.3, generator)
            yield data.train.x[index], data.train.y[index], stop, n_clean


def train_dials():
    """Train `net` with `oats_step`, yielding the number of steps and the loss after each."""
    optimizer, rate = widths.one_cycle(net, TOTAL)  # SGD, as in lesson 05
    for taken, batch in zip(range(1, TOTAL + 1), batches(), strict=False):
        eps = RADIUS * min(1, taken / TOTAL / 0.2)
        steps = 1 if taken < 0.4 * TOTAL else 2

        def attack(f, x, y, eps=eps, steps=steps):
            return pgd(f, x, y, eps, steps, 1.25 * eps, generator)

        optimizer.zero_grad()
        loss = oats_step(net, *batch, attack, hybrid_loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        rate.step()
        yield taken, loss.item()


# %%
by_width = {f"width {width:g}": partial(net, index=i) for i, width in enumerate(net.widths)}
live = LiveEnds(net, data, TOTAL, RADIUS, by_width)
display(live)
for taken, loss in train_dials():
    live.step(taken, loss)
yours = parts.as_slim_network(net, data)

# %% [markdown]
# Measured with the quick suite, the default attack of `oatlib.evaluate`, at every λ and both widths. The attack sees the same
# λ and the same width as the measurement.

# %%
table = oatlib.evaluate(yours, panel, seed=seed, progress=False)
dials = {width: [result for result in table if result.width == width] for width in (1.0, 0.5)}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
ends = [f"{row[-1].clean:.0%} clean and {row[-1].robust:.0%} robust at width {w:g}" for w, row in dials.items()]
curves = {f"{your_name}, width {width:g}": row for width, row in dials.items()}
seen = f"One network, two curves. At λ = 1: {ends[0]}, {ends[1]} (quick suite, upper bounds)."
fig = figures.frontier(curves, takeaway=seen)
for i, (width, row) in enumerate(dials.items()):
    x, y = ([100 * getattr(end, key) for end in (row[0], row[-1])] for key in ("clean", "robust"))
    look = figures.style(i)["line"] | {"dash": ("dot", "longdashdot")[i], "width": 1.5}
    fig.add_scatter(x=x, y=y, name=f"coin between the ends, width {width:g}", mode="lines", line=look)
fig

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
full, half = dials[1.0][-1], dials[0.5][-1]
own_at = [100 * (robust_at([(r.clean, r.robust) for r in row], 0.9) or 0) for row in dials.values()]
own_coin = [100 * (oatlib.coin(row[0], row[-1], 0.9) or 0) for row in dials.values()]
half_bar = 100 * (oatlib.wilson(len(panel) // 2, len(panel))[1] - 0.5)
gaps = [a - b for a, b in zip(own_at, own_coin, strict=True)]
verdict = "So after this short training the dial beats its coin at both widths."
if min(gaps) < half_bar:
    verdict = "So after this short training the dial is **not clearly better than a coin** at "
    verdict += "either width." if max(gaps) < half_bar else "one of its widths."
say(
    f"At λ = 1 your network is robust on {full.robust:.1%} ({full.robust_low:.1%} to {full.robust_high:.1%}) of the images at "
    f"full width and on {half.robust:.1%} ({half.robust_low:.1%} to {half.robust_high:.1%}) at half the width: upper bounds by the "
    f"quick suite, n = {len(panel)} validation images, 95 % intervals, seed {seed}.\n\n"
    "Is the dial worth turning? The **coin** of lesson 05 gives each image to one of the two ends at random. At clean accuracy "
    f"90 % the dial is robust on {own_at[0]:.0f} % at full width and on {own_at[1]:.0f} % at half the width. The coin between its "
    f"ends reaches {own_coin[0]:.0f} % and {own_coin[1]:.0f} %. The 95 % interval is about {half_bar:.0f} points to each side, and more if the error "
    f"of the clean accuracy is counted, too. {verdict}"
)

# %% [markdown]
# ## Together or alone?
#
# The same question as before, now with λ: one network with three widths, against three dials that were trained alone. Each
# alone has the size of one width. Trainings of one recipe can differ much, as lesson 05 showed, so there are three seeds.

# %%
question = "at full width and clean accuracy 90 %: robust accuracy of together minus alone (upper bounds)?"
lesson.predict("together", question, -40, 40, "points")

# %%
recorded = lesson.recorded("slim_dials", widths.slim_dials)


def reached(way, index, clean=0.9):
    """Robust accuracy at a clean accuracy, for each seed; 0 where it is never so accurate."""
    runs = [[(p["clean"], p["robust"]) for p in run[index]] for run in recorded["arms"][way]]
    return [100 * (robust_at(run, clean) or 0) for run in runs]


def coin_of(way, index, clean=0.9):
    """The same for the coin between both ends of that dial."""
    ends = [[(run[index][i]["clean"], run[index][i]["robust"]) for i in (0, -1)] for run in recorded["arms"][way]]
    return [100 * (oatlib.coin(*pair, clean) or 0) for pair in ends]


recorded_n = recorded["arms"]["together"][0][0][0]["n"]
ways = {way: [reached(way, i) for i in range(3)] for way in recorded["arms"]}
coins = {way: [coin_of(way, i) for i in range(3)] for way in recorded["arms"]}
differences = []
for together, by_itself in zip(ways["together"], ways["trained alone"], strict=True):
    differences.append([a - b for a, b in zip(together, by_itself, strict=True)])
middle, low, high = over_seeds(differences[-1])
note = f"the mean of {len(differences[-1])} seeds, 95 % interval {low:+.0f} to {high:+.0f}. So few seeds leave it open."
lesson.reveal("together", middle, note if low < 0 < high else note.split(". So")[0] + ".")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
import plotly.graph_objects as go

fig = go.Figure()
for i, (way, by_width) in enumerate(ways.items()):
    middle = [sum(values) / len(values) for values in by_width]
    fig.add_scatter(
        x=recorded["widths"],
        y=middle,
        name=way,
        mode="lines+markers",
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(values) - m for values, m in zip(by_width, middle, strict=True)],
            "arrayminus": [m - min(values) for values, m in zip(by_width, middle, strict=True)],
        },
        **figures.style(i),
    )
    flipped = [sum(values) / len(values) for values in coins[way]]
    look = figures.style(i)["line"] | {"dash": "dot", "width": 1.5}
    symbol = {"symbol": f"{figures.style(i)['marker']['symbol']}-open", "size": 9}  # hollow: the coin
    name = f"coin between the ends of {way}"
    fig.add_scatter(x=recorded["widths"], y=flipped, name=name, mode="lines+markers", line=look, marker=symbol)
at_full = [sum(by_width[-1]) / len(by_width[-1]) for by_width in ways.values()]
seen = f"At full width: {at_full[0]:.0f} % together, {at_full[1]:.0f} % alone, means of the seeds."
figures.layout(
    fig,
    "width (bars: lowest to highest seed)",
    "robust at clean accuracy 90 %, % (upper bounds)",
    height=380,
    takeaway=seen,
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rows, price_text = "", ""
of_one = 100 * (oatlib.wilson(recorded_n // 2, recorded_n)[1] - 0.5)
of_two = 2**0.5 * of_one  # of the difference of two networks, as if their errors were independent
for i, width in enumerate(recorded["widths"]):
    cells = [spread(of[way][i], 1) for way in ways for of in (ways, coins)]
    rows += f"| {width:g} | {' | '.join(cells)} | {', '.join(f'{v:+.1f}' for v in differences[i])} |\n"
    behind, ahead = sum(d < -of_two for d in differences[i]), sum(d > of_two for d in differences[i])
    if max(max(by_width[i]) for by_width in ways.values()) < 2:
        verdict = "neither is robust. A network of this size did not learn it in this training"
    elif (behind > 0) == (ahead > 0):
        verdict = f"no clear difference (together is behind with {behind} and ahead with {ahead} seeds)"
    else:
        count, side = (behind, "behind") if behind else (ahead, "ahead")
        verdict = f"together is **{side}** by more than {of_two:.0f} points with {count} of {len(differences[i])} seeds"
    price_text += f"* width {width:g}: {verdict}\n"
over = [a - b for way in ways for a, b in zip(ways[way][-1], coins[way][-1], strict=True)]
alone_coin, together_dial = (sum(v) / len(v) for v in (coins["trained alone"][-1], ways["together"][-1]))
cross = f"The coin between the ends of the dial trained *alone* ({alone_coin:.1f} %) is "
cross += (
    "better than the dial trained *together*"
    if alone_coin > together_dial
    else "not better than the dial trained *together*"
)
cross += f" ({together_dial:.1f} %, means)."
say(
    "| width | together, % | its coin | alone, % | its coin | together minus alone, per seed |\n|---|---|---|---|---|---|\n"
    f"{rows}\nRobust accuracy at clean accuracy 90 %: upper bounds by the quick suite, "
    f"n = {recorded_n} validation images, mean (lowest to highest) of the seeds "
    f"{', '.join(map(str, recorded['seeds']))}; {recorded['preset']}. The coin is that between both ends of the dial. The 95 % "
    f"interval of one number is at most {of_one:.1f} points to each side, that of a difference {of_two:.1f}.\n\n{price_text}\n"
    f"At full width each dial minus its own coin is {min(over):+.1f} to {max(over):+.1f} points, over the six trainings. {cross} Training together takes as many "
    "steps as training one network alone, and each step costs the work of all widths. **Three seeds do not settle** how much "
    "robust accuracy that costs. A likely reason why it can cost some: all widths share their weights."
)

# %% [markdown]
# ## What does a width cost?

# %%
lesson.predict("macs", "half of the channels: what share of the multiply-adds is left?")

# %%
fastest = widths.seconds(yours, panel.x)
costs = {width: oatlib.cost(yours, width=width) for width in fastest}
small, large = costs[0.5], costs[1.0]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
parts_of = {
    "channels": 50.0,
    "multiply-adds": 100 * small.macs / large.macs,
    "parameters in use": 100 * small.plain / large.plain,
    "time in this run": 100 * fastest[0.5] / fastest[1.0],
}
figures.bars(
    list(parts_of),
    {"half the width, % of the full width": list(parts_of.values())},
    y_name="% of the full width",
    height=320,
    takeaway=f"Half of the channels leave {parts_of['multiply-adds']:.0f} % of the multiply-adds and "
    f"{parts_of['time in this run']:.0f} % of the time.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
note = "half of the inputs times half of the outputs, but an image always has three channels."
lesson.reveal("macs", parts_of["multiply-adds"], note)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"The shortest of ten forward passes of n = {len(panel)} images took **{parts_of['time in this run']:.0f} %** of the time of the full width, with "
    f"{parts_of['multiply-adds']:.0f} % of the multiply-adds. We did not measure where the rest of the time goes. "
    f"With both dials the network has {large.stored:,} parameters, with the BatchNorms of both widths. Half the width uses "
    f"{small.active:,} of them, FiLM and both BatchNorms included; {small.plain:,} are left when λ is fixed, as the explorer counts. So half the width saves multiply-adds and some time, but **nothing on disk**, as long as you keep both dials."
)

# %% [markdown]
# ## Open exercise: better channels, without training
#
# We kept the *first* channels of `standard`. Which ones would you keep? `pruned.loss(kept, x, y)` gives the mean cross-entropy
# for any choice of channels; the statistics are fresh. `pruned.channels` is (16, 32, 64), and `pruned.weights` holds the weights of the three convs.
#
# ### Exercise: keep_channels
# Difficulty ●●●●○ · 25 minutes. Choose a quarter of the channels of each layer. All answers have the same cost. The check cuts two
# other networks with your function, and measures both on validation images, which your function never sees. At least
# `0.7` of them must be right.


# %% tags=["exercise"]
def keep_channels(pruned, x, y, share):
    """Training images and labels, a share -> a list of three tensors:
    the int(channels * share) different channels to keep of each layer."""
    raise NotImplementedError


# %%
keep_channels = check(keep_channels)

# %% [markdown]
# <details><summary>Hint</summary>
# Large weights are a start, but say nothing about channels that do the same. What does the loss become without one
# channel? Leave out some of the channels whose loss is smallest then, and ask again.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def keep_channels(pruned, x, y, share):
#     kept = [torch.arange(channels) for channels in pruned.channels]
#     for layer in (2, 1, 0):
#         goal = int(pruned.channels[layer] * share)
#         while len(kept[layer]) > goal:
#             losses = []
#             for channel in kept[layer]:
#                 without = list(kept)
#                 without[layer] = kept[layer][kept[layer] != channel]
#                 losses.append(pruned.loss(without, x, y))
#             # leave out up to a quarter of the channels, then ask again
#             count = max(goal, len(kept[layer]) * 3 // 4)
#             most_missed = torch.tensor(losses).topk(count).indices
#             kept[layer] = kept[layer][most_missed.sort().values]
#     return kept
# ```
# </details>

# %%
pruned = widths.Pruned(standard, data)
chosen_from = data.train.panel(min(128, len(data.train)))
kept = keep_channels(pruned, chosen_from.x, chosen_from.y, 0.25)
quarter = {
    "first channels": pruned.accuracy(pruned.first(0.25), panel),
    "your channels": pruned.accuracy(kept, panel),
    "slimmable": means["together, a BatchNorm for each"][0],
    "trained alone": means["trained alone"][0],
}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
# Two simple rivals: channels at random, and those with the largest weights
rng = torch.Generator().manual_seed(seed)
at_random = [torch.randperm(n, generator=rng)[: int(0.25 * n)].sort().values for n in pruned.channels]
sizes = [weight.flatten(1).norm(dim=1) for weight in pruned.weights]
largest = [size.topk(int(0.25 * len(size))).indices.sort().values for size in sizes]
cut_names = ["first channels", "random channels", "largest weights", "your channels"]
quarter |= {"random channels": pruned.accuracy(at_random, panel), "largest weights": pruned.accuracy(largest, panel)}
fig = figures.bars(
    cut_names,
    {
        f"standard, cut, with fresh statistics (bar: 95 % interval, n = {len(panel)})": [
            quarter[name] for name in cut_names
        ]
    },
    n=len(panel),
    y_name="clean accuracy, %",
    height=330,
    takeaway=f"At width 0.25 the first channels reach {quarter['first channels']:.0%}, random ones {quarter['random channels']:.0%}, "
    f"the largest {quarter['largest weights']:.0%}, your choice {quarter['your channels']:.0%}, a network trained alone "
    f"{quarter['trained alone']:.0%}.",
)
trained_for_it = ("slimmable", "together, a BatchNorm for each"), ("trained alone", "trained alone")
for i, (name, arm) in enumerate(trained_for_it, 1):
    at_quarter = [100 * run[0] for run in record["arms"][arm]]
    limits = {"array": [max(at_quarter) - 100 * quarter[name]], "arrayminus": [100 * quarter[name] - min(at_quarter)]}
    error = {"type": "data", "symmetric": False, "color": figures.INK} | limits
    label = f"{name} (mean, lowest and highest of {len(at_quarter)} seeds)"
    fig.add_bar(x=[name], y=[100 * quarter[name]], error_y=error, name=label, marker_color=figures.COLOURS[i])
fig

# %% [markdown]
# The choice of channels repairs a large part. Training for the width repairs more, and costs the same to run.
#
# ## Use it: choose, attack, explore
#
# `oatlib.choose` finds the most robust measured setting within limits. Here: no more multiply-adds than half the width
# needs, and one of two limits for clean accuracy. It chooses on validation images, so measure the choice on *other* images.

# %%
others = data.test.panel(min(256, len(data.test)))
chosen = {}
for least in (0.9, 0.6):
    least = min(least, dials[0.5][0].clean)  # what half the width has at λ = 0
    best = oatlib.choose(table, min_clean=least, max_macs=small.macs)
    setting = {"lams": [best.lam], "widths": [best.width]}
    (again,) = oatlib.evaluate(yours, others, **setting, seed=seed, progress=False)
    chosen[least] = best, again

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.


def both(result):
    clean = f"{result.clean:.1%} ({result.clean_low:.1%} to {result.clean_high:.1%})"
    return f"{clean} | {result.robust:.1%} ({result.robust_low:.1%} to {result.robust_high:.1%})"


rows, first = "", next(iter(chosen.values()))[0]
tossed = oatlib.coin(dials[0.5][0], dials[0.5][-1], first.clean)
for least, (best, again) in chosen.items():
    setting = f"λ = {best.lam:g}, width {best.width:g}"
    rows += f"| clean ≥ {least:.0%} | **{setting}** | {both(best)} | {both(again)} |\n"
say(
    f"At most {small.macs:,} multiply-adds:\n\n"
    f"| limit | chosen | clean, n = {len(panel)} | robust | clean, test images, n = {len(others)} | robust |\n"
    f"|---|---|---|---|---|---|\n{rows}\nRobust: upper bounds by the quick suite. 95 % intervals. The first pair of columns was "
    "used to choose, the second was not. `choose` does not compare with a coin. At the clean accuracy of the first choice "
    f"({first.clean:.1%}), the coin between both ends of half the width is robust on {100 * (tossed or 0):.1f} %."
)

# %% [markdown]
# Attack the width that you measure. Suppose you attack the full width, and show these images to half the width. This is a
# *borrowed* attack: it was made for another network.

# %%
wide, narrow_half = yours.at(1.0, 1.0), yours.at(1.0, 0.5)
pgd_20 = oatlib.PGD(RADIUS, 20)
adversarial, right = {}, {}
for name, f in {"made for width 1": wide, "made for width 0.5": narrow_half}.items():
    adversarial[name] = pgd_20(f, panel.x, panel.y, torch.Generator().manual_seed(seed))
    right[name] = narrow_half(adversarial[name]).argmax(1) == panel.y
survive = {name: hits.double().mean().item() for name, hits in right.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
other_right, own_right = right.values()
flattery = 100 * (survive["made for width 1"] - survive["made for width 0.5"])
low, high = oatlib.wilson(round(survive["made for width 0.5"] * len(panel)), len(panel))
only_own, only_other = int((own_right < other_right).sum()), int((own_right > other_right).sum())
both_counts = only_own + only_other
tail = sum(comb(both_counts, k) for k in range(max(only_own, only_other), both_counts + 1)) / 2**both_counts
chance = min(1.0, 2 * tail)  # sign test, two-sided
say(
    f"At half the width (λ = 1, n = {len(panel)}) {survive['made for width 0.5']:.1%} ({low:.1%} to {high:.1%}) are right under PGD-20 (upper bounds) "
    f"made for it, and {survive['made for width 1']:.1%} under PGD-20 made for the full width: **{flattery:+.1f} points** by the borrowed attack. "
    f"Both attacks meet the same images, so compare image by image: on {only_own} only its own attack finds an error, on {only_other} only the borrowed one. "
    f"If both attacks were equally strong, a split at least so uneven would come by chance with probability {chance:.3f}: "
    f"{'the borrowed attack is weaker' if chance < 0.05 and only_own > only_other else 'so this shows **no difference**'}."
)
rows_of = {"image": panel.x[:4]}
for name, x_adv in adversarial.items():
    rows_of[f"attacked,<br>{name}"] = x_adv[:4]
    rows_of[f"change × 8,<br>{name}"] = figures.change(panel.x, x_adv, 8)[:4]
answers = {"image": captions(data, panel, range(4))}
for name, x_adv in adversarial.items():
    answers[f"attacked,<br>{name}"] = [f"says {data.classes[k]}" for k in narrow_half(x_adv[:4]).argmax(1)]
figures.images(
    rows_of,
    answers,
    tile=84,
    takeaway="Both changes are at most 8/255 and are shown 8 times as large around grey. Below the attacked images: what half the width answers.",
)

# %% [markdown]
# Move λ and the width, and let *choose for me* find a setting. The first network is
# yours; *compare* it with `oats`, a larger network with three widths.

# %%
oats = lesson.network("oats", data)
surfaces = lesson.surfaces({"oats": oats}, data)
nets = {your_name: yours, "oats": oats}
oatlib.explore(nets, data, width=0.5, surfaces=surfaces, hide=["training"])

# %% [markdown]
# Checks that every measurement must pass. Each line must say True:

# %% tags=["nbval-check-output"]
free = oatlib.PGD(0.0, 5)(narrow_half, panel.x, panel.y)
climb = list(oatlib.PGD(0.5, 10).iterates(narrow_half, panel.x, panel.y))
rise = [F.cross_entropy(logits, panel.y).item() for _, logits in climb]
remaining = (climb[-1][1].argmax(1) == panel.y).double().mean().item()
same_answers = torch.equal(narrow_half(free).argmax(1), narrow_half(panel.x).argmax(1))
before = yours.at(0.3, 0.5)(panel.x)
with torch.no_grad():
    yours.body.units[1].conv.weight[16:] += 1  # channels that half the width does not have
unseen = torch.equal(yours.at(0.3, 0.5)(panel.x), before)
whole = widths.right(standard, panel)
print("the cut network at full width is the whole one:", left[-1] == whole)
print("half the width does not see the other channels:", unseen)
print("an attack with ε = 0 changes no answer:", same_answers)
print("with ε = 0.5 the loss rises:", rise[-1] > rise[0])
print("and hardly any answer is right:", remaining < 0.15)
with torch.no_grad():
    yours.body.units[1].conv.weight[16:] -= 1

# %% [markdown]
# > **Pitfalls**
# > * *Borrowing statistics*: a width with the BatchNorm of another is a network that was never trained.
# > * *Borrowing attacks*: attack the width that you report.
# > * *Clearing gradients between the widths*: then only the last width, the narrowest, is trained.
# > * *Finding a BatchNorm by its number of channels*: two widths can have equally many. Use the index of the width.
# > * *Forgetting the controls*: compare with a network of that size that was trained alone, and with a coin.
# > * *Reporting multiply-adds as time*: measure the time where it matters.
# > * *Choosing and reporting on the same images*: the best of many settings is partly luck.

# %% [markdown]
# ## What we showed, and what we did not show
#
# A network that is cut by hand fails. Fresh statistics and a good choice of channels repair a part, without training. Training all
# widths together, with a BatchNorm for each, gives one network of several sizes. On clean images it is as accurate as networks
# trained alone, but so easy a task hides a price. In robustness the full width lost with some seeds, and the gap differs much from seed to
# seed. All robust accuracies are upper bounds.
#
# **What we did not show:**
#
# * that your dial, after its short training, beats a coin
# * whether robust accuracy needs a BatchNorm for each width: the arms without it were trained on clean images only
# * how large the price of sharing is for longer training, for photographs or for large networks
# * that the channels of other networks agree, or that the time of large layers falls in the same way
#
# ## Try this
#
# * Train a second network with `widths=(0.25, 1.0)`. What does the full width lose?
# * Give half the width the BatchNorms of the full one (first channels). What is left?
# * Train `us-snn`, and add a width with `oatlib.calibrate(net, data, [0.3, 0.6])`. It was trained for any width.
#
# ## Sources
#
# * Yu et al. 2019, *Slimmable Neural Networks* (a BatchNorm for every width)
# * Yu and Huang 2019, *Universally Slimmable Networks and Improved Training Techniques* (any width, statistics afterwards)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free* (OAT, OATS)
# * Li et al. 2017, *Pruning Filters for Efficient ConvNets* (which channels to keep)
#
# **Next:** [07 · Switchable heads](07_switchable_heads.ipynb): the widths share their output layer. Should they?

# %%
lesson.finish(
    cut=left,
    fresh_statistics=mended,
    agreement=agreed,
    clean={name: [round(v, 3) for v in values] for name, values in means.items()},
    yours=table,
    together_minus_alone=differences,
    chosen={f"{least:.2f}": [best.lam, best.width] for least, (best, _) in chosen.items()},
    quarter=quarter,
    borrowed_attack=survive,
)
