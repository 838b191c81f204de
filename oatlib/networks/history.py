"""Say in words how a network was made, from what its file holds.

A file holds one dictionary per training run (`Network.trained`). That of a network for photographs
also holds the command, the hardware, and what was measured on test images.
"""

from __future__ import annotations

from .lambdas import listed
from .network import Network

HEADINGS = ("λ", "width", "clean", "PGD-20", "suite")


def facts_of(net: Network) -> list[tuple[str, str]]:
    """Return how a network was made, as pairs of a word and its text.

    What its file does not say is left out.

    Args:
        net: The network.
    """
    spec = net.spec
    run = net.trained[-1] if net.trained else {}
    preset = run.get("preset") or {}
    parameters = sum(p.numel() for p in net.parameters())
    facts = [
        ("recipe", f"{spec.recipe} on {spec.backbone}, {parameters:,} parameters"),
        ("dials", f"λ stops {listed(spec.stops)}; widths {listed(spec.widths)}"),
        ("images", _images(net, run)),
        ("training", _training(run, preset, attacked=spec.stops[-1] > 0)),
        ("time", _time(run)),
        ("command", str(run.get("command", ""))),
        ("versions", ", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items())),
    ]
    return [(word, text) for word, text in facts if text]


def results_of(net: Network) -> dict | None:
    """Return what was measured on test images after the training, if the file holds it.

    Args:
        net: The network.

    Returns:
        A dict of texts, or None. "title" says how it was measured. "headings" and "rows" are a
        table.
    """
    test = net.trained[-1].get("test") if net.trained else None
    if not isinstance(test, dict):
        return None
    rows = [
        [f"{row['lam']:g}", f"{row['width']:g}"]
        + [f"{100 * row[name]:.1f} %" for name in ("clean", "pgd", "robust")]
        for row in test["rows"]
    ]
    title = f"n = {test['n']:,} test images; suite: {test['attack']}"
    if "strong" in test:
        ends = (f"{100 * p['robust']:.1f} % at λ = {p['lam']:g}" for p in test["strong"])
        title += f". The {test['strong_attack']} leaves {' and '.join(ends)}"
    return {"title": title, "headings": list(HEADINGS), "rows": rows}


def _images(net: Network, run: dict) -> str:
    """Return which images the network was trained on, and what it does to their pixels."""
    spec = net.spec
    number = f"{run['n_train']:,} training images of " if "n_train" in run else ""
    channels, height, width = spec.shape
    pixels = "[-2, 2]" if spec.centre else "[0, 1]"
    return (
        f"{number}{spec.data.get('name', 'a data set without a name')}: {channels}x{height}x{width}"
        f" in [0, 1], which the network takes as {pixels}; classes {', '.join(spec.classes)}"
    )


def _training(run: dict, preset: dict, attacked: bool) -> str:
    """Return the schedule and the attack of the training."""
    parts = []
    if "epochs_done" in run:
        parts.append(f"{run['epochs_done']} epochs")
    if {"batch", "lr", "steps"} <= preset.keys():
        parts.append(f"batches of {preset['batch']}, learning rate {preset['lr']:g}")
        if attacked:
            parts.append(f"PGD-{preset['steps']} at eps {255 * preset.get('eps', 0):g}/255")
    if "seed" in run:
        parts.append(f"seed {run['seed']}")
    if run.get("amp"):
        parts.append("bfloat16")
    return ", ".join(parts)


def _time(run: dict) -> str:
    """Return how long the training took, and on what."""
    if "seconds" not in run:
        return ""
    threads = run.get("threads")
    where = "" if threads is None else f" on {threads} thread{'' if threads == 1 else 's'}"
    hardware = f" ({run['hardware']})" if "hardware" in run else ""
    return f"{run['seconds']:,.0f} s{where}{hardware}"
