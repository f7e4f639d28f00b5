"""`attribute_similarity` as a torchmetrics Metric: sums of rows are its states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.labelled import labelled
from lightning_semgeom.geometry.metrics.base import GeometryMetric
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.quick import sums_of
from lightning_semgeom.geometry.similarity import similarity_from_sums
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable


class AttributeSimilarity(GeometryMetric):
    """`attribute_similarity` over a stream of rows, as a torchmetrics Metric with sum states.

    Args:
        num_values: number of values of each attribute, or the table that has them.
        dim: width d of the rows.
        center: whether rows are centred: with the `mean` given to `update`, or where none is given
            with the mean of that update's own rows.
        null: whether to compute `z`; the state then holds `[A, d, d]` numbers.
        kwargs: passed on to `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = AttributeSimilarity([2], dim=3)
        >>> metric.update(torch.eye(3), torch.tensor([[0], [0], [1]]))
        >>> round(float(metric.compute()["between"]), 4)
        -0.5
    """

    plotted = ("within", "between", "gap")

    if TYPE_CHECKING:  # torch.jit.script cannot read these
        value_counts: Tensor
        value_sums: Tensor
        second: Tensor
        count: Tensor
        skipped: Tensor

    @checked_kinds
    def __init__(
        self,
        num_values: Sequence[int] | AttributeTable,
        dim: int,
        center: bool = True,
        null: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        known: Any = getattr(num_values, "num_values", num_values)
        self.num_values = tuple(known)
        self.dim = dim
        self.center = center
        self.null = null
        values = sum(self.num_values)
        matrices = len(self.num_values) if null else 0
        self.add_state("value_counts", _zeros(values), dist_reduce_fx="sum")
        self.add_state("value_sums", _zeros(values, dim), dist_reduce_fx="sum")
        self.add_state("second", _zeros(matrices, dim, dim), dist_reduce_fx="sum")
        self.add_state("count", _zeros(), dist_reduce_fx="sum")
        self.add_state("skipped", _zeros(), dist_reduce_fx="sum")
        self.add_settings(center, null, *self.num_values)

    def update(
        self, rows: Tensor, codes: Tensor | AttributeTable, mean: Tensor | None = None
    ) -> None:
        """Add rows, as part of a stream or, with a table, the rows of a whole weight.

        Args:
            rows: `[n, dim]`.
            codes: int64 `[n, A]`: the value of each row; or a table whose row i is row i here.
            mean: `[dim]` to centre them with.
        """
        check_rows(rows, self.dim)
        given = self.num_values if isinstance(codes, Tensor) else None
        rows, codes, num_values = labelled(rows, codes, given)
        if tuple(num_values) != self.num_values:
            raise ValueError(
                f"the table has {tuple(num_values)} values, but the metric was made for "
                f"{self.num_values}."
            )
        plan, centred = CodePlan(codes, self.num_values), self.center or mean is not None
        sums = sums_of(rows, plan, centred, second=self.null, mean=mean)
        self.value_counts += sums.value_counts
        self.value_sums += sums.value_sums
        self.count += sums.count
        self.skipped += sums.skipped
        if sums.second is not None:
            self.second += sums.second[list(sums.second_index)]

    def compute(self) -> dict[str, Tensor]:
        """The figures of `attribute_similarity` for all rows seen."""
        sums = RowSums(
            count=self.count,
            skipped=self.skipped,
            unsound=torch.zeros_like(self.count),
            value_counts=self.value_counts,
            value_sums=self.value_sums,
            second=self.second if self.null else None,
            second_index=tuple(range(len(self.num_values))),
        )
        return similarity_from_sums(sums, self.num_values)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)
