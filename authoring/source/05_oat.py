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
# # 05 · Can one network be trained for every λ at once?
#
# **You will be able to**
#
# * mix the clean and the attacked loss with a λ for every image, and say why the network must be told λ
# * draw λ as published, assemble a whole training step of OAT, and show that it is the library's
# * compare one network fairly with six dedicated ones and with a coin: at the same clean accuracy, and by cost
# * turn the dial between trained λ, say what is interpolated there, and give a slider equal steps
#
# **Before this:** [04 · FiLM](04_film.ipynb) · **Run time:** about 50 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 128  # 32 to 512: validation images that are measured and attacked
epochs: int = 4  # 1 to 30: of the small trainings here, and of the network where no ready one fits
seed: int = 0  # 0 to 9999: of data, weights, draws of λ and attacks
retrain: bool = False  # train the large network here, too, instead of loading it
recompute: bool = False  # train the ten networks again (10 minutes), do not read records

# %%
import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import PGD, Preset, Suite
from oatlib.attacks import robust_accuracy
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.evaluation.baselines import robust_at
from oatlib.evaluation.slider import equal_steps
from oatlib.explorer import open_files
from oatlib.training.labels import Labels
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.losses import hybrid
from oatlib.training.recipes import OAT_STOPS, sample_stops
from oatlib.training.step import train_step

lesson = begin("05_oat", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
small = {"size": 12, "classes": 3} if data_set == "shapes" else {}  # quick to learn
world = oatlib.load_data(data_set, seed=seed, n_train=1024, **small)
RADIUS = 8 / 255  # of every attack on images below
SMALL = Preset(epochs=epochs, batch=64)  # how the small networks are trained

# %% [markdown]
# ## The failure
#
# With FiLM, λ is an *input* of the network: it becomes a scale and a shift for every channel. But an input that never
# changes in training teaches nothing. Here is the network of lesson 04, with dual BatchNorm and FiLM for the six
# published λ (its **stops**: 0, 0.1, 0.2, 0.3, 0.4 and 1). It is small, and trained for seconds, at λ = 1 only.


# %%
def library_step(net, x, y, stop, n_clean, attack, generator):
    """A training step of the library. It counts the images with λ = 0 by itself."""
    return train_step(net, LambdaBatch(x, y, stop, net.spec.stops), attack, generator)


def practise(draw, take=library_step):
    """Train a small network, yielding it after each step; draw(stops, n, generator) as `draw_stops` further below."""
    preset, images = SMALL, world.train
    fresh, generator = oatlib.build("oat", world, seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        fresh.parameters(), preset.lr, preset.momentum, weight_decay=preset.weight_decay, nesterov=True
    )
    total = epochs * (len(images) // preset.batch)
    for taken in range(total):
        done = taken / total
        index = torch.randint(len(images), (preset.batch,), generator=generator)
        stop, n_clean = draw(fresh.spec.stops, preset.batch, generator)
        optimizer.param_groups[0]["lr"] = preset.learning_rate(done, epoch=0)
        optimizer.zero_grad()
        take(fresh, images.x[index], images.y[index], stop, n_clean, preset.attack(done), generator)
        nn.utils.clip_grad_norm_(fresh.parameters(), preset.clip)
        optimizer.step()
        yield taken + 1, fresh


def measured(net, lams, split, steps=10):
    """Clean and robust accuracy of a network with a dial, at some λ, under PGD; each point says its n."""
    points = []
    for lam in lams:
        f, generator = net.at(lam), torch.Generator().manual_seed(seed)
        clean = (f(split.x).argmax(1) == split.y).double().mean().item()
        robust = robust_accuracy(f, split.x, split.y, PGD(RADIUS, steps), generator)
        points.append({"lam": lam, "n": len(split), "clean": clean, "robust": robust})
    return points


# %%
lesson.predict(
    "stuck", "you turn it from λ = 1 to λ = 0.1, for more clean accuracy: how much do you gain?", -50, 50, "points"
)


# %%
def only_robust(stops, n, generator):
    """λ = 1 for every image."""
    return torch.full((n,), len(stops) - 1), 0


def band(points, key):
    """A column of measured points in percent, with its 95 % interval."""
    spread = [oatlib.wilson(round(p[key] * p["n"]), p["n"]) for p in points]
    return tuple([100 * v for v in column] for column in ([p[key] for p in points], *zip(*spread, strict=True)))


*_, (_, stuck) = practise(only_robust)
few = world.val.panel(min(n, 96))
fixed = measured(stuck, OAT_STOPS, few, steps=5)
curves = {"clean accuracy": band(fixed, "clean"), "robust accuracy, PGD-5": band(fixed, "robust")}
figures.lines(OAT_STOPS, curves, x_name=f"λ (n = {len(few)}, with 95 % intervals)", y_name="accuracy, %")

# %%
gain = fixed[1]["clean"] - fixed[-1]["clean"]
lesson.reveal("stuck", 100 * gain, "FiLM is there, but no image has ever asked it for another λ.")

# %%
moves = [p["clean"] for p in fixed[1:]]
say(
    f"From λ = 0.1 to λ = 1 clean accuracy stays within {100 * (max(moves) - min(moves)):.1f} points: nobody has "
    f"taught the dial what to do. At λ = 0 it is {fixed[0]['clean']:.1%} (guessing gives {1 / len(world.classes):.1%}): there the BatchNorm "
    "for clean images takes over, and no image has ever passed it."
)

# %% [markdown]
# ## Small enough to draw: two pixels, one of them treacherous
#
# Each point is an image of two pixels. The first pixel shows the class loudly, but lies in some of the images. The
# second one is nearly always right, but so faintly that an attacker who moves every pixel by ε can repaint it. A
# linear classifier has two weights and a bias; its border is a line. And its worst attack is known exactly: each
# pixel moves by ε against the sign of its weight, which costs a margin of ε·(|w₁| + |w₂|).
#
# Let a tiny network turn λ into weights and bias, and train it on (1-λ)·clean + λ·attacked loss. Move λ. Then compare
# three ways to train: λ = 1 always; λ drawn for each image, but hidden from the network; λ drawn, and told.

# %%
STOPS, EPS = torch.tensor(OAT_STOPS), 0.1
UNIT = torch.tensor([10.0, 40.0, 10.0])  # the second pixel varies less, so its weight counts in larger units
random = torch.Generator().manual_seed(seed)
side = torch.arange(512) % 2 * 2 - 1  # the class: -1 or 1
loud = torch.where(torch.rand(512, generator=random) < 0.85, side, -side)
points = torch.stack([0.25 * loud, 0.06 * side], 1) + torch.randn(512, 2, generator=random) * torch.tensor([0.06, 0.02])


class Told(nn.Module):
    """λ (N,) -> two weights and a bias for every image, (N, 3)."""

    def __init__(self, told=True):
        super().__init__()
        self.told, self.layers = told, nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 3))

    def forward(self, lam):
        return UNIT * self.layers(5 * self.told * lam[:, None])


# %%
def mixed(weights, lam):
    """(1-λ)·clean + λ·attacked loss of every point; the attack is exact."""
    margin = side * ((weights[:, :2] * points).sum(1) + weights[:, 2])
    hit = margin - EPS * weights[:, :2].abs().sum(1)
    return (1 - lam) * F.softplus(-margin) + lam * F.softplus(-hit), margin > 0, hit > 0


def learned(make, draw, steps=200):
    """Train a toy; draw(generator) gives the λ of every point."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        toy, generator = make(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(toy.parameters(), 0.03)
    for _ in range(steps):
        lam = draw(generator)
        optimizer.zero_grad()
        mixed(toy(lam), lam)[0].mean().backward()
        optimizer.step()
    return toy.requires_grad_(False)


def any_stop(generator, count=512):
    return STOPS[torch.randint(6, (count,), generator=generator)]


toys = {
    "λ = 1 always": learned(Told, lambda _: torch.ones(512)),
    "drawn, hidden": learned(lambda: Told(told=False), any_stop),
    "drawn, told": learned(Told, any_stop),
}


def trade(toy, lam):
    """Clean and robust accuracy of a toy at one λ, in percent."""
    lam = torch.full((512,), float(lam))
    return [100 * right.float().mean().item() for right in mixed(toy(lam), lam)[1:]]


ways = {name: [trade(toy, i / 20) for i in range(21)] for name, toy in toys.items()}
apart = [trade(learned(Told, lambda _, lam=lam: torch.full((512,), lam)), lam) for lam in OAT_STOPS]  # six dedicated


# %%
def border(lam, training):
    """The plane with the border at one λ, and where that lies between clean and robust."""
    weights, place = toys[training](torch.tensor([lam]))[0], trade(toys[training], lam)
    w = weights[:2]
    foot = -weights[2] * w / w.square().sum()  # the point of the border that is nearest to (0, 0)
    line = foot + torch.tensor([[-1.0], [1.0]]) * torch.stack([-w[1], w[0]]) / w.norm()
    fig = make_subplots(1, 2, horizontal_spacing=0.14)
    for i, name in enumerate(("class A", "class B")):
        at, look = points[side == 2 * i - 1], figures.style(i)["marker"] | {"size": 5}
        fig.add_scatter(x=at[:, 0], y=at[:, 1], name=name, mode="markers", marker=look, row=1, col=1)
    ink = {"color": figures.INK, "width": 3}
    fig.add_scatter(x=line[:, 0], y=line[:, 1], name="border", mode="lines", line=ink, row=1, col=1)
    fig.add_shape(type="rect", x0=-EPS, x1=EPS, y0=-EPS, y1=EPS, line=ink | {"width": 1, "dash": "dot"}, row=1, col=1)
    traces = {"six dedicated": (apart, "markers", 2), "all λ of this one": (ways[training], "lines+markers", 3)}
    for name, (way, mode, i) in traces.items():
        clean, robust = zip(*way, strict=True)
        fig.add_scatter(x=clean, y=robust, name=name, mode=mode, row=1, col=2, **figures.style(i))
    star = {"size": 16, "symbol": "star", "color": figures.COLOURS[1]}
    fig.add_scatter(x=place[:1], y=place[1:], name="this λ", mode="markers", marker=star, row=1, col=2)
    figures.layout(fig, "first pixel", "second pixel", height=420)
    fig.update_xaxes(range=[-0.5, 0.5], row=1, col=1).update_yaxes(range=[-0.2, 0.2], row=1, col=1)
    fig.update_xaxes(title_text="clean accuracy, %", range=[45, 103], row=1, col=2)
    fig.update_yaxes(title_text="robust accuracy, %", range=[-3, 103], row=1, col=2)
    return fig, f"{training}, λ = {lam:.2f}: clean {place[0]:.1f} %, robust {place[1]:.1f} % of 512 points"


names = {"lam": "λ", "training": "trained with"}
sliders(
    border, lam=(0.0, 1.0, 0.05), training=list(toys), labels=names, start_at={"lam": 0.2, "training": "drawn, told"}
)

# %% [markdown]
# The dotted square is the ball of the attacker. Why does drawing help? Each image of a batch asks for one λ, so a
# step is a small step for **all** settings at once: in the mean over many draws, the loss is the mean of the six
# losses. A network that is told λ can lower each of them for itself. One to which λ is hidden cannot: the loss is a
# straight line in λ, so what it minimises is the loss at the *mean* λ. And why a λ for each image, not one for each
# batch? Look at the gradients.

# %%
told, draws = copy.deepcopy(toys["drawn, told"]).requires_grad_(), torch.Generator().manual_seed(seed)


def gradient(count):
    """The gradient of the toy's loss, as one row; count=1 draws one λ for all points, count=512 one for each."""
    lam = any_stop(draws, count).expand(512)
    loss = mixed(told(lam), lam)[0].mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(told.parameters()))])


scatter = [torch.stack([gradient(count) for _ in range(60)]).std(0).norm().item() for count in (1, 512)]
hidden = trade(toys["drawn, hidden"], 0)
say(
    f"Over 60 draws the gradient scatters {scatter[0] / scatter[1]:.0f} times as far with one λ per batch as with one per image. "
    f"The network that is told nothing has clean {hidden[0]:.1f} % and robust {hidden[1]:.1f} % at every λ: one compromise, "
    f"for the mean λ of {STOPS.mean():.2f} (512 points, exact attack)."
)

# %% [markdown]
# ## Build it: the loss
#
# Four images by hand. An image with λ = 0 gives its attacked loss no weight, so why attack it at all? The published
# order puts the images with λ = 0 **first**, counts them (`n_clean`), and attacks only the rest.

# %%
lam4, calm, hit = [0.0, 0.1, 0.4, 1.0], [0.5, 0.5, 1.0, 1.5], [None, 3.0, 2.0, 1.7]
rows = [(a, b, c, (1 - a) * b + (a * c if c else 0)) for a, b, c in zip(lam4, calm, hit, strict=True)]
cells = "\n".join(f"| {a:g} | {b:.1f} | {c or 'not attacked'} | {m:.2f} |" for a, b, c, m in rows)
say(
    "| λ | clean loss | attacked loss | (1-λ)·clean + λ·attacked |\n|---|---|---|---|\n"
    + f"{cells}\n\nThe loss of the batch is their mean, over all four: {sum(r[-1] for r in rows) / 4:.3f}"
)

# %% [markdown]
# ### Exercise: hybrid_loss
# Difficulty ●●○○○ · 6 minutes. The same for logits. `attacked` has `n_clean` rows fewer than `clean`.


# %% tags=["exercise"]
def hybrid_loss(clean, attacked, y, lam, n_clean):
    """clean (N, classes), attacked (N - n_clean, classes), y (N,), lam
    (N,) -> one number: the mean over all N images."""
    raise NotImplementedError  # your code instead of this line


# %%
hybrid_loss = check(hybrid_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.cross_entropy(..., reduction="none")</code> gives a loss for each image. The attacked images belong to
# <code>y[n_clean:]</code> and <code>lam[n_clean:]</code>. Add two sums, and divide once, by N.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def hybrid_loss(clean, attacked, y, lam, n_clean):
#     calm = F.cross_entropy(clean, y, reduction="none")
#     hit = F.cross_entropy(attacked, y[n_clean:], reduction="none")
#     return (((1 - lam) * calm).sum() + (lam[n_clean:] * hit).sum()) / len(y)
# ```
# </details>

# %% [markdown]
# ### Exercise: draw_stops
# Difficulty ●●○○○ · 6 minutes. Which λ does each image of a batch get? As published: of n images the first n/S,
# rounded up, get λ = 0, where S is the number of stops. Every other image draws one of the other stops, each equally
# likely.


# %% tags=["exercise"]
def draw_stops(stops, n, generator):
    """The index of each image's λ in `stops`, a tensor (n,) of whole
    numbers, and how many zeros lead it; stops[0] = 0."""
    raise NotImplementedError


# %%
draw_stops = check(draw_stops)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>math.ceil</code>, <code>torch.zeros(...).long()</code>, <code>torch.randint(low, high, (count,), generator=...)</code>, where
# <code>high</code> itself never comes, and <code>torch.cat</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def draw_stops(stops, n, generator):
#     n_clean = math.ceil(n / len(stops))
#     rest = torch.randint(1, len(stops), (n - n_clean,), generator=generator)
#     return torch.cat([torch.zeros(n_clean).long(), rest]), n_clean
# ```
# </details>

# %% [markdown]
# ## One whole step
#
# Now everything that you have built fits together. **Who is attacked:** images with λ > 0, each by an attacker who
# sees the network at the λ of that image (lesson 01; `net.bind` fixes one λ for each image). **Which BatchNorm:** the
# clean one for λ = 0, the adversarial one for all others, be they attacked or not (lesson 03). **What FiLM does:**
# the scale and shift of each image's own λ (lesson 04). **What is lowered:** the mixed loss (lesson 02, now with a λ
# for every image).


# %%
def oat_step(net, x, y, stop, n_clean, attack, generator):
    """The gradients of one batch; returns the loss."""
    lam = torch.tensor(net.spec.stops)[stop]
    attacked = attack(net.bind(lam[n_clean:]), x[n_clean:], y[n_clean:], generator)
    net.train()  # BatchNorm learns from both passes, first from the images as they are
    clean, hard = net(x, lam), net(attacked, lam[n_clean:])
    net.eval()
    loss = hybrid_loss(clean, hard, y, lam, n_clean)
    loss.backward()
    return loss.detach()


# %% tags=["nbval-check-output"]
batch, labels = world.train.x[:24], world.train.y[:24]


def again():
    return torch.Generator().manual_seed(seed)


(drawn, front), (stop, n_clean) = (draw(OAT_STOPS, 24, again()) for draw in (draw_stops, sample_stops))
print("draw_stops is oatlib.training.recipes.sample_stops:", torch.equal(drawn, stop) and front == n_clean)
lam, logits = torch.tensor(OAT_STOPS)[stop], torch.randn(24, 10, generator=again())
losses = (
    hybrid_loss(logits, -logits[n_clean:], labels, lam, n_clean),
    hybrid(logits, -logits[n_clean:], Labels(labels, lam, n_clean)),
)
print("hybrid_loss is oatlib.training.losses.hybrid:", torch.allclose(*losses))
mine, theirs = (oatlib.build("oat", world, seed=seed) for _ in range(2))
losses = [
    take(net, batch, labels, stop, n_clean, Preset().attack(), again())
    for take, net in ((oat_step, mine), (library_step, theirs))
]
print("the step is oatlib's, the loss:", torch.allclose(*losses, atol=1e-5))
alike = [torch.allclose(a.grad, b.grad, atol=1e-4) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True)]
print("... every gradient:", all(alike))
alike = [torch.allclose(a, b, atol=1e-4) for a, b in zip(mine.buffers(), theirs.buffers(), strict=True)]
print("... and what BatchNorm has learned:", all(alike))

# %% [markdown]
# The library sends both kinds of images through the network in one go, which is faster. Everything else that it has
# (a schedule, a watch on validation images, checkpoints) is around this step: `oatlib.train(oatlib.build("oat",
# data), data)`.
#
# ## Ablation: the same training, with λ drawn
#
# The small network again: the same weights at the start, the same number of steps, the same seed. Only the draw
# differs. Move the slider and watch a frontier being born.

# %%
total = epochs * (len(world.train) // SMALL.batch)
looks = sorted({max(1, round(total * part)) for part in (0.2, 0.4, 0.7, 1)})
born = {k: measured(net, OAT_STOPS, few, 5) for k, net in practise(draw_stops, oat_step) if k in looks}


def birth(taken):
    """The frontier after so many steps, beside the network that knows λ = 1 only."""
    fig = figures.frontier({"λ drawn for each image": born[taken], "λ = 1 always, at the end": fixed}, height=430)
    fig.update_layout(width=760).update_xaxes(range=[0, 103]).update_yaxes(range=[-3, 100])
    return fig, f"PGD-5, n = {len(few)}, one seed"


sliders(birth, taken=looks, labels={"taken": "training steps"}, start_at={"taken": looks[-1]})

# %%
ends = born[looks[-1]]
say(
    f"After {total} steps the dial reaches from clean {ends[0]['clean']:.1%}, robust {ends[0]['robust']:.1%} at λ = 0 to clean "
    f"{ends[-1]['clean']:.1%}, robust {ends[-1]['robust']:.1%} at λ = 1 (n = {len(few)}). Trained at λ = 1 alone the same "
    f"network is robust on {fixed[-1]['robust']:.1%} there; all of its images serve that one setting, where here they serve six."
)

# %% [markdown]
# ## The claim: one network instead of six
#
# The honest competitor of a dial is a **dedicated** network for each of its settings, trained like lesson 02 at one
# λ. And there is a cheap one: train an accurate network and a robust one, and toss a **coin** for each image. With
# probability p the robust network answers. Clean and robust accuracy of the coin lie on the straight line between the
# two networks. A dial that is not above this line is not worth training.
#
# ### Exercise: coin
# Difficulty ●●○○○ · 6 minutes. Choose p so that clean accuracy is at least `clean`, and robust accuracy is as high as
# possible.


# %% tags=["exercise"]
def coin(standard, robust, clean):
    """(clean, robust) of the more accurate and of the more robust network
    -> robust accuracy of the coin; None: no p does it."""
    raise NotImplementedError


# %%
coin = check(coin)

# %% [markdown]
# <details><summary>Hint</summary>
# Clean accuracy is (1 - p)·c₀ + p·c₁. Solve it for p. If both networks are accurate enough, p = 1; if neither is, there
# is no p.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def coin(standard, robust, clean):
#     (c0, r0), (c1, r1) = standard, robust
#     if clean > c0:
#         return None
#     if clean <= c1:
#         return r1
#     p = (c0 - clean) / (c0 - c1)
#     return (1 - p) * r0 + p * r1
# ```
# </details>

# %%
lesson.predict(
    "six", "at clean accuracy 95 %, how robust is one OAT network, the six dedicated networks being 100 %?", 0, 200
)


# %%
def for_the_record(recipe, lams=None, **options):
    """Train as oatlib does by default (data and seed included): points on 512 validation images."""
    home = oatlib.load_data("shapes", seed=0)
    fresh = oatlib.build(recipe, home, seed=0, **options)
    oatlib.train(fresh, home, "fast", seed=0, progress=False)
    table = oatlib.evaluate(fresh, home.val.panel(512), Suite(budget="quick"), lams, seed=0, progress=False)
    kept = ("lam", "n", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high")
    return [{key: getattr(r, key) for key in kept} for r in table]


def six_dedicated():
    """One OAT network, and a dedicated network for each of its λ."""
    six = [for_the_record("pgd-at", lam=lam)[0] if lam else for_the_record("standard")[0] for lam in OAT_STOPS]
    six = [point | {"lam": lam} for point, lam in zip(six, OAT_STOPS, strict=True)]
    about = {"attack": str(Suite(budget="quick")), "split": "val", "seed": 0, "preset": "fast"}
    return {"oat": for_the_record("oat"), "six": six, **about}


record = lesson.recorded("six_dedicated", six_dedicated)
pairs = {key: [(p["clean"], p["robust"]) for p in record[key]] for key in ("oat", "six")}
outer = pairs["six"][0], pairs["six"][-1]
fig = figures.frontier({"six dedicated networks": record["six"], "one OAT network": record["oat"]})
dotted = {"color": figures.INK, "dash": "dot", "width": 2}
x_line, y_line = ([100 * accuracies[i] for accuracies in outer] for i in (0, 1))
fig.add_scatter(x=x_line, y=y_line, name="coin between λ = 0 and λ = 1", mode="lines", line=dotted)

# %%
LEVELS = (0.98, 0.95, 0.9)  # of clean accuracy
reached = {key: [robust_at(pairs[key], level) for level in LEVELS] for key in ("oat", "six")}
reached["coin"] = [coin(*outer, level) for level in LEVELS]
share = reached["oat"][1] / reached["six"][1]
lesson.reveal("six", 100 * share, "the same λ does not mean the same place: compare frontiers, not λ by λ.")

# %%
preset = Preset()
rest = preset.batch - sample_stops(OAT_STOPS, preset.batch, torch.Generator())[1]
once = preset.batch + rest * (preset.steps + 1)  # images through the network, forward and back, in one step
each = [preset.batch + (lam > 0) * preset.batch * (preset.steps + 1) for lam in OAT_STOPS]
cost = once / sum(each)
holds = ["{robust:.1%} ({robust_low:.1%} to {robust_high:.1%})".format(**record[key][-1]) for key in ("oat", "six")]
keys = {"one OAT network": "oat", "six dedicated networks": "six", "a coin between λ = 0 and λ = 1": "coin"}
cells = "\n".join(
    f"| {name} | " + " | ".join("-" if v is None else f"{v:.1%}" for v in reached[key]) + " |"
    for name, key in keys.items()
)
say(
    "| robust accuracy at clean accuracy of at least | 98 % | 95 % | 90 % |\n|---|---|---|---|\n"
    f"{cells}\n\nBuilt-in world, n = {record['oat'][0]['n']} validation images, {record['attack']}, seed {record['seed']}; "
    "between two trained λ both accuracies are interpolated. Counted in images through the network, forward and back, a step "
    f"of OAT needs {once} instead of {sum(each)}: **{cost:.2f}** of the work. FiLM makes each image more expensive.\n\n"
    f"At λ = 1 OAT is robust on {holds[0]} of the images, the dedicated network on {holds[1]} (95 % intervals). "
    "This is one seed; other seeds may differ by a few points."
)

# %% [markdown]
# ## A dial, not a list
#
# Six networks are six points. The dial also has a between: `net.at(λ)` takes any λ. Here are 21 values on the
# ready network, with the six trained ones as dotted lines.

# %%
oat = lesson.network("oat", data)
lams = [i / 20 for i in range(21)]
dial = measured(oat, lams, panel)
curves = {"clean accuracy": band(dial, "clean"), "robust accuracy, PGD-10 (an upper bound)": band(dial, "robust")}
fig = figures.lines(lams, curves, x_name=f"λ (n = {len(panel)}, with 95 % intervals)", y_name="accuracy, %")
for lam in OAT_STOPS:
    fig.add_vline(lam, line={"dash": "dot", "width": 1, "color": figures.INK})
fig

# %%
rises = max(b["clean"] - a["clean"] for a, b in pairwise(dial))
falls = max(a["robust"] - b["robust"] for a, b in pairwise(dial))
say(
    f"From one value to the next clean accuracy rises by at most {100 * max(rises, 0):.1f} points, and robust accuracy falls by at "
    f"most {100 * max(falls, 0):.1f} (one image is {100 / len(panel):.1f} points)."
)

# %% [markdown]
# What is λ = 0.05? No code of FiLM was ever made for it. `net.at` **folds** BatchNorm and FiLM into the weights of
# the convolutions, so that every trained λ is a plain network of the same shape, and between two of them it
# interpolates those weights. That also bridges the jump. By the published rule λ = 0 uses the clean BatchNorm and any
# λ above it the adversarial one, so even the smallest turn swaps all statistics at once. Below, the rule is kept and
# only FiLM is interpolated.

# %%
switched = copy.deepcopy(oat)
switched.branches = torch.ones_like(oat.branches)  # the adversarial BatchNorm at every stop
near = [i / 50 for i in range(7)]


def clean_share(net, lam):
    """Clean accuracy at one λ, on all validation images."""
    with torch.no_grad():
        return {"n": len(data.val), "clean": (net.at(lam)(data.val.x).argmax(1) == data.val.y).float().mean().item()}


blended = [clean_share(oat, lam) for lam in near]
jumps = [blended[0], *(clean_share(switched, lam) for lam in near[1:])]
curves = {"weights interpolated": band(blended, "clean"), "BatchNorm switched at 0": band(jumps, "clean")}
figures.lines(near, curves, x_name=f"λ (n = {len(data.val)}, with 95 % intervals)", y_name="clean accuracy, %")

# %% tags=["nbval-check-output"]
left, middle, right = (dict(oat.at(lam).named_buffers()) for lam in (0.0, 0.05, 0.1))
half = [torch.allclose(middle[key], (left[key] + right[key]) / 2, atol=1e-5) for key in middle]
print("half-way between two trained λ, every folded weight is half-way:", all(half))
with torch.no_grad():
    same = torch.allclose(oat.at(0.3)(panel.x), oat(panel.x, 0.3), atol=1e-3)
print("at a trained λ, the folded network is the trained one:", same)
f = oat.at(0.5)
free = (f(PGD(0.0, 5)(f, panel.x, panel.y)).argmax(1) == panel.y).sum().item()
climb = list(PGD(0.5, 10).iterates(f, panel.x, panel.y))
fall = [F.cross_entropy(logits, panel.y).item() for _, logits in climb]
print("an attack with ε = 0 leaves clean accuracy:", free == round(dial[10]["clean"] * len(panel)))
print("with ε = 0.5 the loss rises along the way:", fall[-1] > fall[0])
rest = (climb[-1][1].argmax(1) == panel.y).sum().item()
print("... and less than a quarter of the accuracy is left:", rest < free / 4)
print("from λ to λ, clean never rises and robust never falls by more than 2 points:", max(rises, falls) <= 0.02)

# %% [markdown]
# ### A slider with equal steps
#
# λ is a weight in a loss, not a distance, so equal steps of λ are unequal steps along the frontier. `equal_steps` fits a map
# from slider positions to λ to what was just measured (`oatlib.fit_slider` measures and fits in one call, and saves it
# with the weights; then `net.lam(u)` is λ at slider position u). The bars are new measurements at the map's λ, not
# what it was fitted to.

# %%
fitted = copy.deepcopy(oat)
fitted.slider = equal_steps(lams, [p["clean"] for p in dial], [p["robust"] for p in dial])
fifths = [i / 5 for i in range(6)]
inner = measured(oat, [fitted.lam(u) for u in fifths[1:-1]], panel)
by_lam, by_slider = dial[::4], [dial[0], *inner, dial[-1]]


def fractions(points):
    """Of the whole way along the frontier (robust gained, clean lost), what each move makes, in percent."""
    way = [p["robust"] - p["clean"] for p in points]
    return [100 * (b - a) / max(way[-1] - way[0], 1e-9) for a, b in pairwise(way)]


fifth = [f"{a:g} to {b:g}" for a, b in pairwise(fifths)]
shown = {"λ itself": fractions(by_lam), "fitted slider": fractions(by_slider)}
figures.bars(fifth, shown, x_name="position of the slider", y_name="share of the way, %", height=320)

# %%
say(
    f"The largest of five equal moves makes {max(shown['λ itself']):.0f} % of the way if the slider is λ, and "
    f"{max(shown['fitted slider']):.0f} % if it is fitted. Half-way along stands λ = {fitted.lam(0.5):.2f}. (n = {len(panel)}.)"
)

# %% [markdown]
# ## Ablation: what is each part for?
#
# The whole recipe, without FiLM, with one BatchNorm for all, and without both: the same preset, the same seed, 21
# values of λ each. One seed is one seed.

# %%
lesson.predict(
    "part",
    "which of these loses most robust accuracy at λ = 1?",
    options=["no FiLM", "one BatchNorm", "neither of the two"],
)


# %%
def oat_parts():
    """OAT as a whole and with parts left out, at 21 values of λ."""
    arms = {"all of OAT": {}, "no FiLM": {"film": False}, "one BatchNorm": {"dual": False}}
    arms["neither of the two"] = {"film": False, "dual": False}
    dials = {name: for_the_record("oat", [i / 20 for i in range(21)], **options) for name, options in arms.items()}
    return {"arms": dials, "attack": str(Suite(budget="quick")), "split": "val", "seed": 0, "preset": "fast"}


parts = lesson.recorded("oat_parts", oat_parts)
stops_only = {name: [p for p in points if p["lam"] in OAT_STOPS] for name, points in parts["arms"].items()}
figures.frontier(stops_only)

# %%
at_one = {name: points[-1]["robust"] for name, points in stops_only.items() if name != "all of OAT"}
worst = min(at_one, key=at_one.get)
lesson.reveal("part", worst, "without FiLM, every λ above 0 is one and the same network.")

# %%
lines = "\n".join(
    f"| {name} | {points[0]['clean']:.1%} / {points[0]['robust']:.1%} | {points[-1]['clean']:.1%} / {points[-1]['robust']:.1%} |"
    for name, points in stops_only.items()
)
made = "**This record was made in the first world of oatlib:** the same trust in every shape, and training against "
made += "an attack of two steps. Compare its numbers with each other, not with those above. PGD-20 is an upper bound, "
made += "and in the middle of the dial it is far too high. "
say(
    f"| | clean / robust at λ = 0 | at λ = 1 |\n|---|---|---|\n{lines}\n\n{made if 'world' in parts else ''}"
    f"n = {parts['arms']['no FiLM'][0]['n']}, {parts['attack']}, validation images, seed {parts['seed']}; the six trained λ."
)

# %% [markdown]
# Read both ends. FiLM is what tells one λ above 0 from another. The second BatchNorm is what
# gives the clean end: with one for all, clean images are normalised with the statistics of attacked ones, even at λ =
# 0. Without both, λ is not an input at all, and you get the one compromise that the toy has shown.

# %% [markdown]
# ## Your turn, on the real thing
#
# The marks are dedicated networks, one for each λ (where the images are the built-in ones of seed 0). *Compare* with
# `blend` of lesson 04, which has two BatchNorms and no FiLM, and was trained at λ = 0 and λ = 1 only. Open *train one here*
# to watch a whole training; it takes a minute or more, and can be paused.

# %%
both = {"oat": oat, "blend": lesson.network("blend", data)}
known, hidden = lesson.surfaces(both, data), ["choose", "width", "price"]
oatlib.explore(both, data, marks=open_files.marks(data), surfaces=known, hide=hidden)

# %% [markdown]
# > **Pitfalls**
# > * *Attacking with another λ, or through the other BatchNorm, than is measured*: such an attack is weaker, and robustness looks better than it is.
# > * *Attacking in training mode*: BatchNorm would learn from the steps of the attack.
# > * *Images with λ = 0 not in front*: then `attacked` and `y[n_clean:]` do not belong together. Cutting a batch into parts for several GPUs does that.
# > * *A last, smaller batch*: count its images with λ = 0 again, or drop it.
# > * *Random codes of λ that are not saved with the weights*: the network is then told nonsense.
# > * *Comparing λ by λ*: the same λ stands elsewhere on another frontier.
# > * *Trusting PGD alone*: what it leaves is an upper bound of robust accuracy; lesson 10 finds out how far it is off.
# > * *Choosing λ on test images*: choose on validation images, report on test images.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that λ becomes a dial when the network is told λ and meets all of it in training, that one network then
# comes near six dedicated ones at a fraction of their cost, and that interpolated weights make the dial continuous.
# **What we did not show:** that one network is as good as six everywhere (here it is less robust at λ = 1); that a dial
# needs FiLM: `blend` has none, and interpolates between two ends; that the same holds on photographs, with large
# networks and full training; or that PGD has found the worst images. The ablation is one seed of the first world.
#
# ## Try this
#
# * Set `epochs` to 12. Does the small network's frontier reach the point of the one that knows λ = 1 only?
# * Draw λ from three stops: `oatlib.build("oat", data, stops=(0, 0.2, 1))`. What do you lose in between?
# * Train with the published start of FiLM, `film_start="paper"`, in the same time. What happens to the frontier?
#
# ## Sources
#
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free* (OAT)
# * Perez et al. 2018, *FiLM: Visual Reasoning with a General Conditioning Layer*
# * Xie et al. 2020, *Adversarial Examples Improve Image Recognition* (a BatchNorm for attacked images)
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (the two kinds of pixels)
#
# **Next:** [06 · Slimming](06_slimming.ipynb): a second dial, for the size of the network.

# %%
lesson.finish(
    fixed=fixed,
    born=ends,
    robust_at=reached,
    share_of_six=share,
    share_of_cost=cost,
    attack=record["attack"],
    robust_without=at_one,
    dial=dial,
    rises=rises,
    falls=falls,
    slider=list(fitted.slider),
)
