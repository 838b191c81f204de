"""The explorer as a page of its own: `oatlib explore` serves one notebook through Voila, on this machine only.

This process needs no PyTorch; the notebook's does, see app.py.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from .ready import shipped

SHARE = Path(__file__).parent / "share"
# of JupyterLab; others that are installed may fail outside of it
EXTENSIONS = ["anywidget", "@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"]
HANDED_OVER = "OATLIB_EXPLORE"  # to the notebook's process: what it shall show


def serve(weights: Sequence[str], state: str, port: int, browser: bool) -> int:
    """Serve the explorer on 127.0.0.1, with a token, until Ctrl-C."""
    # a grammar of international addresses, which jsonschema can do without: building it takes as long as the rest
    sys.modules.setdefault("rfc3987_syntax", None)
    try:
        import voila  # noqa: F401
    except ImportError as error:
        raise ImportError("the page of its own needs voila: pip install 'oatlib[lab]'") from error
    paths = list(weights) or shipped()
    if weights or state:  # complains before a server starts
        from .family import opened  # with PyTorch
        from .state import read

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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
