"""Sums of u u^T in whole numbers, in Triton: exact up to 8 million rows, and so in any order alike.

Tensor cores round sums of bf16 and of fp16 towards zero, which moves the norm of C by 1e-5 to 1e-4;
products of bytes they add up exactly.

Legend: as in `kernels`; v is u in fixed point, times a scale and rounded, which two bytes hold:
v = 256 h + l.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_semgeom.geometry.kernels import columns_of

_LARGEST = 127 * 256  # of v: h stays a byte when l has been rounded off
_MOST_ROWS = 1 << 16  # of a block: sums of products of bytes fit 32 bits then
_PEAK_ROWS = 256
_SIDE, _HALF = 128, 64  # of tiles; bytes are kept in as many rows and columns as whole ones have


def scale_of(rows: Tensor, centre: Tensor, lengths: Tensor) -> Tensor:
    """The scale of each column, fp32 `[d]`, that its largest |u| becomes `_LARGEST` with."""
    n, width = rows.shape
    peaks = torch.empty(triton.cdiv(n, _PEAK_ROWS), width, device=rows.device)
    columns = columns_of(width)
    grid = (len(peaks), triton.cdiv(width, columns))
    _peaks[grid](
        rows,
        centre,
        lengths,
        peaks,
        n,
        rows.stride(0),
        width,
        PART=_PEAK_ROWS,
        ROWS=4,
        COLUMNS=columns,
    )
    peak = peaks.amax(0)
    return torch.where(peak > 0, _LARGEST / peak, 0.0)


class FixedPoint:
    """Sums of v v^T, block by block of rows.

    Args:
        rows, centre, lengths: as `lengths_of` has them.
        block: how many rows at a time.
    """

    def __init__(self, rows: Tensor, centre: Tensor, lengths: Tensor, block: int) -> None:
        self._given = rows, centre, lengths, scale_of(rows, centre, lengths)
        padded = triton.cdiv(rows.shape[1], _SIDE) * _SIDE
        block = min(triton.cdiv(block, _SIDE) * _SIDE, _MOST_ROWS)
        self._bytes = torch.empty(2, padded, block, dtype=torch.int8, device=rows.device)

    def add(self, targets: Tensor, entries: Sequence[int], order: Tensor) -> None:
        """Add those of the rows `order`, on and above the diagonal.

        Args:
            targets: fp64 `[., d, d]`.
            entries: to which of them; at most 63 there are.
            order: int64 `[m]`.
        """
        block, mask = self._bytes.shape[2], sum(1 << entry for entry in entries)
        for chosen in torch.split(order, block):
            self._write(chosen)
            used = triton.cdiv(len(chosen), _SIDE) * _SIDE
            self._multiply(targets, mask, used)

    def _write(self, chosen: Tensor) -> None:
        rows, centre, lengths, scale = self._given
        _, padded, block = self._bytes.shape
        grid = (triton.cdiv(len(chosen), _SIDE), padded // _HALF)
        _to_fixed_point[grid](
            rows,
            chosen,
            centre,
            lengths,
            scale,
            *self._bytes,
            len(chosen),
            rows.stride(0),
            rows.shape[1],
            block,
            ROWS=_SIDE,
            COLUMNS=_HALF,
        )

    def _multiply(self, targets: Tensor, mask: int, used: int) -> None:
        _, padded, block = self._bytes.shape
        grid = (padded // _SIDE, padded // _HALF)
        _add_products[grid](
            *self._bytes,
            targets,
            mask,
            used,
            block,
            targets.shape[1],
            ENTRIES=len(targets),
            HEIGHT=_SIDE,
            WIDTH=_HALF,
            DEPTH=_SIDE,
            num_warps=8,
            num_stages=3,
        )

    def finish(self, target: Tensor) -> None:
        """Make sums of v v^T, on and above the diagonal, those of u u^T, and fill the rest."""
        scale, sides = self._given[-1], triton.cdiv(len(target), _HALF)
        _finish[sides, sides](target, scale, len(target), SIDE=_HALF)


@triton.jit
def _peaks(
    rows,
    centre,
    lengths,
    peaks,
    n,
    stride,
    width,
    PART: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    c = tl.load(centre + column, mask=inside, other=0.0)
    peak = tl.zeros([COLUMNS], tl.float32)
    for start in range(0, PART, ROWS):
        row = part * PART + start + tl.arange(0, ROWS)
        there = (row < n)[:, None] & inside[None, :]
        x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
        length = tl.load(lengths + row, mask=row < n, other=1.0)
        u = tl.where(there, (x.to(tl.float32) - c[None, :]) / length[:, None], 0.0)
        peak = tl.maximum(peak, tl.max(tl.abs(u), axis=0))
    tl.store(peaks + part * width + column, peak, mask=inside)


@triton.jit(do_not_specialize=["n"])
def _to_fixed_point(
    rows,
    order,
    centre,
    lengths,
    scale,
    high,
    low,
    n,
    stride,
    width,
    pitch,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    row = tl.load(order + place, mask=place < n, other=0)
    there = (place < n)[:, None] & inside[None, :]
    x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
    length = tl.load(lengths + row, mask=place < n, other=1.0)
    c = tl.load(centre + column, mask=inside, other=0.0)
    times = tl.load(scale + column, mask=inside, other=0.0)
    u = (x.to(tl.float32) - c[None, :]) / length[:, None]
    value = tl.floor(tl.where(there, u * times[None, :], 0.0) + 0.5)
    h = tl.floor((value + 128) * 0.00390625)  # a quotient may be off by a digit, a product not
    low_byte = value - 256 * h
    # Rows become neighbours: products of bytes are taken along what is contiguous.
    at = column.to(tl.int64)[:, None] * pitch + place[None, :]
    tl.store(high + at, tl.trans(h.to(tl.int8)))
    tl.store(low + at, tl.trans(low_byte.to(tl.int8)))


@triton.jit(do_not_specialize=["mask"])
def _add_products(
    high,
    low,
    targets,
    mask,
    used,
    pitch,
    width,
    ENTRIES: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    top, left = tl.program_id(0) * HEIGHT, tl.program_id(1) * WIDTH
    if left + WIDTH > top:  # else it lies below the diagonal
        own = top + tl.arange(0, HEIGHT)
        other = left + tl.arange(0, WIDTH)
        depth = tl.arange(0, DEPTH)
        at_own = own.to(tl.int64)[:, None] * pitch + depth[None, :]
        at_other = other.to(tl.int64)[None, :] * pitch + depth[:, None]
        both_high = tl.zeros([HEIGHT, WIDTH], tl.int32)
        mixed = tl.zeros([HEIGHT, WIDTH], tl.int32)
        both_low = tl.zeros([HEIGHT, WIDTH], tl.int32)
        for start in range(0, used, DEPTH):
            own_high, own_low = tl.load(high + at_own + start), tl.load(low + at_own + start)
            other_high = tl.load(high + at_other + start)
            other_low = tl.load(low + at_other + start)
            both_high = tl.dot(own_high, other_high, both_high, out_dtype=tl.int32)
            mixed = tl.dot(own_high, other_low, mixed, out_dtype=tl.int32)
            mixed = tl.dot(own_low, other_high, mixed, out_dtype=tl.int32)
            both_low = tl.dot(own_low, other_low, both_low, out_dtype=tl.int32)
        found = both_high.to(tl.float64) * 65536 + mixed.to(tl.float64) * 256
        found += both_low.to(tl.float64)
        at = own.to(tl.int64)[:, None] * width + other[None, :]
        upper = (own[:, None] <= other[None, :]) & (other < width)[None, :]
        for entry in range(ENTRIES):
            if (tl.cast(mask, tl.int64) >> entry) & 1:
                target = targets + tl.cast(entry, tl.int64) * width * width
                kept = tl.load(target + at, mask=upper, other=0.0)
                tl.store(target + at, kept + found, mask=upper)


@triton.jit
def _finish(target, scale, width, SIDE: tl.constexpr):
    if tl.program_id(0) <= tl.program_id(1):
        own = tl.program_id(0) * SIDE + tl.arange(0, SIDE)
        other = tl.program_id(1) * SIDE + tl.arange(0, SIDE)
        own_scale = tl.load(scale + own, mask=own < width, other=0.0).to(tl.float64)
        other_scale = tl.load(scale + other, mask=other < width, other=0.0).to(tl.float64)
        inside = (own < width)[:, None] & (other < width)[None, :]
        at = own.to(tl.int64)[:, None] * width + other[None, :]
        upper = inside & (own[:, None] <= other[None, :])
        v = tl.load(target + at, mask=upper, other=0.0)
        product = own_scale[:, None] * other_scale[None, :]
        u = v / tl.where(product > 0, product, 1.0)  # where it is 0, so is v
        tl.store(target + at, u, mask=upper)
        at = other.to(tl.int64)[:, None] * width + own[None, :]
        tl.store(target + at, tl.trans(u), mask=tl.trans(inside & (own[:, None] < other[None, :])))
