"""All pairs of rows, tile by tile, for figures that no sum over rows gives."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import block_dtype, sums_device, unit_blocks

_TILE = {"cpu": 1 << 10}  # rows on a side: what is made of a tile stays in the cache
_TILE_ACCELERATOR = 1 << 13


def unit_rows(rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """The rows from `mean` at unit length `[n, d]`, and which of them have a direction `[n]`."""
    device = sums_device(rows)
    unit = torch.empty(rows.shape, dtype=block_dtype(rows), device=device)
    valid = torch.ones(rows.shape[0], dtype=torch.bool, device=device)
    for part, block, is_valid in unit_blocks(rows, mean):
        unit[part] = block
        if is_valid is not None:
            valid[part] = is_valid
    return unit, valid


def pair_tiles(rows: Tensor) -> list[tuple[slice, slice]]:
    """All pairs of rows, each once: the squares of them on and above the diagonal."""
    n, size = len(rows), _TILE.get(rows.device.type, _TILE_ACCELERATOR)
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    return [(first, second) for i, first in enumerate(parts) for second in parts[i:]]
