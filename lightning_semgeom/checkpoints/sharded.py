"""Folders of torch.distributed.checkpoint, as Lightning's sharded strategies write them too.

The shards are files of torch.save, which torch reads with `weights_only=True`. What lies where is
told by `.metadata`, and that torch unpickles without any restraint; here only the classes that it
is made of are let through, and only instances of them are given a state.
"""

from __future__ import annotations

import pathlib
from collections import OrderedDict
from dataclasses import is_dataclass
from pathlib import Path
from pickle import BUILD, _Unpickler
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.serialization import _get_layout

from lightning_semgeom.checkpoints.pickled import step_in_pickled
from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_part_unreadable
from lightning_semgeom.stores import is_in_store

METADATA, SHARDS = ".metadata", "*.distcp"
_STATE = "meta.pt"  # what Lightning keeps beside the shards
_OWN_CLASSES = (
    *("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "_MEM_FORMAT_ENCODING"),
    *("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
)
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(metadata.__name__, name): getattr(metadata, name) for name in _OWN_CLASSES},
    (_StorageInfo.__module__, "_StorageInfo"): _StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): _get_layout,
    ("collections", "OrderedDict"): OrderedDict,
    # The folder that it was saved to; Python 3.13 calls the module differently.
    **{
        (module, name): getattr(pathlib, "Pure" + name)
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath")
    },
    **{
        ("torch", name): value
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype)
    },
}
_BUILT = {value for value in _ALLOWED.values() if is_dataclass(value)}


def is_sharded(path: Path) -> bool:
    """Whether this is such a folder."""
    return (path / METADATA).is_file()


def is_cut_off(path: Path) -> bool:
    """Whether this would be such a folder, if its saving had ended."""
    return not is_sharded(path) and next(path.glob(SHARDS), None) is not None


def open_sharded(folder: Path) -> Tensors:
    """The tensors of a folder with `.metadata` and shards.

    Raises:
        CheckpointError: if `.metadata` cannot be read, or asks for what it does not need.
    """
    found = _metadata(folder)
    stored = {
        name: item
        for name, item in found.state_dict_metadata.items()
        if isinstance(item, TensorStorageMetadata)
    }

    def read(name: str, rows: int | None) -> Tensor:
        item = stored[name]
        size = item.size if rows is None else (rows, *item.size[1:])
        tensor = torch.empty(size, dtype=item.properties.dtype)
        part = ChunkStorageMetadata(torch.Size([0] * tensor.ndim), tensor.size())
        # What dcp.load does with a plan of its own, that would be for the whole tensor.
        plan = LoadPlan(create_read_items_for_chunk_list(name, item, [part]))
        planner = DefaultLoadPlanner()
        planner.set_up_planner({name: tensor}, found, True)
        reader = _reader(folder)
        reader.set_up_storage_reader(found, True)
        try:
            reader.read_data(plan, planner).wait()
        except FileNotFoundError as fault:
            raise CheckpointError(f"its shard '{fault.filename}' is not there.") from None
        except Exception as fault:
            for shard in sorted(folder.glob(SHARDS)):
                raise_if_part_unreadable(shard)
            raise CheckpointError(f"a shard is cut or damaged ({fault}).") from None
        return tensor

    return Tensors({name: tuple(item.size) for name, item in stored.items()}, read)


def _reader(folder: Path) -> FileSystemReader:
    if not is_in_store(folder):
        return FileSystemReader(folder)
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

    return FsspecReader(str(folder))


def step_in_sharded(folder: Path) -> int | None:
    """The optimizer step that Lightning wrote beside the shards.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    file = folder / _STATE
    return step_in_pickled(file) if file.is_file() else None


def _give_state(unpickler: Any) -> None:
    """What BUILD does, for instances of `_BUILT` alone.

    pickle sets attributes on whatever comes, be it a class of this process, as pathlib.Path.
    """
    state = unpickler.stack.pop()
    built = unpickler.stack[-1]
    if type(built) not in _BUILT:
        name = getattr(built, "__name__", type(built).__name__)
        raise _refused(f"could change this process: it sets attributes of {name}")
    # Of the class: one of that name in the instance may have come with an earlier state.
    setstate = getattr(type(built), "__setstate__", None)
    if setstate is None:
        vars(built).update(state)
    else:
        setstate(built, state)


class _MetadataUnpickler(_Unpickler):
    """Knows no classes and functions but those of `_ALLOWED`, and changes none of them.

    This is pickle's own in Python: of the one in C nothing but `find_class` can be replaced.
    """

    dispatch = _Unpickler.dispatch | {BUILD[0]: _give_state}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _refused(f"could run code: it asks for {module}.{name}")
        return _ALLOWED[module, name]

    def get_extension(self, code: int) -> None:
        # What copyreg has by number is not always asked of find_class.
        raise _refused(f"could run code: it asks for the extension {code} of copyreg")


def _refused(reason: str) -> CheckpointError:
    return CheckpointError(
        f"it is not read, since reading its '{METADATA}' {reason}, and "
        "torch.distributed.checkpoint writes no such thing. If you trust where it comes from, "
        "convert the folder with dcp_to_torch_save of torch.distributed.checkpoint.format_utils."
    )


def _metadata(folder: Path) -> Metadata:
    if not (folder / METADATA).exists():
        raise CheckpointError(
            f"it has shards of torch.distributed.checkpoint and no '{METADATA}', which is written "
            "last: its saving or copying has not ended."
        )
    raise_if_part_unreadable(folder / METADATA)
    try:
        with (folder / METADATA).open("rb") as file:
            found = _MetadataUnpickler(file).load()
    except CheckpointError:
        raise
    except Exception as fault:  # bytes that are no pickle fail in any way
        raise CheckpointError(f"its '{METADATA}' is cut or damaged ({fault!r}).") from None
    if not isinstance(found, Metadata):
        raise CheckpointError(f"its '{METADATA}' holds {type(found).__name__} and no Metadata.")
    return found
