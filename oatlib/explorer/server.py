"""Serve the explorer as a web page, on this machine only.

`oatlib explore` runs one notebook through Voila. The server process needs no PyTorch. The process
of the notebook does, see app.py.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from .._imports import import_jsonschema
from .shipped import shipped

SHARE = Path(__file__).parent / "share"
# extensions of JupyterLab that the page loads; other installed ones may fail outside of JupyterLab
EXTENSIONS = [
    "anywidget",
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager8",
]
HANDED_OVER = "OATLIB_EXPLORE"  # environment variable that tells the notebook what to show


def serve(
    weights: Sequence[str],
    state: str,
    port: int,
    browser: bool,
    photographs: bool = False,
    data: str | None = None,
) -> int:
    """Serve the explorer on 127.0.0.1, protected by a token, until the user presses Ctrl-C.

    Args:
        weights: Paths of weight files; if empty, the ready networks of oatlib.
        state: First positions of the dials, such as "lam=0.3&width=0.5"; "" for the default.
        port: Port to listen on; 0 for any free one.
        browser: Open the page in a browser.
        photographs: Whether the ready networks are those for photographs.
        data: Another data set, or the user's copy of the photographs, by its name for `load_data`.

    Returns:
        The exit status, 0.

    Raises:
        ImportError: If Voila is not installed.
        RecordError: If a weight file is unusable, or if none is given and none is shipped.
        ValueError: If the state cannot be read, if the networks were trained on different data, or
            if `data` does not fit them.
    """
    import_jsonschema()  # before Voila imports it
    try:
        import voila  # noqa: F401
    except ImportError as error:
        raise ImportError("the page of its own needs voila: pip install 'oatlib[lab]'") from error
    paths = list(weights) or shipped(photographs)
    # Errors in the arguments appear here, before a server starts. Without arguments this is not
    # needed, and PyTorch is not imported.
    if weights or state or data is not None:
        from .open_files import measured, opened
        from .state import read

        nets, images = opened(paths, data)
        read(state, nets)
        measured(paths, nets, images)
    port, token = port or _free_port(), secrets.token_urlsafe(16)
    # The process of the notebook runs in another folder, so it gets absolute paths.
    asked = {
        "weights": [str(Path(w).resolve()) for w in weights],
        "state": state,
        "photographs": photographs,
        "data": _from_anywhere(data),
        "folder": str(Path.cwd()),
    }
    os.environ[HANDED_OVER] = json.dumps(asked)
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        filter(None, [str(SHARE), os.environ.get("JUPYTER_PATH")])
    )
    print(f"the explorer: http://127.0.0.1:{port}/?token={token}\n(Ctrl-C ends it)", flush=True)
    return _voila(port, token, browser)


def _voila(port: int, token: str, browser: bool) -> int:
    """Start Voila. It returns after Ctrl-C."""
    import zmq
    from jupyter_client.manager import KernelManager
    from traitlets.config import Config
    from voila.app import Voila  # only after JUPYTER_PATH is set, where it looks for templates

    config = Config()
    config.Voila.update(
        ip="127.0.0.1",
        port=port,
        port_retries=0,
        token=token,
        open_browser=browser,
        log_level="ERROR",
    )
    config.VoilaConfiguration.update(
        template="explorer", extension_allowlist=EXTENSIONS, prelaunch_hook=_greet
    )
    # What the two processes tell each other is encrypted where the installed versions can do that.
    if hasattr(KernelManager, "transport_encryption") and zmq.has("curve"):
        config.KernelManager.transport_encryption = "auto"
    # No pings: the connection does not leave this machine, and the page asks by itself whether
    # Python answers. (Tornado wants a timeout of at most one interval, Jupyter Server sets three.)
    config.Voila.tornado_settings = {"ws_ping_interval": 0}
    # seconds; ends the kernels of pages whose browser was killed
    config.MappingKernelManager.update(cull_idle_timeout=60, cull_interval=20)
    Voila.launch_instance([str(SHARE / "explorer.ipynb")], config=config)
    return 0


def _greet(handler, **_) -> None:
    """Set the cookie that allows the page to end its kernel when the page is closed."""
    # reading the property sets the cookie
    handler.xsrf_token  # noqa: B018


def _from_anywhere(data: str | None) -> str | None:
    """Return the name of a data set with an absolute path, if it has one."""
    if data is None or not data.startswith("folder:"):
        return data
    return f"folder:{Path(data.removeprefix('folder:')).expanduser().resolve()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
