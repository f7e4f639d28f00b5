"""The hot loop: rows become a few sums in two passes, block by block.

Every number of a site is a function of sums, so the cost is linear in the rows, the sums of several
blocks, updates or processes simply add up, and neither an n x n matrix nor a second copy of the
rows ever exists. A block is small enough to stay in the cache while it is centred, scaled to unit
length and added up.

Legend: n rows x_i of width d; mu their mean; u_i = (x_i - mu) / ||x_i - mu||; attribute a gives row
i the code a(i) in 0..M_a-1, or -1 where it is not labelled; V = sum of all M_a; n_g and S_g count
and sum of u over the rows with value g; C = sum of u u^T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import (
    block_buffer,
    block_dtype,
    block_slices,
    check_rows,
    finite_rows,
    first_valid_row,
    has_zero_row,
    sums_device,
    unit_blocks,
    valid_rows,
)
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.plan import CodePlan

_ROWS_PER_FLUSH = 1 << 16  # rows added up in fp32 before the cells move to fp64
_CELLS_PER_FLUSH = 128
_FEW_SETS = 16  # of rows that some attributes label: no fewer rows are added up for so few


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


def mean_sums(rows: Tensor) -> MeanSums:
    """Sum and count of the rows that are finite and not zero, and the count of those not finite.

    Args:
        rows: `[n, d]`, any floating point dtype.
    """
    rows = rows.detach()
    dtype, device = block_dtype(rows), sums_device(rows)
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=device)
    count, not_finite = torch.zeros(2, dtype=torch.float64, device=device)
    # Adding x - x_0 instead of x keeps fp32 exact enough when the mean is long, the spread small.
    origin = first_valid_row(rows).to(dtype)
    buffer = block_buffer(rows, dtype)
    for part in block_slices(rows):
        block = rows[part]
        shifted = torch.sub(block, origin, out=buffer[: block.shape[0]])
        partial, found = shifted.sum(0), block.shape[0]
        # One row that is not finite makes the sum not finite: the rows are looked at only then.
        if not torch.isfinite(partial).all() or has_zero_row(block):
            valid = valid_rows(block)
            partial = shifted.masked_fill_(~valid[:, None], 0).sum(0)
            found = int(valid.sum())
            not_finite += (~finite_rows(block)).sum().to(device)
        total += partial.to(total)
        count += found
    return MeanSums(total + count * origin.to(total), count, not_finite)


@dataclass(frozen=True)
class RowSums:
    """What every figure of a site needs; adds up over blocks, updates and processes."""

    count: Tensor
    """fp64 `[]`: number of valid rows."""
    skipped: Tensor
    """fp64 `[]`: rows left out: zero, not finite, or not to be told from the mean."""
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
        parts = (self.count, self.skipped, self.value_counts, self.value_sums, second)
        return torch.cat([part.flatten() for part in parts])

    @staticmethod
    def packed_size(plan: CodePlan, width: int) -> int:
        """How many entries `packed` has."""
        return sum(_sizes(plan, width))

    @classmethod
    def unpacked(cls, packed: Tensor, plan: CodePlan, width: int) -> RowSums:
        """The sums that `packed` holds, of rows of width `width` added up by `plan`."""
        count, skipped, counts, sums, second = torch.split(packed, _sizes(plan, width))
        return cls(
            count=count[0],
            skipped=skipped[0],
            value_counts=counts,
            value_sums=sums.view(-1, width),
            second=second.view(-1, width, width),
            second_index=_second_index(plan),
        )


def _sizes(plan: CodePlan, width: int) -> list[int]:
    values, moments = plan.offsets[-1], 1 + max(_second_index(plan), default=0)
    return [1, 1, values, values * width, moments * width * width]


def row_sums(rows: Tensor, plan: CodePlan, mean: Tensor | None, second: bool = True) -> RowSums:
    """Add up the unit vectors of `rows` by attribute value.

    Args:
        rows: `[n, d]`, any floating point dtype.
        plan: made from the codes of these rows.
        mean: fp64 `[d]` to centre with, or None to leave the rows uncentred.
        second: whether to sum u u^T as well; this costs as much as `rows.T @ rows`.
    """
    check_rows(rows)
    if plan.codes.shape[0] != rows.shape[0]:
        raise ValueError(f"codes has {plan.codes.shape[0]} rows, but rows has {rows.shape[0]}.")
    values = _ValueSums(plan, rows, block_dtype(rows, centered=mean is not None))
    moments = _SecondMoments(plan, rows) if second else None
    valid: Tensor | None = None
    with full_precision(rows.device):
        for part, unit, valid_of_block in unit_blocks(rows, mean):
            if valid_of_block is not None:
                if valid is None:
                    valid = torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
                valid[part] = valid_of_block
            values.add(part, unit)
            if moments is not None:
                moments.add(part, unit)
    found = rows.shape[0] if valid is None else int(valid.sum())
    count = torch.tensor(float(found), dtype=torch.float64, device=sums_device(rows))
    return RowSums(
        count=count,
        skipped=rows.shape[0] - count,
        value_counts=(plan.value_counts if valid is None else plan.count(valid)).to(count),
        value_sums=values.result(),
        second=None if moments is None else moments.result(),
        second_index=_second_index(plan),
    )


def _second_index(plan: CodePlan) -> tuple[int, ...]:
    index = [0] * len(plan.num_values)
    partial = [chosen for chosen in plan.label_sets if not chosen.everywhere]
    for entry, chosen in enumerate(partial, start=1):
        for a in chosen.attributes:
            index[a] = entry
    return tuple(index)


class _ValueSums:
    """Adds blocks to cells, and now and then the cells to the fp64 sums of the values."""

    def __init__(self, plan: CodePlan, rows: Tensor, dtype: torch.dtype) -> None:
        self._plan = plan
        self._cells = [
            torch.zeros(cells.count, rows.shape[1], dtype=dtype, device=rows.device)
            for cells in plan.cells
        ]
        self._sums = torch.zeros(
            plan.offsets[-1], rows.shape[1], dtype=torch.float64, device=sums_device(rows)
        )
        self._pending = 0

    def add(self, part: slice, unit: Tensor) -> None:
        for cells, sums in zip(self._plan.cells, self._cells, strict=True):
            sums.index_add_(0, cells.of_row[part], unit)
        self._pending += unit.shape[0]
        if self._pending >= _ROWS_PER_FLUSH:
            self._flush()

    def result(self) -> Tensor:
        self._flush()
        return self._sums

    def _flush(self) -> None:
        for cells, sums in zip(self._plan.cells, self._cells, strict=True):
            for start in range(0, cells.count, _CELLS_PER_FLUSH):
                part = slice(start, start + _CELLS_PER_FLUSH)
                source = sums[part].to(self._sums)
                for attribute, codes in cells.values.items():
                    target = self._sums[slice(*self._plan.offsets[attribute : attribute + 2])]
                    index = codes[part].to(source.device)
                    labelled = index >= 0
                    if not labelled.all():
                        index, chosen = index[labelled], source[labelled]
                    else:
                        chosen = source
                    target.index_add_(0, index, chosen)
            sums.zero_()
        self._pending = 0


class _SecondMoments:
    """Adds u u^T over all rows and over each set of rows that some attributes label.

    Where there are many sets, a set that leaves out fewer rows than it has is what they leave of
    all rows: with norms of many features most lack little.
    """

    def __init__(self, plan: CodePlan, rows: Tensor) -> None:
        sets = [(a, labelled) for (a, *_), labelled in plan.labelled if labelled is not None]
        self._sets: list[Tensor] = []
        self._left_out: list[int] = []
        for entry, (a, labelled) in enumerate(sets, start=1):
            if len(sets) > _FEW_SETS and 2 * len(labelled) > len(rows):
                self._sets.append((plan.codes[:, a] < 0).nonzero()[:, 0])
                self._left_out.append(entry)
            else:
                self._sets.append(labelled)
        width = rows.shape[1]
        self._sums = torch.zeros(
            1 + len(sets), width, width, dtype=torch.float64, device=sums_device(rows)
        )

    def add(self, part: slice, unit: Tensor) -> None:
        self._sums[0] += (unit.T @ unit).to(self._sums)
        ends = torch.tensor([part.start, part.stop], device=unit.device)
        for entry, chosen in enumerate(self._sets, start=1):
            first, last = torch.searchsorted(chosen, ends).tolist()
            if first < last:
                own = unit[chosen[first:last] - part.start]
                self._sums[entry] += (own.T @ own).to(self._sums)

    def result(self) -> Tensor:
        for entry in self._left_out:
            torch.sub(self._sums[0], self._sums[entry], out=self._sums[entry])
        self._left_out = []
        return self._sums
