"""The sums of rows that every figure of a site is a function of.

So the cost is linear in the rows, the sums of several blocks, updates or processes simply add up,
and neither an n x n matrix nor a second copy of the rows ever exists. There are two ways to them:
`quick`, for rows that are all sound, and `careful`.

Legend: n rows x_i of width d; mu their mean; u_i = (x_i - mu) / ||x_i - mu||; attribute a gives row
i the code a(i) in 0..M_a-1, or -1 where it is not labelled; V = sum of all M_a; n_g and S_g count
and sum of u over the rows with value g; C = sum of u u^T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import check_rows
from lightning_semgeom.geometry.plan import CodePlan


@dataclass(frozen=True)
class MeanSums:
    """What the mean of the valid rows needs; adds up over blocks, updates and processes."""

    total: Tensor
    """fp64 `[d]`: sum of the valid rows."""
    count: Tensor
    """fp64 `[]`: number of the valid rows."""
    not_finite: Tensor
    """fp64 `[]`: number of the rows with an entry that is not finite."""

    @property
    def mean(self) -> Tensor:
        """fp64 `[d]`; NaN without a valid row."""
        return self.total / self.count

    def packed(self) -> Tensor:
        """All sums as one fp64 vector of `packed_size` entries."""
        return torch.cat([self.total, torch.stack([self.count, self.not_finite])])

    @staticmethod
    def packed_size(width: int) -> int:
        """How many entries `packed` has."""
        return width + 2

    @classmethod
    def unpacked(cls, packed: Tensor) -> MeanSums:
        """The sums that `packed` holds."""
        return cls(packed[:-2], packed[-2], packed[-1])


@dataclass(frozen=True)
class RowSums:
    """What every figure of a site needs; adds up over blocks, updates and processes."""

    count: Tensor
    """fp64 `[]`: number of valid rows."""
    skipped: Tensor
    """fp64 `[]`: rows left out: zero, not finite, or not to be told from the mean."""
    unsound: Tensor
    """fp64 `[]`: 0 where the sums are right, else they are to be taken again by `row_sums`."""
    value_counts: Tensor
    """fp64 `[V]`: n_g, attribute after attribute."""
    value_sums: Tensor
    """fp64 `[V, d]`: S_g."""
    second: Tensor | None
    """fp64 `[1 + sets, d, d]`: C over all rows, then over each set of rows that some attributes
    label where others do not; None when it was not asked for."""
    second_index: tuple[int, ...]
    """For each attribute the entry of `second` that belongs to its labelled rows."""

    def packed(self) -> Tensor:
        """All sums, second moments included, as one fp64 vector of `packed_size` entries."""
        second = self.value_sums.new_zeros(0) if self.second is None else self.second
        counts = (self.count, self.skipped, self.unsound, self.value_counts)
        parts = (*counts, self.value_sums, _folded(second))
        return torch.cat([part.flatten() for part in parts])

    @staticmethod
    def packed_size(plan: CodePlan, width: int) -> int:
        """How many entries `packed` has."""
        return sum(_sizes(plan, width))

    @classmethod
    def unpacked(cls, packed: Tensor, plan: CodePlan, width: int) -> RowSums:
        """The sums that `packed` holds, of rows of width `width` added up by `plan`."""
        count, skipped, unsound, counts, sums, second = torch.split(packed, _sizes(plan, width))
        return cls(
            count=count[0],
            skipped=skipped[0],
            unsound=unsound[0],
            value_counts=counts,
            value_sums=sums.view(-1, width),
            second=_unfolded(second, width),
            second_index=second_index(plan),
        )


def _sizes(plan: CodePlan, width: int) -> list[int]:
    values, moments = plan.offsets[-1], 1 + max(second_index(plan), default=0)
    return [1, 1, 1, values, values * width, moments * _folded_size(width)]


def _folded_size(width: int) -> int:
    return -(-width // 2) * (width + 1)


def _folded(second: Tensor) -> Tensor:
    """The upper triangles of symmetric `[., d, d]`, the lower half of their rows turned round.

    Row i of the upper half lacks i entries and row d - 1 - i has i + 1: together they are d + 1.
    """
    height = -(-second.shape[-1] // 2)
    upper = torch.nn.functional.pad(second[:, :height].triu(), (1, 0))
    return upper + torch.nn.functional.pad(second.flip(1, 2)[:, :height].tril(), (0, 1))


def _unfolded(folded: Tensor, width: int) -> Tensor:
    """The symmetric `[., d, d]` of which `_folded` has kept a half."""
    folded = folded.view(-1, -(-width // 2), width + 1)
    height = folded.shape[1]
    second = folded.new_zeros(len(folded), width, width)
    second[:, width - height :] = folded[:, :, :width].tril().flip(1, 2)
    second[:, :height] = folded[:, :, 1:].triu()
    upper = second.triu(1)
    return second.triu_().add_(upper.transpose(1, 2))


def check_fit(rows: Tensor, plan: CodePlan) -> None:
    """Raise a ValueError unless `rows` is a floating point matrix with as many rows as `plan`."""
    check_rows(rows)
    if plan.codes.shape[0] != rows.shape[0]:
        raise ValueError(f"codes has {plan.codes.shape[0]} rows, but rows has {rows.shape[0]}.")


def second_index(plan: CodePlan) -> tuple[int, ...]:
    """For each attribute the entry of `RowSums.second` that is of its labelled rows."""
    index = [0] * len(plan.num_values)
    partial = [chosen for chosen in plan.label_sets if not chosen.everywhere]
    for entry, chosen in enumerate(partial, start=1):
        for a in chosen.attributes:
            index[a] = entry
    return tuple(index)
