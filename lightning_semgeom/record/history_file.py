"""The lines of a history in files: `history.jsonl`, and parts of it in a store that cannot append.

A part is written whole. `history.jsonl` is the first one; `history.0001.jsonl` and so on follow,
each with lines that need none of the parts before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_semgeom.record.lines import LineReader, LineWriter
from lightning_semgeom.record.places import FILE_NAME, next_part, parts_of
from lightning_semgeom.record.record import Record
from lightning_semgeom.stores import (
    as_away,
    forget_listings,
    is_in_store,
    is_there,
    read,
    remove,
    write,
    write_at_once,
)

PART_RECORDS = 64
"""Records of a part, so that no write grows with the run."""


class HistoryFile:
    """Writes the lines of a history.

    Args:
        folder: where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME
        self._writer = LineWriter()
        self._appends = True
        self._size: int | None = None  # where it was written here
        # What is known of the last part, where all of it was written here.
        self._part: Path | None = None
        self._lines: list[str] = []

    def write(self, records: Sequence[Record]) -> None:
        """Put all records into the file at once: a crash leaves the old one or the new one."""
        # The last part first: what a crash leaves of several is the beginning.
        for part in reversed(parts_of(self._file)[1:]):
            remove(part)
        self._writer = LineWriter()
        lines = [*map(self._writer.line, records)]
        write_at_once(self._file, "".join(lines).encode())
        self._part, self._lines = self._file, lines
        self._size = len("".join(lines).encode())

    def is_as_written(self) -> bool:
        """Whether a file in a store is what was written last.

        An earlier write that its client has given up may reach the store after a later one.
        """
        if self._size is None or not self._appends or not is_in_store(self._file):
            return True
        forget_listings(self._file)
        try:
            with as_away(self._file):
                return self._file.stat().st_size == self._size
        except FileNotFoundError:
            return False

    def append(self, record: Record) -> None:
        """Add the line of a record."""
        line = self._writer.line(record)
        if self._appends and self._append(line):
            self._part, self._lines = None, []
            self._size = None if self._size is None else self._size + len(line.encode())
            return
        if self._part is None or len(self._lines) >= PART_RECORDS:
            self._part, self._lines = next_part(self._file), []
            self._writer = LineWriter()
            line = self._writer.line(record)
        self._lines.append(line)
        write(self._part, "".join(self._lines).encode())

    def _append(self, line: str) -> bool:
        """Add a line to the file, if what holds it can append; some stores refuse."""
        # A file that s3fs fails to open is closed by the garbage collector, which waits and prints.
        if is_in_store(self._file) and self._size is None and not is_there(self._file):
            raise FileNotFoundError(f"the history '{self._file}' is gone.")
        with as_away(self._file):
            try:
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(line)
            except (NotImplementedError, ValueError):  # Lightning #18861
                if not is_in_store(self._file):
                    raise
                self._appends = False
        return self._appends


def records_of(file: Path) -> Iterator[Record]:
    """The records of a history's file and of its parts.

    A cut last line, as a crash leaves it, is dropped with a warning.

    Raises:
        ValueError: if another line cannot be read; the message names it.
    """
    reader = LineReader()
    texts = {part: read(part).decode() for part in parts_of(file)}
    lines = [
        (part, number, line)
        for part, text in texts.items()
        for number, line in enumerate(text.splitlines(keepends=True), start=1)
    ]
    for place, (part, number, line) in enumerate(lines, start=1):
        try:
            record = reader.record(line)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            if place < len(lines):
                raise ValueError(f"{part}, line {number}: not a record ({fault}).") from None
            # From `History.load`, for whoever called it.
            warnings.warn(f"{part}: the cut last line {number} was dropped.", stacklevel=3)
            return
        yield record
