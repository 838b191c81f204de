"""Find and load the trained networks that come with oatlib.

This module imports PyTorch only when a network is loaded, so that the server of the explorer starts
fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .._bundled import bundled
from .._suggest import lookup

if TYPE_CHECKING:
    from .network import Network

# kind of files, as `bundled` knows it -> what its names begin with
PREFIXES = {"explorer": "", "photographs": "photographs/"}


def ready(name: str, device=None) -> Network:
    """Load a trained network that comes with oatlib.

    Args:
        name: Name of a network for the built-in images, such as "oat", or of one for photographs,
            such as "photographs/oat".
        device: Where to put the network. None: it stays on the CPU.

    Returns:
        The network. Its `spec.data` names the images that it was trained on, and its `trained` says
        how.

    Raises:
        ValueError: If there is no such network. The message lists all.

    Example:
        >>> net = oatlib.ready("photographs/oat")
        >>> data = oatlib.load_data("folder:cifar")  # your copy of CIFAR-10
        >>> oatlib.evaluate(net, data.test.panel(1000))
    """
    from .network import load

    return load(ready_path(name), device)


def ready_path(name: str) -> Path:
    """Return the file of a trained network that comes with oatlib.

    Args:
        name: As for `ready`.

    Raises:
        ValueError: If there is no such network. The message lists all.
    """
    return lookup("ready network", name, ready_files())


def ready_files() -> dict[str, Path]:
    """Return all weight files that come with oatlib, by the names that `ready` takes."""
    return {
        f"{prefix}{path.stem}": path
        for kind, prefix in PREFIXES.items()
        for path in sorted(bundled(kind).glob("*.safetensors"))
    }
