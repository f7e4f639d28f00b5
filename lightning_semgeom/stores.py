"""Paths on this machine and in stores: what has a protocol, as `s3://`, goes through fsspec."""

from __future__ import annotations

import re
from os.path import abspath
from pathlib import Path
from typing import IO, Any, cast

_PROTOCOL = re.compile(r"([A-Za-z][\w+.-]+)(?:::|:/)")  # a drive has one letter
_LOCAL = ("file", "local")
_PIECE = 1 << 16  # bytes


def protocol(path: str | Path) -> str:
    """`s3` of `s3://bucket`, and of the `s3:/bucket` that a Path makes of it; else ""."""
    found = _PROTOCOL.match(str(path))
    return found[1] if found and found[1] not in _LOCAL else ""


def is_in_store(path: str | Path) -> bool:
    """Whether it is not on this machine's disks."""
    return bool(protocol(path))


def place(path: str | Path) -> Path:
    """`path` itself, or where it has a protocol what stands for it and has a Path's methods.

    That is a `UPath`, which is no Path by inheritance: it reads, writes, lists and joins as one,
    has no `replace`, and what asks the operating system does not know it (`os.path`, mmap).

    Raises:
        ImportError, ValueError: if nothing is installed that knows the protocol.
    """
    if not isinstance(path, str | Path):
        return path  # it is one already
    if is_in_store(path):
        from upath import UPath

        text = str(path)
        # A Path that was made of an address has lost one of its slashes.
        return cast(Path, UPath(text if "://" in text else text.replace(":/", "://", 1)))
    local = re.sub(r"^(?:file|local):/+", "/", str(path))
    return Path(local)


def absolute(path: Path) -> Path:
    """The path from the root on, without `..`; no link is followed."""
    return path if is_in_store(path) else Path(abspath(path))


def read_range(path: Path, start: int, stop: int) -> bytes:
    """The bytes from `start` to before `stop`; fewer where the file ends before."""
    if is_in_store(path):
        store: Any = path
        try:
            found: bytes = store.fs.cat_file(store.path, start=start, end=stop)
        except Exception:
            if start < store.fs.size(store.path):
                raise
            return b""  # a store refuses a range that begins behind the end
        # Where a store gives all of a file instead of a range.
        return found[start:stop] if len(found) > stop - start else found
    with path.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


def open_in_pieces(path: Path) -> IO[bytes]:
    """A file in a store, of which little more is fetched than is read."""
    store: Any = path
    opened: IO[bytes] = store.fs.open(store.path, "rb", block_size=_PIECE)
    return opened


def state_of(path: Path) -> list[int | str]:
    """What is another once a file was written anew: size and time, or what a store has for it."""
    if is_in_store(path):
        store: Any = path
        return [str(store.fs.ukey(store.path))]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
