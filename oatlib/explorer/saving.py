"""Save networks that were trained on the page: as bytes for the browser, or as a new file.

The page names the file, so the name is checked: it stays in one folder, and nothing is overwritten.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from .. import record
from ..networks.network import Network, save

SUFFIX = ".safetensors"
LONGEST = 100  # characters of a file name
NAME = re.compile(r"\w[\w ,+()-]*(\.[\w ,+()-]+)*")
# names that Windows keeps for devices, in any folder and with any suffix
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def file_name(given: str) -> str:
    """Return a file name for a network.

    Args:
        given: A name that a user typed, or that of a network. The suffix may be missing.

    Returns:
        The name with the suffix. Blanks and commas are replaced by hyphens.

    Raises:
        ValueError: If it is not the name of a file in one folder on every system.

    Example:
        >>> file_name("oat, trained here 1")
        'oat-trained-here-1.safetensors'
    """
    name = given.strip()
    allowed = len(name) <= LONGEST and NAME.fullmatch(name) and not DEVICES.fullmatch(name)
    if not allowed:
        shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
        raise ValueError(
            f"{shown!r} cannot be the name of the file: write letters, digits, hyphens and dots, "
            f"such as net-1{SUFFIX}, without a folder"
        )
    name = re.sub(r"[ ,]+", "-", name)
    return name if name.endswith(SUFFIX) else name + SUFFIX


def saved_bytes(net: Network) -> bytes:
    """Return the bytes of the file that `oatlib.save` writes.

    Args:
        net: The network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{SUFFIX}"
        save(net, path)
        return path.read_bytes()


def save_new(net: Network, folder: Path, name: str) -> Path:
    """Save a network as a new file.

    Args:
        net: The network.
        folder: The folder.
        name: Name of the file, see `file_name`.

    Returns:
        The absolute path of the file.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the name is not allowed, if there is such a file, or if there is no such
            folder.
    """
    path = record.check_writable(folder.absolute() / file_name(name))
    try:
        # Only one writer can create the file. It stays empty until all is written.
        path.open("xb").close()
    except FileExistsError:
        raise ValueError(f"{path} exists already: choose another name") from None
    try:
        save(net, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
