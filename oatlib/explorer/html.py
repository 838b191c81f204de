"""Export the explorer as one HTML file.

Everything is measured before the export, so that the sliders work without Python.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from tqdm.auto import tqdm

from .. import record
from ..data.load import Data
from ..networks.network import Network
from .front_end import script, style
from .measure import measure
from .named_attacks import QUICK, attack_named
from .widget import Explorer, explore

SHOTS = 6  # number of λ at which the gallery is measured
SHOT_EPS = 8.0  # in 1/255

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>{title}</title>
<style>body {{ margin: 0; }} .oat {{ margin: 0 auto; min-height: 100vh; }}
{style}</style></head>
<body><main id="explorer"></main><noscript>This page needs JavaScript; it loads nothing.</noscript>
<script type="module">
{script}
const values = {values};
const model = {{
  get: (name) => values[name],
  set: (name, value) => {{ values[name] = value; }},
  save_changes() {{}}, on() {{}}, off() {{}}, send() {{}},
}};
render({{ model, el: document.getElementById("explorer") }});
</script></body></html>
"""


def export_explorer(
    path,
    nets: Network | Sequence[Network] | dict[str, Network],
    data: Data | None,
    state=None,
    *,
    progress: bool = True,
    **options,
) -> int:
    """Write the explorer as one HTML file that needs neither Python nor an internet connection.

    What the surfaces do not yet hold is measured first. This takes minutes for a slimmable network.

    Args:
        path: The HTML file to write.
        nets: One network, a sequence of them, or a mapping from names to networks.
        data: The data set that the networks were trained on. None: its images are not here, and the
            page shows what is recorded in `surfaces`.
        state: First positions of the dials, as for `explore`.
        progress: Show a progress bar.
        **options: Further arguments of `explore`, such as `n`, `hide` and `surfaces`.

    Returns:
        The size of the file in bytes.

    Raises:
        RecordError: If `path` is a folder or lies in a folder that does not exist.
        TypeError: As `explore`.
        ValueError: As `explore`.
    """
    record.check_writable(path)
    explorer = explore(nets, data, state, **options)
    try:
        explorer.halt()
        values = _values(explorer, progress)
    finally:
        explorer.close()
    title = f"oatlib explorer: {', '.join(explorer.nets)}"
    content = PAGE.format(
        title=escape(title),
        style=style(),
        script=script(),
        values=json.dumps(values, allow_nan=False).replace("<", "\\u003c"),
    )
    record.write_bytes(path, content.encode())
    return len(content.encode())


def _values(explorer: Explorer, progress: bool) -> dict:
    """Measure everything that is missing. Return the values that the front end reads, by name."""
    surfaces, shots = explorer.grids, {}
    cells = {name: len(s.missing(1.0, SHOT_EPS, everywhere=True)) for name, s in surfaces.items()}
    has_images = explorer.panel is not None
    places = {name: _places(net) for name, net in explorer.nets.items() if has_images}
    total = sum(cells.values()) + sum(
        len(p) * len(explorer.nets[name].spec.widths) for name, p in places.items()
    )
    with tqdm(total=total, unit="setting", disable=not progress, leave=False) as bar:
        for surface in surfaces.values():
            for new in surface.fill(1.0, SHOT_EPS, everywhere=True):
                bar.update(int(new))
        for name in places:
            net = explorer.nets[name]
            rows = [
                [_shot(explorer, net, lam, width, bar) for lam in places[name]]
                for width in net.spec.widths
            ]
            shots[name] = {
                "lams": places[name],
                "widths": list(net.spec.widths),
                "eps": SHOT_EPS,
                "rows": rows,
            }
    tables = {name: surface.table() for name, surface in surfaces.items()}
    images = max(table["n"] for table in tables.values())
    return {
        "description": explorer.description | {"live": False, "page": True, "n": images},
        "controls": explorer.controls,
        "surfaces": tables,
        "gallery": shots,
        "live": {},
        "training": {},
        "pace": "run",
        "error": "",
    }


def _places(net: Network) -> list[float]:
    """Return the λ at which the gallery is measured, at equal distances on the slider."""
    if len(net.spec.stops) == 1:
        return [net.spec.stops[0]]
    return [net.lam(i / (SHOTS - 1)) for i in range(SHOTS)]


def _shot(explorer: Explorer, net: Network, lam: float, width: float, bar) -> list[dict]:
    """Measure the gallery at one setting, under the quick suite.

    Only the watched images are attacked.
    """
    watched = explorer.panel.x[explorer.watched], explorer.panel.y[explorer.watched]
    few = type(explorer.panel)(*watched, explorer.panel.name)
    *_, last = measure(net, few, lam, width, attack_named(QUICK, SHOT_EPS / 255), range(len(few)))
    bar.update()
    return last["gallery"]
