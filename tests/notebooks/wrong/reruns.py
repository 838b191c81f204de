"""Typical wrong answers to the exercises of lesson 11, and what the learner is told."""


def interval(margin, limits="mean, mean - margin, mean + margin"):
    """An answer with this margin."""
    return (
        f"def interval(values):\n    n, mean = len(values), fmean(values)\n    margin = {margin}\n    return {limits}"
    )


def paired(result):
    """An answer that returns this."""
    return f"def paired(ours, theirs):\n    common = sorted(ours.keys() & theirs.keys())\n    return {result}"


def all_runs(result):
    """An answer that returns this."""
    return f"def all_runs(grid):\n    every = list(itertools.product(*grid.values()))\n    return {result}"


def run_all(result="failed[name] = str(error)", skip="continue", key="name", caught=" Exception as error"):
    """An answer that does this with a failed run, and with one that is done."""
    return f"""def run_all(run, runs, done):
    failed = {{}}
    for settings in runs:
        name = name_of(settings)
        if name in done:
            {skip}
        try:
            done[{key}] = run(settings)
        except{caught}:
            {result}
    return failed"""


WRONG = {
    "interval": [
        (interval("T95[n] * stdev(values)"), "divide by the root of k"),
        (interval("1.96 * stdev(values) / n**0.5"), "1.96 is for"),
        (interval("stdev(values) / n**0.5"), "one standard error"),
        (interval("T95[n] * (sum((v - mean) ** 2 for v in values) / n) ** 0.5 / n**0.5"), "divide by k - 1"),
        (interval("T95[n] * stdev(values) / n"), "not by k"),
        (interval("T95[n] * stdev(values) / n**0.5", "mean - margin, mean + margin"), "three numbers"),
        (interval("0", "sorted(values)[n // 2], min(values), max(values)"), "should be the mean"),
        (interval("0", "mean, min(values), max(values)"), "equally far"),
        (interval("(max(values) - min(values)) / 2"), "away from the mean"),
    ],
    "paired": [
        (paired("[theirs[s] - ours[s] for s in common]"), "sign is wrong"),
        (paired("[a - b for a, b in zip(ours.values(), theirs.values())]"), "by the order"),
        (paired("[ours[s] - theirs[s] for s in common[::-1]]"), "not in the order"),
        (paired("{s: ours[s] - theirs[s] for s in common}"), "list of numbers"),
        (paired("[ours[s] - theirs[s] for s in common[:2]]"), "it returns 2"),
        (paired("[ours[s] - theirs[common[0]] for s in common]"), "the same seed"),
        (paired("[ours[s] - theirs[s] for s in ours | theirs]"), "KeyError"),
    ],
    "all_runs": [
        (all_runs("[dict(zip(grid, values)) for values in zip(*grid.values())]"), "first values together"),
        (all_runs("every"), "list of dictionaries"),
        (all_runs("[{name: value} for name in grid for value in grid[name]]"), "should have the names"),
        (all_runs("[dict(grid) for _ in every]"), "and no list"),
        (all_runs("[dict(zip(grid, values)) for values in every[:4]]"), "it returns 4"),
        (all_runs("[dict(zip(grid, values)) for values in every[::-1]]"), "change fastest"),
        (all_runs("[dict(zip(grid, every[0])) for _ in every]"), "there twice"),
        (all_runs("[dict(zip(grid, values)) for values in every if values]"), "there is one run"),
    ],
    "run_all": [
        (run_all("raise"), "stops the others"),
        (run_all(skip="pass"), "runs again what is done"),
        (run_all("done[name] = str(error)"), "leave it out of"),
        (run_all("pass"), "of the runs that failed"),
        (run_all("failed[name] = 'failed'"), "says why"),
        (run_all("failed[name] = 'the loss became NaN'", caught=""), "Ctrl-C"),
        (run_all(key="str(settings)"), "belongs into"),
        (run_all(skip="break"), "are not done yet"),
    ],
    "enough": [
        ("def enough(differences):\n    if len(differences) < 2:\n        return False\n"
         "    _, low, high = interval(differences)\n    return low > 0 or high < 0", "equal systems it calls"),
        ("def enough(differences):\n    return len(differences) > 9 and min(differences) > 3", "finds only"),
    ],
}  # fmt: skip
