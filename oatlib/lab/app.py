"""The explorer as a page of its own: `oatlib explore` serves one notebook through Voila, on this machine only."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from ..record import check_writable
from .explorer import Explorer, explore
from .family import marks, measured, opened, shipped
from .page import export_explorer
from .state import read

SHARE = Path(__file__).parent / "share"
# of JupyterLab; others that are installed may fail outside of it
EXTENSIONS = ["anywidget", "@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"]
HANDED_OVER = "OATLIB_EXPLORE"  # to the notebook's process: what it shall show


def show() -> Explorer:
    """What the served notebook shows."""
    asked = json.loads(os.environ.get(HANDED_OVER, "{}"))
    return explore(**_arguments(asked.get("weights", []), asked.get("state", "")), page=True)


def write(path, weights: Sequence[str], state: str) -> int:
    """Write the explorer as one HTML file; returns its size in bytes."""
    check_writable(path)
    return export_explorer(path, **_arguments(weights, state))


def serve(weights: Sequence[str], state: str, port: int, browser: bool) -> int:
    """Serve the explorer on 127.0.0.1, with a token, until Ctrl-C."""
    try:
        import voila  # noqa: F401
    except ImportError as error:
        raise ImportError("the page of its own needs voila: pip install 'oatlib[lab]'") from error
    paths = list(weights) or shipped()
    if weights or state:  # complains before a server starts
        read(state, opened(paths)[0])
    port, token = port or _free_port(), secrets.token_urlsafe(16)
    asked = {"weights": [str(Path(w).resolve()) for w in weights], "state": state}
    os.environ[HANDED_OVER] = json.dumps(asked)
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(SHARE), os.environ.get("JUPYTER_PATH")]))
    print(f"the explorer: http://127.0.0.1:{port}/?token={token}\n(Ctrl-C ends it)", flush=True)
    return _voila(port, token, browser)


def _voila(port: int, token: str, browser: bool) -> int:
    from traitlets.config import Config
    from voila.app import Voila  # after JUPYTER_PATH is set: it looks for templates there

    config = Config()
    config.Voila.update(ip="127.0.0.1", port=port, port_retries=0, token=token, open_browser=browser, log_level="ERROR")
    config.VoilaConfiguration.update(template="explorer", extension_allowlist=EXTENSIONS, prelaunch_hook=_greet)
    config.MappingKernelManager.update(cull_idle_timeout=60, cull_interval=20)  # of pages whose browser was killed
    Voila.launch_instance([str(SHARE / "explorer.ipynb")], config=config)
    return 0


def _greet(handler, **_) -> None:
    """Give the page the cookie with which it may end its kernel when it is closed: asking for its value sets it."""
    handler.xsrf_token  # noqa: B018


def _arguments(weights: Sequence[str], state: str) -> dict:
    paths = list(weights) or shipped()
    nets, data = opened(paths)
    return {"nets": nets, "data": data, "state": state, "surfaces": measured(paths, nets, data), "marks": marks(data)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
