"""What was fetched of files on the Hub: pieces on this machine, by the hash of the whole file.

Files that are the same to the bit have one hash, whatever revision or repository has them, so each
piece of them is fetched once. They lie where huggingface_hub keeps such things: HF_ASSETS_CACHE.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

PIECE = 32 << 20
"""Bytes that are fetched at once: no more are lost where a connection is cut."""


def range_of(
    content: str, start: int, stop: int, fetch: Callable[[int, int], bytes]
) -> bytes | bytearray:
    """The bytes from `start` to before `stop` of a file, of which what is kept is not fetched.

    Args:
        content: the file's hash.
        start: where they begin.
        stop: where they end, no later than the file.
        fetch: gives the bytes from and to two such places.
    """
    folder, found = folder_of(content), bytearray()
    at = start
    while at < stop:
        pieces = _pieces(folder)
        covering = [(end, begin) for begin, end in pieces if begin <= at < end]
        if covering:
            end, begin = max(covering)
            with (folder / f"{begin}-{end}").open("rb") as file:
                file.seek(at - begin)
                data = file.read(min(end, stop) - at)
        else:
            following = min((begin for begin, _ in pieces if begin > at), default=stop)
            data = fetch(at, min(following, stop, at + PIECE))
            keep(folder / f"{at}-{at + len(data)}", data)
        if not data:
            break
        found += data
        at += len(data)
    return found


def folder_of(content: str) -> Path:
    """Where what has this hash is kept; no such folder where none can be made."""
    from huggingface_hub import cached_assets_path, constants

    try:
        return cached_assets_path("lightning-semgeom", "hub", content)
    except (OSError, ValueError):  # the latter where a file is in the way
        return Path(constants.HF_ASSETS_CACHE) / "lightning-semgeom" / "hub" / content


def keep(file: Path, data: bytes) -> None:
    """Write a file as a whole: what is cut off in the middle leaves none."""
    part = file.with_name(f"{file.name}.{uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(file)
    except OSError as fault:
        warnings.warn(f"what is fetched from the Hub cannot be kept: {fault}", stacklevel=2)


def drop_pieces(folder: Path) -> None:
    """Remove what was fetched of a file, but for its first bytes, which tell what it is."""
    for begin, end in _pieces(folder):
        if begin:
            (folder / f"{begin}-{end}").unlink(missing_ok=True)


def _pieces(folder: Path) -> list[tuple[int, int]]:
    """Begin and end of each that is there as a whole."""
    found = []
    for file in folder.iterdir() if folder.is_dir() else ():
        begin, _, end = file.name.partition("-")
        if begin.isdecimal() and end.isdecimal():
            found.append((int(begin), int(end)))
    return found
