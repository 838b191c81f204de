"""How fast the explorer answers, in a real browser: `python -m bench.explorer [--out FILE]`.

Counted from the key press until it is on screen:

* first: the number of the measured curve.
* live: the first robust number of the exact setting, in the small curve of the attack. It is that
  of the start of the attack, an upper bound.
* settled: the numbers of the first images (the quick suite on 128 of them).
* all: the numbers of all images (512).

Two kinds of key presses are measured. For "other moves", every move differs from the one before. So
what the explorer measures ahead, the same move once more, is never asked for: these moves cannot be
foreseen. The next key is pressed when all images are measured. For "equal moves", the next key is
pressed soon after the numbers have settled. Then a slider is dragged for three seconds. Needs
Chromium. It takes three to four minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from oatlib.explorer.named_attacks import LABELS, QUICK
from oatlib.explorer.widget import IMAGES, PART
from oatlib.record import versions, write_json
from tests.browser import conftest

SWEEPS, SWEEP = 2, 9  # along the dial; key presses of each
DRAG = 3.0  # seconds
HASTE = 0.3  # seconds from the numbers to the next key press
# keys that are pressed in turn, and the numbers that are awaited before the next one
KINDS = {"other moves": (("PageUp", "ArrowRight"), "all"), "equal moves": (("PageUp",), "settled")}
TIMES = ("first", "live", "settled", "all")
SETTLED = ".oat[data-phase=settled]"
WATCH = """() => {
  const root = document.querySelector('.oat');
  window.moves = []; window.updates = [];
  addEventListener('keydown', (e) => moves.push({ start: performance.now() }), true);
  new MutationObserver(() => {
    const move = moves.at(-1);
    const live = root.querySelector('circle.walker');
    const settled = root.dataset.phase === 'settled';
    const all = settled && !root.hasAttribute('data-refining');
    updates.push(performance.now());
    if (!move || move.all) return;
    requestAnimationFrame(() => {
      const now = performance.now() - move.start;
      move.first ??= now;
      if (live) move.live ??= now;
      if (settled) move.settled ??= now;
      if (all) move.all ??= now;
    });
  }).observe(root.querySelector('.readout'), { subtree: true, childList: true, attributes: true });
}"""


def keys(screen, width: str, pressed: tuple[str, ...], awaited: str) -> dict:
    """Milliseconds from a key press to what it brings, over moves along the whole dial at one
    width.
    """
    slider, page, moves = screen.dial("lam"), screen.page, []
    page.click(f'.oat [data-part="width"] label:has-text("{width}") >> nth=-1')
    for sweep in range(SWEEPS):
        slider.focus()
        page.keyboard.press("Home")
        # The sweeps meet at no setting, also not at one that was measured ahead in the other.
        for _ in range(1 + 4 * sweep):
            page.keyboard.press("ArrowRight")
        screen.settled()
        page.evaluate("moves.length = 0")
        for i in range(SWEEP):
            time.sleep(HASTE)
            page.keyboard.press(pressed[i % len(pressed)])
            page.wait_for_function(f"moves.at(-1).{awaited}")
        moves += page.evaluate("moves")
    times = TIMES[: TIMES.index(awaited) + 1]
    return {what: spread([move[what] for move in moves]) for what in times}


def drag(screen) -> dict:
    """Updates a second while a slider is dragged, and milliseconds from letting it go to the
    numbers of the first images.
    """
    box = screen.dial("lam").bounding_box()
    y, mouse = box["y"] + box["height"] / 2, screen.page.mouse
    mouse.move(box["x"] + 10, y)
    mouse.down()
    screen.page.evaluate("updates.length = 0")
    started = time.perf_counter()
    while (at := (time.perf_counter() - started) / DRAG) < 1:
        mouse.move(box["x"] + 10 + at * 0.66 * box["width"], y)
        time.sleep(0.01)
    updates = screen.page.evaluate("updates.length")
    mouse.move(box["x"] + 0.68 * box["width"], y)  # the key presses have not been there
    released = time.perf_counter()
    mouse.up()
    screen.page.wait_for_selector(SETTLED)
    return {
        "updates_a_second": round(updates / DRAG, 1),
        "settled_after_release": round(1000 * (time.perf_counter() - released)),
    }


def spread(values: list[float]) -> dict:
    """Least, median and largest, in whole milliseconds."""
    return {
        "n": len(values),
        "min": round(min(values)),
        "median": round(statistics.median(values)),
        "max": round(max(values)),
    }


def home(opened, pressed: tuple[str, ...], awaited: str) -> dict:
    """What one kind of key presses gives in a home that is opened for it: the explorer knows what
    it has settled.
    """
    started = time.perf_counter()
    with opened as screen:
        screen.page.wait_for_selector(".oat .big")
        seconds = round(time.perf_counter() - started, 1)
        screen.settled()
        screen.page.evaluate(WATCH)
        return {
            "start_to_first_number_s": seconds,
            **{f"width {width}": keys(screen, width, pressed, awaited) for width in ("0.5", "1")},
            "drag": drag(screen),
        }


def main() -> None:
    """Measure both homes that have a kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="bench/results/explorer.json")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    found: dict = {"page": {}, "lab": {}}
    with sync_playwright() as session:
        browser = session.chromium.launch(
            executable_path=conftest.lab.browser(), args=["--no-sandbox"]
        )
        for kind, how in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                found["page"][kind] = home(conftest.on_its_page(browser, (), ""), *how)
                found["lab"][kind] = home(conftest.in_lab(browser, Path(folder), True), *how)
            print(kind, {name: of[kind] for name, of in found.items()}, flush=True)
        browser.close()
    write_json(
        options.out,
        {
            "command": "python -m bench.explorer",
            "n": {"settled": PART, "all": IMAGES},
            "attack": LABELS[QUICK],
            "versions": versions(),
            **found,
        },
    )


if __name__ == "__main__":
    main()
