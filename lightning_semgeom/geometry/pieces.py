"""Rows in pieces of a few, whose sums add up to those of attribute values: how CUDA takes them.

Large cells are cut, so that many processors have work at once, and all that are in one batch are
added up by one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags, Cells

_FEW, _ROWS_OF_FEW, _ROWS = 1 << 15, 64, 256  # rows, and those of a piece, added up in fp32
_SHARE = 16  # pieces of a batch are fewer than the rows by so much: each has a sum of its own
_ALWAYS = 1 << 12  # pieces are never too many for a batch


@dataclass(frozen=True)
class Pieces:
    """The pieces of some groups of cells."""

    rows: Bags
    """The rows of each piece."""
    of_values: Bags
    """The pieces of each value."""
    index: Tensor
    """int64 `[v]`: which entry of S each value is."""


def in_pieces(groups: Iterable[Cells], offsets: Sequence[int]) -> list[Pieces]:
    """Cut the cells of each group, and join as many groups as are small beside the rows.

    Args:
        groups: cells, each with all rows.
        offsets: where the values of each attribute begin in S.
    """
    batches: list[list[Pieces]] = []
    pieces = 0
    for cells in groups:
        cut = _cut(cells, offsets)
        pieces += len(cut.rows)
        if not batches or pieces > max(len(cut.rows.order) // _SHARE, _ALWAYS):
            batches.append([])
            pieces = len(cut.rows)
        batches[-1].append(cut)
    return [_joined(batch) for batch in batches]


def _cut(cells: Cells, offsets: Sequence[int]) -> Pieces:
    starts = cells.bags.starts
    size = _ROWS_OF_FEW if len(cells.of_row) < _FEW else _ROWS
    counts = -(-starts.diff() // size)
    cell = torch.repeat_interleave(counts)
    nth = torch.arange(len(cell), device=cell.device) - (counts.cumsum(0) - counts)[cell]
    begins = torch.cat([starts[cell] + nth * size, starts[-1:]])
    of_values = [Bags.of(codes[cell], cells.num_values[a]) for a, codes in cells.values.items()]
    index = [torch.arange(*offsets[a : a + 2], device=cell.device) for a in cells.values]
    return Pieces(Bags(cells.bags.order, begins), Bags.joined(of_values), torch.cat(index))


def _joined(batch: list[Pieces]) -> Pieces:
    before = accumulate((len(cut.rows) for cut in batch[:-1]), initial=0)
    of_values = [
        replace(cut.of_values, order=cut.of_values.order + pieces)
        for cut, pieces in zip(batch, before, strict=True)
    ]
    return Pieces(
        Bags.joined([cut.rows for cut in batch]),
        Bags.joined(of_values),
        torch.cat([cut.index for cut in batch]),
    )
