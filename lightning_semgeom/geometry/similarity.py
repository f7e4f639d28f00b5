"""How much more alike rows are that share an attribute's value.

Legend: u_i unit rows; value g of attribute a has n_g rows with sum S_g; n, S, C: count, sum and
sum of u u^T over the rows labelled for a; G holds the cosines and A is 1 where the value is the
same, both with zero diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.sums import RowSums, mean_sums, row_sums


def similarity_from_sums(sums: RowSums, num_values: Sequence[int]) -> dict[str, Tensor]:
    """The figures of `attribute_similarity` from sums alone; z is NaN without second moments."""
    figures: dict[str, list[Tensor]] = {
        name: [] for name in ("within", "between", "gap", "z", "strength", "within_value")
    }
    counts = torch.split(sums.value_counts, list(num_values))
    vectors = torch.split(sums.value_sums, list(num_values))
    for a, (n_g, s_g) in enumerate(zip(counts, vectors, strict=True)):
        second = None if sums.second is None else sums.second[sums.second_index[a]]
        for name, figure in _one_attribute(n_g, s_g, second).items():
            figures[name].append(figure)
    per_value = figures.pop("within_value")
    empty = sums.count.new_zeros(0)
    answer = {name: torch.stack(column) if column else empty for name, column in figures.items()}
    answer["within_value"] = torch.cat(per_value) if per_value else empty
    return answer


def _one_attribute(n_g: Tensor, s_g: Tensor, second: Tensor | None) -> dict[str, Tensor]:
    n, s = n_g.sum(), s_g.sum(0)
    squared_g, squared = s_g.square().sum(1), s.square().sum()
    pairs_g = n_g * (n_g - 1)
    same, different = (squared_g - n_g).sum(), squared - squared_g.sum()
    within = _ratio(same, pairs_g.sum())
    between = _ratio(different, n * n - n_g.square().sum())
    return {
        "within": within,
        "between": between,
        "gap": within - between,
        "z": same.new_tensor(torch.nan) if second is None else _z(n_g, same, n, s, second),
        "strength": _strength(n_g, squared_g, n, squared),
        "within_value": _ratio(squared_g - n_g, pairs_g),
    }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.nan)


def _strength(n_g: Tensor, squared_g: Tensor, n: Tensor, squared: Tensor) -> Tensor:
    energy = n - squared / n
    explained = torch.where(n_g > 0, squared_g / n_g, 0.0).sum() - squared / n
    chance = ((n_g > 0).sum() - 1) / (n - 1)
    figure = (explained / energy - chance) / (1 - chance)
    # Without any spread the energy is rounding; with one row a value nothing is left to explain.
    defined = (n > 1) & (chance < 1) & (energy > 1e-9 * n)
    return torch.where(defined, figure, torch.nan)


def _z(n_g: Tensor, same: Tensor, n: Tensor, s: Tensor, second: Tensor) -> Tensor:
    """Standardise `same` = sum of G where A is 1 under uniform relabelling (Mantel 1967).

    A constant added to all entries of G or of A moves the statistic and its mean alike, so both are
    taken with mean zero: then the mean of the statistic is 0, and its variance has no difference of
    large numbers, which would drown the signal where all rows point the same way.
    """
    squared = s.square().sum()
    pairs = n * (n - 1)
    sum_g, sum_a = squared - n, (n_g * (n_g - 1)).sum()
    # sum of squared entries (m2) and of squared row sums (m3) of both matrices, then of mean zero
    m2_g = second.square().sum() - n - sum_g.square() / pairs
    m3_g = s @ second @ s - 2 * squared + n - sum_g.square() / n
    m2_a = sum_a - sum_a.square() / pairs
    m3_a = (n_g * (n_g - 1).square()).sum() - sum_a.square() / n
    variance = 2 * m2_g * m2_a / pairs
    variance = variance + _falling(4 * (m3_g - m2_g) * (m3_a - m2_a), n, factors=3)
    variance = variance + _falling((2 * m2_g - 4 * m3_g) * (2 * m2_a - 4 * m3_a), n, factors=4)
    centred = same - sum_g * sum_a / pairs
    # Below this the spread over relabellings is rounding: there is none, or only one relabelling.
    defined = (n > 1) & (variance > 1e-9 * m2_g.abs() * m2_a / pairs) & (m2_g > 1e-9 * n)
    return torch.where(defined, centred / variance.sqrt(), torch.nan)


def _falling(numerator: Tensor, n: Tensor, factors: int) -> Tensor:
    """`numerator` / n(n-1)...; 0 where n is too small for so many different rows."""
    product = torch.ones_like(n)
    for k in range(factors):
        product = product * (n - k)
    return torch.where(n >= factors, numerator / product, 0.0)


def attribute_similarity(
    rows: Tensor,
    codes: Tensor,
    num_values: Sequence[int],
    center: bool = True,
    null: bool = True,
) -> dict[str, Tensor]:
    """Mean cosine of rows that share an attribute's value, against rows that do not.

    With u_i the centred rows at unit length and value g's count n_g and sum S_g,

    - `within` = sum_g(||S_g||^2 - n_g) / sum_g n_g (n_g - 1): over pairs of different rows with the
      same value (pairs are pooled, values are not averaged);
    - `between` = (||S||^2 - sum_g ||S_g||^2) / (n^2 - sum_g n_g^2): over pairs with two values;
    - `gap` = within - between;
    - `z`: the gap against relabelling. Its exact mean and variance over all permutations of the
      labels (Mantel, "The detection of disease clustering and a generalized regression approach",
      1967); nothing is drawn;
    - `strength` = (eta^2 - c) / (1 - c), where eta^2 is the share of the spread of u that lies
      between values and c = (M - 1) / (n - 1) what chance gives, M the values that occur: 0 for
      noise, 1 when the attribute is all there is;
    - `within_value`: within of each value on its own.

    Rows that are zero or not finite are left out. What is not defined, as between with one value,
    is NaN.

    Args:
        rows: `[n, d]`, any floating point dtype.
        codes: int64 `[n, A]`: the value of each row, -1 where it is not labelled.
        num_values: number of values of each attribute.
        center: whether to subtract the mean of the valid rows first.
        null: whether to compute `z`, which costs as much as `rows.T @ rows`.

    Returns:
        fp64 tensors `[A]`; `within_value` is `[sum(num_values)]`, attribute after attribute.

    Raises:
        ValueError: if a shape, a dtype or a code does not fit.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> codes = torch.tensor([[0], [0], [1], [1]])
        >>> attribute_similarity(rows, codes, [2], center=False)["gap"]
        tensor([1.], dtype=torch.float64)
    """
    check_rows(rows)
    plan = CodePlan(codes, num_values)
    mean = mean_sums(rows).mean if center else None
    return similarity_from_sums(row_sums(rows, plan, mean, second=null), num_values)
