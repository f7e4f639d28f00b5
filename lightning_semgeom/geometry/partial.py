"""How much more alike rows are that share a value, among rows that agree on all other attributes.

Where attributes go together, the gap of one is in part that of another. Here pairs are compared
within strata: rows with the same values of all other attributes, where not labelled counts as a
value. As each joint value of all attributes is a cell whose sums are known, this too follows from
sums.

Legend: n rows; joint value k of the m that occur has n_k rows with sum S_k of the unit vectors; a
stratum c of attribute a has the joint values that differ in a alone; n_c and S_c their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.careful import mean_sums
from lightning_semgeom.geometry.labelled import labelled
from lightning_semgeom.geometry.moved import sent
from lightning_semgeom.geometry.order import numbered
from lightning_semgeom.geometry.plan import CodePlan, check_codes
from lightning_semgeom.geometry.quick import sums_of
from lightning_semgeom.geometry.relabelled import z_within_strata
from lightning_semgeom.kinds import checked_kinds

if TYPE_CHECKING:
    from lightning_semgeom.attributes.table import AttributeTable

MAX_JOINT_VALUES = 1024
"""With more, their sums would be no longer small beside the rows, and most have a single row."""


@dataclass(frozen=True)
class JointValues:
    """The joint values of all attributes that occur."""

    of_row: Tensor
    """int64 `[n]`: that of each row."""
    codes: Tensor
    """int64 `[m, A]`: what it stands for; -1: not labelled."""
    strata: tuple[Bags, ...]
    """For each attribute the joint values of each stratum, those that it labels."""


def joint_values(codes: Tensor) -> JointValues | None:
    """Find the joint values of `codes`, int64 `[n, A]`; None where they are too many."""
    of_row = codes.new_zeros(codes.shape[0])
    count = min(len(of_row), 1)
    if count:
        for column in codes.T:
            of_row, count = _joined(of_row, column)
            if count > MAX_JOINT_VALUES:  # each column adds some or none
                return None
    found = codes.new_empty(count, codes.shape[1])
    found[of_row] = codes
    strata = tuple(
        Bags.of(torch.where(column >= 0, number, -1), many)
        for column, (number, many) in zip(found.T, _strata(found), strict=True)
    )
    return JointValues(of_row, found, strata)


def _strata(found: Tensor) -> list[tuple[Tensor, int]]:
    """For each column, the numbers of the rows of `found` `[m, A]` without it, and how many.

    What stands before a column and what stands after it are numbered once for all columns: leaving
    out each in turn and numbering the rest would be quadratic in A.
    """
    none = found.new_zeros(found.shape[0])
    if not found.numel():
        return [(none, 0)] * found.shape[1]
    before = [none]
    for column in found.T[:-1]:
        before.append(_joined(before[-1], column)[0])
    strata, after = [], none
    for column, earlier in zip(reversed(found.T), reversed(before), strict=True):
        strata.append(_joined(earlier, after))
        after = _joined(column, after)[0]
    return strata[::-1]


def _joined(first: Tensor, second: Tensor) -> tuple[Tensor, int]:
    """Number the different pairs, ordered by `first`, then by `second`: int64 `[n]`; how many.

    Numbered anew for each column, so that many attributes do not overflow.
    """
    width = int(second.max()) + 2
    found, number = numbered((first + 1) * width + second + 1, (int(first.max()) + 2) * width)
    return number, len(found)


def partial_gap_of(
    counts: Tensor, squares: Tensor, of_strata: Tensor, strata: Sequence[Bags]
) -> Tensor:
    """The figures of `partial_gap`, fp64 `[A, ...]`.

    Args:
        counts: fp64 `[m, ...]`, n_k; axes after the first are of several sites.
        squares: fp64 `[m, ...]`, ||S_k||^2.
        of_strata: fp64 `[strata, ...]`, ||S_c||^2 of those of all attributes.
        strata: those of `JointValues`.
    """
    if not strata:
        return of_strata
    known = torch.stack([counts, counts.square(), squares], dim=1)
    added_up = Bags.joined(strata).sums(known.flatten(1))
    n_c, n_k_squared, squared_apart = added_up.view(-1, *known.shape[1:]).unbind(1)
    same, different = n_k_squared - n_c, n_c.square() - n_k_squared  # ordered pairs
    gaps = (squared_apart - n_c) / same - (of_strata - squared_apart) / different
    # Elsewhere nothing can be compared.
    both = (same > 0) & (different > 0)
    weights = torch.where(both, same * different / (same + different), 0.0)
    weighted = torch.stack([torch.where(both, weights * gaps, 0.0), weights], dim=1)
    lengths = sent(torch.tensor([*map(len, strata)]), counts.device)
    found = torch.segment_reduce(weighted, "sum", lengths=lengths, unsafe=True, initial=0)
    return found[:, 0] / found[:, 1]


@overload
def partial_gap(
    rows: Tensor,
    codes: Tensor | AttributeTable,
    num_values: Sequence[int] | None = None,
    center: bool = True,
    null: Literal[False] = False,
) -> Tensor: ...


@overload
def partial_gap(
    rows: Tensor,
    codes: Tensor | AttributeTable,
    num_values: Sequence[int] | None = None,
    center: bool = True,
    *,
    null: Literal[True],
) -> dict[str, Tensor]: ...


@checked_kinds
def partial_gap(
    rows: Tensor,
    codes: Tensor | AttributeTable,
    num_values: Sequence[int] | None = None,
    center: bool = True,
    null: bool = False,
) -> Tensor | dict[str, Tensor]:
    """The gap of each attribute among pairs of rows that agree on all other attributes.

    Each stratum, the rows with the same values of all others (not labelled is a value here), has
    its own mean cosine of pairs with the same value of the attribute and of pairs with different
    ones. Their differences are averaged with weights P D / (P + D), P and D the numbers of such
    pairs, after Mantel & Haenszel, "Statistical aspects of the analysis of data from retrospective
    studies of disease" (1959): what sets whole strata apart cancels. With one attribute it is the
    gap of `attribute_similarity`.

    `partial_z` is that figure against relabelling within strata: the labels of an attribute are
    permuted among the rows of each stratum alone. With these weights the sum of the weighted
    differences is sum_c (T_c - E T_c), T_c the sum of the cosines of pairs with the same value; its
    mean is 0 and, as strata are permuted independently, its variance the sum of those of T_c, which
    are exact (Mantel, "The detection of disease clustering and a generalized regression approach",
    1967). Nothing is drawn. With one attribute it is the z of `attribute_similarity`.

    Args:
        rows: `[n, d]`, any floating point dtype; zero and not finite ones are left out.
        codes: int64 `[n, A]`: the value of each row, -1 where it is not labelled; or a table, whose
            row i is row i of `rows`: rows past its end are padding and left out.
        num_values: number of values of each attribute; a table knows them.
        center: whether to subtract the mean of the valid rows first.
        null: whether to give `partial_z` as well. It takes a product as large as `rows.T @ rows`
            for each attribute, or a smaller one where strata are small, and room for one [d, d]
            matrix.

    Returns:
        fp64 `[A]`; NaN where no stratum has both kinds of pairs, and for all attributes where more
        than 1024 joint values occur. With `null` a dict of two such tensors, `partial_gap` and
        `partial_z`; the latter is NaN too where all relabellings are alike.

    Raises:
        ValueError: if a shape, a dtype or a code does not fit.

    Example:
        >>> import torch
        >>> colour, kind = [0, 0, 0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
        >>> rows = torch.nn.functional.one_hot(torch.tensor(kind)).float()  # nothing of the colour
        >>> gaps = partial_gap(rows, torch.tensor([colour, kind]).T, [2, 2])
        >>> [round(abs(gap), 5) for gap in gaps.tolist()]
        [0.0, 2.0]
        >>> rows = torch.eye(8)[[0, 0, 1, 2, 1, 2, 2, 2]]  # something of it
        >>> found = partial_gap(rows, torch.tensor([colour, kind]).T, [2, 2], null=True)
        >>> round(float(found["partial_z"][0]), 3)
        2.256
    """
    check_rows(rows)
    rows, codes, num_values = labelled(rows, codes, num_values)
    check_codes(codes, num_values)
    joint = joint_values(codes)
    if joint is None or not num_values:
        none = torch.full((len(num_values),), torch.nan, dtype=torch.float64)
        return {"partial_gap": none, "partial_z": none.clone()} if null else none
    plan = CodePlan(joint.of_row[:, None], [len(joint.codes)])
    sums = sums_of(rows, plan, center, second=False)
    squares = sums.value_sums.square().sum(1)
    of_strata = Bags.joined(joint.strata).sums(sums.value_sums).square().sum(1)
    gap = partial_gap_of(sums.value_counts, squares, of_strata, joint.strata)
    if not null:
        return gap
    mean = mean_sums(rows).mean if center else None
    z = z_within_strata(rows, mean, joint.of_row, joint.strata)
    return {"partial_gap": gap, "partial_z": z}
