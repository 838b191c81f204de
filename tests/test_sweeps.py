"""Sweeps: the file, the runs, what is kept whatever happens, and the report. Dask is in test_sweep_workers.py."""

import contextlib
import errno
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import oatlib
from oatlib import record
from oatlib.cli import main as cli
from oatlib.sweeps import groups, kinds, pool, store, work
from oatlib.sweeps.plan import read_plan
from tests import sweep_runs
from tests.pages import blocks

pytestmark = pytest.mark.slow

QUICK = {"weights": "standard", "n": 16, "attack": "fgsm"}
SMALL = {"recipe": "oat", "data_options": {"n_val": 16, "n_test": 32}, "n_train": 32, "epochs": 2, "attack": "fgsm"}
LEARNING = {"recipe": "standard", "data": "digits", "n_train": 192, "attack": "fgsm", "n": 32}  # it succeeds
DIAL = {"weights": "oat", "n": 16, "grid": {"seed": [0, 1, 2]}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setitem(oatlib.PRESETS, "fast", oatlib.Preset(epochs=1, batch=16, lr=0.02, steps=1, panel=16))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(plan, perform=sweep_runs.dial, out="runs", **options):
    return oatlib.sweep(plan, out, workers=0, perform=perform, progress=options.pop("progress", False), **options)


def run(capsys, *words):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


# --- the file ---


def test_every_combination_of_the_grid_is_a_run_of_every_variant():
    plan = read_plan({**QUICK, "grid": {"seed": [0, 1], "eps": [4, 8.0]}, "runs": [{"norm": "l2"}, {"n": 8}]})
    assert [run.label for run in plan.runs] == [
        f"{variant}, seed = {seed}, eps = {eps}"
        for variant in ("norm = l2, n = 16", "n = 8")
        for seed in (0, 1)
        for eps in (4, 8.0)
    ]
    assert plan.keys == ("norm", "n", "seed", "eps") and plan.kind == "measurement" and len(plan) == 8
    assert {run.parameters["norm"] for run in plan.runs[4:]} == {"linf"}
    assert str(plan).splitlines()[0] == "sweep: 8 runs (measurement)"


def test_a_file_is_the_same_as_its_dictionary(here):
    (here / "seeds.toml").write_text('weights = "standard"\nn = 16\nattack = "fgsm"\n[grid]\nseed = [0, 1]\n')
    plan, same = read_plan("seeds.toml"), read_plan({**QUICK, "grid": {"seed": [0, 1]}})
    assert plan.title == "seeds" and plan.runs == same.runs


@hypothesis.settings(max_examples=6)
@hypothesis.given(
    seeds=st.sets(st.integers(0, 2**30 - 1), min_size=1, max_size=4),
    eps=st.sets(st.integers(0, 255), min_size=1, max_size=4),
)
def test_all_runs_are_there_once(seeds, eps):
    plan = read_plan({**QUICK, "grid": {"seed": list(seeds), "eps": list(eps)}})
    assert {(run.varied["seed"], run.varied["eps"]) for run in plan.runs} == {(s, e) for s in seeds for e in eps}
    assert len({run.id for run in plan.runs}) == len(seeds) * len(eps) == len(plan)


WRONG = {
    "it does not say what to run: give one of notebook = ": {},
    "unknown key 'recipe_' (did you mean 'recipe'?)": {"recipe_": "oat"},
    "recipe and weights exclude each other": {"recipe": "oat", "weights": "oat"},
    "unknown key 'epoch' (did you mean 'epochs'?): a training has the keys recipe, ": {"recipe": "oat", "epoch": 1},
    "unknown recipe 'oath' (did you mean 'oat'?): use one of standard, ": {"recipe": "oath"},
    "unknown preset 'fst' (did you mean 'fast'?)": {"recipe": "oat", "preset": "fst"},
    "no data set 'shape' (did you mean 'shapes'?)": {"recipe": "oat", "data": "shape"},
    "has no option 'n_tst' (did you mean 'n_test'?)": {"recipe": "oat", "data_options": {"n_tst": 8}},
    "seed is no option of a data set: give data_seed, outside of data_options": {
        "recipe": "oat", "data_options": {"seed": 8}},
    "n_train stands twice": {"recipe": "oat", "n_train": 8, "data_options": {"n_train": 8}},
    "λ stops must be ascending": {"recipe": "oat", "stops": [0.5, 0.1]},
    "only 'pgd-at' takes lam=": {"recipe": "oat", "lam": 0.5},
    "eps must be above 0 for a training": {"recipe": "oat", "eps": 0},
    "eps must be a number in [0, 255], in 1/255, such as 8, got 'x' (in the run with eps = x)": {
        "recipe": "oat", "grid": {"eps": [8, "x"]}},
    "seed=-1: must be a whole number from 0 to": {"recipe": "oat", "seed": -1},
    "seed=True: must be a whole number": {"recipe": "oat", "seed": True},
    "data_seed=-1: must be a whole number from 0 to": {"recipe": "oat", "data_seed": -1},
    "data_seed=1.0: must be a whole number": {"recipe": "oat", "data_seed": 1.0},
    "two runs are the same: (seed = 0, data_seed = 0) and (seed = 0)": {
        "recipe": "oat", "seed": 0, "runs": [{"seed": 0, "data_seed": 0}, {"seed": 0}]},
    "unknown key 'data_seed' (did you mean 'seed'?): a measurement has": {"weights": "oat", "data_seed": 1},
    "lam must be a number in [0, 1], got nan": {"recipe": "pgd-at", "lam": float("nan")},
    "n = 5000: the test split has only 2048 images": {"recipe": "oat", "n": 5000},
    "λ must lie in [0, 1], got 2.0": {"recipe": "oat", "lams": [2]},
    "lams must be a list of numbers": {"recipe": "oat", "lams": 0.5},
    "steps can be used with attack pgd or attack apgd only": {"recipe": "oat", "steps": 3},
    "device cuda:99 is not available": {"recipe": "oat", "device": "cuda:99"},
    "weights: there is no file 'oad' (did you mean 'oat'?)": {"weights": "oad"},
    "there is no notebook '01_atack'": {"notebook": "01_atack"},
    "unknown key 'epps' (did you mean 'eps'?): the notebook 01_attack has the parameters n, ": {
        "notebook": "01_attack", "epps": 3},
    "eps must be a number from 0.5 to 32.0, got 99": {"notebook": "01_attack", "eps": 99},
    "[grid] seed must be a list, such as seed = [3]": {"recipe": "oat", "grid": {"seed": 3}},
    "[grid] seed is empty": {"recipe": "oat", "grid": {"seed": []}},
    "[grid] seed has the value 1 twice": {"recipe": "oat", "grid": {"seed": [1, 1]}},
    "grid must be a table [grid]": {"recipe": "oat", "grid": [1]},
    "runs must be tables [[runs]]": {"recipe": "oat", "runs": {"seed": 1}},
    "seed stands above [grid] and in it": {"recipe": "oat", "seed": 1, "grid": {"seed": [2]}},
    "seed stands in [grid] and in [[runs]]": {"recipe": "oat", "grid": {"seed": [2]}, "runs": [{"seed": 1}]},
    "two runs are the same: (seed = 1) and (seed = 1)": {"recipe": "oat", "runs": [{"seed": 1}, {"seed": 1}]},
    "it has no recipe (in the run with seed = 1)": {"runs": [{"seed": 1}, {"recipe": "oat"}]},
    "these are 1,000,000 runs, at most 10,000": {
        "recipe": "oat", "grid": {key: list(range(100)) for key in ("seed", "eps", "n")}},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_said_before_anything_starts(message, here):
    with pytest.raises(ValueError, match=re.escape(message)):
        sweep(WRONG[message], perform=None)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"recipe = oat", "seeds.toml is not a TOML file: "), (b"\xff\xfe", "seeds.toml is not a TOML file: "),
     (None, "there is no file seeds.toml (did you mean 'seed.toml'?)"),
     (b'recipe = "oath"', "seeds.toml: unknown recipe 'oath' (did you mean 'oat'?)")],
)  # fmt: skip
def test_a_file_that_cannot_be_used(capsys, here, content, message):
    Path("seed.toml").write_text("")
    if content is not None:
        Path("seeds.toml").write_bytes(content)
    code, out, err = run(capsys, "sweep", "seeds.toml", "--out", "runs")
    assert (code, out) == (2, "") and err.startswith(f"oatlib sweep: {message}") and err.count("\n") == 1
    assert not Path("runs").exists()


def test_dry_run_lists_the_runs_and_does_nothing(capsys, here):
    Path("seeds.toml").write_text('weights = "standard"\n[grid]\nseed = [3, 5]\n')
    code, out, err = run(capsys, "sweep", "seeds.toml", "--dry-run")
    assert (code, err) == (0, "") and out.split("\n") == [
        "seeds: 2 runs (measurement)", "  1  seed = 3", "  2  seed = 5", ""]  # fmt: skip
    assert os.listdir() == ["seeds.toml"]
    assert run(capsys, "sweep", "seeds.toml")[2].startswith("oatlib sweep: --out FOLDER is missing")


def test_the_keys_of_the_kinds_are_those_of_the_library():
    own = set(kinds.TRAINING) - set(oatlib.training.recipes.OPTIONS)
    assert own | set(oatlib.training.recipes.OPTIONS) == set(kinds.TRAINING) and "stops" not in own
    assert not own & set(oatlib.training.recipes.OPTIONS), "a key would mean two things"
    assert cli.ATTACKS == oatlib.attacks.named.NAMES


@pytest.mark.parametrize("number", range(2))
def test_the_examples_of_the_page(number):
    examples = [tomllib.loads(text) for text in blocks("docs/sweeps.md", "toml")]
    assert len(examples) == 2
    plan = read_plan(examples[number])
    assert (plan.kind, len(plan)) == [("notebook", 6), ("training", 12)][number]
    page = (Path(__file__).parent.parent / "docs" / "sweeps.md").read_text(encoding="utf-8")
    for keys in (kinds.MEASURING, kinds.MEASUREMENT, set(kinds.TRAINING) - set(oatlib.training.recipes.OPTIONS)):
        assert all(f"`{key}`" in page for key in keys)


def test_the_python_of_the_page_runs(here):
    pytest.importorskip("plotly")
    (code,) = blocks("docs/sweeps.md", "python")
    names = {}
    exec(compile(code, "docs/sweeps.md", "exec"), names)
    assert len(names["done"].finished) == 2 and Path("report.html").stat().st_size > 1e6


# --- what a result depends on ---


def ids(plan):
    return [run.id for run in read_plan(plan).runs]


def test_the_same_run_has_the_same_address():
    assert ids({**SMALL, "stops": [0, 1]}) == ids({"stops": [0.0, 1], **SMALL, "seed": 0, "preset": "fast"})
    assert ids({**SMALL, "recipe": "oats", "widths": 2}) == ids({**SMALL, "recipe": "oats", "widths": [0.5, 1]})


@pytest.mark.parametrize("change", [{"seed": 1}, {"eps": 4}, {"epochs": 1}, {"n": 8}, {"stops": [0, 1]}, {"lams": [0]}])
def test_another_parameter_is_another_address(change):
    assert ids(SMALL) != ids(SMALL | change)


def test_a_key_that_is_not_used_changes_no_address(monkeypatch):
    """IDs as they were before there was a data_seed, with a stand-in for the hash of the code."""
    monkeypatch.setattr(store, "code", lambda *parts: {"files": "fixed"})
    assert ids(SMALL) == ["9401fd584db8b0c8"] and ids(SMALL | {"seed": 1}) == ["83612bc05410ba2c"]


def test_a_data_seed_is_part_of_the_address_where_it_is_not_the_seed():
    one, same, other, third = (ids(SMALL | {"seed": 1} | each) for each in (
        {}, {"data_seed": 1}, {"data_seed": 0}, {"data_seed": 2}))  # fmt: skip
    assert one == same and len({*one, *other, *third}) == 3


def test_other_code_is_another_address(monkeypatch):
    before = ids(SMALL), ids(QUICK), ids({"notebook": "01_attack"})
    original = store.code.__wrapped__
    monkeypatch.setattr(store, "code", lambda *parts: original(*parts) | {"files": "changed"})
    for earlier, plan in zip(before, (SMALL, QUICK, {"notebook": "01_attack"}), strict=True):
        assert ids(plan) != earlier


def test_the_code_of_a_training_is_all_that_it_imports():
    """Except what only checks names, or draws."""
    code = (
        "import sys, oatlib.sweeps.work; "
        "print(*[n for n in sys.modules if n.startswith('oatlib.') and '.' in n[7:] or n.startswith('oatlib._')])"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}).stdout.split()  # fmt: skip
    packages = {name.split(".")[1] for name in listed}
    counted = {part.removesuffix(".py").split("/")[0] for part in store.COMPUTING}
    assert packages - counted == {"_bundled", "_html", "_locks", "_suggest"}
    assert "dask" not in listed and "distributed" not in listed


def test_other_data_are_another_address(here, monkeypatch):
    net = oatlib.load(kinds.find_weights("standard"))
    oatlib.save(net, "net.safetensors")
    before = ids({**QUICK, "weights": "net.safetensors"})
    with torch.no_grad():
        next(net.parameters())[0] += 1
    oatlib.save(net, "net.safetensors")
    assert ids({**QUICK, "weights": "net.safetensors"}) != before
    (here / "images").mkdir()
    (here / "images" / "a.png").write_bytes(b"1")
    first = store.hash_of_folder(here / "images")
    assert store.hash_of_folder(here / "images") == first
    (here / "images" / "a.png").write_bytes(b"12")
    assert store.hash_of_folder(here / "images") != first


# --- what runs do ---


def test_a_measurement_is_that_of_evaluate(here):
    done = oatlib.sweep({"weights": "oat", "n": 16, "lams": [0, 1], "seed": 3}, "runs", workers=0, progress=False)
    net = oatlib.load(kinds.find_weights("oat"))
    data = oatlib.data.load.data_of(net.spec.data)
    expected = oatlib.evaluate(net, data.test.panel(16), lams=[0, 1], seed=3, progress=False)
    (entry,) = groups.read("runs").entries
    found = oatlib.Table.from_json(entry.content["table"])
    assert [(r.clean, r.robust, r.seed) for r in found] == [(r.clean, r.robust, r.seed) for r in expected]
    assert len(done.finished) == 1 and not done.failed


def trained(out="runs"):
    (entry,) = groups.read(out).entries
    tensors, _ = record.read_weights(Path(out) / "runs" / entry.id / work.WEIGHTS)
    return entry, {name: tensor.tolist() for name, tensor in tensors.items()}


def test_the_command_of_a_training_repeats_it(capsys, here):
    plan = {
        **SMALL,
        "seed": 2,
        "data_seed": 7,
        "eps": 4,
        "stops": [0, 0.5, 1],
        "lams": [0, 0.5],
        "n": 24,
        "width_loss": "sum",
    }
    assert not oatlib.sweep(plan, "runs", workers=0, progress=False).failed
    entry, _ = trained()
    train, evaluate = (shlex.split(part)[1:] for part in entry.command.split(" && "))
    assert run(capsys, *train)[0] == 0 and run(capsys, *evaluate)[0] == 0
    again, first = oatlib.load("net.safetensors"), here / "runs" / "runs" / entry.id / work.WEIGHTS
    for name, tensor in oatlib.load(first).state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    measured, repeated = entry.content["table"], json.loads(Path("results.json").read_text())["results"]
    for one, other in zip(measured, repeated, strict=True):
        assert {**one, "seconds": 0, "about": 0} == {**other, "seconds": 0, "about": 0}
    assert {result["attack"]["eps"] for result in measured} == {4 / 255}
    (training,) = again.trained
    assert training["preset"]["eps"] == pytest.approx(4 / 255)
    assert entry.content["training"]["seconds"] > 0 and len(entry.content["training"]["epochs"]) == 2


def images(**keys):
    """All images and labels of a run, by split and name."""
    data = work.data_for(read_plan(SMALL | keys).runs[0].parameters)
    return {(part.name, name): getattr(part, name) for part in (data.train, data.val, data.test) for name in "xy"}


def first_weights(**keys):
    parameters = read_plan(SMALL | keys).runs[0].parameters
    return torch.cat([p.flatten() for p in work.network_for(parameters, work.data_for(parameters)).parameters()])


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_a_data_seed_fixes_the_images_and_nothing_else(name):
    data = {"data": name}
    first, second, follows = images(**data, data_seed=5), images(**data, seed=1, data_seed=5), images(**data, seed=5)
    for key, pixels in first.items():
        assert torch.equal(second[key], pixels) and torch.equal(follows[key], pixels), key
    for split in ("train", "val", "test"):
        assert not torch.equal(images(**data)[split, "x"], images(**data, seed=1)[split, "x"])
    assert not torch.equal(first_weights(**data, data_seed=5), first_weights(**data, seed=1, data_seed=5))
    assert torch.equal(first_weights(**data, seed=1, data_seed=5), first_weights(**data, seed=1))


def test_a_training_with_a_data_seed_is_that_of_the_library(here):
    oatlib.sweep({**LEARNING, "seed": 1, "data_seed": 4}, "runs", workers=0, progress=False)
    data = oatlib.load_data("digits", seed=4, n_train=192)
    net = oatlib.build("standard", data, seed=1)
    oatlib.train(net, data, seed=1, progress=False)
    entry, found = trained()
    again = {name: tensor.tolist() for name, tensor in net.state_dict().items()}
    common = found.keys() & again.keys()
    assert common and all(found[name] == again[name] for name in common)
    (result,) = oatlib.Table.from_json(entry.content["table"])
    assert result.about["data"]["options"]["seed"] == 4


def test_commands_of_other_kinds_are_understood(here):
    plans = [{**QUICK, "attack": "pgd", "steps": 2, "eps": 2.5, "norm": "l2", "dial": "interpolate", "seed": 4},
             {"notebook": "01_attack", "n": 64, "eps": 4.5, "timeout": 30}]  # fmt: skip
    words = [shlex.split(read_plan(plan).runs[0].command)[1:] for plan in plans]
    measuring, notebook = (cli._parse(each) for each in words)
    assert (measuring.attack, measuring.steps, measuring.eps, measuring.norm) == ("pgd", 2, 2.5, "l2")
    assert (measuring.n, measuring.seed, measuring.dial) == (16, 4, "interpolate")
    assert notebook.parameters == [["n", "64"], ["eps", "4.5"]] and notebook.timeout == 30


def test_without_a_dial_the_list_of_lambdas_has_no_effect():
    plan = read_plan({**SMALL, "lams": [0, 1], "runs": [{"recipe": "standard"}, {"recipe": "oat"}]})
    assert [run.parameters["lams"] for run in plan.runs] == [None, [0, 1]]


def test_a_training_that_was_killed_continues_after_its_last_epoch(here, monkeypatch):
    plan = {**LEARNING, "epochs": 2}
    oatlib.sweep(plan, "whole", workers=0, progress=False)
    _, expected = trained("whole")
    # Ctrl-C in the second epoch: the checkpoint of the first one stays.
    steps = []
    original = work.train

    def killed(*arguments, **options):
        run = oatlib.Training(*arguments[:3], seed=arguments[3], checkpoint=arguments[4])
        steps.extend(step for step, _ in zip(range(15), run, strict=False))  # an epoch has 12
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        oatlib.sweep(plan, "runs", workers=0, progress=False)
    (checkpoint,) = Path("runs").rglob(work.CHECKPOINT)
    resumed = []
    monkeypatch.setattr(work, "train", lambda *a, **o: resumed.append(len(a) > 5) or original(*a, **o))
    damaged = checkpoint.read_bytes()
    oatlib.sweep(plan, "runs", workers=0, progress=False)
    assert resumed == [True] and trained()[1] == expected and not checkpoint.exists()
    # A damaged checkpoint is of no use: the training starts again.
    (entry,) = groups.read("runs").entries
    store.prepare(store.folder_of(Path("runs"), entry.id))
    checkpoint.write_bytes(damaged[:-1] + b"x")
    resumed.clear()
    assert not oatlib.sweep(plan, "runs", workers=0, progress=False).failed
    assert resumed == [True, False] and trained()[1] == expected


def test_a_training_that_diverges_is_a_failed_run(here, monkeypatch):
    monkeypatch.setitem(oatlib.PRESETS, "fast", oatlib.Preset(lr=1e9, clip=0, panel=16))
    done = oatlib.sweep(SMALL | {"epochs": 2}, "runs", workers=0, progress=False)
    ((_, message),) = done.failed.items()
    assert "training stopped in epoch" in message


def test_the_threads_of_pytorch_are_put_back(here):
    before, used = torch.get_num_threads(), []
    sweep({**QUICK}, perform=lambda task: used.append(torch.get_num_threads()) or sweep_runs.dial(task), threads=1)
    assert used == [1] and torch.get_num_threads() == before


# --- what is kept ---


def test_finished_runs_are_skipped_and_new_ones_are_done(capsys, here):
    first = sweep(DIAL, progress=True)
    err = capsys.readouterr().err.splitlines()
    assert err == [f"[{n}/3] seed = {n - 1}: done (1 s)" for n in (1, 2, 3)]
    assert (len(first.finished), first.skipped) == (3, ())
    more = DIAL | {"grid": {"seed": [0, 7, 2]}}
    done = []
    second = sweep(more, perform=lambda task: done.append(task["parameters"]["seed"]) or sweep_runs.dial(task),
                   progress=True)  # fmt: skip
    assert done == [7] and len(second.skipped) == 2 and len(second.finished) == 3
    assert "2 of them were finished before" in str(second)
    assert capsys.readouterr().err.startswith("[1/3] seed = 0: finished before: λ = 0: clean 98.0%, robust 0.0%; λ = 1")


def test_a_run_that_fails_leaves_the_others_alone(capsys, here, monkeypatch):
    plan = DIAL | {"grid": {"seed": [0, 2, 1]}}
    done = sweep(plan, perform=sweep_runs.third_seed_fails, progress=True)
    assert capsys.readouterr().err.splitlines()[1] == "[2/3] seed = 2: failed: the loss became NaN"
    assert len(done.finished) == 2 and list(done.failed.values()) == ["the loss became NaN"]
    report = str(oatlib.sweep_report("runs"))
    assert "2 of 3 runs are finished, 1 failed" in report and "seed = 2: failed: the loss became NaN" in report
    assert not sweep(plan).failed and "3 of 3 runs are finished" in str(oatlib.sweep_report("runs"))


def test_an_error_in_a_run_is_reported_with_its_traceback(here, monkeypatch):
    monkeypatch.setattr(work, "evaluate", lambda *_, **__: [][1])
    done = oatlib.sweep(QUICK, "runs", workers=0, progress=False)
    assert list(done.failed.values()) == ["IndexError: list index out of range"]
    (file,) = Path("runs").rglob(store.FAILED)
    assert "Traceback" in json.loads(file.read_text())["traceback"]


def test_exit_code_of_failed_runs(capsys, here, monkeypatch):
    Path("plan.toml").write_text('weights = "standard"\nattack = "fgsm"\nn = 16\n')
    monkeypatch.setattr(work, "evaluate", lambda *_, **__: [][1])
    assert run(capsys, "sweep", "plan.toml", "--out", "runs", "--workers", 0)[0] == 1
    monkeypatch.undo()


@pytest.mark.parametrize("place", [0, 0.2, 0.5, 0.9, "last"])
@pytest.mark.parametrize("name", [store.RESULT, work.WEIGHTS])
def test_a_damaged_result_is_never_used(here, name, place):
    def with_weights(task):
        done = sweep_runs.dial(task)
        folder = Path(task["folder"])
        content = {k: v for k, v in store.read_result(folder).items() if k != "files"}
        (folder / work.WEIGHTS).write_bytes(bytes(range(100)))
        store.write_result(folder, content, [work.WEIGHTS])
        return done

    plan = DIAL | {"grid": {"seed": [0, 1]}}
    sweep(plan, perform=with_weights)
    (file, *_) = sorted(Path("runs").rglob(name))
    content = bytearray(file.read_bytes())
    content[-3 if place == "last" else int(place * len(content))] ^= 1
    file.write_bytes(content)
    report = oatlib.sweep_report("runs")
    assert len(report.found.groups[0].entries) == 1 and "is not used" in str(report)
    done = []
    with pytest.warns(UserWarning, match=r"(damaged|not a JSON file).*The run \(seed = \d\) is done again"):
        sweep(plan, perform=lambda task: done.append(1) or with_weights(task))
    assert done == [1] and len(oatlib.sweep_report("runs").found.groups[0].entries) == 2


def test_a_missing_file_makes_a_result_unfinished(here):
    sweep(QUICK, perform=lambda task: sweep_runs.dial(task))
    (file,) = Path("runs").rglob(store.RESULT)
    content = json.loads(file.read_text())
    content.pop("sha256")
    (file.parent / "a").write_bytes(b"a")
    store.write_result(file.parent, content, ["a"])
    (file.parent / "a").unlink()
    with pytest.warns(UserWarning, match="a is missing. The run"):
        sweep(QUICK)


def test_ctrl_c_keeps_what_is_done(capsys, here):
    with pytest.raises(KeyboardInterrupt):
        sweep(DIAL, perform=sweep_runs.interrupted, progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "interrupted: 1 of 3 runs are finished and kept. The same command continues")  # fmt: skip
    assert "1 of 3 runs are finished, 2 not finished" in str(oatlib.sweep_report("runs"))
    assert len(sweep(DIAL).skipped) == 1


KILLED = """
import os, signal, sys
import oatlib
from tests import sweep_runs
def perform(task):
    if task["parameters"]["seed"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return sweep_runs.dial(task)
oatlib.sweep({"weights": "oat", "n": 16, "grid": {"seed": [0, 1, 2]}}, "runs", workers=0, perform=perform)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_sweep_that_is_killed_keeps_its_finished_runs(here):
    """The long form with worker processes, at random moments, is `make soak`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    ran = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert "1 of 3 runs are finished, 2 not finished" in str(oatlib.sweep_report("runs"))
    again = sweep(DIAL)
    assert len(again.skipped) == 1 and len(again.finished) == 3
    assert not list(Path("runs").rglob("*.part")) and not list(Path("runs").rglob("*.lock"))


def test_two_sweeps_into_one_folder(here):
    def second(task):
        with pytest.raises(oatlib.RecordError, match=r"another oatlib run \(process \d+\) is writing .*sweep.json"):
            sweep(DIAL)
        return sweep_runs.dial(task)

    assert len(sweep(DIAL, perform=second).finished) == 3


SYSTEM = Path("/sys/kernel")  # a folder in which not even root can create a file


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_nobody_can_write_to():
    with pytest.raises(oatlib.RecordError, match="cannot write into the folder /sys/kernel/runs: "):
        sweep(DIAL, perform=None, out=SYSTEM / "runs")


def test_a_folder_that_is_no_folder_of_a_sweep(here):
    Path("file").touch()
    with pytest.raises(oatlib.RecordError, match="cannot write into the folder file: it is a file"):
        sweep(DIAL, perform=None, out="file")
    Path("mine").mkdir()
    Path("mine/sweep.json").write_text('{"mine": 1}')
    with pytest.raises(oatlib.RecordError, match="is no list of a sweep: choose another folder"):
        sweep(DIAL, perform=None, out="mine")
    assert Path("mine/sweep.json").read_text() == '{"mine": 1}'
    for name, message in (
        ("mine", "is no list of a sweep"),
        ("nowhere", "there is no folder"),
        (".", "has no sweep.json"),
    ):
        with pytest.raises(oatlib.RecordError, match=message):
            oatlib.sweep_report(name)


def test_a_full_disk_fails_the_runs_that_meet_it(here, monkeypatch):
    original, full = os.fsync, []

    def fsync(handle):
        if full and "runs/runs" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(handle)

    monkeypatch.setattr(record.os, "fsync", fsync)
    full.append(True)
    plan = {**QUICK, "grid": {"seed": [0, 1]}}
    done = oatlib.sweep(plan, "runs", workers=0, progress=False)
    assert len(done.failed) == 2
    assert all("No space left on device (it needs" in message for message in done.failed.values())
    assert not list(Path("runs").rglob(store.RESULT)) and not list(Path("runs").rglob("*.part"))
    full.clear()
    assert len(oatlib.sweep(plan, "runs", workers=0, progress=False).finished) == 2


# --- processes ---


def test_without_dask_the_error_says_what_to_install(capsys, here, monkeypatch):
    Path("plan.toml").write_text('weights = "standard"\nattack = "fgsm"\nn = 16\n')
    find = pool.importlib.util.find_spec
    monkeypatch.setattr(pool.importlib.util, "find_spec", lambda name: None if name == "distributed" else find(name))
    code, _, err = run(capsys, "sweep", "plan.toml", "--out", "runs")
    assert code == 2 and "pip install 'oatlib[scale]'" in err and err.count("\n") == 1
    assert not Path("runs").exists()
    assert run(capsys, "sweep", "plan.toml", "--out", "runs", "--workers", 0)[0] == 0


@hypothesis.given(cores=st.integers(1, 64), runs=st.integers(1, 100), data=st.data())
def test_workers_and_threads_fit_the_cores(cores, runs, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "cores", lambda: cores)
        workers, threads = pool.sizes(None, None, runs)
        assert 1 <= workers <= runs and threads >= 1 and workers * threads <= cores
        chosen = data.draw(st.integers(1, 64)), data.draw(st.integers(1, 64))
        if chosen[0] * chosen[1] <= cores:
            assert pool.sizes(*chosen, runs) == chosen
        else:
            with pytest.raises(ValueError, match=f"need {chosen[0] * chosen[1]} cores, this process may use {cores}"):
                pool.sizes(*chosen, runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": -1}, "workers=-1"), ({"threads": 0}, "threads=0"), ({"dashboard": 0}, "dashboard=0"),
     ({"scheduler": "localhost"}, "a scheduler has an address such as tcp://10.0.0.1:8786, got 'localhost'"),
     ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "workers is a choice of the cluster"),
     ({"workers": 4000}, "4000 workers with 1 threads each need 4000 cores")],
)  # fmt: skip
def test_wrong_options_start_nothing(here, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        oatlib.sweep({"recipe": "?"}, "runs", **options)
    assert not list(here.iterdir())


# --- the report ---


def test_means_and_intervals_are_over_seeds(here):
    sweep(DIAL | {"grid": {"eps": [4, 8], "seed": [0, 1, 2]}})
    report = oatlib.sweep_report("runs")
    four, eight = report.found.groups
    assert (four.label, eight.label) == ("eps = 4", "eps = 8")
    (standard, robust) = eight.points()
    values = [0.82, 0.72, 0.62]
    margin = 4.303 * statistics.stdev(values) / 3**0.5
    assert robust.robust.middle == pytest.approx(0.72) and robust.robust.values == pytest.approx(values)
    assert (robust.robust.low, robust.robust.high) == pytest.approx((0.72 - margin, 0.72 + margin))
    assert standard.clean.middle == pytest.approx(0.97)
    assert eight.training_seconds().middle == 3.0
    text = str(report)
    assert "eps = 8 0 1 97.0 [94.5, 99.5] 0.0 [0.0, 0.0] 3" in " ".join(text.split())
    assert "100" in text and "stand-in" in text and "95 % interval over the seeds" in text
    assert len(report.rows()) == 12 and report.rows()[0] == {
        "eps": 4, "seed": 0, "lam": 0.0, "width": 1.0, "clean": 0.98, "robust": 0.0, "upper_bound": True,
        "training_seconds": 2.0}  # fmt: skip


def test_one_seed_has_the_interval_over_images_and_two_have_none(here):
    sweep(DIAL | {"grid": {"seed": [1]}}, out="one")
    (point, _) = groups.read("one").groups[0].points()
    assert (point.clean.low, point.clean.high) == oatlib.wilson(97, 100)
    assert "over the test images only" in str(oatlib.sweep_report("one"))
    sweep(DIAL | {"grid": {"seed": [1, 0]}}, out="two")
    (point, _) = groups.read("two").groups[0].points()
    assert (point.clean.middle, point.clean.low) == (pytest.approx(0.975), None)


def test_the_figure_has_the_means_the_coin_and_the_best_frontier(here):
    pytest.importorskip("plotly")
    data = {"name": "shapes", "options": oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8).options}

    def two_ends(task):
        recipe = {4: "standard", 8: "pgd-at"}[task["parameters"]["eps"]]
        accuracies = {"standard": (0.99, 0.0), "pgd-at": (0.8, 0.6)}[recipe]
        return sweep_runs.write(task, [sweep_runs.result(*accuracies, 0.0, recipe=recipe, data=data)])

    sweep(DIAL | {"grid": {"eps": [4, 8], "seed": [0, 1, 2]}}, perform=two_ends)
    report = oatlib.sweep_report("runs")
    figure, along = report.figures()
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["coin standard, pgd-at"].x) == pytest.approx([99, 80])
    assert list(traces["coin standard, pgd-at"].y) == pytest.approx([0, 60])
    assert len(traces["best possible"].x) == 101
    assert list(traces["eps = 8"].y) == pytest.approx([60])
    assert list(along.data[1].x) == [4, 8] and list(along.data[1].y) == pytest.approx([0, 60])
    assert "gain over the coin standard, pgd-at" in str(report)
    # 0.95 lies on the coin, but neither end reaches more than 0 there
    assert report._tables()[1][1][1][3] == "- / - / -" and report._tables()[1][1][0][3].startswith("-3.2 / -12.6 / ")


def on_images(task):
    """A training that is done at once: its accuracy follows from both seeds, and its record names its images."""
    seed = task["parameters"]["seed"]
    data_seed = task["parameters"].get("data_seed", seed)
    data = {"name": "shapes", "options": {"seed": data_seed}}
    return sweep_runs.write(task, [sweep_runs.result(0.9, 0.5 + 0.01 * seed + 0.1 * data_seed, 1.0, data=data)])


TRAINING_ONLY = "a seed changes the training only: the runs of a setting share their images"


@pytest.mark.parametrize(
    ("keys", "labels", "means", "counted", "line"),
    [
        ({"grid": {"seed": [0, 1, 2]}}, ["all runs"], [0.61], "seeds",
         "a seed changes both the images and the training"),
        ({"data_seed": 3, "grid": {"seed": [0, 1, 2]}}, ["all runs"], [0.81], "seeds", TRAINING_ONLY),
        ({"grid": {"seed": [0, 1, 2], "data_seed": [1, 2]}}, ["data_seed = 1", "data_seed = 2"], [0.61, 0.71],
         "seeds", TRAINING_ONLY),
        ({"seed": 1, "grid": {"data_seed": [0, 1, 2]}}, ["all runs"], [0.61], "data seeds",
         "a data seed changes the images only: all trainings have the same seed"),
        ({"grid": {"seed": [1], "data_seed": [0, 1, 2]}}, ["seed = 1"], [0.61], "data seeds",
         "a data seed changes the images only: all trainings have the same seed"),
        ({"grid": {"seed": [0, 1, 2]}, "runs": [{}, {"data_seed": 3}]}, ["shared settings", "data_seed = 3"],
         [0.61, 0.81], "seeds", "except in settings with a data_seed: their runs share their images"),
    ],
)  # fmt: skip
def test_data_seeds_are_never_averaged_over_while_the_seed_varies(here, keys, labels, means, counted, line):
    sweep(SMALL | keys, perform=on_images)
    report = oatlib.sweep_report("runs")
    assert [group.label for group in report.found.groups] == labels
    assert [group.points()[0].robust.middle for group in report.found.groups] == pytest.approx(means)
    head, rows = report._tables()[0]
    assert head[-1] == counted and {row[-1] for row in rows} == {"3"}
    assert line in str(report) and line in report._repr_html_() and f"interval over the {counted}, from" in str(report)
    assert len(report.rows()) == 3 * len(labels)
    if len(labels) > 1 and pytest.importorskip("plotly"):
        assert len(report.figures()) == 1, "seeds are no scale to draw along"


def test_a_parameter_of_a_notebook_called_data_seed_is_one_like_others(here):
    entries = [groups.Entry(str(k), "", {"data_seed": k}, "", groups.FINISHED, {"results": {"a": k}}) for k in (0, 1)]
    assert groups._averaged("notebook", entries) == groups._averaged("measurement", entries) == "seed"
    assert groups._averaged("training", entries) == "data_seed"


BOUNDS = {name: name not in ("fast", "full", "suite") for name in oatlib.attacks.named.NAMES}


def measured_with(names):
    """What does a run whose result is of the attack with this name, by its eps."""

    def perform(task):
        attack = oatlib.attacks.named.attack_by_name(names[task["parameters"]["eps"]], 8 / 255)
        record = attack.describe() | {"text": str(attack)}
        return sweep_runs.write(task, [sweep_runs.result(0.9, 0.5, lam, attack=record) for lam in (0.0, 1.0)])

    return perform


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_of_another_attack_than_the_suite_is_called_an_upper_bound(here, name):
    pytest.importorskip("plotly")
    sweep(DIAL | {"grid": {"eps": [4, 8]}}, perform=measured_with({4: name, 8: name}))
    report = oatlib.sweep_report("runs")
    figures = report.figures()
    page = re.sub(r"<script\b.*?</script>", "", report.html(), flags=re.DOTALL)
    texts = {
        "text": str(report), "table in a notebook": report._repr_html_().split("<small>")[0], "page": page,
        "heading of settings": report._tables()[0][0][4], "heading of the summary": report._tables()[1][0][1],
        "axis": figures[0].layout.yaxis.title.text, "legend": figures[1].data[1].name,
    } | {f"caption {k}": figure.layout.meta["takeaway"] for k, figure in enumerate(figures)}  # fmt: skip
    for place, text in texts.items():
        assert "robust" in text.lower() and ("upper bound" in text) == BOUNDS[name], place
    assert "≤" not in str(report) and all(figure.layout.meta["takeaway"] in page for figure in figures)
    assert {row["upper_bound"] for row in report.rows()} == {BOUNDS[name]}


def test_upper_bounds_beside_numbers_of_the_suite_are_marked(here):
    pytest.importorskip("plotly")
    sweep(DIAL | {"grid": {"eps": [4, 8]}}, perform=measured_with({4: "fast", 8: "quick"}))
    report = oatlib.sweep_report("runs")
    (head, rows), (summary, lines) = report._tables()
    assert head[4] == "robust (≤: upper bound), %" and summary[1].startswith("robust (≤: upper bound) at clean >= ")
    assert [row[4].startswith("≤ 50.0") for row in rows] == [False, False, True, True]
    assert [line[1].startswith("≤ ") for line in lines] == [False, True]
    figure, along = report.figures()
    assert [trace.name for trace in figure.data if trace.name and trace.name.startswith("eps")] == [
        "eps = 4", "eps = 8, an upper bound"]  # fmt: skip
    assert "of some groups an upper bound" in figure.layout.yaxis.title.text
    assert (
        "an upper bound" in along.data[1].name
        and [row["upper_bound"] for row in report.rows()] == [False] * 2 + [True] * 2
    )


def test_every_line_of_the_figure_has_a_look_and_its_seeds_have_its_marker(here):
    pytest.importorskip("plotly")

    def two_widths(task):
        seed, eps = task["parameters"]["seed"], task["parameters"]["eps"]
        return sweep_runs.write(task, [sweep_runs.result(0.9 - 0.01 * seed, 0.5 - eps / 100, lam, width=width)
                                       for width in (0.5, 1.0) for lam in (0.0, 1.0)])  # fmt: skip

    sweep(DIAL | {"grid": {"eps": [4, 8, 16], "seed": [0, 1, 2]}}, perform=two_widths)
    traces = oatlib.sweep_report("runs").figures()[0].data
    lines = {trace.legendgroup: trace for trace in traces if trace.mode == "lines+markers"}
    pale = {trace.legendgroup: trace for trace in traces if trace.mode == "markers"}
    assert len(lines) == len(pale) == 6 and lines.keys() == pale.keys()
    symbols = {group: trace.marker.symbol for group, trace in lines.items()}
    assert len(set(symbols.values())) == 6
    assert {group: trace.marker.symbol for group, trace in pale.items()} == symbols
    assert all(trace.showlegend is False for trace in pale.values())


BAD = '</script><script>alert(1)</script><img src=x onerror="alert(2)"><a href="http://x.y">z</a>'


def test_the_page_needs_no_network_and_escapes_what_files_say(here):
    pytest.importorskip("plotly")
    sweep(DIAL | {"grid": {"seed": [0, 1, 2]}}, perform=sweep_runs.third_seed_fails)
    path = Path("runs/sweep.json")
    content = json.loads(path.read_text())
    content["title"] = BAD
    for entry in content["runs"]:
        entry |= {"label": BAD, "varied": {BAD: BAD}, "command": BAD}
    path.write_text(json.dumps(content))
    (failed,) = Path("runs").rglob(store.FAILED)
    failed.write_text(json.dumps({"error": BAD}))
    report = oatlib.sweep_report("runs")
    page = report.html()
    own, *_ = page.split("<script", 1)
    scripts = re.findall(r"<script\b([^>]*)>", page)
    assert all("src" not in attributes for attributes in scripts)
    without = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    for text in (without, report._repr_html_(), own):
        assert "<img" not in text and "alert(1)</script>" not in text and "<a " not in text
    assert "&lt;img src=x" in without
    assert BAD not in page and "<script>alert" not in page
    names = [trace.name or "" for trace in report.figures()[0].data]
    assert any("&lt;img" in name for name in names) and not any("<img" in name for name in names)
    assert not re.search(r"""(src|href)=["']https?:""", without)


@pytest.mark.parametrize(
    "change",
    [{"keys": None}, {"runs": 3}, {"runs": [{}]}, {"runs": [3]},
     {"runs": [{"id": "../..", "label": "", "varied": {}, "command": ""}]}],
)  # fmt: skip
def test_a_damaged_list_is_named(here, change):
    sweep(QUICK)
    path = Path("runs/sweep.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(oatlib.RecordError, match="sweep.json is damaged.*Run the sweep again"):
        oatlib.sweep_report("runs")


def test_the_command_report_writes_a_page(capsys, here):
    pytest.importorskip("plotly")
    sweep(DIAL)
    code, out, err = run(capsys, "report", "runs")
    assert code == 0 and "3 of 3 runs are finished" in out and "runs/report.html: written" in out
    assert Path("runs/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    code, out, err = run(capsys, "report", "nowhere")
    assert (code, out) == (2, "") and err.startswith("oatlib report: there is no folder nowhere")
    assert run(capsys, "report", "runs", "--notebook", "report.html")[0] == 2


@pytest.mark.parametrize("fault", ["full disk", "no permission", "two runs"])
def test_a_page_that_cannot_be_written(capsys, here, monkeypatch, fault):
    """The table is printed first. After a full disk the page is in another folder."""
    sweep(DIAL)
    monkeypatch.setattr(oatlib.SweepReport, "html", lambda report: "<!doctype html>")
    Path("page.html").write_text("old")
    (here / "home").mkdir()
    monkeypatch.setattr(Path, "home", lambda: here / "home")
    replace, opened, claim = record._replace, os.open, contextlib.nullcontext()

    def full(target, content):
        if target.parent.resolve() == here:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(target, content)

    def denied(path, *rest, **options):
        if Path(path).name.startswith(".page.html."):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **options)

    if fault == "full disk":
        monkeypatch.setattr(record, "_replace", full)
    if fault == "no permission":
        monkeypatch.setattr(os, "open", denied)
    if fault == "two runs":
        claim = record.claimed("page.html")
    with claim:
        code, out, err = run(capsys, "report", "runs", "--html", "page.html")
    assert "3 of 3 runs are finished" in out and Path("page.html").read_text() == "old"
    rescued = here / "home" / "page-rescued.html"
    expected = {
        "full disk": (1, f"The page is in {rescued}\n"),
        "no permission": (2, "oatlib report: cannot write page.html: Permission denied\n"),
        "two runs": (2, f"another oatlib run (process {os.getpid()}) is writing page.html: wait"),
    }
    assert code == expected[fault][0] and expected[fault][1] in err
    assert rescued.is_file() == (fault == "full disk")


def test_warnings_of_runs_are_on_the_report(here):
    done = oatlib.sweep(
        {**QUICK, "weights": "float", "lams": [1], "noise_samples": 1}, "runs", workers=0, progress=False
    )
    assert len(done.finished) == 1
    assert "the only run: warning: at λ = 1 the weights are random" in str(oatlib.sweep_report("runs"))
    sweep(DIAL, perform=warned, out="many")
    assert "seed = 0 and 2 more: warning: be careful" in str(oatlib.sweep_report("many"))


def warned(task):
    return sweep_runs.write(task, [sweep_runs.result(0.9, 0.1, 1.0)], warnings=["be careful"], training=3)


@pytest.mark.parametrize("files", [None, 3, []])
def test_a_result_that_names_no_files_is_not_used(here, files):
    sweep(QUICK)
    (path,) = Path("runs").rglob(store.RESULT)
    content = {**json.loads(path.read_text()), "files": files}
    content.pop("sha256")
    path.write_text(json.dumps(content | {"sha256": store._digest(content)}))
    with pytest.raises(oatlib.RecordError, match="does not say which files belong to it"):
        store.read_result(path.parent)


def test_a_report_of_nothing(here):
    pytest.importorskip("plotly")
    with pytest.raises(KeyboardInterrupt):
        sweep(DIAL | {"grid": {"seed": [1, 2]}}, perform=sweep_runs.interrupted)
    report = oatlib.sweep_report("runs")
    assert str(report) == "sweep (measurement): 0 of 2 runs are finished, 2 not finished"
    assert report.figures() == [] and report.rows() == [] and "0 of 2" in report.html()


def test_groups_of_more_than_six_differ_in_their_look(here):
    pytest.importorskip("plotly")
    from oatlib.sweeps import figures

    looks = [figures._style(index) for index in range(figures.MOST_GROUPS)]
    assert len({(look["marker"]["color"], look["marker"]["symbol"]) for look in looks}) == figures.MOST_GROUPS


def test_the_preset_at_another_radius_scales_its_steps():
    preset = oatlib.PRESETS["paper"]
    half = preset.at_eps(preset.eps / 2)
    assert half == replace(preset, eps=preset.eps / 2, step_size=preset.step_size / 2)
    assert preset.at_eps(preset.eps) == preset
    for eps in (0, -1, 2, "8"):
        with pytest.raises(ValueError, match="eps must be"):
            preset.at_eps(eps)
