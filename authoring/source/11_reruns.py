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

# %%
import itertools  # noqa: F401 (for your code)
import tempfile
from pathlib import Path
from statistics import fmean, stdev  # noqa: F401 (for your code)

import nbformat
import plotly.graph_objects as go
from nbformat.v4 import new_code_cell, new_notebook

import oatlib
from oatlib.course import figures
from oatlib.course.exercises import check
from oatlib.course.exercises.reruns import name_of  # noqa: F401 (for your code)
from oatlib.course.lesson import begin, say
from oatlib.course.seeds import T95, over_seeds
from oatlib.course.sliders import sliders

lesson = begin("11_reruns", globals())
folder = Path(tempfile.mkdtemp())  # results go here

# %% [markdown]
# ## One run
#
# Two systems for handwritten digits, both measured at λ = 1. The *specialist* is trained for this λ only. The *dial*, OAT, is
# trained for every λ. Does the dial pay for it?
#
# A **plan** says what is run: what all runs share, then the variants, then lists of which every combination is run.

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
    f"With seed {seed} the specialist is **{lead:+.1f} points** ahead (quick suite, ε = {plan['eps']}/255, n = {n}). The bars "
    "are 95 % intervals over test images. They say nothing about another *training*."
)

# %%
question = f"Both are trained with {seeds} seeds. In how many is the specialist more robust?"
lesson.predict("wins", question, 0, seeds, "seeds")

# %% [markdown]
# ## The same again
#
# A seed sets the images, the first weights, their order, and the attacks. Add seeds to the grid, and run the same plan in the same
# folder. What is done there is not done again.

# %%
plan["grid"] = {"seed": list(range(seed, seed + seeds))}
done = oatlib.sweep(plan, folder, workers=0, progress=False)
print(f"{len(done.finished)} runs are finished, {len(done.skipped)} of them were finished before")
robust = {recipe: {} for recipe in NAMES}
for row in oatlib.sweep_report(folder).rows():
    robust[row["recipe"]][row["seed"]] = row["robust"]

# %% jupyter={"source_hidden": true}
# Drawing. You need not read this cell.
fig = go.Figure()
order = list(range(seed, seed + seeds))
for i, (recipe, name) in enumerate(NAMES.items()):
    values = [100 * robust[recipe][s] for s in order]
    fig.add_scatter(x=order, y=values, name=name, mode="lines+markers", **figures.style(i))
fig.update_xaxes(dtick=1)
figures.layout(
    fig,
    "seed",
    "robust accuracy (an upper bound), %",
    takeaway="Both systems move by several points from seed to seed, and mostly together.",
)

# %%
wins = sum(robust["pgd-at"][s] > robust["oat"][s] for s in order)
lesson.reveal("wins", wins, "A single run is one of these, and you do not know which.")

# %% [markdown]
# ## How sure is a mean?
#
# The mean of n runs has an error of its own. With the standard deviation s of the runs, the **95 % interval** is
#
# $$\bar v \;\pm\; t_n \,\frac{s}{\sqrt n}$$
#
# `T95[n]` is $t_n$ of Student's distribution. It is large for few runs, because s is then only a guess itself.
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
# <code>fmean</code> and <code>stdev</code> are imported above. <code>stdev</code> divides by n - 1.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from statistics import fmean, stdev
# from oatlib.course.seeds import T95
#
# def interval(values):
#     n = len(values)
#     mean = fmean(values)
#     margin = T95[n] * stdev(values) / n**0.5
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
ratio = (T95[2] / 2**0.5) / (T95[5] / 5**0.5)
lesson.reveal("wider", ratio, "Two runs say nearly nothing. From three on an interval is worth printing.")

# %% [markdown]
# ## Seed by seed
#
# In the figure, some seeds are hard for both systems: their test images are. Such luck drops out of the *difference* of two runs
# with the same seed.
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
# **Ablation.** Switch the pairing off, with the same runs: shift the seeds of one system by one, so that each difference is between two
# different seeds. The mean stays the same.

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
    figures.layout(
        fig, "", "specialist minus dial, points", takeaway="The interval of paired differences is the narrower one."
    )
    texts = [f"{name}: {100 * m:+.1f} ({100 * a:+.1f} to {100 * b:+.1f})" for name, (m, a, b) in
             ((name, interval(values[:runs])) for name, values in differences.items())]  # fmt: skip
    return fig, f"{runs} seeds, 95 % intervals. " + "; ".join(texts)


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
    f"Specialist minus dial: **{mean:+.1f} points ({low:+.1f} to {high:+.1f})**, {seeds} seeds, so {verdict}. The paired interval "
    f"is {width['same seed']:.1f} points wide, the unpaired one {width['another seed']:.1f}."
)

# %% [markdown]
# ## Write a sweep
#
# `oatlib.sweep` does what you would do by hand: list the runs, do each, keep what is done. Write it for any function.
#
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


# %%
def pretend(settings):
    """A run that takes no time, and fails for one of its settings."""
    if settings["eps"] == 16:
        raise ValueError("the loss became NaN")
    return settings["eps"] / 255


results = {}
for attempt in (1, 2):
    before = len(results)
    failed = run_all(pretend, all_runs({"eps": [8, 16, 24], "seed": [0, 1]}), results)
    print(f"attempt {attempt}: {len(results) - before} new, {len(failed)} failed")

# %% tags=["nbval-check-output"]
shared = {key: value for key, value in plan.items() if key != "runs"} | {"recipe": "oat"}
del shared["eps"]
small = {"seed": [0, 1], "eps": [8, 16]}
library = [run.varied for run in oatlib.read_plan(shared | {"grid": small}).runs]
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
# It puts runs together that differ in their seed only. This is the report of the sweep above.

# %%
report = oatlib.sweep_report(folder)
report

# %%
report.figures()[0]

# %% [markdown]
# ## A notebook is a run, too
#
# Every lesson has a cell of parameters. `oatlib rerun 05_oat -p seed 1` runs it with another seed, and a plan can do so many times:
# `{"notebook": "05_oat", "grid": {"seed": [1, 2, 3]}}`. A lesson takes a minute. So here is a notebook of two cells.

# %%
first_cell = new_code_cell("throws: int = 10  # 1 to 10000: of a coin\nseed: int = 0")
first_cell.metadata.tags = ["parameters"]
second_cell = new_code_cell(
    "import random\n"
    "random.seed(seed)\n"
    "share = sum(random.random() < 0.5 for _ in range(throws)) / throws\n"
    'record = {"lesson": "coin", "results": {"share": share}}\n'
    'display({"application/vnd.oatlib.record+json": record}, raw=True)'
)
nbformat.write(new_notebook(cells=[first_cell, second_cell]), folder / "coin.ipynb")
coins = {"notebook": str(folder / "coin.ipynb"), "grid": {"throws": [10, 1000]}}
print(oatlib.sweep(coins, folder / "coins", workers=0, progress=False).plan)
for row in oatlib.sweep_report(folder / "coins").rows():
    print(f"{row['throws']:5} throws: share {row['share']:.3f}")

# %% [markdown]
# ## When to stop
#
# It is tempting to add seeds until the interval leaves 0. But every look is another chance to be fooled.
#
# ### Exercise: enough
# Difficulty ●●●●○ · 20 minutes. An open one. Your rule sees the differences after every seed, at most 10 of them, and says when it is
# decided which system is better. The check simulates pairs of equal systems, which may rarely be called different, and pairs with a
# real difference, which should be found. Try the plain 95 % interval first.


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
decided = [count for count in range(1, seeds + 1) if enough(differences["same seed"][:count])]
answer = f"after {decided[0]} seeds it is decided" if decided else f"{seeds} seeds do not decide it"
say(f"By this rule, for specialist and dial: **{answer}**.")

# %% [markdown]
# > **Takeaway.** A number from one training is one draw. Report mean, interval and number of seeds, and compare seed by seed.
#
# > **Pitfalls**
# > * *An interval over images taken for one over trainings*: more images do not make another training more likely to agree.
# > * *The best of several seeds*: it is higher with every seed that you try. Report the mean.
# > * *Overlapping intervals read as "no difference"*: look at the interval of the differences.
# > * *Adding seeds until it is significant*: decide on the number before, or use a rule that is made for looking.
# > * *Old results after a change of the code*: name results by all that they depend on.
#
# ## What we showed, and what we did not show
#
# Trainings that differ in their seed only differ by points. Pairs of the same seed need fewer runs for the same answer.
# **What we did not show:** that the dial always pays this price: these are small images, one radius and one network. The robust
# accuracies are upper bounds (lesson [10](10_is_it_robust.ipynb)). Student's t assumes differences that are roughly normal, which
# a handful of seeds cannot confirm.
#
# ## Try this
#
# * Set `epochs` to 8. Does the difference stay?
# * Replace `oat` by `{"recipe": "oat", "loss": "sampled"}` in the plan. What does the report say?
# * Rerun this lesson as a sweep over `n`. Which interval becomes narrower?
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
