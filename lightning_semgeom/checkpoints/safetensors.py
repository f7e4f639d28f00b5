"""Files of safetensors: a header with names, shapes and places, of which rows are read alone."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors
from lightning_semgeom.checkpoints.unreadable import raise_if_unreadable

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
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as fault:
        reason = _lacking(path) or fault
        raise CheckpointError(f"it is cut or no safetensors file ({reason}).") from None
    return Tensors(shapes, read)


def _lacking(path: Path) -> str | None:
    """How many bytes a file lacks whose header can be read; None: that is not what is wrong."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            header = json.loads(file.read(length)) if length < min(size, _LONGEST) else {}
        ends = [item["data_offsets"][1] for name, item in header.items() if name[:2] != "__"]
        whole = _LENGTH + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError):  # no header at all
        return None
    if size >= whole:
        return None
    return f"it has {size} of {whole} bytes"
