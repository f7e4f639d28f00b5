"""Sums of u u^T in whole numbers, in Triton: exact up to 8 million rows, and so in any order alike.

Tensor cores round sums of bf16 and of fp16 towards zero, which moves the norm of C by 1e-5 to 1e-4;
products of bytes they add up exactly.

Legend: as in `kernels`; v is u in fixed point, times a scale and rounded, which two bytes hold:
v = 256 h + l.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_semgeom.geometry.kernels import columns_of, part_of
from lightning_semgeom.geometry.patterns import CHUNK, Chunks

_LARGEST = tl.constexpr(127 * 256)  # of v: h stays a byte when l has been rounded off
_MOST_ROWS = 1 << 16  # of a block: sums of products of bytes fit 32 bits then
_HALF = CHUNK // 2  # the narrow side of a tile; bytes fill whole tiles


def peaks_of(rows: Tensor, centre: Tensor, lengths: Tensor) -> Tensor:
    """The largest |u| of each column, fp32 `[d]`, which the column is scaled by."""
    n, width = rows.shape
    part, columns = part_of(n), columns_of(width)
    peaks = torch.empty(triton.cdiv(n, part), width, device=rows.device)
    _peaks[len(peaks), triton.cdiv(width, columns)](
        rows,
        centre,
        lengths,
        peaks,
        n,
        rows.stride(0),
        width,
        PART=part,
        ROWS=4,
        COLUMNS=columns,
    )
    return peaks.amax(0)


class FixedPoint:
    """Sums of u u^T, block by block of rows.

    Args:
        rows, centre, lengths: as `lengths_of` has them.
        block: how many rows at a time.
    """

    def __init__(self, rows: Tensor, centre: Tensor, lengths: Tensor, block: int) -> None:
        self._given = rows, centre, lengths, peaks_of(rows, centre, lengths)
        padded = triton.cdiv(rows.shape[1], CHUNK) * CHUNK
        block = min(triton.cdiv(block, CHUNK) * CHUNK, _MOST_ROWS)
        self._bytes = torch.empty(2, padded, block, dtype=torch.int8, device=rows.device)

    def sums(self, chunks: Chunks, count: int) -> Tensor:
        """Sums of u u^T, fp64 `[count, d, d]`.

        Args:
            chunks: which rows are added to which of the sums.
            count: of the sums, at most 63, each with a row.
        """
        rows, width = self._given[0], self._given[0].shape[1]
        found = torch.empty(count, width, width, dtype=torch.float64, device=rows.device)
        block = self._bytes.shape[2]
        for start in range(0, len(chunks.order), block):
            chosen = chunks.order[start : start + block]
            self._write(chosen)
            stop = start + len(chosen)
            for pattern, (first, last) in enumerate(pairwise(chunks.starts)):
                begin, end = max(first, start), min(last, stop)
                if begin < end:
                    part = slice((begin - start) // CHUNK, (end - start) // CHUNK)
                    is_new = chunks.firsts[pattern] if begin == first else 0
                    is_whole = chunks.lasts[pattern] if end == last else 0
                    self._multiply(part, found, chunks.entries[pattern], is_new, is_whole)
        return found

    def _write(self, chosen: Tensor) -> None:
        rows, _, _, _ = self._given
        _, padded, block = self._bytes.shape
        _to_fixed_point[len(chosen) // CHUNK, padded // _HALF](
            *self._given,
            chosen,
            *self._bytes,
            rows.stride(0),
            rows.shape[1],
            block,
            ROWS=CHUNK,
            COLUMNS=_HALF,
        )

    def _multiply(
        self, part: slice, targets: Tensor, entries: int, is_new: int, is_whole: int
    ) -> None:
        _, padded, block = self._bytes.shape
        _add_products[padded // CHUNK, padded // _HALF](
            *self._bytes,
            self._given[-1],
            targets,
            part.start,
            part.stop,
            entries,
            is_new,
            is_whole,
            block,
            targets.shape[1],
            ENTRIES=len(targets),
            HEIGHT=CHUNK,
            WIDTH=_HALF,
            DEPTH=CHUNK,
            num_warps=8,
            num_stages=3,
        )


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


@triton.jit
def _scale(peaks, column, width):
    """What u is multiplied by, for v: the column's largest becomes `_LARGEST`."""
    peak = tl.load(peaks + column, mask=column < width, other=0.0)
    return tl.where(peak > 0, _LARGEST / peak, 0.0)


@triton.jit
def _digit(peaks, column, width):
    """What a v of one is in u."""
    scale = _scale(peaks, column, width).to(tl.float64)
    return tl.where(scale > 0, 1 / scale, 0.0)


@triton.jit
def _to_fixed_point(
    rows,
    centre,
    lengths,
    peaks,
    order,
    high,
    low,
    stride,
    width,
    pitch,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    row = tl.load(order + place)
    there = (row >= 0)[:, None] & inside[None, :]
    x = tl.load(rows + row[:, None] * stride + column[None, :], mask=there, other=0.0)
    length = tl.load(lengths + row, mask=row >= 0, other=1.0)
    c = tl.load(centre + column, mask=inside, other=0.0)
    u = (x.to(tl.float32) - c[None, :]) / length[:, None]
    value = tl.floor(tl.where(there, u * _scale(peaks, column, width)[None, :], 0.0) + 0.5)
    h = tl.floor((value + 128) * 0.00390625)  # a quotient may be off by a digit, a product not
    low_byte = value - 256 * h
    # Rows become neighbours: products of bytes are taken along what is contiguous.
    at = column.to(tl.int64)[:, None] * pitch + place[None, :]
    tl.store(high + at, tl.trans(h.to(tl.int8)))
    tl.store(low + at, tl.trans(low_byte.to(tl.int8)))


@triton.jit(do_not_specialize=["begin", "end", "entries", "is_new", "is_whole"])
def _add_products(
    high,
    low,
    peaks,
    targets,
    begin,
    end,
    entries,
    is_new,
    is_whole,
    pitch,
    width,
    ENTRIES: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Add v v^T of some chunks to sums; one that is whole then becomes that of u u^T."""
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
        for chunk in range(begin, end):
            start = chunk * DEPTH  # a multiple, as Triton sees: it reads many bytes at a time
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
            bit = tl.cast(1, tl.int64) << entry
            if (tl.cast(entries, tl.int64) & bit) != 0:
                target = targets + tl.cast(entry, tl.int64) * width * width
                total = found
                if (tl.cast(is_new, tl.int64) & bit) == 0:
                    total += tl.load(target + at, mask=upper, other=0.0)
                if (tl.cast(is_whole, tl.int64) & bit) != 0:
                    total *= _digit(peaks, own, width)[:, None]
                    total *= _digit(peaks, other, width)[None, :]
                    mirrored = (own[None, :] < other[:, None]) & (other < width)[:, None]
                    at_mirrored = other.to(tl.int64)[:, None] * width + own[None, :]
                    tl.store(target + at_mirrored, tl.trans(total), mask=mirrored)
                tl.store(target + at, total, mask=upper)
