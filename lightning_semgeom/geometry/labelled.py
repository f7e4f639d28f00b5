"""Which values rows have: as codes, or as a table that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable


def labelled(
    rows: Tensor, codes: Tensor | AttributeTable, num_values: Sequence[int] | None
) -> tuple[Tensor, Tensor, Sequence[int]]:
    """Rows, their codes and the number of values; of a table the rows that it has.

    Args:
        rows: `[n, d]`.
        codes: int64 `[n, A]`, or a table whose row i is row i of `rows`.
        num_values: number of values of each attribute; None with a table, which knows.

    Raises:
        ValueError: if one of both is missing or too much, or the table has more rows.
    """
    if isinstance(codes, Tensor):
        if num_values is None:
            raise ValueError(
                "num_values is missing: the number of values of each attribute. An AttributeTable "
                "in the place of codes knows it."
            )
        return rows, codes, num_values
    check_table(rows, codes)
    if num_values is not None:
        raise ValueError("num_values goes with codes; the table that was given has its own.")
    return rows[: len(codes)], codes.codes.to(rows.device), codes.num_values


def check_table(rows: Tensor, table: AttributeTable) -> None:
    """Refuse a table with more rows than `rows` with a ValueError."""
    if len(table) > rows.shape[0]:
        raise ValueError(
            f"the table must have at most one row for each row of rows; it has {len(table)}, but "
            f"rows has {rows.shape[0]}. Was it made for another model or tokenizer? If it has "
            f"tokens that were added later: table.first({rows.shape[0]})."
        )
