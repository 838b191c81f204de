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
# # 08 · Does noise in the weights defend a network, or fool whoever measures it?
#
# **You will be able to**
#
# * break a random defence with the average of many gradients (EOT)
# * write FLOAT: a convolution with learned weight noise, and its training step
# * show that noise blinds the attack of its own training, and test what this has to do with the size of the noise
# * judge a random network: draws stated, and compared with the same network without noise
#
# **Before this:** [03 · Dual BatchNorm](03_dual_bn.ipynb) and [05 · OAT](05_oat.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 128  # 32 to 512: validation images that are attacked
steps: int = 64  # 16 to 640: training steps of your two networks
seed: int = 0  # 0 to 9999: of noise, weights and attacks
recompute: bool = False  # train all networks of the record again (half an hour)

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import nn

import oatlib
from oatlib import PGD
from oatlib.course import diagram, figures, noisy
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.explorer.description import captions
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.step import train_step

lesson = begin("08_weight_noise", globals())
data = oatlib.load_data("shapes", seed=0)
panel = data.val.panel(n)
x, y = panel.x, panel.y
EPS = 8 / 255
torch.set_printoptions(precision=2, sci_mode=False, linewidth=110)


def source(number=seed):
    """A new generator of random numbers."""
    return torch.Generator().manual_seed(number)


# %% [markdown]
# ## A defence that looks good
#
# Lessons 04 to 07 told the network λ through FiLM. This lesson puts **noise** into the weights. Noise misleads an attacker who
# measures a defence, and also the attack of training. So first learn how to attack a random network, with noise in the **image**,
# where it is easy to see. The network `standard` was trained without attacks. Here is a defence for it that needs no training: add a wave to the image
# before the network sees it. Its phase is drawn for every pixel, and drawn again at every call. The wave is too small to see.


# %%
def dithered(net, generator, amplitude=0.002):
    """The network behind a random wave."""

    def f(images):
        phase = 2 * torch.pi * torch.rand(images.shape, generator=generator)
        return net(images + amplitude * torch.sin(3000 * images + phase))

    return f


def often_right(f, images, labels=y, draws=10):
    """How often a random network is right on each image, over some draws: (N,)"""
    with torch.no_grad():
        each = [(f(images).argmax(1) == labels).float() for _ in range(draws)]
    return torch.stack(each).mean(0)


def share_right(f, images, labels=y, draws=10):
    """Accuracy of a random network: the mean over some draws."""
    return often_right(f, images, labels, draws).mean().item()


standard = oatlib.ready("standard").at(0.0)
defended = dithered(standard, source())
looks = {"standard": [], "standard behind the wave": []}
for name, f in zip(looks, (standard, defended), strict=True):
    x_adv = PGD(EPS, 20)(f, x, y, source())
    looks[name] = [share_right(f, x), share_right(f, x_adv)]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
before, after = looks["standard"], looks["standard behind the wave"]
figures.bars(
    ["clean", "under PGD-20"],
    looks,
    n=len(y),
    y_name="accuracy, % (under PGD-20: upper bounds)",
    takeaway=f"Under PGD-20 {before[1]:.0%} of the answers of standard are right, and {after[1]:.0%} behind the wave.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"Clean accuracy is {before[0]:.1%} without the wave and {after[0]:.1%} with it. Accuracy under PGD-20 rises from {before[1]:.1%} to "
    f"**{after[1]:.1%}** (n = {len(y)} validation images, mean of 10 draws, bars: 95 % intervals). A robust network, without any "
    "training? The number is an *upper bound*: PGD-20 is one attack."
)

# %%
lesson.predict("eot", "what does PGD-20 leave if every gradient is a mean over 10 draws?", 0, 100)

# %% [markdown]
# ## Break it
#
# What does PGD see? Look at eight pixels of one image. Ask five times for the gradient:

# %%
one = x[:1].clone().requires_grad_()
for _ in range(5):
    loss = F.cross_entropy(defended(one), y[:1])
    gradient = torch.autograd.grad(loss, one)[0][0, 0, 8, 2:10]
    print("sign of the gradient at 8 pixels", gradient.sign().int())

# %% [markdown]
# The signs change from draw to draw. By the chain rule the wave multiplies the gradient $g$ of the network, pixel by pixel:
#
# $$\nabla_x \ell = \big(1 + A\,\omega\cos(\omega x+\varphi)\big)\, g, \qquad A\,\omega = 0.002\cdot 3000 = 6$$
#
# The factor lies between -5 and 7, so its sign is nearly a coin flip. But its mean over φ is 1, and $g$ hardly depends on φ, because
# the wave is small. The signs of a mean over many draws should be those without the wave:

# %%
bare_one = x[:1].clone().requires_grad_()
g = torch.autograd.grad(F.cross_entropy(standard(bare_one), y[:1]), bare_one)[0][0, 0, 8, 2:10]
print("without the wave:       ", g.sign().int())
for count in (10, 1000):
    mean_gradient = (
        sum(torch.autograd.grad(F.cross_entropy(defended(one), y[:1]), one)[0] for _ in range(count)) / count
    )
    print(f"mean of {count:4} draws:     ", mean_gradient[0, 0, 8, 2:10].sign().int())

# %% [markdown]
# So average over K draws:
#
# $$\bar g(x) = \frac1K\sum_{k=1}^{K}\nabla_x\,\ell\big(f_{\varphi_k}(x),\,y\big)$$
#
# This is **EOT**, *expectation over transformation* (Athalye, Engstrom, Ilyas and Kwok 2018).
#
# ### Exercise: eot_gradient
# Difficulty ●●○○○ · 5 minutes. Every call of `f` is a new draw.


# %% tags=["exercise"]
def eot_gradient(f, x, y, draws):
    """Gradient with respect to x of the cross-entropy, summed over
    images and averaged over `draws` calls of f."""
    raise NotImplementedError  # your code instead of this line


# %%
eot_gradient = check(eot_gradient)

# %% [markdown]
# <details><summary>Hint</summary>
# Compute the gradient as in lesson 01, once for each draw, and average the gradients. (The mean of the logits has another
# gradient, because the loss is not linear.)
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def eot_gradient(f, x, y, draws):
#     x = x.detach().requires_grad_()
#     total = torch.zeros_like(x)
#     for _ in range(draws):
#         loss = F.cross_entropy(f(x), y, reduction="sum")
#         total += torch.autograd.grad(loss, x)[0]
#     return total / draws
# ```
# </details>

# %% [markdown]
# ### Exercise: eot_pgd
# Difficulty ●●○○○ · 6 minutes. PGD of lesson 01, with your gradient. Start at x, step length 2.5·eps/steps, and return
# the last point.


# %% tags=["exercise"]
def eot_pgd(f, x, y, eps, steps, draws):
    """Attacked images, in the ball of radius eps around x and in [0, 1]."""
    raise NotImplementedError


# %%
eot_pgd = check(eot_pgd)

# %% [markdown]
# <details><summary>Hint</summary>
# In each step: move along <code>eot_gradient(...).sign()</code>, clamp the change from x to [-eps, eps], clamp the image to
# [0, 1].
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def eot_pgd(f, x, y, eps, steps, draws):
#     x_adv = x
#     for _ in range(steps):
#         gradient = eot_gradient(f, x_adv, y, draws)
#         x_adv = x_adv + 2.5 * eps / steps * gradient.sign()
#         x_adv = x + (x_adv - x).clamp(-eps, eps)
#         x_adv = x_adv.clamp(0, 1)
#     return x_adv
# ```
# </details>

# %%
DRAWS = (1, 2, 4, 10)
broken = {draws: eot_pgd(defended, x, y, EPS, 20, draws) for draws in DRAWS}
left = {draws: share_right(defended, images) for draws, images in broken.items()}
bare = share_right(standard, eot_pgd(standard, x, y, EPS, 20, 1))  # without the wave

# %%
lesson.reveal("eot", 100 * left[10], "the defence was never there: it only hid the gradient.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
bands = [oatlib.wilson(round(len(y) * value), len(y)) for value in left.values()]
curve = ([100 * v for v in left.values()], [100 * low for low, _ in bands], [100 * high for _, high in bands])
figures.lines(
    DRAWS,
    {"standard behind the wave": curve, "standard without the wave": [100 * bare] * len(DRAWS)},
    x_name="draws per gradient in your attack (20 steps)",
    y_name="robust accuracy, % (upper bound)",
    title=f"n = {len(y)} images; band: 95 % interval",
    takeaway=f"With 1 draw per gradient your attack leaves {left[1]:.0%}, with 10 draws {left[10]:.0%}, and {bare:.0%} without the wave.",
).update_xaxes(type="log", tickvals=DRAWS, ticktext=[str(d) for d in DRAWS])

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
with torch.no_grad():
    says = {
        draws: [f"says {data.classes[c]}" for c in defended(images[:6]).argmax(1)] for draws, images in broken.items()
    }
pictures, below = {"image": x[:6]}, {"image": captions(data, panel, range(6))}
for draws in (1, 10):
    row = f"change × 12, draws: {draws}"
    pictures[row], below[row] = figures.change(x[:6], broken[draws][:6], 12), says[draws]
pictures["attacked, draws: 10"] = broken[10][:6]
figures.images(
    pictures,
    below,
    tile=84,
    takeaway="With one draw the change looks like grains of noise. The mean of ten draws paints a texture. No pixel changes "
    "by more than 8/255; changes are shown 12 times as large, around grey.",
)

# %% [markdown]
# The label of an image is that of its texture. With one draw the change is grain; with ten it is a texture of another class.
#
# Athalye, Carlini and Wagner broke published random defences in this way in 2018. In their notebook one cat image passes through a published random defence (random resizing
# and padding). An attack with EOT turns it into guacamole.
#
# ### Draw it: a score with two noisy weights
#
# Two classes of points are separated by the boundary w·x = 0 (solid line). The gradient of the score w·x is w. An attacker
# that knows w moves each point along w or against it, to the other class. Now w is noisy. Each gradient that the attacker asks
# for is one random draw (thin line). The attacker follows the mean of its draws. The dashed line is the boundary of that mean.
# Small grey points are the points before the attack. Change the number of draws, then the noise.


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
label = 2.0 * (torch.arange(200) % 2) - 1
points = label[:, None] * torch.tensor([0.75, 0.45]) + 0.4 * torch.randn(200, 2, generator=source())
w = torch.tensor([0.86, 0.51])
sigma = w.pow(2).mean().sqrt()


def moved(direction):
    """The points after an L2 attack of length 1.3 along a direction, (2,) or (K, 2)."""
    unit = direction / direction.norm(dim=-1, keepdim=True)
    return points - 1.3 * label[:, None] * unit[..., None, :]


def share(places, size):
    """Share of points that are right, averaged over all draws of the noise (exact, as it is Gaussian)."""
    spread = size * sigma * places.norm(dim=-1)
    return torch.special.ndtr(label * (places @ w) / spread.clamp(min=1e-6)).mean(-1)


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def border(direction, name, dash):
    a, b = (direction / direction.norm()).tolist()
    return go.Scatter(
        x=[-4 * b, 4 * b], y=[4 * a, -4 * a], name=name, mode="lines", line={"color": figures.INK, "dash": dash}
    )


def ask(noise, draws, attempt):
    seen = w + noise * sigma * torch.randn(200, draws, 2, generator=source(100 * attempt + draws))
    means, fig = seen.mean(1), go.Figure()
    look = {"color": figures.INK, "size": 3, "opacity": 0.5}
    fig.add_scatter(x=points[:, 0], y=points[:, 1], name="before the attack", mode="markers", marker=look)
    for i, sign in enumerate((-1, 1), 2):
        a, b = moved(means[0])[label == sign].T
        fig.add_scatter(x=a, y=b, name=f"class {sign:+}, attacked", mode="markers", opacity=0.45, **figures.style(i))
    fig.add_trace(border(w, "boundary w·x = 0", "solid"))
    fig.add_trace(border(means[0], "boundary of the mean", "dash"))
    a, b = ([v for tip in seen[0, :, i].tolist() for v in (0, tip, None)] for i in (0, 1))
    fig.add_scatter(x=a, y=b, name="draws", mode="lines", line={"color": figures.COLOURS[4], "width": 1})
    for i, (name, tip) in enumerate({"true gradient": w, "mean of the draws": means[0]}.items()):
        fig.add_scatter(x=[0, tip[0]], y=[0, tip[1]], name=name, mode="lines+markers", **figures.style(i))
    cosine = torch.cosine_similarity(means, w, dim=1).clamp(-1, 1)
    clean, best, here, mean = (share(p, noise).mean() for p in (points, moved(w), moved(means[0]), moved(means)))
    seen_in_it = f"With {draws} draws the attacker is off by {torch.arccos(cosine[0]).rad2deg():.0f} degrees."
    figures.layout(fig, "first coordinate", "second coordinate", height=480, takeaway=seen_in_it).update_layout(
        width=700
    )
    fig.update_xaxes(range=[-2.5, 2.5]).update_yaxes(range=[-1.8, 1.8], scaleanchor="x")
    text = f"This attacker is off by {torch.arccos(cosine[0]).rad2deg():.0f}° and leaves {here:.0%} of 200 points right, averaged over the noise. 200 such "
    text += f"attackers leave {mean:.0%} on average, and one with the true gradient leaves {best:.0%}. Without an attack {clean:.0%} are right."
    return fig, text


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
sliders(
    ask,
    draws=[1, 2, 4, 8, 16, 32],
    noise=(0.0, 3.0, 0.1),
    attempt=(0, 20, 1),
    labels={"draws": "draws per gradient", "noise": "noise α", "attempt": "another attacker"},
    start_at={"draws": 4, "noise": 2.0, "attempt": 1},
)

# %% [markdown]
# A single draw points in another direction. The mean of more draws comes closer on average, because the noise has mean 0.
#
# ## FLOAT: noise in the weights
#
# Lessons 04 to 07 told the network λ with FiLM layers. FLOAT (Kundu et al. 2023) has no FiLM. It puts λ into the weights of every
# convolution:
#
# $$W_\lambda = W + \lambda\,\alpha\,\sigma\,\eta, \qquad \eta \sim \mathcal N(0, 1)\ \text{per entry}$$
#
# σ is the standard deviation of the entries of W, without a gradient. α is one learned number per layer. It starts at 0.25.
# Clean images meet W (λ = 0), attacked images meet W + ασ·η (λ = 1). The BatchNorm is dual, as in lesson 03.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
diagram.flow("08")

# %% [markdown]
# By hand, for a weight of six entries:

# %%
weight = torch.tensor([[0.4, -0.2, 0.1], [0.3, 0.0, -0.6]])
eta = torch.randn(2, 3, generator=source())
print("σ     ", weight.std())
print("η     ", eta)
print("λ = 0 ", weight)
print("λ = 1 ", weight + 1.0 * 0.25 * weight.std() * eta)

# %% [markdown]
# ### Exercise: noisy_weight
# Difficulty ●○○○○ · 4 minutes. Write it as a function. Gradients must reach `weight` and `alpha`, but not through σ.


# %% tags=["exercise"]
def noisy_weight(weight, alpha, lam, generator):
    """weight + lam·alpha·σ·η. σ: std() of all entries, without
    gradient; η: N(0, 1) from the generator."""
    raise NotImplementedError


# %%
noisy_weight = check(noisy_weight)

# %% [markdown]
# <details><summary>Hint</summary>
# η has the shape of the weight, σ is a single number. <code>detach()</code> keeps gradients from it.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def noisy_weight(weight, alpha, lam, generator):
#     sigma = weight.detach().std()
#     eta = torch.randn(weight.shape, generator=generator)
#     return weight + lam * alpha * sigma * eta
# ```
# </details>

# %% [markdown]
# ### Exercise: NoisyConv
# Difficulty ●●●○○ · 8 minutes. The layer: a 3x3 convolution `conv` without bias (padding 1) and a learned `alpha`.
# At λ = 0 it draws nothing.


# %% tags=["exercise"]
class NoisyConv(nn.Module):
    """forward(x, lam, generator): convolve x with the noisy weight.
    Has conv (an nn.Conv2d) and alpha (a parameter, 0.25)."""

    def __init__(self, cin, cout, stride):
        raise NotImplementedError


# %%
NoisyConv = check(NoisyConv)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.conv2d(x, weight, stride=..., padding=1)</code> takes any weight. <code>nn.Parameter(torch.tensor(0.25))</code> is
# found by the optimiser.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class NoisyConv(nn.Module):
#     def __init__(self, cin, cout, stride):
#         super().__init__()
#         self.conv = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
#         self.alpha = nn.Parameter(torch.tensor(0.25))
#
#     def forward(self, x, lam, generator):
#         weight = self.conv.weight
#         if lam > 0:
#             weight = noisy_weight(weight, self.alpha, lam, generator)
#         return F.conv2d(x, weight, stride=self.conv.stride, padding=1)
# ```
# </details>

# %% [markdown]
# Your layer in a network of three blocks, with your `DualBN` of lesson 03. Copied into a `float` network of `oatlib`, it must give
# the same logits for the same noise:

# %% tags=["nbval-check-output"]
DualBN = mine("DualBN")
net = noisy.NoisyNet(NoisyConv, seed=seed, norm=DualBN)
theirs = noisy.as_network(net.eval(), data)
for lam in (0.0, 1.0):
    ours, library = net(x[:9], lam, source(5)), theirs(x[:9], lam, noise=source(5))
    print(f"λ = {lam:g}: the same logits as oatlib:", torch.allclose(ours, library, atol=1e-4))
library = PGD(EPS, 3, 2.5 * EPS / 3, start="none", best=False, eot_samples=4)
library = library(theirs.noisy(1.0, generator=source(5)), x[:9], y[:9])
ours = eot_pgd(theirs.noisy(1.0, generator=source(5)), x[:9], y[:9], EPS, 3, 4)
print("eot_pgd is PGD(eot_samples=4):", torch.allclose(ours, library, atol=1e-6))

# %% [markdown]
# ## Train it
#
# A step of FLOAT takes a batch of which one half is clean and one half attacked. As published, *every* forward draws new
# noise. So the attack of training computes each gradient from a single draw. You have just seen how little such an attack
# finds. The alternative is one draw for the whole step.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
other = ["W + ασ·η₁", "W + ασ·η₂", "W + ασ·η₃", "W + ασ·η₄"]
parts = ["gradient 1", "gradient 2", "gradient 3", "update"]
diagram.steps(
    {
        "noise drawn at every forward": list(zip(parts, other, strict=True)),
        "noise drawn once per step": [(part, "W + ασ·η") for part in parts],
    },
    "A training step computes three gradients for the attack, then updates the weights. Drawn at every forward, each of "
    "these meets other noise. Drawn once per step, all meet the same.",
)

# %% [markdown]
# ### Exercise: float_step
# Difficulty ●●●○○ · 15 minutes. Write the step for both ways. With `one_draw`, the attack and the update meet the same
# noise: keep `generator.get_state()`, and set it before every call at λ = 1. The next step must draw new noise.


# %% tags=["exercise"]
def float_step(net, x, y, attack, generator, one_draw):
    """Add the gradients of one batch; return the loss, detached.

    net(x, lam, generator) -> logits; attack(f, x, y) -> x_adv. First half
    of the batch: clean, λ = 0. Second half: attacked, λ = 1.
    Attack in eval mode, then two passes in train mode."""
    raise NotImplementedError


# %%
float_step = check(float_step)

# %% [markdown]
# <details><summary>Hint</summary>
# Write a function <code>noisy(images)</code> inside. It sets the state back if one_draw, and returns the logits at λ = 1. Use it in
# the attack and in the update.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def float_step(net, x, y, attack, generator, one_draw):
#     half = len(x) // 2
#     state = generator.get_state()
#
#     def noisy(images):
#         if one_draw:
#             generator.set_state(state)
#         return net(images, 1.0, generator)
#
#     net.eval()
#     x_adv = attack(noisy, x[half:], y[half:])
#     net.train()
#     clean = net(x[:half], 0.0, generator)
#     attacked = noisy(x_adv)
#     loss = F.cross_entropy(torch.cat([clean, attacked]), y)
#     loss.backward()
#     return loss.detach()
# ```
# </details>

# %% [markdown]
# Is it the step of the library? One step with the same attacked images and the same noise:

# %% tags=["nbval-check-output"]
few, labels = data.train.x[:24], data.train.y[:24]
jump = EPS * torch.randn(12, 3, 16, 16, generator=source(3)).sign()


def same_attack(f, images, labels, generator=None):
    return (images + jump).clamp(0, 1)


batch = LambdaBatch(few, labels, torch.arange(24) // 12, theirs.spec.stops)
its_loss = train_step(theirs, batch, same_attack, source(5))
our_loss = float_step(net, few, labels, same_attack, source(5), one_draw=True)
print("the same loss:", torch.allclose(our_loss, its_loss, atol=1e-4))
ours = torch.stack([conv.alpha.grad for conv in net.convs])
library = torch.stack([unit.noise.alpha.grad for unit in theirs.body.units])
print("the same gradients of α:", torch.allclose(ours, library, atol=1e-4))

# %% [markdown]
# Now train two networks. They differ in `one_draw` only. The loop is that of lesson 05: ε grows at first, and the attack takes
# three steps.


# %%
def train(one_draw):
    """Train a network with float_step. Return it, and α of its first layer after every step."""
    net, noise, starts = noisy.NoisyNet(NoisyConv, seed=seed, norm=DualBN), source(), source(1)
    optimizer = torch.optim.SGD(net.parameters(), 0.3, 0.9, weight_decay=5e-4, nesterov=True)
    course = [0.25]
    for step in range(steps):
        index = torch.randint(len(data.train), (128,), generator=starts)
        pgd = PGD(EPS * min(1, step / 60), 3, best=False)

        def attack(f, images, labels, pgd=pgd):
            return pgd(f, images, labels, starts)

        optimizer.zero_grad()
        float_step(net, data.train.x[index], data.train.y[index], attack, noise, one_draw)
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        course.append(abs(net.convs[0].alpha.item()))
    return net.eval(), course


# %%
question = "noise at every forward: what happens to α of the first layer (0.25 at first)?"
lesson.predict("alpha", question, options=["it grows", "it stays", "it shrinks"])

# %%
trained, alpha = {}, {}
for name, one_draw in {"a new draw at every forward": False, "one draw per step": True}.items():
    trained[name], alpha[name] = train(one_draw)
forward, step = alpha

# %%
last = {name: values[-1] for name, values in alpha.items()}
became = "it grows" if last[forward] > 0.35 else "it stays"
if last[forward] < 0.15:
    became = "it shrinks"
note = f"{last[forward]:.2f} after {steps} steps, and {last[step]:.2f} with one draw per step."
lesson.reveal("alpha", became, note)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.lines(
    range(0, steps + 1, 8),
    {name: values[::8] for name, values in alpha.items()},
    x_name="training steps",
    y_name="|α| of the first layer",
    takeaway=f"With a new draw at every forward α ends at {alpha[forward][-1]:.2f}, with one draw per step at {alpha[step][-1]:.2f}.",
)

# %% [markdown]
# Why? Compare an attack *like* that of training, one draw per gradient, with your attack of ten draws, in both networks. (Both
# take seven steps from the image itself; training takes three from a random point.)

# %%
more, blind, often = data.val.panel(256), {}, {}
for name, each in trained.items():
    generator = source(7)

    def f(images, each=each, generator=generator):
        return each(images, 1.0, generator)

    for draws in (1, 10):
        x_adv = eot_pgd(f, more.x, more.y, EPS, 7, draws)
        often[name, draws] = often_right(f, x_adv, more.y)
        blind[name, draws] = often[name, draws].mean().item()

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rows, gap = [], {}
for name in trained:
    each = 100 * (often[name, 1] - often[name, 10])  # of every image
    gap[name] = each.mean().item()
    half = 1.96 * each.std().item() / len(each) ** 0.5
    rows.append(
        f"| {name} | {blind[name, 1]:.1%} | {blind[name, 10]:.1%} | {gap[name]:+.1f} points ({gap[name] - half:+.1f} to {gap[name] + half:+.1f}) |"
    )
say(
    "| right under your PGD-7, λ = 1 (upper bounds) | 1 draw per gradient | 10 draws | difference |\n|---|---|---|---|\n"
    + "\n".join(rows)
    + f"\n\nOne seed, {steps} steps of training, n = {len(more.y)} validation images. In brackets: 95 % interval of the difference, from pairs "
    f"of the same image. Guessing gives {100 / len(data.classes):.1f} %: so short a training makes no robust network. Other trainings may differ: three seeds follow."
)

# %% [markdown]
# With a new draw at every forward, the network **blinds the attack of its own training**: one draw misses errors that ten draws
# find. A weaker attack makes the training loss smaller. Is this why α grows? If so, α grows less where the attack is less blind. Test it. Let the attack of training average its
# gradients, too, and change nothing else. The record has three seeds of the small network.

# %%
question = "Training with new draws, its attack averages 10 draws per gradient. What happens to α of the first layer?"
lesson.predict("control", question, options=["it grows", "it stays", "it shrinks"])

# %%
control = lesson.recorded("float_control", noisy.float_control)
final = {name: [run[-1] for run in runs] for name, runs in control["arms"].items()}
blinded, averaged = (final[f"new draws, {draws} per gradient"] for draws in (1, 10))
grows = min(averaged) > 0.35

# %%
note = f"{min(averaged):.2f} to {max(averaged):.2f}, and with one draw per gradient {min(blinded):.2f} to {max(blinded):.2f}."
lesson.reveal("control", "it grows" if grows else "it stays", note)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.


def over_seeds(rows, scale=1.0):
    """Mean, lowest and highest of the seeds at every place."""
    columns = [[scale * value for value in column] for column in zip(*rows, strict=True)]
    return [sum(c) / len(c) for c in columns], [min(c) for c in columns], [max(c) for c in columns]


figures.lines(
    range(0, control["steps"] + 1, control["every"]),
    {name: over_seeds(runs) for name, runs in control["arms"].items()},
    x_name=f"training steps (mean of {len(control['seeds'])} seeds, band: lowest to highest)",
    y_name="|α| of the first layer",
    takeaway="α of the first layer ends at "
    + ", ".join(f"{sum(values) / len(values):.2f} ({name})" for name, values in final.items())
    + ".",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"With ten draws per gradient α of the first layer ends at {', '.join(f'{v:.2f}' for v in averaged)} (one number per seed). With one draw "
    f"it ends at {', '.join(f'{v:.2f}' for v in blinded)}. "
    + (
        f"So the **less** blind the attack, the {'**more**' if sum(averaged) > sum(blinded) else 'more or less'} α grows: the weak gradients are **not** the reason. "
        "(With ten draws the attack is less blind, not without any blindness.) What stops the growth is one draw per step. "
        "Then the update meets the noise that the attack has seen. A new draw is noise that no attack of this training can know. "
        "How this noise lowers the loss we did not test."
        if grows
        else "So it does not grow with every seed: the weak gradients are a part of the reason."
    )
)

# %% [markdown]
# A plausible cause is not a tested one. The blindness is real, and it makes *measurements* too high. The growth of α has another
# cause.
#
# ## Ablation: the whole training, three seeds
#
# Your networks are small and briefly trained. The record has the recipe `float` with its nine convolutions, five epochs (half of
# those of the preset `fast`) with an attack of three steps, three seeds each. The blindness is measured after every epoch.

# %%
record = lesson.recorded("float_redraw", noisy.float_arms)
arms, seeds = record["arms"], record["seeds"]
first = {
    name: [[abs(epoch[0]) for epoch in run["alpha"]] for run in arms[name]]
    for name in ("every forward", "once per step")
}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
NOISE = {"every forward": "noise drawn at every forward", "once per step": "noise drawn once per step"}
means = {name: over_seeds(rows) for name, rows in first.items()}
peak = max(means["every forward"][0])
figures.lines(
    range(len(first["every forward"][0])),
    {NOISE[name]: band for name, band in means.items()},
    x_name=f"epochs of training (mean of {len(seeds)} seeds, band: lowest to highest)",
    y_name="|α| of the first layer",
    takeaway=f"Drawn at every forward, α rises to {peak:.2f} and falls to {means['every forward'][0][-1]:.2f}. Drawn once per "
    f"step it is {means['once per step'][0][1]:.2f} after one epoch already.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
rows = {draws: [[pair[i] for pair in run["blind"]] for run in arms["every forward"]] for i, draws in enumerate((1, 10))}
curves = {f"{draws} draw{'s' * (draws > 1)} per gradient": over_seeds(row, 100) for draws, row in rows.items()}
gaps = over_seeds([[100 * (a - b) for a, b in run["blind"]] for run in arms["every forward"]])[0]
figures.lines(
    range(1, len(gaps) + 1),
    curves,
    x_name="epochs of training, a new draw at every forward",
    y_name="right under PGD-7, % (upper bounds)",
    title=f"n = 256 (95 % interval of one accuracy: at most ±{100 * (oatlib.wilson(128, 256)[1] - 0.5):.0f} points); mean of {len(seeds)} seeds, band: lowest to highest",
    takeaway=f"After the first epoch one draw per gradient misses {gaps[0]:.1f} points of errors, after the last {gaps[-1]:.1f}.",
).update_xaxes(dtick=1)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
NAMES = {
    "every forward": "FLOAT, noise as published: drawn at every forward",
    "once per step": "FLOAT, drawn once per step",
    "no noise": "the same without noise (`blend`)",
    "dedicated": "one dedicated network, λ = 1 (`pgd-at`)",
}


def of_seeds(name, key):
    values = [100 * run[key] for run in arms[name]]
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def mean(name, key):
    return sum(run[key] for run in arms[name]) / len(arms[name])


ends = [(mean(name, "clean"), mean(name, "robust")) for name in ("standard", "dedicated")]


def coin_at(name):
    """Robust accuracy of the coin between standard and dedicated, at the clean accuracy of an arm."""
    value = oatlib.coin(*ends, mean(name, "clean"))
    return "-" if value is None else f"{100 * value:.1f}"


table = "\n".join(
    f"| {text} | {of_seeds(name, 'clean')} | {of_seeds(name, 'robust')} | {coin_at(name)} |"
    for name, text in NAMES.items()
)
half = 50 * (lambda pair: pair[1] - pair[0])(oatlib.wilson(round(0.7 * record["n"]), record["n"]))
say(
    "| at λ = 1, mean (lowest to highest seed), % | clean | robust (upper bound) | coin, same clean accuracy |\n|---|---|---|---|\n"
    f"{table}\n\nPreset {record['preset']}, seeds {', '.join(map(str, seeds))}, n = {record['n']} validation images (95 % interval of "
    f"one robust accuracy: ±{half:.0f} points). Attack: {record['attack']}. *Coin*: between `standard` and the dedicated network."
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = go.Figure()
x_of, y_of = ([100 * end[i] for end in ends] for i in (0, 1))
look = {"color": figures.INK, "dash": "dot", "width": 2}
fig.add_scatter(x=x_of, y=y_of, name="coin: standard or dedicated", mode="lines", line=look)
for i, (name, text) in enumerate(NAMES.items()):
    middle = [100 * mean(name, key) for key in ("clean", "robust")]
    bars = {}
    for axis, key, at in (("x", "clean", middle[0]), ("y", "robust", middle[1])):
        values = [100 * run[key] for run in arms[name]]
        limits = {"array": [max(values) - at], "arrayminus": [at - min(values)]}
        bars[f"error_{axis}"] = {"type": "data", "symmetric": False, "color": figures.tint(i, 0.7), **limits}
    fig.add_scatter(
        x=middle[:1],
        y=middle[1:],
        name=text.replace("`", ""),
        mode="markers",
        **bars,
        marker=figures.style(i)["marker"],
    )
is_below = all(mean(name, "robust") < mean("dedicated", "robust") for name in NAMES if name != "dedicated")
figures.layout(
    fig,
    f"clean accuracy, % (bars: lowest to highest of {len(seeds)} seeds)",
    "robust accuracy, % (upper bounds)",
    f"λ = 1, n = {record['n']}; 95 % interval of one robust accuracy: ±{half:.0f} points",
    height=480,
    takeaway="At λ = 1 the three dials lie close together, "
    + ("below" if is_below else "around")
    + " the dedicated network.",
)
# near the arms; the coin goes on to `standard`, far to the right
near = [100 * value for name in NAMES for value in (mean(name, "clean"), mean(name, "robust"))]
fig.update_xaxes(range=[min(near[::2]) - 0.8, max(near[::2]) + 2])
fig.update_yaxes(range=[min(near[1::2]) - 6, max(near[1::2]) + 4])
far = f"to standard: clean {x_of[0]:.0f} %, robust {y_of[0]:.0f} %"
fig.add_annotation(text=far, x=0.99, y=0.05, xref="paper", yref="paper", xanchor="right", showarrow=False)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
drops = {name: [100 * (run["by_draws"][0] - run["by_draws"][-1]) for run in arms[name]] for name in first}
gain = [100 * (a["robust"] - b["robust"]) for a, b in zip(arms["once per step"], arms["every forward"], strict=True)]
noise = [100 * (a["robust"] - b["robust"]) for a, b in zip(arms["once per step"], arms["no noise"], strict=True)]

others = [abs(value) for run in arms["every forward"] for value in run["alpha"][1][1:]]
others = sum(others) / len(others)


def judged(values):
    """A sentence about a difference that was measured with every seed."""
    average = sum(values) / len(values)
    if min(values) <= 0 <= max(values):
        return "The seeds do not agree on a sign: the record shows **no clear difference**."
    found = f"All seeds have the same sign, and the mean is {average:+.1f}."
    if abs(average) < half:
        return f"{found} This is less than the ±{half:.0f} points of one measurement: three seeds do not settle it."
    return f"{found} This is more than the ±{half:.0f} points of one measurement."


first_gaps = [100 * (run["blind"][0][0] - run["blind"][0][1]) for run in arms["every forward"]]
three = ("every forward", "once per step", "no noise")
alone = [100 * (mean("dedicated", "robust") - mean(name, "robust")) for name in three]
worst = min(run["robust"] for run in arms["dedicated"])
top = max(run["robust"] for name in three for run in arms[name])

say(
    f"**Verdict.** With a new draw at every forward, |α| of the first layer rises from 0.25 to **{peak:.2f}** after one epoch. "
    f"The mean of the other layers is {others:.2f} then. PGD-7 with one draw misses **{gaps[0]:.1f} points** of errors that ten draws find "
    f"({min(first_gaps):.1f} to {max(first_gaps):.1f}, n = 256). At the end |α| is "
    f"{', '.join(f'{rows[-1]:.2f}' for rows in first['every forward'])} with the three seeds, and ten draws find {min(drops['every forward']):.1f} to "
    f"{max(drops['every forward']):.1f} points more than one (PGD-20). With one draw per step: "
    f"{min(drops['once per step']):.1f} to {max(drops['once per step']):.1f}.\n\n"
    f"Robust accuracy at the end, one draw per step minus every forward: {min(gain):+.1f} to {max(gain):+.1f} points. "
    f"{judged(gain)}\n\nFLOAT with one draw per step minus the same network without noise: {min(noise):+.1f} to {max(noise):+.1f} "
    f"points. {judged(noise)}\n\n**Against a dedicated network.** At λ = 1 it is {min(alone):+.1f} to {max(alone):+.1f} points more robust than these "
    f"three (means), and about as accurate on clean images. Its worst seed is {'above' if worst > top else 'not above'} the best seed of the "
    "three. So at λ = 1 a dedicated network is no worse than these dials. What one network with a dial "
    "saves is the second network. (The dedicated network also meets twice as many attacked images in a step.)"
)

# %% [markdown]
# So the attack of training is blinded for a while. In this training α shrinks again later, and most of the effect is gone. We did not test why. The
# public code trains 200 epochs against seven steps. We do not know what α does there.

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
old = noisy.FIRST_VERSION
lost = old["by_draws_step"][-1] - old["by_draws"][-1]
of_old = 50 * (lambda pair: pair[1] - pair[0])(oatlib.wilson(round(old["by_draws"][-1] * old["n"]), old["n"]))
say(
    f"The growth of α need not pass. The first version of this package trained {old['epochs']} epochs against PGD-2, in a simpler world (one seed, "
    f"n = {old['n']}). There α of the first layer ended at **{old['alpha']:.2f}**. Accuracy under PGD-20, an upper bound, was "
    f"{old['by_draws'][0]:.1%} with one draw per gradient and {old['by_draws'][-1]:.1%} with ten. With one draw per step α ended at {old['alpha_step']:.3f}, "
    f"and accuracy was {old['by_draws_step'][0]:.1%} and {old['by_draws_step'][-1]:.1%}. So under ten draws the network trained with one draw per step has **{100 * lost:.0f} points** more (95 % interval of "
    f"each accuracy: ±{of_old:.0f} points). One seed is an example, and no proof."
)

# %% [markdown]
# ## Between the ends: the published rules
#
# FLOAT trains at λ = 0 and λ = 1 only. For the values in between the public code has two rules. Each gives a BatchNorm (branch 0 is
# the clean one) and a level of noise. We do not know which of them made the tables of the paper.
#
# * **Rule A** uses the clean BatchNorm for λ < 0.1. The level of the noise is λ.
# * **Rule B** uses the clean BatchNorm for λ < 0.6, at level 2λ, which exceeds 1 from λ = 0.5 on: so it is in the public code.
#   Otherwise the level is 2(λ - 0.5).
#
# With $b$ for the branch and $s$ for the level of the noise:
#
# $$\text{A:}\quad b=[\lambda\ge 0.1],\ s=\lambda \qquad\qquad \text{B:}\quad b=[\lambda\ge 0.6],\ s=2\,(\lambda-0.5\,b)$$
#
# ### Exercise: published_rule
# Difficulty ●○○○○ · 4 minutes.


# %% tags=["exercise"]
def published_rule(name, lam):
    """("A" or "B", λ) -> (branch, level), a pair of numbers."""
    raise NotImplementedError


# %%
published_rule = check(published_rule)

# %% [markdown]
# <details><summary>Hint</summary>
# The branch is 0 or 1. At the threshold itself it is 1.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def published_rule(name, lam):
#     if name == "A":
#         return int(lam >= 0.1), lam
#     if lam < 0.6:
#         return 0, 2 * lam
#     return 1, 2 * (lam - 0.5)
# ```
# </details>

# %% [markdown]
# `oatlib` uses neither rule. At each end it multiplies the BatchNorm into the weights of the convolution, which gives one set of
# weights, and moves from the weights of one end to those of the other. Does the noise change anything then?

# %%
question = "rule A: how much of the change in clean accuracy lies between λ = 0.05 and 0.1?"
lesson.predict("jump", question, 0, 100)

# %%
ready = oatlib.ready("float")
silent = oatlib.ready("float")
with torch.no_grad():
    for name, parameter in silent.named_parameters():
        if name.endswith("alpha"):
            parameter.zero_()
lams = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.59, 0.6, 0.7, 0.8, 0.9, 1]
ways = {"interpolated": [], "interpolated, all α = 0": [], "rule A": [], "rule A, all α = 0": [], "rule B": []}
for lam in lams:
    settings = [ready.noisy(lam, generator=source()), silent.at(lam)]
    for rule, net in (("A", ready), ("A", silent), ("B", ready)):
        settings.append(noisy.by_rule(net, *published_rule(rule, lam), source()))
    for way, f in zip(ways.values(), settings, strict=True):
        way.append(share_right(f, more.x, more.y, 2))

# %%
rule_a = ways["rule A"]
jump = 100 * (rule_a[1] - rule_a[2]) / (rule_a[0] - rule_a[-1])
lesson.reveal("jump", jump, "the switch of the BatchNorm does it, not the noise.")

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
lowest = min(min(way) for way in ways.values())
apart = 100 * max(
    abs(a - b) for way in ("interpolated", "rule A") for a, b in zip(ways[way], ways[f"{way}, all α = 0"], strict=True)
)
wide = 50 * (lambda pair: pair[1] - pair[0])(oatlib.wilson(round(lowest * len(more.y)), len(more.y)))
figures.lines(
    lams,
    {name: [100 * value for value in way] for name, way in ways.items()},
    x_name="λ",
    y_name=f"clean accuracy, % (n = {len(more.y)})",
    title=f"95 % interval of one accuracy: at most ±{wide:.0f} points",
    takeaway=f"Rule A makes {jump:.0f} % of its way between λ = 0.05 and 0.1. The curves with and without noise agree to {apart:.1f} points.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
size = [abs(p.item()) for name, p in ready.named_parameters() if name.endswith("alpha")]
suite = oatlib.Suite(EPS, budget="quick", eot_samples=4)
under = {}
for lam in (0.05, 0.1):
    f = noisy.by_rule(ready, *published_rule("A", lam), source())
    under[lam] = oatlib.evaluate(f, panel, suite, progress=False)[0]
at_middle = {}
for name, f in {"with": ready.noisy(0.6, generator=source()), "without": silent.at(0.6)}.items():
    at_middle[name] = oatlib.evaluate(f, panel, suite, progress=False)[0]


def bracket(result):
    return f"{result.robust:.1%} ({result.robust_low:.1%} to {result.robust_high:.1%})"


say(
    f"The ready network `float` was trained with one draw per step. Its mean |α| is {sum(size) / len(size):.3f}. Setting every α to 0 changes "
    f"clean accuracy by at most {apart:.1f} points at any λ, interpolated and by rule A. The rules of the public code scale that noise and switch the "
    f"BatchNorm, so here they are **switches**: by rule A robust accuracy is {bracket(under[0.05])} at λ = 0.05 and {bracket(under[0.1])} at "
    f"λ = 0.1 (95 % intervals; upper bounds: quick suite, 4 draws per gradient, n = {len(y)}). With interpolated weights clean accuracy falls in small steps, "
    f"with or without noise. In the middle, at λ = 0.6, robust accuracy is {bracket(at_middle['with'])} with noise and {bracket(at_middle['without'])} without."
)

# %% [markdown]
# **Noise does not turn this dial.** Interpolated weights and dual BatchNorm do, as in the network `blend` of lesson 05. But the middle is
# worse than a coin between both ends: in the explorer below, the curve lies under the dotted line. Lesson 05 measures the same of `blend`.
#
# ## What it costs

# %%
stored = {}
for name in ("oat", "float", "blend"):
    stored[name] = sum(p.numel() for p in oatlib.build(name, data).parameters())
# all 128 images pass clean; 106 of them have λ > 0 and are attacked: PGD-7, then the update
oat_passes = 128 + 106 * (7 + 1)
float_passes = 64 + 64 * (7 + 1)
pair_passes = 128 + 128 * (7 + 1)  # `standard` and a dedicated network, one batch each
pair = 2 * sum(p.numel() for p in oatlib.build("standard", data).parameters())

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
times = noisy.step_times()
say(
    f"`float` has no FiLM. It stores {stored['float']:,} parameters, `oat` {stored['oat']:,}, and `blend`, without noise, "
    f"{stored['blend']:,}. With PGD-7 and batches of 128, a step of OAT needs {oat_passes} forward passes of an image, one of FLOAT "
    f"{float_passes}: OAT needs {oat_passes / float_passes:.2f} times as many. The baseline, `standard` and a dedicated network, needs {pair_passes} for a batch each, "
    f"and stores {pair:,} parameters. (The dedicated network is attacked on all images of a batch, FLOAT on half of them.) Measured on two threads (recorded, {times['float']['rounds']} rounds): a "
    f"step of `oat` takes {times['float']['ratio']:.2f} times as long as one of `float` ({times['float']['low']:.2f} to {times['float']['high']:.2f}), and "
    f"{times['blend']['ratio']:.2f} times as long as one of `blend` ({times['blend']['low']:.2f} to {times['blend']['high']:.2f}). So FLOAT saves "
    "time by attacking half of the batch, and parameters by leaving FiLM out. Noise saves nothing: `blend` is cheaper still, or as cheap."
)

# %% [markdown]
# ## Open exercise: a stronger wave
#
# Now the wave is twice as strong, so gradients are worse. And every image may pass through `f` **40 times** only. Forty
# steps of one draw leave nearly all images right. More draws and fewer steps are better, but not good. Find an attack
# whose every step uses all gradients that it has computed so far.
#
# ### Exercise: beat_dither
# Difficulty ●●●●○ · 25 minutes. Leave fewer than a quarter of 128 images right. The check runs your attack on a network that
# you have not seen, behind such a wave, and judges it on ten new draws. `f` is a function: it returns logits and nothing else.
# A call with N images counts as one pass for each of them.


# %% tags=["exercise"]
def beat_dither(f, x, y, eps, calls):
    """Attacked images in the ball and in [0, 1]; every image
    passes through f at most `calls` times."""
    raise NotImplementedError


# %%
beat_dither = check(beat_dither)

# %% [markdown]
# <details><summary>Hint</summary>
# Gradients at nearby points are similar: why throw old ones away after a step? Cross-entropy has little gradient where the
# network is sure: lesson 01 had a loss without this problem. And think of what the images are made of: textures that repeat every four
# pixels.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def beat_dither(f, x, y, eps, calls):
#     is_true = F.one_hot(y, 8).bool()
#     x_adv, total, steps = x, torch.zeros_like(x), calls // 2
#     for step in range(steps):
#         x_adv = x_adv.detach().requires_grad_()
#         for _ in range(2):
#             logits = f(x_adv)
#             margin = logits.masked_fill(is_true, -1e9).amax(1) - logits[is_true]
#             total = total + torch.autograd.grad(margin.sum(), x_adv)[0]
#         size = 2 * eps * (1 - step / steps)
#         x_adv = x_adv.detach() + size * total.sign()
#         x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
#     return x_adv
# ```
#
# It climbs the margin, sums the gradients of all steps, and makes its steps shorter. Averaging the gradient
# over the repeats of the texture is stronger still.
# </details>

# %% [markdown]
# Your attack and the others, with forty passes each, on `standard` behind that wave:

# %%
second = dithered(standard, source(9), 0.004)
forty = {
    "40 steps, 1 draw": eot_pgd(second, x, y, EPS, 40, 1),
    "10 steps, 4 draws": eot_pgd(second, x, y, EPS, 10, 4),
    "4 steps, 10 draws": eot_pgd(second, x, y, EPS, 4, 10),
    "beat_dither": beat_dither(second, x, y, EPS, 40),
}
remain = {name: share_right(second, images) for name, images in forty.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.bars(
    list(remain),
    {"attack": list(remain.values())},
    n=len(y),
    y_name="right under attack, % (upper bounds)",
    title=f"40 passes per image, n = {len(y)}; bars: 95 % intervals",
    takeaway=f"With the same 40 passes eot_pgd leaves at best {min(list(remain.values())[:3]):.0%} and beat_dither {remain['beat_dither']:.0%}.",
)

# %% [markdown]
# ## Is the measurement itself sound?

# %% tags=["nbval-check-output"]
same = eot_pgd(defended, x, y, 0.0, 5, 2)
far = eot_pgd(defended, x, y, 0.5, 10, 4)
quiet = [eot_pgd(standard, x, y, EPS, 3, draws) for draws in (1, 2)]
walk = PGD(EPS, 10, eot_samples=4, best=False).iterates(defended, x, y, source())
losses = [F.cross_entropy(logits, y).item() for _, logits in walk]
print("eps = 0 changes no image:", torch.equal(same, x))
print("eps = 0.5 leaves almost nothing:", share_right(defended, far) < 0.1)
print("the loss rises along the steps:", losses[-1] > losses[0])
print("without randomness, more draws change nothing:", torch.allclose(*quiet, atol=1e-6))

# %% [markdown]
# ## Try the trained network
#
# The explorer shows the ready network `float` with **one frozen draw**, which its attack knows. Move λ and ε, and choose another
# attack.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
shown = {"float": ready}
oatlib.explore(shown, data, lam=1.0, surfaces=lesson.surfaces(shown, data), hide=["training", "choose", "width"])

# %% [markdown]
# > **Pitfalls**
# > * *One draw per gradient*: the attack is weak and the defence looks good. Average, then double the draws and look again.
# > * *Training with an attack that noise blinds*: what training reports is too high.
# > * *A plausible cause without a control*: where the attack was less blind, α grew more.
# > * *Two draws for an image and its attacked version*: an image can then be wrong because of an unlucky draw. Average over draws.
# > * *Averaging logits of several draws* where the deployed network answers with one: attack the network that is used.
# > * *Random weights without a seed*: pass a generator, or nothing can be repeated.
# > * *Not looking at α*: noise that has shrunk to nothing turns no dial.
#
# ## What we showed, and what we did not show
#
# A random wave looked like a defence until you averaged gradients. FLOAT's noise blinded the attack of its own training in the
# same way: PGD with one draw missed errors. Drawn at every forward, the noise of the first layer grew in the first epoch. But it grew
# even more where that attack was less blind, so the blindness is not the reason. Drawn once per step, it shrank to almost nothing. Then, at λ = 1,
# we found no difference to the same network without noise. A dedicated network is more robust, and sees more attacked images.
#
# **What we did not show:** that noise never helps (a vote of many draws is another network); what α does in the published
# networks, which are larger and trained longer; why α shrinks again; that ten draws are enough for every defence; or that the quick suite finds all errors.
#
# ## Try this
#
# * Set `steps` to 320. When does α of the first layer turn?
# * The control: in `train`, replace PGD by your `eot_pgd` with four draws and `one_draw=False`.
# * Average the gradient over the repeats of the texture in `beat_dither`. How few passes are enough?
# * Replace `0.25` by 1 in `NoisyConv`. Does one draw per step still remove the noise?
#
# ## Sources
#
# * Kundu et al. 2023, *A Fast and Efficient Conditional Learning for Tunable Trade-Off between Accuracy and Robustness* (FLOAT)
# * Athalye, Carlini and Wagner 2018, *Obfuscated Gradients Give a False Sense of Security* (EOT against random defences; their public notebook breaks random resizing)
# * Athalye, Engstrom, Ilyas and Kwok 2018, *Synthesizing Robust Adversarial Examples* (EOT)
# * He, Rakin and Fan 2019, *Parametric Noise Injection* (learned weight noise as a defence)
#
# **Next:** [09 · Sparse](09_sparse.ipynb): a dial without noise. How many weights does it need?

# %%
lesson.finish(
    wave=left,
    alpha={name: values[-1] for name, values in alpha.items()},
    blind={f"{name}, {draws}": value for (name, draws), value in blind.items()},
    jump=jump,
    second_wave=remain,
    recorded=record,
)
