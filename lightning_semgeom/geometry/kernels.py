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

_PART = 256  # rows of a column's sum at a time


def total_of(rows: Tensor) -> Tensor:
    """The sum of `rows` `[n, d]`, fp64 `[d]`."""
    n, width = rows.shape
    parts = torch.empty(triton.cdiv(n, _PART), width, dtype=torch.float64, device=rows.device)
    columns = columns_of(width)
    grid = (len(parts), triton.cdiv(width, columns))
    _totals[grid](rows, parts, n, rows.stride(0), width, PART=_PART, ROWS=4, COLUMNS=columns)
    return parts.sum(0)


def lengths_of(rows: Tensor, centre: Tensor) -> Tensor:
    """||x_i - c||, fp32 `[n]`, of rows `[n, d]` and a centre, fp32 `[d]`."""
    n, width = rows.shape
    found = torch.empty(n, dtype=torch.float32, device=rows.device)
    grid = (triton.cdiv(n, 4),)
    columns = columns_of(width)
    _lengths[grid](rows, centre, found, n, rows.stride(0), width, ROWS=4, COLUMNS=columns)
    return found


def bag_sums(rows: Tensor, bags: Bags, unit: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The sum of the rows of each bag, `[bags, d]`: of u in fp32, of x in fp64.

    Args:
        rows: `[n, d]`, any floating point dtype; the columns of a row are neighbours in memory.
        bags: which rows, on their device.
        unit: centre and lengths, for the sums of u; None: those of x.
    """
    width = rows.shape[1]
    dtype = torch.float64 if unit is None else torch.float32
    found = torch.empty(len(bags), width, dtype=dtype, device=rows.device)
    if not len(bags):
        return found
    # As measured: flat and wide where bags are small, high where some are large.
    columns = 256 if unit is None else columns_of(width)
    height = 16 if unit is None and len(bags.order) >= 16 * len(bags) else 4
    _bag_sums[len(bags), triton.cdiv(width, columns)](
        rows,
        bags.order,
        bags.starts,
        *(unit or (rows, rows)),
        found,
        rows.stride(0),
        width,
        UNIT=unit is not None,
        ROWS=height,
        COLUMNS=columns,
    )
    return found


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
    tl.store(sums + bag * width + column, total, mask=inside)
