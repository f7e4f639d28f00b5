"""Features by class: their means, and the sums that the figures of neural collapse need.

Legend: K classes, width d; class k has n_k rows h with sum s_k and mean mu_k = s_k / n_k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import block_dtype, block_slices, sums_device


@dataclass(frozen=True)
class ClassSums:
    """What the figures need of the rows; adds up over blocks, updates and processes.

    Products are summed in fp64: a class is tight around a mean that may be far longer than its
    spread, and in fp32 the difference of the two would be rounding.
    """

    counts: Tensor
    """fp64 `[K]`: n_k."""
    sums: Tensor
    """fp64 `[K, d]`: s_k."""
    squares: Tensor
    """fp64 `[K]`: sum of ||h||^2."""
    second: Tensor
    """fp64 `[d, d]`: sum of h h^T over all rows."""

    @property
    def means(self) -> Tensor:
        """fp64 `[K, d]`: mu_k; NaN for a class without rows."""
        return self.sums / self.counts[:, None]


def class_sums(rows: Tensor, labels: Tensor, num_classes: int) -> ClassSums:
    """Add up `rows` `[n, d]` by class; labels < 0 and rows that are not finite are left out."""
    rows = rows.detach()
    device, width = sums_device(rows), rows.shape[1]
    counts = torch.zeros(num_classes, dtype=torch.float64, device=device)
    sums = torch.zeros(num_classes, width, dtype=torch.float64, device=device)
    squares = torch.zeros_like(counts)
    second = torch.zeros(width, width, dtype=torch.float64, device=device)
    for part in block_slices(rows):
        chosen = (labels[part] >= 0) & torch.isfinite(rows[part]).all(1)
        block = rows[part][chosen].to(sums)
        label = labels[part][chosen].to(device)
        counts.index_add_(0, label, torch.ones_like(label, dtype=torch.float64))
        sums.index_add_(0, label, block)
        squares.index_add_(0, label, block.square().sum(1))
        second += block.T @ block
    return ClassSums(counts, sums, squares, second)


def class_means(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the rows of each label that occurs.

    Args:
        rows: `[n, d]`, any floating point dtype.
        labels: int64 `[n]`.

    Returns:
        Means `[k, d]` (fp64 for fp64 rows, else fp32) and their labels int64 `[k]`, ascending. One
        row that is not finite makes its label's mean not finite.
    """
    found, index = torch.unique(labels, return_inverse=True)
    # In fp64, so that the means do not depend on the order of the rows, which is that of processes.
    device = sums_device(rows)
    sums = torch.zeros(found.shape[0], rows.shape[1], dtype=torch.float64, device=device)
    for part in block_slices(rows):
        sums.index_add_(0, index[part].to(device), rows[part].detach().to(sums))
    sums /= torch.bincount(index, minlength=found.shape[0]).to(sums)[:, None]
    return sums.to(device=rows.device, dtype=block_dtype(rows)), found
