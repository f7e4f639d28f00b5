"""Folders of `save_pretrained`: one file, or an index of several."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_semgeom.checkpoints.online.path import HubPath
from lightning_semgeom.checkpoints.online.whole import open_whole
from lightning_semgeom.checkpoints.pickled import is_whole_alone, open_pickled
from lightning_semgeom.checkpoints.safetensors import open_safetensors
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_part_unreadable

# Where a folder has several, they hold the same; safetensors are the quicker ones.
_FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_STATE, _CONFIG, _TIED = "trainer_state.json", "config.json", "tie_word_embeddings"
_NUMBER = re.compile(r"(\d+)-of-(\d+)\.\w+$")
Sufficient = Callable[[Iterable[str]], list[str]]


def model_file(folder: Path) -> Path | None:
    """The file that says where the tensors are; None: this is no such folder."""
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def open_model_file(path: Path, sufficient: Sufficient | None = None) -> Tensors:
    """The tensors of a file, or of the shards that an index names.

    Args:
        path: of the file or the index.
        sufficient: says which of an index's names are enough: shards without them are not opened.

    Raises:
        CheckpointError: if a file cannot be read, or none of the shards is there.
    """
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    if path.suffix == ".json":
        return _open_index(path, sufficient)
    if isinstance(path, HubPath) and is_whole_alone(path):
        return open_whole(path.fs.ukey(path), lambda: open_pickled(path))
    return open_pickled(path)


def step_in_folder(folder: Path) -> int | None:
    """The optimizer step that transformers' Trainer wrote beside the model.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    file = folder / _STATE
    step = _json(file).get("global_step") if file.is_file() else None
    return step if isinstance(step, int) else None


def untied_in_folder(folder: Path) -> str | None:
    """Where transformers wrote beside the model that head and embedding are two, in words.

    A model around a language model has a configuration of that inside its own: both have to say so.
    """
    file = folder / _CONFIG
    try:
        found = _json(file) if file.is_file() else {}
    except CheckpointError:  # it tells nothing, as one that is not there
        return None
    inner = found.get("text_config")
    told = [d.get(_TIED) for d in (found, inner) if isinstance(d, dict)]
    return f"its '{_CONFIG}' has {_TIED}: false" if False in told and True not in told else None


def _open_index(path: Path, sufficient: Sufficient | None) -> Tensors:
    places = _json(path).get("weight_map")
    if not isinstance(places, dict):
        raise CheckpointError(f"its '{path.name}' has no weight_map.")
    for name, place in places.items():
        if not isinstance(place, str):
            raise CheckpointError(
                f"its '{path.name}' gives {place!r} for '{name}'; expected the name of a shard."
            )
    shards, missing, all_shards = {}, dict[str, str](), set(places.values())
    enough = [] if sufficient is None else sufficient(places)
    for name in sorted({places[name] for name in enough} or all_shards):
        if not (path.parent / name).is_file():
            missing[name] = (
                f"its '{path.name}' names the shard '{name}', which is not there{_others(path)}."
            )
            continue
        try:
            shards[name] = open_model_file(path.parent / name)
        except CheckpointError as fault:
            raise CheckpointError(f"in its shard '{name}', {fault}") from None
    if not shards and missing:
        raise CheckpointError(next(iter(missing.values())))
    _raise_if_cut(path, all_shards)
    elsewhere = {name: missing[place] for name, place in places.items() if place in missing}
    places = {name: place for name, place in places.items() if place in shards}
    for name, place in places.items():
        if name not in shards[place].shapes:
            raise CheckpointError(
                f"its '{path.name}' says that '{name}' is in the shard '{place}', which lacks it."
            )
    # What an index leaves out is in the model, too: a head is not absent because of that.
    left_out = {name: place for place in shards for name in shards[place].shapes}
    places = left_out | places

    def read(name: str, rows: int | None) -> Tensor:
        return shards[places[name]].read(name, rows)

    shapes = {name: shards[place].shapes[name] for name, place in places.items()}
    return Tensors(shapes, read, elsewhere=elsewhere)


def _raise_if_cut(path: Path, names: set[str]) -> None:
    """An index that names 1 of 2 shards has lost what it had on the other."""
    for name in sorted(names):
        number = _NUMBER.search(name)
        if number and len(names) < int(number[2]):
            raise CheckpointError(
                f"its '{path.name}' names {len(names)} of the {int(number[2])} shards that there "
                f"are by the name of '{name}'."
            )


def _others(path: Path) -> str:
    """Weights that lie beside an index, in words."""
    suffix = path.name.removesuffix(".index.json").rpartition(".")[2]
    found = sorted(file.name for file in path.parent.glob(f"*.{suffix}"))
    return f"; there is {', '.join(map(repr, found[:4]))}" if found else ""


def _json(path: Path) -> dict[str, Any]:
    raise_if_part_unreadable(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CheckpointError(f"its '{path.name}' is no JSON ({fault}).") from None
    return found if isinstance(found, dict) else {}
