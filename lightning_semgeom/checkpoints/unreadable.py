"""Files that are called like a checkpoint and are none yet: links, pointers and what was cut off.

Readers would fail in them with words about their own formats; what is wrong stands in the first
bytes, or in the name.
"""

from __future__ import annotations

from pathlib import Path

from lightning_semgeom.checkpoints.tensors import CheckpointError
from lightning_semgeom.stores import read_range

# What downloads and savings in two steps add to the name, until they are done.
_UNFINISHED = (
    *(".incomplete", ".part", ".partial", ".tmp", ".temp", ".download", ".crdownload"),
    ".filepart",
)
_CONTROL = ".aria2"  # lies beside a file for as long as that is being fetched
_START = 512


def finished_name(path: Path) -> str:
    """What the file is called, or will be when its download is done."""
    unfinished = path.suffix in _UNFINISHED and "." in path.stem
    return path.stem if unfinished else path.name


def raise_if_unreadable(path: Path) -> bytes:
    """Tell what a file is that no reader of checkpoints can read, and what to do.

    Returns:
        The first bytes of one that a reader may know.

    Raises:
        CheckpointError: if it is no file, a download that has not ended, empty, a pointer of Git
            LFS or git-annex, or a web page.
    """
    if path.is_symlink() and not path.exists():
        raise CheckpointError(f"it is a link to '{path.readlink()}', which is not there.")
    if finished_name(path) != path.name or path.with_name(path.name + _CONTROL).exists():
        raise CheckpointError("its download or saving has not ended: get the whole file.")
    if not path.is_file():
        raise CheckpointError("it is no file.")
    start = read_range(path, 0, _START)
    if not start:
        raise CheckpointError("it is empty (0 bytes): save, copy or download it again.")
    if not any(start):
        raise CheckpointError(
            f"it begins with {len(start)} zeros, as a file does of which nothing was written: "
            "save, copy or download it again."
        )
    text = start.lstrip().lower()
    if text.startswith(b"version https://git-lfs.github.com/spec"):
        raise CheckpointError(
            "it is a pointer of Git LFS, a few lines that stand for the file. Fetch the file "
            "itself: `git lfs pull` in its repository."
        )
    if b"/annex/objects/" in text.split(b"\n")[0]:
        raise CheckpointError(
            "it is a pointer of git-annex, a line that stands for the file. Fetch the file "
            "itself: `git annex get` in its repository."
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            "it is a web page, as a server answers instead of a file that is not there or not "
            "free. Download the file itself."
        )
    return start


def raise_if_part_unreadable(file: Path) -> None:
    """The same of a file in a folder that is the checkpoint; the message names it.

    Raises:
        CheckpointError: as `raise_if_unreadable`.
    """
    try:
        raise_if_unreadable(file)
    except CheckpointError as fault:
        raise CheckpointError(f"its '{file.name}' cannot be read: {fault}") from None
