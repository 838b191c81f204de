"""Wrong input on the bad day: each mistake gives one line that says what is wrong and what is valid.

No command here trains, measures or starts a server: a stand-in fails if the work begins.
"""

import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import oatlib
from oatlib import PGD
from oatlib import _memory as memory
from oatlib.auditing.claim import Claim
from oatlib.cli import commands, port
from oatlib.cli import main as cli
from oatlib.explorer import app, server

# ---- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with networks and with everything that is none."""
    folder = tmp_path_factory.mktemp("world")
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=48)
    oatlib.save(oatlib.build("oat", data), folder / "good")
    oatlib.save(oatlib.build("oats", data), folder / "slim")
    oatlib.save(oatlib.build("pgd-at", data, lam=1.0), folder / "fixed")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "junk").write_bytes(bytes(range(256)) * 20)
    (folder / "results.json").write_text('{"results": []}')
    (folder / "cells.ipynb").write_text('{"cells": 3}')
    (folder / "list.ipynb").write_text("[]")
    (folder / "empty.ipynb").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def no_work(monkeypatch, world):
    def work(*_, **__):
        pytest.fail("the work began")

    for name in ("train", "evaluate", "audit", "fit_slider", "export"):
        monkeypatch.setattr(commands, name, work)
    monkeypatch.setattr(server, "serve", work)
    monkeypatch.setattr(app, "write", work)
    monkeypatch.setattr(memory, "available_memory", lambda: 64e9)
    monkeypatch.chdir(world)


def run(capsys, words):
    """(exit code, stdout, stderr)"""
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


SEED = "must be a whole number from 0 to 2**30 - 1, got"
WHOLE = "must be a whole number, 1 or more, got"
LAYOUT = "Expected PATH/<class>/*"

WRONG = [
    # the command, its options and their number
    ("", "oatlib: the following arguments are required: COMMAND"),
    ("''", "oatlib: unknown command '': use one of train, eval"),
    ("evl good", "oatlib: unknown command 'evl' (did you mean 'eval'?)"),
    ("--version extra", "oatlib: unknown command 'extra'"),
    ("doctor now", "oatlib doctor: unexpected argument 'now'"),
    ("doctor --now", "oatlib doctor: unknown option --now"),
    ("train oat oats --out a", "oatlib train: unexpected argument 'oats'"),
    ("train oat --sed 3 --out a", "oatlib train: unknown option --sed (did you mean '--seed'?)"),
    ("train oat --n 3 --out a", "oatlib train: unknown option --n"),  # no abbreviation of --n-train
    ("train oat --epoch=3 --out a", "oatlib train: unknown option --epoch (did you mean '--epochs'?)"),
    ("train oat --out a --out b", "oatlib train: --out is given twice: give it once"),
    ("eval good --lam 0 --lam 1", "--lam is given twice: give it once, with all values after it"),
    ("choose results.json --min-clean 0.5 --min-clean 0.9", "--min-clean is given twice"),
    ("explore good --html x.html --port 80", "argument --port: not allowed with argument --html"),
    # train
    ("train oat --out ''", "argument --out: must be a name, got ''"),
    ("train oat --out a --checkpoint ' '", "argument --checkpoint: must be a name, got ' '"),
    ("train '' --out a", "unknown recipe ''"),
    ("train oat --n-train 1e3 --out a", f"argument --n-train: {WHOLE} '1e3'"),
    ("train oat --n-train -1 --out a", f"argument --n-train: {WHOLE} '-1'"),
    ("train oat --n-train 99999999 --out a", "shapes: 100,002,559 images of 3x16x16 (n_train=99999999, n_val=512, "
     "n_test=2048) need about 1,382 GB of memory, and 64 GB are available: ask for fewer or smaller images"),
    ("train oat --data-set size --out a", "argument --data-set: must be NAME=VALUE, such as size=64, got 'size'"),
    ("train oat --data-set seed=1 --out a", "argument --data-set: seed is no option of a data set: use --data-seed"),
    ("train oat --data-set device=cpu --out a", "device is no option of a data set: use --device"),
    ("train oat --data-set trusst=1 --out a", "load_data('shapes') has no option 'trusst' (did you mean 'trust'?)"),
    ("train oat --data-set trust=most --out a", "load_data('shapes'): trust='most' must be a plain number"),
    ("train oat --seed 1.5 --out a", f"argument --seed: {SEED} '1.5'"),
    ("train oat --seed 1073741824 --out a", f"argument --seed: {SEED} '1073741824'"),
    ("train oat --seed 99999999999999999999999 --out a", f"argument --seed: {SEED} '99999999999999999999999'"),
    (f"train oat --seed {'9' * 5000} --out a", f"argument --seed: {SEED} "),
    ("train oat --device cpu:1 --out a", "unknown device 'cpu:1': use cpu, cuda or cuda:INDEX"),
    ("train oat --device cuda:-1 --out a", "unknown device 'cuda:-1'"),
    ("train oat --data '' --out a", "no data set ''"),
    ("train oat --data Shapes --out a", "no data set 'Shapes' (did you mean 'shapes'?)"),
    ("train oat --data folder:folder --out a", LAYOUT),
    ("train oat --data folder:empty --out a", f"empty is a file. {LAYOUT}"),
    ("train oat --lam inf --out a", "λ must be a number in [0, 1], got 'inf'"),
    ("train pgd-at --lam -inf --out a", "λ must be a number in [0, 1], got '-inf'"),
    ("train oats --set widths=99999999 --out a", "the number of widths, at most 64, got 99999999"),
    ("train oats --set widths=true --out a", "the number of widths, at most 64, got True"),
    ("train oats --set widths=[] --out a", "widths must be ascending fractions in (0, 1]"),
    ("train oat --set code_dim=99999999999 --out a", "code_dim must lie in 1 to 1024, got 99999999999"),
    ("train oat --set stops=[0,NaN] --out a", "every entry of stops must be a number, got nan"),
    ("train oat --set dual=null --out a", "dual must be true or false, got None"),
    ("train trades --set beta=-1 --out a", "beta is the weight of a loss, 0 or more, got -1"),
    ("train trades --set beta=NaN --out a", "beta must be a number, got nan"),
    ("train oat --backbone λ --out a", "unknown backbone 'λ': use one of tiny"),
    ("train oat --set =3 --out a", "unknown option ''"),
    # eval
    ("eval ''", "argument weights: must be a name, got ''"),
    ("eval nowhere", "there is no file nowhere"),
    ("eval pipe", "there is no file pipe"),
    ("eval junk", "junk cannot be read"),
    ("eval good --attack pgd --steps 0", f"argument --steps: {WHOLE} '0'"),
    ("eval good --attack apgd --steps 0", f"argument --steps: {WHOLE} '0'"),
    ("eval good --attack pgd --steps 1.5", f"argument --steps: {WHOLE} '1.5'"),
    ("eval good --attack pgd --restarts 0", f"argument --restarts: {WHOLE} '0'"),
    ("eval good --n 0", f"argument --n: {WHOLE} '0'"),
    ("eval good --n 1000000", "--n 1000000: the test split has only 48 images"),
    ("eval good --eps -0.5", "argument --eps: must be a number in [0, 255], such as 8, got '-0.5'"),
    ("eval good --eps -1e-3", "argument --eps: must be a number in [0, 255], such as 8, got '-1e-3'"),
    ("eval good --eps nan", "argument --eps: must be a number in [0, 255], such as 8, got 'nan'"),
    ("eval good --seed -1", f"argument --seed: {SEED} '-1'"),
    ("eval good --lam 0,1", "λ must be a number in [0, 1], got '0,1'"),
    ("eval good --lam", "argument --lam: expected at least one argument"),
    ("eval fixed --lam 0.3", "λ = 0.3 is outside this network's dial"),
    ("eval slim --width 0.6", "its widths are 0.5, 0.75, 1"),
    ("eval good --norm L2", "argument --norm: invalid choice: 'L2'"),
    ("eval good --json ''", "argument --json: must be a name, got ''"),
    ("eval good --data cifar", "no data set 'cifar' (did you mean 'cifar10'?)"),
    # audit
    ("audit good --claim 75", "argument --claim: must be a fraction in [0, 1], such as 0.75, got '75'"),
    ("audit good --claim 75%", "argument --claim: must be a fraction in [0, 1], such as 0.75, got '75%'"),
    ("audit good --claim nan", "argument --claim: must be a fraction in [0, 1]"),
    ("audit good --claim-n 5", "oatlib audit: --claim-n is the number of images of --claim: give both"),
    ("audit good --claim 0.5 --claim-n 0", f"argument --claim-n: {WHOLE} '0'"),
    ("audit good --eps -8", "argument --eps: must be a number in (0, 255], such as 8, got '-8'"),
    ("audit good --eps 0", "argument --eps: must be a number in (0, 255], such as 8, got '0'"),
    ("audit good --eps inf", "argument --eps: must be a number in (0, 255], such as 8, got 'inf'"),
    ("audit good --n 0", f"argument --n: {WHOLE} '0'"),
    ("audit good --seconds 0", "argument --seconds: must be a number of seconds above 0, got '0'"),
    ("audit good --seconds nan", "argument --seconds: must be a number of seconds above 0, got 'nan'"),
    ("audit good --seed -1", f"argument --seed: {SEED} '-1'"),
    ("audit good --html x.txt", "argument --html: must be a name that ends in .html, got 'x.txt'"),
    ("audit good --json x.html", "argument --json: must not end in .html, got 'x.html': use --html for it"),
    ("audit fixed --lam 0.5", "λ = 0.5 is outside this network's dial"),
    ("audit folder", "folder is a folder, expected a file"),
    # fit-slider, choose, export
    ("fit-slider ''", "argument weights: must be a name, got ''"),
    ("fit-slider junk", "junk cannot be read"),
    ("fit-slider good --n 1e3", f"argument --n: {WHOLE} '1e3'"),
    ("fit-slider good --points 3", "oatlib fit-slider: unknown option --points"),
    ("choose ''", "argument results: must be a name, got ''"),
    ("choose empty", "empty is not a JSON file"),
    ("choose junk", "junk is not a JSON file"),
    ("choose results.json --max-macs nan", "argument --max-macs: must be a number above 0, such as 1e6, got 'nan'"),
    ("choose results.json --max-macs -1", "argument --max-macs: must be a number above 0, such as 1e6, got '-1'"),
    ("choose results.json --max-parameters 1,000", "must be a number above 0, such as 1e6, got '1,000'"),
    ("choose results.json --min-robust 50%", "must be a fraction in (0, 1], such as 0.5, got '50%'"),
    ("export good --lam 0.5 --out ''", "argument --out: must be a name, got ''"),
    ("export good --lam nan --out a", "λ must be a number in [0, 1], got 'nan'"),
    ("export good --lam 0.5 --noise-seed x --out a", f"argument --noise-seed: {SEED} 'x'"),
    ("export good --out nowhere/a --lam 0.5", "nowhere/a"),
    # course, rerun
    ("course good", "good is a file, expected a folder"),
    ("course ''", "argument folder: must be a name, got ''"),
    ("course good/x", "oatlib course: good/x: Not a directory"),
    ("rerun ''", "argument notebook: must be a name, got ''"),
    ("rerun cells.ipynb", "cells.ipynb is not a notebook: it holds no list of cells"),
    ("rerun list.ipynb", "list.ipynb is not a notebook: it holds no list of cells"),
    ("rerun empty.ipynb", "empty.ipynb is not a notebook: it is no JSON"),
    ("rerun junk", "junk is not a notebook: it is no JSON"),
    ("rerun 01_atack", "there is no notebook '01_atack'"),
    ("rerun 01_attack -p n", "argument -p/--parameter: expected 2 arguments"),
    ("rerun 01_attack -p eps nan", "eps must be a number from 0.5 to 32.0, got 'nan'"),
    ("rerun 01_attack -p eps -4", "eps must be a number from 0.5 to 32.0, got '-4'"),
    ("rerun 01_attack -p n 64 -p n 32", "-p n is used 2 times: use it once"),
    ("rerun 01_attack --out ''", "argument --out: must be a name, got ''"),
    ("rerun 01_attack --timeout x", f"argument --timeout: {WHOLE} 'x'"),
    # explore
    ("explore ''", "argument weights: must be a name, got ''"),
    ("explore good --port 99999", "argument --port: must be a whole number from 0 to 65535, got '99999'"),
    ("explore good --port -1", "argument --port: must be a whole number from 0 to 65535, got '-1'"),
    ("explore good --port 1.5", "argument --port: must be a whole number from 0 to 65535, got '1.5'"),
    ("explore good --html x.txt", "argument --html: must be a name that ends in .html, got 'x.txt'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[words[:60] or "nothing" for words, _ in WRONG])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(capsys, no_work, words, expected):
    before = sorted(os.listdir())
    code, out, err = run(capsys, shlex.split(words))
    assert (code, out) == (2, "") and err.startswith("oatlib") and err.endswith("\n") and err.count("\n") == 1, err
    assert expected in err
    assert not any(word in err for word in ("Traceback", "Error:", "Errno", "object", "NoneType")), err
    assert sorted(os.listdir()) == before, "nothing is written"


def test_a_claim_is_compared_with_the_interval_in_words():
    words = Claim(0.75, "given").beside(0.681, 0.788, 256)
    assert words == "75.0% is claimed and lies inside the interval [68.1%, 78.8%] of 256 images"
    assert "lies below the interval" in Claim(0.5, "given").beside(0.681, 0.788, 256)
    assert "lies above the interval" in Claim(0.9, "given").beside(0.681, 0.788, 256)
    assert Claim(0.75, "pgd-20", 256).beside(0.681, 0.788, 256) == "PGD-20 alone leaves 75.0% correct"


# ---- ports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy():
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_busy_port_is_one_line_with_a_free_one(capsys, no_work, busy):
    code, out, err = run(capsys, ["explore", "--port", str(busy)])
    assert (code, out) == (2, "") and err.startswith(f"oatlib explore: port {busy} is busy: use --port "), err
    assert err.endswith("or leave --port out for any free one\n")
    suggested = int(err.split("--port ")[1].split(",")[0])
    assert busy < suggested <= busy + port.TRIED
    port.check_port(suggested)  # it is free


def test_a_reserved_port_and_the_last_one(monkeypatch):
    monkeypatch.setattr(port, "_failure", lambda number: "is reserved for the system" if number < 1024 else "")
    with pytest.raises(ValueError, match="^port 1000 is reserved for the system: use --port 1024, or leave --port out"):
        port.check_port(1000)
    monkeypatch.setattr(port, "_failure", lambda number: "is busy")
    with pytest.raises(ValueError, match="^port 65535 is busy: leave --port out for any free one$"):
        port.check_port(65535)


def test_port_0_and_a_free_port_are_served(capsys, monkeypatch, busy):
    served = []
    monkeypatch.setattr(server, "serve", lambda *words: served.append(words[2]) or 0)
    port.check_port(0)
    assert run(capsys, ["explore", "--port", "0"])[0] == 0 and served == [0]
    assert not [line for line in capsys.readouterr().err.splitlines() if line]


# ---- as a program ---------------------------------------------------------------------------------------------------


def start(words, module=True, **options):
    """Start oatlib as a program, by its module or by the function that the command `oatlib` calls."""
    entry = ["-m", "oatlib"] if module else ["-c", "import sys; from oatlib.cli.main import main; sys.exit(main())"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, *entry, *words],
        stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=environment, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--version"], ["choose", "--x"], ["--help"], [], ["choose", "nowhere.json"]])
def test_python_m_oatlib_is_the_command(words, tmp_path):
    by_module, by_command = (start(words, module, cwd=tmp_path) for module in (True, False))
    assert (*by_module.communicate(), by_module.returncode) == (*by_command.communicate(), by_command.returncode)
    assert by_module.returncode == (0 if words in (["--version"], ["--help"]) else 2)


@pytest.mark.slow
def test_the_usage_line_of_the_module_names_the_command(tmp_path):
    out, _ = start(["eval", "--help"], cwd=tmp_path).communicate()
    assert out.startswith("usage: oatlib eval ")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes of Windows do not report a reader that is gone")
@pytest.mark.parametrize("words", [["--help"], ["rerun", "01_attack", "--list"]])
def test_a_reader_that_is_gone_ends_the_program_quietly(words, tmp_path):
    read, write = os.pipe()
    os.close(read)
    program = start(words, cwd=tmp_path, stdout=write)
    os.close(write)
    _, err = program.communicate()
    assert err == "" and program.returncode in (0, 141)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        program = start(["rerun", "01_attack", "--list"], cwd=tmp_path, stdout=full)
        _, err = program.communicate()
    assert err == "oatlib rerun: No space left on device\n" and program.returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another signal on Windows")
def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path):
    """While PyTorch is imported, which takes seconds."""
    code = (
        "import sys, signal, os; from oatlib.cli import main as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "cli._run = lambda options: os.kill(os.getpid(), signal.SIGINT) or __import__('time').sleep(60)\n"
        "sys.exit(cli.main(['doctor']))"
    )
    program = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False,
                             env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})  # fmt: skip
    assert (program.returncode, program.stdout, program.stderr) == (130, "", "oatlib doctor: interrupted\n")


@pytest.fixture
def ctrl_c():
    """Ctrl-C as at the start of a program, also where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another signal on Windows")
def test_ctrl_c_that_an_import_swallows_is_still_ctrl_c(capsys, monkeypatch, ctrl_c):
    """NumPy does this: it raises an ImportError if its import is interrupted and tried again."""

    def importing(_):
        with cli._interruptible():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            except BaseException:
                raise ImportError("cannot load module more than once per process") from None

    monkeypatch.setattr(cli, "_run", importing)
    assert run(capsys, ["doctor"]) == (130, "", "oatlib doctor: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ImportError, match="no such package"), cli._interruptible():
        raise ImportError("no such package")


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another signal on Windows")
def test_a_program_that_ignores_ctrl_c_ignores_it_during_imports_too(ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with cli._interruptible():
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                      "tried to allocate 4000000000000 bytes. Error code 12"), "not enough memory: one tensor would "
         "need 4,000.0 GB"),
        (PermissionError(13, "Permission denied", "net.safetensors"), "net.safetensors: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
    ],
)  # fmt: skip
def test_errors_of_the_system_become_one_sentence(capsys, monkeypatch, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(commands, "load", fail)
    assert run(capsys, ["eval", "good"]) == (2, "", f"oatlib eval: {line}\n")


# ---- the library ----------------------------------------------------------------------------------------------------


NEED_JUPYTER = ("explore", "rerun", "Rerun", "RerunError", "export_explorer")


@pytest.fixture(scope="module")
def given():
    """Names that the calls below use."""
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
    net = oatlib.build("oat", data)
    x, y = data.test.x, data.test.y
    table = oatlib.evaluate(net, data, PGD(0.0, 0), [0.0], progress=False)
    return {
        "data": data, "net": net, "f": net.at(0.5), "x": x, "y": y, "table": table, "P": (0.9, 0.1), "Q": (0.5, 0.5),
        "slim": oatlib.build("oats", data), "fixed": oatlib.build("pgd-at", data, lam=1.0),
        "digits": oatlib.load_data("digits", n_train=50), "nan": math.nan, "inf": math.inf, "torch": torch, "np": np,
    } | {name: getattr(oatlib, name) for name in oatlib.__all__ if name not in NEED_JUPYTER}  # fmt: skip


NET = "net must be a network, such as oatlib.build('oat', data) or oatlib.load(path), got "
DATA = "data must be a data set, such as oatlib.load_data('shapes'), got "
SPLIT = "expected a data set or one of its splits, such as data."
PATH = "expected a path, such as 'net.safetensors', got "
LAM = "λ must be a number in [0, 1], or a tensor of them, got "
ATTACK = "attack must be an attack, such as oatlib.PGD(8 / 255), got "
ONE = "must be a whole number, 1 or more"
EPS = "eps must be a number in [0, 1], in pixel units such as 8/255"
FUNCTION = "net must be a network, or a function from images to logits, got "
POINT = "expected a result of oatlib.evaluate or a point (clean, robust), such as (0.9, 0.5), got "

CALLS = [
    # files
    ("load(3)", PATH + "3"),
    ("load(None)", PATH + "None"),
    ("load('nowhere')", "there is no file nowhere"),
    ("load('nowhere', 'gpu')", "unknown device 'gpu': use cpu, cuda or cuda:INDEX"),
    ("save(3, 'x')", NET + "3"),
    ("save(net, 3)", PATH + "3"),
    # data
    ("load_data('shapez')", "no data set 'shapez' (did you mean 'shapes'?)"),
    ("load_data(None)", "no data set 'None'"),
    ("load_data('shapes', device='gpu')", "unknown device 'gpu'"),
    ("load_data('shapes', seed='a')", "seed='a': must be a whole number from 0 to 2**30 - 1"),
    ("load_data('shapes', n_train=1.5)", f"n_train=1.5: {ONE}"),
    ("from_tensors('mine', (x, y), (x, y), (x, y), 3)", "mine: classes must be a list of names, got 3"),
    ("from_tensors('mine', x, (x, y), (x, y), 'ab')", "mine, train: expected a pair (x, y) of images and labels"),
    ("from_tensors('mine', (x, y), 3, (x, y), data.classes)", "mine, val: expected a pair (x, y) of images and"),
    ("from_tensors('mine', ('x', y), (x, y), (x, y), 'ab')", "mine, train: x and y must be tensors or arrays, got 'x'"),
    ("from_tensors('mine', (x, None), (x, y), (x, y), 'ab')", "x and y must be tensors or arrays"),
    ("from_tensors('m', (x, y), (x, y), (x, y), data.classes, facts=3)", "facts must be a dictionary with some of"),
    ("from_tensors('m', (x, y), (x, y), (x, y), data.classes, facts={'tran': {}})", "train, val, test, got ['tran']"),
    ("from_tensors('m', (x, y), (x, y), (x, y), data.classes, facts={'val': {'a': 3}})", "one value per image, 8 in"),
    ("from_tensors('m', (x, y), (x, y), (x, y), data.classes, crop=-1)", "crop=-1: must be a whole number, 0 or more"),
    ("data.test.panel('a')", "panel('a'): the test split has 8 images, so n must be a whole number from 1 to 8"),
    ("data.test.panel(1.5)", "panel(1.5): the test split has 8 images"),
    # networks
    ("build('oatt', data)", "unknown recipe 'oatt' (did you mean 'oat'?)"),
    ("build(['oat'], data)", "unknown recipe ['oat'] (did you mean 'oat'?): use one of"),
    ("build('oat', None)", DATA + "None"),
    ("build('oat', 'shapes')", DATA + "'shapes'"),
    ("build('oat', data.test)", DATA + "Split"),
    ("build('oat', data, seed='a')", "seed='a': must be a whole number"),
    ("build('oat', data, seed=2**70)", f"seed={2**70}: must be a whole number"),
    ("build('oats', data, widths=10**6)", "the number of widths, at most 64, got 1000000"),
    ("net.at('a')", LAM + "'a'"),
    ("net.at({})", LAM + "dict"),
    ("net.at(2)", "λ must lie in [0, 1], got 2"),
    ("net.at()", "which λ? This network has a dial"),
    ("net.at(nan)", "λ must lie in [0, 1], got nan"),
    ("net.at(0.5, 'a')", "a width is a fraction of the channels, here 1, got 'a'"),
    ("net.at(0.5, [1])", "a width is a fraction of the channels, here 1, got list"),
    ("net.at(0.5, noise_seed='a')", "seed='a': must be a whole number"),
    ("net.noisy(0.5, generator=3)", "generator must be a torch.Generator, got 3"),
    ("net.lam('a')", "a slider position must be a number in [0, 1], got 'a'"),
    ("net.lam(2)", "a slider position must be a number in [0, 1], got 2"),
    ("net.position('a')", LAM + "'a'"),
    ("net.bind('a')", LAM + "'a'"),
    ("net('x', 0.0)", "images must be a tensor (N, 3, 16, 16), got 'x'"),
    ("net(x[0], 0.0)", "takes images (3, 16, 16), floating point in [0, 1], as a tensor (N, C, H, W); got"),
    ("net(x[:, :1], 0.0)", "got torch.float32 (8, 1, 16, 16)"),
    ("net((x * 255).byte(), 0.0)", "got torch.uint8 (8, 3, 16, 16)"),
    ("cost(None)", NET + "None"),
    ("cost(net, 'a')", LAM + "'a'"),
    ("calibrate(None, data, [0.5])", NET + "None"),
    ("calibrate(slim, None, [0.5])", DATA + "None"),
    # training
    ("train(None, data)", NET + "None"),
    ("train(net, None)", DATA + "None"),
    ("train(net, data.train)", DATA + "Split"),
    ("train(f, data)", NET + "ResNet"),
    ("train(net, data, 'fsat')", "unknown preset 'fsat' (did you mean 'fast'?)"),
    ("train(net, data, 3)", "preset must be one of fast, paper, photos, or an oatlib.Preset, got 3"),
    ("train(net, data, seed='a')", "seed='a': must be a whole number"),
    ("train(net, data, amp='yes')", "amp must be True, False or None, got 'yes'"),
    ("train(net, data, lr='a')", "lr must be a number >= 0, got 'a'"),
    ("train(net, data, steps=1.5)", "steps=1.5: must be a whole number, 0 or more"),
    ("train(net, data, checkpoint=3)", PATH + "3"),
    ("Preset(eps='a')", EPS + ", got 'a'"),
    ("Preset(eps=8)", EPS + ", got 8"),
    ("Preset(ramp=None)", "ramp must be a fraction of training in [0, 1], got None"),
    ("Preset(ramp=1)", "ramp must be a fraction of training, below 1, got 1"),
    # measuring
    ("evaluate(net, 'x')", SPLIT + "test, got 'x'"),
    ("evaluate(None, data)", FUNCTION + "None"),
    ("evaluate('net', data)", FUNCTION + "'net'"),
    ("evaluate(net, data, 'pgd')", ATTACK + "'pgd'"),
    ("evaluate(net, data, PGD)", ATTACK + "the class PGD: call it"),
    ("evaluate(net, data, lams=3)", "lams must be a list of numbers, such as [0.5], got 3"),
    ("evaluate(net, data, lams='a')", "lams must be a list of numbers, such as [0.5], got 'a'"),
    ("evaluate(net, data, lams=[])", "lams is empty: leave it out for all of the network"),
    ("evaluate(net, data, lams=['a'])", "every entry of lams must be a number, got 'a'"),
    ("evaluate(net, data, lams=[nan])", "λ must lie in [0, 1], got nan"),
    ("evaluate(net, data, lams=[2])", "λ must lie in [0, 1], got 2"),
    ("evaluate(net, data, widths=3)", "widths must be a list of numbers"),
    ("evaluate(net, data, widths=[0.3])", "width 0.3 is not in this network"),
    ("evaluate(net, data, batch_size='a')", f"batch_size='a': {ONE}"),
    ("evaluate(net, data, batch_size=1.5)", f"batch_size=1.5: {ONE}"),
    ("evaluate(net, data, noise_samples=0)", f"noise_samples=0: {ONE}"),
    ("evaluate(net, data, seed='a')", "seed='a': must be a whole number"),
    ("evaluate(lambda v: None, data)", "the network must return logits (8, classes >= 2), got None"),
    ("across_lambda(3, data)", NET + "3"),
    ("across_lambda(net, 'x')", SPLIT + "test, got 'x'"),
    ("across_lambda(net, data, attack='pgd')", ATTACK + "'pgd'"),
    ("fit_slider(None, data)", NET + "None"),
    ("fit_slider(net, data, points=3.5)", "points=3.5: must be a whole number, 3 or more"),
    ("fit_slider(net, data, n=0)", f"n=0: {ONE}"),
    ("wilson('a', 3)", "right must be a number, got 'a'"),
    # choosing and comparing
    ("choose([])", "there are no results to choose from"),
    ("choose(3)", "results must be the results of oatlib.evaluate, got 3"),
    ("choose([3])", "every result must be an oatlib.Result, from oatlib.evaluate, got 3"),
    ("choose(table, min_clean='a')", "min_clean must be an accuracy in [0, 1], such as 0.9, got 'a'"),
    ("choose(table, min_clean=90)", "min_clean must be an accuracy in [0, 1], such as 0.9, got 90"),
    ("choose(table, max_macs=nan)", "max_macs must be a number >= 0, got nan"),
    ("choose(table, max_macs=0)", "max_macs must be above 0, got 0"),
    ("coin(1, 2, 3)", POINT + "1"),
    ("coin('ab', 'cd', 0.5)", POINT + "'ab'"),
    ("coin((1, 2, 3), Q, 0.5)", POINT + "tuple"),
    ("coin(('a', 'b'), Q, 0.5)", "clean must be an accuracy in [0, 1], such as 0.95, got 'a'"),
    ("coin(P, Q, 'a')", "clean must be an accuracy in [0, 1], such as 0.95, got 'a'"),
    ("coin(P, Q, None)", "clean must be an accuracy in [0, 1], such as 0.95, got None"),
    ("compare({'a': net}, data, lams=3)", "lams must be a list of numbers, such as [0.5], got 3"),
    ("compare({'a': net}, data, coin=3)", "coin must be the names of two systems"),
    ("table.robust_at(0.5, width='a')", "width must be a number, got 'a'"),
    ("best_frontier(3)", "lams must be a list of λ in [0, 1], got 3"),
    ("best_frontier(['a'])", "λ must lie in [0, 1], got ['a']"),
    ("data.to('gpu')", "unknown device 'gpu': use cpu, cuda or cuda:INDEX"),
    ("table.robust_at('a')", "clean must be an accuracy in [0, 1]"),
    # attacks
    ("PGD('a')", EPS + ", got 'a'"),
    ("PGD(None)", EPS + ", got None"),
    ("PGD(8)", EPS + " (did you mean 8/255?), got 8"),
    ("PGD(-8)", EPS + ", got -8"),
    ("PGD(inf, norm='l2')", "eps must be a number in [0, 1e+06]"),
    ("PGD(steps=1.5)", "steps=1.5: must be a whole number, 0 or more"),
    ("PGD(steps='a')", "steps='a': must be a whole number, 0 or more"),
    ("PGD(steps=True)", "steps=True: must be a whole number, 0 or more"),
    ("PGD(step_size='a')", "step_size must be a number >= 0, got 'a'"),
    ("PGD(step_size=inf)", "step_size must be a number >= 0, got inf"),
    ("PGD(restarts=1.5)", f"restarts=1.5: {ONE}"),
    ("PGD(best='a')", "best must be one of (True, False), got 'a'"),
    ("PGD(loss=[])", "loss must be one of ('ce', 'margin', 'dlr') or a function"),
    ("PGD(eot_samples=1.5)", f"eot_samples=1.5: {ONE}"),
    ("APGD(targets=None)", "targets=None: must be a whole number, 0 or more"),
    ("APGD(targets='some')", "targets must be a whole number or 'all', got 'some'"),
    ("Square(queries='a')", f"queries='a': {ONE}"),
    ("Square(share=0)", "share must be above 0, got 0"),
    ("NFGSM(k='a')", "k must be a number >= 0, got 'a'"),
    ("FGSMRS(step_size='a')", "step_size must be a number >= 0, got 'a'"),
    ("Suite(budget=[])", "unknown budget []: use one of quick, fast, full"),
    ("Suite(members=3)", "members must be a tuple of attacks, got 3"),
    ("Suite(members=('pgd',))", "every member must be an attack, such as oatlib.PGD(), got 'pgd'"),
    ("Transfer(3, PGD())", "source must be a function from images to logits, got 3"),
    ("Transfer(f, 'pgd')", ATTACK + "'pgd'"),
    ("PGD()('f', x, y)", "the function under attack must be a network or a function from images to logits, got 'f'"),
    ("PGD()(f, 'x', y)", "images must be a floating point tensor (N, ...), got 'x'"),
    ("PGD()(f, x, None)", "y must be a tensor of labels (N,), got None"),
    ("PGD()(f, x, y, 3)", "generator must be a torch.Generator, got 3"),
    ("list(PGD().survivors(f, x, None))", "y must be a tensor of labels (N,), got None"),
    ("Suite()(f, 'x', y)", "images must be a floating point tensor (N, ...), got 'x'"),
    ("Suite()(f, x, None)", "y must be a tensor of labels (N,), got None"),
    ("Suite().run(f, x, y, seconds='a')", "seconds must be a number >= 0, got 'a'"),
    # audit
    ("audit(None, data)", FUNCTION + "None"),
    ("audit(net, 'x')", SPLIT + "val, got 'x'"),
    ("audit(net, data, 'a')", LAM + "'a'"),
    ("audit(net, data, eps=8)", EPS + " (did you mean 8/255?), got 8"),
    ("audit(net, data, eps=0)", "eps must be above 0, in pixel units such as 8/255, got 0"),
    ("audit(net, data, claim=75)", "claim must be a robust accuracy in [0, 1], such as 0.75, got 75"),
    ("audit(net, data, claim='a')", "claim must be a robust accuracy in [0, 1], such as 0.75, got 'a'"),
    ("audit(net, data, claim=0.5, claim_n='a')", f"claim_n='a': {ONE}"),
    ("audit(net, data, claim_n=5)", "claim_n is the number of images of a claim, so it needs claim="),
    ("audit(net, data, n=0)", f"n=0: {ONE}"),
    ("audit(net, data, seed='a')", "seed='a': must be a whole number"),
    ("audit(net, data, seconds=-1)", "seconds must be a number >= 0, got -1"),
    ("audit(net, data, suite='fast')", "suite must be an oatlib.Suite, got 'fast'"),
    ("audit(net, data, suite=PGD())", "suite must be an oatlib.Suite, got PGD"),
    ("audit(net, data, sources=3)", "sources must be a dictionary {name: function from images to logits}, got 3"),
    ("audit(net, data, attacked=3)", "attacked must be a function from images to logits, got 3"),
    ("audit(net, digits)", "this network takes images (3, 16, 16) with labels 0 to 7, but the val split has images"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[call for call, _ in CALLS])
def test_a_wrong_argument_is_named_with_what_is_valid(given, call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        eval(call, dict(given))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), PATH + "3"),
        (("01_attack", 3), "parameters must be a dictionary {name: value}, got 3"),
        (("01_attack", {}, 3), PATH + "3"),
    ],
)
def test_a_wrong_argument_of_a_rerun(arguments, message):
    pytest.importorskip("nbclient", reason="the extra `lab` is not installed")
    with pytest.raises(TypeError) as error:
        oatlib.rerun(*arguments)
    assert message in str(error.value)


def test_values_that_look_odd_and_are_valid(given):
    net, x = given["net"], given["x"]
    assert torch.equal(net.at(np.float32(0.5))(x), net.at(0.5)(x))
    assert torch.equal(net.at(0.5, np.float64(1))(x), net.at(0.5)(x))
    assert net.position(torch.tensor([0.0, 1.0])).per_image
    rows = oatlib.evaluate(net, given["data"], PGD(0.0, 0), torch.tensor([0.0, 1.0]), progress=False)
    assert [row.lam for row in rows] == [0, 1]
    assert PGD(np.float32(0.1), np.int64(3)).steps == 3
    assert oatlib.build("oat", given["data"], seed=-1).spec.recipe == "oat"


def test_an_attack_without_steps_is_measured_with_a_warning(given):
    with pytest.warns(UserWarning, match="PGD with 0 steps does not search for errors of the network"):
        oatlib.evaluate(given["net"], given["data"], PGD(8 / 255, 0), [0.0], progress=False)
