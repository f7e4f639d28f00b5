"""Passes over rows that torch takes in several, in Triton: on CUDA, where torch brings it along.

Nothing is asked of the host, and nothing is added up in an order that changes from call to call.

Legend: n rows x_i of width d; u_i = (x_i - c) / ||x_i - c|| for a centre c.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_semgeom.geometry.bags import Bags

_MANY = 1 << 15  # rows


def total_of(rows: Tensor) -> Tensor:
    """The sum of `rows` `[n, d]`, fp64 `[d]`."""
    n, width = rows.shape
    part, columns = part_of(n), columns_of(width)
    parts = torch.empty(triton.cdiv(n, part), width, dtype=torch.float64, device=rows.device)
    grid = (len(parts), triton.cdiv(width, columns))
    _totals[grid](rows, parts, n, rows.stride(0), width, PART=part, ROWS=4, COLUMNS=columns)
    return parts.sum(0)


def lengths_of(rows: Tensor, centre: Tensor) -> Tensor:
    """||x_i - c||, fp32 `[n]`, of rows `[n, d]` and a centre, fp32 `[d]`."""
    n, width = rows.shape
    found = torch.empty(n, dtype=torch.float32, device=rows.device)
    grid = (triton.cdiv(n, 4),)
    columns = columns_of(width)
    _lengths[grid](rows, centre, found, n, rows.stride(0), width, ROWS=4, COLUMNS=columns)
    return found


def unit_sums(rows: Tensor, bags: Bags, centre: Tensor, lengths: Tensor) -> Tensor:
    """The sum of u over the rows of each bag, fp32 `[bags, d]`.

    Args:
        rows: `[n, d]`, any floating point dtype; the columns of a row are neighbours in memory.
        bags: which rows, on their device.
        centre: as `lengths_of` has it.
        lengths: of the rows, from there.
    """
    found = torch.empty(len(bags), rows.shape[1], dtype=torch.float32, device=rows.device)
    _sum_bags(rows, bags, found, None, (centre, lengths), 4, columns_of(rows.shape[1]))
    return found


def write_sums(found: Tensor, rows: Tensor, bags: Bags, index: Tensor) -> None:
    """Make row `index[b]` of `found`, fp64 `[., d]`, the sum of `rows` `[n, d]` over bag b.

    Args:
        found: room for the sums.
        rows: fp32 `[n, d]`.
        bags: which rows.
        index: int64 `[bags]`.
    """
    _sum_bags(rows, bags, found, index, None, 16, 128)


def _sum_bags(
    rows: Tensor,
    bags: Bags,
    found: Tensor,
    index: Tensor | None,
    unit: tuple[Tensor, Tensor] | None,
    height: int,
    columns: int,
) -> None:
    if not len(bags):
        return
    width = rows.shape[1]
    _bag_sums[len(bags), triton.cdiv(width, columns)](
        rows,
        bags.order,
        bags.starts,
        *(unit or (rows, rows)),
        bags.starts if index is None else index,
        found,
        rows.stride(0),
        width,
        UNIT=unit is not None,
        ROWS=height,
        COLUMNS=columns,
        num_warps=4 if columns > 128 else 1,  # rows are added up within a thread
    )


def part_of(rows: int) -> int:
    """How many of so many rows one program takes, that all processors have some."""
    return 256 if rows >= _MANY else 32


def columns_of(width: int) -> int:
    """How many columns of `width` are taken at a time."""
    return min(1 << max(width - 1, 15).bit_length(), 1024)


@triton.jit
def _totals(
    rows, parts, n, stride, width, PART: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    total = tl.zeros([COLUMNS], tl.float64)
    for start in range(0, PART, ROWS):
        row = part * PART + start + tl.arange(0, ROWS)
        there = (row < n)[:, None] & inside[None, :]
        x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
        total += tl.sum(x.to(tl.float32), axis=0).to(tl.float64)
    tl.store(parts + part * width + column, total, mask=inside)


@triton.jit
def _lengths(rows, centre, lengths, n, stride, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    squares = tl.zeros([ROWS], tl.float32)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        there = (row < n)[:, None] & (column < width)[None, :]
        x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
        c = tl.load(centre + column, mask=column < width, other=0.0)
        difference = tl.where(there, x.to(tl.float32) - c[None, :], 0.0)
        squares += tl.sum(difference * difference, axis=1)
    tl.store(lengths + row, tl.sqrt_rn(squares), mask=row < n)


@triton.jit
def _bag_sums(
    rows,
    order,
    starts,
    centre,
    lengths,
    index,
    sums,
    stride,
    width,
    UNIT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    first = tl.load(starts + bag)
    last = tl.load(starts + bag + 1)
    total = tl.zeros([COLUMNS], tl.float32 if UNIT else tl.float64)
    for start in range(first, last, ROWS):
        place = start + tl.arange(0, ROWS)
        row = tl.load(order + place, mask=place < last, other=0)
        there = (place < last)[:, None] & inside[None, :]
        x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
        if UNIT:
            c = tl.load(centre + column, mask=inside, other=0.0)
            length = tl.load(lengths + row, mask=place < last, other=1.0)
            x = tl.where(there, (x.to(tl.float32) - c[None, :]) / length[:, None], 0.0)
        total += tl.sum(x.to(total.dtype), axis=0)
    at = bag if UNIT else tl.load(index + bag)
    tl.store(sums + at * width + column, total, mask=inside)
