import atexit
import functools
import gc
import importlib.metadata
import logging
import os
import traceback

import hypothesis  # before the freeze: it asks who holds its generators
import matplotlib
import pytest
from lightning_utilities.core import rank_zero

from tests import warm

gc.disable()  # imports make no garbage
matplotlib.use("agg")
# `make quick` draws fewer examples of each property; a slow machine is no failure.
hypothesis.settings.register_profile("whole", max_examples=60, deadline=None)
hypothesis.settings.register_profile("quick", max_examples=5, deadline=None)
hypothesis.settings.load_profile("whole")
# torch keeps each seed for three kinds of device that may yet come, with the stack as text.
traceback.format_stack = lambda *args: []
# Each Trainer asks what is installed, for which all packages' metadata would be read anew.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)


def pytest_configure(config):
    """Workers of pytest-xdist share what starts their processes, where they start any."""
    starts_workers = getattr(config.option, "numprocesses", None)
    if starts_workers and "not processes" not in config.option.markexpr:
        warm.share()
    if hasattr(config, "workerinput"):
        # Last of all: to take apart all that was imported takes seconds.
        atexit.register(os._exit, 0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Files that start processes come first: a worker that began one last would work alone."""
    for item in filter(_asks_a_server, items):
        item.add_marker("processes")
    long = {item.path for item in items if item.get_closest_marker("processes")}
    items.sort(key=lambda item: (item.path.name != "test_demo.py", item.path not in long))


def _asks_a_server(item):
    """Whether a store or a Hub on loopback takes part, as a fixture or by a parameter's name."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return not {"s3", "hub"}.isdisjoint(
        [*item.fixturenames, *(g for g in given if isinstance(g, str))]
    )


def pytest_collection_finish():
    """What has been imported stays: garbage is not looked for among its millions of objects."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def told():
    """What Lightning says as information, line by line.

    pytest's own `caplog` puts a handler on hundreds of loggers six times a test.
    """
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = rank_zero.log
    level = logger.level
    logger.setLevel(logging.INFO)  # examples leave Lightning quiet
    logger.addHandler(handler)
    yield lines
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def s3_server():
    from tests.stores import S3

    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A real S3 server on loopback that `s3://bucket` reaches; the bucket is empty."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # how long a client waits is not tested
    S3FileSystem.clear_instance_cache()
    store = S3FileSystem()
    store.mkdir("bucket")
    yield s3_server
    s3_server.start()  # where a test has stopped it
    store.rm("bucket", recursive=True)
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def memory(monkeypatch):
    """`memory://`, empty, which can be told to fail."""
    import fsspec

    from tests.stores import Faulty

    fsspec.register_implementation("memory", Faulty, clobber=True)
    Faulty.store.clear()
    Faulty.pseudo_dirs[:] = [""]
    Faulty.appends, Faulty.is_away = True, False
    yield Faulty
    fsspec.register_implementation("memory", Faulty.__base__, clobber=True)
