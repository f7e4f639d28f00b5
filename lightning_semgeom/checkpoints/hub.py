"""The cache of the Hugging Face Hub: revisions of a model as folders that are called by hashes.

`models--org--name/snapshots/<hash>/` has the files, links into `blobs/`, and `refs/<name>` holds
the hash of the branch or tag of that name. Runs that publish their steps have a branch for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lightning_semgeom.checkpoints.steps import named_step
from lightning_semgeom.checkpoints.tensors import CheckpointError, NoStepError
from lightning_semgeom.stores import absolute

SNAPSHOTS = "snapshots"  # has one folder for each revision
_REFS, _BLOBS = "refs", "blobs"


def is_repository(folder: Path) -> bool:
    """Whether this is the cache of one model."""
    if not (folder / SNAPSHOTS).is_dir():
        return False
    named = absolute(folder).name.startswith("models--")
    return named or (folder / _REFS).is_dir() or (folder / _BLOBS).is_dir()


def repository_of(path: Path) -> Path | None:
    """The cache of a model that `path` is a snapshot of, or lies in one; None: it is elsewhere."""
    path = absolute(path)
    for folder in (path, *path.parents):
        if folder.parent.name == SNAPSHOTS and is_repository(folder.parent.parent):
            return folder.parent.parent
    return None


def revisions(repository: Path) -> dict[str, list[str]]:
    """The names of each hash that `refs` has, as `{hash: [step1000, ...]}`."""
    folder, found = repository / _REFS, dict[str, list[str]]()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            commit = file.read_text(encoding="utf-8", errors="replace").strip()
            found.setdefault(commit, []).append(file.relative_to(folder).as_posix())
    return found


def revisions_of(path: Path, names: Mapping[str, Sequence[str]]) -> list[str | None]:
    """The names that tell a step, each step once; or else the first name, or None.

    Args:
        path: a snapshot, or what lies in one.
        names: as `revisions` gives them.
    """
    parts = absolute(path).parts
    commit = parts[len(parts) - parts[::-1].index(SNAPSHOTS)]
    known = names.get(commit, ())
    by_step = {named_step(reversed(name.split("/"))): name for name in reversed(known)}
    by_step.pop(None, None)
    return [*by_step.values()] or [next(iter(known), None)]


def lacking(repository: Path, found: Iterable[Path]) -> list[Path]:
    """The snapshots that are called by a step, and in which no checkpoint was found."""
    there = {path.relative_to(repository).parts[1] for path in found}
    return [
        repository / SNAPSHOTS / commit
        for commit, names in revisions(repository).items()
        if commit not in there and any(named_step(name.split("/")) is not None for name in names)
    ]


def raise_for_unnamed(revision: str | None) -> NoReturn:
    """Tell how a snapshot gets a step.

    Raises:
        NoStepError: always.
    """
    known = (
        "no file in refs names it"
        if revision is None
        else f"its name in refs, '{revision}', tells no step"
    )
    raise NoStepError(
        f"it is a snapshot in the Hub's cache, called by its commit, and {known}. Download it by "
        "the branch of its step, as in revision='step1000', or write its hash into a file "
        "refs/step1000 beside snapshots."
    )


def raise_for_missing(repository: Path) -> NoReturn:
    """Tell that a snapshot has no weights.

    Raises:
        CheckpointError: always.
    """
    cut = len(list((repository / _BLOBS).glob("*.incomplete")))
    unfinished = f" ({cut} unfinished downloads lie in its blobs)" if cut else ""
    raise CheckpointError(
        f"the Hub's cache has no weights of this revision{unfinished}: download it again."
    )
