"""How much more alike rows are that share an attribute's value.

Legend: u_i unit rows; value g of attribute a has n_g rows with sum S_g; n, S, C: count, sum and
sum of u u^T over the rows labelled for a; G holds the cosines and A is 1 where the value is the
same, both with zero diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.labelled import labelled
from lightning_semgeom.geometry.moved import sent
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.quadratic import norms_and_forms
from lightning_semgeom.geometry.quick import sums_of
from lightning_semgeom.geometry.relabelled import relabelled
from lightning_semgeom.geometry.sums import RowSums
from lightning_semgeom.geometry.whitened import whitened
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable


@dataclass(frozen=True)
class Squares:
    """What of the sums the figures are functions of; axes after the first are of several sites."""

    counts: Tensor
    """fp64 `[V, ...]`: n_g."""
    of_values: Tensor
    """fp64 `[V, ...]`: ||S_g||^2."""
    of_all: Tensor
    """fp64 `[A, ...]`: ||S||^2."""
    second: Tensor
    """fp64 `[A, ...]`: ||C||_F^2; NaN where C is not known."""
    along: Tensor
    """fp64 `[A, ...]`: S.CS; NaN where C is not known."""
    whole: Tensor
    """fp64 `[...]`: ||C||_F^2 over all rows; NaN where C is not known."""


def squares_of(sums: RowSums, num_values: Sequence[int]) -> Squares:
    """Where all that is large in `sums` is read."""
    s = _added_up(sums.value_sums, num_values)
    of_values, of_all = sums.value_sums.square().sum(1), s.square().sum(1)
    if sums.second is None:
        nan, whole = (torch.full_like(known, torch.nan) for known in (of_all, sums.count))
        return Squares(sums.value_counts, of_values, of_all, nan, nan, whole)
    norms, along = norms_and_forms(sums.second, s, sums.second_index)
    second = torch.stack([norms[entry] for entry in sums.second_index])  # a list would be copied
    return Squares(sums.value_counts, of_values, of_all, second, along, norms[0])


def similarity_of(squares: Squares, num_values: Sequence[int]) -> dict[str, Tensor]:
    """The figures of `attribute_similarity`; axes after the first stay as they are."""
    n_g, squared_g = squares.counts, squares.of_values
    pairs_g, occurs = n_g * (n_g - 1), n_g > 0
    same_g, mean_g = squared_g - n_g, torch.where(occurs, squared_g / n_g, 0.0)
    counts_g = (n_g, occurs.to(n_g), n_g.square(), pairs_g, pairs_g * (n_g - 1))
    columns = torch.stack([*counts_g, same_g, squared_g, mean_g], dim=1)
    added_up = _added_up(columns, num_values).unbind(1)
    n, values, n_squared, sum_a, cubes_a, same, squared_apart, explained = added_up
    squared = squares.of_all
    within = _ratio(same, sum_a)
    between = _ratio(squared - squared_apart, n * n - n_squared)
    null = relabelled(cubes_a, sum_a, same, n, squared, squares.second, squares.along)
    return {
        "within": within,
        "between": between,
        "gap": within - between,
        "z": torch.where(null.defined, null.centred / null.variance.sqrt(), torch.nan),
        "strength": _strength(explained - squared / n, values, n, squared),
        "within_value": _ratio(same_g, pairs_g),
    }


def similarity_from_sums(sums: RowSums, num_values: Sequence[int]) -> dict[str, Tensor]:
    """The figures of `attribute_similarity` from sums alone; z is NaN without second moments."""
    if not num_values:
        names = ("within", "between", "gap", "z", "strength", "within_value")
        return {name: sums.value_counts.new_zeros(0) for name in names}
    return similarity_of(squares_of(sums, num_values), num_values)


def _added_up(of_values: Tensor, num_values: Sequence[int]) -> Tensor:
    """Sums over the values of each attribute; in order, so that they are always the same."""
    lengths = sent(torch.tensor(num_values), of_values.device)
    return torch.segment_reduce(of_values, "sum", lengths=lengths, unsafe=True, initial=0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.nan)


def _strength(explained: Tensor, values: Tensor, n: Tensor, squared: Tensor) -> Tensor:
    energy = n - squared / n
    chance = (values - 1) / (n - 1)
    figure = (explained / energy - chance) / (1 - chance)
    # Without any spread the energy is rounding; with one row a value nothing is left to explain.
    defined = (n > 1) & (chance < 1) & (energy > 1e-9 * n)
    return torch.where(defined, figure, torch.nan)


@checked_kinds
def attribute_similarity(
    rows: Tensor,
    codes: Tensor | AttributeTable,
    num_values: Sequence[int] | None = None,
    center: bool = True,
    null: bool = True,
    whiten: bool = False,
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
        codes: int64 `[n, A]`: the value of each row, -1 where it is not labelled; or a table, whose
            row i is row i of `rows`: rows past its end are padding and left out.
        num_values: number of values of each attribute; a table knows them.
        center: whether to subtract the mean of the valid rows first.
        null: whether to compute `z`, which costs as much as `rows.T @ rows`.
        whiten: whether to take `whitened` rows: the causal inner product, for an unembedding. They
            are centred in any case.

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
    rows, codes, num_values = labelled(rows, codes, num_values)
    plan = CodePlan(codes, num_values)
    if whiten:
        rows = whitened(rows)
    return similarity_from_sums(sums_of(rows, plan, center, second=null), num_values)
