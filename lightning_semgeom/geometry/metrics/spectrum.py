"""`spectrum` as a torchmetrics Metric: the second moment of directions is its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.metrics.base import GeometryMetric
from lightning_semgeom.geometry.spectrum import moments, spectrum_from_sums
from lightning_semgeom.kinds import checked_kinds


class Spectrum(GeometryMetric):
    """`spectrum` over a stream of rows, as a torchmetrics Metric with sum states.

    Args:
        dim: width d of the rows.
        center: whether rows are centred: with the `mean` given to `update`, or where none is given
            with the mean of that update's own rows.
        kwargs: passed on to `torchmetrics.Metric`.

    Example:
        >>> metric = Spectrum(dim=2, center=False)
        >>> for row in torch.eye(2):
        ...     metric.update(row[None])
        >>> round(metric.compute()["participation_ratio"].item(), 4)
        2.0
    """

    plotted = ("participation_ratio", "effective_rank")

    if TYPE_CHECKING:  # torch.jit.script cannot read these
        count: Tensor
        second: Tensor

    @checked_kinds
    def __init__(self, dim: int, center: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.center = center
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("second", torch.zeros((dim, dim), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_settings(center)

    def update(self, rows: Tensor, mean: Tensor | None = None) -> None:
        """Add `rows` `[n, dim]`, centred with `mean` `[dim]` where given."""
        check_rows(rows, self.dim)
        count, second = moments(rows, self.center or mean is not None, mean)
        self.count += count
        self.second += second

    def compute(self) -> dict[str, Tensor]:
        """The figures of `spectrum` for all rows seen."""
        return spectrum_from_sums(self.count, self.second, self.center)
