"""The checkpoints of a run, wherever they lie in the folders that are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import cast

from lightning_semgeom.checkpoints import hub
from lightning_semgeom.checkpoints.checkpoint import Checkpoint
from lightning_semgeom.checkpoints.huggingface import model_file
from lightning_semgeom.checkpoints.online.addresses import is_online, place_of, places_at
from lightning_semgeom.checkpoints.online.asking import HubError
from lightning_semgeom.checkpoints.parts import Parts, parts_of
from lightning_semgeom.checkpoints.paths import check_is_there
from lightning_semgeom.checkpoints.sharded import is_cut_off, is_sharded
from lightning_semgeom.checkpoints.steps import named_step, without_step
from lightning_semgeom.checkpoints.unreadable import finished_name
from lightning_semgeom.stores import absolute

_SUFFIXES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")
# What lies beside weights and has none: files, and sharded folders as FSDP's `optimizer_0`.
_OTHER = (
    *("optimizer*", "scheduler*", "scaler*", "rng_state*", "random_states*", "training_args*"),
    *("*optim_states*", "sampler*", "dl_state_dict*", "distrib_optim*"),
    "layer_*_expert_*_model_states*",  # DeepSpeed's experts, of which none is a head
)
_DEPTH = 6  # folders below the one that was given
_LOOKED_AT = 10_000  # files, where there is no checkpoint and something else may tell why


def find_checkpoints(paths: Iterable[Path]) -> list[Checkpoint]:
    """The checkpoints that `paths` are, or that the folders among them hold; each file once.

    What is given as a file is always one, or a part of one. Folders are searched for what looks
    like one, with the folders below them; what belongs to a checkpoint is not searched further.

    Raises:
        FileNotFoundError: if a path is not there, or a folder holds none; the message names it.
        ValueError: if a folder is the Hub's cache of several models, or an address on the Hub is
            none.
    """
    found: list[Checkpoint] = []
    for path in paths:
        if is_online(path):
            found += _online(path)
            continue
        check_is_there(path)
        here = list(_distinct(_given(path)))
        if not here:
            raise FileNotFoundError(
                f"no checkpoint in '{path}': expected files *{', *'.join(_SUFFIXES)}, folders of "
                f"save_pretrained, or sharded folders with '.metadata'.{_hint(path)}"
            )
        _raise_if_several_models(path, here)
        found += here
    # A link, as last.ckpt may be one, has a worse name than what it leads to.
    found.sort(key=lambda c: (c.path.is_symlink(), c.path.parts, c.revision or ""))
    each: dict[tuple[Path, str | None], Checkpoint] = {}
    for checkpoint in found:
        each.setdefault((_identity(checkpoint), checkpoint.revision), checkpoint)
    return list(each.values())


def _online(address: Path) -> Iterator[Checkpoint]:
    """The checkpoints that an address on the Hub stands for.

    What the Hub does not give is one, too: who opens it is told why, and the others go on.
    """
    try:
        places = places_at(address)
    except HubError as fault:
        path = cast(Path, place_of(address))
        yield Checkpoint(path, path.parent, fault=fault)
        return
    for place in places:
        path, root = cast(Path, place), cast(Path, place.parent)
        try:
            # Revisions that tell their steps are not looked at before they are read.
            is_one = not place.inside and named_step(reversed(place.names)) is not None
            yield from ([] if is_one else _looked_at(path)) or [Checkpoint(path, root)]
        except HubError as fault:
            yield Checkpoint(path, root, fault=fault)


def _looked_at(path: Path) -> list[Checkpoint]:
    if path.is_dir() and model_file(path) is not None:
        return [Checkpoint(path, path.parent)]
    return list(_distinct(_given(path)))


def _identity(checkpoint: Checkpoint) -> Path:
    path = absolute(checkpoint.path)
    # In the Hub's cache steps of the same weights are links to one file.
    if checkpoint.parts is not None or hub.repository_of(path) is not None:
        return path.parent.resolve() / path.name
    return path.resolve()


def _given(path: Path) -> Iterator[tuple[Path, Path]]:
    """What there is to look at, each with the folder that its name counts from."""
    if path.is_file():
        yield path, absolute(path).parent
        return
    if path.name == hub.SNAPSHOTS and hub.is_repository(path.parent):
        path = path.parent
    whole = _is_whole(path)
    if whole or is_cut_off(path):
        yield path, absolute(path).parent
    # transformers' Trainer saves the last model into the folder that has all checkpoints.
    if not whole or (not is_sharded(path) and named_step([absolute(path).name]) is None):
        for below in _below(path, _DEPTH):
            yield below, path


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The checkpoints in a folder, but for the folder itself where it is one."""
    if hub.is_repository(folder):
        found = list(_below(folder / hub.SNAPSHOTS, depth - 1))
        yield from found
        yield from hub.lacking(folder, found)
        return
    whole = _is_whole(folder)
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _is_whole(path) or is_cut_off(path):
                if not (is_sharded(path) and _is_other(path)):
                    yield path
            elif depth:
                yield from _below(path, depth - 1)
        elif not whole and _looks_like_weights(path):
            yield path


def _distinct(found: Iterable[tuple[Path, Path]]) -> Iterator[Checkpoint]:
    """Parts once, and a snapshot of the Hub's cache for each step that it is called by."""
    known: set[Path] = set()
    names: dict[Path, dict[str, list[str]]] = {}
    for path, root in found:
        parts = parts_of(path) if not path.is_dir() else None
        if parts is not None:
            if parts.pattern in known:
                continue
            known.add(parts.pattern)
            path = _path_of(parts, path)
            if not absolute(path).is_relative_to(absolute(root)):
                root = path.parent.parent  # a folder of one part was given
        repository = hub.repository_of(path)
        if repository is None:
            yield Checkpoint(path, root, parts)
            continue
        if repository not in names:
            names[repository] = hub.revisions(repository)
        inside = absolute(root).is_relative_to(repository)
        for revision in hub.revisions_of(path, names[repository]):
            yield Checkpoint(path, repository if inside else root, parts, revision)


def _path_of(parts: Parts, given: Path) -> Path:
    if len(parts.files) == 1:
        return next(iter(parts.files.values()))
    return parts.pattern if parts.files else given


def _raise_if_several_models(path: Path, found: Iterable[Checkpoint]) -> None:
    """Models in one cache are runs of their own, but for those whose names differ in the step."""
    caches = {repository for c in found if (repository := hub.repository_of(c.path)) is not None}
    names = [cache.name for cache in sorted(caches)]
    if len(set(map(without_step, names))) > 1:
        raise ValueError(
            f"'{path}' is the Hub's cache of {len(names)} models: {', '.join(names[:8])}"
            f"{', ...' if len(names) > 8 else ''}. Give the folder of one of them, as in "
            f"'{min(caches)}'."
        )


def _hint(folder: Path) -> str:
    """What there is instead of checkpoints."""
    files = list(islice(folder.rglob("*"), _LOOKED_AT))
    cut = [file.name for file in files if finished_name(file) != file.name]
    states = [file.name for file in files if fnmatchcase(file.name, "*optim_states*")]
    told = f" It has downloads that have not ended, as '{cut[0]}'." if cut else ""
    if states:
        told += f" It has DeepSpeed's states of the optimizer, as '{states[0]}', and no weights."
    return told


def _is_whole(folder: Path) -> bool:
    return is_sharded(folder) or model_file(folder) is not None


def _looks_like_weights(path: Path) -> bool:
    """Whether it is one, or the link or the unfinished download of one."""
    name = finished_name(path)
    if Path(name).suffix not in _SUFFIXES or _is_other(path):
        return False
    return name == path.name or not path.with_name(name).exists()


def _is_other(path: Path) -> bool:
    return any(fnmatchcase(path.name, pattern) for pattern in _OTHER)
