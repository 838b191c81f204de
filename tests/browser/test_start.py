"""What the terminal shows when the explorer or JupyterLab is started: how to get there, and errors."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

import oatlib

from . import conftest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ends servers with the signal of Ctrl-C")
EXPLORE = [sys.executable, "-c", "import sys; from oatlib.cli.main import main; sys.exit(main())", "explore"]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*token=\S+")
QUESTION = re.compile(r"Shut ?down this Jupyter server \(y/")


class Started:
    """A server and what it has written to its terminal."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    @property
    def terminal(self):
        return self.log.read_text(encoding="utf-8")

    def address(self):
        """Wait for the address that the server writes."""
        end = time.monotonic() + 120
        while not (found := ADDRESS.search(self.terminal)):
            assert self.process.poll() is None and time.monotonic() < end, self.terminal
            time.sleep(0.1)
        return found[0]


@contextlib.contextmanager
def started(command, folder):
    """Run a server; all its files are in the folder."""
    port = conftest.lab.free_port()
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    places = {name: str(folder / name) for name in names}
    path = os.pathsep.join(filter(None, [str(conftest.ROOT), os.environ.get("PYTHONPATH")]))
    log = folder / "terminal.txt"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [*command, "--no-browser", f"--port={port}"],
            cwd=conftest.ROOT,
            env=os.environ | places | {"PYTHONPATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        server = Started(process, log)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            # JupyterLab asks whether this is meant. A process that is already ending must not get a second signal.
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end:
                if QUESTION.search(server.terminal):
                    process.send_signal(signal.SIGINT)
                    break
                time.sleep(0.1)
            process.wait(60)


def opened(screen, address):
    """Open a page; the server may not listen yet when it writes its address."""
    from playwright.sync_api import Error

    end = time.monotonic() + 60
    while True:
        try:
            return screen.page.goto(address)
        except Error:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
            screen.faults.clear()


def test_the_explorer_writes_its_address_and_nothing_else(chromium, tmp_path):
    with started([*EXPLORE, str(conftest.WEIGHTS)], tmp_path) as server:
        screen = conftest.Screen(chromium)
        opened(screen, server.address())
        screen.settled()
        screen.page.wait_for_timeout(1000)
        assert screen.faults == []
        screen.page.close(run_before_unload=True)
        screen.context.close()
    lines = server.terminal.splitlines()
    assert lines[0].startswith("the explorer: http://127.0.0.1:")
    assert lines[1:] == ["(Ctrl-C ends it)"]
    assert server.process.returncode == 0


def test_an_error_in_the_process_of_the_notebook_is_one_line_on_the_page_and_in_the_terminal(chromium, tmp_path):
    weights = tmp_path / "net.safetensors"
    oatlib.save(oatlib.load(conftest.WEIGHTS), weights)
    with started([*EXPLORE, str(weights)], tmp_path) as server:
        address = server.address()
        weights.unlink()  # after the check at the start
        screen = conftest.Screen(chromium)
        opened(screen, address)
        message = f"The explorer cannot start: there is no file {weights}"
        screen.page.get_by_text(message).wait_for()
        screen.shot("an error at the start")
        said = server.terminal  # at its end, after Ctrl-C, ipykernel sometimes adds an error of its own
        screen.context.close()
    assert said.splitlines()[2:] == [message]


def test_jupyterlab_writes_its_address_and_nothing_else(chromium, tmp_path):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    listed = subprocess.run(["make", "-n", "lab"], cwd=conftest.ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in listed.stdout.splitlines() if "bin/jupyter lab " in line]
    words = shlex.split(line)
    command = [sys.executable, "-m", "jupyterlab", *words[2:], "--allow-root", "--expose-app-in-browser"]
    with started(command, tmp_path) as server:
        screen = conftest.Screen(chromium)
        opened(screen, server.address())
        screen.until("window.jupyterapp !== undefined")
        answer = screen.page.evaluate("""async () => {
          const kernel = await jupyterapp.serviceManager.kernels.startNew({ name: "python3" });
          let text = "";
          const future = kernel.requestExecute({ code: "print(6 * 7)" });
          future.onIOPub = (message) => { text += message.content.text ?? ""; };
          await future.done;
          await kernel.shutdown();
          return text;
        }""")
        assert answer == "42\n"
        screen.context.close()
    records = re.findall(r"^\[(\w) ", server.terminal, re.MULTILINE)
    assert set(records) == {"C"}, server.terminal
    assert "arning" not in server.terminal and "WARN" not in server.terminal
