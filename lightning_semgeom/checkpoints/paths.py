"""What can be told of a path before anything that reads checkpoints is imported."""

from __future__ import annotations

from pathlib import Path


def check_is_there(path: Path) -> None:
    """Raise an OSError where there is neither file nor folder at `path`, or its store is away."""
    try:
        is_there = path.exists()
    except Exception as fault:  # what a store's client raises, which may be anything
        raise OSError(f"'{path}' cannot be looked at: {fault}") from None
    if not is_there:
        raise FileNotFoundError(f"no file or folder at '{path}'.")
