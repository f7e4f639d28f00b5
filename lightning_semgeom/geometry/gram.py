"""The picture of a site: how alike runs of rows are, in the order of the attributes.

Where all labelled rows fit, each is a cell of its own and the picture is their cosine matrix. Where
they do not, neighbours share a cell and a pixel is a mean over all pairs of two cells: no row is
left out, and the cells add up like any attribute's values.

Legend: n rows; m cells; codes a(i), -1: not labelled; n_c and S_c count and sum of the unit vectors
of cell c.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.order import stable_order

MIXED = -2
"""The code of a cell whose rows have several codes."""


@dataclass(frozen=True)
class PictureCells:
    """Which rows share a line of the picture."""

    of_row: Tensor
    """int64 `[n]`: the cell of each row, -1: the first attribute does not label it."""
    codes: Tensor
    """int64 `[m, A]`: the code that all rows of a cell have; -1: not labelled; `MIXED`: several."""


def picture_cells(codes: Tensor, size: int) -> PictureCells:
    """Share the rows that the first attribute labels out to at most `size` cells, in order.

    Rows are ordered by the first attribute, then the second, and so on. As many leading attributes
    as have room are never mixed in a cell. Their joint values get equal shares of the picture;
    where one has fewer rows, the others get what it leaves.

    Args:
        codes: int64 `[n, A]`, A >= 1.
        size: the largest number of cells.
    """
    rows = (codes[:, 0] >= 0).nonzero()[:, 0]
    for a in range(codes.shape[1] - 1, -1, -1):
        column = codes[rows, a] + 1
        rows = rows[stable_order(column, int(column.max()) + 1 if len(rows) else 1)]
    ordered = codes[rows]
    changes = torch.ones_like(ordered, dtype=torch.bool)
    changes[1:] = ordered[1:] != ordered[:-1]
    starts = changes.cummax(dim=1).values  # where the joint value of the first attributes changes
    fitting = [a for a, joint in enumerate(starts.sum(0).tolist()) if joint <= size]
    if fitting:
        group = starts[:, fitting[-1]].cumsum(0) - 1
        counts = torch.bincount(group)
        first = counts.cumsum(0) - counts
        shares = _shares(counts.tolist(), size)
        pieces = torch.tensor(shares, device=codes.device, dtype=torch.int64)
        place = torch.arange(len(rows), device=codes.device) - first[group]
        cell = (pieces.cumsum(0) - pieces)[group] + place * pieces[group] // counts[group]
        total = sum(shares)
    else:
        values = starts[:, 0].cumsum(0) - 1
        cell, total = values * size // (values[-1] + 1), size
    of_row = torch.full_like(codes[:, 0], -1)
    of_row[rows] = cell
    index = cell[:, None].expand_as(ordered)
    empty = codes.new_zeros(total, codes.shape[1])
    low = empty.scatter_reduce(0, index, ordered, "amin", include_self=False)
    high = empty.scatter_reduce(0, index, ordered, "amax", include_self=False)
    return PictureCells(of_row, torch.where(low == high, low, MIXED))


def _shares(counts: list[int], size: int) -> list[int]:
    """How many cells each group gets: equal parts of `size`, none more than it has rows."""
    shares, left = [0] * len(counts), size
    for served, k in enumerate(sorted(range(len(counts)), key=lambda k: counts[k])):
        shares[k] = min(counts[k], left // (len(counts) - served))
        left -= shares[k]
    return shares


def cell_gram(counts: Tensor, products: Tensor) -> Tensor:
    """Inner products of the mean unit vectors of the cells, S_c . S_c' / (n_c n_c').

    This is the mean cosine over all pairs of a row of c and a row of c'; on the diagonal each row
    is paired with itself, too.

    Args:
        counts: fp64 `[m]`, n_c.
        products: fp64 `[m, m]`, S_c . S_c'.

    Returns:
        fp64 `[m, m]`; NaN in the row and column of a cell without a row.
    """
    return products / counts[:, None] / counts
