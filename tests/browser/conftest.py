"""A real browser, and the homes of the explorer: JupyterLab, a page of its own, one file.

Without a browser these tests are skipped, and say so; where OATLIB_BROWSER=required (CI) that is an error.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "data" / "explorer" / "oats.safetensors"
SHOTS = Path(__file__).parent / "shots"  # ignored by git: look at them
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CELL = f"""import oatlib
from oatlib.lab import family
nets, data = family.opened([{str(WEIGHTS)!r}])
oatlib.explore(nets, data, lam=0.3, surfaces=family.measured([{str(WEIGHTS)!r}], nets, data))"""
SERVE = """import secrets, sys
from oatlib.lab import server
secrets.token_urlsafe = lambda n: "tok"
server.serve(sys.argv[3:], sys.argv[2], int(sys.argv[1]), False)"""


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'oatlib[test]'")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("OATLIB_BROWSER") == "required":
            pytest.fail("there is no Chromium here, and OATLIB_BROWSER says there must be one")
        pytest.skip("needs Chromium (on Debian and Ubuntu: apt install chromium)")
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Screen:
    """One page with the explorer on it, and in `faults` what it did that it should not."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        self.context.route("**/*", self._route)
        self.page, self.faults = self.context.new_page(), []
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda m: self.faults.append(f"{m.text} {m.location}") if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _route(self, route):
        address = route.request.url
        if address.startswith(("http://127.0.0.1:", "data:", "blob:", "file:")):
            route.continue_()
        else:
            self.faults.append(f"asked for {address}")
            route.abort()

    def settled(self):
        """Wait for the exact numbers: (clean, robust) in per cent, as they are written."""
        self.page.wait_for_selector(".oat[data-phase=settled]", timeout=90_000)
        return self.numbers()

    def numbers(self):
        texts = [self.page.inner_text(f'.oat [data-number="{name}"]') for name in ("clean", "robust")]
        return tuple(float(text.strip("≈ %")) for text in texts)

    @property
    def state(self):
        return self.page.input_value(".oat input.state")

    @property
    def place(self):
        """Where the point is in the picture."""
        return tuple(float(self.page.get_attribute(".oat .here", f"data-{axis}")) for axis in "xy")

    def dial(self, name):
        return self.page.locator(f'.oat [data-part="{name}"] input[type=range]')

    def shot(self, name):
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, **environment):
    """A server, for as long as it is needed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **quiet) as server:
        try:
            end = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert server.poll() is None and time.monotonic() < end, f"{command[:4]} did not start"
                time.sleep(0.1)
            yield server
        finally:
            server.terminate()
            server.wait(60)


def lab_folder(folder, subshells):
    """A notebook that shows the explorer, and settings of JupyterLab that touch nobody's own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "explorer.ipynb")
    apputils = "@jupyterlab/apputils-extension"
    pages = {"labconfig/page_config.json": {"disabledExtensions": {f"{apputils}:announcements": True}},
             f"settings/{apputils}/kernels-settings.jupyterlab-settings":
                 {"commsOverSubshells": "perCommTarget" if subshells else "disabled"}}  # fmt: skip
    for name, content in pages.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return {"JUPYTER_CONFIG_DIR": str(folder), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}  # fmt: skip


@contextlib.contextmanager
def in_lab(browser, folder, subshells):
    """The explorer in a notebook of JupyterLab."""
    port, environment = free_port(), lab_folder(folder, subshells)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=tok",
               "--expose-app-in-browser", f"--ServerApp.root_dir={folder / 'notebooks'}"]  # fmt: skip
    with running(command, port, **environment):
        screen = Screen(browser)
        screen.page.goto(f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb?token=tok&reset")
        screen.page.wait_for_function(
            "window.jupyterapp?.commands.hasCommand('notebook:run-all-cells')", timeout=60_000
        )
        idle = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        screen.page.wait_for_function(idle, timeout=90_000)  # sooner it would ask which kernel to use
        screen.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        screen.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        yield screen
        screen.context.close()


def serving(port, weights=(str(WEIGHTS),), state="lam=0.3"):
    """A server as `oatlib explore` starts it, but with a token that is known."""
    return running([sys.executable, "-c", SERVE, str(port), state, *weights], port)


@contextlib.contextmanager
def on_its_page(browser, *words):
    """The explorer as `oatlib explore` opens it; `words` as in `serving`."""
    port = free_port()
    with serving(port, *words):
        screen = Screen(browser)
        screen.page.goto(f"http://127.0.0.1:{port}/?token=tok")
        yield screen
        screen.context.close()
