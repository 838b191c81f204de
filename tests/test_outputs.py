"""Outputs of the commands: checked and claimed before the work, and not lost when the disk is full at its end."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import oatlib
from oatlib import record
from oatlib.cli import commands
from oatlib.cli import main as cli
from oatlib.explorer import app
from oatlib.record import RecordError, claimed

pytestmark = pytest.mark.slow

FAST = oatlib.Preset(epochs=1, batch=16, steps=1, panel=16)
TRAIN = ("train", "oat", "--n-train", "32", "--out", "out.safetensors")
# command -> its words; the output is the last one
COMMANDS = {
    "train": TRAIN,
    "checkpoint": ("train", "oat", "--out", "net.safetensors", "--checkpoint", "run.safetensors"),
    "eval": ("eval", "oat.safetensors", "--json", "results.json"),
    "audit": ("audit", "oat.safetensors", "--json", "report.json"),
    "audit as a page": ("audit", "oat.safetensors", "--html", "report.html"),
    "export": ("export", "oat.safetensors", "--lam", "0.3", "--out", "model.onnx"),
    "explore": ("explore", "oat.safetensors", "--html", "page.html"),
    "fit-slider": ("fit-slider", "oat.safetensors"),
}


def run(capsys, *words):
    """(exit code, stdout, stderr)"""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err.replace("\r", "\n")  # where a progress bar is wiped out, a line begins


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "oat.safetensors"
    data = oatlib.load_data("shapes", n_train=32, n_val=16, n_test=48)
    net = oatlib.build("oat", data)
    oatlib.train(net, data, FAST, progress=False)
    oatlib.save(net, path)
    return path


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path, weights):
    """A folder to work in, with a network. The home folder and that of temporary files are beside it."""
    places = {name: tmp_path / name for name in ("work", "home", "temporary")}
    for folder in places.values():
        folder.mkdir()
    (places["work"] / "oat.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.chdir(places["work"])
    monkeypatch.setitem(oatlib.PRESETS, "fast", FAST)
    monkeypatch.setattr(Path, "home", lambda: places["home"])
    monkeypatch.setattr(record.tempfile, "gettempdir", lambda: str(places["temporary"]))
    return places["work"]


@pytest.fixture
def no_work(monkeypatch):
    """A command that starts to work here has not looked at its output."""

    def work(*_, **__):
        raise AssertionError("work was started")

    for name in ("train", "evaluate", "audit", "export", "fit_slider"):
        monkeypatch.setattr(commands, name, work)
    monkeypatch.setattr(commands, "load_data", work)
    monkeypatch.setattr(app, "export_explorer", work)


def fails(capsys, words, message):
    before = sorted(os.listdir())
    code, out, err = run(capsys, *words)
    assert (code, out, err) == (2, "", f"oatlib {words[0]}: {message}\n")
    assert sorted(os.listdir()) == before


# --- before the work ---


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_cannot_be_written_is_named_as_it_was_typed(capsys, monkeypatch, no_work, name):
    *_, output = words = COMMANDS[name]
    original = os.open

    def denied(path, flags, *rest, **options):
        if Path(path).name.startswith(f".{output}."):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", denied)
    fails(capsys, words, f"cannot write {output}: Permission denied")


SYSTEM = Path("/sys/kernel")  # a folder in which not even root can create a file


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"fit-slider"}))
def test_a_folder_that_nobody_can_write_to(capsys, no_work, name):
    *words, output = COMMANDS[name]
    code, out, err = run(capsys, *words, SYSTEM / output)
    assert (code, out) == (2, "") and err.startswith(f"oatlib {words[0]}: cannot write {SYSTEM / output}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_run_is_refused_by_name(capsys, no_work, name):
    *_, output = words = COMMANDS[name]
    with claimed(output):
        fails(
            capsys,
            words,
            f"another oatlib run (process {os.getpid()}) is writing {output}: wait until it ends, or choose another "
            "file",
        )


@pytest.mark.parametrize("name", ["eval", "audit", "export"])
def test_the_network_is_not_replaced_by_a_result(capsys, no_work, name):
    *words, _ = COMMANDS[name]
    fails(capsys, [*words, "./oat.safetensors"], "./oat.safetensors is the network: choose another file for the output")


def test_outputs_of_one_command_need_a_file_each(capsys, no_work):
    fails(
        capsys,
        ("train", "oat", "--out", "a", "--checkpoint", "./a"),
        "--checkpoint and --out must be two files, both are a",
    )
    with pytest.raises(RecordError, match="a and a are one file: each output needs its own"), claimed("a", "./a"):
        pass


SLOW = """
import sys, time
from oatlib.cli import commands, main
def train(*_, **__):
    print("training", flush=True)
    time.sleep(60)
commands.train = train
main.main(sys.argv[1:])
"""


def test_two_real_runs(capsys):
    """The first one is another process. Killed, it stands in nobody's way."""
    with subprocess.Popen([sys.executable, "-c", SLOW, *TRAIN], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "training\n"
        code, _, err = run(capsys, *TRAIN)
        assert code == 2 and f"another oatlib run (process {first.pid}) is writing out.safetensors: wait" in err
        first.kill()
    assert run(capsys, *TRAIN)[0] == 0
    assert sorted(os.listdir()) == ["oat.safetensors", "out.safetensors"]


# --- a full disk after the work ---


@pytest.fixture
def fill(monkeypatch):
    """fill(folder, ...): from now on a write to these folders meets a full disk."""
    original = record._replace

    def now(*folders):
        def replace(target, content):
            if target.parent.resolve() in folders:
                raise OSError(errno.ENOSPC, "No space left on device")
            original(target, content)

        monkeypatch.setattr(record, "_replace", replace)

    return now


FULL = r"cannot write {}: No space left on device \(it needs \d+\.\d MB, \d+\.\d [MG]B are free in {}\)"


def test_a_trained_network_goes_to_another_folder(capsys, here, fill):
    assert run(capsys, *TRAIN)[0] == 0
    expected = Path("out.safetensors").read_bytes()
    Path("out.safetensors").write_bytes(b"old")
    fill(here)
    code, out, err = run(capsys, *TRAIN)
    rescued = here.parent / "home" / "out-rescued.safetensors"
    message = FULL.format(r"out\.safetensors", re.escape(str(here)))
    assert code == 1 and out.startswith("out.safetensors: not written. Recipe oat, training finished after")
    assert re.search(rf"^oatlib train: {message}\. The trained network is in {re.escape(str(rescued))}$", err, re.M)
    expected_net, net = (oatlib.load(path) for path in (write(here / "expected", expected), rescued))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), expected_net.parameters(), strict=True))
    assert Path("out.safetensors").read_bytes() == b"old"


def write(path, content):
    path.write_bytes(content)
    return path


def test_the_folder_of_the_checkpoint_comes_before_home(capsys, here, fill):
    (here / "runs").mkdir()
    fill(here)
    code, out, err = run(capsys, *TRAIN, "--checkpoint", "runs/run.safetensors")
    assert code == 1 and f"The trained network is in {here / 'runs' / 'out-rescued.safetensors'}\n" in err
    assert "--resume continues from runs/run.safetensors, and writes out.safetensors at the end" in out


def test_where_no_folder_has_space_the_checkpoint_is_named(capsys, here, fill, monkeypatch):
    (here / "runs").mkdir()
    places = here, here / "runs", here.parent / "home", here.parent / "temporary"
    real = commands.train

    def train_then_fill(*words, **options):
        history = real(*words, **options)
        fill(*places)
        return history

    monkeypatch.setattr(commands, "train", train_then_fill)
    words = (*TRAIN, "--checkpoint", "runs/run.safetensors")
    code, out, err = run(capsys, *words)
    assert code == 1 and "The trained network could not be written to any other folder\n" in err
    assert "--resume continues from runs/run.safetensors" in out
    assert sorted(os.listdir()) == ["oat.safetensors", "runs"] and os.listdir("runs") == ["run.safetensors"]
    monkeypatch.setattr(commands, "train", real)
    fill()
    assert run(capsys, *words, "--resume")[0] == 0
    oatlib.load("out.safetensors")


def test_a_checkpoint_that_meets_a_full_disk_is_a_warning(capsys, here, fill):
    (here / "runs").mkdir()
    fill(here / "runs")
    code, out, err = run(capsys, *TRAIN, "--checkpoint", "runs/run.safetensors", "--epochs", 2)
    assert code == 0 and out.startswith("out.safetensors: written.")
    message = FULL.format(r"runs.run\.safetensors", re.escape(str(here / "runs")))
    (line,) = re.findall("^warning: .*$", err, re.M)
    assert re.fullmatch(
        rf"warning: the checkpoint of epoch 1 is missing: {message}\. Training continues, and tries again after every "
        r"epoch\.",
        line,
    )


@pytest.mark.parametrize("space", [True, False])
def test_measured_results_are_printed_and_go_to_another_folder(capsys, here, fill, space):
    home, temporary = here.parent / "home", here.parent / "temporary"
    fill(here, *([] if space else [home, temporary]))
    words = ("eval", "oat.safetensors", "--attack", "fgsm", "--lam", 1, "--n", 16, "--json", "results.json")
    code, out, err = run(capsys, *words)
    assert code == 1 and "robust" in out and "95 % intervals" in out
    message = FULL.format(r"results\.json", re.escape(str(here)))
    where = f"is in {home / 'results-rescued.json'}" if space else "could not be written to any other folder"
    assert re.search(rf"^oatlib eval: {message}\. The table of results {re.escape(where)}$", err, re.M)
    assert not space or oatlib.Table.load(home / "results-rescued.json")[0].n == 16
    assert os.listdir() == ["oat.safetensors"]


def test_a_fitted_slider_and_a_report_go_to_another_folder(capsys, here, fill, monkeypatch):
    home = here.parent / "home"
    before = Path("oat.safetensors").read_bytes()
    fill(here)
    monkeypatch.setattr(commands, "fit_slider", lambda net, *_, **__: setattr(net, "slider", (0.0, 0.3, 1.0)))
    code, out, err = run(capsys, "fit-slider", "oat.safetensors")
    assert code == 1 and out.startswith("oat.safetensors: not written.") and "network with its slider is in" in err
    assert oatlib.load(home / "oat-rescued.safetensors").slider == (0.0, 0.3, 1.0)
    assert Path("oat.safetensors").read_bytes() == before

    class Report:
        stands = True

        def save(self, path):
            record.write_bytes(path, b"<html>")

    monkeypatch.setattr(commands, "audit", lambda *_, **__: Report())
    code, _, err = run(capsys, "audit", "oat.safetensors", "--html", "report.html")
    assert code == 1 and f"The report is in {home / 'report-rescued.html'}\n" in err


LIMITED = """
import resource, signal, sys
import oatlib
from oatlib.cli import commands, main
real = commands.train
def train(*words, **options):
    history = real(*words, **options)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return history
commands.train = train
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the file size are those of Linux")
def test_the_operating_system_refuses_the_network(here):
    """No injected error: the kernel lets the process write 100 000 bytes to a file, and the network has more."""
    words = (*TRAIN, "--epochs", "1", "--checkpoint", "run.safetensors")
    ran = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert (
        "oatlib train: cannot write out.safetensors: File too large. The trained network could not be written to any "
        "other folder\n" in ran.stderr
    )
    assert "--resume continues from run.safetensors" in ran.stdout
    assert sorted(os.listdir()) == ["oat.safetensors", "run.safetensors"]


def test_the_name_of_a_folder_is_no_output(capsys, no_work):
    fails(capsys, ("train", "oat", "--out", "x/"), "cannot write x/: it is the name of a folder, expected a file")


@pytest.mark.skipif(os.name == "nt", reason="closes a stream in a POSIX shell")
def test_a_closed_stderr_stops_no_command():
    words = "eval oat.safetensors --n 8 --lam 1 --attack pgd --steps 1 --json results.json"
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m oatlib {words} 2>&-"], capture_output=True, text=True)
    assert done.returncode == 0 and "clean" in done.stdout and Path("results.json").is_file()
