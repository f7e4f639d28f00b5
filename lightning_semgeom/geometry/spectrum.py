"""How evenly rows fill their space, from the second moment of their directions.

Legend: n unit rows u_i of width d; C = sum of u u^T, of trace n; r the largest rank C can have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.quick import sums_of
from lightning_semgeom.kinds import checked_kinds


def spectrum_from_sums(
    count: Tensor, second: Tensor, centered: bool, eigenvalues: bool = True
) -> dict[str, Tensor]:
    """The figures of `spectrum` from the number of rows `[]` and C `[d, d]`, both fp64.

    Without `eigenvalues`, which take time in d^3, `effective_rank` is NaN.
    """
    width = second.shape[0]
    squared = torch.linalg.matrix_norm(second).square()
    rank = torch.clamp(count - 1 if centered else count, max=width)
    nan = torch.full_like(count, torch.nan)
    effective_rank = nan
    if eigenvalues:
        shares = torch.linalg.eigvalsh(second / torch.clamp(count, min=1)).clamp(min=0)
        entropy = -torch.special.xlogy(shares, shares).sum()
        effective_rank = torch.where(count > 0, entropy.exp(), nan)
    return {
        "asymmetry": asymmetry(count, squared, rank),
        "participation_ratio": torch.where(count > 0, count.square() / squared, nan),
        "effective_rank": effective_rank,
    }


def asymmetry(total: Tensor, squared: Tensor, rank: Tensor) -> Tensor:
    """`asymmetry` of `spectrum` from sum and sum of squares of `rank` eigenvalues, all `[]`."""
    even = 1 / rank
    return torch.where(rank > 1, (squared / total.square() - even) / (1 - even), torch.nan)


@checked_kinds
def spectrum(rows: Tensor, center: bool = True) -> dict[str, Tensor]:
    """How far the directions of `rows` are from filling their space evenly.

    With C = sum of u u^T over the n valid rows, centred and at unit length,

    - `asymmetry` = (||C||_F^2 / n^2 - 1/r) / (1 - 1/r) with r = min(d, n - 1), or min(d, n) where
      rows are not centred: 0 for a simplex ETF or a unit tight frame, the symmetric state of neural
      collapse, 1 when all rows lie on one line;
    - `participation_ratio` = n^2 / ||C||_F^2, the number of equally used directions;
    - `effective_rank` = exp(entropy of the eigenvalues of C / n) (Roy & Vetterli, "The effective
      rank", 2007).

    Args:
        rows: `[n, d]`, any floating point dtype.
        center: whether to subtract the mean of the valid rows first.

    Returns:
        fp64 tensors `[]`; NaN where a figure is not defined.

    Raises:
        ValueError: if `rows` is not a floating point matrix.

    Example:
        >>> import torch
        >>> round(float(spectrum(torch.eye(4))["asymmetry"]), 4)
        0.0
    """
    check_rows(rows)
    count, second = moments(rows, center)
    return spectrum_from_sums(count, second, center)


def moments(rows: Tensor, center: bool, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The number of valid rows `[]` and C `[d, d]` of `rows` `[n, d]`, fp64.

    With `center` they are taken less `mean` `[d]`, or less their own where none is given.
    """
    no_codes = torch.empty(rows.shape[0], 0, dtype=torch.int64, device=rows.device)
    sums = sums_of(rows, CodePlan(no_codes, ()), center, mean=mean)
    assert sums.second is not None  # for the type checker: second moments are on by default
    return sums.count, sums.second[0]
