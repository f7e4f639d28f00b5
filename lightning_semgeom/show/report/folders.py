"""The folders of a page's histories, found without reading one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_semgeom.record.places import FILE_NAME
from lightning_semgeom.stores import as_away, forget_listings, is_there

CONTROL = "_control"  # what follows a callback's name


def history_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders of the histories in each run folder, but for those of controls.

    A folder is a run's, with `semgeom/history.jsonl` or other names of callbacks in it, or that of
    a history itself. The control of `semgeom` is `semgeom_control`.

    Raises:
        FileNotFoundError: if a folder holds no history; the message says where it was looked for.
    """
    found = []
    for folder in folders:
        with as_away(folder):
            found += _holders(folder)
    return found


def _holders(folder: Path) -> list[Path]:
    """The folders with a history that is no other one's control."""
    forget_listings(folder)
    if is_there(folder / FILE_NAME):
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
