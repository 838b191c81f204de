"""A picture of the first world: clean and robust accuracy along the dial of every network, as SVG.

`python -m bench.picture`. Lines are means over seeds, the bands reach from the lowest to the
highest seed.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from oatlib.record import read_json, write_bytes

HERE = Path(__file__).parent
PANELS = {  # name in bench/results/first_world/family.json -> title
    "oat_dial": "oat",
    "blend": "blend",
    "float": "float",
    "float_forward": "float, redraw=forward",
    "floats_30": "floats, density 0.3",
    "floats_10": "floats, density 0.1",
    "smart": "smart",
    "smart_overlapping": "smart, masks=overlapping",
}
COLOURS = {
    "clean": "#0072B2",
    "robust": "#D55E00",
}  # told apart by the colour blind, and by their dashes
DASHES = {"clean": "", "robust": ' stroke-dasharray="6 3"'}
ACROSS = 4  # panels in a row
WIDE, HIGH, LEFT, TOP, GAP_X, GAP_Y = (
    170,
    120,
    48,
    34,
    62,
    46,
)  # of a panel, and around it, in pixels


def series(runs: list[dict], what: str) -> list[tuple[float, float, float, float]]:
    """(λ, mean, lowest, highest) over the seeds, at full width."""
    found: dict[float, list[float]] = {}
    for run in runs:
        for p in run["points"]:
            if p["width"] == 1:
                found.setdefault(p["lam"], []).append(p[what])
    return [
        (lam, statistics.fmean(values), min(values), max(values))
        for lam, values in sorted(found.items())
    ]


def panel(x: float, y: float, title: str, runs: list[dict]) -> list[str]:
    """One network: axes, two bands, two lines."""
    parts = [f'<text x="{x}" y="{y - 8}" font-weight="bold">{title}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        level = y + HIGH * (1 - share)
        parts.append(
            f'<line x1="{x}" y1="{level:.1f}" x2="{x + WIDE}" y2="{level:.1f}" stroke="#e0e0e0"/>'
        )
        parts.append(
            f'<text x="{x - 6}" y="{level + 4:.1f}" text-anchor="end" '
            f'fill="#555">{share:.0%}</text>'
        )
    for lam in (0, 0.5, 1):
        parts.append(
            f'<text x="{x + WIDE * lam:.1f}" y="{y + HIGH + 16}" text-anchor="middle" '
            f'fill="#555">{lam:g}</text>'
        )
    for what, colour in COLOURS.items():
        rows = [
            (x + WIDE * lam, *(y + HIGH * (1 - v) for v in values))
            for lam, *values in series(runs, what)
        ]
        band = [(a, low) for a, _, low, _ in rows] + [(a, high) for a, _, _, high in rows[::-1]]
        parts.append(f'<polygon points="{_points(band)}" fill="{colour}" opacity="0.15"/>')
        line = _points([(a, mean) for a, mean, _, _ in rows])
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{DASHES[what]}/>'
        )
    return parts


def _points(pairs) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)


def legend(y: float) -> list[str]:
    """What the two lines are."""
    parts = []
    for x, (what, colour) in zip((LEFT, LEFT + 120), COLOURS.items(), strict=True):
        parts.append(
            f'<line x1="{x}" y1="{y - 4}" x2="{x + 28}" y2="{y - 4}" stroke="{colour}" '
            f'stroke-width="2"{DASHES[what]}/>'
        )
        parts.append(f'<text x="{x + 34}" y="{y}">{what}</text>')
    about = "accuracy (up) against λ (across); PGD-20, with EOT where weights are noisy"
    parts.append(f'<text x="{LEFT + 250}" y="{y}" fill="#555">{about}</text>')
    return parts


def draw(record: dict) -> str:
    """The whole picture."""
    shown = [
        (title, [r for r in record["runs"] if r["name"] == name]) for name, title in PANELS.items()
    ]
    width = LEFT + ACROSS * WIDE + (ACROSS - 1) * GAP_X + 16
    height = TOP + -(-len(shown) // ACROSS) * (HIGH + GAP_Y) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for i, (title, runs) in enumerate(shown):
        x, y = LEFT + i % ACROSS * (WIDE + GAP_X), TOP + i // ACROSS * (HIGH + GAP_Y)
        parts += panel(x, y, title, runs)
    return "\n".join([*parts, *legend(height - 8), "</svg>", ""])


def main() -> None:
    """Draw it next to the record."""
    folder = HERE / "results" / "first_world"
    write_bytes(folder / "family.svg", draw(read_json(folder / "family.json")).encode())


if __name__ == "__main__":
    main()
