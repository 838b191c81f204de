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
# # 02 · Can a network learn to resist, and what does it pay?
#
# **You will be able to**
#
# * explain adversarial training as a game: an attacker moves images, a defender moves weights
# * write the loss, the training step and the training loop, and train a robust network with them
# * say what robustness costs in clean accuracy, and compute before any training how much can be kept
# * improve a training loop within a fixed amount of computation
#
# **Before this:** [01 · The attack](01_attack.ipynb) · **Run time:** about 60 s on two CPU cores · **Needs:** no internet, no GPU · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
data_set: str = "shapes"  # one of shapes, digits: the images
n: int = 256  # 32 to 512: validation images that are attacked (digits: 200 at most)
eps: float = 8.0  # 1 to 16: radius of the ball, in 1/255 of the range of a pixel
epochs: int = 4  # 1 to 30: of every training in this lesson
seed: int = 0  # 0 to 9999: of data, weights and attacks
retrain: bool = False  # train the networks here instead of loading the included ones
recompute: bool = False  # measure the record again (about 2 minutes)

# %%
import plotly.graph_objects as go
import torch
import torch.nn.functional as F

import oatlib
from oatlib import FGSM, PGD, Suite
from oatlib.course import figures
from oatlib.course.diagram import diagram
from oatlib.course.equal_passes import at_equal_passes
from oatlib.course.exercises import check, mine
from oatlib.course.lesson import begin, say
from oatlib.course.sliders import sliders
from oatlib.course.two_pixels import accuracy, small_net, two_cues

lesson = begin("02_adversarial_training", globals())
data = oatlib.load_data(data_set, seed=seed)
panel = data.val.panel(min(n, len(data.val)))  # the images that are measured
x, y, n, radius = panel.x, panel.y, len(panel), eps / 255

# %% [markdown]
# ## The failure, and a defence that seems obvious
#
# Lesson 01 attacked a network that was trained on clean images. Almost all of its answers became wrong.
# A first idea is to train on **noisy** images, so that the network gets used to changed pixels.
# Here are two changes of the same size. One is random: every pixel moves by +ε or -ε (a random corner of the ball). The other
# one is computed by the attacker.

# %%
standard = lesson.network("standard", data)
noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).sign()
noisy = (x + radius * noise).clamp(0, 1)
attacked = PGD(radius, 20)(standard.at(), x, y, torch.Generator().manual_seed(seed))

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from oatlib.explorer.description import captions


def answers(net, images):
    """What a network answers to a few images."""
    return [f"answer: {data.classes[c]}" for c in net.at()(images).argmax(1)]


kept = {
    name: (standard.at()(images).argmax(1) == y).float().mean().item()
    for name, images in (("noise", noisy), ("attack", attacked))
}
few = list(range(6))
if data_set == "shapes":  # the last image: a pale shape that lies, if there is one
    pale_lies = (panel.facts["shape"] != y) & (panel.facts["vividness"] < 0.2)
    few[5:] = [i for i in pale_lies.nonzero()[:, 0].tolist() if i > 4][:1] or [5]
first_row = figures.stacked(captions(data, panel, few), answers(standard, x[few]))
figures.images(
    {
        "image": x[few],
        "noise × 16": figures.change(x, noisy, 16)[few],
        "attack × 16": figures.change(x, attacked, 16)[few],
        "attacked": attacked[few],
    },
    {
        "image": first_row,
        "noise × 16": answers(standard, noisy[few]),
        "attack × 16": answers(standard, attacked[few]),
    },
    takeaway=f"With noise {kept['noise']:.0%} of the answers of the standard network are right, "
    f"with an attack of the same size at most {kept['attack']:.0%} (n = {n}).",
)

# %% [markdown]
# Under each image stand its class, the drawn shape, and the answer of the standard network. Under each change stands the answer
# to image + change. The changes are magnified 16 times, and grey means no change.
#
# Every image holds two cues. Its **texture** is too faint to see, and always tells the class. Its **shape** is easy to see, but
# some images show the shape of another class: the shape "lies". A vivid shape never lies. A pale one often does.
#
# Later you train three networks with one loop: on clean, on noisy, and on attacked images.

# %%
lesson.predict("noise", "What is the accuracy under attack after training on noisy images?", 0, 100)

# %% [markdown]
# ## The idea: a game
#
# Lesson 01 used the gradient with respect to the image. Training uses the gradient of the same loss with respect to the
# weights. Adversarial training takes turns between the two.

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
diagram("02")

# %% [markdown]
# The attacker moves every image within its ball so that the loss **rises**. The defender moves the weights so that the loss
# on the moved images **falls**. Below, θ are the weights (w in the diagram), f are the logits, and CE is the cross-entropy:
#
# $$\min_\theta \; \frac{1}{N}\sum_{i=1}^{N} \; \max_{\|x_i'-x_i\|_\infty \le \varepsilon} \mathrm{CE}\big(f_\theta(x_i'),\, y_i\big)$$
#
# The inner maximum cannot be computed exactly. A few steps of PGD find a lower bound of it. SGD searches for the outer minimum.
#
# ## A small case: images of two pixels
#
# An image of two pixels is a point in the plane. The attack may move each pixel by ε = 0.1.
#
# * The **left pixel** is a loud cue, about 0.3 or 0.7. In about one of ten images it lies: it has the value of the other class.
# * The **right pixel** is a faint cue, about 0.47 or 0.53. It never lies, but an attack can move it from one value to the other.
#
# The built-in images have the same two kinds of cues: the shape is loud, the texture is faint.

# %%
points, labels, lies = two_cues(seed)  # 256 images (256, 2), their classes, and which loud cues lie

# %% [markdown]
# ### First function: one loss for clean and attacked images
#
# How much should the attacked images count, and how much the clean ones? A weight λ between 0 and 1 decides:
#
# $$L(\theta) = (1-\lambda)\,\mathrm{CE}\big(f_\theta(x), y\big) + \lambda\,\mathrm{CE}\big(f_\theta(x'), y\big)$$
#
# Here are the numbers for three images and an untrained network.

# %%
tiny = small_net(seed)
x3, y3 = points[:3], labels[:3]
x3_adv = FGSM(0.1)(tiny, x3, y3)
print("clean loss of each image:   ", F.cross_entropy(tiny(x3), y3, reduction="none").detach())
print("attacked loss of each image:", F.cross_entropy(tiny(x3_adv), y3, reduction="none").detach())

# %% [markdown]
# ### Exercise: at_loss
# Difficulty ●●○○○ · 5 minutes. Write the formula above, as one number for the batch. The attacked images `x_adv` are given.


# %% tags=["exercise"]
def at_loss(net, x, x_adv, y, lam):
    """(1 - lam) * mean clean loss + lam * mean loss of the attacked images."""
    raise NotImplementedError  # your code instead of this line


# %%
at_loss = check(at_loss)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>F.cross_entropy(net(x), y)</code> is already a mean over the images. You need it twice.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def at_loss(net, x, x_adv, y, lam):
#     clean_loss = F.cross_entropy(net(x), y)
#     attacked_loss = F.cross_entropy(net(x_adv), y)
#     return (1 - lam) * clean_loss + lam * attacked_loss
# ```
# </details>

# %%
for lam in (0.0, 0.5, 1.0):
    print(f"λ = {lam}: loss {at_loss(tiny, x3, x3_adv, y3, lam).item():.4f}")

# %% [markdown]
# With λ = 0 the loss is the mean of the clean losses, with λ = 1 that of the attacked ones.
#
# ### Second function: one step of both players
#
# Two details matter:
#
# * **Mode.** The attack must meet the network as it will be used, in evaluation mode. The update needs train mode, in which BatchNorm collects statistics.
# * **Old gradients.** `loss.backward()` adds to the gradients that are there. Set them to zero first.
#
# ### Exercise: at_step
# Difficulty ●●○○○ · 8 minutes. `attack(net, x, y)` returns attacked images. Use `at_loss`, and update the weights once.


# %% tags=["exercise"]
def at_step(net, optimizer, x, y, attack, lam):
    """Attack x in eval mode, then update the weights in train mode.
    Return the loss before the update, as a number."""
    raise NotImplementedError


# %%
at_step = check(at_step)

# %% [markdown]
# <details><summary>Hint</summary>
# Seven lines: <code>net.eval()</code>, attack, <code>net.train()</code>, loss, zero_grad, backward, step. Then return
# <code>loss.item()</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def at_step(net, optimizer, x, y, attack, lam):
#     net.eval()
#     x_adv = attack(net, x, y)
#     net.train()
#     loss = at_loss(net, x, x_adv, y, lam)
#     optimizer.zero_grad()
#     loss.backward()
#     optimizer.step()
#     return loss.item()
# ```
# </details>

# %%
optimizer = torch.optim.SGD(tiny.parameters(), lr=0.02)
steps = [at_step(tiny, optimizer, x3, y3, FGSM(0.1), lam=1.0) for _ in range(5)]
print("attacked loss, step by step:", [round(loss, 3) for loss in steps])

# %% [markdown]
# ## Play the game
#
# The loss above does not fall at every step, because the attacker answers every update. Now you play both sides, on 256 images.
# The game begins with a network trained on clean images.
#
# * An *attacker step* moves every point by ε/3 up the loss. It stays in its square, the ball of radius ε.
# * A *defender step* updates the weights five times. The points stay where they are.
# * A *round* is what training does: a whole attack from the true points, then one update.
# * *Play* repeats rounds until you press it again.


# %%
class Game:
    """A network for two pixels, and where the attacker has moved the points."""

    def __init__(self):
        self.eps = 0.1
        self.lam = 1.0
        self.attack = PGD(0.1, 7, best=False)
        self.start()

    def start(self):
        """Train on clean points for 200 steps. No point is moved."""
        self.net = small_net(seed)
        self.moved = points
        self.optimizer = torch.optim.Adam(self.net.parameters(), 0.01)
        for _ in range(200):
            self.update()
        self.rounds = 0

    def attacker_step(self):
        """Move every point one step up the loss. It stays inside its square."""
        step = PGD(self.eps / 3, 1, self.eps / 3, start="none", best=False)
        moved = step(self.net, self.moved, labels)
        self.moved = points + (moved - points).clamp(-self.eps, self.eps)

    def update(self):
        """One step down the loss, on the points where they are now."""
        at_step(self.net, self.optimizer, points, labels, lambda net, x, y: self.moved, self.lam)

    def one_round(self):
        """A whole attack from the true points, then one update."""
        self.moved = self.attack(self.net.eval(), points, labels)
        self.update()
        self.rounds += 1


# %%
def scores(net, eps=0.1):
    """Accuracy on the points as they are, and after PGD-20."""
    x_adv = PGD(eps, 20)(net.eval(), points, labels)
    return {"clean": accuracy(net, points, labels), "robust": accuracy(net, x_adv, labels)}


game = Game()
before = scores(game.net)

# %%
lesson.predict("after", "After 150 rounds, what share of the points is right under PGD-20?", 0, 100)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
LOW, HIGH = 0.2, 0.8  # of the faint pixel, as far as it is drawn


def plane(net):
    """Two traces: the answer of a network at all values of the two pixels, and the border."""
    across, up = torch.linspace(0, 1, 90), torch.linspace(LOW, HIGH, 70)
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
    with torch.no_grad():
        z = net.eval()(grid).softmax(1)[:, 1].reshape(70, 90)
    colours = [[0, "#bcd7ea"], [1, "#f6cdb3"]]
    areas = go.Heatmap(x=across, y=up, z=z, zmin=0, zmax=1, colorscale=colours, showscale=False)
    border = go.Contour(x=across, y=up, z=z, showscale=False, showlegend=False, hoverinfo="skip")
    border.contours = {"start": 0.5, "end": 0.5, "size": 1, "coloring": "none"}
    border.line = {"color": "#333", "width": 1.5}
    return [areas, border]


def corners(net):
    """A trace: the answer of a network in words, near the corners of the picture."""
    spots = torch.tensor([[a, b] for a in (0.08, 0.92) for b in (LOW + 0.03, HIGH - 0.03)])
    with torch.no_grad():
        text = [f"answers {c}" for c in net.eval()(spots).argmax(1).tolist()]
    look = {"mode": "text", "text": text, "textfont": {"color": "#333"}, "showlegend": False}
    return go.Scatter(x=spots[:, 0], y=spots[:, 1], hoverinfo="skip", **look)


def ball(centre, eps):
    """The square in which a point can be moved."""
    a, b = centre.tolist()
    sides = {"x0": a - eps, "x1": a + eps, "y0": b - eps, "y1": b + eps}
    return {"type": "rect", "line": {"color": "#444", "width": 1}} | sides


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def board(played, takeaway):
    """The picture of a game: the answers of its network, the points, and six of the squares."""
    fig = go.Figure([*plane(played.net), corners(played.net)])
    gap = torch.full_like(points, float("nan"))
    ways = torch.stack([points, played.moved, gap], 1).reshape(-1, 2)
    line = {"color": "#777", "width": 1}
    fig.add_scatter(x=ways[:, 0], y=ways[:, 1], mode="lines", line=line, name="moved")
    for label, (symbol, colour) in enumerate([("circle", "#1b5e8c"), ("square", "#b34700")]):
        at = played.moved[labels == label]
        mark = {"symbol": symbol, "color": colour, "size": 6}
        fig.add_scatter(x=at[:, 0], y=at[:, 1], mode="markers", marker=mark, name=f"class {label}")
    figures.layout(fig, "loud pixel", "faint pixel", height=480, takeaway=takeaway)
    fig.update_layout(shapes=[ball(points[i], played.eps) for i in range(0, 256, 51)])
    fig.update_xaxes(range=[0, 1], constrain="domain")
    fig.update_yaxes(range=[LOW, HIGH], constrain="domain", scaleanchor="x")
    return fig


def draw_game(eps, lam, attacker):
    """The picture of the game at the chosen settings, and its scores."""
    game.eps, game.lam = eps, lam
    game.attack = FGSM(eps) if attacker.startswith("FGSM") else PGD(eps, 7, best=False)
    game.moved = points + (game.moved - points).clamp(-eps, eps)
    now = scores(game.net, eps)
    takeaway = "At first the border runs between the two layers of points and cuts every square."
    return board(game, takeaway), (
        f"round {game.rounds}: <b>{now['clean']:.0%}</b> of the points are right, and "
        f"<b>{now['robust']:.0%}</b> after PGD-20 at this ε (n = 256, an upper bound)"
    )


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
sliders(
    draw_game,
    buttons={
        "attacker step": game.attacker_step,
        "defender step": lambda: [game.update() for _ in range(5)],
        "one round": game.one_round,
        "start again": game.start,
    },
    play={"play": lambda: [game.one_round() for _ in range(3)]},
    labels={"eps": "radius ε", "lam": "weight λ of attacked points", "attacker": "attack of a round"},
    start_at={"eps": 0.1, "lam": 1.0},
    eps=(0.0, 0.2, 0.01),
    lam=(0.0, 1.0, 0.1),
    attacker=["PGD-7", "FGSM, one long step"],
)

# %% [markdown]
# The colours show the answer of the network everywhere, and six of the 256 squares are drawn. At first the border between the
# colours runs between the two thin layers, through every square. Watch how the game turns it.

# %%
played = Game()
for _ in range(150):
    played.one_round()
after = scores(played.net)
lesson.reveal(
    "after",
    100 * after["robust"],
    "an upper bound. The points whose loud cue lies are wrong, and so are some near the border.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
from IPython.display import display

low, high = oatlib.wilson(round(256 * after["robust"]), 256)
clean_low, clean_high = oatlib.wilson(round(256 * after["clean"]), 256)
margin = (points[:, 0] - 0.5) * (2 * labels - 1)  # by how much the loud pixel is on the right side
loud_rule, robust_rule = (margin > 0).float().mean(), (margin > 0.1).float().mean()
with torch.no_grad():
    wrong = played.net.eval()(points).argmax(1) != labels
takeaway = "After 150 rounds the border is steep: it separates the points by the loud cue."
played.moved = points  # draw the points where they are without attack
display(board(played, takeaway))
say(
    f"Before the game: clean {before['clean']:.0%}, robust {before['robust']:.0%}. After it: clean "
    f"**{after['clean']:.0%}** (95 % interval {clean_low:.0%} to {clean_high:.0%}), robust **{after['robust']:.0%}** "
    f"({low:.0%} to {high:.0%}; PGD-20, ε = 0.1, n = 256). PGD-20 gives upper bounds. The rule “loud pixel above 0.5” needs no training. It "
    f"is right on {loud_rule:.0%} of the clean points, and on {robust_rule:.0%} under **any** attack of this size: this number "
    "is exact. The network has given up the faint cue for such a rule: of "
    f"the {lies.sum()} points whose loud cue lies, it gets {wrong[lies].sum()} wrong without attack."
)

# %% [markdown]
# ## Your step is the library's step
#
# `oatlib/training/step.py` holds the training step for all networks of this course. Later lessons need one λ per image, which
# `LambdaBatch` holds. With the same λ for all images, the library must change the weights as your `at_step` does.

# %%
from oatlib.training.lambda_batch import LambdaBatch
from oatlib.training.step import train_step


def library_step(net, x, y, attack):
    """One step of the library, with the same random start and the same optimizer."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    # The zeros are indices, not λ: every image has the first λ of net.spec.stops.
    batch = LambdaBatch(x, y, torch.zeros(len(x)).long(), net.spec.stops)
    train_step(net, batch, attack, torch.Generator().manual_seed(1))
    optimizer.step()


# %%
def both_steps(lam):
    """Two equal networks after one step: yours, and the library's."""
    yours = oatlib.build("pgd-at", data, lam=lam, seed=seed)
    theirs = oatlib.build("pgd-at", data, lam=lam, seed=seed)
    x, y, attack = data.train.x[:32], data.train.y[:32], PGD(8 / 255, 2, best=False)
    same_start = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(yours.parameters(), lr=0.1)
    at_step(yours, optimizer, x, y, lambda net, x, y: attack(net, x, y, same_start), lam)
    library_step(theirs, x, y, attack)
    return yours, theirs


# %% tags=["nbval-check-output"]
for lam in (0.5, 1.0):
    pairs = zip(*[net.parameters() for net in both_steps(lam)], strict=True)
    furthest = max((a - b).abs().max().item() for a, b in pairs)
    print(f"λ = {lam}: all weights agree to 0.0001 after one step:", furthest < 1e-4)

# %% [markdown]
# ### Third function: the loop
#
# Training repeats the step over all images, in a new random order in every epoch. The order comes from a `generator`.
#
# ### Exercise: train_adversarially
# Difficulty ●●●○○ · 10 minutes. Use `at_step`. `torch.randperm(n, generator=generator)` returns the numbers 0 to n - 1 in
# random order, and `order.split(batch)` cuts them into batches.


# %% tags=["exercise"]
def train_adversarially(net, x, y, attack, epochs, optimizer, generator, batch=64, lam=1.0):
    """Train in place, and leave the network in eval mode.
    Return a list with one number per epoch: the mean of what at_step returned."""
    raise NotImplementedError


# %%
train_adversarially = check(train_adversarially)

# %% [markdown]
# <details><summary>Hint</summary>
# Two loops: over epochs, and over <code>order.split(batch)</code>. Each item of the inner loop is a tensor of indices, and
# <code>x[index]</code> is a batch. Begin a new list of losses in every epoch.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def train_adversarially(net, x, y, attack, epochs, optimizer, generator, batch=64, lam=1.0):
#     curve = []
#     for epoch in range(epochs):
#         losses = []
#         order = torch.randperm(len(x), generator=generator)
#         for index in order.split(batch):
#             loss = at_step(net, optimizer, x[index], y[index], attack, lam)
#             losses.append(loss)
#         curve.append(sum(losses) / len(losses))
#     net.eval()
#     return curve
# ```
# </details>

# %% [markdown]
# ## Run it on images
#
# Now your loop trains a network of three convolutions on all training images. `mine("pgd")` fetches the attack that you wrote in
# lesson 01. It takes three steps here. The three trainings are an **ablation**: one thing differs, the attack. Start weights,
# images and their order are the same.

# %%
pgd = mine("pgd")
random = torch.Generator().manual_seed(seed)  # of the attacks


def no_attack(net, x, y):
    return x


def random_corner(net, x, y):
    return (x + radius * torch.randn(x.shape, generator=random).sign()).clamp(0, 1)


def your_pgd(net, x, y):
    return pgd(net, x, y, radius, 3, radius * 2.5 / 3, random)


# %%
def train_with(attack):
    """A network trained by your loop, and its curve."""
    net = oatlib.build("pgd-at", data, backbone="plain", lam=1.0, seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    order = torch.Generator().manual_seed(seed)
    curve = train_adversarially(net, data.train.x, data.train.y, attack, epochs, optimizer, order)
    return net, curve


attacks = {"no attack": no_attack, "random corner": random_corner, "your pgd": your_pgd}
trained = {name: train_with(attack) for name, attack in attacks.items()}

# %%
strong = Suite(eps=radius, budget="quick")  # several attacks; an image counts if all of them fail
live = {}
for name, (net, curve) in trained.items():
    (live[name],) = oatlib.evaluate(net, panel, strong, progress=False)
    print(f"{name:14} mean loss per epoch:", [round(loss, 2) for loss in curve])

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.bars(
    list(live),
    {
        "clean": [result.clean for result in live.values()],
        "quick suite": [result.robust for result in live.values()],
    },
    n=n,
    y_name="accuracy, % (quick suite: an upper bound)",
    height=380,
    takeaway="Only the network that was trained on attacked images is often right under attack: "
    f"at most {live['your pgd'].robust:.0%}, against {live['random corner'].robust:.0%} with noise.",
)

# %%
lesson.reveal(
    "noise",
    100 * live["random corner"].robust,
    "an upper bound, by the quick suite. Noise of this size leaves every cue readable. So nothing makes the network give up the faint ones.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
result = live["your pgd"]
say(
    f"Your network is right on **{result.clean:.1%}** of clean images (95 % interval "
    f"{result.clean_low:.1%} to {result.clean_high:.1%}) and on **{result.robust:.1%}** "
    f"({result.robust_low:.1%} to {result.robust_high:.1%}) under the quick suite at "
    f"{eps:g}/255, n = {n}. "
    f"The same loop without attack gives {live['no attack'].clean:.1%} "
    f"and {live['no attack'].robust:.1%}. Both robust numbers are upper bounds. The training loss of your network starts "
    f"near that of guessing, {torch.tensor(float(len(data.classes))).log():.2f}, and falls slowly: "
    "the attacker answers every update."
)

# %% [markdown]
# ## What does the robust network look at?
#
# A program draws the built-in images. So it is known which shape each image shows, and whether this shape tells the class.
# Look at the clean images whose shape lies. Only the texture tells their class.

# %%
lesson.predict("lying", "Clean images whose shape lies: what share does your network get right?", 0, 100)

# %%
from oatlib.data.scenes import effect_of, scene_of

seen = oatlib.load_data("shapes", seed=seed)
scene = scene_of(seen, seen.val.panel(n))  # the measured images, with all that is known of them
lying = scene.shape != scene.y
ceiling = 1 - lying.float().mean().item()

# %%
looked_at = {name: lesson.network(name, seen) for name in ("standard", "pgd-at")}
if data_set == "shapes":
    looked_at["yours"] = trained["your pgd"][0]
texture_says = {}
shape_says = {}
effects = {}
for name, net in looked_at.items():
    answer = net.at()(scene.x).argmax(1)
    texture_says[name] = (answer == scene.y)[lying].float().mean().item()
    shape_says[name] = (answer == scene.shape)[lying].float().mean().item()
    x_adv = PGD(radius, 20)(net.at(), scene.x, scene.y, torch.Generator().manual_seed(seed))
    effects[name] = effect_of(scene, x_adv - scene.x)  # of the attack, on each cue

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
figures.bars(
    list(looked_at),
    {
        "answers the class (as the texture tells)": list(texture_says.values()),
        "answers the shape that is drawn": list(shape_says.values()),
    },
    n=int(lying.sum()),
    y_name="share of the images, %",
    title=f"clean images whose shape lies (n = {int(lying.sum())})",
    height=380,
    takeaway=f"The standard network answers the class of {texture_says['standard']:.0%} of these "
    f"images. pgd-at answers the drawn shape in {shape_says['pgd-at']:.0%} of them.",
)

# %%
last = list(looked_at)[-1]  # yours
lesson.reveal(
    "lying",
    round(100 * texture_says[last]),
    f"on {shape_says[last]:.0%} of them it answers the drawn shape.",
)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
best = live["your pgd"]


def mean_of(values):
    """A mean with its 95 % interval, as text in percent."""
    half = 1.96 * values.std().item() / len(values) ** 0.5
    return f"{100 * values.mean().item():.0f} ± {100 * half:.0f} %"


contrast = scene.contrast.abs()
largest = radius * (contrast.sum(1) / contrast.square().sum(1)).mean()  # share of a shape
free = (scene.trust >= 1).float().mean()  # images whose shape cannot lie

rows = ["| PGD-20 against | erases of the texture | erases of the shape |", "|---|---|---|"]
for name, effect in effects.items():
    rows.append(f"| {name} | {mean_of(effect.erased)} | {mean_of(effect.faded)} |")
say(
    "Then look at what the attacker does to the two cues (means over all images, with 95 % "
    "intervals). At 100 % a cue is gone. A pixel of the shape differs from the background by much "
    f"more than ε. So on average at most about {largest:.0%} of a shape can be erased.\n\n"
    + "\n".join(rows)
    + "\n\nA step of PGD uses only the sign of the gradient. So the attacker also changes cues that "
    f"the network hardly uses. Against pgd-at it erases {effects['pgd-at'].erased.mean():.0%} of the "
    f"texture. But where the shape lies, pgd-at gives the answer of the texture for only {texture_says['pgd-at']:.0%} of the images."
)
say(
    f"**A ceiling before training.** A network that does not use the texture can at best follow the "
    f"shape. The shape tells the class in **{ceiling:.1%}** of these n = {len(scene.y)} images. More "
    "cannot be expected of it, attacked or not. Your network, on "
    f"{data.name}: clean {best.clean:.1%}, robust at most {best.robust:.1%}.\n\n"
    f"**Some robustness is free.** {free:.0%} of the images have a shape so vivid that it cannot lie. "
    "On these images an ideal network follows the shape, on all others the texture. It is right on "
    "all clean images, and under attack still on those with a vivid shape. Only more robustness "
    "than this has a price."
)

# %% [markdown]
# On photographs such a ceiling is not known.

# %% [markdown]
# ## The price
#
# Two ready networks were trained with the library: `standard`, and `pgd-at` with your loss at λ = 1. They are larger than yours.
#
# A **coin** is an honest baseline. For every image it chooses `standard` or `pgd-at`, each with probability 1/2. Even if the
# attacker sees the toss, all it can do is attack the chosen network. So each accuracy of the coin is the mean of two. Its interval
# below is the mean of their intervals, which is wide enough.

# %%
nets = {name: lesson.network(name, data) for name in ("standard", "pgd-at")}
price = {name: oatlib.evaluate(net, panel, strong, progress=False) for name, net in nets.items()}
ends = [price["standard"][0], price["pgd-at"][0]]
coin_clean = (ends[0].clean + ends[1].clean) / 2
coin_robust = (ends[0].robust + ends[1].robust) / 2

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
shown = {name: [table[0]] for name, table in price.items()}
shown |= {"yours": [live["your pgd"]], "your loop without attack": [live["no attack"]]}
fig = figures.frontier(
    shown,
    height=420,
    takeaway=f"pgd-at has a clean accuracy of {ends[1].clean:.0%} and a robust one of "
    f"{ends[1].robust:.0%}, standard {ends[0].clean:.0%} and {ends[0].robust:.0%}.",
)
fig.add_scatter(
    x=[100 * end.clean for end in ends],
    y=[100 * end.robust for end in ends],
    mode="lines",
    line={"color": figures.INK, "dash": "dot"},
    name="coin: standard or pgd-at",
)
display(fig)
rows = ["| network | clean | robust, quick suite (an upper bound) |", "|---|---|---|"]
for name, (result,) in shown.items():
    rows.append(
        f"| {name} | {result.clean:.1%} ({result.clean_low:.1%} to {result.clean_high:.1%}) "
        f"| {result.robust:.1%} ({result.robust_low:.1%} to {result.robust_high:.1%}) |"
    )
coin = {
    key: sum(getattr(end, key) for end in ends) / 2 for key in ("clean_low", "clean_high", "robust_low", "robust_high")
}
rows.append(
    f"| coin, 1/2 | {coin_clean:.1%} ({coin['clean_low']:.1%} to {coin['clean_high']:.1%}) "
    f"| {coin_robust:.1%} ({coin['robust_low']:.1%} to {coin['robust_high']:.1%}) |"
)
share = (live["your pgd"].robust - ends[0].robust) / max(ends[1].robust - ends[0].robust, 0.01)
share = min(max(share, 0.0), 1.0)
same, same_low, same_high = (
    share * getattr(ends[1], key) + (1 - share) * getattr(ends[0], key) for key in ("clean", "clean_low", "clean_high")
)
say(
    "\n".join(rows) + f"\n\nn = {n} images, ε = {eps:g}/255, in brackets 95 % intervals. A coin that "
    f"chooses pgd-at with probability {share:.2f} is about as robust as your network, and is right "
    f"on {same:.1%} of the clean images ({same_low:.1%} to {same_high:.1%}). Your network: {live['your pgd'].clean:.1%}."
)

# %% [markdown]
# `pgd-at` pays for its robustness with clean accuracy, and the ceiling says why. A network below the dotted line loses
# to a coin. If yours does, do not blame the loss function, because `pgd-at` has the same one. Your network is smaller, and its
# loop is plain. `your loop without attack` is a network of its size.
#
# ## Is this network robust, or is the attack weak?
#
# A weak attack also leaves many images right. So check the attack on the network that you trained.

# %% tags=["nbval-check-output"]
robust_net = trained["your pgd"][0].at()
unmoved = PGD(0.0, 20)(robust_net, x, y)
far = Suite(eps=0.5, budget="quick").run(robust_net, x, y, progress=False).robust
walk = [F.cross_entropy(out, y).item() for _, out in PGD(radius, 20).iterates(robust_net, x, y)]
clean = accuracy(robust_net, x, y)
print("ε = 0 gives clean accuracy:", accuracy(robust_net, unmoved, y) == clean)
print("the suite at ε = 0.5 leaves less than 5 %:", far < 0.05)
print("the loss rises along the steps of the attack:", walk[-1] > walk[0])

# %% [markdown]
# ## Beat the loop
#
# Your loop uses one learning rate and one ε from the first step to the last. A better loop reaches more with the same work.
# The work is counted in **passes**: one pass is one image, sent once through the network. An attack of `steps` steps costs
# `steps` passes per image, and the update costs one more.

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
from oatlib.course.exercises.adversarial_training import PASSES

say(
    f"Above, your loop took {(3 + 1) * epochs * len(data.train):,} passes ({epochs} x "
    f"{len(data.train):,} images, three steps and the update). You now get {PASSES:,}."
)

# %% [markdown]
# ### Exercise: my_training
# Difficulty ●●●●● · 30 minutes, open-ended. Train `net` on the images `x` so that it resists attacks of 8/255, with at most
# `passes` passes. The check runs your function for about 10 s, and attacks 512 validation images with the quick suite. At least two
# of five must stay right. A plain loop may fall short.


# %% tags=["exercise"]
def my_training(net, x, y, attack, passes, generator):
    """Train net in place. attack(net, x, y, eps, steps) returns attacked
    images. Spend at most `passes` passes. Random numbers: generator."""
    raise NotImplementedError


# %%
my_training = check(my_training)

# %% [markdown]
# <details><summary>Hint</summary>
# Ideas: a learning rate that grows at first and falls at the end; an ε that grows from 0 over the first
# third; shorter gradients with <code>torch.nn.utils.clip_grad_norm_</code>; fewer steps of the attack, and so more updates.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def my_training(net, x, y, attack, passes, generator):
#     optimizer = torch.optim.SGD(net.parameters(), lr=0.4, momentum=0.9, nesterov=True)
#     batch = 64
#     steps = 3
#     cost = (steps + 1) * batch  # passes of one update
#     updates = passes // cost
#     for update in range(updates):
#         done = update / updates
#         # the learning rate grows, then falls; the ball grows from a point
#         growing = done / 0.4 + 0.02
#         falling = (1 - done) / 0.6
#         optimizer.param_groups[0]["lr"] = 0.4 * min(growing, falling)
#         eps = 8 / 255 * min(1, done / 0.3)
#         index = torch.randint(len(x), (batch,), generator=generator)
#         net.eval()
#         x_adv = attack(net, x[index], y[index], eps, steps)
#         net.train()
#         loss = F.cross_entropy(net(x_adv), y[index])
#         optimizer.zero_grad()
#         loss.backward()
#         torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
#         optimizer.step()
# ```
#
# You can beat it.
# </details>

# %% [markdown]
# ## What the same work gives
#
# The record gives the passes of the exercise to your plain loop, and to the solution.

# %%
equal = lesson.recorded("equal_passes", at_equal_passes)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rows = ["| training | clean | robust, quick suite (an upper bound) |", "|---|---|---|"]
for name, seeds in equal["rows"].items():
    cells = []
    for values in zip(*seeds, strict=True):
        mean = sum(values) / len(values)
        cells.append(f"{mean:.1%} ({min(values):.1%} to {max(values):.1%})")
    rows.append(f"| {name} | {' | '.join(cells)} |")
robust = {name: [row[1] for row in seeds] for name, seeds in equal["rows"].items()}
better = min(robust["solution of my_training"]) > max(robust["plain loop"])
say(
    "\n".join(rows)
    + f"\n\nn = {equal['n']} validation images, ε = {equal['eps']}, {equal['passes']:,} passes, mean (lowest to "
    f"highest) over {equal['seeds']} seeds. "
    + (
        "Every seed of the solution is more robust than every seed of the plain loop. So the loop matters, not only the work."
        if better
        else "The seeds of the two overlap, so these runs do not show that the loop matters."
    )
)

# %% [markdown]
# ## Your network in the explorer
#
# Compare your network with the others at other ε and attacks. The explorer measures on all validation images, so its numbers
# differ a little from those above. The robust ones are upper bounds. The dashed line is the best that any network can reach on the built-in images.

# %%
nets["yours"] = trained["your pgd"][0]
surfaces = lesson.surfaces(nets, data)
oatlib.explore(nets, data, network="yours", eps=eps, surfaces=surfaces, hide=["choose", "width"])

# %% [markdown]
# ## Aside: TRADES, another loss for the same game
#
# No later lesson needs this part.
#
# TRADES keeps the clean loss, and adds β times a penalty for answers that change under attack. Let p be the class probabilities
# for the clean image, and q those for the attacked one. The penalty is the Kullback-Leibler divergence, which is 0 only if p = q:
#
# $$\mathrm{CE}\big(f_\theta(x), y\big) + \beta\, \mathrm{KL}(p \,\|\, q), \qquad \mathrm{KL}(p\,\|\,q) = \sum_c p_c\,(\log p_c - \log q_c)$$
#
# The attacker now moves the images so that the KL rises. β sets the trade-off, as λ did.
#
# ### Exercise: trades_kl
# Difficulty ●●○○○ · 5 minutes. Write the second formula for a batch of logits.


# %% tags=["exercise"]
def trades_kl(clean, attacked):
    """KL(softmax of clean || softmax of attacked), both logits
    (N, classes): one value per image, (N,)."""
    raise NotImplementedError


# %%
trades_kl = check(trades_kl)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>log_softmax(1)</code> gives the logarithms of the probabilities without rounding errors. <code>exp()</code> of it
# gives the probabilities.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def trades_kl(clean, attacked):
#     log_p = clean.log_softmax(1)
#     log_q = attacked.log_softmax(1)
#     return (log_p.exp() * (log_p - log_q)).sum(1)
# ```
# </details>

# %%
nets["trades"] = lesson.network("trades", data)
price["trades"] = oatlib.evaluate(nets["trades"], panel, strong, progress=False)
change = {}
for name in ("standard", "pgd-at", "trades"):
    out = nets[name].at()
    x_adv = PGD(radius, 20)(out, x, y, torch.Generator().manual_seed(seed))
    change[name] = trades_kl(out(x), out(x_adv)).detach()

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
rows = [
    "| network | mean KL from clean to attacked | clean | robust, quick suite (an upper bound) |",
    "|---|---|---|---|",
]
for name, kl in change.items():
    result = price[name][0]
    rows.append(
        f"| {name} | {kl.mean():.3f} ± {1.96 * kl.std() / n**0.5:.3f} | {result.clean:.1%} ({result.clean_low:.1%} to {result.clean_high:.1%}) "
        f"| {result.robust:.1%} ({result.robust_low:.1%} to {result.robust_high:.1%}) |"
    )
differ = round(n * abs(price["pgd-at"][0].robust - price["trades"][0].robust))
say(
    "\n".join(rows)
    + f"\n\nn = {n}, ε = {eps:g}/255, in brackets 95 % intervals. The KL is that under PGD-20, so other attacks "
    "can find a larger one. A small KL alone is no merit: a network with the same answer to every image has a KL of 0.\n\n"
    f"The robust accuracies of `pgd-at` and `trades` differ by {differ} of the same {n} images. Each network was trained once, "
    "so this does not rank the two losses."
)

# %% [markdown]
# > **Pitfalls**
# > * *Attacking in train mode*: the attack then uses and changes the statistics of BatchNorm. Attack in eval mode, update in train mode.
# > * *A gradient through the attack*: attacked images are data. Detach them.
# > * *A large ε from the first step on*: training may not get beyond guessing. Let ε grow.
# > * *Judging a network by the attack of its training*: use a stronger one, such as the suite.
# > * *Choosing λ, ε or the epoch on test images*: use validation images, and use the test split once.

# %% [markdown]
# ## What we showed, and what we did not show
#
# A network can learn to resist the attack of its training, and the stronger quick suite. It then relies on other cues, and it
# loses clean accuracy.
#
# **What we did not show:**
#
# * That your network resists *every* attack. Longer attacks than the quick suite can find more errors.
# * That the price must be paid on other data. Here robustness on vivid shapes is free (dashed line of the explorer), and only
#   that on pale shapes costs clean accuracy. A small network and short training add to the price.
# * How results vary with the seed. Outside the record, each network was trained once.
# * That three steps are always enough. Lesson 02b shows a training that fools itself.
#
# One question stays open: λ must be chosen **before** training, and gives only one point of the trade-off.
#
# ## Try this
#
# * In the game: set ε to 0.02, start again and play. The faint cue is now larger than ε. Is there a price?
# * In the game: set λ = 0.5 and play. Which points are right clean and wrong under attack?
# * Set `eps` to 4 and 16 in the parameters cell. Which of your networks still learns?
#
# ## Sources
#
# * Goodfellow, Shlens and Szegedy 2015, *Explaining and Harnessing Adversarial Examples* (training on FGSM, the mixed loss)
# * Madry et al. 2018, *Towards Deep Learning Models Resistant to Adversarial Attacks* (the min-max problem, PGD training)
# * Tsipras et al. 2019, *Robustness May Be at Odds with Accuracy* (cues that are useful but not robust)
# * Zhang et al. 2019, *Theoretically Principled Trade-off between Robustness and Accuracy* (TRADES)
#
# **Next:** [02b · When training fools itself](02b_fooled.ipynb): one attack step looks as good as three, until it fails.

# %%
lesson.finish(
    game={"before": before, "after": after},
    live=[vars(result) for result in live.values()],
    ceiling=ceiling,
    price=[vars(table[0]) for table in price.values()],
    note="accuracies under attack are upper bounds",
)
