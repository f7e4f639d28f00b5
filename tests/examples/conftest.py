"""Parts of the example scripts, to be tested by themselves."""

import importlib

import pytest

from tests.examples.scripts import FOLDER


@pytest.fixture
def imported(monkeypatch):
    """A function that imports a script by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module
