"""The lessons keep the rules of lint.py, and each rule finds what breaks it."""

import re

import pytest

from authoring import lessons
from tests.notebooks import lint

SOURCES = lessons.sources()
NAME = "A_good"
EXERCISE = '''
# %% [markdown]
# ### Exercise: NAME
# Difficulty ●●○○○ · 5 minutes. Do it.

# %% tags=["exercise"]
def NAME(x):
    """x"""
    raise NotImplementedError

# %%
NAME = check(NAME)

# %% [markdown]
# <details><summary>Hint</summary>
# It is easier than it looks.
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def NAME(x):
#     y = x
#     return y % 5  # 100%
# ```
# </details>
'''
GOOD = f'''# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   oatlib:
#     seconds: 30
# ---

# %% [markdown]
# # 01 · Is this good?
#
# **You will be able to**
#
# * do one thing
#   at least
# * do another
# * stop
#
# **Before this:** nothing · **Run time:** about 30 s on two CPU cores · **Words:** [glossary](GLOSSARY.md)

# %% tags=["parameters"]
n: int = 4  # 1 to 8: images
epochs: int = 1  # 1 to 2: of training
seed: int = 0  # 0 to 9: of everything
recompute: bool = False  # measure again

# %%
lesson = begin("{NAME}", globals())

# %%
figures.lines([1], {{"a": [1]}})

# %%
lesson.predict("one", "what?")

# %%
lesson.reveal("one", 3.0)

# %%
lesson.predict("two", "what else?")

# %%
lesson.reveal("two", 4.0)

# %% [markdown]
# ## Ablation
# The 95 % interval of what was measured.
{EXERCISE.replace("NAME", "first")}{EXERCISE.replace("NAME", "second")}
# %%
sliders(draw, x=(0, 1, 1))
lesson.network("oat", data)
lesson.recorded("{NAME}", lambda: {{}})

# %% tags=["nbval-check-output"]
print("equal:", True)

# %% [markdown]
# > **Pitfalls**
#
# ## What we did not show
# ## Try this
# ## Sources

# %%
lesson.finish(a=1)
'''
PLANTED = {  # rule: [(what is replaced, by what)]
    "goals": [("# * do another\n# * stop\n", ""), ("# * stop\n", "# * a\n# * b\n# * c\n# * d\n"),
              ("You will", "You may"), ("# # 01", "# 01")],
    "run_time": [("about 30 s", "about 20 s"), ("seconds: 30", "seconds: 70"), ("**Run time:** about 30 s", "")],
    "parameters": [("seed: int = 0  # 0 to 9: of everything\n", ""), ("n: int = 4 ", "n = 4 "), ("1 to 8", "5 to 8"),
                   ("epochs: int = 1  # 1 to 2: of training\n", ""), (' tags=["parameters"]', ""),
                   ("recompute: bool = False  # measure again\n", "")],
    "glossary": [("[glossary](GLOSSARY.md)", "glossary")],
    "beginning": [(f'begin("{NAME}"', 'begin("02_other"')],
    "ending": [("lesson.finish(a=1)", "print(1)"), ("lesson.finish(a=1)\n", "lesson.finish(a=1)\n\n# %%\nprint(1)\n")],
    "early_picture": [('figures.lines([1], {"a": [1]})', "print(1)")],
    "guesses": [('predict("two"', 'predict("three"'), ('lesson.reveal("two", 4.0)', "print(4)"),
                ('lesson.predict("two", "what else?")', 'lesson.predict("one", "what else?")')],
    "live": [("sliders(draw, x=(0, 1, 1))", "draw(1)")],
    "ablation": [("Ablation", "Parts")],
    "equality": [(' tags=["nbval-check-output"]', "")],
    "learners_code": [(f'lesson = begin("{NAME}"', "a = 1\n" * 30 + 'lesson = begin("01_good"')],
    "folding": [('# %%\nlesson.reveal("two"', '# %% jupyter={"source_hidden": true}\nlesson.reveal("two"'),
                ('tags=["exercise"]', 'jupyter={"source_hidden": true} tags=["exercise"]')],
    "sections": [("Pitfalls", "Traps"), ("What we did not show", "The end"), ("Try this", "More"),
                 ("Sources", "Books")],
    "cell_length": [('print("equal:", True)', 'print("equal:", True)\n' * 41),
                    ("# ## Sources\n", "# ## Sources\n" * 41)],
    "markers": [('print("equal:"', '# NBVAL_CHECK_OUTPUT\nprint("equal:"'),
                ("# ## Sources\n", "# ## Sources\n# NBVAL_SKIP\n")],
    "width": [('"""x"""', f'"""{"x" * 100}"""'), ("y % 5  # 100%", f"y % 5  # {'x' * 100}"),
              ("# 0 to 9: of everything", f"# 0 to 9: {'of everything ' * 7}")],
    "figure_width": [("figures.lines(", "figures.lines([2], {}).update_layout(width=900)\nfigures.lines("),
                     ("figures.lines(", "figures.lines([2], {}).update_layout(width=2 * n)\nfigures.lines(")],
    "typed_numbers": [("Do it.", "It is right on 87% of the images."), ("Do it.", "Right on 87.5 % of them."),
                      ("Do it.", "The accuracy is about 0.87."), ("Do it.", "Wrong on 5 percent.")],
    "exercises": [(EXERCISE.replace("NAME", "second"), ""), ("Difficulty ●●○○○ · 5 minutes", "Easy"),
                  ("first = check(first)", "check(first)"), ("Hint", "Help"), ("Solution", "Answer"),
                  ("raise NotImplementedError", "return x"), ("### Exercise: first", "### first"),
                  ("# ```python", "# ```"), ("# %% [markdown] tags=[\"solution\"]\n", ""),
                  (" tags=[\"solution\"]", ""), ("# ```\n# </details>", "# ```\n# </details>\n#\n# More.")],
}  # fmt: skip


def found(folder, text):
    name = re.search(r'begin\("(\w+)"', text)[1]
    name = name if name.endswith("_good") else NAME
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return lint.faults(name, lessons.build(folder / f"{name}.py"))


@pytest.mark.parametrize("name", SOURCES)
def test_the_lessons_keep_the_rules(name):
    assert lint.faults(name, lessons.build(SOURCES[name])) == []


def test_the_notebooks_agree_with_their_sources():
    assert lessons.check() == []


def test_links_between_lessons_lead_somewhere():
    texts = {name: source.read_text(encoding="utf-8") for name, source in SOURCES.items()}
    linked = {(name, target) for name, text in texts.items() for target in re.findall(r"\]\((\w+)\.ipynb\)", text)}
    assert not [(name, target) for name, target in sorted(linked) if target not in SOURCES]


def test_a_good_lesson_keeps_all_rules(tmp_path):
    assert found(tmp_path, GOOD) == []


def test_what_counts_as_a_line_of_code(tmp_path):
    cells = GOOD.replace("y = x\n", 'y = x\n#     """Not\n#     a line."""\n#     # neither\n')
    folded = '# %% jupyter={"source_hidden": true}\n' + lint.FOLDED[0] + "\na = 1\n\nb = 2\n\n# %%\nlesson.finish"
    (tmp_path / "x.py").write_text(cells.replace("# %%\nlesson.finish", folded), encoding="utf-8")
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    counts, good = (lint.who_writes(lessons.build(tmp_path / f"{name}.py")) for name in ("x", "good"))
    assert counts == good | {"folded": 2} and good["learner"] == 2 * 3


def test_every_rule_has_planted_faults():
    assert PLANTED.keys() == lint.RULES.keys()


@pytest.mark.parametrize(("rule", "old", "new"), [(rule, *pair) for rule, pairs in PLANTED.items() for pair in pairs])
def test_a_planted_fault_is_found_by_its_rule(tmp_path, rule, old, new):
    assert old in GOOD
    broken = found(tmp_path, GOOD.replace(old, new))
    assert broken and {fault.split(": ")[0] for fault in broken} == {rule}, broken
