"""A history's folder, for the run that writes it: what was missed comes with a later write."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from lightning_semgeom.faults import attempted
from lightning_semgeom.record.history_file import HistoryFile
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.places import put_aside
from lightning_semgeom.record.record import Record
from lightning_semgeom.stores import folder_text, make_folder, place, read, write


class HistoryFolder:
    """Writes records and pictures into a folder.

    All that can fail leaves it to be done again: to make room in the folder, and the whole file.

    Args:
        folder: on this machine, or in a store.
        is_new: whether what is there is another run's.
        came_from: where the pictures of the first records are.
        written: number of records that its file has already; None: the file is written anew.
    """

    def __init__(
        self,
        folder: Path,
        is_new: bool = False,
        came_from: str | None = None,
        written: int | None = None,
    ) -> None:
        self._folder = folder
        self._is_new = is_new
        self._came_from = came_from
        self._file = HistoryFile(folder)
        self._written = written or 0
        self._is_stale = written is None
        self._is_prepared = written is not None
        self.aside: Path | None = None
        """Where what another run had left is now."""

    def write(self, records: list[Record]) -> None:
        """Bring into the file what it lacks of `records`.

        Raises:
            OSError: if it cannot be written.
        """
        self._prepare(records)
        records = [*records]  # there may be more before this is done
        # A write that fails half way must not be appended to.
        is_stale, self._is_stale = self._is_stale, True
        if is_stale or not self._file.is_as_written():
            self._file.write(records)
        else:
            for record in records[self._written :]:
                self._file.append(record)
        self._is_stale, self._written = False, len(records)

    def save(self, file: str, picture: SitePicture, records: list[Record]) -> None:
        """Write a picture.

        Raises:
            OSError: if it cannot be written.
        """
        self._prepare(records)
        picture.save(self._folder / file)

    def has_changed(self, index: int) -> None:
        """Write this record again with the next ones, if it has been written."""
        self._is_stale |= index < self._written

    def _prepare(self, records: list[Record]) -> None:
        """Make room: what another run left would be written over, or moved with what is new."""
        if self._is_prepared:
            return
        make_folder(self._folder)
        if self._is_new:
            aside = put_aside(self._folder)
            self.aside = None if aside == self._folder else aside
        elif self._came_from not in (None, folder_text(self._folder)):
            self._bring_pictures(str(self._came_from), records)
        self._is_prepared = True

    def _bring_pictures(self, source: str, records: list[Record]) -> None:
        """Copy the pictures that the records name; a record forgets those that are gone."""
        fault: Exception | None = None
        for index, record in enumerate(records):
            kept: dict[str, str] = {}
            for site, file in record.pictures.items():
                content = attempted(_content, source, file) if fault is None else fault
                if isinstance(content, bytes):
                    make_folder((self._folder / file).parent)
                    write(self._folder / file, content)
                    kept[site] = file
                elif not isinstance(content, FileNotFoundError):
                    fault = content  # the others are not waited for
            records[index] = replace(record, pictures=kept)
        if fault is not None:
            warnings.warn(
                f"pictures of earlier records stay in '{source}', which cannot be read: "
                f"{type(fault).__name__}: {fault}",
                stacklevel=2,
            )


def _content(folder: str, file: str) -> bytes:
    return read(place(folder) / file)
