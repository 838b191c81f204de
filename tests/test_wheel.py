"""The wheel as its user has it: installed in an environment without the clone, used in an empty folder.

Only the other packages are shared with the environment that runs the tests, so nothing is downloaded.
"""

import os
import re
import site
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks

pytestmark = pytest.mark.slow

# Fewer images and shorter training, and a check that the installed oatlib runs.
PRELUDE = """
import oatlib
assert "site-packages" in oatlib.__file__, oatlib.__file__
whole = oatlib.load_data
oatlib.load_data = lambda *a, **k: whole(*a, **k, n_train=32, n_val=16, n_test=16)
oatlib.PRESETS["fast"] = oatlib.Preset(epochs=1, batch=16, steps=1, panel=16)
"""


class Installed:
    """An environment with the wheel, and an empty folder in which its commands run."""

    def __init__(self, environment: Path, folder: Path):
        self.programs = environment / ("Scripts" if os.name == "nt" else "bin")
        self.folder = folder
        # Jupyter looks for its own files below the environment, where here only oatlib is.
        shared = [str(Path(prefix) / "share" / "jupyter") for prefix in (sys.prefix, sys.base_prefix)]
        self.environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environ["JUPYTER_PATH"] = os.pathsep.join(shared)

    def run(self, program, *arguments):
        """Run a program of the environment. Return what it prints; it must succeed."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("oatlib-*.whl")
    venv.create(folder / "environment", with_pip=True)
    empty = folder / "empty"
    empty.mkdir()
    installed = Installed(folder / "environment", empty)
    installed.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    own = installed.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A folder that a .pth file names is searched, but the .pth files in it, such as that of the clone, are not read.
    others = [path for path in site.getsitepackages() if Path(path).is_dir()]
    Path(own, "others.pth").write_text("\n".join(others), encoding="utf-8")
    return installed


def test_the_commands_of_the_readme_work_in_an_empty_folder(installed):
    assert "core: works" in installed.run("oatlib", "doctor")
    assert "18 lessons written" in installed.run("oatlib", "course", "lessons")
    assert (installed.folder / "lessons" / "00_tour.ipynb").is_file()
    claims = installed.run("oatlib", "claims")
    assert "one-for-all" in claims and "missing records" not in claims
    installed.run("oatlib", "rerun", "01_attack", "-p", "n", "32", "--out", "runs")
    assert sorted(path.suffix for path in (installed.folder / "runs").iterdir()) == [".ipynb", ".json"]


def test_the_ten_lines_work(installed):
    (ten_lines,) = blocks("README.md", "python")
    script = installed.folder / "ten_lines.py"
    script.write_text(PRELUDE + ten_lines, encoding="utf-8")
    assert "λ" in installed.run("python", "-X", "utf8", script.name)
    assert (installed.folder / "oat.safetensors").is_file()


def test_the_explorer_shows_the_networks_in_the_wheel(installed):
    command = [installed.programs / "oatlib", "explore", "--no-browser"]
    log = installed.folder / "explore.txt"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            command, cwd=installed.folder, env=installed.environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            page = _page(server, log)
        finally:
            server.terminate()
            server.wait(30)
    assert "widget-view" in page  # the cell of the notebook ran and returned the explorer
    assert "Traceback" not in page and "Error" not in log.read_text(encoding="utf-8")


def _page(server, log, seconds=120):
    """Return the page of a server once it answers. Its address is in the log."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+", log.read_text(encoding="utf-8"))
        try:
            if address:
                with urllib.request.urlopen(address[0], timeout=seconds) as answer:
                    return answer.read().decode()
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.2)
    raise AssertionError(f"the explorer does not answer: {log.read_text(encoding='utf-8')}")
