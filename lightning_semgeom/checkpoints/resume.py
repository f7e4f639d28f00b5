"""What of an analysis is done: a small file beside its history, by which a later call goes on.

It says what was asked, in a hash, and of each checkpoint which one it was and what it gave. The
first checkpoints that are as they were are not read again; from the first other one on all is anew,
since phases follow from what came before.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from lightning_semgeom._version import __version__
from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.hidden import HiddenStates
from lightning_semgeom.checkpoints.online.path import HubPath
from lightning_semgeom.faults import attempted
from lightning_semgeom.record.history import History
from lightning_semgeom.record.places import put_aside
from lightning_semgeom.record.record import Record
from lightning_semgeom.stores import (
    absolute,
    folder_text,
    is_there,
    make_folder,
    read,
    state_of,
    write_at_once,
)

FILE_NAME = "analysis.json"


@dataclass(frozen=True)
class Done:
    """A checkpoint that need not be looked at again."""

    step: int
    """Of its weights."""
    checkpoint: list[Any]
    """From `identity_of`."""
    content: str = ""
    """From `content_of` its rows."""
    flaws: list[list[str]] = field(default_factory=list)
    """Site, kind and words of why figures are NaN."""
    left: list[str] = field(default_factory=list)
    """The matrices that the model has no place for."""
    records: list[str] = field(default_factory=list)
    """From `record_hash` the record of each history."""
    fault: str | None = None
    """Why it gave no record; None: it gave one."""


def identity_of(checkpoint: Checkpoint) -> list[Any]:
    """Which checkpoint it is, with sizes and times of its files; on the Hub with its commit."""
    path = checkpoint.path
    if isinstance(path, HubPath) and checkpoint.parts is None:
        commit = attempted(lambda: path.commit)
        return [str(path), None, commit if isinstance(commit, str) else None]
    if checkpoint.parts is not None:
        files = [*checkpoint.parts.files.values()]
    else:
        files = sorted(path.iterdir(), key=lambda file: file.name) if path.is_dir() else [path]
    states = [[file.name, *state_of(file)] for file in files if file.is_file()]
    return [str(absolute(path)), checkpoint.revision, states]


def record_hash(record: Record) -> str:
    """A hash of a record's figures, by which another one of the same step is told from it."""
    told = [
        [key, value if isfinite(value) else None] for key, value in sorted(record.values.items())
    ]
    return blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def fingerprint_of(
    tables: Mapping[str, AttributeTable],
    tensor: str | None,
    sites: Sequence[str],
    hidden: HiddenStates | None,
) -> str:
    """A hash of what was asked."""
    asked = {
        "versions": [__version__, torch.__version__],
        "tables": [
            [name, table.names, table.values, table.codes.tolist()]
            for name, table in tables.items()
        ],
        "tensor": tensor,
        "sites": sites,
        "hidden": None if hidden is None else hidden.fingerprint,
    }
    return blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()


class Progress:
    """The file, and the histories that it is about.

    Args:
        folders: of each history; an empty dict: nothing is on disk.
        fingerprint: from `fingerprint_of`.
        checkpoints: step and identity of all that there are, in order.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        fingerprint: str,
        checkpoints: Sequence[tuple[int, list[Any]]],
    ) -> None:
        self._folders = folders
        self._fingerprint = fingerprint
        stored = self._stored()
        histories = {name: _history_in(folder) for name, folder in folders.items()}
        self.done = _still_done(stored, checkpoints, list(histories.values()))
        self._count = sum(one.fault is None for one in self.done)
        self._histories = histories
        # A tail that was cut off in the middle of a step is no result that anybody has seen.
        self._is_lost = any(one.fault is None for one in stored[len(self.done) :])

    def begin(self) -> dict[str, History]:
        """The histories with what is done, on disk from now on; none where nothing is."""
        if not self._count:
            return {}
        return {
            name: _cut(self._histories[name], self._count, folder, self._is_lost)
            for name, folder in self._folders.items()
        }

    def add(self, done: Done) -> None:
        """Remember one more; on disk once there is a record."""
        self.done.append(done)
        self._count += done.fault is None
        if self._count:
            self._write()

    def _write(self) -> None:
        """Put all into the file at once: a crash leaves the old one or the new one."""
        if not self._folders:
            return
        make_folder(self._file.parent)
        said = {"fingerprint": self._fingerprint, "done": [asdict(one) for one in self.done]}
        write_at_once(self._file, json.dumps(said).encode())

    @property
    def _file(self) -> Path:
        return next(iter(self._folders.values())) / FILE_NAME

    def _stored(self) -> list[Done]:
        if not self._folders or not is_there(self._file):
            return []
        try:
            said = json.loads(read(self._file))
            same = said["fingerprint"] == self._fingerprint
            return [Done(**one) for one in said["done"]] if same else []
        except (ValueError, KeyError, TypeError):  # not ours, or of another version
            return []


def _still_done(
    stored: Sequence[Done],
    checkpoints: Sequence[tuple[int, list[Any]]],
    histories: Sequence[History],
) -> list[Done]:
    """The first of `stored` that are still so, and whose records are there."""
    found: list[Done] = []
    count = 0
    for one, (step, identity) in zip(stored, checkpoints, strict=False):
        if (one.step, one.checkpoint) != (step, identity):
            break
        if one.fault is None:
            there = [history.records[count : count + 1] for history in histories]
            if [record_hash(record) for records in there for record in records] != one.records:
                break
            count += 1
        found.append(one)
    return found


def _history_in(folder: Path) -> History:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a last line that is cut: it is measured again
        try:
            return History.load(folder)
        except (FileNotFoundError, ValueError):
            return History()


def _cut(whole: History, count: int, folder: Path, is_lost: bool) -> History:
    """The first `count` records of a history, in its place; `is_lost`: the rest is kept aside."""
    history = History()
    for record in whole.records[:count]:
        history.append(record)
    if is_lost:
        aside = put_aside(folder)
        # As where a run goes on in another folder: its pictures are copied.
        history.load_state_dict({**history.state_dict(), "folder": folder_text(aside)})
    history.open(folder)
    return history
