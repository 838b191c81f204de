"""Sweeps in worker processes: one cluster of Dask with processes that die, one command with Ctrl-C, one notebook."""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

import oatlib
from oatlib.sweeps import groups, pool, work
from tests import sweep_runs

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listening(process):
    """The addresses at which a process and its children listen."""
    psutil = pytest.importorskip("psutil")
    own = psutil.Process(process)
    found = [c for each in [own, *own.children(recursive=True)] for c in each.net_connections("inet")]
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def answer_to_a_stranger(scheduler):
    """What a scheduler says to a program that has none of its certificates."""
    host, port = scheduler.removeprefix("tls://").split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=20) as plain, context.wrap_socket(plain) as stranger:
        try:
            return stranger.recv(1)  # it is heard after the handshake
        except ssl.SSLError as error:
            return "certificate required" if "CERTIFICATE_REQUIRED" in error.reason else error.reason


def test_processes_that_die_and_runs_that_fail(here, capsys, monkeypatch):
    """Everything that needs a real cluster, in one: it takes seconds to start."""
    addresses, children, strangers = set(), [], []
    submit = pool.Workers.submit

    def watched(self, *arguments):
        addresses.update(listening(os.getpid()))
        if not strangers:
            strangers.append(answer_to_a_stranger(self.scheduler))
        return submit(self, *arguments)

    monkeypatch.setattr(pool.Workers, "submit", watched)
    monkeypatch.setattr(pool, "ATTEMPTS", 2)  # each one starts a process, which takes seconds
    plan = {"weights": "standard", "n": 16, "grid": {"seed": [0, 1, 2, 3]}}
    done = oatlib.sweep(plan, "runs", workers=1, threads=1, perform=sweep_runs.dying)
    lines = capsys.readouterr().err.splitlines()
    finished = {run.varied["seed"] for run in done.plan.runs if run.id in done.finished}
    assert finished == {0, 1}, "the run with seed 1 was done again"
    messages = {run.varied["seed"]: done.failed[run.id] for run in done.plan.runs if run.id in done.failed}
    assert messages[2].startswith(f"its worker process died in {pool.ATTEMPTS} attempts")
    assert messages[3] == "ArithmeticError: no number"
    tries = {entry.varied["seed"]: len(list((here / "runs/runs" / entry.id).glob("tried*")))
             for entry in groups.read("runs").entries}  # fmt: skip
    assert tries == {0: 1, 1: 2, 2: pool.ATTEMPTS, 3: 1}
    (process,) = {int(re.search(r"threads 1, process (\d+)", line)[1]) for line in lines if "seed = 0" in line}
    assert process != os.getpid()
    assert all("trimming None" in line for line in lines if "seed = 0" in line), "it slows PyTorch down"
    assert addresses == {"127.0.0.1"}
    assert strangers == ["certificate required"], "another user of this machine must not get in"
    children = pytest.importorskip("psutil").Process().children()
    assert not [child for child in children if "spawn_main" in " ".join(child.cmdline())]


SCRIPT = """
import sys
import oatlib
from tests import sweep_runs
if __name__ == "__main__":
    from oatlib.cli import main as cli
    from oatlib.sweeps import work
    oatlib.sweep.__kwdefaults__["perform"] = sweep_runs.slow_from_the_third
    sys.exit(cli.main(["sweep", "plan.toml", "--out", "runs", "--workers", "1"]))
"""


def group(psutil, leader):
    """The command lines of the processes of a group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_at_a_terminal(here):
    Path("plan.toml").write_text('weights = "standard"\nn = 16\n[grid]\nseed = [0, 1, 2]\n')
    Path("script.py").write_text(SCRIPT)
    command = subprocess.Popen(
        [sys.executable, "script.py"], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(here.rglob("tried*")):
        time.sleep(0.1)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does it: to all processes
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "[1/3] seed = 0", "[2/3] seed = 1", "interrupted", "oatlib sweep"]  # fmt: skip
    assert "2 of 3 runs are finished and kept" in err
    psutil = pytest.importorskip("psutil")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and group(psutil, command.pid):
        time.sleep(0.1)
    assert not group(psutil, command.pid), "nothing is left of it"
    again = oatlib.sweep("plan.toml", "runs", workers=0, perform=sweep_runs.dial, progress=False)
    assert len(again.skipped) == 2 and len(again.finished) == 3


@pytest.mark.parametrize("missing", ["distributed", "cryptography"])
def test_what_is_not_installed_is_said_before_anything_starts(here, monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ImportError, match=rf"{missing} is not installed: pip install 'oatlib\[scale\]'"):
        oatlib.sweep({"weights": "standard", "n": 16, "grid": {"seed": [0, 1]}}, "runs", workers=1)
    assert not (here / "runs").exists()


def test_a_script_without_the_usual_if_is_refused(here):
    Path("script.py").write_text('import oatlib\noatlib.sweep({"weights": "standard", "n": 16}, "runs", workers=1)\n')
    ran = subprocess.run([sys.executable, "script.py"], env=ENVIRONMENT, text=True, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 1 and "RuntimeError: each worker process imports this script" in ran.stderr
    assert not Path("runs").exists()


def test_no_scheduler_there(here, monkeypatch):
    monkeypatch.setattr(pool, "CONNECTING", 1)
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        oatlib.sweep({"weights": "standard", "n": 16}, "runs", scheduler="tcp://127.0.0.1:9")


def test_a_worker_of_somebody_else_must_have_the_same_code_and_see_the_folder(here):
    class Client:
        def __init__(self, **answer):
            self.answer = answer

        def run(self, function, probe):
            return {"tcp://10.0.0.2:1": function(probe) | self.answer}

    pool._check_workers(Client(), here)
    with pytest.raises(ValueError, match=r"the worker tcp://10.0.0.2:1 does not see the folder .*: share it"):
        pool._check_workers(Client(token=""), here)
    other = {"oatlib": "9", "torch": "1", "files": "0123456789"}
    with pytest.raises(ValueError, match=r"another version of oatlib or PyTorch: oatlib 9 \(01234567\), torch 1, here"):
        pool._check_workers(Client(code=other), here)
    assert not list(here.iterdir())


PARAMETERS = "seed: int = 0  # 0 to 9: of the numbers\nscale: float = 1.0  # 0 to 10: of the numbers\n"
RECORD = """\
from IPython.display import display
assert scale < 9, "too large"
results = {"sum": scale + seed, "threads": 1, "ready": True}
display({"application/vnd.oatlib.record+json": {"lesson": "tiny", "results": results}}, raw=True)
"""


def test_a_notebook_and_its_report_as_a_notebook(here):
    """Two kernels: the notebook of a run, and that of the report."""
    pytest.importorskip("papermill")
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(RECORD)]
    nbformat.write(new_notebook(cells=cells), "tiny.ipynb")
    plan = {"notebook": "tiny.ipynb", "grid": {"scale": [2.5, 9.5]}, "seed": 3}
    done = oatlib.sweep(plan, "runs", workers=0, progress=False)
    ((failed, message),) = done.failed.items()
    assert "cell 3 of 3" in message and "too large" in message
    assert (here / "runs/runs" / failed / "run.failed.ipynb").is_file()
    report = oatlib.sweep_report("runs")
    (group,) = report.found.groups
    assert {name: mean.middle for name, mean in group.numbers().items()} == {"sum": 5.5, "threads": 1}
    assert report.rows() == [{"scale": 2.5, "sum": 5.5, "threads": 1}]
    assert [a.text for a in report.figures()[0].layout.annotations] == ["sum", "threads"]
    assert (here / "runs/runs" / done.finished[0] / work.NOTEBOOK).is_file()
    (here / "shown").mkdir()
    report.save_notebook("shown/report.ipynb")
    nb = nbformat.read("shown/report.ipynb", as_version=4)
    shown = str(nb.cells)
    assert "1 of 2 runs are finished, 1 failed" in shown and "application/vnd.plotly.v1+json" in shown
    assert "'sum': 5.5" in shown and str(here) not in shown
