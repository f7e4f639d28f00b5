"""The example scripts, as a user runs them."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples"


def run(name, *arguments, cwd=None):
    """What the script `name` prints."""
    command = [sys.executable, "-W", "ignore", FOLDER / f"{name}.py", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
