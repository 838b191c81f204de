"""JupyterLab in a browser without a window: with settings of its own, on this machine only."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOMES = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:")
APPUTILS, NOTEBOOKS = "@jupyterlab/apputils-extension", "@jupyterlab/notebook-extension"
# milliseconds: for a machine that does other things, too, and draws without a graphics card
LONG = 120_000
HERE = "jupyterapp.shell.currentWidget"  # in the page
TOGGLE = "jupyterapp.commands.execute('application:toggle-left-area')"  # fold or open the side bar


def browser() -> str | None:
    """Where Chromium is, if it is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port: int, cwd: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A server, for as long as it is needed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=cwd, env=os.environ | environment, **quiet) as server:
        try:
            end = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{command[:4]} did not start")
                time.sleep(0.1)
            yield server
        finally:
            server.terminate()
            server.wait(60)


class Watched:
    """One page of a browser, and in `faults` what it did that it should not: errors, and requests
    that leave here.
    """

    def __init__(self, chromium, **options):
        self.context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 800}} | options
        )
        self.context.route("**/*", self._route)
        self.page, self.faults = self.context.new_page(), []
        self.page.set_default_timeout(LONG)  # a page may have to wait for its kernel
        self.page.on(
            "console",
            lambda m: self.faults.append(f"{m.text} {m.location}") if m.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true.

        Playwright's own `wait_for_function` evaluates text again and again inside of the page.
        A page may forbid that, as the explorer in one file does.
        """
        end = time.monotonic() + LONG / 1000
        while not self.page.evaluate(f"() => Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(50)

    def _route(self, route) -> None:
        address = route.request.url
        if address.startswith(HOMES):
            route.continue_()
        else:
            self.faults.append(f"asked for {address}")
            route.abort()


@contextlib.contextmanager
def serve(folder: Path, root: Path, settings: Mapping[str, Mapping] | None = None) -> Iterator[str]:
    """Serve JupyterLab on `root`. It keeps its own files in `folder`.

    Args:
        root: Folder of the notebooks.
        folder: Folder for the files of JupyterLab.
        settings: {"@extension/plugin": settings}. The settings that the user has for JupyterLab are
            not used.

    Yields:
        The start of the address of a notebook. Its name follows.
    """
    pages = {
        f"settings/{name}.jupyterlab-settings": content
        for name, content in (settings or {}).items()
    }
    pages["labconfig/page_config.json"] = {
        "disabledExtensions": {f"{APPUTILS}:announcements": True}
    }
    for name, content in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    places = {
        "JUPYTER_CONFIG_DIR": folder,
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
    }
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=tok",
        "--expose-app-in-browser",
        f"--ServerApp.root_dir={root}",
    ]
    with running(command, port, folder, **{name: str(place) for name, place in places.items()}):
        yield f"http://127.0.0.1:{port}/lab/tree/"


def open_notebook(page, address: str, side_bar: bool = False) -> None:
    """Open a notebook and wait for its kernel.

    Args:
        page: The page of a browser.
        address: Address of the notebook.
        side_bar: Whether the list of files stays open, as it is at first.
    """
    page.goto(f"{address}?token=tok&reset")
    page.wait_for_function("window.jupyterapp?.commands.hasCommand('notebook:run-all-cells')")
    idle = f"{HERE}?.sessionContext?.session?.kernel?.status === 'idle'"
    page.wait_for_function(idle)  # sooner it would ask which kernel to use
    if not side_bar:
        page.evaluate(TOGGLE)


def start(page) -> None:
    """Run all cells; `window.ended` tells when that is over."""
    page.evaluate(
        "() => { jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ended = "
        "true }) }"
    )
