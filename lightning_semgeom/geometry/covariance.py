"""The spread of rows about their mean, as long as they are: one pass after the mean's, in fp64.

Legend: n rows x_i of width d; mu their mean; the scatter is the sum of (x - mu)(x - mu)^T, n times
the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import block_dtype, centred_blocks
from lightning_semgeom.geometry.careful import mean_sums


@dataclass(frozen=True)
class Scatter:
    """Of the rows that are finite and not zero, on their device, or on the CPU without fp64."""

    count: Tensor
    """fp64 `[]`: n."""
    mean: Tensor
    """fp64 `[d]`: mu; NaN without a row."""
    second: Tensor
    """fp64 `[d, d]`: the scatter."""
    rounding: float
    """The share of a row's entries that is rounding."""

    def eigenvalues(self) -> Tensor:
        """fp64 `[d]`, falling; 0 where there is no more than rounding."""
        return self._told(torch.linalg.eigvalsh(self.second).flip(0))

    def eigenvectors(self) -> tuple[Tensor, Tensor]:
        """As `eigenvalues`, and a vector for each, fp64 `[d, d]`, row by row."""
        values, vectors = torch.linalg.eigh(self.second)
        return self._told(values.flip(0)), vectors.T.flip(0)

    def _told(self, values: Tensor) -> Tensor:
        """Less is what rounding of the rows and of the scatter makes in any direction."""
        entries = self.count * self.mean.square().sum() + self.second.trace()
        floor = self.rounding**2 * entries + len(values) * torch.finfo(values.dtype).eps * values[0]
        return torch.where(values > floor, values, 0.0)


def scatter_of(rows: Tensor) -> Scatter:
    """Add up `rows` `[n, d]`, any floating point dtype."""
    rows = rows.detach()
    sums = mean_sums(rows)
    second = sums.total.new_zeros(rows.shape[1], rows.shape[1])
    for _, centred, _ in centred_blocks(rows, sums.mean):
        second.addmm_(centred.T, centred)
    return Scatter(sums.count, sums.mean, second, torch.finfo(block_dtype(rows)).eps)
