# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 45
# ---

# %% [markdown]
# # 11 · Would it come out again?
#
# **You will be able to**
#
# * say how sure a difference between two trainings is, from a few seeds
# * compare two systems seed by seed, and say why that needs fewer runs
# * write a sweep: all combinations of some settings, where nothing is done twice and one failure stops nothing else
# * decide when to stop running seeds, without fooling yourself
#
# **Before this:** [05 · OAT](05_oat.ipynb) · **Run time:** about 45 s on two CPU cores · **Needs:** no internet, no GPU ·
# **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
seeds: int = 5  # 3 to 10: how often everything is trained
epochs: int = 4  # 2 to 15: of each training
n: int = 256  # 64 to 500: test images that are attacked
seed: int = 0  # 0 to 9999: the first seed
recompute: bool = False  # train the 24 recorded seeds again (about 2 minutes)

# %%
import itertools  # noqa: F401 (for your code)
import random
import tempfile
from pathlib import Path
from statistics import fmean, stdev

import nbformat
import plotly.graph_objects as go
from nbformat.v4 import new_code_cell, new_notebook

import oatlib
from oatlib.course import figures
from oatlib.course.diagram import steps
from oatlib.course.exercises import check
from oatlib.course.exercises.reruns import name_of
from oatlib.course.lesson import begin, say
from oatlib.course.seeds import T95, over_seeds
from oatlib.course.sliders import sliders

lesson = begin("11_reruns", globals())
folder = Path(tempfile.mkdtemp())  # results go here

# %% [markdown]
# ## One run
#
# Two systems for handwritten digits, both measured at λ = 1. The *specialist* is a dedicated network (`pgd-at`), trained for
# this λ only. The *dial* (`oat`) is trained for every λ, in as many epochs. Is the dial less robust at λ = 1?
#
# A **plan** says what is run: the settings of all runs, then `runs`, the variants, then `grid`, lists of values of which every
# combination is run.

# %%
plan = {
    "data": "digits",
    "backbone": "plain",
    "epochs": epochs,
    "n": n,
    "eps": 24,
    "lams": [1],
    "runs": [{"recipe": "pgd-at", "lam": 1}, {"recipe": "oat"}],
    "grid": {"seed": [seed]},
}
done = oatlib.sweep(plan, folder, workers=0, progress=False)
first = {row["recipe"]: row for row in oatlib.sweep_report(folder).rows()}
NAMES = {"pgd-at": "specialist", "oat": "dial"}
figures.bars(
    list(NAMES.values()),
    {f"seed {seed}": [first[recipe]["robust"] for recipe in NAMES]},
    n=n,
    y_name="robust accuracy (an upper bound), %",
    takeaway="One run of each system; the intervals over test images overlap.",
)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
lead = 100 * (first["pgd-at"]["robust"] - first["oat"]["robust"])
say(
    f"Specialist minus dial with seed {seed}: **{lead:+.1f} points** (quick suite, ε = {plan['eps']}/255, n = {n}). The bars are "
    "95 % intervals: how far other test images could move these two networks. They say nothing about another *training*."
)

# %%
question = f"Both are trained with {seeds} seeds. In how many is the specialist more robust?"
lesson.predict("wins", question, 0, seeds, "seeds")

# %% [markdown]
# ## The same again
#
# A seed sets four things: which images are for training and which for testing, their order, the first weights, and the attacks.
# Add seeds to the grid, and run the same plan in the same folder. Finished runs are not done again.

# %%
plan["grid"] = {"seed": list(range(seed, seed + seeds))}
done = oatlib.sweep(plan, folder, workers=0, progress=False)
print(f"{len(done.finished)} runs are finished, {len(done.skipped)} of them were finished before")


def by_seed(where):
    """{recipe: {seed: robust accuracy}} of the sweep in a folder."""
    found = {recipe: {} for recipe in NAMES}
    for row in oatlib.sweep_report(where).rows():
        found[row["recipe"]][row["seed"]] = row["robust"]
    return found


robust = by_seed(folder)

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = go.Figure()
order = list(range(seed, seed + seeds))
for i, (recipe, name) in enumerate(NAMES.items()):
    values = [100 * robust[recipe][s] for s in order]
    lows, highs = zip(*[oatlib.wilson(round(robust[recipe][s] * n), n) for s in order], strict=True)
    bars = {
        "type": "data",
        "array": [100 * high - v for high, v in zip(highs, values, strict=True)],
        "arrayminus": [v - 100 * low for low, v in zip(lows, values, strict=True)],
        "color": figures.tint(i, 0.5),
        "thickness": 1,
    }
    x = [s + 0.03 * (2 * i - 1) for s in order]  # side by side, so that no bar hides another
    fig.add_scatter(x=x, y=values, name=name, mode="lines+markers", error_y=bars, **figures.style(i))
fig.update_xaxes(dtick=1)
figures.layout(
    fig,
    "seed",
    "robust accuracy (an upper bound), %",
    takeaway="High and low seeds are mostly the same for both systems. Their bars, 95 % intervals over test images, are as large as these moves.",
)

# %%
leads_by_seed = [100 * (robust["pgd-at"][s] - robust["oat"][s]) for s in order]
wins = sum(lead > 0 for lead in leads_by_seed)
spans = f"The lead is {min(leads_by_seed):+.1f} to {max(leads_by_seed):+.1f} points. One run shows one of these leads, and you do not know which."
lesson.reveal("wins", wins, spans)

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
p = fmean(robust["pgd-at"].values())
say(
    f"Is this luck of training? The specialist's runs have a standard deviation of "
    f"**{100 * stdev(robust['pgd-at'].values()):.1f} points**. One network with accuracy p, tested on other {n} images again and "
    f"again, would have $\\sqrt{{p(1-p)/n}}$ = **{100 * (p * (1 - p) / n) ** 0.5:.1f} points**. So most of this spread can be "
    "luck of the *test images*, which change with the seed."
)

# %% [markdown]
# ## How sure is a mean?
#
# The mean of k runs changes, too, when all k are done again. With the standard deviation s of the runs, its **95 % interval** is
#
# $$\bar v \;\pm\; t_k \,\frac{s}{\sqrt k}$$
#
# If many people did k runs each, about 95 of 100 such intervals would contain the mean of all possible runs. `T95[k]` is $t_k$, of
# Student's distribution with k - 1 degrees of freedom. It is large for few runs, because s is then only a guess itself.
#
# ### Exercise: interval
# Difficulty ●●○○○ · 5 minutes. Return mean, lower limit and upper limit.


# %% tags=["exercise"]
def interval(values):
    """Two or more numbers -> (mean, lower limit, upper limit)."""
    raise NotImplementedError  # your code instead of this line


# %%
interval = check(interval)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>fmean</code> and <code>stdev</code> are imported above. <code>stdev</code> divides by k - 1.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from statistics import fmean, stdev
# from oatlib.course.seeds import T95
#
# def interval(values):
#     k = len(values)
#     mean = fmean(values)
#     margin = T95[k] * stdev(values) / k**0.5
#     return mean, mean - margin, mean + margin
# ```
# </details>

# %% tags=["nbval-check-output"]
numbers = [0.81, 0.79, 0.8, 0.84]
pairs = zip(interval(numbers), over_seeds(numbers), strict=True)
print("as in the library:", all(abs(a - b) < 1e-9 for a, b in pairs))

# %%
question = "How many times wider is the interval of two runs than that of five, if s is the same?"
lesson.predict("wider", question, 1, 20, "times")

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
two, three, five = (T95[k] / k**0.5 for k in (2, 3, 5))
lesson.reveal(
    "wider",
    two / five,
    f"Two runs say nearly nothing. That of three is {three / five:.1f} times wider than that of five.",
)

# %% [markdown]
# ## Seed by seed
#
# Three seeds by hand: one system reaches 80, 76 and 84 points, the other 78, 75 and 81. Each moves by 6 points or more. Their
# *differences*, seed by seed, are 2, 1 and 3. What a seed does to both systems, such as hard test images, drops out:
#
# $$\mathrm{Var}(a-b)=\mathrm{Var}(a)+\mathrm{Var}(b)-2\,\mathrm{Cov}(a,b)$$
#
# The covariance is positive if a seed moves both in the same direction. Between runs with *different* seeds it is 0.
#
# ### Exercise: paired
# Difficulty ●●○○○ · 5 minutes. Return the differences by ascending seed. Some seeds may be missing on one side.


# %% tags=["exercise"]
def paired(ours, theirs):
    """{seed: value} twice -> list of ours minus theirs, for seeds in both."""
    raise NotImplementedError


# %%
paired = check(paired)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>ours.keys() &amp; theirs.keys()</code> are the seeds of both. <code>sorted</code> puts them in order.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def paired(ours, theirs):
#     common = ours.keys() & theirs.keys()
#     differences = []
#     for seed in sorted(common):
#         differences.append(ours[seed] - theirs[seed])
#     return differences
# ```
# </details>

# %% [markdown]
# **Ablation.** Switch the pairing off, with the same runs: shift the seeds of the dial by one, so that each difference is between
# two different seeds. Over all seeds the mean stays the same.

# %%
lists = {recipe: [robust[recipe][s] for s in order] for recipe in NAMES}
shifted = dict(zip(order, lists["oat"][1:] + lists["oat"][:1], strict=True))
differences = {
    "same seed": paired(robust["pgd-at"], robust["oat"]),
    "another seed": paired(robust["pgd-at"], shifted),
}
limits = {name: interval(values) for name, values in differences.items()}


# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
def leads(runs):
    fig = go.Figure()
    for i, (name, values) in enumerate(differences.items()):
        middle, _, high = (100 * v for v in interval(values[:runs]))
        fig.add_scatter(
            x=[name] * runs, y=[100 * v for v in values[:runs]], mode="markers", showlegend=False,
            marker={"color": figures.tint(i, 0.5), "size": 7},
        )  # fmt: skip
        bar = {"type": "data", "array": [high - middle], "width": 8}
        mark = figures.style(i)["marker"] | {"size": 11}
        fig.add_scatter(x=[name], y=[middle], mode="markers", showlegend=False, error_y=bar, marker=mark)
    fig.add_hline(0, line={"color": figures.INK, "dash": "dash"})
    fig.update_xaxes(type="category", range=[-0.6, 1.6])
    texts = [f"{name}: {100 * m:+.1f} ({100 * a:+.1f} to {100 * b:+.1f})" for name, (m, a, b) in
             ((name, interval(values[:runs])) for name, values in differences.items())]  # fmt: skip
    about = f"{runs} seeds, mean and 95 % interval. {'; '.join(texts)} points."
    figures.layout(fig, "", "specialist minus dial, points", takeaway=about)
    return fig, about


sliders(leads, runs=(2, seeds, 1), start_at={"runs": seeds})

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
mean, low, high = (100 * value for value in limits["same seed"])
width = {name: 100 * (b - a) for name, (_, a, b) in limits.items()}
if low > 0:
    verdict = "the specialist is more robust"
else:
    verdict = "the dial is more robust" if high < 0 else "these seeds do not decide it"
say(
    f"Specialist minus dial: **{mean:+.1f} points ({low:+.1f} to {high:+.1f})**, {seeds} seeds. Under this attack, {verdict}. The "
    f"paired interval is {width['same seed']:.1f} points wide, the unpaired one {width['another seed']:.1f}. But two widths from "
    f"{seeds} seeds are uncertain themselves. So 24 seeds were recorded:"
)


# %%
def many_seeds():
    """The same plan with 24 seeds."""
    oatlib.sweep(plan | {"grid": {"seed": list(range(24))}}, folder / "many", workers=0, progress=False)
    values = {recipe: list(found.values()) for recipe, found in by_seed(folder / "many").items()}
    return {"n": n, "epochs": epochs, "eps": plan["eps"], "robust": values}


many = lesson.recorded("rerun_seeds", many_seeds)
ours, theirs = (many["robust"][recipe] for recipe in NAMES)
spread_paired = stdev([a - b for a, b in zip(ours, theirs, strict=True)])
spread_unpaired = (stdev(ours) ** 2 + stdev(theirs) ** 2) ** 0.5  # covariance 0

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
draws, again = random.Random(seed), []
for _ in range(1000):  # the seeds drawn again
    rows = draws.choices(list(zip(ours, theirs, strict=True)), k=len(ours))
    a, b = zip(*rows, strict=True)
    paired_spread = stdev([x - y for x, y in rows])
    again.append(((stdev(a) ** 2 + stdev(b) ** 2) ** 0.5 / paired_spread) ** 2)
again.sort()
fewer = (spread_unpaired / spread_paired) ** 2
all_mean, all_low, all_high = (100 * v for v in over_seeds([a - b for a, b in zip(ours, theirs, strict=True)]))
say(
    f"In the record (n = {many['n']}) the specialist leads by {all_mean:.1f} points ({all_low:.1f} to {all_high:.1f}). Differences "
    f"have a standard deviation of {100 * spread_paired:.1f} points with the same seed, and of {100 * spread_unpaired:.1f} with "
    f"different seeds. The interval shrinks with $\\sqrt k$. So for an interval of the same width, runs with different seeds must be "
    f"**{fewer:.1f} times as many** (95 % interval {again[25]:.1f} to {again[974]:.1f})."
)

# %% [markdown]
# ## Write a sweep
#
# `oatlib.sweep` does what you would do by hand. Here you write it yourself, for any function:

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
boxes = [("lists of", "settings"), ("the next", "combination"), ("done before?", "skip it"), ("run it,", "catch errors"), ("keep result", "or error")]  # fmt: skip
steps({"a sweep": boxes}, "A sweep skips what is done, and goes on after an error.", "a sweep")

# %% [markdown]
# ### Exercise: all_runs
# Difficulty ●●○○○ · 6 minutes. Return one dictionary for each combination. The last name changes fastest.


# %% tags=["exercise"]
def all_runs(grid):
    """{name: list of values} -> list of {name: value}."""
    raise NotImplementedError


# %%
all_runs = check(all_runs)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>itertools.product(*lists)</code> yields the combinations of several lists.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import itertools
#
# def all_runs(grid):
#     runs = []
#     for values in itertools.product(*grid.values()):
#         runs.append(dict(zip(grid, values, strict=True)))
#     return runs
# ```
# </details>

# %% [markdown]
# ### Exercise: run_all
# Difficulty ●●●○○ · 10 minutes. Do every run that is not in `done`. `name_of(settings)` names a run. Put results into `done`. A run
# that raises an exception must not stop the others. Ctrl-C must.


# %% tags=["exercise"]
def run_all(run, runs, done):
    """Fill done, {name: run(settings)}. Return {name: error} of failed runs."""
    raise NotImplementedError


# %%
run_all = check(run_all)

# %% [markdown]
# <details><summary>Hint</summary>
# <code>try: ... except Exception as error:</code> around <code>run(settings)</code>. Ctrl-C is a KeyboardInterrupt, which is no
# <code>Exception</code>.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from oatlib.course.exercises.reruns import name_of
#
# def run_all(run, runs, done):
#     failed = {}
#     for settings in runs:
#         name = name_of(settings)
#         if name in done:
#             continue
#         try:
#             done[name] = run(settings)
#         except Exception as error:
#             failed[name] = str(error)
#     return failed
# ```
# </details>


# %% [markdown]
# Now your sweep attacks the first specialist with several radii. One of them is not valid. Each number is of one attack, so it is a
# looser upper bound than that of the suite above.

# %%
net = oatlib.load(folder / "runs" / done.plan.runs[0].id / "net.safetensors")
images = oatlib.load_data("digits", seed).test.panel(n)


def under_attack(settings):
    """Accuracy of the specialist under an attack of this radius, in units of 1/255."""
    attack = oatlib.APGD(eps=settings["eps"] / 255, steps=10)
    return oatlib.evaluate(net, images, attack, [1], progress=False)[0].robust


results = {}
for attempt in (1, 2):
    before = len(results)
    failed = run_all(under_attack, all_runs({"eps": [0, 24, 255, 256]}), results)
    print(f"attempt {attempt}: {len(results) - before} new, {len(failed)} failed")
for eps in (0, 24, 255):
    print(f"ε = {eps}/255: {100 * results[name_of({'eps': eps})]:.1f} % are right")
assert results[name_of({"eps": 0})] == first["pgd-at"]["clean"], "without an attack it is the clean accuracy"
assert results[name_of({"eps": 255})] == 0, "every image can become every other one"

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
x, y = images.x[:6], images.y[:6]
f = net.at(1)
struck = oatlib.APGD(eps=24 / 255, steps=10)(f, x, y)
figures.images(
    {"image": x, "attacked, ε = 24/255": struck, "change × 4": figures.change(x, struck, 4)},
    {
        name: [f"says {c}" for c in f(z).argmax(1).tolist()]
        for name, z in (("image", x), ("attacked, ε = 24/255", struck))
    },
    tile=76,
    takeaway="Six of the images behind such a number: clean, attacked, and the change magnified 4 times.",
)

# %% tags=["nbval-check-output"]
small = {"seed": [0, 1], "eps": [8, 16]}
library = [run.varied for run in oatlib.read_plan({"recipe": "oat", "grid": small}).runs]
print("combinations as in the library:", library == all_runs(small))

# %% [markdown]
# The library's sweep also runs several processes at once, survives a process that dies, and names a result by a hash of settings,
# code and data: if one of them changes, the run is done again. A file does the same from the shell:
#
# ```toml
# recipe = "oat"
# data = "digits"
#
# [grid]
# seed = [0, 1, 2]
# eps = [16, 24]
# ```
#
# `oatlib sweep FILE.toml --out runs` runs it on all cores, and `oatlib report runs` writes a page to send to others.
#
# ## The report
#
# It puts runs together that differ in their seed only. This is the report of the first sweep. Its robust accuracies are upper
# bounds. Each interval is that of one system alone: for a difference, pair by seed. The column on coins is empty, because a coin
# needs two values of λ. A “-” under a clean accuracy means that not every seed reaches it.

# %%
report = oatlib.sweep_report(folder)
report

# %%
report.figures()[0]

# %% [markdown]
# ## A notebook is a run, too
#
# Every lesson has a cell of parameters. `oatlib rerun 05_oat -p seed 1` runs it with another seed, and a plan can do so many times:
# `{"notebook": "05_oat", "grid": {"seed": [1, 2, 3]}}`. A lesson takes a minute, so here is a notebook of two cells.

# %%
first_cell = new_code_cell("throws: int = 1000  # 1 to 10000: of a coin\nseed: int = 0")
first_cell.metadata.tags = ["parameters"]
second_cell = new_code_cell(
    "import random\n"
    "random.seed(seed)\n"
    "share = sum(random.random() < 0.5 for _ in range(throws)) / throws\n"
    'record = {"lesson": "coin", "results": {"share": share}}\n'
    'display({"application/vnd.oatlib.record+json": record}, raw=True)'
)
nbformat.write(new_notebook(cells=[first_cell, second_cell]), folder / "coin.ipynb")
coins = {"notebook": str(folder / "coin.ipynb"), "grid": {"seed": [0, 1]}}
print(oatlib.sweep(coins, folder / "coins", workers=0, progress=False).plan)
for row in oatlib.sweep_report(folder / "coins").rows():
    print(f"seed {row['seed']}: share {row['share']:.3f}")

# %% [markdown]
# ## When to stop
#
# It is tempting to add seeds until the interval leaves 0. But every look is another chance to be fooled. If two systems are equal,
# and m looks were independent, at least one of them would find a difference with probability
#
# $$1-(1-0.05)^m$$
#
# Looks share their seeds, so it is less. The figure below the exercise shows how much is left.
#
# ### Exercise: enough
# Difficulty ●●●●○ · 20 minutes. An open one. Your rule sees the differences after every seed, at most 10 of them, and says when it is
# decided which system is better. The check simulates pairs of equal systems: at most 1 in 20 may be called different. Of pairs whose
# difference is two standard deviations, at least 6 in 10 must be found. Try the plain 95 % interval first.


# %% tags=["exercise"]
def enough(differences):
    """Differences of the seeds so far -> True if they decide."""
    raise NotImplementedError


# %%
enough = check(enough)

# %% [markdown]
# <details><summary>Hint</summary>
# Ask for a wider interval, for more seeds before the first look, or look at a few numbers of seeds only.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def enough(differences):
#     if len(differences) < 3:
#         return False
#     mean, low, high = interval(differences)
#     return abs(mean) > 1.7 * (high - mean)
# ```
#
# Others work, too. The factor was found by simulation.
# </details>


# %%
def plain(differences):
    """The rule that fools: stop as soon as the 95 % interval leaves 0."""
    if len(differences) < 2:
        return False
    _, low, high = interval(differences)
    return low > 0 or high < 0


def stops_at(rule, differences):
    """Number of seeds after which a rule stops, or None."""
    return next((k for k in range(1, len(differences) + 1) if rule(differences[:k])), None)


draws = random.Random(seed)
equal = [[draws.gauss(0, 1) for _ in range(10)] for _ in range(500)]  # differences of equal systems
stops = {"plain 95 % interval": plain, "your rule": enough}
stops = {name: [stops_at(rule, each) for each in equal] for name, rule in stops.items()}

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
looks, series = range(2, 11), {}
for name, ends in stops.items():
    wrong = [sum(k is not None and k <= look for k in ends) for look in looks]
    bands = [oatlib.wilson(count, len(equal)) for count in wrong]
    series[name] = tuple(
        [100 * v for v in values] for values in ([w / len(equal) for w in wrong], *zip(*bands, strict=True))
    )
fig = figures.lines(
    looks,
    series,
    x_name="seeds so far, with a look after each",
    y_name="equal systems called different, %",
    takeaway=f"After 10 seeds the plain interval has called {series['plain 95 % interval'][0][-1]:.0f} % of {len(equal)} equal pairs different, your rule {series['your rule'][0][-1]:.0f} %.",
)
fig.add_hline(5, line={"color": figures.INK, "dash": "dash"})

# %% jupyter={"source_hidden": true}
# Text and tables. You need not read this cell.
recorded = paired(dict(enumerate(ours[:10])), dict(enumerate(theirs[:10])))
live_stop, recorded_stop = (stops_at(enough, each) for each in (differences["same seed"], recorded))
say(
    f"Dashed: 5 %. Bands: 95 % intervals over {len(equal)} simulated pairs. By your rule, your {seeds} seeds "
    + (f"decide after {live_stop}" if live_stop else "do **not** decide")
    + ", and of the recorded ones "
    + (f"the first **{recorded_stop}** do" if recorded_stop else "the first 10 do not")
    + ". The plain interval further up is valid only if the number of seeds was fixed before the first look."
)

# %% [markdown]
# > **Takeaway.** A number from one training is one draw. Report mean, interval and number of seeds, and compare seed by seed.
#
# > **Pitfalls**
# > * *An interval over images taken for one over trainings*: it says nothing about other first weights, orders and attacks.
# > * *A spread over seeds taken for luck of training*: here a seed also draws the test images. `data_seed` in a plan fixes them.
# > * *The best of several seeds*: it can only rise with every seed that you try. Report the mean.
# > * *Overlapping intervals read as "no difference"*: look at the interval of the differences.
# > * *Adding seeds until it is significant*: decide on the number before, or use a rule that is made for looking.
# > * *Old results after a change of the code*: name results by all that they depend on.
#
# ## What we showed, and what we did not show
#
# With another seed the same training ends some points higher or lower. Most of this can be luck of the test images. Pairs with the
# same seed need fewer runs for the same answer. A rule that looks after every seed needs a wider interval.
#
# **What we did not show:** that the dial always pays this price: these are small images, short trainings, one radius and one network.
# The robust accuracies are upper bounds, and a stronger attack could change their difference (lesson [10](10_is_it_robust.ipynb)).
# Nor that pairs help as much where all runs share one test set, or that differences are roughly normal, as Student's t assumes.
#
# ## Try this
#
# * Set `epochs` to 8. Does the difference stay?
# * Replace `oat` by `{"recipe": "oat", "loss": "sampled"}` in the plan. What does the report say?
# * Add `"data_seed": 0` to the plan: all runs then share the images of seed 0. Which spread becomes smaller?
# * Rerun this lesson as a sweep over `n`. Which intervals become narrower, and why?
#
# ## Sources
#
# * Student 1908, *The Probable Error of a Mean*
# * Bouthillier et al. 2021, *Accounting for Variance in Machine Learning Benchmarks*
# * Armitage, McPherson and Rowe 1969, *Repeated Significance Tests on Accumulating Data*
#
# **Next:** [12 · Does it hold on photographs?](12_real_images.ipynb): one rule for all numbers of the course so far.

# %%
lesson.finish(
    lead=mean,
    low=low,
    high=high,
    width=width,
    wins=wins,
    robust={NAMES[recipe]: lists[recipe] for recipe in NAMES},
)
