"""Files of safetensors: a header with names, shapes and places, of which rows are read alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_unreadable
from lightning_semgeom.stores import is_in_store, read_range

_LENGTH = 8  # bytes that tell the length of the header
_LONGEST = 100_000_000  # as the format allows


def open_safetensors(path: Path) -> Tensors:
    """The tensors of a `.safetensors` file.

    Raises:
        CheckpointError: if the file cannot be read.
        ModuleNotFoundError: if safetensors is not installed.
    """
    from safetensors import SafetensorError, safe_open

    def read(name: str, rows: int | None) -> Tensor:
        with safe_open(path, framework="pt") as file:
            found: Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[:rows]
            return found

    raise_if_unreadable(path)
    if is_in_store(path):
        return _open_in_store(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as fault:
        reason = _lacking(path) or fault
        raise CheckpointError(f"it is cut or no safetensors file ({reason}).") from None
    return Tensors(shapes, read)


def _open_in_store(path: Path) -> Tensors:
    """The same by ranges: the header, and of a tensor no more than its first rows."""
    from safetensors.torch import load

    reason = _lacking(path)
    if reason is not None:
        raise CheckpointError(f"it is cut or no safetensors file ({reason}).")
    header, start = _header(path)

    def read(name: str, rows: int | None) -> Tensor:
        entry = header[name]
        begin, end = entry["data_offsets"]
        shape, size = entry["shape"], end - begin
        if rows is not None:
            shape, size = [rows, *shape[1:]], size // max(shape[0], 1) * rows
        data = read_range(path, start + begin, start + begin + size)
        if len(data) < size:
            raise CheckpointError(f"of '{name}' {len(data)} of {size} bytes were read.")
        # A file of that tensor alone: what dtypes are called is known to safetensors.
        alone = {name: {"dtype": entry["dtype"], "shape": shape, "data_offsets": [0, size]}}
        text = json.dumps(alone).encode()
        return load(len(text).to_bytes(_LENGTH, "little") + text + data)[name]

    return Tensors({name: tuple(entry["shape"]) for name, entry in header.items()}, read)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What the header says of each tensor, and where their bytes begin."""
    length = int.from_bytes(read_range(path, 0, _LENGTH), "little")
    if length > min(path.stat().st_size, _LONGEST):
        raise ValueError("no header is as long")
    header = json.loads(read_range(path, _LENGTH, _LENGTH + length))
    tensors = {name: entry for name, entry in header.items() if name[:2] != "__"}
    return tensors, _LENGTH + length


def _lacking(path: Path) -> str | None:
    """How many bytes a file lacks whose header can be read; None: that is not what is wrong."""
    size = path.stat().st_size
    try:
        header, start = _header(path)
        whole = start + max((item["data_offsets"][1] for item in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError):  # no header at all
        return "it has no header" if is_in_store(path) else None
    if size >= whole:
        return None
    return f"it has {size} of {whole} bytes"
