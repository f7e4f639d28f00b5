"""Files of safetensors: a header with names, shapes and places, of which rows are read alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lightning_semgeom.checkpoints.tensors import CheckpointError, Tensors


def open_safetensors(path: Path) -> Tensors:
    """The tensors of a `.safetensors` file.

    Raises:
        CheckpointError: if the file cannot be read.
        ModuleNotFoundError: if safetensors is not installed.
    """
    from safetensors import SafetensorError, safe_open

    def read(name: str, rows: int) -> Tensor:
        with safe_open(path, framework="pt") as file:
            found: Tensor = file.get_slice(name)[:rows]
            return found

    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as fault:
        raise CheckpointError(f"it is cut or no safetensors file ({fault}).") from None
    return Tensors(shapes, read)
