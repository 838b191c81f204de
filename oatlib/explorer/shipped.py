"""List the networks that are shipped with oatlib, and find their files.

`python -m bench.ship` makes the networks. This module imports no PyTorch, so that the server of the
explorer starts fast.
"""

from __future__ import annotations

from pathlib import Path

from .._bundled import bundled

FOLDER = bundled("explorer")
# name -> recipe, and options for `oatlib.build`
MEMBERS: dict[str, tuple[str, dict]] = {
    "oats": ("oats", {}),
    "oat": ("oat", {}),
    "blend": ("blend", {}),
    "float": ("float", {}),
    "floats": ("floats", {}),
    "smart": ("smart", {}),
    "solar": ("solar", {}),
    "snn": ("snn", {}),
    "standard": ("standard", {}),
    "pgd-at": ("pgd-at", {"lam": 1.0}),
    "trades": ("trades", {}),
}


def shipped() -> list[Path]:
    """Return the weight files of the shipped networks that exist, in the order of MEMBERS.

    Raises:
        RecordError: If there are none.
    """
    found = [path for name in MEMBERS if (path := FOLDER / f"{name}.safetensors").is_file()]
    if not found:
        from ..record import RecordError  # imports PyTorch

        raise RecordError(
            f"the ready networks are not in {FOLDER}: make them with `python -m bench.ship` in a "
            "clone of the "
            "repository, or name weights of your own"
        )
    return found
