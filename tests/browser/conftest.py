"""A real browser, and the homes of the explorer: JupyterLab, a page of its own, one file.

Without a browser these tests are skipped, and say so; where OATLIB_BROWSER=required (CI) that is an error.
"""

import contextlib
import os
import sys
from pathlib import Path

import nbformat
import pytest

from authoring import lab
from oatlib.explorer.measure import head, measure, refine
from oatlib.explorer.surface import N  # noqa: F401 (for the tests)
from oatlib.explorer.widget import PART

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "data" / "explorer" / "oats.safetensors"
SHOTS = Path(__file__).parent / "shots"  # ignored by git: look at them
CELL = f"""import oatlib
from oatlib.explorer import open_files
nets, data = open_files.opened([{str(WEIGHTS)!r}])
oatlib.explore(nets, data, lam=0.3, surfaces=open_files.measured([{str(WEIGHTS)!r}], nets, data))"""
SERVE = """import secrets, sys
from oatlib.explorer import server
secrets.token_urlsafe = lambda n: "tok"
server.serve(sys.argv[3:], sys.argv[2], int(sys.argv[1]), False)"""


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'oatlib[test]'")
    if (path := lab.browser()) is None:
        if os.environ.get("OATLIB_BROWSER") == "required":
            pytest.fail("there is no Chromium here, and OATLIB_BROWSER says there must be one")
        pytest.skip("needs Chromium (on Debian and Ubuntu: apt install chromium)")
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Screen(lab.Watched):
    """One page with the explorer on it, and in `faults` what it did that it should not.

    Its user has seen the tour, which would lie over what the tests click on.
    """

    def __init__(self, chromium, first_visit=False, **options):
        super().__init__(chromium, **options)
        if not first_visit:
            self.context.add_init_script("try { localStorage.setItem('oatlib explorer: tour', 'yes') } catch {}")

    def settled(self):
        """Wait for the exact numbers of all images: (clean, robust) in per cent, as they are written."""
        self.page.wait_for_selector(".oat[data-phase=settled]:not([data-refining])")
        return self.numbers()

    def numbers(self):
        texts = [self.page.inner_text(f'.oat [data-number="{name}"]') for name in ("clean", "robust")]
        return tuple(float(text.strip("≈ %")) for text in texts)

    @property
    def state(self):
        return self.page.input_value(".oat input.state")

    @property
    def place(self):
        """Where the point is in the picture."""
        return tuple(float(self.page.get_attribute(".oat .here", f"data-{axis}")) for axis in "xy")

    def dial(self, name):
        return self.page.locator(f'.oat [data-part="{name}"] input[type=range]')

    def shot(self, name):
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


def direct(net, panel, lam, width, attack):
    """What the explorer says about a setting in the end: the last frame of a measurement on all images."""
    *_, first = measure(net, head(panel, PART), lam, width, attack)
    *_, last = refine(net, panel, lam, width, attack, first)
    return last


def lab_folder(folder, subshells):
    """A notebook that shows the explorer, in a folder; and what is set in JupyterLab."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "explorer.ipynb")
    comms = {"commsOverSubshells": "perCommTarget" if subshells else "disabled"}
    return folder / "notebooks", {f"{lab.APPUTILS}/kernels-settings": comms}


@contextlib.contextmanager
def in_lab(browser, folder, subshells):
    """The explorer in a notebook of JupyterLab."""
    with lab.serve(folder, *lab_folder(folder, subshells)) as address:
        screen = Screen(browser)
        lab.open_notebook(screen.page, f"{address}explorer.ipynb")
        lab.start(screen.page)
        yield screen
        screen.context.close()


def serving(port, weights=(str(WEIGHTS),), state="lam=0.3", folder=ROOT):
    """A server as `oatlib explore` starts it in a folder, but with a token that is known."""
    command = [sys.executable, "-c", SERVE, str(port), state, *weights]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return lab.running(command, port, folder, PYTHONPATH=path)


@contextlib.contextmanager
def on_its_page(browser, *words, **options):
    """The explorer as `oatlib explore` opens it; words and options as in `serving`."""
    port = lab.free_port()
    with serving(port, *words, **options):
        screen = Screen(browser)
        screen.page.goto(f"http://127.0.0.1:{port}/?token=tok")
        yield screen
        screen.context.close()
