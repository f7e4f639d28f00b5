"""The example scripts, as a user runs them."""

import os
from pathlib import Path

from tests.warm import python

FOLDER = Path(__file__).parents[2] / "examples"
ROOT = FOLDER.parent
SMALLER = "SMALLER_EXAMPLE"  # the environment's name for the example that is run with less


def run(name, *arguments, cwd=None):
    """What the script `name` prints."""
    return told(python("-W", "ignore", FOLDER / f"{name}.py", *arguments, cwd=cwd, timeout=280))


def run_smaller(name, *arguments):
    """What the script `name` prints with the constants of `smaller.py`."""
    module = ("-W", "ignore", "-m", "tests.examples.smaller")
    environment = os.environ | {SMALLER: name}
    return told(python(*module, *arguments, cwd=ROOT, env=environment, timeout=280))


def rows_of(text):
    """The cells of each line of the tables in `text`."""
    lines = text.splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def told(done):
    assert done.returncode == 0, done.stderr
    return done.stdout
