"""AttributeAlignment: train rows to be alike as far as they share attributes.

Legend: n rows, A attributes; y_i the row's attribute vector: for each attribute that labels it the
indicator of its value less the values' shares, zeros for the others, at unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_semgeom.attributes.table import AttributeTable
from lightning_semgeom.kinds import checked_kinds
from lightning_semgeom.training.pairs import (
    RowDraw,
    gram_difference,
    label_means,
    unit_rows,
    whole_rows,
)


class AttributeAlignment(nn.Module):
    r"""Mean squared difference between the rows' centred cosines and those of their attributes.

    The mean of (u_i . u_j - y_i . y_j)^2 over pairs of different rows, u their centred unit
    vectors. Where all rows are labelled, y_i . y_j is the cosine Gram of the centred attribute
    kernel J K J, K the mean over attributes of [same value]. An attribute that does not label a row
    is left out of its y; a row without a label is left out of the pairs, not of the rows' mean.

    The attributes are trained for, so a large gap is no finding; `table.shuffled(seed)` is the
    control. It acts on the unembedding, on hidden states (then on the mean of each label in the
    batch), or on both, whose losses are added.

    Of more than `max_rows` rows so many are drawn, without bias and with the variance that
    `GramAnchor` tells.

    Args:
        table: the attributes of the rows.
        max_rows: most rows compared at a time.
        seed: of the draws.

    Raises:
        ValueError: if `max_rows` is less than 2.

    Example:
        >>> import torch
        >>> table = AttributeTable.from_dict({"colour": ["red", "red", "blue", "blue"]})
        >>> align = AttributeAlignment(table)
        >>> align(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])).item()
        0.0
        >>> round(align(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])).item(), 3)
        2.667
    """

    @checked_kinds
    def __init__(self, table: AttributeTable, max_rows: int = 4096, seed: int = 0) -> None:
        super().__init__()
        self.table = table
        self.num_rows = len(table)
        self._draw = RowDraw(max_rows, seed)

    def forward(
        self,
        unembedding: Tensor | None = None,
        hidden: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The loss of the sites that are given.

        Args:
            unembedding: `[n, d]`, a DTensor as well; rows past the table's end are left out.
            hidden: `[m, d']`.
            labels: int64 `[m]`: the table's row of each, negative: left out; None: row i is of i.

        Returns:
            The loss `[]`, in fp32, or fp64 where the rows are that.

        Raises:
            ValueError: if nothing is given, or the table is longer than the unembedding.
        """
        losses = []
        if unembedding is not None:
            rows = whole_rows(unembedding, "unembedding")
            if len(rows) < self.num_rows:
                raise ValueError(
                    f"the attribute table has {self.num_rows} rows, but unembedding has only "
                    f"{len(rows)}; without tokens that were added later: "
                    f"table.first({len(rows)})."
                )
            losses.append(self._loss(rows[: self.num_rows], slice(None)))
        if hidden is not None:
            means, found = label_means(hidden, labels)
            known = found < self.num_rows
            losses.append(self._loss(means[known], found[known]))
        if not losses:
            raise ValueError("AttributeAlignment needs rows: give unembedding, hidden or both.")
        return torch.stack(losses).sum()

    def _loss(self, rows: Tensor, row_ids: Tensor | slice) -> Tensor:
        if self.table.codes.device != rows.device:
            self.table = self.table.to(rows.device)
        drawn = self._draw(len(rows), rows.device)
        codes = self.table.codes[row_ids]
        target = attribute_vectors(codes, self.table.num_values, drawn, rows.dtype)
        return gram_difference(unit_rows(rows, drawn), target)


def attribute_vectors(
    codes: Tensor, num_values: tuple[int, ...], drawn: Tensor | slice, dtype: torch.dtype
) -> Tensor:
    """The y of the drawn rows `[b, sum of num_values]`; zeros where no attribute labels a row.

    Args:
        codes: int64 `[n, A]`; the shares are those of all n rows.
        num_values: M_a.
        drawn: from `RowDraw`.
        dtype: of the rows; what is narrower than fp32 becomes that.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    parts = []
    for column, values in zip(codes.T, num_values, strict=True):
        labelled = column[column >= 0]
        shares = torch.bincount(labelled, minlength=values).to(dtype) / max(len(labelled), 1)
        chosen = column[drawn]
        indicator = nn.functional.one_hot(chosen.clamp(min=0), values) - shares
        parts.append(indicator * (chosen >= 0)[:, None])
    vectors = torch.cat(parts, dim=1)
    # A value that all labelled rows have leaves nothing but rounding.
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(length > 1e-6, vectors / length, 0)
