"""Files on the Hub of which nothing can be read without all the rest: fetched whole, then dropped.

Kept are the shapes of their tensors, and the rows that were asked for, by the hash of the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from lightning_semgeom.checkpoints.online import kept
from lightning_semgeom.checkpoints.tensors import Tensors


def open_whole(content: str, opened: Callable[[], Tensors]) -> Tensors:
    """The tensors of a file, which is fetched where what is asked for was not asked for before.

    Args:
        content: the hash of the file.
        opened: fetches it and opens it.

    Raises:
        CheckpointError: as `opened` does.
    """
    folder, fetched = kept.folder_of(content), list[Tensors]()

    def whole() -> Tensors:
        if not fetched:
            fetched.append(opened())
        return fetched[0]

    def read(name: str, rows: int | None) -> Tensor:
        if rows is None:
            return whole().read(name, None)
        called = blake2b(name.encode(), digest_size=16).hexdigest()
        file = folder / f"rows.{called}.{rows}"
        if not file.is_file():
            saved = BytesIO()
            torch.save(whole().read(name, rows).clone(), saved)
            kept.keep(file, saved.getvalue())
            kept.drop_pieces(folder)
            return whole().read(name, rows)
        found: Tensor = torch.load(file, weights_only=True)
        return found

    return Tensors(_shapes(folder / "shapes.json", whole), read)


def _shapes(file: Path, whole: Callable[[], Tensors]) -> dict[str, tuple[int, ...]]:
    if file.is_file():
        return {name: tuple(shape) for name, shape in json.loads(file.read_bytes()).items()}
    shapes = dict(whole().shapes)
    kept.keep(file, json.dumps(shapes).encode())
    return shapes
