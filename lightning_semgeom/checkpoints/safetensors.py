"""Files of safetensors: a header with names, shapes and places, of which rows are read alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_unreadable
from lightning_semgeom.extras import needs
from lightning_semgeom.stores import is_in_store, read_range

_LENGTH = 8  # bytes that tell the length of the header
_LONGEST = 100_000_000  # as the format allows
_NO_HEADER = (ValueError, LookupError, TypeError, AttributeError)


def open_safetensors(path: Path) -> Tensors:
    """The tensors of a `.safetensors` file.

    Raises:
        CheckpointError: if the file cannot be read.
        ModuleNotFoundError: if safetensors is not installed.
    """
    with needs("analyze"):
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
        try:
            reason = _lacking(path, _header(path)[2])
        except _NO_HEADER:
            reason = None
        raise CheckpointError(f"it is cut or no safetensors file ({reason or fault}).") from None
    return Tensors(shapes, read)


def _open_in_store(path: Path) -> Tensors:
    """The same by ranges: the header, and of a tensor no more than its first rows."""
    from safetensors.torch import load

    try:
        header, start, whole = _header(path)
        reason = _lacking(path, whole)
    except _NO_HEADER:
        reason = "it has no header"
    if reason is not None:
        raise CheckpointError(f"it is cut or no safetensors file ({reason}).")

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


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """What the header says of each tensor, and where their bytes begin and end.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: if there is none.
    """
    length = int.from_bytes(read_range(path, 0, _LENGTH), "little")
    if length > min(path.stat().st_size, _LONGEST):
        raise ValueError("no header is as long")
    header = json.loads(read_range(path, _LENGTH, _LENGTH + length))
    tensors = {name: entry for name, entry in header.items() if name[:2] != "__"}
    start = _LENGTH + length
    return tensors, start, start + max((t["data_offsets"][1] for t in tensors.values()), default=0)


def _lacking(path: Path, whole: int) -> str | None:
    """How many bytes of `whole` a file lacks; None: it lacks none."""
    size = path.stat().st_size
    return None if size >= whole else f"it has {size} of {whole} bytes"
