"""The command line: what it does, and that wrong input ends in one line before any long work."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import save_file

import oatlib
from oatlib.attacks.suite import default_attack
from oatlib.cli import commands
from oatlib.cli import main as cli
from oatlib.evaluation.evaluate import NOISE_SAMPLES
from oatlib.explorer import app, server
from oatlib.networks.lambdas import RULES

pytestmark = pytest.mark.slow

FAST = oatlib.Preset(epochs=1, batch=16, steps=1, panel=16)


def run(capsys, *words):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:  # argparse's way out
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setitem(oatlib.PRESETS, "fast", FAST)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An OAT network as `oatlib train` would leave it, on data with another seed than the default."""
    path = tmp_path_factory.mktemp("weights") / "oat.safetensors"
    data = oatlib.load_data("shapes", seed=3, n_train=32, n_val=16, n_test=48)
    net = oatlib.build("oat", data)
    oatlib.train(net, data, FAST, progress=False)
    oatlib.save(net, path)
    return path


# --- what it does ---


def test_options_of_the_data_set_reach_it(capsys, tmp_path):
    options = ("--data-set", "size=8", "--data-set", "classes=3", "--n-train", 32)
    assert run(capsys, "train", "standard", *options, "--out", "small.safetensors")[0] == 0
    saved = oatlib.load("small.safetensors").spec.data["options"]
    assert (saved["size"], saved["classes"], saved["n_train"]) == (8, 3, 32)


def test_train_then_eval(capsys, tmp_path):
    code, out, _ = run(capsys, "train", "oat", "--n-train", 64, "--seed", 5, "--out", "oat.safetensors")
    assert code == 0 and "Recipe oat, training finished after" in out and "validation panel: clean" in out
    net = oatlib.load("oat.safetensors")
    assert net.spec.data["options"]["seed"] == 5 and net.spec.data["options"]["n_train"] == 64
    assert net.trained[-1]["preset"]["epochs"] == 1 and net.trained[-1]["seed"] == 5

    words = ("--attack", "pgd", "--steps", 2, "--lam", 0, 0.25, "--n", 16, "--json", "results.json")
    code, out, _ = run(capsys, "eval", "oat.safetensors", *words)
    assert code == 0 and "PGD-2" in out and "95 % intervals" in out
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["results"]
    assert [r["lam"] for r in results] == [0, 0.25]
    for r in results:
        assert (r["n"], r["split"], r["seed"]) == (16, "test", 0)
        assert (r["attack"]["name"], r["attack"]["steps"], r["attack"]["eps"]) == ("PGD", 2, pytest.approx(8 / 255))
        assert 0 <= r["clean_low"] <= r["clean"] <= r["clean_high"] <= 1
        assert 0 <= r["robust_low"] <= r["robust"] <= r["robust_high"] <= 1
        assert r["about"]["recipe"] == "oat" and r["about"]["data"]["options"]["seed"] == 5


def test_the_shell_and_the_library_train_the_same_network(capsys):
    assert run(capsys, "train", "pgd-at", "--lam", 0.3, "--n-train", 32, "--seed", 2, "--out", "a.safetensors")[0] == 0
    data = oatlib.load_data("shapes", seed=2, n_train=32)
    net = oatlib.build("pgd-at", data, seed=2, lam=0.3)
    oatlib.train(net, data, seed=2, progress=False)
    theirs = oatlib.load("a.safetensors")
    assert theirs.spec == net.spec
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), net.parameters(), strict=True))


def test_eval_measures_on_the_networks_own_test_images(capsys, weights, tmp_path, monkeypatch):
    """Also where the set is named: with another seed, digits or folders would test on training images."""
    seen = []
    monkeypatch.setattr(commands, "evaluate", lambda net, split, *a, **k: seen.append((split, k)) or oatlib.Table())
    for words in ((), ("--data", "shapes"), ("--seed", 7)):
        assert run(capsys, "eval", weights, *words)[0] == 0
    own = oatlib.load_data("shapes", seed=3, n_train=32, n_val=16, n_test=48).test
    assert all(torch.equal(split.x, own.x) for split, _ in seen)
    assert [options["seed"] for _, options in seen] == [0, 0, 7]  # of the attack


def test_eval_fgsm_keeps_its_norm(capsys, weights, tmp_path):
    code, *_ = run(
        capsys, "eval", weights, "--attack", "fgsm", "--norm", "l2", "--eps", 64, "--lam", 1, "--json", "r.json"
    )
    (result,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["results"]
    assert code == 0 and (result["attack"]["name"], result["attack"]["norm"]) == ("FGSM", "l2")
    assert result["attack"]["eps"] == pytest.approx(64 / 255)


def test_eval_takes_every_attack_by_its_name(capsys, weights, monkeypatch):
    """The default is that of `evaluate`."""
    used = {}

    def watched(net, split, attack, *rest, **options):
        used[name] = attack
        return oatlib.Table()

    monkeypatch.setattr(commands, "evaluate", watched)
    for name in ("", *cli.ATTACKS):
        assert run(capsys, "eval", weights, "--eps", 4, *(["--attack", name] if name else []))[0] == 0
    suites = {name: oatlib.Suite(4 / 255, budget=name) for name in ("quick", "fast", "full")}
    assert used == suites | {
        "": default_attack(4 / 255), "suite": suites["fast"], "pgd": oatlib.PGD(4 / 255, 20),
        "apgd": oatlib.APGD(4 / 255), "fgsm": oatlib.FGSM(4 / 255), "fgsm-rs": oatlib.FGSMRS(4 / 255),
        "square": oatlib.Square(4 / 255),
    }  # fmt: skip
    words = " ".join(run(capsys, "eval", "--help")[1].split())
    assert ", ".join(cli.ATTACKS) in words.replace("- ", "-")


def test_train_goes_on_from_a_checkpoint(capsys):
    words = ("train", "oat", "--n-train", 32, "--epochs", 2, "--checkpoint", "c.safetensors", "--out")
    assert run(capsys, *words, "a.safetensors")[0] == 0
    code, out, _ = run(capsys, *words, "b.safetensors", "--resume")  # nothing left to do
    assert code == 0 and "finished" in out
    a, b = oatlib.load("a.safetensors"), oatlib.load("b.safetensors")
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_export(capsys, weights, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    code, out, _ = run(capsys, "export", weights, "--lam", 0.3, "--out", "model.onnx")
    assert code == 0 and "agrees with PyTorch" in out
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_eval_with_another_rule_of_the_dial(capsys, weights):
    words = ("--lam", 0, 0.5, 1, "--attack", "pgd", "--steps", 1, "--n", 16, "--json", "r.json")
    code, out, _ = run(capsys, "eval", weights, *words, "--dial", "outputs")
    results = oatlib.Table.load("r.json")
    assert code == 0 and "between them: mixed outputs" in out and "no λ reaches a clean accuracy of 90 %" in out
    assert {r.about["dial"] for r in results} == {"outputs"}
    assert results[1].macs == results[0].macs + results[2].macs
    net = oatlib.load(weights)
    assert net.spec.dial == "interpolate", "the file stays as it is"
    code, out, _ = run(capsys, "eval", "--help")
    assert all(rule in out for rule in RULES)


def test_the_width_dial_from_training_to_a_chosen_model(capsys, tmp_path):
    file, few = "slim.safetensors", ["--n", "16", "--attack", "pgd", "--steps", "1"]
    code, out, _ = run(capsys, "train", "solar", "--n-train", "64", "--set", "widths=2", "--out", file)
    assert code == 0 and "Recipe solar, training finished after" in out
    code, out, _ = run(capsys, "eval", file, *few, "--lam", "0", "1", "--json", "r.json")
    results = oatlib.Table.load("r.json")
    assert code == 0 and [(r.width, r.lam) for r in results] == [(0.5, 0), (0.5, 1), (1, 0), (1, 1)]
    code, out, _ = run(capsys, "eval", file, *few, "--lam", "0", "--width", "0.5")
    assert code == 0 and len(out.splitlines()) == 3 and out.splitlines()[1].split()[:2] == ["0", "0.5"]
    code, out, _ = run(capsys, "choose", "r.json", "--max-macs", str(results[0].macs))
    best = max(results[:2], key=lambda r: (r.robust, r.clean))
    assert code == 0 and f"--lam {best.lam:g} --width 0.5" in out and f"{best.macs:,} multiply-adds" in out
    code, out, err = run(capsys, "choose", "r.json", "--max-macs", "10")
    assert code == 2 and out == "" and "macs <= 10" in err and f"{results[0].macs:,}" in err
    code, out, _ = run(capsys, "export", file, "--lam", "1", "--width", "0.5", "--out", "m.onnx")
    assert code == 0 and (tmp_path / "m.onnx").stat().st_size < 4 * results[0].parameters + 100_000


def test_a_noisy_network_from_training_to_a_frozen_sample(capsys, tmp_path):
    assert run(capsys, "train", "floats", "--set", "density=0.2", "--n-train", 64, "--out", "f")[0] == 0
    assert oatlib.load("f").spec.density == 0.2
    code, out, _ = run(capsys, "fit-slider", "f", "--n", 16)
    assert (
        code == 0
        and out.startswith("f: slider written. λ at slider position: 0 is 0.000, 0.2 is")
        and len(oatlib.load("f").slider) == 21
    )
    words = ("--attack", "pgd", "--steps", 1, "--n", 16, "--noise-samples", 3, "--json", "r.json")
    code, out, err = run(capsys, "eval", "f", *words, "--slider", 0, 0.5, 1)
    assert code == 0 and "EOT over 3 samples" in out and "means over 3 noise samples" in out
    assert "overestimated" not in err
    assert [r.lam for r in oatlib.Table.load("r.json")] == [oatlib.load("f").lam(u) for u in (0, 0.5, 1)]
    assert "EOT" not in run(capsys, "eval", "f", *words, "--lam", 0)[1].split("noisy")[0].splitlines()[1]
    for seed in (0, 1):
        assert run(capsys, "export", "f", "--lam", 1, "--noise-seed", seed, "--out", f"{seed}.onnx")[0] == 0
    assert (tmp_path / "0.onnx").read_bytes() != (tmp_path / "1.onnx").read_bytes()


def test_help_names_what_train_takes_and_defaults_are_the_librarys(capsys):
    code, out, _ = run(capsys, "train", "--help")
    assert code == 0
    for name in (*oatlib.RECIPES, *oatlib.PRESETS, "mobilenetv2", "mask_of"):
        assert re.search(rf"[ -]{name}[,.]", " ".join(out.split())), name
    assert cli._parser().parse_args(["eval", "weights"]).noise_samples == NOISE_SAMPLES


def test_every_example_in_a_help_text_is_understood(capsys):
    for command in ("train", "eval", "fit-slider", "choose", "export", "convert", "explore", "course", "rerun"):
        code, out, _ = run(capsys, command, "--help")
        examples = re.findall(r"^example: oatlib (.*)$", out, re.MULTILINE)
        assert code == 0 and examples, command
        for example in examples:
            words = shlex.split(example)
            assert words[0] == command and cli._parser().parse_args(words).command == command


def test_every_option_is_explained():
    (commands_of,) = (a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands_of.choices.items():
        if name != "check":
            assert all(action.help for action in parser._actions), name


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0 and f"torch {torch.__version__}" in out and "core: works" in out


def test_explore_serves_what_it_is_given(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(server, "serve", lambda *words: asked.append(words) or 0)
    monkeypatch.setattr(app, "write", lambda *words: asked.append(words) or 1_500_000)
    assert run(capsys, "explore")[0] == 0
    assert run(capsys, "explore", "a", "b", "--state", "lam=0.3", "--port", 8123, "--no-browser")[0] == 0
    code, out, _ = run(capsys, "explore", "--html", "x.html")
    assert run(capsys, "explore", "--photographs", "--data", "folder:cifar")[0] == 0
    assert asked == [
        ([], "", 0, True, False, None),
        (["a", "b"], "lam=0.3", 8123, False, False, None),
        ("x.html", [], "", False, None),
        ([], "", 0, True, True, "folder:cifar"),
    ]
    assert code == 0 and "x.html: written (1.50 MB). Open it in any browser." in out


def test_a_stopped_training_says_why_and_exits_with_1(capsys, monkeypatch):
    monkeypatch.setitem(oatlib.PRESETS, "fast", oatlib.Preset(epochs=1, batch=16, steps=1, panel=16, lr=1e30))
    code, out, err = run(capsys, "train", "standard", "--n-train", 64, "--out", "a.safetensors")
    assert code == 1 and "stopped" in out and "warning: training stopped in epoch" in err


def test_as_a_program_also_where_the_terminal_has_no_lambda(tmp_path, weights):
    def program(*words):
        start = "import sys; from oatlib.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", start, *map(str, words)]
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    good = program("eval", weights, "--lam", 0.5, "--attack", "pgd", "--steps", 1)
    assert good.returncode == 0 and "clean" in good.stdout and "Traceback" not in good.stderr
    bad = program("eval", weights, "--lam", "2")
    assert bad.returncode == 2 and bad.stdout == "" and len(bad.stderr.splitlines()) == 1


# --- wrong input ---


@pytest.fixture
def no_work(monkeypatch):
    """Errors come before long work."""

    def work(*args, **kwargs):
        raise AssertionError("the work began")

    for name in ("train", "evaluate", "export"):
        monkeypatch.setattr(commands, name, work)


@pytest.fixture
def files(weights, tmp_path):
    """The bad files that the cases below name."""
    (tmp_path / "good").write_bytes(weights.read_bytes())
    (tmp_path / "truncated").write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "cut-header").write_bytes(weights.read_bytes()[:50])
    (tmp_path / "empty").touch()
    (tmp_path / "results.json").write_text('{"hypervolume": 0.5, "results": []}')
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign")
    (tmp_path / "folder").mkdir()


def fails(capsys, words, *expected):
    code, out, err = run(capsys, *words.split())
    assert code == 2 and out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("oatlib"), err
    for word in expected:
        assert word in err


@pytest.mark.parametrize(
    "words, expected",
    [
        ("", ["COMMAND"]),
        ("tarin oat", ["tarin"]),
        ("train oat", ["--out"]),
        ("train oatt --out a", ["unknown recipe 'oatt'", "did you mean 'oat'"]),
        ("train oat --data shaeps --out a", ["shaeps", "did you mean 'shapes'"]),
        ("train oat --preset fats --out a", ["unknown preset 'fats'", "fast, paper"]),
        ("train oat --backbone big --out a", ["unknown backbone 'big'", "resnet18"]),
        ("eval good --dial output", ["--dial", "unknown rule 'output'", "did you mean 'outputs'", "interpolate"]),
        ("eval good --dial rule-a", ["needs noise=True"]),
        ("export good --dial blend --out a", ["unknown rule 'blend'"]),
        ("train oat --epochs 0 --out a", ["--epochs: must be a whole number, 1 or more, got '0'"]),
        ("train oat --epochs many --out a", ["--epochs: must be a whole number, 1 or more, got 'many'"]),
        ("train oat --n-train 0 --out a", ["--n-train: must be a whole number, 1 or more, got '0'"]),
        ("train digits --n-train 9999 --out a", ["unknown recipe 'digits'"]),
        ("train oat --data digits --n-train 9999 --out a", ["n_train=9999", "1797"]),
        ("train oat --seed -1 --out a", ["--seed: must be a whole number from 0 to 2**30 - 1, got '-1'"]),
        ("train oats --set widths=0 --out a", ["widths", "none"]),
        ("train oats --set widths=half --out a", ["widths", "half"]),
        (
            "train oats --set width=4 --out a",
            ["unknown option 'width' (did you mean 'widths'?): use one of stops, codes"],
        ),
        ("train oats --set seed=5 --out a", ["unknown option 'seed'"]),
        ("train oats --set recipe=oat --out a", ["unknown option 'recipe'"]),
        ("train floats --set density=.0 --out a", ["density", "(0, 1]", "got 0"]),
        ("train oats --set widths --out a", ["--set", "NAME=VALUE", "'widths'"]),
        ("train float --set redraw=never --out a", ["unknown redraw 'never'", "forward, step"]),
        ("train oat --set dual=maybe --out a", ["dual", "true or false"]),
        ("train oat --set density=0.5 --out a", ["density 0.5 needs masks"]),
        ("train floats --set density=0 --out a", ["density", "(0, 1]", "0"]),
        ("train floats --set density=much --out a", ["density", "much"]),
        ("eval good --slider 2", ["a slider position must be a number in [0, 1]", "2"]),
        ("eval good --slider 0 --lam 0", ["not allowed with"]),
        ("eval good --noise-samples 0", ["--noise-samples: must be a whole number, 1 or more, got '0'"]),
        ("fit-slider nowhere", ["no file nowhere"]),
        ("fit-slider good --n 0", ["--n: must be a whole number, 1 or more, got '0'"]),
        ("choose nothing.json", ["no file nothing.json"]),
        ("choose results.json --min-clean 0.9", ["no results to choose from"]),
        ("choose", ["results"]),
        ("choose x --min-clean 90", ["--min-clean", "must be a fraction in (0, 1], such as 0.5, got '90'"]),
        ("train oat --lam 0.3 --out a", ["only 'pgd-at' takes lam=", "'oat'"]),
        ("train pgd-at --lam 1.5 --out a", ["λ must be a number in [0, 1]", "1.5"]),
        ("train pgd-at --lam nan --out a", ["λ must be a number in [0, 1]"]),
        ("train oat --data folder:nowhere --out a", ["nowhere does not exist"]),
        ("train oat --out nowhere/a", ["nowhere does not exist"]),
        ("train oat --out folder", ["folder: it is a folder"]),
        ("train oat --checkpoint nowhere/a --out a", ["nowhere does not exist"]),
        ("train oat --device gpu --out a", ["unknown device 'gpu': use cpu, cuda or cuda:INDEX"]),
        ("train oat --device cuda:99 --out a", ["device cuda:99 is not available", "Use cpu"]),
        ("eval", ["weights"]),
        ("eval nowhere", ["no file nowhere"]),
        ("eval folder", ["is a folder"]),
        ("eval empty", ["truncated, damaged"]),
        ("eval truncated", ["truncated, damaged"]),
        ("eval cut-header", ["truncated, damaged"]),
        ("eval results.json", ["no safetensors file"]),
        ("eval foreign", ["not one that oatlib wrote"]),
        ("eval good --lam 1.5", ["λ must be a number in [0, 1]", "1.5"]),
        ("eval good --lam 0 half", ["'half'"]),
        ("eval good --data nothing", ["no data set 'nothing'"]),
        ("eval good --attack strong", ["unknown attack 'strong'", "use one of quick, fast, full, suite, pgd"]),
        ("eval good --attack fsat", ["unknown attack 'fsat' (did you mean 'fast'?)"]),
        (
            "eval good --attack suite --steps 40",
            ["--steps can be used with --attack pgd or --attack apgd only, got --attack suite"],
        ),
        ("eval good --steps 40", ["--steps can be used with", "got --attack quick"]),
        ("eval good --attack square --norm l2", ["--attack square can be used with --norm linf only, got --norm l2"]),
        ("eval good --attack fgsm --steps 2 --restarts 2", ["--steps and --restarts", "--attack fgsm"]),
        ("eval good --norm l1", ["l1"]),
        ("eval good --eps -1", ["--eps: must be a number in [0, 255], such as 8, got '-1'"]),
        ("eval good --eps 999", ["--eps: must be a number in [0, 255], such as 8, got '999'"]),
        ("eval good --attack pgd --steps -1", ["--steps: must be a whole number, 1 or more, got '-1'"]),
        ("eval good --attack apgd --restarts 0", ["--restarts: must be a whole number, 1 or more, got '0'"]),
        ("eval good --n 0", ["--n: must be a whole number, 1 or more, got '0'"]),
        ("eval good --n 99", ["--n 99: the test split has only 48 images"]),
        ("eval good --json nowhere/r.json", ["nowhere does not exist"]),
        ("eval good --json folder", ["it is a folder"]),
        ("export good --lam 0.3", ["--out"]),
        ("export good --out nowhere/m.onnx --lam 0.3", ["nowhere does not exist"]),
        ("export foreign --out m.onnx", ["not one that oatlib wrote"]),
        ("explore foreign", ["not one that oatlib wrote"]),
        ("explore folder", ["is a folder"]),
        ("explore good --state lam=2", ["lam must lie in [0, 1]"]),
        ("explore good --html nowhere/x.html", ["nowhere does not exist"]),
        ("explore good --port many", ["--port"]),
        ("doctor --now", ["--now"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(capsys, no_work, files, words, expected):
    fails(capsys, words, *expected)


def test_wrong_settings_of_an_export(capsys, files):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    fails(capsys, "export good --out m.onnx", "which λ")
    fails(capsys, "export good --lam 0.3 --out folder", "it is a folder")


def test_data_of_another_shape(capsys, files):
    fails(capsys, "eval good --data digits", "(3, 16, 16)", "(1, 8, 8)")


def test_a_network_whose_data_has_no_name(capsys, tmp_path):
    pair = torch.rand(8, 3, 8, 8), torch.arange(8) % 2
    data = oatlib.from_tensors("mine", pair, pair, pair, ("a", "b"))
    oatlib.save(oatlib.build("oat", data), tmp_path / "mine")
    fails(capsys, "eval mine", "name a data set with --data")


def test_a_checkpoint_is_no_network_and_a_network_no_checkpoint(capsys, tmp_path):
    words = "train oat --n-train 32 --checkpoint c --out a"
    assert run(capsys, *words.split())[0] == 0
    fails(capsys, "eval c", "checkpoint of a training run")
    fails(capsys, "train oat --n-train 32 --checkpoint a --resume --out b", "not a checkpoint")
    fails(capsys, "train oat --n-train 32 --seed 1 --checkpoint c --resume --out b", "another run", "seed")
    fails(capsys, "train oat --n-train 32 --resume --out b", "--resume needs --checkpoint FILE")


def test_wrong_words_are_found_before_a_download(capsys, monkeypatch):
    whole = oatlib.load_data

    def offline(name, *args, **kwargs):
        assert name != "cifar10", "downloads"
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(commands, "load_data", offline)
    for words, expected in [("oatt", "recipe"), ("oat --backbone big", "backbone"), ("oat --preset x", "preset"),
                            ("oat --epochs 0", "epochs"), ("oat --lam 0.3", "lam=")]:  # fmt: skip
        fails(capsys, f"train {words} --data cifar10 --out a", expected)


def test_a_failed_download_is_one_line(capsys, monkeypatch):
    def offline(*args, **kwargs):
        raise RuntimeError("could not load CIFAR10\nTried to download it.")

    monkeypatch.setattr(commands, "data_of", offline)
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
    oatlib.save(oatlib.build("oat", data), "good")
    fails(capsys, "eval good", "could not load CIFAR10 Tried")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("words", ["train oat --device cuda --out a", "eval good --device cuda"])
def test_no_cuda_device(capsys, no_work, files, words):
    fails(capsys, words, "device cuda is not available", "oatlib doctor")


def test_a_bug_is_not_hidden(capsys, monkeypatch):
    """Only errors with a message for the user become a line; anything else keeps its traceback."""

    def bug(*args, **kwargs):
        raise KeyError("oops")

    monkeypatch.setattr(commands, "load", bug)
    with pytest.raises(KeyError):
        run(capsys, "eval", "good")


def test_warnings_are_one_line_and_the_callers_warnings_stay_as_they_were(capsys, monkeypatch):

    def warn(*args, **kwargs):
        warnings.warn("look here", stacklevel=1)
        raise ValueError("and stop")

    monkeypatch.setattr(commands, "load", warn)
    before = warnings.showwarning
    _, _, err = run(capsys, "eval", "good")
    assert "warning: look here" in err.splitlines() and warnings.showwarning is before
