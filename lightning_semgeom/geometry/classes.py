"""Features by class: their means, and what the figures of neural collapse need besides.

Legend: K classes, width d; class k has n_k rows h with mean mu_k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.blocks import (
    SHORTEST,
    add_rows,
    block_dtype,
    block_slices,
    finite_rows,
    first_valid_row,
    sums_device,
)
from lightning_semgeom.geometry.fused import can_fuse, fused_offsets

_PANEL = 512  # columns that are copied to fp64 at a time


@dataclass(frozen=True)
class ClassSums:
    """What the figures need of the rows; `merged` joins those of blocks, updates and processes.

    Squares are taken about each class's own mean: about zero they would be the difference of two
    numbers that are larger than it by the square of mean over spread.
    """

    counts: Tensor
    """fp64 `[K]`: n_k."""
    means: Tensor
    """fp64 `[K, d]`: mu_k; zeros for a class without rows."""
    squares: Tensor
    """fp64 `[K]`: sum of ||h - mu_k||^2."""
    scatter: Tensor
    """fp64 `[d, d]`: sum of (h - mu_k)(h - mu_k)^T over all rows."""

    @classmethod
    def from_sums_about_zero(
        cls, counts: Tensor, sums: Tensor, squares: Tensor, second: Tensor
    ) -> ClassSums:
        """From sums `[K, d]` of h, of ||h||^2 `[K]` and of h h^T `[d, d]`, as version 0.1 had."""
        means = sums / counts.clamp(min=1)[:, None]
        squares = squares - counts * means.square().sum(1)
        return cls(counts, means, squares, second - sums.T @ means)

    def packed(self) -> Tensor:
        """All of it as one fp64 vector of `packed_size` entries."""
        parts = (self.counts, self.means, self.squares, self.scatter)
        return torch.cat([part.flatten() for part in parts])

    @staticmethod
    def packed_size(num_classes: int, width: int) -> int:
        """How many entries `packed` has."""
        return sum(_sizes(num_classes, width))

    @classmethod
    def unpacked(cls, packed: Tensor, num_classes: int, width: int) -> ClassSums:
        """What `packed` holds."""
        counts, means, squares, scatter = torch.split(packed, _sizes(num_classes, width))
        return cls(counts, means.view(-1, width), squares, scatter.view(width, width))

    def merged(self, other: ClassSums) -> ClassSums:
        """Those of the rows of both.

        After Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
        sample variances" (1979): squares about the common mean are those about either mean, and
        what lies between the two.
        """
        counts = self.counts + other.counts
        share = other.counts / counts.clamp(min=1)
        difference = other.means - self.means
        weighted = (self.counts * share)[:, None] * difference
        return ClassSums(
            counts,
            self.means + share[:, None] * difference,
            self.squares + other.squares + (weighted * difference).sum(1),
            self.scatter + other.scatter + weighted.T @ difference,
        )


def _sizes(num_classes: int, width: int) -> list[int]:
    return [num_classes, num_classes * width, num_classes, width * width]


def class_sums(rows: Tensor, labels: Tensor, num_classes: int) -> ClassSums:
    """Add up `rows` `[n, d]` by class, in two passes: the means, then the squares about them.

    Labels < 0 and rows that are not finite are left out.
    """
    rows = rows.detach()
    device, width = sums_device(rows), rows.shape[1]
    counts = torch.zeros(num_classes, dtype=torch.float64, device=device)
    sums = torch.zeros(num_classes, width, dtype=torch.float64, device=device)
    squares = torch.zeros_like(counts)
    scatter = torch.zeros(width, width, dtype=torch.float64, device=device)
    origin = first_valid_row(rows).to(sums)

    def block_of(part: slice) -> tuple[Tensor, Tensor]:
        chosen = (labels[part] >= 0) & finite_rows(rows[part])
        return rows[part][chosen].to(sums) - origin, labels[part][chosen].to(device)

    for part in block_slices(rows):
        block, label = block_of(part)
        add_rows(counts, label, torch.ones_like(label, dtype=torch.float64))
        add_rows(sums, label, block)
    offsets = sums / counts.clamp(min=1)[:, None]
    for part in block_slices(rows):
        block, label = block_of(part)
        block -= offsets[label]
        add_rows(squares, label, block.square().sum(1))
        scatter.addmm_(block.T, block)
    means = torch.where((counts > 0)[:, None], origin + offsets, 0.0)
    return ClassSums(counts, means, squares, scatter)


def centre_agreement(
    rows: Tensor, labels: Tensor, means: Tensor, classifier: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Number of rows where the classifier picks the nearest class mean, and of rows looked at."""
    rows, classifier = rows.detach(), classifier.detach().to(means)
    agreed = means.new_zeros(())
    looked_at = means.new_zeros(())
    present = torch.isfinite(means).all(1)
    # Seen from among the means, so that differences are not lost where all of them are long.
    centre = means[present].mean(0)
    offsets = means - centre
    half_squares = offsets.square().sum(1) / 2
    for part in block_slices(rows):
        chosen = (labels[part] >= 0) & torch.isfinite(rows[part]).all(1)
        block = rows[part][chosen].to(means)
        nearness = ((block - centre) @ offsets.T - half_squares).masked_fill(~present, -torch.inf)
        logits = block @ classifier.T
        if bias is not None:
            logits = logits + bias.detach().to(means)
        agreed = agreed + (nearness.argmax(1) == logits.argmax(1)).sum()
        looked_at = looked_at + block.shape[0]
    return agreed, looked_at


def class_offsets(rows: Tensor, members: Bags) -> Tensor:
    """The mean of the rows of each class, as it differs from the mean of all these means.

    The figures of a site are the same for both, and a difference keeps its digits in fp32 where all
    means are long. The host is asked for nothing.

    Args:
        rows: `[n, d]`, any floating point dtype.
        members: the rows of each class, on the device of `rows`.

    Returns:
        `[k, d]` on the device of `rows`, fp32, or fp64 where the rows are. One row that is not
        finite makes its class not finite; a class whose mean is zero is zero, and so is one that
        cannot be told from the mean of all.
    """
    rows = rows.detach()
    if can_fuse(rows):
        return fused_offsets(rows, members)
    # In fp64, so that the means do not depend on the order of the rows, which is that of processes.
    # Each line below that goes over all of it takes as long as a fifth of the sums.
    means = _means(rows.to(sums_device(rows)), members)
    lengths = torch.linalg.vector_norm(means, dim=1, keepdim=True)
    is_finite = lengths < torch.inf
    valid = is_finite & (lengths > 0)
    means.masked_fill_(~is_finite, 0)
    centre = torch.mv(means.T, valid[:, 0].to(means)) / valid.sum().clamp(min=1)
    found = means.sub_(centre).to(block_dtype(rows))
    shortest = SHORTEST * torch.linalg.vector_norm(centre)
    told = torch.linalg.vector_norm(found, dim=1, keepdim=True, dtype=means.dtype) > shortest
    factor = (valid & told).to(found).masked_fill_(~is_finite, torch.nan)
    return found.mul_(factor).to(rows.device)


def _means(rows: Tensor, members: Bags) -> Tensor:
    """The mean of the rows of each bag, fp64 `[k, d]`; zero where there are none."""
    panels = [members.sums(panel.double()) for panel in torch.split(rows, _PANEL, dim=1)]
    sums = panels[0] if len(panels) == 1 else torch.cat(panels, dim=1)
    return sums.mul_(members.starts.diff().clamp(min=1).to(sums).reciprocal_()[:, None])
