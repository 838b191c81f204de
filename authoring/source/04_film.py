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
# # 04 · Can you tell a network how robust it shall be?
#
# **You will be able to**
#
# * write FiLM: a scale γ and a shift β for each channel, computed from λ
# * say what λ as one more input can do to a layer and what it cannot, and prove it
# * read γ(λ) and β(λ) of a trained network, and find the layers that turn the dial
# * fold BatchNorm and FiLM into one multiply-add, for any λ, and show that nothing is lost
#
# **Before this:** [03 · Two BatchNorms](03_dual_bn.ipynb) · **Run time:** about 50 s on two CPU cores · **Needs:** no network, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images (8/255 does little to digits)
n: int = 192  # 32 to 512: validation images that are attacked (digits has 200)
toy_steps: int = 500  # 20 to 5000: training steps of the small networks of the toy
epochs: int = 5  # 1 to 30: of training, where no ready network fits or runs are measured again
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here (minutes) instead of loading those that come along
recompute: bool = False  # train the small networks again (minutes), do not read records

# %%
import copy

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from torch import nn

import oatlib
from oatlib import PGD, Suite
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer import open_files
from oatlib.explorer.description import captions
from oatlib.layers.film import FiLM, lambda_codes
from oatlib.layers.unit import Unit

lesson = begin("04_film", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))
x, y, n = panel.x, panel.y, len(panel)
attack = Suite(8 / 255, budget="quick")  # APGD-10, then two targets: the attack of `evaluate`

# %% [markdown]
# ## The failure
#
# λ has a meaning. A network of its own for λ is trained to make **(1 - λ) · loss on clean images + λ · loss on attacked
# images** small. The two branches of `blend` were trained at λ = 0 and λ = 1 only; between them its dial mixes scales and
# shifts, and hopes. Ask both for the same λ.


# %%
def standing(f):
    """Accuracy of a plain network on the panel, and what is left of it after each image was attacked in turn."""
    outcome = attack.run(f, x, y, torch.Generator().manual_seed(seed), progress=False)
    return {"clean": outcome.clean, "robust": outcome.robust, "n": n}


stops = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
blend = lesson.network("blend", data)
asked = {"blend, one training": [standing(blend.at(lam)) | {"lam": lam} for lam in stops]}
if marks := open_files.marks(data):  # measured when the networks that come along were made
    asked["a network for each λ"] = [
        {"lam": m["lam"], "clean": m["clean"], "robust": m["robust"][m["eps"].index(8.0)], "n": open_files.N}
        for m in marks
    ]


def along(asked):
    """Both accuracies over λ, with 95 % intervals."""
    series = {}
    for key in ("clean", "robust"):
        for name, found in asked.items():
            band = [oatlib.wilson(round(at[key] * at["n"]), at["n"]) for at in found]
            values = ([at[key] for at in found], *zip(*band, strict=True))
            series[f"{key}, {name}"] = tuple([100 * v for v in each] for each in values)
    return figures.lines(stops, series, x_name="λ that was asked for", y_name="accuracy, %", height=430)


along(asked)


# %%
def distance(one, other):
    """How far two networks are apart at the same λ: mean of the differences of both accuracies."""
    return sum(abs(a[k] - b[k]) for a, b in zip(one, other, strict=True) for k in ("clean", "robust")) / (2 * len(one))


wanted = asked.get("a network for each λ")
if wanted:
    k = max(range(len(stops)), key=lambda i: abs(asked["blend, one training"][i]["clean"] - wanted[i]["clean"]))
    at = asked["blend, one training"][k]
    say(
        f"Asked for λ = {stops[k]:g}, `blend` gives {at['clean']:.1%} clean and {at['robust']:.1%} robust (n = {n}, the quick suite). "
        f"A network that was trained for this λ gives {wanted[k]['clean']:.1%} and {wanted[k]['robust']:.1%} (n = "
        f"{open_files.N}, the suite). Over the {len(stops)} values of λ the two are {100 * distance(asked['blend, one training'], wanted):.1f} "
        f"points apart on average. But a network for each λ cost {len(wanted)} trainings, and knows no λ in between."
    )
else:
    say(
        "For these data no networks for one λ each were measured; look at λ = 0.1 to 0.4 of `blend`: was that asked for?"
    )

# %% [markdown]
# ## By hand: one scale and one shift for each channel
#
# The idea of **FiLM** (feature-wise linear modulation): let λ choose, for each channel, a number γ to multiply by and a
# number β to add. Six images, three channels; the first three carry λ = 0, the others λ = 1. Channel 1 is switched off
# at λ = 1, channel 2 is doubled, channel 3 is turned round and moved.

# %%
h = torch.tensor(
    [[1.0, 2.0, -1.0], [2.0, 0.0, 1.0], [3.0, 1.0, 0.0], [1.0, 2.0, -1.0], [2.0, 0.0, 1.0], [3.0, 1.0, 0.0]]
)
lam6 = torch.tensor([0, 0, 0, 1, 1, 1])
gamma6 = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, -1.0]])[lam6]  # row 0 for λ = 0, row 1 for λ = 1
beta6 = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]])[lam6]
rows = [f"λ = {lam}, image {i}" for lam in (0, 1) for i in (1, 2, 3)]
named = {"h": h, "γ(λ)": gamma6, "β(λ)": beta6, "γ · h + β": gamma6 * h + beta6}
fig = make_subplots(1, 4, subplot_titles=list(named), shared_yaxes=True, horizontal_spacing=0.03)
for i, values in enumerate(named.values()):
    text = [[f"{v:g}" for v in row] for row in (values + 0.0).tolist()]
    heat = go.Heatmap(z=values, x=["ch 1", "ch 2", "ch 3"], y=rows, text=text, texttemplate="%{text}", zmid=0)
    heat.update(colorscale=[[0, "#7db8e0"], [0.5, "#f5f5f5"], [1, "#f0a878"]], showscale=False)
    fig.add_trace(heat, row=1, col=1 + i)
figures.layout(fig, height=300).update_yaxes(autorange="reversed", ticks="").update_layout(margin={"l": 110})

# %% [markdown]
# The same three images, two answers, and no weight of any layer has changed.
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
#     return x * gamma[:, :, None, None] + beta[:, :, None, None]
# ```
# </details>

# %% [markdown]
# ## A curve with a knob
#
# The smallest problem whose answer depends on λ: a wave at λ = 0, a straight line at λ = 1, and in between their mixture
# (1 - λ)·sin 6x + λ·x. Three small networks learn it: one never sees λ, one gets λ as a second input beside x, one has a
# FiLM layer in its middle. The second one is a little larger, so that it has about as many weights as the third.


# %%
class Knob(nn.Module):
    """x (N, 1) and λ (N, 1) -> (N, 1). `way`: "no λ", "λ beside x" or "FiLM"."""

    def __init__(self, way, width):
        super().__init__()
        self.way = way
        self.first = nn.Linear(2 if way == "λ beside x" else 1, width)
        self.second, self.last = nn.Linear(width, width), nn.Linear(width, 1)
        self.knob = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2 * width)) if way == "FiLM" else None

    def forward(self, x, lam):
        h = self.second(torch.tanh(self.first(torch.cat([x, lam], 1) if self.way == "λ beside x" else x)))
        if self.knob is not None:
            gamma, beta = self.knob(lam).chunk(2, 1)
            h = film(h[:, :, None, None], 1 + gamma, beta)[:, :, 0, 0]
        return self.last(torch.tanh(h))


def curve(x, lam):
    """What the networks shall learn."""
    return (1 - lam) * torch.sin(6 * x) + lam * x


def learn(way, width):
    """A small network, trained on random x in [-1, 1] and λ in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Knob(way, width)
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(toy_steps):
        at, lam = 2 * torch.rand(128, 1, generator=generator) - 1, torch.rand(128, 1, generator=generator)
        optimizer.zero_grad()
        F.mse_loss(net(at, lam), curve(at, lam)).backward()
        optimizer.step()
    return net.requires_grad_(False)


knobs = {way: learn(way, width) for way, width in (("no λ", 16), ("λ beside x", 23), ("FiLM", 16))}

# %%
lesson.predict(
    "times",
    "how many times as large as that of FiLM is the squared error of the network with λ beside x?",
    0,
    20,
    "times",
)

# %%
line = torch.linspace(-1, 1, 121)[:, None]


def drawn(lam):
    """The three networks and the curve at one λ."""
    at = torch.full_like(line, lam)
    told = {name: net(line, at) for name, net in knobs.items()}
    error = {name: F.mse_loss(values, curve(line, at)).item() for name, values in told.items()}
    series = {"the curve": curve(line, at)} | told
    fig = figures.lines(line[:, 0].tolist(), {k: v[:, 0].tolist() for k, v in series.items()}, x_name="x", height=380)
    fig.update_traces(mode="lines").update_yaxes(range=[-1.4, 1.4])
    return fig, "squared error · " + " · ".join(f"{name}: {e:.4f}" for name, e in error.items())


sliders(drawn, lam=(0.0, 1.0, 0.02), labels={"lam": "λ"}, start_at={"lam": 0.2})

# %%
at = torch.linspace(0, 1, 21)
errors = {
    name: sum(F.mse_loss(net(line, lam.expand(121, 1)), curve(line, lam)).item() for lam in at) / len(at)
    for name, net in knobs.items()
}
lesson.reveal(
    "times", errors["λ beside x"] / errors["FiLM"], "with these sizes, this seed and this number of training steps."
)

# %%
size = {name: sum(p.numel() for p in net.parameters()) for name, net in knobs.items()}
rows = [f"| {name} | {size[name]} | {errors[name]:.4f} |" for name in knobs]
say("| network | weights | mean squared error over 21 values of λ |\n|---|---|---|\n" + "\n".join(rows))

# %% [markdown]
# ## Why not simply as one more input?
#
# A linear layer that gets (x, λ) computes W·x + w·λ + b. That **is** FiLM, with γ = 1 and β = w·λ: λ can shift a layer, and
# scale nothing. To scale, later layers have to build a product out of bent sums; FiLM has it from the start.

# %% tags=["nbval-check-output"]
glued, at = knobs["λ beside x"].first, torch.rand(5, 1, generator=torch.Generator().manual_seed(seed))
points = torch.linspace(-1, 1, 5)[:, None]
shifted = film(
    (points @ glued.weight[:, :1].T + glued.bias)[..., None, None], torch.ones(5, 23), at @ glued.weight[:, 1:].T
)
print(
    "λ beside x is FiLM with γ = 1:", torch.allclose(glued(torch.cat([points, at], 1)), shifted[..., 0, 0], atol=1e-5)
)

# %% [markdown]
# ## Build it: from λ to γ and β
#
# The published layer (OAT) is a small network for each place where a BatchNorm stands: a code of λ, a hidden layer of twice
# as many units as there are channels, and an output whose halves are γ and β. The **code** is not the number λ but a
# random direction for each of the six **stops**, the values of λ in training. No two directions are alike, so 0.1 and 0.2
# may do quite different things; the price is that λ = 0.15 has no code.


# %%
class MyFiLM(nn.Module):
    """Codes (S, d) -> γ and β, (S, C) each."""

    def __init__(self, code_dim, channels):
        super().__init__()
        self.hidden = nn.Linear(code_dim, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * channels)

    def forward(self, codes):
        return F.leaky_relu(self.out(F.leaky_relu(self.hidden(codes)))).chunk(2, dim=-1)


# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(seed)
codes = lambda_codes("rand", stops, 128, generator)
print("codes:", tuple(codes.shape), "- all at right angles:", torch.allclose(codes @ codes.T, torch.eye(6), atol=1e-5))
mine, theirs = MyFiLM(128, 16), FiLM(128, 16)
mine.load_state_dict(theirs.state_dict())
with torch.no_grad():
    pairs = list(zip(mine(codes), theirs(codes), strict=True))
print("MyFiLM is oatlib's FiLM, given its weights:", all(torch.equal(a, b) for a, b in pairs))
print("one row for each stop, one column for each channel:", tuple(pairs[0][0].shape))

# %% [markdown]
# ## Ablation: where should γ start?
#
# With random weights the published layer gives γ and β near **zero**: hardly anything passes. The library starts at the
# **identity**, γ = 1 and β = 0. Nothing is trained yet; watch how large features leave each layer.

# %%
lesson.predict(
    "start",
    "published start: what share of the spread that enters the output layer at the identity start is left?",
    0,
    100,
)


# %%
def at_birth(start):
    """An untrained network: spread behind each FiLM on a training batch, then at the entrance and exit of the head."""
    net, spread = oatlib.build("oat", data, seed=seed, film_start=start), {}
    parts = {name[5:]: part for name, part in net.named_modules() if isinstance(part, Unit) and part.film is not None}
    for name, part in parts.items():
        part.register_forward_hook(lambda _, __, out, name=name: spread.update({name: out.std().item()}))
    net.body.head.register_forward_hook(
        lambda _, given, out: spread.update({"into the head": given[0].std().item(), "logits": out.std().item()})
    )
    with torch.no_grad():
        net.train()(data.train.x[:64], torch.tensor(stops)[torch.arange(64) % 6])
    gamma = torch.cat([part.film(net.codes)[0].flatten() for part in parts.values()])
    return spread, gamma.detach()


birth = {start: at_birth(start) for start in ("identity", "paper")}
spreads = {f'start at "{start}"': list(spread.values()) for start, (spread, _) in birth.items()}
places = [name.replace("blocks.", "block ").replace(".", "<br>") for name in birth["paper"][0]]
fig = figures.lines(places, spreads, y_name="standard deviation", height=400)
fig.update_yaxes(type="log", dtick=1)

# %%
left = birth["paper"][0]["into the head"] / birth["identity"][0]["into the head"]
lesson.reveal("start", 100 * left, "the shortcuts around the blocks have no FiLM: for now they carry the features.")


# %%
def from_start(start, each):
    """OAT from one of the starts and a seed: the loss after each epoch, and accuracies at the stops."""
    net = oatlib.build("oat", data, seed=each, film_start=start)
    preset = oatlib.Preset(epochs=epochs, watch=epochs)  # looked at in the end only, so that no run is stopped early
    history = oatlib.train(net, data, preset, each, progress=False)
    ends = [standing(net.at(lam)) | {"lam": lam} for lam in stops]
    return {"loss": [row["loss"] for row in history.rows], "ends": ends}


def starts():
    """Both starts, two seeds each."""
    pairs = [(start, each) for start in ("identity", "paper") for each in (seed, seed + 1)]
    found = {f'"{start}", seed {each}': from_start(start, each) for start, each in pairs}
    return {"data": data.name, "attack": "the quick suite", "found": found}


trained = lesson.recorded("film_start", starts)
losses = {name: run["loss"] for name, run in trained["found"].items()}
figures.lines(range(1, 1 + max(map(len, losses.values()))), losses, x_name="epoch", y_name="training loss", height=360)

# %%
gammas = {start: gamma for start, (_, gamma) in birth.items()}
small = {start: (gamma.abs() < 0.1).float().mean().item() for start, gamma in gammas.items()}
rows = [
    f"| {name} | {run['loss'][0]:.2f} | {run['loss'][-1]:.2f} | {run['ends'][0]['clean']:.1%} | {run['ends'][-1]['robust']:.1%} |"
    for name, run in trained["found"].items()
]
count = next(iter(trained["found"].values()))["ends"][0]["n"]
low, high = oatlib.wilson(count // 2, count)
made = f"recorded on `{trained['data']}`, n = {count}, {trained['attack']}"
if "world" in trained:
    made += ", **in the first world of oatlib**: the same trust in every shape, and a training attack of two steps"
say(
    f"Before training, the mean of γ over all layers is {gammas['paper'].mean():.3f} with the published start and "
    f"{gammas['identity'].mean():.3f} with the other; |γ| < 0.1 holds for {small['paper']:.0%} and {small['identity']:.0%} of "
    f"them. What training makes of it ({made}; 95 % interval of one accuracy at "
    f"most ±{(high - low) / 2:.1%}):\n\n"
    "| start | loss after the first epoch | after the last | clean, λ = 0 | robust, λ = 1 |\n|---|---|---|---|---|\n"
    + "\n".join(rows)
)

# %% [markdown]
# In the record that comes along, of the first world, the published start never learns the robust end within this short
# training. That does not say that it is a bad start for the 200 epochs of the publication; we did not try those.

# %% [markdown]
# ## BatchNorm and FiLM are one multiply-add
#
# In evaluation mode BatchNorm is a scale and a shift per channel; FiLM behind it is another one. Two of them in a row are
# one. So once λ stands still, nothing of all this machinery has to be run.
#
# ### Exercise: fold_film
# Difficulty ●●●○○ · 8 minutes. Work it out on paper first: γ·(weight·(x - mean)/sqrt(var + eps) + bias) + β.


# %% tags=["exercise"]
def fold_film(mean, var, weight, bias, gamma, beta, eps=1e-5):
    """BatchNorm (running mean and var, weight, bias) and FiLM, all
    (C,) -> scale and shift, so that scale·x + shift."""
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

# %% [markdown]
# ### Exercise: stop_weights
# Difficulty ●●○○○ · 6 minutes. λ = 0.15 has no code, but scale and shift are known at the stops 0.1 and 0.2. Between two
# neighbouring stops the library mixes them linearly. How much of each stop?


# %% tags=["exercise"]
def stop_weights(lam, stops):
    """A weight for each stop, a tensor (S,): all on one stop if λ
    is there, else shared by its two neighbours."""
    raise NotImplementedError


# %%
stop_weights = check(stop_weights)

# %% [markdown]
# <details><summary>Hint</summary>
# Find the first stop to the right of λ. With t, the share of the way to it that is done, its weight is t and that of its
# left neighbour 1 - t. Take care at the last stop.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def stop_weights(lam, stops):
#     right = next(i for i in range(1, len(stops)) if lam <= stops[i])
#     t = (lam - stops[right - 1]) / (stops[right] - stops[right - 1])
#     weights = torch.zeros(len(stops))
#     weights[right - 1], weights[right] = 1 - t, t
#     return weights
# ```
# </details>

# %% tags=["nbval-check-output"]
oat = lesson.network("oat", data)
units = {name[5:]: part for name, part in oat.named_modules() if isinstance(part, Unit) and part.film is not None}


def folded(unit):
    """Your scale and shift at all stops, (S, C) each: BN_c at λ = 0, BN_a at the others."""
    rows = []
    for stop, (gamma, beta) in enumerate(zip(*unit.film(oat.codes), strict=True)):
        bn = unit.norm.pairs[0].branch(oat.branches[stop])
        rows.append(fold_film(bn.running_mean, bn.running_var, bn.weight, bn.bias, gamma, beta))
    return tuple(torch.stack(column).detach() for column in zip(*rows, strict=True))


theirs = {name: unit.affine(oat.codes, oat.branches, oat.width()) for name, unit in units.items()}
fits = [torch.allclose(a, b, atol=1e-5) for k, u in units.items() for a, b in zip(folded(u), theirs[k], strict=True)]
print(len(units), "layers, your scale and shift are theirs:", all(fits))
with torch.no_grad():
    gaps = [(oat(x, lam) - oat.at(lam)(x)).abs().max() / oat(x, lam).abs().max() for lam in stops]
print("unfolded and folded network agree to 1e-5 at every stop:", bool(max(gaps) < 1e-5))
scale, shift = folded(oat.body.stem)
share, plain = stop_weights(0.7, stops), oat.at(0.7).stem
print("λ = 0.7 is a mixture of stops:", torch.allclose(share @ shift, plain.bias, atol=1e-5))
print(
    "its weights, too:",
    torch.allclose((share @ scale).view(-1, 1, 1, 1) * oat.body.stem.conv.weight, plain.weight, atol=1e-5),
)

# %%
parameters = sum(p.numel() for p in oat.parameters())
of_film = sum(p.numel() for unit in units.values() for p in unit.film.parameters())
say(
    f"FiLM holds {of_film:,} of the {parameters:,} parameters of `oat`. At one λ all of them turn into "
    f"{sum(2 * unit.cout for unit in units.values())} numbers, which go into the convolutions: the folded network has "
    f"{sum(b.numel() for b in oat.at(0.3).buffers()):,} and takes as long as one that knows no λ."
)

# %% [markdown]
# ## Watch γ and β of a trained network
#
# `oat` was trained with a λ drawn anew for each image, from the six stops. On the left what its FiLM layers have learned; on the
# right what is left of it with BatchNorm, for every λ. Marks are stops; between them it is a straight line.

# %%
fine = [i / 100 for i in range(101)]
mix = torch.stack([stop_weights(lam, stops) for lam in fine])
tables = {name: (*(t.detach() for t in unit.film(oat.codes)), *folded(unit)) for name, unit in units.items()}


def watch(layer, channel):
    """γ, β and the folded scale and shift of one channel over λ."""
    name = list(tables)[layer]
    columns = [table[:, channel] for table in tables[name]]
    fig = make_subplots(1, 2, subplot_titles=["FiLM", "BatchNorm and FiLM, folded"])
    for i, (label, column) in enumerate(zip(("γ", "β", "scale", "shift"), columns, strict=True)):
        curve = {
            "x": fine,
            "y": (mix @ column).tolist(),
            "name": label,
            "mode": "lines",
            "line": figures.style(i)["line"],
        }
        marked = {"x": stops, "y": column.tolist(), "mode": "markers", "marker": figures.style(i)["marker"]}
        fig.add_scatter(**curve, row=1, col=1 + i // 2)
        fig.add_scatter(**marked, name=label, showlegend=False, row=1, col=1 + i // 2)
    moved = (columns[0].max() - columns[0].min()).item()
    figures.layout(fig, "λ", height=360).update_layout(legend_y=1.12)
    return fig, f"{name}, channel {channel}: γ moves by {moved:.3f} along the dial, around {columns[0].mean():.3f}"


sliders(watch, layer=(0, len(tables) - 1, 1), channel=(0, 15, 1), start_at={"channel": 2})

# %%
lesson.predict(
    "where", "in which layer does γ move most along the dial, on average over its channels?", options=list(tables)
)

# %%
moves = {
    f"{sign} moves by": [(table[i].max(0).values - table[i].min(0).values).mean().item() for table in tables.values()]
    for i, sign in enumerate("γβ")
}
figures.bars(places[: len(tables)], moves, y_name="mean over channels", height=340)

# %%
most = max(moves["γ moves by"])
lesson.reveal(
    "where", list(tables)[moves["γ moves by"].index(most)], "measured as largest minus smallest γ over the stops."
)

# %% [markdown]
# ## Ablation: which part turns the dial, FiLM or the two BatchNorms?
#
# `oat` has both. Hold one of them still and turn λ.

# %%
stuck, single = copy.deepcopy(oat), copy.deepcopy(oat)
stuck.codes[:] = oat.codes[3]  # FiLM is told λ = 0.3 for ever
single.branches[:] = 1  # BN_a for all λ, also for λ = 0
asked["oat, one training"] = [standing(oat.at(lam)) | {"lam": lam} for lam in stops]
zero, same = (standing(stuck.at(lam)) for lam in (0.0, 1.0))  # from λ = 0.1 on nothing moves any more
parts = {
    "oat, one training": asked["oat, one training"],
    "FiLM held at λ = 0.3": [zero] + [same] * 5,
    "BN_a for every λ": [standing(single.at(0.0)), *asked["oat, one training"][1:]],
}
along(parts)

# %%
fall = {name: 100 * (found[0]["clean"] - found[1]["clean"]) for name, found in parts.items()}
rise = {name: 100 * (found[-1]["robust"] - found[1]["robust"]) for name, found in parts.items()}
say(
    f"From λ = 0 to 0.1 clean accuracy falls by {fall['oat, one training']:.1f} points; without the switch of BatchNorms it would "
    f"move by {-fall['BN_a for every λ']:+.1f}. From λ = 0.1 to 1 robust accuracy rises by {rise['oat, one training']:.1f} points, and with FiLM "
    f"held still by {rise['FiLM held at λ = 0.3']:.1f} (n = {n}, the quick suite)."
)

# %% [markdown]
# ## Does λ mean now what it says?
#
# Back to the failure. The same question to the network that was told λ in training:

# %%
along({name: asked[name] for name in asked if name != "blend, one training"})

# %%
if wanted:
    far = {name: 100 * distance(found, wanted) for name, found in asked.items() if found is not wanted}
    say(
        f"At the same λ, `oat` is {far['oat, one training']:.1f} points away from the networks that were trained for this λ alone "
        f"(mean over both accuracies and {len(stops)} values), `blend` {far['blend, one training']:.1f}. The 95 % intervals of single "
        f"accuracies are up to ±{50 * (oatlib.wilson(n // 2, n)[1] - oatlib.wilson(n // 2, n)[0]):.0f} points wide."
    )

# %% [markdown]
# Six images, attacked by PGD-20 at both ends of the dial. What the attack has to draw shows what the network looks at.

# %%
ends = {lam: oat.at(lam) for lam in (0.0, 1.0)}
painter = PGD(8 / 255, steps=20)
drawn_on = {lam: painter(f, x[:6], y[:6], torch.Generator().manual_seed(seed)) for lam, f in ends.items()}
rows, told = {"image": x[:6]}, {}
for lam, f in ends.items():
    rows[f"change × 16, λ = {lam:g}"] = figures.change(x[:6], drawn_on[lam], 16)
    rows[f"attacked, λ = {lam:g}"] = drawn_on[lam]
    told[f"attacked, λ = {lam:g}"] = [f"says {data.classes[i]}" for i in f(drawn_on[lam]).argmax(1).tolist()]
figures.images(rows, {"image": captions(data, panel, range(6))} | told, tile=92)

# %% [markdown]
# ## Is this sane?

# %% tags=["nbval-check-output"]
nothing = PGD(0.0, 20)(ends[1.0], x, y)
hits = (ends[1.0](nothing).argmax(1) == y).sum().item()
print("ε = 0 gives clean accuracy:", hits == round(n * asked["oat, one training"][-1]["clean"]))
with torch.no_grad():
    once, again, other = oat(x[:8], 0.3), oat(x[:8], 0.3), oat(x[:8], 0.4)
    in_order = oat(x[:8], torch.tensor([0.0, 1.0] * 4))
print("the same λ, the same answer; another λ, another one:", torch.equal(once, again), not torch.allclose(once, other))
print("each image has its own λ:", torch.allclose(in_order[1::2], oat(x[1:8:2], 1.0), atol=1e-4))
try:
    oat(x[:1], 0.15)
except ValueError:
    print("the unfolded network knows its stops only")

# %% [markdown]
# ## Your turn, on the real thing
#
# Turn λ of `oat`, and compare with `blend`. The diamonds are networks for one λ each.

# %%
both, hidden = {"oat": oat, "blend": blend}, ["training", "choose", "width"]
oatlib.explore(both, data, lam=0.3, marks=marks, surfaces=lesson.surfaces(both, data), hide=hidden)

# %% [markdown]
# > **Pitfalls**
# > * *γ and β of shape (N, C) times (N, C, H, W)*: if the sizes happen to fit, PyTorch scales columns and says nothing.
# > * *Saving the weights without the codes*: they are random; with others the network has forgotten what λ means.
# > * *FiLM before BatchNorm*: BatchNorm takes scale and shift away again.
# > * *Folding in training mode*: there BatchNorm depends on the batch, and is no fixed multiply-add.
# > * *Attacking at another λ than the one that answers*: see lesson 03; the accuracy is too good.
# > * *Interpolating codes instead of what they fold to*: the network has never seen a code in between.

# %% [markdown]
# ## What we showed, and what we did not show
#
# We showed that λ can be an input, that it acts by one scale and one shift per channel, and that for a fixed λ it costs
# nothing. **What we did not show:** how good the trade-off is that comes out of it. The same λ need not mean the same clean
# accuracy in two networks, so lesson 05 compares whole frontiers, also with networks for one λ each and with a coin. Nor
# that γ between two stops is what training there would have found.
#
# ## Try this
#
# * Set `toy_steps` to 5000. Does λ beside x catch up? Now make the curve sin((2 + 5λ)·x). Who wins?
# * Build `oat` with `codes="none"` (the number λ itself) and train it. Is γ(λ) smoother?
# * In the cell that holds FiLM still, hold it only in the layer where γ moves most.
#
# ## Sources
#
# * Perez et al. 2018, *FiLM: Visual Reasoning with a General Conditioning Layer*
# * Dumoulin et al. 2018, *Feature-wise transformations* (Distill)
# * Wang et al. 2020, *Once-for-All Adversarial Training: In-Situ Tradeoff between Robustness and Accuracy for Free*
#
# **Next:** [05 · OAT](05_oat.ipynb): both parts together, trained from scratch, against a network for each λ.

# %%
lesson.finish(
    attack=str(attack), n=n, asked=asked, parts=parts, errors=errors, share_left=left, moves=moves, trained=trained
)
