"""Where a history is on disk: `<run folder>/<name of the callback>/history.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from lightning_semgeom.stores import as_away, forget_listings, is_there, make_folder, move

FILE_NAME = "history.jsonl"
PICTURE_FOLDER = "pictures"
CONTROL = "_control"  # what follows a callback's name


def history_file(path: Path) -> Path:
    """The file of the history that `path` is, or that is in the folder `path` or a run's folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a run's folder has those of several callbacks.
    """
    if not is_there(path):
        raise FileNotFoundError(f"no history at '{path}': there is no such file or folder.")
    if not path.is_dir():
        return path
    first, *others = history_folders([path])
    if others:
        names = ", ".join(f"'{folder.name}'" for folder in (first, *others))
        raise ValueError(
            f"'{path}' has the histories of several callbacks, {names}: give the folder of one."
        )
    return first / FILE_NAME


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


def control_file(folder: Path) -> Path:
    """Where the history of the control is, if there is one, of that in `folder`."""
    return folder.with_name(folder.name + CONTROL) / FILE_NAME


def parts_of(file: Path) -> list[Path]:
    """The file of a history, and the parts of it that are there, in order."""
    found = [file]
    while is_there(part := _part(file, len(found))):
        found.append(part)
    return found


def next_part(file: Path) -> Path:
    """Where records go that follow those in all parts."""
    return _part(file, len(parts_of(file)))


def _part(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}.{number:04d}{file.suffix}")


def own_history(folder: Path, name: str) -> Path:
    """The history's file of the callback called `name`, in a run's `folder` or its own.

    Raises:
        FileNotFoundError: if there is none.
    """
    own = folder / name
    file = (own if is_there(own) and own.is_dir() else folder) / FILE_NAME
    if not is_there(file):
        raise FileNotFoundError(f"no history at '{file}'.")
    return file


def put_aside(folder: Path) -> Path:
    """Move the history of another run, if there is one, and its pictures to where they are then."""
    if not is_there(folder / FILE_NAME):
        return folder
    aside = next(path for n in count(1) if not is_there(path := folder / f"earlier.{n}"))
    make_folder(aside)
    # The file last: as long as it is there, the rest is still put aside after an outage.
    for path in (folder / PICTURE_FOLDER, *reversed(parts_of(folder / FILE_NAME))):
        if is_there(path):
            move(path, aside / path.name)
    return aside


def without_common_start(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The parts of several paths from where they differ on; a last part is left of each."""
    found = [*paths]
    while len({path[:1] for path in found}) == 1 and min(map(len, found)) > 1:
        found = [path[1:] for path in found]
    return found
