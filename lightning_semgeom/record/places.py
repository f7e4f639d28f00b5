"""Where a history is on disk: `<run folder>/<name of the callback>/history.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

FILE_NAME = "history.jsonl"
PICTURE_FOLDER = "pictures"


def history_file(path: Path) -> Path:
    """The file of the history that `path` is, or that is in the folder `path`.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no history at '{file}'.")
    return file


def own_folder(folder: Path, name: str) -> Path:
    """The folder of the callback called `name` in a run's `folder`, which may be that already."""
    own = folder / name
    return own if own.is_dir() else folder


def put_aside(folder: Path) -> None:
    """Move the history of another run, and its pictures, out of the way."""
    if not (folder / FILE_NAME).exists():
        return
    aside = next(path for n in count(1) if not (path := folder / f"earlier.{n}").exists())
    aside.mkdir()
    for name in (FILE_NAME, PICTURE_FOLDER):
        if (folder / name).exists():
            (folder / name).replace(aside / name)


def without_common_start(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The parts of several paths from where they differ on; a last part is left of each."""
    found = [*paths]
    while len({path[:1] for path in found}) == 1 and min(map(len, found)) > 1:
        found = [path[1:] for path in found]
    return found
