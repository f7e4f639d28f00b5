"""The record on disk: one JSON line a capture, readable while training runs and after a crash."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import fields, replace
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_semgeom.record.captures import check_increases
from lightning_semgeom.record.drawn import plot, plot_layers
from lightning_semgeom.record.folder import HistoryFolder
from lightning_semgeom.record.frames import to_pandas
from lightning_semgeom.record.history_file import records_of
from lightning_semgeom.record.picture import SitePicture
from lightning_semgeom.record.places import history_file, parts_of
from lightning_semgeom.record.record import Milestones, Record, picture_file, unknown
from lightning_semgeom.record.shown import in_html, in_text
from lightning_semgeom.stores import folder_text, place

if TYPE_CHECKING:
    from lightning_semgeom.record.recorder import Recorder
    from lightning_semgeom.record.snapshot import Snapshot


class History:
    """All records of a run, in memory and, once `open` was called, in `<folder>/history.jsonl`.

    Numbers that are not finite are null in the file and NaN when read. A line of the file has what
    is new since the line before; `lightning_semgeom.record.lines` says how.

    Example:
        >>> history = History()
        >>> history.append(Record(0, {"semgeom/gap": 0.0}))
        >>> history.append(Record(1, {"semgeom/gap": 0.2}))
        >>> history.curve("semgeom/gap")
        (array([0, 1]), array([0. , 0.2]))
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._records: list[Record] = []
        self._keys: dict[str, None] = {}
        self._files: HistoryFolder | None = None
        self._came_from: str | None = None
        self._recorder: Recorder | None = None

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a history from its file, its folder or its run's, here or in a store (`s3://`).

        A cut last line, as a crash leaves it, is dropped with a warning.

        Raises:
            FileNotFoundError: if there is no history.
            ValueError: if another line cannot be read, which the message names, or if the run has
                the histories of several callbacks.
        """
        file = history_file(place(path))
        history = cls()
        for record in records_of(file):
            history.append(record)
        history.folder = file.parent
        # What is added to the file would be read before its parts: they become one again.
        is_whole = len(parts_of(file)) == 1
        history._files = HistoryFolder(file.parent, written=len(history) if is_whole else None)
        return history

    def open(self, folder: Path) -> None:
        """Write to `folder` from now on, beginning with the records that are here already.

        Records that a checkpoint brought replace what the file has: this cuts it back to the
        checkpoint's step. Where that was saved in another folder, its pictures are copied from
        there. What another run left in `folder` is kept in `earlier.1` and so on.

        Raises:
            OSError: if the folder cannot be written; it is tried again with the next record.
        """
        self.aim(folder)
        self.write()

    def aim(self, folder: Path) -> None:
        """Have the next `write` open `folder`."""
        self.folder = folder
        self._files = HistoryFolder(folder, not self._records, self._came_from)

    def append(self, record: Record | Snapshot, step: int | None = None) -> None:
        """Add a record, to the file too where one is open.

        Args:
            record: a record, or what `snapshot` has found: then phases are followed.
            step: how many updates the weights of a snapshot have had, which it does not know.

        Raises:
            ValueError: if its step is not after the last one, or its sites or attributes are
                others.
            OSError: if the file cannot be written; the record is in memory even then, and gets
                into the file with the next one that can be.
        """
        if not isinstance(record, Record):
            recorder = self._recorder or record.recorder(self)
            record.add_to(recorder, step)
            self._recorder = recorder
            return
        self.keep(record)
        self.write()

    def check_next(self, step: int) -> None:
        """Raise a ValueError unless `step` is after the last one."""
        check_increases(step, self._records[-1].step if self._records else None)

    def keep(self, record: Record) -> None:
        """Add a record in memory; `write` brings it into the file.

        Raises:
            ValueError: if its step is not after the last one.
        """
        self.check_next(record.step)
        self._recorder = None  # it does not know of this record
        self._records.append(record)
        self._keys |= dict.fromkeys(record.values)

    def save_picture(self, step: int, site: str, picture: SitePicture) -> None:
        """Write a picture where a file is open, and name it in the record of `step`.

        Raises:
            OSError: if it cannot be written; then the record does not name it.
        """
        if self._files is None:
            return
        file = picture_file(site, step)
        self._files.save(file, picture, self._records)
        index = bisect_left(self._records, step, key=lambda record: record.step)
        record = self._records[index]
        others = {name: other for name, other in record.pictures.items() if name != site}
        self._records[index] = replace(record, pictures={**others, site: file})
        self._files.has_changed(index)

    def write(self) -> None:
        """Bring into the file what it lacks, where one is open.

        Raises:
            OSError: if it cannot be written.
        """
        if self._files is not None:
            self._files.write(self._records)

    def take_aside(self) -> Path | None:
        """Where `write` has moved what another run had left, once; None: there was nothing."""
        aside = None if self._files is None else self._files.aside
        if self._files is not None:
            self._files.aside = None
        return aside

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, oldest first."""
        return tuple(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @property
    def keys(self) -> list[str]:
        """The keys of all records, in order."""
        return list(self._keys)

    @property
    def sites(self) -> list[str]:
        """The sites' names, in order."""
        return list(dict.fromkeys(site for site, _ in map(self._split, self.keys) if site))

    def metrics(self, site: str) -> list[str]:
        """What is known of `site`, such as `gap` and `gap/colour`, in order."""
        return [metric for where, metric in map(self._split, self.keys) if where == site]

    def attributes(self, site: str) -> list[str]:
        """The attributes whose gap was taken at `site`, in order."""
        metrics = self.metrics(site)
        return [metric.removeprefix("gap/") for metric in metrics if metric.startswith("gap/")]

    def key(self, site: str, metric: str) -> str:
        """The key of a site's metric, such as `gap` or `gap/colour`.

        Raises:
            KeyError: if there is no such site, attribute or metric; the message lists close ones.
        """
        key = f"{self.name}_{site}/{metric}"
        if key in self._keys:
            return key
        attribute = metric.partition("/")[2]
        if site not in self.sites:
            raise KeyError(unknown("site", site, self.sites))
        if attribute and attribute not in (known := self.attributes(site)):
            raise KeyError(unknown(f"attribute of {site}", attribute, known))
        raise KeyError(unknown(f"figure of {site}", metric, self.metrics(site)))

    def gap(
        self, attribute: str | None = None, site: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps int64 `[n]` and gaps fp64 `[n]` of an attribute.

        Args:
            attribute: which; None: the mean over all.
            site: where; None: at the first site.

        Raises:
            KeyError: if there is no such site or attribute; the message lists close ones.

        Example:
            >>> history = History()
            >>> values = {"semgeom/gap": 0.25, "semgeom_unembedding/gap/colour": 0.25}
            >>> history.append(Record(0, values))
            >>> steps, gaps = history.gap("colour")
            >>> steps.tolist(), gaps.tolist()
            ([0], [0.25])
        """
        where = site or next(iter(self.sites), "unembedding")
        return self.curve(self.key(where, "gap" if attribute is None else f"gap/{attribute}"))

    def milestones(self, site: str, attribute: str) -> Milestones:
        """When the structure of an attribute appeared, peaked and was gone, as last known."""
        keys = [f"{self.name}_{site}/{found.name}/{attribute}" for found in fields(Milestones)]
        # A run that goes on may not follow the attribute any more.
        last = next((r.values for r in reversed(self._records) if keys[0] in r.values), {})
        steps = [last.get(key, nan) for key in keys]
        return Milestones(*(None if isnan(step) else int(step) for step in steps))

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps int64 `[n]` and values fp64 `[n]` of one key.

        Raises:
            KeyError: if no record has the key; the message lists close ones.
        """
        if key not in self._keys:
            raise KeyError(unknown("figure", key, self.keys))
        steps = np.array([record.step for record in self._records], dtype=np.int64)
        values = np.array([record.values.get(key, nan) for record in self._records])
        return steps, values

    def picture(self, site: str, step: int) -> SitePicture:
        """What pictures of `site` at `step` draw.

        Raises:
            KeyError: if none was kept then; the message lists the steps that have one.
        """
        kept = {r.step: r.pictures[site] for r in self if site in r.pictures}
        if self.folder is None:
            raise KeyError(f"no picture of '{site}': the history is not on disk, or not from here.")
        if step not in kept:
            raise KeyError(f"no picture of '{site}' at step {step}; there are {sorted(kept)}.")
        return SitePicture.load(self.folder / kept[step])

    def picture_steps(self, site: str) -> list[int]:
        """The steps at which a picture of `site` was kept."""
        return [record.step for record in self if site in record.pictures]

    plot, plot_layers, to_pandas = plot, plot_layers, to_pandas

    __repr__, _repr_html_ = in_text, in_html

    def state_dict(self) -> dict[str, Any]:
        """All records, as tensors, strings and integers."""
        from lightning_semgeom.record.packing import packed_records  # files need no torch

        return {
            **packed_records(self._records, self.keys),
            "folder": None if self.folder is None else folder_text(self.folder),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the records of `state` in place of those that are here."""
        from lightning_semgeom.record.packing import unpacked_records

        self._came_from = state["folder"]
        self._records, keys = unpacked_records(state)
        self._recorder = None
        self._keys = dict.fromkeys(keys)

    @property
    def name(self) -> str:
        """The root of all keys; the headlines, which come first, begin with it alone."""
        return next(iter(self._keys), "").partition("/")[0]

    def _split(self, key: str) -> tuple[str, str]:
        """Site and metric of a key; the headlines have no site."""
        root, _, metric = key.partition("/")
        return root.removeprefix(self.name).removeprefix("_"), metric
