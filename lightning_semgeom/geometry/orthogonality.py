"""Neural collapse seen from outside: the angle of class means to the mean of other data.

Legend: K classes, d width; mu_c = mean of the rows of class c; mu_o = mean of the rows outside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import (
    SHORTEST,
    add_rows,
    block_slices,
    check_rows,
    finite_rows,
    sums_device,
)
from lightning_semgeom.geometry.collapse import check_labels
from lightning_semgeom.kinds import checked_kinds


@checked_kinds
def ood_orthogonality(
    rows: Tensor, labels: Tensor, num_classes: int, outside: Tensor
) -> dict[str, Tensor]:
    """NC5: how far class means are from a right angle to the mean of data outside them.

    After Ben Ammar et al., "NECO: NEural Collapse Based Out-of-distribution detection" (arXiv
    2310.06823), who find that it falls towards 0 while a classifier collapses:

    - `nc5` = mean over classes of |<mu_c, mu_o>| / (||mu_c|| ||mu_o||), mu_o the mean of all rows
      of `outside`, which need no labels; 0 where all are at a right angle, 1 where all are in line;
    - `classes`: how many classes have a mean that points somewhere.

    The paper's text was not at hand; this is what rhubarbwu/neural-collapse has, the library of
    "Linguistic Collapse" (`orthogonality_deviation(means, mG_ood)`), and the cosines are those of
    NECO's own code (`compute_NC5`). Both take the means as they are, and so does this: unlike in
    `neural_collapse` nothing is centred, and what all features have in common, as hidden states of
    language models often have, brings `nc5` near 1. To leave it out, subtract the mean of the class
    means from `rows` and from `outside` beforehand.

    Rows that are not finite are left out, and so are classes without rows and those whose mean
    cannot be told from zero. Where no class is left, or mu_o is zero or of no rows, `nc5` is NaN.
    Beside the rows there are never more than K + 1 means.

    Args:
        rows: `[n, d]` features, any floating point dtype.
        labels: int64 `[n]`, the class of each row; negative: left out.
        num_classes: K.
        outside: `[m, d]` features of inputs that belong to none of the classes, or come from
            another source: any floating point dtype.

    Returns:
        fp64 tensors `[]`, on the device of `rows` (on the CPU where that has no fp64).

    Raises:
        ValueError: if shapes do not fit or a label is K or more.

    Example:
        >>> rows = torch.tensor([[1.0, 0, 0], [3, 0, 0], [0, 2, 0]])
        >>> outside = torch.tensor([[0.0, 3, 4]])
        >>> found = ood_orthogonality(rows, torch.tensor([0, 0, 1]), 2, outside)
        >>> round(found["nc5"].item(), 3)  # cosines 0 and 3 / 5
        0.3
    """
    check_labels(rows, labels, num_classes)
    check_rows(outside, rows.shape[1], "outside")
    means = _mean_directions(rows, labels, num_classes)
    of_none = torch.zeros(len(outside), dtype=torch.int64, device=outside.device)
    (centre,) = _mean_directions(outside, of_none, 1).to(means.device)
    cosines = means @ centre  # NaN: of a class without a direction, or of all
    nc5 = cosines.abs().nanmean()
    return {"nc5": nc5, "classes": means[:, 0].isfinite().sum().to(nc5)}


def _mean_directions(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The class means at unit length, fp64 `[K, d]`; NaN where there is none.

    Sums point where means do. They are not centred, so that fp64 needs no origin among the rows.
    """
    rows = rows.detach()
    device = sums_device(rows)
    sums = torch.zeros(num_classes, rows.shape[1], dtype=torch.float64, device=device)
    lengths = sums.new_zeros(num_classes)
    for part in block_slices(rows):
        chosen = (labels[part] >= 0) & finite_rows(rows[part])
        block, label = rows[part][chosen].to(sums), labels[part][chosen].to(device)
        add_rows(sums, label, block)
        add_rows(lengths, label, torch.linalg.vector_norm(block, dim=1))
    length = torch.linalg.vector_norm(sums, dim=1)
    # Rows that cancel leave rounding, which has a direction, too.
    has_direction = length > SHORTEST * lengths
    return torch.where(has_direction[:, None], sums / length[:, None], torch.nan)
