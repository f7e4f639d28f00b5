"""The histories under a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_semgeom.record.history import FILE_NAME, History

CONTROL = "_control"  # what follows a callback's name


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

    A folder is a run's, with `semgeom/history.jsonl` or other names of callbacks in it, or that of
    a history itself. The control of `semgeom` is `semgeom_control`.

    Raises:
        FileNotFoundError: if a folder holds no history; the message says where it was looked for.
    """
    holders = [holder for folder in folders for holder in _holders(folder)]
    return [
        RunFiles(name, History.load(holder), _control_of(holder))
        for name, holder in zip(_short(holders), holders, strict=True)
    ]


def _holders(folder: Path) -> list[Path]:
    """The folders with a history that is no other one's control."""
    if (folder / FILE_NAME).is_file():
        return [folder]
    found = {file.parent for file in folder.glob(f"*/{FILE_NAME}")}
    if not found:
        raise FileNotFoundError(
            f"no history in '{folder}': expected '{folder / 'semgeom' / FILE_NAME}' or another "
            "callback's folder there. Give the folder that a Trainer's first logger writes to."
        )
    names = {holder.name for holder in found}
    return sorted(
        holder
        for holder in found
        if not (holder.name.endswith(CONTROL) and holder.name.removesuffix(CONTROL) in names)
    )


def _control_of(holder: Path) -> History | None:
    control = holder.with_name(holder.name + CONTROL)
    return History.load(control) if (control / FILE_NAME).is_file() else None


def _short(holders: Sequence[Path]) -> list[str]:
    """As much of each path as tells it from the others; of a single one its run."""
    parts = [holder.resolve().parts for holder in holders]
    if len(parts) == 1:
        return ["/".join(parts[0][-3:-1])]
    while len({path[:1] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[1:] for path in parts]
    while len({path[-1:] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[:-1] for path in parts]
    return ["/".join(path) for path in parts]
