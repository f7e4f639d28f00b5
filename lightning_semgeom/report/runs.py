"""The histories under a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_semgeom.history import FILE_NAME, History

_CONTROL = "_control"


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
    found = []
    for folder in folders:
        holders = [folder] if (folder / FILE_NAME).is_file() else _holders(folder)
        if not holders:
            raise FileNotFoundError(
                f"no history in '{folder}': expected '{folder / 'semgeom' / FILE_NAME}' or another "
                "callback's folder there. Give the folder that a Trainer's first logger writes to."
            )
        names = {holder.name for holder in holders}
        for holder in holders:
            if holder.name.removesuffix(_CONTROL) in names - {holder.name}:
                continue
            control = holder.with_name(holder.name + _CONTROL)
            has_control = (control / FILE_NAME).is_file()
            found.append(
                RunFiles(
                    _name(folder, holder, several=len(folders) > 1 or len(names) > 2),
                    History.load(holder),
                    History.load(control) if has_control else None,
                )
            )
    return found


def _holders(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob(f"*/{FILE_NAME}"))


def _name(folder: Path, holder: Path, several: bool) -> str:
    """As short as tells runs apart."""
    place = "/".join(folder.resolve().parts[-2:])
    return f"{place} ({holder.name})" if several and holder != folder else place
