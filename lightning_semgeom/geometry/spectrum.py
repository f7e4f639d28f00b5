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


def rank_of(count: Tensor, width: int | Tensor, centered: bool) -> Tensor:
    """r, fp64, of so many rows, fp64 of the same shape."""
    return torch.clamp(count - 1 if centered else count, max=width)


def entropy_of(count: Tensor, second: Tensor) -> Tensor:
    """The entropy of the eigenvalues of C / n, fp64 `[]`: it takes time in d^3."""
    shares = torch.linalg.eigvalsh(second / torch.clamp(count, min=1)).clamp(min=0)
    information: Tensor = torch.special.xlogy(shares, shares)
    return -information.sum()


def spectrum_of(count: Tensor, rank: Tensor, squared: Tensor, entropy: Tensor) -> dict[str, Tensor]:
    """The figures of `spectrum` from n, r, ||C||_F^2 and the entropy, all of the same shape.

    Where the entropy is NaN, so is `effective_rank`.
    """
    return {
        "asymmetry": asymmetry(count, squared, rank),
        "participation_ratio": torch.where(count > 0, count.square() / squared, torch.nan),
        "effective_rank": torch.where(count > 0, entropy.exp(), torch.nan),
    }


def spectrum_from_sums(count: Tensor, second: Tensor, centered: bool) -> dict[str, Tensor]:
    """The figures of `spectrum` from the number of rows `[]` and C `[d, d]`, both fp64."""
    squared = torch.linalg.vector_norm(second).square()
    rank = rank_of(count, len(second), centered)
    return spectrum_of(count, rank, squared, entropy_of(count, second))


def asymmetry(total: Tensor, squared: Tensor, rank: Tensor) -> Tensor:
    """`asymmetry` of `spectrum` from sum and sum of squares of `rank` eigenvalues, of one shape."""
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
      rank", 2007). It is not the `rankme` of `eigenspectrum`, whose rows keep their lengths.

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
