import matplotlib
import pytest

matplotlib.use("agg")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, a file stays together, and so do those that share jobs."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            shares_jobs = item.path.parent.name == "distributed"
            name = "distributed" if shares_jobs else item.path.as_posix()
            item.add_marker(pytest.mark.xdist_group(name))
