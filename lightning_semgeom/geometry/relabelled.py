"""Sums of cosines over pairs with the same value, against all ways to hand out the same labels.

Uniform relabelling permutes the labels among all rows; within strata they are permuted among the
rows of each stratum alone, each independently of the others.

Legend: as in `similarity` and `partial`; C_c is the sum of u u^T over the rows of stratum c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.blocks import add_rows, sums_device, unit_blocks
from lightning_semgeom.geometry.symmetric import add_product, fill_below

_ROWS_AT_ONCE = 1 << 12


@dataclass(frozen=True)
class Relabelled:
    """A sum of cosines over pairs with the same value, under uniform relabelling."""

    centred: Tensor
    """fp64 `[...]`: the sum less its mean over all relabellings."""
    variance: Tensor
    """fp64 `[...]`: its variance over them."""
    defined: Tensor
    """bool `[...]`: whether that is more than rounding."""


def relabelled(
    cubes_a: Tensor,
    sum_a: Tensor,
    same: Tensor,
    n: Tensor,
    squared: Tensor,
    m2_c: Tensor,
    m3_c: Tensor,
) -> Relabelled:
    """Exact mean and variance of `same` = sum of G where A is 1 (Mantel 1967).

    A constant added to all entries of G or of A moves the statistic and its mean alike, so both are
    taken with mean zero: then the mean of the statistic is 0, and its variance has no difference of
    large numbers, which would drown the signal where all rows point the same way.

    All are of one shape: sums of n_g (n_g - 1)^2 and of n_g (n_g - 1); `same`; n; ||S||^2; ||C||^2;
    S.CS.
    """
    pairs = n * (n - 1)
    sum_g = squared - n
    # sum of squared entries (m2) and of squared row sums (m3) of both matrices, then of mean zero
    m2_g = m2_c - n - sum_g.square() / pairs
    m3_g = m3_c - 2 * squared + n - sum_g.square() / n
    m2_a = sum_a - sum_a.square() / pairs
    m3_a = cubes_a - sum_a.square() / n
    variance = 2 * m2_g * m2_a / pairs
    triples = pairs * (n - 2)  # 0 where n is too small for so many different rows
    variance = variance + _share(4 * (m3_g - m2_g) * (m3_a - m2_a), triples)
    fours = triples * (n - 3)
    variance = variance + _share((2 * m2_g - 4 * m3_g) * (2 * m2_a - 4 * m3_a), fours)
    centred = same - sum_g * sum_a / pairs
    # Below this the spread over relabellings is rounding: there is none, or only one relabelling.
    defined = (n > 1) & (variance > 1e-9 * m2_g.abs() * m2_a / pairs) & (m2_g > 1e-9 * n)
    return Relabelled(centred, variance, defined)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0.0)


def z_within_strata(
    rows: Tensor, mean: Tensor | None, of_row: Tensor, strata: Sequence[Bags]
) -> Tensor:
    """The `partial_z` of `partial_gap`, fp64 `[A]`.

    In fp64 from the rows on: those of a stratum may be all alike, and what is left of the variance
    would be the rounding of fp32.

    Args:
        rows: `[n, d]`.
        mean: fp64 `[d]` to centre with, or None.
        of_row: int64 `[n]`: the joint value of each row.
        strata: for each attribute the joint values of each stratum.
    """
    device = sums_device(rows)
    found = [torch.zeros(0, dtype=torch.float64, device=device)]
    for bags in strata:
        of_each = (_sums_of(rows, own, of_row[own], mean) for own in _members(of_row, bags))
        sums = [one for one in of_each if one is not None]
        centred = variance = torch.zeros((), dtype=torch.float64, device=device)
        if sums:
            n, sum_a, cubes_a, *others = torch.stack(sums, dim=1)
            null = relabelled(cubes_a, sum_a, others[0], n, *others[1:])
            # Rows that are left out may leave pairs of one kind alone.
            counted = null.defined & (sum_a > 0) & (sum_a < n * (n - 1))
            centred = torch.where(counted, null.centred, 0.0).sum()
            variance = torch.where(counted, null.variance, 0.0).sum()
        found.append((centred / variance.sqrt())[None])  # NaN where no stratum counts
    return torch.cat(found)


def _members(of_row: Tensor, strata: Bags) -> Iterator[Tensor]:
    """The rows of each stratum, int64 `[n_c]`."""
    if not len(strata):
        return
    stratum = of_row.new_full((int(of_row.max()) + 1,), -1)
    numbers = torch.arange(len(strata), device=of_row.device)
    stratum[strata.order] = numbers.repeat_interleave(strata.starts.diff())
    members = Bags.of(stratum[of_row], len(strata))
    yield from torch.split(members.order, members.starts.diff().tolist())


def _sums_of(rows: Tensor, own: Tensor, values: Tensor, mean: Tensor | None) -> Tensor | None:
    """What `relabelled` needs of a stratum, fp64 `[7]`, n first; None: all pairs are of one kind.

    ||C||^2 and S.CS are also the sums of all squared cosines and of their squared row sums: either
    way they come of a matrix that is no larger than `[d, d]`.

    Args:
        rows: `[N, d]`.
        own: int64 `[n]`: the rows of the stratum.
        values: int64 `[n]`: what tells their values apart.
        mean: as in `z_within_strata`.
    """
    width, few = rows.shape[1], len(own) <= rows.shape[1]
    kinds, values = torch.unique(values, return_inverse=True)
    if len(kinds) in (1, len(own)):
        return None
    like = torch.zeros((), dtype=torch.float64, device=sums_device(rows))
    counts, sums = like.new_zeros(len(kinds)), like.new_zeros(len(kinds), width)
    second, kept = like.new_zeros(0 if few else width, width), []
    for some, of_some in zip(
        *(torch.split(of, _ROWS_AT_ONCE) for of in (own, values)), strict=True
    ):
        wide = rows[some].to(like)
        for part, unit, valid in unit_blocks(wide, mean):
            index = of_some[part].to(like.device)
            counted = torch.ones_like(unit[:, 0]) if valid is None else valid.to(like)
            add_rows(counts, index, counted)
            add_rows(sums, index, unit)
            if few:
                kept.append(unit.clone())  # the next block overwrites it
            else:
                add_product(second, unit)
    total = sums.sum(0)
    if few:
        units = torch.cat(kept)
        squares, along = (units @ units.T).square().sum(), (units @ total).square().sum()
    else:
        fill_below(second)
        squares, along = second.square().sum(), total @ second @ total
    n, pairs = counts.sum(), counts * (counts - 1)
    same, squared = sums.square().sum() - n, total @ total
    return torch.stack(
        [n, pairs.sum(), (pairs * (counts - 1)).sum(), same, squared, squares, along]
    )
