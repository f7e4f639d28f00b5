"""Where a history is on disk: `<run folder>/<name of the callback>/history.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from lightning_semgeom.stores import is_there, make_folder, move

FILE_NAME = "history.jsonl"
PICTURE_FOLDER = "pictures"


def history_file(path: Path) -> Path:
    """The file of the history that `path` is, or that is in the folder `path`.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = path / FILE_NAME if is_there(path) and path.is_dir() else path
    if not (is_there(file) and file.is_file()):
        raise FileNotFoundError(f"no history at '{file}'.")
    return file


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


def own_folder(folder: Path, name: str) -> Path:
    """The folder of the callback called `name` in a run's `folder`, which may be that already."""
    own = folder / name
    return own if is_there(own) and own.is_dir() else folder


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
