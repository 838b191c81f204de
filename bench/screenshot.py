"""The picture of the explorer in README.md: `python -m bench.screenshot [--out FILE]`.

The page is opened as `oatlib explore` opens it, and the picture is taken when the exact numbers of
all images are there. Needs Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from authoring import lab
from tests.browser import conftest

OUT = Path(__file__).parents[1] / "data" / "explorer" / "explorer.png"
STATE = "network=oat&lam=0.16"
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help=f"the picture (default {OUT.name})")
    options = parser.parse_args()
    with sync_playwright() as session:
        browser = session.chromium.launch(executable_path=lab.browser(), args=["--no-sandbox"])
        with conftest.on_its_page(browser, (), STATE) as screen:
            screen.page.set_viewport_size(SIZE)
            screen.settled()
            screen.page.mouse.move(0, 0)
            screen.page.screenshot(path=options.out)
        browser.close()


if __name__ == "__main__":
    main()
