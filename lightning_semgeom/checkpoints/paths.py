"""What can be told of a path before anything that reads checkpoints is imported."""

from __future__ import annotations

from pathlib import Path


def check_is_there(path: Path) -> None:
    """Raise a FileNotFoundError where there is neither file nor folder at `path`."""
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at '{path}'.")
