"""The hot loop where single rows matter: in two passes, block by block.

Rows that are zero, not finite or not to be told from the mean are left out, and those that are near
a long mean are taken in fp64; for that the host looks at each block. A block is small enough to
stay in the cache while it is centred, scaled to unit length and added up.

Legend: as in `sums`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_semgeom.geometry.blocks import (
    add_rows,
    block_buffer,
    block_dtype,
    block_slices,
    finite_rows,
    first_valid_row,
    has_zero_row,
    sums_device,
    unit_blocks,
    valid_rows,
)
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.sums import MeanSums, RowSums, check_fit, second_index

_ROWS_PER_FLUSH = 1 << 16  # rows added up in fp32 before the cells move to fp64
_CELLS_PER_FLUSH = 128
_FEW_SETS = 16  # of rows that some attributes label: no fewer rows are added up for so few


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


def row_sums(rows: Tensor, plan: CodePlan, mean: Tensor | None, second: bool = True) -> RowSums:
    """Add up the unit vectors of `rows` by attribute value.

    Args:
        rows: `[n, d]`, any floating point dtype.
        plan: made from the codes of these rows.
        mean: fp64 `[d]` to centre with, or None to leave the rows uncentred.
        second: whether to sum u u^T as well; this costs as much as `rows.T @ rows`.
    """
    check_fit(rows, plan)
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
        unsound=torch.zeros_like(count),
        value_counts=(plan.value_counts if valid is None else plan.count(valid)).to(count),
        value_sums=values.result(),
        second=None if moments is None else moments.result(),
        second_index=second_index(plan),
    )


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
            add_rows(sums, cells.of_row[part], unit)
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
                    add_rows(target, index, chosen)
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
