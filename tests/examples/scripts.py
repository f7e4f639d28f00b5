"""The example scripts, as a user runs them."""

from pathlib import Path

from tests.warm import python

FOLDER = Path(__file__).parents[2] / "examples"


def run(name, *arguments, cwd=None):
    """What the script `name` prints."""
    done = python("-W", "ignore", FOLDER / f"{name}.py", *arguments, cwd=cwd, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout
