"""The sums of rows that are all sound: nothing is asked of the host, and no row is looked at alone.

What rows are not fit for this is told beside the sums: zero or not finite ones, and a mean so long
that fp32 would lose what tells the rows apart. `row_sums` then takes the careful way.

Legend: as in `sums`; w_i = 1 / ||x_i - mu||; rows with the same attributes labelled are a pattern.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lightning_semgeom.geometry.bags import Bags
from lightning_semgeom.geometry.blocks import (
    NEAR,
    add_rows,
    block_buffer,
    block_dtype,
    block_slices,
    sums_device,
    sums_zeros,
)
from lightning_semgeom.geometry.careful import mean_sums, row_sums
from lightning_semgeom.geometry.full_precision import full_precision
from lightning_semgeom.geometry.fused import FusedSums, can_fuse, fused_total, working_on
from lightning_semgeom.geometry.patterns import Patterns
from lightning_semgeom.geometry.plan import CodePlan
from lightning_semgeom.geometry.sums import MeanSums, RowSums, check_fit, second_index
from lightning_semgeom.geometry.symmetric import add_product, fill_below

_LONG = 16.0  # times the typical row: a mean as long costs all rows digits
_MANY = 1 << 12  # rows: of fewer, the rounding of each matters, and time does not
_ROWS_OF_A_BAG = 64  # added up in fp32
_BEGINNING = 16  # entries of a row that are looked at


def quick_mean(rows: Tensor) -> MeanSums:
    """As `mean_sums`, in half the time, where all rows are finite and not zero.

    Args:
        rows: `[n, d]`, any floating point dtype.
    """
    if sums_device(rows) != rows.device:
        return mean_sums(rows)
    total = _total(rows.detach())
    return MeanSums(total, total.new_full((), len(rows)), total.new_zeros(()))


def _total(rows: Tensor) -> Tensor:
    """The sum of `rows` `[n, d]`, fp64 `[d]`."""
    n, d = rows.shape
    if can_fuse(rows):
        return fused_total(rows)
    total = torch.zeros(d, dtype=torch.float64, device=rows.device)
    if rows.device.type != "cpu":  # there it adds up what is narrow as if it were wide
        many = n - n % _ROWS_OF_A_BAG
        bags = rows[:many].view(many // _ROWS_OF_A_BAG, _ROWS_OF_A_BAG, d)
        for some in (bags.sum(1, dtype=block_dtype(rows)), rows[many:]):
            total += some.sum(0, dtype=total.dtype)
    elif _goes_in_bags(rows):
        every, starts = (torch.arange(0, n, k, device=rows.device) for k in (1, _ROWS_OF_A_BAG))
        total += embedding_bag(every, rows, starts, mode="sum").sum(0, dtype=total.dtype)
    elif n < _MANY:
        for part in block_slices(rows):
            total += rows[part].sum(0, dtype=total.dtype)
    else:
        dtype = block_dtype(rows)
        ones = torch.ones(n, dtype=dtype, device=rows.device)
        with full_precision(rows.device):
            for part in block_slices(rows):
                total += torch.mv(rows[part].to(dtype).T, ones[part])
    return total


def _goes_in_bags(rows: Tensor, few: bool = False) -> bool:
    """Whether rows, many or also few, can be added up from where they lie."""
    fits = rows.dtype == block_dtype(rows) and rows.is_contiguous()
    return fits and (few or len(rows) >= _MANY)


def quick_sums(rows: Tensor, plan: CodePlan, mean: Tensor | None, second: bool = True) -> RowSums:
    """As `row_sums`, faster by far, where `unsound` is 0 then.

    Args:
        rows: `[n, d]`, any floating point dtype.
        plan: made from the codes of these rows.
        mean: fp64 `[d]` to centre with; None: the rows are differences from their mean.
        second: whether to sum u u^T as well.
    """
    check_fit(rows, plan)
    rows, patterns = rows.detach(), plan.patterns if second else None
    many = second and patterns is None
    if many or not len(rows) or sums_device(rows) != rows.device:
        none = row_sums(rows[:0], plan.part(slice(0, 0)), mean, second)
        return replace(none, unsound=none.unsound + len(rows))
    fused = can_fuse(rows)  # then no product is of fp32
    with nullcontext() if fused else full_precision(rows.device), working_on(rows.device):
        found = (FusedSums if fused else _QuickSums)(rows, plan, mean, patterns)
        zero = torch.zeros((), dtype=torch.float64, device=rows.device)
        return RowSums(
            count=zero + len(rows),
            skipped=zero,
            unsound=_unsound(rows, mean, found.lengths),
            value_counts=plan.value_counts.to(zero.dtype),
            value_sums=found.value_sums(),
            second=found.second(),
            second_index=second_index(plan),
        )


def sums_of(
    rows: Tensor,
    plan: CodePlan,
    center: bool = True,
    second: bool = True,
    mean: Tensor | None = None,
) -> RowSums:
    """The quick way where it is right, the careful one where it is not: the host asks which.

    Args:
        rows: `[n, d]`, any floating point dtype.
        plan: made from the codes of these rows.
        center: whether to centre them.
        second: whether to sum u u^T as well.
        mean: fp64 `[d]` to centre with; None: their own.
    """
    if center:
        sums = quick_sums(rows, plan, quick_mean(rows).mean if mean is None else mean, second)
        if not sums.unsound:
            return sums
        mean = mean_sums(rows).mean if mean is None else mean
    return row_sums(rows, plan, mean if center else None, second)


def _unsound(rows: Tensor, mean: Tensor | None, lengths: Tensor) -> Tensor:
    """fp64 `[]`: 0 where the sums are right, else about how many rows were not fit.

    Args:
        rows: `[n, d]`.
        mean: fp64 `[d]` that they were centred with; None: not at all.
        lengths: `[n]`, those of the centred rows.
    """
    limits = torch.finfo(lengths.dtype)
    if mean is None:  # what is zero or infinite lies without these bounds, and NaN equals nothing
        inside = lengths.clamp(limits.smallest_normal * limits.eps, limits.max)
        return (inside != lengths).sum(dtype=torch.float64)
    eps, lengths = limits.eps, lengths.double()
    long = torch.linalg.vector_norm(mean)
    near: Tensor = ~(lengths > NEAR * 4 * eps * long) | ~(lengths < torch.inf)
    # 0 for a zero row, and hardly ever for another.
    beginning = rows[:, :_BEGINNING].double()
    slope = torch.linspace(1, 2, beginning.shape[1], dtype=beginning.dtype, device=rows.device)
    near |= torch.mv(beginning, slope) == 0
    if len(lengths) >= _MANY:
        near |= long.square() > _LONG**2 * lengths.square().mean()
    return near.sum(dtype=long.dtype)


class _QuickSums:
    """Adds up unit vectors by attribute value in one pass, block by block.

    Args:
        rows: `[n, d]`, n > 0.
        plan: made from the codes of these rows.
        mean: fp64 `[d]` to centre with; None: not to.
        patterns: of the plan, to sum u u^T as well; None: not to.
    """

    def __init__(
        self, rows: Tensor, plan: CodePlan, mean: Tensor | None, patterns: Patterns | None
    ) -> None:
        self._rows, self._plan, self._patterns = rows, plan, patterns
        dtype, (n, d) = block_dtype(rows), rows.shape
        self._centre = None if mean is None else mean.to(dtype)
        self.lengths = torch.empty(n, dtype=dtype, device=rows.device)
        # Where there is no mean to take off at the end, nothing is lost by that.
        self._in_bags = _goes_in_bags(rows, few=mean is None)
        self._cells = [
            torch.zeros(0 if self._in_bags else cells.count, d, dtype=dtype, device=rows.device)
            for cells in plan.cells
        ]
        self._moments = [
            torch.zeros(d, d, dtype=dtype, device=rows.device)
            for _ in (patterns.sizes if patterns else ())
        ]
        buffer = block_buffer(rows, dtype)
        if patterns and len(patterns.sizes) > 1:
            self._go_over(patterns, buffer)
        else:
            for part in block_slices(rows):
                self._add(rows[part], part, buffer[: part.stop - part.start], 0)

    def _go_over(self, patterns: Patterns, buffer: Tensor) -> None:
        """Rows of one pattern after the other, so that each is multiplied once."""
        start = 0
        gathered = torch.empty_like(buffer, dtype=self._rows.dtype)
        for pattern, size in enumerate(patterns.sizes):
            for block in block_slices(self._rows[:size]):
                part = slice(start + block.start, start + block.stop)
                length = part.stop - part.start
                chosen = patterns.order[part]
                torch.index_select(self._rows, 0, chosen, out=gathered[:length])
                self._add(gathered[:length], chosen, buffer[:length], pattern)
            start += size

    def _add(self, block: Tensor, place: slice | Tensor, unit: Tensor, pattern: int) -> None:
        from_mean = block if self._centre is None else torch.sub(block, self._centre, out=unit)
        length = torch.linalg.vector_norm(from_mean, dim=1, dtype=unit.dtype)
        self.lengths[place] = length
        if self._moments or not self._in_bags:
            torch.div(from_mean, length[:, None], out=unit)
        if self._moments:
            add_product(self._moments[pattern], unit)
        if not self._in_bags:
            for cells, sums in zip(self._plan.cells, self._cells, strict=True):
                add_rows(sums, cells.of_row[place], unit)

    def value_sums(self) -> Tensor:
        """S_g of all attributes, fp64 `[V, d]`; to be asked for once."""
        found = sums_zeros(self._rows, self._plan.offsets[-1])
        for cells, sums in zip(self._plan.cells, self._cells, strict=True):
            of_cells = self._of_bags(cells.bags) if self._in_bags else sums
            for a, bags in cells.value_bags.items():
                found[slice(*self._plan.offsets[a : a + 2])] = bags.sums(of_cells)
        self._cells = []  # second moments need the room
        return found

    def _of_bags(self, bags: Bags) -> Tensor:
        """The sums of u over the rows of each bag, `[count, d]`."""
        weights = self.lengths.reciprocal()[bags.order]
        sums = embedding_bag(
            bags.order,
            self._rows,
            bags.starts,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
        if self._centre is None:
            return sums
        total = torch.segment_reduce(
            weights.double(), "sum", offsets=bags.starts, unsafe=True, initial=0
        )
        return sums.addr_(total.to(sums), self._centre, alpha=-1)

    def second(self) -> Tensor | None:
        """C of all rows and of each set of rows that some attributes label, fp64 `[., d, d]`."""
        if self._patterns is None:
            return None
        of_set, d = self._patterns.of_set, self._rows.shape[1]
        found = sums_zeros(self._rows, len(of_set), d)
        for target, patterns in zip(found, of_set, strict=True):
            for pattern in patterns:
                target += self._moments[pattern]
            fill_below(target)
        return found.nan_to_num_()  # of rows that are not fit; eigenvalues would not be found
