"""Paths on this machine and in stores: what has a protocol, as `s3://`, goes through fsspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import abspath
from pathlib import Path
from typing import IO, Any, cast

from lightning_semgeom.extras import needs
from lightning_semgeom.faults import AwayError

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
        with needs():
            from upath import UPath

        text = str(path)
        # A Path that was made of an address has lost one of its slashes.
        return cast(Path, UPath(text if "://" in text else text.replace(":/", "://", 1)))
    local = re.sub(r"^(?:file|local):/+", "/", str(path))
    return Path(local)


def folder_text(path: Path) -> str:
    """An absolute path or address, as text that `place` reads again."""
    return str(path) if is_in_store(path) else str(path.resolve())


def absolute(path: Path) -> Path:
    """The path from the root on, without `..`; no link is followed."""
    return path if is_in_store(path) else Path(abspath(path))


@contextmanager
def as_away(path: Path) -> Iterator[None]:
    """Make an AwayError of what a store raises: exceptions of its client have no common base.

    That something is not there is known, and stays a FileNotFoundError.
    """
    try:
        yield
    except (FileNotFoundError, AwayError):
        raise
    except Exception as fault:
        if not is_in_store(path):
            raise
        raise AwayError(f"'{path}': {type(fault).__name__}: {fault}") from fault


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; where a store does not answer, that is raised.

    A UPath's own `exists` and `is_file` say False then, and believe listings of long ago.
    """
    forget_listings(path)
    try:
        with as_away(path):
            path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def forget_listings(path: Path) -> None:
    """Have a store asked again what it holds: others may have written to it."""
    if is_in_store(path):
        with as_away(path):  # the first that asks for the store's client
            cast(Any, path).fs.invalidate_cache()


def make_folder(path: Path) -> None:
    """Make a folder and those above it; a store has none that would be made."""
    if not is_in_store(path):
        path.mkdir(parents=True, exist_ok=True)


def read(path: Path) -> bytes:
    """Read a whole file; in a store that is one request."""
    if not is_in_store(path):
        return path.read_bytes()
    store: Any = path
    with as_away(path):
        content: bytes = store.fs.cat_file(store.path)
    return content


def remove(file: Path) -> None:
    """Remove a file."""
    with as_away(file):
        file.unlink()


def write(path: Path, content: bytes) -> None:
    """Write a whole file; in a store that is one request, which happens or does not."""
    if is_in_store(path):
        store: Any = path
        with as_away(path):
            store.fs.pipe_file(store.path, content)
    else:
        path.write_bytes(content)


def write_at_once(path: Path, content: bytes) -> None:
    """Write a whole file: a crash leaves the old one or the new one."""
    if is_in_store(path):
        write(path, content)
    else:
        whole = path.with_suffix(".tmp")
        whole.write_bytes(content)
        whole.replace(path)


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder; in a store, which renames no folder, file by file."""
    if not is_in_store(source):
        source.replace(target)
        return
    forget_listings(source)
    store: Any = source
    with as_away(source):
        files, root = store.fs.find(store.path), cast(Any, target).path
        # Not by `mv`: S3 lists folders that it has no object of, and cannot copy them.
        for file in files:
            store.fs.cp_file(file, root + file[len(store.path) :])
        for file in files:
            store.fs.rm_file(file)


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
