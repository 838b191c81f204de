"""A pytest plugin for the notebooks, beside nbval: offline kernels, the run time that a lesson states, its form.

python -m pytest -p tests.notebooks.gate --nbval-lax --nbval-current-env --dist loadfile -n 2 notebooks
"""

import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

from authoring import lessons

FACTOR = 1.5  # that a lesson may take longer than it states: other machines, other work on them
WHOLE = 720  # seconds for all lessons together: twelve minutes, though two of them run at a time
OFFLINE = Path(__file__).with_name("offline.py")
seconds: dict[str, float] = defaultdict(float)  # that the cells of each notebook took


class FormItem(pytest.Item):
    """What can be said of a notebook without running it."""

    def runtest(self):
        if wrong := lessons.faults(self.path):
            raise lessons.Unfit("\n".join(wrong))

    def repr_failure(self, excinfo):
        return f"{self.path.name}: {excinfo.value}" if excinfo.errisinstance(lessons.Unfit) else str(excinfo.getrepr())

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}: {self.name}"


class BudgetItem(FormItem):
    """The time that its cells took, after the last of them."""

    def runtest(self):
        if broken := getattr(self.parent, "broken", None):
            pytest.skip(f"{broken} failed")
        stated = self.parent.nb.metadata.get("oatlib", {}).get("seconds", lessons.LONGEST)
        if (took := seconds[self.nodeid.partition("::")[0]]) > FACTOR * stated:
            raise lessons.Unfit(f"its cells took {took:.1f} s; it states {stated} s, and {FACTOR} x that is allowed")


def pytest_configure(config):
    """Kernels that are started from here on read this folder, and begin with offline.py."""
    config.gate_folder = tempfile.mkdtemp(prefix="gate-")
    startup = Path(config.gate_folder, "profile_default", "startup")
    startup.mkdir(parents=True)
    shutil.copy(OFFLINE, startup / "00-offline.py")
    os.environ["IPYTHONDIR"] = config.gate_folder
    config.option.nbval_cell_timeout = FACTOR * lessons.LONGEST  # longer than a whole lesson may take
    RunningKernel.execute_cell_input = _execute


def pytest_unconfigure(config):
    shutil.rmtree(config.gate_folder, ignore_errors=True)


def _execute(kernel, source, allow_stdin=None):
    """As readers' programs do it: with a history, in which lesson.begin finds the parameters cell."""
    return kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def pytest_collection_modifyitems(items):
    """Around the cells of each notebook: its form before them, its run time after them."""
    files = {item.parent: None for item in items if isinstance(item, IPyNbCell)}
    others = [item for item in items if not isinstance(item, IPyNbCell)]
    cells = {file: [item for item in items if item.parent is file] for file in files}
    items[:] = others
    for file, own in cells.items():
        form, budget = FormItem.from_parent(file, name="form"), BudgetItem.from_parent(file, name="run time")
        items += [form, *own, budget]


def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell) and (broken := getattr(item.parent, "broken", None)):
        pytest.skip(f"{broken} failed, and the cells after it need it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Say which cell it was, as readers count them."""
    report = yield
    if isinstance(item, IPyNbCell) and report.failed:
        item.parent.broken = f"cell [{item.cell_num + 1}]"
        report.longrepr = f"{item.path.name}, {item.parent.broken}, id {item.cell.get('id')}\n{report.longrepr}"
    return report


def pytest_runtest_logreport(report):
    """Where tests run, and again in the process that started the workers."""
    notebook, _, name = report.nodeid.partition("::")
    if name.startswith("Cell ") and report.when == "call":
        seconds[notebook] += report.duration


def pytest_sessionfinish(session):
    if sum(seconds.values()) > WHOLE:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for notebook, took in sorted(seconds.items()):
        terminalreporter.line(f"{notebook}: {took:.1f} s")
    whole = sum(seconds.values())
    verdict = f"FAILED: only {WHOLE} s are allowed" if whole > WHOLE else f"of {WHOLE} s allowed"
    terminalreporter.line(f"all notebooks: {whole:.1f} s, {verdict}", red=whole > WHOLE)
