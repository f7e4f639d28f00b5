"""Where the real run's text comes from: the standard library, or a file."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib"}


def read_stdlib() -> list[str]:
    """The text of each Python file of the standard library without its tests and IDLE."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = set(folders) - _LEFT_OUT  # walk passes over the others
        files += (Path(folder, name) for name in names if name.endswith(".py"))
    return [path.read_text(encoding="utf-8", errors="replace") for path in sorted(files)]


def read_text(file: Path) -> list[str]:
    """The text of one file, cut at blank lines into documents of a few thousand characters.

    Raises:
        ValueError: if the file cannot be read as text.
    """
    documents, size = [""], 0
    for paragraph in text_of(file).split("\n\n"):
        if size > 5000:
            documents.append("")
            size = 0
        documents[-1] += paragraph + "\n\n"
        size += len(paragraph)
    return documents


def text_of(file: Path) -> str:
    """All text of a file.

    Raises:
        ValueError: if the file cannot be read as text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"--text: '{file}' cannot be read as UTF-8 text: {fault}.") from None
