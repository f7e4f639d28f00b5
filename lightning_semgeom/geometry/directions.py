"""The direction of each attribute value: from the mean of all other rows to the mean of its own.

Three passes over blocks of rows: their mean, the sums of each value, and which rows point along a
direction. All are linear in the rows.

Legend: n rows x_i of width d that an attribute labels; mu the mean of all rows; value g has n_g of
them with mean m_g, the rest n_r with mean m_r; v = m_g - m_r; m directions in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import (
    add_rows,
    centred_blocks,
    check_rows,
    shortest_difference,
    unit_blocks,
)
from lightning_semgeom.geometry.careful import mean_sums
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.labelled import check_table
from lightning_semgeom.geometry.whitened import whitened
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable


@dataclass(frozen=True, eq=False)
class Direction:
    """Where rows with one value of an attribute lie, seen from those with its other values.

    Example:
        >>> from lightning_semgeom import AttributeTable
        >>> table = AttributeTable.from_dict({"colour": ["red", "red", "blue"]})
        >>> found = directions(torch.tensor([[1.0, 0], [3, 0], [0, 2]]), table)
        >>> found["colour", "red"].vector.tolist()
        [2.0, -2.0]
    """

    vector: Tensor
    """fp64 `[d]`: v, as long as the means are apart; NaN where a value has no row, or all."""
    explained: float
    """eta squared: the share of the labelled rows' variance that the split in two explains."""
    nearest: tuple[str, ...]
    """Names of the rows with the largest cosine of x - mu and v, the largest first."""


@checked_kinds
def directions(
    rows: Tensor,
    table: AttributeTable,
    names: Sequence[str] | None = None,
    nearest: int = 8,
    whiten: bool = False,
) -> dict[tuple[str, str], Direction]:
    """The difference of means of each attribute value, what it explains, and who is nearest.

    For value g of an attribute, over the n rows that it labels,

    - `vector` v = m_g - m_r: the mean of the rows with the value minus that of the rows with
      another one (Marks & Tegmark, "The geometry of truth", arXiv 2310.06824), in the rows' own
      space and units, not normalised;
    - `explained` = n_g n_r / n ||v||^2 / sum ||x - mean||^2, the eta squared of a one-way analysis
      of variance with two groups, over all coordinates at once: 1 where rows with the value are one
      point and the others another. Chance gives 1 / (n - 1) on average;
    - `nearest`: the rows that point most along v from mu, the mean of all rows, whether the
      attribute labels them or not.

    Where the rows are few beside d, any set of them lies near its own direction, trained or not. A
    direction that is more than its rows also has rows near it that were not labelled, though their
    meaning is known: `examples/directions.py` looks for these.

    Rows that are zero or not finite are left out. A row that is not to be told from mu counts for
    the means, but points nowhere. What is not defined is NaN, and `nearest` then empty.

    Args:
        rows: `[n, d]`, any floating point dtype: a weight, or hidden states. Row i is row i of the
            table; rows past its end are padding and left out.
        table: which row has which value.
        names: the rows' names, as the texts of tokens, one for each row of the table; None: their
            numbers.
        nearest: how many rows to name for each direction.
        whiten: whether to take `whitened` rows: the causal inner product, for an unembedding. The
            vectors are then directions of that space, not of the features'.

    Returns:
        For each attribute and value, by both their names and in the table's order, a `Direction`;
        vectors are on the rows' device (on the CPU where that has no fp64).

    Raises:
        ValueError: if `rows` is not a floating point matrix, the table has more rows, `names` has
            not one entry for each row of the table, or `nearest` is negative.

    Example:
        >>> import torch
        >>> from lightning_semgeom import AttributeTable
        >>> rows = torch.tensor([[3.0, 1.0], [2.0, 0.0], [-2.0, 0.0], [-3.0, 1.0]])
        >>> table = AttributeTable.from_dict({"kind": ["bird", "bird", "fish", "fish"]})
        >>> names = ["owl", "finch", "trout", "shark"]
        >>> bird = directions(rows, table, names, nearest=2)["kind", "bird"]
        >>> bird.vector
        tensor([5., 0.], dtype=torch.float64)
        >>> round(bird.explained, 3), bird.nearest
        (0.926, ('owl', 'finch'))
    """
    check_rows(rows)
    check_table(rows, table)
    names = checked_names(names, len(table), "row of the table")
    if nearest < 0:
        raise ValueError(f"nearest must be the number of rows to name, 0 or more; got {nearest}.")
    rows = rows.detach()[: len(table)]
    if whiten:
        rows = whitened(rows)
    mean = mean_sums(rows).mean
    vectors, explained = _differences(rows, table, mean)
    found: dict[int, list[int]] = {}
    if nearest:
        # Shorter ones are rounding of means that are equal, and point nowhere.
        pointing = (explained > 1e-12).nonzero()[:, 0]
        of_rows = _nearest(rows, mean, vectors[pointing], nearest)
        found = dict(zip(pointing.tolist(), of_rows, strict=True))
    keys = [(a, value) for a, of in zip(table.names, table.values, strict=True) for value in of]
    return {
        key: Direction(vectors[g], share, tuple(names[i] for i in found.get(g, ())))
        for g, (key, share) in enumerate(zip(keys, explained.tolist(), strict=True))
    }


def checked_names(names: Sequence[str] | None, count: int, what: str) -> Sequence[str]:
    """The names of `count` rows: `names`, or their numbers; a ValueError if they do not fit."""
    if names is None:
        return [str(i) for i in range(count)]
    if len(names) != count:
        raise ValueError(f"names must have one entry for each {what}, {count}; got {len(names)}.")
    return names


def _differences(rows: Tensor, table: AttributeTable, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors and shares of all values, attribute after attribute: fp64 `[m, d]` and `[m]`."""
    offsets = list(accumulate(table.num_values, initial=0))
    m = offsets[-1]
    codes = table.codes.to(mean.device)
    # What is not labelled goes to one row more.
    counts, squares = mean.new_zeros(2, m + 1)
    sums = mean.new_zeros(m + 1, rows.shape[1])
    for part, centred, valid in centred_blocks(rows, mean):
        ones, lengths = valid.to(mean), centred.square().sum(1)
        for a, offset in enumerate(offsets[:-1]):
            labelled = valid & (codes[part, a] >= 0)
            index = torch.where(labelled, codes[part, a] + offset, m)
            add_rows(counts, index, ones)
            add_rows(squares, index, lengths)
            add_rows(sums, index, centred)
    rounding = shortest_difference(mean) ** 2
    of_attributes = [
        _of_attribute(counts[part], sums[part], squares[part].sum(), rounding)
        for part in map(slice, offsets[:-1], offsets[1:])
    ]
    vectors, explained = zip(*of_attributes, strict=True)
    return torch.cat(vectors), torch.cat(explained)


def _of_attribute(
    n_g: Tensor, s_g: Tensor, squares: Tensor, rounding: float
) -> tuple[Tensor, Tensor]:
    """Vectors `[M, d]` and shares `[M]` from counts, sums and sum of squares, all of x - mu."""
    n, s = n_g.sum(), s_g.sum(0)
    n_r = n - n_g
    vectors = s_g / n_g[:, None] - (s - s_g) / n_r[:, None]
    vectors = torch.where(((n_g > 0) & (n_r > 0))[:, None], vectors, torch.nan)
    spread = squares - s.square().sum() / n
    shares = n_g * n_r / n * vectors.square().sum(1) / spread
    # Without any spread what is left is rounding.
    defined = spread > 1e-12 * squares + n * rounding
    return vectors, torch.where(defined, shares, torch.nan)


def _nearest(rows: Tensor, mean: Tensor, vectors: Tensor, count: int) -> list[list[int]]:
    """For each of `vectors` `[m, d]` the rows with the largest cosines."""
    units = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    best = torch.empty(len(vectors), 0, device=rows.device)
    found = torch.empty(len(vectors), 0, dtype=torch.int64, device=rows.device)
    for part, unit, valid in unit_blocks(rows, mean):
        with full_precision(unit.device):
            cosines = units.to(unit) @ unit.T
        if valid is not None:
            cosines.masked_fill_(~valid, -torch.inf)
        largest, place = cosines.topk(min(count, len(unit)), dim=1)
        best = torch.cat([best.to(largest), largest], dim=1)
        best, chosen = best.topk(min(count, best.shape[1]), dim=1)
        found = torch.cat([found, place + part.start], dim=1).gather(1, chosen)
    return [of[kept].tolist() for of, kept in zip(found, best > -torch.inf, strict=True)]
