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
# # 10b · Can you break it?
#
# **You will be able to**
#
# * name three ways in which a gradient attack fails although the network does, and show each on one pixel
# * write the two parts of APGD that repair PGD: shorter steps, and a loss without a scale
# * write an attack for one defence that withstands all standard attacks
# * say what a dial adds to the things that an attacker can turn
#
# **Before this:** [10 · Is it robust?](10_is_it_robust.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 96  # 32 to 256: validation images that are attacked
seed: int = 0  # 0 to 9999: of the attacks
recompute: bool = False  # attack the models of the gallery again (5 minutes)

# %%
import torch
import torch.nn.functional as F

import oatlib
from oatlib import APGD, PGD, Square, Suite
from oatlib.attacks.losses import cross_entropy, dlr
from oatlib.course import figures, one_pixel, two_opinions, walk
from oatlib.course.diagram import flow
from oatlib.course.exercises import check, mine
from oatlib.course.gallery import Gallery
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders

lesson = begin("10b_break_it", globals())
data = oatlib.load_data("shapes", seed=0)
panel = data.val.panel(n)
x, y, RADIUS = panel.x, panel.y, 8 / 255
nets = {name: oatlib.ready(name) for name in ("standard", "oat", "pgd-at")}
standard, robust_end = nets["standard"].at(0.0), nets["oat"].at(1.0)

# %% [markdown]
# ## Three defences in one line each
#
# In lesson 10 a network fooled itself. Here a defender fools you, by accident or on purpose. Each of these functions changes
# one line of the *standard* network, which was never trained against an attack. *Temperature* multiplies its logits. *Quantised*
# rounds the pixels. *Ripple* adds a wave, as in lesson 08, but without chance.


# %%
def temperature(images):
    """Multiply all logits by 10,000. No answer changes."""
    return 1e4 * standard(images)


def quantised(images):
    """Round the pixels to 64 levels first."""
    return standard((63 * images).round() / 63)


def ripple(images):
    """Add a wave first that is too small to see, but steep."""
    return standard(images + 0.002 * torch.sin(3000 * images))


def left_under(f, attack):
    """Share of the images on which f is right, before and after an attack: an upper bound."""
    x_adv = attack(f, x, y, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return ((f(x).argmax(1) == y) & (f(x_adv).argmax(1) == y)).float().mean().item()


defences = {"standard": standard, "temperature": temperature, "quantised": quantised, "ripple": ripple}
claims = {name: left_under(f, PGD(RADIUS, 20)) for name, f in defences.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
names = list(claims)
figures.bars(
    names,
    {"under PGD-20, what their authors report": list(claims.values())},
    n=n,
    y_name="right under PGD-20 (an upper bound), %",
    takeaway=f"PGD-20 leaves {100 * claims['standard']:.0f} % of the standard network, and "
    f"{'' if min(claims[name] for name in names[1:]) == 1 else 'at least '}{100 * min(claims[name] for name in names[1:]):.0f} % of the same network behind one line (n = {n}).",
)

# %% [markdown]
# No network became better: PGD-20 only fails to find the errors. This is **gradient masking**. Why?
#
# ## Small enough to draw: an image of one pixel
#
# One pixel, three classes. The **margin** is the best wrong logit minus the true one; above 0 the network is fooled. Here
# that happens at one narrow place. Three things can keep an attack away from it:
#
# 1. *The step*: fixed steps are too short to leave a local maximum, or too long to hit the place.
# 2. *Saturation*: a very sure network has a cross-entropy of exactly 0, and no slope.
# 3. *Waves*: there is a slope, but it does not point to where the loss is high.
#
# APGD (Croce and Hein 2020) answers the first: its step becomes shorter. The loss **DLR** answers the second. A search
# without gradients, such as Square, answers the third.
#
# The step of APGD begins at 2ε. At some **checkpoints** it is halved, for each image on its own, for one of two reasons.
# Fewer than three quarters of the steps since the last checkpoint raised the loss. Or no better point was found since then, and
# the step was not halved at the last checkpoint.
#
# ### Exercise: halve_steps
# Difficulty ●●●○○ · 6 minutes. Decide one checkpoint for N images.


# %% tags=["exercise"]
def halve_steps(size, rose, better, halved, steps):
    """(new size, which images are halved now), both (N,). `rose`: how many
    of the last `steps` steps raised the loss; `better`: whether they found a
    new best point; `halved`: whether the last checkpoint halved the size."""
    raise NotImplementedError  # your code instead of this line


# %%
halve_steps = check(halve_steps)

# %% [markdown]
# <details><summary>Hint</summary>
# Write the two reasons as masks and join them with <code>|</code>. "Not" of a mask is <code>~</code>. Then <code>torch.where</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def halve_steps(size, rose, better, halved, steps):
#     few = rose < 0.75 * steps
#     idle = ~better & ~halved
#     stuck = few | idle
#     new_size = torch.where(stuck, size / 2, size)
#     return new_size, stuck
# ```
# </details>

# %% [markdown]
# ### Exercise: dlr_loss
# Difficulty ●●●○○ · 6 minutes. Multiply all logits by 100: no answer changes, but the slope of the cross-entropy is gone. The
# *difference of logits ratio* divides the margin by the gap between the largest and the third largest logit
# ($z_{\pi_1} \ge z_{\pi_2} \ge z_{\pi_3}$ are the sorted logits):
#
# $$\mathrm{DLR}(z, y) = \frac{\max_{k\ne y} z_k - z_y}{z_{\pi_1} - z_{\pi_3}}$$


# %% tags=["exercise"]
def dlr_loss(logits, y):
    """DLR of each image, (N,); logits (N, C >= 3), y (N,). Above 0 is fooled."""
    raise NotImplementedError


# %%
dlr_loss = check(dlr_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>logits.scatter(1, y[:, None], -torch.inf)</code> leaves the wrong classes only; <code>topk(3)</code> sorts.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def dlr_loss(logits, y):
#     wrong = logits.scatter(1, y[:, None], -torch.inf).amax(1)
#     true = logits.gather(1, y[:, None])[:, 0]
#     top = logits.topk(3).values
#     gap = top[:, 0] - top[:, 2]
#     return (wrong - true) / gap
# ```
# </details>

# %% [markdown]
# `walk.climb` is the whole attack around your two parts: a step up the sign of the slope, a quarter of the last move as
# momentum, back into the ball. Move the sliders. The upper picture shows the margin, which decides. The lower one shows the loss, which the attack climbs.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
SIZES = {"short": (0.3 / 8, None), "long": (0.6, None), "halved": (0.6, halve_steps)}
LOSSES = {"cross-entropy": cross_entropy, "DLR": dlr_loss}
asked = 0.2 + 0.6 * torch.rand(30, 1, generator=torch.Generator().manual_seed(seed))


def by_hand(scale, wave, loss, step):
    return one_pixel.draw(scale, wave, loss, LOSSES[loss], *SIZES[step], asked)


sliders(
    by_hand,
    scale=[1, 10, 30, 100],
    wave=(0.0, 1.0, 0.05),
    loss=["cross-entropy", "DLR"],
    step=list(SIZES),
    labels={"scale": "scale of the logits", "wave": "waves", "loss": "climb the", "step": "steps"},
    start_at={"step": "long", "wave": 0.2},
)

# %% [markdown]
# Are your parts those of `oatlib.APGD`?

# %% tags=["nbval-check-output"]
few, labels = x[:16], y[:16]
z = robust_end(x)
ours = walk.climb(robust_end, few, labels, RADIUS, 10, dlr_loss, 2 * RADIUS, halve_steps)
apgd = APGD(RADIUS, 10, start="none", loss="dlr")
theirs = torch.stack([at for at, _ in apgd.iterates(robust_end, few, labels)])
print("dlr_loss is oatlib's:", torch.allclose(dlr_loss(z, y), dlr(z, y), atol=1e-5))
print("it does not see the scale:", torch.allclose(dlr_loss(100 * z, y), dlr_loss(z, y), atol=1e-4))
print("climb is oatlib.APGD:", ((ours - theirs).abs() < 1e-5).float().mean().item() > 0.999)

# %% [markdown]
# ## Ablation: which part unmasks which defence?
#
# Ablation: the same images and random numbers, one change of the attack at a time. Two remedies need no new attack:
#
# * Divide the logits again.
# * Leave the line out: attack the network behind it, and show the images to the whole defence. This is the simplest form of BPDA
#   (Athalye et al. 2018): where a part has no useful gradient, use that of a similar part, here of the identity.

# %%
choices = ["logits / 10,000", "line left out", "DLR", "Square", "none of them"]
lesson.predict("ripple", "which attack finds most errors of the ripple?", options=choices)


# %%
def divided(f):
    """The same answers, with logits that are 10,000 times smaller."""
    return lambda images: f(images) / 1e4


@torch.no_grad()
def by_questions(f):
    """Share of the images on which f is right after each question of Square."""
    source = torch.Generator().manual_seed(seed)
    still, shares = torch.ones(n, dtype=torch.bool), []
    for _, logits in Square(RADIUS, 300).iterates(f, x, y, source):
        still = still & (logits.argmax(1) == y)
        shares.append(still.float().mean().item())
    return shares


# PGD-20 on the network behind the line, once for all defences
behind = PGD(RADIUS, 20)(standard, x, y, torch.Generator().manual_seed(seed))
table, curves = {}, {}
for name, f in defences.items():
    # Square compares margins only. A temperature leaves their order, so it asks the same questions.
    curves[name] = curves["standard"] if name == "temperature" else by_questions(f)
    table[name] = {
        "PGD-20": claims[name],
        "PGD-20, logits / 10,000": left_under(divided(f), PGD(RADIUS, 20)),
        "PGD-20, line left out": left_under(f, lambda *_: behind),
        "PGD-20, DLR": left_under(f, PGD(RADIUS, 20, loss="dlr")),
        "Square, 300": curves[name][-1],
    }

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
order = list(table["ripple"])
worst = {name: min(row.values()) for name, row in table.items()}
figures.bars(
    names,
    {key: [table[name][key] for name in names] for key in order},
    n=n,
    y_name="right under attack (an upper bound), %",
    height=400,
    takeaway=f"The best of five attacks leaves {100 * worst['temperature']:.0f} % of temperature, "
    f"{100 * worst['quantised']:.0f} % of quantised and {100 * worst['ripple']:.0f} % of ripple (n = {n}).",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
breaks = [key for key in order[1:] if table["ripple"][key] < table["ripple"]["PGD-20"] - 0.3]
found = min(breaks, key=table["ripple"].__getitem__) if breaks else "none of them"
found = found.removeprefix("PGD-20, ").removesuffix(", 300")


def interval(share, count=n):
    """A share with its 95 % interval, as text."""
    low, high = oatlib.wilson(round(share * count), count)
    return f"{share:.0%} ({low:.0%} to {high:.0%})"


say(
    f"Left (n = {n}, upper bounds), temperature: logits / 10,000 **{interval(table['temperature'][order[1]])}**, DLR "
    f"{interval(table['temperature'][order[3]])}. Quantised and ripple: DLR does not help, Square leaves "
    f"{interval(table['quantised']['Square, 300'])} and {interval(table['ripple']['Square, 300'])}, and leaving the line out "
    f"**{interval(table['quantised'][order[2]])}** and **{interval(table['ripple'][order[2]])}**. Square needs to know nothing. To leave a line out, "
    "an attacker must know the defence."
)

# %%
lesson.reveal("ripple", found, "the slope of the wave says nothing; that of the network behind it does.")

# %% [markdown]
# How many questions does a search need? All 300 are shown, not only the first.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
questions = [0, 5, 10, 20, 35, 50, 75, 100, 150, 200, 250, 299]
bands = {}
for name in ("ripple", "quantised", "standard"):
    values = [curves[name][question] for question in questions]
    limits = [oatlib.wilson(round(n * value), n) for value in values]
    bands[name] = ([100 * v for v in values], [100 * a for a, _ in limits], [100 * b for _, b in limits])
fig = figures.lines(
    [question + 1 for question in questions],
    bands,
    x_name="questions that Square asks for each image (bands: 95 % intervals)",
    y_name=f"right (an upper bound), % (n = {n})",
    takeaway=f"With 300 questions Square leaves {bands['ripple'][0][-1]:.0f} % of ripple, with 10 still {bands['ripple'][0][2]:.0f} %.",
)
fig.update_yaxes(range=[0, 102])

# %% [markdown]
# The three curves nearly coincide, and that is the point: for a search without gradients, the line in front changes nothing.
#
# A random defence needs one more remedy: average the gradient over many samples (EOT, lesson 08). `oatlib.audit` knows these
# remedies. It runs the suite and asks questions that find each kind of mask by its name.

# %%
quick = Suite(RADIUS, budget="quick")
about = {"n": min(n, 48), "seed": seed, "suite": quick, "progress": False}
report = oatlib.audit(ripple, panel, claim=claims["ripple"], **about)
report

# %% [markdown]
# ## A defence that withstands the suite
#
# Now a defence in which the audit finds **no masked gradient**. A dial has an accurate end and a robust end. Why choose one? Ask two
# networks, and let the image decide:
#
# * The **accurate** network, `oat` at λ = 0, decides if it is sure, and if the robust network does not veto its class.
# * In all other cases the **robust** network, `pgd-at`, decides.
#
# An attack sees the gradient of the robust network. The vote of the accurate network is added as a constant.
#
# With the probabilities $p$ and $q$ of the accurate and the robust network, and $k$ the class that the accurate one names:
#
# $$f(x) = f_\text{robust}(x) + c\; e_k\cdot\mathbf 1\big[p_k > s\ \text{and}\ q_k > v\big]$$
#
# The diagram shows the values of $s$, $v$ and $c$.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
flow("10b")

# %%
defence = two_opinions.two_opinions()
strengths = {"clean": PGD(0.0, 0), "PGD-20": PGD(RADIUS, 20), "quick suite": quick}
numbers = {name: left_under(defence, attack) for name, attack in strengths.items()}
record = lesson.recorded("break_it", two_opinions.measured)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
audited = record["audit"]
raised = f"**{', '.join(audited['raised']) or 'nothing'}**"
if audited["raised"] == ["claim"]:
    raised += " only: the number of PGD-20 is too high, but no cause is found"
say(
    f"Clean **{interval(numbers['clean'])}**, PGD-20 {interval(numbers['PGD-20'])}, quick suite **{interval(numbers['quick suite'])}** "
    f"(n = {n}). The audit with the suite of budget `fast`, n = {audited['n']} images: it raises {raised}; the suite leaves "
    f"{interval(audited['robust'], audited['n'])}."
)

# %%
lesson.predict("adaptive", "what does an attack that is made for this defence leave?")

# %% [markdown]
# One alarm needs no attack. For these images the best possible rule is known (lesson 05). For each λ it has the largest
# $(1-\lambda)\cdot\text{clean} + \lambda\cdot\text{robust}$ that any rule can have. Is the defence better than the best rule?

# %%
wide = record["claimed"]  # PGD-20 on more images: a claim about a limit needs a narrow interval
limits = oatlib.best_frontier([i / 10 for i in range(11)])
limit = min(limits, key=lambda point: abs(point.clean - wide["clean"]))  # the rule that is about as accurate
best = (1 - limit.lam) * limit.clean + limit.lam * limit.robust

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.


def against(clean, robust, count):
    """The score of a defence with its 95 % interval, and whether that lies above the limit."""
    score = (1 - limit.lam) * clean + limit.lam * robust
    square = robust + (clean - robust) * (1 - limit.lam) ** 2  # mean of the squared score of an image
    half = 1.96 * ((square - score**2) / count) ** 0.5
    word = "**above the limit by more than chance**" if score - half > best else "not clearly above it"
    return f"{score:.1%} ± {100 * half:.1f} (n = {count}), {word}"


say(
    f"At λ = {limit.lam:g} the limit is {best:.1%}, on average over such images. With the number of PGD-20 the defence has "
    f"{against(wide['clean'], wide['robust'], wide['n'])}. With that of the suite it has {against(audited['clean'], audited['robust'], audited['n'])}. "
    "A number above the limit cannot be true. A number below it may still be far too high. For photographs no such limit is known."
)

# %% [markdown]
# ### Exercise: break_defence
# Difficulty ●●●●○ · 25 minutes, open. Break it. You know all of its code: `defence.accurate` and `defence.robust` are
# functions from images to logits. The accurate network must be sure of a **wrong** class, and the robust network must
# give that class a little probability. The check runs your attack. Start from PGD, and change its loss.


# %% tags=["exercise"]
def break_defence(defence, x, y, eps):
    """Attacked images within eps of x and in [0, 1] that fool the defence."""
    raise NotImplementedError


# %%
break_defence = check(break_defence)

# %% [markdown]
# <details><summary>Hint</summary>
# Choose a wrong class for each image, the likeliest one of <code>defence.accurate</code>. Lower the cross-entropy of *that*
# class in both networks together. Try two more likely classes, too, and keep what fooled the defence.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def break_defence(defence, x, y, eps):
#     result = x.clone()
#     wrong = defence.accurate(x).scatter(1, y[:, None], -torch.inf).topk(3, 1).indices
#     for target in wrong.T:
#         x_adv = x.clone()
#         for _ in range(20):
#             x_adv.requires_grad_()
#             loss = -F.cross_entropy(defence.accurate(x_adv), target, reduction="sum")
#             loss = loss - F.cross_entropy(defence.robust(x_adv), target, reduction="sum")
#             (gradient,) = torch.autograd.grad(loss, x_adv)
#             moved = x_adv.detach() + eps / 4 * gradient.sign()
#             x_adv = (x + (moved - x).clamp(-eps, eps)).clamp(0, 1)
#         fooled = defence(x_adv).argmax(1) != y
#         result[fooled] = x_adv[fooled]
#     return result
# ```
# </details>

# %%
struck = break_defence(defence, x, y, RADIUS)
broken = left_under(defence, lambda *_: struck)
lesson.reveal("adaptive", 100 * broken, f"the quick suite left {numbers['quick suite']:.0%}.")

# %% [markdown]
# ### Is it better than a coin?
#
# Two rivals have no trick. One is a **coin** that asks the accurate network with probability $p$, else the robust one. We choose $p$ so
# that its clean accuracy is that of the defence. The other is **one setting** of the dial that is about as good on clean images: `oat` at λ = 0.05.

# %%
ends = [left_under(f, quick) for f in (defence.accurate, defence.robust)]
cleans = [left_under(f, strengths["clean"]) for f in (defence.accurate, defence.robust)]
p = (numbers["clean"] - cleans[1]) / (cleans[0] - cleans[1])
coin = p * ends[0] + (1 - p) * ends[1]
one_setting = nets["oat"].at(0.05)
single = [left_under(one_setting, attack) for attack in (strengths["clean"], quick)]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
rivals = {
    "the defence": (numbers["clean"], broken),
    "a coin": (numbers["clean"], coin),
    "oat at λ = 0.05": tuple(single),
    "the accurate network": (cleans[0], ends[0]),
    "the robust network": (cleans[1], ends[1]),
}
figures.bars(
    list(rivals),
    {
        "clean": [clean for clean, _ in rivals.values()],
        "under attack (an upper bound)": [robust for _, robust in rivals.values()],
    },
    n=n,
    y_name="right, %",
    takeaway=f"Your attack leaves {100 * broken:.0f} % of the defence; a coin of the same clean accuracy keeps {100 * coin:.0f} %, and one "
    f"setting of the dial {100 * single[1]:.0f} % (quick suite, n = {n}).",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
low, high = oatlib.wilson(round(broken * n), n)
beats = "beats the coin" if low > coin else "loses to the coin" if high < coin else "is no better than the coin"
say(
    f"At clean accuracy {numbers['clean']:.0%} the defence keeps **{interval(broken)}** under your attack. The coin keeps {coin:.0%}: the defence {beats}. "
    f"One setting of the dial keeps **{interval(single[1])}** at clean accuracy {single[0]:.0%}. All are upper bounds (n = {n}; the rivals under the quick suite)."
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
shown = ((defence(x).argmax(1) == y) & (defence(struck).argmax(1) != y)).nonzero()[:5, 0]
shown = shown if len(shown) else torch.arange(5)
named = {
    key: [data.classes[c] for c in defence(images)[shown].argmax(1)]
    for key, images in {"image": x, "struck": struck}.items()
}
figures.images(
    {
        "image": x[shown],
        "your attack, ε = 8/255": struck[shown],
        "its change × 16": figures.change(x[shown], struck[shown], 16),
    },
    {
        "image": [f"says {name}" for name in named["image"]],
        "your attack, ε = 8/255": [f"says {name}" for name in named["struck"]],
    },
    tile=84,
    takeaway="Five images that the defence names correctly, and wrongly after your attack. The changes are small; below, they are magnified 16 times.",
)

# %% [markdown]
# Such an attack is called **adaptive**. Tramèr et al. broke thirteen published defences in this way. A standard suite cannot
# replace it.
#
# ## The dial as a thing to attack
#
# Your attack turned a dial: it made the image choose the weak network. Who can turn λ?
#
# | who sets λ | what an attacker does | what is left |
# |---|---|---|
# | a setting in the request | sets λ = 0 | the accuracy of λ = 0 under attack |
# | the battery, or the load | waits, or sends many requests, until the owner saves time with a smaller setting | the accuracy of that setting |
# | a rule that looks at the image | makes the image look as if it were safe | what `break_defence` left |
# | a coin for each image | attacks the *mean* answer | to be measured |

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
say(
    f"Left of `oat` at λ = 0: **{interval(ends[0])}**; at λ = 1: {interval(left_under(robust_end, quick))} (quick suite, n = {n}, upper bounds). So a dial is as robust as "
    "the worst setting that an attacker can bring about."
)

# %% [markdown]
# A coin is the fair case. The owner draws λ for each image, among settings of similar strength. The attacker knows the
# settings, but not the draw. It attacks the average: $\log \frac1K\sum_k \mathrm{softmax}\, f_{\lambda_k}(x)$.
#
# ### Exercise: mean_answer
# Difficulty ●●○○○ · 5 minutes. Write this average for K functions.


# %% tags=["exercise"]
def mean_answer(functions, x):
    """log of the mean of the probabilities, (N, classes)."""
    raise NotImplementedError


# %%
mean_answer = check(mean_answer)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>torch.stack</code> the softmax outputs, and take the mean over the first dimension, then the logarithm.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def mean_answer(functions, x):
#     answers = [f(x).softmax(1) for f in functions]
#     mean = torch.stack(answers).mean(0)
#     return (mean + 1e-12).log()
# ```
# </details>

# %%
lams = (0.6, 0.8, 1.0)
settings = [nets["oat"].at(lam) for lam in lams]
game = data.val.panel(min(2 * n, len(data.val)))  # more images: the differences are small


def right_at(f, x_adv):
    with torch.no_grad():
        return (f(game.x).argmax(1) == game.y) & (f(x_adv).argmax(1) == game.y)


attack = APGD(RADIUS, 20)
fixed = [right_at(f, attack(f, game.x, game.y)) for f in settings]
unknown = attack(lambda images: mean_answer(settings, images), game.x, game.y)
drawn = torch.stack([right_at(f, unknown) for f in settings]).float().mean(0)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
best_fixed = max(fixed, key=lambda mask: mask.sum()).float()
paired = drawn - best_fixed  # per image
middle, half = paired.mean().item(), 1.96 * paired.std().item() / len(paired) ** 0.5
verdict = "gains" if middle - half > 0 else "loses" if middle + half < 0 else "shows neither gain nor loss"
shares = ", ".join(f"λ = {lam:g}: {mask.float().mean():.1%}" for lam, mask in zip(lams, fixed, strict=True))
say(
    f"Fixed and known ({shares}); drawn for each image: **{drawn.mean():.1%}**. Compared with the best fixed λ the coin {verdict}: "
    f"{100 * middle:+.1f} points, 95 % interval {100 * (middle - half):+.1f} to {100 * (middle + half):+.1f} (APGD-20, upper bounds, "
    f"n = {len(game)}, one network). An attacker who does not know the draw attacks the mean, and that is enough here."
)

# %% [markdown]
# ## The break-it gallery
#
# Eight models. Some are honest, some are frauds. You may run ten attacks. Then vote: one point for each right vote, minus
# one for each wrong vote.

# %%
Gallery(record["gallery"])

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
models = record["gallery"]["models"]
heads = list(models[0]["found"])
rows = "\n".join(
    f"| {m['letter']} | {m['name']} | {'honest' if m['honest'] else 'fraud'} | {m['claim']:.0%} | "
    + " | ".join(f"{m['found'][key]:.0%}" for key in heads)
    + f" | {m['robust']:.0%} |"
    for m in models
)
say(
    "<details><summary>All answers (for readers who cannot click)</summary>\n\n"
    f"| model | what it is | truth | claim | {' | '.join(heads)} | best known attack |\n|{'---|' * (len(heads) + 5)}\n{rows}\n\n"
    f"n = {record['gallery']['n']} images; all numbers are upper bounds.\n\n</details>"
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
(known,) = [m for m in models if m["name"] == "the defence of this lesson"]
weakest = min(known["found"], key=known["found"].get)
say(
    f"Honest models lose some images under the suite, too. That makes no fraud: a fraud claims far more than is left. Model {known['letter']} is the "
    f"defence that you broke. Of the six attacks, '{weakest}' finds most: it leaves {known['found'][weakest]:.0%}, your kind of attack "
    f"{known['robust']:.0%}. The audit has no other network at hand unless you give it one (`sources`)."
)

# %% [markdown]
# ## Your turn
#
# The explorer measures with the quick suite. Change the attack to PGD-20 and watch where the number
# rises most along the dial.

# %%
shown = {name: nets[name] for name in ("oat", "pgd-at", "standard")}
surfaces = lesson.surfaces(shown, data)
hidden = ["width", "price", "training"]
oatlib.explore(shown, data, surfaces=surfaces, attack="quick", lam=0.4, hide=hidden)

# %% [markdown]
# ## Is this sane?

# %% tags=["nbval-check-output"]
pgd = mine("pgd")
nothing = pgd(defence, x, y, 0.0, 5, 0.0, torch.Generator().manual_seed(seed))
losses = [F.cross_entropy(logits, y).item() for _, logits in PGD(RADIUS, 20).iterates(robust_end, x, y)]
print("ε = 0 changes no image:", torch.equal(nothing, x))
print("ε = 0.5 leaves hardly any:", left_under(robust_end, PGD(0.5, 20)) < 0.05)
print("the loss rises along the steps:", losses[-1] > losses[0])
print("temperature changes no answer:", torch.equal(temperature(x).argmax(1), standard(x).argmax(1)))
farthest = (struck - x).abs().max().item()
print("your attack stays in the ball:", farthest < RADIUS + 1e-6)

# %% [markdown]
# > **Pitfalls**
# > * *Attacking probabilities, or huge logits*: where the cross-entropy is 0 there is nothing to climb.
# > * *One sample of a random network*: average gradients (EOT), and accuracies.
# > * *Trusting a list of attacks*: a new defence needs an attack that is made for it.
# > * *Security by a secret λ*: assume that the attacker knows it, or can set it.
# > * *Measuring the setting that you like*: a dial is as robust as the worst setting that an attacker can bring about.
# > * *A verdict on few images*: look at the interval first.

# %% [markdown]
# ## What we showed, and what we did not show
#
# One line can make PGD fail, and each of these lines has a remedy. A defence can withstand the suite and still fall to an attack that
# is made for it: far less is left than the suite said. The audit did not name the cause. A dial that the attacker can turn is as robust as its worst setting.
#
# **What we did not show:** that the honest networks are robust; their numbers are upper bounds, too, and we have made no
# attack for them here. Other norms, patches and photographs are open. The coin was measured for one network.
#
# ## Try this
#
# * Give `TwoOpinions` another `sure` or `veto`. Does any choice resist your attack?
# * `oatlib.audit(defence, panel, sources={"λ = 0": nets["oat"].at(0.0)})`: one hint for the audit. What does it raise now?
# * Write a defence of your own. Which question raises it? If none does, can you break it?
#
# ## Sources
#
# * Athalye, Carlini and Wagner 2018, *Obfuscated Gradients Give a False Sense of Security* (masking, BPDA, EOT)
# * Tramèr et al. 2020, *On Adaptive Attacks to Adversarial Example Defenses*
# * Carlini and Wagner 2017, *Adversarial Examples Are Not Easily Detected: Bypassing Ten Detection Methods*
# * Croce and Hein 2020, *Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks* (APGD, DLR)
# * Andriushchenko et al. 2020, *Square Attack: a Query-Efficient Black-Box Adversarial Attack via Random Search*
# * Pintor et al. 2022, *Indicators of Attack Failure: Debugging and Improving Optimization of Adversarial Examples*
#
# **Next:** [11 · Would it come out again?](11_reruns.ipynb), on what one training can tell. The appendices make a dial fast ([A](A_engineering.ipynb)) and prove a lower bound ([B](B_bracket.ipynb)). The [guide](../docs/guide.md) shows what the library does beyond it. The
# [benchmarks](../bench/README.md) have figures under the stronger attacks.

# %%
lesson.finish(
    claims=claims, table=table, defence=numbers, break_defence=broken, ends=ends, rivals=rivals, drawn=[middle, half]
)
