"""The histories under a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_semgeom.record.history import History
from lightning_semgeom.record.places import control_file, history_folders, without_common_start
from lightning_semgeom.stores import is_there


@dataclass(frozen=True)
class RunFiles:
    """What one callback left, and its control."""

    name: str
    """What the page calls it."""
    history: History
    """All records."""
    control: History | None
    """The same run measured with shuffled attributes."""


def find_runs(folders: Sequence[Path]) -> list[RunFiles]:
    """The histories of the callbacks in each run folder, each with its control.

    Raises:
        FileNotFoundError: as `history_folders` does.
    """
    holders = history_folders(folders)
    return [
        RunFiles(name, History.load(holder), _control_of(holder))
        for name, holder in zip(_short(holders), holders, strict=True)
    ]


def _control_of(holder: Path) -> History | None:
    file = control_file(holder)
    return History.load(file) if is_there(file) else None


def _short(holders: Sequence[Path]) -> list[str]:
    """As much of each path as tells it from the others; of a single one its run."""
    parts = [holder.resolve().parts for holder in holders]
    if len(parts) == 1:
        return ["/".join(parts[0][-3:-1])]
    parts = without_common_start(parts)
    while len({path[-1:] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[:-1] for path in parts]
    return ["/".join(path) for path in parts]
