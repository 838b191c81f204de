"""List the networks that are shipped with oatlib, and find their files.

`python -m bench.ship` makes those for the built-in images, and `python -m bench.ship_photographs`
those for photographs. This module imports no PyTorch, so that the server of the explorer starts
fast.
"""

from __future__ import annotations

from pathlib import Path

from .._bundled import bundled

FOLDER = bundled("explorer")
PHOTOGRAPHS = bundled("photographs")
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
# name -> its system in bench/photographs.py
PHOTOGRAPH_MEMBERS = {
    "oat": "oat",
    "blend": "blend",
    "float": "float",
    "smart": "smart",
    "oats": "oats",
    "solar": "solar",
    "floats": "floats",
    "standard": "dedicated 0",
    "pgd-at-0.2": "dedicated 0.2",
    "pgd-at": "dedicated 1",
    "oat-small": "oat-small",
}


def shipped(photographs: bool = False) -> list[Path]:
    """Return the weight files of the shipped networks that exist, in the order of their table.

    Args:
        photographs: Those for photographs, in the order of PHOTOGRAPH_MEMBERS. Else those for the
            built-in images, in the order of MEMBERS.

    Raises:
        RecordError: If there are none.
    """
    folder, names = (PHOTOGRAPHS, PHOTOGRAPH_MEMBERS) if photographs else (FOLDER, MEMBERS)
    found = [path for name in names if (path := folder / f"{name}.safetensors").is_file()]
    if not found:
        from ..record import RecordError  # imports PyTorch

        command = "python -m bench.ship_photographs" if photographs else "python -m bench.ship"
        raise RecordError(
            f"the ready networks are not in {folder}: make them with `{command}` in a clone of the "
            "repository, or name weights of your own"
        )
    return found
