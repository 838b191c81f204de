"""For all tests: files that take minutes begin first, so that no processor waits for one of them at the end."""

import hypothesis

# a machine that stands still for a while makes no test fail: speed is measured in bench/
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

LONGEST = ("test_driven.py", "test_auditing.py", "test_suite.py", "test_package.py")


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))  # the others stay as they are
