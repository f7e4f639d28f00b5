"""Files of torch.save: mapped into memory, and nothing in them is ever run.

A pickle names functions that reading it calls. torch.load with `weights_only=True` calls those that
build tensors alone, and what asks for another one is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_unreadable
from lightning_semgeom.faults import attempted
from lightning_semgeom.stores import is_in_store, open_in_pieces, read_range

_ZIP = b"PK\x03\x04"
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch's magic number, pickled
# Lightning; litgpt and nanoGPT; PyTorch's tutorials; DeepSpeed
_HOLDERS = ("state_dict", "model", "model_state_dict", "module")
_STEPS = ("global_step", "step_count", "iter_num")  # Lightning; litgpt; nanoGPT
_PARTS = "mp_world_size"  # DeepSpeed


def open_pickled(path: Path) -> Tensors:
    """The tensors of a state dict, or of one under `state_dict`, `model` and the like.

    Raises:
        CheckpointError: if the file cannot be read, or has no tensors.
    """
    saved = _load(path)
    tensors = _tensors(saved)
    if not tensors:
        raise CheckpointError(
            "it has no tensors: expected a state dict, or one under "
            f"{', '.join(map(repr, _HOLDERS))}."
        )

    from torch._subclasses.fake_tensor import FakeTensor

    def read(name: str, rows: int | None) -> Tensor:
        if isinstance(tensors[name], FakeTensor):
            return _fetched(path, tensors[name], rows)
        found = tensors[name].detach()
        return found if rows is None else found[:rows]

    return Tensors({name: tuple(tensor.shape) for name, tensor in tensors.items()}, read)


def step_in_pickled(path: Path) -> int | None:
    """The optimizer step that Lightning or litgpt wrote into the file.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    saved = _load(path)
    if not isinstance(saved, Mapping):
        return None
    return next((saved[key] for key in _STEPS if isinstance(saved.get(key), int)), None)


def parallel_parts(path: Path) -> int | None:
    """Of how many parts DeepSpeed says that the file is one; None: it does not say.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    saved = _load(path)
    found = saved.get(_PARTS) if isinstance(saved, Mapping) else None
    return found if isinstance(found, int) else None


def is_whole_alone(path: Path) -> bool:
    """Whether it has the format of torch before 1.6, of which no tensor can be read alone.

    Raises:
        CheckpointError: as `raise_if_unreadable` does.
    """
    return raise_if_unreadable(path).startswith(_BEFORE_ZIP)


def _load(path: Path) -> Any:
    start = raise_if_unreadable(path)
    is_whole = start.startswith(_BEFORE_ZIP)
    if is_whole and not is_in_store(path):
        raise CheckpointError(
            "it has the format of torch before 1.6, of which nothing can be read without all the "
            "rest. Save it anew: torch.save(torch.load(path, weights_only=True), path)."
        )
    if not start.startswith((_ZIP, _BEFORE_ZIP)):
        raise CheckpointError(f"it is no file of torch.save; it begins with {start[:8]!r}.")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript")  # told below
            if is_in_store(path):
                return _load_from_store(path, is_whole)
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as fault:
        raise CheckpointError(_refused(path, fault)) from None
    except RuntimeError as fault:
        if "TorchScript" in str(fault):
            raise CheckpointError(
                "it is a TorchScript archive; save the state dict instead."
            ) from None
        reason = _first_line(fault).partition(". ")[0]
        raise CheckpointError(f"it is cut or damaged ({reason}).") from None


def _load_from_store(path: Path, is_whole: bool) -> Any:
    """What was saved, with tensors that have no entries and know where these are in the file.

    A file of before torch 1.6 is fetched whole: who has it in a store may not save it anew.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    if is_whole:
        return torch.load(BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    with FakeTensorMode(), open_in_pieces(path) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _fetched(path: Path, tensor: Tensor, rows: int | None) -> Tensor:
    """The first rows of a tensor that `_load_from_store` gave, by the range that has them."""
    wanted = tensor if rows is None else tensor[:rows]
    size, shape, strides = wanted.element_size(), wanted.shape, wanted.stride()
    if wanted.numel() == 0:
        return torch.empty(shape, dtype=wanted.dtype)
    storage = wanted.untyped_storage()._checkpoint_offset
    if storage is None:
        raise CheckpointError(
            f"torch {torch.__version__} cannot tell where a file has which tensor: take a newer "
            "one, or copy the file to this machine."
        )
    start = storage + int(wanted.storage_offset()) * size
    last = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    data = bytearray(read_range(path, start, start + (last + 1) * size))
    if len(data) < (last + 1) * size:
        raise CheckpointError(f"it is cut: {len(data)} of {(last + 1) * size} bytes were read.")
    return torch.frombuffer(data, dtype=wanted.dtype).as_strided(shape, strides)


def _refused(path: Path, fault: UnpicklingError) -> str:
    """Why the file is not read; found without running it."""
    with open_in_pieces(path) if is_in_store(path) else path.open("rb") as file:
        found = attempted(get_unsafe_globals_in_checkpoint, file)
    # It does not know files of before torch 1.6.
    asked = [] if isinstance(found, Exception) else sorted(found)
    reason = f"asks for {', '.join(asked)}" if asked else _first_line(fault)
    return (
        f"it is not read, since reading it could run code: it {reason}, and tensors need no such "
        "thing. If you trust where it comes from, load it yourself with weights_only=False and "
        "save its state dict alone, by torch.save or as safetensors."
    )


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0].rstrip(".")


def _tensors(saved: Any) -> dict[str, Tensor]:
    """The state dict in what was saved; other tensors may lie beside it."""
    if not isinstance(saved, Mapping):
        return {}
    for found in (*(saved.get(holder) for holder in _HOLDERS), saved):
        if isinstance(found, Mapping):
            tensors = {str(n): value for n, value in found.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
    return {}
