"""Folders of `save_pretrained`: one file, or an index of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_semgeom.checkpoints.pickled import open_pickled
from lightning_semgeom.checkpoints.safetensors import open_safetensors
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors

# Where a folder has several, they hold the same; safetensors are the quicker ones.
_FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_STATE = "trainer_state.json"


def model_file(folder: Path) -> Path | None:
    """The file that says where the tensors are; None: this is no such folder."""
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def open_model_file(path: Path) -> Tensors:
    """The tensors of a file, or of all shards that an index names.

    Raises:
        CheckpointError: if a file cannot be read, or is not there.
    """
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    return _open_index(path) if path.suffix == ".json" else open_pickled(path)


def step_in_folder(folder: Path) -> int | None:
    """The optimizer step that transformers' Trainer wrote beside the model.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    file = folder / _STATE
    step = _json(file).get("global_step") if file.is_file() else None
    return step if isinstance(step, int) else None


def _open_index(path: Path) -> Tensors:
    places = _json(path).get("weight_map")
    if not isinstance(places, dict):
        raise CheckpointError(f"its '{path.name}' has no weight_map.")
    for name, place in places.items():
        if not isinstance(place, str):
            raise CheckpointError(
                f"its '{path.name}' gives {place!r} for '{name}'; expected the name of a shard."
            )
    shards = {}
    for name in sorted(set(places.values())):
        if not (path.parent / name).is_file():
            raise CheckpointError(
                f"its '{path.name}' names the shard '{name}', which is not there."
            )
        try:
            shards[name] = open_model_file(path.parent / name)
        except CheckpointError as fault:
            raise CheckpointError(f"in its shard '{name}', {fault}") from None
    for name, place in places.items():
        if name not in shards[place].shapes:
            raise CheckpointError(
                f"its '{path.name}' says that '{name}' is in the shard '{place}', which lacks it."
            )

    def read(name: str, rows: int) -> Tensor:
        return shards[places[name]].read(name, rows)

    shapes = {name: shards[place].shapes[name] for name, place in places.items()}
    return Tensors(shapes, read)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CheckpointError(f"its '{path.name}' is no JSON ({fault}).") from None
    return found if isinstance(found, dict) else {}
