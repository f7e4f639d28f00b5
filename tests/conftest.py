import functools
import importlib.metadata

import matplotlib
import pytest

from tests import warm

matplotlib.use("agg")
# Each Trainer asks what is installed, for which all packages' metadata would be read anew.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)


def pytest_configure(config):
    """Workers of pytest-xdist share what starts their processes, where they start any."""
    starts_workers = getattr(config.option, "numprocesses", None)
    if starts_workers and "not processes" not in config.option.markexpr:
        warm.share()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, a file stays together, and so do those that share jobs.

    Those that start processes come first: a worker that began a long one last would work alone.
    """
    long = set()
    for item in items:
        shares_jobs = item.path.parent.name == "distributed"
        group = "distributed" if shares_jobs else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("processes"):
            long.add(item.path)
    items.sort(key=lambda item: (item.path.name != "test_demo.py", item.path not in long))
