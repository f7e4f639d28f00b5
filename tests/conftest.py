import matplotlib
import pytest

matplotlib.use("agg")


def pytest_collection_modifyitems(items):
    """Tests that share what takes long to make go to one worker: those of a file, or folder."""
    for item in items:
        folder = item.path.parent
        shared = folder if folder.name == "distributed" else item.path
        item.add_marker(pytest.mark.xdist_group(str(shared)))
