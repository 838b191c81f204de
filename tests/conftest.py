"""For all tests: files that take minutes begin first, so that no processor waits for one of them at the end.

`make check` leaves out three markers. `browser` and `notebook` belong to a directory and are set here. `slow` is set by
`pytestmark = pytest.mark.slow` in a file whose tests take more than about ten seconds together, and by
`@pytest.mark.slow` at a test that takes more than about two.
"""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# a machine that stands still for a while makes no test fail: speed is measured in bench/
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

# A shell that runs the tests in the background ignores Ctrl-C. The programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "test_live.py",
    "test_driven.py",
    "test_learners.py",
    "test_exercises.py",
    "test_auditing.py",
    "test_suite.py",
    "test_wheel.py",
    "test_pages.py",
)
MARKERS = {"browser": pytest.mark.browser, "notebooks": pytest.mark.notebook}  # directory: marker
HERE = Path(__file__).parent


def pytest_xdist_auto_num_workers(config):
    """One more than there are processors: tests that drive a browser or a kernel often wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    for item in items:
        directory = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if directory in MARKERS:
            item.add_marker(MARKERS[directory])
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))  # the others stay as they are
