"""The networks that come with oatlib: which, and where; `python -m bench.ship` makes them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "explorer"
MEMBERS: dict[str, tuple[str, dict]] = {  # name in the list: recipe, options
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
    """The files of the networks that come with oatlib, in the order of the list."""
    found = [path for name in MEMBERS if (path := FOLDER / f"{name}.safetensors").is_file()]
    if not found:
        from ..record import RecordError  # which brings PyTorch

        raise RecordError(
            f"the ready networks are not in {FOLDER}: make them with `python -m bench.ship` in a clone of the "
            "repository, or name weights of your own"
        )
    return found
